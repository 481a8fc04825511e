"""Counts, probabilities and next tokens of n-grams, n up to ∞."""

from collections.abc import Sequence

import numpy as np

from everygram.arguments import natural
from everygram.encoding import Batch, Query, Reading
from everygram.engine.distributions import NO_LIMIT, Following
from everygram.engine.queries import Ids, Queries
from everygram.errors import QueryError
from everygram.index.base import OpenIndex
from everygram.results.ngrams import (
    Count,
    Counts,
    Distribution,
    Distributions,
    DocumentCount,
    DocumentCounts,
    Prob,
    Probs,
)


class NgramQueries(OpenIndex):
    """Queries about n-grams."""

    def count(self, query: Query, *, raw: bool = False) -> Count:
        """How often the query occurs: an `int` with `token_ids` and `tokens`.

        The empty query counts every token and every document's end.
        """
        engine, encoding, reading, _, _ = self._state
        ids = query if type(query) is list else encoding.ids(query, raw)
        packed, count = engine.count(ids)
        return Count.of(count, reading, packed)

    def count_batch(
        self, queries: Batch, offsets: Ids | None = None, *, raw: bool = False
    ) -> Counts:
        """How often each query occurs: a sequence of `Count`; `counts` is an array of all.

        A batch is a list of queries, or one array of ids with `offsets` (k + 1 of them, from 0
        up): query i is ids[offsets[i]:offsets[i + 1]]. It is searched together, if it is large on
        all cores, in a fraction of the time a query takes alone.
        """
        engine, encoding, reading, _, _ = self._state
        asked = encoding.queries(queries, offsets, raw)
        counts = engine.count_batch(asked)
        return Counts(reading, asked.ids, asked.starts, asked.ends, counts)

    def document_count(self, query: Query, *, raw: bool = False) -> DocumentCount:
        """In how many documents the query occurs: an `int` with `count`, its occurrences.

        It takes as long as `count`, whatever the count, if the index has document counts (`info`
        says so). If not, every occurrence is looked at, which may take seconds for a frequent
        query; `upgrade` adds them.
        """
        engine, encoding, reading, _, _ = self._state
        packed, documents, count = engine.document_count(encoding.ids(query, raw))
        return DocumentCount.of_both(documents, count, reading, packed)

    def document_count_batch(
        self, queries: Batch, offsets: Ids | None = None, *, raw: bool = False
    ) -> DocumentCounts:
        """`document_count` of each of a batch (see `count_batch`): `document_counts` and `counts`
        are arrays of all."""
        engine, encoding, reading, _, _ = self._state
        asked = encoding.queries(queries, offsets, raw)
        found = engine.document_count_batch(asked)
        return DocumentCounts(reading, asked.ids, asked.starts, asked.ends, *found)

    def prob(
        self, query: Query, continuation: str | int | None = None, *, raw: bool = False
    ) -> Prob:
        """P(continuation | query) from n-gram counts: one token after a prompt.

        Without a continuation it is the query's last token, and the prompt what stands before.
        A string continuation must be one token.
        """
        engine, encoding, reading, _, _ = self._state
        prompt: Ids
        if type(query) is list and type(continuation) is int:
            prompt, token = query, continuation
        else:
            prompt, token = encoding.prompt(query, continuation, raw)
        packed, (prompt_count, count) = engine.prob(prompt, token)
        return Prob(reading, packed, prompt_count, count, len(prompt))

    def prob_batch(
        self,
        queries: Batch,
        continuations: Sequence[str | int] | None = None,
        offsets: Ids | None = None,
        *,
        raw: bool = False,
    ) -> Probs:
        """`prob` of each of a batch (see `count_batch`), and of its continuation."""
        engine, encoding, reading, _, _ = self._state
        asked = encoding.prompts(queries, continuations, offsets, raw)
        return _probs(reading, asked, engine.prob_batch(asked), asked.ends - asked.starts - 1)

    def infgram_prob(
        self, query: Query, continuation: str | int | None = None, *, raw: bool = False
    ) -> Prob:
        """As `prob`, with the longest suffix of the prompt that occurs in the corpus (∞-gram).

        Never undefined in an index that has documents. Source: Liu et al. 2024, section 2.
        """
        engine, encoding, reading, _, _ = self._state
        prompt: Ids
        if type(query) is list and type(continuation) is int:
            prompt, token = query, continuation
        else:
            prompt, token = encoding.prompt(query, continuation, raw)
        packed, (prompt_count, count, suffix_len) = engine.infgram_prob(prompt, token)
        return Prob(reading, packed, prompt_count, count, suffix_len)

    def infgram_prob_batch(
        self,
        queries: Batch,
        continuations: Sequence[str | int] | None = None,
        offsets: Ids | None = None,
        *,
        raw: bool = False,
    ) -> Probs:
        """`infgram_prob` of each of a batch (see `count_batch`), and of its continuation."""
        engine, encoding, reading, _, _ = self._state
        asked = encoding.prompts(queries, continuations, offsets, raw)
        lengths = engine.longest_suffix_batch(asked.ranges(asked.starts, asked.ends - 1))
        counts = engine.prob_batch(asked.ranges(asked.ends - 1 - lengths, asked.ends))
        return _probs(reading, asked, counts, lengths)

    def ntd(
        self, prompt: Query, *, max_support: int | None = None, raw: bool = False
    ) -> Distribution:
        """The next-token distribution after the prompt; empty if it does not occur.

        Exact, whatever the number of occurrences, unless `max_support` is given: then, of a
        prompt that occurs more often, about that many occurrences are looked at, and the answer
        says by how much its counts may be wrong.
        """
        engine, encoding, reading, _, _ = self._state
        ids = prompt if type(prompt) is list else encoding.ids(prompt, raw)
        return _distribution(reading, engine.ntd(ids, False, _support(max_support)))

    def ntd_batch(
        self,
        prompts: Batch,
        offsets: Ids | None = None,
        *,
        max_support: int | None = None,
        raw: bool = False,
    ) -> Distributions:
        """`ntd` of each of a batch of prompts (see `count_batch`)."""
        engine, encoding, reading, _, _ = self._state
        asked = encoding.queries(prompts, offsets, raw)
        return _distributions(reading, asked, engine.ntd_batch(asked, _support(max_support)))

    def infgram_ntd(
        self, prompt: Query, *, max_support: int | None = None, raw: bool = False
    ) -> Distribution:
        """As `ntd`, after the longest suffix of the prompt that occurs in the corpus."""
        engine, encoding, reading, _, _ = self._state
        ids = prompt if type(prompt) is list else encoding.ids(prompt, raw)
        return _distribution(reading, engine.ntd(ids, True, _support(max_support)))

    def infgram_ntd_batch(
        self,
        prompts: Batch,
        offsets: Ids | None = None,
        *,
        max_support: int | None = None,
        raw: bool = False,
    ) -> Distributions:
        """`infgram_ntd` of each of a batch of prompts (see `count_batch`)."""
        engine, encoding, reading, _, _ = self._state
        asked = encoding.queries(prompts, offsets, raw)
        lengths = engine.longest_suffix_batch(asked)
        suffixes = asked.ranges(asked.ends - lengths, asked.ends)
        return _distributions(reading, asked, engine.ntd_batch(suffixes, _support(max_support)))


def _probs(
    reading: Reading,
    asked: Queries,
    counts: tuple[np.ndarray, np.ndarray],
    suffix_lens: np.ndarray,
) -> Probs:
    queries = asked.ids, asked.starts, asked.ends
    return Probs(reading, *queries, *counts, suffix_lens)


def _distribution(reading: Reading, found: Following) -> Distribution:
    table = found.table.tobytes()
    return Distribution(
        reading, found.asked, found.prompt_count, table, found.suffix_len, found.error_bound
    )


def _distributions(reading: Reading, asked: Queries, found: list[Following]) -> Distributions:
    tables = [each.table for each in found]
    return Distributions(
        reading,
        asked.ids,
        asked.starts,
        asked.ends,
        np.cumsum([0, *(table.shape[1] for table in tables)]),
        np.concatenate([np.empty((3, 0), np.int64), *tables], axis=1),
        np.array([each.prompt_count for each in found], np.int64),
        np.array([each.suffix_len for each in found], np.int64),
        np.array([each.error_bound for each in found], np.int64),
    )


def _support(max_support: int | None) -> int:
    """`max_support` as the engine takes it."""
    if max_support is None:
        return NO_LIMIT
    given = natural("max_support", max_support, error=QueryError)
    if given == 0:
        raise QueryError("max_support: expected 1 or more, found 0")
    return given
