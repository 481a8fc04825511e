"""An engine whose segments are in actors: the same answers, in few messages.

Of what has no method here, all that reads segments' files itself raises QueryError.
"""

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from everygram.distributed.actors import Actors
from everygram.distributed.segment import FarSegment, not_here
from everygram.engine.covers import Spelled
from everygram.engine.distributions import NO_LIMIT, Following
from everygram.engine.drafts import Drafted
from everygram.engine.engine import Engine
from everygram.engine.intervals import damaged
from everygram.engine.pace import Pace
from everygram.engine.queries import Ids, Queries, Vocabulary
from everygram.engine.texts import LONG
from everygram.errors import EverygramError, UnreachableSegmentError
from everygram.kernels import drafts, search, suffixes
from everygram.storage import format as fmt
from everygram.storage.segment import Segment


class FarEngine(Engine):
    """All queries over segments in actors. Methods may be called from several threads."""

    far = True

    def __init__(self, actors: Actors, manifest: fmt.Manifest, missing: tuple[str, ...]) -> None:
        """manifest: of the segments that the actors hold. missing: the names of others."""
        self.actors, self.missing = actors, missing
        place = {
            entry.name: (group, number)
            for group, each in enumerate(actors.groups)
            for number, entry in enumerate(each.held.entries)
        }
        self.far_segments = [
            FarSegment(actors, *place[entry.name], entry, manifest.dtype)
            for entry in manifest.segments
        ]
        self.segments = list[Segment](self.far_segments)
        # The places of each group's segments among all.
        self._columns = [
            np.array([i for i, each in enumerate(self.far_segments) if each.group == group])
            for group in range(len(actors.groups))
        ]
        self.vocabulary = Vocabulary(manifest.vocab_size, manifest.separator)
        self._signs = np.array([each.sign for each in manifest.segments], np.int64)
        self._deleting = bool((self._signs < 0).any())
        self.stream_len = int(sum(s.stream_len * s.entry.sign for s in self.segments))
        self.pace = Pace(always=True)
        self.next_document = manifest.next_document
        self.members = None

    def __getattr__(self, name: str) -> NoReturn:
        # (The rows that kernels search with hold addresses in memory.)
        if name in ("_rows", "_adding"):
            raise not_here()
        raise AttributeError(name)

    def warm_up(self) -> None:
        """As of any engine, in all actors."""
        self.actors.ask_all("of_engine", "warm_up")

    @property
    def walked(self) -> bool:
        """As of any engine."""
        return any(segment.entry.kind == fmt.SELF_INDEX_KIND for segment in self.segments)

    def _parted(self, intervals: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """The groups, and of intervals (shape (k, segments, 2)) those of each one's segments."""
        return [
            (group, np.ascontiguousarray(intervals[:, columns]))
            for group, columns in enumerate(self._columns)
        ]

    # Intervals and counts.

    def _asking(self, kernel: Callable[..., Any], prompt: bool = False) -> Callable[..., Any]:
        def read(packed: bytes) -> Queries:
            return self.vocabulary.query(self.vocabulary.unpack(packed))

        def ask(query: Ids) -> tuple[bytes, int]:
            packed = self.vocabulary.pack(query)
            batch = self.count_batch if kernel is search.count else self.longest_suffix_batch
            return packed, int(batch(read(packed))[0])

        def ask_prompt(prompt: Ids, continuation: int) -> tuple[bytes, tuple[int, int]]:
            packed = self.vocabulary.pack_prompt(prompt, continuation)
            self.vocabulary.check_continuation(self.vocabulary.unpack(packed)[-1])
            prompts, counts = self.prob_batch(read(packed))
            return packed, (int(prompts[0]), int(counts[0]))

        if kernel not in (search.count, search.prob, suffixes.longest_suffix):
            raise not_here()
        return ask_prompt if prompt else ask

    def find_batch(self, queries: Queries) -> np.ndarray:
        """As of any engine."""
        intervals = np.empty((len(queries), len(self.segments), 2), np.int64)
        if len(queries):
            found = self.actors.ask_all("of_engine", "find_batch", queries)
            for columns, of_group in zip(self._columns, found, strict=True):
                intervals[:, columns] = of_group
        return intervals

    def counts_of(self, intervals: np.ndarray) -> np.ndarray:
        """As of any engine."""
        counts: np.ndarray = (intervals[:, :, 1] - intervals[:, :, 0]) @ self._signs
        if (counts < 0).any():
            raise damaged(self.path, f"{int(counts.min()):,} occurrences")
        return counts

    def total_of(self, intervals: np.ndarray) -> int:
        """As of any engine."""
        return int(((intervals[:, :, 1] - intervals[:, :, 0]) @ self._signs).sum())

    def prob_batch(self, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        """As of any engine, in one message."""
        starts, ends, k = queries.starts, queries.ends, len(queries)
        both = queries.ranges(np.concatenate([starts, starts]), np.concatenate([ends - 1, ends]))
        # (A query that goes on after a document's end occurs nowhere; its prompt must not either.)
        found = self.find_prompts_first(both, k)
        counts = self.counts_of(found)
        return self.consistent(counts[:k], counts[k:])

    def find_prompts_first(self, both: Queries, k: int) -> np.ndarray:
        """`find_batch`, of which the first `k` are prompts: see `find_prompts`."""
        intervals = self.find_batch(both)
        if both.ids.shape[0]:
            last = both.ids[np.maximum(both.ends[:k] - 1, 0)]
            long = both.ends[:k] - both.starts[:k] > 1
            intervals[:k][(last == self.vocabulary.separator) & long] = 0
        return intervals

    def longest_suffix_batch(self, prompts: Queries) -> np.ndarray:
        """As of any engine."""
        lengths = np.zeros(len(prompts), np.int64)
        if len(prompts):
            for of_group in self.actors.ask_all("of_engine", "longest_suffix_batch", prompts):
                lengths = np.maximum(lengths, of_group)
        if self._deleting:
            lengths = self._confirmed(prompts, prompts.ends, lengths, -1)
        return lengths

    # Distributions.

    def _all_found(
        self, asked: Sequence[tuple[np.ndarray, int, np.ndarray, int]]
    ) -> list[list[tuple[np.ndarray, np.ndarray]]]:
        """`found_in` of prompts, each with its length, intervals and stride."""
        found: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in asked]
        questions, owners = [], []
        for group, columns in enumerate(self._columns):
            those, numbers = [], []
            for number, (prompt, length, intervals, stride) in enumerate(asked):
                of_group = np.ascontiguousarray(intervals[columns])
                if (of_group[:, 1] > of_group[:, 0]).any():
                    those.append((np.array(prompt), length, of_group, stride))
                    numbers.append(number)
            if those:
                questions.append((group, "found_in", (those,)))
                owners.append(numbers)
        for numbers, answers in zip(owners, self.actors.ask(questions), strict=True):
            for number, answer in zip(numbers, answers, strict=True):
                found[number] += answer
        return found

    def found_in(
        self, prompt: np.ndarray, length: int, intervals: np.ndarray, stride: int
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """As of any engine."""
        return self._all_found([(prompt, length, intervals, stride)])[0]

    def ntd_batch(self, prompts: Queries, max_support: int) -> list[Following]:
        """As of any engine, in two messages for each actor."""
        intervals = self.find_prompts(prompts)
        asked, sizes = [], []
        for number, one in enumerate(prompts.alone()):
            length = one.ids.shape[0]
            count, stride = self._sampled(length, intervals[number], max_support)
            sizes.append(count)
            asked.append((one.ids, length, intervals[number], stride))
        return [
            self._joined(ids, length, count, stride, found)
            for (ids, length, _, stride), count, found in zip(
                asked, sizes, self._all_found(asked), strict=True
            )
        ]

    def draft(
        self,
        context: Ids,
        max_tokens: int,
        max_suffix: int,
        lookback: int,
        max_factor: float,
        min_token_prob: float,
    ) -> Drafted:
        """As of any engine, in two messages a token for each actor."""
        packed = self.vocabulary.pack(context[-max(max_suffix, lookback) :], "context")
        ids, separator = self.vocabulary.unpack(packed), int(self.vocabulary.separator)
        self.vocabulary.check(ids, "context")
        query = self.vocabulary.query(ids[-max_suffix:], "context")
        length = int(self.longest_suffix_batch(query)[0])
        tokens, counts, count, repeats, at = [], [], 0, 0, 0
        if lookback:
            first = max(0, ids.shape[0] - lookback)
            repeats, at = drafts.longest_repeat(ids, first, max_suffix, self.vocabulary.separator)
        repeated = repeats > 0 and repeats >= length
        size = int(min(max_tokens, max_factor * (repeats if repeated else length)))
        if repeated:
            length, count = repeats, 1
            for token in np.resize(ids[at:], size).tolist():
                if token == separator:
                    break
                tokens.append(token)
                counts.append(1)
        elif length and self.segments:
            read = ids[ids.shape[0] - length :]
            while len(tokens) < size or not count:
                every = np.append(read, np.array(tokens, read.dtype))
                asked = self.vocabulary.query(every, "context")
                intervals = self.find_prompts(asked)[0]
                found = self._following(asked.ids, every.shape[0], intervals, NO_LIMIT)
                count = count or found.prompt_count
                if count < 1:
                    raise damaged(self.path, "a suffix that occurs nowhere")
                if len(tokens) == size or not found.table.shape[1]:
                    break
                best = int(found.table[1].argmax())
                token, times = found.table[:2, best].tolist()
                if token == separator or times / count < min_token_prob:
                    break
                tokens.append(token)
                counts.append(times)
        table = np.array([tokens, counts], np.int64)
        return Drafted(packed, length, count, table, repeated)

    # Texts.

    def match_lengths(self, text: Queries, over_end: bool, intervals: np.ndarray) -> np.ndarray:
        """As of any engine."""
        n = text.ids.shape[0]
        lengths, starts = np.zeros(n, np.int64), np.arange(n)
        if n:
            for of_group in self.actors.ask_all("match_lengths", text, over_end):
                lengths = np.maximum(lengths, of_group)
        if intervals.shape[0]:
            short = np.flatnonzero(lengths <= LONG)
            intervals[short] = self.find_batch(text.ranges(short, short + lengths[short]))
        return self._confirmed(text, starts, lengths, 1) if self._deleting else lengths

    def one_follows(self, prompts: Queries, intervals: np.ndarray) -> np.ndarray:
        """As of any engine."""
        alone = np.ones(len(prompts), np.bool_)
        if not len(prompts):
            return alone
        questions: list[tuple[int, str, tuple[Any, ...]]] = []
        there = []
        for group, of_group in self._parted(intervals):
            questions.append((group, "of_engine", ("one_follows", prompts, of_group)))
            there.append((of_group[:, :, 1] > of_group[:, :, 0]).any(axis=1))
        for has, answer in zip(there, self.actors.ask(questions), strict=True):
            alone &= answer | ~has
        # Where one token follows in each of several actors, these may differ.
        unsure = np.flatnonzero(alone & (np.sum(there, axis=0) > 1))
        asked = []
        for number in unsure.tolist():
            ids = prompts.ids[prompts.starts[number] : prompts.ends[number]]
            asked.append((ids, ids.shape[0], intervals[number], 0))
        for number, found in zip(unsure.tolist(), self._all_found(asked), strict=True):
            alone[number] = np.unique(np.concatenate([ids for ids, _ in found])).shape[0] == 1
        return alone

    # Documents.

    def gone(self, number: int) -> EverygramError:
        """As of any engine."""
        if not self.missing:
            return super().gone(number)
        return UnreachableSegmentError(
            f"{self.called(number)}: it was deleted, or is in a segment that cannot be reached: "
            f"{', '.join(self.missing)}",
            self.missing,
        )

    def text_at(self, segment: Segment, start: int, end: int) -> np.ndarray:
        """As of any engine."""
        found: np.ndarray = self._at(segment, "text_at", start, end)
        return found

    def positions_at(self, segment: Segment, ranks: np.ndarray) -> np.ndarray:
        """As of any engine."""
        found: np.ndarray = self._at(segment, "positions_at", ranks)
        return found

    def _at(self, segment: Segment, name: str, *args: Any) -> Any:
        assert isinstance(segment, FarSegment)
        return self.actors.ask([(segment.group, "at", (segment.number, name, *args))])[0]

    def document_count(self, query: Ids) -> tuple[bytes, int, int]:
        """As of any engine."""
        packed = self.vocabulary.pack(query)
        found, counts = self.document_count_batch(
            self.vocabulary.query(self.vocabulary.unpack(packed))
        )
        return packed, int(found[0]), int(counts[0])

    def document_count_batch(self, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        """As of any engine, in one message."""
        found = np.zeros(len(queries), np.int64)
        intervals = np.empty((len(queries), len(self.segments), 2), np.int64)
        if len(queries):
            answers = self.actors.ask_all("document_counts", queries)
            for columns, (of_group, documents) in zip(self._columns, answers, strict=True):
                intervals[:, columns] = of_group
                found += documents
        counts = self.counts_of(intervals)
        if (found > counts).any() or (found < 0).any():
            raise self._wrong_documents()
        return found, counts

    def documents_added(self, intervals: np.ndarray) -> np.ndarray:
        """As of any engine."""
        questions: list[tuple[int, str, tuple[Any, ...]]] = [
            (group, "of_engine", ("documents_added", of_group))
            for group, of_group in self._parted(intervals)
        ]
        none = np.zeros(intervals.shape[0], np.int64)
        return none + sum(self.actors.ask(questions), none)

    # What tokens spell.

    def read_on(
        self,
        spelled: Spelled,
        intervals: np.ndarray,
        offsets: np.ndarray,
        state: int,
        before: np.ndarray,
    ) -> np.ndarray:
        """As of any engine."""
        questions: list[tuple[int, str, tuple[Any, ...]]] = [
            (group, "of_engine", ("read_on", spelled, of_group, offsets, state, before))
            for group, of_group in self._parted(intervals)
            if (of_group[:, :, 1] > of_group[:, :, 0]).any()
        ]
        none = np.zeros(intervals.shape[0], np.int64)
        return none + sum(self.actors.ask(questions), none)

    def places_in(
        self,
        number: int,
        spelled: Spelled,
        intervals: np.ndarray,
        offsets: np.ndarray,
        state: int,
        before: np.ndarray,
        certain: bool,
    ) -> np.ndarray:
        """As of any engine."""
        of_group = np.ascontiguousarray(
            intervals[:, self._columns[self.far_segments[number].group]]
        )
        given = spelled, of_group, offsets, state, before, certain
        found: np.ndarray = self._in(number, "places_in", *given)
        return found

    def _in(self, number: int, name: str, *args: Any) -> Any:
        """What the engine that has a segment answers to a question about it."""
        segment = self.far_segments[number]
        return self.actors.ask([(segment.group, "of_engine", (name, segment.number, *args))])[0]

    def ends_of(self, number: int, spelled: Spelled, places: np.ndarray) -> np.ndarray:
        """As of any engine."""
        found: np.ndarray = self._in(number, "ends_of", spelled, places)
        return found

    def runs_of(
        self, number: int, intervals: np.ndarray, depth: int, wanted: np.ndarray
    ) -> np.ndarray:
        """As of any engine."""
        found: np.ndarray = self._in(number, "runs_of", intervals, depth, wanted)
        return found

    def sequences_in(
        self, number: int, ids: np.ndarray, starts: np.ndarray, ends: np.ndarray, found: np.ndarray
    ) -> np.ndarray:
        """As of any engine."""
        return self._filled(number, "sequences_in", found, ids, starts, ends)

    def texts_in(
        self,
        number: int,
        spelled: Spelled,
        prepared: tuple[np.ndarray, np.ndarray],
        starts: np.ndarray,
        ends: np.ndarray,
        found: np.ndarray,
    ) -> np.ndarray:
        """As of any engine."""
        return self._filled(number, "texts_in", found, spelled, prepared, starts, ends)

    def _filled(self, number: int, name: str, found: np.ndarray, *args: Any) -> np.ndarray:
        segment = self.far_segments[number]
        asked = (segment.group, "filled", (name, found.shape, segment.number, *args))
        counts: np.ndarray
        counts, rows = self.actors.ask([asked])[0]
        found[: rows.shape[0]] = rows
        return counts
