"""A self-index: a segment without its tokens and its suffix array, which are both in Ψ.

`format` describes the files; `kernels.psi` reads them.
"""

import mmap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from everygram.storage import format as fmt
from everygram.storage.disk import (
    address_of,
    advise,
    map_file,
    map_positions,
    position_entries,
)
from everygram.storage.segment import Segment

# Where ids are all below this, a table says which unigram each is.
MOST_PLACES = 1 << 24
# Every step of a search reads what is said of blocks: in memory, if that is not larger than this.
AT_ONCE = 256 << 20
# Ranks or positions that one thread reads at a time.
PIECE = 1 << 20


class SelfIndex(Segment):
    """An open segment of kind self-index; it has no `tokens` and no `suffix_array`.

    psi, psi_blocks: u64, the files of that name. samples: u8, the file.
    """

    parts = MappingProxyType(
        {"fences": ("fences", "psi_blocks"), "suffix_array": ("psi",), "tokens": ("samples",)}
    )

    at_once = AT_ONCE

    @property
    def sample_every(self) -> int:
        """Positions per sample."""
        return self.entry.sample_every

    def _map_stream(self, dtype: str) -> None:
        self._dtype = fmt.TOKEN_DTYPES[dtype]
        self._own: np.ndarray | None = None
        self.psi = self._map(fmt.PSI, fmt.KEY)
        self.psi_blocks = self._map(fmt.PSI_BLOCKS, fmt.OFFSET)
        self.samples = self._map(fmt.SAMPLES, np.dtype("u1"))

    def _describe_stream(self, row: np.ndarray) -> None:
        from everygram.kernels import rows

        if self.psi_blocks.nbytes <= AT_ONCE:
            advise(self.psi_blocks, mmap.MADV_WILLNEED)
        # (Nothing is read there, but arrays are made.)
        row[rows.TOKENS] = row[rows.POSITIONS] = address_of(self.psi)
        row[rows.SELF] = 1
        row[rows.PSI], row[rows.PSI_WORDS] = address_of(self.psi), self.psi.shape[0]
        row[rows.PSI_BLOCKS] = address_of(self.psi_blocks)
        row[rows.BLOCK_SHIFT] = self.fence_spacing.bit_length() - 1
        row[rows.SAMPLES] = address_of(self.samples)
        row[rows.SAMPLE_EVERY] = self.entry.sample_every
        self._ends = self.document_offsets
        row[rows.OFFSETS] = address_of(self._ends)
        ids = self.unigram_ids[:-1]
        size = int(ids.max(initial=0)) + 1
        if size <= MOST_PLACES:
            self._places = places_of(ids, size)
            row[rows.PLACES], row[rows.NUM_PLACES] = address_of(self._places), size

    @property
    def token_dtype(self) -> np.dtype[Any]:
        return self._dtype

    def text(self, start: int, end: int, cold: bool = False) -> np.ndarray:
        return self.read(start, end, np.empty(0, np.int64), cold)

    def texts(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        from everygram.kernels import reads

        text = np.empty(int(np.maximum(ends - starts, 0).sum()), self._dtype)
        reads.read_texts(self.searched(), starts, ends, text, False)
        return text

    def tokens_at(self, positions: np.ndarray) -> np.ndarray:
        from everygram.kernels import reads

        found = np.empty(positions.shape, self._dtype)
        reads.read_tokens_at(self.searched(), np.ascontiguousarray(positions, np.int64), found)
        return found

    def read(self, start: int, end: int, ranks: np.ndarray, cold: bool) -> np.ndarray:
        """The tokens at positions [start, end); ranks, if it has entries, receives their ranks."""
        from everygram.kernels import reads

        text = np.empty(max(0, end - start), self._dtype)
        if text.shape[0]:
            reads.read_text(self.searched(), start, end, text, ranks, cold)
        return text

    def searched(self) -> np.ndarray:
        """The segment's row, though nobody has prepared it for searches."""
        if self._row is not None:
            return self._row
        if self._own is None:
            # (The vocabulary, and what is held in memory, are for a search to say.)
            self._own = self._described(self.separator)
        return self._own

    def positions_of(self, ranks: np.ndarray | slice, cold: bool = False) -> np.ndarray:
        from everygram.kernels import reads

        if isinstance(ranks, slice):
            ranks = np.arange(*ranks.indices(self.stream_len))
        positions = np.empty(ranks.shape[0], np.int64)
        ranks = np.ascontiguousarray(ranks, np.int64)
        reads.positions_at(self.searched(), ranks, cold, positions)
        return positions


def places_of(ids: np.ndarray, size: int) -> np.ndarray:
    """A table of the place of each id below `size` among these, which ascend; −1: int32."""
    places = np.full(size, -1, np.int32)
    places[ids] = np.arange(ids.shape[0], dtype=np.int32)
    return places


def key_bits(stream_len: int, num_documents: int) -> int:
    """`key_bits` of a self-index: the bits of Ψ in an entry."""
    return (stream_len + num_documents).bit_length()


def ahead(
    pool: ThreadPoolExecutor, threads: int, function: Callable[[int], Any], given: range
) -> Iterator[Any]:
    """The results of a function in order, up to `threads` of them made at a time."""
    waiting = []
    for one in given:
        waiting.append(pool.submit(function, one))
        if len(waiting) >= threads:
            yield waiting.pop(0).result()
    for future in waiting:
        yield future.result()


def write_plain(
    segment: Segment,
    folder: Path,
    memory: int,
    threads: int,
    progress: Callable[[int, int], None],
) -> tuple[np.ndarray, np.ndarray]:
    """Write tokens.bin and suffix_array.bin of a self-index to a folder; returns them, mapped.

    memory: bytes, about. The text is read once for every so many bytes of the suffix array. Calls
    `progress(tokens, tokens in all)`. Raises DamagedIndexError for ranks that occur twice.
    """
    assert isinstance(segment, SelfIndex)
    n, width = segment.stream_len, segment.entry.position_bytes
    size = min(n, max(memory // width, PIECE))
    passes = range(0, n, size)
    with (
        ThreadPoolExecutor(threads) as pool,
        (folder / fmt.TOKENS).open("wb") as tokens,
        (folder / fmt.SUFFIX_ARRAY).open("wb") as array,
    ):
        for number, first in enumerate(passes):
            entries = np.empty((min(size, n - first), width), np.uint8)
            put = np.zeros(entries.shape[0], np.bool_)
            read = partial(_read_into, segment, first, entries, put)
            for place, text in enumerate(ahead(pool, threads, read, range(0, n, PIECE))):
                if first == 0:
                    tokens.write(text.data)
                done = number * n + min(n, (place + 1) * PIECE)
                progress(done // len(passes), n)
            if not put.all():
                raise segment.damaged(fmt.PSI, "ranks without a position")
            array.write(entries.data)
    return map_file(folder / fmt.TOKENS, segment.token_dtype), map_positions(folder, width)


def _read_into(
    segment: SelfIndex, first: int, entries: np.ndarray, put: np.ndarray, begin: int
) -> np.ndarray:
    """The text of PIECE positions from `begin` on; their positions are put into `entries`.

    entries: u8, shape (k, width), of the ranks from `first` on; put: bool, shape (k,).
    """
    end = min(segment.stream_len, begin + PIECE)
    ranks = np.empty(end - begin, np.int64)
    text = segment.read(begin, end, ranks, False)
    ranks -= first
    positions = np.arange(begin, end)
    if entries.shape[0] < segment.stream_len:
        inside = (ranks >= 0) & (ranks < entries.shape[0])
        ranks, positions = ranks[inside], positions[inside]
    width = entries.shape[1]
    entries[ranks] = position_entries(positions, width).view(np.uint8).reshape(-1, width)
    put[ranks] = True
    return text
