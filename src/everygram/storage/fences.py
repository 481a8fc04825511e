"""Makes the two tables with which a search in a segment starts: the fence tree and the unigrams.

The tree is read in `everygram.kernels.fences`.

Tokens and the suffix array in, the content of `fences.bin` and `unigrams.bin` out (see `format`).
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from everygram.errors import DamagedIndexError
from everygram.storage import format as fmt
from everygram.storage.disk import CHUNK, positions_in

# Ids below this are counted in a table, which takes up to 128 MiB.
MOST_COUNTED = 1 << 24


def unigram_table(tokens: np.ndarray, by_bytes: bool = False) -> np.ndarray:
    """The content of unigrams.bin as bytes: first ranks (u64), then ids (u32).

    Suffixes are sorted by their first token, so first ranks follow from counts of the tokens.
    Linear time; reads the tokens once. by_bytes: ids are in the order of their bytes.
    """
    return table_of(*counted(tokens), 8 * tokens.itemsize if by_bytes else 0)


def table_of(ids: np.ndarray, counts: np.ndarray, bits: int) -> np.ndarray:
    """As `unigram_table`, from the ids, ascending, and how often they occur: int64, shape (U,).

    bits: of a token, if ids are to be in the order of their bytes, else 0.
    """
    if bits:
        order = np.argsort(fmt.ordered(ids, bits))
        ids, counts = ids[order], counts[order]
    ranks = np.cumsum(counts) - counts
    return np.concatenate(
        [ranks.astype(fmt.OFFSET).view(np.uint8), ids.astype("<u4").view(np.uint8)]
    )


def counted(tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct tokens, ascending, and how often each occurs: int64, shape (U,), twice."""
    separator = int(np.iinfo(tokens.dtype).max)
    table = np.zeros(0, np.int64)  # of ids below MOST_COUNTED
    ids, counts = np.empty(0, np.int64), np.empty(0, np.int64)  # of the others
    step = CHUNK // tokens.itemsize
    for start in range(0, tokens.shape[0], step):
        chunk = tokens[start : start + step]
        if separator >= MOST_COUNTED:
            rare = chunk >= MOST_COUNTED
            more, how_often = np.unique(chunk[rare], return_counts=True)
            ids, place = np.unique(np.concatenate([ids, more]), return_inverse=True)
            counts = np.bincount(place, np.concatenate([counts, how_often])).astype(np.int64)
            chunk = chunk[~rare]
        found = np.bincount(chunk)
        if found.shape[0] > table.shape[0]:
            table, found = found, table
        table[: found.shape[0]] += found
    common = np.flatnonzero(table)
    return np.concatenate([common, ids]), np.concatenate([table[common], counts])


def segment_key_bits(tokens: np.ndarray, sa: np.ndarray, num_documents: int) -> int:
    """`key_bits` of a segment.

    Its largest id starts the last suffix before those that start with a separator. Raises
    DamagedIndexError if a separator starts it, or no token: the array was changed after sorting.
    """
    rank = tokens.shape[0] - num_documents - 1
    if rank < 0:
        return fmt.key_bits(0)
    position = int(positions_in(sa[rank : rank + 1])[0])
    if position >= tokens.shape[0] or tokens[position] == np.iinfo(tokens.dtype).max:
        raise DamagedIndexError(
            "the sorted suffixes were damaged before the segment was finished: run the same "
            "command again with --restart"
        )
    return fmt.key_bits(int(tokens[position]))


def fence_keys_of(
    tokens: np.ndarray,
    sa: np.ndarray,
    separator: int,
    bits: int,
    spacing: int,
    seen: Callable[[np.ndarray], None] = lambda chunk: None,
    by_bytes: bool = False,
) -> Iterator[np.ndarray]:
    """Level 0 of the fence tree in pieces: u64.

    Reads the suffix array in chunks, and calls `seen(chunk)` for each.
    """
    step = CHUNK // 4
    for start in range(0, sa.shape[0], step):
        chunk = sa[start : start + step]
        positions = positions_in(chunk[-start % spacing :: spacing])
        yield keys_of(tokens, positions, separator, bits, by_bytes)
        seen(chunk)


def keys_of(
    tokens: np.ndarray, positions: np.ndarray, separator: int, bits: int, by_bytes: bool = False
) -> np.ndarray:
    """The keys of the suffixes at these positions (int64, shape (k,)), `bits` per token: u64.

    by_bytes: keys ascend in the order of tokens' bytes.
    """
    keys = np.zeros(positions.shape[0], fmt.KEY)
    # The suffixes whose key is not complete, and the positions of their next tokens.
    going, places = np.arange(positions.shape[0]), positions
    last = tokens.shape[0] - 1
    for shift in range(64 - bits, -bits, -bits):
        values = tokens[np.minimum(places, last)]
        values[places > last] = separator
        ended = values == separator
        values = np.minimum(values, (1 << bits) - 1).astype(fmt.KEY)
        if by_bytes:
            values = fmt.ordered(values.view(np.int64), bits).view(fmt.KEY)
        keys[going] |= values << np.uint64(shift) if shift >= 0 else values >> np.uint64(-shift)
        # After a separator the key is zero, unless the separator is the suffix's own first token.
        if shift < 64 - bits and ended.any():
            going, places = going[~ended], places[~ended]
        places = places + 1
    return keys


def fence_tree(level: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The content of fences.bin, in pieces, from the pieces of its level 0."""
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
