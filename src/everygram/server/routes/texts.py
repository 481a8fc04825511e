"""What is answered about a text: `score`, `longest_matches`, `novelty`."""

from typing import Annotated, Any

from everygram.server.models import base
from everygram.server.models.texts import (
    LongestMatches,
    LongestMatchesBody,
    Novelty,
    NoveltyBody,
    NoveltyRequest,
    ScoreBody,
    Scores,
)
from everygram.server.routes.answering import AskedIndex, answers, examples, query_router

router = query_router()


@router.post("/score", summary="Score a text", response_model=base.answers(Scores))
def score(
    asked: AskedIndex,
    body: Annotated[
        ScoreBody,
        examples(
            text={"text": "a new method of natural language processing"},
            five_gram={"text": "a new method of natural language processing", "order": 5},
            token_ids={"text": [649, 11802, 3303]},
        ),
    ],
) -> Any:
    """The probability of every token of a text after those before it.

    By the ∞-gram model, or the n-gram model of `order` n. A separator in the text starts a new
    document.
    """
    return answers(
        body,
        lambda q: asked.index.score(asked.ids(q.text, q.raw, "text"), order=q.order).as_dict(
            echo=asked.echo and q.echo
        ),
    )


@router.post(
    "/longest_matches",
    summary="Longest matches of a text",
    response_model=base.answers(LongestMatches),
)
def longest_matches(
    asked: AskedIndex,
    body: Annotated[
        LongestMatchesBody,
        examples(
            text={"text": "a new method of natural language processing"},
            token_ids={"text": [649, 11802, 3303]},
        ),
    ],
) -> Any:
    """For every token of a text the longest match that starts there, and how often it occurs.

    What decontamination and attribution start from: which parts of a text are in the corpus.
    """
    return answers(
        body,
        lambda q: asked.index.longest_matches(asked.ids(q.text, q.raw, "text")).as_dict(
            echo=asked.echo and q.echo
        ),
    )


@router.post("/novelty", summary="Novelty of a text", response_model=base.answers(Novelty))
def novelty(
    asked: AskedIndex,
    body: Annotated[
        NoveltyBody,
        examples(
            text={"text": "a new method of natural language processing"},
            bounds={"text": [649, 11802, 3303], "max_n": 5, "creativity_bounds": [2, 6]},
        ),
    ],
) -> Any:
    """How much of a text the index has verbatim, and how much of it is new.

    For n = 1 to `max_n`: the share of its tokens inside matches of n tokens or more, and the share
    of its n-grams that do not occur; and the creativity index. A separator in the text starts a new
    document.
    """

    def ask(q: NoveltyRequest) -> dict[str, Any]:
        ids = asked.ids(q.text, q.raw, "text")
        found = asked.index.novelty(ids, max_n=q.max_n, creativity_bounds=q.creativity_bounds)
        return found.as_dict()

    return answers(body, ask)
