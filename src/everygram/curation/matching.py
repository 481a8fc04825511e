"""What of texts stands in an index: their n-grams looked up, all texts together.

In: items, each of one or several texts as ids, and an engine of an index of such ids. Out: of each
item the share of its tokens and of its n-grams that the index has, and its longest match.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from everygram.engine.engine import Engine
from everygram.engine.queries import Queries

# Ranks whose documents are looked up at a time.
LOOKED_AT = 1 << 20


@dataclass(frozen=True)
class Part:
    """A text of an item: its ids, and how they may be spelled otherwise inside a document.

    runs: where alone its ids may be in an n-gram that is found: int64, shape (k, 2), begins and
    ends (None: anywhere).
    """

    ids: np.ndarray
    other: np.ndarray | None = None
    runs: np.ndarray | None = None


@dataclass(frozen=True)
class Found:
    """What of so many items was found; all arrays of shape (items,) but for those named.

    units: int64, the tokens (or words) that were looked at. places: int64, the n-grams of these.
    covered: int64, tokens inside n-grams that were found; found: int64, n-grams that were.
    distinct: int64, different ones. longest, counts, document_counts: int64, the tokens of the
    longest match that has such an n-gram, and how often, in how many documents it occurs.
    starts: int64, where that begins in the item's tokens. intervals: int64, shape (items, segments,
    2), its ranks.
    gram_items: int64, shape (k,), ascending, and gram_intervals: int64, shape (k, segments, 2): the
    n-grams that were found, each once for an item.
    """

    units: np.ndarray
    places: np.ndarray
    covered: np.ndarray
    found: np.ndarray
    distinct: np.ndarray
    longest: np.ndarray
    counts: np.ndarray
    document_counts: np.ndarray
    starts: np.ndarray
    intervals: np.ndarray
    gram_items: np.ndarray
    gram_intervals: np.ndarray


def looked_at(lengths: Sequence[int], n: int, least: int) -> list[int]:
    """The n of the n-grams of each of an item's texts, of so many tokens; 0: it is not looked at.

    A text shorter than n is left out, unless all are: then each is looked for as a whole, if it has
    `least` tokens or more.
    """
    if max(lengths, default=0) >= n:
        return [n if length >= n else 0 for length in lengths]
    return [length if length >= least else 0 for length in lengths]


class _Stream:
    """The texts of items one after another, a separator behind each, in all their spellings.

    Every token of the stream is mapped to a *place*, a token of the texts as they are first
    spelled, which are numbered through all items.
    """

    def __init__(self, items: Sequence[Sequence[Part]], n: int, least: int, engine: Engine) -> None:
        separator = np.array([engine.vocabulary.separator], engine.vocabulary.dtype)
        pieces: list[np.ndarray] = []
        # Of each text in each spelling, or each run of one: item, n, first place, shift, length.
        rows: list[tuple[int, int, int, int, int]] = []
        # Of each text as it is first spelled: item, first place, length, n-grams.
        texts: list[tuple[int, int, int, int]] = []
        base = 0
        for number, parts in enumerate(items):
            for part, size in zip(
                parts, looked_at([len(part.ids) for part in parts], n, least), strict=True
            ):
                if not size:
                    continue
                length = part.ids.shape[0]
                texts.append((number, base, length, length - size + 1))
                runs = [[0, length]] if part.runs is None else part.runs.tolist()
                for begin, end in runs:
                    rows.append((number, size, base + begin, 0, end - begin))
                    pieces += [part.ids[begin:end].astype(separator.dtype), separator]
                if part.other is not None:
                    other = part.other.shape[0]
                    rows.append((number, min(size, other), base, length - other, other))
                    pieces += [part.other.astype(separator.dtype), separator]
                base += length
        self.num_places = base
        self.rows = np.array(rows, np.int64).reshape(-1, 5)
        self.texts = np.array(texts, np.int64).reshape(-1, 4)
        self.ids = np.concatenate([*pieces, separator])
        sizes = self.rows[:, 4] + 1
        self.begins = np.cumsum(sizes) - sizes
        # The row of each token, and its number in it; separators have that of the row before.
        self.row = np.repeat(np.arange(self.rows.shape[0]), sizes)
        self.within = np.arange(self.row.shape[0]) - self.begins[self.row]


def measure(
    engine: Engine,
    items: Sequence[Sequence[Part]],
    n: int,
    least: int,
    max_documents: int | None = None,
) -> Found:
    """Look for the n-grams of items. n-grams in more than `max_documents` documents are none.

    Takes about as many searches as the items have tokens.
    """
    number = len(items)
    stream = _Stream(items, n, least, engine)
    rows, row, within = stream.rows, stream.row, stream.within
    query = engine.vocabulary.query(stream.ids, "items")
    none = np.empty((0, len(engine.segments), 2), np.int64)
    lengths = engine.match_lengths(query, False, none)[:-1]
    sizes = rows[row, 1]
    hits = np.flatnonzero((lengths >= sizes) & (within < rows[row, 4]))
    intervals = engine.find_batch(query.ranges(hits, hits + sizes[hits]))
    intervals[intervals[:, :, 0] == intervals[:, :, 1]] = 0
    grams, first = _numbered(intervals, sizes[hits])
    if max_documents is not None:
        common = engine.documents_in(intervals[first]) > max_documents
        kept = ~common[grams]
        hits, grams, intervals = hits[kept], grams[kept], intervals[kept]
    of = rows[row[hits]]
    item, size, base, shift = of[:, 0], of[:, 1], of[:, 2], of[:, 3]
    # Where the n-grams begin and end among the places.
    begins = base + np.maximum(within[hits] + shift, 0) * (within[hits] > 0)
    ends = base + within[hits] + size + shift
    edges = np.zeros(stream.num_places + 1, np.int64)
    np.add.at(edges, begins, 1)
    np.add.at(edges, np.maximum(ends, begins), -1)
    is_covered = np.cumsum(edges)[:-1] > 0
    is_found = np.zeros(stream.num_places, np.bool_)
    is_found[np.maximum(ends - size, base)] = True
    of_place = np.repeat(stream.texts[:, 0], stream.texts[:, 2])
    pairs, at = np.unique(np.stack([item, grams]), axis=1, return_index=True)
    longest, starts, best_intervals = _longest(engine, query, stream, lengths, hits, number)
    counts, document_counts = np.zeros(number, np.int64), np.zeros(number, np.int64)
    some = np.flatnonzero(longest)
    counts[some] = engine.counts_of(best_intervals[some])
    document_counts[some] = engine.documents_in(best_intervals[some])

    def of_items(which: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        return np.bincount(which, weights, minlength=number).astype(np.int64)

    return Found(
        units=of_items(stream.texts[:, 0], stream.texts[:, 2]),
        places=of_items(stream.texts[:, 0], stream.texts[:, 3]),
        covered=of_items(of_place[is_covered]),
        found=of_items(of_place[is_found]),
        distinct=of_items(pairs[0]),
        longest=longest,
        counts=counts,
        document_counts=document_counts,
        starts=starts,
        intervals=best_intervals,
        gram_items=pairs[0],
        gram_intervals=intervals[at],
    )


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


def _longest(
    engine: Engine,
    query: Queries,
    stream: _Stream,
    lengths: np.ndarray,
    hits: np.ndarray,
    number: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each item the longest match in which one of the n-grams at `hits` is.

    Returns lengths, and where they begin in the item (int64, shape (items,)), and intervals.
    """
    rows, row, within = stream.rows, stream.row, stream.within
    longest, starts = np.zeros(number, np.int64), np.zeros(number, np.int64)
    intervals = np.zeros((number, len(engine.segments), 2), np.int64)
    before = np.zeros(lengths.shape[0] + 1, np.int64)
    before[hits + 1] = 1
    before = np.cumsum(before)
    sizes = rows[row, 1]
    places = np.flatnonzero((lengths >= sizes) & (within < rows[row, 4]))
    last = places + lengths[places] - sizes[places] + 1
    places = places[before[last] > before[places]]
    items = rows[row[places], 0]
    order = np.lexsort((places, -lengths[places], items))
    _, at = np.unique(items[order], return_index=True)
    best = places[order[at]]
    some = rows[row[best], 0]
    longest[some] = lengths[best]
    intervals[some] = engine.find_batch(query.ranges(best, best + lengths[best]))
    # (Where the item's first text begins among the places.)
    of_item = np.full(number, -1, np.int64)
    of_item[stream.texts[::-1, 0]] = stream.texts[::-1, 1]
    starts[some] = np.maximum(within[best] + rows[row[best], 3], 0)
    starts[some] += rows[row[best], 2] - of_item[some]
    return longest, starts, intervals


def documents_with(engine: Engine, intervals: np.ndarray) -> np.ndarray:
    """The documents, ascending, in which any of the suffixes in intervals begin: int64.

    intervals: int64, shape (k, segments, 2).
    """
    found: list[np.ndarray] = [np.empty(0, np.int64)]
    for number, segment in enumerate(engine.segments):
        if segment.entry.sign < 0:
            continue
        los, his = np.unique(intervals[:, number], axis=0).T
        ends = np.cumsum(his - los)
        for first in range(0, int(ends[-1]) if ends.size else 0, LOOKED_AT):
            occurrences = np.arange(first, min(first + LOOKED_AT, int(ends[-1])))
            of = np.searchsorted(ends, occurrences, "right")
            ranks = his[of] - (ends[of] - occurrences)
            found.append(np.unique(engine.documents_of(number, ranks)))
    numbers = np.unique(np.concatenate(found))
    live: np.ndarray = numbers[~engine.deleted(numbers)]
    return live
