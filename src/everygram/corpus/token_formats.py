"""The formats of files of token ids: raw, and those that tokenizing tools write.

Each has a function that checks a file and says where its tokens and documents are, as a
`TokenFile`; `tokens` reads them all the same way.
"""

import csv
import gzip
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from everygram.corpus.documents import encode_metadata
from everygram.errors import CorpusError, OptionError
from everygram.storage.format import TOKEN_DTYPES

# In place of a separator id where there is none: equal to no id.
NO_ID = -1
LARGEST_ID = 2**32 - 1
# Entries of an index that are looked at together.
BLOCK = 1 << 16
# Files that go with a file of ids: how their names end, and how its name does.
COMPANIONS = {
    ".idx": ".bin",
    ".ds.index": ".ds",
    ".ds.metadata": ".ds",
    ".ds.loss": ".ds",
    ".csv.gz": ".npy",
}
# Of llm.c, by magic number: the width of ids, the version, the id that starts documents.
LLMC = {20240520: ("u16", 1, 50256), 20240801: ("u32", 7, 128000)}
LLMC_EVALUATION = 20240522
LLMC_HEADER = 1024
MEGATRON = b"MMIDIDX\0\0"
MEGATRON_LEGACY = b"TNTIDX\0\0"
MEGATRON_HEADER = 34
# By the index's code; 6 and 7 are floats, 9 and 10 what some other tools write.
MEGATRON_DTYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2", 9: "<u4", 10: "<u8"}
NUMPY = b"\x93NUMPY"
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

    `bounds` gives them, if the format says where they are; each may end with a separator id, which
    is left out. Else separator ids mark them: start each if `marks_start` or if the file starts
    with one, end each otherwise. Files of a `series` are one stream of tokens, in order of `shard`.
    """

    given: Given
    format: str
    dtype: np.dtype[Any]
    count: int
    offset: int = 0
    bounds: Callable[[], Bounds] | None = None
    separator_id: int = NO_ID
    marks_start: bool = False
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
                if ids.size and ids[-1] == self.separator_id:
                    ids = ids[:-1]
                yield start, ids, more

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
                f"{self.path}: token {start + bad:,} is {int(ids[bad]):,}: expected ids from 0 to "
                f"{LARGEST_ID:,}; leave the file out, or write it again without such ids"
            )
        return ids.astype(TOKEN_DTYPES[self.width])


def owner_of(path: Path) -> Path | None:
    """The file of ids that a file goes with, by their names."""
    for suffix, owners in COMPANIONS.items():
        if path.name.endswith(suffix):
            return path.with_name(path.name.removesuffix(suffix) + owners)
    return None


@contextmanager
def reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        name = error.filename or path
        raise CorpusError(f"{name}: cannot be read: {error.strerror or error}") from None


def token_file(given: Given) -> TokenFile:
    """What a file is. Raises CorpusError if it is not sound, OptionError if more must be said."""
    try:
        encode_metadata({"path": given.name})
    except UnicodeEncodeError:
        raise CorpusError(f"{given.path}: the file's name is not UTF-8; rename it") from None
    file = _format(given.path)(given)
    if file.separator_id == NO_ID and given.separator_id is not None:
        file = replace(file, separator_id=given.separator_id)
    largest = int(np.iinfo(file.dtype).max)
    if file.mark > largest:
        raise CorpusError(
            f"{given.path}: separator id {file.mark} marks no document: its ids are 0 to "
            f"{largest}; pass another --separator-id"
        )
    return file


def _format(path: Path) -> Callable[[Given], TokenFile]:
    """The function for a file, told from its name and first bytes."""
    owner = owner_of(path)
    if owner is not None:
        raise CorpusError(f"{path}: holds no ids, but goes with '{owner.name}'; name that instead")
    if path.suffix == ".bin" and path.with_suffix(".idx").is_file():
        return _megatron
    if not path.is_file():
        # A broken link, a pipe, a folder that cannot be listed.
        raise CorpusError(f"{path}: not a regular file, or not to be read")
    if path.suffix == ".ds":
        return _datatrove
    with path.open("rb") as file:
        head = file.read(len(NUMPY))
    if path.suffix == ".npy":
        return _numpy if head == NUMPY else _dolma
    if int.from_bytes(head[:4], "little") in (*LLMC, LLMC_EVALUATION):
        return _llmc
    return _raw


def _raw(given: Given) -> TokenFile:
    if given.dtype is None or given.separator_id is None:
        raise OptionError(
            f"{given.path}: raw token ids do not say their width or where documents end: pass "
            "both, as in --pretokenized u16 --separator-id 50256"
        )
    return _headerless(given, f"raw {given.dtype}", given.dtype)


def _headerless(given: Given, format_name: str, dtype: str) -> TokenFile:
    size, width = given.path.stat().st_size, TOKEN_DTYPES[dtype].itemsize
    if size % width:
        raise CorpusError(
            f"{given.path}: {size:,} bytes is not a whole number of {dtype} tokens ({width} bytes "
            "each): cut off, or another dtype?"
        )
    return TokenFile(given, format_name, TOKEN_DTYPES[dtype], size // width)


def _llmc(given: Given) -> TokenFile:
    path = given.path
    with path.open("rb") as file:
        magic, version, count = struct.unpack("<3i", file.read(12).ljust(12, b"\0"))
    if magic == LLMC_EVALUATION:
        raise CorpusError(
            f"{path}: an llm.c evaluation file (magic number {magic}), which holds questions and "
            "answers, no documents; leave it out"
        )
    width, known_version, mark = LLMC[magic]
    dtype = TOKEN_DTYPES[width]
    size, expected = path.stat().st_size, LLMC_HEADER + count * dtype.itemsize
    if version != known_version:
        raise CorpusError(
            f"{path}: llm.c's header: expected version {known_version} with magic number {magic}, "
            f"found {version}"
        )
    if count < 0 or size != expected:
        raise CorpusError(
            f"{path}: llm.c's header says {count:,} tokens of {dtype.itemsize} bytes: expected "
            f"{expected:,} bytes in all, found {size:,}: cut off, or of another width"
        )
    shard = TokenFile(given, "llm.c", dtype, count, LLMC_HEADER, marks_start=True)
    if given.separator_id is None:
        shard = replace(shard, separator_id=mark)
    numbered = re.fullmatch(r"(.*?)(\d+)(\D*)", path.name)
    if numbered is None:
        return shard
    series = f"{width} {os.path.realpath(path.parent)}/{numbered[1]}*{numbered[3]}"
    return replace(shard, series=series, shard=int(numbered[2]))


def _megatron(given: Given) -> TokenFile:
    index = given.path.with_suffix(".idx")
    if not given.path.is_file():
        raise CorpusError(f"{index}: expected its ids in '{given.path.name}' beside it, found none")
    with index.open("rb") as file:
        head = file.read(MEGATRON_HEADER)
    if head.startswith(MEGATRON_LEGACY):
        raise CorpusError(
            f"{index}: an index of fairseq's old kind (TNTIDX), which is not read: expected "
            "Megatron-LM's (MMIDIDX); preprocess the corpus again"
        )
    if len(head) < MEGATRON_HEADER or not head.startswith(MEGATRON):
        raise CorpusError(
            f"{index}: expected Megatron-LM's header, {MEGATRON_HEADER} bytes that start with "
            f"{MEGATRON!r}, found {len(head)} that start with {head[:9]!r}: cut off, or another "
            "kind of file?"
        )
    version, code, sequences, numbers = struct.unpack_from("<QBQQ", head, len(MEGATRON))
    if version != 1 or code not in MEGATRON_DTYPES:
        raise CorpusError(
            f"{index}: expected version 1 and a dtype code of integers ({[*MEGATRON_DTYPES]}), "
            f"found version {version} and code {code}"
        )
    size, expected = index.stat().st_size, MEGATRON_HEADER + 12 * sequences + 8 * numbers
    if size != expected:
        raise CorpusError(
            f"{index}: {sequences:,} sequences and {numbers:,} document indices are {expected:,} "
            f"bytes, found {size:,}: cut off, or not an index of text by Megatron-LM"
        )
    dtype, end = np.dtype(MEGATRON_DTYPES[code]), given.path.stat().st_size
    lengths = partial(_mapped, index, "<i4", MEGATRON_HEADER, sequences)
    pointers = partial(_mapped, index, "<i8", MEGATRON_HEADER + 4 * sequences, sequences)
    documents = partial(_mapped, index, "<i8", MEGATRON_HEADER + 12 * sequences, numbers)
    _check_sequences(index, lengths(), pointers(), dtype.itemsize, end)
    _check_ascending(documents(), f"{index}: document indices")
    first, last = documents()[[0, -1]].tolist() if numbers else (0, 0)
    if numbers == 0 or (first, last) != (0, sequences):
        raise CorpusError(
            f"{index}: expected document indices from 0 to {sequences:,}, the number of sequences, "
            f"found {numbers:,} from {first:,} to {last:,}: damaged"
        )

    def edges() -> Iterator[int]:
        starts = pointers()
        for block in _blocks(documents()):
            places = np.full(block.size, end)
            places[block < sequences] = starts[block[block < sequences]]
            yield from (places // dtype.itemsize).tolist()

    bounds = partial(_adjoining, edges)
    return TokenFile(given, "Megatron", dtype, end // dtype.itemsize, bounds=bounds)


def _check_sequences(
    index: Path, lengths: np.ndarray, pointers: np.ndarray, width: int, end: int
) -> None:
    """Raise CorpusError unless the sequences, one after the other, are all of the ids."""
    expected = 0
    for number, (some_lengths, starts) in enumerate(
        zip(_blocks(lengths), _blocks(pointers), strict=True)
    ):
        sizes = some_lengths.astype(np.int64) * width
        ends = expected + np.cumsum(sizes)
        bad = np.flatnonzero((sizes < 0) | (starts != ends - sizes))
        if bad.size:
            at = int(bad[0])
            raise CorpusError(
                f"{index}: sequence {number * BLOCK + at:,}: expected it to start where the one "
                f"before ends, at byte {int(ends[at] - sizes[at]):,}, found byte {starts[at]:,} "
                f"and a length of {some_lengths[at]:,}: damaged"
            )
        expected = int(ends[-1])
    if expected != end:
        raise CorpusError(
            f"{index}: its sequences are {expected:,} bytes, expected as many in "
            f"'{index.stem}.bin', found {end:,}: cut off, or of another run?"
        )


def _datatrove(given: Given) -> TokenFile:
    path, index = given.path, given.path.with_suffix(".ds.index")
    if not index.is_file():
        raise CorpusError(
            f"{path}: expected '{index.name}' beside it, which says where documents end, found "
            "none; put it there"
        )
    documents, rest = divmod(index.stat().st_size, 8)
    if rest:
        raise CorpusError(
            f"{index}: {index.stat().st_size:,} bytes is not a whole number of document ends (8 "
            "bytes each): cut off?"
        )
    ends = partial(_mapped, index, "<u8", 0, documents)
    _check_ascending(ends(), f"{index}: document ends")
    size, count = path.stat().st_size, int(ends()[-1]) if documents else 0
    width = _datatrove_width(path) or (size // count if count else 2)
    if width not in (2, 4) or size != count * width:
        raise CorpusError(
            f"{path}: its index ends at token {count:,}, of 2 or 4 bytes, by its metadata or size "
            f"{width:,}: expected as many bytes, found {size:,}: cut off, or of another run?"
        )

    def edges() -> Iterator[int]:
        yield 0
        for block in _blocks(ends()):
            yield from block.tolist()

    bounds = partial(_adjoining, edges)
    return TokenFile(given, "datatrove", np.dtype(f"<u{width}"), count, bounds=bounds)


def _datatrove_width(path: Path) -> int:
    """The bytes of a token, which `.ds.metadata` has after its first line's last "|"; else 0."""
    about = path.with_suffix(".ds.metadata")
    if not about.is_file():
        return 0
    with about.open("rb") as file:
        _, bar, width = file.readline(BLOCK).strip().rpartition(b"|")
    return int(width) if bar and width.isdigit() else 0


def _dolma(given: Given) -> TokenFile:
    path, table = given.path, given.path.with_suffix(".csv.gz")
    if given.dtype is None:
        raise OptionError(
            f"{path}: has no NumPy header, as Dolma's and OLMo's files, which do not say the width "
            "of their ids: pass --pretokenized u16 or u32"
        )
    file = _headerless(given, "Dolma", given.dtype)
    if not table.is_file():
        if given.separator_id is None:
            raise CorpusError(
                f"{path}: expected '{table.name}' beside it, which says where documents end, found "
                "none: put it there, or pass the id that ends documents as --separator-id"
            )
        return file
    last = max((end for _, end, _ in _dolma_rows(table)), default=None)
    if last is None:
        # The zeros of a part that was made large and got no document.
        return replace(file, count=0, bounds=lambda: iter(()))
    if last != file.count:
        raise CorpusError(
            f"{path}: '{table.name}' ends at token {last:,}, the file at {file.count:,} if its ids "
            f"are {given.dtype}: cut off, another dtype, or of another run?"
        )
    return replace(file, bounds=partial(_dolma_rows, table))


def _dolma_rows(table: Path) -> Bounds:
    """The rows start, end and maybe id, src, loc of a table."""
    number, before = 0, 0
    try:
        if table.stat().st_size == 0:
            raise EOFError("it has no bytes")
        with gzip.open(table, "rt", encoding="utf-8", newline="") as text:
            for row in csv.reader(text):
                start, end = int(row[0]), int(row[1])
                if not before <= start <= end:
                    raise ValueError(f"expected a start from {before:,} on and an end behind it")
                more: dict[str, Any] = dict(zip(("id", "src", "loc"), row[2:], strict=False))
                if more.get("loc", "").isdecimal():
                    more["loc"] = int(more["loc"])
                yield start, end, more
                number, before = number + 1, end
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise CorpusError(
            f"{table}: row {number + 1:,}: the compressed file is cut off or damaged here: {error}"
        ) from None
    except (csv.Error, IndexError, ValueError) as error:
        raise CorpusError(
            f"{table}: row {number + 1:,}: expected start,end,id,src,loc: {error}"
        ) from None


def _numpy(given: Given) -> TokenFile:
    path = given.path
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # a damaged header makes errors of many kinds
        raise CorpusError(f"{path}: no NumPy file of ids, or cut off: {error}") from None
    if array.dtype.kind not in "ui" or array.ndim not in (1, 2) or not array.flags.c_contiguous:
        raise CorpusError(
            f"{path}: expected integers in one dimension, or two in C order (a row is a document), "
            f"found {array.dtype} of shape {array.shape}"
            + ("" if array.flags.c_contiguous else " in Fortran order")
        )
    size, expected = path.stat().st_size, array.offset + array.nbytes
    if size != expected:
        raise CorpusError(
            f"{path}: expected {expected:,} bytes by its NumPy header, found {size:,}: written to "
            "by something else?"
        )
    file = TokenFile(given, "NumPy", array.dtype, array.size, array.offset)
    if array.ndim == 2:
        rows, columns = array.shape

        def edges() -> Iterator[int]:
            return (row * columns for row in range(rows + 1))

        return replace(file, bounds=partial(_adjoining, edges))
    if given.separator_id is None:
        raise OptionError(
            f"{path}: an array of one dimension does not say where documents end: pass the id that "
            "does, as in --separator-id 50256"
        )
    return file


def _mapped(path: Path, dtype: str, offset: int, count: int) -> np.ndarray:
    return np.memmap(path, dtype, "r", offset, (count,)) if count else np.empty(0, dtype)


def _blocks(values: np.ndarray) -> Iterator[np.ndarray]:
    """The values, BLOCK at a time, copied into memory."""
    for begin in range(0, values.size, BLOCK):
        yield np.array(values[begin : begin + BLOCK])


def _check_ascending(values: np.ndarray, whose: str) -> None:
    last = 0
    for number, block in enumerate(_blocks(values)):
        before = np.concatenate([np.array([last], block.dtype), block[:-1]])
        bad = np.flatnonzero(block < before)
        if bad.size:
            at = int(bad[0])
            raise CorpusError(
                f"{whose}: expected them to ascend, found {block[at]:,} after {before[at]:,} in "
                f"place {number * BLOCK + at:,}: damaged"
            )
        last = int(block[-1])


def _adjoining(edges: Callable[[], Iterable[int]]) -> Bounds:
    """Documents of which each starts where the one before ends."""
    for start, end in pairwise(edges()):
        yield start, end, {}
