"""A text that spans are looked for in: where its words and sentences end, and its tokens are.

Told by the text of tokens, of any tokenizer. Knows nothing of indexes.
"""

import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache

import numpy as np

from everygram.encoding import Reading
from everygram.errors import TokenizerError
from everygram.passages import DocumentText
from everygram.search.pattern import word_table
from everygram.tokenizer.vocabulary import TokenBytes

# What ends a sentence, or a line.
DELIMITERS = ("\n", ".", "!", "?", "…", "。", "！", "？", "．", "।", "॥", "؟", "۔", "։", "።")
# What may stand between the end of a sentence and the end of its token.
CLOSING = ("Pe", "Pf")
QUOTES = "\"'"
# What a character says of the places beside it, as bits: it is part of a word; its script has no
# spaces between words; it belongs to the character before it; to the one behind it as well; it is a
# digit; between letters, or digits, of words it is part of them (Unicode's UAX 29, WB6 to WB12).
WORD, NO_SPACES, EXTENDS, JOINS, DIGIT, LINKS, POINTS = 1, 2, 4, 8, 16, 32, 64
APOSTROPHES, DECIMAL_POINTS = "'’", ".,"
# Not asked yet whether a token stops a span.
UNKNOWN = 2
# Scripts that are written without spaces between words (mostly those of line-breaking classes SA
# and ID of Unicode's UAX 14), as blocks of code points, each from and to.
WITHOUT_SPACES = (
    (0x0E00, 0x0FFF),  # Thai, Lao, Tibetan
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19FF),  # Tai Le, New Tai Lue, Khmer symbols
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x1B00, 0x1B7F),  # Balinese
    (0x2E80, 0x2FDF),  # radicals
    (0x3005, 0x312F),  # Hiragana, Katakana, Bopomofo, and marks of theirs
    (0x31A0, 0x31BF),  # Bopomofo
    (0x31F0, 0x31FF),  # Katakana
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0xA4CF),  # Han, Yi
    (0xA980, 0xA9FF),  # Javanese, Myanmar
    (0xAA60, 0xAADF),  # Myanmar, Tai Viet
    (0xF900, 0xFAFF),  # Han
    (0xFF66, 0xFF9F),  # Katakana of half width
    (0x1AFF0, 0x1B16F),  # Kana
    (0x20000, 0x323AF),  # Han
)
# From and to in characters, bytes and tokens, and the characters: fields of spans.
Located = tuple[int | None, int | None, int | None, int | None, int, int, str | None]


class AskedText:
    """A text that spans are looked for in, as its tokens spell it."""

    def __init__(self, reading: Reading, ids: np.ndarray, given: str | None) -> None:
        """ids: token dtype, shape (n,). given: the text that they were encoded from, if any."""
        self._reading, self._ids = reading, ids
        self._separators = ids == reading.separator
        # Where tokens are among those that have text. (No text has separators; ids may.)
        self._places = np.arange(ids.shape[0] + 1)
        if self._separators.any():
            self._places[1:] -= np.cumsum(self._separators)
        self._text = None
        if reading.has_tokenizer:
            self._text = DocumentText(reading, ids[~self._separators], given)

    @property
    def text(self) -> str | None:
        """Its characters; None if there is no tokenizer."""
        return None if self._text is None else self._text.text

    def located(self, begins: np.ndarray, ends: np.ndarray) -> list[Located]:
        """Where stretches of tokens, [begin, end) each, are."""
        pairs = zip(begins.tolist(), ends.tolist(), strict=True)
        if self._text is None:
            return [(None, None, None, None, begin, end, None) for begin, end in pairs]
        ranges = self._text.ranges(self._places[begins], self._places[ends])
        text = self._text.text
        return [
            (start, stop, first, last, begin, end, text[start:stop])
            for (start, stop, first, last), (begin, end) in zip(ranges, pairs, strict=True)
        ]

    def bounds(self, whole_words: bool) -> np.ndarray:
        """Where spans may begin and end: bool, shape (n + 1,).

        Everywhere, or with `whole_words` not inside a word, nor between characters that are shown
        as one, such as a letter and its accents. Where a script has no spaces, every character is a
        word.
        """
        text = self._text
        if text is None or not whole_words:
            return np.ones(self._ids.shape[0] + 1, np.bool_)
        begins, ends = (each[self._places] for each in text.bounds())
        codes = np.frombuffer(text.text.encode("utf-32-le", "surrogatepass"), np.uint32)
        # (A separator is like a character of no class, and so is what is beyond the text's ends.)
        at = np.flatnonzero(self._separators)
        classes = np.pad(np.insert(_classes()[codes], ends[at], 0), 2)
        at = ends + np.arange(ends.shape[0]) - self._places
        two, one, next_one, next_two = (classes[at + place] for place in range(4))
        in_word = (
            _in_one_word(one, next_one)
            | _linked(one, next_one, next_two)
            | _linked(two, one, next_one)
            | (next_one & EXTENDS != 0)
            | (one & JOINS != 0)
        )
        bounds: np.ndarray = (begins == ends) & ~in_word
        # (Tokens at the ends of a text may spell nothing, as a space that stands before it.)
        bounds |= (ends == 0) | (begins == len(text.text))
        bounds[:-1] |= self._separators
        bounds[1:] |= self._separators
        return bounds

    def shown(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Whether tokens [start, end) have characters that are not white space: bool. (A query's
        prefix has none.)"""
        if self._text is None:
            return np.ones(starts.shape[0], np.bool_)
        spaces = np.fromiter(map(str.isspace, self._text.text), np.bool_, len(self._text.text))
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(~spaces)])
        begun, ended = (before[each[self._places]] for each in self._text.bounds())
        shown: np.ndarray = begun[starts] < ended[ends]
        return shown

    def stops(self, delimiters: tuple[str, ...]) -> np.ndarray:
        """Which tokens end a sentence or a line: bool, shape (n,).

        By the text of the token alone: it has a delimiter that is white space anywhere, or ends
        with another one, but for white space and closing quotes and brackets. Tokens that are no
        whole characters do not.
        """
        stops = np.zeros(self._ids.shape[0], np.bool_)
        if self._text is None or not delimiters:
            return stops
        ids = self._ids[~self._separators].astype(np.int64)
        try:
            spelled = self._reading.token_bytes
        except TokenizerError:
            pieces = self._reading.pieces(ids)
            if pieces is None:
                pieces = list(map(self._reading.token_text, ids.tolist()))
            stops[~self._separators] = [_stops(piece, delimiters) for piece in pieces]
            return stops
        known = _known(spelled, delimiters)
        for token in np.unique(ids[known[ids] == UNKNOWN]).tolist():
            data = spelled.blob[spelled.starts[token] : spelled.starts[token + 1]].tobytes()
            try:
                known[token] = _stops(data.decode(), delimiters)
            except UnicodeDecodeError:
                known[token] = False
        stops[~self._separators] = known[ids] == 1
        return stops


@lru_cache(maxsize=8)
def _known(spelled: TokenBytes, delimiters: tuple[str, ...]) -> np.ndarray:
    """Which tokens stop a span, as far as that has been asked: uint8, (V,), 1, 0 or UNKNOWN."""
    return np.full(spelled.starts.shape[0] - 1, UNKNOWN, np.uint8)


def _in_one_word(before: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """Whether characters of these classes beside one another are of one word."""
    within: np.ndarray = (before & behind & WORD != 0) & ((before | behind) & NO_SPACES == 0)
    return within


def _linked(before: np.ndarray, link: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """Whether the middle one of three characters is an apostrophe, or a point, inside a word."""
    links = (link & LINKS != 0) & _in_one_word(before, behind)
    linked: np.ndarray = links | ((link & POINTS != 0) & (before & behind & DIGIT != 0))
    return linked


def _stops(text: str, delimiters: Sequence[str]) -> bool:
    """Whether a token of this text ends a sentence or a line."""
    end = len(text)
    while end and (
        text[end - 1].isspace()
        or text[end - 1] in QUOTES
        or unicodedata.category(text[end - 1]) in CLOSING
    ):
        end -= 1
    return any(
        each in text if each.isspace() else text.endswith(each) or text.endswith(each, 0, end)
        for each in delimiters
    )


@cache
def _classes() -> np.ndarray:
    """What each code point says of the places beside it: bits, uint8, shape (0x110000,)."""
    classes = np.unpackbits(word_table(), bitorder="little")
    for number in np.flatnonzero(classes).tolist():
        category = unicodedata.category(chr(number))
        if category == "Nd":
            classes[number] |= DIGIT
        elif category.startswith("M"):
            classes[number] |= EXTENDS
    for first, last in WITHOUT_SPACES:
        classes[first : last + 1] |= NO_SPACES
    classes[[0x200C, 0x200D, *range(0x1F3FB, 0x1F400), *range(0xE0020, 0xE0080)]] |= EXTENDS
    classes[0x200D] |= JOINS
    classes[list(map(ord, APOSTROPHES))] |= LINKS
    classes[list(map(ord, DECIMAL_POINTS))] |= POINTS
    return classes
