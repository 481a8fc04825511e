"""Reads Ψ of a self-index: at a rank, the rank of the suffix one token further.

An *entry* is the place of the suffix's first token among the unigrams, shifted left by KEY_BITS,
and below it Ψ; or, for a suffix that is the last token of document d, n + d. Entries ascend with
rank. `storage.format` describes the blocks that hold them. What is damaged gives wrong entries, but
is never read past its end: the words of psi.bin end in more zeros than any block has words.

`row`: of a self-index (see `rows`). Ranks are in [0, n).
"""

import numpy as np

from everygram.kernels import array_at, called, inlined, length, ones, words
from everygram.kernels.bits import nth_one
from everygram.kernels.rows import (
    BLOCK_SHIFT,
    DOCUMENTS,
    FENCES,
    KEY_BITS,
    NUM_FENCES,
    NUM_UNIGRAMS,
    OFFSETS,
    PSI,
    PSI_BLOCKS,
    PSI_WORDS,
    SAMPLE_EVERY,
    SAMPLES,
    UNIGRAMS,
    WIDTH,
    N,
    ask_for,
)

# Of a block, how many bits say where its words begin, how wide its low parts are, and how many bits
# its high parts have; the rest says how many samples it has. As in `kernels.coding`.
OFFSET_BITS, LOW_BITS, HIGH_BITS = 40, 6, 9
OFFSET_MASK = (1 << OFFSET_BITS) - 1
# More words than a block has; as many zeros end the words.
MOST_WORDS = 192
# Blocks per count of the samples before them: a node of fences.
NODE_SHIFT = 4
WORD = np.uint64(64)
# Suffixes that are followed together.
READS = 64


@inlined
def psi_of(row: np.ndarray) -> np.ndarray:
    """The words of psi.bin."""
    return array_at(row[PSI], row[PSI_WORDS], np.uint64)


@inlined
def blocks_of(row: np.ndarray) -> np.ndarray:
    """psi_blocks.bin: a word per block, then the samples before every node of blocks."""
    blocks = ((row[N] - 1) >> row[BLOCK_SHIFT]) + 1
    return array_at(row[PSI_BLOCKS], blocks + ((blocks - 1) >> NODE_SHIFT) + 1, np.uint64)


@inlined
def samples_of(row: np.ndarray) -> int:
    """How many positions are sampled."""
    return (row[N] + row[SAMPLE_EVERY] - 1) // row[SAMPLE_EVERY]


@inlined
def described(row: np.ndarray, block: int) -> tuple[int, int, int, int]:
    """Of a block: its first word, the width of low parts, the bits of high parts, its samples."""
    said = np.int64(blocks_of(row)[np.uint64(block)])
    at = min(said & OFFSET_MASK, row[PSI_WORDS] - MOST_WORDS)
    width = said >> OFFSET_BITS & ((1 << LOW_BITS) - 1)
    high_bits = said >> (OFFSET_BITS + LOW_BITS) & ((1 << HIGH_BITS) - 1)
    return at, width, high_bits, said >> (OFFSET_BITS + LOW_BITS + HIGH_BITS)


@called
def ask_for_block(row: np.ndarray, block: int, cold: bool) -> None:
    """Request the words of a block."""
    psi, blocks = psi_of(row), blocks_of(row)
    last = (row[N] - 1) >> row[BLOCK_SHIFT]
    at = np.int64(blocks[block]) & OFFSET_MASK
    end = at + 8
    if block < last:
        end = np.int64(blocks[block + 1]) & OFFSET_MASK
    at = min(at, row[PSI_WORDS] - MOST_WORDS)
    end = min(max(at + 1, end), at + MOST_WORDS)
    if cold:
        ask_for(psi, at, cold)
        ask_for(psi, end - 1, cold)
        return
    # (Of a long block, where a search begins: its high parts, and some of the low ones.)
    for word in range(at, min(end, at + 40), 8):
        ask_for(psi, word, cold)


@inlined
def low_part(psi: np.ndarray, bit: int, width: int) -> int:
    """The number of `width` bits, up to 63, at a bit of the words."""
    word, shift = np.uint64(bit >> 6), np.uint64(bit & 63)
    value = psi[word] >> shift
    if (bit & 63) + width > 64:
        value |= psi[word + np.uint64(1)] << (WORD - shift)
    return np.int64(value & ((np.uint64(1) << np.uint64(width)) - np.uint64(1)))


@inlined
def one_of(psi: np.ndarray, at: int, size: int, number: int) -> int:
    """The place of one number `number`, from 0 on, in `size` words from psi[at] on."""
    word = np.int64(0)
    while word < size - 1:
        count = ones(psi[np.uint64(at + word)])
        if number < count:
            break
        number -= count
        word += 1
    return (word << 6) + nth_one(psi[np.uint64(at + word)], number + 1)


@inlined
def one_before(psi: np.ndarray, at: int, place: int) -> int:
    """The place of the last one before a place in the words from psi[at] on; 0 without one."""
    word = place >> 6
    part = psi[np.uint64(at + word)] & ~(~np.uint64(0) << np.uint64(place & 63))
    while part == np.uint64(0) and word > 0:
        word -= 1
        part = psi[np.uint64(at + word)]
    return max((word << 6) + length(part) - 1, 0)


@inlined
def lowest(word: int) -> int:
    """The place of the lowest one of a word (u64); 64 without one."""
    if word == np.uint64(0):
        return np.int64(64)
    return length(word & (~word + np.uint64(1))) - 1


@called
def entry_at(row: np.ndarray, rank: int) -> int:
    """The entry of a rank."""
    psi, shift = psi_of(row), row[BLOCK_SHIFT]
    block, i = rank >> shift, rank & ((np.int64(1) << shift) - 1)
    at, width, high_bits, _ = described(row, block)
    # The run that the entry is in: its number and its first entry.
    word = psi[np.uint64(at)]
    number, before = np.int64(0), np.int64(0)
    if shift > 6:
        if i >= 64:
            number, before = ones(word), np.int64(64)
            upto = psi[np.uint64(at + 1)] & (~np.uint64(0) >> np.uint64(127 - i))
            if upto == np.uint64(0):
                before, upto = np.int64(0), word
                number = np.int64(0)
        else:
            upto = word & (~np.uint64(0) >> np.uint64(63 - i))
        at += 2
    else:
        upto = word & (~np.uint64(0) >> np.uint64(63 - i))
        at += 1
    number = max(number + ones(upto) - 1, 0)
    first = before + length(upto) - 1
    high = one_of(psi, at, (high_bits + 63) >> 6, number) - number
    low = low_part(psi, (at << 6) + high_bits + number * width, width)
    fences = array_at(row[FENCES], row[NUM_FENCES], np.uint64)
    return np.int64(fences[np.uint64(block)]) + (high << width | low) + i - first


@called
def entries_below(row: np.ndarray, block: int, entry: int) -> int:
    """How many entries of a block are below `entry`, which is above the block's first."""
    psi, shift = psi_of(row), row[BLOCK_SHIFT]
    at, width, high_bits, _ = described(row, block)
    fences = array_at(row[FENCES], row[NUM_FENCES], np.uint64)
    distance = entry - np.int64(fences[np.uint64(block)])
    first_word, second_word = psi[np.uint64(at)], np.uint64(0)
    in_first = ones(first_word)
    runs = in_first
    at += 1
    if shift > 6:
        second_word = psi[np.uint64(at)]
        runs += ones(second_word)
        at += 1
    # The runs whose high part is lower come before zero number `wanted`.
    wanted = distance >> width
    high_words, lows = (high_bits + 63) >> 6, (at << 6) + high_bits
    number, place = np.int64(0), np.int64(0)
    if wanted:
        left, word = wanted, np.int64(0)
        place = high_bits
        while word < high_words:
            zeros = 64 - ones(psi[np.uint64(at + word)])
            if left <= zeros:
                place = (word << 6) + nth_one(~psi[np.uint64(at + word)], left) + 1
                break
            left -= zeros
            word += 1
        # (Behind the last high part there are low ones.)
        place = min(place, high_bits)
        number = place - wanted if place < high_bits else runs
    # Those with the same high part follow, one by one.
    part = distance & ((np.int64(1) << width) - 1)
    high, low = np.int64(-1), np.int64(0)
    while number < runs:
        if psi[np.uint64(at + (place >> 6))] >> np.uint64(place & 63) & np.uint64(1) == 0:
            break
        value = low_part(psi, lows + number * width, width)
        if value >= part:
            break
        high, low = wanted, value
        number += 1
        place += 1
    number = max(min(number, runs), 1)
    if high < 0:
        # None of these: the run before them has the last one before `place`.
        place = one_before(psi, at, place)
        high = place - (number - 1)
        low = low_part(psi, lows + (number - 1) * width, width)
    # Where this run begins, and the next.
    size = np.int64(1) << shift
    if number <= in_first:
        begin = nth_one(first_word, number)
        rest = first_word & (~np.uint64(1) << np.uint64(begin))
        end = lowest(rest)
        if rest == np.uint64(0):
            end = min(size, 64 + lowest(second_word))
    else:
        begin = nth_one(second_word, number - in_first)
        end = min(size, 64 + lowest(second_word & (~np.uint64(1) << np.uint64(begin))))
        begin += 64
    return max(0, min(begin + distance - (high << width | low), end))


@inlined
def token_at_place(row: np.ndarray, place: int) -> int:
    """The id of the unigram at a place."""
    count = row[NUM_UNIGRAMS]
    unigrams = array_at(row[UNIGRAMS], 3 * count, np.uint32)
    return np.int64(unigrams[np.uint64(2 * count + min(max(place, 0), count - 1))])


@inlined
def first_of(row: np.ndarray, place: int) -> int:
    """The first rank of the unigram at a place; n behind the last."""
    if place >= row[NUM_UNIGRAMS]:
        return row[N]
    unigrams = array_at(row[UNIGRAMS], 3 * row[NUM_UNIGRAMS], np.uint32)
    first = np.int64(unigrams[np.uint64(2 * place)])
    first |= np.int64(unigrams[np.uint64(2 * place + 1)]) << 32
    # A damaged file must not lead to ranks outside the segment.
    return min(max(first, 0), row[N])


@inlined
def followed_by(row: np.ndarray, rank: int) -> int:
    """Ψ of a rank, or n + d at the end of document d: in [0, n + D)."""
    value = entry_at(row, rank) & ((np.int64(1) << row[KEY_BITS]) - 1)
    return min(value, row[N] + row[DOCUMENTS] - 1)


@called
def first_token(row: np.ndarray, rank: int) -> int:
    """The first token of the suffix of a rank."""
    fences = array_at(row[FENCES], row[NUM_FENCES], np.uint64)
    block = rank >> row[BLOCK_SHIFT]
    place = np.int64(fences[np.uint64(block)]) >> row[KEY_BITS]
    last = (row[N] - 1) >> row[BLOCK_SHIFT]
    if block == last or np.int64(fences[np.uint64(block + 1)]) >> row[KEY_BITS] != place:
        place = entry_at(row, rank) >> row[KEY_BITS]
    return token_at_place(row, place)


@called
def sample_in(row: np.ndarray, number: int) -> int:
    """Number `number` in samples.bin."""
    width = row[WIDTH]
    samples = array_at(row[SAMPLES], (2 * samples_of(row) + row[DOCUMENTS]) * width, np.uint8)
    value = np.int64(0)
    for i in range(width):
        value |= np.int64(samples[np.uint64(number * width + i)]) << (8 * i)
    return value


@called
def sample_of(row: np.ndarray, rank: int) -> int:
    """The number of the sample of a rank, in the order of ranks; −1 if it has none."""
    psi, shift = psi_of(row), row[BLOCK_SHIFT]
    block, i = rank >> shift, rank & ((np.int64(1) << shift) - 1)
    at, width, high_bits, samples = described(row, block)
    if samples <= 0:
        return np.int64(-1)
    runs = ones(psi[np.uint64(at)])
    at += 1
    if shift > 6:
        runs += ones(psi[np.uint64(at)])
        at += 1
    bit = (at << 6) + high_bits + runs * width
    for mark in range(int(min(samples, 128))):
        if low_part(psi, bit + 8 * mark, 8) == i:
            node = block >> NODE_SHIFT
            number = ((row[N] - 1) >> shift) + 1
            found = np.int64(blocks_of(row)[np.uint64(number + node)]) + mark
            for other in range(node << NODE_SHIFT, block):
                found += described(row, other)[3]
            return found
    return np.int64(-1)


@inlined
def last_of(row: np.ndarray, document: int) -> int:
    """The position of a document's last token, or of its separator if it is empty."""
    if document + 1 >= row[DOCUMENTS]:
        return row[N] - 1
    offsets = array_at(row[OFFSETS], row[DOCUMENTS], np.uint64)
    return np.int64(offsets[np.uint64(document + 1)]) - 1


@called
def located(row: np.ndarray, rank: int) -> int:
    """The position of a rank: from the next sample, or the document's end. In [0, n)."""
    every, n = row[SAMPLE_EVERY], row[N]
    position = np.int64(0)
    for step in range(every + 1):
        number = sample_of(row, rank)
        if number >= 0:
            position = sample_in(row, min(number, samples_of(row) - 1)) * every - step
            break
        rank = followed_by(row, rank)
        if rank >= n:
            position = last_of(row, rank - n) - step
            break
    return min(max(position, 0), n - 1)


@called
def followed_by_token(row: np.ndarray, rank: int, offset: int) -> int:
    """The token `offset` after the start of the suffix of a rank; the separator past its end."""
    n = row[N]
    for _ in range(offset):
        rank = followed_by(row, rank)
        if rank >= n:
            return token_at_place(row, row[NUM_UNIGRAMS] - 1)
    return first_token(row, rank)


@called
def read_after(row: np.ndarray, points: np.ndarray, count: int, offset: int, cold: bool) -> None:
    """If points[i, 1] is −1, set it to the token `offset` after the suffix of rank points[i, 0].

    As `following.read_tokens`; READS of them advance together, a token at a time.
    """
    n, separator = row[N], token_at_place(row, row[NUM_UNIGRAMS] - 1)
    shift = row[BLOCK_SHIFT]
    fences = array_at(row[FENCES], row[NUM_FENCES], np.uint64)
    memory = words(2, READS)
    ranks, of = memory[0], memory[1]
    begin = 0
    while begin < count:
        left = 0
        while begin < count and left < READS:
            if points[begin, 1] < 0:
                ranks[left], of[left] = points[begin, 0], begin
                left += 1
            begin += 1
        for _ in range(offset):
            for i in range(left):
                ask_for(blocks_of(row), ranks[i] >> shift, cold)
                ask_for(fences, ranks[i] >> shift, cold)
            for i in range(left):
                ask_for_block(row, ranks[i] >> shift, cold)
            kept = 0
            for i in range(left):
                rank = followed_by(row, ranks[i])
                if rank < n:
                    ranks[kept], of[kept] = rank, of[i]
                    kept += 1
                else:
                    points[of[i], 1] = separator
            left = kept
        for i in range(left):
            ask_for(fences, ranks[i] >> shift, cold)
        for i in range(left):
            points[of[i], 1] = first_token(row, ranks[i])
