"""How well a language model predicts texts."""

import math
from dataclasses import dataclass
from typing import Any

from everygram.results.base import Value


@dataclass(eq=False, repr=False)
class Perplexity(Value):
    """How well a language model predicts texts: their log-likelihood, and what it is shared among.

    tokens: the events that have a probability each: the texts' tokens, and their ends if these were
    asked for. words: parts between white space; bytes: of the text as UTF-8; both None where a text
    was given as token ids. log_likelihood: the sum of ln p over the events, in nats; -inf if one of
    them has probability 0. zeros: how many have; log_likelihood_without_zeros: the sum over the
    others.

    The sum of several is that of their documents together. `sum(…)` works, too.
    """

    documents: int
    tokens: int
    words: int | None
    bytes: int | None
    log_likelihood: float
    zeros: int
    log_likelihood_without_zeros: float

    @property
    def perplexity(self) -> float:
        """Per token: e to the mean of −ln p. inf where an event has probability 0."""
        return _perplexity(self.log_likelihood, self.tokens)

    @property
    def perplexity_without_zeros(self) -> float:
        """Per token, over the tokens whose probability is not 0: no measure of the whole text."""
        return _perplexity(self.log_likelihood_without_zeros, self.tokens - self.zeros)

    @property
    def word_perplexity(self) -> float:
        """Per word of the text, whatever its tokens are; nan if the words are not known."""
        return _perplexity(self.log_likelihood, self.words)

    @property
    def byte_perplexity(self) -> float:
        """Per byte of the text; nan if the bytes are not known."""
        return _perplexity(self.log_likelihood, self.bytes)

    @property
    def bits_per_byte(self) -> float:
        """The mean of −log2 p per byte of the text; nan if the bytes are not known."""
        return -self.log_likelihood / math.log(2) / self.bytes if self.bytes else math.nan

    def __add__(self, other: object) -> "Perplexity":
        if not isinstance(other, Perplexity):
            return NotImplemented
        return Perplexity(
            self.documents + other.documents,
            self.tokens + other.tokens,
            _sum(self.words, other.words),
            _sum(self.bytes, other.bytes),
            self.log_likelihood + other.log_likelihood,
            self.zeros + other.zeros,
            self.log_likelihood_without_zeros + other.log_likelihood_without_zeros,
        )

    def __radd__(self, other: object) -> "Perplexity":
        # (`sum` begins with 0.)
        return self if type(other) is int and other == 0 else NotImplemented

    def __repr__(self) -> str:
        zeros = f", {self.zeros:,} of probability 0" if self.zeros else ""
        return f"Perplexity({self.perplexity:.6g} per token, {self.tokens:,} tokens{zeros})"

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON values; what is infinite or undefined is None."""
        return {
            "documents": self.documents,
            "tokens": self.tokens,
            "words": self.words,
            "bytes": self.bytes,
            "log_likelihood": _finite(self.log_likelihood),
            "perplexity": _finite(self.perplexity),
            "word_perplexity": _finite(self.word_perplexity),
            "byte_perplexity": _finite(self.byte_perplexity),
            "bits_per_byte": _finite(self.bits_per_byte),
            "zeros": self.zeros,
            "log_likelihood_without_zeros": self.log_likelihood_without_zeros,
            "perplexity_without_zeros": _finite(self.perplexity_without_zeros),
        }


def _perplexity(log_likelihood: float, number: int | None) -> float:
    if not number:
        return math.nan
    try:
        return math.exp(-log_likelihood / number)
    except OverflowError:
        return math.inf


def _sum(one: int | None, two: int | None) -> int | None:
    return None if one is None or two is None else one + two


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
