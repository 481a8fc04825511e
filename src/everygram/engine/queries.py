"""Checks ids from outside, and makes the arguments of the engine's methods.

In: lists and arrays from callers. Out: bytes or `Queries`, in the dtype of the segments' tokens. A
search trusts the dtype and the bounds of its query when it reads memory, so its queries may come
only from here.
"""

import contextlib
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np

from everygram.arguments import as_integer, short
from everygram.errors import QueryError
from everygram.kernels import rows
from everygram.storage import format as fmt

# (Any array does that numpy can look at: a tensor, a column, a buffer.)
Ids = Sequence[int] | np.ndarray

# For lists shorter than this, packers are made in advance.
PACKS = 256


class Queries:
    """Checked ids: one query or many. Only `Vocabulary` and `ranges` create this.

    ids: token dtype, shape (n,), read-only; each is in the vocabulary or is the separator. starts,
    ends: int64, shape (k,): query i is ids[starts[i]:ends[i]].
    """

    __slots__ = ("ends", "ids", "starts")

    def __init__(self, ids: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> None:
        self.ids, self.starts, self.ends = ids, starts, ends

    def ranges(self, starts: np.ndarray, ends: np.ndarray) -> "Queries":
        """Other ranges of the same ids: int64, shape (k,) each.

        Raises QueryError unless each range is inside the ids and starts no later than it ends.
        """
        starts = np.ascontiguousarray(starts, np.int64)
        ends = np.ascontiguousarray(ends, np.int64)
        size = self.ids.shape[0]
        fit = starts.ndim == 1 and starts.shape == ends.shape
        if not fit or (
            starts.shape[0] and (starts.min() < 0 or ends.max() > size or (starts > ends).any())
        ):
            raise QueryError(
                f"ranges: expected starts up to their ends, from 0 to the {size:,} ids, found "
                f"{short(starts)} to {short(ends)}"
            )
        return Queries(self.ids, starts, ends)

    def __getitem__(self, part: slice) -> "Queries":
        """Some of the queries."""
        return Queries(self.ids, self.starts[part], self.ends[part])

    def copied(self) -> "Queries":
        """The same, in arrays as kernels know them: those of another process's are read-only."""
        ids = np.frombuffer(self.ids.tobytes(), self.ids.dtype)  # read-only, as everywhere
        return Queries(ids, np.array(self.starts), np.array(self.ends))

    def alone(self) -> Iterator["Queries"]:
        """Each query by itself."""
        for start, end in zip(self.starts.tolist(), self.ends.tolist(), strict=True):
            yield Queries(self.ids[start:end], np.array([0]), np.array([end - start]))

    def __len__(self) -> int:
        """The number of queries."""
        return int(self.starts.shape[0])


class Vocabulary:
    """The ids of an index: those in [0, vocab_size) and the separator, all in one dtype."""

    def __init__(self, vocab_size: int, separator: int) -> None:
        self.vocab_size = vocab_size
        name = next(name for name in fmt.TOKEN_DTYPES if fmt.separator_of(name) == separator)
        self.dtype = fmt.TOKEN_DTYPES[name]
        # In the token dtype: kernels for one query read its bytes with the separator's dtype.
        self.separator = self.dtype.type(separator)
        # packs[size] packs a query of `size` ids.
        self.packs = [self._packer(size) for size in range(PACKS)]

    def _packer(self, size: int) -> Callable[..., bytes]:
        """A function that packs `size` ids; it raises struct.error for values that do not fit."""
        return struct.Struct(f"{size}{self.dtype.char}").pack

    def pack(self, query: Ids, name: str = "query") -> bytes:
        """The ids of a query as bytes of the token dtype.

        Raises QueryError unless the query is a flat list of integers that fit; `name` is its name
        in messages. Does not check that the ids are in the vocabulary: the search for the query
        does so when it reads them.
        """
        # (Other types with a length are checked first: sets have no order, bytes are not ids.)
        if isinstance(query, list | tuple):
            with contextlib.suppress(struct.error, TypeError):
                packed = self._packer(len(query))(*query)
                # (Booleans are packed as 0 and 1.)
                if not ((0 in packed or 1 in packed) and _has_booleans(query)):
                    return packed
        try:
            return self.check(query, name).astype(self.dtype).tobytes()
        except QueryError as error:
            raise error from None  # (That it could not be packed at once says no more.)

    def pack_prompt(self, prompt: Ids, continuation: int) -> bytes:
        """As `pack`, for the ids of a prompt followed by the continuation."""
        if isinstance(prompt, list | tuple) and not _has_booleans(prompt):
            with contextlib.suppress(struct.error, TypeError):
                return self._packer(len(prompt) + 1)(*prompt, continuation)
        try:
            ids = np.append(self.check(prompt), self.check_continuation(continuation))
        except QueryError as error:
            raise error from None
        return ids.astype(self.dtype).tobytes()

    def unpack(self, packed: bytes) -> np.ndarray:
        """The ids that `pack` packed: token dtype, read-only."""
        return np.frombuffer(packed, self.dtype)

    def check(self, query: Ids, name: str = "query") -> np.ndarray:
        """The query as int64, shape (m,). Raises QueryError; `name`: of the query in messages.

        An array of shape (1, m) is one query: tokenizers return the ids of one text like this.
        """
        ids = as_array(query, f"{name}: expected a flat list of token ids")
        listed = type(query) is not np.ndarray and isinstance(query, Sequence)
        if ids.ndim == 2 and ids.shape[0] == 1 and not listed:
            ids = ids[0]
        if ids.ndim != 1:
            raise QueryError(
                f"{name}: expected a flat list of token ids, found {ids.ndim} dimensions: "
                f"{short(query)}"
            )
        if ids.size == 0:
            return np.empty(0, np.int64)
        if ids.dtype.kind not in "iu" or (listed and _has_booleans(query)):
            values = list(query) if listed else ids.tolist()
            if ids.dtype.kind == "f" and not listed and np.isnan(ids).any():
                place = int(np.isnan(ids).argmax())  # a column with missing values becomes floats
                raise QueryError(
                    f"{name}[{place}]: expected a token id (an integer), found a missing value"
                )
            # Integers past 64 bits make an array of floats or objects.
            ids = np.empty(len(values), object)
            for place, value in enumerate(values):
                ids[place] = as_integer(value)
                if ids[place] is None:
                    raise QueryError(
                        f"{name}[{place}]: expected a token id (an integer), found {short(value)}"
                    )
        if ids.min() < 0 or ids.max() >= self.vocab_size:
            unknown = ((ids < 0) | (ids >= self.vocab_size)) & (ids != int(self.separator))
            bad = np.flatnonzero(unknown)
            if bad.size:
                unknown_id = short(int(ids[bad[0]]))
                raise QueryError(
                    f"{name}[{bad[0]}]: token id {unknown_id} is outside the vocabulary: "
                    f"expected 0 to {self.vocab_size - 1}, or the separator {self.separator}"
                )
        return ids.astype(np.int64)

    def check_continuation(self, continuation: int) -> int:
        """The continuation. Raises QueryError unless it is one known id or the separator."""
        return int(self.check([continuation], "continuation")[0])

    def query(self, query: Ids, name: str = "query") -> Queries:
        """One query. Raises QueryError; `name`: of the query in messages."""
        ids = self.unpack(self.pack(query, name))
        return self._known(ids, np.array([0, ids.shape[0]]), name)

    def queries(self, queries: Sequence[Ids]) -> Queries:
        """Many queries. Raises QueryError if one is not a valid query."""
        if set(map(type, queries)) == {list}:
            bounds = np.cumsum([0, *map(len, queries)], dtype=np.int64)
            try:
                flat = list(chain.from_iterable(queries))
                ids = np.frombuffer(self._packer(len(flat))(*flat), self.dtype)
                # (Only 0 and 1 may have been booleans.)
                if not _has_booleans(flat[place] for place in np.flatnonzero(ids <= 1).tolist()):
                    return self._known(ids, bounds)
            except (struct.error, TypeError):
                pass  # one of them contains something that is not an id: find out which
        packed = [self.pack(query, f"query {i}") for i, query in enumerate(queries)]
        bounds = np.cumsum([0, *map(len, packed)], dtype=np.int64) // self.dtype.itemsize
        return self._known(self.unpack(b"".join(packed)), bounds)

    def split(self, ids: Ids, offsets: Ids) -> Queries:
        """Queries ids[offsets[i]:offsets[i + 1]]. Raises QueryError."""
        if type(ids) is np.ndarray and ids.dtype == self.dtype and ids.ndim == 1:
            flat = self._frozen(ids)
        else:
            flat = self._frozen(self.check(ids, "ids"))
        expected = f"offsets: expected integers ascending from 0 to the {flat.shape[0]} ids"
        bounds = as_array(offsets, expected)
        integers = bounds.ndim == 1 and bounds.dtype.kind in "iu" and bounds.shape[0] > 0
        if not integers or (isinstance(offsets, Sequence) and _has_booleans(offsets)):
            bounds = np.array([-1])
        return self._known(flat, bounds.astype(np.int64), None, offsets)

    def _known(
        self, ids: np.ndarray, bounds: np.ndarray, name: str | None = None, offsets: Ids = ()
    ) -> Queries:
        """Queries from ids and bounds. Raises QueryError for unknown ids and wrong bounds.

        name: of the query in messages (default: its number). offsets: shown in messages.
        """
        starts, ends = bounds[:-1], bounds[1:]
        unknown = rows.first_unknown(ids, bounds, self.vocab_size, int(self.separator))
        if unknown >= 0:
            number = int(np.searchsorted(ends, unknown, "right"))
            self.check(ids[starts[number] : ends[number]], name or f"query {number}")
        elif unknown < -1:
            raise QueryError(
                f"offsets: expected integers ascending from 0 to the {ids.shape[0]} ids, found "
                f"{short(offsets)}"
            )
        return Queries(ids, starts, ends)

    def _frozen(self, ids: np.ndarray) -> np.ndarray:
        """A read-only copy in the token dtype, so that kernels are compiled for one type only."""
        return np.frombuffer(ids.astype(self.dtype).tobytes(), self.dtype)


def as_array(value: Any, expected: str) -> np.ndarray:
    """A list, or any array that numpy can read (a tensor, a column, a buffer), as a numpy array.

    Raises QueryError, whose message starts with `expected`, for anything else: text, bytes, sets
    and mappings (they have no order), masked arrays (some of their values are invalid), and objects
    that do not give an array, such as a tensor on another device.
    """
    if type(value) is np.ndarray:
        return value
    if isinstance(value, np.ma.MaskedArray):
        raise QueryError(f"{expected}, found a masked array; pass its compressed()")
    listed = isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)
    try:
        if not listed and not hasattr(value, "__array__"):
            if isinstance(value, str | bytes | bytearray):
                raise TypeError
            value = memoryview(value)
    except TypeError:
        raise QueryError(f"{expected}, found {short(value)}") from None
    try:
        return np.asarray(value)
    except Exception as error:  # a ragged list, or an error of another library
        # (numpy's message about a ragged list adds nothing.)
        why = "" if listed else f": {error}"
        raise QueryError(f"{expected}, found {short(value)}{why}") from None


def _has_booleans(values: Iterable[object]) -> bool:
    """Whether any value is a boolean, which Python accepts as an integer."""
    return not _BOOLEANS.isdisjoint(map(type, values))


_BOOLEANS = frozenset({bool, np.bool_})
