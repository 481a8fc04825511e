"""Files of a server here that does all that servers do."""

import gzip
import os
import socket
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from everygram import hub
from everygram.corpus import remote
from everygram.corpus.text import TextCorpus
from everygram.errors import CorpusError, MissingExtraError, TokenizerError
from everygram.tokenizer.choose import load_tokenizer, train_tokenizer

pytest.importorskip("aiohttp")

LINES = b"".join(b'{"text": "%d"}\n' % (i * 7919) for i in range(5_000))
TEXTS = [str(i * 7919) for i in range(5_000)]


class Handler(BaseHTTPRequestHandler):
    """Answers by the path: /how/name. `server.files` are what it has, by name."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.server.asked.append((self.command, self.path))
        how, _, name = self.path.split("?")[0].rpartition("/")
        how = how.rpartition("/")[2]
        data = self.server.files.get(name, b"")
        if how.isdigit():
            return self.answer(int(how), b"no", {})
        return getattr(self, how)(data)

    def answer(self, status, data, headers):
        self.send_response(status)
        for key, value in ({"Content-Length": str(len(data))} | headers).items():
            if value is not None:
                self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def whole(self, data):
        """No parts, as Python's own server."""
        self.answer(200, data, {})

    def ranges(self, data):
        asked = self.headers.get("Range")
        if not asked:
            return self.answer(200, data, {"Accept-Ranges": "bytes"})
        start, end = asked.removeprefix("bytes=").split("-")
        end = min(int(end or len(data)) + 1, len(data))
        where = f"bytes {start}-{end - 1}/{len(data)}"
        return self.answer(206, data[int(start) : end], {"Content-Range": where})

    def no_length(self, data):
        self.close_connection = True
        self.answer(200, data, {"Content-Length": None, "Connection": "close"})

    def chunked(self, data, end=b"0\r\n\r\n"):
        self.answer(200, b"", {"Content-Length": None, "Transfer-Encoding": "chunked"})
        if self.command == "GET":
            for at in range(0, len(data), 10_000):
                piece = data[at : at + 10_000]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(end)

    def chunked_cut(self, data):
        self.close_connection = True
        self.chunked(data[: len(data) // 2], b"")

    def cut(self, data):
        self.close_connection = True
        self.answer(200, data[: len(data) // 2], {"Content-Length": str(len(data))})

    def encoded(self, data):
        """Packed on the way, if it may be."""
        if "gzip" not in self.headers.get("Accept-Encoding", ""):
            return self.whole(data)
        return self.answer(200, gzip.compress(data), {"Content-Encoding": "gzip"})

    def stored_encoded(self, data):
        """A file that is stored packed, and announced as if it were packed on the way."""
        self.answer(200, data, {"Content-Encoding": "gzip"})

    def get_only(self, data):
        """An address that is signed for GET."""
        if self.command == "HEAD":
            return self.answer(403, b"", {})
        return self.ranges(data)

    def head_of_nothing(self, data):
        """What announces no bytes and sends some."""
        self.answer(200, b"" if self.command == "HEAD" else data, {})

    def page(self, data):
        html = b"\n<!DOCTYPE html><html>Log in!</html>"
        self.answer(200, html, {"Content-Type": "text/html; charset=utf-8"})

    def html_type(self, data):
        self.answer(200, data, {"Content-Type": "text/html"})

    def login(self, data):
        known = self.headers.get("Authorization") == "Basic bWU6cEAvdw=="
        self.answer(200 if known else 401, data if known else b"", {})

    def round_and_round(self, data):
        self.answer(302, b"", {"Location": self.path})

    def sent_on(self, data):
        self.answer(302, b"", {"Location": self.path.replace("/sent_on/", "/ranges/")})


@pytest.fixture
def server():
    with serving() as (server, at):
        server.at = at
        yield server


@contextmanager
def serving(handler=Handler):
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.files, server.asked = {}, []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def texts(name, **options):
    return [document.text for document in TextCorpus([name], **options)]


WAYS = [
    "whole",
    "ranges",
    "no_length",
    "chunked",
    "encoded",
    "get_only",
    "head_of_nothing",
    "html_type",
    "sent_on",
]


@pytest.mark.parametrize("how", WAYS)
def test_every_way_in_which_a_file_is_sent(server, how, tmp_path):
    rows = pa.table({"text": TEXTS})
    pq.write_table(rows, tmp_path / "c.parquet", row_group_size=1000)
    with pa.ipc.new_stream(tmp_path / "c.arrow", rows.schema) as writer:
        writer.write_table(rows, max_chunksize=1000)
    server.files = {
        "c.jsonl": LINES,
        "c.jsonl.gz": gzip.compress(LINES),
        "c.csv": b"text\n" + b"".join(b"%s\n" % text.encode() for text in TEXTS),
        "c.parquet": (tmp_path / "c.parquet").read_bytes(),
        "c.arrow": (tmp_path / "c.arrow").read_bytes(),
    }
    for name in server.files:
        assert texts(f"{server.at}/{how}/{name}") == TEXTS, name
        assert texts(f"{server.at}/{how}/{name}?signature=a.b/c") == TEXTS, name
    server.files = {"a.txt": b"one text"}
    assert texts(f"{server.at}/{how}/a.txt") == ["one text"]


@pytest.mark.parametrize("how", ["whole", "no_length", "cut"])
def test_files_that_are_larger_than_what_is_asked_for_at_once(server, how, tmp_path):
    # (fsspec asks for 5 MiB at a time.)
    many = [f"{i} " * 50 for i in range(60_000)]
    server.files = {"c.jsonl": b"".join(b'{"text": "%s"}\n' % text.encode() for text in many)}
    pq.write_table(
        pa.table({"text": many}), tmp_path / "c.parquet", compression="none", use_dictionary=False
    )
    server.files["c.parquet"] = (tmp_path / "c.parquet").read_bytes()
    assert min(map(len, server.files.values())) > 12 << 20
    for name in server.files:
        if how == "cut":
            with pytest.raises(CorpusError, match=rf"{how}/{name}: the connection broke after"):
                texts(f"{server.at}/{how}/{name}")
        else:
            assert texts(f"{server.at}/{how}/{name}") == many


def test_a_packed_file_that_is_unpacked_on_the_way(server):
    server.files = {"c.jsonl.gz": gzip.compress(LINES)}
    assert texts(f"{server.at}/stored_encoded/c.jsonl.gz") == TEXTS


@pytest.mark.parametrize("name", ["c.jsonl", "c.csv.gz", "c.parquet", "a.txt"])
def test_a_page_in_place_of_a_file(server, name):
    server.files = {"c.html": b""}
    with pytest.raises(CorpusError, match=rf"{name}: the server sent a web page and no file: is"):
        texts(f"{server.at}/page/{name}")


def test_addresses_are_asked_for_as_they_are(server):
    server.files = {"c.jsonl": LINES}
    signed = "/whole/c.jsonl?sig=a%2Fb%2B%3D~%7E&x=%20+&e="
    assert texts(server.at + signed) == TEXTS
    assert {path for _, path in server.asked} == {signed}
    # What is not encoded is.
    server.files = {"a%20b%C3%A9.jsonl": LINES}
    assert texts(f"{server.at}/whole/a bé.jsonl") == TEXTS
    assert texts(f"{server.at}/whole/a%20b%C3%A9.jsonl") == TEXTS


def test_a_login_in_the_address(server):
    server.files = {"c.jsonl": LINES}
    at = server.at.replace("://", "://me:p%40%2Fw@")
    assert texts(f"{at}/login/c.jsonl") == TEXTS
    with pytest.raises(CorpusError, match="access is refused") as refused:
        texts(f"{at}/403/c.jsonl")
    with pytest.raises(CorpusError, match="access is refused"):
        texts(f"{server.at}/login/c.jsonl")
    assert "me:" not in str(refused.value).partition("(")[2]


def test_a_download_may_take_longer_than_five_minutes():
    aiohttp = pytest.importorskip("aiohttp")
    fsspec = pytest.importorskip("fsspec")
    timeout = remote._web_options(fsspec, "https://host/c.jsonl")["client_kwargs"]["timeout"]
    assert aiohttp.client.DEFAULT_TIMEOUT.total == 300
    assert timeout.total is None


def test_what_the_user_tells_fsspec_counts(server, monkeypatch):
    import fsspec

    monkeypatch.setitem(fsspec.config.conf, "http", {"client_kwargs": {"headers": {"X-Key": "k"}}})
    keys = []

    def whole(handler, data):
        keys.append(handler.headers["X-Key"])
        handler.answer(200, data, {})

    monkeypatch.setattr(Handler, "whole", whole)
    server.files = {"c.jsonl": LINES}
    assert texts(f"{server.at}/whole/c.jsonl") == TEXTS
    assert set(keys) == {"k"}


@pytest.mark.parametrize("how", ["cut", "chunked_cut"])
@pytest.mark.parametrize("name", ["c.jsonl", "c.jsonl.gz", "c.csv", "a.txt", "c.parquet"])
def test_a_connection_that_breaks_loses_only_that_file(server, how, name, tmp_path):
    pq.write_table(pa.table({"text": TEXTS}), tmp_path / "c.parquet")
    server.files = {
        "good.jsonl": b'{"text": "before"}\n',
        "c.jsonl": LINES,
        "c.jsonl.gz": gzip.compress(LINES),
        "c.csv": b"text\n" + b"".join(b"%s\n" % text.encode() for text in TEXTS),
        "a.txt": b"one text " * 10_000,
        "c.parquet": (tmp_path / "c.parquet").read_bytes(),
        "last.jsonl": b'{"text": "after"}\n',
    }
    broken = f"{server.at}/{how}/{name}"
    with pytest.raises(CorpusError, match=rf"{name}: the connection broke after [\d,]+ bytes: "):
        texts(broken)
    given = [f"{server.at}/ranges/good.jsonl", broken, f"{server.at}/whole/last.jsonl"]
    corpus = TextCorpus(given, on_error="skip")
    found = [document.text for document in corpus]
    assert (found[0], found[-1]) == ("before", "after")
    assert found[1:-1] == TEXTS[: len(found) - 2]
    assert corpus.skipped == 1
    assert f"{name}: the connection broke" in corpus.skips[0]


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (401, r"access is refused: it needs a login, or a signed address \(HTTP 401"),
        (403, r"access is refused: it needs a login, or its signature .* \(HTTP 403 Forbidden\)"),
        (404, r"no such file"),
        (410, r"no such file any more"),
        (418, r"the server refuses it \(HTTP 418"),
        (429, r"too many requests: wait"),
        ("round_and_round", r"cannot be reached or read: .*round_and_round|the server refuses it"),
        (500, r"the server has a fault of its own: try again later \(HTTP 500"),
        (503, r"the server has a fault of its own: try again later \(HTTP 503"),
    ],
)
def test_what_a_server_refuses(server, status, says):
    with pytest.raises(CorpusError, match=rf"/{status}/c.jsonl: {says}"):
        TextCorpus([f"{server.at}/{status}/c.jsonl"])


def closed_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def test_a_server_that_is_not_there(monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for host in (f"127.0.0.1:{closed_port()}", "nowhere.invalid"):
        with pytest.raises(CorpusError, match=r"the server cannot be reached: .*network up"):
            TextCorpus([f"http://{host}/c.jsonl"])


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("http://", "not a proper address"),
        ("http://127.0.0.1:99999/c.jsonl", "not a proper address"),
        ("http://[::1/c.jsonl", "not a proper address"),
        ("nope://host/c.jsonl", "not an address that fsspec knows"),
    ],
)
def test_what_is_no_address(address, says):
    with pytest.raises(CorpusError, match=says):
        TextCorpus([address])


def test_what_else_fsspec_needs_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "paramiko", None)
    monkeypatch.delitem(sys.modules, "fsspec.implementations.sftp", raising=False)
    with pytest.raises(MissingExtraError, match=r"fsspec needs a library more for sftp://.*param"):
        TextCorpus(["sftp://host/c.jsonl"])


def test_a_bucket_without_credentials(monkeypatch):
    s3fs = pytest.importorskip("s3fs")
    for name in [*os.environ]:
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("HOME", "/nowhere")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(CorpusError, match=r"locate credentials: give them .*FSSPEC_S3_ANON=true"):
        TextCorpus(["s3://bucket/c.jsonl"])
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_server_that_says_nothing(monkeypatch):
    monkeypatch.setattr(remote, "SILENCE", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(CorpusError, match=r"c.jsonl: no answer within"):
            TextCorpus([f"http://127.0.0.1:{silent.getsockname()[1]}/c.jsonl"])


def test_proxies_of_the_environment(server, monkeypatch):
    class Proxy(Handler):
        def do_GET(self):
            self.server.asked.append((self.command, self.path))
            if "refused" in self.path:
                return self.answer(407, b"", {})
            return self.whole(LINES)

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server.files = {"c.jsonl": b'{"text": "direct"}'}
    with serving(Proxy) as (proxy, at):
        monkeypatch.setenv("http_proxy", at)
        assert texts("http://nowhere.invalid/c.jsonl") == TEXTS
        assert ("GET", "http://nowhere.invalid/c.jsonl") in proxy.asked
        assert texts(f"{server.at}/whole/c.jsonl") == ["direct"]
        with pytest.raises(CorpusError, match=r"the proxy wants a login"):
            TextCorpus(["http://nowhere.invalid/refused.jsonl"])
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    with pytest.raises(CorpusError, match=r"the proxy that the environment names .*cannot be reac"):
        TextCorpus(["http://nowhere.invalid/c.jsonl"])


# --- the hub ---


@pytest.fixture
def no_hub(monkeypatch):
    """A hub that is asked for, and not there."""
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed_port()}")


def check_a_missing_hub():
    with pytest.raises(CorpusError, match=r"datasets:no/such: the hub .* cannot be reached"):
        texts("datasets:no/such")
    with pytest.raises(CorpusError, match=r"hf://datasets/no/such: the hub .* cannot be reached"):
        texts("hf://datasets/no/such")
    with pytest.raises(TokenizerError, match=r"no such file, and as a hub name .* cannot be reach"):
        load_tokenizer("no/such")


def test_a_hub_that_is_missing_is_said_at_once(no_hub):
    pytest.importorskip("datasets")
    start = time.monotonic()
    check_a_missing_hub()
    assert time.monotonic() - start < 15


def test_a_hub_that_says_nothing_is_given_up(monkeypatch):
    pytest.importorskip("datasets")
    assert hub.PATIENCE <= 3
    monkeypatch.setattr(hub, "PATIENCE", 0.3)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        check_a_missing_hub()
        assert time.monotonic() - start < 15


def test_a_hub_that_answers_is_there_whatever_it_says(server, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    for status in (200, 403, 500):
        monkeypatch.setenv("HF_ENDPOINT", f"{server.at}/{status}/")
        assert hub.hub_missing() is None
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed_port()}")
    assert "HF_HUB_OFFLINE=1" in hub.hub_missing()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert hub.hub_missing() is None


def test_a_tokenizer_of_the_hub_that_is_in_its_cache(no_hub, monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--me--small"
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    made = train_tokenizer(["some text"] * 10, 100, 300)
    (folder / "snapshots" / "abc" / "tokenizer.json").write_bytes(made.json)
    loaded = load_tokenizer("me/small")
    assert (loaded.json, loaded.source) == (made.json, "me/small")
    with pytest.raises(TokenizerError, match="cannot be reached"):
        load_tokenizer("me/other")
