"""A service among clients that do not behave: each limit from both sides, and the others served.

A real `everygram serve` with small limits, and clients of bytes. Bounds of time are generous:
machines that run tests are slow.
"""

import contextlib
import signal
import socket
import time

import pytest
from abuse import ATTRIBUTE, COUNT, FOX, Service, check_problem, chunked, request, slow

import everygram
from conftest import write_jsonl

LIMITS = {
    "header_seconds": 1,
    "body_seconds": 1,
    "write_seconds": 1,
    "keep_alive_seconds": 1,
    "max_header_bytes": 8192,
    "max_body_bytes": 2_000_000,
    "max_query_tokens": 200_000,
    "max_seconds": 6,
    "max_connections": 40,
    "max_queue": 2,
    "runners": 1,
    "grace_seconds": 2,
    "follow_seconds": 0.2,
}
# What any honest client waits at most, whatever the others do.
SOON = 2.5
# How soon work that is not wanted any more ends: far from what it would take.
STOPPED = 3.0
# A document, as an answer that no buffer of the system takes: text, ids and tokens.
LARGE = "/v1/indexes/corpus/documents/2000"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("abuse")
    records = [
        {"text": f"word{i} " * 3 + "the quick brown fox jumps over the lazy dog"}
        for i in range(2000)
    ] + [{"text": "the quick brown cat " * 50_000}]
    everygram.build(write_jsonl(folder / "corpus.jsonl", records), folder / "corpus", "bytes")
    return folder


@pytest.fixture(scope="module")
def service(folder):
    with Service(folder, [folder / "corpus"], **LIMITS) as service:
        yield service


@pytest.fixture(autouse=True)
def at_rest(request):
    """What a test leaves behind must go: connections, and queries under way."""
    yield
    if "service" in request.fixturenames:
        service = request.getfixturevalue("service")
        assert service.ask(COUNT, FOX).json()["count"] == 2000
        service.until(lambda: not service.busy())


def check_others(service):
    """Other clients are served soon."""
    for path, body, method in ((COUNT, FOX, "POST"), ("/health/live", None, "GET")):
        begin = time.monotonic()
        assert service.ask(path, body, method=method).status == 200
        assert time.monotonic() - begin < SOON


# Time.


@pytest.mark.parametrize("sent", [b"", b"P", b"POST /v1/indexes/corpus/count HTTP/1.1\r\nhost: "])
def test_a_head_that_does_not_come(service, sent):
    begin = time.monotonic()
    with service.client() as client:
        client.send(sent)
        check_others(service)
        check_problem(client.reply(), 408, "request-timeout")
        assert client.ends() == 0
    assert 0.9 < time.monotonic() - begin < 5


def test_a_head_that_comes_slowly(service):
    with service.client() as client:
        client.drip(request(COUNT, FOX, x="y" * 1000), 0.05, 10)
        check_problem(client.reply(), 408, "request-timeout")
    # In time it may take as long as it likes.
    with service.client() as client:
        data = request(COUNT, FOX)
        client.send(data[:20])
        time.sleep(0.4)
        client.send(data[20:])
        assert client.reply().status == 200


@pytest.mark.parametrize("more", [{}, {"content_length": None, "transfer_encoding": "chunked"}])
def test_a_body_that_does_not_come(service, more):
    with service.client() as client:
        client.send(request(COUNT, b"", **{"content_length": "100", **more}))
        check_others(service)
        check_problem(client.reply(), 408, "request-timeout")
        client.ends()


def test_a_body_that_comes_slowly(service):
    with service.client() as client:
        client.send(request(COUNT, b"", content_length="5000"))
        client.drip(b" " * 5000, 0.05, 10)
        check_problem(client.reply(), 408, "request-timeout")
    with service.client() as client:
        data = request(COUNT, FOX)
        client.send(data[:-5])
        time.sleep(0.4)
        client.send(data[-5:])
        assert client.reply().status == 200


def test_a_connection_that_has_nothing_to_say(service):
    with service.client() as client:
        for _ in range(2):
            client.send(request(COUNT, FOX))
            assert client.reply().status == 200
            time.sleep(0.3)
        assert not client.answered(0.1)
        begin = time.monotonic()
        assert client.ends() == 0
        assert time.monotonic() - begin < 5


def test_an_answer_that_is_not_read(service):
    before = service.memory()
    with service.client(buffer=4096) as client:
        client.send(request(LARGE, method="GET"))
        assert client.answered(10)
        check_others(service)
        time.sleep(LIMITS["write_seconds"] + 2)
        check_others(service)
        service.until(lambda: service.memory() < before * 1.2 + (8 << 20))
        got = client.reply()
    assert len(got.content) < got.length, "what was not read in time was sent all the same"


def test_an_answer_that_is_read_slowly(service):
    with service.client(buffer=4096) as client:
        client.send(request(LARGE, method="GET"))
        head = client.reply(bodiless=True)
        total, begin = len(client.rest), time.monotonic()
        while total < head.length:
            data = client.read(1 << 20)
            assert data, f"closed after {total:,} of {head.length:,} bytes"
            total += len(data)
            if time.monotonic() - begin < 3:
                time.sleep(0.02)
    assert head.status == 200 and time.monotonic() - begin > 1


def test_a_query_that_takes_too_long(service):
    begin = time.monotonic()
    with service.client() as client:
        client.send(request(ATTRIBUTE, slow(LIMITS["max_seconds"])))
        check_others(service)
        check_problem(client.reply(), 504, "time-limit")
        assert LIMITS["max_seconds"] - 0.5 < time.monotonic() - begin < LIMITS["max_seconds"] + 3
        # The connection is as good as before.
        client.send(request(COUNT, FOX))
        assert client.reply().status == 200
    assert not service.busy()


@pytest.mark.parametrize("leave", ["close", "reset"])
def test_work_ends_when_its_client_leaves(service, leave):
    client = service.client()
    client.send(request(ATTRIBUTE, slow(LIMITS["max_seconds"])))
    service.until(service.busy, LIMITS["max_seconds"] - 1)
    working = service.busy()[0]
    if leave == "reset":
        client.reset()
    else:
        client.socket.close()
    assert service.until(lambda: not working.is_running()) < STOPPED


# Sizes.


@pytest.mark.parametrize("size", [7_500, 9_000])
def test_long_heads(service, size):
    for data in (
        request(COUNT, FOX, x="y" * size),
        request(COUNT, FOX, **{f"x{i}": "y" * 100 for i in range(size // 108)}),
        request(f"{COUNT}?{'y' * size}", FOX),
    ):
        with service.client() as client:
            client.send(data)
            reply = client.reply()
            if size < LIMITS["max_header_bytes"]:
                assert reply.status == 200
            else:
                check_problem(reply, 431, "headers-too-large")
                client.ends()


@pytest.mark.parametrize("begin", [b"GET /", b"GET / HTTP/1.1\r\nx: ", b"GET / HTTP/1.1\r\nx"])
def test_heads_that_do_not_end(service, begin):
    before = service.memory()
    with service.client() as client:
        client.send(begin)
        sent = 0
        while sent < 64 << 20 and not client.answered(0.001):
            client.send(b"y" * 65536)
            sent += 65536
        assert sent < 8 << 20, "a head grows without a bound"
        assert service.memory() < before + (32 << 20)
        reply = client.reply()
        assert reply.status in (400, 431)
        check_problem(
            reply, reply.status, {400: "bad-request", 431: "headers-too-large"}[reply.status]
        )


def test_long_bodies(service):
    limit = LIMITS["max_body_bytes"]
    with service.client() as client:
        # Nothing of the body is waited for.
        client.send(request(COUNT, b"", content_length=str(limit + 1)))
        check_problem(client.reply(), 413, "body-too-large")
    with service.client() as client:
        client.send(request(COUNT, b"", content_length=str(limit + 1), expect="100-continue"))
        check_problem(client.reply(), 413, "body-too-large")
    body = b'{"query": "fox"}'
    with service.client() as client:
        client.send(request(COUNT, body + b" " * (limit - len(body))))
        assert client.reply().json()["count"] == 2000
        client.send(request(COUNT, body + b" " * (limit - len(body) + 1)))
        check_problem(client.reply(), 413, "body-too-large")


def test_long_bodies_in_chunks(service):
    piece = b" " * 100_000
    with service.client() as client:
        client.send(chunked(COUNT, b'{"query":', b' "fox"}', *[piece] * 19, b""))
        assert client.reply().json()["count"] == 2000
        client.send(chunked(COUNT, *[piece] * 21))
        check_problem(client.reply(), 413, "body-too-large")
        client.ends()
    # Without an end it is not read without an end.
    with service.client() as client:
        client.send(chunked(COUNT))
        sent = 0
        while sent < 256 << 20 and not client.answered(0.001):
            client.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            sent += len(piece)
        check_problem(client.reply(), 413, "body-too-large")
        assert sent < 32 << 20


def test_many_connections(service):
    with contextlib.ExitStack() as many:
        for _ in range(LIMITS["max_connections"]):
            client = many.enter_context(service.client())
            client.send(b"P")
        with service.client() as late:
            late.send(request(COUNT, FOX))
            check_problem(late.reply(), 503, "too-many-connections")
            assert late.ends() == 0
        assert service.ask("/health/live", method="GET").status == 200
        for _ in range(300):
            many.enter_context(contextlib.closing(service.client().socket))
    service.until(lambda: service.ask(COUNT, FOX).status == 200)


def test_many_long_queries(service):
    with contextlib.ExitStack() as many:
        for _ in range(1 + LIMITS["max_queue"]):
            client = many.enter_context(service.client())
            client.send(request(ATTRIBUTE, slow(LIMITS["max_seconds"])))
            time.sleep(0.2)
        with service.client() as late:
            late.send(request(ATTRIBUTE, slow(LIMITS["max_seconds"])))
            check_problem(late.reply(), 503, "overloaded")
            # The connection may be used again.
            late.send(request(COUNT, FOX))
            assert late.reply().status == 200
        check_others(service)


# What is not HTTP as it should be.


@pytest.mark.parametrize(
    "data",
    [
        b"\0\1\2\3\r\n\r\n",
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 50,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / FTP/1.1\r\n\r\n",
        b"G\xffT / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nx: a\0b\r\n\r\n",
        b"GET / HTTP/1.1\r\n x: folded\r\n\r\n",
        request(COUNT, b"{}", content_length="-1"),
        request(COUNT, b"{}", content_length="two"),
        request(COUNT, b"{}", content_length="9" * 40),
        request(COUNT, b"{}", transfer_encoding="chunked"),
        request(COUNT, b"{}", content_length="2\r\ncontent-length: 1"),
        request(COUNT, b"zz\r\n{}\r\n", content_length=None, transfer_encoding="chunked"),
        request(COUNT, b"f" * 20 + b"\r\n", content_length=None, transfer_encoding="chunked"),
    ],
)
def test_what_is_not_http(service, data):
    with service.client() as client:
        client.send(data)
        check_problem(client.reply(), 400, "bad-request")
        client.ends()


@pytest.mark.parametrize("name", ["content-type", "host", "x-request-id"])
def test_what_stands_behind_a_body_is_no_header(service, name):
    with service.client() as client:
        body = b'10\r\n{"query": "fox"}\r\n0\r\n' + f"{name}: other\r\n\r\n".encode()
        client.send(request(COUNT, body, content_length=None, transfer_encoding="chunked"))
        reply = client.reply()
        assert reply.status == 200, reply
        assert reply.headers["x-request-id"] != "other"
        assert reply.headers["x-content-type-options"] == "nosniff"


def test_a_body_that_is_not_as_long_as_it_says(service):
    body = b'{"query": "fox"}'
    with service.client() as client:
        client.send(request(COUNT, body, content_length=str(len(body) + 10)))
        client.socket.shutdown(socket.SHUT_WR)
        reply = client.reply()
        assert reply is None or reply.status in (400, 408)
    with service.client() as client:
        client.send(request(COUNT, body + b"}}}} }}}", content_length=str(len(body))))
        # (What follows may be seen before the answer is there, which then is that to both.)
        reply = client.reply()
        if reply.status == 200:
            assert reply.json()["count"] == 2000
            reply = client.reply()
        check_problem(reply, 400, "bad-request")


@pytest.mark.parametrize("connection", [None, "keep-alive", "close"])
def test_old_clients(service, connection):
    with service.client() as client:
        client.send(request(COUNT, FOX, version="1.0", host=None, connection=connection))
        assert client.reply().json()["count"] == 2000
        if connection != "keep-alive":
            assert client.ends() == 0


@pytest.mark.parametrize(
    "path", ["/health", "/v1/indexes", "/openapi.json", "/docs", "/v1/indexes/nope"]
)
@pytest.mark.parametrize("connection", ["keep-alive", "close"])
def test_heads_alone(service, path, connection):
    """HEAD is answered as GET, without the body, and the connection goes on."""
    body = service.ask(path, method="GET").content
    with service.client() as client:
        for _ in range(2 if connection == "keep-alive" else 1):
            client.send(request(path, method="HEAD", connection=connection))
            head = client.reply(bodiless=True)
            assert (int(head.headers["content-length"]), client.rest) == (len(body), b"")
        if connection == "close":
            assert client.ends() == 0
    with service.client() as client:  # and those that do not wait
        client.send(request(path, method="HEAD") * 2 + request(path, method="GET"))
        for _ in range(2):
            assert client.reply(bodiless=True).headers["content-length"] == str(len(body))
        assert len(client.reply().content) == len(body)


def test_requests_that_do_not_wait_for_answers(service):
    with service.client() as client:
        client.send(b"".join(request(COUNT, FOX, x_request_id=str(i)) for i in range(200)))
        found = [client.reply() for _ in range(200)]
    assert [each.headers["x-request-id"] for each in found] == [str(i) for i in range(200)]
    assert {each.status for each in found} == {200}


def test_a_client_that_sends_on_while_its_query_takes_long(service):
    with service.client() as client:
        client.send(request(ATTRIBUTE, slow(LIMITS["max_seconds"])) + request(COUNT, FOX))
        check_problem(client.reply(), 504, "time-limit")
        assert client.reply().json()["count"] == 2000


def test_a_client_that_closes_its_side(service):
    """It is answered, or closed: it does not wait."""
    for path, body in ((COUNT, FOX), (ATTRIBUTE, slow(LIMITS["max_seconds"]))):
        with service.client() as client:
            begin = time.monotonic()
            client.send(request(path, body))
            client.socket.shutdown(socket.SHUT_WR)
            reply = client.reply()
            assert reply is None or reply.status in (200, 504)
            assert client.ends() == 0
        assert time.monotonic() - begin < LIMITS["max_seconds"] + 3


# All of them at once.

SITUATIONS = {
    "silent": lambda client: None,
    "slow head": lambda client: client.send(b"POST / HT"),
    "slow body": lambda client: client.send(request(COUNT, b"{", content_length="100")),
    "endless body": lambda client: client.send(chunked(COUNT, b"{")),
    "idle": lambda client: client.send(request("/health", method="GET")),
    "not reading": lambda client: client.send(request(LARGE, method="GET")),
    "long query": lambda client: client.send(request(ATTRIBUTE, slow(LIMITS["max_seconds"]))),
    "pipelining": lambda client: client.send(request(LARGE, method="GET") * 3 + b"POST"),
}


def test_all_of_them_leave_nothing_behind(service):
    service.until(lambda: service.ask(LARGE, method="GET").status == 200)
    time.sleep(2)
    memory, files = service.memory(), service.open_files()
    for _ in range(3):
        with contextlib.ExitStack() as many:
            for misbehave in SITUATIONS.values():
                for _ in range(2):
                    misbehave(many.enter_context(service.client(buffer=4096)))
            for _ in range(5):
                check_others(service)
                time.sleep(0.1)
    service.until(lambda: service.open_files() <= files + 2)
    service.until(lambda: service.memory() < memory * 1.2 + (8 << 20))


@pytest.mark.parametrize("situation", SITUATIONS)
def test_sigterm_ends_the_service_within_its_grace(folder, situation):
    patient = LIMITS | {f"{name}_seconds": 60 for name in ("header", "body", "write", "keep_alive")}
    with (
        Service(folder, [folder / "corpus"], **patient | {"max_seconds": 60}) as service,
        service.client(buffer=4096) as client,
    ):
        SITUATIONS[situation](client)
        time.sleep(0.5)
        left = service.workers() + service.runners()
        begin = time.monotonic()
        assert service.ended(60) == 0
        assert time.monotonic() - begin < LIMITS["grace_seconds"] + 3
        service.until(lambda: not any(each.is_running() for each in left), 5)


def test_sigterm_lets_a_query_end(folder):
    with Service(folder, [folder / "corpus"], **LIMITS | {"grace_seconds": 20}) as service:
        with service.client() as client:
            client.send(request(ATTRIBUTE, slow(LIMITS["max_seconds"])))
            time.sleep(0.5)
            service.signal(signal.SIGTERM)
            check_problem(client.reply(), 504, "time-limit")
        assert service.process.wait(10) == 0
