"""Runs of ranks whose suffixes go on with certain tokens, read off the order of suffixes.

In an interval of suffixes that begin with the same `depth` tokens, the next tokens ascend. Known at
two ranks, they say whether any of the tokens that are looked for can stand between: if not, nothing
between is read. Else the middle is read, from the fences where their keys reach that far.
"""

import numpy as np

from everygram.kernels import array_at, called, inlined, kernel, words
from everygram.kernels.reads import ask_for_rank, ask_for_token, token_after
from everygram.kernels.rows import (
    BY_BYTES,
    FENCES,
    KEY_BITS,
    NUM_FENCES,
    POSITIONS,
    SELF,
    SEPARATOR,
    SPACING,
    TOKENS,
    WIDTH,
    N,
    ask_for,
    ordered,
    token_of,
)

# Ranks that are read together.
TOGETHER = 32
# A range of ranks: those at its ends are read already, and the places of their tokens known.
INTERVAL, FIRST, FIRST_PLACE, LAST, LAST_PLACE, COLUMNS = 0, 1, 2, 3, 4, 5
# What is read of a rank: its token in the stream, or the fence at it.
RANK, PLACE, OF, FENCED = 0, 1, 2, 3


@called
def table_of(wanted: np.ndarray, size: int) -> np.ndarray:
    """The place of each id up to the last wanted one, if more than so many are to be read.

    int32; empty if fewer are: to search the wanted ones for those is faster then.
    """
    last = wanted[-1] if wanted.shape[0] else -1
    table = np.empty(last + 1 if size > last else 0, np.int32)
    i = 0
    for token in range(table.shape[0]):
        if wanted[i] < token:
            i += 1
        table[token] = 2 * i + (wanted[i] == token)
    return table


@inlined
def place_of(token: int, wanted: np.ndarray, table: np.ndarray) -> int:
    """2i + 1 for wanted[i]; 2i for a token before wanted[i] and behind the one before it."""
    if token < table.shape[0]:
        return np.int64(table[token])
    lo, hi = np.int64(0), np.int64(wanted.shape[0])
    if table.shape[0]:
        return 2 * hi
    while lo < hi:
        middle = (lo + hi) >> 1
        if wanted[middle] < token:
            lo = middle + 1
        else:
            hi = middle
    return 2 * lo + np.int64(lo < wanted.shape[0] and wanted[lo] == token)


@called
def grown(rows: np.ndarray, count: int) -> np.ndarray:
    """The rows, with room for as many as TOGETHER adds."""
    if count + 4 * TOGETHER <= rows.shape[0]:
        return rows
    larger = np.empty((2 * rows.shape[0], rows.shape[1]), np.int64)
    for i in range(count):
        for column in range(rows.shape[1]):
            larger[i, column] = rows[i, column]
    return larger


@kernel
def runs(
    row: np.ndarray,
    ids: np.ndarray,
    intervals: np.ndarray,
    depth: int,
    wanted: np.ndarray,
    cold: bool,
) -> np.ndarray:
    """Runs of ranks in intervals at which the token `depth` after the suffix's first is wanted.

    row: of a segment; ids: of the token dtype, for it alone. intervals: int64, shape (k, 2); the
    first `depth` tokens of all suffixes of one are the same. wanted: int64, places of tokens in the
    segment's order (`rows.ordered`: ids, unless it is by bytes), ascending, without the separator.

    Returns int64, shape (r, 4): the interval's number, which of the wanted, and the ranks
    [first, last). One token's ranks in an interval may be in several runs.
    """
    n, width, separator, by_bytes = row[N], row[WIDTH], row[SEPARATOR], row[BY_BYTES]
    sa = array_at(row[POSITIONS], n * width, np.uint8)
    tokens = array_at(row[TOKENS], n, ids.dtype)
    fences = array_at(row[FENCES], row[NUM_FENCES], np.uint64)
    spacing, bits = row[SPACING], row[KEY_BITS]
    # (A key's last token may be cut; the fences of a self-index are no keys.)
    reach = (depth + 1) * bits <= 64 and not row[SELF]
    shift = np.uint64(max(0, 64 - (depth + 1) * bits))
    top = (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
    found = np.empty((8 * TOGETHER, 4), np.int64)
    todo = np.empty((8 * TOGETHER, COLUMNS), np.int64)
    reads, taken = words(32, 4), words(32, 5)
    number, left, begun = np.int64(0), np.int64(0), np.int64(0)
    ranks = np.int64(0)
    for i in range(intervals.shape[0]):
        ranks += intervals[i, 1] - intervals[i, 0]
    table = table_of(wanted, ranks)
    while begun < intervals.shape[0] or left:
        found, todo = grown(found, number), grown(todo, left)
        # Read the middles of ranges or, where none are left, both ends of more intervals.
        count = np.int64(0)
        ends = left == 0
        while ends and begun < intervals.shape[0] and count + 2 <= TOGETHER:
            lo, hi = max(0, intervals[begun, 0]), min(n, intervals[begun, 1])
            if lo < hi:
                for i in range(2):
                    reads[count + i, RANK] = hi - 1 if i else lo
                    reads[count + i, OF], reads[count + i, FENCED] = begun, 0
                count += 2
            begun += 1
        while left and count < TOGETHER:
            left -= 1
            for column in range(COLUMNS):
                taken[count, column] = todo[left, column]
            middle = (taken[count, FIRST] + taken[count, LAST]) >> 1
            fenced = reach and taken[count, LAST] - taken[count, FIRST] > 2 * spacing
            if fenced:
                middle -= middle % spacing
            reads[count, RANK], reads[count, OF] = middle, taken[count, INTERVAL]
            reads[count, FENCED] = np.int64(fenced)
            count += 1
        for i in range(count):
            if reads[i, FENCED]:
                ask_for(fences, reads[i, RANK] // spacing, cold)
            else:
                ask_for_rank(row, sa, reads[i, RANK], cold)
        for i in range(count):
            if not reads[i, FENCED]:
                ask_for_token(row, tokens, sa, reads[i, RANK], depth, cold)
        for i in range(count):
            rank = reads[i, RANK]
            token = separator
            if reads[i, FENCED]:
                key = fences[rank // spacing] >> shift & top
                if key != top:
                    token = token_of(np.int64(key), bits if by_bytes else 0)
            else:
                token = token_after(row, tokens, sa, rank, depth)
            token = ordered(token, by_bytes)
            place = place_of(token, wanted, table)
            reads[i, PLACE] = place
            # (Of an interval of one rank both ends are the same.)
            if place & 1 and not (ends and i & 1 and rank == reads[i - 1, RANK]):
                found[number, 0], found[number, 1] = reads[i, OF], place >> 1
                found[number, 2], found[number, 3] = rank, rank + 1
                number += 1
        # What is between ranks that are known now.
        step = 2 if ends else 1
        for i in range(0, count, step):
            for part in range(3 - step):
                if ends or part:
                    a, first = reads[i, RANK], reads[i, PLACE]
                else:
                    a, first = taken[i, FIRST], taken[i, FIRST_PLACE]
                if part:
                    b, last = taken[i, LAST], taken[i, LAST_PLACE]
                else:
                    b, last = reads[i + step - 1, RANK], reads[i + step - 1, PLACE]
                if b - a < 2:
                    continue
                if first < last:
                    todo[left, INTERVAL] = reads[i, OF]
                    todo[left, FIRST], todo[left, FIRST_PLACE] = a, first
                    todo[left, LAST], todo[left, LAST_PLACE] = b, last
                    left += 1
                elif first == last and first & 1:
                    found[number, 0], found[number, 1] = reads[i, OF], first >> 1
                    found[number, 2], found[number, 3] = a + 1, b
                    number += 1
    return found[:number]
