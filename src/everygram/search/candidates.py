"""An expression in one segment: its documents, from the rarest clause outward.

See `evaluate` for what expressions mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from everygram.engine.engine import Engine
from everygram.engine.pace import spread
from everygram.search.blocks import Block
from everygram.search.nodes import And, Near, Node, Not, Or, Term, Where, children_of, of_documents
from everygram.search.spans import NO_SPANS, NONE, Spans
from everygram.search.terms import Counted, Found, common
from everygram.storage import format as fmt
from everygram.storage.metadata import has_value

# Tokens that are read, or whose documents are decided, together.
BLOCK = 1 << 20
# To decide on one occurrence takes as long as to read so many tokens.
SPAN = 16
# What is so many times cheaper than documents of the mean length is not weighed against theirs.
SURE = 8

# More than occurs in any segment.
UNBOUNDED = 1 << 60

# In place of the bounds of documents of which no token is read.
NOT_READ = np.empty((0, 2), np.int64)


@dataclass(frozen=True)
class Held:
    """The documents that a node matches, int64, ascending; of a term, how often each has it."""

    node: Node
    documents: np.ndarray
    counts: np.ndarray
    children: "tuple[Held, ...]" = ()


@dataclass(frozen=True)
class Matches:
    """Documents of the index, counts of terms and windows in them; see `evaluate.Evaluation`."""

    documents: np.ndarray
    counts: np.ndarray
    windows: np.ndarray


class Searched:
    """One segment, in which terms are looked for."""

    def __init__(
        self, engine: Engine, number: int, found: dict[Term, Found], terms: Sequence[Term]
    ) -> None:
        """terms: those whose occurrences are counted."""
        self._engine, self._number, self._found = engine, number, found
        self._segment = engine.segments[number]
        self._terms = {term: place for place, term in enumerate(terms)}
        # Of each field 1 for documents that have the value, −1 for those that do not, 0 for others.
        self._fields: dict[Where, np.ndarray] = {}

    def matches(self, node: Node, most: int | None, sample: np.ndarray | None) -> Matches:
        """What a node matches in this segment, or in a sample of its documents.

        most: tokens of a window, None if documents are the unit.
        """
        places = most is not None or _has_near(node)
        held = self._held(node, sample, places)
        if not places:
            documents = held.documents
            counts = np.zeros((len(self._terms), documents.shape[0]), np.int64)
            self._add(held, documents, documents, counts)
            windows = np.zeros(documents.shape[0], np.int64)
        else:
            documents, counts, windows = self._decided(node, most, held.documents)
        return Matches(self._segment.numbers_of(documents), counts, windows)

    def rows(
        self, node: Node, most: int | None, documents: np.ndarray
    ) -> tuple[list[Spans], Spans]:
        """The spans of each term that take part in these documents, and the windows."""
        block = self._block(documents)
        found = block.windows(node, most) if most is not None else None
        marked = block.marked(node, found)
        spans = [block.spans(term)[marked[term]] for term in self._terms]
        return spans, NO_SPANS if found is None else found

    def live(self) -> np.ndarray:
        """The documents that are not deleted."""
        every = np.arange(self._segment.num_documents)
        return self._without_deleted(every)

    def bound(self, node: Node) -> int:
        """At least how often what an evaluation begins with occurs."""
        if isinstance(node, Term):
            return self._found[node].bound(self._number)
        if isinstance(node, And | Near):
            return min(map(self.bound, children_of(node)))
        if isinstance(node, Or):
            return min(UNBOUNDED, sum(map(self.bound, node.children)))
        return UNBOUNDED

    def _without_deleted(self, documents: np.ndarray) -> np.ndarray:
        deleted = self._engine.deleted(self._segment.numbers_of(documents))
        return documents[~deleted] if deleted.any() else documents

    def _bounds(self, documents: np.ndarray) -> np.ndarray:
        """The tokens of documents: int64, shape (d, 2)."""
        segment = self._segment
        offsets = segment.document_offsets
        bounds = np.empty((documents.shape[0], 2), np.int64)
        bounds[:, 0] = offsets[documents]
        bounds[:, 0] += 1
        last = documents + 1 == segment.num_documents
        bounds[:, 1] = offsets[np.where(last, 0, documents + 1)]
        bounds[last, 1] = segment.stream_len
        if documents.size and (
            bounds.min() < 1
            or bounds.max() > segment.stream_len
            or (bounds[:, 1] < bounds[:, 0]).any()
        ):
            raise segment.damaged(fmt.DOCUMENT_OFFSETS, "offsets that do not ascend")
        return bounds

    def _held(self, node: Node, within: np.ndarray | None, loosely: bool) -> Held:
        """What a node matches among some documents, or all (None).

        loosely: what it may match, decided without places: its parts of NEAR, and whatever is
        under NOT.
        """
        if isinstance(node, Term):
            counted = self._counted(self._found[node], within)
            return Held(node, counted.documents, counted.counts)
        if isinstance(node, Or):
            children = tuple(self._held(child, within, loosely) for child in node.children)
            documents = np.unique(np.concatenate([child.documents for child in children]))
            return Held(node, documents, NONE, children)
        if isinstance(node, And) or (isinstance(node, Near) and loosely):
            return self._all(node, children_of(node), within, loosely)
        if within is None:
            within = self.live()
        if isinstance(node, Where):
            return Held(node, self._where(node, within), NONE)
        assert isinstance(node, Not)
        if loosely and not of_documents(node):
            return Held(node, within, NONE)
        without = self._held(node.child, within, False).documents
        return Held(node, np.setdiff1d(within, without, assume_unique=True), NONE)

    def _all(
        self, node: Node, operands: Sequence[Node], within: np.ndarray | None, loosely: bool
    ) -> Held:
        """What all operands match: the rarest first, fields and NOT last."""
        ordered = sorted(operands, key=lambda child: (self.bound(child), isinstance(child, Not)))
        children = []
        for child in ordered:
            held = self._held(child, within, loosely)
            children.append(held)
            within = held.documents
        assert within is not None
        return Held(node, within, NONE, tuple(children))

    def _counted(self, found: Found, within: np.ndarray | None) -> Counted:
        """How often a term occurs in documents, of those that it occurs in."""
        cost = found.bound(self._number) * found.look_up
        if not found.known(self._number):
            if within is None:
                if cost > self._segment.stream_len:
                    return self._read(found, None, None)
            elif cost * SURE * self._segment.num_documents > within.size * self._segment.stream_len:
                # (Documents' lengths are only looked at where they may decide.)
                bounds = self._bounds(within)
                if cost > _tokens(bounds):
                    return self._read(found, within, bounds)
        counted = found.looked_up(self._number)
        if within is not None:
            return found.counted(self._number, within, NOT_READ)
        live = self._without_deleted(counted.documents)
        if live is counted.documents:
            return counted
        return Counted(live, counted.counts[common(counted.documents, live)[0]])

    def _read(self, found: Found, within: np.ndarray | None, bounds: np.ndarray | None) -> Counted:
        """`_counted`, read from the documents' tokens."""
        if within is None or bounds is None:
            within = self.live()
            bounds = self._bounds(within)
        chosen, places = within, bounds
        cuts = _cuts(bounds, _tokens(bounds) // BLOCK + 1)

        def read(begin: int, end: int) -> Counted:
            part = slice(cuts[begin], cuts[end])
            return found.counted(self._number, chosen[part], places[part])

        read_ones = spread(read, len(cuts) - 1, 1)
        return Counted(
            np.concatenate([NONE, *(each.documents for each in read_ones)]),
            np.concatenate([NONE, *(each.counts for each in read_ones)]),
        )

    def _where(self, node: Where, documents: np.ndarray) -> np.ndarray:
        """Those of the documents whose metadata has the value."""
        known = self._fields.setdefault(node, np.zeros(self._segment.num_documents, np.int8))
        for local in documents[known[documents] == 0].tolist():
            has = has_value(self._segment.metadata(local), node.field, node.value)
            known[local] = 1 if has else -1
        has_it: np.ndarray = documents[known[documents] > 0]
        return has_it

    def _add(
        self, held: Held, active: np.ndarray, documents: np.ndarray, counts: np.ndarray
    ) -> None:
        """Set in `counts` of documents how often terms occur in those of them that are active."""
        if isinstance(held.node, Term):
            place = self._terms[held.node]
            if held.documents is documents is active:
                counts[place] = held.counts
                return
            here = common(held.documents, active)[0]
            if active is documents and here.shape[0] == documents.shape[0]:
                counts[place] = held.counts[here]
            else:
                at = common(held.documents[here], documents)[1]
                counts[place, at] = held.counts[here]
        elif not isinstance(held.node, Not):
            for child in held.children:
                among = active
                if isinstance(held.node, Or):
                    among = active[common(active, child.documents)[0]]
                self._add(child, among, documents, counts)

    def _block(self, documents: np.ndarray) -> Block:
        return Block(self._number, self._found, documents, self._bounds(documents), self._where)

    def _decided(
        self, node: Node, most: int | None, documents: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which of these documents a node matches, the counts of terms, and of windows."""
        bounds = self._bounds(documents)
        tokens, size = _tokens(bounds), 0
        for found in self._found.values():
            cheap = found.bound(self._number) * found.look_up <= tokens
            if cheap or found.known(self._number):
                size += int(found.looked_up(self._number).counts.sum()) * SPAN
            else:
                size += tokens
        cuts = _cuts(bounds, size // BLOCK + 1)

        def decide(begin: int, end: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            block = self._block(documents[cuts[begin] : cuts[end]])
            return block.counted(node, most, list(self._terms))

        parts = spread(decide, len(cuts) - 1, 1)
        none = np.empty((len(self._terms), 0), np.int64)
        return (
            np.concatenate([NONE, *(part[0] for part in parts)]),
            np.concatenate([none, *(part[1] for part in parts)], 1),
            np.concatenate([NONE, *(part[2] for part in parts)]),
        )


def _tokens(bounds: np.ndarray) -> int:
    return int((bounds[:, 1] - bounds[:, 0]).sum())


def _cuts(bounds: np.ndarray, number: int) -> list[int]:
    """The ends of so many parts of documents, of about as many tokens each, from 0 on."""
    tokens = np.cumsum(bounds[:, 1] - bounds[:, 0])
    if number < 2 or not tokens.size:
        return [0, bounds.shape[0]]
    inner = np.searchsorted(tokens, tokens[-1] * np.arange(1, number) // number) + 1
    return sorted({0, *inner.tolist(), bounds.shape[0]})


def _has_near(node: Node) -> bool:
    return isinstance(node, Near) or any(map(_has_near, children_of(node)))
