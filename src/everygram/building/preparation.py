"""Makes what language models need beyond an index's own files (see `storage.prepared`)."""

import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from everygram import arguments
from everygram.arguments import Size
from everygram.building.stages import disk, resources
from everygram.durable import sync_directory
from everygram.errors import BuildError, DamagedIndexError
from everygram.progress import Clock, PeakMemory, Progress
from everygram.storage import format as fmt
from everygram.storage import prepared
from everygram.storage.directory import changed_index, open_segments
from everygram.storage.disk import (
    HashedFile,
    Written,
    write_array,
    wrong_files,
)
from everygram.storage.document_counts import encoded
from everygram.storage.lcps import (
    DAMAGED,
    STEP,
    Scratch,
    added_up,
    by_rank,
    measured_lcps,
    sample_documents,
    set_many,
)
from everygram.storage.plain import plain, plain_bytes
from everygram.storage.segment import Segment

# Disk space per token while it is made, and what may stay of it.
SPACE = 2.6
# Below this, there is memory for a number per id.
DENSE = 1 << 24


@dataclass(frozen=True)
class Preparation:
    """What `prepare` did.

    bytes: of what it made; nodes: n-grams whose continuations are counted there; longest_repeat:
    tokens, a document's start and end among them. seconds: the time of each stage; empty if it was
    made before. peak_bytes: as in `BuildReport`.
    """

    path: Path
    bytes: int
    nodes: int
    longest_repeat: int
    seconds: dict[str, float]
    peak_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"path": str(self.path)}


def prepare(
    index: str | os.PathLike[str],
    *,
    memory: Size | None = None,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Preparation:
    """Make what modified Kneser-Ney smoothing needs, once, in the folder of an index.

    The number of different tokens before any n-gram, and of its continuations by how often they
    occur; about half a byte per token. The next change of the index drops it. If it is there,
    nothing is done.

    memory, threads, progress: as in `build`. Raises BuildError for an index of several segments or
    with deleted documents (such counts do not add up: `compact` with `full` first),
    DamagedIndexError if a file does not match its checksum, and the errors of `open`.
    """
    memory, threads = resources(memory, threads)
    path = arguments.path("index", index)
    clock = Clock(arguments.function("progress", progress) or (lambda _: None))
    with disk(path), changed_index(path, "prepare") as (manifest, _, _), PeakMemory() as peak:
        if not manifest.segments:  # nothing to count
            return Preparation(path, 0, 0, 0, {}, 0)
        if len(manifest.segments) != 1 or manifest.segments[0].sign < 0:
            raise BuildError(prepared.not_one_segment(path, manifest))
        (entry,) = manifest.segments
        made = _present(path, entry)
        if made is None:
            (segment,) = open_segments(path, manifest)
            needed = int(entry.stream_len * SPACE) + plain_bytes(segment)
            if (free := shutil.disk_usage(path).free) < needed:
                raise BuildError(
                    f"no space left at '{path}': preparing it needs {needed / 1e6:,.1f} MB, "
                    f"{free / 1e6:,.1f} MB are free; free some, then run the same command again"
                )
            _make(path, segment, memory, threads, clock)
            made = prepared.open_prepared(path, entry, False)
        clock.leave()
    if made is None:
        raise BuildError(f"index '{path}' was changed while it was prepared; prepare it again")
    return Preparation(
        path,
        made.info.bytes,
        made.nodes.shape[0],
        made.info.longest_repeat,
        clock.seconds,
        peak.bytes,
    )


def _present(path: Path, entry: fmt.SegmentEntry) -> prepared.Prepared | None:
    """What is prepared already; None for what is damaged, which is made anew."""
    try:
        return prepared.open_prepared(path, entry, False)
    except DamagedIndexError:
        return None


def _make(path: Path, segment: Segment, memory: int, threads: int, clock: Clock) -> None:
    """Make the folder. Precondition: the index is locked."""
    folder = path / (fmt.LANGUAGE_MODEL + ".tmp")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        # Otherwise damaged data would be counted, and stay counted once it is restored.
        clock.enter("check")
        _check(segment, clock.report)
        clock.enter("prepare")
        arrays = plain(segment, path, memory, threads, clock.report)
        ends = _ends(segment, arrays[0])
        files, sweep = _written(folder, segment, arrays, ends, memory, threads, clock.report)
        info = prepared.PreparedInfo(
            prepared.name_of(segment.entry),
            ends,
            sweep.lefts,
            sweep.longest,
            prepared.LEAST,
            {name: file.entry for name, file in files.items()},
        )
        clock.enter("publish")
        prepared.write_info(folder, info)
        sync_directory(folder)
        shutil.rmtree(path / fmt.LANGUAGE_MODEL, ignore_errors=True)
        folder.rename(path / fmt.LANGUAGE_MODEL)
        sync_directory(path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _check(segment: Segment, progress: Callable[[int, int], None]) -> None:
    """Raise DamagedIndexError unless the segment's files match their checksums."""
    files = segment.entry.files
    total, done = sum(file.bytes for file in files.values()), 0

    def passed(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    for problem in wrong_files(segment.folder, files, passed):
        raise DamagedIndexError(f"{segment.folder}: {problem}; restore it or rebuild the index")


def _ends(segment: Segment, tokens: np.ndarray) -> int:
    """How many different tokens end documents; the separator for the empty ones."""
    ends = np.append(segment.document_offsets[1:], segment.stream_len).astype(np.int64) - 1
    return int(np.unique(tokens[ends]).shape[0])


def _written(
    folder: Path,
    segment: Segment,
    arrays: tuple[np.ndarray, np.ndarray],
    ends: int,
    memory: int,
    threads: int,
    progress: Callable[[int, int], None],
) -> tuple[dict[str, Written], "_Sweep"]:
    """Write the files. arrays: the segment's tokens and suffix array, as in `_Sweep`."""
    n = segment.stream_len
    nodes = HashedFile(folder / prepared.NODES)
    lefts = HashedFile(folder / prepared.LEFTS)
    try:
        sweep = _Sweep(segment, arrays, folder, nodes)
        for piece in encoded(sweep.repeats(memory, threads, progress), set_many, n):
            lefts.write(piece.data)
    except BaseException:
        nodes.abandon()
        lefts.abandon()
        raise
    written = {
        prepared.LEFTS: lefts.close(),
        prepared.NODES: nodes.close(),
        prepared.GUIDES: write_array(folder / prepared.GUIDES, sweep.guides),
        prepared.LEVELS: write_array(folder / prepared.LEVELS, sweep.levels(ends)),
    }
    return written, sweep


class _Sweep:
    """The pass over all ranks (see `kernels.contexts`)."""

    def __init__(
        self,
        segment: Segment,
        arrays: tuple[np.ndarray, np.ndarray],
        folder: Path,
        nodes: HashedFile,
    ) -> None:
        self._segment, self._folder, self._nodes = segment, folder, nodes
        self._tokens, self._suffix_array = arrays
        self._levels = np.zeros((2, 5, prepared.MOST_LEVELS + 2), np.int64)
        # (Counted per guide: how many nodes end in its ranks.)
        self.guides = np.zeros(segment.stream_len // prepared.GUIDED + 2, np.uint64)
        self._counted = np.zeros(segment.stream_len // prepared.GUIDED + 2, np.int64)
        # How many different tokens stand before others, and the tokens of the longest repeat.
        self.lefts = self.longest = 0

    def levels(self, ends: int) -> np.ndarray:
        """The content of levels.bin. ends: the count of the document's end."""
        counted = np.cumsum(self._levels[:, 1:, :], axis=2)[:, :, 1:-1]
        if ends <= counted.shape[1]:
            counted[0, ends - 1, 0] += 1
        # On the level past the longest repeat all n-grams occur once.
        most = min(self.longest + 1, prepared.MOST_LEVELS)
        return np.ascontiguousarray(counted[:, :, :most])

    def repeats(
        self, memory: int, threads: int, progress: Callable[[int, int], None]
    ) -> Iterator[np.ndarray]:
        """The repeats of left tokens of each rank, in pieces: int64."""
        n, folder = self._segment.stream_len, self._folder
        done = 0

        def passed(count: int) -> None:
            nonlocal done
            done += count
            progress(done // 2, n)

        with ThreadPoolExecutor(threads) as pool, Scratch(folder) as found:
            with Scratch(folder) as bits, Scratch(folder) as samples, Scratch(folder) as documents:
                measured = measured_lcps(
                    self._tokens,
                    self._suffix_array,
                    memory,
                    threads,
                    pool,
                    bits.write,
                    samples.write,
                    passed,
                )
                sample_documents(n, self._segment.document_offsets, documents.write)
                lcps = measured, bits.array(np.uint64), samples.array(np.int64)
                counted = found.reserve(n, np.uint8)
                sampled = documents.array(np.int64)
                ranks, more = self._swept(lcps, sampled, threads, pool, counted, passed)
            yield from added_up(counted, ranks, more)
        self.guides = np.cumsum(self._counted)[: n // prepared.GUIDED + 1].astype(np.uint64)

    def _swept(
        self,
        lcps: tuple[np.ndarray, np.ndarray, np.ndarray],
        sampled: np.ndarray,
        threads: int,
        pool: ThreadPoolExecutor,
        counted: np.ndarray,
        passed: Callable[[int], None],
    ) -> tuple[np.ndarray, np.ndarray]:
        """Set the repeats of each rank, `counted` (u8); returns what is to be added to them.

        That is ranks, int64, shape (k,), ascending (a rank may be there twice), and their repeats.
        Writes the nodes, and counts the levels.
        """
        from everygram.kernels import contexts as kernels
        from everygram.kernels.repeats import gather

        segment = self._segment
        sa, tokens, offsets = self._suffix_array, self._tokens, segment.document_offsets
        n, begins = segment.stream_len, segment.stream_len - segment.num_documents
        dtype = prepared.node_dtype(n)
        # Tokens by their ids or, if these are too many to have a place each, by their order.
        words = segment.unigrams_counted()[0][:-1]
        dense = not words.size or words[-1] < DENSE

        def read(first: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            part = sa[first : first + STEP]
            lcp, document, left, length = np.empty((4, part.shape[0]), np.int64)
            if not (
                gather(part, *lcps, sampled, offsets, lcp, document)
                and kernels.lefts_and_lengths(part, tokens, offsets, document, left, length)
            ):
                raise DamagedIndexError(DAMAGED)
            if not dense:
                left = np.searchsorted(words, left)
            if first <= begins < first + part.shape[0]:
                lcp[begins - first] = 0  # the first separator's, which is kept as 1
            return lcp, left, length

        with ExitStack() as scratch:
            # What grows with the longest repeat is no memory of the build's.
            def reserve(*shape: int) -> np.ndarray:
                return scratch.enter_context(Scratch(self._folder)).reserve(shape, np.int64)

            # The separator comes last.
            last = np.full((int(words[-1]) if dense and words.size else words.size) + 2, -1)
            columns = kernels.STACK_COLUMNS
            stack, top, before = np.empty((2 * STEP, columns), np.int64), 0, 0
            late = np.empty((n // 256 + 1, 2), np.int64)
            more = []
            ahead: deque[Future[tuple[np.ndarray, np.ndarray, np.ndarray]]] = deque()
            firsts = iter(range(0, n, STEP))
            for base in range(0, n, STEP):
                for first in firsts:
                    ahead.append(pool.submit(read, first))
                    if len(ahead) > 2 * threads:
                        break
                lcp, left, length = ahead.popleft().result()
                size = lcp.shape[0]
                self.longest = max(self.longest, int(lcp.max()))
                if base + size == n:  # what ends all nodes
                    lcp, left = np.append(lcp, -1), np.append(left, 0)
                if top + size + 1 > stack.shape[0]:
                    stack, smaller = reserve(2 * stack.shape[0], columns), stack
                    stack[:top] = smaller[:top]
                nodes = np.empty((top + size + 1, kernels.NODE_COLUMNS), np.int64)
                top, number, kept = kernels.sweep(
                    base,
                    begins,
                    lcp,
                    left,
                    length,
                    prepared.LEAST,
                    last,
                    stack,
                    top,
                    before,
                    counted,
                    late,
                    nodes,
                    self._levels,
                )
                before = int(length[-1])
                more.append(late[:number].copy())
                self._keep(nodes[:kept], dtype)
                passed(size)
        self.lefts = int(np.count_nonzero(last >= 0))
        return by_rank(more)

    def _keep(self, nodes: np.ndarray, dtype: Any) -> None:
        """Write nodes, and count them for the guides."""
        # A guide's rank is the last whose nodes it counts.
        np.add.at(self._counted, -(-nodes[:, 0] // prepared.GUIDED), 1)
        # (No depth that is cut here is one that anybody asks for: texts of 4 billion tokens.)
        largest = min(np.iinfo(dtype).max, np.iinfo(np.int64).max)
        self._nodes.write(np.minimum(nodes, largest).astype(dtype).data)
