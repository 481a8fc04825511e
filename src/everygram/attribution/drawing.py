"""Documents of spans: all of them, or some that are drawn at random."""

import numpy as np

from everygram.engine.engine import Engine
from everygram.kernels import spans as kernels

# Occurrences of a span that are drawn at first for each document wanted, then twice as many,
# at most LOOKED_AT at a time. If all documents are wanted, these are the first ones.
DRAWS, LOOKED_AT = 3, 1 << 12
# A document's number in the engine, and the offset of an occurrence in it.
Place = tuple[int, int]


def drawn(
    engine: Engine,
    intervals: np.ndarray,
    counts: np.ndarray,
    documents: np.ndarray,
    wanted: int,
    seed: int,
) -> list[list[Place]]:
    """Up to `wanted` different documents of each span, and where it is in each, by document.

    intervals: int64, shape (k, segments, 2). counts, documents: int64, shape (k,): how often each
    span occurs, and in how many documents. If there are no more documents than are wanted, these
    are all, each with its first occurrence. Else occurrences are drawn by `seed`, one by one and
    none twice; of each document the one that was drawn first counts.
    """
    if not wanted:
        return [[] for _ in range(counts.shape[0])]
    numbers = np.where(documents <= wanted, LOOKED_AT, min(DRAWS * wanted, LOOKED_AT))
    numbers = np.minimum(counts, numbers)
    bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(numbers)])
    occurrences = np.empty(bounds[-1], np.int64)
    kernels.draw(counts, np.zeros_like(counts), bounds, _key(seed), occurrences)
    spans = np.repeat(np.arange(counts.shape[0]), numbers)
    found, offsets = _placed(engine, intervals, spans, occurrences)
    chosen = []
    for span, (count, own) in enumerate(zip(counts.tolist(), documents.tolist(), strict=True)):
        one, part = intervals[span : span + 1], slice(bounds[span], bounds[span + 1])
        given = (min(own, wanted), own <= wanted, seed, found[part], offsets[part])
        chosen.append(_chosen(engine, one, count, *given))
    return chosen


def _chosen(
    engine: Engine,
    intervals: np.ndarray,
    count: int,
    wanted: int,
    every: bool,
    seed: int,
    documents: np.ndarray,
    offsets: np.ndarray,
) -> list[Place]:
    """`drawn` of one span, whose first occurrences are known. every: all documents are wanted."""
    first: dict[int, int] = {}
    looked_at, more = documents.shape[0], 2 * documents.shape[0]
    while True:
        for document, offset in zip(documents.tolist(), offsets.tolist(), strict=True):
            if document not in first:
                if len(first) < wanted:
                    first[document] = offset
            elif every and offset < first[document]:
                first[document] = offset
        if looked_at == count or (len(first) == wanted and not every):
            return sorted(first.items())
        more = min(more, LOOKED_AT, count - looked_at)
        occurrences, one = np.empty(more, np.int64), np.zeros(1, np.int64)
        bounds = np.array([0, more])
        kernels.draw(one + count, one + looked_at, bounds, _key(seed), occurrences)
        documents, offsets = _placed(engine, intervals, np.zeros(more, np.int64), occurrences)
        looked_at, more = looked_at + more, 2 * more


def _key(seed: int) -> np.uint64:
    return np.uint64(seed & (1 << 64) - 1)


def _placed(
    engine: Engine, intervals: np.ndarray, spans: np.ndarray, occurrences: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The documents of occurrences, by their numbers among those of a span, and their offsets."""
    segments, positions = engine.locate_many(intervals, spans, occurrences)
    return engine.documents_at(segments, positions)
