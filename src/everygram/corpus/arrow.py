"""Tables in, records out: Parquet, Arrow, and data sets of the Hugging Face hub.

Readers as in `records`. pyarrow and datasets are extras, imported when a file needs them.
"""

import io
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from everygram.corpus.decoding import Limits, too_large
from everygram.corpus.files import File
from everygram.corpus.records import Records, raised
from everygram.corpus.values import double, of_column
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
    module = _extra("pyarrow.parquet", "parquet", file)
    with _arrow_errors(file), file.open(in_any_order=True) as raw:
        # (A row group can be gigabytes: it is read a piece at a time.)
        options = {
            "pre_buffer": False,
            "buffer_size": PIECE,
            "thrift_string_size_limit": max(DESCRIPTION, min(limits.record, (1 << 31) - 1)),
        }
        table = module.ParquetFile(raw, **options)
        schema = table.schema
        chosen = _chosen(columns, table.schema_arrow.names, file)
        at_once, num_rows = _rows_at_once(table.metadata, limits), table.metadata.num_rows
        batches = table.iter_batches(at_once, columns=chosen)
        rows = _rows(batches, file, tell, limits, num_rows)
        if all(schema.column(i).physical_type != "INT96" for i in range(len(schema))):
            yield from rows
            return
        # Times of the old kind become nanoseconds, which wrap around outside of 1677 to 2262, or
        # microseconds: of these files both are read.
        with file.open(in_any_order=True) as again:
            table = module.ParquetFile(again, coerce_int96_timestamp_unit="us", **options)
            batches = table.iter_batches(at_once, columns=chosen)
            coarse = _rows(batches, file, lambda done: None, limits)
            for (place, fine), (_, whole) in zip(rows, coarse, strict=True):
                yield place, partial(_fitting, fine, whole)


def _fitting(fine: Callable[[], Any], whole: Callable[[], Any]) -> Any:
    return _times(fine(), whole())


def _times(fine: Any, whole: Any) -> Any:
    """A value with times of nanoseconds, but for those that these cannot hold."""
    match whole:
        case dict():
            return {name: _times(fine[name], value) for name, value in whole.items()}
        case list():
            return [_times(*pair) for pair in zip(fine, whole, strict=True)]
        case str() if not fine.startswith(whole):
            return whole
    return fine


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
        yield from _rows(map(_sound, batches), file, tell, limits, raw=raw)


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
        yield from data_set(rows, file, columns, tell, limits)
    except CorpusError:
        raise
    except Exception as error:  # of the hub, of the network, of each file's reader
        raise CorpusError(f"{file.name}: cannot be loaded: {error}") from None


def data_set(
    rows: Any, file: File, columns: list[str] | None, tell: Callable[[int], None], limits: Limits
) -> Records:
    """The rows of a `datasets` data set that is open."""
    tables = rows.with_format("arrow").iter(batch_size=ROWS)
    yield from _rows(_chosen_of(tables, columns, file), file, tell, limits)


def stream(
    data: Any,
    text_field: str,
    file: File,
    columns: list[str] | None,
    tell: Callable[[int], None],
    limits: Limits,
) -> Records:
    """The rows of what gives an Arrow stream: a table, or a column of the texts alone."""
    pyarrow = _extra("pyarrow", "parquet", file)
    with _arrow_errors(file):
        try:
            if hasattr(data, "__arrow_c_stream__"):
                reader = pyarrow.RecordBatchReader.from_stream(data)
            else:
                reader = [pyarrow.record_batch(data)]
        except pyarrow.ArrowInvalid:
            reader = [pyarrow.table({text_field: pyarrow.chunked_array(data)})]
        except pyarrow.ArrowException:
            raise
        except Exception as error:  # each library has its own
            raise CorpusError(f"{file.name}: gives no table: {error}") from error
        yield from _rows(_chosen_of(reader, columns, file), file, tell, limits)


def _chosen_of(tables: Iterable[Any], columns: list[str] | None, file: File) -> Iterator[Any]:
    """The batches of tables, with those columns that are asked for."""
    for table in tables:
        chosen = _chosen(columns, table.schema.names, file)
        if chosen is not None:
            table = table.select(chosen)
        yield from table.to_batches() if hasattr(table, "to_batches") else [table]


def _sound(batch: Any) -> Any:
    """A batch of a file of buffers, checked: one that points elsewhere must not be read."""
    for column in batch.columns:
        try:
            column.validate(full=True)
        except ValueError as error:
            # What is no UTF-8 is told row by row.
            if "UTF8" not in str(error):
                raise
    return batch


def _rows(
    batches: Iterable[Any],
    file: File,
    tell: Callable[[int], None],
    limits: Limits,
    num_rows: int = 0,
    raw: BinaryIO | None = None,
) -> Records:
    """The rows of Arrow batches as records."""
    row = begin = 0
    for batch in chain.from_iterable(_bounded(batch, limits) for batch in batches):
        end = 0 if raw is None else raw.tell()
        if batch.num_rows == 1 and _row_bytes(batch) > limits.record:
            row += 1
            place = f"{file.name}: row {row:,}"
            yield place, partial(raised, too_large(place, limits))
            continue
        first = row
        for start in range(0, batch.num_rows, ROWS):
            for make in _records(batch.slice(start, ROWS), f"{file.name}: row ", row):
                row += 1
                if num_rows:
                    tell(file.size * row // num_rows)
                elif raw is not None:
                    tell(begin + (end - begin) * (row - first) // batch.num_rows)
                yield f"{file.name}: row {row:,}", make
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


def _records(batch: Any, place: str, before: int) -> Iterator[Callable[[], dict[str, Any]]]:
    """What makes each row of a batch a record; a row that is damaged raises."""
    names = batch.schema.names
    try:
        columns = [of_column(column) for column in batch.columns]
    except _wrong():
        for row in range(batch.num_rows):
            yield partial(_lone_record, batch.slice(row, 1), f"{place}{before + row + 1:,}")
        return
    for values in zip(*columns, strict=True):
        yield partial(dict, zip(names, values, strict=True))


def _lone_record(row: Any, place: str) -> dict[str, Any]:
    """A row of a batch in which some are damaged."""
    record = {}
    for name, column in zip(row.schema.names, row.columns, strict=True):
        try:
            (record[name],) = of_column(column)
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            raise CorpusError(
                f"{place}: not UTF-8: column {name!r} has the byte 0x{byte:02x}"
            ) from None
        except _wrong() as error:
            raise CorpusError(f"{place}: column {name!r} cannot be read: {error}") from None
    return record


def _wrong() -> tuple[type[Exception], ...]:
    """What reading damaged or impossible values raises."""
    arrow_exception: type[Exception] = import_module("pyarrow").ArrowException
    return ValueError, LookupError, OverflowError, arrow_exception


def _chosen(columns: list[str] | None, names: list[str], file: File) -> list[str] | None:
    """Those columns of a table that are asked for, or None for all; each must be there, once."""
    chosen = []
    for field in names if columns is None else columns:
        name = field if field in names else field.partition(".")[0]
        if name not in names:
            raise CorpusError(
                f"{file.name}: no column '{field}'; the table has {', '.join(map(repr, names))}"
            )
        chosen.append(name)
    twice = double([name for name in names if name in chosen])
    if twice is not None:
        raise CorpusError(f"{file.name}: two columns have the name {twice!r}; rename one")
    return None if columns is None else list(dict.fromkeys(chosen))


@contextmanager
def _arrow_errors(file: File) -> Iterator[None]:
    pyarrow = _extra("pyarrow", "parquet", file)
    try:
        yield
    except (
        pyarrow.ArrowException,
        ValueError,
        LookupError,
        OverflowError,
        EOFError,
        OSError,
        MemoryError,
    ) as error:
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
