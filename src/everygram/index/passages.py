"""Passages: the text of a match in a document, and of the tokens around it."""

import numpy as np

from everygram.encoding import Reading

# A passage: the text before a match, of it, and after it.
Parts = tuple[str, str, str]


def of_tokens(reading: Reading, ids: np.ndarray, begin: int, end: int, context: int) -> Parts:
    """Tokens [begin, end) of a document's `ids` and up to `context` tokens on each side, as text.

    Where a passage begins or ends inside the document it has whole characters only; those of the
    match that it does not have wholly become U+FFFD. Raises TokenizerError where there is no
    tokenizer.
    """
    start, stop = max(0, begin - context), min(ids.shape[0], end + context)
    parts = reading.cut(ids[start:stop], begin - start, end - start, inside=start > 0)
    return _whole(parts, start > 0, stop < ids.shape[0])


def of_text(
    reading: Reading, ids: np.ndarray, begin: int, end: int, context: int, skipped: int, size: int
) -> Parts:
    """As `of_tokens`, of a text of `size` bytes in these tokens, after the first `skipped`."""
    start, stop = max(0, begin - context), min(ids.shape[0], end + context)
    place = bytes_between(reading, ids, start, begin) + skipped
    parts = reading.cut_bytes(ids[start:stop], place, place + size, inside=start > 0)
    return _whole(parts, start > 0, stop < ids.shape[0])


def bytes_between(reading: Reading, ids: np.ndarray, start: int, end: int) -> int:
    """How many bytes tokens [start, end) of a document have in its text.

    (Of no tokens at a document's start fewer than none: the first byte that the next one spells
    may be a space that the document does not have.)
    """
    tokens = reading.token_bytes
    between = ids[start:end].astype(np.int64)
    lost = int(tokens.dropped[ids[0]]) if start == 0 else 0
    return int((tokens.starts[between + 1] - tokens.starts[between]).sum()) - lost


def _whole(parts: Parts, begun: bool, going_on: bool) -> Parts:
    """Parts without the halves of characters at their ends."""
    before, match, after = parts
    return (
        before.lstrip("\ufffd") if begun else before,
        match,
        after.rstrip("\ufffd") if going_on else after,
    )
