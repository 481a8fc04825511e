"""The sorters: one canonical order, against the naive sort, whatever the text is like."""

import itertools
import random

import numpy as np
import pydivsufsort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everygram.building import suffix_array as module
from everygram.building.suffix_array import suffix_array
from naive import NaiveIndex

DTYPES = [np.uint8, np.uint16, np.uint32]


def stream_of(documents, dtype):
    separator = int(np.iinfo(dtype).max)
    return np.array([t for d in documents for t in (separator, *d)], dtype), separator


def check(documents, dtype=np.uint16):
    tokens, separator = stream_of(documents, dtype)
    expected = NaiveIndex(documents, separator).suffix_array()
    assert suffix_array(tokens).tolist() == expected


def fibonacci(length):
    a, b = [1], [0]
    while len(b) < length:
        a, b = b, b + a
    return b[:length]


@pytest.mark.parametrize(("alphabet", "longest"), [(2, 12), (3, 7), (4, 5)])
def test_every_string(alphabet, longest):
    """One document of every string over the alphabet."""
    for length in range(longest + 1):
        for document in itertools.product(range(alphabet), repeat=length):
            check([document])


def test_every_way_to_cut_a_string_into_documents():
    for length in range(8):
        for stream in itertools.product([0, 1, None], repeat=length):
            documents = [[]]
            for symbol in stream:
                if symbol is None:
                    documents.append([])
                else:
                    documents[-1].append(symbol)
            check(documents)


@settings(max_examples=200, deadline=None)
@given(
    documents=st.lists(st.lists(st.integers(0, 3), max_size=40), min_size=1, max_size=8),
    dtype=st.sampled_from(DTYPES),
    shift=st.integers(0, 200),
)
def test_random_documents(documents, dtype, shift):
    check([[token + shift for token in document] for document in documents], dtype)


rng = random.Random(7)
BOOK = [rng.randrange(50) for _ in range(60)]
FAMILIES = {
    "one token": [[7] * 300],
    "period 2": [[1, 2] * 150],
    "period 3, cut": [[1, 2, 2] * 90 + [1]],
    "fibonacci": [fibonacci(400)],
    "the same book": [BOOK] * 12,
    "the same book in one document": [BOOK * 12],
    "books that end alike": [BOOK[i:] for i in range(0, 60, 5)],
    "ascending": [list(range(300))],
    "descending": [list(range(300, 0, -1))],
    "empty documents": [[]] * 50,
    "one-token documents": [[5]] * 80 + [[], [5, 5]],
    "mostly empty": [[], [], [1, 2], [], [2, 1, 2], []],
    "two tokens at random": [[rng.randrange(2) for _ in range(500)]],
    "many tokens at random": [[rng.randrange(60_000) for _ in range(500)]],
}


@pytest.mark.parametrize("name", FAMILIES)
def test_families(name):
    check(FAMILIES[name])
    check(FAMILIES[name], np.uint32)


@pytest.mark.parametrize("name", FAMILIES)
def test_positions_of_64_bits(name, monkeypatch):
    """What a stream of 2³¹ tokens takes."""
    monkeypatch.setattr(module, "NARROW_BELOW", 0)
    tokens, _ = stream_of(FAMILIES[name], np.uint16)
    assert suffix_array(tokens).dtype == np.int64
    check(FAMILIES[name])


def test_ids_far_apart(monkeypatch):
    """A vocabulary of billions of which a few occur is renumbered, not counted in full."""
    monkeypatch.setattr(module, "FREE_BUCKETS", 4)
    check([[2**32 - 2, 5, 2**31, 5, 0], [5, 2**32 - 2], []], np.uint32)


def test_no_tokens():
    assert suffix_array(np.empty(0, np.uint16)).tolist() == []


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FAMILIES)
def test_libdivsufsort_agrees_up_to_ties(name, dtype):
    """It sorts the tokens' big-endian bytes; those that start a token are in the tokens' order."""
    documents = [[token % 250 for token in document] for document in FAMILIES[name]]
    tokens, separator = stream_of(documents, dtype)

    def until_separator(position):
        suffix = [*tokens[position:].tolist(), separator]
        return suffix[: suffix.index(separator, 1) + 1]

    with_end = np.append(tokens, tokens.dtype.type(separator))
    in_bytes = pydivsufsort.divsufsort(with_end.astype(tokens.dtype.newbyteorder(">")).view("u1"))
    theirs = in_bytes[in_bytes % tokens.itemsize == 0] // tokens.itemsize
    theirs = theirs[theirs < len(tokens)]
    assert list(map(until_separator, suffix_array(tokens))) == list(map(until_separator, theirs))
