"""The LCP of every position of a stream, and what is written while they are found.

Tokens and the suffix array in; the LCPs in memory, or in files without names, out. (See
`kernels.repeats`: what counts documents, and left contexts, starts from them.)
"""

import io
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from everygram.errors import DamagedIndexError
from everygram.storage.disk import as_bytes, positions_in

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


def measured_lcps(
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
    writer = Bits(set_many)
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


def sample_documents(n: int, offsets: np.ndarray, write: Callable[[np.ndarray], None]) -> None:
    """Write the document of every 256th position: int64."""
    from everygram.kernels.repeats import DOCUMENTS_SHIFT

    for start in range(0, n, WRITE << DOCUMENTS_SHIFT):
        end = min(n, start + (WRITE << DOCUMENTS_SHIFT))
        positions = np.arange(start, end, 1 << DOCUMENTS_SHIFT).astype(np.uint64)
        write(np.maximum(np.searchsorted(offsets, positions, "right") - 1, 0))


def _stretches(n: int, parts: int) -> tuple[list[int], list[int]]:
    """Begins and ends of stretches of [0, n), about as many as there are threads."""
    bounds = [n * part // parts for part in range(parts + 1)]
    return bounds[:-1], bounds[1:]


def by_rank(late: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Ranks, ascending, and what is to be added to their repeats, from pieces (int64, (k, 2))."""
    added = np.concatenate(late)
    added = added[np.argsort(added[:, 0], kind="stable")]
    return added[:, 0], added[:, 1]


def added_up(counted: np.ndarray, ranks: np.ndarray, more: np.ndarray) -> Iterator[np.ndarray]:
    """The repeats of each rank in pieces (int64): `counted` (u8), and `more` at some ranks.

    The ranks ascend; one may be there twice.
    """
    for start in range(0, counted.shape[0], WRITE):
        repeats = counted[start : start + WRITE].astype(np.int64)
        first, last = np.searchsorted(ranks, [start, start + WRITE])
        np.add.at(repeats, ranks[first:last] - start, more[first:last])
        yield repeats


class Bits:
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


def set_few(places: np.ndarray, first: int, words: np.ndarray) -> bool:
    """As `kernels.bits.set_ones`."""
    at = places - first
    ones = np.uint64(1) << (at & 63).astype(np.uint64)
    np.bitwise_or.at(words, at >> 6, ones)
    return True


def set_many(places: np.ndarray, first: int, words: np.ndarray) -> bool:
    from everygram.kernels.bits import set_ones

    return set_ones(places, first, words)


class Scratch:
    """What is written and then read: in a file that has no name, or in memory."""

    def __init__(self, folder: Path | None) -> None:
        self._in_memory = folder is None
        self._file: Any = io.BytesIO()
        if folder is not None:
            # (It is closed with the object, which is its context manager.)
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115

    def __enter__(self) -> "Scratch":
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
