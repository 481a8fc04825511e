"""An index in a store, opened from here. What every query reads is copied to a folder; the rest,
which is nine tenths of an index, is read by blocks.

Copied, each file once, and compared with its checksum: the tokenizer, fences, unigrams, document
offsets, numbers and counts, offsets of metadata, and the checksums of blocks. Read by blocks:
tokens, suffix array, metadata; of a self-index what leads from a suffix to the next, and samples.
"""

import contextlib
import fcntl
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from everygram.durable import sync, sync_directory
from everygram.errors import DamagedIndexError, EverygramError, FormatError
from everygram.storage import format as fmt
from everygram.storage.blocks import AGAIN, TOGETHER, Blocks, StoredFile
from everygram.storage.directory import CHECKED_AT_ONCE, open_segment
from everygram.storage.disk import checksums_of, write_synced, wrong_files
from everygram.storage.manifest import decode_manifest
from everygram.storage.segment import Segment
from everygram.storage.store import Store

# The files that are read by blocks.
BY_BLOCKS = frozenset((fmt.TOKENS, fmt.SUFFIX_ARRAY, fmt.PSI, fmt.SAMPLES, fmt.METADATA))
# Bytes of a file that one read takes while it is copied.
PIECE = 8 << 20


class StoredIndex:
    """An index at an address, and what is kept of it in a folder here, which others may share."""

    def __init__(self, address: str, cache: Path, most: int) -> None:
        """most: bytes of blocks that the folder keeps, about.

        Raises FormatError for a folder that cannot be written, and the errors of `Store`.
        """
        self.store = Store(address)
        self.cache, self.most = cache, most
        # (Not the address itself: it may hold a key, and characters that no name may.)
        name = hashlib.sha256(self.store.address.encode()).hexdigest()[:16]
        self.path = cache / f"index-{name}"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._blocks = Blocks(cache / "blocks", most)
        except OSError as error:
            raise FormatError(f"cache '{cache}': cannot be written: {error}") from None

    def close(self) -> None:
        """Let go of the threads that read."""
        self._blocks.close()

    def manifest(self) -> fmt.Manifest:
        """What the index there says of itself now. Raises FormatError, DamagedIndexError."""
        return self._read_manifest()[0]

    def open(
        self, opened: Sequence[Segment], verify: bool
    ) -> tuple[fmt.Manifest, list[Segment], bytes | None]:
        """As `directory.open_index`, of what is there now.

        verify: compare the files that are here already with their checksums. (Small ones always
        are; blocks are whenever they are read.) A file here that is wrong is copied anew.
        """
        manifest, data = self._read_manifest()
        try:
            while True:
                try:
                    with self._locked():
                        return self._opened(manifest, data, opened, verify)
                except FileNotFoundError as error:
                    # It may just have been replaced by a version without the file.
                    before = manifest
                    manifest, data = self._read_manifest()
                    if manifest == before:
                        raise DamagedIndexError(
                            f"{self.store.address}: {error}: missing there; {AGAIN}"
                        ) from None
        except OSError as error:
            raise FormatError(f"cache '{self.cache}': cannot be written: {error}") from None

    def _read_manifest(self) -> tuple[fmt.Manifest, bytes]:
        try:
            data = self.store.read(fmt.MANIFEST)
        except FileNotFoundError:
            raise FormatError(
                f"{self.store.address}: not an everygram index: expected {fmt.MANIFEST} there; "
                "copy one there with 'everygram push'"
            ) from None
        return decode_manifest(data, self.store.address), data

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Nobody else copies files here, or removes any."""
        with (self.path / fmt.LOCK).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _opened(
        self, manifest: fmt.Manifest, data: bytes, opened: Sequence[Segment], verify: bool
    ) -> tuple[fmt.Manifest, list[Segment], bytes | None]:
        local = {
            entry.name: {name: f for name, f in entry.files.items() if name not in BY_BLOCKS}
            for entry in manifest.segments
        }
        size = sum(file.bytes for files in local.values() for file in files.values())
        known = {segment.entry.name: segment for segment in opened}
        cached = self._cached()
        segments = []
        for entry in manifest.segments:
            if fmt.CHECKSUMS not in entry.files:
                raise FormatError(
                    f"{self.store.address}: {entry.name} has no checksums of its blocks (an older "
                    "version wrote it), without which it is not read from afar; copy the index "
                    f"with 'everygram pull {self.store.address} --out FOLDER'"
                )
            segment = known.get(entry.name)
            if segment is None or segment.entry != entry:
                folder = self.path / entry.name
                # (What is there under the same name may be of another index that was there.)
                check = verify or size <= CHECKED_AT_ONCE or cached.get(entry.name) != entry
                self._copy(folder, local[entry.name], check)
                segment = open_segment(folder, entry, manifest.dtype, self._distant(folder, entry))
            segments.append(segment)
        tokenizer = self._tokenizer(manifest.tokenizer)
        _write(self.path / fmt.MANIFEST, data)
        # (Of older versions. Whoever has one open has mapped its files.)
        for folder in self.path.glob(f"{fmt.SEGMENT_PREFIX}*"):
            if folder.name not in local:
                shutil.rmtree(folder, ignore_errors=True)
        return manifest, segments, tokenizer

    def _cached(self) -> dict[str, fmt.SegmentEntry]:
        """The segments whose files were all copied, by name."""
        try:
            data = (self.path / fmt.MANIFEST).read_bytes()
            return {entry.name: entry for entry in decode_manifest(data, "").segments}
        except (OSError, EverygramError):
            return {}

    def _distant(self, folder: Path, entry: fmt.SegmentEntry) -> dict[str, StoredFile]:
        return {
            name: StoredFile(
                self._blocks, self.store, f"{entry.name}/{name}", entry.files[name], checksums
            )
            for name, checksums in checksums_of(folder, entry.files)
            if name in BY_BLOCKS
        }

    def _copy(self, folder: Path, files: dict[str, fmt.FileEntry], check: bool) -> None:
        """Copy the files of a segment that are not here. check: compare those that are."""
        folder.mkdir(exist_ok=True)
        missing = {
            name: file
            for name, file in files.items()
            if not _is_there(folder / name, file)
            or ((check or name == fmt.CHECKSUMS) and any(wrong_files(folder, {name: file}, _none)))
        }
        if not missing:
            return
        # (Until all are copied, nothing says what is there.)
        (self.path / fmt.MANIFEST).unlink(missing_ok=True)
        pieces = [
            (name, start, min(file.bytes, start + PIECE))
            for name, file in missing.items()
            for start in range(0, file.bytes, PIECE)
        ]
        parts = {name: folder / f"{name}.part" for name in missing}
        for path in parts.values():
            path.unlink(missing_ok=True)
            path.touch()

        def fetch(piece: tuple[str, int, int]) -> None:
            name, start, end = piece
            try:
                data = self.store.read(f"{folder.name}/{name}", start, end)
            except FileNotFoundError:
                raise FileNotFoundError(f"{folder.name}/{name}") from None
            with parts[name].open("r+b") as file:
                file.seek(start)
                file.write(data)

        with ThreadPoolExecutor(TOGETHER) as pool:
            try:
                list(pool.map(fetch, pieces))
            finally:
                pool.shutdown(cancel_futures=True)
        for name, path in parts.items():
            for problem in wrong_files(folder, {path.name: missing[name]}, _none):
                what = problem.removeprefix(f"{path.name}: ")
                raise DamagedIndexError(
                    f"{self.store.address}/{folder.name}/{name}: {what}; {AGAIN}"
                )
            with path.open("r+b") as file:
                sync(file.fileno())
            path.rename(folder / name)
        sync_directory(folder)

    def _tokenizer(self, entry: fmt.TokenizerEntry) -> bytes | None:
        """The tokenizer's file, as `directory.read_tokenizer_json`."""
        if entry.sha256 is None:
            return None
        path = self.path / fmt.TOKENIZER
        data = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            data = self.store.read(fmt.TOKENIZER)
            if hashlib.sha256(data).hexdigest() != entry.sha256:
                raise DamagedIndexError(
                    f"{self.store.address}/{fmt.TOKENIZER}: not the tokenizer the index was built "
                    f"with (its SHA-256 differs from the manifest's); {AGAIN}"
                )
            _write(path, data)
        return data


def _is_there(path: Path, file: fmt.FileEntry) -> bool:
    return path.is_file() and path.stat().st_size == file.bytes


def _write(path: Path, data: bytes) -> None:
    """Make a small file of these bytes, in one step."""
    if not (path.is_file() and path.read_bytes() == data):
        temporary = path.with_name(f"{path.name}.tmp")
        write_synced(temporary, data)
        temporary.rename(path)
        sync_directory(path.parent)


def _none(count: int) -> None:
    """A progress function that does nothing."""
