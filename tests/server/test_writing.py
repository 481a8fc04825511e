"""Writing over HTTP: jobs change an index as `everygram.add`, `delete` and `compact` do, once."""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import psutil
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

import everygram
from conftest import write_jsonl
from everygram.errors import EverygramError
from everygram.index.union import UnionIndex
from everygram.server import jobs, problems, writing
from everygram.server.jobs import Jobs
from everygram.server.routes import writing as routes
from everygram.server.tending import Tender
from everygram.storage.verify import verify

TEXTS = ["natural language processing", "natural language", "the natural sciences"]
NEW = [
    {"text": "a new language", "year": 1999, "tags": ["a", None, 2**70, 0.1]},
    {"text": "日本語 and natural languages"},
    {"text": ""},
]
SECONDS = 60


class Key:
    """A key that may write everything but one index."""

    id = "k1"

    def allows(self, index, scope):
        return index != "readonly"


class Served:
    """The indexes of a service, as routes see them."""

    def __init__(self, folders, unions=(), aliases=()):
        self._indexes = {name: everygram.open(path) for name, path in folders.items()}
        self._aliases = dict(aliases)
        for name, of in dict(unions).items():
            self._indexes[name] = UnionIndex.of([self._indexes[each] for each in of])

    def resolved(self, name):
        name = self._aliases.get(name, name)
        if name not in self._indexes:
            raise problems.Refusal("not-found", f"index '{name}' is not served here")
        return name

    def get(self, name):
        return self._indexes[self.resolved(name)]

    def items(self):
        return self._indexes.items()


def make_app(served, tended=True, **settings):
    """The routes of writing alone, behind the admission of a key."""
    limits = {
        "max_upload_bytes": 1 << 20,
        "max_body_bytes": 1 << 20,
        "max_json_depth": 32,
        "max_query_tokens": 1000,
        "max_seconds": 30.0,
    }
    tender = Tender(served.items)

    @contextlib.asynccontextmanager
    async def lifespan(app):
        task = asyncio.create_task(tender.run())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    app = FastAPI(
        lifespan=lifespan if tended else None,
        exception_handlers={
            problems.Refusal: problems.on_refusal,
            EverygramError: problems.on_refused_query,
        },
    )
    app.include_router(routes.router)
    app.state.settings = SimpleNamespace(**limits | settings)
    app.state.indexes = served
    app.state.tender = tender

    async def admitted(scope, receive, send):
        scope["everygram.key"] = Key()
        await app(scope, receive, send)

    return admitted


@pytest.fixture
def index(tmp_path):
    """An index of three texts."""
    records = [{"text": text, "n": i} for i, text in enumerate(TEXTS)]
    everygram.build(write_jsonl(tmp_path / "corpus.jsonl", records), tmp_path / "wiki")
    return tmp_path / "wiki"


@pytest.fixture
def client(index):
    with TestClient(make_app(Served({"wiki": index})), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def idle(index):
    """A service that takes jobs and runs none."""
    app = make_app(Served({"wiki": index}), tended=False)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def lines(records):
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()


def add(client, records=NEW, name="wiki", key=None, query="", content=None):
    headers = {"content-type": "application/x-ndjson"}
    if key is not None:
        headers["idempotency-key"] = key
    content = lines(records) if content is None else content
    return client.post(f"/v1/indexes/{name}/documents{query}", content=content, headers=headers)


def delete(client, body, name="wiki", **headers):
    url = f"/v1/indexes/{name}/documents"
    return client.request("DELETE", url, json=body, headers=headers)


def ended(client, response):
    """The job that a request made, once it has ended."""
    assert response.status_code == 202, response.text
    job = response.json()
    assert response.headers["location"] == f"/v1/indexes/{job['index']}/jobs/{job['id']}"
    return waited(client, response.headers["location"])


def waited(client, where, states=jobs.ENDED):
    end = time.monotonic() + SECONDS
    while True:
        response = client.get(where)
        assert response.status_code == 200, response.text
        job = response.json()
        if job["state"] in states:
            return job
        assert time.monotonic() < end, job
        time.sleep(0.02)


def check_problem(response, status, kind):
    problem = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert response.status_code == problem["status"] == status, problem
    assert problem["type"] == f"urn:everygram:problem:{kind}"
    assert "/tmp" not in response.text
    return problem


def content_of(path):
    """All that an index says: documents with metadata, and its files' checksums."""
    with everygram.open(path) as index:
        return list(everygram.export(index)), [
            {name: file.sha256 for name, file in segment.files.items()}
            for segment in index.manifest.segments
        ]


def leftovers(path):
    """What there is below `.jobs` of documents, uploads and jobs that have not ended."""
    folder = path / jobs.FOLDER
    return sorted(
        str(each.relative_to(folder))
        for part in ("queue", "incoming")
        for each in (folder / part).glob("*")
    )


@pytest.fixture
def copy(index, tmp_path):
    """The same index, to be changed here, as the oracle."""
    return shutil.copytree(index, tmp_path / "copy")


def test_documents_added_are_those_added_here(client, index, copy, tmp_path):
    job = ended(client, add(client))
    everygram.add(copy, write_jsonl(tmp_path / "new.jsonl", NEW))
    assert content_of(index) == content_of(copy)
    with everygram.open(index) as opened:
        assert job["result"] == {
            "num_documents": 3,
            "num_tokens": sum(len(record["text"].encode()) for record in NEW),
            "first_document": 3,
            "warnings": [],
            "index_version": opened.version,
        }
    assert job["state"] == "done"
    assert job["problem"] is None and job["progress"] is None
    assert job["created"] <= job["started"] <= job["ended"]
    assert leftovers_gone(index)


def test_documents_as_json_are_those_of_lines(client, index, copy, tmp_path):
    response = client.post("/v1/indexes/wiki/documents", json={"documents": NEW})
    assert ended(client, response)["result"]["num_documents"] == 3
    everygram.add(copy, write_jsonl(tmp_path / "new.jsonl", NEW))
    assert content_of(index) == content_of(copy)


def test_fields_are_chosen_as_here(client, index, copy, tmp_path):
    records = [{"body": {"raw": "one two"}, "key": 7, "a": 1, "b": 2, "c": 3}]
    query = "?text_field=body.raw&id_field=key&metadata_fields=a&metadata_fields=c"
    ended(client, add(client, records, query=query))
    everygram.add(
        copy,
        write_jsonl(tmp_path / "new.jsonl", records),
        text_field="body.raw",
        id_field="key",
        metadata_fields=["a", "c"],
    )
    assert content_of(index) == content_of(copy)


def test_documents_are_deleted_as_here(client, index, copy):
    for body, given in [
        ({"where": {"n": 0}}, {"where": ("n", 0)}),
        ({"query": "sciences"}, {"matching": "sciences"}),
        ({"query": [32, 108]}, {"matching": [32, 108]}),
        ({"numbers": [0, 1], "missing_ok": True}, {"documents": [0, 1], "missing_ok": True}),
    ]:
        expected = everygram.delete(copy, dry_run=True, **given)
        dry = delete(client, body | {"dry_run": True})
        assert dry.status_code == 200, dry.text
        before = content_of(index)
        job = ended(client, delete(client, body))
        everygram.delete(copy, **given)
        assert content_of(index) == content_of(copy)
        for found in (dry.json(), job["result"]):
            assert found["numbers"] == list(expected.documents)
            assert found["num_documents"] == len(expected.documents)
            assert found["num_tokens"] == expected.num_tokens
        assert bool(expected.documents) == (before != content_of(index))


def test_deletion_by_post_is_the_same(client, index):
    body = {"numbers": [1]}
    assert ended(client, client.post("/v1/indexes/wiki/documents/delete", json=body))["result"][
        "numbers"
    ] == [1]


def test_compaction_and_preparation(client, index, copy):
    ended(client, add(client))
    ended(client, delete(client, {"numbers": [0]}))
    response = client.post("/v1/indexes/wiki/compact", json={"full": True, "prepare": True})
    job = ended(client, response)
    assert job["operation"] == "compact"
    assert job["result"]["segments_before"] == 3
    assert job["result"]["segments_after"] == 1
    assert job["result"]["prepared"]
    with everygram.open(index) as opened:
        assert job["result"]["index_version"] == opened.version
        assert opened.info()["prepared"]


def test_compaction_to_another_kind(client, index, copy):
    added = ended(client, add(client))["result"]
    for kind in ("self-index", "suffix-array"):
        job = ended(client, client.post("/v1/indexes/wiki/compact", json={"kind": kind}))
        assert job["result"]["segments_after"] == 1
        with everygram.open(index) as opened:
            assert {segment["kind"] for segment in opened.info()["segments"]} == {kind}
            assert opened.num_documents == added["first_document"] + added["num_documents"]


def test_ids_are_added_where_there_is_no_tokenizer(tmp_path):
    folder = tmp_path / "ids"
    (tmp_path / "ids.bin").write_bytes(b"".join(n.to_bytes(2, "little") for n in [0, 5, 6, 0, 7]))
    everygram.build(
        tmp_path / "ids.bin", folder, pretokenized="u16", separator_id=0, vocab_size=501
    )
    with TestClient(make_app(Served({"ids": folder}))) as client:
        records = [{"ids": [1, 2, 500]}, {"ids": []}, {"ids": [5, 6, 7]}]
        job = ended(client, add(client, records, "ids"))
        assert job["result"]["num_documents"] == 3
        assert job["result"]["num_tokens"] == 6
        with everygram.open(folder) as index:
            assert index.count([5, 6]).count == 2
            assert index.document(2).token_ids.tolist() == [1, 2, 500]
            assert index.document(3).token_ids.tolist() == []
        for record, said in [
            ({"ids": [501]}, "line 1: expected ids in [0, 501), found 501"),
            ({"ids": [True]}, "line 1: expected ids in [0, 501), found true"),
            ({"text": "x"}, 'line 1: expected {"ids": [token ids]}: the index has no tokenizer'),
            ({"ids": [1], "n": 1}, "line 1: unknown field 'n'"),
        ]:
            problem = check_problem(add(client, [record], "ids"), 422, "bad-query")
            assert problem["detail"].startswith(said)


@pytest.mark.parametrize(
    ("content", "kind", "said"),
    [
        (b'{"text": "a"}\n{"txt": "b"}\n', "bad-query", "line 2: "),
        (b'{"text": "a"}\n\n{"text": 3}\n', "bad-query", "line 3: "),
        (b'{"text": "a"}\n{"text": "b"\n', "bad-query", "line 2: not a JSON record"),
        (b'{"text": "a", "text": "b"}\n', "bad-query", "line 1: "),
        (b'{"text": "\xff"}\n', "bad-query", "line 1: not UTF-8"),
        (b"", "bad-query", "the body is empty"),
        (b" \n\n", "bad-query", "the body is empty"),
        (b'["text"]\n', "bad-json", "the body: expected a JSON object"),
        (b"\x1f\x8b\x08\x00", "bad-json", "the body: expected a JSON object"),
    ],
    ids=["field", "type", "cut", "twice", "utf8", "empty", "blank", "array", "gzip"],
)
def test_small_bodies_are_checked_before_there_is_a_job(client, index, content, kind, said):
    status = {"bad-query": 422, "bad-json": 400}[kind]
    problem = check_problem(add(client, content=content), status, kind)
    assert problem["detail"].startswith(said), problem
    assert leftovers_gone(index)
    assert client.get("/v1/indexes/wiki/jobs").json() == {"jobs": []}


def leftovers_gone(path):
    # (What was uploaded is removed in a thread.)
    end = time.monotonic() + 5
    while leftovers(path) and time.monotonic() < end:
        time.sleep(0.01)
    return leftovers(path) == []


def test_large_bodies_are_checked_by_the_job(client, index, monkeypatch):
    monkeypatch.setattr(routes, "CHECKED", 0)
    before = content_of(index)
    job = ended(client, add(client, [*NEW, {"txt": "no text"}]))
    assert job["state"] == "failed"
    assert job["problem"]["type"] == "urn:everygram:problem:bad-query"
    assert job["problem"]["detail"].startswith("line 4: ")
    job = ended(client, client.post("/v1/indexes/wiki/documents", json={"documents": [NEW[0], {}]}))
    assert job["problem"]["detail"].startswith("#/documents/1: ")
    assert content_of(index) == before
    assert leftovers_gone(index)


def test_what_is_too_large_is_refused(index):
    app = make_app(Served({"wiki": index}), tended=False, max_upload_bytes=1000, max_body_bytes=500)
    with TestClient(app) as client:
        big = [{"text": "x" * 1000}]
        check_problem(add(client, big), 413, "body-too-large")

        def pieces():
            for _ in range(50):
                yield lines([{"text": "x" * 100}])

        response = client.post(
            "/v1/indexes/wiki/documents",
            content=pieces(),
            headers={"content-type": "application/x-ndjson"},
        )
        check_problem(response, 413, "body-too-large")
        response = client.post("/v1/indexes/wiki/documents", json={"documents": big})
        check_problem(response, 413, "body-too-large")
        check_problem(delete(client, {"numbers": [1] * 1000}), 413, "body-too-large")
        exact = lines([{"text": "x" * 988}])
        assert len(exact) == 1002 - 1
        assert add(client, content=exact[:-1]).status_code == 202
    assert leftovers_gone(index) or len(leftovers(index)) == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "expected one of numbers, where and query, found none"),
        ({"numbers": [1], "query": "a"}, "expected one of numbers, where and query"),
        ({"numbers": [-1]}, "#/numbers/0: "),
        ({"numbers": ["1"]}, "#/numbers/0: "),
        ({"where": {"a": 1, "b": 2}}, "#/where: "),
        ({"where": {"a": [1]}}, "#/where/a"),
        ({"query": ""}, "query: expected an n-gram"),
        ({"query": [70000]}, "ids: "),
        ({"where": {"n": 1}, "missing_ok": True}, "missing_ok goes with numbers"),
        ({"numbers": [1], "raw": True}, "raw goes with query"),
        ({"number": [1]}, "#/number: unknown field 'number'"),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else "",
)
def test_wrong_deletions_are_refused(idle, body, said):
    problem = check_problem(delete(idle, body), 422, "bad-query")
    assert said.removeprefix("ids: ") in problem["detail"], problem


def test_wrong_requests_are_refused(idle):
    url = "/v1/indexes/wiki"
    problem = check_problem(add(idle, query="?text_feild=x"), 422, "bad-query")
    assert "unknown field 'text_feild'" in problem["detail"]
    response = idle.post(f"{url}/documents", content=b"a", headers={"content-type": "text/plain"})
    check_problem(response, 415, "unsupported-media-type")
    response = idle.post(
        f"{url}/documents", json={"documents": []}, headers={"content-encoding": "gzip"}
    )
    check_problem(response, 415, "unsupported-media-type")
    for body, status, kind in [
        (b'{"full": true, "full": true}', 400, "duplicate-key"),
        (b'{"full": tru', 400, "bad-json"),
        (b'{"full": 1}', 422, "bad-query"),
        (b'{"prepare": true}', 422, "bad-query"),
        (b'{"kind": "tree"}', 422, "bad-query"),
    ]:
        response = idle.post(
            f"{url}/compact", content=body, headers={"content-type": "application/json"}
        )
        check_problem(response, status, kind)
    check_problem(idle.get(f"{url}/jobs/nothing"), 404, "not-found")
    check_problem(idle.get(f"{url}/jobs/{'0' * 25}"), 404, "not-found")
    check_problem(idle.delete(f"{url}/jobs/{'0' * 25}"), 404, "not-found")
    problem = check_problem(add(idle, query="?text_field=body"), 422, "bad-query")
    said = "line 1: no field 'body'; the record has 'text', 'year', 'tags'; name the text with "
    assert problem["detail"] == f"{said}text_field"
    check_problem(delete(idle, {"query": "x" * 2000}), 422, "query-too-long")
    check_problem(add(idle, key=" "), 422, "bad-query")
    check_problem(add(idle, key="x" * 201), 422, "bad-query")


def test_unions_aliases_and_keys_without_the_scope(index, tmp_path):
    other = shutil.copytree(index, tmp_path / "other")
    served = Served(
        {"wiki": index, "readonly": other},
        unions={"all": ["wiki", "readonly"]},
        aliases={"w": "wiki", "r": "readonly"},
    )
    with TestClient(make_app(served)) as client:
        job = ended(client, add(client, name="w"))
        assert job["index"] == "w" and job["state"] == "done"
        assert client.get(f"/v1/indexes/wiki/jobs/{job['id']}").json() == job
        problem = check_problem(add(client, name="all"), 409, "conflict")
        assert "write to one of them" in problem["detail"]
        for response in (
            add(client, name="readonly"),
            add(client, name="r"),
            delete(client, {"numbers": [1]}, "readonly"),
            client.post("/v1/indexes/readonly/documents/delete", json={"numbers": [1]}),
            client.post("/v1/indexes/readonly/compact", json={}),
            client.get("/v1/indexes/readonly/jobs"),
        ):
            check_problem(response, 403, "forbidden")
        check_problem(add(client, name="nothing"), 404, "not-found")


# Once.


def test_a_key_makes_one_job(client, index):
    first = add(client, key="a")
    job = ended(client, first)
    again = add(client, key="a")
    assert again.status_code == 202 and again.json() == job
    assert again.headers["location"] == first.headers["location"]
    problem = check_problem(add(client, NEW[:1], key="a"), 409, "conflict")
    assert job["id"] in problem["detail"]
    check_problem(add(client, key="a", query="?metadata_fields=year"), 409, "conflict")
    check_problem(delete(client, {"numbers": [1]}, **{"idempotency-key": "a"}), 409, "conflict")
    assert ended(client, add(client, key="b"))["id"] != job["id"]
    with everygram.open(index) as opened:
        assert opened.num_documents == len(TEXTS) + 2 * len(NEW)
    assert leftovers_gone(index)


def test_a_key_outlives_the_service_and_is_known_to_others(index):
    served = Served({"wiki": index})
    with (
        TestClient(make_app(served, tended=False)) as one,
        TestClient(make_app(served, tended=False)) as two,
    ):
        job = add(one, key="a").json()
        assert add(two, key="a").json() == job
    with TestClient(make_app(served)) as client:
        assert add(client, key="a").json()["id"] == job["id"]
        assert waited(client, f"/v1/indexes/wiki/jobs/{job['id']}")["state"] == "done"
    with everygram.open(index) as opened:
        assert opened.num_documents == len(TEXTS) + len(NEW)


def test_the_same_key_at_once_makes_one_job(index):
    served = Served({"wiki": index})
    apps = [make_app(served, tended=False) for _ in range(4)]
    found = []
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(TestClient(app)) for app in apps]
        for client in clients:
            # (FastAPI completes the routes, which these have in common, at the first request: not
            # in several threads.)
            assert client.get("/v1/indexes/wiki/jobs").status_code == 200
        threads = [
            threading.Thread(target=lambda c=client: found.append(add(c, key="k").json()["id"]))
            for client in clients * 4
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 16 and len(set(found)) == 1
    assert len(leftovers(index)) == 1


def test_jobs_wait_in_order_and_not_too_many(index):
    served = Served({"wiki": index})
    with TestClient(make_app(served, tended=False)) as client:
        made = [add(client, [{"text": f"number {n}"}]).json()["id"] for n in range(16)]
        response = add(client)
        check_problem(response, 503, "overloaded")
        assert response.headers["retry-after"]
        listed = client.get("/v1/indexes/wiki/jobs").json()["jobs"]
        assert [job["id"] for job in listed] == made[::-1]
        assert {job["state"] for job in listed} == {"queued"}
        for number in made[2:]:
            cancelled = client.delete(f"/v1/indexes/wiki/jobs/{number}")
            assert cancelled.status_code == 200 and cancelled.json()["state"] == "cancelled"
            assert client.delete(f"/v1/indexes/wiki/jobs/{number}").json() == cancelled.json()
    with TestClient(make_app(served)) as client:
        for number in made[:2]:
            assert waited(client, f"/v1/indexes/wiki/jobs/{number}")["state"] == "done"
        response = client.delete(f"/v1/indexes/wiki/jobs/{made[0]}")
        check_problem(response, 409, "conflict")
    with everygram.open(index) as opened:
        assert [opened.document(number).text for number in (3, 4)] == ["number 0", "number 1"]
        assert opened.num_documents == 5


# Whatever ends.

RUN = """
import os, sys
from pathlib import Path
from unittest import mock
import everygram.building.{module} as module
from everygram.server import writing
published = module.publish
def publish(*given):
    {before}
    published(*given)
    os._exit(9)
with mock.patch.object(module, "publish", publish):
    writing.run(Path(sys.argv[1]))
"""
# Ended before the change is published, or right after it.
MOMENTS = {"before": "os._exit(9)", "after": "pass"}


def killed(store, module, moment):
    """Begin the next job, and end its process around its publication."""
    begun = store.begin()
    script = RUN.format(module=module, before=MOMENTS[moment])
    folder = store.folder / "queue" / begun.number
    done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True)
    assert done.returncode == 9, done.stderr.decode()
    return folder


def settle(store, end=None):
    """Run the job that has begun, here, as its next process does; the job as it is then."""
    begun = store.begin()
    writing.run(store.folder / "queue" / begun.number, end or begun.end)
    assert store.begin() is None
    return store.get(begun.number)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("forgotten", [False, True], ids=["told", "forgotten"])
def test_an_addition_that_is_killed_is_done_once(idle, index, copy, tmp_path, moment, forgotten):
    add(idle, key="a")
    store = Jobs(index)
    killed(store, "publishing", moment)
    if forgotten:  # the writer had been told, and had forgotten (see `changed_index`)
        (index / "done.json").unlink(missing_ok=True)
    job = settle(store)
    everygram.add(copy, write_jsonl(tmp_path / "new.jsonl", NEW))
    assert content_of(index) == content_of(copy)
    with everygram.open(index) as opened:
        assert job["result"] == {
            "num_documents": 3,
            "num_tokens": sum(len(record["text"].encode()) for record in NEW),
            "first_document": 3,
            "warnings": [],
            "index_version": opened.version,
        }
    assert add(idle, key="a").json() == job
    assert leftovers_gone(index)


def test_an_addition_is_known_after_other_changes(idle, index):
    add(idle)
    store = Jobs(index)
    killed(store, "publishing", "after")
    everygram.delete(index, documents=[0])
    everygram.compact(index, full=True)
    job = settle(store)
    assert job["result"]["num_documents"] == 3
    assert job["result"]["first_document"] == 3
    assert job["result"]["num_tokens"] is None
    with everygram.open(index) as opened:
        assert opened.num_documents == len(TEXTS) + len(NEW) - 1


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_deletion_that_is_killed_is_done_once(idle, index, copy, moment):
    delete(idle, {"query": "language"})
    store = Jobs(index)
    killed(store, "deletion", moment)
    # What is added meanwhile was not to be deleted.
    for path in (index, copy):
        everygram.add(path, iter(["one more language"]))
    job = settle(store)
    everygram.delete(copy, documents=[0, 1])
    assert list(exported(index)) == list(exported(copy))
    assert job["state"] == "done"
    assert job["result"]["numbers"] == [0, 1]
    assert job["result"]["num_documents"] == 2


def exported(path):
    return content_of(path)[0]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("end", ["cancelled", "failed"])
def test_a_job_that_is_not_to_go_on_says_whether_it_is_done(idle, index, moment, end):
    before, names = content_of(index), {each.name for each in index.iterdir()}
    add(idle)
    store = Jobs(index)
    killed(store, "publishing", moment)
    job = settle(store, end)
    if moment == "after":
        assert job["state"] == "done" and job["result"]["first_document"] == 3
        return
    assert job["state"] == end
    assert content_of(index) == before
    assert {each.name for each in index.iterdir()} == names | {jobs.FOLDER}
    assert (job["problem"] is None) == (end == "cancelled")


def test_a_compaction_that_is_killed_goes_on(idle, index):
    everygram.add(index, iter(["one more"]))
    idle.post("/v1/indexes/wiki/compact", json={"full": True})
    store = Jobs(index)
    killed(store, "compaction", "after")
    job = settle(store)
    assert (job["result"]["segments_before"], job["result"]["segments_after"]) == (2, 1)


def test_a_job_whose_process_always_dies_fails(idle, index, monkeypatch):
    before = content_of(index)
    number = add(idle).json()["id"]
    store = Jobs(index)
    for _ in range(jobs.MOST_ATTEMPTS):
        assert store.begin() == (number, None)
    job = settle(store)
    assert job["state"] == "failed"
    assert job["problem"]["kind"] == "internal"
    assert "ended 5 times" in job["problem"]["detail"]
    assert content_of(index) == before
    problem = idle.get(f"/v1/indexes/wiki/jobs/{number}").json()["problem"]
    assert problem["type"] == "urn:everygram:problem:internal" and problem["status"] == 500


def test_a_full_disk_fails_the_job_and_harms_nothing(idle, index, monkeypatch):
    before = content_of(index)
    add(idle)
    usage = SimpleNamespace(free=10, total=10, used=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    job = settle(Jobs(index))
    assert job["state"] == "failed"
    assert job["problem"]["kind"] == "index-unavailable"
    assert "no space left at 'wiki'" in job["problem"]["detail"]
    assert content_of(index) == before
    assert leftovers(index) == []


def test_jobs_wait_for_other_writers(client, index):
    script = (
        "import sys, time; from everygram.storage.directory import changed_index as c; "
        "from pathlib import Path\n"
        "with c(Path(sys.argv[1]), 'addition'): print('on', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(index)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        writer.stdout.readline()
        where = add(client).headers["location"]
        end = time.monotonic() + SECONDS
        while (client.get(where).json()["progress"] or {}).get("stage") != "wait":
            assert time.monotonic() < end
            time.sleep(0.05)
        writer.stdin.close()
    assert waited(client, where)["state"] == "done"


def slow_lines():
    """Documents that take a while to add."""
    return lines([{"text": f"{n} " * 40} for n in range(40_000)])


def processes_of(index):
    """The processes of jobs on this index."""
    return [
        each
        for each in psutil.process_iter(["cmdline"])
        if any(str(index) in part for part in each.info["cmdline"] or ())
        and "everygram.server.writing" in each.info["cmdline"]
    ]


def test_a_job_that_runs_is_cancelled_and_the_next_runs(index):
    before = content_of(index)
    app = make_app(Served({"wiki": index}), max_upload_bytes=1 << 30)
    with TestClient(app) as client:
        where = add(client, content=slow_lines()).headers["location"]
        later = add(client).headers["location"]
        waited(client, where, ("running",))
        response = client.delete(where)
        assert response.status_code == 202 and response.json()["state"] == "running"
        job = waited(client, where)
        assert job["state"] == "cancelled" and job["result"] is None
        assert client.delete(where).json()["state"] == "cancelled"
        assert waited(client, later)["result"]["first_document"] == 3
        assert leftovers_gone(index)
    assert exported(index)[:3] == before[0]
    assert processes_of(index) == []


def test_a_service_that_ends_leaves_a_job_to_the_next(index):
    served = Served({"wiki": index})
    with TestClient(make_app(served, max_upload_bytes=1 << 30)) as client:
        where = add(client, content=slow_lines(), key="a").headers["location"]
        waited(client, where, ("running",))
        end = time.monotonic() + SECONDS
        while not processes_of(index):
            assert time.monotonic() < end
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert processes_of(index) == []
    store = Jobs(index)
    assert store.get(where.rpartition("/")[2])["state"] == "queued"
    with TestClient(make_app(served)) as client:
        job = waited(client, where)
        assert job["result"]["num_documents"] == 40_000
    with everygram.open(index) as opened:
        assert opened.num_documents == 40_003


def test_a_job_ends_with_the_process_that_began_it(index, tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\n"
        "from everygram.server import tending\nfrom everygram.server.jobs import Jobs\n"
        "jobs = Jobs(Path(sys.argv[1]))\nlock = jobs.lock()\n"
        "print(tending._started(jobs, jobs.begin(), lock).pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    app = make_app(Served({"wiki": index}), tended=False, max_upload_bytes=1 << 30)
    with TestClient(app) as client:
        add(client, content=slow_lines())
    with subprocess.Popen(
        [sys.executable, str(script), str(index)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        assert Jobs(index).lock() is None
        parent.kill()
    # (Orphans are reaped by others, here perhaps by nobody.)
    end = time.monotonic() + SECONDS
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.05)
    lock = Jobs(index).lock()
    assert lock is not None
    os.close(lock)


def test_queries_see_one_state_or_the_other(index):
    """Readers that follow the index see all of a change or nothing of it."""
    new = [{"text": "a new word"} for _ in range(200)]
    seen, stop = set(), threading.Event()

    def ask():
        with everygram.open(index) as opened:
            while not stop.is_set():
                opened.refresh()
                counts = opened.count_batch(["new", "word", "language"])
                seen.add(tuple(each.count for each in counts))

    with TestClient(make_app(Served({"wiki": index}))) as client:
        reader = threading.Thread(target=ask)
        reader.start()
        try:
            ended(client, add(client, new))
            ended(client, delete(client, {"query": "word"}))
            ended(client, client.post("/v1/indexes/wiki/compact", json={"full": True}))
        finally:
            time.sleep(0.2)
            stop.set()
            reader.join()
    assert seen == {(0, 0, 2), (200, 200, 2)}


# What is kept.


def test_what_is_kept_is_bounded(idle, index, monkeypatch):
    store = Jobs(index)
    numbers = []
    for n in range(4):
        numbers.append(add(idle, key=str(n)).json()["id"])
        store.cancel(numbers[-1])
    left = store.incoming()
    os.utime(left, (0, 0))
    monkeypatch.setattr(jobs, "MOST_KEPT", 2)
    store.tidy()
    assert [job["id"] for job in store.recent(10)] == numbers[:1:-1]
    assert len(list((store.folder / "keys").iterdir())) == 2
    assert not left.exists()
    monkeypatch.setattr(jobs, "KEPT_SECONDS", 0)
    store.tidy()
    assert store.recent(10) == []
    assert list((store.folder / "keys").iterdir()) == []


def test_an_index_with_jobs_is_an_index(idle, index, tmp_path):
    add(idle)
    assert verify(index, lambda *_: None) == []
    everygram.upgrade(index)
    everygram.add(index, iter(["one more"]))
    everygram.compact(index, full=True)
    everygram.prepare(index)
    assert len(leftovers(index)) == 1
    # Nothing of it is read as a corpus.
    report = everygram.build(index.parent, tmp_path / "out")
    assert report.num_documents == len(TEXTS)


def test_a_job_reads_no_file_but_its_own(idle, index, tmp_path):
    add(idle)
    (folder,) = (index / jobs.FOLDER / "queue").iterdir()
    secret = write_jsonl(tmp_path / "secret.jsonl", [{"text": "secret"}])
    (folder / "documents.jsonl").unlink()
    (folder / "documents.jsonl").symlink_to(secret)
    job = settle(Jobs(index))
    assert job["state"] == "failed"
    with everygram.open(index) as opened:
        assert opened.count("secret").count == 0


@pytest.mark.parametrize("name", ["incoming", "keys", "queue", "done"])
def test_links_that_an_index_came_with_lead_nowhere(index, tmp_path, name):
    others = tmp_path / "others"
    (others / "folder").mkdir(parents=True)
    for file in (others / "mine.json", others / "folder" / "mine.json"):
        file.write_text("{}")
        os.utime(file, (0, 0))
    os.utime(others / "folder", (0, 0))
    before = sorted(others.rglob("*"))
    (index / jobs.FOLDER).mkdir(0o700)
    (index / jobs.FOLDER / name).symlink_to(others)
    store = Jobs(index)
    store.tidy()
    assert store.begin() is None
    assert store.recent(10) == []
    assert sorted(others.rglob("*")) == before
    if name == "incoming":
        with pytest.raises(PermissionError, match="is a link"):
            store.incoming()


def test_jobs_are_not_kept_where_a_link_leads(index, tmp_path):
    (tmp_path / "others").mkdir()
    (index / jobs.FOLDER).symlink_to(tmp_path / "others")
    store = Jobs(index)
    for use in (store.incoming, store.lock, store.tidy, store.begin):
        with pytest.raises(PermissionError, match="is a link"):
            use()
    assert list((tmp_path / "others").iterdir()) == []
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (tmp_path / "state.json.tmp").symlink_to(secret)
    with pytest.raises(OSError):
        jobs.write(tmp_path / "state.json", {})
    assert secret.read_text() == "secret"
