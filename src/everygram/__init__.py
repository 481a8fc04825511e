"""everygram: exact n-gram and ∞-gram queries over a tokenized corpus.

The names below load when first used, so that `everygram --help` does not wait for numba.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from everygram.building.compaction import Compaction, compact
    from everygram.building.deletion import Deletion, delete, export
    from everygram.building.indexer import add, build, plan
    from everygram.errors import (
        BuildError,
        CorpusError,
        DamagedIndexError,
        EverygramError,
        FormatError,
        MissingExtraError,
        OptionError,
        QueryError,
        TokenizerError,
    )
    from everygram.index import Index, open
    from everygram.progress import BuildPlan, BuildReport, Progress
    from everygram.results.ngrams import (
        Count,
        Distribution,
        Distributions,
        Document,
        LongestMatches,
        Matches,
        NextToken,
        Occurrence,
        Prob,
        Probs,
        Scores,
    )

__all__ = [
    "BuildError",
    "BuildPlan",
    "BuildReport",
    "Compaction",
    "CorpusError",
    "Count",
    "DamagedIndexError",
    "Deletion",
    "Distribution",
    "Distributions",
    "Document",
    "EverygramError",
    "FormatError",
    "Index",
    "LongestMatches",
    "Matches",
    "MissingExtraError",
    "NextToken",
    "Occurrence",
    "OptionError",
    "Prob",
    "Probs",
    "Progress",
    "QueryError",
    "Scores",
    "TokenizerError",
    "add",
    "build",
    "compact",
    "delete",
    "export",
    "open",
    "plan",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("everygram")
    if name in __all__:
        # A build needs more than a query: its module comes last.
        for home in (
            "errors",
            "results.ngrams",
            "progress",
            "index",
            "building.indexer",
            "building.deletion",
            "building.compaction",
        ):
            module = import_module(f"everygram.{home}")
            if name in vars(module):
                return vars(module)[name]
    raise AttributeError(f"module 'everygram' has no attribute {name!r}")
