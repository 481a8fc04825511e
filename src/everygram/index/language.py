"""Language models over an index."""

import contextlib
from collections.abc import Sequence
from typing import Any

from everygram.arguments import flag, natural, number, short
from everygram.errors import DamagedIndexError, QueryError
from everygram.index.base import OpenIndex, State
from everygram.lm import SMOOTHINGS
from everygram.lm.kneser_ney import KneserNey, compile_for
from everygram.lm.model import LanguageModel
from everygram.lm.smoothing import Floored, Infgram, Smoothing, StupidBackoff, Unigrams
from everygram.storage.prepared import not_one_segment, open_prepared

# Shares of the ∞-gram model in `infgram-floor`, where only one token ever follows and elsewhere:
# over unigrams and over modified Kneser-Ney. (The best for held-out encyclopedia articles and an
# index of 57 M tokens.)
WEIGHTS, WEIGHTS_OVER_KNESER_NEY = (0.6, 0.5), (0.2, 0.02)


class LanguageQueries(OpenIndex):
    """Language models."""

    def warm_up(self) -> None:
        """Compile what queries of this index run, or load it from the disk cache; what language
        models run even if the index is not prepared for them yet.
        """
        super().warm_up()
        if self._state.engine.members is None:  # (No union can be prepared.)
            compile_for(self._state.engine)
        with contextlib.suppress(QueryError, DamagedIndexError):  # of one that is not, or damaged
            model = self.language_model()
            model.log_probs([model.separator])
            model.distribution([model.separator])

    def language_model(
        self,
        smoothing: str = "modified-kneser-ney",
        *,
        order: int | None = None,
        discount_fallback: Sequence[float] | None = None,
        kenlm_compat: bool = False,
        weights: Sequence[float] | None = None,
    ) -> LanguageModel:
        """A language model over this index as it is now.

        smoothing: "modified-kneser-ney", "stupid-backoff" (scores, not probabilities), "infgram"
        (the paper's; tokens that never follow have probability 0) or "infgram-floor" (∞-gram mixed
        with a lower model: never 0). order: n of the n-gram model; None: contexts of any length.

        Modified Kneser-Ney is KenLM's: to the digit for an `order`, with a document as a sentence;
        without one every level counts continuations. It needs what `everygram.prepare` makes.
        discount_fallback: the three discounts of a level that has none (default: (0.5, 1, 1.5) with
        an order, else those of the level below). kenlm_compat: count one n-gram per level as
        `lmplz` does, wrongly (KenLM's issue 427); with an order only.

        weights: for "infgram-floor", the ∞-gram's share where only one token ever follows and
        elsewhere, each from 0 up to but not 1 (default: (0.6, 0.5), with an order (0.2, 0.02)). Its
        lower model is modified Kneser-Ney of `order` or, without one, unigrams.

        Raises QueryError for arguments that do not fit, and where modified Kneser-Ney is wanted of
        an index that is not prepared, or that has several segments or deleted documents.
        """
        if not isinstance(smoothing, str) or smoothing not in SMOOTHINGS:
            raise QueryError(
                f"smoothing: expected one of {', '.join(SMOOTHINGS)}, found {short(smoothing)}"
            )
        if order is not None:
            order = natural("order", order, 1, QueryError)
        floor = smoothing == "infgram-floor"
        kneser_ney = smoothing == "modified-kneser-ney" or (floor and order is not None)
        compat = flag("kenlm_compat", kenlm_compat, QueryError)
        if compat and (order is None or not kneser_ney):
            raise QueryError("kenlm_compat: goes with modified-kneser-ney of an order")
        if discount_fallback is not None and not kneser_ney:
            raise QueryError("discount_fallback: goes with modified-kneser-ney")
        if weights is not None and not floor:
            raise QueryError(f"weights: go with infgram-floor alone, not with {smoothing}")
        shares = WEIGHTS_OVER_KNESER_NEY if kneser_ney else WEIGHTS
        if weights is not None:
            shares = _weights(weights)
        fallback = None if discount_fallback is None else _discounts(discount_fallback)
        state = self._state
        model: Smoothing
        if smoothing == "infgram":
            model = Infgram(state.engine, order)
        elif smoothing == "stupid-backoff":
            model = StupidBackoff(state.engine, order)
        elif kneser_ney:
            model = self._kneser_ney(state, order, fallback, compat)
        else:
            model = Unigrams(state.engine)
        if floor:
            model = Floored(state.engine, model, shares)
        given = {
            "smoothing": smoothing,
            "order": order,
            "discount_fallback": fallback,
            "kenlm_compat": compat,
            "weights": None if weights is None else shares,
        }
        return LanguageModel(model, state.encoding, state.reading, self, given)

    def _kneser_ney(
        self,
        state: State,
        order: int | None,
        fallback: tuple[float, float, float] | None,
        compat: bool,
    ) -> Smoothing:
        """Modified Kneser-Ney over what is prepared for this state of the index."""
        manifest = state.manifest
        if not state.engine.segments:  # where all models are one
            return Unigrams(state.engine)
        if state.engine.members is not None:
            raise QueryError(
                f"index '{self.path}': expected one index, found several: the different tokens "
                "before an n-gram do not add up over indexes; use infgram-floor, or build one index"
            )
        if manifest.foreign:
            raise QueryError(
                f"index '{self.path}': infini-gram's, which cannot be prepared for "
                "modified-kneser-ney; make an index of it with 'everygram convert', or use "
                "infgram-floor"
            )
        if len(manifest.segments) != 1:
            raise QueryError(not_one_segment(self.path, manifest))
        prepared = open_prepared(self.path, manifest.segments[0], self._verify)
        if prepared is None:
            raise QueryError(
                f"index '{self.path}': not prepared for modified-kneser-ney as it is now; run "
                f"'everygram prepare {self.path}', or use infgram-floor "
                "without an order, which needs nothing"
            )
        return KneserNey(state.engine, prepared, order, fallback, compat)


def _weights(given: Any) -> tuple[float, float]:
    """Two numbers in [0, 1)."""
    sparse, other = _numbers("weights", given, 2)
    if not (0 <= sparse < 1 and 0 <= other < 1):
        raise QueryError(
            f"weights: expected two numbers from 0 up to but not 1, found {short(given)}"
        )
    return sparse, other


def _discounts(given: Any) -> tuple[float, float, float]:
    """Three discounts: of counts of 1, 2, and 3 or more; none is above its count."""
    found = _numbers("discount_fallback", given, 3)
    if not all(0 <= discount <= count for count, discount in enumerate(found, 1)):
        raise QueryError(
            "discount_fallback: expected three numbers from 0 to at most 1, 2 and 3, found "
            f"{short(given)}"
        )
    return found[0], found[1], found[2]


def _numbers(name: str, given: Any, count: int) -> list[float]:
    """So many numbers."""
    try:
        values = [] if isinstance(given, str | bytes) else list(given)
    except TypeError:
        values = []
    if len(values) != count:
        raise QueryError(f"{name}: expected {count} numbers, found {short(given)}")
    return [number(f"{name}[{place}]", value, QueryError) for place, value in enumerate(values)]
