"""Ids from outside, checked: what the engine's methods take.

In: lists and arrays of anybody's. Out: bytes or `Queries`, in the dtype in which segments hold
their tokens. A search reads a segment by its query's dtype and inside the bounds it is given:
nothing else may make what it takes.
"""

import contextlib
import struct
from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np

from everygram.errors import QueryError
from everygram.kernels import rows
from everygram.storage import format as fmt

Ids = Sequence[int] | np.ndarray

# Lists shorter than this find their packer made.
PACKS = 256


class Queries:
    """Checked ids: one query or many. Only `Vocabulary` and `ranges` make them.

    ids: of the token dtype, shape (n,), read-only, each in the vocabulary or the separator;
    starts, ends: int64, shape (k,): query i is ids[starts[i]:ends[i]].
    """

    __slots__ = ("ends", "ids", "starts")

    def __init__(self, ids: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> None:
        self.ids, self.starts, self.ends = ids, starts, ends

    def ranges(self, starts: np.ndarray, ends: np.ndarray) -> "Queries":
        """Other ranges of the same ids: int64, shape (k,) each.

        Raises QueryError unless each is inside the ids, and starts before it ends.
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

    def __len__(self) -> int:
        """How many queries."""
        return int(self.starts.shape[0])


class Vocabulary:
    """The ids of an index: those in [0, vocab_size), and the separator, of one dtype."""

    def __init__(self, vocab_size: int, separator: int) -> None:
        self.vocab_size = vocab_size
        name = next(name for name in fmt.TOKEN_DTYPES if fmt.separator_of(name) == separator)
        self.dtype = fmt.TOKEN_DTYPES[name]
        # In its dtype: single searches take from it how their bytes are read.
        self.separator = self.dtype.type(separator)
        # What packs queries of up to so many ids.
        self.packs = [self._packer(size) for size in range(PACKS)]

    def _packer(self, size: int) -> Callable[..., bytes]:
        """What packs that many ids; refuses others with struct.error."""
        return struct.Struct(f"{size}{self.dtype.char}").pack

    def pack(self, query: Ids, name: str = "query") -> bytes:
        """The ids of a query as bytes of the token dtype.

        Raises QueryError, which calls it `name`, for what is no flat list of integers that fit.
        Whether those are in the vocabulary a search of one query finds as it reads them.
        """
        # (Other things that have a length may have no order, as sets, or be no ids, as bytes.)
        if isinstance(query, list | tuple):
            with contextlib.suppress(struct.error, TypeError):
                return self._packer(len(query))(*query)
        return self.check(query, name).astype(self.dtype).tobytes()

    def pack_prompt(self, prompt: Ids, continuation: int) -> bytes:
        """As `pack`, the ids of a prompt and one behind them."""
        try:
            return self._packer(len(prompt) + 1)(*prompt, continuation)
        except (struct.error, TypeError):
            ids = np.append(self.check(prompt), self.check_continuation(continuation))
            return ids.astype(self.dtype).tobytes()

    def unpack(self, packed: bytes) -> np.ndarray:
        """The ids that `pack` packed: of the token dtype, read-only."""
        return np.frombuffer(packed, self.dtype)

    def check(self, query: Ids, name: str = "query") -> np.ndarray:
        """The query as int64, shape (m,). Raises QueryError, which calls it `name`."""
        try:
            ids = np.asarray(query)
        except (ValueError, OverflowError) as error:
            raise QueryError(f"{name}: expected a flat list of token ids: {error}") from None
        if ids.ndim != 1:
            raise QueryError(
                f"{name}: expected a flat list of token ids, found {ids.ndim} dimensions: "
                f"{short(query)}"
            )
        if ids.size == 0:
            return np.empty(0, np.int64)
        if ids.dtype.kind not in "iu":
            for place, value in enumerate(query):
                if isinstance(value, bool) or not isinstance(value, int | np.integer):
                    raise QueryError(
                        f"{name}[{place}]: expected a token id (an integer), found {short(value)}"
                    )
            # Integers past 64 bits make an array of floats or objects.
            ids = np.array(list(query), object)
        if ids.min() < 0 or ids.max() >= self.vocab_size:
            unknown = ((ids < 0) | (ids >= self.vocab_size)) & (ids != int(self.separator))
            bad = np.flatnonzero(unknown)
            if bad.size:
                raise QueryError(
                    f"{name}[{bad[0]}]: token id {ids[bad[0]]} is outside the vocabulary: "
                    f"expected 0 to {self.vocab_size - 1}, or the separator {self.separator}"
                )
        return ids.astype(np.int64)

    def check_continuation(self, continuation: int) -> int:
        """The continuation, if it is one known id or the separator. Raises QueryError."""
        return int(self.check([continuation], "continuation")[0])

    def query(self, query: Ids, name: str = "query") -> Queries:
        """One query. Raises QueryError, which calls it `name`."""
        ids = self.unpack(self.pack(query, name))
        return self._known(ids, np.array([0, ids.shape[0]]), name)

    def queries(self, queries: Sequence[Ids]) -> Queries:
        """Many queries. Raises QueryError for what is none."""
        if set(map(type, queries)) == {list}:
            bounds = np.cumsum([0, *map(len, queries)], dtype=np.int64)
            try:
                pack = self._packer(int(bounds[-1]))
                ids = np.frombuffer(pack(*chain.from_iterable(queries)), self.dtype)
                return self._known(ids, bounds)
            except (struct.error, TypeError):
                pass  # one of them holds what is no id: which?
        packed = [self.pack(query, f"query {i}") for i, query in enumerate(queries)]
        bounds = np.cumsum([0, *map(len, packed)], dtype=np.int64) // self.dtype.itemsize
        return self._known(self.unpack(b"".join(packed)), bounds)

    def split(self, ids: Ids, offsets: Ids) -> Queries:
        """Queries ids[offsets[i]:offsets[i + 1]]. Raises QueryError."""
        if isinstance(ids, np.ndarray) and ids.dtype == self.dtype and ids.ndim == 1:
            flat = self._frozen(ids)
        else:
            flat = self._frozen(self.check(ids, "ids"))
        try:
            bounds = np.asarray(offsets)
        except ValueError:  # a ragged list
            bounds = np.empty((0, 0))
        if bounds.ndim != 1 or bounds.dtype.kind not in "iu" or bounds.shape[0] == 0:
            bounds = np.array([-1])
        return self._known(flat, bounds.astype(np.int64), None, offsets)

    def _known(
        self, ids: np.ndarray, bounds: np.ndarray, name: str | None = None, offsets: Ids = ()
    ) -> Queries:
        """The queries, all of whose ids are in the vocabulary; messages number them, or `name`."""
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
        """A copy in the token dtype, read-only: kernels compile once, not again for others."""
        return np.frombuffer(ids.astype(self.dtype).tobytes(), self.dtype)


def short(value: object) -> str:
    """The value as messages show it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
