"""`Reading`: what an index's ids are as text, in this process or in any other.

In: where an index lies and what its manifest says of its tokenizer. Out: the text of ids. The
tokenizer is loaded when a text is first wanted, and once per process for all indexes that have
it. Knows nothing of segments or queries.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from everygram.errors import DamagedIndexError, EverygramError, TokenizerError
from everygram.storage import directory
from everygram.storage import format as fmt
from everygram.tokenizer.base import Tokenizer
from everygram.tokenizer.choose import stored_tokenizer

# The tokenizers that this process has loaded. They stay: results that come one by one from another
# process would otherwise load theirs each.
_LOADED: dict[fmt.TokenizerEntry, Tokenizer] = {}


@dataclass(frozen=True)
class Reading:
    """How an index's results are read; equal when it is of the same index.

    It pickles as the index's absolute path and what the manifest says of the ids, so that results
    travel between processes. Elsewhere it reads the tokenizer from the index's folder, and only
    when a text is wanted. It does not lead back to the `Index`, which results must not keep alive.
    """

    path: Path
    dtype: np.dtype[Any]
    separator: int
    vocab_size: int
    entry: fmt.TokenizerEntry
    # The index's tokenizer.json, where the index is open.
    tokenizer_json: bytes | None = field(default=None, repr=False, compare=False)

    def __reduce__(self) -> tuple[type["Reading"], tuple[Any, ...]]:
        return Reading, (self.path, self.dtype, self.separator, self.vocab_size, self.entry)

    @property
    def has_tokenizer(self) -> bool:
        """Whether ids can be read as text."""
        return self.entry.kind != "none"

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        """The index's tokenizer, or None. Raises TokenizerError where it cannot be had."""
        if not self.has_tokenizer:
            return None
        if self.entry not in _LOADED:
            data = self.tokenizer_json
            if data is None and self.entry.sha256 is not None:
                data = self._stored()
            loaded = stored_tokenizer(self.entry.kind, self.entry.source, data)
            if loaded is None:
                raise TokenizerError(
                    f"index '{self.path}': expected a tokenizer of kind bytes, huggingface or "
                    f"sentencepiece, found '{self.entry.kind}'; upgrade everygram"
                )
            _LOADED[self.entry] = loaded
        return _LOADED[self.entry]

    def token_text(self, token_id: int) -> str:
        """One token for display. Raises TokenizerError where there is no tokenizer."""
        if token_id == self.separator:
            return "<separator>"
        self._check(token_id)
        return self._needed().token_text(token_id)

    def decode(self, ids: np.ndarray) -> str:
        """The text of ids without separators. Raises TokenizerError where there is no tokenizer."""
        self._check(int(ids.max(initial=0)))
        return self._needed().decode(ids)

    def _needed(self) -> Tokenizer:
        if self.tokenizer is None:
            raise TokenizerError(f"index '{self.path}' has no tokenizer to decode with")
        return self.tokenizer

    def _stored(self) -> bytes | None:
        """The tokenizer.json of the index as it is on disk now."""
        try:
            manifest = directory.read_manifest(self.path)
            if manifest.tokenizer != self.entry:
                raise TokenizerError("it was built anew with another tokenizer")
            return directory.read_tokenizer_json(self.path, manifest)
        except EverygramError as error:
            raise TokenizerError(
                f"index '{self.path}': its tokenizer, which shows tokens as text, cannot be read "
                f"({error}); put the index back there, or go on with token ids, counts and "
                "probabilities, which need none"
            ) from None

    def _check(self, token_id: int) -> None:
        """Raise DamagedIndexError for an id that no sound index holds.

        (The tokenizer has the same vocabulary; to ask it takes as long as a hundred thousand
        queries.)
        """
        if token_id >= max(1, self.vocab_size):
            raise DamagedIndexError(
                f"the index is damaged: it holds token id {token_id}, its vocabulary has "
                f"{self.vocab_size:,}; see 'everygram verify'"
            )
