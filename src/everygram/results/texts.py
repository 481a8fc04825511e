"""Results about a text: one value for each of its tokens."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from everygram.results import html
from everygram.results.base import Result, divided, labels


@dataclass(eq=False, repr=False)
class Scores(Result):
    """The probability of each token of a text (`query`) after the tokens before it.

    Arrays of shape (len,): suffix_lens (int64), the length of the prompt that was used;
    prompt_counts and continuation_counts (int64); sparse (bool), whether only one distinct token
    ever follows the prompt. `order` is n of the n-gram model, None for ∞-gram.
    """

    order: int | None
    suffix_lens: np.ndarray
    prompt_counts: np.ndarray
    continuation_counts: np.ndarray
    sparse: np.ndarray

    @cached_property
    def probs(self) -> np.ndarray:
        """float64, shape (len,); nan if the prompt does not occur."""
        return divided(self.continuation_counts, self.prompt_counts)

    def __len__(self) -> int:
        """How many tokens the text has."""
        return len(self._asked)

    def __repr__(self) -> str:
        model = "∞-gram" if self.order is None else f"{self.order}-gram"
        return f"Scores({model}, {len(self):,} tokens)"

    def _repr_html_(self) -> str:
        most = html.TOKENS
        columns = (self.suffix_lens, self.prompt_counts, self.continuation_counts, self.sparse)
        titles = [
            f"{followed:,} / {prompts:,} = {followed / prompts:.4g}; suffix_len {length}"
            + ("; sparse" if sparse else "")
            if prompts
            else f"0 / 0; suffix_len {length}"
            for length, prompts, followed, sparse in zip(
                *(column[:most].tolist() for column in columns), strict=True
            )
        ]
        model = "∞-gram" if self.order is None else f"{self.order}-gram"
        more = len(self) - len(titles)
        return html.lines(
            html.note(f"{model}, {len(self):,} tokens, shaded by suffix_len:") + html.legend(),
            html.running(
                labels(self.query[:most], self._reading), self.suffix_lens[:most].tolist(), titles
            ),
            html.note(f"… and {more:,} more tokens" if more else ""),
        )

    def as_dict(self, *, echo: bool = True) -> dict[str, Any]:
        """The result as JSON values; an undefined probability is None.

        echo: whether with `token_ids` and `tokens` of the text.
        """
        probs = [None if math.isnan(prob) else prob for prob in self.probs.tolist()]
        return super().as_dict(echo=echo) | {
            "order": self.order,
            "suffix_lens": self.suffix_lens.tolist(),
            "prompt_counts": self.prompt_counts.tolist(),
            "continuation_counts": self.continuation_counts.tolist(),
            "probs": probs,
            "sparse": self.sparse.tolist(),
        }


@dataclass(eq=False, repr=False)
class LongestMatches(Result):
    """For each place of a text (`query`), the longest match that starts there.

    int64, shape (len,): lengths in tokens; counts: how often that match occurs, 0 if nothing
    matches. A match ends at the latest at the next separator, which may be its last token.
    """

    lengths: np.ndarray
    counts: np.ndarray

    def __len__(self) -> int:
        """How many tokens the text has."""
        return len(self._asked)

    def __repr__(self) -> str:
        return f"LongestMatches({len(self):,} tokens, longest {self.lengths.max(initial=0):,})"

    def as_dict(self, *, echo: bool = True) -> dict[str, Any]:
        """The result as JSON values (`echo`: with `token_ids` and `tokens`)."""
        return super().as_dict(echo=echo) | {
            "lengths": self.lengths.tolist(),
            "counts": self.counts.tolist(),
        }
