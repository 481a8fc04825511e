"""The REST service: JSON in, `Index`' methods, JSON out; every error an RFC 9457 problem.

In: folders of indexes. Out: an ASGI application. Knows HTTP; knows nothing of arrays, segments or
tokenizers. Endpoints are plain functions: they run in a pool of threads, where kernels let go of
the interpreter lock.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

import uvicorn
from fastapi import APIRouter, Body, Depends, FastAPI, HTTPException, Request
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from everygram.errors import EverygramError, FormatError, QueryError, TokenizerError
from everygram.index import Index
from everygram.results import ngrams as results
from everygram.server.models.ngrams import (
    EXPECTED_BODY,
    UNION_TAGS,
    Batch,
    Count,
    CountBody,
    CountRequest,
    Distribution,
    Document,
    DocumentBody,
    Fault,
    FindBody,
    Health,
    Indexes,
    IndexInfo,
    LongestMatches,
    LongestMatchesBody,
    Matches,
    NtdBody,
    NtdRequest,
    Prob,
    ProbBody,
    Problem,
    ProbRequest,
    Q,
    Results,
    ScoreBody,
    Scores,
)

A = TypeVar("A")

logger = logging.getLogger("uvicorn.error")

# Distributions of a batch that are held at once: one can be as long as the vocabulary.
GROUP = 64
# How often it is looked whether an index has changed.
FOLLOW_SECONDS = 1.0
PROBLEM_JSON = "application/problem+json"

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
            RequestValidationError: _on_invalid_body,
            StarletteHTTPException: _on_http_error,
            QueryError: _on_refused_query,
            TokenizerError: _on_refused_query,
            Exception: _on_unexpected,
        },
    )
    app.state.indexes = _open_all(paths, preload, verify)
    app.include_router(service)
    app.include_router(queries)
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
                    if status != "200" and PROBLEM_JSON not in content:
                        content[PROBLEM_JSON] = content.pop("application/json")
        return schema


def _open_all(
    paths: Sequence[Path], preload: str | Sequence[str], verify: bool
) -> dict[str, Index]:
    if not paths:
        raise FormatError("no index to serve: expected at least one folder")
    indexes: dict[str, Index] = {}
    for given in paths:
        path = given.resolve()
        if path.name in indexes:
            raise FormatError(
                f"index '{path}': there is one of that name already, '{indexes[path.name].path}'; "
                "indexes are served under their folder's name: rename one"
            )
        index = Index(path, preload=preload, verify=verify)
        # Loaded now, so that a tokenizer that cannot be stops the service and not a query.
        _ = index.tokenizer
        indexes[path.name] = index
    return indexes


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    for index in app.state.indexes.values():
        index.engine.warm_up()
    following = asyncio.create_task(_follow(app.state.indexes))
    yield
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following


async def _follow(indexes: dict[str, Index]) -> None:
    """Serve what writers publish: requests from then on, those under way end with what they had."""
    said: dict[str, str] = {}
    while True:
        await asyncio.sleep(FOLLOW_SECONDS)
        for name, index in indexes.items():
            try:
                indexes[name] = await asyncio.to_thread(index.latest)
                said.pop(name, None)
            except (EverygramError, OSError) as error:
                # Such as a folder that is being moved.
                if said.get(name) != str(error):
                    said[name] = str(error)
                    logger.warning("'%s' is served as it was: %s", name, error)


def _served(
    request: Request,
    name: Annotated[
        str, PathParameter(description="The index's name, as `GET /v1/indexes` lists it.")
    ],
) -> Index:
    indexes: dict[str, Index] = request.app.state.indexes
    if name not in indexes:
        names = ", ".join(f"'{known}'" for known in indexes)
        raise HTTPException(404, f"index '{name}' is not served here; expected one of {names}")
    return indexes[name]


ServedIndex = Annotated[Index, Depends(_served)]


def _info(name: str, index: Index) -> dict[str, Any]:
    return index.info() | {"name": name}


def _answer(
    body: Q | Batch[Q],
    ask: Callable[[Q], dict[str, Any]],
    ask_all: Callable[[list[Q]], list[dict[str, Any]]] | None = None,
) -> dict[str, Any]:
    """The answer to one query, or to each of a batch: with `ask_all`, searched together."""
    if not isinstance(body, Batch):
        return ask(body)
    return {"results": ask_all(body.batch) if ask_all else _each(body.batch, ask)}


def _each(batch: list[Q], make: Callable[[Q], A]) -> list[A]:
    """What is made of each query of a batch; an error says which one it was."""
    made = []
    for number, query in enumerate(batch):
        try:
            made.append(make(query))
        except EverygramError as error:
            raise type(error)(f"#/batch/{number}: {error}") from error
    return made


def _counts(index: Index, batch: list[CountRequest]) -> list[dict[str, Any]]:
    queries = _each(batch, lambda q: index.encode(q.query, raw=q.raw))
    return [count.as_dict() for count in index.count_batch(queries)]


def _probs(
    index: Index, ask: Callable[..., results.Probs], batch: list[ProbRequest]
) -> list[dict[str, Any]]:
    queries = _each(batch, lambda q: index.encode_prob(q.query, q.continuation, raw=q.raw))
    return [prob.as_dict() for prob in ask(queries)]


def _distributions(
    index: Index, ask: Callable[..., results.Distributions], batch: list[NtdRequest]
) -> list[dict[str, Any]]:
    prompts = _each(batch, lambda q: index.encode(q.prompt, raw=q.raw))
    of_support: dict[int | None, list[int]] = {}
    for number, query in enumerate(batch):
        of_support.setdefault(query.max_support, []).append(number)
    answers: list[dict[str, Any]] = [{}] * len(batch)
    for support, numbers in of_support.items():
        for start in range(0, len(numbers), GROUP):
            group = numbers[start : start + GROUP]
            found = ask([prompts[number] for number in group], max_support=support)
            for number, distribution in zip(group, found, strict=True):
                answers[number] = distribution.as_dict(batch[number].top)
    return answers


def _examples(**named: dict[str, Any]) -> Any:
    """Request bodies to try in `/docs`: each of these, and all of them as a batch."""
    bodies = named | {"batch": {"batch": list(named.values())}}
    return Body(
        openapi_examples={
            name: {"summary": name.replace("_", " "), "value": value}
            for name, value in bodies.items()
        }
    )


service = APIRouter()
queries = APIRouter(
    prefix="/v1/indexes/{name}",
    tags=["queries"],
    responses={
        400: {"model": Problem, "description": "The body is not JSON."},
        404: {"model": Problem, "description": "No such index."},
        415: {"model": Problem, "description": "The body is not declared as JSON."},
        422: {"model": Problem, "description": "A query that has no answer, or a malformed one."},
    },
)


@service.get("/health", tags=["service"], summary="Is it ready?", response_model=Health)
def health() -> Any:
    """Answers once every index is open and every kernel compiled."""
    return {"version": version("everygram")}


@service.get("/v1/indexes", tags=["indexes"], summary="List the indexes", response_model=Indexes)
def indexes(request: Request) -> Any:
    """What each index is, under the name that the other paths take."""
    served: dict[str, Index] = request.app.state.indexes
    return {"indexes": [_info(name, index) for name, index in served.items()]}


@service.get(
    "/v1/indexes/{name}",
    tags=["indexes"],
    summary="Describe an index",
    response_model=IndexInfo,
    responses={404: {"model": Problem, "description": "No such index."}},
)
def index(name: str, index: ServedIndex) -> Any:
    """What the index is: sizes, vocabulary, separator, tokenizer, versions."""
    return _info(name, index)


@queries.post("/count", summary="Count an n-gram", response_model=Count | Results[Count])
def count(
    index: ServedIndex,
    body: Annotated[
        CountBody,
        _examples(
            text={"query": "natural language processing"}, token_ids={"query": [11802, 3303]}
        ),
    ],
) -> Any:
    """How often the query occurs. `{"query": ""}` counts every token and every document's end."""
    return _answer(
        body,
        lambda q: index.count(q.query, raw=q.raw).as_dict(),
        lambda batch: _counts(index, batch),
    )


@queries.post("/prob", summary="n-gram probability", response_model=Prob | Results[Prob])
def prob(
    index: ServedIndex,
    body: Annotated[
        ProbBody,
        _examples(
            text={"query": "natural language processing"},
            with_continuation={"query": "natural language", "continuation": "processing"},
            token_ids={"query": [11802, 3303], "continuation": 7587},
        ),
    ],
) -> Any:
    """P(continuation | query) from n-gram counts: one token after a prompt.

    Without a continuation it is the query's last token, and the prompt what stands before. `prob`
    is null when the prompt does not occur.
    """
    return _answer(
        body,
        lambda q: index.prob(q.query, q.continuation, raw=q.raw).as_dict(),
        lambda batch: _probs(index, index.prob_batch, batch),
    )


@queries.post(
    "/ntd", summary="Next-token distribution", response_model=Distribution | Results[Distribution]
)
def ntd(
    index: ServedIndex,
    body: Annotated[
        NtdBody,
        _examples(
            text={"prompt": "natural language"},
            token_ids={"prompt": [11802], "top": 3},
            bounded={"prompt": "the", "max_support": 1000},
        ),
    ],
) -> Any:
    """Which tokens follow the prompt, and how often, exact at any number of occurrences.

    `next` is empty when the prompt does not occur. `max_support` bounds the work: `exact` and
    `error_bound` say what that did to the answer.
    """
    return _answer(
        body,
        lambda q: index.ntd(q.prompt, max_support=q.max_support, raw=q.raw).as_dict(q.top),
        lambda batch: _distributions(index, index.ntd_batch, batch),
    )


@queries.post("/infgram_prob", summary="∞-gram probability", response_model=Prob | Results[Prob])
def infgram_prob(
    index: ServedIndex,
    body: Annotated[
        ProbBody,
        _examples(
            text={"query": "a new method of natural language processing"},
            token_ids={"query": [649, 11802, 3303], "continuation": 7587},
        ),
    ],
) -> Any:
    """As `prob`, with the longest suffix of the prompt that occurs in the corpus.

    `suffix_len` is how much of the prompt that was.
    """
    return _answer(
        body,
        lambda q: index.infgram_prob(q.query, q.continuation, raw=q.raw).as_dict(),
        lambda batch: _probs(index, index.infgram_prob_batch, batch),
    )


@queries.post(
    "/infgram_ntd",
    summary="∞-gram next-token distribution",
    response_model=Distribution | Results[Distribution],
)
def infgram_ntd(
    index: ServedIndex,
    body: Annotated[
        NtdBody,
        _examples(
            text={"prompt": "a new method of natural language"},
            token_ids={"prompt": [649, 11802, 3303], "top": 3},
        ),
    ],
) -> Any:
    """As `ntd`, after the longest suffix of the prompt that occurs in the corpus."""
    return _answer(
        body,
        lambda q: index.infgram_ntd(q.prompt, max_support=q.max_support, raw=q.raw).as_dict(q.top),
        lambda batch: _distributions(index, index.infgram_ntd_batch, batch),
    )


@queries.post("/score", summary="Score a text", response_model=Scores | Results[Scores])
def score(
    index: ServedIndex,
    body: Annotated[
        ScoreBody,
        _examples(
            text={"text": "a new method of natural language processing"},
            five_gram={"text": "a new method of natural language processing", "order": 5},
            token_ids={"text": [649, 11802, 3303]},
        ),
    ],
) -> Any:
    """The probability of every token of a text after those before it.

    By the ∞-gram model, or the n-gram model of `order` n. A separator in the text starts a new
    document.
    """
    return _answer(body, lambda q: index.score(q.text, order=q.order, raw=q.raw).as_dict())


@queries.post(
    "/longest_matches",
    summary="Longest matches of a text",
    response_model=LongestMatches | Results[LongestMatches],
)
def longest_matches(
    index: ServedIndex,
    body: Annotated[
        LongestMatchesBody,
        _examples(
            text={"text": "a new method of natural language processing"},
            token_ids={"text": [649, 11802, 3303]},
        ),
    ],
) -> Any:
    """For every token of a text the longest match that starts there, and how often it occurs.

    What decontamination and attribution start from: which parts of a text are in the corpus.
    """
    return _answer(body, lambda q: index.longest_matches(q.text, raw=q.raw).as_dict())


@queries.post("/find", summary="Find an n-gram", response_model=Matches | Results[Matches])
def find(
    index: ServedIndex,
    body: Annotated[
        FindBody,
        _examples(
            text={"query": "natural language processing"},
            next_page={"query": "natural language processing", "offset": 10, "limit": 10},
            sample_of_token_ids={"query": [11802, 3303], "sample": 5, "seed": 1},
        ),
    ],
) -> Any:
    """Where the query occurs: how often, its intervals, and some of its occurrences.

    Page through them with `offset` and `limit`, or draw a `sample`. `document` then shows one.
    """
    return _answer(
        body,
        lambda q: index.find(
            q.query, offset=q.offset, limit=q.limit, sample=q.sample, seed=q.seed, raw=q.raw
        ).as_dict(),
    )


@queries.post("/document", summary="Fetch a document", response_model=Document | Results[Document])
def document(
    index: ServedIndex,
    body: Annotated[
        DocumentBody,
        _examples(
            by_number={"number": 0},
            by_occurrence={"query": "natural language processing", "occurrence": 2},
            with_context={"query": [11802, 3303], "context": 10},
        ),
    ],
) -> Any:
    """A document and its metadata: by number, or by an occurrence of a query.

    By number it is whole, or its first `context` tokens; by occurrence, `context` tokens on each
    side of the match.
    """
    return _answer(
        body,
        lambda q: index.document(
            q.number, query=q.query, occurrence=q.occurrence, context=q.context, raw=q.raw
        ).as_dict(),
    )


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


async def _on_invalid_body(request: Request, error: RequestValidationError) -> JSONResponse:
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        place = f"at character {first['loc'][-1]}"
        return _problem(400, f"the body is not JSON: {first['ctx']['error']} {place}")
    if isinstance(error.body, bytes):
        found = request.headers.get("content-type", "none")
        return _problem(415, f"content-type: expected application/json, found {found}")
    faults = [
        Fault(pointer=_pointer(each["loc"]), detail=_expected_and_found(each))
        for each in error.errors()
    ]
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return _problem(422, f"{faults[0].pointer}: {faults[0].detail}{more}", faults)


async def _on_http_error(request: Request, error: StarletteHTTPException) -> JSONResponse:
    detail = error.detail
    if error.status_code == 400:
        # The framework's, for what Python's JSON reader cannot take, and hides the reason.
        detail = f"the body cannot be read as JSON: {error.__cause__}"
    elif detail == HTTPStatus(error.status_code).phrase:
        # The framework's own, which say no more than the title.
        detail = f"{request.method} {request.url.path}: {detail.lower()}; see /docs for what is"
    return _problem(error.status_code, detail, headers=error.headers)


async def _on_refused_query(request: Request, error: EverygramError) -> JSONResponse:
    detail = str(error)
    for name, index in request.app.state.indexes.items():
        # A client knows an index by its name; where it lies is not for it to see.
        detail = detail.replace(f"'{index.path}'", f"'{name}'")
    return _problem(422, detail)


async def _on_unexpected(request: Request, error: Exception) -> JSONResponse:
    # Starlette raises the error again once this is sent, and the server logs its traceback.
    return _problem(500, "the service failed to answer; its log says why")


def _pointer(steps: Sequence[str | int]) -> str:
    """The JSON Pointer, as a URI fragment, of a value in the body."""
    parts = [str(step) for step in steps[1:] if step not in UNION_TAGS]
    escaped = [part.replace("~", "~0").replace("/", "~1") for part in parts]
    return "#" + "".join("/" + quote(part, safe="", errors="replace") for part in escaped)


def _expected_and_found(fault: Mapping[str, Any]) -> str:
    if fault["type"] == "missing" and fault["loc"] == ("body",):
        return EXPECTED_BODY
    expected: str = fault["msg"]
    value = fault["input"]
    if fault["type"] == "missing" or not isinstance(value, str | int | float | None):
        return expected
    found = json.dumps(value)
    return f"{expected}, found {found if len(found) <= 60 else found[:57] + '…'}"
