"""Counts, probabilities and distributions: `count`, `prob` and `ntd`, n-gram and ∞-gram."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Annotated, Any

from everygram.errors import QueryError
from everygram.results import ngrams as results
from everygram.server.models import base
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
from everygram.server.problems import Refusal
from everygram.server.routes.answering import (
    Asked,
    AskedIndex,
    Long,
    answers,
    at_once,
    each,
    examples,
    query_router,
)

router = query_router()

# Distributions of a batch that are held at once: one can be as long as the vocabulary.
GROUP = 64
# A distribution takes a millisecond or less up to so many occurrences, and so many tokens listed.
FEW = 10_000
TOP = 100


@router.post(
    "/count",
    summary="Count an n-gram",
    response_model=base.answers(DocumentCount, Count),
)
def count(
    asked: AskedIndex,
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
    return answers(body, lambda q: _count(asked, q), lambda batch: _counts(asked, batch))


@router.post("/prob", summary="n-gram probability", response_model=base.answers(Prob))
def prob(
    asked: AskedIndex,
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
    return answers(
        body,
        lambda q: _prob(asked, asked.index.prob, q),
        lambda batch: _probs(asked, asked.index.prob_batch, batch),
    )


@router.post("/ntd", summary="Next-token distribution", response_model=base.answers(Distribution))
def ntd(
    asked: AskedIndex,
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
    return answers(
        body,
        lambda q: _distribution(asked, asked.index.ntd, q),
        lambda batch: _distributions(asked, asked.index.ntd_batch, batch),
    )


@router.post("/infgram_prob", summary="∞-gram probability", response_model=base.answers(Prob))
def infgram_prob(
    asked: AskedIndex,
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
    return answers(
        body,
        lambda q: _prob(asked, asked.index.infgram_prob, q),
        lambda batch: _probs(asked, asked.index.infgram_prob_batch, batch),
    )


@router.post(
    "/infgram_ntd",
    summary="∞-gram next-token distribution",
    response_model=base.answers(Distribution),
)
def infgram_ntd(
    asked: AskedIndex,
    body: Annotated[
        NtdBody,
        examples(
            text={"prompt": "a new method of natural language"},
            token_ids={"prompt": [649, 11802, 3303], "top": 3},
        ),
    ],
) -> Any:
    """As `ntd`, after the longest suffix of the prompt that occurs in the corpus."""
    return answers(
        body,
        lambda q: _distribution(asked, asked.index.infgram_ntd, q),
        lambda batch: _distributions(asked, asked.index.infgram_ntd_batch, batch),
    )


def bare_counts(asked: Asked, value: Any) -> list[int] | None:
    """The counts of `{"batch": [{"query": [ids]}, …], "echo": false}`, as JSON says it.

    None for any other body, and for what is to be refused. (Large batches are mostly like this:
    their ids need no model each, which would take longer than to count them.)
    """
    if type(value) is not dict or value.get("echo") is not False or len(value) != 2:
        return None
    batch = value.get("batch")
    if type(batch) is not list or {*map(type, batch)} != {dict} or {*map(len, batch)} != {1}:
        return None
    queries = [query.get("query") for query in batch]
    if {*map(type, queries)} != {list} or {*map(type, chain.from_iterable(queries))} != {int}:
        return None
    lengths = [*map(len, queries)]
    if max(lengths) > asked.settings.max_query_tokens:
        return None
    try:
        counts: list[int] = asked.index.count_batch(queries).counts.tolist()
    except QueryError:
        return None
    asked.tokens += sum(lengths)
    return counts


def _count(asked: Asked, q: CountRequest) -> dict[str, Any]:
    if q.documents and asked.at_once:  # without document counts every occurrence is looked at
        raise Long
    ask = asked.index.document_count if q.documents else asked.index.count
    return ask(asked.ids(q.query, q.raw)).as_dict(echo=q.echo)


def _counts(asked: Asked, batch: list[CountRequest]) -> Iterator[dict[str, Any]]:
    queries = asked.ids_of(batch)

    def check(q: CountRequest) -> object:
        return asked.index.encode(q.query, raw=q.raw)

    if any(q.documents for q in batch):
        found = at_once(batch, check, lambda: asked.index.document_count_batch(queries))
        for q, both in zip(batch, found, strict=True):
            answer = both.as_dict(echo=asked.echo and q.echo)
            if not q.documents:
                del answer["document_count"]
            yield answer
        return
    counts = at_once(batch, check, lambda: asked.index.count_batch(queries))
    if not asked.echo:
        yield from ({"count": count} for count in counts.counts.tolist())
        return
    for q, count in zip(batch, counts, strict=True):
        yield count.as_dict(echo=q.echo)


def _prob(asked: Asked, ask: Callable[..., results.Prob], q: ProbRequest) -> dict[str, Any]:
    return ask(asked.ids(q.query, q.raw), q.continuation, raw=q.raw).as_dict(echo=q.echo)


def _probs(
    asked: Asked, ask: Callable[..., results.Probs], batch: list[ProbRequest]
) -> Iterator[dict[str, Any]]:
    prompts = iter(asked.ids_of(batch))

    def both(q: ProbRequest) -> list[int]:
        ids = next(prompts)
        if q.continuation is None:
            return ids
        if isinstance(q.continuation, int):
            return [*ids, q.continuation]
        encoded: list[int] = asked.index.encode_prob(ids, q.continuation, raw=q.raw).tolist()
        return encoded

    def check(q: ProbRequest) -> object:
        return asked.index.encode_prob(q.query, q.continuation, raw=q.raw)

    queries = list(each(batch, both))
    found = at_once(batch, check, lambda: ask(queries))
    for q, prob in zip(batch, found, strict=True):
        yield prob.as_dict(echo=asked.echo and q.echo)


def _distribution(
    asked: Asked, ask: Callable[..., results.Distribution], q: NtdRequest
) -> dict[str, Any]:
    prompt = asked.ids(q.prompt, q.raw, "prompt")
    if asked.at_once:
        # (The least frequent of the prompt's suffixes that occur: as the ∞-gram has it.)
        occurs = asked.index.infgram_prob(prompt, asked.index.separator).prompt_count
        if min(occurs, q.max_support or occurs) > FEW or q.top is None or q.top > TOP:
            raise Long
    return _listed(asked, ask(prompt, max_support=q.max_support), q)


def _distributions(
    asked: Asked, ask: Callable[..., results.Distributions], batch: list[NtdRequest]
) -> Iterator[dict[str, Any]]:
    prompts = asked.ids_of(batch, "prompt")

    def check(q: NtdRequest) -> object:
        return asked.index.encode(q.prompt, raw=q.raw)

    for start in range(0, len(batch), GROUP):
        numbers = range(start, min(start + GROUP, len(batch)))
        of_support: dict[int | None, list[int]] = {}
        for number in numbers:
            of_support.setdefault(batch[number].max_support, []).append(number)
        found: dict[int, results.Distribution] = {}
        for support, group in of_support.items():
            some = [prompts[number] for number in group]
            distributions = at_once(batch, check, partial(ask, some, max_support=support))
            found.update(zip(group, distributions, strict=True))
        for number in numbers:
            # (Not the generator of `each`: it would count from 0 here.)
            try:
                yield _listed(asked, found.pop(number), batch[number])
            except Refusal as refusal:
                raise refusal.within(f"#/batch/{number}") from None


def _listed(asked: Asked, found: results.Distribution, q: NtdRequest) -> dict[str, Any]:
    """A distribution as JSON values."""
    most = asked.settings.max_top
    if q.top is None and found.distinct > most:
        raise Refusal.of_field(
            "too-many-results",
            "top",
            f"expected at most {most:,}, found null, which lists all {found.distinct:,} tokens",
        )
    return found.as_dict(q.top, echo=asked.echo and q.echo)
