"""Corpus to index: read, tokenize, sort, write, publish."""

import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from everygram import format as fmt
from everygram.corpus import OnError, TextCorpus, TextDocument, TokenCorpus, TokenDocument
from everygram.errors import BuildError, CorpusError, OptionError, TokenizerError
from everygram.index import new_index, publish
from everygram.segment import SegmentWriter
from everygram.tokenizer import (
    Tokenizer,
    load_tokenizer,
    tokenizer_hash,
    train_tokenizer,
    training_vocab_size,
)

# A segment's stream: the sorter takes two to six times this much memory. Tests lower it.
MAX_SEGMENT_BYTES = 1 << 30
# Text encoded at a time: enough to keep every core busy, little enough to hold.
BATCH_CHARS = 1 << 22
BATCH_DOCUMENTS = 4096
# Documents between two reports of progress.
REPORT_EVERY = 256


@dataclass(frozen=True)
class Progress:
    """Where a build is.

    `stage` is "train", "read", "sort", "write" or "publish"; documents, tokens and bytes count
    what has been read so far, `total_bytes` the corpus files; `seconds` is since the start,
    `stage_seconds` what this stage has taken.
    """

    stage: str
    documents: int
    tokens: int
    bytes_read: int
    total_bytes: int
    seconds: float
    stage_seconds: float


@dataclass(frozen=True)
class BuildReport:
    """What a build made: counts, what it left out (`skips` lists the first), seconds a stage."""

    path: Path
    num_documents: int
    num_tokens: int
    num_segments: int
    skipped: int
    skips: tuple[str, ...]
    seconds: dict[str, float]


def build(
    corpus: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    tokenizer: str | os.PathLike[str] | None = None,
    *,
    text_field: str = "text",
    on_error: OnError = "raise",
    pretokenized: str | None = None,
    separator_id: int | None = None,
    vocab_size: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> BuildReport:
    """Index a corpus into a new folder.

    corpus: one path or several: `.jsonl`, `.jsonl.gz`, `.jsonl.zst`, `.txt`, directories.
    out: a folder that does not exist, is empty, or holds a build that was killed.
    tokenizer: "bytes" (the default), the path of a `tokenizer.json`, "train:VOCAB", or a hub name.
    text_field: the field of a JSON record that is its text.
    on_error: "skip" leaves out, counts and lists what cannot be read, instead of raising.
    pretokenized: "u8", "u16" or "u32": the corpus is raw little-endian token ids, its documents
        marked by `separator_id`; `tokenizer` then names the tokenizer that made them, if known.
    vocab_size: for ids without a tokenizer: they are in [0, vocab_size). Unless given, every id
        of that width is in the vocabulary.

    Raises OptionError, CorpusError, TokenizerError, BuildError; what was there before is untouched
    then.
    """
    paths = [Path(corpus)] if isinstance(corpus, (str, os.PathLike)) else [Path(p) for p in corpus]
    _check_options(text_field, on_error, pretokenized, separator_id, vocab_size, tokenizer)
    if not paths:
        raise CorpusError("no corpus given: expected at least one file or directory")
    out = Path(out)
    named = None if tokenizer is None else os.fspath(tokenizer)
    clock = _Clock(progress or (lambda _: None))
    encoder: Tokenizer | None
    try:
        with new_index(out):
            documents: Iterable[TokenDocument]
            source: TextCorpus | TokenCorpus
            if pretokenized is None:
                source = clock.source = TextCorpus(paths, text_field, on_error)
                encoder = _text_tokenizer("bytes" if named is None else named, source, clock)
                vocab_size = encoder.vocab_size
                documents = _encoded(source, encoder)
            else:
                assert separator_id is not None
                source = clock.source = TokenCorpus(paths, pretokenized, separator_id)
                encoder = None if named is None else load_tokenizer(named)
                vocab_size = _vocab_size(source, pretokenized, vocab_size, encoder)
                documents = source
            dtype = fmt.token_dtype(vocab_size)
            segments = tuple(_write_segments(out, documents, dtype, clock))
            clock.enter("publish")
            publish(
                out,
                fmt.Manifest(
                    everygram_version=version("everygram"),
                    dtype=dtype,
                    separator=fmt.separator_of(dtype),
                    vocab_size=vocab_size,
                    tokenizer=_tokenizer_entry(encoder),
                    segments=segments,
                ),
                None if encoder is None else encoder.json,
            )
            clock.leave()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise BuildError(f"cannot build '{out}': {error}") from error
        raise BuildError(
            f"no space left at '{out}' ({error.strerror}); what was written was removed; free "
            "some or choose another disk"
        ) from None
    return BuildReport(
        path=out,
        num_documents=sum(segment.num_documents for segment in segments),
        num_tokens=sum(segment.num_tokens for segment in segments),
        num_segments=len(segments),
        skipped=source.skipped,
        skips=tuple(source.skips),
        seconds=clock.seconds,
    )


class _Clock:
    """Counts what a build has read, times its stages and reports both."""

    def __init__(self, progress: Callable[[Progress], None]) -> None:
        self._progress = progress
        self._stage = ""
        self._start = self._entered = time.monotonic()
        self.source: TextCorpus | TokenCorpus | None = None
        self.documents = 0
        self.tokens = 0
        self.seconds: dict[str, float] = {}

    def enter(self, stage: str) -> None:
        self.leave()
        self._stage = stage
        self.report()

    def leave(self) -> None:
        now = time.monotonic()
        if self._stage:
            spent = now - self._entered
            self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + spent
        self._stage = ""
        self._entered = now

    def report(self) -> None:
        self._progress(
            Progress(
                stage=self._stage,
                documents=self.documents,
                tokens=self.tokens,
                bytes_read=self.source.bytes_read if self.source else 0,
                total_bytes=self.source.total_bytes if self.source else 0,
                seconds=(now := time.monotonic()) - self._start,
                stage_seconds=self.seconds.get(self._stage, 0.0) + now - self._entered,
            )
        )


def _write_segments(
    out: Path, documents: Iterable[TokenDocument], dtype: str, clock: _Clock
) -> Iterator[fmt.SegmentEntry]:
    """Cut the documents into segments of at most MAX_SEGMENT_BYTES (or one document)."""
    itemsize = fmt.TOKEN_DTYPES[dtype].itemsize
    number = 0
    writer: SegmentWriter | None = None
    clock.enter("read")
    try:
        for document in documents:
            size = (1 + document.ids.shape[0]) * itemsize
            if writer is not None and writer.stream_bytes + size > MAX_SEGMENT_BYTES:
                yield writer.finish(clock.enter)
                writer = None
                clock.enter("read")
            if writer is None:
                number += 1
                folder = out / f"{fmt.SEGMENT_PREFIX}{number:06d}"
                writer = SegmentWriter(folder, dtype, first_document=clock.documents)
            writer.add(document.ids, document.metadata)
            clock.documents += 1
            clock.tokens += document.ids.shape[0]
            if clock.documents % REPORT_EVERY == 0:
                clock.report()
        clock.report()
        if writer is not None:
            yield writer.finish(clock.enter)
    except BaseException:
        if writer is not None:
            writer.abort()
        raise


def _encoded(corpus: Iterable[TextDocument], tokenizer: Tokenizer) -> Iterator[TokenDocument]:
    """Encode documents in batches, in order."""
    for batch in _batches(corpus):
        ids = tokenizer.encode_batch([document.text for document in batch])
        if any(each.max(initial=0) >= tokenizer.vocab_size for each in ids):
            raise TokenizerError(
                f"tokenizer '{tokenizer.source}' made an id outside its own vocabulary of "
                f"{tokenizer.vocab_size:,}"
            )
        for document, document_ids in zip(batch, ids, strict=True):
            yield TokenDocument(document_ids, document.metadata)


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


def _text_tokenizer(specification: str, corpus: TextCorpus, clock: _Clock) -> Tokenizer:
    vocab_size = training_vocab_size(specification)
    if vocab_size is None:
        return load_tokenizer(specification)
    clock.enter("train")

    def texts() -> Iterator[str]:
        for number, document in enumerate(corpus):
            if number % REPORT_EVERY == 0:
                clock.report()
            yield document.text
        clock.report()

    return train_tokenizer(texts(), corpus.estimated_text_bytes, vocab_size)


def _check_options(
    text_field: str,
    on_error: str,
    pretokenized: str | None,
    separator_id: int | None,
    vocab_size: int | None,
    tokenizer: object,
) -> None:
    """Raise OptionError for options that make no sense, alone or together."""
    if on_error not in ("raise", "skip"):
        raise OptionError(f"on_error: expected 'raise' or 'skip', found {on_error!r}")
    if pretokenized is None:
        for name, value in (("separator_id", separator_id), ("vocab_size", vocab_size)):
            if value is not None:
                raise OptionError(f"{name} goes with pretokenized: text has no ids of its own")
        return
    if pretokenized not in fmt.TOKEN_DTYPES:
        raise OptionError(f"pretokenized: expected u8, u16 or u32, found {pretokenized!r}")
    if text_field != "text" or on_error != "raise":
        raise OptionError("text_field and on_error go with text, not with pretokenized ids")
    if isinstance(tokenizer, str) and tokenizer.startswith("train:"):
        raise OptionError(
            f"tokenizer '{tokenizer}': token ids hold no text to train on; name the tokenizer "
            "that made them, or none"
        )
    largest = fmt.separator_of(pretokenized)
    if separator_id is None:
        raise OptionError(
            "pretokenized files need separator_id: the id that marks their documents (GPT-2's "
            f"end of text is 50256; infini-gram's files have {largest})"
        )
    if not 0 <= separator_id <= largest:
        raise OptionError(
            f"separator_id: expected 0 to {largest} for {pretokenized}, found {separator_id}"
        )
    if vocab_size is not None and (tokenizer is not None or not 0 < vocab_size <= largest + 1):
        raise OptionError(
            f"vocab_size: expected 1 to {largest + 1} for {pretokenized} ids without a tokenizer, "
            f"found {vocab_size}"
        )


def _vocab_size(
    corpus: TokenCorpus, dtype: str, vocab_size: int | None, tokenizer: Tokenizer | None
) -> int:
    """The vocabulary of ids: what was said, or its tokenizer's, or every id of the width.

    Of the last, the all-ones id is left to the separator unless the corpus uses it. Raises
    CorpusError for an id outside.
    """
    largest = corpus.max_id()
    if tokenizer is not None:
        vocab_size = tokenizer.vocab_size
        whose = f"the vocabulary of tokenizer '{tokenizer.source}'"
    elif vocab_size is not None:
        whose = "the vocabulary given"
    else:
        vocab_size = max(fmt.separator_of(dtype), largest + 1)
        whose = "what an index can hold"
    limit = min(vocab_size, fmt.separator_of("u32"))
    if largest >= limit:
        raise CorpusError(
            f"{corpus.place_of_id_above(limit - 1)}, which is outside {whose} "
            f"(0 to {limit - 1:,}): another tokenizer, width or separator id?"
        )
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
