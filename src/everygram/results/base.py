"""What all results share: the query's ids and tokens, equality and pickling.

A result contains the query's ids and, if the index has a tokenizer, their tokens, so that an answer
always shows what was asked. Attributes may be numpy arrays; `as_dict` gives JSON values under the
attributes' names.
"""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, TypeVar, overload

import numpy as np

from everygram.arguments import flag
from everygram.errors import QueryError, TokenizerError

INT64, FLOAT64 = np.dtype(np.int64), np.dtype(np.float64)
R = TypeVar("R")


class Reading(Protocol):
    """How ids of an index are read as text. Can be pickled; equal if from the same index."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of ids that are given as bytes."""

    @property
    def has_tokenizer(self) -> bool:
        """Whether ids can be read as text."""

    @property
    def missing_segments(self) -> tuple[str, ...]:
        """The names of the index's segments that could not be reached."""

    def token_text(self, token_id: int) -> str:
        """One token for display. Raises TokenizerError if there is no tokenizer."""

    def token_texts(self, ids: Iterable[int]) -> list[str]:
        """Tokens for display. Raises TokenizerError if there is no tokenizer."""

    def decode(self, ids: np.ndarray, inside: bool = False) -> str:
        """The text of ids. `inside`: the ids are from inside a text, not from its start.

        Raises TokenizerError if there is no tokenizer.
        """

    def cut(
        self, ids: np.ndarray, begin: int, end: int, inside: bool = False
    ) -> tuple[str, str, str]:
        """The text of ids in three parts: before ids[begin:end], of ids[begin:end], and after."""

    def cut_bytes(
        self, ids: np.ndarray, begin: int, end: int, inside: bool = False
    ) -> tuple[str, str, str]:
        """As `cut`, at bytes of what the ids spell."""


def ids_of(reading: Reading, asked: np.ndarray | bytes) -> np.ndarray:
    """The ids of a query: int64, shape (m,)."""
    ids = np.frombuffer(asked, reading.dtype) if isinstance(asked, bytes) else asked
    return ids.astype(np.int64)


def token_texts(ids: Iterable[int], reading: Reading) -> list[str] | None:
    """The tokens of ids as text; None without a tokenizer."""
    return reading.token_texts(ids) if reading.has_tokenizer else None


def lacking(reading: Reading) -> dict[str, Any]:
    """What JSON says of the segments that an answer lacks: nothing, if it lacks none."""
    return {"missing_segments": [*reading.missing_segments]} if reading.missing_segments else {}


def labels(ids: Iterable[int], reading: Reading) -> list[str | int]:
    """Tokens for display: their texts, or the ids themselves if there is no text."""
    known = [int(i) for i in ids]
    try:
        texts = token_texts(known, reading)
    except TokenizerError:
        texts = None
    # (For an empty text the id is shown.)
    return [*known] if texts is None else [a or b for a, b in zip(texts, known, strict=True)]


def listed(value: Any) -> dict[str, Any]:
    """The fields of a dataclass as JSON values: a tuple as a list."""
    fields = vars(value).items()
    return {name: list(each) if isinstance(each, tuple) else each for name, each in fields}


def divided(counts: np.ndarray, of: np.ndarray) -> np.ndarray:
    """counts / of as float64; nan for 0 / 0."""
    with np.errstate(invalid="ignore"):
        quotients: np.ndarray = counts / of
    return quotients


# Fields that say how ids are stored and read; equality compares the ids instead.
_HELD = ("_reading", "_asked", "_ids", "_starts", "_ends")


class Value:
    """A dataclass with equality by content, pickled as its fields.

    Two values are equal if they have the same type, ids and numbers (nan equals nan), even if they
    come from different indexes.
    """

    # (Not hashable: Python removes `__hash__` from a class with `__eq__`, and arrays are inside.)
    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(map(_same, self._said(), other._said()))

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        # Rebuilt by the constructor, so that cached values are not pickled.
        return type(self), tuple(getattr(self, each.name) for each in fields(self))  # type: ignore[arg-type]

    def _said(self) -> list[Any]:
        """The ids and numbers that equality compares."""
        names = [each.name for each in fields(self)]  # type: ignore[arg-type]
        return [getattr(self, name) for name in names if name not in _HELD]


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    return bool(a == b or (a != a and b != b))


@dataclass(eq=False, repr=False)
class Result(Value):
    """What every result has: the query's ids, and how ids are read as text.

    (`_asked` is bytes in the dtype of `_reading`, or an array of any integer dtype.)
    """

    _reading: Reading
    _asked: np.ndarray | bytes

    @property
    def query(self) -> np.ndarray:
        """The query's ids: int64, shape (m,)."""
        return ids_of(self._reading, self._asked)

    @property
    def token_ids(self) -> list[int]:
        """The query's ids."""
        ids: list[int] = self.query.tolist()
        return ids

    @property
    def tokens(self) -> list[str] | None:
        """The query's tokens, or None if the index has no tokenizer."""
        return token_texts(self.query, self._reading)

    @property
    def missing_segments(self) -> tuple[str, ...]:
        """The names of segments that it lacks: of an index that is open with `partial` alone."""
        return self._reading.missing_segments

    def as_dict(self, *, echo: bool = True) -> dict[str, Any]:
        """The result as JSON values, under the names of its attributes; `missing_segments` if it
        lacks any.

        echo: whether with `token_ids` and `tokens` of the query.
        """
        made = lacking(self._reading)
        if flag("echo", echo, QueryError):
            made |= {"token_ids": self.token_ids, "tokens": self.tokens}
        return made

    def _said(self) -> list[Any]:
        return [ids_of(self._reading, self._asked), *super()._said()]


@dataclass(eq=False)
class Batch(Value, Sequence[R]):
    """The results of a batch of queries: a sequence of results, which stores numbers as arrays.

    Query i is _ids[_starts[i]:_ends[i]].
    """

    _reading: Reading = field(repr=False)
    _ids: np.ndarray = field(repr=False)
    _starts: np.ndarray = field(repr=False)
    _ends: np.ndarray = field(repr=False)

    @property
    def missing_segments(self) -> tuple[str, ...]:
        """As of each result."""
        return self._reading.missing_segments

    @abstractmethod
    def _result(self, i: int, asked: np.ndarray) -> R:
        """Result i; `asked`: the ids of its query."""

    def __len__(self) -> int:
        """The number of queries."""
        return int(self._starts.shape[0])

    @overload
    def __getitem__(self, i: int) -> R: ...
    @overload
    def __getitem__(self, i: slice) -> list[R]: ...
    def __getitem__(self, i: int | slice) -> R | list[R]:
        if isinstance(i, slice):
            return [self[place] for place in range(*i.indices(len(self)))]
        i = range(len(self))[i]
        return self._result(i, self._ids[self._starts[i] : self._ends[i]])

    def _said(self) -> list[Any]:
        bounds = zip(self._starts, self._ends, strict=True)
        # (Plus an empty array: a batch may have no queries.)
        queries = [self._ids[:0], *(self._ids[start:end] for start, end in bounds)]
        return [self._ends - self._starts, np.concatenate(queries), *super()._said()]
