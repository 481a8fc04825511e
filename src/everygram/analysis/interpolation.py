"""What an index adds to a neural model: ∞-gram and neural probabilities mixed, and measured.

Documents with a neural model's log-probabilities in (`log_probs`), an `Interpolation` out. As in
arXiv 2401.17377, §5, with a λ for sparse tokens and one for the others; `forest` gives each token
its own.
"""

from collections.abc import Callable, Iterable
from os import PathLike

import numpy as np

from everygram import arguments
from everygram.analysis.log_probs import ScoredDocument, checked, read_log_probs
from everygram.analysis.mixing import Tokens, best_lambdas, mixed, ratios
from everygram.analysis.scores import check_ids, is_scored, tokens_of
from everygram.errors import OptionError, QueryError
from everygram.index import Index
from everygram.progress import Clock, Progress
from everygram.results.interpolation import (
    Interpolation,
    Interval,
    MixedDocuments,
    MixedTokens,
    delta,
    perplexity,
)

WEIGHTS = ("two", "forest")
# Samples of documents at most.
MOST_SAMPLES = 1_000_000
# The share of samples outside an interval, on either side.
OUTSIDE = 0.025

Documents = str | PathLike[str] | Iterable[ScoredDocument]


def interpolate(
    index: Index,
    tune: Documents,
    test: Documents,
    *,
    weights: str = "two",
    bootstrap: int = 1_000,
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
) -> Interpolation:
    """Mix a neural model with the index's ∞-gram: λ·P∞ + (1−λ)·P_neural.

    tune, test: documents with the neural model's log-probabilities, or the path of a file of them
    (`read_log_probs`). The ids are those of the index's tokenizer. λ is the one that makes the
    tuning documents most likely; what it does is measured on both. Each document counts as one of
    the corpus: P∞ knows where it starts, and looks at all tokens before.

    weights: "two": a λ for sparse tokens (the ∞-gram has seen just one next token) and one for the
    others; a class without tuning tokens takes the λ of all. "forest": a random forest gives each
    token a λ by what the index has of the tokens before it, never by the token itself; needs
    scikit-learn, and two tuning documents or more.
    bootstrap: how many samples of the test documents the 95 % intervals are made of; 0: none.
    seed: the same seed gives the same result. progress: called while a forest grows.

    Raises OptionError and QueryError for arguments that do not fit, as ids that are not in the
    index's vocabulary; CorpusError for files; MissingExtraError without scikit-learn.
    """
    if not isinstance(index, Index):
        raise OptionError(f"index: expected an open index, found {arguments.short(index)}")
    if arguments.string("weights", weights) not in WEIGHTS:
        raise OptionError(f"weights: expected {' or '.join(WEIGHTS)}, found {weights!r}")
    samples = arguments.natural("bootstrap", bootstrap)
    if samples > MOST_SAMPLES:
        raise OptionError(f"bootstrap: expected at most {MOST_SAMPLES:,}, found {samples:,}")
    seed = arguments.natural("seed", seed)
    if weights == "forest":
        # (Without scikit-learn, before any work.)
        from everygram.analysis.forest import Forest, features_of, learner

        learner()
    clock = Clock(arguments.function("progress", progress) or (lambda _: None))
    tuning, testing = _documents("tune", tune), _documents("test", test)
    for documents in (tuning, testing):
        for number, document in enumerate(documents):
            check_ids(index, document, number)
    tune_tokens, test_tokens = tokens_of(index, tuning), tokens_of(index, testing)
    ratio = ratios(tune_tokens)
    one = float(best_lambdas(ratio, np.zeros(len(tune_tokens), np.int64), 1)[0])
    # 0: other, 1: sparse
    group = tune_tokens.sparse.astype(np.int64)
    there = np.bincount(group, minlength=2) > 0
    two = np.where(there, best_lambdas(ratio, group, 2), one)
    lambdas = two[group], two[test_tokens.sparse.astype(np.int64)]
    if weights == "forest":
        clock.enter("grow")
        forest = Forest(features_of(index, tuning), tune_tokens, two, seed, clock.report)
        lambdas = forest.tuned, forest.lambdas(features_of(index, testing))
    return Interpolation(
        weights,
        float(two[1]),
        float(two[0]),
        one,
        _measured(tune_tokens, lambdas[0], two, one),
        _measured(test_tokens, lambdas[1], two, one, samples, seed),
    )


def _documents(name: str, given: Documents) -> list[ScoredDocument]:
    """Those with a token that is scored."""
    if isinstance(given, str | PathLike):
        if not arguments.place(name, given, "a path or an address"):
            raise OptionError(f"{name}: expected a path, found an empty string")
        documents = read_log_probs(given)
    else:
        documents = list(checked(name, given))
    scored = [one for one in documents if is_scored(one).any()]
    if not scored:
        raise QueryError(
            f"{name}: expected documents with log-probabilities, found none in "
            f"{len(documents):,}: they have no tokens, or only null"
        )
    return scored


def _measured(
    tokens: Tokens,
    lambdas: np.ndarray,
    two: np.ndarray,
    one: float,
    samples: int = 0,
    seed: int = 0,
) -> MixedDocuments:
    """What λ of each token does, with intervals from so many samples of the documents."""
    found = mixed(tokens, lambdas)

    def those(chosen: np.ndarray) -> MixedTokens:
        return MixedTokens(
            int(np.count_nonzero(chosen)),
            int(np.count_nonzero(tokens.infgram[chosen] == 0)),
            float(lambdas[chosen].mean()) if chosen.any() else np.nan,
            float(tokens.neural[chosen].sum()),
            float(found[chosen].sum()),
        )

    def log_likelihood(with_lambdas: np.ndarray | float) -> float:
        # (Summed by class, as above: the same numbers have the same sum.)
        values = mixed(tokens, with_lambdas)
        return float(values[tokens.sparse].sum() + values[~tokens.sparse].sum())

    intervals: tuple[Interval | None, ...] = (None, None, None)
    if samples:
        intervals = _intervals(tokens, found, samples, seed)
    return MixedDocuments(
        tokens.documents,
        those(tokens.sparse),
        those(~tokens.sparse),
        log_likelihood(two[tokens.sparse.astype(np.int64)]),
        log_likelihood(one),
        *intervals,
    )


def _intervals(
    tokens: Tokens, found: np.ndarray, samples: int, seed: int
) -> tuple[Interval, Interval, Interval]:
    """Of the neural perplexity, the mixture's, and Δ, over documents drawn with replacement."""
    random = np.random.default_rng(seed)
    documents = tokens.documents
    counts = np.bincount(tokens.document, minlength=documents)
    sums = [np.bincount(tokens.document, each, documents) for each in (tokens.neural, found)]
    drawn = np.empty((samples, 3))
    for sample in drawn:
        times = random.multinomial(documents, np.full(documents, 1 / documents))
        # (Without those that are not drawn: 0 times −inf is nothing.)
        chosen = np.flatnonzero(times)
        number = int(times @ counts)
        neural, mixture = (perplexity(float(times[chosen] @ each[chosen]), number) for each in sums)
        sample[:] = neural, mixture, delta(neural, mixture)
    return _interval(drawn[:, 0]), _interval(drawn[:, 1]), _interval(drawn[:, 2])


def _interval(drawn: np.ndarray) -> Interval:
    """In which all but a share of OUTSIDE on either side are; nan if one of them is."""
    if np.isnan(drawn).any():
        return np.nan, np.nan
    rising = np.sort(drawn)
    outside = int(drawn.shape[0] * OUTSIDE)
    return float(rising[outside]), float(rising[-1 - outside])
