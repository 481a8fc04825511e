"""The service over HTTP: it answers what `answering` does; its errors all have one shape."""

import json
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
import pytest
from fastapi.testclient import TestClient
from service_cases import CASES, PROBLEM_KEYS, TEXT_CASES, Asking, build, expected, plain

import everygram
from everygram import DamagedIndexError, FormatError, QueryError
from everygram.server import answering
from everygram.server.app import create_app
from everygram.server.settings import Settings
from everygram.storage import directory


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return build(tmp_path_factory.mktemp("server"))


@pytest.fixture(scope="module")
def indexes(paths):
    with everygram.open(paths["corpus"]) as corpus, everygram.open(paths["ids"]) as ids:
        yield {"corpus": corpus, "ids": ids}


@pytest.fixture(scope="module")
def client(paths):
    with TestClient(create_app(Settings(indexes=paths, access_log=False))) as client:
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
    assert problem["type"].startswith("urn:everygram:problem:")
    assert problem["title"] and problem["detail"]
    assert problem["request_id"] == response.headers["x-request-id"]
    assert all(fault.keys() == {"pointer", "detail"} for fault in problem["errors"])
    assert "server0" not in response.text, "the problem shows where the index lies"
    return problem


@pytest.mark.parametrize(("index", "operation", "cases"), CASES)
def test_every_query_is_answered_over_http(client, paths, index, operation, cases):
    direct = Asking(paths)
    for body in (cases[0][0], {"batch": [body for body, _ in cases]}):
        response = ask(client, operation, body, index)
        assert response.headers["content-type"] == "application/json"
        assert response.content == direct(operation, body, index).content
    lines = b"".join(json.dumps(body).encode() + b"\n" for body, _ in cases)
    response = send(client, lines, "application/x-ndjson", operation, index)
    assert response.headers["content-type"] == "application/x-ndjson"
    assert response.content == direct(operation, lines, index, lines=1).content


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_a_body_that_is_not_declared_as_json(client, content_type):
    problem = check_problem(send(client, b'{"query": "a"}', content_type), 415)
    assert problem["detail"].startswith("content-type: expected application/json")


def test_errors_over_http(client):
    assert "EOF" in check_problem(send(client, b""), 400)["detail"]
    assert check_problem(ask(client, "count", {"query": 7}), 422)["errors"]
    assert not check_problem(ask(client, "count", {"query": [-1]}), 422)["errors"]
    assert check_problem(send(client, b'{"query": [1], "query": [1]}'), 400)
    lines = send(client, b'{"query": [-1]}\n', "application/x-ndjson")
    problem = lines.json()["problem"]
    assert problem["request_id"] == lines.headers["x-request-id"]


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
        ("DELETE", "/v1/indexes/corpus", 405, "DELETE"),
    ],
)
def test_paths_and_methods_that_are_not_there(client, method, path, status, words):
    body = {"query": "a"} if method == "POST" else None
    response = client.request(method, path, json=body)
    assert words in check_problem(response, status)["detail"]
    if status == 405:
        assert response.headers["allow"]


@pytest.mark.parametrize("preload", [["all"], ["tokens"], ["fences", "suffix_array"]])
def test_indexes_may_be_held_in_memory(paths, indexes, preload):
    client = TestClient(create_app(Settings(indexes=paths, preload=preload, access_log=False)))
    for index, operation, cases in CASES:
        body, call = cases[0]
        answer = plain(ask(client, operation, body, index).json())
        assert answer == plain(expected(call(indexes[index])))


def test_a_damaged_index_is_refused_before_serving(paths, tmp_path, monkeypatch):
    damaged = shutil.copytree(paths["ids"], tmp_path / "ids")
    tokens = damaged / "segment-000001" / "tokens.bin"
    tokens.write_bytes(tokens.read_bytes()[:-1] + b"\x01")
    monkeypatch.setattr(directory, "CHECKED_AT_ONCE", 0)
    create_app(Settings(indexes={"ids": damaged}))
    with pytest.raises(DamagedIndexError, match=r"tokens.bin: content does not match"):
        create_app(Settings(indexes={"ids": damaged}, verify=True))


def test_a_part_that_is_not_there_is_refused_before_serving(paths):
    with pytest.raises((QueryError, ValueError), match="nope"):
        create_app(Settings(indexes=paths, preload=["tokens", "nope"]))


def test_no_query_waits_for_a_kernel(paths):
    """Once the service has started, queries make numba compile, or load, nothing."""
    batches = {operation: [body for body, _ in cases] for operation, cases in TEXT_CASES.items()}
    program = f"""
import json, pathlib, sys
from fastapi.testclient import TestClient
from everygram.kernels import covers, documents, following, near, rows, runs, scans, search
from everygram.kernels import spans, suffixes
from everygram.server.app import create_app
from everygram.server.settings import Settings

modules = covers, documents, following, near, rows, runs, scans, search, spans, suffixes

def variants():
    return {{(module.__name__, name): len(kernel.signatures)
            for module in modules
            for name, kernel in vars(module).items()
            if hasattr(kernel, "signatures")}}

app = create_app(Settings(indexes={{"corpus": sys.argv[1]}}, access_log=False))
with TestClient(app) as client:
    client.get("/health").raise_for_status()
    before = variants()
    for operation, batch in {batches!r}.items():
        url = f"/v1/indexes/corpus/{{operation}}"
        for body in [*batch, {{"batch": batch * 50}}]:
            client.post(url, json=body).raise_for_status()
assert sum(before.values()) > 5
assert variants() == before, set(variants().items()) - set(before.items())
"""
    command = [sys.executable, "-c", program, str(paths["corpus"])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_a_name_may_need_quoting(paths):
    app = create_app(Settings(indexes={"ü 100%": paths["ids"]}, access_log=False))
    with TestClient(app) as client:
        response = client.post("/v1/indexes/%C3%BC%20100%25/count", json={"query": [1, 2]})
    assert response.json()["count"] == 4


def test_what_is_no_index_is_refused_before_serving(tmp_path):
    with pytest.raises(FormatError, match="no such folder"):
        create_app(Settings(indexes={"absent": tmp_path / "absent"}))


@pytest.fixture(scope="module")
def description(client):
    return client.get("/openapi.json").json()


def followed(description, value):
    """A value, or what it refers to."""
    while "$ref" in value:
        found = description
        for step in value["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        value = found
    return value


def test_everything_is_described(description):
    assert description["info"]["title"] == "everygram"
    assert description["info"]["version"] == version("everygram")
    assert len(description["info"]["description"]) > 500
    posted = {path.rpartition("/")[2] for path in description["paths"] if "/{name}/" in path}
    assert posted >= answering.OPERATIONS.keys()
    for path, operations in description["paths"].items():
        for operation in operations.values():
            assert operation["summary"] and operation["description"], path
            parameters = operation.get("parameters", ())
            assert all(followed(description, each)["description"] for each in parameters), path
            responses = operation["responses"].values()
            assert all(followed(description, each)["description"] for each in responses)
    for name, schema in description["components"]["schemas"].items():
        assert schema["description"], name
        assert "properties" in schema or "enum" in schema, name
        for field, of_field in schema.get("properties", {}).items():
            assert of_field.get("description"), f"{name}.{field}"


def test_errors_are_described_as_problems(description):
    for path, operations in description["paths"].items():
        for operation in operations.values():
            # (These are answered in forms of their own in any case.)
            if path == "/" or path.startswith("/health"):
                continue
            for status, response in operation["responses"].items():
                if status[0] != "2":
                    content = followed(description, response).get("content")
                    if status != "304":
                        reference = content["application/problem+json"]["schema"]["$ref"]
                        assert reference.endswith("/Problem")
                        assert len(content) == 1


def test_every_example_has_the_form_it_should(client, description):
    tried = 0
    for path, operations in description["paths"].items():
        if path.rpartition("/")[2] not in answering.OPERATIONS:
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
        operation = path.rpartition("/")[2]
        if operation in answering.OPERATIONS:
            body = operations["post"]["requestBody"]["content"]["application/json"]["schema"]
            one = body["anyOf"][0] if "anyOf" in body else body["oneOf"][0]
            schema = description["components"]["schemas"][one["$ref"].rpartition("/")[2]]
            row = re.search(rf"^\| `POST .*/{operation}`.*$", manual, re.MULTILINE)[0]
            listed = row.split(" | ")[1]
            assert re.findall("`(.*?)`", listed) == list(schema["properties"]), operation
            one_of_them = ["number", "query", "text"] if operation == "document" else []
            required = schema.get("required", one_of_them)
            assert re.findall(r"\*\*`(.*?)`", listed) == required, operation


def test_the_manual_lists_every_path(description):
    docs = Path(__file__).parents[2] / "docs"
    manual = (docs / "service.md").read_text()
    assert "](writing-over-http.md)" in manual
    rows = "".join(
        line
        for page in (manual, (docs / "writing-over-http.md").read_text())
        for line in page.splitlines()
        if line.startswith("| `")
    )
    pages = {path for path, methods in description["paths"].items() if "get" in methods}
    assert "/metrics" in pages
    for path in pages:
        assert re.sub("{.*?}", "{}", f"{path}`") in re.sub("{.*?}", "{}", rows), path


@pytest.fixture(scope="module")
def server(paths, tmp_path_factory):
    """A server process (`infgram_ntd` broken in it), as a client with its log."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = (
        "import sys, everygram\n"
        "from everygram.cli.app import run\n"
        "everygram.Index.infgram_ntd = lambda *_, **__: 1 / 0\n"
        "sys.argv = ['everygram', 'serve', *sys.argv[1:]]\n"
        "run()\n"
    )
    given = [f"{name}={path}" for name, path in paths.items()]
    command = [sys.executable, "-c", program, *given, "--port", str(port)]
    log = tmp_path_factory.mktemp("log") / "server.log"
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
    assert plain(found.json()) == expected(indexes["corpus"].find("language"))
    check_problem(server.get("/nope"), 404)
    check_problem(send(server, b"{"), 400)


def test_a_real_server_answers_many_at_once(server, indexes):
    requests = [
        (index, operation, body, plain(expected(call(indexes[index]))))
        for index, operation, cases in CASES
        if operation != "infgram_ntd"
        for body, call in cases
    ] * 5

    def answers_right(request):
        index, operation, body, answer = request
        return plain(ask(server, operation, body, index).json()) == answer

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
