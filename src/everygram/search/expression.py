"""Search expressions: text in, a tree of terms and operators out. Knows no index.

    new AND "york city"              both, in a document or in a window
    (cat OR dog) AND NOT fish        parentheses; NOT binds tightest
    cat NEAR/5 dog                   at most 5 tokens between, either order
    cat BEFORE/0 dog                 directly before
    source:wikipedia AND cat         documents whose metadata has this value

A term is a bare word or a "quoted phrase" (whole words, case ignored), `text:"…"` (exactly as
written, inside words, too), `tokens:"…"` (the ids that the text becomes), or `ids:1,2,3`. Any other
`name:value` is a field of the metadata. In quotes, a backslash stands before `"` and `\\`, and \\n,
\\r and \\t are what they are elsewhere.

NOT binds tighter than NEAR and BEFORE, these tighter than AND, AND tighter than OR. Operators are
upper case: `and` is a word, and so is "AND". Two terms side by side are an error, not an AND: a
shell takes the quotes from "new york", and the answer to another question would look right.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from everygram.arguments import LARGEST, as_integer, short
from everygram.errors import ExpressionError, QueryError
from everygram.search.nodes import (
    BARE,
    ESCAPES,
    KINDS,
    NAME,
    NEAR,
    OPERATORS,
    And,
    Near,
    Node,
    Not,
    Or,
    Term,
    Where,
    has_word,
    misplaced,
    nears_inside,
    quoted,
    surrogate_in,
    what_is,
)

# Parentheses, NOTs and NEARs inside one another, terms, and characters of an expression.
MAX_DEPTH = 50
MAX_TERMS = 1000
MAX_LENGTH = 100_000
# Characters of an expression that an error shows on each side of the place.
SHOWN = 30

_IDS = re.compile(r"[0-9]+(?:,[0-9]+)*")


def parse(text: str) -> Node:
    """The tree of an expression.

    Raises ExpressionError, whose message shows the place. O(length).
    """
    if not isinstance(text, str):
        raise QueryError(f"expression: expected a string, found {short(text)}")
    return _Parser(text).parsed()


def from_cnf(cnf: Any) -> Node:
    """The tree of infini-gram's CNF: a list of clauses, of which all, each a list of terms, of
    which any; a term is a list of token ids, or a text (as `tokens:`).

    Raises QueryError.
    """
    clauses, number = [], 0
    for i, clause in enumerate(_listed("cnf", cnf, "clauses")):
        terms = []
        for j, term in enumerate(_listed(f"cnf[{i}]", clause, "terms")):
            number += 1
            if number > MAX_TERMS:
                raise QueryError(f"cnf: expected at most {MAX_TERMS:,} terms, found more")
            terms.append(_term_of(f"cnf[{i}][{j}]", term))
        clauses.append(terms[0] if len(terms) == 1 else Or(tuple(terms)))
    return clauses[0] if len(clauses) == 1 else And(tuple(clauses))


def _term_of(name: str, term: Any) -> Term:
    if isinstance(term, str):
        if not term:
            raise QueryError(f"{name}: expected a text of at least one character, found ''")
        if found := surrogate_in(term):
            raise QueryError(f"{name}: expected a text, found the lone surrogate {found!a}")
        return Term("tokens", term)
    ids = [as_integer(value) for value in _listed(name, term, "token ids, or a text")]
    for place, value in enumerate(ids):
        if value is None or value < 0:
            raise QueryError(f"{name}[{place}]: expected a token id, found {short(term[place])}")
    return Term("ids", tuple(value for value in ids if value is not None))


def _listed(name: str, value: Any, what: str) -> Sequence[Any]:
    try:
        if isinstance(value, str | bytes | dict | set):
            raise TypeError
        listed = list(value)
    except TypeError:
        raise QueryError(f"{name}: expected a list of {what}, found {short(value)}") from None
    if not listed:
        raise QueryError(f"{name}: expected a list of {what}, found an empty one")
    return listed


@dataclass(frozen=True)
class _Token:
    """A piece of an expression. what: "(", ")", "AND", "OR", "NOT", "NEAR", "term" or "end"."""

    what: str
    start: int
    end: int
    node: Term | Where | None = None
    distance: int = 0
    ordered: bool = False


class _Parser:
    """One expression, read from left to right: a method per level of precedence."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._terms = 0
        if len(text) > MAX_LENGTH:
            self._fail(
                MAX_LENGTH, f"expected at most {MAX_LENGTH:,} characters, found {len(text):,}"
            )
        self._next = self._token()

    def parsed(self) -> Node:
        node = self._or(0)
        if self._next.what == ")":
            self._fail(self._next.start, "expected the end, found ')', which no '(' opens")
        self._end_of_operand()
        return node

    def _or(self, depth: int) -> Node:
        nodes = [self._and(depth)]
        while self._next.what == "OR":
            self._advance()
            nodes.append(self._and(depth))
        return nodes[0] if len(nodes) == 1 else Or(tuple(nodes))

    def _and(self, depth: int) -> Node:
        nodes = [self._near(depth)]
        while self._next.what == "AND":
            self._advance()
            nodes.append(self._near(depth))
        return nodes[0] if len(nodes) == 1 else And(tuple(nodes))

    def _near(self, depth: int) -> Node:
        start = self._next.start
        node = self._operand(depth)
        while self._next.what == "NEAR":
            operator = self._next
            self._check_near(node, start, operator)
            self._advance()
            right_start = self._next.start
            right = self._operand(depth)
            self._check_near(right, right_start, operator)
            node = Near(node, right, operator.distance, operator.ordered)
            self._check_depth(nears_inside(node), operator.start)
        return node

    def _operand(self, depth: int) -> Node:
        token = self._next
        if token.what == "term":
            self._advance()
            self._terms += 1
            if self._terms > MAX_TERMS:
                self._fail(token.start, f"expected at most {MAX_TERMS:,} terms, found more")
            self._end_of_operand()
            assert token.node is not None
            return token.node
        if token.what == "NOT":
            self._check_depth(depth + 1, token.start)
            self._advance()
            return Not(self._operand(depth + 1))
        if token.what != "(":
            hint = ""
            if token.what not in ("end", ")"):
                hint = f'; an operator in quotes is a word: "{self._shown(token)}"'
            self._fail(
                token.start, f"expected a term, NOT or '(', found {self._found(token)}{hint}"
            )
        self._check_depth(depth + 1, token.start)
        self._advance()
        node = self._or(depth + 1)
        if self._next.what != ")":
            self._fail(
                self._next.start,
                f"expected an operator, or ')' for the '(' at character {token.start + 1}, found "
                f"{self._found(self._next)}",
            )
        self._advance()
        self._end_of_operand()
        return node

    def _end_of_operand(self) -> None:
        """Raise if another operand follows without an operator."""
        token = self._next
        if token.what in ("term", "(", "NOT"):
            hint = "for both, write AND between them"
            if token.what == "term":
                hint += '; for a phrase, put "quotes" around it'
                upper = self._text[token.start : token.end].upper()
                if upper in OPERATORS or NEAR.fullmatch(upper):
                    hint = f"operators are upper case: {upper}"
            self._fail(
                token.start,
                f"expected AND, OR, NEAR/k or BEFORE/k, found {self._found(token)}; {hint}",
            )

    def _check_depth(self, depth: int, position: int) -> None:
        if depth > MAX_DEPTH:
            self._fail(
                position,
                f"expected parentheses, NOT and NEAR/k inside one another at most {MAX_DEPTH} deep,"
                " found more",
            )

    def _check_near(self, node: Node, start: int, operator: _Token) -> None:
        """Raise for an operand that NEAR and BEFORE have not."""
        wrong = misplaced(node)
        if wrong is not None:
            name = self._text[operator.start : operator.end]
            hint = ""
            if isinstance(wrong, Not):
                hint = f"; for what is not near, write NOT (… {name} …)"
            self._fail(
                start,
                f"expected terms, or OR of terms, on both sides of {name}, found "
                f"{what_is(wrong)}{hint}",
            )

    def _found(self, token: _Token) -> str:
        return "the end" if token.what == "end" else f"'{self._shown(token)}'"

    def _shown(self, token: _Token) -> str:
        shown = self._text[token.start : token.end]
        return shown if len(shown) <= SHOWN else shown[:SHOWN] + "…"

    def _advance(self) -> None:
        self._next = self._token()

    def _token(self) -> _Token:
        text = self._text
        while self._at < len(text) and text[self._at].isspace():
            self._at += 1
        start = self._at
        if start == len(text):
            return _Token("end", start, start)
        if text[start] in "()":
            self._at += 1
            return _Token(text[start], start, self._at)
        if text[start] == '"':
            value = self._string()
            if text.startswith(":", self._at):
                return self._where(start, value)
            return self._words(start, value)
        name = NAME.match(text, start)
        if name is not None:
            self._at = name.end()
            return self._where(start, name[0]) if name[0] not in KINDS else self._kind(name[0])
        bare = BARE.match(text, start)
        assert bare is not None
        self._at = bare.end()
        if bare[0] in OPERATORS:
            return _Token(bare[0], start, self._at)
        near = NEAR.fullmatch(bare[0])
        if near is not None:
            distance = near[2] or ""
            if not (distance.isascii() and distance.isdigit()):
                found = f"{near[1]}/{distance}" if near[2] is not None else near[1]
                self._fail(
                    start,
                    f"expected {near[1]}/k with the number of tokens between, like {near[1]}/5, "
                    f"found '{found[:SHOWN]}'; in quotes it is a word",
                )
            k = min(int(distance[:20]), LARGEST)
            return _Token("NEAR", start, self._at, None, k, near[1] == "BEFORE")
        return self._words(start, bare[0])

    def _words(self, start: int, value: str) -> _Token:
        self._check_text(start, value)
        if not has_word(value):
            self._fail(
                start,
                f"expected a word, found no letter or number in {quoted(value[:SHOWN])}; for "
                f"characters as they are write text:{quoted(value[:SHOWN])}",
            )
        return _Token("term", start, self._at, Term("words", value))

    def _kind(self, kind: str) -> _Token:
        """A term after its prefix, at whose colon it is read on."""
        start = self._at - len(kind)
        place, value = self._value(kind)
        if kind == "ids":
            digits = "".join(value.split())
            if not _IDS.fullmatch(digits):
                self._fail(place, f"expected token ids like ids:1,2,3, found {short(value)}")
            ids = [int(each[:20]) for each in digits.split(",")]
            for each in ids:
                if each > LARGEST:
                    self._fail(place, f"expected token ids, found {short(each)}, too large for one")
            return _Token("term", start, self._at, Term("ids", tuple(ids)))
        self._check_text(place, value)
        term = Term("text", value) if kind == "text" else Term("tokens", value)
        return _Token("term", start, self._at, term)

    def _where(self, start: int, field: str) -> _Token:
        if not field:
            self._fail(start, 'expected the name of a field, found ""')
        self._check_surrogates(start, field)
        place, value = self._value(field)
        self._check_surrogates(place, value)
        if self._text.startswith("//", place):
            self._fail(
                start,
                f"expected a field and its value, found an address: for a text put quotes around "
                f"all of it, for a value around {quoted(value[:SHOWN])}",
            )
        return _Token("term", start, self._at, Where(field, value))

    def _value(self, name: str) -> tuple[int, str]:
        """What stands after a colon, and where."""
        self._at += 1
        place = self._at
        if self._text.startswith('"', place):
            return place, self._string()
        bare = BARE.match(self._text, place)
        if bare is None:
            found = "the end" if place == len(self._text) else repr(self._text[place])
            self._fail(
                place,
                f'expected a value right after {short(name)[1:-1]}:, like a or "a b", found '
                f"{found}",
            )
        self._at = bare.end()
        return place, bare[0]

    def _string(self) -> str:
        """A quoted string, at whose first quote it is read on."""
        text, start = self._text, self._at
        self._at += 1
        pieces: list[str] = []
        while self._at < len(text):
            character = text[self._at]
            self._at += 1
            if character == '"':
                return "".join(pieces)
            if character == "\\":
                escaped = text[self._at : self._at + 1]
                if escaped not in ESCAPES or not escaped:
                    self._fail(
                        self._at - 1,
                        'expected \\" \\\\ \\n \\r or \\t, found '
                        + (f"'\\{escaped}'" if escaped else "the end"),
                    )
                character = ESCAPES[escaped]
                self._at += 1
            pieces.append(character)
        return self._fail(start, "expected another quote that closes this one, found the end")

    def _check_text(self, position: int, value: str) -> None:
        if not value:
            self._fail(position, 'expected a text of at least one character, found ""')
        self._check_surrogates(position, value)

    def _check_surrogates(self, position: int, value: str) -> None:
        found = surrogate_in(value)
        if found:
            self._fail(position, f"expected a text, found the lone surrogate {found!a}")

    def _fail(self, position: int, message: str) -> NoReturn:
        shown = _pointed(self._text, position)
        raise ExpressionError(f"expression, character {position + 1}: {message}\n{shown}", position)


def _pointed(text: str, position: int) -> str:
    """The part of an expression around a place, and below it a caret under that character."""
    first, last = max(0, position - SHOWN), min(len(text), position + SHOWN)
    before = ("…" if first else "") + "".join(map(_printable, text[first:position]))
    after = "".join(map(_printable, text[position:last])) + ("…" if last < len(text) else "")
    return f"  {before}{after}\n  {' ' * sum(map(_columns, before))}^"


def _printable(character: str) -> str:
    return character if character.isprintable() else " " if character.isspace() else "\ufffd"


def _columns(character: str) -> int:
    """How many columns of a terminal a character takes."""
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
