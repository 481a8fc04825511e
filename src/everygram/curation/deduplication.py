"""Writes the documents of an index without what repeats: `deduplicate`."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

import numpy as np

from everygram import arguments
from everygram.arguments import Size
from everygram.building.export import export
from everygram.building.segment_builder import SegmentBuilder
from everygram.building.stages import disk, resources
from everygram.building.tokenize import encoded
from everygram.corpus.documents import TextDocument
from everygram.corpus.writing import check_new, written
from everygram.curation.duplicates import check_unit, ids_of, merging, weights_of, within
from everygram.curation.opened import opened
from everygram.curation.repeats import Ranges, Rule, find
from everygram.curation.stream import SortedStream, sorted_stream
from everygram.encoding import Reading
from everygram.errors import BuildError
from everygram.index import Index
from everygram.passages import DocumentText
from everygram.progress import Clock, PeakMemory, Progress
from everygram.results.duplicates import Deduplication
from everygram.storage import format as fmt
from everygram.storage.disk import map_file, map_positions, map_tokens

PathLike = str | os.PathLike[str]
NO_BOUNDS = np.zeros(1, np.int64)


def deduplicate(
    index: Index | PathLike,
    out: PathLike,
    min_length: int = 50,
    *,
    unit: str = "tokens",
    keep_first: bool = False,
    bridge: int = 0,
    min_left: int = 1,
    text_field: str | None = None,
    memory: Size | None = None,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Deduplication:
    """Write the documents of an index, without the ranges of `duplicates`, as `export` would.

    What is left of a text is encoded anew, and passes go on until no n-gram repeats: an index built
    from the file with the same tokenizer has no `duplicates` for the same min_length and unit. (If
    encoding the other texts again gives the index's ids: that is so wherever `build` read texts.)

    index: an open index or union, or a path.
    out: a new file: .jsonl, .jsonl.gz, .jsonl.zst, .jsonl.xz or .jsonl.bz2.
    min_length, unit, keep_first, bridge: as in `duplicates`. Characters that a range has a part of
        are left out whole. Without keep_first every copy of a repeat is struck.
    min_left: a document of which something was struck and fewer tokens are left is left out.
    text_field: as in `export`.
    memory, threads, progress: as in `build`. The disk of temporary files holds up to 13 bytes per
        token of what is left.

    Raises as `duplicates` and `export` do, and BuildError where what repeats spells no text.
    """
    least = arguments.natural("min_length", min_length, 1)
    check_unit(unit)
    keep_first = arguments.flag("keep_first", keep_first)
    bridge = arguments.natural("bridge", bridge)
    min_left = arguments.natural("min_left", min_left)
    if text_field is not None:
        arguments.string("text_field", text_field)
    limit, threads = resources(memory, threads)
    clock = Clock(arguments.function("progress", progress) or (lambda _: None))
    path = arguments.path("out", out)
    check_new(path)
    with opened(index) as asked, disk(path), PeakMemory() as peak, _Rest() as rest:
        reading = asked._state.reading
        rule = Rule(least, weights_of(reading, unit), keep_first, bridge, False, NO_BOUNDS)
        passes = struck_ranges = struck_tokens = 0
        with (
            TemporaryDirectory(prefix="everygram-") as folder,
            sorted_stream(asked, limit, threads, merging(clock)) as stream,
        ):
            size = stream.offsets.shape[0]
            tokens = stream.tokens.shape[0] - size
            numbers = np.arange(size)
            while True:
                clock.enter("repeats")
                ranges = find(stream, rule, threads, clock.report)
                passes += 1
                if not ranges.positions.shape[0]:
                    break
                struck_ranges += ranges.positions.shape[0]
                struck_tokens += int(np.diff(ranges.positions).sum())
                clock.enter("strike")
                dtype = asked.manifest.dtype
                made = Path(folder) / fmt.segment_name(passes)
                given = made, dtype, limit, threads, clock
                numbers, stream = _struck(stream, numbers, ranges, reading, rest, min_left, *given)
            clock.enter("export")
            _write(asked, path, text_field, numbers, rest)
            left = stream.tokens.shape[0] - numbers.shape[0]
        clock.leave()
    return Deduplication(
        path=path,
        passes=passes,
        documents=size,
        tokens=tokens,
        struck_ranges=struck_ranges,
        struck_tokens=struck_tokens,
        dropped_documents=size - numbers.shape[0],
        changed_documents=int(np.isin(numbers, np.array([*rest.places], np.int64)).sum()),
        num_documents=numbers.shape[0],
        num_tokens=left,
        seconds=clock.seconds,
        peak_bytes=peak.bytes,
    )


class _Rest:
    """What is left of documents that something was struck from, in a file without a name.

    places: of documents, by their place in the first stream, where it is, and its length.
    """

    def __init__(self) -> None:
        self.places: dict[int, tuple[int, int]] = {}
        self._file: Any = TemporaryFile(prefix="everygram-")  # noqa: SIM115

    def __enter__(self) -> "_Rest":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __setitem__(self, document: int, content: bytes) -> None:
        self.places[document] = self._file.seek(0, os.SEEK_END), len(content)
        self._file.write(content)

    def __getitem__(self, document: int) -> bytes:
        start, size = self.places[document]
        self._file.seek(start)
        content: bytes = self._file.read(size)
        return content


def _struck(
    stream: SortedStream,
    numbers: np.ndarray,
    ranges: Ranges,
    reading: Reading,
    rest: _Rest,
    min_left: int,
    folder: Path,
    dtype: str,
    memory: int,
    threads: int,
    clock: Clock,
) -> tuple[np.ndarray, SortedStream]:
    """What is left of a stream, sorted again in a folder, and whose documents it has.

    numbers: int64, shape (D,): the places in the first stream of the stream's documents.
    """
    local, starts, ends = within(stream, ranges.positions)
    changed = np.unique(local)
    pieces = np.searchsorted(local, [*changed.tolist(), stream.offsets.shape[0]])
    kept: list[int] = []
    same = True

    def lefts() -> Iterator[TextDocument | np.ndarray]:
        for place, document in enumerate(changed.tolist()):
            inside = slice(pieces[place], pieces[place + 1])
            ids = ids_of(stream, document)
            if reading.has_tokenizer:
                text = DocumentText(reading, ids)
                cuts = text.ranges(starts[inside], ends[inside])
                yield TextDocument(_without(text.text, [cut[:2] for cut in cuts]), b"{}")
            else:
                keep = np.ones(ids.shape[0], np.bool_)
                for start, end in zip(starts[inside].tolist(), ends[inside].tolist(), strict=True):
                    keep[start:end] = False
                yield ids[keep]

    with _texts_and_ids(lefts(), reading, threads) as left:
        next_changed = iter([*changed.tolist(), -1])
        awaited = next(next_changed)
        with SegmentBuilder(folder, dtype, memory, threads) as builder:
            builder.begin()
            for document in range(stream.offsets.shape[0]):
                ids = ids_of(stream, document)
                if document == awaited:
                    before = ids
                    content, ids = next(left)
                    awaited = next(next_changed)
                    same &= np.array_equal(before, ids)
                    if ids.shape[0] < min_left:
                        same = False
                        continue
                    rest[int(numbers[document])] = content
                kept.append(document)
                builder.add(ids, b"{}")
            unsorted = builder.end()
            blocks = list(builder.sorter.sorted_blocks())
    if same:
        raise BuildError(
            f"document {int(numbers[changed[0]])}: what repeats there spells no text, so that its "
            "text stays the same without it; expected tokens that spell texts"
        )
    size = unsorted.stream_len
    chosen = numbers[np.array(kept, np.int64)]
    if not size:
        none = np.empty(0, np.int64)
        return chosen, SortedStream(stream.tokens[:0], none.astype(fmt.POSITION), none, none)
    clock.enter("sort")
    builder.merge(size, blocks, clock.report)
    offsets = map_file(folder / fmt.DOCUMENT_OFFSETS, fmt.OFFSET, unsorted.num_documents)
    return chosen, SortedStream(
        map_tokens(folder, dtype, size),
        map_positions(folder, fmt.position_bytes(size)),
        offsets.astype(np.int64),
        chosen,
    )


def _without(text: str, cuts: list[tuple[int, ...]]) -> str:
    """A text without these stretches of characters, which ascend (and may share characters)."""
    pieces, at = [], 0
    for start, end in cuts:
        pieces.append(text[at:start])
        at = max(at, end)
    return "".join([*pieces, text[at:]])


@contextmanager
def _texts_and_ids(
    lefts: Iterator[Any], reading: Reading, threads: int
) -> Iterator[Iterator[tuple[bytes, np.ndarray]]]:
    """What is left of each document, as bytes to keep, and its ids."""
    tokenizer = reading.tokenizer
    if tokenizer is None:
        yield ((ids.tobytes(), ids) for ids in lefts)
        return
    texts: list[str] = []

    def noted() -> Iterator[TextDocument]:
        for document in lefts:
            texts.append(document.text)
            yield document

    def both() -> Iterator[tuple[bytes, np.ndarray]]:
        for document in encoded(noted(), tokenizer, threads):
            # (Some are encoded ahead, in order.)
            yield texts.pop(0).encode(errors="surrogatepass"), document.ids

    yield both()


def _write(
    index: Index, path: Path, text_field: str | None, numbers: np.ndarray, rest: _Rest
) -> None:
    """Write the records of these documents."""
    reading = index._state.reading
    name = text_field or ("text" if reading.has_tokenizer else "ids")
    kept = set(numbers.tolist())
    with written(path) as write:
        for number, record in enumerate(export(index, text_field=text_field)):
            if number not in kept:
                continue
            if number in rest.places:
                content = rest[number]
                record[name] = (
                    content.decode(errors="surrogatepass")
                    if reading.has_tokenizer
                    else np.frombuffer(content, reading.dtype).tolist()
                )
            write(record)
