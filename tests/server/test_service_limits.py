"""Each limit of the service, from both sides: what is just allowed, and what is one more."""

import json
import time

import pytest
from service_cases import TEXT_CASES, Asking, build, check_problem

from everygram.server import limits
from everygram.server.models.base import Limited
from everygram.server.problems import KINDS, SHOWN, Refusal, shown


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return build(tmp_path_factory.mktemp("limits"))


def nested(depth):
    """A body that is so many levels deep, the fault in whose form is found only after that."""
    return b'{"x": ' + (b"[" * (depth - 1) + b"]" * (depth - 1) or b"1") + b"}"


# Setting, its value, operation, what is allowed, what is not, kind of the problem, its pointer.
LIMITS = [
    ("max_batch", 2, "count", {"batch": [{"query": "a"}] * 2}, {"batch": [{"query": "a"}] * 3}),
    ("max_query_tokens", 3, "count", {"query": [1, 2, 3]}, {"query": [1, 2, 3, 4]}),
    ("max_query_tokens", 3, "count", {"query": "abc"}, {"query": "abcd"}),
    ("max_query_tokens", 3, "prob", {"query": [1, 2, 3]}, {"query": [1, 2, 3, 4]}),
    ("max_query_tokens", 3, "infgram_prob", {"query": "abc"}, {"query": "abcd"}),
    ("max_query_tokens", 3, "ntd", {"prompt": "abc"}, {"prompt": "abcd"}),
    ("max_query_tokens", 3, "infgram_ntd", {"prompt": [1, 2, 3]}, {"prompt": [1] * 4}),
    ("max_query_tokens", 3, "score", {"text": "abc"}, {"text": "abcd"}),
    ("max_query_tokens", 3, "longest_matches", {"text": "abc"}, {"text": "abcd"}),
    ("max_query_tokens", 3, "novelty", {"text": "abc"}, {"text": "abcd"}),
    ("max_query_tokens", 3, "attribute", {"text": "abc"}, {"text": "abcd"}),
    ("max_query_tokens", 3, "find", {"query": "nat"}, {"query": "natu"}),
    ("max_query_tokens", 3, "document", {"query": "nat"}, {"query": "natu"}),
    (
        "max_query_tokens",
        3,
        "search",
        {"expression": [[[97], [98]], [[99]]]},
        {"expression": [[[97], [98]], [[99, 100]]]},
    ),
    ("max_text_characters", 3, "count_text", {"text": "日本語"}, {"text": "natu"}),
    ("max_text_characters", 3, "find_text", {"text": "nat"}, {"text": "natu"}),
    ("max_text_characters", 3, "tokenizations", {"text": "nat"}, {"text": "natu"}),
    ("max_text_characters", 3, "document", {"text": "nat"}, {"text": "natu"}),
    ("max_text_characters", 3, "search", {"expression": "nat"}, {"expression": "natu"}),
    (
        "max_text_characters",
        3,
        "search",
        {"expression": [["ab"], ["c"]]},
        {"expression": [["ab"], ["cd"]]},
    ),
    (
        "max_text_characters",
        1,
        "prob",
        {"query": "a", "continuation": "b"},
        {"query": "a", "continuation": "bb"},
    ),
    (
        "max_text_characters",
        1,
        "encode",
        {"query": "a", "continuation": "b"},
        {"query": "a", "continuation": "bb"},
    ),
    (
        "max_text_characters",
        1,
        "lm_prob",
        {"query": "a", "continuation": "b", "model": {"smoothing": "infgram"}},
        {"query": "a", "continuation": "bb", "model": {"smoothing": "infgram"}},
    ),
    ("max_top", 3, "ntd", {"prompt": "a", "top": 3}, {"prompt": "a", "top": 4}),
    ("max_top", 3, "infgram_ntd", {"prompt": "a", "top": 3}, {"prompt": "a", "top": 2**70}),
    ("max_top", 3, "ntd", {"prompt": "langu", "top": None}, {"prompt": "", "top": None}),
    ("max_occurrences", 3, "find", {"query": "a", "limit": 3}, {"query": "a", "limit": 4}),
    (
        "max_occurrences",
        3,
        "find",
        {"query": "a", "sample": 3, "limit": 3},
        {"query": "a", "sample": 4, "limit": 3},
    ),
    ("max_occurrences", 3, "find_text", {"text": "a", "limit": 3}, {"text": "a", "limit": 4}),
    (
        "max_occurrences",
        3,
        "find_text",
        {"text": "a", "sample": 3, "limit": 3},
        {"text": "a", "sample": 4, "limit": 3},
    ),
    ("max_occurrences", 3, "tokenizations", {"text": "a", "limit": 3}, {"text": "a", "limit": 4}),
    (
        "max_documents",
        3,
        "search",
        {"expression": "a", "limit": 3},
        {"expression": "a", "limit": 4},
    ),
    (
        "max_documents",
        3,
        "search",
        {"expression": "a", "sample": 3, "limit": 3},
        {"expression": "a", "sample": 4, "limit": 3},
    ),
    ("max_documents", 3, "attribute", {"text": "a", "documents": 3}, {"text": "a", "documents": 4}),
    ("max_context", 3, "find", {"query": "a", "context": 3}, {"query": "a", "context": 4}),
    ("max_context", 3, "find_text", {"text": "a", "context": 3}, {"text": "a", "context": 4}),
    (
        "max_context",
        3,
        "search",
        {"expression": "a", "context": 3},
        {"expression": "a", "context": 4},
    ),
    (
        "max_context",
        3,
        "attribute",
        {"text": "a", "context": [3, 3, 3]},
        {"text": "a", "context": [3, 3, 4]},
    ),
]
OF_SETTING = {
    "max_batch": "batch-too-long",
    "max_query_tokens": "query-too-long",
    "max_text_characters": "text-too-long",
    "max_top": "too-many-results",
    "max_occurrences": "too-many-results",
    "max_documents": "too-many-results",
    "max_context": "too-many-results",
}


@pytest.mark.parametrize(("setting", "most", "operation", "allowed", "refused"), LIMITS)
def test_a_limit_from_both_sides(paths, setting, most, operation, allowed, refused):
    ask = Asking(paths, **{setting: most})
    kind = OF_SETTING[setting]
    assert ask(operation, allowed).status == 200, ask(operation, allowed).content
    problem = check_problem(ask(operation, refused), 422, kind)
    (fault,) = problem["errors"]
    assert f"at most {most}" in fault["detail"]
    assert problem["detail"] == f"{fault['pointer']}: {fault['detail']}"
    # The value at the pointer is the one that is too much.
    value = refused
    for step in fault["pointer"][2:].split("/"):
        value = value[int(step) if isinstance(value, list) else step]
    if "batch" in refused:
        return
    in_batch = check_problem(ask(operation, {"batch": [allowed, refused]}), 422, kind)
    assert in_batch["detail"] == f"#/batch/1{problem['detail'][1:]}"
    assert in_batch["errors"] == [
        {"pointer": f"#/batch/1{fault['pointer'][1:]}", "detail": fault["detail"]}
    ]
    lines = b"\n".join(json.dumps(each).encode() for each in (refused, allowed))
    first, second = ask(operation, lines, lines=1).lines()
    assert first == {"line": 1, "problem": problem}
    assert second == ask(operation, allowed).json()


def test_every_limit_of_the_models_is_tried(paths):
    from everygram.server.answering import OPERATIONS

    tried = {(setting, operation) for setting, _, operation, _, _ in LIMITS}
    declared = {
        (mark.setting, name)
        for name in TEXT_CASES
        for field in OPERATIONS[name].one.model_fields.values()
        for mark in field.metadata
        if isinstance(mark, Limited)
    }
    # (`infgram_prob` has the fields of `prob`.)
    assert declared - tried == {("max_text_characters", "infgram_prob")}


@pytest.mark.parametrize("operation", ["prob", "infgram_prob", "lm_prob", "encode"])
def test_a_continuation_may_be_any_token_id(paths, operation):
    ask = Asking(paths, max_text_characters=3)
    model = {"model": {"smoothing": "infgram"}} if operation == "lm_prob" else {}
    for token in (4, 500, 65535):
        body = {"query": [1], "continuation": token, **model}
        assert ask(operation, body, "ids").status == 200
        assert ask(operation, {"batch": [body]}, "ids").status == 200
        (line,) = ask(operation, json.dumps(body).encode(), "ids", lines=1).lines()
        assert "problem" not in line


def test_defaults_are_lowered_to_limits(paths):
    ask = Asking(paths, max_occurrences=2, max_documents=2, max_top=2, max_context=1)
    for operation, body, limited in (
        ("find", {"query": "a"}, {"limit": 2}),
        ("find_text", {"text": "a"}, {"limit": 2}),
        ("tokenizations", {"text": "a"}, {"limit": 2}),
        ("ntd", {"prompt": "a"}, {"top": 2}),
        ("search", {"expression": "text:a"}, {"limit": 2, "context": 1}),
        ("attribute", {"text": "a language"}, {"documents": 2, "context": [1, 1, 1]}),
    ):
        reply = ask(operation, body)
        assert reply.status == 200
        assert reply.content == ask(operation, body | limited).content
        assert reply.content != Asking(paths)(operation, body).content or operation != "ntd"


def test_a_text_that_cannot_be_short_enough_is_not_encoded(paths, monkeypatch):
    ask = Asking(paths, max_query_tokens=3)
    long = "a" * (3 * limits.TOKEN_CHARACTERS + 1)
    monkeypatch.setattr("everygram.Index.encode", None)
    problem = check_problem(ask("count", {"query": long}), 422, "query-too-long")
    assert "at most 3 tokens, found a text of 769 characters" in problem["detail"]


@pytest.mark.parametrize("most", [1, 2, 3, 7, 32, 33])
def test_depth_from_both_sides(paths, most):
    ask = Asking(paths, max_json_depth=most)
    check_problem(ask("count", nested(most)), 422, "bad-query")
    problem = check_problem(ask("count", nested(most + 1)), 400, "json-too-deep")
    assert f"at most {most} levels" in problem["detail"]


def test_brackets_in_strings_are_no_levels(paths):
    ask = Asking(paths, max_json_depth=3)
    for text in ("[[[[[[[[", "]]]]", "{[}]", '["[', "\\" * 5 + '"[[[[[['):
        assert ask("count", {"query": text}).status == 200
        assert ask("count", {"batch": [{"query": text}] * 40}).status == 200
        body = {"batch": [{"query": [1]}, {"query": text, "x": [[1]]}]}
        check_problem(ask("count", body), 400, "json-too-deep")


def test_the_depth_of_large_bodies_is_seen_fast():
    body = b"[" + b"[[],{}]," * 300_000 + b"1]"
    value = json.loads(body)
    start = time.perf_counter()
    limits.check_depth(body, value, 3)
    assert time.perf_counter() - start < 20
    with pytest.raises(Refusal):
        limits.check_depth(body, value, 2)


def test_answers_that_are_too_large(paths):
    plenty = Asking(paths)
    for operation, body in (
        ("find", {"query": "a", "context": 5}),
        ("count", {"batch": [{"query": "na"}] * 5}),
        ("count", {"batch": [{"query": [110]}] * 5, "echo": False}),
        ("ntd", {"batch": [{"prompt": ""}] * 5}),
        ("document", {"batch": [{"number": 0}] * 5}),
    ):
        size = len(plenty(operation, body).content)
        assert Asking(paths, max_answer_bytes=size)(operation, body).status == 200
        ask = Asking(paths, max_answer_bytes=size - 1)
        problem = check_problem(ask(operation, body), 422, "answer-too-large")
        assert f"more than {size - 1:,} bytes" in problem["detail"]


def test_work_ends_once_an_answer_is_too_large(paths, monkeypatch):
    import everygram

    asked = []
    document = everygram.Index.document

    def counted(self, *given, **options):
        asked.append(given)
        return document(self, *given, **options)

    monkeypatch.setattr(everygram.Index, "document", counted)
    ask = Asking(paths, max_answer_bytes=2_000)
    check_problem(ask("document", {"batch": [{"number": 0}] * 1_000}), 422, "answer-too-large")
    assert 1 < len(asked) < 30


def test_lines_whose_answers_are_too_large_together(paths):
    body = {"query": "na", "echo": False}
    one = len(Asking(paths)("count", body).content)
    ask = Asking(paths, max_answer_bytes=2 * one + 1)
    lines = (json.dumps(body) + "\n").encode() * 3
    first, second, third = ask("count", lines, lines=1).lines()
    assert first == second and third["line"] == 3
    assert third["problem"]["type"].endswith("answer-too-large")


def test_passages_are_limited_together(paths):
    ask = Asking(paths, max_answer_bytes=400)
    assert ask("find", {"query": "absent", "limit": 10, "context": 10}).status == 200
    for operation, body in (
        ("find", {"query": "absent", "limit": 10, "context": 11}),
        ("find", {"query": "absent", "limit": 0, "sample": 11, "context": 10}),
        ("find_text", {"text": "absent", "limit": 11, "context": 10}),
        ("search", {"expression": "absent", "limit": 11, "context": 10}),
    ):
        problem = check_problem(ask(operation, body), 422, "too-many-results")
        assert problem["errors"][0]["pointer"] == "#/context"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_a_problem(kind):
    refusal = Refusal(kind, "why", headers=[("retry-after", "1")])
    assert refusal.status == KINDS[kind][0] and refusal.title


@pytest.mark.parametrize(
    "text",
    [
        "x" * 1000,
        "found '" + "x y " * 300 + "'; expected less",
        'found "' + "x y " * 300 + '"; expected less',
        "found ['a', '" + "x " * 400 + "'] here",
        "words " * 1000,
    ],
)
def test_what_is_shown_is_short(text):
    assert len(shown(text)) <= 2_001
    assert max(map(len, shown(text).split("  "))) <= 2_001
    short = "'" + "x" * (SHOWN - 2) + "' and more words than that, " * 5
    assert shown(short) == short
