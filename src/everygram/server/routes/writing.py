"""Changes of an index: `documents` (add, delete), `compact`; and the jobs that they become.

The service has admitted the request. Nothing here waits for a disk or parses what is large in the
event loop.
"""

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi import Path as PathParameter
from fastapi.responses import JSONResponse, Response

from everygram.errors import EverygramError
from everygram.index import Index
from everygram.index.union import UnionIndex
from everygram.server import jobs, tending
from everygram.server.documents import BODY, JSON_BODY, LINES_BODY, check, told
from everygram.server.limits import check_characters, check_tokens
from everygram.server.models.base import Problem
from everygram.server.models.writing import (
    AddOptions,
    CompactRequest,
    Deleted,
    DeleteRequest,
    Documents,
    Job,
    JobList,
)
from everygram.server.problems import SHOWN, Refusal, as_dict
from everygram.server.settings import Settings
from everygram.server.uploads import (
    JSON,
    NDJSON,
    media_type,
    read_json,
    refused,
    remove,
    spool,
    valid,
    with_disk,
)

# A body of up to so many bytes is checked before its job is taken; a larger one is checked by the
# job, whose process is another.
CHECKED = 1 << 20
LONGEST_KEY = 200
# Jobs that are listed; dry runs of deletions that a worker has under way, and how often looked at.
LISTED, DRY_RUNS, POLL_SECONDS = 100, 2, 0.05
RETRY = (("retry-after", "5"),)

Name = Annotated[
    str, PathParameter(description="The index's name, as `GET /v1/indexes` lists it, or an alias.")
]
JobId = Annotated[str, PathParameter(description="The job's `id`.")]
IDEMPOTENCY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Names the change: the same key and the same request again answer with the same "
    "job, whatever happened in between; nothing is done twice.",
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY},
}
ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {
        "model": Job,
        "description": "The job.",
        "headers": {"Location": {"schema": {"type": "string"}, "description": "Where the job is."}},
    },
    404: {"model": Problem, "description": "No such index."},
    409: {"model": Problem, "description": "A union, or the key of another request."},
    413: {"model": Problem, "description": "A body that is too large."},
    422: {"model": Problem, "description": "What cannot be done, or is malformed."},
    503: {"model": Problem, "description": "Too many jobs wait, or the index cannot be written."},
}

router = APIRouter(prefix="/v1/indexes/{name}", tags=["writing"])


def _bodies(**types: Any) -> dict[str, Any]:
    """The body of an operation in its description: a schema for each media type."""
    content = {kind: {"schema": schema} for kind, schema in types.items()}
    return {"required": True, "content": content}


@router.post(
    "/documents",
    status_code=202,
    summary="Add documents",
    response_model=Job,
    responses=ACCEPTED,
    openapi_extra={
        "requestBody": _bodies(
            **{
                NDJSON: {
                    "type": "string",
                    "description": "A record per line.",
                    "example": '{"text": "natural language processing", "year": 1999}\n',
                },
                JSON: Documents.model_json_schema(),
            }
        ),
        "parameters": [
            IDEMPOTENCY,
            *(
                {"name": field, "in": "query", "description": each["description"], "schema": each}
                for field, each in AddOptions.model_json_schema()["properties"].items()
            ),
        ],
    },
)
async def add(name: Name, request: Request) -> Response:
    """Add documents, numbered after the last one. All of them are added, or none.

    Queries see them once the job is done, all at the same moment."""
    settings = _settings(request)
    index = _writable(request, name)
    kind = media_type(request)
    if kind not in (JSON, NDJSON) or request.headers.get("content-encoding", "identity") not in (
        "identity",
        "",
    ):
        raise Refusal(
            "unsupported-media-type",
            f"content-type: expected {NDJSON}, a document per line, or {JSON}, not compressed; "
            f"found {kind[:SHOWN] or 'none'}",
        )
    given: dict[str, Any] = dict(request.query_params)
    if "metadata_fields" in given:
        given["metadata_fields"] = request.query_params.getlist("metadata_fields")
    options = valid(AddOptions, given)
    ids = index.tokenizer is None
    if ids and given:
        raise Refusal("bad-query", "index of token ids: expected no parameters: documents are ids")
    arguments = {
        "body": JSON_BODY if kind == JSON else LINES_BODY,
        "vocab_size": index.vocab_size if ids else None,
        "options": {} if ids else options.model_dump(),
    }
    most = settings.max_upload_bytes
    if kind == JSON:
        most = min(most, settings.max_body_bytes)
    return await _accepted(request, name, index, "add", arguments, "", most)


OF_DELETIONS: dict[str, Any] = {
    "response_model": Job,
    "responses": {200: {"model": Deleted, "description": "Of a dry run."}, **ACCEPTED},
    "openapi_extra": {
        "requestBody": _bodies(**{JSON: DeleteRequest.model_json_schema()}),
        "parameters": [IDEMPOTENCY],
    },
}


@router.delete(
    "/documents",
    status_code=202,
    summary="Delete documents",
    **OF_DELETIONS,
)
async def delete_documents(name: Name, request: Request) -> Response:
    """Delete documents by number, by metadata, or by an n-gram in them.

    Their numbers are not used again. Which documents it is is decided when the job runs, after all
    jobs before it; with `dry_run`, it is only answered which ones it would be now."""
    return await _deleted(name, request)


@router.post(
    "/documents/delete",
    status_code=202,
    summary="Delete documents, where DELETE takes no body",
    **OF_DELETIONS,
)
async def post_delete_documents(name: Name, request: Request) -> Response:
    """As `DELETE /documents`: some proxies and clients send no body with DELETE."""
    return await _deleted(name, request)


@router.post(
    "/compact",
    status_code=202,
    summary="Compact",
    response_model=Job,
    responses=ACCEPTED,
    openapi_extra={
        "requestBody": _bodies(**{JSON: CompactRequest.model_json_schema()}),
        "parameters": [IDEMPOTENCY],
    },
)
async def compact(name: Name, request: Request) -> Response:
    """Merge segments and drop deleted documents. Answers stay the same."""
    index = _writable(request, name)
    body, digest = await read_json(request, CompactRequest)
    if body.prepare and not body.full:
        raise Refusal("bad-query", "prepare goes with full: it needs an index of one segment")
    return await _accepted(request, name, index, "compact", body.model_dump(), digest)


@router.get(
    "/jobs",
    summary="List the jobs",
    response_model=JobList,
    responses={404: {"model": Problem, "description": "No such index."}},
)
async def list_jobs(name: Name, request: Request) -> Response:
    """The jobs that wait or run and the latest that have ended, 100 at most, the latest first."""
    found = await with_disk(jobs.Jobs(_writable(request, name).path).recent, LISTED)
    return JSONResponse({"jobs": [_shown(job) for job in found]})


@router.get(
    "/jobs/{job}",
    summary="Look at a job",
    response_model=Job,
    responses={404: {"model": Problem, "description": "No such index, or job."}},
)
async def get_job(name: Name, job: JobId, request: Request) -> Response:
    """Whether it is done, and how far it is."""
    found = await with_disk(jobs.Jobs(_writable(request, name).path).get, job)
    return JSONResponse(_shown(_there(found, job)))


@router.delete(
    "/jobs/{job}",
    summary="Cancel a job",
    response_model=Job,
    responses={
        202: {"model": Job, "description": "The job, which runs and will end soon."},
        404: {"model": Problem, "description": "No such index, or job."},
        409: {"model": Problem, "description": "It has ended."},
    },
)
async def cancel_job(name: Name, job: JobId, request: Request) -> Response:
    """One that waits is cancelled, one that runs soon after, unless it was done before that."""
    store = jobs.Jobs(_writable(request, name).path)
    before = _there(await with_disk(store.get, job), job)
    found = _there(await with_disk(store.cancel, job), job)
    if found["state"] in (jobs.DONE, jobs.FAILED) and before["state"] in jobs.ENDED:
        raise Refusal("conflict", f"job {job} has ended: it is {found['state']}")
    return JSONResponse(_shown(found), 200 if found["state"] in jobs.ENDED else 202)


# What they share.


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _writable(request: Request, name: str) -> Index:
    """The index of that name. Raises Refusal for a union, too, and if the key may not write it."""
    indexes = request.app.state.indexes
    index: Index = indexes.get(name)
    # (Admission has checked it before, by the path: here nothing depends on what paths look like.)
    key = request.scope.get("everygram.key")
    if key is None or not key.allows(indexes.resolved(name), "write"):
        raise Refusal("forbidden", f"index '{name[:SHOWN]}': expected a key that may write it")
    if isinstance(index, UnionIndex):
        raise Refusal(
            "conflict",
            f"'{name[:SHOWN]}' is several indexes that are asked as one: write to one of them",
        )
    return index


def _there(job: dict[str, Any] | None, number: str) -> dict[str, Any]:
    if job is None:
        raise Refusal(
            "not-found", f"no job '{number[:SHOWN]}' of this index; its jobs are at …/jobs"
        )
    return job


def _shown(job: dict[str, Any]) -> dict[str, Any]:
    """A job as it is answered: why it failed is a problem like others."""
    if (problem := job["problem"]) is None:
        return job
    return job | {"problem": as_dict(Refusal(problem["kind"], problem["detail"]))}


async def _accepted(
    request: Request,
    name: str,
    index: Index,
    operation: str,
    arguments: dict[str, Any],
    digest: str,
    most: int = 0,
) -> Response:
    """Register a job, and answer with it.

    digest: of the body, if it was read. most: else how many bytes it may have: it becomes the
    documents to add.
    """
    key = _key(request)
    store = jobs.Jobs(index.path)
    job = {"index": name, "operation": operation, "arguments": arguments}
    try:
        if key is None:
            await with_disk(store.check_room)
        upload = await with_disk(store.incoming)
        try:
            if most:
                digest = await spool(request, upload / BODY, most)
                if (upload / BODY).stat().st_size <= CHECKED:
                    await asyncio.to_thread(_check, upload, arguments, index.path, name)
        except BaseException:
            remove(upload)
            raise
        asked = f"{operation} {jobs.digest(json.dumps(arguments, sort_keys=True))} {digest}"
        found = await with_disk(_registered, store, upload, job, key, asked)
    except jobs.Full:
        raise Refusal(
            "overloaded",
            f"{jobs.MOST_QUEUED} changes of index '{name[:SHOWN]}' wait already; try again",
            headers=RETRY,
        ) from None
    except jobs.Contradiction as error:
        raise Refusal(
            "conflict", f"this Idempotency-Key came with another request before: job {error}"
        ) from None
    if (tender := getattr(request.app.state, "tender", None)) is not None:
        tender.wake()
    return JSONResponse(_shown(found), 202, {"location": f"/v1/indexes/{name}/jobs/{found['id']}"})


def _registered(
    store: jobs.Jobs, upload: Path, job: dict[str, Any], key: str | None, asked: str
) -> dict[str, Any]:
    """Register a job. (Here, in its thread, it is known whose the upload is: the client may have
    left meanwhile.)"""
    new = False
    try:
        found, new = store.register(upload, job, key, asked)
        return found
    finally:
        if not new:
            shutil.rmtree(upload, ignore_errors=True)


def _key(request: Request) -> str | None:
    """The request's idempotency key; nobody else's who writes with another API key."""
    given = request.headers.get("idempotency-key")
    if given is None:
        return None
    if not given.strip() or len(given) > LONGEST_KEY:
        raise Refusal(
            "bad-query",
            f"Idempotency-Key: expected 1 to {LONGEST_KEY} characters, found {len(given)}",
        )
    key = request.scope.get("everygram.key")
    return f"{getattr(key, 'id', '')} {given}"


def _check(upload: Path, arguments: dict[str, Any], index: Path, name: str) -> None:
    """Refuse documents that the job would refuse."""
    try:
        check(upload, arguments)
    except jobs.Trouble as trouble:
        raise Refusal(trouble.kind, trouble.detail) from None
    except EverygramError as error:
        is_json = arguments["body"] == JSON_BODY
        raise Refusal("bad-query", told(str(error), index, name, is_json)) from None
    except OSError as error:
        raise refused(error) from None


# Deletions.


async def _deleted(name: str, request: Request) -> Response:
    index = _writable(request, name)
    body, digest = await read_json(request, DeleteRequest)
    ways = [each for each in ("numbers", "where", "query") if getattr(body, each) is not None]
    if len(ways) != 1:
        raise Refusal(
            "bad-query",
            f"expected one of numbers, where and query, found {' and '.join(ways) or 'none'}",
        )
    if body.missing_ok and body.numbers is None:
        raise Refusal("bad-query", "missing_ok goes with numbers")
    if body.raw and body.query is None:
        raise Refusal("bad-query", "raw goes with query")
    if body.query is not None:
        await asyncio.to_thread(_check_query, index, name, body, _settings(request))
    arguments = body.model_dump()
    if not arguments.pop("dry_run"):
        return await _accepted(request, name, index, "delete", arguments, digest)
    return await _dry_run(request, index.path, {"index": name, **arguments})


def _check_query(index: Index, name: str, body: DeleteRequest, settings: Settings) -> None:
    assert body.query is not None
    try:
        if isinstance(body.query, str):
            check_characters("query", body.query, settings.max_query_tokens)
        ids = index.encode(body.query, raw=body.raw)
    except EverygramError as error:
        raise Refusal("bad-query", told(str(error), index.path, name)) from None
    check_tokens("query", ids.shape[0], settings.max_query_tokens)
    if not ids.size:
        raise Refusal("bad-query", "query: expected an n-gram, found an empty one, which all have")


async def _dry_run(request: Request, index: Path, arguments: dict[str, Any]) -> Response:
    """What a deletion would delete, found by a process of its own."""
    state = request.app.state
    if (running := getattr(state, "dry_runs", 0)) >= DRY_RUNS:
        raise Refusal("overloaded", "other dry runs are under way; try again", headers=RETRY)
    state.dry_runs = running + 1
    try:
        said = await _said(request, index, json.dumps(arguments).encode())
    finally:
        state.dry_runs -= 1
    if (problem := said.get("problem")) is not None:
        raise Refusal(problem["kind"], problem["detail"])
    return JSONResponse(said["result"])


async def _said(request: Request, index: Path, given: bytes) -> dict[str, Any]:
    """What a process says, which is ended with the client or at the time limit."""
    seconds = _settings(request).max_seconds
    command = [*tending.command(), "--dry-run", str(index)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    talking = asyncio.ensure_future(asyncio.to_thread(process.communicate, given))
    try:
        end = asyncio.get_running_loop().time() + seconds
        while not talking.done():
            if asyncio.get_running_loop().time() > end:
                raise Refusal(
                    "time-limit",
                    f"a dry run takes at most {seconds:g} seconds; the job itself has no limit",
                )
            if await request.is_disconnected():
                raise Refusal("time-limit", "the client has left")
            await asyncio.wait({talking}, timeout=POLL_SECONDS)
        out, _ = talking.result()
        if process.returncode != 0:
            raise Refusal("internal", "the dry run failed; the service's log says why")
        found: dict[str, Any] = json.loads(out)
        return found
    finally:
        process.kill()
        await talking
