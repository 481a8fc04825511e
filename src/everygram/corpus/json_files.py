"""`.json` files in, records out: JSON lines, one array of records, or records one after another.

Which of them a file is, its first bytes say. Readers as in `records`.
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from io import BufferedIOBase
from typing import Any, Literal

from everygram.corpus.decoding import Limits, opened, too_large
from everygram.corpus.files import File
from everygram.corpus.records import DECODER, Records, json_lines, json_record, raised
from everygram.errors import CorpusError

# Bytes that are read at a time.
PIECE = 1 << 16
# What lies beside data and only describes it is smaller than this.
LARGEST_DESCRIPTION = 16 << 20
BOM = b"\xef\xbb\xbf"
# What says where a value ends: brackets, commas, and strings, which may have both in them. (The
# last string may end in the next piece: it has no closing quote then. Possessive, because to try
# again takes a hundred bytes of memory per backslash.)
TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+("|\\?\Z)|[\[\]{},]', re.DOTALL)
QUOTE, COMMA = b'",'
OPENING, CLOSING = b"[{", b"]}"


def json_file(
    file: File, columns: list[str] | None, tell: Callable[[int], None], limits: Limits
) -> Records:
    if _is_lines(file, limits):
        yield from json_lines(file, columns, tell, limits)
        return
    with opened(file, limits) as (raw, inside):
        number = 0
        try:
            for value in _values(inside, limits.record)[1]:
                number += 1
                tell(raw.tell())
                place = f"{file.name}: record {number:,}"
                if value is None:
                    yield place, partial(raised, too_large(place, limits))
                else:
                    yield place, partial(json_record, value, place)
        except _NoArrayError as error:
            raise CorpusError(f"{file.name}: after record {number:,}: {error}") from None


def kind_of_json(
    file: File, has_text: Callable[[dict[str, Any]], bool]
) -> Literal["records", "record", "other"]:
    """Whether a file holds records, one record that has text, or neither.

    One that cannot be read is said to hold records: reading it says what is wrong.
    """
    in_array = True
    try:
        if _is_lines(file, Limits(LARGEST_DESCRIPTION), several=True):
            return "records"
        with opened(file) as (_, inside):
            in_array, values = _values(inside, LARGEST_DESCRIPTION)
            found = next(values, b"")
            if found is None:
                return "records" if in_array else "other"
            first = found.lstrip()
            if not first.startswith(b"{"):
                return "other"
            if in_array or next(values, b"") != b"":
                return "records"
            try:
                return "record" if has_text(json_record(first, file.name)) else "other"
            except CorpusError:  # JSON with comments, for example
                return "other"
    except (CorpusError, OSError, _NoArrayError):
        return "records"


class _NoArrayError(Exception):
    """An array does not end, or something follows it."""


def _is_lines(file: File, limits: Limits, several: bool = False) -> bool:
    """Whether the first line is a value (and another line follows it)."""
    try:
        with opened(file, limits) as (_, lines):
            line = b""
            while not line.removeprefix(BOM).strip():
                # (An array may be all of a file in one line.)
                line = lines.readline(PIECE)
                if not line:
                    return False
            if line.removeprefix(BOM).lstrip().startswith(b"["):
                return False
            if not line.endswith(b"\n"):
                line += lines.readline(limits.record)
                if len(line) > limits.record:
                    return True
            DECODER.decode(line.removeprefix(BOM).decode())
            return not several or any(not more.isspace() for more in iter(lines.readline, b""))
    except (ValueError, RecursionError):
        return False


def _values(inside: BufferedIOBase, most: int) -> tuple[bool, Iterator[bytes | None]]:
    """Whether what is read is an array; and its elements, or else the values in it.

    They may be no JSON. A value of more than `most` bytes is not held: None stands for it. Raises
    _NoArrayError for an array without an end.
    """
    begin = b""
    while not begin and (piece := inside.read(PIECE)):
        begin = piece.removeprefix(BOM).lstrip()
    in_array = begin.startswith(b"[")
    return in_array, _split(inside, begin[in_array:], in_array, most)


def _split(
    inside: BufferedIOBase, buffer: bytes, in_array: bool, most: int
) -> Iterator[bytes | None]:
    depth = at = 0
    several = False
    dropped = False  # the start of the value that is not finished, because the value is too large

    def value(found: bytes) -> bytes | None:
        nonlocal dropped
        large, dropped = dropped or len(found) > most, False
        return None if large else found

    while True:
        start = 0  # of the value that is not finished
        for token in TOKEN.finditer(buffer, at):
            mark, end = buffer[token.start()], token.end()
            if mark == QUOTE and token[1] != b'"':
                at = token.start()
                break
            if mark in OPENING:
                depth += 1
            elif mark in CLOSING and depth == 0 and in_array:
                last = buffer[start : token.start()]
                if several or dropped or last.strip():
                    yield value(last)
                if buffer[end:].strip() or any(iter(lambda: inside.read(PIECE).strip(), b"")):
                    raise _NoArrayError("expected nothing behind the array, found more")
                return
            elif mark in CLOSING:
                depth = max(0, depth - 1)
                if depth == 0 and not in_array:
                    yield value(buffer[start:end])
                    start = end
            elif mark == COMMA and depth == 0 and in_array:
                yield value(buffer[start : token.start()])
                start, several = end, True
        else:
            at = len(buffer)
        if len(buffer) - start > most:
            # (Of an open string, its quote stays, and a backslash that stands before what follows.)
            string = buffer[at:]
            slashes = len(string) - len(string.rstrip(b"\\"))
            buffer = b'"' + b"\\" * (slashes % 2) if string else b""
            start, at, dropped = 0, 0, True
        # (As much again as is held, so that a long value is not looked at again and again.)
        piece = inside.read(max(PIECE, len(buffer) - start))
        buffer, at = buffer[start:] + piece, at - start
        if not piece:
            break
    if in_array:
        raise _NoArrayError("expected the array's end, found the file's: is it cut off?")
    if dropped or buffer.strip():
        yield value(buffer)
