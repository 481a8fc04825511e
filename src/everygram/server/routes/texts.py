"""What is answered about a text: `score`, `longest_matches`."""

from typing import Annotated, Any

from everygram.server.indexes import ServedIndex
from everygram.server.models.base import Results
from everygram.server.models.texts import LongestMatches, LongestMatchesBody, ScoreBody, Scores
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
