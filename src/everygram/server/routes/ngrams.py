"""Counts, probabilities and distributions: `count`, `prob` and `ntd`, n-gram and ∞-gram."""

from collections.abc import Callable
from typing import Annotated, Any

from everygram.index import Index
from everygram.results.ngrams import Distributions, Probs
from everygram.server.indexes import ServedIndex
from everygram.server.models.base import Results
from everygram.server.models.ngrams import (
    Count,
    CountBody,
    CountRequest,
    Distribution,
    DocumentCount,
    NtdBody,
    NtdRequest,
    Prob,
    ProbBody,
    ProbRequest,
)
from everygram.server.routes.answering import answer, each, examples, query_router

router = query_router()

# Distributions of a batch that are held at once: one can be as long as the vocabulary.
GROUP = 64


@router.post(
    "/count",
    summary="Count an n-gram",
    response_model=DocumentCount | Count | Results[DocumentCount | Count],
)
def count(
    index: ServedIndex,
    body: Annotated[
        CountBody,
        examples(
            text={"query": "natural language processing"},
            token_ids={"query": [11802, 3303]},
            in_documents={"query": "natural language", "documents": True},
        ),
    ],
) -> Any:
    """How often the query occurs. `{"query": ""}` counts every token and every document's end.

    With `documents` the answer has `document_count`, too: in how many documents it occurs.
    """
    return answer(
        body,
        lambda q: (index.document_count if q.documents else index.count)(
            q.query, raw=q.raw
        ).as_dict(),
        lambda batch: _counts(index, batch),
    )


@router.post("/prob", summary="n-gram probability", response_model=Prob | Results[Prob])
def prob(
    index: ServedIndex,
    body: Annotated[
        ProbBody,
        examples(
            text={"query": "natural language processing"},
            with_continuation={"query": "natural language", "continuation": "processing"},
            token_ids={"query": [11802, 3303], "continuation": 7587},
        ),
    ],
) -> Any:
    """P(continuation | query) from n-gram counts: one token after a prompt.

    Without a continuation it is the query's last token, and the prompt what stands before. `prob`
    is null when the prompt does not occur.
    """
    return answer(
        body,
        lambda q: index.prob(q.query, q.continuation, raw=q.raw).as_dict(),
        lambda batch: _probs(index, index.prob_batch, batch),
    )


@router.post(
    "/ntd", summary="Next-token distribution", response_model=Distribution | Results[Distribution]
)
def ntd(
    index: ServedIndex,
    body: Annotated[
        NtdBody,
        examples(
            text={"prompt": "natural language"},
            token_ids={"prompt": [11802], "top": 3},
            bounded={"prompt": "the", "max_support": 1000},
        ),
    ],
) -> Any:
    """Which tokens follow the prompt, and how often, exact at any number of occurrences.

    `next` is empty when the prompt does not occur. `max_support` bounds the work: `exact` and
    `error_bound` say what that did to the answer.
    """
    return answer(
        body,
        lambda q: index.ntd(q.prompt, max_support=q.max_support, raw=q.raw).as_dict(q.top),
        lambda batch: _distributions(index, index.ntd_batch, batch),
    )


@router.post("/infgram_prob", summary="∞-gram probability", response_model=Prob | Results[Prob])
def infgram_prob(
    index: ServedIndex,
    body: Annotated[
        ProbBody,
        examples(
            text={"query": "a new method of natural language processing"},
            token_ids={"query": [649, 11802, 3303], "continuation": 7587},
        ),
    ],
) -> Any:
    """As `prob`, with the longest suffix of the prompt that occurs in the corpus.

    `suffix_len` is how much of the prompt that was.
    """
    return answer(
        body,
        lambda q: index.infgram_prob(q.query, q.continuation, raw=q.raw).as_dict(),
        lambda batch: _probs(index, index.infgram_prob_batch, batch),
    )


@router.post(
    "/infgram_ntd",
    summary="∞-gram next-token distribution",
    response_model=Distribution | Results[Distribution],
)
def infgram_ntd(
    index: ServedIndex,
    body: Annotated[
        NtdBody,
        examples(
            text={"prompt": "a new method of natural language"},
            token_ids={"prompt": [649, 11802, 3303], "top": 3},
        ),
    ],
) -> Any:
    """As `ntd`, after the longest suffix of the prompt that occurs in the corpus."""
    return answer(
        body,
        lambda q: index.infgram_ntd(q.prompt, max_support=q.max_support, raw=q.raw).as_dict(q.top),
        lambda batch: _distributions(index, index.infgram_ntd_batch, batch),
    )


def _counts(index: Index, batch: list[CountRequest]) -> list[dict[str, Any]]:
    queries = each(batch, lambda q: index.encode(q.query, raw=q.raw))
    if not any(query.documents for query in batch):
        return [count.as_dict() for count in index.count_batch(queries)]
    answers = [count.as_dict() for count in index.document_count_batch(queries)]
    for query, found in zip(batch, answers, strict=True):
        if not query.documents:
            del found["document_count"]
    return answers


def _probs(
    index: Index, ask: Callable[..., Probs], batch: list[ProbRequest]
) -> list[dict[str, Any]]:
    queries = each(batch, lambda q: index.encode_prob(q.query, q.continuation, raw=q.raw))
    return [prob.as_dict() for prob in ask(queries)]


def _distributions(
    index: Index, ask: Callable[..., Distributions], batch: list[NtdRequest]
) -> list[dict[str, Any]]:
    prompts = each(batch, lambda q: index.encode(q.prompt, raw=q.raw))
    of_support: dict[int | None, list[int]] = {}
    for number, query in enumerate(batch):
        of_support.setdefault(query.max_support, []).append(number)
    answers: list[dict[str, Any]] = [{}] * len(batch)
    for support, numbers in of_support.items():
        for start in range(0, len(numbers), GROUP):
            group = numbers[start : start + GROUP]
            found = ask([prompts[number] for number in group], max_support=support)
            for number, distribution in zip(group, found, strict=True):
                answers[number] = distribution.as_dict(batch[number].top)
    return answers
