"""Another process that has an index at an address open, and answers calls of its methods.

Its kernels are interpreted, whatever they are here. Calls go to it over a socket, pickled; several
threads may call at once, and what waits for the store holds nobody else up. It ends when the socket
is closed, which the system does if this process dies.
"""

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection, Pipe
from typing import Any

from everygram.errors import EverygramError, FormatError, QueryError

# Calls that the other process works on at once.
TOGETHER = 32
# Seconds that it has to end.
PATIENCE = 2
SOCKET = socket.AF_UNIX, socket.SOCK_STREAM
# What tells which version is open, and what may be asked of any.
DESCRIBED = pickle.dumps(("described", (), {}))
FREE = ("described", "refresh")
PROGRAM = "from everygram.index.apart import serve; serve()"


class Apart:
    """The other process. `of`: the process that it belongs to."""

    def __init__(self, given: tuple[Any, ...]) -> None:
        """given: the arguments of `StoredIndex`. It is opened at the first call, and again at the
        next one if the process was killed."""
        self.of, self._given = os.getpid(), given
        # What the index there is said to be; a process that is started later may find another one.
        self.expects: object = None
        self._lock = threading.Lock()
        self._there: _Process | None = None

    def ask(self, name: str, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """What a method of the index there returns, with these arguments; raises what it raises.

        Raises FormatError if the process dies, or if one that was started again finds another
        version of the index, until `refresh`.
        """
        try:
            call = pickle.dumps((name, tuple(args), dict(options)))
        except Exception as error:  # each type has its own
            raise QueryError(f"{name}: arguments that cannot be sent: {error}") from None
        with self._lock:
            if self._there is None or self._there.ended:
                self._there = _Process(self._given)
            there = self._there
            if self.expects is not None and not there.known and name not in FREE:
                if there.ask(DESCRIBED)[0] != self.expects:
                    raise FormatError(
                        "the process that read the store has ended, and there is another version "
                        "of the index by now: refresh() opens it"
                    )
                there.known = True
        return there.ask(call)

    def learn(self, manifest: object) -> None:
        """From now on, this is what the index there is."""
        with self._lock:
            self.expects = manifest
            if self._there is not None:
                self._there.known = True

    def close(self) -> None:
        """End the process, if this one has started it."""
        if self._there is not None and self.of == os.getpid():
            self._there.close()


class _Process:
    """One that runs `serve`."""

    def __init__(self, given: tuple[Any, ...]) -> None:
        self._socket, its = Pipe()
        path = os.pathsep.join(place for place in sys.path if place)
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(its.fileno())],
            env=os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": path},
            pass_fds=[its.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        its.close()
        # Whether it has ended; whether it has what is expected.
        self.ended = self.known = False
        self._sending, self._waiting = threading.Lock(), dict[int, Future[Any]]()
        self._number = 0
        # (Errors of opening come like those of any call: as the answer to the first.)
        self._socket.send_bytes(pickle.dumps(given))
        threading.Thread(target=self._receive, daemon=True).start()

    def ask(self, call: bytes) -> Any:
        future: Future[Any] = Future()
        with self._sending:
            if self.ended:
                raise self._died()
            self._number += 1
            self._waiting[self._number] = future
            try:
                self._socket.send_bytes(self._number.to_bytes(8, "little") + call)
            except OSError:
                del self._waiting[self._number]
                raise self._died() from None
        return future.result()

    def _receive(self) -> None:
        """Give the answers to those who wait, until the process ends."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                data = self._socket.recv_bytes()
                future = self._waiting.pop(int.from_bytes(data[:8], "little"))
                try:
                    fine, value = pickle.loads(data[8:])
                except Exception as failed:  # of what cannot be read here
                    fine, value = False, failed
                if fine:
                    future.set_result(value)
                else:
                    future.set_exception(value)
        with self._sending:
            self.ended = True
        error = self._died()
        for future in self._waiting.values():
            future.set_exception(error)

    def _died(self) -> FormatError:
        try:
            code: object = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            code = "none"
        return FormatError(
            f"the process that reads the store has ended (exit code {code}); ask again, and give "
            "it more memory if that is what ended it"
        )

    def close(self) -> None:
        # (Not closed: a thread reads from it, and would keep it open.)
        with contextlib.suppress(OSError), socket.fromfd(self._socket.fileno(), *SOCKET) as ours:
            ours.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def serve() -> None:
    """The other process: open the index, and answer until the socket is closed."""
    from everygram.index.stored import StoredIndex  # which needs this module

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asks decides
    asking = Connection(int(sys.argv[1]))
    given = pickle.loads(asking.recv_bytes())
    opening, opened = threading.Lock(), list[StoredIndex]()
    sending = threading.Lock()

    def index() -> StoredIndex:
        with opening:
            if not opened:
                opened.append(StoredIndex(*given))
            return opened[0]

    def answer(data: bytes) -> None:
        try:
            name, args, options = pickle.loads(data[8:])
            there = index()
            value: Any = (there.manifest, there._state.reading, there.path)
            if name != "described":
                value = getattr(there, name)(*args, **options)
            said = pickle.dumps((True, value))
        except Exception as error:
            said = _pickled(error)
        with sending, contextlib.suppress(OSError):
            asking.send_bytes(data[:8] + said)

    pool = ThreadPoolExecutor(TOGETHER)
    with contextlib.suppress(EOFError, OSError):
        while True:
            pool.submit(answer, asking.recv_bytes())
    # (What is still read is for nobody.)
    os._exit(0)


def _pickled(error: Exception) -> bytes:
    """An error that is raised on the other side."""
    if not isinstance(error, EverygramError):  # a fault: say where it is
        error.add_note("".join(traceback.format_exception(error)))
    try:
        said = pickle.dumps((False, error))
        pickle.loads(said)
    except Exception:
        return pickle.dumps((False, RuntimeError("".join(traceback.format_exception(error)))))
    return said
