"""Sequences of tokens, and texts, in some documents: read from their tokens, not looked up."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from everygram.engine.covers import Spelled
from everygram.engine.intervals import Intervals
from everygram.kernels import rows, scans
from everygram.storage.disk import address_of

# Tokens of a self-index that are read at a time.
HELD = 1 << 22


class Scans(Intervals):
    """What occurs in the documents of one segment, tokens [starts, ends) each: int64, shape (d,).

    Every method returns counts, int64, shape (d,), and fills `found` while it has room; see
    `kernels.scans`.
    """

    def sequences_in(
        self, number: int, ids: np.ndarray, starts: np.ndarray, ends: np.ndarray, found: np.ndarray
    ) -> np.ndarray:
        """Occurrences of ids, of the token dtype, shape (m,), m > 0. found: int64, shape (n,)."""
        counts, used = np.zeros(starts.shape[0], np.int64), 0
        for part, held in self._held(number, starts, ends):
            of = held.row, ids, held.starts, held.ends, counts[part]
            if ids.shape[0] == 1 and not found.shape[0]:
                scans.count_one(*of)
                continue
            room = found[used:]
            scans.find_ids(*of, room)
            used += held.place(counts[part], room)
        return counts

    def _held(
        self, number: int, starts: np.ndarray, ends: np.ndarray
    ) -> Iterator[tuple[slice, "_Held"]]:
        """Documents of a segment in parts, with their tokens where kernels can scan them."""
        segment, row = self.segments[number], self._rows[number]
        if not row[rows.SELF]:
            yield slice(None), _Held(row, _packed(starts), _packed(ends))
            return
        lengths = np.cumsum(ends - starts + 1)
        begin = 0
        while begin < starts.shape[0]:
            before = int(lengths[begin - 1]) if begin else 0
            end = max(begin + 1, int(np.searchsorted(lengths, before + HELD, "right")))
            part = slice(begin, end)
            # (With the separators before: they tell which token begins a document.)
            text = segment.texts(starts[part] - 1, ends[part])
            copied = row.copy()
            copied[rows.SELF] = 0
            copied[rows.TOKENS], copied[rows.N] = address_of(text), text.shape[0]
            last = lengths[part] - before
            first = last - (ends[part] - starts[part])
            yield part, _Held(copied, first, last, starts[part] - first, text)
            begin = end

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
        counts, used = np.zeros(starts.shape[0], np.int64), 0
        for part, held in self._held(number, starts, ends):
            room = found[used:]
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
                counts[part],
                room,
            )
            held.place(counts[part], room[:, 0])
            used += held.place(counts[part], room[:, 2])
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
    moved: np.ndarray | None = None
    text: np.ndarray | None = None

    def place(self, counts: np.ndarray, found: np.ndarray) -> int:
        """Let the positions found, so many in each document, be those in the segment.

        Returns how many there are.
        """
        number: int = min(int(counts.sum()), found.shape[0])
        if self.moved is not None:
            found[:number] += np.repeat(self.moved, counts)[:number]
        return number


def _packed(column: np.ndarray) -> np.ndarray:
    """A column without gaps: it always is where there is one document alone, and kernels would be
    compiled for both."""
    return np.ascontiguousarray(column)
