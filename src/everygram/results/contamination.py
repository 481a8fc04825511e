"""Contamination: which items of benchmarks a corpus has, and how much of each."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from everygram.results.base import Value
from everygram.results.tables import Table

# Shares at which the items of a benchmark are counted; the first stands for any n-gram at all.
THRESHOLDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def percent(share: float) -> str:
    """A share in percent: less than one is not said to be none."""
    return "<1%" if 0 < share < 0.01 else f"{share:.0%}"


@dataclass(frozen=True)
class Example:
    """A place where the longest match of an item stands.

    document: its number; index: in a union the name of the index whose it is, else None. metadata:
    the document's. before, match, after: the text there; None without a tokenizer.
    """

    document: int
    index: str | None
    metadata: dict[str, Any]
    before: str | None
    match: str | None
    after: str | None


@dataclass(frozen=True)
class ContaminatedItem:
    """An item of a benchmark, or a document that was held against benchmarks.

    benchmark: as it was named; item: its number there, from 0 on. hit: whether the rule says that
    it is contaminated. tokens: its tokens (or words) that were looked at, ngrams: its n-grams, one
    per place; both are 0 where it is too short. coverage: the share of tokens that are inside
    n-grams that were found; share: that of n-grams. hits: different n-grams that were found.
    longest: tokens of the longest match with such an n-gram; count, document_count: how often and
    in how many documents that occurs; documents: some of its places. text: its texts, or the
    beginning of them, with an empty line between them.
    """

    benchmark: str
    item: int
    hit: bool
    tokens: int
    ngrams: int
    coverage: float
    share: float
    longest: int
    hits: int
    count: int
    document_count: int
    documents: tuple[Example, ...]
    text: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The item as JSON values."""
        return asdict(self) | {"documents": [asdict(each) for each in self.documents]}


@dataclass(frozen=True)
class BenchmarkSummary:
    """A benchmark as a whole.

    num_items: all. num_hit: those that are contaminated by the rule. num_short: those with too few
    tokens to be looked for. by_coverage, by_share: how many items reach each of THRESHOLDS; the
    first of each is those with any n-gram found.
    """

    name: str
    num_items: int
    num_hit: int
    num_short: int
    by_coverage: tuple[int, ...]
    by_share: tuple[int, ...]

    def as_dict(self) -> dict[str, Any]:
        """The benchmark as JSON values."""
        rows = zip(THRESHOLDS, self.by_coverage, self.by_share, strict=True)
        return {
            "name": self.name,
            "num_items": self.num_items,
            "num_hit": self.num_hit,
            "num_short": self.num_short,
            "sweep": [
                {"threshold": threshold, "by_coverage": coverage, "by_share": share}
                for threshold, coverage, share in rows
            ],
        }


@dataclass(frozen=True, eq=False, repr=False)
class Contamination(Value, Table):
    """What of benchmarks a corpus has.

    items: every item of the benchmarks; of documents that were held against benchmarks, those with
    any n-gram found. unit: "tokens" or "words". benchmarks: each as a whole. manifest: parameters,
    the index, files and their hashes: what to repeat it with. drop: int64, the documents of the
    corpus, ascending, that have an n-gram of a contaminated item; None unless they were wanted.
    """

    items: list[ContaminatedItem]
    unit: str
    benchmarks: tuple[BenchmarkSummary, ...]
    manifest: dict[str, Any]
    drop: np.ndarray | None = None

    @property
    def num_items(self) -> int:
        """All items, or documents, that were read."""
        return sum(each.num_items for each in self.benchmarks)

    @property
    def num_hit(self) -> int:
        """Those that are contaminated."""
        return sum(each.num_hit for each in self.benchmarks)

    def __repr__(self) -> str:
        return f"Contamination({self.num_hit:,} of {self.num_items:,} items)"

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {
            "num_items": self.num_items,
            "num_hit": self.num_hit,
            "unit": self.unit,
            "benchmarks": [each.as_dict() for each in self.benchmarks],
            "items": [each.as_dict() for each in self.items],
            "num_drop": None if self.drop is None else self.drop.shape[0],
            "manifest": self.manifest,
        }

    def columns(self) -> dict[str, Any]:
        """A column for each field of the items; of their documents only the numbers."""
        names = [name for name in ContaminatedItem.__dataclass_fields__ if name != "documents"]
        columns: dict[str, Any] = {
            name: [getattr(each, name) for each in self.items] for name in names
        }
        columns["documents"] = [[one.document for one in each.documents] for each in self.items]
        return columns

    def to_html(self) -> str:
        """The result as a page, a file that needs no other."""
        from everygram.results.report.contamination import page

        return page(self)
