"""A file of token ids whose format is known: where its tokens and documents are, and reads them."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from everygram.corpus.documents import encode_metadata
from everygram.errors import CorpusError
from everygram.storage.format import TOKEN_DTYPES

# In place of a separator id where there is none: equal to no id.
NO_ID = -1
LARGEST_ID = 2**32 - 1
# Entries of an index that are looked at together.
BLOCK = 1 << 16
# Of each document: its first token, the one after its last, what its metadata has but the path.
Bounds = Iterator[tuple[int, int, dict[str, Any]]]


@dataclass(frozen=True)
class Given:
    """A file, how its metadata names it, and what was said of the ids in it."""

    path: Path
    name: str
    dtype: str | None
    separator_id: int | None


@dataclass(frozen=True)
class TokenFile:
    """Where the tokens of a file are: `count` of `dtype` from byte `offset` on; and its documents.

    `bounds` gives the documents, if the format records them; `dropped` is the most separators that
    are dropped at a document's start and at its end. Otherwise separators mark documents (see
    `marks`). Files of a `series` may be one stream of tokens, in order of `shard`; they are if the
    format says so (`goes_on`): there, separators start documents.
    """

    given: Given
    format: str
    dtype: np.dtype[Any]
    count: int
    offset: int = 0
    bounds: Callable[[], Bounds] | None = None
    separator_id: int = NO_ID
    dropped: tuple[int, int] = (1, 1)
    goes_on: bool = False
    series: str = ""
    shard: int = 0

    @property
    def path(self) -> Path:
        return self.given.path

    @property
    def metadata(self) -> bytes:
        return encode_metadata({"path": self.given.name})

    @property
    def width(self) -> str:
        """What its ids come out as."""
        return {1: "u8", 2: "u16"}.get(self.dtype.itemsize, "u32")

    @property
    def mark(self) -> int:
        """The id that is in no document, wherever it stands."""
        return self.separator_id if self.bounds is None else NO_ID

    def follows(self, other: "TokenFile") -> bool:
        """Whether its tokens go on where the other's end."""
        return self.series != "" and (self.series, self.shard - 1) == (other.series, other.shard)

    def chunks(self, size: int) -> Iterator[tuple[int, np.ndarray]]:
        """All ids, `size` at a time, and the number of the first of them."""
        with reading(self.path), self.path.open("rb") as file:
            for start in range(0, self.count, size):
                yield start, self._read(file, start, min(start + size, self.count))

    def ids(self, start: int, end: int) -> np.ndarray:
        """The ids from place `start` to `end`."""
        with reading(self.path), self.path.open("rb") as file:
            return self._read(file, start, end)

    def documents(self, size: int) -> Iterator[tuple[int, np.ndarray, dict[str, Any]]]:
        """The documents that `bounds` gives: number of the first id, ids, what it gives besides.

        Ids are read `size` at a time, or a document at a time if it has more.
        """
        assert self.bounds is not None
        with reading(self.path), self.path.open("rb") as file:
            begin, held = 0, self._read(file, 0, 0)
            for start, end, more in self.bounds():
                if end > begin + held.size:
                    begin, last = start, min(max(end, start + size), self.count)
                    held = self._read(file, start, last)
                ids = held[start - begin : end - begin]
                if self.separator_id != NO_ID:
                    before, after = self._separators(ids)
                    start, ids = start + before, ids[before : ids.size - after]
                yield start, ids, more

    def _separators(self, ids: np.ndarray) -> tuple[int, int]:
        """The number of separators to drop at a document's start, and at its end."""
        size, (at_start, at_end) = ids.size, self.dropped
        before = after = 0
        while after < min(at_end, size) and ids[size - 1 - after] == self.separator_id:
            after += 1
        while before < min(at_start, size - after) and ids[before] == self.separator_id:
            before += 1
        return before, after

    def _read(self, file: BinaryIO, start: int, end: int) -> np.ndarray:
        size = (end - start) * self.dtype.itemsize
        file.seek(self.offset + start * self.dtype.itemsize)
        data = file.read(size)
        if len(data) != size:
            raise CorpusError(f"{self.path}: ends before token {end:,}: changed while it was read?")
        ids = np.frombuffer(data, self.dtype)
        if ids.dtype == TOKEN_DTYPES[self.width]:
            return ids
        if ids.size and (ids.min() < 0 or ids.max() > LARGEST_ID):
            bad = int(np.flatnonzero((ids < 0) | (ids > LARGEST_ID))[0])
            raise CorpusError(
                f"{self.path}: token {start + bad:,} is {int(ids[bad])}: expected ids from 0 to "
                f"{LARGEST_ID}; leave the file out, or write it again without such ids"
            )
        return ids.astype(TOKEN_DTYPES[self.width])


@contextmanager
def reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        name = error.filename or path
        raise CorpusError(f"{name}: cannot be read: {error.strerror or error}") from None


def mapped(path: Path, dtype: str, offset: int, count: int) -> np.ndarray:
    return np.memmap(path, dtype, "r", offset, (count,)) if count else np.empty(0, dtype)


def blocks(values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The values, BLOCK at a time, copied into memory, and the place of the first of them."""
    for begin in range(0, values.size, BLOCK):
        yield begin, np.array(values[begin : begin + BLOCK])


def check_ascending(values: np.ndarray, whose: str) -> None:
    last = 0
    for begin, block in blocks(values):
        before = np.concatenate([np.array([last], block.dtype), block[:-1]])
        bad = np.flatnonzero(block < before)
        if bad.size:
            at = int(bad[0])
            raise CorpusError(
                f"{whose}: expected them to ascend, found {block[at]:,} after {before[at]:,} in "
                f"place {begin + at:,}: damaged"
            )
        last = int(block[-1])


def adjoining(edges: Callable[[], Iterable[int]]) -> Bounds:
    """Documents of which each starts where the one before ends."""
    for start, end in pairwise(edges()):
        yield start, end, {}
