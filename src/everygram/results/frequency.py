"""How often concepts occur: alone, in pairs, in another corpus, and beside scores of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from everygram.results.base import Value
from everygram.results.tables import Table


@dataclass(frozen=True)
class ConceptCount:
    """How often a concept occurs, and in how many documents."""

    concept: str
    count: int
    document_count: int

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "concept": self.concept,
            "count": self.count,
            "document_count": self.document_count,
        }


@dataclass(frozen=True, eq=False, repr=False)
class Pairs(Value, Table):
    """Pairs of concepts that occur together, by place in the list of concepts.

    firsts, seconds: int64, shape (k,). counts: pairs of occurrences, one of each concept, in one
    document, or in one window. document_counts: documents that have such a pair. int64, shape (k,).
    within: the most tokens of a window; None: documents.
    """

    concepts: tuple[str, ...]
    within: int | None
    firsts: np.ndarray
    seconds: np.ndarray
    counts: np.ndarray
    document_counts: np.ndarray

    def __repr__(self) -> str:
        return f"Pairs({len(self):,} pairs)"

    def __len__(self) -> int:
        return int(self.firsts.shape[0])

    def columns(self) -> dict[str, Any]:
        return {
            "first": [self.concepts[place] for place in self.firsts.tolist()],
            "second": [self.concepts[place] for place in self.seconds.tolist()],
            "count": self.counts,
            "document_count": self.document_counts,
        }

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"within": self.within, "rows": _rows(self.columns())}


@dataclass(frozen=True)
class Bin:
    """Items whose concept occurs so often: from `low` up to below `high`.

    mean: of their scores; interval: 95 %, by bootstrap.
    """

    low: int
    high: int
    items: int
    mean: float
    interval: tuple[float, float]

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "low": self.low,
            "high": self.high,
            "items": self.items,
            "mean": self.mean,
            "interval": list(self.interval),
        }


@dataclass(frozen=True)
class Performance(Table):
    """Scores of items against how often their concepts occur.

    by: "count" or "document_count". zero: items whose concept does not occur; they are in no bin,
    and take no part in what follows. slope: of the straight line of least squares through the
    scores against log10 of the counts, per tenfold count; intercept: its score at a count of 1.
    correlation: Pearson's, of the same; rank_correlation: Spearman's. All with 95 % intervals, of
    `resamples` bootstrap samples of concepts; None where they are undefined: of concepts that all
    occur equally often, or items that all have one score.
    """

    by: str
    items: int
    concepts: int
    resamples: int
    seed: int
    zero: Bin | None
    bins: tuple[Bin, ...]
    slope: float | None
    slope_interval: tuple[float, float] | None
    intercept: float | None
    correlation: float | None
    correlation_interval: tuple[float, float] | None
    rank_correlation: float | None
    rank_correlation_interval: tuple[float, float] | None

    def columns(self) -> dict[str, Any]:
        every = ([] if self.zero is None else [self.zero]) + list(self.bins)
        return {
            "low": [each.low for each in every],
            "high": [each.high for each in every],
            "items": [each.items for each in every],
            "mean": [each.mean for each in every],
            "mean_low": [each.interval[0] for each in every],
            "mean_high": [each.interval[1] for each in every],
        }

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        names = ("slope", "intercept", "correlation", "rank_correlation")
        intervals = ("slope_interval", "correlation_interval", "rank_correlation_interval")
        return (
            {
                "by": self.by,
                "items": self.items,
                "concepts": self.concepts,
                "resamples": self.resamples,
                "seed": self.seed,
                "zero": None if self.zero is None else self.zero.as_dict(),
                "bins": [each.as_dict() for each in self.bins],
            }
            | {name: getattr(self, name) for name in names}
            | {
                name: None if (found := getattr(self, name)) is None else list(found)
                for name in intervals
            }
        )


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Value, Table):
    """The same concepts in two corpora.

    counts, document_counts: int64, shape (k,), in the other corpus, of num_tokens and num_documents
    in all. both, first_only, second_only, neither: how many concepts occur where. correlation:
    Pearson's, of log10 of the counts of concepts that occur in both; rank_correlation: Spearman's,
    of all counts. None where undefined.
    """

    name: str
    concepts: tuple[str, ...]
    num_documents: int
    num_tokens: int
    counts: np.ndarray
    document_counts: np.ndarray
    both: int
    first_only: int
    second_only: int
    neither: int
    correlation: float | None
    rank_correlation: float | None

    def __repr__(self) -> str:
        return f"Comparison({len(self.concepts):,} concepts, of which {self.both:,} occur in both)"

    def columns(self) -> dict[str, Any]:
        return {
            "concept": list(self.concepts),
            "count": self.counts,
            "document_count": self.document_counts,
        }

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        names = ("num_documents", "num_tokens", "both", "first_only", "second_only", "neither")
        return (
            {"name": self.name}
            | {name: getattr(self, name) for name in names}
            | {"correlation": self.correlation, "rank_correlation": self.rank_correlation}
        )


@dataclass(frozen=True, eq=False, repr=False)
class Frequencies(Value, Table, Sequence[ConceptCount]):
    """How often each concept occurs in an index: a sequence of `ConceptCount`.

    concepts: their names. counts, document_counts: int64, shape (k,). num_documents, num_tokens: of
    the index. pairs, performance, comparison: None unless asked for.
    """

    concepts: tuple[str, ...]
    num_documents: int
    num_tokens: int
    ignore_case: bool
    whole_words: bool
    counts: np.ndarray
    document_counts: np.ndarray
    pairs: Pairs | None = None
    performance: Performance | None = None
    comparison: Comparison | None = None

    def __repr__(self) -> str:
        return f"Frequencies({len(self):,} concepts, of which {(self.counts > 0).sum():,} occur)"

    def __len__(self) -> int:
        return len(self.concepts)

    @overload
    def __getitem__(self, place: int) -> ConceptCount: ...

    @overload
    def __getitem__(self, place: slice) -> list[ConceptCount]: ...

    def __getitem__(self, place: int | slice) -> ConceptCount | list[ConceptCount]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        name = self.concepts[place]
        return ConceptCount(name, int(self.counts[place]), int(self.document_counts[place]))

    def __iter__(self) -> Iterator[ConceptCount]:
        return (self[place] for place in range(len(self)))

    def columns(self) -> dict[str, Any]:
        """`other_count` and `other_document_count`: of the corpus that it was compared with."""
        made: dict[str, Any] = {
            "concept": list(self.concepts),
            "count": self.counts,
            "document_count": self.document_counts,
        }
        if self.comparison is not None:
            made["other_count"] = self.comparison.counts
            made["other_document_count"] = self.comparison.document_counts
        return made

    def as_dict(self) -> dict[str, Any]:
        """As JSON values: `rows`, and what else was asked for."""
        made: dict[str, Any] = {
            "num_documents": self.num_documents,
            "num_tokens": self.num_tokens,
            "ignore_case": self.ignore_case,
            "whole_words": self.whole_words,
            "rows": _rows(self.columns()),
        }
        for name in ("pairs", "performance", "comparison"):
            found = getattr(self, name)
            if found is not None:
                made[name] = found.as_dict()
        return made


def _rows(columns: dict[str, Any]) -> list[dict[str, Any]]:
    """Columns as rows of JSON values."""
    lists = [
        column.tolist() if isinstance(column, np.ndarray) else column for column in columns.values()
    ]
    return [dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True)]
