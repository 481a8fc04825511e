"""Documents: where an n-gram occurs, and what stands there."""

import random
from collections.abc import Callable

import numpy as np

from everygram import arguments
from everygram.arguments import natural
from everygram.encoding import Query, Reading
from everygram.engine.engine import Engine
from everygram.engine.queries import Queries
from everygram.errors import QueryError
from everygram.index.base import OpenIndex
from everygram.results.base import labels
from everygram.results.documents import Document, Matches

# Tokens on each side of a match that `document` shows by default.
CONTEXT = 50


class DocumentQueries(OpenIndex):
    """Queries about documents."""

    def find(
        self,
        query: Query,
        *,
        offset: int = 0,
        limit: int | None = 10,
        sample: int | None = None,
        seed: int = 0,
        raw: bool = False,
    ) -> Matches:
        """Where the query occurs: its intervals, and some of its occurrences.

        `offset` and `limit` page through all occurrences in a fixed order (by segment and rank);
        without a limit (None) all from `offset` on are listed, each of which takes 40 bytes.
        `sample` instead draws that many different ones, the same for the same `seed`.
        """
        choose = choice(offset, limit, sample, seed)
        engine, encoding, reading, _, _ = self._state
        asked = encoding.query(query, raw)
        intervals = engine.find_batch(asked)
        count = int(engine.counts_of(intervals)[0])
        chosen = choose(count)
        return _matches(engine, reading, asked, intervals[0], count, chosen)

    def document(
        self,
        number: int | None = None,
        *,
        query: Query | None = None,
        occurrence: int = 0,
        context: int | None = None,
        raw: bool = False,
    ) -> Document:
        """A document: by its number, or by an occurrence of a query.

        With a query, `occurrence` counts through what `find` lists in order, `match` is set, and
        only `context` tokens (default: 50) around the match are fetched. By number, all of
        the document is, or its first `context` tokens.
        """
        if (number is None) == (query is None):
            raise QueryError("document: expected a number or a query, one of the two")
        occurrence = natural("occurrence", occurrence, error=QueryError)
        if query is None and occurrence != 0:
            raise QueryError("occurrence: goes with a query, not with a document's number")
        if context is not None:
            context = natural("context", context, error=QueryError)
        engine, encoding, reading, _, _ = self._state
        if number is not None:
            ids, metadata = engine.document(number)
            shown = ids[:context]
            return Document(
                reading, int(number), metadata, ids.shape[0], 0, shown, None, None, None
            )
        assert query is not None
        asked = encoding.query(query, raw)
        intervals = engine.find_batch(asked)
        count = int(engine.counts_of(intervals)[0])
        if not count:
            tokens = labels(asked.ids.tolist(), reading)
            raise QueryError(f"the query does not occur: {arguments.short(tokens)}")
        if occurrence >= count:
            times = "once" if count == 1 else f"{count:,} times"
            raise QueryError(
                f"occurrence {arguments.short(occurrence)}: the query occurs {times}, numbered "
                f"from 0 to {count - 1}"
            )
        (place,) = _matches(
            engine, reading, asked, intervals[0], count, np.array([occurrence])
        ).occurrences
        ids, metadata = engine.document(place.document)
        length = ids.shape[0]
        # A separator at either end of the query matches beside the document's tokens.
        begin = max(0, place.offset)
        match = begin, max(begin, min(length, place.offset + asked.ids.shape[0]))
        around = CONTEXT if context is None else context
        start, end = max(0, match[0] - around), min(length, match[1] + around)
        shown = ids[start:end]
        return Document(
            reading, place.document, metadata, length, start, shown, match, occurrence, count
        )


def _matches(
    engine: Engine,
    reading: Reading,
    asked: Queries,
    intervals: np.ndarray,
    count: int,
    chosen: np.ndarray,
) -> Matches:
    """Those of the occurrences in these intervals that are chosen, by number: int64, shape (k,)."""
    segments, ranks, positions = engine.locate(intervals, chosen)
    documents, offsets = engine.documents_at(segments, positions)
    found = count, intervals, segments, ranks, positions, documents, offsets
    return Matches(reading, asked.ids, *found)


def choice(
    offset: int, limit: int | None, sample: int | None, seed: int
) -> Callable[[int], np.ndarray]:
    """What chooses among so many occurrences, by number: int64, ascending. Checks the options."""
    offset = natural("offset", offset, error=QueryError)
    limit = None if limit is None else natural("limit", limit, error=QueryError)
    drawn = None if sample is None else natural("sample", sample, error=QueryError)
    seed = arguments.integer("seed", seed, QueryError)

    def choose(count: int) -> np.ndarray:
        if drawn is not None:
            numbers = random.Random(seed).sample(range(count), min(drawn, count))
            return np.array(sorted(numbers), np.int64)
        end = count if limit is None else min(offset + limit, count)
        return np.arange(min(offset, end), end)

    return choose
