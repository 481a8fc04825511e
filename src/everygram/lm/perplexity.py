"""How well a language model predicts documents.

In: documents as ids, and a function that gives the log-probabilities of a batch of them. Out: a
`Perplexity` for each, in order. Knows nothing of indexes or models.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import numpy as np

from everygram.errors import TokenizerError
from everygram.lm.ordered import in_order
from everygram.results.perplexity import Perplexity
from everygram.tokenizer.base import RefusedTextError

# A document's ids (any integer dtype, shape (n,)), and its text, if it was one.
Document = tuple[np.ndarray, str | None]
# Ids, and the offsets that divide them into documents (as `Index.count_batch` takes them) -> the
# log-probabilities of each document: float64, of the shape of its ids.
LogProbsBatch = Callable[[np.ndarray, np.ndarray], Sequence[np.ndarray]]

# Ids, and documents, that a thread takes at a time. (A longer document is a batch of its own.)
BATCH_TOKENS, BATCH_DOCUMENTS = 1 << 15, 1 << 10
# Characters, and texts, that are encoded at a time.
ENCODED_CHARS, ENCODED_TEXTS = 1 << 18, 1 << 10


def perplexity_of(
    documents: Iterable[Document],
    log_probs_batch: LogProbsBatch,
    end: int | None = None,
    threads: int | None = None,
) -> Perplexity:
    """The perplexity of documents together; of none, 0 tokens. As `perplexities`."""
    each = perplexities(documents, log_probs_batch, end, threads)
    return sum(each, start=Perplexity(0, 0, 0, 0, 0.0, 0, 0.0))


def perplexities(
    documents: Iterable[Document],
    log_probs_batch: LogProbsBatch,
    end: int | None = None,
    threads: int | None = None,
) -> Iterator[Perplexity]:
    """The perplexity of each document, in order.

    log_probs_batch: gives those of documents, each conditioned on its start. Several threads call
        it at once.
    end: the id whose log-probability after a document is that of its end, which counts, too; None:
        ends do not count.
    threads: the most at once (default: one per processor).
    Memory: for each thread and one more, a batch of BATCH_TOKENS ids, or one longer document.
    """
    work = partial(_measured, log_probs_batch, end)
    for batch in in_order(work, _batches(documents), threads):
        yield from batch


def encoded(
    texts: Iterable[str | np.ndarray],
    encode_batch: Callable[[list[str]], Sequence[np.ndarray]],
    refuse: Callable[[int, TokenizerError], None] | None = None,
) -> Iterator[Document]:
    """Texts as documents, in order; what is ids already stays as it is.

    encode_batch: the ids of each text, as a corpus's documents are encoded.
    refuse: takes the number of a text that the tokenizer cannot encode, from 0, and the error, and
        raises or returns to leave it out (default: raises it).
    """
    held: list[tuple[int, str | np.ndarray]] = []
    chars = 0
    for number, text in enumerate(texts):
        held.append((number, text))
        chars += len(text) if isinstance(text, str) else 0
        if chars >= ENCODED_CHARS or len(held) >= ENCODED_TEXTS:
            yield from _encoded(held, encode_batch, refuse)
            held, chars = [], 0
    yield from _encoded(held, encode_batch, refuse)


def _encoded(
    held: list[tuple[int, str | np.ndarray]],
    encode_batch: Callable[[list[str]], Sequence[np.ndarray]],
    refuse: Callable[[int, TokenizerError], None] | None,
) -> Iterator[Document]:
    texts = [text for _, text in held if isinstance(text, str)]
    try:
        made = iter(encode_batch(texts) if texts else ())
    except RefusedTextError as error:
        if len(held) == 1:
            named = TokenizerError(f"document {held[0][0] + 1:,}: {error}")
            if refuse is None:
                raise named from None
            refuse(held[0][0], named)
            return
        made = None
    if made is None:  # one of them was refused: each alone, to find which
        for one in held:
            yield from _encoded([one], encode_batch, refuse)
        return
    for _, text in held:
        yield (next(made), text) if isinstance(text, str) else (text, None)


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    tokens = 0
    for document in documents:
        batch.append(document)
        tokens += document[0].shape[0]
        if tokens >= BATCH_TOKENS or len(batch) >= BATCH_DOCUMENTS:
            yield batch
            batch, tokens = [], 0
    if batch:
        yield batch


def _measured(
    log_probs_batch: LogProbsBatch, end: int | None, batch: list[Document]
) -> list[Perplexity]:
    last = np.array([] if end is None else [end], np.int64)
    ids = [part for each, _ in batch for part in (each, last)]
    offsets = np.cumsum([0, *(each.shape[0] + last.shape[0] for each, _ in batch)])
    found = log_probs_batch(np.concatenate(ids), offsets)
    return [
        perplexity_of_log_probs(log_probs, text)
        for log_probs, (_, text) in zip(found, batch, strict=True)
    ]


def perplexity_of_log_probs(log_probs: np.ndarray, text: str | None) -> Perplexity:
    """The perplexity of one document, from the log-probabilities of its events (nats)."""
    zeros = np.isneginf(log_probs)
    number = int(np.count_nonzero(zeros))
    without = float(log_probs.sum(where=~zeros))
    return Perplexity(
        documents=1,
        tokens=int(log_probs.shape[0]),
        words=None if text is None else len(text.split()),
        bytes=None if text is None else len(text.encode()),
        log_likelihood=-np.inf if number else without,
        zeros=number,
        log_likelihood_without_zeros=without,
    )
