"""The methods of infini-gram's engine that give documents: by rank, pointer or number.

Those of names in `_2` take how long a needle is and how much to show on each side of it, in place
of how much to show in all.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from everygram.compat.infini_gram_checks import (
    answered,
    check_document,
    check_pointer,
    check_rank,
    listed,
    natural,
    positive,
    rows_in,
)
from everygram.compat.infini_gram_shards import Shards, around, document_of

Document = dict[str, Any]
Documents = list[Document]


class DocumentMethods:
    """Methods that answer with documents. Every one of a list is checked before any is read."""

    max_disp_len: int
    _shards: Shards

    @answered
    def get_doc_by_rank(self, s: int, rank: int, max_disp_len: int | None = None) -> Document:
        """The document in which the suffix of a rank of shard `s` starts, around that place."""
        return self._by_ranks([(s, rank)], self._shown(max_disp_len))[0]

    @answered
    def get_docs_by_ranks(
        self, list_of_s_and_rank: list[tuple[int, int]], max_disp_len: int | None = None
    ) -> Documents:
        """`get_doc_by_rank` of each (s, rank)."""
        most = self._shown(max_disp_len)
        rows = rows_in("list_of_s_and_rank", list_of_s_and_rank, "pairs of integers", 2)
        return self._by_ranks(rows, most)

    @answered
    def get_doc_by_ptr(self, s: int, ptr: int, max_disp_len: int | None = None) -> Document:
        """The document of the token at a pointer of shard `s`, around that place."""
        return self._by_pointers([(s, ptr)], self._shown(max_disp_len))[0]

    @answered
    def get_docs_by_ptrs(
        self, list_of_s_and_ptr: list[tuple[int, int]], max_disp_len: int | None = None
    ) -> Documents:
        """`get_doc_by_ptr` of each (s, ptr)."""
        most = self._shown(max_disp_len)
        rows = rows_in("list_of_s_and_ptr", list_of_s_and_ptr, "pairs of integers", 2)
        return self._by_pointers(rows, most)

    @answered
    def get_doc_by_ix(self, doc_ix: int, max_disp_len: int | None = None) -> Document:
        """A document by its number: its first `max_disp_len` tokens."""
        return self._by_numbers([(doc_ix, self._shown(max_disp_len))])[0]

    @answered
    def get_docs_by_ixs(
        self, list_of_doc_ix: list[int], max_disp_len: int | None = None
    ) -> Documents:
        """`get_doc_by_ix` of each number."""
        most = self._shown(max_disp_len)
        numbers = listed("list_of_doc_ix", list_of_doc_ix, "integers")
        return self._by_numbers([(number, most) for number in numbers])

    @answered
    def get_doc_by_rank_2(self, s: int, rank: int, needle_len: int, max_ctx_len: int) -> Document:
        """As `get_doc_by_rank`: `needle_len` tokens, and `max_ctx_len` on each side."""
        return self._by_ranks([(s, rank, needle_len, max_ctx_len)])[0]

    @answered
    def get_docs_by_ranks_2(self, requests: list[tuple[int, int, int, int]]) -> Documents:
        """`get_doc_by_rank_2` of each (s, rank, needle_len, max_ctx_len)."""
        return self._by_ranks(rows_in("requests", requests, "four integers each", 4))

    @answered
    def get_doc_by_ptr_2(self, s: int, ptr: int, needle_len: int, max_ctx_len: int) -> Document:
        """As `get_doc_by_ptr`: `needle_len` tokens, and `max_ctx_len` on each side."""
        return self._by_pointers([(s, ptr, needle_len, max_ctx_len)])[0]

    @answered
    def get_docs_by_ptrs_2(self, requests: list[tuple[int, int, int, int]]) -> Documents:
        """`get_doc_by_ptr_2` of each (s, ptr, needle_len, max_ctx_len)."""
        return self._by_pointers(rows_in("requests", requests, "four integers each", 4))

    @answered
    def get_doc_by_ix_2(self, doc_ix: int, max_ctx_len: int) -> Document:
        """A document by its number: its first `max_ctx_len` tokens."""
        return self._by_numbers([(doc_ix, max_ctx_len)])[0]

    @answered
    def get_docs_by_ixs_2(self, requests: list[tuple[int, int]]) -> Documents:
        """`get_doc_by_ix_2` of each (doc_ix, max_ctx_len)."""
        return self._by_numbers(rows_in("requests", requests, "pairs of integers", 2))

    def get_total_doc_cnt(self) -> int:
        """How many numbers of documents there are, those of deleted documents too."""
        return self._shards.engine.next_document

    def _shown(self, max_disp_len: Any) -> int:
        return positive("max_disp_len", max_disp_len, self.max_disp_len)

    def _by_ranks(self, rows: list[tuple[Any, ...]], most: int = 0) -> Documents:
        """Documents by rows of a shard and a rank: of at most so many tokens, or with as many as
        rows of four values say."""
        windows = [self._checked(check_rank, most, *row) for row in rows]
        places = self._shards.at_ranks([row[0] for row in rows], [row[1] for row in rows])
        return [document_of(place, *each) for place, each in zip(places, windows, strict=True)]

    def _by_pointers(self, rows: list[tuple[Any, ...]], most: int = 0) -> Documents:
        """As `_by_ranks`, by rows of a shard and a pointer."""
        windows = [self._checked(check_pointer, most, *row) for row in rows]
        places = self._shards.at_pointers([row[0] for row in rows], [row[1] for row in rows])
        return [document_of(place, *each) for place, each in zip(places, windows, strict=True)]

    def _checked(
        self,
        check: Callable[[Shards, Any, Any], None],
        most: int,
        shard: Any,
        place: Any,
        *needle_and_context: Any,
    ) -> tuple[int, int]:
        """How many tokens of a document are shown before a place and from it on."""
        window = around(most)
        if needle_and_context:
            needle, context = needle_and_context
            needle, context = natural("needle_len", needle), natural("max_ctx_len", context)
            window = context, needle + context
        check(self._shards, shard, place)
        return window

    def _by_numbers(self, rows: list[tuple[Any, ...]]) -> Documents:
        """Documents by rows of a number, and how many tokens to show."""
        for number, most in rows:
            natural("max_ctx_len", most)
            check_document(self._shards, number)
        numbers = np.array([number for number, _ in rows], np.int64)
        places = self._shards.places(numbers, np.zeros_like(numbers))
        return [document_of(place, 0, most) for place, (_, most) in zip(places, rows, strict=True)]
