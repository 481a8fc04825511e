"""What all requests and answers share: queries, batches, results, problems.

Requests carry the parameters of `Index`' methods under their names, answers are what the results'
`as_dict()` gives: `index/` and `results/` say what they mean, the descriptions here say it to
readers of `/docs`. Knows nothing of HTTP or of indexes.
"""

from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Generic, TypeVar, Union

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, create_model

# pydantic puts the tag of the form it chose among the steps to a faulty value; `problems.py` leaves
# these out of the pointers it shows.
ONE, BATCH, TEXT, IDS, ID = UNION_TAGS = (":one", ":batch", ":str", ":list", ":int")


class Request(BaseModel):
    """A request body: JSON types are not converted, unknown fields are refused."""

    model_config = ConfigDict(strict=True, extra="forbid")


Q = TypeVar("Q", bound=Request)
R = TypeVar("R", bound=BaseModel)
B = TypeVar("B", bound=Request)


@dataclass(frozen=True)
class Limited:
    """Stands beside a field whose number, or length of a text, a setting of the service limits."""

    setting: str


def tag_of_value(value: object) -> str:
    return f":{type(value).__name__}"


def _tag_of_body(body: object) -> str | None:
    if not isinstance(body, dict):
        return None
    return BATCH if "batch" in body else ONE


# A union is tried form by form, and complains about each: a tag picks the form that was meant.
Query = Annotated[
    Annotated[str, Tag(TEXT)] | Annotated[list[int], Field(fail_fast=True), Tag(IDS)],
    Discriminator(
        tag_of_value,
        custom_error_type="query_type",
        custom_error_message="Expected a string or a list of token ids",
    ),
]
Continuation = Annotated[
    Annotated[str, Tag(TEXT)] | Annotated[int, Tag(ID)],
    Discriminator(
        tag_of_value,
        custom_error_type="continuation_type",
        custom_error_message="Expected a string of one token or a token id",
    ),
]
QueryField = Annotated[
    Query,
    Field(
        description="Text, encoded with the index's own tokenizer, or token ids. The separator's "
        "id may stand first (begins a document) or last (ends one).",
        examples=["natural language processing", [11802, 3303]],
    ),
]
Raw = Annotated[
    bool,
    Field(
        description="Leave out the index's `query_prefix`, which otherwise goes in front of a "
        "text that does not start with white space."
    ),
]

Echo = Annotated[
    bool,
    Field(
        description="Whether the answer has the `token_ids` and `tokens` that the query became. "
        "Without them a large batch is answered several times as fast."
    ),
]


class Batch(Request, Generic[Q]):
    """Several queries of one kind, answered in order. If one is refused, all are."""

    # pydantic drops a generic model's docstring from the schemas of what is made of it.
    model_config = ConfigDict(json_schema_extra={"description": __doc__})

    batch: Annotated[
        list[Q],
        Field(
            fail_fast=True,
            description="The queries, each in the form of a single request. At most `max_batch` "
            "(a setting of the service; by default 10,000).",
        ),
    ]


class EchoBatch(Batch[Q], Generic[Q]):
    """Several queries of one kind, answered in order. If one is refused, all are."""

    model_config = ConfigDict(json_schema_extra={"description": __doc__})

    echo: Annotated[
        bool, Field(description="False: no answer has the `token_ids` and `tokens` of its query.")
    ] = True


EXPECTED_BODY = 'Expected a JSON object: a query, or {"batch": [queries]}'
Either = Annotated[
    Annotated[Q, Tag(ONE)] | Annotated[B, Tag(BATCH)],
    Discriminator(
        _tag_of_body,
        custom_error_type="body_type",
        custom_error_message=EXPECTED_BODY,
    ),
]


IndexVersion = Annotated[
    str,
    Field(
        description="16 hex digits that name the state of the index that answered: others after "
        "any change.",
        examples=["8f14e45fceea167a"],
    ),
]


class Results(BaseModel, Generic[R]):
    """The answers to a batch."""

    model_config = ConfigDict(json_schema_extra={"description": __doc__})

    results: Annotated[
        list[R], Field(description="One answer per query, in the order of the batch.")
    ]
    index_version: IndexVersion


class Result(BaseModel):
    """The ids and tokens that the query became; neither is there with `"echo": false`."""

    token_ids: Annotated[
        list[int],
        Field(
            default_factory=list,
            description="The token ids that the query became.",
            examples=[[11802, 3303]],
        ),
    ]
    tokens: Annotated[
        list[str] | None,
        Field(
            default_factory=lambda: None,
            description="The text of each of these tokens; null when the index has no tokenizer.",
            examples=[[" natural", " language"]],
        ),
    ]


@cache
def _alone(model: type[BaseModel]) -> type[BaseModel]:
    """The answer to a single query: what stands in `Results`, and the index's version."""
    return create_model(
        f"{model.__name__}Answer",
        __base__=model,
        __doc__=model.__doc__,
        index_version=(IndexVersion, ...),
    )


def answers(*models: type[BaseModel]) -> Any:
    """The type of an endpoint's answers: to one query any of these models, to a batch `Results`.

    A model with more fields stands before one with some of them.
    """
    # (Types that are made at run time, which no type checker follows.)
    any_of: Any = Union
    return any_of[(*map(_alone, models), Results[any_of[models]])]


class Fault(BaseModel):
    """One thing wrong with a request body."""

    pointer: Annotated[
        str,
        Field(
            description="JSON Pointer (RFC 6901) to the value in the body.",
            examples=["#/batch/3/query"],
        ),
    ]
    detail: Annotated[
        str,
        Field(
            description="What was expected and found.",
            examples=["Expected a string or a list of token ids, found 7"],
        ),
    ]


class Problem(BaseModel):
    """The form of every error (RFC 9457)."""

    type: Annotated[
        str,
        Field(
            description="The kind of problem, as docs/service.md lists them.",
            examples=["urn:everygram:problem:bad-query"],
        ),
    ]
    title: Annotated[
        str, Field(description="The kind in words.", examples=["The query has no answer"])
    ]
    status: Annotated[int, Field(description="The HTTP status.", examples=[422])]
    detail: Annotated[
        str,
        Field(
            description="What is wrong with this request, and what to do about it.",
            examples=["#/batch/3/query: Expected a string or a list of token ids, found 7"],
        ),
    ]
    errors: Annotated[
        list[Fault],
        Field(description="Faults in the form of the body, each with its place; else empty."),
    ]
    request_id: Annotated[
        str,
        Field(
            description="That of the request: `X-Request-Id` as it was sent, or a new one.",
            examples=["3f2b8c1e9d5a4c7f"],
        ),
    ]
