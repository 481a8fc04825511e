"""The jobs that change an index: which wait, which runs, what became of those that ended.

In: the folder of an index. The jobs are in files below it, in `.jobs`, so that all workers of a
service see the same ones, a restart forgets none, and they go where the index goes: whether a job
is done is decided by the index beside it. (Readers of corpora pass over names with a dot, and
writers of the index leave alone what is not theirs.)

    .jobs/lock              held by the worker that runs the index's jobs, and by the job's process
    .jobs/register.lock     held while a job is registered, begun, or cancelled before it began
    .jobs/incoming/X/       what is being uploaded
    .jobs/queue/ID/         a job that has not ended: job.json, state.json, its documents; `cancel`
                            if somebody wants it ended
    .jobs/done/ID.json      a job that has ended
    .jobs/keys/SHA256.json  an idempotency key, with its job and the request that it came with

Every function blocks: workers call them in threads. Knows nothing of HTTP, nor what jobs do.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from everygram.durable import flush, sync_directory

FOLDER = ".jobs"
JOB, STATE, CANCEL = "job.json", "state.json", "cancel"
QUEUED, RUNNING, DONE, FAILED, CANCELLED = STATES = (
    "queued",
    "running",
    "done",
    "failed",
    "cancelled",
)
ENDED = (DONE, FAILED, CANCELLED)
# Jobs of an index that wait or run.
MOST_QUEUED = 16
# What is kept of jobs that have ended, and of their idempotency keys.
MOST_KEPT, KEPT_SECONDS = 10_000, 7 * 86_400
# An upload that nobody has written to for so long was left by a worker that died.
ABANDONED_SECONDS = 3_600
# A job whose process ends so often without saying what became of it has failed.
MOST_ATTEMPTS = 5


class Full(Exception):
    """So many jobs of the index wait that no more are taken."""


class Contradiction(Exception):
    """An idempotency key came with another request before: that of this job."""


class Trouble(Exception):
    """Why a job fails. kind: one of `problems.KINDS`. (No job's process imports those: with them
    come the libraries of a server.)"""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind, self.detail = kind, detail


class Begun(NamedTuple):
    """A job to run. end: None; or how it ends (CANCELLED, FAILED) unless it is found done."""

    number: str
    end: str | None


class Jobs:
    """The jobs of the index in a folder."""

    def __init__(self, index: Path) -> None:
        self.folder = index / FOLDER

    # Registering.

    def incoming(self) -> Path:
        """A new folder for an upload, on the disk of the index. Raises OSError."""
        folder = self.folder / "incoming" / secrets.token_hex(8)
        self._make(folder.parent)
        folder.mkdir(0o700)
        return folder

    def check_room(self) -> None:
        """Raise Full if another job would not be registered now."""
        if len(self._queue()) >= MOST_QUEUED:
            raise Full

    def register(
        self, upload: Path, job: dict[str, Any], key: str | None, request: str
    ) -> tuple[dict[str, Any], bool]:
        """Register a job, durably: it, and whether it is new.

        upload: its folder, as `incoming` gave it; it is the job's from then on, unless the job is
        not new. job: what to do, as JSON values. key, request: an idempotency key, and what tells
        the request that it came with from others. Raises Full, Contradiction, OSError.
        """
        name = None if key is None else digest(key)
        with self._registering():
            if name is not None and (known := self._of_key(name, request)) is not None:
                return known, False
            waiting = self._queue()
            if len(waiting) >= MOST_QUEUED:
                raise Full
            # Ascending even if the clock was set back.
            latest = int(waiting[-1].partition("-")[0], 16) + 1 if waiting else 0
            number = f"{max(time.time_ns(), latest):016x}-{secrets.token_hex(4)}"
            job = {"id": number, "created": now(), "key": name, **job}
            write(upload / JOB, job, durable=True)
            write(upload / STATE, {"state": QUEUED, "attempts": 0}, durable=True)
            if name is not None:
                # First: a key without a job is none, but a job without its key would be done twice.
                self._make(self.folder / "keys")
                key_file = self.folder / "keys" / f"{name}.json"
                write(key_file, {"job": number, "request": request}, durable=True)
            self._make(self.folder / "queue")
            upload.rename(self.folder / "queue" / number)
            sync_directory(self.folder / "queue")
            return _seen(job, {"state": QUEUED}), True

    def _of_key(self, name: str, request: str) -> dict[str, Any] | None:
        known = read(self.folder / "keys" / f"{name}.json")
        job = None if known is None else self.get(str(known.get("job")))
        if known is None or job is None:
            return None
        if known.get("request") != request:
            raise Contradiction(job["id"])
        return job

    # Looking.

    def get(self, number: str) -> dict[str, Any] | None:
        """A job as a client sees it; None if there is none of that number."""
        if not _is_number(number):
            return None
        # It ends between two looks, but never goes back.
        for _ in range(2):
            if (ended := read(self.folder / "done" / f"{number}.json")) is not None:
                return ended
            folder = self.folder / "queue" / number
            job, state = read(folder / JOB), read(folder / STATE)
            if job is not None and state is not None:
                return _seen(job, state)
        return None

    def recent(self, limit: int) -> list[dict[str, Any]]:
        """The jobs that have not ended, and the latest of the others: the latest first."""
        ended = sorted(self._ended(), reverse=True)[:limit]
        numbers = sorted({*self._queue(), *ended}, reverse=True)[:limit]
        return [job for number in numbers if (job := self.get(number)) is not None]

    def waiting(self) -> bool:
        """Whether there are jobs that have not ended. Raises OSError."""
        return bool(self._queue())

    # Ending.

    def cancel(self, number: str) -> dict[str, Any] | None:
        """Have a job end; it may have been done first. The job as it is now; None: there is none.

        One that has not begun is cancelled at once, one that runs soon after.
        """
        with self._registering():
            job = self.get(number)
            if job is None or job["state"] in ENDED:
                return job
            folder = self.folder / "queue" / number
            (folder / CANCEL).touch()
            state = read(folder / STATE) or {}
            if state.get("attempts") == 0:
                self._finish(number, state | {"state": CANCELLED})
            return self.get(number)

    # Running: by the one who has the lock.

    def lock(self) -> int | None:
        """Take the lock of whoever runs the jobs: its descriptor; None if another has it.

        Raises OSError, and PermissionError if `.jobs` is not this user's: it came with the index.
        """
        self._make(self.folder)
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def begin(self) -> Begun | None:
        """Begin the next job, or end it if it has said what became of it; None: no job waits."""
        with self._registering():
            for number in self._queue():
                folder = self.folder / "queue" / number
                job, state = read(folder / JOB), read(folder / STATE)
                if (self.folder / "done" / f"{number}.json").exists() or job is None:
                    # The service died before it had removed the folder.
                    shutil.rmtree(folder, ignore_errors=True)
                    continue
                state = state or {"attempts": 0}
                if state.get("state") in ENDED:
                    self._finish(number, state)
                    continue
                state["state"] = RUNNING
                state.setdefault("started", now())
                state["attempts"] += 1
                write(folder / STATE, state)
                cancelled = (folder / CANCEL).exists()
                spent = state["attempts"] > MOST_ATTEMPTS
                return Begun(number, CANCELLED if cancelled else FAILED if spent else None)
        return None

    def interrupted(self, number: str) -> None:
        """A job's process was ended because the service ends: it goes on with the next service."""
        folder = self.folder / "queue" / number
        state = read(folder / STATE)
        if state is not None and state.get("state") == RUNNING:
            write(folder / STATE, state | {"state": QUEUED, "attempts": state["attempts"] - 1})

    def give_up(self, number: str, trouble: Trouble) -> None:
        """A job has failed, and its process has not said so."""
        state = read(self.folder / "queue" / number / STATE) or {}
        self._finish(number, state | failed(trouble))

    def _finish(self, number: str, state: dict[str, Any]) -> None:
        """Move a job to those that have ended. Removes its documents."""
        folder = self.folder / "queue" / number
        self._make(self.folder / "done")
        job = read(folder / JOB) or {"id": number}
        state.setdefault("ended", now())
        write(self.folder / "done" / f"{number}.json", _seen(job, state), durable=True)
        shutil.rmtree(folder, ignore_errors=True)

    def tidy(self) -> None:
        """Forget jobs that ended long ago, keys without a job, and uploads that were left."""
        ended = sorted(self._ended(), reverse=True)
        oldest = f"{time.time_ns() - KEPT_SECONDS * 10**9:016x}"
        for place, number in enumerate(ended):
            if place >= MOST_KEPT or number < oldest:
                (self.folder / "done" / f"{number}.json").unlink(missing_ok=True)
        limit = time.time() - ABANDONED_SECONDS
        for folder in _entries(self.folder / "incoming"):
            newest = max((each.stat().st_mtime for each in (folder, *folder.iterdir())), default=0)
            if newest < limit:
                shutil.rmtree(folder, ignore_errors=True)
        with self._registering():
            for key in _entries(self.folder / "keys"):
                if self.get(str((read(key) or {}).get("job"))) is None:
                    key.unlink(missing_ok=True)

    def _queue(self) -> list[str]:
        """The numbers of the jobs that have not ended, the oldest first."""
        return sorted(
            each.name for each in _entries(self.folder / "queue") if _is_number(each.name)
        )

    def _ended(self) -> list[str]:
        return [each.stem for each in _entries(self.folder / "done") if _is_number(each.stem)]

    @contextlib.contextmanager
    def _registering(self) -> Iterator[None]:
        self._make(self.folder)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        descriptor = os.open(self.folder / "register.lock", flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _make(self, folder: Path) -> None:
        """Make a folder of these, but not that of an index which is not there.

        Raises OSError, and PermissionError if it came with the index: a link, or another user's.
        """
        for each in (self.folder, folder):
            if not each.exists():
                each.mkdir(0o700, exist_ok=True)
                sync_directory(each.parent)
            if each.is_symlink() or each.stat().st_uid != os.geteuid():
                raise PermissionError(f"{each} was made by another user, or is a link")


def failed(trouble: Trouble) -> dict[str, Any]:
    """The state of a job that has failed."""
    return {"state": FAILED, "problem": {"kind": trouble.kind, "detail": trouble.detail}}


def _seen(job: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
    """A job as a client sees it."""
    return {
        "id": job["id"],
        "index": job.get("index", ""),
        "operation": job.get("operation", ""),
        "state": state["state"],
        "created": job.get("created"),
        "started": state.get("started"),
        "ended": state.get("ended"),
        "progress": None if state["state"] in ENDED else state.get("progress"),
        "result": state.get("result"),
        "problem": state.get("problem"),
    }


def _is_number(name: str) -> bool:
    """Whether a job may have this number: no name of another file, whatever a client asks for."""
    return len(name) == 25 and all(each in "0123456789abcdef-" for each in name)


def _entries(folder: Path) -> list[Path]:
    """What is in a folder of ours. Links lead elsewhere, and came with the index: none is ours."""
    try:
        if folder.is_symlink() or folder.parent.is_symlink():
            return []
        return [each for each in folder.iterdir() if not each.is_symlink()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def digest(text: str) -> str:
    """The SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def now() -> str:
    """The time, in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None if there is no such file, or it is none of ours."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return None
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def write(path: Path, content: dict[str, Any], durable: bool = False) -> None:
    """Write a JSON object in one step; durable: it survives a power cut. Raises OSError."""
    temporary = path.with_name(path.name + ".tmp")
    # (Not through a link, which an index may have come with.)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
        file.write(json.dumps(content, ensure_ascii=False).encode())
        if durable:
            flush(file)
    temporary.replace(path)
    if durable:
        sync_directory(path.parent)
