"""The methods of `LanguageModel` as requests to a service."""

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from everygram.client import results
from everygram.client.asking import Answer, Request, sent, sent_batch, without_defaults
from everygram.client.kinds import FEW, each_of, many, one
from everygram.client.questions import Questions
from everygram.encoding import Batch, Query, Reading
from everygram.errors import QueryError
from everygram.results.perplexity import Perplexity
from everygram.results.samples import Sample


class ModelQuestions:
    """What is asked of a language model of a service's index."""

    def __init__(self, index: Questions, model: Answer, normalized: bool) -> None:
        self._index, self._model, self._normalized = index, model, normalized

    @property
    def smoothing(self) -> str:
        """As given to `language_model`."""
        smoothing: str = self._model["smoothing"]
        return smoothing

    @property
    def order(self) -> int | None:
        """As given to `language_model`."""
        order: int | None = self._model["order"]
        return order

    @property
    def vocab_size(self) -> int:
        """Ids are in [0, vocab_size); a distribution has one entry more, for the document's end."""
        return self._index.index.vocab_size

    @property
    def separator(self) -> int:
        """The id that stands for a document's start and end."""
        return self._index.index.separator

    @property
    def normalized(self) -> bool:
        """Whether the values are probabilities; otherwise they are scores."""
        return self._normalized

    def __repr__(self) -> str:
        order = "" if self.order is None else f" of order {self.order}"
        name = self._index.index.name
        return f"<everygram.RemoteLanguageModel {self.smoothing}{order} of '{name}'>"

    def prob(
        self, prompt: Query, continuation: str | int | None = None, *, raw: bool = False
    ) -> Request[float]:
        """See `LanguageModel.prob`."""
        asked = self._of(self._index.prompt_of(prompt, continuation, raw))
        return one("lm_prob", asked, lambda found, _: float(found["prob"]))

    def distribution(self, prompt: Query, *, raw: bool = False) -> Request[np.ndarray]:
        """See `LanguageModel.distribution`."""
        asked = self._of(self._index.query_of(prompt, raw, "prompt")) | {"top": None}
        return one("next_probs", asked, partial(_distribution, self.vocab_size))

    def log_probs(
        self, text: Query, *, document_start: bool = False, raw: bool = False
    ) -> Request[np.ndarray]:
        """See `LanguageModel.log_probs`."""
        asked = self._of(self._index.query_of(text, raw, "text"))
        return one("log_probs", asked | {"document_start": document_start}, _log_probs)

    def log_probs_batch(
        self,
        texts: Batch,
        offsets: Any = None,
        *,
        document_start: bool = False,
        raw: bool = False,
    ) -> Request[list[np.ndarray]]:
        """See `LanguageModel.log_probs_batch`."""
        more = {"document_start": document_start, "echo": False}
        asked = [
            self._of(self._index.query_of(text, raw, "text")) | more
            for text in sent_batch(texts, offsets)
        ]
        return many("log_probs", asked, partial(each_of, _log_probs))

    def longest_suffix_batch(self, prompts: Batch, *, raw: bool = False) -> Request[list[int]]:
        """See `LanguageModel.longest_suffix_batch`."""
        asked = [
            self._index.query_of(prompt, raw, "prompt") | {"echo": False}
            for prompt in sent_batch(prompts)
        ]
        return many(
            "longest_suffix", asked, lambda found, _: [int(each["suffix_len"]) for each in found]
        )

    def perplexity(
        self, texts: Iterable[Query], *, document_end: bool = False
    ) -> Request[Perplexity]:
        """See `LanguageModel.perplexity`. The texts go in one request."""
        if isinstance(texts, str | bytes):
            raise QueryError("texts: expected a list of texts, found one text; give [text]")
        each = [sent(text, f"texts[{place}]") for place, text in enumerate(texts)]
        for text in each:
            if isinstance(text, str):
                self._index.index.check_text(text)
        asked = {"texts": each, "document_end": document_end, "model": self._model}
        return one("perplexity", asked, results.perplexity)

    def sample(
        self,
        prompt: Query = (),
        *,
        max_tokens: int = 100,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        max_context: int | None = None,
        seed: int | None = None,
        number: int = 0,
        raw: bool = False,
    ) -> Request[Sample]:
        """See `LanguageModel.sample`."""
        asked = self._drawn(
            prompt, raw, max_tokens, temperature, top_k, top_p, max_context, seed, number
        )
        return one("sample", asked, results.sample)

    def sample_batch(
        self,
        prompts: Batch,
        *,
        max_tokens: int = 100,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        max_context: int | None = None,
        seed: int | None = None,
        raw: bool = False,
    ) -> Request[list[Sample]]:
        """See `LanguageModel.sample_batch`."""
        options = max_tokens, temperature, top_k, top_p, max_context, seed
        asked = [
            self._drawn(prompt, raw, *options, number)
            for number, prompt in enumerate(sent_batch(prompts))
        ]
        return many("sample", asked, partial(each_of, results.sample), group=FEW)

    def _of(self, asked: Answer) -> Answer:
        return asked | {"model": self._model}

    def _drawn(
        self,
        prompt: Query,
        raw: bool,
        max_tokens: int,
        temperature: float,
        top_k: int | None,
        top_p: float | None,
        max_context: int | None,
        seed: int | None,
        number: int,
    ) -> Answer:
        asked = self._of(self._index.query_of(prompt, raw, "prompt"))
        asked |= {"max_tokens": max_tokens, "temperature": temperature, "number": number}
        return asked | without_defaults(
            top_k=top_k, top_p=top_p, max_context=max_context, seed=seed
        )


def model_request(
    smoothing: str,
    order: int | None,
    discount_fallback: Sequence[float] | None,
    kenlm_compat: bool,
    weights: Sequence[float] | None,
) -> Request[tuple[Answer, bool]]:
    """Asks for nothing of a model: whether there is such a one; gives it and `normalized`."""
    model = {
        "smoothing": smoothing,
        "order": order,
        "discount_fallback": None if discount_fallback is None else [*discount_fallback],
        "kenlm_compat": kenlm_compat,
        "weights": None if weights is None else [*weights],
    }
    asked = {"prompt": [], "top": 0, "model": model}
    return one("next_probs", asked, lambda found, _: (model, bool(found["normalized"])))


def _distribution(vocab_size: int, found: Answer, reading: Reading) -> np.ndarray:
    probs = np.zeros(vocab_size + 1)
    ids = np.array([each["token_id"] for each in found["next"]], np.int64)
    ids[ids == reading.separator] = vocab_size
    probs[ids] = [each["prob"] for each in found["next"]]
    return probs


def _log_probs(found: Answer, reading: Reading) -> np.ndarray:
    values = [-math.inf if each is None else each for each in found["log_probs"]]
    return np.array(values, np.float64)
