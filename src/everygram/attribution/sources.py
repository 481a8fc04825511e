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
    drawn_of = drawn(engine, spans.intervals, spans.counts, document_counts, wanted, seed)
    lengths = (spans.ends - spans.starts).tolist()
    for span, (places, length) in enumerate(zip(drawn_of, lengths, strict=True)):
        shown.append([read.shown(number, begin, begin + length) for number, begin in places])
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
        self._engine, self._reading, self._context = engine, reading, context
        self._longest_first = sorted(context, reverse=True)
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

    def shown(self, number: int, begin: int, end: int) -> _Shown:
        """Tokens [begin, end) of a document."""
        if not self._reading.has_tokenizer:
            return _Shown(number, begin, end, None, None, None, None, None)
        fast = None if number in self._texts else self._spelled_out(number, begin, end)
        if fast is not None:
            return fast
        if number not in self._texts:
            self._texts[number] = DocumentText(self._reading, self.document(number)[0])
        text = self._texts[number]
        around = self._around(number, begin, end)
        return _Shown(number, begin, end, *text.chars(begin, end), *text.bytes(begin, end), around)

    def _spelled_out(self, number: int, begin: int, end: int) -> _Shown | None:
        """`shown` where the document is UTF-8 up to there, and the match divides no character."""
        spelled = self._spelled
        if spelled is None:
            return None
        ids, _ = self.document(number)
        # From left to right: the ends of the surroundings, of the match, of the surroundings.
        places = np.array(
            [
                *(max(0, begin - each) for each in self._longest_first),
                *(begin, end),
                *(min(ids.shape[0], end + each) for each in reversed(self._longest_first)),
            ],
            np.int64,
        )
        found = np.empty((places.shape[0], 3), np.int64)
        arrays = (spelled.blob, spelled.starts, spelled.characters, spelled.whole, found)
        half = len(self._context)
        if not kernels.placed(ids, places, *arrays) or found[half : half + 2, 2].any():
            return None
        data = np.empty(found[-1, 0] - found[0, 0], np.uint8)
        kernels.spell(ids[places[0] : places[-1]], spelled.blob, spelled.starts, data)
        lost = 0
        if spelled.drops:
            # (Spaces: as many characters as bytes.)
            lost = spelled.lost(ids[: places[-1] + 1].astype(np.int64))
            found[:, :2] = np.maximum(found[:, :2] - lost, 0)
        lost = max(0, lost) if places[0] == 0 else 0
        # (Of characters that are cut at its ends nothing is shown.)
        text = data[lost:].tobytes().decode(errors="ignore")
        rows = found.tolist()
        (first, start, _), (last, stop, _) = rows[half : half + 2]
        origin = rows[0][1]
        made = []
        for each in self._context:
            at = self._longest_first.index(each)
            left, (_, right, cut) = rows[at][1], rows[-1 - at]
            passage = text[left - origin : right - cut - origin]
            made.append(Surroundings(passage, start - left, stop - left))
        long, medium, snippet = made
        return _Shown(number, begin, end, start, stop, first, last, (long, medium, snippet))

    def _around(self, number: int, begin: int, end: int) -> Around:
        """The text of tokens [begin, end) of a document with that on each side, per context."""
        ids, _ = self.document(number)
        made = []
        for each in self._context:
            before, match, after = of_tokens(self._reading, ids, begin, end, each)
            made.append(Surroundings(before + match + after, len(before), len(before + match)))
        long, medium, snippet = made
        return long, medium, snippet
