"""Queries as NDJSON: answered a group of lines at a time, as they come.

In: a request, and what answers calls. Out: a line for each line. What is held of both is counted.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from everygram.server import answering
from everygram.server.calls import Call
from everygram.server.exchange import Exchange
from everygram.server.pool import Given
from everygram.server.problems import Refusal, body_too_large
from everygram.server.settings import Settings

NDJSON = "application/x-ndjson"
# Lines, and bytes, that are answered together.
GROUP_LINES = 1_000
GROUP_BYTES = 1 << 20
# What may come of the body while a group is answered.
AHEAD_BYTES = 64 << 10
# How long later lines wait before they try again where the service is overloaded.
AGAIN_SECONDS = 0.1


class _Ask(Protocol):
    async def __call__(
        self, exchange: Exchange, call: Call, seconds: float, ahead: int = 0
    ) -> Given: ...


class Lines:
    """One request of many queries."""

    def __init__(
        self,
        settings: Settings,
        ask: _Ask,
        hold: Callable[[int], None],
        release: Callable[[int], None],
    ) -> None:
        """ask: answers a call; raises Refusal, Gone. hold: counts bytes that are held, until their
        release; raises Refusal if there are too many.
        """
        self._settings, self._ask = settings, ask
        self._hold_at_once, self._release_some = hold, release
        self._held = 0

    async def answer(self, exchange: Exchange, first: Call) -> None:
        """Answer all lines. first: what is asked, without lines. Raises Refusal, Gone."""
        number = 1
        try:
            async for group in self._groups(exchange):
                call = first._replace(body=group, lines=number)
                body = await self._answered(call, exchange)
                size = sum(map(len, body))
                await self._hold(size, exchange)
                await self._start(exchange)
                body.reverse()
                while body:
                    await exchange.send(body.pop(), more=True)
                self._release(size)
                number += group.count(b"\n")
        finally:
            self._release(self._held)
        await self._start(exchange)
        await exchange.send(b"")

    async def _start(self, exchange: Exchange) -> None:
        if not exchange.started:
            # (More of the body is read after this.)
            exchange.whole, whole = True, exchange.whole
            await exchange.start(200, [("content-type", NDJSON)])
            exchange.whole = whole

    async def _groups(self, exchange: Exchange) -> AsyncIterator[bytes]:
        """The body as groups of whole lines. Raises Refusal for a line that is too long."""
        limit = self._settings.max_body_bytes
        held = bytearray()
        lines = 0
        async for chunk in exchange.chunks():
            await self._hold(len(chunk), exchange)
            held += chunk
            lines += chunk.count(b"\n")
            if lines >= GROUP_LINES or len(held) >= GROUP_BYTES:
                end = held.rfind(b"\n") + 1
                if end:
                    yield bytes(held[:end])
                    del held[:end]
                    self._release(end)
                    lines = 0
                if len(held) > limit:
                    raise body_too_large(limit)
        if held:
            yield bytes(held)

    async def _answered(self, call: Call, exchange: Exchange) -> list[bytes]:
        """The answers to a group of lines, a line each."""
        end = time.monotonic() + self._settings.max_seconds
        while True:
            try:
                given = await self._ask(exchange, call, end - time.monotonic(), AHEAD_BYTES)
            except Refusal as refusal:
                if not exchange.started:
                    raise
                if refusal.kind == "overloaded" and time.monotonic() + AGAIN_SECONDS < end:
                    await asyncio.sleep(AGAIN_SECONDS)
                    continue
                return [answering.refused_lines(call, refusal)]
            exchange.tokens += given.answer.tokens
            return given.body

    async def _hold(self, size: int, exchange: Exchange) -> None:
        """Count bytes that are held; once the answer has begun, wait for room first."""
        end = time.monotonic() + self._settings.max_seconds
        while True:
            try:
                self._hold_at_once(size)
            except Refusal:
                if not exchange.started or time.monotonic() + AGAIN_SECONDS > end:
                    raise
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                self._held += size
                return

    def _release(self, size: int) -> None:
        self._held -= size
        self._release_some(size)
