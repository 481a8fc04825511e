"""Beside the sorter: renumbers positions when documents are removed, and checks a suffix array."""

import numpy as np

from everygram.kernels import kernel, position_at, token_at

# The text is prefetched this many suffixes ahead of the current one.
AHEAD = 32


@kernel
def renumber(
    positions: np.ndarray,
    gaps: np.ndarray,
    removed: np.ndarray,
    n: int,
    first: int,
    length: int,
    out: np.ndarray,
) -> int:
    """Renumber positions as if the gaps were removed, and write them less `first` to `out` (u32).

    gaps: int64, shape (G, 2), [start, end) ascending. removed: int64, shape (G + 1,), the total
    size of the gaps before each gap, then of all. Positions are left out if they are in a gap, if
    they are not below n, or if their new number is not in [first, first + length). Returns how many
    were written. Precondition: `out` has room for all.
    """
    count = 0
    for i in range(positions.shape[0]):
        position = position_at(positions, i)
        if position >= n:
            continue
        lo, hi = 0, gaps.shape[0]
        while lo < hi:
            mid = (lo + hi) >> 1
            if gaps[mid, 0] <= position:
                lo = mid + 1
            else:
                hi = mid
        if lo > 0 and position < gaps[lo - 1, 1]:
            continue
        number = position - removed[lo] - first
        if 0 <= number < length:
            out[count] = np.uint32(number)
            count += 1
    return count


@kernel
def invert(sa: np.ndarray, rank_of: np.ndarray) -> int:
    """Set rank_of[position] to the rank; returns the first rank whose entry is wrong, or -1.

    An entry is wrong if it is out of range or is the same as that of an earlier rank. rank_of: u32
    or int64, shape (n,), filled with n by the caller.
    """
    n = rank_of.shape[0]
    for rank in range(n):
        position = position_at(sa, rank)
        if position < 0 or position >= n or rank_of[position] != n:
            return rank
        rank_of[position] = rank
    return -1


@kernel
def first_disorder(tokens: np.ndarray, sa: np.ndarray, rank_of: np.ndarray, separator: int) -> int:
    """First rank whose suffix is above the next rank's, or -1 if the array is in order.

    Precondition: `invert` returned -1 and filled `rank_of`. Neighbours that start with the same
    token are in order if the suffixes one token later are, which have ranks to compare (Burkhardt &
    Kärkkäinen 2003). Tokens are compared only if those ranks disagree, which happens for suffixes
    that are equal up to their separators. The time is linear, apart from such ties.
    """
    n = tokens.shape[0]
    for rank in range(n - 1):
        a, b = position_at(sa, rank), position_at(sa, rank + 1)
        token_a, token_b = tokens[a], tokens[b]
        if token_a < token_b:
            continue
        if token_a > token_b:
            return rank
        a += 1
        b += 1
        next_a, next_b = token_at(tokens, a, separator), token_at(tokens, b, separator)
        if next_b == separator or (next_a != separator and rank_of[a] < rank_of[b]):
            continue
        while next_a == next_b and next_a != separator:
            a += 1
            b += 1
            next_a, next_b = token_at(tokens, a, separator), token_at(tokens, b, separator)
        if next_a > next_b:
            return rank
    return -1
