"""What users name as a corpus, as files: paths, patterns, folders, and addresses elsewhere.

An address (`s3://…`, `gs://…`, `https://…`, `hf://…`) is read through fsspec. Knows nothing of
what is in a file, nor which files are data (see `choosing`).
"""

import glob
import hashlib
import io
import os
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from stat import S_ISREG
from typing import Any, BinaryIO

from everygram.addresses import is_address
from everygram.corpus import remote
from everygram.errors import CorpusError

# Lines can be as long as pages are not.
BUFFER = 1 << 18
# The name of standard input as a corpus, and its name in messages.
STDIN, STANDARD_INPUT = "-", "standard input"


@dataclass(frozen=True)
class File:
    """A file of a corpus.

    `name` is its path or address, as messages give it; `relative` what its metadata gives, below
    the folder that was named; `version` changes when the file does; one file that has two names
    has one `identity`. `named`: the user named it itself, not a folder or a pattern that has it.
    `begin`: of a stretch of a file (`stretch`), the byte it begins at.
    """

    name: str
    relative: str
    size: int = 0
    version: str = ""
    identity: str = ""
    named: bool = False
    begin: int = 0
    _open: Callable[[bool], BinaryIO] | None = field(default=None, repr=False, compare=False)
    _again: Callable[[], "File | None"] | None = field(default=None, repr=False, compare=False)

    @property
    def readable(self) -> bool:
        """Whether it can be opened: no broken link, no pipe, no folder that cannot be listed."""
        return self._open is not None

    @property
    def _state(self) -> tuple[int, str, str]:
        return self.size, self.version, self.identity

    def open(self, in_any_order: bool = False) -> BinaryIO:
        """The file's bytes, buffered. A remote file can be read only once, from its start, unless
        `in_any_order`. Raises CorpusError or OSError, also while it is read."""
        if self._open is None:
            raise CorpusError(f"{self.name}: not a regular file, or not to be read")
        return self._open(in_any_order)

    def line(self, number: int) -> str:
        """A line, from 1 on, as messages name it."""
        if not self.begin:
            return f"{self.name}:{number}"
        return f"{self.name}: line {number:,} after its first {self.begin:,} bytes"

    def stretch(self, begin: int, end: int) -> "File":
        """The bytes from `begin` to `end` of a file, as a file."""

        def opened(_: bool) -> BinaryIO:
            file = self.open(in_any_order=True)
            file.seek(begin)
            return io.BufferedReader(_Stretch(file, end - begin), BUFFER)

        def again() -> File | None:
            now = self._again() if self._again is not None else self
            return made if now is not None and now._state == self._state else now

        made = replace(self, begin=begin, size=end - begin, _open=opened, _again=again)
        return made

    def check_unchanged(self) -> None:
        """Raise CorpusError if the file is no longer what it was when it was listed."""
        now = self._again() if self._again is not None else self
        if now is None or now._state != self._state:
            raise CorpusError(
                f"{self.name}: changed while it was read ({_change(self, now)}), so that nothing "
                "was published; run the same again once nothing writes to it"
            )


class _Stretch(io.RawIOBase):
    """So many bytes of a file, from where it is."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size, self._at = file, size, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._file.read(min(len(buffer), self._size - self._at))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        self._file.close()
        super().close()


def names_a_file(text: str) -> bool:
    """Whether there is a file or folder of that name; of any text, however long, no error."""
    return os.path.exists(text)  # noqa: PTH110


def list_files(given: str) -> list[File]:
    """The files of what is named, in order; of a folder and a pattern, in sorted order.

    Links are followed, folders once each; names that start with a dot are passed over. Raises
    CorpusError for a name with nothing to read.
    """
    if given == STDIN:
        return [_standard_input()]
    return list(_far(given) if is_address(given) else _near(Path(given)))


# What lists files: `list_files`, or one that remembers what it has listed.
Lister = Callable[[str], list[File]]


def each_once(
    files: list[File], seen: dict[str, str], refuse: Callable[[CorpusError], None]
) -> list[File]:
    """The files without those that are `seen` already, which are refused."""
    new = []
    for file in files:
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
        new.append(file)
    return new


def _near(given: Path) -> Iterator[File]:
    """Files here."""
    if given.is_dir():
        yield from _below(given)
    elif given.exists():
        yield local_file(given, given.name, named=True)
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


def local_file(path: Path, relative: str, named: bool = False) -> File:
    """A file here, as it is now; `relative` and `named` as in `File`."""
    try:
        stat = path.stat()
    except OSError:
        return File(str(path), relative, named=named)
    return File(
        str(path),
        relative,
        size=stat.st_size,
        version=str(stat.st_mtime_ns),
        identity=f"{stat.st_dev}:{stat.st_ino}",
        named=named,
        _open=(lambda _: path.open("rb", BUFFER)) if S_ISREG(stat.st_mode) else None,
        _again=lambda: local_file(path, relative) if path.exists() else None,
    )


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
    return map(_remote, remote.find(given))


def _remote(found: remote.Found) -> File:
    def again() -> File | None:
        now = found.again()
        return None if now is None else _remote(now)

    return File(
        found.name,
        found.relative,
        found.size,
        found.version,
        identity=found.name,
        named=found.named,
        _open=found.open,
        _again=again,
    )


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
    return File(STANDARD_INPUT, STANDARD_INPUT, size, digest.hexdigest(), named=True, _open=opened)


def _change(before: File, now: File | None) -> str:
    """How a file has changed, in words."""
    if now is None:
        return "it is gone"
    if now.size != before.size:
        return f"{before.size:,} bytes before, {now.size:,} now"
    return "it was written again"
