"""Texts that go on as documents do, but for a few tokens. `kernels.skips` says what a span is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from everygram.engine.intervals import Intervals, damaged
from everygram.engine.pace import cores, spread
from everygram.engine.queries import Queries
from everygram.errors import QueryError
from everygram.kernels import skips as kernels
from everygram.storage.segment import Segment

T = TypeVar("T")


@dataclass(frozen=True)
class Seeds:
    """Places of texts, and what a span from there must have; all int64, shape (k,).

    text: the texts. places: ascending. limits: where the text of each ends. exact: so many tokens
    must be the same at first; least: so many must a span have; no place is nearer to its limit.
    """

    text: Queries
    places: np.ndarray
    limits: np.ndarray
    exact: np.ndarray
    least: np.ndarray

    def __getitem__(self, part: slice | np.ndarray) -> "Seeds":
        """Some of them."""
        return Seeds(
            self.text, self.places[part], self.limits[part], self.exact[part], self.least[part]
        )


class Skips(Intervals):
    """Spans of texts that occur with up to `skips` other tokens."""

    def reach(self, seeds: Seeds, skips: int) -> np.ndarray:
        """Where the longest span from each place ends that occurs; or the place itself, if none
        does: int64, shape (k,)."""
        places, limits = seeds.places, seeds.limits
        ends = np.zeros(seeds.text.ids.shape[0], np.int64)
        found = self._find(seeds, 0)
        sizes = np.full(found.shape[:2], -1, np.int64)
        inner = np.zeros(places.shape[0], np.bool_)
        inner[1:] = (limits[1:] == limits[:-1]) & (places[1:] - places[:-1] == 1)
        before = self._find(seeds[inner], 1)
        sizes[inner] = before[:, :, 1] - before[:, :, 0]
        gone, gone_from = self._gone()
        # (What is found at one place is noted for others of its text: that is one thread's.)
        first_of_text = np.flatnonzero(np.diff(limits, prepend=-1))
        bounds = np.append(first_of_text, places.shape[0])

        def fill(begin: int, end: int) -> None:
            part = slice(int(bounds[begin]), int(bounds[end]))
            some = seeds[part]
            kernels.reach(
                self._adding,
                some.text.ids,
                some.places,
                some.limits,
                some.exact,
                some.least,
                found[part],
                sizes[part],
                skips,
                gone,
                gone_from,
                ends,
            )

        _shared(fill, first_of_text.shape[0])
        # (A span that is long enough from one place on may be too short from a later one.)
        return np.where(ends[places] - places >= seeds.least, ends[places], places)

    def variants(self, seeds: Seeds, skips: int) -> tuple[np.ndarray, np.ndarray]:
        """How the shortest spans from each place are spelled where they occur.

        Returns of which place each is, by number, int64, shape (m,), ascending; and the intervals
        of its tokens in all segments: int64, shape (m, segments, 2).
        """
        intervals = self._find(seeds, 0)
        gone, gone_from = self._gone()

        def look(begin: int, end: int) -> np.ndarray:
            some = seeds[begin:end]
            made: np.ndarray = kernels.spans(
                self._adding,
                some.text.ids,
                some.places,
                some.limits,
                some.exact,
                some.least,
                intervals[begin:end],
                skips,
                gone,
                gone_from,
            )
            made[:, 0] += begin
            return made

        none = np.empty((0, 4), np.int64)
        found = np.concatenate([none, *_shared(look, seeds.places.shape[0])])
        texts, owners, lengths = [np.empty(0, self.vocabulary.dtype)], [none[:, 0]], [none[:, 0]]
        for number, segment in enumerate(self._adding_segments()):
            own = found[found[:, 1] == number]
            texts.append(segment.texts(own[:, 2], own[:, 2] + own[:, 3]))
            owners.append(own[:, 0])
            lengths.append(own[:, 3])
        try:
            spelled = self.vocabulary.split(
                np.concatenate(texts), np.cumsum(np.concatenate([[0], *lengths]))
            )
        except QueryError as error:
            raise damaged(self.path, f"an occurrence with other tokens than ids: {error}") from None
        # (Several segments may have one.)
        number = len(self.segments)
        ranks = self.find_batch(spelled).reshape(len(spelled), 2 * number)
        keys = np.unique(np.column_stack([np.concatenate(owners), ranks]), axis=0)
        return keys[:, 0], np.ascontiguousarray(keys[:, 1:]).reshape(-1, number, 2)

    def _find(self, seeds: Seeds, before: int) -> np.ndarray:
        """The ranks of seeds, with so many tokens before each, in segments with counts to add:
        int64, shape (k, segments, 2)."""
        asked = seeds.text.ranges(seeds.places - before, seeds.places + seeds.exact)
        return np.ascontiguousarray(self.find_batch(asked)[:, self._signs > 0])

    def _adding_segments(self) -> list[Segment]:
        return [segment for segment in self.segments if segment.entry.sign > 0]

    def _gone(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions of deleted documents, as `kernels.skips.reach` takes them."""
        ranges, sizes = [np.empty((0, 2), np.int64)], [0]
        for segment in self._adding_segments():
            own = [np.empty(0, np.int64)]
            for other in self.segments:
                if other.entry.sign < 0:
                    local = segment.local_of(other.numbers_of(np.arange(other.num_documents)))
                    own.append(local[local >= 0])
            numbers = np.unique(np.concatenate(own))
            begins = segment.document_offsets[numbers].astype(np.int64)
            last = numbers + 1 == segment.num_documents
            after = segment.document_offsets[np.where(last, numbers, numbers + 1)]
            ends = np.where(last, segment.stream_len, after.astype(np.int64))
            ranges.append(np.column_stack([begins, ends]))
            sizes.append(numbers.shape[0])
        return np.concatenate(ranges), np.cumsum(sizes)


def _shared(work: Callable[[int, int], T], number: int) -> list[T]:
    """`spread`, in few chunks for each core: what one has of a seed is read once."""
    return spread(work, number, max(16, number // (4 * cores())))
