"""Modified Kneser-Ney smoothing of any order, or of none, over a prepared index of one segment."""

from time import perf_counter_ns

import numpy as np

from everygram.engine.engine import Engine
from everygram.engine.intervals import damaged
from everygram.engine.pace import spread
from everygram.engine.queries import Queries
from everygram.errors import DamagedIndexError
from everygram.kernels import entry, rows
from everygram.kernels import kneser_ney as kernels
from everygram.lm.discounts import logs_of, table_of
from everygram.lm.smoothing import Smoothing
from everygram.storage.disk import address_of
from everygram.storage.prepared import Prepared, node_dtype
from everygram.storage.segment import Segment

# Tokens of a text that one thread takes at a time, and the lengths of n-grams that are looked up
# for all its places together; longer ones are looked up where they are needed.
CHUNK = 4096
TOGETHER = 8
# More n-grams than any index has.
MOST = 1 << 60


class KneserNey(Smoothing):
    """Modified Kneser-Ney smoothing, interpolated, exactly (Chen & Goodman 1999).

    With an order as KenLM's (Heafield et al. 2013), a document being a sentence; without one every
    level counts continuations (Shareghi et al. 2016). Ids that do not occur share the probability
    that KenLM gives to its unknown word. Raises DamagedIndexError for files that contradict one
    another.
    """

    def __init__(
        self,
        engine: Engine,
        prepared: Prepared,
        order: int | None,
        fallback: tuple[float, float, float] | None,
        compat: bool,
    ) -> None:
        super().__init__(engine, order)
        (segment,) = engine.segments
        self._segment, self._prepared = segment, prepared
        self._row = segment.prepare(self.vocab_size, ())
        # As of document counts, with tokens in place of documents.
        self._lefts = self._row.copy()
        self._lefts[rows.COUNTS] = address_of(prepared.lefts)
        self._lefts[rows.DOCUMENTS] = prepared.info.lefts
        # (No sound file has more, and a damaged one must not overflow.)
        levels = np.clip(prepared.levels, 0, MOST)
        if compat and order is not None:
            self._misfile(levels, order)
        self.discounts = table_of(levels, order, fallback)
        self._logs = logs_of(self.discounts)
        self._unigrams = self._after_nothing()

    def log_probs(self, text: Queries, first: int) -> np.ndarray:
        n = text.ids.shape[0]
        none = np.empty((0, 1, 2), np.int64)
        reach = np.arange(n) + self.engine.match_lengths(text, True, none)
        found = np.empty(n - first)

        def fill(begin: int, end: int) -> None:
            begin, end = first + begin, first + end
            base = max(0, begin - TOGETHER)
            table = self._table(text, reach, base, end)
            pace, start = self.engine.pace, perf_counter_ns()
            at = kernels.log_probabilities(
                self._row,
                self._lefts,
                self._prepared.nodes,
                self._prepared.guides,
                self._prepared.info.least,
                text.ids,
                reach,
                base,
                table,
                self.order or 0,
                self.discounts,
                self._logs,
                self._unigrams,
                begin,
                pace.cold,
                found[begin - first : end - first],
            )
            pace.timed(start, end - begin)
            if at >= 0:
                raise self._damaged()

        spread(fill, n - first, CHUNK)
        return found

    def distribution(self, context: np.ndarray) -> np.ndarray:
        query = self.engine.vocabulary.query(self.used(context))
        found = np.empty(self.vocab_size + 1)
        sound = kernels.distribution(
            self._row,
            self._lefts,
            self._prepared.nodes,
            self._prepared.guides,
            self._prepared.info.least,
            query.ids,
            query.ids.shape[0],
            self.order or 0,
            self.discounts,
            self._logs,
            self._unigrams,
            self.engine.pace.cold,
            found,
        )
        if not sound:
            raise self._damaged()
        return found

    def _table(self, text: Queries, reach: np.ndarray, base: int, end: int) -> np.ndarray:
        """The intervals of the n-grams that start at places [base, end), by length.

        int64, shape (end − base, w, 2). Of n-grams that occur; those of one that occurs once are
        those of its parts at the same place.
        """
        most = TOGETHER if self.order is None else min(TOGETHER, self.order)
        table = np.zeros((end - base, most, 2), np.int64)
        places = np.arange(base, end)
        going = np.arange(end - base)
        for length in range(1, most + 1):
            if length > 1:
                table[:, length - 1] = table[:, length - 2]
            going = going[reach[places[going]] - places[going] >= length]
            if length > 1:
                going = going[table[going, length - 2, 1] - table[going, length - 2, 0] > 1]
            starts = places[going]
            table[going, length - 1] = self.engine.find_batch(text.ranges(starts, starts + length))[
                :, 0
            ]
        return table

    def _after_nothing(self) -> np.ndarray:
        """The distribution after the empty context, in the dense form."""
        ids, occurs = self._segment.unigrams_counted()
        if self.order == 1:
            counts = occurs.copy()
            counts[ids == self.separator] = self._segment.num_documents
        else:
            ranks = np.append(self._segment.unigram_ranks.astype(np.int64), occurs.sum())
            counts = np.empty(ids.shape[0], np.int64)
            if not kernels.unigram_counts(self._row, self._lefts, ranks, False, counts):
                raise self._damaged()
            counts[ids == self.separator] = self._prepared.info.ends
        total = counts.sum()
        discounts = self.discounts[1][np.minimum(counts, 3)]
        gamma = discounts.sum() / total
        probs = np.maximum(counts - discounts, 0) / total
        unknown = self.vocab_size + 1 - ids.shape[0]
        base = 1 / (ids.shape[0] + (unknown > 0))
        found = self.filled(gamma * base / max(1, unknown))
        found[np.where(ids == self.separator, self.vocab_size, ids)] = probs + gamma * base
        return found

    def _misfile(self, levels: np.ndarray, order: int) -> None:
        """Count the last n-gram of every length below the order by its occurrences, as lmplz does.

        (KenLM's issue 427.)
        """
        last = _last_ngram(self._segment, self.vocab_size, min(order - 1, levels.shape[2]))
        ends = np.full(last.shape[0], last.shape[0])
        query = self.engine.vocabulary.query(last)
        intervals = self.engine.find_batch(query.ranges(np.arange(last.shape[0]), ends))[:, 0]
        for length, interval in enumerate(intervals[::-1], 1):
            left = np.empty(1, np.int64)
            if not kernels.unigram_counts(self._row, self._lefts, interval, False, left):
                raise self._damaged()
            for number, change in ((int(left[0]), -1), (int(interval[1] - interval[0]), 1)):
                if number <= 4:
                    levels[0, number - 1, length - 1] += change

    def _damaged(self) -> DamagedIndexError:
        error = damaged(self.engine.path, "counts that contradict one another")
        return DamagedIndexError(f"{error}, or run 'everygram prepare' again")


def compile_for(engine: Engine) -> None:
    """Compile what these models run over these segments, or load it from the disk cache.

    No file is needed, as they may be prepared later, when a query may not wait for the compiler.
    """
    length = sum(segment.stream_len for segment in engine.segments)
    nodes, guides = np.empty((0, 9), node_dtype(length)), np.empty(0, np.uint64)
    for mapped in (nodes, guides):
        mapped.flags.writeable = False
    whole, real, table = np.empty(0, np.int64), np.empty(0), np.empty((0, 0))
    first = whole, whole, nodes, guides, 0, engine.vocabulary.query([]).ids
    last = 0, table, table, real
    entry(
        kernels.log_probabilities, *first, whole, 0, whole.reshape(0, 1, 2), *last, 0, False, real
    )
    entry(kernels.distribution, *first, 0, *last, False, real)
    entry(kernels.unigram_counts, whole, whole, whole, False, whole)


def _last_ngram(segment: Segment, vocab_size: int, longest: int) -> np.ndarray:
    """The n-gram that comes last by its last word, then by the word before, and so on.

    Words are in the order in which they first occur in the corpus. int64, up to `longest` tokens,
    fewer if a document starts before them.
    """
    first = np.full(vocab_size + 1, -1, np.int64)
    for end in range(segment.stream_len, 0, -CHUNK * 256):
        start = max(0, end - CHUNK * 256)
        # (Of equal ids, the assignment of the last one stays: of the earliest position.)
        some = np.minimum(segment.text(start, end)[::-1].astype(np.int64), vocab_size)
        first[some] = np.arange(end - 1, start - 1, -1)
    first[vocab_size] = -1
    word = int(first.argmax())
    ngram: list[int] = []
    ids, _ = segment.unigrams_counted()
    if not longest or first[word] < 0:
        return np.empty(0, np.int64)
    at = int(np.searchsorted(ids, word))
    ranks = np.append(segment.unigram_ranks.astype(np.int64), segment.stream_len)
    places = segment.positions_of(slice(int(ranks[at]), int(ranks[at + 1])))
    while word != vocab_size and len(ngram) < longest:
        ngram.append(word)
        before = np.minimum(segment.tokens_at(places - 1).astype(np.int64), vocab_size)
        word = int(before[first[before].argmax()])
        places = places[before == word] - 1
    return np.array(ngram[::-1], np.int64)
