"""Work that threads share, whose results come in the order of what it was given."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_order(work: Callable[[T], R], items: Iterable[T], threads: int | None = None) -> Iterator[R]:
    """work(item) of each item, in order; threads: the most at once (default: one per processor).

    No more items are taken than threads can be at, and one. What the work or the items raise is
    raised in its turn, and nothing is begun after it.
    """
    most = threads or _processors()
    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(most, "everygram-lm")
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            del item
            if len(pending) > most:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _processors() -> int:
    """The number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
