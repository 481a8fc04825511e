"""Values of tables and of programs, as JSON has them: one way of printing, at any depth.

Text, integers, finite floats, booleans, lists and objects are themselves. The rest becomes text
that loses nothing: `2024-05-06 07:08:09.000001` (times with a zone in UTC, with a Z), `2024-05-06`,
`07:08:09.000001`, `PT1.500000S`, `1.10`, bytes as UTF-8 with `\\xff` for what is none. A map is a
list of pairs: its keys need be neither text nor distinct. What is no number is null.
"""

import datetime
import decimal
import math
import os
import uuid
from collections import Counter
from collections.abc import Mapping
from importlib import import_module
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

# Digits of a second's fraction, by the unit of a time.
DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}


def of_object(value: Any) -> Any:
    """A value of Python's. Raises ValueError for what has no place in JSON."""
    match value:
        case None | str() | bool():
            return value
        case int():
            return int(value)
        case float():
            return float(value) if math.isfinite(value) else None
        case Mapping():
            return {_name(name): of_object(inner) for name, inner in value.items()}
        case list() | tuple():
            return [of_object(inner) for inner in value]
        case bytes() | bytearray():
            return _bytes(bytes(value))
        case decimal.Decimal():
            return format(value, "f") if value.is_finite() else None
        case datetime.datetime():
            return _moment(value)
        case datetime.date():
            return value.isoformat()
        case datetime.time() if value.tzinfo is None:
            return value.isoformat("microseconds")
        case datetime.timedelta():
            whole = value // datetime.timedelta(microseconds=1)
            return _duration(whole, 6) if value == value else None
        case np.datetime64():
            return None if np.isnat(value) else str(value).replace("T", " ")
        case np.ndarray() | np.generic() if value.dtype.kind in "biufUO":
            return of_object(value.tolist())
        case uuid.UUID() | os.PathLike():
            return str(value)
    raise ValueError(f"expected a value that JSON has, found {type(value).__name__}")


def of_column(column: Any) -> list[Any]:
    """The values of an Arrow array, or of a part of one.

    Raises ValueError (UnicodeDecodeError is one) if one of them is damaged, or for a type that has
    no place in JSON.
    """
    types, kind = import_module("pyarrow").types, column.type
    if types.is_floating(kind):
        return [_finite(value) for value in column.to_pylist()]
    if types.is_dictionary(kind):
        coded = column.dictionary
        if str(coded.type) in ("string_view", "binary_view"):  # of which pyarrow takes none
            coded = coded.cast(str(coded.type).removesuffix("_view"))
        return of_column(coded.take(column.indices))
    if types.is_run_end_encoded(kind):
        return of_column(import_module("pyarrow.compute").run_end_decode(column))
    if types.is_struct(kind):
        return _structs(column)
    if types.is_nested(kind) and not types.is_union(kind):
        return _lists(column)
    if types.is_timestamp(kind):
        # (What a zone's clocks show depends on the system's list of zones.)
        zone = "" if kind.tz is None else "Z"
        naive = column.view(import_module("pyarrow").timestamp(kind.unit))
        return [value if value is None else value + zone for value in _printed(naive)]
    if types.is_date(kind) or types.is_time(kind):
        return _printed(column)
    for belongs, convert in (
        (types.is_duration, lambda value: _duration(value, DIGITS[kind.unit])),
        (types.is_decimal, lambda value: format(value, "f")),
        (types.is_interval, _interval),
        (_is_bytes, _bytes),
    ):
        if belongs(kind):
            whole = column.view("int64") if types.is_duration(kind) else column
            return [value if value is None else convert(value) for value in whole.to_pylist()]
    if isinstance(kind, import_module("pyarrow").BaseExtensionType):
        return _extension(column)
    if types.is_union(kind):
        return _union(column)
    if types.is_null(kind) or types.is_boolean(kind) or types.is_integer(kind) or _is_text(kind):
        values: list[Any] = column.to_pylist()
        return values
    raise ValueError(f"expected a type that JSON has a place for, found {kind}")


def _is_text(kind: Any) -> bool:
    return str(kind) in ("string", "large_string", "string_view")


def _is_bytes(kind: Any) -> bool:
    return str(kind).startswith(("binary", "large_binary", "fixed_size_binary"))


def _structs(column: Any) -> list[Any]:
    kind = column.type
    names = [kind.field(i).name for i in range(kind.num_fields)]
    if (twice := double(names)) is not None:
        raise ValueError(f"two fields of a struct have the name {twice!r}")
    fields = [of_column(field) for field in column.flatten()]
    return [
        dict(zip(names, values, strict=True)) if valid else None
        for valid, *values in zip(column.is_valid().to_pylist(), *fields, strict=True)
    ]


def _lists(column: Any) -> list[Any]:
    """Lists of any kind, and maps."""
    types, kind = import_module("pyarrow").types, column.type
    valid = column.is_valid().to_pylist()
    if types.is_map(kind) or types.is_list(kind) or types.is_large_list(kind):
        offsets = column.offsets.to_pylist() or [0]
        first, length = offsets[0], offsets[-1] - offsets[0]
        if types.is_map(kind):
            parts = (of_column(part.slice(first, length)) for part in (column.keys, column.items))
            values = [[key, value] for key, value in zip(*parts, strict=True)]
        else:
            values = of_column(column.values.slice(first, length))
        bounds = [(start - first, end - first) for start, end in pairwise(offsets)]
    else:
        values = of_column(column.flatten())  # without those under nulls
        fixed = types.is_fixed_size_list(kind)
        lengths = [kind.list_size] * len(column) if fixed else column.sizes.to_pylist()
        ends = [*accumulate(n if here else 0 for n, here in zip(lengths, valid, strict=True))]
        bounds = list(pairwise([0, *ends]))
    return [
        values[start:end] if here else None
        for here, (start, end) in zip(valid, bounds, strict=True)
    ]


def _union(column: Any) -> list[Any]:
    kind = column.type
    fields = [of_column(column.field(i)) for i in range(kind.num_fields)]
    places = {code: place for place, code in enumerate(kind.type_codes)}
    rows = column.offsets.to_pylist() if kind.mode == "dense" else range(len(column))
    codes = column.type_codes.to_pylist()
    return [fields[places[code]][row] for code, row in zip(codes, rows, strict=True)]


def _extension(column: Any) -> list[Any]:
    name, stored = column.type.extension_name, column.storage
    if name == "arrow.uuid":
        return [value and str(uuid.UUID(bytes=value)) for value in stored.to_pylist()]
    if name == "arrow.bool8":
        return [value if value is None else bool(value) for value in stored.to_pylist()]
    return of_column(stored)


def double(names: list[str]) -> str | None:
    """A name that stands twice: one value would hide the other."""
    return next((name for name, times in Counter(names).items() if times > 1), None)


def _printed(column: Any) -> list[str | None]:
    printed: list[str | None] = column.cast("string").to_pylist()
    return printed


def _finite(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise ValueError(f"expected a string as a field's name, found {name!r}")
    return name


class NotText(str):
    """How bytes print that are no UTF-8."""


def _bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return NotText(value.decode(errors="backslashreplace"))


def _moment(value: datetime.datetime) -> str | None:
    if value != value:  # NaT of pandas
        return None
    zone = ""
    if value.tzinfo is not None:
        value, zone = value.astimezone(datetime.UTC).replace(tzinfo=None), "Z"
    # (Times of pandas are times of Python with more digits.)
    more = f"{value.nanosecond:03}" if hasattr(value, "nanosecond") else ""
    moment = datetime.datetime.isoformat(value, " ", "microseconds")
    return moment + more + zone


def _duration(value: int, digits: int) -> str:
    seconds, rest = divmod(abs(value), 10**digits)
    fraction = f".{rest:0{digits}}" if digits else ""
    return f"{'-' if value < 0 else ''}PT{seconds}{fraction}S"


def _interval(value: Any) -> str:
    months, days, nanoseconds = value
    return f"P{months}M{days}D{_duration(nanoseconds, 9).replace('P', '').replace('-T', 'T-')}"
