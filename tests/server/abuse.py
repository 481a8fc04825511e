"""Clients that do not behave, and the service process that they are let loose on."""

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from typing import NamedTuple

import psutil

COUNT = "/v1/indexes/corpus/count"
ATTRIBUTE = "/v1/indexes/corpus/attribute"
FOX = {"query": "fox"}
# To compile what queries run takes long on a busy machine, once.
START_SECONDS = 600
# Each longer than any limit of these tests: a client, or a test, that waits so long has failed.
PATIENCE = 30


class Reply(NamedTuple):
    """An answer, as its client sees it. length: what it declares of its body, in bytes."""

    status: int
    headers: dict[str, str]
    content: bytes
    length: int

    def json(self):
        return json.loads(self.content)


class Client:
    """A connection that sends what it is told, whole requests or not."""

    def __init__(self, port, buffer=None):
        """buffer: bytes that the system keeps of what has not been read here."""
        self.socket = socket.socket()
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.settimeout(PATIENCE)
        try:
            self.socket.connect(("127.0.0.1", port))
        except OSError:
            self.socket.close()
            raise
        self.rest = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        """Send what can be sent: the service may have closed."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)

    def drip(self, data, seconds, until):
        """Send a byte every so many seconds, `until` so many have passed or the service closes."""
        end = time.monotonic() + until
        for byte in data:
            if time.monotonic() > end or self.answered(seconds):
                return
            self.send(bytes([byte]))

    def answered(self, seconds):
        """Whether there is something to read within so many seconds."""
        self.socket.settimeout(seconds)
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK)) or True
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        finally:
            self.socket.settimeout(PATIENCE)

    def read(self, size=1 << 16):
        """What has come; nothing at the end."""
        try:
            return self.socket.recv(size)
        except ConnectionError:
            return b""

    def reply(self, bodiless=False):
        """The next answer; None if the service closes without one. bodiless: without its body,
        which stays to be read, if there is one.
        """
        while b"\r\n\r\n" not in self.rest:
            data = self.read()
            if not data:
                return None
            self.rest += data
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        status, length = int(first.split()[1]), int(headers.get("content-length", 0))
        if bodiless:
            return Reply(status, headers, b"", length)
        while len(self.rest) < length and (data := self.read()):
            self.rest += data
        content, self.rest = self.rest[:length], self.rest[length:]
        return Reply(status, headers, content, length)

    def ends(self):
        """Whether the service closes, and how many bytes come before."""
        total = len(self.rest)
        while data := self.read():
            total += len(data)
        return total

    def reset(self):
        """Leave as a process does that is killed: without a farewell."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def request(path, body=None, method="POST", version="1.1", **headers):
    """The bytes of a request; a body that is no bytes goes as JSON. Underscores of headers' names
    stand for hyphens; None leaves a header out."""
    content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    given = {"host": "localhost"}
    if content is not None:
        given |= {"content-type": "application/json", "content-length": str(len(content))}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{method} {path} HTTP/{version}"]
    lines += [f"{name}: {value}" for name, value in given.items() if value is not None]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (content or b"")


def chunked(path, *chunks):
    """A request whose body comes in these chunks."""
    head = request(
        path, b"", content_length=None, transfer_encoding="chunked", connection="keep-alive"
    )
    return head + b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in chunks)


def slow(seconds):
    """The body of a query that would take much longer than so many `seconds`."""
    text = "word77 word12 the quick brown cat jumps over the lazy fox " * 100
    one = {"text": text, "density": None, "documents": 20}
    return {"batch": [one] * int(40 * seconds)}


class Service:
    """A service, in processes of its own."""

    def __init__(self, folder, arguments, **settings):
        """arguments: indexes, and whatever else `serve` takes. settings: numbers and texts."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = folder / f"service-{self.port}.log"
        self._command = [sys.executable, "-c", "from everygram.cli.app import run; run()", "serve"]
        self._command += ["--port", str(self.port), *map(str, arguments)]
        # What the process is started with, beside that.
        self.options = {}
        for name, value in settings.items():
            self._command += [f"--{name.replace('_', '-')}", str(value)]

    def __enter__(self):
        with self.log.open("wb") as file:
            self.process = subprocess.Popen(self._command, stdout=file, stderr=file, **self.options)
        self.known = psutil.Process(self.process.pid)
        try:
            self.until(self._ready, START_SECONDS)
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_):
        self.kill()

    def _ready(self):
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(OSError):
            return self.ask("/health/ready", method="GET").status == 200
        return False

    def kill(self):
        """End all processes, if there are any."""
        mine = [] if self.process.poll() is not None else self.known.children(recursive=True)
        self.process.kill()
        self.process.wait()
        for each in mine:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()

    def client(self, buffer=None):
        return Client(self.port, buffer)

    def ask(self, path, body=None, **more):
        """The answer to one request, on a connection of its own."""
        with self.client() as client:
            client.send(request(path, body, **more))
            return client.reply()

    def until(self, holds, seconds=PATIENCE):
        """Wait for something; returns how long, in seconds, and fails with the log."""
        begin = time.monotonic()
        while not holds():
            waited = time.monotonic() - begin
            assert waited < seconds, (
                f"not within {seconds} s; the log: {self.log.read_text()[-2000:]}"
            )
            time.sleep(0.02)
        return time.monotonic() - begin

    def signal(self, number):
        os.kill(self.process.pid, number)

    def ended(self, seconds):
        """The exit code after SIGTERM, which has to come within so many seconds."""
        self.signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def _children(self):
        alive = []
        for each in self.known.children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if each.status() != psutil.STATUS_ZOMBIE:
                    alive.append((each, each.nice()))
        return alive

    def workers(self):
        """Processes that serve connections."""
        return [each for each, nice in self._children() if nice == self.known.nice()]

    def runners(self):
        """Processes that answer queries: nicer ones."""
        return [each for each, nice in self._children() if nice > self.known.nice()]

    def busy(self):
        """Runners that compute just now."""
        found = []
        before = {each: _seconds(each) for each in self.runners()}
        time.sleep(0.3)
        for each, seconds in before.items():
            if each.is_running() and _seconds(each) > seconds:
                found.append(each)
        return found

    def open_files(self):
        """Files and connections that workers hold."""
        return sum(each.num_fds() for each in self.workers())

    def memory(self):
        """Bytes that workers hold for themselves."""
        return sum(each.memory_full_info().uss for each in self.workers())


def _seconds(process):
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system


def check_problem(reply, status, kind):
    """A problem has its form, status and kind; returns it."""
    assert reply is not None, f"expected {status} {kind}, found a closed connection"
    problem = reply.json()
    assert (reply.status, problem["type"]) == (status, f"urn:everygram:problem:{kind}"), problem
    assert reply.headers["content-type"] == "application/problem+json"
    assert problem["status"] == status and problem["title"] and problem["detail"]
    assert problem["request_id"]
    if status in (429, 503) and kind != "index-unavailable":
        assert int(reply.headers["retry-after"]) >= 1
    return problem
