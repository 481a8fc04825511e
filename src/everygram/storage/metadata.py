"""Values in the metadata of documents."""

import json
from typing import Any

# In place of a field that a document does not have, which is not the same as null.
ABSENT = object()


def value_of(metadata: dict[str, Any], field: str) -> Any:
    """The value of a field, `a.b` for b inside a; ABSENT if there is none."""
    found: Any = metadata
    for name in field.split("."):
        found = found.get(name, ABSENT) if isinstance(found, dict) else ABSENT
    return found


def has_value(metadata: dict[str, Any], field: str, value: str) -> bool:
    """Whether a field has a value: a string as it is, any other value as its JSON."""
    found = value_of(metadata, field)
    return found is not ABSENT and (found if isinstance(found, str) else written(found)) == value


def written(value: object) -> str:
    """The JSON of a value, as `has_value` compares it."""
    return json.dumps(value, ensure_ascii=False)
