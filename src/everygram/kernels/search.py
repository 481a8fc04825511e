"""Searching sorted segments: intervals, longest matches, ∞-gram suffixes.

What a search costs is its reads that wait for one another. The fence tree leads to the block of
`spacing` suffixes that holds an end of the interval, in one or two reads that miss the caches.
The block's positions are one more, and the texts there are asked for some at a time. Many
searches advance in *lanes*: each round asks for what every lane reads next, then reads it. What
asks is a prefetch instruction or, when `cold`, a system call that starts reading from the disk;
the rest is the same.

`count` and `prob` answer one query, `find_many` and `match_many` many; `suffixes` and `following`
search the same way.

Arguments they share, besides those of the package:

- `segments`: int64, shape (k, COLUMNS): a row a segment (`rows`, `Segment.prepare`). `row` is one.
- `packed`, `separator`: one query, the bytes of its ids in the token dtype, which `separator` has.
- `ids`: many queries, of the token dtype: query i is ids[starts[i]:ends[i]]. How segments' tokens
  are read follows from it: with another dtype they would be read past their end.
- `cold`: whether reads are expected to wait for a disk.

A lane, followed: 60,000 suffixes, a fence every 16, the query `[11802, 3303]` of 16-bit ids. It
gets two lanes (`set_keys`): KEY of the first is 0x2e1a0ce7 and then zeros, of the second the same
and then ones, so that all keys that begin like the query stand between them. `descend` finds that
PLACE = 812 fences are below the first KEY, and as many not above the second: the interval lies in
the block behind the last of them. LO = 811 · 16 + 1 = 12,977 and HI = 812 · 16 = 12,992, the block
is asked for (`set_ranks`), and the lane SEEKS BOTH ends. In `narrow` the suffix in the middle, rank
12,984, matches both tokens: from here the first lane goes on in [12,977, 12,984), the second in
[12,985, 12,992), neither comparing again the tokens that LO_MATCH and HI_MATCH say are alike. They
end at LO = 12,981 and 12,987: the query occurs 6 times, at ranks [12,981, 12,987).

Ids of the vocabulary are below the row's VOCAB_SIZE; a query with another one, the separator
aside, is answered −1.
"""

import numpy as np

from everygram.kernels import array_at, borrowed, called, ids_of, kernel, words
from everygram.kernels.lanes import (
    LANES,
    descend,
    found_near,
    narrow,
    same_tokens,
    set_keys,
    set_ranks,
)
from everygram.kernels.rows import (
    ANY_MATCH,
    BEST,
    BOTH,
    END,
    FENCES,
    FIELDS,
    FIRST_ABOVE,
    FIRST_NOT_BELOW,
    HI,
    KEY,
    KEY_BITS,
    LO,
    NUM_FENCES,
    NUM_UNIGRAMS,
    PLACE,
    POSITIONS,
    SEEKS,
    SEPARATOR,
    SIGN,
    SPACING,
    START,
    UNIGRAMS,
    VOCAB_SIZE,
    WIDTH,
    N,
    check,
    unigram_interval,
)


@called
def find_group(
    row: np.ndarray,
    ids: np.ndarray,
    lanes: np.ndarray,
    cold: bool,
) -> None:
    """The intervals of queries, two lanes each: LO of lanes 2i and 2i + 1.

    Precondition: START and END of each even lane are a query that may occur; with END below
    START, one that cannot. Its PLACE is 0, or near which fence to look first: where a search for a
    longer query left it.
    """
    n, width, separator = row[N], row[WIDTH], row[SEPARATOR]
    sa = array_at(row[POSITIONS], n * width, np.uint8)
    unigrams = array_at(row[UNIGRAMS], 3 * row[NUM_UNIGRAMS], np.uint32)
    fences = array_at(row[FENCES], row[NUM_FENCES], np.uint64)
    spacing, bits = row[SPACING], row[KEY_BITS]
    far = 0
    for lane in range(0, lanes.shape[0], 2):
        lanes[lane, SEEKS], lanes[lane + 1, SEEKS] = FIRST_NOT_BELOW, FIRST_ABOVE
        lanes[lane + 1, START], lanes[lane + 1, END] = lanes[lane, START], lanes[lane, END]
        place = lanes[lane, PLACE]
        lanes[lane, PLACE] = lanes[lane + 1, PLACE] = 0
        lanes[lane, LO] = 0
        # Shorter queries are answered by the unigrams.
        if lanes[lane, END] - lanes[lane, START] > 1:
            lanes[lane, BEST] = set_keys(ids, bits, separator, lanes, lane)
            if place and found_near(row, lanes, lane, place):
                # LO keeps them out of the way of `descend`, which passes over lanes of PLACE 0.
                lanes[lane, LO], lanes[lane + 1, LO] = lanes[lane, PLACE], lanes[lane + 1, PLACE]
                lanes[lane, PLACE] = lanes[lane + 1, PLACE] = 0
            else:
                lanes[lane, PLACE] = lanes[lane + 1, PLACE] = 1
                far += 1
    if far:
        descend(row, lanes, cold)
    for lane in range(0, lanes.shape[0], 2):
        start = lanes[lane, START]
        length = lanes[lane, END] - start
        if length < 2:
            lo, hi = np.int64(0), np.int64(0)
            if length == 0:
                hi = n
            elif length == 1:
                lo, hi = unigram_interval(unigrams, np.int64(ids[start]), n, cold)
            lanes[lane, LO] = lanes[lane, HI] = lo
            lanes[lane + 1, LO] = lanes[lane + 1, HI] = hi
            continue
        below, not_above = lanes[lane, PLACE], lanes[lane + 1, PLACE]
        if lanes[lane, LO]:
            below, not_above = lanes[lane, LO], lanes[lane + 1, LO]
        first, last = max(0, (below - 1) * spacing + 1), min(n, not_above * spacing)
        key, whole = lanes[lane, KEY], lanes[lane, BEST]
        lo_match = same_tokens(row, fences, below - 1, key, whole)
        hi_match = same_tokens(row, fences, not_above, key, whole)
        if length * bits > 64 or below == not_above:
            lanes[lane, SEEKS] = BOTH
            set_ranks(sa, width, lanes, lane, first, last, lo_match, hi_match, cold)
            lanes[lane + 1, LO] = lanes[lane + 1, HI] = first
        else:
            # No rank between two fences inside the interval can end it.
            end = min(n, below * spacing)
            set_ranks(sa, width, lanes, lane, first, end, lo_match, length, cold)
            first = max(first, (not_above - 1) * spacing + 1)
            set_ranks(sa, width, lanes, lane + 1, first, last, length, hi_match, cold)
    narrow(row, ids, lanes, cold)
    # Fences out of order, in a damaged file, could put the end before the start.
    for lane in range(0, lanes.shape[0], 2):
        lanes[lane + 1, LO] = max(lanes[lane, LO], lanes[lane + 1, LO])


@called
def match_group(row: np.ndarray, ids: np.ndarray, lanes: np.ndarray, cold: bool) -> None:
    """The longest beginnings of queries, two lanes each, that occur: BEST of every even lane.

    Precondition: START and END of each even lane are a query with a separator only at its ends.
    """
    n, width, separator = row[N], row[WIDTH], row[SEPARATOR]
    sa = array_at(row[POSITIONS], n * width, np.uint8)
    fences = array_at(row[FENCES], row[NUM_FENCES], np.uint64)
    spacing, bits = row[SPACING], row[KEY_BITS]
    for lane in range(0, lanes.shape[0], 2):
        lanes[lane, SEEKS] = ANY_MATCH
        lanes[lane + 1, LO] = lanes[lane + 1, HI] = 0  # only the even lane searches
        lanes[lane, PLACE] = lanes[lane + 1, PLACE] = 1
        lanes[lane, BEST] = set_keys(ids, bits, separator, lanes, lane)
    descend(row, lanes, cold)
    for lane in range(0, lanes.shape[0], 2):
        length = lanes[lane, END] - lanes[lane, START]
        below, not_above = lanes[lane, PLACE], lanes[lane + 1, PLACE]
        if below < not_above and length * bits <= 64:
            lanes[lane, BEST] = length
            lanes[lane, LO] = lanes[lane, HI] = 0
            continue
        key, whole = lanes[lane, KEY], lanes[lane, BEST]
        lo_match = same_tokens(row, fences, below - 1, key, whole)
        hi_match = same_tokens(row, fences, not_above, key, whole)
        if below == not_above:
            lanes[lane, BEST] = max(lo_match, hi_match)
        first, last = max(0, (below - 1) * spacing + 1), min(n, not_above * spacing)
        set_ranks(sa, width, lanes, lane, first, last, lo_match, hi_match, cold)
    narrow(row, ids, lanes, cold)


@kernel
def find_many(
    segments: np.ndarray,
    ids: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    cold: bool,
    intervals: np.ndarray,
) -> int:
    """intervals[i, s] becomes the interval of query i in segment s: int64, shape (k, s, 2).

    Returns the first query with an unknown id, or −1.
    """
    k = starts.shape[0]
    group = max(1, min(k, LANES // 2))
    lanes = np.empty((2 * group, FIELDS), np.int64)
    for begin in range(0, k, group):
        count = min(group, k - begin)
        for i in range(count):
            start, end = starts[begin + i], ends[begin + i]
            fits = 1
            if segments.shape[0]:
                fits = check(ids, start, end, segments[0, VOCAB_SIZE], segments[0, SEPARATOR])
            if fits < 0:
                return begin + i
            # What cannot occur ends before it starts.
            lanes[2 * i, START], lanes[2 * i, END] = start, end if fits else start - 1
        for s in range(segments.shape[0]):
            for i in range(count):
                lanes[2 * i, PLACE] = 0
            find_group(segments[s], ids, lanes[: 2 * count], cold)
            for i in range(count):
                intervals[begin + i, s, 0] = lanes[2 * i, LO]
                intervals[begin + i, s, 1] = lanes[2 * i + 1, LO]
    return -1


@kernel
def match_many(
    segments: np.ndarray,
    ids: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    cold: bool,
    lengths: np.ndarray,
    intervals: np.ndarray,
) -> None:
    """lengths[i] (int64) becomes the length of the longest beginning of query i that occurs.

    intervals[i] becomes where it does, as `find_many` gives it, unless intervals has no entries:
    what that search reads is in the cache by then.

    Precondition: ids are known, and separators only at a query's ends.
    """
    k = starts.shape[0]
    group = max(1, min(k, LANES // 2))
    lanes = np.empty((2 * group, FIELDS), np.int64)
    for begin in range(0, k, group):
        count = min(group, k - begin)
        for i in range(count):
            lengths[begin + i] = 0
        for s in range(segments.shape[0]):
            for i in range(count):
                lanes[2 * i, START], lanes[2 * i, END] = starts[begin + i], ends[begin + i]
            match_group(segments[s], ids, lanes[: 2 * count], cold)
            for i in range(count):
                lengths[begin + i] = max(lengths[begin + i], lanes[2 * i, BEST])
        if intervals.shape[0] == 0:
            continue
        for s in range(segments.shape[0]):
            for i in range(count):
                start = starts[begin + i]
                lanes[2 * i, START], lanes[2 * i, END] = start, start + lengths[begin + i]
                if segments.shape[0] > 1:
                    lanes[2 * i, PLACE] = 0
            find_group(segments[s], ids, lanes[: 2 * count], cold)
            for i in range(count):
                intervals[begin + i, s, 0] = lanes[2 * i, LO]
                intervals[begin + i, s, 1] = lanes[2 * i + 1, LO]


@kernel
def limits(ids: np.ndarray, separator: int, over_end: bool) -> np.ndarray:
    """Where a match from each place of a text ends at the latest: int64, shape (len,).

    At the next separator after the place, with `over_end` after that.
    """
    ends = np.empty(ids.shape[0], np.int64)
    end = np.int64(ids.shape[0])
    for place in range(ids.shape[0] - 1, -1, -1):
        ends[place] = end
        if np.int64(ids[place]) == separator:
            end = np.int64(place + over_end)
    return ends


@kernel
def count(segments: np.ndarray, packed: bytes, separator: int, cold: bool) -> int:
    """How often one query occurs."""
    rows, query = borrowed(segments), ids_of(packed, separator)
    lanes = words(2, FIELDS)
    total = np.int64(0)
    for s in range(rows.shape[0]):
        row = rows[s]
        lanes[0, START], lanes[0, END], lanes[0, PLACE] = 0, query.shape[0], 0
        fits = check(query, lanes[0, START], lanes[0, END], row[VOCAB_SIZE], row[SEPARATOR])
        if fits < 1:
            return fits
        find_group(row, query, lanes, cold)
        total += row[SIGN] * (lanes[1, LO] - lanes[0, LO])
    return total


@kernel
def prob(segments: np.ndarray, packed: bytes, separator: int, cold: bool) -> tuple[int, int]:
    """How often the prompt, the query but for its last token, occurs; how often the query does.

    After a document's end nothing follows: a prompt that ends one, unless it is the separator
    alone, occurs 0 times.
    """
    rows, query = borrowed(segments), ids_of(packed, separator)
    lanes = words(4, FIELDS)
    prompts, total = np.int64(0), np.int64(0)
    end = query.shape[0]
    for s in range(rows.shape[0]):
        row = rows[s]
        lanes[0, START], lanes[0, END], lanes[0, PLACE] = 0, end - 1, 0
        lanes[2, START], lanes[2, END], lanes[2, PLACE] = 0, end, 0
        fits = check(query, lanes[2, START], end, row[VOCAB_SIZE], row[SEPARATOR])
        if fits < 1:
            return fits, fits
        find_group(row, query, lanes, cold)
        prompts += row[SIGN] * (lanes[1, LO] - lanes[0, LO])
        total += row[SIGN] * (lanes[3, LO] - lanes[2, LO])
    return prompts, total
