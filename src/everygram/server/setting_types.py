"""The values of settings: names, sizes, rates, lists, and how each is read from text.

In: what flags, variables and files have. Out: types for the fields of `Settings`, whose validators
raise OptionError, or ValueError that pydantic turns into one of its own. Knows no setting.
"""

import json
import re
from pathlib import Path
from typing import Annotated, Any

import limits
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, ValidationInfo
from pydantic_settings import NoDecode

from everygram import arguments
from everygram.errors import OptionError

# What pydantic's kinds of errors expected.
EXPECTED = {
    "int_parsing": "an integer",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "int_parsing_size": "a smaller integer",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "{ge} or more",
    "less_than_equal": "{le} or less",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "a string",
    "literal_error": "{expected}",
    "string_too_short": "a character at least",
    "string_too_long": "{max_length} characters at most",
    "string_pattern_mismatch": "text without control characters",
    "datetime_parsing": "a time",
    "datetime_from_date_parsing": "a time",
    "list_type": "a list",
    "too_long": "{max_length} of them at most",
    "dict_type": "values by name",
    "tuple_type": "a list",
    "too_short": "a name at least",
    "missing": "a list of names (of)",
    "model_type": "a table of values by name",
}
# In a name these stand for other things: in paths of the service, in lists, in keys' scopes.
# (Surrogates stand for what is no text, in the names of folders.)
NOT_IN_NAMES = re.compile(r"[/\\,=*\x00-\x1f\x7f\ud800-\udfff]")
LONGEST_NAME = 200
# Seconds: some thirty years. (What waits takes no longer time.)
LONGEST_TIME = 1e9


def checked_name(setting: str, name: str) -> str:
    """A name that an index may be served under, or OptionError."""
    if not name or name != name.strip() or name in (".", "..") or len(name) > LONGEST_NAME:
        why = "" if name else " (such as NAME=PATH)"
    elif found := NOT_IN_NAMES.search(name):
        why = f", which has {arguments.short(found[0])}"
    else:
        return name
    raise OptionError(
        f"{setting}: expected a name of 1 to {LONGEST_NAME} characters without / \\ , = * and "
        f"without blanks around it, found {arguments.short(name)}{why}"
    )


def first_problem(error: ValidationError) -> str:
    """The first thing that is wrong: where, what was expected, what was found."""
    first = error.errors(include_url=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    raised = first.get("ctx", {}).get("error")
    if isinstance(raised, OptionError):
        return str(raised)
    # (Other errors of our own validators say what was expected.)
    own = raised if isinstance(raised, ValueError) else None
    expected = own or EXPECTED.get(first["type"], first["msg"]).format(**first.get("ctx", {}))
    said = f"expected {expected}, found {arguments.short(first['input'])}"
    return f"{name}: {said}" if name else said


def no_flag(value: Any) -> Any:
    """(To pydantic True is 1.)"""
    if isinstance(value, bool):
        raise ValueError("a number")
    return value


def size(value: Any, info: ValidationInfo) -> int:
    """Bytes: a number, or a size such as 8MiB."""
    found = arguments.size(str(info.field_name), "" if value is None else value)
    assert found is not None
    return found


def rate(value: str, info: ValidationInfo) -> str:
    """A number of requests in a time, as `limits` reads it: 100/second."""
    try:
        amount = limits.parse(value).amount
    except ValueError:
        amount = 0
    if amount < 1:
        raise OptionError(
            f"{info.field_name}: expected a rate like 100/second or 5000/hour, found "
            f"{arguments.short(value)}"
        )
    return value


def listed(value: Any) -> Any:
    """The items of a text such as `a,b`, as the environment and flags have them, or of JSON."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return _of_json(value)
    return [item.strip() for item in value.split(",") if item.strip()]


def mapped(value: Any) -> Any:
    """The entries of a text such as `a=x,b=y`, as the environment has them, or of JSON."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("{"):
        return _of_json(value)
    pairs = [item.partition("=") for item in listed(value)]
    if not all(equals for _, equals, _ in pairs):
        raise ValueError("entries like NAME=VALUE,NAME=VALUE, or a JSON object")
    return {name.strip(): what.strip() for name, _, what in pairs}


def _of_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"JSON ({error})") from None


def place(value: Any, info: ValidationInfo) -> Path:
    """A path, made absolute: a reload must find it again."""
    return arguments.path(str(info.field_name), value).absolute()


def named(value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
    for name in value:
        checked_name(str(info.field_name), name)
    return value


Place = Annotated[Path, BeforeValidator(place)]
Size = Annotated[int, BeforeValidator(size)]
Number = Annotated[int, BeforeValidator(no_flag), Field(ge=1, le=arguments.LARGEST)]
# (0 has a meaning of its own.)
Natural = Annotated[int, BeforeValidator(no_flag), Field(ge=0, le=arguments.LARGEST)]
Seconds = Annotated[float, BeforeValidator(no_flag), Field(gt=0, le=LONGEST_TIME)]
Rate = Annotated[str, AfterValidator(rate)]
Listed = Annotated[tuple[str, ...], NoDecode, BeforeValidator(listed)]
Mapped = [NoDecode, BeforeValidator(mapped), AfterValidator(named)]
