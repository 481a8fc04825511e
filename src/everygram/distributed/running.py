"""Runs jobs as tasks of a Ray cluster, again if they fail or what runs them dies.

Jobs in, results out, in the order in which they are done. Does not know what a job does; whatever
must survive the death of the driver, a job itself keeps on disk.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from everygram.errors import BuildError, LockedError

# So often is a job tried before all fails; deaths of nodes are not its fault, and count only from
# so many on.
TRIES, DEATHS = 3, 100
# Seconds between two reports of a job, and how long the driver waits for one that is done.
REPORT_SECONDS, WAIT_SECONDS = 0.5, 0.5
# Seconds to wait for what a lost worker may still have locked.
LOCKED_SECONDS = 1.0
# What tells tokenizers' libraries how many threads to use.
LIBRARIES_THREADS = ("RAYON_NUM_THREADS", "FASTOKENS_BPE_THREADS")


class Job(Protocol):
    """What a task is told: its number, and the memory (bytes) and processors that it takes."""

    @property
    def number(self) -> int: ...

    @property
    def memory(self) -> int: ...

    @property
    def threads(self) -> int: ...


J = TypeVar("J", bound=Job)
P = TypeVar("P")
R = TypeVar("R")


def run_jobs(
    ray: Any,
    jobs: Sequence[J],
    do: Callable[[J, Callable[[P], None]], R],
    named: Callable[[J], str],
    tell: Callable[[int, P], None],
) -> Iterator[tuple[int, R]]:
    """Do jobs as tasks; gives the number and the result of each that is done.

    do: called in the task with the job and a function to tell how far it is, which reaches `tell`
    with the job's number, but not each time. named: what messages call a job. Raises BuildError for
    one that has failed TRIES times.
    """
    if not jobs:
        return
    here = ray.get_runtime_context().get_node_id()
    at_home = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=False)
    board = ray.remote(_Board).options(num_cpus=0, scheduling_strategy=at_home).remote()
    task = ray.remote(_do)
    common = ray.put((do, list(jobs)))
    failures: dict[int, list[Exception]] = {place: [] for place in range(len(jobs))}
    deaths = 0
    running: dict[Any, int] = {}

    def submit(place: int) -> None:
        job = jobs[place]
        given = task.options(
            num_cpus=job.threads,
            memory=job.memory,
            max_retries=0,
            name=f"everygram {named(job)}",
            runtime_env={"env_vars": dict.fromkeys(LIBRARIES_THREADS, str(job.threads))},
        )
        running[given.remote(common, place, board)] = place

    try:
        for place in failures:
            submit(place)
        while running:
            done, _ = ray.wait(list(running), timeout=WAIT_SECONDS)
            for each in done:
                place = running.pop(each)
                try:
                    result = ray.get(each)
                except ray.exceptions.RayError as error:
                    cause = getattr(error, "cause", None) or error
                    if isinstance(cause, LockedError | ray.exceptions.NodeDiedError):
                        deaths += 1
                        time.sleep(LOCKED_SECONDS)
                    else:
                        failures[place].append(cause)
                    if len(failures[place]) == TRIES or deaths == DEATHS:
                        raise _failed(named(jobs[place]), cause, deaths) from None
                    submit(place)
                else:
                    yield jobs[place].number, result
            _tell(ray, board, tell)
    finally:
        for each in running:
            ray.cancel(each, force=True)
        ray.kill(board)


def _failed(name: str, error: Exception, deaths: int) -> BuildError:
    what = str(error).strip() or type(error).__name__
    said = f"{name} failed {TRIES} times, the last time: {what}"
    if deaths == DEATHS:
        said = f"machines died under tasks {DEATHS} times, the last time under {name}: {what}"
    return BuildError(f"{said}; run the same command again to do what is missing")


def _tell(ray: Any, board: Any, tell: Callable[[int, Any], None]) -> None:
    """Pass on what tasks have said of how far they are."""
    try:
        said = ray.get(board.take.remote(), timeout=WAIT_SECONDS)
    except ray.exceptions.RayError:  # (It only tells.)
        return
    for number, progress in said.items():
        tell(number, progress)


class _Board:
    """Where tasks say how far they are: an actor."""

    def __init__(self) -> None:
        self._said: dict[int, Any] = {}

    def say(self, number: int, progress: Any) -> None:
        self._said[number] = progress

    def take(self) -> dict[int, Any]:
        said, self._said = self._said, {}
        return said


def _do(common: tuple[Callable[[Any, Any], Any], Sequence[Job]], place: int, board: Any) -> Any:
    """A task: do one of the jobs."""
    do, jobs = common
    job, last = jobs[place], 0.0

    def tell(progress: Any) -> None:
        nonlocal last
        if time.monotonic() - last >= REPORT_SECONDS:
            last = time.monotonic()
            board.say.remote(job.number, progress)

    return do(job, tell)
