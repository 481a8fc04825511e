"""Where a worker has its calls answered: by runners, or, without a supervisor, by threads.

In: calls. Out: answers. Knows nothing of HTTP.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

import orjson
from fastapi import FastAPI

from everygram.server.calls import Answer, Call
from everygram.server.indexes import Indexes
from everygram.server.pages import answer
from everygram.server.problems import Refusal
from everygram.server.runner import SIZES
from everygram.server.settings import Settings

logger = logging.getLogger("everygram")

# A call with a longer body, or with several lines, takes its turn in a lane of its own, so that
# short ones do not wait for it.
LONG_BODY = 64 << 10
# How many calls are answered at once where threads answer: most wait for machines elsewhere.
THREADS = 16
# What of an answer is read, and sent, at a time.
PIECE = 256 << 10


class Given(NamedTuple):
    """An answer, its body in pieces."""

    answer: Answer
    body: list[bytes]


class Pool(Protocol):
    """What answers calls."""

    async def answer(self, call: Call, seconds: float) -> Given:
        """The answer. Raises Refusal: overloaded, time-limit, index-unavailable, internal.

        Being cancelled ends the work within milliseconds.
        """

    def check(self, call: Call) -> None:
        """Raise Refusal if so many calls wait that this one would not be answered: at a fraction of
        what it takes to begin to answer."""

    async def follow(self) -> None:
        """The worker's indexes have changed: let go of what they were."""

    def load(self) -> tuple[int, int]:
        """How many calls wait, and how many are being answered."""

    def close(self) -> None:
        """End the work."""


class Threads:
    """Answers in threads of this process. What is under way cannot be stopped, only left alone."""

    def __init__(self, application: FastAPI) -> None:
        self._application = application
        self._settings: Settings = application.state.settings
        self._threads = ThreadPoolExecutor(THREADS)
        self._asked, self._counting = 0, threading.Lock()

    async def answer(self, call: Call, seconds: float) -> Given:
        self.check(call)
        with self._counting:
            self._asked += 1
        made = self._threads.submit(answer, call, self._application)
        made.add_done_callback(self._answered)
        try:
            async with asyncio.timeout(seconds):
                given = await asyncio.wrap_future(made)
        except TimeoutError:
            raise _stopped(self._settings) from None
        return Given(given, [given.body])

    def _answered(self, _: object) -> None:
        with self._counting:  # (Called in the thread that answered.)
            self._asked -= 1

    def check(self, call: Call) -> None:
        if self._asked >= THREADS + self._settings.max_queue:
            raise _full(self._settings)

    async def follow(self) -> None:
        pass

    def load(self) -> tuple[int, int]:
        return max(0, self._asked - THREADS), min(self._asked, THREADS)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class _Runner(NamedTuple):
    process: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def kill(self) -> None:
        # (The number of one that has ended may be that of another process by now.)
        if not self.ended():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process, signal.SIGKILL)
        self.writer.close()

    def ended(self) -> bool:
        """Whether its connection was closed, which it does not do before its end."""
        return self.reader.at_eof() or self.reader.exception() is not None


# Asks the supervisor for a runner of a niceness: its process number, and a connection to it.
Spawn = Callable[[int], Awaitable[tuple[int, socket.socket]]]


class _Lane:
    """Runners for calls of a kind, and the calls that wait for one."""

    def __init__(self, number: int, niceness: int) -> None:
        self.niceness = niceness
        self.free = number
        # (In turns, so that none is forgotten.)
        self.idle: deque[_Runner] = deque()
        self.busy: set[_Runner] = set()
        self.waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Wait for one's turn."""
        if self.free:
            self.free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            else:
                # (Somebody who left in the meantime may have passed it over.)
                with contextlib.suppress(ValueError):
                    self.waiting.remove(turn)
            raise

    def leave(self) -> None:
        """Let the next one in."""
        while self.waiting:
            turn = self.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.free += 1


class Runners:
    """Answers in processes of their own, that are killed when they are not wanted any more."""

    def __init__(
        self,
        spawn: Spawn,
        indexes: Indexes,
        settings: Settings,
    ) -> None:
        self._spawn, self._indexes, self._settings = spawn, indexes, settings
        number = settings.runners or _processors()
        self._short, self._long = _Lane(number, 1), _Lane(number, 10)

    def load(self) -> tuple[int, int]:
        lanes = (self._short, self._long)
        return sum(len(each.waiting) for each in lanes), sum(len(each.busy) for each in lanes)

    def _lane(self, call: Call) -> _Lane:
        return self._long if call.lines or len(call.body) > LONG_BODY else self._short

    def check(self, call: Call) -> None:
        if len(self._lane(call).waiting) >= self._settings.max_queue:
            raise _full(self._settings)

    async def answer(self, call: Call, seconds: float) -> Given:
        self.check(call)
        lane = self._lane(call)
        try:
            async with asyncio.timeout(seconds):
                await lane.enter()
                try:
                    return await self._answered(lane, call)
                finally:
                    lane.leave()
        except TimeoutError:
            raise _stopped(self._settings) from None

    async def _answered(self, lane: _Lane, call: Call) -> Given:
        runner = await self._taken(lane)
        lane.busy.add(runner)
        well = False
        try:
            given, last = await self._asked(runner, call)
            well = not last
            return given
        except (OSError, EOFError):
            raise _ended(call) from None
        finally:
            lane.busy.discard(runner)
            if well:
                lane.idle.append(runner)
            else:
                runner.kill()

    async def _taken(self, lane: _Lane) -> _Runner:
        """A runner that lives."""
        while lane.idle:
            runner = lane.idle.popleft()
            if not runner.ended():
                return runner
            runner.kill()
        try:
            process, connection = await self._spawn(lane.niceness)
        except OSError as error:
            logger.error("a runner could not be started: %s", error)
            raise Refusal(
                "overloaded",
                "a process that answers could not be started; try again",
                headers=(("retry-after", "1"),),
            ) from None
        return _Runner(process, *await asyncio.open_connection(sock=connection, limit=2 * PIECE))

    async def _asked(self, runner: _Runner, call: Call) -> tuple[Given, bool]:
        """The answer, and whether the runner ends with it. Raises OSError, EOFError if it died."""
        head = orjson.dumps(
            {
                "operation": call.operation,
                "name": call.name,
                "lines": call.lines,
                "request_id": call.request_id,
                "stamp": self._indexes.stamp,
            }
        )
        runner.writer.write(SIZES.pack(len(head), len(call.body)) + head)
        for start in range(0, len(call.body), PIECE):
            runner.writer.write(call.body[start : start + PIECE])
            await runner.writer.drain()
        head_size, size = SIZES.unpack(await runner.reader.readexactly(SIZES.size))
        said = orjson.loads(await runner.reader.readexactly(head_size))
        pieces = []
        while size:
            piece = await runner.reader.read(min(size, PIECE))
            if not piece:
                raise EOFError
            pieces.append(piece)
            size -= len(piece)
        headers = tuple((name, value) for name, value in said["headers"])
        made = Answer(said["status"], b"", headers, said["tokens"], said["kind"])
        return Given(made, pieces), said["last"]

    async def follow(self) -> None:
        """Tell runners that have nothing to do, which would keep what was removed on the disk."""
        for lane in (self._short, self._long):
            for _ in range(len(lane.idle)):
                with contextlib.suppress(Refusal, TimeoutError):
                    async with asyncio.timeout(self._settings.max_seconds):
                        await lane.enter()
                        try:
                            await self._answered(lane, Call("", "", b""))
                        finally:
                            lane.leave()

    def close(self) -> None:
        for lane in (self._short, self._long):
            for runner in (*lane.idle, *lane.busy):
                runner.kill()
            lane.idle.clear()


def _full(settings: Settings) -> Refusal:
    return Refusal(
        "overloaded",
        f"{settings.max_queue:,} queries are waiting already; try again",
        headers=(("retry-after", "1"),),
    )


def _stopped(settings: Settings) -> Refusal:
    return Refusal(
        "time-limit",
        f"the query was stopped: it took more than {settings.max_seconds:g} seconds",
    )


def _processors() -> int:
    """The number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _ended(call: Call) -> Refusal:
    """Why a runner died is not known here: most likely a file was cut off under it."""
    if call.name:
        return Refusal(
            "index-unavailable",
            f"index '{call.name[:200]}': the process that answered has died; either a file of the "
            "index was cut off, or there was not enough memory; the service's log may say more",
            headers=(("retry-after", "1"),),
        )
    return Refusal("internal", "the process that answered has died; the service's log may say more")
