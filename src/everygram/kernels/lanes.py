"""Searches ranks in lanes: many searches that advance together, one lane each.

`fences` says in which ranks a lane searches.
"""

import numpy as np

from everygram.kernels import array_at, inlined, words
from everygram.kernels.reads import position_in
from everygram.kernels.rows import (
    ANY_MATCH,
    BEST,
    BOTH,
    BY_BYTES,
    END,
    FIRST_ABOVE,
    FIRST_NOT_BELOW,
    HI,
    HI_MATCH,
    LO,
    LO_MATCH,
    POSITIONS,
    SEEKS,
    SEPARATOR,
    START,
    TOKENS,
    WIDTH,
    N,
    ask_for,
    ordered,
)

# Lanes that advance together: enough to hide a read behind the work of the others, few enough that
# requested data is still in the L1 cache when its lane uses it.
LANES = 64
# Halvings that a lane prefetches for in one round: in memory, and from a disk. From a disk, 4
# halvings cover a block; from LARGE ranks on, which take several rounds, one more is prefetched.
HALVINGS_WARM, HALVINGS_COLD, HALVINGS_COLD_LARGE = 2, 4, 5
LARGE = 1 << 10
# Ranks per cache line of a block.
NEAR = 16


@inlined
def depth_of(size: int, cold: bool) -> int:
    """Halvings in one round for `size` remaining ranks."""
    if not cold:
        return HALVINGS_WARM
    return HALVINGS_COLD if size < LARGE else HALVINGS_COLD_LARGE


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
    n, width, separator, by_bytes = row[N], row[WIDTH], row[SEPARATOR], row[BY_BYTES]
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
                    ask_for(tokens, position_in(row, sa, rank) + matched, cold)
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
                position = position_in(row, sa, rank)
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
                below = ordered(token, by_bytes) < ordered(sought, by_bytes)
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
