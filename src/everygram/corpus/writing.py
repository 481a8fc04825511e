"""Writes records to a new file of JSON lines, compressed if its name ends so."""

import bz2
import errno
import gzip
import json
import lzma
import os
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from everygram.errors import OptionError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# How files of each ending are opened for their bytes, if they are compressed.
COMPRESSED: dict[str, Callable[[Path], Any]] = {
    ".gz": partial(gzip.open, mode="xb"),
    ".zst": partial(zstd.open, mode="xb"),
    ".xz": partial(lzma.open, mode="xb"),
    ".bz2": partial(bz2.open, mode="xb"),
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
            with COMPRESSED.get(path.suffix.lower(), partial(open, mode="xb"))(temporary) as file:
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
