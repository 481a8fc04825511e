"""Where a query occurs, and documents: `find`, `document`."""

from typing import Annotated, Any

from everygram.server import cursors, limits
from everygram.server.models import base
from everygram.server.models.documents import (
    Document,
    DocumentBody,
    DocumentRequest,
    FindBody,
    FindRequest,
    Matches,
    UnionDocument,
)
from everygram.server.routes.answering import Asked, AskedIndex, answers, examples, query_router

router = query_router()


@router.post(
    "/find",
    summary="Find an n-gram",
    response_model=base.answers(Matches),
)
def find(
    asked: AskedIndex,
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

    Page through them with `cursor` and `limit`, or draw a `sample`. `document` then shows one.
    """
    return answers(body, lambda q: _matches(asked, q))


@router.post(
    "/document",
    summary="Fetch a document",
    response_model=base.answers(UnionDocument, Document),
)
def document(
    asked: AskedIndex,
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
    return answers(body, lambda q: _document(asked, q))


def _matches(asked: Asked, q: FindRequest) -> dict[str, Any]:
    ids, version = asked.ids(q.query, q.raw), asked.index.version
    offset = cursors.start(q, version)
    limits.check_passages(q, q.limit if q.sample is None else q.sample, asked.settings)
    found = asked.index.find(
        ids, offset=offset, limit=q.limit, sample=q.sample, seed=q.seed, context=q.context
    )
    following = cursors.following(q, version, offset + len(found), len(found), found.count)
    return found.as_dict(echo=asked.echo and q.echo) | {"cursor": following}


def _document(asked: Asked, q: DocumentRequest) -> dict[str, Any]:
    found = asked.index.document(
        q.number,
        index=q.index,
        query=None if q.query is None else asked.ids(q.query, q.raw),
        text=q.text,
        occurrence=q.occurrence,
        context=q.context,
        ignore_case=q.ignore_case,
        whole_words=q.whole_words,
    )
    return found.as_dict()
