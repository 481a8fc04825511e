"""Tables in, records out: Parquet, Arrow, and data sets of the Hugging Face hub.

Readers as in `records`. pyarrow and datasets are extras, imported when a file needs them.
"""

import datetime
import io
import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, cast

from everygram.corpus.decoding import Limits, too_large
from everygram.corpus.files import File
from everygram.corpus.records import Records, raised
from everygram.errors import CorpusError, MissingExtraError
from everygram.hub import hub_missing

# Rows of a table that are held at once, and bytes of a column that are read together.
ROWS, PIECE = 1024, 1 << 20
# Bytes of a Parquet file's metadata that are read for any limit: pyarrow's default.
DESCRIPTION = 100_000_000
# A data set of the hub: datasets:NAME[,CONFIG][,split=SPLIT].
HUB = re.compile(r"^datasets:(?P<name>[^,]+)(,(?P<config>[^,=]+))?(,split=(?P<split>[^,]+))?$")
END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


def parquet(
    file: File, columns: list[str] | None, tell: Callable[[int], None], limits: Limits
) -> Records:
    with _arrow_errors(file), file.open(in_any_order=True) as raw:
        # (A row group can be gigabytes: it is read a piece at a time.)
        module = _extra("pyarrow.parquet", "parquet", file)
        parquet = module.ParquetFile(
            raw,
            pre_buffer=False,
            buffer_size=PIECE,
            thrift_string_size_limit=max(DESCRIPTION, min(limits.record, (1 << 31) - 1)),
        )
        names = parquet.schema_arrow.names
        chosen = _chosen(columns, names, file)
        rows = _rows_at_once(parquet.metadata, limits)
        batches = parquet.iter_batches(batch_size=rows, columns=chosen)
        yield from _rows(batches, file, tell, limits, parquet.metadata.num_rows)


def arrow(
    file: File, columns: list[str] | None, tell: Callable[[int], None], limits: Limits
) -> Records:
    ipc = _extra("pyarrow.ipc", "parquet", file)
    with _arrow_errors(file), file.open(in_any_order=True) as raw:
        if raw.read(6) == b"ARROW1":
            reader = ipc.open_file(raw)
            batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
        else:
            # A stream that is cut between two batches would seem to end there.
            raw.seek(max(0, raw.seek(0, io.SEEK_END) - len(END_OF_STREAM)))
            if raw.read() != END_OF_STREAM:
                raise CorpusError(
                    f"{file.name}: not an Arrow file, or cut off: it has no end mark; get it "
                    "again, or write it again (with a close() of its writer, in no legacy format)"
                )
            raw.seek(0)
            reader = ipc.open_stream(raw)
            batches = iter(reader)
        chosen = _chosen(columns, reader.schema.names, file)
        if chosen is not None:
            batches = (batch.select(chosen) for batch in batches)
        yield from _rows(batches, file, tell, limits, 0, raw)


def hub(
    file: File, columns: list[str] | None, tell: Callable[[int], None], limits: Limits
) -> Records:
    """A data set of the hub, by name, as `datasets` streams it."""
    datasets = _extra("datasets", "datasets", file)
    named = HUB.match(file.name)
    assert named is not None
    # (A folder of that name is taken for it.)
    if not Path(named["name"]).is_dir() and (missing := hub_missing()):
        raise CorpusError(f"{file.name}: {missing}")
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
            yield from _rows(table.to_batches(), file, tell, limits, 0, first=number * ROWS)
    except CorpusError:
        raise
    except Exception as error:  # of the hub, of the network, of each file's reader
        raise CorpusError(f"{file.name}: cannot be loaded: {error}") from None


def _rows(
    batches: Iterable[Any],
    file: File,
    tell: Callable[[int], None],
    limits: Limits,
    num_rows: int,
    raw: BinaryIO | None = None,
    first: int = 0,
) -> Records:
    """The rows of Arrow batches as records."""
    begin = 0
    for batch in chain.from_iterable(_bounded(batch, limits) for batch in batches):
        end = 0 if raw is None else raw.tell()
        if batch.num_rows == 1 and _row_bytes(batch) > limits.record:
            place = f"{file.name}: row {first + 1:,}"
            yield place, partial(raised, too_large(place, limits))
            first += 1
            continue
        for row, record in enumerate(_to_records(batch), first + 1):
            if num_rows:
                tell(file.size * row // num_rows)
            elif raw is not None:
                tell(begin + (end - begin) * (row - first) // batch.num_rows)
            yield f"{file.name}: row {row:,}", partial(_plain_record, record)
        first += batch.num_rows
        begin = end


def _rows_at_once(metadata: Any, limits: Limits) -> int:
    """The number of rows of a Parquet file to read at once: fewer if rows are long."""
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    row = max((group.total_byte_size // max(1, group.num_rows) for group in groups), default=0)
    return max(1, min(ROWS, limits.record // max(1, row)))


def _bounded(batch: Any, limits: Limits) -> Iterator[Any]:
    """A batch in pieces within the limit; a row that is larger is a piece alone."""
    start, held = 0, 0
    if batch.nbytes > limits.record:
        for row in range(batch.num_rows):
            size = _row_bytes(batch.slice(row, 1))
            if held + size > limits.record and row > start:
                yield batch.slice(start, row - start)
                start, held = row, 0
            held += size
    yield batch.slice(start)


def _row_bytes(row: Any) -> int:
    """The size of the values of a batch of one row, in bytes."""
    size = 0
    for column in row.columns:
        # (Arrow counts all of a buffer that several rows share.)
        if hasattr(column, "dictionary_decode"):
            column = column.dictionary_decode()
        elif str(column.type).endswith("_view"):
            column = column.cast("large_" + str(column.type).removesuffix("_view"))
        size += column.nbytes
    return size


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
    except (pyarrow.ArrowException, EOFError, OSError, MemoryError) as error:
        if getattr(error, "errno", None) is not None:
            raise
        raise CorpusError(f"{file.name}: {_what_is_wrong(error)}") from None


def _what_is_wrong(error: Exception) -> str:
    """What is wrong with a file that pyarrow does not read, and what to do."""
    said = str(error)
    if isinstance(error, MemoryError):
        return f"there is not enough memory to unpack it: write it with smaller row groups ({said})"
    if isinstance(error, NotImplementedError):
        return f"pyarrow does not read this: {said}; write the file again without it"
    if "encrypt" in said.lower():
        return f"encrypted: decrypt it first ({said})"
    if "size limit" in said:
        return f"its description is larger than pyarrow reads: {said}; write it with less metadata"
    return f"damaged, cut off, or of another format: get it again, or write it again ({said})"


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
