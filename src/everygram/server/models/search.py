"""Search for documents by expressions: requests and answers."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Discriminator, Field, Tag

from everygram.server.models.base import (
    IDS,
    TEXT,
    Batch,
    Either,
    Limited,
    Query,
    Request,
    tag_of_value,
)
from everygram.server.models.documents import IndexField, IndexName

Expression = Annotated[
    Annotated[str, Tag(TEXT)]
    | Annotated[
        list[Annotated[list[Query], Field(fail_fast=True)]], Field(fail_fast=True), Tag(IDS)
    ],
    Discriminator(
        tag_of_value,
        custom_error_type="expression_type",
        custom_error_message="Expected a string, or a list of clauses",
    ),
]
Within = Annotated[
    Annotated[Literal["document"], Tag(TEXT)] | Annotated[int, Tag(":int")],
    Discriminator(
        tag_of_value,
        custom_error_type="within_type",
        custom_error_message='Expected "document" or a number of tokens',
    ),
]


class SearchRequest(Request):
    """An expression, and which of the documents that it matches to list."""

    expression: Annotated[
        Expression,
        Field(
            description='Words and "phrases" (whole words, in any case), text:"…" (as written), '
            'tokens:"…" (the tokens the text becomes), ids:1,2,3 and field:value of the metadata, '
            "joined by AND, OR, NOT, NEAR/5 (at most 5 tokens between), BEFORE/5 and parentheses. "
            "Or a list of clauses (AND), each a list of terms (OR), each a string (as tokens:) or "
            "a list of token ids.",
            examples=["language AND (model OR grammar)", [["language"], [[2746], [23491]]]],
        ),
        Limited("max_text_characters"),
    ]
    within: Annotated[
        Within,
        Field(
            description="The unit: documents, or windows of at most that many tokens.",
            examples=["document", 20],
        ),
    ] = "document"
    where: Annotated[
        dict[str, str | int | float | bool | None] | None,
        Field(
            min_length=1,
            max_length=1,
            description="Only documents with this value in this field of their metadata.",
            examples=[{"source": "wikipedia"}],
        ),
    ] = None
    limit: Annotated[
        int,
        Field(
            ge=0,
            description="Limit of the documents to list. At most `max_documents` (a setting of "
            "the service; by default 1,000).",
        ),
        Limited("max_documents"),
    ] = 10
    cursor: Annotated[
        str | None,
        Field(
            description="That of an earlier answer to the same question: list what follows. If "
            "the index has changed since, the answer is 409."
        ),
    ] = None
    sample: Annotated[
        int | None,
        Field(
            ge=0,
            description="In place of pages: list that many matching documents, drawn at random. "
            "At most `max_documents`.",
        ),
        Limited("max_documents"),
    ] = None
    seed: Annotated[int, Field(description="Seed of what is drawn at random.")] = 0
    order: Annotated[
        Literal["document", "matches", "bm25"],
        Field(
            description="By document number, by number of matches, or by relevance (Okapi BM25)."
        ),
    ] = "document"
    context: Annotated[
        int,
        Field(
            ge=0,
            description="Tokens on each side of a match in a snippet. At most `max_context` (a "
            "setting of the service; by default 10,000).",
        ),
        Limited("max_context"),
    ] = 16
    max_clause_freq: Annotated[
        int | None,
        Field(
            ge=1,
            description="If the rarest clause may occur more often, a sample of the documents is "
            "evaluated; `error_bound` says how far numbers may be off. Null: exact.",
        ),
    ] = None
    k1: Annotated[float, Field(ge=0, allow_inf_nan=False, description="k1 of BM25.")] = 1.2
    b: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, description="b of BM25.")] = 0.75


SearchBody = Either[SearchRequest, Batch[SearchRequest]]


class Span(BaseModel):
    """One occurrence of a term in a document."""

    start: Annotated[
        int | None,
        Field(description="Its first character in the document's text; null without a tokenizer."),
    ]
    end: Annotated[int | None, Field(description="The character after its last one.")]
    token_start: Annotated[int, Field(description="The first token that has a part of it.")]
    token_end: Annotated[int, Field(description="The token after the last one.")]
    term: Annotated[int, Field(description="Its term: a place in `terms`.")]


class Hit(BaseModel):
    """A document that matches."""

    document: Annotated[int, Field(description="The document's number, from 0.")]
    metadata: Annotated[
        dict[str, Any], Field(description="The document's record without its text.")
    ]
    length: Annotated[int, Field(description="Tokens of the document.")]
    occurrence_count: Annotated[int, Field(description="Its `spans`, or its windows.")]
    score: Annotated[float | None, Field(description="BM25; null in another order.")]
    spans: Annotated[list[Span], Field(description="All occurrences that take part, by place.")]
    windows: Annotated[
        list[tuple[int, int]] | None,
        Field(description="Windows as [from, to) in tokens; null where documents are the unit."),
    ]
    snippet: Annotated[
        str | None,
        Field(description="The text around the first spans; null without a tokenizer."),
    ]
    marks: Annotated[
        list[tuple[int, int]],
        Field(description="Where spans are in the snippet: [from, to) in characters."),
    ]


class UnionHit(Hit):
    """A document of a union that matches."""

    index: IndexField
    index_name: IndexName


class TermCount(BaseModel):
    """A term of the expression."""

    term: Annotated[str, Field(description="The term.", examples=["language"])]
    count: Annotated[
        int, Field(description="Its occurrences that take part in all matches.", examples=[3737])
    ]


class Hits(BaseModel):
    """What an expression matches."""

    expression: Annotated[str, Field(description="The expression as it was understood.")]
    within: Annotated[str | int, Field(description='"document", or the most tokens of a window.')]
    unit: Annotated[
        str, Field(description='What `occurrence_count` counts: "occurrences" or "windows".')
    ]
    document_count: Annotated[int, Field(description="All documents that match.")]
    occurrence_count: Annotated[
        int, Field(description="All occurrences of terms in them, or all windows.")
    ]
    exact: Annotated[bool, Field(description="False: the numbers are estimates.")]
    error_bound: Annotated[
        int, Field(description="How far these may be off (documents, or windows; 95 %).")
    ]
    terms: Annotated[list[TermCount], Field(description="The terms, in the expression's order.")]
    order: Annotated[str, Field(description="The order of the hits.")]
    hits: Annotated[list[UnionHit | Hit], Field(description="The documents that were asked for.")]
    cursor: Annotated[
        str | None, Field(description="Where the next page starts; null if there is none.")
    ]
