"""Where the words of a text come from: `attribute`."""

from typing import Annotated, Any

from everygram.server.models import base
from everygram.server.models.attribution import Attribution, AttributionBody, AttributionRequest
from everygram.server.routes.answering import Asked, AskedIndex, answers, examples, query_router

router = query_router()


@router.post(
    "/attribute",
    summary="Trace a text to its sources",
    response_model=base.answers(Attribution),
)
def attribute(
    asked: AskedIndex,
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
    return answers(body, lambda q: _attribution(asked, q))


def _attribution(asked: Asked, q: AttributionRequest) -> dict[str, Any]:
    # (The text is looked for in the documents, too: not its ids alone are needed.)
    asked.ids(q.text, q.raw, "text")
    found = asked.index.attribute(
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
    ).as_dict(echo=asked.echo and q.echo)
    # (A union has another name of its own.)
    found["index"]["name"] = asked.name
    return found
