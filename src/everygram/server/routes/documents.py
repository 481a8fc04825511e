"""Where a query occurs, and documents: `find`, `document`."""

from typing import Annotated, Any

from fastapi.responses import JSONResponse

from everygram.server.indexes import ServedIndex
from everygram.server.models.base import Results
from everygram.server.models.documents import DocumentAnswer, DocumentBody, FindBody, Matches
from everygram.server.routes.answering import answer, examples, query_router

router = query_router()


@router.post(
    "/find",
    summary="Find an n-gram",
    response_model=Matches | Results[Matches],
)
def find(
    index: ServedIndex,
    body: Annotated[
        FindBody,
        examples(
            text={"query": "natural language processing"},
            next_page={"query": "natural language processing", "offset": 10, "limit": 10},
            sample_of_token_ids={"query": [11802, 3303], "sample": 5, "seed": 1},
        ),
    ],
) -> Any:
    """How often the query occurs, its intervals of ranks, and some of its occurrences.

    Page through them with `offset` and `limit`, or draw a `sample`. `document` then shows one.
    """
    return answer(
        body,
        lambda q: index.find(
            q.query,
            offset=q.offset,
            limit=q.limit,
            sample=q.sample,
            seed=q.seed,
            context=q.context,
            raw=q.raw,
        ).as_dict(),
    )


@router.post(
    "/document", summary="Fetch a document", response_model=DocumentAnswer | Results[DocumentAnswer]
)
def document(
    index: ServedIndex,
    body: Annotated[
        DocumentBody,
        examples(
            by_number={"number": 0},
            by_occurrence={"query": "natural language processing", "occurrence": 2},
            with_context={"query": [11802, 3303], "context": 10},
            by_text={"text": "natural lang", "occurrence": 2},
        ),
    ],
) -> Any:
    """A document and its metadata: by number, or by an occurrence of a query or a text.

    By number it is whole, or its first `context` tokens; by occurrence, `context` tokens on each
    side of the match.
    """
    # Metadata is what the corpus had, nested deeper than pydantic serializes: sent as it is.
    return JSONResponse(
        answer(
            body,
            lambda q: index.document(
                q.number,
                index=q.index,
                query=q.query,
                text=q.text,
                occurrence=q.occurrence,
                context=q.context,
                ignore_case=q.ignore_case,
                whole_words=q.whole_words,
                raw=q.raw,
            ).as_dict(),
        )
    )
