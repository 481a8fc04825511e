"""Tokens in, suffix array out. Knows two sorters; knows nothing of documents, files or indexes.

Both make the one order that `everygram.storage.format` defines. By induction (`induction`) streams
of any length are sorted fastest, once numba has compiled it; short streams are sorted by
libdivsufsort, which is there compiled, so that a first small index neither loads nor waits for
numba.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

# Streams of up to this many tokens are sorted by libdivsufsort: in 0.1 s at most, where compiling
# takes 4 s of CPU time, and loading what is compiled half a second. Tests change it.
SHORT = 500_000


def suffix_array(
    tokens: np.ndarray, progress: Callable[[float], None] = lambda share: None
) -> np.ndarray:
    """Sort the suffixes of a stream.

    tokens: u8, u16 or u32, shape (n,), a separator (the all-ones id) before each document.

    Returns the positions in the order that `everygram.storage.format` defines: uint32 or, from 2³¹
    tokens on, int64; shape (n,). Memory beside `tokens`: as `induction.induced`; of short streams
    64 bytes a token. Calls `progress` with the share of the work that is done.
    """
    if 0 < tokens.shape[0] <= SHORT:
        try:
            return by_divsufsort(tokens)
        except ImportError:  # Where it has no wheel, all is sorted by induction.
            pass
    from everygram.building.induction import induced

    return induced(tokens, progress)


def by_divsufsort(tokens: np.ndarray) -> np.ndarray:
    """The suffix array of a stream, uint32, sorted by libdivsufsort (Mori).

    Raises ImportError where pydivsufsort cannot be loaded. Precondition: there are tokens, the
    first is a separator, and fewer than 2²⁹.

    It sorts bytes. Tokens become symbols of as few big-endian bytes as do: their ranks among those
    that occur and, above all, one symbol for each separator, ascending. Suffixes are then in the
    order of their symbols, those that are equal up to their separators in that of positions.
    """
    try:
        from pydivsufsort import divsufsort
    except OSError as error:  # its library cannot be loaded
        raise ImportError(str(error)) from None
    n = tokens.shape[0]
    starts = tokens == np.iinfo(tokens.dtype).max
    num_documents = int(np.count_nonzero(starts))
    symbols = np.empty(n + 1, np.uint32)
    symbols[:n] = np.unique(tokens, return_inverse=True)[1]
    symbols[:n][starts] += np.arange(num_documents, dtype=np.uint32)
    symbols[n] = symbols[:n].max() + 1  # The end of the stream is one more.
    width = (int(symbols[n]).bit_length() + 7) // 8
    in_bytes = symbols.astype(">u4").view(np.uint8).reshape(-1, 4)[:, 4 - width :].ravel()
    with _one_thread():
        order = divsufsort(in_bytes)
    order = order[order % width == 0] // width
    # In front of the separators, which it has in the order of positions. They follow in that of
    # their documents, empty ones last.
    order = order[: n - num_documents]
    documents = order[starts[order - 1]] - 1
    empty = np.flatnonzero(starts & np.append(starts[1:], True))
    return np.concatenate([order, documents, empty]).astype(np.uint32)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep libdivsufsort to the calling thread.

    With OpenMP it starts others, one for each core, which stay: a process forked later on would
    wait for them for ever.
    """
    from pydivsufsort.dll import libdivsufsort

    if not hasattr(libdivsufsort, "omp_set_num_threads"):  # made without OpenMP
        yield
        return
    before = libdivsufsort.omp_get_max_threads()
    libdivsufsort.omp_set_num_threads(1)
    try:
        yield
    finally:
        libdivsufsort.omp_set_num_threads(before)
