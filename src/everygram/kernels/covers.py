"""Where tokens spell a text: as bytes of theirs, however they divide it.

A text is an automaton over bytes (`everygram.search.pattern`): in state s, steps[s, i] is a byte
that leads on, to targets[s, i]; the last state is the end. Arguments all share:

- `blob`: u8, the bytes of all tokens, id after id; `starts`: int64, shape (V + 1,): token t is
  blob[starts[t]:starts[t + 1]].
- `dropped`: int32, shape (V,): how many bytes of a token are left out where it begins a document;
  `vanishes`: bool, shape (V,): whether the next token then begins the document as well.

An id that is not below V is the separator, or in a damaged file: either way a document ends there.
"""

import numpy as np

from everygram.kernels import array_at, called, inlined, kernel
from everygram.kernels.characters import OPEN, is_word_at, is_word_before, word_from, word_up_to
from everygram.kernels.psi import first_token, located
from everygram.kernels.reads import (
    ask_for_token,
    fill_caches,
    position_in,
    positions_at,
    read_ahead,
    text_at,
    text_cache,
)
from everygram.kernels.rows import POSITIONS, SELF, TOKENS, WIDTH, N

# Occurrences whose tokens are requested together.
TOGETHER = 32
# Tokens of a self-index's suffixes that are read before they are known to be needed, and places
# that are found together.
AHEAD, MANY = 4, 1 << 12


@inlined
def step(steps: np.ndarray, targets: np.ndarray, state: int, byte: int) -> int:
    """The state that a byte leads to, or −1."""
    for way in range(steps.shape[1]):
        if steps[state, way] == byte:
            return np.int64(targets[state, way])
        if steps[state, way] < 0:
            break
    return -1


@kernel
def beginnings(
    places: np.ndarray,
    owners: np.ndarray,
    blob: np.ndarray,
    starts: np.ndarray,
    steps: np.ndarray,
    targets: np.ndarray,
    found: np.ndarray,
) -> int:
    """Where the text begins inside tokens, looked for at `places` (int64, in the blob).

    owners: int32, the token of each byte of the blob.
    found: int64, shape (len(places), 3), receives the token, the offset among its bytes, and the
    state at its end (the last state if the text ends inside the token). Returns how many.
    """
    end = steps.shape[0] - 1
    number = 0
    for i in range(places.shape[0]):
        state = np.int64(0)
        at, token = places[i], np.int64(owners[places[i]])
        limit = starts[token + 1]
        while at < limit and state >= 0 and state != end:
            state = step(steps, targets, state, np.int64(blob[at]))
            at += 1
        if state > 0:
            found[number, 0], found[number, 1] = token, places[i] - starts[token]
            found[number, 2] = state
            number += 1
    return number


@kernel
def continuations(
    state: int,
    order: np.ndarray,
    blob: np.ndarray,
    starts: np.ndarray,
    steps: np.ndarray,
    targets: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The tokens that go on from a state.

    order: int32, the tokens sorted by their bytes. Returns int64, shape (k, 2): tokens and the
    states at their ends; and int64, shape (r, 2): the ranges [first, last) of `order` whose tokens
    go up to the text's end, or beyond it.
    """
    end = steps.shape[0] - 1
    inside, ends = [], []
    # Ranges of tokens that begin with the same bytes: first, last, how many bytes, the state.
    todo = [(np.int64(0), np.int64(order.shape[0]), np.int64(0), np.int64(state))]
    while todo:
        first, last, depth, at = todo.pop()
        if at == end:
            ends.append((first, last))
            continue
        # Tokens that end here come first.
        while first < last:
            token = order[first]
            if starts[token + 1] - starts[token] > depth:
                break
            inside.append((np.int64(token), at))
            first += 1
        if first == last:
            continue
        for way in range(steps.shape[1]):
            byte = np.int64(steps[at, way])
            if byte < 0:
                break
            lo, hi = first, last
            while lo < hi:
                mid = (lo + hi) >> 1
                if blob[starts[order[mid]] + depth] < byte:
                    lo = mid + 1
                else:
                    hi = mid
            low = lo
            hi = last
            while lo < hi:
                mid = (lo + hi) >> 1
                if blob[starts[order[mid]] + depth] <= byte:
                    lo = mid + 1
                else:
                    hi = mid
            if low < lo:
                todo.append((low, lo, depth + 1, np.int64(targets[at, way])))
    pieces = np.empty((len(inside), 2), np.int64)
    for i in range(len(inside)):
        pieces[i, 0], pieces[i, 1] = inside[i]
    ranges = np.empty((len(ends), 2), np.int64)
    for i in range(len(ends)):
        ranges[i, 0], ranges[i, 1] = ends[i]
    return pieces, ranges


@kernel
def around(
    tokens: np.ndarray,
    offsets: np.ndarray,
    state: int,
    blob: np.ndarray,
    starts: np.ndarray,
    steps: np.ndarray,
    targets: np.ndarray,
    table: np.ndarray,
    beside: np.ndarray,
) -> None:
    """Whether word characters stand around the text in tokens (int64, shape (k,)), as far as the
    tokens themselves say: NONE, WORD, OPEN or CUT.

    The text begins at an offset (int64, shape (k,)), or goes on in `state` if that is 0. beside:
    int64, shape (k, 2), receives what stands before it (OPEN at offset 0), and what stands behind
    it (OPEN if it goes on in the next token).
    """
    end = steps.shape[0] - 1
    for i in range(tokens.shape[0]):
        first, last = starts[tokens[i]], starts[tokens[i] + 1]
        at = first + offsets[i]
        beside[i, 0] = word_up_to(first, at, blob, table)
        now = np.int64(state)
        while at < last and now >= 0 and now != end:
            now = step(steps, targets, now, np.int64(blob[at]))
            at += 1
        beside[i, 1] = word_from(at, last, blob, table) if now == end else OPEN


@kernel
def walk(
    row: np.ndarray,
    ids: np.ndarray,
    separator: int,
    intervals: np.ndarray,
    offsets: np.ndarray,
    state: int,
    before: np.ndarray,
    blob: np.ndarray,
    starts: np.ndarray,
    dropped: np.ndarray,
    vanishes: np.ndarray,
    steps: np.ndarray,
    targets: np.ndarray,
    words: np.ndarray,
    bits: int,
    counts: np.ndarray,
    found: np.ndarray,
) -> int:
    """How often the text occurs at the suffixes whose ranks are in intervals, int64, shape (k, 2).

    row: of a segment; ids: of the token dtype, for it alone. The text begins at byte offsets[i]
    (int64) of the first token of a suffix of interval i. Or `before` has entries (int32, shape
    (V,)): then the text begins inside the token before the suffix, whose entry is one more than the
    offset there, and the suffix goes on from `state`; tokens without bytes may stand between.
    words: a table of word characters if none may stand on either side, else empty.

    counts: int64, shape (k,), or empty: receives how often it occurs in each interval.
    found: int64, shape (n,), or empty: receives the places where it begins, the position of the
    token shifted left by `bits`, and the offset among its bytes.
    """
    n, width = row[N], row[WIDTH]
    sa = array_at(row[POSITIONS], n * width, np.uint8)
    tokens = array_at(row[TOKENS], n, ids.dtype)
    cache = text_cache(row)
    walked = row[SELF] != 0
    # (Where the text begins in the suffix itself, places are found from their ranks in the end.)
    ranked = walked and found.shape[0] > 0 and not before.shape[0]
    # Of a self-index, suffixes are read ahead, and text only where it has to be.
    ahead_of = np.empty((TOGETHER if walked else 0, AHEAD), np.int64)
    caches = np.empty((TOGETHER if walked else 0, cache.shape[0]), np.int64)
    where, ranks = np.empty(TOGETHER, np.int64), np.empty(TOGETHER, np.int64)
    end = steps.shape[0] - 1
    size = starts.shape[0] - 1
    total = 0
    for interval in range(intervals.shape[0]):
        lo, hi = max(0, intervals[interval, 0]), min(n, intervals[interval, 1])
        offset = np.int64(offsets[interval])
        placed = not walked or before.shape[0] > 0 or words.shape[0] > 0
        if not placed and lo < hi:
            number = first_token(row, lo)
            placed = number < size and offset < dropped[number]
        # What was read on from the suffix before: suffixes are in order, so that the next one often
        # has the same tokens. Its position (or −1), and of the tokens looked at, how many, if the
        # text fits, and where it ends.
        same = np.int64(-1)
        looked, went, ended, ended_at = np.int64(0), False, np.int64(0), np.int64(0)
        for base in range(lo, hi, TOGETHER):
            top = min(hi, base + TOGETHER)
            if not walked:
                for rank in range(base, top):
                    ask_for_token(row, tokens, sa, rank, 0, False)
            elif placed:
                for rank in range(base, top):
                    ranks[rank - base] = rank
                positions_at(row, ranks[: top - base], False, where[: top - base])
                fill_caches(row, where[: top - base], caches[: top - base])
            else:
                read_ahead(row, base, top - base, ahead_of)
            for rank in range(base, top):
                position = np.int64(0)
                near = not placed  # (then positions are counted from the suffix)
                if not walked:
                    position = position_in(row, sa, rank)
                elif placed:
                    position, cache = where[rank - base], caches[rank - base]
                first, begin = position, offset
                token, at, now = position, offset, np.int64(state)
                fits = position < n
                if fits and before.shape[0]:
                    begin = np.int64(-1)
                    first -= 1
                    while first >= 0:
                        number = text_at(row, tokens, cache, first)
                        if number >= size:  # the separator
                            break
                        if starts[number + 1] > starts[number]:
                            begin = np.int64(before[number]) - 1
                            break
                        first -= 1
                    fits = begin >= 0
                if fits:
                    if near:
                        number = ahead_of[rank - base, 0]
                    else:
                        number = text_at(row, tokens, cache, first)
                    if number >= size or begin > starts[number + 1] - starts[number]:
                        fits = False
                    elif begin < dropped[number]:
                        # A space that the document does not have, if it begins there.
                        ahead = first - 1
                        while ahead >= 0:
                            number = text_at(row, tokens, cache, ahead)
                            if number >= size or not vanishes[number]:
                                break
                            ahead -= 1
                        fits = ahead >= 0 and text_at(row, tokens, cache, ahead) != separator
                repeated = fits and not walked and same >= 0 and position + looked <= n
                if repeated:
                    for ahead in range(looked):
                        if tokens[position + ahead] != tokens[same + ahead]:
                            repeated = False
                            break
                if repeated:
                    fits, token, at = went, position + ended, ended_at
                elif fits:
                    while fits and now != end:
                        if token >= n:
                            fits = False
                            break
                        if near and token == AHEAD:
                            near = False
                            position = located(row, rank)
                            first = position
                            token += position
                            if token >= n:
                                fits = False
                                break
                        if near:
                            number = ahead_of[rank - base, token]
                        else:
                            number = text_at(row, tokens, cache, token)
                        if number >= size:
                            fits = False
                            break
                        limit = starts[number + 1] - starts[number]
                        while at < limit and now != end:
                            now = step(steps, targets, now, np.int64(blob[starts[number] + at]))
                            if now < 0:
                                fits = False
                                break
                            at += 1
                        if fits and now != end:
                            token, at = token + 1, 0
                    same = position if token < n else np.int64(-1)
                    ended, ended_at, went = token - position, at, fits
                    looked = ended + 1
                if fits and words.shape[0]:
                    fits = not is_word_at(row, cache, tokens, n, token, at, blob, starts, words)
                    if fits:
                        fits = not is_word_before(
                            row,
                            cache,
                            tokens,
                            separator,
                            first,
                            begin,
                            blob,
                            starts,
                            dropped,
                            words,
                        )
                if fits:
                    if found.shape[0]:
                        found[total] = (rank if ranked else first) << bits | begin
                    if counts.shape[0]:
                        counts[interval] += 1
                    total += 1
    if ranked:
        place_ranks(row, bits, found[:total])
    return total


@called
def place_ranks(row: np.ndarray, bits: int, found: np.ndarray) -> None:
    """Let places in a self-index that are told by rank be told by position."""
    size = min(found.shape[0], MANY)
    ranks, positions = np.empty(size, np.int64), np.empty(size, np.int64)
    for base in range(0, found.shape[0], MANY):
        count = min(found.shape[0] - base, MANY)
        for i in range(count):
            ranks[i] = found[base + i] >> bits
        positions_at(row, ranks[:count], False, positions[:count])
        for i in range(count):
            offset = found[base + i] & ((np.int64(1) << bits) - 1)
            found[base + i] = positions[i] << bits | offset


@kernel
def listed(
    row: np.ndarray, intervals: np.ndarray, offsets: np.ndarray, bits: int, found: np.ndarray
) -> int:
    """As `walk`, for a text that is known to occur at all suffixes: only its places are found."""
    n, width = row[N], row[WIDTH]
    sa = array_at(row[POSITIONS], n * width, np.uint8)
    total = 0
    for interval in range(intervals.shape[0]):
        lo, hi = max(0, intervals[interval, 0]), min(n, intervals[interval, 1])
        offset = np.int64(offsets[interval])
        for rank in range(lo, hi):
            position = rank if row[SELF] else position_in(row, sa, rank)
            if position < n:
                found[total] = position << bits | offset
                total += 1
    if row[SELF]:
        place_ranks(row, bits, found[:total])
    return total


@kernel
def ended(
    row: np.ndarray,
    ids: np.ndarray,
    places: np.ndarray,
    bits: int,
    blob: np.ndarray,
    starts: np.ndarray,
    steps: np.ndarray,
    targets: np.ndarray,
    found: np.ndarray,
) -> int:
    """The places where the text ends that begins at `places`, which are as `walk` finds them.

    found: int64, shape (len(places), 4), receives the position of the token in which it begins, the
    offset there, and the same of its end (behind its last byte). Returns how many places it is not
    at, which are none in a sound index.
    """
    n = row[N]
    tokens = array_at(row[TOKENS], n, ids.dtype)
    cache = text_cache(row)
    end = steps.shape[0] - 1
    missing = 0
    for i in range(places.shape[0]):
        token, at = places[i] >> bits, places[i] & ((1 << bits) - 1)
        found[i, 0], found[i, 1] = token, at
        state = np.int64(0)
        while state >= 0 and state != end:
            number = text_at(row, tokens, cache, token) if token < n else np.int64(starts.shape[0])
            if number >= starts.shape[0] - 1:
                state = -1
            elif at >= starts[number + 1] - starts[number]:
                token, at = token + 1, 0
            else:
                state = step(steps, targets, state, np.int64(blob[starts[number] + at]))
                at += 1
        found[i, 2], found[i, 3] = token, at
        missing += state != end
    return missing
