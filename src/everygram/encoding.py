"""Where text meets ids: what is asked, as checked ids; what is answered, as text.

In: text or ids, one query or many, as users of `Index` give them; out, what the engine takes. And
ids that are answered, read as text in this process or in any other. Knows an index's vocabulary
and tokenizer, which is loaded when text is first wanted, and once per process for all indexes
that have it; knows nothing of segments or searches.
"""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from everygram.arguments import flag, short
from everygram.engine.queries import Ids, Queries, Vocabulary, as_array
from everygram.errors import DamagedIndexError, EverygramError, QueryError, TokenizerError
from everygram.results.base import token_texts
from everygram.storage import directory
from everygram.storage import format as fmt
from everygram.tokenizer.base import RefusedTextError, Tokenizer, cut_text, encode_query
from everygram.tokenizer.choose import stored_tokenizer
from everygram.tokenizer.vocabulary import TokenBytes

Query = str | Ids
# A list of queries, or one array of ids that offsets divide.
Batch = Sequence[Query] | np.ndarray

EMPTY_PROB = (
    "the query is empty: expected an n-gram whose last token is the continuation, or a "
    "continuation beside it"
)

# The tokenizers that this process has loaded. They stay: results that come one by one from another
# process would otherwise load theirs each.
_LOADED: dict[fmt.TokenizerEntry, Tokenizer] = {}
# What their tokens spell, where texts have been looked for: made once for all indexes with the same
# tokenizer (a second time would take a tenth of a second, and megabytes).
_SPELLED: dict[tuple[str, str], TokenBytes] = {}
_SPELLING = threading.Lock()


class _Texts(dict[int, str]):
    """What tokens are shown as: made when first looked for. (Every token of an answer is.)"""

    def __init__(self, reading: "Reading") -> None:
        super().__init__()
        self._reading = reading

    def __missing__(self, token_id: int) -> str:
        text = self[token_id] = self._reading._made(token_id)
        return text


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
    # Segments of the index that could not be reached.
    missing_segments: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[type["Reading"], tuple[Any, ...]]:
        made = self.path, self.dtype, self.separator, self.vocab_size, self.entry
        return Reading, (*made, None, self.missing_segments)

    @property
    def has_tokenizer(self) -> bool:
        """Whether ids can be read as text."""
        return self.entry.kind != "none"

    @property
    def why_none(self) -> str:
        """Why an index has no tokenizer, for messages."""
        if self.entry.source == "none":
            return " (it was built from token ids)"
        return (
            f" ({self.entry.source}; name it with 'everygram attach --tokenizer', or with "
            "`tokenizer` where it is opened)"
        )

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

    @property
    def token_bytes(self) -> TokenBytes:
        """What tokens spell. Raises TokenizerError where a text is not what its tokens spell."""
        tokenizer = self._needed()
        # (The same file is the same tokenizer, wherever it was found.)
        known = self.entry.kind, self.entry.sha256 or self.entry.source
        with _SPELLING:
            if known not in _SPELLED:
                _SPELLED[known] = TokenBytes(tokenizer)
            return _SPELLED[known]

    def token_text(self, token_id: int) -> str:
        """One token for display. Raises TokenizerError where there is no tokenizer."""
        return self._texts[token_id]

    def token_texts(self, ids: Iterable[int]) -> list[str]:
        """Tokens for display. Raises TokenizerError where there is no tokenizer."""
        listed = ids.tolist() if isinstance(ids, np.ndarray) else ids
        return [*map(self._texts.__getitem__, listed)]

    @cached_property
    def _texts(self) -> "_Texts":
        return _Texts(self)

    def _made(self, token_id: int) -> str:
        """What a token is shown as."""
        if token_id == self.separator:
            return "<separator>"
        self._check(token_id)
        return self._needed().token_text(token_id)

    def decode(self, ids: np.ndarray, inside: bool = False) -> str:
        """The text of ids without separators. Raises TokenizerError where there is no tokenizer."""
        self._check(int(ids.max(initial=0)))
        return self._needed().decode(ids, inside)

    def spelled(self, ids: np.ndarray, inside: bool = False) -> bytes:
        """The bytes of a document's ids. `inside`: not from its start."""
        self._check(int(ids.max(initial=0)))
        return self._needed().spelled(ids, inside)

    def numbers(self, ids: np.ndarray) -> np.ndarray:
        """A document's ids as places in `token_bytes`: int64, same shape."""
        self._check(int(ids.max(initial=0)))
        return ids.astype(np.int64)

    def pieces(self, ids: np.ndarray) -> list[str] | None:
        """What each id adds to a document's text; see `Tokenizer.pieces`."""
        self._check(int(ids.max(initial=0)))
        return self._needed().pieces(ids)

    def cut(
        self, ids: np.ndarray, begin: int, end: int, inside: bool = False
    ) -> tuple[str, str, str]:
        """The text of ids in three parts: before ids[begin:end], of ids[begin:end], and after."""
        self._check(int(ids.max(initial=0)))
        return self._needed().cut(ids, begin, end, inside)

    def cut_bytes(
        self, ids: np.ndarray, begin: int, end: int, inside: bool = False
    ) -> tuple[str, str, str]:
        """As `cut`, at bytes of what the ids spell."""
        self._check(int(ids.max(initial=0)))
        return cut_text(self._needed().spelled(ids, inside), begin, end)

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
            return directory.read_tokenizer_json(self.path, self.entry)
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


@dataclass(frozen=True)
class Encoding:
    """Encodes the queries of one index. Raises QueryError, and TokenizerError for text."""

    vocabulary: Vocabulary
    reading: Reading

    def encode(self, query: Query, raw: bool, name: str = "query") -> np.ndarray:
        """The ids a query becomes: int64, shape (m,); messages call it `name`."""
        if query is None:
            raise QueryError(f"{name}: expected a text or token ids, found None")
        if not isinstance(query, str):
            return self.vocabulary.check(query)
        raw = flag("raw", raw, QueryError)
        tokenizer = self.reading.tokenizer
        if tokenizer is None:
            raise TokenizerError(
                f"index '{self.reading.path}' has no tokenizer{self.reading.why_none}: query it "
                "with token ids"
            )
        return encode_query(tokenizer, query, raw)

    def ids(self, query: Query, raw: bool) -> Ids:
        """The ids of a query, as the engine takes those of a single one: not all checked yet."""
        if isinstance(query, list | tuple):
            return query
        # (A set or a mapping has no order, bytes are no ids: neither is a query.)
        ids: list[int] = self.encode(query, raw).tolist()
        return ids

    def query(self, query: Query, raw: bool, name: str = "query") -> Queries:
        """One query; messages call it `name`."""
        if query is None or isinstance(query, str):
            query = self.encode(query, raw, name)
        return self.vocabulary.query(query, name)

    def queries(self, batch: Batch, offsets: Ids | None, raw: bool) -> Queries:
        """A batch."""
        if offsets is not None:
            return self.vocabulary.split(cast(Ids, batch), offsets)
        batch = _listed(batch, "a batch: expected a list of queries")
        if isinstance(batch, np.ndarray) and batch.ndim == 1 and batch.dtype.kind in "iu":
            raise QueryError(
                "a batch: expected a list of queries, found one array of ids; give its offsets, "
                "too, or wrap it in a list"
            )
        if any(issubclass(kind, str) for kind in set(map(type, batch))):
            batch = [self._one_of_many(place, query, raw) for place, query in enumerate(batch)]
        return self.vocabulary.queries(cast(Sequence[Ids], batch))

    def _one_of_many(self, place: int, query: Query, raw: bool) -> Ids:
        """`ids` of the query at this place of a batch; errors name the place."""
        try:
            return self.ids(query, raw)
        except RefusedTextError as error:
            raise TokenizerError(f"query {place}: {error}") from None

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
            continuations = _listed(continuations, "continuations: expected a list")
            if len(continuations) != len(queries):
                raise QueryError(
                    f"continuations: expected one for each of {len(queries):,} queries, found "
                    f"{len(continuations):,}"
                )
            tokens = [
                self._continuation_of(place, token, raw)
                for place, token in enumerate(continuations)
            ]
            ids = np.insert(queries.ids.astype(np.int64), queries.ends, tokens)
            ends = queries.ends + np.arange(1, len(queries) + 1)
            queries = self.vocabulary.split(ids, np.concatenate([[0], ends]))
        empty = np.flatnonzero(queries.starts == queries.ends)
        if empty.size:
            raise QueryError(f"query {empty[0]}: {EMPTY_PROB}")
        return queries

    def _continuation_of(self, place: int, continuation: str | int, raw: bool) -> int:
        """`continuation` of the query at this place of a batch; errors name the place."""
        try:
            return self.continuation(continuation, raw)
        except (QueryError, RefusedTextError) as error:
            raise type(error)(f"query {place}: {error}") from None

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


def _listed(value: Any, expected: str) -> Any:
    """A sequence or an array of at least one dimension; QueryError begins with the `expected`."""
    if isinstance(value, str | bytes | bytearray):
        found = "one string" if isinstance(value, str) else short(value)
        raise QueryError(f"{expected}, found {found}")
    listed = value if isinstance(value, Sequence) else as_array(value, expected)
    if isinstance(listed, np.ndarray) and listed.ndim == 0:
        raise QueryError(f"{expected}, found {short(value)}")
    return listed
