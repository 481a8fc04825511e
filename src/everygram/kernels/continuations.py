"""The continuations of a context: how many different tokens follow it, and with which counts.

Of a frequent context a node says so (see `contexts`); of another, the suffixes are looked at. A
count is the number of different tokens before an n-gram or, where it is wanted `raw`, how often it
occurs. Arguments are those of `kneser_ney`.
"""

import numpy as np

from everygram.kernels import array_at, called, inlined
from everygram.kernels.bits import one_after
from everygram.kernels.contexts import (
    NODE_CHILDREN,
    NODE_DEPTH,
    NODE_END,
    NODE_ONCE,
    NODE_ONE,
    NODE_SIZE,
    NODE_TOTAL,
    NODE_TWICE,
    NODE_TWO,
)
from everygram.kernels.documents import (
    BLOCK_WORDS,
    block_of,
    blocks_of,
    counts_of,
    documents_in,
    guides_of,
    place_of,
)
from everygram.kernels.reads import ask_for_rank, ask_for_token, token_after
from everygram.kernels.rows import (
    POSITIONS,
    TOKENS,
    WIDTH,
    N,
)

# Ranks per guide of the nodes; as in `storage.prepared`.
GUIDED_SHIFT = 12
# What is said of a context: the sum of its continuations' counts, how many there are, and how many
# have count 1 and 2.
SUM, DIFFERENT, SINGLE, DOUBLE = 0, 1, 2, 3


@inlined
def node_of(nodes: np.ndarray, guides: np.ndarray, lo: int, hi: int) -> int:
    """The number of the node of ranks [lo, hi), or −1."""
    guide = (hi - 1) >> GUIDED_SHIFT
    first, last = np.int64(guides[guide]), np.int64(nodes.shape[0])
    if guide + 1 < guides.shape[0]:
        last = min(last, np.int64(guides[guide + 1]))
    first = max(first, 0)
    while first < last:
        middle = (first + last) >> 1
        end = np.int64(nodes[middle, NODE_END])
        if end < hi or (end == hi and np.int64(nodes[middle, NODE_SIZE]) < hi - lo):
            first = middle + 1
        else:
            last = middle
    if first < nodes.shape[0]:
        found = np.int64(nodes[first, NODE_END]) == hi
        if found and np.int64(nodes[first, NODE_SIZE]) == hi - lo:
            return first
    return -1


@called
def continuations(
    row: np.ndarray,
    lefts: np.ndarray,
    nodes: np.ndarray,
    guides: np.ndarray,
    ids: np.ndarray,
    least: int,
    length: int,
    lo: int,
    hi: int,
    raw: bool,
    cold: bool,
    told: np.ndarray,
) -> bool:
    """Set told[0] to what is said of the context of `length` tokens whose ranks are [lo, hi).

    Returns False for a damaged file. Precondition: hi − lo >= 2. ids: of any text, for its dtype.
    """
    for column in range(4):
        told[0, column] = 0
    size = hi - lo
    if size >= least:
        number = node_of(nodes, guides, lo, hi)
        if number >= 0 and np.int64(nodes[number, NODE_DEPTH]) == length:
            told[0, SUM] = size if raw else np.int64(nodes[number, NODE_TOTAL])
            told[0, DIFFERENT] = np.int64(nodes[number, NODE_CHILDREN])
            told[0, SINGLE] = np.int64(nodes[number, NODE_ONCE if raw else NODE_ONE])
            told[0, DOUBLE] = np.int64(nodes[number, NODE_TWICE if raw else NODE_TWO])
            return min(told[0, SUM], told[0, DIFFERENT]) > 0
        # All its occurrences are followed by the same token.
        count = size if raw else documents_in(lefts, lo, hi, cold)
        told[0, SUM], told[0, DIFFERENT] = count, 1
        told[0, SINGLE], told[0, DOUBLE] = np.int64(count == 1), np.int64(count == 2)
        return count > 0
    n, width = row[N], row[WIDTH]
    tokens = array_at(row[TOKENS], n, ids.dtype)
    sa = array_at(row[POSITIONS], n * width, np.uint8)
    ask_for_rank(row, sa, lo, cold)
    ask_for_rank(row, sa, hi - 1, cold)
    for rank in range(lo, hi):
        ask_for_token(row, tokens, sa, rank, length, cold)
    file, place = counts_of(lefts), np.int64(0)
    if not raw:
        blocks = blocks_of(lefts)
        place = place_of(file, blocks, block_of(file, blocks, guides_of(lefts), lo), lo)
        if place < 0:
            return False
    before, count = np.int64(-1), np.int64(0)
    for rank in range(lo, hi + 1):
        token = np.int64(-2)
        repeats = np.int64(0)
        if rank < hi:
            token = token_after(row, tokens, sa, rank, length)
            if not raw and rank > lo:
                after = one_after(file, place + 1, 1, BLOCK_WORDS)
                if after < 0:
                    return False
                repeats = after - place - 1
                place = after
        if token == before:
            count += 1 - repeats
            continue
        if before >= 0:
            told[0, SUM] += count
            told[0, DIFFERENT] += 1
            told[0, SINGLE] += np.int64(count == 1)
            told[0, DOUBLE] += np.int64(count == 2)
        before, count = token, 1
    return told[0, SUM] > 0
