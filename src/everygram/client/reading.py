"""How ids that a service answers are read as text: by its tokenizer, fetched when wanted."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from everygram.encoding import Reading
from everygram.errors import TokenizerError
from everygram.storage import format as fmt
from everygram.tokenizer.base import Tokenizer
from everygram.tokenizer.choose import stored_tokenizer


@dataclass(frozen=True)
class RemoteReading(Reading):
    """The reading of a service's index. `path` is the index's name there; `indexes`: of a union,
    those of its indexes.

    Pickled, it takes the tokenizer along, and fetches it for that.
    """

    fetch: Callable[[], bytes] | None = field(default=None, repr=False, compare=False)
    indexes: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[type[Reading], tuple[Any, ...]]:
        data = self._stored() if self.entry.sha256 is not None else None
        entry = self.entry if data is None else _entry_of(self.entry, data)
        return RemoteReading, (
            self.path,
            self.dtype,
            self.separator,
            self.vocab_size,
            entry,
            data,
            (),
            None,
            self.indexes,
        )

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        """The index's tokenizer, or None. Raises TokenizerError, ServiceError."""
        if not self.has_tokenizer:
            return None
        if self.entry not in _LOADED:
            data = None if self.entry.sha256 is None else self._stored()
            kind = self.entry.kind if data is None else _entry_of(self.entry, data).kind
            loaded = stored_tokenizer(kind, self.entry.source, data)
            if loaded is None:
                raise TokenizerError(
                    f"index '{self.path}': its tokenizer '{self.entry.source}' is of a kind that "
                    "this everygram does not know; upgrade it"
                )
            _LOADED[self.entry] = loaded
        return _LOADED[self.entry]

    def _stored(self) -> bytes | None:
        """The service's tokenizer.json."""
        if self.tokenizer_json is not None:
            return self.tokenizer_json
        if self.fetch is None:
            raise TokenizerError(f"index '{self.path}': its tokenizer was not fetched")
        data = self.fetch()
        found = hashlib.sha256(data).hexdigest()
        if found != self.entry.sha256:
            raise TokenizerError(
                f"index '{self.path}': expected a tokenizer with the SHA-256 {self.entry.sha256}, "
                f"found {found}; call refresh() if the index was built anew"
            )
        return data


# The tokenizers that this process has loaded, as for indexes on disk.
_LOADED: dict[fmt.TokenizerEntry, Tokenizer] = {}
# What stands for the kind until the file is there.
FILE = "file"


def _entry_of(entry: fmt.TokenizerEntry, data: bytes) -> fmt.TokenizerEntry:
    """The entry with the kind that the file is of."""
    try:
        kind = json.loads(data).get("type")
    except (ValueError, AttributeError, RecursionError):
        raise TokenizerError(
            f"tokenizer '{entry.source}': expected JSON from the service"
        ) from None
    kind = kind if kind == "sentencepiece" else "huggingface"
    return fmt.TokenizerEntry(kind, entry.source, entry.sha256, entry.query_prefix)


def reading_of(info: dict[str, Any], fetch: Callable[[], bytes]) -> RemoteReading:
    """How to read the ids of an index that a service describes so."""
    sha256 = info["tokenizer_sha256"]
    kind = FILE if sha256 is not None else "bytes" if info["tokenizer"] == "bytes" else "none"
    return RemoteReading(
        Path(info["name"]),
        np.dtype(fmt.TOKEN_DTYPES[info["dtype"]]),
        info["separator"],
        info["vocab_size"],
        fmt.TokenizerEntry(kind, info["tokenizer"], sha256, info["query_prefix"]),
        None,
        (),
        fetch,
        tuple(info.get("indexes", ())),
    )
