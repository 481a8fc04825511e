"""The interface of tokenizers, the byte tokenizer, and how a query is encoded."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from everygram.errors import EverygramError, TokenizerError


class RefusedTextError(TokenizerError):
    """A text that a tokenizer cannot encode, though it encodes others."""


class Tokenizer(ABC):
    """Text to ids and back.

    `kind` and `source` are written to the manifest. `json` is the content of `tokenizer.json`, or
    None. Ids are in [0, vocab_size). `query_prefix` is put in front of a string query.
    `edits_start`: whether the tokenizer itself adds or removes a space at the start of a text.
    """

    kind: str
    source: str
    query_prefix: str
    edits_start: bool
    json: bytes | None

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """Every id is below this number."""

    @abstractmethod
    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The ids of each text: uint8 or uint32, shape (len,). Special tokens in it count as text.

        Raises TokenizerError for a text that cannot be encoded.
        """

    @abstractmethod
    def spelled(self, ids: np.ndarray, inside: bool = False) -> bytes:
        """The bytes that the ids stand for. They may begin or end within a character.

        The bytes of the first ids are a prefix of the bytes of all ids. `inside`: the ids are from
        inside a text; at the start of a text some tokenizers drop a space.
        """

    def spellings(self) -> tuple[list[bytes], list[bytes]]:
        """What each token spells inside a text, and what at the start of one.

        Raises TokenizerError where a text is not what its tokens spell, one after another.
        """
        ids = np.arange(self.vocab_size)[:, None]
        inside = [self.spelled(i, True) for i in ids]
        # (Nothing but spaces is dropped.)
        at_start = [
            self.spelled(i) if spelled.startswith(b" ") else spelled
            for i, spelled in zip(ids, inside, strict=True)
        ]
        return inside, at_start

    def decode(self, ids: np.ndarray, inside: bool = False) -> str:
        """The text of ids; bytes that are not UTF-8 become U+FFFD. `inside`: see `spelled`."""
        return self.spelled(ids, inside).decode(errors="replace")

    def cut(
        self, ids: np.ndarray, begin: int, end: int, inside: bool = False
    ) -> tuple[str, str, str]:
        """The text of ids in three parts: before ids[begin:end], of ids[begin:end], and after.

        If a bound is within a character, the whole character belongs to the middle part.
        """
        bounds = (len(self.spelled(ids[:place], inside)) for place in (begin, end))
        return cut_text(self.spelled(ids, inside), *bounds)

    def pieces(self, ids: np.ndarray) -> list[str] | None:
        """What each token adds to a text; where together they are not the text, nothing is known.

        None where `spellings` tells it, as bytes.
        """
        return None

    @abstractmethod
    def token_text(self, token_id: int) -> str:
        r"""One token for display; bytes that are not valid UTF-8 on their own become `\xNN`."""


@contextmanager
def library(failed: str, error_type: type[TokenizerError] = TokenizerError) -> Iterator[None]:
    """Raise TokenizerError, which says what `failed`, for any error of a tokenizer's library.

    Libraries raise bare Exceptions. A panic (for example of a pattern that backtracks too long) is
    a BaseException and no Exception; the library can be used again after it.
    """
    try:
        yield
    except (EverygramError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise error_type(f"{failed}: {error}") from None


def encode_query(tokenizer: Tokenizer, text: str, raw: bool = False) -> np.ndarray:
    """The ids of a query: int64, shape (len,).

    Unless `raw`, `query_prefix` is put in front of a text that does not start with white space, so
    that a word is looked up as it is encoded inside a sentence. With `raw`, the space that some
    tokenizers add themselves is left out too. Raises TokenizerError.
    """
    if raw and text:
        return _encode_inside(tokenizer, text).astype(np.int64)
    if text and tokenizer.query_prefix and not text[0].isspace():
        utf8(text)  # which says where a lone surrogate is in the text as it was given
        return _encode_inside(tokenizer, tokenizer.query_prefix + text).astype(np.int64)
    return tokenizer.encode_batch([text])[0].astype(np.int64)


def _encode_inside(tokenizer: Tokenizer, text: str) -> np.ndarray:
    """The ids of a text, with no space added or removed at its start."""
    if not tokenizer.edits_start:
        return tokenizer.encode_batch([text])[0]
    # The tokenizer adds its space in front of a mark, and the ids of both are cut off. A mark that
    # the tokenizer treats as white space or does not know would merge with the text: the next one
    # is tried.
    for mark in ("\n", "\0", "|", ".", ","):
        head, both = tokenizer.encode_batch([mark, mark + text])
        length = head.shape[0]
        if length and mark in tokenizer.decode(head) and np.array_equal(both[:length], head):
            return both[length:]
    raise TokenizerError(
        f"tokenizer '{tokenizer.source}' cannot encode {text!r} without the space it adds; query "
        "with token ids"
    )


class ByteTokenizer(Tokenizer):
    """UTF-8 bytes. 255 never occurs in UTF-8, so it is free for the separator."""

    kind = "bytes"
    source = "bytes"
    vocab_size = 255
    query_prefix = ""
    edits_start = False
    json = None

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [np.frombuffer(utf8(text), np.uint8) for text in texts]

    def spelled(self, ids: np.ndarray, inside: bool = False) -> bytes:
        return np.asarray(ids).astype(np.uint8).tobytes()

    def token_text(self, token_id: int) -> str:
        return bytes([token_id]).decode(errors="backslashreplace")


def cut_text(data: bytes, begin: int, end: int) -> tuple[str, str, str]:
    """The text of bytes in three parts: before data[begin:end], of data[begin:end], and after.

    Joined, they are `data.decode(errors="replace")`. If a bound is within a character, the whole
    character belongs to the middle part, unless the middle part has no bytes. The bounds are found
    in the bytes, because a U+FFFD in the text may be a real one or stand for half a character.
    """
    start, stop = _character(data, begin)[0], _character(data, end)[1]
    if begin == end:
        stop = start
    before, middle, after = data[:start], data[start:stop], data[stop:]
    return (
        before.decode(errors="replace"),
        middle.decode(errors="replace"),
        after.decode(errors="replace"),
    )


def _character(data: bytes, place: int) -> tuple[int, int]:
    """The range of the character that `place` is within; empty if it is between two characters.

    Bytes that are not UTF-8 count as one character where `decode` makes one U+FFFD of them: the
    longest beginning of a character does.
    """
    for start in range(place - 1, max(place - 4, -1), -1):
        if data[start] & 0xC0 != 0x80:  # not a continuation byte
            for end in range(min(start + 4, len(data)), place, -1):
                if _is_begun(data[start:end]):
                    return start, end
            break
    return place, place


def _is_begun(data: bytes) -> bool:
    """Whether bytes are a character, or the first bytes of one."""
    try:
        return len(data.decode()) == 1
    except UnicodeDecodeError as error:
        return (error.start, error.end) == (0, len(data))


def utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise TokenizerError(
            f"not valid Unicode text: {text[error.start]!r} at character {error.start + 1} is a "
            "lone surrogate"
        ) from None
