"""A λ for each token, by what the index has of the tokens before it: a random forest.

In: an index, documents, and what both models give the tuning documents' tokens. Out: a λ for each
token. A tree sees a sample of the tuning documents, drawn with replacement. It learns the share
that the ∞-gram has in each token's mixed probability, and so puts tokens together of which the
∞-gram knows equally much; each leaf then takes the λ that makes its tokens most likely (`mixing`).
A token's λ is the mean over the trees: since the log-likelihood is concave in λ, that is at least
as good as the mean tree. For the tuning documents it is the mean over those trees that have not
seen the token's document, so that it says what to expect of others.
"""

import importlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from everygram.analysis.log_probs import ScoredDocument
from everygram.analysis.mixing import Tokens, best_lambdas, ratios, shares
from everygram.analysis.scores import of_scored, scores_of
from everygram.errors import MissingExtraError, QueryError
from everygram.index import Index

# Suffixes, in tokens, whose counts are features beside those of the longest one.
SUFFIXES = (1, 2, 3, 4, 6, 8, 12, 16)
TREES = 100
# Tokens of a leaf at least; share of the features that a split chooses from.
LEAF, FEATURES = 50, 0.5
# In each leaf count so many tokens more, of which the ∞-gram knows as large a share as the leaf's λ
# would be without the forest, but neither all nor none: no λ is 0 or 1 because of a few tokens.
PRIOR, SURE = 1.0, 0.01


def features_of(index: Index, documents: list[ScoredDocument]) -> np.ndarray:
    """What is known of each scored token before it is seen: float32, shape (n, features).

    Of the longest suffix of what stands before it: its length, the logarithm of its count, and
    whether it is sparse. Of each of SUFFIXES: the logarithm of its count and 1, and whether it is
    sparse; −1 where the document has fewer tokens before.
    """
    longest = scores_of(index, documents)
    columns = [
        of_scored(documents, (each.suffix_lens for each in longest)),
        of_scored(documents, (np.log(each.prompt_counts) for each in longest)),
        of_scored(documents, (each.sparse for each in longest)),
    ]
    for suffix in SUFFIXES:
        scores = scores_of(index, documents, suffix + 1)
        lens = of_scored(documents, (each.suffix_lens for each in scores))
        counts = of_scored(documents, (each.prompt_counts for each in scores))
        sparse = of_scored(documents, (each.sparse for each in scores))
        short = lens < suffix
        columns += [np.where(short, -1, np.log1p(counts)), np.where(short, -1, sparse)]
    return np.stack(columns, axis=1).astype(np.float32)


def learner() -> Any:
    """scikit-learn's class of trees. Raises MissingExtraError without it."""
    try:
        return importlib.import_module("sklearn.tree").DecisionTreeRegressor
    except ImportError:
        raise MissingExtraError(
            "weights: a forest needs scikit-learn: pip install 'everygram[forest]'"
        ) from None


class Forest:
    """Trees that have learnt from tuning documents. `tuned`: λ of each of their scored tokens."""

    def __init__(
        self,
        features: np.ndarray,
        tokens: Tokens,
        two: np.ndarray,
        seed: int,
        report: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """features, tokens: of the tuning documents. two: λ of other and of sparse tokens.

        report: called after each tree with the tokens that trees have learnt from, and will have.

        Raises QueryError for fewer than two documents, MissingExtraError without scikit-learn.
        """
        if tokens.documents < 2:
            raise QueryError(
                "tune: a forest needs two documents or more with log-probabilities, found "
                f"{tokens.documents}; pass more, or weights 'two'"
            )
        tree_of = learner()
        usual = two[tokens.sparse.astype(np.int64)]
        ratio = ratios(tokens)
        # (Of a class whose λ is 0 or 1 there would be nothing to learn.)
        target = shares(ratio, np.clip(usual, SURE, 1 - SURE))

        def grow(number: int) -> tuple[Any, np.ndarray, np.ndarray]:
            """A tree, the λ of each of its nodes, and which tokens it has not seen."""
            random = np.random.default_rng([seed, number])
            draws = random.integers(0, tokens.documents, tokens.documents)
            weight = np.bincount(draws, minlength=tokens.documents)[tokens.document]
            seen = weight > 0
            tree = tree_of(
                min_samples_leaf=LEAF,
                max_features=FEATURES,
                random_state=int(random.integers(1 << 31)),
            )
            tree.fit(features[seen], target[seen], sample_weight=weight[seen])
            leaf = tree.apply(features[seen])
            return (
                tree,
                _leaf_lambdas(ratio[seen], leaf, weight[seen], usual[seen], tree),
                ~seen,
            )

        self._trees: list[tuple[Any, np.ndarray]] = []
        total, times = np.zeros(len(tokens)), np.zeros(len(tokens))
        # (scikit-learn lets other threads run while it grows a tree.)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for done, (tree, lambdas, unseen) in enumerate(pool.map(grow, range(TREES)), 1):
                self._trees.append((tree, lambdas))
                if unseen.any():
                    total[unseen] += lambdas[tree.apply(features[unseen])]
                    times += unseen
                report(done * len(tokens), TREES * len(tokens))
        # (With a hundred trees a document that all of them have seen is next to impossible.)
        self.tuned = np.where(times > 0, total / np.maximum(times, 1), usual)

    def lambdas(self, features: np.ndarray) -> np.ndarray:
        """λ of each token of other documents, by its features: float64, shape (n,)."""
        total = np.zeros(features.shape[0])
        for tree, lambdas in self._trees:
            total += lambdas[tree.apply(features)]
        return total / len(self._trees)


def _leaf_lambdas(
    ratio: np.ndarray, leaf: np.ndarray, weight: np.ndarray, usual: np.ndarray, tree: Any
) -> np.ndarray:
    """The best λ of each leaf's tokens and of PRIOR more: float64, shape (nodes,)."""
    nodes = int(tree.tree_.node_count)
    leaves = np.unique(leaf)
    expected = np.bincount(leaf, usual, nodes)[leaves] / np.bincount(leaf, minlength=nodes)[leaves]
    expected = np.clip(expected, SURE, 1 - SURE)
    # Tokens that only the ∞-gram knows (ratio 0), and tokens that it does not know (inf).
    one = np.ones(leaves.shape[0])
    return best_lambdas(
        np.concatenate([ratio, 0 * one, np.inf * one]),
        np.concatenate([leaf, leaves, leaves]),
        nodes,
        np.concatenate([weight, PRIOR * expected, PRIOR * (1 - expected)]),
    )
