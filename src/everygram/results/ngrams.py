"""What queries answer: small objects, numpy arrays inside, `as_dict` for JSON.

A result carries the query's ids and, where the index has a tokenizer, the tokens they are, so
that an answer always shows what was asked.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, overload

import numpy as np

from everygram.errors import QueryError

INT64, FLOAT64 = np.dtype(np.int64), np.dtype(np.float64)
# Bytes of a token in the table of a distribution.
ENTRY = 3 * INT64.itemsize
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


class Count(int):
    """A count: an integer that also knows the `token_ids` and `tokens` it counted.

    `asked` is how those ids are read, and the ids.
    """

    asked: tuple[Reading, np.ndarray | bytes]

    @classmethod
    def of(cls, count: int, reading: Reading, ids: np.ndarray) -> "Count":
        """The count of these ids."""
        self = cls(count)
        self.asked = reading, ids
        return self

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        # What it counted goes with the index it came from; the number can travel.
        return int, (int(self),)

    @property
    def count(self) -> int:
        """The plain integer."""
        return int(self)

    @property
    def token_ids(self) -> list[int]:
        """The ids the query became."""
        reading, asked = self.asked
        ids: list[int] = reading.ids(asked).tolist()
        return ids

    @property
    def tokens(self) -> list[str] | None:
        """The tokens the query became, or None when the index has no tokenizer."""
        return token_texts(self.token_ids, self.asked[0].token_text)

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {"token_ids": self.token_ids, "tokens": self.tokens, "count": self.count}


class Prob(Result):
    """The probability of one token after a prompt.

    `query` is the prompt. `prob` = continuation_count / prompt_count, `nan` when the prompt does
    not occur. `suffix_len` is the length of the suffix of the prompt that was used: all of it for
    an n-gram, the longest that occurs for ∞-gram.
    """

    __slots__ = ("continuation_count", "prob", "prompt_count", "suffix_len")

    # (What was asked are the prompt and the continuation.)
    prompt_count: int
    continuation_count: int
    prob: float
    suffix_len: int

    @property
    def query(self) -> np.ndarray:
        """The ids the prompt became: int64, shape (m,)."""
        return self._reading.ids(self._asked)[:-1].astype(np.int64)

    @property
    def continuation_id(self) -> int:
        """The token whose probability this is."""
        return int(self._reading.ids(self._asked)[-1])

    @property
    def continuation(self) -> str | None:
        """That token as text, or None when the index has no tokenizer."""
        token_text = self._reading.token_text
        return None if token_text is None else token_text(self.continuation_id)

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


class Distribution(Result):
    """The next-token distribution of a prompt (`query`).

    next_ids: int64, shape (k,), ascending: the tokens that follow, the separator for the end of
    a document; counts: int64, shape (k,), which sum to `prompt_count`. Empty when the prompt does
    not occur. `suffix_len` as in `Prob`. Exact unless `max_support` was given and less than
    `prompt_count`: then a count is off by `error_bound` at most, and tokens that are left out
    follow that often at most. The arrays are read-only.
    """

    __slots__ = ("_table", "error_bound", "prompt_count", "suffix_len")

    prompt_count: int
    # As `kernels.following.tabled` makes it. (Of the three arrays in it few are looked at.)
    _table: bytes
    suffix_len: int
    error_bound: int

    @property
    def next_ids(self) -> np.ndarray:
        """The tokens that follow: int64, shape (k,)."""
        return np.frombuffer(self._table, INT64, len(self))

    @property
    def counts(self) -> np.ndarray:
        """How often each follows: int64, shape (k,)."""
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
        """The tokens of `next_ids` as text, or None when the index has no tokenizer."""
        return token_texts(self.next_ids, self._reading.token_text)

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
        token_text = self._reading.token_text
        columns = (column[order].tolist() for column in (self.next_ids, counts, self.probs))
        return [
            NextToken(token_id, None if token_text is None else token_text(token_id), count, prob)
            for token_id, count, prob in zip(*columns, strict=True)
        ]

    def __len__(self) -> int:
        """How many distinct tokens follow."""
        return len(self._table) // ENTRY

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
        return _divided(self.continuation_counts, self.prompt_counts)

    def __len__(self) -> int:
        return int(self.prompt_counts.shape[0])

    @overload
    def __getitem__(self, i: int) -> Prob: ...
    @overload
    def __getitem__(self, i: slice) -> list[Prob]: ...
    def __getitem__(self, i: int | slice) -> Prob | list[Prob]:
        if isinstance(i, slice):
            return [self[place] for place in range(*i.indices(len(self)))]
        answer = Prob()
        answer._reading = self._reading
        answer._asked = self._ids[self._starts[i] : self._ends[i]]
        answer.prompt_count = int(self.prompt_counts[i])
        answer.continuation_count = int(self.continuation_counts[i])
        answer.prob = float(self.probs[i])
        answer.suffix_len = int(self.suffix_lens[i])
        return answer


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
        answer = Distribution()
        answer._reading = self._reading
        answer._asked = self._ids[self._starts[i] : self._ends[i]]
        answer.prompt_count = int(self.prompt_counts[i])
        answer._table = self._table[:, self.offsets[i] : self.offsets[i + 1]].tobytes()
        answer.suffix_len = int(self.suffix_lens[i])
        answer.error_bound = int(self.error_bounds[i])
        return answer


@dataclass(eq=False, repr=False)
class Scores(Result):
    """The probability of each token of a text (`query`) after those before it.

    Arrays of shape (len,): suffix_lens, the length of the prompt that was used; prompt_counts and
    continuation_counts, int64; sparse, bool: whether one token alone ever follows the prompt.
    `order` is n of the n-gram model, None for ∞-gram.
    """

    order: int | None
    suffix_lens: np.ndarray
    prompt_counts: np.ndarray
    continuation_counts: np.ndarray
    sparse: np.ndarray

    @cached_property
    def probs(self) -> np.ndarray:
        """float64, shape (len,); nan where the prompt does not occur."""
        return _divided(self.continuation_counts, self.prompt_counts)

    def __len__(self) -> int:
        """How many tokens the text has."""
        return len(self._asked)

    def __repr__(self) -> str:
        model = "∞-gram" if self.order is None else f"{self.order}-gram"
        return f"Scores({model}, {len(self):,} tokens)"

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON values; an undefined probability is None."""
        probs = [None if math.isnan(prob) else prob for prob in self.probs.tolist()]
        return super().as_dict() | {
            "order": self.order,
            "suffix_lens": self.suffix_lens.tolist(),
            "prompt_counts": self.prompt_counts.tolist(),
            "continuation_counts": self.continuation_counts.tolist(),
            "probs": probs,
            "sparse": self.sparse.tolist(),
        }


@dataclass(eq=False, repr=False)
class LongestMatches(Result):
    """For each place of a text (`query`) the longest match that starts there.

    int64, shape (len,): lengths in tokens, and counts: how often that match occurs, 0 where
    nothing matches. A match ends at a separator, which may be its last token.
    """

    lengths: np.ndarray
    counts: np.ndarray

    def __len__(self) -> int:
        """How many tokens the text has."""
        return len(self._asked)

    def __repr__(self) -> str:
        return f"LongestMatches({len(self):,} tokens, longest {self.lengths.max(initial=0):,})"

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON values."""
        return super().as_dict() | {
            "lengths": self.lengths.tolist(),
            "counts": self.counts.tolist(),
        }


@dataclass(frozen=True)
class Occurrence:
    """One place a query occurs at.

    `position` is in the segment's stream; `offset` in the document's tokens, −1 for a query that
    starts with the separator before the document.
    """

    segment: int
    rank: int
    position: int
    document: int
    offset: int


@dataclass(eq=False, repr=False)
class Matches(Result):
    """Where a query occurs.

    intervals: int64, shape (segments, 2), half-open ranges of ranks; count: their total size.
    The occurrences asked for, each int64, shape (k,): segments, ranks, positions, documents,
    offsets (see Occurrence).
    """

    count: int
    intervals: np.ndarray
    segments: np.ndarray
    ranks: np.ndarray
    positions: np.ndarray
    documents: np.ndarray
    offsets: np.ndarray

    def __repr__(self) -> str:
        return f"Matches({self.count:,} occurrences, {len(self):,} listed)"

    def __len__(self) -> int:
        """How many occurrences are listed here."""
        return int(self.ranks.shape[0])

    def __iter__(self) -> Iterator[Occurrence]:
        columns = (self.segments, self.ranks, self.positions, self.documents, self.offsets)
        return (Occurrence(*row) for row in zip(*(c.tolist() for c in columns), strict=True))

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON values."""
        return super().as_dict() | {
            "count": self.count,
            "intervals": self.intervals.tolist(),
            "occurrences": [vars(occurrence) for occurrence in self],
        }


@dataclass(eq=False)
class Document:
    """A document, or the part of it around a match.

    ids: shape (k,), the document's tokens from `start` on (0 when it is whole); `length` is the
    whole document's, in tokens. `match`, when it was asked for by occurrence, is the half-open
    range of the match in the document's tokens, and `occurrence` what was asked for.
    """

    number: int
    metadata: dict[str, Any]
    length: int
    start: int
    ids: np.ndarray
    match: tuple[int, int] | None
    occurrence: int | None
    count: int | None
    _decode: Callable[[np.ndarray], str] | None

    @property
    def text(self) -> str | None:
        """The text of `ids`, or None when the index has no tokenizer."""
        return None if self._decode is None else self._decode(self.ids)

    @property
    def parts(self) -> tuple[str, str, str] | None:
        """`text` before the match, of it, and after it; None without match or tokenizer."""
        if self.match is None or self._decode is None:
            return None
        # Pieces decoded on their own lose spaces and cut characters at the seams: cut the text.
        text = self._decode(self.ids)
        begin, end = (self._text_len(text, place - self.start) for place in self.match)
        return text[:begin], text[begin:end], text[end:]

    def _text_len(self, text: str, num_tokens: int) -> int:
        """How many characters of the text the first tokens make, cut characters left out."""
        assert self._decode is not None
        piece = self._decode(self.ids[:num_tokens]).rstrip("\ufffd")
        same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(piece, text, strict=False))
        return sum(1 for _ in same)

    def __repr__(self) -> str:
        shown = self.text if self.text is not None else str(self.ids)
        return (
            f"Document({self.number}, {self.length:,} tokens, metadata={self.metadata!r}, "
            f"{shown[:80]!r}{'…' if len(shown) > 80 else ''})"
        )

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {
            "number": self.number,
            "metadata": self.metadata,
            "length": self.length,
            "start": self.start,
            "token_ids": self.ids.tolist(),
            "text": self.text,
            "match": None if self.match is None else list(self.match),
            "parts": None if self.parts is None else list(self.parts),
            "occurrence": self.occurrence,
            "count": self.count,
        }


def _divided(counts: np.ndarray, of: np.ndarray) -> np.ndarray:
    """counts / of as float64; nan where that is 0 / 0."""
    with np.errstate(invalid="ignore"):
        quotients: np.ndarray = counts / of
    return quotients
