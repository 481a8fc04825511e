"""What the service says of itself, of its indexes, and of their documents: pages to GET.

Pages of an index have an ETag: whoever sends it back as If-None-Match is told whether the page is
as it was (304).
"""

import json
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import HTMLResponse

from everygram.errors import QueryError
from everygram.index import Index
from everygram.index.union import UnionIndex
from everygram.server import access
from everygram.server.etags import tagged
from everygram.server.models import base
from everygram.server.models.base import Problem
from everygram.server.models.documents import Document, UnionDocument
from everygram.server.models.service import Health, Indexes, IndexInfo, Live, UnionInfo
from everygram.server.openapi import FILE
from everygram.server.problems import Refusal, refusal_of
from everygram.server.routes import page
from everygram.server.routes.answering import AskedIndex

router = APIRouter()
# The folder under which the files of Swagger UI are served.
SWAGGER_UI = "swagger-ui"
# Nothing but this service's own files. (Swagger UI has its icons in its style sheet.)
ONLY_OWN = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"
DOCS = f"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>everygram</title>
<link rel="stylesheet" href="{SWAGGER_UI}/swagger-ui.css">
<link rel="icon" href="{SWAGGER_UI}/favicon.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="{SWAGGER_UI}/swagger-ui-bundle.js"></script>
<script src="docs.js"></script>
</body>
</html>
"""
DOCS_SCRIPT = """\
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset],
});
"""
F = TypeVar("F", bound=Callable[..., Any])

IfNoneMatch = Annotated[
    str | None,
    Header(description="The `ETag` of an earlier answer: 304 if the page is as it was then."),
]
PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: {"model": Problem, "description": "The service wants a key."},
    403: {"model": Problem, "description": "The key is not for this index."},
    404: {"model": Problem, "description": "No such index, or nothing of the kind in it."},
    422: {"model": Problem, "description": "A parameter that is none."},
    429: {"model": Problem, "description": "Too many requests."},
    503: {"model": Problem, "description": "The service is busy, or the index is gone."},
}
UNCHANGED: dict[int | str, dict[str, Any]] = {
    304: {"description": "The page is as it was: `If-None-Match` has its ETag."}
}


def _page(path: str, **described: Any) -> Callable[[F], F]:
    """A page, for GET and HEAD."""

    def declare(function: F) -> F:
        router.add_api_route(path, function, methods=["GET"], **described)
        router.add_api_route(path, function, methods=["HEAD"], include_in_schema=False)
        return function

    return declare


@_page("/", include_in_schema=False)
def start(request: Request) -> Response:
    """The names of the indexes, as infini-gram's API lists them; for a browser, the page."""
    if access.wants_page(request.headers.get("accept", "")):
        return page.page(request)
    return tagged(request, json.dumps(_readable(request)).encode())


@_page("/docs", include_in_schema=False)
def docs() -> HTMLResponse:
    """The manual, of files of this service alone, at whatever address it is reached."""
    return HTMLResponse(DOCS, headers={"content-security-policy": ONLY_OWN})


@_page("/docs.js", include_in_schema=False)
def docs_script() -> Response:
    """What starts the manual: no page has a script of its own."""
    return Response(DOCS_SCRIPT, media_type="text/javascript")


@_page("/openapi.json", include_in_schema=False)
def openapi(request: Request) -> Response:
    """The description of the service (OpenAPI)."""
    return tagged(request, openapi_document())


@cache
def openapi_document() -> bytes:
    """The description as it is in this package."""
    return FILE.read_bytes()


# The service's own application answers these, before any page is looked for: they are declared for
# the manual.


READY: dict[str, Any] = {
    "tags": ["service"],
    "summary": "Is it ready?",
    "response_model": Health,
    "responses": {503: {"model": Health, "description": "No queries can be answered."}},
}


@_page("/health", name="health", **READY)
@_page("/health/ready", name="ready", **READY)
def ready() -> Any:
    """200 while queries can be answered; else 503."""
    raise NotImplementedError


@_page("/health/live", tags=["service"], summary="Is it alive?", response_model=Live)
def live() -> Any:
    """200 while the process answers at all."""
    raise NotImplementedError


@_page(
    "/metrics",
    tags=["service"],
    summary="Metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics() -> Any:
    """Requests, tokens, queues and index versions, as Prometheus reads them."""
    raise NotImplementedError


@_page(
    "/v1/indexes",
    tags=["indexes"],
    summary="List the indexes",
    response_model=Indexes,
    responses=UNCHANGED | {status: PROBLEMS[status] for status in (401, 429)},
)
async def indexes(request: Request, if_none_match: IfNoneMatch = None) -> Any:
    """What each index is, under the name that the other paths take."""
    served = dict(request.app.state.indexes.items())
    listed = [info(request, name, served[name]) for name in _readable(request)]
    return _answer(request, {"indexes": listed})


def _readable(request: Request) -> list[str]:
    """The names of the indexes that the client may read, and that can be read just now."""
    key = request.scope.get("everygram.key")
    return [
        name
        for name, _ in request.app.state.indexes.items()
        if key is None or key.allows(name, "read")
    ]


@_page(
    "/v1/indexes/{name}",
    tags=["indexes"],
    summary="Describe an index",
    response_model=UnionInfo | IndexInfo,
    responses=UNCHANGED | PROBLEMS,
)
async def index(request: Request, asked: AskedIndex, if_none_match: IfNoneMatch = None) -> Any:
    """What the index is: sizes, vocabulary, separator, tokenizer, versions."""
    name = request.app.state.indexes.resolved(asked.name)
    return _answer(request, info(request, name, asked.index))


@_page(
    "/v1/indexes/{name}/documents/{number}",
    tags=["indexes"],
    summary="Read a document",
    response_model=base.answers(UnionDocument, Document),
    responses=UNCHANGED | PROBLEMS,
)
async def document_page(
    request: Request,
    asked: AskedIndex,
    number: Annotated[int, PathParameter(ge=0, description="The document's number, from 0.")],
    context: Annotated[
        int | None, Query(ge=0, description="Only so many of its first tokens; else all of it.")
    ] = None,
    index: Annotated[
        int | None,
        Query(ge=0, description="In a union: the place of the document's index, from 0."),
    ] = None,
    if_none_match: IfNoneMatch = None,
) -> Any:
    """A document and its metadata, as `document` gives it."""
    try:
        found = asked.index.document(number, index=index, context=context)
    except QueryError as error:
        if isinstance(asked.index, UnionIndex) != (index is not None):
            raise
        detail = refusal_of(error, request.app.state.indexes.items()).detail
        raise Refusal("not-found", detail) from None
    answer = found.as_dict() | {"index_version": asked.index.version}
    return _answer(request, answer, asked.settings.max_answer_bytes)


@_page(
    "/v1/indexes/{name}/tokenizer",
    tags=["indexes"],
    summary="Fetch the tokenizer",
    response_class=Response,
    responses=UNCHANGED
    | PROBLEMS
    | {
        200: {
            "description": "The file `tokenizer.json`.",
            "content": {"application/json": {"schema": {"type": "object"}}},
        }
    },
)
async def tokenizer(request: Request, asked: AskedIndex, if_none_match: IfNoneMatch = None) -> Any:
    """The index's `tokenizer.json`, as the library `tokenizers` reads it.

    (Of a SentencePiece model: an object with its `type` and the `model` in base64.) 404 for an
    index without a tokenizer, and for one whose tokens are bytes, which needs no file.
    """
    found = asked.index.tokenizer
    if found is None or found.json is None:
        why = "it was built from token ids" if found is None else "its tokens are bytes"
        raise Refusal("not-found", f"index '{asked.name}' has no tokenizer.json: {why}")
    return tagged(request, found.json)


def info(request: Request, name: str, index: Index) -> dict[str, Any]:
    """What an index is, as this service has it."""
    settings = request.app.state.settings
    said = index.info() | {"name": name, "index_version": index.version}
    said["aliases"] = [alias for alias, of in settings.aliases.items() if of == name]
    if not isinstance(index, UnionIndex):
        return IndexInfo(**said).model_dump()
    union = settings.unions[name]
    return UnionInfo(**(said | {"indexes": union.of, "minus": union.minus})).model_dump()


def _answer(request: Request, value: Any, most: int | None = None) -> Response:
    """A page of JSON. Raises Refusal for one that is larger than `most` bytes."""
    # (Metadata is what the corpus had: integers of any size, at any depth.)
    body = json.dumps(value, separators=(",", ":")).encode()
    if most is not None and len(body) > most:
        raise Refusal(
            "answer-too-large", f"the answer has more than {most:,} bytes; ask for less context"
        )
    return tagged(request, body)
