"""What is answered about a text: `score`, `longest_matches`, `novelty`."""

from typing import Annotated, Any

from everygram.server.indexes import ServedIndex
from everygram.server.models.base import Results
from everygram.server.models.texts import (
    LongestMatches,
    LongestMatchesBody,
    Novelty,
    NoveltyBody,
    NoveltyRequest,
    ScoreBody,
    Scores,
)
from everygram.server.routes.answering import answer, examples, query_router

router = query_router()


@router.post("/score", summary="Score a text", response_model=Scores | Results[Scores])
def score(
    index: ServedIndex,
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
    return answer(body, lambda q: index.score(q.text, order=q.order, raw=q.raw).as_dict())


@router.post(
    "/longest_matches",
    summary="Longest matches of a text",
    response_model=LongestMatches | Results[LongestMatches],
)
def longest_matches(
    index: ServedIndex,
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
    return answer(body, lambda q: index.longest_matches(q.text, raw=q.raw).as_dict())


@router.post("/novelty", summary="Novelty of a text", response_model=Novelty | Results[Novelty])
def novelty(
    index: ServedIndex,
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
        found = index.novelty(
            q.text, max_n=q.max_n, creativity_bounds=q.creativity_bounds, raw=q.raw
        )
        return found.as_dict()

    return answer(body, ask)
