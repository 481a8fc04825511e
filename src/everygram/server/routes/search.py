"""Which documents an expression matches: `search`."""

from typing import Annotated, Any

from fastapi.responses import JSONResponse

from everygram.index import Index
from everygram.server.indexes import ServedIndex
from everygram.server.models.base import Results
from everygram.server.models.search import Hits, SearchBody, SearchRequest
from everygram.server.routes.answering import answer, examples, query_router

router = query_router()


@router.post("/search", summary="Search for documents", response_model=Hits | Results[Hits])
def search(
    index: ServedIndex,
    body: Annotated[
        SearchBody,
        examples(
            words={"expression": "language AND (model OR grammar)", "limit": 3},
            near={"expression": '"natural language" NEAR/10 model', "order": "bm25"},
            windows={"expression": "language AND model", "within": 20},
            clauses_of_token_ids={"expression": [[[11802, 3303]], [[7587], [2746]]]},
        ),
    ],
) -> Any:
    """The documents that an expression matches, exactly, page by page, with snippets."""
    # (Metadata is sent as it is: see `document`.)
    return JSONResponse(answer(body, lambda q: _hits(index, q)))


def _hits(index: Index, q: SearchRequest) -> dict[str, Any]:
    return index.search(
        q.expression,
        within=q.within,
        where=None if q.where is None else next(iter(q.where.items())),
        limit=q.limit,
        cursor=q.cursor,
        sample=q.sample,
        seed=q.seed,
        order=q.order,
        context=q.context,
        max_clause_freq=q.max_clause_freq,
        k1=q.k1,
        b=q.b,
    ).as_dict()
