"""`Index`: what `everygram.open` returns. Strings or token ids in, typed results out."""

import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, cast

import numpy as np

from everygram.encoding import Reading
from everygram.engine.engine import NO_LIMIT, Engine, Ids
from everygram.errors import QueryError, TokenizerError
from everygram.results.base import token_texts
from everygram.results.documents import Document, Matches
from everygram.results.ngrams import Count, Counts, Distribution, Distributions, Prob, Probs
from everygram.results.texts import LongestMatches, Scores
from everygram.storage import directory
from everygram.storage import format as fmt
from everygram.storage.segment import PRELOADABLE
from everygram.tokenizer.base import Tokenizer, encode_query

Query = str | Ids
# A list of queries, or one array of ids that offsets divide.
Queries = Sequence[Query] | np.ndarray

# Tokens on each side of a match that `document` shows unless told otherwise.
CONTEXT = 50
EMPTY_PROB = (
    "the query is empty: expected an n-gram whose last token is the continuation, or a "
    "continuation beside it"
)


def open(
    path: str | os.PathLike[str], *, preload: str | Sequence[str] = (), verify: bool = False
) -> "Index":
    """Open an index; it needs nothing but its folder.

    Reads the manifest and checks the files' sizes: milliseconds at any size. With `verify`, and of
    indexes of up to 16 MiB in any case, every byte is checked against its checksum first, at about
    a gigabyte a second; any other that was damaged after it was written may answer wrongly.

    What queries read of the files the system keeps in memory while there is room. `preload` reads
    parts into memory of this process's own right away, where nothing drives them out: some of
    "fences" (a tenth of the index; what every search reads), "suffix_array" and "tokens", or
    "all". Raises FormatError for a folder that is no index of a version this one reads,
    DamagedIndexError for one with files missing, cut off or changed.
    """
    return Index(path, preload=preload, verify=verify)


class _Closed:
    """What a closed index has for an engine."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __getattr__(self, name: str) -> Any:
        raise QueryError(f"index '{self._path}' is closed")


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

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        preload: str | Sequence[str] = (),
        verify: bool = False,
        before: "Index | None" = None,
    ) -> None:
        """As `open`; segments that are as they were in the index `before` are not opened again."""
        self.path = Path(path)
        opened = () if before is None else before.engine.segments
        self.manifest, segments, tokenizer_json = directory.open_index(self.path, opened, verify)
        self._preload, self._verify = preload, verify
        parts = (preload,) if isinstance(preload, str) else tuple(preload)
        self.engine: Engine = Engine(
            segments,
            self.manifest.vocab_size,
            self.manifest.separator,
            self.manifest.next_document,
            PRELOADABLE if "all" in parts else parts,
        )
        self.reading = Reading(
            self.path.absolute(),
            fmt.TOKEN_DTYPES[self.manifest.dtype],
            self.manifest.separator,
            self.manifest.vocab_size,
            self.manifest.tokenizer,
            tokenizer_json,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files. Results already given stay good; further queries raise."""
        # (Not by a `__getattr__` of this class, which would make every attribute slow.)
        self.engine = cast(Engine, _Closed(self.path))

    def latest(self) -> "Index":
        """This index as it is on disk now: itself if nothing has changed, else a new one.

        An index goes on answering from what it was when it was opened, whatever writers do. The
        new one opens only what is new. Raises as `open`.
        """
        if directory.read_manifest(self.path) == self.manifest:
            return self
        return Index(self.path, preload=self._preload, verify=self._verify, before=self)

    def refresh(self) -> bool:
        """Become `latest`; returns whether anything had changed.

        Queries that other threads are at are answered from before.
        """
        latest = self.latest()
        if latest is self:
            return False
        vars(self).update(vars(latest))
        return True

    def __getstate__(self) -> dict[str, Any]:
        # Another process opens the index itself.
        path = self.path.absolute()
        return {"path": path, "preload": self._preload, "verify": self._verify}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Index.__init__(self, **state)

    def __repr__(self) -> str:
        return (
            f"<everygram.Index '{self.path}': {self.num_tokens:,} tokens, "
            f"{self.num_documents:,} documents, {len(self.manifest.segments)} segments, "
            f"{self.manifest.dtype}, tokenizer {self.manifest.tokenizer.source!r}>"
        )

    @property
    def num_tokens(self) -> int:
        """Tokens in all documents, separators and deleted documents not counted."""
        return self.manifest.num_tokens

    @property
    def num_documents(self) -> int:
        """Documents, deleted ones not counted."""
        return self.manifest.num_documents

    @property
    def vocab_size(self) -> int:
        """Ids are in [0, vocab_size)."""
        return self.manifest.vocab_size

    @property
    def separator(self) -> int:
        """The id that stands for a document's start and end."""
        return self.manifest.separator

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer the index was built with, or None. Loaded when first needed."""
        return self.reading.tokenizer

    def info(self) -> dict[str, Any]:
        """What the index is, as JSON values."""
        manifest = self.manifest
        return {
            "path": str(self.path),
            "num_documents": self.num_documents,
            "num_tokens": self.num_tokens,
            "num_segments": len(manifest.segments),
            "bytes": manifest.bytes,
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

    def encode_prob(
        self, query: Query, continuation: str | int | None = None, *, raw: bool = False
    ) -> np.ndarray:
        """The ids of a prompt and of its continuation, as `prob_batch` takes them: int64."""
        token = None if continuation is None else self._continuation(continuation, raw)
        ids = self.encode(query, raw=raw)
        if token is not None:
            return np.append(ids, token)
        if not ids.size:
            raise QueryError(f"prob: {EMPTY_PROB}")
        return ids

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
        engine = self.engine
        ids = query if type(query) is list else self._list(query, raw)
        asked, found = engine.quick.find(engine.address, ids)
        if found < 0:
            asked, found = engine.count(ids)
        return Count(found, self.reading, asked)

    def count_batch(
        self, queries: Queries, offsets: Ids | None = None, *, raw: bool = False
    ) -> Counts:
        """`count` of each of a batch.

        A batch is a list of queries, or one array of ids with `offsets` (k + 1 of them, from 0
        up): query i is ids[offsets[i]:offsets[i + 1]]. It is searched together, if it is large on
        all cores, in a fraction of the time a query takes alone.
        """
        ids, starts, ends = self._join(queries, offsets, raw)
        counts = self.engine.count_batch(ids, starts, ends)
        return Counts(self.reading, ids, starts, ends, counts)

    def prob(
        self, query: Query, continuation: str | int | None = None, *, raw: bool = False
    ) -> Prob:
        """P(continuation | query) from n-gram counts: one token after a prompt.

        Without a continuation it is the query's last token, and the prompt what stands before.
        A string continuation must be one token.
        """
        engine = self.engine
        if type(query) is list and type(continuation) is int and 0 <= continuation < NO_LIMIT:
            prompt, token = query, continuation
        else:
            prompt, token = self._prompt_and_continuation(query, continuation, raw)
        length = len(prompt)
        found = engine.quick.prob(engine.address, token, prompt)
        if found[1] < 0:
            found = engine.prob(prompt, token)
        return Prob(self.reading, *found, length)

    def prob_batch(
        self,
        queries: Queries,
        continuations: Sequence[str | int] | None = None,
        offsets: Ids | None = None,
        *,
        raw: bool = False,
    ) -> Probs:
        """`prob` of each of a batch (see `count_batch`), and of its continuation."""
        ids, starts, ends = self._join_prompts(queries, continuations, offsets, raw)
        counts = self.engine.prob_batch(ids, starts, ends)
        return Probs(self.reading, ids, starts, ends, *counts, ends - starts - 1)

    def infgram_prob(
        self, query: Query, continuation: str | int | None = None, *, raw: bool = False
    ) -> Prob:
        """As `prob`, with the longest suffix of the prompt that occurs in the corpus (∞-gram).

        Never undefined in an index that has documents. Source: Liu et al. 2024, section 2.
        """
        engine = self.engine
        if type(query) is list and type(continuation) is int and 0 <= continuation < NO_LIMIT:
            prompt, token = query, continuation
        else:
            prompt, token = self._prompt_and_continuation(query, continuation, raw)
        found = engine.quick.infgram_prob(engine.address, token, prompt)
        if found[1] < 0:
            found = engine.infgram_prob(prompt, token)
        return Prob(self.reading, *found)

    def infgram_prob_batch(
        self,
        queries: Queries,
        continuations: Sequence[str | int] | None = None,
        offsets: Ids | None = None,
        *,
        raw: bool = False,
    ) -> Probs:
        """`infgram_prob` of each of a batch (see `count_batch`), and of its continuation."""
        ids, starts, ends = self._join_prompts(queries, continuations, offsets, raw)
        engine = self.engine
        lengths = engine.longest_suffix_batch(ids, starts, ends - 1)
        counts = engine.prob_batch(ids, ends - 1 - lengths, ends)
        return Probs(self.reading, ids, starts, ends, *counts, lengths)

    def ntd(
        self, prompt: Query, *, max_support: int | None = None, raw: bool = False
    ) -> Distribution:
        """The next-token distribution after the prompt; empty if it does not occur.

        Exact, whatever the number of occurrences, unless `max_support` is given: then, of a
        prompt that occurs more often, about that many occurrences are looked at, and the answer
        says by how much its counts may be wrong.
        """
        return self._distribution(prompt, False, max_support, raw)

    def ntd_batch(
        self,
        prompts: Queries,
        offsets: Ids | None = None,
        *,
        max_support: int | None = None,
        raw: bool = False,
    ) -> Distributions:
        """`ntd` of each of a batch of prompts (see `count_batch`)."""
        ids, starts, ends = self._join(prompts, offsets, raw)
        return self._distributions(ids, starts, ends, starts, max_support)

    def infgram_ntd(
        self, prompt: Query, *, max_support: int | None = None, raw: bool = False
    ) -> Distribution:
        """As `ntd`, after the longest suffix of the prompt that occurs in the corpus."""
        return self._distribution(prompt, True, max_support, raw)

    def infgram_ntd_batch(
        self,
        prompts: Queries,
        offsets: Ids | None = None,
        *,
        max_support: int | None = None,
        raw: bool = False,
    ) -> Distributions:
        """`infgram_ntd` of each of a batch of prompts (see `count_batch`)."""
        ids, starts, ends = self._join(prompts, offsets, raw)
        lengths = self.engine.longest_suffix_batch(ids, starts, ends)
        return self._distributions(ids, starts, ends, ends - lengths, max_support)

    def score(self, text: Query, *, order: int | None = None, raw: bool = False) -> Scores:
        """The probability of every token of a text after those before it.

        By the ∞-gram model, or the n-gram model of `order` n (a prompt of up to n − 1 tokens).
        A separator in the text starts a new document: no prompt reaches over it. All tokens
        together take about as many searches as there are tokens.
        """
        if order is not None:
            _check_natural("order", order)
            if order == 0:
                raise QueryError("order: expected 1 (unigram) or more, found 0")
            order = int(order)
        ids = self._ids(text, raw, "text")
        return Scores(self.reading, ids, order, *self.engine.score(ids, order))

    def longest_matches(self, text: Query, *, raw: bool = False) -> LongestMatches:
        """For every token of a text the longest match that starts there, and how often it occurs.

        What decontamination and attribution start from: which parts of a text are in the corpus.
        """
        ids = self._ids(text, raw, "text")
        return LongestMatches(self.reading, ids, *self.engine.longest_matches(ids))

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
        ids = self._ids(query, raw)
        for name, value in (("offset", offset), ("limit", limit), ("sample", sample)):
            if value is not None or name != "sample":
                _check_natural(name, value)
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise QueryError(f"seed: expected an integer, found {seed!r}")
        engine = self.engine
        intervals = engine.find(ids)
        count = int(engine.counts_of(intervals[None])[0])
        chosen: Sequence[int] = range(min(offset, count), min(offset + limit, count))
        if sample is not None:
            chosen = sorted(random.Random(seed).sample(range(count), min(sample, count)))
        return self._matches(engine, ids, intervals, count, chosen)

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
        engine = self.engine
        if query is None:
            assert number is not None
            ids, metadata = engine.document(number)
            shown = ids[:context]
            return Document(
                self.reading, int(number), metadata, ids.shape[0], 0, shown, None, None, None
            )
        wanted = self._ids(query, raw)
        intervals = engine.find(wanted)
        count = int(engine.counts_of(intervals[None])[0])
        _check_natural("occurrence", occurrence)
        if occurrence >= count:
            raise QueryError(
                f"occurrence {occurrence}: the query occurs {count:,} times"
                + (f", numbered from 0 to {count - 1}" if count else "")
            )
        (place,) = self._matches(engine, wanted, intervals, count, [occurrence]).occurrences
        ids, metadata = engine.document(place.document)
        length = ids.shape[0]
        # A separator at either end of the query matches beside the document's tokens.
        begin = max(0, place.offset)
        match = begin, max(begin, min(length, place.offset + wanted.shape[0]))
        around = CONTEXT if context is None else context
        start, end = max(0, match[0] - around), min(length, match[1] + around)
        shown = ids[start:end]
        return Document(
            self.reading, place.document, metadata, length, start, shown, match, occurrence, count
        )

    def _matches(
        self,
        engine: Engine,
        ids: np.ndarray,
        intervals: np.ndarray,
        count: int,
        chosen: Sequence[int],
    ) -> Matches:
        segments, ranks, positions = engine.locate(intervals, np.array(chosen, np.int64))
        documents, offsets = engine.documents_at(segments, positions)
        return Matches(
            self.reading, ids, count, intervals, segments, ranks, positions, documents, offsets
        )

    def _ids(self, query: Query, raw: bool, name: str = "query") -> np.ndarray:
        """The ids a query becomes, as the engine takes them."""
        if isinstance(query, str):
            return self.engine.ids(self.encode(query, raw=raw))
        return self.engine.ids(query, name)

    def _list(self, query: Query, raw: bool) -> list[int]:
        """The ids a query becomes, as the engine takes a single one."""
        if isinstance(query, str):
            ids: list[int] = self.encode(query, raw=raw).tolist()
        else:
            ids = self.engine.check_query(query).tolist()
        return ids

    def _join(
        self, queries: Queries, offsets: Ids | None, raw: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A batch as ids, starts and ends."""
        if isinstance(queries, str) or not isinstance(queries, Sequence | np.ndarray):
            found = "one string" if isinstance(queries, str) else repr(queries)
            raise QueryError(f"a batch: expected a list of queries, found {found}")
        if offsets is not None:
            return self.engine.split(cast(Ids, queries), offsets)
        if isinstance(queries, np.ndarray) and queries.ndim == 1 and queries.dtype.kind in "iu":
            raise QueryError(
                "a batch: expected a list of queries, found one array of ids; give its offsets, "
                "too, or wrap it in a list"
            )
        joined = self.engine.join_lists(queries)
        if joined is not None:
            return joined
        if any(issubclass(kind, str) for kind in set(map(type, queries))):
            return self.engine.join(
                [self._ids(query, raw, f"query {i}") for i, query in enumerate(queries)]
            )
        return self.engine.join(cast(Sequence[Ids], queries))

    def _join_prompts(
        self,
        queries: Queries,
        continuations: Sequence[str | int] | None,
        offsets: Ids | None,
        raw: bool,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A batch of prompts and continuations, each after its prompt, as ids, starts and ends."""
        ids, starts, ends = self._join(queries, offsets, raw)
        if continuations is not None:
            if not isinstance(continuations, Sequence | np.ndarray):
                raise QueryError(f"continuations: expected a list, found {continuations!r}")
            if len(continuations) != starts.shape[0]:
                raise QueryError(
                    f"continuations: expected one for each of {starts.shape[0]:,} queries, found "
                    f"{len(continuations):,}"
                )
            tokens = [self._continuation(token, raw) for token in continuations]
            ids = self.engine.ids(np.insert(ids.astype(np.int64), ends, tokens))
            shift = np.arange(starts.shape[0])
            starts, ends = starts + shift, ends + shift + 1
        empty = np.flatnonzero(starts == ends)
        if empty.size:
            raise QueryError(f"query {empty[0]}: {EMPTY_PROB}")
        return ids, starts, ends

    def _prompt_and_continuation(
        self, query: Query, continuation: str | int | None, raw: bool
    ) -> tuple[list[int], int]:
        """The ids of the prompt and of the continuation."""
        ids = query if type(query) is list else self._list(query, raw)
        if continuation is not None:
            return ids, self._continuation(continuation, raw)
        if not ids:
            raise QueryError(f"prob: {EMPTY_PROB}")
        token = ids[-1]
        if type(token) is not int or not 0 <= token < self.vocab_size:
            token = int(self.engine.check_query(ids)[-1])
        return ids[:-1], token

    def _continuation(self, continuation: str | int, raw: bool) -> int:
        """The one token a continuation is."""
        if type(continuation) is int and 0 <= continuation < self.manifest.vocab_size:
            return continuation
        if not isinstance(continuation, str):
            return self.engine.check_continuation(continuation)
        encoded = self.encode(continuation, raw=raw)
        if encoded.shape[0] != 1:
            tokens = token_texts(encoded, self.reading)
            raise QueryError(
                f"continuation {continuation!r}: expected one token, found {encoded.shape[0]}: "
                f"{tokens}"
            )
        return int(encoded[0])

    def _distribution(
        self, prompt: Query, longest: bool, max_support: int | None, raw: bool
    ) -> Distribution:
        engine = self.engine
        ids = prompt if type(prompt) is list else self._list(prompt, raw)
        most = _checked_support(max_support)
        found = engine.quick.ntd(engine.address, longest, most, ids)
        if found[1] < 0:
            found = engine.ntd(ids, longest, most)
        return Distribution(self.reading, *found)

    def _distributions(
        self,
        ids: np.ndarray,
        starts: np.ndarray,
        ends: np.ndarray,
        begins: np.ndarray,
        max_support: int | None,
    ) -> Distributions:
        """The distributions of ids[begins[i]:ends[i]], shown as those of ids[starts[i]:ends[i]]."""
        found = self.engine.ntd_batch(ids, begins, ends, _checked_support(max_support))
        tables = [np.frombuffer(each.table, np.int64).reshape(3, -1) for each in found]
        return Distributions(
            self.reading,
            ids,
            starts,
            ends,
            np.cumsum([0, *(table.shape[1] for table in tables)]),
            np.concatenate([np.empty((3, 0), np.int64), *tables], axis=1),
            np.array([each.prompt_count for each in found], np.int64),
            ends - begins,
            np.array([each.error_bound for each in found], np.int64),
        )


def _checked_support(max_support: int | None) -> int:
    if max_support is None:
        return NO_LIMIT
    _check_natural("max_support", max_support)
    if max_support == 0:
        raise QueryError("max_support: expected 1 or more, found 0")
    return min(int(max_support), NO_LIMIT)


def _check_natural(name: str, value: object) -> None:
    """Raise QueryError unless `value` is an integer from 0 on."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise QueryError(f"{name}: expected 0 or more, found {value!r}")
