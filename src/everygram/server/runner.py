"""A runner: a process that answers one call at a time, and may be killed at any time.

In: frames of calls, from a socket. Out: frames of answers. Whatever takes long is done here and
not where connections are served: reading JSON, asking an index, writing JSON.
"""

import os
import signal
import socket
import struct
from math import ceil
from typing import Any

import orjson
import psutil
from fastapi import FastAPI

from everygram.server.calls import Answer, Call
from everygram.server.indexes import Indexes
from everygram.server.pages import answer
from everygram.server.settings import Settings

# A frame: the sizes of its head and of its body, its head as JSON, its body.
SIZES = struct.Struct("<IQ")


def run(connection: socket.socket, application: FastAPI, niceness: int) -> None:
    """Answer calls until the other side closes, or this process has grown too large.

    application: the pages, with the settings and indexes. niceness: how much this process steps
    back for those that serve connections.
    """
    settings: Settings = application.state.settings
    indexes: Indexes = application.state.indexes
    os.nice(niceness)
    # Ctrl-C in a terminal is for the supervisor; an alarm is for a worker that died.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    start = _resident()
    while (frame := receive(connection)) is not None:
        head, body = frame
        # (Whoever asked kills this process at its deadline, unless it is dead itself.)
        signal.alarm(ceil(settings.max_seconds) + 2)
        if head["stamp"] != indexes.stamp:
            indexes.look()
        made = Answer(204, b"")
        if head["operation"]:
            call = Call(head["operation"], head["name"], body, head["lines"], head["request_id"])
            made = answer(call, application)
        signal.alarm(0)
        full = _resident() - start > settings.runner_bytes
        said = {
            "status": made.status,
            "headers": made.headers,
            "tokens": made.tokens,
            "kind": made.kind,
            "last": full,
        }
        send(connection, said, made.body)
        if full:
            return


def send(connection: socket.socket, head: dict[str, object], body: bytes) -> None:
    """Send a frame."""
    said = orjson.dumps(head)
    connection.sendall(SIZES.pack(len(said), len(body)) + said)
    connection.sendall(body)


def receive(connection: socket.socket) -> tuple[dict[str, Any], bytes] | None:
    """A frame; None at the end."""
    sizes = _exactly(connection, SIZES.size)
    if sizes is None:
        return None
    head_size, body_size = SIZES.unpack(sizes)
    head, body = _exactly(connection, head_size), _exactly(connection, body_size)
    return None if head is None or body is None else (orjson.loads(head), body)


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    """So many bytes, or None if the other side has closed."""
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = connection.recv_into(view)
        if not count:
            return None
        view = view[count:]
    return bytes(data)


def _resident() -> int:
    """Bytes of memory that are this process's own: what it shares with others is not counted."""
    memory = psutil.Process().memory_info()
    return int(memory.rss - getattr(memory, "shared", 0))
