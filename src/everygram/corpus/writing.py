"""Writes records to a new file of JSON lines, compressed as its name says."""

import bz2
import gzip
import json
import lzma
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from everygram.errors import OptionError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# How files of each ending are opened for their bytes.
OPENING: dict[str, Callable[[Path], Any]] = {
    ".jsonl": partial(open, mode="xb"),
    ".gz": partial(gzip.open, mode="xb"),
    ".zst": partial(zstd.open, mode="xb"),
    ".xz": partial(lzma.open, mode="xb"),
    ".bz2": partial(bz2.open, mode="xb"),
}


def check_new(path: Path) -> None:
    """Raise OptionError unless a new file of records can be at a path."""
    ending = path.suffix.lower()
    inner = Path(path.stem).suffix.lower() if ending != ".jsonl" else ending
    if ending not in OPENING or inner != ".jsonl":
        compressed = ", ".join(f".jsonl{each}" for each in OPENING if each != ".jsonl")
        raise OptionError(f"out: expected a name that ends in .jsonl, {compressed}, found '{path}'")
    if os.path.lexists(path):
        raise OptionError(f"out: expected a new file, found '{path}'; choose another name")
    if not path.parent.is_dir():
        raise OptionError(
            f"out: expected a new file, found '{path}', in a folder that is not there"
        )


@contextmanager
def written(path: Path) -> Iterator[Callable[[dict[str, Any]], None]]:
    """What writes a record to a new file, which is there once all are written.

    Until then, and if that fails, nothing is.
    """
    # (A name of its own, for that of `path` may be as long as names can be.)
    temporary = path.with_name(f".everygram-{os.getpid()}.tmp")
    file = OPENING[path.suffix.lower()](temporary)
    try:
        with file:
            yield lambda record: file.write(
                (json.dumps(record, ensure_ascii=False) + "\n").encode(errors="surrogatepass")
            )
        os.link(temporary, path)  # (Unlike a renaming, this never replaces a file.)
    finally:
        temporary.unlink(missing_ok=True)
