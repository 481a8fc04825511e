"""How requests are sent and sent again, and what answers and problems become: for both clients."""

import asyncio
import email.utils
import json
import os
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from everygram.arguments import number, short
from everygram.client.asking import NDJSON, Answer, Post
from everygram.errors import (
    CursorError,
    EverygramError,
    ExpressionError,
    MissingExtraError,
    OptionError,
    QueryError,
    ServiceError,
    TokenizerError,
)

KEY = "EVERYGRAM_KEY"
# How often a request is sent, at most, and seconds before the second time (then twice as many).
TIMES, FIRST_WAIT = 6, 0.1
# Bytes of a file that are read at a time.
PIECE = 1 << 18
BUSY = (429, 503)
PROBLEM = "urn:everygram:problem:"


def http() -> ModuleType:
    """The library for HTTP."""
    try:
        import httpx2
    except ImportError:
        raise MissingExtraError(
            "a client needs httpx2: install it with pip install 'everygram[client]'"
        ) from None
    return httpx2


@dataclass(frozen=True)
class Address:
    """A service, checked: its URL without a slash at its end, the key, and seconds."""

    url: str
    key: str | None
    timeout: float

    @classmethod
    def of(cls, url: str, key: str | None, timeout: float) -> "Address":
        """Raises OptionError. key: None for that of the environment, if there is one."""
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname)
            _ = parts.port
        except (ValueError, AttributeError, TypeError):
            usable = False
        if not usable:
            raise OptionError(
                f"url: expected a service's address, such as http://localhost:8000, found "
                f"{short(url)}"
            )
        if key is None:
            key = os.environ.get(KEY) or None
        if key is not None and (not isinstance(key, str) or not re.fullmatch("[!-~]+", key)):
            raise OptionError("key: expected an API key, such as 'eg_…', found something else")
        seconds = number("timeout", timeout)
        if not seconds > 0:
            raise OptionError(f"timeout: expected seconds, more than 0, found {short(timeout)}")
        return cls(url.rstrip("/"), key, seconds)

    def options(self) -> dict[str, Any]:
        """What a client of httpx2 is made with."""
        headers = {"accept": "application/json"}
        if self.key is not None:
            headers["authorization"] = f"Bearer {self.key}"
        return {"headers": headers, "timeout": self.timeout}

    def sending(self, post: Post) -> dict[str, Any]:
        """What `request` of such a client takes."""
        headers = dict(post.headers)
        if post.content is not None or post.file is not None:
            headers["content-type"] = post.kind
        if post.file is not None:
            headers["content-length"] = str(post.file.stat().st_size)
        return {
            "method": post.method,
            "url": f"{self.url}{post.path}",
            "content": post.content,
            "headers": headers,
            "params": list(post.params) or None,
        }


class Tries:
    """One request, until it is answered: whether to send it again, and when."""

    def __init__(self, address: Address, post: Post) -> None:
        self.address, self.post = address, post
        self.until = time.monotonic() + address.timeout
        self.times = 0

    def answered(self, status: int, headers: Any, content: bytes) -> float | None:
        """None if this is the answer, else seconds to wait. Raises what a refusal means."""
        if status < 400:
            return None
        error, after = refusal(status, content, self.post.first), headers.get("retry-after")
        if status not in BUSY or (status == 503 and after is None and not _overloaded(error)):
            raise error
        return self._wait(error, seconds_of(after))

    def failed(self, error: Exception) -> float:
        """Seconds to wait after there was no answer. Raises ServiceError."""
        library = http()
        timed_out = isinstance(error, library.TimeoutException)
        said = "no answer in time" if timed_out else str(error) or type(error).__name__
        unreachable = ServiceError(
            0,
            "unreachable",
            f"{self.address.url}: {said}; check the address and that 'everygram serve' runs there"
            + (", or give a longer timeout" if timed_out else ""),
        )
        refused = isinstance(error, library.ConnectError)
        again = refused or (self.post.repeatable and not timed_out)
        if not again or isinstance(error, library.UnsupportedProtocol):
            raise unreachable from error
        return self._wait(unreachable, None)

    def _wait(self, error: Exception, asked: float | None) -> float:
        self.times += 1
        # (Not all clients at the same moment.)
        own = FIRST_WAIT * 2 ** (self.times - 1) * random.uniform(0.75, 1.25)
        seconds = own if asked is None else asked
        if self.times >= TIMES or time.monotonic() + seconds > self.until:
            raise error
        return seconds


def _overloaded(error: Exception) -> bool:
    return isinstance(error, ServiceError) and error.kind != "index-unavailable"


def seconds_of(retry_after: str | None) -> float | None:
    """Seconds of a `Retry-After`, which has seconds or a date; None if it says nothing."""
    if retry_after is None:
        return None
    try:
        return max(0.0, float(int(retry_after)))
    except ValueError:
        pass
    try:
        then = email.utils.parsedate_to_datetime(retry_after)
    except (ValueError, TypeError):
        return None
    return max(0.0, then.timestamp() - time.time())


def refusal(status: int, content: bytes, first: int | None = None) -> EverygramError:
    """The error that an answer which is none stands for. first: of a batch, its first's place."""
    try:
        problem = json.loads(content)
        kind, detail = problem["type"].removeprefix(PROBLEM), str(problem["detail"])
        known = str(problem.get("request_id") or "")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        said = content[:200].decode("utf-8", "replace").strip() or "an empty body"
        return ServiceError(
            status,
            "unknown",
            f"expected an everygram service's answer, found status {status} and {said!a}",
        )
    return problem_error(status, kind, detail, known, first)


# What the messages of texts that cannot be encoded say.
_TOKENIZER = re.compile(r"has no tokenizer|tokenizer '.*' cannot encode a text")
_POSITION = re.compile(r"^expression, character (\d+): ")


def problem_error(
    status: int, kind: str, detail: str, request_id: str, first: int | None
) -> EverygramError:
    """The error of a problem: that of `Index` where it has one."""
    detail = re.sub(
        r"^#/batch/(\d+)(?:/\w+)?: (?:query: )?",
        lambda found: f"query {int(found[1]) + (first or 0)}: ",
        detail,
    )
    detail = re.sub(r"^#/(\w+)", r"\1", detail)
    if kind == "cursor-expired":
        return CursorError(detail)
    if kind != "bad-query":
        return ServiceError(status, kind, detail, request_id)
    if found := _POSITION.match(detail):
        return ExpressionError(detail, int(found[1]) - 1)
    if _TOKENIZER.search(detail):
        return TokenizerError(detail)
    return QueryError(detail)


def answers(post: Post, content: bytes) -> list[Answer]:
    """The answers in a body, each with its `index_version`. Raises as `refusal`."""
    try:
        if post.kind == NDJSON:
            lines = [json.loads(line) for line in content.split(b"\n") if line.strip()]
            for line in lines:
                if "problem" in line:
                    raise _of_line(line, post.first or 0)
            assert post.content is not None
            if len(lines) != post.content.count(b"\n"):
                raise ValueError("lines are missing")
            return lines
        found = json.loads(content)
        if post.first is None:
            return [found]
        version = found["index_version"]
        return [each | {"index_version": version} for each in found["results"]]
    except (ValueError, LookupError, TypeError) as error:
        if isinstance(error, EverygramError):
            raise
        raise _no_service(error) from None


def read(content: bytes, *names: str) -> Answer:
    """A page that is an object with these names. Raises ServiceError."""
    try:
        found: Answer = json.loads(content)
        for name in names:
            _ = found[name]
    except (ValueError, LookupError, TypeError) as error:
        raise _no_service(error) from None
    return found


def _no_service(error: Exception) -> ServiceError:
    return ServiceError(
        200, "unknown", f"expected an everygram service's answer, found {short(error)}"
    )


def _of_line(line: Answer, first: int) -> EverygramError:
    problem = line["problem"]
    place = first + line["line"] - 1
    kind = str(problem["type"]).removeprefix(PROBLEM)
    detail = re.sub(r"^#/\w+: |^query: ", "", str(problem["detail"]))
    return problem_error(
        problem["status"], kind, f"query {place}: {detail}", problem.get("request_id", ""), None
    )


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while piece := opened.read(PIECE):
            yield piece


async def _pieces_later(file: Path) -> AsyncIterator[bytes]:
    with file.open("rb") as opened:
        while piece := opened.read(PIECE):
            yield piece


class Sender:
    """Sends requests and waits for them."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.client = http().Client(**address.options())

    def send(self, post: Post, sleep: Callable[[float], None] = time.sleep) -> bytes:
        """The body of the answer. Raises ServiceError and what refusals mean."""
        tries, errors = Tries(self.address, post), http().TransportError
        while True:
            try:
                asked = self.address.sending(post)
                if post.file is not None:
                    asked["content"] = _pieces(post.file)
                found = self.client.request(**asked)
                wait = tries.answered(found.status_code, found.headers, found.content)
            except errors as error:
                wait = tries.failed(error)
            if wait is None:
                content: bytes = found.content
                return content
            sleep(wait)


class AsyncSender:
    """Sends requests, awaited."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.client = http().AsyncClient(**address.options())

    async def send(self, post: Post) -> bytes:
        """The body of the answer. Raises ServiceError and what refusals mean."""
        tries, errors = Tries(self.address, post), http().TransportError
        while True:
            try:
                asked = self.address.sending(post)
                if post.file is not None:
                    asked["content"] = _pieces_later(post.file)
                found = await self.client.request(**asked)
                wait = tries.answered(found.status_code, found.headers, found.content)
            except errors as error:
                wait = tries.failed(error)
            if wait is None:
                content: bytes = found.content
                return content
            await asyncio.sleep(wait)
