"""Pages of `find`, `find_text` and `search`: all of it once, and nothing of another state."""

import base64
import json
import shutil

import pytest
from service_cases import Asking, build, check_problem

import everygram
from conftest import write_jsonl

PAGED = [
    ("find", {"query": "a"}, "occurrences"),
    ("find", {"query": [97], "context": 2, "echo": False}, "occurrences"),
    ("find_text", {"text": "a", "ignore_case": True}, "occurrences"),
    ("search", {"expression": "text:a"}, "hits"),
    ("search", {"expression": "text:a", "order": "matches"}, "hits"),
]


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return build(tmp_path_factory.mktemp("cursors"))


@pytest.fixture(scope="module")
def ask(paths):
    return Asking(paths)


def sent(reply):
    assert reply.status == 200, reply.content
    return reply.json()


@pytest.mark.parametrize(("operation", "body", "listed"), PAGED)
@pytest.mark.parametrize("limit", [1, 2, 1_000])
def test_pages_are_all_of_it(ask, operation, body, listed, limit):
    whole = sent(ask(operation, body | {"limit": 1_000}))
    assert whole["cursor"] is None and len(whole[listed]) > 2
    found, cursor = [], None
    while True:
        page = sent(ask(operation, body | {"limit": limit, "cursor": cursor}))
        found += page[listed]
        cursor = page["cursor"]
        if cursor is None:
            break
        assert len(page[listed]) == limit
    assert found == whole[listed]


@pytest.mark.parametrize(("operation", "body", "listed"), PAGED)
def test_a_page_may_have_another_limit_and_context(ask, operation, body, listed):
    whole = sent(ask(operation, body | {"limit": 1_000, "context": 1}))[listed]
    cursor = sent(ask(operation, body | {"limit": 1}))["cursor"]
    rest = sent(ask(operation, body | {"limit": 1_000, "cursor": cursor, "context": 1}))[listed]
    assert rest == whole[1:]


@pytest.mark.parametrize(("operation", "body", "listed"), PAGED)
def test_no_page_follows_a_sample_or_nothing(ask, operation, body, listed):
    assert sent(ask(operation, body | {"sample": 1}))["cursor"] is None
    assert sent(ask(operation, body | {"limit": 0}))["cursor"] is None


@pytest.mark.parametrize("operation", ["find", "find_text"])
def test_the_page_after_an_offset(ask, operation):
    body = {"query": "a"} if operation == "find" else {"text": "a"}
    whole = sent(ask(operation, body | {"limit": 1_000}))["occurrences"]
    cursor = sent(ask(operation, body | {"offset": 2, "limit": 1}))["cursor"]
    assert sent(ask(operation, body | {"cursor": cursor, "limit": 1}))["occurrences"] == whole[3:4]
    beyond = sent(ask(operation, body | {"offset": 2**70}))
    assert beyond["occurrences"] == [] and beyond["cursor"] is None


@pytest.mark.parametrize(("operation", "body", "listed"), PAGED)
def test_a_cursor_is_good_for_one_question(ask, operation, body, listed):
    cursor = sent(ask(operation, body | {"limit": 1}))["cursor"]
    first = next(iter(body))
    for other, words in (
        ({first: "natural"}, "another"),
        ({"sample": 2}, "cursor: goes with"),
    ):
        problem = check_problem(ask(operation, body | {"cursor": cursor} | other), 422, "bad-query")
        assert words in problem["detail"]
    # … also where the question only looks the same.
    if operation == "find":
        again = ask("find", body | {"cursor": cursor, "raw": True})
        assert "another question" in check_problem(again, 422, "bad-query")["detail"]
        twice = ask("find", body | {"cursor": cursor, "offset": 1})
        assert "not with offset" in check_problem(twice, 422, "bad-query")["detail"]
        wrong = ask("find_text", {"text": "a", "cursor": cursor})
        assert "another question" in check_problem(wrong, 422, "bad-query")["detail"]


@pytest.mark.parametrize("operation", ["find", "find_text", "search"])
@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"3",
        b"[]",
        b"[1, 2, 3]",
        b'["a", "b"]',
        b'["a", "b", -1]',
        b'["a", "b", true]',
        b"\xff",
    ],
)
def test_what_is_no_cursor(ask, operation, said):
    body = {"find": {"query": "a"}, "find_text": {"text": "a"}, "search": {"expression": "a"}}
    cursor = base64.urlsafe_b64encode(said).decode().rstrip("=")
    for wrong in (cursor, "é", "a b", "=" * 7):
        reply = ask(operation, body[operation] | {"cursor": wrong})
        assert reply.status in (409, 422)
        if said != b'["a", "b", -1]':
            problem = check_problem(reply, 422, "bad-query")
            assert "expected that of an earlier answer" in problem["detail"]


@pytest.mark.parametrize(("operation", "body", "listed"), PAGED)
def test_a_cursor_ends_with_the_state_of_the_index(paths, tmp_path, operation, body, listed):
    path = shutil.copytree(paths["corpus"], tmp_path / "corpus")
    ask = Asking({"corpus": path, "other": paths["corpus"]})
    before = sent(ask(operation, body | {"limit": 1}))
    everygram.add(path, write_jsonl(tmp_path / "more.jsonl", [{"text": "a lot"}]))
    # What is served goes on being as it was, until it is looked at.
    assert ask(operation, body | {"limit": 1, "cursor": before["cursor"]}).status == 200
    ask.served.look()
    problem = check_problem(
        ask(operation, body | {"limit": 1, "cursor": before["cursor"]}), 409, "cursor-expired"
    )
    assert "the index has changed" in problem["detail"]
    after = sent(ask(operation, body | {"limit": 1}))
    assert after["index_version"] != before["index_version"]
    batch = ask(operation, {"batch": [body, body | {"cursor": before["cursor"]}]})
    assert check_problem(batch, 409, "cursor-expired")["detail"].startswith("#/batch/1: cursor: ")
    (line,) = ask(
        operation, json.dumps(body | {"cursor": before["cursor"]}).encode(), lines=1
    ).lines()
    assert line["problem"]["status"] == 409


def test_the_version_is_that_of_the_state_that_answered(paths, tmp_path):
    path = shutil.copytree(paths["corpus"], tmp_path / "corpus")
    ask = Asking({"corpus": path})
    versions = set()
    for _ in range(3):
        with everygram.open(path) as index:
            found = sent(ask("count", {"query": "a"}))
            assert (found["count"], found["index_version"]) == (index.count("a"), index.version)
            versions.add(index.version)
        everygram.add(path, write_jsonl(tmp_path / "more.jsonl", [{"text": "a lot"}]))
        ask.served.look()
    assert len(versions) == 3
