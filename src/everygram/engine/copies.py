"""Which documents of an engine are copies of given ones: the same tokens, all of them."""

from collections.abc import Sequence

import numpy as np

from everygram.engine.engine import Engine
from everygram.storage.segment import Segment

# Tokens of documents that are looked for at a time.
LOOKED_FOR = 1 << 22


def copies_of(engine: Engine, given: Sequence[tuple[Segment, np.ndarray]]) -> list[np.ndarray]:
    """For each given document the number of a copy of it, no copy twice; −1 where none is left.

    given: segments, and the places of documents in each, int64, shape (k,). Returns int64, shape
    (k,), for each. Copies with the lowest numbers come first. About linear in the given tokens.
    """
    adding = np.flatnonzero([each.entry.sign > 0 for each in engine.segments])
    if not given:
        return []
    none = np.empty((0, adding.shape[0], 2), np.int64)
    intervals = np.concatenate([none, *(_found(engine, adding, *each) for each in given)])
    there = intervals[:, :, 1] > intervals[:, :, 0]
    matched = np.full(intervals.shape[0], -1, np.int64)
    some = np.flatnonzero(there.any(axis=1))
    if some.size:
        # Documents of the same tokens, and only they, have the same interval: of the first segment
        # where there are any.
        first = there[some].argmax(axis=1)
        keys = np.column_stack([first, intervals[some, first, 0]])
        _, example, groups = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        numbers, owners = _copies(engine, adding, intervals[some[example]])
        matched[some] = _dealt(groups.reshape(-1), numbers, owners, example.shape[0])
    return np.split(matched, np.cumsum([local.shape[0] for _, local in given])[:-1])


def _found(engine: Engine, adding: np.ndarray, segment: Segment, local: np.ndarray) -> np.ndarray:
    """Where the engine has the documents: intervals of ranks, int64, shape (k, adding, 2).

    A document is looked for as a whole, from separator to separator.
    """
    bounds = [segment.document_bounds(each) for each in local.tolist()]
    lengths = np.cumsum([0, *(end - start + 2 for start, end in bounds)])
    separator = np.array([segment.separator], segment.token_dtype)
    intervals = np.empty((local.shape[0], adding.shape[0], 2), np.int64)
    begin = 0
    while begin < local.shape[0]:
        end = int(np.searchsorted(lengths, lengths[begin] + LOOKED_FOR, "right")) - 1
        end = max(begin + 1, end)
        pieces = [
            piece
            for start, stop in bounds[begin:end]
            for piece in (separator, segment.text(start, stop), separator)
        ]
        offsets = lengths[begin : end + 1] - lengths[begin]
        queries = engine.vocabulary.split(np.concatenate(pieces), offsets)
        intervals[begin:end] = engine.find_batch(queries)[:, adding]
        begin = end
    return intervals


def _copies(
    engine: Engine, adding: np.ndarray, intervals: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The documents at these intervals that are not deleted: numbers, and rows of the intervals.

    int64 twice; by row, and then by number.
    """
    numbers, owners = [], []
    for place, number in enumerate(adding.tolist()):
        lo, hi = intervals[:, place, 0], intervals[:, place, 1]
        sizes = hi - lo
        rows = np.repeat(np.arange(sizes.shape[0]), sizes)
        ranks = np.arange(rows.shape[0]) + np.repeat(lo - (np.cumsum(sizes) - sizes), sizes)
        documents = engine.documents_of(number, ranks)
        live = ~engine.deleted(documents)
        numbers.append(documents[live])
        owners.append(rows[live])
    every, of = np.concatenate(numbers), np.concatenate(owners)
    order = np.lexsort((every, of))
    return every[order], of[order]


def _dealt(groups: np.ndarray, numbers: np.ndarray, owners: np.ndarray, size: int) -> np.ndarray:
    """The i-th of each group gets the i-th number that the group owns, or −1: int64.

    groups: shape (k,); owners: ascending; both below `size`.
    """
    wanted, owned = (np.bincount(each, minlength=size) for each in (groups, owners))
    order = np.argsort(groups, kind="stable")
    nth = np.arange(groups.shape[0]) - np.repeat(np.cumsum(wanted) - wanted, wanted)
    there = nth < owned[groups[order]]
    places = (np.cumsum(owned) - owned)[groups[order]] + nth
    dealt = np.full(groups.shape[0], -1, np.int64)
    dealt[order[there]] = numbers[places[there]]
    return dealt
