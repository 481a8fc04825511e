"""A segment on its way, in stages: read, sort, merge, write. What is finished is not done again.

Knows how a segment is made and how a killed writer goes on; not where its documents come from.
"""

import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from everygram.building.external_sort import (
    Block,
    BlockSorter,
    Cut,
    SortedRuns,
    remove_runs,
    write_suffix_array,
)
from everygram.errors import BuildError, OptionError
from everygram.progress import Clock, Progress
from everygram.storage import format as fmt
from everygram.storage.directory import write_build_state
from everygram.storage.disk import fsync_directory
from everygram.storage.segment_writer import SegmentWriter, finish_segment

# The share of the memory that is free which a writer takes unless told otherwise.
MEMORY_SHARE = 0.5


class Stages:
    """What one change of an index has finished, and the making of its segment.

    `state`, as JSON values in the index's folder: the "operation", its "arguments" and "inputs";
    the "folder" of the segment; the hash of the "tokenizer" file, and whether it was "trained";
    once the documents are read "segment" (counts and files), "cuts", "skipped", "skips"; "blocks"
    sorted so far; "merged".
    """

    def __init__(
        self,
        path: Path,
        left: dict[str, Any] | None,
        operation: str,
        arguments: dict[str, Any],
        inputs: list[Any],
        progress: Callable[[Progress], None] | None,
    ) -> None:
        """Go on from what an interrupted change has `left`, or begin.

        Raises BuildError if that was another change, or its inputs have changed.
        """
        self.path = path
        self.clock = Clock(progress or (lambda _: None))
        asked = {"operation": operation, "arguments": arguments, "inputs": inputs}
        self.state = left or {
            **asked,
            "folder": None,
            "tokenizer": None,
            "trained": False,
            "segment": None,
            "cuts": [],
            "skipped": 0,
            "skips": [],
            "blocks": [],
            "merged": False,
            "seconds": {},
        }
        for name, now in asked.items():
            if self.state.get(name) != now:
                raise BuildError(
                    f"'{path}' holds an interrupted {self.state.get('operation', 'change')} with "
                    f"other {name}: run it again as it was, or start over with --restart"
                )
        self.clock.seconds.update(self.state["seconds"])

    @property
    def folder(self) -> Path:
        """The segment's."""
        return self.path / str(self.state["folder"])

    def save(self) -> None:
        """Note what is finished: a change that is killed goes on from here."""
        write_build_state(self.path, self.state | {"seconds": self.clock.seconds})

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
        sorter: BlockSorter | SortedRuns,
        read: Callable[[SegmentWriter], None],
        at_least: int,
        dtype: str,
        memory: int,
        threads: int,
        numbers: np.ndarray | int,
    ) -> fmt.SegmentEntry | None:
        """Read, sort, merge and write, each unless it is done; None if there are no documents.

        sorter: of the segment's folder. read: gives the documents to the writer, and their places
        to the sorter. at_least: bytes that reading them writes. numbers: as `finish_segment`.
        """
        state, clock = self.state, self.clock
        folder = self.folder
        if state["segment"] is None:
            clock.enter("read")
            self.check_space("reading", at_least)
            if not self._read(dtype, sorter, read):
                return None
        else:
            sorter.resume(
                [Cut(**cut) for cut in state["cuts"]],
                [Block(**block) for block in state["blocks"]],
            )
        segment = state["segment"]
        stream_len = clock.tokens = segment["stream_len"]
        clock.documents = segment["num_documents"]
        if not state["merged"]:
            clock.enter("sort")
            to_write = stream_len * (fmt.position_bytes(stream_len) + 1)
            spilled = stream_len * fmt.POSITION.itemsize if sorter.spills else 0
            blocks = []
            try:
                self.check_space("sorting", to_write + spilled)
                for block in sorter.sorted_blocks():
                    blocks.append(block)
                    state["blocks"] = [asdict(block) for block in blocks]
                    self.save()
                    clock.report(block.end, stream_len)
            finally:
                sorter.abort()
            if blocks:
                clock.enter("merge")
            write_suffix_array(folder, dtype, stream_len, blocks, memory, threads, clock.report)
            state["merged"] = True
            self.save()
        remove_runs(folder)  # not before it is noted that they are merged
        clock.enter("write")
        files = {name: fmt.FileEntry(**file) for name, file in segment["files"].items()}
        num_documents = segment["num_documents"]
        return finish_segment(
            folder, dtype, stream_len, num_documents, files, clock.report, numbers
        )

    def _read(
        self,
        dtype: str,
        sorter: BlockSorter | SortedRuns,
        read: Callable[[SegmentWriter], None],
    ) -> bool:
        """Write what needs no sorting; whether there were documents."""
        folder = self.folder
        if folder.exists():
            shutil.rmtree(folder)
        writer = SegmentWriter(folder, dtype)
        try:
            read(writer)
            files = writer.close()
            sorter.end()
            if writer.num_documents == 0:
                shutil.rmtree(folder)
                return False
            fsync_directory(folder)
            self.state["cuts"] = [asdict(cut) for cut in sorter.cuts]
            self.state["segment"] = {
                "num_documents": writer.num_documents,
                "stream_len": writer.stream_len,
                "files": {name: asdict(file) for name, file in files.items()},
            }
            self.save()
        except BaseException:
            # Nothing goes on in a folder that may be removed now.
            sorter.abort()
            writer.abort()
            raise
        return True


def write_documents(
    folder: Path,
    dtype: str,
    documents: Iterable[tuple[np.ndarray, bytes]],
    memory: int,
    threads: int,
    sign: int,
    numbers: np.ndarray,
) -> fmt.SegmentEntry:
    """Write a segment of documents (ids, metadata) of these numbers, at least one."""
    writer = SegmentWriter(folder, dtype)
    sorter = BlockSorter(folder, dtype, memory, threads)
    try:
        for ids, metadata in documents:
            start = writer.stream_len
            writer.add(ids, metadata)
            sorter.advance(start, writer.stream_len, writer.flush)
        files, length = writer.close(), writer.stream_len
        sorter.end()
        blocks = list(sorter.sorted_blocks())
    except BaseException:
        writer.abort()
        raise
    finally:
        sorter.abort()
    write_suffix_array(folder, dtype, length, blocks, memory, threads, _unseen)
    remove_runs(folder)
    return finish_segment(folder, dtype, length, numbers.shape[0], files, _unseen, numbers, sign)


def _unseen(done: int, total: int) -> None:
    """Progress that nobody is shown."""


def resources(memory: int | None, threads: int | None) -> tuple[int, int]:
    """The bytes and the threads to use: those given, or what the machine has to spare."""
    for name, value in (("memory", memory), ("threads", threads)):
        if value is not None and value < 1:
            raise OptionError(f"{name}: expected 1 or more, found {value}")
    if memory is None:
        memory = int(MEMORY_SHARE * psutil.virtual_memory().available)
    if threads is None:
        threads = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    # The threads of tokenizers and of fastokens, fixed when they are first used.
    for name in ("RAYON_NUM_THREADS", "FASTOKENS_BPE_THREADS"):
        os.environ.setdefault(name, str(threads))
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
