"""The REST service: JSON in, `Index`' methods, JSON out; every error an RFC 9457 problem.

In: folders of indexes. Out: an ASGI application. Knows HTTP; knows nothing of arrays, segments or
tokenizers. Endpoints are plain functions: they run in a pool of threads, where kernels let go of
the interpreter lock.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException

from everygram.errors import QueryError, TokenizerError
from everygram.server import indexes, problems
from everygram.server.models.base import Problem
from everygram.server.routes import documents, ngrams, service, texts

DESCRIPTION = """\
Exact n-gram and ∞-gram queries over tokenized corpora.

**Queries.** A query is a text, encoded with the index's own tokenizer, or a list of token ids;
every answer shows the `token_ids` and `tokens` it became. An id outside the vocabulary is an
error. Matches never cross a document's bounds.

**Batches.** Each endpoint takes one query or `{"batch": [query, …]}`, and answers one result or
`{"results": [result, …]}` in the same order. A batch of counts, probabilities or distributions is
searched together, a large one on all cores: a fraction of the time that a query takes alone.

**Exactness.** Every answer is exact, but for a distribution with a `max_support`, which says how
far off it may be. A probability after a prompt that never occurs is `null`; the ∞-gram endpoints
use the longest suffix of the prompt that does occur (Liu et al. 2024).

**Errors.** Every error is `application/problem+json` (RFC 9457): `type`, `title`, `status`,
`detail`, and `errors`, which points at what is wrong in the body.
"""


def create_app(
    paths: Sequence[Path], preload: str | Sequence[str] = (), verify: bool = False
) -> FastAPI:
    """The service over the indexes in these folders, each under its folder's name.

    `preload` and `verify` as in `everygram.open`, for all of them.

    Raises FormatError for no folder, two of one name, or one that is no index, and what else
    `everygram.open` raises; nothing is served then. Kernels are compiled, or loaded from the
    disk cache, when the application starts up, before it answers.
    """
    app = _Service(
        title="everygram",
        version=version("everygram"),
        description=DESCRIPTION,
        lifespan=_lifespan,
        generate_unique_id_function=lambda route: route.name,
        responses={"default": {"model": Problem, "description": "Any other error."}},
        exception_handlers={
            RequestValidationError: problems.on_invalid_body,
            StarletteHTTPException: problems.on_http_error,
            QueryError: problems.on_refused_query,
            TokenizerError: problems.on_refused_query,
            Exception: problems.on_unexpected,
        },
    )
    app.state.indexes = indexes.open_all(paths, preload, verify)
    for routes in (service, ngrams, texts, documents):
        app.include_router(routes.router)
    return app


def serve(
    paths: Sequence[Path],
    host: str,
    port: int,
    preload: str | Sequence[str] = (),
    verify: bool = False,
) -> None:
    """Serve the indexes in these folders until interrupted. Raises as `create_app` does."""
    uvicorn.run(create_app(paths, preload, verify), host=host, port=port)


class _Service(FastAPI):
    """FastAPI, whose generated description gives errors their media type."""

    def openapi(self) -> dict[str, Any]:
        schema = super().openapi()
        for operations in schema["paths"].values():
            for operation in operations.values():
                for status, response in operation["responses"].items():
                    content = response["content"]
                    if status != "200" and problems.PROBLEM_JSON not in content:
                        content[problems.PROBLEM_JSON] = content.pop("application/json")
        return schema


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    for index in app.state.indexes.values():
        index.engine.warm_up()
    following = asyncio.create_task(indexes.follow(app.state.indexes))
    yield
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following
