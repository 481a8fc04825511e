"""Texts that are looked for however tokens divide them: `count_text`, `find_text`."""

from typing import Annotated, Any

from everygram.server import cursors, limits
from everygram.server.models import base
from everygram.server.models.strings import (
    CountTextBody,
    CountTextRequest,
    FindTextBody,
    FindTextRequest,
    TextCount,
    TextMatches,
    Tokenizations,
    TokenizationsBody,
)
from everygram.server.routes.answering import Asked, AskedIndex, answers, examples, query_router

router = query_router()


@router.post("/count_text", summary="Count a text", response_model=base.answers(TextCount))
def count_text(
    asked: AskedIndex,
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
    return answers(body, lambda q: _count(asked, q))


@router.post(
    "/tokenizations",
    summary="List a text's tokenizations",
    response_model=base.answers(Tokenizations),
)
def tokenizations(
    asked: AskedIndex,
    body: Annotated[
        TokenizationsBody,
        examples(
            text={"text": "natural lang", "limit": 5},
            in_any_case={"text": "natural lang", "limit": 5, "ignore_case": True},
        ),
    ],
) -> Any:
    """The sequences of tokens that a text is written with, the most frequent first."""
    return answers(
        body,
        lambda q: asked.index.tokenizations(
            q.text, limit=q.limit, ignore_case=q.ignore_case, whole_words=q.whole_words
        ).as_dict(),
    )


@router.post(
    "/find_text",
    summary="Find a text",
    response_model=base.answers(TextMatches),
)
def find_text(
    asked: AskedIndex,
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
    return answers(body, lambda q: _matches(asked, q))


def _count(asked: Asked, q: CountTextRequest) -> dict[str, Any]:
    found = asked.index.find_text(
        q.text, limit=0, ignore_case=q.ignore_case, whole_words=q.whole_words
    )
    return {"text": q.text, "count": found.count, "document_count": found.document_count}


def _matches(asked: Asked, q: FindTextRequest) -> dict[str, Any]:
    version = asked.index.version
    offset = cursors.start(q, version)
    limits.check_passages(q, q.limit if q.sample is None else q.sample, asked.settings)
    found = asked.index.find_text(
        q.text,
        offset=offset,
        limit=q.limit,
        sample=q.sample,
        seed=q.seed,
        context=q.context,
        ignore_case=q.ignore_case,
        whole_words=q.whole_words,
    )
    following = cursors.following(q, version, offset + len(found), len(found), found.count)
    return found.as_dict() | {"cursor": following}
