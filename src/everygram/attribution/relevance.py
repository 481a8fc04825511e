"""How relevant passages are to a text: BM25, by the library bm25s."""

import itertools
import logging
from collections.abc import Iterable

import numpy as np

# Okapi BM25's usual parameters, and by how much of a text's characters OLMoTrace divides a score
# (Liu et al. 2025, section 3): from which share on a document is of which relevance.
K1, B = 1.5, 0.75
SHARE = 0.18
LEVELS = ((0.7, "high"), (0.5, "medium"), (-np.inf, "low"))


def relevance_of(passages: Iterable[str], query: str, characters: int) -> np.ndarray:
    """Okapi BM25 of each passage for a query, over SHARE of the text's characters: float64.

    Words are what white space divides. Of words that the query does not have, only the number
    matters, so they are one to the library. (The library that OLMoTrace takes, rank-bm25, takes
    time for each pair of a word and a passage, and calls passages relevant that have little but
    the words that all have.)
    """
    import bm25s

    # (Its import asks for all of its messages; which are wanted is the program's to say.)
    logging.getLogger("bm25s").setLevel(logging.NOTSET)
    words: dict[str, int] = {}
    asked = [words.setdefault(word, len(words)) for word in query.split()]
    other = len(words)
    ids = [list(map(words.get, passage.split(), itertools.repeat(other))) for passage in passages]
    if not asked or not any(ids):
        return np.zeros(len(ids))
    words["\0 other"] = other
    ranked = bm25s.BM25(k1=K1, b=B, method="lucene")
    ranked.index(bm25s.tokenization.Tokenized(ids, words), show_progress=False)
    # (Lucene leaves out the factor k1 + 1, which Okapi BM25 has.)
    scores = ranked.get_scores_from_ids(asked).astype(np.float64) * (K1 + 1)
    divided: np.ndarray = scores / (SHARE * characters)
    return divided


def level_of(score: float) -> str:
    """The relevance that a score stands for."""
    return next(level for least, level in LEVELS if score >= least)
