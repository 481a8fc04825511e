"""Values in the metadata of documents."""

import json
from typing import Any

from everygram.arguments import as_integer, short
from everygram.errors import EverygramError, OptionError

# In place of a field that a document does not have, which is not the same as null.
ABSENT = object()


def value_of(metadata: dict[str, Any], field: str) -> Any:
    """The value of a field, `a.b` for b inside a; ABSENT if there is none."""
    found: Any = metadata
    for name in field.split("."):
        found = found.get(name, ABSENT) if isinstance(found, dict) else ABSENT
    return found


def text_of(metadata: dict[str, Any], field: str) -> str | None:
    """The value of a field as a text: a string as it is, any other value as its JSON; None if there
    is none."""
    found = value_of(metadata, field)
    return found if isinstance(found, str) else None if found is ABSENT else written(found)


def has_value(metadata: dict[str, Any], field: str, value: str) -> bool:
    """Whether a field has a value, as `text_of` says it."""
    return text_of(metadata, field) == value


def written(value: object) -> str:
    """The JSON of a value, as `has_value` compares it."""
    return json.dumps(value, ensure_ascii=False)


def field_and_value(where: object, error: type[EverygramError] = OptionError) -> tuple[str, str]:
    """A field, and the value as `has_value` takes it. Raises `error` for what is no such pair."""
    field, value = where if isinstance(where, tuple | list) and len(where) == 2 else (None, None)
    if as_integer(value) is not None:  # numpy's, too
        value = as_integer(value)
    if not isinstance(field, str) or not isinstance(value, str | int | float | None):
        raise error(
            "where: expected a field and its value, a string, number, boolean or None, like "
            f"('year', 1999), found {short(where)}"
        )
    return field, value if isinstance(value, str) else written(value)
