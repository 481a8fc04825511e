"""Checks the arguments of public functions.

In: a value of any type, and the argument's name for messages. Out: the value as the one type that
other modules use. Any other value raises OptionError, or the given class of error, whose message
says what was expected and found.
"""

import errno
import math
import operator
import os
import re
import reprlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from everygram.errors import EverygramError, OptionError

Size = int | str
F = TypeVar("F", bound=Callable[..., object])

# Characters of a value that messages show.
SHOWN = 60
# The names of the boolean types of Python and of numpy (bool_ in older versions).
BOOLEANS = ("bool", "bool_")
# Larger than any size or number in an index; it fits an int64.
LARGEST = 1 << 62


def path(name: str, value: object) -> Path:
    """A path: a string or what stands for one, such as the system can have."""
    given = place(name, value, "a path")
    if not given:
        raise OptionError(f"{name}: expected a path, found an empty string")
    return Path(given)


def place(name: str, value: object, expected: str) -> str:
    """A path, or a string of another kind that may stand where paths do, as it was given."""
    given = value.__fspath__() if isinstance(value, os.PathLike) else value
    if not isinstance(given, str):
        raise OptionError(f"{name}: expected {expected}, found {short(value)}")
    try:
        # (What may be no path, but an address, may be longer than paths are.)
        os.lstat(given if "://" not in given else given[:SHOWN])
    except FileNotFoundError:
        if not Path(given).is_absolute():
            _check_folder_here(name)
    except ValueError as error:  # a NUL, or a lone surrogate
        raise OptionError(f"{name}: expected {expected}, found {short(value)}: {error}") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise OptionError(
                f"{name}: expected {expected}, found {short(value)}, which is too long for one"
            ) from None
    return given


def _check_folder_here(name: str) -> None:
    """Raise OptionError if the folder that relative paths start from is gone."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise OptionError(
            f"{name}: the current folder no longer exists; change to one that does"
        ) from None


def string(name: str, value: object) -> str:
    """A string."""
    if not isinstance(value, str):
        raise OptionError(f"{name}: expected a string, found {short(value)}")
    return value


def flag(name: str, value: object, error: type[EverygramError] = OptionError) -> bool:
    """True or False, also as numpy's booleans."""
    if type(value).__name__ not in BOOLEANS:
        raise error(f"{name}: expected True or False, found {short(value)}")
    return bool(value)


def integer(name: str, value: object, error: type[EverygramError] = OptionError) -> int:
    """An integer of any library (numpy, torch) and of any size, but no boolean."""
    found = as_integer(value)
    if found is None:
        raise error(f"{name}: expected an integer, found {short(value)}")
    return found


def natural(
    name: str, value: object, least: int = 0, error: type[EverygramError] = OptionError
) -> int:
    """An integer of at least `least`, as `integer`; larger ones than LARGEST become LARGEST."""
    found = as_integer(value)
    if found is None or found < least:
        why = ", which is no integer" if found is None else ""
        raise error(f"{name}: expected {least} or more, found {short(value)}{why}")
    return min(found, LARGEST)


def number(name: str, value: Any, error: type[EverygramError] = OptionError) -> float:
    """A number, but no boolean and not nan."""
    try:
        if type(value).__name__ in BOOLEANS or isinstance(value, str | bytes):
            raise TypeError
        found = float(value)
    except Exception:  # a tensor of several values raises errors of its library
        found = math.nan
    if math.isnan(found):
        raise error(f"{name}: expected a number, found {short(value)}")
    return found


def as_integer(value: Any) -> int | None:
    """The value as a Python integer; None for a boolean and for anything that is no integer."""
    if type(value).__name__ in BOOLEANS:
        return None
    try:
        return operator.index(value)
    except Exception:  # a tensor of several values raises errors of its library
        return None


def size(name: str, value: object) -> int | None:
    """A number of bytes, or a size such as `4GiB`, `512M` or `2e9`, in bytes; None for None."""
    if value is None:
        return None
    found = _parsed_size(value) if isinstance(value, str) else as_integer(value)
    if found is None:
        raise OptionError(
            f"{name}: expected a size like 4GiB or 500MB, or a number of bytes, found "
            f"{short(value)}"
        )
    return natural(name, found, 1)


def _parsed_size(text: str) -> int | None:
    match = re.fullmatch(
        r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(e[0-9]{1,2})?\s*([kmgt]?)(i?)b?", text.strip().lower()
    )
    if match is None:
        return None
    number, exponent, prefix, binary = match.groups()
    unit = (1024 if binary else 1000) ** " kmgt".index(prefix or " ")
    return int(min(float(number + (exponent or "")) * unit, LARGEST))


def function(name: str, value: F | None) -> F | None:
    """A function to call, or None."""
    if value is not None and not callable(value):
        raise OptionError(f"{name}: expected a function, found {short(value)}")
    return value


def short(value: object) -> str:
    """A value of any type as messages show it: one line, cut to SHOWN characters."""
    try:
        text = " ".join(_SHORT.repr(value).split("\n"))
    except Exception:  # an integer too long to print, or an object whose `repr` fails
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "…"


# (Long lists are cut before they are printed.)
_SHORT = reprlib.Repr()
_SHORT.maxlevel = 3
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxset = _SHORT.maxfrozenset = SHOWN
_SHORT.maxdict = _SHORT.maxarray = _SHORT.maxdeque = SHOWN
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 2 * SHOWN
