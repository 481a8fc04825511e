"""A request and its answer, as the service's application sees them: over ASGI's messages.

In: a scope, and functions that receive and send. Out: a body, and an answer that is sent. Knows
nothing of what is asked.
"""

import asyncio
import random
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from everygram.server.calls import Answer
from everygram.server.metrics import OTHER
from everygram.server.problems import Refusal, body_too_large

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Iterable[tuple[str, str]]

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
JSON = "application/json"
# Headers of which a request has one at most: whoever looks at the other one sees another request.
ONCE = frozenset(
    {b"authorization", b"content-type", b"host", b"idempotency-key", b"origin", b"x-request-id"}
)
# Bytes, control characters, of no path that is served.
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Of every answer: browsers take what is JSON for nothing else.
NOSNIFF = ("x-content-type-options", "nosniff")
# Statuses of answers that have no body.
BODILESS = (204, 304)
# What the log has as the status of a request whose client left before its answer.
LEFT = 499


class Gone(Exception):
    """The client has left."""


class Exchange:
    """A request and its answer, and what is logged of them."""

    def __init__(self, scope: Message, receive: Receive, send: Send) -> None:
        self.scope, self._receive, self._send = scope, receive, send
        # Messages of the body that came while something else was done, and their bytes.
        self._ahead: deque[Message] = deque()
        self._kept = 0
        self._received = False
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers = {name.decode("latin-1"): value for name, value in scope["headers"]}
        self.address = scope["client"][0] if scope.get("client") else ""
        asked = self.header("x-request-id")
        self.request_id = asked if REQUEST_ID.fullmatch(asked) else f"{random.getrandbits(64):016x}"
        self.more_headers: list[tuple[str, str]] = []
        self.started = self.whole = False
        # What is logged: `route` is the path's pattern, key the name of the client's.
        self.operation, self.route, self.index = OTHER, "", ""
        self.key: str | None = None
        self.status = self.bytes_in = self.bytes_out = self.tokens = 0

    def header(self, name: str) -> str:
        """A header's value, or an empty string."""
        value: bytes = self.headers.get(name, b"")
        return value.decode("latin-1")

    async def receive(self) -> Message:
        """The next message."""
        if self._ahead:
            message = self._ahead.popleft()
            self._kept -= len(message.get("body", b""))
            return message
        message = await self._receive()
        self._received = not message.get("more_body", False)
        return message

    def check(self) -> None:
        """Raise Refusal for a head that can be read in two ways."""
        if CONTROL.search(self.path):
            raise Refusal("not-found", "a path has no control characters; see /docs for what is")
        if len(self.headers) < len(self.scope["headers"]):
            names = [name for name, _ in self.scope["headers"]]
            twice = next((name for name in names if name in ONCE and names.count(name) > 1), None)
            if twice is not None:
                raise Refusal("bad-request", f"header {twice.decode()}: expected it once")

    def check_declared(self, limit: int) -> None:
        """Raise Refusal if the body is said to have more bytes, before any is read."""
        declared = self.header("content-length")
        if declared.isdigit() and int(declared) > limit:
            raise body_too_large(limit)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises Gone."""
        while not self.whole:
            message = await self.receive()
            if message["type"] != "http.request":
                raise Gone
            self.whole = not message.get("more_body", False)
            chunk: bytes = message.get("body", b"")
            self.bytes_in += len(chunk)
            if chunk:
                yield chunk

    async def left(self, most: int = 0) -> None:
        """Return when the client has left.

        What comes of its body meanwhile is kept, about `most` bytes; then nobody looks any more.
        """
        while self._received or self._kept < most:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return
            if not self._received:
                self._received = not message.get("more_body", False)
                self._kept += len(message.get("body", b""))
                self._ahead.append(message)
        await asyncio.get_running_loop().create_future()

    def cut(self) -> bool:
        """Close: the client sees that the answer has no end. Returns False if the server cannot."""
        close = self.scope.get("everygram.cut")
        if close is not None:
            close()
        return close is not None

    async def start(self, status: int, headers: Headers) -> None:
        """Send the head of the answer. Of a body that was not read, nothing more is read."""
        self.started, self.status = True, status
        said = [*headers, *self.more_headers, NOSNIFF, ("x-request-id", self.request_id)]
        if not self.whole and self.method not in ("GET", "HEAD"):
            said.append(("connection", "close"))
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(name.encode(), value.encode("latin-1")) for name, value in said],
            }
        )

    async def send(self, body: bytes, more: bool = False) -> None:
        """Send a part of the answer's body."""
        self.bytes_out += len(body)
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def respond(self, answer: Answer, pieces: list[bytes] | None = None) -> None:
        """Send an answer, whose body may be in pieces."""
        pieces = [answer.body] if pieces is None else pieces
        headers = dict(answer.headers)
        if answer.status not in BODILESS:
            # (The head of a page without its body says how long that is.)
            headers.setdefault("content-length", str(sum(map(len, pieces))))
            headers.setdefault("content-type", JSON)
        await self.start(answer.status, headers.items())
        # (Sent pieces are let go at once: a slow client need not be held all of them.)
        pieces.reverse()
        while len(pieces) > 1:
            await self.send(pieces.pop(), more=True)
        await self.send(pieces[0] if pieces else b"")
