"""Passages: the text of a match in a document, and of the tokens around it."""

import codecs
import threading

import numpy as np

from everygram.encoding import Reading
from everygram.engine.documents import StoredTokens
from everygram.errors import TokenizerError

# A document's token ids: shape (n,).
Ids = np.ndarray | StoredTokens
# A passage: the text before a match, of it, and after it.
Parts = tuple[str, str, str]


def of_tokens(reading: Reading, ids: Ids, begin: int, end: int, context: int) -> Parts:
    """Tokens [begin, end) of a document's `ids` and up to `context` tokens on each side, as text.

    Where a passage begins or ends inside the document it has whole characters only; those of the
    match that it does not have wholly become U+FFFD. Raises TokenizerError where there is no
    tokenizer.
    """
    start, stop = max(0, begin - context), min(ids.shape[0], end + context)
    parts = reading.cut(ids[start:stop], begin - start, end - start, inside=start > 0)
    return _whole(parts, start > 0, stop < ids.shape[0])


def of_text(
    reading: Reading, ids: Ids, begin: int, end: int, context: int, skipped: int, size: int
) -> Parts:
    """As `of_tokens`, of a text of `size` bytes in these tokens, after the first `skipped`."""
    start, stop = max(0, begin - context), min(ids.shape[0], end + context)
    place = bytes_between(reading, ids, start, begin) + skipped
    parts = reading.cut_bytes(ids[start:stop], place, place + size, inside=start > 0)
    return _whole(parts, start > 0, stop < ids.shape[0])


def bytes_between(reading: Reading, ids: Ids, start: int, end: int) -> int:
    """How many bytes tokens [start, end) of a document have in its text.

    (At a document's start that may be fewer than none: the first byte that the next token spells
    may be a space that the document does not have.)
    """
    tokens = reading.token_bytes
    between = ids[start:end].astype(np.int64)
    lost = tokens.lost(ids[: end + 1].astype(np.int64)) if start == 0 else 0
    return int((tokens.starts[between + 1] - tokens.starts[between]).sum()) - lost


def _whole(parts: Parts, begun: bool, going_on: bool) -> Parts:
    """Parts without the halves of characters at their ends."""
    before, match, after = parts
    return (
        before.lstrip("\ufffd") if begun else before,
        match,
        after.rstrip("\ufffd") if going_on else after,
    )


# Where the bytes that `_leads` reads are not UTF-8, in this thread.
_bad = threading.local()


def _noted(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    _bad.starts.append(error.start)
    return "\ufffd", error.end


codecs.register_error("everygram.noted", _noted)


def _leads(data: bytes) -> np.ndarray:
    """Which bytes begin a character of `data.decode(errors="replace")`: bool."""
    _bad.starts = []
    data.decode(errors="everygram.noted")
    leads: np.ndarray = (np.frombuffer(data, np.uint8) & 0xC0) != 0x80
    leads[_bad.starts] = True
    return leads


class DocumentText:
    """The text of a whole document, and where its tokens are in it.

    Raises TokenizerError where there is no tokenizer.
    """

    def __init__(self, reading: Reading, ids: np.ndarray, given: str | None = None) -> None:
        """given: a text that the ids were encoded from: if they spell it, with or without spaces in
        front, places are places in it."""
        self._reading, self._ids = reading, ids
        # In characters, where each token begins, the character whole that it begins within; and
        # where the tokens before it end.
        self.begins: np.ndarray | None = None
        self.ends: np.ndarray | None = None
        # In bytes, where each token begins.
        self._places: np.ndarray | None = None
        try:
            spelled = reading.token_bytes
        except TokenizerError:
            self.text = reading.decode(ids)
            pieces = reading.pieces(ids)
            if pieces is not None and "".join(pieces) == self.text:
                sizes = np.fromiter(map(len, pieces), np.int64, len(pieces))
                self.begins = self.ends = np.concatenate([np.zeros(1, np.int64), sizes.cumsum()])
                if given is not None and self.text.lstrip(" ") == given.lstrip(" "):
                    self.begins = self.ends = np.maximum(
                        self.ends - (len(self.text) - len(given)), 0
                    )
                    self.text = given
            return
        data = reading.spelled(ids)
        numbers = ids.astype(np.int64)
        places = np.zeros(ids.shape[0] + 1, np.int64)
        np.cumsum(spelled.starts[numbers + 1] - spelled.starts[numbers], out=places[1:])
        if given is not None and data != (wanted := given.encode(errors="replace")):
            spaces = len(wanted) - len(wanted.lstrip(b" "))
            if b" " * spaces + data.lstrip(b" ") == wanted:
                data = wanted
        # (What the document's start loses is at its beginning, in one token or in several.)
        places = np.maximum(places - (places[-1] - len(data)), 0)
        self.text = data.decode(errors="replace")
        leads = np.append(_leads(data), True)
        self.ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(leads)])[places]
        self.begins = self.ends - ~leads[places]
        self._places = places

    @property
    def num_tokens(self) -> int:
        """The document's tokens."""
        return int(self._ids.shape[0])

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """In characters, where each token begins, and where the tokens before it end: int64, shape
        (n + 1,) each. They differ where tokens divide a character."""
        if self.begins is None or self.ends is None:
            places = range(self.num_tokens + 1)
            pairs = [self._reading.cut(self._ids, place, place) for place in places]
            at = np.array([len(before) for before, _, _ in pairs], np.int64)
            return at, at
        return self.begins, self.ends

    def chars(self, begin: int, end: int) -> tuple[int, int]:
        """From and to in characters of tokens [begin, end); a character they share is theirs."""
        if self.begins is None or self.ends is None:
            before, match, _ = self._reading.cut(self._ids, begin, end)
            return len(before), len(before) + len(match)
        return int(self.begins[begin]), int(self.ends[end])

    def bytes(self, begin: int, end: int) -> tuple[int, int]:
        """As `chars`, in bytes; of a divided character only where tokens have bytes."""
        if self._places is None:
            start, stop = self.chars(begin, end)
            before = len(self.text[:start].encode())
            return before, before + len(self.text[start:stop].encode())
        return int(self._places[begin]), int(self._places[end])

    def ranges(self, begins: np.ndarray, ends: np.ndarray) -> list[tuple[int, int, int, int]]:
        """`chars` and `bytes` of many stretches of tokens, at once."""
        if self.begins is None or self.ends is None or self._places is None:
            pairs = zip(begins.tolist(), ends.tolist(), strict=True)
            return [(*self.chars(*pair), *self.bytes(*pair)) for pair in pairs]
        columns = self.begins[begins], self.ends[ends], self._places[begins], self._places[ends]
        return list(zip(*(column.tolist() for column in columns), strict=True))
