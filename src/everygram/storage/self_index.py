"""A self-index: a segment without its tokens and its suffix array, which are both in Ψ.

`format` describes the files; `kernels.psi` reads them.
"""

import mmap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from everygram.errors import DamagedIndexError, FormatError
from everygram.storage import format as fmt
from everygram.storage.disk import (
    HashedFile,
    Written,
    address_of,
    advise,
    map_file,
    map_positions,
    map_tokens,
    position_entries,
    positions_in,
    write_array,
)
from everygram.storage.fences import fence_tree
from everygram.storage.segment import Segment

# Where ids are all below this, a table says which unigram each is.
MOST_PLACES = 1 << 24
# Every step of a search reads what is said of blocks: in memory, if that is not larger than this.
AT_ONCE = 256 << 20
# Ranks or positions that one thread reads at a time, and blocks that are coded at a time.
PIECE, BLOCKS = 1 << 20, 1 << 12
# Only while a self-index is being made: the token before each suffix, in the order of ranks.
LEFTS = "lefts.tmp"
# Bytes per entry while entries are put in order: the entries, and what is in flight.
ENTRY_BYTES = 10


class SelfIndex(Segment):
    """An open segment of kind self-index; it has no `tokens` and no `suffix_array`.

    psi, psi_blocks: u64, the files of that name. samples: u8, the file.
    """

    parts = MappingProxyType(
        {"fences": ("fences", "psi_blocks"), "suffix_array": ("psi",), "tokens": ("samples",)}
    )

    at_once = AT_ONCE

    def _map_stream(self, folder: Path, dtype: str) -> None:
        self._dtype = fmt.TOKEN_DTYPES[dtype]
        self.psi = map_file(folder / fmt.PSI, fmt.KEY)
        self.psi_blocks = map_file(folder / fmt.PSI_BLOCKS, fmt.OFFSET)
        self.samples = map_file(folder / fmt.SAMPLES, np.dtype("u1"))

    def _describe_stream(self, row: np.ndarray) -> None:
        from everygram.kernels import rows

        if self.psi_blocks.nbytes <= AT_ONCE:
            advise(self.psi_blocks, mmap.MADV_WILLNEED)
        # (Nothing is read there, but arrays are made.)
        row[rows.TOKENS] = row[rows.POSITIONS] = address_of(self.psi)
        row[rows.SELF], row[rows.FOREIGN] = 1, 1
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
        return self._read(start, end, np.empty(0, np.int64), cold)

    def texts(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        from everygram.kernels import reads

        text = np.empty(int(np.maximum(ends - starts, 0).sum()), self._dtype)
        reads.read_texts(self._searched(), starts, ends, text, False)
        return text

    def tokens_at(self, positions: np.ndarray) -> np.ndarray:
        from everygram.kernels import reads

        found = np.empty(positions.shape, self._dtype)
        reads.read_tokens_at(self._searched(), np.ascontiguousarray(positions, np.int64), found)
        return found

    def _read(self, start: int, end: int, ranks: np.ndarray, cold: bool) -> np.ndarray:
        """The tokens at positions [start, end); `ranks`, if it has entries, receives their ranks."""
        from everygram.kernels import reads

        text = np.empty(max(0, end - start), self._dtype)
        if text.shape[0]:
            reads.read_text(self._searched(), start, end, text, ranks, cold)
        return text

    def _searched(self) -> np.ndarray:
        """The segment's row, though nobody has prepared it for searches."""
        return self._row if self._row is not None else self.prepare(self.separator, ())

    def positions_of(self, ranks: np.ndarray | slice, cold: bool = False) -> np.ndarray:
        from everygram.kernels import reads

        if isinstance(ranks, slice):
            ranks = np.arange(*ranks.indices(self.stream_len))
        positions = np.empty(ranks.shape[0], np.int64)
        ranks = np.ascontiguousarray(ranks, np.int64)
        reads.positions_at(self._searched(), ranks, cold, positions)
        return positions


def places_of(ids: np.ndarray, size: int) -> np.ndarray:
    """A table of the place of each id below `size` among these, which ascend; −1: int32."""
    places = np.full(size, -1, np.int32)
    places[ids] = np.arange(ids.shape[0], dtype=np.int32)
    return places


def key_bits(stream_len: int, num_documents: int) -> int:
    """`key_bits` of a self-index: the bits of Ψ in an entry."""
    return (stream_len + num_documents).bit_length()


def write_self_index(
    folder: Path,
    dtype: str,
    stream_len: int,
    num_documents: int,
    sample_every: int,
    memory: int,
    threads: int,
    progress: Callable[[int, int], None],
) -> dict[str, Written]:
    """Write psi.bin, psi_blocks.bin, samples.bin and fences.bin of a segment; returns them by name.

    Preconditions: its tokens.bin, suffix_array.bin, document_offsets.bin and unigrams.bin are in the
    folder. They are not removed. The bytes written do not depend on `memory` or `threads`. Calls
    `progress(done, in all)`. Raises DamagedIndexError for files that contradict one another, and
    FormatError for more distinct tokens times positions than entries of 63 bits number.
    """
    tokens = map_tokens(folder, dtype, stream_len)
    sa = map_positions(folder, fmt.position_bytes(stream_len))
    offsets = map_file(folder / fmt.DOCUMENT_OFFSETS, fmt.OFFSET, num_documents)
    unigrams = map_file(folder / fmt.UNIGRAMS, np.dtype("u1"))
    distinct = unigrams.shape[0] // fmt.UNIGRAM_ENTRY_BYTES
    bits = key_bits(stream_len, num_documents)
    if distinct.bit_length() + bits > 63:
        raise FormatError(
            f"a self-index of {distinct:,} distinct tokens and {stream_len:,} positions: expected "
            "fewer, their product has to fit 62 bits; use the kind suffix-array, or more segments"
        )
    firsts = unigrams[: 8 * distinct].view(fmt.OFFSET).astype(np.int64)
    ids = unigrams[8 * distinct :].view("<u4")
    stream = _Stream(tokens, sa, offsets, firsts, ids, bits, sample_every)
    try:
        with ThreadPoolExecutor(threads) as pool:
            sampled, ranks = stream.look(folder / LEFTS, pool, threads, progress)
            width = fmt.position_bytes(stream_len)
            samples = HashedFile(folder / fmt.SAMPLES)
            for array in (sampled, ranks, stream.separators()):
                for begin in range(0, array.shape[0], PIECE):
                    samples.write(position_entries(array[begin : begin + PIECE], width).data)
            coded = stream.coded(folder / LEFTS, ranks, sampled, memory, pool, threads, progress)
            psi = HashedFile(folder / fmt.PSI)
            pointers, fences = [], []
            for words, some, keys in coded:
                psi.write(words.data)
                pointers.append(some)
                fences.append(keys)
            psi.write(np.zeros(stream.most_words, np.uint64).data)
    finally:
        (folder / LEFTS).unlink(missing_ok=True)
    blocks = np.concatenate(pointers)
    # How many samples there are before each node of blocks.
    marks = (blocks >> np.uint64(stream.marks_bit)).astype(np.int64)
    before = (np.cumsum(marks) - marks)[:: fmt.FENCE_FANOUT].astype(np.uint64)
    tree = HashedFile(folder / fmt.FENCES)
    for piece in fence_tree(fences):
        tree.write(piece.data)
    return {
        fmt.PSI: psi.close(),
        fmt.PSI_BLOCKS: write_array(folder / fmt.PSI_BLOCKS, np.concatenate([blocks, before])),
        fmt.SAMPLES: samples.close(),
        fmt.FENCES: tree.close(),
    }


class _Stream:
    """A sorted stream, from which the entries of Ψ are made."""

    def __init__(
        self,
        tokens: np.ndarray,
        sa: np.ndarray,
        offsets: np.ndarray,
        firsts: np.ndarray,
        ids: np.ndarray,
        bits: int,
        every: int,
    ) -> None:
        """firsts, ids: the unigrams. every: positions per sample."""
        from everygram.kernels import coding, psi

        self._coding = coding
        self.most_words = psi.MOST_WORDS
        self.marks_bit = psi.OFFSET_BITS + psi.LOW_BITS + psi.HIGH_BITS
        self._tokens, self._sa, self._offsets = tokens, sa, offsets
        self._firsts, self._ids, self._bits, self._every = firsts, ids, bits, every
        self.n = tokens.shape[0]
        # Suffixes that begin with a separator come last, and are no Ψ of any other.
        self._followed = self.n - offsets.shape[0]
        largest = int(ids[:-1].max(initial=0))
        self._narrow = largest < MOST_PLACES
        # (A separator never comes before a suffix but at the separators' own end of the table.)
        if self._narrow:
            self._table = places_of(ids[:-1], max(largest + 1, 1))

    def places(self, tokens: np.ndarray) -> np.ndarray:
        """The places of tokens among the unigrams: integers, shape (k,)."""
        last = self._ids.shape[0] - 1
        if not self._narrow:
            places = np.searchsorted(self._ids, tokens.astype(np.uint32))
        else:
            places = self._table[np.minimum(tokens, self._table.shape[0] - 1)]
        places = np.where(tokens == self._separator, last, places)
        if (places < 0).any() or (self._ids[places] != tokens).any():
            raise _contradicting()
        return places

    @property
    def _separator(self) -> int:
        return int(np.iinfo(self._tokens.dtype).max)

    def look(
        self,
        path: Path,
        pool: ThreadPoolExecutor,
        threads: int,
        progress: Callable[[int, int], None],
    ) -> tuple[np.ndarray, np.ndarray]:
        """Write the place of the token before each suffix (u16 or u32) to a file; find the samples.

        Returns the numbers of the samples in the order of ranks, and their ranks by number.
        """
        n, every = self.n, self._every
        count = -(-n // every)
        dtype = np.uint32 if n < 1 << 32 else np.int64
        ranks, found = np.zeros(count, dtype), np.empty(count, dtype)
        size = 0
        wide = np.dtype(np.uint16 if self._ids.shape[0] <= 1 << 16 else np.uint32)

        def look_at(begin: int) -> tuple[np.ndarray, np.ndarray]:
            part = self._sa[begin : begin + PIECE]
            lefts = np.empty(part.shape[0], self._tokens.dtype)
            some = np.empty(part.shape[0], np.int64)
            number = self._coding.lefts_of(self._tokens, part, begin, every, lefts, ranks, some)
            if number < 0:
                raise _contradicting()
            return self.places(lefts).astype(wide), some[:number].astype(dtype)

        with path.open("wb") as file:
            for begin, (lefts, some) in zip(
                range(0, n, PIECE), _ahead(pool, threads, look_at, range(0, n, PIECE)), strict=True
            ):
                file.write(lefts.data)
                if size + some.shape[0] > count:
                    raise _contradicting()
                found[size : size + some.shape[0]] = some
                size += some.shape[0]
                progress(min(n, begin + PIECE), 2 * n)
        if size < count:
            raise _contradicting()
        self._lefts = map_file(path, wide)
        return found, ranks

    def separators(self) -> np.ndarray:
        """The rank of each document's separator."""
        ranks = np.empty(self._offsets.shape[0], np.uint64)
        for begin in range(self._followed, self.n, PIECE):
            positions = positions_in(self._sa[begin : min(self.n, begin + PIECE)])
            documents = np.searchsorted(self._offsets, positions.astype(np.uint64))
            if (documents >= ranks.shape[0]).any():
                raise _contradicting()
            ranks[documents] = begin + np.arange(positions.shape[0])
        return ranks

    def coded(
        self,
        path: Path,
        ranks: np.ndarray,
        sampled: np.ndarray,
        memory: int,
        pool: ThreadPoolExecutor,
        threads: int,
        progress: Callable[[int, int], None],
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """The words of all blocks in pieces, with what is said of each block, and its first entry."""
        n, block = self.n, fmt.PSI_BLOCK
        ends = np.append(self._offsets[1:], np.uint64(n)).astype(np.int64) - 1
        ending = self.places(self._tokens[ends])
        order = np.argsort(ending, kind="stable")
        # A thread makes the entries of so many ranks in one pass.
        size = min(memory // (threads * ENTRY_BYTES), -(-n // threads))
        size = max(-(-size // block), min(BLOCKS, -(-n // block))) * block

        def entries_from(begin: int) -> np.ndarray:
            entries = np.zeros(min(size, n - begin), np.int64)
            nexts = self._firsts.copy()
            for first in range(0, self._followed, PIECE):
                some = self._lefts[first : min(first + PIECE, self._followed)]
                self._coding.spread(some, first, self._bits, nexts, begin, entries)
            # Behind them, of each token those that are the last of a document.
            there = ending[order]
            at = nexts[there] + np.arange(there.shape[0]) - np.searchsorted(there, there) - begin
            inside = (at >= 0) & (at < entries.shape[0])
            entries[at[inside]] = (
                (there[inside].astype(np.int64) << self._bits) + n + order[inside]
            )
            return entries

        offset, last = 0, -1
        sorted_ranks = ranks[sampled]
        for begin, entries in zip(
            range(0, n, size), _ahead(pool, threads, entries_from, range(0, n, size)), strict=True
        ):
            if int(entries[0]) <= last or (entries[1:] <= entries[:-1]).any():
                raise _contradicting()
            last = int(entries[-1])
            step = BLOCKS * block
            pieces = range(0, entries.shape[0], step)

            def coded_from(
                first: int, begin: int = begin, entries: np.ndarray = entries
            ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
                some = entries[first : first + step]
                at = begin + first
                lo, hi = np.searchsorted(sorted_ranks, [at, at + some.shape[0]])
                marks = np.zeros(some.shape[0], np.bool_)
                marks[sorted_ranks[lo:hi].astype(np.int64) - at] = True
                blocks = -(-some.shape[0] // block)
                words = np.zeros(blocks * self.most_words, np.uint64)
                pointers, fences = np.empty(blocks, np.uint64), np.empty(blocks, np.uint64)
                shift = block.bit_length() - 1
                used = self._coding.code_blocks(some, marks, shift, words, pointers, fences)
                return words[:used], pointers, fences

            for first, (words, pointers, fences) in zip(
                pieces, _ahead(pool, threads, coded_from, pieces), strict=True
            ):
                yield words, pointers + np.uint64(offset), fences
                offset += words.shape[0]
                progress(n + min(n, begin + first + step), 2 * n)


def _ahead(
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


def _contradicting() -> DamagedIndexError:
    return DamagedIndexError(
        "tokens and suffix array contradict one another: 'everygram verify' says which file is "
        "damaged; restore it or rebuild the index"
    )


def write_plain(
    segment: Segment, folder: Path, threads: int, progress: Callable[[int, int], None]
) -> tuple[np.ndarray, np.ndarray]:
    """Write tokens.bin and suffix_array.bin of a self-index to a folder; returns them, mapped.

    Raises DamagedIndexError.
    """
    assert isinstance(segment, SelfIndex)
    n, width = segment.stream_len, segment.entry.position_bytes
    names = fmt.TOKENS, fmt.SUFFIX_ARRAY
    sizes = n * segment.token_dtype.itemsize, n * width
    for name, size in zip(names, sizes, strict=True):
        with (folder / name).open("wb") as file:
            file.truncate(size)
    tokens = np.memmap(folder / fmt.TOKENS, segment.token_dtype, "r+", shape=(n,))
    entries = np.memmap(folder / fmt.SUFFIX_ARRAY, np.uint8, "r+", shape=(n, width))

    def read(begin: int) -> None:
        end = min(n, begin + PIECE)
        ranks = np.empty(end - begin, np.int64)
        tokens[begin:end] = segment._read(begin, end, ranks, False)
        entries[ranks] = position_entries(np.arange(begin, end), width).view(np.uint8).reshape(
            -1, width
        )

    with ThreadPoolExecutor(threads) as pool:
        for begin, _ in zip(
            range(0, n, PIECE), _ahead(pool, threads, read, range(0, n, PIECE)), strict=True
        ):
            progress(min(n, begin + PIECE), n)
    tokens.flush()
    entries.flush()
    return map_file(folder / fmt.TOKENS, segment.token_dtype), map_positions(folder, width)
