"""What leads a search into a segment: its fence tree and its table of unigrams.

Tokens and the suffix array in, the content of `fences.bin` and `unigrams.bin` out (see `format`).
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from everygram.kernels.sort import add_counts, fence_keys
from everygram.storage import format as fmt
from everygram.storage.disk import CHUNK, position_in

# Ids below this are counted in a table, 128 MiB of it.
MOST_COUNTED = 1 << 24


def unigram_table(tokens: np.ndarray) -> np.ndarray:
    """The content of unigrams.bin as bytes: first ranks (u64), then ids (u32).

    Suffixes are sorted by their first token: how often each occurs is enough. Linear time.
    """
    step = CHUNK // tokens.itemsize
    chunks = [tokens[start : start + step] for start in range(0, tokens.shape[0], step)]
    # The separator aside, whose id is all ones.
    largest = max((int(c[c != np.iinfo(c.dtype).max].max(initial=0)) for c in chunks), default=0)
    if largest < MOST_COUNTED:
        table = np.zeros(largest + 2, np.int64)
        for chunk in chunks:
            add_counts(np.minimum(chunk, largest + 1), table)
        ids = np.flatnonzero(table)
        counts = table[ids]
        ids[ids == largest + 1] = np.iinfo(tokens.dtype).max
    else:
        ids, counts = np.empty(0, tokens.dtype), np.empty(0, np.int64)
        for chunk in chunks:
            more, how_often = np.unique(chunk, return_counts=True)
            ids, place = np.unique(np.concatenate([ids, more]), return_inverse=True)
            summed = np.zeros(ids.shape[0], np.int64)
            np.add.at(summed, place, np.concatenate([counts, how_often]))
            counts = summed
    ranks = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return np.concatenate(
        [ranks.astype(fmt.OFFSET).view(np.uint8), ids.astype("<u4").view(np.uint8)]
    )


def segment_key_bits(tokens: np.ndarray, sa: np.ndarray, num_documents: int) -> int:
    """`key_bits` of a segment: separators are its last suffixes, before them stands the largest."""
    rank = tokens.shape[0] - num_documents - 1
    if rank < 0:
        return fmt.key_bits(0)
    return fmt.key_bits(int(tokens[position_in(sa, rank)]))


def fence_keys_of(
    tokens: np.ndarray,
    sa: np.ndarray,
    separator: int,
    bits: int,
    spacing: int,
    seen: Callable[[np.ndarray, int], None] = lambda chunk, done: None,
) -> Iterator[np.ndarray]:
    """Level 0 of the fence tree in pieces: u64.

    Goes through the array a chunk at a time, and calls `seen(chunk, bytes so far)`.
    """
    step = CHUNK // 4
    for start in range(0, sa.shape[0], step):
        chunk = sa[start : start + step]
        first = -start % spacing
        keys = np.empty(max(0, -(-(chunk.shape[0] - first) // spacing)), fmt.KEY)
        fence_keys(tokens, chunk, separator, bits, first, spacing, keys)
        seen(chunk, (start + chunk.shape[0]) * sa.strides[0])
        yield keys


def fence_tree(level: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The content of fences.bin, piece by piece, from the pieces of its level 0."""
    while True:
        size = 0
        above = []
        for piece in level:
            yield piece
            above.append(piece[-size % fmt.FENCE_FANOUT :: fmt.FENCE_FANOUT])
            size += piece.shape[0]
        yield np.full(-size % fmt.FENCE_FANOUT, np.iinfo(fmt.KEY).max, fmt.KEY)
        if size <= fmt.FENCE_FANOUT:
            return
        level = [np.concatenate(above)]
