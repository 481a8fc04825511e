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

In the order of suffixes, those that share all tokens that were looked at stand together, and their
spans are the same: one of them is read.
"""

import numpy as np

from everygram.kernels import array_at, called, inlined, kernel
from everygram.kernels.psi import entry_at, followed_by, located, token_at_place
from everygram.kernels.reads import ask_for_token, position_in
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

# Suffixes whose tokens are requested together.
TOGETHER = 32


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
def is_gone(gone: np.ndarray, first: int, last: int, position: int) -> bool:
    """Whether one of the ranges gone[first:last] (int64, shape (d, 2), ascending) has a position."""
    lo, hi = first, last
    while lo < hi:
        middle = (lo + hi) >> 1
        if gone[middle, 1] <= position:
            lo = middle + 1
        else:
            hi = middle
    return lo < last and gone[lo, 0] <= position


@kernel
def reach(
    segments: np.ndarray,
    ids: np.ndarray,
    places: np.ndarray,
    limits: np.ndarray,
    exact: np.ndarray,
    least: np.ndarray,
    intervals: np.ndarray,
    before: np.ndarray,
    inner: np.ndarray,
    skips: int,
    gone: np.ndarray,
    gone_from: np.ndarray,
    ends: np.ndarray,
) -> None:
    """Set ends[p] (int64, as long as `ids`) to where the longest span from a place p ends.

    Only spans of `least` tokens or more count, and only where the segments are not `gone`: int64,
    shape (d, 2), ranges of positions, those of segment i at gone_from[i]:gone_from[i + 1].

    inner: bool, shape (k,): whether the place before belongs to the same text. before: int64, shape
    (k, s, 2): then, the ranks of the seed with the token before it, if that place has a seed (else
    empty). An occurrence with that token before it is a part of the span found there: it is not
    read again. So a text costs what its different alignments with the segment cost.
    """
    longest = np.int64(0)
    for i in range(places.shape[0]):
        longest = max(longest, limits[i] - places[i])
    read = np.empty(longest, np.int64)
    for s in range(segments.shape[0]):
        row = segments[s]
        n, walked = row[N], row[SELF] != 0
        sa = array_at(row[POSITIONS], n * row[WIDTH], np.uint8)
        tokens = array_at(row[TOKENS], n, ids.dtype)
        for i in range(places.shape[0]):
            lo, hi = max(0, intervals[i, s, 0]), min(n, intervals[i, s, 1])
            left, last_left = max(0, before[i, s, 0]), min(n, before[i, s, 1])
            if hi - lo == last_left - left:
                continue
            place, first, asked, left_rank = places[i], exact[i], lo, np.int64(-1)
            rank = lo
            while rank < hi:
                if not walked and rank >= asked:
                    asked = min(hi, rank + TOGETHER)
                    for ahead in range(rank, asked):
                        ask_for_token(row, tokens, sa, ahead, first, False)
                position = np.int64(-1)
                if walked:
                    # (The ranks with that token before them are, in their order, followed by
                    # those without it.)
                    while left < last_left and left_rank < rank:
                        left_rank = followed_by(row, left)
                        left += 1
                    part = left_rank == rank
                else:
                    position = position_in(row, sa, rank)
                    part = inner[i] and 0 < position <= n
                    part = part and tokens[position - 1] == ids[place - 1]
                if part:
                    rank += 1
                    continue
                same, length, looked = follow(
                    row, tokens, sa, rank, ids, place, limits[i], first, longest + 1, skips, read
                )
                if length >= least[i] and gone_from[s] < gone_from[s + 1]:
                    if walked:
                        position = located(row, rank)
                    if is_gone(gone, gone_from[s], gone_from[s + 1], position):
                        rank += 1
                        continue
                if length >= least[i]:
                    for at in range(place, place + same - first + 1):
                        ends[at] = max(ends[at], place + length)
                rank = next_other(row, tokens, sa, rank, hi, first, looked, read)


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
) -> np.ndarray:
    """What stands in the segments where spans of `least` tokens or more begin.

    Returns int64, shape (m, 4): the number of the place, the segment, and position and size of the
    shortest such span. One position stands for all in its segment with the same tokens, as far as
    the span goes.
    """
    found = np.empty((64, 4), np.int64)
    number, longest = 0, np.int64(0)
    for i in range(places.shape[0]):
        longest = max(longest, limits[i] - places[i])
    read = np.empty(longest, np.int64)
    for s in range(segments.shape[0]):
        row = segments[s]
        n, walked = row[N], row[SELF] != 0
        sa = array_at(row[POSITIONS], n * row[WIDTH], np.uint8)
        tokens = array_at(row[TOKENS], n, ids.dtype)
        for i in range(places.shape[0]):
            lo, hi = max(0, intervals[i, s, 0]), min(n, intervals[i, s, 1])
            place, first, asked = places[i], exact[i], lo
            rank = lo
            while rank < hi:
                if not walked and rank >= asked:
                    asked = min(hi, rank + TOGETHER)
                    for ahead in range(rank, asked):
                        ask_for_token(row, tokens, sa, ahead, first, False)
                _, length, looked = follow(
                    row, tokens, sa, rank, ids, place, limits[i], first, least[i], skips, read
                )
                if length >= least[i]:
                    if number == found.shape[0]:
                        larger = np.empty((2 * number, 4), np.int64)
                        larger[:number] = found
                        found = larger
                    position = located(row, rank) if walked else position_in(row, sa, rank)
                    found[number, 0], found[number, 1] = i, s
                    found[number, 2], found[number, 3] = position, length
                    number += 1
                rank = next_other(row, tokens, sa, rank, hi, first, looked, read)
    return found[:number]
