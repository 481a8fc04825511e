"""Tokens in, suffix array out, by induction: calls the kernels of `kernels.sais` in order.

Loads numba; the first use on a machine compiles for seconds.
"""

from collections.abc import Callable

import numpy as np

from everygram.kernels import sais

# If there are more buckets than entries plus this number, the ids are renumbered first.
FREE_BUCKETS = 1 << 20
# Streams of fewer tokens than this are sorted with 4-byte entries. Tests lower it.
NARROW_BELOW = 2**31


def induced(
    tokens: np.ndarray, progress: Callable[[float], None] = lambda share: None
) -> np.ndarray:
    """Sort the suffixes of a stream or of a part of it (see `everygram.kernels.sais`).

    tokens: u8, u16 or u32, shape (n,); separators (the all-ones id) end documents.

    Returns the positions in the order that `everygram.storage.format` defines: uint32 or, from 2³¹
    tokens on, int64; shape (n,). Linear time for any text. Memory in addition to `tokens`: 4 bytes
    per token for the array, and for intermediate data 2 bytes per token of natural text, 4.5 in the
    worst case found (twice as much for int64). Calls `progress` with the share of the work done.
    """
    n = tokens.shape[0]
    separator = int(np.iinfo(tokens.dtype).max)
    num_buckets = sais.largest_token(tokens, separator) + 1
    if num_buckets > n + FREE_BUCKETS:
        tokens = _renumbered(tokens, separator)
        num_buckets = n
    sa: np.ndarray = np.zeros(n, np.int32 if n < NARROW_BELOW else np.int64)
    if n:
        _induce(tokens, sa, num_buckets, separator, progress)
    return sa.view(np.uint32) if sa.dtype == np.int32 else sa


def _induce(
    text: np.ndarray,
    sa: np.ndarray,
    num_buckets: int,
    separator: int,
    progress: Callable[[float], None],
) -> None:
    """Make `sa` the suffix array of `text`; the steps are described in kernels/sais.py.

    The shares given to `progress` were measured with natural text.
    """
    n = text.shape[0]
    counts = np.zeros(num_buckets, sa.dtype)
    m = sais.lms_positions(text, separator, counts, sa)
    lms = sa[n - m :].copy()
    last = int(counts.sum())
    sa[:] = 0
    sais.place(text, lms, _ends(counts), sa)
    if m > 1:
        progress(0.1)
        sais.induce_l(text, sa, _starts(counts), separator, last, False)
        progress(0.2)
        sais.induce_s(text, sa, _ends(counts), separator, last, False)
        sais.collect(sa, last)
        progress(0.3)
        sais.name_substrings(text, separator, sa, lms)
        del lms
        order = _sort_names(text, sa, m, separator)
        progress(0.8)
        sa[:] = 0
        sais.place(text, order, _ends(counts), sa)
        del order
    documents = sais.induce_l(text, sa, _starts(counts), separator, last, True)
    progress(0.9)
    sais.induce_s(text, sa, _ends(counts), separator, last, True)
    if last + documents < n:
        sais.append_empty_documents(text, separator, sa, last + documents)


def _sort_names(text: np.ndarray, sa: np.ndarray, m: int, separator: int) -> np.ndarray:
    """The sorted LMS positions, shape (m,), from what `name_substrings` left in `sa`."""
    n = text.shape[0]
    sais.text_order(sa, m)
    chosen = np.empty(m, np.bool_)
    length = sais.choose(sa, chosen)
    num_names = sais.renumber(sa, m)
    ranks = sais.reduce(sa, chosen, length)
    if length:
        _induce(sa[n - length :], sa[:length], num_names, -1, lambda share: None)
    sais.lms_again(text, separator, sa[n - m :])
    order = np.empty(m, sa.dtype)
    sais.restore(sa[:length], chosen, ranks, sa[n - m :], order)
    return order


def _ends(counts: np.ndarray) -> np.ndarray:
    return np.cumsum(counts, dtype=counts.dtype)


def _starts(counts: np.ndarray) -> np.ndarray:
    ends = _ends(counts)
    ends -= counts
    return ends


def _renumbered(tokens: np.ndarray, separator: int) -> np.ndarray:
    """Each id replaced by its rank among the ids that occur; the separator is kept: uint32."""
    ranks = np.unique(tokens, return_inverse=True)[1].astype(np.uint32)
    ranks[tokens == separator] = separator
    return ranks
