"""What repeats in an index: `duplicates`."""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

import numpy as np

from everygram import arguments
from everygram.arguments import Size
from everygram.building.stages import resources
from everygram.curation.opened import opened
from everygram.curation.repeats import Question, Ranges, find, identical
from everygram.curation.stream import SortedStream, sorted_stream, values_of
from everygram.curation.work import work_on
from everygram.encoding import Reading
from everygram.errors import DamagedIndexError, OptionError, TokenizerError
from everygram.index import Index
from everygram.passages import DocumentText
from everygram.progress import Clock, Progress
from everygram.results.duplicates import Copies, Duplicates
from everygram.storage.lcps import DAMAGED

PathLike = str | os.PathLike[str]
# What `by` calls the documents that do not have the field.
WITHOUT = "(none)"


def duplicates(
    index: Index | PathLike | Sequence[PathLike],
    min_length: int = 50,
    *,
    unit: str = "tokens",
    keep_first: bool = False,
    bridge: int = 0,
    across: bool = False,
    by: str | None = None,
    work_dir: PathLike | None = None,
    memory: Size | None = None,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Duplicates:
    """The ranges of documents in which every token stands in an exact repeat.

    A repeat is an n-gram of `min_length` tokens that occurs at least twice in documents that are
    not deleted; it never goes over the end of a document. (A whole range may occur once.)

    index: an open index or union, a path, or a list of paths: their union.
    unit: "tokens", or "bytes": then the n-gram at a place is the shortest one from there whose
        tokens spell `min_length` bytes. So the same text counts as a repeat where its tokens are
        the same; text that is divided into tokens otherwise does not. (In an index of bytes both
        units are the same.)
    keep_first: the first occurrence of every n-gram, by document number and place, is no repeat;
        one that overlaps a later occurrence of another is in that one's range still.
    bridge: ranges with up to so many tokens between them are one.
    across: n-grams count that occur in more than one index of a union.
    by: a field of the metadata (`a.b`: b inside a) by whose values results are summed up.
    work_dir: a folder, made if it is not there, for what is sorted or merged first, in place of the
        system's folder of temporary files. It stays there: a run that was killed goes on from what
        is finished, and later ones over the same indexes find it. What was made there of other
        indexes, or of these before they changed, is removed.
    memory, threads, progress: as in `build`. Beside the memory limit, which holds for what is
        sorted or merged first (nothing, if there is one segment with a suffix array), two bytes a
        token and some 100 a range are held.

    Raises OptionError, DamagedIndexError, BuildError if the disk is full, the errors of `open`, and
    TokenizerError for unit "bytes" where tokens have no bytes.
    """
    question = Question.of(min_length, unit, keep_first, bridge)
    across = arguments.flag("across", across)
    if by is not None:
        arguments.string("by", by)
    folder = None if work_dir is None else arguments.path("work_dir", work_dir)
    limit, threads = resources(memory, threads)
    clock = Clock(arguments.function("progress", progress) or (lambda _: None))
    with opened(index) as asked:
        engine, reading = asked.engine, asked._state.reading
        members = engine.members
        if across and (members is None or len(members.names) < 2):
            raise OptionError(
                "across: expected a union of several indexes, found one; name each of them"
            )
        bases = np.zeros(1, np.int64) if members is None else members.bases
        rule = question.rule(reading, across)
        with work_on(asked, folder, clock) as files:
            stream = sorted_stream(asked, files, limit, threads)
            clock.enter("repeats")
            bounds = np.append(stream.offsets, stream.tokens.shape[0])
            rule = replace(rule, bounds=bounds[np.searchsorted(stream.numbers, bases)])
            ranges = find(stream, rule, threads, clock.report)
            local, starts, ends = within(stream, ranges.positions)
            places = None
            if reading.has_tokenizer:
                places = placed(stream, reading, ranges.positions, local)
            copies, copy_groups, copy_counts = identical(stream, threads)
            clock.leave()
            documents, indexes, _ = engine.owned(stream.numbers[local])
            copied, copied_indexes, _ = engine.owned(stream.numbers[copies])
            return Duplicates(
                **asdict(question),
                across=across,
                num_documents=stream.offsets.shape[0],
                num_tokens=stream.tokens.shape[0] - stream.offsets.shape[0],
                documents=documents,
                token_starts=starts,
                token_ends=ends,
                groups=ranges.groups,
                counts=ranges.counts,
                places=places,
                copies=Copies(copied, copy_groups, copy_counts, copied_indexes),
                indexes=indexes,
                by=None if by is None else _by(asked, stream, ranges, local, by),
            )


def within(
    stream: SortedStream, positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of ranges the documents (places in the stream), and from and to in tokens of these."""
    local = np.searchsorted(stream.offsets, positions[:, 0], "right") - 1
    begins = stream.offsets[local] + 1
    return local, positions[:, 0] - begins, positions[:, 1] - begins


def placed(
    stream: SortedStream, reading: Reading, positions: np.ndarray, local: np.ndarray
) -> np.ndarray:
    """Ranges in characters and bytes of their documents' texts: int64, shape (r, 4)."""
    places = np.full((positions.shape[0], 4), -1, np.int64)
    begins = stream.offsets[local] + 1
    try:
        spelled = reading.token_bytes
    except TokenizerError:
        pass
    else:
        from everygram.kernels.duplicates import place

        tables = spelled.blob, spelled.starts, spelled.characters, spelled.whole
        given = stream.tokens, positions, begins, *tables, spelled.dropped, spelled.vanishes
        if not place(*given, 0, positions.shape[0], places):
            raise DamagedIndexError(DAMAGED)
    # (Where a text is not UTF-8, the whole text says what is shown of it.)
    left = np.flatnonzero(places[:, 1] < 0)
    for each in np.split(left, np.flatnonzero(np.diff(local[left])) + 1) if left.size else ():
        document = int(local[each[0]])
        text = DocumentText(reading, ids_of(stream, document))
        begin = begins[each[0]]
        places[each] = text.ranges(positions[each, 0] - begin, positions[each, 1] - begin)
    return places


def ids_of(stream: SortedStream, document: int) -> np.ndarray:
    """The tokens of a document, by its place in the stream."""
    begin, end = int(stream.offsets[document]) + 1, stream.tokens.shape[0]
    if document + 1 < stream.offsets.shape[0]:
        end = int(stream.offsets[document + 1])
    return stream.tokens[begin:end]


def _by(
    index: Index, stream: SortedStream, ranges: Ranges, local: np.ndarray, field: str
) -> dict[str, dict[str, int]]:
    """Sums over the documents of each value of a field."""
    size = stream.offsets.shape[0]
    lengths = np.diff(stream.offsets, append=stream.tokens.shape[0]) - 1
    number = np.bincount(local, minlength=size)
    inside = np.zeros(size, np.int64)
    np.add.at(inside, local, ranges.positions[:, 1] - ranges.positions[:, 0])
    found: dict[str, dict[str, int]] = {}
    values = values_of(index, field, stream.numbers)
    columns = (column.tolist() for column in (lengths, number, inside))
    for value, length, count, repeated in zip(values, *columns, strict=True):
        sums = found.setdefault(
            WITHOUT if value is None else value,
            {"documents": 0, "tokens": 0, "ranges": 0, "repeated_tokens": 0},
        )
        for what, more in zip(sums, (1, length, count, repeated), strict=True):
            sums[what] += more
    return found
