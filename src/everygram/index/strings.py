"""Strings: how often, and where, a text occurs, however tokens divide it."""

from collections.abc import Sequence

import numpy as np

from everygram import arguments
from everygram.errors import QueryError
from everygram.index.base import OpenIndex
from everygram.index.documents import choice
from everygram.results.strings import TextCount, TextMatches
from everygram.search.pattern import Pattern


class StringQueries(OpenIndex):
    """Queries about strings."""

    def count_text(
        self, text: str, *, ignore_case: bool = False, whole_words: bool = False
    ) -> TextCount:
        """How often a text occurs in the documents, however tokens divide it: an `int`.

        Overlapping occurrences all count. ignore_case: by Unicode's simple case folding.
        whole_words: no letter, mark, number, underscore or joiner on either side. Raises QueryError
        for an empty text, TokenizerError where the index has no tokenizer, or one that does more
        than put the texts of tokens one after another.
        """
        pattern, words = _pattern(text, ignore_case, whole_words)
        return TextCount.of(self._state.texts.count(pattern, words), text)

    def count_text_batch(
        self, texts: Sequence[str], *, ignore_case: bool = False, whole_words: bool = False
    ) -> list[TextCount]:
        """`count_text` of each text."""
        if isinstance(texts, str | bytes) or not isinstance(texts, Sequence):
            raise QueryError(f"texts: expected a list of strings, found {arguments.short(texts)}")
        searched = self._state.texts
        counts = []
        for text in texts:
            pattern, words = _pattern(text, ignore_case, whole_words)
            counts.append(TextCount.of(searched.count(pattern, words), text))
        return counts

    def document_count_text(
        self, text: str, *, ignore_case: bool = False, whole_words: bool = False
    ) -> int:
        """In how many documents a text occurs; all of its occurrences are looked at."""
        pattern, words = _pattern(text, ignore_case, whole_words)
        return int(np.unique(self._state.texts.find(pattern, words)[:, 1]).shape[0])

    def find_text(
        self,
        text: str,
        *,
        offset: int = 0,
        limit: int | None = 10,
        sample: int | None = None,
        seed: int = 0,
        ignore_case: bool = False,
        whole_words: bool = False,
    ) -> TextMatches:
        """Where a text occurs, in characters, bytes and tokens of its documents.

        `offset` and `limit` page through all occurrences in a fixed order (None: to the end);
        `sample` draws that many different ones instead, the same for the same `seed`.
        """
        choose = choice(offset, limit, sample, seed)
        pattern, words = _pattern(text, ignore_case, whole_words)
        searched = self._state.texts
        rows = searched.find(pattern, words)
        count, documents = rows.shape[0], int(np.unique(rows[:, 1]).shape[0])
        return TextMatches(text, count, documents, searched.placed(rows[choose(count)]))


def _pattern(text: str, ignore_case: bool, whole_words: bool) -> tuple[Pattern, bool]:
    """What is looked for, checked."""
    ignore_case = arguments.flag("ignore_case", ignore_case, QueryError)
    return Pattern(text, ignore_case), arguments.flag("whole_words", whole_words, QueryError)
