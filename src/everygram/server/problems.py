"""Every error of the service as an RFC 9457 problem.

In: refusals, what `Index` raises, what FastAPI and Starlette raise. Out: an `Answer`, or a response
of FastAPI's routes, in `application/problem+json`. A problem shows no value of more than SHOWN
characters, no path of this machine and no traceback.
"""

import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, get_args, get_type_hints
from urllib.parse import quote

import orjson
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.routing import Match, Route

from everygram.errors import (
    CursorError,
    EverygramError,
    FormatError,
    OptionError,
    QueryError,
    TokenizerError,
    UnreachableSegmentError,
)
from everygram.index import Index
from everygram.server.calls import Answer
from everygram.server.models.base import BATCH, EXPECTED_BODY, UNION_TAGS

logger = logging.getLogger("everygram")

PROBLEM_JSON = "application/problem+json"
# Characters of a value that a problem shows, and of all it says.
SHOWN = 200
LONGEST = 2_000
# Faults of a body that are listed.
FAULTS = 20
FAILED = "the service failed to answer; its log says why"
# A file in a folder, after the folder.
BELOW = r"(?:[/\\][^\s'\"]*)?"
# What a message tells whoever has an index's files to do, and what a client is told instead.
_TO_PREPARE = re.compile(
    r"(merge them with 'everygram compact --full [^']*', then )?run 'everygram prepare [^']*'"
)
_ASK_TO_PREPARE = (
    'send POST …/compact with {"full": true, "prepare": true} and a key that has the scope write, '
    "or have 'everygram prepare' run where the service is"
)
# pydantic's type of such a fault.
UNKNOWN_FIELD = "extra_forbidden"

# The kinds of problems: status, and what they are called.
KINDS = {
    "bad-request": (400, "The request is not HTTP as it should be"),
    "bad-json": (400, "The body is not JSON"),
    "duplicate-key": (400, "A name stands twice in an object"),
    "json-too-deep": (400, "The JSON is nested too deeply"),
    "unauthorized": (401, "A key is needed"),
    "forbidden": (403, "The key does not allow this"),
    "not-found": (404, "There is no such thing"),
    "method-not-allowed": (405, "The path has no such method"),
    "request-timeout": (408, "The request came too slowly"),
    "conflict": (409, "The request contradicts an earlier one"),
    "cursor-expired": (409, "The index has changed since the cursor was given"),
    "body-too-large": (413, "The body is too large"),
    "unsupported-media-type": (415, "The body is not declared as JSON"),
    "misdirected": (421, "The service is not known by this host name"),
    "bad-query": (422, "The request cannot be carried out"),
    "batch-too-long": (422, "The batch has too many queries"),
    "query-too-long": (422, "The query has too many tokens"),
    "text-too-long": (422, "The text is too long"),
    "too-many-results": (422, "More is asked for than one answer gives"),
    "answer-too-large": (422, "The answer would be too large"),
    "rate-limited": (429, "Too many requests"),
    "headers-too-large": (431, "The headers are too large"),
    "internal": (500, "The service failed"),
    "overloaded": (503, "The service is busy"),
    "too-many-connections": (503, "The service has too many connections"),
    "index-unavailable": (503, "The index cannot be read"),
    "time-limit": (504, "The answer took too long"),
}
# The kinds of what the framework refuses by itself.
OF_STATUS = {404: "not-found", 405: "method-not-allowed", 413: "body-too-large"}


class Refusal(Exception):
    """A request is refused.

    kind: one of KINDS. detail: what is wrong, and what to do about it. errors: the faults of a
    body, each a `pointer` (a JSON Pointer as a URI fragment) and a `detail`.
    """

    def __init__(
        self,
        kind: str,
        detail: str,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(detail)
        self.status, self.title = KINDS[kind]
        self.kind, self.detail = kind, detail
        self.errors, self.headers = tuple(errors), tuple(headers)

    @classmethod
    def of_field(cls, kind: str, name: str, detail: str) -> "Refusal":
        """A refusal of the value of this field of a query."""
        fault = {"pointer": f"#/{name}", "detail": detail}
        return cls(kind, f"#/{name}: {detail}", [fault])

    def within(self, place: str) -> "Refusal":
        """The same of a query at this place of the body, such as `#/batch/3`."""
        faults = [
            {"pointer": place + fault["pointer"][1:], "detail": fault["detail"]}
            for fault in self.errors
        ]
        detail = place + self.detail[1:] if self.errors else f"{place}: {self.detail}"
        return Refusal(self.kind, detail, faults, self.headers)


def body_too_large(limit: int, what: str = "body") -> Refusal:
    """The refusal of a body, or a line of one, that has more bytes."""
    return Refusal("body-too-large", f"the {what}: expected at most {limit:,} bytes, found more")


def as_dict(refusal: Refusal, request_id: str = "") -> dict[str, Any]:
    """The problem, as JSON values."""
    return {
        "type": f"urn:everygram:problem:{refusal.kind}",
        "title": refusal.title,
        "status": refusal.status,
        "detail": shown(refusal.detail),
        "errors": [
            {"pointer": shown(fault["pointer"]), "detail": shown(fault["detail"])}
            for fault in refusal.errors
        ],
        "request_id": request_id,
    }


def as_answer(refusal: Refusal, request_id: str = "") -> Answer:
    """The problem as an answer."""
    body = _dumped(as_dict(refusal, request_id))
    headers = (("content-type", PROBLEM_JSON), *refusal.headers)
    return Answer(refusal.status, body, headers, kind=refusal.kind)


def refusal_of(error: Exception, indexes: Iterable[tuple[str, Index]]) -> Refusal:
    """What a client is told of an error that a query raised; the log is told of what is no fault
    of the client's.

    indexes: those that are served, by name; messages name them in place of their folders.
    """
    if isinstance(error, Refusal):
        return error
    if isinstance(error, CursorError):
        return Refusal("cursor-expired", without_paths(str(error), indexes))
    if isinstance(error, QueryError | OptionError | TokenizerError):
        detail = _TO_PREPARE.sub(_ASK_TO_PREPARE, without_paths(str(error), indexes))
        return Refusal("bad-query", detail)
    logger.error("a query failed", exc_info=error)
    if isinstance(error, FormatError | UnreachableSegmentError | OSError):
        return Refusal("index-unavailable", "the index cannot be read; the service's log says why")
    return Refusal("internal", FAILED)


def without_paths(message: str, indexes: Iterable[tuple[str, Index]]) -> str:
    """A message with names in place of indexes' folders: a client knows an index by its name, and
    is not to see where it lies."""
    if "/" not in message and "\\" not in message:
        return message
    names: dict[str, str] = {}
    for name, index in indexes:
        names[str(index.path)] = name
        said = index.info()
        for part in (said, *said.get("indexes", ()), *said.get("minus", ())):
            if "path" in part:
                path = Path(part["path"])
                called = name if part is said else part.get("name", path.name)
                names |= {str(each): called for each in (path, path.absolute(), path.resolve())}
    # (The longest first: an index may lie in the folder of another.)
    for place in sorted(filter(None, names), key=len, reverse=True):
        name = names[place]
        if Path(place).is_absolute():
            message = re.sub(re.escape(place) + BELOW, name.replace("\\", r"\\"), message)
        else:  # such as "." or "wiki": only where it stands as a path
            message = message.replace(f"'{place}'", f"'{name}'")
    return message


def shown(text: str) -> str:
    """What is said, with long values in it cut."""
    if len(text) <= SHOWN:
        return text
    cut = _LONG_VALUE.sub(lambda found: found[0][: SHOWN - 2] + "…" + found[0][-1], text)
    return cut if len(cut) <= LONGEST else cut[:LONGEST] + "…"


# What stands in quotes or brackets, or without a space, for longer than values should.
_LONG_VALUE = re.compile(
    rf"'[^']{{{SHOWN},}}'|\"[^\"]{{{SHOWN},}}\"|\[[^\]]{{{SHOWN},}}\]|\S{{{SHOWN + 1},}}"
)


def malformed(error: ValidationError, one: type[BaseModel]) -> Refusal:
    """What is wrong with a body; one: the model of a single query."""
    fields = list(one.model_fields)
    if error.error_count() > 50 * FAULTS:
        # (To list a million faults would take longer than any query.)
        return Refusal(
            "bad-query", f"#: {error.error_count():,} faults; expected {', '.join(fields)}"
        )
    return _malformed(error.errors(include_url=False), fields)


def _malformed(errors: Sequence[Any], fields: list[str]) -> Refusal:
    # Unknown fields first: the field that is missing may be there under a wrong name.
    ordered = sorted(errors, key=lambda each: each["type"] != UNKNOWN_FIELD)
    faults = [
        {"pointer": _pointer(each["loc"]), "detail": _expected_and_found(each, fields)}
        for each in ordered[:FAULTS]
    ]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return Refusal(
        "bad-query", f"{faults[0]['pointer']}: {shown(faults[0]['detail'])}{more}", faults
    )


def not_json(reason: str) -> Refusal:
    """A body that is not JSON, or that says something twice."""
    if "duplicate key" in reason:
        found = re.fullmatch(r'[Dd]etected duplicate key "(.*)" (at line \d+ column \d+)', reason)
        name, place = ("", reason) if found is None else (found[1][:SHOWN], found[2])
        return Refusal(
            "duplicate-key", f"'{name}' stands twice in an object, {place}; expected it once"
        )
    if "recursion limit" in reason:
        return Refusal("json-too-deep", f"the body cannot be read: {reason}")
    return Refusal("bad-json", f"the body is not JSON: {reason}")


def _pointer(steps: Sequence[str | int]) -> str:
    """The JSON Pointer, as a URI fragment, of a value in the body."""
    parts = [str(step)[:SHOWN] for step in steps if step not in UNION_TAGS]
    escaped = [part.replace("~", "~0").replace("/", "~1") for part in parts]
    return "#" + "".join("/" + quote(part, safe="", errors="replace") for part in escaped)


def _expected_and_found(fault: Mapping[str, Any], fields: list[str]) -> str:
    """What is wrong with a value; `fields`: those of a single query."""
    if fault["type"] == UNKNOWN_FIELD:
        *place, name = fault["loc"]
        of_batch = BATCH in place[-1:]
        if of_batch and name in fields:
            return f"give {name} or batch, not both"
        if of_batch:
            # (Where a query has `echo`, a batch of them has it, too.)
            expected = "batch, echo" if "echo" in fields else "batch"
        elif place and isinstance(place[-1], str) and place[-1] not in UNION_TAGS:
            expected = f"a field of '{place[-1]}'"
        else:
            expected = ", ".join(fields)
        return f"unknown field '{str(name)[:SHOWN]}'; expected {expected}"
    if fault["type"] == "missing" and not fault["loc"]:
        return EXPECTED_BODY
    expected = str(fault["msg"])
    if fault["type"] == "model_type":
        expected = f"Expected a JSON object of {', '.join(fields)}"
    value = fault["input"]
    if fault["type"] == "missing" or not isinstance(value, str | int | float | None):
        return expected
    # (Of a long text what is cut off is not even escaped.)
    found = json.dumps(value[:60] if isinstance(value, str) else value)
    return f"{expected}, found {found if len(found) <= 60 else found[:57] + '…'}"


def _dumped(problem: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(problem)
    except TypeError:  # a lone surrogate
        return json.dumps(problem).encode()


# What FastAPI's own routes raise.


async def on_invalid_body(request: Request, error: RequestValidationError) -> Response:
    """A body, or a parameter, that FastAPI refuses."""
    errors = error.errors()
    if errors[0]["type"] == "json_invalid":
        # Some of Python's messages end in "at", or "starting at", and go on with the place.
        fault = re.sub(" (starting )?at$", "", errors[0]["ctx"]["error"])
        return _response(request, not_json(f"{fault}, at character {errors[0]['loc'][-1]}"))
    if isinstance(error.body, bytes):
        found = request.headers.get("content-type", "none")
        detail = f"content-type: expected application/json, found {found[:SHOWN]}"
        return _response(request, Refusal("unsupported-media-type", detail))
    body = get_type_hints(request.scope["endpoint"]).get("body", ())
    models = [each for each in (body, *get_args(body)) if hasattr(each, "model_fields")]
    fields = list(models[0].model_fields) if models else []
    # (What leads to the value begins with where in the request it stands.)
    inside = [{**each, "loc": each["loc"][1:]} for each in errors]
    return _response(request, _malformed(inside, fields))


async def on_http_error(request: Request, error: StarletteHTTPException) -> Response:
    """What the framework refuses: a path, a method, a body that is not JSON."""
    detail = str(error.detail)
    if error.status_code == 405:
        error.headers = {"Allow": ", ".join(_methods(request))}
    if error.status_code == 400:
        # The framework's, for what Python's JSON reader cannot take, and hides the reason.
        return _response(request, not_json(str(error.__cause__)))
    if detail == HTTPStatus(error.status_code).phrase:
        # The framework's own, which say no more than the title.
        hint = _hint(request, error)
        detail = f"{request.method} {request.url.path[:SHOWN]}: {detail.lower()}; {hint}"
    kind = OF_STATUS.get(error.status_code, "bad-request")
    return _response(request, Refusal(kind, detail, headers=[*(error.headers or {}).items()]))


def _methods(request: Request) -> list[str]:
    """The methods that a path has. (The framework knows those of one of its routes.)"""
    routes = [
        route
        for route in request.app.state.routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
    ]
    path = min((route.path for route in routes), key=lambda path: path.count("{"), default="")
    return sorted(
        {method for route in routes if route.path == path for method in route.methods or ()}
    )


def _hint(request: Request, error: StarletteHTTPException) -> str:
    """What to do about a path, or a method of it, that is not there."""
    if error.headers and "Allow" in error.headers:
        return f"use {error.headers['Allow']}"
    # The command line writes the names with hyphens.
    name = request.url.path.rpartition("/")[2].replace("-", "_")
    if any(getattr(route, "name", "") == name for route in request.app.state.routes):
        return f"did you mean {name}?"
    return "see /docs for what is"


async def on_refusal(request: Request, refusal: Refusal) -> Response:
    """What a route, or the search for an index, refuses."""
    return _response(request, refusal)


async def on_refused_query(request: Request, error: EverygramError) -> Response:
    """What `Index` raises."""
    return _response(request, refusal_of(error, request.app.state.indexes.items()))


async def on_failure(request: Request, error: Exception) -> Response:
    """What nobody expected. (The framework raises it again, and the service logs it.)"""
    return _response(request, Refusal("internal", FAILED))


def _response(request: Request, refusal: Refusal) -> Response:
    answer = as_answer(refusal, getattr(request.state, "request_id", ""))
    return Response(answer.body, answer.status, dict(answer.headers))
