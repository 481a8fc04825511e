"""Searches that advance together, one lane each: through the fences, then through ranks."""

import numpy as np

from everygram.kernels import array_at, inlined, prefetch, will_need, words
from everygram.kernels.rows import (
    ANY_MATCH,
    BEST,
    BOTH,
    END,
    FENCES,
    FIRST_ABOVE,
    FIRST_NOT_BELOW,
    HI,
    HI_MATCH,
    KEY,
    KEY_BITS,
    LEVELS,
    LO,
    LO_MATCH,
    NUM_FENCES,
    NUM_LEVELS,
    PLACE,
    POSITIONS,
    SEEKS,
    SEPARATOR,
    SPACING,
    START,
    TOKENS,
    WIDTH,
    N,
    ask_for,
    position_in,
)

# Keys per node of the fence tree: two cache lines.
FANOUT = 16
# Lanes that advance together: enough to hide a read behind the work of the others, few enough that
# requested data is still in the L1 cache when its lane uses it.
LANES = 64
# Up to this many lanes may request more data at once.
FEW = 4
# Halvings that a lane prefetches for in one round: in memory, and from a disk. From a disk, 4
# halvings cover a block; from LARGE ranks on, which take several rounds, one more is prefetched.
HALVINGS_WARM, HALVINGS_COLD, HALVINGS_COLD_LARGE = 2, 4, 5
LARGE = 1 << 10
# Ranks per cache line of a block.
NEAR = 16


@inlined
def set_keys(ids: np.ndarray, bits: int, separator: int, lanes: np.ndarray, lane: int) -> int:
    """Set KEY of two lanes to the least and the greatest key that begins like the first's query.

    Returns how many of the query's tokens a key holds completely.
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
            # The token is above all ids of the segment and below its separator, so no key begins
            # like the query. The two keys set here have no key between them.
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
    """Request the node that `place` leads to, in the level that starts at `start`.

    `with_blocks`: also request the blocks of all its fences, `step` bytes each, so that the search
    waits once for both.
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
def descend(row: np.ndarray, lanes: np.ndarray, cold: bool) -> None:
    """Find the places of pairs of lanes among the fences, all lanes level by level.

    PLACE is 1 before. It becomes the number of fences below KEY; in every second lane, the number
    of fences not above KEY. Lanes with PLACE 0 are skipped. For few lanes, and for a disk, the
    blocks of all fences of a node are requested together with the node.
    """
    fences = array_at(row[FENCES], row[NUM_FENCES], np.uint64)
    sa = array_at(row[POSITIONS], row[N] * row[WIDTH], np.uint8)
    step = row[SPACING] * row[WIDTH]
    ahead = cold or lanes.shape[0] <= FEW
    for level in range(row[NUM_LEVELS] - 1, -1, -1):
        start = row[LEVELS + 2 * level]
        size = row[LEVELS + 2 * level + 1]
        next_start = row[LEVELS + 2 * level - 2]
        with_blocks = ahead and level == 1
        for lane in range(0, lanes.shape[0], 2):
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
def depth_of(size: int, cold: bool) -> int:
    """Halvings in one round for `size` remaining ranks."""
    if not cold:
        return HALVINGS_WARM
    return HALVINGS_COLD if size < LARGE else HALVINGS_COLD_LARGE


@inlined
def narrow(
    row: np.ndarray,
    ids: np.ndarray,
    lanes: np.ndarray,
    cold: bool,
) -> None:
    """Search the ranks of every lane to the end, all lanes in lock-step.

    Each round cuts the remaining ranks of a lane into 2^depth parts, requests the suffixes at all
    cuts together, and halves `depth` times. Tokens known to match at both ends are not compared
    again (Manber & Myers 1993), so the tokens of a long query are compared about once. A lane that
    seeks BOTH ends of an interval splits into two lanes at the first matching suffix.
    """
    n, width, separator = row[N], row[WIDTH], row[SEPARATOR]
    tokens = array_at(row[TOKENS], n, ids.dtype)
    sa = array_at(row[POSITIONS], n * width, np.uint8)
    # The lanes that are still to be searched, and those of the next round.
    memory = words(2, LANES)
    going, rest = memory[0], memory[1]
    left = 0
    for lane in range(lanes.shape[0]):
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
                        # The other lane takes the ranks above this one.
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
    """How many of the first `whole` tokens the key of a fence has in common with `key`.

    That many tokens of the query match the suffix at the fence, without reading the suffix.
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
    """Set the ranks [lo, hi) of a lane; if they lie in one block, request their positions.

    lo_match and hi_match: how many tokens of the query are known to match the suffixes just before
    and just after these ranks.
    """
    lanes[lane, LO], lanes[lane, HI] = lo, hi
    lanes[lane, LO_MATCH] = lo_match
    lanes[lane, HI_MATCH] = hi_match
    if lo < hi and hi - lo < NEAR:
        ask_for(sa, lo * width, cold)
        ask_for(sa, hi * width - 1, cold)


@inlined
def found_near(row: np.ndarray, lanes: np.ndarray, lane: int, place: int) -> bool:
    """Whether the places of two lanes are both inside the node of `place`; if so, set them."""
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
