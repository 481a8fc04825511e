"""Corpus to index: read, tokenize, sort, write, publish; interrupted, it goes on where it was."""

import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from everygram.building.external_sort import BYTES_A_TOKEN, BlockSorter
from everygram.building.stages import Stages, disk, resources
from everygram.corpus.files import File, is_address
from everygram.corpus.text import OnError, TextCorpus, TextDocument, TokenDocument
from everygram.corpus.tokens import TokenCorpus
from everygram.errors import BuildError, CorpusError, OptionError, TokenizerError
from everygram.progress import BuildPlan, BuildReport, PeakMemory, Progress
from everygram.storage import format as fmt
from everygram.storage.directory import (
    changed_index,
    free_segment,
    new_index,
    publish,
    read_tokenizer_json,
    write_tokenizer_json,
)
from everygram.storage.segment import SegmentWriter
from everygram.tokenizer.choose import (
    HuggingFaceTokenizer,
    Tokenizer,
    load_tokenizer,
    stored_tokenizer,
    tokenizer_hash,
    train_tokenizer,
    training_vocab_size,
)

# Text encoded at a time: enough to keep every core busy, little enough to hold.
BATCH_CHARS = 1 << 20
BATCH_DOCUMENTS = 4096
# Batches under way at once: one being encoded, others being read and written.
BATCHES = 3
# Documents between two reports of progress.
REPORT_EVERY = 256
# Text that is tokenized to tell how many tokens there will be; where it cannot be, bytes a token.
SAMPLE_CHARS, TEXT_A_TOKEN = 1 << 20, 4
# What a large tokenizer and its caches hold, beside which blocks are sorted.
ENCODING = 192 << 20
# What fences and offsets add to tokens and positions, at most.
INDEX_OVERHEAD = 1.1


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
    given = _given(corpus)
    ids = pretokenized is not None or _say_they_are_ids(given)
    _check_options(ids, text_field, id_field, metadata_fields, on_error, pretokenized, separator_id)
    _check_vocabulary(ids, pretokenized, vocab_size, tokenizer)
    memory, threads = resources(memory, threads)
    out = Path(out)
    named = None if tokenizer is None else os.fspath(tokenizer)
    arguments = {
        "corpus": [_absolute(name) for name in given],
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
            encoder = _text_tokenizer(stages, "bytes" if named is None else named, source)
            size = encoder.vocab_size
            documents = _encoded(source, encoder)
        else:
            source = TokenCorpus(_local(given), pretokenized, separator_id, on_error)
            stages = _begin(out, left, "build", arguments, source, progress)
            encoder = None if named is None else load_tokenizer(named)
            size = _vocab_size(source, vocab_size, encoder)
            documents = source
        _check_tokenizer(stages, encoder)
        stages.state["folder"] = fmt.segment_name(1)
        dtype = fmt.token_dtype(size)
        manifest = fmt.Manifest(
            dtype=dtype,
            separator=fmt.separator_of(dtype),
            vocab_size=size,
            tokenizer=_tokenizer_entry(encoder),
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
    given = _given(corpus)
    ids = pretokenized is not None or _say_they_are_ids(given)
    _check_options(ids, text_field, id_field, metadata_fields, on_error, pretokenized, separator_id)
    memory, threads = resources(memory, threads)
    path = Path(index)
    arguments = {
        "corpus": [_absolute(name) for name in given],
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
                stored.kind, stored.source, read_tokenizer_json(path, manifest)
            )
            if encoder is None:
                raise OptionError(
                    f"index '{path}' has no tokenizer (it was built from token ids): add token "
                    "ids, with pretokenized and separator_id"
                )
            source = TextCorpus(given, text_field, on_error, id_field, metadata_fields)
            stages = _begin(path, left, "addition", arguments, source, progress)
            documents = _encoded(source, encoder)
        else:
            source = TokenCorpus(_local(given), pretokenized, separator_id, on_error)
            stages = _begin(path, left, "addition", arguments, source, progress)
            source.check_ids(manifest.vocab_size, f"the vocabulary of index '{path}'")
            documents = source
        stages.state["folder"] = stages.state["folder"] or free_segment(path, manifest)
        entry = _make_segment(stages, manifest, source, documents, memory, threads)
        return _publish(stages, manifest, None, entry, peak)


def plan(
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
) -> BuildPlan:
    """What `build` with these arguments would read and need, from a look at the first documents.

    Nothing is written. Raises what `build` raises for the arguments and for those documents.
    """
    given = _given(corpus)
    ids = pretokenized is not None or _say_they_are_ids(given)
    _check_options(ids, text_field, id_field, metadata_fields, on_error, pretokenized, separator_id)
    _check_vocabulary(ids, pretokenized, vocab_size, tokenizer)
    memory, threads = resources(memory, threads)
    named = None if tokenizer is None else os.fspath(tokenizer)
    source: TextCorpus | TokenCorpus
    fields: tuple[str, ...] = ()
    if ids:
        source = TokenCorpus(_local(given), pretokenized, separator_id, on_error)
        encoder = None if named is None else load_tokenizer(named)
        size = vocab_size or fmt.separator_of(source.width)
        tokens = source.total_tokens
    else:
        source = TextCorpus(given, text_field, on_error, id_field, metadata_fields)
        named = named or "bytes"
        trained = training_vocab_size(named)
        encoder = load_tokenizer(named) if trained is None else None
        tokens, fields = _estimate(source, encoder)
        size = trained or 0
    if encoder is not None:
        size = encoder.vocab_size
    width = fmt.TOKEN_DTYPES[fmt.token_dtype(size)].itemsize
    index_bytes = int(tokens * (width + fmt.position_bytes(tokens)) * INDEX_OVERHEAD)
    merged = tokens * BYTES_A_TOKEN > memory - (0 if ids else ENCODING)
    return BuildPlan(
        num_files=len(source.files),
        formats=source.formats,
        corpus_bytes=source.total_bytes,
        fields=fields,
        tokenizer=named,
        vocab_size=size,
        tokens=tokens,
        index_bytes=index_bytes,
        disk_bytes=index_bytes + (tokens * fmt.POSITION.itemsize if merged else 0),
        free_bytes=_free(Path(out)),
        memory=memory,
        threads=threads,
        merged=merged,
        skips=tuple(source.skips),
    )


def _estimate(source: TextCorpus, encoder: Tokenizer | None) -> tuple[int, tuple[str, ...]]:
    """About how many tokens there are, and the metadata that the first document has."""
    fields: tuple[str, ...] = ()
    chars = 0
    texts = []
    for number, document in enumerate(source):
        if number == 0:
            fields = tuple(json.loads(document.metadata))
        texts.append(document.text)
        chars += len(document.text)
        if chars >= SAMPLE_CHARS or number >= BATCH_DOCUMENTS:
            break
    text_bytes = sum(len(text.encode()) for text in texts)
    tokens = text_bytes // TEXT_A_TOKEN
    if encoder is not None:
        tokens = sum(ids.shape[0] for ids in encoder.encode_batch(texts))
    # (Of a data set elsewhere nobody says how long it is.)
    return tokens * max(1, source.total_bytes) // max(1, source.bytes_read), fields


def _free(path: Path) -> int:
    """Bytes free where a folder is, or will be."""
    while not path.exists():
        path = path.absolute().parent
    return shutil.disk_usage(path).free


def _given(
    corpus: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
) -> list[str | os.PathLike[str]]:
    given = [corpus] if isinstance(corpus, str | os.PathLike) else list(corpus)
    if not given:
        raise CorpusError("no corpus given: expected at least one file or directory")
    return given


def _absolute(name: str | os.PathLike[str]) -> str:
    named = isinstance(name, str) and (is_address(name) or name.startswith("datasets:"))
    return str(name) if named else str(Path(name).absolute())


def _local(given: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """The paths of files of token ids, which are read where they lie."""
    for name in given:
        if is_address(name):
            raise CorpusError(f"{name}: token ids are read from files here; copy it first")
    return [Path(name) for name in given]


def _say_they_are_ids(given: Sequence[str | os.PathLike[str]]) -> bool:
    """Whether the files themselves say that they are token ids; all of them or none.

    Raises OptionError for both kinds together.
    """
    paths = [Path(name) for name in given if not is_address(name)]
    ids = [name for name in paths if TokenCorpus.is_token_file(name)]
    if ids and len(ids) < len(given):
        raise OptionError(
            f"{ids[0]} is a file of token ids and others are text: build an index from the one "
            "and add nothing of the other kind"
        )
    return bool(ids)


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
        [_absolute(file.name), file.size, file.version]
        if isinstance(file, File)
        else [_absolute(file), *_size_and_time(file)]
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


def _check_tokenizer(stages: Stages, tokenizer: Tokenizer | None) -> None:
    """Raise BuildError if the corpus was read with a tokenizer that has changed since."""
    state = stages.state
    now = None if tokenizer is None else tokenizer_hash(tokenizer)
    if state["segment"] is not None and state["tokenizer"] != now:
        raise BuildError(
            f"'{stages.path}' holds an interrupted build whose tokenizer has changed: put it "
            "back, or start over with --restart"
        )
    state["tokenizer"] = now


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def _encoded(corpus: Iterable[TextDocument], tokenizer: Tokenizer) -> Iterator[TokenDocument]:
    """Encode documents in batches, in order; some are encoded while others are read or written."""
    pending: deque[tuple[list[TextDocument], Future[list[np.ndarray]]]] = deque()

    def finished() -> Iterator[TokenDocument]:
        batch, encoding = pending.popleft()
        ids = encoding.result()
        if np.concatenate(ids).max(initial=0) >= tokenizer.vocab_size:
            raise TokenizerError(
                f"tokenizer '{tokenizer.source}' made an id outside its own vocabulary of "
                f"{tokenizer.vocab_size:,}"
            )
        for document, document_ids in zip(batch, ids, strict=True):
            yield TokenDocument(document_ids, document.metadata)

    with ThreadPoolExecutor(BATCHES - 1) as pool:
        for batch in _batches(corpus):
            texts = [document.text for document in batch]
            pending.append((batch, pool.submit(tokenizer.encode_batch, texts)))
            if len(pending) == BATCHES:
                yield from finished()
        while pending:
            yield from finished()


def _batches(corpus: Iterable[TextDocument]) -> Iterator[list[TextDocument]]:
    batch: list[TextDocument] = []
    chars = 0
    for document in corpus:
        batch.append(document)
        chars += len(document.text)
        if chars >= BATCH_CHARS or len(batch) >= BATCH_DOCUMENTS:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch


def _text_tokenizer(stages: Stages, specification: str, corpus: TextCorpus) -> Tokenizer:
    """The tokenizer named, or one trained on the corpus, or that which a killed build trained."""
    vocab_size = training_vocab_size(specification)
    if vocab_size is None:
        return load_tokenizer(specification)
    if stages.state["trained"]:
        return HuggingFaceTokenizer((stages.path / fmt.TOKENIZER).read_bytes(), specification)
    clock = stages.clock
    clock.enter("train")

    def texts() -> Iterator[str]:
        for number, document in enumerate(corpus):
            if number % REPORT_EVERY == 0:
                clock.report(corpus.bytes_read, corpus.total_bytes)
            yield document.text
        clock.report(corpus.bytes_read, corpus.total_bytes)

    trained = train_tokenizer(texts(), corpus.estimated_text_bytes, vocab_size)
    assert trained.json is not None
    write_tokenizer_json(stages.path, trained.json)
    stages.state["trained"] = True
    clock.leave()
    stages.save()
    return trained


def _check_options(
    ids: bool,
    text_field: str,
    id_field: str | None,
    metadata_fields: Sequence[str] | None,
    on_error: str,
    pretokenized: str | None,
    separator_id: int | None,
) -> None:
    """Raise OptionError for options that make no sense, alone or together."""
    if on_error not in ("raise", "skip"):
        raise OptionError(f"on_error: expected 'raise' or 'skip', found {on_error!r}")
    if isinstance(metadata_fields, str):
        raise OptionError(f"metadata_fields: expected a list of fields, found {metadata_fields!r}")
    if not ids:
        if separator_id is not None:
            raise OptionError("separator_id goes with pretokenized: text has no ids of its own")
        return
    if text_field != "text" or id_field is not None or metadata_fields is not None:
        raise OptionError("text_field, id_field and metadata_fields go with text, not token ids")
    if pretokenized is not None and pretokenized not in fmt.TOKEN_DTYPES:
        raise OptionError(f"pretokenized: expected u8, u16 or u32, found {pretokenized!r}")
    largest = fmt.separator_of(pretokenized or "u32")
    if separator_id is not None and not 0 <= separator_id <= largest:
        raise OptionError(
            f"separator_id: expected 0 to {largest} for {pretokenized or 'token ids'}, found "
            f"{separator_id}"
        )


def _check_vocabulary(
    ids: bool, pretokenized: str | None, vocab_size: int | None, tokenizer: object
) -> None:
    """Raise OptionError for a vocabulary or tokenizer that makes no sense beside the corpus."""
    if not ids:
        if vocab_size is not None:
            raise OptionError("vocab_size goes with pretokenized: text has no ids of its own")
        return
    if isinstance(tokenizer, str) and tokenizer.startswith("train:"):
        raise OptionError(
            f"tokenizer '{tokenizer}': token ids hold no text to train on; name the tokenizer "
            "that made them, or none"
        )
    largest = fmt.separator_of(pretokenized or "u32")
    if vocab_size is not None and (tokenizer is not None or not 0 < vocab_size <= largest + 1):
        raise OptionError(
            f"vocab_size: expected 1 to {largest + 1} for {pretokenized or 'token'} ids without a "
            f"tokenizer, found {vocab_size}"
        )


def _vocab_size(corpus: TokenCorpus, vocab_size: int | None, tokenizer: Tokenizer | None) -> int:
    """The vocabulary of ids: what was said, or its tokenizer's, or every id of the width.

    Of the last, the all-ones id is left to the separator unless the corpus uses it. An id outside
    is refused.
    """
    if tokenizer is not None:
        vocab_size = tokenizer.vocab_size
        whose = f"the vocabulary of tokenizer '{tokenizer.source}'"
    elif vocab_size is not None:
        whose = "the vocabulary given"
    else:
        vocab_size = max(fmt.separator_of(corpus.width), corpus.max_id() + 1)
        whose = "what an index can hold"
    corpus.check_ids(min(vocab_size, fmt.separator_of("u32")), whose)
    return vocab_size


def _tokenizer_entry(tokenizer: Tokenizer | None) -> fmt.TokenizerEntry:
    if tokenizer is None:
        return fmt.TokenizerEntry(kind="none", source="none", sha256=None, query_prefix="")
    return fmt.TokenizerEntry(
        kind=tokenizer.kind,
        source=tokenizer.source,
        sha256=tokenizer_hash(tokenizer),
        query_prefix=tokenizer.query_prefix,
    )
