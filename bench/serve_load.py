"""Sends requests to a server and measures its answers. `serve.py` and `service_soak.py` start it.

usage: python serve_load.py < SPEC.json

SPEC: `port`; `requests`, a pickled list of whole requests as bytes, sent one after another;
`seconds`; `connections`, each with one request under way all the time (a closed loop), or `rate`,
requests a second that come at random (Poisson) whatever the server does, each on a connection that
is free or a new one (an open loop); `seed`. Latency in an open loop counts from when a request was
due.

Prints JSON: answers by status, answers with 200 a second, and percentiles of their milliseconds.
Beside statuses: `timeout` (no answer after `patience` seconds), `closed` (the connection ended).

One thread, sockets and epoll, so that it costs little of the machine that both sides share: about
20 µs a request.
"""

import errno
import gc
import json
import pickle
import random
import resource
import select
import socket
import sys
from collections import Counter
from itertools import cycle
from pathlib import Path
from time import perf_counter
from typing import Any

PERCENTILES = (50, 90, 99)


class Connection:
    """A connection, with at most one request under way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.socket.connect_ex(("127.0.0.1", port))
        self.unsent = memoryview(b"")
        self.found = bytearray()
        # Where the answer ends, once its head is there.
        self.end: int | None = None
        self.due: float | None = None
        self.last = False

    def ask(self, request: bytes, due: float) -> None:
        self.unsent, self.due, self.end = memoryview(request), due, None
        self.found.clear()

    def send(self) -> bool:
        """Send what can be sent; whether all was. Raises OSError."""
        while self.unsent:
            try:
                self.unsent = self.unsent[self.socket.send(self.unsent) :]
            except (BlockingIOError, InterruptedError):
                return False
            except OSError as error:
                if error.errno == errno.ENOTCONN:  # so far
                    return False
                raise
        return True

    def receive(self) -> int | None:
        """The status of the answer, once all of it is there. Raises OSError if it has no end."""
        try:
            part = self.socket.recv(1 << 18)
        except (BlockingIOError, InterruptedError):
            return None
        if not part:
            raise ConnectionResetError
        self.found += part
        if self.end is None:
            head = self.found.find(b"\r\n\r\n")
            if head < 0:
                return None
            lower = bytes(self.found[:head]).lower()
            self.last = b"\r\nconnection: close" in lower
            at = lower.find(b"\r\ncontent-length:")
            if at >= 0:
                self.end = head + 4 + int(lower[at + 17 :].split(b"\r\n", 1)[0])
            else:
                self.end = -1
        if self.end < 0:
            done = self.found.endswith(b"\r\n0\r\n\r\n")
        else:
            done = len(self.found) >= self.end
        return int(self.found[9:12]) if done else None


class Load:
    """A closed or open loop."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.port, self.patience = spec["port"], spec.get("patience", 20.0)
        self.requests = cycle(pickle.loads(Path(spec["requests"]).read_bytes()))
        self.rate, self.seconds = spec.get("rate"), spec["seconds"]
        self.wanted = 0 if self.rate else spec["connections"]
        self.random = random.Random(spec.get("seed", 0))
        self.epoll = select.epoll()
        self.open: dict[int, Connection] = {}
        self.free: list[Connection] = []
        self.busy: set[Connection] = set()
        self.latencies: list[float] = []
        self.statuses: Counter[str] = Counter()
        self.most_open = 0

    def run(self) -> dict[str, Any]:
        start = perf_counter()
        end = start + self.seconds
        next_due = start
        looked = start
        for _ in range(self.wanted):
            self.begin(start)
        while True:
            now = perf_counter()
            if self.rate:
                while next_due <= now and next_due < end:
                    self.begin(next_due)
                    next_due += self.random.expovariate(self.rate)
            if now >= end and (not self.rate or not self.busy):
                break
            if now - looked > 0.5:
                self.give_up(now)
                looked = now
            wait = 0.25
            if self.rate and next_due < end:
                wait = max(0.0, min(wait, next_due - perf_counter()))
            for descriptor, _ in self.epoll.poll(wait):
                if connection := self.open.get(descriptor):
                    self.on_event(connection, end)
        seconds = (end if not self.rate else perf_counter()) - start
        return self.report(seconds)

    def begin(self, due: float) -> None:
        """Send the next request."""
        if self.free:
            connection = self.free.pop()
        else:
            try:
                connection = Connection(self.port)
            except OSError:  # as many files as this process may have
                self.statuses["not sent"] += 1
                return
            self.open[connection.socket.fileno()] = connection
            self.epoll.register(connection.socket, select.EPOLLIN | select.EPOLLOUT)
            self.most_open = max(self.most_open, len(self.open))
        connection.ask(next(self.requests), due)
        self.busy.add(connection)
        try:
            if connection.send():
                self.epoll.modify(connection.socket, select.EPOLLIN)
            else:
                self.epoll.modify(connection.socket, select.EPOLLIN | select.EPOLLOUT)
        except OSError:
            self.ended(connection, "closed")

    def on_event(self, connection: Connection, end: float) -> None:
        try:
            if connection.unsent and connection.send():
                self.epoll.modify(connection.socket, select.EPOLLIN)
            status = connection.receive()
        except OSError:
            self.ended(connection, "closed")
        else:
            if status is None:
                return
            now = perf_counter()
            if self.rate or now < end:
                self.statuses[str(status)] += 1
                if status == 200 and connection.due is not None:
                    self.latencies.append(now - connection.due)
            self.busy.discard(connection)
            connection.due = None
            if connection.last or connection.unsent:
                self.close(connection)
            else:
                self.free.append(connection)
        if not self.rate and perf_counter() < end:
            self.begin(perf_counter())

    def ended(self, connection: Connection, why: str) -> None:
        if connection in self.busy:
            self.statuses[why] += 1
        self.close(connection)

    def close(self, connection: Connection) -> None:
        self.busy.discard(connection)
        if connection in self.free:
            self.free.remove(connection)
        self.open.pop(connection.socket.fileno(), None)
        connection.socket.close()

    def give_up(self, now: float) -> None:
        for connection in [*self.busy]:
            if connection.due is not None and now - connection.due > self.patience:
                self.ended(connection, "timeout")
                if not self.rate:
                    self.begin(now)

    def report(self, seconds: float) -> dict[str, Any]:
        times = sorted(self.latencies)

        def percentile(percent: float) -> float | None:
            if not times:
                return None
            return 1e3 * times[min(len(times) - 1, int(percent / 100 * len(times)))]

        return {
            "seconds": seconds,
            "per_second": len(times) / seconds,
            "statuses": dict(sorted(self.statuses.items())),
            "most_connections": self.most_open,
            **{f"p{percent}_ms": percentile(percent) for percent in PERCENTILES},
            "max_ms": percentile(100),
        }


def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    load = Load(json.load(sys.stdin))
    gc.disable()
    json.dump(load.run(), sys.stdout)


if __name__ == "__main__":
    main()
