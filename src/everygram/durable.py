"""What was written survives a power cut: whatever must, goes through here."""

import contextlib
import fcntl
import os
import sys
from pathlib import Path
from typing import IO, Any


def sync(descriptor: int) -> None:
    """Make a file's content, or the names in a directory, survive a power cut.

    On macOS, fsync only sends the data to the disk, which may still have it in its own cache.
    F_FULLFSYNC also makes the disk write it, on the file systems that support it.
    """
    if sys.platform == "darwin":
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def flush(file: IO[Any]) -> None:
    """Make what was written to a file durable."""
    file.flush()
    sync(file.fileno())


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)
