"""In how many documents do n-grams occur? From `document_counts.bin` (see `storage.format`).

A segment's row has the address of that file, or 0 for a segment without it. The file is read at two
places for an interval, whatever its size. Nothing of it is believed: what is not in the file, or
cannot be, gives −1.
"""

import numpy as np

from everygram.kernels import array_at, borrowed, ids_of, inlined, kernel, words
from everygram.kernels.bits import one_after
from everygram.kernels.rows import (
    COUNTS,
    DOCUMENTS,
    END,
    FIELDS,
    LO,
    PLACE,
    SEPARATOR,
    SIGN,
    START,
    VOCAB_SIZE,
    N,
    ask_for,
    check,
)
from everygram.kernels.search import find_group

# Bits per block, and ranks per guide, as powers of two: the same as in `storage.format`.
BLOCK_SHIFT, GUIDED_SHIFT = 11, 12
BLOCK_BITS = 1 << BLOCK_SHIFT
# Ends of intervals that are looked up together.
TOGETHER = 64
# With fewer blocks to look among, all are looked at.
FEW = 9
# Ends of an interval that are not further apart are found one from the other.
CLOSE = 512
BLOCK_WORDS = BLOCK_BITS // 64


@inlined
def blocks_of(row: np.ndarray) -> int:
    """The number of blocks of a segment's file."""
    return (2 * row[N] - row[DOCUMENTS] + BLOCK_BITS - 1) >> BLOCK_SHIFT


@inlined
def guides_of(row: np.ndarray) -> int:
    """The number of guides of a segment's file."""
    return (row[N] + (1 << GUIDED_SHIFT) - 1) >> GUIDED_SHIFT


@inlined
def counts_of(row: np.ndarray) -> np.ndarray:
    """The words of a segment's file: the bits, then a word per block, then the guides."""
    size = blocks_of(row) * (BLOCK_WORDS + 1) + guides_of(row)
    return array_at(row[COUNTS], size, np.uint64)


@inlined
def guided(file: np.ndarray, blocks: int, rank: int) -> int:
    """Where to look for the block of a rank first: a block of the file in any case."""
    block = np.int64(file[blocks * (BLOCK_WORDS + 1) + (rank >> GUIDED_SHIFT)])
    return min(max(block, 0), blocks - 1)


@inlined
def block_of(file: np.ndarray, blocks: int, guides: int, rank: int) -> int:
    """The block that has the one of a rank; −1 if the guides lead out of the file."""
    guide = blocks * (BLOCK_WORDS + 1) + (rank >> GUIDED_SHIFT)
    lo, hi = np.int64(file[guide]), blocks - 1
    if (rank >> GUIDED_SHIFT) + 1 < guides:
        hi = np.int64(file[guide + 1])
    if lo < 0 or lo > hi or hi >= blocks:
        return -1
    # The last block with at most `rank` ones before it: of few without a branch, which would be
    # guessed wrong every second time.
    if hi - lo < FEW:
        first = lo
        for block in range(first + 1, hi + 1):
            lo += np.int64(np.int64(file[blocks * BLOCK_WORDS + block]) <= rank)
        return lo
    while lo < hi:
        mid = (lo + hi + 1) >> 1
        if np.int64(file[blocks * BLOCK_WORDS + mid]) <= rank:
            lo = mid
        else:
            hi = mid - 1
    return lo


@inlined
def place_of(file: np.ndarray, blocks: int, block: int, rank: int) -> int:
    """The place of the one of a rank, which is in this block; −1 if it is not."""
    if block < 0:
        return -1
    before = np.int64(file[blocks * BLOCK_WORDS + block])
    if before < 0 or before > rank:
        return -1
    start = block * BLOCK_BITS
    return one_after(file, start, rank - before + 1, BLOCK_WORDS)


@inlined
def documents_between(row: np.ndarray, size: int, first: int, last: int) -> int:
    """The documents of an interval of this size: `first` and `last` are the places of its ends.

    −1 for what no interval of the segment has.
    """
    documents = 2 * size - 1 - (last - first)
    if first < 0 or last < 0 or documents < 1 or documents > min(size, row[DOCUMENTS]):
        return -1
    return documents


@inlined
def documents_in(row: np.ndarray, lo: int, hi: int, cold: bool) -> int:
    """The documents of an interval of ranks; −1 for a damaged file."""
    if hi - lo < 2:
        return hi - lo
    file = counts_of(row)
    blocks, guides = blocks_of(row), guides_of(row)
    guide = blocks * (BLOCK_WORDS + 1)
    ask_for(file, guide + (lo >> GUIDED_SHIFT), cold)
    ask_for(file, guide + ((hi - 1) >> GUIDED_SHIFT), cold)
    first = block_of(file, blocks, guides, lo)
    last = block_of(file, blocks, guides, hi - 1)
    if first < 0 or last < 0:
        return -1
    ask_for(file, first * BLOCK_WORDS, cold)
    ask_for(file, last * BLOCK_WORDS, cold)
    return documents_between(
        row, hi - lo, place_of(file, blocks, first, lo), place_of(file, blocks, last, hi - 1)
    )


@kernel
def document_count(
    segments: np.ndarray, packed: bytes, separator: int, cold: bool
) -> tuple[int, int]:
    """In how many documents one query occurs, and how often in all.

    −1 for an unknown id; −2 for a damaged file. Precondition: every segment has its file.
    """
    rows, query = borrowed(segments), ids_of(packed, separator)
    lanes = words(2, FIELDS)
    documents, total = np.int64(0), np.int64(0)
    for s in range(rows.shape[0]):
        row = rows[s]
        lanes[0, START], lanes[0, END], lanes[0, PLACE] = 0, query.shape[0], 0
        fits = check(query, lanes[0, START], lanes[0, END], row[VOCAB_SIZE], row[SEPARATOR])
        if fits < 1:
            return fits, fits
        find_group(row, query, lanes, cold)
        lo, hi = lanes[0, LO], lanes[1, LO]
        found = documents_in(row, lo, hi, cold)
        if found < 0:
            return -2, -2
        documents += row[SIGN] * found
        total += row[SIGN] * (hi - lo)
    return documents, total


@kernel
def document_counts(
    segments: np.ndarray, intervals: np.ndarray, cold: bool, documents: np.ndarray
) -> int:
    """Set documents[i] (int64) to the number of documents of the intervals of query i.

    intervals: int64, shape (k, s, 2), in the ranks of each segment. Segments without their file are
    left out. Returns −1, or the first query for which a file is damaged.
    """
    at = np.empty((TOGETHER, 2), np.int64)
    for begin in range(0, intervals.shape[0], TOGETHER):
        count = min(TOGETHER, intervals.shape[0] - begin)
        for i in range(count):
            documents[begin + i] = 0
        for s in range(segments.shape[0]):
            row = segments[s]
            if row[COUNTS] == 0:
                continue
            file = counts_of(row)
            blocks, guides = blocks_of(row), guides_of(row)
            guide = blocks * (BLOCK_WORDS + 1)
            for i in range(count):
                lo, hi = intervals[begin + i, s, 0], intervals[begin + i, s, 1]
                if hi - lo > 1:
                    ask_for(file, guide + (lo >> GUIDED_SHIFT), cold)
                    if hi - lo > CLOSE:
                        ask_for(file, guide + ((hi - 1) >> GUIDED_SHIFT), cold)
            for i in range(count):
                lo, hi = intervals[begin + i, s, 0], intervals[begin + i, s, 1]
                if hi - lo > 1:
                    ask_for(file, blocks * BLOCK_WORDS + guided(file, blocks, lo), cold)
                    if hi - lo > CLOSE:
                        ask_for(file, blocks * BLOCK_WORDS + guided(file, blocks, hi - 1), cold)
            for i in range(count):
                lo, hi = intervals[begin + i, s, 0], intervals[begin + i, s, 1]
                if hi - lo > 1:
                    at[i, 0] = at[i, 1] = block_of(file, blocks, guides, lo)
                    if hi - lo > CLOSE:
                        at[i, 1] = block_of(file, blocks, guides, hi - 1)
                    if at[i, 0] < 0 or at[i, 1] < 0:
                        return begin + i
                    for line in range(0, BLOCK_WORDS, 8):
                        ask_for(file, at[i, 0] * BLOCK_WORDS + line, cold)
                        if hi - lo > CLOSE:
                            ask_for(file, at[i, 1] * BLOCK_WORDS + line, cold)
            for i in range(count):
                lo, hi = intervals[begin + i, s, 0], intervals[begin + i, s, 1]
                found = hi - lo
                if hi - lo > 1:
                    first = place_of(file, blocks, at[i, 0], lo)
                    last = np.int64(-1)
                    if hi - lo <= CLOSE and first >= 0:
                        last = one_after(file, first + 1, hi - 1 - lo, BLOCK_WORDS)
                    if last < 0:
                        block = block_of(file, blocks, guides, hi - 1)
                        last = place_of(file, blocks, block, hi - 1)
                    found = documents_between(row, hi - lo, first, last)
                    if found < 0:
                        return begin + i
                documents[begin + i] += row[SIGN] * found
    return -1
