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

from everygram.corpus.decoding import PIECE, Limits, opened, skip_line, too_large
from everygram.corpus.files import File
from everygram.corpus.values import double
from everygram.errors import CorpusError

# What a reader gives for a record: its place, and what makes it or raises CorpusError.
Records = Iterator[tuple[str, Callable[[], dict[str, Any]]]]
# Lines between two looks at how far a file is read: each is a call of the system. Longer lines,
# in bytes, are looked at themselves.
TELL_EVERY, LONG_LINE = 16, 1 << 12
# Tables of text: what stands between cells, and how these are quoted unless the user says it.
TABLES = {"CSV": (",", "double"), "TSV": ("\t", "none")}


def json_lines(
    file: File, columns: list[str] | None, tell: Callable[[int], None], limits: Limits
) -> Records:
    with opened(file, limits) as (raw, lines):
        number = 0
        while line := lines.readline(limits.record + 1):
            number += 1
            place = file.line(number)
            if len(line) > limits.record:
                yield place, partial(raised, too_large(place, limits))
                if not line.endswith(b"\n"):
                    skip_line(lines)
                continue
            if number == 1 and not file.begin:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if number % TELL_EVERY == 1 or len(line) > LONG_LINE:
                tell(raw.tell())
            if line and not line.isspace():
                record = partial(json_record, line, place)
                del line  # (Not held while the next one is read.)
                yield place, record
                del record


def json_record(line: bytes, place: str) -> dict[str, Any]:
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
    usual: str,
    given: str | None,
    file: File,
    columns: list[str] | None,
    tell: Callable[[int], None],
    limits: Limits,
) -> Records:
    """The rows of a CSV or TSV file under its first, which names the columns.

    usual, given: how such files are quoted, and how the user says that these are.
    """
    quoting = given or usual
    with opened(file, limits) as (raw, inside):
        # What is no UTF-8 is told row by row.
        text = io.TextIOWrapper(
            cast(io.BufferedReader, inside),
            "utf-8-sig",
            errors="surrogateescape",
            newline="" if quoting == "double" else "\n",
        )
        names: list[str] | None = None
        read = _quoted if quoting == "double" else _unquoted
        rows = read(text, delimiter, file.name, limits)
        for number, (place, row) in enumerate(rows):
            if isinstance(row, CorpusError):
                if names is None:
                    raise row
                yield place, partial(raised, row)
            elif names is None:
                _check_names(row, place, given if usual == "none" else usual)
                names = row
            else:
                if number % TELL_EVERY == 1 or sum(map(len, row)) > LONG_LINE:
                    tell(raw.tell())
                yield place, partial(_table_record, names, row, place, quoting)


def _check_names(names: list[str], place: str, quoting: str | None) -> None:
    """Raise CorpusError for columns that cannot have these names, or whose quotes are doubtful."""
    for name, times in Counter(names).items():
        if times > 1:
            raise CorpusError(f"{place}: two columns have the name {name!r}")
        if any("\udc80" <= character <= "\udcff" for character in name):
            raise CorpusError(f"{place}: not UTF-8: the name {name!r} of a column")
    if quoting is None and all(len(name) > 1 and name[0] == name[-1] == '"' for name in names):
        raise CorpusError(
            f"{place}: the names of the columns stand in quotes: pass --quoting double, or "
            "--quoting none to take quotes for characters like others"
        )


# Where a row begins, and its cells or what is wrong with it.
Rows = Iterator[tuple[str, list[str] | CorpusError]]


def _quoted(text: io.TextIOWrapper, delimiter: str, name: str, limits: Limits) -> Rows:
    """Rows whose cells may be quoted, with line ends and delimiters in them."""
    csv.field_size_limit(sys.maxsize)
    lines = _Lines(text, limits)
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        number = lines.begin_row()
        place = f"{name}:{number}"
        try:
            if row := next(rows):
                yield place, row
        except StopIteration:
            return
        except csv.Error as error:
            wrong = f"{place}: not a row of a table: {error}"
            if lines.ended:
                opened = _quote_opened(number, lines.quoted, delimiter)
                wrong = f"{name}:{opened}: a quote opens here and is never closed"
            hint = "if quotes are characters like others here, pass --quoting none"
            yield place, CorpusError(f"{wrong}; {hint}")
        except _TooLarge:
            wrong = str(too_large(place, limits))
            if lines.number > number:
                opened = _quote_opened(number, lines.quoted, delimiter)
                wrong += f"; a quote that opens on line {opened:,} is open there"
            yield place, CorpusError(wrong)
            lines.skip_row(delimiter, lines.number > number)


class _TooLarge(Exception):
    """A row of a table is larger than the limit: `_Lines.skip_row` reads the rest of it."""


class _Lines:
    """The lines of a text for rows, which may have line ends in them; a row's are bounded.

    `number` counts them, `quoted` has those of the row that have quotes, with their numbers, and
    `ended` says whether the text has ended.
    """

    def __init__(self, text: io.TextIOWrapper, limits: Limits) -> None:
        self._text, self._most = text, limits.record
        self.number = self._held = 0
        self._last = ""  # line, or the start of a line that exceeded the limit
        self.quoted: list[tuple[int, str]] = []
        self.ended = False

    def begin_row(self) -> int:
        """Begin a row; gives the number of its first line."""
        self.quoted.clear()
        self._held = 0
        return self.number + 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._text.readline(self._most + 1)
        if not line:
            self.ended = True
            raise StopIteration
        self.number += 1
        self._held += len(line)
        if self._held > self._most:
            self._last = line
            raise _TooLarge
        if '"' in line:
            self.quoted.append((self.number, line))
        return line

    def skip_row(self, delimiter: str, quoted: bool) -> None:
        """Read to the end of a row that is too large, in pieces that are not kept.

        quoted: whether the line that exceeded the limit begins inside quotes.
        """
        piece, at_cell = self._last, not quoted
        self._last = ""
        while piece:
            # (Two quotes inside quotes are one: they must not be divided.)
            while piece[-1] == '"' and (more := self._text.read(1)):
                piece += more
            at = 0
            while at < len(piece):
                if quoted or (at_cell and piece[at] == '"'):
                    end = piece.find('"', at if quoted else at + 1)
                    quoted = end < 0 or piece[end + 1 : end + 2] == '"'
                    at = len(piece) if end < 0 else end + 1 + quoted
                    at_cell = False
                else:
                    end = piece.find(delimiter + '"', at)
                    at = len(piece) if end < 0 else end + 1
                    at_cell = end >= 0 or piece[-1] == delimiter
            ended = piece[-1] in "\r\n"
            if ended and not quoted:
                return
            piece = self._text.readline(PIECE)
            self.number += ended and piece != ""


def _quote_opened(first: int, quoted: list[tuple[int, str]], delimiter: str) -> int:
    """The line in which the quote opened that is open where a row's lines end; `first` is its."""
    opened = first
    for number, line in quoted:
        # Each line but the first begins in a quote: a further cell has another one.
        if number > first and len(next(csv.reader(['"' + line], delimiter=delimiter))) > 1:
            opened = number
    return opened


def _unquoted(text: io.TextIOWrapper, delimiter: str, name: str, limits: Limits) -> Rows:
    """Rows in which quotes are characters like others: each is a line."""
    number = 0
    while line := text.readline(limits.record + 1):
        number += 1
        place = f"{name}:{number}"
        if len(line) > limits.record:
            if not line.endswith("\n"):
                skip_line(text)
            yield place, too_large(place, limits)
            continue
        line = line.removesuffix("\n").removesuffix("\r")
        if number == 1 and "\r" in line:
            raise CorpusError(f"{place}: lines end with a carriage return alone; convert the file")
        if line:
            yield place, line.split(delimiter)


def _table_record(names: list[str], row: list[str], place: str, quoting: str) -> dict[str, Any]:
    if len(row) != len(names):
        hint = ""
        if quoting == "none" and any(cell.startswith('"') for cell in row):
            hint = "; if cells are quoted here, pass --quoting double"
        raise CorpusError(
            f"{place}: expected {len(names)} columns, as the first row has, found {len(row)}{hint}"
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
        raise ValueError(f"field {double([name for name, _ in pairs])!r} stands twice")
    return record


def json_type(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}
    return "null" if value is None else names.get(type(value), "a number")


# json, not a faster reader: those make floats of integers past 64 bits. (Made once: that takes as
# long as a short record.)
DECODER = json.JSONDecoder(parse_constant=_finite, parse_float=_finite, object_pairs_hook=_distinct)
