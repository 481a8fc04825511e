"""Strings: how often, and where, a text occurs, however tokens divide it."""

from collections.abc import Sequence

from everygram import arguments
from everygram.arguments import natural
from everygram.errors import QueryError
from everygram.index.base import OpenIndex
from everygram.index.documents import checked_context, checked_pattern, choice
from everygram.passages import Parts, of_text
from everygram.results.base import token_texts
from everygram.results.strings import TextCount, TextMatches, Tokenization, Tokenizations


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
        pattern, words = checked_pattern(text, ignore_case, whole_words)
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
            pattern, words = checked_pattern(text, ignore_case, whole_words)
            counts.append(TextCount.of(searched.count(pattern, words), text))
        return counts

    def document_count_text(
        self, text: str, *, ignore_case: bool = False, whole_words: bool = False
    ) -> int:
        """In how many documents a text occurs; all of its occurrences are looked at."""
        pattern, words = checked_pattern(text, ignore_case, whole_words)
        return self._state.texts.occurrences(pattern, words).document_count

    def tokenizations(
        self,
        text: str,
        *,
        limit: int | None = 100,
        ignore_case: bool = False,
        whole_words: bool = False,
    ) -> Tokenizations:
        """The sequences of tokens that a text is written with, the most frequent first.

        Their counts are together `count_text`. limit: how many are listed at most (None: all).
        """
        most = None if limit is None else natural("limit", limit, error=QueryError)
        pattern, words = checked_pattern(text, ignore_case, whole_words)
        _, _, reading, _, searched = self._state
        found = searched.tokenizations(pattern, words, most)
        listed = (
            Tokenization(
                each.token_ids,
                tuple(token_texts(each.token_ids, reading) or ()),
                each.offset,
                each.count,
            )
            for each in found.listed
        )
        return Tokenizations(text, found.count, found.number, tuple(listed))

    def find_text(
        self,
        text: str,
        *,
        offset: int = 0,
        limit: int | None = 10,
        sample: int | None = None,
        seed: int = 0,
        context: int | None = None,
        ignore_case: bool = False,
        whole_words: bool = False,
    ) -> TextMatches:
        """Where a text occurs, in characters, bytes and tokens of its documents.

        `offset` and `limit` page through all occurrences in a fixed order (None: to the end);
        `sample` draws that many different ones instead, the same for the same `seed`. With a
        `context` each has `parts`: the text itself, and that of so many tokens on each side.
        """
        choose = choice(offset, limit, sample, seed)
        pattern, words = checked_pattern(text, ignore_case, whole_words)
        context = checked_context(context)
        engine, _, reading, _, searched = self._state
        found = searched.occurrences(pattern, words)
        rows = found.rows(choose(len(found)))
        positions = searched.placed(rows)
        passages: list[Parts] | None = None
        if context is not None:
            passages = []
            for skipped, place in zip(rows[:, 3].tolist(), positions.tolist(), strict=True):
                document, _, _, begin_byte, end_byte, begin, end = place
                ids, _ = engine.document_found(document)
                size = end_byte - begin_byte
                passages.append(of_text(reading, ids, begin, end, context, skipped, size))
        count, documents = len(found), found.document_count
        positions[:, 0], indexes, names = engine.owned(positions[:, 0])
        return TextMatches(text, count, documents, positions, passages, indexes, names)
