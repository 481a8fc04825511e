"""everygram: exact n-gram and ∞-gram queries over a tokenized corpus.

`everygram.build` makes an index of a corpus, `everygram.open` opens it as an `Index`, which answers
with the results listed below. Names load when first used, so that `everygram --help` does not wait
for numba.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if sys.byteorder != "little":
    raise ImportError(
        "everygram: its files are little-endian, this machine is big-endian; use one "
        "that is little-endian (x86-64, ARM64)"
    )

if TYPE_CHECKING:
    from everygram.building.attaching import Attachment as Attachment
    from everygram.building.attaching import attach as attach
    from everygram.building.compaction import Compaction as Compaction
    from everygram.building.compaction import compact as compact
    from everygram.building.convert import convert as convert
    from everygram.building.deletion import Deletion as Deletion
    from everygram.building.deletion import delete as delete
    from everygram.building.export import Export as Export
    from everygram.building.export import export as export
    from everygram.building.export import export_infini_gram as export_infini_gram
    from everygram.building.indexer import add as add
    from everygram.building.indexer import build as build
    from everygram.building.plan import plan as plan
    from everygram.building.preparation import Preparation as Preparation
    from everygram.building.preparation import prepare as prepare
    from everygram.building.transfer import Transfer as Transfer
    from everygram.building.transfer import pull as pull
    from everygram.building.transfer import push as push
    from everygram.building.upgrade import Upgrade as Upgrade
    from everygram.building.upgrade import upgrade as upgrade
    from everygram.client import AsyncClient as AsyncClient
    from everygram.client import Client as Client
    from everygram.curation.contamination import contamination as contamination
    from everygram.curation.deduplication import deduplicate as deduplicate
    from everygram.curation.duplicates import duplicates as duplicates
    from everygram.curation.frequency import frequency as frequency
    from everygram.curation.frequent import top_ngrams as top_ngrams
    from everygram.curation.statistics import stats as stats
    from everygram.errors import BuildError as BuildError
    from everygram.errors import CorpusError as CorpusError
    from everygram.errors import CursorError as CursorError
    from everygram.errors import DamagedIndexError as DamagedIndexError
    from everygram.errors import EverygramError as EverygramError
    from everygram.errors import ExpressionError as ExpressionError
    from everygram.errors import FormatError as FormatError
    from everygram.errors import MissingExtraError as MissingExtraError
    from everygram.errors import OptionError as OptionError
    from everygram.errors import QueryError as QueryError
    from everygram.errors import ServiceError as ServiceError
    from everygram.errors import TokenizerError as TokenizerError
    from everygram.errors import UnreachableSegmentError as UnreachableSegmentError
    from everygram.index import Index as Index
    from everygram.lm.model import LanguageModel as LanguageModel
    from everygram.opening import open as open
    from everygram.progress import BuildPlan as BuildPlan
    from everygram.progress import BuildReport as BuildReport
    from everygram.progress import Progress as Progress
    from everygram.results.attribution import AttributedSpan as AttributedSpan
    from everygram.results.attribution import Attribution as Attribution
    from everygram.results.attribution import MergedSpan as MergedSpan
    from everygram.results.attribution import SourceDocument as SourceDocument
    from everygram.results.attribution import SpanDocument as SpanDocument
    from everygram.results.attribution import Surroundings as Surroundings
    from everygram.results.contamination import BenchmarkSummary as BenchmarkSummary
    from everygram.results.contamination import ContaminatedItem as ContaminatedItem
    from everygram.results.contamination import Contamination as Contamination
    from everygram.results.contamination import Example as Example
    from everygram.results.documents import Document as Document
    from everygram.results.documents import Matches as Matches
    from everygram.results.documents import Occurrence as Occurrence
    from everygram.results.drafts import Draft as Draft
    from everygram.results.duplicates import Deduplication as Deduplication
    from everygram.results.duplicates import Duplicates as Duplicates
    from everygram.results.frequent import FrequentNgram as FrequentNgram
    from everygram.results.frequent import FrequentNgrams as FrequentNgrams
    from everygram.results.ngrams import Count as Count
    from everygram.results.ngrams import Counts as Counts
    from everygram.results.ngrams import Distribution as Distribution
    from everygram.results.ngrams import Distributions as Distributions
    from everygram.results.ngrams import DocumentCount as DocumentCount
    from everygram.results.ngrams import DocumentCounts as DocumentCounts
    from everygram.results.ngrams import NextToken as NextToken
    from everygram.results.ngrams import Prob as Prob
    from everygram.results.ngrams import Probs as Probs
    from everygram.results.novelty import Novelty as Novelty
    from everygram.results.search import Hit as Hit
    from everygram.results.search import Hits as Hits
    from everygram.results.search import Span as Span
    from everygram.results.search import TermCount as TermCount
    from everygram.results.strings import TextCount as TextCount
    from everygram.results.strings import TextMatches as TextMatches
    from everygram.results.strings import TextOccurrence as TextOccurrence
    from everygram.results.strings import Tokenization as Tokenization
    from everygram.results.strings import Tokenizations as Tokenizations
    from everygram.results.texts import LongestMatches as LongestMatches
    from everygram.results.texts import Scores as Scores

# Where each name is defined.
_HOMES = {
    "errors": (
        "BuildError",
        "CorpusError",
        "CursorError",
        "DamagedIndexError",
        "EverygramError",
        "ExpressionError",
        "FormatError",
        "MissingExtraError",
        "OptionError",
        "QueryError",
        "ServiceError",
        "TokenizerError",
        "UnreachableSegmentError",
    ),
    "progress": (
        "BuildPlan",
        "BuildReport",
        "Progress",
    ),
    "curation.frequent": ("top_ngrams",),
    "results.frequent": ("FrequentNgram", "FrequentNgrams"),
    "results.ngrams": (
        "Count",
        "Counts",
        "Distribution",
        "Distributions",
        "DocumentCount",
        "DocumentCounts",
        "NextToken",
        "Prob",
        "Probs",
    ),
    "results.texts": (
        "LongestMatches",
        "Scores",
    ),
    "results.novelty": ("Novelty",),
    "results.contamination": (
        "BenchmarkSummary",
        "ContaminatedItem",
        "Contamination",
        "Example",
    ),
    "results.duplicates": (
        "Deduplication",
        "Duplicates",
    ),
    "results.documents": (
        "Document",
        "Matches",
        "Occurrence",
    ),
    "results.drafts": ("Draft",),
    "results.strings": (
        "TextCount",
        "TextMatches",
        "TextOccurrence",
        "Tokenization",
        "Tokenizations",
    ),
    "results.search": (
        "Hit",
        "Hits",
        "Span",
        "TermCount",
    ),
    "results.attribution": (
        "AttributedSpan",
        "Attribution",
        "MergedSpan",
        "SourceDocument",
        "SpanDocument",
        "Surroundings",
    ),
    "index": ("Index",),
    "opening": ("open",),
    "building.attaching": (
        "Attachment",
        "attach",
    ),
    "building.indexer": (
        "add",
        "build",
    ),
    "building.plan": ("plan",),
    "building.preparation": (
        "Preparation",
        "prepare",
    ),
    "lm.model": ("LanguageModel",),
    "building.deletion": (
        "Deletion",
        "delete",
    ),
    "building.compaction": (
        "Compaction",
        "compact",
    ),
    "building.convert": ("convert",),
    "curation.duplicates": ("duplicates",),
    "curation.deduplication": ("deduplicate",),
    "building.export": (
        "Export",
        "export",
        "export_infini_gram",
    ),
    "curation.frequency": ("frequency",),
    "curation.statistics": ("stats",),
    "client": (
        "AsyncClient",
        "Client",
    ),
    "building.transfer": (
        "Transfer",
        "pull",
        "push",
    ),
    "building.upgrade": (
        "Upgrade",
        "upgrade",
    ),
    "curation.contamination": ("contamination",),
}
_NAMES = [name for names in _HOMES.values() for name in names]
# `from everygram import *` leaves Python's own `open` as it is.
__all__ = [name for name in _NAMES if name != "open"]


def __dir__() -> list[str]:
    # What is private here, or imported for use here, is nobody's API.
    return sorted({*_NAMES, "__version__", *(name for name in globals() if name[:2] == "__")})


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("everygram")
    for home, names in _HOMES.items():
        if name in names:
            return vars(import_module(f"everygram.{home}"))[name]
    raise AttributeError(f"module 'everygram' has no attribute {name!r}")
