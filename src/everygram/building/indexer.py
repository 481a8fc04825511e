"""Corpus to index: reads, tokenizes, sorts, writes, publishes; interrupted builds can resume."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import Unpack

from everygram import arguments
from everygram.addresses import is_address
from everygram.arguments import Size
from everygram.building.parts import (
    Job,
    Run,
    build_parts,
    checked_number,
    collected,
    common_warnings,
    finished,
    forget,
    note,
    part_name,
)
from everygram.building.publishing import answer, publish_change
from everygram.building.segment_builder import SegmentBuilder
from everygram.building.source import Source, open_addition, open_source, reopened
from everygram.building.stages import Stages, disk, kind_given, resources
from everygram.building.tokenize import REPORT_EVERY
from everygram.corpus.dividing import Part
from everygram.corpus.documents import SKIPS_LISTED
from everygram.corpus.memory import Given
from everygram.corpus.source import CorpusKeywords
from everygram.errors import BuildError, OptionError
from everygram.progress import BuildReport, PeakMemory, Progress
from everygram.storage import format as fmt
from everygram.storage.build_state import BuildState
from everygram.storage.directory import (
    changed_index,
    free_segment,
    holds_an_index,
    new_index,
)
from everygram.tokenizer.base import Tokenizer
from everygram.tokenizer.choose import tokenizer_hash


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
    parts: int | None = None,
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
    threads: the most threads that sort and merge at once (default: one per processor). With three
        or more, a long stream is sorted in blocks, too, where that is faster. The threads of a
        tokenizer's library are set by its own environment variables: RAYON_NUM_THREADS for
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
    parts: so many parts of the corpus, of about the same size, become a segment each (default: all
        is one segment). Files of JSON lines that are not compressed are divided; another file is in
        one part. `memory` and `threads` are those of one part; they are built one after another,
        and an interrupted build does again only those that are not finished. On several machines:
        `everygram.distributed.build`.
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
        parts=parts,
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
    parts: int | None = None,
    run: Run | None = None,
    restart: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> BuildReport:
    """As `build`, for a corpus opened by `open_source`, or by `convert`.

    run: what builds parts (default: this process, one after another).
    """
    memory, threads = resources(memory, threads)
    source.limit(memory)
    if is_address(out):
        raise OptionError(
            f"out: expected a folder, found '{out}': build in a folder and 'everygram push' it, or "
            "build there on a cluster: --ray"
        )
    restart, out = arguments.flag("restart", restart), arguments.path("out", out)
    document_counts = arguments.flag("document_counts", document_counts)
    every = kind_given(kind, sample_every)
    number = checked_number(parts)
    with disk(out), new_index(out, restart) as (left, done), PeakMemory() as peak:
        begun = _begun(source.operation, source)
        if not document_counts:
            begun.arguments["document_counts"] = False
        if every:
            begun.arguments |= {"kind": fmt.kind_of(every), "sample_every": every}
        if number is not None:
            begun.arguments["parts"] = number
        if done is not None:
            report = answer(done, begun, source, out)
            if report is None:
                raise holds_an_index(out)
            forget(out)
            return report
        stages = Stages(out, left, begun, progress)
        # (Before files are left out: those who build a part list them all.)
        divided = None if number is None else source.corpus.divide(number)
        left_out = source.corpus.skipped, [*source.corpus.skips]
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
        tokenizer_json = None if source.tokenizer is None else source.tokenizer.json
        if divided is None:
            entry = _make_segment(stages, manifest, source, every, memory, threads)
            only = () if entry is None else (entry,)
            return publish_change(stages, source, manifest, tokenizer_json, only, peak.bytes)
        stages.save()
        jobs = _jobs(stages, source, manifest, tokenizer_json, divided, memory, threads)
        reports = build_parts(jobs, run or _one_after_another, stages.clock)
        stages.state.skipped = left_out[0] + sum(each.skipped for each in reports)
        skips = chain(left_out[1], *(each.skips for each in reports))
        stages.state.skips = [*islice(skips, SKIPS_LISTED)]
        source.warnings = common_warnings(reports)
        made = collected(out, jobs)
        most = max([peak.bytes, *(each.peak_bytes for each in reports)])
        report = publish_change(stages, source, manifest, tokenizer_json, made, most)
        forget(out)
        return report


def _jobs(
    stages: Stages,
    source: Source,
    manifest: fmt.Manifest,
    tokenizer_json: bytes | None,
    divided: Sequence[Part],
    memory: int,
    threads: int,
) -> list[Job]:
    """What builds the parts of a corpus."""
    assert source.inputs is not None
    return [
        Job(
            number=place,
            folder=stages.path / part_name(place),
            part=part,
            arguments=source.arguments,
            inputs=source.inputs,
            stored=manifest.tokenizer,
            tokenizer=tokenizer_json,
            vocab_size=manifest.vocab_size,
            document_counts=manifest.document_counts,
            kind=manifest.kind,
            sample_every=manifest.sample_every or None,
            memory=memory,
            threads=threads,
        )
        for place, part in enumerate(divided, 1)
    ]


def _one_after_another(
    jobs: Sequence[Job], tell: Callable[[int, Progress], None]
) -> Iterator[tuple[int, BuildReport]]:
    for job in jobs:
        yield job.number, build_part(job, partial(tell, job.number))


def build_part(job: Job, progress: Callable[[Progress], None]) -> BuildReport:
    """Build one part of a corpus, or what is left of it to do. Raises as `build`."""
    if (known := finished(job)) is not None:
        return known
    if (job.folder / fmt.MANIFEST).exists() and not (job.folder / fmt.DONE).exists():
        # (Killed in the moment before it was noted, which is seldom enough to begin again.)
        shutil.rmtree(job.folder)
    source = reopened(job.arguments, job.stored, job.tokenizer, job.vocab_size)
    if source.inputs != job.inputs:
        raise BuildError(
            f"'{job.folder}': the corpus is not what it was when the build began: put it back, or "
            "start over with --restart"
        )
    source.take(job.part)
    report = build_of(
        source,
        job.folder,
        memory=job.memory,
        threads=job.threads,
        document_counts=job.document_counts,
        kind=job.kind,
        sample_every=job.sample_every,
        progress=progress,
    )
    note(job, report)
    return report


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
        if done is not None and (report := answer(done, begun, source, path)) is not None:
            return report
        stages = Stages(path, left, begun, progress)
        source.prepare(stages)
        stages.state.folder = stages.state.folder or free_segment(path, manifest)
        entry = _make_segment(stages, manifest, source, 0, memory, threads)
        made = () if entry is None else (entry,)
        return publish_change(stages, source, manifest, None, made, peak.bytes)


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
