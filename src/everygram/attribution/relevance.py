"""How relevant passages are to a text: BM25, by the library bm25s."""

import itertools
import logging
import re
from collections.abc import Iterable
from functools import cache

import numpy as np

from everygram.attribution.spans import WITHOUT_SPACES

# Okapi BM25's usual parameters, and by how much of a text's characters OLMoTrace divides a score
# (Liu et al. 2025, section 3): from which share on a document is of which relevance.
K1, B = 1.5, 0.75
SHARE = 0.18
LEVELS = ((0.7, "high"), (0.5, "medium"), (-np.inf, "low"))


def relevance_of(passages: Iterable[str], query: str, characters: int) -> np.ndarray:
    """Okapi BM25 of each passage for a query, over SHARE of the text's characters: float64.

    Words are what white space divides, and single characters in scripts without spaces. Of words
    that the query does not have, only the number matters, so they are one to the library. (The
    library that OLMoTrace takes, rank-bm25, takes time for each pair of a word and a passage, and
    calls passages relevant that have little but the words that all have.)
    """
    import bm25s

    # (Its import asks for all of its messages; which are wanted is the program's to say.)
    logging.getLogger("bm25s").setLevel(logging.NOTSET)
    words: dict[str, int] = {}
    # (Where the query has none of these scripts, neither do the words that matter.)
    words_of = _words().findall if _unspaced().search(query) else str.split
    asked = [words.setdefault(word, len(words)) for word in words_of(query)]
    other = len(words)
    ids = [list(map(words.get, words_of(passage), itertools.repeat(other))) for passage in passages]
    if not asked or not any(ids):
        return np.zeros(len(ids))
    words["\0 other"] = other
    ranked = bm25s.BM25(k1=K1, b=B, method="lucene")
    ranked.index(bm25s.tokenization.Tokenized(ids, words), show_progress=False)
    # (Lucene leaves out the factor k1 + 1, which Okapi BM25 has.)
    scores = ranked.get_scores_from_ids(asked).astype(np.float64) * (K1 + 1)
    divided: np.ndarray = scores / (SHARE * characters)
    return divided


@cache
def _unspaced() -> re.Pattern[str]:
    """A character of a script without spaces between words."""
    return re.compile(f"[{_ranges()}]")


@cache
def _words() -> re.Pattern[str]:
    """A word, or a character of a script without spaces."""
    return re.compile(f"[{_ranges()}]|[^\\s{_ranges()}]+")


def _ranges() -> str:
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in WITHOUT_SPACES)


def level_of(score: float) -> str:
    """The relevance that a score stands for."""
    return next(level for least, level in LEVELS if score >= least)
