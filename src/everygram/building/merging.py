"""Sorts blocks of a stream into runs, and merges runs into one order, in stretches of it.

Tokens and positions in, positions out. Knows kernels; knows nothing of files (see `external_sort`).
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from everygram.building.induction import induced
from everygram.errors import BuildError
from everygram.kernels.merge import (
    READY,
    keep_below,
    merge,
    rank_in_run,
    sort_few,
    start_merge,
    undecided,
)
from everygram.storage.build_state import Block

# The most suffixes before a cut that are sorted by what follows it, and the most tokens after it by
# which they are. With more, the document is not cut. (Merging compares such suffixes with others
# over that length, so this also bounds its time.)
MAX_LEFTOVER = 1 << 16
# The table of diagonals: the size of an entry, the fewest entries, and the share of the memory
# limit for the tables of all merging threads. A corpus full of copies has a diagonal for every pair
# of copies: k copies, of n tokens in total, have k · n / 2^13 stretches. More than one entry per 16
# tokens would be unused, and slower.
DIAGONAL_BYTES = 32
FEWEST_DIAGONALS = 1 << 14
DIAGONALS_SHARE = 0.5
# Bytes of the tables of all threads for any limit: with tables that are too small for a corpus of
# copies, merging takes many times longer.
LEAST_DIAGONALS = 16 << 20
MOST_DIAGONALS = 1 / 16
# Stretches of the output per thread, which it merges one after another; and samples per stretch,
# or per run if there are more runs: they decide where stretches start.
STRETCHES = 4
SAMPLES = 64


def sort_block(tokens: np.ndarray, start: int, end: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Sort tokens [start, end) of a stream. None: the document should not be cut at `end`.

    tokens: u8, u16 or u32: the stream, as far as it is written. Returns two runs of positions in
    the block. The first has the suffixes that the block's own tokens decide. The second, if the
    block ends inside a document, has the others, sorted with the tokens after the block.
    """
    separator = int(np.iinfo(tokens.dtype).max)
    length = end - start
    sa = induced(tokens[start:end])
    if end == tokens.shape[0] or tokens[end] == separator:
        return sa, np.empty(0, np.uint32)
    most = MAX_LEFTOVER + 1
    leftover = int(undecided(tokens[start:end], sa, separator, most))
    rest = _sorted_leftover(tokens, separator, end, leftover)
    if rest is None:
        return None
    keep_below(sa, length - leftover)
    return sa[: length - leftover], rest + np.uint32(length - leftover)


def _sorted_leftover(
    tokens: np.ndarray, separator: int, end: int, leftover: int
) -> np.ndarray | None:
    """Sort the last suffixes before a cut by what follows it, as far as that must be read.

    Returns their positions, counted from the first of them. None if there are too many, or if
    MAX_LEFTOVER tokens after the cut leave some undecided: the document consists of repeats.
    """
    ahead = leftover
    while leftover <= MAX_LEFTOVER and ahead <= MAX_LEFTOVER:
        text = tokens[end - leftover : end + ahead]
        sa = induced(text)
        # (The end of the stream decides as a separator does.)
        if end + ahead >= tokens.shape[0] or undecided(text, sa, separator, text.shape[0]) <= ahead:
            keep_below(sa, leftover)
            return sa[:leftover]
        ahead *= 2
    return None


def sort_document(tokens: np.ndarray, start: int) -> np.ndarray:
    """Sort a stream from `start` on as a whole. Raises BuildError if it is too long."""
    length = tokens.shape[0] - start
    if length >= 2**32:
        raise BuildError(
            f"a document of {length:,} tokens has only repeats: such a document may have up "
            f"to {2**32 - 1:,} tokens; split it"
        )
    return induced(tokens[start:])


class Merge:
    """The sorted runs of a stream, whose order may be merged in stretches, each by itself.

    A stretch is what comes from one *splitter* on, up to another: the suffixes at two positions of
    the stream. Bounds of a stretch: the first entry of each run in it, int64, shape (runs,).
    """

    def __init__(self, tokens: np.ndarray, runs: np.ndarray, blocks: Sequence[Block]) -> None:
        """tokens: u8, u16 or u32, shape (n,). runs: from `sort_block`, u32, shape (n,), each at the
        place of its block's tokens."""
        self._tokens = tokens
        self._separator = int(np.iinfo(tokens.dtype).max)
        self._runs = runs
        # First entry, end and base of each run.
        self._spans = np.array(
            [
                span
                for block in blocks
                for span in (
                    (block.start, block.end - block.leftover, block.start),
                    (block.end - block.leftover, block.end, block.start),
                )
                if span[0] < span[1]
            ],
            np.int64,
        )

    def splitters(self, stretches: int) -> list[int]:
        """Positions that cut the order into so many stretches of about the same length."""
        lengths = self._spans[:, 1] - self._spans[:, 0]
        number = SAMPLES * max(stretches, lengths.shape[0])
        # Each run gives samples by its length; those of few suffixes (before a cut) none.
        each = np.minimum(lengths, number * (lengths / lengths.sum())).astype(np.int64)
        samples = np.concatenate(
            [
                base
                + self._runs[first + (2 * np.arange(k) + 1) * (last - first) // (2 * k)].astype(
                    np.int64
                )
                for (first, last, base), k in zip(self._spans.tolist(), each.tolist(), strict=True)
                if k
            ]
        )
        samples = np.unique(samples)
        sort_few(self._tokens, self._separator, 0, samples, _diagonals())
        return [
            int(samples[samples.shape[0] * place // stretches]) for place in range(1, stretches)
        ]

    def bounds(self, after: int | None, before: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Where a stretch starts and ends in each run; None: with the first, with the last."""
        first, last = self._spans[:, 0], self._spans[:, 1]
        return (
            first if after is None else self._starts(after),
            last if before is None else self._starts(before),
        )

    def rank(self, bounds: np.ndarray) -> int:
        """How many suffixes come before a stretch that starts at `bounds`."""
        return int((bounds - self._spans[:, 0]).sum())

    def stretch(
        self, first: np.ndarray, last: np.ndarray, memory: int, step: int
    ) -> Iterator[np.ndarray]:
        """The positions of a stretch in order, int64, up to `step` at a time, in one array.

        first, last: its bounds. memory: bytes for its table of diagonals.
        """
        num_runs = first.shape[0]
        leaves = 1 << (num_runs - 1).bit_length()
        empty = np.zeros_like(first)
        state = (
            self._tokens,
            self._separator,
            self._runs,
            np.stack([first, last, self._spans[:, 2], empty, empty], axis=1),
            np.empty((num_runs, READY), np.int64),
            np.empty((num_runs, READY), np.uint64),
            np.empty((leaves, 2), np.int64),
            np.empty(leaves, np.uint64),
            _diagonals(memory),
        )
        start_merge(*state)
        out = np.empty(step, np.int64)
        while count := merge(*state, out):
            yield out[:count]

    def _starts(self, splitter: int) -> np.ndarray:
        """The first entry of each run that does not come before the suffix at a position."""
        of, diagonals = (self._tokens, self._separator, self._runs), _diagonals()
        return np.array(
            [
                rank_in_run(*of, first, last, base, splitter, diagonals)
                for first, last, base in self._spans.tolist()
            ],
            np.int64,
        )


def merge_blocks(
    merging: Merge,
    stream_len: int,
    memory: int,
    threads: int,
    step: int,
    write: Callable[[int, np.ndarray], None],
    progress: Callable[[int, int], None],
) -> None:
    """Merge the runs of all blocks of a stream; each thread makes its own stretches of the order.

    Calls `write(rank, positions)`, from any thread, for up to `step` positions (int64) at a time,
    and `progress(tokens, tokens in all)`.
    """
    each = diagonals_bytes(memory, threads, stream_len)
    ends = [None, *merging.splitters(threads * STRETCHES if threads > 1 else 1), None]
    lock = threading.Lock()
    done = 0

    def merge_stretch(after: int | None, before: int | None) -> None:
        nonlocal done
        first, last = merging.bounds(after, before)
        at = merging.rank(first)
        for positions in merging.stretch(first, last, each, step):
            write(at, positions)
            at += positions.shape[0]
            with lock:
                done += positions.shape[0]
                progress(done, stream_len)

    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(merge_stretch, *pair) for pair in pairwise(ends)]:
            future.result()


def diagonals_bytes(memory: int, threads: int, stream_len: int) -> int:
    """Bytes for the table of diagonals of each of the threads that share a limit."""
    return int(
        min(
            max(DIAGONALS_SHARE * memory, LEAST_DIAGONALS) / threads,
            MOST_DIAGONALS * stream_len * DIAGONAL_BYTES,
        )
    )


def _diagonals(memory: int = 0) -> np.ndarray:
    """An empty table of diagonals that takes at most `memory` bytes, or the smallest table."""
    entries = max(FEWEST_DIAGONALS, memory // DIAGONAL_BYTES)
    return np.zeros((1 << entries.bit_length() - 1, 4), np.int64)
