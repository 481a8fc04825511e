"""The oracle of search expressions: each rule applied to one document at a time, by brute force.

Written for being obviously right. It shares the nodes with the product, and nothing that decides
what matches: a document is a list of tokens, each token the bytes that it spells there.
"""

import json

from everygram.search.nodes import And, Near, Not, Or, Term, Where
from naive_text import text_spans


class Document:
    """Token ids, what each spells in this document, and its metadata."""

    def __init__(self, ids, spelled, metadata=None, encode=None):
        self.ids, self.spelled, self.metadata = list(ids), list(spelled), metadata or {}
        self.encode = encode
        self.data = b"".join(spelled)

    def place(self, byte, of_end):
        """(token, byte of it) of a byte of the document; of an end the place behind it."""
        at = 0
        for token, data in enumerate(self.spelled):
            if of_end and at < byte <= at + len(data):
                return (token + 1, 0) if byte == at + len(data) else (token, byte - at)
            if not of_end and at <= byte < at + len(data):
                return token, byte - at
            at += len(data)
        raise AssertionError

    def matches(self, node):
        """The different (begin, end) of a term's or a NEAR's matches, as places."""
        if isinstance(node, Or):
            return {match for child in node.children for match in self.matches(child)}
        if isinstance(node, Near):
            return {(min(a[0], b[0]), max(a[1], b[1])) for a, b in self.pairs(node)}
        if node.kind in ("words", "text"):
            words = node.kind == "words"
            found = text_spans(self.data, node.value, words, words)
            return {(self.place(begin, False), self.place(end, True)) for begin, end in found}
        ids = list(node.value) if node.kind == "ids" else list(self.encode(node.value))
        starts = range(len(self.ids) - len(ids) + 1)
        return {
            ((start, 0), (start + len(ids), 0))
            for start in starts
            if self.ids[start : start + len(ids)] == ids
        }

    def pairs(self, node, nearest=True):
        """(match of the left, match of the right) of all pairs of a NEAR, or of those nearest."""
        left, right = self.matches(node.left), self.matches(node.right)
        found = self._followed(left, right, node.distance, nearest)
        if not node.ordered:
            swapped = self._followed(right, left, node.distance, nearest)
            found |= {(a, b) for b, a in swapped}
        return found

    def _followed(self, first, second, distance, nearest):
        found = set()
        for a in first:
            for b in second:
                if a[1] > b[0]:
                    continue
                after = min((other for other in second if other[0] >= a[1]), default=None)
                before = max(
                    (other for other in first if other[1] <= b[0]), key=lambda o: (o[1], o[0])
                )
                # The token in which the first ends, if it ends inside one, is not between.
                end = a[1][0] + (a[1][1] > 0)
                is_near = not nearest or after == b or before == a
                if b[0][0] - end <= distance and is_near:
                    found.add((a, b))
        return found

    def holds(self, node):
        if isinstance(node, Where):
            value = self.metadata
            for name in node.field.split("."):
                if not isinstance(value, dict) or name not in value:
                    return False
                value = value[name]
            return node.value == (value if isinstance(value, str) else json.dumps(value))
        if isinstance(node, And):
            return all(map(self.holds, node.children))
        if isinstance(node, Or):
            return any(map(self.holds, node.children))
        if isinstance(node, Not):
            return not self.holds(node.child)
        return bool(self.matches(node))

    def taking_part(self, node):
        """{(term, begin, end)} of the occurrences that take part in the document's match."""
        if not self.holds(node) or isinstance(node, Not | Where):
            return set()
        if isinstance(node, Term | Near):
            return {each for match in self.matches(node) for each in self._of(node, match)}
        return {each for child in node.children for each in self.taking_part(child)}

    def _of(self, node, match):
        """The occurrences of terms that make this match of a NEAR's operand."""
        if isinstance(node, Term):
            return {(node, *match)} if match in self.matches(node) else set()
        if isinstance(node, Or):
            return {each for child in node.children for each in self._of(child, match)}
        found = set()
        for a, b in self.pairs(node) if isinstance(node, Near) else ():
            if (min(a[0], b[0]), max(a[1], b[1])) == match:
                found |= self._of(node.left, a) | self._of(node.right, b)
        return found

    def windows(self, node, most):
        """{(start, end)}: the windows of a node, in tokens."""
        n = len(self.ids)
        every = [(s, e) for s in range(n) for e in range(s + 1, min(n, s + most) + 1)]
        if isinstance(node, Term | Near):
            matches = self.matches(node)
            if isinstance(node, Near):  # any pair is one
                pairs = self.pairs(node, nearest=False)
                matches = {(min(a[0], b[0]), max(a[1], b[1])) for a, b in pairs}
            whole = {(begin[0], end[0] + (end[1] > 0)) for begin, end in matches}
            return smallest({w for w in every if holds_one(w, whole)})
        if isinstance(node, Or):
            parts = [self.windows(child, most) for child in node.children]
            return smallest({w for w in every if any(holds_one(w, part) for part in parts)})
        fields = [child for child in node.children if only_fields(child)]
        if not all(map(self.holds, fields)):
            return set()
        rest = [child for child in node.children if not only_fields(child)]
        parts = [self.windows(child, most) for child in rest if not isinstance(child, Not)]
        without = [self.windows(child.child, most) for child in rest if isinstance(child, Not)]
        found = smallest({w for w in every if all(holds_one(w, part) for part in parts)})
        return {
            w
            for w in found
            if not any(
                max(w[1], other[1]) - min(w[0], other[0]) <= most
                for part in without
                for other in part
            )
        }

    def in_windows(self, node, most):
        """{(term, begin, end)} of the occurrences in its windows."""
        windows = self.windows(node, most)
        return {
            (term, begin, end)
            for term in positive(node)
            for begin, end in self.matches(term)
            if any(s <= begin[0] and end <= (e, 0) for s, e in windows)
        }


def holds_one(window, others):
    return any(window[0] <= start and end <= window[1] for start, end in others)


def smallest(windows):
    return {w for w in windows if not holds_one(w, windows - {w})}


def only_fields(node):
    if isinstance(node, And | Or):
        return all(map(only_fields, node.children))
    return only_fields(node.child) if isinstance(node, Not) else isinstance(node, Where)


def positive(node):
    if isinstance(node, Term):
        return {node}
    if isinstance(node, And | Or):
        return {term for child in node.children for term in positive(child)}
    return positive(node.left) | positive(node.right) if isinstance(node, Near) else set()
