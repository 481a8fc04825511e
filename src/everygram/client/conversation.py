"""What is said between a client and a service to answer a call: which requests, in which order.

A conversation is a generator that yields HTTP requests (`Post`), is sent the bodies of their
answers, and returns the result; a number that it yields is seconds to wait. The two clients differ
in how they hold it, and in nothing else.
"""

import os
import uuid
from collections.abc import Generator, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from everygram import arguments
from everygram.client.asking import NDJSON, PAGE, Answer, Post, Request, dumped, sent
from everygram.client.described import Described
from everygram.client.sending import answers, problem_error, read
from everygram.errors import CursorError, OptionError, ServiceError

R = TypeVar("R")
Conversation = Generator[Post | float, bytes, R]
# How often a query is asked again whose parts were answered by different states of the index.
AGAIN = 5
# Seconds between looks at a job, from and to; and how long a change may take to be seen by queries.
LOOK, LOOKS, SEEN = 0.05, 1.0, 10.0
# Seconds after which a state that is neither the one before a change nor its own is one after it.
OTHERS = 3.0
INDEXES, LIMITS = "/v1/indexes", "/v1/limits"


def path_of(name: str) -> str:
    """The path of an index."""
    return f"{INDEXES}/{quote(arguments.string('name', name), safe='')}"


def describing(name: str) -> Conversation[Answer]:
    """What the service says of an index."""
    return read((yield Post("GET", path_of(name))), "index_version")


def listing() -> Conversation[list[Answer]]:
    """What the service says of all indexes."""
    listed: list[Answer] = read((yield Post("GET", INDEXES)), "indexes")["indexes"]
    return listed


def asking(index: Described, request: Request[R]) -> Conversation[R]:
    """A query's result. All of it is of one state of the index."""
    page: Answer = {}
    if request.page is not None:
        limits = read((yield Post("GET", LIMITS)), request.page)
        page["limit"] = min(PAGE, limits[request.page])
        request = replace(request, queries=[query | page for query in request.queries])
    for _ in range(AGAIN):
        found: list[Answer] = []
        try:
            for post in request.posts(path_of(index.name), index.whole):
                found += answers(post, (yield post))
            while request.following is not None:
                query = request.following(found[-1])
                if query is None:
                    break
                post = request.post(path_of(index.name), query | page)
                found += answers(post, (yield post))
        except CursorError:
            if request.following is None:
                raise
            continue
        except ServiceError as error:
            if error.kind != "batch-too-long":
                raise
            most = read((yield Post("GET", LIMITS)), "max_batch")["max_batch"]
            if most >= index.whole:
                raise
            index.whole = most
            continue
        versions = {answer.pop("index_version") for answer in found}
        if len(versions) > 1:
            continue
        if versions - {index.version}:
            if index.fixed:
                break
            index.describe((yield from describing(index.name)))
        return request.parse(found, index.reading)
    raise ServiceError(
        200, "changing", f"index '{index.name}' changed while it answered; ask again, or for less"
    )


def adding(
    index: Described,
    documents: str | os.PathLike[str] | Iterable[Mapping[str, Any]],
    text_field: str | None,
    id_field: str | None,
    metadata_fields: Iterable[str] | None,
    wait: bool,
    idempotency_key: str | None,
) -> Conversation[Answer]:
    """Documents, or a file of JSON lines, are added."""
    params = [
        (name, value)
        for name, value in (("text_field", text_field), ("id_field", id_field))
        if value is not None
    ]
    params += [("metadata_fields", name) for name in metadata_fields or ()]
    content, file = None, None
    if isinstance(documents, str | os.PathLike):
        file = arguments.path("documents", documents)
        if not file.is_file():
            raise OptionError(f"documents: expected a file of JSON lines, '{file}' is none")
    else:
        content = b"".join(dumped(document) + b"\n" for document in documents)
    post = _change("POST", index, "documents", idempotency_key, content, NDJSON, file, params)
    return (yield from _job(index, post, wait))


def deleting(
    index: Described,
    numbers: Any,
    where: tuple[str, Any] | None,
    query: Any,
    raw: bool,
    missing_ok: bool,
    dry_run: bool,
    wait: bool,
    idempotency_key: str | None,
) -> Conversation[Answer]:
    """Documents are deleted."""
    asked: Answer = {"raw": raw, "missing_ok": missing_ok, "dry_run": dry_run}
    if numbers is not None:
        asked["numbers"] = sent(numbers, "numbers")
    if where is not None:
        asked["where"] = dict([where])
    if query is not None:
        asked["query"] = sent(query)
    post = _change("POST", index, "documents/delete", idempotency_key, dumped(asked))
    return (yield from _job(index, post, wait))


def compacting(
    index: Described,
    full: bool,
    kind: str | None,
    prepare: bool,
    wait: bool,
    idempotency_key: str | None,
) -> Conversation[Answer]:
    """Segments are merged."""
    asked = dumped({"full": full, "prepare": prepare} | ({} if kind is None else {"kind": kind}))
    return (yield from _job(index, _change("POST", index, "compact", idempotency_key, asked), wait))


def job_of(index: Described, number: str, cancel: bool = False) -> Conversation[Answer]:
    """How far a job is; cancel: end it."""
    path = f"{path_of(index.name)}/jobs/{quote(number, safe='')}"
    return read((yield Post("DELETE" if cancel else "GET", path)), "state")


def _change(
    method: str,
    index: Described,
    operation: str,
    key: str | None,
    content: bytes | None,
    kind: str = "application/json",
    file: Path | None = None,
    params: list[tuple[str, str]] | None = None,
) -> Post:
    """A request that may be sent twice, as its key tells the service that it is the same one."""
    if key is not None and not (isinstance(key, str) and key.isascii() and key.isprintable()):
        raise OptionError(f"idempotency_key: expected printable ASCII, found {key!a}")
    headers = {"idempotency-key": key or uuid.uuid4().hex}
    path = f"{path_of(index.name)}/{operation}"
    return Post(method, path, content, kind, headers, params or (), file=file)


def _job(index: Described, post: Post, wait: bool) -> Conversation[Answer]:
    """The result of a change; without `wait` its job."""
    before = index.version
    job = read((yield post))
    if "state" not in job or not wait:  # (a dry run has no job)
        return job
    seconds = LOOK
    while job["state"] in ("queued", "running"):
        yield seconds
        seconds = min(LOOKS, 2 * seconds)
        job = yield from job_of(index, job["id"])
    if job["state"] == "failed":
        problem = job["problem"]
        kind = str(problem["type"]).rpartition(":")[2]
        raise problem_error(problem["status"], kind, problem["detail"], "", None)
    if job["state"] != "done":
        raise ServiceError(200, job["state"], f"job {job['id']} was {job['state']}")
    result: Answer = job["result"]
    # Queries of this client see the change, unless the service is slow to follow. (Another state
    # may be one before it, which passes, or one after it, which has the change, too.)
    for attempt in range(int(SEEN / 0.1)):
        index.describe((yield from describing(index.name)))
        if index.version == result["index_version"]:
            break
        if index.version != before and attempt * 0.1 >= OTHERS:
            break
        yield 0.1
    return result
