"""A segment's files, checked as they are read, and given a second name in another folder."""

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

from everygram.durable import sync
from everygram.errors import DamagedIndexError
from everygram.storage import format as fmt
from everygram.storage.disk import Checksums, Written, chunks
from everygram.storage.segment import Segment


def checked(segment: Segment, progress: Callable[[int, int], None]) -> dict[str, Written]:
    """A segment's files but `checksums.bin`, read once. Raises DamagedIndexError."""
    files = {}
    total = sum(file.bytes for file in segment.entry.files.values())
    done = 0
    for name, expected in segment.entry.files.items():
        checksums = Checksums()
        for chunk in chunks(segment.folder / name):
            checksums.update(chunk)
            done += len(chunk)
            progress(done, total)
        files[name] = checksums.result()
        if files[name].entry != expected:
            raise DamagedIndexError(
                f"{segment.folder / name}: content does not match its checksum; restore it or "
                "rebuild the index"
            )
    files.pop(fmt.CHECKSUMS, None)
    return files


def link(source: Path, target: Path) -> None:
    """Make a file have a second name, or copy it where that cannot be."""
    if not source.is_symlink():
        with contextlib.suppress(OSError):
            target.hardlink_to(source)
            return
    shutil.copyfile(source, target)
    with target.open("rb") as copied:
        sync(copied.fileno())
