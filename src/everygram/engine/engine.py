"""Exact queries over segments: token ids in, numbers and arrays out.

Knows nothing of text, files or wire formats. A query's occurrences in an index are its
occurrences in each segment, which share no document: counts add up, distributions merge by token,
the longest suffix is the longest in any segment. Deleted documents are in their segment and once
more in one of sign −1, whose counts are taken away; what is longest is then what a count confirms.

A *query* is ids in [0, vocab_size) or the separator. A separator at a query's first place means
"begins a document", at its last "ends one"; anywhere else it never matches. A *prompt* is a query
that something follows. After a document's end nothing does, so as a prompt `[a, separator]`
occurs 0 times, whereas `[separator]` is the start of a document. The empty prompt is followed by
every token of every document and by every document's end.

Queries come as `ids` makes them: arrays of the token dtype. Many come as one such array with the
starts and ends of each in it.
"""

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import cache, cached_property
from itertools import chain
from resource import RUSAGE_SELF, getrusage
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from everygram.errors import DamagedIndexError, QueryError
from everygram.kernels import following, lists, search
from everygram.kernels.lists import Asked
from everygram.storage import format as fmt
from everygram.storage.segment import PRELOADABLE, Segment

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

Ids = Sequence[int] | np.ndarray

# A search that takes longer than this may have waited for a disk. If the process has read from one
# since, the next searches ask for all they may read at once.
DISK_NS = 50_000
COLD_SEARCHES = 64
# As `max_support`: more than any index holds; above all ids. It fits an int64.
NO_LIMIT = 1 << 62
# Queries shorter than this find their packer made; longer lists are read by compiled code.
PACKS = 256
# Queries of a batch that one thread takes at a time; of distributions, which can be long, fewer.
CHUNK, FEW = 512, 8
# Chunks from which on other threads help.
THREADED = 4
# Occurrences whose documents are looked up at a time, to pass over deleted ones: at most, after
# fewer.
LOOKED_AT = 1 << 16
# Matches longer than this are followed, not looked for again at every place. At least 2.
LONG = 64


class Engine:
    """Queries over the segments of one index. All methods may be called from several threads.

    `next_document` is above the numbers of all documents there are or were. `preload` names the
    parts to read into memory of their own: fences, suffix_array, tokens. Methods that take a query
    raise QueryError for ids outside the vocabulary; those that take many leave it to `join` and
    `split`.
    """

    def __init__(
        self,
        segments: list[Segment],
        vocab_size: int,
        separator: int,
        next_document: int,
        preload: Sequence[str] = (),
    ) -> None:
        unknown = [part for part in preload if part not in PRELOADABLE]
        if unknown:
            raise QueryError(
                f"preload: expected some of {', '.join(PRELOADABLE)}, found {unknown[0]!r}"
            )
        self.segments = segments
        self.vocab_size = vocab_size
        self.separator = separator
        self.next_document = next_document
        self._signs = np.array([segment.entry.sign for segment in segments], np.int64)
        self.stream_len = int(sum(s.stream_len * s.entry.sign for s in segments))
        # What kernels are given: the words before the rows, and the rows.
        memory = np.zeros(lists.HEAD + len(segments) * search.COLUMNS, np.int64)
        memory[lists.NUM_SEGMENTS] = len(segments)
        self._head, self.address = memory[: lists.HEAD], memory.ctypes.data
        self._rows = memory[lists.HEAD :].reshape(len(segments), search.COLUMNS)
        for row, segment in zip(self._rows, segments, strict=True):
            row[:] = segment.prepare(vocab_size, preload)
        # The segments that nothing is taken away by, where what occurs may be sought.
        self._adding = self._rows[self._signs > 0] if (self._signs < 0).any() else self._rows
        self._deleting = self._adding.shape[0] < self._rows.shape[0]
        name = next(name for name in fmt.TOKEN_DTYPES if fmt.separator_of(name) == separator)
        self._dtype = fmt.TOKEN_DTYPES[name]
        # What a single query asks first, with the address: quick searches, which may answer LATER.
        # The methods here of the same names are then asked.
        self.quick = lists.Kernels(self._dtype)
        self._packs = [self._pack(size) for size in range(PACKS)]
        # Searches still to be made as if on a disk, as the first are, and the reads from disks
        # seen so far.
        self._cold = COLD_SEARCHES
        self._reads = _disk_reads()

    def ids(self, query: Ids, name: str = "query") -> np.ndarray:
        """The query in the token dtype, read-only; `name` is what messages call it.

        Raises QueryError for what is no flat list of integers that fit. Whether they are in the
        vocabulary is for the searches to see. (A bool in a list is the integer that it is.)
        """
        if self.segments and (type(query) is list or type(query) is tuple):
            size = len(query)
            if size >= PACKS and type(query) is list:
                ids, bounds = self._joined([query])
                if bounds.shape[0]:
                    ids.setflags(write=False)
                    return ids
            try:
                pack = self._packs[size] if size < PACKS else self._pack(size)
                return np.frombuffer(pack(*query), self._dtype)
            except (struct.error, TypeError):
                pass
        return _frozen(self.check_query(query, name), self._dtype)

    def _pack(self, size: int) -> Callable[..., bytes]:
        """What packs that many ids into the token dtype; refuses others with struct.error."""
        return struct.Struct(f"{size}{self._dtype.char}").pack

    def check_query(self, query: Ids, name: str = "query") -> np.ndarray:
        """The query as int64, shape (m,), every id of it in the vocabulary or the separator."""
        try:
            ids = np.asarray(query)
        except (ValueError, OverflowError) as error:
            raise QueryError(f"{name}: expected a flat list of token ids: {error}") from None
        if ids.ndim != 1:
            raise QueryError(
                f"{name}: expected a flat list of token ids, found {ids.ndim} dimensions: "
                f"{_short(query)}"
            )
        if ids.size == 0:
            return np.empty(0, np.int64)
        if ids.dtype.kind not in "iu":
            for place, value in enumerate(query):
                if isinstance(value, bool) or not isinstance(value, int | np.integer):
                    raise QueryError(
                        f"{name}[{place}]: expected a token id (an integer), found {_short(value)}"
                    )
            # Integers past 64 bits make an array of floats or objects.
            ids = np.array(list(query), object)
        if ids.min() < 0 or ids.max() >= self.vocab_size:
            bad = np.flatnonzero(((ids < 0) | (ids >= self.vocab_size)) & (ids != self.separator))
            if bad.size:
                raise QueryError(
                    f"{name}[{bad[0]}]: token id {ids[bad[0]]} is outside the vocabulary: "
                    f"expected 0 to {self.vocab_size - 1}, or the separator {self.separator}"
                )
        return ids.astype(np.int64)

    def check_continuation(self, continuation: int) -> int:
        """The continuation, if it is one known id or the separator. Raises QueryError."""
        return int(self.check_query([continuation], "continuation")[0])

    def join(self, queries: Sequence[Ids]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Many queries as ids, starts and ends. Raises QueryError for what is no query."""
        joined = self.join_lists(queries)
        if joined is not None:
            return joined
        checked = [self.ids(query, f"query {i}") for i, query in enumerate(queries)]
        bounds = np.cumsum([0, *(query.shape[0] for query in checked)], dtype=np.int64)
        flat = np.concatenate([np.empty(0, self._dtype), *checked])
        return self._checked(_frozen(flat, self._dtype), bounds)

    def join_lists(
        self, queries: Sequence[Any] | np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """As `join`, quickly, for a list of lists of plain ints that fit; else None."""
        if not self.segments or type(queries) is not list:
            return None
        ids, bounds = self._joined(queries)
        if not bounds.shape[0]:
            return None
        ids.setflags(write=False)
        return self._checked(ids, bounds)

    def split(self, ids: Ids, offsets: Ids) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Queries ids[offsets[i]:offsets[i + 1]] as ids, starts and ends. Raises QueryError."""
        if isinstance(ids, np.ndarray) and ids.dtype == self._dtype and ids.ndim == 1:
            flat = np.frombuffer(ids.tobytes(), self._dtype)
        else:
            flat = self.ids(ids, "ids")
        try:
            bounds = np.asarray(offsets)
        except ValueError:  # a ragged list
            bounds = np.empty((0, 0))
        if bounds.ndim != 1 or bounds.dtype.kind not in "iu" or bounds.shape[0] == 0:
            bounds = np.array([-1])
        return self._checked(flat, bounds.astype(np.int64), offsets)

    def _checked(
        self, ids: np.ndarray, bounds: np.ndarray, offsets: Ids = ()
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The queries, all ids known. (Searches of parts of queries could not say which is not.)"""
        starts, ends = bounds[:-1], bounds[1:]
        unknown = search.first_unknown(ids, bounds, self.vocab_size, self.separator)
        if unknown >= 0:
            query = int(np.searchsorted(ends, unknown, "right"))
            self.check_query(ids[starts[query] : ends[query]], f"query {query}")
        elif unknown < -1:
            raise QueryError(
                f"offsets: expected integers ascending from 0 to the {ids.shape[0]} ids, found "
                f"{_short(offsets)}"
            )
        return ids, starts, ends

    @cached_property
    def _joined(self) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
        return lists.taking_many(self._dtype)

    # What asks about one query answers first how it was read.

    def count(self, query: list[int]) -> tuple[Asked, int]:
        """Occurrences of the query. The empty query counts every token and document end."""
        ids = self.ids(query)
        return ids, self._at_leisure(search.find, 1, ids)

    def find(self, query: np.ndarray) -> np.ndarray:
        """The intervals [lo, hi) of ranks of the suffixes that begin with the query.

        Returns int64, shape (segments, 2). O(log) memory reads a segment.
        """
        self.check_query(query)
        starts, ends = _bounds(np.array([query.shape[0]]))
        intervals: np.ndarray = self.find_batch(query, starts, ends)[0]
        return intervals

    def find_batch(self, ids: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """The intervals of each query: int64, shape (k, segments, 2)."""
        intervals = np.empty((starts.shape[0], len(self.segments), 2), np.int64)
        self._in_chunks(search.find_many, ids, starts, ends, intervals)
        return intervals

    def counts_of(self, intervals: np.ndarray) -> np.ndarray:
        """Occurrences in intervals as `find_batch` gives them: int64, shape (k,)."""
        return search.counted(self._rows, intervals)

    def _check_text(self, ids: np.ndarray) -> None:
        bounds = np.array([0, ids.shape[0]])
        if search.first_unknown(ids, bounds, self.vocab_size, self.separator) >= 0:
            self.check_query(ids, "text")

    def count_batch(self, ids: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Occurrences of each query: int64, shape (k,)."""
        return self.counts_of(self.find_batch(ids, starts, ends))

    def prob(self, prompt: list[int], continuation: int) -> tuple[Asked, int, int, float]:
        """How often the prompt occurs, how often the continuation follows, and their quotient.

        What was read is the prompt and the continuation. Raises QueryError for a continuation
        outside the vocabulary, too.
        """
        query = self._prompted(prompt, continuation)
        prompts, total = map(int, self._at_leisure(search.prob, 2, query))
        return query, prompts, total, lists.quotient(total, prompts)

    def infgram_prob(
        self, prompt: list[int], continuation: int
    ) -> tuple[Asked, int, int, float, int]:
        """As `prob` for the longest suffix of the prompt that occurs; its length comes last."""
        query = self._prompted(prompt, continuation)
        if self._deleting:
            starts, ends = np.array([0]), np.array([query.shape[0]])
            lengths = self.longest_suffix_batch(query, starts, ends - 1)
            found = self.prob_batch(query, ends - 1 - lengths, ends)
            prompts, total, length = (int(column[0]) for column in (*found, lengths))
        else:
            prompts, total, length = map(int, self._at_leisure(search.infgram_prob, 8, query))
        return query, prompts, total, lists.quotient(total, prompts), length

    def _prompted(self, prompt: list[int], continuation: int) -> np.ndarray:
        """A prompt and its continuation, all known."""
        continuation = self.check_continuation(continuation)
        query = _frozen(np.append(self.ids(prompt), continuation), self._dtype)
        self.check_query(query)
        return query

    def _at_leisure(
        self, kernel: Callable[..., Any], searches: int, query: np.ndarray, *rest: int
    ) -> Any:
        """What a kernel answers, of the disk as well, and whether the next may be quick."""
        self.check_query(query)
        start = perf_counter_ns()
        found = kernel(self._rows, query, *rest, self._cold > 0)
        self._timed(start, searches, look=True)
        return found

    def prob_batch(
        self, ids: np.ndarray, starts: np.ndarray, ends: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """`prob` of each query (a prompt and one token): int64, shape (k,), twice."""
        prompts = self._prompt_intervals(ids, starts, ends - 1)
        return self.counts_of(prompts), self.count_batch(ids, starts, ends)

    def longest_suffix_batch(
        self, ids: np.ndarray, starts: np.ndarray, ends: np.ndarray
    ) -> np.ndarray:
        """Length of the longest suffix of each prompt that occurs: int64, shape (k,)."""
        lengths = np.zeros(starts.shape[0], np.int64)
        self._in_chunks(search.longest_suffixes, ids, starts, ends, lengths)
        if self._deleting:
            lengths = self._confirmed(ids, ends, lengths, -1)
        return lengths

    def _confirmed(
        self, ids: np.ndarray, places: np.ndarray, lengths: np.ndarray, direction: int
    ) -> np.ndarray:
        """The greatest lengths up to these that occur in documents that are not deleted.

        Of the tokens from each place on, or those before it where `direction` is −1. What occurs
        does so in every part, too: lengths are halved between one that does and one that does not.
        """
        occurs, absent = np.zeros_like(lengths), lengths + 1
        trial = lengths
        while True:
            open_ones = np.flatnonzero(absent - occurs > 1)
            if not open_ones.size:
                return occurs
            at, size = places[open_ones], trial[open_ones]
            starts, ends = (at, at + size) if direction > 0 else (at - size, at)
            found = self.count_batch(ids, starts, ends) > 0
            occurs[open_ones[found]] = size[found]
            absent[open_ones[~found]] = size[~found]
            trial = (occurs + absent) // 2

    def ntd(
        self, prompt: list[int], longest: bool, max_support: int
    ) -> tuple[Asked, int, bytes, int, int]:
        """What follows the prompt or, if asked, its longest suffix that occurs: as a `Following`.

        Exact at any number of occurrences up to `max_support`; the cost follows the number of
        distinct tokens. Of more, about that many are looked at, evenly spread, and counts are off
        by `error_bound` at most.
        """
        ids = self.ids(prompt)
        if len(self.segments) == 1:
            answer = self._at_leisure(following.ntd, 2, ids, longest, max_support)
            found, table, length, error = answer
            if length == 0:  # answered from the unigrams
                return self._following(ids, ids.shape[0], [[0, found]], max_support)
            return ids, found, table.tobytes(), length, error
        return self._merged_ntd(ids, longest, max_support)

    def ntd_batch(
        self,
        ids: np.ndarray,
        starts: np.ndarray,
        ends: np.ndarray,
        max_support: int,
    ) -> list["Following"]:
        """`ntd` of each prompt."""
        intervals = self._prompt_intervals(ids, starts, ends)

        def each(begin: int, end: int) -> list[Following]:
            return [
                self._following(ids[starts[i] : ends[i]], 0, intervals[i].tolist(), max_support)
                for i in range(begin, end)
            ]

        return list(chain.from_iterable(_spread(each, starts.shape[0], FEW)))

    def score(
        self, ids: np.ndarray, order: int | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The probability of each token of a text after those before it.

        Returns suffix_lens, prompt_counts, continuation_counts (int64) and sparse (bool), shape
        (len,). ∞-gram without an `order`; else after the `order` − 1 tokens before. No prompt
        reaches over a separator. O(len) searches.
        """
        self._check_text(ids)
        places = np.arange(ids.shape[0] + 1)
        separators = np.flatnonzero(ids == self.separator)
        if order is None:
            none = np.empty((0, len(self.segments), 2), np.int64)
            reach = places[:-1] + self.match_lengths(ids, False, none)
            starts = np.searchsorted(reach, places)
        else:
            # The last separator before each place, or 0.
            begins = np.zeros_like(places)
            begins[separators + 1] = separators
            before = min(order, places.size) - 1
            starts = np.maximum(np.maximum.accumulate(begins), places - before)
        prompts = self._intervals_of_runs(ids, starts, places)
        sizes = self.counts_of(prompts)
        if order is None:
            # A prompt that its token prolongs is the next prompt; any other is never followed by
            # that token, or the next would begin where it does. No prompt ends a document.
            counts = np.where(starts[1:] == starts[:-1], sizes[1:], 0)
            counts[separators] = self.count_batch(ids, starts[separators], separators + 1)
        else:
            counts = self.counts_of(self._intervals_of_runs(ids, starts[:-1], places[1:]))
        starts, places, prompts, prompt_counts = (
            column[:-1] for column in (starts, places, prompts, sizes)
        )
        sparse = (counts == prompt_counts) & (prompt_counts > 0)
        unseen = np.flatnonzero((counts == 0) & (prompt_counts > 0))
        if self._deleting:
            for i in unseen.tolist():
                prompt = ids[starts[i] : places[i]]
                follows = self._following(prompt, 0, prompts[i].tolist(), NO_LIMIT)
                sparse[i] = len(follows.table) == following.ENTRY
        else:
            alone = np.zeros(unseen.shape[0], np.bool_)
            rows, cold = self._rows, self._cold > 0
            following.one_follows(
                rows, ids, starts[unseen], places[unseen], prompts[unseen], cold, alone
            )
            sparse[unseen] = alone
        return places - starts, prompt_counts, counts, sparse

    def longest_matches(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each place of a text the length of the longest match there, and its count.

        Returns int64, shape (len,), twice; a count of 0 where nothing matches. O(len) searches.
        """
        self._check_text(ids)
        n = ids.shape[0]
        starts = np.arange(n)
        # (Where something was deleted, a match may turn out shorter.)
        intervals = np.zeros((0 if self._deleting else n, len(self.segments), 2), np.int64)
        lengths = self.match_lengths(ids, True, intervals)
        if self._deleting:
            intervals = self._intervals_of_runs(ids, starts, starts + lengths)
        else:
            long = np.flatnonzero(lengths > LONG)
            if long.size:
                intervals[long] = self._intervals_of_runs(ids, long, long + lengths[long])
        counts = self.counts_of(intervals)
        counts[lengths == 0] = 0
        return lengths, counts

    def match_lengths(self, ids: np.ndarray, over_end: bool, intervals: np.ndarray) -> np.ndarray:
        """For each place of a text the length of the longest match there: int64, shape (len,).

        A match goes up to the next separator, with `over_end` including it. All places are tried
        for LONG tokens at once. A longer match is followed to its end: all places inside it match
        to there as well, and those in front of the first that matches further no further.

        intervals: int64, shape (len, segments, 2), or (0, segments, 2) if they are not wanted: of
        the matches, as `find_batch` gives them, cut at LONG tokens.
        """
        n = ids.shape[0]
        starts = np.arange(n)
        limits = search.limits(ids, self.separator, over_end)
        ends = np.minimum(limits, starts + LONG)
        lengths = np.zeros(n, np.int64)
        self._in_chunks(search.match_many, ids, starts, ends, lengths, intervals)

        def match(start: int, end: int) -> int:
            """Tokens of the text from `start` to `end` that occur together."""
            found = np.zeros(1, np.int64)
            starts, ends = np.array([start]), np.array([end])
            search.match_many(self._adding, ids, starts, ends, self._cold > 0, found, intervals[:0])
            return int(found[0])

        long = np.flatnonzero(lengths == LONG)
        long = long[long + LONG < limits[long]]
        at = 0
        while at < long.shape[0]:
            start, limit = int(long[at]), int(limits[long[at]])
            end = start + match(start, limit)
            inside = int(np.searchsorted(long, end - LONG, "right"))
            first, further = at, inside
            # The first of the places inside from which the match goes on past `end`.
            while end < limit and further - first > 1:
                middle = (first + further) // 2
                place = int(long[middle])
                if match(place, end + 1) == end + 1 - place:
                    further = middle
                else:
                    first = middle
            lengths[long[at:further]] = end - long[at:further]
            at = further
        return self._confirmed(ids, starts, lengths, 1) if self._deleting else lengths

    def _intervals_of_runs(
        self, ids: np.ndarray, starts: np.ndarray, ends: np.ndarray
    ) -> np.ndarray:
        """`find_batch` for the ranges of a text, without comparing long ones again and again.

        Where long ranges share their start or their end, one is part of the next, and counts
        follow in order: if those at both ends of a stretch agree, so do all between. (The
        intervals, too, with a common start; with a common end only their sizes.)
        """
        # Whether a range is long, and part of the one before it or the other way round.
        long = ends - starts > LONG
        if not long.any():
            return self.find_batch(ids, starts, ends)
        linked = np.zeros(starts.shape[0] + 1, np.bool_)
        linked[1:-1] = (starts[1:] == starts[:-1]) | (ends[1:] == ends[:-1])
        linked[1:-1] &= long[1:] & long[:-1]
        alone = ~(linked[1:] | linked[:-1])
        intervals = np.empty((starts.shape[0], len(self.segments), 2), np.int64)
        intervals[alone] = self.find_batch(ids, starts[alone], ends[alone])

        def look_up(number: int) -> int:
            one = slice(number, number + 1)
            intervals[number] = self.find_batch(ids, starts[one], ends[one])[0]
            return int(self.counts_of(intervals[one])[0])

        together = np.flatnonzero(~alone)
        runs = np.split(together, np.flatnonzero(~linked[together])[1:]) if together.size else []
        for run in runs:
            stretches = [(int(run[0]), int(run[-1]), look_up(int(run[0])), look_up(int(run[-1])))]
            while stretches:
                first, last, low, high = stretches.pop()
                if low == high:
                    intervals[first:last] = intervals[first]
                elif last - first > 1:
                    middle = (first + last) // 2
                    found = look_up(middle)
                    stretches += [(first, middle, low, found), (middle, last, found, high)]
        return intervals

    def locate(
        self, intervals: np.ndarray, occurrences: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Segment, rank and position of occurrences counted through `intervals` in order.

        occurrences: int64, shape (k,), ascending, in [0, count); those in deleted documents are
        passed over and not counted. Returns int64, shape (k,), three times.
        """
        sizes = np.where(self._signs > 0, intervals[:, 1] - intervals[:, 0], 0)
        if self._deleting and occurrences.size:
            occurrences = self._all_of(intervals, sizes, occurrences)
        before = np.cumsum(sizes) - sizes
        segments = np.searchsorted(np.cumsum(sizes), occurrences, "right")
        ranks = intervals[segments, 0] + occurrences - before[segments]
        positions = np.empty(occurrences.shape[0], np.int64)
        for number in np.unique(segments).tolist():
            of_segment = segments == number
            positions[of_segment] = self.segments[number].positions_of(ranks[of_segment])
        return segments, ranks, positions

    def _all_of(self, intervals: np.ndarray, sizes: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """Where the wanted occurrences are among all, those in deleted documents included."""
        found, live_before, all_before = [], 0, 0
        for number, size in enumerate(sizes.tolist()):
            start, look = 0, max(1, LOOKED_AT >> 10)
            while start < size:
                ranks = np.arange(start, min(size, start + look)) + intervals[number, 0]
                live = np.flatnonzero(~self.deleted(self.documents_of(number, ranks)))
                first, last = np.searchsorted(wanted, [live_before, live_before + live.size])
                found.append(all_before + start + live[wanted[first:last] - live_before])
                live_before += live.size
                if last == wanted.size:
                    return np.concatenate(found)
                start, look = start + look, min(2 * look, LOOKED_AT)
            all_before += size
        raise DamagedIndexError(
            "the index is damaged: fewer occurrences than its segments say; see 'everygram verify'"
        )

    def documents_of(self, segment: int, ranks: np.ndarray) -> np.ndarray:
        """The numbers of the documents in which the suffixes of these ranks begin: int64."""
        opened = self.segments[segment]
        return opened.numbers_of(opened.documents_at(opened.positions_of(ranks)))

    def deleted(self, documents: np.ndarray) -> np.ndarray:
        """Whether these numbers are of documents that were deleted: bool, same shape."""
        gone = np.zeros(documents.shape, np.bool_)
        for segment in self.segments:
            if segment.entry.sign < 0:
                gone |= segment.local_of(documents) >= 0
        return gone

    def documents_at(
        self, segments: np.ndarray, positions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Document numbers, and offsets in those documents' tokens (−1: the separator before)."""
        documents = np.empty(positions.shape[0], np.int64)
        offsets = np.empty(positions.shape[0], np.int64)
        for number in np.unique(segments).tolist():
            of_segment = segments == number
            segment = self.segments[number]
            local = segment.documents_at(positions[of_segment])
            documents[of_segment] = segment.numbers_of(local)
            starts = segment.document_offsets[local].astype(np.int64)
            offsets[of_segment] = positions[of_segment] - starts - 1
        return documents, offsets

    def documents(self) -> Iterator[tuple[int, np.ndarray, dict[str, Any]]]:
        """Every document that is not deleted, by number: its number, ids and metadata."""
        adding = [segment for segment in self.segments if segment.entry.sign > 0]
        for segment in sorted(adding, key=lambda segment: segment.first_document):
            numbers = segment.numbers_of(np.arange(segment.num_documents))
            for local in np.flatnonzero(~self.deleted(numbers)).tolist():
                start, end = segment.document_bounds(local)
                yield int(numbers[local]), segment.tokens[start:end], segment.metadata(local)

    def document(self, number: int) -> tuple[np.ndarray, dict[str, Any]]:
        """A document's ids (a view of the index, shape (len,)) and its metadata."""
        if isinstance(number, bool) or not isinstance(number, int | np.integer):
            raise QueryError(f"document: expected a number, found {_short(number)}")
        if not 0 <= number < self.next_document:
            numbers = (
                f"0 to {self.next_document - 1}" if self.next_document else "none: it is empty"
            )
            raise QueryError(f"document {number}: the index has {numbers}")
        one = np.array([int(number)])
        if not self.deleted(one)[0]:
            for segment in self.segments:
                local = int(segment.local_of(one)[0])
                if local >= 0:
                    start, end = segment.document_bounds(local)
                    return segment.tokens[start:end], segment.metadata(local)
        raise QueryError(f"document {number}: it was deleted")

    def warm_up(self) -> None:
        """Compile every kernel that this index's dtype needs, or load it from the disk cache."""
        # Nothing occurs after itself; a text of two places goes through all that many queries do.
        asked = [self.separator, self.separator]
        query, one = self.ids(asked), _bounds(np.array([2]))
        self.join([asked])
        self.quick.find(self.address, asked)
        self.count(asked)
        self.quick.prob(self.address, self.separator, asked[:1])
        self.prob(asked[:1], self.separator)
        self.quick.infgram_prob(self.address, self.separator, asked[:1])
        self.infgram_prob(asked[:1], self.separator)
        self.quick.ntd(self.address, True, NO_LIMIT, asked[:1])
        self.ntd(asked[:1], True, NO_LIMIT)
        self.ntd_batch(query[:1], *_bounds(np.array([1])), NO_LIMIT)
        self.longest_suffix_batch(query, *one)
        self.score(query, None)

    def _merged_ntd(self, prompt: np.ndarray, longest: bool, max_support: int) -> "Following":
        """`ntd` over the segments there are."""
        start = perf_counter_ns()
        cold = self._cold > 0
        length = prompt.shape[0]
        if longest and self._deleting:
            self.check_query(prompt)
            one = np.array([0]), np.array([length])
            length = int(self.longest_suffix_batch(prompt, *one)[0])
        elif longest:
            length = search.longest_suffix(self._rows, prompt, length, cold)
        first = prompt.shape[0] - length
        intervals = search.prompt_intervals(self._rows, prompt, first, cold)
        if cold or perf_counter_ns() - start > DISK_NS:
            self._timed(start, 2)
        if length < 0 or intervals.shape[0] < len(self.segments):
            self.check_query(prompt)
        return self._following(prompt, first, intervals.tolist(), max_support)

    def _prompt_intervals(
        self, ids: np.ndarray, starts: np.ndarray, ends: np.ndarray
    ) -> np.ndarray:
        """`find_batch` of prompts: none for those that have ended their document."""
        intervals = self.find_batch(ids, starts, ends)
        if ids.shape[0]:
            last = ids[np.maximum(ends - 1, 0)]
            intervals[(last == self.separator) & (ends - starts > 1)] = 0
        return intervals

    def _following(
        self, prompt: np.ndarray, first: int, intervals: list[list[int]], max_support: int
    ) -> "Following":
        """What follows prompt[first:], whose intervals, one a segment, these are."""
        signs = self._signs.tolist()
        sizes = [sign * (hi - lo) for sign, (lo, hi) in zip(signs, intervals, strict=True)]
        prompt_count = sum(sizes)
        length = prompt.shape[0] - first
        stride = 0
        # (Of a difference, what is not looked at could be anything.)
        if prompt_count > max_support and length and not self._deleting:
            stride = -(-prompt_count // max_support)
        found = []
        for number, (lo, hi) in enumerate(intervals):
            if lo == hi:
                continue
            if length == 0:
                segment = self.segments[number]
                ranks = segment.unigram_ranks.astype(np.int64)
                counts = np.diff(ranks, append=segment.stream_len)
                found.append((segment.unigram_ids.astype(np.int64), signs[number] * counts))
            else:
                ids, counts = following.next_tokens(
                    self._rows[number], prompt, first, lo, hi, stride, self._cold > 0
                )
                found.append((ids, signs[number] * counts))
        error_bound = len(found) * (stride - 1) if stride else 0
        if not found:
            return Following(prompt, 0, b"", length, 0)
        if len(found) == 1:  # nothing to merge
            table = following.tabled(*found[0], prompt_count)
            return Following(prompt, prompt_count, table.tobytes(), length, error_bound)
        ids, inverse = np.unique(np.concatenate([ids for ids, _ in found]), return_inverse=True)
        merged = np.zeros(ids.shape[0], np.int64)
        np.add.at(merged, inverse, np.concatenate([counts for _, counts in found]))
        left = merged > 0
        table = following.tabled(ids[left], merged[left], prompt_count)
        return Following(prompt, prompt_count, table.tobytes(), length, error_bound)

    def _in_chunks(
        self,
        kernel: Callable[..., int | None],
        ids: np.ndarray,
        starts: np.ndarray,
        ends: np.ndarray,
        *out: np.ndarray,
    ) -> None:
        """Have a kernel of `kernels.search` fill arrays for all queries, a chunk at a time."""
        rows = self._rows if kernel is search.find_many else self._adding

        def chunk(begin: int, end: int) -> int | None:
            start = perf_counter_ns()
            part = slice(begin, end)
            filled = (array[part] for array in out)
            bad = kernel(rows, ids, starts[part], ends[part], self._cold > 0, *filled)
            self._timed(start, end - begin)
            return None if bad is None or bad < 0 else begin + bad

        for bad in _spread(chunk, starts.shape[0]):
            if bad is not None:
                self.check_query(ids[starts[bad] : ends[bad]], f"query {bad}")

    def _timed(self, start: int, searches: int, look: bool = False) -> None:
        """Learn from how long searches took whether the next will wait for a disk.

        With `look`, whatever they took. (Lone searches look at the clock before they call this: a
        call takes as long as that.)
        """
        if not (self._cold or look) and perf_counter_ns() - start < DISK_NS * searches:
            return
        reads = _disk_reads()
        if reads != self._reads:
            self._reads, self._cold = reads, COLD_SEARCHES
        else:
            self._cold = max(0, self._cold - searches)
        self._head[lists.QUICK] = self._cold == 0


class Following(NamedTuple):
    """What follows a prompt: `table` as `kernels.following.tabled` gives it, tokens ascending.

    The prompt is the last `suffix_len` tokens of `asked`. Counts are off by `error_bound` at
    most, and those of tokens left out are no larger.
    """

    asked: Asked
    prompt_count: int
    table: bytes
    suffix_len: int
    error_bound: int


def _spread(work: Callable[[int, int], Any], number: int, chunk: int = CHUNK) -> list[Any]:
    """work(begin, end) over [0, number) in chunks, in the threads of the one pool if many."""
    bounds = [(begin, min(number, begin + chunk)) for begin in range(0, number, chunk)]
    # Handing a few chunks to other threads takes longer than their searches.
    if len(bounds) < THREADED or _cores() < 2:
        return [work(*bound) for bound in bounds]
    return list(_pool(os.getpid()).map(lambda bound: work(*bound), bounds))


def _cores() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _disk_reads() -> int:
    """What this process has read from disks so far, in units of no matter."""
    usage = getrusage(RUSAGE_SELF)
    return usage.ru_majflt + usage.ru_inblock


@cache
def _pool(process: int) -> "ThreadPoolExecutor":
    """The threads of this process: those of the process it was forked from are not in it."""
    from concurrent.futures import ThreadPoolExecutor  # slow to import, and few searches do without

    return ThreadPoolExecutor(_cores(), "everygram")


def _bounds(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends of queries of these lengths that stand one after another."""
    ends = np.cumsum(lengths)
    return ends - lengths, ends


def _frozen(ids: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """The ids in that dtype, read-only: kernels compile once, not again for arrays that are not."""
    return np.frombuffer(ids.astype(dtype).tobytes(), dtype)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
