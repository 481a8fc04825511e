"""Attribution: which parts of a text the index has, and in which documents."""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from everygram.arguments import flag, integer, natural, number, short
from everygram.attribution import spans
from everygram.attribution.sources import sources_of
from everygram.attribution.spans import RANKS
from everygram.attribution.text import DELIMITERS, AskedText
from everygram.encoding import Query
from everygram.errors import DamagedIndexError, QueryError
from everygram.index.base import OpenIndex
from everygram.results.attribution import AttributedSpan, Attribution, MergedSpan
from everygram.results.base import listed
from everygram.search.nodes import surrogate_in

# Tokens on each side of a match that its surroundings show: long, medium and short ones.
CONTEXT = (250, 100, 40)


class AttributionQueries(OpenIndex):
    """Where the words of a text come from."""

    def warm_up(self) -> None:
        """Compile what queries of this index run, or load it from the disk cache, and make what
        they share: otherwise the first query of each kind waits for that.
        """
        super().warm_up()
        with contextlib.suppress(DamagedIndexError):  # which queries report
            # (Parts of characters, which rare tokens may be, are no words.)
            self.attribute(self._state.engine.rare_tokens(2), density=None, whole_words=False)

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
        context: Sequence[int] = CONTEXT,
        seed: int = 0,
        raw: bool = False,
    ) -> Attribution:
        """The rarest parts of a text that occur verbatim, and documents that have them.

        At each word of the text the longest match is taken, up to the end of a sentence or line
        and of a word; those of `min_length` tokens or more that occur up to `max_count` times and
        that end further right than all before them, and are not white space alone, are *spans*.
        Kept are the ⌈density · tokens⌉ (None: all) that rank first by `rank_by`: those of the
        lowest "unigram_log_prob", or "length", the longest. Of each up to so many `documents` are
        given, all of them or, if there are more, some drawn by `seed`, with so many tokens on each
        side of the match as the three numbers in `context` say. Documents are ranked by the BM25 of
        their longest surroundings for the words of `prompt` and the text. After OLMoTrace (Liu et
        al. 2025, arXiv 2504.07096).

        delimiters: what ends sentences and lines, by the text of tokens: a span may have a token
        that ends with one (or has one that is white space anywhere) only as its last. whole_words:
        whether spans begin and end with words; a delimiter inside a word or a number, as in 3.14,
        then ends none. An index without a tokenizer has neither, and documents without relevance.

        All counts are exact. Raises QueryError; TokenizerError for a lone surrogate.
        """
        asked = _Options.checked(
            min_length=min_length,
            max_count=max_count,
            density=density,
            rank_by=rank_by,
            delimiters=delimiters,
            whole_words=whole_words,
            documents=documents,
            context=context,
            seed=seed,
            prompt=prompt,
        )
        engine, encoding, reading, manifest, _ = self._state
        query = encoding.query(text, raw, "text")
        ids = query.ids
        read = AskedText(reading, ids, text if isinstance(text, str) else None)
        found = spans.find(
            engine,
            query,
            read,
            asked.delimiters,
            asked.whole_words,
            asked.min_length,
            asked.max_count,
        )
        kept = found.some(spans.most(found, ids.shape[0], asked.density, asked.rank_by))
        document_counts = engine.documents_in(kept.intervals)
        shown, ranked = sources_of(
            engine,
            reading,
            kept,
            document_counts,
            asked.documents,
            asked.context,
            asked.seed,
            read.text,
            asked.prompt,
        )
        made = [
            AttributedSpan(*place, count, document_count, log_prob, own)
            for place, count, document_count, log_prob, own in zip(
                read.located(kept.starts, kept.ends),
                kept.counts.tolist(),
                document_counts.tolist(),
                kept.log_probs.tolist(),
                shown,
                strict=True,
            )
        ]
        groups = spans.merged(kept.starts, kept.ends)
        firsts, lasts = np.array(groups, np.int64).reshape(-1, 2).T
        merged = [
            MergedSpan(*place, list(range(*group)))
            for place, group in zip(
                read.located(kept.starts[firsts], kept.ends[lasts - 1]), groups, strict=True
            )
        ]
        return Attribution(
            reading,
            ids,
            read.text,
            made,
            len(found),
            merged,
            ranked,
            asked.as_dict(),
            {
                "name": self.path.name,
                "version": manifest.digest,
                "num_documents": engine.num_documents,
                "num_tokens": engine.num_tokens,
                "tokenizer": manifest.tokenizer.source,
            },
        )


@dataclass(frozen=True)
class _Options:
    """How `attribute` was called, checked."""

    min_length: int
    max_count: int | None
    density: float | None
    rank_by: str
    delimiters: tuple[str, ...]
    whole_words: bool
    documents: int
    context: tuple[int, ...]
    seed: int
    prompt: str | None

    @classmethod
    def checked(cls, **given: Any) -> Self:
        """Raises QueryError."""
        delimiters = given["delimiters"]
        several = isinstance(delimiters, list | tuple | set | frozenset)
        if not several or not all(isinstance(each, str) and each for each in delimiters):
            raise QueryError(
                "delimiters: expected a list of strings of at least one character, found "
                f"{short(delimiters)}"
            )
        if wrong := surrogate_in("".join(delimiters)):
            raise QueryError(f"delimiters: expected texts, found the lone surrogate {wrong!a}")
        if isinstance(delimiters, set | frozenset):
            delimiters = sorted(delimiters)
        contexts = given["context"]
        if not isinstance(contexts, list | tuple) or len(contexts) != 3:
            raise QueryError(
                f"context: expected three numbers of tokens, found {short(given['context'])}"
            )
        if given["max_count"] is not None:
            given["max_count"] = natural("max_count", given["max_count"], 1, QueryError)
        if given["density"] is not None:
            density = number("density", given["density"], QueryError)
            if not 0 <= density < math.inf:
                raise QueryError(
                    f"density: expected a number of spans per token, 0 or more, or None for all, "
                    f"found {short(given['density'])}"
                )
            given["density"] = density
        if not isinstance(given["rank_by"], str) or given["rank_by"] not in RANKS:
            raise QueryError(
                f"rank_by: expected {' or '.join(RANKS)}, found {short(given['rank_by'])}"
            )
        if given["prompt"] is not None and not isinstance(given["prompt"], str):
            raise QueryError(f"prompt: expected a string, found {short(given['prompt'])}")
        if given["prompt"] is not None and (wrong := surrogate_in(given["prompt"])):
            raise QueryError(f"prompt: expected a text, found the lone surrogate {wrong!a}")
        return cls(
            **given
            | {
                "min_length": natural("min_length", given["min_length"], 1, QueryError),
                # (A set has no order: its strings get one.)
                "delimiters": tuple(dict.fromkeys(delimiters)),
                "whole_words": flag("whole_words", given["whole_words"], QueryError),
                "documents": natural("documents", given["documents"], error=QueryError),
                "context": tuple(natural("context", each, error=QueryError) for each in contexts),
                "seed": integer("seed", given["seed"], QueryError),
            }
        )

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return listed(self)
