"""How far a text and a segment go on together where a few tokens may differ.

A *span* begins at a place of a text, and at an occurrence of the first tokens from there on, which
are all the same (`exact` of them: the place's *seed*). Up to `skips` of the tokens behind these may
differ, but not the span's last; it ends with the text or with the document at the latest.

Arguments that all share:

- `segments`: int64, shape (s, COLUMNS): rows of segments (see `rows`). `ids`: texts, in the token
  dtype. A place is a number in `ids`.
- `places`, `limits`, `exact`, `least`: int64, shape (k,): where seeds begin, where the text of each
  ends, the tokens of the seed, and those that a span must have. limits are over places + exact.
- `intervals`: int64, shape (k, s, 2): the ranks of each seed.

- `gone`: int64, shape (d, 2), ranges of positions that do not count; those of segment i are
  gone[gone_from[i]:gone_from[i + 1]], ascending.

Some seeds, such as ten spaces, are in many texts, and stand in a segment a million times. So the
places of one seed are looked at together: what stands behind its occurrences is read once, WINDOW
tokens of each. In the order of suffixes, those that share all tokens that a span has looked at
stand together, and theirs is the same: one of them is compared.
"""

import numpy as np

from everygram.kernels import array_at, called, inlined, kernel
from everygram.kernels.psi import entry_at, followed_by, located, token_at_place
from everygram.kernels.reads import ask_for_token, position_in, read_ahead
from everygram.kernels.rows import (
    DOCUMENTS,
    KEY_BITS,
    POSITIONS,
    SELF,
    SEPARATOR,
    TOKENS,
    WIDTH,
    N,
)

# Suffixes whose tokens are requested together, and those that are held together.
# (Caches hold these.)
TOGETHER, HELD = 32, 1 << 12
# Tokens behind a seed that are read of each occurrence.
WINDOW = 16
# What stands before an occurrence where that is not known, and where it does not count.
STRANGE, GONE = -1, -2


@inlined
def beginning(row: np.ndarray, sa: np.ndarray, rank: int, first: int) -> int:
    """Where token `first` of a suffix is read: its position, or in a self-index its rank."""
    if not row[SELF]:
        return position_in(row, sa, rank) + first
    for _ in range(first):
        if rank < row[N]:
            rank = followed_by(row, rank)
    return rank


@inlined
def token_at(row: np.ndarray, tokens: np.ndarray, at: int) -> tuple[int, int]:
    """The token at what `beginning` says, and where the next is; the separator past the end."""
    if at >= row[N]:
        return row[SEPARATOR], at
    if not row[SELF]:
        return np.int64(tokens[np.uint64(at)]), at + 1
    entry = entry_at(row, at)
    bits = row[KEY_BITS]
    following = min(entry & ((np.int64(1) << bits) - 1), row[N] + row[DOCUMENTS] - 1)
    return token_at_place(row, entry >> bits), following


@called
def follow(
    row: np.ndarray,
    tokens: np.ndarray,
    sa: np.ndarray,
    rank: int,
    ids: np.ndarray,
    place: int,
    limit: int,
    first: int,
    enough: int,
    skips: int,
    read: np.ndarray,
) -> tuple[int, int, int]:
    """Read on from a suffix whose `first` tokens are the text's, up to a span of `enough` tokens.

    Returns how many tokens are the same up to the first that differs, the tokens of the longest
    span, and how many were looked at: read[i] (int64) is token i of these, from `first` on.
    """
    same, length, looked, differ = np.int64(-1), np.int64(first), np.int64(first), 0
    at = beginning(row, sa, rank, first)
    while looked < limit - place and length < enough:
        token, at = token_at(row, tokens, at)
        read[looked] = token
        looked += 1
        if token == row[SEPARATOR]:
            break
        if token == np.int64(ids[place + looked - 1]):
            length = looked
            continue
        if same < 0:
            same = looked - 1
        differ += 1
        if differ > skips:
            break
    return length if same < 0 else same, length, looked


@called
def next_other(
    row: np.ndarray,
    tokens: np.ndarray,
    sa: np.ndarray,
    rank: int,
    hi: int,
    first: int,
    looked: int,
    read: np.ndarray,
) -> int:
    """The first rank after `rank`, up to `hi`, that has not all the tokens that were looked at.

    The ranks share their `first` tokens; `read` is as of `follow`. In steps of twice the size, then
    by halves.
    """
    known, above, step = rank, hi, np.int64(1)
    while above - known > 1:
        trial = min(known + step, above - 1) if step else (known + above) >> 1
        at = beginning(row, sa, trial, first)
        depth = first
        while depth < looked:
            token, at = token_at(row, tokens, at)
            if token != read[depth]:
                break
            depth += 1
        if depth == looked:
            known = trial
            step *= 2
        else:
            above = trial
            step = np.int64(0)
    return above


@called
def is_gone(gone: np.ndarray, position: int) -> bool:
    """Whether a position is in one of the ranges."""
    lo, hi = 0, gone.shape[0]
    while lo < hi:
        middle = (lo + hi) >> 1
        if gone[middle, 1] <= position:
            lo = middle + 1
        else:
            hi = middle
    return lo < gone.shape[0] and gone[lo, 0] <= position


@called
def load(
    row: np.ndarray,
    tokens: np.ndarray,
    sa: np.ndarray,
    lo: int,
    hi: int,
    first: int,
    gone: np.ndarray,
    window: np.ndarray,
    before: np.ndarray,
    further: np.ndarray,
    shared: np.ndarray,
) -> None:
    """Read what stands around the seeds at ranks [lo, hi), of `first` tokens.

    gone: of this segment. For rank lo + i, window[i] (token dtype, shape (WINDOW,)) becomes the
    tokens behind the seed, before[i] (int64) the token before it, STRANGE or GONE, further[i]
    (int32) the next rank − lo for which that is another, and shared[i] (int32) how many tokens it
    has in common with the rank before, as far as they are read.
    """
    walked, separator, n = row[SELF] != 0, row[SEPARATOR], row[N]
    ahead = np.empty((TOGETHER if walked else 0, first + WINDOW), np.int64)
    for base in range(lo, hi, TOGETHER):
        count = min(hi - base, TOGETHER)
        if walked:
            read_ahead(row, base, count, ahead)
        else:
            for i in range(count):
                ask_for_token(row, tokens, sa, base + i, first, False)
        for i in range(count):
            to, position = base + i - lo, np.int64(-1)
            before[to], shared[to] = STRANGE, first
            if walked:
                for k in range(WINDOW):
                    window[to, k] = ahead[i, first + k]
            else:
                position = position_in(row, sa, base + i)
                if 0 < position <= n:
                    before[to] = np.int64(tokens[np.uint64(position - 1)])
                for k in range(WINDOW):
                    at = position + first + k
                    window[to, k] = tokens[np.uint64(at)] if at < n else separator
            if to:
                k = 0
                while k < WINDOW and window[to, k] == window[to - 1, k]:
                    k += 1
                shared[to] = first + k
            if gone.shape[0]:
                if walked:
                    position = located(row, base + i)
                if is_gone(gone, position):
                    before[to] = GONE
    for i in range(hi - lo - 1, -1, -1):
        last = i + 1 == hi - lo
        further[i] = i + 1 if last or before[i] != before[i + 1] else further[i + 1]


@called
def compare(
    window: np.ndarray,
    ids: np.ndarray,
    place: int,
    limit: int,
    first: int,
    enough: int,
    skips: int,
    separator: int,
) -> tuple[int, int, int]:
    """As `follow`, in what was read of an occurrence; no tokens looked at: that is too little."""
    same, length, looked, differ = np.int64(-1), np.int64(first), np.int64(first), 0
    until = limit - place
    while looked < until and length < enough:
        if looked == first + WINDOW:
            return same, length, np.int64(0)
        token = np.int64(window[looked - first])
        looked += 1
        if token == np.int64(ids[place + looked - 1]):
            length = looked
            continue
        if same < 0:
            same = looked - 1
        differ += 1
        if differ > skips or token == separator:
            break
    return length if same < 0 else same, length, looked


@called
def span_at(
    row: np.ndarray,
    tokens: np.ndarray,
    sa: np.ndarray,
    at: int,
    ids: np.ndarray,
    place: int,
    limit: int,
    first: int,
    enough: int,
    skips: int,
    window: np.ndarray,
    shared: np.ndarray,
    base: int,
    top: int,
    read: np.ndarray,
) -> tuple[int, int, int]:
    """The span at rank base + at, of those up to `top` that `load` has read.

    Returns the first two of what `follow` does, and the next rank − base with other tokens.
    """
    separator = row[SEPARATOR]
    same, length, looked = compare(window[at], ids, place, limit, first, enough, skips, separator)
    if looked:
        at += 1
        while at < top - base and shared[at] >= looked:
            at += 1
        return same, length, at
    rank = base + at
    same, length, looked = follow(
        row, tokens, sa, rank, ids, place, limit, first, enough, skips, read
    )
    return same, length, next_other(row, tokens, sa, rank, top, first, looked, read) - base


@inlined
def group(intervals: np.ndarray, exact: np.ndarray, order: np.ndarray, s: int, begin: int) -> int:
    """The end of the places in `order` that have the seed of the one at `begin` in segment s."""
    one, end = order[begin], begin + 1
    while end < order.shape[0]:
        other = order[end]
        if intervals[other, s, 0] != intervals[one, s, 0] or exact[other] != exact[one]:
            break
        if intervals[other, s, 1] != intervals[one, s, 1]:
            break
        end += 1
    return end


@kernel
def reach(
    segments: np.ndarray,
    ids: np.ndarray,
    places: np.ndarray,
    limits: np.ndarray,
    exact: np.ndarray,
    least: np.ndarray,
    intervals: np.ndarray,
    sizes: np.ndarray,
    skips: int,
    gone: np.ndarray,
    gone_from: np.ndarray,
    ends: np.ndarray,
) -> None:
    """Set ends[p] (int64, as long as `ids`) to where the longest span from a place p ends.

    Only spans of `least` tokens or more count.

    sizes: int64, shape (k, s): how often the token before the place and the seed stand together, if
    both are of one text and the place before has a seed; else −1. An occurrence with that token
    before it is a part of the span found there: it is not followed again. So a text costs what its
    different alignments with the segment cost.
    """
    longest, number = np.int64(0), places.shape[0]
    for i in range(number):
        longest = max(longest, limits[i] - places[i])
    read = np.empty(longest, np.int64)
    window, before = np.empty((HELD, WINDOW), ids.dtype), np.empty(HELD, np.int64)
    further, shared = np.empty(HELD, np.int32), np.empty(HELD, np.int32)
    for s in range(segments.shape[0]):
        row = segments[s]
        n = row[N]
        sa = array_at(row[POSITIONS], n * row[WIDTH], np.uint8)
        tokens = array_at(row[TOKENS], n, ids.dtype)
        own = gone[gone_from[s] : gone_from[s + 1]]
        order = np.argsort(intervals[:, s, 0])
        begin = 0
        while begin < number:
            end = group(intervals, exact, order, s, begin)
            one = order[begin]
            lo, hi = max(0, intervals[one, s, 0]), min(n, intervals[one, s, 1])
            wanted = False
            for j in range(begin, end):
                wanted |= sizes[order[j], s] != hi - lo
            if not wanted:
                hi = lo
            first = exact[one]
            for base in range(lo, hi, HELD):
                top = min(hi, base + HELD)
                load(row, tokens, sa, base, top, first, own, window, before, further, shared)
                for j in range(begin, end):
                    i = order[j]
                    if sizes[i, s] == hi - lo:
                        continue
                    place, limit = places[i], limits[i]
                    part = np.int64(ids[place - 1]) if sizes[i, s] >= 0 else GONE
                    at = np.int64(0)
                    while at < top - base:
                        if before[at] == part or before[at] == GONE:
                            at = np.int64(further[at])
                            continue
                        given = ids, place, limit, first, longest + 1, skips
                        held = window, shared, base, top
                        same, length, at = span_at(row, tokens, sa, at, *given, *held, read)
                        if length >= least[i]:
                            for p in range(place, place + same - first + 1):
                                ends[p] = max(ends[p], place + length)
            begin = end


@kernel
def spans(
    segments: np.ndarray,
    ids: np.ndarray,
    places: np.ndarray,
    limits: np.ndarray,
    exact: np.ndarray,
    least: np.ndarray,
    intervals: np.ndarray,
    skips: int,
    gone: np.ndarray,
    gone_from: np.ndarray,
) -> np.ndarray:
    """What stands in the segments where spans of `least` tokens or more begin.

    Returns int64, shape (m, 4): the number of the place, the segment, and position and size of the
    shortest such span. One position stands for all in its segment with the same tokens, as far as
    the span goes.
    """
    found = np.empty((64, 4), np.int64)
    total, number, longest = 0, places.shape[0], np.int64(0)
    for i in range(number):
        longest = max(longest, limits[i] - places[i])
    read = np.empty(longest, np.int64)
    window, before = np.empty((HELD, WINDOW), ids.dtype), np.empty(HELD, np.int64)
    further, shared = np.empty(HELD, np.int32), np.empty(HELD, np.int32)
    for s in range(segments.shape[0]):
        row = segments[s]
        n = row[N]
        sa = array_at(row[POSITIONS], n * row[WIDTH], np.uint8)
        tokens = array_at(row[TOKENS], n, ids.dtype)
        own = gone[gone_from[s] : gone_from[s + 1]]
        order = np.argsort(intervals[:, s, 0])
        begin = 0
        while begin < number:
            end = group(intervals, exact, order, s, begin)
            one = order[begin]
            lo, hi = max(0, intervals[one, s, 0]), min(n, intervals[one, s, 1])
            first = exact[one]
            for base in range(lo, hi, HELD):
                top = min(hi, base + HELD)
                load(row, tokens, sa, base, top, first, own, window, before, further, shared)
                for j in range(begin, end):
                    i = order[j]
                    place, limit = places[i], limits[i]
                    at = np.int64(0)
                    while at < top - base:
                        if before[at] == GONE:
                            at = np.int64(further[at])
                            continue
                        rank = base + at
                        given = ids, place, limit, first, least[i], skips
                        held = window, shared, base, top
                        _, length, at = span_at(row, tokens, sa, at, *given, *held, read)
                        if length < least[i]:
                            continue
                        if total == found.shape[0]:
                            larger = np.empty((2 * total, 4), np.int64)
                            larger[:total] = found
                            found = larger
                        position = located(row, rank) if row[SELF] else position_in(row, sa, rank)
                        found[total, 0], found[total, 1] = i, s
                        found[total, 2], found[total, 3] = position, length
                        total += 1
            begin = end
    return found[:total]
