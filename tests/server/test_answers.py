"""How a body becomes an answer: answers are the Python API's, refusals say what is wrong."""

import copy
import json
import pickle
from typing import get_args

import pytest
from pydantic import TypeAdapter
from service_cases import (
    CASES,
    MIXED,
    TEXT_CASES,
    Asking,
    build,
    check_problem,
    expected,
    plain,
)

import everygram
from conftest import write_jsonl
from everygram import DamagedIndexError, QueryError
from everygram.server import answering
from everygram.server.models.base import Results


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return build(tmp_path_factory.mktemp("answers"))


@pytest.fixture(scope="module")
def indexes(paths):
    with everygram.open(paths["corpus"]) as corpus, everygram.open(paths["ids"]) as ids:
        yield {"corpus": corpus, "ids": ids}


@pytest.fixture(scope="module")
def ask(paths):
    return Asking(paths)


def answered(reply):
    assert reply.status == 200, reply.content
    return reply.json()


@pytest.mark.parametrize(("index", "operation", "cases"), CASES)
def test_every_endpoint_answers_as_python_does(ask, indexes, index, operation, cases):
    version = indexes[index].version
    answers = [expected(call(indexes[index])) for _, call in cases]
    for (body, _), answer in zip(cases, answers, strict=True):
        found = answered(ask(operation, body, index))
        assert plain(found) == plain(answer), body
        assert found["index_version"] == version
    batch = answered(ask(operation, {"batch": [body for body, _ in cases]}, index))
    assert [plain(each) for each in batch.pop("results")] == [plain(each) for each in answers]
    assert batch == {"index_version": version}


@pytest.mark.parametrize(("index", "operation", "cases"), CASES)
def test_every_answer_has_the_form_that_is_described(ask, index, operation, cases):
    bodies = [body for body, _ in cases]
    for body in [*bodies, {"batch": bodies}]:
        check_form(operation, ask(operation, body, index).content)
        if "echo" in answering.OPERATIONS[operation].one.model_fields:
            found = answered(ask(operation, body | {"echo": False}, index))
            check_form(operation, json.dumps(found))


def check_form(operation, content):
    """An answer is exactly what one of the models says that the endpoint answers with."""
    (route,) = (
        route for router in answering.ROUTERS for route in router.routes if route.name == operation
    )
    said = json.loads(content)
    forms = get_args(route.response_model)
    fits = []
    for form in forms:
        if issubclass(form, Results) == ("results" in said):
            try:
                model = TypeAdapter(form).validate_json(content, strict=True, extra="forbid")
            except ValueError as error:
                fits.append(error)
            else:
                assert model.model_dump(mode="json", exclude_unset=True) == said
                return
    raise AssertionError(f"{content[:300]} has no form: {fits}")


ECHOING = [name for name in TEXT_CASES if "echo" in answering.OPERATIONS[name].one.model_fields]


@pytest.mark.parametrize("operation", ECHOING)
def test_echo_leaves_out_what_the_query_became(ask, operation):
    bodies = [body for body, _ in TEXT_CASES[operation]]
    whole = answered(ask(operation, {"batch": bodies}))["results"]
    without = [
        {name: value for name, value in each.items() if name not in ("token_ids", "tokens")}
        for each in whole
    ]
    assert all(len(a) == len(b) + 2 for a, b in zip(whole, without, strict=True))
    for body, answer in zip(bodies, without, strict=True):
        found = answered(ask(operation, body | {"echo": False}))
        del found["index_version"]
        assert found == answer
    assert answered(ask(operation, {"batch": bodies, "echo": False}))["results"] == without
    # Beside a batch it is said for all of it, in a query for that alone.
    some = [body | {"echo": place % 2 == 0} for place, body in enumerate(bodies)]
    mixed = [whole[place] if place % 2 == 0 else each for place, each in enumerate(without)]
    assert answered(ask(operation, {"batch": some}))["results"] == mixed
    assert answered(ask(operation, {"batch": some, "echo": True}))["results"] == mixed


@pytest.mark.parametrize("operation", MIXED)
def test_a_batch_answers_as_its_queries_do_alone(paths, tmp_path, monkeypatch, operation):
    monkeypatch.setattr("everygram.server.routes.ngrams.GROUP", 50)
    everygram.build(paths["corpus"].parent / "corpus.jsonl", tmp_path / "bpe", "train:300")
    ask = Asking({"bpe": tmp_path / "bpe"})
    alone = [answered(ask(operation, body, "bpe")) for body in MIXED[operation]]
    assert all("token_ids" in answer for answer in alone)
    for answer in alone:
        del answer["index_version"]
    # More than one thread takes at a time.
    batch = ask(operation, {"batch": MIXED[operation] * 100}, "bpe")
    assert answered(batch)["results"] == alone * 100


@pytest.mark.parametrize("operation", ["count", "prob", "ntd", "infgram_prob", "infgram_ntd"])
def test_a_batch_is_searched_together(paths, monkeypatch, operation):
    monkeypatch.setattr(everygram.Index, operation, None)
    ask = Asking({"corpus": paths["corpus"]})
    bodies = [body for body, _ in TEXT_CASES[operation]]
    assert len(answered(ask(operation, {"batch": bodies}))["results"]) == len(bodies)
    lines = b"".join(json.dumps(body).encode() + b"\n" for body in bodies)
    assert len(ask(operation, lines, lines=1).lines()) == len(bodies)


@pytest.mark.parametrize("operation", TEXT_CASES)
def test_an_empty_batch_has_no_results(ask, operation):
    assert answered(ask(operation, {"batch": []}))["results"] == []


def test_tokens_of_queries_are_counted(ask):
    assert ask("count", {"query": "natural"}).tokens == 7
    assert ask("count", {"batch": [{"query": [1, 2]}, {"query": "na"}]}).tokens == 4
    assert ask("count", {"batch": [{"query": [1, 2]}, {"query": [3]}], "echo": False}).tokens == 3
    assert ask("count", b'{"query": [1]}\n{"query": [-1]}\n{"query": [2, 3]}', lines=1).tokens == 4
    assert ask("attribute", {"text": "natural"}).tokens == 7
    assert ask("search", {"expression": [[[1, 2], "a"], [[3]]]}).tokens == 3


# Batches that are counted without a model for each query, and such as must not be.
BARE = [
    ({"batch": [{"query": [110, 97]}, {"query": []}], "echo": False}, True),
    ({"batch": [{"query": [110, 97]}, {"query": "na"}], "echo": False}, False),
    ({"batch": [{"query": [110]}, {"query": [110], "raw": True}], "echo": False}, False),
    ({"batch": [{"query": [110]}], "echo": True}, False),
    ({"batch": [{"query": [110]}]}, False),
    ({"batch": [], "echo": False}, False),
    ({"batch": [{"query": [True]}], "echo": False}, False),
    ({"batch": [{"query": [-1]}], "echo": False}, False),
    ({"batch": [{"query": [1.0]}], "echo": False}, False),
    ({"batch": [{"prompt": [1]}], "echo": False}, False),
    ({"batch": [["query"]], "echo": False}, False),
    ({"batch": {"query": [1]}, "echo": False}, False),
    ({"batch": [{"query": [1]}], "echo": False, "raw": True}, False),
    ({"batch": [{"query": [1]}], "echo": 0}, False),
]


@pytest.mark.parametrize(("body", "bare"), BARE)
def test_bare_ids_are_counted_as_others_are(ask, monkeypatch, body, bare):
    from everygram.server.routes import ngrams

    asked = answering.Asked("corpus", ask.served.get("corpus"), ask.settings)
    assert (ngrams.bare_counts(asked, body) is not None) == bare
    found = ask("count", body)
    monkeypatch.setattr(ngrams, "bare_counts", lambda *_: None)
    again = ask("count", body)
    assert (found.status, found.content, found.tokens) == (
        again.status,
        again.content,
        again.tokens,
    )


def test_an_unseen_prompt_has_no_probability(ask):
    answer = answered(ask("prob", {"query": "zzz", "continuation": "z"}))
    assert answer["prob"] is None and answer["prompt_count"] == 0
    assert answered(ask("infgram_prob", {"query": "zzz"}))["prob"] == 0


def test_metadata_keeps_its_json(ask):
    metadata = answered(ask("document", {"number": 1}))["metadata"]
    assert metadata == {"id": 1, "tags": ["a", None, 2**70]}


@pytest.mark.parametrize("depth", [1, 200, 254, 255, 256, 298])
def test_nested_metadata_is_passed_on_as_it_is(tmp_path, run, depth):
    nested = {"a": "[" * 600} if depth == 1 else "x"
    for level in range(depth):
        nested = [nested] if level % 2 else {"é": nested, "n": [1.10, -0.0, 2**70, None]}
    record = {"text": "nested", "m": nested}
    everygram.build(write_jsonl(tmp_path / "c.jsonl", [record]), tmp_path / "deep")
    ask = Asking({"deep": tmp_path / "deep"})
    answer = answered(ask("document", {"number": 0}, "deep"))
    assert answer["metadata"] == {"m": nested}
    batch = answered(ask("document", {"batch": [{"number": 0}, {"query": "nest"}]}, "deep"))
    assert [each["metadata"]["m"] for each in batch["results"]] == [nested, nested]
    code, out, _ = run("document", tmp_path / "deep", "--number", "0", "--json")
    assert code == 0
    assert json.loads(out) == plain(answer)
    code, out, _ = run("export", tmp_path / "deep")
    assert json.loads(out) == record
    assert run("document", tmp_path / "deep", "--number", "0")[0] == 0
    with everygram.open(tmp_path / "deep") as index:
        document = index.document(0)
        assert pickle.loads(pickle.dumps(document)) == document
        assert copy.deepcopy(document.metadata) == document.metadata
        assert document._repr_html_() and repr(document)
    assert everygram.delete(tmp_path / "deep", where=("n", "1"), dry_run=True).documents == ()


# Bodies whose form is wrong: operation, body, pointer to the fault, words of its description.
MALFORMED = [
    ("count", {}, "#/query", "required"),
    ("count", [], "#", "JSON object"),
    ("count", "language", "#", 'JSON object: a query, or {"batch": [queries]}, found "language"'),
    ("count", None, "#", "JSON object"),
    ("count", {"query": None}, "#/query", "string or a list of token ids, found null"),
    ("count", {"query": 7}, "#/query", "string or a list of token ids, found 7"),
    ("count", {"query": True}, "#/query", "found true"),
    ("count", {"query": {"a": 1}}, "#/query", "string or a list of token ids"),
    ("count", {"query": [True]}, "#/query/0", "integer, found true"),
    ("count", {"query": [1, 1.0]}, "#/query/1", "integer, found 1.0"),
    ("count", {"query": [1, "7", None]}, "#/query/1", 'integer, found "7"'),
    ("count", {"query": [[1]]}, "#/query/0", "integer"),
    ("count", {"query": ["x" * 99]}, "#/query/0", 'found "xxx'),
    ("count", {"query": "a", "raw": 1}, "#/raw", "boolean, found 1"),
    ("count", {"query": "a", "raw": None}, "#/raw", "boolean, found null"),
    (
        "count",
        {"query": "a", "limit": 1},
        "#/limit",
        "unknown field 'limit'; expected query, documents",
    ),
    ("count", {"query": "a", "a/b~ c": 1}, "#/a~1b~0%20c", "unknown field 'a/b~ c'"),
    ("count", {"query": "a", "batch": []}, "#/query", "give query or batch, not both"),
    ("count", {"color": 1, "batch": []}, "#/color", "unknown field 'color'; expected batch"),
    ("count", {"x": 1, "batch": []}, "#/x", "unknown field 'x'; expected batch, echo"),
    ("lm_prob", {"query": "a", "model": {"x": 1}}, "#/model/x", "'x'; expected a field of 'model'"),
    (
        "lm_prob",
        {"batch": [{"query": "a", "model": {"query": 1}}]},
        "#/batch/0/model/query",
        "'query'; expected a field of 'model'",
    ),
    (
        "count",
        {"batch": [{"prompt": "a"}]},
        "#/batch/0/prompt",
        "'prompt'; expected query, documents, raw",
    ),
    ("count", {"batch": [{"batch": []}]}, "#/batch/0/batch", "unknown field 'batch'; expected"),
    ("count", {"batch": {"query": "a"}}, "#/batch", "list"),
    ("count", {"batch": [{"query": "a"}, "b"]}, "#/batch/1", 'found "b"'),
    ("count", {"batch": [{"query": "a"}, {"query": [1, "b"]}]}, "#/batch/1/query/1", "integer"),
    ("prob", {"continuation": 1}, "#/query", "required"),
    ("prob", {"query": "a", "continuation": True}, "#/continuation", "token id, found true"),
    ("prob", {"query": "a", "continuation": [1]}, "#/continuation", "token id"),
    ("prob", {"query": "a", "continuation": 1.0}, "#/continuation", "token id, found 1.0"),
    ("ntd", {}, "#/prompt", "required"),
    ("ntd", {"query": "a"}, "#/query", "'query'; expected prompt, top, max_support, raw"),
    ("ntd", {"prompt": "a", "top": -1}, "#/top", "greater than or equal to 0, found -1"),
    ("infgram_ntd", {"prompt": "a", "top": "3"}, "#/top", 'found "3"'),
    ("ntd", {"prompt": "a", "max_support": 0}, "#/max_support", "or equal to 1, found 0"),
    ("infgram_ntd", {"prompt": "a", "max_support": 1.5}, "#/max_support", "found 1.5"),
    ("count", {"query": "a", "max_support": 1}, "#/max_support", "unknown field"),
    ("score", {}, "#/text", "required"),
    ("score", {"query": "a"}, "#/query", "unknown field 'query'; expected text, raw, echo, order"),
    ("score", {"text": None}, "#/text", "string or a list of token ids, found null"),
    ("score", {"text": "a", "order": 0}, "#/order", "or equal to 1, found 0"),
    ("score", {"batch": [{"text": "a", "order": "5"}]}, "#/batch/0/order", 'found "5"'),
    ("longest_matches", {"text": "a", "order": 2}, "#/order", "unknown field"),
    ("attribute", {}, "#/text", "required"),
    ("attribute", {"text": 7}, "#/text", "string or a list of token ids, found 7"),
    ("attribute", {"text": "a", "prompt": 7}, "#/prompt", "found 7"),
    ("attribute", {"text": "a", "min_length": 0}, "#/min_length", "equal to 1, found 0"),
    ("attribute", {"text": "a", "max_count": 0}, "#/max_count", "equal to 1, found 0"),
    ("attribute", {"text": "a", "density": -0.1}, "#/density", "equal to 0, found -0.1"),
    ("attribute", b'{"text": "a", "density": 1e999}', "#/density", "finite number"),
    ("attribute", {"text": "a", "density": "all"}, "#/density", 'found "all"'),
    ("attribute", {"text": "a", "rank_by": "count"}, "#/rank_by", "or 'length', found \"count\""),
    ("attribute", {"text": "a", "delimiters": "."}, "#/delimiters", "list"),
    ("attribute", {"text": "a", "delimiters": [".", ""]}, "#/delimiters/1", "at least 1"),
    ("attribute", {"text": "a", "delimiters": None}, "#/delimiters", "list"),
    ("attribute", {"text": "a", "whole_words": 1}, "#/whole_words", "boolean, found 1"),
    ("attribute", {"text": "a", "documents": -1}, "#/documents", "found -1"),
    ("attribute", {"text": "a", "context": 3}, "#/context", "list, found 3"),
    ("attribute", {"text": "a", "context": [1, 2]}, "#/context", "at least 3 items"),
    ("attribute", {"text": "a", "context": [1, 2, 3, 4]}, "#/context", "at most 3 items"),
    ("attribute", {"text": "a", "delimiters": ["a"] * 1001}, "#/delimiters", "at most 1000 items"),
    ("attribute", {"text": "a", "seed": 0.5}, "#/seed", "found 0.5"),
    ("attribute", {"batch": [{"text": "a"}, {"txt": "a"}]}, "#/batch/1/txt", "expected text, p"),
    ("longest_matches", {"text": [1, 2.0]}, "#/text/1", "integer, found 2.0"),
    ("novelty", {"text": "a", "max_n": 0}, "#/max_n", "or equal to 1, found 0"),
    ("novelty", {"text": "a", "max_n": 1001}, "#/max_n", "or equal to 1000, found 1001"),
    ("novelty", {"text": "a", "creativity_bounds": [5]}, "#/creativity_bounds", "2"),
    ("novelty", {"text": "a", "creativity_bounds": [5, 0]}, "#/creativity_bounds/1", "found 0"),
    ("find", {"query": "a", "limit": -1}, "#/limit", "found -1"),
    ("find", {"query": "a", "limit": None}, "#/limit", "found null"),
    ("find", {"query": "a", "offset": -1}, "#/offset", "found -1"),
    ("find", {"query": "a", "offset": 0.5}, "#/offset", "found 0.5"),
    ("find", {"query": "a", "seed": False}, "#/seed", "found false"),
    ("document", {"number": True}, "#/number", "found true"),
    ("document", {"number": "0"}, "#/number", 'found "0"'),
    ("document", {"query": "a", "occurrence": 1.5}, "#/occurrence", "found 1.5"),
    ("count", {"query": "a", "echo": 0}, "#/echo", "boolean, found 0"),
    ("count", {"batch": [], "echo": None}, "#/echo", "boolean, found null"),
    ("novelty", {"text": "a", "echo": False}, "#/echo", "unknown field 'echo'"),
    ("find", {"query": "a", "cursor": 3}, "#/cursor", "found 3"),
    ("search", {"expression": 3}, "#/expression", "string, or a list of clauses, found 3"),
    ("search", {"expression": [["a"], [[1, "b"]]]}, "#/expression/1/0/1", "integer"),
    ("document", {"number": 0, "context": -1}, "#/context", "found -1"),
]


@pytest.mark.parametrize(("operation", "body", "pointer", "words"), MALFORMED)
def test_a_malformed_body_is_pointed_at(ask, operation, body, pointer, words):
    problem = check_problem(ask(operation, body), 422, "bad-query")
    first = problem["errors"][0]
    assert first["pointer"] == pointer
    assert words in first["detail"] and len(first["detail"]) < 250
    assert problem["detail"].startswith(f"{pointer}: {first['detail']}")


def test_every_fault_of_a_body_is_listed(ask):
    body = {"query": 1, "limit": "x", "offset": -1, "color": "red"}
    problem = check_problem(ask("find", body), 422, "bad-query")
    pointers = [fault["pointer"] for fault in problem["errors"]]
    assert sorted(pointers) == ["#/color", "#/limit", "#/offset", "#/query"]
    assert problem["detail"].endswith("(and 3 more)")
    # … but of a long list only the first, or the answer would outgrow the question.
    problem = check_problem(ask("count", {"query": ["x"] * 1000}), 422, "bad-query")
    assert len(problem["errors"]) == 1
    for number, listed in ((100, 20), (100_000, 0)):
        body = {"query": 1} | {f"field {place}": 1 for place in range(number)}
        reply = ask("count", body)
        problem = check_problem(reply, 422, "bad-query")
        assert len(problem["errors"]) == listed and len(reply.content) < 10_000


# Bodies of the right form that have no answer: index, operation, body, words of the detail.
REFUSED = [
    ("corpus", "count", {"query": [-1]}, "query[0]: token id -1 is outside the vocabulary"),
    ("corpus", "count", {"query": [1, 2**70]}, f"query[1]: token id {2**70} is outside"),
    ("corpus", "count", {"query": [256]}, "expected 0 to 254, or the separator 255"),
    ("ids", "count", {"query": [501]}, "token id 501 is outside the vocabulary"),
    ("ids", "prob", {"query": [501, 1]}, "query[0]: token id 501 is outside"),
    ("ids", "prob", {"query": [1, 501]}, "query[1]: token id 501 is outside"),
    ("ids", "infgram_prob", {"query": [1, 501], "continuation": 1}, "query[1]: token id 501"),
    ("ids", "infgram_prob", {"query": [501], "continuation": 501}, "token id 501"),
    ("ids", "ntd", {"prompt": [501]}, "[0]: token id 501 is outside"),
    ("ids", "infgram_ntd", {"prompt": [1, 501]}, "[1]: token id 501 is outside"),
    ("ids", "count", {"query": "language"}, "index 'ids' has no tokenizer"),
    ("ids", "prob", {"query": [1], "continuation": "a"}, "index 'ids' has no tokenizer"),
    ("ids", "document", {"query": "a"}, "index 'ids' has no tokenizer"),
    ("corpus", "prob", {"query": ""}, "query is empty"),
    ("corpus", "infgram_prob", {"query": []}, "query is empty"),
    ("corpus", "prob", {"query": "a", "continuation": "bc"}, "one token, found 2"),
    ("corpus", "prob", {"query": "a", "continuation": ""}, "one token, found 0"),
    ("corpus", "prob", {"query": "a", "continuation": 256}, "token id 256 is outside"),
    ("corpus", "infgram_prob", {"query": "a", "continuation": -1}, "token id -1 is outside"),
    ("corpus", "ntd", {"prompt": [300]}, "token id 300 is outside"),
    ("corpus", "infgram_ntd", {"prompt": [300]}, "token id 300 is outside"),
    ("corpus", "score", {"text": [1, 300]}, "[1]: token id 300 is outside"),
    ("corpus", "score", {"text": [1, 300], "order": 2}, "[1]: token id 300 is outside"),
    ("corpus", "longest_matches", {"text": [-1]}, "[0]: token id -1 is outside"),
    ("corpus", "novelty", {"text": [300]}, "[0]: token id 300 is outside"),
    ("corpus", "novelty", {"text": "a", "creativity_bounds": [5, 4]}, "the lower one first, found"),
    ("ids", "score", {"text": "a"}, "index 'ids' has no tokenizer"),
    ("ids", "infgram_ntd", {"prompt": "a", "max_support": 2}, "index 'ids' has no tokenizer"),
    ("corpus", "attribute", {"text": [97, 300]}, "text[1]: token id 300 is outside"),
    ("ids", "attribute", {"text": "a"}, "index 'ids' has no tokenizer"),
    ("corpus", "find", {"query": [300]}, "token id 300 is outside"),
    ("corpus", "document", {"number": 5}, "document 5: the index has 0 to 4"),
    ("corpus", "document", {"number": -1}, "document -1"),
    ("corpus", "document", {"number": 2**70}, f"document {2**70}"),
    ("corpus", "document", {}, "a number or a query"),
    ("corpus", "document", {"number": 0, "query": "a"}, "a number or a query"),
    ("corpus", "document", {"query": "language", "occurrence": 5}, "occurs 5 times"),
    ("corpus", "document", {"query": "language", "occurrence": -1}, "occurrence: expected"),
    ("corpus", "document", {"query": "absent"}, "the query does not occur: "),
    ("corpus", "search", {"expression": "a AND"}, "expression, character 6: expected a term"),
]


@pytest.mark.parametrize(("index", "operation", "body", "words"), REFUSED)
def test_a_query_without_an_answer_is_refused(ask, index, operation, body, words):
    problem = check_problem(ask(operation, body, index), 422, "bad-query")
    assert words in problem["detail"]
    assert problem["errors"] == []

    good = {"number": 0} if operation == "document" else {next(iter(body)): [1]}
    if "prob" in operation:
        good = {"query": [1, 2]}
    if operation == "search":
        good = {"expression": [[[1]]]}
    batch = {"batch": [good, good, body, good]}
    in_batch = check_problem(ask(operation, batch, index), 422, "bad-query")
    assert in_batch["detail"] == f"#/batch/2: {problem['detail']}"
    lines = b"".join(json.dumps(each).encode() + b"\n" for each in batch["batch"])
    first, second, third, fourth = ask(operation, lines, index, lines=1).lines()
    assert third == {"line": 3, "problem": problem}
    assert first == second == fourth == ask(operation, good, index).json()


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (b'{"query": ', "bad-json", "not JSON: EOF while parsing a value at line 1 column 10"),
        (b'{"query": "the', "bad-json", "not JSON: EOF while parsing a string"),
        (b'{"query": "\n"}', "bad-json", "control character"),
        (b"{'query': 'a'}", "bad-json", "key must be a string"),
        (b"\xff{}", "bad-json", "not JSON"),
        (b'{"query": "\xff"}', "bad-json", "invalid unicode code point"),
        (b'{"query": "\\ud800"}', "bad-json", "hex escape"),
        (b"", "bad-json", "EOF"),
        (b'{"query": [NaN]}', "bad-json", "expected value at line 1 column 12"),
        (b'{"query": [' + b"9" * 5000 + b"]}", "bad-json", "out of range"),
        (b'{"query": 1} 2', "bad-json", "trailing characters"),
        (b'{"query": "a", "query": "b"}', "duplicate-key", "'query' stands twice"),
        (b'{"batch": [{"raw": true, "query": "a", "raw": false}]}', "duplicate-key", "'raw'"),
        (
            b'{"query": "a", "' + b"x" * 500 + b'": 1, "' + b"x" * 500 + b'": 1}',
            "duplicate-key",
            "",
        ),
        (b"[" * 100_000, "json-too-deep", "recursion limit"),
    ],
)
def test_a_body_that_is_not_json(ask, content, kind, words):
    problem = check_problem(ask("count", content), 400, kind)
    assert words in problem["detail"] and len(problem["detail"]) < 300


def test_an_index_or_a_query_that_is_not_there(ask):
    problem = check_problem(ask("count", {"query": "a"}, "nope"), 404, "not-found")
    assert problem["detail"] == "index 'nope' is not served here; expected one of 'corpus', 'ids'"
    problem = check_problem(ask("nope", {"query": "a"}), 404, "not-found")
    assert "no query 'nope'" in problem["detail"]


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (RuntimeError("secret"), 500, "internal"),
        (ZeroDivisionError("secret"), 500, "internal"),
        (DamagedIndexError("/secret/segment"), 503, "index-unavailable"),
        (FileNotFoundError("/secret/segment"), 503, "index-unavailable"),
    ],
)
def test_a_failure_gives_nothing_away_and_is_logged(
    paths, monkeypatch, caplog, error, status, kind
):
    def fail(*_, **__):
        raise error

    for name in ("count", "count_batch"):
        monkeypatch.setattr(everygram.Index, name, fail)
    ask = Asking({"corpus": paths["corpus"]})
    for body in ({"query": "a"}, {"batch": [{"query": "a"}]}):
        problem = check_problem(ask("count", body), status, kind)
        assert "secret" not in json.dumps(problem)
        assert "secret" in caplog.text and "Traceback" in caplog.text
        caplog.clear()
    (line,) = ask("count", b'{"query": "a"}', lines=7).lines()
    assert line["line"] == 7 and line["problem"]["status"] == status


def test_no_folder_is_shown(paths, tmp_path, monkeypatch):
    """Whatever message has it: of an index, of one in a union, of what lies in them."""
    settings = {"unions": {"all": {"of": ["corpus", "more"]}}}
    records = [{"text": "natural"}]
    everygram.build(write_jsonl(tmp_path / "c.jsonl", records), tmp_path / "a b" / "more", "bytes")
    ask = Asking({"corpus": paths["corpus"], "more": tmp_path / "a b" / "more"}, **settings)
    for folder, name in ((paths["corpus"], "corpus"), (tmp_path / "a b" / "more", "more")):
        for message, said in (
            (f"index '{folder}' has no tokenizer", f"index '{name}' has no tokenizer"),
            (f"cannot read '{folder}/segment-1/tokens.bin'", f"cannot read '{name}'"),
            (f"{folder}/tokenizer.json: not JSON", f"{name} not JSON"),
            (f"see '{folder.resolve()}'", f"see '{name}'"),
        ):

            def fail(*_, message=message, **__):
                raise QueryError(message)

            monkeypatch.setattr(everygram.Index, "count", fail)
            for index in ("corpus", "more", "all"):
                problem = check_problem(ask("count", {"query": "a"}, index), 422, "bad-query")
                assert problem["detail"] == said


LONG = "x" * 3000
LONG_VALUES = [
    ("count", {LONG: 1}),
    ("count", {"query": {LONG: LONG}}),
    ("count", {"query": [LONG]}),
    ("count", {"query": [10**3000]}),
    ("count", {"query": "a", "raw": LONG}),
    ("prob", {"query": "a", "continuation": LONG}),
    ("prob", {"query": "a", "continuation": "a b " * 700}),
    ("prob", {"query": "a", "continuation": "'" * 700}),
    ("prob", {"query": "a", "continuation": "'\"" * 700}),
    ("document", {"number": 10**3000}),
    ("document", {"text": LONG}),
    ("document", {"query": LONG}),
    ("search", {"expression": f"a AND {LONG}:{LONG} AND"}),
    ("search", {"expression": '"' + LONG}),
    ("search", {"expression": "a", "cursor": LONG}),
    ("search", {"expression": "a", "within": LONG}),
    ("find", {"query": "a", "cursor": LONG}),
    ("attribute", {"text": "a", "rank_by": LONG}),
]


@pytest.mark.parametrize(("operation", "body"), LONG_VALUES)
def test_long_values_are_cut(ask, operation, body):
    for asked in (body, {"batch": [body]}):
        problem = check_problem(ask(operation, asked), 422, "bad-query")
        said = [problem["detail"], *(text for each in problem["errors"] for text in each.values())]
        for text in said:
            assert len(text) < 1_000, text
            assert max(map(len, text.split(" "))) <= 210, text
