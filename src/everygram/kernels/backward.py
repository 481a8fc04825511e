"""Searches a self-index: from the interval of a query's last tokens to that of one token more.

The suffixes that begin with a and then with a query are those of a whose Ψ is in the query's
interval (Grossi & Vitter 2000; Sadakane 2003): two counts of entries below an end. All queries of a
group advance together, a token at a time, each reading first which block of entries has an end, in
the fence tree, then the block.

Arguments are those of `search`; `row` is one of a self-index (see `psi`).
"""

import numpy as np

from everygram.kernels import array_at, called, words
from everygram.kernels.fences import FANOUT
from everygram.kernels.lanes import LANES
from everygram.kernels.psi import ask_for_block, blocks_of, entries_below, first_of
from everygram.kernels.rows import (
    BEST,
    BLOCK_SHIFT,
    END,
    FENCES,
    HI,
    HI_MATCH,
    KEY,
    KEY_BITS,
    LEVELS,
    LO,
    LO_MATCH,
    NUM_FENCES,
    NUM_PLACES,
    NUM_UNIGRAMS,
    PLACE,
    PLACES,
    SEEKS,
    SEPARATOR,
    START,
    UNIGRAMS,
    N,
    ask_for,
)

# Where a lane is: at a block, and at the end of its search; else at that level of the tree.
AT_BLOCK, FOUND = -1, -2


@called
def place_of(row: np.ndarray, token: int) -> int:
    """The place of a token among the unigrams, or −1."""
    count = row[NUM_UNIGRAMS]
    if token == row[SEPARATOR]:
        return count - 1
    if row[PLACES]:
        if token >= row[NUM_PLACES]:
            return np.int64(-1)
        return np.int64(array_at(row[PLACES], row[NUM_PLACES], np.int32)[np.uint64(token)])
    unigrams = array_at(row[UNIGRAMS], 3 * count, np.uint32)
    lo, hi = np.int64(0), count
    while lo < hi:
        middle = (lo + hi) >> 1
        if np.int64(unigrams[np.uint64(2 * count + middle)]) < token:
            lo = middle + 1
        else:
            hi = middle
    if lo == count or np.int64(unigrams[np.uint64(2 * count + lo)]) != token:
        return np.int64(-1)
    return lo


@called
def seek(row: np.ndarray, lanes: np.ndarray, lane: int, place: int, rank: int, cold: bool) -> None:
    """Let a lane seek how many entries are below those of a unigram with Ψ `rank`."""
    first, last = first_of(row, place), max(first_of(row, place + 1) - 1, 0)
    first = min(first, last)
    shift = row[BLOCK_SHIFT]
    lanes[lane, KEY] = place << row[KEY_BITS] | rank
    lanes[lane, LO], lanes[lane, HI] = first, last + 1
    first, last = first >> shift, last >> shift
    if first == last:
        lanes[lane, SEEKS], lanes[lane, PLACE] = AT_BLOCK, first
        fences = array_at(row[FENCES], row[NUM_FENCES], np.uint64)
        ask_for(fences, first, cold)
        ask_for(blocks_of(row), first, cold)
        return
    # The lowest node that all blocks of the token are under.
    level = np.int64(0)
    first, last = first // FANOUT, last // FANOUT
    while first != last:
        first, last = first // FANOUT, last // FANOUT
        level += 1
    lanes[lane, SEEKS], lanes[lane, PLACE] = level, first
    ask_for_keys(row, level, first, cold)


@called
def ask_for_keys(row: np.ndarray, level: int, node: int, cold: bool) -> None:
    """Request a node of the fence tree; of the lowest level, with what is said of its blocks."""
    fences = array_at(row[FENCES], row[NUM_FENCES], np.uint64)
    start = row[LEVELS + 2 * level] + node * FANOUT
    ask_for(fences, start, cold)
    ask_for(fences, start + FANOUT - 1, cold)
    if level == 0:
        blocks = blocks_of(row)
        ask_for(blocks, node * FANOUT, cold)
        ask_for(blocks, min(node * FANOUT + FANOUT, blocks.shape[0]) - 1, cold)


@called
def count_below(
    row: np.ndarray, lanes: np.ndarray, going: np.ndarray, count: int, cold: bool
) -> None:
    """Set LO of the lanes going[:count] to the number of entries below KEY; see `seek`."""
    fences = array_at(row[FENCES], row[NUM_FENCES], np.uint64)
    shift = row[BLOCK_SHIFT]
    top = np.int64(-1)
    for i in range(count):
        top = max(top, lanes[going[i], SEEKS])
    for level in range(top, -1, -1):
        start, size = row[LEVELS + 2 * level], row[LEVELS + 2 * level + 1]
        for i in range(count):
            lane = going[i]
            if lanes[lane, SEEKS] != level:
                continue
            key = np.uint64(lanes[lane, KEY])
            node = lanes[lane, PLACE] * FANOUT
            smaller = np.int64(0)
            at = np.uint64(start + node)
            for k in range(FANOUT):
                smaller += np.int64(fences[at + np.uint64(k)] < key)
            if smaller == 0:
                # (Then the token's entries begin with this node, and none is below.)
                lanes[lane, SEEKS] = FOUND
                continue
            place = min(node + smaller, size) - 1
            lanes[lane, PLACE], lanes[lane, SEEKS] = place, level - 1
            if level:
                ask_for_keys(row, level - 1, place, cold)
    for i in range(count):
        lane = going[i]
        if lanes[lane, SEEKS] == AT_BLOCK:
            ask_for_block(row, lanes[lane, PLACE], cold)
    for i in range(count):
        lane = going[i]
        if lanes[lane, SEEKS] != AT_BLOCK:
            continue
        block, key = lanes[lane, PLACE], lanes[lane, KEY]
        if np.uint64(key) <= fences[np.uint64(block)]:
            continue  # none is below: LO is the token's first rank
        found = (block << shift) + entries_below(row, block, key)
        # (In a damaged file it could be another token's.)
        lanes[lane, LO] = min(max(found, lanes[lane, LO]), lanes[lane, HI])


@called
def find_left(
    row: np.ndarray, ids: np.ndarray, lanes: np.ndarray, longest: int, cold: bool
) -> None:
    """The intervals of queries, two lanes each: LO of lanes 2i and 2i + 1, as `find_group`.

    longest: 1 for those of the longest suffix of each query that occurs; BEST of lane 2i is its
    length. (No bool: a function is compiled once more for each constant that is one.)
    Preconditions: at most LANES lanes; START and END as for `find_group`.
    """
    n = row[N]
    top = (np.int64(1) << row[KEY_BITS]) - 1
    memory = words(2, LANES)
    going = memory[0]
    # Of each even lane, LO_MATCH and HI_MATCH are the interval so far, BEST its length.
    left = 0
    for lane in range(0, lanes.shape[0], 2):
        start, end = lanes[lane, START], lanes[lane, END]
        lo, hi, length = np.int64(0), np.int64(0), np.int64(0)
        if end == start:
            hi = n
        elif end > start:
            token = np.int64(ids[np.uint64(end - 1)])
            place = place_of(row, token)
            length = np.int64(1)
            if place >= 0:
                lo, hi = first_of(row, place), first_of(row, place + 1)
            if hi <= lo:
                lo, hi, length = np.int64(0), np.int64(0), np.int64(0)
                if longest:
                    hi = n
            elif end - start > 1:
                going[left] = lane
                left += 1
        lanes[lane, LO_MATCH], lanes[lane, HI_MATCH], lanes[lane, BEST] = lo, hi, length
    asked = memory[1]
    while left:
        count = np.int64(0)
        kept = 0
        for i in range(left):
            lane = going[i]
            length = lanes[lane, BEST]
            place = place_of(row, np.int64(ids[np.uint64(lanes[lane, END] - 1 - length)]))
            lo, hi = lanes[lane, LO_MATCH], lanes[lane, HI_MATCH]
            if length == 1 and np.int64(ids[np.uint64(lanes[lane, END] - 1)]) == row[SEPARATOR]:
                # What ends a document is behind all others of its token.
                lo, hi = n, top
            if place < 0:
                if not longest:
                    lanes[lane, LO_MATCH] = lanes[lane, HI_MATCH] = 0
                continue
            seek(row, lanes, lane, place, lo, cold)
            seek(row, lanes, lane + 1, place, hi, cold)
            asked[count], asked[count + 1] = lane, lane + 1
            count += 2
            going[kept] = lane
            kept += 1
        count_below(row, lanes, asked, count, cold)
        left = 0
        for i in range(kept):
            lane = going[i]
            lo, hi = lanes[lane, LO], lanes[lane + 1, LO]
            if hi <= lo:
                if not longest:
                    lanes[lane, LO_MATCH] = lanes[lane, HI_MATCH] = 0
                continue
            length = lanes[lane, BEST] + 1
            lanes[lane, LO_MATCH], lanes[lane, HI_MATCH], lanes[lane, BEST] = lo, hi, length
            if length < lanes[lane, END] - lanes[lane, START]:
                going[left] = lane
                left += 1
    for lane in range(0, lanes.shape[0], 2):
        lanes[lane, LO], lanes[lane + 1, LO] = lanes[lane, LO_MATCH], lanes[lane, HI_MATCH]


@called
def match_left(row: np.ndarray, ids: np.ndarray, lanes: np.ndarray, cold: bool) -> None:
    """The length of the longest prefix of each query that occurs: as `match_group`.

    Prefixes of twice the length are tried, then of lengths between.
    """
    k = lanes.shape[0] // 2
    memory = words(3, LANES)
    known, absent, ends = memory[0], memory[1], memory[2]
    for i in range(k):
        ends[i] = lanes[2 * i, END]
        known[i], absent[i] = 0, ends[i] - lanes[2 * i, START] + 1
    while True:
        some = False
        for i in range(k):
            length = min(2 * known[i] + 1, absent[i] - 1)
            if absent[i] <= ends[i] - lanes[2 * i, START]:
                length = (known[i] + absent[i]) >> 1
            if absent[i] - known[i] < 2:
                lanes[2 * i, END] = lanes[2 * i, START] - 1
                continue
            lanes[2 * i, END] = lanes[2 * i, START] + length
            some = True
        if not some:
            break
        find_left(row, ids, lanes, np.int64(0), cold)
        for i in range(k):
            length = lanes[2 * i, END] - lanes[2 * i, START]
            if length < 1:
                continue
            if lanes[2 * i, LO] < lanes[2 * i + 1, LO]:
                known[i] = length
            else:
                absent[i] = length
    for i in range(k):
        lanes[2 * i, END], lanes[2 * i, BEST] = ends[i], known[i]


@called
def infgram_left(
    row: np.ndarray, query: np.ndarray, end: int, lanes: np.ndarray, cold: bool
) -> int:
    """The longest suffix of query[:end] that occurs, and that suffix with query[end] behind it.

    Returns its length. lanes: four; LO of the first two becomes the interval of the suffix, that of
    the others the interval of both. Precondition: query[end] is known, and no separator stands in
    query[1:end].
    """
    n, top = row[N], (np.int64(1) << row[KEY_BITS]) - 1
    going = words(1, 4)[0]
    for i in range(4):
        going[i] = i
    lo, hi, length = np.int64(0), n, np.int64(0)
    # The interval of the tokens up to `end` and the one behind; a separator there is in any case
    # the end of a document.
    place = place_of(row, np.int64(query[np.uint64(end)]))
    after_lo, after_hi = np.int64(0), np.int64(0)
    if place >= 0:
        after_lo, after_hi = first_of(row, place), first_of(row, place + 1)
    ends = np.int64(query[np.uint64(end)]) == row[SEPARATOR]
    while length < end:
        place = place_of(row, np.int64(query[np.uint64(end - 1 - length)]))
        if place < 0:
            break
        # (The first token is looked up, not searched; the one behind it is.)
        if length:
            seek(row, lanes, going[0], place, lo, cold)
            seek(row, lanes, going[1], place, hi, cold)
        first, count = np.int64(0 if length else 2), np.int64(4 if length else 2)
        if after_lo < after_hi:
            if ends and length == 0:
                seek(row, lanes, going[2], place, n, cold)
                seek(row, lanes, going[3], place, top, cold)
            else:
                seek(row, lanes, going[2], place, after_lo, cold)
                seek(row, lanes, going[3], place, after_hi, cold)
        else:
            count -= 2
        count_below(row, lanes, going[first : first + count], count, cold)
        new_lo, new_hi = first_of(row, place), first_of(row, place + 1)
        if length:
            new_lo, new_hi = lanes[0, LO], lanes[1, LO]
        if new_lo >= new_hi:
            break
        lo, hi = new_lo, new_hi
        if after_lo < after_hi:
            after_lo, after_hi = lanes[2, LO], max(lanes[2, LO], lanes[3, LO])
        length += 1
    lanes[0, LO], lanes[1, LO], lanes[2, LO], lanes[3, LO] = lo, hi, after_lo, after_hi
    return length
