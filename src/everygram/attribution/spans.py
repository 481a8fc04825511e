"""Which parts of a text an index has: spans that begin and end with words, inside sentences.

In: a text's ids, where its words and sentences end, and the engine. Out: spans as arrays of places
among the tokens, ranked and merged. After OLMoTrace (Liu et al. 2025, arXiv 2504.07096, section 3).
Knows nothing of documents.
"""

import itertools
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from everygram.attribution.text import AskedText
from everygram.engine.engine import Engine
from everygram.engine.queries import Queries
from everygram.kernels import spans as kernels

# What spans are ranked by: rare ones first, or long ones.
RANKS = ("unigram_log_prob", "length")


@dataclass(frozen=True)
class Found:
    """Spans of a text, by place: int64, shape (k,), and of `intervals` (k, segments, 2).

    starts, ends: in tokens. counts: how often each occurs. log_probs: float64, nats.
    """

    starts: np.ndarray
    ends: np.ndarray
    counts: np.ndarray
    log_probs: np.ndarray
    intervals: np.ndarray

    def __len__(self) -> int:
        return int(self.starts.shape[0])

    def some(self, places: np.ndarray) -> "Found":
        """Some of the spans."""
        columns = (self.starts, self.ends, self.counts, self.log_probs, self.intervals)
        return Found(*(column[places] for column in columns))


def find(
    engine: Engine,
    text: Queries,
    read: AskedText,
    delimiters: tuple[str, ...],
    whole_words: bool,
    min_length: int,
    max_count: int | None,
) -> Found:
    """All spans of a text: at each bound the longest match, trimmed, if it ends further right than
    all before it, has so many tokens, is not white space alone, and occurs so often at most.

    read: the same text. O(len) searches.
    """
    n = text.ids.shape[0]
    lengths = engine.match_lengths(text, False, np.empty((0, len(engine.segments), 2), np.int64))
    lengths[text.ids == engine.vocabulary.separator] = 0
    starts, ends = np.empty(n, np.int64), np.empty(n, np.int64)
    bounds = read.bounds(whole_words)
    # A delimiter inside a word or a number ends no sentence.
    stops = read.stops(delimiters) & bounds[1:]
    count = int(kernels.maximal(lengths, stops, bounds, min_length, starts, ends))
    # (A span inside another one that is left out, here or below, is to be left out, too.)
    starts, ends = starts[:count], ends[:count]
    shown = read.shown(starts, ends)
    starts, ends = starts[shown], ends[shown]
    intervals = engine.intervals_of_runs(text.ranges(starts, ends))
    counts = engine.counts_of(intervals)
    if max_count is not None:
        rare = counts <= max_count
        starts, ends, counts, intervals = starts[rare], ends[rare], counts[rare], intervals[rare]
    sums = np.zeros(starts.shape[0])
    kernels.sums(engine.unigram_log_probs(text), starts, ends, sums)
    return Found(starts, ends, counts, sums, intervals)


def most(found: Found, num_tokens: int, density: float | None, rank_by: str) -> np.ndarray:
    """The places of the ⌈density · num_tokens⌉ spans that rank first (None: all), ascending."""
    if density is None:
        return np.arange(len(found))
    # (As many as the decimal number says that was given: 0.07 of 100 are 7, not 8.)
    wanted = -(-Fraction(repr(density)) * num_tokens // 1)
    # (Sums of the same numbers in another order differ in their last digits.)
    rarity = rank_by == "unigram_log_prob"
    key = found.log_probs.round(9) if rarity else found.starts - found.ends
    first: np.ndarray = np.sort(np.argsort(key, kind="stable")[: min(wanted, len(found))])
    return first


def merged(starts: np.ndarray, ends: np.ndarray) -> list[tuple[int, int]]:
    """Spans that overlap, as one: the first of each, and the one after its last. Spans are by
    place, and end in the order in which they start."""
    apart = np.flatnonzero(starts[1:] >= ends[:-1]) + 1
    firsts = [0, *apart.tolist(), starts.shape[0]]
    return list(itertools.pairwise(firsts)) if starts.shape[0] else []
