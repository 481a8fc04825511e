"""What the service is sent and what it answers, as pydantic models.

Requests carry the parameters of `Index`' methods under their names, answers are what the results'
`as_dict()` gives: `index.py` and `results/` say what they mean, the descriptions here say it to
readers of `/docs`. Knows nothing of HTTP or of indexes.
"""

from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

# The occurrences one query may list: a client pages on, so that no answer outgrows the memory.
MAX_OCCURRENCES = 10_000

# pydantic puts the tag of the form it chose among the steps to a faulty value; `app` leaves these
# out of the pointers it shows.
ONE, BATCH, TEXT, IDS, ID = UNION_TAGS = (":one", ":batch", ":str", ":list", ":int")


class Request(BaseModel):
    """A request body: JSON types are taken as they are, unknown fields refused."""

    model_config = ConfigDict(strict=True, extra="forbid")


Q = TypeVar("Q", bound=Request)
R = TypeVar("R", bound=BaseModel)


def _tag_of_value(value: object) -> str:
    return f":{type(value).__name__}"


def _tag_of_body(body: object) -> str | None:
    if not isinstance(body, dict):
        return None
    return BATCH if "batch" in body else ONE


# A union is tried form by form, and complains about each: a tag picks the form that was meant.
Query = Annotated[
    Annotated[str, Tag(TEXT)] | Annotated[list[int], Field(fail_fast=True), Tag(IDS)],
    Discriminator(
        _tag_of_value,
        custom_error_type="query_type",
        custom_error_message="Expected a string or a list of token ids",
    ),
]
Continuation = Annotated[
    Annotated[str, Tag(TEXT)] | Annotated[int, Tag(ID)],
    Discriminator(
        _tag_of_value,
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


class CountRequest(Request):
    """An n-gram to count."""

    query: QueryField
    raw: Raw = False


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
    ] = None
    raw: Raw = False


class NtdRequest(Request):
    """A prompt whose next token is asked for."""

    prompt: QueryField
    top: Annotated[
        int | None,
        Field(ge=0, description="How many tokens to list, most frequent first; null lists all."),
    ] = 10
    max_support: Annotated[
        int | None,
        Field(
            ge=1,
            description="Of a prompt that occurs more often, look at about this many occurrences; "
            "`error_bound` then says how far counts may be off. Null: at all, exact.",
        ),
    ] = None
    raw: Raw = False


class LongestMatchesRequest(Request):
    """A text whose parts are looked for."""

    text: QueryField
    raw: Raw = False


class ScoreRequest(LongestMatchesRequest):
    """A text whose tokens' probabilities are asked for."""

    order: Annotated[
        int | None,
        Field(
            ge=1,
            description="The n of the n-gram model: a token's prompt is up to n − 1 tokens. "
            "Null: ∞-gram.",
            examples=[5],
        ),
    ] = None


class FindRequest(Request):
    """An n-gram to find, and which of its occurrences to list."""

    query: QueryField
    offset: Annotated[
        int,
        Field(ge=0, description="Occurrences to skip, in the fixed order (by segment and rank)."),
    ] = 0
    limit: Annotated[
        int, Field(ge=0, le=MAX_OCCURRENCES, description="Occurrences to list at most.")
    ] = 10
    sample: Annotated[
        int | None,
        Field(
            ge=0,
            le=MAX_OCCURRENCES,
            description="In place of `offset` and `limit`: list that many different occurrences, "
            "drawn at random.",
        ),
    ] = None
    seed: Annotated[
        int, Field(description="The same seed draws the same sample from the same index.")
    ] = 0
    raw: Raw = False


class DocumentRequest(Request):
    """A document, by its number or by an occurrence of a query: one of the two."""

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
    occurrence: Annotated[
        int,
        Field(description="Which occurrence of `query`, from 0, in the order of `find`."),
    ] = 0
    context: Annotated[
        int | None,
        Field(
            ge=0,
            description="Tokens to show on each side of the match (null: 50), or, by number, "
            "from the document's start (null: all).",
        ),
    ] = None
    raw: Raw = False


class Batch(Request, Generic[Q]):
    """Several queries of one kind, answered in order. One that is refused refuses them all."""

    # pydantic drops a generic model's docstring from the schemas of what is made of it.
    model_config = ConfigDict(json_schema_extra={"description": __doc__})

    batch: Annotated[
        list[Q], Field(fail_fast=True, description="The queries, each as it would be sent alone.")
    ]


B = TypeVar("B", bound=Request)

EXPECTED_BODY = 'Expected a JSON object: a query, or {"batch": [queries]}'
_Either = Annotated[
    Annotated[Q, Tag(ONE)] | Annotated[B, Tag(BATCH)],
    Discriminator(
        _tag_of_body,
        custom_error_type="body_type",
        custom_error_message=EXPECTED_BODY,
    ),
]
CountBody = _Either[CountRequest, Batch[CountRequest]]
ProbBody = _Either[ProbRequest, Batch[ProbRequest]]
NtdBody = _Either[NtdRequest, Batch[NtdRequest]]
ScoreBody = _Either[ScoreRequest, Batch[ScoreRequest]]
LongestMatchesBody = _Either[LongestMatchesRequest, Batch[LongestMatchesRequest]]
FindBody = _Either[FindRequest, Batch[FindRequest]]
DocumentBody = _Either[DocumentRequest, Batch[DocumentRequest]]


class Results(BaseModel, Generic[R]):
    """The answers to a batch."""

    model_config = ConfigDict(json_schema_extra={"description": __doc__})

    results: Annotated[list[R], Field(description="One answer a query, in the order sent.")]


class Result(BaseModel):
    """What the query became."""

    token_ids: Annotated[
        list[int],
        Field(description="The token ids that the query became.", examples=[[11802, 3303]]),
    ]
    tokens: Annotated[
        list[str] | None,
        Field(
            description="The same as text; null when the index has no tokenizer.",
            examples=[[" natural", " language"]],
        ),
    ]


class Count(Result):
    """How often a query occurs."""

    count: Annotated[
        int,
        Field(
            description="Occurrences, exact. The empty query counts every token and every "
            "document's end.",
            examples=[3714],
        ),
    ]


PROMPT_COUNT = "Occurrences of what was used of the prompt: the denominator."
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
            description="The same as text; null when the index has no tokenizer.",
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
            description="The same as text; null when the index has no tokenizer.",
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
            description="How far a count may be off, and how often a token that is left out may "
            "follow: 0 unless `max_support` is less than `prompt_count`.",
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


class Scores(Result):
    """The probability of each token of a text after those before it, a list entry a token."""

    order: Annotated[int | None, Field(description="n of the n-gram model; null: ∞-gram.")]
    suffix_lens: Annotated[
        list[int],
        Field(description="Tokens of the prompt that were used (0: none).", examples=[[0, 1]]),
    ]
    prompt_counts: Annotated[
        list[int], Field(description="Occurrences of that prompt.", examples=[[21000000, 5200]])
    ]
    continuation_counts: Annotated[
        list[int],
        Field(description="How often the token follows that prompt.", examples=[[5200, 3714]]),
    ]
    probs: Annotated[
        list[float | None],
        Field(
            description="continuation_count / prompt_count; null where the prompt does not occur.",
            examples=[[0.0002476, 0.7142308]],
        ),
    ]
    sparse: Annotated[
        list[bool],
        Field(
            description="Whether only one token ever follows the prompt.", examples=[[False, False]]
        ),
    ]


class LongestMatches(Result):
    """The longest match that starts at each token of a text, a list entry a token."""

    lengths: Annotated[
        list[int],
        Field(description="Tokens of the match; 0: nothing matches.", examples=[[2, 1]]),
    ]
    counts: Annotated[
        list[int], Field(description="Occurrences of that match.", examples=[[3714, 9100]])
    ]


class Occurrence(BaseModel):
    """One place that a query occurs at."""

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


class Matches(Result):
    """Where a query occurs."""

    count: Annotated[int, Field(description="Occurrences in all, listed or not.", examples=[3714])]
    intervals: Annotated[
        list[tuple[int, int]],
        Field(
            description="The half-open range [lo, hi) of ranks of each segment.",
            examples=[[[80120, 83834]]],
        ),
    ]
    occurrences: Annotated[list[Occurrence], Field(description="The occurrences asked for.")]


class Document(BaseModel):
    """A document, or the part of it around a match."""

    number: Annotated[int, Field(description="The document's number, from 0.")]
    metadata: Annotated[
        dict[str, Any], Field(description="Everything of the document's record but its text.")
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
            description="The same as text; null when the index has no tokenizer.",
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
        int | None, Field(description="Occurrences of the query in all; null by number.")
    ]


class IndexInfo(BaseModel):
    """What an index is."""

    name: Annotated[
        str, Field(description="Its name in this service's paths.", examples=["wikipedia"])
    ]
    num_documents: Annotated[int, Field(description="Documents, numbered from 0.")]
    num_tokens: Annotated[int, Field(description="Tokens, separators not counted.")]
    num_segments: Annotated[int, Field(description="Segments, each sorted on its own.")]
    bytes: Annotated[int, Field(description="Size on disk.")]
    dtype: Annotated[str, Field(description="Width of its token ids.", examples=["u16"])]
    separator: Annotated[
        int,
        Field(description="The id of a document's start and end.", examples=[65535]),
    ]
    vocab_size: Annotated[int, Field(description="Ids are in [0, vocab_size).", examples=[50257])]
    tokenizer: Annotated[
        str,
        Field(description="Where its tokenizer came from; none: it has none.", examples=["gpt2"]),
    ]
    tokenizer_sha256: Annotated[
        str | None, Field(description="SHA-256 of its tokenizer.json, where it has one.")
    ]
    query_prefix: Annotated[
        str,
        Field(
            description="Goes in front of a text query, unless `raw`, so that a word is looked "
            "up as it stands inside a sentence.",
            examples=[" "],
        ),
    ]
    format_version: Annotated[int, Field(description="Version of its format on disk.")]
    everygram_version: Annotated[
        str, Field(description="The everygram that built it.", examples=["0.1.0"])
    ]


class Indexes(BaseModel):
    """The indexes served."""

    indexes: Annotated[list[IndexInfo], Field(description="In the order they were given.")]


class Health(BaseModel):
    """That the service is ready."""

    status: Annotated[str, Field(description='"ok": every index is open and warm.')] = "ok"
    version: Annotated[str, Field(description="The everygram that serves.", examples=["0.1.0"])]


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
    """What every error looks like (RFC 9457)."""

    type: Annotated[
        str, Field(description="about:blank: the status says what kind of problem it is.")
    ] = "about:blank"
    title: Annotated[
        str, Field(description="The status in words.", examples=["Unprocessable Content"])
    ]
    status: Annotated[int, Field(description="The HTTP status.", examples=[422])]
    detail: Annotated[
        str,
        Field(
            description="What is wrong with this request, and the way out.",
            examples=["#/batch/3/query: Expected a string or a list of token ids, found 7"],
        ),
    ]
    errors: Annotated[
        list[Fault],
        Field(description="What is wrong where in the body, if its form is; else empty."),
    ] = []
