"""Every token of a text: its probability, and the longest match that starts there."""

from everygram.arguments import natural
from everygram.encoding import Query
from everygram.errors import QueryError
from everygram.index.base import OpenIndex
from everygram.results.texts import LongestMatches, Scores


class TextQueries(OpenIndex):
    """Queries about whole texts."""

    def score(self, text: Query, *, order: int | None = None, raw: bool = False) -> Scores:
        """The probability of every token of a text after those before it.

        By the ∞-gram model, or the n-gram model of `order` n (a prompt of up to n − 1 tokens).
        A separator in the text starts a new document: no prompt reaches over it. All tokens
        together take about as many searches as there are tokens.
        """
        if order is not None:
            order = natural("order", order, error=QueryError)
            if order == 0:
                raise QueryError("order: expected 1 (unigram) or more, found 0")
        engine, encoding, reading, _, _ = self._state
        asked = encoding.query(text, raw, "text")
        return Scores(reading, asked.ids, order, *engine.score(asked, order))

    def longest_matches(self, text: Query, *, raw: bool = False) -> LongestMatches:
        """For every token of a text the longest match that starts there, and how often it occurs.

        What decontamination and attribution start from: which parts of a text are in the corpus.
        """
        engine, encoding, reading, _, _ = self._state
        asked = encoding.query(text, raw, "text")
        return LongestMatches(reading, asked.ids, *engine.longest_matches(asked))
