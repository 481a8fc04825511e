"""How much of an attribution a report of limited size shows, and what it says of the rest."""

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from everygram.results.html import CHARS
from everygram.results.report.markup import FIELDS, HEADING, VALUE, many

if TYPE_CHECKING:
    from everygram.results.attribution import (
        AttributedSpan,
        Attribution,
        MergedSpan,
        SourceDocument,
        SpanDocument,
    )

# How a report is made smaller until it fits: the surroundings that each document shows (places in
# `SpanDocument.surroundings`), and how many documents a span shows (None: all).
STEPS = (((1, 0), None), ((1,), None), ((2,), None), ((2,), 5), ((2,), 2), ((2,), 1))
SHORTER = {(1,): "no longer surroundings of matches", (2,): "the shortest surroundings of matches"}
# About how many characters of markup a document or a span has, and a metadata field.
MARKUP, FIELD = 700, 160
# Of a match, this many characters at its begin and at its end are shown.
MATCH = 2000


class Most(NamedTuple):
    """What a report shows at most. text, documents: in characters, of the text and of the
    documents of spans, with their markup. listed: documents in the list of all."""

    text: int
    documents: int
    listed: int


class Excerpt:
    """The part of an attribution that is shown.

    source: the text, or its ids with spaces between them. end: how many of its characters are
    shown. levels: the surroundings that a document shows. per_span: documents of a span, None for
    all. shown: how many of the spans. merged: the merged spans that have any of these. home: for
    each of these spans by its place, the merged span in `merged` and the place in that. listed:
    documents in the list of all.
    """

    def __init__(self, result: "Attribution", most: Most) -> None:
        self.result, self._most = result, most
        self._ids = [str(i) for i in result.token_ids] if result.text is None else []
        self.source = " ".join(self._ids) if result.text is None else result.text
        self.levels, self.per_span, self.shown = self._fitting()
        self.merged: list[MergedSpan] = []
        self.home: dict[int, tuple[int, int]] = {}
        for span in result.merged_spans:
            parts = [place for place in span.spans if place < self.shown]
            self.home |= {place: (len(self.merged), i) for i, place in enumerate(parts)}
            self.merged += [span] if parts else []
        self.end = min(len(self.source), most.text)
        if self.shown < len(result.spans):
            self.end = min(self.end, self.bounds(result.spans[self.shown])[0])
        self.listed = self._listed()

    def bounds(self, span: "AttributedSpan | MergedSpan") -> tuple[int, int]:
        """A span in the source, in characters."""
        if span.start is not None and span.end is not None:
            return span.start, span.end
        return self._places[span.token_start], self._places[span.token_end]

    @cached_property
    def _places(self) -> list[int]:
        """Where each id is in the source, and where one after the last would be."""
        places = [0]
        for each in self._ids:
            places.append(places[-1] + len(each) + 1)
        return places

    def _fitting(self) -> tuple[tuple[int, ...], int | None, int]:
        """levels, per_span, shown."""
        spans, most = self.result.spans, self._most
        beyond = (i for i, span in enumerate(spans) if self.bounds(span)[0] >= most.text)
        limit = next(beyond, len(spans))
        for levels, per_span in STEPS:
            total = fits = 0
            for span in spans[:limit]:
                total += MARKUP + sum(_size(each, levels) for each in span.documents[:per_span])
                if total > most.documents:
                    break
                fits += 1
            if fits == limit:
                break
        return levels, per_span, fits

    def _listed(self) -> "list[SourceDocument]":
        found, total = self.result.documents[: self._most.listed], 0
        for fits, document in enumerate(found):
            total += _described(document)
            if total > self._most.documents / 2:
                return found[:fits]
        return found

    def left_out(self) -> str:
        """A sentence about what is left out, or nothing."""
        result, said = self.result, []
        if self.end < len(self.source):
            said.append(f"the first {self.end:,} of {len(self.source):,} characters")
        if self.shown < len(result.spans):
            said.append(f"the first {self.shown:,} of {many(len(result.spans), 'span')}")
        if self.levels in SHORTER:
            said.append(SHORTER[self.levels])
        if self.per_span is not None:
            said.append(f"at most {many(self.per_span, 'document')} per span")
        if len(self.listed) < len(result.documents):
            said.append(f"a list of the {len(self.listed):,} most relevant documents")
        if not said:
            return ""
        return f"To stay small, this shows {', '.join(said)}. The result as JSON has everything."


def key(document: "SpanDocument | SourceDocument") -> tuple[int, int]:
    """Which document: (place of its index in a union, number)."""
    return getattr(document, "index", 0), document.number


def _size(document: "SpanDocument", levels: tuple[int, ...]) -> int:
    """About how many characters a document of a span takes."""
    size, around, most = _described(document), document.surroundings, 2 * (CHARS + MATCH)
    return size + (sum(min(len(around[level].text), most) for level in levels) if around else 0)


def _described(document: "SpanDocument | SourceDocument") -> int:
    """About how many characters a document takes without its surroundings."""
    pairs = [*document.metadata.items()][:FIELDS]
    return MARKUP + sum(
        FIELD + min(len(name), HEADING) + min(len(str(value)), VALUE) for name, value in pairs
    )
