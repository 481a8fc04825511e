"""The REST service: its answers are the Python API's, its errors all have one shape."""

import copy
import json
import pickle
import re
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import httpx2
import numpy as np
import pytest
from fastapi.testclient import TestClient

import everygram
from conftest import write_jsonl
from everygram import DamagedIndexError, FormatError, QueryError
from everygram.server.app import create_app
from everygram.server.models.documents import MAX_OCCURRENCES
from everygram.storage import directory

TEXTS = [
    "natural language processing",
    "natural language",
    "",
    "the natural sciences — 日本語 and languages",
    "language models process language",
]
DOCUMENTS = [[1, 2, 3], [1, 2, 4, 1, 2, 3], [], [500, 1, 2]]
PROBLEM_KEYS = {"type", "title", "status", "detail", "errors"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two indexes: `corpus`, of text, and `ids`, which has no tokenizer."""
    folder = tmp_path_factory.mktemp("server")
    records = [{"text": text, "id": i, "tags": ["a", None, 2**70]} for i, text in enumerate(TEXTS)]
    everygram.build(write_jsonl(folder / "corpus.jsonl", records), folder / "corpus", "bytes")
    stream = [token for document in DOCUMENTS for token in [0, *document]]
    np.array(stream, "<u2").tofile(folder / "ids.bin")
    everygram.build(
        folder / "ids.bin",
        folder / "ids",
        pretokenized="u16",
        separator_id=0,
        vocab_size=501,
    )
    return folder


@pytest.fixture(scope="module")
def indexes(folder):
    with everygram.open(folder / "corpus") as corpus, everygram.open(folder / "ids") as ids:
        yield {"corpus": corpus, "ids": ids}


@pytest.fixture(scope="module")
def client(folder):
    app = create_app([folder / "corpus", folder / "ids"])
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def ask(client, operation, body, index="corpus"):
    # Not the client's own encoder: it has no lone surrogates, and sends nothing for null.
    return send(client, json.dumps(body), operation=operation, index=index)


def send(client, content, content_type="application/json", operation="count", index="corpus"):
    headers = {"content-type": content_type} if content_type else {}
    url = f"/v1/indexes/{index}/{operation}"
    return client.post(url, content=content, headers=headers)


def check_problem(response, status):
    """The problem that a response is, checked for what every problem must have."""
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem.keys() == PROBLEM_KEYS
    assert response.status_code == problem["status"] == status
    assert problem["type"] == "about:blank"
    assert problem["title"] and problem["detail"]
    assert all(fault.keys() == {"pointer", "detail"} for fault in problem["errors"])
    assert "server0" not in response.text, "the problem shows where the index lies"
    return problem


# Each body, and the call of the Python API that answers the same.
def text_count(index, text, **rules):
    found = index.find_text(text, limit=0, **rules).as_dict()
    del found["occurrences"]
    return found


TEXT_CASES = {
    "count": [
        ({"query": "language"}, lambda i: i.count("language")),
        ({"query": [110, 97]}, lambda i: i.count([110, 97])),
        ({"query": ""}, lambda i: i.count("")),
        ({"query": []}, lambda i: i.count([])),
        ({"query": "日本", "raw": True}, lambda i: i.count("日本", raw=True)),
        ({"query": [255, 110]}, lambda i: i.count([255, 110])),
        ({"query": "the", "documents": True}, lambda i: i.document_count("the")),
        ({"query": [], "documents": True}, lambda i: i.document_count([])),
        ({"query": "absent"}, lambda i: i.count("absent")),
    ],
    "prob": [
        ({"query": "nat"}, lambda i: i.prob("nat")),
        ({"query": "na", "continuation": "t"}, lambda i: i.prob("na", "t")),
        ({"query": "na", "continuation": 116}, lambda i: i.prob("na", 116)),
        ({"query": [110, 97], "continuation": "m"}, lambda i: i.prob([110, 97], "m")),
        ({"query": "language", "continuation": 255}, lambda i: i.prob("language", 255)),
        ({"query": "", "continuation": "n"}, lambda i: i.prob("", "n")),
        ({"query": "absent", "continuation": None}, lambda i: i.prob("absent")),
    ],
    "infgram_prob": [
        ({"query": "a language"}, lambda i: i.infgram_prob("a language")),
        ({"query": "xxna", "continuation": "t"}, lambda i: i.infgram_prob("xxna", "t")),
        ({"query": [1, 2, 97], "continuation": 110}, lambda i: i.infgram_prob([1, 2, 97], 110)),
    ],
    "ntd": [
        ({"prompt": "language"}, lambda i: i.ntd("language").as_dict(10)),
        ({"prompt": ""}, lambda i: i.ntd("").as_dict(10)),
        ({"prompt": "", "top": None}, lambda i: i.ntd("").as_dict(None)),
        ({"prompt": "", "top": 0}, lambda i: i.ntd("").as_dict(0)),
        ({"prompt": "", "top": 2**70}, lambda i: i.ntd("").as_dict()),
        ({"prompt": [97], "top": 2, "raw": True}, lambda i: i.ntd([97]).as_dict(2)),
        ({"prompt": "absent"}, lambda i: i.ntd("absent").as_dict(10)),
        ({"prompt": "a", "max_support": 3}, lambda i: i.ntd("a", max_support=3).as_dict(10)),
        ({"prompt": "a", "max_support": 2**70}, lambda i: i.ntd("a").as_dict(10)),
        ({"prompt": "a", "max_support": None, "top": 1}, lambda i: i.ntd("a").as_dict(1)),
    ],
    "infgram_ntd": [
        ({"prompt": "my language"}, lambda i: i.infgram_ntd("my language").as_dict(10)),
        ({"prompt": [1, 97], "top": 1}, lambda i: i.infgram_ntd([1, 97]).as_dict(1)),
        (
            {"prompt": [1, 97], "max_support": 2},
            lambda i: i.infgram_ntd([1, 97], max_support=2).as_dict(10),
        ),
    ],
    "score": [
        ({"text": "my language"}, lambda i: i.score("my language")),
        ({"text": "my language", "order": 3}, lambda i: i.score("my language", order=3)),
        ({"text": [97, 255, 110], "order": 1}, lambda i: i.score([97, 255, 110], order=1)),
        (
            {"text": "a", "order": 2**70, "raw": True},
            lambda i: i.score("a", order=2**70, raw=True),
        ),
        ({"text": "", "order": None}, lambda i: i.score("")),
    ],
    "longest_matches": [
        ({"text": "my language"}, lambda i: i.longest_matches("my language")),
        ({"text": [97, 255, 110]}, lambda i: i.longest_matches([97, 255, 110])),
        ({"text": "日本", "raw": True}, lambda i: i.longest_matches("日本", raw=True)),
        ({"text": ""}, lambda i: i.longest_matches("")),
    ],
    "attribute": [
        ({"text": "my natural language"}, lambda i: i.attribute("my natural language")),
        ({"text": [97, 255, 110], "raw": True}, lambda i: i.attribute([97, 255, 110])),
        ({"text": ""}, lambda i: i.attribute("")),
        (
            {"text": "a natural language", "prompt": "日本語 sciences", "density": None},
            lambda i: i.attribute("a natural language", prompt="日本語 sciences", density=None),
        ),
        (
            {"text": "models process", "min_length": 2, "max_count": 1, "density": 1},
            lambda i: i.attribute("models process", min_length=2, max_count=1, density=1),
        ),
        (
            {
                "text": "natural, language",
                "rank_by": "length",
                "delimiters": [","],
                "whole_words": False,
                "max_count": None,
                "documents": 1,
                "context": [3, 2, 0],
                "seed": 7,
            },
            lambda i: i.attribute(
                "natural, language",
                rank_by="length",
                delimiters=[","],
                whole_words=False,
                max_count=None,
                documents=1,
                context=(3, 2, 0),
                seed=7,
            ),
        ),
        ({"text": "a", "delimiters": []}, lambda i: i.attribute("a", delimiters=[])),
    ],
    "novelty": [
        ({"text": "my language"}, lambda i: i.novelty("my language")),
        ({"text": [97, 255, 110], "max_n": 1000}, lambda i: i.novelty([97, 255, 110], max_n=1000)),
        (
            {"text": "日本", "raw": True, "creativity_bounds": [2, 2]},
            lambda i: i.novelty("日本", raw=True, creativity_bounds=(2, 2)),
        ),
        ({"text": "", "max_n": 1}, lambda i: i.novelty("", max_n=1)),
    ],
    "find": [
        ({"query": "language"}, lambda i: i.find("language")),
        ({"query": [97], "limit": 3}, lambda i: i.find("a", limit=3)),
        ({"query": "a", "offset": 2, "limit": 4}, lambda i: i.find("a", offset=2, limit=4)),
        ({"query": "a", "offset": 2**70}, lambda i: i.find("a", limit=0)),
        ({"query": "a", "sample": 3, "seed": 5}, lambda i: i.find("a", sample=3, seed=5)),
        ({"query": "a", "limit": MAX_OCCURRENCES}, lambda i: i.find("a", limit=10**9)),
        ({"query": [255]}, lambda i: i.find([255])),
        ({"query": "absent"}, lambda i: i.find("absent")),
        ({"query": "a", "context": 3}, lambda i: i.find("a", context=3)),
    ],
    "count_text": [
        ({"text": "language"}, lambda i: text_count(i, "language")),
        ({"text": "LANG", "ignore_case": True}, lambda i: text_count(i, "LANG", ignore_case=True)),
        ({"text": "a", "whole_words": True}, lambda i: text_count(i, "a", whole_words=True)),
        ({"text": "日"}, lambda i: text_count(i, "日")),
    ],
    "tokenizations": [
        ({"text": "language"}, lambda i: i.tokenizations("language")),
        (
            {"text": "A", "limit": 1, "ignore_case": True, "whole_words": True},
            lambda i: i.tokenizations("A", limit=1, ignore_case=True, whole_words=True),
        ),
    ],
    "find_text": [
        ({"text": "language"}, lambda i: i.find_text("language")),
        ({"text": "a", "offset": 2, "limit": 3}, lambda i: i.find_text("a", offset=2, limit=3)),
        ({"text": "a", "sample": 2, "seed": 1}, lambda i: i.find_text("a", sample=2, seed=1)),
        (
            {"text": "A", "context": 2, "ignore_case": True, "whole_words": True},
            lambda i: i.find_text("A", context=2, ignore_case=True, whole_words=True),
        ),
    ],
    "document": [
        ({"number": 0}, lambda i: i.document(0)),
        ({"number": 2}, lambda i: i.document(2)),
        ({"number": 3, "context": 5}, lambda i: i.document(3, context=5)),
        ({"query": "language"}, lambda i: i.document(query="language")),
        (
            {"query": [97], "occurrence": 3, "context": 4},
            lambda i: i.document(query="a", occurrence=3, context=4),
        ),
        (
            {"text": "LANG", "occurrence": 1, "context": 4, "ignore_case": True},
            lambda i: i.document(text="LANG", occurrence=1, context=4, ignore_case=True),
        ),
    ],
    "search": [
        ({"expression": "language AND NOT zebra"}, lambda i: i.search("language AND NOT zebra")),
        (
            {"expression": "text:a", "order": "bm25", "k1": 1, "b": 0.5, "limit": 1, "context": 2},
            lambda i: i.search("text:a", order="bm25", k1=1, b=0.5, limit=1, context=2),
        ),
        (
            {"expression": [["a"], [[97], [110]]], "within": 9, "sample": 2, "seed": 3},
            lambda i: i.search([["a"], [[97], [110]]], within=9, sample=2, seed=3),
        ),
        (
            {"expression": "text:a", "max_clause_freq": 1, "cursor": None},
            lambda i: i.search("text:a", max_clause_freq=1),
        ),
    ],
}
ID_CASES = {
    "count": [
        ({"query": [1, 2]}, lambda i: i.count([1, 2])),
        ({"query": [65535, 500]}, lambda i: i.count([65535, 500])),
    ],
    "prob": [
        ({"query": [1, 2, 3]}, lambda i: i.prob([1, 2, 3])),
        ({"query": [3, 3], "continuation": 1}, lambda i: i.prob([3, 3], 1)),
    ],
    "infgram_prob": [({"query": [7, 1, 2, 3]}, lambda i: i.infgram_prob([7, 1, 2, 3]))],
    "ntd": [({"prompt": [1, 2]}, lambda i: i.ntd([1, 2]))],
    "infgram_ntd": [({"prompt": [7, 1, 2]}, lambda i: i.infgram_ntd([7, 1, 2]))],
    "score": [({"text": [7, 1, 2], "order": 2}, lambda i: i.score([7, 1, 2], order=2))],
    "attribute": [({"text": [7, 1, 2]}, lambda i: i.attribute([7, 1, 2]))],
    "longest_matches": [({"text": [7, 1, 2]}, lambda i: i.longest_matches([7, 1, 2]))],
    "novelty": [({"text": [7, 1, 2]}, lambda i: i.novelty([7, 1, 2]))],
    "find": [({"query": [1, 2]}, lambda i: i.find([1, 2]))],
    "document": [
        ({"number": 1}, lambda i: i.document(1)),
        ({"query": [500]}, lambda i: i.document(query=[500])),
    ],
}
CASES = [
    (index, operation, cases)
    for index, operations in (("corpus", TEXT_CASES), ("ids", ID_CASES))
    for operation, cases in operations.items()
]


def expected(answer):
    """What a result is on the wire: its `as_dict()` after a round trip through strict JSON."""
    values = answer if isinstance(answer, dict) else answer.as_dict()
    return json.loads(json.dumps(values, allow_nan=False))


@pytest.mark.parametrize(("index", "operation", "cases"), CASES)
def test_every_endpoint_answers_as_python_does(client, indexes, index, operation, cases):
    answers = [expected(call(indexes[index])) for _, call in cases]
    for (body, _), answer in zip(cases, answers, strict=True):
        response = ask(client, operation, body, index)
        assert (response.status_code, response.json()) == (200, answer), body
        assert response.headers["content-type"] == "application/json"
    batch = ask(client, operation, {"batch": [body for body, _ in cases]}, index)
    assert (batch.status_code, batch.json()) == (200, {"results": answers})


# What may differ between the queries of a batch.
MIXED = {
    "count": [
        {"query": "language"},
        {"query": "language", "raw": True},
        {"query": [108, 97]},
        {"query": ""},
    ],
    "prob": [
        {"query": "natural language"},
        {"query": "natural language", "raw": True},
        {"query": "natural", "continuation": "language"},
        {"query": "natural", "continuation": "l", "raw": True},
        {"query": "natural", "continuation": 108},
        {"query": [108, 97], "continuation": 110},
        {"query": [108]},
        {"query": "absent", "continuation": 299},
    ],
    "ntd": [
        {"prompt": "natural"},
        {"prompt": "natural", "raw": True, "top": 1},
        {"prompt": "", "top": None, "max_support": 2},
        {"prompt": [97], "max_support": 2},
        {"prompt": [97], "max_support": 3, "top": 0},
        {"prompt": [97]},
        {"prompt": "absent"},
    ],
    "score": [{"text": "a language"}, {"text": "a language", "order": 2}, {"text": [97]}],
    "longest_matches": [{"text": "a language"}, {"text": "a language", "raw": True}],
}
MIXED["infgram_prob"] = MIXED["prob"]
MIXED["infgram_ntd"] = MIXED["ntd"]


@pytest.mark.parametrize("operation", MIXED)
def test_a_batch_answers_as_its_queries_do_alone(folder, tmp_path, monkeypatch, operation):
    monkeypatch.setattr("everygram.server.routes.ngrams.GROUP", 50)
    everygram.build(folder / "corpus.jsonl", tmp_path / "bpe", "train:300")
    client = TestClient(create_app([tmp_path / "bpe"]))
    alone = [ask(client, operation, body, "bpe").json() for body in MIXED[operation]]
    assert all("token_ids" in answer for answer in alone)
    # More than one thread takes at a time.
    batch = ask(client, operation, {"batch": MIXED[operation] * 100}, "bpe")
    assert batch.json() == {"results": alone * 100}


@pytest.mark.parametrize("operation", ["count", "prob", "ntd", "infgram_prob", "infgram_ntd"])
def test_a_batch_is_searched_together(folder, monkeypatch, operation):
    monkeypatch.setattr(everygram.Index, operation, None)
    client = TestClient(create_app([folder / "corpus"]))
    bodies = [body for body, _ in TEXT_CASES[operation]]
    results = ask(client, operation, {"batch": bodies}).json()["results"]
    assert len(results) == len(bodies)


@pytest.mark.parametrize("operation", TEXT_CASES)
def test_an_empty_batch_has_no_results(client, operation):
    assert ask(client, operation, {"batch": []}).json() == {"results": []}


def test_an_unseen_prompt_has_no_probability(client):
    answer = ask(client, "prob", {"query": "zzz", "continuation": "z"}).json()
    assert answer["prob"] is None and answer["prompt_count"] == 0
    assert ask(client, "infgram_prob", {"query": "zzz"}).json()["prob"] == 0


def test_metadata_keeps_its_json(client):
    metadata = ask(client, "document", {"number": 1}).json()["metadata"]
    assert metadata == {"id": 1, "tags": ["a", None, 2**70]}


@pytest.mark.parametrize("depth", [1, 200, 254, 255, 256, 298])
def test_nested_metadata_is_passed_on_as_it_is(tmp_path, run, depth):
    nested = {"a": "[" * 600} if depth == 1 else "x"
    for level in range(depth):
        nested = [nested] if level % 2 else {"é": nested, "n": [1.10, -0.0, 2**70, None]}
    record = {"text": "nested", "m": nested}
    everygram.build(write_jsonl(tmp_path / "c.jsonl", [record]), tmp_path / "deep")
    client = TestClient(create_app([tmp_path / "deep"]))
    answer = ask(client, "document", {"number": 0}, "deep")
    assert answer.status_code == 200
    assert answer.json()["metadata"] == {"m": nested}
    batch = ask(client, "document", {"batch": [{"number": 0}, {"query": "nest"}]}, "deep")
    assert [each["metadata"]["m"] for each in batch.json()["results"]] == [nested, nested]
    code, out, _ = run("document", tmp_path / "deep", "--number", "0", "--json")
    assert code == 0
    assert json.loads(out) == answer.json()
    code, out, _ = run("export", tmp_path / "deep")
    assert json.loads(out) == record
    assert run("document", tmp_path / "deep", "--number", "0")[0] == 0
    with everygram.open(tmp_path / "deep") as index:
        document = index.document(0)
        assert pickle.loads(pickle.dumps(document)) == document
        assert copy.deepcopy(document.metadata) == document.metadata
        assert document._repr_html_() and repr(document)
    assert everygram.delete(tmp_path / "deep", where=("n", "1"), dry_run=True).documents == ()


def test_indexes_are_described(client, indexes):
    described = []
    for name, index in indexes.items():
        info = index.info() | {"name": name}
        del info["path"]
        assert client.get(f"/v1/indexes/{name}").json() == info
        described.append(info)
    assert client.get("/v1/indexes").json() == {"indexes": described}
    assert len(described[0]) == 15


def test_health(client):
    assert client.get("/health").json() == {"status": "ok", "version": version("everygram")}


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
    ("score", {"query": "a"}, "#/query", "unknown field 'query'; expected text, raw, order"),
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
    ("attribute", {"text": "a", "density": float("nan")}, "#/density", "finite number"),
    ("attribute", {"text": "a", "density": "all"}, "#/density", 'found "all"'),
    ("attribute", {"text": "a", "rank_by": "count"}, "#/rank_by", "or 'length', found \"count\""),
    ("attribute", {"text": "a", "delimiters": "."}, "#/delimiters", "list"),
    ("attribute", {"text": "a", "delimiters": [".", ""]}, "#/delimiters/1", "at least 1"),
    ("attribute", {"text": "a", "delimiters": None}, "#/delimiters", "list"),
    ("attribute", {"text": "a", "whole_words": 1}, "#/whole_words", "boolean, found 1"),
    ("attribute", {"text": "a", "documents": -1}, "#/documents", "found -1"),
    ("attribute", {"text": "a", "documents": 101}, "#/documents", "equal to 100, found 101"),
    ("attribute", {"text": "a", "context": 3}, "#/context", "list, found 3"),
    ("attribute", {"text": "a", "context": [1, 2]}, "#/context", "at least 3 items"),
    ("attribute", {"text": "a", "context": [1, 2, 3, 4]}, "#/context", "at most 3 items"),
    ("attribute", {"text": "a", "context": [1, 2, 1001]}, "#/context/2", "1000, found 1001"),
    ("attribute", {"text": "a", "seed": 0.5}, "#/seed", "found 0.5"),
    ("attribute", {"batch": [{"text": "a"}, {"txt": "a"}]}, "#/batch/1/txt", "expected text, p"),
    ("longest_matches", {"text": [1, 2.0]}, "#/text/1", "integer, found 2.0"),
    ("novelty", {"text": "a", "max_n": 0}, "#/max_n", "or equal to 1, found 0"),
    ("novelty", {"text": "a", "max_n": 1001}, "#/max_n", "or equal to 1000, found 1001"),
    ("novelty", {"text": "a", "creativity_bounds": [5]}, "#/creativity_bounds", "2"),
    ("novelty", {"text": "a", "creativity_bounds": [5, 0]}, "#/creativity_bounds/1", "found 0"),
    ("find", {"query": "a", "limit": -1}, "#/limit", "found -1"),
    ("find", {"query": "a", "limit": MAX_OCCURRENCES + 1}, "#/limit", "10000, found 10001"),
    ("find", {"query": "a", "limit": None}, "#/limit", "found null"),
    ("find", {"query": "a", "offset": -1}, "#/offset", "found -1"),
    ("find", {"query": "a", "offset": 0.5}, "#/offset", "found 0.5"),
    ("find", {"query": "a", "sample": 2**70}, "#/sample", f"found {2**70}"),
    ("find", {"query": "a", "seed": False}, "#/seed", "found false"),
    ("document", {"number": True}, "#/number", "found true"),
    ("document", {"number": "0"}, "#/number", 'found "0"'),
    ("document", {"query": "a", "occurrence": 1.5}, "#/occurrence", "found 1.5"),
    ("document", {"number": 0, "context": -1}, "#/context", "found -1"),
]


@pytest.mark.parametrize(("operation", "body", "pointer", "words"), MALFORMED)
def test_a_malformed_body_is_pointed_at(client, operation, body, pointer, words):
    problem = check_problem(ask(client, operation, body), 422)
    first = problem["errors"][0]
    assert first["pointer"] == pointer
    assert words in first["detail"] and len(first["detail"]) < 200
    assert problem["detail"].startswith(f"{pointer}: {first['detail']}")


def test_every_fault_of_a_body_is_listed(client):
    body = {"query": 1, "limit": "x", "offset": -1, "color": "red"}
    problem = check_problem(ask(client, "find", body), 422)
    pointers = [fault["pointer"] for fault in problem["errors"]]
    assert sorted(pointers) == ["#/color", "#/limit", "#/offset", "#/query"]
    assert problem["detail"].endswith("(and 3 more)")
    # … but of a long list only the first, or the answer would outgrow the question.
    problem = check_problem(ask(client, "count", {"query": ["x"] * 1000}), 422)
    assert len(problem["errors"]) == 1


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
    ("corpus", "count", {"query": "\ud800"}, "not valid Unicode"),
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
    ("corpus", "longest_matches", {"text": "\ud800"}, "not valid Unicode"),
    ("corpus", "novelty", {"text": [300]}, "[0]: token id 300 is outside"),
    ("corpus", "novelty", {"text": "a", "creativity_bounds": [5, 4]}, "the lower one first, found"),
    ("ids", "score", {"text": "a"}, "index 'ids' has no tokenizer"),
    ("ids", "infgram_ntd", {"prompt": "a", "max_support": 2}, "index 'ids' has no tokenizer"),
    ("corpus", "attribute", {"text": [97, 300]}, "text[1]: token id 300 is outside"),
    ("corpus", "attribute", {"text": "\ud800"}, "a lone surrogate"),
    ("corpus", "attribute", {"text": "a", "prompt": "\ud800"}, "lone surrogate"),
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
    ("corpus", "search", {"expression": "a AND n:\ud800"}, "the lone surrogate"),
    ("corpus", "search", {"expression": "a", "where": {"n": "\ud800"}}, "the lone surrogate"),
    ("corpus", "search", {"expression": "a", "where": {"\ud800": 1}}, "the lone surrogate"),
    ("corpus", "search", {"expression": [["\ud800"]]}, "cnf[0][0]: expected a text"),
]


@pytest.mark.parametrize(("index", "operation", "body", "words"), REFUSED)
def test_a_query_without_an_answer_is_refused(client, index, operation, body, words):
    problem = check_problem(ask(client, operation, body, index), 422)
    assert words in problem["detail"]
    assert problem["errors"] == []

    good = {"number": 0} if operation == "document" else {next(iter(body)): [1]}
    if "prob" in operation:
        good = {"query": [1, 2]}
    if operation == "search":
        good = {"expression": [[[1]]]}
    batch = {"batch": [good, good, body, good]}
    in_batch = check_problem(ask(client, operation, batch, index), 422)
    assert in_batch["detail"] == f"#/batch/2: {problem['detail']}"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"query": ', "not JSON: Expecting value, at character 10"),
        (b'{"query": "the', "not JSON: Unterminated string, at character 10"),
        (b'{"query": "\n"}', "not JSON: Invalid control character, at character 11"),
        (b"{'query': 'a'}", "property name"),
        (b"\xff{}", "can't decode"),
        (b"[" * 100_000, "recursion"),
        (b'{"query": [' + b"9" * 5000 + b"]}", "digits"),
    ],
)
def test_a_body_that_is_not_json(client, content, words):
    assert words in check_problem(send(client, content), 400)["detail"]


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_a_body_that_is_not_declared_as_json(client, content_type):
    problem = check_problem(send(client, b'{"query": "a"}', content_type), 415)
    assert problem["detail"].startswith("content-type: expected application/json, found ")


def test_a_missing_body(client):
    problem = check_problem(send(client, b""), 422)
    assert problem["errors"][0]["pointer"] == "#" and "JSON object" in problem["detail"]


def test_numbers_that_are_not_json_are_no_ids(client):
    problem = check_problem(send(client, b'{"query": [NaN]}'), 422)
    assert problem["errors"][0]["pointer"] == "#/query/0"


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        (
            "GET",
            "/v1/indexes/nope",
            404,
            "index 'nope' is not served here; expected one of 'corpus",
        ),
        ("POST", "/v1/indexes/nope/count", 404, "'corpus', 'ids'"),
        ("POST", "/v1/indexes/corpus/nope", 404, "/v1/indexes/corpus/nope: not found"),
        ("GET", "/nope", 404, "GET /nope: not found"),
        ("GET", "/nope", 404, "/docs"),
        ("POST", "/v1/indexes/corpus/infgram-prob", 404, "did you mean infgram_prob?"),
        ("POST", "/v1/corpus/longest-matches", 404, "did you mean longest_matches?"),
        ("GET", "/swagger-ui/nope.js", 404, "not found"),
        ("GET", "/v1/indexes/corpus/count", 405, "corpus/count: method not allowed; use POST"),
        ("POST", "/health", 405, "POST /health: method not allowed; use GET"),
        ("DELETE", "/v1/indexes/corpus", 405, "DELETE"),
    ],
)
def test_paths_and_methods_that_are_not_there(client, method, path, status, words):
    body = {"query": "a"} if method == "POST" else None
    response = client.request(method, path, json=body)
    assert words in check_problem(response, status)["detail"]
    if status == 405:
        assert response.headers["allow"]


@pytest.mark.parametrize("error", [RuntimeError("secret"), DamagedIndexError("/secret/segment")])
def test_an_unexpected_error_is_a_problem_that_gives_nothing_away(folder, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(everygram.Index, "count", fail)
    monkeypatch.setattr(everygram.Index, "count_batch", fail)
    app = create_app([folder / "corpus"])
    client = TestClient(app, raise_server_exceptions=False)
    for body in ({"query": "a"}, {"batch": [{"query": "a"}]}):
        assert "secret" not in check_problem(ask(client, "count", body), 500)["detail"]
    with pytest.raises(type(error), match="secret"):  # what the server then logs
        ask(TestClient(app), "count", {"query": "a"})


def test_what_cannot_be_served_is_refused_before_serving(folder, tmp_path):
    with pytest.raises(FormatError, match="no index to serve"):
        create_app([])
    shutil.copytree(folder / "ids", tmp_path / "ids")
    with pytest.raises(FormatError, match="one of that name already"):
        create_app([folder / "ids", tmp_path / "ids"])
    with pytest.raises(FormatError, match="no such folder"):
        create_app([folder / "ids", tmp_path / "absent"])


@pytest.mark.parametrize("preload", ["all", "tokens", ["fences", "suffix_array"]])
def test_indexes_may_be_held_in_memory(folder, indexes, preload):
    client = TestClient(create_app([folder / "corpus", folder / "ids"], preload))
    for index, operation, cases in CASES:
        body, call = cases[0]
        assert ask(client, operation, body, index).json() == expected(call(indexes[index]))


def test_a_damaged_index_is_refused_before_serving(folder, tmp_path, monkeypatch):
    damaged = shutil.copytree(folder / "ids", tmp_path / "ids")
    tokens = damaged / "segment-000001" / "tokens.bin"
    tokens.write_bytes(tokens.read_bytes()[:-1] + b"\x01")
    monkeypatch.setattr(directory, "CHECKED_AT_ONCE", 0)
    create_app([damaged])
    with pytest.raises(DamagedIndexError, match=r"tokens.bin: content does not match"):
        create_app([damaged], verify=True)


def test_a_part_that_is_not_there_is_refused_before_serving(folder):
    with pytest.raises(QueryError, match=r"preload: expected some of .*, found 'nope'"):
        create_app([folder / "ids"], ["tokens", "nope"])


def test_no_query_waits_for_a_kernel(folder):
    """Once the service has started, queries make numba compile, or load, nothing."""
    batches = {operation: [body for body, _ in cases] for operation, cases in TEXT_CASES.items()}
    program = f"""
import json, pathlib, sys
from fastapi.testclient import TestClient
from everygram.kernels import covers, documents, following, near, rows, runs, scans, search
from everygram.kernels import spans, suffixes
from everygram.server.app import create_app

modules = covers, documents, following, near, rows, runs, scans, search, spans, suffixes

def variants():
    return {{(module.__name__, name): len(kernel.signatures)
            for module in modules
            for name, kernel in vars(module).items()
            if hasattr(kernel, "signatures")}}

with TestClient(create_app([pathlib.Path(sys.argv[1])])) as client:
    client.get("/health").raise_for_status()
    before = variants()
    for operation, batch in {batches!r}.items():
        url = f"/v1/indexes/corpus/{{operation}}"
        for body in [*batch, {{"batch": batch * 50}}]:
            client.post(url, json=body).raise_for_status()
assert sum(before.values()) > 5
assert variants() == before, set(variants().items()) - set(before.items())
"""
    command = [sys.executable, "-c", program, str(folder / "corpus")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_an_index_is_named_by_its_folder(folder, tmp_path, monkeypatch):
    shutil.copytree(folder / "ids", tmp_path / "ü 100% ")
    monkeypatch.chdir(tmp_path / "ü 100% ")
    client = TestClient(create_app([Path()]))
    assert client.get("/v1/indexes").json()["indexes"][0]["name"] == "ü 100% "
    assert client.get("/v1/indexes/%C3%BC%20100%25%20").json()["num_documents"] == len(DOCUMENTS)


@pytest.fixture(scope="module")
def description(client):
    return client.get("/openapi.json").json()


def test_everything_is_described(description):
    assert description["info"]["title"] == "everygram"
    assert description["info"]["version"] == version("everygram")
    assert len(description["info"]["description"]) > 500
    assert len(description["paths"]) == 3 + len(TEXT_CASES)
    for path, operations in description["paths"].items():
        for operation in operations.values():
            assert operation["summary"] and operation["description"], path
            assert all(parameter["description"] for parameter in operation.get("parameters", ()))
            assert all(response["description"] for response in operation["responses"].values())
    for name, schema in description["components"]["schemas"].items():
        assert schema["description"], name
        for field, of_field in schema["properties"].items():
            assert of_field.get("description"), f"{name}.{field}"


def test_errors_are_described_as_problems(description):
    for operations in description["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if status != "200":
                    reference = response["content"]["application/problem+json"]["schema"]["$ref"]
                    assert reference.endswith("/Problem")
                    assert len(response["content"]) == 1


def test_every_example_has_the_form_it_should(client, description):
    tried = 0
    for path, operations in description["paths"].items():
        if "post" not in operations:
            continue
        examples = operations["post"]["requestBody"]["content"]["application/json"]["examples"]
        assert "batch" in examples and len(examples) > 2
        for example in examples.values():
            response = client.post(path.replace("{name}", "corpus"), json=example["value"])
            # The tiny index does not know the ids: that is another refusal, and has no `errors`.
            assert response.status_code in (200, 422)
            assert not response.json().get("errors"), example
            tried += 1
    assert tried > 20


def test_the_manual_lists_the_fields_of_every_request(description):
    manual = (Path(__file__).parents[2] / "docs" / "service.md").read_text()
    for path, operations in description["paths"].items():
        if "post" in operations:
            body = operations["post"]["requestBody"]["content"]["application/json"]["schema"]
            one = body["anyOf"][0] if "anyOf" in body else body["oneOf"][0]
            schema = description["components"]["schemas"][one["$ref"].rpartition("/")[2]]
            operation = path.rpartition("/")[2]
            row = re.search(rf"^\| `POST .*/{operation}`.*$", manual, re.MULTILINE)[0]
            listed = row.split(" | ")[1]
            assert re.findall("`(.*?)`", listed) == list(schema["properties"]), operation
            required = schema.get("required", ["number", "query", "text"])  # one of them
            assert re.findall(r"\*\*`(.*?)`", listed) == required, operation


@pytest.mark.parametrize("path", ["/docs", "/"])
def test_docs_are_served_without_the_internet(client, path):
    page = client.get(path)
    assert page.url.path == "/docs"
    assert "//" not in page.text.replace("<!--", "")
    files = re.findall(r"(?:src|href)=\"(.*?)\"|url: '(.*?)'", page.text)
    assert len(files) == 4
    for file in map("".join, files):
        assert client.get(page.url.join(file)).status_code == 200, file


@pytest.fixture(scope="module")
def server(folder):
    """A server process (`infgram_ntd` broken in it), as a client with its log."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = (
        "import sys, pathlib, everygram\n"
        "from everygram.server.app import serve\n"
        "everygram.Index.infgram_ntd = lambda *_, **__: 1 / 0\n"
        f"serve([pathlib.Path(path) for path in sys.argv[1:]], '127.0.0.1', {port})\n"
    )
    command = [sys.executable, "-c", program, str(folder / "corpus"), str(folder / "ids")]
    log = folder / "server.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            for _ in range(1200):
                assert process.poll() is None, log.read_text()
                try:
                    client.get("/health").raise_for_status()
                    break
                except httpx2.TransportError:
                    time.sleep(0.1)
            client.log = log
            yield client
    finally:
        process.terminate()
        process.wait(30)


def test_a_real_server_answers(server, indexes):
    assert server.get("/health").json()["status"] == "ok"
    names = [index["name"] for index in server.get("/v1/indexes").json()["indexes"]]
    assert names == ["corpus", "ids"]
    found = ask(server, "find", {"query": "language"})
    assert found.json() == expected(indexes["corpus"].find("language"))
    check_problem(server.get("/nope"), 404)
    check_problem(send(server, b"{"), 400)


def test_a_real_server_answers_many_at_once(server, indexes):
    requests = [
        (index, operation, body, expected(call(indexes[index])))
        for index, operation, cases in CASES
        if operation != "infgram_ntd"
        for body, call in cases
    ] * 5

    def answers_right(request):
        index, operation, body, answer = request
        return ask(server, operation, body, index).json() == answer

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(answers_right, requests))


def test_a_real_server_logs_what_it_does_not_tell(server):
    problem = check_problem(ask(server, "infgram_ntd", {"prompt": "a"}), 500)
    assert "division" not in problem["detail"]
    deadline = time.monotonic() + 30  # it answers first and logs then
    while "ZeroDivisionError: division by zero" not in server.log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert server.get("/health").status_code == 200
