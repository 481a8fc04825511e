"""Results of an analysis by the size of the index: agreement and perplexity of each size."""

from dataclasses import dataclass
from typing import Any

from everygram.results import html
from everygram.results.analysis import Analysis, TextAgreement, finite, shown
from everygram.results.base import Value
from everygram.results.interpolation import Interpolation


@dataclass(eq=False, repr=False)
class ScalingStep(Value):
    """One size: a share of the index's documents, drawn at random.

    num_documents, num_tokens: of the documents. agreement: with the texts that were evaluated.
    perplexity: of these texts, by the language model `infgram-floor`; nan of no tokens. mixed: what
    mixing the ∞-gram with a neural model does; None without one.
    """

    share: float
    num_documents: int
    num_tokens: int
    agreement: TextAgreement
    perplexity: float
    mixed: Interpolation | None = None

    def row(self) -> dict[str, Any]:
        """The numbers of this size."""
        each = self.agreement
        mixed = {} if self.mixed is None else _row_of(self.mixed)
        return {
            "share": self.share,
            "num_documents": self.num_documents,
            "num_tokens": self.num_tokens,
            "ngram_agreement": each.ngram.agreement,
            "infgram_agreement": each.infgram.agreement,
            "sparse_agreement": each.sparse.agreement,
            "share_sparse": each.share_sparse,
            "median_n": each.infgram.median_n,
            "mean_n": each.infgram.mean_n,
            "perplexity": finite(self.perplexity),
            **mixed,
        }


def _row_of(mixed: Interpolation) -> dict[str, Any]:
    """The numbers of a mixture: of the documents that it was not tuned on."""
    found = mixed.test.all
    return {
        "neural_perplexity": finite(found.neural_perplexity),
        "mixed_perplexity": finite(found.perplexity),
        "delta": finite(found.delta),
        "sparse_lambda": mixed.sparse_lambda,
        "other_lambda": mixed.other_lambda,
    }


@dataclass(eq=False, repr=False)
class Scaling(Analysis):
    """Agreement and perplexity by the size of the index; each size holds those before it."""

    steps: list[ScalingStep]

    @property
    def order(self) -> int:
        """The order of the n-gram model beside the ∞-gram model."""
        return self.steps[0].agreement.order

    @property
    def perplexities(self) -> dict[str, list[float]]:
        """The perplexity of each size, by model."""
        found = {"∞-gram with a floor": [step.perplexity for step in self.steps]}
        mixed = [step.mixed.test.all.perplexity for step in self.steps if step.mixed is not None]
        return found | ({"neural mixed with ∞-gram": mixed} if mixed else {})

    def __repr__(self) -> str:
        last = self.steps[-1]
        return (
            f"Scaling({len(self.steps)} sizes up to {last.num_tokens:,} tokens: ∞-gram agreement "
            f"{shown(self.steps[0].agreement.infgram.agreement)} to "
            f"{shown(last.agreement.infgram.agreement)})"
        )

    def _repr_html_(self) -> str:
        heads = ("share", "tokens", "∞-gram", "sparse", "tokens sparse", *self.perplexities)
        rows = [
            [
                f"{step.share:.2%}",
                f"{step.num_tokens:,}",
                shown(step.agreement.infgram.agreement),
                shown(step.agreement.sparse.agreement),
                shown(step.agreement.share_sparse),
                *(f"{values[place]:.4g}" for values in self.perplexities.values()),
            ]
            for place, step in enumerate(self.steps)
        ]
        return html.lines(html.note("Agreement and perplexity by size:"), html.table(heads, rows))

    def rows(self) -> list[dict[str, Any]]:
        """A row for each size."""
        return [step.row() for step in self.steps]

    def as_dict(self) -> dict[str, Any]:
        """All numbers as JSON values."""
        evaluated = self.steps[-1].agreement
        return {
            "order": self.order,
            "num_texts": evaluated.num_texts,
            "num_evaluated_tokens": evaluated.num_tokens,
            "steps": self.rows(),
        }
