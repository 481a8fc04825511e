"""Every compiled function: arrays and integers in, arrays and integers out.

Kernels do not validate their arguments: each lists its preconditions, and the caller proves them.
They release the GIL. They are compiled once per machine (the result is cached on disk).

They are plain Python as well. If numba's variable NUMBA_DISABLE_JIT is 1, they are interpreted
and numba is not imported. A single search then takes a millisecond: less than loading numba's code.
Interpreted ones also read arrays whose bytes are not in memory (`distant`).

Common arguments (`search` passes the arrays of a segment differently):

- `tokens`: u8, u16 or u32, shape (n,): a segment's stream.
- `sa`: the suffix array: u32, shape (n,), or u8, shape (n, 5) for 5-byte positions.
- `separator`: the all-ones id of the token dtype, as int64.
"""

import ctypes
import mmap
import os
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import numpy as np

from everygram import distant
from everygram.distant import DistantArray, distant_at

F = TypeVar("F", bound=Callable[..., Any])


def _interpreted() -> bool:
    if os.environ.get("NUMBA_DISABLE_JIT") == "1":
        return True
    import numba

    return bool(numba.config.DISABLE_JIT)


INTERPRETED = distant.interpreted = _interpreted()


def _kernel(function: F) -> F:
    """Compile when first called, once per set of dtypes, cached on disk. Calls release the GIL."""
    return function


def _called(function: F) -> F:
    """Compile only for the kernels that call it; Python cannot call it."""
    return function


def _inlined(function: F) -> F:
    """As `_called`, and inlined into its callers."""
    return function


def _entry(kernel: Callable[..., Any], *like: Any) -> Callable[..., Any]:
    """A kernel that returns ints, for arguments of these types only; this call compiles it.

    numba's dispatch (finding the compiled code by the arguments' types) would take as long as a
    quarter of a search.
    """

    def call(*given: Any) -> Any:
        found = kernel(*given)
        return tuple(map(int, found)) if isinstance(found, tuple) else int(found)

    return call


def _prefetch(array: np.ndarray | DistantArray, index: int) -> None:
    """Request that array[index] be in the cache soon. Any index is allowed: nothing is read."""
    if isinstance(array, DistantArray):
        array.ask(index)


@cache
def _madvise() -> Callable[[int, int, int], int]:
    function = ctypes.CDLL(None).madvise
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    call: Callable[[int, int, int], int] = function
    return call


def _will_need(array: np.ndarray | DistantArray, index: int) -> None:
    """Request that the page of array[index] be in memory soon, if the array maps a file."""
    if isinstance(array, DistantArray):
        array.ask(index)
        return
    address = array.__array_interface__["data"][0] + int(index) * array.itemsize
    last = address % mmap.PAGESIZE
    _madvise()(address - last, last + 1, mmap.MADV_WILLNEED)


def _array_at(address: int, shape: Any, dtype: Any) -> np.ndarray:
    """The array of that shape (a length, or a pair) at an address.

    Precondition: the array is at that address, and outlives the result.
    """
    if address < 0:
        return distant_at(address, shape, dtype)
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = (ctypes.c_char * size).from_address(int(address))
    return np.frombuffer(memory, dtype).reshape(shape)


def _words(rows: int, columns: int) -> np.ndarray:
    """Scratch memory of the calling function: int64, shape (rows, columns), uninitialized.

    Preconditions: rows and columns are constants; the array is not returned. It is on the stack
    and costs nothing.
    """
    return np.empty((rows, columns), np.int64)


def _ones(word: int) -> int:
    """How many bits of an unsigned 64-bit word are set."""
    return int(word).bit_count()


def _length(word: int) -> int:
    """How many bits an unsigned 64-bit word has up to its highest one: 0 to 64."""
    return int(word).bit_length()


def _ids_of(packed: bytes, separator: Any) -> np.ndarray:
    """The ids in `packed`, not copied. Their dtype is that of `separator`, a numpy scalar."""
    return np.frombuffer(packed, separator.dtype)


if INTERPRETED:
    kernel, called, inlined, entry = _kernel, _called, _inlined, _entry
    array_at, words, ids_of = _array_at, _words, _ids_of
    prefetch, will_need, ones, length = _prefetch, _will_need, _ones, _length
else:
    from everygram.kernels import compiled

    kernel, called = compiled.kernel, compiled.called
    inlined, entry = compiled.inlined, compiled.entry
    array_at, words, ids_of = compiled.array_at, compiled.words, compiled.ids_of
    prefetch, will_need = compiled.prefetch, compiled.will_need
    ones, length = compiled.ones, compiled.length


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


@inlined
def borrowed(array: np.ndarray) -> np.ndarray:
    """The array without reference counting, which would cost time in every call that takes it.

    Precondition: the original array outlives the result.
    """
    return array_at(array.ctypes.data, array.shape, array.dtype)
