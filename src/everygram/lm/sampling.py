"""Draws tokens from distributions, one after another.

In: a function from ids to the distribution of what follows them. Out: ids, and the logarithms of
their probabilities. Knows nothing of indexes, texts or models.

Each sample has a random stream of its own, made from the seed and the sample's number: it is the
same alone, in any batch, and on any number of threads.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Self

import numpy as np

from everygram import arguments
from everygram.arguments import LARGEST, natural, short
from everygram.errors import OptionError, QueryError
from everygram.lm.ordered import in_order
from everygram.results.samples import Finished

# Ids -> the distribution of what follows them: float64, shape (vocab_size + 1,); the last entry is
# the document's end. Scores that do not sum to 1 will do.
DistributionOf = Callable[[np.ndarray], np.ndarray]

# The most likely tokens that are looked at first, where the fewest that have a share are wanted;
# how many times more there are at each further look.
FEW, MORE = 256, 8


class Drawn(NamedTuple):
    """What was drawn: ids (int64, shape (n,)), and the logarithm of the probability of each.

    log_probs: float64, shape (n,), and one more for the document's end if `finished` is
    "document_end".
    """

    ids: np.ndarray
    log_probs: np.ndarray
    finished: Finished


@dataclass(frozen=True)
class SamplingOptions:
    """How tokens are drawn; made by `checked`.

    max_tokens: how many at most. temperature: probabilities are raised to 1 / temperature; 0 takes
    the most likely token, of equals the one with the lowest id. Then top_k: only the k most likely
    can be drawn (of equals those with the lowest ids). Then top_p: only the fewest most likely
    whose share of what is left is top_p or more. max_context: the model sees so many of the last
    tokens, a separator counts as one. seed: of all that is random.
    """

    max_tokens: int
    temperature: float
    top_k: int | None
    top_p: float | None
    max_context: int | None
    seed: int

    @classmethod
    def checked(
        cls,
        max_tokens: Any = 100,
        temperature: Any = 1.0,
        top_k: Any = None,
        top_p: Any = None,
        max_context: Any = None,
        seed: Any = None,
    ) -> Self:
        """The options, whatever they were given as; without a seed, a new one. Raises OptionError.

        A seed is any integer.
        """
        heat = arguments.number("temperature", temperature)
        if not 0 <= heat < np.inf:
            raise OptionError(f"temperature: expected 0 or more, found {short(temperature)}")
        share = None if top_p is None else arguments.number("top_p", top_p)
        if share is not None and not 0 < share <= 1:
            raise OptionError(f"top_p: expected more than 0, up to 1, found {short(top_p)}")
        return cls(
            natural("max_tokens", max_tokens),
            heat,
            None if top_k is None else natural("top_k", top_k, 1),
            share,
            None if max_context is None else natural("max_context", max_context),
            _new_seed() if seed is None else arguments.integer("seed", seed),
        )


def sample(
    distribution_of: DistributionOf,
    prompt: np.ndarray,
    options: SamplingOptions,
    number: int = 0,
) -> Drawn:
    """Draw tokens after a prompt (ids, shape (m,)) until the document ends, or up to `max_tokens`.

    number: which sample of a batch this is. O(max_tokens) calls of `distribution_of`.
    """
    stream = _stream(options.seed, number)
    begin = prompt.shape[0]
    ids = np.concatenate([prompt.astype(np.int64), np.empty(64, np.int64)])
    seen = LARGEST if options.max_context is None else options.max_context
    log_probs: list[float] = []
    end = begin
    finished: Finished = "max_tokens"
    while end - begin < options.max_tokens:
        distribution = distribution_of(ids[max(0, end - seen) : end])
        drawn = choose(distribution, options.temperature, options.top_k, options.top_p, stream)
        log_probs.append(float(np.log(distribution[drawn])))
        if drawn == distribution.shape[0] - 1:
            finished = "document_end"
            break
        if end == ids.shape[0]:
            ids = np.concatenate([ids, np.empty_like(ids)])
        ids[end] = drawn
        end += 1
    return Drawn(ids[begin:end].copy(), np.array(log_probs, np.float64), finished)


def sample_batch(
    distribution_of: DistributionOf,
    prompts: Sequence[np.ndarray],
    options: SamplingOptions,
    threads: int | None = None,
) -> list[Drawn]:
    """A sample after each prompt; sample i is `sample` with number i. Threads share the prompts."""
    work = partial(_numbered, distribution_of, options)
    return list(in_order(work, enumerate(prompts), threads))


def _numbered(
    distribution_of: DistributionOf, options: SamplingOptions, asked: tuple[int, np.ndarray]
) -> Drawn:
    place, prompt = asked
    return sample(distribution_of, prompt, options, place)


def choose(
    distribution: np.ndarray,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    stream: np.random.Generator,
) -> int:
    """Draw an entry of a distribution (float64, shape (n,), n > 0; the sum need not be 1).

    The options are those of `SamplingOptions`. An entry of 0 is never drawn. One number of the
    stream is used, none at temperature 0. Raises QueryError if all entries are 0.
    """
    likely = int(distribution.argmax())
    if not distribution[likely] > 0:
        raise QueryError("expected a model with something to draw, found probability 0 of all")
    if temperature == 0:
        return likely
    places, weights = possible(distribution, temperature, top_k, top_p)
    sums = np.cumsum(weights)
    drawn = int(np.searchsorted(sums, stream.random() * sums[-1], side="right"))
    # (The product may be rounded up to the whole sum: then it is the last that has a part of it.)
    drawn = min(drawn, int(np.searchsorted(sums, sums[-1])))
    return drawn if places is None else int(places[drawn])


def possible(
    distribution: np.ndarray, temperature: float, top_k: int | None, top_p: float | None
) -> tuple[np.ndarray | None, np.ndarray]:
    """The places that can be drawn, and their weights, which need not sum to 1.

    temperature: more than 0. Places: int64, the most likely first; None if they are all in order.
    """
    weights = distribution if temperature == 1 else heated(distribution, temperature)
    if top_k is None and top_p is None:
        return None, weights
    size = weights.shape[0]
    if top_p is None:
        places = most_likely(weights, min(size, top_k or size))
        return places, weights[places]
    most = min(size, top_k or size)
    whole = float(weights.sum()) if most == size else None
    look = min(FEW, most)
    while True:
        places = most_likely(weights, look if whole is not None else most)
        kept = weights[places]
        sums = np.cumsum(kept)
        share = top_p * (float(sums[-1]) if whole is None else whole)
        # (The entry with which the sum reaches the share is the last.)
        reached = int(np.searchsorted(sums, share))
        if reached < sums.shape[0] or places.shape[0] == most:
            return places[: reached + 1], kept[: reached + 1]
        look = min(most, MORE * look)


def heated(distribution: np.ndarray, temperature: float) -> np.ndarray:
    """The entries to the power of 1 / temperature, the largest as 1: float64, same shape."""
    with np.errstate(divide="ignore"):
        logarithms = np.log(distribution)
    weights: np.ndarray = np.exp((logarithms - logarithms.max()) / temperature)
    return weights


def most_likely(weights: np.ndarray, number: int) -> np.ndarray:
    """The places of the largest entries, the largest first, of equals the lower place first.

    number: how many, from 1 to the number of entries. Returns int64, shape (number,).
    """
    size = weights.shape[0]
    least = np.partition(weights, size - number)[size - number]
    above = np.flatnonzero(weights > least)
    equal = np.flatnonzero(weights == least)[: number - above.shape[0]]
    above = above[np.argsort(-weights[above], kind="stable")]
    return np.concatenate([above, equal])


def _new_seed() -> int:
    return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])


def _stream(seed: int, number: int) -> np.random.Generator:
    """The random numbers of one sample."""
    # (A seed sequence takes no negative numbers: the sign is a number of its own.)
    return np.random.Generator(np.random.PCG64([number, int(seed < 0), abs(seed)]))
