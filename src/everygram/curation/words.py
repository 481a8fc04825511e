"""Texts as words: what is left of a text without its case, white space and punctuation.

In: texts. Out: a number for each word. A word is a run of letters, digits and combining marks; in
scripts without spaces between words (Chinese, Japanese, Thai, …) each letter is one. Two words are
the same if they are under NFKC and case folding.
"""

import re
import unicodedata

import numpy as np

# Scripts whose words are not divided: kana, Han, Thai to Tibetan, Burmese, Khmer.
UNDIVIDED = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
MARKS = "\u0300-\u036f"
LETTERS = f"[^\\W_{UNDIVIDED}]+"
WORD = re.compile(f"{LETTERS}(?:[{MARKS}]+(?:{LETTERS})?)*|(?=[^\\W_])[{UNDIVIDED}]")
# Spellings of words that are remembered at once.
REMEMBERED = 1 << 20
# The number of all words that are not known.
UNKNOWN = 0


def normal(word: str) -> str:
    """A word as it is compared."""
    return unicodedata.normalize("NFKC", word).casefold()


class Words(dict[str, int]):
    """The numbers of words by their spellings, from 1 on. (A dict: that is asked the fastest.)

    `fixed`: a word that is not known then has the number UNKNOWN; before, it gets a new one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[str, int] = {}
        self.fixed = False

    def __missing__(self, spelling: str) -> int:
        word = normal(spelling)
        number = self.known.get(word, UNKNOWN)
        if number == UNKNOWN and not self.fixed:
            number = self.known[word] = len(self.known) + 1
        if len(self) >= REMEMBERED:
            self.clear()
        self[spelling] = number
        return number

    def of(self, text: str) -> np.ndarray:
        """The numbers of a text's words: uint32, shape (words,)."""
        spellings = WORD.findall(text)
        return np.fromiter(map(self.__getitem__, spellings), np.uint32, len(spellings))


def places(text: str) -> list[tuple[int, int]]:
    """Where the words of a text begin and end, in characters."""
    return [found.span() for found in WORD.finditer(text)]
