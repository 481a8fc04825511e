"""Makes the files of a self-index from the tokens and the suffix array of a segment.

The entries of ranks are made in the order of ranks, but found in that of their Ψ: the rank r is the
Ψ of the suffix one token before it. One pass over the suffix array looks up the token before each
suffix; then every part of the entries, as large as the memory allows, is put together in one pass
over these tokens.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from everygram.durable import sync_directory
from everygram.errors import DamagedIndexError, FormatError
from everygram.storage import format as fmt
from everygram.storage.disk import (
    HashedFile,
    Written,
    map_file,
    map_positions,
    map_tokens,
    position_entries,
    positions_in,
    write_array,
)
from everygram.storage.fences import fence_tree, unigram_table
from everygram.storage.self_index import MOST_PLACES, PIECE, ahead, key_bits, places_of

# Blocks that are coded at a time.
BLOCKS = 1 << 12
# Bytes per entry while entries are put together, and coded.
ENTRY_BYTES = 16


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
    """Write what of a self-index is made of a segment's suffix array; returns these files by name.

    Preconditions: its tokens.bin, suffix_array.bin and document_offsets.bin are in the folder. They
    are not removed. The bytes written do not depend on `memory` (bytes) or
    `threads`. Calls `progress(done, in all)`. Raises DamagedIndexError for files that contradict
    one another, and FormatError for more distinct tokens and positions than an entry has bits for.
    """
    with ExitStack() as stack, ThreadPoolExecutor(threads) as pool:
        stack.callback((folder / fmt.LEFTS).unlink, missing_ok=True)

        def opened(name: str) -> HashedFile:
            file = HashedFile(folder / name)
            stack.callback(file.abandon)
            return file

        unigrams = unigram_table(map_tokens(folder, dtype, stream_len))
        written = {fmt.UNIGRAMS: write_array(folder / fmt.UNIGRAMS, unigrams)}
        stream = _Stream(folder, dtype, stream_len, num_documents, sample_every)
        numbers, ranks = stream.look(pool, threads, progress)
        samples, psi, tree = opened(fmt.SAMPLES), opened(fmt.PSI), opened(fmt.FENCES)
        for array in (numbers, ranks, stream.separators()):
            for begin in range(0, array.shape[0], PIECE):
                entries = position_entries(array[begin : begin + PIECE], stream.width)
                samples.write(entries.data)
        blocks, fences = [], []
        for words, pointers, firsts in stream.coded(
            ranks[numbers], memory, pool, threads, progress
        ):
            psi.write(words.data)
            blocks.append(pointers)
            fences.append(firsts)
        psi.write(np.zeros(stream.padding, np.uint64).data)
        for piece in fence_tree(fences):
            tree.write(piece.data)
        described = stream.described(np.concatenate(blocks))
        written |= {
            fmt.PSI: psi.close(),
            fmt.PSI_BLOCKS: write_array(folder / fmt.PSI_BLOCKS, described),
            fmt.SAMPLES: samples.close(),
            fmt.FENCES: tree.close(),
        }
        sync_directory(folder)
        return written


class _Stream:
    """A sorted stream, from which the entries of Ψ are made. Arguments: see `write_self_index`."""

    def __init__(
        self, folder: Path, dtype: str, stream_len: int, num_documents: int, sample_every: int
    ) -> None:
        from everygram.kernels import (  # loads numba, which opening an index does not need
            coding,
            psi,
        )

        self._coding = coding
        self.padding = psi.MOST_WORDS
        self._marks_bit = psi.OFFSET_BITS + psi.LOW_BITS + psi.HIGH_BITS
        self._n, self._every, self._lefts = stream_len, sample_every, folder / fmt.LEFTS
        # Suffixes that begin with a separator come last, and are no Ψ of any other.
        self._followed = stream_len - num_documents
        self.width = fmt.position_bytes(stream_len)
        self._tokens = map_tokens(folder, dtype, stream_len)
        self._sa = map_positions(folder, self.width)
        self._offsets = map_file(folder / fmt.DOCUMENT_OFFSETS, fmt.OFFSET, num_documents)
        unigrams = map_file(folder / fmt.UNIGRAMS, np.dtype("u1"))
        distinct = unigrams.shape[0] // fmt.UNIGRAM_ENTRY_BYTES
        self._firsts = unigrams[: 8 * distinct].view(fmt.OFFSET).astype(np.int64)
        self._ids = unigrams[8 * distinct :].view("<u4")
        self._bits = key_bits(stream_len, num_documents)
        if distinct.bit_length() + self._bits > 63:
            raise FormatError(
                f"a self-index of {distinct:,} distinct tokens and {stream_len:,} positions: "
                f"expected that they and {num_documents:,} documents are numbered by 63 bits; use "
                "the kind suffix-array, or several segments"
            )
        self._separator = fmt.separator_of(dtype)
        self._small = self._ids[:-1]
        size = int(self._small.max(initial=0)) + 1
        self._table = places_of(self._small, size) if size <= MOST_PLACES else None
        self._left_type = np.dtype(np.uint16 if distinct <= 1 << 16 else np.uint32)
        self._number_type = np.dtype(np.uint32 if self.width == fmt.POSITION.itemsize else np.int64)

    def _places(self, tokens: np.ndarray) -> np.ndarray:
        """The places of tokens among the unigrams: integers, shape (k,)."""
        if self._table is None:
            places = np.searchsorted(self._small, tokens)
        else:
            places = self._table[np.minimum(tokens, self._table.shape[0] - 1)]
        places = np.where(tokens == self._separator, self._ids.shape[0] - 1, places)
        if (places < 0).any() or (self._ids[places] != tokens).any():
            raise _contradicting()
        return places

    def look(
        self, pool: ThreadPoolExecutor, threads: int, progress: Callable[[int, int], None]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Write the place of the token before each suffix to a file; find the samples.

        Returns the numbers of the samples in the order of ranks, and the rank of each number.
        """
        n, count = self._n, -(-self._n // self._every)
        ranks, numbers = np.zeros(count, self._number_type), np.empty(count, self._number_type)

        def look_at(begin: int) -> tuple[np.ndarray, np.ndarray]:
            part = self._sa[begin : begin + PIECE]
            lefts = np.empty(part.shape[0], self._tokens.dtype)
            some = np.empty(part.shape[0], np.int64)
            found = self._coding.lefts_of(
                self._tokens, part, begin, self._every, lefts, ranks, some
            )
            if found < 0:
                raise _contradicting()
            return self._places(lefts).astype(self._left_type), some[:found]

        size = 0
        with self._lefts.open("wb") as file:
            for lefts, some in ahead(pool, threads, look_at, range(0, n, PIECE)):
                file.write(lefts.data)
                if size + some.shape[0] > count:
                    raise _contradicting()
                numbers[size : size + some.shape[0]] = some
                size += some.shape[0]
                progress(file.tell() // self._left_type.itemsize, 2 * n)
        if size < count:
            raise _contradicting()
        return numbers, ranks

    def separators(self) -> np.ndarray:
        """The rank of each document's separator."""
        ranks = np.zeros(self._offsets.shape[0], self._number_type)
        for begin in range(self._followed, self._n, PIECE):
            positions = positions_in(self._sa[begin : begin + PIECE])
            documents = np.searchsorted(self._offsets, positions.astype(np.uint64))
            if (documents >= ranks.shape[0]).any():
                raise _contradicting()
            ranks[documents] = begin + np.arange(positions.shape[0])
        return ranks

    def coded(
        self,
        sampled: np.ndarray,
        memory: int,
        pool: ThreadPoolExecutor,
        threads: int,
        progress: Callable[[int, int], None],
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """The words of all blocks in pieces, with what is said of each block, and its first entry.

        sampled: the ranks of samples, ascending.
        """
        n, block = self._n, fmt.PSI_BLOCK
        lefts = map_file(self._lefts, self._left_type)
        # Of the last token of each document: its place, and the documents by that.
        lasts = np.append(self._offsets[1:].astype(np.int64), n) - 1
        places = self._places(self._tokens[lasts])
        documents = np.argsort(places, kind="stable")
        # A thread puts the entries of so many ranks together at a time.
        size = min(memory // (threads * ENTRY_BYTES), -(-n // threads))
        size = max(-(-size // block), min(BLOCKS, -(-n // block))) * block
        together = partial(self._entries, lefts, places[documents], documents, size)
        offset, last, done = 0, -1, 0
        for entries in ahead(pool, threads, together, range(0, n, size)):
            if int(entries[0]) <= last or (entries[1:] <= entries[:-1]).any():
                raise _contradicting()
            last = int(entries[-1])
            code = partial(self._code, entries, done, sampled)
            for words, pointers, firsts in ahead(
                pool, threads, code, range(0, entries.shape[0], BLOCKS * block)
            ):
                yield words, pointers + np.uint64(offset), firsts
                offset += words.shape[0]
            done += entries.shape[0]
            progress(n + done, 2 * n)

    def _entries(
        self, lefts: np.ndarray, places: np.ndarray, documents: np.ndarray, size: int, begin: int
    ) -> np.ndarray:
        """The entries of `size` ranks from `begin` on: int64.

        places, documents: of the tokens that are the last of a document, in order.
        """
        entries = np.zeros(min(size, self._n - begin), np.int64)
        nexts = self._firsts.copy()
        for first in range(0, self._followed, PIECE):
            some = lefts[first : min(first + PIECE, self._followed)]
            self._coding.spread(some, first, self._bits, nexts, begin, entries)
        # Of each token those that end a document come behind all others.
        at = nexts[places] + np.arange(places.shape[0]) - np.searchsorted(places, places) - begin
        inside = (at >= 0) & (at < entries.shape[0])
        ends = self._n + documents[inside]
        entries[at[inside]] = (places[inside].astype(np.int64) << self._bits) + ends
        return entries

    def _code(
        self, entries: np.ndarray, begin: int, sampled: np.ndarray, first: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """BLOCKS blocks of entries, from that at `first` on. entries: of ranks from `begin` on."""
        block = fmt.PSI_BLOCK
        some = entries[first : first + BLOCKS * block]
        start = begin + first
        lo, hi = np.searchsorted(sampled, [start, start + some.shape[0]])
        marks = np.zeros(some.shape[0], np.bool_)
        marks[sampled[lo:hi].astype(np.int64) - start] = True
        blocks = -(-some.shape[0] // block)
        words = np.zeros(blocks * self.padding, np.uint64)
        pointers, firsts = np.empty(blocks, np.uint64), np.empty(blocks, np.uint64)
        shift = block.bit_length() - 1
        used = self._coding.code_blocks(some, marks, shift, words, pointers, firsts)
        return words[:used], pointers, firsts

    def described(self, blocks: np.ndarray) -> np.ndarray:
        """The content of psi_blocks.bin: the blocks, and how many samples come before some."""
        samples = (blocks >> np.uint64(self._marks_bit)).astype(np.int64)
        before = (np.cumsum(samples) - samples)[:: fmt.FENCE_FANOUT]
        return np.concatenate([blocks, before.astype(np.uint64)])


def _contradicting() -> DamagedIndexError:
    return DamagedIndexError(
        "tokens and suffix array contradict one another: 'everygram verify' says which file is "
        "damaged; restore it or rebuild the index"
    )
