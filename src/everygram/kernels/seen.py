"""The contexts of a text: their intervals, and what else was found of them, kept for the text.

In a text of runs or copies every place has a context for each of hundreds of lengths, most of which
the place before had, too: what is found of one is kept in a store. A store is int64, shape
(k, 3 + values): three keys, then values; −1 where nothing is; k is a power of 2. What was found
last takes the place of what was there.
"""

import numpy as np

from everygram.kernels import array_at, called, inlined
from everygram.kernels.reads import token_after
from everygram.kernels.rows import (
    END,
    LO,
    PLACE,
    POSITIONS,
    START,
    TOKENS,
    WIDTH,
    N,
)
from everygram.kernels.search import find_group

# Entries of a store.
STORED = 4096
# Probabilities after contexts of at least this many tokens are kept: where a text repeats itself,
# so do its contexts, and each of their parts may occur another number of times.
DEEP = 64
MULTIPLIER = 0x9E3779B1


@inlined
def stores(entries: int, columns: int) -> np.ndarray:
    """An empty store."""
    return np.full((entries, columns), -1, np.int64)


@inlined
def slot_of(store: np.ndarray, a: int, b: int, c: int) -> int:
    """The place in a store of what has these keys, or of other things."""
    return (31 * (31 * a + b) + c) & (store.shape[0] - 1)


@inlined
def holds(store: np.ndarray, slot: int, a: int, b: int, c: int) -> bool:
    """Whether the store has what these keys say at that place."""
    return store[slot, 0] == a and store[slot, 1] == b and store[slot, 2] == c


@inlined
def keep(store: np.ndarray, slot: int, a: int, b: int, c: int, one: int, two: int) -> None:
    """Put keys and two values at a place of a store."""
    store[slot, 0], store[slot, 1], store[slot, 2] = a, b, c
    store[slot, 3], store[slot, 4] = one, two


@called
def followed(
    row: np.ndarray, ids: np.ndarray, lo: int, hi: int, length: int, token: int
) -> tuple[int, int]:
    """Of the ranks [lo, hi), whose suffixes share `length` tokens, those that the token follows.

    ids: of any text, for its dtype. O(log (hi − lo)) reads.
    """
    n, width = row[N], row[WIDTH]
    tokens = array_at(row[TOKENS], n, ids.dtype)
    sa = array_at(row[POSITIONS], n * width, np.uint8)
    first, above = lo, hi
    while first < above:
        middle = (first + above) >> 1
        if token_after(row, tokens, sa, middle, length) < token:
            first = middle + 1
        else:
            above = middle
    last, above = first, hi
    while last < above:
        middle = (last + above) >> 1
        if token_after(row, tokens, sa, middle, length) <= token:
            last = middle + 1
        else:
            above = middle
    return first, last


@called
def interval_of(
    row: np.ndarray,
    ids: np.ndarray,
    table: np.ndarray,
    base: int,
    start: int,
    end: int,
    cold: bool,
    lanes: np.ndarray,
    seen: np.ndarray,
) -> tuple[int, int]:
    """The ranks of the suffixes that begin with ids[start:end], which occur.

    table: int64, shape (k, w, 2): those of ids[base + i : base + i + j + 1], for j < w.
    seen: a store of those of other parts, by their start and end.
    """
    length, width = end - start, table.shape[1]
    if start >= base:
        lo = table[start - base, min(length, width) - 1, 0]
        hi = table[start - base, min(length, width) - 1, 1]
        if length <= width or hi - lo == 1:
            return lo, hi
    slot = start & (seen.shape[0] - 1)
    if not holds(seen, slot, start, end, 0):
        lanes[0, START], lanes[0, END], lanes[0, PLACE] = start, end, 0
        find_group(row, ids, lanes, cold)
        keep(seen, slot, start, end, 0, lanes[0, LO], lanes[1, LO])
    return seen[slot, 3], seen[slot, 4]


@called
def flat_until(
    row: np.ndarray,
    ids: np.ndarray,
    table: np.ndarray,
    base: int,
    place: int,
    length: int,
    longest: int,
    size: int,
    cold: bool,
    lanes: np.ndarray,
    seen: np.ndarray,
) -> int:
    """The greatest length up to `longest` at which the context before `place` occurs `size` times.

    Precondition: it does at this length, and occurs at the longest.
    """
    known, above, step = length, longest + 1, np.int64(1)
    if size == 1:
        return longest
    while above - known > 1:
        trial = known + step if above > longest else (known + above) >> 1
        trial = min(trial, above - 1)
        lo, hi = interval_of(row, ids, table, base, place - trial, place, cold, lanes, seen)
        if hi - lo == size:
            known = trial
            step *= 2
        else:
            above = trial
    return known


@called
def twin_of(ids: np.ndarray, place: int, recent: np.ndarray) -> int:
    """The last place that was asked for whose token, and DEEP before it, may be these; or −1.

    recent: int64, shape (2 ** k,): that place for every hash, or −1.
    """
    # (Products of 31 and 32 bits do not overflow where this is interpreted.)
    found = np.int64(0)
    for at in range(place - DEEP, place + 1):
        found = (found * MULTIPLIER + np.int64(ids[at]) + 1) & 0x7FFFFFFF
    slot = (found >> 8) & (recent.shape[0] - 1)
    twin = recent[slot]
    recent[slot] = place
    return twin
