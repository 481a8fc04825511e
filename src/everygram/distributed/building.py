"""Builds the parts of a corpus as tasks of a Ray cluster: `build`."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Unpack

from everygram import arguments
from everygram.addresses import is_address
from everygram.arguments import Size
from everygram.building.external_sort import BYTES_A_TOKEN, RESERVED
from everygram.building.indexer import build_of, build_part
from everygram.building.parts import Job, Run
from everygram.building.source import Source, open_source
from everygram.corpus.memory import Given
from everygram.corpus.source import CorpusKeywords
from everygram.distributed.cluster import LOCAL, connected, machines
from everygram.distributed.running import run_jobs
from everygram.distributed.storing import stored
from everygram.errors import OptionError
from everygram.progress import BuildReport, Progress
from everygram.storage.build_state import BuildState

# The most threads of a task by default.
THREADS = 4


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

    out: a folder, or an address such as s3://bucket/index: then a machine builds a part in a
        temporary folder of its own (TMPDIR) and copies it there.
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
    with tasks(source, out, ray, parts, memory, threads, restart) as given:
        report = build_of(
            source,
            given.folder,
            **given.limits,
            document_counts=document_counts,
            kind=kind,
            sample_every=sample_every,
            run=given.run,
            restart=restart,
            progress=progress,
        )
        return given.publish(report)


class Tasks(NamedTuple):
    """What `build_of` is given to build on a cluster, and what makes of its report that of all.

    limits: `parts`, `memory` and `threads`. folder: for what is done here.
    """

    limits: dict[str, int]
    run: Run
    folder: str | os.PathLike[str]
    publish: Callable[[BuildReport], BuildReport]


@contextmanager
def tasks(
    source: Source,
    out: str | os.PathLike[str],
    ray: str,
    parts: int | None,
    memory: Size | None,
    threads: int | None,
    restart: bool,
) -> Iterator[Tasks]:
    """How a corpus is built on a cluster. Raises as `build`."""
    with connected(ray) as cluster:
        if not is_address(out):
            if parts is None:
                parts = _begun(arguments.path("out", out))
            limits = _limits(cluster, source, parts, memory, threads)
            yield Tasks(limits, partial(_run, cluster), out, lambda report: report)
            return
        with stored(out, arguments.flag("restart", restart)) as (folder, storing):
            limits = _limits(cluster, source, parts or storing.parts, memory, threads)

            def publish(report: BuildReport) -> BuildReport:
                storing.publish(folder)
                return replace(report, path=out)

            yield Tasks(limits, partial(storing.run, cluster), folder, publish)


def _begun(out: Path) -> int | None:
    """The number of parts of an interrupted build."""
    left = BuildState.read(out)
    known = None if left is None else left.arguments.get("parts")
    return known if isinstance(known, int) else None


def _limits(
    ray: Any,
    source: Source,
    parts: int | None,
    memory: Size | None,
    threads: int | None,
) -> dict[str, int]:
    """The parts, and memory (bytes) and threads of each: those given, or the defaults."""
    found = machines(ray)
    if threads is None:
        threads = min(THREADS, max(cpus for cpus, _ in found))
    threads = arguments.natural("threads", threads, 1)
    given = arguments.size("memory", memory)
    if given is None:
        given = min(held * threads // max(cpus, threads) for cpus, held in found)
    slots = sum(min(cpus // threads, held // max(1, given)) for cpus, held in found)
    if not slots:
        raise OptionError(
            f"ray: expected a machine with {threads} processors and {given:,} bytes of memory for "
            f"a part, found {', '.join(f'{cpus} and {held:,}' for cpus, held in found[:3])}; "
            "give parts fewer threads or less memory"
        )
    if parts is None:
        source.limit(given)
        needed = source.estimate().tokens * BYTES_A_TOKEN
        parts = max(slots, -(-needed // max(1, given - source.beside - RESERVED)))
    return {"parts": parts, "memory": given, "threads": threads}


def _run(
    ray: Any, jobs: Sequence[Job], tell: Callable[[int, Progress], None]
) -> Iterator[tuple[int, BuildReport]]:
    """Build parts as tasks. Raises as `run_jobs`."""
    return run_jobs(ray, jobs, build_part, _named, tell)


def _named(job: Job) -> str:
    return f"part {job.number} ('{job.folder}')"
