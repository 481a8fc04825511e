"""Where a query occurs, and documents: requests and answers."""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from everygram.server.models.base import (
    Batch,
    Echo,
    EchoBatch,
    Either,
    Limited,
    Query,
    QueryField,
    Raw,
    Request,
    Result,
)

Context = Annotated[
    int | None,
    Field(
        ge=0,
        description="Give each occurrence its `parts`: its text, and that of so many tokens on "
        "each side. At most `max_context` (a setting of the service; by default 10,000).",
    ),
    Limited("max_context"),
]
Parts = Annotated[
    tuple[str, str, str] | None,
    Field(
        description="The text before the match, of it, and after it; null without a `context`.",
        examples=[["the study of ", "natural language", " has"]],
    ),
]


Offset = Annotated[
    int, Field(ge=0, description="How many occurrences to skip. Their order is fixed.")
]
Limit = Annotated[
    int,
    Field(
        ge=0,
        description="Limit of the occurrences to list. At most `max_occurrences` (a setting of "
        "the service; by default 10,000).",
    ),
    Limited("max_occurrences"),
]
Cursor = Annotated[
    str | None,
    Field(
        description="In place of `offset`: that of an earlier answer to the same question; list "
        "what follows. If the index has changed since, the answer is 409."
    ),
]
NextCursor = Annotated[
    str | None, Field(description="Where the next page starts; null if there is none.")
]
Sample = Annotated[
    int | None,
    Field(
        ge=0,
        description="In place of `offset` and `limit`: list that many different occurrences, "
        "drawn at random. At most `max_occurrences`.",
    ),
    Limited("max_occurrences"),
]
Seed = Annotated[int, Field(description="The same seed draws the same sample from the same index.")]


class FindRequest(Request):
    """An n-gram to find, and which of its occurrences to list."""

    query: QueryField
    offset: Offset = 0
    limit: Limit = 10
    cursor: Cursor = None
    sample: Sample = None
    seed: Seed = 0
    context: Context = None
    raw: Raw = False
    echo: Echo = True


class DocumentRequest(Request):
    """A document, by its number or by an occurrence of a query or a text (give one of them)."""

    number: Annotated[
        int | None, Field(description="The document's number, from 0.", examples=[0])
    ] = None
    query: Annotated[
        Query | None,
        Field(
            description="Text or token ids, as in `find`: the document of one of its occurrences.",
            examples=["natural language processing", [11802, 3303]],
        ),
    ] = None
    text: Annotated[
        str | None,
        Field(
            description="As in `find_text`: the document of one of its occurrences.",
            examples=["natural lang"],
        ),
        Limited("max_text_characters"),
    ] = None
    index: Annotated[
        int | None,
        Field(description="In a union, with `number`: the place of the document's index, from 0."),
    ] = None
    occurrence: Annotated[
        int,
        Field(
            description="Which occurrence, from 0, of `query`, in the order of `find`, or of "
            "`text`, in the order of `find_text`."
        ),
    ] = 0
    context: Annotated[
        int | None,
        Field(
            ge=0,
            description="Tokens to show on each side of the match (null: 50), or, by number, "
            "from the document's start (null: all).",
        ),
    ] = None
    ignore_case: Annotated[bool, Field(description="Of `text`: as in `find_text`.")] = False
    whole_words: Annotated[bool, Field(description="Of `text`: as in `find_text`.")] = False
    raw: Raw = False


FindBody = Either[FindRequest, EchoBatch[FindRequest]]
DocumentBody = Either[DocumentRequest, Batch[DocumentRequest]]


class Occurrence(BaseModel):
    """One place where a query occurs."""

    segment: Annotated[int, Field(description="The segment, from 0.")]
    rank: Annotated[int, Field(description="Index into the segment's suffix array.")]
    position: Annotated[int, Field(description="Token offset in the segment's stream.")]
    document: Annotated[int, Field(description="The document's number, from 0.")]
    offset: Annotated[
        int,
        Field(
            description="Token offset in the document; −1 for a query that starts with the "
            "separator before it."
        ),
    ]
    parts: Parts


IndexField = Annotated[
    int,
    Field(
        description="The place of the document's index in the union, from 0: whose number it is."
    ),
]
IndexName = Annotated[
    str, Field(description="The name of that index in this service's paths.", examples=["books"])
]


class UnionOccurrence(Occurrence):
    """One place where a query occurs in a union; segments are counted through all its indexes."""

    index: IndexField
    index_name: IndexName


class Matches(Result):
    """Where a query occurs."""

    count: Annotated[
        int, Field(description="The number of all occurrences, listed or not.", examples=[3714])
    ]
    intervals: Annotated[
        list[tuple[int, int]],
        Field(
            description="One half-open range [lo, hi) of ranks per segment.",
            examples=[[[80120, 83834]]],
        ),
    ]
    occurrences: Annotated[
        list[UnionOccurrence | Occurrence],
        Field(description="The occurrences that `offset` and `limit`, or `sample`, select."),
    ]
    cursor: NextCursor


class Document(BaseModel):
    """A document, or the part of it around a match."""

    number: Annotated[int, Field(description="The document's number, from 0.")]
    metadata: Annotated[
        dict[str, Any], Field(description="The document's record without its text.")
    ]
    length: Annotated[int, Field(description="Tokens of the whole document.", examples=[2048])]
    start: Annotated[
        int, Field(description="Where `token_ids` starts in the document's tokens.", examples=[0])
    ]
    token_ids: Annotated[
        list[int],
        Field(description="The document's tokens from `start` on.", examples=[[11802, 3303]]),
    ]
    text: Annotated[
        str | None,
        Field(
            description="The text of these tokens; null when the index has no tokenizer.",
            examples=["natural language"],
        ),
    ]
    match: Annotated[
        tuple[int, int] | None,
        Field(
            description="The half-open range of the match in the document's tokens; null by "
            "number.",
            examples=[[0, 2]],
        ),
    ]
    parts: Annotated[
        tuple[str, str, str] | None,
        Field(
            description="The text before the match, of it, and after it; null without match or "
            "tokenizer.",
            examples=[["", "natural language", ""]],
        ),
    ]
    occurrence: Annotated[
        int | None, Field(description="Which occurrence of the query this is; null by number.")
    ]
    count: Annotated[
        int | None, Field(description="The number of all occurrences of the query; null by number.")
    ]


class UnionDocument(Document):
    """A document of a union."""

    index: IndexField
    index_name: IndexName
