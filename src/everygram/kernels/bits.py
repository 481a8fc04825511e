"""Ascending numbers as bits: number i is the place of the i-th one. Reads and writes them.

A place is counted from the lowest bit of the first word (u64).
"""

import numpy as np

from everygram.kernels import inlined, kernel, ones


@inlined
def nth_one(word: int, number: int) -> int:
    """The place of a one in a word (u64): of the lowest for number 1, of the next for number 2.

    Precondition: the word has so many.
    """
    left = np.uint64(word)
    place = np.int64(0)
    width = np.int64(32)
    while width:
        low = ones(left & ((np.uint64(1) << np.uint64(width)) - np.uint64(1)))
        # (Without a branch, which would be guessed wrong every second time.)
        above = np.int64(low < number)
        number -= low * above
        left >>= np.uint64(width * above)
        place += width * above
        width >>= 1
    return place


@inlined
def one_after(words: np.ndarray, start: int, number: int, limit: int) -> int:
    """The place of the one that has number − 1 ones between itself and place `start` − 1.

    At most `limit` words are read; −1 if the one is not among them.
    """
    at = start >> 6
    end = min(words.shape[0], at + limit)
    if at >= end or at < 0:
        return -1
    word = np.uint64(words[at]) >> np.uint64(start & 63) << np.uint64(start & 63)
    count = ones(word)
    while count < number:
        number -= count
        at += 1
        if at == end:
            return -1
        word = np.uint64(words[np.uint64(at)])
        count = ones(word)
    return (at << 6) + nth_one(word, number)


@kernel
def set_ones(places: np.ndarray, first: int, words: np.ndarray) -> bool:
    """Set the bits at these places (int64), less `first`, of `words`; they must ascend.

    Returns False for a place that does not ascend or that is not in `words`.
    """
    end = first + 64 * words.shape[0]
    before = first - 1
    for i in range(places.shape[0]):
        place = np.int64(places[i])
        if place <= before or place >= end:
            return False
        before = place
        words[(place - first) >> 6] |= np.uint64(1) << np.uint64((place - first) & 63)
    return True
