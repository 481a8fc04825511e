"""A segment on its way, in stages: read, sort, merge, write. What is finished is not done again.

Knows how a killed writer goes on; not where its documents come from.
"""

import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil

from everygram.building.segment_builder import SegmentBuilder
from everygram.errors import BuildError, OptionError
from everygram.progress import Clock, Progress
from everygram.storage import format as fmt
from everygram.storage.build_state import BuildState
from everygram.storage.disk import sync_directory

# The share of the memory that is free which a writer takes unless told otherwise.
MEMORY_SHARE = 0.5


class Stages:
    """What one change of an index has finished (`state`), and the making of its segment."""

    def __init__(
        self,
        path: Path,
        left: BuildState | None,
        begun: BuildState,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        """Go on from what an interrupted change has `left`, or begin.

        Raises BuildError if that was another change, or its inputs have changed.
        """
        self.path = path
        self.clock = Clock(progress or (lambda _: None))
        self.state = left or begun
        for name in ("operation", "arguments", "inputs"):
            if getattr(self.state, name) != getattr(begun, name):
                raise BuildError(
                    f"'{path}' holds an interrupted {self.state.operation} with other {name}: run "
                    "it again as it was, or start over with --restart"
                )
        self.clock.seconds.update(self.state.seconds)

    @property
    def folder(self) -> Path:
        """The segment's."""
        return self.path / str(self.state.folder)

    def save(self) -> None:
        """Note what is finished: a change that is killed goes on from here."""
        self.state.seconds = self.clock.seconds
        self.state.write(self.path)

    def check_space(self, stage: str, needed: int) -> None:
        """Raise BuildError, before a stage begins, if the disk cannot hold what it writes."""
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
    ) -> fmt.SegmentEntry | None:
        """Read, sort, merge and write, each unless it is done; None if there are no documents.

        builder: of the segment's folder. read: gives it the documents. at_least: bytes that
        reading them writes. numbers: as `finish_segment`.
        """
        state, clock = self.state, self.clock
        with builder:
            if state.segment is None:
                clock.enter("read")
                self.check_space("reading", at_least)
                self._read(builder, read)
            else:
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
        clock.enter("write")
        return builder.finish(state.segment, numbers, clock.report)

    def _read(self, builder: SegmentBuilder, read: Callable[[SegmentBuilder], None]) -> None:
        """Write what needs no sorting; nothing if there are no documents."""
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
        """Sort the blocks of a stream that has some; each that is sorted is noted."""
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


def resources(memory: int | None, threads: int | None) -> tuple[int, int]:
    """The bytes and the threads to use: those given, or what the machine has to spare."""
    for name, value in (("memory", memory), ("threads", threads)):
        if value is not None and value < 1:
            raise OptionError(f"{name}: expected 1 or more, found {value}")
    if memory is None:
        memory = int(MEMORY_SHARE * psutil.virtual_memory().available)
    if threads is None:
        threads = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return memory, threads


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """What the disk under `path` refuses becomes a BuildError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise BuildError(f"cannot write '{path}': {error}") from error
        raise BuildError(
            f"no space left at '{path}' ({error.strerror}); free some, then run the same command "
            "again"
        ) from None
