"""A text to look for, as an automaton over UTF-8 bytes.

Knows characters and bytes; knows nothing of tokens or indexes. A *state* is how much of the text
has been read: whole characters, and the bytes of one that has begun. State 0 is the beginning, the
last one the end.
"""

import sys
import unicodedata
from functools import cache

import numpy as np

from everygram.arguments import short
from everygram.errors import QueryError

# Ways on from a state: no character has more forms than four, whatever its case.
WAYS = 4
# What `\w` is in Unicode's recommendation for regular expressions (UTS 18, Annex C): letters,
# marks, decimal numbers, connectors, and the two joiners. (Other numbers, too, as Python has it.)
WORD_CATEGORIES = ("L", "M", "N", "Pc")
JOINERS = "\u200c\u200d"


class Pattern:
    """The automaton of a text.

    steps: int16, shape (states, WAYS): the bytes that lead on, −1 for none.
    targets: int32, same shape: the states that they lead to.
    """

    def __init__(self, text: str, ignore_case: bool = False) -> None:
        """Raises QueryError for an empty text, and for one with a lone surrogate."""
        if not isinstance(text, str) or not text:
            raise QueryError(
                f"text: expected a string of at least one character, found {short(text)}"
            )
        try:
            data = np.frombuffer(text.encode(), np.uint8)
        except UnicodeEncodeError as error:
            raise QueryError(
                f"text: {text[error.start]!r} at character {error.start + 1} is a lone surrogate, "
                "which no document has"
            ) from None
        if ignore_case:
            self.steps, self.targets = _in_any_case(text)
            return
        # (One way on from each state: a text may have megabytes.)
        self.steps, self.targets = _no_ways(data.shape[0] + 1)
        self.steps[:-1, 0] = data
        self.targets[:-1, 0] = np.arange(1, data.shape[0] + 1)

    def ways(self, state: int) -> list[tuple[int, int]]:
        """The bytes that lead on from a state, each with the state that it leads to."""
        pairs = zip(self.steps[state].tolist(), self.targets[state].tolist(), strict=True)
        return [(byte, to) for byte, to in pairs if byte >= 0]

    @property
    def end(self) -> int:
        """The state in which all of the text has been read."""
        return int(self.steps.shape[0]) - 1


def _no_ways(number: int) -> tuple[np.ndarray, np.ndarray]:
    """The steps and targets of so many states, from which nothing leads on yet."""
    return np.full((number, WAYS), -1, np.int16), np.zeros((number, WAYS), np.int32)


def _in_any_case(text: str) -> tuple[np.ndarray, np.ndarray]:
    """The steps and targets of the automaton of a text, each character in all of its forms."""
    ways: list[dict[int, int]] = [{}]
    for character in text:
        begin = len(ways) - 1
        end_of: list[tuple[int, int]] = []
        for form in forms_of(character):
            state, data = begin, form.encode()
            for byte in data[:-1]:
                if byte not in ways[state]:
                    ways[state][byte] = len(ways)
                    ways.append({})
                state = ways[state][byte]
            end_of.append((state, data[-1]))
        ways.append({})
        for state, byte in end_of:
            ways[state][byte] = len(ways) - 1
    steps, targets = _no_ways(len(ways))
    for state, on in enumerate(ways):
        steps[state, : len(on)] = list(on)
        targets[state, : len(on)] = list(on.values())
    return steps, targets


def folded(character: str) -> str:
    """Unicode's simple case folding of a character (CaseFolding.txt, statuses C and S)."""
    for fold in (character.casefold(), character.lower()):
        if len(fold) == 1:
            return fold
    return character


@cache
def _forms() -> dict[str, str]:
    """Of each simple case folding that several characters have, those characters."""
    forms: dict[str, str] = {}
    for number in range(0x1E944):  # the last letter with a case is below
        character = chr(number)
        fold = folded(character)
        if fold != character:
            forms[fold] = forms.get(fold, fold) + character
    return forms


def forms_of(character: str) -> str:
    """All characters that have the simple case folding of this one."""
    fold = folded(character)
    return _forms().get(fold, fold)


@cache
def word_table() -> np.ndarray:
    """Which code points are word characters: bits, uint8, shape (0x110000 / 8,)."""
    is_word = np.zeros(sys.maxunicode + 1, np.bool_)
    # (The planes between, and those behind, have no words.)
    for number in (*range(0x40000), *range(0xE0000, 0xF0000)):
        category = unicodedata.category(chr(number))
        is_word[number] = category.startswith(WORD_CATEGORIES)
    is_word[list(map(ord, JOINERS))] = True
    return np.packbits(is_word, bitorder="little")
