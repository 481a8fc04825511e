"""Corpus files in, documents out, one at a time and in a fixed order.

`TextCorpus` reads text: JSON lines, CSV and TSV, Parquet, Arrow, plain files, data sets of the hub.
It knows neither tokenizers nor indexes. A document's metadata is what becomes its entry in the
index: the rest of its record, or the path of its file, as UTF-8 JSON.
"""

import csv
import datetime
import gzip
import io
import json
import math
import os
import re
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Literal, cast

import numpy as np

from everygram.corpus.files import File, find_files
from everygram.errors import CorpusError, MissingExtraError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

OnError = Literal["raise", "skip"]
# What a reader gives for a record: its place, and what makes it or raises CorpusError.
Records = Iterator[tuple[str, Callable[[], dict[str, Any]]]]

# Messages kept of what `on_error="skip"` left out; the rest is only counted.
SKIPS_LISTED = 20
# Rows of a table that are held at once, and bytes of a column that are read together.
ROWS, PIECE = 1024, 1 << 20
# Lines between two looks at how far a file is read: each is a call of the system.
TELL_EVERY = 16
COMPRESSED = (".gz", ".zst")
# Text is so many times larger than a compressed file of it.
EXPANDS = {".gz": 3, ".zst": 3, ".parquet": 2}
# A data set of the hub: datasets:NAME[,CONFIG][,split=SPLIT].
HUB = re.compile(r"^datasets:(?P<name>[^,]+)(,(?P<config>[^,=]+))?(,split=(?P<split>[^,]+))?$")
END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


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
    """The documents of files, folders, patterns, addresses (see `files`) and `datasets:NAME`.

    A line of JSON, a row of a CSV, Parquet or Arrow table is a document: `text_field` is its text,
    the rest of the record its metadata. A field `a.b` is b inside a, unless one has that very
    name. `id_field` becomes the metadata's "id"; of the rest only `metadata_fields` are kept, if
    given. Any other file is one document whose metadata is `{"path": …}`, relative to the folder
    that was named; a byte order mark at its start is not text. Blank lines between records are no
    documents. `.gz` and `.zst` are read through.

    Iterating reads the files from the start each time. With `on_error="skip"` what cannot be
    read is counted in `skipped` and the first of it listed in `skips`; otherwise it raises
    CorpusError, naming file and place.
    """

    def __init__(
        self,
        given: Sequence[str | os.PathLike[str]],
        text_field: str = "text",
        on_error: OnError = "raise",
        id_field: str | None = None,
        metadata_fields: Sequence[str] | None = None,
    ) -> None:
        self.text_field = text_field
        self.id_field = id_field
        self.metadata_fields = metadata_fields
        self.on_error = on_error
        self.skipped = 0
        self.skips: list[str] = []
        self.bytes_read = 0
        self.files: list[File] = []
        seen: dict[str, str] = {}
        for name in given:
            if isinstance(name, str) and name.startswith("datasets:"):
                if HUB.match(name) is None:
                    raise CorpusError(
                        f"{name}: expected datasets:NAME, with ,CONFIG and ,split=SPLIT if needed"
                    )
                self.files.append(File(name, name))
            else:
                for file in find_files(name, seen, self._skip):
                    self.files.append(file)
                    if file.name == str(name) and not _is_known(file):
                        raise CorpusError(
                            f"{name}: not a kind of file that is known by its name: expected "
                            ".jsonl, .csv, .tsv, .parquet, .arrow, .txt or .md (.gz and .zst of "
                            "them), or a directory; for raw token ids pass --pretokenized"
                        )
        self._found_twice = list(self.skips)
        self.total_bytes = sum(file.size for file in self.files)

    @property
    def formats(self) -> dict[str, int]:
        """How many files there are of each format."""
        return dict(Counter(_format(file) for file in self.files))

    @property
    def estimated_text_bytes(self) -> int:
        """Size of all text, compressed files taken as a third of what they hold."""
        return sum(
            file.size * EXPANDS.get(PurePosixPath(file.name).suffix, 1) for file in self.files
        )

    def __iter__(self) -> Iterator[TextDocument]:
        self.skips, self.bytes_read = list(self._found_twice), 0
        self.skipped = len(self.skips)
        for file in self.files:
            before = self.bytes_read
            try:
                yield from self._documents(file, before)
            except CorpusError as error:
                self._skip(error)
            except OSError as error:
                self._skip(CorpusError(f"{file.name}: cannot be read: {error.strerror or error}"))
            self.bytes_read = before + file.size

    def _documents(self, file: File, before: int) -> Iterator[TextDocument]:
        reader = READERS.get(_format(file))
        if reader is None:
            yield _text_file(file)
            return

        def tell(done: int) -> None:
            self.bytes_read = before + min(done, file.size)

        for place, make in reader(file, self._columns(), tell):
            try:
                document = self._document(make(), place)
            except CorpusError as error:
                self._skip(error)
            else:
                yield document

    def _columns(self) -> list[str] | None:
        """The fields that are needed of a record, or None for all."""
        if self.metadata_fields is None:
            return None
        identity = [] if self.id_field is None else [self.id_field]
        return [self.text_field, *identity, *self.metadata_fields]

    def _document(self, record: dict[str, Any], place: str) -> TextDocument:
        text = _taken(record, self.text_field, place, "name the text with --text-field")
        if not isinstance(text, str):
            raise CorpusError(
                f"{place}: field '{self.text_field}': expected a string, found {_json_type(text)}"
            )
        metadata = record
        identity = None
        if self.id_field is not None:
            identity = _taken(record, self.id_field, place, "name it with --id-field")
            if isinstance(identity, bool) or not isinstance(identity, str | int):
                raise CorpusError(
                    f"{place}: field '{self.id_field}': expected a string or an integer as id, "
                    f"found {_json_type(identity)}"
                )
        if self.metadata_fields is not None:
            metadata = {}
            for field in self.metadata_fields:
                _keep(record, field, metadata)
        if self.id_field is not None:
            metadata = {"id": identity} | {k: v for k, v in metadata.items() if k != "id"}
        try:
            text.encode()
            return TextDocument(text, encode_metadata(metadata))
        except UnicodeEncodeError as error:
            raise CorpusError(
                f"{place}: a lone surrogate ({error.object[error.start]!r}) is no Unicode character"
            ) from None

    def _skip(self, error: CorpusError) -> None:
        if self.on_error == "raise":
            raise error
        self.skipped += 1
        if len(self.skips) < SKIPS_LISTED:
            self.skips.append(str(error))


def encode_metadata(record: dict[str, Any]) -> bytes:
    """A record as the index stores it: compact UTF-8 JSON."""
    return ENCODER.encode(record).encode()


def _taken(record: dict[str, Any], field: str, place: str, hint: str) -> Any:
    """The value of a field, which is taken out of the record."""
    holder, name = _holder(record, field)
    if holder is None:
        raise CorpusError(
            f"{place}: no field '{field}'; the record has "
            f"{', '.join(map(repr, record)) or 'no fields'}; {hint}"
        )
    return holder.pop(name)


def _holder(record: dict[str, Any], field: str) -> tuple[dict[str, Any] | None, str]:
    """The object that has a field, and its name there; None if there is none."""
    if field in record:
        return record, field
    *outer, name = field.split(".")
    inside: Any = record
    for part in outer:
        inside = inside.get(part) if isinstance(inside, dict) else None
    return (inside, name) if isinstance(inside, dict) and name in inside else (None, name)


def _keep(record: dict[str, Any], field: str, kept: dict[str, Any]) -> None:
    """Copy a field, where it stands, if the record has it."""
    holder, name = _holder(record, field)
    if holder is not None:
        if holder is not record:
            for part in field.split(".")[:-1]:
                kept = kept.setdefault(part, {})
        kept[name] = holder[name]


def _format(file: File) -> str:
    """The format of a file, by its name."""
    if file.name.startswith("datasets:"):
        return "hub"
    name = PurePosixPath(file.name.partition("?")[0] if "://" in file.name else file.name)
    compressed = name.suffix.lower() in COMPRESSED
    suffix = (name.with_suffix("") if compressed else name).suffix.lower()
    if suffix == ".json" and compressed:  # of C4 and Dolma
        return "JSON lines"
    return FORMATS.get(suffix, "text")


def _is_known(file: File) -> bool:
    """Whether a file that was named itself is one of text."""
    if _format(file) != "text":
        return True
    name = file.name.partition("?")[0].lower()
    for suffix in COMPRESSED:
        name = name.removesuffix(suffix)
    return name.endswith((".txt", ".md", ".markdown", ".rst", ".text"))


@contextmanager
def _opened(file: File) -> Iterator[tuple[BinaryIO, io.BufferedIOBase]]:
    """A file, and the bytes in it where it is compressed."""
    with file.open() as raw:
        if file.name.endswith(".gz"):
            yield raw, cast(io.BufferedIOBase, gzip.GzipFile(fileobj=raw))
        elif file.name.endswith(".zst"):
            yield raw, cast(io.BufferedIOBase, zstd.ZstdFile(raw))
        else:
            yield raw, cast(io.BufferedIOBase, raw)


CUT_OFF = (EOFError, gzip.BadGzipFile, zstd.ZstdError, zlib.error)


def _cut_off(place: str, error: Exception) -> CorpusError:
    return CorpusError(f"{place}: the compressed file is cut off or damaged here: {error}")


def _text_file(file: File) -> TextDocument:
    try:
        with _opened(file) as (_, inside):
            data = inside.read()
    except CUT_OFF as error:
        raise _cut_off(file.name, error) from None
    try:
        return TextDocument(data.decode("utf-8-sig"), encode_metadata({"path": file.relative}))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CorpusError(
            f"{file.name}:{line}: not UTF-8: byte {error.start + 1:,} of the file is "
            f"0x{data[error.start]:02x}; leave the file out, or pass --on-error skip"
        ) from None
    except UnicodeEncodeError:
        raise CorpusError(f"{file.name}: the file's name is not UTF-8; rename it") from None


def _json_lines(file: File, columns: list[str] | None, tell: Callable[[int], None]) -> Records:
    with _opened(file) as (raw, lines):
        number = 0
        while True:
            number += 1
            place = f"{file.name}:{number}"
            try:
                line = lines.readline()
            except CUT_OFF as error:
                raise _cut_off(place, error) from None
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
            f"{place}: expected a JSON object, found {_json_type(record)}: {line[:60]!r}"
        )
    return record


def _table(
    delimiter: str, file: File, columns: list[str] | None, tell: Callable[[int], None]
) -> Records:
    """The rows of a CSV or TSV file under its first, which names the columns."""
    csv.field_size_limit(sys.maxsize)
    with _opened(file) as (raw, inside):
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
                raise _cut_off(place, error) from None
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


def _parquet(file: File, columns: list[str] | None, tell: Callable[[int], None]) -> Records:
    with _arrow_errors(file), file.open() as raw:
        # (A row group can be gigabytes: it is read a piece at a time.)
        module = _extra("pyarrow.parquet", "parquet", file)
        parquet = module.ParquetFile(raw, pre_buffer=False, buffer_size=PIECE)
        names = parquet.schema_arrow.names
        chosen = _chosen(columns, names, file)
        batches = parquet.iter_batches(batch_size=ROWS, columns=chosen)
        yield from _rows(batches, file, tell, parquet.metadata.num_rows)


def _arrow(file: File, columns: list[str] | None, tell: Callable[[int], None]) -> Records:
    ipc = _extra("pyarrow.ipc", "parquet", file)
    with _arrow_errors(file), file.open() as raw:
        if raw.read(6) == b"ARROW1":
            reader = ipc.open_file(raw)
            batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
        else:
            # A stream that is cut between two batches would seem to end there.
            raw.seek(max(0, file.size - len(END_OF_STREAM)))
            if raw.read() != END_OF_STREAM:
                raise CorpusError(f"{file.name}: not an Arrow file, or cut off: it has no end mark")
            raw.seek(0)
            reader = ipc.open_stream(raw)
            batches = iter(reader)
        chosen = _chosen(columns, reader.schema.names, file)
        if chosen is not None:
            batches = (batch.select(chosen) for batch in batches)
        yield from _rows(batches, file, tell, 0, raw)


def _hub(file: File, columns: list[str] | None, tell: Callable[[int], None]) -> Records:
    """A data set of the hub, by name, as `datasets` streams it."""
    datasets = _extra("datasets", "datasets", file)
    named = HUB.match(file.name)
    assert named is not None
    split = named["split"] or "train"
    try:
        rows = datasets.load_dataset(named["name"], named["config"], split=split, streaming=True)
        batches = rows.with_format("arrow").iter(batch_size=ROWS)
        chosen: list[str] | None = None
        for number, table in enumerate(batches):
            if number == 0:
                chosen = _chosen(columns, table.column_names, file)
            if chosen is not None:
                table = table.select(chosen)
            yield from _rows([table], file, tell, 0, first=number * ROWS)
    except CorpusError:
        raise
    except Exception as error:  # of the hub, of the network, of each file's reader
        raise CorpusError(f"{file.name}: cannot be loaded: {error}") from None


def _rows(
    batches: Iterable[Any],
    file: File,
    tell: Callable[[int], None],
    num_rows: int,
    raw: BinaryIO | None = None,
    first: int = 0,
) -> Records:
    """The rows of Arrow batches as records."""
    for batch in batches:
        if raw is not None:
            tell(raw.tell())
        for row, record in enumerate(_to_records(batch), first + 1):
            if num_rows:
                tell(file.size * row // num_rows)
            yield f"{file.name}: row {row:,}", partial(_plain_record, record)
        first += batch.num_rows


def _to_records(batch: Any) -> list[dict[str, Any]]:
    # Times of nanoseconds are no objects of Python's: they are kept as they read.
    for i, column in enumerate(batch.schema):
        if str(column.type).startswith(("timestamp", "duration")):
            batch = batch.set_column(i, column.name, batch.column(i).cast("string"))
    return cast(list[dict[str, Any]], batch.to_pylist())


def _chosen(columns: list[str] | None, names: list[str], file: File) -> list[str] | None:
    """Those columns of a table that are asked for, or None for all; each must be there."""
    if columns is None:
        return None
    chosen = []
    for field in columns:
        name = field if field in names else field.partition(".")[0]
        if name not in names:
            raise CorpusError(
                f"{file.name}: no column '{field}'; the table has {', '.join(map(repr, names))}"
            )
        chosen.append(name)
    return list(dict.fromkeys(chosen))


@contextmanager
def _arrow_errors(file: File) -> Iterator[None]:
    pyarrow = _extra("pyarrow", "parquet", file)
    try:
        yield
    except (pyarrow.ArrowException, EOFError) as error:
        raise CorpusError(f"{file.name}: damaged, cut off, or of another format: {error}") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise CorpusError(f"{file.name}: damaged or cut off: {error}") from None


def _extra(module: str, extra: str, file: File) -> Any:
    """A module that an extra brings."""
    try:
        return import_module(module)
    except ImportError:
        raise MissingExtraError(
            f"{file.name}: reading it needs the extra: pip install 'everygram[{extra}]'"
        ) from None


def _plain_record(record: dict[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in record.items()}


def _plain(value: Any) -> Any:
    """A value of a table as JSON has it: times and decimals as text, what is no number as null."""
    match value:
        case None | str() | int():
            return value
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {str(name): _plain(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case bytes():
            return value.decode(errors="backslashreplace")
        case datetime.date() | datetime.time():
            return value.isoformat()
        case _:
            return str(value)


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


def _json_type(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}
    return "null" if value is None else names.get(type(value), "a number")


# json, not a faster reader: those make floats of integers past 64 bits. (Made once: that takes as
# long as a short record.)
DECODER = json.JSONDecoder(parse_constant=_finite, parse_float=_finite, object_pairs_hook=_distinct)
ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)

FORMATS = {
    ".jsonl": "JSON lines",
    ".ndjson": "JSON lines",
    ".csv": "CSV",
    ".tsv": "TSV",
    ".parquet": "Parquet",
    ".arrow": "Arrow",
}
READERS: dict[str, Callable[[File, list[str] | None, Callable[[int], None]], Records]] = {
    "JSON lines": _json_lines,
    "CSV": partial(_table, ","),
    "TSV": partial(_table, "\t"),
    "Parquet": _parquet,
    "Arrow": _arrow,
    "hub": _hub,
}
