"""The sorters: one canonical order, against the naive sort, whatever the text is like."""

import itertools
import os
import random
import subprocess
import sys

import numpy as np
import pydivsufsort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import everygram
from conftest import write_jsonl
from everygram.building import induction
from everygram.building import suffix_array as module
from everygram.building.induction import induced
from everygram.building.suffix_array import by_divsufsort, suffix_array
from naive import NaiveIndex

DTYPES = [np.uint8, np.uint16, np.uint32]


def stream_of(documents, dtype):
    separator = int(np.iinfo(dtype).max)
    return np.array([t for d in documents for t in (separator, *d)], dtype), separator


def check(documents, dtype=np.uint16):
    tokens, separator = stream_of(documents, dtype)
    expected = NaiveIndex(documents, separator).suffix_array()
    assert induced(tokens).tolist() == expected
    assert by_divsufsort(tokens).tolist() == expected


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
    monkeypatch.setattr(induction, "NARROW_BELOW", 0)
    tokens, _ = stream_of(FAMILIES[name], np.uint16)
    assert induced(tokens).dtype == np.int64
    check(FAMILIES[name])


def test_ids_far_apart(monkeypatch):
    """A vocabulary of billions of which a few occur is renumbered, not counted in full."""
    monkeypatch.setattr(induction, "FREE_BUCKETS", 4)
    check([[2**32 - 2, 5, 2**31, 5, 0], [5, 2**32 - 2], []], np.uint32)


def test_no_tokens():
    assert suffix_array(np.empty(0, np.uint16)).tolist() == []


@pytest.mark.parametrize("dtype", DTYPES)
def test_both_sorters_make_the_same_array_of_thousands_of_streams(dtype):
    """Few tokens and many, those next to the separator, repeats, empty documents, one document."""
    rng = np.random.default_rng(np.dtype(dtype).itemsize)
    separator = np.iinfo(dtype).max
    for number in range(1500):
        n = int(rng.integers(1, 400))
        largest = int(rng.choice([1, 2, 5, 200, separator]))
        tokens = rng.integers(0, largest, n, dtype)
        if number % 3 == 0:
            tokens = np.resize(tokens[: rng.integers(1, 20)], n)
        if number % 2 == 0:
            tokens = (separator - 1 - tokens).astype(dtype)
        tokens[rng.random(n) < rng.choice([0, 0.01, 0.1, 0.9])] = separator
        tokens[0] = separator
        found = by_divsufsort(tokens)
        assert found.dtype == np.uint32
        assert np.array_equal(found, induced(tokens)), tokens


@pytest.mark.parametrize("documents", [1, 300, 70_000])
def test_symbols_of_one_two_and_three_bytes(documents):
    tokens = np.random.default_rng(0).integers(0, 200, 80_000, np.uint16)
    tokens[:: tokens.shape[0] // documents] = 65535
    if documents == 1:
        tokens = np.minimum(tokens, 255).astype(np.uint8)
        tokens[0] = 255
    assert np.array_equal(by_divsufsort(tokens), induced(tokens))


def test_short_streams_are_sorted_by_divsufsort(monkeypatch):
    tokens, _ = stream_of(FAMILIES["fibonacci"], np.uint16)
    calls = []
    monkeypatch.setattr(module, "by_divsufsort", lambda tokens: calls.append(tokens))
    suffix_array(tokens)
    assert len(calls) == 1
    monkeypatch.setattr(module, "SHORT", tokens.shape[0] - 1)
    assert np.array_equal(suffix_array(tokens), induced(tokens))
    assert len(calls) == 1


def files_of(path):
    """Of an index, but the manifest, which says how long building took."""
    return {file.name: file.read_bytes() for file in path.rglob("*.bin")}


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("width", [1, 2, 4])
def test_an_index_is_the_same_whichever_sorter_made_it(tmp_path, monkeypatch, name, width):
    if width == 1 and max(map(max, filter(None, FAMILIES[name])), default=0) > 254:
        return
    tokens, separator = stream_of(FAMILIES[name], f"u{width}")
    tokens.tofile(tmp_path / "ids.bin")
    options = {"pretokenized": f"u{8 * width}", "separator_id": separator}
    everygram.build(tmp_path / "ids.bin", tmp_path / "short", **options)
    monkeypatch.setattr(module, "SHORT", 0)
    everygram.build(tmp_path / "ids.bin", tmp_path / "long", **options)
    assert files_of(tmp_path / "short") == files_of(tmp_path / "long")


def run(script, *arguments):
    """What it prints, in a process of its own, whose kernels are compiled."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_DISABLE_JIT"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


TEXTS = [{"text": "It was the best of times"}, {"text": ""}, {"text": "it was the worst " * 50}]
BUILD = """
import sys
sys.modules[sys.argv[1]] = None
import everygram
everygram.build(sys.argv[2], sys.argv[3], "train:300")
everygram.add(sys.argv[3], sys.argv[2])
print("numba" in sys.modules)
"""


def test_a_small_index_is_built_without_numba_and_without_pydivsufsort(tmp_path):
    corpus = write_jsonl(tmp_path / "c.jsonl", TEXTS)
    run(BUILD, "numba", corpus, tmp_path / "a")
    assert run(BUILD, "pydivsufsort", corpus, tmp_path / "b").split() == ["True"]
    assert run(BUILD, "nothing", corpus, tmp_path / "c").split() == ["False"]
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b") == files_of(tmp_path / "c")


def test_the_command_builds_a_small_index_without_numba(tmp_path):
    corpus = write_jsonl(tmp_path / "c.jsonl", TEXTS)
    script = """
import sys
sys.modules["numba"] = None
sys.argv[1:1] = ["build"]
from everygram.cli.app import main
main()
"""
    assert "documents" in run(script, corpus, "--out", tmp_path / "index", "--tokenizer=train:300")


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_no_thread_is_left_that_a_forked_process_would_wait_for():
    script = """
import os, numpy as np
from everygram.building.suffix_array import by_divsufsort
tokens = np.random.default_rng(0).integers(0, 200, 300_000, np.uint8)
tokens[0] = 255
before = len(os.listdir("/proc/self/task"))
by_divsufsort(tokens)
print(len(os.listdir("/proc/self/task")) - before)
from pydivsufsort.dll import libdivsufsort
print(libdivsufsort.omp_get_max_threads() if hasattr(libdivsufsort, "omp_get_max_threads") else 0)
"""
    threads, set_to = run(script).split()
    assert threads == "0"
    assert int(set_to) in (0, len(os.sched_getaffinity(0)))


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
