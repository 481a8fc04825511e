"""A query per line: an answer per line, whatever the others are; and what is answered at once."""

import json
import random

import pytest
from service_cases import CASES, Asking, build, check_problem, expected, plain

import everygram
from everygram.server import answering
from everygram.server.calls import Call
from everygram.server.problems import Refusal


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return build(tmp_path_factory.mktemp("lines"))


@pytest.fixture(scope="module")
def ask(paths):
    return Asking(paths)


def lines_of(bodies):
    return b"".join(
        (each if isinstance(each, bytes) else json.dumps(each).encode()) + b"\n" for each in bodies
    )


@pytest.mark.parametrize(("index", "operation", "cases"), CASES)
def test_a_line_answers_as_a_query_does(ask, paths, index, operation, cases):
    reply = ask(operation, lines_of([body for body, _ in cases]), index, lines=1)
    assert reply.status == 200 and reply.headers["content-type"] == "application/x-ndjson"
    assert reply.content.count(b"\n") == len(cases)
    alone = [ask(operation, body, index).json() for body, _ in cases]
    assert reply.lines() == alone
    with everygram.open(paths[index]) as opened:
        assert [plain(each) for each in alone] == [
            plain(expected(call(opened))) for _, call in cases
        ]


# Lines that are refused, and words of why.
WRONG = [
    (b"{", "bad-json", "EOF"),
    (b"\xff", "bad-json", "not JSON"),
    ({"query": [-1]}, "bad-query", "token id -1"),
    ({"batch": [{"query": "a"}]}, "bad-query", "unknown field 'batch'"),
    (b'{"query": "a", "query": "a"}', "duplicate-key", "twice"),
    (b"[" * 40 + b"]" * 40, "json-too-deep", "32 levels"),
    (3, "bad-query", "JSON object"),
    ({}, "bad-query", "#/query"),
]


@pytest.mark.parametrize("size", [20, 21, 22, 2_000])
def test_a_line_has_as_many_bytes_as_a_body(paths, size):
    ask = Asking(paths, max_body_bytes=21)
    line = b'{"query": "a"' + b" " * (size - 14) + b"}"
    short, answered, last = ask("count", b"{}\n" + line + b"\n{}", lines=5).lines()
    assert (short["line"], last["line"]) == (5, 7)
    if size <= 21:
        assert answered == ask("count", line).json()
    else:
        assert answered["line"] == 6 and answered["problem"]["type"].endswith("body-too-large")
        assert "at most 21 bytes" in answered["problem"]["detail"]


@pytest.mark.parametrize("operation", ["count", "find"])
@pytest.mark.parametrize("seed", range(8))
def test_a_line_that_is_refused_spoils_no_other(ask, operation, seed):
    draw = random.Random(seed)
    good = [{"query": query} for query in ("a", "na", [110, 97], "absent", "")]
    drawn = [
        draw.choice(WRONG) if draw.random() < 0.3 else (draw.choice(good), None, None)
        for _ in range(40)
    ]
    blank = [draw.choice([b"", b"  ", b"\r"]) for _ in range(5)]
    mixed = [*drawn, *((each, "", "") for each in blank)]
    draw.shuffle(mixed)
    reply = ask(operation, lines_of([body for body, _, _ in mixed]), lines=100)
    found = iter(reply.lines())
    for number, (body, kind, words) in enumerate(mixed, 100):
        if kind == "":
            continue
        line = next(found)
        if kind is None:
            assert line == ask(operation, body).json()
        else:
            assert line.keys() == {"line", "problem"} and line["line"] == number
            assert line["problem"]["type"].endswith(kind)
            assert words in line["problem"]["detail"]
            alone = ask(operation, body)
            # (Alone, it might have been a batch.)
            if body != 3 and "batch" not in str(body):
                assert line["problem"] == alone.json()
    assert next(found, None) is None


def test_lines_without_an_end_and_without_any(ask):
    assert ask("count", b'{"query": "a"}\r\n{"query": "a"}', lines=1).content.count(b"\n") == 2
    for nothing in (b"", b"\n", b" \n\r\n"):
        reply = ask("count", nothing, lines=1)
        assert (reply.status, reply.content) == (200, b"")


def test_lines_of_an_index_that_is_not_there(ask):
    check_problem(ask("count", b'{"query": "a"}', "nope", lines=1), 404, "not-found")


def test_lines_that_are_refused_together():
    call = Call("count", "corpus", b'{"query": "a"}\n\n{"query": "b"}\n', 7)
    written = answering.refused_lines(call, Refusal("overloaded", "wait"))
    lines = [json.loads(line) for line in written.splitlines()]
    assert [line["line"] for line in lines] == [7, 9]
    assert all(line["problem"]["status"] == 503 for line in lines)


AT_ONCE = [
    ("count", {"query": "a"}, True),
    ("count", {"query": "documents and batch"}, True),
    ("count", {"query": [-1]}, True),
    ("count", {"query": "a", "documents": True}, False),
    ("count", {"query": "a", "documents": False}, True),
    ("count", {"batch": [{"query": "a"}]}, False),
    ("count", b'{"\\u0062atch": [{"query": "a"}]}', False),
    ("prob", {"query": "ab"}, True),
    ("infgram_prob", {"query": "ab"}, True),
    ("ntd", {"prompt": "a"}, True),
    ("ntd", {"prompt": "a", "top": 100}, True),
    ("ntd", {"prompt": "a", "top": 101}, False),
    ("infgram_ntd", {"prompt": "a", "top": None}, False),
]


@pytest.mark.parametrize(("operation", "body", "short"), AT_ONCE)
def test_what_is_short_is_answered_at_once(ask, operation, body, short):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    call = Call(operation, "corpus", content)
    assert answering.quick(call)
    found = answering.answer_at_once(call, ask.served, ask.settings)
    assert found == (answering.answer(call, ask.served, ask.settings) if short else None)


def test_frequent_prompts_are_not_answered_at_once(ask, monkeypatch):
    monkeypatch.setattr("everygram.server.routes.ngrams.FEW", 5)
    for body, short in (
        ({"prompt": "language"}, True),  # occurs 5 times
        ({"prompt": "absent language"}, True),
        ({"prompt": "a"}, False),
        ({"prompt": "a", "max_support": 5}, True),
        ({"prompt": "a", "max_support": 6}, False),
    ):
        for operation in ("ntd", "infgram_ntd"):
            call = Call(operation, "corpus", json.dumps(body).encode())
            found = answering.answer_at_once(call, ask.served, ask.settings)
            assert (found is not None) == short, body


def test_what_is_not_quick():
    body = b'{"query": "a"}'
    assert answering.quick(Call("count", "", body))
    assert answering.quick(Call("count", "", body + b" " * (answering.SHORT_BODY - len(body))))
    assert not answering.quick(Call("count", "", body + b" " * answering.SHORT_BODY))
    assert not answering.quick(Call("count", "", body, 1))
    assert answering.quick(Call("infini-gram", "", body))
    for operation in ("find", "search", "document", "score", "olmotrace", "nope"):
        assert not answering.quick(Call(operation, "", body))


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b'{"index": "corpus", "query_type": "count"}', "corpus"),
        (b'{"query": {"index": "inner"}}', ""),
        (b'{"index": 3}', ""),
        (b'["index"]', ""),
        (b'{"index": "a", "index": "b"}', ""),
        (b"{", ""),
        (b"", ""),
    ],
)
def test_the_index_that_a_body_names(body, name):
    assert answering.index_in(body) == name
