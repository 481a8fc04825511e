"""Pairs of an index, `X.idx`, and ids, `X.bin`: Megatron-LM's, and fairseq's."""

import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from everygram.corpus.token_file import (
    Given,
    TokenFile,
    adjoining,
    blocks,
    check_ascending,
    mapped,
)
from everygram.errors import CorpusError

MEGATRON = b"MMIDIDX\0\0"
# Indexes that are recognised but not read: how they start, and what they are.
UNREAD = {
    b"TNTIDX\0\0": "old kind (TNTIDX, --dataset-impl lazy or cached)",
    b"HUFFIDX\0\0": "Huffman-coded kind (HUFFIDX, --dataset-impl huffman)",
}
MAGICS = (MEGATRON, *UNREAD)
# Sizes of the headers. Both have: magic number, version, code of the ids' dtype, number of
# sequences. Megatron-LM's goes on with the number of document indices. After the header come the
# lengths and pointers of sequences, and in Megatron-LM's the document indices.
FAIRSEQ_HEADER, MEGATRON_HEADER = 26, 34
# By the index's code; 6 and 7 are floats, 9 and 10 what some other tools write.
MEGATRON_DTYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2", 9: "<u4", 10: "<u8"}


def megatron_file(given: Given) -> TokenFile:
    """A pair by Megatron-LM, whose index records documents, or by fairseq, which has sequences."""
    index = given.path.with_suffix(".idx")
    if not given.path.is_file():
        raise CorpusError(f"{index}: expected its ids in '{given.path.name}' beside it, found none")
    with index.open("rb") as file:
        head = file.read(MEGATRON_HEADER)
    for magic, kind in UNREAD.items():
        if head.startswith(magic):
            raise CorpusError(
                f"{index}: an index of fairseq's {kind}, which is not read: expected one of "
                "Megatron-LM or fairseq that starts with MMIDIDX; preprocess the corpus again "
                "(in fairseq with --dataset-impl mmap)"
            )
    if len(head) < FAIRSEQ_HEADER or not head.startswith(MEGATRON):
        raise CorpusError(
            f"{index}: expected Megatron-LM's header, {MEGATRON_HEADER} bytes that start with "
            f"{MEGATRON!r}, found {len(head)} that start with {head[:9]!r}: cut off, or another "
            "kind of file?"
        )
    version, code, sequences = struct.unpack_from("<QBQ", head, len(MEGATRON))
    if version != 1 or code not in MEGATRON_DTYPES:
        raise CorpusError(
            f"{index}: expected version 1 and a dtype code of integers ({[*MEGATRON_DTYPES]}), "
            f"found version {version} and code {code}"
        )
    # (An index by Megatron-LM is never that small: its header alone is longer.)
    size, dtype = index.stat().st_size, np.dtype(MEGATRON_DTYPES[code])
    if size == FAIRSEQ_HEADER + 12 * sequences:
        return _fairseq_file(given, index, dtype, sequences)
    numbers = int.from_bytes(head[FAIRSEQ_HEADER:], "little")
    expected = MEGATRON_HEADER + 12 * sequences + 8 * numbers
    if size != expected:
        raise CorpusError(
            f"{index}: {sequences:,} sequences and {numbers:,} document indices are {expected:,} "
            f"bytes, found {size:,}: cut off, or not an index of text by Megatron-LM or fairseq"
        )
    end = given.path.stat().st_size
    pointers = _checked_pointers(index, MEGATRON_HEADER, sequences, dtype, end)
    documents = partial(mapped, index, "<i8", MEGATRON_HEADER + 12 * sequences, numbers)
    check_ascending(documents(), f"{index}: document indices")
    first, last = documents()[[0, -1]].tolist() if numbers else (0, 0)
    if numbers == 0 or (first, last) != (0, sequences):
        raise CorpusError(
            f"{index}: expected document indices from 0 to {sequences:,}, the number of sequences, "
            f"found {numbers:,} from {first:,} to {last:,}: damaged"
        )

    def edges() -> Iterator[int]:
        starts = pointers()
        for _, block in blocks(documents()):
            places = np.full(block.size, end)
            places[block < sequences] = starts[block[block < sequences]]
            yield from (places // dtype.itemsize).tolist()

    bounds = partial(adjoining, edges)
    return TokenFile(given, "Megatron", dtype, end // dtype.itemsize, bounds=bounds)


def _fairseq_file(given: Given, index: Path, dtype: np.dtype[Any], sequences: int) -> TokenFile:
    """A pair by fairseq: each sequence, a line of the text, is a document."""
    end = given.path.stat().st_size
    pointers = _checked_pointers(index, FAIRSEQ_HEADER, sequences, dtype, end)

    def edges() -> Iterator[int]:
        for _, block in blocks(pointers()):
            yield from (block // dtype.itemsize).tolist()
        yield end // dtype.itemsize

    bounds = partial(adjoining, edges)
    return TokenFile(given, "fairseq", dtype, end // dtype.itemsize, bounds=bounds)


def _checked_pointers(
    index: Path, header: int, sequences: int, dtype: np.dtype[Any], end: int
) -> Callable[[], np.ndarray]:
    """The places of sequences in bytes, checked against their lengths and the size of the ids."""
    lengths = mapped(index, "<i4", header, sequences)
    pointers = partial(mapped, index, "<i8", header + 4 * sequences, sequences)
    _check_sequences(index, lengths, pointers(), dtype.itemsize, end)
    return pointers


def _check_sequences(
    index: Path, lengths: np.ndarray, pointers: np.ndarray, width: int, end: int
) -> None:
    """Raise CorpusError unless the sequences, one after the other, are all of the ids."""
    expected = 0
    for (begin, some_lengths), (_, starts) in zip(blocks(lengths), blocks(pointers), strict=True):
        sizes = some_lengths.astype(np.int64) * width
        ends = expected + np.cumsum(sizes)
        bad = np.flatnonzero((sizes < 0) | (starts != ends - sizes))
        if bad.size:
            at = int(bad[0])
            raise CorpusError(
                f"{index}: sequence {begin + at:,}: expected it to start where the one "
                f"before ends, at byte {int(ends[at] - sizes[at]):,}, found byte {starts[at]:,} "
                f"and a length of {some_lengths[at]:,}: damaged, or cut off"
            )
        expected = int(ends[-1])
    if expected != end:
        raise CorpusError(
            f"{index}: its sequences are {expected:,} bytes, expected as many in "
            f"'{index.stem}.bin', found {end:,}: cut off, or of another run?"
        )
