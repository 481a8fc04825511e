"""Documents: where an n-gram occurs, and what stands there."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from everygram import arguments
from everygram.arguments import flag, natural
from everygram.encoding import Query, Reading
from everygram.engine.engine import Engine
from everygram.engine.queries import Queries
from everygram.errors import QueryError
from everygram.index.base import OpenIndex, State
from everygram.passages import Parts, bytes_between, of_tokens
from everygram.results.base import labels
from everygram.results.documents import Document, Matches
from everygram.results.strings import TextOccurrence
from everygram.search.pattern import Pattern

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
        context: int | None = None,
        raw: bool = False,
    ) -> Matches:
        """Where the query occurs: its intervals, and some of its occurrences.

        `offset` and `limit` page through all occurrences in a fixed order (by segment and rank);
        without a limit (None) all from `offset` on are listed, each of which takes 40 bytes.
        `sample` instead draws that many different ones, the same for the same `seed`. With a
        `context` each has `parts`: its text, and that of so many tokens on each side.
        """
        choose = choice(offset, limit, sample, seed)
        context = checked_context(context)
        engine, encoding, reading, _, _ = self._state
        asked = encoding.query(query, raw)
        intervals = engine.find_batch(asked)
        # (Where nothing is, kinds of segments have different ranks in between.)
        intervals[intervals[:, :, 0] == intervals[:, :, 1]] = 0
        count = int(engine.counts_of(intervals)[0])
        chosen = choose(count)
        return _matches(engine, reading, asked, intervals[0], count, chosen, context)

    def documents(
        self,
        numbers: Sequence[int],
        *,
        index: int | Sequence[int] | None = None,
        context: int | None = None,
    ) -> list[Document]:
        """`document` of each number: all of it, or its first `context` tokens.

        index: in a union of indexes whose they are: a place for all, or one for each.
        """
        listed = isinstance(numbers, Sequence) and not isinstance(numbers, str | bytes)
        if not listed and getattr(numbers, "ndim", 0) != 1:
            raise QueryError(
                f"documents: expected a list of numbers, found {arguments.short(numbers)}"
            )
        context = checked_context(context)
        engine, _, reading, _, _ = self._state
        whose = _whose(index, len(numbers))
        return [
            _by_number(engine, reading, engine.number_of(number, place), context)
            for number, place in zip(numbers, whose, strict=True)
        ]

    def document(
        self,
        number: int | None = None,
        *,
        index: int | None = None,
        query: Query | None = None,
        text: str | None = None,
        occurrence: int = 0,
        context: int | None = None,
        ignore_case: bool = False,
        whole_words: bool = False,
        raw: bool = False,
    ) -> Document:
        """A document: by its number, or by an occurrence of a query or of a text.

        With a query, `occurrence` counts through what `find` lists in order, with a text, through
        what `find_text` does with these `ignore_case` and `whole_words`; `match` is set, and only
        `context` tokens (default: 50) around the match are fetched. By number, all of the document
        is, or its first `context` tokens; in a union of indexes a number goes with its `index`, the
        place of that in the union.
        """
        if sum(given is not None for given in (number, query, text)) != 1:
            raise QueryError("document: expected a number or a query, or a text, one of them")
        occurrence = natural("occurrence", occurrence, error=QueryError)
        if number is not None and occurrence != 0:
            raise QueryError("occurrence: goes with a query, not with a document's number")
        if number is None and index is not None:
            raise QueryError("index: goes with a document's number, not with a query")
        context = checked_context(context)
        if text is not None:
            pattern = checked_pattern(text, ignore_case, whole_words)
            return _document_of_text(self._state, text, pattern, occurrence, context)
        if flag("ignore_case", ignore_case, QueryError) or flag(
            "whole_words", whole_words, QueryError
        ):
            raise QueryError("ignore_case and whole_words go with a text, found none")
        engine, encoding, reading, _, _ = self._state
        if number is not None:
            return _by_number(engine, reading, engine.number_of(number, index), context)
        assert query is not None
        asked = encoding.query(query, raw)
        intervals = engine.find_batch(asked)
        count = int(engine.counts_of(intervals)[0])
        if not count:
            tokens = labels(asked.ids.tolist(), reading)
            raise QueryError(f"the query does not occur: {arguments.short(tokens)}")
        _check_occurrence(occurrence, count, "query")
        segments, _, positions = engine.locate(intervals[0], np.array([occurrence]))
        (place,), (offset,) = (each.tolist() for each in engine.documents_at(segments, positions))
        ids, metadata = engine.document_found(place)
        length = ids.shape[0]
        # A separator at either end of the query matches beside the document's tokens.
        begin = max(0, offset)
        match = begin, max(begin, min(length, offset + asked.ids.shape[0]))
        around = CONTEXT if context is None else context
        start, end = max(0, match[0] - around), min(length, match[1] + around)
        shown = ids[start:end]
        return _document(
            engine, reading, place, metadata, length, start, shown, match, occurrence, count
        )


def _whose(index: int | Sequence[int] | None, number: int) -> Sequence[int | None]:
    """The index of each of so many documents."""
    if index is None or isinstance(index, int) or arguments.as_integer(index) is not None:
        return [cast(int | None, index)] * number
    listed = isinstance(index, Sequence) and not isinstance(index, str | bytes)
    if not (listed or getattr(index, "ndim", 0) == 1) or len(index) != number:
        raise QueryError(
            f"index: expected the place of an index, or one for each of {number:,} documents, "
            f"found {arguments.short(index)}"
        )
    return index


def _by_number(engine: Engine, reading: Reading, place: int, context: int | None) -> Document:
    """A whole document, or its first `context` tokens."""
    ids, metadata = engine.document(place)
    length, shown = ids.shape[0], ids[:context]
    return _document(engine, reading, place, metadata, length, 0, shown, None, None, None)


def _document(engine: Engine, reading: Reading, place: int, *shown: Any) -> Document:
    """The document of this number in the engine, as a user names it; `shown`: its other fields."""
    numbers, indexes, names = engine.owned(np.array([place]))
    document = Document(reading, int(numbers[0]), *shown)
    if indexes is None:
        return document
    index = int(indexes[0])
    return replace(document, index=index, index_name=names[index])


def _matches(
    engine: Engine,
    reading: Reading,
    asked: Queries,
    intervals: np.ndarray,
    count: int,
    chosen: np.ndarray,
    context: int | None,
) -> Matches:
    """Those of the occurrences in these intervals that are chosen, by number: int64, shape (k,)."""
    segments = ranks = positions = documents = offsets = np.empty(0, np.int64)
    if chosen.shape[0]:
        segments, ranks, positions = engine.locate(intervals, chosen)
        documents, offsets = engine.documents_at(segments, positions)
    passages: list[Parts] | None = None
    if context is not None:
        passages = []
        for document, offset in zip(documents.tolist(), offsets.tolist(), strict=True):
            ids, _ = engine.document_found(document)
            begin = max(0, offset)
            end = max(begin, min(ids.shape[0], offset + asked.ids.shape[0]))
            passages.append(of_tokens(reading, ids, begin, end, context))
    numbers, indexes, names = engine.owned(documents)
    found = count, intervals, segments, ranks, positions, numbers, offsets, passages
    return Matches(reading, asked.ids, *found, indexes, names)


def _document_of_text(
    state: State,
    text: str,
    pattern: tuple[Pattern, bool],
    occurrence: int,
    context: int | None,
) -> Document:
    """The document of an occurrence of a text, or the part of it around the occurrence."""
    engine, _, reading, _, searched = state
    found = searched.occurrences(*pattern)
    count = len(found)
    if not count:
        raise QueryError(f"the text does not occur: {arguments.short(text)}")
    _check_occurrence(occurrence, count, "text")
    chosen = found.rows(slice(occurrence, occurrence + 1))
    place = TextOccurrence(*searched.placed(chosen)[0].tolist())
    ids, metadata = engine.document_found(place.document)
    match, length = (place.token_start, place.token_end), ids.shape[0]
    around = CONTEXT if context is None else context
    start, end = max(0, match[0] - around), min(length, match[1] + around)
    at = bytes_between(reading, ids, start, match[0]) + int(chosen[0, 3])
    bounds = at, at + place.byte_end - place.byte_start
    shown = ids[start:end]
    return _document(
        engine,
        reading,
        place.document,
        metadata,
        length,
        start,
        shown,
        match,
        occurrence,
        count,
        bounds,
    )


def _check_occurrence(occurrence: int, count: int, what: str) -> None:
    """Raise QueryError for an occurrence that is not there."""
    if occurrence >= count:
        times = "once" if count == 1 else f"{count:,} times"
        raise QueryError(
            f"occurrence {arguments.short(occurrence)}: the {what} occurs {times}, numbered "
            f"from 0 to {count - 1}"
        )


def checked_context(context: int | None) -> int | None:
    """The context, checked."""
    return None if context is None else natural("context", context, error=QueryError)


def checked_pattern(text: str, ignore_case: bool, whole_words: bool) -> tuple[Pattern, bool]:
    """What is looked for, checked."""
    ignore_case = flag("ignore_case", ignore_case, QueryError)
    return Pattern(text, ignore_case), flag("whole_words", whole_words, QueryError)


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
