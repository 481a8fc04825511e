"""Text as token ids, and token ids as text: requests and answers."""

from typing import Annotated

from pydantic import BaseModel, Field

from everygram.server.models.base import (
    Batch,
    Continuation,
    Either,
    Limited,
    QueryField,
    Raw,
    Request,
)


class EncodeRequest(Request):
    """A query whose token ids are wanted."""

    query: QueryField
    continuation: Annotated[
        Continuation | None,
        Field(
            description="A token after `query`, its text or id, as `prob` takes it: the last of "
            "the answer's.",
            examples=[" processing", 7587],
        ),
        Limited("max_text_characters"),
    ] = None
    raw: Raw = False


class DecodeRequest(Request):
    """Token ids whose text is wanted."""

    token_ids: Annotated[
        list[int],
        Field(
            fail_fast=True,
            description="The ids; separators among them are left out.",
            examples=[[11802, 3303]],
        ),
    ]


EncodeBody = Either[EncodeRequest, Batch[EncodeRequest]]
DecodeBody = Either[DecodeRequest, Batch[DecodeRequest]]


class Encoded(BaseModel):
    """The token ids that a query becomes."""

    token_ids: Annotated[list[int], Field(description="The token ids.", examples=[[11802, 3303]])]
    tokens: Annotated[
        list[str] | None,
        Field(
            description="The text of each of these tokens; null when the index has no tokenizer.",
            examples=[[" natural", " language"]],
        ),
    ]


class Decoded(BaseModel):
    """The text of token ids."""

    text: Annotated[str, Field(description="The text.", examples=[" natural language"])]
