"""What users name as a corpus, as files: paths, patterns, folders, and addresses elsewhere.

An address (`s3://…`, `gs://…`, `https://…`, `hf://…`) is read through fsspec. Knows nothing of
what is in a file, but for the list of files that a data set saved on a disk has beside them.
"""

import glob
import hashlib
import json
import os
import re
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG
from typing import Any, BinaryIO, cast

from everygram.corpus import remote
from everygram.errors import CorpusError

ADDRESS = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+://")
# Lines can be as long as pages are not.
BUFFER = 1 << 18
# The name of standard input as a corpus, and its name in messages.
STDIN, STANDARD_INPUT = "-", "standard input"


@dataclass(frozen=True)
class File:
    """A file of a corpus.

    `name` is its path or address, as messages give it; `relative` what its metadata gives, below
    the folder that was named; `version` changes when the file does; one file that has two names
    has one `identity`.
    """

    name: str
    relative: str
    size: int = 0
    version: str = ""
    identity: str = ""
    _open: Callable[[bool], BinaryIO] | None = field(default=None, repr=False, compare=False)

    def open(self, in_any_order: bool = False) -> BinaryIO:
        """The file's bytes, buffered. A remote file can be read only once, from its start, unless
        `in_any_order`. Raises CorpusError or OSError, also while it is read."""
        if self._open is None:
            # A broken link, a pipe, a folder that cannot be listed.
            raise CorpusError(f"{self.name}: not a regular file, or not to be read")
        return self._open(in_any_order)


def is_address(given: str | os.PathLike[str]) -> bool:
    """Whether that is no path here but an address that fsspec reads."""
    return isinstance(given, str) and ADDRESS.match(given) is not None


def list_files(given: str) -> list[File]:
    """The files of what is named, in order; of a folder and a pattern, in sorted order.

    Links are followed, folders once each; names that start with a dot are passed over. Raises
    CorpusError for a name with nothing to read.
    """
    if given == STDIN:
        return [_standard_input()]
    return _without_descriptions(list(_far(given) if is_address(given) else _near(Path(given))))


# What lists files: `list_files`, or one that remembers what it has listed.
Lister = Callable[[str], list[File]]


def find_files(
    given: str | os.PathLike[str],
    seen: dict[str, str],
    refuse: Callable[[CorpusError], None],
    lister: Lister = list_files,
) -> list[File]:
    """The files of what is named, without those that are `seen` already, which are refused."""
    files = []
    for file in lister(os.fspath(given)):
        identity = file.identity or file.name
        if identity in seen:
            refuse(
                CorpusError(
                    f"{file.name}: the same file as '{seen[identity]}', which is read already; "
                    "name it once"
                )
            )
            continue
        seen[identity] = file.name
        files.append(file)
    return files


def _near(given: Path) -> Iterator[File]:
    """Files here."""
    if given.is_dir():
        yield from _below(given)
    elif given.exists():
        yield local_file(given, given.name)
    elif glob.has_magic(str(given)):
        # (Path.glob would match names that start with a dot.)
        matches = sorted(glob.glob(str(given), recursive=True))  # noqa: PTH207
        fixed = Path(*remote.until(given.parts, glob.has_magic))
        for match in map(Path, matches):
            if match.is_file():
                yield local_file(match, match.relative_to(fixed).as_posix())
            elif "**" not in given.parts:
                yield from _below(match)
        if not any(Path(match).is_file() or Path(match).is_dir() for match in matches):
            raise CorpusError(f"{given}: no file matches this pattern")
    else:
        raise CorpusError(f"{given}: no such file or directory")


def _below(folder: Path) -> Iterator[File]:
    files = list(_files_below(folder))
    if not files:
        raise CorpusError(f"{folder}: the directory has no files to read")
    for path in files:
        yield local_file(path, path.relative_to(folder).as_posix())


def local_file(path: Path, relative: str) -> File:
    """A file here, as it is now; `relative` as in `File`."""
    try:
        stat = path.stat()
    except OSError:
        return File(str(path), relative)
    opened = (lambda _: path.open("rb", BUFFER)) if S_ISREG(stat.st_mode) else None
    identity = f"{stat.st_dev}:{stat.st_ino}"
    return File(str(path), relative, stat.st_size, str(stat.st_mtime_ns), identity, opened)


def _files_below(given: Path) -> Iterator[Path]:
    """Files in sorted order; a folder that cannot be listed stands for itself: an error to read."""
    unlisted: list[Path] = []
    seen: set[str] = set()
    walk = os.walk(
        given, followlinks=True, onerror=lambda error: unlisted.append(Path(error.filename))
    )
    for folder, folders, names in walk:
        if os.path.realpath(folder) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(folder))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(folder, name)
    yield from unlisted


def _far(given: str) -> Iterator[File]:
    """Files at an address."""
    for found in remote.find(given):
        yield File(found.name, found.relative, found.size, found.version, found.name, found.open)


def _standard_input() -> File:
    """Standard input, copied to a temporary file, because a build reads its corpus repeatedly.

    The file's version is a hash of its bytes: a rerun with the same input continues a build.
    """
    if sys.stdin is None:
        raise CorpusError(f"{STANDARD_INPUT} (-): it is closed; name files, or pipe something in")
    folder = remote.folder_for_copies()
    digest = hashlib.sha256()
    try:
        # (Without a name: it disappears with the process.)
        with tempfile.TemporaryFile(dir=folder) as file:
            while piece := sys.stdin.buffer.read(BUFFER):
                digest.update(piece)
                file.write(piece)
            file.flush()
            copy = os.dup(file.fileno())
    except OSError as error:
        raise CorpusError(
            f"{STANDARD_INPUT} (-): a copy of it cannot be kept in "
            f"'{folder}' ({error.strerror or error}): name a folder with "
            "more room in TMPDIR, or pass files"
        ) from None

    def opened(_: bool) -> BinaryIO:
        # (All readers share one position; only one reads at a time.)
        file = os.fdopen(os.dup(copy), "rb", BUFFER)
        file.seek(0)
        return file

    weakref.finalize(opened, os.close, copy)
    size = os.fstat(copy).st_size
    return File(STANDARD_INPUT, STANDARD_INPUT, size, digest.hexdigest(), "", opened)


def _without_descriptions(files: list[File]) -> list[File]:
    """Of a data set that `datasets` saved, its data files, in the order that it says.

    Its folder has a `state.json` with their names, and `dataset_info.json`; that of several splits
    has a folder for each, and `dataset_dict.json`.
    """
    folders: dict[str, dict[str, File]] = {}
    for file in files:
        folder, _, name = file.name.rpartition("/")
        folders.setdefault(folder, {})[name] = file
    replaced: dict[str, list[File]] = {}
    for folder, named in folders.items():
        if "state.json" in named and "dataset_info.json" in named:
            state = _state(named["state.json"])
            wanted = [str(entry.get("filename")) for entry in state["_data_files"]]
            for name in wanted:
                if name not in named:
                    raise CorpusError(
                        f"{named['state.json'].name}: the data set's file '{name}' is missing"
                    )
            replaced[folder] = [named[name] for name in wanted]
        elif "dataset_dict.json" in named and len(named) == 1:
            replaced[folder] = []
    kept: list[File] = []
    for file in files:
        folder = file.name.rpartition("/")[0]
        if folder in replaced:
            kept += replaced.pop(folder)
            folders[folder] = {}
        elif folders[folder]:
            kept.append(file)
    return kept


def _state(file: File) -> dict[str, Any]:
    with file.open() as raw:
        try:
            state = json.loads(raw.read())
            files = state["_data_files"]
            if not isinstance(files, list) or not all(isinstance(entry, dict) for entry in files):
                raise TypeError("_data_files is no list of files")
        except (ValueError, KeyError, TypeError) as error:
            raise CorpusError(
                f"{file.name}: not the description of a saved data set: {error}"
            ) from None
    if state.get("_indices_data_files"):
        raise CorpusError(
            f"{file.name}: the data set has an indices mapping; save it again with a datasets "
            "release of today, which flattens it"
        )
    return cast(dict[str, Any], state)
