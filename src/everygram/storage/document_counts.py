"""Makes the content of `document_counts.bin`, from which documents are counted (see `format`).

Tokens, the suffix array and the documents' offsets in, pieces of the file out. The repeats of short
streams are found by sorting, without loading numba; those of others as `kernels.repeats` says, in
three passes: over the suffix array, over the tokens, and over the suffix array again. What does not
fit in memory meanwhile is in files without names.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from everygram.errors import DamagedIndexError
from everygram.storage import format as fmt
from everygram.storage.disk import positions_in
from everygram.storage.lcps import (
    DAMAGED,
    STEP,
    WRITE,
    Bits,
    Scratch,
    added_up,
    by_rank,
    measured_lcps,
    sample_documents,
    set_few,
    set_many,
)

# The repeats of streams of up to this many tokens are found without numba, in at most 0.2 s: as
# with sorting, a first small index need not wait for the compiler. Tests change it.
SHORT = 500_000


def document_counts(
    tokens: np.ndarray,
    sa: np.ndarray,
    offsets: np.ndarray,
    memory: int,
    threads: int,
    folder: Path | None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[np.ndarray]:
    """The content of the file in pieces: u64. It is the same for any memory and threads.

    memory: the limit in bytes, as of `build`. folder: where the files without names are; None: what
    would be in them is held in memory, up to 1.5 bytes per token. Calls `progress(tokens, tokens in
    all)`. Linear time. Raises DamagedIndexError if the arrays contradict one another.
    """
    short = tokens.shape[0] <= SHORT
    repeats = (
        iter([_few_repeats(tokens, sa, offsets)])
        if short
        else _repeats(tokens, sa, offsets, memory, threads, folder, progress)
    )
    yield from encoded(repeats, set_few if short else set_many, tokens.shape[0])


def encoded(
    repeats: Iterator[np.ndarray], set_ones: "Callable[[np.ndarray, int, np.ndarray], bool]", n: int
) -> Iterator[np.ndarray]:
    """The file's content for the repeats of each rank, which come in pieces (int64)."""
    bits = Bits(set_ones)
    blocks = []
    guides = []
    rank = size = 0
    for piece in repeats:
        places = np.cumsum(piece + 1) + (size - 1)
        new = np.arange(-(-size // fmt.COUNT_BLOCK), int(places[-1]) // fmt.COUNT_BLOCK + 1)
        blocks.append(rank + np.searchsorted(places, new * fmt.COUNT_BLOCK))
        guides.append(places[-rank % fmt.COUNT_GUIDED :: fmt.COUNT_GUIDED] // fmt.COUNT_BLOCK)
        yield bits.add(places)
        rank, size = rank + piece.shape[0], int(places[-1]) + 1
    if rank != n:
        raise DamagedIndexError(DAMAGED)
    yield bits.end()
    yield np.zeros(-bits.written % (fmt.COUNT_BLOCK // 64), np.uint64)
    yield np.concatenate(blocks).astype(np.uint64)
    yield np.concatenate(guides).astype(np.uint64)


def _few_repeats(tokens: np.ndarray, sa: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The repeats of every rank of a short stream: int64, shape (n,)."""
    n = tokens.shape[0]
    order = positions_in(sa)
    if (np.bincount(order[order < n], minlength=n) != 1).any():
        raise DamagedIndexError(DAMAGED)
    documents = np.searchsorted(offsets, order.astype(np.uint64), "right")
    by_document = np.argsort(documents, kind="stable")
    first, last = by_document[:-1], by_document[1:]
    same = documents[first] == documents[last]
    first, last = first[same] + 1, last[same]
    # A rank's LCP and its distance from the end in one number: the least of a stretch is the last
    # rank of its least LCP. The stretches of a repeat are two of 2^level ranks, which may overlap.
    least = _few_lcps(tokens, order) * n + (n - 1 - np.arange(n))
    levels = np.frexp(last - first + 1)[1] - 1
    places = np.empty(first.shape[0], np.int64)
    for level in range(int(levels.max(initial=-1)) + 1):
        now = levels == level
        start, end = first[now], last[now] + 1 - (1 << level)
        places[now] = n - 1 - np.minimum(least[start], least[end]) % n
        least = np.minimum(least[: -(1 << level)], least[1 << level :])
    return np.bincount(places, minlength=n)


def _few_lcps(tokens: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The LCP of every rank of a short stream, from the positions in order: int64, shape (n,)."""
    n = tokens.shape[0]
    separator = int(np.iinfo(tokens.dtype).max)
    stream = np.append(tokens, np.array([separator], tokens.dtype))
    starts = stream == separator
    # No LCP is greater than the tokens from a position up to the next separator.
    ends = np.flatnonzero(starts)
    positions = np.arange(n)
    limits = ends[np.searchsorted(ends, positions, "right")] + 1 - positions
    before = np.full(n, n)
    before[order[1:]] = order[:-1]
    # If the tokens before two suffixes are equal, their own LCP is one less than that of the
    # suffixes which these tokens begin. (Those before separators need not be next to each other.)
    known = (stream[positions - 1] == stream[before - 1]) & ~starts[:n]
    known &= (before > 0) & (before < n) & (positions > 0)
    at = np.flatnonzero(~known & (before < n))
    limit = np.minimum(limits[at], limits[before[at]])
    length = np.zeros(at.shape[0], np.int64)
    going, width = np.arange(at.shape[0]), 8
    while going.size:
        ahead = length[going][:, None] + np.arange(width)
        here = stream[np.minimum(at[going][:, None] + ahead, n)]
        there = stream[np.minimum(before[at[going]][:, None] + ahead, n)]
        equal = np.minimum.accumulate(here == there, axis=1).sum(axis=1)
        length[going] += equal
        going = going[(equal == width) & (length[going] < limit[going])]
        width = min(2 * width, max(8, WRITE // max(1, going.size)))
    lcps = np.zeros(n, np.int64)
    lcps[at] = np.minimum(length, limit)
    measured = np.maximum.accumulate(np.where(known, 0, positions))
    lcps = lcps[measured] - (positions - measured)
    in_order: np.ndarray = lcps[order]
    return in_order


def _repeats(
    tokens: np.ndarray,
    sa: np.ndarray,
    offsets: np.ndarray,
    memory: int,
    threads: int,
    folder: Path | None,
    progress: Callable[[int, int], None],
) -> Iterator[np.ndarray]:
    """The repeats of each rank, in pieces: int64."""
    n = tokens.shape[0]
    done = 0

    def passed(count: int) -> None:
        nonlocal done
        done += count
        progress(done // 2, n)

    with ThreadPoolExecutor(threads) as pool, Scratch(folder) as found:
        with Scratch(folder) as bits, Scratch(folder) as samples, Scratch(folder) as documents:
            measured = measured_lcps(
                tokens, sa, memory, threads, pool, bits.write, samples.write, passed
            )
            sample_documents(n, offsets, documents.write)
            lcps = measured, bits.array(np.uint64), samples.array(np.int64)
            sampled = documents.array(np.int64)
            counted = found.reserve(n, np.uint8)
            ranks, more = _assigned(
                n, sa, offsets, lcps, sampled, threads, pool, counted, folder, passed
            )
        yield from added_up(counted, ranks, more)


def _assigned(
    n: int,
    sa: np.ndarray,
    offsets: np.ndarray,
    lcps: tuple[np.ndarray, np.ndarray, np.ndarray],
    sampled: np.ndarray,
    threads: int,
    pool: ThreadPoolExecutor,
    counted: np.ndarray,
    folder: Path | None,
    passed: Callable[[int], None],
) -> tuple[np.ndarray, np.ndarray]:
    """Set the repeats of each rank, `counted` (u8); returns what is to be added to them.

    That is ranks, int64, shape (k,), ascending (a rank may be there twice), and their repeats.
    """
    from everygram.kernels import repeats as kernels

    num_documents = offsets.shape[0]

    def gather(first: int) -> tuple[np.ndarray, np.ndarray]:
        part = sa[first : first + STEP]
        length, document = np.empty((2, part.shape[0]), np.int64)
        if not kernels.gather(part, *lcps, sampled, offsets, length, document):
            raise DamagedIndexError(DAMAGED)
        if first <= n - num_documents < first + part.shape[0]:
            length[n - num_documents - first] = 0  # the first separator's, which is kept as 1
        return length, document

    with ExitStack() as scratch:
        # What grows with the documents, or with the longest repeat, is no memory of the build's.
        def reserve(*shape: int) -> np.ndarray:
            return scratch.enter_context(Scratch(folder)).reserve(shape, np.int64)

        last = reserve(num_documents)
        last.fill(-1)
        stack, top = np.empty((2 * STEP, 3), np.int64), 0
        late = np.empty((n // 256 + 1, 2), np.int64)
        more = []
        ahead: deque[Future[tuple[np.ndarray, np.ndarray]]] = deque()
        firsts = iter(range(0, n, STEP))
        for base in range(0, n, STEP):
            for first in firsts:
                ahead.append(pool.submit(gather, first))
                if len(ahead) > 2 * threads:
                    break
            length, document = ahead.popleft().result()
            if top + STEP > stack.shape[0]:
                stack, before = reserve(2 * stack.shape[0], 3), stack
                stack[:top] = before[:top]
            top, number = kernels.assign(base, length, document, last, stack, top, counted, late)
            more.append(late[:number].copy())
            passed(length.shape[0])
        for start in range(0, top, STEP):
            left = stack[start : min(top, start + STEP)]
            ranks, repeats = left[:, kernels.RANK], left[:, kernels.REPEATS]
            counted[ranks] = np.minimum(repeats, 255)
            many = repeats > 255
            more.append(np.stack([ranks[many], repeats[many] - 255], axis=1))
    return by_rank(more)
