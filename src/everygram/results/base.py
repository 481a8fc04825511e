"""What all results share: the query's ids and how they read.

A result carries the query's ids and, where the index has a tokenizer, the tokens they are, so
that an answer always shows what was asked. numpy arrays are inside, `as_dict` gives JSON values.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

INT64, FLOAT64 = np.dtype(np.int64), np.dtype(np.float64)
# token id -> its text, or None where the index has no tokenizer
TokenText = Callable[[int], str] | None


def token_texts(ids: Iterable[int], token_text: TokenText) -> list[str] | None:
    """The tokens of ids as text, or None without a tokenizer."""
    return None if token_text is None else [token_text(int(token_id)) for token_id in ids]


class Reading(NamedTuple):
    """How an index's results are read: the dtype of ids that are bytes, and a token's text."""

    dtype: np.dtype[Any]
    token_text: TokenText

    def ids(self, asked: np.ndarray | bytes) -> np.ndarray:
        """The ids that were asked about, of any dtype."""
        return np.frombuffer(asked, self.dtype) if isinstance(asked, bytes) else asked


@dataclass(init=False, eq=False, repr=False)
class Result:
    """What every result has: the query's ids and how they read.

    (`Prob` and `Distribution` are made without arguments and then filled in, slot by slot: in half
    the time of an `__init__`, which would be a tenth of an ∞-gram query's.)
    """

    __slots__ = ("__weakref__", "_asked", "_reading")

    _reading: Reading
    _asked: np.ndarray | bytes

    @property
    def query(self) -> np.ndarray:
        """The ids the query became: int64, shape (m,)."""
        return self._reading.ids(self._asked).astype(np.int64)

    @property
    def token_ids(self) -> list[int]:
        """The ids the query became."""
        ids: list[int] = self.query.tolist()
        return ids

    @property
    def tokens(self) -> list[str] | None:
        """The tokens the query became, or None when the index has no tokenizer."""
        return token_texts(self.query, self._reading.token_text)

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON values, under the names of its attributes."""
        return {"token_ids": self.token_ids, "tokens": self.tokens}


def divided(counts: np.ndarray, of: np.ndarray) -> np.ndarray:
    """counts / of as float64; nan where that is 0 / 0."""
    with np.errstate(invalid="ignore"):
        quotients: np.ndarray = counts / of
    return quotients
