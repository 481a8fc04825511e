"""Spans beside one another, against every one compared with every other."""

import random

import numpy as np

from everygram.kernels.near import largest


def test_the_largest_of_ranges_that_move_on():
    rng = random.Random(1)
    for size in [0, 1, 2, 5, 30] * 20:
        values = np.array(rng.choices(range(rng.choice([2, 50])), k=size), np.int64)
        number = rng.randint(0, 20)
        bounds = np.sort(np.array(rng.choices(range(size + 1), k=2 * number), np.int64))
        lows, highs = np.sort(rng.sample(bounds[: 2 * number].tolist(), number)), bounds[number:]
        lows = np.minimum(lows, highs).astype(np.int64)
        found = np.empty(number, np.int64)
        largest(values, lows, highs, np.empty_like(values), found)
        for low, high, place in zip(lows.tolist(), highs.tolist(), found.tolist(), strict=True):
            ranked = [(values[i], i) for i in range(low, high)]
            assert place == max(ranked, default=(0, -1))[1]
