"""Pages to GET: indexes, documents and tokenizers, each told by its ETag; the manual."""

import hashlib
import json
import re

import numpy as np
import pytest
from fastapi.testclient import TestClient

import everygram
from conftest import write_jsonl
from everygram.server.app import create_app
from everygram.server.settings import Settings

TEXTS = [["natural language", "日本 language", ""], ["it was the best", "of times"]]
METADATA = {"id": 7, "deep": [{"of": [None, 2**70]}]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    for name, texts in zip(("one", "two"), TEXTS, strict=True):
        records = [{"text": each, **METADATA} for each in texts]
        source = write_jsonl(folder / f"{name}.jsonl", records)
        everygram.build(source, folder / name, "bytes")
    everygram.build(folder / "one.jsonl", folder / "bpe", "train:260")
    np.array([0, 1, 2, 0, 2, 3], "<u1").tofile(folder / "ids.bin")
    everygram.build(folder / "ids.bin", folder / "ids", pretokenized="u8", separator_id=0)
    return folder


@pytest.fixture(scope="module")
def settings(folder):
    return Settings(
        indexes={name: folder / name for name in ("one", "two", "bpe", "ids")},
        unions={"all": {"of": ["one", "two"]}},
        aliases={"also": "one"},
        access_log=False,
    )


@pytest.fixture(scope="module")
def client(settings):
    with TestClient(create_app(settings), follow_redirects=False) as client:
        yield client


PAGES = [
    "/v1/indexes",
    "/v1/indexes/one",
    "/v1/indexes/all",
    "/v1/indexes/one/documents/0",
    "/v1/indexes/all/documents/1?index=1&context=2",
    "/v1/indexes/bpe/tokenizer",
    "/openapi.json",
]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_sent_once(client, path):
    page = client.get(path)
    assert (page.status_code, page.headers["content-type"]) == (200, "application/json")
    etag = page.headers["etag"]
    assert re.fullmatch('"[0-9a-f]{32}"', etag)
    assert page.headers["cache-control"] == "no-cache"
    for given in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = client.get(path, headers={"if-none-match": given})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    for given in ('"other"', etag.strip('"'), '""', ""):
        again = client.get(path, headers={"if-none-match": given})
        assert (again.status_code, again.content) == (200, page.content)
    assert client.get(path).headers["etag"] == etag


@pytest.mark.parametrize("path", [*PAGES, "/docs", "/docs.js", "/v1/indexes/nope"])
def test_head_is_get_without_its_body(client, path):
    get, head = client.get(path), client.head(path)
    assert head.status_code == get.status_code
    for name in ("content-type", "content-length", "etag"):
        assert head.headers.get(name) == get.headers.get(name), name


def test_indexes_are_listed_as_they_are(client, settings):
    listed = client.get("/v1/indexes").json()["indexes"]
    assert [each["name"] for each in listed] == ["one", "two", "bpe", "ids", "all"]
    for each in listed:
        assert client.get(f"/v1/indexes/{each['name']}").json() == each
        assert "path" not in each
    with everygram.open(settings.indexes["one"]) as index:
        expected = index.info() | {
            "name": "one",
            "aliases": ["also"],
            "index_version": index.version,
        }
    del expected["path"]
    assert listed[0] == expected
    assert listed[-1]["indexes"] == ["one", "two"] and listed[-1]["minus"] == []
    assert client.get("/v1/indexes/also").json() == expected


def test_a_union_says_what_is_left_out(folder, settings):
    unions = {"less": {"of": ["one", "two"], "minus": ["copy"]}}
    everygram.build(folder / "two.jsonl", folder / "copy", "bytes")
    indexes = settings.indexes | {"copy": folder / "copy"}
    given = Settings(indexes=indexes, unions=unions, access_log=False)
    with TestClient(create_app(given)) as client:
        said = client.get("/v1/indexes/less").json()
    assert (said["indexes"], said["minus"], said["num_documents"]) == (["one", "two"], ["copy"], 3)


def test_a_document_is_as_in_python(client, settings):
    with everygram.open(settings.indexes["one"]) as index:
        for number in range(3):
            expected = index.document(number).as_dict() | {"index_version": index.version}
            found = client.get(f"/v1/indexes/one/documents/{number}").json()
            assert found == json.loads(json.dumps(expected))
            assert found["metadata"] == METADATA
            posted = client.post("/v1/indexes/one/document", json={"number": number}).json()
            assert posted == found
        cut = client.get("/v1/indexes/one/documents/0", params={"context": 3}).json()
        assert cut["token_ids"] == index.document(0).as_dict()["token_ids"][:3]
        assert cut["length"] == index.document(0).length
    found = client.get("/v1/indexes/all/documents/1", params={"index": 1}).json()
    assert (found["text"], found["index"], found["index_name"]) == ("of times", 1, "two")
    assert client.get("/v1/indexes/ids/documents/0").json()["text"] is None


def test_a_tokenizer_is_its_file(client, folder):
    page = client.get("/v1/indexes/bpe/tokenizer")
    assert page.content == (folder / "bpe" / "tokenizer.json").read_bytes()
    said = client.get("/v1/indexes/bpe").json()
    assert hashlib.sha256(page.content).hexdigest() == said["tokenizer_sha256"]


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/v1/indexes/nope", 404, "'nope' is not served here"),
        ("/v1/indexes/nope/documents/0", 404, "'nope' is not served here"),
        ("/v1/indexes/one/documents/3", 404, "document 3"),
        ("/v1/indexes/one/documents/" + "9" * 30, 404, "document 999"),
        ("/v1/indexes/all/documents/3?index=0", 404, "document 3"),
        ("/v1/indexes/all/documents/3?index=2", 404, "index 2"),
        ("/v1/indexes/all/documents/0", 422, "expected its index"),
        ("/v1/indexes/one/documents/0?index=0", 422, "goes with a union"),
        ("/v1/indexes/one/documents/x", 422, "#/number"),
        ("/v1/indexes/one/documents/-1", 422, "#/number"),
        ("/v1/indexes/one/documents/" + "9" * 5000, 422, "#/number"),
        ("/v1/indexes/one/documents/0?context=-1", 422, "#/context"),
        ("/v1/indexes/one/tokenizer", 404, "its tokens are bytes"),
        ("/v1/indexes/ids/tokenizer", 404, "built from token ids"),
        ("/v1/nope", 404, "not found"),
    ],
)
def test_what_is_not_there_is_a_problem(client, folder, path, status, says):
    found = client.get(path)
    assert found.status_code == status, found.text
    assert found.headers["content-type"] == "application/problem+json"
    problem = found.json()
    assert problem["status"] == status and says in problem["detail"], problem
    assert problem["request_id"] == found.headers["x-request-id"]
    assert len(found.content) < 2_000 and str(folder) not in found.text


def test_a_method_that_is_not_there_is_told_those_that_are(client):
    for path, methods in (
        ("/v1/indexes", ["GET", "HEAD"]),
        ("/v1/indexes/one/count", ["POST"]),
    ):
        found = client.request("PATCH", path)
        assert found.status_code == 405
        assert found.headers["allow"].split(", ") == methods
        assert found.json()["type"] == "urn:everygram:problem:method-not-allowed"


def test_a_document_has_a_limit_of_bytes(settings):
    small = settings.model_copy(update={"max_answer_bytes": 200})
    with TestClient(create_app(small)) as client:
        found = client.get("/v1/indexes/one/documents/0")
    assert found.status_code == 422
    assert found.json()["type"] == "urn:everygram:problem:answer-too-large"


def test_an_etag_changes_with_what_it_names(folder, tmp_path):
    everygram.build(folder / "one.jsonl", tmp_path / "index", "bytes")
    paths = [f"/v1/indexes/index{rest}" for rest in ("", "/documents/0", "/documents/1")]

    def etags():
        settings = Settings(indexes={"index": tmp_path / "index"}, access_log=False)
        with TestClient(create_app(settings)) as client:
            return [client.get(path).headers["etag"] for path in paths]

    before = etags()
    assert etags() == before
    everygram.prepare(tmp_path / "index")
    prepared = etags()
    assert prepared[0] != before[0] and prepared[1:] == before[1:]


@pytest.mark.parametrize("path", ["/docs"])
def test_the_manual_needs_no_internet_and_no_script_of_its_own(client, path):
    page = client.get(path)
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "script-src" not in page.headers["content-security-policy"]
    assert "//" not in page.text
    assert not re.search(r"<script>|<script[^>]*>[^<]|\son\w+=|javascript:", page.text)
    files = re.findall(r'(?:src|href)="(.*?)"', page.text)
    assert len(files) == 4
    for file in files:
        assert client.get(page.url.join(file)).status_code == 200, file
    script = client.get("/docs.js")
    assert script.headers["content-type"].startswith("text/javascript")
    (description,) = re.findall(r'url: "(.*?)"', script.text)
    assert client.get(page.url.join(description)).json()["info"]["title"] == "everygram"
