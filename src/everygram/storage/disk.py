"""Files as arrays and as bytes with checksums: mapped, read, written, synced."""

import contextlib
import fcntl
import hashlib
import mmap
import os
import sys
import zlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from everygram.storage import format as fmt

# Bytes written, hashed or compared at a time.
CHUNK = 1 << 22
HUGE_PAGE = 1 << 21


def wrong_files(
    folder: Path, files: dict[str, fmt.FileEntry], progress: Callable[[int], None]
) -> Iterator[str]:
    """Check a segment's files against their checksums; yields what is wrong, in words.

    Calls `progress(bytes)` for every stretch read.
    """
    blocks = dict(checksums_of(folder, files)) if fmt.CHECKSUMS in files else {}
    for name, expected in files.items():
        checksums = Checksums()
        for chunk in chunks(folder / name):
            checksums.update(chunk)
            progress(len(chunk))
        found = checksums.result()
        if found.entry.sha256 != expected.sha256:
            where = located(found.blocks, blocks.get(name), expected.bytes)
            yield f"{name}: content does not match its checksum{where}"


def block_checksums(files: dict[str, "Written"]) -> np.ndarray:
    """The content of checksums.bin, about these files: u32."""
    names = fmt.checksum_blocks({name: file.entry for name, file in files.items()})
    return np.concatenate([files[name].blocks for name, _, _ in names])


def checksums_of(folder: Path, files: dict[str, fmt.FileEntry]) -> Iterator[tuple[str, np.ndarray]]:
    """What checksums.bin says of each file."""
    checksums = np.fromfile(folder / fmt.CHECKSUMS, fmt.CHECKSUM)
    for name, first, count in fmt.checksum_blocks(files):
        yield name, checksums[first : first + count]


def chunks(path: Path) -> Iterator[bytes]:
    """The content of a file, whole blocks at a time."""
    with path.open("rb") as file:
        # No larger than need be: buffers that are cut leave holes in memory.
        size = min(max(CHUNK, fmt.CHECKSUM_BLOCK), os.fstat(file.fileno()).st_size + 1)
        while chunk := file.read(size):
            yield chunk


def located(found: np.ndarray, expected: np.ndarray | None, size: int) -> str:
    """Where a file of that size is damaged, as far as checksums of its blocks tell."""
    if expected is None or expected.shape != found.shape or np.array_equal(found, expected):
        return ""
    wrong = np.flatnonzero(found != expected)
    start = int(wrong[0]) * fmt.CHECKSUM_BLOCK
    end = min(size, start + fmt.CHECKSUM_BLOCK)
    more = f" and {wrong.size - 1:,} more blocks" if wrong.size > 1 else ""
    return f" from byte {start:,} to {end:,}{more}, of {size:,}"


def sync(descriptor: int) -> None:
    """Make durable what was written to a file, or the names in a directory.

    It outlives a power cut then. macOS's fsync hands it to the disk, which may still hold it in
    its own cache; F_FULLFSYNC has the disk write it down, on the file systems that have it.
    """
    if sys.platform == "darwin":
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def write_synced(path: Path, data: bytes) -> None:
    """Write a file that is durable then; its name is so once its folder is synced."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        sync(file.fileno())


def map_tokens(folder: Path, dtype: str, stream_len: int) -> np.ndarray:
    """The first `stream_len` tokens, read-only; more may be on their way."""
    return map_file(folder / fmt.TOKENS, fmt.TOKEN_DTYPES[dtype], stream_len)


def map_positions(folder: Path, width: int) -> np.ndarray:
    """The suffix array, read-only: of 4-byte entries u32, shape (n,), of wider u8, (n, width)."""
    if width == fmt.POSITION.itemsize:
        return map_file(folder / fmt.SUFFIX_ARRAY, fmt.POSITION)
    return map_file(folder / fmt.SUFFIX_ARRAY, np.dtype("u1")).reshape(-1, width)


def write_array(path: Path, content: np.ndarray) -> "Written":
    """Write a file that is one array."""
    file = HashedFile(path)
    file.write(content.data)
    return file.close()


def map_file(path: Path, dtype: np.dtype[Any], count: int = -1) -> np.ndarray:
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


def advise(array: np.ndarray, advice: int) -> None:
    """Give the system advice on the file that an array maps, from the array's first byte on."""
    mapped: Any = array
    while isinstance(mapped, np.ndarray):
        mapped = mapped.base
    memory = mapped.obj if isinstance(mapped, memoryview) else mapped
    if isinstance(memory, mmap.mmap) and array.nbytes:
        start = address_of(array) - address_of(np.frombuffer(memory, np.uint8))
        memory.madvise(advice, start - start % mmap.PAGESIZE)


def in_memory(array: np.ndarray) -> np.ndarray:
    """A read-only copy in memory of its own, in huge pages where the system has them."""
    if array.nbytes == 0:
        return array
    # Private: the system gives shared memory, Python's default, no huge pages.
    memory = mmap.mmap(-1, array.nbytes + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without them
            memory.madvise(mmap.MADV_HUGEPAGE)
    whole = np.frombuffer(memory, np.uint8)
    start = -address_of(whole) % HUGE_PAGE
    copy = whole[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    copy.setflags(write=False)
    return copy


def positions_in(entries: np.ndarray) -> np.ndarray:
    """The positions in entries of a suffix array: int64, shape (k,).

    entries: u32, shape (k,), or u8, shape (k, 5).
    """
    positions: np.ndarray = entries.astype(np.int64)
    if positions.ndim > 1:  # bytes
        positions = positions @ 256 ** np.arange(positions.shape[1])
    return positions


def position_entries(positions: np.ndarray, width: int) -> np.ndarray:
    """Positions (any integer dtype, shape (k,)) as `suffix_array.bin` has them."""
    if width == fmt.POSITION.itemsize:
        return np.ascontiguousarray(positions, fmt.POSITION)
    wide = np.ascontiguousarray(positions, fmt.OFFSET).view(np.uint8).reshape(-1, 8)
    return np.ascontiguousarray(wide[:, :width])


def address_of(array: np.ndarray) -> int:
    """Where in memory its first byte is."""
    address: int = array.__array_interface__["data"][0]
    return address


@dataclass(frozen=True)
class Written:
    """What was written to a file: its entry for the manifest, and the CRC-32 of each of its blocks
    for checksums.bin (u32, shape (blocks,))."""

    entry: fmt.FileEntry
    blocks: np.ndarray


class Checksums:
    """The checksums of a file whose bytes come one piece after the other."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._blocks = array("I")
        self._block = 0  # of the block that has begun
        self._size = 0

    def update(self, data: bytes | memoryview) -> None:
        """The file goes on with these bytes."""
        self._digest.update(data)
        view = memoryview(data)
        while view:
            part = view[: fmt.CHECKSUM_BLOCK - self._size % fmt.CHECKSUM_BLOCK]
            self._block = zlib.crc32(part, self._block)
            self._size += part.nbytes
            if self._size % fmt.CHECKSUM_BLOCK == 0:
                self._end_block()
            view = view[part.nbytes :]

    def result(self) -> Written:
        """The file has ended."""
        if self._size % fmt.CHECKSUM_BLOCK:
            self._end_block()
        entry = fmt.FileEntry(self._size, self._digest.hexdigest())
        return Written(entry, np.array(self._blocks, fmt.CHECKSUM))

    def _end_block(self) -> None:
        self._blocks.append(self._block)
        self._block = 0


class HashedFile:
    """A file written from the start; its checksums are made on the way. Synced when closed."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=CHUNK)
        self._checksums = Checksums()

    def write(self, data: bytes | memoryview) -> None:
        view = as_bytes(data)
        self._file.write(view)
        self._checksums.update(view)

    def flush(self) -> None:
        self._file.flush()

    def abandon(self) -> None:
        # Closing writes out what is buffered, which a full disk refuses: that is not news.
        with contextlib.suppress(OSError):
            self._file.close()

    def close(self) -> Written:
        self._file.flush()
        sync(self._file.fileno())
        self._file.close()
        return self._checksums.result()


def as_bytes(data: bytes | memoryview) -> memoryview:
    """A view of the bytes of a buffer, such as an array's `data`."""
    view = memoryview(data)
    return view.cast("B") if view.nbytes else memoryview(b"")
