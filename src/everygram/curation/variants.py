"""Occurrences and documents of what is spelled in several ways, by the intervals of each."""

import numpy as np

from everygram.engine.engine import Engine

# Ranks whose documents are looked up at a time.
LOOKED_AT = 1 << 20


def counted(
    engine: Engine, owners: np.ndarray, intervals: np.ndarray, number: int
) -> tuple[np.ndarray, np.ndarray]:
    """How often, and in how many documents, any variant of each of `number` things occurs.

    owners: int64, shape (m,), ascending, which each variant is of. intervals: int64, shape (m,
    segments, 2); no occurrence is in two. Returns int64, shape (number,), twice.
    """
    counts, documents = np.zeros(number, np.int64), np.zeros(number, np.int64)
    np.add.at(counts, owners, engine.counts_of(intervals))
    begins = np.searchsorted(owners, np.arange(number + 1))
    sizes = np.diff(begins)
    one = np.flatnonzero(sizes == 1)
    documents[one] = engine.documents_in(intervals[begins[one]])
    # (Two variants may be in one document.)
    for owner in np.flatnonzero(sizes > 1).tolist():
        of = intervals[begins[owner] : begins[owner + 1]]
        documents[owner] = documents_with(engine, of).shape[0]
    return counts, documents


def documents_with(engine: Engine, intervals: np.ndarray) -> np.ndarray:
    """The documents, ascending, in which any of the suffixes in intervals begin: int64.

    intervals: int64, shape (k, segments, 2).
    """
    found: list[np.ndarray] = [np.empty(0, np.int64)]
    for number, segment in enumerate(engine.segments):
        if segment.entry.sign < 0:
            continue
        los, his = np.unique(intervals[:, number], axis=0).T
        ends = np.cumsum(his - los)
        for first in range(0, int(ends[-1]) if ends.size else 0, LOOKED_AT):
            occurrences = np.arange(first, min(first + LOOKED_AT, int(ends[-1])))
            of = np.searchsorted(ends, occurrences, "right")
            ranks = his[of] - (ends[of] - occurrences)
            found.append(np.unique(engine.documents_of(number, ranks)))
    numbers = np.unique(np.concatenate(found))
    live: np.ndarray = numbers[~engine.deleted(numbers)]
    return live
