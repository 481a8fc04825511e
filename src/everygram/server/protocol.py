"""HTTP/1.1 connections: uvicorn's, with the time-outs, sizes and errors that it does not have.

In: bytes of a connection. Out: calls of the application, or a problem and the connection's end.
uvicorn gives a connection no time to send its head and body, lets heads grow without a bound, waits
for ever for a client that does not read, and answers with plain text what it cannot parse (its
issue 157). Here `sweep`, which runs a few times per second, looks at every connection: a timer per
request would cost more than the look.
"""

import asyncio
import contextlib
import fcntl
import secrets
import sys
import termios
from collections.abc import Callable
from typing import Any, cast

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from everygram.server.door import too_many, whole_answer
from everygram.server.problems import Refusal
from everygram.server.settings import Settings

# Seconds between sweeps.
SWEEP_SECONDS = 0.25
# Bytes of a body that have to arrive in `body_seconds`.
BODY_STEP = 64 << 10
# How long, and for how many bytes, the rest of a body that was refused is read and dropped: a
# connection that is closed before would take the answer with it.
LINGER_SECONDS = 2.0
LINGER_BYTES = 16 << 20
# How long a connection that is idle when the service ends may still send a request.
FAREWELL_SECONDS = 0.5
HEALTH = "/health"
CONTINUE = b"HTTP/1.1 100 "


class Config(uvicorn.Config):
    """uvicorn's configuration, with ours beside it.

    refused: is told the kind of each problem that a connection answers itself. lingering: how many
    connections were refused and are not closed yet.
    """

    settings: Settings
    refused: Callable[[str], None]
    lingering = 0


class _Transport:
    """A connection's transport, as one answer sees it.

    The answer's head goes with the first of its body: each write is a call of the system. Closing
    waits until the client has read what it was sent.
    """

    def __init__(self, transport: asyncio.Transport, protocol: "Protocol") -> None:
        self._transport, self._protocol = transport, protocol
        # None before, empty after it is sent.
        self._head: bytes | None = None
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        if self._head is None and not data.startswith(CONTINUE):
            self._head = data
        elif self._head:
            self._transport.write(self._head + data)
            self._head = b""
        else:
            self._transport.write(data)

    def flush(self) -> None:
        """Send a head that no body follows: an answer to HEAD."""
        if self._head:
            self._transport.write(self._head)
            self._head = b""

    def close(self) -> None:
        self.flush()
        self._protocol.close_gently()


class Protocol(HttpToolsProtocol):
    """One connection. `_phase` is what it has to do next, `_since` since when."""

    config: Config

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        self._settings = self.config.settings
        self._phase, self._since = "head", self.loop.time()
        # Bytes that the client has still to read, and since when they are as many.
        self._unread, self._unread_since = -1, 0.0
        self._head_bytes = self._body_bytes = self._body_mark = 0
        # Heads that have come, and bytes of the next one that came by themselves.
        self._heads = self._unparsed = 0
        self._refusal: Refusal | None = None
        self._leaving = False
        # (Those that were refused and are not closed yet do not stand in the way of others.)
        number = len(self.connections) - self.config.lingering
        self._crowded = number > self._settings.max_connections

    def connection_lost(self, exc: Exception | None) -> None:
        self.config.lingering -= self._phase == "linger"
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._phase == "linger":
            self._body_bytes += len(data)
            if self._body_bytes > LINGER_BYTES:
                self.transport.close()
            return
        if self._phase == "idle":
            self._phase, self._since = "head", self.loop.time()
        phase, heads = self._phase, self._heads
        super().data_received(data)
        # (The parser tells of a header when it is whole.)
        if phase == self._phase == "head" and heads == self._heads:
            self._unparsed += len(data)
            if self._unparsed > self._settings.max_header_bytes:
                self._refuse(self._long_head())

    # The parser's callbacks.

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0
        self._phase = "head"

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        # (What stands behind a body is no header: it would come after whoever looks at those.)
        if self._phase != "body":
            super().on_header(name, value)
        self._count_head(len(name) + len(value) + 4)

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self._settings.max_header_bytes:
            self._refusal = self._long_head()
            raise httptools.HttpParserError("headers too large")

    def _long_head(self) -> Refusal:
        limit = self._settings.max_header_bytes
        return Refusal(
            "headers-too-large",
            f"the request's line and headers: expected at most {limit:,} bytes",
        )

    def on_headers_complete(self) -> None:
        self._phase, self._since = "body", self.loop.time()
        self._body_bytes = self._body_mark = self._unparsed = 0
        self._heads += 1
        super().on_headers_complete()
        if self._leaving:
            self.cycle.keep_alive = False

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        # (Of requests that did not wait, `self.cycle` is the last.)
        cycle.transport = self._answering = _Transport(self.transport, self)
        if self._crowded and not cycle.scope["path"].startswith(HEALTH):
            # (Told as cheaply as can be: there are many to tell.)
            self._refuse(too_many(self._settings.max_connections))
            return

        def cut() -> None:
            cycle.disconnected = True
            self.transport.close()

        cycle.scope["everygram.cut"] = cut
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        if self._phase == "linger":
            return
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._phase == "linger":
            return
        self._phase = "idle" if self.cycle.response_complete else "answer"
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._answering.flush()
        if self._phase == "answer":
            self._phase = "idle"
        # (The next head may have begun to come.)
        self._since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        self._unread = -1
        super().pause_writing()

    # Refusals and ends.

    def send_400_response(self, msg: str) -> None:
        """Answer a request that cannot be parsed."""
        self._refuse(self._refusal or Refusal("bad-request", "this is not HTTP/1.1"))

    def _refuse(self, refusal: Refusal) -> None:
        """Answer with a problem, unless an answer has begun, and close."""
        self.config.refused(refusal.kind)
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(whole_answer(refusal, secrets.token_hex(8)))
        if self.cycle is not None and not self.cycle.response_complete:
            # As if the client had left: the application stops.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._phase = "head"  # (More may come that is not HTTP.)
        self.close_gently()

    def close_gently(self) -> None:
        """Close; if more of a request is to come, read and drop some of it first."""
        if self._phase in ("head", "body") and not self.transport.is_closing():
            self._phase, self._since = "linger", self.loop.time()
            self.config.lingering += 1
            self._body_bytes = 0
            self.flow.resume_reading()
            if self.transport.can_write_eof():
                self.transport.write_eof()
        elif self._phase != "linger":
            self.transport.close()

    def eof_received(self) -> None:
        if self._phase == "linger":
            self.transport.close()

    def shutdown(self) -> None:
        """The service ends: answer what has come, and what an idle client is sending just now."""
        self._leaving = True
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(FAREWELL_SECONDS, self._leave)
        else:
            self.cycle.keep_alive = False

    def _leave(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()

    def sweep(self, now: float) -> None:
        """End the connection if it has taken too long over what it has to do."""
        settings, waited = self._settings, now - self._since
        if self.transport.is_closing():
            # What was sent before is still to be read.
            self._abort_unread(now)
        elif self._phase == "linger":
            if waited > LINGER_SECONDS:
                self.transport.close()
        elif self.flow.write_paused:
            self._abort_unread(now)
        elif self._phase == "head" and waited > settings.header_seconds:
            if self.cycle is not None and not self.cycle.response_complete:
                return  # a head behind a request that is being answered
            self._refuse(_late("the request's line and headers", settings.header_seconds))
        elif self._phase == "body" and waited > settings.body_seconds:
            if self._body_bytes - self._body_mark < BODY_STEP and not self.flow.read_paused:
                self._refuse(_late("more of the body", settings.body_seconds))
            else:
                self._since, self._body_mark = now, self._body_bytes

    def _abort_unread(self, now: float) -> None:
        """End the connection if nothing of what was sent has been read for too long."""
        unread = self.transport.get_write_buffer_size() + self._in_system()
        if unread != self._unread:
            self._unread, self._unread_since = unread, now
        elif now - self._unread_since > self._settings.write_seconds:
            self.transport.abort()

    def _in_system(self) -> int:
        """Bytes that the system has still to deliver: megabytes, of which it tells nobody before a
        third is gone."""
        found = bytearray(4)
        with contextlib.suppress(OSError, ValueError):
            descriptor = self.transport.get_extra_info("socket").fileno()
            fcntl.ioctl(descriptor, termios.TIOCOUTQ, found)
        return int.from_bytes(found, sys.byteorder)


def _late(what: str, seconds: float) -> Refusal:
    return Refusal("request-timeout", f"{what}: expected within {seconds:g} seconds")


async def sweep(
    connections: set[Any], loop: asyncio.AbstractEventLoop, count: Callable[[int], None]
) -> None:
    """Look at all connections, again and again. count: is told how many there are."""
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        now = loop.time()
        count(len(connections))
        for connection in list(connections):
            connection.sweep(now)
