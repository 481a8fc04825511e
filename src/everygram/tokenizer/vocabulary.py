"""The bytes that every token of a tokenizer spells, sorted for searches of texts.

Knows tokens and bytes; knows nothing of texts that are looked for, or of indexes.
"""

from functools import cached_property
from itertools import pairwise

import numpy as np

from everygram.tokenizer.base import Tokenizer


class TokenBytes:
    """What the tokens spell inside a text.

    blob: uint8, the bytes of all tokens, id after id. starts: int64, shape (V + 1,): token t is
    blob[starts[t]:starts[t + 1]]. dropped: int32, shape (V,): how many of its first bytes a token
    loses where it begins a document (SentencePiece's own space). order: int32, shape (V,): the ids
    sorted by their bytes.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Raises TokenizerError where a text is not what its tokens spell, one after another."""
        spelled, at_start = tokenizer.spellings()
        lengths = np.fromiter(map(len, spelled), np.int64, len(spelled))
        self.starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        self.blob = np.frombuffer(b"".join(spelled), np.uint8)
        kept = np.fromiter(map(len, at_start), np.int64, len(at_start))
        self.dropped = (lengths - kept).astype(np.int32)
        self.order = np.array(sorted(range(len(spelled)), key=spelled.__getitem__), np.int32)

    @cached_property
    def owners(self) -> np.ndarray:
        """The token of each byte of the blob: int32."""
        return np.repeat(np.arange(self.order.shape[0], dtype=np.int32), np.diff(self.starts))

    @cached_property
    def places(self) -> list[np.ndarray]:
        """Of each byte, where it stands in the blob: int64, ascending."""
        order = np.argsort(self.blob, kind="stable")
        bounds = np.searchsorted(self.blob[order], np.arange(257))
        return [order[begin:end] for begin, end in pairwise(bounds.tolist())]
