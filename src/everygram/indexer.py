"""Corpus to index: read, tokenize, sort, write, publish."""

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from everygram import format as fmt
from everygram.corpus import OnError, TextCorpus, TextDocument, TokenCorpus, TokenDocument
from everygram.errors import BuildError, CorpusError, TokenizerError
from everygram.index import new_index, publish
from everygram.segment import SegmentWriter
from everygram.tokenizer import (
    Tokenizer,
    load_tokenizer,
    tokenizer_hash,
    train_tokenizer,
    training_vocab_size,
)

# A segment's stream: the sorter takes about six times this much memory. Tests lower it.
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
    what has been read so far, `total_bytes` the corpus files, `seconds` is since the start.
    """

    stage: str
    documents: int
    tokens: int
    bytes_read: int
    total_bytes: int
    seconds: float


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
    tokenizer: str | None = None,
    *,
    text_field: str = "text",
    on_error: OnError = "raise",
    pretokenized: str | None = None,
    separator_id: int | None = None,
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

    Raises CorpusError, TokenizerError, BuildError; what was there before is untouched then.
    """
    paths = [Path(corpus)] if isinstance(corpus, (str, os.PathLike)) else [Path(p) for p in corpus]
    if on_error not in ("raise", "skip"):
        raise BuildError(f"on_error: expected 'raise' or 'skip', found {on_error!r}")
    if not paths:
        raise CorpusError("no corpus given: expected at least one file or directory")
    out = Path(out)
    clock = _Clock(progress or (lambda _: None))
    encoder: Tokenizer | None
    try:
        with new_index(out):
            documents: Iterable[TokenDocument]
            source: TextCorpus | TokenCorpus
            if pretokenized is None:
                if separator_id is not None:
                    raise BuildError("separator_id goes with pretokenized: text has no separators")
                source = TextCorpus(paths, text_field, on_error)
                clock.source = source
                encoder = _text_tokenizer(tokenizer or "bytes", source, clock)
                vocab_size = encoder.vocab_size
                documents = _encoded(source, encoder)
            else:
                source = _token_corpus(paths, pretokenized, separator_id)
                clock.source = source
                encoder = None if tokenizer is None else _known_tokenizer(tokenizer)
                vocab_size = _vocab_size(source, encoder)
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
            raise
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
                seconds=time.monotonic() - self._start,
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
    with contextlib.ExitStack() as cleanup:
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
                cleanup.callback(writer.abort)
            writer.add(document.ids, document.metadata)
            clock.documents += 1
            clock.tokens += document.ids.shape[0]
            if clock.documents % REPORT_EVERY == 0:
                clock.report()
        clock.report()
        if writer is not None:
            yield writer.finish(clock.enter)


def _encoded(corpus: Iterable[TextDocument], tokenizer: Tokenizer) -> Iterator[TokenDocument]:
    """Encode documents in batches, in order."""
    for batch in _batches(corpus):
        ids = tokenizer.encode_batch([document.text for document in batch])
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


def _known_tokenizer(specification: str) -> Tokenizer:
    if specification.startswith("train:"):
        raise TokenizerError(
            f"tokenizer '{specification}': token ids hold no text to train on; name the tokenizer "
            "that made them, or none"
        )
    return load_tokenizer(specification)


def _token_corpus(paths: list[Path], pretokenized: str, separator_id: int | None) -> TokenCorpus:
    if pretokenized not in fmt.TOKEN_DTYPES:
        raise BuildError(f"pretokenized: expected u8, u16 or u32, found {pretokenized!r}")
    largest = fmt.separator_of(pretokenized)
    if separator_id is None:
        raise BuildError(
            "pretokenized files need separator_id: the id that marks their documents (GPT-2's "
            f"end of text is 50256; infini-gram's files have {largest})"
        )
    if not 0 <= separator_id <= largest:
        raise BuildError(
            f"separator_id: expected 0 to {largest} for {pretokenized}, found {separator_id}"
        )
    return TokenCorpus(paths, pretokenized, separator_id)


def _vocab_size(corpus: TokenCorpus, tokenizer: Tokenizer | None) -> int:
    """The tokenizer's vocabulary, which every id must be in; without one, up to the largest id."""
    used = corpus.max_id() + 1
    if tokenizer is None:
        return used
    if used > tokenizer.vocab_size:
        place = corpus.place_of_id_above(tokenizer.vocab_size - 1)
        raise CorpusError(
            f"{place}, which is outside the vocabulary of tokenizer '{tokenizer.source}' "
            f"(0 to {tokenizer.vocab_size - 1:,}): another tokenizer, dtype or separator id?"
        )
    return tokenizer.vocab_size


def _tokenizer_entry(tokenizer: Tokenizer | None) -> fmt.TokenizerEntry:
    if tokenizer is None:
        return fmt.TokenizerEntry(kind="none", source="none", sha256=None, query_prefix="")
    return fmt.TokenizerEntry(
        kind=tokenizer.kind,
        source=tokenizer.source,
        sha256=tokenizer_hash(tokenizer),
        query_prefix=tokenizer.query_prefix,
    )
