"""Counts, probabilities and distributions, of one query or of many."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, overload

import numpy as np

from everygram.errors import QueryError
from everygram.results.base import Reading, Result, divided, ids_of, token_texts


class Count(int):
    """A count: an integer that also knows the `token_ids` and `tokens` it counted.

    `asked` is how those ids are read, and the ids.
    """

    asked: tuple[Reading, np.ndarray | bytes]

    def __new__(cls, count: int, reading: Reading, asked: np.ndarray | bytes) -> "Count":
        self = int.__new__(cls, count)
        self.asked = reading, asked
        return self

    @property
    def count(self) -> int:
        """The plain integer."""
        return int(self)

    @property
    def token_ids(self) -> list[int]:
        """The ids the query became."""
        reading, asked = self.asked
        ids: list[int] = ids_of(asked, reading).tolist()
        return ids

    @property
    def tokens(self) -> list[str] | None:
        """The tokens the query became, or None when the index has no tokenizer."""
        return token_texts(self.token_ids, self.asked[0])

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {"token_ids": self.token_ids, "tokens": self.tokens, "count": self.count}


@dataclass(eq=False, repr=False, slots=True)
class Prob(Result):
    """The probability of one token after a prompt.

    `query` is the prompt. `prob` = continuation_count / prompt_count, `nan` when the prompt does
    not occur. `suffix_len` is the length of the suffix of the prompt that was used: all of it for
    an n-gram, the longest that occurs for ∞-gram.
    """

    # (What was asked are the prompt and the continuation.)
    prompt_count: int
    continuation_count: int
    prob: float
    suffix_len: int

    @property
    def query(self) -> np.ndarray:
        """The ids the prompt became: int64, shape (m,)."""
        return ids_of(self._asked, self._reading)[:-1].astype(np.int64)

    @property
    def continuation_id(self) -> int:
        """The token whose probability this is."""
        return int(ids_of(self._asked, self._reading)[-1])

    @property
    def continuation(self) -> str | None:
        """That token as text, or None when the index has no tokenizer."""
        reading = self._reading
        return reading.token_text(self.continuation_id) if reading.has_tokenizer else None

    def __repr__(self) -> str:
        return (
            f"Prob({self.prob:.6g} = {self.continuation_count:,} / {self.prompt_count:,}, "
            f"continuation={self.continuation or self.continuation_id!r}, "
            f"suffix_len={self.suffix_len})"
        )

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON values; an undefined probability is None."""
        return super().as_dict() | {
            "continuation_id": self.continuation_id,
            "continuation": self.continuation,
            "prompt_count": self.prompt_count,
            "continuation_count": self.continuation_count,
            "prob": self.prob if self.prompt_count else None,
            "suffix_len": self.suffix_len,
        }


@dataclass(frozen=True)
class NextToken:
    """One token of a distribution."""

    token_id: int
    token: str | None
    count: int
    prob: float


@dataclass(eq=False, repr=False, slots=True)
class Distribution(Result):
    """The next-token distribution of a prompt (`query`).

    next_ids: int64, shape (k,), ascending: the tokens that follow, the separator for the end of
    a document; counts: int64, shape (k,), which sum to `prompt_count`. Empty when the prompt does
    not occur. `suffix_len` as in `Prob`. Exact unless `max_support` was given and less than
    `prompt_count`: then a count is off by `error_bound` at most, and tokens that are left out
    follow that often at most. The arrays are read-only.
    """

    prompt_count: int
    # int64, shape (3, k): ids, counts, and the bits of probabilities (float64).
    _table: np.ndarray
    suffix_len: int
    error_bound: int

    @property
    def next_ids(self) -> np.ndarray:
        """The tokens that follow: int64, shape (k,)."""
        return _read_only(self._table[0])

    @property
    def counts(self) -> np.ndarray:
        """How often each follows: int64, shape (k,)."""
        return _read_only(self._table[1])

    @property
    def exact(self) -> bool:
        """Whether every count is exact and no token is left out."""
        return self.error_bound == 0

    @property
    def probs(self) -> np.ndarray:
        """float64, shape (k,); sums to 1."""
        return _read_only(self._table[2].view(np.float64))

    @property
    def sparse(self) -> bool:
        """Whether only one token ever follows."""
        return len(self) == 1

    @property
    def next_tokens(self) -> list[str] | None:
        """The tokens of `next_ids` as text, or None when the index has no tokenizer."""
        return token_texts(self.next_ids, self._reading)

    def top(self, k: int | None = 10) -> list[NextToken]:
        """The k most frequent tokens (all with None), ties by id. Raises QueryError for k < 0."""
        if k is not None and (not isinstance(k, int) or k < 0):
            raise QueryError(f"top: expected 0 or more, found {k!r}")
        counts, chosen = self.counts, np.arange(len(self))
        if k is not None and k < len(self):
            # The k-th greatest count parts those that are in from those that are not.
            least = -np.partition(-counts, k - 1)[k - 1] if k else self.prompt_count + 1
            chosen = np.flatnonzero(counts >= least)
        order = chosen[np.argsort(-counts[chosen], kind="stable")][:k]
        token_text = self._reading.token_text if self._reading.has_tokenizer else None
        columns = (column[order].tolist() for column in (self.next_ids, counts, self.probs))
        return [
            NextToken(token_id, None if token_text is None else token_text(token_id), count, prob)
            for token_id, count, prob in zip(*columns, strict=True)
        ]

    def __len__(self) -> int:
        """How many distinct tokens follow."""
        return int(self._table.shape[1])

    def __repr__(self) -> str:
        shown = ", ".join(f"{t.token or t.token_id!r}: {t.prob:.4g}" for t in self.top(5))
        more = f", … {len(self) - 5:,} more" if len(self) > 5 else ""
        return (
            f"Distribution(prompt_count={self.prompt_count}, suffix_len={self.suffix_len}, "
            f"next={{{shown}{more}}})"
        )

    def as_dict(self, top: int | None = None) -> dict[str, Any]:
        """The result as JSON values, with the `top` most frequent tokens (all with None)."""
        return super().as_dict() | {
            "prompt_count": self.prompt_count,
            "suffix_len": self.suffix_len,
            "distinct": len(self),
            "sparse": self.sparse,
            "exact": self.exact,
            "error_bound": self.error_bound,
            "next": [vars(token) for token in self.top(top)],
        }


@dataclass(eq=False)
class Counts(Sequence[Count]):
    """Many counts: `counts`, int64, shape (k,); counts[i] is one of them as `Count`."""

    _reading: Reading = field(repr=False)
    _ids: np.ndarray = field(repr=False)
    _starts: np.ndarray = field(repr=False)
    _ends: np.ndarray = field(repr=False)
    counts: np.ndarray

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.counts, dtype, copy=copy)

    def __len__(self) -> int:
        return int(self.counts.shape[0])

    @overload
    def __getitem__(self, i: int) -> Count: ...
    @overload
    def __getitem__(self, i: slice) -> list[Count]: ...
    def __getitem__(self, i: int | slice) -> Count | list[Count]:
        if isinstance(i, slice):
            return [self[place] for place in range(*i.indices(len(self)))]
        asked = self._ids[self._starts[i] : self._ends[i]]
        return Count(int(self.counts[i]), self._reading, asked)


@dataclass(eq=False)
class Probs(Sequence[Prob]):
    """Many probabilities as arrays of shape (k,); probs[i] is one of them as `Prob`.

    int64: continuation_ids, prompt_counts, continuation_counts, suffix_lens, as in `Prob`.
    """

    _reading: Reading = field(repr=False)
    _ids: np.ndarray = field(repr=False)
    _starts: np.ndarray = field(repr=False)
    _ends: np.ndarray = field(repr=False)
    prompt_counts: np.ndarray
    continuation_counts: np.ndarray
    suffix_lens: np.ndarray

    @property
    def continuation_ids(self) -> np.ndarray:
        """The tokens whose probabilities these are."""
        ids: np.ndarray = self._ids[self._ends - 1].astype(np.int64)
        return ids

    @cached_property
    def probs(self) -> np.ndarray:
        """float64; nan where the prompt does not occur."""
        return divided(self.continuation_counts, self.prompt_counts)

    def __len__(self) -> int:
        return int(self.prompt_counts.shape[0])

    @overload
    def __getitem__(self, i: int) -> Prob: ...
    @overload
    def __getitem__(self, i: slice) -> list[Prob]: ...
    def __getitem__(self, i: int | slice) -> Prob | list[Prob]:
        if isinstance(i, slice):
            return [self[place] for place in range(*i.indices(len(self)))]
        return Prob(
            self._reading,
            self._ids[self._starts[i] : self._ends[i]],
            int(self.prompt_counts[i]),
            int(self.continuation_counts[i]),
            float(self.probs[i]),
            int(self.suffix_lens[i]),
        )


@dataclass(eq=False)
class Distributions(Sequence[Distribution]):
    """Many next-token distributions; distributions[i] is one of them as `Distribution`.

    Number i has next_ids[offsets[i]:offsets[i + 1]] and their counts. All int64: offsets, shape
    (k + 1,); next_ids and counts end to end; prompt_counts, suffix_lens, error_bounds, shape (k,).
    """

    _reading: Reading = field(repr=False)
    _ids: np.ndarray = field(repr=False)
    _starts: np.ndarray = field(repr=False)
    _ends: np.ndarray = field(repr=False)
    offsets: np.ndarray
    # int64, shape (3, …): as of `Distribution`, end to end.
    _table: np.ndarray = field(repr=False)
    prompt_counts: np.ndarray
    suffix_lens: np.ndarray
    error_bounds: np.ndarray

    @property
    def next_ids(self) -> np.ndarray:
        """The tokens that follow, of all."""
        ids: np.ndarray = self._table[0]
        return ids

    @property
    def counts(self) -> np.ndarray:
        """How often each follows."""
        counts: np.ndarray = self._table[1]
        return counts

    def __len__(self) -> int:
        return int(self.prompt_counts.shape[0])

    @overload
    def __getitem__(self, i: int) -> Distribution: ...
    @overload
    def __getitem__(self, i: slice) -> list[Distribution]: ...
    def __getitem__(self, i: int | slice) -> Distribution | list[Distribution]:
        if isinstance(i, slice):
            return [self[place] for place in range(*i.indices(len(self)))]
        i = range(len(self))[i]
        return Distribution(
            self._reading,
            self._ids[self._starts[i] : self._ends[i]],
            int(self.prompt_counts[i]),
            self._table[:, self.offsets[i] : self.offsets[i + 1]],
            int(self.suffix_lens[i]),
            int(self.error_bounds[i]),
        )


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view
