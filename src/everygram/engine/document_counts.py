"""In how many documents queries occur: read from files of document counts, or looked up.

A segment made by an older version, or without document counts, has no such file: then the document
of every occurrence is looked at.
"""

from functools import cached_property
from time import perf_counter_ns
from typing import Any

import numpy as np

from everygram.engine.intervals import Intervals, damaged
from everygram.engine.pace import spread
from everygram.engine.queries import Ids, Queries
from everygram.kernels import documents, entry, search
from everygram.storage import format as fmt
from everygram.storage.segment import Segment

# Occurrences whose documents are looked at together.
LOOKED_AT = 1 << 16


class DocumentCounts(Intervals):
    """Counts of documents. (Segments share none: their counts add up.)"""

    @cached_property
    def _document_count(self) -> Any:
        separator = self.vocabulary.separator
        return entry(documents.document_count, self._rows, b"", separator, False)

    def document_count(self, query: Ids) -> tuple[bytes, int, int]:
        """In how many documents the query occurs, and how often in all; first the ids as read."""
        packed = self.vocabulary.pack(query)
        if self.looks_at or not self.segments:
            asked = self.vocabulary.query(self.vocabulary.unpack(packed))
            found, counts = self.document_count_batch(asked)
            return packed, int(found[0]), int(counts[0])
        cold, start = self.pace.cold, perf_counter_ns()
        number, count = self._document_count(self._rows, packed, self.vocabulary.separator, cold)
        self.pace.timed(start)
        if number == -1:
            self.vocabulary.check(self.vocabulary.unpack(packed))
        if number < 0 or number > count:
            raise self._wrong_documents()
        return packed, number, count

    def document_count_batch(self, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        """In how many documents each query occurs, and how often: int64, shape (k,), twice."""
        intervals = np.empty((len(queries), len(self.segments), 2), np.int64)
        found = np.empty(len(queries), np.int64)
        pace = self.pace

        def fill(begin: int, end: int) -> None:
            start = perf_counter_ns()
            some, chosen = queries[begin:end], intervals[begin:end]
            search.find_many(self._rows, some.ids, some.starts, some.ends, pace.cold, chosen)
            self._read(chosen, found[begin:end])
            pace.timed(start, end - begin)

        spread(fill, len(queries))
        self._look(intervals, found)
        counts = self.counts_of(intervals)
        if (found > counts).any() or (found < 0).any():
            raise self._wrong_documents()
        return found, counts

    def documents_in(self, intervals: np.ndarray) -> np.ndarray:
        """The documents of queries, by the intervals that `find_batch` gives: int64, shape (k,)."""
        found = self.documents_added(intervals)
        if (found < 0).any():
            raise self._wrong_documents()
        return found

    def documents_added(self, intervals: np.ndarray) -> np.ndarray:
        """`documents_in`, below 0 where more is subtracted than is added."""
        found = np.empty(intervals.shape[0], np.int64)
        self._read(intervals, found)
        self._look(intervals, found)
        return found

    @property
    def looks_at(self) -> list[Segment]:
        """The segments without a file of document counts."""
        return [segment for segment in self.segments if segment.document_counts is None]

    def _read(self, intervals: np.ndarray, found: np.ndarray) -> None:
        """Set `found` to the sums over the segments that have document counts."""
        if documents.document_counts(self._rows, intervals, self.pace.cold, found) >= 0:
            raise self._wrong_documents()

    def _look(self, intervals: np.ndarray, found: np.ndarray) -> None:
        """Add the documents of the other segments to `found`."""
        for number, segment in enumerate(self.segments):
            if segment.document_counts is None:
                for query, (lo, hi) in enumerate(intervals[:, number].tolist()):
                    found[query] += segment.entry.sign * _documents_of(segment, lo, hi)

    def _wrong_documents(self) -> Exception:
        return damaged(self.path, "documents that contradict the occurrences")


def _documents_of(segment: Segment, lo: int, hi: int) -> int:
    """The number of documents in which the suffixes of ranks [lo, hi) begin."""
    if hi - lo < 2:
        return hi - lo
    if hi - lo == segment.stream_len:
        return segment.num_documents
    if hi - lo <= LOOKED_AT:
        return int(np.unique(_looked_at(segment, lo, hi)).shape[0])
    seen = np.zeros(segment.num_documents, np.bool_)
    for start in range(lo, hi, LOOKED_AT):
        seen[_looked_at(segment, start, min(hi, start + LOOKED_AT))] = True
    return int(np.count_nonzero(seen))


def _looked_at(segment: Segment, lo: int, hi: int) -> np.ndarray:
    """The segment's document of each rank: int64. Raises DamagedIndexError."""
    positions = segment.positions_of(np.arange(lo, hi))
    if positions.max() >= segment.stream_len:
        raise segment.damaged(fmt.SUFFIX_ARRAY, "a position past the segment's end")
    local = segment.documents_at(positions)
    if local.min() < 0:
        raise segment.damaged(fmt.DOCUMENT_OFFSETS, "offsets that do not ascend from 0")
    return local
