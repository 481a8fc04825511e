"""Blocks of files that are in a store, kept in a folder here: each is verified before it is used.

A block is the bytes that one checksum of checksums.bin covers. It is named by the SHA-256 of its
file, so that every version of an index, and every index, that has the file shares it. Processes
share a folder: a block is written under another name first, and verified again when it is read, so
that one that was half written, or changed, is fetched anew. The blocks that were not read for the
longest time are removed when there are too many.
"""

import contextlib
import fcntl
import os
import threading
import zlib
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from everygram.errors import DamagedIndexError, FormatError, OptionError
from everygram.storage import format as fmt
from everygram.storage.store import Store

# Reads of the store that are under way at once; neighbouring blocks that one read takes.
TOGETHER, NEIGHBOURS = 64, 16
# What mends what is wrong there.
AGAIN = "push the index there again, with --again"
# Bytes of blocks that a process keeps in memory.
IN_MEMORY = 256 << 20
# A process looks whether there are too many blocks when it has written this part of what may be
# kept; then as many are removed that some room is left.
LOOK, ROOM = 64, 16


class Blocks:
    """The blocks in a folder, up to about `most` bytes of them. Methods may be called from several
    threads, and all raise FormatError for what cannot be read."""

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most = folder, most
        folder.mkdir(parents=True, exist_ok=True)
        self._pool = ThreadPoolExecutor(TOGETHER, "everygram-store")
        self._lock = threading.Lock()
        # By the key of a file and the number of a block: what is in memory, the oldest first, and
        # what is on its way.
        self.held: dict[tuple[str, int], bytes] = {}
        self._coming: dict[tuple[str, int], Future[dict[int, bytes]]] = {}
        self._held_bytes = self._written = 0
        self._trim()

    def close(self) -> None:
        """Let go of the threads, without waiting for what is on its way."""
        self._pool.shutdown(wait=False)

    def get(self, file: "StoredFile", numbers: Sequence[int]) -> list[bytes]:
        """Blocks of a file; those that are not in memory are fetched together."""
        found = [self.held.get((file.key, number)) for number in numbers]
        if None not in found:
            return [block for block in found if block is not None]
        return self._fetched(file, numbers)

    def ask(self, file: "StoredFile", numbers: Sequence[int]) -> None:
        """Begin to fetch blocks of a file. (If that fails, it is tried anew when one is wanted.)"""
        self._begin(file, numbers, here=False)

    def _fetched(self, file: "StoredFile", numbers: Sequence[int]) -> list[bytes]:
        found = self._begin(file, numbers, here=True)
        return [
            each if isinstance(each, bytes) else each.result()[number]
            for number, each in zip(numbers, found, strict=True)
        ]

    def _begin(
        self, file: "StoredFile", numbers: Sequence[int], here: bool
    ) -> list[bytes | Future[dict[int, bytes]]]:
        """Blocks that are in memory, and what will give the others.

        here: this thread fetches what nobody fetches yet, if that is one read.
        """
        with self._lock:
            found: list[bytes | Future[dict[int, bytes]] | None] = [
                self.held.get((file.key, number)) or self._coming.get((file.key, number))
                for number in numbers
            ]
            missing = [n for n, each in zip(numbers, found, strict=True) if each is None]
            begun = []
            for run in _runs(sorted(set(missing))):
                future: Future[dict[int, bytes]] = Future()
                begun.append((run, future))
                for number in run:
                    self._coming[file.key, number] = future
        here = here and len(begun) == 1
        for run, future in begun:
            if here:
                self._load(file, run, future)
                continue
            try:
                self._pool.submit(self._load, file, run, future)
            except RuntimeError:  # closed, with a query under way
                self._load(file, run, future)
        ours = {number: future for run, future in begun for number in run}
        return [
            ours[number] if each is None else each
            for number, each in zip(numbers, found, strict=True)
        ]

    def _load(self, file: "StoredFile", run: range, future: Future[dict[int, bytes]]) -> None:
        """Read neighbouring blocks, from the folder or from the store."""
        loaded: dict[int, bytes] = {}
        error: BaseException | None = None
        try:
            for number in run:
                kept = self._kept(file, number)
                if kept is not None:
                    loaded[number] = kept
            for part in _runs([number for number in run if number not in loaded]):
                fetched = file.fetch(part)
                for number, block in fetched.items():
                    self._keep(file, number, block)
                loaded |= fetched
        except BaseException as failed:  # whoever wants the blocks raises it
            error = failed
        if error is None:
            future.set_result(loaded)
        else:
            future.set_exception(error)
        with self._lock:
            for number in run:
                del self._coming[file.key, number]
            for number, block in loaded.items():
                self.held[file.key, number] = block
                self._held_bytes += len(block)
            while self._held_bytes > IN_MEMORY:
                self._held_bytes -= len(self.held.pop(next(iter(self.held))))
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise error

    def _path(self, file: "StoredFile", number: int) -> Path:
        return self._folder / file.key[:2] / f"{file.key}-{number:x}"

    def _kept(self, file: "StoredFile", number: int) -> bytes | None:
        """A block from the folder; None if it is not there, or not as it was written."""
        path = self._path(file, number)
        try:
            with path.open("rb") as opened:
                data = opened.read(fmt.CHECKSUM_BLOCK + 1)
                if not file.is_sound(number, data):
                    return None
                os.utime(opened.fileno())
        except OSError:  # it is not there, or was removed meanwhile
            return None
        return data

    def _keep(self, file: "StoredFile", number: int, block: bytes) -> None:
        """Write a block to the folder. (Where that fails it is fetched again next time.)"""
        path = self._path(file, number)
        temporary = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}")
        try:
            try:
                path.parent.mkdir(exist_ok=True)
                temporary.write_bytes(block)
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        except OSError:
            return
        with self._lock:
            self._written += len(block)
            full = self._written * LOOK >= self._most
            if full:
                self._written = 0
        if full:
            with contextlib.suppress(OSError):
                self._trim()

    def _trim(self) -> None:
        """Remove the blocks that were not read for the longest time, if there are too many."""
        with (self._folder / "lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # another process is at it
                return
            there = []
            for folder in self._folder.iterdir():
                if folder.is_dir():
                    for entry in os.scandir(folder):
                        with contextlib.suppress(FileNotFoundError):
                            said = entry.stat()
                            there.append((said.st_mtime_ns, said.st_size, entry.path))
            total = sum(size for _, size, _ in there)
            if total <= self._most:
                return
            for _, size, path in sorted(there):
                if total <= self._most - self._most // ROOM:
                    break
                Path(path).unlink(missing_ok=True)
                total -= size


@dataclass(frozen=True)
class StoredFile:
    """A file in a store, read by blocks: a source of distant arrays.

    checksums: u32, shape (blocks,), the CRC-32 of each.
    """

    blocks_here: Blocks
    store: Store
    name: str
    entry: fmt.FileEntry
    checksums: np.ndarray = field(repr=False)

    block_bytes = fmt.CHECKSUM_BLOCK

    @property
    def key(self) -> str:
        """What blocks of this content are known by."""
        return self.entry.sha256

    def block(self, number: int) -> bytes:
        """As `Source.block`."""
        held = self.blocks_here.held.get((self.entry.sha256, number))
        return self.blocks_here.get(self, (number,))[0] if held is None else held

    def blocks(self, numbers: Sequence[int]) -> list[bytes]:
        """As `Source.blocks`."""
        return self.blocks_here.get(self, numbers)

    def ask(self, number: int) -> None:
        """As `Source.ask`."""
        if (self.entry.sha256, number) not in self.blocks_here.held:
            self.blocks_here.ask(self, (number,))

    def whole(self) -> OptionError:
        """As `Source.whole`."""
        return OptionError(
            f"{self.store.address}: this reads all of {self.name}, and here it is read by blocks; "
            f"copy the index with 'everygram pull {self.store.address} --out FOLDER' and open that"
        )

    def is_sound(self, number: int, data: bytes) -> bool:
        """Whether that is the block."""
        size = min(self.block_bytes, self.entry.bytes - number * self.block_bytes)
        return len(data) == size and zlib.crc32(data) == self.checksums[number]

    def fetch(self, numbers: range) -> dict[int, bytes]:
        """Neighbouring blocks from the store, verified. Raises DamagedIndexError."""
        start = numbers[0] * self.block_bytes
        end = min(self.entry.bytes, (numbers[-1] + 1) * self.block_bytes)
        wrong = -1
        for _ in range(2):  # (once more: it may have gone wrong on the way)
            try:
                data = self.store.read(self.name, start, end)
            except FileNotFoundError:
                raise FormatError(
                    f"{self.store.address}/{self.name}: not there any more: the index has changed "
                    "there; refresh it, or open it again"
                ) from None
            found = {
                number: data[at : at + self.block_bytes]
                for number, at in zip(numbers, range(0, end - start, self.block_bytes), strict=True)
            }
            wrong = next((n for n, block in found.items() if not self.is_sound(n, block)), -1)
            if wrong < 0:
                return found
        first = wrong * self.block_bytes
        last = min(self.entry.bytes, first + self.block_bytes)
        raise DamagedIndexError(
            f"{self.store.address}/{self.name}: bytes {first:,} to {last:,} do not match their "
            f"checksum; {AGAIN}"
        )


def _runs(numbers: Sequence[int]) -> list[range]:
    """Ascending numbers as ranges of neighbours, none longer than NEIGHBOURS."""
    runs: list[range] = []
    for number in numbers:
        if runs and runs[-1].stop == number and len(runs[-1]) < NEIGHBOURS:
            runs[-1] = range(runs[-1].start, number + 1)
        else:
            runs.append(range(number, number + 1))
    return runs
