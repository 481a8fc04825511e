"""`LanguageModel`: what `Index.language_model` returns. Text or ids in, probabilities out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count, pairwise
from typing import Any

import numpy as np

from everygram.arguments import flag, natural, short
from everygram.encoding import Batch, Encoding, Query, Reading
from everygram.engine.pace import spread
from everygram.engine.queries import Ids, Queries
from everygram.errors import QueryError, TokenizerError
from everygram.lm.perplexity import encoded, perplexity_of
from everygram.lm.sampling import SamplingOptions, sample, sample_batch
from everygram.lm.smoothing import Smoothing
from everygram.results.perplexity import Perplexity
from everygram.results.samples import Sample

# Tokens of texts that are looked up together.
TOGETHER = 4096


@dataclass(frozen=True, repr=False, eq=False)
class LanguageModel:
    """A language model over the tokens of an index, as the index was when the model was made.

    smoothing, order: as given to `Index.language_model`. vocab_size: ids are in [0, vocab_size).
    separator: the id that stands for a document's start and end. normalized: whether distributions
    sum to 1 (False for stupid backoff, whose values are scores).

    Texts and prompts are strings or token ids, as everywhere (see `Index`). A separator at their
    start says that a document starts there; one inside ends a document and starts the next.
    Methods may be called from several threads. In another process (pickled) it is made anew of its
    index, as that is there.
    """

    model: Smoothing
    encoding: Encoding
    reading: Reading
    # The index that it was made of, and the arguments: another process makes it of these.
    index: Any
    arguments: dict[str, Any]

    def __reduce__(self) -> tuple[Any, ...]:
        return _made_of, (self.index, self.arguments)

    def __repr__(self) -> str:
        order = "" if self.order is None else f" of order {self.order}"
        return f"<everygram.LanguageModel {self.smoothing}{order} of '{self.reading.path}'>"

    @property
    def smoothing(self) -> str:
        """As given to `Index.language_model`."""
        smoothing: str = self.arguments["smoothing"]
        return smoothing

    @property
    def order(self) -> int | None:
        """As given to `Index.language_model`."""
        order: int | None = self.arguments["order"]
        return order

    @property
    def vocab_size(self) -> int:
        """Ids are in [0, vocab_size); a distribution has one entry more, for the document's end."""
        return self.model.vocab_size

    @property
    def separator(self) -> int:
        """The id that stands for a document's start and end."""
        return self.model.separator

    @property
    def normalized(self) -> bool:
        """Whether the values are probabilities; otherwise they are scores."""
        return self.model.normalized

    def prob(
        self, prompt: Query, continuation: str | int | None = None, *, raw: bool = False
    ) -> float:
        """The probability of a token after a prompt: the prompt's last token if none is given."""
        before, token = self.encoding.prompt(prompt, continuation, raw)
        vocabulary = self.encoding.vocabulary
        context = self.model.used(self.context(vocabulary.check(before)))
        asked = vocabulary.query([*context.tolist(), token])
        return float(np.exp(self.model.log_probs(asked, asked.ids.shape[0] - 1)[0]))

    def distribution(self, prompt: Query, *, raw: bool = False) -> np.ndarray:
        """The probability of every token after a prompt.

        float64, shape (vocab_size + 1,): entry i is that of id i, the last one that of the
        document's end. They sum to 1 if the model is `normalized`.
        """
        ids = self.encoding.encode(prompt, raw, "prompt")
        return self.model.distribution(self.context(ids))

    def log_probs(
        self, text: Query, *, document_start: bool = False, raw: bool = False
    ) -> np.ndarray:
        """ln of the probability of every token of a text after those before it, in nats.

        float64, shape (n,); −inf for a token of probability 0. The first token stands after
        nothing or, with `document_start`, at the start of a document.
        """
        asked = self.encoding.query(text, raw, "text")
        if not flag("document_start", document_start, QueryError):
            return self.model.log_probs(asked, 0)
        ids = np.concatenate([[self.separator], asked.ids])
        return self.model.log_probs(self.encoding.vocabulary.query(ids), 1)

    def log_probs_batch(
        self,
        texts: Batch,
        offsets: Ids | None = None,
        *,
        document_start: bool = False,
        raw: bool = False,
    ) -> list[np.ndarray]:
        """`log_probs` of each of a batch of texts (see `Index.count_batch`), on all cores."""
        start = flag("document_start", document_start, QueryError)
        asked = self.encoding.queries(texts, offsets, raw)
        if not start:

            def each(begin: int, end: int) -> list[np.ndarray]:
                return [self.model.log_probs(text, 0) for text in asked[begin:end].alone()]

            return [found for some in spread(each, len(asked), 1) for found in some]

        # Texts that start documents do not depend on one another: many are looked up as one text.
        sizes = np.cumsum(asked.ends - asked.starts + 1)
        cuts = np.flatnonzero(np.diff(sizes // TOGETHER, prepend=0, append=-1))
        bounds = np.unique([0, *cuts, len(asked)])

        def some(begin: int, end: int) -> list[np.ndarray]:
            return [
                found
                for first, last in pairwise(bounds[begin : end + 1].tolist())
                for found in self._together(asked[first:last])
            ]

        return [found for each in spread(some, bounds.shape[0] - 1, 1) for found in each]

    def _together(self, texts: Queries) -> list[np.ndarray]:
        """The log-probabilities of texts that start documents, at least one."""
        lengths = texts.ends - texts.starts
        ids = texts.ids[texts.starts[0] : texts.ends[-1]].astype(np.int64)
        ids = np.insert(ids, texts.starts - texts.starts[0], self.separator)
        found = self.model.log_probs(self.encoding.vocabulary.query(ids), 1)
        ends = np.cumsum(lengths + 1) - 1
        return [found[end - length : end] for end, length in zip(ends, lengths, strict=True)]

    def longest_suffix_batch(self, prompts: Batch, *, raw: bool = False) -> list[int]:
        """Of each of a batch of prompts, the length of its longest suffix that occurs in the index.

        What follows depends on no more than that, but in stupid backoff of an order.
        """
        asked = self.encoding.queries(prompts, None, raw)
        lengths: list[int] = self.model.engine.longest_suffix_batch(asked).tolist()
        return lengths

    def perplexity(self, texts: Iterable[Query], *, document_end: bool = False) -> Perplexity:
        """How well the model predicts texts, each of them a document.

        Strings are encoded as documents are, without the index's query prefix. The first token of
        a text is conditioned on the start of a document; with `document_end` its end is an event,
        too. On all cores; takes a text when it is its turn.
        """
        end = flag("document_end", document_end, QueryError)
        expected = "texts: expected a list of texts, or of lists of ids, found"
        if isinstance(texts, str | bytes):
            raise QueryError(f"{expected} one text, {short(texts)}; give [text]")
        if isinstance(texts, Mapping):
            raise QueryError(f"{expected} {short(texts)}")
        try:
            each = iter(texts)
        except TypeError:
            raise QueryError(f"{expected} {short(texts)}") from None
        return perplexity_of(
            encoded(map(self._document, count(), each), self._encode_batch),
            partial(self.log_probs_batch, document_start=True),
            self.separator if end else None,
        )

    def _document(self, number: int, text: Query) -> str | np.ndarray:
        """A document as it was given, or its ids."""
        if isinstance(text, str):
            return text
        if isinstance(text, int | np.integer):
            raise QueryError(
                f"texts[{number}]: expected a text or a list of ids, found the number {short(text)}"
                "; of one text's ids, give [ids]"
            )
        return self.encoding.vocabulary.check(text, f"texts[{number}]")

    def _encode_batch(self, texts: list[str]) -> list[np.ndarray]:
        """The ids of texts, each encoded as a document."""
        tokenizer = self.reading.tokenizer
        if tokenizer is None:
            raise TokenizerError(
                f"index '{self.reading.path}' has no tokenizer (it was built from token ids): "
                "give token ids"
            )
        return tokenizer.encode_batch(texts)

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
    ) -> Sample:
        """Draw tokens after a prompt, until the document ends or there are `max_tokens`.

        temperature: probabilities are raised to 1 / temperature; 0 takes the most likely token, of
        equals that with the lowest id. Then top_k: only the k most likely can be drawn; then
        top_p: only the fewest most likely that have this share of the rest. max_context: the model
        sees so many of the last tokens, which bounds how much of a document it copies. seed: the
        same one draws the same tokens (default: a new one). number: of several samples with a
        seed, the one that `sample_batch` draws at this place. Raises OptionError, QueryError.
        """
        options = SamplingOptions.checked(max_tokens, temperature, top_k, top_p, max_context, seed)
        place = natural("number", number)
        ids = self.encoding.encode(prompt, raw, "prompt")
        return Sample(self.reading, ids, *sample(self._after, ids, options, place))

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
    ) -> list[Sample]:
        """A `sample` after each prompt, on all cores.

        Each has random numbers of its own, made from the seed and its place in the list: the first
        is what `sample` draws.
        """
        options = SamplingOptions.checked(max_tokens, temperature, top_k, top_p, max_context, seed)
        asked = [
            each.ids.astype(np.int64) for each in self.encoding.queries(prompts, None, raw).alone()
        ]
        drawn = sample_batch(self._after, asked, options)
        return [Sample(self.reading, ids, *one) for ids, one in zip(asked, drawn, strict=True)]

    def _after(self, ids: np.ndarray) -> np.ndarray:
        return self.model.distribution(self.context(ids))

    def context(self, prompt: np.ndarray) -> np.ndarray:
        """What a prompt's next token depends on: from the last separator on."""
        separators = np.flatnonzero(prompt == self.separator)
        return prompt[separators[-1] :] if separators.size else prompt


def _made_of(index: Any, arguments: dict[str, Any]) -> LanguageModel:
    """The language model of an index, as `Index.language_model` makes it."""
    model: LanguageModel = index.language_model(**arguments)
    return model
