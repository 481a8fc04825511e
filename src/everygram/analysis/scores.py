"""What an index says of the tokens that a neural model has scored.

In: an index and documents with log-probabilities. Out: arrays with a value for each scored token,
of all documents in a row.
"""

import itertools
from collections.abc import Iterable

import numpy as np

from everygram.analysis.log_probs import ScoredDocument
from everygram.analysis.mixing import Tokens
from everygram.errors import QueryError
from everygram.index import Index
from everygram.results.texts import Scores


def tokens_of(index: Index, documents: list[ScoredDocument]) -> Tokens:
    """What both models give the tokens that the neural one has scored."""
    if not index.num_tokens:
        raise QueryError("index: expected one with tokens, found an empty one, which predicts none")
    scores = scores_of(index, documents)
    chosen = [is_scored(document) for document in documents]
    return Tokens(
        np.concatenate([one.log_probs[of] for one, of in zip(documents, chosen, strict=True)]),
        of_scored(documents, (each.probs for each in scores)),
        of_scored(documents, (each.sparse for each in scores)),
        np.repeat(np.arange(len(documents)), [np.count_nonzero(of) for of in chosen]),
        len(documents),
    )


def check_ids(index: Index, document: ScoredDocument, number: int) -> None:
    """Raise QueryError for ids of a document that are not of the index's vocabulary.

    number: of the document, for the message, if it comes from no file.
    """
    outside = np.flatnonzero(document.token_ids >= index.vocab_size)
    if outside.size:
        place = document.place or f"document {number:,}"
        raise QueryError(
            f"{place}: token id {document.token_ids[outside[0]]:,} at place {outside[0]:,} is "
            f"outside the index's vocabulary of {index.vocab_size:,}: the neural model has "
            "another tokenizer; index the corpus with the model's"
        )


def is_scored(document: ScoredDocument) -> np.ndarray:
    """Which of a document's tokens the neural model has scored: bool, shape (n,)."""
    found: np.ndarray = ~np.isnan(document.log_probs)
    return found


def scores_of(
    index: Index, documents: list[ScoredDocument], order: int | None = None
) -> list[Scores]:
    """The ∞-gram's scores of documents, or an n-gram's: of a separator, their start, and tokens."""
    texts = [np.concatenate([[index.separator], one.token_ids]) for one in documents]
    offsets = [0, *itertools.accumulate(map(len, texts))]
    return index.score_batch(np.concatenate(texts), offsets, order=order)


def of_scored(documents: list[ScoredDocument], values: Iterable[np.ndarray]) -> np.ndarray:
    """Of values as `scores_of` has them, those of the scored tokens."""
    return np.concatenate(
        [each[1:][is_scored(one)] for one, each in zip(documents, values, strict=True)]
    )
