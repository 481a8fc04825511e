"""The most frequent n-grams of an index, exactly, for any n: one pass over its sorted suffixes."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from everygram import arguments
from everygram.arguments import Size, natural
from everygram.building.stages import resources
from everygram.curation.opened import Given, opened
from everygram.curation.stream import SortedStream, sorted_stream, values_of
from everygram.curation.work import work_on
from everygram.errors import DamagedIndexError, OptionError
from everygram.index import Index
from everygram.progress import Clock, Progress
from everygram.results.frequent import FrequentNgram, FrequentNgrams
from everygram.storage.self_index import ahead

# Ranks that one thread reads at a time, and numbers that all heaps have room for.
RANKS, MOST_KEPT = 1 << 20, 1 << 26
# The longest n-grams: lengths are kept in a byte.
LONGEST = 254
OCCURRENCES, DOCUMENTS = "occurrences", "documents"
Counted = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def top_ngrams(
    index: Given,
    n: int = 5,
    *,
    top: int = 1_000,
    max_n: int | None = None,
    maximal: bool = False,
    order: str = OCCURRENCES,
    min_count: int = 1,
    by: str | None = None,
    work_dir: str | os.PathLike[str] | None = None,
    memory: Size | None = None,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> FrequentNgrams:
    """The `top` most frequent n-grams of n tokens, or of each length from n to max_n.

    index: an open one, a union, or a path. An n-gram is inside one document that is not deleted.
    maximal: only n-grams that occur at least twice and are no part of a longer one with as many
        occurrences: not all of these have one token before, or one token behind them.
    order: "occurrences", or "documents": what is compared, and what `min_count` is the least of.
    by: a field of the metadata (a.b: b inside a): the most frequent for each of its values, counted
        in documents that have it.
    work_dir: as in `duplicates`.
    memory: for merging, where an index has several segments (bytes, or a text as "4GiB").

    Reads every token once; takes some 10 bytes per token of disk, in `work_dir` or where the system
    has its temporary files, if the index is not one segment with a suffix array. Raises
    OptionError, DamagedIndexError, BuildError.
    """
    n = natural("n", n, 1)
    longest = n if max_n is None else natural("max_n", max_n, n)
    if longest > LONGEST:
        name = "n" if max_n is None else "max_n"
        raise OptionError(f"{name}: expected at most {LONGEST} tokens, found {longest:,}")
    top, least = natural("top", top, 1), natural("min_count", min_count, 1)
    maximal = arguments.flag("maximal", maximal)
    if arguments.string("order", order) not in (OCCURRENCES, DOCUMENTS):
        raise OptionError(
            f"order: expected {OCCURRENCES} or {DOCUMENTS}, found {arguments.short(order)}"
        )
    field = None if by is None else arguments.string("by", by)
    memory, threads = resources(memory, threads)
    clock = Clock(arguments.function("progress", progress) or (lambda _: None))
    folder = None if work_dir is None else arguments.path("work_dir", work_dir)
    with opened(index) as found, work_on(found, folder, clock) as files:
        stream = sorted_stream(found, files, memory, threads)
        names, source_of = _sources(found, stream, field)
        kept, sizes = _heaps(len(names), longest - n + 1, top)
        clock.enter("ngrams")
        clock.documents, clock.tokens = stream.numbers.shape[0], stream.tokens.shape[0]
        by_documents = order == DOCUMENTS
        _count(stream, source_of, n, kept, sizes, by_documents, maximal, least, threads, clock)
        ngrams = _read(found, stream, n, kept, sizes, names)
        clock.leave()
        return FrequentNgrams(tuple(ngrams), order, found.num_tokens, clock.seconds)


def _sources(
    index: Index, stream: SortedStream, field: str | None
) -> tuple[list[str | None], np.ndarray]:
    """The values of a field, as texts in order, and which of them each document has: int64."""
    if field is None:
        return [None], np.zeros(stream.numbers.shape[0], np.int64)
    values = values_of(index, field, stream.numbers)
    names = sorted(set(values), key=lambda name: (name is not None, name))
    places = {name: place for place, name in enumerate(names)}
    return names, np.array([places[value] for value in values], np.int64)


def _heaps(sources: int, lengths: int, top: int) -> tuple[np.ndarray, np.ndarray]:
    from everygram.kernels import frequent as kernels

    room = sources * lengths * top
    if room > MOST_KEPT:
        raise OptionError(
            f"top: {top:,} n-grams of {lengths:,} lengths in {sources:,} sources are more than "
            f"{MOST_KEPT:,}; ask for fewer"
        )
    kept = np.empty((sources, lengths, top, kernels.KEPT_COLUMNS), np.int64)
    return kept, np.zeros((sources, lengths), np.int64)


def _count(
    stream: SortedStream,
    source_of: np.ndarray,
    n: int,
    kept: np.ndarray,
    sizes: np.ndarray,
    by_documents: bool,
    maximal: bool,
    least: int,
    threads: int,
    clock: Clock,
) -> None:
    """Fill the heaps. Neighbours are compared by all threads; n-grams are counted by one."""
    from everygram.kernels import frequent as kernels

    total, longest = stream.tokens.shape[0], n + kept.shape[1] - 1
    if not total:
        return
    positions = np.arange(0, total, 1 << kernels.SAMPLED_SHIFT)
    sampled = np.searchsorted(stream.offsets, positions, "right") - 1

    def compare(first: int) -> Counted:
        size = min(RANKS, total - first)
        made = (
            np.empty(size, np.uint8),
            np.empty(size, np.uint8),
            np.empty(size, np.uint32),
            np.empty(size, np.int64),
        )
        if not kernels.neighbours(
            stream.tokens,
            stream.separator,
            stream.suffix_array,
            first,
            longest + 1,
            stream.offsets,
            sampled,
            *made,
        ):
            raise DamagedIndexError(
                "the index is damaged: a position past its end; 'everygram verify' says where"
            )
        return made

    last_of = np.full(stream.offsets.shape[0], -1, np.int64)
    bounds = np.zeros(longest + 2, np.int64)
    sources = np.full((kept.shape[0], kernels.SOURCE_COLUMNS), -1, np.int64)
    runs = np.full((*kept.shape[:2], kernels.RUN_COLUMNS), -1, np.int64)
    sources[:, kernels.SUFFIXES] = runs[:, :, kernels.REPEATS] = 0
    rules = by_documents, maximal, least
    with ThreadPoolExecutor(threads) as pool:
        begins = range(0, total, RANKS)
        found: Counted
        for first, found in zip(begins, ahead(pool, threads + 1, compare, begins), strict=True):
            state = source_of, last_of, bounds, sources, runs, kept, sizes
            kernels.collect(first, n, stream.separator, *found, *state, *rules)
            clock.report(first, total)
    for x in range(kept.shape[0]):
        kernels.end_runs(0, n, sources[x], runs[x], kept[x], sizes[x], *rules)


def _read(
    index: Index,
    stream: SortedStream,
    n: int,
    kept: np.ndarray,
    sizes: np.ndarray,
    names: list[str | None],
) -> list[FrequentNgram]:
    """The n-grams of the heaps, in order."""
    from everygram.kernels import frequent as kernels
    from everygram.storage.disk import positions_in

    found = []
    for x, name in enumerate(names):
        for place in range(kept.shape[1]):
            rows = kept[x, place, : sizes[x, place]]
            rows = rows[np.lexsort((rows[:, kernels.KEPT_RANK], -rows[:, kernels.KEY]))]
            begins = positions_in(stream.suffix_array[rows[:, kernels.KEPT_RANK]]).tolist()
            counts = rows[:, [kernels.OCCURRENCES, kernels.DOCUMENTS]].tolist()
            for begin, (count, documents) in zip(begins, counts, strict=True):
                ids = stream.tokens[begin : begin + n + place]
                found.append(FrequentNgram.of(ids, index._state.reading, count, documents, name))
    return found
