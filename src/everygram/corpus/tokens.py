"""Files of token ids in, documents out: raw ids, and the formats that tokenizing tools write.

Each format has a function that checks a file and says where its tokens and documents are, as a
`_TokenFile`; `TokenCorpus` reads them all the same way. Knows neither tokenizers nor indexes.
"""

import csv
import gzip
import os
import re
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from everygram.corpus.files import find_files
from everygram.corpus.text import SKIPS_LISTED, OnError, TokenDocument, encode_metadata
from everygram.errors import CorpusError, OptionError
from everygram.storage.format import TOKEN_DTYPES

# In place of a separator id where there is none: equal to no id.
NO_ID = -1
LARGEST_ID = 2**32 - 1
# Entries of an index that are looked at together.
BLOCK = 1 << 16

# Names of the files that are read in a folder; the rest is passed over.
TOKEN_NAMES = re.compile(r".*\.(bin|ds|npy)|tokenized\.\d+")
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
class _Given:
    """A file, how its metadata names it, and what was said of the ids in it."""

    path: Path
    name: str
    dtype: str | None
    separator_id: int | None


@dataclass(frozen=True)
class _TokenFile:
    """Where the tokens of a file are: `count` of `dtype` from byte `offset` on; and its documents.

    `bounds` gives them, if the format says where they are; each may end with a separator id, which
    is left out. Else separator ids mark them: start each if `marks_start` or if the file starts
    with one, end each otherwise. Files of a `series` are one stream of tokens, in order of `shard`.
    """

    given: _Given
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

    def follows(self, other: "_TokenFile") -> bool:
        """Whether its tokens go on where the other's end."""
        return self.series != "" and (self.series, self.shard - 1) == (other.series, other.shard)

    def chunks(self, size: int) -> Iterator[tuple[int, np.ndarray]]:
        """All ids, `size` at a time, and the number of the first of them."""
        with _reading(self.path), self.path.open("rb") as file:
            for start in range(0, self.count, size):
                yield start, self._read(file, start, min(start + size, self.count))

    def documents(self, size: int) -> Iterator[tuple[int, np.ndarray, dict[str, Any]]]:
        """The documents that `bounds` gives: number of the first id, ids, what it gives besides.

        Ids are read `size` at a time, or a document at a time if it has more.
        """
        assert self.bounds is not None
        with _reading(self.path), self.path.open("rb") as file:
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


class TokenCorpus:
    """The documents of files of token ids, of folders and patterns of them (see `files`).

    What a file is, it says itself; `dtype` ("u8", "u16", "u32") and `separator_id` say what it
    does not:

    - raw: little-endian ids; needs both. In a file that starts with the separator id, each one
      starts a document (infini-gram's `tokenized.N`); otherwise each one ends a document
      (nanoGPT's `.bin`), and so does the end of the file.
    - llm.c, modded-nanogpt: an id starts each document, 50256, in Llama 3's files 128000, unless
      `separator_id` says which. A document goes on in the file of the same folder whose name has
      the next number, if that is read, too; what stands before the first mark otherwise is a
      document.
    - Megatron-LM: `X.bin` and `X.idx`, named by either or as `X`.
    - datatrove: `X.ds` and `X.ds.index`. `chunk_shuffled` files hold documents in fragments, which
      come out as documents: what belonged together is not recorded.
    - Dolma, OLMo: `X.npy` without a header, needs `dtype`, and `X.csv.gz`, whose id, src and loc
      are part of a document's metadata; without the latter, documents are marked as in a raw file.
    - NumPy's `.npy`: of two dimensions, a row is a document; of one, they are marked as in a raw
      file.

    Where documents are recorded, a `separator_id` at a document's end is left out, one elsewhere
    is an id as any. A document's metadata is `{"path": …}`, below the folder that was named. In a
    folder, `.bin`, `.ds`, `.npy` and `tokenized.N` are read, in sorted order.

    Memory is that of CHUNK ids or of the longest document. With `on_error="skip"` files that
    cannot be read are left out as a whole, counted in `skipped`, and the first of them listed in
    `skips`; what is wrong with their ids is known after `max_id` or the first document.

    Raises OptionError for what must be said to read a file, CorpusError for what cannot be read.
    """

    # Ids read at a time.
    CHUNK = 1 << 22

    def __init__(
        self,
        paths: list[Path],
        dtype: str | None = None,
        separator_id: int | None = None,
        on_error: OnError = "raise",
    ) -> None:
        if dtype is not None and dtype not in TOKEN_DTYPES:
            raise OptionError(f"dtype: expected u8, u16 or u32, found {dtype!r}")
        if separator_id is not None and not 0 <= separator_id <= LARGEST_ID:
            raise OptionError(f"separator_id: expected 0 to {LARGEST_ID}, found {separator_id}")
        self.on_error = on_error
        self.skipped = 0
        self.skips: list[str] = []
        self.bytes_read = 0
        # What is read, and what is left out: each file of ids, then the files that go with it.
        self.files: list[Path] = []
        self._largest: dict[Path, int] = {}
        seen: dict[str, Path] = {}
        series: dict[str, list[_TokenFile]] = {}
        for path, name in _token_files(paths):
            first = seen.setdefault(os.path.realpath(path), path)
            if first is not path:
                raise CorpusError(
                    f"{path}: the same file as '{first}', which is read already; name it once"
                )
            self.files += [path, *_companions(path)]
            try:
                with _reading(path):
                    file = _token_file(_Given(path, name, dtype, separator_id))
                series.setdefault(file.series or str(path), []).append(file)
            except CorpusError as error:
                self._skip(error)
        self._files = [
            file for each in series.values() for file in sorted(each, key=lambda file: file.shard)
        ]

    @staticmethod
    def is_token_file(path: Path) -> bool:
        """Whether a file says itself, by its name or first bytes, that it holds token ids.

        So do a Megatron prefix, and a folder or pattern all of whose files do or go with one.
        Raw ids do not.
        """
        path = _unprefixed(path)
        if path.is_file():
            return _says_itself(path)
        try:
            files = {Path(file.name) for file in find_files(path, {}, lambda error: None)}
        except CorpusError:
            return False
        alone = (file for file in files if _owner(file) not in files and ".ds." not in file.name)
        first = next(alone, None)
        return first is not None and _says_itself(first) and all(map(_says_itself, alone))

    @property
    def width(self) -> str:
        """The widest of what the files' ids come out as: "u8", "u16" or "u32"."""
        return max((file.width for file in self._files), key=list(TOKEN_DTYPES).index, default="u8")

    @property
    def formats(self) -> dict[str, int]:
        """How many files there are of each format, in the order met."""
        return dict(Counter(file.format for file in self._files))

    @property
    def total_bytes(self) -> int:
        """Size of all ids."""
        return sum(file.count * file.dtype.itemsize for file in self._files)

    @property
    def total_tokens(self) -> int:
        """Number of all ids, separators among them."""
        return sum(file.count for file in self._files)

    def max_id(self) -> int:
        """The largest id that is no separator; -1 if there is none. Reads every file, once."""
        for file in list(self._files):
            if file.path in self._largest:
                continue
            try:
                pieces = (ids for _, ids in self._pieces(file))
                if file.mark != NO_ID:
                    pieces = (ids[ids != file.mark] for ids in pieces)
                largest = (int(ids.max()) for ids in pieces if ids.size)
                self._largest[file.path] = max(largest, default=-1)
            except CorpusError as error:
                self._skip(error)
                self._files.remove(file)
        return max(self._largest.values(), default=-1)

    def check_ids(self, vocab_size: int, whose: str) -> None:
        """Refuse files with ids outside a vocabulary, and say `whose` it is."""
        self.max_id()
        for file in list(self._files):
            if self._largest[file.path] < vocab_size:
                continue
            place, token = next(
                (start + int(bad[0]), int(ids[bad[0]]))
                for start, ids in self._pieces(file)
                if (bad := np.flatnonzero((ids >= vocab_size) & (ids != file.mark))).size
            )
            self._skip(
                CorpusError(
                    f"{file.path}: token {place:,} is {token:,}, which is outside {whose} (0 to "
                    f"{vocab_size - 1:,}): another tokenizer, width or separator id?"
                )
            )
            self._files.remove(file)
            del self._largest[file.path]

    def __iter__(self) -> Iterator[TokenDocument]:
        if self.on_error == "skip":
            self.max_id()  # A file is to be left out before any of its documents is given.
        self.bytes_read = 0
        stream: list[_TokenFile] = []
        for file in self._files:
            if stream and not file.follows(stream[-1]):
                yield from self._documents(stream)
                stream = []
            stream.append(file)
        if stream:
            yield from self._documents(stream)

    def _documents(self, stream: list[_TokenFile]) -> Iterator[TokenDocument]:
        before, first = self.bytes_read, stream[0]
        if first.bounds is None:
            yield from self._marked(stream)
        else:
            plain = first.metadata
            for start, ids, more in first.documents(self.CHUNK):
                self.bytes_read = before + (start + ids.size) * first.dtype.itemsize
                record = {"path": first.given.name} | more if more else None
                yield TokenDocument(ids, encode_metadata(record) if record else plain)
        self.bytes_read = before + sum(file.count * file.dtype.itemsize for file in stream)

    def _marked(self, stream: list[_TokenFile]) -> Iterator[TokenDocument]:
        """Documents between marks; they may go on from file to file."""
        metadata = b""
        pieces: list[np.ndarray] | None = None  # of the open document, if one is open
        marks_start = stream[0].marks_start
        chunks = ((file, chunk) for file in stream for _, chunk in file.chunks(self.CHUNK))
        for number, (file, chunk) in enumerate(chunks):
            begin, here = 0, file.metadata
            if pieces is None:
                metadata = here
            if number == 0 and chunk[0] == file.separator_id:
                marks_start = True
                pieces = []
                begin = 1
            for end in (np.flatnonzero(chunk[begin:] == file.separator_id) + begin).tolist():
                yield TokenDocument(np.concatenate([*(pieces or ()), chunk[begin:end]]), metadata)
                metadata = here
                pieces = [] if marks_start else None
                begin = end + 1
            if begin < chunk.size:
                pieces = [*(pieces or ()), chunk[begin:]]
            self.bytes_read += chunk.size * file.dtype.itemsize
        if pieces is not None:
            yield TokenDocument(np.concatenate([chunk[:0], *pieces]), metadata)

    def _pieces(self, file: _TokenFile) -> Iterator[tuple[int, np.ndarray]]:
        """The ids, `file.mark` among them, piece by piece, and the number of each one's first."""
        if file.bounds is None:
            yield from file.chunks(self.CHUNK)
        else:
            for start, ids, _ in file.documents(self.CHUNK):
                yield start, ids

    def _skip(self, error: CorpusError) -> None:
        if self.on_error == "raise":
            raise error
        self.skipped += 1
        if len(self.skips) < SKIPS_LISTED:
            self.skips.append(str(error))


def _token_files(paths: list[Path]) -> Iterator[tuple[Path, str]]:
    """The files of ids, and how metadata names them; a Megatron pair is its `.bin`."""

    def refuse(error: CorpusError) -> None:
        raise error

    for given in map(_unprefixed, paths):
        found = {}
        for file in find_files(given, {}, refuse):
            path, name = Path(file.name), file.relative
            if path.suffix == ".idx":
                path, name = path.with_suffix(".bin"), name.removesuffix(".idx") + ".bin"
            # A folder that cannot be listed stands for itself.
            wanted = not given.is_dir() or path.is_dir() or TOKEN_NAMES.fullmatch(path.name)
            if given.is_file() or (wanted and _owner(path) is None):
                found[path] = name
        if not found:
            raise CorpusError(f"{given}: no files of token ids to read there")
        yield from found.items()


def _unprefixed(path: Path) -> Path:
    """Of the prefix of a Megatron pair, its index."""
    index = path.with_name(path.name + ".idx")
    return index if not path.exists() and index.is_file() else path


def _owner(path: Path) -> Path | None:
    """The file of ids that a file goes with, by their names."""
    for suffix, owners in COMPANIONS.items():
        if path.name.endswith(suffix):
            return path.with_name(path.name.removesuffix(suffix) + owners)
    return None


def _companions(path: Path) -> list[Path]:
    """The files that go with a file of ids."""
    names = [path.with_suffix(suffix) for suffix in COMPANIONS]
    return [name for name in names if _owner(name) == path and name.is_file()]


def _says_itself(path: Path) -> bool:
    try:
        if path.suffix == ".idx":
            with path.open("rb") as file:
                return file.read(len(MEGATRON)).startswith((MEGATRON, MEGATRON_LEGACY))
        return _format(path) is not _raw
    except (OSError, CorpusError):
        return False


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        name = error.filename or path
        raise CorpusError(f"{name}: cannot be read: {error.strerror or error}") from None


def _token_file(given: _Given) -> _TokenFile:
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


def _format(path: Path) -> Callable[[_Given], _TokenFile]:
    """The function for a file, told from its name and first bytes."""
    owner = _owner(path)
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


# The formats, a function each.


def _raw(given: _Given) -> _TokenFile:
    if given.dtype is None or given.separator_id is None:
        raise OptionError(
            f"{given.path}: raw token ids do not say their width or where documents end: pass "
            "both, as in --pretokenized u16 --separator-id 50256"
        )
    return _headerless(given, f"raw {given.dtype}", given.dtype)


def _headerless(given: _Given, format_name: str, dtype: str) -> _TokenFile:
    size, width = given.path.stat().st_size, TOKEN_DTYPES[dtype].itemsize
    if size % width:
        raise CorpusError(
            f"{given.path}: {size:,} bytes is not a whole number of {dtype} tokens ({width} bytes "
            "each): cut off, or another dtype?"
        )
    return _TokenFile(given, format_name, TOKEN_DTYPES[dtype], size // width)


def _llmc(given: _Given) -> _TokenFile:
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
    shard = _TokenFile(given, "llm.c", dtype, count, LLMC_HEADER, marks_start=True)
    if given.separator_id is None:
        shard = replace(shard, separator_id=mark)
    numbered = re.fullmatch(r"(.*?)(\d+)(\D*)", path.name)
    if numbered is None:
        return shard
    series = f"{width} {os.path.realpath(path.parent)}/{numbered[1]}*{numbered[3]}"
    return replace(shard, series=series, shard=int(numbered[2]))


def _megatron(given: _Given) -> _TokenFile:
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
    return _TokenFile(given, "Megatron", dtype, end // dtype.itemsize, bounds=bounds)


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


def _datatrove(given: _Given) -> _TokenFile:
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
    return _TokenFile(given, "datatrove", np.dtype(f"<u{width}"), count, bounds=bounds)


def _datatrove_width(path: Path) -> int:
    """The bytes of a token, which `.ds.metadata` has after its first line's last "|"; else 0."""
    about = path.with_suffix(".ds.metadata")
    if not about.is_file():
        return 0
    with about.open("rb") as file:
        _, bar, width = file.readline(BLOCK).strip().rpartition(b"|")
    return int(width) if bar and width.isdigit() else 0


def _dolma(given: _Given) -> _TokenFile:
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


def _numpy(given: _Given) -> _TokenFile:
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
    file = _TokenFile(given, "NumPy", array.dtype, array.size, array.offset)
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
