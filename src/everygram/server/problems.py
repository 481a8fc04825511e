"""Every error as an RFC 9457 problem.

In: what FastAPI, Starlette and `Index` raise. Out: `application/problem+json`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, get_args, get_type_hints
from urllib.parse import quote

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from everygram.errors import EverygramError
from everygram.server.models.base import BATCH, EXPECTED_BODY, UNION_TAGS, Fault, Problem

PROBLEM_JSON = "application/problem+json"
# pydantic's type of such a fault.
UNKNOWN_FIELD = "extra_forbidden"


def _problem(
    status: int,
    detail: str,
    errors: Sequence[Fault] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    # RFC 9110's phrase, which Python has from 3.13 on.
    title = "Unprocessable Content" if status == 422 else HTTPStatus(status).phrase
    problem = Problem(title=title, status=status, detail=detail, errors=list(errors))
    return JSONResponse(problem.model_dump(), status, headers, media_type=PROBLEM_JSON)


async def on_invalid_body(request: Request, error: RequestValidationError) -> JSONResponse:
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        # Some of Python's messages end in "at", or "starting at", and go on with the place.
        fault = re.sub(" (starting )?at$", "", first["ctx"]["error"])
        place = f"at character {first['loc'][-1]}"
        return _problem(400, f"the body is not JSON: {fault}, {place}")
    if isinstance(error.body, bytes):
        found = request.headers.get("content-type", "none")
        return _problem(415, f"content-type: expected application/json, found {found}")
    one, _ = get_args(get_type_hints(request.scope["endpoint"])["body"])
    fields = list(one.model_fields)
    # Unknown fields first: the field that is missing may be there under a wrong name.
    faults = [
        Fault(pointer=_pointer(each["loc"]), detail=_expected_and_found(each, fields))
        for each in sorted(error.errors(), key=lambda each: each["type"] != UNKNOWN_FIELD)
    ]
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return _problem(422, f"{faults[0].pointer}: {faults[0].detail}{more}", faults)


async def on_http_error(request: Request, error: StarletteHTTPException) -> JSONResponse:
    detail = error.detail
    if error.status_code == 400:
        # The framework's, for what Python's JSON reader cannot take, and hides the reason.
        detail = f"the body cannot be read as JSON: {error.__cause__}"
    elif detail == HTTPStatus(error.status_code).phrase:
        # The framework's own, which say no more than the title.
        hint = _hint(request, error)
        detail = f"{request.method} {request.url.path}: {detail.lower()}; {hint}"
    return _problem(error.status_code, detail, headers=error.headers)


def _hint(request: Request, error: StarletteHTTPException) -> str:
    """What to do about a path, or a method of it, that is not there."""
    if error.headers and "Allow" in error.headers:
        return f"use {error.headers['Allow']}"
    # The command line writes the names with hyphens.
    name = request.url.path.rpartition("/")[2].replace("-", "_")
    if any(path.endswith(f"/{name}") for path in request.app.openapi()["paths"]):
        return f"did you mean {name}?"
    return "see /docs for what is"


async def on_refused_query(request: Request, error: EverygramError) -> JSONResponse:
    detail = str(error)
    for name, index in request.app.state.indexes.items():
        # A client knows an index by its name; where it lies is not for it to see.
        detail = detail.replace(f"'{index.path}'", f"'{name}'")
    return _problem(422, detail)


async def on_unexpected(request: Request, error: Exception) -> JSONResponse:
    # Starlette raises the error again once this is sent, and the server logs its traceback.
    return _problem(500, "the service failed to answer; its log says why")


def _pointer(steps: Sequence[str | int]) -> str:
    """The JSON Pointer, as a URI fragment, of a value in the body."""
    parts = [str(step) for step in steps[1:] if step not in UNION_TAGS]
    escaped = [part.replace("~", "~0").replace("/", "~1") for part in parts]
    return "#" + "".join("/" + quote(part, safe="", errors="replace") for part in escaped)


def _expected_and_found(fault: Mapping[str, Any], fields: list[str]) -> str:
    """What is wrong with a value; `fields`: those of a single request."""
    if fault["type"] == UNKNOWN_FIELD:
        *place, name = fault["loc"]
        of_batch = place[-1] == BATCH
        if of_batch and name in fields:
            return f"give {name} or batch, not both"
        return f"unknown field '{name}'; expected {'batch' if of_batch else ', '.join(fields)}"
    if fault["type"] == "missing" and fault["loc"] == ("body",):
        return EXPECTED_BODY
    expected: str = fault["msg"]
    value = fault["input"]
    if fault["type"] == "missing" or not isinstance(value, str | int | float | None):
        return expected
    found = json.dumps(value)
    return f"{expected}, found {found if len(found) <= 60 else found[:57] + '…'}"
