"""Text as token ids, and token ids as text: `encode`, `decode`."""

from functools import partial
from typing import Annotated, Any

from everygram.server.models.base import answers as answers_of
from everygram.server.models.encoding import (
    DecodeBody,
    Decoded,
    DecodeRequest,
    EncodeBody,
    Encoded,
    EncodeRequest,
)
from everygram.server.routes.answering import Asked, AskedIndex, answers, examples, query_router

router = query_router()


@router.post("/encode", summary="Encode a query", response_model=answers_of(Encoded))
def encode(
    asked: AskedIndex,
    body: Annotated[
        EncodeBody,
        examples(
            text={"query": "natural language processing"},
            at_the_start_of_a_text={"query": "natural language processing", "raw": True},
            with_continuation={"query": "natural language", "continuation": "processing"},
        ),
    ],
) -> Any:
    """The token ids that a query becomes, and what each of them is as text."""
    return answers(body, partial(_encoded, asked))


def _encoded(asked: Asked, q: EncodeRequest) -> dict[str, Any]:
    index = asked.index
    ids = asked.ids(q.query, q.raw)
    if q.continuation is not None:
        ids = index.encode_prob(ids, q.continuation, raw=q.raw).tolist()
    # (To count them costs next to nothing, and the count knows its tokens' texts.)
    found: dict[str, Any] = index.count(ids).as_dict()
    del found["count"]
    return found


@router.post("/decode", summary="Decode token ids", response_model=answers_of(Decoded))
def decode(
    asked: AskedIndex,
    body: Annotated[
        DecodeBody,
        examples(
            token_ids={"token_ids": [11802, 3303]},
            one_token={"token_ids": [7587]},
        ),
    ],
) -> Any:
    """The text of token ids, as a document with these tokens has it. Separators are left out."""
    return answers(body, partial(_decoded, asked))


def _decoded(asked: Asked, q: DecodeRequest) -> dict[str, Any]:
    return {"text": asked.index.decode(asked.ids(q.token_ids, name="token_ids"))}
