"""The exact repeats of a sorted stream, on all cores: ranges of positions, groups, counts.

In: a stream and its suffix array. Out: arrays. Two bytes a token are held meanwhile, and 40 a
range.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from everygram import arguments
from everygram.arguments import short
from everygram.curation.stream import SortedStream
from everygram.encoding import Reading
from everygram.errors import DamagedIndexError, OptionError
from everygram.storage.disk import positions_in
from everygram.storage.lcps import DAMAGED

UNITS = ("tokens", "bytes")
# Ranks that one thread compares between two reports.
PIECE = 1 << 21
NO_BOUNDS = np.zeros(1, np.int64)


@dataclass(frozen=True)
class Rule:
    """What a repeat is, and which of its occurrences are reported.

    least: tokens, or bytes with `weights` (int32, shape (V,), those of each token; else empty).
    bounds: int64: where the indexes of a union begin in the stream.
    """

    least: int
    weights: np.ndarray
    keep_first: bool
    bridge: int
    across: bool
    bounds: np.ndarray


@dataclass(frozen=True)
class Question:
    """What `duplicates` and `deduplicate` are both asked, checked."""

    min_length: int
    unit: str
    keep_first: bool
    bridge: int

    @classmethod
    def of(cls, min_length: int, unit: str, keep_first: bool, bridge: int) -> "Question":
        """Raises OptionError."""
        least = arguments.natural("min_length", min_length, 1)
        if not (isinstance(unit, str) and unit in UNITS):
            raise OptionError(f"unit: expected one of {', '.join(UNITS)}, found {short(unit)}")
        first = arguments.flag("keep_first", keep_first)
        return cls(least, unit, first, arguments.natural("bridge", bridge))

    def rule(self, reading: Reading, across: bool = False, bounds: np.ndarray = NO_BOUNDS) -> Rule:
        """The rule for these tokens. Raises TokenizerError if they have no bytes, in that unit."""
        weights = np.empty(0, np.int32)
        if self.unit == "bytes":
            weights = np.diff(reading.token_bytes.starts).astype(np.int32)
        return Rule(self.min_length, weights, self.keep_first, self.bridge, across, bounds)


@dataclass(frozen=True)
class Ranges:
    """positions: int64, shape (r, 2), ascending. groups, counts: int64, shape (r,): of the n-gram
    with which each begins, numbered in the order of the ranges; and how often it occurs."""

    positions: np.ndarray
    groups: np.ndarray
    counts: np.ndarray


def find(
    stream: SortedStream, rule: Rule, threads: int, progress: Callable[[int, int], None]
) -> Ranges:
    """The ranges of a stream. Calls `progress(tokens, tokens in all)`. Raises DamagedIndexError."""
    from everygram.kernels import duplicates as kernels

    tokens, sa, separator = stream.tokens, stream.suffix_array, stream.separator
    n = tokens.shape[0]
    same, flags = np.zeros(n, np.uint8), np.zeros(n, np.uint8)

    def compare(first: int, last: int) -> bool:
        given = first, last, same
        return kernels.compare(tokens, sa, separator, rule.weights, rule.least, *given)

    def flag(first: int, last: int) -> None:
        given = rule.across, rule.keep_first, first, last, flags
        kernels.flag(sa, same, rule.bounds, *given)

    def ranges(first: int, last: int) -> np.ndarray:
        given = tokens, separator, rule.weights, rule.least, rule.bridge, flags, first, last
        number = kernels.find_ranges(*given, np.empty((0, 2), np.int64))
        found = np.empty((number, 2), np.int64)
        kernels.find_ranges(*given, found)
        return found

    with ThreadPoolExecutor(threads) as pool:
        pieces = _stretches(n, max(threads, n // PIECE))
        for done, sound in enumerate(pool.map(compare, *pieces)):
            if not sound:
                raise DamagedIndexError(DAMAGED)
            progress(pieces[1][done], n)
        list(pool.map(flag, *pieces))
        begins, _ = _stretches(n, threads)
        bounds = np.searchsorted(stream.offsets, [*begins, n])
        cuts = np.append(stream.offsets, n)[bounds].tolist()
        positions = np.concatenate(
            [np.empty((0, 2), np.int64), *pool.map(ranges, cuts[:-1], cuts[1:])]
        )
        starts = np.ascontiguousarray(positions[:, 0])
        flags[starts] = kernels.FIRST
        groups, counts = np.full(starts.shape, -1, np.int64), np.zeros(starts.shape, np.int64)

        def identify(first: int, last: int) -> None:
            kernels.identify(sa, same, flags, starts, first, last, groups, counts)

        list(pool.map(identify, *pieces))
    return Ranges(positions, renumbered(groups), counts)


def identical(stream: SortedStream, threads: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Documents with the same tokens as another: places in the stream, ascending; groups; counts.

    int64 each. Groups are numbered in the order of their first documents.
    """
    from everygram.kernels import duplicates as kernels

    tokens, separator, size = stream.tokens, stream.separator, stream.offsets.shape[0]
    # (The separator is the largest id.)
    sa = stream.suffix_array[tokens.shape[0] - size :]
    same = np.zeros(size, np.uint8)

    def compare(first: int, last: int) -> bool:
        return kernels.compare_documents(tokens, sa, separator, first, last, same)

    with ThreadPoolExecutor(threads) as pool:
        if not all(pool.map(compare, *_stretches(size, 4 * threads))):
            raise DamagedIndexError(DAMAGED)
    runs = np.cumsum(same == 0) - 1
    sizes = np.bincount(runs, minlength=0)
    some = np.flatnonzero(sizes[runs] > 1) if size else np.empty(0, np.int64)
    places = np.searchsorted(stream.offsets, positions_in(sa[some]))
    order = np.argsort(places)
    some = some[order]
    return places[order], renumbered(runs[some]), sizes[runs[some]]


def renumbered(groups: np.ndarray) -> np.ndarray:
    """The same groups, numbered from 0 in the order in which they come first: int64."""
    _, first, which = np.unique(groups, return_index=True, return_inverse=True)
    number = np.empty(first.shape[0], np.int64)
    number[np.argsort(first)] = np.arange(first.shape[0])
    renumbered: np.ndarray = number[which.reshape(-1)]
    return renumbered


def _stretches(n: int, parts: int) -> tuple[list[int], list[int]]:
    """Begins and ends of stretches of [0, n)."""
    bounds = [n * part // parts for part in range(parts + 1)]
    return bounds[:-1], bounds[1:]
