"""Requests and answers about a text, with a value for each of its tokens."""

from typing import Annotated

from pydantic import BaseModel, Field

from everygram.attribution.novelty import BOUNDS, MOST_N
from everygram.server.models.base import (
    Batch,
    Echo,
    EchoBatch,
    Either,
    QueryField,
    Raw,
    Request,
    Result,
)

Bound = Annotated[int, Field(ge=1, le=MOST_N)]


class LongestMatchesRequest(Request):
    """A text whose parts to look for in the index."""

    text: QueryField
    raw: Raw = False
    echo: Echo = True


class ScoreRequest(LongestMatchesRequest):
    """A text whose tokens to score, and the model to score them by."""

    order: Annotated[
        int | None,
        Field(
            ge=1,
            description="The n of the n-gram model: a token's prompt is up to n − 1 tokens. "
            "Null: ∞-gram.",
            examples=[5],
        ),
    ] = None


class NoveltyRequest(Request):
    """A text, to say how much of it is in the index and how much is new."""

    text: QueryField
    raw: Raw = False
    max_n: Annotated[
        int, Field(ge=1, le=MOST_N, description="Shares are given for n = 1 to this one.")
    ] = 20
    # (A list, whose default stands in the field.)
    creativity_bounds: list[Bound] = Field(
        default=list(BOUNDS),
        min_length=2,
        max_length=2,
        description="The lowest and the highest match length L of the creativity index.",
    )


ScoreBody = Either[ScoreRequest, EchoBatch[ScoreRequest]]
LongestMatchesBody = Either[LongestMatchesRequest, EchoBatch[LongestMatchesRequest]]
NoveltyBody = Either[NoveltyRequest, Batch[NoveltyRequest]]


class Scores(Result):
    """The probability of each token of a text after those before it: an entry per token."""

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
    """The longest match that starts at each token of a text: an entry per token."""

    lengths: Annotated[
        list[int],
        Field(description="Tokens of the match; 0: nothing matches.", examples=[[2, 1]]),
    ]
    counts: Annotated[
        list[int], Field(description="Occurrences of that match.", examples=[[3714, 9100]])
    ]


class Novelty(BaseModel):
    """How much of a text is in the index and how much is new; entry n − 1 of a list is of n."""

    num_texts: Annotated[int, Field(description="Texts: one.", examples=[1])]
    num_tokens: Annotated[int, Field(description="Tokens of the text.", examples=[8])]
    longest: Annotated[int, Field(description="Tokens of its longest match.", examples=[4])]
    creativity_index: Annotated[
        float | None,
        Field(
            description="The sum over L of the share of tokens that are in no match of L tokens or "
            "more (arXiv 2410.04265): from 0 to the number of L; null of no tokens.",
            examples=[0.5],
        ),
    ]
    creativity_bounds: Annotated[
        list[int], Field(description="The lowest and the highest L.", examples=[[3, 5]])
    ]
    unmatched_tokens: Annotated[
        int,
        Field(
            description="The tokens that are in no match of L tokens or more, summed over L.",
            examples=[4],
        ),
    ]
    new: Annotated[
        list[float | None],
        Field(
            description="new_ngrams / num_ngrams; null where the text is shorter than n.",
            examples=[[0.0, 0.5]],
        ),
    ]
    new_ngrams: Annotated[
        list[int],
        Field(description="n-grams of the text that do not occur.", examples=[[0, 4]]),
    ]
    num_ngrams: Annotated[
        list[int],
        Field(description="n-grams of the text: one per place.", examples=[[9, 8]]),
    ]
    covered: Annotated[
        list[float | None],
        Field(description="covered_tokens / num_tokens; null of no tokens.", examples=[[1.0, 0.5]]),
    ]
    covered_tokens: Annotated[
        list[int],
        Field(description="Tokens inside matches of n tokens or more.", examples=[[8, 4]]),
    ]
