"""Corpus files in, documents out, one at a time and in a fixed order.

`TextCorpus` reads JSON lines and text files, `TokenCorpus` raw files of token ids. Neither knows
tokenizers or indexes. A document's metadata is what becomes its entry in the index: the rest of
its JSON record, or the path of its file, as UTF-8 JSON.
"""

import gzip
import io
import json
import math
import os
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from everygram.errors import CorpusError
from everygram.format import TOKEN_DTYPES

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

JSON_LINES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
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


class TextCorpus:
    """JSON lines (`.jsonl`, `.jsonl.gz`, `.jsonl.zst`), `.txt` files, and directories of files.

    A line of JSON is a document: `text_field` is its text, the rest of the record its metadata.
    Any other file is one document whose metadata is `{"path": …}`, relative to the directory
    given. Directories are read in sorted order, links followed, JSON lines in them as such; names
    that start with a dot are passed over. Blank lines between records are not documents; a byte
    order mark at a file's start is not text.

    Iterating reads the files from the start each time. With `on_error="skip"` what cannot be
    read is counted in `skipped` and the first of it listed in `skips`; otherwise it raises
    CorpusError, naming file and place.
    """

    def __init__(
        self, paths: list[Path], text_field: str = "text", on_error: OnError = "raise"
    ) -> None:
        self.text_field = text_field
        self.on_error = on_error
        self.skipped = 0
        self.skips: list[str] = []
        self.bytes_read = 0
        self._files = list(_text_files(paths))
        self.total_bytes = sum(_size(path) for path, _ in self._files)

    @property
    def files(self) -> list[Path]:
        """The files that are read, in order."""
        return [path for path, _ in self._files]

    @property
    def estimated_text_bytes(self) -> int:
        """Size of all text, compressed files taken as a third of what they hold."""
        return sum(
            _size(path) * (3 if path.suffix in (".gz", ".zst") else 1) for path, _ in self._files
        )

    def __iter__(self) -> Iterator[TextDocument]:
        self.skipped, self.skips, self.bytes_read = 0, [], 0
        for path, relative in self._files:
            before = self.bytes_read
            try:
                if not path.is_file():
                    # A broken link, a pipe, a folder that cannot be listed.
                    raise CorpusError(f"{path}: not a regular file, or not to be read")
                if path.name.endswith(JSON_LINES):
                    yield from self._json_lines(path)
                else:
                    yield self._text_file(path, relative)
            except CorpusError as error:
                self._skip(error)
            except OSError as error:
                self._skip(CorpusError(f"{path}: cannot be read: {error.strerror or error}"))
            self.bytes_read = before + _size(path)

    def _json_lines(self, path: Path) -> Iterator[TextDocument]:
        before = self.bytes_read
        number = 0
        with path.open("rb") as raw, _lines(raw, path) as lines:
            while True:
                number += 1
                try:
                    line = lines.readline()
                except (EOFError, gzip.BadGzipFile, zstd.ZstdError, zlib.error) as error:
                    raise CorpusError(
                        f"{path}:{number}: the compressed file is cut off or damaged here: {error}"
                    ) from None
                if not line:
                    return
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if line.isspace():
                    continue
                self.bytes_read = before + raw.tell()
                try:
                    document = self._record(line, f"{path}:{number}")
                except CorpusError as error:
                    self._skip(error)
                else:
                    yield document

    def _record(self, line: bytes, place: str) -> TextDocument:
        # json, not a faster reader: those make floats of integers past 64 bits.
        try:
            record = json.loads(
                line.decode(),
                parse_constant=_finite,
                parse_float=_finite,
                object_pairs_hook=_distinct,
            )
        except UnicodeDecodeError as error:
            raise CorpusError(
                f"{place}: not UTF-8: byte {error.start + 1} of the line is "
                f"0x{line[error.start]:02x}"
            ) from None
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"{place}: not a JSON record: {error}") from None
        if not isinstance(record, dict):
            raise CorpusError(
                f"{place}: expected a JSON object, found {_json_type(record)}: {line[:60]!r}"
            )
        if self.text_field not in record:
            raise CorpusError(
                f"{place}: no field '{self.text_field}'; the record has "
                f"{', '.join(map(repr, record)) or 'no fields'}; name the text with --text-field"
            )
        text = record.pop(self.text_field)
        if not isinstance(text, str):
            raise CorpusError(
                f"{place}: field '{self.text_field}': expected a string, found {_json_type(text)}"
            )
        try:
            text.encode()
            return TextDocument(text, encode_metadata(record))
        except UnicodeEncodeError as error:
            raise CorpusError(
                f"{place}: a lone surrogate ({error.object[error.start]!r}) is no Unicode character"
            ) from None

    def _text_file(self, path: Path, relative: str) -> TextDocument:
        data = path.read_bytes()
        try:
            return TextDocument(data.decode("utf-8-sig"), encode_metadata({"path": relative}))
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise CorpusError(
                f"{path}:{line}: not UTF-8: byte {error.start + 1:,} of the file is "
                f"0x{data[error.start]:02x}; leave the file out, or pass --on-error skip"
            ) from None
        except UnicodeEncodeError:
            raise CorpusError(f"{path}: the file's name is not UTF-8; rename it") from None

    def _skip(self, error: CorpusError) -> None:
        if self.on_error == "raise":
            raise error
        self.skipped += 1
        if len(self.skips) < SKIPS_LISTED:
            self.skips.append(str(error))


class TokenCorpus:
    """Raw files of little-endian token ids, documents marked by a separator id.

    In a file that starts with the separator id, each one starts a document (infini-gram's
    `tokenized.N`); otherwise each one ends a document (nanoGPT's `.bin`), and so does the end of
    the file. A document's metadata is `{"path": name of its file}`.

    Raises CorpusError for a file whose size is no whole number of tokens, or that cannot be read.
    """

    # Tokens read at a time.
    CHUNK = 1 << 22

    def __init__(self, paths: list[Path], dtype: str, separator_id: int) -> None:
        self._dtype = TOKEN_DTYPES[dtype]
        self._separator_id = separator_id
        self.skipped = 0
        self.skips: list[str] = []
        self.bytes_read = 0
        for path in paths:
            if not path.is_file():
                raise CorpusError(f"{path}: expected a file of {dtype} token ids, found none")
            size = path.stat().st_size
            if size % self._dtype.itemsize:
                raise CorpusError(
                    f"{path}: {size:,} bytes is not a whole number of {dtype} tokens "
                    f"({self._dtype.itemsize} bytes each): cut off, or another dtype?"
                )
        self.files = paths
        self.total_bytes = sum(path.stat().st_size for path in paths)

    def max_id(self) -> int:
        """The largest id that is not the separator id; -1 if there is none. Reads every file."""
        largest = -1
        for path in self.files:
            for chunk in self._chunks(path):
                ids = chunk[chunk != self._separator_id]
                largest = max(largest, int(ids.max(initial=0)) if ids.size else -1)
        return largest

    def place_of_id_above(self, limit: int) -> str:
        """File and token number of the first id above `limit`, the separator id aside."""
        for path in self.files:
            before = 0
            for chunk in self._chunks(path):
                bad = np.flatnonzero((chunk > limit) & (chunk != self._separator_id))
                if bad.size:
                    return f"{path}: token {before + int(bad[0]):,} is {int(chunk[bad[0]]):,}"
                before += chunk.size
        raise ValueError(f"no id is above {limit}")

    def __iter__(self) -> Iterator[TokenDocument]:
        self.bytes_read = 0
        for path in self.files:
            metadata = encode_metadata({"path": path.name})
            pieces: list[np.ndarray] | None = None  # of the open document, if one is open
            starts_documents = False
            for number, chunk in enumerate(self._chunks(path)):
                if number == 0 and chunk[0] == self._separator_id:
                    starts_documents = True
                    pieces = []
                    chunk = chunk[1:]
                begin = 0
                for end in np.flatnonzero(chunk == self._separator_id).tolist():
                    yield TokenDocument(
                        np.concatenate([*(pieces or ()), chunk[begin:end]]), metadata
                    )
                    pieces = [] if starts_documents else None
                    begin = end + 1
                if begin < chunk.size:
                    pieces = [*(pieces or ()), chunk[begin:]]
                self.bytes_read += chunk.nbytes
            if pieces is not None:
                yield TokenDocument(np.concatenate([chunk[:0], *pieces]), metadata)

    def _chunks(self, path: Path) -> Iterator[np.ndarray]:
        with path.open("rb") as file:
            while data := self._read(file, path):
                yield np.frombuffer(data, self._dtype)

    def _read(self, file: io.BufferedReader, path: Path) -> bytes:
        try:
            return file.read(self.CHUNK * self._dtype.itemsize)
        except OSError as error:
            raise CorpusError(f"{path}: cannot be read: {error.strerror or error}") from None


def encode_metadata(record: dict[str, Any]) -> bytes:
    """A record as the index stores it: compact UTF-8 JSON."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _text_files(paths: list[Path]) -> Iterator[tuple[Path, str]]:
    """Every file to read, with the path its metadata gives."""
    for given in paths:
        if given.is_dir():
            files = list(_files_below(given))
            if not files:
                raise CorpusError(f"{given}: the directory has no files to read")
            for path in files:
                yield path, path.relative_to(given).as_posix()
        elif not given.exists():
            raise CorpusError(f"{given}: no such file or directory")
        elif given.name.endswith((*JSON_LINES, ".txt")):
            yield given, given.name
        else:
            raise CorpusError(
                f"{given}: expected {', '.join(JSON_LINES)}, .txt or a directory; for raw token "
                "ids pass --pretokenized"
            )


def _files_below(given: Path) -> Iterator[Path]:
    """Files in sorted order, links to folders followed once each, dotted names passed over.

    A folder that cannot be listed stands for itself, so that reading it is an error.
    """
    unlisted: list[Path] = []
    seen: set[str] = set()
    walk = os.walk(
        given, followlinks=True, onerror=lambda error: unlisted.append(Path(error.filename))
    )
    for folder, folders, names in walk:
        if os.path.realpath(folder) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(folder))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(folder, name)
    yield from unlisted


def _lines(raw: io.BufferedReader, path: Path) -> io.BufferedIOBase:
    if path.suffix == ".gz":
        return gzip.GzipFile(fileobj=raw)
    if path.suffix == ".zst":
        return zstd.ZstdFile(raw)
    return raw


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


def _size(path: Path) -> int:
    """Bytes of a file; 0 when it cannot be asked, which reading it will report."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _json_type(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}
    return "null" if value is None else names.get(type(value), "a number")
