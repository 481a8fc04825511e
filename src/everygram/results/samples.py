"""Texts that a language model has drawn."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from everygram.arguments import short
from everygram.results import html
from everygram.results.base import Reading, Value, token_texts

Finished = Literal["document_end", "max_tokens"]


@dataclass(eq=False, repr=False)
class Sample(Value):
    """Tokens that a language model has drawn after a prompt.

    prompt_ids, ids: int64, shapes (m,) and (n,). finished: "document_end" if the end of the
    document was drawn after them, else "max_tokens". log_probs: float64, in nats: of each token
    after those before it that the model saw, and of the end if it was drawn: shape (n + 1,) then,
    else (n,). They are the model's own, whatever temperature, top_k and top_p made of them (for
    stupid backoff, logarithms of scores).
    """

    _reading: Reading
    prompt_ids: np.ndarray
    ids: np.ndarray
    log_probs: np.ndarray
    finished: Finished

    @property
    def token_ids(self) -> list[int]:
        """The ids that were drawn."""
        drawn: list[int] = self.ids.tolist()
        return drawn

    @property
    def tokens(self) -> list[str] | None:
        """The tokens that were drawn, or None if the index has no tokenizer."""
        return token_texts(self.ids, self._reading)

    @property
    def prompt(self) -> str | None:
        """The prompt as text, or None if the index has no tokenizer."""
        return None if self._texts is None else self._texts[0]

    @property
    def text(self) -> str | None:
        """What was drawn, as text that continues the prompt; None if there is no tokenizer."""
        return None if self._texts is None else self._texts[1]

    @property
    def log_prob(self) -> float:
        """The sum of `log_probs`."""
        return float(self.log_probs.sum())

    def __len__(self) -> int:
        """How many tokens were drawn."""
        return int(self.ids.shape[0])

    def __repr__(self) -> str:
        drawn = self.token_ids if self.text is None else self.text
        return (
            f"Sample({short(drawn)}, {len(self):,} tokens, {self.finished}, "
            f"ln p = {self.log_prob:.6g})"
        )

    def _repr_html_(self) -> str:
        ended = "end of document" if self.finished == "document_end" else "cut at max_tokens"
        prompt, drawn = self._texts or (
            " ".join(map(str, ids.tolist())) for ids in (self.prompt_ids, self.ids)
        )
        return html.lines(
            html.note(f"{len(self):,} tokens, {ended}, ln p = {self.log_prob:.6g}"),
            html.passage(prompt, drawn, ""),
        )

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {
            "prompt_ids": self.prompt_ids.tolist(),
            "prompt": self.prompt,
            "token_ids": self.token_ids,
            "tokens": self.tokens,
            "text": self.text,
            "log_probs": self.log_probs.tolist(),
            "log_prob": self.log_prob,
            "finished": self.finished,
        }

    @cached_property
    def _texts(self) -> tuple[str, str] | None:
        """The text of the prompt and of what was drawn; a character of both is of the second."""
        if not self._reading.has_tokenizer:
            return None
        separator = np.iinfo(self._reading.dtype).max
        prompt = self.prompt_ids[self.prompt_ids != separator]
        inside = not (self.prompt_ids.shape[0] and int(self.prompt_ids[0]) == separator)
        ids = np.concatenate([prompt, self.ids])
        before, drawn, _ = self._reading.cut(ids, prompt.shape[0], ids.shape[0], inside)
        return before, drawn
