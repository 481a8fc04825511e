"""The documents of an index as one sorted stream.

In: an index, or several as one. Out: their tokens and one suffix array, without deleted documents.
An index of one segment with a suffix array is that already; all else is merged in files.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from everygram.building.compaction import Part, merging
from everygram.building.external_sort import remove_runs
from everygram.building.segment_builder import SegmentBuilder
from everygram.building.stages import Stages
from everygram.building.tokenize import REPORT_EVERY
from everygram.curation.work import Work
from everygram.errors import BuildError, OptionError
from everygram.index import Index
from everygram.storage import format as fmt
from everygram.storage.disk import map_file, map_positions, map_tokens
from everygram.storage.metadata import text_of
from everygram.storage.plain import plain, plain_bytes


@dataclass(frozen=True)
class SortedStream:
    """Documents, each a separator and its tokens, and the order of all suffixes.

    tokens: token dtype, shape (n,). suffix_array: its entries as `kernels.position_at` reads them.
    offsets: int64, shape (D,), where documents begin. numbers: int64, shape (D,), ascending: their
    numbers in the index's engine.
    """

    tokens: np.ndarray
    suffix_array: np.ndarray
    offsets: np.ndarray
    numbers: np.ndarray

    @property
    def separator(self) -> int:
        """What stands before each document."""
        return int(np.iinfo(self.tokens.dtype).max)


def sorted_stream(index: Index, work: Work, memory: int, threads: int) -> SortedStream:
    """The documents of an index, or of a union; of use as long as the work's folder is there.

    Files are made in that folder, if any are needed. memory: bytes, about. Raises BuildError where
    the disk has no room.
    """
    engine, dtype = index.engine, index.manifest.dtype
    segments = [segment for segment in engine.segments if segment.entry.sign > 0]
    segments.sort(key=lambda segment: segment.first_document)
    dtypes = {segment.token_dtype for segment in segments}
    if len(dtypes) > 1:
        names = ", ".join(sorted(map(str, dtypes)))
        raise OptionError(f"expected indexes of one type of token ids, found {names}")
    parts = []
    for segment in segments:
        numbers = segment.numbers_of(np.arange(segment.num_documents))
        parts.append(Part(segment, engine.deleted(numbers)))
    if not any(part.kept for part in parts):
        return no_documents(dtype)
    numbers = np.concatenate([part.numbers[~part.deleted] for part in parts])
    foreign = any(part.segment.stretches is not None for part in parts)
    if len(parts) == 1 and not parts[0].deleted.any() and not foreign:
        segment = segments[0].own
        needed = plain_bytes(segment)
        # (What is made of a self-index is gone with the run: to keep it, it is merged.)
        if not (needed and work.keeps):
            if needed:
                work.clock.enter("plain")
                _check_space(work, needed)
            made = plain(segment, work.path, memory, threads, work.clock.report)
            return SortedStream(*made, segment.document_offsets.astype(np.int64), numbers)
    stages = work.stages("sorted")
    if not stages.state.merged:
        size = sum(part.kept for part in parts)
        width = fmt.TOKEN_DTYPES[dtype].itemsize + 2 * fmt.position_bytes(size)
        _check_space(work, size * width + sum(plain_bytes(each.segment.own) for each in parts))
    # Without the deleted documents a suffix array is still sorted: nothing is sorted again, but
    # what infini-gram has in another order.
    how = _adding if foreign else merging
    return sort(stages, dtype, numbers, *how(stages, parts, dtype, memory, threads))


def no_documents(dtype: str) -> SortedStream:
    """A stream of none."""
    none = np.empty(0, np.int64)
    tokens = none.astype(fmt.TOKEN_DTYPES[dtype])
    return SortedStream(tokens, none.astype(fmt.POSITION), none, none)


def sort(
    stages: Stages,
    dtype: str,
    numbers: np.ndarray,
    builder: SegmentBuilder,
    read: Callable[[SegmentBuilder], None],
    at_least: int,
    reading: str = "read",
) -> SortedStream:
    """The documents of these numbers that are read, sorted. As `Stages.sort_segment`."""
    unsorted = stages.sort_segment(builder, read, at_least, reading)
    if unsorted is None:
        return no_documents(dtype)
    remove_runs(stages.folder)
    return stream_of(stages, dtype, numbers)


def stream_of(stages: Stages, dtype: str, numbers: np.ndarray) -> SortedStream:
    """What is sorted already. Precondition: the stages are `merged`."""
    assert stages.state.segment is not None
    size, documents = stages.state.segment.stream_len, stages.state.segment.num_documents
    return SortedStream(
        map_tokens(stages.folder, dtype, size),
        map_positions(stages.folder, fmt.position_bytes(size)),
        map_file(stages.folder / fmt.DOCUMENT_OFFSETS, fmt.OFFSET, documents).astype(np.int64),
        numbers,
    )


def values_of(index: Index, field: str, numbers: np.ndarray) -> list[str | None]:
    """What a field of the metadata (a.b: b inside a) has, as `text_of` says it.

    numbers: int64, of documents in the index's engine. Raises OptionError if none has the field.
    """
    values: list[str | None] = [None] * numbers.shape[0]
    for segment in index.engine.segments:
        if segment.entry.sign < 0:
            continue
        local = segment.local_of(numbers)
        for place in np.flatnonzero(local >= 0).tolist():
            values[place] = text_of(segment.metadata(int(local[place])), field)
    if values and all(value is None for value in values):
        raise OptionError(f"by: no document's metadata has the field {field!r}")
    return values


def _check_space(work: Work, needed: int) -> None:
    free = shutil.disk_usage(work.path).free
    if free < needed:
        other = "choose another work_dir" if work.keeps else "set TMPDIR to another disk"
        raise BuildError(
            f"no space left at '{work.path}': one sorted stream of the index needs "
            f"{needed / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free; free some, {other}, or "
            "compact the index first"
        )


def _adding(
    stages: Stages, parts: list[Part], dtype: str, memory: int, threads: int
) -> tuple[SegmentBuilder, Callable[[SegmentBuilder], None], int]:
    """As `merging`, for documents that are sorted anew."""
    clock, kept = stages.clock, sum(part.kept for part in parts)

    def read(builder: SegmentBuilder) -> None:
        writer = builder.writer
        for part in parts:
            for local in np.flatnonzero(~part.deleted).tolist():
                start, end = part.segment.document_bounds(local)
                builder.add(part.segment.text(start, end), b"{}")
                clock.documents, clock.tokens = writer.num_documents, writer.stream_len
                if clock.documents % REPORT_EVERY == 0:
                    clock.report(writer.stream_len, kept)

    builder = SegmentBuilder(stages.folder, dtype, memory, threads)
    return builder, read, kept * fmt.TOKEN_DTYPES[dtype].itemsize
