"""The bodies of requests that change an index: read, checked, written to the disk of the index.

In: requests. Out: values, or a file and its hash. The event loop is not kept: what is large is
written, hashed, and parsed in threads.
"""

import asyncio
import contextlib
import errno
import hashlib
import logging
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import IO, Any, TypeVar

import jiter
from fastapi import Request
from pydantic import BaseModel, ValidationError

from everygram.durable import flush
from everygram.server.limits import check_depth
from everygram.server.problems import SHOWN, Refusal, body_too_large, malformed, not_json

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

logger = logging.getLogger("everygram")

JSON, NDJSON = "application/json", "application/x-ndjson"
# Bytes that are gathered before they are written.
WRITTEN = 1 << 20
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


async def with_disk(work: Callable[..., T], *given: Any) -> T:
    """Work with an index's jobs, in a thread. Raises Refusal for what the disk refuses."""
    try:
        return await asyncio.to_thread(work, *given)
    except OSError as error:
        raise refused(error) from None


def refused(error: OSError) -> Refusal:
    if error.errno in NO_SPACE:
        return Refusal("index-unavailable", "no space is left on the disk of the index")
    logger.error("an index's jobs cannot be written: %s", error)
    return Refusal(
        "index-unavailable",
        "the service cannot write to the folder of this index; its log says why",
    )


def valid(model: type[M], value: Any) -> M:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise malformed(error, model) from None


def media_type(request: Request) -> str:
    """The content-type of a request, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_json(request: Request, model: type[M]) -> tuple[M, str]:
    """The JSON body of a request, checked, and its hash. Raises Refusal."""
    settings = request.app.state.settings
    kind = media_type(request)
    if kind != JSON:
        raise Refusal(
            "unsupported-media-type",
            f"content-type: expected {JSON}, found {kind[:SHOWN] or 'none'}",
        )
    content = bytearray()
    async for chunk in chunks(request, settings.max_body_bytes):
        content += chunk

    def read() -> tuple[M, str]:
        try:
            value = jiter.from_json(bytes(content), allow_inf_nan=False, catch_duplicate_keys=True)
        except ValueError as error:
            raise not_json(str(error)) from None
        check_depth(bytes(content), value, settings.max_json_depth)
        return valid(model, value), hashlib.sha256(content).hexdigest()

    return await asyncio.to_thread(read)


async def chunks(request: Request, most: int) -> AsyncIterator[bytes]:
    """The body as it comes. Raises Refusal once it is too large, or is said to be."""
    declared = request.headers.get("content-length", "")
    size = int(declared) if declared.isdigit() else 0
    if size <= most:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > most:
                break
            yield chunk
    if size > most:
        raise body_too_large(most)


async def spool(request: Request, path: Path, most: int) -> str:
    """Write the body, of documents, to a file, durably; its hash. Raises Refusal."""
    digest = hashlib.sha256()
    held = bytearray()
    first = b""
    file: IO[bytes] = await with_disk(lambda: path.open("xb"))

    def write(content: bytes) -> None:
        digest.update(content)
        file.write(content)

    def finish(content: bytes) -> None:
        write(content)
        flush(file)

    try:
        async for chunk in chunks(request, most):
            held += chunk
            if not first:
                # (Compressed bytes would be unpacked, to whatever size.)
                first = bytes(held[:1024]).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
                if first not in (b"", b"{"):
                    raise Refusal(
                        "bad-json", f"the body: expected a JSON object, found {first!r} first"
                    )
            if len(held) >= WRITTEN:
                content, held = bytes(held), bytearray()
                await with_disk(write, content)
        if not first:
            raise Refusal("bad-query", "the body is empty: expected documents")
        await with_disk(finish, bytes(held))
    finally:
        with contextlib.suppress(OSError):
            file.close()
    return digest.hexdigest()


def remove(upload: Path) -> None:
    """Remove an upload, in a thread that nobody waits for: a large file takes a while."""
    loop = asyncio.get_running_loop()
    loop.run_in_executor(None, lambda: shutil.rmtree(upload, ignore_errors=True))
