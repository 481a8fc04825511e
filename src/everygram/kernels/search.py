"""Searching a sorted segment: intervals, longest suffixes, the tokens that follow.

In the order of use: `find` (an n-gram's interval, through the fences), `count_many`,
`longest_suffix` (∞-gram), `next_tokens` (a distribution, by galloping), `positions_of`.
Each reads about log2(fence spacing) suffix-array entries and as many places of the text an end
of an interval, whatever the size of the segment; those reads are the cost.
"""

import numpy as np

from everygram.kernels import kernel, position_at, token_at


@kernel
def fences_below(fences: np.ndarray, key: np.uint64, after_equal: bool) -> int:
    """How many fences have a key below `key` (or, with `after_equal`, at most `key`)."""
    lo, hi = 0, fences.shape[0]
    while lo < hi:
        mid = (lo + hi) >> 1
        fence = fences[mid]
        if fence < key or (after_equal and fence == key):
            lo = mid + 1
        else:
            hi = mid
    return lo


@kernel
def bound(
    tokens: np.ndarray,
    sa: np.ndarray,
    separator: int,
    query: np.ndarray,
    lo: int,
    hi: int,
    after_equal: bool,
) -> int:
    """First rank in [lo, hi] whose suffix is not below `query` (`after_equal`: is above it).

    A suffix that begins with the query equals it. Tokens known to match at both ends of the
    remaining range are not compared again (Manber & Myers 1993), so that a long query costs its
    length about once and not once a step.
    """
    m = query.shape[0]
    matched_lo, matched_hi = 0, 0
    while lo < hi:
        mid = (lo + hi) >> 1
        position = position_at(sa, mid)
        i = min(matched_lo, matched_hi)
        token = np.int64(0)
        while i < m:
            token = token_at(tokens, position + i, separator)
            if token != query[i]:
                break
            i += 1
        below = after_equal if i == m else token < query[i]
        if below:
            lo, matched_lo = mid + 1, i
        else:
            hi, matched_hi = mid, i
    return lo


@kernel
def find(
    tokens: np.ndarray,
    sa: np.ndarray,
    fences: np.ndarray,
    spacing: int,
    separator: int,
    query: np.ndarray,
) -> tuple[int, int]:
    """The interval [lo, hi) of ranks whose suffixes begin with `query`.

    Empty when the query has a separator anywhere but at its ends: matches never cross one.
    """
    n, m = tokens.shape[0], query.shape[0]
    for i in range(1, m - 1):
        if query[i] == separator:
            return 0, 0
    # The query's first 8 bytes as keys: the least and the greatest that begin like it.
    bits = 8 * tokens.itemsize
    low = np.uint64(0)
    shift = 64
    i = 0
    while shift > 0 and i < m:
        shift -= bits
        low |= np.uint64(query[i]) << np.uint64(shift)
        i += 1
    # All ones below `shift`; a shift by 64 bits is undefined, hence two.
    rest = np.uint64(0)
    if shift == 64:
        rest = ~np.uint64(0)
    elif shift > 0:
        rest = (np.uint64(1) << np.uint64(shift)) - np.uint64(1)
    below = fences_below(fences, low, False)
    not_above = fences_below(fences, low | rest, True)
    first = max(0, (below - 1) * spacing + 1)
    last = min(n, not_above * spacing)
    if m * bits <= 64:
        # No rank between two fences inside the interval can bound it.
        lo = bound(tokens, sa, separator, query, first, min(n, below * spacing), False)
        first_above = max(lo, (not_above - 1) * spacing + 1)
        return lo, bound(tokens, sa, separator, query, first_above, last, True)
    lo = bound(tokens, sa, separator, query, first, last, False)
    return lo, bound(tokens, sa, separator, query, lo, last, True)


@kernel
def count_many(
    tokens: np.ndarray,
    sa: np.ndarray,
    fences: np.ndarray,
    spacing: int,
    separator: int,
    flat: np.ndarray,
    offsets: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Add to counts[i] the occurrences of flat[offsets[i]:offsets[i + 1]]."""
    for i in range(counts.shape[0]):
        lo, hi = find(tokens, sa, fences, spacing, separator, flat[offsets[i] : offsets[i + 1]])
        counts[i] += hi - lo


@kernel
def longest_suffix(
    tokens: np.ndarray,
    sa: np.ndarray,
    fences: np.ndarray,
    spacing: int,
    separator: int,
    prompt: np.ndarray,
) -> int:
    """Length of the longest suffix of `prompt` that occurs.

    Precondition: no separator but at the prompt's start. If a suffix occurs, so does every
    shorter one: double the length while it occurs, then halve the gap; O(log) searches of
    queries no longer than twice the answer.
    """
    m = prompt.shape[0]
    occurs, absent = 0, m + 1
    length = 1
    while occurs + 1 < absent:
        lo, hi = find(tokens, sa, fences, spacing, separator, prompt[m - length :])
        if lo < hi:
            occurs = length
        else:
            absent = length
        length = min(2 * length, m) if absent > m else (occurs + absent) >> 1
    return occurs


@kernel
def next_tokens(
    tokens: np.ndarray, sa: np.ndarray, separator: int, lo: int, hi: int, prompt_len: int
) -> tuple[np.ndarray, np.ndarray]:
    """The distinct tokens that follow, ascending, and how often each: int64, shape (k,) twice.

    Precondition: [lo, hi) is the interval of a prompt of `prompt_len` tokens that does not end
    in a separator, unless it is the separator alone. Inside it suffixes are sorted by what
    follows: gallop from each distinct token to the next, O(k log((hi - lo) / k)) reads.
    """
    ids = np.empty(16, np.int64)
    counts = np.empty(16, np.int64)
    k = 0
    rank = lo
    while rank < hi:
        token = token_at(tokens, position_at(sa, rank) + prompt_len, separator)
        step = 1
        while (
            rank + step < hi
            and token_at(tokens, position_at(sa, rank + step) + prompt_len, separator) == token
        ):
            step <<= 1
        same, other = rank + (step >> 1), min(rank + step, hi)
        while same + 1 < other:
            mid = (same + other) >> 1
            if token_at(tokens, position_at(sa, mid) + prompt_len, separator) == token:
                same = mid
            else:
                other = mid
        if k == ids.shape[0]:
            more_ids = np.empty(2 * k, np.int64)
            more_counts = np.empty(2 * k, np.int64)
            more_ids[:k] = ids
            more_counts[:k] = counts
            ids, counts = more_ids, more_counts
        ids[k] = token
        counts[k] = other - rank
        k += 1
        rank = other
    return ids[:k].copy(), counts[:k].copy()


@kernel
def positions_of(sa: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """The positions at the given ranks: int64, same shape."""
    positions = np.empty(ranks.shape[0], np.int64)
    for i in range(ranks.shape[0]):
        positions[i] = position_at(sa, ranks[i])
    return positions
