"""One segment: written once, opened read-only, verified on request.

Documents' ids in, the files of `everygram.storage.format` out, and back as arrays that map those
files.
Knows nothing of text, of other segments, or of the manifest's own file.
"""

import contextlib
import hashlib
import json
import mmap
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from everygram.errors import DamagedIndexError
from everygram.kernels import search
from everygram.kernels.sort import add_counts, fence_keys, first_disorder, invert
from everygram.storage import format as fmt

# Bytes written, hashed or compared at a time.
CHUNK = 1 << 22
# Parts of a segment that can be held in memory, and the files of each.
PRELOADABLE = ("fences", "suffix_array", "tokens")
HUGE_PAGE = 1 << 21
# Ids below this are counted in a table, 128 MiB of it.
MOST_COUNTED = 1 << 24
# Of the parts that lead every search, what is read when an index is opened.
AT_ONCE = 4 << 20


class SegmentWriter:
    """Takes documents and writes what needs no sorting: tokens, offsets, metadata.

    Everything goes to disk as it comes. `close`, then sort (`building.external_sort`), then
    `finish_segment`.
    """

    def __init__(self, folder: Path, dtype: str) -> None:
        folder.mkdir()
        self.folder = folder
        self._token_dtype = fmt.TOKEN_DTYPES[dtype]
        self._separator = np.full(1, fmt.separator_of(dtype), self._token_dtype)
        names = (fmt.TOKENS, fmt.METADATA, fmt.DOCUMENT_OFFSETS, fmt.METADATA_OFFSETS)
        self._files = {name: _HashedFile(folder / name) for name in names}
        self._metadata_len = 0
        self._add_offset(fmt.METADATA_OFFSETS, 0)
        self.stream_len = 0
        self.num_documents = 0

    def add(self, ids: np.ndarray, metadata: bytes) -> None:
        """Append a document. Precondition: every id is in the vocabulary."""
        self._add_offset(fmt.DOCUMENT_OFFSETS, self.stream_len)
        tokens = self._files[fmt.TOKENS]
        tokens.write(self._separator.data)
        tokens.write(np.ascontiguousarray(ids, self._token_dtype).data)
        self._files[fmt.METADATA].write(metadata)
        self._metadata_len += len(metadata)
        self._add_offset(fmt.METADATA_OFFSETS, self._metadata_len)
        self.stream_len += 1 + ids.shape[0]
        self.num_documents += 1

    def copy(self, segment: "Segment", first: int, last: int) -> None:
        """Append a segment's documents [first, last), at least one, as they are."""
        start, end = segment.document_bounds(first)[0] - 1, segment.document_bounds(last - 1)[1]
        ends = segment.metadata_offsets[first : last + 1]
        for name, content in (
            (fmt.TOKENS, segment.tokens[start:end]),
            (fmt.METADATA, segment.metadata_bytes[int(ends[0]) : int(ends[-1])]),
            (fmt.DOCUMENT_OFFSETS, segment.document_offsets[first:last] - start + self.stream_len),
            (fmt.METADATA_OFFSETS, ends[1:] - ends[0] + self._metadata_len),
        ):
            self._files[name].write(content.data)
        self._metadata_len += int(ends[-1] - ends[0])
        self.stream_len += end - start
        self.num_documents += last - first

    def flush(self) -> None:
        """Let others read the tokens added so far."""
        self._files[fmt.TOKENS].flush()

    def close(self) -> dict[str, fmt.FileEntry]:
        """Sync the files; returns their entries for the manifest."""
        return {name: file.close() for name, file in self._files.items()}

    def abort(self) -> None:
        """Let go of the files; what is in them is left to whoever removes the folder."""
        for file in self._files.values():
            file.abandon()

    def _add_offset(self, name: str, offset: int) -> None:
        self._files[name].write(offset.to_bytes(fmt.OFFSET.itemsize, "little"))


def finish_segment(
    folder: Path,
    dtype: str,
    stream_len: int,
    num_documents: int,
    files: dict[str, fmt.FileEntry],
    progress: Callable[[int, int], None],
    numbers: np.ndarray | int,
    sign: int = 1,
) -> fmt.SegmentEntry:
    """Write what follows from the sorted suffixes; returns the manifest's entry.

    numbers: the documents' numbers, int64, shape (D,), ascending; or the first of them, when they
    follow one another.

    Precondition: `files` are what SegmentWriter.close returned, and `suffix_array.bin` is there.
    Reads the array back once, for its checksum and the fences, and calls
    `progress(bytes, bytes in all)`.
    """
    tokens = map_tokens(folder, dtype, stream_len)
    width = fmt.position_bytes(stream_len)
    sa = _map_positions(folder, width)
    separator = fmt.separator_of(dtype)
    bits = segment_key_bits(tokens, sa, num_documents)
    digest = hashlib.sha256()

    def hash_and_report(chunk: np.ndarray, done: int) -> None:
        digest.update(chunk.data)
        progress(done, sa.nbytes)

    fences = _HashedFile(folder / fmt.FENCES)
    level = fence_keys_of(tokens, sa, separator, bits, fmt.FENCE_SPACING, hash_and_report)
    for piece in fence_tree(level):
        fences.write(piece.data)
    files = files | {
        fmt.UNIGRAMS: _write_array(folder / fmt.UNIGRAMS, unigram_table(tokens)),
        fmt.FENCES: fences.close(),
        fmt.SUFFIX_ARRAY: fmt.FileEntry(sa.nbytes, digest.hexdigest()),
    }
    first_document = numbers if isinstance(numbers, int) else int(numbers[0])
    if not isinstance(numbers, int):
        file = _write_array(folder / fmt.DOCUMENT_NUMBERS, numbers.astype(fmt.OFFSET))
        files = files | {fmt.DOCUMENT_NUMBERS: file}
    checksums = _write_array(folder / fmt.CHECKSUMS, _block_checksums(folder, files))
    files = files | {fmt.CHECKSUMS: checksums}
    fsync_directory(folder)
    return fmt.SegmentEntry(
        name=folder.name,
        sign=sign,
        first_document=first_document,
        num_documents=num_documents,
        num_tokens=stream_len - num_documents,
        position_bytes=width,
        fence_spacing=fmt.FENCE_SPACING,
        fence_fanout=fmt.FENCE_FANOUT,
        key_bits=bits,
        files=files,
    )


class Segment:
    """An open segment: its files mapped read-only as arrays.

    tokens: u8/u16/u32, shape (n,); suffix_array: u32, shape (n,), or u8, shape (n, 5);
    fences: u64, all levels of the tree; unigram_ids: u32 and unigram_ranks: u64, shape (U,);
    document_offsets: u64, shape (D,); metadata_offsets: u64, shape (D + 1,).

    Opening checks that every file is there and has its size, and reads none (of version 1 the
    fences, for their tree).
    Raises DamagedIndexError.
    """

    def __init__(self, folder: Path, entry: fmt.SegmentEntry, dtype: str) -> None:
        self.folder = folder
        self.entry = entry
        self.separator = fmt.separator_of(dtype)
        self.fence_spacing = entry.fence_spacing
        self.first_document = entry.first_document
        self.num_documents = entry.num_documents
        self.stream_len = entry.stream_len
        check_sizes(folder, entry, dtype)
        self.tokens = map_tokens(folder, dtype, self.stream_len)
        self.suffix_array = _map_positions(folder, entry.position_bytes)
        self.fences = _map(folder / fmt.FENCES, fmt.KEY)
        if not entry.fence_fanout:
            self.fences = np.concatenate(list(fence_tree([self.fences])))
        self._unigrams = unigrams = _map(folder / fmt.UNIGRAMS, np.dtype("u1"))
        distinct = unigrams.shape[0] // fmt.UNIGRAM_ENTRY_BYTES
        self.unigram_ranks = unigrams[: 8 * distinct].view(fmt.OFFSET)
        self.unigram_ids = unigrams[8 * distinct :].view("<u4")
        self.document_offsets = _map(folder / fmt.DOCUMENT_OFFSETS, fmt.OFFSET)
        self.metadata_offsets = _map(folder / fmt.METADATA_OFFSETS, fmt.OFFSET)
        self.metadata_bytes = _map(folder / fmt.METADATA, np.dtype("u1"))
        self._numbers: np.ndarray | None = None
        if fmt.DOCUMENT_NUMBERS in entry.files:
            self._numbers = _map(folder / fmt.DOCUMENT_NUMBERS, fmt.OFFSET)
        self._row: np.ndarray | None = None

    def prepare(self, vocab_size: int, preload: Sequence[str]) -> np.ndarray:
        """Make ready for searches; returns the segment's row for `kernels.search`, int64.

        The parts in `preload` are read into memory of their own, in huge pages where the system
        has them; of the others, what is mapped is read from the disk page by page, as searches
        need them. The row is good while the segment lives; only one is made of it, by the first
        call.
        """
        if self._row is not None:
            return self._row
        for part in PRELOADABLE:
            if part in preload:
                setattr(self, part, _in_memory(getattr(self, part)))
        levels = fmt.fence_levels(self.stream_len, self.fence_spacing)
        for array in (self.tokens, self.suffix_array, self.fences, self._unigrams):
            _advise(array, mmap.MADV_RANDOM)
        # What every search goes through first is on its way before the first one comes.
        upper = [self.fences[start:] for start, _ in levels]
        for array in (self._unigrams, next(a for a in upper if a.nbytes <= AT_ONCE)):
            if array.nbytes <= AT_ONCE:
                _advise(array, mmap.MADV_WILLNEED)
        row = np.zeros(search.COLUMNS, np.int64)
        row[search.TOKENS] = _address(self.tokens)
        row[search.N] = self.stream_len
        row[search.SIGN] = self.entry.sign
        row[search.POSITIONS] = _address(self.suffix_array)
        row[search.WIDTH] = self.entry.position_bytes
        row[search.FENCES] = _address(self.fences)
        row[search.NUM_FENCES] = self.fences.shape[0]
        row[search.UNIGRAMS] = _address(self._unigrams)
        row[search.NUM_UNIGRAMS] = self.unigram_ids.shape[0]
        row[search.SPACING] = self.fence_spacing
        row[search.KEY_BITS] = self.entry.key_bits
        row[search.SEPARATOR] = self.separator
        row[search.VOCAB_SIZE] = vocab_size
        row[search.NUM_LEVELS] = len(levels)
        row[search.LEVELS : search.LEVELS + 2 * len(levels)] = np.ravel(levels)
        self._row = row
        return row

    def positions_of(self, ranks: np.ndarray) -> np.ndarray:
        """The positions at these ranks: int64, shape (k,)."""
        positions: np.ndarray = self.suffix_array[ranks].astype(np.int64)
        if positions.ndim > 1:  # bytes
            positions = positions @ 256 ** np.arange(positions.shape[1])
        return positions

    def document_bounds(self, local: int) -> tuple[int, int]:
        """Positions [start, end) of the tokens of the segment's document number `local`."""
        start = int(self.document_offsets[local]) + 1
        if local + 1 < self.num_documents:
            return start, int(self.document_offsets[local + 1])
        return start, self.stream_len

    def documents_at(self, positions: np.ndarray) -> np.ndarray:
        """The segment's document number for each position (its separator belongs to it)."""
        return np.searchsorted(self.document_offsets, positions.astype(np.uint64), "right") - 1

    def numbers_of(self, local: np.ndarray) -> np.ndarray:
        """The numbers in the index of these of the segment's documents: int64, same shape."""
        numbers: np.ndarray
        if self._numbers is None:
            numbers = self.first_document + local
            return numbers
        numbers = self._numbers[local].astype(np.int64)
        return numbers

    def local_of(self, numbers: np.ndarray) -> np.ndarray:
        """Which of the segment's documents have these numbers: int64, same shape, −1 for none."""
        local = numbers - self.first_document
        if self._numbers is not None:
            local = np.searchsorted(self._numbers, numbers.astype(np.uint64))
        found = (local >= 0) & (local < self.num_documents) & (numbers >= 0)
        inside = np.where(found, local, 0)
        found &= self.numbers_of(inside) == numbers
        return np.where(found, inside, -1)

    def metadata(self, local: int) -> dict[str, Any]:
        """The metadata of the segment's document number `local`. Raises DamagedIndexError."""
        start, end = (int(offset) for offset in self.metadata_offsets[local : local + 2])
        try:
            record = json.loads(self.metadata_bytes[start:end].tobytes())
            if not isinstance(record, dict):
                raise ValueError(f"found {type(record).__name__}")
        except ValueError as error:
            number = int(self.numbers_of(np.array(local)))
            raise DamagedIndexError(
                f"{self.folder / fmt.METADATA}: document {number}: not a JSON object: {error}"
            ) from None
        return record

    def verify(self, progress: Callable[[int], None]) -> list[str]:
        """Check checksums, order and offsets in full; returns what is wrong, in words.

        Calls `progress(bytes)` for every stretch of files read. Takes 4 or 8 bytes of memory a
        token for the order's check. Linear time.
        """
        problems = list(self.verify_files(progress))
        problems += self._verify_documents()
        problems += self._verify_order()
        return problems

    def verify_files(self, progress: Callable[[int], None]) -> Iterator[str]:
        """Check checksums; yields what is wrong, in words. `progress` as of `verify`."""
        files = self.entry.files
        blocks = dict(_checksums_of(self.folder, files)) if fmt.CHECKSUMS in files else {}
        for name, expected in files.items():
            digest = hashlib.sha256()
            found = [np.empty(0, fmt.CHECKSUM)]
            for chunk in _chunks(self.folder / name):
                digest.update(chunk)
                found.append(_crc32s(chunk))
                progress(len(chunk))
            if digest.hexdigest() != expected.sha256:
                where = _located(np.concatenate(found), blocks.get(name), expected.bytes)
                yield f"{name}: content does not match its checksum{where}"

    def _verify_documents(self) -> Iterator[str]:
        numbers = self.numbers_of(np.arange(self.num_documents))
        if numbers[0] != self.first_document or (np.diff(numbers) <= 0).any():
            yield f"{fmt.DOCUMENT_NUMBERS}: not ascending from the first document's"
        offsets = self.document_offsets
        if offsets.shape[0] != self.num_documents or int(offsets[0]) != 0:
            yield f"{fmt.DOCUMENT_OFFSETS}: the first document does not start at 0"
        separators = np.flatnonzero(self.tokens == self.separator)
        if not np.array_equal(separators, offsets.astype(np.int64)):
            yield f"{fmt.DOCUMENT_OFFSETS}: not the positions of the separators in {fmt.TOKENS}"
        ends = self.metadata_offsets.astype(np.int64)
        if ends[0] != 0 or ends[-1] != self.metadata_bytes.shape[0] or (np.diff(ends) < 0).any():
            yield f"{fmt.METADATA_OFFSETS}: not ascending from 0 to the size of {fmt.METADATA}"
            return
        for local in range(self.num_documents):
            try:
                self.metadata(local)
            except DamagedIndexError as error:
                yield str(error)
                return

    def _verify_order(self) -> Iterator[str]:
        n = self.stream_len
        rank_of = np.full(n, n, np.uint32 if n < 2**32 else np.int64)
        wrong = invert(self.suffix_array, rank_of)
        if wrong >= 0:
            yield f"{fmt.SUFFIX_ARRAY}: rank {wrong:,} is out of range or stands twice"
            return
        wrong = first_disorder(self.tokens, self.suffix_array, rank_of, self.separator)
        if wrong >= 0:
            yield f"{fmt.SUFFIX_ARRAY}: ranks {wrong:,} and {wrong + 1:,} are out of order"
            return
        start = 0
        for piece in fence_tree(
            fence_keys_of(
                self.tokens,
                self.suffix_array,
                self.separator,
                self.entry.key_bits,
                self.fence_spacing,
            )
        ):
            if not np.array_equal(piece, self.fences[start : start + piece.shape[0]]):
                yield f"{fmt.FENCES}: not the keys of the suffixes"
                break
            start += piece.shape[0]
        if not np.array_equal(unigram_table(self.tokens), self._unigrams):
            yield f"{fmt.UNIGRAMS}: not the tokens and first ranks of the suffixes"


def unigram_table(tokens: np.ndarray) -> np.ndarray:
    """The content of unigrams.bin as bytes: first ranks (u64), then ids (u32).

    Suffixes are sorted by their first token: how often each occurs is enough. Linear time.
    """
    step = CHUNK // tokens.itemsize
    chunks = [tokens[start : start + step] for start in range(0, tokens.shape[0], step)]
    # The separator aside, whose id is all ones.
    largest = max((int(c[c != np.iinfo(c.dtype).max].max(initial=0)) for c in chunks), default=0)
    if largest < MOST_COUNTED:
        table = np.zeros(largest + 2, np.int64)
        for chunk in chunks:
            add_counts(np.minimum(chunk, largest + 1), table)
        ids = np.flatnonzero(table)
        counts = table[ids]
        ids[ids == largest + 1] = np.iinfo(tokens.dtype).max
    else:
        ids, counts = np.empty(0, tokens.dtype), np.empty(0, np.int64)
        for chunk in chunks:
            more, how_often = np.unique(chunk, return_counts=True)
            ids, place = np.unique(np.concatenate([ids, more]), return_inverse=True)
            summed = np.zeros(ids.shape[0], np.int64)
            np.add.at(summed, place, np.concatenate([counts, how_often]))
            counts = summed
    ranks = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return np.concatenate(
        [ranks.astype(fmt.OFFSET).view(np.uint8), ids.astype("<u4").view(np.uint8)]
    )


def segment_key_bits(tokens: np.ndarray, sa: np.ndarray, num_documents: int) -> int:
    """`key_bits` of a segment: separators are its last suffixes, before them stands the largest."""
    rank = tokens.shape[0] - num_documents - 1
    if rank < 0:
        return fmt.key_bits(0)
    return fmt.key_bits(int(tokens[_position(sa, rank)]))


def fence_keys_of(
    tokens: np.ndarray,
    sa: np.ndarray,
    separator: int,
    bits: int,
    spacing: int,
    seen: Callable[[np.ndarray, int], None] = lambda chunk, done: None,
) -> Iterator[np.ndarray]:
    """Level 0 of the fence tree in pieces: u64.

    Goes through the array a chunk at a time, and calls `seen(chunk, bytes so far)`.
    """
    step = CHUNK // 4
    for start in range(0, sa.shape[0], step):
        chunk = sa[start : start + step]
        first = -start % spacing
        keys = np.empty(max(0, -(-(chunk.shape[0] - first) // spacing)), fmt.KEY)
        fence_keys(tokens, chunk, separator, bits, first, spacing, keys)
        seen(chunk, (start + chunk.shape[0]) * sa.strides[0])
        yield keys


def fence_tree(level: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The content of fences.bin, piece by piece, from the pieces of its level 0."""
    while True:
        size = 0
        above = []
        for piece in level:
            yield piece
            above.append(piece[-size % fmt.FENCE_FANOUT :: fmt.FENCE_FANOUT])
            size += piece.shape[0]
        yield np.full(-size % fmt.FENCE_FANOUT, np.iinfo(fmt.KEY).max, fmt.KEY)
        if size <= fmt.FENCE_FANOUT:
            return
        level = [np.concatenate(above)]


def check_sizes(folder: Path, entry: fmt.SegmentEntry, dtype: str) -> None:
    """Raise DamagedIndexError unless each file is there with the size the manifest says."""
    from_counts = dict(fmt.expected_sizes(entry, dtype))
    optional = (name for name in fmt.OPTIONAL_FILES if name in entry.files)
    for name in (*fmt.SEGMENT_FILES, *optional):
        path = folder / name
        if name not in entry.files:
            raise DamagedIndexError(f"segment '{folder}': the manifest does not list {name}")
        expected = entry.files[name].bytes
        if from_counts.get(name, expected) != expected:
            raise DamagedIndexError(
                f"{path}: the manifest says {expected:,} bytes, its counts give "
                f"{from_counts[name]:,}: the manifest is damaged; restore it or rebuild the index"
            )
        try:
            found = path.stat().st_size
        except FileNotFoundError:
            raise DamagedIndexError(
                f"{path}: missing, expected {expected:,} bytes; restore it or rebuild the index"
            ) from None
        if found != expected:
            what = "cut off" if found < expected else "too long"
            raise DamagedIndexError(
                f"{path}: {what}: expected {expected:,} bytes, found {found:,}; restore it or "
                "rebuild the index"
            )


def _block_checksums(folder: Path, files: dict[str, fmt.FileEntry]) -> np.ndarray:
    """The content of checksums.bin: u32. Reads every file once."""
    names = (folder / name for name, _, _ in fmt.checksum_blocks(files))
    return np.concatenate([_crc32s(chunk) for name in names for chunk in _chunks(name)])


def _checksums_of(
    folder: Path, files: dict[str, fmt.FileEntry]
) -> Iterator[tuple[str, np.ndarray]]:
    """What checksums.bin says of each file."""
    checksums = np.fromfile(folder / fmt.CHECKSUMS, fmt.CHECKSUM)
    for name, first, count in fmt.checksum_blocks(files):
        yield name, checksums[first : first + count]


def _chunks(path: Path) -> Iterator[bytes]:
    """The content of a file, whole blocks at a time."""
    with path.open("rb") as file:
        # No larger than need be: buffers that are cut leave holes in memory.
        size = min(max(CHUNK, fmt.CHECKSUM_BLOCK), os.fstat(file.fileno()).st_size + 1)
        while chunk := file.read(size):
            yield chunk


def _crc32s(chunk: bytes) -> np.ndarray:
    """The CRC-32 of each of its blocks: u32."""
    view = memoryview(chunk)
    step = fmt.CHECKSUM_BLOCK
    checksums = [zlib.crc32(view[i : i + step]) for i in range(0, len(view), step)]
    return np.array(checksums, fmt.CHECKSUM)


def _located(found: np.ndarray, expected: np.ndarray | None, size: int) -> str:
    """Where a file of that size is damaged, as far as checksums of its blocks tell."""
    if expected is None or expected.shape != found.shape or np.array_equal(found, expected):
        return ""
    wrong = np.flatnonzero(found != expected)
    start = int(wrong[0]) * fmt.CHECKSUM_BLOCK
    end = min(size, start + fmt.CHECKSUM_BLOCK)
    more = f" and {wrong.size - 1:,} more blocks" if wrong.size > 1 else ""
    return f" from byte {start:,} to {end:,}{more}, of {size:,}"


def fsync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def map_tokens(folder: Path, dtype: str, stream_len: int) -> np.ndarray:
    """The first `stream_len` tokens, read-only; more may be on their way."""
    return _map(folder / fmt.TOKENS, fmt.TOKEN_DTYPES[dtype], stream_len)


def _map_positions(folder: Path, width: int) -> np.ndarray:
    if width == fmt.POSITION.itemsize:
        return _map(folder / fmt.SUFFIX_ARRAY, fmt.POSITION)
    return _map(folder / fmt.SUFFIX_ARRAY, np.dtype("u1")).reshape(-1, width)


def _write_array(path: Path, content: np.ndarray) -> fmt.FileEntry:
    file = _HashedFile(path)
    file.write(content.data)
    return file.close()


def _map(path: Path, dtype: np.dtype[Any], count: int = -1) -> np.ndarray:
    """The file (its first `count` entries) as a read-only array, mapped while that lives."""
    if count == 0 or path.stat().st_size == 0:  # mmap refuses empty files
        empty = np.empty(0, dtype)
        empty.setflags(write=False)
        return empty
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(mapped, dtype, count)


def read_in(path: Path) -> None:
    """Have the system hold a file in its memory, in huge pages where it can.

    It keeps a file in the pages it once took for it, which is why those are given up first. With
    huge ones a search need not wait for the page tables: a third of its time on a large index.
    """
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            return
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel or a file system without them
            mapped.madvise(mmap.MADV_HUGEPAGE)
    np.frombuffer(mapped, np.uint8)[:: mmap.PAGESIZE].max()


def _advise(array: np.ndarray, advice: int) -> None:
    """Give the system advice on the file that an array maps, from the array's first byte on."""
    mapped: Any = array
    while isinstance(mapped, np.ndarray):
        mapped = mapped.base
    memory = mapped.obj if isinstance(mapped, memoryview) else mapped
    if isinstance(memory, mmap.mmap) and array.nbytes:
        start = _address(array) - _address(np.frombuffer(memory, np.uint8))
        memory.madvise(advice, start - start % mmap.PAGESIZE)


def _in_memory(array: np.ndarray) -> np.ndarray:
    """A read-only copy in memory of its own, in huge pages where the system has them."""
    if array.nbytes == 0:
        return array
    # Private: the system gives shared memory, Python's default, no huge pages.
    memory = mmap.mmap(-1, array.nbytes + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without them
            memory.madvise(mmap.MADV_HUGEPAGE)
    whole = np.frombuffer(memory, np.uint8)
    start = -_address(whole) % HUGE_PAGE
    copy = whole[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    copy.setflags(write=False)
    return copy


def _position(sa: np.ndarray, rank: int) -> int:
    return int.from_bytes(sa[rank].tobytes(), "little")


def _address(array: np.ndarray) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


class _HashedFile:
    """A file written from the start, hashed on the way, fsynced when closed."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=CHUNK)
        self._digest = hashlib.sha256()
        self._size = 0

    def write(self, data: "bytes | memoryview") -> None:
        view = memoryview(data).cast("B") if memoryview(data).nbytes else memoryview(b"")
        self._file.write(view)
        self._digest.update(view)
        self._size += view.nbytes

    def flush(self) -> None:
        self._file.flush()

    def abandon(self) -> None:
        # Closing writes out what is buffered, which a full disk refuses: that is not news.
        with contextlib.suppress(OSError):
            self._file.close()

    def close(self) -> fmt.FileEntry:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return fmt.FileEntry(self._size, self._digest.hexdigest())
