"""Which documents an expression matches: `search`."""

from typing import Annotated, Any

from everygram.server import limits
from everygram.server.models import base
from everygram.server.models.search import Hits, SearchBody, SearchRequest
from everygram.server.routes.answering import Asked, AskedIndex, answers, examples, query_router

router = query_router()


@router.post("/search", summary="Search for documents", response_model=base.answers(Hits))
def search(
    asked: AskedIndex,
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
    return answers(body, lambda q: _hits(asked, q))


def _hits(asked: Asked, q: SearchRequest) -> dict[str, Any]:
    _count_tokens(asked, q)
    limits.check_passages(q, q.limit if q.sample is None else q.sample, asked.settings)
    return asked.index.search(
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


def _count_tokens(asked: Asked, q: SearchRequest) -> None:
    """Refuse clauses of too many tokens, or of too much text."""
    if isinstance(q.expression, str):
        return
    terms = [term for clause in q.expression for term in clause]
    texts = [term for term in terms if isinstance(term, str)]
    ids = [term for term in terms if isinstance(term, list)]
    asked.ids([one for term in ids for one in term], name="expression")
    limits.check_value(
        "expression", "".join(texts), "max_text_characters", asked.settings.max_text_characters
    )
