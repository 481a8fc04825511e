"""A worker: a process that serves connections.

In: the supervisor's listening sockets, and a connection to it, over which runners are asked for.
"""

import asyncio
import ctypes
import gc
import logging
import os
import signal
import socket
import time
from collections import deque

import psutil
import uvicorn
import uvloop
from fastapi import FastAPI

from everygram.errors import EverygramError
from everygram.server import pages, protocol
from everygram.server.app import Service
from everygram.server.door import Door
from everygram.server.indexes import LOOKS, Indexes
from everygram.server.metrics import Metrics
from everygram.server.pool import Pool, Runners, Threads
from everygram.server.rates import Rates
from everygram.server.settings import Settings

logger = logging.getLogger("everygram")

# What a worker says to the supervisor: a byte, the niceness of a runner it asks for, or this.
READY = 255
# How often a worker looks whether it has grown by so many bytes.
TIDY_SECONDS, GROWTH = 2.0, 16 << 20
# How long a worker waits whose cluster does not answer, until another one tries.
RETRY_SECONDS = 5.0


def run(
    control: socket.socket,
    sockets: list[socket.socket],
    application: FastAPI,
    metrics: Metrics,
    rates: Rates,
) -> None:
    """Serve until SIGTERM, or until the supervisor has gone.

    application: the pages, with the settings and indexes.
    """
    settings: Settings = application.state.settings
    if settings.ray is not None:
        try:
            indexes = Indexes(settings, over_ray=True)
            indexes.warm_up()
        except EverygramError as error:
            logger.error("nothing is served: %s; trying again in %g s", error, RETRY_SECONDS)
            time.sleep(RETRY_SECONDS)
            os._exit(1)
        application = pages.create(settings, indexes)
    # uvicorn handles these, and raises them again once it has ended. (Ray has handled them, too.)
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: None)
    # Files may have changed since the supervisor opened them, which may be what the worker before
    # died of.
    for _ in range(LOOKS):
        application.state.indexes.look()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(_serve(control, sockets, application, metrics, rates))


async def _serve(
    control: socket.socket,
    sockets: list[socket.socket],
    application: FastAPI,
    metrics: Metrics,
    rates: Rates,
) -> None:
    settings: Settings = application.state.settings
    supervisor = _Supervisor(control)
    pool: Pool
    if settings.ray is None:
        pool = Runners(supervisor.spawn, application.state.indexes, settings)
    else:
        pool = Threads(application)
    service = Service(application, pool, metrics, rates)
    config = protocol.Config(
        service,
        http=protocol.Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        # (It says that it takes whole seconds; it takes any.)
        timeout_keep_alive=settings.keep_alive_seconds,  # type: ignore[arg-type]
        timeout_graceful_shutdown=settings.grace_seconds,  # type: ignore[arg-type]
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
    )
    config.settings, config.refused = settings, metrics.refused
    server = _Server(config, supervisor)
    supervisor.listen(server)
    loop = asyncio.get_running_loop()
    sweeping = asyncio.create_task(
        protocol.sweep(server.server_state.connections, loop, metrics.connections)
    )
    tidying = asyncio.create_task(_tidy())
    await server.serve(sockets)
    for task in (sweeping, tidying):
        task.cancel()
    pool.close()


async def _tidy() -> None:
    """Give memory back after large requests: Python and the C library keep what was let go."""
    library = ctypes.CDLL(None)
    trim = getattr(library, "malloc_trim", lambda _: None)  # (glibc's)
    process = psutil.Process()
    small = process.memory_info().rss
    while True:
        await asyncio.sleep(TIDY_SECONDS)
        if process.memory_info().rss > small + GROWTH:
            # (What was there before the worker began is not looked at: milliseconds.)
            gc.collect()
            trim(0)
            small = max(small, process.memory_info().rss - GROWTH // 2)


class _Supervisor:
    """The supervisor, as a worker sees it."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        control.setblocking(False)
        self._asked: deque[asyncio.Future[tuple[int, socket.socket]]] = deque()

    def listen(self, server: uvicorn.Server) -> None:
        """Hear it from now on; end the server once it has gone."""
        self._server = server
        asyncio.get_running_loop().add_reader(self._control, self._heard)

    def ready(self) -> None:
        """Tell it that this worker serves."""
        self._control.send(bytes([READY]))

    async def spawn(self, niceness: int) -> tuple[int, socket.socket]:
        """A new runner: its process, and a connection to it. Raises OSError."""
        answer: asyncio.Future[tuple[int, socket.socket]]
        answer = asyncio.get_running_loop().create_future()
        self._control.send(bytes([niceness]))
        self._asked.append(answer)
        try:
            return await asyncio.shield(answer)
        except asyncio.CancelledError:
            # It comes all the same, and ends when its connection is closed.
            answer.add_done_callback(_dropped)
            raise

    def _heard(self) -> None:
        try:
            number, descriptors, _, _ = socket.recv_fds(self._control, 8, 1)
        except BlockingIOError:
            return
        except OSError:
            number, descriptors = b"", []
        if not number:
            asyncio.get_running_loop().remove_reader(self._control)
            self._server.should_exit = True
            return
        asked = self._asked.popleft()
        if not descriptors:
            asked.set_exception(OSError("the system gives no more processes or files"))
            return
        runner = socket.socket(fileno=descriptors[0])
        runner.setblocking(False)
        asked.set_result((int.from_bytes(number, "little"), runner))


def _dropped(answer: asyncio.Future[tuple[int, socket.socket]]) -> None:
    """Nobody waits for this runner any more."""
    if not answer.cancelled() and answer.exception() is None:
        answer.result()[1].close()


class _Server(uvicorn.Server):
    """uvicorn behind a door of ours, which tells the supervisor that it serves."""

    config: protocol.Config

    def __init__(self, config: protocol.Config, supervisor: _Supervisor) -> None:
        super().__init__(config)
        self._supervisor = supervisor

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([])
        config = self.config

        def make() -> asyncio.Protocol:
            return protocol.Protocol(config, self.server_state, self.lifespan.state)

        self._door = Door(
            sockets or [],
            make,
            self.server_state.connections,
            most=config.settings.max_connections,
            refused=config.refused,
            tls=config.ssl,
            tls_seconds=config.settings.header_seconds,
        )
        self._door.open()
        self._supervisor.ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._door.close()
        await super().shutdown(sockets)
