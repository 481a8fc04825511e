"""At which suffixes a text may occur: all of its occurrences, in parts.

An occurrence begins inside one token and ends inside it or a later one. Those inside one token are
where the token occurs. All others go over a token's end, in a state of the text's automaton: the
tokens that can stand before that end and those that can go on from there are known from their
bytes. Whichever are rarer are looked up and read on from; tokens that are few are joined to pairs,
then to longer sequences, until few occurrences are left; and where all are many, those that go on
are read off the order of suffixes.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from everygram.engine.engine import Engine
from everygram.kernels import characters, covers
from everygram.search.pattern import Pattern
from everygram.tokenizer.vocabulary import TokenBytes

# What takes as long as to read on from so many occurrences: to search for one more sequence, to
# read off one more next token.
SEARCH, RUN = 16, 4
# Occurrences that are read rather than divided further.
FEW = 1024
# Tokens of a text that are read off one after another, at most.
DEEP = 64
# Suffixes that are read off are of a kind. They may be read on from (ANY), or must be, for the
# tokens before them say if the text occurs (OPEN); they may not, for they begin with a token that
# loses what it begins with at a document's start (LOSING); or they are those at a document's start,
# each with the separator before (LOST).
ANY, OPEN, LOSING, LOST = 0, 1, 2, 3

NOTHING = np.empty(0, np.int32)


@dataclass(frozen=True)
class Part:
    """Suffixes at which the text may occur; together all parts have each occurrence once.

    intervals: int64, shape (k, segments, 2). The text begins at byte offsets[i] of the first token,
    or `before` the suffix, as `kernels.covers.walk` takes both. certain: it occurs at all of them
    (as whole words, if that is looked for), but for those in which a document's first token loses
    what it begins with: these are in other parts, which are `lost`.
    """

    intervals: np.ndarray
    offsets: np.ndarray
    state: int = 0
    before: np.ndarray = field(default_factory=NOTHING.copy)
    certain: bool = False
    lost: bool = False


@dataclass(frozen=True)
class Begun:
    """Sequences of tokens that occur and spell a part of the text.

    tokens: the index's dtype, shape (k, length). The text begins at offsets[i] of the first token
    (or before it), and is in states[i] after the last. intervals: as in a part.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    states: np.ndarray
    intervals: np.ndarray

    def __getitem__(self, some: np.ndarray | slice) -> "Begun":
        """Some of them."""
        return Begun(self.tokens[some], self.offsets[some], self.states[some], self.intervals[some])


@dataclass(frozen=True)
class Singles:
    """The tokens of an engine's segments one by one.

    intervals: int64, shape (V, segments, 2); sizes: int64, shape (V,): in how many suffixes of all
    segments each token comes first. chained: whether a document begins with a token that vanishes
    there, so that others lose what they begin with, too.
    """

    intervals: np.ndarray
    sizes: np.ndarray
    chained: bool

    @staticmethod
    def of(engine: Engine, spelled: TokenBytes) -> "Singles":
        """Those of all ids that spell; what is not in the engine's vocabulary does not occur."""
        number = spelled.order.shape[0]
        size = min(engine.vocabulary.vocab_size, number)
        intervals = np.zeros((number, len(engine.segments), 2), np.int64)
        for segment_number, segment in enumerate(engine.segments):
            ids, of_segment = segment.unigram_intervals()
            known = np.searchsorted(ids, size)
            intervals[ids[:known], segment_number] = of_segment[:known]
        sizes = (intervals[:, :, 1] - intervals[:, :, 0]).sum(1)
        vanishing = np.flatnonzero(spelled.vanishes & (sizes > 0))
        starts = [[int(engine.vocabulary.separator), token] for token in vanishing.tolist()]
        found = engine.find_batch(engine.vocabulary.queries(starts))
        return Singles(intervals, sizes, bool((found[:, :, 1] > found[:, :, 0]).any()))


class Parts:
    """The parts of one text; iterate over them once.

    There are two states past the pattern's end. In the first the text has ended with a token, and
    what the next one begins with says whether that is the end of a word. In the second this is in
    a character that the token's end cuts, so that suffixes are read.
    """

    def __init__(
        self,
        engine: Engine,
        of: TokenBytes,
        singles: Singles,
        pattern: Pattern,
        words: np.ndarray = NOTHING,
    ) -> None:
        """words: a table of word characters if whole words are looked for."""
        self._engine = engine
        # How many times as long it takes to read a token before a suffix as one in it.
        self.back = engine.back
        self._of = of
        self._intervals, self._sizes = singles.intervals, singles.sizes
        self._chained = singles.chained
        self._pattern, self.end = pattern, pattern.end
        self._words = words
        self._known: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        # Groups of suffixes to be read off: by how many tokens have been, segment, state at their
        # end, and kind; their intervals (int64, shape (k, 2)) and offsets.
        self._off: dict[tuple[int, int, int, int], list[tuple[np.ndarray, np.ndarray]]]
        self._off = defaultdict(list)

    def __iter__(self) -> Iterator[Part]:
        every, open_ = self._beginnings()
        for begun, kind in ((every[~open_], ANY), (every[open_], OPEN)):
            inside = begun.states >= self.end
            yield from self._ended(begun[inside], kind)
            for state in np.unique(begun.states[~inside]).tolist():
                yield from self._over_an_end(state, begun[begun.states == state], kind)
        yield from self._read_off()

    def _beside(self, tokens: np.ndarray, offsets: np.ndarray, state: int) -> np.ndarray:
        """Whether word characters stand around the text in tokens, as `covers.around` finds it."""
        of, pattern = self._of, self._pattern
        beside = np.empty((tokens.shape[0], 2), np.int64)
        given = of.blob, of.starts, pattern.steps, pattern.targets, self._words
        covers.around(tokens.astype(np.int64), offsets, state, *given, beside)
        return beside

    def beginnings(self) -> Begun:
        """The tokens that occur and in which the text begins, up to their end or its own."""
        return self._beginnings()[0]

    def _beginnings(self) -> tuple[Begun, np.ndarray]:
        """As `beginnings`, and whether the tokens before say if it occurs like that: bool."""
        of, pattern = self._of, self._pattern
        places, found = [np.empty(0, np.int64)], [np.empty((0, 3), np.int64)]
        for byte, state in pattern.ways(0):
            tokens = of.ending_in(byte)
            lengths = of.starts[tokens + 1] - of.starts[tokens]
            found.append(np.column_stack([tokens, lengths - 1, np.full_like(tokens, state)]))
            if state == self.end:
                places.append(of.places(byte))
            places += [of.places(byte, after) for after, _ in pattern.ways(state)]
        at = np.concatenate(places)
        found.append(np.empty((at.shape[0], 3), np.int64))
        number = covers.beginnings(
            at, of.owners, of.blob, of.starts, pattern.steps, pattern.targets, found[-1]
        )
        found[-1] = found[-1][:number]
        every = np.concatenate(found)
        tokens, offsets, states = every[self._sizes[every[:, 0]] > 0].T
        ids = tokens.astype(self._engine.vocabulary.dtype)[:, None]
        begun = Begun(ids, offsets, states, self._intervals[tokens])
        # (What several tokens lose at a document's start is not told from the first one.)
        open_ = (offsets < of.dropped[tokens]) & self._chained
        if not self._words.shape[0]:
            return begun, open_
        before, behind = self._beside(tokens, offsets, 0).T
        inside = states == self.end
        states[inside & (behind == characters.OPEN)] = self.end + 1
        states[inside & (behind == characters.CUT)] = self.end + 2
        kept = (before != characters.WORD) & (~inside | (behind != characters.WORD))
        return begun[kept], (open_ | (before == characters.OPEN))[kept]

    def going_on(self, state: int) -> tuple[np.ndarray, np.ndarray]:
        """The tokens that occur and go on from a state, and the states that they lead to (the last,
        or one past it, for all that go up to the text's end): int64, shape (k,), twice."""
        if state not in self._known:
            of, pattern = self._of, self._pattern
            pieces, ranges = covers.continuations(
                state, of.order, of.blob, of.starts, pattern.steps, pattern.targets
            )
            ends = np.concatenate([NOTHING, *(of.order[a:b] for a, b in ranges.tolist())])
            tokens = np.append(pieces[:, 0], ends)
            states = np.append(pieces[:, 1], np.full(ends.shape[0], pattern.end))
            occurs = np.flatnonzero(self._sizes[tokens] > 0)
            occurs = occurs[np.argsort(tokens[occurs])]
            tokens, states = tokens[occurs], states[occurs]
            if self._words.shape[0]:
                behind = self._beside(tokens, np.zeros_like(tokens), state)[:, 1]
                over = states == self.end
                states[over & (behind == characters.OPEN)] = self.end + 1
                states[over & (behind == characters.CUT)] = self.end + 2
                kept = ~over | (behind != characters.WORD)
                tokens, states = tokens[kept], states[kept]
            self._known[state] = tokens, states
        return self._known[state]

    def lost(self, begun: Begun) -> tuple[np.ndarray, np.ndarray]:
        """Which of them lose a part of the text at a document's start (int64, ascending); the
        intervals of their tokens behind a separator, as in a part."""
        lost = np.flatnonzero(begun.offsets < self._of.dropped[begun.tokens[:, 0]])
        if not lost.shape[0]:
            return lost, begun.intervals[lost]
        separators = np.full((lost.shape[0], 1), self._engine.vocabulary.separator)
        return lost, self._found(np.hstack([separators, begun.tokens[lost]]))

    def _found(self, sequences: np.ndarray) -> np.ndarray:
        """The intervals of sequences of tokens of one length: int64, shape (k, segments, 2)."""
        bounds = np.arange(sequences.shape[0] + 1) * sequences.shape[1]
        return self._engine.find_batch(self._engine.vocabulary.split(sequences.ravel(), bounds))

    def _ended(self, begun: Begun, kind: int) -> Iterator[Part]:
        """Parts for sequences that spell the text from their offsets on; some are left to be read
        off."""
        if kind == OPEN:
            if begun.offsets.shape[0]:
                yield Part(begun.intervals, begun.offsets)
            return
        open_, cut = begun.states == self.end + 1, begun.states == self.end + 2
        if open_.any():
            self._begin_off(self.end + 1, begun[open_], kind)
        if cut.any():
            yield Part(begun.intervals[cut], begun.offsets[cut])
        begun = begun[~open_ & ~cut]
        if begun.offsets.shape[0]:
            yield Part(begun.intervals, begun.offsets, certain=True)
            lost, intervals = self.lost(begun)
            if lost.shape[0]:
                yield Part(intervals, begun.offsets[lost], certain=True, lost=True)

    def _over_an_end(self, state: int, begun: Begun, kind: int) -> Iterator[Part]:
        """Parts for tokens that are all in one state at their end. Some are left to be read off."""
        tokens, states = self.going_on(state)
        if not tokens.shape[0]:
            return
        over = states >= self.end
        # How much is to be read in each way.
        firsts, nexts = self._sizes[begun.tokens[:, 0]], self._sizes[tokens]
        left = int(firsts.sum())
        right = int(np.where(over, nexts, np.minimum(nexts, FEW + nexts**0.6)).sum())
        right *= self.back
        pairs = firsts.shape[0] * nexts.shape[0] * SEARCH
        off = np.minimum(firsts, RUN * (1 + np.minimum(firsts**0.6, nexts.shape[0])))
        least = min(left, right, pairs)
        if FEW + int(off.sum()) < least:
            self._begin_off(state, begun, kind)
        elif left == least:
            yield Part(begun.intervals, begun.offsets)
        elif pairs == least:
            yield from self._longer(begun, kind, 0, NOTHING)
        else:
            before = np.zeros(self._sizes.shape[0], np.int32)
            before[begun.tokens[:, 0]] = begun.offsets + 1
            # (A token without bytes is passed over on the way back to the one before.)
            going = ~over & (np.diff(self._of.starts)[tokens] > 0)
            ends, tokens, states = tokens[over], tokens[going], states[going]
            if ends.shape[0]:
                yield Part(self._intervals[ends], np.zeros_like(ends), state, before)
            ids = tokens.astype(begun.tokens.dtype)[:, None]
            begun = Begun(ids, np.zeros_like(tokens), states, self._intervals[tokens])
            yield from self._longer(begun, kind, state, before)

    def _longer(self, begun: Begun, kind: int, state: int, before: np.ndarray) -> Iterator[Part]:
        """Parts for sequences, which become longer until few occurrences are left, or the text
        ends. state, before: as in a part."""
        while begun.tokens.shape[0]:
            sizes = (begun.intervals[:, :, 1] - begun.intervals[:, :, 0]).sum(1)
            read = np.zeros(sizes.shape[0], np.bool_)
            longer = [np.empty((0, 3), np.int64)]
            for at in np.unique(begun.states).tolist():
                tokens, states = self.going_on(at)
                those = np.flatnonzero(begun.states == at)
                small = sizes[those] <= max(FEW, SEARCH * tokens.shape[0])
                read[those[small]] = tokens.shape[0] > 0
                those = those[~small]
                further = np.empty((those.shape[0], tokens.shape[0], 3), np.int64)
                further[:, :, 0], further[:, :, 1] = those[:, None], tokens
                further[:, :, 2] = states
                longer.append(further.reshape(-1, 3))
            if read.any():
                yield Part(begun.intervals[read], begun.offsets[read], state, before)
            of, tokens, states = np.concatenate(longer).T
            sequences = np.column_stack([begun.tokens[of], tokens.astype(begun.tokens.dtype)])
            begun = Begun(sequences, begun.offsets[of], states, self._found(sequences))
            begun = begun[np.any(begun.intervals[:, :, 1] > begun.intervals[:, :, 0], axis=1)]
            done = begun.states >= self.end
            if before.shape[0] and done.any():
                yield Part(begun.intervals[done], begun.offsets[done], state, before)
            elif not before.shape[0]:
                yield from self._ended(begun[done], kind)
            begun = begun[~done]

    def _begin_off(self, state: int, begun: Begun, kind: int) -> None:
        """Leave sequences, which are all in this state at their end, to be read off."""
        depth, rest = begun.tokens.shape[1], np.ones(begun.offsets.shape[0], np.bool_)
        lost, starts = self.lost(begun) if kind == ANY else (NOTHING, NOTHING)
        rest[lost] = False
        for segment in range(self._intervals.shape[1]):
            of = begun.intervals[:, segment]
            self._off[depth, segment, state, kind].append((of[rest], begun.offsets[rest]))
            if lost.shape[0]:
                offsets = begun.offsets[lost]
                self._off[depth, segment, state, LOSING].append((of[lost], offsets))
                self._off[depth + 1, segment, state, LOST].append((starts[:, segment], offsets))

    def _read_off(self) -> Iterator[Part]:
        """Parts for what goes on from groups of suffixes, read off the order of suffixes.

        Groups of the same state are one, whichever way they came to it.
        """
        while self._off:
            depth, segment, state, kind = key = min(self._off)
            group = self._off.pop(key)
            intervals = np.concatenate([each for each, _ in group])
            offsets = np.concatenate([each for _, each in group])
            few = int(np.diff(intervals).sum()) <= FEW or depth > DEEP
            if few and kind in (ANY, OPEN):
                yield self._of_segment(segment, intervals, offsets, False)
                continue
            if state > self.end:
                yield from self._word_ends(depth, segment, kind, intervals, offsets)
                continue
            tokens, states = self.going_on(state)
            found = self._engine.runs_of(segment, intervals, depth, tokens)
            to = states[found[:, 1]]
            done = found[to == self.end]
            if done.shape[0]:
                part = done[:, 2:], offsets[done[:, 0]]
                yield self._of_segment(segment, *part, kind != OPEN, kind == LOST)
            for after in np.unique(to[to != self.end]).tolist():
                runs = joined(found[to == after])
                if after == self.end + 2:
                    if kind != LOST:
                        read = runs[:, 2:], offsets[runs[:, 0]]
                        yield self._of_segment(segment, *read, False)
                    continue
                further = runs[:, 2:], offsets[runs[:, 0]]
                self._off[depth + 1, segment, after, kind].append(further)

    def _word_ends(
        self, depth: int, segment: int, kind: int, intervals: np.ndarray, offsets: np.ndarray
    ) -> Iterator[Part]:
        """Parts for suffixes whose first `depth` tokens end with the text: where a word ends."""
        if kind == OPEN:
            yield self._of_segment(segment, intervals, offsets, False)
            return
        tokens = np.flatnonzero(self._sizes)
        # (Of a text of no characters that begins before the first byte of a token.)
        behind = self._beside(tokens, np.zeros_like(tokens), self.end)[:, 1]
        tokens = tokens[behind != characters.NONE]
        runs = joined(self._engine.runs_of(segment, intervals, depth, tokens))
        open_ = runs[behind[behind != characters.NONE][runs[:, 1]] != characters.WORD]
        if open_.shape[0] and kind != LOST:
            yield self._of_segment(segment, open_[:, 2:], offsets[open_[:, 0]], False)
        # The other ranks, which are between the runs.
        of = np.append(runs[:, 0], np.arange(offsets.shape[0]))
        firsts = np.append(runs[:, 3], intervals[:, 0])
        lasts = np.append(runs[:, 2], intervals[:, 1])
        firsts, lasts = firsts[np.lexsort((firsts, of))], lasts[np.lexsort((lasts, of))]
        some = lasts > firsts
        rest = np.column_stack([firsts, lasts])[some]
        yield self._of_segment(segment, rest, offsets[np.sort(of)][some], True, kind == LOST)

    def _of_segment(
        self,
        segment: int,
        intervals: np.ndarray,
        offsets: np.ndarray,
        certain: bool,
        lost: bool = False,
    ) -> Part:
        """A part of one segment alone."""
        of_all = np.zeros((intervals.shape[0], self._intervals.shape[1], 2), np.int64)
        of_all[:, segment] = intervals
        return Part(of_all, offsets, certain=certain, lost=lost)


def joined(runs: np.ndarray) -> np.ndarray:
    """Runs as `kernels.runs` has them, in order, those that follow one another made one."""
    if not runs.shape[0]:
        return runs
    runs = runs[np.lexsort((runs[:, 2], runs[:, 0]))]
    same = (runs[1:, :2] == runs[:-1, :2]).all(1) & (runs[1:, 2] == runs[:-1, 3])
    firsts = np.flatnonzero(np.append(True, ~same))
    made = runs[firsts]
    made[:, 3] = runs[np.append(firsts[1:], runs.shape[0]) - 1, 3]
    return made
