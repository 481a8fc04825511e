"""The service as an ASGI application: the road of a request.

In: requests. Out: answers, each with its request id; every error an RFC 9457 problem. A request is
admitted (host, key, rate, index), its body is read up to its limit, a pool of processes answers it,
and it is counted and logged. Short questions to an index that is in memory are answered here at
once. What is no query goes on to the pages (`pages.py`).
"""

import asyncio
import contextlib
import logging
import re
import time

from fastapi import FastAPI

from everygram.server import access, answering, pages, problems
from everygram.server.access_log import AccessLog
from everygram.server.admission import Admission
from everygram.server.calls import Answer, Call
from everygram.server.exchange import JSON, LEFT, Exchange, Gone, Message, Receive, Send
from everygram.server.indexes import Indexes
from everygram.server.keys import Key, Scope
from everygram.server.lines import NDJSON, Lines
from everygram.server.metrics import Metrics
from everygram.server.pool import Given, Pool, Threads
from everygram.server.problems import Refusal, as_answer, body_too_large
from everygram.server.rates import Rates
from everygram.server.settings import Settings
from everygram.server.tending import Tender
from everygram.server.tracing import span

logger = logging.getLogger("everygram")

# What a redirect of the framework has before the path: the host that the client said.
FULL = re.compile(r"^https?://[^/]*(?=/)")


class Service:
    """The application."""

    def __init__(self, application: FastAPI, pool: Pool, metrics: Metrics, rates: Rates) -> None:
        """application: the pages, with the settings and indexes. metrics, rates: what workers have
        in common.
        """
        self._pages, self._pool = application, pool
        self._settings = settings = application.state.settings
        self._indexes: Indexes = application.state.indexes
        self._metrics = metrics
        self._admission = Admission(settings, rates)
        self._log = AccessLog(metrics.lines_dropped) if settings.access_log else None
        # Bytes of bodies and answers that are held.
        self._held = 0
        self._leaving = False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        began = time.perf_counter()
        self._metrics.began()
        exchange = Exchange(scope, receive, send)
        with span(scope) as answered:
            try:
                await self._answer(exchange)
            except Refusal as refusal:
                await self._refuse(exchange, refusal)
            except Gone:
                exchange.status = LEFT
            except asyncio.CancelledError:
                # The grace of a service that ends is over.
                exchange.status = exchange.status or LEFT
            except Exception:
                logger.exception("request %s failed", exchange.request_id)
                await self._refuse(exchange, Refusal("internal", problems.FAILED))
            answered(exchange.status, exchange.route)
        seconds = time.perf_counter() - began
        self._metrics.observe(exchange.operation, exchange.status, seconds, exchange.tokens)
        if self._log:
            self._log.write(
                request_id=exchange.request_id,
                address=exchange.address,
                key=exchange.key,
                method=exchange.method,
                path=exchange.path,
                operation=exchange.operation,
                index=exchange.index,
                status=exchange.status,
                seconds=seconds,
                bytes_in=exchange.bytes_in,
                bytes_out=exchange.bytes_out,
            )

    async def _refuse(self, exchange: Exchange, refusal: Refusal) -> None:
        if exchange.started:
            if not exchange.cut():
                raise refusal
            return
        await self._send(exchange, as_answer(refusal, exchange.request_id))

    # Admission.

    async def _answer(self, exchange: Exchange) -> None:
        """Answer a request. Raises Refusal, Gone."""
        path, method = exchange.path, exchange.method
        reads = method in ("GET", "HEAD")
        if path.startswith("/health") and reads:
            exchange.operation = "health"
            await exchange.respond(self._health(exchange))
            return
        exchange.check()
        if not access.host_allowed(exchange.header("host"), self._settings):
            raise Refusal("misdirected", "the host that was asked for is not served here")
        if origin := exchange.header("origin"):
            answered = access.cors(method, origin, exchange.header, self._settings)
            if answered.preflight:
                exchange.more_headers = answered.headers
                exchange.whole = True
                await exchange.respond(Answer(204, b""))
                return
            exchange.more_headers = answered.headers
        key = self._admission.key(exchange)
        if path == "/metrics" and reads:
            exchange.operation = "metrics"
            kind, body = self._metrics.render(lambda name: self._admission.may_read(key, name))
            await exchange.respond(Answer(200, body, (("content-type", kind),)))
        elif method == "POST" and path == "/":
            await self._query(exchange, "infini-gram", "", key)
        elif method == "POST" and path.endswith("/attribution") and path.count("/") == 2:
            await self._query(exchange, "olmotrace", path.split("/")[1], key)
        elif method == "POST" and path.startswith(pages.PREFIX):
            name, _, operation = path[len(pages.PREFIX) :].partition("/")
            if operation in answering.OPERATIONS:
                await self._query(exchange, operation, name, key)
            else:
                await self._page(exchange, key)
        else:
            await self._page(exchange, key)

    def _check_scope(self, exchange: Exchange, name: str, key: Key | None, scope: Scope) -> None:
        """Raise Refusal if the index may not be asked so, with this key or without one."""
        self._admission.check(key, name, scope)
        exchange.index = self._indexes.resolved(name)

    # Queries.

    async def _query(self, exchange: Exchange, operation: str, name: str, key: Key | None) -> None:
        exchange.operation = operation
        if name:
            self._check_scope(exchange, name, key, "read")
            self._indexes.get(name)
            exchange.route = f"{pages.PREFIX}{{name}}/{operation}"
        kind = exchange.header("content-type").partition(";")[0].strip().lower()
        if kind == NDJSON and operation in answering.OPERATIONS:
            await Lines(self._settings, self._given, self._hold, self._release).answer(
                exchange, Call(operation, name, b"", 1, exchange.request_id)
            )
            return
        if kind != JSON and not (kind.startswith("application/") and kind.endswith("+json")):
            raise Refusal(
                "unsupported-media-type",
                f"content-type: expected {JSON}, or {NDJSON} for a query per line; found "
                f"{kind[:200] or 'none'}",
            )
        body = await self._body(exchange, self._settings.max_body_bytes)
        try:
            if not name and key is not None:
                # (Who names no index is told what is wrong, if he may ask at all.)
                named = answering.index_in(body)
                if named:
                    self._check_scope(exchange, named, key, "read")
                elif not key.allows("*", "read"):
                    raise Refusal("forbidden", "this key may not read every index: name one")
            call = Call(operation, name, body, request_id=exchange.request_id)
            # (What is asked elsewhere may take long, however short it is.)
            quick = self._settings.ray is None and answering.quick(call)
            if quick and (made := await self._at_once(call)) is not None:
                await self._send(exchange, made)
                return
            given = await self._given(exchange, call, self._settings.max_seconds)
        finally:
            self._held -= len(body)
        await self._send_given(exchange, given)

    async def _send_given(self, exchange: Exchange, given: Given) -> None:
        size = sum(map(len, given.body))
        self._hold(size)
        try:
            await self._send(exchange, given.answer, given.body)
        finally:
            self._held -= size

    async def _send(
        self, exchange: Exchange, answer: Answer, pieces: list[bytes] | None = None
    ) -> None:
        """Send an answer, and count what it was."""
        exchange.tokens = answer.tokens
        if answer.kind:
            self._metrics.refused(answer.kind)
        await exchange.respond(answer, pieces)

    async def _at_once(self, call: Call) -> Answer | None:
        """The answer to a question that is short: here, unless it may have to wait for a disk."""
        asked = call, self._indexes, self._settings
        named = [self._indexes.get(call.name)] if call.name else self._indexes.values()
        if any(index.engine.pace.cold for index in named):
            return await asyncio.to_thread(answering.answer_at_once, *asked)
        return answering.answer_at_once(*asked)

    async def _given(self, exchange: Exchange, call: Call, seconds: float, ahead: int = 0) -> Given:
        """The pool's answer, unless the client leaves before it is there. Raises Gone.

        ahead: bytes of the body's rest that may come meanwhile.
        """
        self._pool.check(call)
        asking = asyncio.ensure_future(self._pool.answer(call, seconds))
        leaving = asyncio.ensure_future(exchange.left(ahead))
        try:
            await asyncio.wait({asking, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise Gone
            return asking.result()
        finally:
            for task in (asking, leaving):
                task.cancel()
            await asyncio.wait({asking, leaving})
            self._metrics.queue(*self._pool.load())
            # (An error that is raised here knows of this function, which knows of its task: both,
            # and the body, would stay until garbage is looked for.)
            del asking, leaving, task

    def _hold(self, size: int) -> None:
        """Count bytes that are held. Raises Refusal if there are too many."""
        if self._held + size > self._settings.max_pending_bytes:
            raise Refusal(
                "overloaded",
                "too many bytes of requests and answers are under way; try again",
                headers=(("retry-after", "1"),),
            )
        self._held += size

    def _release(self, size: int) -> None:
        self._held -= size

    async def _body(self, exchange: Exchange, limit: int) -> bytes:
        """The request's body; its bytes are held. Raises Refusal."""
        exchange.check_declared(limit)
        chunks: list[bytes] = []
        size = 0
        try:
            async for chunk in exchange.chunks():
                if size + len(chunk) > limit:
                    raise body_too_large(limit)
                self._hold(len(chunk))
                size += len(chunk)
                chunks.append(chunk)
        except BaseException:
            self._held -= size
            raise
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    # Pages.

    async def _page(self, exchange: Exchange, key: Key | None) -> None:
        """Have a page answer, with what it reads and sends counted."""
        exchange.operation = pages.called(exchange.method, exchange.path)
        scope = access.needs(exchange.method, exchange.path)
        if scope and exchange.path.startswith(pages.PREFIX):
            name = exchange.path[len(pages.PREFIX) :].partition("/")[0]
            self._check_scope(exchange, name, key, scope)
        if pages.is_of_index(exchange.method, exchange.path):
            exchange.route = "/v1/indexes"
            call = pages.call_of(exchange.scope, exchange.index, key, exchange.request_id)
            await self._send_given(
                exchange, await self._given(exchange, call, self._settings.max_seconds)
            )
            return
        writes = scope == "write"
        limit = self._settings.max_upload_bytes if writes else self._settings.max_body_bytes
        exchange.check_declared(limit)

        async def receive() -> Message:
            message = await exchange.receive()
            if message["type"] == "http.request":
                exchange.whole = not message.get("more_body", False)
                exchange.bytes_in += len(message.get("body", b""))
                if exchange.bytes_in > limit:
                    raise body_too_large(limit)
            return message

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.route = getattr(exchange.scope.get("route"), "path", "")
                await exchange.start(
                    message["status"],
                    [
                        (name.decode(), FULL.sub("", value.decode("latin-1")))
                        for name, value in message["headers"]
                    ],
                )
            else:
                await exchange.send(message.get("body", b""), message.get("more_body", False))

        exchange.scope["everygram.key"] = key
        exchange.scope.setdefault("state", {})["request_id"] = exchange.request_id
        await self._pages(exchange.scope, receive, send)

    def _health(self, exchange: Exchange) -> Answer:
        """Whether this process lives; whether it can answer queries.

        It answers without a key, but names to nobody what he may not read.
        """
        path, troubles = exchange.path, self._indexes.troubles()
        known, may_read = self._admission.known(exchange), self._admission.may_read
        ready = not self._leaving and len(troubles) < len(self._indexes.names)
        if path == "/health/live":
            return answering.as_json(200, {"status": "ok"})
        if path not in ("/health", "/health/ready"):
            raise Refusal(
                "not-found", f"{path[:200]}: not found; expected /health/live or /health/ready"
            )
        said = {
            "status": "ok" if ready else "unavailable",
            "version": pages.VERSION,
            "unavailable": [name for name in sorted(troubles) if may_read(known, name)],
        }
        return answering.as_json(200 if ready else 503, said)

    # The application's life.

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        for name, index in self._indexes.items():
            self._metrics.version(name, index.version)
        tasks = [asyncio.create_task(self._follow())]
        if self._admission.has_keys:  # (Without keys, nobody may write.)
            tender = self._pages.state.tender = Tender(self._indexes.items)
            tasks.append(asyncio.create_task(tender.run()))
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._leaving = True
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self._log:
            await asyncio.to_thread(self._log.close)
        await send({"type": "lifespan.shutdown.complete"})

    async def _follow(self) -> None:
        """Serve what writers publish: queries from then on; those under way end as they began."""
        while True:
            await asyncio.sleep(self._settings.follow_seconds)
            try:
                if await asyncio.to_thread(self._indexes.look):
                    await self._pool.follow()
                    served = dict(self._indexes.items())
                    for name in self._indexes.names:
                        index = served.get(name)
                        self._metrics.version(name, None if index is None else index.version)
                await asyncio.to_thread(self._admission.follow)
            except Exception:
                logger.exception("what changed could not be read")


def create_app(settings: Settings) -> Service:
    """The service for a server of one's own: queries are answered in threads of this process.

    Deadlines, and the end of a query whose client has left, need `everygram serve`. Raises as
    `everygram.open`.
    """
    indexes = Indexes(settings)
    indexes.warm_up()
    application = pages.create(settings, indexes)
    return Service(application, Threads(application), Metrics(1), Rates(settings))
