"""Maps, reads, writes and syncs files, as arrays or as bytes with checksums."""

import contextlib
import hashlib
import mmap
import os
import stat
import zlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from everygram.distant import DistantArray
from everygram.durable import flush, sync
from everygram.errors import DamagedIndexError
from everygram.storage import format as fmt
from everygram.storage.sizes import checksum_blocks

# Bytes written, hashed or compared at a time.
CHUNK = 1 << 22
HUGE_PAGE = 1 << 21
# How a pointer of Git LFS begins, and how large it is at most.
LFS_BEGINS, LFS_MOST = b"version https://git-lfs", 1024
LFS_POINTER = "a Git LFS pointer, not the file: fetch the files with 'git lfs pull'"


def stat_inside(path: Path, index: Path, kind: Callable[[int], bool] = stat.S_ISREG) -> int:
    """The size of a file, or of a folder, in an index, which may be anybody's: it is not opened.

    A device, a pipe or a socket is refused, and so is a link to what is not in the index, whose
    content a query would show. (The hub's cache is made of links, to blobs beside the snapshot: it
    counts as the index's folder.) Raises DamagedIndexError; OSError for what is not there.
    """
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        target = Path(os.path.realpath(path))  # (`resolve` raises for links in a circle)
        if not target.is_relative_to(_home(index)):
            raise DamagedIndexError(
                f"{path}: a link out of the index, to '{target}': expected a file in its folder; "
                "copy the file there, or make the folder itself a link"
            )
        found = target.stat()
    if not kind(found.st_mode):
        raise DamagedIndexError(
            f"{path}: expected a {'file' if kind is stat.S_ISREG else 'folder'}, found something "
            "else; restore it or rebuild the index"
        )
    return found.st_size


def _home(index: Path) -> Path:
    """The folder that an index's files are in: its own, or the cache that it is a snapshot in."""
    folder = Path(os.path.realpath(index))
    for parent in folder.parents:
        if parent.name == "snapshots" and (parent.parent / "blobs").is_dir():
            return parent.parent
    return folder


def is_lfs_pointer(path: Path, size: int) -> bool:
    """Whether a file of that size is what git keeps of it until Git LFS has fetched it."""
    if size > LFS_MOST:
        return False
    with path.open("rb") as file:
        return file.read(len(LFS_BEGINS)) == LFS_BEGINS


def read_file(path: Path, index: Path, most: int) -> bytes:
    """The content of a file in an index, of up to so many bytes; as `stat_inside`."""
    stat_inside(path, index)
    with path.open("rb") as file:
        # (Of the file that is open: a writer may have put another one in its place meanwhile.)
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise DamagedIndexError(
                f"{path}: {size:,} bytes, expected at most {most:,}; restore it or rebuild the "
                "index"
            )
        return file.read(size)


def wrong_files(
    folder: Path, files: dict[str, fmt.FileEntry], progress: Callable[[int], None]
) -> Iterator[str]:
    """Check a segment's files against their checksums; yields descriptions of problems.

    Calls `progress(bytes)` for every chunk read.
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
    """The content of checksums.bin for these files: u32."""
    names = checksum_blocks({name: file.entry for name, file in files.items()})
    return np.concatenate([files[name].blocks for name, _, _ in names])


def checksums_of(folder: Path, files: dict[str, fmt.FileEntry]) -> Iterator[tuple[str, np.ndarray]]:
    """Each file's name and its checksums from checksums.bin."""
    checksums = np.fromfile(folder / fmt.CHECKSUMS, fmt.CHECKSUM)
    for name, first, count in checksum_blocks(files):
        yield name, checksums[first : first + count]


def chunks(path: Path) -> Iterator[bytes]:
    """The content of a file, in chunks of whole blocks."""
    with path.open("rb") as file:
        # No larger than needed: buffers that are shortened fragment memory.
        size = min(max(CHUNK, fmt.CHECKSUM_BLOCK), os.fstat(file.fileno()).st_size + 1)
        while chunk := file.read(size):
            yield chunk


def located(found: np.ndarray, expected: np.ndarray | None, size: int) -> str:
    """Which bytes of a file of `size` bytes are damaged, as far as block checksums show it."""
    if expected is None or expected.shape != found.shape or np.array_equal(found, expected):
        return ""
    wrong = np.flatnonzero(found != expected)
    start = int(wrong[0]) * fmt.CHECKSUM_BLOCK
    end = min(size, start + fmt.CHECKSUM_BLOCK)
    more = f" and {wrong.size - 1:,} more blocks" if wrong.size > 1 else ""
    return f" from byte {start:,} to {end:,}{more}, of {size:,}"


@contextlib.contextmanager
def opened_to_write(path: Path, create: bool = True) -> Iterator[int]:
    """A descriptor for `write_at`; what the file holds stays. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | (os.O_CREAT if create else 0), 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write_at(descriptor: int, entries: np.ndarray, offset: int) -> None:
    """Write an array at a byte offset; several threads and processes may do so at once."""
    data = as_bytes(entries.data)
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written


def write_synced(path: Path, data: bytes) -> None:
    """Write a file durably; its name is durable only once its folder is synced."""
    if path.is_symlink():  # or the file that it links to would be overwritten
        path.unlink()
    with path.open("wb") as file:
        file.write(data)
        flush(file)


def map_tokens(folder: Path, dtype: str, stream_len: int) -> np.ndarray:
    """The first `stream_len` tokens, read-only; more may still be written."""
    return map_file(folder / fmt.TOKENS, fmt.TOKEN_DTYPES[dtype], stream_len)


def map_positions(folder: Path, width: int) -> np.ndarray:
    """The suffix array, read-only: u32, shape (n,), for width 4; otherwise u8, shape (n, width)."""
    if width == fmt.POSITION.itemsize:
        return map_file(folder / fmt.SUFFIX_ARRAY, fmt.POSITION)
    return map_file(folder / fmt.SUFFIX_ARRAY, np.dtype("u1")).reshape(-1, width)


def write_array(path: Path, content: np.ndarray) -> "Written":
    """Write one array as a file."""
    file = HashedFile(path)
    file.write(content.data)
    return file.close()


def map_file(path: Path, dtype: np.dtype[Any], count: int = -1) -> np.ndarray:
    """The file (or its first `count` entries) as a read-only array; mapped while that lives."""
    if count == 0 or path.stat().st_size == 0:  # mmap refuses empty files
        empty = np.empty(0, dtype)
        empty.setflags(write=False)
        return empty
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(mapped, dtype, count)


def read_in(path: Path) -> None:
    """Load a file into the page cache, in huge pages if possible.

    The system does not change the size of pages that are already cached, so they are dropped first.
    With huge pages a search does not wait for the page tables, which takes a third of its time on a
    large index.
    """
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            return
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel or a file system without huge pages
            mapped.madvise(mmap.MADV_HUGEPAGE)
    np.frombuffer(mapped, np.uint8)[:: mmap.PAGESIZE].max()


def advise(array: np.ndarray, advice: int) -> None:
    """Call madvise for the file that an array maps, from the array's first byte on."""
    mapped: Any = array
    while isinstance(mapped, np.ndarray):
        mapped = mapped.base
    memory = mapped.obj if isinstance(mapped, memoryview) else mapped
    if isinstance(memory, mmap.mmap) and array.nbytes:
        start = address_of(array) - address_of(np.frombuffer(memory, np.uint8))
        memory.madvise(advice, start - start % mmap.PAGESIZE)


def in_memory(array: np.ndarray) -> np.ndarray:
    """A read-only copy in memory of its own, in huge pages if the system has them."""
    if array.nbytes == 0:
        return array
    # Private, because shared memory (Python's default) gets no huge pages.
    memory = mmap.mmap(-1, array.nbytes + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without huge pages
            memory.madvise(mmap.MADV_HUGEPAGE)
    whole = np.frombuffer(memory, np.uint8)
    start = -address_of(whole) % HUGE_PAGE
    copy = whole[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    copy.setflags(write=False)
    return copy


def positions_in(entries: np.ndarray) -> np.ndarray:
    """The positions in the entries of a suffix array: int64, shape (k,).

    entries: u32, shape (k,), or u8, shape (k, 5).
    """
    positions: np.ndarray = entries.astype(np.int64)
    if positions.ndim > 1:  # bytes
        positions = positions @ 256 ** np.arange(positions.shape[1])
    return positions


def position_entries(positions: np.ndarray, width: int) -> np.ndarray:
    """Positions (any integer dtype, shape (k,)) as entries of `suffix_array.bin`."""
    if width == fmt.POSITION.itemsize:
        return np.ascontiguousarray(positions, fmt.POSITION)
    wide = np.ascontiguousarray(positions, fmt.OFFSET).view(np.uint8).reshape(-1, 8)
    return np.ascontiguousarray(wide[:, :width])


def address_of(array: np.ndarray | DistantArray) -> int:
    """The memory address of the array's first byte; what stands for it if it is distant."""
    if isinstance(array, DistantArray):
        return array.located()
    address: int = array.__array_interface__["data"][0]
    return address


@dataclass(frozen=True)
class Written:
    """A written file: its entry for the manifest, and the CRC-32 of each of its blocks for
    checksums.bin (u32, shape (blocks,))."""

    entry: fmt.FileEntry
    blocks: np.ndarray


class Checksums:
    """The checksums of a file, from its content piece by piece."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._blocks = array("I")
        self._block = 0  # the CRC-32 of the current, unfinished block
        self._size = 0

    def update(self, data: bytes | memoryview) -> None:
        """Add the file's next bytes."""
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
        """End the file; returns its checksums."""
        if self._size % fmt.CHECKSUM_BLOCK:
            self._end_block()
        entry = fmt.FileEntry(self._size, self._digest.hexdigest())
        return Written(entry, np.array(self._blocks, fmt.CHECKSUM))

    def _end_block(self) -> None:
        self._blocks.append(self._block)
        self._block = 0


class HashedFile:
    """A file written sequentially, with checksums computed meanwhile. Synced when closed."""

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
        # Closing writes the buffer, which fails again if the disk is full: ignore that.
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
