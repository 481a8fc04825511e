"""What an n-gram model says of a neural model's next token, over arrays.

In: the ids that a neural model has before it, and its score of every id. Out: prompts for an index,
and log-probabilities of the mixture of both models. Knows nothing of torch or of generating.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from everygram.arguments import natural, number, short
from everygram.errors import OptionError

if TYPE_CHECKING:
    from everygram.lm.model import LanguageModel

Weights = float | Sequence[float]
# One id, several, or none.
SomeIds = int | Iterable[int] | None


@dataclass(frozen=True)
class Contexts:
    """How the ids of a neural model become a prompt of an index.

    vocab_size, separator: those of the index. bounds: ids of the neural model that stand where a
    document ends or starts (EOS, BOS).
    """

    vocab_size: int
    separator: int
    bounds: tuple[int, ...]

    def prompt(self, ids: np.ndarray) -> list[int]:
        """The prompt: from the last bound on, which becomes a separator.

        ids: int64, shape (n,). An id that the index does not have ends the context, too: what
        stands after it is a prompt without a document's start.
        """
        start, head = 0, []
        bounds = np.flatnonzero(np.isin(ids, self.bounds))
        if bounds.size:
            start, head = int(bounds[-1]) + 1, [self.separator]
        unknown = np.flatnonzero((ids[start:] < 0) | (ids[start:] >= self.vocab_size))
        if unknown.size:
            start, head = start + int(unknown[-1]) + 1, []
        rest: list[int] = ids[start:].tolist()
        return head + rest


class Mixture:
    """λ · P of a `LanguageModel` + (1 − λ) · P of a neural model, for the next token.

    weights: λ, one number for any model of probabilities; or two for the ∞-gram model ("infgram"):
    where only one token ever follows, and elsewhere. ends: the neural model's ids for the end of a
    text; the first gets the probability of the document's end. starts: those for its start.
    """

    def __init__(
        self, model: "LanguageModel", weights: Weights, ends: SomeIds, starts: SomeIds
    ) -> None:
        if not model.normalized:
            raise OptionError(
                f"model: expected a model of probabilities, found {model.smoothing}, whose values "
                "are scores"
            )
        self._model = model
        self._weights = _shares(weights, model.smoothing)
        end_ids = some_ids("eos_token_id", ends)
        self._end = end_ids[0] if end_ids else None
        self._contexts = Contexts(
            model.vocab_size, model.separator, end_ids + some_ids("bos_token_id", starts)
        )

    def log_probs(self, rows: Sequence[np.ndarray], scores: np.ndarray) -> np.ndarray:
        """The logarithm of the mixture after each row of ids: float64, same shape as scores.

        scores: shape (k, m), the neural model's score of each of its m ids after each of k rows;
        one of −inf forbids an id. The n-gram model's distribution is that over the ids that are
        allowed and that the index has, so that the mixture sums to 1; if it gives none of them a
        probability, the neural model's stays as it is.
        """
        size = scores.shape[1]
        if self._end is not None and self._end >= size:
            raise OptionError(
                f"eos_token_id: expected an id below {size:,}, the ids that have a score, found "
                f"{self._end}"
            )
        mixed = np.empty(scores.shape, np.float64)
        for place, (row, score) in enumerate(zip(rows, scores, strict=True)):
            distribution = self._model.distribution(self._contexts.prompt(row))
            mixed[place] = self._mixed(distribution, score.astype(np.float64))
        return mixed

    def _mixed(self, distribution: np.ndarray, score: np.ndarray) -> np.ndarray:
        highest = score.max()
        neural: np.ndarray = score - (highest + np.log(np.exp(score - highest).sum()))
        probs = np.zeros(score.shape[0])
        known = min(score.shape[0], self._model.vocab_size)
        probs[:known] = distribution[:known]
        if self._end is not None:
            probs[self._end] += distribution[-1]
        probs[np.isneginf(score)] = 0
        mass = probs.sum()
        if mass == 0:
            return neural
        share = self._weights[0 if np.count_nonzero(distribution) == 1 else 1]
        with np.errstate(divide="ignore"):
            mixed: np.ndarray = np.log1p(-share) + neural
            # (The ∞-gram model gives few tokens a probability.)
            likely = np.flatnonzero(probs)
            known_logs = np.log(share) + np.log(probs[likely] / mass)
            mixed[likely] = np.logaddexp(known_logs, mixed[likely])
        return mixed


def some_ids(name: str, given: SomeIds) -> tuple[int, ...]:
    """One id, several or none, as a tuple. Raises OptionError."""
    if given is None:
        return ()
    listed = given if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    return tuple(natural(name, each) for each in listed)


def _shares(weights: Any, smoothing: str) -> tuple[float, float]:
    """λ where only one token ever follows, and elsewhere."""
    listed = not isinstance(weights, str | bytes) and hasattr(weights, "__len__")
    given = list(weights) if listed else [weights, weights]
    shares = [number("weights", each) for each in given]
    if len(shares) != 2 or not all(0 <= share <= 1 for share in shares):
        raise OptionError(
            f"weights: expected one or two numbers from 0 to 1, found {short(weights)}"
        )
    if listed and smoothing != "infgram":
        raise OptionError(
            f"weights: two go with smoothing infgram, found {smoothing}; give it one number"
        )
    return shares[0], shares[1]
