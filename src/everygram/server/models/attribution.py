"""Where the words of a text come from: requests and answers."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from everygram.attribution.text import DELIMITERS
from everygram.server.models.base import (
    Echo,
    EchoBatch,
    Either,
    Limited,
    QueryField,
    Raw,
    Request,
    Result,
)
from everygram.server.models.documents import IndexField, IndexName

Delimiter = Annotated[str, Field(min_length=1)]
Around = Annotated[int, Field(ge=0)]


class AttributionRequest(Request):
    """A text to trace, and which of its spans and documents to give."""

    text: QueryField
    prompt: Annotated[
        str | None,
        Field(
            description="What the text answers: documents are ranked by their relevance to both.",
            examples=["What is natural language processing?"],
        ),
    ] = None
    min_length: Annotated[int, Field(ge=1, description="The least tokens of a span.")] = 1
    max_count: Annotated[
        int | None,
        Field(ge=1, description="The most occurrences of a span in the corpus. Null: no limit."),
    ] = 1_000_000
    density: Annotated[
        float | None,
        Field(
            ge=0,
            allow_inf_nan=False,
            description="The most spans to keep, per token of the text. Null: all.",
        ),
    ] = 0.05
    rank_by: Annotated[
        Literal["unigram_log_prob", "length"],
        Field(description="Keep the spans of the rarest tokens, or the longest."),
    ] = "unigram_log_prob"
    # (Lists, whose defaults stand in a field.)
    delimiters: list[Delimiter] = Field(
        default=list(DELIMITERS),
        max_length=1_000,
        fail_fast=True,
        description="No span goes on after a token that ends with one of these, or that has one "
        "of white space anywhere.",
        examples=[["\n", "."]],
    )
    whole_words: Annotated[
        bool, Field(description="Whether spans have whole words only, or begin and end anywhere.")
    ] = True
    documents: Annotated[
        int,
        Field(
            ge=0,
            description="The most documents to give of a span; drawn at random if it has more. At "
            "most `max_documents` (a setting of the service; by default 1,000).",
        ),
        Limited("max_documents"),
    ] = 10
    context: Annotated[list[Around], Limited("max_context")] = Field(
        default=[250, 100, 40],
        min_length=3,
        max_length=3,
        description="Tokens on each side of a match, for `text`, `medium` and `snippet`. The "
        "relevance of a document is that of `text`. At most `max_context` (a setting of the "
        "service; by default 10,000) each.",
    )
    seed: Annotated[
        int, Field(description="The same seed draws the same documents from the same index.")
    ] = 0
    raw: Raw = False
    echo: Echo = True


AttributionBody = Either[AttributionRequest, EchoBatch[AttributionRequest]]

Start = Annotated[
    int | None,
    Field(description="Its first character; null without a tokenizer.", examples=[4]),
]
End = Annotated[int | None, Field(description="The character after its last.", examples=[20])]
ByteStart = Annotated[
    int | None,
    Field(description="Its first byte in UTF-8; null without a tokenizer.", examples=[4]),
]
ByteEnd = Annotated[int | None, Field(description="The byte after its last.", examples=[20])]
TokenStart = Annotated[int, Field(description="Its first token.", examples=[1])]
TokenEnd = Annotated[int, Field(description="The token after its last.", examples=[3])]
Number = Annotated[int, Field(description="The document's number, from 0.")]
Length = Annotated[int, Field(description="Tokens of the document.", examples=[2048])]
Metadata = Annotated[dict[str, Any], Field(description="The document's record without its text.")]
Relevance = Annotated[
    str | None,
    Field(
        description='"high" for a score of 0.7 or more, "medium" of 0.5 or more, else "low"; null '
        "without a tokenizer.",
        examples=["medium"],
    ),
]
Score = Annotated[
    float | None,
    Field(
        description="BM25 of what is around the document's matches, for the words of prompt and "
        "text, divided by 0.18 times the text's characters.",
        examples=[0.61],
    ),
]
MATCH = Field(description="The match in `text`: [from, to) in characters.", examples=[[13, 29]])


class Surroundings(BaseModel):
    """A match and the tokens on each side of it."""

    text: Annotated[
        str, Field(description="What they spell.", examples=["the study of natural language has"])
    ]
    match: Annotated[tuple[int, int], MATCH]


class SpanDocument(BaseModel):
    """A document that has a span; places are in the document."""

    number: Number
    start: Start
    end: End
    byte_start: ByteStart
    byte_end: ByteEnd
    token_start: TokenStart
    token_end: TokenEnd
    length: Length
    metadata: Metadata
    relevance: Relevance
    score: Score
    text: Annotated[
        str | None,
        Field(
            description="The match and the tokens around it, as many as the first of `context`; "
            "null without a tokenizer."
        ),
    ]
    match: Annotated[tuple[int, int] | None, MATCH]
    medium: Annotated[
        Surroundings | None, Field(description="The same for the second of `context`.")
    ]
    snippet: Annotated[
        Surroundings | None, Field(description="The same for the third of `context`.")
    ]


class UnionSpanDocument(SpanDocument):
    """A document of a union that has a span."""

    index: IndexField
    index_name: IndexName


class TextSpan(BaseModel):
    """A part of the text; places are in the text."""

    start: Start
    end: End
    byte_start: ByteStart
    byte_end: ByteEnd
    token_start: TokenStart
    token_end: TokenEnd
    text: Annotated[
        str | None, Field(description="Its characters.", examples=[" natural language"])
    ]


class AttributedSpan(TextSpan):
    """A part of the text that the corpus has verbatim; places are in the text."""

    count: Annotated[
        int, Field(description="How often its tokens occur in the corpus.", examples=[3714])
    ]
    document_count: Annotated[int, Field(description="In how many documents.", examples=[1290])]
    unigram_log_prob: Annotated[
        float,
        Field(
            description="The sum of its tokens' log-probabilities as unigrams, in nats: the lower, "
            "the rarer.",
            examples=[-17.25],
        ),
    ]
    documents: Annotated[
        list[UnionSpanDocument | SpanDocument],
        Field(description="Documents that have it, the most relevant first."),
    ]


class MergedSpan(TextSpan):
    """Spans that overlap, as one; places are in the text."""

    spans: Annotated[list[int], Field(description="Places in `spans`.", examples=[[0, 1]])]


class SourceDocument(BaseModel):
    """A document of any of the spans."""

    number: Number
    length: Length
    metadata: Metadata
    relevance: Relevance
    score: Score
    spans: Annotated[list[int], Field(description="Places in `spans` of those it was given for.")]


class UnionSourceDocument(SourceDocument):
    """A document of a union, of any of the spans."""

    index: IndexField
    index_name: IndexName


class AttributionOptions(BaseModel):
    """Which spans and documents are given."""

    min_length: Annotated[int, Field(description="As in the request.")]
    max_count: Annotated[int | None, Field(description="As in the request.")]
    density: Annotated[float | None, Field(description="As in the request.")]
    rank_by: Annotated[str, Field(description="As in the request.")]
    delimiters: Annotated[list[str], Field(description="As in the request.")]
    whole_words: Annotated[bool, Field(description="As in the request.")]
    documents: Annotated[int, Field(description="As in the request.")]
    context: Annotated[list[int], Field(description="As in the request.")]
    seed: Annotated[int, Field(description="As in the request.")]
    prompt: Annotated[str | None, Field(description="As in the request.")]


class AttributionIndex(BaseModel):
    """An index, as it was when it was asked."""

    name: Annotated[str, Field(description="The index's name.", examples=["books"])]
    version: Annotated[str | int, Field(description="Its version: another one after each change.")]
    num_documents: Annotated[int, Field(description="Its documents.")]
    num_tokens: Annotated[int, Field(description="Its tokens.")]
    tokenizer: Annotated[
        str, Field(description="Where its tokenizer came from.", examples=["gpt2/tokenizer.json"])
    ]


class Attribution(Result):
    """The spans of a text that the corpus has verbatim, and documents that have them."""

    text: Annotated[
        str | None,
        Field(
            description="What the text's tokens spell, in which places are counted: the text as "
            "given, unless the tokenizer changes texts; null without a tokenizer."
        ),
    ]
    spans: Annotated[list[AttributedSpan], Field(description="The spans that were kept, by place.")]
    span_count: Annotated[int, Field(description="How many spans there were.", examples=[12])]
    merged_spans: Annotated[
        list[MergedSpan],
        Field(description="The spans by place, those that share tokens as one."),
    ]
    documents: Annotated[
        list[UnionSourceDocument | SourceDocument],
        Field(description="The documents of all spans, the most relevant first."),
    ]
    options: Annotated[AttributionOptions, Field(description="How the text was traced.")]
    index: Annotated[AttributionIndex, Field(description="What the index was.")]
