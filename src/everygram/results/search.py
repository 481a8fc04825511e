"""What a search expression matches: documents, and where in them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from everygram.results import html
from everygram.results.base import Value, listed

# Characters of a document's metadata that a notebook shows.
METADATA_CHARS = 200


@dataclass(frozen=True)
class Span:
    """One occurrence of a term in a document.

    start, end: characters of the document's text (None if the index has no tokenizer).
    token_start, token_end: the tokens that have a part of it. term: its number in `Hits.terms`.
    """

    start: int | None
    end: int | None
    token_start: int
    token_end: int
    term: int


@dataclass(frozen=True)
class Hit:
    """A document that matches.

    length: its tokens. occurrence_count: all of its `spans`, or windows. spans: the occurrences
    that take part in the match, by place. windows: from and to in tokens; None where documents are
    the unit. snippet: the text around the first spans, in pieces that "…" divides (None if the
    index has no tokenizer). marks: from and to, in characters of the snippet, of the spans in it.
    score: by which it is ranked: BM25, or None.
    """

    document: int
    metadata: dict[str, Any]
    length: int
    occurrence_count: int
    score: float | None
    spans: list[Span]
    windows: list[tuple[int, int]] | None
    snippet: str | None
    marks: list[tuple[int, int]]

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        windows = None if self.windows is None else [list(window) for window in self.windows]
        return listed(self) | {
            "spans": [listed(span) for span in self.spans],
            "windows": windows,
            "marks": [list(mark) for mark in self.marks],
        }


@dataclass(frozen=True, kw_only=True)
class UnionHit(Hit):
    """A document of a union of indexes that matches.

    `document` is its number in one of them: the one at place `index`, called `index_name`.
    """

    index: int
    index_name: str


@dataclass(frozen=True)
class TermCount:
    """A term of an expression, and how many of its occurrences take part in all matches."""

    term: str
    count: int


@dataclass(eq=False, repr=False)
class Hits(Value):
    """What a search expression matches: an iterable of the hits that were asked for.

    expression: as it was understood. within: "document", or the most tokens of a window. unit:
    what `occurrence_count` counts, "occurrences" of terms in matching documents or "windows".
    document_count, occurrence_count: of all matches, exact if `exact`, else estimates: of documents
    `document_count` is then wrong by at most `error_bound` with a probability of 95 %, of windows
    `occurrence_count`, about so. order: "document", "matches" or "bm25". cursor: where the next
    page starts; None if there is none.
    """

    expression: str
    within: str | int
    unit: str
    document_count: int
    occurrence_count: int
    exact: bool
    error_bound: int
    terms: list[TermCount]
    order: str
    hits: list[Hit]
    cursor: str | None

    def __repr__(self) -> str:
        return (
            f"Hits({self.expression!r}: {self.document_count:,} documents, "
            f"{self.occurrence_count:,} {self.unit}, {len(self):,} listed)"
        )

    def _repr_html_(self) -> str:
        said = f"{self.document_count:,} documents, {self.occurrence_count:,} {self.unit}"
        if not self.exact:
            said += f", estimated, ± {self.error_bound:,}"
        passages = []
        for hit in self.hits:
            metadata = ", ".join(f"{name}: {value}" for name, value in hit.metadata.items())
            whose = f"of {hit.index_name} " if isinstance(hit, UnionHit) else ""
            passages.append(
                html.note(f"document {hit.document:,} {whose}{metadata[:METADATA_CHARS]}")
            )
            if hit.snippet is not None:
                passages.append(html.marked(hit.snippet, hit.marks))
        return html.lines(html.note(f"{self.expression} — {said}; listed: {len(self)}"), *passages)

    def __len__(self) -> int:
        """The number of hits listed here."""
        return len(self.hits)

    def __getitem__(self, i: Any) -> Any:
        return self.hits[i]

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "expression": self.expression,
            "within": self.within,
            "unit": self.unit,
            "document_count": self.document_count,
            "occurrence_count": self.occurrence_count,
            "exact": self.exact,
            "error_bound": self.error_bound,
            "terms": [listed(term) for term in self.terms],
            "order": self.order,
            "hits": [hit.as_dict() for hit in self.hits],
            "cursor": self.cursor,
        }
