"""Sequences of tokens, and texts, in some documents: read from their tokens, not looked up."""

from dataclasses import dataclass

import numpy as np

from everygram.engine.covers import Spelled
from everygram.engine.intervals import Intervals
from everygram.kernels import rows, scans
from everygram.storage.disk import address_of


class Scans(Intervals):
    """What occurs in the documents of one segment, tokens [starts, ends) each: int64, shape (d,).

    Every method returns counts, int64, shape (d,), and fills `found` while it has room; see
    `kernels.scans`.
    """

    def sequences_in(
        self, number: int, ids: np.ndarray, starts: np.ndarray, ends: np.ndarray, found: np.ndarray
    ) -> np.ndarray:
        """Occurrences of ids, of the token dtype, shape (m,), m > 0. found: int64, shape (n,)."""
        counts = np.zeros(starts.shape[0], np.int64)
        held = self._held(number, starts, ends)
        row, starts, ends = held.row, held.starts, held.ends
        if ids.shape[0] == 1 and not found.shape[0]:
            scans.count_one(row, ids, starts, ends, counts)
        else:
            scans.find_ids(row, ids, starts, ends, counts, found)
            held.place(counts, found)
        return counts

    def _held(self, number: int, starts: np.ndarray, ends: np.ndarray) -> "_Held":
        """The tokens of documents of a segment where they can be read one by one."""
        segment, row = self.segments[number], self._rows[number]
        if not row[rows.SELF]:
            return _Held(row, _packed(starts), _packed(ends), None)
        # (With the separators before: whether a token begins a document is told by that.)
        text = segment.texts(starts - 1, ends)
        here = np.cumsum(ends - starts + 1) - (ends - starts)
        row = row.copy()
        row[rows.SELF], row[rows.TOKENS], row[rows.N] = 0, address_of(text), text.shape[0]
        return _Held(row, here, here + ends - starts, text, starts - here)

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
        held = self._held(number, starts, ends)
        scans.find_text(
            held.row,
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
            held.starts,
            held.ends,
            counts,
            found,
        )
        held.place(counts, found[:, 0])
        held.place(counts, found[:, 2])
        return counts


@dataclass(frozen=True)
class _Held:
    """Documents that kernels can scan.

    row: of their segment, or of a copy of their tokens, `text`; starts, ends: int64, shape (d,), of
    each there. moved: how much further each is in the segment, if that is another place.
    """

    row: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    text: np.ndarray | None
    moved: np.ndarray | None = None

    def place(self, counts: np.ndarray, found: np.ndarray) -> None:
        """Let the positions found, so many in each document, be those in the segment."""
        if self.moved is not None:
            number = min(int(counts.sum()), found.shape[0])
            found[:number] += np.repeat(self.moved, counts)[:number]


def _packed(column: np.ndarray) -> np.ndarray:
    """A column without gaps: it always is where there is one document alone, and kernels would be
    compiled for both."""
    return np.ascontiguousarray(column)
