"""Which documents spans are in: where, with what around, and how relevant.

In: spans as intervals of the engine. Out: documents as results have them.
"""

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from everygram.attribution.drawing import drawn
from everygram.attribution.relevance import level_of, relevance_of
from everygram.attribution.spans import Found
from everygram.encoding import Reading
from everygram.engine.engine import Engine
from everygram.engine.intervals import damaged
from everygram.errors import TokenizerError
from everygram.kernels import spans as kernels
from everygram.passages import DocumentText, of_tokens
from everygram.results.attribution import (
    SourceDocument,
    SpanDocument,
    Surroundings,
    UnionSourceDocument,
    UnionSpanDocument,
)
from everygram.tokenizer.vocabulary import TokenBytes

# No document has more tokens.
LONGEST = 1 << 40
# Of a match: long, medium and short ones.
Around = tuple[Surroundings, Surroundings, Surroundings]


def sources_of(
    engine: Engine,
    reading: Reading,
    spans: Found,
    document_counts: np.ndarray,
    wanted: int,
    context: Sequence[int],
    seed: int,
    text: str | None,
    prompt: str | None,
) -> tuple[list[list[SpanDocument]], list[SourceDocument]]:
    """Up to so many documents of each span, and those of all spans, the most relevant first.

    text, prompt: what relevance is to.
    """
    read = _Documents(engine, reading, context)
    # Of each document the spans that it is shown for, and where.
    spans_of: dict[int, list[int]] = {}
    bounds_of: dict[int, list[tuple[int, int]]] = {}
    drawn_of = drawn(engine, spans.intervals, spans.counts, document_counts, wanted, seed)
    for span, length in enumerate((spans.ends - spans.starts).tolist()):
        for number, begin in drawn_of[span]:
            spans_of.setdefault(number, []).append(span)
            bounds_of.setdefault(number, []).append((begin, begin + length))
    shown: list[list[_Shown]] = [[] for _ in drawn_of]
    around_of: dict[int, list[str]] = {}
    for number, bounds in bounds_of.items():
        parts = read.shown(number, np.array(bounds))
        for span, part in zip(spans_of[number], parts, strict=True):
            shown[span].append(part)
            if part.around is not None:
                around_of.setdefault(number, []).append(part.around[0].text)
    scores: dict[int, float | None] = dict.fromkeys(spans_of)
    if text and around_of:
        # (Two spans of one document may have the same surroundings.)
        passages = (" ".join(dict.fromkeys(texts)) for texts in around_of.values())
        query = text if prompt is None else f"{prompt} {text}"
        found = relevance_of(passages, query, len(text))
        scores.update(zip(around_of, found.tolist(), strict=True))

    def rank(document: int) -> tuple[float, int]:
        score = scores[document]
        return 0.0 if score is None else -score, document

    documents_of = _Named(engine, list(spans_of), scores)
    of_spans = [
        [
            documents_of.span_document(each, *read.document(each.document))
            for each in sorted(own, key=lambda each: rank(each.document))
        ]
        for own in shown
    ]
    of_all = [
        documents_of.source_document(document, *read.document(document), spans_of[document])
        for document in sorted(spans_of, key=rank)
    ]
    return of_spans, of_all


class _Shown(NamedTuple):
    """A span in a document, by its number in the engine: tokens, characters, bytes and text."""

    document: int
    begin: int
    end: int
    start: int | None
    stop: int | None
    first_byte: int | None
    last_byte: int | None
    around: Around | None


class _Named:
    """Documents as users name them."""

    def __init__(
        self, engine: Engine, documents: list[int], scores: dict[int, float | None]
    ) -> None:
        numbers, indexes, names = engine.owned(np.array(documents, np.int64))
        self._numbers = dict(zip(documents, numbers.tolist(), strict=True))
        self._whose: dict[int, dict[str, Any]] = {}
        if indexes is not None:
            self._whose = {
                document: {"index": index, "index_name": names[index]}
                for document, index in zip(documents, indexes.tolist(), strict=True)
            }
        self._scores = scores

    def _said(self, document: int) -> tuple[str | None, float | None]:
        score = self._scores[document]
        return None if score is None else level_of(score), score

    def span_document(
        self, shown: _Shown, ids: np.ndarray, metadata: dict[str, Any]
    ) -> SpanDocument:
        """A document of a span."""
        fields = (
            self._numbers[shown.document],
            shown.start,
            shown.stop,
            shown.first_byte,
            shown.last_byte,
            shown.begin,
            shown.end,
            ids.shape[0],
            metadata,
            *self._said(shown.document),
            shown.around,
        )
        if not self._whose:
            return SpanDocument(*fields)
        return UnionSpanDocument(*fields, **self._whose[shown.document])

    def source_document(
        self, document: int, ids: np.ndarray, metadata: dict[str, Any], spans: list[int]
    ) -> SourceDocument:
        """A document of any of the spans."""
        fields = (
            self._numbers[document],
            ids.shape[0],
            metadata,
            *self._said(document),
            spans,
        )
        if not self._whose:
            return SourceDocument(*fields)
        return UnionSourceDocument(*fields, **self._whose[document])


class _Documents:
    """Documents as one answer reads them, each once."""

    def __init__(self, engine: Engine, reading: Reading, context: Sequence[int]) -> None:
        self._engine, self._reading = engine, reading
        self._context = [min(each, LONGEST) for each in context]
        self._longest_first = sorted(self._context, reverse=True)
        # The place of a match's begin among those of its surroundings.
        self._half = len(context)
        self._documents: dict[int, tuple[np.ndarray, dict[str, Any]]] = {}
        self._texts: dict[int, DocumentText] = {}
        self._losses: dict[int, int] = {}
        self._spelled: TokenBytes | None = None
        if reading.has_tokenizer:
            with contextlib.suppress(TokenizerError):  # then texts are decoded whole
                self._spelled = reading.token_bytes

    def document(self, number: int) -> tuple[np.ndarray, dict[str, Any]]:
        """A document's ids, shape (len,), and its metadata."""
        if number not in self._documents:
            ids, metadata = self._engine.document_found(number)
            self._documents[number] = ids[:], metadata
        return self._documents[number]

    def shown(self, number: int, bounds: np.ndarray) -> list[_Shown]:
        """Parts of a document: tokens [begin, end) for each row of bounds, int64, shape (m, 2)."""
        ids, _ = self.document(number)
        if bounds.min() < 0 or bounds.max() > ids.shape[0]:
            raise damaged(self._engine.path, "a span that reaches beyond its document")
        pairs: list[tuple[int, int]] = list(map(tuple, bounds.tolist()))
        if not self._reading.has_tokenizer:
            return [_Shown(number, a, z, None, None, None, None, None) for a, z in pairs]
        found = self._placed(number, bounds)
        return [
            self._decoded(number, begin, end)
            if rows is None or rows[self._half][2] or rows[self._half + 1][2]
            else self._spelled_out(number, begin, end, rows)
            for (begin, end), rows in zip(pairs, found, strict=True)
        ]

    def _placed(self, number: int, bounds: np.ndarray) -> list[Any]:
        """For each part of a document, bytes, characters and cuts (see `kernels.spans.placed`) at
        the ends of its surroundings and of itself, from left to right. None for all if the document
        up to there is not UTF-8."""
        spelled = self._spelled
        if spelled is None:
            return [None] * bounds.shape[0]
        ids, _ = self.document(number)
        sides = np.array([*self._longest_first, 0])
        left = np.maximum(bounds[:, :1] - sides, 0)
        right = np.minimum(bounds[:, 1:] + sides[::-1], ids.shape[0])
        places = np.concatenate([left, right], 1)
        # One pass through the document for all of them.
        order = np.argsort(places, axis=None, kind="stable")
        found = np.empty((places.size, 3), np.int64)
        arrays = (spelled.blob, spelled.starts, spelled.characters, spelled.whole, found)
        if not kernels.placed(ids, places.ravel()[order], *arrays):
            return [None] * bounds.shape[0]
        by_part = np.empty_like(found)
        by_part[order] = found
        rows: list[Any] = by_part.reshape(*places.shape, 3).tolist()
        return rows

    def _spelled_out(
        self, number: int, begin: int, end: int, rows: Sequence[Sequence[int]]
    ) -> _Shown:
        """A part of a document that divides no character; rows: what `_placed` says of it."""
        spelled, lost = self._spelled, 0
        assert spelled is not None
        ids, _ = self.document(number)
        longest = self._longest_first[0]
        shown = ids[max(0, begin - longest) : end + longest]
        data = np.empty(rows[-1][0] - rows[0][0], np.uint8)
        kernels.spell(shown, spelled.blob, spelled.starts, data)
        if spelled.drops:
            # (Spaces: as many characters as bytes.)
            lost = self._lost(number)
            rows = [(max(0, row[0] - lost), max(0, row[1] - lost), row[2]) for row in rows]
            data = data[max(0, lost) if begin <= longest else 0 :]
        # (Of characters that are cut at its ends nothing is shown.)
        text = data.tobytes().decode(errors="ignore")
        (first, start, _), (last, stop, _) = rows[self._half : self._half + 2]
        origin = rows[0][1]
        made = []
        for each in self._context:
            at = self._longest_first.index(each)
            left, (_, right, cut) = rows[at][1], rows[-1 - at]
            passage = text[left - origin : right - cut - origin]
            made.append(Surroundings(passage, start - left, stop - left))
        long, medium, snippet = made
        return _Shown(number, begin, end, start, stop, first, last, (long, medium, snippet))

    def _lost(self, number: int) -> int:
        """How many bytes the tokens of a document lose at its start."""
        if number not in self._losses:
            assert self._spelled is not None
            ids = self._reading.numbers(self.document(number)[0])
            self._losses[number] = self._spelled.lost(ids)
        return self._losses[number]

    def _decoded(self, number: int, begin: int, end: int) -> _Shown:
        """Any part of a document, which is decoded as a whole once."""
        if number not in self._texts:
            self._texts[number] = DocumentText(self._reading, self.document(number)[0])
        text = self._texts[number]
        around = self._around(number, begin, end)
        return _Shown(number, begin, end, *text.chars(begin, end), *text.bytes(begin, end), around)

    def _around(self, number: int, begin: int, end: int) -> Around:
        """The text of tokens [begin, end) of a document with that on each side, per context."""
        ids, _ = self.document(number)
        made = []
        for each in self._context:
            before, match, after = of_tokens(self._reading, ids, begin, end, each)
            made.append(Surroundings(before + match + after, len(before), len(before + match)))
        long, medium, snippet = made
        return long, medium, snippet
