"""The tokens and the suffix array of a segment of any kind, for what passes over all of them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from everygram.storage import format as fmt
from everygram.storage.segment import Segment
from everygram.storage.self_index import write_plain


def plain(
    segment: Segment,
    path: Path,
    memory: int,
    threads: int,
    progress: Callable[[int, int], None],
) -> tuple[np.ndarray, np.ndarray]:
    """The stream and the suffix array of a segment, as `Segment.tokens` and `suffix_array` are.

    Those of a self-index are written to a folder in `path`, which is removed again: the disk space
    is free once the arrays are gone. Calls `progress(tokens, tokens in all)`. Raises
    DamagedIndexError, OSError.
    """
    if segment.entry.kind == fmt.SUFFIX_ARRAY_KIND:
        return segment.tokens, segment.suffix_array
    folder = path / fmt.PLAIN
    folder.mkdir()
    try:
        return write_plain(segment, folder, memory, threads, progress)
    finally:
        shutil.rmtree(folder)


def plain_bytes(segment: Segment) -> int:
    """The disk space that `plain` takes."""
    if segment.entry.kind == fmt.SUFFIX_ARRAY_KIND:
        return 0
    return segment.stream_len * (segment.token_dtype.itemsize + segment.entry.position_bytes)
