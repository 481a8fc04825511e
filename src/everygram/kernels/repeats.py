"""Counts at each rank the repeats of documents, from which `documents` counts documents.

Of the suffixes that begin in one document, any two that are next to each other in the order of
ranks, r1 < r2, are a *repeat*: it belongs to the last place of the least LCP in (r1, r2]. (Hui
1992, Sadakane 2007; `storage.format` has the definition.) The LCP of a rank is the number of first
tokens that its suffix shares with the suffix before it, up to and including the next separator.

Every suffix but the first of each first token follows one that shares a token with it, one token
further on as well: so LCPs in the order of positions fall by at most 1 from a position to the next,
and all are found in linear time (Kärkkäinen, Manzini & Puglisi 2009). And 2 · position + LCP grows:
as the places of ones, all take 2 bits each. Their only exception is the first separator: its LCP,
0, is kept as 1.
"""

import numpy as np

from everygram.kernels import kernel, position_at, prefetch, token_at
from everygram.kernels.bits import one_after

# Positions per sample of the LCPs' bits, and of the documents, as powers of two.
SAMPLED_SHIFT, DOCUMENTS_SHIFT = 6, 8
SAMPLED = 1 << SAMPLED_SHIFT
# Ranks whose reads are requested together.
TOGETHER = 64
# Positions for which the text is requested ahead of time.
AHEAD = 24
# Columns of the stack: a rank, its LCP, and its repeats so far.
RANK, LCP, REPEATS = 0, 1, 2


@kernel
def link(sa: np.ndarray, before: int, base: int, linked: np.ndarray, n: int) -> bool:
    """Set linked[p − base] to 1 + the position before p in the order of ranks, for p in `sa`.

    sa: a part of the array, in which `before` comes before the first (−1: none). linked: u32 or
    int64, for positions from `base` on; others are left out. Returns whether all are below n.
    """
    length = linked.shape[0]
    for i in range(sa.shape[0]):
        position = position_at(sa, i)
        if position >= n:
            return False
        place = position - base
        if place >= 0 and place < length:
            linked[place] = before + 1
        before = position
    return True


@kernel
def measure(
    tokens: np.ndarray, separator: int, base: int, linked: np.ndarray, first: int, last: int
) -> None:
    """Replace linked[first:last], set by `link`, by the LCPs of their positions."""
    length = np.int64(0)
    for i in range(first, last):
        ahead = min(i + AHEAD, last - 1)
        prefetch(tokens, np.int64(linked[ahead]) + length)
        p, q = base + i, np.int64(linked[i]) - 1
        starts = np.int64(tokens[p]) == separator
        length = max(0, length - 1)
        if q < 0 or (starts and np.int64(tokens[q]) != separator):
            length = np.int64(starts)
        elif length < 2 or token_at(tokens, p + length - 1, separator) != separator:
            while True:
                token = token_at(tokens, p + length, separator)
                if token != token_at(tokens, q + length, separator):
                    break
                length += 1
                if token == separator and length > 1:
                    break
        linked[i] = length


@kernel
def gather(
    sa: np.ndarray,
    measured: np.ndarray,
    words: np.ndarray,
    samples: np.ndarray,
    sampled: np.ndarray,
    offsets: np.ndarray,
    lcps: np.ndarray,
    documents: np.ndarray,
) -> bool:
    """Set the LCP (int64) and the document (int64) of each position in `sa`, a part of the array.

    measured: the LCPs of all positions, or empty: then they are in `words`, the LCPs' bits, and
    `samples` has the place of the one of every 64th position (int64). sampled: int64, the document
    of every 256th position. offsets: u64, shape (D,), of the documents. Returns whether all were
    found. Precondition: the positions are below n.
    """
    places = np.empty(TOGETHER, np.int64)
    direct = measured.shape[0] > 0
    for base in range(0, sa.shape[0], TOGETHER):
        count = min(TOGETHER, sa.shape[0] - base)
        for i in range(count):
            position = position_at(sa, base + i)
            places[i] = position
            prefetch(sampled, position >> DOCUMENTS_SHIFT)
            if direct:
                prefetch(measured, position)
            else:
                prefetch(samples, position >> SAMPLED_SHIFT)
        for i in range(count):
            position = places[i]
            prefetch(offsets, sampled[position >> DOCUMENTS_SHIFT] + 1)
            if not direct:
                place = samples[position >> SAMPLED_SHIFT] + 2 * (position & (SAMPLED - 1))
                prefetch(words, place >> 6)
        for i in range(count):
            position = places[i]
            document = sampled[position >> DOCUMENTS_SHIFT]
            while document + 1 < offsets.shape[0] and np.int64(offsets[document + 1]) <= position:
                document += 1
            documents[base + i] = document
            if direct:
                lcps[base + i] = measured[position]
                continue
            place = samples[position >> SAMPLED_SHIFT]
            number = position & (SAMPLED - 1)
            if number:
                place = one_after(words, place + 1, number, words.shape[0])
                if place < 0:
                    return False
            lcps[base + i] = place - 2 * position
    return True


@kernel
def assign(
    base: int,
    lcps: np.ndarray,
    documents: np.ndarray,
    last: np.ndarray,
    stack: np.ndarray,
    top: int,
    repeats: np.ndarray,
    late: np.ndarray,
) -> tuple[int, int]:
    """Count the repeats of ranks base, base + 1, …, whose LCPs and documents are given.

    last: int64, shape (D,): the last rank of each document before these, or −1. stack: int64, shape
    (depth, 3): ranks to which repeats may belong still, LCPs ascending; `top` of them. repeats: u8,
    shape (n,): set for ranks that leave the stack, as far as they fit. late: int64, shape (k, 2):
    ranks and repeats that come in addition.

    Returns how many are on the stack and late. Precondition: the stack has room for all these
    ranks, and `late` for n / 256.
    """
    number = np.int64(0)
    for i in range(lcps.shape[0]):
        rank, lcp = base + i, lcps[i]
        while top and stack[top - 1, LCP] >= lcp:
            top -= 1
            count = stack[top, REPEATS]
            place = stack[top, RANK]
            repeats[place] = min(count, 255)
            if count > 255:
                late[number, 0], late[number, 1] = place, count - 255
                number += 1
        stack[top, RANK], stack[top, LCP], stack[top, REPEATS] = rank, lcp, 0
        top += 1
        document = documents[i]
        before = last[document]
        last[document] = rank
        if before >= 0:
            # The first on the stack whose rank is above `before`.
            lo, size = np.int64(0), np.int64(top)
            while size > 1:
                half = size >> 1
                if stack[lo + half - 1, RANK] <= before:
                    lo += half
                size -= half
            stack[lo, REPEATS] += 1
    return top, number
