"""Many texts at once, in documents that are read from their first byte to their last.

The texts are a trie over bytes: `table`, int32, shape (nodes * width,): the node that byte b leads
to from node k is table[k * width + classes[b]], 0 for none, as is class −1 (int16, shape (256,)).
Node k ends texts of the owners owners[owners_from[k]:owners_from[k + 1]] (int64). A text is tried
wherever a character begins.

blob, starts, dropped, vanishes: what tokens spell (see `covers`). folds: int32: for each of the
first code points another one that is read in its place, or empty. words: bits of word characters;
texts are whole words unless it is empty.
"""

import numpy as np

from everygram.kernels import called, kernel
from everygram.kernels.characters import is_word

# What is known of a byte that was read: it begins a character, of a word; or it is in none.
BEGINS, WORD, ALONE = 1, 2, 4
# Stands where a token spells nothing that is known: no text has it.
STRANGE = 0xFF


@called
def code_at(data: np.ndarray, at: int, size: int) -> tuple[int, int]:
    """The code point that begins at data[at], and how many bytes it has; −1 and 1 where none
    does."""
    lead = np.int64(data[at])
    if lead < 0x80:
        return lead, np.int64(1)
    none = np.int64(-1), np.int64(1)
    if lead < 0xC2 or lead >= 0xF5:
        return none
    length = np.int64(2) if lead < 0xE0 else np.int64(3) if lead < 0xF0 else np.int64(4)
    if at + length > size:
        return none
    code = lead & (0x7F >> length)
    for i in range(1, length):
        byte = np.int64(data[at + i])
        if byte & 0xC0 != 0x80:
            return none
        code = code << 6 | byte & 0x3F
    least = np.int64(0x80) if length == 2 else np.int64(0x800) if length == 3 else np.int64(0x10000)
    if code < least or code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        return none
    return code, length


@called
def write(code: int, out: np.ndarray, at: int) -> int:
    """Write a code point as UTF-8 at out[at]; returns where it ends."""
    if code < 0x80:
        out[at] = code
        return at + 1
    if code < 0x800:
        out[at] = 0xC0 | code >> 6
        out[at + 1] = 0x80 | code & 0x3F
        return at + 2
    if code < 0x10000:
        out[at] = 0xE0 | code >> 12
        out[at + 1] = 0x80 | code >> 6 & 0x3F
        out[at + 2] = 0x80 | code & 0x3F
        return at + 3
    out[at] = 0xF0 | code >> 18
    out[at + 1] = 0x80 | code >> 12 & 0x3F
    out[at + 2] = 0x80 | code >> 6 & 0x3F
    out[at + 3] = 0x80 | code & 0x3F
    return at + 4


@called
def spelled(
    tokens: np.ndarray,
    begin: int,
    end: int,
    blob: np.ndarray,
    starts: np.ndarray,
    dropped: np.ndarray,
    vanishes: np.ndarray,
    data: np.ndarray,
) -> int:
    """Write the bytes of a document's tokens; returns how many. data: has room for them."""
    size, first = 0, True
    for at in range(begin, end):
        token = np.int64(tokens[at])
        if token >= starts.shape[0] - 1:
            data[size] = STRANGE
            size, first = size + 1, False
            continue
        begins = starts[token]
        if first:
            begins += dropped[token]
            first = vanishes[token]
        for i in range(begins, starts[token + 1]):
            data[size] = blob[i]
            size += 1
    return size


@called
def folded(
    data: np.ndarray,
    size: int,
    folds: np.ndarray,
    words: np.ndarray,
    out: np.ndarray,
    known: np.ndarray,
) -> int:
    """Write the characters of bytes, and what is known of each byte; returns how many bytes.

    out, known: u8, with room for twice as many. What is no character stays as it is.
    """
    at = end = 0
    while at < size:
        code, length = code_at(data, at, size)
        if code < 0:
            out[end], known[end] = data[at], ALONE
            at, end = at + 1, end + 1
            continue
        mark = BEGINS
        if words.shape[0] and is_word(code, length, words):
            mark |= WORD
        if code < folds.shape[0]:
            code = np.int64(folds[code])
        begin = end
        end = write(code, out, begin)
        known[begin] = mark
        for i in range(begin + 1, end):
            known[i] = 0
        at += length
    return end


@kernel
def count(
    tokens: np.ndarray,
    begins: np.ndarray,
    ends: np.ndarray,
    blob: np.ndarray,
    starts: np.ndarray,
    dropped: np.ndarray,
    vanishes: np.ndarray,
    folds: np.ndarray,
    words: np.ndarray,
    classes: np.ndarray,
    width: int,
    table: np.ndarray,
    owners_from: np.ndarray,
    owners: np.ndarray,
    counts: np.ndarray,
    document_counts: np.ndarray,
) -> None:
    """Count for each owner the occurrences of its texts, and the documents that have any.

    tokens: of the token dtype; document d is tokens[begins[d]:ends[d]], both int64. counts,
    document_counts: int64, shape (owners,), are added to.
    """
    last = np.full(counts.shape[0], -1, np.int64)
    data = np.empty(1 << 16, np.uint8)
    out, known = np.empty(1 << 17, np.uint8), np.empty(1 << 17, np.uint8)
    for document in range(begins.shape[0]):
        room = np.int64(0)
        for at in range(begins[document], ends[document]):
            token = np.int64(tokens[at])
            room += 1 if token >= starts.shape[0] - 1 else starts[token + 1] - starts[token]
        if room > data.shape[0]:
            data = np.empty(room, np.uint8)
            out, known = np.empty(2 * room, np.uint8), np.empty(2 * room, np.uint8)
        size = spelled(
            tokens, begins[document], ends[document], blob, starts, dropped, vanishes, data
        )
        size = folded(data, size, folds, words, out, known)
        after_word = False
        for begin in range(size):
            mark = known[begin]
            if mark & BEGINS == 0:
                after_word = after_word and mark & ALONE == 0
                continue
            inside, after_word = after_word, mark & WORD != 0
            if inside and words.shape[0]:
                continue
            node, at = np.int64(0), begin
            while at < size:
                number = np.int64(classes[out[at]])
                if number < 0:
                    break
                node = np.int64(table[node * width + number])
                if node == 0:
                    break
                at += 1
                if owners_from[node] == owners_from[node + 1]:
                    continue
                if words.shape[0] and at < size and known[at] & WORD:
                    continue
                for i in range(owners_from[node], owners_from[node + 1]):
                    owner = owners[i]
                    counts[owner] += 1
                    if last[owner] != document:
                        last[owner] = document
                        document_counts[owner] += 1
