"""The left contexts of n-grams, and the n-grams of every length by how often they occur.

One pass over the ranks makes what smoothing needs. Suffixes that share their first tokens are
neighbours: every n-gram that ends where its occurrences stop being alike is a *node*, an interval
of ranks with a depth, the n-gram's length. The children of a node are the n-grams with one token
more. A stack holds the nodes that are not finished (Abouelhoda, Kurtz & Ohlebusch 2004).

The *count* of a node is the number of different tokens that stand before its occurrences (a
document's start is one); of an n-gram that begins a document, it is the number of occurrences.
Different tokens are counted as `repeats` counts documents, with the token before a suffix in place
of its document.
"""

import numpy as np

from everygram.kernels import kernel, position_at, prefetch

# Columns of the stack. A node: its depth and first rank; the last rank whose LCP is its depth, and
# the repeats of that; all repeats inside; then of its children the sum of their counts, their
# number, those of count 1 and 2, and those that occur once and twice.
DEPTH, FIRST, RANK, REPEATS, INSIDE, TOTAL, CHILDREN, ONE, TWO, ONCE, TWICE = range(11)
STACK_COLUMNS = 11
# Columns of nodes that are kept: the rank after the last, the number of ranks, the depth, and what
# is said of their children.
NODE_END, NODE_SIZE, NODE_DEPTH, NODE_TOTAL, NODE_CHILDREN = 0, 1, 2, 3, 4
NODE_ONE, NODE_TWO, NODE_ONCE, NODE_TWICE = 5, 6, 7, 8
NODE_COLUMNS = 9
# Counts up to this are counted per level.
LARGEST = 4
# Positions whose reads are requested together.
TOGETHER = 64


@kernel
def lefts_and_lengths(
    sa: np.ndarray,
    tokens: np.ndarray,
    offsets: np.ndarray,
    documents: np.ndarray,
    lefts: np.ndarray,
    lengths: np.ndarray,
) -> bool:
    """Set the token before each position in `sa`, a part of the array, and its suffix's length.

    documents: int64, of each position (see `repeats.gather`). lefts: int64; the first position has
    the separator. lengths: int64, the tokens up to and including the next separator. Returns
    whether the offsets are sound.
    """
    n = tokens.shape[0]
    separator = np.int64(tokens[0])
    for base in range(0, sa.shape[0], TOGETHER):
        end = min(sa.shape[0], base + TOGETHER)
        for i in range(base, end):
            prefetch(tokens, position_at(sa, i) - 1)
            prefetch(offsets, documents[i] + 1)
        for i in range(base, end):
            position, following = position_at(sa, i), documents[i] + 1
            stop = np.int64(n)
            if following < offsets.shape[0]:
                stop = np.int64(offsets[following])
            if stop <= position or stop > n:
                return False
            lefts[i] = np.int64(tokens[position - 1]) if position else separator
            lengths[i] = stop - position + 1
    return True


@kernel
def sweep(
    base: int,
    begins: int,
    lcps: np.ndarray,
    lefts: np.ndarray,
    lengths: np.ndarray,
    least: int,
    last: np.ndarray,
    stack: np.ndarray,
    top: int,
    before: int,
    repeats: np.ndarray,
    late: np.ndarray,
    nodes: np.ndarray,
    levels: np.ndarray,
) -> tuple[int, int, int]:
    """Go on to ranks base, base + 1, …, whose LCPs, left tokens and lengths are given.

    begins: the first rank of the suffixes that begin with a separator. least: nodes of at least so
    many ranks are kept. last: int64, the last rank with each left token (the separator is the last
    one), or −1. stack: int64, shape (depth, STACK_COLUMNS), of which `top` are in use. before: the
    length of the suffix of rank base − 1. repeats: u8, shape (n,), and late: int64, shape (k, 2),
    as of `repeats.assign`. nodes: int64, shape (k, NODE_COLUMNS): set to the nodes that end here.
    levels: int64, shape (2, LARGEST + 1, M + 2): levels[0, j, k] is by how much more n-grams of k
    tokens than of k − 1 have count j, levels[1, j, k] by how much more occur j times; n-grams of
    more than M tokens are left out.

    The last rank is followed by one more, of LCP −1, which ends all nodes. Returns how many are on
    the stack, late, and in `nodes`. Preconditions: there is room on the stack for all these ranks,
    in `late` for n / 256, in `nodes` for these ranks and all that are on the stack.
    """
    number, kept = np.int64(0), np.int64(0)
    most = levels.shape[2] - 2
    for i in range(lcps.shape[0]):
        rank, lcp = base + i, lcps[i]
        if rank:
            # The child that ends here: at first the suffix before.
            first, size, count, inside = rank - 1, np.int64(1), np.int64(1), np.int64(0)
            depth = lengths[i - 1] if i else np.int64(before)
            while True:
                parent = top - 1
                pushed = stack[parent, DEPTH] < lcp
                if pushed:
                    stack[top, DEPTH], stack[top, FIRST] = lcp, first
                    for column in range(RANK, STACK_COLUMNS):
                        stack[top, column] = 0
                    stack[top, RANK] = rank
                    parent = top
                    top += 1
                stack[parent, INSIDE] += inside
                stack[parent, TOTAL] += count
                stack[parent, CHILDREN] += 1
                if count <= 2:
                    stack[parent, ONE + count - 1] += 1
                if size <= 2:
                    stack[parent, ONCE + size - 1] += 1
                # The n-grams that end inside the edge from the parent to the child.
                above = stack[parent, DEPTH]
                if above < most:
                    to = min(depth, most) + 1
                    if size <= LARGEST:
                        levels[1, size, above + 1] += 1
                        levels[1, size, to] -= 1
                    if count <= LARGEST:
                        # (A separator alone is no n-gram that begins a document.)
                        start = above + 1
                        if first >= begins and above == 0:
                            start = 2
                        if start < to:
                            levels[0, count, start] += 1
                            levels[0, count, to] -= 1
                if pushed:
                    break
                # The repeats of the last rank of this depth are complete.
                found, place = stack[parent, REPEATS], stack[parent, RANK]
                repeats[place] = min(found, 255)
                if found > 255:
                    late[number, 0], late[number, 1] = place, found - 255
                    number += 1
                stack[parent, INSIDE] += found
                stack[parent, REPEATS], stack[parent, RANK] = 0, rank
                if stack[parent, DEPTH] == lcp:
                    break
                # The node ends here, and is the child of the next.
                first, size = stack[parent, FIRST], rank - stack[parent, FIRST]
                inside, depth = stack[parent, INSIDE], stack[parent, DEPTH]
                count = size if first >= begins else size - inside
                if size >= least and depth:
                    nodes[kept, NODE_END], nodes[kept, NODE_SIZE] = rank, size
                    nodes[kept, NODE_DEPTH] = depth
                    for column in range(NODE_COLUMNS - NODE_TOTAL):
                        nodes[kept, NODE_TOTAL + column] = stack[parent, TOTAL + column]
                    kept += 1
                top -= 1
                if top == 0:
                    return top, number, kept
        else:
            for column in range(STACK_COLUMNS):
                stack[0, column] = 0
            top = 1
        left = min(lefts[i], last.shape[0] - 1)
        earlier = last[left]
        last[left] = rank
        if earlier >= 0:
            # The first on the stack whose rank is above the earlier one.
            lo, half = np.int64(0), np.int64(top)
            while half > 1:
                step = half >> 1
                if stack[lo + step - 1, RANK] <= earlier:
                    lo += step
                half -= step
            stack[lo, REPEATS] += 1
    return top, number, kept
