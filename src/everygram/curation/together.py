"""How often concepts occur together: in one document, or in one window of tokens."""

from collections.abc import Callable

import numpy as np

from everygram.curation.occurrences import Occurring, Spans
from everygram.kernels import pairs as kernels
from everygram.results.frequency import Pairs


def pairs_of(
    concepts: tuple[str, ...],
    found: list[Occurring],
    named: list[tuple[int, int]] | None,
    within: int | None,
    progress: Callable[[int], None],
) -> Pairs:
    """The pairs that are named, each as often as it occurs; or (None) every two that do together.

    within: tokens of a window; None: in documents. Calls `progress(pairs or concepts done)`.
    """
    if named is None:
        every = _every(found, progress)
        if within is not None:
            looked = [_beside(found[a], found[b], within) for a, b in every[:, :2].tolist()]
            every[:, 2:] = np.array(looked, np.int64).reshape(-1, 2)
            every = every[every[:, 2] > 0]
    else:
        every = np.empty((len(named), 4), np.int64)
        for number, (a, b) in enumerate(named):
            counts = (
                _common(found[a], found[b])
                if within is None
                else _beside(found[a], found[b], within)
            )
            every[number] = a, b, *counts
            progress(number + 1)
    return Pairs(concepts, within, *every.T)


def _every(found: list[Occurring], progress: Callable[[int], None]) -> np.ndarray:
    """Every two that occur in one document: int64, shape (k, 4): their places, pairs of
    occurrences, documents."""
    sizes = [each.documents.shape[0] for each in found]
    firsts = np.cumsum([0, *sizes])
    none = np.empty(0, np.int64)
    numbers = np.concatenate([none, *(each.documents for each in found)])
    counts = np.concatenate([none, *(each.counts for each in found)])
    known, documents = np.unique(numbers, return_inverse=True)
    places = np.argsort(documents, kind="stable")
    lists = np.repeat(np.arange(len(found)), sizes)[places]
    lists_from = np.searchsorted(documents[places], np.arange(known.shape[0] + 1))
    made = [np.empty((0, 4), np.int64)]
    for one in range(len(found)):
        shared, products = np.zeros(len(found), np.int64), np.zeros(len(found), np.int64)
        given = firsts, documents, counts, lists_from, lists, places
        kernels.common_with(one, *given, shared, products)
        others = np.flatnonzero(shared)
        ones = np.full_like(others, one)
        made.append(np.column_stack([ones, others, products[others], shared[others]]))
        progress(one + 1)
    return np.concatenate(made)


def _common(a: Occurring, b: Occurring) -> tuple[int, int]:
    """Pairs of occurrences in one document, and documents that have any."""
    both, in_a, in_b = np.intersect1d(a.documents, b.documents, True, return_indices=True)
    return int((a.counts[in_a] * b.counts[in_b]).sum()), both.shape[0]


def _beside(a: Occurring, b: Occurring, within: int) -> tuple[int, int]:
    """Pairs of occurrences that a window has both of, and documents that have any."""
    assert a.spans is not None and b.spans is not None
    one, other = _short(a.spans, within), _short(b.spans, within)
    # (Both begins and ends ascend: of those that begin late enough some end early enough.)
    first = np.searchsorted(other.begins, one.ends - within)
    last = np.searchsorted(other.ends, one.begins + within, "right")
    counts = np.maximum(last - first, 0)
    return int(counts.sum()), np.unique(one.documents[counts > 0]).shape[0]


def _short(spans: Spans, within: int) -> Spans:
    """Those that fit into a window."""
    fit = spans.ends - spans.begins <= within
    return Spans(spans.documents[fit], spans.begins[fit], spans.ends[fit])
