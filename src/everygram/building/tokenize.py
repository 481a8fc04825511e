"""Text documents in, token documents out, batch by batch."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from everygram.corpus.documents import TextDocument, TokenDocument
from everygram.errors import TokenizerError
from everygram.tokenizer.base import Tokenizer

# Text encoded at a time: enough to keep every core busy, little enough for memory.
BATCH_CHARS = 1 << 20
BATCH_DOCUMENTS = 4096
# Batches in progress at once: one is encoded while others are read and written.
BATCHES = 3
# Documents between two reports of progress.
REPORT_EVERY = 256
# Memory of a large tokenizer and its caches; sorting blocks gets the rest.
ENCODING = 192 << 20


def encoded(
    corpus: Iterable[TextDocument], tokenizer: Tokenizer, threads: int = BATCHES - 1
) -> Iterator[TokenDocument]:
    """Encode documents in batches, in order; some are encoded while others are read or written.

    threads: the most batches that are encoded at once. (Inside a batch, the tokenizer's library
    uses as many threads as its own environment variable says.)
    """
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

    with ThreadPoolExecutor(min(threads, BATCHES - 1)) as pool:
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
