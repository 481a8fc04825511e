"""How often, and where, a text occurs, however tokens divide it.

An occurrence begins inside one token and ends inside it or a later one. Those inside one token are
counted by how often the token occurs. All others go over a token's end, in a state of the text's
automaton: the tokens that can stand before that end and those that can go on from there are known
from their bytes, and whichever are rarer are looked up and read on from. Where all are common,
they are joined to pairs, then to longer sequences, until few occurrences are left.
"""

from collections import defaultdict
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
SEARCH = 16
# Occurrences that are read rather than divided further.
FEW = 1024
# To read off one more next token takes as long as to read on from so many occurrences.
RUN = 4
# Tokens of a text that are read off one after another, at most.
DEEP = 64
# Groups of suffixes whose next tokens are read off: by how many tokens have been, segment, state at
# their end, and kind; their intervals (int64, shape (k, 2)) and offsets. Suffixes of a kind may be
# read (ANY), or not, for some begin with a token that has lost what it begins with (LOSING), or
# each begins with the separator before such a token (LOST).
ANY, LOSING, LOST = 0, 1, 2
Groups = dict[tuple[int, int, int, int], list[tuple[np.ndarray, np.ndarray]]]

NOTHING = np.empty(0, np.int32)


@dataclass(frozen=True)
class Part:
    """Suffixes at which the text may occur; together all parts have each occurrence once.

    intervals: int64, shape (k, segments, 2). The text begins at byte offsets[i] of the first token,
    or `before` the suffix, as `kernels.covers.walk` takes both. certain: it occurs at all of them,
    but for those in which a document's first token loses what it begins with: these are in other
    parts, which are `lost`.
    """

    intervals: np.ndarray
    offsets: np.ndarray
    state: int = 0
    before: np.ndarray = field(default_factory=NOTHING.copy)
    certain: bool = False
    lost: bool = False


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
                number = self._engine.total_of(part.intervals)
                total += -number if part.lost else number
            elif not part.lost:
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
            if not part.lost
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
    ) -> Iterator[Part]:
        """Parts for these sequences of tokens, which spell the text from those offsets on."""
        yield Part(intervals, offsets, certain=True)
        of = np.array([each[0] for each in sequences], np.int64)
        lost = np.flatnonzero(offsets < self._bytes.dropped[of])
        if lost.shape[0]:
            found = self._at_start([sequences[i] for i in lost.tolist()])
            yield Part(found, offsets[lost], certain=True, lost=True)

    def _at_start(self, sequences: Sequence[Sequence[int]]) -> np.ndarray:
        """The intervals of these sequences of tokens at the start of documents."""
        separator = int(self._engine.vocabulary.separator)
        asked = [[separator, *tokens] for tokens in sequences]
        return self._engine.find_batch(self._engine.vocabulary.queries(asked))

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
            single = tokens[inside][:, None].tolist()
            yield from self._certain(singles[tokens[inside]], offsets[inside], single)
        known: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        off: Groups = defaultdict(list)
        for state in np.unique(states[~inside]).tolist():
            of_state = states == state
            yield from self._over_an_end(
                pattern, known, state, tokens[of_state], offsets[of_state], off
            )
        yield from self._read_off(pattern, known, off)

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
        self,
        pattern: Pattern,
        known: dict[int, tuple[np.ndarray, np.ndarray]],
        state: int,
        tokens: np.ndarray,
        offsets: np.ndarray,
        off: Groups,
    ) -> Iterator[Part]:
        """Parts for what begins inside one of `tokens`, at `offsets`, and leaves it in `state`.

        What had better be read off the order of suffixes is put into `off` instead.
        """
        singles, sizes = self._singles, self._sizes
        if state not in known:
            known[state] = self._going_on(pattern, state)
        pieces, ends = known[state]
        number = pieces.shape[0] + ends.shape[0]
        if not number:
            return
        # How much is to be read in each way.
        of_tokens, of_pieces = sizes[tokens], sizes[pieces[:, 0]]
        left = int(of_tokens.sum())
        right = int(sizes[ends].sum() + np.minimum(of_pieces, FEW + of_pieces**0.6).sum())
        pairs = tokens.shape[0] * number * SEARCH
        runs = np.minimum(of_tokens, RUN * (1 + np.minimum(of_tokens**0.6, number)))
        least = min(left, right, pairs)
        if FEW + int(runs.sum()) < least:
            self._begin_off(state, tokens, offsets, off)
            return
        if left == least:
            yield Part(singles[tokens], offsets)
            return
        if right <= pairs:
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

    def _begin_off(
        self, state: int, tokens: np.ndarray, offsets: np.ndarray, off: Groups
    ) -> None:
        """Put into `off` what `_read_off` begins with: tokens that are left in a state."""
        lost = offsets < self._bytes.dropped[tokens]
        start = self._at_start(tokens[lost][:, None].tolist()) if lost.any() else None
        for segment in range(self._singles.shape[1]):
            intervals = self._singles[tokens, segment]
            off[1, segment, state, ANY].append((intervals[~lost], offsets[~lost]))
            if start is not None:
                off[1, segment, state, LOSING].append((intervals[lost], offsets[lost]))
                off[2, segment, state, LOST].append((start[:, segment], offsets[lost]))

    def _read_off(
        self, pattern: Pattern, known: dict[int, tuple[np.ndarray, np.ndarray]], off: Groups
    ) -> Iterator[Part]:
        """Parts for what goes on from groups of suffixes, read off the order of suffixes."""
        while off:
            depth, segment, state, kind = key = min(off)
            group = off.pop(key)
            intervals = np.concatenate([each for each, _ in group])
            offsets = np.concatenate([each for _, each in group])
            if kind == ANY and (int(np.diff(intervals).sum()) <= FEW or depth > DEEP):
                yield self._of_segment(segment, intervals, offsets, kind, False)
                continue
            if state not in known:
                known[state] = self._going_on(pattern, state)
            pieces, ends = known[state]
            # Tokens by id, and the states that they lead to (the last for all up to the end).
            ids = np.concatenate([pieces[:, 0], ends])
            order = np.argsort(ids)
            leads = np.append(pieces[:, 1], np.full_like(ends, pattern.end))[order]
            found = self._engine.runs_of(segment, intervals, depth, ids[order])
            to = leads[found[:, 1]]
            done = found[to == pattern.end]
            if done.shape[0]:
                yield self._of_segment(segment, done[:, 2:], offsets[done[:, 0]], kind, True)
            for after in np.unique(to[to != pattern.end]).tolist():
                runs = _joined(found[to == after])
                off[depth + 1, segment, after, kind].append((runs[:, 2:], offsets[runs[:, 0]]))

    def _of_segment(
        self, segment: int, intervals: np.ndarray, offsets: np.ndarray, kind: int, certain: bool
    ) -> Part:
        """A part of one segment alone."""
        of_all = np.zeros((intervals.shape[0], self._singles.shape[1], 2), np.int64)
        of_all[:, segment] = intervals
        return Part(of_all, offsets, certain=certain, lost=kind == LOST)

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
                    yield from self._certain(those, offsets, [over[i][0] for i in done.tolist()])
            going = np.flatnonzero(occurs[: len(longer)])
            begun, intervals = [longer[i] for i in going.tolist()], found[going]


def _joined(runs: np.ndarray) -> np.ndarray:
    """Runs as `kernels.runs` has them, with those that follow one another made one."""
    runs = runs[np.lexsort((runs[:, 2], runs[:, 0]))]
    same = (runs[1:, :2] == runs[:-1, :2]).all(1) & (runs[1:, 2] == runs[:-1, 3])
    firsts = np.flatnonzero(np.append(True, ~same))
    joined = runs[firsts]
    joined[:, 3] = runs[np.append(firsts[1:], runs.shape[0]) - 1, 3]
    return joined
