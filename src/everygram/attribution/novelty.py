"""From the longest match at each place of a text to how much of the text is new.

In: a text's ids and the lengths of its longest matches. Out: `Novelty`. Knows nothing of indexes.
"""

from typing import Any

import numpy as np

from everygram.arguments import as_integer, natural, short
from everygram.errors import QueryError
from everygram.results.novelty import Novelty

# The largest n that can be asked for: an answer has a few numbers for each.
MOST_N = 1_000
# The lowest and the highest L of the creativity index, unless others are asked for.
BOUNDS = (5, 12)


def checked_max_n(value: Any) -> int:
    """`max_n`, as an integer. Raises QueryError."""
    found = natural("max_n", value, 1, QueryError)
    if found > MOST_N:
        raise QueryError(f"max_n: expected 1 to {MOST_N:,}, found {short(value)}")
    return found


def checked_bounds(value: Any) -> tuple[int, int]:
    """`creativity_bounds`, as two integers. Raises QueryError."""
    given = [as_integer(each) for each in value] if isinstance(value, list | tuple) else []
    if len(given) == 2:
        low, high = given
        if low is not None and high is not None and 1 <= low <= high <= MOST_N:
            return low, high
    raise QueryError(
        f"creativity_bounds: expected two integers from 1 to {MOST_N:,}, the lower one first, "
        f"found {short(value)}"
    )


def novelty_of(
    ids: np.ndarray, lengths: np.ndarray, separator: int, max_n: int, bounds: tuple[int, int]
) -> Novelty:
    """The novelty of one text.

    ids: shape (len,). lengths: int64, shape (len,): of the longest match that starts at each place,
    in tokens, which ends at the latest with the next separator. O(len) memory. O(len) time, and
    time for the matches that are no part of another, as many times as they have tokens, up to the
    largest n or L.
    """
    size = int(ids.shape[0])
    most = max(max_n, bounds[1])
    # An n-gram occurs if the longest match at its place has n tokens or more. (One that a separator
    # divides is no n-gram of the text.)
    num_ngrams = at_least(_room(ids, separator), most)
    covered = covered_tokens(lengths, most)
    return Novelty(
        num_texts=1,
        num_tokens=size,
        longest=int(lengths.max(initial=0)),
        covered_tokens=covered[:max_n],
        num_ngrams=num_ngrams[:max_n],
        new_ngrams=(num_ngrams - at_least(lengths, most))[:max_n],
        creativity_bounds=bounds,
        unmatched_tokens=int((size - covered[bounds[0] - 1 : bounds[1]]).sum()),
    )


def at_least(lengths: np.ndarray, most: int) -> np.ndarray:
    """How many of the lengths are n or more, for n = 1 to `most`: int64, shape (most,)."""
    of_each = np.bincount(np.minimum(lengths, most), minlength=most + 1)
    return np.cumsum(of_each[:0:-1], dtype=np.int64)[::-1]


def covered_tokens(lengths: np.ndarray, most: int) -> np.ndarray:
    """How many tokens are inside matches of n tokens or more, for n = 1 to `most`.

    Returns int64, shape (most,). No match ends before one that starts earlier: a part of a match
    is a match, too.
    """
    starts = np.flatnonzero(lengths)
    sizes = lengths[starts]
    # A match that ends where the one before it does is a part of that one.
    further = np.diff(starts + sizes, prepend=0) > 0
    starts, sizes = starts[further], sizes[further]
    covered = np.zeros(most, np.int64)
    for n in range(1, min(most, int(sizes.max(initial=0))) + 1):
        kept = sizes >= n
        starts, sizes = starts[kept], sizes[kept]
        # Of each match what lies before the next one's start: no token counts twice.
        covered[n - 1] = np.minimum(sizes[:-1], np.diff(starts)).sum() + sizes[-1]
    return covered


def _room(ids: np.ndarray, separator: int) -> np.ndarray:
    """How many tokens there are from each place to the next separator, with it, or to the end."""
    size = ids.shape[0]
    separators = np.flatnonzero(ids == separator)
    ends = np.append(separators + 1, size)
    places = np.arange(size)
    room: np.ndarray = ends[np.searchsorted(separators, places, "right")] - places
    return room
