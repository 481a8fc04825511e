"""What a job's own process does: `python -m everygram.server.writing PARENT FOLDER [END]`.

In: a job's folder (see `jobs`). Out: the index, changed once, and in the folder's state.json what
became of the job. The process may be killed at any moment, and run again: before it changes the
index it writes down, durably, by what the change will be known in the index. So a job that was
published is not done a second time, and one that was not is done. END (`cancelled` or `failed`)
says how a job ends that is found not to be published; nothing is begun then.

With `--dry-run INDEX` in place of a folder: what a deletion would take away, as JSON.

The process ends with its PARENT, and when somebody wants the job cancelled.
"""

import contextlib
import errno
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import everygram
from everygram.building.indexer import discard
from everygram.building.publishing import has_marks, marks_of
from everygram.errors import EverygramError, LockedError
from everygram.progress import Progress
from everygram.server.documents import IDS, JSON_BODY, LINES, converted, told
from everygram.server.jobs import (
    CANCEL,
    CANCELLED,
    DONE,
    FAILED,
    JOB,
    STATE,
    Trouble,
    failed,
    now,
    read,
    write,
)

T = TypeVar("T")

logger = logging.getLogger("everygram")

# How often progress is written down; how often the parent and `cancel` are looked at; how often it
# is tried again while another process writes the index.
TELL_SECONDS, WATCH_SECONDS, LOCKED_SECONDS = 0.5, 0.25, 1.0
# Below the processes that answer queries.
NICENESS = 10
# Numbers of deleted documents that are listed.
LISTED = 1_000
NUMBERS = "numbers.json"
ENDED_AGAIN = (
    "the job's process ended {} times before the job was done (was there memory enough?); the "
    "index is as it was"
)
NO_SPACE = "no space is left on the disk of the index; free some, then send the job again"


class Run:
    """A job that is run: what it is, and its state, which is written as it changes."""

    def __init__(self, folder: Path, end: str | None) -> None:
        job, state = read(folder / JOB), read(folder / STATE)
        if job is None or state is None:
            raise FileNotFoundError(f"no job in {folder}")
        self.folder, self.end = folder, end
        self.index = folder.parent.parent.parent
        self.name: str = job["index"]
        self.operation: str = job["operation"]
        self.arguments: dict[str, Any] = job["arguments"]
        self.state = state
        # What was written down by a process before this one.
        self.before: dict[str, Any] = dict(state.get("evidence", {}))
        self._told = 0.0

    def record(self, **evidence: Any) -> None:
        """Write down, durably, by what the change of the index will be known."""
        self.state["evidence"] = self.state.get("evidence", {}) | evidence
        write(self.folder / STATE, self.state, durable=True)

    def tell(self, progress: Progress) -> None:
        """Write down how far it is."""
        stage = {
            "stage": progress.stage,
            "done": progress.done,
            "total": progress.total,
            "documents": progress.documents,
            "tokens": progress.tokens,
            "seconds": round(progress.seconds, 3),
        }
        self._say(stage, self.state.get("progress", {}).get("stage") != progress.stage)

    def _say(self, stage: dict[str, Any], at_once: bool) -> None:
        if not at_once and time.monotonic() - self._told < TELL_SECONDS:
            return
        self._told = time.monotonic()
        self.state["progress"] = stage
        with contextlib.suppress(OSError):  # (The disk is full: the work itself will say so.)
            write(self.folder / STATE, self.state)

    def when_free(self, change: Callable[[], T]) -> T:
        """A change of the index, made as soon as no other process writes it."""
        while True:
            try:
                return change()
            except LockedError:
                self._say({"stage": "wait", "done": 0, "total": 0}, True)
                time.sleep(LOCKED_SECONDS)

    def finish(self, outcome: dict[str, Any]) -> None:
        """Write down what became of the job, durably. Its documents are removed first: they may
        have filled the disk."""
        for each in self.folder.iterdir():
            if each.name not in (JOB, STATE, CANCEL):
                each.unlink()
        self.state |= {"ended": now(), **outcome}
        write(self.folder / STATE, self.state, durable=True)


def run(folder: Path, end: str | None = None) -> None:
    """Run the job in this folder, or find out whether it is done."""
    job = Run(folder, end)
    operation = OPERATIONS[job.operation]
    trouble = None
    try:
        result = operation(job)
    except Exception as error:
        result = None
        trouble = trouble_of(error, job.index, job.name, job.arguments)
        # (It may have gone wrong after the change was published.)
        job.end, job.before = FAILED, job.state.get("evidence", {})
        with contextlib.suppress(EverygramError, OSError):
            result = operation(job)
    if result is not None:
        with everygram.open(job.index) as index:
            result["index_version"] = index.version
        job.finish({"state": DONE, "result": result})
        return
    _discard(job)
    if trouble is None and end == CANCELLED:
        job.finish({"state": CANCELLED})
        return
    attempts = job.state["attempts"] - 1
    job.finish(failed(trouble or Trouble("internal", ENDED_AGAIN.format(attempts))))


def _discard(job: Run) -> None:
    """Free the disk space of what an addition or a compaction leaves that will not go on."""
    with contextlib.suppress(EverygramError, OSError):  # (Else the next change of the index does.)
        discard(job.index)


def add(job: Run) -> dict[str, Any] | None:
    """Add documents; None: it is not done, and not to be done any more."""
    evidence = job.before
    if "marks" in evidence and has_marks(job.index, evidence["marks"]):
        return _added(job, evidence["first_document"])
    if job.end is not None:
        return None
    spool = converted(job.folder, job.arguments)
    marks = marks_of(str(spool))
    begun = False

    def progress(stage: Progress) -> None:
        nonlocal begun
        if not begun:
            # (The index is locked now: until this is published, nothing else changes it.)
            with everygram.open(job.index) as index:
                job.record(marks=marks, first_document=index.manifest.next_document)
            begun = True
        job.tell(stage)

    given = {name: value for name, value in job.arguments["options"].items() if value is not None}
    report = job.when_free(
        lambda: everygram.add(
            job.index,
            str(spool),
            # Stages that were finished are of this job, or of somebody who did not go on.
            restart=evidence.get("marks") != marks,
            progress=progress,
            **given,
        )
    )
    return {
        "num_documents": report.num_documents,
        "num_tokens": report.num_tokens,
        "first_document": report.first_document,
        "warnings": list(report.warnings),
    }


def _added(job: Run, first: int) -> dict[str, Any]:
    """What an addition was that is published, and whose process did not live to report it."""
    lines = job.folder / LINES
    if lines.exists():
        with lines.open("rb") as file:
            count = sum(not line.isspace() for line in file)
    else:
        count = (job.folder / f"{IDS}.index").stat().st_size // 8
    with everygram.open(job.index) as index:
        tokens = [
            segment.num_tokens
            for segment in index.manifest.segments
            if segment.sign > 0
            and (segment.first_document, segment.num_documents) == (first, count)
        ]
    return {
        "num_documents": count,
        "num_tokens": tokens[0] if tokens else None,
        "first_document": first,
        "warnings": [],
    }


def delete(job: Run) -> dict[str, Any] | None:
    """Delete documents: first it is written down which, so that another run deletes no others."""
    found = read(job.folder / NUMBERS)
    first = found is None
    if found is None:
        if job.end is not None:
            return None
        found = would_delete(job.index, job.arguments)
        write(job.folder / NUMBERS, found, durable=True)
    numbers = found["numbers"]
    if not first and numbers:
        left = everygram.delete(job.index, documents=numbers, missing_ok=True, dry_run=True)
        if left.documents and job.end is not None:
            return None
        numbers = list(left.documents)
    if numbers:
        deleted = job.when_free(
            lambda: everygram.delete(job.index, documents=numbers, missing_ok=True)
        )
        if first:
            # (Others may have deleted some of them meanwhile.)
            found |= {"numbers": list(deleted.documents), "num_tokens": deleted.num_tokens}
    return _listed(found)


def would_delete(index: Path, arguments: dict[str, Any]) -> dict[str, Any]:
    """Which documents a deletion takes away. Raises as `everygram.delete`."""
    where = arguments["where"]
    found = everygram.delete(
        index,
        documents=arguments["numbers"],
        where=None if where is None else next(iter(where.items())),
        matching=arguments["query"],
        raw=arguments["raw"],
        missing_ok=arguments["missing_ok"],
        dry_run=True,
    )
    return {
        "numbers": list(found.documents),
        "num_tokens": found.num_tokens,
        "missing_field": found.missing_field,
    }


def _listed(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "num_documents": len(found["numbers"]),
        "num_tokens": found["num_tokens"],
        "numbers": found["numbers"][:LISTED],
        "missing_field": found["missing_field"],
    }


def compact(job: Run) -> dict[str, Any] | None:
    """Compact, and prepare if that is wanted. Done twice, the second changes nothing."""
    before = job.before.get("state")
    if job.end is not None:
        # (Deletions and additions change these numbers; what prepares does not change any.)
        now = _state(job.index)
        done = before is not None and now[0] != before[0] and now[1:] == before[1:]
        return _compacted(job) if done and not job.arguments["prepare"] else None
    begun = False

    def progress(stage: Progress) -> None:
        nonlocal begun
        if not begun and before is None:
            with everygram.open(job.index) as index:
                job.record(
                    state=_state(job.index),
                    bytes=index.manifest.bytes,
                    segments=len(index.manifest.segments),
                )
        begun = True
        job.tell(stage)

    job.when_free(
        lambda: everygram.compact(
            job.index,
            full=job.arguments["full"],
            kind=job.arguments["kind"],
            restart=before is None,
            progress=progress,
        )
    )
    if job.arguments["prepare"]:
        job.when_free(lambda: everygram.prepare(job.index, progress=job.tell))
    return _compacted(job)


def _state(path: Path) -> list[Any]:
    """What tells a compaction of an index from other changes of it."""
    with everygram.open(path) as index:
        return [index.version, index.num_documents, index.manifest.next_document]


def _compacted(job: Run) -> dict[str, Any]:
    with everygram.open(job.index) as index:
        info, manifest = index.info(), index.manifest
    evidence = job.state.get("evidence", {})
    return {
        "segments_before": evidence.get("segments", len(manifest.segments)),
        "segments_after": len(manifest.segments),
        "freed_bytes": evidence.get("bytes", manifest.bytes) - manifest.bytes,
        "prepared": info["prepared"],
    }


OPERATIONS: dict[str, Callable[[Run], dict[str, Any] | None]] = {
    "add": add,
    "delete": delete,
    "compact": compact,
}


def trouble_of(error: Exception, index: Path, name: str, arguments: dict[str, Any]) -> Trouble:
    """What a client is told of an error. The log has those that are no fault of the client's."""
    if isinstance(error, Trouble):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return Trouble("index-unavailable", NO_SPACE)
    if isinstance(error, everygram.BuildError | everygram.FormatError):
        logger.error("a job on index '%s' failed: %s", name, error)
        return Trouble("index-unavailable", told(str(error), index, name))
    if isinstance(error, EverygramError):
        detail = told(str(error), index, name, arguments.get("body") == JSON_BODY)
        return Trouble("bad-query", detail)
    logger.error("a job on index '%s' failed", name, exc_info=error)
    return Trouble("internal", "the job failed; the service's log says why")


def dry_run(path: Path) -> None:
    """Write what a deletion would take away to standard output; its arguments are on standard
    input."""
    arguments = json.load(sys.stdin)
    try:
        said = {"result": _listed(would_delete(path, arguments))}
        with everygram.open(path) as index:
            said["result"]["index_version"] = index.version
    except Exception as error:
        said = failed(trouble_of(error, path, arguments["index"], arguments))
    json.dump(said, sys.stdout)


def _watch(parent: int, cancel: Path | None) -> None:
    """End this process with its parent, or if it is not wanted any more. No change of an index is
    harmed by that: one that was not published has not been made."""
    while os.getppid() == parent and not (cancel is not None and cancel.exists()):
        time.sleep(WATCH_SECONDS)
    os._exit(0 if os.getppid() == parent else 1)


def main(parent: str, place: str, *more: str) -> None:
    """Run a job, or the dry run of one."""
    os.nice(NICENESS)
    dry = place == "--dry-run"
    folder = Path(more[0] if dry else place)
    cancel = None if dry or more else folder / CANCEL
    threading.Thread(target=_watch, args=(int(parent), cancel), daemon=True).start()
    if dry:
        dry_run(folder)
    else:
        run(folder, more[0] if more else None)


if __name__ == "__main__":
    main(*sys.argv[1:])
