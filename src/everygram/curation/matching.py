"""What of texts stands in an index: their n-grams looked up, all texts together.

In: items, each of one or several texts as ids, and an engine of an index of such ids. Out: of each
item the share of its tokens and of its n-grams that the index has, and its longest match.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from everygram.curation.sequences import Part, Stream
from everygram.curation.skipping import Skipping
from everygram.curation.variants import counted
from everygram.engine.engine import Engine
from everygram.engine.queries import Queries


@dataclass(frozen=True)
class Found:
    """What of so many items was found; all arrays of shape (items,) but for those named.

    units: int64, the tokens (or words) that were looked at. places: int64, the n-grams of these.
    covered: int64, tokens inside n-grams that were found; found: int64, n-grams that were.
    distinct: int64, different ones. longest, counts, document_counts: int64, the tokens of the
    longest match that has such an n-gram, and how often, in how many documents it occurs.
    variants: int64, shape (v,), ascending: of which item each spelling of its longest match is (of
    which there is one, unless tokens may differ); intervals: int64, shape (v, segments, 2): ranks.
    gram_items: int64, shape (k,), and gram_intervals: int64, shape (k, segments, 2): what stands
    where n-grams were found, of each item; empty unless wanted.
    """

    units: np.ndarray
    places: np.ndarray
    covered: np.ndarray
    found: np.ndarray
    distinct: np.ndarray
    longest: np.ndarray
    counts: np.ndarray
    document_counts: np.ndarray
    variants: np.ndarray
    intervals: np.ndarray
    gram_items: np.ndarray
    gram_intervals: np.ndarray


def measure(
    engine: Engine,
    items: Sequence[Sequence[Part]],
    n: int,
    least: int,
    max_documents: int | None = None,
    skips: int = 0,
    grams: bool = False,
) -> Found:
    """Look for the n-grams of items. n-grams in more than `max_documents` documents are none.

    least: see `looked_at`. skips: so many tokens of a match may differ (see `skipping`). grams:
    whether `gram_items` and `gram_intervals` are wanted. Takes about as many searches as the items
    have tokens.
    """
    number = len(items)
    stream = Stream(items, n, least, engine)
    rows, row, within = stream.rows, stream.row, stream.within
    query = engine.vocabulary.query(stream.ids, "items")
    none = np.empty((0, len(engine.segments), 2), np.int64)
    lengths = engine.match_lengths(query, False, none)[:-1]
    looked: Exact | Skipping
    if skips:
        looked = Skipping(engine, stream, query, lengths, skips, max_documents)
    else:
        looked = Exact(engine, stream, query, lengths, max_documents)
    hits = looked.hits
    of = rows[row[hits]]
    item, base, shift = of[:, 0], of[:, 2], of[:, 3]
    # Among the places: where what was found begins and ends, and its last n-gram. (That of another
    # spelling of the first word holds all n-grams that begin in this word.)
    begins = base + np.maximum(within[hits] + shift, 0) * (within[hits] > 0)
    lasts = np.maximum(base + within[hits] + shift, base)
    ends = np.maximum(base + within[hits] + looked.spans + shift, begins)
    is_covered = _inside(begins, ends, stream.num_places)
    is_found = _inside(begins, lasts + 1, stream.num_places) & stream.begins_gram
    of_place = np.repeat(stream.texts[:, 0], stream.texts[:, 2])
    some, spans, of_match, variants = looked.longest()
    longest, counts = np.zeros(number, np.int64), np.zeros(number, np.int64)
    document_counts = np.zeros(number, np.int64)
    longest[some] = spans
    counts[some], document_counts[some] = counted(engine, of_match, variants, some.shape[0])

    def of_items(which: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        return np.bincount(which, weights, minlength=number).astype(np.int64)

    return Found(
        of_items(stream.texts[:, 0], stream.texts[:, 2]),
        of_items(stream.texts[:, 0], stream.texts[:, 3]),
        of_items(of_place[is_covered]),
        of_items(of_place[is_found]),
        of_items(_pairs(item, looked.grams)[0]),
        longest,
        counts,
        document_counts,
        some[of_match],
        variants,
        *(looked.gram_intervals() if grams else (np.empty(0, np.int64), none)),
    )


def _inside(begins: np.ndarray, ends: np.ndarray, number: int) -> np.ndarray:
    """Which of so many places are in any of the ranges [begin, end): bool."""
    edges = np.zeros(number + 1, np.int64)
    np.add.at(edges, begins, 1)
    np.add.at(edges, np.minimum(ends, number), -1)
    inside: np.ndarray = np.cumsum(edges)[:-1] > 0
    return inside


class Exact:
    """What of a stream of texts was found as it is.

    hits: int64, shape (k,), ascending: where n-grams begin that were found. spans: int64, shape
    (k,), the tokens that are found with each. grams: int64, shape (k,): n-grams by number, the same
    ones the same.
    """

    def __init__(
        self,
        engine: Engine,
        stream: Stream,
        query: Queries,
        lengths: np.ndarray,
        max_documents: int | None,
    ) -> None:
        """lengths: int64, of the longest match at each place of the stream."""
        self._engine, self._query, self._lengths = engine, query, lengths
        rows, row, within = stream.rows, stream.row, stream.within
        self._items, self._sizes = rows[row, 0], rows[row, 1]
        self._fit = np.flatnonzero((lengths >= self._sizes) & (within < rows[row, 4]))
        self.hits, self.spans = self._fit, self._sizes[self._fit]
        self._intervals = engine.find_batch(query.ranges(self.hits, self.hits + self.spans))
        self._intervals[self._intervals[:, :, 0] == self._intervals[:, :, 1]] = 0
        self.grams, first = _numbered(self._intervals, self.spans)
        if max_documents is not None:
            common = engine.documents_in(self._intervals[first]) > max_documents
            kept = ~common[self.grams]
            self.hits, self.spans = self.hits[kept], self.spans[kept]
            self.grams, self._intervals = self.grams[kept], self._intervals[kept]

    def longest(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The longest match in which what was found is, of each item that has one.

        Returns the items, ascending, and its tokens: int64, shape (i,); and its variants: of which
        of these each is, int64, shape (v,), ascending, and intervals, int64, shape (v, segments,
        2).
        """
        lengths, sizes = self._lengths, self._sizes
        before = np.zeros(lengths.shape[0] + 1, np.int64)
        before[self.hits + 1] = 1
        before = np.cumsum(before)
        places = self._fit
        last = places + lengths[places] - sizes[places] + 1
        places = places[before[last] > before[places]]
        items = self._items[places]
        order = np.lexsort((places, -lengths[places], items))
        some, at = np.unique(items[order], return_index=True)
        best = places[order[at]]
        intervals = self._engine.find_batch(self._query.ranges(best, best + lengths[best]))
        return some, lengths[best], np.arange(some.shape[0]), intervals

    def gram_intervals(self) -> tuple[np.ndarray, np.ndarray]:
        """Of what was found, the items (int64, shape (m,)) and intervals (int64, shape (m,
        segments, 2)), each n-gram once for an item."""
        items = self._items[self.hits]
        of, at = _pairs(items, self.grams)
        return of, self._intervals[at]


def _pairs(items: np.ndarray, grams: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each pair of an item and an n-gram once: the items, ascending, and where it is: int64."""
    width = int(grams.max(initial=0)) + 1
    pairs, at = np.unique(items * width + grams, return_index=True)
    return pairs // width, at


def _numbered(intervals: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """n-grams by number, the same ones the same: int64, shape (k,), and the first of each.

    (N-grams of one size are the same if their intervals are; what occurs has an interval.)
    """
    keys = np.column_stack([sizes, intervals.reshape(sizes.shape[0], 2 * intervals.shape[1])])
    order = np.lexsort(keys.T)
    new = np.ones(order.shape[0], np.bool_)
    new[1:] = (keys[order[1:]] != keys[order[:-1]]).any(axis=1)
    numbers = np.empty(order.shape[0], np.int64)
    numbers[order] = np.cumsum(new) - 1
    return numbers, order[new]
