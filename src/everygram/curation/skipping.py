"""N-grams of texts that occur with a few other tokens, as Llama 2's authors look for them.

A *span* of a text is n tokens or more that stand in a document, too, but for up to `skips` of them:
not the first EXACT, and not the last. An n-gram is found where a span begins.
"""

import numpy as np

from everygram.curation.sequences import Stream
from everygram.curation.variants import counted
from everygram.engine.engine import Engine
from everygram.engine.queries import Queries
from everygram.engine.skips import Seeds

# The first tokens of a span, that none may differ from; fewer where n is less.
EXACT = 10


def exact_of(sizes: np.ndarray) -> np.ndarray:
    """Of spans of so many tokens or more, those first that must be the same: int64, shape (k,)."""
    exact: np.ndarray = np.minimum(sizes, EXACT)
    return exact


def behind(n: int, skips: int) -> int:
    """Up to how many tokens behind the last `EXACT` that are the same can belong to a span.

    Between two that differ there are fewer than EXACT that are the same, else these were the last.
    """
    return skips * min(n, EXACT)


class Skipping:
    """What of a stream of texts was found, with skips; see `matching.Exact`, which this is for."""

    def __init__(
        self,
        engine: Engine,
        stream: Stream,
        query: Queries,
        lengths: np.ndarray,
        skips: int,
        max_documents: int | None,
    ) -> None:
        self._engine, self._query, self._skips = engine, query, skips
        rows, row, within = stream.rows, stream.row, stream.within
        sizes, limits = rows[row, 1], stream.begins[row] + rows[row, 4]
        exact = exact_of(sizes)
        places = np.flatnonzero((lengths >= exact) & (within + sizes <= rows[row, 4]))
        self._seeds = Seeds(query, places, limits[places], exact[places], sizes[places])
        reach = engine.reach(self._seeds, skips)
        self._keep(np.flatnonzero(reach > places), reach - places)
        if max_documents is not None and self.hits.shape[0]:
            variants = engine.variants(self._seeds, skips)
            _, documents = counted(engine, *variants, self.hits.shape[0])
            self._keep(np.flatnonzero(documents <= max_documents), self.spans)
        self._items = rows[row[self.hits], 0]

    def _keep(self, which: np.ndarray, spans: np.ndarray) -> None:
        self._seeds = self._seeds[which]
        self.hits, self.spans = self._seeds.places, spans[which]

    @property
    def grams(self) -> np.ndarray:
        """N-grams by number, the same ones the same: int64, as long as `hits`."""
        numbers = np.empty(self.hits.shape[0], np.int64)
        before = 0
        for size in np.unique(self._seeds.least).tolist():
            of_size = np.flatnonzero(self._seeds.least == size)
            windows = np.lib.stride_tricks.sliding_window_view(self._query.ids, size)
            some, own = np.unique(windows[self.hits[of_size]], axis=0, return_inverse=True)
            numbers[of_size] = own.reshape(-1) + before
            before += some.shape[0]
        return numbers

    def longest(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The longest span of each item that has one, the first of several: items, ascending, its
        tokens (int64, shape (k,) each), and its variants: which of these each is of, intervals."""
        order = np.lexsort((self.hits, -self.spans, self._items))
        items, at = np.unique(self._items[order], return_index=True)
        best = order[at]
        seeds, spans = self._seeds[best], self.spans[best]
        whole = Seeds(seeds.text, seeds.places, seeds.limits, seeds.exact, spans)
        return items, spans, *self._engine.variants(whole, self._skips)

    def gram_intervals(self) -> tuple[np.ndarray, np.ndarray]:
        """Of what was found, the items (int64, shape (m,)) and the intervals of all that stand
        where spans begin: int64, shape (m, segments, 2)."""
        owners, intervals = self._engine.variants(self._seeds, self._skips)
        return self._items[owners], intervals
