"""What a corpus is: documents of text or of token ids, each with its metadata, from files."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from everygram.corpus.dividing import Part
from everygram.corpus.files import File
from everygram.errors import EverygramError, OptionError

OnError = Literal["raise", "skip"]
# Messages kept of what `on_error="skip"` left out; the rest is only counted.
SKIPS_LISTED = 20


@dataclass(frozen=True)
class TextDocument:
    """A document's text and its metadata (UTF-8 JSON)."""

    text: str
    metadata: bytes


@dataclass(frozen=True)
class TokenDocument:
    """A document's ids (u8, u16 or u32, shape (len,)) and its metadata (UTF-8 JSON)."""

    ids: np.ndarray
    metadata: bytes


DocumentT = TypeVar("DocumentT", TextDocument, TokenDocument)


class Corpus(ABC, Generic[DocumentT]):
    """Files, listed once, whose documents are read each time that it is iterated over.

    files: all that is read or left out, in order. passed_over: of the other files that lie beside
    them in folders, by name, why they are not read. bytes_read: how far the iteration is, of
    `total_bytes`. place: of the text that was given last, as messages name it: its file, and its
    line or row there. With `on_error="skip"`, what cannot be read is counted in `skipped`, and the
    first of it listed in `skips`; otherwise it raises CorpusError, naming file and place.
    """

    def __init__(self, on_error: OnError) -> None:
        self.on_error = on_error
        self.files: list[File] = []
        self.passed_over: dict[str, str] = {}
        self.skipped = 0
        self.skips: list[str] = []
        self.bytes_read = 0
        self.place = ""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Of what was read so far, what is hardly meant."""
        return ()

    @property
    @abstractmethod
    def formats(self) -> dict[str, int]:
        """How many files there are of each format, in the order met."""

    @property
    def open_ended(self) -> bool:
        """Whether there is more than `total_bytes`: not every file says how large it is."""
        return any(file.size == 0 and "://" in file.name for file in self.files)

    @property
    @abstractmethod
    def total_bytes(self) -> int:
        """Bytes that reading all documents reads."""

    def divide(self, number: int) -> tuple[Part, ...]:
        """So many parts or fewer, of about the same size, which together are the whole, in order.

        The same files give the same parts. Raises OptionError for what cannot be divided.
        """
        raise OptionError("parts: expected a corpus of text or of files of token ids")

    def take(self, part: Part) -> None:
        """Be, from now on, one of the parts that `divide` gives."""
        raise NotImplementedError

    @abstractmethod
    def __iter__(self) -> Iterator[DocumentT]:
        """The documents, from the first on."""

    def _skip(self, error: EverygramError) -> None:
        """Leave out what cannot be read, or raise."""
        if self.on_error == "raise":
            raise error
        self.skipped += 1
        if len(self.skips) < SKIPS_LISTED:
            self.skips.append(str(error))


def encode_metadata(record: dict[str, Any]) -> bytes:
    """A record as the index stores it: compact UTF-8 JSON.

    Raises RecursionError for one that is nested too deep for every reader to parse it.
    """
    encoded = ENCODER.encode(record).encode()
    # (What is nested so deep has that many brackets on each side.)
    if len(encoded) > 2 * MOST_NESTED and _depth(encoded) > MOST_NESTED:
        raise RecursionError
    return encoded


def _depth(encoded: bytes) -> int:
    """How deep objects and arrays are nested in JSON; 0 if it has few brackets."""
    if encoded.count(b"[") + encoded.count(b"{") <= MOST_NESTED:
        return 0
    brackets = STRING.sub(b"", encoded).translate(SQUARE, NO_BRACKETS)
    depth = 0
    while brackets:  # the innermost go first
        brackets = brackets.replace(b"[]", b"")
        depth += 1
    return depth


# Metadata may be nested so deep: whoever reads it can parse, print, copy and pickle it.
MOST_NESTED = 300
STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
SQUARE = bytes.maketrans(b"{}", b"[]")
NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
