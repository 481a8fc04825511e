"""Copies an index to an address and back: `push`, `pull`. Only what is missing there is copied.

At an address lie the same files as in a folder. Like there, the manifest comes last: readers see
the old index or the new one, and files of one name never change. What a killed run has copied is
not copied again: beside the files lies, meanwhile, the manifest that they are of.
"""

import hashlib
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from everygram import arguments
from everygram.building.stages import disk
from everygram.durable import sync, sync_directory
from everygram.errors import BuildError, DamagedIndexError, FormatError
from everygram.progress import Clock, Progress
from everygram.storage import format as fmt
from everygram.storage.directory import (
    MOST_MANIFEST,
    open_segments,
    read_manifest,
    read_tokenizer_json,
    take_lock,
)
from everygram.storage.disk import read_file, write_synced, wrong_files
from everygram.storage.manifest import decode_manifest
from everygram.storage.store import Store

PathLike = str | os.PathLike[str]
# While files are copied: the manifest that they are of.
PUSHING = "push.json"
PULLING = "pull.json"
PART = ".part"
_SEGMENTS = re.compile(fmt.SEGMENT_NAME.pattern + "/")
# Bytes of a file that are fetched at a time, and seconds between two notes of which are there.
PIECE, NOTE_SECONDS = 32 << 20, 2.0
# Files, or pieces of them, that are copied at once.
TOGETHER = 8


@dataclass(frozen=True)
class Transfer:
    """What was copied, of how much: files and bytes of the index. removed: files of older versions
    that are gone. seconds: in all."""

    address: str
    path: Path
    copied_files: int
    copied_bytes: int
    num_files: int
    num_bytes: int
    removed: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"path": str(self.path)}


def push(
    index: PathLike,
    address: str,
    *,
    prune: bool = False,
    again: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Transfer:
    """Copy an index to an address, such as s3://bucket/index, and what is missing there alone.

    Each file is compared with its checksum before it is copied. Whoever reads the address sees the
    index that was there until all files are. If the copying was interrupted, run it again.

    prune: afterwards remove the files that only older versions of the index had: those who have
        one open cannot read on.
    again: copy all files, also those that seem to be there: what was damaged there is mended.

    Raises the errors of `open`, FormatError for what cannot be reached or written, BuildError if
    another index is at the address, DamagedIndexError for a file that does not match its checksum.
    """
    prune, path = arguments.flag("prune", prune), arguments.path("index", index)
    again = arguments.flag("again", again)
    clock = Clock(arguments.function("progress", progress) or (lambda _: None))
    started = time.monotonic()
    manifest = read_manifest(path)
    data = read_file(path / fmt.MANIFEST, path, MOST_MANIFEST)
    open_segments(path, manifest)
    tokenizer = read_tokenizer_json(path, manifest.tokenizer)
    store = Store(arguments.string("address", address))
    there = store.sizes()
    files = files_of(manifest)
    published = _manifest_at(store, fmt.MANIFEST, there, again)
    _refuse_another(files, published, f"'{address}'")
    begun = _read(store, PUSHING, there) == data
    known = {} if published is None else files_of(published)
    kept = {
        name
        for name, file in files.items()
        if there.get(name) == file.bytes and (begun or known.get(name) == file) and not again
    }
    if not begun:
        # (What lies there from before would be taken for copied by the next run.)
        store.remove([name for name in files if name in there and name not in kept])
        store.write(PUSHING, data)
    missing = {name: file for name, file in files.items() if name not in kept}
    total = sum(file.bytes for file in missing.values())
    clock.enter("push")

    def put(name: str) -> int:
        try:
            for problem in wrong_files((path / name).parent, {Path(name).name: files[name]}, _none):
                raise DamagedIndexError(
                    f"{path / name}: {problem}; restore it or rebuild the index"
                )
            store.put(path / name, name)
        except FileNotFoundError:
            raise BuildError(
                f"'{path}': the index has changed meanwhile; run the same command again"
            ) from None
        return files[name].bytes

    done = 0
    with _pool() as pool:
        for size in pool.map(put, sorted(missing, key=lambda name: -missing[name].bytes)):
            done += size
            clock.report(done, total)
    if tokenizer is not None:
        store.write(fmt.TOKENIZER, tokenizer)
    if _read(store, fmt.MANIFEST, there) != data:
        store.write(fmt.MANIFEST, data)
    old = [name for name in there if _SEGMENTS.match(name) and name not in files] if prune else []
    store.remove([*old, PUSHING])
    clock.leave()
    spent = time.monotonic() - started
    size = sum(file.bytes for file in files.values())
    return Transfer(address, path, len(missing), total, len(files), size, len(old), spent)


def pull(
    address: str,
    out: PathLike,
    *,
    again: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Transfer:
    """Copy an index from an address into a folder, and what is missing there alone.

    out: a new folder, or one with an older version of the same index, or with what an interrupted
        run has copied. Files are fetched in pieces, several at once, and compared with their
        checksums. Readers of an older version go on with it until they `refresh`.
    again: copy all files, also those that seem to be there: what was damaged here is mended.

    Raises FormatError for what cannot be reached or is no index, BuildError if the folder has
    something else or cannot be written, DamagedIndexError for a file that does not match its
    checksum.
    """
    path, again = arguments.path("out", out), arguments.flag("again", again)
    clock = Clock(arguments.function("progress", progress) or (lambda _: None))
    started = time.monotonic()
    store = Store(arguments.string("address", address))
    there = store.sizes()
    manifest = _manifest_at(store, fmt.MANIFEST, there)
    if manifest is None:
        raise FormatError(
            f"{address}: not an everygram index: expected {fmt.MANIFEST} there; copy one there "
            "with 'everygram push'"
        )
    data = store.read(fmt.MANIFEST)
    files = files_of(manifest)
    with disk(path), _pulled(path, data) as (before, pulling):
        _refuse_another(files, before, f"'{path}'")
        known = {} if before is None else files_of(before)
        kept = {
            name
            for name, file in files.items()
            if ((known.get(name) == file and not again) or name in pulling.finished)
            and (path / name).is_file()
            and (path / name).stat().st_size == file.bytes
        }
        missing = {name: file for name, file in files.items() if name not in kept}
        total = sum(file.bytes for file in missing.values())
        _check_space(path, sum(file.bytes for file in missing.values()))
        clock.enter("pull")
        _fetch(store, path, missing, pulling, lambda done: clock.report(done, total))
        if manifest.tokenizer.sha256 is not None:
            write_synced(path / (fmt.TOKENIZER + ".tmp"), store.read(fmt.TOKENIZER))
            (path / (fmt.TOKENIZER + ".tmp")).rename(path / fmt.TOKENIZER)
            read_tokenizer_json(path, manifest.tokenizer)
        open_segments(path, manifest)
        write_synced(path / (fmt.MANIFEST + ".tmp"), data)
        sync_directory(path)
        (path / (fmt.MANIFEST + ".tmp")).rename(path / fmt.MANIFEST)
        sync_directory(path)
        old = () if before is None else before.segments
        gone = {entry.name for entry in old} - {entry.name for entry in manifest.segments}
        for name in gone:
            shutil.rmtree(path / name, ignore_errors=True)
        (path / PULLING).unlink()
        clock.leave()
    removed = sum(name.partition("/")[0] in gone for name in known)
    size = sum(file.bytes for file in files.values())
    spent = time.monotonic() - started
    return Transfer(address, path, len(missing), total, len(files), size, removed, spent)


def files_of(manifest: fmt.Manifest) -> dict[str, fmt.FileEntry]:
    """The files of all segments, by their names below the index's folder."""
    return {
        f"{entry.name}/{name}": file
        for entry in manifest.segments
        for name, file in entry.files.items()
    }


class _Pulling:
    """Which files, and which pieces of files, an earlier run has fetched. Kept in `pull.json`."""

    def __init__(self, path: Path, data: bytes) -> None:
        self._path, self._of = path / PULLING, hashlib.sha256(data).hexdigest()
        self._lock, self._noted = threading.Lock(), 0.0
        self.finished: set[str] = set()
        self.pieces: dict[str, set[int]] = {}
        try:
            left = json.loads(self._path.read_bytes())
            if left["manifest"] == self._of:
                self.finished = set(left["finished"])
                self.pieces = {name: set(pieces) for name, pieces in left["pieces"].items()}
        except (OSError, ValueError, LookupError, TypeError):
            pass

    def fetched(self, name: str, piece: int) -> None:
        """A piece is in its file."""
        with self._lock:
            self.pieces.setdefault(name, set()).add(piece)
            if time.monotonic() - self._noted > NOTE_SECONDS:
                self.write()

    def finish(self, name: str) -> None:
        """All of a file is there, and is right."""
        with self._lock:
            self.finished.add(name)
            self.pieces.pop(name, None)
            self.write()

    def forget(self, name: str) -> None:
        """What there is of a file is wrong."""
        with self._lock:
            self.pieces.pop(name, None)
            self.write()

    def write(self) -> None:
        """Keep it for the next run."""
        self._noted = time.monotonic()
        pieces = {name: sorted(pieces) for name, pieces in self.pieces.items()}
        fields = {"manifest": self._of, "finished": sorted(self.finished), "pieces": pieces}
        temporary = self._path.with_suffix(".tmp")
        write_synced(temporary, json.dumps(fields).encode())
        temporary.rename(self._path)


@contextmanager
def _pulled(path: Path, data: bytes) -> Iterator[tuple[fmt.Manifest | None, _Pulling]]:
    """The folder, locked: the manifest of what is there, and what an earlier run has fetched."""
    if path.exists() and not (path / fmt.MANIFEST).exists() and not (path / PULLING).exists():
        names = sorted(each.name for each in path.iterdir() if each.name != fmt.LOCK)
        if names:
            raise BuildError(
                f"'{path}' is not empty: it holds {names[0]!r}; choose an empty or a new folder, "
                "or one with a copy of the index"
            )
    path.mkdir(parents=True, exist_ok=True)
    lock = take_lock(path)
    try:
        before = read_manifest(path) if (path / fmt.MANIFEST).exists() else None
        pulling = _Pulling(path, data)
        pulling.write()
        try:
            yield before, pulling
        except BaseException:
            pulling.write()
            raise
    finally:
        os.close(lock)


def _fetch(
    store: Store,
    path: Path,
    missing: dict[str, fmt.FileEntry],
    pulling: _Pulling,
    tell: Callable[[int], None],
) -> None:
    """Fetch files, in pieces."""
    lock = threading.Lock()
    done, left, jobs = 0, {}, []
    for name, file in missing.items():
        (path / name).parent.mkdir(exist_ok=True)
        part = path / (name + PART)
        if not part.exists():
            pulling.pieces.pop(name, None)
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT, 0o644)
        os.ftruncate(descriptor, file.bytes)
        os.close(descriptor)
        pieces = range(max(1, -(-file.bytes // PIECE)))
        there = pulling.pieces.get(name, set()) & set(pieces)
        done += sum(min(PIECE, file.bytes - piece * PIECE) for piece in there)
        left[name] = len(pieces) - len(there)
        jobs += [(name, piece) for piece in pieces if piece not in there]
        if not left[name]:
            _finish(path, name, file, pulling)

    def fetch(job: tuple[str, int]) -> None:
        nonlocal done
        name, piece = job
        start, end = piece * PIECE, min((piece + 1) * PIECE, missing[name].bytes)
        data = b""
        if end > start:
            try:
                data = store.read(name, start, end)
            except FileNotFoundError:
                raise _changed(store, name) from None
            if len(data) != end - start:
                raise _changed(store, name)
            descriptor = os.open(path / (name + PART), os.O_WRONLY)
            try:
                os.pwrite(descriptor, data, start)
            finally:
                os.close(descriptor)
        pulling.fetched(name, piece)
        with lock:
            left[name] -= 1
            last = not left[name]
            done += len(data)
            tell(done)
        if last:
            _finish(path, name, missing[name], pulling)

    with _pool() as pool:
        for _ in pool.map(fetch, jobs):
            pass


def _finish(path: Path, name: str, file: fmt.FileEntry, pulling: _Pulling) -> None:
    """Let a file that is whole have its name, if its checksum is right."""
    part = path / (name + PART)
    for problem in wrong_files(part.parent, {part.name: file}, _none):
        part.unlink()
        pulling.forget(name)
        raise DamagedIndexError(f"{name}: the copy is not what the manifest says: {problem}")
    descriptor = os.open(part, os.O_RDWR)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)
    part.rename(path / name)
    sync_directory(part.parent)
    pulling.finish(name)


def _changed(store: Store, name: str) -> FormatError:
    return FormatError(
        f"{store.address}/{name}: not there as the manifest says: the index there may have changed "
        "meanwhile; run the same command again"
    )


def _manifest_at(
    store: Store, name: str, there: dict[str, int], lenient: bool = False
) -> fmt.Manifest | None:
    """The manifest of the index at an address; None if there is none, or if it is damaged and
    `lenient`. Raises FormatError, DamagedIndexError."""
    data = _read(store, name, there)
    try:
        return None if data is None else decode_manifest(data, store.address)
    except DamagedIndexError:
        if lenient:
            return None
        raise


def _read(store: Store, name: str, there: dict[str, int]) -> bytes | None:
    if name not in there:
        return None
    try:
        return store.read(name)
    except FileNotFoundError:
        return None


def _refuse_another(
    files: dict[str, fmt.FileEntry], other: fmt.Manifest | None, where: str
) -> None:
    """Raise BuildError if an index that is there has other files of the same names."""
    known = {} if other is None else files_of(other)
    for name, file in files.items():
        if name in known and known[name] != file:
            raise BuildError(
                f"{where} holds another index (its {name} differs); choose another place"
            )


def _check_space(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path).free
    if free < needed:
        raise BuildError(
            f"no space left at '{path}': what is missing has {needed / 1e6:,.1f} MB, "
            f"{free / 1e6:,.1f} MB are free; free some, then run the same command again"
        )


def _none(count: int) -> None:
    """A progress function that does nothing."""


@contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    """Threads; if one fails, what has not begun is left."""
    pool = ThreadPoolExecutor(TOGETHER)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
