"""An expression in some documents of one segment, decided by the places of its terms.

See `evaluate` for what expressions mean.
"""

from collections.abc import Callable, Sequence

import numpy as np

from everygram.kernels import near as kernels
from everygram.search import spans as spanning
from everygram.search.nodes import (
    And,
    Near,
    Node,
    Not,
    Or,
    Term,
    Where,
    children_of,
    of_documents,
    terms_of,
)
from everygram.search.spans import Spans, distinct
from everygram.search.terms import Found


class Block:
    """Documents, in which each part of an expression is decided once."""

    def __init__(
        self,
        number: int,
        found: dict[Term, Found],
        documents: np.ndarray,
        bounds: np.ndarray,
        where: Callable[[Where, np.ndarray], np.ndarray],
    ) -> None:
        """number: of the segment. documents, bounds: as `Found.spans` takes them."""
        self._number, self._found, self._where = number, found, where
        self._documents, self._bounds = documents, bounds
        self._spans: dict[Node, Spans] = {}
        # How the spans of an operand come from those of its own operands: for each of an Or their
        # numbers, for Near the pairs, and the numbers of what these make.
        self._from: dict[Node, list[np.ndarray]] = {}

    def counted(
        self, node: Node, most: int | None, terms: Sequence[Term]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The documents that match, and in each how often terms take part, and its windows."""
        windows = None if most is None else self.windows(node, most)
        marked = self.marked(node, windows)
        documents = self.holds(node) if windows is None else distinct(windows.documents)
        counts = np.zeros((len(terms) + 1, documents.shape[0]), np.int64)
        for place, term in enumerate(terms):
            kernels.counted(documents, self.spans(term).documents, marked[term], counts[place])
        if windows is not None:
            every = np.ones(windows.documents.shape[0], np.bool_)
            kernels.counted(documents, windows.documents, every, counts[-1])
        return documents, counts[:-1], counts[-1]

    def holds(self, node: Node) -> np.ndarray:
        """The documents that match."""
        documents = self._documents
        if isinstance(node, Where):
            return self._where(node, documents)
        if isinstance(node, Term | Near):
            return distinct(self.spans(node).documents)
        if isinstance(node, Not):
            return np.setdiff1d(documents, self.holds(node.child), assume_unique=True)
        parts = [self.holds(child) for child in children_of(node)]
        if isinstance(node, Or):
            return np.unique(np.concatenate(parts))
        for part in parts:
            documents = np.intersect1d(documents, part, assume_unique=True)
        return documents

    def spans(self, node: Node) -> Spans:
        """The matches of a term, of Near, or of Or of such: each once."""
        if node in self._spans:
            return self._spans[node]
        if isinstance(node, Term):
            spans = self._found[node].spans(self._number, self._documents, self._bounds)
        elif isinstance(node, Near):
            left, right = self.spans(node.left), self.spans(node.right)
            pairs = spanning.near(left, right, node.distance, node.ordered)
            spans, numbers = spanning.united([spanning.stretches(left, right, pairs)])
            self._from[node] = [*pairs, *numbers]
        else:
            spans, self._from[node] = spanning.united(
                [self.spans(each) for each in children_of(node)]
            )
        self._spans[node] = spans
        return spans

    def windows(self, node: Node, most: int) -> Spans:
        """The windows of a node of at most so many tokens."""
        if isinstance(node, Near):
            left, right = self.spans(node.left), self.spans(node.right)
            if spanning.turned(left) or spanning.turned(right):
                pairs = spanning.closest(left, right, node.distance, node.ordered)
                return spanning.windows(pairs, most)
        if isinstance(node, Term | Near):
            return spanning.windows(self.spans(node), most)
        if isinstance(node, Or):
            parts = [self.windows(child, most) for child in node.children]
            return spanning.minimal(spanning.united(parts)[0])
        assert isinstance(node, And)
        documents, inside, without = self._documents, [], []
        for child in node.children:
            if of_documents(child):
                documents = np.intersect1d(documents, self.holds(child), assume_unique=True)
            elif isinstance(child, Not):
                without.append(self.windows(child.child, most))
            else:
                inside.append(self.windows(child, most))
        found = spanning.joined(inside, most)
        if documents is not self._documents:
            found = found[np.isin(found.documents, documents)]
        # (All of these are taken from what was there at first: their order is all one.)
        for each in without:
            found = spanning.alone(found, each, most)
        return found

    def marked(self, node: Node, windows: Spans | None) -> dict[Term, np.ndarray]:
        """Which spans of terms take part: bool. windows: None if documents are the unit."""
        marks: dict[Term, np.ndarray] = {}
        if windows is None:
            self._mark_in(node, self.holds(node), marks)
        else:
            for term in terms_of(node):
                marks[term] = spanning.inside(self.spans(term), windows)
        return marks

    def _mark_in(self, node: Node, documents: np.ndarray, marks: dict[Term, np.ndarray]) -> None:
        """Mark what takes part in these documents, all of which the node matches."""
        if isinstance(node, Term | Near):
            self._mark(node, np.isin(self.spans(node).documents, documents), marks)
        elif isinstance(node, And | Or):
            for child in node.children:
                among = documents
                if isinstance(node, Or):
                    among = np.intersect1d(documents, self.holds(child), assume_unique=True)
                self._mark_in(child, among, marks)

    def _mark(self, node: Node, which: np.ndarray, marks: dict[Term, np.ndarray]) -> None:
        """Mark those spans of terms that make these spans of an operand."""
        if isinstance(node, Term):
            marks[node] = marks[node] | which if node in marks else which
        elif isinstance(node, Near):
            left, right, numbers = self._from[node]
            pairs = which[numbers]
            for operand, those in ((node.left, left), (node.right, right)):
                of_operand = np.zeros(self.spans(operand).begins.shape[0], np.bool_)
                of_operand[those[pairs]] = True
                self._mark(operand, of_operand, marks)
        else:
            for child, numbers in zip(children_of(node), self._from[node], strict=True):
                self._mark(child, which[numbers], marks)
