"""How searches are distributed to threads, and whether they are expected to wait for a disk."""

import os
import threading
from collections.abc import Callable
from functools import cache
from resource import RUSAGE_SELF, getrusage
from time import perf_counter_ns
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

T = TypeVar("T")
_thread = threading.local()

# A search that takes longer than DISK_NS may have waited for a disk. If the process has read from a
# disk meanwhile, the next COLD_SEARCHES searches request everything that they may read at once.
DISK_NS = 50_000
COLD_SEARCHES = 64
# Positions, or ranks, of a self-index that are read together before it is known whether they wait.
COLD_READS = 1024
# Queries of a batch that one thread processes at a time.
CHUNK = 512
# Threads are used from this many chunks on: handing out fewer takes longer than searching.
THREADED = 4


class Pace:
    """Learns from the time that searches take; `cold` means that searches may wait for a disk.

    Any thread may use it. One thread may overwrite what another has learned, which only costs time.
    """

    def __init__(self, always: bool = False) -> None:
        """always: searches wait whatever their time says, for what is in a store."""
        self.cold, self._always = True, always
        self._left = COLD_SEARCHES
        self._reads = _disk_reads()

    def timed(self, start: int, searches: int = 1) -> None:
        """Tell that some searches, which began at `start` (by perf_counter_ns), have ended.

        Call this only if they were cold or took longer than DISK_NS each: it costs as much as a
        short search.
        """
        if self._always or (not self.cold and perf_counter_ns() - start < DISK_NS * searches):
            return
        reads = _disk_reads()
        if reads != self._reads:
            self._reads, self._left = reads, COLD_SEARCHES
        else:
            self._left = max(0, self._left - searches)
        self.cold = self._left > 0

    def read(self, read: Callable[[int, int, bool], np.ndarray], number: int) -> np.ndarray:
        """What read(begin, end, cold) reads of [0, number) of a self-index, in order.

        (To request what is in memory takes twenty times as long as to read it.)
        """
        begin, found = 0, list[np.ndarray]()
        while begin < number or not found:
            end = min(number, begin + COLD_READS) if self.cold else number
            start = perf_counter_ns()
            found.append(read(begin, end, self.cold))
            self.timed(start, end - begin)
            begin = end
        return found[0] if len(found) == 1 else np.concatenate(found)


def spread(work: Callable[[int, int], T], number: int, chunk: int = CHUNK) -> list[T]:
    """Call work(begin, end) for chunks of [0, number); many chunks are shared by a thread pool.

    Work that is shared already is not shared again: it would wait for threads that wait for it.
    """
    bounds = [(begin, min(number, begin + chunk)) for begin in range(0, number, chunk)]
    if len(bounds) < THREADED or cores() < 2 or getattr(_thread, "shared", False):
        return [work(*bound) for bound in bounds]
    return list(_pool(os.getpid()).map(lambda bound: work(*bound), bounds))


def cores() -> int:
    """The number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _disk_reads() -> int:
    """A number that grows whenever this process reads from a disk."""
    usage = getrusage(RUSAGE_SELF)
    return usage.ru_majflt + usage.ru_inblock


@cache
def _pool(process: int) -> "ThreadPoolExecutor":
    """The thread pool of this process: a forked process has none of its parent's threads."""
    from concurrent.futures import ThreadPoolExecutor  # slow to import, and few searches need it

    return ThreadPoolExecutor(cores(), "everygram", initializer=_share)


def _share() -> None:
    """Note that this thread is one of the pool."""
    _thread.shared = True
