"""JSON objects that anybody may have written: their fields taken one by one, each checked.

Knows JSON values and what is expected of them; knows no file and no index.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

# More than anything is counted to, in bytes, tokens or documents. Sums of two fit an int64.
MOST = 1 << 62
SHA256 = re.compile("[0-9a-f]{64}")


class Fields:
    """The fields of one object; `place` is where it stands, for the messages.

    Each field is taken once, and `end` refuses those that nobody took. All raise ValueError.
    """

    def __init__(self, value: object, place: str = "") -> None:
        self._place = place
        self._left: dict[str, Any] = dict(_is(value, dict, place or "the whole", "an object"))

    def __enter__(self) -> "Fields":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and self._left:
            raise ValueError(f"{self._at(min(self._left))}: no such field is known")

    def take(self, name: str) -> Any:
        """The field, whatever it is."""
        if name not in self._left:
            raise ValueError(f"{self._at(name)}: missing")
        return self._left.pop(name)

    def integer(self, name: str, least: int = 0, most: int = MOST) -> int:
        """An integer from `least` to `most`."""
        value = self.take(name)
        # (True is an int to Python.)
        if type(value) is not int or not least <= value <= most:
            expected = f"{least:,}" if least == most else f"an integer from {least:,} to {most:,}"
            raise ValueError(f"{self._at(name)}: expected {expected}, found {_shown(value)}")
        return value

    def boolean(self, name: str) -> bool:
        """True or false."""
        value: bool = _is(self.take(name), bool, self._at(name), "true or false")
        return value

    def text(self, name: str, pattern: re.Pattern[str] | None = None) -> str:
        """A string, all of which matches the pattern."""
        value: str = _is(self.take(name), str, self._at(name), "a string")
        if pattern is not None and pattern.fullmatch(value) is None:
            raise ValueError(f"{self._at(name)}: expected {pattern.pattern}, found {_shown(value)}")
        return value

    def choice(self, name: str, choices: Iterable[Any]) -> Any:
        """One of these."""
        value, known = self.take(name), list(choices)
        if not any(type(value) is type(each) and value == each for each in known):
            expected = ", ".join(map(str, known))
            raise ValueError(f"{self._at(name)}: expected one of {expected}, found {_shown(value)}")
        return value

    def array(self, name: str) -> list[Any]:
        """An array."""
        value: list[Any] = _is(self.take(name), list, self._at(name), "an array")
        return value

    def integers(self, name: str) -> list[int]:
        """An array of integers from 0 on."""
        each = [Fields({name: value}) for value in self.array(name)]
        return [one.integer(name) for one in each]

    def texts(self, name: str) -> list[str]:
        """An array of strings."""
        return [_is(value, str, self._at(name), "strings") for value in self.array(name)]

    def numbers(self, name: str) -> dict[str, float]:
        """An object whose fields are numbers."""
        numbers = self.object(name).rest()
        for value in numbers.values():
            if type(value) not in (int, float):
                raise ValueError(f"{self._at(name)}: expected numbers, found {_shown(value)}")
        return numbers

    def object(self, name: str) -> "Fields":
        """An object."""
        return Fields(self.take(name), self._at(name))

    def objects(self, name: str) -> Iterator["Fields"]:
        """An array of objects."""
        for number, value in enumerate(self.array(name)):
            yield Fields(value, f"{self._at(name)}[{number}]")

    def names(self) -> list[str]:
        """The fields that are left."""
        return list(self._left)

    def rest(self) -> dict[str, Any]:
        """All fields that are left, whatever they are."""
        left, self._left = self._left, {}
        return left

    def refuse(self, name: str, what: str) -> ValueError:
        """The error for a field whose value contradicts others."""
        return ValueError(f"{self._at(name)}: {what}")

    def _at(self, name: str) -> str:
        return f"{self._place}.{name}" if self._place else name


def _is(value: Any, kind: type, place: str, expected: str) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{place}: expected {expected}, found {_shown(value)}")
    return value


def _shown(value: object) -> str:
    """A value as messages show it: a few characters of JSON, in ASCII."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "…"
