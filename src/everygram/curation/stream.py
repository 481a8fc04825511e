"""The documents of an index as one sorted stream.

In: an index, or several as one. Out: their tokens and one suffix array, without deleted documents.
An index of one segment with a suffix array is that already; all else is merged in files meanwhile.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from everygram.building.compaction import Part, stretches
from everygram.building.external_sort import SortedRuns
from everygram.building.segment_builder import SegmentBuilder
from everygram.errors import BuildError, OptionError
from everygram.index import Index
from everygram.storage import format as fmt
from everygram.storage.disk import map_file, map_positions, map_tokens
from everygram.storage.metadata import ABSENT, value_of, written
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


@contextmanager
def sorted_stream(
    index: Index, memory: int, threads: int, progress: Callable[[int, int], None]
) -> Iterator[SortedStream]:
    """The documents of an index, or of a union, for as long as the context lasts.

    Files are made in the system's folder of temporary files, if any are needed. memory: bytes,
    about. Calls `progress(done, in all)`. Raises BuildError where the disk has no room.
    """
    engine = index.engine
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
    with TemporaryDirectory(prefix="everygram-") as name:
        folder = Path(name)
        if not any(part.kept for part in parts):
            dtype = dtypes.pop() if dtypes else np.dtype(np.uint8)
            none = np.empty(0, np.int64)
            yield SortedStream(none.astype(dtype), none.astype(fmt.POSITION), none, none)
            return
        whole = len(parts) == 1 and not parts[0].deleted.any() and not _foreign(parts)
        _check_space(folder, parts, whole)
        if whole:
            (part,) = parts
            tokens, array = plain(part.segment.own, folder, memory, threads, progress)
            offsets = part.segment.document_offsets
        else:
            tokens, array, offsets = _merged(parts, folder, memory, threads, progress)
        numbers = np.concatenate([part.numbers[~part.deleted] for part in parts])
        yield SortedStream(tokens, array, offsets.astype(np.int64), numbers)


def values_of(index: Index, field: str, numbers: np.ndarray) -> list[str | None]:
    """What a field of the metadata (a.b: b inside a) has, as a text; None where there is none.

    numbers: int64, of documents in the index's engine. Raises OptionError if no document has it.
    """
    values: list[str | None] = [None] * numbers.shape[0]
    for segment in index.engine.segments:
        if segment.entry.sign < 0:
            continue
        local = segment.local_of(numbers)
        for place in np.flatnonzero(local >= 0).tolist():
            value = value_of(segment.metadata(int(local[place])), field)
            if value is not ABSENT:
                values[place] = value if isinstance(value, str) else written(value)
    if numbers.shape[0] and all(value is None for value in values):
        raise OptionError(f"by: no document's metadata has the field {field!r}")
    return values


def _foreign(parts: list[Part]) -> bool:
    """Whether there are files of infini-gram's, whose suffixes are in another order."""
    return any(part.segment.stretches is not None for part in parts)


def _check_space(folder: Path, parts: list[Part], whole: bool) -> None:
    needed = sum(plain_bytes(part.segment) for part in parts)
    if not whole:
        size = sum(part.kept for part in parts)
        width = parts[0].segment.token_dtype.itemsize
        needed += size * (width + 2 * fmt.position_bytes(size))
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise BuildError(
            f"no space left at '{folder.parent}': one sorted stream of the index needs "
            f"{needed / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free; free some, set TMPDIR to "
            "another disk, or compact the index first"
        )


def _merged(
    parts: list[Part],
    folder: Path,
    memory: int,
    threads: int,
    progress: Callable[[int, int], None],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens, suffix array and offsets of documents of all parts, in files of a folder."""
    segments, foreign = [part.segment for part in parts], _foreign(parts)
    dtype = next(name for name, each in fmt.TOKEN_DTYPES.items() if each == segments[0].token_dtype)
    made = folder / fmt.segment_name(1)
    runs, streams = None, [np.empty(0)] * len(parts)
    if not foreign:
        # Without the deleted documents a suffix array is still sorted: nothing is sorted again.
        arrays = [plain(each.own, folder, memory, threads, progress) for each in segments]
        streams = [tokens for tokens, _ in arrays]
        runs = SortedRuns(made, [array for _, array in arrays], [part.gaps for part in parts])
    with SegmentBuilder(made, dtype, memory, threads, runs) as builder:
        builder.begin()
        for part, tokens in zip(parts, streams, strict=True):
            for first, last in stretches(~part.deleted).tolist():
                if not foreign:
                    builder.copy(part.segment, tokens, first, last)
                    continue
                for local in range(first, last):
                    start, end = part.segment.document_bounds(local)
                    builder.add(part.segment.text(start, end), b"{}")
        unsorted = builder.end()
        blocks = list(builder.sorter.sorted_blocks())
    size = unsorted.stream_len
    builder.merge(size, blocks, progress)
    return (
        map_tokens(made, dtype, size),
        map_positions(made, fmt.position_bytes(size)),
        map_file(made / fmt.DOCUMENT_OFFSETS, fmt.OFFSET, unsorted.num_documents),
    )
