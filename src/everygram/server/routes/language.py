"""Language models: probabilities, distributions, perplexity, samples."""

import math
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any
from weakref import WeakKeyDictionary

from everygram.index import Index
from everygram.lm.model import LanguageModel
from everygram.lm.ordered import in_order
from everygram.lm.sampling import most_likely
from everygram.results.base import token_texts
from everygram.server import limits
from everygram.server.models.base import answers as answers_of
from everygram.server.models.language import (
    LmProb,
    LmProbBody,
    LmProbRequest,
    LogProbs,
    LogProbsBody,
    LogProbsRequest,
    LongestSuffix,
    LongestSuffixBody,
    LongestSuffixRequest,
    Model,
    NextProbs,
    NextProbsBody,
    NextProbsRequest,
    Perplexity,
    PerplexityBody,
    PerplexityRequest,
    Sample,
    SampleBody,
    SampleRequest,
)
from everygram.server.problems import Refusal
from everygram.server.routes.answering import (
    Asked,
    AskedIndex,
    answers,
    each,
    examples,
    query_router,
)

router = query_router()

# Models of an index that are kept: to make one reads its folder (about 10 ms).
KEPT = 8
# A model that every index has, for what is the same in all of them.
ANY = Model(smoothing="infgram")
_kept: WeakKeyDictionary[Index, OrderedDict[str, LanguageModel]] = WeakKeyDictionary()
_keeping = threading.Lock()


def model_of(index: Index, model: Model) -> LanguageModel:
    """The language model of an index as it is served, kept as long as that is.

    Raises as `Index.language_model`.
    """
    arguments = model.model_dump()
    key = f"{index.version} {arguments}"
    with _keeping:
        kept = _kept.setdefault(index, OrderedDict())
        found = kept.pop(key, None)
        if found is None:
            # (Without its way back to the index, which it needs only to be pickled: what is kept
            # for an index must not keep the index.)
            found = replace(index.language_model(**arguments), index=None)
        kept[key] = found
        while len(kept) > KEPT:
            kept.popitem(last=False)
    return found


@router.post(
    "/lm_prob",
    summary="Probability by a language model",
    response_model=answers_of(LmProb),
)
def lm_prob(
    asked: AskedIndex,
    body: Annotated[
        LmProbBody,
        examples(
            text={"query": "natural language processing", "model": {"smoothing": "infgram-floor"}},
            five_gram={
                "query": "natural language",
                "continuation": "processing",
                "model": {"order": 5},
            },
            token_ids={"query": [11802, 3303], "continuation": 7587},
        ),
    ],
) -> Any:
    """The probability of one token after a prompt, by a language model.

    Without a continuation it is the query's last token, and the prompt what stands before.
    """
    return answers(body, partial(_lm_prob, asked))


def _lm_prob(asked: Asked, q: LmProbRequest) -> dict[str, Any]:
    ids = asked.index.encode_prob(asked.ids(q.query, q.raw), q.continuation, raw=q.raw).tolist()
    model = model_of(asked.index, q.model)
    prob = model.prob(ids[:-1], ids[-1])
    texts = token_texts(ids, model.reading)
    return {
        **_echoed(asked, q.echo, ids[:-1], model),
        "continuation_id": ids[-1],
        "continuation": None if texts is None else texts[-1],
        "prob": prob,
    }


@router.post(
    "/log_probs",
    summary="Log-probabilities of a text",
    response_model=answers_of(LogProbs),
)
def log_probs(
    asked: AskedIndex,
    body: Annotated[
        LogProbsBody,
        examples(
            text={
                "text": "a new method of natural language processing",
                "model": {"smoothing": "infgram-floor"},
            },
            document={
                "text": "a new method",
                "document_start": True,
                "model": {"order": 5},
            },
            token_ids={"text": [649, 11802, 3303], "model": {"smoothing": "infgram"}},
        ),
    ],
) -> Any:
    """ln of the probability of every token of a text after those before it, in nats.

    A token of probability 0, whose logarithm is −∞, has null. A separator in the text starts a new
    document.
    """

    return answers(body, partial(_log_probs, asked), partial(_log_probs_batch, asked))


def _log_probs(asked: Asked, q: LogProbsRequest) -> dict[str, Any]:
    ids = asked.ids(q.text, q.raw, "text")
    model = model_of(asked.index, q.model)
    found = model.log_probs(ids, document_start=q.document_start)
    return {**_echoed(asked, q.echo, ids, model), "log_probs": _finite(found.tolist())}


def _log_probs_batch(asked: Asked, batch: list[LogProbsRequest]) -> Iterator[dict[str, Any]]:
    """Texts of one model are asked together."""
    texts = list(each(batch, lambda q: _checked(asked, q.text, q.raw, "text")))
    models = list(each(batch, lambda q: model_of(asked.index, q.model)))
    alike: dict[tuple[int, bool], list[int]] = {}
    for place, (q, model) in enumerate(zip(batch, models, strict=True)):
        alike.setdefault((id(model), q.document_start), []).append(place)
    found: dict[int, list[float | None]] = {}
    for (_, document_start), places in alike.items():
        some = models[places[0]].log_probs_batch(
            [texts[place] for place in places], document_start=document_start
        )
        found |= zip(places, (_finite(one.tolist()) for one in some), strict=True)
    for place, (q, ids, model) in enumerate(zip(batch, texts, models, strict=True)):
        yield {**_echoed(asked, q.echo, ids, model), "log_probs": found.pop(place)}


def _finite(values: list[float]) -> list[float | None]:
    """JSON has no −∞."""
    return [value if math.isfinite(value) else None for value in values]


@router.post(
    "/next_probs",
    summary="Next-token distribution of a language model",
    response_model=answers_of(NextProbs),
)
def next_probs(
    asked: AskedIndex,
    body: Annotated[
        NextProbsBody,
        examples(
            text={"prompt": "natural language", "model": {"smoothing": "infgram-floor"}},
            five_gram={"prompt": "natural language", "top": 3, "model": {"order": 5}},
            token_ids={"prompt": [11802], "model": {"smoothing": "infgram"}},
        ),
    ],
) -> Any:
    """The most likely tokens after a prompt, by a language model, and their probabilities.

    The end of the document, which is the separator's id, is one of them.
    """
    return answers(body, partial(_next_probs, asked))


def _next_probs(asked: Asked, q: NextProbsRequest) -> dict[str, Any]:
    prompt = asked.ids(q.prompt, q.raw, "prompt")
    model = model_of(asked.index, q.model)
    distribution = model.distribution(prompt)
    # (Entries, of which those of probability 0 are not listed.)
    possible = int((distribution > 0).sum())
    top = possible if q.top is None else min(q.top, possible)
    most = asked.settings.max_top
    if top > most:
        raise Refusal.of_field(
            "too-many-results",
            "top",
            f"expected at most {most:,}, found null, which lists {top:,} tokens",
        )
    places = most_likely(distribution, top).tolist() if top else []
    # The last entry is the document's end.
    ids = [model.separator if place == model.vocab_size else place for place in places]
    texts: Sequence[str | None] = token_texts(ids, model.reading) or (None,) * len(ids)
    probs = distribution[places].tolist() if places else []
    return {
        **_echoed(asked, q.echo, prompt, model),
        "normalized": model.normalized,
        "next": [
            {"token_id": token_id, "token": text, "prob": prob}
            for token_id, text, prob in zip(ids, texts, probs, strict=True)
        ],
    }


@router.post(
    "/longest_suffix",
    summary="Longest suffix of a prompt",
    response_model=answers_of(LongestSuffix),
)
def longest_suffix(
    asked: AskedIndex,
    body: Annotated[
        LongestSuffixBody,
        examples(
            text={"prompt": "a new method of natural language"},
            token_ids={"prompt": [649, 11802, 3303]},
        ),
    ],
) -> Any:
    """How many of the last tokens of a prompt occur together: what models of no order look at."""

    return answers(body, partial(_longest_suffix, asked), partial(_longest_suffixes, asked))


def _longest_suffix(asked: Asked, q: LongestSuffixRequest) -> dict[str, Any]:
    ids = asked.ids(q.prompt, q.raw, "prompt")
    model = model_of(asked.index, ANY)
    (length,) = model.longest_suffix_batch([ids])
    return {**_echoed(asked, q.echo, ids, model), "suffix_len": length}


def _longest_suffixes(asked: Asked, batch: list[LongestSuffixRequest]) -> Iterator[dict[str, Any]]:
    prompts = list(each(batch, lambda q: _checked(asked, q.prompt, q.raw, "prompt")))
    model = model_of(asked.index, ANY)
    lengths = model.longest_suffix_batch(prompts)
    for q, prompt, length in zip(batch, prompts, lengths, strict=True):
        yield {**_echoed(asked, q.echo, prompt, model), "suffix_len": length}


@router.post(
    "/perplexity",
    summary="Perplexity of texts",
    response_model=answers_of(Perplexity),
)
def perplexity(
    asked: AskedIndex,
    body: Annotated[
        PerplexityBody,
        examples(
            texts={
                "texts": ["natural language processing is a field", "a new method"],
                "model": {"smoothing": "infgram-floor"},
            },
            with_ends={"texts": ["a new method"], "document_end": True, "model": {"order": 5}},
            token_ids={"texts": [[649, 11802, 3303]], "model": {"smoothing": "infgram"}},
        ),
    ],
) -> Any:
    """How well a language model predicts texts, each of them a document.

    What is infinite or undefined is null: the perplexity where a token has probability 0 (`zeros`
    says how many have), and what is per word or byte where a text is given as token ids.
    """
    return answers(body, partial(_perplexity, asked))


def _perplexity(asked: Asked, q: PerplexityRequest) -> dict[str, Any]:
    _check_texts(asked, q.texts)
    model = model_of(asked.index, q.model)
    found = model.perplexity(q.texts, document_end=q.document_end)
    asked.tokens += found.tokens
    return found.as_dict()


def _check_texts(asked: Asked, texts: list[str | list[int]]) -> None:
    """Refuse texts that have too many tokens together."""
    most = asked.settings.max_query_tokens
    for place, text in enumerate(texts):
        if isinstance(text, str):
            limits.check_characters(f"texts/{place}", text, most)
    # A token has a byte, or more: what is short need not be encoded to be counted.
    if sum(len(text) * (4 if isinstance(text, str) else 1) for text in texts) > most:
        sizes = (
            len(asked.index.encode(text, raw=True)) if isinstance(text, str) else len(text)
            for text in texts
        )
        limits.check_tokens("texts", sum(sizes), most)


@router.post(
    "/sample",
    summary="Draw a text",
    response_model=answers_of(Sample),
)
def sample(
    asked: AskedIndex,
    body: Annotated[
        SampleBody,
        examples(
            text={
                "prompt": "natural language",
                "max_context": 8,
                "seed": 1,
                "model": {"smoothing": "infgram-floor"},
            },
            most_likely={
                "prompt": "natural language",
                "temperature": 0,
                "max_tokens": 20,
                "model": {"order": 5},
            },
            token_ids={
                "prompt": [11802],
                "top_k": 50,
                "top_p": 0.95,
                "model": {"smoothing": "infgram"},
            },
        ),
    ],
) -> Any:
    """Draw tokens after a prompt from a language model, until it ends the document."""
    # A batch is drawn on all cores, each query as it would be alone.
    return answers(body, partial(_sample, asked), partial(_samples, asked))


def _sample(asked: Asked, q: SampleRequest) -> dict[str, Any]:
    return _drawn(asked, (q, asked.ids(q.prompt, q.raw, "prompt")))


def _samples(asked: Asked, batch: list[SampleRequest]) -> Iterator[dict[str, Any]]:
    """Each as it would be alone, on all cores."""
    prompts = each(batch, lambda q: asked.ids(q.prompt, q.raw, "prompt"))
    drawn = in_order(partial(_drawn, asked), zip(batch, list(prompts), strict=True))
    yield from each(batch, lambda q: next(drawn))


def _drawn(asked: Asked, drawing: tuple[SampleRequest, list[int]]) -> dict[str, Any]:
    """A sample after a prompt's ids."""
    q, prompt = drawing
    found = model_of(asked.index, q.model).sample(
        prompt,
        max_tokens=q.max_tokens,
        temperature=q.temperature,
        top_k=q.top_k,
        top_p=q.top_p,
        max_context=q.max_context,
        seed=q.seed,
        number=q.number,
    )
    answer = found.as_dict()
    if not (asked.echo and q.echo):
        del answer["prompt_ids"], answer["prompt"]
    return answer


def _checked(asked: Asked, query: str | list[int], raw: bool, name: str) -> list[int]:
    """The ids of a query of a batch. Raises QueryError for what are none."""
    ids: list[int] = asked.index.encode(asked.ids(query, raw, name)).tolist()
    return ids


def _echoed(asked: Asked, echo: bool, ids: list[int], model: LanguageModel) -> dict[str, Any]:
    """The ids and tokens of a query, if they are wanted."""
    if not (asked.echo and echo):
        return {}
    return {"token_ids": ids, "tokens": token_texts(ids, model.reading)}
