"""Makes a directory of segments, publishes it in one step, opens it, and checks its files.

Knows which segments form an index; knows nothing of text, tokens or queries.
"""

import contextlib
import fcntl
import functools
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from everygram.distant import Source
from everygram.durable import sync_directory
from everygram.errors import (
    BuildError,
    DamagedIndexError,
    EverygramError,
    FormatError,
    LockedError,
    OptionError,
)
from everygram.storage import disk
from everygram.storage import format as fmt
from everygram.storage.attached import is_foreign, open_foreign, stamp_of
from everygram.storage.build_state import MAKING, BuildState, Done
from everygram.storage.manifest import decode_manifest, encode_manifest
from everygram.storage.prepared import FILES, INFO, is_prepared
from everygram.storage.segment import Segment
from everygram.storage.self_index import SelfIndex
from everygram.tokenizer.base import Tokenizer

# All checksums of indexes of up to this size are checked on opening, which takes milliseconds.
CHECKED_AT_ONCE = 16 << 20
# No manifest or tokenizer is larger, in bytes: a thousandth is usual.
MOST_MANIFEST = 1 << 28
MOST_TOKENIZER = 1 << 30


@contextlib.contextmanager
def new_index(path: Path, restart: bool = False) -> Iterator[tuple[BuildState | None, Done | None]]:
    """Lock the folder of an index that is being made; yields the state of a killed build, if any.

    If a build was killed after it had published the index, also yields what it was: then the body
    writes nothing. Creates the folder and takes its lock, which ends with the process. Files of an
    earlier build are removed if `restart`, or if it finished no stages (see `BuildState`). The body
    writes segments and ends with `publish`. If the body raises, everything is as before, except
    that finished stages are kept once the corpus is read. Raises BuildError if the folder contains
    an index or a file that is not from a build, or if it has another writer.
    """
    try:
        _refuse_taken(path)
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            sync_directory(folder.parent)
        lock = take_lock(path)
    except OSError as error:
        raise BuildError(f"cannot make an index at '{path}': {error.strerror}") from None
    try:
        _refuse_taken(path)
        done = Done.read(path)
        left = None if restart or done is not None else BuildState.read(path)
        if left is None and done is None:
            remove_unpublished(path)
        try:
            yield left, done
            (path / fmt.BUILD).unlink(missing_ok=True)
            _forget(path)
        except BaseException:
            left = BuildState.read(path)
            kept = left is not None and (left.segment is not None or left.made or _has_parts(path))
            if not kept and not (path / fmt.MANIFEST).exists():
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
) -> Iterator[tuple[fmt.Manifest, BuildState | None, Done | None]]:
    """Lock an index that is being changed; yields its manifest, and the state of a killed change.

    The state is that of a change that was not published. `Done` is the last change, if it was
    killed after it was published; it is forgotten once its operation is run again, or another
    change is published. As `new_index`, for a folder with a manifest. Before and after, files that
    nobody needs are removed: segments that were never published, and segments that are not
    published any more. The finished stages of an interrupted addition are kept during any
    operation, those of a compaction only during a compaction. Raises BuildError if the index has
    another writer, and the errors of `read_manifest`.
    """
    read_manifest(path)
    lock = take_lock(path)
    try:
        manifest = read_manifest(path)
        done = Done.read(path)
        if restart:
            (path / fmt.BUILD).unlink(missing_ok=True)
        try:
            yield manifest, _remove_orphans(path, operation), done
        except BaseException:
            with contextlib.suppress(EverygramError, OSError):
                _remove_orphans(path, operation)
            raise
        _remove_orphans(path, operation)
        # (Last: without it nobody knows any more that the change is done.)
        if done is None or done.operation == operation or Done.read(path) != done:
            _forget(path)
    finally:
        os.close(lock)


def _forget(path: Path) -> None:
    """Remove the note of a change that is done: whoever made it has been told."""
    if (path / fmt.DONE).exists():
        (path / fmt.DONE).unlink()
        # Or it might be there again after a power cut, and the same change be taken for done.
        sync_directory(path)


def free_segment(path: Path, manifest: fmt.Manifest) -> str:
    """A name for a new segment, not used by any segment or by the files of a killed writer."""
    number = manifest.next_segment
    while (path / fmt.segment_name(number)).exists():
        number += 1
    return fmt.segment_name(number)


def _remove_orphans(path: Path, operation: str) -> BuildState | None:
    """Remove files that writers left and nobody needs.

    If an interrupted change has read its corpus, its files are kept, and its state is returned.
    Precondition: the lock is held.
    """
    published = [entry.name for entry in read_manifest(path).segments]
    kept = [*published, fmt.MANIFEST, fmt.TOKENIZER, fmt.LOCK, fmt.DONE]
    if is_prepared(path, read_manifest(path)):
        kept.append(fmt.LANGUAGE_MODEL)
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


def publish(
    path: Path, manifest: fmt.Manifest, tokenizer_json: bytes | None, done: Done | None = None
) -> fmt.Manifest:
    """Make the index what `manifest` says, in one step: readers see the old index or the new one.

    Returns the manifest with what is only known now. With that step `done` is so: if it is killed
    right after, its rerun knows. Precondition: every file of its segments is on disk and synced.
    """
    if tokenizer_json is not None:
        write_tokenizer_json(path, tokenizer_json)
    from importlib.metadata import version  # slow to import, and readers do not need it

    numbers = [int(entry.name.removeprefix(fmt.SEGMENT_PREFIX)) for entry in manifest.segments]
    manifest = replace(
        manifest,
        everygram_version=version("everygram"),
        format_version=fmt.FORMAT_VERSION,
        next_segment=max(manifest.next_segment, *(number + 1 for number in numbers), 0),
    )
    temporary = path / (fmt.MANIFEST + ".tmp")
    data = encode_manifest(manifest)
    if done is not None:
        replace(done, manifest=hashlib.sha256(data).hexdigest()).write(path)
    disk.write_synced(temporary, data)
    sync_directory(path)
    temporary.rename(path / fmt.MANIFEST)
    sync_directory(path)
    return manifest


def write_tokenizer_json(path: Path, data: bytes) -> None:
    """Write the tokenizer's file to the index, in one step, so that a killed build can resume."""
    temporary = path / (fmt.TOKENIZER + ".tmp")
    disk.write_synced(temporary, data)
    temporary.rename(path / fmt.TOKENIZER)


def read_manifest(path: Path) -> fmt.Manifest:
    """The manifest of the index at `path`.

    Raises FormatError if there is none or it is foreign, DamagedIndexError if it was changed.
    """
    try:
        data = disk.read_file(path / fmt.MANIFEST, path, MOST_MANIFEST)
    except FileNotFoundError:
        if not path.exists():
            raise FormatError(f"index '{path}': no such folder") from None
        if is_foreign(path):
            raise FormatError(
                f"index '{path}': infini-gram's, which is read as it is and never changed; make an "
                "everygram index of it with 'everygram convert'"
            ) from None
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


# Cached: a change of an index reads the manifest many times, and its bytes rarely differ.
_decoded = functools.lru_cache(maxsize=1)(decode_manifest)


def read_tokenizer_json(path: Path, entry: fmt.TokenizerEntry) -> bytes | None:
    """The bytes of the index's tokenizer.json, or None. Checked against the manifest's hash."""
    if entry.sha256 is None:
        return None
    try:
        data = disk.read_file(path / fmt.TOKENIZER, path, MOST_TOKENIZER)
    except FileNotFoundError:
        raise DamagedIndexError(
            f"{path / fmt.TOKENIZER}: missing; restore it or rebuild the index"
        ) from None
    except OSError as error:
        raise FormatError(f"{path / fmt.TOKENIZER}: cannot be read: {error.strerror}") from None
    if data.startswith(disk.LFS_BEGINS):
        raise DamagedIndexError(f"{path / fmt.TOKENIZER}: {disk.LFS_POINTER}")
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise DamagedIndexError(
            f"{path / fmt.TOKENIZER}: not the tokenizer the index was built with (its SHA-256 "
            "differs from the manifest's); restore it or rebuild the index"
        )
    return data


def changed(path: Path, manifest: fmt.Manifest) -> bool:
    """Whether an index is not as this manifest says any more. Raises as `open_index`."""
    if (known := manifest.build.get(fmt.FOREIGN)) is not None:
        return bool(stamp_of(path) != known)
    return read_manifest(path) != manifest


def open_index(
    path: Path,
    opened: Sequence[Segment] = (),
    verify: bool = False,
    tokenizer: Tokenizer | None = None,
) -> tuple[fmt.Manifest, list[Segment], bytes | None]:
    """The manifest of an index, its segments mapped, and its tokenizer's file, if it has one.

    tokenizer: of an index of infini-gram's (see `attached`); one of ours has its own. All three are
    of the same version of the index, even if it is changed meanwhile. Segments in `opened` are
    reused. The checksums of the others are checked with `verify`, or if the index is small. Raises
    the errors of `read_manifest` and `open_segments`.
    """
    if is_foreign(path):
        return open_foreign(path, tokenizer, verify)
    manifest = read_manifest(path)
    if tokenizer is not None:
        raise OptionError(
            f"tokenizer: index '{path}' has been built with its own ({manifest.tokenizer.source}); "
            "leave the tokenizer out"
        )
    while True:
        try:
            segments = open_segments(path, manifest, opened)
            if verify or manifest.bytes <= CHECKED_AT_ONCE:
                check_files(segment for segment in segments if segment not in opened)
            return manifest, segments, read_tokenizer_json(path, manifest.tokenizer)
        except (DamagedIndexError, FormatError):
            # A compaction may just have removed a segment of this manifest: try the new manifest.
            before, manifest = manifest, read_manifest(path)
            if manifest == before:
                raise


def open_segments(
    path: Path, manifest: fmt.Manifest, opened: Sequence[Segment] = ()
) -> list[Segment]:
    """Map every segment, or reuse it if it is in `opened`.

    Raises DamagedIndexError if a file is missing or has the wrong size, FormatError if it cannot be
    read.
    """
    known = {segment.entry.name: segment for segment in opened}
    try:
        return [
            segment
            if (segment := known.get(entry.name)) is not None and segment.entry == entry
            else open_segment(path / entry.name, entry, manifest.dtype)
            for entry in manifest.segments
        ]
    except OSError as error:
        raise FormatError(f"index '{path}': cannot be read: {error}") from None


def open_segment(
    folder: Path,
    entry: fmt.SegmentEntry,
    dtype: str,
    distant: Mapping[str, Source] | None = None,
) -> Segment:
    """Map a segment of any kind; raises as `Segment`."""
    kind = SelfIndex if entry.kind == fmt.SELF_INDEX_KIND else Segment
    return kind(folder, entry, dtype, distant)


def check_files(
    segments: Iterable[Segment], progress: Callable[[int], None] = lambda count: None
) -> None:
    """Read all files of segments; raises DamagedIndexError if one does not match its checksum.

    Calls `progress(bytes)` for every chunk. Raises FormatError if a file cannot be read.
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
    """Load an index into the page cache, if memory is large enough; returns its bytes, else 0.

    Raises the errors of `read_manifest` and `open_segments`.
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


def take_lock(path: Path) -> int:
    """Take the folder's lock; returns its descriptor. Raises BuildError if a process holds it."""
    while True:
        # (No link: it would make a file elsewhere.)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        descriptor = os.open(path / fmt.LOCK, flags, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise LockedError(
                f"'{path}' is being written by another process; wait for it or choose "
                "another folder"
            ) from None
        # A writer that fails removes its lock file. If that happened since it was opened here, this
        # lock protects nothing: try again.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), (path / fmt.LOCK).stat()):
                return descriptor
        os.close(descriptor)


def holds_an_index(path: Path) -> BuildError:
    """The error for a build into a folder that holds an index already."""
    return BuildError(
        f"'{path}' already holds an index; remove the folder or choose another with --out"
    )


def _refuse_taken(path: Path) -> None:
    """Raise BuildError unless the folder is absent, empty, or has only files of a killed build."""
    if not path.exists():
        return
    names = sorted(entry.name for entry in path.iterdir())
    if fmt.MANIFEST in names:
        done = Done.read(path)
        if done is None or done.operation not in MAKING:
            raise holds_an_index(path)
        return
    # Without a lock file, the folder and its files are not from a build, whatever their names.
    foreign = [name for name in names if fmt.LOCK not in names or not _is_ours(path / name)]
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise BuildError(
            f"'{path}' is not empty: it holds {foreign[0]!r}{more}; choose an empty or a new folder"
        )


def _has_parts(path: Path) -> bool:
    """Whether parts of a corpus were built in an index's folder, or begun."""
    return any(fmt.PART_NAME.fullmatch(entry.name) for entry in path.iterdir())


def _is_ours(path: Path) -> bool:
    """Whether a build may have created this file or folder."""
    if path.is_symlink():
        return False
    if path.is_dir():
        if fmt.PART_NAME.fullmatch(path.name):
            return (path / fmt.LOCK).exists()
        if path.name in (fmt.LANGUAGE_MODEL, fmt.LANGUAGE_MODEL + ".tmp"):
            return all(entry.name in (*FILES, INFO) for entry in path.iterdir())
        if path.name != fmt.PLAIN and fmt.SEGMENT_NAME.fullmatch(path.name) is None:
            return False
        return all(
            entry.name in fmt.ANY_FILES and not entry.is_symlink() for entry in path.iterdir()
        )
    written = (fmt.MANIFEST, fmt.BUILD, fmt.DONE, fmt.TOKENIZER)
    temporary = tuple(name + ".tmp" for name in written)
    return path.name in (fmt.LOCK, fmt.TOKENIZER, fmt.BUILD, fmt.DONE, *temporary)


def remove_unpublished(path: Path) -> None:
    """Remove everything except the lock. Precondition: `_refuse_taken` did not raise."""
    for entry in path.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != fmt.LOCK:
            entry.unlink()
