"""Arrays of bytes that are elsewhere, which interpreted kernels read as they read arrays in memory.

In place of an address in memory such an array has a number below 0: a row says it like an address,
and `array_at` finds the array by it. Bytes come in blocks, each of which a `Source` gives whole or
not at all; what a kernel requests (`will_need`, `prefetch`) is asked of the source, which fetches
many at once. Compiled kernels would read memory that is not there: where kernels are compiled no
such array gets a number.
"""

import itertools
import weakref
from collections.abc import Sequence
from typing import Any, NoReturn, Protocol

import numpy as np

_NUMBERS = itertools.count(-1, -1)
_ARRAYS: "weakref.WeakValueDictionary[int, DistantArray]" = weakref.WeakValueDictionary()
# Whether the kernels of this process are interpreted; they say so themselves.
interpreted = False


class Source(Protocol):
    """The bytes of a file in blocks of `block_bytes` (a power of two), all but the last whole."""

    block_bytes: int

    def block(self, number: int) -> bytes:
        """A block. Waits until it is here."""

    def blocks(self, numbers: Sequence[int]) -> list[bytes]:
        """Several blocks, fetched together."""

    def ask(self, number: int) -> None:
        """Request that a block be here soon. Does not wait."""

    def whole(self) -> Exception:
        """The error for what would read all blocks."""


class DistantArray:
    """A read-only array of `size` bytes of a source, of a dtype: shape (n,), or (n, width) bytes.

    Its elements and stretches are numpy's: `array[i]`, `array[i:j]`, and `array[ranks]` with an
    array of indexes, whose blocks are fetched together. Whatever else takes arrays gets an error.
    """

    def __init__(
        self, source: Source, size: int, dtype: Any, width: int = 0, end: int | None = None
    ) -> None:
        """end: the bytes that the source has, if others than `size`; nothing is read behind."""
        self._source, self._size = source, size
        self._end = size if end is None else end
        self.dtype = np.dtype(dtype)
        self.itemsize, self.nbytes = self.dtype.itemsize, size
        self._row = self.itemsize * max(1, width)  # bytes per index
        count = size // self._row
        self.shape: tuple[int, ...] = (count, width) if width else (count,)
        self.ndim = len(self.shape)
        self._shift = source.block_bytes.bit_length() - 1
        self._mask = source.block_bytes - 1
        self.address = 0

    def located(self) -> int:
        """The number, below 0, by which `array_at` finds the array while it lives.

        Raises RuntimeError where kernels are compiled, or not imported yet.
        """
        if not interpreted:
            raise RuntimeError("an array that is elsewhere, given to compiled kernels")
        if not self.address:
            self.address = next(_NUMBERS)
            _ARRAYS[self.address] = self
        return self.address

    def seen_as(self, shape: Any, dtype: Any) -> "DistantArray":
        """The bytes as an array of that shape (a length, or a pair of them).

        It may say more than there are, as long as these are not read.
        """
        lengths = [int(length) for length in np.atleast_1d(shape)]
        dtype = np.dtype(dtype)
        width = lengths[1] if len(lengths) > 1 else 0
        size = lengths[0] * max(1, width) * dtype.itemsize
        return DistantArray(self._source, size, dtype, width, self._end)

    def reshape(self, *shape: int) -> "DistantArray":
        """Bytes, as rows of so many."""
        return self.seen_as((self._size // shape[1], shape[1]), self.dtype)

    def ask(self, index: int) -> None:
        """Request array[index]. Any index is allowed."""
        at = int(index) * self._row
        if 0 <= at < self._end:
            self._source.ask(at >> self._shift)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, int | np.integer) and self.ndim == 1:
            at = int(key) * self.itemsize
            if at < 0:
                at += self._size
            if not 0 <= at < self._end:
                raise IndexError(f"index {key} of {self._end // self.itemsize}")
            block = self._source.block(at >> self._shift)
            return np.frombuffer(block, self.dtype, 1, at & self._mask)[0]
        if isinstance(key, slice):
            start, stop, step = key.indices(self.shape[0])
            if step == 1:
                return self._shaped(self._stretch(start * self._row, max(start, stop) * self._row))
            key = np.arange(start, stop, step)
        if isinstance(key, np.ndarray) and key.dtype.kind in "iu":
            return self._gathered(key)
        raise self._source.whole()

    def _shaped(self, data: np.ndarray) -> np.ndarray:
        found: np.ndarray = data.view(self.dtype)
        return found.reshape(-1, self.shape[1]) if self.ndim > 1 else found

    def _stretch(self, start: int, end: int) -> np.ndarray:
        """Bytes [start, end): u8."""
        if start == end:
            return np.empty(0, np.uint8)
        if end > self._end:
            raise IndexError(f"bytes {start} to {end} of {self._end}")
        first = start >> self._shift
        blocks = self._source.blocks(range(first, (end - 1 >> self._shift) + 1))
        whole = np.frombuffer(b"".join(blocks), np.uint8)
        return whole[start - (first << self._shift) : end - (first << self._shift)].copy()

    def _gathered(self, indexes: np.ndarray) -> np.ndarray:
        """The entries at these indexes, in their shape."""
        flat = indexes.astype(np.int64).ravel()
        flat = np.where(flat < 0, flat + self.shape[0], flat)
        count = min(self.shape[0], self._end // self._row)
        if flat.size and not (flat.min() >= 0 and flat.max() < count):
            raise IndexError(f"indexes {flat.min()} to {flat.max()} of {count}")
        places = (flat[:, None] * self._row + np.arange(self._row)).ravel()
        found = np.empty(places.shape[0], np.uint8)
        if not flat.size:
            return self._shaped(found).reshape(*indexes.shape, *self.shape[1:])
        order = np.argsort(places, kind="stable")
        numbers, firsts = np.unique(places[order] >> self._shift, return_index=True)
        blocks = self._source.blocks(numbers.tolist())
        for block, some in zip(blocks, np.split(order, firsts[1:]), strict=True):
            found[some] = np.frombuffer(block, np.uint8)[places[some] & self._mask]
        return self._shaped(found).reshape(*indexes.shape, *self.shape[1:])

    # (numpy would go through all elements one by one, or say that an array equals nothing.)
    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise self._source.whole()

    __array__ = __iter__ = __len__ = __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __add__ = __radd__ = __sub__ = __and__ = __or__ = __rshift__ = _refuse
    __hash__ = _refuse


def distant_at(address: int, shape: Any, dtype: Any) -> DistantArray:
    """The array of that shape and dtype whose number is `address`."""
    return _ARRAYS[int(address)].seen_as(shape, dtype)
