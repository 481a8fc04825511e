"""Merging sorted runs of suffixes of one text into its suffix array.

A *run* is a range of `runs`, u32, shape (n,): positions relative to the run's base, in the order
of the format, ties by position. `merge` takes the same stretch of the output from every run
(`rank_in_run` finds where the stretch starts). It is called repeatedly; each call fills a buffer.

Three things avoid most reads of the text. The next entries of each run are fetched together with
their keys (the first 8 bytes, see `suffix_key`), and their text is prefetched. A tournament of keys
decides most comparisons. The result of a long comparison is stored by *diagonal*, the distance
between the two suffixes: inside a repeat, all pairs of one diagonal are equal up to the same place
and differ in the same way there, so each stretch of a diagonal is compared once.

`text`: the whole stream, u8, u16 or u32; its end reads as a separator.
"""

import numpy as np
from numpy import uint64

from everygram.kernels import kernel, prefetch, token_at

# Entries that are fetched ahead per run, with their keys.
READY = 64
# Tokens compared before the diagonals are consulted: few comparisons in natural text get that far.
SHORT = 24
# Diagonals are stored in stretches of 2^STRETCH tokens.
STRETCH = 12


@kernel
def suffix_key(tokens: np.ndarray, position: int, separator: int) -> np.uint64:
    """The first 8 bytes of the suffix's tokens as one integer that sorts as the tokens do.

    The first token is in the highest bits. The bits after a separator are zero, unless that
    separator is the suffix's first token: the order of suffixes ignores what comes after it.
    """
    bits = 8 * tokens.itemsize
    shift = 64
    key = np.uint64(0)
    i = 0
    while shift > 0:
        token = token_at(tokens, position + i, separator)
        shift -= bits
        key |= np.uint64(token) << np.uint64(shift)
        if token == separator and i > 0:
            break
        i += 1
    return key


@kernel
def comes_before(text: np.ndarray, separator: int, a: int, b: int, diagonals: np.ndarray) -> bool:
    """Whether the suffix at `a` comes before the one at `b`. Precondition: a and b differ."""
    n = text.shape[0]
    # A separator at a suffix's own start is a token like others; a later one ends the comparison.
    token_a, token_b = np.int64(text[uint64(a)]), np.int64(text[uint64(b)])
    if token_a != token_b:
        return token_a < token_b
    i = 1
    while i < SHORT:
        token_a = np.int64(text[uint64(a + i)]) if a + i < n else separator
        token_b = np.int64(text[uint64(b + i)]) if b + i < n else separator
        if token_a != token_b:
            return token_a < token_b
        if token_a == separator:
            return a < b
        i += 1
    if a < b:
        return order_on_diagonal(text, separator, a + i, b - a, diagonals) <= 0
    return order_on_diagonal(text, separator, b + i, a - b, diagonals) > 0


@kernel
def order_on_diagonal(
    text: np.ndarray, separator: int, begin: int, distance: int, diagonals: np.ndarray
) -> int:
    """Compare the text from `begin` with the text from `begin + distance`: −1 below, 1 above.

    0 if both reach a separator first. diagonals: int64, shape (2^k, 4), zeros at first. An entry
    (distance, start, end, order) says of one stretch: the two texts are equal from `start` to
    `end`, and at `end` the result is `order`.
    """
    mask = diagonals.shape[0] - 1
    i = begin
    order = np.int64(0)
    decided = False
    while not decided:
        stretch = i >> STRETCH
        slot = ((distance * 0x9E3779B1 + stretch * 0x85EBCA6B) >> 7) & mask
        stop = (stretch + 1) << STRETCH
        start = diagonals[slot, 1]
        if diagonals[slot, 0] == distance and start >> STRETCH == stretch:
            if start <= i <= diagonals[slot, 2]:
                i = diagonals[slot, 2]
                order = diagonals[slot, 3]
                break
            if i < start:
                stop = start
        while i < stop:
            token_a = token_at(text, i, separator)
            token_b = token_at(text, i + distance, separator)
            if token_a != token_b:
                order = np.int64(-1) if token_a < token_b else np.int64(1)
                decided = True
                break
            if token_a == separator:
                decided = True
                break
            i += 1
    for stretch in range(begin >> STRETCH, (i >> STRETCH) + 1):
        slot = ((distance * 0x9E3779B1 + stretch * 0x85EBCA6B) >> 7) & mask
        start = max(begin, stretch << STRETCH)
        if (
            diagonals[slot, 0] == distance
            and diagonals[slot, 1] >> STRETCH == stretch
            and diagonals[slot, 1] <= start
            and diagonals[slot, 2] == i
        ):
            break
        diagonals[slot, 0] = distance
        diagonals[slot, 1] = start
        diagonals[slot, 2] = i
        diagonals[slot, 3] = order
    return order


@kernel
def rank_in_run(
    text: np.ndarray,
    separator: int,
    runs: np.ndarray,
    lo: int,
    hi: int,
    base: int,
    position: int,
    diagonals: np.ndarray,
) -> int:
    """Index of the first entry of runs[lo:hi] whose suffix is not before the one at `position`."""
    while lo < hi:
        mid = (lo + hi) >> 1
        at = base + np.int64(runs[mid])
        if at != position and comes_before(text, separator, at, position, diagonals):
            lo = mid + 1
        else:
            hi = mid
    return lo


@kernel
def undecided(text: np.ndarray, sa: np.ndarray, separator: int, most: int) -> int:
    """How many of a block's last suffixes only the text after it can order; at most `most`.

    text, sa: of the block, sorted as if a separator followed it. A suffix is undecided if it occurs
    a second time in the block, compared up to the block's end. If one is, all shorter ones are,
    so the length of the longest is the answer. In `sa` it comes right after a suffix that begins
    with it. Undecided suffixes contain no separator, except at their start.
    """
    n = text.shape[0]
    first = n - 1
    while first > n - most and first > 0 and np.int64(text[first]) != separator:
        first -= 1
    longest = np.int64(0)
    for rank in range(1, n):
        position, other = np.int64(sa[rank]), np.int64(sa[rank - 1])
        length = n - position
        if position >= first and other < position and length > longest:
            k = length - 1
            while k >= 0 and text[other + k] == text[position + k]:
                k -= 1
            if k < 0:
                longest = length
    return longest


@kernel
def keep_below(sa: np.ndarray, limit: int) -> int:
    """Move the entries below `limit` to the front, in order; returns how many there are."""
    k = 0
    for i in range(sa.shape[0]):
        if sa[i] < limit:
            sa[k] = sa[i]
            k += 1
    return k


@kernel
def sort_few(
    text: np.ndarray, separator: int, base: int, positions: np.ndarray, diagonals: np.ndarray
) -> None:
    """Sort positions (u32, relative to `base`) by their suffixes: merge sort by `comes_before`."""
    k = positions.shape[0]
    other = np.empty_like(positions)
    width = 1
    while width < k:
        for lo in range(0, k, 2 * width):
            mid, hi = min(lo + width, k), min(lo + 2 * width, k)
            left, right = lo, mid
            for out in range(lo, hi):
                take_left = left < mid
                if take_left and right < hi:
                    a, b = base + np.int64(positions[left]), base + np.int64(positions[right])
                    take_left = comes_before(text, separator, a, b, diagonals)
                if take_left:
                    other[out] = positions[left]
                    left += 1
                else:
                    other[out] = positions[right]
                    right += 1
        positions[:] = other
        width *= 2


@kernel
def make_ready(
    text: np.ndarray,
    separator: int,
    runs: np.ndarray,
    spans: np.ndarray,
    run: int,
    ready: np.ndarray,
    keys: np.ndarray,
) -> None:
    """Fetch a run's next entries, up to READY of them: positions and keys."""
    cursor = spans[run, 0]
    count = min(np.int64(READY), spans[run, 1] - cursor)
    for i in range(count):
        position = spans[run, 2] + np.int64(runs[uint64(cursor + i)])
        ready[run, i] = position
        prefetch(text, position)
    for i in range(count):
        keys[run, i] = suffix_key(text, ready[run, i], separator)
    spans[run, 0] = cursor + count
    spans[run, 3] = 0
    spans[run, 4] = count


@kernel
def start_merge(
    text: np.ndarray,
    separator: int,
    runs: np.ndarray,
    spans: np.ndarray,
    ready: np.ndarray,
    keys: np.ndarray,
    tree: np.ndarray,
    tree_keys: np.ndarray,
    diagonals: np.ndarray,
) -> None:
    """Fetch the first entries of every run and play the first tournament.

    spans: int64, shape (runs, 5), per run: next entry, end, base, then the next fetched entry and
    the number of fetched entries. ready, keys: int64 and u64, shape (runs, READY). tree: int64,
    shape (leaves, 2), leaves a power of two: run and position that lost the match at that node, run
    −1 for none; node 0 has the overall winner. tree_keys: u64, shape (leaves,).
    """
    leaves = tree.shape[0]
    for node in range(leaves):
        tree[node, 0] = -2  # nobody was here yet
    for run in range(leaves):
        challenger, position, key = np.int64(-1), np.int64(0), uint64(0)
        if run < spans.shape[0] and spans[run, 0] < spans[run, 1]:
            make_ready(text, separator, runs, spans, run, ready, keys)
            challenger, position, key = np.int64(run), ready[run, 0], keys[run, 0]
        node = (leaves + run) >> 1
        while node > 0 and tree[node, 0] != -2:
            other = tree[node, 0]
            ahead = challenger < 0
            if other >= 0 and challenger >= 0:
                ahead = tree_keys[node] < key
                if tree_keys[node] == key:
                    ahead = comes_before(text, separator, tree[node, 1], position, diagonals)
            if ahead:
                tree[node, 0], challenger = challenger, other
                tree[node, 1], position = position, tree[node, 1]
                tree_keys[node], key = key, tree_keys[node]
            node >>= 1
        tree[node, 0], tree[node, 1], tree_keys[node] = challenger, position, key


@kernel
def merge(
    text: np.ndarray,
    separator: int,
    runs: np.ndarray,
    spans: np.ndarray,
    ready: np.ndarray,
    keys: np.ndarray,
    tree: np.ndarray,
    tree_keys: np.ndarray,
    diagonals: np.ndarray,
    out: np.ndarray,
) -> int:
    """Write the next positions (int64) in order to `out`; returns how many (fewer at the end).

    Precondition: `start_merge` was called with the same arrays.
    """
    leaves = tree.shape[0]
    run, position, key = tree[0, 0], tree[0, 1], tree_keys[0]
    count = 0
    while count < out.shape[0] and run >= 0:
        out[uint64(count)] = position
        count += 1
        node = (leaves + run) >> 1
        spans[run, 3] += 1
        if spans[run, 3] == spans[run, 4]:
            make_ready(text, separator, runs, spans, run, ready, keys)
        if spans[run, 4] == 0:
            run = np.int64(-1)
        else:
            position, key = ready[run, spans[run, 3]], keys[run, spans[run, 3]]
        while node > 0:
            other_key = tree_keys[node]
            other = tree[node, 0]
            if other >= 0:
                ahead = other_key < key or run < 0
                if other_key == key and run >= 0:
                    ahead = comes_before(text, separator, tree[node, 1], position, diagonals)
                if ahead:
                    other_position = tree[node, 1]
                    tree[node, 0], tree[node, 1], tree_keys[node] = run, position, key
                    run, position, key = other, other_position, other_key
            node >>= 1
    tree[0, 0], tree[0, 1], tree_keys[0] = run, position, key
    return count
