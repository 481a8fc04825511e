"""Scores against counts, and counts against those of another corpus: bins, lines, correlations."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np

from everygram.results.frequency import Bin, Comparison, Frequencies, Performance

# Of the bootstrap's samples, what lies between these percentiles.
PERCENTILES = (2.5, 97.5)
Interval = tuple[float, float]


def performance_of(
    found: Frequencies,
    scores: tuple[np.ndarray, np.ndarray],
    by: str,
    bins_per_decade: int,
    resamples: int,
    seed: int,
) -> Frequencies:
    """With the scores of items beside how often their concepts occur.

    scores: places of the items' concepts in the list, and their scores, shape (m,). What is drawn
    again is concepts, each with all of its items: items of one concept are not independent.
    """
    places, values = scores
    counts = (found.counts if by == "count" else found.document_counts)[places]
    _, owners = np.unique(places, return_inverse=True)
    weights = _resampled(owners, resamples, seed)
    some = np.flatnonzero(counts)
    x, y, of = np.log10(counts[some]), values[some], weights[:, some]
    one = np.ones((1, some.shape[0]))
    slope, intercept = (float(each[0]) for each in _line(x, y, one))
    pearson, spearman = float(_pearson(x, y, one)[0]), float(_spearman(x, y, one)[0])
    made = Performance(
        by,
        values.shape[0],
        int(owners.max()) + 1,
        resamples,
        seed,
        _binned(counts, values, weights, 0, 1),
        tuple(
            each
            for low, high in _edges(int(counts.max()), bins_per_decade)
            if (each := _binned(counts, values, weights, low, high)) is not None
        ),
        _defined(slope),
        _interval(_line(x, y, of)[0]),
        _defined(intercept),
        _defined(pearson),
        _interval(_pearson(x, y, of)),
        _defined(spearman),
        _interval(_spearman(x, y, of)),
    )
    return replace(found, performance=made)


def compared(found: Frequencies, other: Frequencies, name: str) -> Frequencies:
    """With the counts of the same concepts in another corpus."""
    a, b = found.counts, other.counts
    both = np.flatnonzero((a > 0) & (b > 0))
    logs = np.log10(a[both]), np.log10(b[both])
    made = Comparison(
        name,
        found.concepts,
        other.num_documents,
        other.num_tokens,
        b,
        other.document_counts,
        both.shape[0],
        int(((a > 0) & (b == 0)).sum()),
        int(((a == 0) & (b > 0)).sum()),
        int(((a == 0) & (b == 0)).sum()),
        _defined(float(_pearson(*logs, np.ones((1, both.shape[0])))[0])),
        _defined(
            float(
                _spearman(a.astype(np.float64), b.astype(np.float64), np.ones((1, a.shape[0])))[0]
            )
        ),
    )
    return replace(found, comparison=made)


def _resampled(owners: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """How often each item is in each sample: float64, shape (resamples, items)."""
    size = int(owners.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), resamples)
    return drawn.astype(np.float64)[:, owners]


def _edges(most: int, per_decade: int) -> list[tuple[int, int]]:
    """Bounds of bins of counts from 1 to `most`, of equal width in log10."""
    edges = [1]
    step = 0
    while edges[-1] <= most:
        step += 1
        # (Powers of ten are exact.)
        whole, rest = divmod(step, per_decade)
        edge = int(np.ceil(10**whole * 10.0 ** (rest / per_decade))) if rest else 10**whole
        if edge > edges[-1]:
            edges.append(edge)
    return list(pairwise(edges))


def _binned(
    counts: np.ndarray, values: np.ndarray, weights: np.ndarray, low: int, high: int
) -> Bin | None:
    """The items of counts from `low` up to below `high`; None if there are none."""
    those = np.flatnonzero((counts >= low) & (counts < high))
    if not those.shape[0]:
        return None
    of = weights[:, those]
    sums = of.sum(1)
    with np.errstate(invalid="ignore"):
        means = (of @ values[those]) / sums
    mean = float(values[those].mean())
    return Bin(low, high, those.shape[0], mean, _interval(means) or (mean, mean))


def _line(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes and intercepts of lines of least squares: float64, shape (samples,), twice; nan where
    there is no line. weights: shape (samples, items)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        number = weights.sum(1)
        mean_x, mean_y = weights @ x / number, weights @ y / number
        spread = weights @ (x * x) / number - mean_x**2
        slope = (weights @ (x * y) / number - mean_x * mean_y) / _positive(spread, x)
    return slope, mean_y - slope * mean_x


def _pearson(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Correlations of weighted items: float64, shape (samples,); nan where x or y is constant."""
    with np.errstate(invalid="ignore", divide="ignore"):
        number = weights.sum(1)
        mean_x, mean_y = weights @ x / number, weights @ y / number
        spread_x = _positive(weights @ (x * x) / number - mean_x**2, x)
        spread_y = _positive(weights @ (y * y) / number - mean_y**2, y)
        together = weights @ (x * y) / number - mean_x * mean_y
        # (Of rounding, one could be a little more than 1.)
        found: np.ndarray = np.clip(together / np.sqrt(spread_x * spread_y), -1, 1)
    return found


def _positive(spread: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A spread, nan where it is that of equal values, but for rounding."""
    least = 1e-13 * max(1.0, float((values * values).max(initial=0)))
    return np.where(spread > least, spread, np.nan)


def _spearman(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Rank correlations of weighted items; equal values have the mean of their ranks."""
    ranks_of_x, ranks_of_y = _ranker(x), _ranker(y)
    made = np.empty(weights.shape[0])
    for sample, of in enumerate(weights):
        some = of > 0
        made[sample] = _pearson(ranks_of_x(of)[some], ranks_of_y(of)[some], of[None, some])[0]
    return made


def _ranker(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """What gives the ranks of items, from their weights, as shares of all."""
    known, group = np.unique(values, return_inverse=True)

    def ranks(weights: np.ndarray) -> np.ndarray:
        sizes = np.bincount(group, weights, known.shape[0])
        middles: np.ndarray = (np.cumsum(sizes) - sizes / 2) / max(1.0, float(weights.sum()))
        return middles[group]

    return ranks


def _interval(samples: np.ndarray) -> Interval | None:
    """Between which most samples lie; those that are undefined are left out."""
    samples = samples[~np.isnan(samples)]
    if not samples.shape[0]:
        return None
    low, high = np.percentile(samples, PERCENTILES).tolist()
    return low, high


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else value
