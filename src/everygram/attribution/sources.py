"""Which documents spans are in: where, with what around, and how relevant.

In: spans as intervals of the engine. Out: documents as results have them.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from everygram.attribution.drawing import Place, drawn
from everygram.attribution.relevance import level_of, relevance_of
from everygram.attribution.spans import Found
from everygram.encoding import Reading
from everygram.engine.engine import Engine
from everygram.errors import TokenizerError
from everygram.kernels import spans as kernels
from everygram.passages import DocumentText, whole
from everygram.results.attribution import (
    SourceDocument,
    SpanDocument,
    Surroundings,
    UnionSourceDocument,
    UnionSpanDocument,
)
from everygram.tokenizer.base import cut_text
from everygram.tokenizer.vocabulary import TokenBytes

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
    shown: list[list[_Shown]] = []
    # Of each document the spans that it is shown for, and what is around them.
    spans_of: dict[int, list[int]] = {}
    around_of: dict[int, list[str]] = {}
    for span, (intervals, length, count, documents) in enumerate(
        zip(
            spans.intervals,
            (spans.ends - spans.starts).tolist(),
            spans.counts.tolist(),
            document_counts.tolist(),
            strict=True,
        )
    ):
        places = drawn(engine, intervals, count, documents, wanted, seed)
        shown.append([read.shown(place, length) for place in places])
        for each in shown[-1]:
            spans_of.setdefault(each.document, []).append(span)
            if each.around is not None:
                around_of.setdefault(each.document, []).append(each.around[0].text)
    scores: dict[int, float | None] = dict.fromkeys(spans_of)
    if text and around_of:
        # (Two spans of one document may have the same surroundings.)
        passages = [" ".join(dict.fromkeys(texts)) for texts in around_of.values()]
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


@dataclass(frozen=True)
class _Shown:
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
        self._engine, self._reading, self._context = engine, reading, context
        self._documents: dict[int, tuple[np.ndarray, dict[str, Any]]] = {}
        self._texts: dict[int, DocumentText] = {}
        self._spelled: TokenBytes | None = None
        if reading.has_tokenizer:
            with contextlib.suppress(TokenizerError):  # then texts are decoded whole
                self._spelled = reading.token_bytes

    def document(self, number: int) -> tuple[np.ndarray, dict[str, Any]]:
        """A document's ids, shape (len,), and its metadata."""
        if number not in self._documents:
            self._documents[number] = self._engine.document(number)
        return self._documents[number]

    def _bounds(self, number: int, begin: int, end: int) -> tuple[int, int, int, int]:
        """Tokens [begin, end) of a document: the first byte and the byte after the last one, and
        the same in characters."""
        spelled = self._spelled
        if spelled is not None and number not in self._texts:
            ids, _ = self.document(number)
            found = np.zeros(4, np.int64)
            arrays = (spelled.blob, spelled.starts, spelled.characters, spelled.whole, found)
            if kernels.placed(ids, begin, end, *arrays):
                if spelled.drops:
                    # (Spaces: as many characters as bytes.)
                    found -= spelled.lost(ids[: end + 1].astype(np.int64))
                first, last, start, stop = np.maximum(found, 0).tolist()
                return first, last, start, stop
        text = self._text(number)
        return *text.bytes(begin, end), *text.chars(begin, end)

    def _text(self, number: int) -> DocumentText:
        if number not in self._texts:
            self._texts[number] = DocumentText(self._reading, self.document(number)[0])
        return self._texts[number]

    def shown(self, place: Place, length: int) -> _Shown:
        """A span of so many tokens at this place."""
        begin, end = place.begin, place.begin + length
        if not self._reading.has_tokenizer:
            return _Shown(place.document, begin, end, None, None, None, None, None)
        first, last, start, stop = self._bounds(place.document, begin, end)
        around = self._around(place.document, begin, end)
        return _Shown(place.document, begin, end, start, stop, first, last, around)

    def _around(self, number: int, begin: int, end: int) -> Around:
        """The text of tokens [begin, end) of a document with that on each side, per context."""
        ids, _ = self.document(number)
        long = max(self._context)
        first, last = max(0, begin - long), min(ids.shape[0], end + long)
        shown = ids[first:last]
        spelled = self._spelled
        if spelled is None:
            parts = [
                self._reading.cut(
                    ids[max(first, begin - each) : min(last, end + each)],
                    min(each, begin),
                    min(each, begin) + end - begin,
                    begin > each,
                )
                for each in self._context
            ]
        else:
            data = self._reading.spelled(shown, first > 0)
            numbers = shown.astype(np.int64)
            places = np.zeros(shown.shape[0] + 1, np.int64)
            np.cumsum(spelled.starts[numbers + 1] - spelled.starts[numbers], out=places[1:])
            at = np.maximum(places - (places[-1] - len(data)), 0)
            start, stop = int(at[begin - first]), int(at[end - first])
            parts = []
            for each in self._context:
                a = int(at[max(0, begin - each - first)])
                z = int(at[min(last, end + each) - first])
                parts.append(cut_text(data[a:z], start - a, stop - a))
        made = []
        for each, found in zip(self._context, parts, strict=True):
            before, match, after = whole(found, begin > each, end + each < ids.shape[0])
            made.append(Surroundings(before + match + after, len(before), len(before + match)))
        long_one, medium, snippet = made
        return long_one, medium, snippet
