"""Where text meets ids: what is asked, as checked ids; what is answered, as text.

In: text or ids, one query or many, as users of `Index` give them. Out: what the engine takes.
Knows the index's tokenizer and vocabulary; knows nothing of segments or searches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from everygram.engine.queries import Ids, Queries, Vocabulary
from everygram.errors import DamagedIndexError, FormatError, QueryError, TokenizerError
from everygram.results.base import token_texts
from everygram.storage import format as fmt
from everygram.storage.directory import read_tokenizer_json
from everygram.tokenizer.base import Tokenizer, encode_query
from everygram.tokenizer.choose import stored_tokenizer

Query = str | Ids
# A list of queries, or one array of ids that offsets divide.
Batch = Sequence[Query] | np.ndarray

EMPTY_PROB = (
    "the query is empty: expected an n-gram whose last token is the continuation, or a "
    "continuation beside it"
)


@dataclass(frozen=True)
class Reading:
    """How an index's results read. Small: results keep it, and it travels with them.

    The tokenizer is loaded when a text is first asked for, once per process and tokenizer, from
    the index's folder.
    """

    path: Path
    token_dtype: str
    vocab_size: int
    tokenizer: fmt.TokenizerEntry

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Of ids that are bytes."""
        return fmt.TOKEN_DTYPES[self.token_dtype]

    @property
    def has_tokenizer(self) -> bool:
        """Whether ids have a text."""
        return self.tokenizer.kind != "none"

    def load(self) -> Tokenizer | None:
        """The tokenizer, or None. Raises TokenizerError where its index is gone."""
        if not self.has_tokenizer:
            return None
        try:
            return _loaded(self.tokenizer, self.path)
        except FormatError as error:
            raise TokenizerError(f"the tokenizer of a result cannot be read: {error}") from None

    def token_text(self, token_id: int) -> str:
        """The text of one token."""
        if token_id == fmt.separator_of(self.token_dtype):
            return "<separator>"
        self._check_known(token_id)
        return cast(Tokenizer, self.load()).token_text(token_id)

    def decode(self, ids: np.ndarray) -> str:
        """The text of ids, without separators among them."""
        self._check_known(int(ids.max(initial=0)))
        return cast(Tokenizer, self.load()).decode(ids)

    def _check_known(self, token_id: int) -> None:
        """Raise DamagedIndexError for an id that no sound index holds.

        (The tokenizer has the same vocabulary; to ask it takes as long as 100,000 queries.)
        """
        if token_id >= max(1, self.vocab_size):
            raise DamagedIndexError(
                f"the index is damaged: it holds token id {token_id}, its vocabulary has "
                f"{self.vocab_size:,}; see 'everygram verify'"
            )


@dataclass(frozen=True)
class Encoding:
    """Encodes the queries of one index. Raises QueryError, and TokenizerError for text."""

    vocabulary: Vocabulary
    reading: Reading

    def encode(self, query: Query, raw: bool) -> np.ndarray:
        """The ids a query becomes: int64, shape (m,)."""
        if not isinstance(query, str):
            return self.vocabulary.check(query)
        tokenizer = self.reading.load()
        if tokenizer is None:
            raise TokenizerError(
                f"index '{self.reading.path}' has no tokenizer (it was built from token ids): "
                "query it with token ids"
            )
        return encode_query(tokenizer, query, raw)

    def decode(self, ids: np.ndarray) -> str:
        """The text of ids."""
        if not self.reading.has_tokenizer:
            raise TokenizerError(f"index '{self.reading.path}' has no tokenizer to decode with")
        return self.reading.decode(ids)

    def ids(self, query: Query, raw: bool) -> Ids:
        """The ids of a query, as the engine takes those of a single one: not checked yet."""
        return self.encode(query, raw).tolist() if isinstance(query, str) else query

    def query(self, query: Query, raw: bool, name: str = "query") -> Queries:
        """One query; messages call it `name`."""
        ids = self.encode(query, raw) if isinstance(query, str) else query
        return self.vocabulary.query(ids, name)

    def queries(self, batch: Batch, offsets: Ids | None, raw: bool) -> Queries:
        """A batch."""
        if isinstance(batch, str) or not isinstance(batch, Sequence | np.ndarray):
            found = "one string" if isinstance(batch, str) else repr(batch)
            raise QueryError(f"a batch: expected a list of queries, found {found}")
        if offsets is not None:
            return self.vocabulary.split(cast(Ids, batch), offsets)
        if isinstance(batch, np.ndarray) and batch.ndim == 1 and batch.dtype.kind in "iu":
            raise QueryError(
                "a batch: expected a list of queries, found one array of ids; give its offsets, "
                "too, or wrap it in a list"
            )
        if any(issubclass(kind, str) for kind in set(map(type, batch))):
            batch = [self.ids(query, raw) for query in batch]
        return self.vocabulary.queries(cast(Sequence[Ids], batch))

    def prompts(
        self,
        batch: Batch,
        continuations: Sequence[str | int] | None,
        offsets: Ids | None,
        raw: bool,
    ) -> Queries:
        """A batch of prompts, each with its continuation behind it."""
        queries = self.queries(batch, offsets, raw)
        if continuations is not None:
            if not isinstance(continuations, Sequence | np.ndarray):
                raise QueryError(f"continuations: expected a list, found {continuations!r}")
            if len(continuations) != len(queries):
                raise QueryError(
                    f"continuations: expected one for each of {len(queries):,} queries, found "
                    f"{len(continuations):,}"
                )
            tokens = [self.continuation(token, raw) for token in continuations]
            ids = np.insert(queries.ids.astype(np.int64), queries.ends, tokens)
            ends = queries.ends + np.arange(1, len(queries) + 1)
            queries = self.vocabulary.split(ids, np.concatenate([[0], ends]))
        empty = np.flatnonzero(queries.starts == queries.ends)
        if empty.size:
            raise QueryError(f"query {empty[0]}: {EMPTY_PROB}")
        return queries

    def prompt(self, query: Query, continuation: str | int | None, raw: bool) -> tuple[Ids, int]:
        """The ids of a prompt, not checked yet, and of its continuation."""
        ids = self.ids(query, raw)
        if continuation is not None:
            return ids, self.continuation(continuation, raw)
        checked = self.vocabulary.check(ids).tolist()
        if not checked:
            raise QueryError(f"prob: {EMPTY_PROB}")
        return checked[:-1], checked[-1]

    def continuation(self, continuation: str | int, raw: bool) -> int:
        """The one token a continuation is."""
        if type(continuation) is int and 0 <= continuation < self.vocabulary.vocab_size:
            return continuation
        if not isinstance(continuation, str):
            return self.vocabulary.check_continuation(continuation)
        encoded = self.encode(continuation, raw)
        if encoded.shape[0] != 1:
            raise QueryError(
                f"continuation {continuation!r}: expected one token, found {encoded.shape[0]}: "
                f"{token_texts(encoded, self.reading)}"
            )
        return int(encoded[0])


def remember(entry: fmt.TokenizerEntry, data: bytes | None) -> None:
    """Keep what an index that is opened has as its tokenizer's file, until it is loaded."""
    if data is not None and entry not in _tokenizers:
        _files[entry] = data


def _loaded(entry: fmt.TokenizerEntry, path: Path) -> Tokenizer | None:
    """The tokenizer of an index, of which only the first of each hash is loaded."""
    known = _tokenizers.get(entry)
    if known is None:
        data = _files.get(entry) or read_tokenizer_json(path, entry)
        known = _tokenizers[entry] = stored_tokenizer(entry.kind, entry.source, data)
        _files.pop(entry, None)
    return known


_files: dict[fmt.TokenizerEntry, bytes] = {}
_tokenizers: dict[fmt.TokenizerEntry, Tokenizer | None] = {}
