"""Divides a corpus into parts of about the same size, which together are its documents in order.

In: its files. Out: of each part, which of them, and of large files of lines which stretches. A file
of lines is JSON lines, not compressed; any other file is whole in one part.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from everygram.corpus.files import BUFFER, File


class Piece(NamedTuple):
    """Bytes [begin, end) of a file of a corpus, by its number."""

    file: int
    begin: int
    end: int


Part = tuple[Piece, ...]


def divide(
    files: Sequence[File], number: int, is_lines: Callable[[File], bool]
) -> tuple[Part, ...]:
    """So many parts, or fewer: none is empty, unless all files are.

    is_lines: whether a file may be divided after any of its lines. The same files give the same
    parts. Raises CorpusError or OSError for a file that cannot be read.
    """
    total = sum(file.size for file in files)
    parts: list[list[Piece]] = [[] for _ in range(number)]
    part = before = 0
    for place, file in enumerate(files):
        begin, after = 0, before + file.size
        while part < number - 1 and after > (cut := total * (part + 1) // number):
            if is_lines(file):
                end = _line_end(file, max(cut - before, begin), file.size)
            else:
                # (To the nearer of its ends.)
                end = file.size if begin or 2 * (cut - before) >= file.size else 0
            if end > begin:
                parts[part].append(Piece(place, begin, end))
            begin, part = end, part + 1
        if begin < file.size or not file.size:
            parts[part].append(Piece(place, begin, file.size))
        before = after
    return tuple(tuple(part) for part in parts if part)


def taken(files: Sequence[File], part: Part) -> list[File]:
    """The files of a part, or what of them is in it."""
    return [
        file if (piece.begin, piece.end) == (0, file.size) else file.stretch(piece.begin, piece.end)
        for piece in part
        for file in [files[piece.file]]
    ]


def _line_end(file: File, place: int, size: int) -> int:
    """The end of the line that the byte before a place is in; 0 at the start."""
    if place == 0:
        return 0
    at = place - 1
    with file.open(in_any_order=True) as opened:
        opened.seek(at)
        while data := opened.read(BUFFER):
            if (found := data.find(b"\n")) >= 0:
                return at + found + 1
            at += len(data)
    return size
