"""Sorts strings of bytes that are stretches of one array, and numbers them by their order.

Also moves positions of a stream whose documents have been put in another order.

`data`: u8. `starts`, `ends`: int64, shape (D,): string d is data[starts[d]:ends[d]].
"""

import numpy as np

from everygram.kernels import kernel


@kernel
def first_bytes(data: np.ndarray, start: int, end: int) -> np.uint64:
    """The first 8 bytes of a string as one integer that sorts as they do; zeros after its end."""
    key = np.uint64(0)
    for i in range(8):
        key <<= np.uint64(8)
        if start + i < end:
            key |= np.uint64(data[start + i])
    return key


@kernel
def compare(data: np.ndarray, a: int, a_end: int, b: int, b_end: int) -> int:
    """−1, 0 or 1: whether the string [a, a_end) is before, equal to or after [b, b_end)."""
    length = min(a_end - a, b_end - b)
    for i in range(length):
        if data[a + i] != data[b + i]:
            return -1 if data[a + i] < data[b + i] else 1
    if a_end - a == b_end - b:
        return 0
    return -1 if a_end - a < b_end - b else 1


@kernel
def name_strings(data: np.ndarray, starts: np.ndarray, ends: np.ndarray, names: np.ndarray) -> int:
    """Give each string the number of different strings before it; returns how many there are.

    names: any unsigned dtype, shape (D,). A merge sort: D log D comparisons, of which those that
    the first 8 bytes decide read no string. Memory: 32 bytes per string.
    """
    number = starts.shape[0]
    order, other = np.arange(number), np.empty(number, np.int64)
    keys, other_keys = np.empty(number, np.uint64), np.empty(number, np.uint64)
    for d in range(number):
        keys[d] = first_bytes(data, starts[d], ends[d])
    width = 1
    while width < number:
        for lo in range(0, number, 2 * width):
            mid, hi = min(lo + width, number), min(lo + 2 * width, number)
            left, right = lo, mid
            for out in range(lo, hi):
                take_left = left < mid
                if take_left and right < hi:
                    take_left = keys[left] < keys[right]
                    if keys[left] == keys[right]:
                        a, b = order[left], order[right]
                        take_left = compare(data, starts[a], ends[a], starts[b], ends[b]) <= 0
                if take_left:
                    other[out], other_keys[out] = order[left], keys[left]
                    left += 1
                else:
                    other[out], other_keys[out] = order[right], keys[right]
                    right += 1
        order, other = other, order
        keys, other_keys = other_keys, keys
        width *= 2
    name = 0
    for i in range(number):
        if i > 0:
            a, b = order[i - 1], order[i]
            if keys[i - 1] != keys[i] or compare(data, starts[a], ends[a], starts[b], ends[b]) != 0:
                name += 1
        names[order[i]] = name
    return name + 1 if number else 0


@kernel
def move(
    positions: np.ndarray,
    starts: np.ndarray,
    shifts: np.ndarray,
    guide: np.ndarray,
    guided: int,
    out: np.ndarray,
) -> None:
    """Add to each position the shift of the document that it is in.

    positions, out: int64, shape (k,). starts, shifts: int64, shape (D,), of documents, ascending
    from 0. guide: int64: the document that each 2^guided-th position is in, then D - 1.
    """
    for i in range(positions.shape[0]):
        position = positions[i]
        lo, hi = guide[position >> guided], guide[(position >> guided) + 1]
        while lo < hi:
            mid = (lo + hi + 1) >> 1
            if starts[mid] <= position:
                lo = mid
            else:
                hi = mid - 1
        out[i] = position + shifts[lo]
