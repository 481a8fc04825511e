"""The tokens that follow a prompt: exact distributions over all segments."""

from collections.abc import Callable
from functools import cached_property
from itertools import chain
from time import perf_counter_ns
from typing import NamedTuple

import numpy as np

from everygram.arguments import LARGEST
from everygram.engine.intervals import Intervals, damaged
from everygram.engine.pace import DISK_NS, spread
from everygram.engine.queries import Ids, Queries
from everygram.kernels import following, suffixes

# A `max_support` larger than any index; it fits an int64.
NO_LIMIT = LARGEST
# Distributions of a batch that one thread makes at a time (each can take long).
FEW = 8


class Following(NamedTuple):
    """The tokens that follow a prompt.

    table: int64, shape (3, k): the tokens, ascending; how often each follows; the bits of its
    probability (float64). The prompt is the last `suffix_len` tokens of `asked`. Counts are wrong
    by at most `error_bound`, and tokens that follow at most `error_bound` times may be missing.
    """

    asked: bytes | np.ndarray
    prompt_count: int
    table: np.ndarray
    suffix_len: int
    error_bound: int


class Distributions(Intervals):
    """Next-token distributions."""

    @cached_property
    def longest_suffix(self) -> Callable[[Ids], tuple[bytes, int]]:
        """longest_suffix(prompt): the length of its longest suffix that occurs in a segment."""
        return self._asking(suffixes.longest_suffix)

    def ntd(self, prompt: Ids, longest: bool, max_support: int) -> Following:
        """What follows the prompt or, with `longest`, its longest suffix that occurs.

        Exact up to `max_support` occurrences; the cost then depends on the number of distinct next
        tokens. Of more occurrences about `max_support` are read, evenly spread, and each count is
        wrong by at most `error_bound`.
        """
        if self.far or len(self.segments) != 1:
            return self._merged(prompt, longest, max_support)
        packed, length = (
            self.longest_suffix(prompt) if longest else (self.vocabulary.pack(prompt), len(prompt))
        )
        separator, pace = self.vocabulary.separator, self.pace
        start = perf_counter_ns()
        first = len(packed) // separator.itemsize - length
        found, table, error_bound = following.ntd(
            self._rows, packed, separator, first, max_support, pace.cold
        )
        if pace.cold or perf_counter_ns() - start > DISK_NS:
            pace.timed(start)
        if found < 0:
            self.vocabulary.check(self.vocabulary.unpack(packed))
            raise damaged(self.path, "counts that contradict one another")
        if length == 0:  # answered from the unigrams
            return self._following(packed, 0, np.array([[0, int(found)]]), max_support)
        return Following(packed, int(found), table, length, int(error_bound))

    def ntd_batch(self, prompts: Queries, max_support: int) -> list[Following]:
        """`ntd` of each prompt, as a whole."""
        intervals = self.find_prompts(prompts)
        bounds = list(zip(prompts.starts.tolist(), prompts.ends.tolist(), strict=True))

        def each(begin: int, end: int) -> list[Following]:
            return [
                self._following(
                    prompts.ids[bounds[i][0] : bounds[i][1]],
                    bounds[i][1] - bounds[i][0],
                    intervals[i],
                    max_support,
                )
                for i in range(begin, end)
            ]

        return list(chain.from_iterable(spread(each, len(prompts), FEW)))

    def _merged(self, prompt: Ids, longest: bool, max_support: int) -> Following:
        """`ntd` for several segments, or none."""
        query = self.vocabulary.query(prompt)
        length = query.ids.shape[0]
        if longest:
            length = int(self.longest_suffix_batch(query)[0])
        intervals = self.find_prompts(query.ranges(query.ends - length, query.ends))
        return self._following(query.ids, length, intervals[0], max_support)

    def _following(
        self, asked: bytes | np.ndarray, length: int, intervals: np.ndarray, max_support: int
    ) -> Following:
        """What follows the last `length` ids; `intervals`: of these ids, one per segment."""
        prompt = self.vocabulary.unpack(asked) if isinstance(asked, bytes) else asked
        prompt_count, stride = self._sampled(length, intervals, max_support)
        found = self.found_in(prompt, length, intervals, stride)
        return self._joined(asked, length, prompt_count, stride, found)

    def _sampled(self, length: int, intervals: np.ndarray, max_support: int) -> tuple[int, int]:
        """How often a prompt occurs, and every how many occurrences one is read (0: all are)."""
        prompt_count = int((self._signs * (intervals[:, 1] - intervals[:, 0])).sum())
        if prompt_count < 0:
            raise damaged(self.path, f"{prompt_count:,} occurrences")
        # (If counts are subtracted, sampling would have no error bound.)
        if prompt_count > max_support and length and not self._deleting:
            return prompt_count, -(-prompt_count // max_support)
        return prompt_count, 0

    def found_in(
        self, prompt: np.ndarray, length: int, intervals: np.ndarray, stride: int
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """What follows the last `length` ids in each segment where they occur: tokens and counts,
        which are below 0 in segments of deleted documents."""
        first, signs = prompt.shape[0] - length, self._signs.tolist()
        found = []
        for number, (lo, hi) in enumerate(intervals.tolist()):
            if lo == hi:
                continue
            if length == 0:
                ids, counts = self.segments[number].unigrams_counted()
            else:
                ids, counts = following.next_tokens(
                    self._rows[number], prompt, first, lo, hi, stride, self.pace.cold
                )
            found.append((ids, signs[number] * counts))
        return found

    def _joined(
        self,
        asked: bytes | np.ndarray,
        length: int,
        prompt_count: int,
        stride: int,
        found: list[tuple[np.ndarray, np.ndarray]],
    ) -> Following:
        """What follows in all segments, of what `found_in` gives."""
        error_bound = len(found) * (stride - 1) if stride else 0
        if len(found) != 1:
            found = [_merged_counts(found)]
            # Of each segment as many follow as are counted: none is missing unless one is below 0.
            if self._deleting and int(found[0][1].sum()) != prompt_count:
                raise damaged(self.path, "a token that follows fewer than 0 times")
        table = following.tabled(*found[0], prompt_count)
        return Following(asked, prompt_count, table, length, error_bound)


def _merged_counts(
    found: list[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """The sums of counts over several segments, by token; tokens with the sum 0 are left out."""
    none = np.empty(0, np.int64)
    every = np.concatenate([none, *(ids for ids, _ in found)])
    ids, inverse = np.unique(every, return_inverse=True)
    merged = np.zeros(ids.shape[0], np.int64)
    np.add.at(merged, inverse, np.concatenate([none, *(counts for _, counts in found)]))
    left = merged > 0
    return ids[left], merged[left]
