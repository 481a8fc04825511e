"""Where the words of a text come from: `attribute`."""

from typing import Annotated, Any

from fastapi import Request
from fastapi.responses import JSONResponse

from everygram.index import Index
from everygram.server.indexes import ServedIndex
from everygram.server.models.attribution import Attribution, AttributionBody, AttributionRequest
from everygram.server.models.base import Results
from everygram.server.routes.answering import answer, examples, query_router

router = query_router()


@router.post(
    "/attribute",
    summary="Trace a text to its sources",
    response_model=Attribution | Results[Attribution],
)
def attribute(
    request: Request,
    index: ServedIndex,
    body: Annotated[
        AttributionBody,
        examples(
            text={"text": "a new method of natural language processing"},
            answer_to_a_prompt={
                "text": "It is the processing of natural language by computers.",
                "prompt": "What is natural language processing?",
                "documents": 3,
            },
            every_long_span={
                "text": "a new method of natural language processing",
                "min_length": 3,
                "density": None,
                "rank_by": "length",
            },
        ),
    ],
) -> Any:
    """The longest parts of a text that the corpus has verbatim, and documents that have them.

    Parts (spans) are of whole words and end with sentences, unless told otherwise; the rarest are
    kept. Each has exact counts and some of its documents, ranked by relevance to prompt and text.
    """
    # (Metadata is sent as it is: see `document`.)
    return JSONResponse(answer(body, lambda q: _attribution(index, request.path_params["name"], q)))


def _attribution(index: Index, name: str, q: AttributionRequest) -> dict[str, Any]:
    found = index.attribute(
        q.text,
        prompt=q.prompt,
        min_length=q.min_length,
        max_count=q.max_count,
        density=q.density,
        rank_by=q.rank_by,
        delimiters=q.delimiters,
        whole_words=q.whole_words,
        documents=q.documents,
        context=q.context,
        seed=q.seed,
        raw=q.raw,
    ).as_dict()
    # (A union has another name of its own.)
    found["index"]["name"] = name
    return found
