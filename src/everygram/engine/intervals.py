"""The intervals of queries in the order of suffixes, and counts and probabilities from them.

The base of the engine: the segments, and searches for one query or many in all segments.
"""

import struct
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np

from everygram.engine.pace import DISK_NS, Pace, spread
from everygram.engine.queries import Ids, Queries, Vocabulary
from everygram.errors import DamagedIndexError, QueryError
from everygram.kernels import entry, rows, search, suffixes
from everygram.storage.segment import PRELOADABLE, Segment


def damaged(path: Path, what: str) -> DamagedIndexError:
    """The error for answers that contradict one another, as no sound index gives them."""
    return DamagedIndexError(
        f"index '{path}': damaged: {what}; 'everygram verify' says which file is; restore it or "
        "rebuild the index"
    )


class Intervals:
    """The segments of one index, and searches in them. (See `engine` for what a query means.)

    Methods that take a query as ids raise QueryError for ids outside the vocabulary. The first
    value that they return is the ids as they were read, as bytes (`Vocabulary.pack`). All raise
    DamagedIndexError for impossible counts: below zero, or a continuation that is more frequent
    than its prompt.
    """

    # Whether segments are in other processes: then few questions are better than short ones.
    far = False

    def __init__(
        self, segments: list[Segment], vocabulary: Vocabulary, preload: Sequence[str] = ()
    ) -> None:
        """`preload` names the parts to read into memory: fences, suffix_array, tokens."""
        unknown = [part for part in preload if part not in PRELOADABLE]
        if unknown:
            raise QueryError(
                f"preload: expected some of {', '.join(PRELOADABLE)}, found {unknown[0]!r}"
            )
        self.segments = segments
        # The index's folder, for messages. (Without segments no file can contradict another.)
        self.path = segments[0].folder.parent if segments else Path()
        self.vocabulary = vocabulary
        self.stream_len = int(sum(s.stream_len * s.entry.sign for s in segments))
        self._signs = np.array([segment.entry.sign for segment in segments], np.int64)
        self._rows = np.empty((len(segments), rows.COLUMNS), np.int64)
        for row, segment in zip(self._rows, segments, strict=True):
            row[:] = segment.prepare(vocabulary.vocab_size, preload)
        # The segments whose counts are added: only these are searched for longest matches.
        self._adding = self._rows[self._signs > 0] if (self._signs < 0).any() else self._rows
        self._deleting = self._adding.shape[0] < self._rows.shape[0]
        self.pace = Pace(any(segment.distant for segment in segments))

    @property
    def walked(self) -> bool:
        """Whether a segment is a self-index, whose suffixes and text are read token by token."""
        return bool(self._rows[:, rows.SELF].any())

    @cached_property
    def count(self) -> Callable[[Ids], tuple[bytes, int]]:
        """count(query): occurrences. The empty query counts all tokens and all document ends."""
        return self._asking(search.count)

    @cached_property
    def prob(self) -> Callable[[Ids, int], tuple[bytes, tuple[int, int]]]:
        """prob(prompt, continuation): occurrences of the prompt, and of both in sequence.

        The ids that were read are those of the prompt and the continuation.
        """
        return self._asking(search.prob, prompt=True)

    @cached_property
    def _infgram_prob(self) -> Callable[[Ids, int], tuple[bytes, tuple[int, int, int]]]:
        return self._asking(suffixes.infgram_prob, prompt=True)

    def infgram_prob(self, prompt: Ids, continuation: int) -> tuple[bytes, tuple[int, int, int]]:
        """As `prob` for the longest suffix of the prompt that occurs; its length comes last."""
        if not (self._deleting or self.far):
            return self._infgram_prob(prompt, continuation)
        packed = self.vocabulary.pack_prompt(prompt, continuation)
        query = self.vocabulary.query(self.vocabulary.unpack(packed))
        (length,) = self.longest_suffix_batch(query.ranges(query.starts, query.ends - 1)).tolist()
        prompts, counts = self.prob_batch(query.ranges(query.ends - 1 - length, query.ends))
        return packed, (int(prompts[0]), int(counts[0]), length)

    def _asking(self, kernel: Callable[..., Any], prompt: bool = False) -> Callable[..., Any]:
        """A function that calls a kernel for one query, or for one prompt and continuation.

        It has the packers of ids and all arguments of the kernel in local variables, because a
        short search takes only as long as a few method calls. The kernel is compiled, or loaded,
        here. (The function does not refer to the engine: such a cycle would keep the engine's files
        open until the next garbage collection.)
        """
        rows, vocabulary, pace = self._rows, self.vocabulary, self.pace
        pack, pack_prompt, packs = vocabulary.pack, vocabulary.pack_prompt, vocabulary.packs
        separator, empty, path = vocabulary.separator, not self.segments, self.path
        call = entry(kernel, rows, b"", separator, False)

        def check(packed: bytes) -> None:
            """Raise QueryError for an unknown id, else DamagedIndexError unless the index is empty.

            A search returns −1 for an unknown id, and a count below zero for a damaged index.
            """
            ids = vocabulary.unpack(packed)
            if prompt:
                vocabulary.check_continuation(ids[-1])
            vocabulary.check(ids)
            if not empty:
                raise damaged(path, "counts that contradict one another")

        def ask(query: Ids) -> tuple[bytes, int]:
            try:
                packed = packs[len(query)](*query)
                if type(query[0]) is bool:  # a mask
                    packed = pack(query)
            except (LookupError, TypeError, struct.error):
                packed = pack(query)
            cold, start = pace.cold, perf_counter_ns()
            found = call(rows, packed, separator, cold)
            if cold or perf_counter_ns() - start > DISK_NS:
                pace.timed(start)
            if found < 0 or empty:
                check(packed)
            return packed, found

        def ask_prompt(prompt: Ids, continuation: int) -> tuple[bytes, tuple[int, ...]]:
            try:
                packed = packs[len(prompt) + 1](*prompt, continuation)
                if type(prompt[0]) is bool:
                    packed = pack_prompt(prompt, continuation)
            except (LookupError, TypeError, struct.error):
                packed = pack_prompt(prompt, continuation)
            cold, start = pace.cold, perf_counter_ns()
            found = call(rows, packed, separator, cold)
            if cold or perf_counter_ns() - start > DISK_NS:
                pace.timed(start)
            if found[0] < 0 or empty:
                check(packed)
            return packed, found

        return ask_prompt if prompt else ask

    def find_batch(self, queries: Queries) -> np.ndarray:
        """The intervals [lo, hi) of ranks of the suffixes that begin with each query.

        Returns int64, shape (k, segments, 2). O(log n) memory reads per segment of n suffixes.
        """
        intervals = np.empty((len(queries), len(self.segments), 2), np.int64)
        self._fill(search.find_many, queries, intervals)
        return intervals

    def counts_of(self, intervals: np.ndarray) -> np.ndarray:
        """Occurrences from the intervals that `find_batch` gives: int64, shape (k,)."""
        counts = rows.counted(self._rows, intervals)
        # (Without deletions, no count is below zero.)
        if self._deleting and (counts < 0).any():
            raise damaged(self.path, f"{int(counts.min()):,} occurrences")
        return counts

    def count_batch(self, queries: Queries) -> np.ndarray:
        """Occurrences of each query: int64, shape (k,)."""
        return self.counts_of(self.find_batch(queries))

    def prob_batch(self, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        """`prob` of each query (a prompt and one token): int64, shape (k,), twice."""
        prompts = self.find_prompts(queries.ranges(queries.starts, queries.ends - 1))
        return self.consistent(self.counts_of(prompts), self.count_batch(queries))

    def consistent(
        self, prompt_counts: np.ndarray, counts: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """How often prompts occur, and how often with what follows: not more often."""
        if (counts > prompt_counts).any():
            raise damaged(self.path, "more occurrences with a token behind them than without")
        return prompt_counts, counts

    def find_prompts(self, prompts: Queries) -> np.ndarray:
        """`find_batch` of prompts; empty intervals for those after a document's end ([a, sep])."""
        intervals = self.find_batch(prompts)
        if prompts.ids.shape[0]:
            last = prompts.ids[np.maximum(prompts.ends - 1, 0)]
            ended = (last == self.vocabulary.separator) & (prompts.ends - prompts.starts > 1)
            intervals[ended] = 0
        return intervals

    def longest_suffix_batch(self, prompts: Queries) -> np.ndarray:
        """For each prompt, the length of its longest suffix that occurs: int64, shape (k,)."""
        lengths = np.zeros(len(prompts), np.int64)
        self._fill(suffixes.longest_suffixes, prompts, lengths)
        if self._deleting:
            lengths = self._confirmed(prompts, prompts.ends, lengths, -1)
        return lengths

    def _confirmed(
        self, queries: Queries, places: np.ndarray, lengths: np.ndarray, direction: int
    ) -> np.ndarray:
        """The greatest lengths, up to the given ones, that occur in documents that are not deleted.

        A length is that of the tokens after a place, or before it if `direction` is −1. If tokens
        occur, so does every part of them: so this is a binary search between a length that occurs
        and one that does not.
        """
        occurs, absent = np.zeros_like(lengths), lengths + 1
        trial = lengths
        while True:
            open_ones = np.flatnonzero(absent - occurs > 1)
            if not open_ones.size:
                return occurs
            at, size = places[open_ones], trial[open_ones]
            ends = (at, at + size) if direction > 0 else (at - size, at)
            found = self.count_batch(queries.ranges(*ends)) > 0
            occurs[open_ones[found]] = size[found]
            absent[open_ones[~found]] = size[~found]
            trial = (occurs + absent) // 2

    def _fill(
        self,
        kernel: Callable[..., Any],
        queries: Queries,
        *out: np.ndarray,
        given: np.ndarray | None = None,
    ) -> None:
        """Fill arrays for all queries with a kernel, one chunk at a time.

        given: the rows of the segments that are searched. By default intervals are found in all,
        longest matches only in those with counts to add.
        """
        if given is None:
            given = self._rows if kernel is search.find_many else self._adding
        pace = self.pace

        def fill(begin: int, end: int) -> None:
            start = perf_counter_ns()
            some = queries[begin:end]
            filled = (array[begin:end] for array in out)
            kernel(given, some.ids, some.starts, some.ends, pace.cold, *filled)
            pace.timed(start, end - begin)

        spread(fill, len(queries))
