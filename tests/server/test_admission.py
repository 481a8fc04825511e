"""Who is answered by a whole service: with and without keys, within rates, of which host."""

import re
import shutil

import pytest
from fastapi.testclient import TestClient

import everygram
from conftest import write_jsonl
from everygram.server.app import create_app
from everygram.server.keys import add, revoke
from everygram.server.routes.page import files
from everygram.server.settings import Settings

LAB = "https://lab.org"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two indexes, and a file of keys: what each key may do is its name."""
    folder = tmp_path_factory.mktemp("admission")
    for name in ("pile", "secret"):
        corpus = write_jsonl(folder / f"{name}.jsonl", [{"text": "natural language"}])
        everygram.build(corpus, folder / name, "bytes")
    return folder


@pytest.fixture(scope="module")
def keys(folder):
    """Tokens by name."""
    file = folder / "keys.json"
    given = {
        "all": ({"*": ["read", "write"]}, None),
        "pile": ({"pile": ["read"]}, None),
        "write": ({"pile": ["write"]}, None),
        "none": ({}, None),
        "slow": ({"*": ["read"]}, "2/hour"),
    }
    return {name: add(file, name, scopes, rate)[1] for name, (scopes, rate) in given.items()}


def client_of(folder, **settings):
    indexes = {"pile": folder / "pile", "secret": folder / "secret"}
    app = create_app(Settings(indexes=indexes, access_log=False, **settings))
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture(scope="module")
def guarded(folder, keys):
    settings = {
        "aliases": {"p": "pile", "s": "secret"},
        "unions": {"both": {}},
        "keys": folder / "keys.json",
        "follow_seconds": 0.1,
    }
    with client_of(folder, **settings) as client:
        yield client


def ask(client, method="POST", path="/v1/indexes/pile/count", token=None, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    body = {"json": {"query": "natural"}} if method == "POST" else {}
    return client.request(method, path, headers=headers, **body)


def kind_of(answer):
    """The kind of a problem, or its status if it is none."""
    if answer.status_code < 400:
        return answer.status_code
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["request_id"] == answer.headers["x-request-id"]
    return problem["type"].removeprefix("urn:everygram:problem:")


@pytest.mark.parametrize(
    ("name", "method", "path", "kind"),
    [
        ("all", "POST", "/v1/indexes/pile/count", 200),
        ("all", "POST", "/v1/indexes/secret/count", 200),
        ("all", "POST", "/v1/indexes/both/count", 200),
        ("all", "POST", "/v1/indexes/nothing/count", "not-found"),
        ("pile", "POST", "/v1/indexes/pile/count", 200),
        ("pile", "POST", "/v1/indexes/p/count", 200),
        ("pile", "POST", "/v1/indexes/secret/count", "forbidden"),
        ("pile", "POST", "/v1/indexes/s/count", "forbidden"),
        ("pile", "POST", "/v1/indexes/both/count", "forbidden"),
        ("pile", "GET", "/v1/indexes/pile", 200),
        ("pile", "GET", "/v1/indexes/secret", "forbidden"),
        ("pile", "GET", "/v1/indexes/secret/documents/0", "forbidden"),
        ("pile", "GET", "/v1/indexes/secret/tokenizer", "forbidden"),
        ("pile", "POST", "/v1/indexes/pile/documents", "forbidden"),
        ("pile", "DELETE", "/v1/indexes/pile/documents", "forbidden"),
        ("pile", "POST", "/v1/indexes/pile/compact", "forbidden"),
        ("pile", "GET", "/v1/indexes/pile/jobs", "forbidden"),
        ("write", "POST", "/v1/indexes/pile/count", "forbidden"),
        ("write", "POST", "/v1/indexes/secret/compact", "forbidden"),
        ("none", "POST", "/v1/indexes/pile/count", "forbidden"),
        # (Whether there is one of that name is told to those alone who may ask it.)
        ("pile", "POST", "/v1/indexes/nothing/count", "forbidden"),
        ("pile", "POST", "/v1/indexes//count", "forbidden"),
        ("pile", "GET", "/v1/indexes/nothing/jobs", "forbidden"),
        ("pile", "POST", "/nothing/attribution", "forbidden"),
        ("pile", "POST", "/v1/indexes/pile%2Fcount", 200),
        ("pile", "POST", "/v1/indexes/pile%2F..%2Fsecret/count", "not-found"),
        ("pile", "POST", "/v1/indexes/PILE/count", "forbidden"),
        ("pile", "POST", "/v1/indexes/pile/count%0A", "not-found"),
        ("all", "POST", "/v1/indexes/pile/count%0A", "not-found"),
        ("all", "GET", "/metrics%0A", "not-found"),
        ("all", "GET", "/v1/indexes/pile%00", "not-found"),
        ("all", "PROPFIND", "/v1/indexes/pile", "method-not-allowed"),
        ("pile", "PROPFIND", "/v1/indexes/secret", "forbidden"),
    ],
)
def test_what_keys_may_do(guarded, keys, name, method, path, kind):
    assert kind_of(ask(guarded, method, path, keys[name])) == kind


@pytest.mark.parametrize(
    "authorization",
    [
        None, "", "Bearer", "Bearer ", "Bearer eg_", "Bearer eg_x", "Basic eg_x", "{}", "Basic {}",
        "Bearer {}x", "Bearer x{}", "Bearer {} {}", "Bearer,{}", "Bearer \xff",
        "Bearer " + "x" * 5000,
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/indexes/pile/count", "/", "/v1/indexes/nothing/count"])
def test_without_a_key_nothing_is_told(guarded, keys, authorization, path):
    headers = {}
    if authorization is not None:
        headers["authorization"] = authorization.replace("{}", keys["all"]).encode("latin-1")
    answer = guarded.post(path, json={"query": "natural"}, headers=headers)
    assert kind_of(answer) == "unauthorized"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "pile" not in answer.text


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_s_case_does_not_matter(guarded, keys, scheme):
    answer = ask(guarded, authorization=f"{scheme} {keys['all']}")
    assert kind_of(answer) == 200


@pytest.mark.parametrize(
    "path", ["/health", "/health/live", "/health/ready", "/docs", "/docs.js", "/openapi.json",
             "/swagger-ui/swagger-ui.css"],
)  # fmt: skip
def test_probes_and_the_manual_need_no_key(guarded, path):
    assert kind_of(ask(guarded, "GET", path)) == 200


@pytest.mark.parametrize("path", ["/metrics", "/v1/indexes", "/"])
def test_what_else_needs_one(guarded, keys, path):
    assert kind_of(ask(guarded, "GET", path)) == "unauthorized"
    assert kind_of(ask(guarded, "GET", path, keys["all"])) == 200


def test_only_indexes_that_a_key_may_read_are_listed(guarded, keys):
    for name, indexes in (("all", {"pile", "secret", "both"}), ("pile", {"pile"}), ("none", set())):
        listed = ask(guarded, "GET", "/v1/indexes", keys[name]).json()["indexes"]
        assert {each["name"] for each in listed} == indexes


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/indexes/nothing"),
        ("POST", "/v1/indexes/nothing/count"),
        ("POST", "/v1/indexes/secret/count"),
        ("POST", "/v1/indexes/both/count"),
        ("GET", "/v1/indexes"),
        ("GET", "/"),
        ("GET", "/metrics"),
        ("GET", "/health"),
        ("PUT", "/v1/indexes/pile/count"),
    ],
)
def test_no_answer_names_indexes_that_a_key_may_not_read(guarded, keys, method, path):
    answer = ask(guarded, method, path, keys["none"]).text.replace(path, "").lower()
    asked = path.split("/")[3] if path.count("/") > 2 else ""
    for name in {"pile", "secret", "both"} - {asked}:
        assert name not in answer.replace(f"index '{asked}'", "")
    # (What is asked for by one who may read all of them is told.)
    assert (
        "index 'nothing' is not served here"
        in ask(guarded, "GET", "/v1/indexes/nothing", keys["all"]).text
    )


def test_metrics_name_the_indexes_that_a_key_may_read(guarded, keys):
    for name, indexes in (("all", ["both", "pile", "secret"]), ("pile", ["pile"]), ("none", [])):
        text = ask(guarded, "GET", "/metrics", keys[name]).text
        assert re.findall(r'everygram_index_info{index="(\w+)"', text) == indexes


@pytest.mark.parametrize("name", ["health", "swagger-ui"])
def test_an_index_is_not_open_because_of_its_name(folder, keys, name):
    settings = Settings(
        indexes={name: folder / "secret"}, keys=folder / "keys.json", access_log=False
    )
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        for token, kind in ((None, "unauthorized"), (keys["pile"], "forbidden")):
            for path in (f"/{name}/attribution", f"/v1/indexes/{name}/count"):
                headers = {} if token is None else {"authorization": f"Bearer {token}"}
                answer = client.post(path, json={"response": "natural"}, headers=headers)
                assert kind_of(answer) == kind
        headers = {"authorization": f"Bearer {keys['all']}"}
        answer = client.post(
            f"/{name}/attribution", json={"response": "natural language"}, headers=headers
        )
        assert kind_of(answer) == 200


def test_indexes_that_cannot_be_read_are_named_to_those_alone_who_may(tmp_path, folder, keys):
    indexes = {}
    for name in ("pile", "secret"):
        indexes[name] = tmp_path / name
        shutil.copytree(folder / name, tmp_path / name)
    settings = Settings(indexes=indexes, keys=folder / "keys.json", access_log=False)
    service = create_app(settings)
    with TestClient(service, raise_server_exceptions=False) as client:
        shutil.rmtree(tmp_path / "secret")
        for _ in range(3):
            service._indexes.look()
        for token, named in ((None, []), (keys["pile"], []), (keys["all"], ["secret"])):
            assert ask(client, "GET", "/health", token).json()["unavailable"] == named


@pytest.mark.parametrize("name", ["authorization", "host", "content-type", "idempotency-key"])
def test_a_header_that_is_read_once_comes_once(guarded, keys, name):
    given = [("authorization", f"Bearer {keys['all']}"), ("content-type", "application/json")]
    twice = [*given, (name, "a")] if name in dict(given) else [*given, (name, "a"), (name, "b")]
    assert kind_of(guarded.get("/v1/indexes", headers=given)) == 200
    assert kind_of(guarded.get("/v1/indexes", headers=twice)) == "bad-request"


@pytest.mark.parametrize(
    ("path", "leads"),
    [
        ("/docs/", "/docs"),
        ("/swagger-ui", "/swagger-ui/"),
        ("/v1/indexes/pile/", "/v1/indexes/pile"),
    ],
)
def test_no_answer_leads_to_a_host_that_the_client_said(guarded, keys, path, leads):
    headers = {"authorization": f"Bearer {keys['all']}", "host": "evil.example"}
    answer = guarded.get(path, headers=headers, follow_redirects=False)
    assert answer.headers["location"] == leads


@pytest.mark.parametrize(
    "path",
    [
        "/",
        f"/page/x/{next(iter(files()))}",
        "/docs",
        "/health",
        "/v1/indexes",
        "/v1/indexes/pile",
        "/nothing",
    ],
)
def test_browsers_take_answers_for_what_they_are_said_to_be(guarded, keys, path):
    for token in (None, keys["all"]):
        # (Said twice, it would be "nosniff, nosniff".)
        answer = ask(guarded, "GET", path, token, accept="text/html")
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(("rate", "said"), [("1/second", "1 second"), ("20/minute", "3 seconds")])
def test_how_long_to_wait_is_said(folder, rate, said):
    with client_of(folder, rate_per_address=rate) as client:
        answers = [ask(client) for _ in range(25)]
    refused = next(each for each in answers if each.status_code == 429)
    assert refused.json()["detail"] == f"too many requests; try again in {said}"


def test_keys_that_are_not_known_have_the_rate_of_addresses(folder, keys):
    settings = {"keys": folder / "keys.json", "rate_per_address": "3/hour"}
    with client_of(folder, **settings) as client:
        kinds = [
            kind_of(ask(client, token=f"eg_{n}", x_forwarded_for=f"1.2.3.{n}")) for n in range(5)
        ]
        assert kinds == [*["unauthorized"] * 3, *["rate-limited"] * 2]
        assert kind_of(ask(client, token=keys["pile"])) == 200


def test_what_a_page_does_not_expect_is_a_problem(folder, monkeypatch):
    with client_of(folder) as client:
        monkeypatch.setattr("everygram.server.routes.service.openapi_document", lambda: 1 / 0)
        answer = ask(client, "GET", "/openapi.json")
    assert kind_of(answer) == "internal"
    assert "division" not in answer.text


def test_keys_that_are_revoked_and_added_are_known_soon(folder, guarded, keys):
    _, token = add(folder / "keys.json", "later", {"*": ["read"]})

    def becomes(kind):
        return any(kind_of(ask(guarded, token=token)) == kind for _ in range(1000))

    assert becomes(200)
    revoke(folder / "keys.json", "later")
    assert becomes("unauthorized")
    # (A file that is no longer there, or broken, leaves what was.)
    content = (folder / "keys.json").read_bytes()
    (folder / "keys.json").write_bytes(b"[")
    for _ in range(100):
        assert kind_of(ask(guarded, token=keys["all"])) == 200
    (folder / "keys.json").write_bytes(content)


def test_without_a_file_of_keys_all_read_and_nobody_writes(folder):
    with client_of(folder) as client:
        assert kind_of(ask(client)) == 200
        assert kind_of(ask(client, token="eg_x")) == 200
        answer = ask(client, "POST", "/v1/indexes/pile/compact")
        assert kind_of(answer) == "forbidden"
        assert "--keys" in answer.json()["detail"]


def test_rates_of_keys_and_addresses(folder, keys):
    with client_of(folder, rate_per_address="3/hour") as client:
        assert [kind_of(ask(client)) for _ in range(4)] == [200, 200, 200, "rate-limited"]
        assert ask(client).headers["retry-after"] == "1200"
        assert kind_of(ask(client, "GET", "/health/ready")) == 200
    with client_of(folder, keys=folder / "keys.json", rate_per_key="3/hour") as client:
        assert [kind_of(ask(client, token=keys["slow"])) for _ in range(3)] == [
            *(200, 200, "rate-limited"),
        ]
        assert [kind_of(ask(client, token=keys["pile"])) for _ in range(4)] == [
            *(200, 200, 200, "rate-limited"),
        ]


def test_hosts(folder):
    with client_of(folder, allowed_hosts=["lab.org", "*.lab.org"]) as client:
        for host in ("lab.org", "a.lab.org:8000"):
            assert kind_of(ask(client, host=host)) == 200
        for host in ("evil.org", "lab.org.evil.org", ""):
            assert kind_of(ask(client, host=host)) == "misdirected"
        # Probes ask an address.
        assert kind_of(ask(client, "GET", "/health/ready", host="10.0.0.1")) == 200


def test_pages_of_other_origins(folder):
    asks = {"origin": LAB, "access_control_request_method": "POST"}
    with client_of(folder) as client:
        assert kind_of(ask(client, "OPTIONS", **asks)) == "method-not-allowed"
        assert "access-control-allow-origin" not in ask(client, origin=LAB).headers
    with client_of(folder, cors_origins=[LAB], keys=folder / "keys.json") as client:
        # A browser asks without the key; and a page is to see why it was refused.
        answer = ask(client, "OPTIONS", **asks)
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["access-control-allow-origin"] == LAB
        answer = ask(client, origin=LAB)
        assert kind_of(answer) == "unauthorized"
        assert answer.headers["access-control-allow-origin"] == LAB
        assert "access-control-allow-origin" not in ask(client, origin="https://evil.org").headers
