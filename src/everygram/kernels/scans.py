"""Where sequences of tokens, and texts, occur in some documents, read from their tokens.

Arguments that all share: `row`: of a segment (see `kernels.rows`). `starts`, `ends`: int64, shape
(d,): document i is tokens[starts[i]:ends[i]], without its separator; precondition: both are in
[0, N]. `counts`: int64, shape (d,), receives the occurrences in each document.
"""

import numpy as np

from everygram.kernels import array_at, kernel
from everygram.kernels.characters import is_word_at, is_word_before
from everygram.kernels.covers import step
from everygram.kernels.rows import TOKENS, N

# Documents that are tried one by one.
STEPS = 16


@kernel
def runs(
    places: np.ndarray,
    bits: int,
    offsets: np.ndarray,
    documents: np.ndarray,
    counts: np.ndarray,
) -> int:
    """How many places each document has; of those that have any. Returns how many have.

    places: int64, ascending, positions << bits. offsets: u64, where documents begin. documents,
    counts: int64, as long as places; receive a document's number in the segment, and its count.
    """
    number, size = 0, offsets.shape[0]
    document, limit = np.int64(-1), np.int64(-1)  # and where the next one begins
    for i in range(places.shape[0]):
        position = places[i] >> bits
        if position >= limit or number == 0:
            # A few steps, then ever farther ones, then halves: the next one is mostly near.
            stop = min(document + STEPS, size - 1)
            document += 1
            while document < stop and np.int64(offsets[document + 1]) <= position:
                document += 1
            low, reach = document, np.int64(1)
            while low + reach < size and np.int64(offsets[low + reach]) <= position:
                low += reach
                reach *= 2
            high = min(low + reach, size)
            while high - low > 1:
                mid = (low + high) >> 1
                if np.int64(offsets[mid]) <= position:
                    low = mid
                else:
                    high = mid
            document = min(low, size - 1)
            limit = np.int64(offsets[document + 1]) if document + 1 < size else np.int64(1) << 62
            documents[number], counts[number] = document, 0
            number += 1
        counts[number - 1] += 1
    return number


@kernel
def common(a: np.ndarray, b: np.ndarray, in_a: np.ndarray, in_b: np.ndarray) -> int:
    """Where in a and in b, int64, ascending, their common numbers are. Returns how many.

    in_a, in_b: int64, one longer than the shorter of a and b.
    """
    i, j, number = 0, 0, 0
    while i < a.shape[0] and j < b.shape[0]:
        # (Without branches, which would be guessed wrong half of the time.)
        x, y = a[i], b[j]
        in_a[number], in_b[number] = i, j
        number += x == y
        i += x <= y
        j += y <= x
    return number


@kernel
def count_one(
    row: np.ndarray, ids: np.ndarray, starts: np.ndarray, ends: np.ndarray, counts: np.ndarray
) -> None:
    """How often a token occurs, ids[0]; ids: of the token dtype, shape (1,)."""
    tokens = array_at(row[TOKENS], row[N], ids.dtype)
    sought = ids[0]
    for i in range(starts.shape[0]):
        number = 0
        for at in range(starts[i], ends[i]):
            number += tokens[at] == sought
        counts[i] = number


@kernel
def find_ids(
    row: np.ndarray,
    ids: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    counts: np.ndarray,
    found: np.ndarray,
) -> int:
    """How often a sequence of tokens occurs; ids: of the token dtype, at least one.

    found: int64, receives the positions while there is room. Returns how many there are.
    """
    tokens = array_at(row[TOKENS], row[N], ids.dtype)
    length, total = ids.shape[0], 0
    first = ids[0]
    for i in range(starts.shape[0]):
        before = total
        for at in range(starts[i], ends[i] - length + 1):
            if tokens[at] != first:
                continue
            fits = True
            for j in range(1, length):
                if tokens[at + j] != ids[j]:
                    fits = False
                    break
            if fits:
                if total < found.shape[0]:
                    found[total] = at
                total += 1
        counts[i] = total - before
    return total


# Whether what stands beside a beginning is in other tokens, and must be looked at there.
BEFORE, AFTER = 1, 2


@kernel
def prepared(
    begun: np.ndarray,
    blob: np.ndarray,
    starts: np.ndarray,
    dropped: np.ndarray,
    steps: np.ndarray,
    targets: np.ndarray,
    words: np.ndarray,
    found: np.ndarray,
) -> int:
    """Of beginnings (see `covers.beginnings`) those that no word character of their token stands
    beside. Returns how many.

    found: int64, shape (k, 4): receives the token, the offset, the offset at which the text ends
    (−1 − state if it goes on behind the token), and BEFORE or AFTER, or both.
    """
    end, number = steps.shape[0] - 1, 0
    one = np.empty(1, np.int64)
    no_row, no_cache = np.empty(0, np.int64), np.empty(0, np.int64)
    for i in range(begun.shape[0]):
        token, begin, at = begun[i, 0], begun[i, 1], -1 - begun[i, 2]
        one[0] = token
        first, size = starts[token], starts[token + 1] - starts[token]
        if begun[i, 2] == end:
            at, now = begin, np.int64(0)
            while now != end:
                now = step(steps, targets, now, np.int64(blob[first + at]))
                at += 1
        open_sides = 0
        if words.shape[0]:
            if is_word_before(no_row, no_cache, one, -1, 0, begin, blob, starts, dropped, words):
                continue
            if at >= 0 and is_word_at(no_row, no_cache, one, 1, 0, at, blob, starts, words):
                continue
            # (In front, a part of a character at most.)
            rest = True
            for place in range(first, first + begin):
                rest = rest and blob[place] & 0xC0 == 0x80
            if rest or dropped[token]:
                open_sides |= BEFORE
            if at < 0 or at == size or blob[first + at] >= 0xC0:
                open_sides |= AFTER
        found[number, 0], found[number, 1] = token, begin
        found[number, 2], found[number, 3] = at, open_sides
        number += 1
    return number


@kernel
def find_text(
    row: np.ndarray,
    ids: np.ndarray,
    separator: int,
    index: np.ndarray,
    begun: np.ndarray,
    blob: np.ndarray,
    starts_of: np.ndarray,
    dropped: np.ndarray,
    vanishes: np.ndarray,
    steps: np.ndarray,
    targets: np.ndarray,
    words: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    counts: np.ndarray,
    found: np.ndarray,
) -> int:
    """As `find_ids` of a text, an automaton as in `kernels.covers`. ids: only for its dtype.

    begun: as `prepared` finds it, sorted; index: int32, shape (V + 1,): the rows of token t are
    [index[t], index[t + 1]). (starts_of: `starts` of covers.) found: int64, shape (n, 4), as
    `covers.walk` has it.
    """
    tokens = array_at(row[TOKENS], row[N], ids.dtype)
    end, size, total = steps.shape[0] - 1, starts_of.shape[0] - 1, 0
    cache = np.empty(0, np.int64)  # (its tokens are in memory)
    for i in range(starts.shape[0]):
        before, stop = total, ends[i]
        leading = True  # whether the document's text begins with this token
        for first in range(starts[i], stop):
            number = np.int64(tokens[first])
            if number >= size:  # (in a damaged file)
                leading = False
                continue
            for j in range(index[number], index[number + 1]):
                begin, at, sides = begun[j, 1], begun[j, 2], begun[j, 3]
                if leading and begin < dropped[number]:
                    continue
                token, fits = first, True
                if at < 0:
                    now = -1 - at
                    while fits and now != end:
                        token += 1
                        if token >= stop or np.int64(tokens[token]) >= size:
                            fits = False
                            break
                        of, at = np.int64(tokens[token]), np.int64(0)
                        limit = starts_of[of + 1] - starts_of[of]
                        while at < limit and now != end:
                            now = step(steps, targets, now, np.int64(blob[starts_of[of] + at]))
                            if now < 0:
                                fits = False
                                break
                            at += 1
                if fits and sides & AFTER:
                    fits = not is_word_at(
                        row, cache, tokens, stop, token, at, blob, starts_of, words
                    )
                if fits and sides & BEFORE:
                    fits = not is_word_before(
                        row,
                        cache,
                        tokens,
                        separator,
                        first,
                        begin,
                        blob,
                        starts_of,
                        dropped,
                        words,
                    )
                if fits:
                    if total < found.shape[0]:
                        found[total, 0], found[total, 1] = first, begin
                        found[total, 2], found[total, 3] = token, at
                    total += 1
            leading = leading and vanishes[number]
        counts[i] = total - before
    return total
