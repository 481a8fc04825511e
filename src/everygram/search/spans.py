"""Spans in the documents of one segment, and what is near what. Knows no index.

A *place* is a token's position in the segment and a byte of it: position << BITS | byte. A *span*
begins at a place and ends at one, behind its last byte; one that ends with a token ends at byte 0
of the next, so that two that touch have the same place between them.

A *window* is a span of whole tokens. Windows are kept as those that have no other inside them, so
that both their starts and their ends ascend.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from everygram.kernels import near as kernels

# Bits of a place for the byte. (40 are for the token.)
BITS = 22
INSIDE = (1 << BITS) - 1

NONE = np.empty(0, np.int64)


@dataclass(frozen=True)
class Spans:
    """Spans, sorted by where they begin, then end: int64, shape (k,) each.

    begins, ends: places. documents: the segment's numbers of their documents.
    """

    begins: np.ndarray
    ends: np.ndarray
    documents: np.ndarray

    @property
    def token_starts(self) -> np.ndarray:
        """The position of the first token that each is in."""
        starts: np.ndarray = self.begins >> BITS
        return starts

    @property
    def token_ends(self) -> np.ndarray:
        """The position behind the last token that each is in."""
        ends: np.ndarray = (self.ends + INSIDE) >> BITS
        return ends

    def __getitem__(self, which: np.ndarray | slice) -> "Spans":
        return Spans(self.begins[which], self.ends[which], self.documents[which])


NO_SPANS = Spans(NONE, NONE, NONE)


def united(parts: Sequence[Spans]) -> tuple[Spans, list[np.ndarray]]:
    """All different spans of several lists, and for each list the numbers of its spans in it."""
    begins = np.concatenate([part.begins for part in parts])
    ends = np.concatenate([part.ends for part in parts])
    documents = np.concatenate([part.documents for part in parts])
    order = np.lexsort((ends, begins))
    begins, ends = begins[order], ends[order]
    new = np.ones(order.shape[0], np.bool_)
    new[1:] = (begins[1:] != begins[:-1]) | (ends[1:] != ends[:-1])
    numbers = np.empty(order.shape[0], np.int64)
    numbers[order] = np.cumsum(new) - 1
    bounds = np.cumsum([part.begins.shape[0] for part in parts])[:-1]
    return Spans(begins[new], ends[new], documents[order][new]), np.split(numbers, bounds)


def near(left: Spans, right: Spans, distance: int, ordered: bool) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of a left and a right span that are near one another, by their numbers: int64, twice.

    One ends no later than the other begins, in one document, with at most `distance` tokens
    between; and of the two, one is the other's nearest on that side. (Of several as near, the
    shortest.) So every span that has any partner is in a pair, and pairs are no more than four for
    each span. left, right: different spans each.
    """
    pairs = [_followed(left, right, distance)]
    if not ordered:
        pairs.append(_followed(right, left, distance)[::-1])
    return np.concatenate([a for a, _ in pairs]), np.concatenate([b for _, b in pairs])


def _followed(first: Spans, second: Spans, distance: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of `near` in this order."""
    if not first.begins.size or not second.begins.size:
        return NONE, NONE
    # For each of the first, the nearest behind it.
    here = np.arange(first.begins.shape[0])
    behind = np.searchsorted(second.begins, first.ends)
    fits = behind < second.begins.shape[0]
    a, b = here[fits], behind[fits]
    # For each of the second, the nearest before it: with the latest end, then the latest begin.
    ends, order = first.ends, None
    if (ends[1:] <= ends[:-1]).any():
        order = np.lexsort((first.begins, ends))
        ends = ends[order]
    before = np.searchsorted(ends, second.begins, "right") - 1
    fits = before >= 0
    before = before[fits]
    a = np.concatenate([a, before if order is None else order[before]])
    b = np.concatenate([b, np.flatnonzero(fits)])
    # (Two in one token have none between.)
    between = second.token_starts[b] - first.token_ends[a]
    fits = (between <= distance) & (first.documents[a] == second.documents[b])
    return a[fits], b[fits]


def turned(spans: Spans) -> bool:
    """Whether any span ends before one that begins no later, so that it is inside that one."""
    return bool((spans.ends[1:] < spans.ends[:-1]).any())


def closest(left: Spans, right: Spans, distance: int, ordered: bool) -> Spans:
    """The stretches of such pairs as `near` has, nearest or not, that have no other inside them.

    (And others. Of spans that are inside others, the nearest may not make the smallest stretch.)
    """
    stretched = [_closest(left, right, distance)]
    if not ordered:
        stretched.append(_closest(right, left, distance))
    return united(stretched)[0]


def _closest(first: Spans, second: Spans, distance: int) -> Spans:
    """`closest` in this order: for each of the second, the one before it that begins last."""
    order = np.lexsort((first.begins, first.ends))
    before = first[order]
    lows = np.searchsorted(before.token_ends, second.token_starts - distance)
    highs = np.searchsorted(before.ends, second.begins, "right")
    found = np.empty(lows.shape[0], np.int64)
    kernels.largest(before.begins, lows, highs, np.empty_like(order), found)
    a, b = found[found >= 0], np.flatnonzero(found >= 0)
    fits = before.documents[a] == second.documents[b]
    a, b = a[fits], b[fits]
    return Spans(before.begins[a], second.ends[b], second.documents[b])


def stretches(left: Spans, right: Spans, pairs: tuple[np.ndarray, np.ndarray]) -> Spans:
    """The spans from the begin of a pair's first to the end of its second, in order of pairs."""
    a, b = pairs
    begins = np.minimum(left.begins[a], right.begins[b])
    return Spans(begins, np.maximum(left.ends[a], right.ends[b]), left.documents[a])


def windows(spans: Spans, most: int) -> Spans:
    """The tokens of spans, if at most that many; windows."""
    starts, ends = spans.token_starts, spans.token_ends
    # (Of those that begin in one token, one that begins later may end earlier.)
    turned = (ends[1:] < ends[:-1]) & (starts[1:] == starts[:-1])
    whole = Spans(starts << BITS, ends << BITS, spans.documents)
    if turned.any():
        whole = whole[np.lexsort((ends, starts))]
    found = minimal(whole)
    few = found.ends - found.begins <= most << BITS
    return found if few.all() else found[few]


def minimal(spans: Spans) -> Spans:
    """Those that have no other inside them, each once; spans: sorted by begin, then end."""
    keep = np.empty(spans.begins.shape[0], np.bool_)
    kernels.smallest(spans.begins, spans.ends, keep)
    return spans if keep.all() else spans[keep]


def joined(parts: Sequence[Spans], most: int) -> Spans:
    """The smallest windows that have one of each list inside them, of at most so many tokens."""
    found = parts[0]
    for part in parts[1:]:
        table = np.empty((3, found.begins.shape[0] + part.begins.shape[0]), np.int64)
        size = kernels.joined(
            found.begins,
            found.ends,
            found.documents,
            part.begins,
            part.ends,
            part.documents,
            most << BITS,
            table,
        )
        found = Spans(*table[:, :size])
    return found


def alone(found: Spans, without: Spans, most: int) -> Spans:
    """Those windows that fit with none of the windows `without` into so many tokens."""
    if not found.begins.size or not without.begins.size:
        return found
    keep = np.ones(found.begins.shape[0], np.bool_)
    last = without.begins.shape[0] - 1
    # Of those that begin before a window the nearest is the last, of all others the first.
    behind = np.searchsorted(without.begins, found.begins)
    for near_one in (np.maximum(behind - 1, 0), np.minimum(behind, last)):
        begins = np.minimum(found.begins, without.begins[near_one])
        ends = np.maximum(found.ends, without.ends[near_one])
        same = found.documents == without.documents[near_one]
        keep &= ~(same & (ends - begins <= most << BITS))
    return found[keep]


def inside(spans: Spans, of: Spans) -> np.ndarray:
    """Which spans lie inside one of these windows: bool, shape (k,)."""
    keep = np.empty(spans.begins.shape[0], np.bool_)
    kernels.inside(spans.begins, spans.ends, of.begins, of.ends, keep)
    return keep


def distinct(documents: np.ndarray) -> np.ndarray:
    """Each of the numbers once; documents: int64, ascending."""
    new = np.ones(documents.shape[0], np.bool_)
    np.not_equal(documents[1:], documents[:-1], out=new[1:])
    return documents[new]
