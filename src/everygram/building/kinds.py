"""An index in, another one out whose segments are of another kind: each is made by itself.

Documents, their numbers, metadata and document counts stay as they are, and so do all answers.
Segments of deleted documents keep their suffix arrays.
"""

import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from everygram.building.copying import checked, link
from everygram.building.stages import LEFT_BYTES, Stages, disk, self_index_bytes
from everygram.corpus.source import absolute
from everygram.durable import sync, sync_directory
from everygram.errors import BuildError, FormatError
from everygram.progress import BuildReport, PeakMemory, Progress
from everygram.storage import format as fmt
from everygram.storage.build_state import BuildState, Done
from everygram.storage.directory import (
    changed,
    holds_an_index,
    new_index,
    open_segments,
    publish,
    read_manifest,
    read_tokenizer_json,
)
from everygram.storage.disk import Checksums, Written, chunks
from everygram.storage.fields import Fields
from everygram.storage.plain import plain_bytes
from everygram.storage.psi_writer import write_self_index
from everygram.storage.segment import Segment
from everygram.storage.segment_writer import (
    finish_segment,
    finish_self_index,
)
from everygram.storage.self_index import write_plain

# What a segment has whatever its kind, and however it came about.
KEPT = (fmt.METADATA, fmt.METADATA_OFFSETS, fmt.DOCUMENT_OFFSETS, fmt.DOCUMENT_COUNTS)
PLAIN = fmt.FILES_OF_KIND[fmt.SUFFIX_ARRAY_KIND]


def remake(
    source: Path,
    out: Path,
    sample_every: int,
    memory: int,
    threads: int,
    restart: bool,
    progress: Callable[[Progress], None] | None,
) -> BuildReport:
    """Make an index of the documents of another, of the kind that `sample_every` says.

    It is 0 for suffix arrays. See `convert` for the rest.
    """
    with disk(out), new_index(out, restart) as (left, done), PeakMemory() as peak:
        manifest = read_manifest(source)
        kind = fmt.kind_of(sample_every)
        name = absolute(source)
        begun = BuildState(
            "conversion",
            {"corpus": [name], "kind": kind, "sample_every": sample_every},
            [[name, manifest.digest]],
            dtype=manifest.dtype,
        )
        if done is not None:
            report = done.answer(
                begun.operation, begun.arguments, begun.inputs or [], lambda f: _reported(out, f)
            )
            if report is None:
                raise holds_an_index(out)
            return report
        stages = Stages(out, left, begun, progress)
        made = stages.state.made
        try:
            tokenizer_json = read_tokenizer_json(source, manifest.tokenizer)
            for segment in open_segments(source, manifest)[len(made) :]:
                made.append(_remade(stages, segment, manifest.dtype, sample_every, memory, threads))
                stages.clock.leave()
                stages.save()
        except (FileNotFoundError, FormatError) as error:
            # A writer removes the segments that it has merged.
            if not changed(source, manifest):
                raise
            raise BuildError(
                f"index '{source}' was changed while it was converted ({error}); run the same "
                "command again with --restart, while nobody writes the index"
            ) from None
        stages.clock.enter("publish")
        after = replace(manifest, segments=tuple(made), kind=kind, sample_every=sample_every)
        report = BuildReport(
            path=out,
            formats={"everygram index": 1},
            num_documents=after.num_documents,
            num_tokens=after.num_tokens,
            skipped=0,
            skips=(),
            seconds=stages.clock.seconds,
            peak_bytes=peak.bytes,
            index_bytes=after.bytes,
        )
        fields = asdict(report)
        del fields["path"]
        finished = Done(begun.operation, begun.arguments, begun.inputs or [], fields)
        publish(out, after, tokenizer_json, finished)
        return report


def _reported(path: Path, given: Fields) -> BuildReport:
    """What a conversion reported that was killed before it could say so."""
    return BuildReport(
        path=path,
        formats={"everygram index": 1},
        num_documents=given.integer("num_documents"),
        num_tokens=given.integer("num_tokens"),
        skipped=0,
        skips=(),
        seconds=given.numbers("seconds"),
        peak_bytes=given.integer("peak_bytes"),
        index_bytes=given.integer("index_bytes"),
    )


def _remade(
    stages: Stages, old: Segment, dtype: str, sample_every: int, memory: int, threads: int
) -> fmt.SegmentEntry:
    """Make a segment of the same documents in the new index; returns its entry."""
    entry, clock = old.entry, stages.clock
    folder = stages.path / entry.name
    if folder.exists():  # of a run that was killed
        shutil.rmtree(folder)
    clock.enter("check")
    # Otherwise damaged data would get new checksums, and would count as sound ever after.
    files = checked(old, clock.report)
    folder.mkdir()
    sync_directory(stages.path)
    if entry.sign < 0 or entry.sample_every == sample_every:
        for name in entry.files:
            link(old.folder / name, folder / name)
        sync_directory(folder)
        return entry
    kept = {name: files[name] for name in KEPT if name in files}
    for name in kept:
        link(old.folder / name, folder / name)
    if entry.kind == fmt.SUFFIX_ARRAY_KIND:
        for name in PLAIN:
            link(old.folder / name, folder / name)
    else:
        clock.enter("plain")
        stages.check_space("reading a self-index", plain_bytes(old))
        write_plain(old, folder, memory, threads, clock.report)
    counts = entry.stream_len, entry.num_documents
    numbers: np.ndarray | int = entry.first_document
    if fmt.DOCUMENT_NUMBERS in entry.files:
        numbers = old.numbers_of(np.arange(entry.num_documents))
    if not sample_every:
        clock.enter("write")
        for name in PLAIN:
            with (folder / name).open("rb") as file:
                sync(file.fileno())
        kept[fmt.TOKENS] = _checksums(folder / fmt.TOKENS)
        return finish_segment(folder, dtype, *counts, kept, clock.report, numbers)
    clock.enter("compress")
    needed = self_index_bytes(*counts, sample_every) + entry.stream_len * LEFT_BYTES
    stages.check_space("compressing", needed)
    kept |= write_self_index(folder, dtype, *counts, sample_every, memory, threads, clock.report)
    clock.enter("write")
    return finish_self_index(folder, *counts, sample_every, kept, numbers)


def _checksums(path: Path) -> Written:
    """A file's checksums; it is read."""
    checksums = Checksums()
    for chunk in chunks(path):
        checksums.update(chunk)
    return checksums.result()
