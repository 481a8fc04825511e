"""Every compiled function: arrays and integers in, arrays and integers out.

Kernels do not validate: each lists its preconditions and the caller proves them. They hold no
lock on the interpreter, and compile once per machine (the result is cached on disk).

They are plain Python as well. Where numba's variable NUMBA_DISABLE_JIT is 1 they are interpreted,
and numba is not imported: a single search takes a millisecond then, less than loading its code.

Common arguments (`search` has its own way to the arrays of a segment):

- `tokens`: u8, u16 or u32, shape (n,): a segment's stream.
- `sa`: the suffix array: u32, shape (n,), or u8, shape (n, 5) for 5-byte positions.
- `separator`: the all-ones id of the token dtype, as int64.
"""

import ctypes
import mmap
import os
from collections.abc import Callable
from functools import cache, partial
from time import perf_counter_ns
from typing import Any, TypeVar

import numpy as np

F = TypeVar("F", bound=Callable[..., Any])


def _interpreted() -> bool:
    if os.environ.get("NUMBA_DISABLE_JIT") == "1":
        return True
    import numba

    return bool(numba.config.DISABLE_JIT)


INTERPRETED = _interpreted()


def _kernel(function: F, nogil: bool = True, forceinline: bool = False) -> F:
    """Compile lazily (one variant for each set of dtypes), cached on disk; calls release the GIL.

    Not with `nogil` False, for what takes less time than releasing it is worth.
    """
    return function


def _prefetch(array: np.ndarray, index: int) -> None:
    """Ask for array[index] to be in the cache soon; any index does, none is read."""


@cache
def _madvise() -> Callable[[int, int, int], int]:
    function = ctypes.CDLL(None).madvise
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    call: Callable[[int, int, int], int] = function
    return call


def _will_need(array: np.ndarray, index: int) -> None:
    """Ask for the page of array[index] to be in memory soon, where the array maps a file."""
    address = array.__array_interface__["data"][0] + int(index) * array.itemsize
    last = address % mmap.PAGESIZE
    _madvise()(address - last, last + 1, mmap.MADV_WILLNEED)


def _array_at(address: int, length: int, dtype: Any) -> np.ndarray:
    """The array of that many entries at an address. Precondition: it is there, and stays."""
    size = int(length) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(int(address)), dtype)


def _words(size: int) -> np.ndarray:
    """That many words (int64) of the call's own, not cleared. `size` is a constant.

    Precondition: they are not returned. On the stack, they cost nothing.
    """
    return np.empty(size, np.int64)


def _ticks() -> int:
    """A clock of some GHz that takes few nanoseconds to read."""
    return perf_counter_ns()


if INTERPRETED:
    kernel, array_at, words, ticks = _kernel, _array_at, _words, _ticks
    prefetch, will_need = _prefetch, _will_need
else:
    from everygram.kernels import compiled

    kernel, array_at, words, ticks = (
        compiled.kernel,
        compiled.array_at,
        compiled.words,
        compiled.ticks,
    )
    prefetch, will_need = compiled.prefetch, compiled.will_need

# Where an array crosses from one compiled function to another, its references are counted, which
# takes longer than what small functions do.
inlined = partial(kernel, forceinline=True)


@kernel
def position_at(sa: np.ndarray, rank: int) -> int:
    """The position at `rank`, from 4-byte or 5-byte entries (numba prunes the other branch)."""
    if sa.ndim == 1:
        return np.int64(sa[rank])
    return (
        np.int64(sa[rank, 0])
        | np.int64(sa[rank, 1]) << 8
        | np.int64(sa[rank, 2]) << 16
        | np.int64(sa[rank, 3]) << 24
        | np.int64(sa[rank, 4]) << 32
    )


@kernel
def token_at(tokens: np.ndarray, position: int, separator: int) -> int:
    """The token at `position`; the end of the stream reads as a separator."""
    return np.int64(tokens[position]) if position < tokens.shape[0] else separator
