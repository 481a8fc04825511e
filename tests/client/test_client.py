"""An index of a service answers as the index itself: every method, every error.

And what clients do beside that: they try again, write, and are awaited; `everygram --remote`.
"""

import asyncio
import contextlib
import inspect
import json
import math
import os
import pickle
import shutil
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

import everygram
from conftest import write_jsonl
from everygram.client import reading as reading_module
from everygram.client.asking import defaults_of
from everygram.client.asynchronous import AsyncRemoteIndex, AsyncRemoteLanguageModel
from everygram.client.index import RemoteIndex, RemoteLanguageModel
from everygram.client.language import ModelQuestions
from everygram.client.questions import Questions
from everygram.server.answering import OPERATIONS
from everygram.server.keys import add

EVERYGRAM = Path(sys.executable).with_name("everygram")
TEXTS = [
    "natural language processing",
    "natural language",
    "",
    "the natural sciences — 日本語 and languages",
    "language models process language",
]
DOCUMENTS = [[1, 2, 3], [1, 2, 4, 1, 2, 3], [], [500, 1, 2]]
NAMES = ["corpus", "ids", "both"]
# What is about files, which a client has not.
OF_FILES = {"engine", "manifest", "disturbed"}
OF_BYTES = ("prob_batch", [["natural", "langua"], [" ", "g"]], {})
# Calls of methods: of an index of text, of one without a tokenizer.
BOTH = [
    ("document_count_batch", [[[1, 2], [2]]], {}),
    ("count", [[1, 2]], {}),
    ("count", [[]], {}),
    ("count", [np.array([1, 2])], {}),
    ("count_batch", [[[1, 2], [], [3]]], {}),
    ("count_batch", [[]], {}),
    ("count_batch", [np.array([1, 2, 3]), [0, 1, 3]], {}),
    ("document_count", [[1, 2]], {}),
    ("prob", [[1, 2, 3]], {}),
    ("prob", [[1, 2], 3], {}),
    ("prob_batch", [[[1, 2], [2]], [3, 4]], {}),
    ("infgram_prob", [[7, 1, 2], 3], {}),
    ("infgram_prob_batch", [[[1, 2, 3], [9, 2, 4]]], {}),
    ("ntd", [[1, 2]], {}),
    ("ntd", [[9, 9]], {}),
    ("ntd", [[]], {"max_support": 2}),
    ("ntd_batch", [[[1, 2], [], [9, 9]]], {}),
    ("ntd_batch", [[]], {}),
    ("infgram_ntd", [[7, 1, 2]], {}),
    ("infgram_ntd_batch", [[[1], [7, 1, 2]]], {"max_support": 3}),
    ("score", [[1, 2, 3]], {}),
    ("score_batch", [[[1, 2, 3], []]], {"order": 2}),
    ("longest_matches", [[1, 2, 3, 1]], {}),
    ("novelty", [[1, 2, 3, 7]], {"max_n": 4}),
    ("novelty_batch", [[[1, 2, 3, 7], [], [9]]], {"creativity_bounds": (2, 3)}),
    ("novelty_batch", [np.array([1, 2, 3]), [0, 1, 3]], {}),
    ("find", [[1, 2]], {}),
    ("find", [[]], {"limit": 2, "offset": 1}),
    ("find", [[]], {"limit": None}),
    ("find", [[2]], {"sample": 1, "seed": 3}),
    ("find", [[9, 9]], {"context": 3}),
    ("find", [[1, 2]], {"context": 3, "limit": 0}),
    ("document", [], {"query": [], "occurrence": 1, "context": 2}),
    ("draft", [[1, 2]], {}),
    ("draft", [[1, 2]], {"max_factor": math.inf, "lookback": 2}),
    ("search", ["ids:1,2 OR ids:3"], {}),
    ("search", [[[[1, 2]], [[3]]]], {"within": 5, "order": "bm25"}),
    ("search", ["NOT ids:1,2"], {"limit": None}),
    ("attribute", [[1, 2, 3]], {}),
    ("encode", [[1, 2]], {}),
    ("encode_prob", [[1, 2], 3], {}),
]
TEXT = [
    ("count", ["natural language"], {}),
    ("count", ["natural"], {"raw": True}),
    ("count_batch", [["natural language", "", [110, 97]]], {}),
    ("document_count", ["language"], {}),
    ("document_count_batch", [["language", "日本"]], {}),
    ("prob", ["natural language"], {}),
    ("prob", ["natural", " "], {}),
    ("infgram_prob", ["xx natural", " "], {}),
    ("ntd", ["a"], {}),
    ("infgram_ntd", ["the natural"], {}),
    ("infgram_ntd_batch", [["the natural", "日"]], {}),
    ("score", ["natural language"], {}),
    ("score_batch", [["natural", "日本"]], {}),
    ("longest_matches", ["the natural language"], {}),
    ("novelty", ["the natural language of new"], {}),
    ("novelty_batch", [["the natural language", "new"]], {"raw": True}),
    ("count_text", ["Natural"], {"ignore_case": True}),
    ("count_text_batch", [["natural", "日本", "zz"]], {"whole_words": True}),
    ("document_count_text", ["language"], {}),
    ("tokenizations", ["natural"], {}),
    ("tokenizations", ["natural"], {"ignore_case": True, "limit": 1}),
    ("find_text", ["language"], {"context": 3}),
    ("find_text", ["lang"], {"limit": None}),
    ("find_text", ["lang"], {"offset": 1, "limit": 2}),
    ("find_text", ["absent"], {"context": 3}),
    ("find_text", ["lang"], {"context": 3, "limit": 0}),
    ("find", ["language"], {"context": 3}),
    ("document", [], {"query": "language", "occurrence": 1}),
    ("document", [], {"text": "日本", "context": 2}),
    ("document", [], {"text": "本", "context": 1}),
    ("document", [], {"text": "本", "context": 5}),
    ("document", [], {"text": "lang", "occurrence": 2}),
    ("draft", ["natural"], {"max_tokens": 4}),
    ("search", ["natural AND language"], {"limit": 1}),
    ("search", ["language NEAR/30 natural"], {"order": "matches"}),
    ("search", ["language"], {"where": ("id", 1)}),
    ("search", ["language"], {"sample": 2, "seed": 1}),
    ("attribute", ["the natural language"], {"density": None, "prompt": "what"}),
    ("encode", ["natural"], {}),
    ("encode_prob", ["natural", " "], {}),
    ("decode", [[110, 97]], {}),
]
WRONG = [
    ("count", [None], {}),
    ("count", [[1.5]], {}),
    ("count", [{1, 2}], {}),
    ("count", [[100_000]], {}),
    ("count", [[-1]], {}),
    ("count", [[True]], {}),
    ("count_batch", ["text"], {}),
    ("count_batch", [[[1], [100_000]]], {}),
    ("count_batch", [np.array([1, 2])], {}),
    ("prob", [[]], {}),
    ("prob_batch", [[[1], [2]], [1]], {}),
    ("ntd", [[1]], {"max_support": -1}),
    ("score", [[1]], {"order": 0}),
    ("document", [1_000], {}),
    ("document", [], {}),
    ("search", ["a AND"], {}),
    ("search", ["ids:1"], {"order": "best"}),
    ("search", ["ids:1"], {"cursor": "nonsense"}),
    ("find", [[1]], {"limit": -1}),
    ("draft", [[1]], {"max_tokens": 0}),
    ("documents", ["12"], {}),
]


def write_ids(path, documents, vocab_size=501):
    stream = [token for document in documents for token in [0, *document]]
    file = path.with_suffix(".bin")
    np.array(stream, "<u2").tofile(file)
    everygram.build(file, path, pretokenized="u16", separator_id=0, vocab_size=vocab_size)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Indexes: `corpus`, `more` (bytes), `trained` (its tokenizer is a file), and `ids`, which
    has none.
    """
    folder = tmp_path_factory.mktemp("served")
    records = [{"text": text, "id": i, "tags": ["a", None, 2**70]} for i, text in enumerate(TEXTS)]
    everygram.build(write_jsonl(folder / "a.jsonl", records), folder / "corpus", "bytes")
    everygram.build(write_jsonl(folder / "b.jsonl", records[2:]), folder / "more", "bytes")
    everygram.build(folder / "a.jsonl", folder / "trained", "train:270")
    everygram.prepare(folder / "corpus")
    shutil.copytree(folder / "more", folder / "changing")
    write_ids(folder / "ids", DOCUMENTS)
    return folder


@pytest.fixture(scope="module")
def token(folder):
    """A key that may read and write all."""
    _, token = add(folder / "keys.json", "all", {"*": ["read", "write"]}, None)
    return token


@contextlib.contextmanager
def served(said, *arguments):
    """The address of a service with these arguments; said: a file for what it says."""
    with said.open("w") as file:
        process = subprocess.Popen([EVERYGRAM, "serve", *arguments, "--port", "0"], stderr=file)
    try:
        end = time.monotonic() + 300
        while "the manual is at " not in said.read_text():
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < end, said.read_text()
            time.sleep(0.05)
        yield said.read_text().partition("the manual is at ")[2].partition("/docs")[0]
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def url(folder, token):
    """The service's address."""
    names = ["corpus", "more", "ids", "trained", "changing"]
    arguments = [*(folder / name for name in names), "--union", "both=corpus,more"]
    arguments += ["--keys", folder / "keys.json", "--follow-seconds", "0.1"]
    with served(folder / "said.txt", *arguments) as url:
        yield url


@pytest.fixture(scope="module")
def narrow(folder):
    """The address of a service with narrow limits, which wants no key."""
    limits = ["--max-occurrences", "3", "--max-documents", "2", "--max-query-tokens", "30"]
    with served(folder / "narrow.txt", folder / "corpus", folder / "ids", *limits) as url:
        yield url


@pytest.fixture(scope="module")
def narrower(folder):
    """The same with limits that are below what methods ask for by themselves."""
    limits = ["--max-occurrences", "3", "--max-documents", "2", "--max-batch", "3"]
    limits += ["--max-context", "5", "--max-top", "4"]
    with served(folder / "narrower.txt", folder / "corpus", *limits) as url:
        yield url


@pytest.fixture(scope="module")
def client(url, token):
    with everygram.Client(url, token) as client:
        yield client


@pytest.fixture(scope="module")
def pairs(folder, client):
    """Each index here, and there."""
    with (
        everygram.open(folder / "corpus") as corpus,
        everygram.open(folder / "ids") as ids,
        everygram.open(folder / "trained") as trained,
        everygram.open([folder / "corpus", folder / "more"]) as both,
    ):
        local = {"corpus": corpus, "ids": ids, "trained": trained, "both": both}
        yield {name: (index, client.index(name)) for name, index in local.items()}


def said(result):
    """All that a result says."""
    if isinstance(result, list):
        return [type(result), [said(each) for each in result]]
    if isinstance(result, np.ndarray):
        return [result.dtype, result.tolist()]
    if hasattr(result, "as_dict"):
        shown = result.as_dict()
        if isinstance(shown.get("index"), dict):
            shown["index"].pop("name")
        return [type(result), shown, int(result) if isinstance(result, int) else None]
    if hasattr(result, "_result"):
        return [type(result), [said(each) for each in result]]
    return result


def cases(rows):
    return [pytest.param(*row, id=f"{number}-{row[0]}") for number, row in enumerate(rows)]


def check(pair, method, args, options):
    here, there = (getattr(index, method)(*args, **options) for index in pair)
    assert said(here) == said(there)
    if not isinstance(here, int | str | list):
        assert repr(here) == repr(there)
    if isinstance(here, everygram.Attribution):
        return
    for result in (there, pickle.loads(pickle.dumps(there))):
        same = np.array_equal(here, result) if isinstance(here, np.ndarray) else here == result
        assert same
    if isinstance(here, everygram.Document):
        assert here.token_ids.dtype == there.token_ids.dtype


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("method", "args", "options"), cases(BOTH))
def test_the_same_result_of_ids(pairs, name, method, args, options):
    check(pairs[name], method, args, options)


@pytest.mark.parametrize("name", ["corpus", "trained", "both"])
@pytest.mark.parametrize(("method", "args", "options"), cases(TEXT))
def test_the_same_result_of_texts(pairs, name, method, args, options):
    check(pairs[name], method, args, options)


@pytest.mark.parametrize("name", ["corpus", "both"])
def test_the_same_result_of_continuations(pairs, name):
    """(Which of the other tokenizer are more than one token.)"""
    check(pairs[name], *OF_BYTES)


def test_the_same_documents(pairs):
    check(pairs["corpus"], "documents", [[3, 0]], {"context": 4})
    check(pairs["corpus"], "document", [1], {})
    check(pairs["both"], "documents", [[1, 2]], {"index": [0, 1]})
    check(pairs["both"], "document", [1], {"index": 1})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("method", "args", "options"), cases(WRONG))
def test_the_same_error(pairs, name, method, args, options):
    errors = []
    for index in pairs[name]:
        with pytest.raises(everygram.QueryError) as caught:
            getattr(index, method)(*args, **options)
        errors.append(caught)
    assert errors[0].type is errors[1].type


def test_the_message_of_an_error_is_the_same(pairs):
    for method, args in [("count", [[100_000]]), ("count", [[-1]]), ("search", ["a AND"])]:
        said = []
        for index in pairs["corpus"]:
            with pytest.raises(everygram.QueryError) as caught:
                getattr(index, method)(*args)
            said.append(str(caught.value))
        assert said[0] == said[1]


def test_texts_need_a_tokenizer(pairs):
    for index in pairs["ids"]:
        with pytest.raises(everygram.TokenizerError, match="has no tokenizer"):
            index.count("text")


def test_what_is_no_text_is_refused_here_and_there(pairs):
    asked = [("count", ["\ud800"]), ("prob", ["a", "\ud800"]), ("novelty_batch", [["a", "\ud800"]])]
    for method, args in asked:
        for index in pairs["corpus"]:
            with pytest.raises(everygram.TokenizerError, match="character 1 is a lone surrogate"):
                getattr(index, method)(*args)


def test_a_text_that_the_tokenizer_refuses():
    status, headers, body = problem(422, "bad-query")
    body["detail"] = "#/batch/1/query: tokenizer 'x' cannot encode a text: no"
    info = (200, {}, INFO | {"tokenizer": "bytes"})
    refused = pytest.raises(everygram.TokenizerError, match=r"^query 1: tokenizer 'x' cannot")
    with Fake(info, (status, headers, body)) as fake, everygram.Client(fake.url) as client, refused:
        client.index("x").count_batch(["a", "b"])


def test_the_tokenizer_is_fetched_when_texts_are_wanted(client, pairs):
    here, _ = pairs["trained"]
    there = client.index("trained")
    fetched = []
    fetch = there.reading.fetch

    def counted():
        fetched.append(1)
        return fetch()

    there._fetch = counted
    there.describe(there.info() | {"index_version": "0" * 16})
    found = there.count("natural language")
    assert found == here.count("natural language") and fetched == []
    reading_module._LOADED.clear()
    assert found.tokens == here.count("natural language").tokens
    assert fetched == [1]


def test_a_tokenizer_that_is_another_is_refused(client):
    there = client.index("trained")
    there._fetch = lambda: b"{}"
    there.describe(there.info() | {"index_version": "0" * 16})
    reading_module._LOADED.clear()
    with pytest.raises(everygram.TokenizerError, match="expected a tokenizer with the SHA-256"):
        _ = there.count([1]).tokens


def test_large_batches_keep_their_order(pairs):
    here, there = pairs["ids"]
    queries = [[i % 501] for i in range(2, 12_345)]
    assert here.count_batch(queries) == there.count_batch(queries)
    queries[11_500] = [100_000]
    with pytest.raises(everygram.QueryError, match="query 11500: "):
        there.count_batch(queries)
    texts = ["natural language", "日"] * 1_000
    here, there = pairs["corpus"]
    assert here.count_batch(texts) == there.count_batch(texts)


def test_what_an_index_is(pairs):
    for here, there in pairs.values():
        names = ("num_tokens", "num_documents", "vocab_size", "separator", "version")
        for name in names:
            assert getattr(here, name) == getattr(there, name), name
        assert (here.tokenizer is None) == (there.tokenizer is None)
        assert there.name in repr(there)
        assert not there.refresh()
        assert there.latest() is there


MODELS = [
    ({"smoothing": "infgram-floor"}, NAMES),
    ({"smoothing": "stupid-backoff", "order": 3}, NAMES),
    ({"order": 3}, ["corpus"]),
]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        pytest.param(options, name, id=f"{number}-{name}")
        for number, (options, names) in enumerate(MODELS)
        for name in names
    ],
)
def test_the_same_language_model(pairs, options, name):
    pair = tuple(index.language_model(**options) for index in pairs[name])
    here, there = pair
    for field in ("smoothing", "order", "vocab_size", "separator", "normalized"):
        assert getattr(here, field) == getattr(there, field), field
    for method, args, more in [
        ("prob", [[1, 2], 3], {}),
        ("prob", [[1, 2, 3]], {}),
        ("distribution", [[1, 2]], {}),
        ("log_probs", [[1, 2, 3]], {"document_start": True}),
        ("log_probs", [[]], {}),
        ("log_probs_batch", [[[1, 2], [], [9]]], {}),
        ("longest_suffix_batch", [[[1, 2], [9, 1]]], {}),
        ("perplexity", [[[1, 2], [3]]], {"document_end": True}),
        ("sample", [[1, 2]], {"seed": 1, "max_tokens": 5}),
        ("sample", [], {"seed": 1, "max_tokens": 5, "top_k": 3, "max_context": 2}),
        ("sample_batch", [[[1], [2]]], {"seed": 2, "max_tokens": 3}),
    ]:
        here_said, there_said = (getattr(model, method)(*args, **more) for model in pair)
        assert said(here_said) == said(there_said), method


def public(of):
    return {name for name in dir(of) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("local", "remote", "left_out"),
    [
        (everygram.Index, RemoteIndex, OF_FILES),
        (everygram.Index, AsyncRemoteIndex, OF_FILES),
        (everygram.LanguageModel, RemoteLanguageModel, {"context"}),
        (everygram.LanguageModel, AsyncRemoteLanguageModel, {"context"}),
    ],
    ids=["index", "async_index", "model", "async_model"],
)
def test_every_method_is_there(local, remote, left_out):
    methods = {name for name in public(local) if inspect.isfunction(getattr(local, name))}
    assert methods - left_out <= public(remote)
    for name in methods - left_out:
        here, there = (inspect.signature(getattr(of, name)).parameters for of in (local, remote))
        assert [*here] == [*there], name
        for each in [*here][1:]:
            assert here[each].default == there[each].default, (name, each)
            assert here[each].kind == there[each].kind, (name, each)


class Fake:
    """A service that answers what it is told, and counts requests."""

    def __init__(self, *replies):
        self.replies, self.asked = [*replies], []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                length = int(self.headers["content-length"] or 0)
                fake.asked.append((dict(self.headers), self.rfile.read(length)))
                self.reply()

            def do_GET(self):
                fake.asked.append((dict(self.headers), b""))
                self.reply()

            def reply(self):
                reply = fake.replies.pop(0)
                if reply is None:  # as if the connection were lost
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                status, headers, body = reply
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                body = json.dumps(body).encode()
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


INFO = {
    "name": "x", "index_version": "0" * 16, "num_documents": 1, "num_tokens": 1, "dtype": "u16",
    "separator": 65535, "vocab_size": 10, "tokenizer": "none", "tokenizer_sha256": None,
    "query_prefix": "",
}  # fmt: skip
COUNT = (200, {}, {"count": 3, "token_ids": [1], "tokens": None, "index_version": "0" * 16})


def problem(status, kind, **headers):
    body = {"type": f"urn:everygram:problem:{kind}", "status": status, "detail": "no"}
    return status, headers, body | {"request_id": "r1"}


@pytest.mark.parametrize(
    "refused",
    [
        [problem(503, "overloaded", **{"retry-after": "0"})],
        [problem(429, "rate-limited", **{"retry-after": "0"})] * 3,
        [problem(503, "overloaded", **{"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"})],
        [None, None],
    ],
    ids=["busy", "rate", "date", "lost"],
)
def test_a_query_is_tried_again(refused):
    with Fake((200, {}, INFO), *refused, COUNT) as fake, everygram.Client(fake.url) as client:
        assert client.index("x").count([1]) == 3
        assert not fake.replies


def test_a_query_is_not_tried_for_ever():
    busy = problem(503, "overloaded", **{"retry-after": "100"})
    with Fake((200, {}, INFO), busy) as fake, everygram.Client(fake.url) as client:
        index = client.index("x")
        with pytest.raises(everygram.ServiceError) as caught:
            index.count([1])
    error = caught.value
    assert (error.status, error.kind, error.detail) == (503, "overloaded", "no")
    assert error.request_id == "r1"
    gone = problem(503, "index-unavailable")
    with Fake((200, {}, INFO), gone) as fake, everygram.Client(fake.url) as client:
        index = client.index("x")
        with pytest.raises(everygram.ServiceError, match="index-unavailable"):
            index.count([1])


def test_no_service():
    with Fake() as fake:
        pass
    refused = pytest.raises(everygram.ServiceError, match="everygram serve")
    with everygram.Client(fake.url, timeout=0.3) as client, refused as caught:
        client.indexes()
    assert (caught.value.status, caught.value.kind) == (0, "unreachable")
    other = pytest.raises(everygram.ServiceError, match="expected an everygram service")
    with Fake((200, {}, [1])) as fake, everygram.Client(fake.url) as client, other:
        client.indexes()
    for wrong in ("localhost:8000", "ftp://a", 1):
        with pytest.raises(everygram.OptionError, match="url: "):
            everygram.Client(wrong)


def test_keys(url, monkeypatch, token):
    with everygram.Client(url) as client, pytest.raises(everygram.ServiceError) as caught:
        client.index("corpus")
    assert caught.value.kind == "unauthorized"
    monkeypatch.setenv("EVERYGRAM_KEY", token)
    with everygram.Client(url) as client:
        assert {"corpus", "both"} <= {each["name"] for each in client.indexes()}
        with pytest.raises(everygram.ServiceError, match="not-found"):
            client.index("nothing")


def test_awaited(url, token, pairs):
    async def ask():
        async with everygram.AsyncClient(url, token) as client:
            index = await client.index("corpus")
            await index.load_tokenizer()
            model = await index.language_model("infgram-floor")
            return await asyncio.gather(
                index.count("natural language"),
                index.ntd([110]),
                index.count_batch([[1]] * 2_000),
                index.find("language", limit=None),
                model.prob([1, 2], 3),
            )

    here = pairs["corpus"][0]
    assert [said(each) for each in asyncio.run(ask())] == [
        said(here.count("natural language")),
        said(here.ntd([110])),
        said(here.count_batch([[1]] * 2_000)),
        said(here.find("language", limit=None)),
        said(here.language_model("infgram-floor").prob([1, 2], 3)),
    ]


def test_writing(client, tmp_path):
    index = client.index("changing")
    before = index.num_documents
    added = index.add([{"text": "a zebra"}, {"text": "two zebras"}], idempotency_key="once")
    assert added["num_documents"] == 2
    assert index.add([{"text": "a zebra"}, {"text": "two zebras"}], idempotency_key="once") == added
    assert index.num_documents == before + 2
    assert index.count("zebra") == 2
    assert index.add(write_jsonl(tmp_path / "z.jsonl", [{"text": "zebra"}]))["num_documents"] == 1
    assert index.delete(query="two zebras", dry_run=True)["num_documents"] == 1
    assert index.delete(query="two zebras")["num_documents"] == 1
    assert index.count("zebra") == 2
    assert index.compact(kind="self-index")["segments_after"] == 1
    assert index.count("zebra") == 2
    job = index.compact(full=True, wait=False)
    assert index.job(job["id"])["id"] == job["id"]
    with pytest.raises(everygram.QueryError):
        index.add([{"words": "no text"}])


def test_all_that_there_is_takes_pages(pairs, narrow):
    """(Which are as large as the service's limits allow.)"""
    with everygram.Client(narrow) as client:
        here, there = pairs["corpus"][0], client.index("corpus")
        for method, args, options in [
            ("find", ["a"], {}),
            ("find", ["a"], {"offset": 2, "context": 2}),
            ("find", ["zebra"], {}),
            ("find_text", ["lang"], {}),
            ("search", ["language"], {}),
            ("search", ["language OR natural"], {"order": "bm25"}),
        ]:
            check((here, there), method, args, options | {"limit": None})
        assert len(here.find("a")) > 3 and len(here.search("language").hits) > 2
        # Of what has no pages, there is one.
        listed = there.tokenizations("l", limit=None)
        assert listed == here.tokenizations("l", limit=3)
        with pytest.raises(everygram.ServiceError, match="expected at most 3, found 4"):
            there.find("a", limit=4)

    async def ask():
        async with everygram.AsyncClient(narrow) as client:
            return await (await client.index("corpus")).find("a", limit=None)

    assert asyncio.run(ask()) == here.find("a", limit=None)


def test_defaults_are_the_services():
    """(A client leaves them out, so that the service lowers those that are over its limits.)"""
    operations = {
        "document_count": "count",
        "document_count_text": "count_text",
        "documents": "document",
        "encode_prob": "encode",
    }
    of_model = {"prob": "lm_prob", "distribution": "next_probs"}
    checked = 0
    for of, named in ((Questions, operations), (ModelQuestions, of_model)):
        for name, method in inspect.getmembers(of, inspect.isfunction):
            if name.startswith("_") or name in ("query_of", "prompt_of"):
                continue
            single = name.removesuffix("_batch")
            fields = OPERATIONS[named.get(single, single)].one.model_fields
            for option, default in defaults_of(method).items():
                if option in fields:
                    assert json.loads(default) == fields[option].default, (name, option)
                    checked += 1
    assert checked > 100


def test_a_narrow_service_lowers_defaults(pairs, narrower, run, tmp_path):
    here = pairs["corpus"][0]
    with everygram.Client(narrower) as client:
        there = client.index("corpus")
        assert len(here.find("a")) > 3 and len(here.search("language").hits) > 2
        assert there.find("a") == here.find("a", limit=3)
        assert there.find_text("l", context=2) == here.find_text("l", limit=3, context=2)
        assert there.tokenizations("l") == here.tokenizations("l", limit=3)
        # (Page after page, too.)
        for limit, most in (({}, 2), ({"limit": None}, None)):
            found = there.search("language", **limit).as_dict()
            assert found == here.search("language", limit=most, context=5).as_dict() | {
                name: found[name] for name in ("index", "cursor") if name in found
            }
        text = "the natural language"
        most = {"documents": 2, "context": (5, 5, 5)}
        assert said(there.attribute(text)) == said(here.attribute(text, **most))
        with pytest.raises(everygram.ServiceError, match="expected at most 2, found 3"):
            there.attribute(text, documents=3)
        # Batches of more than the service takes go as lines.
        assert there.whole > 3
        queries = ["natural", "language", "日", "a"]
        for _ in range(2):
            assert there.count_batch(queries) == here.count_batch(queries)
            assert there.whole == 3
        with pytest.raises(everygram.QueryError, match="query 4: "):
            there.count_batch([*queries, [100_000]])
    file = tmp_path / "text.txt"
    file.write_text("natural language")
    for name, asked in (("attribute", file), ("find", "a"), ("search", "language")):
        code, _, err = run("--remote", narrower, name, "corpus", asked)
        assert (code, err) == (0, "")


def test_results_travel(pairs):
    here, there = pairs["corpus"]
    again = pickle.loads(pickle.dumps(there.ntd("natural")))
    assert again.as_dict() == here.ntd("natural").as_dict()


def test_results_take_the_file_of_their_tokenizer_along(client, pairs):
    here = pairs["trained"][0]
    found = client.index("trained").ntd("natural lang")
    script = "import json, pickle, sys; result = pickle.load(sys.stdin.buffer); "
    script += "print(json.dumps([result.as_dict(), result._reading.fetch is None]))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=pickle.dumps(found),
        stdout=subprocess.PIPE,
        env=os.environ | {"EVERYGRAM_KEY": ""},
        check=True,
    )
    assert json.loads(done.stdout) == [here.ntd("natural lang").as_dict(), True]


def test_a_fixed_index_is_of_one_state():
    other = COUNT[2] | {"index_version": "1" * 16}
    with (
        Fake((200, {}, INFO), COUNT, (200, {}, other)) as fake,
        everygram.Client(fake.url) as client,
    ):
        index = client.index("x")
        index.fixed = True
        assert index.count([1]) == 3
        with pytest.raises(everygram.ServiceError) as caught:
            index.count([1])
        assert caught.value.kind == "changing"
        assert index.version == INFO["index_version"]


@pytest.mark.parametrize(
    "command",
    [
        ["count", "corpus", "natural language"],
        ["prob", "corpus", "natural"],
        ["ntd", "corpus", "a"],
        ["infgram-prob", "corpus", "xx natural"],
        ["infgram-ntd", "corpus", "xx natural"],
        ["score", "ids", "--ids", "1,2,3"],
        ["longest-matches", "corpus", "natural"],
        ["find", "corpus", "language"],
        ["document", "corpus", "language"],
        ["document", "corpus", "--number", "1"],
        ["search", "both", "natural AND language"],
        ["sample", "corpus", "--seed", "1", "--max-tokens", "4", "a"],
    ],
    ids=lambda command: "-".join(command[:2]),
)
def test_the_command_line_asks_a_service(run, url, token, folder, monkeypatch, command):
    monkeypatch.setenv("EVERYGRAM_KEY", token)
    name, index, *rest = command
    code, out, err = run("--remote", url, name, index, *rest, "--json")
    assert (code, err) == (0, "")
    if index != "both":
        assert run(name, folder / index, *rest, "--json")[:2] == (0, out)
    else:
        assert json.loads(out)["hits"]


@pytest.fixture
def corpora(folder, tmp_path, monkeypatch, token):
    """A folder with an index's files, and with files of texts and of ids, as the working one."""
    monkeypatch.setenv("EVERYGRAM_KEY", token)
    monkeypatch.chdir(tmp_path)
    for name in ("corpus", "trained", "ids"):
        (tmp_path / name).symlink_to(folder / name)
    # (More than a batch of texts.)
    texts = [f"the {number} natural languages of a zebra" for number in range(150)]
    write_jsonl(tmp_path / "many.jsonl", [{"text": text, "n": len(text)} for text in texts])
    write_jsonl(tmp_path / "few.jsonl", [{"text": text} for text in ["natural", "", "日本語 — x"]])
    np.array([0, 1, 2, 3, 0, 0, 500, 7, 1, 2], "<u2").tofile(tmp_path / "new.bin")
    return tmp_path


RAW = ["--pretokenized", "u16", "--separator-id", "0"]


@pytest.mark.parametrize(
    "command",
    [
        ["novelty", "corpus", "many.jsonl", "few.jsonl", "--plot", "made.svg"],
        ["novelty", "corpus", "many.jsonl", "few.jsonl", "--json", "--each", "--max-n", "3"],
        ["novelty", "trained", "many.jsonl", "--raw", "--creativity-bounds", "2", "4", "--json"],
        ["novelty", "ids", "new.bin", *RAW, "--json"],
        ["perplexity", "corpus", "many.jsonl", "few.jsonl"],
        ["perplexity", "corpus", "many.jsonl", "--order", "3", "--document-end", "--json",
         "--per-document", "made.jsonl"],
        ["perplexity", "trained", "many.jsonl", "few.jsonl", "--model", "infgram-floor",
         "--weights", "0.5,0.25", "--json", "--per-document", "made.jsonl"],
        ["perplexity", "trained", "few.jsonl", "--model", "infgram", "--document-end"],
        ["perplexity", "ids", "new.bin", *RAW, "--model", "stupid-backoff", "--json"],
    ],
    ids=lambda command: "-".join(command[:2]),
)  # fmt: skip
def test_corpora_are_measured_by_a_service(run, url, corpora, command):
    made = [corpora / name for name in command if name.startswith("made.")]
    said = []
    for address in ([], ["--remote", url]):
        code, out, err = run(*address, *command)
        assert code == 0, err
        said.append([out, [file.read_bytes() for file in made]])
        for file in made:
            file.unlink()
    assert said[0] == said[1]


@pytest.mark.parametrize("command", ["novelty", "perplexity"])
def test_what_a_service_cannot_measure_is_named(run, narrow, corpora, command):
    # (The index of `narrow` takes texts of 30 tokens.)
    write_jsonl(corpora / "long.jsonl", [{"text": text} for text in ["fox"] * 3 + ["x" * 31]])
    remote = ["--remote", narrow]
    code, out, err = run(*remote, command, "corpus", "few.jsonl", "long.jsonl")
    place = "long.jsonl:4: text" if command == "novelty" else "document 7"
    assert (code, out) == (1, "")
    assert f"query-too-long: {place}: expected at most 30 tokens, found 31" in err
    more = [] if command == "novelty" else ["--model", "infgram"]
    given = [command, "ids", "few.jsonl", *more]
    here, there = (run(*address, *given) for address in ([], remote))
    assert here[:2] == there[:2]
    place = "few.jsonl:1: " if command == "novelty" else ""
    assert f"error: {place}index 'ids' has no tokenizer" in there[2]


@pytest.mark.parametrize("command", ["novelty", "perplexity"])
def test_a_corpus_is_measured_by_one_state(run, corpora, pairs, command):
    np.save(corpora / "rows.npy", np.full((65, 1), 3, "<u2"))
    found = pairs["ids"][0].novelty([3]).as_dict()
    first, second = {
        "novelty": ({"results": [found] * 64}, {"results": [found]}),
        "perplexity": ({"normalized": True, "next": []}, {"results": [{"log_probs": [-1.0]}] * 65}),
    }[command]
    first["index_version"], second["index_version"] = INFO["index_version"], "1" * 16
    with Fake((200, {}, INFO), (200, {}, first), (200, {}, second)) as fake:
        code, out, err = run("--remote", fake.url, command, "x", "rows.npy", "--json")
        assert not fake.replies
    assert (code, out) == (1, "")
    assert "error: changing: index 'x' changed while it answered" in err


def test_commands_that_need_files(run, url):
    code, _, err = run("--remote", url, "compact", "corpus")
    assert code == 2
    assert "needs the files of an index" in err


def test_lines_of_standard_input(run, url, token, folder, monkeypatch):
    monkeypatch.setenv("EVERYGRAM_KEY", token)
    lines = "natural language\nzebra\n日本\n"
    for name in ("count", "infgram-ntd"):
        remote = run("--remote", url, name, "corpus", "-", stdin=lines)
        assert remote == run(name, folder / "corpus", "-", stdin=lines)


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(everygram.MissingExtraError, match=r"everygram\[client\]"):
        everygram.Client("http://localhost:1")
