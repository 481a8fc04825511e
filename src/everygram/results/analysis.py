"""Results of the paper's analyses: agreement of n-gram models with texts, counted in bins.

Counts alone are held; shares, medians and tables follow from them. Knows nothing of indexes, of
files, or of how figures are drawn.
"""

import csv
import io
import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from everygram.errors import QueryError
from everygram.results import html
from everygram.results.base import Value, divided

# The effective n from which on the paper counts (section 4): "n of 5 or more", "of 16 or more".
MANY, LONG = 5, 16


class Analysis(Value):
    """A result that is a table, too. COLUMNS: the names of its columns, if it may have no rows."""

    COLUMNS: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def rows(self) -> list[dict[str, Any]]:
        """The table's rows, with the same columns; what is undefined is None."""

    @abstractmethod
    def as_dict(self) -> dict[str, Any]:
        """The result as JSON values."""

    def csv(self) -> str:
        """The table as CSV, with a line of names; what is undefined is empty."""
        rows, written = self.rows(), io.StringIO()
        names = list(rows[0]) if rows else self.COLUMNS
        writer = csv.DictWriter(written, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return written.getvalue()


@dataclass(eq=False, repr=False)
class ByEffectiveN(Value):
    """How often a model agrees with the tokens of texts, by effective n.

    int64, shape (k,): entry n is of effective n, which is 1 + suffix_len; entry 0 is 0.
    tokens: how many have it; agreed: of how many the model's probability is above 0.5.
    """

    tokens: np.ndarray
    agreed: np.ndarray

    @property
    def num_tokens(self) -> int:
        """All tokens."""
        return int(self.tokens.sum())

    @property
    def num_agreed(self) -> int:
        """All that the model agrees with."""
        return int(self.agreed.sum())

    def share_from(self, n: int) -> float | None:
        """The share of tokens whose effective n is at least `n`; None of no tokens."""
        return share(int(self.tokens[n:].sum()), self.num_tokens)

    def agreement_from(self, n: int) -> float | None:
        """The share that the model agrees with of tokens of effective n at least `n`, or None."""
        return share(int(self.agreed[n:].sum()), int(self.tokens[n:].sum()))

    @property
    def agreement(self) -> float | None:
        """The share of tokens that the model agrees with; None of no tokens."""
        return self.agreement_from(0)

    @property
    def mean_n(self) -> float | None:
        """The mean effective n; None of no tokens."""
        total = int(self.tokens @ np.arange(self.tokens.shape[0]))
        return share(total, self.num_tokens)

    @property
    def median_n(self) -> float | None:
        """The median effective n, of two in the middle their mean; None of no tokens."""
        if not self.num_tokens:
            return None
        upto, last = np.cumsum(self.tokens), self.num_tokens - 1
        middle = np.searchsorted(upto, [last // 2, last - last // 2], "right")
        return float(middle.mean())

    def __add__(self, other: object) -> "ByEffectiveN":
        if not isinstance(other, ByEffectiveN):
            return NotImplemented
        return ByEffectiveN(_added(self.tokens, other.tokens), _added(self.agreed, other.agreed))

    def __repr__(self) -> str:
        return f"ByEffectiveN({self.num_tokens:,} tokens, agreement {shown(self.agreement)})"

    def rows(self) -> list[dict[str, Any]]:
        """A row for each effective n that a token has."""
        shares = divided(self.agreed, self.tokens)
        return [
            {
                "effective_n": n,
                "tokens": int(self.tokens[n]),
                "agreed": int(self.agreed[n]),
                "agreement": float(shares[n]),
            }
            for n in np.flatnonzero(self.tokens).tolist()
        ]

    def as_dict(self) -> dict[str, Any]:
        """The numbers of all tokens, and those by effective n."""
        return {
            "num_tokens": self.num_tokens,
            "num_agreed": self.num_agreed,
            "agreement": self.agreement,
            "median_n": self.median_n,
            "mean_n": self.mean_n,
            f"share_from_{MANY}": self.share_from(MANY),
            f"agreement_from_{LONG}": self.agreement_from(LONG),
            "by_effective_n": self.rows(),
        }


@dataclass(eq=False, repr=False)
class TextAgreement(Value):
    """How often n-gram models agree with the tokens of texts.

    ngram: of the model of `order` n, which uses the longest suffix of the n − 1 tokens before that
    occurs; infgram: of the ∞-gram model; sparse: of the ∞-gram model, those tokens alone before
    which its prompt is always followed by one and the same token.
    """

    order: int
    num_texts: int
    ngram: ByEffectiveN
    infgram: ByEffectiveN
    sparse: ByEffectiveN

    @property
    def num_tokens(self) -> int:
        """All tokens that were looked at."""
        return self.infgram.num_tokens

    @property
    def share_sparse(self) -> float | None:
        """The share of tokens whose ∞-gram estimate is sparse; None of no tokens."""
        return share(self.sparse.num_tokens, self.num_tokens)

    @property
    def panels(self) -> dict[str, ByEffectiveN]:
        """The three of them, by what they are called."""
        return {f"{self.order}-gram": self.ngram, "∞-gram": self.infgram, "sparse": self.sparse}

    def __add__(self, other: object) -> "TextAgreement":
        if not isinstance(other, TextAgreement):
            return NotImplemented
        if other.order != self.order:
            raise QueryError(
                f"order: expected the same of all that are added, found {other.order}, not "
                f"{self.order}"
            )
        return TextAgreement(
            self.order,
            self.num_texts + other.num_texts,
            self.ngram + other.ngram,
            self.infgram + other.infgram,
            self.sparse + other.sparse,
        )

    def __repr__(self) -> str:
        shares = ", ".join(f"{name} {shown(each.agreement)}" for name, each in self.panels.items())
        return f"TextAgreement({self.num_texts:,} texts, {self.num_tokens:,} tokens: {shares})"

    def as_dict(self) -> dict[str, Any]:
        """The numbers of each model."""
        return {
            "num_texts": self.num_texts,
            "num_tokens": self.num_tokens,
            "share_sparse": self.share_sparse,
            "ngram": self.ngram.as_dict(),
            "infgram": self.infgram.as_dict(),
            "sparse": self.sparse.as_dict(),
        }


@dataclass(eq=False, repr=False)
class Agreements(Analysis):
    """The agreement of n-gram models with all texts (`total`), and with each group of them.

    `groups`: by name, in the order met; empty if the texts are in no groups.
    """

    COLUMNS = ("group", "model", "effective_n", "tokens", "agreed", "agreement")

    total: TextAgreement
    groups: dict[str, TextAgreement]

    def __repr__(self) -> str:
        return f"Agreements({self.total!r}, {len(self.groups):,} groups)"

    def _repr_html_(self) -> str:
        heads = ("", "texts", "tokens", *self.total.panels, "tokens sparse", "median n", "mean n")
        rows = [
            [
                html.visible(name),
                f"{each.num_texts:,}",
                f"{each.num_tokens:,}",
                *(shown(panel.agreement) for panel in each.panels.values()),
                shown(each.share_sparse),
                "–" if each.infgram.median_n is None else f"{each.infgram.median_n:g}",
                "–" if each.infgram.mean_n is None else f"{each.infgram.mean_n:.1f}",
            ]
            for name, each in [("all", self.total), *self.groups.items()]
        ]
        return html.lines(html.note("Agreement with the texts:"), html.table(heads, rows))

    def rows(self) -> list[dict[str, Any]]:
        """A row for each group (of no groups: ""), model and effective n."""
        return [
            {"group": name, "model": model, **row}
            for name, each in (self.groups or {"": self.total}).items()
            for model, panel in each.panels.items()
            for row in panel.rows()
        ]

    def as_dict(self) -> dict[str, Any]:
        """All numbers as JSON values."""
        return {
            "order": self.total.order,
            "total": self.total.as_dict(),
            "groups": {name: each.as_dict() for name, each in self.groups.items()},
        }


@dataclass(eq=False, repr=False)
class ByNeuralProb(Analysis):
    """Agreement of the ∞-gram model, by the probability that a neural model gives to the token.

    edges: float64, shape (k + 1,), from 0 to 1; bin i is [edges[i], edges[i + 1]), the last one
    with its upper edge. int64, shape (k,): tokens and agreed of each bin, and of its tokens whose
    ∞-gram estimate is sparse, sparse_tokens and sparse_agreed.
    """

    num_texts: int
    edges: np.ndarray
    tokens: np.ndarray
    agreed: np.ndarray
    sparse_tokens: np.ndarray
    sparse_agreed: np.ndarray

    @property
    def num_tokens(self) -> int:
        """All tokens that the neural model gives a probability."""
        return int(self.tokens.sum())

    @property
    def agreement(self) -> float | None:
        """The share of them that the ∞-gram model agrees with, or None."""
        return share(int(self.agreed.sum()), self.num_tokens)

    @property
    def sparse_agreement(self) -> float | None:
        """The same of the tokens whose estimate is sparse, or None."""
        return share(int(self.sparse_agreed.sum()), int(self.sparse_tokens.sum()))

    def __repr__(self) -> str:
        shares = f"∞-gram {shown(self.agreement)}, sparse {shown(self.sparse_agreement)}"
        return f"ByNeuralProb({self.num_texts:,} texts, {self.num_tokens:,} tokens: {shares})"

    def _repr_html_(self) -> str:
        heads = ("neural probability", "tokens", "∞-gram agrees", "sparse tokens", "sparse agrees")
        rows = [
            [
                f"{row['from']:.2f} – {row['to']:.2f}",
                f"{row['tokens']:,}",
                shown(row["agreement"]),
                f"{row['sparse_tokens']:,}",
                shown(row["sparse_agreement"]),
            ]
            for row in self.rows()
        ]
        return html.lines(html.note("Agreement with the texts:"), html.table(heads, rows))

    def rows(self) -> list[dict[str, Any]]:
        """A row for each bin."""
        columns = (self.tokens, self.agreed, self.sparse_tokens, self.sparse_agreed)
        counts = zip(*(column.tolist() for column in columns), strict=True)
        edges = self.edges.tolist()
        return [
            {
                "from": edges[number],
                "to": edges[number + 1],
                "tokens": tokens,
                "agreed": agreed,
                "agreement": share(agreed, tokens),
                "sparse_tokens": sparse,
                "sparse_agreed": sparse_agreed,
                "sparse_agreement": share(sparse_agreed, sparse),
            }
            for number, (tokens, agreed, sparse, sparse_agreed) in enumerate(counts)
        ]

    def as_dict(self) -> dict[str, Any]:
        """All numbers as JSON values."""
        return {
            "num_texts": self.num_texts,
            "num_tokens": self.num_tokens,
            "agreement": self.agreement,
            "share_sparse": share(int(self.sparse_tokens.sum()), self.num_tokens),
            "sparse_agreement": self.sparse_agreement,
            "bins": self.rows(),
        }


def share(part: int, whole: int) -> float | None:
    """part / whole; None of nothing."""
    return part / whole if whole else None


def shown(value: float | None) -> str:
    """A share as a percentage."""
    return "–" if value is None or math.isnan(value) else f"{value:.1%}"


def finite(value: float) -> float | None:
    """The value as JSON has it: None for what is infinite or undefined."""
    return value if math.isfinite(value) else None


def counted_by(bins: np.ndarray, chosen: np.ndarray, size: int) -> np.ndarray:
    """How many of the chosen are in each bin: int64, shape (size or more,).

    bins: int64, shape (n,), from 0 on; chosen: bool, shape (n,).
    """
    return np.bincount(bins[chosen], minlength=size).astype(np.int64)


def _added(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    longer, shorter = sorted((one, two), key=len, reverse=True)
    total = longer.copy()
    total[: shorter.shape[0]] += shorter
    return total
