"""Texts as words: what is left of a text without its case, white space and punctuation.

In: texts. Out: a number for each word. A word is a run of letters and digits with their marks
(accents, and vowel signs as those of Hindi and Thai); in scripts without spaces between words
(Chinese, Japanese, Thai, …) each letter is one. Two words are the same if they are under NFKC and
case folding.
"""

import re
import unicodedata

import numpy as np

from everygram.kernels.words import OTHER, find_words, put_words

# Scripts whose words are not divided: kana, Han, Thai to Tibetan, Burmese, Khmer.
UNDIVIDED = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
# Marks, without the selectors of how a character looks. (There are none beyond these code points.)
MARKS = [
    chr(code)
    for code in range(0x300, 0x1E950)
    if unicodedata.category(chr(code)) in ("Mn", "Mc")
    and "VARIATION SELECTOR" not in unicodedata.name(chr(code))
]
# (`re` looks quickly for a character in a long list only if it ends below U+10000.)
_SHORT, _LONG = ("".join(c for c in MARKS if (c > "\uffff") == long) for long in (False, True))
MARK = f"(?:[{_SHORT}]|(?=[\U00010000-\U0001e950])[{_LONG}])"
LETTERS = f"[^\\W_{UNDIVIDED}]+"
WORD = re.compile(f"{LETTERS}(?:{MARK}+(?:{LETTERS})?)*|(?=[^\\W_])[{UNDIVIDED}]{MARK}*")
# Spellings of words that are remembered at once.
REMEMBERED = 1 << 20
# Texts of fewer characters are divided at once, without a table.
SHORT = 256
# What bytes of texts are compared as.
FOLD = np.zeros(256, np.uint8)
FOLD[128:] = OTHER
for _byte in b"abcdefghijklmnopqrstuvwxyz0123456789":
    FOLD[_byte] = _byte
    FOLD[ord(chr(_byte).upper())] = _byte
# The number of all words that are not known.
UNKNOWN = 0


def normal(word: str) -> str:
    """A word as it is compared."""
    return unicodedata.normalize("NFKC", word).casefold()


class Words(dict[str, int]):
    """The numbers of words by their spellings, from 1 on. (A dict: that is asked the fastest.)

    Once they are fixed (`fix`), a word that is not known has the number UNKNOWN; before, it gets a
    new one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[str, int] = {}
        # Of the known words that are ASCII: bytes, where each begins, their table and numbers.
        self._table: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None = None

    def __missing__(self, spelling: str) -> int:
        word = normal(spelling)
        number = self.known.get(word, UNKNOWN)
        if number == UNKNOWN and self._table is None:
            number = self.known[word] = len(self.known) + 1
        if len(self) >= REMEMBERED:
            self.clear()
        self[spelling] = number
        return number

    def fix(self) -> None:
        """Let no more words be known."""
        simple = [word for word in self.known if word.isascii()]
        blob = np.frombuffer("".join(simple).encode(), np.uint8)
        starts = np.cumsum([0, *map(len, simple)], dtype=np.int64)
        slots = np.full(1 << (2 * len(simple) + 1).bit_length(), -1, np.int64)
        put_words(blob, starts, slots)
        numbers = [*(self.known[word] for word in simple), UNKNOWN]
        self._table = blob, starts, slots, np.array(numbers, np.uint32)

    def of(self, text: str) -> np.ndarray:
        """The numbers of a text's words: uint32, shape (words,)."""
        if self._table is None or len(text) < SHORT:
            spellings = WORD.findall(text)
            return np.fromiter(map(self.__getitem__, spellings), np.uint32, len(spellings))
        blob, starts, slots, numbers = self._table
        data = text.encode()
        most = len(data) // 2 + 1
        found, others = np.empty(most, np.int64), np.empty((most, 3), np.int64)
        count, other = find_words(
            np.frombuffer(data, np.uint8), FOLD, blob, starts, slots, found, others
        )
        # (The last number is that of words not found, whose place is −1.)
        simple: np.ndarray = numbers[found[:count]]
        if not other:
            return simple
        # What is not ASCII alone: between bytes that divide any words, it is read by itself.
        places, values = [], []
        for begin, end, before in others[:other].tolist():
            for spelling in WORD.findall(data[begin:end].decode()):
                places.append(before)
                values.append(self[spelling])
        return np.insert(simple, places, np.array(values, np.uint32))


def places(text: str) -> list[tuple[int, int]]:
    """Where the words of a text begin and end, in characters."""
    return [found.span() for found in WORD.finditer(text)]
