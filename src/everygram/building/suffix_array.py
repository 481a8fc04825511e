"""Tokens in, suffix array out. Knows two sorters; knows nothing of documents, files or indexes.

Both sorters give the order that `everygram.storage.format` defines. Induction (`induction`) is the
fastest for streams of any length, once numba has compiled it. Short streams are sorted by
libdivsufsort, which is installed in compiled form, so that a first small index does not load numba
or wait for it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

# Streams of up to this many tokens are sorted by libdivsufsort, in at most 0.1 s. For induction,
# compiling takes 4 s of CPU time, and loading the compiled code half a second. Tests change it.
SHORT = 500_000


def suffix_array(
    tokens: np.ndarray, progress: Callable[[float], None] = lambda share: None
) -> np.ndarray:
    """Sort the suffixes of a stream.

    tokens: u8, u16 or u32, shape (n,), a separator (the all-ones id) before each document.

    Returns the positions in the order that `everygram.storage.format` defines: uint32 or, from 2³¹
    tokens on, int64; shape (n,). Memory in addition to `tokens`: as in `induction.induced`; for
    short streams 64 bytes per token. Calls `progress` with the share of the work done.
    """
    if 0 < tokens.shape[0] <= SHORT:
        try:
            return by_divsufsort(tokens)
        except ImportError:  # On platforms without its wheel, all streams are sorted by induction.
            pass
    from everygram.building.induction import induced

    return induced(tokens, progress)


def by_divsufsort(tokens: np.ndarray) -> np.ndarray:
    """The suffix array of a stream, uint32, sorted by libdivsufsort (Mori).

    Raises ImportError if pydivsufsort cannot be loaded. Preconditions: there is at least one token,
    there are fewer than 2²⁹, and the first is a separator.

    libdivsufsort sorts bytes. So each token becomes a symbol of as few big-endian bytes as
    possible: its rank among the tokens that occur. Each separator becomes a symbol of its own,
    ascending, above all others. Sorting by symbols then orders suffixes that are equal up to their
    separators by position.
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
    symbols[n] = symbols[:n].max() + 1  # The end of the stream is one more separator.
    width = (int(symbols[n]).bit_length() + 7) // 8
    in_bytes = symbols.astype(">u4").view(np.uint8).reshape(-1, 4)[:, 4 - width :].ravel()
    with _one_thread():
        order = divsufsort(in_bytes)
    order = order[order % width == 0] // width
    # Keep the part before the separators, which are in the order of positions here. Separators must
    # be in the order of their documents instead, those of empty documents last.
    order = order[: n - num_documents]
    documents = order[starts[order - 1]] - 1
    empty = np.flatnonzero(starts & np.append(starts[1:], True))
    return np.concatenate([order, documents, empty]).astype(np.uint32)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Make libdivsufsort use only the calling thread.

    With OpenMP it starts one thread per core, and these threads stay. A process forked later would
    wait for them forever.
    """
    from pydivsufsort.dll import libdivsufsort

    if not hasattr(libdivsufsort, "omp_set_num_threads"):  # compiled without OpenMP
        yield
        return
    before = libdivsufsort.omp_get_max_threads()
    libdivsufsort.omp_set_num_threads(1)
    try:
        yield
    finally:
        libdivsufsort.omp_set_num_threads(before)
