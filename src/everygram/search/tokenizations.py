"""The sequences of tokens that a text is written with in the documents, and how often.

Sequences become longer token by token, as `parts` reads them off the order of suffixes; but here
none is left together with others, for each is counted.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from everygram.engine.covers import Spelled
from everygram.engine.engine import Engine
from everygram.search.parts import NOTHING, Begun, Parts, joined

# Sequences that are made longer together become at most about so many.
TOGETHER = 1 << 18


@dataclass(frozen=True)
class Sequence:
    """A sequence of tokens in which the text begins at byte `offset` of the first and ends in the
    last, and how often it occurs like this."""

    token_ids: tuple[int, ...]
    offset: int
    count: int


@dataclass(frozen=True)
class Sequences:
    """The most frequent sequences, in this order; how many there are, and the count of all."""

    listed: list[Sequence]
    number: int
    count: int


def most_frequent(engine: Engine, spelled: Spelled, parts: Parts, limit: int | None) -> Sequences:
    """At most `limit` sequences (None: all), of which those of one count are in order of ids.

    Memory is for that many, and those that are counted together.
    """
    best: list[tuple[int, tuple[int, ...], int]] = []
    number = total = 0
    for begun in _written(engine, parts):
        counts = _counts(engine, spelled, begun)
        number, total = number + int((counts > 0).sum()), total + int(counts.sum())
        # (A list that is full needs none that is rarer than its last.)
        least = 1 if limit is None or len(best) < limit or not best else -best[-1][0]
        those = np.flatnonzero(counts >= max(1, least))
        keys = begun.offsets[those], *begun.tokens[those].T[::-1], -counts[those]
        those = those[np.lexsort(keys)][:limit]
        rows = zip(
            (-counts[those]).tolist(),
            map(tuple, begun.tokens[those].tolist()),
            begun.offsets[those].tolist(),
            strict=True,
        )
        best = sorted([*best, *rows])[:limit]
    return Sequences([Sequence(ids, at, -count) for count, ids, at in best], number, total)


def _counts(engine: Engine, spelled: Spelled, begun: Begun) -> np.ndarray:
    """How often each sequence has the text: int64, shape (k,)."""
    counts = engine.counts_of(begun.intervals)
    # Those that neighbours decide on are read.
    lost = begun.offsets < spelled.dropped[begun.tokens[:, 0]]
    some = np.flatnonzero(lost | (spelled.words.shape[0] > 0))
    read = begun[some]
    counts[some] = engine.read_on(spelled, read.intervals, read.offsets, 0, NOTHING)
    return counts


def _written(engine: Engine, parts: Parts) -> Iterator[Begun]:
    """Every sequence that has all of the text, once; those of each batch have one length."""
    begun = parts.beginnings()
    todo: list[Begun] = []
    while True:
        done = begun.states >= parts.end
        if done.any():
            yield begun[done]
        for state in np.unique(begun.states[~done]).tolist():
            todo += _divided(begun[begun.states == state], parts.going_on(state)[0].shape[0])
        if not todo:
            return
        begun = _longer(engine, parts, todo.pop())


def _divided(begun: Begun, number: int) -> list[Begun]:
    """Sequences by as many as are made longer together, if `number` tokens may follow each."""
    sizes = (begun.intervals[:, :, 1] - begun.intervals[:, :, 0]).sum(1)
    before = np.cumsum(np.minimum(sizes, number)) // TOGETHER
    bounds = np.flatnonzero(np.append(True, np.diff(before) > 0)).tolist()
    ends = [*bounds[1:], sizes.shape[0]]
    return [begun[first:last] for first, last in zip(bounds, ends, strict=True)] if number else []


def _longer(engine: Engine, parts: Parts, begun: Begun) -> Begun:
    """Sequences in one state, each with every token that goes on from it behind it."""
    tokens, states = parts.going_on(int(begun.states[0]))
    depth, segments = begun.tokens.shape[1], begun.intervals.shape[1]
    runs = [
        joined(engine.runs_of(segment, begun.intervals[:, segment], depth, tokens))
        for segment in range(segments)
    ]
    keys = [found[:, 0] * tokens.shape[0] + found[:, 1] for found in runs]
    every = np.unique(np.concatenate(keys))
    intervals = np.zeros((every.shape[0], segments, 2), np.int64)
    for segment in range(segments):
        intervals[np.searchsorted(every, keys[segment]), segment] = runs[segment][:, 2:]
    of, which = np.divmod(every, tokens.shape[0])
    longer = np.column_stack([begun.tokens[of], tokens[which].astype(begun.tokens.dtype)])
    return Begun(longer, begun.offsets[of], states[which], intervals)
