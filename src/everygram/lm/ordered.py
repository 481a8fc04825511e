"""Work that threads share, whose results come in the order of what it was given."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from everygram.engine.pace import cores

T = TypeVar("T")
R = TypeVar("R")


def in_order(work: Callable[[T], R], items: Iterable[T], threads: int | None = None) -> Iterator[R]:
    """work(item) of each item, in order; threads: the most at once (default: one per processor).

    No more items are taken than threads can be at, and one. What the work or the items raise is
    raised in its turn, and nothing is begun after it.
    """
    most = threads or cores()
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
