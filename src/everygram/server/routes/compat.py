"""Other services' ways of asking: infini-gram's `POST /`, OLMoTrace's `POST /{index}/attribution`.

Declared here for the manual; `answering` calls `infini_gram` and `olmotrace`, whose bodies, answers
and errors are those of these services.
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body
from fastapi import Path as PathParameter
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from everygram.compat import infini_gram_web
from everygram.compat import olmotrace as olmo
from everygram.errors import EverygramError
from everygram.index import Index
from everygram.server import limits, problems
from everygram.server.bodies import answer_too_large, read, written
from everygram.server.calls import Answer, Call
from everygram.server.indexes import Indexes
from everygram.server.problems import Refusal
from everygram.server.routes.answering import Long
from everygram.server.settings import Settings

router = APIRouter(tags=["compatibility"])


class InfiniGramRequest(BaseModel):
    """A request of infini-gram's web API. Exactly one of `query` and `query_ids` must be there."""

    model_config = ConfigDict(extra="allow")

    index: Annotated[
        str, Field(description="The index's name (`corpus` in older clients).", examples=["wiki"])
    ]
    query_type: Annotated[
        Literal[
            "count",
            "prob",
            "ntd",
            "infgram_prob",
            "infgram_ntd",
            "find",
            "find_cnf",
            "get_doc_by_rank",
            "get_doc_by_ptr",
            "search_docs",
        ],
        Field(description="What to ask."),
    ]
    query: Annotated[
        str | None,
        Field(description="A text, or several with AND and OR, where OR binds tighter."),
    ] = None
    query_ids: Annotated[
        list[int] | list[list[list[int]]] | None,
        Field(description="Token ids; or clauses (AND) of terms (OR) of token ids."),
    ] = None


@router.post(
    "/",
    summary="infini-gram's web API",
    responses={
        400: {
            "description": "A request that is none: `error` says why.",
            "content": {"application/json": {"schema": {"type": "object"}}},
        }
    },
)
def infini_gram_api(
    body: Annotated[
        InfiniGramRequest,
        Body(
            openapi_examples={
                "count": {
                    "value": {
                        "index": "wiki",
                        "query_type": "count",
                        "query": "natural language processing",
                    }
                },
                "infgram_ntd": {
                    "value": {
                        "index": "wiki",
                        "query_type": "infgram_ntd",
                        "query": "I love natural language",
                    }
                },
            }
        ),
    ],
) -> dict[str, Any]:
    """As `https://api.infini-gram.io/`, with exact answers; `error` says what is wrong.

    Answers have `latency` (milliseconds), `token_ids` and `tokens`.
    """
    raise NotImplementedError


@router.post("/{index}/attribution", summary="OLMoTrace's attribution")
def olmotrace_attribution(
    index: Annotated[str, PathParameter(description="The index's name.")],
    body: Annotated[
        olmo.AttributionRequest,
        Body(openapi_examples={"response": {"value": {"response": "the study of language"}}}),
    ],
) -> dict[str, Any]:
    """As OLMoTrace's server (allenai/infinigram-api): spans of a response, and their documents."""
    raise NotImplementedError


def infini_gram(call: Call, served: Indexes, settings: Settings, at_once: bool = False) -> Answer:
    """The answer to a request of infini-gram's API.

    Raises Refusal for an index that is not there now, and Long for what was to be answered at once
    and may take longer.
    """

    def get(name: str) -> Index | None:
        try:
            return served.get(name)
        except Refusal as refusal:
            if refusal.kind == "not-found":
                return None
            raise

    body = read(call.body, settings.max_json_depth)
    try:
        status, said = infini_gram_web.answer(body, get, short=at_once)
    except infini_gram_web.Lengthy:
        raise Long from None
    if "error" in said:
        said["error"] = problems.without_paths(said["error"], served.items())
    ids = said.get("token_ids")
    return _answer(status, said, settings, len(ids) if isinstance(ids, list) else 0)


def olmotrace(call: Call, served: Indexes, settings: Settings) -> Answer:
    """The answer to a request of OLMoTrace's. Raises Refusal for what is over a limit."""
    index = served.get(call.name)
    body = read(call.body, settings.max_json_depth)
    try:
        asked = olmo.request_from(body)
        limits.check_characters("response", asked.response, settings.max_query_tokens)
        tokens = len(index.encode(asked.response))
        limits.check_tokens("response", tokens, settings.max_query_tokens)
        for name, most in (
            ("maximum_documents_per_span", settings.max_documents),
            ("maximum_context_length", settings.max_context),
        ):
            if getattr(asked, name) > most:
                if name in asked.model_fields_set:
                    detail = f"expected at most {most:,}, found {getattr(asked, name):,}"
                    raise Refusal.of_field("too-many-results", to_camel(name), detail)
                asked = asked.model_copy(update={name: most})
        found = index.attribute(**asked.keywords())
        return _answer(200, olmo.response_of(found, index, call.name), settings, tokens)
    except (ValidationError, EverygramError) as error:
        said = olmo.problem(error)
        if "detail" in said:
            said["detail"] = problems.without_paths(said["detail"], served.items())
        return Answer(said["status"], written(said), (("content-type", problems.PROBLEM_JSON),))


def _answer(status: int, said: dict[str, Any], settings: Settings, tokens: int) -> Answer:
    body = written(said)
    if len(body) > settings.max_answer_bytes:
        raise answer_too_large(settings.max_answer_bytes)
    return Answer(status, body, tokens=tokens)
