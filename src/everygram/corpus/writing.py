"""Writes records to a new file of JSON lines, compressed if its name ends so."""

import bz2
import errno
import gzip
import json
import lzma
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from everygram.errors import OptionError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# How compressed files of each ending, or open files, are opened for bytes.
COMPRESSED: dict[str, Callable[..., Any]] = {
    ".gz": gzip.open,
    ".zst": zstd.open,
    ".xz": lzma.open,
    ".bz2": bz2.open,
}


def check_new(path: Path) -> None:
    """Raise OptionError unless a new file of records that `build` knows can be at a path."""
    name = path.with_suffix("") if path.suffix.lower() in COMPRESSED else path
    if name.suffix.lower() != ".jsonl":
        compressed = ", ".join(f".jsonl{each}" for each in COMPRESSED)
        raise OptionError(f"out: expected a name that ends in .jsonl, {compressed}, found '{path}'")
    if os.path.lexists(path):
        raise OptionError(f"out: expected a new file, found '{path}'; choose another name")
    if not path.parent.is_dir():
        raise OptionError(
            f"out: expected a new file, found '{path}', in a folder that is not there"
        )


def write_records(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write records to a new file, which is there once all are written.

    Until then, and if that fails, nothing is.
    """
    # (A name of its own, for that of `path` may be as long as names can be.)
    temporary = path.with_name(f".everygram-{os.getpid()}.tmp")
    try:
        try:
            with COMPRESSED.get(path.suffix.lower(), open)(temporary, "xb") as file:
                for record in records:
                    line = json.dumps(record, ensure_ascii=False) + "\n"
                    file.write(line.encode(errors="surrogatepass"))
            _name(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        if error.filename not in (None, str(temporary)):  # of another file
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None


def _name(file: Path, path: Path) -> None:
    """Give a file the name `path`, which no other file has. Raises FileExistsError."""
    try:
        path.hardlink_to(file)  # (Unlike a renaming, this never replaces a file.)
    except FileExistsError:
        raise
    except OSError:
        # A file system without links.
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        file.rename(path)
