"""infini-gram's and OLMoTrace's APIs, served: status codes, keys, limits."""

import json

import pytest
from service_cases import build
from starlette.testclient import TestClient

from everygram.server import keys
from everygram.server.app import create_app
from everygram.server.settings import Settings


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return build(tmp_path_factory.mktemp("compat"))


@pytest.fixture(scope="module")
def client(folders):
    app = create_app(Settings(indexes=folders, access_log=False, max_query_tokens=50))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def ask(client, body, headers=()):
    content = body if isinstance(body, str) else json.dumps(body)
    headers = {"content-type": "application/json", **dict(headers)}
    return client.post("/", content=content, headers=headers)


def test_a_count(client):
    found = ask(client, {"index": "corpus", "query_type": "count", "query": "natural"})
    assert found.status_code == 200
    assert found.json()["count"] == 3
    assert found.headers["x-request-id"]


def test_what_is_wrong(client):
    wrong = ask(client, {"index": "corpus", "query_type": "prob", "query": ""})
    assert (wrong.status_code, wrong.json()) == (
        200,
        {"error": "Please provide a non-empty query!"},
    )
    unknown = ask(client, {"index": "nope", "query_type": "count", "query": "a"})
    assert (unknown.status_code, unknown.json()) == (
        400,
        {"error": "[Flask] Invalid index: nope"},
    )
    for body in (
        "{",
        '{"index": "corpus", "index": "corpus", "query_type": "count", "query": "a"}',
    ):
        problem = ask(client, body)
        assert problem.status_code == 400
        assert problem.headers["content-type"] == "application/problem+json"


def test_the_list_of_indexes(client, folders):
    assert client.get("/").json() == [*folders]
    page = client.get("/", headers={"accept": "text/html,*/*"})
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")


def test_attribution(client):
    found = client.post("/corpus/attribution", json={"response": "natural language"})
    assert found.status_code == 200
    assert [span["text"] for span in found.json()["spans"]] == ["natural language"]
    for body, status, kind in (
        ({"response": 1}, 422, "request-validation-failed"),
        ({}, 422, "request-validation-failed"),
        ({"response": "a" * 100_000}, 422, "urn:everygram:problem:query-too-long"),
        (
            {"response": "a", "maximumDocumentsPerSpan": 10**6},
            422,
            "urn:everygram:problem:too-many-results",
        ),
    ):
        problem = client.post("/corpus/attribution", json=body)
        assert (problem.status_code, problem.json()["type"]) == (status, kind)
        assert problem.headers["content-type"] == "application/problem+json"
    assert client.post("/nope/attribution", json={"response": "a"}).status_code == 404
    without = client.post("/ids/attribution", json={"response": "a"})
    assert (without.status_code, without.json()["title"]) == (500, "infini-gram error")
    assert "/" not in without.json()["detail"]


def test_keys_are_for_an_index(folders, tmp_path):
    """Whatever name the body gives the field, in whatever order: the key must allow the index."""
    _, token = keys.add(tmp_path / "keys.json", "k", {"corpus": ["read"]})
    app = create_app(Settings(indexes=folders, access_log=False, keys=tmp_path / "keys.json"))
    with TestClient(app, raise_server_exceptions=False) as client:
        mine = {"authorization": f"Bearer {token}"}
        count = {"query_type": "count", "query_ids": [1]}
        assert ask(client, {"index": "corpus", **count}, mine).status_code == 200
        for body in (
            {"index": "ids", **count},
            {"corpus": "ids", **count},
            {"index": "corpus", "corpus": "ids", **count},
            count,
            {"index": None, **count},
        ):
            assert ask(client, body, mine).status_code == 403, body
        assert ask(client, {"index": "corpus", **count}).status_code == 401
        assert client.get("/", headers=mine).json() == ["corpus"]
        assert (
            client.post("/ids/attribution", json={"response": "a"}, headers=mine).status_code == 403
        )
