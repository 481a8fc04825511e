"""Lines and rows in, records out: JSON lines, CSV and TSV, compressed or not.

A reader takes a `File`, the columns that are needed (None: all), a function that it tells how far
it has read, and how large a record may be; it gives `Records`.
"""

import csv
import io
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

from everygram.corpus.decoding import Limits, opened, skip_line, too_large
from everygram.corpus.files import File
from everygram.errors import CorpusError

# What a reader gives for a record: its place, and what makes it or raises CorpusError.
Records = Iterator[tuple[str, Callable[[], dict[str, Any]]]]
# Lines between two looks at how far a file is read: each is a call of the system. Longer lines,
# in bytes, are looked at themselves.
TELL_EVERY, LONG_LINE = 16, 1 << 12


def json_lines(
    file: File, columns: list[str] | None, tell: Callable[[int], None], limits: Limits
) -> Records:
    with opened(file, limits) as (raw, lines):
        number = 0
        while line := lines.readline(limits.record + 1):
            number += 1
            place = f"{file.name}:{number}"
            if len(line) > limits.record:
                yield place, partial(raised, too_large(place, limits))
                if not line.endswith(b"\n"):
                    skip_line(lines)
                continue
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if number % TELL_EVERY == 1 or len(line) > LONG_LINE:
                tell(raw.tell())
            if not line.isspace():
                record = partial(_json_record, line, place)
                del line  # (Not held while the next one is read.)
                yield place, record
                del record


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
    delimiter: str,
    file: File,
    columns: list[str] | None,
    tell: Callable[[int], None],
    limits: Limits,
) -> Records:
    """The rows of a CSV or TSV file under its first, which names the columns."""
    csv.field_size_limit(sys.maxsize)
    with opened(file, limits) as (raw, inside):
        # What is no UTF-8 is told row by row.
        text = io.TextIOWrapper(
            cast(io.BufferedReader, inside), "utf-8-sig", errors="surrogateescape", newline=""
        )
        lines = _BoundedLines(text, limits)
        rows = csv.reader(lines, delimiter=delimiter, strict=True)
        names: list[str] | None = None
        tell_at = 0
        while True:
            # (A row may have line ends in it: the reader says where it ends.)
            place = f"{file.name}:{lines.number + 1}"
            lines.held = 0
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                wrong = CorpusError(f"{place}: not a row of a table: {error}")
                if names is None:
                    raise wrong from None
                yield place, partial(raised, wrong)
                continue
            except _TooLarge:
                yield place, partial(raised, too_large(place, limits))
                continue
            if names is None:
                twice = [name for name, times in Counter(row).items() if times > 1]
                if twice:
                    raise CorpusError(f"{place}: two columns have the name {twice[0]!r}")
                names = row
            elif row:
                if lines.number >= tell_at or lines.held > LONG_LINE:
                    tell_at = lines.number + TELL_EVERY
                    tell(raw.tell())
                yield place, partial(_table_record, names, row, place)


class _TooLarge(Exception):
    """A row of a table is larger than the limit; the line that exceeded it has been skipped."""


class _BoundedLines:
    """The lines of a table whose rows may have several, with a limit for each row.

    number: lines read. held: characters of the current row, which the caller sets to 0.
    """

    def __init__(self, text: io.TextIOWrapper, limits: Limits) -> None:
        self._text, self._most = text, limits.record
        self.number = self.held = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._text.readline(self._most + 1)
        if not line:
            raise StopIteration
        self.number += 1
        self.held += len(line)
        if self.held > self._most:
            if line[-1] not in "\r\n":
                skip_line(self._text)
            raise _TooLarge
        return line


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


def raised(error: CorpusError) -> dict[str, Any]:
    """In place of a record: what is wrong with it."""
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
