"""Adds document counts to the segments of an index that have none; nothing else of it changes."""

import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from everygram import arguments
from everygram.arguments import Size
from everygram.building.copying import checked, link
from everygram.building.stages import COUNTING_BYTES, disk, resources
from everygram.durable import sync_directory
from everygram.errors import BuildError
from everygram.progress import Clock, PeakMemory, Progress
from everygram.storage import format as fmt
from everygram.storage.directory import changed_index, free_segment, open_segments, publish
from everygram.storage.disk import (
    block_checksums,
    write_array,
)
from everygram.storage.plain import plain_bytes
from everygram.storage.segment import Segment
from everygram.storage.segment_writer import write_document_counts
from everygram.storage.self_index import write_plain


@dataclass(frozen=True)
class Upgrade:
    """What an upgrade did: segments that got document counts, and the format before and after.

    `index_bytes`: of all files afterwards. `seconds`: the time of each stage; empty if there was
    nothing to do. `peak_bytes`: as in `BuildReport`.
    """

    path: Path
    segments: int
    format_before: int
    format_after: int
    index_bytes: int
    seconds: dict[str, float]
    peak_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"path": str(self.path)}


def upgrade(
    index: str | os.PathLike[str],
    *,
    memory: Size | None = None,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Upgrade:
    """Bring an index to the current format: every segment gets document counts.

    Tokens, suffixes and answers stay as they are, and so do document numbers. From then on `add`
    and `compact` make document counts, also in an index that was built without.

    memory, threads, progress: as in `build`. Each segment is published once it is done: if an
    upgrade was interrupted, run it again, and it goes on with the next segment.

    Readers go on as they were until they `refresh`. A segment's files are linked, not copied, on
    file systems that can. Raises DamagedIndexError if a file does not match its checksum,
    BuildError, and the errors of `open`.
    """
    memory, threads = resources(memory, threads)
    path = arguments.path("index", index)
    clock = Clock(arguments.function("progress", progress) or (lambda _: None))
    with disk(path), changed_index(path, "upgrade") as (manifest, _, _), PeakMemory() as peak:
        before, number = manifest, 0
        for entry in manifest.segments:
            if fmt.DOCUMENT_COUNTS in entry.files:
                continue
            (segment,) = open_segments(path, replace(manifest, segments=(entry,)))
            counted = _counted(path, manifest, segment, memory, threads, clock)
            number += 1
            clock.enter("publish")
            segments = tuple(counted if each == entry else each for each in manifest.segments)
            manifest = replace(manifest, segments=segments, document_counts=True)
            manifest = publish(path, manifest, None)
        if not manifest.document_counts or manifest.format_version < fmt.FORMAT_VERSION:
            clock.enter("publish")
            manifest = publish(path, replace(manifest, document_counts=True), None)
        clock.leave()
    return Upgrade(
        path=path,
        segments=number,
        format_before=before.format_version,
        format_after=manifest.format_version,
        index_bytes=manifest.bytes,
        seconds=clock.seconds,
        peak_bytes=peak.bytes,
    )


def _counted(
    path: Path, manifest: fmt.Manifest, old: Segment, memory: int, threads: int, clock: Clock
) -> fmt.SegmentEntry:
    """Make a segment with the same files, and document counts."""
    entry = old.entry
    clock.enter("check")
    # Otherwise damaged data would be counted, and get new checksums.
    files = checked(old, clock.report)
    needed = int(entry.stream_len * COUNTING_BYTES) + plain_bytes(old)
    if (free := shutil.disk_usage(path).free) < needed:
        raise BuildError(
            f"no space left at '{path}': counting documents needs {needed / 1e6:,.1f} MB, "
            f"{free / 1e6:,.1f} MB are free; free some, then run the same command again"
        )
    folder = path / free_segment(path, manifest)
    folder.mkdir()
    for name in files:
        link(old.folder / name, folder / name)
    if entry.kind == fmt.SELF_INDEX_KIND:
        clock.enter("plain")
        write_plain(old, folder, memory, threads, clock.report)
    clock.enter("count")
    files[fmt.DOCUMENT_COUNTS] = write_document_counts(
        folder,
        manifest.dtype,
        entry.stream_len,
        entry.num_documents,
        memory,
        threads,
        clock.report,
    )
    for name in fmt.FILES_OF_KIND[fmt.SUFFIX_ARRAY_KIND]:
        if name not in files:
            (folder / name).unlink()
    files[fmt.CHECKSUMS] = write_array(folder / fmt.CHECKSUMS, block_checksums(files))
    sync_directory(folder)
    sync_directory(path)
    return replace(
        entry, name=folder.name, files={name: file.entry for name, file in files.items()}
    )
