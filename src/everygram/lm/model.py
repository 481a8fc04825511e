"""`LanguageModel`: what `Index.language_model` returns. Text or ids in, probabilities out."""

from dataclasses import dataclass

import numpy as np

from everygram.arguments import flag
from everygram.encoding import Batch, Encoding, Query, Reading
from everygram.engine.pace import spread
from everygram.engine.queries import Ids, Queries
from everygram.errors import QueryError
from everygram.lm.smoothing import Smoothing


@dataclass(frozen=True, repr=False)
class LanguageModel:
    """A language model over the tokens of an index, as the index was when the model was made.

    smoothing, order: as given to `Index.language_model`. vocab_size: ids are in [0, vocab_size).
    separator: the id that stands for a document's start and end. normalized: whether distributions
    sum to 1 (False for stupid backoff, whose values are scores).

    Texts and prompts are strings or token ids, as everywhere (see `Index`). A separator at their
    start says that a document starts there; one inside ends a document and starts the next.
    Methods may be called from several threads.
    """

    smoothing: str
    order: int | None
    model: Smoothing
    encoding: Encoding
    reading: Reading

    def __repr__(self) -> str:
        order = "" if self.order is None else f" of order {self.order}"
        return f"<everygram.LanguageModel {self.smoothing}{order} of '{self.reading.path}'>"

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
        context = vocabulary.check(before)
        asked = vocabulary.query([*self.context(context).tolist(), token])
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
        return self._log_probs(asked, flag("document_start", document_start, QueryError))

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

        def each(begin: int, end: int) -> list[np.ndarray]:
            return [self._log_probs(text, start) for text in asked[begin:end].alone()]

        return [found for some in spread(each, len(asked), 1) for found in some]

    def _log_probs(self, text: Queries, document_start: bool) -> np.ndarray:
        if not document_start:
            return self.model.log_probs(text, 0)
        ids = np.concatenate([np.array([self.separator], text.ids.dtype), text.ids])
        return self.model.log_probs(self.encoding.vocabulary.query(ids), 1)

    def context(self, prompt: np.ndarray) -> np.ndarray:
        """What a prompt's next token depends on: from the last separator on."""
        separators = np.flatnonzero(prompt == self.separator)
        return prompt[separators[-1] :] if separators.size else prompt
