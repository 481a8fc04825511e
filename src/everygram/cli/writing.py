"""Files that commands write beside their answers: pages and figures."""

import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from everygram.errors import OptionError

# Tells files that are written at the same time.
_NUMBERS = itertools.count()


def check_place(option: str, path: Path, endings: tuple[str, ...], advice: str) -> None:
    """Raise OptionError for a place where no file of a kind can be, before any work is done.

    endings: of names of this kind, lower case. advice: these in words.
    """
    if path.suffix.lower() not in endings:
        raise OptionError(f"{option}: expected a name that ends in {advice}, found '{path}'")
    if path.is_dir():
        raise OptionError(f"{option}: expected a file to write, found '{path}', which is a folder")
    if not path.parent.is_dir():
        raise OptionError(
            f"{option}: expected a file to write, found '{path}', in a folder that is not there"
        )


def check_not_read(written: dict[str, Path | None], read: Iterable[str]) -> None:
    """Raise OptionError where a file that a command reads would be written over.

    written: the options' files. read: what is read, by its names.
    """
    sources = {os.path.realpath(name) for name in read}
    for option, path in written.items():
        if path is not None and path.is_file() and os.path.realpath(path) in sources:
            raise OptionError(
                f"{option}: expected another file than those that are read, found '{path}'"
            )


def check_records(option: str, path: Path) -> None:
    """Raise OptionError where no file of JSON lines can be (a device, or a pipe, is fine)."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        return
    # (Imported here: few commands need it.)
    from everygram.corpus.writing import COMPRESSED

    ending = path.suffix.lower()
    plain = path.with_suffix("") if ending in COMPRESSED else path
    if plain.suffix.lower() != ".jsonl":
        endings = ", ".join(f".jsonl{each}" for each in ("", *COMPRESSED))
        raise OptionError(f"{option}: expected a name that ends in {endings}, found '{path}'")
    check_place(option, path, (ending,), ending)


@contextmanager
def records(path: Path) -> Iterator[BinaryIO]:
    """A file of JSON lines to write, as `whole`, compressed if its name ends so."""
    # (Imported here: few commands need it.)
    from everygram.corpus.writing import COMPRESSED

    with whole(path) as file:
        compress = COMPRESSED.get(path.suffix.lower())
        if compress is None:
            yield file
            return
        with compress(file, "wb") as compressed:
            yield compressed


def check_apart(given: dict[str, Path | None]) -> None:
    """Raise OptionError where two options name one file, however they spell its path.

    given: paths by their options. (Into a device or a pipe goes what several options write.)
    """
    seen: dict[str, str] = {}
    for option, path in given.items():
        if path is None or (path.exists() and not path.is_file()):
            continue
        other = seen.setdefault(os.path.realpath(path), option)
        if other != option:
            raise OptionError(f"{option}: expected another file than {other}, found '{path}'")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file as a whole: if that fails, the one that was there stays as it was."""
    with whole(path) as file:
        file.write(content)


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of the one that was there when all of it is written.

    If that fails, the one that was there stays as it was. (A device, or a pipe, is written to.)
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        with path.open("wb") as file:
            yield file
        return
    # (A name of its own, for that of `path` may be as long as names can be.)
    temporary = path.with_name(f".everygram-{os.getpid()}-{next(_NUMBERS)}.tmp")
    try:
        file = temporary.open("xb")
        try:
            with file:
                yield file
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        if error.filename not in (None, str(temporary)):  # of another file
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None
