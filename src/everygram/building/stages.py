"""Makes a segment in stages: read, sort, merge, count, write. Finished stages are not repeated.

Knows how a killed build is resumed; does not know where documents come from.
"""

import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil

from everygram.arguments import Size, function, integer, natural, short, size
from everygram.building.segment_builder import SegmentBuilder
from everygram.durable import sync_directory
from everygram.errors import BuildError, OptionError
from everygram.progress import Clock, Progress
from everygram.storage import format as fmt
from everygram.storage.build_state import BuildState, Unsorted
from everygram.storage.disk import map_file

# The default memory limit of a build, as a share of free memory.
MEMORY_SHARE = 0.5
# Disk space per token while documents are counted: 1.5 bytes for a while, and the counts.
COUNTING_BYTES = 1.76
# Bytes per token of what a self-index has in place of tokens and suffixes, without its samples.
COMPRESSED_BYTES = 1.2
# Disk space per token while a self-index is made, at most: the token before each suffix.
LEFT_BYTES = 4
# More than any machine has processors.
MOST_THREADS = 1 << 12


class Stages:
    """The finished stages of one change of an index (`state`), and the making of its segment."""

    def __init__(
        self,
        path: Path,
        left: BuildState | None,
        begun: BuildState,
        progress: Callable[[Progress], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Continue from the state that an interrupted change has `left`, or begin with `begun`.

        clock: of a run that has other stages, too. Raises BuildError if `left` is of another
        change, or if the inputs have changed.
        """
        self.path = path
        self.clock = clock or Clock(function("progress", progress) or (lambda _: None))
        self.state = left or begun
        if difference := _difference(self.state, begun):
            raise BuildError(
                f"'{path}' holds an interrupted {self.state.operation}{difference}: run it again "
                "as it was to finish it, or discard it with --restart"
            )
        if clock is None:
            self.clock.seconds.update(self.state.seconds)

    @property
    def folder(self) -> Path:
        """The folder of the segment."""
        return self.path / str(self.state.folder)

    def save(self) -> None:
        """Write down the finished stages: a killed change can be resumed from here.

        Without inputs that another run can compare with its own, nothing is written.
        """
        if self.state.inputs is None:
            return
        self.state.seconds = self.clock.seconds
        self.state.write(self.path)

    def check_space(self, stage: str, needed: int) -> None:
        """Raise BuildError if the disk has no room for the `needed` bytes of the next stage."""
        free = shutil.disk_usage(self.path).free
        if free < needed:
            raise BuildError(
                f"no space left at '{self.path}': {stage} needs {needed / 1e6:,.1f} MB, "
                f"{free / 1e6:,.1f} MB are free; free some, then run the same command again"
            )

    def make_segment(
        self,
        builder: SegmentBuilder,
        read: Callable[[SegmentBuilder], None],
        at_least: int,
        numbers: np.ndarray | int,
        document_counts: bool,
        sample_every: int,
    ) -> fmt.SegmentEntry | None:
        """Do all stages but those that are finished; None if there are no documents.

        builder: for the segment's folder. read: adds the documents to the builder. at_least: a
        lower bound for the bytes that `read` writes. numbers: as in `finish_segment`.
        document_counts: whether the segment gets its file of these. sample_every: positions per
        sample of a self-index; 0: a segment with a suffix array.
        """
        state, clock = self.state, self.clock
        unsorted = self.sort_segment(builder, read, at_least)
        if unsorted is None:
            return None
        stream_len = unsorted.stream_len
        if document_counts and state.counted is None:
            clock.enter("count")
            self.check_space("counting documents", int(stream_len * COUNTING_BYTES))
            state.counted = builder.count(unsorted, clock.report)
            self.save()
        if not sample_every:
            clock.enter("write")
            return builder.finish(unsorted, state.counted, numbers, clock.report)
        if state.compressed is None:
            clock.enter("compress")
            needed = self_index_bytes(stream_len, unsorted.num_documents, sample_every)
            self.check_space("compressing", needed + stream_len * LEFT_BYTES)
            state.compressed = builder.compress(unsorted, sample_every, clock.report)
            self.save()
        clock.enter("write")
        return builder.finish_self_index(
            unsorted, state.counted, numbers, sample_every, state.compressed
        )

    def sort_segment(
        self,
        builder: SegmentBuilder,
        read: Callable[[SegmentBuilder], None],
        at_least: int,
        reading: str = "read",
    ) -> Unsorted | None:
        """Do the stages up to a segment's suffix array, but those that are finished; None if there
        are no documents. As in `make_segment`; reading: what the first stage is called."""
        state, clock = self.state, self.clock
        with builder:
            if state.segment is None:
                clock.enter(reading)
                self.check_space("reading", at_least)
                self._read(builder, read)
            else:
                self._check_left(builder.dtype)
                builder.sorter.resume(state.cuts, state.blocks)
            if state.segment is None:
                return None
            clock.tokens = stream_len = state.segment.stream_len
            clock.documents = state.segment.num_documents
            if not state.merged:
                self._sort(builder, stream_len)
        if not state.merged:
            if state.blocks:
                clock.enter("merge")
            builder.merge(stream_len, state.blocks, clock.report)
            state.merged = True
            self.save()
        return state.segment

    def _check_left(self, dtype: str) -> None:
        """Raise BuildError if the files of the interrupted change do not fit its state.

        (Merging does not check positions, and follows wrong ones out of memory.)
        """
        state = self.state
        assert state.segment is not None
        size = state.segment.stream_len * fmt.TOKEN_DTYPES[dtype].itemsize
        fit = state.segment.files[fmt.TOKENS].entry.bytes == size
        if state.blocks and not state.merged:
            runs = map_file(self.folder / fmt.RUNS, fmt.POSITION, state.blocks[-1].end)
            fit &= all(
                int(runs[block.start : block.end].max()) < block.end - block.start
                for block in state.blocks
            )
        if not fit:
            over = "remove the folder" if state.operation == "sorting" else "use --restart"
            raise BuildError(
                f"'{self.path}' holds an interrupted {state.operation} whose files were damaged: "
                f"{over} to start over"
            )

    def _read(self, builder: SegmentBuilder, read: Callable[[SegmentBuilder], None]) -> None:
        """Write the files that need no sorting; none if there are no documents."""
        if self.folder.exists():
            shutil.rmtree(self.folder)
        builder.begin()
        read(builder)
        unsorted = builder.end()
        if unsorted.num_documents == 0:
            shutil.rmtree(self.folder)
            return
        sync_directory(self.folder)
        self.state.segment, self.state.cuts = unsorted, builder.sorter.cuts
        self.save()

    def _sort(self, builder: SegmentBuilder, stream_len: int) -> None:
        """Sort the blocks of a stream, if it has blocks; the state is saved after each block."""
        self.clock.enter("sort")
        to_write = stream_len * (fmt.position_bytes(stream_len) + 1)
        spilled = stream_len * fmt.POSITION.itemsize if builder.sorter.spills else 0
        self.check_space("sorting", to_write + spilled)
        blocks = []
        for block in builder.sorter.sorted_blocks():
            blocks.append(block)
            if len(blocks) > len(self.state.blocks):
                self.state.blocks = list(blocks)
                self.save()
            self.clock.report(block.end, stream_len)


def _difference(left: BuildState, begun: BuildState) -> str:
    """How a change that was interrupted is another than one that has begun; "" if it is not."""
    if left.operation != begun.operation:
        corpus = left.arguments.get("corpus")
        return f" of {_names(corpus)}" if isinstance(corpus, list) and corpus else ""
    if left.arguments != begun.arguments:
        before, now = left.arguments, begun.arguments
        differing = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        each = [f"{n} {short(before.get(n))}, now {short(now.get(n))}" for n in differing]
        return f" with other arguments ({'; '.join(each)})"
    if left.inputs != begun.inputs:
        # (A file that nobody has checked may hold anything.)
        files = [
            {
                str(each[0]): each[1:]
                for each in state.inputs or ()
                if isinstance(each, list) and each
            }
            for state in (left, begun)
        ]
        changed = [n for n in {**files[0], **files[1]} if files[0].get(n) != files[1].get(n)]
        return f" with other inputs (changed: {_names(changed)})"
    return ""


def _names(names: Sequence[object]) -> str:
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join(f"'{name}'" for name in names[:3]) + more


def self_index_bytes(stream_len: int, num_documents: int, sample_every: int) -> int:
    """About how many bytes a self-index has in place of tokens and suffixes."""
    samples = 2 * -(-stream_len // sample_every) + num_documents
    return int(stream_len * COMPRESSED_BYTES) + samples * fmt.position_bytes(stream_len)


def kind_given(kind: str | None, sample_every: int | None, default: int = 0) -> int:
    """The `sample_every` of the kind of segment that a caller names; 0: a suffix array.

    default: that of the kind if none is named. Raises OptionError.
    """
    if kind is not None and not (isinstance(kind, str) and kind in fmt.KINDS):
        raise OptionError(f"kind: expected one of {', '.join(fmt.KINDS)}, found {short(kind)}")
    kind = kind or fmt.kind_of(default)
    if sample_every is None:
        return 0 if kind == fmt.SUFFIX_ARRAY_KIND else default or fmt.SAMPLE_EVERY
    every = integer("sample_every", sample_every)
    if kind == fmt.SUFFIX_ARRAY_KIND:
        raise OptionError(
            f"sample_every: goes with kind {fmt.SELF_INDEX_KIND}, not with {kind}: leave it out"
        )
    if not 1 <= every <= fmt.MOST_SAMPLE_EVERY:
        raise OptionError(
            f"sample_every: expected an integer from 1 to {fmt.MOST_SAMPLE_EVERY:,}, found {every}"
        )
    return every


def resources(memory: Size | None, threads: int | None) -> tuple[int, int]:
    """Memory (bytes) and threads to use: the given values, or the defaults for this machine."""
    given = size("memory", memory)
    if given is None:
        given = int(MEMORY_SHARE * psutil.virtual_memory().available)
    if threads is None:
        threads = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return given, min(natural("threads", threads, 1), MOST_THREADS)


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Turn an OSError of the disk under `path` into a BuildError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise BuildError(f"cannot write '{path}': {error}") from error
        raise BuildError(
            f"no space left at '{path}' ({error.strerror}); free some, then run the same command "
            "again"
        ) from None
