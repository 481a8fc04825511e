"""Makes the entries of a self-index, and its blocks: tokens and suffix array in (see `psi`)."""

import numpy as np

from everygram.kernels import inlined, kernel, length, position_at, prefetch
from everygram.kernels.psi import HIGH_BITS, LOW_BITS, OFFSET_BITS, entry_at

# Positions whose reads are requested together.
TOGETHER = 64


@kernel
def lefts_of(
    tokens: np.ndarray,
    sa: np.ndarray,
    first: int,
    every: int,
    lefts: np.ndarray,
    ranks: np.ndarray,
    sampled: np.ndarray,
) -> int:
    """Look at a part of a suffix array: ranks first, first + 1, …

    lefts: of the token dtype, receives the token before each position (before the stream's first,
    anything). Positions that are multiples of `every` are samples: ranks[p // every] receives the
    rank of position p, sampled (int64) the numbers p // every in the order of ranks. Returns how
    many there are; −1 for a position that is not in the stream.
    """
    n, number = tokens.shape[0], 0
    for base in range(0, sa.shape[0], TOGETHER):
        end = min(sa.shape[0], base + TOGETHER)
        for i in range(base, end):
            prefetch(tokens, position_at(sa, i) - 1)
        for i in range(base, end):
            position = position_at(sa, i)
            if position >= n:
                return -1
            lefts[i] = tokens[position - 1] if position else tokens[0]
            if position % every == 0:
                ranks[position // every] = first + i
                sampled[number] = position // every
                number += 1
    return number


@kernel
def spread(
    lefts: np.ndarray,
    first: int,
    bits: int,
    nexts: np.ndarray,
    begin: int,
    entries: np.ndarray,
) -> None:
    """Put the entries of ranks first, first + 1, … at their places, if those are wanted.

    lefts: the place of the token before each among the unigrams. nexts: int64, where the next entry
    of each unigram goes. entries: int64, of the ranks from `begin` on.
    """
    end = begin + entries.shape[0]
    for i in range(lefts.shape[0]):
        place = np.int64(lefts[i])
        at = nexts[place]
        nexts[place] = at + 1
        if begin <= at and at < end:
            entries[at - begin] = place << bits | (first + i)


@inlined
def put_bits(words: np.ndarray, bit: int, value: int, width: int) -> None:
    """Set `width` bits of the words, which are zeros, from a bit on."""
    word, shift = bit >> 6, bit & 63
    words[word] |= np.uint64(value) << np.uint64(shift)
    if shift + width > 64:
        words[word + 1] |= np.uint64(value) >> np.uint64(64 - shift)


@kernel
def code_blocks(
    entries: np.ndarray,
    marks: np.ndarray,
    shift: int,
    words: np.ndarray,
    pointers: np.ndarray,
    fences: np.ndarray,
) -> int:
    """Code entries (int64) in blocks of 2^shift, the last of which may be shorter.

    marks: bool, which entries' ranks are sampled. words: u64, zeros, MOST_WORDS of them for each
    block. pointers: u64, receives where each block's words begin among these, and what `psi` must
    know to read them; fences: u64, its first entry. Returns how many words there are.
    """
    at = np.int64(0)
    size = np.int64(1) << shift
    map_words = (size + 63) >> 6
    for block in range(pointers.shape[0]):
        begin = block * size
        end = min(begin + size, np.int64(entries.shape[0]))
        base = entries[begin]
        # Runs: entries that are each one more than the one before.
        runs, last = np.int64(0), np.int64(0)
        for i in range(begin, end):
            if i == begin or entries[i] != entries[i - 1] + 1:
                runs += 1
                last = entries[i] - base
        width = max(length(np.uint64(last // runs)) - 1, 0)
        high_bits = (last >> width) + runs
        high_at = (at + map_words) << 6
        low_at = high_at + high_bits
        marks_at = low_at + runs * width
        run, marked = np.int64(0), np.int64(0)
        for i in range(begin, end):
            if i == begin or entries[i] != entries[i - 1] + 1:
                value = entries[i] - base
                put_bits(words, (at << 6) + i - begin, 1, 1)
                put_bits(words, high_at + (value >> width) + run, 1, 1)
                if width:
                    low = value & ((np.int64(1) << width) - 1)
                    put_bits(words, low_at + run * width, low, width)
                run += 1
            if marks[i]:
                put_bits(words, marks_at + 8 * marked, i - begin, 8)
                marked += 1
        pointers[block] = np.uint64(
            at
            | width << OFFSET_BITS
            | high_bits << (OFFSET_BITS + LOW_BITS)
            | marked << (OFFSET_BITS + LOW_BITS + HIGH_BITS)
        )
        fences[block] = np.uint64(base)
        at = (marks_at + 8 * marked + 63) >> 6
    return at


@kernel
def entries_at(row: np.ndarray, ranks: np.ndarray, entries: np.ndarray) -> None:
    """Set entries[i] (int64) to the entry of ranks[i] (int64) of a self-index."""
    for i in range(entries.shape[0]):
        entries[i] = entry_at(row, ranks[i])


@kernel
def first_again(ranks: np.ndarray, seen: np.ndarray) -> int:
    """The index of the first of these ranks (int64) that was seen before, or −1; all are seen now.

    seen: u64, a bit for each rank; zeros at first.
    """
    for i in range(ranks.shape[0]):
        word, bit = ranks[i] >> 6, np.uint64(1) << np.uint64(ranks[i] & 63)
        if seen[word] & bit:
            return i
        seen[word] |= bit
    return -1
