"""Merges segments in tasks of a Ray cluster: `compact`."""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from everygram import arguments
from everygram.arguments import Size
from everygram.building.compaction import Compaction, compact_by
from everygram.building.stages import resources
from everygram.building.stretches import Stretch, Workers, merge_stretch
from everygram.distributed.cluster import LOCAL, connected, machines
from everygram.distributed.running import run_jobs
from everygram.errors import OptionError
from everygram.progress import Progress


def compact(
    index: str | os.PathLike[str],
    *,
    ray: str = LOCAL,
    full: bool = False,
    kind: str | None = None,
    sample_every: int | None = None,
    memory: Size | None = None,
    threads: int | None = None,
    restart: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Compaction:
    """As `everygram.compact`, with the suffix arrays merged in tasks of a Ray cluster.

    The suffix array is cut into stretches of its ranks; each task merges one and writes it into the
    file at its place. Checking, copying, counting documents and the rest are done here. The index
    is read and written at the same path on all machines, whose file system must let them write
    next to each other into one file. The result is that of `everygram.compact`, byte for byte.
    Stretches that are merged are kept: another run merges the others, whatever has died.

    ray: the address of the cluster, "auto" for the one on this machine, or "local" for a new one
        with all its processors, which ends with the compaction.
    memory, threads: of what is done here. A task has one processor, and the memory of one of these
        threads (default: its share of its machine's memory).

    Raises as `everygram.compact`, OptionError for a cluster that does not answer or is too small,
    MissingExtraError without Ray, BuildError for a stretch that has failed three times, with the
    last error.
    """
    with connected(ray) as cluster:
        return compact_by(
            _workers(cluster, memory, threads),
            index,
            full=full,
            kind=kind,
            sample_every=sample_every,
            memory=memory,
            threads=threads,
            restart=restart,
            progress=progress,
        )


def _workers(ray: Any, memory: Size | None, threads: int | None) -> Workers:
    """As many tasks as the cluster runs at once."""
    found = machines(ray)
    given = arguments.size("memory", memory)
    if given is None:
        each = min(held // cpus for cpus, held in found)
    else:
        limit, share = resources(given, threads)
        each = max(1, limit // share)
    number = sum(min(cpus, held // max(1, each)) for cpus, held in found)
    if not number:
        raise OptionError(
            f"ray: expected a machine with {each:,} bytes of memory for a task, found "
            f"{', '.join(f'{held:,}' for _, held in found[:3])}; give less memory, or more threads"
        )
    return Workers(number, each, partial(_merged, ray))


def _merged(
    ray: Any, jobs: Sequence[Stretch], tell: Callable[[int, int], None]
) -> Iterator[tuple[int, tuple[int, int]]]:
    """Merge stretches as tasks. Raises as `run_jobs`."""
    return run_jobs(ray, jobs, merge_stretch, _named, tell)


def _named(job: Stretch) -> str:
    return f"stretch {job.number} of '{job.folder}'"
