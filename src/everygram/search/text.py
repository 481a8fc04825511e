"""How often, and where, a text occurs, however tokens divide it.

An occurrence begins inside one token and ends inside it or a later one. Those inside one token are
counted by how often the token occurs. All others go over a token's end, in a state of the text's
automaton: the tokens that can stand before that end and those that can go on from there are known
from their bytes, and whichever are rarer are looked up and read on from. Where all are common,
they are joined to pairs, then to longer sequences, until few occurrences are left.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np

from everygram.engine.covers import Spelled
from everygram.engine.engine import Engine
from everygram.errors import DamagedIndexError
from everygram.kernels import covers
from everygram.search.pattern import Pattern, word_table
from everygram.tokenizer.vocabulary import TokenBytes

# To search for one more sequence takes as long as to read on from so many occurrences.
SEARCH = 64
# Occurrences that are read rather than divided further.
FEW = 1024

NOTHING = np.empty(0, np.int32)


@dataclass(frozen=True)
class Part:
    """Suffixes at which the text may occur; together all parts have each occurrence once.

    intervals: int64, shape (k, segments, 2). The text begins at byte offsets[i] of the first token,
    or `before` the suffix, as `kernels.covers.walk` takes both. certain: it occurs at all of them,
    but for those that begin like `lost`: there a document's first token loses what it begins with.
    """

    intervals: np.ndarray
    offsets: np.ndarray
    state: int = 0
    before: np.ndarray = field(default_factory=NOTHING.copy)
    certain: bool = False
    lost: Sequence[list[int]] = ()


class TextSearch:
    """Texts in the documents of an engine whose tokens spell `bytes_of`."""

    def __init__(self, engine: Engine, bytes_of: Callable[[], TokenBytes]) -> None:
        """bytes_of: gives what tokens spell, when a text is first looked for."""
        self._engine = engine
        self._bytes_of = bytes_of

    @cached_property
    def _bytes(self) -> TokenBytes:
        return self._bytes_of()

    def count(self, pattern: Pattern, whole_words: bool = False) -> int:
        """How often the text occurs, overlapping occurrences each."""
        spelled = self._spelled(pattern, whole_words)
        total = 0
        for part in self._parts(pattern):
            if part.certain and not whole_words:
                total += int(self._engine.counts_of(part.intervals).sum())
                if part.lost:
                    lost = self._engine.vocabulary.queries(part.lost)
                    total -= int(self._engine.count_batch(lost).sum())
            else:
                total += self._engine.read_on(
                    spelled, part.intervals, part.offsets, part.state, part.before
                )
        if total < 0:
            raise DamagedIndexError(
                "the index is damaged: a text occurs more often in deleted documents than in all; "
                "see 'everygram verify'"
            )
        return total

    def find(self, pattern: Pattern, whole_words: bool = False) -> np.ndarray:
        """Where it occurs: int64, shape (k, 6), in the order of segments and positions.

        A row is the segment, the number of the document, the position of the token in which it
        begins, the offset among that token's bytes, and the same two of its end. What occurs in
        deleted documents is left out.
        """
        spelled = self._spelled(pattern, whole_words)
        parts = [
            self._engine.places_of(spelled, part.intervals, part.offsets, part.state, part.before)
            for part in self._parts(pattern)
        ]
        found = [np.empty((0, 6), np.int64)]
        for number, segment in enumerate(self._engine.segments):
            rows = np.concatenate([np.empty((0, 4), np.int64), *(part[number] for part in parts)])
            rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
            documents = segment.numbers_of(segment.documents_at(rows[:, 0]))
            rows = np.column_stack([np.full_like(documents, number), documents, rows])
            found.append(rows[~self._engine.deleted(documents)])
        return np.concatenate(found)

    def placed(self, rows: np.ndarray) -> np.ndarray:
        """Rows of `find` in their documents: int64, shape (k, 7).

        A row is the number of the document, the characters, the bytes and the tokens of it at which
        the text begins and ends.
        """
        bounds = np.flatnonzero(np.any(np.diff(rows[:, :2], axis=0), axis=1)) + 1
        placed = [np.empty((0, 7), np.int64)]
        placed += [self._in_document(each) for each in np.split(rows, bounds) if each.size]
        return np.concatenate(placed)

    def _in_document(self, rows: np.ndarray) -> np.ndarray:
        """`placed` of rows of one document."""
        number, document = rows[0, :2].tolist()
        first, begin, last, end = rows[:, 2:].T
        segment = self._engine.segments[number]
        start, stop = segment.document_bounds(int(segment.documents_at(first[:1])[0]))
        ids = segment.tokens[start:stop].astype(np.int64)
        of = self._bytes
        if first.min() < start or last.max() >= stop or ids.max() >= of.order.shape[0]:
            raise DamagedIndexError(
                f"the index is damaged: a text that is found in document {document} is not in its "
                "tokens; see 'everygram verify'"
            )
        # Where each token begins in the document's bytes.
        places = np.cumsum(np.diff(of.starts)[ids]) - np.diff(of.starts)[ids] - of.dropped[ids[0]]
        spelled = [of.blob[of.starts[i] : of.starts[i + 1]].tobytes() for i in ids.tolist()]
        data = b"".join(spelled)[int(of.dropped[ids[0]]) :]
        in_bytes = np.column_stack([places[first - start] + begin, places[last - start] + end])
        # (No character goes over these places, so that the text may be decoded from one to the
        # next.)
        cuts, which = np.unique(in_bytes, return_inverse=True)
        pieces = pairwise([0, *cuts.tolist()])
        chars = np.cumsum([len(data[a:b].decode(errors="replace")) for a, b in pieces])
        tokens = np.column_stack([first - start, last - start + 1])
        documents = np.full(rows.shape[0], document)
        return np.column_stack([documents, chars[which].reshape(-1, 2), in_bytes, tokens])

    def _spelled(self, pattern: Pattern, whole_words: bool) -> Spelled:
        words = word_table() if whole_words else np.empty(0, np.uint8)
        of = self._bytes
        return Spelled(of.blob, of.starts, of.dropped, pattern.steps, pattern.targets, words)

    @cached_property
    def _singles(self) -> np.ndarray:
        """The interval of each token: int64, shape (V, segments, 2)."""
        vocabulary = self._engine.vocabulary
        size = min(vocabulary.vocab_size, self._bytes.order.shape[0])
        singles = np.zeros((self._bytes.order.shape[0], len(self._engine.segments), 2), np.int64)
        ids = vocabulary.split(np.arange(size), np.arange(size + 1))
        singles[:size] = self._engine.find_batch(ids)
        return singles

    @cached_property
    def _sizes(self) -> np.ndarray:
        """In how many suffixes of all segments each token comes first: int64, shape (V,)."""
        sizes: np.ndarray = (self._singles[:, :, 1] - self._singles[:, :, 0]).sum(1)
        return sizes

    def _certain(
        self, intervals: np.ndarray, offsets: np.ndarray, sequences: Sequence[Sequence[int]]
    ) -> Part:
        """The part of these sequences of tokens, which spell the text from those offsets on."""
        lost: list[list[int]] = []
        if self._bytes.dropped.any():
            separator = int(self._engine.vocabulary.separator)
            lost = [
                [separator, *tokens]
                for tokens, offset in zip(sequences, offsets.tolist(), strict=True)
                if offset < self._bytes.dropped[tokens[0]]
            ]
        return Part(intervals, offsets, certain=True, lost=lost)

    def _parts(self, pattern: Pattern) -> Iterator[Part]:
        """Parts that have every occurrence between them, once."""
        singles, sizes = self._singles, self._sizes
        ways = pattern.steps[0]
        places = np.concatenate([self._bytes.places[byte] for byte in ways[ways >= 0].tolist()])
        found = np.empty((places.shape[0], 3), np.int64)
        number = covers.beginnings(
            places,
            self._bytes.owners,
            self._bytes.blob,
            self._bytes.starts,
            pattern.steps,
            pattern.targets,
            found,
        )
        found = found[:number]
        found = found[sizes[found[:, 0]] > 0]
        tokens, offsets, states = found.T
        inside = states == pattern.end
        if inside.any():
            yield self._certain(singles[tokens[inside]], offsets[inside], tokens[inside][:, None])
        for state in np.unique(states[~inside]).tolist():
            of_state = states == state
            yield from self._over_an_end(pattern, state, tokens[of_state], offsets[of_state])

    def _going_on(self, pattern: Pattern, state: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens that occur and go on from a state: those that end in one before the end, int64,
        shape (k, 2), with it; and those that go up to the end, int64, shape (m,)."""
        of = self._bytes
        pieces, ranges = covers.continuations(
            state, of.order, of.blob, of.starts, pattern.steps, pattern.targets
        )
        ends = [of.order[first:last] for first, last in ranges.tolist()]
        last = np.concatenate([NOTHING, *ends]).astype(np.int64)
        sizes = self._sizes
        return pieces[sizes[pieces[:, 0]] > 0], last[sizes[last] > 0]

    def _over_an_end(
        self, pattern: Pattern, state: int, tokens: np.ndarray, offsets: np.ndarray
    ) -> Iterator[Part]:
        """Parts for what begins inside one of `tokens`, at `offsets`, and leaves it in `state`."""
        singles, sizes = self._singles, self._sizes
        pieces, ends = self._going_on(pattern, state)
        if not pieces.shape[0] + ends.shape[0]:
            return
        left = int(sizes[tokens].sum())
        right = int(sizes[ends].sum() + np.minimum(sizes[pieces[:, 0]], FEW).sum())
        pairs = tokens.shape[0] * (pieces.shape[0] + ends.shape[0])
        if left <= min(right, pairs * SEARCH):
            yield Part(singles[tokens], offsets)
            return
        known = {state: (pieces, ends)}
        if right <= pairs * SEARCH:
            before = np.zeros(sizes.shape[0], np.int32)
            before[tokens] = offsets + 1
            if ends.shape[0]:
                yield Part(singles[ends], np.zeros_like(ends), state, before)
            # (A token without bytes is passed over on the way back to the one before.)
            of_bytes = np.diff(self._bytes.starts)[pieces[:, 0]] > 0
            begun = [((token,), after, 0) for token, after in pieces[of_bytes].tolist()]
            intervals = singles[pieces[of_bytes, 0]]
            yield from self._longer(pattern, known, begun, intervals, state, before)
        else:
            begun = [
                ((token,), state, offset)
                for token, offset in zip(tokens.tolist(), offsets.tolist(), strict=True)
            ]
            yield from self._longer(pattern, known, begun, singles[tokens], state, NOTHING)

    def _longer(
        self,
        pattern: Pattern,
        known: dict[int, tuple[np.ndarray, np.ndarray]],
        begun: Sequence[tuple[tuple[int, ...], int, int]],
        intervals: np.ndarray,
        state: int,
        before: np.ndarray,
    ) -> Iterator[Part]:
        """Parts for sequences of tokens (tokens, the state at their end, an offset) that occur.

        They become longer until few occurrences are left, or the text ends. `known`: what goes on
        from states, as `_going_on` gives it.
        """
        engine, vocabulary = self._engine, self._engine.vocabulary
        while begun:
            sizes = (intervals[:, :, 1] - intervals[:, :, 0]).sum(1).tolist()
            read, longer, over = [], [], []
            for i, ((tokens, at, offset), size) in enumerate(zip(begun, sizes, strict=True)):
                if at not in known:
                    known[at] = self._going_on(pattern, at)
                pieces, ends = known[at]
                number = pieces.shape[0] + ends.shape[0]
                if not number:
                    continue
                if size <= max(FEW, SEARCH * number):
                    read.append(i)
                    continue
                longer += [((*tokens, token), after, offset) for token, after in pieces.tolist()]
                over += [((*tokens, token), offset) for token in ends.tolist()]
            if read:
                offsets = np.array([begun[i][2] for i in read], np.int64)
                yield Part(intervals[read], offsets, state if before.shape[0] else 0, before)
            if not longer and not over:
                return
            sequences = [list(each[0]) for each in longer] + [list(each[0]) for each in over]
            found = engine.find_batch(vocabulary.queries(sequences))
            occurs: np.ndarray = np.any(found[:, :, 1] > found[:, :, 0], axis=1)
            done = np.flatnonzero(occurs[len(longer) :])
            if done.shape[0]:
                offsets = np.array([over[i][1] for i in done.tolist()], np.int64)
                those = found[len(longer) :][done]
                if before.shape[0]:
                    yield Part(those, offsets, state, before)
                else:
                    yield self._certain(those, offsets, [over[i][0] for i in done.tolist()])
            going = np.flatnonzero(occurs[: len(longer)])
            begun, intervals = [longer[i] for i in going.tolist()], found[going]
