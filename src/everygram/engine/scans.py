"""Sequences of tokens, and texts, in some documents: read from their tokens, not looked up."""

import numpy as np

from everygram.engine.covers import Spelled
from everygram.engine.intervals import Intervals
from everygram.kernels import scans


class Scans(Intervals):
    """What occurs in the documents of one segment, tokens [starts, ends) each: int64, shape (d,).

    Every method returns counts, int64, shape (d,), and fills `found` while it has room; see
    `kernels.scans`.
    """

    def sequences_in(
        self, number: int, ids: np.ndarray, starts: np.ndarray, ends: np.ndarray, found: np.ndarray
    ) -> np.ndarray:
        """Occurrences of ids, of the token dtype, shape (m,), m > 0. found: int64, shape (n,)."""
        row, counts = self._rows[number], np.zeros(starts.shape[0], np.int64)
        starts, ends = _packed(starts), _packed(ends)
        if ids.shape[0] == 1 and not found.shape[0]:
            scans.count_one(row, ids, starts, ends, counts)
        else:
            scans.find_ids(row, ids, starts, ends, counts, found)
        return counts

    def prepared(
        self, spelled: Spelled, tokens: np.ndarray, offsets: np.ndarray, states: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where a text begins inside tokens, for `texts_in`: an index, and beginnings by token.

        tokens, offsets, states: shape (k,), as `search.parts.Begun` has them.
        """
        of = spelled.blob, spelled.starts, spelled.dropped, spelled.steps, spelled.targets
        # (States past the end are ends.)
        ended = np.minimum(states, spelled.steps.shape[0] - 1)
        begun = np.column_stack([tokens, offsets, ended]).astype(np.int64)
        found = np.empty((begun.shape[0], 4), np.int64)
        found = found[: scans.prepared(begun, *of, spelled.words, found)]
        found = found[np.lexsort((found[:, 1], found[:, 0]))]
        index = np.searchsorted(found[:, 0], np.arange(spelled.starts.shape[0]))
        return index.astype(np.int32), found

    def texts_in(
        self,
        number: int,
        spelled: Spelled,
        prepared: tuple[np.ndarray, np.ndarray],
        starts: np.ndarray,
        ends: np.ndarray,
        found: np.ndarray,
    ) -> np.ndarray:
        """Occurrences of a text. found: int64, shape (n, 4)."""
        counts = np.zeros(starts.shape[0], np.int64)
        scans.find_text(
            self._rows[number],
            np.empty(0, self.vocabulary.dtype),
            int(self.vocabulary.separator),
            *prepared,
            spelled.blob,
            spelled.starts,
            spelled.dropped,
            spelled.vanishes,
            spelled.steps,
            spelled.targets,
            spelled.words,
            _packed(starts),
            _packed(ends),
            counts,
            found,
        )
        return counts


def _packed(column: np.ndarray) -> np.ndarray:
    """A column without gaps: it always is where there is one document alone, and kernels would be
    compiled for both."""
    return np.ascontiguousarray(column)
