"""The methods of `Index` as requests to a service: what each sends, and what its answers become."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np

from everygram.arguments import integer
from everygram.attribution.novelty import BOUNDS
from everygram.attribution.text import DELIMITERS
from everygram.client import results
from everygram.client.asking import (
    Answer,
    Request,
    finite,
    sent,
    sent_batch,
    without_defaults,
)
from everygram.client.described import Described
from everygram.client.kinds import FEW, choice, each_of, many, numbered, one, paged, with_ids
from everygram.encoding import Batch, Query, Reading
from everygram.errors import QueryError
from everygram.results.attribution import Attribution
from everygram.results.documents import Document, Matches
from everygram.results.drafts import Draft
from everygram.results.ngrams import (
    Count,
    Counts,
    Distribution,
    Distributions,
    DocumentCount,
    DocumentCounts,
    Prob,
    Probs,
)
from everygram.results.novelty import Novelty
from everygram.results.search import Hits
from everygram.results.strings import TextCount, TextMatches, Tokenizations
from everygram.results.texts import LongestMatches, Scores

R = TypeVar("R")


class Questions:
    """What is asked of an index of a service: as the methods of `Index`, of the same names."""

    def __init__(self, index: Described) -> None:
        self.index = index

    def count(self, query: Query, *, raw: bool = False) -> Request[Count]:
        """See `Index.count`."""
        return one("count", self.query_of(query, raw), results.count)

    def count_batch(
        self, queries: Batch, offsets: Any = None, *, raw: bool = False
    ) -> Request[Counts]:
        """See `Index.count_batch`."""
        return many(*self._counts(queries, offsets, raw, results.counts))

    def document_count(self, query: Query, *, raw: bool = False) -> Request[DocumentCount]:
        """See `Index.document_count`."""
        asked = self.query_of(query, raw) | {"documents": True}
        return one("count", asked, results.document_count)

    def document_count_batch(
        self, queries: Batch, offsets: Any = None, *, raw: bool = False
    ) -> Request[DocumentCounts]:
        """See `Index.document_count_batch`."""
        return many(*self._counts(queries, offsets, raw, results.document_counts, documents=True))

    def prob(
        self, query: Query, continuation: str | int | None = None, *, raw: bool = False
    ) -> Request[Prob]:
        """See `Index.prob`."""
        return one("prob", self.prompt_of(query, continuation, raw), results.prob)

    def prob_batch(
        self,
        queries: Batch,
        continuations: Sequence[str | int] | None = None,
        offsets: Any = None,
        *,
        raw: bool = False,
    ) -> Request[Probs]:
        """See `Index.prob_batch`."""
        return many("prob", self._prompts(queries, continuations, offsets, raw), results.probs)

    def infgram_prob(
        self, query: Query, continuation: str | int | None = None, *, raw: bool = False
    ) -> Request[Prob]:
        """See `Index.infgram_prob`."""
        return one("infgram_prob", self.prompt_of(query, continuation, raw), results.prob)

    def infgram_prob_batch(
        self,
        queries: Batch,
        continuations: Sequence[str | int] | None = None,
        offsets: Any = None,
        *,
        raw: bool = False,
    ) -> Request[Probs]:
        """See `Index.infgram_prob_batch`."""
        asked = self._prompts(queries, continuations, offsets, raw)
        return many("infgram_prob", asked, results.probs)

    def ntd(
        self, prompt: Query, *, max_support: int | None = None, raw: bool = False
    ) -> Request[Distribution]:
        """See `Index.ntd`."""
        return one("ntd", self._after(prompt, max_support, raw), results.ntd)

    def ntd_batch(
        self,
        prompts: Batch,
        offsets: Any = None,
        *,
        max_support: int | None = None,
        raw: bool = False,
    ) -> Request[Distributions]:
        """See `Index.ntd_batch`."""
        asked = [self._after(each, max_support, raw) for each in sent_batch(prompts, offsets)]
        return many("ntd", asked, results.ntds, group=FEW)

    def infgram_ntd(
        self, prompt: Query, *, max_support: int | None = None, raw: bool = False
    ) -> Request[Distribution]:
        """See `Index.infgram_ntd`."""
        return one("infgram_ntd", self._after(prompt, max_support, raw), results.ntd)

    def infgram_ntd_batch(
        self,
        prompts: Batch,
        offsets: Any = None,
        *,
        max_support: int | None = None,
        raw: bool = False,
    ) -> Request[Distributions]:
        """See `Index.infgram_ntd_batch`."""
        asked = [self._after(each, max_support, raw) for each in sent_batch(prompts, offsets)]
        return many("infgram_ntd", asked, results.ntds, group=FEW)

    def score(self, text: Query, *, order: int | None = None, raw: bool = False) -> Request[Scores]:
        """See `Index.score`."""
        asked = self.query_of(text, raw, "text") | without_defaults(order=order)
        return one("score", asked, results.score)

    def score_batch(
        self, texts: Batch, offsets: Any = None, *, order: int | None = None, raw: bool = False
    ) -> Request[list[Scores]]:
        """See `Index.score_batch`."""
        more = without_defaults(order=order)
        asked = [self.query_of(each, raw, "text") | more for each in sent_batch(texts, offsets)]
        return many("score", asked, partial(each_of, results.score), group=FEW)

    def longest_matches(self, text: Query, *, raw: bool = False) -> Request[LongestMatches]:
        """See `Index.longest_matches`."""
        asked = self.query_of(text, raw, "text")
        return one("longest_matches", asked, results.longest_matches)

    def novelty(
        self,
        text: Query,
        *,
        max_n: int = 20,
        creativity_bounds: Sequence[int] = BOUNDS,
        raw: bool = False,
    ) -> Request[Novelty]:
        """See `Index.novelty`."""
        asked = self._novelty(text, max_n, creativity_bounds, raw)
        return one("novelty", asked, results.novelty)

    def novelty_batch(
        self,
        texts: Batch,
        offsets: Any = None,
        *,
        max_n: int = 20,
        creativity_bounds: Sequence[int] = BOUNDS,
        raw: bool = False,
    ) -> Request[list[Novelty]]:
        """See `Index.novelty_batch`."""
        given = sent_batch(texts, offsets)
        asked = [self._novelty(each, max_n, creativity_bounds, raw) for each in given]
        return many("novelty", asked, partial(each_of, results.novelty), group=FEW)

    def count_text(
        self, text: str, *, ignore_case: bool = False, whole_words: bool = False
    ) -> Request[TextCount]:
        """See `Index.count_text`."""
        return one("count_text", self._text(text, ignore_case, whole_words), results.count_text)

    def count_text_batch(
        self, texts: Sequence[str], *, ignore_case: bool = False, whole_words: bool = False
    ) -> Request[list[TextCount]]:
        """See `Index.count_text_batch`."""
        asked = [self._text(text, ignore_case, whole_words) for text in texts]
        return many("count_text", asked, partial(each_of, results.count_text), group=FEW)

    def document_count_text(
        self, text: str, *, ignore_case: bool = False, whole_words: bool = False
    ) -> Request[int]:
        """See `Index.document_count_text`."""
        asked = self._text(text, ignore_case, whole_words)
        return one("count_text", asked, lambda found, _: int(found["document_count"]))

    def tokenizations(
        self,
        text: str,
        *,
        limit: int | None = 100,
        ignore_case: bool = False,
        whole_words: bool = False,
    ) -> Request[Tokenizations]:
        """See `Index.tokenizations`. (A service lists no more than its limit.)"""
        asked = self._text(text, ignore_case, whole_words) | without_defaults(limit=limit)
        page = "max_occurrences" if limit is None else None
        return one("tokenizations", asked, results.tokenizations, page=page)

    def find_text(
        self,
        text: str,
        *,
        offset: int = 0,
        limit: int | None = 10,
        sample: int | None = None,
        seed: int = 0,
        context: int | None = None,
        ignore_case: bool = False,
        whole_words: bool = False,
    ) -> Request[TextMatches]:
        """See `Index.find_text`."""
        asked = self._text(text, ignore_case, whole_words)
        asked |= choice(offset, limit, sample, seed, context)
        make = partial(results.find_text, parts=context is not None)
        return paged("find_text", asked, limit, sample, "occurrences", make)

    def find(
        self,
        query: Query,
        *,
        offset: int = 0,
        limit: int | None = 10,
        sample: int | None = None,
        seed: int = 0,
        context: int | None = None,
        raw: bool = False,
    ) -> Request[Matches]:
        """See `Index.find`."""
        asked = self.query_of(query, raw) | choice(offset, limit, sample, seed, context)
        make = partial(results.find, parts=context is not None)
        return paged("find", asked, limit, sample, "occurrences", make)

    def documents(
        self,
        numbers: Sequence[int],
        *,
        index: int | Sequence[int] | None = None,
        context: int | None = None,
    ) -> Request[list[Document]]:
        """See `Index.documents`."""
        asked = numbered(numbers, index, context)
        return many("document", asked, partial(each_of, results.document), group=FEW)

    def document(
        self,
        number: int | None = None,
        *,
        index: int | None = None,
        query: Query | None = None,
        text: str | None = None,
        occurrence: int = 0,
        context: int | None = None,
        ignore_case: bool = False,
        whole_words: bool = False,
        raw: bool = False,
    ) -> Request[Document]:
        """See `Index.document`."""
        asked = without_defaults(number=number, index=index, text=text, context=context)
        asked |= {
            "occurrence": occurrence,
            "ignore_case": ignore_case,
            "whole_words": whole_words,
        }
        if query is not None:
            asked |= self.query_of(query, raw)
        return one("document", asked, partial(results.document, by_text=text is not None))

    def draft(
        self,
        context: Query,
        *,
        max_tokens: int = 8,
        min_token_prob: float = 0.1,
        max_suffix: int = 64,
        max_factor: float = 1.0,
        lookback: int = 0,
        raw: bool = False,
    ) -> Request[Draft]:
        """See `Index.draft`."""
        asked = self.query_of(context, raw, "context") | {
            "max_tokens": max_tokens,
            "min_token_prob": min_token_prob,
            "max_suffix": max_suffix,
            "max_factor": finite(max_factor),
            "lookback": lookback,
        }
        return one("draft", asked, results.draft)

    def search(
        self,
        expression: str | Sequence[Any],
        *,
        within: str | int = "document",
        where: tuple[str, Any] | None = None,
        limit: int | None = 10,
        cursor: str | None = None,
        sample: int | None = None,
        seed: int = 0,
        order: str = "document",
        context: int = 16,
        max_clause_freq: int | None = None,
        k1: float = 1.2,
        b: float = 0.75,
    ) -> Request[Hits]:
        """See `Index.search`."""
        asked = without_defaults(cursor=cursor, sample=sample, max_clause_freq=max_clause_freq)
        asked |= without_defaults(limit=limit) | {
            "expression": expression,
            "within": within,
            "seed": seed,
            "order": order,
            "context": context,
            "k1": k1,
            "b": b,
        }
        if where is not None:
            if not isinstance(where, tuple | list) or len(where) != 2:
                raise QueryError(f"where: expected a field and its value, found {where!r}")
            asked["where"] = {where[0]: where[1]}
        return paged("search", asked, limit, sample, "hits", results.search)

    def attribute(
        self,
        text: Query,
        *,
        prompt: str | None = None,
        min_length: int = 1,
        max_count: int | None = 1_000_000,
        density: float | None = 0.05,
        rank_by: str = "unigram_log_prob",
        delimiters: Sequence[str] = DELIMITERS,
        whole_words: bool = True,
        documents: int = 10,
        context: Sequence[int] = (250, 100, 40),
        seed: int = 0,
        raw: bool = False,
    ) -> Request[Attribution]:
        """See `Index.attribute`."""
        asked = self.query_of(text, raw, "text") | {
            "prompt": prompt,
            "min_length": min_length,
            "max_count": max_count,
            "density": density,
            "rank_by": rank_by,
            "delimiters": list(delimiters),
            "whole_words": whole_words,
            "documents": documents,
            "context": list(context),
            "seed": seed,
        }
        return one("attribute", asked, results.attribute)

    def encode(self, query: Query, *, raw: bool = False) -> Request[np.ndarray]:
        """See `Index.encode`."""
        return one("encode", self.query_of(query, raw), results.ids)

    def encode_prob(
        self, query: Query, continuation: str | int | None = None, *, raw: bool = False
    ) -> Request[np.ndarray]:
        """See `Index.encode_prob`."""
        return one("encode", self.prompt_of(query, continuation, raw), results.ids)

    def decode(self, ids: Any) -> Request[str]:
        """See `Index.decode`."""
        asked = {"token_ids": sent(ids, "ids")}
        return one("decode", asked, lambda found, _: str(found["text"]))

    def query_of(self, query: Query, raw: bool, name: str = "query") -> Answer:
        asked = sent(query, name)
        if isinstance(asked, str):
            self.index.check_text(asked)
            return {name: asked, "raw": raw} if raw is not False else {name: asked}
        return {name: asked}

    def prompt_of(self, query: Query, continuation: str | int | None, raw: bool) -> Answer:
        asked = self.query_of(query, raw)
        if isinstance(continuation, str):
            self.index.check_text(continuation)
            return asked | {"continuation": continuation, "raw": raw}
        if continuation is None:
            return asked
        return asked | {"continuation": integer("continuation", continuation, QueryError)}

    def _prompts(self, queries: Batch, continuations: Any, offsets: Any, raw: bool) -> list[Answer]:
        asked = sent_batch(queries, offsets)
        if continuations is None:
            return [self.prompt_of(query, None, raw) for query in asked]
        if isinstance(continuations, str):
            raise QueryError("continuations: expected a list, found one string")
        following = [*continuations]
        if len(following) != len(asked):
            raise QueryError(
                f"continuations: expected one for each of {len(asked):,} queries, found "
                f"{len(following):,}"
            )
        return [self.prompt_of(*pair, raw) for pair in zip(asked, following, strict=True)]

    def _after(self, prompt: Query, max_support: int | None, raw: bool) -> Answer:
        asked = self.query_of(prompt, raw, "prompt") | {"top": None}
        return asked | without_defaults(max_support=max_support)

    def _novelty(self, text: Query, max_n: int, bounds: Sequence[int], raw: bool) -> Answer:
        more = {"max_n": max_n, "creativity_bounds": list(bounds)}
        return self.query_of(text, raw, "text") | more

    def _text(self, text: str, ignore_case: bool, whole_words: bool) -> Answer:
        if not isinstance(text, str):
            raise QueryError(f"text: expected a string, found {text!r}")
        return {"text": text, "ignore_case": ignore_case, "whole_words": whole_words}

    def _counts(
        self,
        queries: Batch,
        offsets: Any,
        raw: bool,
        make: Callable[[list[Answer], Reading], R],
        **more: Any,
    ) -> tuple[str, list[Answer], Callable[[list[Answer], Reading], R]]:
        """A batch of counts. (Ids are not sent back: they are here.)"""
        given = sent_batch(queries, offsets)
        echo = any(isinstance(query, str) for query in given)
        asked = [self.query_of(query, raw) | more for query in given]
        if echo:
            return "count", asked, make
        return "count", [each | {"echo": False} for each in asked], partial(with_ids, make, given)
