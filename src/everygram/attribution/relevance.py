"""How relevant passages are to a text: Okapi BM25, as OLMoTrace has it."""

import itertools
from collections import defaultdict
from collections.abc import Iterable

import numpy as np

# As the library rank-bm25 has it, which OLMoTrace takes: the parameters, and the share of all
# words' average rarity that words have which are in more than half of the passages. (By Lucene's
# formula they have next to none, and by OLMoTrace's levels almost every document would be low.)
K1, B, EPSILON = 1.5, 0.75, 0.25
# By how much of a text's characters OLMoTrace divides a score (Liu et al. 2025, section 3), and
# from which share on a document is of which relevance.
SHARE = 0.18
LEVELS = ((0.7, "high"), (0.5, "medium"), (-np.inf, "low"))


def relevance_of(passages: Iterable[str], query: str, characters: int) -> np.ndarray:
    """Okapi BM25 of each passage for a query, over SHARE of the text's characters: float64.

    Words are what white space divides. (Numbers of words, sorted: rank-bm25 takes several times as
    long for an answer's documents, and bm25s, whose formulas are others, as long or longer.)
    """
    number_of: defaultdict[str, int] = defaultdict(itertools.count().__next__)

    def numbers(text: str) -> np.ndarray:
        # (Numbers alone are kept: words take ten times as much memory.)
        words = text.split()
        return np.fromiter(map(number_of.__getitem__, words), np.int64, len(words))

    asked = numbers(query)
    divided = [numbers(passage) for passage in passages]
    words = np.concatenate([asked[:0], *divided])
    if not asked.shape[0] or not words.shape[0]:
        return np.zeros(len(divided))
    lengths = np.array([part.shape[0] for part in divided])
    size = len(number_of)
    pairs, counts = np.unique(
        np.repeat(np.arange(len(divided)), lengths) * size + words, return_counts=True
    )
    passage, word = np.divmod(pairs, size)
    having = np.bincount(word, minlength=size)
    rarity = np.log((len(divided) - having + 0.5) / (having + 0.5))
    # (Of a single passage or two the average is below zero, too.)
    rarity[rarity < 0] = EPSILON * abs(rarity[having > 0].mean())
    weights = np.bincount(asked, minlength=size) * rarity
    saturated = (
        counts * (K1 + 1) / (counts + K1 * (1 - B + B * (lengths / lengths.mean())[passage]))
    )
    scores = np.bincount(passage, weights[word] * saturated, len(divided))
    shares: np.ndarray = scores / (SHARE * characters)
    return shares


def level_of(score: float) -> str:
    """The relevance that a score stands for."""
    return next(level for least, level in LEVELS if score >= least)
