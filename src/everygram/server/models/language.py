"""Language models: requests and answers."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from everygram.server.models.base import (
    Batch,
    Continuation,
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

Number = Annotated[float, Field(allow_inf_nan=False)]

# (Those of `lm.SMOOTHINGS`, which a test compares.)
Smoothing = Literal["modified-kneser-ney", "stupid-backoff", "infgram", "infgram-floor"]


class Model(Request):
    """A language model, as `Index.language_model` makes it."""

    smoothing: Annotated[
        Smoothing,
        Field(
            description="modified-kneser-ney (needs an index that `everygram prepare` has "
            "prepared), stupid-backoff (scores that do not sum to 1), infgram (tokens that never "
            "follow have probability 0) or infgram-floor (∞-gram mixed with a lower model)."
        ),
    ] = "modified-kneser-ney"
    order: Annotated[
        int | None,
        Field(ge=1, description="n of the n-gram model; null: contexts of any length."),
    ] = None
    discount_fallback: Annotated[
        list[Number] | None,
        Field(
            min_length=3,
            max_length=3,
            description="Of modified-kneser-ney: the three discounts of a level that has none.",
        ),
    ] = None
    kenlm_compat: Annotated[
        bool,
        Field(
            description="Of modified-kneser-ney with an order: count one n-gram per level as "
            "`lmplz` does, wrongly."
        ),
    ] = False
    weights: Annotated[
        list[Number] | None,
        Field(
            min_length=2,
            max_length=2,
            description="Of infgram-floor: the weight of the ∞-gram where only one token ever "
            "follows, and elsewhere, each from 0 to less than 1.",
        ),
    ] = None


ModelField = Annotated[
    Model,
    Field(
        default_factory=Model,
        description="The language model; by default modified-kneser-ney of no order.",
        examples=[{"smoothing": "infgram-floor"}, {"order": 5}],
    ),
]


class LmProbRequest(Request):
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
    model: ModelField
    raw: Raw = False
    echo: Echo = True


class LogProbsRequest(Request):
    """A text, whose tokens' probabilities are wanted."""

    text: QueryField
    document_start: Annotated[
        bool,
        Field(
            description="Whether the first token stands at the start of a document; otherwise it "
            "stands after nothing."
        ),
    ] = False
    model: ModelField
    raw: Raw = False
    echo: Echo = True


class NextProbsRequest(Request):
    """A prompt, and how much of the distribution of its next token to list."""

    prompt: QueryField
    top: Annotated[
        int | None,
        Limited("max_top"),
        Field(ge=0, description="How many tokens to list, the most likely first; null lists all."),
    ] = 10
    model: ModelField
    raw: Raw = False
    echo: Echo = True


class LongestSuffixRequest(Request):
    """A prompt, of which the longest suffix that occurs is looked for."""

    prompt: QueryField
    raw: Raw = False
    echo: Echo = True


class PerplexityRequest(Request):
    """Texts, each of them a document, to say how well a model predicts them."""

    texts: Annotated[
        list[Query],
        Field(
            fail_fast=True,
            description="Texts, encoded as documents of the index are, or lists of token ids.",
            examples=[["natural language processing is a field"], [[11802, 3303]]],
        ),
    ]
    document_end: Annotated[
        bool, Field(description="Whether the end of each text is predicted, too.")
    ] = False
    model: ModelField


class SampleRequest(Request):
    """A prompt, and how tokens after it are drawn."""

    prompt: Annotated[
        Query,
        Field(
            description="As in `ntd`; empty: nothing stands before. The separator's id alone: the "
            "start of a document.",
            examples=["natural language", [11802, 3303]],
        ),
    ] = ""
    max_tokens: Annotated[
        int,
        Limited("max_query_tokens"),
        Field(ge=0, description="Stop after so many tokens, if the document does not end before."),
    ] = 100
    temperature: Annotated[
        Number,
        Field(
            ge=0,
            description="Probabilities are raised to 1 / temperature; 0 takes the most likely "
            "token, of equals that with the lowest id.",
        ),
    ] = 1.0
    top_k: Annotated[
        int | None, Field(ge=1, description="Draw from the so many most likely tokens alone.")
    ] = None
    top_p: Annotated[
        Number | None,
        Field(
            gt=0,
            le=1,
            description="Draw from the fewest most likely tokens that have this probability.",
        ),
    ] = None
    max_context: Annotated[
        int | None,
        Field(
            ge=0,
            description="The model sees so many of the last tokens: it soon copies a document "
            "without a bound and without an order.",
        ),
    ] = None
    seed: Annotated[
        int | None,
        Field(
            description="The same seed draws the same tokens from the same index; null: a new one."
        ),
    ] = None
    number: Annotated[
        int,
        Field(
            ge=0,
            description="Which of several samples with this seed: each has random numbers of its "
            "own.",
        ),
    ] = 0
    model: ModelField
    raw: Raw = False
    echo: Echo = True


LmProbBody = Either[LmProbRequest, EchoBatch[LmProbRequest]]
LogProbsBody = Either[LogProbsRequest, EchoBatch[LogProbsRequest]]
NextProbsBody = Either[NextProbsRequest, EchoBatch[NextProbsRequest]]
LongestSuffixBody = Either[LongestSuffixRequest, EchoBatch[LongestSuffixRequest]]
PerplexityBody = Either[PerplexityRequest, Batch[PerplexityRequest]]
SampleBody = Either[SampleRequest, EchoBatch[SampleRequest]]


class LmProb(Result):
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
    prob: Annotated[
        float,
        Field(description="Its probability; a score with stupid-backoff.", examples=[0.31]),
    ]


class LogProbs(Result):
    """The probability of each token of a text after those before it: an entry per token."""

    log_probs: Annotated[
        list[float | None],
        Field(
            description="ln of the probability, in nats; null: the probability is 0.",
            examples=[[-9.2, -1.25]],
        ),
    ]


class NextProb(BaseModel):
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
    prob: Annotated[float, Field(description="Its probability.", examples=[0.31])]


class NextProbs(Result):
    """The distribution of the token after a prompt."""

    normalized: Annotated[
        bool, Field(description="Whether all probabilities sum to 1 (scores do not).")
    ]
    next: Annotated[
        list[NextProb],
        Field(
            description="The most likely tokens first, ties by id. A token that is not there with "
            "`top` null has probability 0."
        ),
    ]


class LongestSuffix(Result):
    """How much of a prompt occurs."""

    suffix_len: Annotated[
        int, Field(description="Tokens of its longest suffix that occurs (0: none).", examples=[2])
    ]


_NULL = "null: not known, of token ids"


class Perplexity(BaseModel):
    """How well a language model predicts texts; what is infinite or undefined is null."""

    documents: Annotated[int, Field(description="Texts.", examples=[1])]
    tokens: Annotated[
        int, Field(description="What is predicted: tokens, and ends if they count.", examples=[6])
    ]
    words: Annotated[int | None, Field(description=f"Parts between white space; {_NULL}.")]
    bytes: Annotated[int | None, Field(description=f"Bytes of the texts in UTF-8; {_NULL}.")]
    log_likelihood: Annotated[
        float | None,
        Field(
            description="The sum of ln p, in nats; null: −∞, a token has probability 0.",
            examples=[-27.4],
        ),
    ]
    perplexity: Annotated[
        float | None, Field(description="Per token: e to the mean of −ln p.", examples=[96.2])
    ]
    word_perplexity: Annotated[float | None, Field(description="The same per word.")]
    byte_perplexity: Annotated[float | None, Field(description="The same per byte.")]
    bits_per_byte: Annotated[float | None, Field(description="The mean of −log2 p per byte.")]
    zeros: Annotated[int, Field(description="Tokens that have probability 0.", examples=[0])]
    log_likelihood_without_zeros: Annotated[
        float, Field(description="The sum of ln p over the others.", examples=[-27.4])
    ]
    perplexity_without_zeros: Annotated[
        float | None, Field(description="Per token over the others: no measure of the whole.")
    ]


class Sample(BaseModel):
    """What was drawn after a prompt; the prompt itself is not there with `"echo": false`."""

    prompt_ids: Annotated[
        list[int], Field(description="The token ids that the prompt became.", examples=[[11802]])
    ] = []
    prompt: Annotated[
        str | None,
        Field(description="The same as text; null when the index has no tokenizer."),
    ] = None
    token_ids: Annotated[list[int], Field(description="What was drawn.", examples=[[3303]])]
    tokens: Annotated[
        list[str] | None,
        Field(
            description="The text of each of these tokens; null when the index has no tokenizer.",
            examples=[[" language"]],
        ),
    ]
    text: Annotated[
        str | None, Field(description="What was drawn, as text that continues the prompt.")
    ]
    log_probs: Annotated[
        list[float],
        Field(
            description="ln of the probability of each token, and of the document's end if it was "
            "drawn, in nats: the model's own, whatever temperature, top_k and top_p made of it."
        ),
    ]
    log_prob: Annotated[float, Field(description="Their sum.")]
    finished: Annotated[
        Literal["document_end", "max_tokens"], Field(description="Why there are no more.")
    ]
