"""The nodes of search expressions: terms, and operators over them. `str` gives the expression."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from everygram.arguments import short
from everygram.search.pattern import JOINERS, WORD_CATEGORIES

Kind = Literal["words", "text", "tokens", "ids"]
KINDS = ("text", "tokens", "ids")
ESCAPES = {'"': '"', "\\": "\\", "n": "\n", "r": "\r", "t": "\t"}
ESCAPED = {value: f"\\{name}" for name, value in ESCAPES.items()}

NAME = re.compile(r"[^\W\d][\w.-]*(?=:)")
BARE = re.compile(r'[^\s()"]+')
NEAR = re.compile(r"(NEAR|BEFORE)(?:/(.*))?", re.DOTALL)
OPERATORS = ("AND", "OR", "NOT")


@dataclass(frozen=True)
class Term:
    """What is looked for: a text, or for kind "ids" a tuple of token ids."""

    kind: Kind
    value: str | tuple[int, ...]

    def __str__(self) -> str:
        if isinstance(self.value, tuple):
            return "ids:" + ",".join(map(str, self.value))
        if self.kind != "words":
            return f"{self.kind}:{quoted(self.value)}"
        return self.value if _is_bare_word(self.value) else quoted(self.value)


@dataclass(frozen=True)
class Where:
    """The documents whose metadata has this value in a field (`a.b` for b inside a).

    value: a string as it is, or the JSON of any other value, as `everygram.delete` takes it.
    """

    field: str
    value: str

    def __str__(self) -> str:
        name = NAME.match(f"{self.field}:")
        bare = name is not None and name.end() == len(self.field) and self.field not in KINDS
        plain = BARE.fullmatch(self.value) and not self.value.startswith("//")
        value = self.value if plain else quoted(self.value)
        return f"{self.field if bare else quoted(self.field)}:{value}"


@dataclass(frozen=True)
class And:
    """All of them. An And among the children is replaced by its own."""

    children: "tuple[Node, ...]"

    def __post_init__(self) -> None:
        object.__setattr__(self, "children", tuple(_flat(And, self.children)))

    def __str__(self) -> str:
        return " AND ".join(_inside(child, (Or,)) for child in self.children)


@dataclass(frozen=True)
class Or:
    """Any of them. An Or among the children is replaced by its own."""

    children: "tuple[Node, ...]"

    def __post_init__(self) -> None:
        object.__setattr__(self, "children", tuple(_flat(Or, self.children)))

    def __str__(self) -> str:
        return " OR ".join(map(str, self.children))


@dataclass(frozen=True)
class Not:
    """Whatever has it not."""

    child: "Node"

    def __str__(self) -> str:
        return f"NOT {_inside(self.child, (And, Or, Near))}"


@dataclass(frozen=True)
class Near:
    """Two that have at most `distance` tokens between them; if `ordered`, the left one first.

    left, right: terms, Or of such, or Near.
    """

    left: "Node"
    right: "Node"
    distance: int
    ordered: bool

    def __str__(self) -> str:
        operator = "BEFORE" if self.ordered else "NEAR"
        left, right = _inside(self.left, (Or,)), _inside(self.right, (Or, Near))
        return f"{left} {operator}/{self.distance} {right}"


Node = Term | Where | And | Or | Not | Near


def _flat(kind: type[And | Or], children: "Sequence[Node]") -> "Iterator[Node]":
    for child in children:
        if isinstance(child, And | Or) and isinstance(child, kind):
            yield from child.children
        else:
            yield child


def _inside(node: Node, weaker: tuple[type, ...]) -> str:
    """A node as an operand: in parentheses if its operator is one of those."""
    return f"({node})" if isinstance(node, weaker) else str(node)


def quoted(text: str) -> str:
    return '"' + "".join(ESCAPED.get(character, character) for character in text) + '"'


def _is_bare_word(text: str) -> bool:
    operator = text in OPERATORS or NEAR.fullmatch(text)
    return bool(BARE.fullmatch(text)) and not operator and not NAME.match(text)


def has_word(text: str) -> bool:
    """Whether any character of a text is one of words."""
    return any(
        unicodedata.category(character).startswith(WORD_CATEGORIES) or character in JOINERS
        for character in text
    )


def surrogate_in(text: str) -> str:
    """The first lone surrogate of a text, which no document and no answer can have; "" if none."""
    return next((each for each in text if "\ud800" <= each <= "\udfff"), "")


def children_of(node: Node) -> "tuple[Node, ...]":
    """The operands of a node, in order."""
    if isinstance(node, And | Or):
        return node.children
    if isinstance(node, Near):
        return node.left, node.right
    return (node.child,) if isinstance(node, Not) else ()


def terms_of(node: Node) -> list[Term]:
    """The terms of a node that are not under NOT, from left to right."""
    if isinstance(node, Term):
        return [node]
    if isinstance(node, Not):
        return []
    return [term for child in children_of(node) for term in terms_of(child)]


def every_term(node: Node) -> list[Term]:
    """All terms of a node, from left to right."""
    if isinstance(node, Term):
        return [node]
    return [term for child in children_of(node) for term in every_term(child)]


def of_documents(node: Node) -> bool:
    """Whether a node is about documents alone: fields, and operators over them."""
    if isinstance(node, Term | Near):
        return False
    return isinstance(node, Where) or all(map(of_documents, children_of(node)))


def misplaced(node: Node) -> Node | None:
    """What in an operand of NEAR or BEFORE may not stand there."""
    stack = [node]
    while stack:
        node = stack.pop()
        if isinstance(node, And | Not | Where):
            return node
        if isinstance(node, Or):
            stack += reversed(node.children)
    return None


def nears_inside(node: Node) -> int:
    """How many Near of an operand of NEAR or BEFORE are inside one another."""
    deepest, stack = 0, [(node, 0)]
    while stack:
        node, depth = stack.pop()
        depth += isinstance(node, Near)
        deepest = max(deepest, depth)
        stack += [(child, depth) for child in children_of(node)]
    return deepest


def what_is(node: Node) -> str:
    """A node in the words of a message."""
    if isinstance(node, Where):
        return f"the field {short(node.field)}"
    return {And: "AND", Or: "OR", Not: "NOT", Near: "NEAR", Term: "a term"}[type(node)]
