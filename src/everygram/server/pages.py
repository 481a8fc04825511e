"""What is no query: the service's manual, its indexes, documents by number, and writing.

In: settings and indexes. Out: a FastAPI application, behind the service's own (`app.py`), which has
admitted the request. Pages of indexes may take long, and are answered where queries are: `answer`.
Queries are declared here, too, so that the manual and the OpenAPI document have them.
"""

import asyncio
import re
from collections.abc import Mapping, MutableMapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import fastapi_offline
import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException as StarletteHTTPException

from everygram.errors import EverygramError
from everygram.server import access, answering, problems
from everygram.server.calls import Answer, Call
from everygram.server.indexes import Indexes
from everygram.server.keys import Key
from everygram.server.metrics import OTHER
from everygram.server.models.base import Problem
from everygram.server.routes import compat, page, service, writing
from everygram.server.settings import Settings

VERSION = version("everygram")

PREFIX = "/v1/indexes/"
# Jobs are no pages of an index: they change while it stays as it is.
OF_INDEX = re.compile(rf"{PREFIX}[^/]+(/(?!jobs).*)?")
# Pages by their paths, and what they are called where they are counted.
PAGES = {
    "/v1/indexes": "indexes",
    "/docs": "docs",
    "/openapi.json": "openapi",
    "/": "page",
    "/v1/limits": "limits",
}
# What a call of a page is called.
PAGE = "page"

DESCRIPTION = """\
Exact n-gram and ∞-gram queries over tokenized corpora.

**Queries.** A query is a text, encoded with the index's own tokenizer, or a list of token ids;
every answer shows the `token_ids` and `tokens` it became, unless it has `"echo": false`. An id
outside the vocabulary is an error. Matches never cross a document's bounds.

**Batches.** Each query takes one request or `{"batch": [request, …]}`, and answers one result or
`{"results": [result, …]}` in the same order. A batch of counts, probabilities or distributions is
searched together, a large one on all cores: a fraction of the time that a query takes alone. As
`application/x-ndjson`, a request per line, a batch may be of any length: answers come while it is
sent, a line each.

**Exactness.** Every answer is exact, but for a distribution with a `max_support`, which says how
far off it may be. A probability after a prompt that never occurs is `null`; the ∞-gram endpoints
use the longest suffix of the prompt that does occur (Liu et al. 2024). `index_version` names the
state of the index that was asked: another one after any change.

**Errors.** Every error is `application/problem+json` (RFC 9457): `type`, `title`, `status`,
`detail`, `errors`, which points at what is wrong in the body, and `request_id`.
"""


def create(settings: Settings, indexes: Indexes) -> FastAPI:
    """The pages. Knows nothing of keys, rates or limits."""
    pages = FastAPI(
        title="everygram",
        version=VERSION,
        description=DESCRIPTION,
        # FastAPI's own pages load their scripts from the internet, and its description has no
        # ETag: `routes.service` has others.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
        responses={"default": {"model": Problem, "description": "Any other error."}},
        exception_handlers={
            problems.Refusal: problems.on_refusal,
            RequestValidationError: problems.on_invalid_body,
            StarletteHTTPException: problems.on_http_error,
            EverygramError: problems.on_refused_query,
            Exception: problems.on_failure,
        },
    )
    pages.state.settings, pages.state.indexes = settings, indexes
    routers = (service.router, page.router, *answering.ROUTERS, writing.router, compat.router)
    for router in routers:
        pages.include_router(router)
    pages.state.routes = [route for router in routers for route in router.routes]
    # (Of that package only the files of Swagger UI are of use here.)
    swagger_ui = StaticFiles(directory=Path(fastapi_offline.__file__).parent / "static")
    pages.mount(f"/{service.SWAGGER_UI}", swagger_ui)
    # (FastAPI makes what a path needs when one is first asked for: a quarter of a second, in every
    # process anew.)
    for each in pages.routes:
        each.matches({"type": "http", "method": "GET", "path": "/", "root_path": "", "headers": []})
    return pages


def is_of_index(method: str, path: str) -> bool:
    """Whether a page says something of indexes or their documents."""
    listed = path.rstrip("/") + "/" == PREFIX
    return method in ("GET", "HEAD") and (listed or OF_INDEX.fullmatch(path) is not None)


def called(method: str, path: str) -> str:
    """What a page is counted as."""
    if path.startswith(access.PAGE_FILES):
        return "page"
    if not path.startswith(PREFIX):
        return PAGES.get(path, OTHER)
    name = path[len(PREFIX) :].partition("/")[2].partition("/")[0]
    if name == "documents" and method in ("GET", "HEAD"):
        return "document"
    if name == "documents":
        return "add" if method == "POST" else "delete"
    return name or "indexes"


def call_of(scope: Mapping[str, Any], name: str, key: Key | None, request_id: str) -> Call:
    """The call that asks for a page of an index."""
    asked = {
        "method": scope["method"],
        "path": scope["path"],
        "query": scope["query_string"].decode("latin-1"),
        "match": dict(scope["headers"]).get(b"if-none-match", b"").decode("latin-1"),
        "key": None if key is None else key.model_dump_json(),
    }
    return Call(PAGE, name, orjson.dumps(asked), request_id=request_id)


def answer(call: Call, pages: FastAPI) -> Answer:
    """The answer to a call: a page, or what `answering.answer` gives. It may take its time."""
    if call.operation != PAGE:
        return answering.answer(call, pages.state.indexes, pages.state.settings)
    asked = orjson.loads(call.body)
    scope = {
        "type": "http",
        "http_version": "1.1",
        "scheme": "http",
        "method": asked["method"],
        "path": asked["path"],
        "raw_path": asked["path"].encode(),
        "query_string": asked["query"].encode("latin-1"),
        "headers": [(b"if-none-match", asked["match"].encode("latin-1"))],
        "state": {"request_id": call.request_id},
        "everygram.key": None if asked["key"] is None else Key.model_validate_json(asked["key"]),
    }
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    try:
        asyncio.run(pages(scope, receive, send))
    except Exception as error:
        return problems.as_answer(
            problems.refusal_of(error, pages.state.indexes.items()), call.request_id
        )
    start, *rest = sent
    return Answer(
        start["status"],
        b"".join(message.get("body", b"") for message in rest),
        tuple((name.decode(), value.decode("latin-1")) for name, value in start["headers"]),
    )
