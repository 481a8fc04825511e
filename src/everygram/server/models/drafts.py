"""Drafts for speculative decoding: requests and answers."""

from typing import Annotated

from pydantic import BaseModel, Field

from everygram.server.models.base import Echo, EchoBatch, Either, QueryField, Raw, Request


class DraftRequest(Request):
    """What a model has generated so far, and which drafts are wanted."""

    context: QueryField
    max_tokens: Annotated[int, Field(ge=1, le=1_024, description="Limit of a draft's tokens.")] = 8
    min_token_prob: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            allow_inf_nan=False,
            description="A draft ends before a token with which a smaller share of the suffix's "
            "occurrences goes on like the draft.",
        ),
    ] = 0.1
    max_suffix: Annotated[
        int, Field(ge=1, description="Look for suffixes of the context of up to so many tokens.")
    ] = 64
    max_factor: Annotated[
        float | None,
        Field(
            ge=0,
            allow_inf_nan=False,
            description="A draft has at most so many times as many tokens as the suffix; null: no "
            "such limit.",
        ),
    ] = 1.0
    lookback: Annotated[
        int,
        Field(
            ge=0,
            description="Also look for the suffix in so many of the last tokens of the context "
            "itself.",
        ),
    ] = 0
    raw: Raw = False
    echo: Echo = True


DraftBody = Either[DraftRequest, EchoBatch[DraftRequest]]


class Draft(BaseModel):
    """The tokens that may follow a context; `context_ids` is not there with `"echo": false`."""

    context_ids: Annotated[
        list[int], Field(description="The ids at the end of the context that were read.")
    ] = []
    suffix_len: Annotated[
        int, Field(description="So many of the last of them occur in the index.", examples=[2])
    ]
    count: Annotated[int, Field(description="How often they occur.", examples=[3714])]
    from_context: Annotated[
        bool, Field(description="Whether the draft is what followed them in the context itself.")
    ]
    token_ids: Annotated[list[int], Field(description="The draft.", examples=[[7587]])]
    tokens: Annotated[
        list[str] | None,
        Field(
            description="The text of each of these tokens; null when the index has no tokenizer.",
            examples=[[" processing"]],
        ),
    ]
    counts: Annotated[
        list[int],
        Field(
            description="How often the suffix occurs with the draft up to each token.",
            examples=[[1857]],
        ),
    ]
    probs: Annotated[
        list[float],
        Field(description="counts / count: the draft is right up to there.", examples=[[0.5]]),
    ]
    score: Annotated[
        float,
        Field(
            description="The tokens that a model of the corpus would accept on average.",
            examples=[0.5],
        ),
    ]
