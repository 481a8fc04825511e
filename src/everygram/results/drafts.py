"""Drafts of the tokens that a model may generate next."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from everygram.arguments import flag
from everygram.errors import QueryError
from everygram.results.base import Result, divided, labels, token_texts


@dataclass(eq=False, repr=False)
class Draft(Result):
    """Tokens that may follow a context: after its longest suffix, the most frequent at each place.

    `token_ids` and `tokens` are those of the draft; `query` has the ids of the context that were
    read, of which the last `suffix_len` occur in the index, `count` times. With `from_context` they
    occur, and the draft follows them, in the context itself; `count` is 1 then.
    """

    suffix_len: int
    count: int
    _table: np.ndarray
    from_context: bool = False

    @property
    def token_ids(self) -> list[int]:
        """The draft's ids; no separator is among them."""
        ids: list[int] = self._table[0].tolist()
        return ids

    @property
    def tokens(self) -> list[str] | None:
        """The draft's tokens, or None if the index has no tokenizer."""
        return token_texts(self.token_ids, self._reading)

    @property
    def counts(self) -> np.ndarray:
        """How often the suffix occurs with the draft up to each token: int64, shape (k,)."""
        counts: np.ndarray = self._table[1]
        return counts

    @property
    def probs(self) -> np.ndarray:
        """The probability that the draft is right up to each token: float64, shape (k,).

        That is the share of the suffix's occurrences that go on like this; it never grows.
        """
        return divided(self.counts, np.full(len(self), self.count))

    @property
    def score(self) -> float:
        """The number of tokens that a model of the corpus would accept on average."""
        return float(self.counts.sum() / self.count) if self.count else 0.0

    def __len__(self) -> int:
        """How many tokens the draft has."""
        return int(self._table.shape[1])

    def __repr__(self) -> str:
        tokens = labels(self.token_ids, self._reading)
        return f"Draft({tokens}, suffix_len={self.suffix_len}, score={self.score:.3g})"

    def as_dict(self, *, echo: bool = True) -> dict[str, Any]:
        """The draft as JSON values; `echo`: with the context, as `context_ids`."""
        context = {"context_ids": self.query.tolist()} if flag("echo", echo, QueryError) else {}
        return {
            **context,
            "suffix_len": self.suffix_len,
            "count": self.count,
            "from_context": self.from_context,
            **super().as_dict(),
            "counts": self.counts.tolist(),
            "probs": self.probs.tolist(),
            "score": self.score,
        }
