"""Sorts a stream of tokens on disk into a suffix array on disk, in bounded memory, on all cores.

A stream that fits in memory is sorted at once, on one thread, unless there are threads enough for
the other way to be faster (see `pace`). A longer stream is cut into blocks. Each block is sorted in
memory and spilled as a run while the rest is still being read. Then several threads merge the runs,
each into its own stretch of the output; or others do (see `stretches`). All ways give the same
array, to the byte.

Blocks end at documents if possible: the order of suffixes before a separator does not depend on
what follows it. A document longer than a block is cut. The suffixes before such a cut that occur a
second time in the block, compared up to the cut, are undecided: they are sorted by what follows the
cut, and form a small run of their own. If there are many, the document consists of repeats. Merging
its pieces would compare their whole length many times, so such a document is sorted as a whole:
still in linear time, but in more memory than the limit.

Cutting, spilling and files are here. Sorting a block and merging runs are in `merging`, which is
loaded only if a stream is long enough to be cut.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from everygram.building import pace
from everygram.building.suffix_array import suffix_array
from everygram.durable import sync, sync_directory
from everygram.errors import DamagedIndexError
from everygram.storage import format as fmt
from everygram.storage.build_state import Block, Cut
from everygram.storage.disk import (
    map_file,
    map_tokens,
    opened_to_write,
    position_entries,
    write_at,
)

if TYPE_CHECKING:
    from everygram.building.stretches import Workers

# Memory to sort one token of a block (the text is a mapped file): 4-byte entries, and 2 more bytes
# for natural text, 4.5 for the worst text found. A block has fewer than 2³¹ tokens.
BYTES_A_TOKEN = 9
MAX_BLOCK = 2**31 - 2
# The part of the memory limit for reading and merging: buffers, tables, batches of documents.
RESERVED = 32 << 20
# The smallest block: with smaller ones, merging takes more memory than sorting. Tests lower it.
MIN_BLOCK = 1 << 16
# Positions that a merging thread writes at a time.
WRITE = 1 << 18


def most_in_memory(memory: int) -> int:
    """The most tokens that are sorted at the same time, as one block or several; memory: bytes."""
    return min(MAX_BLOCK, max(MIN_BLOCK, (memory - RESERVED) // BYTES_A_TOKEN))


def longest_at_once(memory: int, threads: int) -> int:
    """The length of the longest stream that is sorted without blocks (tokens; memory: bytes)."""
    most = most_in_memory(memory)
    return pace.longest_at_once(threads, most // threads, most)


class BlockSorter:
    """Cuts a growing stream into blocks and sorts them in the background.

    Call `advance` after each document, then `end`, then `sorted_blocks`. Sorting starts when the
    stream has become too long to be sorted at once; if it never does, there are no blocks.

    Blocks are short as long as the stream would fit in memory, so that there are some for each
    thread and the last is soon sorted; then as long as memory allows, so that there are few.
    """

    def __init__(self, folder: Path, dtype: str, memory: int, threads: int) -> None:
        self._folder = folder
        self._dtype = dtype
        self._in_memory = most_in_memory(memory)
        self._at_once = longest_at_once(memory, threads)
        self._longest = max(1, self._in_memory // threads)
        self._shortest = pace.block_len(threads, self._longest)
        self._end = 0
        self._done: list[Block] = []
        self._pool = ThreadPoolExecutor(threads)
        self._sorting: list[Future[Block | None]] = []
        self.cuts: list[Cut] = []

    @property
    def spills(self) -> bool:
        """Whether blocks take disk space until they are merged."""
        return bool(self.cuts)

    def resume(self, cuts: list[Cut], done: list[Block]) -> None:
        """Go on with a stream that has ended: `cuts` are its cuts, `done` its sorted blocks."""
        # A sorted block may consist of several cuts: see `sorted_blocks`.
        sorted_to = done[-1].end if done else 0
        self.cuts = [cut for cut in cuts if cut.start >= sorted_to]
        self._end = cuts[-1].end if cuts else 0
        self._done = done
        self._submit()

    def advance(self, document: int, end: int, flush: Callable[[], None]) -> None:
        """Tell that the stream now ends at `end`; its last document starts at `document`.

        `flush` makes the stream readable from its file.
        """
        start = self.cuts[-1].end if self.cuts else 0
        length = self._longest if end > self._in_memory else self._shortest
        if end - start > length and document > start:
            self.cuts.append(Cut(start, document, inside=False))
            start = document
        while end - start > length:
            self.cuts.append(Cut(start, start + length, inside=True))
            start += length
        self._end = end
        if end > self._at_once and len(self._sorting) < len(self.cuts):
            flush()
            self._submit()

    def end(self) -> None:
        """The stream is complete and readable."""
        start = self.cuts[-1].end if self.cuts else 0
        if self._end <= self._at_once:
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
            # The pieces of one cut document, or a single block.
            pieces = [future.result() for future in self._sorting[first:number]]
            blocks = [piece for piece in pieces if piece is not None]
            if len(blocks) < len(pieces):
                start, end = self.cuts[first].start, self.cuts[number - 1].end
                blocks = [self._sort_whole(start, end)]
            yield from blocks

    def abort(self) -> None:
        """Cancel blocks that are not being sorted yet, and wait for those that are."""
        self._pool.shutdown(cancel_futures=True)

    def _submit(self) -> None:
        for cut in self.cuts[len(self._sorting) :]:
            self._sorting.append(self._pool.submit(self._sort, cut, self._end))

    def _sort(self, cut: Cut, readable: int) -> Block | None:
        """Sort and spill a block; `readable` tokens are on disk. None: do not cut this document."""
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
        with opened_to_write(self._folder / fmt.RUNS) as runs:
            for part in parts:
                entries = np.ascontiguousarray(part, fmt.POSITION)
                write_at(runs, entries, start * fmt.POSITION.itemsize)
                start += part.shape[0]
            sync(runs)
        # If the file's name were lost, a resumed build would make an empty file of this name.
        sync_directory(self._folder)


class SortedRuns:
    """Makes blocks of streams that are sorted already, end to end, without some of their documents.

    If whole documents are removed from a suffix array, the rest is still sorted: comparisons end at
    separators, and renumbering does not change the order of positions.
    """

    spills = True

    def __init__(
        self, folder: Path, arrays: Sequence[np.ndarray], gaps: Sequence[np.ndarray]
    ) -> None:
        """arrays: suffix arrays. gaps: for each array, the positions [start, end) that are removed,
        int64, shape (G, 2), ascending."""
        self._folder = folder
        self._arrays = arrays
        self._gaps = gaps
        self._done: list[Block] = []
        self.cuts: list[Cut] = []

    def advance(self, document: int, end: int, flush: Callable[[], None]) -> None:
        """Does nothing: the stream need not be sorted."""

    def end(self) -> None:
        """The stream is complete and readable."""

    def resume(self, cuts: list[Cut], done: list[Block]) -> None:
        """Go on with the blocks after those in `done`."""
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
        """Does nothing: nothing runs in the background."""

    def _spill(self, block: Block, positions: np.ndarray, gaps: np.ndarray, first: int) -> None:
        """Write the positions of an array that are in a block.

        `first`: where the block begins in the array's stream, without the gaps.
        """
        from everygram.kernels.sort import renumber

        length = block.end - block.start
        removed = np.concatenate([[0], np.cumsum(gaps[:, 1] - gaps[:, 0])])
        kept = np.empty(WRITE, fmt.POSITION)
        at = block.start
        with opened_to_write(self._folder / fmt.RUNS) as runs:
            for start in range(0, positions.shape[0], WRITE):
                chunk = positions[start : start + WRITE]
                count = renumber(chunk, gaps, removed, positions.shape[0], first, length, kept)
                if at + count > block.end:
                    break
                write_at(runs, kept[:count], at * fmt.POSITION.itemsize)
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
    workers: "Workers | None" = None,
) -> None:
    """Make `suffix_array.bin`, in one step: by merging sorted blocks, or by sorting all at once.

    workers: who merges blocks (default: threads of this process). Calls `progress(tokens, tokens in
    all)`. Does not remove the blocks: see `remove_runs`. Precondition: the blocks cover the stream,
    or there are none and the stream fits in memory.
    """
    tokens = map_tokens(folder, dtype, stream_len)
    width = fmt.position_bytes(stream_len)
    path = folder / fmt.SUFFIX_ARRAY
    temporary = folder / fmt.UNFINISHED
    with opened_to_write(temporary) as out:
        if not blocks:
            sa = suffix_array(tokens, lambda share: progress(int(share * stream_len), stream_len))
            for start in range(0, stream_len, WRITE):
                entries = position_entries(sa[start : start + WRITE], width)
                write_at(out, entries, start * width)
        elif workers is not None:
            from everygram.building.stretches import merge_stretches

            merge_stretches(folder, dtype, stream_len, blocks, workers, progress)
        else:
            from everygram.building.merging import Merge, merge_blocks

            def write(rank: int, positions: np.ndarray) -> None:
                write_at(out, position_entries(positions, width), rank * width)

            merge = Merge(tokens, map_file(folder / fmt.RUNS, fmt.POSITION), blocks)
            merge_blocks(merge, stream_len, memory, threads, WRITE, write, progress)
        sync(out)
    temporary.rename(path)
    sync_directory(folder)


def remove_runs(folder: Path) -> None:
    """Remove the spilled blocks, and what is noted of merging them. Call this when they need not be
    merged again."""
    (folder / fmt.RUNS).unlink(missing_ok=True)
    if (folder / fmt.STRETCHES).exists():
        shutil.rmtree(folder / fmt.STRETCHES)
