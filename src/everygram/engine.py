"""Exact queries over segments: token ids in, numbers and arrays out.

Knows nothing of text, files or wire formats. A query's occurrences in an index are its
occurrences in each segment, which share no document: counts add up, distributions merge by token,
the longest suffix is the longest in any segment.

A *query* is ids in [0, vocab_size) or the separator. A separator at a query's first place means
"begins a document", at its last "ends one"; anywhere else it never matches. A *prompt* is a query
that something follows. After a document's end nothing does, so as a prompt `[a, separator]`
occurs 0 times, whereas `[separator]` is the start of a document. The empty prompt is followed by
every token of every document and by every document's end.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from everygram.errors import QueryError
from everygram.kernels.search import (
    count_many,
    find,
    longest_suffix,
    next_tokens,
    positions_of,
)
from everygram.segment import Segment

Ids = Sequence[int] | np.ndarray


class Engine:
    """Queries over the segments of one index. All methods may be called from several threads."""

    def __init__(self, segments: list[Segment], vocab_size: int, separator: int) -> None:
        self.segments = segments
        self.vocab_size = vocab_size
        self.separator = separator
        self.stream_len = sum(segment.stream_len for segment in segments)
        self.num_documents = sum(segment.num_documents for segment in segments)

    def check_query(self, query: Ids, name: str = "query") -> np.ndarray:
        """The query as int64, shape (m,); `name` is what messages call it.

        Raises QueryError for what is no flat list of ids in the vocabulary.
        """
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
            self._refuse_ids(ids, name)
        # A fresh, writable array: kernels compile once, not again for a read-only query.
        return ids.astype(np.int64)

    def _refuse_ids(self, ids: np.ndarray, name: str) -> None:
        bad = np.flatnonzero(((ids < 0) | (ids >= self.vocab_size)) & (ids != self.separator))
        if bad.size:
            raise QueryError(
                f"{name}[{bad[0]}]: token id {ids[bad[0]]} is outside the vocabulary: expected "
                f"0 to {self.vocab_size - 1}, or the separator {self.separator}"
            )

    def check_continuation(self, continuation: int) -> int:
        """The continuation, if it is one known id or the separator. Raises QueryError."""
        return int(self.check_query([continuation], "continuation")[0])

    def find(self, query: Ids) -> np.ndarray:
        """The intervals [lo, hi) of ranks of the suffixes that begin with the query.

        Returns int64, shape (segments, 2). O(log) memory reads a segment.
        """
        return self._intervals(self.check_query(query))

    def count(self, query: Ids) -> int:
        """Occurrences of the query. The empty query counts every token and document end."""
        return _total(self.find(query))

    def count_batch(self, queries: Sequence[Ids]) -> np.ndarray:
        """Occurrences of each query: int64, shape (len(queries),)."""
        checked = [self.check_query(query) for query in queries]
        offsets = np.zeros(len(checked) + 1, np.int64)
        np.cumsum([query.shape[0] for query in checked], out=offsets[1:])
        flat = np.concatenate([np.empty(0, np.int64), *checked])
        counts = np.zeros(len(checked), np.int64)
        for s in self.segments:
            count_many(
                s.tokens,
                s.suffix_array,
                s.fences,
                s.fence_spacing,
                s.separator,
                flat,
                offsets,
                counts,
            )
        return counts

    def prob(self, prompt: Ids, continuation: int) -> tuple[int, int]:
        """How often the prompt occurs, and how often the continuation follows it."""
        ids = self.check_query(prompt, "prompt")
        return self._prob(ids, self.check_continuation(continuation))

    def infgram_prob(self, prompt: Ids, continuation: int) -> tuple[int, int, int]:
        """As `prob` for the longest suffix of the prompt that occurs; its length comes third."""
        suffix = self._longest_suffix(self.check_query(prompt, "prompt"))
        counts = self._prob(suffix, self.check_continuation(continuation))
        return *counts, suffix.shape[0]

    def ntd(self, prompt: Ids) -> tuple[int, np.ndarray, np.ndarray]:
        """How often the prompt occurs, the tokens that follow it, and how often each does.

        Tokens ascend: int64, shape (k,), as the counts. Exact at any number of occurrences;
        the cost follows k.
        """
        return self._ntd(self.check_query(prompt, "prompt"))

    def infgram_ntd(self, prompt: Ids) -> tuple[int, np.ndarray, np.ndarray, int]:
        """As `ntd` for the longest suffix of the prompt that occurs; its length comes fourth."""
        suffix = self._longest_suffix(self.check_query(prompt, "prompt"))
        return *self._ntd(suffix), suffix.shape[0]

    def locate(
        self, intervals: np.ndarray, occurrences: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Segment, rank and position of occurrences counted through `intervals` in order.

        occurrences: int64, shape (k,), in [0, count). Returns int64, shape (k,), three times.
        """
        sizes = intervals[:, 1] - intervals[:, 0]
        before = np.cumsum(sizes) - sizes
        segments = np.searchsorted(np.cumsum(sizes), occurrences, "right")
        ranks = intervals[segments, 0] + occurrences - before[segments]
        positions = np.empty(occurrences.shape[0], np.int64)
        for number in np.unique(segments).tolist():
            of_segment = segments == number
            suffix_array = self.segments[number].suffix_array
            positions[of_segment] = positions_of(suffix_array, ranks[of_segment])
        return segments, ranks, positions

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
            documents[of_segment] = segment.first_document + local
            starts = segment.document_offsets[local].astype(np.int64)
            offsets[of_segment] = positions[of_segment] - starts - 1
        return documents, offsets

    def document(self, number: int) -> tuple[np.ndarray, dict[str, Any]]:
        """A document's ids (a view of the index, shape (len,)) and its metadata."""
        if isinstance(number, bool) or not isinstance(number, int | np.integer):
            raise QueryError(f"document: expected a number, found {_short(number)}")
        for segment in self.segments:
            local = int(number) - segment.first_document
            if 0 <= local < segment.num_documents:
                start, end = segment.document_bounds(local)
                return segment.tokens[start:end], segment.metadata(local)
        numbers = f"0 to {self.num_documents - 1}" if self.num_documents else "none: it is empty"
        raise QueryError(f"document {number}: the index has {numbers}")

    def warm_up(self) -> None:
        """Compile every kernel that this index's dtypes need, or load it from the disk cache."""
        self.count_batch([[]])
        self.infgram_ntd([self.separator])
        self.locate(self.find([]), np.arange(min(1, self.stream_len), dtype=np.int64))

    def _intervals(self, query: np.ndarray) -> np.ndarray:
        intervals = np.empty((len(self.segments), 2), np.int64)
        for i, s in enumerate(self.segments):
            intervals[i] = find(
                s.tokens, s.suffix_array, s.fences, s.fence_spacing, s.separator, query
            )
        return intervals

    def _prompt_intervals(self, prompt: np.ndarray) -> np.ndarray:
        """The intervals of a prompt; empty when it has ended its document."""
        if prompt.shape[0] > 1 and prompt[-1] == self.separator:
            return np.zeros((len(self.segments), 2), np.int64)
        return self._intervals(prompt)

    def _prob(self, prompt: np.ndarray, continuation: int) -> tuple[int, int]:
        prompt_count = _total(self._prompt_intervals(prompt))
        if prompt_count == 0:
            return 0, 0
        return prompt_count, _total(self._intervals(np.append(prompt, continuation)))

    def _ntd(self, prompt: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
        intervals = self._prompt_intervals(prompt)
        ids = [np.empty(0, np.int64)]
        counts = [np.empty(0, np.int64)]
        for segment, (lo, hi) in zip(self.segments, intervals.tolist(), strict=True):
            if lo == hi:
                continue
            if prompt.shape[0] == 0:
                ranks = segment.unigram_ranks.astype(np.int64)
                ids.append(segment.unigram_ids.astype(np.int64))
                counts.append(np.diff(ranks, append=segment.stream_len))
            else:
                following = next_tokens(
                    segment.tokens, segment.suffix_array, self.separator, lo, hi, prompt.shape[0]
                )
                ids.append(following[0])
                counts.append(following[1])
        if len(ids) <= 2:  # at most one segment has it: nothing to merge
            return _total(intervals), ids[-1], counts[-1]
        distinct, inverse = np.unique(np.concatenate(ids), return_inverse=True)
        merged = np.zeros(distinct.shape[0], np.int64)
        np.add.at(merged, inverse, np.concatenate(counts))
        return _total(intervals), distinct, merged

    def _longest_suffix(self, prompt: np.ndarray) -> np.ndarray:
        """The longest suffix of a prompt that occurs and that something follows."""
        # No match crosses a separator: what stands before the last one cannot matter.
        separators = np.flatnonzero(prompt == self.separator)
        if separators.size:
            prompt = prompt[separators[-1] :]
        length = 0
        for s in self.segments:
            # A shorter suffix than another segment has is of no use: fine to find it anyway.
            length = max(
                length,
                longest_suffix(
                    s.tokens, s.suffix_array, s.fences, s.fence_spacing, s.separator, prompt
                ),
            )
        return prompt[prompt.shape[0] - length :]


def _total(intervals: np.ndarray) -> int:
    return int((intervals[:, 1] - intervals[:, 0]).sum())


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
