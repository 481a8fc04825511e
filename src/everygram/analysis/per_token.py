"""What n-gram models say of each token of a text: effective n, agreement, sparseness.

In: an index and a text's ids. Out: arrays, and their counts by effective n.
"""

import re
from typing import Any, NamedTuple

import numpy as np

from everygram.arguments import short
from everygram.encoding import Query
from everygram.errors import EverygramError, OptionError
from everygram.index import Index
from everygram.results.analysis import ByEffectiveN, TextAgreement, counted_by
from everygram.results.texts import Scores


class PerToken(NamedTuple):
    """Of each token of a text, shape (len,), by the ∞-gram model and by one of limited order.

    effective_n, ngram_n (int64): 1 + the length of the prompt used. agrees, ngram_agrees (bool):
    whether the token's probability is above 0.5. sparse (bool): whether only one token ever follows
    the ∞-gram model's prompt.
    """

    effective_n: np.ndarray
    agrees: np.ndarray
    sparse: np.ndarray
    ngram_n: np.ndarray
    ngram_agrees: np.ndarray

    def counts(self, order: int, skip: int) -> TextAgreement:
        """The counts of one text, without its first `skip` tokens; order: of the other model."""
        n, agrees, sparse, ngram_n, ngram_agrees = (column[skip:] for column in self)
        return TextAgreement(
            order,
            1,
            _by_effective_n(ngram_n, ngram_agrees),
            _by_effective_n(n, agrees),
            _by_effective_n(n[sparse], agrees[sparse]),
        )


def per_token(index: Index, ids: Query, order: int) -> PerToken:
    """What the models say of each token of a text. order: of the n-gram model, at least 1.

    The n-gram model backs off as the ∞-gram model does: its prompt is the longest suffix of the
    `order` − 1 tokens before that occurs. Each suffix of one that occurs does, too: so the prompt
    is that of the ∞-gram model if that is short enough, and otherwise all of these tokens.
    """
    longest = index.score(ids)
    limited = index.score(ids, order=order)
    cut = longest.suffix_lens >= order
    agrees = agrees_with(longest)
    effective_n = longest.suffix_lens + 1
    return PerToken(
        effective_n,
        agrees,
        longest.sparse,
        np.minimum(effective_n, order),
        np.where(cut, agrees_with(limited), agrees),
    )


def agrees_with(scores: Scores) -> np.ndarray:
    """Whether a token's probability is above 0.5: bool, shape (len,)."""
    agrees: np.ndarray = 2 * scores.continuation_counts > scores.prompt_counts
    return agrees


def nothing(order: int) -> TextAgreement:
    """The counts of no texts."""
    none = [ByEffectiveN(np.zeros(1, np.int64), np.zeros(1, np.int64)) for _ in range(3)]
    return TextAgreement(order, 0, *none)


def encoded(index: Index, given: Query, name: str, place: str) -> np.ndarray:
    """The ids of a text, as documents of the corpus are encoded; messages call it `name`.

    place: of the text's document, for messages. Raises QueryError, TokenizerError.
    """
    try:
        return index.encode(given, raw=True)
    except EverygramError as error:
        said = re.sub(r"^query(?=[\[:])", name, str(error))
        raise type(error)(f"{place}: {said}") from None


def checked_index(index: Any) -> Index:
    """An open index, or a union of several. Raises OptionError."""
    if not isinstance(index, Index):
        raise OptionError(f"index: expected an open index (everygram.open), found {short(index)}")
    return index


def _by_effective_n(n: np.ndarray, agrees: np.ndarray) -> ByEffectiveN:
    size = int(n.max(initial=0)) + 1
    every = np.ones(n.shape[0], np.bool_)
    return ByEffectiveN(counted_by(n, every, size), counted_by(n, agrees, size))
