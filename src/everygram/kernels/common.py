"""N-grams of one collection of sequences that stand in another, in time linear in both.

Sequences stand one after another in `units` (uint32). Of the one collection the n-grams are put
into a table by a hash of their units; over the other that hash rolls. What the table has for a hash
is compared unit by unit: the answer is exact.
"""

import numpy as np

from everygram.kernels import inlined, kernel

# The odd factor of the polynomial hash, and of what spreads its bits.
BASE, SPREAD = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
# Bits of the filter that is asked before the table, for each of its slots.
FILTER = 8


@inlined
def mixed(value: np.uint64) -> np.uint64:
    """A number of which every bit depends on many of the value's."""
    value = (value ^ (value >> np.uint64(32))) * SPREAD
    return value ^ (value >> np.uint64(29))


@inlined
def same(a: np.ndarray, i: int, b: np.ndarray, k: int, n: int) -> bool:
    """Whether a[i:i + n] and b[k:k + n] are the same."""
    step = 0
    while step < n and a[i + step] == b[k + step]:
        step += 1
    return step == n


@kernel
def put(units: np.ndarray, starts: np.ndarray, n: int, slots: np.ndarray, bits: np.ndarray) -> int:
    """Put the n-grams at `starts` (int64) into a table, each once; returns how many it then has.

    slots: int64, a power of two of them, at least twice as many as starts, all −1: places in
    `units`. bits: uint64, FILTER bits for each slot, all 0.
    """
    last, most = np.uint64(slots.shape[0] - 1), np.uint64(bits.shape[0] * 64 - 1)
    count = 0
    for start in starts:
        value = np.uint64(0)
        for step in range(n):
            value = value * BASE + np.uint64(units[start + step])
        value = mixed(value)
        bit = (value >> np.uint64(20)) & most
        bits[bit >> np.uint64(6)] |= np.uint64(1) << (bit & np.uint64(63))
        slot = value & last
        while slots[slot] >= 0 and not same(units, slots[slot], units, start, n):
            slot = (slot + np.uint64(1)) & last
        if slots[slot] < 0:
            slots[slot] = start
            count += 1
    return count


@kernel
def cover(
    units: np.ndarray,
    offsets: np.ndarray,
    gap: int,
    table: np.ndarray,
    n: int,
    slots: np.ndarray,
    bits: np.ndarray,
    behind: int,
    covered: np.ndarray,
) -> None:
    """Set `covered` (uint8, as `units`) to 1 where units are in an n-gram that a table has, or up
    to `behind` units behind one.

    offsets: int64, shape (k + 1,): of k sequences, none of whose n-grams reaches into another. None
    has the unit `gap`, either. table: the units that `put` took, with n, `slots` and `bits`.
    """
    last, most = np.uint64(slots.shape[0] - 1), np.uint64(bits.shape[0] * 64 - 1)
    power = np.uint64(1)
    for _ in range(n):
        power *= BASE
    for k in range(offsets.shape[0] - 1):
        run, done = 0, offsets[k]
        value = np.uint64(0)
        for i in range(offsets[k], offsets[k + 1]):
            if np.int64(units[i]) == gap:
                run = 0
                value = np.uint64(0)
                continue
            value = value * BASE + np.uint64(units[i])
            run += 1
            if run > n:
                value -= power * np.uint64(units[i - n])
            if run < n:
                continue
            found = mixed(value)
            bit = (found >> np.uint64(20)) & most
            if not bits[bit >> np.uint64(6)] >> (bit & np.uint64(63)) & np.uint64(1):
                continue
            slot, start = found & last, i + 1 - n
            while slots[slot] >= 0:
                if same(table, slots[slot], units, start, n):
                    upto = min(i + 1 + behind, offsets[k + 1])
                    for place in range(max(start, done), upto):
                        covered[place] = 1
                    done = upto
                    break
                slot = (slot + np.uint64(1)) & last
