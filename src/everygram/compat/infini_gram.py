"""infini-gram's Python package (infini-gram 2.6.0, infini_gram.engine), over our indexes.

`InfiniGramEngine` and `InfiniGramEngineDiff` have its constructors, methods and answers, so that a
program that imports them from here needs no other change. What differs, and why, is in
docs/infini-gram-engine.md: answers are exact, `approx` is always False, and the documents of a
takedown index are gone everywhere.
"""

import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from everygram import arguments
from everygram.compat import infini_gram_opening as opening
from everygram.compat import infini_gram_spans as spans
from everygram.compat.infini_gram_checks import (
    Wrong,
    answered,
    are_clauses,
    are_ids,
    check_pointer,
    clauses_in,
    ids_in,
    is_integer,
    listed,
    natural,
    positive,
    shard_in,
)
from everygram.compat.infini_gram_documents import DocumentMethods, Documents
from everygram.compat.infini_gram_opening import OpenShard, Paths, ShardsByFolder
from everygram.compat.infini_gram_shards import Cnf, Place, Shards, around, document_of
from everygram.engine.distributions import NO_LIMIT

Answer = dict[str, Any]


# The log-probability of every token, where none were wanted.
UNKNOWN_LOG_PROB = -10_000.0
# What is said of a prompt that does not occur.
UNSEEN: Answer = {"prompt_cnt": 0, "cont_cnt": 0, "prob": -1.0}


class InfiniGramEngine(DocumentMethods):
    """An index, or several as one, asked as `infini_gram.engine.InfiniGramEngine` is.

    Token ids are Python integers in lists. An argument that is none is answered `{"error": …}`, an
    option of the constructor raises OptionError (a ValueError). `index` is the index that is asked.
    """

    # The folders whose documents are taken away.
    _minus: Sequence[str] = ()

    def __init__(
        self,
        index_dir: Paths,
        eos_token_id: int,
        vocab_size: int = 65_535,
        version: int = 4,
        token_dtype: str = "u16",
        load_to_ram: bool = False,
        ds_prefetch_depth: int = 1,
        sa_prefetch_depth: int = 3,
        od_prefetch_depth: int = 3,
        bow_ids_path: str | os.PathLike[str] | None = None,
        attribution_block_size: int = 512,
        precompute_unigram_logprobs: bool = False,
        prev_shards_by_index_dir: ShardsByFolder = {},  # noqa: B006 (theirs; nothing changes it)
        max_support: int = 1_000,
        max_clause_freq: int = 50_000,
        max_diff_tokens: int = 100,
        maxnum: int = 1,
        max_disp_len: int = 1_000,
    ) -> None:
        """index_dir: an index's folder, or a list of them.

        eos_token_id: as what distributions show the end of a document. vocab_size: more than every
        token id. load_to_ram: read the index into memory. bow_ids_path: a file of the token ids
        that begin a word, for `attribute`; precompute_unigram_logprobs: for its log-probabilities.
        max_diff_tokens, maxnum, max_disp_len: what methods take where they are given none.
        The prefetch depths, attribution_block_size, max_support and max_clause_freq are checked and
        change nothing. Raises OptionError, and as `everygram.open`.
        """
        folders = opening.folders_of("index_dir", index_dir)
        preload = arguments.flag("load_to_ram", load_to_ram)
        opening.check_version(version)
        self.token_id_max = opening.token_id_max(token_dtype, vocab_size, eos_token_id)
        opening.check_numbers(
            0, ds_prefetch_depth=ds_prefetch_depth, od_prefetch_depth=od_prefetch_depth
        )
        opening.check_numbers(ds_prefetch_depth, sa_prefetch_depth=sa_prefetch_depth)
        opening.check_numbers(
            1,
            attribution_block_size=attribution_block_size,
            max_support=max_support,
            max_clause_freq=max_clause_freq,
            max_diff_tokens=max_diff_tokens,
            maxnum=maxnum,
            max_disp_len=max_disp_len,
        )
        self.max_support = max_support
        self.max_clause_freq = max_clause_freq
        self.max_diff_tokens = max_diff_tokens
        self.maxnum = maxnum
        self.max_disp_len = max_disp_len
        self._end, self._given_vocab_size = eos_token_id, vocab_size
        self._log_probs = arguments.flag("precompute_unigram_logprobs", precompute_unigram_logprobs)
        self._words = opening.words_of(bow_ids_path)
        self.index, new = opening.opened(folders, self._minus, preload, prev_shards_by_index_dir)
        self._new_shards = {folder: opening.shards_of(index) for folder, index in new.items()}
        opening.check_index(self.index, token_dtype, vocab_size)
        self._engine = self.index.engine
        self._shards = Shards(self._engine)
        self._vocab_size = self._engine.vocabulary.vocab_size

    @answered
    def compute_unigram_counts(self, s: int) -> dict[int, int]:
        """How often each id below `vocab_size` occurs in a shard, and the separator (documents)."""
        ids, found = self._shards.unigrams(shard_in(self._shards, s))
        counts = dict.fromkeys((*range(self._given_vocab_size), self.token_id_max), 0)
        counts.update(zip(ids.tolist(), found.tolist(), strict=True))
        return counts

    def get_new_shards_by_index_dir(self) -> dict[str, list[OpenShard]]:
        """The shards of the folders that this engine opened, for another one's
        `prev_shards_by_index_dir`."""
        return {folder: [*shards] for folder, shards in self._new_shards.items()}

    def check_query_ids(self, query_ids: Any, allow_empty: bool) -> bool:
        """Whether a value is a list of token ids."""
        return are_ids(query_ids, self.token_id_max) and (allow_empty or bool(query_ids))

    def check_cnf(self, cnf: Any) -> bool:
        """Whether a value is a list of clauses, lists of terms, lists of token ids; none empty."""
        return are_clauses(cnf, self.token_id_max)

    @answered
    def find(self, input_ids: list[int]) -> Answer:
        """How often ids occur, and where among the ranks of each shard.

        The empty query occurs at every token. Intervals have the ranks of deleted documents, too.
        """
        ids = ids_in("input_ids", input_ids, self.token_id_max)
        if not self._knows(ids):
            return {"cnt": 0, "segment_by_shard": [(0, 0)] * len(self._shards)}
        intervals = self._engine.find_batch(self._engine.vocabulary.query(ids))
        return {
            "cnt": int(self._engine.counts_of(intervals)[0]),
            "segment_by_shard": self._shards.intervals(intervals[0]),
        }

    @answered
    def find_cnf(
        self, cnf: Cnf, max_clause_freq: int | None = None, max_diff_tokens: int | None = None
    ) -> Answer:
        """How often clauses match, and the pointers of all matches in each shard."""
        clauses, within = self._clauses(cnf, max_clause_freq, max_diff_tokens)
        if clauses is None:
            return {"cnt": 0, "approx": False, "ptrs_by_shard": [[] for _ in self._shards.segments]}
        count, documents, offsets = self._shards.matches(clauses, within, None)
        pointers = self._shards.pointers(documents, offsets)
        return {"cnt": count, "approx": False, "ptrs_by_shard": pointers}

    @answered
    def count(self, input_ids: list[int]) -> Answer:
        """How often ids occur."""
        ids = ids_in("input_ids", input_ids, self.token_id_max)
        return {"count": self._engine.count(ids)[1] if self._knows(ids) else 0, "approx": False}

    @answered
    def count_cnf(
        self, cnf: Cnf, max_clause_freq: int | None = None, max_diff_tokens: int | None = None
    ) -> Answer:
        """How often clauses match: of one, the occurrences of its terms; of several, the smallest
        windows of at most `max_diff_tokens` tokens with a match of each."""
        clauses, within = self._clauses(cnf, max_clause_freq, max_diff_tokens)
        count = 0 if clauses is None else self._shards.matches(clauses, within, 0)[0]
        return {"count": count, "approx": False}

    @answered
    def prob(self, prompt_ids: list[int], cont_id: int) -> Answer:
        """P(cont_id | prompt_ids) from counts; −1.0 after a prompt that does not occur."""
        prompt, token = self._prompt(prompt_ids, cont_id)
        if not self._knows(prompt):
            return dict(UNSEEN)
        known = self._has(token)
        _, counts = self._engine.prob(prompt, token if known else self.token_id_max)
        return _of_prob(*counts, known)

    @answered
    def ntd(self, prompt_ids: list[int], max_support: int | None = None) -> Answer:
        """What follows a prompt, and how often: of all its occurrences."""
        return self._distribution(prompt_ids, max_support, False)

    @answered
    def infgram_prob(self, prompt_ids: list[int], cont_id: int) -> Answer:
        """As `prob`, after the longest suffix of the prompt that occurs."""
        prompt, token = self._prompt(prompt_ids, cont_id)
        known = self._has(token)
        _, (prompts, count, length) = self._engine.infgram_prob(
            self._known_suffix(prompt), token if known else self.token_id_max
        )
        return _of_prob(prompts, count, known) | {"suffix_len": length}

    @answered
    def infgram_ntd(self, prompt_ids: list[int], max_support: int | None = None) -> Answer:
        """As `ntd`, after the longest suffix of the prompt that occurs."""
        return self._distribution(prompt_ids, max_support, True)

    @answered
    def search_docs(
        self, input_ids: list[int], maxnum: int | None = None, max_disp_len: int | None = None
    ) -> Answer:
        """Documents in which ids occur, different ones, around an occurrence each. They are drawn,
        the same ones each time."""
        most = positive("maxnum", maxnum, self.maxnum)
        shown = self._shown(max_disp_len)
        ids = ids_in("input_ids", input_ids, self.token_id_max)
        return _of_search(self._shards.drawn(ids, most) if self._knows(ids) else None, shown)

    @answered
    def search_docs_cnf(
        self,
        cnf: Cnf,
        maxnum: int | None = None,
        max_disp_len: int | None = None,
        max_clause_freq: int | None = None,
        max_diff_tokens: int | None = None,
    ) -> Answer:
        """The first documents in which clauses match, around the first match in each."""
        most = positive("maxnum", maxnum, self.maxnum)
        shown = self._shown(max_disp_len)
        clauses, within = self._clauses(cnf, max_clause_freq, max_diff_tokens)
        found = None if clauses is None else self._shards.first_matches(clauses, within, most)
        return _of_search(found, shown)

    @answered
    def creativity(self, input_ids: list[int]) -> Answer:
        """For each token of a text the end of the longest match that starts there."""
        ids = ids_in("input_ids", input_ids, self.token_id_max)
        lengths = spans.match_lengths(self._engine, spans.text_of(self._engine, ids))
        return {"rs": (np.arange(len(ids)) + lengths).tolist()}

    @answered
    def attribute(
        self,
        input_ids: list[int],
        delim_ids: list[int],
        min_len: int,
        max_cnt: int,
        enforce_bow: bool,
    ) -> Answer:
        """The longest matches of a text that are no part of another, and all their occurrences.

        A match ends at the first of `delim_ids`, at the latest; with `enforce_bow` it begins and
        ends where words do. Those of fewer than `min_len` tokens, and those that occur more than
        `max_cnt` times, are left out.
        """
        ids = ids_in("input_ids", input_ids, self.token_id_max)
        delimiters = ids_in("delim_ids", delim_ids, self.token_id_max)
        least, most = natural("min_len", min_len), positive("max_cnt", max_cnt)
        if type(enforce_bow) is not bool:
            raise Wrong("enforce_bow must be a boolean")
        engine, text = self._engine, spans.text_of(self._engine, ids)
        words = self._words if enforce_bow else None
        found = spans.spans_of(engine, text, delimiters, least, most, words)
        segments, positions = spans.places_of(engine, found)
        shards, pointers = self._shards.shards_of(segments), positions * self._shards.width
        places = zip(shards.tolist(), pointers.tolist(), strict=True)
        if self._log_probs:
            log_probs = engine.unigram_log_probs(text.asked).tolist()
        else:
            log_probs = [UNKNOWN_LOG_PROB] * len(ids)
        rows = zip(found.starts.tolist(), found.ends.tolist(), found.counts.tolist(), strict=True)
        return {
            "spans": [
                {
                    "l": start,
                    "r": end,
                    "length": end - start,
                    "count": count,
                    "unigram_logprob_sum": sum(log_probs[start:end], 0.0),
                    "docs": [{"s": s, "ptr": ptr} for s, ptr in itertools.islice(places, count)],
                }
                for start, end, count in rows
            ]
        }

    def _knows(self, ids: list[int]) -> bool:
        """Whether all ids are in the vocabulary: others occur nowhere."""
        return not ids or max(ids) < self._vocab_size or all(map(self._has, ids))

    def _has(self, token: int) -> bool:
        return token < self._vocab_size or token == self.token_id_max

    def _known_suffix(self, prompt: list[int]) -> list[int]:
        """What stands after the last id that is not in the vocabulary."""
        if self._knows(prompt):
            return prompt
        last = max(place for place, each in enumerate(prompt) if not self._has(each))
        return prompt[last + 1 :]

    def _prompt(self, prompt_ids: Any, cont_id: Any) -> tuple[list[int], int]:
        # (Though an empty one is a prompt, too: so it is said there.)
        prompt = ids_in("prompt_ids", prompt_ids, self.token_id_max, "non-empty ")
        if not is_integer(cont_id, 0, self.token_id_max):
            raise Wrong(f"cont_id must be an integer in range [0, {self.token_id_max}]")
        return prompt, cont_id

    def _distribution(self, prompt_ids: Any, max_support: Any, longest: bool) -> Answer:
        positive("max_support", max_support, self.max_support)
        prompt = ids_in("prompt_ids", prompt_ids, self.token_id_max)
        known = self._known_suffix(prompt)
        results: dict[int, Answer] = {}
        total, length = 0, 0
        if longest or known is prompt:
            found = self._engine.ntd(known, longest, NO_LIMIT)
            total, length = found.prompt_count, found.suffix_len
            ids, counts = found.table[:2].tolist()
            rows = zip(ids, counts, found.table[2].view(np.float64).tolist(), strict=True)
            results = {each: {"cont_cnt": count, "prob": prob} for each, count, prob in rows}
        if end := results.pop(self.token_id_max, None):
            # (The text may have the token that stands for its end, too.)
            count = end["cont_cnt"] + results.get(self._end, {"cont_cnt": 0})["cont_cnt"]
            results[self._end] = {"cont_cnt": count, "prob": count / total}
            results = dict(sorted(results.items()))
        said = {"prompt_cnt": total, "result_by_token_id": results, "approx": False}
        return said | {"suffix_len": length} if longest else said

    def _clauses(
        self, cnf: Any, max_clause_freq: Any, max_diff_tokens: Any
    ) -> tuple[Cnf | None, int]:
        """The terms that may occur (None: a clause has none), and the tokens of a window."""
        positive("max_clause_freq", max_clause_freq, self.max_clause_freq)
        within = positive("max_diff_tokens", max_diff_tokens, self.max_diff_tokens)
        known = [
            [term for term in clause if self._knows(term)]
            for clause in clauses_in(cnf, self.token_id_max)
        ]
        return (known if all(known) else None), within


class InfiniGramEngineDiff(InfiniGramEngine):
    """`InfiniGramEngine` without the documents of other indexes, `index_dir_diff`, everywhere.

    Of each of these documents one with the same tokens is taken away, if there is one left.
    """

    def __init__(
        self,
        index_dir: Paths,
        index_dir_diff: Paths,
        eos_token_id: int,
        vocab_size: int = 65_535,
        version: int = 4,
        token_dtype: str = "u16",
        load_to_ram: bool = False,
        ds_prefetch_depth: int = 1,
        sa_prefetch_depth: int = 3,
        od_prefetch_depth: int = 3,
        bow_ids_path: str | os.PathLike[str] | None = None,
        attribution_block_size: int = 512,
        precompute_unigram_logprobs: bool = False,
        prev_shards_by_index_dir: ShardsByFolder = {},  # noqa: B006
        max_support: int = 1_000,
        max_clause_freq: int = 50_000,
        max_diff_tokens: int = 100,
        maxnum: int = 1,
        max_disp_len: int = 1_000,
    ) -> None:
        """As `InfiniGramEngine`. index_dir_diff: an index's folder, or a list of them."""
        self._minus = opening.folders_of("index_dir_diff", index_dir_diff)
        super().__init__(
            index_dir,
            eos_token_id,
            vocab_size,
            version,
            token_dtype,
            load_to_ram,
            ds_prefetch_depth,
            sa_prefetch_depth,
            od_prefetch_depth,
            bow_ids_path,
            attribution_block_size,
            precompute_unigram_logprobs,
            prev_shards_by_index_dir,
            max_support,
            max_clause_freq,
            max_diff_tokens,
            maxnum,
            max_disp_len,
        )

    @answered
    def get_docs_by_ptrs_2_grouped(self, requests: list[Answer]) -> list[Documents]:
        """`get_docs_by_ptrs_2` of each request's `docs`, {s, ptr}, with its `needle_len` and
        `max_ctx_len`. `span_ids` is checked and changes nothing."""
        rows = [self._grouped(request) for request in listed("requests", requests, GROUPS)]
        return [self._by_pointers(each) for each in rows]

    def _grouped(self, request: Any) -> list[tuple[Any, ...]]:
        names = ("docs", "span_ids", "needle_len", "max_ctx_len")
        if not isinstance(request, Mapping) or any(name not in request for name in names):
            raise Wrong(f"requests must be a list of {GROUPS}")
        needle = natural("needle_len", request["needle_len"])
        context = natural("max_ctx_len", request["max_ctx_len"])
        ids_in("span_ids", request["span_ids"], self.token_id_max)
        rows = []
        for each in listed("docs", request["docs"], PLACES):
            if not isinstance(each, Mapping) or "s" not in each or "ptr" not in each:
                raise Wrong(f"docs must be a list of {PLACES}")
            check_pointer(self._shards, each["s"], each["ptr"])
            rows.append((each["s"], each["ptr"], needle, context))
        return rows


GROUPS = "objects with docs, span_ids, needle_len and max_ctx_len"
PLACES = "objects with s and ptr"


def _of_prob(prompt_count: int, count: int, known: bool) -> Answer:
    """known: whether the continuation's id is in the vocabulary."""
    if not prompt_count:
        return dict(UNSEEN)
    count = count if known else 0
    return {"prompt_cnt": prompt_count, "cont_cnt": count, "prob": count / prompt_count}


def _of_search(found: tuple[int, list[int], list[Place]] | None, max_disp_len: int) -> Answer:
    """found: how many there are; of some, their numbers and places. None: there are none."""
    count, idxs, places = found or (0, [], [])
    documents = [document_of(place, *around(max_disp_len)) for place in places]
    return {"cnt": count, "approx": False, "idxs": idxs, "documents": documents}
