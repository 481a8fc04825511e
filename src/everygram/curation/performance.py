"""Scores against counts, and counts against those of another corpus: bins, lines, correlations."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np

from everygram.results.frequency import Bin, Comparison, Frequencies, Performance

# Of the bootstrap's samples, what lies between these percentiles.
PERCENTILES = (2.5, 97.5)
# Items of all samples that are held at a time.
HELD = 1 << 22
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
    bounds = [(0, 1), *_edges(int(counts.max()), bins_per_decade)]
    bins = [(each, those) for each in bounds if (those := _inside(counts, *each)).shape[0]]
    some = np.flatnonzero(counts)
    x, y = np.log10(counts[some]), values[some]

    def figures(weights: np.ndarray) -> np.ndarray:
        """Of each sample: float64, shape (4 + bins, samples)."""
        of = weights[:, some]
        means = [_mean(values[those], weights[:, those]) for _, those in bins]
        return np.array([*_line(x, y, of), _pearson(x, y, of), _spearman(x, y, of), *means])

    slope, intercept, pearson, spearman, *means = figures(np.ones((1, values.shape[0])))[:, 0]
    drawn = _resampled(owners, resamples, seed)
    intervals = [_interval(each) for each in np.hstack([figures(each) for each in drawn])]
    made = [
        Bin(low, high, those.shape[0], float(mean), interval or (float(mean), float(mean)))
        for ((low, high), those), mean, interval in zip(bins, means, intervals[4:], strict=True)
    ]
    zero = made.pop(0) if made and not made[0].low else None
    performance = Performance(
        by=by,
        items=values.shape[0],
        concepts=int(owners.max()) + 1,
        resamples=resamples,
        seed=seed,
        zero=zero,
        bins=tuple(made),
        slope=_defined(slope),
        slope_interval=intervals[0],
        intercept=_defined(intercept),
        correlation=_defined(pearson),
        correlation_interval=intervals[2],
        rank_correlation=_defined(spearman),
        rank_correlation_interval=intervals[3],
    )
    return replace(found, performance=performance)


def compared(found: Frequencies, other: Frequencies, name: str) -> Frequencies:
    """With the counts of the same concepts in another corpus."""
    a, b = found.counts, other.counts
    both = np.flatnonzero((a > 0) & (b > 0))
    logs = np.log10(a[both]), np.log10(b[both])
    pearson = _pearson(*logs, np.ones((1, both.shape[0])))[0]
    spearman = _spearman(a.astype(np.float64), b.astype(np.float64), np.ones((1, a.shape[0])))[0]
    made = Comparison(
        name=name,
        concepts=found.concepts,
        num_documents=other.num_documents,
        num_tokens=other.num_tokens,
        counts=b,
        document_counts=other.document_counts,
        both=both.shape[0],
        first_only=int(((a > 0) & (b == 0)).sum()),
        second_only=int(((a == 0) & (b > 0)).sum()),
        neither=int(((a == 0) & (b == 0)).sum()),
        correlation=_defined(pearson),
        rank_correlation=_defined(spearman),
    )
    return replace(found, comparison=made)


def _resampled(owners: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each item is in each sample, some samples at a time: float64, shape (samples,
    items)."""
    size, random = int(owners.max()) + 1, np.random.default_rng(seed)
    chances, most = np.full(size, 1 / size), max(1, HELD // owners.shape[0])
    for begin in range(0, resamples, most):
        drawn = random.multinomial(size, chances, min(most, resamples - begin))
        yield drawn.astype(np.float64)[:, owners]


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


def _inside(counts: np.ndarray, low: int, high: int) -> np.ndarray:
    """The items of counts from `low` up to below `high`: int64."""
    return np.flatnonzero((counts >= low) & (counts < high))


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean of each sample: float64, shape (samples,); nan where there is nothing in it."""
    with np.errstate(invalid="ignore"):
        found: np.ndarray = weights @ values / weights.sum(1)
    return found


def _line(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes and intercepts of lines of least squares: float64, shape (samples,), twice; nan where
    there is no line. weights: shape (samples, items)."""
    (x_scaled, x_range), (y_scaled, y_range) = _scaled(x), _scaled(y)
    with np.errstate(invalid="ignore", divide="ignore"):
        number = weights.sum(1)
        mean_x, mean_y = weights @ x_scaled / number, weights @ y_scaled / number
        spread = _positive(weights @ (x_scaled * x_scaled) / number - mean_x**2)
        slope = (weights @ (x_scaled * y_scaled) / number - mean_x * mean_y) / spread
        slope *= y_range / x_range
        intercept = (weights @ y - slope * (weights @ x)) / number
    return slope, intercept


def _pearson(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Correlations of weighted items: float64, shape (samples,); nan where x or y is constant."""
    (x, _), (y, _) = _scaled(x), _scaled(y)
    with np.errstate(invalid="ignore", divide="ignore"):
        number = weights.sum(1)
        mean_x, mean_y = weights @ x / number, weights @ y / number
        spread_x = _positive(weights @ (x * x) / number - mean_x**2)
        spread_y = _positive(weights @ (y * y) / number - mean_y**2)
        together = weights @ (x * y) / number - mean_x * mean_y
        # (Of rounding, one could be a little more than 1.)
        found: np.ndarray = np.clip(together / np.sqrt(spread_x * spread_y), -1, 1)
    return found


def _scaled(values: np.ndarray) -> tuple[np.ndarray, np.float64]:
    """Values moved and scaled to the range from 0 to 1, so that scores of any size have room for
    their differences, and the range that they had; equal ones are all 0, of range 0."""
    least, most = values.min(initial=np.inf), values.max(initial=-np.inf)
    size = np.float64(most - least)
    return (values - least) / (size or 1.0), size


def _positive(spread: np.ndarray) -> np.ndarray:
    """A spread of values from 0 to 1, nan where it is that of equal values, but for rounding."""
    return np.where(spread > 1e-13, spread, np.nan)


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
    return None if np.isnan(value) else float(value)
