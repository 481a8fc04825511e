"""`Index`: what `everygram.open` returns. Strings or token ids in, typed results out."""

import os
import random
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from everygram import index as directory
from everygram.engine import Engine, Ids
from everygram.errors import QueryError, TokenizerError
from everygram.results import Count, Distribution, Document, Matches, Prob, TokenText
from everygram.tokenizer import Tokenizer, encode_query, stored_tokenizer

Query = str | Ids

# Tokens on each side of a match that `document` shows unless told otherwise.
CONTEXT = 50


def open(path: str | os.PathLike[str]) -> "Index":
    """Open an index; it needs nothing but its folder.

    Reads the manifest and checks the files' sizes: milliseconds at any size. Raises FormatError
    for a folder that is no index of this version, DamagedIndexError for one with files missing,
    cut off or changed.
    """
    return Index(path)


class Index:
    """An open index: exact counts, probabilities, distributions and documents.

    Every query is a string or token ids (a list or an integer array). A string is encoded with
    the index's own tokenizer after its `query_prefix` (`raw=True` leaves that out); the result's
    `token_ids` and `tokens` show what it became. All raise QueryError for ids outside the
    vocabulary and TokenizerError for a string where the index has no tokenizer. Methods may be
    called from several threads.

    >>> with everygram.open("demo") as index:
    ...     index.count("the standard library")
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.manifest = directory.read_manifest(self.path)
        segments = directory.open_segments(self.path, self.manifest)
        self.engine: Engine = Engine(segments, self.manifest.vocab_size, self.manifest.separator)
        self._tokenizer_json = directory.read_tokenizer_json(self.path, self.manifest)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files. Results already given stay good; further queries raise."""
        vars(self).pop("engine", None)

    def __getattr__(self, name: str) -> Any:
        if name == "engine":
            raise QueryError(f"index '{self.path}' is closed")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        return (
            f"<everygram.Index '{self.path}': {self.num_tokens:,} tokens, "
            f"{self.num_documents:,} documents, {len(self.manifest.segments)} segments, "
            f"{self.manifest.dtype}, tokenizer {self.manifest.tokenizer.source!r}>"
        )

    @property
    def num_tokens(self) -> int:
        """Tokens in all documents, separators not counted."""
        return sum(segment.num_tokens for segment in self.manifest.segments)

    @property
    def num_documents(self) -> int:
        """Documents, numbered from 0."""
        return sum(segment.num_documents for segment in self.manifest.segments)

    @property
    def vocab_size(self) -> int:
        """Ids are in [0, vocab_size)."""
        return self.manifest.vocab_size

    @property
    def separator(self) -> int:
        """The id that stands for a document's start and end."""
        return self.manifest.separator

    @cached_property
    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer the index was built with, or None. Loaded when first needed."""
        stored = self.manifest.tokenizer
        return stored_tokenizer(stored.kind, stored.source, self._tokenizer_json)

    def info(self) -> dict[str, Any]:
        """What the index is, as JSON values."""
        manifest = self.manifest
        return {
            "path": str(self.path),
            "num_documents": self.num_documents,
            "num_tokens": self.num_tokens,
            "num_segments": len(manifest.segments),
            "bytes": sum(f.bytes for s in manifest.segments for f in s.files.values()),
            "dtype": manifest.dtype,
            "separator": manifest.separator,
            "vocab_size": manifest.vocab_size,
            "tokenizer": manifest.tokenizer.source,
            "tokenizer_sha256": manifest.tokenizer.sha256,
            "query_prefix": manifest.tokenizer.query_prefix,
            "format_version": manifest.format_version,
            "everygram_version": manifest.everygram_version,
        }

    def encode(self, query: Query, *, raw: bool = False) -> np.ndarray:
        """The ids a query becomes: int64, shape (m,)."""
        if not isinstance(query, str):
            return self.engine.check_query(query)
        if self.tokenizer is None:
            raise TokenizerError(
                f"index '{self.path}' has no tokenizer (it was built from token ids): query it "
                "with token ids"
            )
        return encode_query(self.tokenizer, query, raw)

    def decode(self, ids: Ids) -> str:
        """The text of ids, separators left out."""
        checked = self.engine.check_query(ids)
        if self.tokenizer is None:
            raise TokenizerError(f"index '{self.path}' has no tokenizer to decode with")
        return self.tokenizer.decode(checked[checked != self.separator])

    def count(self, query: Query, *, raw: bool = False) -> Count:
        """How often the query occurs: an `int` with `token_ids` and `tokens`.

        The empty query counts every token and every document's end.
        """
        ids = self.encode(query, raw=raw)
        return Count(self.engine.count(ids), ids, self._token_text)

    def count_batch(self, queries: Sequence[Query], *, raw: bool = False) -> np.ndarray:
        """How often each query occurs: int64, shape (len(queries),)."""
        if isinstance(queries, str):
            raise QueryError("count_batch: expected a list of queries, found one string")
        return self.engine.count_batch([self.encode(query, raw=raw) for query in queries])

    def prob(
        self, query: Query, continuation: str | int | None = None, *, raw: bool = False
    ) -> Prob:
        """P(continuation | query) from n-gram counts: one token after a prompt.

        Without a continuation it is the query's last token, and the prompt what stands before.
        A string continuation must be one token.
        """
        prompt, token_id = self._prompt_and_continuation(query, continuation, raw)
        counts = self.engine.prob(prompt, token_id)
        return Prob(prompt, self._token_text, token_id, *counts, suffix_len=prompt.shape[0])

    def infgram_prob(
        self, query: Query, continuation: str | int | None = None, *, raw: bool = False
    ) -> Prob:
        """As `prob`, with the longest suffix of the prompt that occurs in the corpus (∞-gram).

        Never undefined in an index that has documents. Source: Liu et al. 2024, section 2.
        """
        prompt, token_id = self._prompt_and_continuation(query, continuation, raw)
        return Prob(prompt, self._token_text, token_id, *self.engine.infgram_prob(prompt, token_id))

    def ntd(self, prompt: Query, *, raw: bool = False) -> Distribution:
        """The next-token distribution after the prompt, exact; empty if it does not occur."""
        ids = self.encode(prompt, raw=raw)
        return Distribution(ids, self._token_text, *self.engine.ntd(ids), suffix_len=ids.shape[0])

    def infgram_ntd(self, prompt: Query, *, raw: bool = False) -> Distribution:
        """As `ntd`, after the longest suffix of the prompt that occurs in the corpus."""
        ids = self.encode(prompt, raw=raw)
        return Distribution(ids, self._token_text, *self.engine.infgram_ntd(ids))

    def find(
        self,
        query: Query,
        *,
        offset: int = 0,
        limit: int = 10,
        sample: int | None = None,
        seed: int = 0,
        raw: bool = False,
    ) -> Matches:
        """Where the query occurs: its intervals, and some of its occurrences.

        `offset` and `limit` page through all occurrences in a fixed order (by segment and rank);
        `sample` instead draws that many different ones, the same for the same `seed`.
        """
        ids = self.encode(query, raw=raw)
        for name, value in (("offset", offset), ("limit", limit), ("sample", sample)):
            if value is not None or name != "sample":
                _check_natural(name, value)
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise QueryError(f"seed: expected an integer, found {seed!r}")
        intervals = self.engine.find(ids)
        count = int((intervals[:, 1] - intervals[:, 0]).sum())
        chosen: Sequence[int] = range(min(offset, count), min(offset + limit, count))
        if sample is not None:
            chosen = sorted(random.Random(seed).sample(range(count), min(sample, count)))
        return self._matches(ids, intervals, count, chosen)

    def document(
        self,
        number: int | None = None,
        *,
        query: Query | None = None,
        occurrence: int = 0,
        context: int | None = None,
        raw: bool = False,
    ) -> Document:
        """A document: by its number, or by an occurrence of a query.

        With a query, `occurrence` counts through what `find` lists in order, `match` is set, and
        only `context` tokens (50 unless given) around the match are fetched. By number, all of
        the document is, or its first `context` tokens.
        """
        if (number is None) == (query is None):
            raise QueryError("document: expected a number or a query, one of the two")
        if query is None and occurrence != 0:
            raise QueryError("occurrence: goes with a query, not with a document's number")
        if context is not None:
            _check_natural("context", context)
        decode = self._decode
        if query is None:
            assert number is not None
            ids, metadata = self.engine.document(number)
            shown = ids[:context]
            return Document(int(number), metadata, ids.shape[0], 0, shown, None, None, None, decode)
        wanted = self.encode(query, raw=raw)
        intervals = self.engine.find(wanted)
        count = int((intervals[:, 1] - intervals[:, 0]).sum())
        _check_natural("occurrence", occurrence)
        if occurrence >= count:
            raise QueryError(
                f"occurrence {occurrence}: the query occurs {count:,} times"
                + (f", numbered from 0 to {count - 1}" if count else "")
            )
        place = next(iter(self._matches(wanted, intervals, count, [occurrence])))
        ids, metadata = self.engine.document(place.document)
        length = ids.shape[0]
        # A separator at either end of the query matches beside the document's tokens.
        begin = max(0, place.offset)
        match = begin, max(begin, min(length, place.offset + wanted.shape[0]))
        around = CONTEXT if context is None else context
        start, end = max(0, match[0] - around), min(length, match[1] + around)
        shown = ids[start:end]
        return Document(
            place.document, metadata, length, start, shown, match, occurrence, count, decode
        )

    def _matches(
        self, ids: np.ndarray, intervals: np.ndarray, count: int, chosen: Sequence[int]
    ) -> Matches:
        segments, ranks, positions = self.engine.locate(intervals, np.array(chosen, np.int64))
        documents, offsets = self.engine.documents_at(segments, positions)
        return Matches(
            ids, self._token_text, count, intervals, segments, ranks, positions, documents, offsets
        )

    def _prompt_and_continuation(
        self, query: Query, continuation: str | int | None, raw: bool
    ) -> tuple[np.ndarray, int]:
        ids = self.encode(query, raw=raw)
        if continuation is None:
            if ids.shape[0] == 0:
                raise QueryError(
                    "prob: the query is empty: expected an n-gram whose last token is the "
                    "continuation, or a continuation beside it"
                )
            return ids[:-1], int(ids[-1])
        if not isinstance(continuation, str):
            return ids, self.engine.check_continuation(continuation)
        encoded = self.encode(continuation, raw=raw)
        if encoded.shape[0] != 1:
            tokens = [self._token_text(i) for i in encoded.tolist()] if self._token_text else []
            raise QueryError(
                f"continuation {continuation!r}: expected one token, found {len(tokens)}: {tokens}"
            )
        return ids, int(encoded[0])

    @property
    def _token_text(self) -> TokenText:
        return None if self.manifest.tokenizer.kind == "none" else self._show_token

    def _show_token(self, token_id: int) -> str:
        # Loads the tokenizer only once a token is looked at: a count of ids need not wait.
        assert self.tokenizer is not None
        return "<separator>" if token_id == self.separator else self.tokenizer.token_text(token_id)

    @property
    def _decode(self) -> Any:
        return None if self.tokenizer is None else self.tokenizer.decode


def _check_natural(name: str, value: object) -> None:
    """Raise QueryError unless `value` is an integer from 0 on."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise QueryError(f"{name}: expected 0 or more, found {value!r}")
