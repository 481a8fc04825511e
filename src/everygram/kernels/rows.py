"""What searches are given: a segment's row, a lane, and what one read of a segment tells.

Both are rows of int64 that the constants below index (the docstring of `search` follows a lane).

- *row*: where a segment's arrays are in memory and how they are read. numba charges per array
  argument; a row is one for all arrays of a segment. Precondition: the arrays are alive.
- *lane*: a search for one rank. Its query is ids[START:END]; it SEEKS one of the four below; KEY
  (u64 bits) is the query's beginning as fences have it, and PLACE fences precede it; ranks
  [LO, HI) are left; LO_MATCH and HI_MATCH tokens of the query match the suffixes just outside;
  BEST is the longest match seen so far, before that how many tokens of the query KEY holds whole.
"""

import numpy as np

from everygram.kernels import inlined, kernel, prefetch, will_need

# A segment's row: addresses and lengths of its tokens, positions (bytes, and bytes each), keys
# and unigrams (words); then numbers, and a start and a size per level of the fence tree.
TOKENS, N, POSITIONS, WIDTH, FENCES, NUM_FENCES, UNIGRAMS, NUM_UNIGRAMS = 0, 1, 2, 3, 4, 5, 6, 7
SPACING, KEY_BITS, SEPARATOR, VOCAB_SIZE, SIGN, NUM_LEVELS, LEVELS = 8, 9, 10, 11, 12, 13, 14
COLUMNS = LEVELS + 2 * 12
# A lane.
START, END, SEEKS, KEY, PLACE, LO, HI, LO_MATCH, HI_MATCH, BEST = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
FIELDS = 10
# What a lane seeks: the first suffix that is not below its query, or the first above all that
# begin with it; the longest match; both ends, of which the lane after it takes one once they part.
FIRST_NOT_BELOW, FIRST_ABOVE, ANY_MATCH, BOTH = 0, 1, 2, 3
# All pages of the unigrams' ids are asked for at once up to so many ids.
FEW_IDS, WORDS_A_PAGE = 1 << 17, 1 << 10


@inlined
def check(ids: np.ndarray, start: int, end: int, vocab_size: int, separator: int) -> int:
    """1 for a query that may occur, 0 for one that cannot, −1 for one with an unknown id.

    Matches never cross a separator: it may stand at a query's ends only.
    """
    fits = 1
    for i in range(start, end):
        token = np.int64(ids[i])
        if token == separator:
            if i > start and i < end - 1:
                fits = 0
        elif token >= vocab_size:
            return -1
    return fits


@kernel
def first_unknown(ids: np.ndarray, bounds: np.ndarray, vocab_size: int, separator: int) -> int:
    """The first place of an unknown id among those of many queries, or −1.

    −2 if the bounds do not go up from 0 to the number of ids.
    """
    if bounds[0] != 0 or bounds[-1] != ids.shape[0]:
        return -2
    for i in range(bounds.shape[0] - 1):
        if bounds[i + 1] < bounds[i]:
            return -2
    for i in range(ids.shape[0]):
        token = np.int64(ids[i])
        if token >= vocab_size and token != separator:
            return i
    return -1


@inlined
def position_in(sa: np.ndarray, width: int, rank: int) -> int:
    """The position at a rank, from bytes; four of them become one read."""
    at = np.uint64(rank * width)
    position = (
        np.int64(sa[at])
        | np.int64(sa[at + np.uint64(1)]) << 8
        | np.int64(sa[at + np.uint64(2)]) << 16
        | np.int64(sa[at + np.uint64(3)]) << 24
    )
    if width == 5:
        position |= np.int64(sa[at + np.uint64(4)]) << 32
    return position


@inlined
def unigram_interval(unigrams: np.ndarray, token: int, n: int, cold: bool) -> tuple[int, int]:
    """The interval of one token. unigrams: u32, first ranks of two words each, then ids."""
    count = unigrams.shape[0] // 3
    if cold and count <= FEW_IDS:
        for i in range(2 * count, 3 * count, WORDS_A_PAGE):
            will_need(unigrams, i)
    lo, hi = 0, count
    while lo < hi:
        mid = (lo + hi) >> 1
        if unigrams[2 * count + mid] < token:
            lo = mid + 1
        else:
            hi = mid
    if lo == count or unigrams[2 * count + lo] != token:
        return 0, 0
    first = np.int64(unigrams[2 * lo]) | np.int64(unigrams[2 * lo + 1]) << 32
    last = np.int64(n)
    if lo + 1 < count:
        last = np.int64(unigrams[2 * lo + 2]) | np.int64(unigrams[2 * lo + 3]) << 32
    # A damaged file must not lead out of the array.
    first = min(max(first, 0), n)
    return first, min(max(last, first), n)


@inlined
def ask_for(array: np.ndarray, index: int, cold: bool) -> None:
    """Have array[index] fetched."""
    if cold:
        will_need(array, index)
    else:
        prefetch(array, index)


@kernel
def counted(segments: np.ndarray, intervals: np.ndarray) -> np.ndarray:
    """How often queries occur whose intervals, int64, shape (k, s, 2), these are: int64, (k,)."""
    counts = np.zeros(intervals.shape[0], np.int64)
    for i in range(intervals.shape[0]):
        for s in range(segments.shape[0]):
            counts[i] += segments[s, SIGN] * (intervals[i, s, 1] - intervals[i, s, 0])
    return counts
