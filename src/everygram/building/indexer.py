"""Corpus to index: reads, tokenizes, sorts, writes, publishes; interrupted builds can resume."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Unpack

from everygram import arguments
from everygram.arguments import Size
from everygram.building.segment_builder import SegmentBuilder
from everygram.building.source import Source, open_addition, open_source
from everygram.building.stages import Stages, disk, kind_given, resources
from everygram.building.tokenize import REPORT_EVERY
from everygram.corpus.memory import Given
from everygram.corpus.source import CorpusKeywords, CorpusOptions, NamedCorpus, absolute
from everygram.errors import BuildError
from everygram.progress import BuildReport, PeakMemory, Progress
from everygram.storage import format as fmt
from everygram.storage.build_state import BuildState, Done
from everygram.storage.directory import (
    changed_index,
    free_segment,
    holds_an_index,
    new_index,
    publish,
    read_manifest,
)
from everygram.storage.fields import Fields
from everygram.tokenizer.base import Tokenizer
from everygram.tokenizer.choose import tokenizer_hash

# Hex digits by which an index recognizes a file: among a million files, no two have the same.
MARK = 16


def build(
    corpus: Given,
    out: str | os.PathLike[str],
    tokenizer: str | os.PathLike[str] | None = None,
    *,
    vocab_size: int | None = None,
    memory: Size | None = None,
    threads: int | None = None,
    document_counts: bool = True,
    kind: str | None = None,
    sample_every: int | None = None,
    restart: bool = False,
    progress: Callable[[Progress], None] | None = None,
    **options: Unpack[CorpusKeywords],
) -> BuildReport:
    """Index a corpus into a new folder.

    corpus: one or several of: paths, patterns (`*.parquet`), directories, addresses (`s3://…`,
        `https://…`), `datasets:NAME`, `-` (standard input). Text: JSON lines, CSV, TSV, Parquet,
        Arrow, text files. Token ids: Megatron-LM, datatrove, llm.c, Dolma and NumPy files, or raw.
        Or documents in memory: a table (pyarrow, pandas, polars, …), a `datasets.Dataset`, an
        iterable of mappings, or one of texts that is no list (see `everygram.corpus.memory`).
    out: a folder that does not exist, is empty, or contains an interrupted build. An interrupted
        build continues after its last finished stage if nothing has changed. (A build of documents
        in memory keeps nothing and starts over.)
    tokenizer: "bytes" (the default), the path of a `tokenizer.json`, a SentencePiece `.model` or a
        tiktoken file, "train:VOCAB", or a hub name. For token ids: the tokenizer that made them, if
        known.
    text_field, id_field, metadata_fields, on_error, split, quoting, pretokenized, separator_id,
        max_record: how to read the corpus: see `everygram.corpus.source.CorpusOptions`, which has
        their defaults.
    vocab_size: for token ids without a tokenizer: all ids are in [0, vocab_size) (default: every id
        of the corpus's integer width is in the vocabulary).
    memory: limit in bytes, or a size such as "4GiB", without mapped files (default: half of free
        memory). A stream that does not fit is sorted in blocks, which are merged. The index is the
        same for any limit.
    threads: the most threads that sort and merge at once (default: one per processor). The threads
        of a tokenizer's library are set by its own environment variables: RAYON_NUM_THREADS for
        `tokenizers`, FASTOKENS_BPE_THREADS for fastokens, each read when the library is first used
        in a process (default: one per processor).
    document_counts: store the counts from which `document_count` answers at once: 0.26 bytes per
        token. Without them it looks at every occurrence. `add` and `compact` keep to this.
    kind: "suffix-array" (the default), or "self-index", which takes about a quarter of the disk
        and counts about as fast, but reads texts slower. It is made of sorted suffixes, so that a
        build takes as much disk as for the other, and more. `compact` keeps to this; `add` makes a
        suffix array.
    sample_every: of a self-index: positions per sample (default: 32). Fewer: positions and texts
        are read faster, and the index is larger.
    restart: discard the finished stages of an interrupted build.

    Raises OptionError, CorpusError, TokenizerError, BuildError. What existed before is then
    unchanged, and stages finished after the corpus was read are kept for the next run.
    """
    source = open_source(corpus, tokenizer, vocab_size=vocab_size, **options)
    return build_of(
        source,
        out,
        memory=memory,
        threads=threads,
        document_counts=document_counts,
        kind=kind,
        sample_every=sample_every,
        restart=restart,
        progress=progress,
    )


def build_of(
    source: Source,
    out: str | os.PathLike[str],
    *,
    memory: Size | None = None,
    threads: int | None = None,
    document_counts: bool = True,
    kind: str | None = None,
    sample_every: int | None = None,
    restart: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> BuildReport:
    """As `build`, for a corpus opened by `open_source`, or by `convert`."""
    memory, threads = resources(memory, threads)
    source.limit(memory)
    restart, out = arguments.flag("restart", restart), arguments.path("out", out)
    document_counts = arguments.flag("document_counts", document_counts)
    every = kind_given(kind, sample_every)
    with disk(out), new_index(out, restart) as (left, done), PeakMemory() as peak:
        begun = _begun(source.operation, source)
        if not document_counts:
            begun.arguments["document_counts"] = False
        if every:
            begun.arguments |= {"kind": fmt.kind_of(every), "sample_every": every}
        if done is not None:
            report = _answer(done, begun, source, out)
            if report is None:
                raise holds_an_index(out)
            return report
        stages = Stages(out, left, begun, progress)
        size = source.prepare(stages)
        _check_tokenizer(stages, source.tokenizer)
        stages.state.folder = fmt.segment_name(1)
        dtype = fmt.token_dtype(size)
        manifest = fmt.Manifest(
            dtype=dtype,
            separator=fmt.separator_of(dtype),
            vocab_size=size,
            tokenizer=_tokenizer_entry(source.tokenizer),
            segments=(),
            build={},
            next_document=0,
            next_segment=1,
            document_counts=document_counts,
            kind=fmt.kind_of(every),
            sample_every=every,
        )
        entry = _make_segment(stages, manifest, source, every, memory, threads)
        tokenizer_json = None if source.tokenizer is None else source.tokenizer.json
        return _publish(stages, source, manifest, tokenizer_json, entry, peak)


def add(
    index: str | os.PathLike[str],
    corpus: Given,
    *,
    memory: Size | None = None,
    threads: int | None = None,
    restart: bool = False,
    progress: Callable[[Progress], None] | None = None,
    **options: Unpack[CorpusKeywords],
) -> BuildReport:
    """Add documents to an index, as a new segment; existing segments are not read again.

    The documents are encoded with the index's own tokenizer, and are numbered after the last
    document. Readers that have the index open see the documents once they `refresh`. The other
    arguments are those of `build`. An interrupted add, too, continues after its last finished stage
    when it is run again; if only the report was missing, it adds nothing. The report covers only
    what was added. Its `again` names files that were in the index already (same name, size, and
    time or version): their documents are now in it twice.

    Raises FormatError or DamagedIndexError if `index` is not a sound index, and the errors of
    `build`; the index is then unchanged.
    """
    memory, threads = resources(memory, threads)
    restart, path = arguments.flag("restart", restart), arguments.path("index", index)
    with (
        disk(path),
        changed_index(path, "addition", restart) as (manifest, left, done),
        PeakMemory() as peak,
    ):
        source = open_addition(corpus, path, manifest, **options)
        source.limit(memory)
        begun = _begun("addition", source)
        if done is not None and (report := _answer(done, begun, source, path)) is not None:
            return report
        stages = Stages(path, left, begun, progress)
        source.prepare(stages)
        stages.state.folder = stages.state.folder or free_segment(path, manifest)
        entry = _make_segment(stages, manifest, source, 0, memory, threads)
        return _publish(stages, source, manifest, None, entry, peak)


def marks_of(corpus: Given, **options: Unpack[CorpusKeywords]) -> list[str]:
    """A mark of each file as it is now, by which `has_marks` knows it again in an index."""
    named = NamedCorpus(corpus, CorpusOptions(**options))
    files = (named.ids() if named.are_ids else named.text()).files
    return sorted(_marks([[absolute(file.name), file.size, file.version] for file in files]))


def has_marks(index: str | os.PathLike[str], marks: Iterable[str]) -> bool:
    """Whether the documents of the files with these marks were put into an index.

    Raises the errors of `read_manifest`.
    """
    return set(marks) <= _known_marks(read_manifest(arguments.path("index", index)))


def discard(index: str | os.PathLike[str]) -> None:
    """Discard what an interrupted change of an index has finished, and free its disk space.

    Raises as `add`.
    """
    path = arguments.path("index", index)
    with disk(path), changed_index(path, "discarding", restart=True):
        pass


def _begun(operation: str, source: Source) -> BuildState:
    """The state of a build or an addition that has finished nothing."""
    return BuildState(operation, dict(source.arguments), source.inputs)


def _answer(done: Done, begun: BuildState, source: Source, path: Path) -> BuildReport | None:
    """The report of a change that is done, if it is the one that has begun; else None."""

    def reported(fields: Fields) -> BuildReport:
        return BuildReport(
            path=path,
            formats=source.corpus.formats,
            num_documents=fields.integer("num_documents"),
            num_tokens=fields.integer("num_tokens"),
            skipped=fields.integer("skipped"),
            skips=tuple(fields.texts("skips")),
            seconds=fields.numbers("seconds"),
            peak_bytes=fields.integer("peak_bytes"),
            index_bytes=fields.integer("index_bytes"),
            again=tuple(fields.texts("again")),
            passed_over=source.corpus.passed_over,
            first_document=fields.integer("first_document"),
            warnings=tuple(fields.texts("warnings")),
        )

    if begun.inputs is None:  # it cannot be told whether they are the same
        return None
    return done.answer(begun.operation, begun.arguments, begun.inputs, reported)


def _check_tokenizer(stages: Stages, tokenizer: Tokenizer | None) -> None:
    """Raise BuildError if the corpus was read with a tokenizer that has changed since."""
    state = stages.state
    now = None if tokenizer is None else tokenizer_hash(tokenizer)
    if state.segment is not None and state.tokenizer != now:
        raise BuildError(
            f"'{stages.path}' holds an interrupted {state.operation} whose tokenizer has changed: "
            "put it back, or start over with --restart"
        )
    state.tokenizer = now


def _tokenizer_entry(tokenizer: Tokenizer | None) -> fmt.TokenizerEntry:
    if tokenizer is None:
        return fmt.TokenizerEntry(kind="none", source="none", sha256=None, query_prefix="")
    return fmt.TokenizerEntry(
        kind=tokenizer.kind,
        source=tokenizer.source,
        sha256=tokenizer_hash(tokenizer),
        query_prefix=tokenizer.query_prefix,
    )


def _make_segment(
    stages: Stages,
    manifest: fmt.Manifest,
    source: Source,
    sample_every: int,
    memory: int,
    threads: int,
) -> fmt.SegmentEntry | None:
    """Write the documents as a segment; blocks are sorted while later documents are read.

    sample_every: as in `Stages.make_segment`.
    """
    clock, corpus = stages.clock, source.corpus

    def read(builder: SegmentBuilder) -> None:
        for document in source.documents(threads):
            builder.add(document.ids, document.metadata)
            clock.documents += 1
            clock.tokens += document.ids.shape[0]
            if clock.documents % REPORT_EVERY == 0:
                clock.report(corpus.bytes_read, corpus.total_bytes)
        clock.report(corpus.bytes_read, corpus.total_bytes)
        stages.state.skipped, stages.state.skips = corpus.skipped, corpus.skips
        source.warnings = corpus.warnings

    memory = max(1, memory - source.beside)
    builder = SegmentBuilder(stages.folder, manifest.dtype, memory, threads)
    least = source.least_bytes(manifest.dtype)
    return stages.make_segment(
        builder, read, least, manifest.next_document, manifest.document_counts, sample_every
    )


def _publish(
    stages: Stages,
    source: Source,
    manifest: fmt.Manifest,
    tokenizer_json: bytes | None,
    entry: fmt.SegmentEntry | None,
    peak: PeakMemory,
) -> BuildReport:
    """Publish the segment as part of the index, and report what was made."""
    stages.clock.enter("publish")
    made = () if entry is None else (entry,)
    state = stages.state
    marks = _marks(state.inputs)
    known = _known_marks(manifest)
    report = BuildReport(
        path=stages.path,
        formats=source.corpus.formats,
        num_documents=sum(segment.num_documents for segment in made),
        num_tokens=sum(segment.num_tokens for segment in made),
        skipped=state.skipped,
        skips=tuple(state.skips),
        seconds=stages.clock.seconds,
        peak_bytes=peak.bytes,
        index_bytes=sum(f.bytes for s in made for f in s.files.values()),
        again=tuple(name for mark, name in marks.items() if mark in known),
        passed_over=source.corpus.passed_over,
        first_document=manifest.next_document,
        warnings=source.warnings,
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
                "inputs": "".join(sorted({*known, *marks})),
            },
        ),
        tokenizer_json,
        _done(state, report),
    )
    return report


def _done(state: BuildState, report: BuildReport) -> Done | None:
    """What `_answer` reads, unless it could not tell the change from others."""
    if state.inputs is None:
        return None
    fields = asdict(report)
    del fields["path"]
    return Done(state.operation, state.arguments, state.inputs, fields)


def _marks(inputs: list[Any] | None) -> dict[str, str]:
    """A mark of each file as it is now, by which an index knows it again, and its name."""
    return {
        hashlib.sha256(json.dumps([name, size, version]).encode()).hexdigest()[:MARK]: name
        for name, size, version in inputs or ()
        # (Of others nobody knows whether they are the same.)
        if version or name.startswith("datasets:")
    }


def _known_marks(manifest: fmt.Manifest) -> set[str]:
    """The marks of the files whose documents were put into an index."""
    known = manifest.build.get("inputs")
    if not isinstance(known, str):
        return set()
    return {known[start : start + MARK] for start in range(0, len(known), MARK)}
