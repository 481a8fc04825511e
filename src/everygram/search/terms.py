"""Where a term occurs in one segment: looked up in the order of suffixes, or read from documents.

To look up a term that is rare costs what its occurrences cost; to read some documents' tokens costs
what the tokens cost. `evaluate` decides between the two by `bound` and `LOOK_UP`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from everygram.engine.engine import Engine
from everygram.engine.intervals import damaged
from everygram.kernels import scans
from everygram.search.pattern import Pattern
from everygram.search.spans import BITS, INSIDE, NO_SPANS, NONE, Spans
from everygram.search.text import TextSearch
from everygram.storage import format as fmt

# How many tokens are read in the time in which one occurrence is looked up (see `Found`): of a
# token, of several, of a text.
LOOK_UP_ONE, LOOK_UP_MORE, LOOK_UP_TEXT = 128, 32, 100
# In a self-index, where it takes as long to read a token as to follow a suffix by one.
LOOK_UP_WALKED = 20
# Of two lists, one so many times longer is searched for each number of the other.
FAR = 32


@dataclass(frozen=True)
class Counted:
    """Documents of a segment, ascending, and how often a term occurs in each: int64, shape (d,)."""

    documents: np.ndarray
    counts: np.ndarray


class Found(ABC):
    """A term in the segments of an engine.

    look_up: how many tokens are read in the time in which one occurrence is looked up.
    """

    def __init__(self, engine: Engine, look_up: int) -> None:
        self._engine = engine
        self.look_up = min(look_up, LOOK_UP_WALKED) if engine.walked else look_up
        self._known: dict[int, _LookedUp] = {}

    @abstractmethod
    def bound(self, number: int) -> int:
        """At least how often it occurs in segment `number`, deleted documents included."""

    @abstractmethod
    def _everywhere(self, number: int) -> tuple[np.ndarray, np.ndarray | int]:
        """Where its spans in a segment begin, ascending, and end; or their length, of all."""

    @abstractmethod
    def _read(
        self, number: int, starts: np.ndarray, ends: np.ndarray, wanted: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Counts in documents, tokens [starts, ends), and if wanted where the spans begin and end,
        in order."""

    def warm_up(self) -> None:
        """Compile what reads documents, with nothing to read."""
        none = np.empty(0, np.int64)
        scans.runs(none, BITS, self._engine.segments[0].document_offsets, none, none)
        bounds = np.zeros((2, 2), np.int64)
        for wanted in (False, True):
            self._read(0, bounds[:, 0], bounds[:, 1], wanted)

    def _all_of(self, found: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Those that were found, in an array with room for as many as there can be."""
        size = int(counts.sum())
        if size > found.shape[0]:
            raise damaged(self._engine.path, "more occurrences than are counted")
        return found[:size]

    def known(self, number: int) -> bool:
        """Whether it was looked up in a segment."""
        return number in self._known

    def looked_up(self, number: int) -> Counted:
        """The documents of a segment that it occurs in; all it needs is kept for the next call."""
        if number not in self._known:
            segment = self._engine.segments[number]
            begins, ends = self._everywhere(number)
            if begins.size and not 0 <= begins[0] <= begins[-1] < segment.stream_len << BITS:
                raise segment.damaged(fmt.SUFFIX_ARRAY, "a position past the segment's end")
            documents, counts = np.empty_like(begins), np.empty_like(begins)
            size = scans.runs(begins, BITS, segment.document_offsets, documents, counts)
            counted = Counted(documents[:size].copy(), counts[:size].copy())
            self._known[number] = _LookedUp(begins, ends, counted)
        return self._known[number].counted

    def counted(self, number: int, documents: np.ndarray, bounds: np.ndarray) -> Counted:
        """How often in each of some documents: of those that have any.

        documents: int64, ascending. bounds: int64, shape (d, 2): their tokens.
        """
        if number in self._known:
            found = self._known[number].counted
            here, there = common(documents, found.documents)
            return Counted(documents[here], found.counts[there])
        counts = self._read(number, bounds[:, 0], bounds[:, 1], False)[0]
        has = counts > 0
        return Counted(documents[has], counts[has])

    def spans(self, number: int, documents: np.ndarray, bounds: np.ndarray) -> Spans:
        """The spans in some documents, as `counted` takes them."""
        if number in self._known:
            known = self._known[number]
            which = common(documents, known.counted.documents)[1]
            return known.spans(which)
        counts, begins, ends = self._read(number, bounds[:, 0], bounds[:, 1], True)
        return Spans(begins, ends, np.repeat(documents, counts))


@dataclass(frozen=True)
class _LookedUp:
    """All spans in a segment: where they begin, ascending, and end, or how long all are."""

    begins: np.ndarray
    ends: np.ndarray | int
    counted: Counted

    def spans(self, which: np.ndarray) -> Spans:
        """Those in some of the documents that have any, by place in `counted`, ascending."""
        if not which.size:
            return NO_SPANS
        counts = self.counted.counts[which]
        documents = np.repeat(self.counted.documents[which], counts)
        ends_of = np.cumsum(self.counted.counts)
        part: slice | np.ndarray
        if which[-1] - which[0] + 1 == which.size:
            part = slice(int(ends_of[which[0]] - counts[0]), int(ends_of[which[-1]]))
        else:
            shift = ends_of[which] - np.cumsum(counts)
            part = np.repeat(shift, counts) + np.arange(documents.shape[0])
        begins = self.begins[part]
        ends = begins + self.ends if isinstance(self.ends, int) else self.ends[part]
        return Spans(begins, ends, documents)


def common(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where in each of two, int64, ascending, their common numbers are: int64, twice."""
    least = min(a.shape[0], b.shape[0])
    if FAR * least < max(a.shape[0], b.shape[0]):
        if a.shape[0] > b.shape[0]:
            return common(b, a)[::-1]
        at = np.searchsorted(b, a)
        has = np.flatnonzero(b[np.minimum(at, b.shape[0] - 1)] == a)
        return has, at[has]
    in_a, in_b = np.empty(least + 1, np.int64), np.empty(least + 1, np.int64)
    size = scans.common(a, b, in_a, in_b)
    return in_a[:size], in_b[:size]


class FoundIds(Found):
    """A sequence of token ids."""

    def __init__(self, engine: Engine, ids: np.ndarray, intervals: np.ndarray) -> None:
        """ids: token dtype, without separators, at least one. intervals: int64, (segments, 2)."""
        super().__init__(engine, LOOK_UP_ONE if ids.shape[0] == 1 else LOOK_UP_MORE)
        self._ids, self.intervals = ids, intervals
        self._length = ids.shape[0] << BITS

    def bound(self, number: int) -> int:
        lo, hi = self.intervals[number].tolist()
        return int(hi - lo)

    def _everywhere(self, number: int) -> tuple[np.ndarray, int]:
        lo, hi = self.intervals[number].tolist()
        begins = self._engine.segments[number].positions_of(slice(lo, hi))
        begins <<= BITS
        begins.sort()
        return begins, self._length

    def _read(
        self, number: int, starts: np.ndarray, ends: np.ndarray, wanted: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        room = min(self.bound(number), int((ends - starts).sum())) if wanted else 0
        begins = np.empty(room, np.int64)
        counts = self._engine.sequences_in(number, self._ids, starts, ends, begins)
        if not wanted:
            return counts, NONE, NONE
        begins = self._all_of(begins, counts) << BITS
        return counts, begins, begins + self._length


class FoundText(Found):
    """A text, however tokens divide it."""

    def __init__(
        self,
        engine: Engine,
        texts: TextSearch,
        pattern: Pattern,
        whole_words: bool,
        alike: bool = False,
    ) -> None:
        """alike: its bounds are those in segments of any kind, even if it takes longer."""
        super().__init__(engine, LOOK_UP_TEXT)
        self._spelled = texts.spelled(pattern, whole_words)
        self._sizes = np.diff(self._spelled.starts)
        parts = texts.parts(pattern, self._spelled)
        if alike:
            parts.back = 1
        begun = parts.beginnings()
        # (What a document's start loses is told from the tokens, as they are read.)
        self._parts = [part for part in parts if not part.lost]
        self._begun = engine.prepared(
            self._spelled, begun.tokens[:, 0], begun.offsets, begun.states
        )
        self._most_in_one = int(np.diff(self._begun[0]).max(initial=0))

    def bound(self, number: int) -> int:
        sizes = (
            part.intervals[:, number, 1] - part.intervals[:, number, 0] for part in self._parts
        )
        return int(sum(size.sum() for size in sizes))

    def _everywhere(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        found, all_there = [NONE], not self._spelled.dropped.any()
        for part in self._parts:
            read = part.intervals, part.offsets, part.state, part.before
            certain = part.certain and all_there
            found.append(self._engine.places_in(number, self._spelled, *read, certain))
        places = np.concatenate(found)
        places.sort()
        return self._placed(number, self._engine.ends_of(number, self._spelled, places))

    def _read(
        self, number: int, starts: np.ndarray, ends: np.ndarray, wanted: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        room = 0
        if wanted:
            room = min(self.bound(number), int((ends - starts).sum()) * self._most_in_one)
        found = np.empty((room, 4), np.int64)
        counts = self._engine.texts_in(number, self._spelled, self._begun, starts, ends, found)
        if not wanted:
            return counts, NONE, NONE
        return counts, *self._placed(number, self._all_of(found, counts))

    def _placed(self, number: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of token, offset, token and offset as places."""
        first, begin, last, end = rows.T
        tokens = self._engine.segments[number].tokens_at(last)
        # A text that ends with a token ends where the next one begins.
        whole = self._sizes[tokens] == end
        ends = np.where(whole, (last + 1) << BITS, last << BITS | end)
        return first << BITS | begin, ends

    def as_found(self, number: int, spans: Spans, documents: np.ndarray) -> np.ndarray:
        """Spans in documents of these numbers as rows that `TextSearch.placed` takes."""
        first, last = spans.token_starts, spans.token_ends - 1
        tokens = self._engine.segments[number].tokens_at(last)
        end = spans.ends & INSIDE
        end = np.where(end == 0, self._sizes[tokens], end)
        begin, of_segment = spans.begins & INSIDE, np.full_like(first, number)
        return np.column_stack([of_segment, documents, first, begin, last, end])
