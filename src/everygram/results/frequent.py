"""The most frequent n-grams of an index."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from everygram.results.base import Reading, token_texts
from everygram.results.tables import Table


@dataclass(frozen=True)
class FrequentNgram:
    """An n-gram, and in how many places and documents it occurs (those of `source`, if any).

    text: None if the index has no tokenizer.
    """

    n: int
    token_ids: tuple[int, ...]
    tokens: tuple[str, ...] | None
    text: str | None
    count: int
    document_count: int
    source: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {**vars(self), "token_ids": list(self.token_ids), "tokens": self._tokens()}

    def _tokens(self) -> list[str] | None:
        return None if self.tokens is None else list(self.tokens)

    @staticmethod
    def of(
        ids: np.ndarray, reading: Reading, count: int, documents: int, source: str | None
    ) -> "FrequentNgram":
        """The n-gram of these ids: token dtype, shape (n,)."""
        listed = ids.tolist()
        tokens = token_texts(listed, reading)
        text = reading.decode(ids, inside=True) if reading.has_tokenizer else None
        read = None if tokens is None else tuple(tokens)
        return FrequentNgram(ids.shape[0], tuple(listed), read, text, count, documents, source)


@dataclass(frozen=True, repr=False)
class FrequentNgrams(Table):
    """The most frequent n-grams: by source, then by n, the most frequent first.

    Among equals the first in the order of token ids comes first. order: "occurrences" or
    "documents", what they are ordered by.
    """

    ngrams: tuple[FrequentNgram, ...]
    order: str
    num_tokens: int
    seconds: dict[str, float] = field(default_factory=dict, compare=False)

    def __repr__(self) -> str:
        return f"FrequentNgrams({len(self):,} n-grams)"

    def __len__(self) -> int:
        return len(self.ngrams)

    def columns(self) -> dict[str, Any]:
        """As `Table.columns`."""
        rows = [each.as_dict() for each in self.ngrams]
        names = ("n", "token_ids", "tokens", "text", "count", "document_count", "source")
        return {name: [row[name] for row in rows] for name in names}

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "order": self.order,
            "num_tokens": self.num_tokens,
            "ngrams": [each.as_dict() for each in self.ngrams],
        }
