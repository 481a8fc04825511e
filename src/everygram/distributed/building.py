"""Builds the parts of a corpus as tasks of a Ray cluster: `build`."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Unpack

from everygram import arguments
from everygram.arguments import Size
from everygram.building.external_sort import BYTES_A_TOKEN, RESERVED
from everygram.building.indexer import build_of, build_part
from everygram.building.parts import Job, Run
from everygram.building.source import Source, open_source
from everygram.corpus.memory import Given
from everygram.corpus.source import CorpusKeywords
from everygram.distributed.cluster import LOCAL, connected
from everygram.errors import BuildError, LockedError, OptionError
from everygram.progress import BuildReport, Progress
from everygram.storage.build_state import BuildState

# So often is a part tried before the build fails; deaths of nodes are not its fault, and count only
# from so many on.
TRIES, DEATHS = 3, 100
# Seconds between two reports of a part, and how long the driver waits for one that is built.
REPORT_SECONDS, WAIT_SECONDS = 0.5, 0.5
# Seconds to wait for the lock of a part that a lost worker may still hold.
LOCKED_SECONDS = 1.0
# The most threads of a task by default, and what tells tokenizers' libraries how many to use.
THREADS = 4
LIBRARIES_THREADS = ("RAYON_NUM_THREADS", "FASTOKENS_BPE_THREADS")


def build(
    corpus: Given,
    out: str | os.PathLike[str],
    tokenizer: str | os.PathLike[str] | None = None,
    *,
    ray: str = LOCAL,
    parts: int | None = None,
    vocab_size: int | None = None,
    memory: Size | None = None,
    threads: int | None = None,
    document_counts: bool = True,
    kind: str | None = None,
    sample_every: int | None = None,
    restart: bool = False,
    progress: Callable[[Progress], None] | None = None,
    **options: Unpack[CorpusKeywords],
) -> BuildReport:
    """As `everygram.build` with `parts`, each of which is a task of a Ray cluster.

    The corpus and `out` are read and written at the same paths on all machines. The index is that
    of `everygram.build` with as many parts, byte for byte. Parts that are built are kept: another
    run builds the others, whatever has died.

    ray: the address of the cluster, "auto" for the one on this machine, or "local" for a new one
        with all its processors, which ends with the build.
    parts: default: one for each task that the cluster can run at once, more if one would not fit in
        its memory; of an interrupted build, as many as that had.
    memory, threads: of one task (default: up to 4 threads, and their share of a machine's memory).

    Raises as `everygram.build`, OptionError for a cluster that does not answer or is too small,
    MissingExtraError without Ray, BuildError for a part that has failed three times, with the last
    error.
    """
    source = open_source(corpus, tokenizer, vocab_size=vocab_size, **options)
    with tasks(source, out, ray, parts, memory, threads) as (spread, run):
        return build_of(
            source,
            out,
            **spread,
            document_counts=document_counts,
            kind=kind,
            sample_every=sample_every,
            run=run,
            restart=restart,
            progress=progress,
        )


@contextmanager
def tasks(
    source: Source,
    out: str | os.PathLike[str],
    ray: str,
    parts: int | None,
    memory: Size | None,
    threads: int | None,
) -> Iterator[tuple[dict[str, int], Run]]:
    """What `build_of` is given to build on a cluster: `parts`, `memory` and `threads`, and `run`.

    Raises as `build`.
    """
    with connected(ray) as cluster:
        spread = _spread(cluster, source, out, parts, memory, threads)
        yield spread, partial(_run, cluster)


def _spread(
    ray: Any,
    source: Source,
    out: str | os.PathLike[str],
    parts: int | None,
    memory: Size | None,
    threads: int | None,
) -> dict[str, int]:
    """The parts, and memory (bytes) and threads of each: those given, or the defaults."""
    machines = [
        (int(each["Resources"].get("CPU", 0)), int(each["Resources"].get("memory", 0)))
        for each in ray.nodes()
        if each["Alive"]
    ]
    machines = [(cpus, held) for cpus, held in machines if cpus]
    if not machines:
        raise OptionError("ray: expected a cluster with processors, found none in it")
    if threads is None:
        threads = min(THREADS, max(cpus for cpus, _ in machines))
    threads = arguments.natural("threads", threads, 1)
    given = arguments.size("memory", memory)
    if given is None:
        given = min(held * threads // max(cpus, threads) for cpus, held in machines)
    slots = sum(min(cpus // threads, held // max(1, given)) for cpus, held in machines)
    if not slots:
        raise OptionError(
            f"ray: expected a machine with {threads} processors and {given:,} bytes of memory for "
            f"a part, found {', '.join(f'{cpus} and {held:,}' for cpus, held in machines[:3])}; "
            "give parts fewer threads or less memory"
        )
    if parts is None:
        left = BuildState.read(arguments.path("out", out))
        known = None if left is None else left.arguments.get("parts")
        if isinstance(known, int):
            parts = known
        else:
            source.limit(given)
            needed = source.estimate().tokens * BYTES_A_TOKEN
            parts = max(slots, -(-needed // max(1, given - source.beside - RESERVED)))
    return {"parts": parts, "memory": given, "threads": threads}


def _run(ray: Any, jobs: Sequence[Job], tell: Callable[[int, Progress], None]) -> Iterator[int]:
    """Build parts as tasks; gives the number of each that is built.

    Raises BuildError for one that has failed TRIES times.
    """
    if not jobs:
        return
    here = ray.get_runtime_context().get_node_id()
    at_home = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=False)
    board = ray.remote(_Board).options(num_cpus=0, scheduling_strategy=at_home).remote()
    task = ray.remote(_build)
    common = ray.put(list(jobs))
    failures: dict[int, list[Exception]] = {place: [] for place in range(len(jobs))}
    deaths = 0
    running: dict[Any, int] = {}

    def submit(place: int) -> None:
        job = jobs[place]
        threads = str(job.threads)
        given = task.options(
            num_cpus=job.threads,
            memory=job.memory,
            max_retries=0,
            name=f"everygram part {job.number}",
            runtime_env={"env_vars": dict.fromkeys(LIBRARIES_THREADS, threads)},
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
                    ray.get(each)
                except ray.exceptions.RayError as error:
                    cause = getattr(error, "cause", None) or error
                    if isinstance(cause, LockedError | ray.exceptions.NodeDiedError):
                        deaths += 1
                        time.sleep(LOCKED_SECONDS)
                    else:
                        failures[place].append(cause)
                    if len(failures[place]) == TRIES or deaths == DEATHS:
                        raise _failed(jobs, place, cause) from None
                    submit(place)
                else:
                    yield jobs[place].number
            _tell(ray, board, tell)
    finally:
        for each in running:
            ray.cancel(each, force=True)
        ray.kill(board)


def _failed(jobs: Sequence[Job], place: int, error: Exception) -> BuildError:
    job = jobs[place]
    what = str(error).strip() or type(error).__name__
    return BuildError(
        f"part {job.number} ('{job.folder}') failed {TRIES} times, the last time: {what}; run the "
        "same command again to build what is missing"
    )


def _tell(ray: Any, board: Any, tell: Callable[[int, Progress], None]) -> None:
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
        self._said: dict[int, Progress] = {}

    def say(self, number: int, progress: Progress) -> None:
        self._said[number] = progress

    def take(self) -> dict[int, Progress]:
        said, self._said = self._said, {}
        return said


def _build(jobs: Sequence[Job], place: int, board: Any) -> None:
    """A task: build one of the parts."""
    job, last = jobs[place], 0.0

    def tell(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= REPORT_SECONDS:
            last = time.monotonic()
            board.say.remote(job.number, progress)

    build_part(job, tell)
