"""Queries about whole texts: the probability of each token, and the longest match at each place."""

from time import perf_counter_ns

import numpy as np

from everygram.engine.distributions import NO_LIMIT, Distributions
from everygram.engine.intervals import damaged
from everygram.engine.pace import spread
from everygram.engine.queries import Queries
from everygram.kernels import following, rows, search, suffixes

# Matches longer than this are followed to their end, not searched again at each place. At least 2.
LONG = 64
# Runs of places with longer matches that a thread takes at a time.
SHARED = 64
# As many tokens are first looked for by walking to the left from each place of a text.
DEEP = 16


class Texts(Distributions):
    """Queries about a text, given as `Queries` of one query; answers have one value per token."""

    def score(
        self, text: Queries, order: int | None, backoff: bool = False
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The probability of each token of a text after the tokens before it.

        Returns suffix_lens, prompt_counts, continuation_counts (int64) and sparse (bool), shape
        (len,). With `order`, a prompt is the `order` − 1 tokens before, or with `backoff` the
        longest suffix of these that occurs; without, it is the longest suffix that occurs
        (∞-gram). No prompt crosses a separator. O(len) searches.
        """
        ids = text.ids
        places = np.arange(ids.shape[0] + 1)
        separators = np.flatnonzero(ids == self.vocabulary.separator)
        if order is None or backoff:
            none = np.empty((0, len(self.segments), 2), np.int64)
            reach = places[:-1] + self.match_lengths(text, False, none)
            starts = np.searchsorted(reach, places)
            if order is not None:
                starts = np.maximum(starts, places - (min(order, places.size) - 1))
        else:
            # The last separator before each place, or 0.
            begins = np.zeros_like(places)
            begins[separators + 1] = separators
            before = min(order, places.size) - 1
            starts = np.maximum(np.maximum.accumulate(begins), places - before)
        prompts = self.intervals_of_runs(text.ranges(starts, places))
        sizes = self.counts_of(prompts)
        if order is None:
            # If the next prompt starts at the same place, it is this prompt and its token, so its
            # size is the count. If not, the token never follows this prompt (otherwise the next
            # prompt would start there too). Separators are counted below.
            counts = np.where(starts[1:] == starts[:-1], sizes[1:], 0)
            ends = text.ranges(starts[separators], separators + 1)
            counts[separators] = self.count_batch(ends)
        else:
            counts = self.counts_of(self.intervals_of_runs(text.ranges(starts[:-1], places[1:])))
        starts, places, prompts, prompt_counts = (
            column[:-1] for column in (starts, places, prompts, sizes)
        )
        self.consistent(prompt_counts, counts)
        sparse = (counts == prompt_counts) & (prompt_counts > 0)
        unseen = np.flatnonzero((counts == 0) & (prompt_counts > 0))
        if self._deleting:
            for i in unseen.tolist():
                prompt = ids[starts[i] : places[i]]
                follows = self._following(prompt, prompt.shape[0], prompts[i], NO_LIMIT)
                sparse[i] = follows.table.shape[1] == 1
        else:
            asked = text.ranges(starts[unseen], places[unseen])
            sparse[unseen] = self.one_follows(asked, prompts[unseen])
        return places - starts, prompt_counts, counts, sparse

    def one_follows(self, prompts: Queries, intervals: np.ndarray) -> np.ndarray:
        """Whether only one distinct token ever follows each prompt: bool, shape (k,).

        intervals: as `find_batch` gives. (Deleted documents are not left out.)
        """
        alone = np.zeros(len(prompts), np.bool_)
        of = prompts.ids, prompts.starts, prompts.ends, intervals
        following.one_follows(self._rows, *of, self.pace.cold, alone)
        return alone

    def unigram_log_probs(self, text: Queries) -> np.ndarray:
        """ln(count of the token / count of all tokens and ends of documents) of each token of a
        text: float64, shape (len,); −inf for tokens that do not occur."""
        _, first, numbers = np.unique(text.ids, return_index=True, return_inverse=True)
        counts = self.count_batch(text.ranges(first, first + 1))
        with np.errstate(divide="ignore", invalid="ignore"):
            log_probs: np.ndarray = np.log(counts) - np.log(self.stream_len)
        return log_probs[numbers]

    def longest_matches(self, text: Queries) -> tuple[np.ndarray, np.ndarray]:
        """For each place of a text, the length of the longest match there, and its count.

        Returns int64, shape (len,), twice; the count is 0 if nothing matches. O(len) searches.
        """
        n = text.ids.shape[0]
        starts = np.arange(n)
        # (If documents were deleted, a match may turn out shorter, and its interval another one.)
        intervals = np.zeros((0 if self._deleting else n, len(self.segments), 2), np.int64)
        lengths = self.match_lengths(text, True, intervals)
        if self._deleting:
            intervals = self.intervals_of_runs(text.ranges(starts, starts + lengths))
        else:
            long = np.flatnonzero(lengths > LONG)
            if long.size:
                intervals[long] = self.intervals_of_runs(text.ranges(long, long + lengths[long]))
        counts = self.counts_of(intervals)
        counts[lengths == 0] = 0
        if (counts[lengths > 0] < 1).any():
            raise damaged(self.path, "a match that occurs nowhere")
        return lengths, counts

    def match_lengths(self, text: Queries, over_end: bool, intervals: np.ndarray) -> np.ndarray:
        """For each place of a text, the length of the longest match there: int64, shape (len,).

        A match ends at the latest at the next separator; with `over_end` it includes the separator.
        All places are tried together, for up to LONG tokens. A longer match is followed to its end:
        the matches at all places inside it end there too, up to the first place with a match that
        goes further (`search.follow_long`).

        intervals: int64, shape (len, segments, 2), or (0, segments, 2) if they are not wanted. Set
        to the intervals of the matches of up to LONG tokens, as in `find_batch`.
        """
        ids = text.ids
        n = ids.shape[0]
        starts = np.arange(n)
        limits = search.limits(ids, int(self.vocabulary.separator), over_end)
        lengths = np.zeros(n, np.int64)
        places = text.ranges(starts, np.minimum(limits, starts + LONG))
        walked = self._adding[:, rows.SELF] != 0
        if not walked.any():
            self._fill(search.match_many, places, lengths, intervals)
        else:
            lengths = self._walked_matches(text, limits, walked)
            if not walked.all():
                found = np.zeros(n, np.int64)
                given = np.ascontiguousarray(self._adding[~walked])
                self._fill(search.match_many, places, found, intervals[:0], given=given)
                lengths = np.maximum(np.minimum(lengths, LONG), found)
            if intervals.shape[0]:
                short = np.flatnonzero(lengths <= LONG)
                intervals[short] = self.find_batch(text.ranges(short, short + lengths[short]))
            if walked.all():
                return self._confirmed(text, starts, lengths, 1) if self._deleting else lengths

        long = np.flatnonzero(lengths == LONG)
        long = long[long + LONG < limits[long]]
        gaps = np.diff(long, prepend=-2, append=n + 1) > 1
        firsts, lasts = long[gaps[:-1]], long[gaps[1:]]
        given, pace = self._adding, self.pace

        def follow(begin: int, end: int) -> None:
            start = perf_counter_ns()
            some = firsts[begin:end], lasts[begin:end], limits
            searches = search.follow_long(given, ids, *some, LONG, pace.cold, lengths)
            if searches < 0:
                raise damaged(self.path, "a match that is shorter than a part of it")
            pace.timed(start, searches)

        spread(follow, firsts.shape[0], SHARED)
        return self._confirmed(text, starts, lengths, 1) if self._deleting else lengths

    def _walked_matches(self, text: Queries, limits: np.ndarray, walked: np.ndarray) -> np.ndarray:
        """The length of the longest match at each place, of those in the self-indexes, `walked`.

        A self-index finds the longest match that ends at a place. These begin ever later, so that
        they say where those end that begin at a place. Where they are DEEP, neighbours mostly begin
        at one place: if the first and the last of some do, all between do.
        """
        n = text.ids.shape[0]
        ends = np.arange(1, n + 1)
        # The first place from which a match may reach each end.
        starts = np.searchsorted(limits, ends)
        given = np.ascontiguousarray(self._adding[walked])

        def begins_of(some: np.ndarray, from_places: np.ndarray) -> np.ndarray:
            lengths = np.zeros(some.shape[0], np.int64)
            ranges = text.ranges(from_places, ends[some])
            self._fill(suffixes.longest_ends, ranges, lengths, given=given)
            begins: np.ndarray = ends[some] - lengths
            return begins

        begins = begins_of(np.arange(n), np.maximum(starts, ends - DEEP))
        deep = np.flatnonzero((begins == ends - DEEP) & (begins > starts))
        gaps = np.diff(deep, prepend=-2, append=n + 1) > 1
        first, last = deep[gaps[:-1]], deep[gaps[1:]]
        for some in (first, last):
            begins[some] = begins_of(some, starts[some])
        while first.size:
            differ = begins[first] < begins[last]
            for a, b in zip(first[~differ].tolist(), last[~differ].tolist(), strict=True):
                begins[a:b] = begins[a]
            first, last = first[differ], last[differ]
            first, last = first[last - first > 1], last[last - first > 1]
            middle = (first + last) >> 1
            begins[middle] = begins_of(middle, starts[middle])
            first, last = np.concatenate([first, middle]), np.concatenate([middle, last])
        # (In a damaged file they may be out of order.)
        begins = np.maximum.accumulate(begins)
        matches: np.ndarray = np.searchsorted(begins, np.arange(n), "right") - np.arange(n)
        return matches

    def intervals_of_runs(self, ranges: Queries) -> np.ndarray:
        """`find_batch` for the ranges of a text, with few comparisons of long ranges.

        If long ranges share their start or their end, one is part of the next, so their counts are
        in order: if the counts at both ends of such a run are equal, so are all between. (With a
        common start the intervals are equal too; with a common end only their sizes are.)
        """
        starts, ends = ranges.starts, ranges.ends
        long = ends - starts > LONG
        if not long.any():
            return self.find_batch(ranges)
        # linked[i]: ranges i − 1 and i are both long, and one is part of the other.
        linked = np.zeros(starts.shape[0] + 1, np.bool_)
        linked[1:-1] = (starts[1:] == starts[:-1]) | (ends[1:] == ends[:-1])
        linked[1:-1] &= long[1:] & long[:-1]
        alone = ~(linked[1:] | linked[:-1])
        intervals = np.empty((starts.shape[0], len(self.segments), 2), np.int64)
        intervals[alone] = self.find_batch(ranges.ranges(starts[alone], ends[alone]))

        def look_up(number: int) -> int:
            one = slice(number, number + 1)
            intervals[number] = self.find_batch(ranges[one])[0]
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
