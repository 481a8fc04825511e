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
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from everygram.building.suffix_array import suffix_array
from everygram.errors import BuildError, DamagedIndexError
from everygram.kernels.merge import (
    READY,
    keep_below,
    merge,
    rank_in_run,
    sort_few,
    start_merge,
    undecided,
)
from everygram.kernels.sort import renumber, widen
from everygram.storage import format as fmt
from everygram.storage.disk import fsync_directory, map_tokens

# Memory to sort a token of a block, the text being a mapped file: 4-byte entries and what sorting
# needs beside them, 2 for natural text and 4.5 for the worst that was found. A block has fewer
# than 2³¹ tokens.
BYTES_A_TOKEN = 9
MAX_BLOCK = 2**31 - 2
# Of the memory given, what reading and merging take: buffers, tables, batches of documents.
RESERVED = 32 << 20
# Suffixes before a cut that are sorted by what follows it; more, and the document is not cut.
MAX_LEFTOVER = 1 << 16
# The smallest block: below this, merging would take more memory than sorting. Tests lower it.
MIN_BLOCK = 1 << 16
# The table of diagonals: its entries' size, the fewest, and the share of the memory given that all
# merging threads' tables take. A corpus full of copies has a diagonal for every pair of them, and
# of k copies of n tokens in all k · n / 2^13 stretches: more than one in 16 tokens is room unused,
# which is slower.
DIAGONAL_BYTES = 32
FEWEST_DIAGONALS = 1 << 14
DIAGONALS_SHARE = 0.5
MOST_DIAGONALS = 1 / 16
# Positions a merging thread writes at a time.
WRITE = 1 << 18
# Stretches of the output a thread merges, one after the other, and samples of a run to cut them by.
STRETCHES = 4
SAMPLES = 64


@dataclass(frozen=True)
class Cut:
    """Tokens [start, end) of the stream, to be sorted as a block; `inside`: ends in a document."""

    start: int
    end: int
    inside: bool


@dataclass(frozen=True)
class Block:
    """Tokens [start, end), sorted and spilled; the last `leftover` entries are a run apart."""

    start: int
    end: int
    leftover: int


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
        tokens = map_tokens(self._folder, self._dtype, readable)
        separator = fmt.separator_of(self._dtype)
        length = cut.end - cut.start
        sa = suffix_array(tokens[cut.start : cut.end])
        leftover = 0
        if cut.inside and cut.end < readable and tokens[cut.end] != separator:
            most = MAX_LEFTOVER + 1
            leftover = int(undecided(tokens[cut.start : cut.end], sa, separator, most))
            if leftover > MAX_LEFTOVER:
                return None
            keep_below(sa, length - leftover)
        rest = np.arange(length - leftover, length, dtype=np.uint32)
        sort_few(tokens, separator, cut.start, rest, _diagonals())
        self._spill(cut.start, sa[: length - leftover], rest)
        return Block(cut.start, cut.end, leftover)

    def _sort_whole(self, start: int, end: int) -> Block:
        if end - start >= 2**32:
            raise BuildError(
                f"a document of {end - start:,} tokens that is nothing but repeats: up to "
                f"{2**32 - 1:,} can be sorted; split it"
            )
        sa = suffix_array(map_tokens(self._folder, self._dtype, end)[start:end])
        self._spill(start, sa)
        return Block(start, end, 0)

    def _spill(self, start: int, *parts: np.ndarray) -> None:
        with _descriptor(self._folder / fmt.RUNS) as runs:
            for part in parts:
                entries = np.ascontiguousarray(part, fmt.POSITION)
                _write_at(runs, entries, start * fmt.POSITION.itemsize)
                start += part.shape[0]
            os.fsync(runs)
        # Whoever goes on with the other blocks would make an empty file of this name.
        fsync_directory(self._folder)


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
            os.fsync(runs)
        fsync_directory(self._folder)
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
                _write_at(out, _entries(sa[start : start + WRITE], width), start * width)
        else:
            _merge_blocks(folder, tokens, blocks, out, width, memory, threads, progress)
        os.fsync(out)
    temporary.rename(path)
    fsync_directory(folder)


def remove_runs(folder: Path) -> None:
    """Remove the spilled blocks, once nobody will ask to have them merged again."""
    (folder / fmt.RUNS).unlink(missing_ok=True)


def _merge_blocks(
    folder: Path,
    tokens: np.ndarray,
    blocks: list[Block],
    out: int,
    width: int,
    memory: int,
    threads: int,
    progress: Callable[[int, int], None],
) -> None:
    separator = int(np.iinfo(tokens.dtype).max)
    runs = np.memmap(folder / fmt.RUNS, fmt.POSITION, "r").view(np.ndarray)
    # First entry, end and base of each run.
    spans = np.array(
        [
            span
            for block in blocks
            for span in (
                (block.start, block.end - block.leftover, block.start),
                (block.end - block.leftover, block.end, block.start),
            )
            if span[0] < span[1]
        ],
        np.int64,
    )
    bounds = _cut_evenly(tokens, separator, runs, spans, threads * STRETCHES if threads > 1 else 1)
    each = int(
        min(
            DIAGONALS_SHARE * memory / threads,
            MOST_DIAGONALS * tokens.shape[0] * DIAGONAL_BYTES,
        )
    )
    lock = threading.Lock()
    done = 0

    def merge_stretch(number: int) -> None:
        nonlocal done
        first, last = bounds[number], bounds[number + 1]
        at = int((first - spans[:, 0]).sum())
        for positions in _merged(tokens, separator, runs, first, last, spans[:, 2], each):
            _write_at(out, _entries(positions, width), at * width)
            at += positions.shape[0]
            with lock:
                done += positions.shape[0]
                progress(done, tokens.shape[0])

    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(merge_stretch, i) for i in range(bounds.shape[0] - 1)]:
            future.result()


def _cut_evenly(
    tokens: np.ndarray, separator: int, runs: np.ndarray, spans: np.ndarray, stretches: int
) -> np.ndarray:
    """Where each stretch of the output starts in each run: int64, shape (stretches + 1, runs)."""
    diagonals = _diagonals()
    samples = np.concatenate(
        [
            base + runs[np.linspace(first, last - 1, SAMPLES).astype(np.int64)].astype(np.int64)
            for first, last, base in spans.tolist()
            # A run counts for its length: the few suffixes before a cut for nothing.
            if last - first >= SAMPLES
        ]
        or [np.empty(0, np.int64)]
    )
    samples = np.unique(samples)
    sort_few(tokens, separator, 0, samples, diagonals)
    bounds = np.empty((stretches + 1, spans.shape[0]), np.int64)
    bounds[0], bounds[-1] = spans[:, 0], spans[:, 1]
    for number in range(1, stretches):
        if samples.shape[0] == 0:
            bounds[number] = spans[:, 0]
            continue
        splitter = int(samples[samples.shape[0] * number // stretches])
        for run, (first, last, base) in enumerate(spans.tolist()):
            bounds[number, run] = rank_in_run(
                tokens, separator, runs, first, last, base, splitter, diagonals
            )
    return bounds


def _merged(
    tokens: np.ndarray,
    separator: int,
    runs: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    bases: np.ndarray,
    memory: int,
) -> Iterator[np.ndarray]:
    """The merged positions of runs[first:last] of each run, in order, a buffer at a time."""
    num_runs = first.shape[0]
    leaves = 1 << (num_runs - 1).bit_length()
    empty = np.zeros_like(first)
    state = (
        tokens,
        separator,
        runs,
        np.stack([first, last, bases, empty, empty], axis=1),
        np.empty((num_runs, READY), np.int64),
        np.empty((num_runs, READY), np.uint64),
        np.empty((leaves, 2), np.int64),
        np.empty(leaves, np.uint64),
        _diagonals(memory),
    )
    start_merge(*state)
    out = np.empty(WRITE, np.int64)
    while count := merge(*state, out):
        yield out[:count]


def _diagonals(memory: int = 0) -> np.ndarray:
    """An empty table of diagonals that takes at most that memory, or the smallest."""
    entries = max(FEWEST_DIAGONALS, memory // DIAGONAL_BYTES)
    return np.zeros((1 << entries.bit_length() - 1, 4), np.int64)


def _entries(positions: np.ndarray, width: int) -> np.ndarray:
    """Positions as suffix_array.bin has them."""
    if width == fmt.POSITION.itemsize:
        return np.ascontiguousarray(positions, fmt.POSITION)
    wide = np.empty((positions.shape[0], width), np.uint8)
    widen(positions, wide)
    return wide


@contextmanager
def _descriptor(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write_at(descriptor: int, entries: np.ndarray, offset: int) -> None:
    """Write an array at a byte offset; several threads may at once."""
    data = entries.data.cast("B") if entries.size else memoryview(b"")
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written
