"""One segment, opened read-only. In: the files of `format`. Out: arrays that map these files.

Knows nothing of text, of other segments, or of the manifest's own file.
"""

import contextlib
import json
import mmap
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np

from everygram.distant import DistantArray, Source
from everygram.errors import DamagedIndexError, FormatError
from everygram.storage import format as fmt
from everygram.storage.disk import (
    LFS_POINTER,
    address_of,
    advise,
    in_memory,
    is_lfs_pointer,
    map_file,
    positions_in,
    stat_inside,
)
from everygram.storage.fences import fence_tree

# Parts of a segment that can be held in memory, and the files of each.
PRELOADABLE = ("fences", "suffix_array", "tokens")
# The unigrams, and the upper levels of the fence tree, are read on opening if not larger than this.
AT_ONCE = 4 << 20


class Segment:
    """An open segment: its files mapped read-only as arrays.

    tokens: u8/u16/u32, shape (n,); suffix_array: u32, shape (n,), or u8, shape (n, 5);
    fences: u64, all levels of the tree; unigram_ids: u32 and unigram_ranks: u64, shape (U,);
    document_offsets: u64, shape (D,); metadata_offsets: u64, shape (D + 1,);
    document_counts: u64, the whole file, or None.

    by_bytes, shift, stretches: how a `Shard` differs, whose files are infini-gram's.

    distant: the files, by name, that are not in the folder: their arrays are distant ones.

    Opening checks that every other file is one, in the index's folder, and has its size. It reads
    none, except the fences of format version 1, whose tree it makes. Raises DamagedIndexError.
    """

    # The order of suffixes is that of their tokens' little-endian bytes.
    by_bytes = False
    # Positions are the entries of `suffix_array`, shifted right by so many bits.
    shift = 0
    # In which stretches ranks are others in `suffix_array`: int64, shape (k, 2), the first rank of
    # each, ascending from 0, and what it is there. Empty: in none. None: not infini-gram's files.
    stretches: np.ndarray | None = None
    # Counts unigrams where there is no table of them.
    _counted: Callable[[], tuple[np.ndarray, np.ndarray]] | None = None
    # What every search reads first is read on opening if not larger than this.
    at_once = AT_ONCE
    # The arrays of each part that can be held in memory.
    parts: Mapping[str, tuple[str, ...]] = MappingProxyType({part: (part,) for part in PRELOADABLE})
    # The files that are not in the folder, by name.
    distant: Mapping[str, Source] = MappingProxyType({})
    # What the files that `format` names are called where they are not called so.
    names: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self,
        folder: Path,
        entry: fmt.SegmentEntry,
        dtype: str,
        distant: Mapping[str, Source] | None = None,
    ) -> None:
        self.folder = folder
        self.entry = entry
        self.distant = distant or self.distant
        self.separator = fmt.separator_of(dtype)
        self.fence_spacing = entry.fence_spacing
        self.first_document = entry.first_document
        self.num_documents = entry.num_documents
        self.stream_len = entry.stream_len
        check_sizes(folder, self.local_files)
        self._stamps = self._files()
        self._map_stream(dtype)
        self.fences = self._map(fmt.FENCES, fmt.KEY)
        if not entry.fence_fanout:
            self.fences = np.concatenate(list(fence_tree([self.fences])))
        self.unigrams = unigrams = self._map(fmt.UNIGRAMS, np.dtype("u1"))
        distinct = unigrams.shape[0] // fmt.UNIGRAM_ENTRY_BYTES
        self.unigram_ranks = unigrams[: 8 * distinct].view(fmt.OFFSET)
        self.unigram_ids = unigrams[8 * distinct :].view("<u4")
        offsets = self._map(fmt.DOCUMENT_OFFSETS, fmt.OFFSET)
        self._offsets: Callable[[], np.ndarray] = lambda: offsets
        self.metadata_offsets = self._map(fmt.METADATA_OFFSETS, fmt.OFFSET)
        self.metadata_bytes = self._map(fmt.METADATA, np.dtype("u1"))
        self._numbers: np.ndarray | None = None
        if fmt.DOCUMENT_NUMBERS in entry.files:
            self._numbers = self._map(fmt.DOCUMENT_NUMBERS, fmt.OFFSET)
        self.document_counts: np.ndarray | None = None
        if fmt.DOCUMENT_COUNTS in entry.files:
            self.document_counts = self._map(fmt.DOCUMENT_COUNTS, fmt.OFFSET)
        self._row: np.ndarray | None = None

    @property
    def local_files(self) -> dict[str, fmt.FileEntry]:
        """The files that are in the folder."""
        return {name: file for name, file in self.entry.files.items() if name not in self.distant}

    def _map(self, name: str, dtype: np.dtype[Any]) -> np.ndarray:
        """A file as an array, mapped or distant."""
        source = self.distant.get(name)
        if source is None:
            return map_file(self.folder / name, dtype)
        # (A distant array gives arrays for its parts, and an error for what it cannot do.)
        return cast(np.ndarray, DistantArray(source, self.entry.files[name].bytes, dtype))

    def _map_stream(self, dtype: str) -> None:
        """Map the files that hold the tokens and their order."""
        width = self.entry.position_bytes
        self.tokens = self._map(fmt.TOKENS, fmt.TOKEN_DTYPES[dtype])
        if width == fmt.POSITION.itemsize:
            self.suffix_array = self._map(fmt.SUFFIX_ARRAY, fmt.POSITION)
        else:
            self.suffix_array = self._map(fmt.SUFFIX_ARRAY, np.dtype("u1")).reshape(-1, width)

    def prepare(self, vocab_size: int, preload: Sequence[str]) -> np.ndarray:
        """Prepare for searches; returns the segment's row for `kernels.search`, int64.

        The parts in `preload` are copied into memory, in huge pages where the system has them.
        The other parts stay mapped: the system reads their pages from disk as searches need them.
        The row is valid while the segment lives. The first call makes it; later calls return it.
        """
        if self._row is not None:
            return self._row
        for part, names in self.parts.items():
            for name in names:
                if part in preload:
                    setattr(self, name, in_memory(getattr(self, name)))
                advise(getattr(self, name), mmap.MADV_RANDOM)
        advise(self.unigrams, mmap.MADV_RANDOM)
        if self.document_counts is not None:
            advise(self.document_counts, mmap.MADV_RANDOM)
        # Every search reads these first: request them before the first search.
        levels = fmt.fence_levels(self.stream_len, self.fence_spacing)
        upper = [self.fences[start:] for start, _ in levels]
        for array in (self.unigrams, next(a for a in upper if a.nbytes <= self.at_once)):
            if array.nbytes <= self.at_once:
                advise(array, mmap.MADV_WILLNEED)
        self._row = self._described(vocab_size)
        return self._row

    def _described(self, vocab_size: int) -> np.ndarray:
        """The segment's row, of its arrays as they are now."""
        from everygram.kernels import rows  # loads numba, which a build of few tokens does not need

        levels = fmt.fence_levels(self.stream_len, self.fence_spacing)
        row = np.zeros(rows.COLUMNS, np.int64)
        row[rows.N] = self.stream_len
        row[rows.SIGN] = self.entry.sign
        row[rows.WIDTH] = self.entry.position_bytes
        row[rows.FENCES] = address_of(self.fences)
        row[rows.NUM_FENCES] = self.fences.shape[0]
        row[rows.UNIGRAMS] = address_of(self.unigrams)
        row[rows.NUM_UNIGRAMS] = self.unigram_ids.shape[0]
        row[rows.SPACING] = self.fence_spacing
        row[rows.KEY_BITS] = self.entry.key_bits
        row[rows.SEPARATOR] = self.separator
        row[rows.VOCAB_SIZE] = vocab_size
        row[rows.DOCUMENTS] = self.num_documents
        if self.document_counts is not None:
            row[rows.COUNTS] = address_of(self.document_counts)
        row[rows.NUM_LEVELS] = len(levels)
        row[rows.LEVELS : rows.LEVELS + 2 * len(levels)] = np.ravel(levels)
        self._describe_stream(row)
        return row

    def _describe_stream(self, row: np.ndarray) -> None:
        """Set what the row says of the files that `_map_stream` maps."""
        from everygram.kernels import rows

        row[rows.TOKENS] = address_of(self.tokens)
        row[rows.POSITIONS] = address_of(self.suffix_array)
        row[rows.BY_BYTES] = 8 * self.tokens.itemsize if self.by_bytes else 0
        if self.stretches is not None:
            row[rows.FOREIGN], row[rows.SHIFT] = 1, self.shift
            row[rows.STRETCHES] = address_of(self.stretches)
            row[rows.NUM_STRETCHES] = self.stretches.shape[0]

    def _files(self) -> dict[str, tuple[int, ...] | None]:
        """What tells a file from another one, or from one that was written to; None: it is gone."""
        stamps: dict[str, tuple[int, ...] | None] = {}
        for name in self.local_files:
            try:
                found = (self.folder / name).stat()
            except OSError:
                stamps[name] = None
            else:
                stamps[name] = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        return stamps

    def disturbed(self) -> str | None:
        """A file that is not any more as it was when the segment was opened: its name, or None.

        What is mapped of one that was replaced or removed stays as it was. What is mapped of one
        that was written to has changed, and reading past the end of one that was cut off ends the
        process.
        """
        now = self._files()
        return next((name for name, stamp in self._stamps.items() if now[name] != stamp), None)

    @property
    def document_offsets(self) -> np.ndarray:
        """The position of each document's separator: u64, shape (D,)."""
        return self._offsets()

    def unigrams_counted(self) -> tuple[np.ndarray, np.ndarray]:
        """The distinct tokens of the stream, ascending, and how often each occurs: int64, shape
        (U,), twice.

        Raises DamagedIndexError.
        """
        if self._counted is not None:
            return self._counted()
        ids, ranks = self.unigram_ids, self.unigram_ranks
        places = ids.astype(np.int64)
        if self.by_bytes:
            places = fmt.ordered(places, 8 * self.token_dtype.itemsize)
        ascend = bool((ranks[1:] > ranks[:-1]).all() and (places[1:] > places[:-1]).all())
        if not ascend or ranks[0] != 0 or ranks[-1] >= self.stream_len:
            raise self.damaged(fmt.UNIGRAMS, "not ascending ids and ranks from 0")
        counts = np.diff(ranks.astype(np.int64), append=self.stream_len)
        order = np.argsort(ids) if self.by_bytes else slice(None)
        return ids[order].astype(np.int64), counts[order]

    def unigram_intervals(self) -> tuple[np.ndarray, np.ndarray]:
        """The distinct tokens of the stream, ascending, and the interval of each: int64, shapes
        (U,) and (U, 2). Raises DamagedIndexError."""
        ids, counts = self.unigrams_counted()
        order = np.arange(ids.shape[0])
        if self.by_bytes:
            order = np.argsort(fmt.ordered(ids, 8 * self.token_dtype.itemsize))
        ends = np.empty_like(counts)
        ends[order] = np.cumsum(counts[order])
        return ids, np.column_stack([ends - counts, ends])

    def positions_of(self, ranks: np.ndarray | slice, cold: bool = False) -> np.ndarray:
        """The positions at these ranks: int64, shape (k,). cold: as of `text`."""
        if self.stretches is None:
            return positions_in(self.suffix_array[ranks])
        if isinstance(ranks, slice):
            ranks = np.arange(*ranks.indices(self.stream_len))
        if self.stretches.shape[0]:
            first, there = self.stretches.T
            place = np.searchsorted(first, ranks, "right") - 1
            ranks = there[place] + ranks - first[place]
        return positions_in(self.suffix_array[ranks]) >> self.shift

    @property
    def own(self) -> "Segment":
        """The segment that has the files, of one that is seen under other numbers."""
        return self

    @property
    def token_dtype(self) -> np.dtype[Any]:
        """The type of its token ids."""
        return self.tokens.dtype

    def text(self, start: int, end: int, cold: bool = False) -> np.ndarray:
        """The tokens at positions [start, end): of `token_dtype`, shape (end − start,).

        cold: whether reads are expected to wait for a disk.
        """
        return self.tokens[start:end]

    def texts(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """The tokens at positions [starts[i], ends[i]), one range after another."""
        none = np.empty(0, self.token_dtype)
        ranges = zip(starts.tolist(), ends.tolist(), strict=True)
        return np.concatenate([none, *(self.text(start, end) for start, end in ranges)])

    def tokens_at(self, positions: np.ndarray) -> np.ndarray:
        """The tokens at these positions: of `token_dtype`, same shape."""
        found: np.ndarray = self.tokens[positions]
        return found

    def document_bounds(self, local: int) -> tuple[int, int]:
        """Positions [start, end) of the tokens of the segment's document number `local`.

        Raises DamagedIndexError.
        """
        start, end = int(self.document_offsets[local]) + 1, self.stream_len
        if local + 1 < self.num_documents:
            end = int(self.document_offsets[local + 1])
        if not start <= end <= self.stream_len:
            raise self.damaged(fmt.DOCUMENT_OFFSETS, "offsets that do not ascend")
        return start, end

    def documents_at(self, positions: np.ndarray) -> np.ndarray:
        """The segment's document number for each position (a document includes its separator)."""
        return np.searchsorted(self.document_offsets, positions.astype(np.uint64), "right") - 1

    def damaged(self, name: str, what: str) -> DamagedIndexError:
        """The error for what a file of this name cannot hold."""
        return DamagedIndexError(
            f"{self.folder / self.name_of(name)}: damaged: {what}; restore it or rebuild the index"
        )

    def name_of(self, name: str) -> str:
        """What the file that `format` calls so is called here."""
        return self.names.get(name, name)

    def numbers_of(self, local: np.ndarray) -> np.ndarray:
        """The numbers in the index of the segment's documents `local`: int64, same shape."""
        numbers: np.ndarray
        if self._numbers is None:
            numbers = self.first_document + local
            return numbers
        numbers = self._numbers[local].astype(np.int64)
        return numbers

    def local_of(self, numbers: np.ndarray) -> np.ndarray:
        """The segment's documents that have these numbers: int64, same shape, −1 for none."""
        local = numbers - self.first_document
        if self._numbers is not None:
            local = np.searchsorted(self._numbers, numbers.astype(np.uint64))
        found = (local >= 0) & (local < self.num_documents) & (numbers >= 0)
        inside = np.where(found, local, 0)
        found &= self.numbers_of(inside) == numbers
        return np.where(found, inside, -1)

    def metadata(self, local: int) -> dict[str, Any]:
        """The metadata of the segment's document number `local`.

        Raises DamagedIndexError, or FormatError for what is nested deeper than Python reads.
        """
        try:
            record = _loaded(self.metadata_json(local))
            if not isinstance(record, dict):
                raise ValueError(f"found {type(record).__name__}")
        except ValueError as error:
            raise DamagedIndexError(
                f"{self._metadata_of(local)}: not a JSON object: {error}"
            ) from None
        except RecursionError:
            raise FormatError(
                f"{self._metadata_of(local)}: nested deeper than Python reads JSON; raise its "
                "limit (sys.setrecursionlimit)"
            ) from None
        return record

    def _metadata_of(self, local: int) -> str:
        """Where a document's metadata is, for messages."""
        number = int(self.numbers_of(np.array(local)))
        return f"{self.folder / self.name_of(fmt.METADATA)}: document {number}"

    def metadata_json(self, local: int) -> bytes:
        """The metadata of the segment's document number `local` as it is stored: UTF-8 JSON."""
        offsets = self.metadata_offsets
        if not offsets.shape[0]:  # a shard without metadata
            return b"{}"
        start, end = int(offsets[local]), self.metadata_bytes.shape[0]
        if local + 1 < offsets.shape[0]:
            end = int(offsets[local + 1])
        return self.metadata_bytes[start:end].tobytes().rstrip(b"\n")


def _loaded(data: bytes) -> Any:
    """The value of JSON. Raises ValueError, and RecursionError for one nested too deeply."""
    try:
        return json.loads(data)
    except RecursionError:
        # What this thread is in the midst of counts, too: a new one reads what a build has read.
        from concurrent.futures import ThreadPoolExecutor  # slow to import

        with ThreadPoolExecutor(1) as another:
            return another.submit(json.loads, data).result()


def check_sizes(folder: Path, files: Mapping[str, fmt.FileEntry]) -> None:
    """Raise DamagedIndexError unless each file exists and has the size given in the manifest."""
    # (If the folder is missing, its files are reported.)
    with contextlib.suppress(FileNotFoundError):
        stat_inside(folder, folder.parent, stat.S_ISDIR)
    for name, file in files.items():
        path, expected = folder / name, file.bytes
        try:
            found = stat_inside(path, folder.parent)
        except (FileNotFoundError, NotADirectoryError):
            raise DamagedIndexError(
                f"{path}: missing, expected {expected:,} bytes; restore it or rebuild the index"
            ) from None
        if found != expected:
            if is_lfs_pointer(path, found):
                raise DamagedIndexError(f"{path}: {LFS_POINTER}")
            what = "cut off" if found < expected else "too long"
            raise DamagedIndexError(
                f"{path}: {what}: expected {expected:,} bytes, found {found:,}; restore it or "
                "rebuild the index"
            )
