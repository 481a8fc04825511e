"""A self-index: a segment without its tokens and its suffix array, from which both can be read."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from everygram.storage import format as fmt
from everygram.storage.disk import Written
from everygram.storage.segment import Segment


class SelfIndex(Segment):
    """An open segment of kind self-index. It has no `tokens` and no `suffix_array`."""


def write_self_index(
    folder: Path,
    dtype: str,
    stream_len: int,
    num_documents: int,
    sample_every: int,
    memory: int,
    threads: int,
    progress: Callable[[int, int], None],
) -> dict[str, Written]:
    """Write psi.bin, psi_blocks.bin, samples.bin and fences.bin of a segment; returns them by name.

    Preconditions: its tokens.bin, suffix_array.bin, document_offsets.bin and unigrams.bin are in the
    folder. They are not removed. The bytes written do not depend on `memory` or `threads`. Calls
    `progress(done, in all)`.
    """
    raise NotImplementedError


def key_bits(stream_len: int, num_documents: int) -> int:
    """`key_bits` of a self-index: the bits of an entry of Ψ."""
    return (stream_len + num_documents).bit_length()


def write_plain(
    segment: Segment, folder: Path, threads: int, progress: Callable[[int, int], None]
) -> tuple[np.ndarray, np.ndarray]:
    """Write tokens.bin and suffix_array.bin of a self-index to a folder; returns them, mapped.

    Raises DamagedIndexError.
    """
    raise NotImplementedError
