"""Counts, probabilities and distributions, for one query or many."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from everygram.arguments import flag, natural
from everygram.errors import QueryError
from everygram.results import html
from everygram.results.base import (
    FLOAT64,
    INT64,
    Batch,
    Reading,
    Result,
    divided,
    ids_of,
    labels,
    lacking,
    token_texts,
)

# Tokens of a distribution that a notebook shows.
SHOWN = 25
# Bytes per token in the table of a distribution.
ENTRY = 3 * INT64.itemsize


class Count(int):
    """A count: an integer that also knows the `token_ids` and `tokens` it counted.

    It is equal to any integer of the same value, even to the count of another query.
    """

    _reading: Reading
    _asked: np.ndarray | bytes

    @staticmethod
    def of(count: int, reading: Reading, asked: np.ndarray | bytes) -> "Count":
        """The count of these ids. (Takes half the time of a `__new__`.)"""
        self = Count(count)
        self._reading = reading
        self._asked = asked
        return self

    def __reduce__(self) -> tuple[Any, tuple[int, Reading, np.ndarray | bytes]]:
        return Count.of, (int(self), self._reading, self._asked)

    @property
    def count(self) -> int:
        """The plain integer."""
        return int(self)

    @property
    def token_ids(self) -> list[int]:
        """The query's ids."""
        ids: list[int] = ids_of(self._reading, self._asked).tolist()
        return ids

    @property
    def tokens(self) -> list[str] | None:
        """The query's tokens, or None if the index has no tokenizer."""
        return token_texts(self.token_ids, self._reading)

    @property
    def missing_segments(self) -> tuple[str, ...]:
        """As of any result."""
        return self._reading.missing_segments

    def as_dict(self, *, echo: bool = True) -> dict[str, Any]:
        """The result as JSON values; `echo`: with `token_ids` and `tokens`."""
        made: dict[str, Any] = {"count": self.count}
        if flag("echo", echo, QueryError):
            made = {"token_ids": self.token_ids, "tokens": self.tokens} | made
        return lacking(self._reading) | made


class DocumentCount(Count):
    """In how many documents a query occurs: an integer, with `count`, its occurrences in all."""

    _count: int

    @staticmethod
    def of_both(
        documents: int, count: int, reading: Reading, asked: np.ndarray | bytes
    ) -> "DocumentCount":
        """The documents and the count of these ids."""
        self = DocumentCount(documents)
        self._reading = reading
        self._asked = asked
        self._count = count
        return self

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return DocumentCount.of_both, (int(self), self._count, self._reading, self._asked)

    @property
    def document_count(self) -> int:
        """The plain integer."""
        return int(self)

    @property
    def count(self) -> int:
        """How often the query occurs, in all documents together."""
        return self._count

    def as_dict(self, *, echo: bool = True) -> dict[str, Any]:
        """The result as JSON values; `echo`: with `token_ids` and `tokens`."""
        return super().as_dict(echo=echo) | {"document_count": self.document_count}


@dataclass(eq=False, repr=False)
class Prob(Result):
    """The probability of one token after a prompt.

    `query` is the prompt. `prob` = continuation_count / prompt_count, `nan` if the prompt does not
    occur. `suffix_len` is the length of the suffix of the prompt that was used: the whole prompt
    for n-grams, the longest suffix that occurs for ∞-grams.
    """

    # (`_asked` has the ids of the prompt and the continuation.)
    prompt_count: int
    continuation_count: int
    suffix_len: int

    @property
    def prob(self) -> float:
        """continuation_count / prompt_count; nan if the prompt does not occur."""
        return self.continuation_count / self.prompt_count if self.prompt_count else math.nan

    @property
    def query(self) -> np.ndarray:
        """The prompt's ids: int64, shape (m,)."""
        return ids_of(self._reading, self._asked)[:-1]

    @property
    def continuation_id(self) -> int:
        """The token whose probability this is."""
        return int(ids_of(self._reading, self._asked)[-1])

    @property
    def continuation(self) -> str | None:
        """`continuation_id` as text, or None if the index has no tokenizer."""
        if not self._reading.has_tokenizer:
            return None
        return self._reading.token_text(self.continuation_id)

    def __repr__(self) -> str:
        (continuation,) = labels([self.continuation_id], self._reading)
        return (
            f"Prob({self.prob:.6g} = {self.continuation_count:,} / {self.prompt_count:,}, "
            f"continuation={continuation!r}, "
            f"suffix_len={self.suffix_len})"
        )

    def as_dict(self, *, echo: bool = True) -> dict[str, Any]:
        """The result as JSON values; an undefined probability is None.

        echo: whether with `token_ids` and `tokens` of the prompt.
        """
        return super().as_dict(echo=echo) | {
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


@dataclass(eq=False, repr=False)
class Distribution(Result):
    """The next-token distribution of a prompt (`query`).

    next_ids: int64, shape (k,), ascending: the tokens that follow; the separator stands for the end
    of a document. counts: int64, shape (k,); they sum to `prompt_count`. Both are empty if the
    prompt does not occur. `suffix_len` as in `Prob`. Exact unless `max_support` was given and is
    less than `prompt_count`: then each count is wrong by at most `error_bound`, and tokens that
    follow at most `error_bound` times may be missing. The arrays are read-only.
    """

    prompt_count: int
    # As `kernels.following.tabled` makes it. (Its arrays are made only when they are read.)
    _table: bytes
    suffix_len: int
    error_bound: int

    @property
    def next_ids(self) -> np.ndarray:
        """The tokens that follow: int64, shape (k,)."""
        return np.frombuffer(self._table, INT64, len(self))

    @property
    def counts(self) -> np.ndarray:
        """How often each of `next_ids` follows: int64, shape (k,)."""
        return np.frombuffer(self._table, INT64, len(self), 8 * len(self))

    @property
    def exact(self) -> bool:
        """Whether every count is exact and no token is left out."""
        return self.error_bound == 0

    @property
    def probs(self) -> np.ndarray:
        """float64, shape (k,); sums to 1."""
        return np.frombuffer(self._table, FLOAT64, len(self), 16 * len(self))

    @property
    def sparse(self) -> bool:
        """Whether only one token ever follows."""
        return len(self) == 1

    @property
    def next_tokens(self) -> list[str] | None:
        """The tokens of `next_ids` as text, or None if the index has no tokenizer."""
        return token_texts(self.next_ids, self._reading)

    @property
    def distinct(self) -> int:
        """The number of distinct tokens that follow: k."""
        return len(self._table) // ENTRY

    @property
    def next(self) -> list[NextToken]:
        """All tokens that follow, the most frequent first, ties by id."""
        return self.top(None)

    def top(self, k: int | None = 10) -> list[NextToken]:
        """The k most frequent tokens (None: all), ties by id. Raises QueryError for k < 0."""
        if k is not None:
            k = natural("top", k, error=QueryError)
        ids, counts, probs = self._most_frequent(k)
        texts: Sequence[str | None] | None = token_texts(ids, self._reading)
        texts = [None] * len(ids) if texts is None else texts
        return list(map(NextToken, ids, texts, counts, probs))

    def _most_frequent(self, k: int | None) -> tuple[list[int], list[int], list[float]]:
        """Ids, counts and probabilities of the k most frequent tokens, ties by id."""
        counts, chosen = self.counts, np.arange(len(self))
        if k is not None and k < len(self):
            # No token with a count below the k-th greatest can be among the k most frequent.
            least = -np.partition(-counts, k - 1)[k - 1] if k else self.prompt_count + 1
            chosen = np.flatnonzero(counts >= least)
        order = chosen[np.argsort(-counts[chosen], kind="stable")][:k]
        return self.next_ids[order].tolist(), counts[order].tolist(), self.probs[order].tolist()

    def __len__(self) -> int:
        """The number of distinct tokens that follow."""
        return self.distinct

    def __repr__(self) -> str:
        ids, _, probs = self._most_frequent(5)
        pairs = zip(labels(ids, self._reading), probs, strict=True)
        shown = ", ".join(f"{token!r}: {prob:.4g}" for token, prob in pairs)
        more = f", … {len(self) - 5:,} more" if len(self) > 5 else ""
        return (
            f"Distribution(prompt_count={self.prompt_count}, suffix_len={self.suffix_len}, "
            f"next={{{shown}{more}}})"
        )

    def _repr_html_(self) -> str:
        ids, counts, probs = self._most_frequent(SHOWN)
        said = f"occurrences: {self.prompt_count:,}; different next tokens: {self.distinct:,}"
        if self.suffix_len < len(self.query):
            said += f"; suffix_len: {self.suffix_len:,}"
        rows = (
            (html.token(token), f"{count:,}", f"{prob:.4g}", html.bar(prob / probs[0]))
            for token, count, prob in zip(labels(ids, self._reading), counts, probs, strict=True)
        )
        more = len(self) - len(ids)
        notes = [f"… and {more:,} more with counts up to {counts[-1]:,}"] if more else []
        if not self.exact:
            notes.append(
                f"Counts are wrong by at most {self.error_bound:,}; tokens that follow at most "
                f"{self.error_bound:,} times may be missing."
            )
        return html.lines(
            html.query(labels(self.query, self._reading), said),
            html.table(("next token", "count", "prob", ""), rows),
            *map(html.note, notes),
        )

    def as_dict(self, top: int | None = None, *, echo: bool = True) -> dict[str, Any]:
        """The result as JSON values, with the `top` most frequent tokens (None: all).

        echo: whether with `token_ids` and `tokens` of the prompt.
        """
        return super().as_dict(echo=echo) | {
            "prompt_count": self.prompt_count,
            "suffix_len": self.suffix_len,
            "distinct": self.distinct,
            "sparse": self.sparse,
            "exact": self.exact,
            "error_bound": self.error_bound,
            "next": [vars(token) for token in self.top(top)],
        }


@dataclass(eq=False)
class Counts(Batch[Count]):
    """Many counts: a sequence of `Count`, and an array.

    counts: int64, shape (k,). `numpy.asarray` of this object gives that array.
    """

    counts: np.ndarray

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.counts, dtype, copy=copy)

    def _result(self, i: int, asked: np.ndarray) -> Count:
        return Count.of(int(self.counts[i]), self._reading, asked)


@dataclass(eq=False)
class DocumentCounts(Batch[DocumentCount]):
    """Many document counts: a sequence of `DocumentCount`, and arrays of shape (k,).

    int64: document_counts (`numpy.asarray` of this object gives that array), and counts, the
    occurrences.
    """

    document_counts: np.ndarray
    counts: np.ndarray

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.document_counts, dtype, copy=copy)

    def _result(self, i: int, asked: np.ndarray) -> DocumentCount:
        return DocumentCount.of_both(
            int(self.document_counts[i]), int(self.counts[i]), self._reading, asked
        )


@dataclass(eq=False)
class Probs(Batch[Prob]):
    """Many probabilities: a sequence of `Prob`, and arrays of shape (k,).

    int64: continuation_ids, prompt_counts, continuation_counts, suffix_lens, as in `Prob`.
    """

    prompt_counts: np.ndarray
    continuation_counts: np.ndarray
    suffix_lens: np.ndarray

    @property
    def continuation_ids(self) -> np.ndarray:
        """The tokens that have these probabilities: int64, shape (k,)."""
        ids: np.ndarray = self._ids[self._ends - 1].astype(np.int64)
        return ids

    @cached_property
    def probs(self) -> np.ndarray:
        """float64, shape (k,); nan if the prompt does not occur."""
        return divided(self.continuation_counts, self.prompt_counts)

    def _result(self, i: int, asked: np.ndarray) -> Prob:
        return Prob(
            self._reading,
            asked,
            int(self.prompt_counts[i]),
            int(self.continuation_counts[i]),
            int(self.suffix_lens[i]),
        )


@dataclass(eq=False)
class Distributions(Batch[Distribution]):
    """Many next-token distributions: a sequence of `Distribution`, and arrays.

    Distribution i has next_ids[offsets[i]:offsets[i + 1]] and the counts at the same places. All
    int64: offsets, shape (k + 1,); next_ids and counts, shape (offsets[k],), of all distributions
    one after another; prompt_counts, suffix_lens, error_bounds, shape (k,).
    """

    offsets: np.ndarray
    # int64, shape (3, …): the tables of the distributions, one after another.
    _table: np.ndarray = field(repr=False)
    prompt_counts: np.ndarray
    suffix_lens: np.ndarray
    error_bounds: np.ndarray

    @property
    def next_ids(self) -> np.ndarray:
        """The tokens that follow, of all distributions."""
        ids: np.ndarray = self._table[0]
        return ids

    @property
    def counts(self) -> np.ndarray:
        """How often each of `next_ids` follows."""
        counts: np.ndarray = self._table[1]
        return counts

    def _result(self, i: int, asked: np.ndarray) -> Distribution:
        return Distribution(
            self._reading,
            asked,
            int(self.prompt_counts[i]),
            self._table[:, self.offsets[i] : self.offsets[i + 1]].tobytes(),
            int(self.suffix_lens[i]),
            int(self.error_bounds[i]),
        )
