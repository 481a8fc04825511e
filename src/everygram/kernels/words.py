"""Known words found in a text: a table of them by a hash, whose answers are compared byte by byte.

Words are runs of ASCII letters and digits, compared without case. Runs with other characters are
only told apart.
"""

import numpy as np

from everygram.kernels import inlined, kernel

PRIME, START = np.uint64(0x100000001B3), np.uint64(0xCBF29CE484222325)
# A byte of a character that is not ASCII.
OTHER = 1


@inlined
def spread(value: np.uint64) -> np.uint64:
    """A hash of whose bits the lowest depend on all."""
    return value ^ (value >> np.uint64(32)) ^ (value >> np.uint64(17))


@kernel
def put_words(blob: np.ndarray, starts: np.ndarray, slots: np.ndarray) -> None:
    """Put words, each once, into a table: word i is blob[starts[i]:starts[i + 1]] (uint8).

    slots: int64, a power of two of them, more than words, all −1: numbers of words.
    """
    last = np.uint64(slots.shape[0] - 1)
    for word in range(starts.shape[0] - 1):
        value = START
        for place in range(starts[word], starts[word + 1]):
            value = (value ^ np.uint64(blob[place])) * PRIME
        slot = spread(value) & last
        while slots[slot] >= 0:
            slot = (slot + np.uint64(1)) & last
        slots[slot] = word


@kernel
def find_words(
    text: np.ndarray,
    fold: np.ndarray,
    blob: np.ndarray,
    starts: np.ndarray,
    slots: np.ndarray,
    found: np.ndarray,
    others: np.ndarray,
) -> tuple[int, int]:
    """Set `found` (int64) to the numbers of a text's words in the table, −1 for those not there.

    text: uint8. fold: uint8, shape (256,): what each byte is compared as; 0: it divides words;
    OTHER: it makes its run another. others: int64, shape (k, 3): of each such run its begin and end
    in the text, and how many words are before it. Returns how many words and other runs there are:
    each has a byte and, but for the last, one that divides behind it.
    """
    last = np.uint64(slots.shape[0] - 1)
    count = other = 0
    i, size = 0, text.shape[0]
    while i < size:
        if fold[text[i]] == 0:
            i += 1
            continue
        begin, is_other, value = i, False, START
        while i < size and fold[text[i]] != 0:
            is_other |= fold[text[i]] == OTHER
            value = (value ^ np.uint64(fold[text[i]])) * PRIME
            i += 1
        if is_other:
            others[other, 0], others[other, 1], others[other, 2] = begin, i, count
            other += 1
            continue
        found[count] = -1
        slot = spread(value) & last
        while slots[slot] >= 0:
            word = slots[slot]
            start = starts[word]
            if starts[word + 1] - start == i - begin:
                step = 0
                while step < i - begin and blob[start + step] == fold[text[begin + step]]:
                    step += 1
                if step == i - begin:
                    found[count] = word
                    break
            slot = (slot + np.uint64(1)) & last
        count += 1
    return count, other
