"""The bytes that every token of a tokenizer spells, sorted for searches of texts.

Knows tokens and bytes; knows nothing of texts that are looked for, or of indexes.
"""

from functools import cached_property

import numpy as np

from everygram.errors import TokenizerError
from everygram.tokenizer.base import Tokenizer


class TokenBytes:
    """What the tokens spell inside a text.

    blob: uint8, the bytes of all tokens, id after id. starts: int64, shape (V + 1,): token t is
    blob[starts[t]:starts[t + 1]]. dropped: int32, shape (V,): how many of its first bytes a token
    loses where it begins a document (SentencePiece's own space). vanishes: bool, shape (V,): if the
    token behind it then loses the same as if it was the first. order: int32, shape (V,): the ids
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
        losing = np.flatnonzero(self.dropped)
        for token in losing.tolist():
            if not spelled[token].endswith(at_start[token]):
                raise TokenizerError(
                    f"tokenizer: token {token} spells {spelled[token]!r}, but {at_start[token]!r} "
                    "at the start of a document, which is no end of it; query with token ids"
                )
        self.vanishes = np.zeros(lengths.shape[0], np.bool_)
        for token in np.flatnonzero(kept == 0).tolist() if losing.shape[0] else ():
            both = tokenizer.spelled(np.array([token, losing[-1]]))
            self.vanishes[token] = both == at_start[losing[-1]]
        self.order = np.array(sorted(range(len(spelled)), key=spelled.__getitem__), np.int32)

    def lost(self, ids: np.ndarray) -> int:
        """How many bytes the tokens of a document lose at its start. ids: int64, shape (m,): those
        up to one of which something is left, or more."""
        # (Tokens of which nothing is left there, and the first of which something is.)
        first = int(np.append(self.vanishes[ids], False).argmin())
        return int(self.dropped[ids[: first + 1]].sum())

    @cached_property
    def characters(self) -> np.ndarray:
        """How many characters begin in each token: int32, shape (V,)."""
        begun = np.concatenate([np.zeros(1, np.int64), np.cumsum((self.blob & 0xC0) != 0x80)])
        counts: np.ndarray = np.diff(begun[self.starts]).astype(np.int32)
        return counts

    @cached_property
    def whole(self) -> np.ndarray:
        """Whether each token is whole characters of UTF-8: bool, shape (V,)."""
        high = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.blob >= 0x80)])
        whole: np.ndarray = np.diff(high[self.starts]) == 0
        data = self.blob.tobytes()
        for token in np.flatnonzero(~whole).tolist():
            try:
                data[self.starts[token] : self.starts[token + 1]].decode()
            except UnicodeDecodeError:
                continue
            whole[token] = True
        return whole

    @cached_property
    def drops(self) -> bool:
        """Whether any token loses bytes at the start of a document."""
        return bool(self.dropped.any())

    @cached_property
    def owners(self) -> np.ndarray:
        """The token of each byte of the blob: int32."""
        return np.repeat(np.arange(self.order.shape[0], dtype=np.int32), np.diff(self.starts))

    @cached_property
    def _pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Places of the blob before another byte of the same token, in the order of both bytes, and
        where those of each pair of bytes begin."""
        places = np.arange(max(0, self.blob.shape[0] - 1))
        places = places[self.owners[:-1] == self.owners[1:]]
        pairs = self.blob[places].astype(np.uint16) << 8 | self.blob[places + 1]
        order = np.argsort(pairs, kind="stable")
        return places[order], np.searchsorted(pairs[order], np.arange((1 << 16) + 1))

    @cached_property
    def _lasts(self) -> tuple[np.ndarray, np.ndarray]:
        """The tokens with bytes in the order of their last one, and where those of each begin."""
        tokens = np.flatnonzero(np.diff(self.starts))
        lasts = self.blob[self.starts[tokens + 1] - 1]
        order = np.argsort(lasts, kind="stable")
        return tokens[order], np.searchsorted(lasts[order], np.arange(257))

    def places(self, byte: int, after: int | None = None) -> np.ndarray:
        """Where a byte stands in the blob with another behind it in the same token (which is
        `after` unless that is None): int64."""
        places, bounds = self._pairs
        first = byte << 8 | (after or 0)
        last = first + (256 if after is None else 1)
        return places[bounds[first] : bounds[last]]

    def ending_in(self, byte: int) -> np.ndarray:
        """The tokens that end with a byte: int64."""
        tokens, bounds = self._lasts
        return tokens[bounds[byte] : bounds[byte + 1]]
