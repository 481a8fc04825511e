"""Ids of documents in, a segment on disk out: written and cut into blocks as added, then sorted.

Knows the order of the steps; does not know how a killed build is resumed (see `stages`).
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from everygram.building.external_sort import (
    BlockSorter,
    SortedRuns,
    remove_runs,
    write_suffix_array,
)
from everygram.storage import format as fmt
from everygram.storage.build_state import Block, Unsorted
from everygram.storage.disk import Written
from everygram.storage.psi_writer import write_self_index
from everygram.storage.segment import Segment
from everygram.storage.segment_writer import (
    SegmentWriter,
    finish_segment,
    finish_self_index,
    write_document_counts,
)

if TYPE_CHECKING:
    from everygram.building.stretches import Workers


class SegmentBuilder:
    """Makes one segment: `begin`, `add` or `copy` documents, `end`, `merge`, `count`, `finish`.

    Blocks of a long stream are sorted in the background meanwhile. Call `sorter.sorted_blocks()`
    between `end` and `merge`. Everything before `merge` belongs in a `with` statement, which closes
    files and threads.
    """

    def __init__(
        self,
        folder: Path,
        dtype: str,
        memory: int,
        threads: int,
        sorted_runs: SortedRuns | None = None,
        workers: "Workers | None" = None,
    ) -> None:
        """memory, threads: limits for sorting.

        sorted_runs: the sorted runs of the documents that `copy` will add: then nothing is sorted.
        workers: who merges blocks (default: threads of this process).
        """
        self.folder = folder
        self.dtype = dtype
        self.sorter: BlockSorter | SortedRuns
        self.sorter = sorted_runs or BlockSorter(folder, dtype, memory, threads)
        self._memory, self._threads, self._workers = memory, threads, workers
        self._writer: SegmentWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # The folder may be removed now, so nothing may go on writing to it.
        self.sorter.abort()
        if self._writer is not None:
            self._writer.abort()

    def begin(self) -> None:
        """Make the folder. Precondition: it does not exist."""
        self._writer = SegmentWriter(self.folder, self.dtype)

    @property
    def writer(self) -> SegmentWriter:
        """The writer of the files that need no sorting. Precondition: `begin` was called."""
        assert self._writer is not None
        return self._writer

    def add(self, ids: np.ndarray, metadata: bytes) -> None:
        """Append a document. Precondition: every id is in the vocabulary."""
        start = self.writer.stream_len
        self.writer.add(ids, metadata)
        self.sorter.advance(start, self.writer.stream_len, self.writer.flush)

    def copy(self, segment: Segment, tokens: np.ndarray, first: int, last: int) -> None:
        """Append a segment's documents [first, last), which are part of `sorted_runs`.

        tokens: its stream.
        """
        self.writer.copy(segment, tokens, first, last)

    def end(self) -> Unsorted:
        """Sync the files. Precondition: all documents were added."""
        files = self.writer.close()
        self.sorter.end()
        return Unsorted(self.writer.num_documents, self.writer.stream_len, files)

    def merge(
        self, stream_len: int, blocks: list[Block], progress: Callable[[int, int], None]
    ) -> None:
        """Write the suffix array: from all blocks, or by sorting the stream if it has no blocks."""
        write_suffix_array(
            self.folder,
            self.dtype,
            stream_len,
            blocks,
            self._memory,
            self._threads,
            progress,
            self._workers,
        )

    def count(self, unsorted: Unsorted, progress: Callable[[int, int], None]) -> Written:
        """Write the document counts."""
        remove_runs(self.folder)
        return write_document_counts(
            self.folder,
            self.dtype,
            unsorted.stream_len,
            unsorted.num_documents,
            self._memory,
            self._threads,
            progress,
        )

    def compress(
        self, unsorted: Unsorted, sample_every: int, progress: Callable[[int, int], None]
    ) -> dict[str, Written]:
        """Write what makes a self-index of the segment."""
        remove_runs(self.folder)
        return write_self_index(
            self.folder,
            self.dtype,
            unsorted.stream_len,
            unsorted.num_documents,
            sample_every,
            self._memory,
            self._threads,
            progress,
        )

    def finish(
        self,
        unsorted: Unsorted,
        counts: Written | None,
        numbers: np.ndarray | int,
        progress: Callable[[int, int], None],
        sign: int = 1,
    ) -> fmt.SegmentEntry:
        """Write the remaining files. counts: what `count` wrote. numbers, sign: as in
        `finish_segment`."""
        remove_runs(self.folder)
        files = unsorted.files if counts is None else unsorted.files | {fmt.DOCUMENT_COUNTS: counts}
        return finish_segment(
            self.folder,
            self.dtype,
            unsorted.stream_len,
            unsorted.num_documents,
            files,
            progress,
            numbers,
            sign,
        )

    def finish_self_index(
        self,
        unsorted: Unsorted,
        counts: Written | None,
        numbers: np.ndarray | int,
        sample_every: int,
        compressed: dict[str, Written],
    ) -> fmt.SegmentEntry:
        """As `finish`, for a self-index. compressed: what `compress` wrote."""
        files = unsorted.files | compressed
        return finish_self_index(
            self.folder,
            unsorted.stream_len,
            unsorted.num_documents,
            sample_every,
            files if counts is None else files | {fmt.DOCUMENT_COUNTS: counts},
            numbers,
        )


def write_documents(
    folder: Path,
    dtype: str,
    documents: Iterable[tuple[np.ndarray, bytes]],
    memory: int,
    threads: int,
    sign: int,
    numbers: np.ndarray | int,
    document_counts: bool,
) -> fmt.SegmentEntry:
    """Write a segment of documents (ids, metadata) with these numbers, or from one on; at least one
    document."""
    with SegmentBuilder(folder, dtype, memory, threads) as builder:
        builder.begin()
        for ids, metadata in documents:
            builder.add(ids, metadata)
        unsorted = builder.end()
        blocks = list(builder.sorter.sorted_blocks())
    builder.merge(unsorted.stream_len, blocks, no_progress)
    counts = builder.count(unsorted, no_progress) if document_counts else None
    return builder.finish(unsorted, counts, numbers, no_progress, sign)


def no_progress(done: int, total: int) -> None:
    """A progress function that does nothing."""
