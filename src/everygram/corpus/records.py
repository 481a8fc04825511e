"""Lines and rows in, records out: JSON lines, CSV and TSV, compressed or not.

A reader takes a `File`, the columns that are needed (None: all) and a function that it tells how
far it has read; it gives `Records`.
"""

import csv
import gzip
import io
import json
import math
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, BinaryIO, cast

from everygram.corpus.files import File
from everygram.errors import CorpusError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd
# What a reader gives for a record: its place, and what makes it or raises CorpusError.
Records = Iterator[tuple[str, Callable[[], dict[str, Any]]]]
# Lines between two looks at how far a file is read: each is a call of the system.
TELL_EVERY = 16
COMPRESSED = (".gz", ".zst")


@contextmanager
def opened(file: File) -> Iterator[tuple[BinaryIO, io.BufferedIOBase]]:
    """A file, and the bytes in it where it is compressed."""
    with file.open() as raw:
        if file.name.endswith(".gz"):
            yield raw, cast(io.BufferedIOBase, gzip.GzipFile(fileobj=raw))
        elif file.name.endswith(".zst"):
            yield raw, cast(io.BufferedIOBase, zstd.ZstdFile(raw))
        else:
            yield raw, cast(io.BufferedIOBase, raw)


CUT_OFF = (EOFError, gzip.BadGzipFile, zstd.ZstdError, zlib.error)


def cut_off(place: str, error: Exception) -> CorpusError:
    return CorpusError(f"{place}: the compressed file is cut off or damaged here: {error}")


def json_lines(file: File, columns: list[str] | None, tell: Callable[[int], None]) -> Records:
    with opened(file) as (raw, lines):
        number = 0
        while True:
            number += 1
            place = f"{file.name}:{number}"
            try:
                line = lines.readline()
            except CUT_OFF as error:
                raise cut_off(place, error) from None
            if not line:
                return
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line.isspace():
                if number % TELL_EVERY == 1:
                    tell(raw.tell())
                yield place, partial(_json_record, line, place)


def _json_record(line: bytes, place: str) -> dict[str, Any]:
    try:
        record = DECODER.decode(line.decode())
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{place}: not UTF-8: byte {error.start + 1} of the line is 0x{line[error.start]:02x}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{place}: not a JSON record: {error}") from None
    if not isinstance(record, dict):
        raise CorpusError(
            f"{place}: expected a JSON object, found {json_type(record)}: {line[:60]!r}"
        )
    return record


def table(
    delimiter: str, file: File, columns: list[str] | None, tell: Callable[[int], None]
) -> Records:
    """The rows of a CSV or TSV file under its first, which names the columns."""
    csv.field_size_limit(sys.maxsize)
    with opened(file) as (raw, inside):
        # What is no UTF-8 is told row by row.
        text = io.TextIOWrapper(
            cast(io.BufferedReader, inside), "utf-8-sig", errors="surrogateescape", newline=""
        )
        rows = csv.reader(text, delimiter=delimiter, strict=True)
        names: list[str] | None = None
        while True:
            # (A row may have line ends in it: the reader says where it ends.)
            place = f"{file.name}:{rows.line_num + 1}"
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                wrong = CorpusError(f"{place}: not a row of a table: {error}")
                if names is None:
                    raise wrong from None
                yield place, partial(_raised, wrong)
                continue
            except CUT_OFF as error:
                raise cut_off(place, error) from None
            if names is None:
                twice = [name for name, times in Counter(row).items() if times > 1]
                if twice:
                    raise CorpusError(f"{place}: two columns have the name {twice[0]!r}")
                names = row
            elif row:
                if rows.line_num % TELL_EVERY == 1:
                    tell(raw.tell())
                yield place, partial(_table_record, names, row, place)


def _table_record(names: list[str], row: list[str], place: str) -> dict[str, Any]:
    if len(row) != len(names):
        raise CorpusError(
            f"{place}: expected {len(names)} columns, as the first row has, found {len(row)}"
        )
    for name, cell in zip(names, row, strict=True):
        if not cell.isascii():
            try:
                cell.encode()
            except UnicodeEncodeError as error:
                byte = ord(cell[error.start]) & 0xFF
                raise CorpusError(
                    f"{place}: not UTF-8: column {name!r} has the byte 0x{byte:02x}"
                ) from None
    return dict(zip(names, row, strict=True))


def _raised(error: CorpusError) -> dict[str, Any]:
    raise error


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number} is no finite number")
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"field {twice!r} stands twice")
    return record


def json_type(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}
    return "null" if value is None else names.get(type(value), "a number")


# json, not a faster reader: those make floats of integers past 64 bits. (Made once: that takes as
# long as a short record.)
DECODER = json.JSONDecoder(parse_constant=_finite, parse_float=_finite, object_pairs_hook=_distinct)
