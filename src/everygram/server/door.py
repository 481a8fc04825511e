"""The door of a worker: connections come in while there is room; others are turned away.

In: listening sockets. Out: connections with the protocol's own transports, or a 503 that costs as
little as can be. More of them may come than could even be told: then they wait in the system's
queue, so that those inside are answered, and beyond that queue the system lets them try again.
"""

import asyncio
import contextlib
import secrets
import socket
import ssl
from collections import deque
from collections.abc import Callable, Collection
from http import HTTPStatus
from time import perf_counter

from everygram.server.exchange import NOSNIFF
from everygram.server.problems import Refusal, as_answer

# Connections beyond `most` that come in all the same: for the questions whether the service is
# alive, and for those who have not said yet what they want.
SPARE_CONNECTIONS = 64
# Connections that may wait in the system's queue, if the system allows so many.
BACKLOG = 4096
# Connections that are looked at before others have their turn.
TOGETHER = 32
# Turning away takes at most one part of so many of the time.
PARTS = 3
# Connections that were turned away and are kept until they have read it, and for how long.
KEPT, KEPT_SECONDS = 256, 1.0
# Until connections are taken in again after the system had no more files.
NO_FILES_SECONDS = 0.1
# Stands for a request's id.
NOBODY = "nobody-so-far-00"
HEALTH = (b"GET /health", b"HEAD /health")


def too_many(most: int) -> Refusal:
    """What those are told who are turned away."""
    return Refusal(
        "too-many-connections",
        f"the service has {most:,} connections, which is its limit; try again",
        headers=(("retry-after", "1"),),
    )


def whole_answer(refusal: Refusal, request_id: str) -> bytes:
    """The bytes of an HTTP answer after which a connection ends."""
    answer = as_answer(refusal, request_id)
    headers = (
        *answer.headers,
        NOSNIFF,
        ("content-length", str(len(answer.body))),
        ("connection", "close"),
    )
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    phrase = HTTPStatus(answer.status).phrase
    return f"HTTP/1.1 {answer.status} {phrase}\r\n{lines}\r\n".encode("latin-1") + answer.body


class Door:
    """The listening sockets of a worker."""

    def __init__(
        self,
        sockets: list[socket.socket],
        make: Callable[[], asyncio.Protocol],
        inside: Collection[object],
        *,
        most: int,
        refused: Callable[[str], None],
        tls: ssl.SSLContext | None,
        tls_seconds: float,
    ) -> None:
        """make: a connection's protocol. inside: the protocols of connections that are made. most:
        how many there may be. refused: is told the kind of each refusal. tls_seconds: for a
        handshake.
        """
        self._sockets, self._make, self._inside = sockets, make, inside
        self._most, self._refused = most, refused
        self._tls, self._tls_seconds = tls, tls_seconds
        refusal = too_many(most)
        self._kind, self._told = refusal.kind, whole_answer(refusal, NOBODY)
        # Connections that are being made.
        self._coming: dict[asyncio.Task[object], asyncio.Protocol] = {}
        self._leaving: deque[tuple[float, socket.socket]] = deque()
        self._closed = False

    def open(self) -> None:
        """Take connections in, from now on."""
        for each in self._sockets:
            each.setblocking(False)
            each.listen(BACKLOG)
            self._listen(each)

    def close(self) -> None:
        """Take no more connections in."""
        self._closed = True
        for each in self._sockets:
            asyncio.get_running_loop().remove_reader(each)
        while self._leaving:
            self._leaving.popleft()[1].close()

    def _listen(self, listening: socket.socket) -> None:
        if not self._closed:
            asyncio.get_running_loop().add_reader(listening, self._come, listening)

    def _rest(self, listening: socket.socket, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening)
        loop.call_later(seconds, self._listen, listening)

    def _come(self, listening: socket.socket) -> None:
        """Some connections have come."""
        spent = 0.0
        for _ in range(TOGETHER):
            try:
                connection, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):
                break
            except OSError:
                self._rest(listening, NO_FILES_SECONDS)
                return
            connection.setblocking(False)
            number = len(self._inside)
            number += sum(each not in self._inside for each in self._coming.values())
            if number < self._most:
                self._take(connection)
                continue
            began = perf_counter()
            spare = number < self._most + SPARE_CONNECTIONS
            if spare and (self._tls or _may_be_health(connection)):
                self._take(connection)
            else:
                self._turn_away(connection, began)
            spent += perf_counter() - began
        if spent:
            self._rest(listening, spent * (PARTS - 1))

    def _take(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        seconds = self._tls_seconds if self._tls else None
        protocol = self._make()
        connecting = loop.connect_accepted_socket(
            lambda: protocol, connection, ssl=self._tls, ssl_handshake_timeout=seconds
        )
        coming = loop.create_task(connecting)
        self._coming[coming] = protocol
        coming.add_done_callback(self._came)

    def _came(self, coming: asyncio.Task[object]) -> None:
        del self._coming[coming]
        if not coming.cancelled():
            coming.exception()  # (A handshake that failed is nobody's concern.)

    def _turn_away(self, connection: socket.socket, now: float) -> None:
        self._refused(self._kind)
        with contextlib.suppress(OSError):
            if self._tls is None:
                # (What was not read would take the answer with it.)
                with contextlib.suppress(BlockingIOError):
                    connection.recv(1 << 16)
                request_id = secrets.token_hex(len(NOBODY) // 2)
                connection.send(self._told.replace(NOBODY.encode(), request_id.encode()))
            connection.shutdown(socket.SHUT_WR)
        if not self._leaving:
            asyncio.get_running_loop().call_later(KEPT_SECONDS, self._let_go)
        self._leaving.append((now, connection))
        if len(self._leaving) > KEPT:
            self._leaving.popleft()[1].close()

    def _let_go(self) -> None:
        """Close what has been told."""
        until = perf_counter() - KEPT_SECONDS
        while self._leaving and self._leaving[0][0] < until:
            self._leaving.popleft()[1].close()
        if self._leaving:
            asyncio.get_running_loop().call_later(KEPT_SECONDS, self._let_go)


def _may_be_health(connection: socket.socket) -> bool:
    """Whether a client asks whether the service is alive, or has not said what it asks."""
    try:
        return connection.recv(16, socket.MSG_PEEK).startswith(HEALTH)
    except BlockingIOError:
        return True
    except OSError:
        return False
