"""Sorts the suffixes of a stream as infini-gram does: as strings of bytes, to the end of the file.

Our sorter orders tokens as numbers, and compares up to the next separator; suffixes that are equal
up to there are in the order of their positions. So it is given another stream:

- Each id is replaced by its place in the order of little-endian bytes, counted from 1.
- A 0 follows the last document: the end of a file comes before whatever else may follow.
- Documents are put in the order of *what follows them in the file*. So of two suffixes that are
  equal up to their separators, the one whose file goes on with less has the lower position.

That order is the one of the suffixes that begin at separators. Documents with equal tokens get
equal names, ascending with the bytes; then it is the order of suffixes of the sequence of names,
which is sorted in linear time, however many documents are equal.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from everygram.building.external_sort import WRITE, remove_runs
from everygram.building.segment_builder import SegmentBuilder
from everygram.errors import OptionError
from everygram.progress import Clock
from everygram.storage import format as fmt
from everygram.storage.disk import map_file, map_positions, positions_in

# Documents are named with 4 bytes.
MOST_DOCUMENTS = 2**32 - 2
# Ids below this are looked up in a table; larger ones are searched for.
TABLE = 1 << 24
# Of every 2^GUIDED-th position it is known which document it is in.
GUIDED = 12


def sorted_by_bytes(
    tokens: np.ndarray,
    places: np.ndarray,
    ids: np.ndarray,
    folder: Path,
    memory: int,
    threads: int,
    clock: Clock,
) -> Iterator[np.ndarray]:
    """The positions of a stream's suffixes in the order of their bytes: int64, a piece at a time.

    tokens: u8, u16 or u32, shape (n,), a separator before each document. places: of these
    separators, int64, shape (D,), D at least 1. ids: all other tokens that occur, ascending.
    folder: a new one, for files that take up to 13 bytes per token; the caller removes it. memory:
    a limit in bytes for sorting; documents take up to 80 bytes each besides. Enters the stages
    "sort" and "merge" of the clock. Raises OptionError for too many documents.
    """
    from everygram.kernels.byte_strings import move

    clock.enter("sort")
    ends = np.append(places[1:], tokens.shape[0])
    following = _order_of_following(tokens, places, ends)
    symbols, dtype = _symbols(ids)
    with SegmentBuilder(folder, dtype, memory, threads) as builder:
        builder.begin()
        for document in following.tolist():
            content = symbols(tokens[places[document] + 1 : ends[document]])
            if document == places.shape[0] - 1:
                content = np.append(content, np.zeros(1, content.dtype))
            builder.add(content, b"")
        stream_len = builder.end().stream_len
        blocks = []
        for block in builder.sorter.sorted_blocks():
            blocks.append(block)
            clock.report(block.end, stream_len)
    if blocks:
        clock.enter("merge")
    builder.merge(stream_len, blocks, clock.report)
    remove_runs(folder)
    starts = map_file(folder / fmt.DOCUMENT_OFFSETS, fmt.OFFSET).astype(np.int64)
    shifts = places[following] - starts
    guide = np.searchsorted(starts, np.arange(0, stream_len, 1 << GUIDED), "right") - 1
    guide = np.append(guide, starts.shape[0] - 1)
    positions = map_positions(folder, fmt.position_bytes(stream_len))
    # The first suffix is the 0 alone.
    for first in range(1, stream_len, WRITE):
        piece = positions_in(positions[first : first + WRITE])
        move(piece, starts, shifts, guide, GUIDED, piece)
        yield piece


def _order_of_following(tokens: np.ndarray, places: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The documents in the order of the files after them; last the one that nothing follows."""
    from everygram.building.induction import induced
    from everygram.kernels.byte_strings import name_strings

    number = places.shape[0]
    if number > MOST_DOCUMENTS:
        raise OptionError(
            f"index: expected at most {MOST_DOCUMENTS:,} documents to sort, found {number:,}; "
            "export parts of it"
        )
    data, width = tokens.view(np.uint8), tokens.itemsize
    # With its separator after it: so no document is the start of another one, but for the last,
    # which has none after it and differs from all.
    last = np.minimum(ends + 1, tokens.shape[0])
    names = np.empty(number, np.uint32)
    name_strings(data, (places + 1) * width, last * width, names)
    order = induced(names).astype(np.int64)
    return np.append(order[order > 0] - 1, number - 1)


def _symbols(ids: np.ndarray) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """What replaces ids by their places in the order of bytes, from 1; and the dtype of these."""
    dtype = fmt.token_dtype(ids.shape[0] + 1)
    places = np.empty(ids.shape[0], fmt.TOKEN_DTYPES[dtype])
    places[np.argsort(ids.byteswap(), kind="stable")] = np.arange(1, ids.shape[0] + 1)
    if ids.shape[0] == 0 or int(ids[-1]) >= TABLE:
        return lambda tokens: places[np.searchsorted(ids, tokens)], dtype
    table = np.zeros(int(ids[-1]) + 1, places.dtype)
    table[ids] = places
    return lambda tokens: table[tokens], dtype
