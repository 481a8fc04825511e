"""The discounts of modified Kneser-Ney smoothing, from how many n-grams have each count.

Counts of counts in, discounts out (Chen & Goodman 1999, equation 26; Heafield et al. 2013). Knows
no files and no text.
"""

import numpy as np

# What lmplz --discount_fallback uses where counts of counts give no discounts.
FALLBACK = (0.5, 1.0, 1.5)


def discounts_of(counts: np.ndarray) -> tuple[float, float, float] | None:
    """The discounts of counts of 1, of 2, and of 3 or more; None if there are none.

    counts: int64, shape (4,): the numbers of n-grams of one length with counts 1 to 4.
    """
    n: list[int] = counts.tolist()
    if min(n[:3]) <= 0 or n[3] < 0:  # (in a damaged file)
        return None
    # Y = n₁ / (n₁ + 2 n₂), Dⱼ = j − (j + 1) Y nⱼ₊₁ / nⱼ, in integers: no rounding decides whether a
    # discount is below 0.
    found = []
    for j in (1, 2, 3):
        below = (n[0] + 2 * n[1]) * n[j - 1]
        above = j * below - (j + 1) * n[0] * n[j]
        if above < 0:
            return None
        found.append(above / below)
    return found[0], found[1], found[2]


def table_of(
    levels: np.ndarray, order: int | None, fallback: tuple[float, float, float] | None
) -> np.ndarray:
    """The discounts of every length: float64, shape (k + 1, 4), row k of n-grams of k tokens.

    Columns 1 to 3 have the discounts. The last row is that of all longer n-grams; k is the order at
    most.

    levels: int64, shape (2, 4, M): of n-grams of 1 to M tokens, how many have counts 1 to 4, and
    how many occur so often. With an order, its own n-grams are counted as they occur, and a length
    without discounts gets the fallback (default: FALLBACK); without, it gets those of the length
    before (FALLBACK if there are none).
    """
    # No n-gram occurs twice beyond the last level: all have the same discounts there.
    lengths = levels.shape[2] + 1
    if order is not None:
        lengths = min(lengths, order)
    table = np.zeros((lengths + 1, 4))
    before = fallback or FALLBACK
    for length in range(1, lengths + 1):
        of = 1 if length == order else 0
        known = length <= levels.shape[2]
        found = discounts_of(levels[of, :, length - 1]) if known else None
        if found is None:
            found = before
        elif order is None and fallback is None:
            before = found
        table[length, 1:] = found
    return table


def logs_of(table: np.ndarray) -> np.ndarray:
    """The sums of ln D₁ of the rows up to each, without those that are 0, and how many these are.

    float64, shape (k + 1, 2).
    """
    first = table[1:, 1]
    logs = np.zeros((table.shape[0], 2))
    logs[1:, 0] = np.cumsum(np.log(np.where(first > 0, first, 1.0)))
    logs[1:, 1] = np.cumsum(first <= 0)
    return logs
