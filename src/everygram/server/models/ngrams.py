"""Counts, probabilities and distributions: requests and answers."""

from typing import Annotated

from pydantic import BaseModel, Field

from everygram.server.models.base import (
    Continuation,
    Echo,
    EchoBatch,
    Either,
    Limited,
    QueryField,
    Raw,
    Request,
    Result,
)


class CountRequest(Request):
    """An n-gram to count."""

    query: QueryField
    documents: Annotated[
        bool, Field(description="Whether to count the documents that contain it, too.")
    ] = False
    raw: Raw = False
    echo: Echo = True


class ProbRequest(Request):
    """A prompt and the one token that may follow it."""

    query: QueryField
    continuation: Annotated[
        Continuation | None,
        Field(
            description="The token after `query`: its text or id. Left out, it is the last token "
            "of `query`, and the prompt is what stands before.",
            examples=[" processing", 7587],
        ),
        Limited("max_text_characters"),
    ] = None
    raw: Raw = False
    echo: Echo = True


class NtdRequest(Request):
    """A prompt, and how much of its next-token distribution to list."""

    prompt: QueryField
    top: Annotated[
        int | None,
        Field(
            ge=0,
            description="How many tokens to list, most frequent first; null lists all. At most "
            "`max_top` (a setting of the service; by default 100,000).",
        ),
        Limited("max_top"),
    ] = 10
    max_support: Annotated[
        int | None,
        Field(
            ge=1,
            description="Limit of the occurrences to look at, about. Where the prompt occurs more "
            "often, `error_bound` says by how much counts may be wrong. Null: no limit, exact.",
        ),
    ] = None
    raw: Raw = False
    echo: Echo = True


CountBody = Either[CountRequest, EchoBatch[CountRequest]]
ProbBody = Either[ProbRequest, EchoBatch[ProbRequest]]
NtdBody = Either[NtdRequest, EchoBatch[NtdRequest]]


class Count(Result):
    """How often a query occurs."""

    count: Annotated[
        int,
        Field(
            description="The exact number of occurrences. The empty query counts every token and "
            "every document's end.",
            examples=[3714],
        ),
    ]


class DocumentCount(Count):
    """How often a query occurs, and in how many documents."""

    document_count: Annotated[
        int,
        Field(description="The exact number of documents that contain it.", examples=[1204]),
    ]


PROMPT_COUNT = "Occurrences of the part of the prompt that was used: the denominator."
SUFFIX_LEN = (
    "Tokens of the prompt that were used: all of it for an n-gram, its longest suffix that occurs "
    "in the corpus for the ∞-gram (0: none)."
)


class Prob(Result):
    """The probability of one token after a prompt; `token_ids` and `tokens` are the prompt's."""

    continuation_id: Annotated[
        int, Field(description="The token whose probability this is.", examples=[7587])
    ]
    continuation: Annotated[
        str | None,
        Field(
            description="The text of this token; null when the index has no tokenizer.",
            examples=[" processing"],
        ),
    ]
    prompt_count: Annotated[int, Field(description=PROMPT_COUNT, examples=[3714])]
    continuation_count: Annotated[
        int,
        Field(description="How often the continuation follows: the numerator.", examples=[1857]),
    ]
    prob: Annotated[
        float | None,
        Field(
            description="continuation_count / prompt_count; null when the prompt does not occur.",
            examples=[0.5],
        ),
    ]
    suffix_len: Annotated[int, Field(description=SUFFIX_LEN, examples=[2])]


class NextToken(BaseModel):
    """One token of a distribution."""

    token_id: Annotated[
        int,
        Field(description="The token; the separator's id is the document's end.", examples=[7587]),
    ]
    token: Annotated[
        str | None,
        Field(
            description="The text of this token; null when the index has no tokenizer.",
            examples=[" processing"],
        ),
    ]
    count: Annotated[int, Field(description="How often it follows.", examples=[1857])]
    prob: Annotated[float, Field(description="count / prompt_count.", examples=[0.5])]


class Distribution(Result):
    """The next-token distribution of a prompt."""

    prompt_count: Annotated[int, Field(description=PROMPT_COUNT, examples=[3714])]
    suffix_len: Annotated[int, Field(description=SUFFIX_LEN, examples=[2])]
    distinct: Annotated[
        int, Field(description="How many different tokens follow, listed or not.", examples=[61])
    ]
    sparse: Annotated[bool, Field(description="Whether only one token ever follows.")]
    exact: Annotated[
        bool, Field(description="Whether every count is exact and no token is left out.")
    ]
    error_bound: Annotated[
        int,
        Field(
            description="Every count is wrong by at most this, and every token that is left out "
            "follows at most this often. 0 unless `max_support` is less than `prompt_count`.",
            examples=[0],
        ),
    ]
    next: Annotated[
        list[NextToken],
        Field(
            description="The tokens that follow, most frequent first, ties by id; empty when the "
            "prompt does not occur."
        ),
    ]
