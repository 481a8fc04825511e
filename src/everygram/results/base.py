"""What all results share: the query's ids and how they read.

A result carries the query's ids and, where the index has a tokenizer, the tokens they are, so
that an answer always shows what was asked. numpy arrays are inside, `as_dict` gives JSON values.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


class Reading(Protocol):
    """How an index's results read: small, equal if of one index, and it pickles."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of ids that are bytes."""

    @property
    def has_tokenizer(self) -> bool:
        """Whether ids have a text."""

    def token_text(self, token_id: int) -> str:
        """The text of one token."""

    def decode(self, ids: np.ndarray) -> str:
        """The text of ids."""


def token_texts(ids: Iterable[int], reading: Reading) -> list[str] | None:
    """The tokens of ids as text, or None without a tokenizer."""
    return [reading.token_text(int(i)) for i in ids] if reading.has_tokenizer else None


def ids_of(asked: np.ndarray | bytes, reading: Reading) -> np.ndarray:
    """The ids that were asked about, of any dtype."""
    return np.frombuffer(asked, reading.dtype) if isinstance(asked, bytes) else asked


@dataclass(eq=False, repr=False, slots=True, weakref_slot=True)
class Result:
    """What every result has: the query's ids and how they read."""

    _reading: Reading
    _asked: np.ndarray | bytes

    @property
    def query(self) -> np.ndarray:
        """The ids the query became: int64, shape (m,)."""
        return ids_of(self._asked, self._reading).astype(np.int64)

    @property
    def token_ids(self) -> list[int]:
        """The ids the query became."""
        ids: list[int] = self.query.tolist()
        return ids

    @property
    def tokens(self) -> list[str] | None:
        """The tokens the query became, or None when the index has no tokenizer."""
        return token_texts(self.query, self._reading)

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON values, under the names of its attributes."""
        return {"token_ids": self.token_ids, "tokens": self.tokens}


def divided(counts: np.ndarray, of: np.ndarray) -> np.ndarray:
    """counts / of as float64; nan where that is 0 / 0."""
    with np.errstate(invalid="ignore"):
        quotients: np.ndarray = counts / of
    return quotients
