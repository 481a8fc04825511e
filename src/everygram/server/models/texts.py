"""Requests and answers about a text, with a value for each of its tokens."""

from typing import Annotated

from pydantic import Field

from everygram.server.models.base import Batch, Either, QueryField, Raw, Request, Result


class LongestMatchesRequest(Request):
    """A text whose parts to look for in the index."""

    text: QueryField
    raw: Raw = False


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


ScoreBody = Either[ScoreRequest, Batch[ScoreRequest]]
LongestMatchesBody = Either[LongestMatchesRequest, Batch[LongestMatchesRequest]]


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
