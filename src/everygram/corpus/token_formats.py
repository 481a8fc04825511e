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
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import numpy as np

from everygram.corpus.documents import encode_metadata
from everygram.corpus.marks import doubled_bounds
from everygram.corpus.megatron import megatron_file
from everygram.corpus.token_file import (
    NO_ID,
    Bounds,
    Given,
    TokenFile,
    adjoining,
    blocks,
    check_ascending,
    mapped,
)
from everygram.errors import CorpusError, OptionError
from everygram.storage.format import TOKEN_DTYPES

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
# A name of a series: train_000001.bin, tokenized.1, train-00001-of-00010.npy, shard1.u16.
NUMBERED = re.compile(r"(.*?)(\d+)((?:-of-\d+)?\D*(?:\.[A-Za-z]+\d+)?)", re.DOTALL)
# Bytes of a line at most that are looked at.
LINE = 1 << 16
NUMPY = b"\x93NUMPY"
# Files that are not raw ids: how they start, how their names end if compressed, what they are.
NO_RAW_IDS = {
    b"LITPKDS": ((), "a packed data set of lit-gpt"),
    b"PK\3\4": ((), "a zip archive (such as NumPy's .npz)"),
    b"\x1f\x8b": ((".gz",), "gzip"),
    b"\x28\xb5\x2f\xfd": ((".zst",), "zstd"),
    b"\xfd7zXZ": ((".xz",), "xz"),
    b"BZh": ((".bz2",), "bzip2"),
}


def owner_of(path: Path) -> Path | None:
    """The file of ids that a file goes with, by their names."""
    for suffix, owners in COMPANIONS.items():
        if path.name.endswith(suffix):
            return path.with_name(path.name.removesuffix(suffix) + owners)
    return None


def token_file(given: Given) -> TokenFile:
    """What a file is. Raises CorpusError if it is not sound, OptionError if more must be said."""
    try:
        encode_metadata({"path": given.name})
    except UnicodeEncodeError:
        raise CorpusError(f"{given.path}: the file's name is not UTF-8; rename it") from None
    file = _format(given.path)(given)
    if file.separator_id == NO_ID and given.separator_id is not None:
        file = _with_separator(file, given.separator_id)
    largest = int(np.iinfo(file.dtype).max)
    if file.mark > largest:
        raise CorpusError(
            f"{given.path}: separator id {file.mark} marks no document: its ids are 0 to "
            f"{largest}; pass another --separator-id"
        )
    return file


def _with_separator(file: TokenFile, separator_id: int) -> TokenFile:
    """The file with its separator id, and with the number of separators to drop per bound."""
    file = replace(file, separator_id=separator_id)
    if file.bounds is None:
        return file
    dropped = doubled_bounds(file)
    doubled = f"{file.format} (separators doubled)" if 2 in dropped else file.format
    return replace(file, format=doubled, dropped=dropped)


def _format(path: Path) -> Callable[[Given], TokenFile]:
    """The function for a file, told from its name and first bytes."""
    owner = owner_of(path)
    if owner is not None:
        raise CorpusError(f"{path}: holds no ids, but goes with '{owner.name}'; name that instead")
    if path.suffix == ".bin" and path.with_suffix(".idx").is_file():
        return megatron_file
    if not path.is_file():
        # A broken link, a pipe, a folder that cannot be listed.
        raise CorpusError(f"{path}: not a regular file, or not to be read")
    if path.suffix == ".ds":
        return _datatrove
    with path.open("rb") as file:
        head = file.read(len(NUMPY))
    if head == NUMPY:
        return _numpy
    if path.suffix == ".npy":
        return _dolma
    if int.from_bytes(head[:4], "little") in (*LLMC, LLMC_EVALUATION):
        return _llmc
    return _raw


def _raw(given: Given) -> TokenFile:
    if given.dtype is None or given.separator_id is None:
        missing = []
        if given.dtype is None:
            missing.append(("their width", "--pretokenized u16"))
        if given.separator_id is None:
            missing.append(("where documents end", "--separator-id 50256"))
        raise OptionError(
            f"{given.path}: raw token ids do not say {' or '.join(what for what, _ in missing)}: "
            f"pass it, as in {' '.join(option for _, option in missing)}"
        )
    with given.path.open("rb") as file:
        head = file.read(max(map(len, NO_RAW_IDS)))
    for start, (suffixes, kind) in NO_RAW_IDS.items():
        # (Ids may be the same bytes by chance: a short magic number alone is not enough.)
        if head.startswith(start) and (
            given.path.suffix in suffixes if suffixes else len(start) > 4 or is_zipfile(given.path)
        ):
            raise CorpusError(
                f"{given.path}: expected raw token ids, found {kind}; unpack it, or leave it out"
            )
    return _in_series(_headerless(given, f"raw {given.dtype}", given.dtype))


def _in_series(file: TokenFile) -> TokenFile:
    """The file with its series and number, if its name has a number."""
    path = file.path
    numbered = NUMBERED.fullmatch(path.name)
    if numbered is None:
        return file
    prefix, number, rest = numbered.groups()
    series = f"{file.format} {file.dtype} {os.path.realpath(path.parent)}/{prefix}*{rest}"
    return replace(file, series=series, shard=int(number))


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
    shard = TokenFile(given, "llm.c", dtype, count, LLMC_HEADER, goes_on=True)
    if given.separator_id is None:
        shard = replace(shard, separator_id=mark)
    return _in_series(shard)


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
    ends = partial(mapped, index, "<u8", 0, documents)
    check_ascending(ends(), f"{index}: document ends")
    size, count = path.stat().st_size, int(ends()[-1]) if documents else 0
    width = _datatrove_width(path) or (size // count if count else 2)
    if width not in (2, 4) or size != count * width:
        raise CorpusError(
            f"{path}: its index ends at token {count:,}, of 2 or 4 bytes, by its metadata or size "
            f"{width:,}: expected as many bytes, found {size:,}: cut off, or of another run?"
        )

    def edges() -> Iterator[int]:
        yield 0
        for _, block in blocks(ends()):
            yield from block.tolist()

    bounds = partial(adjoining, edges)
    return TokenFile(given, "datatrove", np.dtype(f"<u{width}"), count, bounds=bounds)


def _datatrove_width(path: Path) -> int:
    """The bytes of a token, which `.ds.metadata` has after its first line's last "|"; else 0."""
    about = path.with_suffix(".ds.metadata")
    if not about.is_file():
        return 0
    with about.open("rb") as file:
        _, bar, width = file.readline(LINE).strip().rpartition(b"|")
    return int(width) if bar and width.isdigit() and len(width) < 3 else 0


def _dolma(given: Given) -> TokenFile:
    path, table = given.path, given.path.with_suffix(".csv.gz")
    if given.dtype is None:
        raise OptionError(
            f"{path}: has no NumPy header, as Dolma's and OLMo's files, which do not say the width "
            "of their ids: pass --pretokenized u16 or u32"
        )
    file = _in_series(_headerless(given, "Dolma", given.dtype))
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
        return replace(file, count=0, bounds=lambda: iter(()), series="")
    if last != file.count:
        raise CorpusError(
            f"{path}: '{table.name}' ends at token {last:,}, the file at {file.count:,} if its ids "
            f"are {given.dtype}: cut off, another dtype, or of another run?"
        )
    return replace(file, bounds=partial(_dolma_rows, table), series="")


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

        return replace(file, bounds=partial(adjoining, edges))
    if given.separator_id is None:
        raise OptionError(
            f"{path}: an array of one dimension does not say where documents end: pass the id that "
            "does, as in --separator-id 50256"
        )
    return _in_series(file)
