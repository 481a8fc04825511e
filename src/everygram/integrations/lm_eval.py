"""For EleutherAI's lm-evaluation-harness: an index's language model as one that it evaluates.

Importing this module registers the model as "everygram", with the arguments of `EverygramLM`:

    lm_eval.simple_evaluate(model="everygram", model_args={"index": "my-index"}, tasks=[…])

`everygram lm-eval` does it for the harness's own command line.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from os import PathLike
from typing import Any

import numpy as np

import everygram
from everygram.arguments import flag, natural, number, short
from everygram.errors import MissingExtraError, OptionError, QueryError
from everygram.index import Index

try:
    from lm_eval.api.model import TemplateLM
    from lm_eval.api.registry import register_model
    from tqdm import tqdm
except ImportError as error:
    missing = (error.name or "lm_eval").partition(".")[0]
    raise MissingExtraError(
        f"everygram.integrations.lm_eval needs {missing}: pip install 'everygram[lm-eval]'"
    ) from error

# Requests that are answered together.
GROUP = 1_000
# Most likely next tokens that are kept: the choices of a question follow the same context.
KEPT = 10_000
# Tokens of all texts that are generated before these are searched for where they stop; twice as
# many each further time.
FIRST_TOKENS = 16
# Tokens of a text if a task does not say how many, as in the harness's own models.
MAX_TOKENS = 256
# The options of a task that say so, the first of those given is taken.
MAX_TOKENS_OPTIONS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
# A log-probability above 1/2, and above what rounding makes of 1/2.
SURE = math.log(0.5) + 1e-9


@register_model("everygram")
class EverygramLM(TemplateLM):
    """A language model of an index, as the harness asks one.

    index: a folder, or an open `Index` that has a tokenizer. smoothing, order, weights: those of
    `Index.language_model`. The harness gives the other arguments to every model; here they change
    nothing.

    Every context starts a document, so that the log-probability of a text is that of its beginning
    plus that of the rest after it. Nothing is cut off: the models have no limit. A continuation is
    the greedy one if each of its tokens is the most likely (of equals the one with the lowest id)
    and not less likely than the document's end.
    """

    def __init__(
        self,
        index: str | PathLike[str] | Index | None = None,
        smoothing: str = "modified-kneser-ney",
        order: int | None = None,
        weights: Sequence[float] | None = None,
        batch_size: Any = None,
        max_batch_size: Any = None,
        device: Any = None,
        **unknown: Any,
    ) -> None:
        if index is None:
            raise OptionError("model_args: expected the path of an index, as index=PATH")
        if unknown:
            raise OptionError(
                f"model_args: expected index, smoothing, order and weights, found {min(unknown)}"
            )
        super().__init__()
        self.index = index if isinstance(index, Index) else everygram.open(index)
        tokenizer = self.index.tokenizer
        if tokenizer is None:
            raise QueryError(
                f"index '{self.index.path}' has no tokenizer (it was built from token ids); the "
                "harness asks for texts"
            )
        # (`tokenizer` is, to the harness, one of transformers.)
        self._tokenizer = tokenizer
        self.model = self.index.language_model(smoothing, order=order, weights=weights)
        # Tokens before the next one that it depends on, the document's start among them: as many as
        # are known to occur, too, but in stupid backoff of an order.
        self._context_len = None
        self._counts_unseen = smoothing == "stupid-backoff" and order is not None
        if order is not None and smoothing != "infgram-floor":
            self._context_len = natural("order", order, 1) - 1
        self._most_likely = lru_cache(KEPT)(self._argmax)

    @property
    def eot_token_id(self) -> int:
        """The id that stands for the start of a document, and for its end."""
        return self.index.separator

    @property
    def tokenizer_name(self) -> str:
        """Asked for if there is to be a chat template. Raises OptionError."""
        raise OptionError("apply_chat_template: an index has no chat template; leave it out")

    def apply_chat_template(self, *_: Any, **__: Any) -> str:
        """Raises OptionError."""
        return self.tokenizer_name

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **kwargs: Any
    ) -> list[int]:
        """The ids of a text, as of a document in the index."""
        ids: list[int] = self._tokenizer.encode_batch([string])[0].tolist()
        return ids

    def _loglikelihood_tokens(
        self,
        requests: Sequence[tuple[tuple[str, str], list[int], list[int]]],
        disable_tqdm: bool = False,
        **kwargs: Any,
    ) -> list[tuple[float, bool]]:
        """The log-probability of each continuation, and whether it is the greedy one."""
        found: list[tuple[float, bool]] = []
        for group in _groups(requests, "everygram: loglikelihood", disable_tqdm):
            pairs = [self._pair(*request) for request in group]
            tails = self._tails([context for context, _ in pairs])
            afters = [after for _, after in pairs]
            texts = [tail + after for tail, after in zip(tails, afters, strict=True)]
            logs = self.model.log_probs_batch(texts, document_start=True)
            for request, tail, after, all_logs in zip(group, tails, afters, logs, strict=True):
                of_these = all_logs[len(tail) :]
                answer = float(of_these.sum()), self._is_greedy(tail, after, of_these)
                self.cache_hook.add_partial("loglikelihood", request[0], answer)
                found.append(answer)
        return found

    def _pair(
        self, texts: tuple[str, str], context: list[int], continuation: list[int]
    ) -> tuple[list[int], list[int]]:
        """The ids of a context, without a separator, and of its continuation."""
        # (The harness finds no ids for what became part of the context's last token.)
        continuation = continuation or self.tok_encode(texts[1])
        return [each for each in context if each != self.eot_token_id], continuation

    def _tails(self, contexts: list[list[int]]) -> list[list[int]]:
        """What the model sees of contexts, each of which starts a document.

        Nothing before the longest suffix that occurs matters. With one token more the suffix does
        not occur: so it makes no difference that what is cut off there is not a document's start.
        """
        if self._counts_unseen:
            return [self._tail(context) for context in contexts]
        sizes = self.model.longest_suffix_batch([[self.eot_token_id, *each] for each in contexts])
        return [
            self._tail(context[max(0, len(context) - size - 1) :])
            for context, size in zip(contexts, sizes, strict=True)
        ]

    def _tail(self, context: list[int]) -> list[int]:
        """What of a context a model of a given order can see."""
        size = self._context_len
        return context if size is None else context[max(0, len(context) - size) :]

    def _is_greedy(self, context: list[int], continuation: list[int], logs: np.ndarray) -> bool:
        # (The least likely first: it is the likeliest not to be the most likely.)
        for place in np.argsort(logs).tolist():
            # What is more likely than all else together is the most likely.
            if self.model.normalized and logs[place] > SURE:
                return True
            before = [self.eot_token_id, *context, *continuation[:place]]
            if self._most_likely(tuple(self._tail(before))) != continuation[place]:
                return False
        return True

    def _argmax(self, ids: tuple[int, ...]) -> int:
        """The most likely id after ids; that of the document's end is `vocab_size`."""
        return int(self.model.distribution(list(ids)).argmax())

    def loglikelihood_rolling(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[float]:
        """The log-probability of each text as a document, its end not counted."""
        if not self.model.normalized:
            raise QueryError(
                f"smoothing: expected a model of probabilities for the perplexity of texts, found "
                f"{self.model.smoothing}, whose values are scores"
            )
        found: list[float] = []
        for group in _groups(requests, "everygram: loglikelihood_rolling", disable_tqdm):
            texts = [self.tok_encode(request.args[0]) for request in group]
            logs = self.model.log_probs_batch(texts, document_start=True)
            for request, of_text in zip(group, logs, strict=True):
                found.append(float(of_text.sum()))
                self.cache_hook.add_partial("loglikelihood_rolling", request.args, found[-1])
        return found

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """What the model generates after each context, up to a text that stops it."""
        found: list[str] = []
        for group in _groups(requests, "everygram: generate_until", disable_tqdm):
            texts = [_Text(self.tok_encode(request.args[0]), request.args[1]) for request in group]
            size = FIRST_TOKENS
            while unfinished := [text for text in texts if not text.finished]:
                for options in {text.options for text in unfinished}:
                    self._generate([each for each in unfinished if each.options == options], size)
                size *= 2
            for request, text in zip(group, texts, strict=True):
                self.cache_hook.add_partial("generate_until", request.args, text.answer)
                found.append(text.answer)
        return found

    def _generate(self, texts: Sequence["_Text"], size: int) -> None:
        """Generate up to `size` tokens more of each text; the texts have the same options."""
        options = texts[0].options
        size = min(size, options.max_tokens - len(texts[0].ids))
        samples = self.model.sample_batch(
            [[self.eot_token_id, *text.context, *text.ids] for text in texts],
            max_tokens=size,
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
            # (The harness has seeded numpy's numbers: with its --seed they are the same again.)
            seed=int(np.random.randint(1 << 31)),
        )
        for text, sample in zip(texts, samples, strict=True):
            text.ids += sample.token_ids
            ended = sample.finished == "document_end" or len(text.ids) >= options.max_tokens
            text.read(self._tokenizer.decode(np.array(text.ids, np.int64), True), ended)


@dataclass(frozen=True)
class _Options:
    """How a task wants its texts generated."""

    until: tuple[str, ...]
    max_tokens: int
    temperature: float
    top_k: int | None
    top_p: float | None

    @classmethod
    def of(cls, given: dict[str, Any]) -> "_Options":
        """From a request of the harness. Raises OptionError."""
        options = dict(given)
        # (Some tasks say that there is to be no beam search.)
        if options.get("num_beams") == 1:
            del options["num_beams"]
        until = options.pop("until", None) or []
        until = [until] if isinstance(until, str) else until
        if not isinstance(until, list | tuple) or not all(isinstance(u, str) for u in until):
            raise OptionError(f"until: expected a text or several, found {short(until)}")
        sizes = [options.pop(name, None) for name in MAX_TOKENS_OPTIONS]
        size = next((each for each in sizes if each is not None), MAX_TOKENS)
        heat = options.pop("temperature", None)
        # As in the harness's own models: greedy unless told otherwise, and at temperature 0.
        asked = options.pop("do_sample", None)
        sampled = bool(heat) if asked is None else flag("do_sample", asked)
        # (To transformers 0 is no limit.)
        top_k, top_p = options.pop("top_k", None) or None, options.pop("top_p", None)
        if options:
            raise OptionError(
                f"generation options: expected until, do_sample, temperature, top_k, top_p and "
                f"{MAX_TOKENS_OPTIONS[0]}, found {', '.join(options)}"
            )
        return cls(
            tuple(each for each in until if each),
            natural(MAX_TOKENS_OPTIONS[0], size),
            (1.0 if heat is None else number("temperature", heat)) if sampled else 0.0,
            top_k,
            top_p,
        )


class _Text:
    """A text that is being generated."""

    def __init__(self, context: list[int], given: dict[str, Any]) -> None:
        self.context = context
        self.options = _Options.of(given)
        self.ids: list[int] = []
        self.answer = ""
        self.finished = self.options.max_tokens == 0

    def read(self, text: str, ended: bool) -> None:
        """Take what has been generated so far, and see whether it stops there."""
        stops = [text.find(stop) for stop in self.options.until if stop in text]
        self.answer = text[: min(stops)] if stops else text
        self.finished = ended or bool(stops)


def _groups(requests: Sequence[Any], what: str, quiet: bool) -> Iterator[Sequence[Any]]:
    """Requests, some at a time, with a progress bar."""
    with tqdm(total=len(requests), desc=what, disable=quiet) as bar:
        for start in range(0, len(requests), GROUP):
            group = requests[start : start + GROUP]
            yield group
            bar.update(len(group))


def run(arguments: Sequence[str]) -> None:
    """Run the harness's command line with these arguments, and "everygram" among its models."""
    from lm_eval.__main__ import cli_evaluate

    before, sys.argv = sys.argv, ["everygram lm-eval", *arguments]
    try:
        cli_evaluate()
    finally:
        sys.argv = before
