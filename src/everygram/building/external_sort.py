"""A stream of tokens on disk to its suffix array on disk, in bounded memory, on all cores.

A stream that fits is sorted at once. A longer one is cut into blocks, each sorted in memory and
spilled as a run, while the rest is still being read; then the runs are merged by several threads,
each into its own stretch of the output. The array is the same bytes whichever way it came about.

Blocks end at documents where they can: what follows a separator does not matter to the order of
what precedes it. A document longer than a block is cut, and of the suffixes in front of such a cut
those that occur in the block a second time, up to the cut, are sorted by what follows it and make
a small run of their own. If they are many, the document is nothing but repeats: its pieces would
have to be compared for their whole length again and again, so it is sorted in one, in time that is
still linear, and in more memory than was asked for.

Cutting, spilling and files are here; how a block is sorted and how runs are merged, in `merging`,
which is loaded when a stream is long enough to be cut.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from everygram.building.suffix_array import suffix_array
from everygram.errors import DamagedIndexError
from everygram.storage import format as fmt
from everygram.storage.build_state import Block, Cut
from everygram.storage.disk import (
    as_bytes,
    map_file,
    map_tokens,
    position_entries,
    sync,
    sync_directory,
)

# Memory to sort a token of a block, the text being a mapped file: 4-byte entries and what sorting
# needs beside them, 2 for natural text and 4.5 for the worst that was found. A block has fewer
# than 2³¹ tokens.
BYTES_A_TOKEN = 9
MAX_BLOCK = 2**31 - 2
# Of the memory given, what reading and merging take: buffers, tables, batches of documents.
RESERVED = 32 << 20
# The smallest block: below this, merging would take more memory than sorting. Tests lower it.
MIN_BLOCK = 1 << 16
# Positions a merging thread writes at a time.
WRITE = 1 << 18


class BlockSorter:
    """Cuts a growing stream into blocks and sorts them in the background.

    `advance` after each document, `end`, then `sorted_blocks`. Nothing is sorted before the stream
    is too long to be sorted at once, and if it never is there are no blocks.
    """

    def __init__(self, folder: Path, dtype: str, memory: int, threads: int) -> None:
        self._folder = folder
        self._dtype = dtype
        self._whole = min(MAX_BLOCK, max(MIN_BLOCK, (memory - RESERVED) // BYTES_A_TOKEN))
        self._block_len = max(1, self._whole // threads)
        self._end = 0
        self._done: list[Block] = []
        self._pool = ThreadPoolExecutor(threads)
        self._sorting: list[Future[Block | None]] = []
        self.cuts: list[Cut] = []

    @property
    def spills(self) -> bool:
        """Whether blocks take room on the disk until they are merged."""
        return bool(self.cuts)

    def resume(self, cuts: list[Cut], done: list[Block]) -> None:
        """The stream has ended, was cut like this, and of its blocks these are sorted."""
        # What is done may be several cuts in one: see `sorted_blocks`.
        sorted_to = done[-1].end if done else 0
        self.cuts = [cut for cut in cuts if cut.start >= sorted_to]
        self._end = cuts[-1].end if cuts else 0
        self._done = done
        self._submit()

    def advance(self, document: int, end: int, flush: Callable[[], None]) -> None:
        """The stream now ends at `end`, with the document that starts at `document`.

        `flush` makes it readable.
        """
        start = self.cuts[-1].end if self.cuts else 0
        if end - start > self._block_len and document > start:
            self.cuts.append(Cut(start, document, inside=False))
            start = document
        while end - start > self._block_len:
            self.cuts.append(Cut(start, start + self._block_len, inside=True))
            start += self._block_len
        self._end = end
        if end > self._whole and len(self._sorting) < len(self.cuts):
            flush()
            self._submit()

    def end(self) -> None:
        """The stream is complete and readable."""
        start = self.cuts[-1].end if self.cuts else 0
        if self._end <= self._whole:
            self.cuts = []
        elif start < self._end:
            self.cuts.append(Cut(start, self._end, inside=False))
        self._submit()

    def sorted_blocks(self) -> Iterator[Block]:
        """The blocks in order, each as soon as it is sorted and on disk."""
        yield from self._done
        number = 0
        while number < len(self.cuts):
            first = number
            while self.cuts[number].inside:
                number += 1
            number += 1
            # The pieces of one document, or a block that needs no other.
            pieces = [future.result() for future in self._sorting[first:number]]
            blocks = [piece for piece in pieces if piece is not None]
            if len(blocks) < len(pieces):
                start, end = self.cuts[first].start, self.cuts[number - 1].end
                blocks = [self._sort_whole(start, end)]
            yield from blocks

    def abort(self) -> None:
        """Sort no block that is not being sorted already, and wait for those."""
        self._pool.shutdown(cancel_futures=True)

    def _submit(self) -> None:
        for cut in self.cuts[len(self._sorting) :]:
            self._sorting.append(self._pool.submit(self._sort, cut, self._end))

    def _sort(self, cut: Cut, readable: int) -> Block | None:
        """Sort and spill a block; `readable` tokens are on disk. None: it should not be cut."""
        from everygram.building.merging import sort_block

        tokens = map_tokens(self._folder, self._dtype, readable)
        runs = sort_block(tokens, cut.start, cut.end)
        if runs is None:
            return None
        self._spill(cut.start, *runs)
        return Block(cut.start, cut.end, runs[1].shape[0])

    def _sort_whole(self, start: int, end: int) -> Block:
        from everygram.building.merging import sort_document

        self._spill(start, sort_document(map_tokens(self._folder, self._dtype, end), start))
        return Block(start, end, 0)

    def _spill(self, start: int, *parts: np.ndarray) -> None:
        with _descriptor(self._folder / fmt.RUNS) as runs:
            for part in parts:
                entries = np.ascontiguousarray(part, fmt.POSITION)
                _write_at(runs, entries, start * fmt.POSITION.itemsize)
                start += part.shape[0]
            sync(runs)
        # Whoever goes on with the other blocks would make an empty file of this name.
        sync_directory(self._folder)


class SortedRuns:
    """Makes blocks of streams that are sorted already, end to end, without some of their documents.

    What is left of a suffix array when whole documents are taken out is sorted still: its order
    ends at separators, and positions keep theirs when they are renumbered.
    """

    spills = True

    def __init__(
        self, folder: Path, arrays: Sequence[np.ndarray], gaps: Sequence[np.ndarray]
    ) -> None:
        """arrays: suffix arrays. gaps: of each, the positions [start, end) that are taken out,
        int64, shape (G, 2), ascending."""
        self._folder = folder
        self._arrays = arrays
        self._gaps = gaps
        self._done: list[Block] = []
        self.cuts: list[Cut] = []

    def advance(self, document: int, end: int, flush: Callable[[], None]) -> None:
        """The stream goes on; nothing of it is to be sorted."""

    def end(self) -> None:
        """The stream is complete and readable."""

    def resume(self, cuts: list[Cut], done: list[Block]) -> None:
        """Of the blocks these are made."""
        self._done = done

    def sorted_blocks(self) -> Iterator[Block]:
        """The blocks in order, each as soon as it is on disk. Raises DamagedIndexError."""
        done = self._done[-1].end if self._done else 0
        base = 0
        for positions, gaps in zip(self._arrays, self._gaps, strict=True):
            end = base + positions.shape[0] - int((gaps[:, 1] - gaps[:, 0]).sum())
            for start in range(base, end, MAX_BLOCK):
                block = Block(start, min(end, start + MAX_BLOCK), 0)
                if done < block.end:
                    self._spill(block, positions, gaps, start - base)
                yield block
            base = end

    def abort(self) -> None:
        """Nothing goes on in the background."""

    def _spill(self, block: Block, positions: np.ndarray, gaps: np.ndarray, first: int) -> None:
        """Write those of an array's positions that are in a block, which begins at `first`."""
        from everygram.kernels.sort import renumber

        length = block.end - block.start
        removed = np.concatenate([[0], np.cumsum(gaps[:, 1] - gaps[:, 0])])
        kept = np.empty(WRITE, fmt.POSITION)
        at = block.start
        with _descriptor(self._folder / fmt.RUNS) as runs:
            for start in range(0, positions.shape[0], WRITE):
                chunk = positions[start : start + WRITE]
                count = renumber(chunk, gaps, removed, positions.shape[0], first, length, kept)
                if at + count > block.end:
                    break
                _write_at(runs, kept[:count], at * fmt.POSITION.itemsize)
                at += count
            sync(runs)
        sync_directory(self._folder)
        if at != block.end:
            raise DamagedIndexError(
                "a suffix array that was to be merged has positions twice or outside its tokens: "
                "'everygram verify' says which; restore it or rebuild the index"
            )


def write_suffix_array(
    folder: Path,
    dtype: str,
    stream_len: int,
    blocks: list[Block],
    memory: int,
    threads: int,
    progress: Callable[[int, int], None],
) -> None:
    """Make `suffix_array.bin`, in one step: from the sorted blocks, or by sorting all at once.

    Calls `progress(tokens, tokens in all)`. The blocks stay: see `remove_runs`. Precondition: they
    cover the stream, or there are none and it fits in memory.
    """
    tokens = map_tokens(folder, dtype, stream_len)
    width = fmt.position_bytes(stream_len)
    path = folder / fmt.SUFFIX_ARRAY
    temporary = folder / fmt.UNFINISHED
    with _descriptor(temporary) as out:
        if not blocks:
            sa = suffix_array(tokens, lambda share: progress(int(share * stream_len), stream_len))
            for start in range(0, stream_len, WRITE):
                entries = position_entries(sa[start : start + WRITE], width)
                _write_at(out, entries, start * width)
        else:
            from everygram.building.merging import merge_blocks

            def write(rank: int, positions: np.ndarray) -> None:
                _write_at(out, position_entries(positions, width), rank * width)

            runs = map_file(folder / fmt.RUNS, fmt.POSITION)
            merge_blocks(tokens, runs, blocks, memory, threads, WRITE, write, progress)
        sync(out)
    temporary.rename(path)
    sync_directory(folder)


def remove_runs(folder: Path) -> None:
    """Remove the spilled blocks, once nobody will ask to have them merged again."""
    (folder / fmt.RUNS).unlink(missing_ok=True)


@contextmanager
def _descriptor(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write_at(descriptor: int, entries: np.ndarray, offset: int) -> None:
    """Write an array at a byte offset; several threads may at once."""
    data = as_bytes(entries.data)
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written
