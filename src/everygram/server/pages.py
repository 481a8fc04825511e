"""What is no query: the service's manual, its indexes, documents by number, and writing.

In: settings and indexes. Out: a FastAPI application, behind the service's own (`app.py`), which has
admitted the request. Queries are declared here, too, so that the manual and the OpenAPI document
have them; they are answered by `answering.py`.
"""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import fastapi_offline
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException as StarletteHTTPException

from everygram.errors import EverygramError
from everygram.server import problems
from everygram.server.answering import ROUTERS
from everygram.server.indexes import Indexes
from everygram.server.models.base import Problem
from everygram.server.openapi import described
from everygram.server.routes import service
from everygram.server.settings import Settings

VERSION = version("everygram")

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
    pages = _Pages(
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
        },
    )
    pages.state.settings, pages.state.indexes = settings, indexes
    for router in (service.router, *ROUTERS):
        pages.include_router(router)
    # (Of that package only the files of Swagger UI are of use here.)
    swagger_ui = StaticFiles(directory=Path(fastapi_offline.__file__).parent / "static")
    pages.mount(f"/{service.SWAGGER_UI}", swagger_ui)
    return pages


class _Pages(FastAPI):
    """FastAPI, whose description of the service is completed."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = described(super().openapi())
        return self.openapi_schema
