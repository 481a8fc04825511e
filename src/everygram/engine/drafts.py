"""Drafts: what most often follows a context, several tokens of it."""

from collections.abc import Callable
from functools import cached_property
from time import perf_counter_ns
from typing import Any, NamedTuple

import numpy as np

from everygram.engine.intervals import Intervals, damaged
from everygram.engine.pace import DISK_NS
from everygram.engine.queries import Ids
from everygram.kernels import drafts, entry


class Drafted(NamedTuple):
    """A draft after the last `suffix_len` ids of `asked`, which occur `suffix_count` times.

    table: int64, shape (2, k): the tokens; how often the suffix occurs with the draft up to each.
    from_context: whether suffix and draft are of the context itself; the counts are 1 then.
    """

    asked: bytes
    suffix_len: int
    suffix_count: int
    table: np.ndarray
    from_context: bool


class Drafts(Intervals):
    """Drafts of the tokens that follow a context."""

    @cached_property
    def _draft(self) -> Callable[..., Any]:
        like = self._rows, b"", self.vocabulary.separator, False, 0, 0, 0, 0.0, 0.0
        return entry(drafts.draft, *like, np.empty((2, 0), np.int64))

    def draft(
        self,
        context: Ids,
        max_tokens: int,
        max_suffix: int,
        lookback: int,
        max_factor: float,
        min_token_prob: float,
    ) -> Drafted:
        """A draft after the longest suffix, up to `max_suffix` ids, of the context that occurs.

        Each token is the one that most often follows the suffix and the tokens before it, the
        lowest id of several. The draft ends where the end of a document is more frequent than any
        token, before a token whose count is below `min_token_prob` (0 to 1) of the suffix's count,
        after `max_factor` times as many tokens as the suffix has, and after `max_tokens`.

        If a suffix that is as long occurs before in the last `lookback` ids of the context, the
        draft is what followed it there last.
        """
        packed = self.vocabulary.pack(context[-max(max_suffix, lookback) :], "context")
        separator, pace = self.vocabulary.separator, self.pace
        length = -1
        if self._deleting:
            recent = self.vocabulary.unpack(packed)[-max_suffix:]
            query = self.vocabulary.query(recent, "context")
            length = int(self.longest_suffix_batch(query)[0])
        table = np.empty((2, max_tokens), np.int64)
        given = length, max_suffix, lookback, max_factor, min_token_prob, table
        cold, start = pace.cold, perf_counter_ns()
        length, count, size, own = self._draft(self._rows, packed, separator, cold, *given)
        if cold or perf_counter_ns() - start > DISK_NS:
            pace.timed(start)
        if length < 0 or not self.segments:
            self.vocabulary.check(self.vocabulary.unpack(packed), "context")
        if length > 0 and count < 1:
            raise damaged(self.path, "a suffix that occurs nowhere")
        return Drafted(packed, length, count, table[:, :size], bool(own))
