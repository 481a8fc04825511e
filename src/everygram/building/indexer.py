"""Corpus to index: read, tokenize, sort, write, publish; interrupted, it goes on where it was."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from everygram.building.external_sort import BlockSorter
from everygram.building.stages import Stages, disk, resources
from everygram.building.tokenize import (
    ENCODING,
    REPORT_EVERY,
    check_tokenizer,
    check_vocabulary,
    encoded,
    text_tokenizer,
    tokenizer_entry,
    vocab_size_of,
)
from everygram.corpus.documents import OnError, TokenDocument
from everygram.corpus.files import File
from everygram.corpus.source import (
    absolute,
    check_options,
    listed,
    local,
    say_they_are_ids,
    size_and_time,
)
from everygram.corpus.text import TextCorpus
from everygram.corpus.tokens import TokenCorpus
from everygram.errors import OptionError
from everygram.progress import BuildReport, PeakMemory, Progress
from everygram.storage import format as fmt
from everygram.storage.directory import (
    changed_index,
    free_segment,
    new_index,
    publish,
    read_tokenizer_json,
)
from everygram.storage.segment_writer import SegmentWriter
from everygram.tokenizer.base import Tokenizer
from everygram.tokenizer.choose import load_tokenizer, stored_tokenizer


def build(
    corpus: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    tokenizer: str | os.PathLike[str] | None = None,
    *,
    text_field: str = "text",
    id_field: str | None = None,
    metadata_fields: Sequence[str] | None = None,
    on_error: OnError = "raise",
    pretokenized: str | None = None,
    separator_id: int | None = None,
    vocab_size: int | None = None,
    memory: int | None = None,
    threads: int | None = None,
    restart: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> BuildReport:
    """Index a corpus into a new folder.

    corpus: what to read, or a list of it: paths, patterns (`*.parquet`), directories, addresses
        (`s3://…`, `https://…`), `datasets:NAME`. Text: JSON lines, CSV, TSV, Parquet, Arrow, text
        files. Token ids: Megatron-LM, datatrove, llm.c, Dolma and NumPy files, or raw.
    out: a folder that does not exist, is empty, or holds a build that was interrupted, which then
        goes on from its last finished stage if nothing has changed.
    tokenizer: "bytes" (the default), the path of a `tokenizer.json`, a SentencePiece `.model` or a
        tiktoken file, "train:VOCAB", or a hub name; with token ids, of what made them, if known.
    text_field, id_field, metadata_fields: of a record, what is its text, its "id", and all else
        that is kept (everything unless given); `a.b` is b inside a.
    on_error: "skip" leaves out, counts and lists what cannot be read, instead of raising.
    pretokenized: "u8", "u16" or "u32": the corpus is token ids of this width, little-endian, in
        files that do not say so themselves.
    separator_id: the id that marks documents in files of token ids that do not say where they are;
        where they do, a last one is taken off a document.
    vocab_size: for ids without a tokenizer: they are in [0, vocab_size). Unless given, every id
        of that width is in the vocabulary.
    memory: bytes to hold at most, mapped files aside; half of what is free unless given. What does
        not fit is sorted in blocks and merged: the index is the same, whatever the memory.
    threads: to use at most; one for each processor unless given.
    restart: throw away what an interrupted build finished.

    Raises OptionError, CorpusError, TokenizerError, BuildError; what was there before is untouched
    then, and stages finished after the corpus was read are kept for the next try.
    """
    given = listed(corpus)
    ids = pretokenized is not None or say_they_are_ids(given)
    check_options(ids, text_field, id_field, metadata_fields, on_error, pretokenized, separator_id)
    check_vocabulary(ids, pretokenized, vocab_size, tokenizer)
    memory, threads = resources(memory, threads)
    out = Path(out)
    named = None if tokenizer is None else os.fspath(tokenizer)
    arguments = {
        "corpus": [absolute(name) for name in given],
        "tokenizer": named,
        "text_field": text_field,
        "id_field": id_field,
        "metadata_fields": None if metadata_fields is None else list(metadata_fields),
        "on_error": on_error,
        "pretokenized": pretokenized,
        "separator_id": separator_id,
        "vocab_size": vocab_size,
    }
    with disk(out), new_index(out, restart) as left, PeakMemory() as peak:
        encoder: Tokenizer | None
        source: TextCorpus | TokenCorpus
        documents: Iterable[TokenDocument]
        if not ids:
            source = TextCorpus(given, text_field, on_error, id_field, metadata_fields)
            stages = _begin(out, left, "build", arguments, source, progress)
            encoder = text_tokenizer(stages, "bytes" if named is None else named, source)
            size = encoder.vocab_size
            documents = encoded(source, encoder)
        else:
            source = TokenCorpus(local(given), pretokenized, separator_id, on_error)
            stages = _begin(out, left, "build", arguments, source, progress)
            encoder = None if named is None else load_tokenizer(named)
            size = vocab_size_of(source, vocab_size, encoder)
            documents = source
        check_tokenizer(stages, encoder)
        stages.state["folder"] = fmt.segment_name(1)
        dtype = fmt.token_dtype(size)
        manifest = fmt.Manifest(
            dtype=dtype,
            separator=fmt.separator_of(dtype),
            vocab_size=size,
            tokenizer=tokenizer_entry(encoder),
            segments=(),
            build={},
            next_document=0,
            next_segment=1,
        )
        entry = _make_segment(stages, manifest, source, documents, memory, threads)
        tokenizer_json = None if encoder is None else encoder.json
        return _publish(stages, manifest, tokenizer_json, entry, peak)


def add(
    index: str | os.PathLike[str],
    corpus: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    text_field: str = "text",
    id_field: str | None = None,
    metadata_fields: Sequence[str] | None = None,
    on_error: OnError = "raise",
    pretokenized: str | None = None,
    separator_id: int | None = None,
    memory: int | None = None,
    threads: int | None = None,
    restart: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> BuildReport:
    """Add documents to an index, as one more segment; what is there is not read again.

    They are encoded with the index's own tokenizer and get the numbers that follow the last.
    Readers that have the index open see them once they `refresh`. The other arguments are those
    of `build`; of an interrupted add, too, a rerun goes on from the last finished stage. The
    report is of what was added.

    Raises FormatError or DamagedIndexError for what is no sound index, else as `build`; the index
    is what it was before then.
    """
    given = listed(corpus)
    ids = pretokenized is not None or say_they_are_ids(given)
    check_options(ids, text_field, id_field, metadata_fields, on_error, pretokenized, separator_id)
    memory, threads = resources(memory, threads)
    path = Path(index)
    arguments = {
        "corpus": [absolute(name) for name in given],
        "text_field": text_field,
        "id_field": id_field,
        "metadata_fields": None if metadata_fields is None else list(metadata_fields),
        "on_error": on_error,
        "pretokenized": pretokenized,
        "separator_id": separator_id,
    }
    with (
        disk(path),
        changed_index(path, "addition", restart) as (manifest, left),
        PeakMemory() as peak,
    ):
        stored = manifest.tokenizer
        source: TextCorpus | TokenCorpus
        documents: Iterable[TokenDocument]
        if not ids:
            encoder = stored_tokenizer(
                stored.kind, stored.source, read_tokenizer_json(path, manifest.tokenizer)
            )
            if encoder is None:
                raise OptionError(
                    f"index '{path}' has no tokenizer (it was built from token ids): add token "
                    "ids, with pretokenized and separator_id"
                )
            source = TextCorpus(given, text_field, on_error, id_field, metadata_fields)
            stages = _begin(path, left, "addition", arguments, source, progress)
            documents = encoded(source, encoder)
        else:
            source = TokenCorpus(local(given), pretokenized, separator_id, on_error)
            stages = _begin(path, left, "addition", arguments, source, progress)
            source.check_ids(manifest.vocab_size, f"the vocabulary of index '{path}'")
            documents = source
        stages.state["folder"] = stages.state["folder"] or free_segment(path, manifest)
        entry = _make_segment(stages, manifest, source, documents, memory, threads)
        return _publish(stages, manifest, None, entry, peak)


def _begin(
    path: Path,
    left: dict[str, Any] | None,
    operation: str,
    arguments: dict[str, Any],
    source: TextCorpus | TokenCorpus,
    progress: Callable[[Progress], None] | None,
) -> Stages:
    """Go on where an interrupted build or addition of the same files was, or begin."""
    inputs = [
        [absolute(file.name), file.size, file.version]
        if isinstance(file, File)
        else [absolute(file), *size_and_time(file)]
        for file in source.files
    ]
    return Stages(path, left, operation, arguments, inputs, progress)


def _make_segment(
    stages: Stages,
    manifest: fmt.Manifest,
    source: TextCorpus | TokenCorpus,
    documents: Iterable[TokenDocument],
    memory: int,
    threads: int,
) -> fmt.SegmentEntry | None:
    """Write the documents as a segment; blocks of them are sorted while others are read."""
    clock = stages.clock
    if isinstance(source, TextCorpus):
        memory = max(1, memory - ENCODING)
    sorter = BlockSorter(stages.folder, manifest.dtype, memory, threads)

    def read(writer: SegmentWriter) -> None:
        for document in documents:
            start = writer.stream_len
            writer.add(document.ids, document.metadata)
            sorter.advance(start, writer.stream_len, writer.flush)
            clock.documents += 1
            clock.tokens += document.ids.shape[0]
            if clock.documents % REPORT_EVERY == 0:
                clock.report(source.bytes_read, source.total_bytes)
        clock.report(source.bytes_read, source.total_bytes)
        stages.state["skipped"], stages.state["skips"] = source.skipped, source.skips

    # Ids take a byte or more; of text, tokens take a quarter of the bytes at the very least.
    at_least = source.total_bytes // 4
    if isinstance(source, TokenCorpus):
        at_least = source.total_tokens * fmt.TOKEN_DTYPES[manifest.dtype].itemsize
    return stages.make_segment(
        sorter, read, at_least, manifest.dtype, memory, threads, manifest.next_document
    )


def _publish(
    stages: Stages,
    manifest: fmt.Manifest,
    tokenizer_json: bytes | None,
    entry: fmt.SegmentEntry | None,
    peak: PeakMemory,
) -> BuildReport:
    """Make the segment part of the index, and report what was made."""
    stages.clock.enter("publish")
    made = () if entry is None else (entry,)
    report = BuildReport(
        path=stages.path,
        num_documents=sum(segment.num_documents for segment in made),
        num_tokens=sum(segment.num_tokens for segment in made),
        skipped=stages.state["skipped"],
        skips=tuple(stages.state["skips"]),
        seconds=stages.clock.seconds,
        peak_bytes=peak.bytes,
        index_bytes=sum(f.bytes for s in made for f in s.files.values()),
    )
    publish(
        stages.path,
        replace(
            manifest,
            segments=manifest.segments + made,
            next_document=manifest.next_document + report.num_documents,
            build={
                "seconds": {name: round(s, 3) for name, s in report.seconds.items()},
                "peak_bytes": report.peak_bytes,
                "skipped": report.skipped,
            },
        ),
        tokenizer_json,
    )
    return report
