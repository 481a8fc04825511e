"""Merges segments into one, without deleted documents; readers go on using the old segments.

Nothing is sorted again: without the deleted documents, a segment's suffix array is still sorted,
so the arrays are only merged.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from everygram import arguments
from everygram.arguments import Size
from everygram.building.external_sort import SortedRuns
from everygram.building.segment_builder import SegmentBuilder, write_documents
from everygram.building.stages import Stages, disk, kind_given, resources
from everygram.progress import PeakMemory, Progress
from everygram.storage import format as fmt
from everygram.storage.build_state import BuildState, Done
from everygram.storage.directory import (
    changed_index,
    check_files,
    free_segment,
    open_segments,
    publish,
)
from everygram.storage.fields import MOST, Fields
from everygram.storage.plain import plain, plain_bytes
from everygram.storage.segment import Segment

if TYPE_CHECKING:
    from everygram.building.stretches import Workers

# A segment is merged with all later segments if it has fewer than TIER times their tokens. So an
# index of n tokens has at most log₂(n) segments, and in the long run a token is rewritten at most
# log₂(n) times.
TIER = 2
# A segment is also merged with all later ones if more than this share of its tokens is deleted.
MOST_DELETED = 0.1


@dataclass(frozen=True)
class Compaction:
    """What a compaction did: segments before and after, and documents and tokens dropped for good.

    `index_bytes`: of all files afterwards. `freed_bytes`: how many more there were before.
    `seconds`: the time of each stage; empty if there was nothing to do. `peak_bytes`: as in
    `BuildReport`.
    """

    path: Path
    segments_before: int
    segments_after: int
    dropped_documents: int
    dropped_tokens: int
    freed_bytes: int
    index_bytes: int
    seconds: dict[str, float]
    peak_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"path": str(self.path)}


@dataclass(frozen=True)
class Part:
    """A segment, and which of its documents are deleted (bool, shape (D,))."""

    segment: Segment
    deleted: np.ndarray

    @property
    def numbers(self) -> np.ndarray:
        """The numbers of its documents: int64, shape (D,)."""
        return _numbers(self.segment)

    @property
    def gaps(self) -> np.ndarray:
        """Positions [start, end) of its deleted documents: int64, shape (G, 2)."""
        ends = np.append(self.segment.document_offsets.astype(np.int64), self.segment.stream_len)
        positions: np.ndarray = ends[stretches(self.deleted)]
        return positions

    @property
    def kept(self) -> int:
        """The number of tokens of its stream that are not deleted, separators included."""
        gaps = self.gaps
        return self.segment.stream_len - int((gaps[:, 1] - gaps[:, 0]).sum())

    @property
    def dropped_tokens(self) -> int:
        """The number of deleted tokens, without separators."""
        return self.segment.stream_len - self.kept - int(self.deleted.sum())


def compact(
    index: str | os.PathLike[str],
    *,
    full: bool = False,
    kind: str | None = None,
    sample_every: int | None = None,
    memory: Size | None = None,
    threads: int | None = None,
    restart: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Compaction:
    """Merge segments into one, without the documents that are deleted.

    A segment is merged, with all later ones, if it has less than twice the tokens of all later
    segments, or if more than a tenth of its tokens is deleted. So there are few segments, and
    tokens are rarely rewritten.

    full: merge all segments, drop every deleted document, and add the document counts that segments
        of older versions do not have (unless the index was built without). The one segment is of
        the index's kind.
    kind, sample_every: as in `build`: the index's from now on (default: what they are). If one is
        given, segments that are of another kind, or have other samples, are merged with all later
        ones.
    memory, threads, restart, progress: as in `build`. If a compaction was interrupted, run it
        again: it continues after the last finished stage, unless the index has changed.

    Answers stay the same, and documents keep their numbers. Readers go on using the old segments
    until they `refresh`; the disk space is freed once no reader has these segments open. Raises
    DamagedIndexError if a file does not match its checksum, BuildError, and the errors of `open`;
    the index is then unchanged. On several machines: `everygram.distributed.compact`.
    """
    return compact_by(
        None,
        index,
        full=full,
        kind=kind,
        sample_every=sample_every,
        memory=memory,
        threads=threads,
        restart=restart,
        progress=progress,
    )


def compact_by(
    workers: "Workers | None",
    index: str | os.PathLike[str],
    *,
    full: bool,
    kind: str | None,
    sample_every: int | None,
    memory: Size | None,
    threads: int | None,
    restart: bool,
    progress: Callable[[Progress], None] | None,
) -> Compaction:
    """As `compact`. workers: who merges suffix arrays (default: threads of this process)."""
    memory, threads = resources(memory, threads)
    full, restart = arguments.flag("full", full), arguments.flag("restart", restart)
    path = arguments.path("index", index)
    with (
        disk(path),
        changed_index(path, "compaction", restart) as (manifest, left, done),
        PeakMemory() as peak,
    ):
        every = kind_given(kind, sample_every, manifest.sample_every)
        asked = {"full": full, "kind": fmt.kind_of(every), "sample_every": every}
        if done is not None:
            answer = done.answer("compaction", asked, [], lambda report: _reported(path, report))
            if answer is not None:
                return answer
        segments = open_segments(path, manifest)
        negative = [segment for segment in segments if segment.entry.sign < 0]
        gone = _joined(map(_numbers, negative))
        parts = [
            Part(segment, np.isin(_numbers(segment), gone))
            for segment in segments
            if segment.entry.sign > 0
        ]
        before = manifest
        manifest = replace(manifest, kind=fmt.kind_of(every), sample_every=every)
        remade = full or kind is not None or manifest != before
        first = _first_merged(parts, full, remade, manifest)
        kept, merged = parts[:first], parts[first:]
        entries = [part.segment.entry for part in kept]
        given = {"segments": [segment.entry.name for segment in segments], **asked}
        stages = Stages(path, left, BuildState("compaction", given, []), progress)
        if merged:
            stages.state.folder = stages.state.folder or free_segment(path, manifest)
            made = _merge(stages, manifest, merged, memory, threads, workers)
            entries += [made] if made is not None else []
        still = _joined(part.numbers[part.deleted] for part in kept)
        if len(negative) > 1 or still.shape[0] < gone.shape[0]:
            if still.size:
                folder = path / free_segment(path, manifest)
                documents = _deleted_documents(kept)
                entries.append(
                    write_documents(
                        folder,
                        manifest.dtype,
                        documents,
                        memory,
                        threads,
                        sign=-1,
                        numbers=still,
                        document_counts=manifest.document_counts,
                    )
                )
        else:
            entries += [segment.entry for segment in negative]
        after = replace(manifest, segments=tuple(entries))
        names = [{entry.name for entry in of.segments} for of in (before, after)]
        changed = manifest != before or names[0] != names[1]
        if changed:
            stages.clock.enter("publish")
        index_bytes = after.bytes
        report = Compaction(
            path=path,
            segments_before=len(manifest.segments),
            segments_after=len(after.segments),
            dropped_documents=gone.shape[0] - still.shape[0],
            dropped_tokens=sum(part.dropped_tokens for part in merged),
            freed_bytes=manifest.bytes - index_bytes,
            index_bytes=index_bytes,
            seconds=stages.clock.seconds,
            peak_bytes=peak.bytes,
        )
        if changed:
            fields = asdict(report)
            del fields["path"]
            publish(path, after, None, Done("compaction", asked, [], fields))
        stages.clock.leave()
        return report


def _reported(path: Path, given: Fields) -> Compaction:
    """What a compaction reported that was killed before it could say so."""
    with given as fields:
        return Compaction(
            path=path,
            segments_before=fields.integer("segments_before"),
            segments_after=fields.integer("segments_after"),
            dropped_documents=fields.integer("dropped_documents"),
            dropped_tokens=fields.integer("dropped_tokens"),
            freed_bytes=fields.integer("freed_bytes", -MOST),
            index_bytes=fields.integer("index_bytes"),
            seconds=fields.numbers("seconds"),
            peak_bytes=fields.integer("peak_bytes"),
        )


def _first_merged(parts: list[Part], full: bool, remade: bool, manifest: fmt.Manifest) -> int:
    """The index of the first part that is merged, with all later ones; len(parts) if none is.

    remade: whether parts are merged that are of another kind than the manifest says.
    """
    sizes = [part.kept for part in parts]
    for first, part in enumerate(parts):
        share = 1 - sizes[first] / part.segment.stream_len
        tiers = sizes[first] < TIER * sum(sizes[first + 1 :])
        last = first + 1 == len(parts)
        other = part.segment.entry.sample_every != manifest.sample_every
        counted = part.segment.document_counts is not None or not manifest.document_counts
        done = last and not share and counted and not other
        if share > MOST_DELETED or tiers or (full and not done) or (remade and other):
            return first
    return len(parts)


def _merge(
    stages: Stages,
    manifest: fmt.Manifest,
    parts: list[Part],
    memory: int,
    threads: int,
    workers: "Workers | None",
) -> fmt.SegmentEntry | None:
    """Make one segment of the documents of `parts` that are not deleted; None if all are."""
    clock = stages.clock
    clock.enter("check")
    total = sum(file.bytes for part in parts for file in part.segment.entry.files.values())
    done = 0

    def checked(count: int) -> None:
        nonlocal done
        done += count
        clock.report(done, total)

    # Otherwise damaged data would get new checksums, and would count as sound ever after.
    check_files((part.segment for part in parts), checked)
    numbers = _joined(part.numbers[~part.deleted] for part in parts)
    given = merging(stages, parts, manifest.dtype, memory, threads, workers)
    return stages.make_segment(*given, numbers, manifest.document_counts, manifest.sample_every)


def merging(
    stages: Stages,
    parts: list[Part],
    dtype: str,
    memory: int,
    threads: int,
    workers: "Workers | None" = None,
) -> tuple[SegmentBuilder, Callable[[SegmentBuilder], None], int]:
    """What `Stages.make_segment` takes to merge parts, none of them of infini-gram's: a builder,
    what reads, and the least bytes that this writes."""
    clock, arrays = stages.clock, _arrays(stages, parts, memory, threads)
    runs = SortedRuns(
        stages.folder,
        [suffix_array for _, suffix_array in arrays],
        [part.gaps for part in parts],
    )
    kept = sum(part.kept for part in parts)

    def read(builder: SegmentBuilder) -> None:
        writer = builder.writer
        for part, (tokens, _) in zip(parts, arrays, strict=True):
            for first, last in stretches(~part.deleted).tolist():
                builder.copy(part.segment, tokens, first, last)
                clock.documents, clock.tokens = writer.num_documents, writer.stream_len
                clock.report(writer.stream_len, kept)

    builder = SegmentBuilder(stages.folder, dtype, memory, threads, runs, workers)
    return builder, read, kept * fmt.TOKEN_DTYPES[dtype].itemsize


def _arrays(
    stages: Stages, parts: list[Part], memory: int, threads: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The tokens and the suffix array of each part; none once they are merged."""
    segments = [part.segment.own for part in parts]
    if stages.state.merged:
        return []
    if needed := sum(map(plain_bytes, segments)):
        stages.clock.enter("plain")
        stages.check_space("reading a self-index", needed)
    report = stages.clock.report
    return [plain(segment, stages.path, memory, threads, report) for segment in segments]


def _deleted_documents(parts: list[Part]) -> Iterator[tuple[np.ndarray, bytes]]:
    """The deleted documents of `parts`, by number, as a segment of sign −1 contains them."""
    for part in parts:
        for local in np.flatnonzero(part.deleted).tolist():
            start, end = part.segment.document_bounds(local)
            yield part.segment.text(start, end), b"{}"


def _numbers(segment: Segment) -> np.ndarray:
    return segment.numbers_of(np.arange(segment.num_documents))


def _joined(numbers: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0, np.int64), *numbers])


def stretches(chosen: np.ndarray) -> np.ndarray:
    """[first, last) of each run of chosen places (bool): int64, shape (K, 2)."""
    edges = np.flatnonzero(np.diff(chosen, prepend=False, append=False))
    return edges.reshape(-1, 2)
