"""What a service says of an index, which a remote index says in turn."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from everygram.client.asking import WHOLE
from everygram.client.reading import RemoteReading, reading_of
from everygram.errors import TokenizerError
from everygram.tokenizer.base import Tokenizer, utf8


class Described:
    """An index of a service, as the service described it last.

    fixed: whether an answer of another state than `version` is an error, and not followed. It is
    for what is put together of many answers. whole: the most queries of a batch that go as one
    JSON body, fewer once the service has refused so many.
    """

    def __init__(self, info: dict[str, Any], fetch: Callable[[], bytes]) -> None:
        self._fetch, self.fixed, self.whole = fetch, False, WHOLE
        self.describe(info)

    def describe(self, info: dict[str, Any]) -> bool:
        """Take a new description; returns whether the index had changed."""
        changed = getattr(self, "_info", {}).get("index_version") != info["index_version"]
        self._info = info
        if changed:
            self.reading: RemoteReading = reading_of(info, self._fetch)
        return bool(changed)

    def check_text(self, text: str) -> None:
        """Raise TokenizerError where texts cannot be asked, or not this one: no JSON can say it."""
        if not self.reading.has_tokenizer:
            raise TokenizerError(
                f"index '{self.name}' has no tokenizer (it was built from token ids): query it "
                "with token ids"
            )
        utf8(text)

    @property
    def name(self) -> str:
        """Its name at the service."""
        name: str = self._info["name"]
        return name

    @property
    def path(self) -> Path:
        """The name, where an index on disk has its folder."""
        return Path(self.name)

    @property
    def version(self) -> str:
        """16 hex digits that name the state of the index: others in it after any change."""
        version: str = self._info["index_version"]
        return version

    @property
    def num_tokens(self) -> int:
        """Tokens in all documents, separators and deleted documents not counted."""
        tokens: int = self._info["num_tokens"]
        return tokens

    @property
    def num_documents(self) -> int:
        """Documents, deleted ones not counted."""
        documents: int = self._info["num_documents"]
        return documents

    @property
    def vocab_size(self) -> int:
        """Ids are in [0, vocab_size)."""
        size: int = self._info["vocab_size"]
        return size

    @property
    def separator(self) -> int:
        """The id that stands for a document's start and end."""
        separator: int = self._info["separator"]
        return separator

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer the index was built with, or None. Fetched when first needed."""
        return self.reading.tokenizer

    def info(self) -> dict[str, Any]:
        """What the service says of the index, as JSON values: as `Index.info`, with `name` and
        `index_version` in place of the path."""
        return dict(self._info)

    def warm_up(self) -> None:
        """Nothing: the service is warm."""

    def __repr__(self) -> str:
        return (
            f"<everygram.{type(self).__name__} '{self.name}': {self.num_tokens:,} tokens, "
            f"{self.num_documents:,} documents, tokenizer {self._info['tokenizer']!r}>"
        )
