"""What searches are given, a segment's row and a lane, and small functions that read a segment.

Both are rows of int64 that the constants below index (the docstring of `search` follows a lane).
numba's record dtypes would name the columns as well: they are as fast compiled (1.63 µs in place of
1.68 for a search of 64 lanes), but 16 times slower interpreted, as a query from a shell is.

- *row*: where a segment's arrays are in memory and how they are read. numba charges per array
  argument, so one row stands for all arrays of a segment. Precondition: the arrays are alive.
- *lane*: a search for one rank. Its query is ids[START:END]. SEEKS says what it looks for (see
  below). KEY (u64 bits) is the beginning of the query in the format of fence keys; PLACE fences
  precede it. Ranks [LO, HI) are still to be searched. LO_MATCH and HI_MATCH tokens of the query
  match the suffixes just before and just after these ranks. BEST is at first the number of the
  query's tokens that KEY holds completely, then the longest match seen so far.
"""

import numpy as np

from everygram.kernels import array_at, inlined, kernel, prefetch, will_need

# A segment's row: address and number of its tokens; address of its positions (bytes) and bytes per
# position; address and number of its keys and of its unigrams (words; 0: it has no table of them).
# Then numbers, the address of its document counts (words; 0: it has none), and a start and a size
# per level of the fence tree.
TOKENS, N, POSITIONS, WIDTH, FENCES, NUM_FENCES, UNIGRAMS, NUM_UNIGRAMS = 0, 1, 2, 3, 4, 5, 6, 7
SPACING, KEY_BITS, SEPARATOR, VOCAB_SIZE, SIGN, DOCUMENTS, NUM_LEVELS = 8, 9, 10, 11, 12, 13, 14
COUNTS = 15
# Of a segment whose files are infini-gram's (see `storage.shard`), else 0: that it is one; how far
# its pointers, which count bytes, are shifted; the bits of a token if its order is by their bytes;
# address and number of the stretches in which its ranks are not those of its file.
FOREIGN, SHIFT, BY_BYTES, STRETCHES, NUM_STRETCHES = 16, 17, 18, 19, 20
# Of a self-index, else 0 (see `psi`): that it is one; address and number of its words; address of
# its blocks, log2 of their size; address of its samples, positions per sample; address of the
# document offsets; address and size of the table of places of ids among the unigrams.
SELF, PSI, PSI_WORDS, PSI_BLOCKS, BLOCK_SHIFT, SAMPLES, SAMPLE_EVERY = 21, 22, 23, 24, 25, 26, 27
OFFSETS, PLACES, NUM_PLACES, LEVELS = 28, 29, 30, 31
COLUMNS = LEVELS + 2 * 12
# A lane.
START, END, SEEKS, KEY, PLACE, LO, HI, LO_MATCH, HI_MATCH, BEST = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
FIELDS = 10
# What a lane seeks: the first suffix that is not below its query; the first suffix above all those
# that begin with the query; the longest match; both ends of the interval (when a matching suffix is
# found, the next lane takes over the upper end).
FIRST_NOT_BELOW, FIRST_ABOVE, ANY_MATCH, BOTH = 0, 1, 2, 3
# With at most this many unigrams, all pages of their ids are requested at once.
FEW_IDS, WORDS_A_PAGE = 1 << 17, 1 << 10


@inlined
def check(ids: np.ndarray, start: int, end: int, vocab_size: int, separator: int) -> int:
    """1 for a query that may occur, 0 for one that cannot, −1 for one with an unknown id.

    Matches never cross a separator: it may be only the first or the last token of a query.
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
    """Index of the first unknown id in the ids of many queries, or −1.

    −2 if the bounds do not ascend from 0 to the number of ids.
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
def ordered(token: int, bits: int) -> int:
    """The place of a token in the order of a segment's suffixes, which never grows beyond `bits`.

    bits: 0 for the order of ids; else the order is that of their little-endian bytes, and ids have
    at most so many bits.
    """
    if bits <= 8:
        return token
    low = (token & 255) << (bits - 8)
    if bits <= 16:
        return low | token >> 8
    low |= (token >> 8 & 255) << (bits - 16)
    if bits <= 24:
        return low | token >> 16
    return low | (token >> 16 & 255) << (bits - 24) | token >> 24


@inlined
def token_of(place: int, bits: int) -> int:
    """The token with a place in the order of a segment's suffixes: the reverse of `ordered`."""
    if bits <= 8:
        return place
    token = place >> (bits - 8)
    if bits <= 16:
        return token | (place & ((1 << (bits - 8)) - 1)) << 8
    token |= (place >> (bits - 16) & 255) << 8
    if bits <= 24:
        return token | (place & ((1 << (bits - 16)) - 1)) << 16
    return token | (place >> (bits - 24) & 255) << 16 | (place & ((1 << (bits - 24)) - 1)) << 24


@inlined
def unigram_interval(row: np.ndarray, token: int, cold: bool) -> tuple[int, int]:
    """The interval of one token. Precondition: the segment has a table of its unigrams.

    Of that (u32), all first ranks come first (two words each), then all ids.
    """
    n, count, bits = row[N], row[NUM_UNIGRAMS], row[BY_BYTES]
    unigrams = array_at(row[UNIGRAMS], 3 * count, np.uint32)
    place = ordered(token, bits)
    if cold and count <= FEW_IDS:
        for i in range(2 * count, 3 * count, WORDS_A_PAGE):
            will_need(unigrams, i)
    lo, hi = 0, count
    while lo < hi:
        mid = (lo + hi) >> 1
        if ordered(np.int64(unigrams[2 * count + mid]), bits) < place:
            lo = mid + 1
        else:
            hi = mid
    if lo == count or unigrams[2 * count + lo] != token:
        return 0, 0
    first = np.int64(unigrams[2 * lo]) | np.int64(unigrams[2 * lo + 1]) << 32
    last = np.int64(n)
    if lo + 1 < count:
        last = np.int64(unigrams[2 * lo + 2]) | np.int64(unigrams[2 * lo + 3]) << 32
    # A damaged file must not lead to ranks outside the array.
    first = min(max(first, 0), n)
    return first, min(max(last, first), n)


@inlined
def ask_for(array: np.ndarray, index: int, cold: bool) -> None:
    """Request array[index]: from the disk if `cold`, otherwise into the cache."""
    if cold:
        will_need(array, index)
    else:
        prefetch(array, index)


@kernel
def counted(segments: np.ndarray, intervals: np.ndarray) -> np.ndarray:
    """Occurrences of queries by their intervals (int64, shape (k, s, 2)): int64, shape (k,)."""
    counts = np.zeros(intervals.shape[0], np.int64)
    for i in range(intervals.shape[0]):
        for s in range(segments.shape[0]):
            counts[i] += segments[s, SIGN] * (intervals[i, s, 1] - intervals[i, s, 0])
    return counts
