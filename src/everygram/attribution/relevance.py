"""How relevant passages are to a text: BM25, by the library bm25s."""

import itertools
import logging
import re
from collections import Counter
from collections.abc import Iterable
from functools import cache

import numpy as np

from everygram.attribution.text import WITHOUT_SPACES

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
    # (Where the query has none of these scripts, neither do the words that matter.)
    words_of = _divided if _unspaced().search(query) else str.split
    times = Counter(words_of(query))
    words = {word: number for number, word in enumerate(times)}
    other = len(words)
    ids = [list(map(words.get, words_of(passage), itertools.repeat(other))) for passage in passages]
    if not words or not any(ids):
        return np.zeros(len(ids))
    words["\0 other"] = other
    ranked = bm25s.BM25(k1=K1, b=B, method="lucene")
    ranked.index(bm25s.tokenization.Tokenized(ids, words), show_progress=False)
    # A word counts as often as the query has it: the words whose number has a bit count as much as
    # the bit. (The library would go through a word's passages once for each time.)
    scores = np.zeros(len(ids))
    for bit in range(max(times.values()).bit_length()):
        asked = [words[word] for word, number in times.items() if number >> bit & 1]
        if asked:
            scores += (1 << bit) * ranked.get_scores_from_ids(asked).astype(np.float64)
    # (Lucene leaves out the factor k1 + 1, which Okapi BM25 has.)
    divided: np.ndarray = scores * (K1 + 1) / (SHARE * characters)
    return divided


def _divided(text: str) -> list[str]:
    """The words of a text, each character of a script without spaces one of its own."""
    return _unspaced().sub(r" \g<0> ", text).split()


@cache
def _unspaced() -> re.Pattern[str]:
    """A character of a script without spaces between words."""
    ranges = "".join(f"{chr(first)}-{chr(last)}" for first, last in WITHOUT_SPACES)
    return re.compile(f"[{ranges}]")


def level_of(score: float) -> str:
    """The relevance that a score stands for."""
    return next(level for least, level in LEVELS if score >= least)
