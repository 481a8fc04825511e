"""Search: which documents an expression matches, page by page, with the text around each match."""

import base64
import hashlib
import itertools
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from everygram.arguments import integer, natural, number, short
from everygram.encoding import Reading
from everygram.engine.engine import Engine
from everygram.engine.intervals import damaged
from everygram.errors import CursorError, QueryError, TokenizerError
from everygram.index.base import OpenIndex
from everygram.index.documents import checked_pattern
from everygram.passages import DocumentText
from everygram.results.search import Hit, Hits, Span, TermCount, UnionHit
from everygram.search.evaluate import Evaluation, ExpressionSearch, Rows, checked
from everygram.search.expression import from_cnf, parse
from everygram.search.nodes import And, Node, Where, surrogate_in
from everygram.storage import format as fmt
from everygram.storage.metadata import field_and_value

ORDERS = ("document", "matches", "bm25")
# Tokens on each side of a match that a snippet shows by default.
CONTEXT = 16
# A snippet shows the first matches of a document, in pieces that are divided by "…".
SNIPPET_SPANS = 8
SNIPPET_PIECES = 3
# Tokens that `warm_up` asks about.
WARMING = 32
ELLIPSIS = " … "


class SearchQueries(OpenIndex):
    """Queries by expressions."""

    def warm_up(self) -> None:
        """Compile what queries of this index run, or load it from the disk cache, and make what
        they share: otherwise the first query of each kind waits for that.
        """
        super().warm_up()
        engine, _, reading, _, _ = self._state
        rare = engine.rare_tokens(WARMING)
        if not rare.shape[0]:
            return
        # (What is rare is answered at once, however large the index.)
        a, b = f"ids:{rare[0]}", f"ids:{rare[-1]}"
        self._search_all(a, f"{a} AND {b}", f"{a} NEAR/2 {b}", f"{a} AND NOT {b}")
        searched = ExpressionSearch(engine, self._state.texts, lambda text: rare)
        searched.warm_up(parse(f"{a} OR ids:{rare[0]},{rare[-1]}"))
        try:
            words = [reading.decode(rare[i : i + 1]) for i in range(rare.shape[0])]
            texts, ready = self._state.texts, reading.token_bytes is not None
        except TokenizerError:  # none, or one that texts are not looked for with
            return
        text = max((word for word in words if ready and word.isalnum()), key=len, default="aa")
        for ignore_case, whole_words in itertools.product((False, True), repeat=2):
            pattern = checked_pattern(text, ignore_case, whole_words)
            texts.count(*pattern)
            texts.placed(texts.occurrences(*pattern).rows()[:1])
            texts.tokenizations(*pattern, 1)
            tokens, _ = texts.parts(pattern[0], texts.spelled(*pattern)).going_on(0)
            engine.runs_of(0, np.zeros((1, 2), np.int64), 1, tokens)
        searched.warm_up(parse(f"{text} OR text:{text}"))
        self._search_all(text, f"{a} AND {text}", f"{a} AND text:{text}", f"{text} NEAR/2 {a}")

    def _search_all(self, *expressions: str) -> None:
        for expression in expressions:
            self.search(expression, limit=1)
            self.search(expression, limit=1, within=4)

    def search(
        self,
        expression: str | Sequence[Any],
        *,
        within: str | int = "document",
        where: tuple[str, Any] | None = None,
        limit: int | None = 10,
        cursor: str | None = None,
        sample: int | None = None,
        seed: int = 0,
        order: str = "document",
        context: int = CONTEXT,
        max_clause_freq: int | None = None,
        k1: float = 1.2,
        b: float = 0.75,
    ) -> Hits:
        """The documents that an expression matches: how many, and `limit` of them (None: all).

        expression: words and "phrases", AND, OR, NOT, parentheses, NEAR/5, BEFORE/5, text:"…",
        tokens:"…", ids:1,2,3 and field:value; or infini-gram's CNF, a list of clauses (AND) that
        are lists of terms (OR), each a string (as tokens:"…") or a list of ids. within: the whole
        "document", or windows of at most so many tokens. where: a field of the metadata and its
        value, as `delete` takes it.

        Always exact, in whatever order the clauses stand, unless max_clause_freq bounds the work:
        where the rarest clause may occur more often, documents are drawn at random (by `seed`),
        and the answer says so, with an error bound (`Hits`).

        The next page follows from the `cursor` of the answer, in another process, too; if the
        index has changed in between, that is an error. `sample` draws that many of the matching
        documents by `seed` in place of pages. order: by "document" number, by number of "matches",
        or by "bm25", most relevant first: the sum over terms of ln(1 + (N - n + 0.5) / (n + 0.5))
        · f (k1 + 1) / (f + k1 (1 - b + b · length / mean length)), for N documents, n of them
        with the term, and f of its occurrences that take part in this one (Robertson & Zaragoza
        2009; their logarithm's 1 + keeps words of more than half of all documents from counting
        against one).
        A snippet has `context` tokens on each side of a match.

        Raises ExpressionError, whose `position` is where the expression is none, and QueryError.
        """
        within, max_clause_freq = checked(within, max_clause_freq)
        asked = _Asked(within, order, max_clause_freq, seed, k1, b)
        limit = None if limit is None else natural("limit", limit, error=QueryError)
        context = natural("context", context, error=QueryError)
        if sample is not None:
            sample = natural("sample", sample, error=QueryError)
            if cursor is not None:
                raise QueryError("cursor: goes with pages, not with a sample")
        node = parse(expression) if isinstance(expression, str) else from_cnf(expression)
        if where is not None:
            filtered = Where(*field_and_value(where, QueryError))
            if not filtered.field:
                raise QueryError("where: expected the name of a field and its value, found no name")
            if wrong := surrogate_in(filtered.field + filtered.value):
                raise QueryError(f"where: expected a text, found the lone surrogate {wrong!a}")
            node = And((node, filtered))
        engine, encoding, reading, manifest, texts = self._state
        searched = ExpressionSearch(
            engine, texts, lambda text: encoding.encode(text, False, "tokens")
        )
        after = None if cursor is None else _after(cursor, manifest, asked.key(node))
        found = searched.evaluate(node, within, max_clause_freq, seed)
        scores = None
        if order == "bm25":
            scores = _bm25(engine, searched, found, k1, b)
        if sample is not None:
            places = random.Random(seed).sample(
                range(found.documents.shape[0]), min(sample, found.documents.shape[0])
            )
            chosen, following = np.array(sorted(places), np.int64), None
        else:
            chosen, following = _page(found, scores, order, limit, after)
        return Hits(
            str(node),
            found.within,
            "occurrences" if found.windows is None else "windows",
            found.document_count,
            found.occurrence_count,
            found.exact,
            found.error_bound,
            [
                TermCount(str(term), count)
                for term, count in zip(found.terms, found.term_counts, strict=True)
            ],
            order,
            _hits(engine, reading, found, chosen, scores, context),
            None if following is None else _cursor(following, manifest, asked.key(node)),
        )


def _cursor(after: int, manifest: fmt.Manifest, key: str) -> str:
    """What stands for the place after which the next page begins."""
    packed = json.dumps([manifest.digest, key, after]).encode()
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def _after(cursor: str, manifest: fmt.Manifest, key: str) -> int:
    """The place that a cursor stands for."""
    try:
        if not isinstance(cursor, str):
            raise ValueError
        padded = cursor + "=" * (-len(cursor) % 4)
        version, asked, after = json.loads(base64.b64decode(padded, "-_", validate=True))
        if type(version) is not str or type(asked) is not str or type(after) is not int:
            raise ValueError
    except (ValueError, RecursionError, TypeError):
        raise QueryError(
            f"cursor: expected that of an earlier answer, found {short(cursor)}"
        ) from None
    if version != manifest.digest:
        raise CursorError(
            "cursor: the index has changed since it was given, or it is of another index; "
            "search again from the first page"
        )
    if asked != key:
        raise QueryError(
            "cursor: it was given for another search; pass the same expression, within, order, "
            "where and other options with it"
        )
    return after


@dataclass(frozen=True)
class _Asked:
    """What of a search a cursor holds good for, checked."""

    within: str | int
    order: str
    max_clause_freq: int | None
    seed: int
    k1: float
    b: float

    def __post_init__(self) -> None:
        if not isinstance(self.order, str) or self.order not in ORDERS:
            raise QueryError(f"order: expected {', '.join(ORDERS)}, found {short(self.order)}")
        integer("seed", self.seed, QueryError)
        for name, value, most in (("k1", self.k1, math.inf), ("b", self.b, 1)):
            if not 0 <= number(name, value, QueryError) <= most or math.isinf(value):
                least = "0 or more" if most == math.inf else "0 to 1"
                raise QueryError(f"{name}: expected {least}, found {short(value)}")

    def key(self, node: Node) -> str:
        """A short name of the search for this expression."""
        ranked = (float(self.k1), float(self.b)) if self.order == "bm25" else ()
        drawn = () if self.max_clause_freq is None else (self.max_clause_freq, int(self.seed))
        said = repr((str(node), self.within, self.order, ranked, drawn))
        return hashlib.sha256(said.encode()).hexdigest()[:16]


def _page(
    found: Evaluation, scores: np.ndarray | None, order: str, limit: int | None, after: int | None
) -> tuple[np.ndarray, int | None]:
    """The places in `found.documents` that a page shows, in its order, and what follows after it.

    after: the last document of the page before, or in other orders how many were shown.
    """
    documents = found.documents
    if order == "document":
        start = 0 if after is None else int(np.searchsorted(documents, after, "right"))
        ranked = np.arange(start, documents.shape[0])
    else:
        if scores is None:
            per_document = found.counts.sum(0) if found.windows is None else found.windows
            scores = per_document.astype(np.float64)
        start = 0 if after is None else max(0, after)
        ranked = np.lexsort((documents, -scores))[start:]
    page = ranked if limit is None else ranked[:limit]
    if page.shape[0] == ranked.shape[0] or not page.shape[0]:
        return page, None
    return page, int(documents[page[-1]]) if order == "document" else start + page.shape[0]


def _bm25(
    engine: Engine, searched: ExpressionSearch, found: Evaluation, k1: float, b: float
) -> np.ndarray:
    """The score of each matching document: float64, shape (d,)."""
    total = engine.num_documents
    tokens = engine.lengths_of(found.documents).astype(np.float64)
    mean = engine.num_tokens / max(1, total)
    norm = k1 * (1 - b + b * tokens / max(mean, 1e-300))
    scores = np.zeros(found.documents.shape[0])
    for term, counts in zip(found.terms, found.counts, strict=True):
        with_term = searched.documents_with(found, term)
        weight = math.log1p((total - with_term + 0.5) / (with_term + 0.5))
        occurs = counts > 0
        f = counts[occurs].astype(np.float64)
        scores[occurs] += weight * f * (k1 + 1) / (f + norm[occurs])
    return scores


def _hits(
    engine: Engine,
    reading: Reading,
    found: Evaluation,
    chosen: np.ndarray,
    scores: np.ndarray | None,
    context: int,
) -> list[Hit]:
    """The hits of some of the matching documents, by their places in `found.documents`."""
    if not chosen.shape[0]:
        return []
    documents = found.documents[chosen]
    rows = found.rows(np.sort(documents))
    hits = []
    numbers, indexes, names = engine.owned(documents)
    for i, (place, document) in enumerate(zip(chosen.tolist(), documents.tolist(), strict=True)):
        ids, metadata = engine.document_found(document)
        text = DocumentText(reading, ids[:]) if reading.has_tokenizer else None
        begin, end = np.searchsorted(rows.documents, [document, document + 1])
        if rows.tokens[begin:end].max(initial=0) > ids.shape[0]:
            raise damaged(engine.path, "a match that reaches beyond its document")
        spans = _spans(rows, document, text)
        windows = None
        if found.windows is not None:
            begin, end = np.searchsorted(rows.windows[:, 0], [document, document + 1])
            windows = [(int(a), int(z)) for _, a, z in rows.windows[begin:end].tolist()]
        snippet, marks = (None, []) if text is None else _snippet(text, spans, context)
        said = (
            int(numbers[i]),
            metadata,
            ids.shape[0],
            len(spans) if windows is None else len(windows),
            None if scores is None else float(scores[place]),
            spans,
            windows,
            snippet,
            marks,
        )
        if indexes is None:
            hits.append(Hit(*said))
        else:
            hits.append(UnionHit(*said, index=int(indexes[i]), index_name=names[int(indexes[i])]))
    return hits


def _spans(rows: Rows, document: int, text: DocumentText | None) -> list[Span]:
    """The spans of one document, by place."""
    begin, end = np.searchsorted(rows.documents, [document, document + 1])
    columns = zip(
        rows.chars[begin:end].tolist(),
        rows.tokens[begin:end].tolist(),
        rows.terms[begin:end].tolist(),
        strict=True,
    )
    spans = []
    for chars, tokens, term in columns:
        at: tuple[int | None, int | None] = (chars[0], chars[1])
        if chars[0] < 0:
            at = (None, None) if text is None else text.chars(*tokens)
        spans.append(Span(at[0], at[1], tokens[0], tokens[1], term))
    return spans


def _snippet(
    text: DocumentText, spans: list[Span], context: int
) -> tuple[str, list[tuple[int, int]]]:
    """The text around the first spans, and where spans are in it."""
    pieces: list[list[int]] = []
    for span in spans[:SNIPPET_SPANS]:
        start, stop = max(0, span.token_start - context), span.token_end + context
        if pieces and start <= pieces[-1][1]:
            pieces[-1][1] = max(pieces[-1][1], stop)
        elif len(pieces) == SNIPPET_PIECES:
            break
        else:
            pieces.append([start, stop])
    if not pieces:  # a match without terms, such as of NOT: the document's beginning
        pieces = [[0, 2 * context]]
    snippet, marks = "", []
    for start, stop in pieces:
        stop = min(stop, text.num_tokens)
        first, last = text.chars(start, stop)
        snippet += ELLIPSIS.lstrip() if start and not snippet else ELLIPSIS if snippet else ""
        shift = len(snippet) - first
        snippet += text.text[first:last]
        marks += [
            (span.start + shift, span.end + shift)
            for span in spans
            if span.start is not None
            and span.end is not None
            and first <= span.start
            and span.end <= last
        ]
    if pieces[-1][1] < text.num_tokens:
        snippet += ELLIPSIS.rstrip()
    return snippet, marks
