"""Search expressions: what parses to what, and what errors say, and where."""

import contextlib
import pickle
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everygram.errors import ExpressionError, QueryError
from everygram.search.expression import MAX_DEPTH, MAX_LENGTH, MAX_TERMS, from_cnf, parse
from everygram.search.nodes import And, Near, Not, Or, Term, Where, has_word


def word(text):
    return Term("words", text)


A, B, C, D = map(word, "abcd")


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("a", A),
        ("don't", word("don't")),
        ("12:30", word("12:30")),
        ("and", word("and")),
        ('"AND"', word("AND")),
        ('"york city"', word("york city")),
        (r'"a \"b\" \\ \n\t\r"', word('a "b" \\ \n\t\r')),
        ('text:"ontrib"', Term("text", "ontrib")),
        ("text:ontrib", Term("text", "ontrib")),
        ('text:"!"', Term("text", "!")),
        ('tokens:" the"', Term("tokens", " the")),
        ("ids:1,2,3", Term("ids", (1, 2, 3))),
        ('ids:"1, 2"', Term("ids", (1, 2))),
        ("source:wikipedia", Where("source", "wikipedia")),
        ('a.b:"x y"', Where("a.b", "x y")),
        ('"my field":x', Where("my field", "x")),
        ('"text":x', Where("text", "x")),
        ('source:""', Where("source", "")),
        ("url:http://a.b/c?d=1", Where("url", "http://a.b/c?d=1")),
        ("größe:3", Where("größe", "3")),
        ("a AND b AND c", And((A, B, C))),
        ("a AND (b AND c)", And((A, B, C))),
        ("a OR (b OR c)", Or((A, B, C))),
        ("a OR b AND c", Or((A, And((B, C))))),
        ("(a OR b) AND c", And((Or((A, B)), C))),
        ("NOT a AND b", And((Not(A), B))),
        ("NOT (a AND b)", Not(And((A, B)))),
        ("NOT NOT a", Not(Not(A))),
        ("a NEAR/3 b", Near(A, B, 3, False)),
        ("a BEFORE/0 b", Near(A, B, 0, True)),
        ("a AND b NEAR/3 c OR d", Or((And((A, Near(B, C, 3, False))), D))),
        ("a NEAR/1 b NEAR/2 c", Near(Near(A, B, 1, False), C, 2, False)),
        ("a NEAR/1 (b BEFORE/2 c)", Near(A, Near(B, C, 2, True), 1, False)),
        ("(a OR b) NEAR/1 c", Near(Or((A, B)), C, 1, False)),
        ("NOT (a NEAR/1 b)", Not(Near(A, B, 1, False))),
        (" \n( a )\t", A),
        ("日本 AND 東京", And((word("日本"), word("東京")))),
    ],
)
def test_what_parses_to_what(text, node):
    assert parse(text) == node
    assert parse(str(node)) == node


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("", 0, "expected a term, NOT or '(', found the end"),
        ("   ", 3, "found the end"),
        ("new york", 4, "found 'york'; for both, write AND between them; for a phrase, put \"qu"),
        ("a (b)", 2, "expected AND, OR, NEAR/k or BEFORE/k, found '('"),
        ("a NOT b", 2, "found 'NOT'; for both, write AND between them"),
        ("(a) b", 4, "found 'b'"),
        ('"a"b', 3, "found 'b'"),
        ("a AND", 5, "expected a term, NOT or '(', found the end"),
        ("AND a", 0, "found 'AND'; an operator in quotes is a word: \"AND\""),
        ("a AND OR b", 6, "found 'OR'"),
        ("a AND )", 6, "found ')'"),
        ("a)", 1, "expected the end, found ')', which no '(' opens"),
        ("(a", 2, "expected an operator, or ')' for the '(' at character 1, found the end"),
        ("()", 1, "expected a term, NOT or '(', found ')'"),
        ('a AND "b', 6, "expected another quote that closes this one, found the end"),
        (r'"a\q"', 2, r"expected \" \\ \n \r or \t, found '\q'"),
        ('"a\\', 2, "found the end"),
        ('""', 0, "at least one character"),
        ('text:""', 5, "at least one character"),
        ("tokens:", 7, "expected a value right after tokens:"),
        ("source:", 7, 'expected a value right after source:, like a or "a b", found the end'),
        ("source: x", 7, "found ' '"),
        ("source:(a OR b)", 7, "found '('"),
        ('"":x', 0, "expected the name of a field"),
        ("http://a.org/b", 0, "found an address: for a text put quotes around all of it, for a va"),
        ("a and b", 2, "found 'and'; operators are upper case: AND"),
        ("a not b", 2, "operators are upper case: NOT"),
        ("a near/5 b", 2, "operators are upper case: NEAR/5"),
        ("--", 0, 'no letter or number in "--"; for characters as they are write text:"--"'),
        ('a AND "?!"', 6, "expected a word"),
        ("a NEAR b", 2, "expected NEAR/k with the number of tokens between, like NEAR/5, found 'N"),
        ("a NEAR/ b", 2, "found 'NEAR/'"),
        ("a BEFORE/-1 b", 2, "expected BEFORE/k"),
        ("a NEAR/x b", 2, "found 'NEAR/x'"),
        ("a NEAR/1 NOT b", 9, "expected terms, or OR of terms, on both sides of NEAR/1, found NOT"),
        ("NOT a NEAR/1 b", 0, "for what is not near, write NOT (… NEAR/1 …)"),
        ("(a AND b) NEAR/1 c", 0, "found AND"),
        ("c NEAR/1 (a OR (b AND d))", 9, "found AND"),
        ("a NEAR/1 source:x", 9, "found the field 'source'"),
        ("ids:", 4, "expected a value right after ids:"),
        ("ids:1,", 4, "expected token ids like ids:1,2,3, found '1,'"),
        ("ids:a", 4, "found 'a'"),
        ("ids:1, 2", 4, "found '1,'"),
        ("ids:99999999999999999999999", 4, "too large"),
        ("ids:" + "9" * 5000, 4, "too large"),
        ("text:\ud800", 5, "lone surrogate"),
        ("a AND n:\ud800", 8, "lone surrogate"),
        ('a AND "\ud800":1', 6, "lone surrogate"),
        ("(" * 100_000, MAX_DEPTH, f"at most {MAX_DEPTH} deep"),
        ("NOT " * 5000 + "a", 4 * MAX_DEPTH, f"at most {MAX_DEPTH} deep"),
        (" NEAR/1 ".join("a" * 60), 2 + 9 * MAX_DEPTH, f"at most {MAX_DEPTH} deep"),
        (" OR ".join("a" * (MAX_TERMS + 1)), 5 * MAX_TERMS, f"at most {MAX_TERMS:,} terms"),
        ("a" * (MAX_LENGTH + 1), MAX_LENGTH, f"at most {MAX_LENGTH:,} characters"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_errors_point_at_the_character(text, position, says):
    with pytest.raises(ExpressionError) as raised:
        parse(text)
    assert raised.value.position == position
    message, shown, caret = str(raised.value).split("\n")
    assert message.startswith(f"expression, character {position + 1}: ")
    assert says in message
    assert caret.strip() == "^"
    assert len(shown) < 80
    if position < len(text):
        assert shown[caret.index("^")] == (text[position] if text[position].isprintable() else "�")
    assert len(message) < 200
    assert isinstance(raised.value, QueryError)


def test_an_error_travels_between_processes():
    with pytest.raises(ExpressionError) as raised:
        parse("a AND")
    came = pickle.loads(pickle.dumps(raised.value))
    assert (type(came), str(came), came.position) == (ExpressionError, str(raised.value), 5)


def test_the_caret_stands_below_wide_characters():
    with pytest.raises(ExpressionError) as raised:
        parse("日本 AND e\u0301 x")
    assert str(raised.value).endswith("\n  日本 AND e\u0301 x\n  " + " " * 11 + "^")


@pytest.mark.parametrize("value", [None, 3, b"a", ["a"]])
def test_what_is_no_expression(value):
    with pytest.raises(QueryError, match=r"^expression: expected a string"):
        parse(value)


PIECES = [
    "a", "b c", " ", "(", ")", '"', "\\", "AND", "OR", "NOT", "NEAR/2", "BEFORE/1", "NEAR", "text:",
    "ids:", "1,2", "tokens:", "x:", ":", "\n", "é", "日", "\u0301", "\ud800", "AND ", " OR ", '"q"',
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text())
def test_any_text_parses_or_says_why(text):
    with contextlib.suppress(ExpressionError):
        node = parse(text)
        assert parse(str(node)) == node
        return
    with pytest.raises(ExpressionError) as raised:
        parse(text)
    assert 0 <= raised.value.position <= len(text)


VALUES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
TERMS = st.one_of(
    st.builds(Term, st.just("words"), VALUES.filter(has_word)),
    st.builds(Term, st.sampled_from(["text", "tokens"]), VALUES),
    st.builds(Term, st.just("ids"), st.lists(st.integers(0, 1 << 62), min_size=1).map(tuple)),
)
OPERANDS = st.recursive(
    TERMS,
    lambda inner: (
        st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple))
        | st.builds(Near, inner, inner, st.integers(0, 99), st.booleans())
    ),
    max_leaves=4,
)
NODES = st.recursive(
    OPERANDS | st.builds(Where, VALUES, st.text(st.characters(exclude_categories=["Cs"]))),
    lambda inner: (
        st.builds(Or, st.tuples(inner, inner, inner))
        | st.builds(And, st.tuples(inner, inner))
        | st.builds(Not, inner)
    ),
    max_leaves=8,
)


@given(NODES)
def test_every_node_prints_what_parses_to_it(node):
    assert parse(str(node)) == node


def test_no_expression_takes_long():
    rng = random.Random(3)
    for text in (
        " AND ".join(["(a OR b)"] * 400),
        "(" * 40 + " OR ".join(["a NEAR/1 b"] * 400) + ")" * 40,
        '"' + "\\\\" * 40_000 + 'a"',
        "".join(rng.choices("ab() \"'", k=MAX_LENGTH)),
        " ".join(["NEAR/1"] * 10_000),
    ):
        with contextlib.suppress(ExpressionError):
            parse(text)


def test_cnf():
    assert from_cnf([[[1, 2], [3]], [[4]]]) == And(
        (Or((Term("ids", (1, 2)), Term("ids", (3,)))), Term("ids", (4,)))
    )
    assert from_cnf([["the"]]) == Term("tokens", "the")
    assert from_cnf((("a", "b"),)) == Or((Term("tokens", "a"), Term("tokens", "b")))


@pytest.mark.parametrize(
    ("cnf", "says"),
    [
        (None, "cnf: expected a list of clauses, found None"),
        ("a", "cnf: expected a list of clauses, found 'a'"),
        ([], "cnf: expected a list of clauses, found an empty one"),
        (["ab"], r"cnf\[0\]: expected a list of terms, found 'ab'"),
        ([[]], r"cnf\[0\]: expected a list of terms, found an empty one"),
        ([[3]], r"cnf\[0\]\[0\]: expected a list of token ids, or a text, found 3"),
        ([[[1]], [[2], [3, -1]]], r"cnf\[1\]\[1\]\[1\]: expected a token id, found -1"),
        ([[[True]]], r"cnf\[0\]\[0\]\[0\]: expected a token id, found True"),
        ([[[1.0]]], r"expected a token id, found 1.0"),
        ([[[]]], r"cnf\[0\]\[0\]: expected a list of token ids, or a text, found an empty one"),
        ([[""]], r"cnf\[0\]\[0\]: expected a text of at least one character"),
        ([["a\ud800"]], r"cnf\[0\]\[0\]: expected a text, found the lone surrogate"),
        ([[[1]] * (MAX_TERMS + 1)], "cnf: expected at most 1,000 terms"),
    ],
)
def test_what_is_no_cnf(cnf, says):
    with pytest.raises(QueryError, match=f"^{says}" if says.startswith("cnf") else says):
        from_cnf(cnf)
