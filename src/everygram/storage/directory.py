"""A directory of segments: made, published in one step, opened, verified.

Knows which segments make an index; knows nothing of text, tokens or queries.
"""

import contextlib
import fcntl
import functools
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from everygram.errors import BuildError, DamagedIndexError, EverygramError, FormatError
from everygram.storage import disk
from everygram.storage import format as fmt
from everygram.storage.build_state import BuildState
from everygram.storage.segment import Segment

# Indexes of up to so many bytes are checked whole when they are opened: it takes milliseconds.
CHECKED_AT_ONCE = 16 << 20


@contextlib.contextmanager
def new_index(path: Path, restart: bool = False) -> Iterator[BuildState | None]:
    """Hold the folder of an index that is being made; gives the state a killed build left, if any.

    Creates the folder and takes its lock, which dies with its process. What a build left there is
    removed unless it says that stages are finished (see `BuildState`), and in any case with
    `restart`. The body writes segments and ends with `publish`. If it raises, all is as before,
    but that finished stages are kept once the corpus is read. Raises BuildError when the folder
    holds an index, anything a build did not put there, or another writer.
    """
    try:
        _refuse_taken(path)
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            disk.sync_directory(folder.parent)
        lock = _take_lock(path)
    except OSError as error:
        raise BuildError(f"cannot make an index at '{path}': {error.strerror}") from None
    try:
        _refuse_taken(path)
        left = None if restart else BuildState.read(path)
        if left is None:
            remove_unpublished(path)
        try:
            yield left
            (path / fmt.BUILD).unlink(missing_ok=True)
        except BaseException:
            left = BuildState.read(path)
            if (left is None or left.segment is None) and not (path / fmt.MANIFEST).exists():
                remove_unpublished(path)
                (path / fmt.LOCK).unlink()
                for folder in missing:
                    with contextlib.suppress(OSError):
                        folder.rmdir()
            raise
    finally:
        os.close(lock)


@contextlib.contextmanager
def changed_index(
    path: Path, operation: str, restart: bool = False
) -> Iterator[tuple[fmt.Manifest, BuildState | None]]:
    """Hold an index that is being changed; gives its manifest, and what a killed change left.

    As `new_index`, for a folder with a manifest. What nobody needs is removed before and after:
    segments that were never published, and those that are no longer. What an interrupted addition
    has read stays whatever the operation; of a compaction only a compaction can make use. Raises
    BuildError when the index has another writer, and as `read_manifest`.
    """
    read_manifest(path)
    lock = _take_lock(path)
    try:
        manifest = read_manifest(path)
        if restart:
            (path / fmt.BUILD).unlink(missing_ok=True)
        try:
            yield manifest, _remove_orphans(path, operation)
        except BaseException:
            with contextlib.suppress(EverygramError, OSError):
                _remove_orphans(path, operation)
            raise
        _remove_orphans(path, operation)
    finally:
        os.close(lock)


def free_segment(path: Path, manifest: fmt.Manifest) -> str:
    """The name of a segment to come: none has it, nor what a killed writer left."""
    number = manifest.next_segment
    while (path / fmt.segment_name(number)).exists():
        number += 1
    return fmt.segment_name(number)


def _remove_orphans(path: Path, operation: str) -> BuildState | None:
    """Remove what writers left and nobody needs.

    Returns the state of a change whose corpus is read, which stays. Precondition: the lock is held.
    """
    published = [entry.name for entry in read_manifest(path).segments]
    kept = [*published, fmt.MANIFEST, fmt.TOKENIZER, fmt.LOCK]
    state = BuildState.read(path)
    if state is not None and (
        state.segment is None
        or state.folder in published
        or (state.operation == "compaction" and operation != "compaction")
    ):
        state = None
    if state is not None:
        kept += [fmt.BUILD, str(state.folder)]
    for entry in path.iterdir():
        if entry.name not in kept and _is_ours(entry):
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    return state


def publish(path: Path, manifest: fmt.Manifest, tokenizer_json: bytes | None) -> None:
    """Make the index what `manifest` says, in one step: readers see all of it or none.

    Precondition: every file of its segments is on disk and synced.
    """
    if tokenizer_json is not None:
        write_tokenizer_json(path, tokenizer_json)
    from importlib.metadata import version  # slow to import, and readers do without

    numbers = [int(entry.name.removeprefix(fmt.SEGMENT_PREFIX)) for entry in manifest.segments]
    manifest = replace(
        manifest,
        everygram_version=version("everygram"),
        format_version=fmt.FORMAT_VERSION,
        next_segment=max(manifest.next_segment, *(number + 1 for number in numbers), 0),
    )
    temporary = path / (fmt.MANIFEST + ".tmp")
    disk.write_synced(temporary, fmt.encode_manifest(manifest))
    disk.sync_directory(path)
    temporary.rename(path / fmt.MANIFEST)
    disk.sync_directory(path)


def write_tokenizer_json(path: Path, data: bytes) -> None:
    """Keep the tokenizer's file in the index, in one step: a killed build goes on with it."""
    temporary = path / (fmt.TOKENIZER + ".tmp")
    disk.write_synced(temporary, data)
    temporary.rename(path / fmt.TOKENIZER)


def read_manifest(path: Path) -> fmt.Manifest:
    """The manifest of the index at `path`.

    Raises FormatError when there is none or it is foreign, DamagedIndexError when it was changed.
    """
    try:
        data = (path / fmt.MANIFEST).read_bytes()
    except FileNotFoundError:
        if not path.exists():
            raise FormatError(f"index '{path}': no such folder") from None
        if any(path.glob(fmt.SEGMENT_PREFIX + "*")):
            raise FormatError(
                f"index '{path}': its build did not finish ({fmt.MANIFEST} is missing); run the "
                "build again"
            ) from None
        raise FormatError(
            f"index '{path}': not an everygram index: expected a folder with {fmt.MANIFEST}; make "
            "one with 'everygram build'"
        ) from None
    except NotADirectoryError:
        raise FormatError(f"index '{path}': expected a folder, found a file") from None
    except OSError as error:
        raise FormatError(f"index '{path}': {fmt.MANIFEST}: {error.strerror}") from None
    return _decoded(data, path)


# A change of an index looks at its manifest again and again, and its bytes are seldom others.
_decoded = functools.lru_cache(maxsize=1)(fmt.decode_manifest)


def read_tokenizer_json(path: Path, entry: fmt.TokenizerEntry) -> bytes | None:
    """The bytes of the index's tokenizer.json, checked against the manifest's hash, or None."""
    if entry.sha256 is None:
        return None
    try:
        data = (path / fmt.TOKENIZER).read_bytes()
    except FileNotFoundError:
        raise DamagedIndexError(
            f"{path / fmt.TOKENIZER}: missing; restore it or rebuild the index"
        ) from None
    except OSError as error:
        raise FormatError(f"{path / fmt.TOKENIZER}: cannot be read: {error.strerror}") from None
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise DamagedIndexError(
            f"{path / fmt.TOKENIZER}: not the tokenizer the index was built with (its SHA-256 "
            "differs from the manifest's); restore it or rebuild the index"
        )
    return data


def open_index(
    path: Path, opened: Sequence[Segment] = (), verify: bool = False
) -> tuple[fmt.Manifest, list[Segment], bytes | None]:
    """The manifest of an index, its segments mapped, and its tokenizer's file, if it has one.

    Of one moment, whatever writers do meanwhile. Segments that are `opened` are not opened again;
    the others' checksums are checked with `verify`, or if the index is small. Raises as
    `read_manifest` and `open_segments`.
    """
    manifest = read_manifest(path)
    while True:
        try:
            segments = open_segments(path, manifest, opened)
            if verify or manifest.bytes <= CHECKED_AT_ONCE:
                check_files(segment for segment in segments if segment not in opened)
            return manifest, segments, read_tokenizer_json(path, manifest.tokenizer)
        except (DamagedIndexError, FormatError):
            # A segment that was there a moment ago may have been merged into another.
            before, manifest = manifest, read_manifest(path)
            if manifest == before:
                raise


def open_segments(
    path: Path, manifest: fmt.Manifest, opened: Sequence[Segment] = ()
) -> list[Segment]:
    """Map every segment, or take it from those that are `opened`.

    Raises DamagedIndexError when a file is missing or has another size, FormatError when it
    cannot be read.
    """
    known = {segment.entry.name: segment for segment in opened}
    try:
        return [
            segment
            if (segment := known.get(entry.name)) is not None and segment.entry == entry
            else Segment(path / entry.name, entry, manifest.dtype)
            for entry in manifest.segments
        ]
    except OSError as error:
        raise FormatError(f"index '{path}': cannot be read: {error}") from None


def check_files(
    segments: Iterable[Segment], progress: Callable[[int], None] = lambda count: None
) -> None:
    """Read all files of segments; raises DamagedIndexError for one that its checksum is not of.

    Calls `progress(bytes)` for every stretch. Raises FormatError for what cannot be read.
    """
    for segment in segments:
        try:
            for problem in disk.wrong_files(segment.folder, segment.entry.files, progress):
                raise DamagedIndexError(
                    f"{segment.folder}: {problem}; restore it or rebuild the index"
                )
        except OSError as error:
            raise FormatError(f"{segment.folder}: cannot be read: {error}") from None


def read_in(path: Path) -> int:
    """Have the system hold all of an index in its memory, if it has enough; returns the bytes.

    Raises as `read_manifest` and `open_segments` do.
    """
    manifest = read_manifest(path)
    open_segments(path, manifest)
    files = {
        path / entry.name / name: file.bytes
        for entry in manifest.segments
        for name, file in entry.files.items()
    }
    total = manifest.bytes
    if total > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
        return 0
    for name in files:
        disk.read_in(name)
    return total


def _take_lock(path: Path) -> int:
    """The descriptor of the folder's lock, held. Raises BuildError when another process has it."""
    while True:
        descriptor = os.open(path / fmt.LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise BuildError(
                f"index '{path}' is being written by another process; wait for it or choose "
                "another folder"
            ) from None
        # A writer that failed removes its lock: one that was opened before is nobody's.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), (path / fmt.LOCK).stat()):
                return descriptor
        os.close(descriptor)


def _refuse_taken(path: Path) -> None:
    """Raise BuildError unless the folder is absent, empty, or holds only a killed build's files."""
    if not path.exists():
        return
    names = sorted(entry.name for entry in path.iterdir())
    if fmt.MANIFEST in names:
        raise BuildError(
            f"'{path}' already holds an index; remove the folder or choose another with --out"
        )
    # Without a build's lock nothing in it is a build's, whatever its name.
    foreign = [name for name in names if fmt.LOCK not in names or not _is_ours(path / name)]
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise BuildError(
            f"'{path}' is not empty: it holds {foreign[0]!r}{more}; choose an empty or a new folder"
        )


def _is_ours(path: Path) -> bool:
    """Whether a build may have put this into its folder."""
    if path.is_symlink():
        return False
    if path.is_dir():
        return re.fullmatch(fmt.SEGMENT_PREFIX + r"\d{6}", path.name) is not None and all(
            entry.name in (*fmt.SEGMENT_FILES, *fmt.OPTIONAL_FILES, fmt.RUNS, fmt.UNFINISHED)
            for entry in path.iterdir()
        )
    written = (fmt.MANIFEST, fmt.BUILD, fmt.TOKENIZER)
    temporary = tuple(name + ".tmp" for name in written)
    return path.name in (fmt.LOCK, fmt.TOKENIZER, fmt.BUILD, *temporary)


def remove_unpublished(path: Path) -> None:
    """Remove all but the lock. Precondition: `_refuse_taken` refused nothing."""
    for entry in path.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != fmt.LOCK:
            entry.unlink()
