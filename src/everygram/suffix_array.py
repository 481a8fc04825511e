"""Tokens in, suffix array out. Knows sorters; knows nothing of documents, files or indexes."""

import numpy as np

from everygram.kernels.sort import keep_token_starts


def suffix_array(tokens: np.ndarray) -> np.ndarray:
    """Sort the suffixes of a stream.

    tokens: u8, u16 or u32, shape (n,), separators (the all-ones id) before each document.

    Returns the positions in the order that `everygram.format` defines: uint32 or int64,
    shape (n,). Suffixes equal up to their next separator stand in the order of what follows it.

    libdivsufsort sorts bytes: tokens go in as big-endian bytes, which order as the tokens do, and
    the suffixes that start inside a token are dropped. O(n log n) time; memory, beside `tokens`:
    5 bytes for each byte of tokens, 9 once those bytes with one more separator pass 2³¹.
    """
    import pydivsufsort  # queries never need it

    n = tokens.shape[0]
    itemsize = tokens.dtype.itemsize
    # One more separator, so that the end of the stream sorts as one; it has no entry itself.
    big_endian = np.empty(n + 1, tokens.dtype.newbyteorder(">"))
    big_endian[:n] = tokens
    big_endian[n] = np.iinfo(tokens.dtype).max
    byte_sa = pydivsufsort.divsufsort(big_endian.view(np.uint8))
    del big_endian
    # Positions below 2³¹ are the same bits as int32 and as uint32.
    entry = np.dtype(np.uint32) if byte_sa.dtype == np.int32 else np.dtype(np.int64)
    positions: np.ndarray = byte_sa.view(entry)[:n]
    keep_token_starts(byte_sa, itemsize, n, positions)
    return positions
