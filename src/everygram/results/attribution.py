"""Where the words of a text come from: spans that the corpus has verbatim, and their documents."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from everygram.results import report
from everygram.results.base import Result, listed


class Surroundings(NamedTuple):
    """A match and the tokens on each side of it, as text.

    start, end: the match in `text`, in characters.
    """

    text: str
    start: int
    end: int

    @property
    def match(self) -> str:
        """The match itself."""
        return self.text[self.start : self.end]


@dataclass(frozen=True)
class SpanDocument:
    """A document that has a span verbatim, and where.

    number: the document's. start, end: the match in the document's text, in characters (None if the
    index has no tokenizer); byte_start, byte_end: in bytes of its UTF-8, exactly, also where tokens
    divide a character, which then is in `start` to `end` as a whole; token_start, token_end: in its
    tokens. length: its tokens. relevance: "high", "medium" or "low", and score: the BM25 of the
    document against the prompt and the text, divided by 0.18 times the text's characters (both None
    if there is no text). surroundings: of the match, from long to short, None without a tokenizer.
    """

    number: int
    start: int | None
    end: int | None
    byte_start: int | None
    byte_end: int | None
    token_start: int
    token_end: int
    length: int
    metadata: dict[str, Any]
    relevance: str | None
    score: float | None
    surroundings: tuple[Surroundings, Surroundings, Surroundings] | None

    @property
    def text(self) -> str | None:
        """The longest surroundings of the match."""
        return None if self.surroundings is None else self.surroundings[0].text

    def as_dict(self) -> dict[str, Any]:
        """As JSON values. `match`: where the match is in `text`; `medium` and `snippet` are
        shorter surroundings."""
        said = listed(self)
        del said["surroundings"]
        if self.surroundings is None:
            return said | {"text": None, "match": None, "medium": None, "snippet": None}
        long, medium, snippet = (
            {"text": each.text, "match": [each.start, each.end]} for each in self.surroundings
        )
        return said | long | {"medium": medium, "snippet": snippet}


@dataclass(frozen=True, kw_only=True)
class UnionSpanDocument(SpanDocument):
    """A document of a union of indexes: `number` in the one at place `index`, `index_name`."""

    index: int
    index_name: str


@dataclass(frozen=True)
class TextSpan:
    """A part of the text.

    start, end: in the text, in characters; byte_start, byte_end: in bytes of its UTF-8;
    token_start, token_end: in its tokens. (Characters and bytes are None if the index has no
    tokenizer.) text: its characters.
    """

    start: int | None
    end: int | None
    byte_start: int | None
    byte_end: int | None
    token_start: int
    token_end: int
    text: str | None

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return listed(self)


@dataclass(frozen=True)
class AttributedSpan(TextSpan):
    """A part of the text that the corpus has verbatim.

    count: how often its tokens occur in the corpus, in document_count documents. unigram_log_prob:
    the sum of its tokens' log-probabilities as unigrams, in nats: the lower, the rarer. documents:
    some of the documents that have it.
    """

    count: int
    document_count: int
    unigram_log_prob: float
    documents: list[SpanDocument]

    @property
    def length(self) -> int:
        """In tokens."""
        return self.token_end - self.token_start

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return super().as_dict() | {"documents": [each.as_dict() for each in self.documents]}


@dataclass(frozen=True)
class MergedSpan(TextSpan):
    """Spans that overlap, as one. spans: their places in `Attribution.spans`."""

    spans: list[int]


@dataclass(frozen=True)
class SourceDocument:
    """A document of any of the spans. spans: their places in `Attribution.spans`, ascending.

    The other fields are those of `SpanDocument`.
    """

    number: int
    length: int
    metadata: dict[str, Any]
    relevance: str | None
    score: float | None
    spans: list[int]

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return listed(self)


@dataclass(frozen=True, kw_only=True)
class UnionSourceDocument(SourceDocument):
    """A document of a union of indexes: `number` in the one at place `index`, `index_name`."""

    index: int
    index_name: str


@dataclass(eq=False, repr=False)
class Attribution(Result):
    """The spans of a text (`query`) that the corpus has verbatim, and documents that have them.

    text: what the text's tokens spell, in which characters and bytes are counted: the text as it
    was given, unless the tokenizer changes texts; None if the index has no tokenizer. spans: those
    that were kept, by place. span_count: how many there were. merged_spans: the spans, those that
    overlap as one, by place. documents: those of all spans, the most relevant first. options: how
    `attribute` was called. index: what the index was (`name`, `version`, `num_documents`,
    `num_tokens`, `tokenizer`).
    """

    text: str | None
    spans: list[AttributedSpan]
    span_count: int
    merged_spans: list[MergedSpan]
    documents: list[SourceDocument]
    options: dict[str, Any]
    index: dict[str, Any]

    def __repr__(self) -> str:
        return (
            f"Attribution({len(self.query):,} tokens: {len(self.spans):,} of {self.span_count:,} "
            f"spans, {len(self.documents):,} documents)"
        )

    def _repr_html_(self) -> str:
        return report.fragment(self)

    def to_html(self) -> str:
        """The result as one HTML file, which loads nothing else: the text with its spans, and
        their documents. Its size is limited: of a large result it says what it leaves out."""
        return report.page(self)

    def __len__(self) -> int:
        """The number of spans that were kept."""
        return len(self.spans)

    def __iter__(self) -> Iterator[AttributedSpan]:
        return iter(self.spans)

    def as_dict(self, *, echo: bool = True) -> dict[str, Any]:
        """The result as JSON values (`echo`: with `token_ids` and `tokens`)."""
        return super().as_dict(echo=echo) | {
            "text": self.text,
            "spans": [each.as_dict() for each in self.spans],
            "span_count": self.span_count,
            "merged_spans": [each.as_dict() for each in self.merged_spans],
            "documents": [each.as_dict() for each in self.documents],
            "options": self.options,
            "index": self.index,
        }
