"""Documents' ids in, a segment on disk out: written and cut into blocks as they come, then sorted.

Knows the order of the steps; not what a killed one goes on from (see `stages`).
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Self

import numpy as np

from everygram.building.external_sort import (
    BlockSorter,
    SortedRuns,
    remove_runs,
    write_suffix_array,
)
from everygram.storage import format as fmt
from everygram.storage.build_state import Block, Unsorted
from everygram.storage.segment import Segment
from everygram.storage.segment_writer import SegmentWriter, finish_segment


class SegmentBuilder:
    """Makes one segment: `begin`, `add` or `copy` documents, `end`, then `merge` and `finish`.

    Blocks of a long stream are sorted in the background from the first on; between `end` and
    `merge` comes `sorter.sorted_blocks()`. Up to there it is used in a `with` statement, which
    lets go of files and threads.
    """

    def __init__(
        self,
        folder: Path,
        dtype: str,
        memory: int,
        threads: int,
        sorted_runs: SortedRuns | None = None,
    ) -> None:
        """memory, threads: what sorting takes at most.

        sorted_runs: the order of the documents that `copy` will give, which then are not sorted.
        """
        self.folder = folder
        self.dtype = dtype
        self.sorter: BlockSorter | SortedRuns
        self.sorter = sorted_runs or BlockSorter(folder, dtype, memory, threads)
        self._memory, self._threads = memory, threads
        self._writer: SegmentWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Nothing goes on in a folder that may be removed now.
        self.sorter.abort()
        if self._writer is not None:
            self._writer.abort()

    def begin(self) -> None:
        """Make the folder. Precondition: there is none."""
        self._writer = SegmentWriter(self.folder, self.dtype)

    @property
    def writer(self) -> SegmentWriter:
        """Of what comes before sorting; counts it. Precondition: `begin`."""
        assert self._writer is not None
        return self._writer

    def add(self, ids: np.ndarray, metadata: bytes) -> None:
        """Append a document. Precondition: every id is in the vocabulary."""
        start = self.writer.stream_len
        self.writer.add(ids, metadata)
        self.sorter.advance(start, self.writer.stream_len, self.writer.flush)

    def copy(self, segment: Segment, first: int, last: int) -> None:
        """Append a segment's documents [first, last), whose order `sorted_runs` has."""
        self.writer.copy(segment, first, last)

    def end(self) -> Unsorted:
        """All documents are there: sync them."""
        files = self.writer.close()
        self.sorter.end()
        return Unsorted(self.writer.num_documents, self.writer.stream_len, files)

    def merge(
        self, stream_len: int, blocks: list[Block], progress: Callable[[int, int], None]
    ) -> None:
        """Write the suffix array: from all blocks, or of the stream if it has none."""
        write_suffix_array(
            self.folder, self.dtype, stream_len, blocks, self._memory, self._threads, progress
        )

    def finish(
        self,
        unsorted: Unsorted,
        numbers: np.ndarray | int,
        progress: Callable[[int, int], None],
        sign: int = 1,
    ) -> fmt.SegmentEntry:
        """Write the rest; numbers, sign: as `finish_segment`."""
        remove_runs(self.folder)
        return finish_segment(
            self.folder,
            self.dtype,
            unsorted.stream_len,
            unsorted.num_documents,
            unsorted.files,
            progress,
            numbers,
            sign,
        )


def write_documents(
    folder: Path,
    dtype: str,
    documents: Iterable[tuple[np.ndarray, bytes]],
    memory: int,
    threads: int,
    sign: int,
    numbers: np.ndarray,
) -> fmt.SegmentEntry:
    """Write a segment of documents (ids, metadata) of these numbers, at least one."""
    with SegmentBuilder(folder, dtype, memory, threads) as builder:
        builder.begin()
        for ids, metadata in documents:
            builder.add(ids, metadata)
        unsorted = builder.end()
        blocks = list(builder.sorter.sorted_blocks())
    builder.merge(unsorted.stream_len, blocks, no_progress)
    return builder.finish(unsorted, numbers, no_progress, sign)


def no_progress(done: int, total: int) -> None:
    """Progress that nobody is shown."""
