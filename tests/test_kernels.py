"""The kernels on bare arrays; `make test` runs this file again with the JIT off."""

import itertools
import random

import numpy as np
import pytest

from everygram import kernels
from everygram.kernels.search import count_many, find, longest_suffix, next_tokens, positions_of
from everygram.kernels.sort import fence_keys, first_disorder, invert, widen
from everygram.suffix_array import suffix_array
from naive import NaiveIndex

DTYPES = [np.uint8, np.uint16, np.uint32]


def stream_of(documents, dtype):
    separator = int(np.iinfo(dtype).max)
    flat = [token for document in documents for token in (separator, *document)]
    return np.array(flat, dtype), separator


def wide(positions):
    entries = np.empty((len(positions), 5), np.uint8)
    widen(np.asarray(positions), entries)
    return entries


def random_documents(seed, alphabet=3):
    rng = random.Random(seed)
    return [
        [rng.randrange(alphabet) for _ in range(rng.randrange(12))]
        for _ in range(rng.randrange(1, 8))
    ]


def rank_of(sa, n):
    inverse = np.full(n, n, np.uint32)
    assert invert(sa, inverse) == -1
    return inverse


@pytest.mark.parametrize("wide_positions", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_search_kernels(dtype, wide_positions):
    documents = random_documents(5, alphabet=2)
    tokens, separator = stream_of(documents, dtype)
    naive = NaiveIndex(documents, separator)
    sa = suffix_array(tokens)
    positions = sa
    if wide_positions:
        sa = wide(sa)
    queries = [np.array(q, np.int64) for k in range(5) for q in itertools.product([0, 1], repeat=k)]
    for spacing in (1, 2, 3):
        fences = np.empty(-(-len(tokens) // spacing), np.uint64)
        fence_keys(tokens, sa, separator, spacing, fences)
        assert (fences[1:] >= fences[:-1]).all()
        for query in queries:
            lo, hi = find(tokens, sa, fences, spacing, separator, query)
            assert hi - lo == naive.count(query.tolist())
            assert positions_of(sa, np.arange(lo, hi)).tolist() == positions[lo:hi].tolist()
            ids, counts = next_tokens(tokens, sa, separator, lo, hi, len(query))
            if len(query):
                following = naive.following(query.tolist())
                assert dict(zip(ids.tolist(), counts.tolist(), strict=True)) == following
            length = longest_suffix(tokens, sa, fences, spacing, separator, query)
            assert length == naive.suffix_len(query.tolist())
        flat = np.concatenate(queries)
        offsets = np.cumsum([0, *map(len, queries)])
        totals = np.ones(len(queries), np.int64)
        count_many(tokens, sa, fences, spacing, separator, flat, offsets, totals)
        assert totals.tolist() == [1 + naive.count(query.tolist()) for query in queries]


def test_compiled_code_is_kept_by_the_sources_of_all_kernels(monkeypatch, tmp_path):
    """A changed helper must not leave the kernels that call it as they were compiled."""
    folder = kernels._cache_folder()
    (tmp_path / "kernels.py").write_text("changed")
    monkeypatch.setattr(kernels, "__file__", str(tmp_path / "__init__.py"))
    assert kernels._cache_folder() != folder


def test_without_a_place_for_compiled_code_there_is_none(monkeypatch):
    def mkdir(*_, **__):
        raise PermissionError

    monkeypatch.setattr(kernels.Path, "mkdir", mkdir)
    assert kernels._cache_folder() is None


def test_widen_keeps_five_bytes():
    positions = np.array([0, 1, 2**32 - 1, 2**32, 2**40 - 1])
    assert positions_of(wide(positions), np.arange(5)).tolist() == positions.tolist()


def test_invert_refuses_what_is_no_permutation():
    assert invert(np.array([0, 3, 1], np.uint32), np.full(3, 3, np.uint32)) == 1
    assert invert(np.array([0, 1, 1], np.uint32), np.full(3, 3, np.uint32)) == 2


def test_every_swap_is_a_disorder_unless_the_suffixes_tie():
    documents = [[0, 1, 0, 1], [1, 0, 1], [0, 1]]
    tokens, separator = stream_of(documents, np.uint8)
    sa = suffix_array(tokens)

    def until_separator(position):
        suffix = [*tokens[position:].tolist(), separator]
        return suffix[: suffix.index(separator, 1) + 1]

    for i, j in itertools.combinations(range(len(sa)), 2):
        swapped = sa.copy()
        swapped[[i, j]] = swapped[[j, i]]
        keys = [until_separator(position) for position in swapped.tolist()]
        wrong = first_disorder(tokens, swapped, rank_of(swapped, len(tokens)), separator)
        assert (wrong == -1) == (keys == sorted(keys))
