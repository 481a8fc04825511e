"""`Index`: what `everygram.open` returns. Strings or token ids in, typed results out."""

import os
import random
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Self, cast

import numpy as np

from everygram import arguments
from everygram.arguments import natural
from everygram.encoding import Batch, Encoding, Query, Reading
from everygram.engine.distributions import NO_LIMIT, Following
from everygram.engine.engine import Engine
from everygram.engine.queries import Ids, Queries
from everygram.errors import QueryError
from everygram.results.base import labels
from everygram.results.documents import Document, Matches
from everygram.results.ngrams import Count, Counts, Distribution, Distributions, Prob, Probs
from everygram.results.strings import TextCount, TextMatches
from everygram.results.texts import LongestMatches, Scores
from everygram.search.pattern import Pattern
from everygram.search.text import TextSearch
from everygram.storage import directory
from everygram.storage import format as fmt
from everygram.storage.segment import PRELOADABLE
from everygram.tokenizer.base import Tokenizer

# Tokens on each side of a match that `document` shows by default.
CONTEXT = 50


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
    DamagedIndexError for one with files missing, cut off or changed, OptionError or QueryError for
    arguments of a wrong type.
    """
    return Index(path, preload=preload, verify=verify)


class _State(NamedTuple):
    """An index as it was at one moment. Every query takes it once."""

    engine: Engine
    encoding: Encoding
    reading: Reading
    manifest: fmt.Manifest
    texts: TextSearch


class _Closed:
    """What a closed index has for a state: whatever is wanted of it, it raises."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> NoReturn:
        raise QueryError(f"index '{self._path}' is closed")

    def __getattr__(self, name: str) -> NoReturn:
        raise QueryError(f"index '{self._path}' is closed")


class Index:
    """An open index: exact counts, probabilities, distributions and documents.

    Every query is a string or token ids: a list, or an integer array of anybody's (numpy, torch,
    pandas, Arrow) of shape (m,) or (1, m). A string is encoded with the index's own tokenizer after
    its `query_prefix` (`raw=True` leaves that out); the result's `token_ids` and `tokens` show what
    it became. All raise QueryError for what is none, for booleans and masked arrays, and for ids
    outside the vocabulary, and TokenizerError for a string where the index has no tokenizer or
    its tokenizer fails. Methods may be called from several threads, and `refresh` beside them.

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
        self.path = arguments.path("index", path)
        self._preload, self._verify = _parts(preload), arguments.flag("verify", verify)
        opened = () if before is None else before.engine.segments
        manifest, segments, tokenizer_json = directory.open_index(self.path, opened, self._verify)
        engine = Engine(
            segments,
            manifest.vocab_size,
            manifest.separator,
            manifest.next_document,
            PRELOADABLE if "all" in self._preload else self._preload,
        )
        # (Results keep the reading, which leads back to no file and no segment.)
        reading = Reading(
            self.path.absolute(),
            fmt.TOKEN_DTYPES[manifest.dtype],
            manifest.separator,
            manifest.vocab_size,
            manifest.tokenizer,
            tokenizer_json,
        )
        self._state = _State(
            engine,
            Encoding(engine.vocabulary, reading),
            reading,
            manifest,
            TextSearch(engine, lambda: reading.token_bytes),
        )
        # Held to change the state: of two that refresh at once the later must not bring back what
        # the earlier read.
        self._changing = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files. Results already given stay good; further queries raise."""
        # (Not looked for in every query, which would take longer than a part of some.)
        with self._changing:
            self._state = cast(_State, _Closed(self.path))

    @property
    def manifest(self) -> fmt.Manifest:
        """What the index says of itself."""
        return self._state.manifest

    @property
    def engine(self) -> Engine:
        """Its queries over checked ids."""
        return self._state.engine

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

        Queries that other threads are at are answered from before. Raises as `open`.
        """
        with self._changing:
            latest = self.latest()
            if latest is self:
                return False
            self._state = latest._state
            return True

    def __getstate__(self) -> dict[str, Any]:
        # Another process opens the index itself.
        path = self.path.absolute()
        return {"path": path, "preload": self._preload, "verify": self._verify}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Index.__init__(self, **state)

    def __repr__(self) -> str:
        state = self._state
        if not isinstance(state, _State):
            return f"<everygram.Index '{self.path}': closed>"
        manifest = state.manifest
        return (
            f"<everygram.Index '{self.path}': {manifest.num_tokens:,} tokens, "
            f"{manifest.num_documents:,} documents, {len(manifest.segments)} segments, "
            f"{manifest.dtype}, tokenizer {manifest.tokenizer.source!r}>"
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
        return self._state.reading.tokenizer

    def info(self) -> dict[str, Any]:
        """What the index is, as JSON values."""
        manifest = self.manifest
        return {
            "path": str(self.path),
            "num_documents": manifest.num_documents,
            "num_tokens": manifest.num_tokens,
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
        return self._state.encoding.encode(query, raw)

    def encode_prob(
        self, query: Query, continuation: str | int | None = None, *, raw: bool = False
    ) -> np.ndarray:
        """The ids of a prompt and of its continuation, as `prob_batch` takes them: int64."""
        engine, encoding, _, _, _ = self._state
        prompt, token = encoding.prompt(query, continuation, raw)
        return engine.vocabulary.check([*prompt, token])

    def decode(self, ids: Ids) -> str:
        """The text of ids, separators left out."""
        engine, _, reading, manifest, _ = self._state
        checked = engine.vocabulary.check(ids, "ids")
        return reading.decode(checked[checked != manifest.separator])

    def count(self, query: Query, *, raw: bool = False) -> Count:
        """How often the query occurs: an `int` with `token_ids` and `tokens`.

        The empty query counts every token and every document's end.
        """
        engine, encoding, reading, _, _ = self._state
        ids = query if type(query) is list else encoding.ids(query, raw)
        packed, count = engine.count(ids)
        return Count.of(count, reading, packed)

    def count_batch(
        self, queries: Batch, offsets: Ids | None = None, *, raw: bool = False
    ) -> Counts:
        """How often each query occurs: a sequence of `Count`; `counts` is an array of all.

        A batch is a list of queries, or one array of ids with `offsets` (k + 1 of them, from 0
        up): query i is ids[offsets[i]:offsets[i + 1]]. It is searched together, if it is large on
        all cores, in a fraction of the time a query takes alone.
        """
        engine, encoding, reading, _, _ = self._state
        asked = encoding.queries(queries, offsets, raw)
        counts = engine.count_batch(asked)
        return Counts(reading, asked.ids, asked.starts, asked.ends, counts)

    def prob(
        self, query: Query, continuation: str | int | None = None, *, raw: bool = False
    ) -> Prob:
        """P(continuation | query) from n-gram counts: one token after a prompt.

        Without a continuation it is the query's last token, and the prompt what stands before.
        A string continuation must be one token.
        """
        engine, encoding, reading, _, _ = self._state
        prompt: Ids
        if type(query) is list and type(continuation) is int:
            prompt, token = query, continuation
        else:
            prompt, token = encoding.prompt(query, continuation, raw)
        packed, (prompt_count, count) = engine.prob(prompt, token)
        return Prob(reading, packed, prompt_count, count, len(prompt))

    def prob_batch(
        self,
        queries: Batch,
        continuations: Sequence[str | int] | None = None,
        offsets: Ids | None = None,
        *,
        raw: bool = False,
    ) -> Probs:
        """`prob` of each of a batch (see `count_batch`), and of its continuation."""
        engine, encoding, reading, _, _ = self._state
        asked = encoding.prompts(queries, continuations, offsets, raw)
        return _probs(reading, asked, engine.prob_batch(asked), asked.ends - asked.starts - 1)

    def infgram_prob(
        self, query: Query, continuation: str | int | None = None, *, raw: bool = False
    ) -> Prob:
        """As `prob`, with the longest suffix of the prompt that occurs in the corpus (∞-gram).

        Never undefined in an index that has documents. Source: Liu et al. 2024, section 2.
        """
        engine, encoding, reading, _, _ = self._state
        prompt: Ids
        if type(query) is list and type(continuation) is int:
            prompt, token = query, continuation
        else:
            prompt, token = encoding.prompt(query, continuation, raw)
        packed, (prompt_count, count, suffix_len) = engine.infgram_prob(prompt, token)
        return Prob(reading, packed, prompt_count, count, suffix_len)

    def infgram_prob_batch(
        self,
        queries: Batch,
        continuations: Sequence[str | int] | None = None,
        offsets: Ids | None = None,
        *,
        raw: bool = False,
    ) -> Probs:
        """`infgram_prob` of each of a batch (see `count_batch`), and of its continuation."""
        engine, encoding, reading, _, _ = self._state
        asked = encoding.prompts(queries, continuations, offsets, raw)
        lengths = engine.longest_suffix_batch(asked.ranges(asked.starts, asked.ends - 1))
        counts = engine.prob_batch(asked.ranges(asked.ends - 1 - lengths, asked.ends))
        return _probs(reading, asked, counts, lengths)

    def ntd(
        self, prompt: Query, *, max_support: int | None = None, raw: bool = False
    ) -> Distribution:
        """The next-token distribution after the prompt; empty if it does not occur.

        Exact, whatever the number of occurrences, unless `max_support` is given: then, of a
        prompt that occurs more often, about that many occurrences are looked at, and the answer
        says by how much its counts may be wrong.
        """
        engine, encoding, reading, _, _ = self._state
        ids = prompt if type(prompt) is list else encoding.ids(prompt, raw)
        return _distribution(reading, engine.ntd(ids, False, _support(max_support)))

    def ntd_batch(
        self,
        prompts: Batch,
        offsets: Ids | None = None,
        *,
        max_support: int | None = None,
        raw: bool = False,
    ) -> Distributions:
        """`ntd` of each of a batch of prompts (see `count_batch`)."""
        engine, encoding, reading, _, _ = self._state
        asked = encoding.queries(prompts, offsets, raw)
        return _distributions(reading, asked, engine.ntd_batch(asked, _support(max_support)))

    def infgram_ntd(
        self, prompt: Query, *, max_support: int | None = None, raw: bool = False
    ) -> Distribution:
        """As `ntd`, after the longest suffix of the prompt that occurs in the corpus."""
        engine, encoding, reading, _, _ = self._state
        ids = prompt if type(prompt) is list else encoding.ids(prompt, raw)
        return _distribution(reading, engine.ntd(ids, True, _support(max_support)))

    def infgram_ntd_batch(
        self,
        prompts: Batch,
        offsets: Ids | None = None,
        *,
        max_support: int | None = None,
        raw: bool = False,
    ) -> Distributions:
        """`infgram_ntd` of each of a batch of prompts (see `count_batch`)."""
        engine, encoding, reading, _, _ = self._state
        asked = encoding.queries(prompts, offsets, raw)
        lengths = engine.longest_suffix_batch(asked)
        suffixes = asked.ranges(asked.ends - lengths, asked.ends)
        return _distributions(reading, asked, engine.ntd_batch(suffixes, _support(max_support)))

    def score(self, text: Query, *, order: int | None = None, raw: bool = False) -> Scores:
        """The probability of every token of a text after those before it.

        By the ∞-gram model, or the n-gram model of `order` n (a prompt of up to n − 1 tokens).
        A separator in the text starts a new document: no prompt reaches over it. All tokens
        together take about as many searches as there are tokens.
        """
        if order is not None:
            order = natural("order", order, error=QueryError)
            if order == 0:
                raise QueryError("order: expected 1 (unigram) or more, found 0")
        engine, encoding, reading, _, _ = self._state
        asked = encoding.query(text, raw, "text")
        return Scores(reading, asked.ids, order, *engine.score(asked, order))

    def longest_matches(self, text: Query, *, raw: bool = False) -> LongestMatches:
        """For every token of a text the longest match that starts there, and how often it occurs.

        What decontamination and attribution start from: which parts of a text are in the corpus.
        """
        engine, encoding, reading, _, _ = self._state
        asked = encoding.query(text, raw, "text")
        return LongestMatches(reading, asked.ids, *engine.longest_matches(asked))

    def find(
        self,
        query: Query,
        *,
        offset: int = 0,
        limit: int | None = 10,
        sample: int | None = None,
        seed: int = 0,
        raw: bool = False,
    ) -> Matches:
        """Where the query occurs: its intervals, and some of its occurrences.

        `offset` and `limit` page through all occurrences in a fixed order (by segment and rank);
        without a limit (None) all from `offset` on are listed, each of which takes 40 bytes.
        `sample` instead draws that many different ones, the same for the same `seed`.
        """
        choose = _choice(offset, limit, sample, seed)
        engine, encoding, reading, _, _ = self._state
        asked = encoding.query(query, raw)
        intervals = engine.find_batch(asked)
        count = int(engine.counts_of(intervals)[0])
        chosen = choose(count)
        return _matches(engine, reading, asked, intervals[0], count, chosen)

    def count_text(
        self, text: str, *, ignore_case: bool = False, whole_words: bool = False
    ) -> TextCount:
        """How often a text occurs in the documents, however tokens divide it: an `int`.

        Overlapping occurrences all count. ignore_case: by Unicode's simple case folding.
        whole_words: no letter, mark, number, underscore or joiner on either side. Raises QueryError
        for an empty text, TokenizerError where the index has no tokenizer, or one that does more
        than put the texts of tokens one after another.
        """
        pattern, words = _pattern(text, ignore_case, whole_words)
        return TextCount.of(self._state.texts.count(pattern, words), text)

    def count_text_batch(
        self, texts: Sequence[str], *, ignore_case: bool = False, whole_words: bool = False
    ) -> list[TextCount]:
        """`count_text` of each text."""
        if isinstance(texts, str | bytes) or not isinstance(texts, Sequence):
            raise QueryError(f"texts: expected a list of strings, found {arguments.short(texts)}")
        searched = self._state.texts
        counts = []
        for text in texts:
            pattern, words = _pattern(text, ignore_case, whole_words)
            counts.append(TextCount.of(searched.count(pattern, words), text))
        return counts

    def document_count_text(
        self, text: str, *, ignore_case: bool = False, whole_words: bool = False
    ) -> int:
        """In how many documents a text occurs; all of its occurrences are looked at."""
        pattern, words = _pattern(text, ignore_case, whole_words)
        return int(np.unique(self._state.texts.find(pattern, words)[:, 1]).shape[0])

    def find_text(
        self,
        text: str,
        *,
        offset: int = 0,
        limit: int | None = 10,
        sample: int | None = None,
        seed: int = 0,
        ignore_case: bool = False,
        whole_words: bool = False,
    ) -> TextMatches:
        """Where a text occurs, in characters, bytes and tokens of its documents.

        `offset` and `limit` page through all occurrences in a fixed order (None: to the end);
        `sample` draws that many different ones instead, the same for the same `seed`.
        """
        choose = _choice(offset, limit, sample, seed)
        pattern, words = _pattern(text, ignore_case, whole_words)
        searched = self._state.texts
        rows = searched.find(pattern, words)
        count, documents = rows.shape[0], int(np.unique(rows[:, 1]).shape[0])
        return TextMatches(text, count, documents, searched.placed(rows[choose(count)]))

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
        only `context` tokens (default: 50) around the match are fetched. By number, all of
        the document is, or its first `context` tokens.
        """
        if (number is None) == (query is None):
            raise QueryError("document: expected a number or a query, one of the two")
        occurrence = natural("occurrence", occurrence, error=QueryError)
        if query is None and occurrence != 0:
            raise QueryError("occurrence: goes with a query, not with a document's number")
        if context is not None:
            context = natural("context", context, error=QueryError)
        engine, encoding, reading, _, _ = self._state
        if number is not None:
            ids, metadata = engine.document(number)
            shown = ids[:context]
            return Document(
                reading, int(number), metadata, ids.shape[0], 0, shown, None, None, None
            )
        assert query is not None
        asked = encoding.query(query, raw)
        intervals = engine.find_batch(asked)
        count = int(engine.counts_of(intervals)[0])
        if not count:
            tokens = labels(asked.ids.tolist(), reading)
            raise QueryError(f"the query does not occur: {arguments.short(tokens)}")
        if occurrence >= count:
            times = "once" if count == 1 else f"{count:,} times"
            raise QueryError(
                f"occurrence {arguments.short(occurrence)}: the query occurs {times}, numbered "
                f"from 0 to {count - 1}"
            )
        (place,) = _matches(
            engine, reading, asked, intervals[0], count, np.array([occurrence])
        ).occurrences
        ids, metadata = engine.document(place.document)
        length = ids.shape[0]
        # A separator at either end of the query matches beside the document's tokens.
        begin = max(0, place.offset)
        match = begin, max(begin, min(length, place.offset + asked.ids.shape[0]))
        around = CONTEXT if context is None else context
        start, end = max(0, match[0] - around), min(length, match[1] + around)
        shown = ids[start:end]
        return Document(
            reading, place.document, metadata, length, start, shown, match, occurrence, count
        )


def _matches(
    engine: Engine,
    reading: Reading,
    asked: Queries,
    intervals: np.ndarray,
    count: int,
    chosen: np.ndarray,
) -> Matches:
    """Those of the occurrences in these intervals that are chosen, by number: int64, shape (k,)."""
    segments, ranks, positions = engine.locate(intervals, chosen)
    documents, offsets = engine.documents_at(segments, positions)
    found = count, intervals, segments, ranks, positions, documents, offsets
    return Matches(reading, asked.ids, *found)


def _probs(
    reading: Reading,
    asked: Queries,
    counts: tuple[np.ndarray, np.ndarray],
    suffix_lens: np.ndarray,
) -> Probs:
    queries = asked.ids, asked.starts, asked.ends
    return Probs(reading, *queries, *counts, suffix_lens)


def _distribution(reading: Reading, found: Following) -> Distribution:
    table = found.table.tobytes()
    return Distribution(
        reading, found.asked, found.prompt_count, table, found.suffix_len, found.error_bound
    )


def _distributions(reading: Reading, asked: Queries, found: list[Following]) -> Distributions:
    tables = [each.table for each in found]
    return Distributions(
        reading,
        asked.ids,
        asked.starts,
        asked.ends,
        np.cumsum([0, *(table.shape[1] for table in tables)]),
        np.concatenate([np.empty((3, 0), np.int64), *tables], axis=1),
        np.array([each.prompt_count for each in found], np.int64),
        np.array([each.suffix_len for each in found], np.int64),
        np.array([each.error_bound for each in found], np.int64),
    )


def _support(max_support: int | None) -> int:
    """`max_support` as the engine takes it."""
    if max_support is None:
        return NO_LIMIT
    given = natural("max_support", max_support, error=QueryError)
    if given == 0:
        raise QueryError("max_support: expected 1 or more, found 0")
    return given


def _parts(preload: Any) -> tuple[str, ...]:
    """The parts to preload, by name."""
    parts = (preload,) if isinstance(preload, str) else preload
    listed = isinstance(parts, list | tuple | set | frozenset)
    if not listed or not all(isinstance(part, str) for part in parts):
        raise QueryError(f"preload: expected names of parts, found {arguments.short(preload)}")
    return tuple(parts)


def _choice(
    offset: int, limit: int | None, sample: int | None, seed: int
) -> Callable[[int], np.ndarray]:
    """What chooses among so many occurrences, by number: int64, ascending. Checks the options."""
    offset = natural("offset", offset, error=QueryError)
    limit = None if limit is None else natural("limit", limit, error=QueryError)
    drawn = None if sample is None else natural("sample", sample, error=QueryError)
    seed = arguments.integer("seed", seed, QueryError)

    def choose(count: int) -> np.ndarray:
        if drawn is not None:
            numbers = random.Random(seed).sample(range(count), min(drawn, count))
            return np.array(sorted(numbers), np.int64)
        end = count if limit is None else min(offset + limit, count)
        return np.arange(min(offset, end), end)

    return choose


def _pattern(text: str, ignore_case: bool, whole_words: bool) -> tuple[Pattern, bool]:
    """What is looked for, checked."""
    ignore_case = arguments.flag("ignore_case", ignore_case, QueryError)
    return Pattern(text, ignore_case), arguments.flag("whole_words", whole_words, QueryError)
