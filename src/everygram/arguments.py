"""What the arguments of public functions must be, checked where they come in.

In: what a caller gave, whatever it is, and the argument's name. Out: the value in the one type that
everything below works with. What is none is an OptionError, or the error that is asked for, which
says what was expected and what was found.
"""

import errno
import operator
import os
import re
import reprlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from everygram.errors import EverygramError, OptionError

Size = int | str
F = TypeVar("F", bound=Callable[..., object])

# Characters of a value that messages show.
SHOWN = 60
# The names of Python's type of booleans, and of numpy's in its versions.
BOOLEANS = ("bool", "bool_")
# What no size or number of anything reaches.
LARGEST = 1 << 62


def path(name: str, value: object) -> Path:
    """A path: a string or what stands for one, such as the system can have."""
    return Path(place(name, value, "a path"))


def place(name: str, value: object, expected: str) -> str:
    """A path, or a string of another kind that may stand where paths do, as it was given."""
    given = value.__fspath__() if isinstance(value, os.PathLike) else value
    if not isinstance(given, str):
        raise OptionError(f"{name}: expected {expected}, found {short(value)}")
    try:
        os.lstat(given)
    except ValueError as error:  # a NUL, or a lone surrogate
        raise OptionError(f"{name}: expected {expected}, found {short(value)}: {error}") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise OptionError(
                f"{name}: expected {expected}, found {short(value)}, which is too long for one"
            ) from None
    return given


def string(name: str, value: object) -> str:
    """A string."""
    if not isinstance(value, str):
        raise OptionError(f"{name}: expected a string, found {short(value)}")
    return value


def flag(name: str, value: object, error: type[EverygramError] = OptionError) -> bool:
    """True or False, numpy's among them."""
    if type(value).__name__ not in BOOLEANS:
        raise error(f"{name}: expected True or False, found {short(value)}")
    return bool(value)


def integer(name: str, value: object, error: type[EverygramError] = OptionError) -> int:
    """An integer of Python's or of anybody's (numpy, torch), of any size; no boolean."""
    found = as_integer(value)
    if found is None:
        raise error(f"{name}: expected an integer, found {short(value)}")
    return found


def natural(
    name: str, value: object, least: int = 0, error: type[EverygramError] = OptionError
) -> int:
    """An integer from `least` on; any that is larger than all there is becomes LARGEST."""
    found = as_integer(value)
    if found is None or found < least:
        why = ", which is no integer" if found is None else ""
        raise error(f"{name}: expected {least} or more, found {short(value)}{why}")
    return min(found, LARGEST)


def as_integer(value: object) -> int | None:
    """The value as an integer of Python's, if it is one and no boolean; else None."""
    if type(value).__name__ in BOOLEANS:
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except Exception:  # a tensor of several values raises its library's own errors
        return None


def size(name: str, value: object) -> int | None:
    """Bytes: a number of them, or a size like `4GiB`, `512M` or `2e9`; None for None."""
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
    """The value as messages show it: on one line, of anything, however long."""
    try:
        text = " ".join(_SHORT.repr(value).split("\n"))
    except Exception:  # an integer of more digits than Python writes, or an object's own fault
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "…"


# (A list of millions is not written out to be cut.)
_SHORT = reprlib.Repr()
_SHORT.maxlevel = 3
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxset = _SHORT.maxfrozenset = SHOWN
_SHORT.maxdict = _SHORT.maxarray = _SHORT.maxdeque = SHOWN
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 2 * SHOWN
