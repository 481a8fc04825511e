"""Every token of a text: its probability, the longest match that starts there; what is new."""

from collections.abc import Sequence

import numpy as np

from everygram.arguments import natural
from everygram.attribution.novelty import BOUNDS, checked_bounds, checked_max_n, novelty_of
from everygram.encoding import Batch, Query
from everygram.engine.engine import Engine
from everygram.engine.pace import spread
from everygram.engine.queries import Ids, Queries
from everygram.errors import QueryError
from everygram.index.base import OpenIndex
from everygram.results.novelty import Novelty
from everygram.results.texts import LongestMatches, Scores


class TextQueries(OpenIndex):
    """Queries about whole texts."""

    def score(self, text: Query, *, order: int | None = None, raw: bool = False) -> Scores:
        """The probability of every token of a text after those before it.

        By the ∞-gram model, or the n-gram model of `order` n (a prompt of up to n − 1 tokens).
        A separator in the text starts a new document: no prompt reaches over it. All tokens
        together take about as many searches as there are tokens.
        """
        order = _order(order)
        engine, encoding, reading, _, _ = self._state
        asked = encoding.query(text, raw, "text")
        return Scores(reading, asked.ids, order, *engine.score(asked, order))

    def score_batch(
        self,
        texts: Batch,
        offsets: Ids | None = None,
        *,
        order: int | None = None,
        raw: bool = False,
    ) -> list[Scores]:
        """`score` of each of a batch of texts (see `count_batch`), on all cores."""
        order = _order(order)
        engine, encoding, reading, _, _ = self._state
        asked = encoding.queries(texts, offsets, raw)

        def each(begin: int, end: int) -> list[Scores]:
            return [
                Scores(reading, text.ids, order, *engine.score(text, order))
                for text in asked[begin:end].alone()
            ]

        return [scores for some in spread(each, len(asked), 1) for scores in some]

    def longest_matches(self, text: Query, *, raw: bool = False) -> LongestMatches:
        """For every token of a text the longest match that starts there, and how often it occurs.

        What decontamination and attribution start from: which parts of a text are in the corpus.
        """
        engine, encoding, reading, _, _ = self._state
        asked = encoding.query(text, raw, "text")
        return LongestMatches(reading, asked.ids, *engine.longest_matches(asked))

    def novelty(
        self,
        text: Query,
        *,
        max_n: int = 20,
        creativity_bounds: Sequence[int] = BOUNDS,
        raw: bool = False,
    ) -> Novelty:
        """How much of a text the corpus has verbatim, and how much of it is new.

        For n = 1 to `max_n` (at most 1,000): the share of its tokens inside matches of n tokens or
        more, and the share of its n-grams that do not occur in the corpus. And the creativity index
        of arXiv 2410.04265, a sum over match lengths from the lower to the upper of
        `creativity_bounds`. A separator in the text starts a new document. Those of several texts
        are added: `sum(map(index.novelty, texts))`.
        """
        options = checked_max_n(max_n), checked_bounds(creativity_bounds)
        engine, encoding, _, _, _ = self._state
        return _novelty(engine, encoding.query(text, raw, "text"), *options)

    def novelty_batch(
        self,
        texts: Batch,
        offsets: Ids | None = None,
        *,
        max_n: int = 20,
        creativity_bounds: Sequence[int] = BOUNDS,
        raw: bool = False,
    ) -> list[Novelty]:
        """`novelty` of each of a batch of texts (see `count_batch`), on all cores."""
        options = checked_max_n(max_n), checked_bounds(creativity_bounds)
        engine, encoding, _, _, _ = self._state
        asked = encoding.queries(texts, offsets, raw)

        def each(begin: int, end: int) -> list[Novelty]:
            return [_novelty(engine, text, *options) for text in asked[begin:end].alone()]

        return [found for some in spread(each, len(asked), 1) for found in some]


def _novelty(engine: Engine, text: Queries, max_n: int, bounds: tuple[int, int]) -> Novelty:
    none = np.empty((0, len(engine.segments), 2), np.int64)
    lengths = engine.match_lengths(text, True, none)
    separator = int(engine.vocabulary.separator)
    return novelty_of(text.ids, lengths, separator, max_n, bounds)


def _order(order: int | None) -> int | None:
    """The order of an n-gram model, checked."""
    if order is None:
        return None
    given = natural("order", order, error=QueryError)
    if given == 0:
        raise QueryError("order: expected 1 (unigram) or more, found 0")
    return given
