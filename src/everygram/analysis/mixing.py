"""λ·P∞ + (1−λ)·P_neural: the best λ of groups of tokens, and what tokens have with given λ.

In: what two models give each token, as arrays. Out: arrays. Knows neither indexes nor files.
"""

from dataclasses import dataclass

import numpy as np

# Steps of a search for λ at most; each second one halves where λ may be.
MOST_STEPS = 200
# λ is found when where it may be, or the last step, is no wider.
CLOSE = 1e-15


@dataclass(frozen=True)
class Tokens:
    """What two models give tokens, one entry per token: arrays of shape (n,).

    neural: log-probabilities in nats, float64, −inf possible; infgram: probabilities, float64, 0
    possible; sparse: whether only one token ever follows what the ∞-gram looks at, bool; document:
    the number of the token's document, int64; documents: how many there are.
    """

    neural: np.ndarray
    infgram: np.ndarray
    sparse: np.ndarray
    document: np.ndarray
    documents: int

    def __len__(self) -> int:
        return int(self.neural.shape[0])


def mixed(tokens: Tokens, lambdas: np.ndarray | float) -> np.ndarray:
    """ln(λ·P∞ + (1−λ)·P_neural) of each token: float64, shape (n,); −inf for 0.

    lambdas: in [0, 1], one for all tokens, or one for each.
    """
    with np.errstate(divide="ignore"):
        found: np.ndarray = np.logaddexp(
            np.log(lambdas) + np.log(tokens.infgram), np.log1p(-lambdas) + tokens.neural
        )
    return found


def ratios(tokens: Tokens) -> np.ndarray:
    """P_neural / P∞ of each token: float64, shape (n,); inf where P∞ is 0.

    1 where both are 0, since λ changes nothing there, as where they are equal.
    """
    known = tokens.infgram > 0
    found = np.where(known | np.isneginf(tokens.neural), 1.0, np.inf)
    found[known] = np.exp(tokens.neural[known] - np.log(tokens.infgram[known]))
    return found


def shares(ratio: np.ndarray, lambdas: np.ndarray) -> np.ndarray:
    """λ·P∞ / (λ·P∞ + (1−λ)·P_neural) of each token: 0 where P∞ is 0; λ in [0, 1]."""
    found = np.zeros(ratio.shape[0])
    known = np.isfinite(ratio)
    both = lambdas + (1 - lambdas) * ratio
    # (Both parts are 0 only for λ = 0.)
    np.divide(lambdas, both, out=found, where=known & (both > 0))
    return found


def best_lambdas(
    ratio: np.ndarray, group: np.ndarray, groups: int, weight: np.ndarray | None = None
) -> np.ndarray:
    """The λ of each group of tokens that gives them the highest likelihood.

    ratio: see `ratios`; group: the number of each token's group, below `groups`; weight: of each
    token, more than 0, default 1. float64, shape (groups,), in [0, 1]; 0 for a group that is empty
    or that has no best one.

    The log-likelihood is concave in λ: its slope falls from λ = 0 to λ = 1. Newton's method finds
    where it is 0, between bounds that every step narrows.
    """
    weights = np.ones(ratio.shape[0]) if weight is None else weight

    def slopes(lambdas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of each group: the slope of the log-likelihood at λ, and how fast it falls there."""
        slope = _slope(ratio, lambdas[group])
        with np.errstate(over="ignore"):
            squares = slope * slope
        return (
            np.bincount(group, weights * slope, groups),
            np.bincount(group, weights * squares, groups),
        )

    low, high = np.zeros(groups), np.ones(groups)
    at_low, at_high = slopes(low)[0], slopes(high)[0]
    # Where the slope never changes its sign, the best λ is at an end.
    low[(at_low > 0) & (at_high >= 0)] = 1.0
    high[at_low <= 0] = 0.0
    lambdas = (low + high) / 2
    move, done = high - low, high == low
    for _ in range(MOST_STEPS):
        if done.all():
            break
        slope, fall = slopes(lambdas)
        low, high = np.where(slope >= 0, lambdas, low), np.where(slope <= 0, lambdas, high)
        newton = np.divide(slope, fall, out=np.full(groups, np.inf), where=fall > 0)
        # (Newton's steps are taken while they shrink; halving is never slower than that.)
        usable = (
            (lambdas + newton >= low)
            & (lambdas + newton <= high)
            & (2 * np.abs(newton) <= np.abs(move))
        )
        move = np.where(usable, newton, (low + high) / 2 - lambdas)
        lambdas = np.where(done, lambdas, lambdas + move)
        done |= np.abs(move) <= CLOSE
    return lambdas


def _slope(ratio: np.ndarray, lambdas: np.ndarray) -> np.ndarray:
    """The slope of ln(λ·P∞ + (1−λ)·P_neural) in λ; ±inf at the ends for a token that needs λ."""
    known = np.isfinite(ratio)
    finite = np.where(known, ratio, 1.0)
    with np.errstate(divide="ignore"):
        where_known = (1 - finite) / (lambdas + (1 - lambdas) * finite)
        return np.where(known, where_known, -1 / (1 - lambdas))
