"""The access log: a line of JSON for each request, written to standard error.

In: what is known of a request once it is answered. Out: lines of printable ASCII, whatever a client
sent: control characters and all that is not ASCII are escaped.

A worker never waits for whoever reads the log. A thread writes what has come together, 20 times a
second; if nobody reads it, lines beyond `MOST_WAITING` are dropped, and once lines are written
again one says how many: `{"time": …, "dropped": 12}`. A worker that is killed loses the lines of
its last twentieth of a second.
"""

import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

# Lines that wait to be written: a second or two of a worker that does nothing but count.
MOST_WAITING = 10_000
# A line is never longer. (A pipe does not mix a write of up to 4,096 bytes with those of other
# workers; what was dropped is said in the same write.)
LONGEST_LINE = 4000
# Characters of a value that are left of it in a line that would be longer; the rest is `…`.
_LONGEST_VALUES = (200, 40)
_SECONDS = 0.05
_STDERR = 2


class AccessLog:
    """A log of this process, written to a file descriptor; one thread may call it.

    The first line starts a thread: a process that wants to fork does so before. `on_dropped` is
    called with the number of lines that were dropped, or that could not be written, by one thread
    at a time.
    """

    def __init__(
        self,
        on_dropped: Callable[[int], None] = lambda number: None,
        descriptor: int = _STDERR,
    ) -> None:
        self._lines: deque[bytes] = deque()
        self._descriptor = descriptor
        self._on_dropped = on_dropped
        self._dropped = self._said = 0
        self._dropping = threading.Lock()
        self._work = threading.Event()
        self._closed = False
        self._writer: threading.Thread | None = None

    def write(
        self,
        *,
        request_id: str,
        address: str,
        method: str,
        path: str,
        operation: str,
        status: int,
        seconds: float,
        bytes_in: int,
        bytes_out: int,
        index: str = "",
        key: str | None = None,
    ) -> None:
        """A request's line. key: the name of the client's key; path: without what follows `?`."""
        if len(self._lines) >= MOST_WAITING:
            self._drop(1)
            return
        fields = {
            "time": datetime.now(UTC),
            "request_id": request_id,
            "address": address,
            "key": key,
            "method": method,
            "path": path,
            "operation": operation,
            "index": index,
            "status": status,
            "seconds": round(seconds, 6),
            "bytes_in": bytes_in,
            "bytes_out": bytes_out,
        }
        self._lines.append(_line(fields))
        if not self._work.is_set():
            self._work.set()
            if self._writer is None:
                self._writer = threading.Thread(target=self._write_lines, daemon=True)
                self._writer.start()

    def close(self, seconds: float = 1.0) -> None:
        """Write what is left, for so many seconds at most."""
        self._closed = True
        self._work.set()
        if self._writer is not None:
            self._writer.join(seconds)

    def _write_lines(self) -> None:
        closed = False
        while not closed:
            self._work.wait()
            # First: lines and a closing that come from now on set it again.
            self._work.clear()
            closed = self._closed
            if not closed:
                time.sleep(_SECONDS)
            while self._lines:
                # (Only this thread writes `_said`, and a number that is a little old does no harm.)
                dropped = self._dropped
                note = self._note(dropped - self._said)
                lines = self._next_lines(LONGEST_LINE)
                try:
                    self._write(note + b"".join(lines))
                    self._said = dropped
                except OSError:  # such as a reader that has gone, or a full disk
                    self._drop(len(lines))

    def _note(self, dropped: int) -> bytes:
        return _line({"time": datetime.now(UTC), "dropped": dropped}) if dropped else b""

    def _next_lines(self, most: int) -> list[bytes]:
        """The next lines, of so many bytes at most; one at least."""
        lines = [self._lines.popleft()]
        size = len(lines[0])
        while self._lines and size + len(self._lines[0]) <= most:
            lines.append(self._lines.popleft())
            size += len(lines[-1])
        return lines

    def _write(self, text: bytes) -> None:
        while text:
            try:
                text = text[os.write(self._descriptor, text) :]
            except BlockingIOError:  # another process made the pipe so
                time.sleep(_SECONDS)

    def _drop(self, number: int) -> None:
        with self._dropping:
            self._dropped += number
            self._on_dropped(number)


def _line(fields: Mapping[str, Any]) -> bytes:
    """A line of printable ASCII, at most LONGEST_LINE bytes."""
    try:
        line = orjson.dumps(fields, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:  # half a surrogate pair
        line = b"\x7f"
    # (orjson escapes the control characters but the last one of ASCII.)
    if len(line) <= LONGEST_LINE and line.isascii() and b"\x7f" not in line:
        return line
    for longest in (LONGEST_LINE, *_LONGEST_VALUES):
        cut = {name: _cut(value, longest) for name, value in fields.items()}
        text = json.dumps(cut, separators=(",", ":")).replace("\x7f", "\\u007f")
        if len(text) < LONGEST_LINE:
            break
    return text.encode() + b"\n"


def _cut(value: Any, longest: int) -> Any:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, str) and len(value) > longest:
        return value[:longest] + "…"
    return value
