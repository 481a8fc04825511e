"""Runs the jobs that change indexes, one at a time for each index, each in a process of its own.

Every worker of a service has a `Tender`; the one that has an index's lock runs its jobs. In: the
indexes served. A job's process says in the job's folder what became of it (see `writing`); one that
ends without is begun again, and goes on where it was. Knows nothing of HTTP.
"""

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from everygram.index import Index
from everygram.index.union import UnionIndex
from everygram.server.jobs import Begun, Jobs, Trouble

logger = logging.getLogger("everygram")

# How often it is looked for jobs that another worker took, or that a service left; and whether the
# process of one has ended.
LOOK_SECONDS, POLL_SECONDS = 1.0, 0.05
TIDY_SECONDS = 600
UNKNOWN = Trouble(
    "internal",
    "the job's process ended again and again, and could not tell whether the index was changed; "
    "look at the index's documents before you repeat it",
)


class Tender:
    """Runs the jobs of indexes until it is cancelled; then their processes end, too.

    A job that is interrupted so goes on once a service runs again.
    """

    def __init__(self, indexes: Callable[[], Iterable[tuple[str, Index]]]) -> None:
        self._indexes = indexes
        self._driving: dict[Path, asyncio.Task[None]] = {}
        self._tidied: dict[Path, float] = {}
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """There is a new job: it need not wait for the next look."""
        self._woken.set()

    async def run(self) -> None:
        """Run jobs as they come."""
        try:
            while True:
                self._woken.clear()
                for path in self._folders():
                    if path in self._driving and not self._driving[path].done():
                        continue
                    if await asyncio.to_thread(_waits, path):
                        self._driving[path] = asyncio.create_task(self._drive(path))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), LOOK_SECONDS)
        finally:
            for task in self._driving.values():
                task.cancel()
            await asyncio.gather(*self._driving.values(), return_exceptions=True)

    def _folders(self) -> set[Path]:
        return {index.path for _, index in self._indexes() if not isinstance(index, UnionIndex)}

    async def _drive(self, path: Path) -> None:
        """Run the jobs of the index in this folder, unless another worker does."""
        jobs = Jobs(path)
        try:
            lock = await asyncio.to_thread(jobs.lock)
            if lock is None:
                return
            try:
                while (begun := await asyncio.to_thread(jobs.begin)) is not None:
                    await _run(jobs, begun, lock)
                if time.monotonic() - self._tidied.get(path, -TIDY_SECONDS) >= TIDY_SECONDS:
                    self._tidied[path] = time.monotonic()
                    await asyncio.to_thread(jobs.tidy)
            finally:
                os.close(lock)
        except OSError as error:
            # Such as a full disk, or a folder that was removed: it is tried again.
            logger.warning("the jobs of '%s' wait: %s", path.name, error)


def _waits(path: Path) -> bool:
    try:
        return Jobs(path).waiting()
    except OSError:
        return False


async def _run(jobs: Jobs, begun: Begun, lock: int) -> None:
    """Run a job's process to its end."""
    starting = asyncio.ensure_future(asyncio.to_thread(_started, jobs, begun, lock))
    try:
        process = await asyncio.shield(starting)
        while process.poll() is None:
            await asyncio.sleep(POLL_SECONDS)
    except asyncio.CancelledError:
        # (Nothing is lost but the work since its last finished stage; no signal ends it sooner.)
        process = await starting
        process.kill()
        while process.poll() is None:
            await asyncio.sleep(POLL_SECONDS)
        jobs.interrupted(begun.number)
        raise
    if process.returncode == 0:
        return
    logger.warning("the process of job %s ended with %d", begun.number, process.returncode)
    if begun.end is not None:
        await asyncio.to_thread(jobs.give_up, begun.number, UNKNOWN)
    else:
        await asyncio.sleep(LOOK_SECONDS)


def _started(jobs: Jobs, begun: Begun, lock: int) -> subprocess.Popen[bytes]:
    """The process of a job. It has the lock, too, as long as it lives."""
    return subprocess.Popen(
        [
            *command(),
            str(jobs.folder / "queue" / begun.number),
            *([] if begun.end is None else [begun.end]),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=(lock,),
    )


def command() -> list[str]:
    """What runs `everygram.server.writing` for this process, up to its own arguments."""
    return [sys.executable, "-P", "-m", "everygram.server.writing", str(os.getpid())]
