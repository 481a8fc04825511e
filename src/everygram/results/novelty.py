"""How much of a text is new: in no document of the corpus."""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from everygram.errors import QueryError
from everygram.results import html
from everygram.results.base import Value, divided


@dataclass(eq=False, repr=False)
class Novelty(Value):
    """How much of a text the corpus has verbatim, and how much of it is new, for n = 1 to `max_n`.

    Arrays of shape (max_n,); entry n − 1 is of n. covered_tokens (int64): tokens inside matches of
    n tokens or more. num_ngrams (int64): the text's n-grams, one per place, none over a separator;
    new_ngrams (int64): those that do not occur in the corpus.
    num_tokens: the text's. longest: tokens of its longest match. creativity_bounds: the lowest and
    the highest L of the creativity index; unmatched_tokens: the tokens that are in no match of L
    tokens or more, summed over these L.

    The sum of several is that of their texts together, of which there are `num_texts`: all tokens
    count the same, so that a text weighs as much as it is long. `sum(…)` works, too.
    """

    num_texts: int
    num_tokens: int
    longest: int
    covered_tokens: np.ndarray
    num_ngrams: np.ndarray
    new_ngrams: np.ndarray
    creativity_bounds: tuple[int, int]
    unmatched_tokens: int

    @property
    def max_n(self) -> int:
        """The largest n."""
        return int(self.covered_tokens.shape[0])

    @property
    def covered(self) -> np.ndarray:
        """The share of tokens inside matches of n tokens or more: float64, nan of no tokens."""
        return divided(self.covered_tokens, np.full(self.max_n, self.num_tokens))

    @property
    def new(self) -> np.ndarray:
        """The share of n-grams that are new: float64, nan where the text is shorter than n."""
        return divided(self.new_ngrams, self.num_ngrams)

    @property
    def creativity_index(self) -> float:
        """The sum over L of the share of tokens that are in no match of L tokens or more.

        From 0 to the number of L; nan of no tokens. Lu et al. 2024, arXiv 2410.04265.
        """
        return self.unmatched_tokens / self.num_tokens if self.num_tokens else math.nan

    def __add__(self, other: object) -> "Novelty":
        if not isinstance(other, Novelty):
            return NotImplemented
        for name in ("max_n", "creativity_bounds"):
            one, two = getattr(self, name), getattr(other, name)
            if one != two:
                raise QueryError(
                    f"{name}: expected the same of all that are added, found {two}, not {one}"
                )
        return Novelty(
            self.num_texts + other.num_texts,
            self.num_tokens + other.num_tokens,
            max(self.longest, other.longest),
            self.covered_tokens + other.covered_tokens,
            self.num_ngrams + other.num_ngrams,
            self.new_ngrams + other.new_ngrams,
            self.creativity_bounds,
            self.unmatched_tokens + other.unmatched_tokens,
        )

    def __radd__(self, other: object) -> "Novelty":
        # (`sum` begins with 0.)
        return self if type(other) is int and other == 0 else NotImplemented

    def __repr__(self) -> str:
        texts = f"{self.num_texts:,} texts, " if self.num_texts != 1 else ""
        return f"Novelty({texts}{self.num_tokens:,} tokens, {self._creativity()})"

    def _creativity(self) -> str:
        low, high = self.creativity_bounds
        index = self.creativity_index
        found = "undefined" if math.isnan(index) else f"{index:.2f} of {high - low + 1}"
        return f"creativity index {found}, L = {low} to {high}"

    def _repr_html_(self) -> str:
        texts = f"{self.num_texts:,} texts, " if self.num_texts != 1 else ""
        shares = zip(self.new.tolist(), self.covered.tolist(), strict=True)
        rows = [
            [str(n), *("–" if math.isnan(share) else f"{share:.2%}" for share in both)]
            for n, both in enumerate(itertools.islice(shares, html.ROWS), 1)
        ]
        more = self.max_n - len(rows)
        return html.lines(
            html.note(
                f"{texts}{self.num_tokens:,} tokens, {self._creativity()}; longest match: "
                f"{self.longest:,} tokens"
            ),
            html.table(("n", "n-grams that are new", "tokens in matches of n or more"), rows),
            html.note(f"… and {more:,} more" if more else ""),
        )

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON values; what is undefined is None."""
        index = self.creativity_index
        return {
            "num_texts": self.num_texts,
            "num_tokens": self.num_tokens,
            "longest": self.longest,
            "creativity_index": None if math.isnan(index) else index,
            "creativity_bounds": list(self.creativity_bounds),
            "unmatched_tokens": self.unmatched_tokens,
            "new": _shares(self.new),
            "new_ngrams": self.new_ngrams.tolist(),
            "num_ngrams": self.num_ngrams.tolist(),
            "covered": _shares(self.covered),
            "covered_tokens": self.covered_tokens.tolist(),
        }


def _shares(shares: np.ndarray) -> list[float | None]:
    return [None if math.isnan(share) else share for share in shares.tolist()]
