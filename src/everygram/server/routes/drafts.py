"""Drafts of what a model generates next: `draft`."""

import math
from functools import partial
from typing import Annotated, Any

from everygram.server.models.base import answers as answers_of
from everygram.server.models.drafts import Draft, DraftBody, DraftRequest
from everygram.server.routes.answering import Asked, AskedIndex, answers, examples, query_router

router = query_router()


@router.post("/draft", summary="Draft what follows", response_model=answers_of(Draft))
def draft(
    asked: AskedIndex,
    body: Annotated[
        DraftBody,
        examples(
            text={"context": "a new method of natural language"},
            token_ids={"context": [649, 11802, 3303], "max_tokens": 4},
            of_the_context_too={"context": [649, 11802, 649], "lookback": 1024, "max_factor": None},
        ),
    ],
) -> Any:
    """The tokens that most often follow a context's longest suffix, for a model to verify.

    For speculative decoding without a draft model (suffix decoding, arXiv 2411.04975).
    """
    return answers(body, partial(_draft, asked))


def _draft(asked: Asked, q: DraftRequest) -> dict[str, Any]:
    answer = asked.index.draft(
        asked.ids(q.context, q.raw, "context"),
        max_tokens=q.max_tokens,
        min_token_prob=q.min_token_prob,
        max_suffix=q.max_suffix,
        max_factor=math.inf if q.max_factor is None else q.max_factor,
        lookback=q.lookback,
    ).as_dict()
    if not (asked.echo and q.echo):
        del answer["context_ids"]
    return answer
