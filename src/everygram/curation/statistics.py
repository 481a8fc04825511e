"""What an index holds; see `everygram.results.statistics`."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from hashlib import blake2b

import numpy as np

from everygram import arguments
from everygram.curation.opened import Given, opened
from everygram.engine.engine import Engine
from everygram.errors import OptionError, TokenizerError
from everygram.index import Index
from everygram.results.statistics import (
    ByteTokens,
    Copies,
    Group,
    LengthBin,
    Lengths,
    Statistics,
    VocabularyUse,
)
from everygram.storage.metadata import text_of
from everygram.storage.segment import Segment

PERCENTS = (0, 1, 5, 25, 50, 75, 95, 99, 100)
# Ids that are counted together.
TOGETHER = 1 << 16
# Documents between two reports.
REPORT_EVERY = 1 << 10
Progress = Callable[[int, int], None]


def stats(index: Given, *, by: str | None = None, progress: Progress | None = None) -> Statistics:
    """What an index holds: documents, their lengths, vocabulary, empty and identical ones.

    by: a field of the metadata (a.b: field b inside a), by whose values documents and tokens are
    counted, too. progress: called with documents done and in all. Documents of a length that
    others have are read. Raises OptionError, DamagedIndexError.
    """
    by = None if by is None else arguments.string("by", by)
    tell = arguments.function("progress", progress) or (lambda done, total: None)
    with opened(index) as found:
        made = _stats(found, by, tell)
    if made.groups and all(group.value is None for group in made.groups):
        raise OptionError(f"by: no document's metadata has the field {by!r}")
    return made


def _stats(index: Index, by: str | None, progress: Progress) -> Statistics:
    engine, _, _, manifest, _ = index._state
    live = [
        (segment, local, engine.lengths_of(segment.numbers_of(local)))
        for segment, local in _live(engine)
    ]
    lengths = np.concatenate([np.empty(0, np.int64), *(each for _, _, each in live)])
    counts = _counts(engine, manifest.vocab_size)
    return Statistics(
        num_documents=lengths.shape[0],
        num_tokens=int(lengths.sum()),
        num_segments=sum(segment.entry.sign > 0 for segment in engine.segments),
        lengths=_lengths(lengths),
        empty=int((lengths == 0).sum()),
        identical=_identical(live, progress),
        vocabulary=_vocabulary(counts),
        byte_tokens=_byte_tokens(index, counts),
        field=by,
        groups=() if by is None else _groups(live, by),
    )


def _live(engine: Engine) -> Iterator[tuple[Segment, np.ndarray]]:
    """The segments, and of each the places of its documents that are not deleted."""
    for segment in engine.segments:
        if segment.entry.sign > 0:
            local = np.arange(segment.num_documents)
            yield segment, local[~engine.deleted(segment.numbers_of(local))]


def _lengths(lengths: np.ndarray) -> Lengths:
    if not lengths.shape[0]:
        return Lengths(None, {}, ())
    ascending = np.sort(lengths)
    # (The smallest rank that is so many percent of all, in integers.)
    ranks = [max(1, -(-percent * lengths.shape[0] // 100)) - 1 for percent in PERCENTS]
    percentiles = {
        str(percent): int(ascending[rank]) for percent, rank in zip(PERCENTS, ranks, strict=True)
    }
    edges = [0, *(1 << power for power in range(int(ascending[-1]).bit_length() + 1))]
    bounds = np.searchsorted(ascending, edges)
    sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(ascending)])
    bins = [
        LengthBin(low, high, int(last - first), int(sums[last] - sums[first]))
        for low, high, first, last in zip(edges, edges[1:], bounds, bounds[1:], strict=False)
    ]
    return Lengths(float(lengths.mean()), percentiles, tuple(bins))


def _counts(engine: Engine, vocab_size: int) -> np.ndarray:
    """How often each token id occurs: int64, shape (vocab_size,)."""
    counts = np.empty(vocab_size, np.int64)
    for begin in range(0, vocab_size, TOGETHER):
        ids = np.arange(begin, min(vocab_size, begin + TOGETHER))
        queries = engine.vocabulary.split(ids, np.arange(ids.shape[0] + 1))
        counts[begin : begin + ids.shape[0]] = engine.counts_of(engine.find_batch(queries))
    return counts


def _vocabulary(counts: np.ndarray) -> VocabularyUse:
    some = np.sort(counts[counts > 0])[::-1]
    slope = None
    if some.shape[0] > 1:
        ranks = np.arange(1, some.shape[0] + 1)
        x, y, weights = np.log10(ranks), np.log10(some), 1 / ranks
        x, y = x - np.average(x, weights=weights), y - np.average(y, weights=weights)
        slope = float((weights * x * y).sum() / (weights * x * x).sum())
    return VocabularyUse(
        size=counts.shape[0],
        types=some.shape[0],
        unused=counts.shape[0] - some.shape[0],
        once=int((some == 1).sum()),
        zipf_slope=slope,
    )


def _byte_tokens(index: Index, counts: np.ndarray) -> ByteTokens | None:
    if index.tokenizer is None:
        return None
    try:
        of = index._state.reading.token_bytes
    except TokenizerError:
        return None
    size = min(counts.shape[0], of.whole.shape[0])
    part, one = ~of.whole[:size], np.diff(of.starts)[:size] == 1
    number, total = int(counts[:size][part].sum()), int(counts.sum())
    return ByteTokens(
        tokens=number,
        single=int(counts[:size][part & one].sum()),
        types=int((counts[:size][part] > 0).sum()),
        share=number / total if total else None,
    )


def _identical(live: list[tuple[Segment, np.ndarray, np.ndarray]], progress: Progress) -> Copies:
    """Documents of the same tokens, told by digests that no two different ones have been found for
    (BLAKE2b, 256 bits)."""
    every = np.concatenate([np.empty(0, np.int64), *(lengths for _, _, lengths in live)])
    known, numbers = np.unique(every, return_counts=True)
    shared = known[(numbers > 1) & (known > 0)]
    sizes: dict[bytes, int] = defaultdict(int)
    length_of: dict[bytes, int] = {}
    total, done = int(np.isin(every, shared).sum()), 0
    for segment, local, lengths in live:
        those = np.isin(lengths, shared)
        for place, length in zip(local[those].tolist(), lengths[those].tolist(), strict=True):
            start, end = segment.document_bounds(place)
            data = np.ascontiguousarray(segment.text(start, end)).astype("<u4").data
            digest = blake2b(data, digest_size=32).digest()
            sizes[digest] += 1
            length_of[digest] = length
            done += 1
            if done % REPORT_EVERY == 0:
                progress(done, total)
    groups = {digest: size for digest, size in sizes.items() if size > 1}
    return Copies(
        groups=len(groups),
        documents=sum(groups.values()),
        copies=sum(groups.values()) - len(groups),
        tokens=sum((size - 1) * length_of[digest] for digest, size in groups.items()),
        largest=max(groups.values(), default=0),
    )


def _groups(live: list[tuple[Segment, np.ndarray, np.ndarray]], field: str) -> tuple[Group, ...]:
    documents: dict[str | None, int] = defaultdict(int)
    tokens: dict[str | None, int] = defaultdict(int)
    for segment, local, lengths in live:
        for place, length in zip(local.tolist(), lengths.tolist(), strict=True):
            value = text_of(segment.metadata(place), field)
            documents[value] += 1
            tokens[value] += length
    order = sorted(documents, key=lambda value: (-tokens[value], value is None, value or ""))
    return tuple(Group(value, documents[value], tokens[value]) for value in order)
