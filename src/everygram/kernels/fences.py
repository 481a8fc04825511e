"""Reads the fence tree: which fences stand before the keys of lanes, level by level.

`storage.fences` makes the tree and describes it. From a place among the fences, `lanes` goes on.
"""

import numpy as np

from everygram.kernels import array_at, inlined, prefetch, will_need
from everygram.kernels.rows import (
    BY_BYTES,
    END,
    FENCES,
    KEY,
    KEY_BITS,
    LEVELS,
    NUM_FENCES,
    NUM_LEVELS,
    PLACE,
    POSITIONS,
    SEPARATOR,
    SPACING,
    START,
    WIDTH,
    N,
    ordered,
)

# Keys per node of the fence tree: two cache lines.
FANOUT = 16
# Up to this many lanes may request more data at once.
FEW = 4


@inlined
def set_keys(row: np.ndarray, ids: np.ndarray, lanes: np.ndarray, lane: int) -> int:
    """Set KEY of two lanes to the least and the greatest key that begins like the first's query.

    Returns how many of the query's tokens a key holds completely.
    """
    bits, separator = row[KEY_BITS], row[SEPARATOR]
    by_bytes = bits if row[BY_BYTES] else 0
    top = (np.int64(1) << bits) - 1
    low = np.uint64(0)
    shift = 64
    i, end = lanes[lane, START], lanes[lane, END]
    whole = 0
    while shift > 0 and i < end:
        token = np.int64(ids[i])
        shift -= bits
        value = np.uint64(ordered(min(token, top), by_bytes))
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
