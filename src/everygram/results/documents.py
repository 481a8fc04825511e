"""Where a query occurs, and the documents it occurs in."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from everygram.errors import TokenizerError
from everygram.results import html
from everygram.results.base import Reading, Result, Value, labels, listed

# Characters of a document's metadata that a notebook shows.
METADATA_CHARS = 500
# Fields of an occurrence as a notebook shows them: what people look for first.
COLUMNS = ("document", "offset", "segment", "rank", "position")


@dataclass(frozen=True)
class Occurrence:
    """One place where a query occurs.

    `position` counts tokens in the segment's stream. `offset` counts tokens in the document; it is
    −1 if the query starts with the separator before the document. `parts`, if a context was asked
    for: the text before the match, of it, and after it.
    """

    segment: int
    rank: int
    position: int
    document: int
    offset: int
    parts: tuple[str, str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class UnionOccurrence(Occurrence):
    """One place where a query occurs in a union of indexes.

    `document` is its number in one of them: the one at place `index`, called `index_name`.
    `segment` counts through the segments of all.
    """

    index: int
    index_name: str


@dataclass(eq=False, repr=False)
class Matches(Result):
    """Where a query occurs.

    intervals: int64, shape (segments, 2), half-open ranges of ranks, 0 to 0 for none. count: the
    number of all occurrences. segments, ranks, positions, documents, offsets: of the occurrences
    requested, each int64, shape (k,) (see Occurrence). passages: their `parts`, if a context was
    asked for. In a union of indexes, indexes: int64, shape (k,), whose the documents are, and
    index_names: what all of its indexes are called.
    """

    count: int
    intervals: np.ndarray
    segments: np.ndarray
    ranks: np.ndarray
    positions: np.ndarray
    documents: np.ndarray
    offsets: np.ndarray
    passages: list[tuple[str, str, str]] | None = None
    indexes: np.ndarray | None = None
    index_names: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Matches({self.count:,} occurrences, {len(self):,} listed)"

    def _repr_html_(self) -> str:
        occurrences = self.occurrences[: html.ROWS]
        more = len(self) - len(occurrences)
        columns = COLUMNS if self.indexes is None else ("index_name", *COLUMNS)
        return html.lines(
            html.query(
                labels(self.query, self._reading),
                f"occurrences: {self.count:,}; listed: {len(self):,}",
            ),
            html.table(
                columns,
                ([_cell(getattr(each, name)) for name in columns] for each in occurrences),
            ),
            html.note(f"… and {more:,} more" if more else ""),
        )

    def __len__(self) -> int:
        """The number of occurrences listed here."""
        return int(self.ranks.shape[0])

    def __iter__(self) -> Iterator[Occurrence]:
        return iter(self.occurrences)

    @property
    def occurrences(self) -> list[Occurrence]:
        """The occurrences requested, as a list."""
        columns = (self.segments, self.ranks, self.positions, self.documents, self.offsets)
        passages = [None] * len(self) if self.passages is None else self.passages
        rows = zip(*(column.tolist() for column in columns), passages, strict=True)
        if self.indexes is None:
            return [Occurrence(*row) for row in rows]
        return [
            UnionOccurrence(*row, index=index, index_name=self.index_names[index])
            for row, index in zip(rows, self.indexes.tolist(), strict=True)
        ]

    def as_dict(self, *, echo: bool = True) -> dict[str, Any]:
        """The result as JSON values (`echo`: with `token_ids` and `tokens`)."""
        return super().as_dict(echo=echo) | {
            "count": self.count,
            "intervals": self.intervals.tolist(),
            "occurrences": [listed(occurrence) for occurrence in self.occurrences],
        }


def _cell(value: int | str) -> str:
    return value if isinstance(value, str) else f"{value:,}"


@dataclass(eq=False, repr=False)
class Document(Value):
    """A document, or the part of a document around a match.

    token_ids: shape (k,), tokens of the document from `start` on (0 for a whole document).
    `length`: the number of tokens of the whole document. For a document requested by an occurrence
    of a query: `match` is the half-open range of the match in the document's tokens, `occurrence`
    the number of the occurrence, `count` how often the query occurs in the index. (`_bytes`: of a
    text, where it begins and ends in what `token_ids` spell.) In a union of indexes, `number` is
    that in one of them: at place `index`, called `index_name`.
    """

    _reading: Reading
    number: int
    metadata: dict[str, Any]
    length: int
    start: int
    token_ids: np.ndarray
    match: tuple[int, int] | None
    occurrence: int | None
    count: int | None
    _bytes: tuple[int, int] | None = None
    index: int | None = None
    index_name: str | None = None

    @property
    def text(self) -> str | None:
        """The text of `token_ids`, or None if the index has no tokenizer."""
        if not self._reading.has_tokenizer:
            return None
        return self._reading.decode(self.token_ids, inside=self.start > 0)

    @property
    def parts(self) -> tuple[str, str, str] | None:
        """`text` in three parts: before the match, match, after it; None without match or text.

        If a bound of the match is within a character, the whole character belongs to the match.
        """
        if self.match is None or not self._reading.has_tokenizer:
            return None
        if self._bytes is not None:
            return self._reading.cut_bytes(self.token_ids, *self._bytes, inside=self.start > 0)
        begin, end = (place - self.start for place in self.match)
        return self._reading.cut(self.token_ids, begin, end, inside=self.start > 0)

    def __repr__(self) -> str:
        try:
            text = self.text
        except TokenizerError:
            text = None
        shown = str(self.token_ids) if text is None else text
        whose = "" if self.index is None else f"index={self.index} ({self.index_name!r}), "
        return (
            f"Document({self.number}, {whose}{self.length:,} tokens, metadata={self.metadata!r}, "
            f"{shown[:80]!r}{'…' if len(shown) > 80 else ''})"
        )

    def _repr_html_(self) -> str:
        last = self.start + len(self.token_ids) - 1
        which = f", occurrence {self.occurrence:,} of {self.count:,}" if self.match else ""
        part = f"tokens {self.start:,}–{last:,}" if len(self.token_ids) else "none"
        whose = "" if self.index_name is None else f" of {self.index_name}"
        said = f"document {self.number:,}{whose}, {part} of {self.length:,}{which}"
        metadata = json.dumps(self.metadata, ensure_ascii=False) if self.metadata else ""
        return html.lines(
            html.note(said),
            html.note(metadata[:METADATA_CHARS] + "…" * (len(metadata) > METADATA_CHARS)),
            html.passage(*self._shown_parts()),
        )

    def _shown_parts(self) -> tuple[str, str, str]:
        """As `parts`; if there is no text, of the ids."""
        try:
            parts, text = self.parts, self.text
        except TokenizerError:
            parts = text = None
        if parts is not None:
            return parts
        if text is not None:
            return "", "", text
        begin, end = self.match or (self.start, self.start)
        cuts = (0, begin - self.start, end - self.start, len(self.token_ids))
        before, match, after = (
            " ".join(map(str, self.token_ids[a:b].tolist())) for a, b in itertools.pairwise(cuts)
        )
        return f"{before} ", match, f" {after}"

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON values."""
        parts = self.parts
        whose = {} if self.index is None else {"index": self.index, "index_name": self.index_name}
        return {
            "number": self.number,
            **whose,
            "metadata": self.metadata,
            "length": self.length,
            "start": self.start,
            "token_ids": self.token_ids.tolist(),
            "text": self.text if parts is None else "".join(parts),
            "match": None if self.match is None else list(self.match),
            "parts": None if parts is None else list(parts),
            "occurrence": self.occurrence,
            "count": self.count,
        }
