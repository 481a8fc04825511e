"""The first process of a service, where the system gives it no more processes or files."""

import errno
import socket
import time
from types import SimpleNamespace

import pytest

from everygram.server import supervisor
from everygram.server.supervisor import Supervisor, _Worker


@pytest.fixture
def made(monkeypatch):
    """A supervisor that cannot fork, and its end of a worker's connection."""
    found = Supervisor(SimpleNamespace(workers=2, grace_seconds=1), lambda: None)
    found._sockets, found._application, found._said = [], None, ""

    def refused(work):
        raise BlockingIOError(errno.EAGAIN, "no more processes")

    monkeypatch.setattr(found, "_fork", refused)
    return found


def heard(theirs):
    return socket.recv_fds(theirs, 8, 1)[:2]


def test_a_worker_is_told_that_there_is_no_runner(made, monkeypatch):
    ours, theirs = socket.socketpair()
    theirs.settimeout(5)
    asking = _Worker(1, ours, 0, 0)
    with ours, theirs:
        theirs.send(bytes([1]))
        made._on_message(asking)
        assert heard(theirs) == (bytes(8), [])

        def no_sockets():
            raise OSError(errno.EMFILE, "too many open files")

        theirs.send(bytes([1]))
        monkeypatch.setattr(supervisor.socket, "socketpair", no_sockets)
        made._on_message(asking)
        assert heard(theirs) == (bytes(8), [])


def test_a_worker_that_cannot_be_started_is_started_later(made, monkeypatch):
    made._due = [0.0, 0.0]
    now = time.monotonic()
    made._start_workers(now)
    assert made._due == [now + supervisor.SOON] * 2 and not made._workers
    monkeypatch.setattr(made, "_fork", lambda work: 12345)
    made._start_workers(now + supervisor.SOON)
    assert [each.number for each in made._workers] == [0, 1] and not made._due
    made._due = [0.0]  # One of a generation before has died.
    made._start_workers(now)
    assert len(made._workers) == 2
    for each in made._workers:
        each.control.close()
