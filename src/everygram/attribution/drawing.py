"""Documents of a span: all of them, or some that are drawn at random."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from everygram.engine.engine import Engine

# Occurrences that are drawn for each document that is wanted before all are looked at, and how many
# are looked at together.
DRAWS, LOOKED_AT = 16, 1 << 16


@dataclass(frozen=True)
class Place:
    """A span's place in a document, by the number of the document in the engine."""

    document: int
    begin: int


def drawn(
    engine: Engine, intervals: np.ndarray, count: int, documents: int, wanted: int, seed: int
) -> list[Place]:
    """Up to `wanted` different documents of a span, and where it is in each, by document.

    intervals: int64, shape (segments, 2), of its `count` occurrences in so many `documents`. If
    there are no more documents than are wanted, these are all, each with its first occurrence. Else
    occurrences are drawn by `seed`, one by one; of each document the first one counts.
    """
    if not wanted or not count:
        return []
    first: dict[int, int] = {}
    if documents <= wanted:
        for some in _chunks(count):
            found, offsets = _placed(engine, intervals, some)
            for document, offset in zip(*_firsts(found, offsets), strict=True):
                first[document] = min(offset, first.get(document, offset))
        return _places(first)
    rng = random.Random(seed)
    seen: set[int] = set()
    while len(first) < wanted and len(seen) < min(DRAWS * wanted, count // 2):
        numbers = [rng.randrange(count) for _ in range(2 * wanted)]
        fresh = [number for number in dict.fromkeys(numbers) if number not in seen]
        seen.update(fresh)
        order = np.argsort(np.array(fresh, np.int64), kind="stable")
        found, offsets = _placed(engine, intervals, np.array(fresh, np.int64)[order])
        by_draw = np.argsort(order, kind="stable")
        for document, offset in zip(
            found[by_draw].tolist(), offsets[by_draw].tolist(), strict=True
        ):
            if len(first) < wanted:
                first.setdefault(document, offset)
    if len(first) < wanted:
        _draw_rest(engine, intervals, count, wanted, rng, first)
    return _places(first)


def _draw_rest(
    engine: Engine,
    intervals: np.ndarray,
    count: int,
    wanted: int,
    rng: random.Random,
    first: dict[int, int],
) -> None:
    """Go on drawing for documents that are not in `first`, by looking at all occurrences.

    Each gets a random number; the documents with the lowest ones are those that drawing one by one
    would have found, as likely.
    """
    known = np.array(sorted(first), np.int64)
    generator = np.random.default_rng(rng.getrandbits(64))
    keys: np.ndarray = np.empty(0)
    documents, places = np.empty(0, np.int64), np.empty(0, np.int64)
    for numbers in _chunks(count):
        found, offsets = _placed(engine, intervals, numbers)
        new = ~np.isin(found, known)
        random_keys: np.ndarray = generator.random(numbers.shape[0])
        keys = np.concatenate([keys, random_keys[new]])
        documents = np.concatenate([documents, found[new]])
        places = np.concatenate([places, offsets[new]])
        order = np.lexsort((keys, documents))
        lowest = order[np.flatnonzero(np.diff(documents[order], prepend=-1))]
        lowest = lowest[np.argsort(keys[lowest])[: wanted - len(first)]]
        keys, documents, places = keys[lowest], documents[lowest], places[lowest]
    first.update(zip(documents.tolist(), places.tolist(), strict=True))


def _chunks(count: int) -> Iterator[np.ndarray]:
    """The numbers of so many occurrences, some at a time."""
    for start in range(0, count, LOOKED_AT):
        yield np.arange(start, min(count, start + LOOKED_AT))


def _placed(
    engine: Engine, intervals: np.ndarray, numbers: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The documents of occurrences (ascending numbers), and their offsets there."""
    segments, _, positions = engine.locate(intervals, numbers)
    return engine.documents_at(segments, positions)


def _firsts(documents: np.ndarray, offsets: np.ndarray) -> tuple[list[int], list[int]]:
    """Each document once, with its lowest offset."""
    order = np.lexsort((offsets, documents))
    once = order[np.flatnonzero(np.diff(documents[order], prepend=-1))]
    return documents[once].tolist(), offsets[once].tolist()


def _places(first: dict[int, int]) -> list[Place]:
    return [Place(document, first[document]) for document in sorted(first)]
