"""How searches are shared out to threads, and whether they will wait for a disk."""

import os
from collections.abc import Callable
from functools import cache
from resource import RUSAGE_SELF, getrusage
from time import perf_counter_ns
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

T = TypeVar("T")

# A search that takes longer than this may have waited for a disk. If the process has read from one
# since, the next searches ask for all they may read at once.
DISK_NS = 50_000
COLD_SEARCHES = 64
# Queries of a batch that one thread takes at a time.
CHUNK = 512
# Chunks from which on other threads help: handing a few to them takes longer than searching.
THREADED = 4


class Pace:
    """Learns from the time that searches take: they are `cold` while they may wait for a disk.

    Any thread may use it; what one has learned another may overwrite, which costs time alone.
    """

    def __init__(self) -> None:
        self.cold = True
        self._left = COLD_SEARCHES
        self._reads = _disk_reads()

    def timed(self, start: int, searches: int = 1) -> None:
        """Some searches have ended that began at `start` (of perf_counter_ns).

        Call it if they were cold, or took longer than DISK_NS each: to look costs as much as a
        short search.
        """
        if not self.cold and perf_counter_ns() - start < DISK_NS * searches:
            return
        reads = _disk_reads()
        if reads != self._reads:
            self._reads, self._left = reads, COLD_SEARCHES
        else:
            self._left = max(0, self._left - searches)
        self.cold = self._left > 0


def spread(work: Callable[[int, int], T], number: int, chunk: int = CHUNK) -> list[T]:
    """work(begin, end) over [0, number) in chunks, by the threads of the one pool if many."""
    bounds = [(begin, min(number, begin + chunk)) for begin in range(0, number, chunk)]
    if len(bounds) < THREADED or _cores() < 2:
        return [work(*bound) for bound in bounds]
    return list(_pool(os.getpid()).map(lambda bound: work(*bound), bounds))


def _cores() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _disk_reads() -> int:
    """What this process has read from disks so far: a number that grows when it reads."""
    usage = getrusage(RUSAGE_SELF)
    return usage.ru_majflt + usage.ru_inblock


@cache
def _pool(process: int) -> "ThreadPoolExecutor":
    """The threads of this process: those of the process it was forked from are not in it."""
    from concurrent.futures import ThreadPoolExecutor  # slow to import, and few searches need it

    return ThreadPoolExecutor(_cores(), "everygram")
