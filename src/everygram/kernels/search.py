"""Searching sorted segments: intervals, longest matches, ∞-gram suffixes.

The cost of a search is the number of reads that wait for one another. The fence tree leads to the
block of `spacing` suffixes that contains an end of the interval, in one or two reads that miss the
caches. The positions of the block are one more read; the texts at these positions are requested
several at a time. Many searches advance in *lanes*: each round requests the next read of every
lane, then does these reads. A request is a prefetch instruction or, if `cold`, a system call that
starts reading from the disk; everything else is the same.

`count` and `prob` answer one query, `find_many` and `match_many` many; `suffixes` and `following`
search the same way.

Arguments they share, in addition to those of the package:

- `segments`: int64, shape (k, COLUMNS): one row per segment (`rows`, `Segment.prepare`). `row`: one
  of these rows.
- `packed`, `separator`: one query: `packed` is the bytes of its ids, in the dtype of `separator`,
  which is the token dtype.
- `ids`: many queries, in the token dtype: query i is ids[starts[i]:ends[i]]. The tokens of segments
  are read with the dtype of `ids`: another dtype would read past their end.
- `cold`: whether reads are expected to wait for a disk.

Example of a lane: 60,000 suffixes, a fence every 16, the query `[11802, 3303]` of 16-bit ids. It
gets two lanes (`set_keys`): KEY of the first is 0x2e1a0ce7 followed by zeros, of the second the
same followed by ones, so all keys that begin like the query are between them. `descend` finds that
PLACE = 812 fences are below the first KEY, and as many not above the second: the interval is in the
block after the last of these fences. LO = 811 · 16 + 1 = 12,977 and HI = 812 · 16 = 12,992, the
block is requested (`set_ranks`), and the lane SEEKS BOTH ends. In `narrow` the middle suffix, rank
12,984, matches both tokens: from there the first lane continues in [12,977, 12,984), the second in
[12,985, 12,992). Neither compares again the tokens that LO_MATCH and HI_MATCH say are equal. They
end at LO = 12,981 and 12,987: the query occurs 6 times, at ranks [12,981, 12,987).

Ids of the vocabulary are below the row's VOCAB_SIZE. For a query with any other id, except the
separator, the answer is −1.
"""

import numpy as np

from everygram.kernels import array_at, borrowed, called, ids_of, kernel, words
from everygram.kernels.backward import find_left, match_left
from everygram.kernels.fences import descend, found_near, same_tokens, set_keys
from everygram.kernels.lanes import LANES, narrow, set_ranks
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
    SELF,
    SEPARATOR,
    SIGN,
    SPACING,
    START,
    VOCAB_SIZE,
    WIDTH,
    N,
    check,
    unigram_interval,
)

# Of the match that `follow_long` follows: the last place known to have a match that ends with it,
# and where that is; the first known to have one that goes further, or the place behind LAST; which
# of these was searched; how far the next step goes, and the place it asks; the last place.
SAME, SAME_END, FURTHER, SEARCHED, STEP, ASKED, LAST, FOLLOWED = range(8)


@called
def find_group(
    row: np.ndarray,
    ids: np.ndarray,
    lanes: np.ndarray,
    cold: bool,
) -> None:
    """The intervals of queries, two lanes each: LO of lanes 2i and 2i + 1.

    Preconditions: START and END of each even lane are those of a query that may occur; END is below
    START for a query that cannot. PLACE of each even lane is 0, or the fence to look near first:
    the PLACE that a search for a longer query has left.
    """
    if row[SELF]:
        find_left(row, ids, lanes, np.int64(0), cold)
        return
    n, width = row[N], row[WIDTH]
    sa = array_at(row[POSITIONS], n * width, np.uint8)
    fences = array_at(row[FENCES], row[NUM_FENCES], np.uint64)
    spacing, bits = row[SPACING], row[KEY_BITS]
    # Queries of up to so many tokens need no search.
    short = np.int64(row[NUM_UNIGRAMS] > 0)
    far = 0
    for lane in range(0, lanes.shape[0], 2):
        lanes[lane, SEEKS], lanes[lane + 1, SEEKS] = FIRST_NOT_BELOW, FIRST_ABOVE
        lanes[lane + 1, START], lanes[lane + 1, END] = lanes[lane, START], lanes[lane, END]
        place = lanes[lane, PLACE]
        lanes[lane, PLACE] = lanes[lane + 1, PLACE] = 0
        lanes[lane, LO] = 0
        if lanes[lane, END] - lanes[lane, START] > short:
            lanes[lane, BEST] = set_keys(row, ids, lanes, lane)
            if place and found_near(row, lanes, lane, place):
                # The places are kept in LO meanwhile: `descend` skips lanes with PLACE 0.
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
        if length <= short:
            lo, hi = np.int64(0), np.int64(0)
            if length == 0:
                hi = n
            elif length == 1:
                lo, hi = unigram_interval(row, np.int64(ids[start]), cold)
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
            # The interval cannot end between two fences that are both inside it.
            end = min(n, below * spacing)
            set_ranks(sa, width, lanes, lane, first, end, lo_match, length, cold)
            first = max(first, (not_above - 1) * spacing + 1)
            set_ranks(sa, width, lanes, lane + 1, first, last, length, hi_match, cold)
    narrow(row, ids, lanes, cold)
    # In a damaged file, unsorted fences could put the end before the start.
    for lane in range(0, lanes.shape[0], 2):
        lanes[lane + 1, LO] = max(lanes[lane, LO], lanes[lane + 1, LO])


@called
def match_group(row: np.ndarray, ids: np.ndarray, lanes: np.ndarray, cold: bool) -> None:
    """The length of the longest prefix of each query that occurs: BEST of every even lane.

    Preconditions: two lanes per query; START and END of each even lane are those of a query that
    has a separator only as its first or last token.
    """
    if row[SELF]:
        match_left(row, ids, lanes, cold)
        return
    n, width = row[N], row[WIDTH]
    sa = array_at(row[POSITIONS], n * width, np.uint8)
    fences = array_at(row[FENCES], row[NUM_FENCES], np.uint64)
    spacing, bits = row[SPACING], row[KEY_BITS]
    for lane in range(0, lanes.shape[0], 2):
        lanes[lane, SEEKS] = ANY_MATCH
        lanes[lane + 1, LO] = lanes[lane + 1, HI] = 0  # only the even lane searches
        lanes[lane, PLACE] = lanes[lane + 1, PLACE] = 1
        lanes[lane, BEST] = set_keys(row, ids, lanes, lane)
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
    """Set intervals[i, s] to the interval of query i in segment s: int64, shape (k, s, 2).

    Returns the index of the first query with an unknown id, or −1.
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
            # END below START marks a query that cannot occur.
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
    """Set lengths[i] (int64) to the length of the longest prefix of query i that occurs.

    Unless `intervals` has no entries, intervals[i] becomes the intervals of that prefix, as in
    `find_many`: what this second search reads is already in the cache.

    Preconditions: all ids are known; separators are only the first or last token of a query.
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
def follow_long(
    segments: np.ndarray,
    ids: np.ndarray,
    firsts: np.ndarray,
    lasts: np.ndarray,
    limits: np.ndarray,
    least: int,
    cold: bool,
    lengths: np.ndarray,
) -> int:
    """Set lengths (int64) to those of long matches, at all places firsts[i] to lasts[i].

    A match is followed to its end, up to limits[place]. The matches at the next places mostly end
    there too: they are not searched, up to the first that goes further, which is found by steps
    twice as long each time, then by halves. Each i has a lane.

    Preconditions: matches at these places have `least` tokens or more; so has none at the place
    behind lasts[i]; all places of one i have the same limit. Returns the number of searches; −1 if
    a match is shorter than a part of it: the files were overwritten meanwhile.
    """
    number = firsts.shape[0]
    group = max(1, min(number, LANES // 2))
    lanes = np.empty((2 * group, FIELDS), np.int64)
    lengths_found = np.empty(group, np.int64)
    states = np.empty((group, FOLLOWED), np.int64)
    active, begun, searches = 0, 0, 0
    while active or begun < number:
        while active < group and begun < number:
            state = states[active]
            state[LAST] = lasts[begun]
            state[ASKED] = state[FURTHER] = firsts[begun]
            state[SAME] = firsts[begun] - 1
            state[SAME_END] = state[STEP] = 0
            state[SEARCHED] = -1
            active, begun = active + 1, begun + 1
        for lane in range(active):
            lengths_found[lane] = 0
        for s in range(segments.shape[0]):
            for lane in range(active):
                place = states[lane, ASKED]
                lanes[2 * lane, START], lanes[2 * lane, END] = place, limits[place]
            match_group(segments[s], ids, lanes[: 2 * active], cold)
            for lane in range(active):
                lengths_found[lane] = max(lengths_found[lane], lanes[2 * lane, BEST])
        searches += active
        left = 0
        for lane in range(active):
            place = states[lane, ASKED]
            lengths[place] = lengths_found[lane]
            if lengths[place] < least or place + lengths[place] < states[lane, SAME_END]:
                return -1
            if _advance(states[lane], limits[place], least, lengths):
                for field in range(FOLLOWED):
                    states[left, field] = states[lane, field]
                left += 1
        active = left
    return searches


@called
def _advance(state: np.ndarray, limit: int, least: int, lengths: np.ndarray) -> bool:
    """Note the match at ASKED, and what to ask next. Returns False if nothing is left to ask."""
    place = state[ASKED]
    if place + lengths[place] > state[SAME_END]:
        state[FURTHER] = state[SEARCHED] = place
    else:
        _end_together(state, place, lengths)
        state[STEP] *= 2
    while state[SAME] + 1 == state[FURTHER]:
        place = state[FURTHER]
        if place > state[LAST]:
            return False
        if place != state[SEARCHED]:
            state[ASKED] = place
            return True
        state[SAME], state[SAME_END], state[STEP] = place, place + lengths[place], 1
        if state[SAME_END] >= limit:
            _end_together(state, state[LAST], lengths)
            return False
        # (From its last `least` tokens on, a match goes further, or there is no long one.)
        state[FURTHER] = min(state[SAME_END] - least, state[LAST]) + 1
    state[ASKED] = min(state[SAME] + state[STEP], (state[SAME] + state[FURTHER]) >> 1)
    return True


@called
def _end_together(state: np.ndarray, last: int, lengths: np.ndarray) -> None:
    """Note that the matches up to this place end where the one that is followed does."""
    for place in range(state[SAME] + 1, last + 1):
        lengths[place] = state[SAME_END] - place
    state[SAME] = last


@kernel
def limits(ids: np.ndarray, separator: int, over_end: bool) -> np.ndarray:
    """The latest end of a match that starts at each place of a text: int64, shape (len,).

    It is the next separator after the place; with `over_end`, one place after that separator.
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
    """How often one query occurs; −1 for an unknown id."""
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
    """How often the prompt occurs (the query without its last token), and how often the query does.

    Nothing follows the end of a document: a prompt that ends with a separator occurs 0 times,
    unless it is the separator alone. Returns −1 for an unknown id, and for counts that a sound
    index never has.
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
    if total < 0 or prompts < total:
        return -1, -1
    return prompts, total
