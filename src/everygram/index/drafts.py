"""Drafts of what a model generates next, for speculative decoding."""

from typing import cast

import numpy as np

from everygram.arguments import natural, number, short
from everygram.encoding import Query
from everygram.engine.queries import Ids
from everygram.errors import QueryError
from everygram.index.base import OpenIndex
from everygram.results.drafts import Draft

# The most tokens that a draft may have.
MOST = 1_024


class DraftQueries(OpenIndex):
    """Queries for drafts."""

    def draft(
        self,
        context: Query,
        *,
        max_tokens: int = 8,
        min_token_prob: float = 0.1,
        max_suffix: int = 64,
        max_factor: float = 1.0,
        lookback: int = 0,
        raw: bool = False,
    ) -> Draft:
        """A draft of the tokens that follow a context, for a model to verify.

        The longest suffix of the context that occurs in the index is looked for, up to `max_suffix`
        tokens: those before are not read. The draft goes on from there: each token is the one that
        most often follows the suffix and the tokens before it (of several the lowest id). Exact,
        whatever the number of occurrences, segments and deleted documents.

        It has at most `max_tokens` tokens (1 to 1,024), and at most `max_factor` times as many as
        the suffix, rounded down: what follows a short suffix is less certain. It ends before a
        token with which the share of the suffix's occurrences that go on like the draft falls
        below `min_token_prob` (0 to 1), and where a document's end is more frequent than any token.
        It may be empty, and is if no suffix occurs.

        Models repeat what stands in their context. With `lookback`, the last so many tokens of the
        context are looked through as well: if a suffix that is as long as the one in the index, or
        longer, occurs before among them, the draft is what followed it there last.

        The options mean what those of suffix decoding do (Oliaro et al. 2025, arXiv 2411.04975).
        """
        size = natural("max_tokens", max_tokens, 1, QueryError)
        if size > MOST:
            raise QueryError(f"max_tokens: expected 1 to {MOST:,}, found {short(max_tokens)}")
        longest = natural("max_suffix", max_suffix, 1, QueryError)
        back = natural("lookback", lookback, error=QueryError)
        factor = number("max_factor", max_factor, QueryError)
        least = number("min_token_prob", min_token_prob, QueryError)
        if factor < 0:
            raise QueryError(f"max_factor: expected 0 or more, found {short(max_factor)}")
        if not 0 <= least <= 1:
            raise QueryError(f"min_token_prob: expected 0 to 1, found {short(min_token_prob)}")
        engine, encoding, reading, _, _ = self._state
        # (Of a list or an array only the end is read.)
        flat = type(context) is list or (type(context) is np.ndarray and context.ndim == 1)
        ids = cast(Ids, context) if flat else encoding.ids(context, raw)
        found = engine.draft(ids, size, longest, back, factor, least)
        return Draft(reading, *found)
