"""Text documents in, token documents out, batch by batch; and which vocabulary an index gets."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from everygram.building.stages import Stages
from everygram.corpus.documents import TextDocument, TokenDocument
from everygram.corpus.text import TextCorpus
from everygram.corpus.tokens import TokenCorpus
from everygram.errors import BuildError, OptionError, TokenizerError
from everygram.storage import format as fmt
from everygram.storage.directory import write_tokenizer_json
from everygram.tokenizer.base import Tokenizer
from everygram.tokenizer.choose import (
    load_tokenizer,
    tokenizer_hash,
    train_tokenizer,
    training_vocab_size,
)
from everygram.tokenizer.huggingface import HuggingFaceTokenizer

# Text encoded at a time: enough to keep every core busy, little enough to hold.
BATCH_CHARS = 1 << 20
BATCH_DOCUMENTS = 4096
# Batches under way at once: one being encoded, others being read and written.
BATCHES = 3
# Documents between two reports of progress.
REPORT_EVERY = 256
# What a large tokenizer and its caches hold, beside which blocks are sorted.
ENCODING = 192 << 20


def check_tokenizer(stages: Stages, tokenizer: Tokenizer | None) -> None:
    """Raise BuildError if the corpus was read with a tokenizer that has changed since."""
    state = stages.state
    now = None if tokenizer is None else tokenizer_hash(tokenizer)
    if state["segment"] is not None and state["tokenizer"] != now:
        raise BuildError(
            f"'{stages.path}' holds an interrupted build whose tokenizer has changed: put it "
            "back, or start over with --restart"
        )
    state["tokenizer"] = now


def encoded(corpus: Iterable[TextDocument], tokenizer: Tokenizer) -> Iterator[TokenDocument]:
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


def text_tokenizer(stages: Stages, specification: str, corpus: TextCorpus) -> Tokenizer:
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


def check_vocabulary(
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


def vocab_size_of(corpus: TokenCorpus, vocab_size: int | None, tokenizer: Tokenizer | None) -> int:
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


def tokenizer_entry(tokenizer: Tokenizer | None) -> fmt.TokenizerEntry:
    if tokenizer is None:
        return fmt.TokenizerEntry(kind="none", source="none", sha256=None, query_prefix="")
    return fmt.TokenizerEntry(
        kind=tokenizer.kind,
        source=tokenizer.source,
        sha256=tokenizer_hash(tokenizer),
        query_prefix=tokenizer.query_prefix,
    )
