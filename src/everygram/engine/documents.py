"""Documents: which ones contain occurrences, and their tokens and metadata by number."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from everygram.arguments import short
from everygram.engine.intervals import Intervals, damaged
from everygram.engine.members import Members
from everygram.errors import EverygramError, QueryError
from everygram.storage import format as fmt
from everygram.storage.segment import Segment

# To skip deleted documents, the documents of occurrences are looked up in chunks that grow up to
# this many.
LOOKED_AT = 1 << 16


class StoredTokens:
    """A document's tokens, read when a part of them is asked for: `tokens[start:end]`, an array.

    (Of a self-index a token takes time.) shape: (len,).
    """

    def __init__(self, engine: "Documents", segment: Segment, start: int, end: int) -> None:
        self._engine, self._segment, self._start = engine, segment, start
        self.shape = (end - start,)

    def __getitem__(self, part: slice) -> np.ndarray:
        start, end, _ = part.indices(self.shape[0])
        return self._engine.text_at(self._segment, self._start + start, self._start + end)


class Documents(Intervals):
    """The places where a query occurs, and documents."""

    # Larger than the numbers of all documents, deleted ones included.
    next_document: int
    # The indexes whose segments these are, if there are several.
    members: Members | None

    def text_at(self, segment: Segment, start: int, end: int) -> np.ndarray:
        """The tokens at positions [start, end) of a segment."""
        if segment.entry.kind == fmt.SUFFIX_ARRAY_KIND:
            return segment.text(start, end)

        def read(begin: int, stop: int, cold: bool) -> np.ndarray:
            return segment.text(start + begin, start + stop, cold)

        return self.pace.read(read, end - start)

    def positions_at(self, segment: Segment, ranks: np.ndarray) -> np.ndarray:
        """The positions at these ranks of a segment: int64, same shape."""
        if segment.entry.kind == fmt.SUFFIX_ARRAY_KIND:
            return segment.positions_of(ranks)

        def read(begin: int, stop: int, cold: bool) -> np.ndarray:
            return segment.positions_of(ranks[begin:stop], cold)

        return self.pace.read(read, ranks.shape[0])

    def locate(
        self, intervals: np.ndarray, occurrences: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Segments, ranks and positions of occurrences, which are numbered through `intervals`.

        occurrences: their numbers, int64, shape (k,), ascending, in [0, count). Occurrences in
        deleted documents have no number. Returns int64, shape (k,), three times.
        """
        sizes = np.where(self._signs > 0, intervals[:, 1] - intervals[:, 0], 0)
        if self._deleting and occurrences.size:
            occurrences = self._all_of(intervals, sizes, occurrences)
        before = np.cumsum(sizes) - sizes
        segments = np.searchsorted(np.cumsum(sizes), occurrences, "right")
        ranks = intervals[segments, 0] + occurrences - before[segments]
        positions = np.empty(occurrences.shape[0], np.int64)
        for number in np.unique(segments).tolist():
            of_segment = segments == number
            positions[of_segment] = self.positions_at(self.segments[number], ranks[of_segment])
        return segments, ranks, positions

    def locate_many(
        self, intervals: np.ndarray, queries: np.ndarray, occurrences: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `locate`, of many queries: segments and positions of occurrences, in any order.

        intervals: int64, shape (k, segments, 2). queries: int64, shape (m,): of which query the
        occurrences are, ascending.
        """
        segments = np.empty(occurrences.shape[0], np.int64)
        positions = np.empty(occurrences.shape[0], np.int64)
        if self._deleting:
            for query in np.unique(queries).tolist():
                begin, end = np.searchsorted(queries, [query, query + 1]).tolist()
                order = np.argsort(occurrences[begin:end], kind="stable") + begin
                segments[order], _, positions[order] = self.locate(
                    intervals[query], occurrences[order]
                )
            return segments, positions
        flat = intervals.reshape(-1, 2)
        ends = np.cumsum(flat[:, 1] - flat[:, 0])
        begins = ends - (flat[:, 1] - flat[:, 0])
        number = begins[queries * intervals.shape[1]] + occurrences
        place = np.searchsorted(ends, number, "right")
        ranks = flat[place, 0] + number - begins[place]
        segments[:] = place % intervals.shape[1]
        for segment in np.unique(segments).tolist():
            of_segment = segments == segment
            positions[of_segment] = self.positions_at(self.segments[segment], ranks[of_segment])
        return segments, positions

    def _all_of(self, intervals: np.ndarray, sizes: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """The numbers of the wanted occurrences if those in deleted documents are counted too."""
        found, live_before, all_before = [], 0, 0
        for number, size in enumerate(sizes.tolist()):
            start, look = 0, max(1, LOOKED_AT >> 10)
            while start < size:
                ranks = np.arange(start, min(size, start + look)) + intervals[number, 0]
                live = np.flatnonzero(~self.deleted(self.documents_of(number, ranks)))
                first, last = np.searchsorted(wanted, [live_before, live_before + live.size])
                found.append(all_before + start + live[wanted[first:last] - live_before])
                live_before += live.size
                if last == wanted.size:
                    return np.concatenate(found)
                start, look = start + look, min(2 * look, LOOKED_AT)
            all_before += size
        raise damaged(self.path, "fewer occurrences than are counted")

    def documents_of(self, segment: int, ranks: np.ndarray) -> np.ndarray:
        """The numbers of the documents in which the suffixes of these ranks start: int64."""
        opened = self.segments[segment]
        return opened.numbers_of(opened.documents_at(self.positions_at(opened, ranks)))

    def deleted(self, documents: np.ndarray) -> np.ndarray:
        """Which of these numbers belong to deleted documents: bool, same shape."""
        gone = np.zeros(documents.shape, np.bool_)
        for segment in self.segments:
            if segment.entry.sign < 0:
                gone |= segment.local_of(documents) >= 0
        return gone

    def documents_at(
        self, segments: np.ndarray, positions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Document numbers, and offsets in the documents' tokens (−1: the separator before)."""
        documents = np.empty(positions.shape[0], np.int64)
        offsets = np.empty(positions.shape[0], np.int64)
        for number in np.unique(segments).tolist():
            of_segment = segments == number
            segment, places = self.segments[number], positions[of_segment]
            if places.max() >= segment.stream_len:
                raise segment.damaged(fmt.SUFFIX_ARRAY, "a position past the segment's end")
            local = segment.documents_at(places)
            begins = segment.document_offsets[local]
            last = local + 1 == segment.num_documents
            ends = segment.document_offsets[np.where(last, local, local + 1)]
            at = places.astype(np.uint64)
            # (Of offsets that do not ascend, a bisection may end anywhere.)
            if local.min() < 0 or (begins > at).any() or ((ends <= at) & ~last).any():
                raise segment.damaged(fmt.DOCUMENT_OFFSETS, "offsets that do not ascend from 0")
            documents[of_segment] = segment.numbers_of(local)
            offsets[of_segment] = places - begins.astype(np.int64) - 1
        return documents, offsets

    @property
    def num_documents(self) -> int:
        """Documents, deleted ones not counted."""
        return sum(segment.entry.sign * segment.num_documents for segment in self.segments)

    @property
    def num_tokens(self) -> int:
        """Tokens, without separators and deleted documents."""
        return self.stream_len - self.num_documents

    def lengths_of(self, numbers: np.ndarray) -> np.ndarray:
        """The tokens of documents that are not deleted, by number: int64, shape (k,)."""
        lengths = np.zeros(numbers.shape[0], np.int64)
        for segment in self.segments:
            if segment.entry.sign > 0:
                local = segment.local_of(numbers)
                known = np.flatnonzero(local >= 0)
                local, offsets = local[known], segment.document_offsets
                last = local + 1 == segment.num_documents
                ends = offsets[np.where(last, local, local + 1)].astype(np.int64)
                ends[last] = segment.stream_len
                lengths[known] = ends - offsets[local].astype(np.int64) - 1
        return lengths

    def documents(self) -> Iterator[tuple[int, np.ndarray, dict[str, Any]]]:
        """Every document that is not deleted, by number: its number, ids and metadata."""
        adding = [segment for segment in self.segments if segment.entry.sign > 0]
        for segment in sorted(adding, key=lambda segment: segment.first_document):
            numbers = segment.numbers_of(np.arange(segment.num_documents))
            for local in np.flatnonzero(~self.deleted(numbers)).tolist():
                start, end = segment.document_bounds(local)
                ids = self.text_at(segment, start, end)
                yield int(numbers[local]), ids, segment.metadata(local)

    def number_of(self, number: int, index: int | None) -> int:
        """The number here of a document that has this one in an index of the union.

        (index: its place there. Without a union the number is the same, and no index is given.)
        """
        if self.members is not None:
            return self.members.number(number, index)
        if index is not None:
            raise QueryError("index: goes with a union of indexes, and this is one index")
        return number

    def owned(self, documents: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
        """Documents as users name them: numbers; in a union whose (places), and all names."""
        if self.members is None:
            return documents, None, ()
        indexes, numbers = self.members.divided(documents)
        return numbers, indexes, self.members.names

    def called(self, number: int) -> str:
        """A document, for messages."""
        return f"document {number}" if self.members is None else self.members.called(number)

    def document(self, number: int) -> tuple[StoredTokens, dict[str, Any]]:
        """A document's tokens and its metadata."""
        if isinstance(number, bool) or not isinstance(number, int | np.integer):
            raise QueryError(f"document: expected a number, found {short(number)}")
        if not 0 <= number < self.next_document:
            numbers = (
                f"0 to {self.next_document - 1}" if self.next_document else "none: it is empty"
            )
            raise QueryError(f"document {short(int(number))}: the index has {numbers}")
        one = np.array([int(number)])
        if not self.deleted(one)[0]:
            for segment in self.segments:
                local = int(segment.local_of(one)[0])
                if local >= 0:
                    start, end = segment.document_bounds(local)
                    return StoredTokens(self, segment, start, end), segment.metadata(local)
        raise self.gone(number)

    def gone(self, number: int) -> EverygramError:
        """The error for a document that no segment has."""
        return QueryError(f"{self.called(number)}: it was deleted")

    def document_found(self, number: int) -> tuple[StoredTokens, dict[str, Any]]:
        """`document`, of one that an occurrence is in: that there is none is damage."""
        try:
            return self.document(number)
        except QueryError as error:
            what = f"an occurrence in a document that is not there ({error})"
            raise damaged(self.path, what) from error
