"""Megatron-LM's pairs of an index, `X.idx`, and ids, `X.bin`."""

import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path

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
MEGATRON_LEGACY = b"TNTIDX\0\0"
MEGATRON_HEADER = 34
# By the index's code; 6 and 7 are floats, 9 and 10 what some other tools write.
MEGATRON_DTYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2", 9: "<u4", 10: "<u8"}


def megatron_file(given: Given) -> TokenFile:
    index = given.path.with_suffix(".idx")
    if not given.path.is_file():
        raise CorpusError(f"{index}: expected its ids in '{given.path.name}' beside it, found none")
    with index.open("rb") as file:
        head = file.read(MEGATRON_HEADER)
    if head.startswith(MEGATRON_LEGACY):
        raise CorpusError(
            f"{index}: an index of fairseq's old kind (TNTIDX), which is not read: expected "
            "Megatron-LM's (MMIDIDX); preprocess the corpus again"
        )
    if len(head) < MEGATRON_HEADER or not head.startswith(MEGATRON):
        raise CorpusError(
            f"{index}: expected Megatron-LM's header, {MEGATRON_HEADER} bytes that start with "
            f"{MEGATRON!r}, found {len(head)} that start with {head[:9]!r}: cut off, or another "
            "kind of file?"
        )
    version, code, sequences, numbers = struct.unpack_from("<QBQQ", head, len(MEGATRON))
    if version != 1 or code not in MEGATRON_DTYPES:
        raise CorpusError(
            f"{index}: expected version 1 and a dtype code of integers ({[*MEGATRON_DTYPES]}), "
            f"found version {version} and code {code}"
        )
    size, expected = index.stat().st_size, MEGATRON_HEADER + 12 * sequences + 8 * numbers
    if size != expected:
        raise CorpusError(
            f"{index}: {sequences:,} sequences and {numbers:,} document indices are {expected:,} "
            f"bytes, found {size:,}: cut off, or not an index of text by Megatron-LM"
        )
    dtype, end = np.dtype(MEGATRON_DTYPES[code]), given.path.stat().st_size
    lengths = partial(mapped, index, "<i4", MEGATRON_HEADER, sequences)
    pointers = partial(mapped, index, "<i8", MEGATRON_HEADER + 4 * sequences, sequences)
    documents = partial(mapped, index, "<i8", MEGATRON_HEADER + 12 * sequences, numbers)
    _check_sequences(index, lengths(), pointers(), dtype.itemsize, end)
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
                f"and a length of {some_lengths[at]:,}: damaged"
            )
        expected = int(ends[-1])
    if expected != end:
        raise CorpusError(
            f"{index}: its sequences are {expected:,} bytes, expected as many in "
            f"'{index.stem}.bin', found {end:,}: cut off, or of another run?"
        )
