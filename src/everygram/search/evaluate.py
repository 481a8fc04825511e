"""Which documents, or windows of few tokens, an expression matches: exactly.

**Documents.** A term matches a document that it occurs in; AND, OR and NOT are those of logic; a
field matches the documents whose metadata has its value. NEAR/k and BEFORE/k match a document with
a *pair*: a match of the left side and one of the right, which do not overlap, with at most k tokens
strictly between (a token that both are in is not between); for BEFORE the left one comes first. To
be a match of its own, as in `(a NEAR/3 b) BEFORE/5 c`, a pair is what reaches from its first byte
to its last, and one of the two must be the nearest to the other on that side.

A term's occurrence *takes part* if all that it is an operand of matches: not in a document where
only the other side of an OR matches, nor without a partner for its NEAR, nor under NOT. A
document's occurrences are all that take part; equal terms are one.

**Windows of at most k tokens.** A window holds a term if an occurrence lies inside it, whole; both
for AND, either for OR; a pair of NEAR. Windows count that have no smaller window inside them. `x
AND NOT y` are the windows of x that fit with none of y into k tokens. A field beside AND takes the
windows in its documents. (What matches everywhere but in some places has no windows: NOT and
fields, alone or beside OR.) An occurrence takes part if it lies in a window.

None of this depends on the order of clauses. Occurrences of texts begin and end inside tokens; in
windows they take up whole tokens. Nothing matches across documents.

**How.** Interval sizes bound how often each term occurs. AND begins with its rarest operand; each
other one is looked for only in the documents that are left. A term is looked up where that is
cheaper than to read these documents' tokens, otherwise they are read. What needs places (NEAR,
windows) is then decided in those documents, BLOCK tokens at a time. Memory: of each term that is
looked up 8 bytes for an occurrence, which are at most a 32nd of the segment's tokens (56 and a
hundredth for a text), while it is looked up; and 8 bytes for each matching document and term.

**Samples.** With `max_clause_freq`, where the rarest clause may occur more often, documents are
drawn at random without replacement, as many as have `max_clause_freq` of its occurrences on
average, and evaluated exactly; numbers are scaled up to all documents. All are unbiased.
`error_bound`: of documents, half the width of Serfling's interval (1974, Corollary 1.1), which
holds with a probability of 95 % whatever the corpus; of windows the same of documents times the
mean number of windows in those of the sample with any, or 1.96 standard errors if that is more:
no guarantee, for a document may have any number.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from everygram.arguments import SHOWN, natural, short
from everygram.engine.engine import Engine
from everygram.engine.queries import Ids
from everygram.errors import QueryError
from everygram.search.candidates import UNBOUNDED, Matches, Searched
from everygram.search.nodes import (
    And,
    Node,
    Not,
    Or,
    Term,
    every_term,
    of_documents,
    terms_of,
    what_is,
)
from everygram.search.pattern import Pattern
from everygram.search.spans import NO_SPANS, NONE, Spans, closest
from everygram.search.terms import Found, FoundIds, FoundText
from everygram.search.text import TextSearch
from everygram.storage.segment import Segment

DOCUMENT = "document"


@dataclass(frozen=True, eq=False)
class Rows:
    """Occurrences that take part in matching documents, sorted by document and place.

    documents, terms (numbers in `Evaluation.terms`): int64, shape (k,). tokens: int64, shape
    (k, 2): from and to in the document's tokens. chars, bytes: the same in the document's text, −1
    for terms that are ids. windows: int64, shape (w, 3): documents, and from and to in tokens.
    """

    documents: np.ndarray
    terms: np.ndarray
    tokens: np.ndarray
    chars: np.ndarray
    bytes: np.ndarray
    windows: np.ndarray


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What an expression matches, as the module says.

    terms: those that are not under NOT, each once. documents: numbers, int64, shape (d,),
    ascending; of a sample, those in it. counts: int64, shape (terms, d): occurrences that take part
    in each. windows: int64, shape (d,): windows in each; None if documents are the unit. The other
    numbers are those of all documents: estimates if not `exact`, wrong by up to `error_bound` (0 if
    exact) documents, or windows.
    """

    node: Node
    within: str | int
    terms: tuple[Term, ...]
    documents: np.ndarray
    counts: np.ndarray
    windows: np.ndarray | None
    document_count: int
    occurrence_count: int
    term_counts: tuple[int, ...]
    exact: bool
    error_bound: int
    _search: "ExpressionSearch"
    _found: dict[Term, Found]

    def rows(self, documents: np.ndarray) -> Rows:
        """The occurrences in some of the matching documents: numbers, ascending, int64."""
        return self._search.rows(self, documents)


class ExpressionSearch:
    """Evaluates expressions over the documents of an engine."""

    def __init__(
        self, engine: Engine, texts: TextSearch, encode: Callable[[str], np.ndarray]
    ) -> None:
        """encode: the ids of a `tokens:` text; may raise TokenizerError."""
        self._engine, self._texts, self._encode = engine, texts, encode

    def evaluate(
        self,
        node: Node,
        within: str | int = DOCUMENT,
        max_clause_freq: int | None = None,
        seed: int = 0,
    ) -> Evaluation:
        """What `node` matches; within: "document", or the most tokens of a window.

        Raises QueryError for what the module says has no meaning, and for ids that the vocabulary
        has not; TokenizerError where texts cannot be looked for.
        """
        within, max_clause_freq = checked(within, max_clause_freq)
        most = None if isinstance(within, str) else within
        if most is not None:
            _check_windows(node)
        found = self._terms_of(node, max_clause_freq is not None)
        terms = tuple(dict.fromkeys(terms_of(node)))
        drawn = self._drawn(node, found, max_clause_freq, seed)
        parts = []
        for number in self._adding():
            sample = None if drawn is None else drawn.of_segment[number]
            searched = Searched(self._engine, number, found, terms)
            parts.append(searched.matches(node, most, sample))
        documents, counts, windows = _together(parts, len(terms))
        per_document = counts.sum(0) if most is None else windows
        bound = 0
        if drawn is not None:
            bound = drawn.bound() if most is None else drawn.deviation(windows)

        def scaled(number: int) -> int:
            return number if drawn is None else round(number * drawn.live / drawn.size)

        return Evaluation(
            node,
            within,
            terms,
            documents,
            counts,
            None if most is None else windows,
            scaled(documents.shape[0]),
            scaled(int(per_document.sum())),
            tuple(map(scaled, counts.sum(1).tolist())),
            drawn is None,
            bound,
            self,
            found,
        )

    def documents_with(self, of: Evaluation, term: Term) -> int:
        """How many documents a term of `of` occurs in."""
        found = of._found[term]
        if isinstance(found, FoundIds):
            return int(self._engine.documents_in(found.intervals[None])[0])
        return self.evaluate(term).document_count

    def warm_up(self, node: Node) -> None:
        """Compile what reads a node's terms in documents, of an index that has segments."""
        for found in self._terms_of(node).values():
            found.warm_up()
        # (Of terms inside others, which these need not be.)
        closest(NO_SPANS, NO_SPANS, 0, False)

    def rows(self, of: Evaluation, documents: np.ndarray) -> Rows:
        """See `Evaluation.rows`."""
        tables, windows = [np.empty((0, 8), np.int64)], [np.empty((0, 3), np.int64)]
        for number in self._adding():
            table, found = self._rows_in(of, number, documents)
            tables.append(table)
            windows.append(found)
        table, every = np.concatenate(tables), np.concatenate(windows)
        table = table[np.lexsort(table[:, [1, 7, 6, 3, 2, 0]].T)]
        every = every[np.lexsort(every[:, [1, 0]].T)]
        return Rows(table[:, 0], table[:, 1], table[:, 2:4], table[:, 4:6], table[:, 6:], every)

    def _rows_in(
        self, of: Evaluation, number: int, documents: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """`rows` of one segment: columns as in `Rows`, int64, shape (k, 8) and (w, 3)."""
        most = None if isinstance(of.within, str) else of.within
        segment = self._engine.segments[number]
        local = segment.local_of(documents)
        searched = Searched(self._engine, number, of._found, of.terms)
        marked, windows = searched.rows(of.node, most, local[local >= 0])
        tables, texts = [np.empty((0, 8), np.int64)], [np.empty((0, 6), np.int64)]
        for term, spans in enumerate(marked):
            table = np.full((spans.begins.shape[0], 8), -1)
            table[:, 0], table[:, 2:4] = _in_documents(segment, spans)
            table[:, 1] = term
            found = of._found[of.terms[term]]
            if isinstance(found, FoundText):
                texts.append(found.as_found(number, spans, table[:, 0]))
                table[:, 4] = 0  # until it is known
            tables.append(table)
        table, rows = np.concatenate(tables), np.concatenate(texts)
        # (What a document's tokens spell is made once for all terms.)
        order = np.argsort(rows[:, 1], kind="stable")
        to_place = np.flatnonzero(table[:, 4] == 0)[order]
        table[to_place, 4:] = self._texts.placed(rows[order])[:, 1:5]
        return table, np.column_stack(_in_documents(segment, windows))

    def _adding(self) -> list[int]:
        """The segments that are not of deleted documents."""
        segments = enumerate(self._engine.segments)
        return [number for number, segment in segments if segment.entry.sign > 0]

    def _terms_of(self, node: Node, sampled: bool = False) -> dict[Term, Found]:
        """All terms of an expression, to be looked for.

        sampled: how many documents are drawn depends on their bounds, and on nothing else.
        """
        terms = list(dict.fromkeys(every_term(node)))
        vocabulary = self._engine.vocabulary
        found: dict[Term, Found] = {}
        listed: list[tuple[Term, Ids]] = []
        for term in terms:
            if isinstance(term.value, tuple):
                listed.append((term, list(term.value)))
            elif term.kind == "tokens":
                listed.append((term, self._encode(term.value)))
            else:
                words = term.kind == "words"
                pattern = Pattern(term.value, ignore_case=words)
                found[term] = FoundText(self._engine, self._texts, pattern, words, sampled)
        if not listed:
            return found
        asked = []
        for term, ids in listed:
            asked.append(vocabulary.query(ids, _named(term)).ids)
            if not asked[-1].shape[0]:
                raise QueryError(f"{short(str(term))}: expected at least one token, found none")
            if (asked[-1] == vocabulary.separator).any():
                raise QueryError(
                    f"{short(str(term))}: {vocabulary.separator} separates documents; expected ids "
                    "that are inside of them"
                )
        bounds = np.cumsum([0, *(ids.shape[0] for ids in asked)])
        intervals = self._engine.find_batch(vocabulary.split(np.concatenate(asked), bounds))
        for place, (term, _) in enumerate(listed):
            found[term] = FoundIds(self._engine, asked[place], intervals[place])
        return found

    def _drawn(
        self, node: Node, found: dict[Term, Found], most: int | None, seed: int
    ) -> "_Drawn | None":
        """The sample of documents, None for all of them."""
        if most is None:
            return None
        bounds = [
            Searched(self._engine, number, found, ()).bound(node) for number in self._adding()
        ]
        live = {
            number: Searched(self._engine, number, found, ()).live() for number in self._adding()
        }
        total = sum(each.shape[0] for each in live.values())
        # (What is about documents alone is as frequent as they are.)
        size = min(sum(bounds), total) if max(bounds, default=0) == UNBOUNDED else sum(bounds)
        if size <= most:
            return None
        drawn = min(total, math.ceil(total * most / size))
        if drawn == total:
            return None
        chosen = np.array(sorted(random.Random(seed).sample(range(total), drawn)), np.int64)
        of_segment, before = {}, 0
        for number, each in live.items():
            first, last = np.searchsorted(chosen, [before, before + each.shape[0]])
            of_segment[number] = each[chosen[first:last] - before]
            before += each.shape[0]
        return _Drawn(of_segment, drawn, total)


def _named(term: Term) -> str:
    """A term, as the name of its ids in messages."""
    said = str(term)
    return said if len(said) <= SHOWN else said[:SHOWN] + "…"


def _in_documents(segment: Segment, spans: Spans) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of their documents, and from and to in these tokens: int64, shape (k, 2)."""
    starts = segment.document_offsets[spans.documents].astype(np.int64)[:, None] + 1
    tokens = np.column_stack([spans.token_starts, spans.token_ends])
    return segment.numbers_of(spans.documents), tokens - starts


@dataclass(frozen=True)
class _Drawn:
    """A sample of `size` of all `live` documents: for each segment its numbers of them."""

    of_segment: dict[int, np.ndarray]
    size: int
    live: int

    def bound(self) -> int:
        """How far the estimated number of documents is off at most, with 95 %."""
        left = 1 - (self.size - 1) / self.live
        return math.ceil(self.live * math.sqrt(left * math.log(2 / 0.05) / (2 * self.size)))

    def deviation(self, windows: np.ndarray) -> int:
        """How far the estimated number of windows is off, about; windows: in documents with any.

        A sample without the few documents that have many shows no error of its own: it is never
        less than for as many documents as `bound`, with as many windows each as those seen.
        """
        mean = int(windows.sum()) / self.size
        squares = float((windows.astype(np.float64) ** 2).sum()) / self.size
        variance = max(0.0, squares - mean**2) * self.size / max(1, self.size - 1)
        left = 1 - self.size / self.live
        error = 1.96 * self.live * math.sqrt(left * variance / self.size)
        in_each = float(windows.mean()) if windows.size else 1.0
        return math.ceil(max(error, self.bound() * in_each))


def _together(parts: list[Matches], terms: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Documents, ascending, counts and windows of all segments."""
    if len(parts) == 1:
        return parts[0].documents, parts[0].counts, parts[0].windows
    documents = np.concatenate([NONE, *(part.documents for part in parts)])
    order = np.argsort(documents)
    none = np.empty((terms, 0), np.int64)
    counts = np.concatenate([none, *(part.counts for part in parts)], 1)
    windows = np.concatenate([NONE, *(part.windows for part in parts)])
    return documents[order], counts[:, order], windows[order]


def checked(within: str | int, max_clause_freq: int | None = None) -> tuple[str | int, int | None]:
    """Both of these options of `evaluate`, of Python's own types. Raises QueryError."""
    if max_clause_freq is not None:
        max_clause_freq = natural("max_clause_freq", max_clause_freq, 1, QueryError)
    if isinstance(within, str):
        if within == DOCUMENT:
            return DOCUMENT, max_clause_freq
        raise QueryError(
            f"within: expected 'document', or the most tokens of a window, found {short(within)}"
        )
    # (No window is larger than a segment: 40 bits.)
    return min(natural("within", within, 1, QueryError), 1 << 40), max_clause_freq


def _check_windows(node: Node) -> None:
    """Raise QueryError for an expression that has no windows."""
    if of_documents(node) or isinstance(node, Not):
        raise QueryError(
            f"within: {what_is(node)} has no windows of its own: join it to a "
            "term by AND, or search within 'document'"
        )
    if isinstance(node, Or):
        for child in node.children:
            _check_windows(child)
    elif isinstance(node, And):
        rest = [child for child in node.children if not of_documents(child)]
        positive = [child for child in rest if not isinstance(child, Not)]
        for child in positive:
            _check_windows(child)
        for child in rest:
            if isinstance(child, Not):
                _check_windows(child.child)
        if not positive:
            raise QueryError(
                "within: expected a term that is not under NOT, found none; search within "
                "'document'"
            )
