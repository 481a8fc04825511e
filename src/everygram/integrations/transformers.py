"""For Hugging Face's transformers: mixing while a model generates, drafts for it, its scores.

- `MixingLogitsProcessor` mixes an n-gram model into what a neural model generates.
- `drafting` lets a model verify drafts from an index: the same text in fewer forward passes.
- `write_log_probs` writes the log-probability of every token of documents to a file, as
  `everygram interpolate` reads it.

The neural model's token ids must be those of the index. Needs torch and transformers 5, which no
extra of everygram's installs: which torch is right depends on the machine.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from everygram.analysis.log_probs import ScoredDocument
from everygram.analysis.log_probs import write_log_probs as write_scored
from everygram.arguments import natural, short
from everygram.errors import MissingExtraError, OptionError, QueryError
from everygram.integrations.mixing import Contexts, Mixture, SomeIds, Weights, some_ids
from everygram.integrations.windows import Window, checked_stride, windows

try:
    import torch
    from transformers.generation import (
        CandidateGenerator,
        LogitsProcessor,
        StopStringCriteria,
    )
except ImportError as error:
    missing = (error.name or "torch and transformers").partition(".")[0]
    raise MissingExtraError(
        f"everygram.integrations.transformers needs {missing}: pip install torch transformers"
    ) from error

if TYPE_CHECKING:
    from everygram.encoding import Query
    from everygram.index import Index
    from everygram.lm.model import LanguageModel
    from everygram.tokenizer.base import Tokenizer

# The least float32, the type in which transformers passes scores to processors.
LEAST = float(np.finfo(np.float32).min)


class MixingLogitsProcessor(LogitsProcessor):
    """Mixes an n-gram model into a neural model while that generates.

    The scores that it gives are logarithms of λ · P of the n-gram model + (1 − λ) · P of the neural
    model. Ids that a processor before it has forbidden stay so. For sampling and beam search; with
    several texts at once.

    model: a `LanguageModel` over the same token ids; not "stupid-backoff". weights: λ from 0 to 1.
    For smoothing "infgram" also two: where only one token ever follows, and elsewhere, as
    `everygram interpolate` finds them. eos_token_id: the neural model's id, or ids, for the end of
    a text: the (first) one gets the probability of the document's end, and what stands before one
    is no context. bos_token_id: ids that stand at a text's start. attention_mask: that of the
    prompts, if some are padded on the left: what it masks there is no context.

    >>> processor = MixingLogitsProcessor(index.language_model("infgram"), (0.9, 0.3),
    ...                                   eos_token_id=model.generation_config.eos_token_id)
    >>> model.generate(**inputs, logits_processor=[processor])
    """

    def __init__(
        self,
        model: "LanguageModel",
        weights: Weights,
        *,
        eos_token_id: SomeIds = None,
        bos_token_id: SomeIds = None,
        attention_mask: Any = None,
    ) -> None:
        self._mixture = Mixture(model, weights, eos_token_id, bos_token_id)
        self._begins = np.zeros(1, np.int64) if attention_mask is None else _begins(attention_mask)
        self._padded = attention_mask is not None

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """The mixture's log-probabilities, same shape and type as the scores."""
        ids = input_ids.cpu().numpy()
        # (Beams, and several texts of one prompt, are rows one after another.)
        each, rest = divmod(ids.shape[0], self._begins.shape[0])
        if self._padded and (rest or ids.shape[1] < self._begins.max(initial=0)):
            raise OptionError(
                f"attention_mask: expected that of the prompts, found one of "
                f"{self._begins.shape[0]:,} rows for {ids.shape[0]:,} of {ids.shape[1]:,} ids"
            )
        begins = np.repeat(self._begins, each)
        rows = [row[begin:] for row, begin in zip(ids, begins, strict=True)]
        # (Some processors forbid an id with the least number of a type.)
        least = max(torch.finfo(scores.dtype).min, LEAST)
        exact = scores.double().cpu().numpy()
        mixed = self._mixture.log_probs(rows, np.where(exact <= least, -np.inf, exact))
        return torch.from_numpy(mixed).to(device=scores.device, dtype=scores.dtype)


def _begins(attention_mask: Any) -> np.ndarray:
    """How many places are masked at the start of each row: int64, shape (k,)."""
    mask = np.asarray(attention_mask.cpu() if hasattr(attention_mask, "cpu") else attention_mask)
    if mask.ndim != 2 or not mask.shape[0]:
        raise OptionError(
            f"attention_mask: expected a row for each prompt, found shape {mask.shape}"
        )
    begins: np.ndarray = np.minimum.accumulate(mask == 0, axis=1).sum(axis=1)
    return begins


class DraftCandidateGenerator(CandidateGenerator):
    """Gives transformers' assisted generation the drafts of an index; see `drafting`.

    steps: forward passes of the model so far; drafted, accepted: tokens in drafts, and those of
    them that the model generates, too.
    """

    def __init__(self, index: "Index", max_tokens: int, options: dict[str, Any]) -> None:
        self._index, self._max_tokens, self._options = index, max_tokens, options
        self.steps = self.drafted = self.accepted = 0
        self._contexts = Contexts(index.vocab_size, index.separator, ())
        self._vocab_size, self._max_length, self._begin, self._draft_len = 0, 0, 0, 0
        self._stops: Any = None

    def start(
        self, vocab_size: int, max_length: int, bounds: SomeIds, begin: int, stops: Any = None
    ) -> None:
        """For the next text: ids below `vocab_size`, up to `max_length` of them, with the prompt.

        bounds: ids that end or start texts. begin: where the prompt starts, behind padding. stops:
        transformers' criterion for strings that end texts, if there are any.
        """
        self._vocab_size, self._max_length, self._begin = vocab_size, max_length, begin
        self._stops = stops
        self._contexts = Contexts(
            self._index.vocab_size, self._index.separator, some_ids("eos_token_id", bounds)
        )

    def get_candidates(self, input_ids: Any, **kwargs: Any) -> tuple[Any, None]:
        """The ids, shape (1, n), with a draft behind them: shape (1, n + k); and no scores."""
        # (After a draft the model adds a token of its own.)
        size = min(self._max_tokens, self._max_length - input_ids.shape[1] - 1)
        draft: list[int] = []
        if size > 0:
            prompt = self._contexts.prompt(input_ids[0, self._begin :].cpu().numpy())
            found = self._index.draft(prompt, max_tokens=size, **self._options)
            draft = self._known(list(map(int, found.token_ids)))
        ids = input_ids
        if draft:
            behind = torch.tensor([draft], dtype=ids.dtype, device=ids.device)
            ids = torch.cat((ids, behind), dim=1)
        # (transformers looks for strings that end a text only where it ends after a pass.)
        if self._stops is not None:
            for size in range(input_ids.shape[1] + 1, ids.shape[1] + 1):
                if bool(self._stops(ids[:, :size], None).any()):
                    ids = ids[:, : size - 1]
                    break
        self._draft_len = ids.shape[1] - input_ids.shape[1]
        return ids, None

    def _known(self, draft: list[int]) -> list[int]:
        """The draft up to an id that the model does not have, or that ends its text.

        (The model ends its text itself, with the token that it adds.)
        """
        for place, token in enumerate(draft):
            if token >= self._vocab_size or token in self._contexts.bounds:
                return draft[:place]
        return draft

    def update_candidate_strategy(self, input_ids: Any, scores: Any, num_matches: Any) -> None:
        """Count what became of the draft."""
        self.steps += 1
        self.drafted += self._draft_len
        self.accepted += min(int(num_matches), self._draft_len)


@contextmanager
def drafting(
    model: Any, index: "Index", *, max_tokens: int = 8, **options: Any
) -> Iterator[DraftCandidateGenerator]:
    """Within it, `model.generate` verifies drafts of an index: the same text in fewer steps.

    A draft is what most often follows the longest suffix of the text so far in the index. One
    forward pass of the model verifies all of it and adds a token. What is generated stays the same:
    greedy the same tokens, sampled the same distribution. transformers verifies the drafts of one
    text at a time and without beam search.

    max_tokens: the most in a draft. options: those of `Index.draft`. Changes the model while it
    lasts: no other thread may use it.

    >>> with drafting(model, index) as drafts:
    ...     model.generate(**inputs, max_new_tokens=100, do_sample=False)
    >>> drafts.accepted, drafts.steps
    """
    generator = DraftCandidateGenerator(index, natural("max_tokens", max_tokens, 1), options)
    # (So that wrong options are refused now.)
    index.draft([], max_tokens=max_tokens, **options)
    vocab_size = model.config.get_text_config().vocab_size

    def generator_for(
        generation_config: Any, model_kwargs: Any, target_tokenizer: Any = None, **_: Any
    ) -> Any:
        given = (generation_config.eos_token_id, generation_config.bos_token_id)
        bounds = [each for some in given for each in some_ids("eos_token_id", some)]
        mask = model_kwargs.get("attention_mask")
        begin = 0 if mask is None else int(_begins(mask)[0])
        strings = generation_config.stop_strings
        stops = None if strings is None else StopStringCriteria(target_tokenizer, strings)
        generator.start(vocab_size, generation_config.max_length, bounds, begin, stops)
        return generator

    config = model.generation_config
    before = config.prompt_lookup_num_tokens, vars(model).get("_get_candidate_generator")
    # (transformers has no option for a generator of one's own. With this one it asks this method
    # for that of prompt lookup, which needs no second model, either.)
    config.prompt_lookup_num_tokens = max_tokens
    model._get_candidate_generator = generator_for
    try:
        yield generator
    finally:
        config.prompt_lookup_num_tokens = before[0]
        del model._get_candidate_generator
        if before[1] is not None:
            model._get_candidate_generator = before[1]


def write_log_probs(
    model: Any,
    documents: Iterable["Query"],
    path: str | PathLike[str],
    *,
    tokenizer: "Tokenizer | None" = None,
    window: int = 1024,
    stride: int = 512,
    start_id: int | None = None,
    batch_size: int = 1,
) -> int:
    """Write a neural model's log-probability of every token of documents; returns how many tokens.

    The file is one that `everygram interpolate` reads: path ends in .jsonl (also .gz, .zst) or
    .npz. It is written document by document.

    model: a causal language model of transformers. documents: token ids, or texts with `tokenizer`,
    such as `index.tokenizer`: they are encoded as documents of the index are. A document of more
    than `window` tokens is read in windows that start `stride` tokens apart (the last as near to
    the one before as it can be): each token is scored once, after all tokens before it or at least
    `window − stride` of them. start_id: an id to put before each document (GPT-2:
    50256), so that its first token is scored, too; else that has none. batch_size: how many windows
    the model reads at once.
    """
    if isinstance(documents, str):
        raise OptionError(f"documents: expected several, found one text, {short(documents)}")
    if not isinstance(documents, Iterable):
        raise OptionError(f"documents: expected several, found {short(documents)}")
    window, stride = checked_stride(window, stride)
    most = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if most is not None and window > most:
        raise OptionError(
            f"window: expected at most {most:,}, the tokens that the model sees, found {window:,}"
        )
    size = natural("batch_size", batch_size, 1)
    vocab_size = model.config.get_text_config().vocab_size
    head = [] if start_id is None else [_id("start_id", start_id, vocab_size)]
    sequences = (
        np.concatenate([np.array(head, np.int64), _ids(number, document, tokenizer, vocab_size)])
        for number, document in enumerate(documents)
    )
    tokens = 0

    def scored() -> Iterator[ScoredDocument]:
        nonlocal tokens
        for ids, log_probs in _scored(model, sequences, window, stride, size):
            tokens += ids.shape[0] - len(head)
            yield ScoredDocument(ids[len(head) :], log_probs[len(head) :])

    # (Parts of a model in training may be frozen.)
    training = [part for part in model.modules() if part.training]
    model.eval()
    try:
        write_scored(path, scored())
    finally:
        for part in training:
            part.training = True
    return tokens


def _id(name: str, given: Any, vocab_size: int) -> int:
    found = natural(name, given)
    if found >= vocab_size:
        raise OptionError(
            f"{name}: expected an id below {vocab_size:,}, the model's, found {found}"
        )
    return found


def _ids(
    number: int, document: "Query", tokenizer: "Tokenizer | None", vocab_size: int
) -> np.ndarray:
    """The ids of a document: int64, shape (n,). Raises QueryError, and TokenizerError."""
    if isinstance(document, str):
        if tokenizer is None:
            raise QueryError(
                f"document {number:,}: expected token ids, or a tokenizer for texts, found "
                f"{short(document)}"
            )
        document = tokenizer.encode_batch([document])[0]
    try:
        ids = np.asarray(document.cpu() if hasattr(document, "cpu") else document)
    except ValueError:  # lists of different lengths
        ids = np.empty((0, 0))
    if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
        raise QueryError(
            f"document {number:,}: expected a text or token ids, found {short(document)}"
        )
    wrong = np.flatnonzero((ids < 0) | (ids >= vocab_size))
    if wrong.size:
        raise QueryError(
            f"document {number:,}: expected ids below {vocab_size:,}, the model's, found "
            f"{ids[wrong[0]]} at place {wrong[0]:,}"
        )
    return ids.astype(np.int64)


class _Sequence:
    """Ids, their log-probabilities as far as they are known, and how many windows are not read."""

    def __init__(self, ids: np.ndarray) -> None:
        self.ids = ids
        self.log_probs = np.full(ids.shape[0], np.nan)
        self.left = 0


def _scored(
    model: Any, sequences: Iterable[np.ndarray], window: int, stride: int, size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each sequence with its log-probabilities, in order. size: windows that are read at once."""
    pending: list[_Sequence] = []
    batch: list[tuple[_Sequence, Window]] = []

    def read() -> None:
        _read(model, batch)
        batch.clear()

    for ids in sequences:
        pending.append(_Sequence(ids))
        for part in windows(ids.shape[0], window, stride):
            pending[-1].left += 1
            batch.append((pending[-1], part))
            if len(batch) == size:
                read()
        while pending and not pending[0].left:
            done = pending.pop(0)
            yield done.ids, done.log_probs
    if batch:
        read()
    for done in pending:
        yield done.ids, done.log_probs


def _read(model: Any, batch: Sequence[tuple[_Sequence, Window]]) -> None:
    """Let the model read windows, and note the log-probabilities of what they score."""
    longest = max(part.end - part.begin for _, part in batch)
    ids = np.zeros((len(batch), longest), np.int64)
    mask = np.zeros_like(ids)
    for row, (sequence, part) in enumerate(batch):
        ids[row, : part.end - part.begin] = sequence.ids[part.begin : part.end]
        mask[row, : part.end - part.begin] = 1
    device = model.device
    with torch.inference_mode():
        logits = model(
            input_ids=torch.from_numpy(ids).to(device),
            attention_mask=torch.from_numpy(mask).to(device),
            use_cache=False,
        ).logits
        for row, (sequence, part) in enumerate(batch):
            # (The scores of a token stand at the place of the one before it.)
            scores = logits[row, part.first - part.begin - 1 : part.end - part.begin - 1].float()
            tokens = torch.from_numpy(sequence.ids[part.first : part.end]).to(device)
            chosen = scores.gather(1, tokens[:, None])[:, 0] - scores.logsumexp(dim=1)
            sequence.log_probs[part.first : part.end] = chosen.cpu().numpy()
            sequence.left -= 1
            if np.isnan(sequence.log_probs[part.first : part.end]).any():
                raise QueryError("model: expected scores, found nan: does its dtype suffice?")
            # What rounding adds: no probability exceeds 1.
            np.minimum(sequence.log_probs, 0, out=sequence.log_probs)
