"""What an ∞-gram model adds to a neural one: perplexities of both, and of their mixture."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from everygram.results import html
from everygram.results.base import Value

Interval = tuple[float, float]


def perplexity(log_likelihood: float, tokens: int) -> float:
    """e to the mean negative log-likelihood (nats) of a token; inf possible, nan of no tokens."""
    if not tokens:
        return math.nan
    with np.errstate(over="ignore"):
        return float(np.exp(-log_likelihood / tokens))


def delta(neural: float, mixed: float) -> float:
    """How much of a perplexity a mixture takes away: (1 − (mixed − 1)/(neural − 1))·100 %.

    As in arXiv 2401.17377, §5. nan where that is undefined.
    """
    if math.isinf(neural):
        return math.nan if math.isinf(mixed) else 100.0
    return (1 - (mixed - 1) / (neural - 1)) * 100 if neural != 1 else math.nan


@dataclass(eq=False, repr=False)
class MixedTokens(Value):
    """Tokens, and how likely the neural model and the mixture find them.

    tokens: how many. zeros: those to which the ∞-gram gives probability 0. mean_lambda: the mean of
    their λ, nan of none. neural_log_likelihood, log_likelihood: sums in nats, of the neural model
    and of the mixture.
    """

    tokens: int
    zeros: int
    mean_lambda: float
    neural_log_likelihood: float
    log_likelihood: float

    @property
    def neural_perplexity(self) -> float:
        """Per token, of the neural model alone."""
        return perplexity(self.neural_log_likelihood, self.tokens)

    @property
    def perplexity(self) -> float:
        """Per token, of the mixture."""
        return perplexity(self.log_likelihood, self.tokens)

    @property
    def delta(self) -> float:
        """The relative improvement in percent: see `delta`."""
        return delta(self.neural_perplexity, self.perplexity)

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON values; what is infinite or undefined is None."""
        return {
            "tokens": self.tokens,
            "zeros": self.zeros,
            "mean_lambda": _finite(self.mean_lambda),
            "neural_log_likelihood": _finite(self.neural_log_likelihood),
            "log_likelihood": _finite(self.log_likelihood),
            "neural_perplexity": _finite(self.neural_perplexity),
            "perplexity": _finite(self.perplexity),
            "delta": _finite(self.delta),
        }


@dataclass(eq=False, repr=False)
class MixedDocuments(Value):
    """Documents, and how likely the neural model and the mixture find them.

    documents: those with a token that the neural model has scored; only these tokens count.
    sparse: the tokens before which the ∞-gram has seen just one next token; other: the rest.
    two_lambda_log_likelihood, one_lambda_log_likelihood: in nats, with a λ for each of these
    classes, and with one for all. neural_interval, interval, delta_interval: in which the
    neural model's perplexity, the mixture's, and the improvement lie in 95 % of samples of the
    documents, drawn with replacement; None if not sampled.
    """

    documents: int
    sparse: MixedTokens
    other: MixedTokens
    two_lambda_log_likelihood: float
    one_lambda_log_likelihood: float
    neural_interval: Interval | None = None
    interval: Interval | None = None
    delta_interval: Interval | None = None

    @property
    def all(self) -> MixedTokens:
        """The tokens of both classes."""
        one, two = self.sparse, self.other
        tokens = one.tokens + two.tokens
        weighted = [each.mean_lambda * each.tokens for each in (one, two) if each.tokens]
        return MixedTokens(
            tokens,
            one.zeros + two.zeros,
            sum(weighted) / tokens if tokens else math.nan,
            one.neural_log_likelihood + two.neural_log_likelihood,
            one.log_likelihood + two.log_likelihood,
        )

    @property
    def sparse_share(self) -> float:
        """The share of the tokens that are sparse."""
        return self.sparse.tokens / self.all.tokens

    @property
    def two_lambda_perplexity(self) -> float:
        """Per token, with a λ for sparse tokens and one for the others."""
        return perplexity(self.two_lambda_log_likelihood, self.all.tokens)

    @property
    def one_lambda_perplexity(self) -> float:
        """Per token, with one λ for all tokens."""
        return perplexity(self.one_lambda_log_likelihood, self.all.tokens)

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON values; what is infinite, undefined or not there is None."""
        return {
            "documents": self.documents,
            **self.all.as_dict(),
            "sparse_share": self.sparse_share,
            "two_lambda_perplexity": _finite(self.two_lambda_perplexity),
            "one_lambda_perplexity": _finite(self.one_lambda_perplexity),
            "neural_interval": _bounds(self.neural_interval),
            "interval": _bounds(self.interval),
            "delta_interval": _bounds(self.delta_interval),
            "sparse": self.sparse.as_dict(),
            "other": self.other.as_dict(),
        }


@dataclass(eq=False, repr=False)
class Interpolation(Value):
    """λ·P∞ + (1−λ)·P_neural: λ found on documents to tune, and what it does to others.

    weights: "two" or "forest". sparse_lambda, other_lambda: the best λ of the tuning documents'
    sparse tokens and of their others; one_lambda: of all. With "forest" each token has a λ of its
    own, and the mixture of `tune` is that of trees which have not seen the token's document.
    """

    weights: str
    sparse_lambda: float
    other_lambda: float
    one_lambda: float
    tune: MixedDocuments
    test: MixedDocuments

    def __repr__(self) -> str:
        found = self.test.all
        return (
            f"Interpolation({self.weights}, test: {found.neural_perplexity:.2f} → "
            f"{found.perplexity:.2f}, Δ {found.delta:.1f} %)"
        )

    def _repr_html_(self) -> str:
        heads = ("", "documents", "tokens", "sparse", "neural", "one λ", "two λ")
        rows = [
            [
                name,
                f"{of.documents:,}",
                f"{of.all.tokens:,}",
                f"{of.sparse_share:.1%}",
                f"{of.all.neural_perplexity:.2f}",
                f"{of.one_lambda_perplexity:.2f}",
                f"{of.two_lambda_perplexity:.2f}",
                *([f"{of.all.perplexity:.2f}"] if self.weights == "forest" else []),
                f"{of.all.delta:.1f} %",
            ]
            for name, of in (("tune", self.tune), ("test", self.test))
        ]
        more = ("forest", "Δ") if self.weights == "forest" else ("Δ",)
        return html.lines(
            html.note(f"λ: sparse {self.sparse_lambda:.3f}, other {self.other_lambda:.3f}"),
            html.table((*heads, *more), rows),
        )

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON values; what is infinite or undefined is None."""
        return {
            "weights": self.weights,
            "sparse_lambda": self.sparse_lambda,
            "other_lambda": self.other_lambda,
            "one_lambda": self.one_lambda,
            "tune": self.tune.as_dict(),
            "test": self.test.as_dict(),
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _bounds(interval: Interval | None) -> list[float | None] | None:
    return None if interval is None else [_finite(end) for end in interval]
