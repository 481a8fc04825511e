"""Reads on from suffixes, in the bytes that tokens stand for. Knows no text: see `search.text`."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from everygram.engine.intervals import Intervals, damaged
from everygram.kernels import covers, rows, runs
from everygram.storage.format import ordered


@dataclass(frozen=True)
class Spelled:
    """What is read for, as arrays; see `everygram.kernels.covers`.

    blob, starts, dropped, vanishes: the bytes of tokens. steps, targets: the automaton. words: of
    word characters, or empty.
    """

    blob: np.ndarray
    starts: np.ndarray
    dropped: np.ndarray
    vanishes: np.ndarray
    steps: np.ndarray
    targets: np.ndarray
    words: np.ndarray

    @cached_property
    def bits(self) -> int:
        """Bits of an offset in a place. (A token would need megabytes to leave too few for the
        position: 40 are enough for that.)"""
        return int(np.diff(self.starts).max(initial=0)).bit_length()


NONE = np.empty(0, np.int64)
# What is before a suffix of a self-index is read from its position, which is looked up.
BACK = 20


class Covers(Intervals):
    """Where tokens spell what an automaton reads.

    A *place* is the position of a token in its segment, shifted left by the spelled tokens' `bits`,
    and an offset among the token's bytes: int64.
    """

    @property
    def back(self) -> int:
        """How many times as long it takes to read the token before a suffix as those in it."""
        return BACK if self.walked else 1

    def read_on(
        self,
        spelled: Spelled,
        intervals: np.ndarray,
        offsets: np.ndarray,
        state: int,
        before: np.ndarray,
    ) -> np.ndarray:
        """Occurrences at suffixes in each of the intervals, int64, shape (k, segments, 2).

        offsets, state, before: as `kernels.covers.walk` takes them. Returns int64, shape (k,).
        """
        total = np.zeros(intervals.shape[0], np.int64)
        for number, sign in enumerate(self._signs):
            counts = np.zeros(intervals.shape[0], np.int64)
            self._walked(number, spelled, intervals, offsets, state, before, counts, NONE)
            total += sign * counts
        return total

    def places_of(
        self,
        spelled: Spelled,
        intervals: np.ndarray,
        offsets: np.ndarray,
        state: int,
        before: np.ndarray,
        certain: bool,
    ) -> list[np.ndarray]:
        """As `read_on`, where they are: the places in each segment, shape (k,).

        certain: the text is known to occur at all of them.
        """
        return [
            self.places_in(number, spelled, intervals, offsets, state, before, certain)
            for number in range(len(self.segments))
        ]

    def places_in(
        self,
        number: int,
        spelled: Spelled,
        intervals: np.ndarray,
        offsets: np.ndarray,
        state: int,
        before: np.ndarray,
        certain: bool,
    ) -> np.ndarray:
        """`places_of` of one segment; none of a segment of deleted documents."""
        size = 0
        if self._signs[number] > 0:
            size = int((intervals[:, number, 1] - intervals[:, number, 0]).sum())
        found = np.empty(max(size, 1), np.int64)
        if size and certain:
            of_segment = np.ascontiguousarray(intervals[:, number])
            size = int(covers.listed(self._rows[number], of_segment, offsets, spelled.bits, found))
        elif size:
            given = (spelled, intervals, offsets, state, before)
            size = self._walked(number, *given, NONE, found)
        return found[:size]

    def ends_of(self, number: int, spelled: Spelled, places: np.ndarray) -> np.ndarray:
        """Where the text begins and ends that begins at places of a segment: int64, shape (k, 4).

        A row is the position of the token in which it begins, the offset among its bytes, and the
        same two of its end. Raises DamagedIndexError where it does not begin.
        """
        found = np.empty((places.shape[0], 4), np.int64)
        missing = covers.ended(
            self._rows[number],
            np.empty(0, self.vocabulary.dtype),
            places,
            spelled.bits,
            spelled.blob,
            spelled.starts,
            spelled.steps,
            spelled.targets,
            found,
        )
        if missing:
            raise damaged(self.path, "a text that is not where it is found")
        return found

    def rare_tokens(self, number: int) -> np.ndarray:
        """Up to so many of the rarest tokens of one segment: int64, the rarest first."""
        if not self.segments:
            return np.empty(0, np.int64)
        ids, counts = self.segments[0].unigrams_counted()
        known = ids < self.vocabulary.vocab_size
        ids, counts = ids[known], counts[known]
        return ids[np.argsort(counts, kind="stable")[:number]]

    def total_of(self, intervals: np.ndarray) -> int:
        """Occurrences of all intervals together. (Of one alone, deletions may be counted apart.)"""
        return int(rows.counted(self._rows, intervals).sum())

    def runs_of(
        self, number: int, intervals: np.ndarray, depth: int, wanted: np.ndarray
    ) -> np.ndarray:
        """Runs of ranks of one segment that go on with wanted tokens, as `kernels.runs` has them.

        intervals: int64, shape (k, 2), of suffixes that have their first `depth` tokens in common.
        """
        none, intervals = np.empty(0, self.vocabulary.dtype), np.ascontiguousarray(intervals)
        order = None
        if self.segments[number].by_bytes:
            places = ordered(wanted, 8 * none.itemsize)
            order = np.argsort(places)
            wanted = places[order]
        found: np.ndarray = runs.runs(
            self._rows[number], none, intervals, depth, wanted, self.pace.cold
        )
        if order is not None:
            found[:, 1] = order[found[:, 1]]
        return found

    def _walked(
        self,
        number: int,
        spelled: Spelled,
        intervals: np.ndarray,
        offsets: np.ndarray,
        state: int,
        before: np.ndarray,
        counts: np.ndarray,
        found: np.ndarray,
    ) -> int:
        return int(
            covers.walk(
                self._rows[number],
                np.empty(0, self.vocabulary.dtype),
                int(self.vocabulary.separator),
                np.ascontiguousarray(intervals[:, number]),
                offsets,
                state,
                before,
                spelled.blob,
                spelled.starts,
                spelled.dropped,
                spelled.vanishes,
                spelled.steps,
                spelled.targets,
                spelled.words,
                spelled.bits,
                counts,
                found,
            )
        )
