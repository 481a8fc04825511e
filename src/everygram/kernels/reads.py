"""Reads what stands at ranks and positions, in a segment of either kind."""

import numpy as np

from everygram.kernels import array_at, called, inlined, kernel
from everygram.kernels.psi import (
    ask_for_block,
    blocks_of,
    entry_at,
    followed_by,
    followed_by_token,
    last_of,
    sample_in,
    sample_of,
    samples_of,
    token_at_place,
)
from everygram.kernels.rows import (
    BLOCK_SHIFT,
    DOCUMENTS,
    FOREIGN,
    KEY_BITS,
    NUM_STRETCHES,
    SAMPLE_EVERY,
    SELF,
    SEPARATOR,
    SHIFT,
    STRETCHES,
    WIDTH,
    N,
    ask_for,
)

# Pieces of a text that are read together, each from a sample on.
TOGETHER = 32


@called
def foreign_position(row: np.ndarray, sa: np.ndarray, rank: int) -> int:
    """As `position_in`, where positions are infini-gram's pointers: bytes, in any number of them.

    Ranks that are not those of the file lie in stretches: int64, (k, 2), the first rank of each,
    ascending, and what it is in the file.
    """
    count = row[NUM_STRETCHES]
    if count:
        stretches = array_at(row[STRETCHES], 2 * count, np.int64)
        lo, hi = np.int64(0), count
        while hi - lo > 1:
            middle = (lo + hi) >> 1
            if stretches[2 * middle] <= rank:
                lo = middle
            else:
                hi = middle
        rank += stretches[2 * lo + 1] - stretches[2 * lo]
    width = row[WIDTH]
    position = np.int64(0)
    for i in range(width):
        position |= np.int64(sa[np.uint64(rank * width + i)]) << (8 * i)
    return position >> row[SHIFT]


@inlined
def position_in(row: np.ndarray, sa: np.ndarray, rank: int) -> int:
    """The position at a rank of a suffix array, from bytes; the compiler makes one read of four."""
    if row[FOREIGN]:
        return foreign_position(row, sa, rank)
    width = row[WIDTH]
    at = np.uint64(rank * width)
    position = (
        np.int64(sa[at])
        | np.int64(sa[at + np.uint64(1)]) << 8
        | np.int64(sa[at + np.uint64(2)]) << 16
        | np.int64(sa[at + np.uint64(3)]) << 24
    )
    if width == 5:
        position |= np.int64(sa[at + np.uint64(4)]) << 32
    return position


@inlined
def ask_for_rank(row: np.ndarray, sa: np.ndarray, rank: int, cold: bool) -> None:
    """Request what says where the suffix of a rank is."""
    if row[SELF]:
        ask_for(blocks_of(row), rank >> row[BLOCK_SHIFT], cold)
    else:
        ask_for(sa, rank * row[WIDTH], cold)


@inlined
def ask_for_token(
    row: np.ndarray, tokens: np.ndarray, sa: np.ndarray, rank: int, offset: int, cold: bool
) -> None:
    """Request the token `offset` after the start of the suffix of a rank; what is read first."""
    if row[SELF]:
        ask_for_block(row, rank >> row[BLOCK_SHIFT], cold)
    else:
        ask_for(tokens, position_in(row, sa, rank) + offset, cold)


@inlined
def token_after(row: np.ndarray, tokens: np.ndarray, sa: np.ndarray, rank: int, offset: int) -> int:
    """The token `offset` after the start of the suffix of a rank; the separator past the end."""
    if row[SELF]:
        return followed_by_token(row, rank, offset)
    place = position_in(row, sa, rank) + offset
    return np.int64(tokens[np.uint64(place)]) if place < row[N] else row[SEPARATOR]


@inlined
def text_cache(row: np.ndarray) -> np.ndarray:
    """Memory for `text_at`: of a self-index the number of a sample, and the tokens behind it."""
    cache = np.empty(row[SAMPLE_EVERY] + 1 if row[SELF] else 0, np.int64)
    if row[SELF]:
        cache[0] = -1
    return cache


@inlined
def text_at(row: np.ndarray, tokens: np.ndarray, cache: np.ndarray, position: int) -> int:
    """The token at a position. Precondition: it is in [0, n)."""
    if cache.shape[0]:
        return cached_text(row, cache, position)
    return np.int64(tokens[np.uint64(position)])


@called
def cached_text(row: np.ndarray, cache: np.ndarray, position: int) -> int:
    """The token at a position of a self-index: read from the sample before, unless it is cached."""
    every, n = row[SAMPLE_EVERY], row[N]
    number = position // every
    if cache[0] != number:
        cache[0] = number
        state = rank_at_sample(row, number)
        for i in range(min(every, n - number * every)):
            state = next_in_text(row, state, cache, i + 1)
    return cache[position - number * every + 1]


@called
def rank_at_sample(row: np.ndarray, number: int) -> int:
    """The rank of the position of sample `number`, in [0, n)."""
    return min(sample_in(row, samples_of(row) + number), row[N] - 1)


@called
def next_in_text(row: np.ndarray, rank: int, out: np.ndarray, at: int) -> int:
    """Set out[at] to the first token of a rank; returns the rank of the position after it."""
    n, bits = row[N], row[KEY_BITS]
    entry = entry_at(row, rank)
    out[at] = token_at_place(row, entry >> bits)
    following = min(entry & ((np.int64(1) << bits) - 1), n + row[DOCUMENTS] - 1)
    if following < n:
        return following
    # The next document's separator. (Behind the last document nothing is read.)
    document = following - n + 1
    if document >= row[DOCUMENTS]:
        return rank
    return min(sample_in(row, 2 * samples_of(row) + document), n - 1)


@called
def read_ahead(row: np.ndarray, first: int, count: int, ahead: np.ndarray) -> None:
    """Set ahead[i, k] to token k of the suffix of rank first + i, of a self-index.

    int64; behind the end of a document come separators.
    """
    n, shift = row[N], row[BLOCK_SHIFT]
    state = np.empty(count, np.int64)
    for i in range(count):
        state[i] = first + i
    for k in range(ahead.shape[1]):
        for i in range(count):
            if state[i] < n:
                ask_for(blocks_of(row), state[i] >> shift, False)
        for i in range(count):
            if state[i] < n:
                ask_for_block(row, state[i] >> shift, False)
        for i in range(count):
            if state[i] < n:
                entry = entry_at(row, state[i])
                ahead[i, k] = token_at_place(row, entry >> row[KEY_BITS])
                state[i] = entry & ((np.int64(1) << row[KEY_BITS]) - 1)
            else:
                ahead[i, k] = row[SEPARATOR]


@called
def fill_caches(row: np.ndarray, positions: np.ndarray, caches: np.ndarray) -> None:
    """Let caches[i] be that of `text_at` for the tokens before and around positions[i].

    It begins with the sample before the token before. caches: int64, shape (k, S + 1).
    """
    every, n, shift = row[SAMPLE_EVERY], row[N], row[BLOCK_SHIFT]
    count = positions.shape[0]
    state = np.empty(count, np.int64)
    least = n
    for i in range(count):
        caches[i, 0] = max(positions[i] - 1, 0) // every
        state[i] = rank_at_sample(row, caches[i, 0])
        least = min(least, caches[i, 0])
    # (The stream may end long before the next sample would come.)
    for step in range(min(every, n - least * every)):
        for i in range(count):
            ask_for(blocks_of(row), state[i] >> shift, False)
        for i in range(count):
            ask_for_block(row, state[i] >> shift, False)
        for i in range(count):
            if caches[i, 0] * every + step < n:
                state[i] = next_in_text(row, state[i], caches[i], step + 1)


@kernel
def read_text(
    row: np.ndarray, start: int, end: int, text: np.ndarray, ranks: np.ndarray, cold: bool
) -> None:
    """Set text[i] to the token at position start + i of a self-index, for all up to `end`.

    text: of the token dtype. ranks: int64, receives the ranks of these positions if it has entries.
    Pieces between samples are read together.
    """
    every, shift = row[SAMPLE_EVERY], row[BLOCK_SHIFT]
    state = np.empty(TOGETHER, np.int64)
    one = np.empty(TOGETHER, np.int64)
    first = start // every
    while first * every < end:
        count = min(TOGETHER, (end - 1) // every + 1 - first)
        for i in range(count):
            state[i] = rank_at_sample(row, first + i)
        for step in range(min(every, end - first * every)):
            for i in range(count):
                ask_for(blocks_of(row), state[i] >> shift, cold)
            for i in range(count):
                ask_for_block(row, state[i] >> shift, cold)
            for i in range(count):
                position = (first + i) * every + step
                if position >= end:
                    continue
                if position >= start and ranks.shape[0]:
                    ranks[position - start] = state[i]
                state[i] = next_in_text(row, state[i], one, i)
                if position >= start:
                    text[position - start] = one[i]
        first += count


@kernel
def read_texts(
    row: np.ndarray, starts: np.ndarray, ends: np.ndarray, text: np.ndarray, cold: bool
) -> None:
    """Set `text` to the tokens at positions [starts[i], ends[i]), one range after another."""
    at, none = 0, np.empty(0, np.int64)
    for i in range(starts.shape[0]):
        size = max(0, ends[i] - starts[i])
        read_text(row, starts[i], starts[i] + size, text[at : at + size], none, cold)
        at += size


@kernel
def read_tokens_at(row: np.ndarray, positions: np.ndarray, found: np.ndarray) -> None:
    """Set found[i] to the token at positions[i] (int64) of a self-index.

    Of neighbours in the order given, those after one sample are read once.
    """
    cache = text_cache(row)
    for i in range(positions.shape[0]):
        found[i] = cached_text(row, cache, min(max(positions[i], 0), row[N] - 1))


@kernel
def positions_at(row: np.ndarray, ranks: np.ndarray, cold: bool, positions: np.ndarray) -> None:
    """Set positions[i] (int64) to the position of ranks[i] (int64), of a self-index."""
    every, n, shift = row[SAMPLE_EVERY], row[N], row[BLOCK_SHIFT]
    count = samples_of(row)
    state = np.empty((TOGETHER, 3), np.int64)  # the rank, of which of `ranks`, steps so far
    begin, left = 0, 0
    while True:
        while left < TOGETHER and begin < ranks.shape[0]:
            state[left, 0], state[left, 1], state[left, 2] = ranks[begin], begin, 0
            begin += 1
            left += 1
        if left == 0:
            break
        for i in range(left):
            ask_for(blocks_of(row), state[i, 0] >> shift, cold)
        for i in range(left):
            ask_for_block(row, state[i, 0] >> shift, cold)
        kept = 0
        for i in range(left):
            rank, of, steps = state[i, 0], state[i, 1], state[i, 2]
            number = sample_of(row, rank)
            position = np.int64(-1)
            if number >= 0:
                position = sample_in(row, min(number, count - 1)) * every - steps
            else:
                rank = followed_by(row, rank)
                if rank >= n:
                    position = last_of(row, rank - n) - steps
                elif steps > every:  # (in a damaged file)
                    position = np.int64(0)
                else:
                    state[kept, 0], state[kept, 1], state[kept, 2] = rank, of, steps + 1
                    kept += 1
                    continue
            positions[of] = min(max(position, 0), n - 1)
        left = kept
