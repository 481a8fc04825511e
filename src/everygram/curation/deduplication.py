"""Writes the documents of an index without what repeats: `deduplicate`."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from itertools import chain

import numpy as np

from everygram import arguments
from everygram.arguments import Size
from everygram.building.export import (
    FORMATS,
    JSONL,
    Document,
    check_new_folder,
    records,
    write_infini_gram,
)
from everygram.building.segment_builder import SegmentBuilder
from everygram.building.stages import disk, resources
from everygram.building.tokenize import REPORT_EVERY, encoded
from everygram.corpus.documents import TextDocument
from everygram.corpus.writing import check_new, write_records
from everygram.curation.duplicates import ids_of, within
from everygram.curation.opened import Given, opened
from everygram.curation.repeats import Question, find
from everygram.curation.stream import SortedStream, sort, sorted_stream, stream_of
from everygram.curation.work import Work, digest_of, work_on
from everygram.errors import BuildError, OptionError
from everygram.index import Index
from everygram.passages import DocumentText
from everygram.progress import Clock, PeakMemory, Progress
from everygram.results.duplicates import Deduplication

PathLike = str | os.PathLike[str]
# What is kept of a pass: the ranges that it strikes, how many of them and of their tokens were
# struck up to it, and which documents it leaves.
RANGES, SUMS, NUMBERS = "ranges", "sums", "numbers"


def deduplicate(
    index: Given,
    out: PathLike,
    min_length: int = 50,
    *,
    unit: str = "tokens",
    keep_first: bool = False,
    bridge: int = 0,
    min_left: int = 1,
    format: str = JSONL,
    text_field: str | None = None,
    work_dir: PathLike | None = None,
    memory: Size | None = None,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Deduplication:
    """Write the documents of an index, without the ranges of `duplicates`, as `export` would.

    What is left of a text is encoded anew, and passes go on until no n-gram repeats: an index built
    from the file with the same tokenizer has no `duplicates` for the same min_length and unit. (If
    encoding the texts again gives their ids: that is so wherever `build` read texts.)

    index: an open index or union, a path, or a list of paths: their union, whose documents are
        written one index after another.
    out: a new file: .jsonl, .jsonl.gz, .jsonl.zst, .jsonl.xz or .jsonl.bz2; or a new folder.
    min_length, unit, keep_first, bridge: as in `duplicates`. Characters that a range has a part of
        are left out whole. Without keep_first every copy of a repeat is struck.
    min_left: a document of which something was struck and fewer tokens are left is left out.
    format: "jsonl", or "infini-gram": a folder as `export_infini_gram` makes it.
    text_field: as in `export`, of JSON lines.
    work_dir: as in `duplicates`. Each finished pass is kept there, too, until `out` is written.
    memory, threads, progress: as in `build`. The disk of temporary files, or of `work_dir`, holds
        up to 31 bytes per token.

    Raises as `duplicates` and `export` do, and BuildError where what repeats spells no text, or
    where nothing is left for infini-gram.
    """
    question = Question.of(min_length, unit, keep_first, bridge)
    min_left = arguments.natural("min_left", min_left)
    if not (isinstance(format, str) and format in FORMATS):
        raise OptionError(
            f"format: expected one of {', '.join(FORMATS)}, found {arguments.short(format)}"
        )
    if text_field is not None:
        arguments.string("text_field", text_field)
        if format != JSONL:
            raise OptionError(f"text_field: goes with format {JSONL}, found {format}: leave it out")
    limit, threads = resources(memory, threads)
    clock = Clock(arguments.function("progress", progress) or (lambda _: None))
    path = arguments.path("out", out)
    (check_new if format == JSONL else check_new_folder)(path)
    folder = None if work_dir is None else arguments.path("work_dir", work_dir)
    with opened(index) as asked, PeakMemory() as peak, work_on(asked, folder, clock) as files:
        first = sorted_stream(asked, files, limit, threads)
        asks = [*asdict(question).values(), min_left]
        passes = _Passes(asked, question, min_left, files.inner("struck", digest_of(asks)))
        left = passes.run(first, limit, threads)
        tokens = left.tokens.shape[0] - left.offsets.shape[0]
        changed: list[int] = []
        documents = _documents(asked, left, changed)
        with disk(path):
            if format == JSONL:
                clock.enter("export")
                given = asked.engine, asked._state.reading.tokenizer, text_field
                write_records(path, records(documents, *given))
            else:
                if not left.offsets.shape[0]:
                    raise BuildError(
                        "nothing is left of any document: infini-gram opens no index without one"
                    )
                manifest = asked.manifest
                write_infini_gram(documents, tokens, manifest, path, limit, threads, clock)
        passes.forget()
        clock.leave()
    return Deduplication(
        path=path,
        passes=passes.number,
        documents=first.offsets.shape[0],
        tokens=first.tokens.shape[0] - first.offsets.shape[0],
        struck_ranges=passes.struck_ranges,
        struck_tokens=passes.struck_tokens,
        dropped_documents=first.offsets.shape[0] - left.offsets.shape[0],
        changed_documents=len(changed),
        num_documents=left.offsets.shape[0],
        num_tokens=tokens,
        seconds=clock.seconds,
        peak_bytes=peak.bytes,
    )


class _Passes:
    """Looks for repeats and strikes them, pass after pass, until there are none."""

    def __init__(self, index: Index, question: Question, min_left: int, work: Work) -> None:
        """work: the folder for this question, and this index."""
        self._engine, self._reading = index.engine, index._state.reading
        self._dtype, self._rule = index.manifest.dtype, question.rule(index._state.reading)
        self._min_left, self._work, self._clock = min_left, work, work.clock
        self.number = self.struck_ranges = self.struck_tokens = 0

    def run(self, stream: SortedStream, memory: int, threads: int) -> SortedStream:
        """What is left of a stream in the end."""
        stream = self._resumed() or stream
        while True:
            self.number += 1
            work = self._work.folder(str(self.number))
            found = work.kept(RANGES)
            if found is None:
                self._clock.enter("repeats")
                found = find(stream, self._rule, threads, self._clock.report).positions
                work.keep(RANGES, found)
            positions = found.reshape(-1, 2)
            if not positions.shape[0]:
                return stream
            self.struck_ranges += positions.shape[0]
            self.struck_tokens += int((positions[:, 1] - positions[:, 0]).sum())
            work.keep(SUMS, np.array([self.struck_ranges, self.struck_tokens]))
            stream = self._struck(work, stream, positions, memory, threads)
            # (The pass before is of no more use: its files would take as much disk again.)
            shutil.rmtree(self._work.path / str(self.number - 1), ignore_errors=True)

    def forget(self) -> None:
        """Remove what was made."""
        shutil.rmtree(self._work.path)

    def _resumed(self) -> SortedStream | None:
        """What the last pass that a killed run finished has left."""
        done = [int(each.name) for each in self._work.path.iterdir() if each.name.isdigit()]
        for number in sorted(done, reverse=True):
            work = self._work.folder(str(number))
            stages, sums, numbers = work.stages("sorted"), work.kept(SUMS), work.kept(NUMBERS)
            if stages.state.merged and sums is not None and numbers is not None:
                self.number = number
                self.struck_ranges, self.struck_tokens = sums.tolist()
                self._clock.documents = numbers.shape[0]
                return stream_of(stages, self._dtype, numbers)
        return None

    def _struck(
        self, work: Work, stream: SortedStream, positions: np.ndarray, memory: int, threads: int
    ) -> SortedStream:
        """What is left of a stream without ranges, sorted again."""
        stages = work.stages("sorted")
        if work.kept(NUMBERS) is None and stages.state.segment is not None:  # damaged
            shutil.rmtree(stages.path)
            stages = work.stages("sorted")

        def read(builder: SegmentBuilder) -> None:
            kept: list[int] = []
            for number, ids in self._left(stream, positions, threads):
                builder.add(ids, b"{}")
                kept.append(number)
                if len(kept) % REPORT_EVERY == 0:
                    self._clock.report(builder.writer.stream_len, stream.tokens.shape[0])
            work.keep(NUMBERS, np.array(kept, np.int64))

        builder = SegmentBuilder(stages.folder, self._dtype, memory, threads)
        left = sort(stages, self._dtype, stream.numbers, builder, read, 0, "strike")
        numbers = work.kept(NUMBERS)
        assert numbers is not None
        return replace(left, numbers=numbers)

    def _left(
        self, stream: SortedStream, positions: np.ndarray, threads: int
    ) -> Iterator[tuple[int, np.ndarray]]:
        """The numbers and ids of documents, without the ranges at these positions."""
        local, starts, ends = within(stream, positions)
        changed = np.unique(local)
        pieces = np.searchsorted(local, [*changed.tolist(), stream.offsets.shape[0]])
        reading = self._reading

        def texts() -> Iterator[TextDocument]:
            for place, document in enumerate(changed.tolist()):
                inside = slice(pieces[place], pieces[place + 1])
                text = DocumentText(reading, ids_of(stream, document))
                cuts = text.ranges(starts[inside], ends[inside])
                yield TextDocument(_without(text.text, [cut[:2] for cut in cuts]), b"{}")

        def ids() -> Iterator[np.ndarray]:
            for place, document in enumerate(changed.tolist()):
                before = ids_of(stream, document)
                keep = np.ones(before.shape[0], np.bool_)
                for each in range(pieces[place], pieces[place + 1]):
                    keep[starts[each] : ends[each]] = False
                yield before[keep]

        tokenizer, same = reading.tokenizer, True
        if tokenizer is None:
            left = ids()
        else:
            left = (document.ids for document in encoded(texts(), tokenizer, threads))
        awaited = chain(changed.tolist(), [-1])
        next_changed = next(awaited)
        for document in range(stream.offsets.shape[0]):
            after = ids_of(stream, document)
            if document == next_changed:
                next_changed = next(awaited)
                before, after = after, next(left)
                same = same and np.array_equal(before, after)
                if after.shape[0] < self._min_left:
                    same = False
                    continue
            yield int(stream.numbers[document]), after
        if same:
            raise BuildError(
                f"{self._engine.called(int(stream.numbers[changed[0]]))}: what repeats there "
                "spells no text, so that its text stays the same without it; expected tokens that "
                "spell texts"
            )


def _without(text: str, cuts: list[tuple[int, ...]]) -> str:
    """A text without these stretches of characters, which ascend (and may share characters)."""
    pieces, at = [], 0
    for start, end in cuts:
        pieces.append(text[at:start])
        at = max(at, end)
    return "".join([*pieces, text[at:]])


def _documents(index: Index, left: SortedStream, changed: list[int]) -> Iterator[Document]:
    """Those that are left; the numbers of those that are others than in the index go to
    `changed`."""
    place = 0
    for number, ids, metadata in index.engine.documents():
        if place < left.numbers.shape[0] and number == left.numbers[place]:
            after = ids_of(left, place)
            place += 1
            if not np.array_equal(ids, after):
                changed.append(number)
            yield number, after, metadata
