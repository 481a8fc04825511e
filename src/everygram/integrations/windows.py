"""Windows over a long text, for models that see so many tokens at once."""

from collections.abc import Iterator
from typing import NamedTuple

from everygram.arguments import natural
from everygram.errors import OptionError


class Window(NamedTuple):
    """A model reads the tokens [begin, end) of a text; those of [first, end) are scored."""

    begin: int
    first: int
    end: int


def checked_stride(window: int, stride: int) -> tuple[int, int]:
    """The two as integers, 1 ≤ stride < window. Raises OptionError."""
    window, stride = natural("window", window, 2), natural("stride", stride, 1)
    if stride >= window:
        raise OptionError(
            f"stride: expected less than the window of {window:,} tokens, so that every token has "
            f"one before it, found {stride:,}"
        )
    return window, stride


def windows(length: int, window: int, stride: int) -> Iterator[Window]:
    """Windows in which every token of a text but the first is scored exactly once.

    The first window scores all it has, each further one up to `stride` tokens more. Every window is
    as long as it may be: a token has all tokens of the text before it, or `window − stride` and
    more of them.
    """
    end = min(window, length)
    if end > 1:
        yield Window(0, 1, end)
    while end < length:
        first, end = end, min(end + stride, length)
        yield Window(end - window, first, end)
