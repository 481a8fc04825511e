"""One segment: written once, opened read-only, verified on request.

Documents' ids in, the files of `everygram.format` out, and back as arrays that map those files.
Knows nothing of text, of other segments, or of the manifest's own file.
"""

import contextlib
import hashlib
import json
import mmap
import os
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from everygram import format as fmt
from everygram.errors import DamagedIndexError
from everygram.kernels.search import next_tokens
from everygram.kernels.sort import fence_keys, first_disorder, invert, widen
from everygram.suffix_array import suffix_array

# Bytes written, hashed or compared at a time.
CHUNK = 1 << 24


class SegmentWriter:
    """Takes documents, then sorts and writes the segment's files, each hashed and fsynced.

    Tokens go to disk as they come; in memory is one offset a document until `finish`, which
    holds the stream and its suffix array.
    """

    def __init__(self, folder: Path, dtype: str, first_document: int) -> None:
        folder.mkdir()
        self._folder = folder
        self._dtype = dtype
        self._first_document = first_document
        self._token_dtype = fmt.TOKEN_DTYPES[dtype]
        self._separator = np.full(1, fmt.separator_of(dtype), self._token_dtype)
        self._tokens = _HashedFile(folder / fmt.TOKENS)
        self._metadata = _HashedFile(folder / fmt.METADATA)
        self._document_offsets = array("Q")
        self._metadata_offsets = array("Q", [0])
        self.stream_len = 0

    @property
    def stream_bytes(self) -> int:
        """Size of the stream so far."""
        return self.stream_len * self._token_dtype.itemsize

    @property
    def num_documents(self) -> int:
        """Documents added so far."""
        return len(self._document_offsets)

    def add(self, ids: np.ndarray, metadata: bytes) -> None:
        """Append a document. Precondition: every id is in the vocabulary."""
        self._document_offsets.append(self.stream_len)
        self._tokens.write(self._separator.data)
        self._tokens.write(np.ascontiguousarray(ids, self._token_dtype).data)
        self._metadata.write(metadata)
        self._metadata_offsets.append(self._metadata_offsets[-1] + len(metadata))
        self.stream_len += 1 + ids.shape[0]

    def finish(self, stage: Callable[[str], None]) -> fmt.SegmentEntry:
        """Sort and write everything else; calls `stage("sort")` and `stage("write")` in turn.

        Precondition: at least one document.
        """
        files = {
            fmt.TOKENS: self._tokens.close(),
            fmt.METADATA: self._metadata.close(),
            fmt.DOCUMENT_OFFSETS: self._write(
                fmt.DOCUMENT_OFFSETS, [np.array(self._document_offsets, fmt.OFFSET)]
            ),
            fmt.METADATA_OFFSETS: self._write(
                fmt.METADATA_OFFSETS, [np.array(self._metadata_offsets, fmt.OFFSET)]
            ),
        }
        stage("sort")
        tokens = np.fromfile(self._folder / fmt.TOKENS, self._token_dtype)
        positions = suffix_array(tokens)
        # Read-only like the maps of an open segment: kernels compile for one kind of array.
        tokens.setflags(write=False)
        positions.setflags(write=False)
        stage("write")
        width = fmt.position_bytes(self.stream_len)
        files[fmt.SUFFIX_ARRAY] = self._write(fmt.SUFFIX_ARRAY, _entries(positions, width))
        separator = fmt.separator_of(self._dtype)
        unigrams = unigram_table(tokens, positions, separator)
        files[fmt.UNIGRAMS] = self._write(fmt.UNIGRAMS, [unigrams])
        fences = fence_table(tokens, positions, separator, fmt.FENCE_SPACING)
        files[fmt.FENCES] = self._write(fmt.FENCES, [fences])
        fsync_directory(self._folder)
        return fmt.SegmentEntry(
            name=self._folder.name,
            sign=1,
            first_document=self._first_document,
            num_documents=self.num_documents,
            num_tokens=self.stream_len - self.num_documents,
            position_bytes=width,
            fence_spacing=fmt.FENCE_SPACING,
            files=files,
        )

    def abort(self) -> None:
        """Let go of the files; what is in them is left to whoever removes the folder."""
        self._tokens.abandon()
        self._metadata.abandon()

    def _write(self, name: str, chunks: "list[np.ndarray] | Iterator[np.ndarray]") -> fmt.FileEntry:
        file = _HashedFile(self._folder / name)
        for chunk in chunks:
            file.write(chunk.data)
        return file.close()


class Segment:
    """An open segment: its files mapped read-only as arrays.

    tokens: u8/u16/u32, shape (n,); suffix_array: u32, shape (n,), or u8, shape (n, 5);
    fences: u64, shape (⌈n / spacing⌉,); unigram_ids: u32 and unigram_ranks: u64, shape (U,);
    document_offsets: u64, shape (D,); metadata_offsets: u64, shape (D + 1,).

    Opening checks that every file is there and has its size, and reads none.
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
        self.tokens = _map(folder / fmt.TOKENS, fmt.TOKEN_DTYPES[dtype])
        if entry.position_bytes == fmt.POSITION.itemsize:
            self.suffix_array = _map(folder / fmt.SUFFIX_ARRAY, fmt.POSITION)
        else:
            raw = _map(folder / fmt.SUFFIX_ARRAY, np.dtype("u1"))
            self.suffix_array = raw.reshape(-1, entry.position_bytes)
        self.fences = _map(folder / fmt.FENCES, fmt.KEY)
        unigrams = _map(folder / fmt.UNIGRAMS, np.dtype("u1"))
        distinct = unigrams.shape[0] // fmt.UNIGRAM_ENTRY_BYTES
        self.unigram_ranks = unigrams[: 8 * distinct].view(fmt.OFFSET)
        self.unigram_ids = unigrams[8 * distinct :].view("<u4")
        self.document_offsets = _map(folder / fmt.DOCUMENT_OFFSETS, fmt.OFFSET)
        self.metadata_offsets = _map(folder / fmt.METADATA_OFFSETS, fmt.OFFSET)
        self._metadata = _map(folder / fmt.METADATA, np.dtype("u1"))

    def document_bounds(self, local: int) -> tuple[int, int]:
        """Positions [start, end) of the tokens of the segment's document number `local`."""
        start = int(self.document_offsets[local]) + 1
        if local + 1 < self.num_documents:
            return start, int(self.document_offsets[local + 1])
        return start, self.stream_len

    def documents_at(self, positions: np.ndarray) -> np.ndarray:
        """The segment's document number for each position (its separator belongs to it)."""
        return np.searchsorted(self.document_offsets, positions.astype(np.uint64), "right") - 1

    def metadata(self, local: int) -> dict[str, Any]:
        """The metadata of the segment's document number `local`."""
        start, end = (int(offset) for offset in self.metadata_offsets[local : local + 2])
        record: dict[str, Any] = json.loads(self._metadata[start:end].tobytes())
        return record

    def verify(self, progress: Callable[[int], None]) -> list[str]:
        """Check checksums, order and offsets in full; returns what is wrong, in words.

        Calls `progress(bytes)` for every stretch of files read. Takes 4 or 8 bytes of memory a
        token for the order's check. Linear time.
        """
        problems = []
        for name, expected in self.entry.files.items():
            digest = hashlib.sha256()
            with (self.folder / name).open("rb") as file:
                while chunk := file.read(CHUNK):
                    digest.update(chunk)
                    progress(len(chunk))
            if digest.hexdigest() != expected.sha256:
                problems.append(f"{name}: content does not match its checksum")
        problems += self._verify_documents()
        problems += self._verify_order()
        return problems

    def _verify_documents(self) -> Iterator[str]:
        offsets = self.document_offsets
        if offsets.shape[0] != self.num_documents or int(offsets[0]) != 0:
            yield f"{fmt.DOCUMENT_OFFSETS}: the first document does not start at 0"
        separators = np.flatnonzero(self.tokens == self.separator)
        if not np.array_equal(separators, offsets.astype(np.int64)):
            yield f"{fmt.DOCUMENT_OFFSETS}: not the positions of the separators in {fmt.TOKENS}"
        ends = self.metadata_offsets.astype(np.int64)
        if ends[0] != 0 or ends[-1] != self._metadata.shape[0] or (np.diff(ends) < 0).any():
            yield f"{fmt.METADATA_OFFSETS}: not ascending from 0 to the size of {fmt.METADATA}"
            return
        for local in range(self.num_documents):
            try:
                if not isinstance(self.metadata(local), dict):
                    raise ValueError("not an object")
            except ValueError as error:
                number = self.first_document + local
                yield f"{fmt.METADATA}: document {number}: not a JSON object: {error}"
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
        fences = fence_table(self.tokens, self.suffix_array, self.separator, self.fence_spacing)
        if not np.array_equal(fences, self.fences):
            yield f"{fmt.FENCES}: not the keys of the suffixes"
        unigrams = unigram_table(self.tokens, self.suffix_array, self.separator)
        if unigrams.tobytes() != self.unigram_ranks.tobytes() + self.unigram_ids.tobytes():
            yield f"{fmt.UNIGRAMS}: not the tokens and first ranks of the suffixes"


def unigram_table(tokens: np.ndarray, sa: np.ndarray, separator: int) -> np.ndarray:
    """The content of unigrams.bin as bytes: first ranks (u64), then ids (u32)."""
    ids, counts = next_tokens(tokens, sa, separator, 0, tokens.shape[0], 0)
    ranks = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return np.concatenate(
        [ranks.astype(fmt.OFFSET).view(np.uint8), ids.astype("<u4").view(np.uint8)]
    )


def fence_table(tokens: np.ndarray, sa: np.ndarray, separator: int, spacing: int) -> np.ndarray:
    """The content of fences.bin: u64, shape (⌈n / spacing⌉,)."""
    keys = np.empty(-(-tokens.shape[0] // spacing), fmt.KEY)
    fence_keys(tokens, sa, separator, spacing, keys)
    return keys


def check_sizes(folder: Path, entry: fmt.SegmentEntry, dtype: str) -> None:
    """Raise DamagedIndexError unless each file is there with the size the manifest says."""
    from_counts = dict(fmt.expected_sizes(entry, dtype))
    for name in fmt.SEGMENT_FILES:
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


def fsync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _entries(positions: np.ndarray, width: int) -> Iterator[np.ndarray]:
    """The bytes of suffix_array.bin, a stretch at a time."""
    for start in range(0, positions.shape[0], CHUNK):
        part = positions[start : start + CHUNK]
        if width == fmt.POSITION.itemsize:
            yield np.ascontiguousarray(part, fmt.POSITION)
        else:
            wide = np.empty((part.shape[0], width), np.uint8)
            widen(part, wide)
            yield wide


def _map(path: Path, dtype: np.dtype[Any]) -> np.ndarray:
    """The file as a read-only array. It stays mapped while the array lives."""
    if path.stat().st_size == 0:  # mmap refuses empty files
        empty = np.empty(0, dtype)
        empty.setflags(write=False)
        return empty
    with path.open("rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype)


class _HashedFile:
    """A file written from the start, hashed on the way, fsynced when closed."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb", buffering=CHUNK)
        self._digest = hashlib.sha256()
        self._size = 0

    def write(self, data: "bytes | memoryview") -> None:
        view = memoryview(data).cast("B") if memoryview(data).nbytes else memoryview(b"")
        self._file.write(view)
        self._digest.update(view)
        self._size += view.nbytes

    def abandon(self) -> None:
        # Closing writes out what is buffered, which a full disk refuses: that is not news.
        with contextlib.suppress(OSError):
            self._file.close()

    def close(self) -> fmt.FileEntry:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return fmt.FileEntry(self._size, self._digest.hexdigest())
