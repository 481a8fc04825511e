"""Reads on from suffixes, in the bytes that tokens stand for. Knows no text: see `search.text`."""

from dataclasses import dataclass

import numpy as np

from everygram.engine.intervals import Intervals
from everygram.kernels import covers, rows, runs


@dataclass(frozen=True)
class Spelled:
    """What is read for, as arrays; see `everygram.kernels.covers`.

    blob, starts, dropped: the bytes of tokens. steps, targets: the automaton. words: of word
    characters, or empty.
    """

    blob: np.ndarray
    starts: np.ndarray
    dropped: np.ndarray
    steps: np.ndarray
    targets: np.ndarray
    words: np.ndarray


NOWHERE = np.empty((0, 4), np.int64)


class Covers(Intervals):
    """Where tokens spell what an automaton reads."""

    def read_on(
        self,
        spelled: Spelled,
        intervals: np.ndarray,
        offsets: np.ndarray,
        state: int,
        before: np.ndarray,
    ) -> int:
        """Occurrences at suffixes in intervals, int64, shape (k, segments, 2).

        offsets, state, before: as `kernels.covers.walk` takes them.
        """
        counts = (
            int(sign) * self._walked(number, spelled, intervals, offsets, state, before, NOWHERE)
            for number, sign in enumerate(self._signs)
        )
        return sum(counts)

    def places_of(
        self,
        spelled: Spelled,
        intervals: np.ndarray,
        offsets: np.ndarray,
        state: int,
        before: np.ndarray,
    ) -> list[np.ndarray]:
        """As `read_on`, where they are: for each segment int64, shape (k, 4), as `walk` finds."""
        places = []
        for number, sign in enumerate(self._signs):
            size = int((intervals[:, number, 1] - intervals[:, number, 0]).sum()) if sign > 0 else 0
            found = np.empty((max(size, 1), 4), np.int64)
            if size:
                size = self._walked(number, spelled, intervals, offsets, state, before, found)
            places.append(found[:size])
        return places

    def total_of(self, intervals: np.ndarray) -> int:
        """Occurrences of all intervals together. (Of one alone, deletions may be counted apart.)"""
        return int(rows.counted(self._rows, intervals).sum())

    def runs_of(
        self, number: int, intervals: np.ndarray, depth: int, wanted: np.ndarray
    ) -> np.ndarray:
        """Runs of ranks of one segment that go on with wanted tokens, as `kernels.runs` has them.

        intervals: int64, shape (k, 2), of suffixes that have their first `depth` tokens in common.
        """
        none = np.empty(0, self.vocabulary.dtype)
        found: np.ndarray = runs.runs(
            self._rows[number], none, np.ascontiguousarray(intervals), depth, wanted, self._pace.cold
        )
        return found

    def _walked(
        self,
        number: int,
        spelled: Spelled,
        intervals: np.ndarray,
        offsets: np.ndarray,
        state: int,
        before: np.ndarray,
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
                spelled.steps,
                spelled.targets,
                spelled.words,
                found,
            )
        )
