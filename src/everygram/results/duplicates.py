"""Results of what repeats: ranges of tokens, identical documents, and what was struck."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from everygram.results.base import Value
from everygram.results.tables import Table


@dataclass(eq=False, repr=False)
class Copies(Value, Table):
    """Documents that are identical with another, by number: arrays of int64, shape (k,).

    groups: the same for the same tokens. counts: how many documents have them. In a union
    `indexes`: whose the documents are (places in the list).
    """

    documents: np.ndarray
    groups: np.ndarray
    counts: np.ndarray
    indexes: np.ndarray | None = None

    def __len__(self) -> int:
        return int(self.documents.shape[0])

    def columns(self) -> dict[str, Any]:
        """As of `Duplicates`."""
        whose = {} if self.indexes is None else {"index": self.indexes}
        named = {"document": self.documents, "group": self.groups, "count": self.counts}
        return whose | named

    def rows(self) -> Iterator[dict[str, Any]]:
        """Each as JSON values."""
        return _rows(self.columns())


@dataclass(eq=False, repr=False)
class Duplicates(Value, Table):
    """The ranges of tokens that repeat, by document and place: arrays of int64, shape (r,).

    documents: numbers; in a union those in its indexes, and `indexes` whose they are (places in the
    list). token_starts, token_ends: in tokens of the document. places: int64, shape (r, 4): from
    and to in characters (a character is whole if a part of it is in the range), and in bytes; None
    without a tokenizer. groups: the same number for ranges whose first n-gram (the shortest one of
    the least length) is the same. counts: how often that n-gram occurs.

    num_documents, num_tokens: of all that was looked through. copies: identical documents.
    by: for each value of a field, documents, tokens, ranges, and tokens in ranges.
    """

    min_length: int
    unit: str
    keep_first: bool
    bridge: int
    across: bool
    num_documents: int
    num_tokens: int
    documents: np.ndarray
    token_starts: np.ndarray
    token_ends: np.ndarray
    groups: np.ndarray
    counts: np.ndarray
    places: np.ndarray | None
    copies: Copies
    indexes: np.ndarray | None = None
    by: dict[str, dict[str, int]] | None = None

    def __repr__(self) -> str:
        return f"Duplicates({len(self):,} ranges, {self.num_repeated:,} tokens)"

    def __len__(self) -> int:
        return int(self.documents.shape[0])

    @property
    def num_repeated(self) -> int:
        """Tokens in ranges."""
        return int((self.token_ends - self.token_starts).sum())

    @property
    def by_length(self) -> dict[str, dict[str, int]]:
        """Ranges, and tokens in them, by length in tokens: 2^k up to 2^(k + 1) − 1 each."""
        lengths = self.token_ends - self.token_starts
        classes = np.frexp(lengths)[1] - 1
        found = {}
        for each in np.unique(classes).tolist():
            inside = lengths[classes == each]
            name = f"{1 << each}–{(2 << each) - 1}" if each else "1"
            found[name] = {"ranges": int(inside.size), "tokens": int(inside.sum())}
        return found

    def columns(self) -> dict[str, Any]:
        """Each column of the table by name."""
        found: dict[str, Any] = {} if self.indexes is None else {"index": self.indexes}
        found["document"] = self.documents
        if self.places is not None:
            found |= {"start": self.places[:, 0], "end": self.places[:, 1]}
        found |= {"token_start": self.token_starts, "token_end": self.token_ends}
        if self.places is not None:
            found |= {"byte_start": self.places[:, 2], "byte_end": self.places[:, 3]}
        return found | {"group": self.groups, "count": self.counts}

    def rows(self) -> Iterator[dict[str, Any]]:
        """Each range as JSON values."""
        return _rows(self.columns())

    def as_dict(self) -> dict[str, Any]:
        """What was found in sum, as JSON values: `rows` has the ranges."""
        repeated = np.unique(self.groups).shape[0]
        whose = self.documents if self.indexes is None else self.indexes << 40 | self.documents
        return {
            "min_length": self.min_length,
            "unit": self.unit,
            "keep_first": self.keep_first,
            "bridge": self.bridge,
            "across": self.across,
            "num_documents": self.num_documents,
            "num_tokens": self.num_tokens,
            "ranges": len(self),
            "repeated_documents": int(np.unique(whose).shape[0]),
            "repeated_tokens": self.num_repeated,
            "groups": int(repeated),
            "identical_documents": len(self.copies),
            "identical_groups": int(np.unique(self.copies.groups).shape[0]),
            "by_length": self.by_length,
            "by": self.by,
        }


@dataclass(frozen=True)
class Deduplication:
    """What `deduplicate` wrote, and struck.

    passes: how often was looked for repeats (the last time there were none). documents, tokens: of
    the index. struck_ranges, struck_tokens: of all passes. dropped_documents: left out, for too
    little was left of them. changed_documents: written without a part. num_documents, num_tokens:
    what was written.
    """

    path: Path
    passes: int
    documents: int
    tokens: int
    struck_ranges: int
    struck_tokens: int
    dropped_documents: int
    changed_documents: int
    num_documents: int
    num_tokens: int
    seconds: dict[str, float]
    peak_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return dict(self.__dict__) | {"path": str(self.path)}


def _rows(columns: dict[str, Any]) -> Iterator[dict[str, Any]]:
    lists = [column.tolist() for column in columns.values()]
    return (dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True))
