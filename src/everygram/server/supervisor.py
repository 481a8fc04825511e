"""The first process of a service: opens the indexes, and forks and watches all others.

In: settings. Out: workers, which serve connections, and the runners they ask for. Forked processes
share what is read and compiled here. This one has no threads, and never reads an index's content
once it serves: a file that is cut off ends the process that reads it.
"""

import contextlib
import errno
import gc
import itertools
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from typing import TypeVar

import psutil

from everygram.errors import EverygramError, OptionError
from everygram.server import door, pages, runner, worker
from everygram.server.indexes import Indexes
from everygram.server.metrics import Metrics
from everygram.server.rates import Rates
from everygram.server.settings import Settings
from everygram.server.terminal import Terminal

logger = logging.getLogger("everygram")
T = TypeVar("T")

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
# A worker that ends sooner than this after its start is started again only after this time.
SOON = 1.0
# Files and sockets of a process beside those of indexes and connections.
OWN_FILES = 64
# As many as any system allows a process that asks.
MANY_FILES = 10_240
# Seconds that workers have beyond `grace_seconds` until they are killed.
PATIENCE = 1.0


class _Worker:
    """A worker that lives."""

    def __init__(self, process: int, control: socket.socket, generation: int, number: int) -> None:
        self.process, self.control = process, control
        self.generation, self.number = generation, number
        self.started = time.monotonic()
        self.ready = False
        # When it has to be gone.
        self.deadline: float | None = None


class Supervisor:
    """The processes of a service."""

    def __init__(
        self,
        settings: Settings,
        reload: Callable[[], Settings],
        opened: Callable[[str], object] | None = None,
    ) -> None:
        """reload: the settings as they are when it is called. opened: is told once where the page
        is, when it can be asked for.
        """
        self._settings, self._reload, self._opened = settings, reload, opened
        self._workers: list[_Worker] = []
        self._generation = 0
        self._ending = False
        self._due: list[float] = []
        # Whether all workers of a generation have been ready.
        self._serves = False

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, or until the terminal is closed. Raises EverygramError if
        it cannot start.
        """
        settings = self._settings
        self._terminal = Terminal()
        self._sockets = [_listening(settings.host, settings.port)]
        try:
            self._indexes = Indexes(settings)
        except BaseException:
            self._sockets[0].close()
            raise
        _allow_files(settings)
        if settings.ray is None:
            self._indexes.warm_up()
        self._application = pages.create(settings, self._indexes)
        self._metrics, self._rates = Metrics(settings.workers), Rates(settings)
        # (What is there now is never looked at for garbage again, nor copied for that.)
        gc.collect()
        gc.freeze()
        self._wake, wake = socket.socketpair()
        self._wake.setblocking(False)
        wake.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        for each in SIGNALS:
            signal.signal(each, lambda *_: None)
        host, port = self._sockets[0].getsockname()[:2]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        scheme = "https" if settings.tls_certificate else "http"
        names = ", ".join(f"'{name}'" for name in self._indexes.names)
        url = f"{scheme}://{address}"
        self._said = f"serving {names}; the page is at {url}/, the manual is at {url}/docs"
        self._page = f"{scheme}://{_reached(host)}:{port}/"
        for _ in range(settings.workers):
            self._start_worker()
        self._loop()

    def _loop(self) -> None:
        looked = time.monotonic()
        while True:
            now = time.monotonic()
            if self._ending and not self._workers:
                return
            self._kill_late(now)
            self._terminal.look(now)
            if not self._ending:
                self._start_workers(now)
            if not self._ending and now - looked >= self._settings.follow_seconds:
                self._follow()
                looked = time.monotonic()
            ready = wait([self._wake, *(each.control for each in self._workers)], 0.2)
            for each in [*self._workers]:
                if each.control in ready:
                    self._on_message(each)
            if self._wake in ready:
                self._on_signals()

    def _on_signals(self) -> None:
        numbers = set(self._wake.recv(4096))
        if signal.SIGCHLD in numbers:
            self._reap()
        closed = signal.SIGHUP in numbers and self._terminal.closed(time.monotonic())
        if signal.SIGHUP in numbers and not (closed or self._ending):
            self._renew()
        if closed or numbers & {signal.SIGTERM, signal.SIGINT}:
            if self._ending:  # said twice
                for each in self._workers:
                    each.deadline = 0.0
            self._ending = True
            self._end([*self._workers])
            for listening in self._sockets:
                listening.close()

    def _on_message(self, asking: _Worker) -> None:
        try:
            said = asking.control.recv(1)
        except OSError:
            said = b""
        if not said:
            return  # It has died, which a signal tells.
        if said[0] == worker.READY:
            asking.ready = True
            if all(each.ready for each in self._workers if each.generation == self._generation):
                self._settled()
            return
        try:
            ours, theirs = socket.socketpair()
        except OSError:
            self._tell(asking, 0)
            return

        def work() -> None:
            for other in (ours, *self._sockets):
                other.close()
            runner.run(theirs, self._application, said[0])

        with ours, theirs:
            try:
                process = self._fork(work)
            except OSError:
                self._tell(asking, 0)
            else:
                self._tell(asking, process, ours)

    def _tell(self, asking: _Worker, process: int, *connection: socket.socket) -> None:
        """Send a worker its runner's number and connection; without one, there is none."""
        with contextlib.suppress(OSError):
            said, descriptors = (
                process.to_bytes(8, "little"),
                [each.fileno() for each in connection],
            )
            socket.send_fds(asking.control, [said], descriptors)

    def _start_workers(self, now: float) -> None:
        """Start those that are due, if so many are missing."""
        while self._due and self._due[0] <= now:
            self._due.pop(0)
            living = sum(each.generation == self._generation for each in self._workers)
            if living < self._settings.workers:
                try:
                    self._start_worker()
                except OSError as error:
                    logger.error("a worker could not be started: %s", error)
                    self._due.append(now + SOON)

    def _start_worker(self) -> None:
        ours, theirs = socket.socketpair()
        taken = {each.number for each in self._workers}
        number = next(each for each in itertools.count() if each not in taken)

        def work() -> None:
            ours.close()
            self._metrics.worker(number)
            worker.run(theirs, self._sockets, self._application, self._metrics, self._rates)

        try:
            process = self._fork(work)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._workers.append(_Worker(process, ours, self._generation, number))

    def _fork(self, work: Callable[[], object]) -> int:
        """The number of a new process that does this work."""
        process = os.fork()
        if process:
            return process
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            # (A terminal that is closed tells all its processes, and this one ends its own.)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            for other in (self._wake, *(each.control for each in self._workers)):
                other.close()
            work()
            status = 0
        except BaseException:
            logger.exception("a process of the service has failed")
        finally:
            with contextlib.suppress(Exception):
                sys.stderr.flush()
            # (No cleaning up of what belongs to the supervisor.)
            os._exit(status)

    def _reap(self) -> None:
        """See who has died; start workers anew."""
        while True:
            try:
                process, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not process:
                return
            dead = next((each for each in self._workers if each.process == process), None)
            code = os.waitstatus_to_exitcode(status)
            if dead is None:
                if code < 0 and -code not in (signal.SIGKILL, signal.SIGTERM):
                    logger.error("a runner has died: %s", signal.Signals(-code).name)
                continue
            dead.control.close()
            self._workers.remove(dead)
            if dead.deadline is None and not self._ending:
                if not (self._serves or dead.ready):
                    raise EverygramError("the service could not start; its log says why")
                why = signal.Signals(-code).name if code < 0 else f"exit code {code}"
                logger.error("a worker has died (%s); another one starts", why)
                self._due.append(max(time.monotonic(), dead.started + SOON))

    def _end(self, workers: list[_Worker]) -> None:
        """Tell workers to finish what they are doing."""
        for each in workers:
            if each.deadline is None:
                each.deadline = time.monotonic() + self._settings.grace_seconds + PATIENCE
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each.process, signal.SIGTERM)

    def _kill_late(self, now: float) -> None:
        for each in self._workers:
            if each.deadline is not None and now > each.deadline:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each.process, signal.SIGKILL)

    def _settled(self) -> None:
        """All workers of this generation answer: those before may go."""
        self._serves = True
        self._end([each for each in self._workers if each.generation != self._generation])
        if self._said:
            logger.info(self._said)
            self._said = ""
        if self._opened:
            self._opened(self._page)
            self._opened = None

    def _renew(self) -> None:
        """Read the settings again; new workers take over, without a request lost in between."""
        try:
            settings = self._reload()
            if (settings.host, settings.port) != (self._settings.host, self._settings.port):
                logger.warning("host and port stay as they are until the service is started again")
            indexes = self._probed(lambda: Indexes(settings))
            if indexes is None:
                raise EverygramError(
                    "the process that tried to open the indexes has died; a file of them may have "
                    "been cut off meanwhile"
                )
            indexes.warm_up()
        except (EverygramError, OSError) as error:
            logger.error("the settings stay as they were: %s", error)
            return
        self._settings, self._indexes, self._rates = settings, indexes, Rates(settings)
        self._application = pages.create(settings, indexes)
        self._generation += 1
        self._said = f"serving {', '.join(map(repr, indexes.names))}"
        # (Those that do not serve yet need not begin to.)
        self._end([each for each in self._workers if not each.ready])
        self._due = [time.monotonic()] * settings.workers

    def _follow(self) -> None:
        """Keep the indexes here as they are on disk: processes forked later begin with them."""
        try:
            if self._indexes.changed():
                self._probed(self._indexes.look)
        except (EverygramError, OSError):
            pass  # Workers say what is wrong.

    def _probed(self, work: Callable[[], T]) -> T | None:
        """What the work gives, or raises, if a process that did it first has survived."""

        def tried() -> None:
            with contextlib.suppress(EverygramError, OSError):
                work()

        _, status = os.waitpid(self._fork(tried), 0)
        return work() if status == 0 else None


def _reached(host: str) -> str:
    """The host by which a browser of this machine reaches what listens on an address."""
    every = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{every}]" if ":" in every else every


def _listening(host: str, port: int) -> socket.socket:
    """A socket bound to an address. Raises EverygramError, for a port in use with what to do."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise EverygramError(f"cannot listen on '{host}', port {port}: {error.strerror}") from None
    try:
        # Else a port whose last connections have just been closed would count as in use.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise EverygramError(f"port {port} is in use; pass --port") from None
        raise EverygramError(f"cannot listen on '{host}', port {port}: {error.strerror}") from None
    return bound


def _allow_files(settings: Settings) -> None:
    """Let processes have as many open files as the settings want.

    Precondition: all indexes are open. Raises OptionError if that is more than the system allows,
    or too few for the connections.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = MANY_FILES if hard == resource.RLIM_INFINITY else hard
    wanted = settings.max_open_files or limit
    if wanted > limit:
        raise OptionError(
            f"max_open_files: expected up to {limit:,}, which is the system's limit, found "
            f"{wanted:,}; raise it with ulimit -n"
        )
    # (An index holds a few per segment.)
    of_indexes = psutil.Process().num_fds()
    needed = of_indexes + settings.max_connections + door.SPARE_CONNECTIONS + door.KEPT + OWN_FILES
    if wanted < needed:
        raise OptionError(
            f"max_connections: expected so few that {wanted:,} open files suffice, found "
            f"{settings.max_connections:,}, for which {needed:,} are needed; give fewer, or allow "
            "more files with ulimit -n"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def serve(
    settings: Settings,
    reload: Callable[[], Settings],
    opened: Callable[[str], object] | None = None,
) -> None:
    """Serve indexes until SIGTERM or SIGINT; SIGHUP: with the settings that `reload` gives then,
    or, because the terminal was closed, the end.

    opened: is told once where the page is, when it can be asked for.

    Raises EverygramError, and its subclasses as `everygram.open`, for what cannot be served.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    for name, level in (("everygram", logging.INFO), ("uvicorn", logging.ERROR)):
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(level)
    Supervisor(settings, reload, opened).run()
