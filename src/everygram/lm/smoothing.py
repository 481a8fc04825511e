"""What every smoothing gives, and the smoothings that are made of counts alone.

Checked ids in, probabilities out. Knows the engine, not text.

The dense form of a distribution has an entry per id of the vocabulary and, last, one for the end of
the document: float64, shape (vocab_size + 1,).
"""

from abc import ABC, abstractmethod

import numpy as np

from everygram.engine.distributions import NO_LIMIT
from everygram.engine.engine import Engine
from everygram.engine.queries import Queries
from everygram.errors import QueryError

# The ids of the largest vocabulary that distributions are held in memory for.
MOST_IDS = 1 << 26
# What a shorter context costs in stupid backoff (Brants et al. 2007).
BACKOFF = 0.4


class Smoothing(ABC):
    """The probability of a token after a context, for every context.

    A context is what stands before a token since the last separator, with that separator: nothing
    of what is before it counts.
    """

    # Whether distributions sum to 1.
    normalized = True

    def __init__(self, engine: Engine, order: int | None = None) -> None:
        self.engine, self.order = engine, order
        self.vocab_size = engine.vocabulary.vocab_size
        self.separator = int(engine.vocabulary.separator)

    @abstractmethod
    def log_probs(self, text: Queries, first: int) -> np.ndarray:
        """ln of the probability of every token of a text from place `first` on after those before.

        float64, shape (len − first,); −inf for a probability of 0. A separator is the end of a
        document and the start of the next.
        """

    @abstractmethod
    def distribution(self, context: np.ndarray) -> np.ndarray:
        """The distribution after a context, in the dense form. The ids are checked ones."""

    def used(self, context: np.ndarray) -> np.ndarray:
        """The part of a context that the next token depends on: its longest suffix that occurs, of
        at most order − 1 tokens."""
        query = self.engine.vocabulary.query(shortened(context, self.order))
        longest = int(self.engine.longest_suffix_batch(query)[0])
        return context[context.shape[0] - longest :]

    def filled(self, value: float) -> np.ndarray:
        """The dense form with the same value everywhere. Raises QueryError if it has too many."""
        if self.vocab_size > MOST_IDS:
            raise QueryError(
                f"a distribution over a vocabulary of {self.vocab_size:,} ids: expected at most "
                f"{MOST_IDS:,}; build the index with the vocab_size of its tokenizer"
            )
        return np.full(self.vocab_size + 1, value)

    def dense(self, ids: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Values of ids in the dense form, 0 elsewhere."""
        found = self.filled(0.0)
        found[np.where(ids == self.separator, self.vocab_size, ids)] = values
        return found


class Infgram(Smoothing):
    """The ∞-gram model of the paper: the longest suffix of the context that occurs.

    With `order` n, the longest of up to n − 1 tokens. A token that never follows has probability 0.
    """

    def log_probs(self, text: Queries, first: int) -> np.ndarray:
        probs, _ = self.probs(text, first)
        with np.errstate(divide="ignore"):
            found: np.ndarray = np.log(probs)
        return found

    def probs(self, text: Queries, first: int) -> tuple[np.ndarray, np.ndarray]:
        """The probabilities, and whether only one token ever follows the context that was used."""
        _, prompts, counts, sparse = self.engine.score(text, self.order, backoff=True)
        prompts, counts, sparse = prompts[first:], counts[first:], sparse[first:]
        # (In an index without tokens nothing has a probability but what is uniform.)
        probs = np.full(counts.shape[0], 1 / (self.vocab_size + 1))
        np.divide(counts, prompts, out=probs, where=prompts > 0)
        return probs, sparse

    def distribution(self, context: np.ndarray) -> np.ndarray:
        return self.followers(context)[0]

    def followers(self, context: np.ndarray) -> tuple[np.ndarray, bool]:
        """The distribution, and whether only one token ever follows."""
        following = self.engine.ntd(shortened(context, self.order), True, NO_LIMIT)
        if not following.prompt_count:
            return self.filled(1 / (self.vocab_size + 1)), False
        ids, counts, _ = following.table
        return self.dense(ids, counts / following.prompt_count), ids.shape[0] == 1


class StupidBackoff(Smoothing):
    """Stupid backoff (Brants et al. 2007): the relative frequency after the longest context that
    the token follows, times 0.4 for each token left out. These are scores: they sum to more than 1.
    """

    normalized = False

    def used(self, context: np.ndarray) -> np.ndarray:
        # (With an order, also tokens with which it does not occur count.)
        return super().used(context) if self.order is None else shortened(context, self.order)

    def log_probs(self, text: Queries, first: int) -> np.ndarray:
        places = np.arange(text.ids.shape[0] + 1)
        tokens, ends = places[:-1], places[1:]
        none = np.empty((0, len(self.engine.segments), 2), np.int64)
        # Where the longest context that the token follows starts: after the token if there is none.
        starts = np.searchsorted(tokens + self.engine.match_lengths(text, True, none), ends)
        # Where the context starts from which backing off begins.
        if self.order is None:
            bounds = tokens + self.engine.match_lengths(text, False, none)
            contexts = np.searchsorted(bounds, tokens)
        else:
            begins = np.zeros_like(places)
            separators = np.flatnonzero(text.ids == self.separator)
            begins[separators + 1] = separators
            contexts = np.maximum.accumulate(begins)[:-1]
            contexts = np.maximum(contexts, tokens - (min(self.order, places.size) - 1))
        starts = np.maximum(starts, contexts)
        known = np.minimum(starts, tokens)
        prompts, counts = (
            self.engine.counts_of(self.engine.intervals_of_runs(text.ranges(known, places)))
            for places in (tokens, ends)
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log(counts) - np.log(prompts) + np.log(BACKOFF) * (known - contexts)
        logs[(counts == 0) | (starts > tokens)] = -np.inf
        found: np.ndarray = logs[first:]
        return found

    def distribution(self, context: np.ndarray) -> np.ndarray:
        asked = shortened(context, self.order)
        scores = self.filled(0.0)
        factor = 1.0
        length = asked.shape[0]
        occurs = self.engine.ntd(asked, True, NO_LIMIT).suffix_len
        if self.order is not None:
            factor = BACKOFF ** (length - occurs)
        for size in range(occurs, -1, -1):
            following = self.engine.ntd(asked[length - size :], False, NO_LIMIT)
            ids, counts, _ = following.table
            of_these = self.dense(ids, factor * counts / max(1, following.prompt_count))
            scores = np.where(scores > 0, scores, of_these)
            factor *= BACKOFF
        return scores


class Floored(Smoothing):
    """The ∞-gram model mixed with a lower model, so that no probability is 0.

    weights: the ∞-gram's share where only one token ever follows, and elsewhere.
    """

    def __init__(self, engine: Engine, lower: Smoothing, weights: tuple[float, float]) -> None:
        super().__init__(engine)
        self._infgram = Infgram(engine, None)
        self._lower, self._weights = lower, weights

    def log_probs(self, text: Queries, first: int) -> np.ndarray:
        probs, sparse = self._infgram.probs(text, first)
        share = np.where(sparse, *self._weights)
        with np.errstate(divide="ignore"):
            found: np.ndarray = np.logaddexp(
                np.log(share) + np.log(probs), np.log1p(-share) + self._lower.log_probs(text, first)
            )
        return found

    def distribution(self, context: np.ndarray) -> np.ndarray:
        probs, sparse = self._infgram.followers(context)
        share = self._weights[0 if sparse else 1]
        mixed: np.ndarray = share * probs + (1 - share) * self._lower.distribution(context)
        return mixed


class Unigrams(Smoothing):
    """Counts of tokens, each with 1 added: (count + 1) / (count of all + vocab_size + 1)."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        ids, counts, _ = engine.ntd(np.empty(0, np.int64), False, NO_LIMIT).table
        self._probs = (self.dense(ids, counts) + 1) / (counts.sum() + self.vocab_size + 1)
        self._logs = np.log(self._probs)

    def log_probs(self, text: Queries, first: int) -> np.ndarray:
        ids = text.ids[first:].astype(np.int64)
        found: np.ndarray = self._logs[np.where(ids == self.separator, self.vocab_size, ids)]
        return found

    def distribution(self, context: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._probs.copy()
        return found


def shortened(context: np.ndarray, order: int | None) -> np.ndarray:
    """The last order − 1 tokens of a context."""
    if order is None or context.shape[0] < order:
        return context
    return context[context.shape[0] - (order - 1) :]
