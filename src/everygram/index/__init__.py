"""`Index`: what `everygram.open` returns. Strings or token ids in, typed results out."""

from everygram.index.attribution import AttributionQueries
from everygram.index.documents import DocumentQueries
from everygram.index.drafts import DraftQueries
from everygram.index.language import LanguageQueries
from everygram.index.ngrams import NgramQueries
from everygram.index.search import SearchQueries
from everygram.index.strings import StringQueries
from everygram.index.texts import TextQueries


class Index(
    NgramQueries,
    TextQueries,
    DocumentQueries,
    DraftQueries,
    StringQueries,
    SearchQueries,
    AttributionQueries,
    LanguageQueries,
):
    """An open index: exact counts, probabilities, distributions and documents.

    Every query is a string or token ids: a list, or an integer array of anybody's (numpy, torch,
    pandas, Arrow) of shape (m,) or (1, m). A string is encoded with the index's own tokenizer after
    its `query_prefix` (`raw=True` leaves that out); the result's `token_ids` and `tokens` show what
    it became. All raise QueryError for what is none, for booleans and masked arrays, and for ids
    outside the vocabulary, and TokenizerError for a string where the index has no tokenizer or
    its tokenizer fails. Methods may be called from several threads, and `refresh` beside them.

    >>> with everygram.open("demo") as index:
    ...     index.count("the standard library")
    """
