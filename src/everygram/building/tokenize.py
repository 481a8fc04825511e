"""Text documents in, token documents out, batch by batch."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from everygram.corpus.documents import TextDocument, TokenDocument
from everygram.errors import TokenizerError
from everygram.tokenizer.base import RefusedTextError, Tokenizer

# Text encoded at a time: enough to keep every core busy, little enough for memory.
BATCH_CHARS = 1 << 20
BATCH_DOCUMENTS = 4096
# Batches in progress at once: one is encoded while others are read and written.
BATCHES = 3
# Documents between two reports of progress.
REPORT_EVERY = 256
# Bytes of a document's metadata in messages.
METADATA_SHOWN = 100
# Memory of a large tokenizer and its caches; sorting blocks gets the rest.
ENCODING = 192 << 20


def encoded(
    corpus: Iterable[TextDocument],
    tokenizer: Tokenizer,
    threads: int = BATCHES - 1,
    refuse: Callable[[TokenizerError], None] | None = None,
) -> Iterator[TokenDocument]:
    """Encode documents in batches, in order; some are encoded while others are read or written.

    threads: the most batches that are encoded at once. (Inside a batch, the tokenizer's library
    uses as many threads as its own environment variable says.)
    refuse: takes the error of a document that the tokenizer cannot encode, and raises it or returns
        to leave the document out (default: raises it).
    """
    pending: deque[tuple[list[TextDocument], Future[list[np.ndarray]]]] = deque()
    number = 0

    def finished() -> Iterator[TokenDocument]:
        nonlocal number
        batch, encoding = pending.popleft()
        try:
            ids = encoding.result()
        except RefusedTextError:
            ids = None
        if ids is not None and np.concatenate(ids).max(initial=0) >= tokenizer.vocab_size:
            raise TokenizerError(
                f"tokenizer '{tokenizer.source}' made an id outside its own vocabulary of "
                f"{tokenizer.vocab_size:,}"
            )
        for place, document in enumerate(batch):
            number += 1
            if ids is not None:
                yield TokenDocument(ids[place], document.metadata)
                continue
            # One text of the batch was refused: encode each alone, to find which.
            try:
                (alone,) = tokenizer.encode_batch([document.text])
            except RefusedTextError as error:
                metadata = document.metadata[:METADATA_SHOWN].decode(errors="ignore")
                named = TokenizerError(
                    f"document {number:,} of the corpus (metadata {metadata}): {error}; leave it "
                    "out, or pass --on-error skip"
                )
                if refuse is None:
                    raise named from None
                refuse(named)
            else:
                yield TokenDocument(alone, document.metadata)

    with ThreadPoolExecutor(min(threads, BATCHES - 1)) as pool:
        for batch in _batches(corpus):
            texts = [document.text for document in batch]
            large = sum(map(len, texts)) > BATCHES * BATCH_CHARS
            pending.append((batch, pool.submit(tokenizer.encode_batch, texts)))
            del batch, texts
            # (Beside a large document, none other is held.)
            while len(pending) == BATCHES or (large and pending):
                yield from finished()
        while pending:
            yield from finished()


def _batches(corpus: Iterable[TextDocument]) -> Iterator[list[TextDocument]]:
    batch: list[TextDocument] = []
    chars = 0
    for document in corpus:
        batch.append(document)
        chars += len(document.text)
        del document
        if chars >= BATCH_CHARS or len(batch) >= BATCH_DOCUMENTS:
            full, batch, chars = [batch], [], 0
            yield full.pop()
    if batch:
        yield batch
