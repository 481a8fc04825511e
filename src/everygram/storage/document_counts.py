"""Makes the content of `document_counts.bin`, from which documents are counted (see `format`).

Tokens, the suffix array and the documents' offsets in, pieces of the file out. The repeats of short
streams are found by sorting, without loading numba; those of others as `kernels.repeats` says, in
three passes: over the suffix array, over the tokens, and over the suffix array again. What does not
fit in memory meanwhile is in files without names.
"""

import io
import mmap
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from everygram.errors import DamagedIndexError
from everygram.storage import format as fmt
from everygram.storage.disk import as_bytes, positions_in

# The repeats of streams of up to this many tokens are found without numba, in at most 0.2 s: as
# with sorting, a first small index need not wait for the compiler. Tests change it.
SHORT = 500_000
# The part of the memory limit for buffers, and the fewest positions that are linked together.
RESERVED = 32 << 20
LEAST_LINKED = 1 << 16
# Ranks that are looked up together by one thread, and numbers that are written together.
STEP = 1 << 16
WRITE = 1 << 16
# Positions are linked in 4 bytes in streams of fewer tokens than this. Tests lower it.
NARROW_BELOW = 2**32
DAMAGED = (
    "the sorted suffixes do not fit their tokens: if this is a build, run it again with --restart; "
    "else 'everygram verify' says what is damaged: restore it or rebuild the index"
)


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
    yield from _encoded(repeats, _set_few if short else _set_many, tokens.shape[0])


def _encoded(
    repeats: Iterator[np.ndarray], set_ones: "Callable[[np.ndarray, int, np.ndarray], bool]", n: int
) -> Iterator[np.ndarray]:
    """The file's content for the repeats of each rank, which come in pieces (int64)."""
    bits = _Bits(set_ones)
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


class _Bits:
    """Ascending places of ones in, words (u64) out."""

    def __init__(self, set_ones: "Callable[[np.ndarray, int, np.ndarray], bool]") -> None:
        self._set_ones = set_ones
        self._last = np.zeros(1, np.uint64)  # may get further ones
        self.written = 0

    def add(self, places: np.ndarray) -> np.ndarray:
        """The words that these places (int64, at least one) complete."""
        end = (int(places[-1]) >> 6) + 1
        if end <= self.written:
            raise DamagedIndexError(DAMAGED)
        words = np.zeros(end - self.written, np.uint64)
        words[0] = self._last[0]
        if not self._set_ones(places, self.written << 6, words):
            raise DamagedIndexError(DAMAGED)
        self.written += words.shape[0] - 1
        self._last = words[-1:]
        return words[:-1]

    def end(self) -> np.ndarray:
        """The last word."""
        self.written += 1
        return self._last


def _set_few(places: np.ndarray, first: int, words: np.ndarray) -> bool:
    """As `kernels.bits.set_ones`."""
    at = places - first
    ones = np.uint64(1) << (at & 63).astype(np.uint64)
    np.bitwise_or.at(words, at >> 6, ones)
    return True


def _set_many(places: np.ndarray, first: int, words: np.ndarray) -> bool:
    from everygram.kernels.bits import set_ones

    return set_ones(places, first, words)


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

    with ThreadPoolExecutor(threads) as pool, _Scratch(folder) as found:
        with _Scratch(folder) as bits, _Scratch(folder) as samples, _Scratch(folder) as documents:
            measured = _measured(
                tokens, sa, memory, threads, pool, bits.write, samples.write, passed
            )
            _sample_documents(n, offsets, documents.write)
            lcps = measured, bits.array(np.uint64), samples.array(np.int64)
            sampled = documents.array(np.int64)
            counted = found.reserve(n, np.uint8)
            ranks, more = _assigned(
                n, sa, offsets, lcps, sampled, threads, pool, counted, folder, passed
            )
        for start in range(0, n, WRITE):
            repeats = counted[start : start + WRITE].astype(np.int64)
            first, last = np.searchsorted(ranks, [start, start + WRITE])
            np.add.at(repeats, ranks[first:last] - start, more[first:last])
            yield repeats


def _measured(
    tokens: np.ndarray,
    sa: np.ndarray,
    memory: int,
    threads: int,
    pool: ThreadPoolExecutor,
    write_bits: Callable[[np.ndarray], None],
    write_samples: Callable[[np.ndarray], None],
    passed: Callable[[int], None],
) -> np.ndarray:
    """The LCPs of all positions, if they fit in memory; else none: they are written.

    They are written as bits, with samples of these (see `kernels.repeats`).
    """
    from everygram.kernels import repeats as kernels

    n = tokens.shape[0]
    separator = int(np.iinfo(tokens.dtype).max)
    dtype = np.dtype(np.uint32 if n < NARROW_BELOW else np.int64)
    most = max(LEAST_LINKED, (memory - RESERVED) // dtype.itemsize)
    most -= most % kernels.SAMPLED
    writer = _Bits(_set_many)
    for base in range(0, n, most):
        linked = np.zeros(min(most, n - base), dtype)

        def link(first: int, last: int, base: int = base, linked: np.ndarray = linked) -> bool:
            before = int(positions_in(sa[first - 1 : first])[0]) if first else -1
            # (A position out of range is found by the thread that it belongs to.)
            return kernels.link(sa[first:last], min(before, n - 1), base, linked, n)

        def measure(first: int, last: int, base: int = base, linked: np.ndarray = linked) -> None:
            kernels.measure(tokens, separator, base, linked, first, last)

        if not all(pool.map(link, *_stretches(n, threads))):
            raise DamagedIndexError(DAMAGED)
        list(pool.map(measure, *_stretches(linked.shape[0], threads)))
        if linked.shape[0] == n:
            passed(n)
            return linked
        for start in range(0, linked.shape[0], WRITE):
            lcps = linked[start : start + WRITE].astype(np.int64)
            places = 2 * (base + start + np.arange(lcps.shape[0])) + lcps
            write_bits(writer.add(places))
            write_samples(places[-(base + start) % kernels.SAMPLED :: kernels.SAMPLED])
            passed(lcps.shape[0])
    write_bits(writer.end())
    return np.empty(0, dtype)


def _sample_documents(n: int, offsets: np.ndarray, write: Callable[[np.ndarray], None]) -> None:
    """Write the document of every 256th position: int64."""
    from everygram.kernels.repeats import DOCUMENTS_SHIFT

    for start in range(0, n, WRITE << DOCUMENTS_SHIFT):
        end = min(n, start + (WRITE << DOCUMENTS_SHIFT))
        positions = np.arange(start, end, 1 << DOCUMENTS_SHIFT).astype(np.uint64)
        write(np.maximum(np.searchsorted(offsets, positions, "right") - 1, 0))


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
            return scratch.enter_context(_Scratch(folder)).reserve(shape, np.int64)

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
    added = np.concatenate(more)
    added = added[np.argsort(added[:, 0], kind="stable")]
    return added[:, 0], added[:, 1]


def _stretches(n: int, parts: int) -> tuple[list[int], list[int]]:
    """Begins and ends of stretches of [0, n), about as many as there are threads."""
    bounds = [n * part // parts for part in range(parts + 1)]
    return bounds[:-1], bounds[1:]


class _Scratch:
    """What is written and then read: in a file that has no name, or in memory."""

    def __init__(self, folder: Path | None) -> None:
        self._in_memory = folder is None
        self._file: Any = io.BytesIO()
        if folder is not None:
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115

    def __enter__(self) -> "_Scratch":
        return self

    def __exit__(self, *_: object) -> None:
        # (An array that is still in use keeps what it maps.)
        if not self._in_memory:
            self._file.close()

    def write(self, content: np.ndarray) -> None:
        self._file.write(as_bytes(np.ascontiguousarray(content).data))

    def reserve(self, shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
        """An array of zeros to be written. Raises OSError if the disk has no room for it."""
        if self._in_memory:
            return np.zeros(shape, dtype)
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        # (What is written to a mapped file without room ends the process.)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self._file.fileno(), 0, size)
        else:
            self._file.truncate(size)
        return np.frombuffer(mmap.mmap(self._file.fileno(), size), dtype).reshape(shape)

    def array(self, dtype: Any) -> np.ndarray:
        """All that was written, of this dtype."""
        if self._in_memory:
            return np.frombuffer(self._file.getbuffer(), dtype)
        self._file.flush()
        if os.fstat(self._file.fileno()).st_size == 0:
            return np.empty(0, dtype)
        return np.frombuffer(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ), dtype)
