"""The exact answers of `everygram.compat.infini_gram`, by brute force over documents.

They are defined by documents, not by a stream: a document is its tokens with a separator before
them, and its end reads as one. Ranks are those of the index that is asked (`order`): what matters
is that the occurrences of every n-gram have successive ones.
"""

from collections import Counter

from exact import Shard, Theirs


class Document:
    """A document: its number, its shard, the pointer of its separator, its tokens, its metadata."""

    def __init__(self, number: int, shard: int, pointer: int, ids: list[int], line: str) -> None:
        self.number, self.shard, self.pointer, self.ids, self.line = (
            number,
            shard,
            pointer,
            ids,
            line,
        )


class Ours(Theirs):
    """Exact answers over the shards of `theirs`.

    order: for each shard, the pointers of all tokens by rank; it is checked to have each once.
    taken: the tokens of documents that are taken away, one of each.
    """

    def __init__(self, theirs: Theirs, order: list[list[int]], taken: list[list[int]] = ()) -> None:
        vars(self).update(vars(theirs))
        assert [sorted(each) for each in order] == [sorted(s.pointers) for s in self.shards]
        self._ranks = [{p: rank for rank, p in enumerate(pointers)} for pointers in order]
        self._order = order
        self.all_documents = [
            document for s, shard in enumerate(self.shards) for document in documents_of(s, shard)
        ]
        for number, document in enumerate(self.all_documents):
            document.number = number
        self.documents = [*self.all_documents]
        for ids in taken:
            same = [each for each in self.documents if each.ids == ids]
            if same:
                self.documents.remove(same[0])
        if self._total:  # (Otherwise log-probabilities are not wanted.)
            counted = Counter(
                token for each in self.documents for token in [self.separator, *each.ids]
            )
            self._unigrams = counted if self._unigrams else self._unigrams
            self._total = sum(counted.values())
        self._known: dict[tuple, list[list[int]]] = {}

    def occurrences(self, ids, as_prompt=False) -> list[list[int]]:
        """For each shard the pointers of an n-gram's occurrences, by rank. A prompt's have
        something after them: the end of a document is no part of one."""
        key = (*ids, as_prompt)
        if key not in self._known:
            found: list[list[int]] = [[] for _ in self.shards]
            for document in self.documents:
                for place in self._places(document, ids, as_prompt):
                    width = self.shards[0].width
                    found[document.shard].append(document.pointer + place * width)
            self._known[key] = [
                sorted(pointers, key=ranks.__getitem__)
                for pointers, ranks in zip(found, self._ranks, strict=True)
            ]
        return self._known[key]

    def _places(self, document, ids, as_prompt) -> list[int]:
        stream = [self.separator, *document.ids, *([] if as_prompt else [self.separator])]
        if not ids or ids == [self.separator]:
            stream = stream[: 1 + len(document.ids)]
        if not ids:
            return list(range(len(stream)))
        starts = range(len(stream) - len(ids) + 1)
        return [at for at in starts if stream[at] == ids[0] and stream[at : at + len(ids)] == ids]

    def following(self, ids) -> Counter:
        found: Counter = Counter()
        for s, pointers in enumerate(self.occurrences(ids, as_prompt=True)):
            shard = self.shards[s]
            for pointer in pointers:
                at = pointer // shard.width + len(ids)
                token = shard.ids[at] if at < len(shard.ids) else self.separator
                found[self.end if token == self.separator else token] += 1
        return found

    def find(self, ids):
        found = self.occurrences(ids)
        intervals = []
        for pointers, ranks in zip(found, self._ranks, strict=True):
            low = ranks[pointers[0]] if pointers else 0
            assert [ranks[p] for p in pointers] == list(range(low, low + len(pointers)))
            intervals.append((low, low + len(pointers)))
        return {"cnt": sum(map(len, found)), "segment_by_shard": intervals}

    def prob(self, ids, token):
        prompt = sum(map(len, self.occurrences(ids, as_prompt=True)))
        if not prompt:
            return {"prompt_cnt": 0, "cont_cnt": 0, "prob": -1.0}
        both = sum(map(len, self.occurrences([*ids, token])))
        return {"prompt_cnt": prompt, "cont_cnt": both, "prob": both / prompt}

    def suffix_len(self, ids) -> int:
        lengths = range(len(ids), -1, -1)
        tails = ((length, ids[len(ids) - length :]) for length in lengths)
        # (Not even the empty one occurs where all documents are taken away.)
        return next((n for n, tail in tails if any(self.occurrences(tail, as_prompt=True))), 0)

    def longest(self, ids) -> int:
        length = len(ids)
        while length and not any(self.occurrences(ids[:length])):
            length -= 1
        return length

    def _document(self, s, pointer, before, after):
        document = next(
            each
            for each in reversed(self.all_documents)
            if each.shard == s and each.pointer <= pointer
        )
        offset = (pointer - document.pointer) // self.shards[0].width - 1
        return self._shown(document, offset, before, after)

    def _shown(self, document, offset, before, after):
        is_gone = document not in self.documents
        ids = [] if is_gone else document.ids
        begin = max(0, offset - before)
        shown = ids[begin : max(begin, offset + after)]
        return {
            "doc_ix": document.number,
            "doc_len": len(ids),
            "disp_len": len(shown),
            # (A separator stands before what is shown.)
            "needle_offset": 0 if is_gone else max(0, offset - begin),
            "metadata": "" if is_gone else document.line,
            "token_ids": shown,
            "blocked": is_gone,
        }

    def get_doc_by_rank(self, s, rank, **named):
        return self.get_doc_by_ptr(s, self._order[s][rank], **named)

    def get_doc_by_rank_2(self, s, rank, *lengths):
        return self.get_doc_by_ptr_2(s, self._order[s][rank], *lengths)

    def get_doc_by_ix(self, doc_ix, max_disp_len=1000):
        return self._shown(self.all_documents[doc_ix], 0, 0, max_disp_len)

    def get_docs_by_ptrs_2_grouped(self, requests):
        return [
            [
                self.get_doc_by_ptr_2(each["s"], each["ptr"], one["needle_len"], one["max_ctx_len"])
                for each in one["docs"]
            ]
            for one in requests
        ]

    def matches(self, cnf, within) -> list[tuple[Document, int]]:
        """(document, offset) of what clauses match: of one, the different occurrences of its terms;
        of several, the smallest windows of at most `within` tokens that have a match of each."""
        return [
            (document, start)
            for document in self.documents
            for start, _ in sorted(smallest_windows(document.ids, cnf, within))
        ]

    def count_cnf(self, cnf, max_clause_freq=50_000, max_diff_tokens=100):
        return {"count": len(self.matches(cnf, max_diff_tokens)), "approx": False}

    def find_cnf(self, cnf, max_clause_freq=50_000, max_diff_tokens=100):
        found = self.matches(cnf, max_diff_tokens)
        pointers: list[list[int]] = [[] for _ in self.shards]
        for document, offset in found:
            pointer = document.pointer + (1 + offset) * self.shards[0].width
            pointers[document.shard].append(pointer)
        return {"cnt": len(found), "approx": False, "ptrs_by_shard": pointers}

    def search_docs_cnf(self, cnf, maxnum=1, max_disp_len=1000, max_diff_tokens=100):
        found = self.matches(cnf, max_diff_tokens)
        first: dict[Document, int] = {}
        for at, (document, _) in enumerate(found):
            first.setdefault(document, at)
        chosen = [*first.items()][:maxnum]
        before, after = max_disp_len // 2, (max_disp_len + 1) // 2
        return {
            "cnt": len(found),
            "approx": False,
            "idxs": [at for _, at in chosen],
            "documents": [
                self._shown(document, found[at][1], before, after) for document, at in chosen
            ],
        }

    def is_search(self, answer, ids, maxnum, max_disp_len) -> bool:
        """Whether an answer of `search_docs` is one: occurrences in different documents, as many as
        are wanted or are there."""
        places = [
            (s, pointer) for s, pointers in enumerate(self.occurrences(ids)) for pointer in pointers
        ]
        shown = [
            self.get_doc_by_ptr(*places[at], max_disp_len=max_disp_len) for at in answer["idxs"]
        ]
        numbers = {self.get_doc_by_ptr(*place)["doc_ix"] for place in places}
        return (
            [*answer] == ["cnt", "approx", "idxs", "documents"]
            and (answer["cnt"], answer["approx"]) == (len(places), False)
            and answer["documents"] == shown
            and len(shown) == len({each["doc_ix"] for each in shown}) == min(maxnum, len(numbers))
        )


def documents_of(s: int, shard: Shard) -> list[Document]:
    """The documents of a shard, without numbers."""
    return [
        Document(0, s, start, shard.ids[start // shard.width + 1 : end // shard.width], line)
        for start, end, line in zip(shard.starts[:-1], shard.starts[1:], shard.lines, strict=True)
    ]


def smallest_windows(ids: list[int], cnf: list[list[list[int]]], within: int) -> set:
    """{(start, end)} in the tokens of a document."""
    spans = [
        {
            (at, at + len(term))
            for term in clause
            for at in range(len(ids) - len(term) + 1)
            if ids[at : at + len(term)] == term
        }
        for clause in cnf
    ]
    if len(spans) == 1:
        return spans[0]
    windows = set()
    for first in range(len(ids)):
        ends = [[end for start, end in some if start >= first] for some in spans]
        if all(ends):
            last = max(map(min, ends))
            starts = [max(s for s, e in some if s >= first and e <= last) for some in spans]
            windows.add((min(starts), last))
    windows = {(start, end) for start, end in windows if end - start <= within}
    return {
        (start, end)
        for start, end in windows
        if not any((a, b) != (start, end) and start <= a and b <= end for a, b in windows)
    }
