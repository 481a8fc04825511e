"""The REST service: JSON in, `Index`' methods, JSON out; every error an RFC 9457 problem.

In: folders of indexes. Out: an ASGI application. Knows HTTP; knows nothing of arrays, segments or
tokenizers. Endpoints are plain functions: they run in a pool of threads, where kernels let go of
the interpreter lock.
"""

import asyncio
import contextlib
import errno
import logging
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import fastapi_offline
import uvicorn
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException as StarletteHTTPException

from everygram.errors import EverygramError, QueryError, TokenizerError
from everygram.server import indexes, problems
from everygram.server.models.base import Problem
from everygram.server.routes import attribution, documents, ngrams, search, service, strings, texts

logger = logging.getLogger("uvicorn.error")

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
    paths: Sequence[Path],
    preload: str | Sequence[str] = (),
    verify: bool = False,
    union: str | None = None,
) -> FastAPI:
    """The service over the indexes in these folders, each under its folder's name.

    `preload` and `verify` as in `everygram.open`, for all of them. `union`: the name under which
    all of them are served as one, too.

    Raises FormatError for no folder, two of one name, or one that is no index, OptionError for a
    union's name that is taken and for indexes that cannot be asked as one, and what else
    `everygram.open` raises; nothing is served then. Kernels are compiled, or loaded from the
    disk cache, when the application starts up, before it answers.
    """
    app = _Service(
        title="everygram",
        version=version("everygram"),
        description=DESCRIPTION,
        lifespan=_lifespan,
        # FastAPI's own pages load their scripts from the internet: `routes.service` has another.
        docs_url=None,
        redoc_url=None,
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
    app.state.indexes = indexes.open_all(paths, preload, verify, union)
    for routes in (service, ngrams, texts, attribution, strings, documents, search):
        app.include_router(routes.router)
    # (Of that package only the files of Swagger UI are of use here.)
    swagger_ui = StaticFiles(directory=Path(fastapi_offline.__file__).parent / "static")
    app.mount(f"/{service.SWAGGER_UI}", swagger_ui)
    return app


def serve(
    paths: Sequence[Path],
    host: str,
    port: int,
    preload: str | Sequence[str] = (),
    verify: bool = False,
    union: str | None = None,
) -> None:
    """Serve the indexes in these folders until interrupted.

    Raises as `create_app` does, and EverygramError for a port that is in use.
    """
    _check_port(host, port)
    server = _Server(create_app(paths, preload, verify, union), host, port)
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    if not server.started:  # its log says why
        sys.exit(1)


def _check_port(host: str, port: int) -> None:
    """Raise EverygramError for a port that is in use, before anything is opened or compiled.

    (Whatever else is wrong with an address uvicorn says, once it listens there.)
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # Else a port whose last connections have just been closed would count as in use.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise EverygramError(f"port {port} is in use; pass --port") from None


class _Server(uvicorn.Server):
    """uvicorn, which says once it is ready what it serves and where the manual is."""

    def __init__(self, app: FastAPI, host: str, port: int) -> None:
        super().__init__(uvicorn.Config(app, host=host, port=port))
        self._names = ", ".join(f"'{name}'" for name in app.state.indexes)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for server in self.servers if self.started else ():
            host, port = server.sockets[0].getsockname()[:2]
            address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            logger.info("serving %s; the manual is at http://%s/docs", self._names, address)


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
        index.warm_up()
    following = asyncio.create_task(indexes.follow(app.state.indexes))
    yield
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following
