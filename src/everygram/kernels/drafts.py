"""Drafts: the most frequent continuation of a context, token by token.

Arguments are those of `search`. An *interval* is one of each segment: intervals[s] = lo, hi. The
suffixes in it begin with the same tokens and are sorted by the token that comes next, so that each
next token has a *run* of ranks. The most frequent next token has the longest runs.
"""

import numpy as np

from everygram.kernels import array_at, borrowed, called, ids_of, inlined, kernel, words
from everygram.kernels.reads import ask_for_rank, ask_for_token
from everygram.kernels.reads import token_after as token_at_rank
from everygram.kernels.rows import (
    BY_BYTES,
    END,
    FIELDS,
    LO,
    PLACE,
    POSITIONS,
    SEPARATOR,
    SIGN,
    START,
    TOKENS,
    VOCAB_SIZE,
    WIDTH,
    N,
    check,
    ordered,
)
from everygram.kernels.search import find_group
from everygram.kernels.suffixes import suffix_of

# Ranks that are read first in a large interval, and how many times closer they get if the most
# frequent token may be between them.
PROBES, CLOSER = 16, 8
# Ranks that are requested together.
READS = 64


@inlined
def token_after(row: np.ndarray, query: np.ndarray, rank: int, offset: int) -> int:
    """The token `offset` after the start of the suffix of a rank."""
    tokens = array_at(row[TOKENS], row[N], query.dtype)
    sa = array_at(row[POSITIONS], row[N] * row[WIDTH], np.uint8)
    return token_at_rank(row, tokens, sa, rank, offset)


@called
def first_from(
    row: np.ndarray, query: np.ndarray, offset: int, lo: int, hi: int, place: int
) -> int:
    """The first rank in [lo, hi) whose token at `offset` has this place in the segment's order, or
    a later one; hi without one."""
    bits = row[BY_BYTES]
    while lo < hi:
        middle = (lo + hi) >> 1
        if ordered(token_after(row, query, middle, offset), bits) < place:
            lo = middle + 1
        else:
            hi = middle
    return lo


@called
def request(
    row: np.ndarray, query: np.ndarray, first: int, end: int, step: int, offset: int, cold: bool
) -> None:
    """Request the tokens at `offset` of every `step`-th rank of [first, end), READS at most."""
    n, width = row[N], row[WIDTH]
    tokens = array_at(row[TOKENS], n, query.dtype)
    sa = array_at(row[POSITIONS], n * width, np.uint8)
    end = min(end, first + READS * step)
    for rank in range(first, end, step):
        ask_for_rank(row, sa, rank, cold)
    for rank in range(first, end, step):
        ask_for_token(row, tokens, sa, rank, offset, cold)


@called
def narrowed(
    row: np.ndarray, query: np.ndarray, offset: int, interval: np.ndarray, token: int
) -> tuple[int, int]:
    """The run of a token in one segment's interval."""
    place = ordered(token, row[BY_BYTES])
    lo = first_from(row, query, offset, interval[0], interval[1], place)
    return lo, first_from(row, query, offset, lo, interval[1], place + 1)


@called
def most_frequent(
    rows: np.ndarray,
    query: np.ndarray,
    intervals: np.ndarray,
    offset: int,
    least: int,
    cold: bool,
) -> tuple[int, int]:
    """The most frequent next token, the lowest of several, and its count; the intervals become
    its runs. −1, 0 if no token has `least` (1 or more) occurrences.

    Every `stride`-th rank is read, so at least one of each run of `stride` ranks or more. A token
    that is not seen has fewer in every segment. If it may still be the most frequent one, the ranks
    that are read become closer.
    """
    adding, size = np.int64(0), np.int64(0)
    for s in range(rows.shape[0]):
        found = intervals[s, 1] - intervals[s, 0]
        if rows[s, SIGN] > 0 and found:
            adding += 1
            size = max(size, found)
    if not adding:
        return -1, 0
    # The best count and its token; one segment in which the token has this run.
    best, winner = least - 1, np.int64(-1)
    where, run_lo, run_hi = np.int64(0), np.int64(0), np.int64(0)
    stride = max((least - 1) // adding + 1, size // PROBES, 1)
    while True:
        for s in range(rows.shape[0]):
            row = rows[s]
            lo, hi = intervals[s, 0], intervals[s, 1]
            if row[SIGN] < 0 or lo == hi:
                continue
            before = lo - 1
            rank = lo + stride - 1
            asked = rank
            while rank < hi:
                if rank >= asked:
                    request(row, query, rank, hi, stride, offset, cold)
                    asked = rank + READS * stride
                # Of the ranks that are read, those from `rank` to `last` have the token, those at
                # `before` and `after` have others.
                token = token_after(row, query, rank, offset)
                last, after = rank, rank + stride
                while after < hi and token_after(row, query, after, offset) == token:
                    last, after = after, after + stride
                most = min(after, hi) - before - 1
                if adding > 1 or most > best or (most == best and token < winner):
                    place = ordered(token, row[BY_BYTES])
                    begin = first_from(row, query, offset, before + 1, rank, place)
                    end = first_from(row, query, offset, last + 1, min(after, hi), place + 1)
                    count = end - begin
                    for other in range(rows.shape[0]):
                        if other != s:
                            left, right = narrowed(
                                rows[other], query, offset, intervals[other], token
                            )
                            count += rows[other, SIGN] * (right - left)
                    if count > best or (count == best and token < winner):
                        best, winner = count, token
                        where, run_lo, run_hi = s, begin, end
                before, rank = last, after
        enough = best + (winner < 0)
        # A token that was not seen occurs at most adding · (stride − 1) times.
        if enough > adding * (stride - 1):
            break
        stride = max((enough - 1) // adding + 1, stride // CLOSER)
    if winner < 0:
        return -1, 0
    for s in range(rows.shape[0]):
        if s != where:
            run = narrowed(rows[s], query, offset, intervals[s], winner)
            intervals[s, 0], intervals[s, 1] = run
    intervals[where, 0], intervals[where, 1] = run_lo, run_hi
    return winner, best


@called
def copied(
    rows: np.ndarray,
    query: np.ndarray,
    intervals: np.ndarray,
    length: int,
    k: int,
    size: int,
    drafted: np.ndarray,
) -> int:
    """Token k of a draft and all after it, from their only occurrence; returns how many there are.

    The interval of one segment has one rank; the others are empty.
    """
    for s in range(rows.shape[0]):
        if intervals[s, 0] < intervals[s, 1]:
            while k < size:
                token = token_after(rows[s], query, intervals[s, 0], length + k)
                if token == rows[s, SEPARATOR]:
                    break
                drafted[0, k], drafted[1, k] = token, 1
                k += 1
    return k


@called
def repeated(query: np.ndarray, first: int, most: int, separator: int) -> tuple[int, int]:
    """The longest suffix of a query, up to `most` tokens, that occurs in query[first:] before its
    end: its length and the end of its last occurrence. It has no separator."""
    end = query.shape[0]
    best, at = 0, end
    for place in range(end - 1, first, -1):
        length = 0
        while length < most and length < place - first:
            token = query[place - 1 - length]
            if token != query[end - 1 - length] or token == separator:
                break
            length += 1
        if length > best:
            best, at = length, place
            if best == most:
                break
    return best, at


@kernel
def longest_repeat(query: np.ndarray, first: int, most: int, separator: int) -> tuple[int, int]:
    """As `repeated`."""
    return repeated(query, first, most, separator)


@inlined
def budget(drafted: np.ndarray, max_factor: float, length: int) -> int:
    """How many tokens a draft after a suffix of this length may have."""
    size = drafted.shape[1]
    return int(max_factor * length) if max_factor * length < size else size


@kernel
def draft(
    segments: np.ndarray,
    packed: bytes,
    separator: int,
    cold: bool,
    length: int,
    max_suffix: int,
    lookback: int,
    max_factor: float,
    least_prob: float,
    drafted: np.ndarray,
) -> tuple[int, int, int, bool]:
    """A draft after one context: its tokens in drafted[0] and their counts in drafted[1].

    Returns the length of the suffix, how often it occurs, the number of tokens, and whether they
    are of the context itself. −1 for an unknown id; a count below 1 for a damaged index. A token's
    count is that of the suffix with the draft up to the token. The draft ends before a document's
    end, before a token whose count is less than `least_prob` times the suffix's, at `max_factor`
    times the suffix's length, and where `drafted` (int64, shape (2, k)) is full.

    length: of the longest suffix of the last `max_suffix` tokens that occurs, or −1 to have it
    searched, which is right only if no segment is subtracted. If a suffix that is as long occurs
    before in the last `lookback` tokens of the context, the draft is what follows it there.
    """
    rows, query = borrowed(segments), ids_of(packed, separator)
    end = query.shape[0]
    unknown = False
    if lookback and rows.shape[0]:
        unknown = check(query, 0, end, rows[0, VOCAB_SIZE], rows[0, SEPARATOR]) < 0
    if unknown:
        return -1, 0, 0, False
    if length < 0:
        recent = query[max(0, end - max_suffix) :]
        length = suffix_of(rows, recent, recent.shape[0], cold)[0]
    own, at = 0, end
    if lookback and length >= 0:
        own, at = repeated(query, max(0, end - lookback), max_suffix, separator)
    k = 0
    if own and own >= length:
        size = budget(drafted, max_factor, own)
        while k < size:
            # (What is drafted repeats, too.)
            token = np.int64(query[at + k]) if at + k < end else drafted[0, at + k - end]
            if token == np.int64(separator):
                break
            drafted[0, k], drafted[1, k] = token, 1
            k += 1
        return own, 1, k, True
    if length < 1 or not rows.shape[0]:
        return length, 0, 0, False
    lanes = words(2, FIELDS)
    intervals = np.empty((rows.shape[0], 2), np.int64)
    count, total = np.int64(0), np.int64(0)
    for s in range(rows.shape[0]):
        lanes[0, START], lanes[0, END], lanes[0, PLACE] = end - length, end, 0
        find_group(rows[s], query, lanes, cold)
        intervals[s, 0], intervals[s, 1] = lanes[0, LO], lanes[1, LO]
        count += rows[s, SIGN] * (lanes[1, LO] - lanes[0, LO])
        total += lanes[1, LO] - lanes[0, LO]
    if count < 1:
        return length, count, 0, False
    # The least count of a token: its share of `count` is at least `least_prob`.
    least = max(1, int(least_prob * count))
    while least / count < least_prob:
        least += 1
    size = budget(drafted, max_factor, length)
    while k < size:
        if total == 1:
            k = copied(rows, query, intervals, length, k, size, drafted)
            break
        token, found = most_frequent(rows, query, intervals, length + k, least, cold)
        if token < 0 or token == rows[0, SEPARATOR]:
            break
        drafted[0, k], drafted[1, k] = token, found
        k += 1
        total = np.int64(0)
        for s in range(rows.shape[0]):
            total += intervals[s, 1] - intervals[s, 0]
    return length, count, k, False
