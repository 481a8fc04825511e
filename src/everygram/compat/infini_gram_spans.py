"""The longest matches of a text, as infini-gram's `creativity` and `attribute` take them.

In: an engine, and ids of any size (one that the vocabulary has not matches nothing). Out: arrays.
All matches of a text are searched together.
"""

from typing import NamedTuple

import numpy as np

from everygram.engine.engine import Engine
from everygram.engine.queries import Queries


class Text(NamedTuple):
    """A text: its ids, int64, shape (n,); what it is searched as; which ids are not known."""

    ids: np.ndarray
    asked: Queries
    unknown: np.ndarray


class Spans(NamedTuple):
    """Spans of a text: [starts, ends), int64, shape (k,), by place; how often each occurs; their
    intervals, as `Engine.find_batch` gives them."""

    starts: np.ndarray
    ends: np.ndarray
    counts: np.ndarray
    intervals: np.ndarray


def text_of(engine: Engine, ids: list[int]) -> Text:
    """A text of ids."""
    array = np.array(ids, np.int64)
    vocabulary = engine.vocabulary
    separator = int(vocabulary.separator)
    unknown = (array >= vocabulary.vocab_size) & (array != separator)
    # (No match goes on after a separator, and `match_lengths` leaves these ones out.)
    return Text(array, vocabulary.query(np.where(unknown, separator, array)), unknown)


def match_lengths(engine: Engine, text: Text) -> np.ndarray:
    """The length of the longest match at each place of a text: int64, shape (n,)."""
    none = np.empty((0, len(engine.segments), 2), np.int64)
    lengths = engine.match_lengths(text.asked, True, none)
    last = np.arange(lengths.shape[0]) + lengths - 1
    lengths -= (lengths > 0) & text.unknown[np.maximum(last, 0)]
    lengths[text.unknown] = 0
    return lengths


def spans_of(
    engine: Engine,
    text: Text,
    delimiters: list[int],
    min_len: int,
    max_cnt: int,
    words: np.ndarray | None,
) -> Spans:
    """The longest matches of a text that are no part of another such one.

    A match ends at the first of `delimiters` inside it, at the latest. words: ids that begin a
    word, if matches must begin and end where words do. Matches of fewer than `min_len` tokens, or
    that occur more than `max_cnt` times, are none.
    """
    ids, n = text.ids, text.ids.shape[0]
    starts = np.arange(n)
    lengths = match_lengths(engine, text)
    # The first delimiter from each place on.
    delimits = np.where(np.isin(ids, delimiters), starts, n)
    delimits = np.minimum.accumulate(delimits[::-1])[::-1]
    lengths = np.minimum(lengths, delimits - starts + 1)
    wanted = np.ones(n, np.bool_)
    if words is not None:
        wanted = np.isin(ids, words)
        # The last place up to each one that begins a word, or that the text ends at.
        begins = np.maximum.accumulate(np.where(np.append(wanted, True), np.arange(n + 1), -1))
        lengths = np.maximum(begins[starts + lengths] - starts, 0)
    starts = np.flatnonzero(wanted & (lengths >= min_len))
    ends = starts + lengths[starts]
    intervals = engine.intervals_of_runs(text.asked.ranges(starts, ends))
    counts = engine.counts_of(intervals)
    few = counts <= max_cnt
    before = np.append(0, np.maximum.accumulate(ends[few]))[:-1]
    chosen = np.flatnonzero(few)[ends[few] > before]
    return Spans(starts[chosen], ends[chosen], counts[chosen], intervals[chosen])


def places_of(engine: Engine, spans: Spans) -> tuple[np.ndarray, np.ndarray]:
    """The segments and positions of all occurrences of spans, one span after the other: int64."""
    spans_again = np.repeat(np.arange(spans.counts.shape[0]), spans.counts)
    firsts = np.cumsum(spans.counts) - spans.counts
    occurrences = np.arange(spans_again.shape[0]) - firsts[spans_again]
    return engine.locate_many(spans.intervals, spans_again, occurrences)
