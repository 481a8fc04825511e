"""A file in, its decompressed bytes out. Only the first bytes decide how a file is compressed.

Reads gzip, zstd, xz and bzip2. Knows nothing of records, except the limit of their size.
"""

import bz2
import io
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO, NamedTuple, Protocol

from everygram.corpus.files import BUFFER, File
from everygram.corpus.not_text import kind_of_data
from everygram.errors import CorpusError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# The suffixes of compressed files, and the first bytes of such files.
PACKED = {
    ".gz": b"\x1f\x8b\x08",
    ".zst": b"\x28\xb5\x2f\xfd",
    ".xz": b"\xfd7zXZ\0",
    ".bz2": b"BZh91AY&SY",
}
# The window (as a power of 2) of zstd files that is allowed for any limit: zstd's own default.
SMALL_WINDOW = 27
# How many times a file may be compressed. (A gzip file that contains itself can be made.)
MOST_LAYERS = 3
# First bytes of a file that are looked at to tell its kind.
HEAD = 512
# Bytes of a long text or line that are read at a time.
PIECE = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Limits in bytes of what reading holds in memory.

    record: of a record, or of a text file. window: of the output that a decoder has to keep.
    """

    record: int = sys.maxsize - 1
    window: int = sys.maxsize - 1


NO_LIMITS = Limits()


@contextmanager
def opened(file: File, limits: Limits = NO_LIMITS) -> Iterator[tuple[BinaryIO, io.BufferedIOBase]]:
    """The file's own bytes, whose position tells the progress, and the decompressed bytes.

    Raises CorpusError for a file that contains no text. Reading raises CorpusError where the data
    is cut off or damaged.
    """
    with file.open() as raw:
        inside: Any = raw
        head = _head(raw)
        if _is_part_of_head(suffixes(file.name)[1], head):
            raise _cut_off(file.name, "compressed", len(head), 0)
        # (Some servers and tools compress a compressed file once more.)
        for _ in range(MOST_LAYERS):
            kind = next((kind for kind in KINDS if kind.begins.match(head)), None)
            if kind is None:
                break
            inside = io.BufferedReader(_Unpacked(file.name, inside, kind, limits.window), BUFFER)
            head = _head(inside)
        _refuse_other_kinds(file.name, head)
        yield raw, inside


def suffixes(name: str) -> tuple[str, str]:
    """The suffix of a file name or an address, and the suffix of its compression.

    Both in lower case, "" for none. `X.JSONL.GZ` and `https://…/x.jsonl.gz?signature=…` have
    `.jsonl` and `.gz`.
    """
    path = PurePosixPath(re.split(r"[?#]", name)[0] if "://" in name else name)
    packed = path.suffix.lower()
    if packed not in PACKED:
        return packed, ""
    return path.with_suffix("").suffix.lower(), packed


def sniffed(file: File) -> str:
    """The suffix that fits the first bytes of a file without a name."""
    with file.open() as raw:
        head = _head(raw)
    for begins, suffix in ((b"PAR1", ".parquet"), (b"ARROW1", ".arrow")):
        if head.startswith(begins):
            return suffix
    try:
        with opened(file) as (_, inside):
            head = _head(inside)
    except CorpusError:  # It is raised again when the file is read.
        return ".txt"
    begin = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    nothing = not begin and len(head) < HEAD
    return ".jsonl" if begin.startswith(b"{") or nothing else ".txt"


def read_whole(file: File, limits: Limits) -> bytearray:
    """The decompressed bytes of a file that is one record.

    Raises CorpusError as soon as there are more than the limit.
    """
    data = bytearray()
    with opened(file, limits) as (_, inside):
        while piece := inside.read(PIECE):
            data += piece
            if len(data) > limits.record:
                raise too_large(file.name, limits)
    return data


def skip_line(lines: io.BufferedIOBase | io.TextIOBase) -> None:
    """Read to the end of a line, in pieces that are not kept."""
    while (piece := lines.readline(PIECE)) and len(piece) == PIECE:
        if piece[-1:] in ("\n", b"\n"):
            return


def too_large(place: str, limits: Limits) -> CorpusError:
    """The error for a record that is larger than the limit."""
    return CorpusError(
        f"{place}: a record of more than {limits.record:,} bytes, the most that is held in memory: "
        "allow more with --max-record (default: a quarter of --memory), or leave it out with "
        "--on-error skip"
    )


class _Stream(Protocol):
    """The decoder of one stream of a compressed file, as bz2, lzma and zstd have it."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Gzip:
    """zlib's decompressor with the interface of the others."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        out = self._stream.decompress(self._stream.unconsumed_tail + data, max_length)
        # (After output that filled max_length, there may be more without more input.)
        self.needs_input = not self._stream.unconsumed_tail and len(out) < max_length
        return out


def _zstd(window: int) -> _Stream:
    parameter = zstd.DecompressionParameter.window_log_max
    largest = parameter.bounds()[1]
    log = min(largest, max(SMALL_WINDOW, window.bit_length() - 1))
    return zstd.ZstdDecompressor(options={parameter: log})


def _xz(window: int) -> _Stream:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, max(window, 1 << SMALL_WINDOW))


class _Kind(NamedTuple):
    """A kind of compression.

    begins: the first bytes of a stream. stream: makes a decoder, given the limit of its window.
    padded: zeros may follow a stream.
    """

    name: str
    suffix: str
    begins: re.Pattern[bytes]
    stream: Callable[[int], _Stream]
    padded: bool = False


KINDS = (
    _Kind("gzip", ".gz", re.compile(rb"\x1f\x8b\x08"), lambda _: _Gzip(), True),
    # (Skippable frames may come first.)
    _Kind("zstd", ".zst", re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), _zstd),
    _Kind("xz", ".xz", re.compile(rb"\xfd7zXZ\0"), _xz, True),
    _Kind(
        "bzip2",
        ".bz2",
        re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"),
        lambda _: bz2.BZ2Decompressor(),
    ),
)

# What the decoders raise. (bzip2's has none of its own.)
ERRORS = (zlib.error, zstd.ZstdError, lzma.LZMAError, OSError, EOFError, ValueError)


class _Unpacked(io.RawIOBase):
    """The decompressed bytes of a file: of all its streams, one after the other.

    The file objects of the libraries read 8 KiB at a time and raise different errors; those for xz
    and bzip2 ignore damaged data after the first stream.
    """

    def __init__(self, name: str, raw: BinaryIO, kind: _Kind, window: int) -> None:
        self._name, self._raw, self._kind, self._window = name, raw, kind, window
        self._stream: _Stream | None = None
        self._packed = self._done = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = b""
        while not data and len(buffer):
            stream, piece = self._next()
            if stream is None:
                break
            try:
                data = stream.decompress(piece, len(buffer))
            except (*ERRORS, MemoryError) as error:
                raise self._wrong(error) from None
        buffer[: len(data)] = data
        self._done += len(data)
        return len(data)

    def _next(self) -> tuple[_Stream | None, bytes]:
        """The decoder to continue with (None at the end), and its next input."""
        stream = self._stream
        if stream is None or stream.eof:
            piece = b"" if stream is None else stream.unused_data
            while True:
                if self._kind.padded:
                    piece = piece.lstrip(b"\0")
                if len(piece) >= HEAD or not (more := self._more()):
                    break
                piece += more
            if not piece:
                return None, b""
            if _is_part_of_head(self._kind.suffix, piece):
                raise _cut_off(self._name, self._kind.name, self._packed, self._done)
            if not self._kind.begins.match(piece):
                raise CorpusError(
                    f"{self._name}: the {self._kind.name} data end before the file does, after "
                    f"{self._done:,} bytes, and what follows is no {self._kind.name}: the file is "
                    "damaged, or something was appended to it; get it again"
                )
            self._stream = stream = self._kind.stream(self._window)
            return stream, piece
        if not stream.needs_input:
            return stream, b""
        piece = self._more()
        if not piece:
            raise _cut_off(self._name, self._kind.name, self._packed, self._done)
        return stream, piece

    def _more(self) -> bytes:
        piece = self._raw.read(BUFFER)
        self._packed += len(piece)
        return piece

    def _wrong(self, error: Exception) -> CorpusError:
        if isinstance(error, MemoryError) or "memory" in str(error).lower():
            return CorpusError(
                f"{self._name}: the {self._kind.name} file needs more memory than there is for its "
                "window (--long=31 needs 2 GiB): allow more with --memory, or compress it again "
                "with a smaller window"
            )
        if "dictionary" in str(error).lower():
            return CorpusError(
                f"{self._name}: the {self._kind.name} file was compressed with a dictionary, and "
                "cannot be read without it: decompress it first, with that dictionary"
            )
        return CorpusError(
            f"{self._name}: the {self._kind.name} data are damaged after {self._done:,} bytes "
            f"unpacked of {self._packed:,} read: get the file again, or pass --on-error skip to "
            f"keep what stands before ({error})"
        )


def _cut_off(name: str, kind: str, packed: int, done: int) -> CorpusError:
    return CorpusError(
        f"{name}: the {kind} file is cut off: it ends after {packed:,} bytes ({done:,} unpacked), "
        "in the middle of its data; get it again, or pass --on-error skip to keep what stands "
        "before"
    )


def _is_part_of_head(suffix: str, head: bytes) -> bool:
    """Whether these are all bytes of a compressed file that is cut off in its first bytes."""
    whole = PACKED.get(suffix, b"")
    return 0 < len(head) < len(whole) and whole.startswith(head[:3])


def _head(raw: Any) -> bytes:
    """The first bytes, without reading past them."""
    return bytes(raw.peek(HEAD)[:HEAD])


def _refuse_other_kinds(name: str, head: bytes) -> None:
    kind = kind_of_data(head)
    if kind is not None:
        raise CorpusError(f"{name}: expected text, found {kind}")
