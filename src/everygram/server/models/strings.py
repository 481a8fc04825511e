"""Requests and answers about texts that are looked for however tokens divide them."""

from typing import Annotated

from pydantic import BaseModel, Field

from everygram.server.models.base import Batch, Either, Limited, Request
from everygram.server.models.documents import (
    Context,
    Cursor,
    IndexField,
    IndexName,
    Limit,
    NextCursor,
    Offset,
    Parts,
    Sample,
    Seed,
)


class CountTextRequest(Request):
    """A text to count."""

    text: Annotated[
        str,
        Field(
            description="What to look for: wherever these characters stand in a document, however "
            "tokens divide them. At most `max_text_characters` (a setting of the service; by "
            "default 10,000).",
            examples=["natural language"],
        ),
        Limited("max_text_characters"),
    ]
    ignore_case: Annotated[
        bool, Field(description="Whether upper and lower case are the same (simple case folding).")
    ] = False
    whole_words: Annotated[
        bool,
        Field(
            description="Only where no letter, mark, number or underscore stands on either side."
        ),
    ] = False


class TokenizationsRequest(CountTextRequest):
    """A text whose tokenizations to list."""

    limit: Annotated[
        int,
        Field(
            ge=0,
            description="Limit of the sequences to list. At most `max_occurrences` (a setting of "
            "the service; by default 10,000).",
        ),
        Limited("max_occurrences"),
    ] = 100


class FindTextRequest(CountTextRequest):
    """A text to find, and which of its occurrences to list."""

    offset: Offset = 0
    limit: Limit = 10
    cursor: Cursor = None
    sample: Sample = None
    seed: Seed = 0
    context: Context = None


CountTextBody = Either[CountTextRequest, Batch[CountTextRequest]]
TokenizationsBody = Either[TokenizationsRequest, Batch[TokenizationsRequest]]
FindTextBody = Either[FindTextRequest, Batch[FindTextRequest]]


class TextCount(BaseModel):
    """How often a text occurs, and in how many documents."""

    text: Annotated[str, Field(description="The text.", examples=["natural language"])]
    count: Annotated[
        int,
        Field(description="Its occurrences; overlapping ones all count.", examples=[50]),
    ]
    document_count: Annotated[
        int, Field(description="The documents that contain it.", examples=[21])
    ]


class Tokenization(BaseModel):
    """A sequence of tokens that the text is written with."""

    token_ids: Annotated[list[int], Field(description="The sequence.", examples=[[3288, 3303]])]
    tokens: Annotated[list[str], Field(description="The same as text.")]
    offset: Annotated[
        int, Field(description="The byte of its first token at which the text begins.")
    ]
    count: Annotated[int, Field(description="How often the text occurs like this.")]


class Tokenizations(BaseModel):
    """The sequences of tokens that a text is written with."""

    text: Annotated[str, Field(description="The text.", examples=["natural language"])]
    count: Annotated[int, Field(description="Its occurrences.", examples=[50])]
    tokenization_count: Annotated[int, Field(description="The number of all sequences.")]
    tokenizations: Annotated[
        list[Tokenization], Field(description="The most frequent ones, in this order.")
    ]
    other_count: Annotated[int, Field(description="Occurrences in sequences that are not listed.")]


class TextOccurrence(BaseModel):
    """One place at which a text occurs."""

    document: Annotated[int, Field(description="The document's number, from 0.")]
    start: Annotated[int, Field(description="Its first character in the document's text.")]
    end: Annotated[int, Field(description="The character after its last one.")]
    byte_start: Annotated[int, Field(description="The same in bytes of UTF-8.")]
    byte_end: Annotated[int, Field(description="The byte after its last one.")]
    token_start: Annotated[int, Field(description="The first token that has a part of it.")]
    token_end: Annotated[int, Field(description="The token after the last one.")]
    parts: Parts


class UnionTextOccurrence(TextOccurrence):
    """One place at which a text occurs in a union."""

    index: IndexField
    index_name: IndexName


class TextMatches(TextCount):
    """Where a text occurs."""

    occurrences: Annotated[
        list[UnionTextOccurrence | TextOccurrence],
        Field(description="The occurrences that `offset` and `limit`, or `sample`, select."),
    ]
    cursor: NextCursor
