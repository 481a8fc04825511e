"""How often a text occurs, and where."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from everygram.results.base import Value, listed


class TextCount(int):
    """How often a text occurs: an integer that also knows the `text`."""

    text: str

    @staticmethod
    def of(count: int, text: str) -> "TextCount":
        """The count of that text."""
        self = TextCount(count)
        self.text = text
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return TextCount.of, (int(self), self.text)

    @property
    def count(self) -> int:
        """The plain integer."""
        return int(self)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"text": self.text, "count": self.count}


@dataclass(frozen=True)
class Tokenization:
    """A sequence of tokens that a text is written with.

    The text begins at byte `offset` of the first token and ends inside the last; it occurs `count`
    times like this. tokens: the ids as text, as elsewhere.
    """

    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    offset: int
    count: int

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "token_ids": list(self.token_ids),
            "tokens": list(self.tokens),
            "offset": self.offset,
            "count": self.count,
        }


@dataclass(frozen=True)
class Tokenizations:
    """The sequences of tokens that a text is written with, the most frequent first: an iterable of
    those that are listed.

    count: how often the text occurs. tokenization_count: the number of all sequences.
    """

    text: str
    count: int
    tokenization_count: int
    listed: tuple[Tokenization, ...]

    @property
    def other_count(self) -> int:
        """How often the text occurs in sequences that are not listed."""
        return self.count - sum(each.count for each in self.listed)

    def __len__(self) -> int:
        return len(self.listed)

    def __iter__(self) -> Iterator[Tokenization]:
        return iter(self.listed)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "text": self.text,
            "count": self.count,
            "tokenization_count": self.tokenization_count,
            "tokenizations": [each.as_dict() for each in self.listed],
            "other_count": self.other_count,
        }


@dataclass(frozen=True)
class TextOccurrence:
    """One place at which a text occurs.

    start, end: characters of the document's text; byte_start, byte_end: its UTF-8 bytes. (Bytes of
    a document that are not UTF-8 count as the character they are shown as.) token_start, token_end:
    the tokens that have a part of it. `parts`, if a context was asked for: the text before it, of
    it, and after it.
    """

    document: int
    start: int
    end: int
    byte_start: int
    byte_end: int
    token_start: int
    token_end: int
    parts: tuple[str, str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class UnionTextOccurrence(TextOccurrence):
    """One place at which a text occurs in a union of indexes.

    `document` is its number in one of them: the one at place `index`, called `index_name`.
    """

    index: int
    index_name: str


@dataclass(eq=False, repr=False)
class TextMatches(Value):
    """Where a text occurs: the occurrences that were asked for, as an iterable of a length.

    count, document_count: of all. positions: int64, shape (k, 7), a row per occurrence that is
    listed, in the order of the fields of `TextOccurrence`. passages: their `parts`, if a context
    was asked for. In a union of indexes, indexes: int64, shape (k,), whose the documents are, and
    index_names: what all of its indexes are called.
    """

    text: str
    count: int
    document_count: int
    positions: np.ndarray
    passages: list[tuple[str, str, str]] | None = None
    indexes: np.ndarray | None = None
    index_names: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"TextMatches({self.text!r}: {self.count:,} occurrences, {len(self):,} listed)"

    def __len__(self) -> int:
        return int(self.positions.shape[0])

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[place] for place in range(*i.indices(len(self)))]
        parts = None if self.passages is None else self.passages[i]
        row = [*self.positions[i].tolist(), parts]
        if self.indexes is None:
            return TextOccurrence(*row)
        index = int(self.indexes[i])
        return UnionTextOccurrence(*row, index=index, index_name=self.index_names[index])

    def __iter__(self) -> Iterator[TextOccurrence]:
        return (self[i] for i in range(len(self)))

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "text": self.text,
            "count": self.count,
            "document_count": self.document_count,
            "occurrences": [listed(each) for each in self],
        }
