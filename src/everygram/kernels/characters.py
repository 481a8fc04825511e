"""Word characters beside a text, in the bytes that tokens stand for.

Arguments that all share: `table`: bits, uint8: which code points are word characters; `blob`,
`starts`, `dropped`: as in `covers`; `row`, `tokens`, `cache`: as of
`reads.text_at`. What is not UTF-8 is no word character.
"""

import numpy as np

from everygram.kernels import inlined, kernel
from everygram.kernels.reads import text_at

# What a token's bytes say of a word character beside a text: there is none, there is one, or it is
# open: that is in the bytes of the token before or behind; or a character begins behind the text
# that the token's end cuts.
NONE, WORD, OPEN, CUT = 0, 1, 2, 3


@inlined
def is_word(code: int, size: int, table: np.ndarray) -> bool:
    """Whether a code point that was read from so many bytes is a word character, and is one."""
    least = np.int64(0)
    if size > 1:
        least = np.int64(0x80) if size == 2 else np.int64(0x800) if size == 3 else np.int64(0x10000)
    if code < least or code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        return False
    return table[code >> 3] >> (code & 7) & 1 == 1


@inlined
def word_from(at: int, last: int, blob: np.ndarray, table: np.ndarray) -> int:
    """Whether a word character begins at blob[at], of a token up to `last`: NONE, WORD, OPEN or
    CUT."""
    if at >= last:
        return OPEN
    code, size = np.int64(blob[at]), np.int64(1)
    if code >= 0x80:
        if code < 0xC0 or code >= 0xF8:
            return NONE
        size = np.int64(2) if code < 0xE0 else np.int64(3) if code < 0xF0 else np.int64(4)
        code &= 0x7F >> size
    for i in range(at + 1, at + size):
        if i >= last:
            return CUT
        byte = np.int64(blob[i])
        if byte & 0xC0 != 0x80:
            return NONE
        code = code << 6 | byte & 0x3F
    return WORD if is_word(code, size, table) else NONE


@inlined
def word_up_to(first: int, at: int, blob: np.ndarray, table: np.ndarray) -> int:
    """Whether a word character ends before blob[at], of a token from `first`: NONE, WORD or
    OPEN."""
    for size in range(1, 5):
        if at - size < first:
            return OPEN
        lead = np.int64(blob[at - size])
        if lead & 0xC0 != 0x80:
            # (Of more or fewer bytes than are there it is no character.)
            whole = 1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            return word_from(at - size, at, blob, table) if whole == size else NONE
    return NONE


@kernel
def is_word_at(
    row: np.ndarray,
    cache: np.ndarray,
    tokens: np.ndarray,
    n: int,
    token: int,
    at: int,
    blob: np.ndarray,
    starts: np.ndarray,
    table: np.ndarray,
) -> bool:
    """Whether a word character begins at byte `at` of the token at position `token`, or after it.

    The end of the document is none, and so is what is not UTF-8.
    """
    code, left, of = np.int64(0), np.int64(-1), np.int64(0)
    while token < n:
        number = text_at(row, tokens, cache, token)
        if number >= starts.shape[0] - 1:
            return False
        size = starts[number + 1] - starts[number]
        while at < size:
            byte = np.int64(blob[starts[number] + at])
            if left < 0:
                if byte < 0x80:
                    code, left = byte, 0
                elif byte < 0xC0 or byte >= 0xF8:
                    return False
                elif byte < 0xE0:
                    code, left = byte & 0x1F, 1
                elif byte < 0xF0:
                    code, left = byte & 0x0F, 2
                else:
                    code, left = byte & 0x07, 3
                of = left + 1
            elif byte & 0xC0 == 0x80:
                code, left = code << 6 | byte & 0x3F, left - 1
            else:
                return False
            if left == 0:
                return is_word(code, of, table)
            at += 1
        token, at = token + 1, 0
    return False


@kernel
def is_word_before(
    row: np.ndarray,
    cache: np.ndarray,
    tokens: np.ndarray,
    separator: int,
    token: int,
    at: int,
    blob: np.ndarray,
    starts: np.ndarray,
    dropped: np.ndarray,
    table: np.ndarray,
) -> bool:
    """Whether a word character ends in front of byte `at` of the token at position `token`."""
    code, shift, after = np.int64(0), np.int64(0), np.int64(0)
    while token >= 0:
        number = text_at(row, tokens, cache, token)
        if number >= starts.shape[0] - 1:
            return False
        least = np.int64(0)
        if token == 0 or text_at(row, tokens, cache, token - 1) == separator:
            least = np.int64(dropped[number])
        while at > least:
            at -= 1
            byte = np.int64(blob[starts[number] + at])
            if byte & 0xC0 == 0x80:
                code |= (byte & 0x3F) << shift
                shift += 6
                after += 1
                if after > 3:
                    return False
                continue
            if byte < 0x80:
                if after:
                    return False
                code = byte
            elif after == 1 and byte & 0xE0 == 0xC0:
                code |= (byte & 0x1F) << shift
            elif after == 2 and byte & 0xF0 == 0xE0:
                code |= (byte & 0x0F) << shift
            elif after == 3 and byte & 0xF8 == 0xF0:
                code |= (byte & 0x07) << shift
            else:
                return False
            return is_word(code, after + 1, table)
        token -= 1
        if token >= 0:
            before = text_at(row, tokens, cache, token)
            if before >= starts.shape[0] - 1:
                return False
            at = starts[before + 1] - starts[before]
    return False
