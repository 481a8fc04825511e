"""The exact answers to the calls of infini-gram's engine, by brute force over its files: as it
defines them (`Theirs`), whatever it answers.

Written to be obviously right. Tokens are compared as bytes, as infini-gram compares them.
"""

import itertools
import json
import math
from collections import Counter
from pathlib import Path

import numpy as np

import infini_gram_index as indexes
from cases import Case

# What infini-gram gives as the logarithm of a probability of 0.
NEVER = -10_000.0


class Shard:
    """One shard: its bytes, the pointers of its suffixes in order, its documents."""

    def __init__(self, folder: Path, name: str, dtype: str) -> None:
        def read(kind: str) -> bytes | None:
            path = folder / (kind + name)
            return path.read_bytes() if path.exists() else None

        self.data, self.width = read("tokenized"), np.dtype(indexes.DTYPES[dtype]).itemsize
        self.ids = np.frombuffer(self.data, indexes.DTYPES[dtype]).tolist()
        table = np.frombuffer(read("table"), np.uint8).reshape(len(self.ids), -1)
        shifts = 8 * np.arange(table.shape[1])
        self.pointers = (table.astype(np.int64) << shifts).sum(axis=1).tolist()
        self.starts = [*np.frombuffer(read("offset"), "<u8").tolist(), len(self.data)]
        self.lines = [""] * (len(self.starts) - 1)
        text, places = read("metadata"), read("metaoff")
        if text is not None and places is not None:
            ends = [*np.frombuffer(places, "<u8").tolist(), len(text)]
            self.lines = [text[a:b].decode() for a, b in itertools.pairwise(ends)]

    @classmethod
    def joined(cls, shards: list["Shard"]) -> "Shard":
        """The documents of shards as one, whose pointers are in no order, and with lines of JSON as
        we write them: without spaces, and an empty object for none."""
        found = cls.__new__(cls)
        found.width, found.data = shards[0].width, b"".join(shard.data for shard in shards)
        found.ids = [token for shard in shards for token in shard.ids]
        found.pointers = [*range(0, len(found.data), found.width)]
        lines = [line for shard in shards for line in shard.lines]
        found.lines = [
            json.dumps(json.loads(line or "{}"), separators=(",", ":")) + "\n" for line in lines
        ]
        before = itertools.accumulate((len(shard.data) for shard in shards), initial=0)
        starts = [
            at + start
            for at, shard in zip(before, shards, strict=False)
            for start in shard.starts[:-1]
        ]
        found.starts = [*starts, len(found.data)]
        return found

    def occurrences(self, query: bytes) -> list[int]:
        """The pointers of all suffixes that begin with these bytes, in the order of the table."""
        return [p for p in self.pointers if self.data.startswith(query, p)]

    def has(self, query: bytes) -> bool:
        """Whether there is one."""
        at = self.data.find(query)
        while at % self.width and at >= 0:
            at = self.data.find(query, at + 1)
        return at >= 0

    def is_before_all(self, query: bytes) -> bool:
        """Whether these bytes sort before all suffixes."""
        return query < min(self.data[p:] for p in self.pointers)

    def longest(self, query: bytes) -> int:
        """How many tokens of a query are the longest prefix that occurs."""
        length = len(query)
        while length and not self.has(query[:length]):
            length -= self.width
        return length // self.width


class Theirs:
    """Exact answers over the index of a case.

    word_ids: ids of tokens that begin words, for `attribute`. log_probs: whether engines are told
    to have logarithms of the probabilities of tokens.
    """

    def __init__(self, case: Case, folder: Path, word_ids: list[int], log_probs: bool) -> None:
        names = sorted(path.name.removeprefix("tokenized") for path in folder.glob("tokenized*"))
        self.shards = [Shard(folder, name, case.dtype) for name in names]
        self.end, self.word_ids = case.end, set(word_ids)
        self.case, self.separator = case, indexes.separator_of(case.dtype)
        ids = [token for shard in self.shards for token in shard.ids]
        self._unigrams = Counter(ids if log_probs else ())
        self._total = len(ids)

    def bytes_of(self, ids: list[int]) -> bytes:
        return np.array(ids, indexes.DTYPES[self.case.dtype]).tobytes()

    def occurrences(self, ids: list[int]) -> list[list[int]]:
        """For each shard the pointers of an n-gram's occurrences, in the order of ranks."""
        query = self.bytes_of(ids)
        return [shard.occurrences(query) for shard in self.shards]

    def following(self, ids: list[int]) -> Counter:
        """What follows an n-gram; the end of a document or of a shard is the end's id."""
        found: Counter = Counter()
        for shard, pointers in zip(self.shards, self.occurrences(ids), strict=True):
            for pointer in pointers:
                at = pointer // shard.width + len(ids)
                token = shard.ids[at] if at < len(shard.ids) else self.separator
                found[self.end if token == self.separator else token] += 1
        return found

    def find(self, ids):
        found = self.occurrences(ids)
        intervals = []
        for shard, pointers in zip(self.shards, found, strict=True):
            ranks = sorted(map(shard.pointers.index, pointers))
            assert ranks == list(range(ranks[0], ranks[0] + len(ranks))) if ranks else True
            before = sum(shard.data[p:] < self.bytes_of(ids) for p in shard.pointers)
            low = ranks[0] if ranks else before
            intervals.append((low, low + len(ranks)))
        return {"cnt": sum(map(len, found)), "segment_by_shard": intervals}

    def count(self, ids):
        return {"count": sum(map(len, self.occurrences(ids))), "approx": False}

    def prob(self, ids, token):
        prompt, both = (sum(map(len, self.occurrences(some))) for some in (ids, [*ids, token]))
        prob = both / prompt if prompt else -1.0
        return {"prompt_cnt": prompt, "cont_cnt": both, "prob": prob}

    def ntd(self, ids, max_support=1000):
        found = self.following(ids)
        total = sum(found.values())
        results = {
            token: {"cont_cnt": found[token], "prob": found[token] / total}
            for token in sorted(found)
        }
        return {"prompt_cnt": total, "result_by_token_id": results, "approx": False}

    def suffix_len(self, ids) -> int:
        occurring = (
            n for n in range(len(ids), -1, -1) if any(self.occurrences(ids[len(ids) - n :]))
        )
        return next(occurring)

    def infgram_prob(self, ids, token):
        length = self.suffix_len(ids)
        return self.prob(ids[len(ids) - length :], token) | {"suffix_len": length}

    def infgram_ntd(self, ids, max_support=1000):
        length = self.suffix_len(ids)
        return self.ntd(ids[len(ids) - length :]) | {"suffix_len": length}

    def get_total_doc_cnt(self):
        return sum(len(shard.lines) for shard in self.shards)

    def _document(self, s, pointer, before, after):
        """The document at a pointer: so many tokens before it, and from it on."""
        shard = self.shards[s]
        local = max(i for i, start in enumerate(shard.starts[:-1]) if start <= pointer)
        start, end = shard.starts[local] + shard.width, shard.starts[local + 1]
        first = max(start, pointer - before * shard.width)
        last = min(end, pointer + after * shard.width)
        ids = shard.ids[first // shard.width : last // shard.width]
        return {
            "doc_ix": sum(len(other.lines) for other in self.shards[:s]) + local,
            "doc_len": (end - start) // shard.width,
            "disp_len": (last - first) // shard.width,
            "needle_offset": (pointer - first) // shard.width,
            "metadata": shard.lines[local],
            "token_ids": ids,
            "blocked": False,
        }

    def get_doc_by_ptr(self, s, ptr, max_disp_len=1000):
        return self._document(s, ptr, max_disp_len // 2, (max_disp_len + 1) // 2)

    def get_doc_by_ptr_2(self, s, ptr, needle_len, max_ctx_len):
        return self._document(s, ptr, max_ctx_len, needle_len + max_ctx_len)

    def get_doc_by_rank(self, s, rank, **named):
        return self.get_doc_by_ptr(s, self.shards[s].pointers[rank], **named)

    def get_doc_by_rank_2(self, s, rank, *lengths):
        return self.get_doc_by_ptr_2(s, self.shards[s].pointers[rank], *lengths)

    def get_doc_by_ix(self, doc_ix, max_disp_len=1000):
        s, local = 0, doc_ix
        while local >= len(self.shards[s].lines):
            local -= len(self.shards[s].lines)
            s += 1
        shard = self.shards[s]
        start = shard.starts[local] + shard.width
        # (An empty document has no token to point at.)
        length = min(max_disp_len, (shard.starts[local + 1] - start) // shard.width)
        found = self._document(s, shard.starts[local], 0, 1 + length)
        return found | {"needle_offset": 0}

    def get_doc_by_ix_2(self, doc_ix, max_ctx_len):
        return self.get_doc_by_ix(doc_ix, max_ctx_len)

    def get_docs_by_ranks(self, several, **named):
        return [self.get_doc_by_rank(*each, **named) for each in several]

    def get_docs_by_ptrs(self, several, **named):
        return [self.get_doc_by_ptr(*each, **named) for each in several]

    def get_docs_by_ixs(self, several, **named):
        return [self.get_doc_by_ix(each, **named) for each in several]

    def get_docs_by_ranks_2(self, several):
        return [self.get_doc_by_rank_2(*each) for each in several]

    def get_docs_by_ptrs_2(self, several):
        return [self.get_doc_by_ptr_2(*each) for each in several]

    def get_docs_by_ixs_2(self, several):
        return [self.get_doc_by_ix_2(*each) for each in several]

    def _log_prob(self, token) -> float:
        count = self._unigrams[token]
        return math.log(count) - math.log(self._total) if count else NEVER

    def longest(self, ids) -> int:
        return max(shard.longest(self.bytes_of(ids)) for shard in self.shards)

    def creativity(self, ids):
        tails = [ids[start:] for start in range(len(ids))]
        lengths = [self.left(tail, self.longest(tail)) for tail in tails]
        return {"rs": [start + length for start, length in enumerate(lengths)]}

    def left(self, ids, length) -> int:
        """How many of the first tokens are left of a match where documents are taken out."""
        return length

    def attribute(self, ids, delimiters, min_len, max_cnt, enforce_bow):
        spans, last = [], 0
        for start in range(len(ids)):
            if enforce_bow and ids[start] not in self.word_ids:
                continue
            length = self.longest(ids[start:])
            stops = [at for at in range(length - 1) if ids[start + at] in delimiters]
            length = stops[0] + 1 if stops else length
            while enforce_bow and 0 < length < len(ids) - start:
                if ids[start + length] in self.word_ids:
                    break
                length -= 1
            length = self.left(ids[start:], length)
            found = self.occurrences(ids[start : start + length])
            count = sum(map(len, found))
            if length < min_len or count > max_cnt or start + length <= last:
                continue
            last = start + length
            spans.append(
                {
                    "l": start,
                    "r": last,
                    "length": length,
                    "count": count,
                    "unigram_logprob_sum": sum(map(self._log_prob, ids[start:last]), 0.0),
                    "docs": [{"s": s, "ptr": p} for s, some in enumerate(found) for p in some],
                }
            )
        return {"spans": spans}


class TheirsWithout(Theirs):
    """As `InfiniGramEngineDiff` defines them: matches are cut where all their occurrences are in
    the index `gone`, and some calls do not show its documents."""

    gone: Theirs

    def left(self, ids, length) -> int:
        while length:
            here, gone = (each.count(ids[:length])["count"] for each in (self, self.gone))
            if here > gone:
                break
            length -= 1
        return length

    def get_docs_by_ptrs_2_grouped(self, requests):
        return [self._of_request(**request) for request in requests]

    def _of_request(self, docs, span_ids, needle_len, max_ctx_len):
        lengths = (needle_len, max_ctx_len)
        gone = [
            self.gone.get_doc_by_ptr_2(s, pointer, *lengths)["token_ids"]
            for s, pointers in enumerate(self.gone.occurrences(span_ids))
            for pointer in pointers
        ]
        found = [self.get_doc_by_ptr_2(each["s"], each["ptr"], *lengths) for each in docs]
        return [
            each | ({"token_ids": [], "blocked": True} if each["token_ids"] in gone else {})
            for each in found
        ]
