"""Text files in, documents out: a file is one, or each of its lines, paragraphs or parts is."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from everygram.corpus.decoding import Limits, opened, read_whole, skip_line, too_large
from everygram.corpus.documents import TextDocument, encode_metadata
from everygram.corpus.files import File
from everygram.corpus.not_text import BOM, text_of
from everygram.corpus.records import TELL_EVERY, raised
from everygram.errors import CorpusError

PIECE = 1 << 18


def whole(file: File, tell: Callable[[int], None], limits: Limits) -> TextDocument:
    """A text file that is one document."""
    text = text_of(read_whole(file, limits), file.name)
    tell(file.size)
    return _document(text, file, {})


def parts(
    file: File, split: str, tell: Callable[[int], None], limits: Limits
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The place of each document of a text file that holds several, and what makes it.

    split: "lines", "blank-lines" (between paragraphs) or what separates them. What has nothing
    but white space is no document.
    """
    with opened(file, limits) as (raw, text):
        inside: Any = text
        most = limits.record
        if inside.peek(len(BOM)).startswith(BOM):
            inside.read(len(BOM))
        if split in CUTTERS:
            found = CUTTERS[split](inside, most)
        else:
            found = _separated(inside, most, split.encode())
        for number, (line, data) in enumerate(found):
            if number % TELL_EVERY == 1:
                tell(raw.tell())
            place = f"{file.name}:{line}"
            if data is None:
                yield place, partial(raised, too_large(place, limits))
                continue
            if data and not data.isspace():
                make = partial(_part, data, line, file)
                del data  # The next one is read when it is no longer held.
                yield place, make
                del make


# The line that a part of a file begins in, and its bytes; None if they are more than the most.
Parts = Iterator[tuple[int, bytes | None]]


def _bounded_lines(inside: Any, most: int) -> Iterator[bytes | None]:
    while line := inside.readline(most + 1):
        if len(line) <= most:
            yield line
        else:
            if not line.endswith(b"\n"):
                skip_line(inside)
            yield None


def _lines(inside: Any, most: int) -> Parts:
    for number, line in enumerate(_bounded_lines(inside, most), 1):
        yield number, None if line is None else line.removesuffix(b"\n").removesuffix(b"\r")


def _paragraphs(inside: Any, most: int) -> Parts:
    """Lines that have no blank line between them, as they stand, without the last one's end."""
    begun: list[bytes] = []
    first = held = 0
    for number, line in enumerate(_bounded_lines(inside, most), 1):
        if line is not None and line.isspace():
            if first:
                yield first, _joined(begun, held, most)
            begun, first, held = [], 0, 0
            continue
        first = first or number
        held += most + 1 if line is None else len(line)
        if held > most:
            begun.clear()
        elif line is not None:
            begun.append(line)
    if first:
        yield first, _joined(begun, held, most)


def _joined(lines: list[bytes], held: int, most: int) -> bytes | None:
    if held > most:
        return None
    return b"".join(lines).removesuffix(b"\n").removesuffix(b"\r")


def _separated(inside: Any, most: int, separator: bytes) -> Parts:
    first = line = 1
    held = bytearray()
    seen = passed = 0  # Bytes of the part: looked at, and no longer held.
    # (`read` of a file that is cut off would lose what stands before.)
    while chunk := inside.read1(PIECE):
        held += chunk
        while (end := held.find(separator, seen)) >= 0:
            yield first, None if passed + end > most else bytes(held[:end])
            line += held.count(b"\n", 0, end + len(separator))
            del held[: end + len(separator)]
            first, seen, passed = line, 0, 0
        seen = max(0, len(held) - len(separator) + 1)
        if passed + seen > most:
            line += held.count(b"\n", 0, seen)
            del held[:seen]
            passed, seen = passed + seen, 0
    yield first, None if passed + len(held) > most else bytes(held)


def _part(data: bytes, line: int, file: File) -> TextDocument:
    """A document of several in a file, which begins in that line."""
    try:
        text = data.decode()
        at = data.find(b"\0")
    except UnicodeDecodeError as error:
        at = error.start
    if at >= 0:
        place = f"{file.name}:{line + data.count(bytes([10]), 0, at)}"
        what = "not UTF-8" if data[at] else "NUL, which text has not"
        raise CorpusError(
            f"{place}: {what}: byte {at + 1:,} of the document is 0x{data[at]:02x}; leave it out "
            "with --on-error skip"
        )
    return _document(text, file, {"line": line})


def _document(text: str, file: File, more: dict[str, Any]) -> TextDocument:
    try:
        return TextDocument(text, encode_metadata({"path": file.relative} | more))
    except UnicodeEncodeError:
        raise CorpusError(f"{file.name}: the file's name is not UTF-8; rename it") from None


CUTTERS = {"lines": _lines, "blank-lines": _paragraphs}
