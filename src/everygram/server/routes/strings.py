"""Texts that are looked for however tokens divide them: `count_text`, `find_text`."""

from typing import Annotated, Any

from everygram.server.indexes import ServedIndex
from everygram.server.models.base import Results
from everygram.server.models.strings import (
    CountTextBody,
    FindTextBody,
    TextCount,
    TextMatches,
    Tokenizations,
    TokenizationsBody,
)
from everygram.server.routes.answering import answer, examples, query_router

router = query_router()


@router.post("/count_text", summary="Count a text", response_model=TextCount | Results[TextCount])
def count_text(
    index: ServedIndex,
    body: Annotated[
        CountTextBody,
        examples(
            text={"text": "natural lang"},
            whole_words_in_any_case={
                "text": "natural language",
                "ignore_case": True,
                "whole_words": True,
            },
        ),
    ],
) -> Any:
    """How often a text occurs, however tokens divide it, and in how many documents."""
    return answer(
        body,
        lambda q: index.find_text(
            q.text, limit=0, ignore_case=q.ignore_case, whole_words=q.whole_words
        ).as_dict(),
    )


@router.post(
    "/tokenizations",
    summary="List a text's tokenizations",
    response_model=Tokenizations | Results[Tokenizations],
)
def tokenizations(
    index: ServedIndex,
    body: Annotated[
        TokenizationsBody,
        examples(
            text={"text": "natural lang", "limit": 5},
            in_any_case={"text": "natural lang", "limit": 5, "ignore_case": True},
        ),
    ],
) -> Any:
    """The sequences of tokens that a text is written with, the most frequent first."""
    return answer(
        body,
        lambda q: index.tokenizations(
            q.text, limit=q.limit, ignore_case=q.ignore_case, whole_words=q.whole_words
        ).as_dict(),
    )


@router.post(
    "/find_text",
    summary="Find a text",
    response_model=TextMatches | Results[TextMatches],
)
def find_text(
    index: ServedIndex,
    body: Annotated[
        FindTextBody,
        examples(
            text={"text": "natural lang", "limit": 3},
            in_context={"text": "natural lang", "limit": 3, "context": 10},
            sample={"text": "natural lang", "sample": 5, "seed": 1},
        ),
    ],
) -> Any:
    """Where a text occurs, in characters, bytes and tokens of its documents."""
    return answer(
        body,
        lambda q: index.find_text(
            q.text,
            offset=q.offset,
            limit=q.limit,
            sample=q.sample,
            seed=q.seed,
            context=q.context,
            ignore_case=q.ignore_case,
            whole_words=q.whole_words,
        ).as_dict(),
    )
