"""Searching sorted segments: intervals, longest matches, ∞-gram suffixes.

What a search costs is its reads that wait for one another. The fence tree leads to the block of
`spacing` suffixes that holds an end of the interval, in one or two reads that miss the caches.
The block's positions are one more, and the texts there are asked for some at a time. Many
searches advance in *lanes*: each round asks for what every lane reads next, then reads it. What
asks is a prefetch instruction or, when `cold`, a system call that starts reading from the disk;
the rest is the same.

In the order of use: `find`, `prob`, `infgram_prob`, `longest_suffix` for one query; `find_many`,
`match_many`, `longest_suffixes` for many.

Arguments they share, besides those of the package:

- `segments`: int64, shape (k, COLUMNS): a row a segment (`Segment.prepare`), where its arrays
  are and how they are read. Calls cost by the array they are given; this is one for all.
  Precondition: the arrays are alive. `row` is one of its rows.
- `query`, `prompt`, `ids`: of the token dtype, which is how the segments' tokens are read: any
  other would be read past their end. Query i of many is ids[starts[i]:ends[i]].
- `cold`: whether reads are expected to wait for a disk.

Ids of the vocabulary are below the row's VOCAB_SIZE; a query with another one, the separator
aside, is answered −1.
"""

import numpy as np

from everygram.kernels import array_at, inlined, kernel, prefetch, will_need, words

# A segment's row: addresses and lengths of its tokens, positions (bytes, and bytes each), keys
# and unigrams (words); then numbers, and a start and a size for each level of the fence tree.
TOKENS, N, POSITIONS, WIDTH, FENCES, NUM_FENCES, UNIGRAMS, NUM_UNIGRAMS = 0, 1, 2, 3, 4, 5, 6, 7
SPACING, KEY_BITS, SEPARATOR, VOCAB_SIZE, SIGN, NUM_LEVELS, LEVELS = 8, 9, 10, 11, 12, 13, 14
COLUMNS = LEVELS + 2 * 12
# Keys of a node of the fence tree: two cache lines.
FANOUT = 16
# Lanes that advance together: enough to hide a read behind the others' work, few enough that
# what they asked for is still in the first cache when they come to it.
LANES = 64
# Suffix lengths of one prompt that are tried at a time; from this one on not each of them.
TRIALS, ONE_BY_ONE = 4, 8
# Halvings a lane asks ahead for in one round, in memory and of a disk: there all of a block, and
# one more of so many ranks that several rounds are to come.
FEW, MORE, MOST = 2, 4, 5
MANY = 1 << 10
# Ranks in a block's cache line.
NEAR = 16
# All pages of the unigrams' ids are asked for at once up to so many ids.
FEW_IDS, WORDS_A_PAGE = 1 << 17, 1 << 10
# A lane is a search for one rank, a row of int64: the query's place in the ids; what it seeks;
# its key (u64 bits), and how many fences precede it; the ranks [LO, HI) it may still end at; how
# many tokens of the query match the suffixes just outside; the longest match seen so far, before
# which BEST is how many of the query's tokens the key holds whole.
START, END, SEEKS, KEY, PLACE, LO, HI, LO_MATCH, HI_MATCH, BEST = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
FIELDS = 10
# Words of the lanes of one query, of two, and of one prompt's trials; of the notes on those.
ONE, TWO, OF_TRIALS, NOTES = 2 * FIELDS, 4 * FIELDS, 2 * TRIALS * FIELDS, 4 * TRIALS
FIRST_NOT_BELOW, FIRST_ABOVE, ANY_MATCH, BOTH = 0, 1, 2, 3


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
def set_keys(ids: np.ndarray, bits: int, separator: int, lanes: np.ndarray, lane: int) -> int:
    """Give two lanes the least and the greatest key that begins like the query of the first.

    Returns how many of the query's tokens a key holds whole.
    """
    top = (np.int64(1) << bits) - 1
    low = np.uint64(0)
    shift = 64
    i, end = lanes[lane, START], lanes[lane, END]
    whole = 0
    while shift > 0 and i < end:
        token = np.int64(ids[i])
        shift -= bits
        value = np.uint64(min(token, top))
        if shift >= 0:
            low |= value << np.uint64(shift)
        else:
            low |= value >> np.uint64(-shift)
        if token >= top and token != separator:
            # Above all ids of the segment and below its separator, whose key this is: no key is.
            lanes[lane, KEY] = np.int64(low)
            lanes[lane + 1, KEY] = np.int64(low - np.uint64(1))
            return whole
        if shift >= 0:
            whole += 1
        i += 1
    rest = np.uint64(0)
    if shift == 64:
        rest = ~np.uint64(0)
    elif shift > 0:
        rest = (np.uint64(1) << np.uint64(shift)) - np.uint64(1)
    lanes[lane, KEY] = np.int64(low)
    lanes[lane + 1, KEY] = np.int64(low | rest)
    return whole


@inlined
def ask_for_node(
    fences: np.ndarray,
    start: int,
    place: int,
    sa: np.ndarray,
    step: int,
    with_blocks: bool,
    cold: bool,
) -> None:
    """Have the node fetched that a place leads to, in the level that starts there.

    With the blocks of all its fences, `step` bytes each, if asked: then one wait does for both.
    """
    node = np.uint64(start + (place - 1) * FANOUT)
    block = (place - 1) * FANOUT * step
    if cold:
        will_need(fences, node)
        if with_blocks:
            will_need(sa, block)
            will_need(sa, min(block + FANOUT * step, sa.shape[0]) - 1)
        return
    prefetch(fences, node)
    prefetch(fences, node + np.uint64(FANOUT // 2))
    if with_blocks:
        for i in range(FANOUT):
            prefetch(sa, block + i * step)


@inlined
def descend(row: np.ndarray, lanes: np.ndarray, count: int, ahead: bool, cold: bool) -> None:
    """Find the places of pairs of lanes among the fences, all of them level by level.

    PLACE, 1 at first, becomes how many fences are below KEY; in every second lane, how many are
    not above it. A lane with 0 needs none. With `ahead` the blocks of all a node's fences are
    asked for when the node is.
    """
    fences = array_at(row[FENCES], row[NUM_FENCES], np.uint64)
    sa = array_at(row[POSITIONS], row[N] * row[WIDTH], np.uint8)
    step = row[SPACING] * row[WIDTH]
    for level in range(row[NUM_LEVELS] - 1, -1, -1):
        start = row[LEVELS + 2 * level]
        size = row[LEVELS + 2 * level + 1]
        next_start = row[LEVELS + 2 * level - 2]
        with_blocks = ahead and level == 1
        for lane in range(0, count, 2):
            below, not_above = lanes[lane, PLACE], lanes[lane + 1, PLACE]
            if not_above == 0:
                continue
            low, high = np.uint64(lanes[lane, KEY]), np.uint64(lanes[lane + 1, KEY])
            smaller, up_to = np.int64(0), np.int64(0)
            node = np.uint64(start + (not_above - 1) * FANOUT)
            if below == not_above:
                # Both ends of an interval go through the same nodes near the root.
                for i in range(FANOUT):
                    fence = fences[node + np.uint64(i)]
                    smaller += fence < low
                    up_to += fence <= high
            else:
                for i in range(FANOUT):
                    up_to += fences[node + np.uint64(i)] <= high
                if below > 0:
                    node = np.uint64(start + (below - 1) * FANOUT)
                    for i in range(FANOUT):
                        smaller += fences[node + np.uint64(i)] < low
            if below > 0:
                below = min((below - 1) * FANOUT + smaller, size)
            not_above = min((not_above - 1) * FANOUT + up_to, size)
            lanes[lane, PLACE], lanes[lane + 1, PLACE] = below, not_above
            if level > 0:
                if below > 0:
                    ask_for_node(fences, next_start, below, sa, step, with_blocks, cold)
                if not_above > 0 and not_above != below:
                    ask_for_node(fences, next_start, not_above, sa, step, with_blocks, cold)


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


@inlined
def depth_of(size: int, cold: bool) -> int:
    """Halvings of so many ranks in one round."""
    if not cold:
        return FEW
    return MORE if size < MANY else MOST


@inlined
def narrow(
    row: np.ndarray,
    ids: np.ndarray,
    lanes: np.ndarray,
    count: int,
    step: int,
    cold: bool,
) -> None:
    """Search the ranks of every step-th lane to the end, all lanes in lock-step.

    Each round cuts what is left of a lane into 2^depth parts, asks for the suffixes at the cuts
    together, and halves `depth` times. Tokens known to match at both ends are not compared again
    (Manber & Myers 1993), so that a long query costs its length about once. A lane that seeks
    BOTH ends of an interval becomes two where they part: at the first suffix that matches.
    """
    n, width, separator = row[N], row[WIDTH], row[SEPARATOR]
    tokens = array_at(row[TOKENS], n, ids.dtype)
    sa = array_at(row[POSITIONS], n * width, np.uint8)
    # The lanes that are still to be searched, and those of the next round.
    going, rest = words(LANES), words(LANES)
    left = 0
    for lane in range(0, count, step):
        if lanes[lane, LO] < lanes[lane, HI]:
            going[left] = lane
            left += 1
    while left:
        for place in range(left):
            lane = going[place]
            lo, hi = lanes[lane, LO], lanes[lane, HI]
            if hi - lo >= NEAR:
                depth = depth_of(hi - lo, cold)
                for part in range(1, 1 << depth):
                    ask_for(sa, (lo + ((hi - lo) * part >> depth)) * width, cold)
        for place in range(left):
            lane = going[place]
            lo, hi = lanes[lane, LO], lanes[lane, HI]
            matched = min(lanes[lane, LO_MATCH], lanes[lane, HI_MATCH])
            asked = np.int64(-1)
            depth = depth_of(hi - lo, cold)
            for part in range(1, 1 << depth):
                rank = lo + ((hi - lo) * part >> depth)
                if rank != asked:
                    ask_for(tokens, position_in(sa, width, rank) + matched, cold)
                asked = rank
        more = 0
        for place in range(left):
            lane = going[place]
            lo, hi = lanes[lane, LO], lanes[lane, HI]
            start = lanes[lane, START]
            length = lanes[lane, END] - start
            seeks = lanes[lane, SEEKS]
            lo_match, hi_match = lanes[lane, LO_MATCH], lanes[lane, HI_MATCH]
            first, size = lo, hi - lo
            depth = depth_of(size, cold)
            below_part, above_part = np.int64(0), np.int64(1) << depth
            while above_part - below_part > 1:
                part = (below_part + above_part) >> 1
                rank = first + (size * part >> depth)
                if rank < lo:
                    below_part = part
                    continue
                if rank >= hi:
                    above_part = part
                    continue
                position = position_in(sa, width, rank)
                i = min(lo_match, hi_match)
                token = np.int64(0)
                sought = np.int64(0)
                while i < length:
                    token = separator
                    if position + i < n:
                        token = np.int64(tokens[np.uint64(position + i)])
                    sought = np.int64(ids[np.uint64(start + i)])
                    if token != sought:
                        break
                    i += 1
                below = token < sought
                if i == length:
                    below = seeks == FIRST_ABOVE
                    if seeks == BOTH:
                        # What is above this one is the other lane's.
                        seeks = FIRST_NOT_BELOW
                        lanes[lane + 1, LO], lanes[lane + 1, HI] = rank + 1, hi
                        lanes[lane + 1, LO_MATCH], lanes[lane + 1, HI_MATCH] = i, hi_match
                        if rank + 1 < hi:
                            rest[more] = lane + 1
                            more += 1
                if seeks == ANY_MATCH:
                    lanes[lane, BEST] = max(lanes[lane, BEST], i)
                    if i == length:
                        lo = hi
                        break
                if below:
                    lo, lo_match, below_part = rank + 1, i, part
                else:
                    hi, hi_match, above_part = rank, i, part
            lanes[lane, LO], lanes[lane, HI], lanes[lane, SEEKS] = lo, hi, seeks
            lanes[lane, LO_MATCH], lanes[lane, HI_MATCH] = lo_match, hi_match
            if lo < hi:
                rest[more] = lane
                more += 1
            elif seeks == BOTH:
                lanes[lane + 1, LO] = lo
        going, rest, left = rest, going, more


@inlined
def same_tokens(row: np.ndarray, fences: np.ndarray, place: int, key: int, whole: int) -> int:
    """How many of `whole` tokens of a key the key of a fence has, too.

    So many tokens of a query match the suffix at the fence, which need not be read for it.
    """
    if place < 0 or place >= row[LEVELS + 1]:
        return 0
    bits = row[KEY_BITS]
    differ = fences[place] ^ np.uint64(key)
    same = np.int64(0)
    for tokens in range(1, whole + 1):
        same += differ >> np.uint64(64 - tokens * bits) == 0
    return same


@inlined
def set_ranks(
    sa: np.ndarray,
    width: int,
    lanes: np.ndarray,
    lane: int,
    lo: int,
    hi: int,
    lo_match: int,
    hi_match: int,
    cold: bool,
) -> None:
    """Give a lane the ranks it may end at, and ask for their positions if they are a block's.

    lo_match and hi_match: how many tokens match the suffixes just outside, as far as is known.
    """
    lanes[lane, LO], lanes[lane, HI] = lo, hi
    lanes[lane, LO_MATCH] = lo_match
    lanes[lane, HI_MATCH] = hi_match
    if lo < hi and hi - lo < NEAR:
        ask_for(sa, lo * width, cold)
        ask_for(sa, hi * width - 1, cold)


@inlined
def found_near(row: np.ndarray, lanes: np.ndarray, lane: int, place: int) -> bool:
    """Whether two lanes' places are both inside the node of the place given; if so, set them."""
    fences = array_at(row[FENCES], row[NUM_FENCES], np.uint64)
    before = (place - 1) // FANOUT * FANOUT
    if place < 1 or before + FANOUT > row[LEVELS + 1]:
        return False
    low, high = np.uint64(lanes[lane, KEY]), np.uint64(lanes[lane + 1, KEY])
    smaller, up_to = np.int64(0), np.int64(0)
    node = np.uint64(before)
    for i in range(FANOUT):
        fence = fences[node + np.uint64(i)]
        smaller += fence < low
        up_to += fence <= high
    if smaller == 0 or up_to == FANOUT:
        return False
    lanes[lane, PLACE], lanes[lane + 1, PLACE] = before + smaller, before + up_to
    return True


@inlined
def find_group(
    row: np.ndarray,
    ids: np.ndarray,
    lanes: np.ndarray,
    count: int,
    near: bool,
    ahead: bool,
    cold: bool,
) -> None:
    """The intervals of `count` queries: LO of lanes 2i and 2i + 1.

    With `near` each is sought first near the PLACE of its even lane, where a search for a longer
    query left it.

    Precondition: START and END of each even lane are a query that may occur; with END below
    START, one that cannot.
    """
    n, width, separator = row[N], row[WIDTH], row[SEPARATOR]
    sa = array_at(row[POSITIONS], n * width, np.uint8)
    unigrams = array_at(row[UNIGRAMS], 3 * row[NUM_UNIGRAMS], np.uint32)
    fences = array_at(row[FENCES], row[NUM_FENCES], np.uint64)
    spacing, bits = row[SPACING], row[KEY_BITS]
    far = 0
    for lane in range(0, 2 * count, 2):
        lanes[lane, SEEKS], lanes[lane + 1, SEEKS] = FIRST_NOT_BELOW, FIRST_ABOVE
        lanes[lane + 1, START], lanes[lane + 1, END] = lanes[lane, START], lanes[lane, END]
        place = lanes[lane, PLACE]
        lanes[lane, PLACE] = lanes[lane + 1, PLACE] = 0
        lanes[lane, LO] = 0
        # Shorter queries are answered by the unigrams.
        if lanes[lane, END] - lanes[lane, START] > 1:
            lanes[lane, BEST] = set_keys(ids, bits, separator, lanes, lane)
            if near and found_near(row, lanes, lane, place):
                # LO keeps them out of the way of `descend`, which passes over lanes of PLACE 0.
                lanes[lane, LO], lanes[lane + 1, LO] = lanes[lane, PLACE], lanes[lane + 1, PLACE]
                lanes[lane, PLACE] = lanes[lane + 1, PLACE] = 0
            else:
                lanes[lane, PLACE] = lanes[lane + 1, PLACE] = 1
                far += 1
    if far:
        descend(row, lanes, 2 * count, ahead, cold)
    for lane in range(0, 2 * count, 2):
        start = lanes[lane, START]
        length = lanes[lane, END] - start
        if length < 2:
            lo, hi = np.int64(0), np.int64(0)
            if length == 0:
                hi = n
            elif length == 1:
                lo, hi = unigram_interval(unigrams, np.int64(ids[start]), n, cold)
            set_ranks(sa, width, lanes, lane, lo, lo, 0, 0, cold)
            set_ranks(sa, width, lanes, lane + 1, hi, hi, 0, 0, cold)
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
            set_ranks(sa, width, lanes, lane + 1, first, first, 0, 0, cold)
        else:
            # No rank between two fences inside the interval can end it.
            end = min(n, below * spacing)
            set_ranks(sa, width, lanes, lane, first, end, lo_match, length, cold)
            first = max(first, (not_above - 1) * spacing + 1)
            set_ranks(sa, width, lanes, lane + 1, first, last, length, hi_match, cold)
    narrow(row, ids, lanes, 2 * count, 1, cold)
    # Fences out of order, in a damaged file, could put the end before the start.
    for lane in range(0, 2 * count, 2):
        lanes[lane + 1, LO] = max(lanes[lane, LO], lanes[lane + 1, LO])


@inlined
def match_group(
    row: np.ndarray, ids: np.ndarray, lanes: np.ndarray, count: int, ahead: bool, cold: bool
) -> None:
    """The longest beginnings of `count` queries that occur: BEST of every even lane.

    Precondition: START and END of each even lane are a query with a separator only at its ends.
    """
    n, width, separator = row[N], row[WIDTH], row[SEPARATOR]
    sa = array_at(row[POSITIONS], n * width, np.uint8)
    fences = array_at(row[FENCES], row[NUM_FENCES], np.uint64)
    spacing, bits = row[SPACING], row[KEY_BITS]
    for lane in range(0, 2 * count, 2):
        lanes[lane, SEEKS] = ANY_MATCH
        lanes[lane, PLACE] = lanes[lane + 1, PLACE] = 1
        lanes[lane, BEST] = set_keys(ids, bits, separator, lanes, lane)
    descend(row, lanes, 2 * count, ahead, cold)
    for lane in range(0, 2 * count, 2):
        length = lanes[lane, END] - lanes[lane, START]
        below, not_above = lanes[lane, PLACE], lanes[lane + 1, PLACE]
        if below < not_above and length * bits <= 64:
            lanes[lane, BEST] = length
            set_ranks(sa, width, lanes, lane, 0, 0, 0, 0, cold)
            continue
        key, whole = lanes[lane, KEY], lanes[lane, BEST]
        lo_match = same_tokens(row, fences, below - 1, key, whole)
        hi_match = same_tokens(row, fences, not_above, key, whole)
        if below == not_above:
            lanes[lane, BEST] = max(lo_match, hi_match)
        first, last = max(0, (below - 1) * spacing + 1), min(n, not_above * spacing)
        set_ranks(sa, width, lanes, lane, first, last, lo_match, hi_match, cold)
    narrow(row, ids, lanes, 2 * count, 2, cold)


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
    ahead = cold or k == 1
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
            find_group(segments[s], ids, lanes, count, False, ahead, cold)
            for i in range(count):
                intervals[begin + i, s, 0] = lanes[2 * i, LO]
                intervals[begin + i, s, 1] = lanes[2 * i + 1, LO]
    return -1


@kernel
def counted(segments: np.ndarray, intervals: np.ndarray) -> np.ndarray:
    """How often queries occur whose intervals, int64, shape (k, s, 2), these are: int64, (k,)."""
    counts = np.zeros(intervals.shape[0], np.int64)
    for i in range(intervals.shape[0]):
        for s in range(segments.shape[0]):
            counts[i] += segments[s, SIGN] * (intervals[i, s, 1] - intervals[i, s, 0])
    return counts


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
    ahead = cold or k == 1
    for begin in range(0, k, group):
        count = min(group, k - begin)
        for i in range(count):
            lengths[begin + i] = 0
        for s in range(segments.shape[0]):
            for i in range(count):
                lanes[2 * i, START], lanes[2 * i, END] = starts[begin + i], ends[begin + i]
            match_group(segments[s], ids, lanes, count, ahead, cold)
            for i in range(count):
                lengths[begin + i] = max(lengths[begin + i], lanes[2 * i, BEST])
        if intervals.shape[0] == 0:
            continue
        for s in range(segments.shape[0]):
            for i in range(count):
                start = starts[begin + i]
                lanes[2 * i, START], lanes[2 * i, END] = start, start + lengths[begin + i]
            find_group(segments[s], ids, lanes, count, segments.shape[0] == 1, False, cold)
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


@inlined
def suffix_group(
    segments: np.ndarray,
    ids: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    more: int,
    cold: bool,
    lanes: np.ndarray,
    notes: np.ndarray,
    lengths: np.ndarray,
) -> int:
    """`longest_suffixes` of a group of prompts, with memory for its work.

    With `more` 1 the token after each prompt is looked for as well: where there is one segment,
    notes[3, i] becomes whether it ever follows prompt i's suffix.

    lanes: int64, shape (2 k TRIALS, FIELDS); notes: int64, shape (4, k TRIALS).
    """
    count = starts.shape[0]
    begins, absent, prompts, followed = notes[0], notes[1], notes[2], notes[3]
    for p in range(count):
        begins[p], lengths[p], followed[p] = starts[p], 0, 1
    for s in range(segments.shape[0]):
        row = segments[s]
        unigrams = array_at(row[UNIGRAMS], 3 * row[NUM_UNIGRAMS], np.uint32)
        for p in range(count):
            if s == 0:
                separator, vocab_size = row[SEPARATOR], row[VOCAB_SIZE]
                greatest = np.int64(0)
                for i in range(starts[p], ends[p]):
                    greatest = max(greatest, np.int64(ids[np.uint64(i)]))
                if greatest >= vocab_size:  # looked at one by one, which takes longer
                    for i in range(starts[p], ends[p]):
                        token = np.int64(ids[np.uint64(i)])
                        if token == separator:
                            begins[p] = i
                        elif token >= vocab_size:
                            return p
            absent[p] = ends[p] - begins[p] + 1
        while True:
            trials = 0
            for p in range(count):
                end = ends[p]
                known, longest = lengths[p], end - begins[p]
                gap = absent[p] - known
                if known == 0 and gap == 2:
                    # Of a token alone the unigrams tell.
                    token = np.int64(ids[end - 1])
                    lo, hi = unigram_interval(unigrams, token, row[N], cold)
                    lengths[p] = 1 if lo < hi else 0
                    absent[p] = lengths[p] + 1
                    continue
                last = known
                # (The last token alone hardly ever fails: it is looked up if two do.)
                first = 2 if known == 0 and gap > 2 else 1
                for trial in range(first, first + TRIALS):
                    if absent[p] > longest:
                        step = known >> 1 if known >= ONE_BY_ONE else 1
                        length = min(known + trial * step, longest)
                    else:
                        length = known + gap * trial // (TRIALS + 1)
                    if length > last:
                        last = length
                        lanes[2 * trials, START], lanes[2 * trials, END] = end - length, end + more
                        prompts[trials] = p
                        trials += 1
            if trials == 0:
                break
            match_group(row, ids, lanes, trials, cold, cold)
            for trial in range(trials):
                p = prompts[trial]
                length = lanes[2 * trial, END] - lanes[2 * trial, START] - more
                if lanes[2 * trial, BEST] < length:
                    absent[p] = min(absent[p], length)
                elif length > lengths[p]:
                    lengths[p], followed[p] = length, lanes[2 * trial, BEST] - length
    return -1


@kernel
def longest_suffixes(
    segments: np.ndarray,
    ids: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    cold: bool,
    lengths: np.ndarray,
) -> int:
    """lengths[i] (int64) becomes the length of prompt i's longest suffix that occurs.

    No match crosses a separator: what stands before a prompt's last one cannot matter. If a
    suffix occurs, so does every shorter one: longer ones are tried, TRIALS at a time, until one
    does not, then the gap is cut. Returns the first prompt with an unknown id, or −1.
    """
    k = starts.shape[0]
    group = max(1, min(k, LANES // 2 // TRIALS))
    lanes = np.empty((2 * group * TRIALS, FIELDS), np.int64)
    notes = np.empty((4, group * TRIALS), np.int64)
    for begin in range(0, k, group):
        end = min(k, begin + group)
        part = slice(begin, end)
        unknown = suffix_group(
            segments, ids, starts[part], ends[part], 0, cold, lanes, notes, lengths[part]
        )
        if unknown >= 0:
            return begin + unknown
    return -1


@kernel
def find(segments: np.ndarray, query: np.ndarray, cold: bool) -> int:
    """How often one query occurs."""
    lanes = words(ONE).reshape(2, FIELDS)
    total = np.int64(0)
    for s in range(segments.shape[0]):
        row = segments[s]
        fits = check(query, 0, query.shape[0], row[VOCAB_SIZE], row[SEPARATOR])
        if fits < 1:
            return fits
        lanes[0, START], lanes[0, END] = 0, query.shape[0]
        find_group(row, query, lanes, 1, False, True, cold)
        total += row[SIGN] * (lanes[1, LO] - lanes[0, LO])
    return total


@kernel
def prompt_intervals(segments: np.ndarray, query: np.ndarray, start: int, cold: bool) -> np.ndarray:
    """The intervals of the prompt query[start:]: int64, shape (s, 2), or (0, 2) for an unknown id.

    After a document's end nothing follows: a prompt that ends one, unless it is the separator
    alone, has none.
    """
    lanes = words(ONE).reshape(2, FIELDS)
    intervals = np.zeros((segments.shape[0], 2), np.int64)
    end = query.shape[0]
    for s in range(segments.shape[0]):
        row = segments[s]
        fits = check(query, start, end, row[VOCAB_SIZE], row[SEPARATOR])
        if fits < 0:
            return intervals[:0]
        if fits == 0 or (end - start > 1 and np.int64(query[end - 1]) == row[SEPARATOR]):
            continue
        lanes[0, START], lanes[0, END] = start, end
        find_group(row, query, lanes, 1, False, True, cold)
        intervals[s, 0], intervals[s, 1] = lanes[0, LO], lanes[1, LO]
    return intervals


@kernel
def prob(segments: np.ndarray, query: np.ndarray, cold: bool) -> tuple[int, int]:
    """How often the prompt query[:-1] occurs, and how often the query does.

    After a document's end nothing follows: a prompt that ends one, unless it is the separator
    alone, occurs 0 times.
    """
    lanes = words(TWO).reshape(4, FIELDS)
    prompts, total = np.int64(0), np.int64(0)
    end = query.shape[0]
    for s in range(segments.shape[0]):
        row = segments[s]
        fits = check(query, 0, end, row[VOCAB_SIZE], row[SEPARATOR])
        if fits < 1:
            return fits, fits
        lanes[0, START], lanes[0, END] = 0, end - 1
        lanes[2, START], lanes[2, END] = 0, end
        find_group(row, query, lanes, 2, False, True, cold)
        prompts += row[SIGN] * (lanes[1, LO] - lanes[0, LO])
        total += row[SIGN] * (lanes[3, LO] - lanes[2, LO])
    return prompts, total


@inlined
def suffix_of(
    segments: np.ndarray, query: np.ndarray, end: int, more: int, cold: bool
) -> tuple[int, int]:
    """Length of the longest suffix of query[:end] that occurs, or −1 for an unknown id.

    With `more` 1 then 0 if query[end] never follows it; else 1, or for what is not known.
    """
    lanes = words(OF_TRIALS).reshape(2 * TRIALS, FIELDS)
    notes = words(NOTES).reshape(4, TRIALS)
    numbers = words(3)
    numbers[0], numbers[1] = 0, end
    unknown = suffix_group(
        segments, query, numbers[0:1], numbers[1:2], more, cold, lanes, notes, numbers[2:3]
    )
    if unknown >= 0:
        return -1, 0
    return numbers[2], notes[3, 0] if numbers[2] and segments.shape[0] == 1 else 1


@kernel
def longest_suffix(segments: np.ndarray, query: np.ndarray, end: int, cold: bool) -> int:
    """Length of the longest suffix of query[:end] that occurs, or −1 for an unknown id."""
    return suffix_of(segments, query, end, 0, cold)[0]


@kernel
def infgram_prob(segments: np.ndarray, query: np.ndarray, cold: bool) -> tuple[int, int, int]:
    """As `prob` for the longest suffix of query[:-1] that occurs; its length comes third."""
    end = query.shape[0] - 1
    if (
        segments.shape[0]
        and check(query, end, end + 1, segments[0, VOCAB_SIZE], segments[0, SEPARATOR]) < 0
    ):
        return -1, -1, -1
    length, followed = suffix_of(segments, query, end, 1, cold)
    if length < 0:
        return -1, -1, -1
    lanes = words(TWO).reshape(4, FIELDS)
    prompts, total = np.int64(0), np.int64(0)
    for s in range(segments.shape[0]):
        row = segments[s]
        lanes[0, START], lanes[0, END] = end - length, end
        lanes[2, START], lanes[2, END] = end - length, end + 1
        find_group(row, query, lanes, 1 + followed, False, True, cold)
        prompts += row[SIGN] * (lanes[1, LO] - lanes[0, LO])
        if followed:
            total += row[SIGN] * (lanes[3, LO] - lanes[2, LO])
    return prompts, total, length
