"""Every query against the oracle: named cases, all strings over tiny alphabets, random corpora."""

import ast
import contextlib
import dataclasses
import itertools
import math
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter_ns
from typing import NamedTuple

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import everygram
from conftest import with_checksum, write_index
from everygram.engine import documents as documents_module
from everygram.engine import pace, texts
from everygram.engine import queries as queries_module
from everygram.engine.distributions import NO_LIMIT
from everygram.engine.engine import Engine
from everygram.engine.queries import Queries, Vocabulary
from everygram.errors import QueryError
from everygram.storage import format as fmt
from everygram.storage.directory import open_segments, read_manifest
from everygram.storage.segment import PRELOADABLE
from naive import NaiveIndex

pytestmark = pytest.mark.usefixtures("kinds")

# Interpreted kernels are some hundred times slower: fewer of the random queries are asked.
SLOW = bool(numba.config.DISABLE_JIT)


class Follows(NamedTuple):
    """What follows a prompt, its table taken apart."""

    prompt_count: int
    ids: np.ndarray
    counts: np.ndarray
    suffix_len: int
    error_bound: int

    @classmethod
    def of(cls, prompt_count, table, suffix_len, error_bound):
        ids, counts, probs = table
        assert probs.view(np.float64).tolist() == [n / prompt_count for n in counts.tolist()]
        return cls(prompt_count, ids, counts, suffix_len, error_bound)


class Asked:
    """An engine, whose single queries are asked as of memory and as of a disk."""

    def __init__(self, *given):
        self.engine = Engine(*given)
        self.separator = int(self.engine.vocabulary.separator)

    def __getattr__(self, name):
        return getattr(self.engine, name)

    def both(self, ask, query, *more):
        """The answer to a query, which is said to have been read as it is."""
        answers = []
        for cold in (False, True):
            self.pace.cold = cold
            asked, *answer = ask(query, *more)
            ids = asked if isinstance(asked, np.ndarray) else self.vocabulary.unpack(asked)
            answers.append((ids.dtype, ids.tolist(), *answer))
        assert str(answers[0]) == str(answers[1])
        assert answers[0][0] == self.vocabulary.dtype
        return answers[0][1:]

    def count(self, query):
        read, found = self.both(self.engine.count, query)
        assert read == [int(value) for value in query]
        return found

    def find(self, query):
        return self.find_batch(self.vocabulary.query(query))[0]

    def ntd(self, prompt, max_support=NO_LIMIT, longest=False):
        read, *found = self.both(self.engine.ntd, prompt, longest, max_support)
        assert read == [int(value) for value in prompt]
        return Follows.of(*found)

    def infgram_ntd(self, prompt, max_support=NO_LIMIT):
        return self.ntd(prompt, max_support, longest=True)

    def ntd_batch(self, prompts, max_support=NO_LIMIT):
        return [Follows.of(*each[1:]) for each in self.engine.ntd_batch(prompts, max_support)]

    def prob(self, prompt, continuation):
        return self.of_prompt(self.engine.prob, prompt, continuation)

    def infgram_prob(self, prompt, continuation):
        return self.of_prompt(self.engine.infgram_prob, prompt, continuation)

    def of_prompt(self, ask, prompt, continuation):
        read, found = self.both(ask, prompt, continuation)
        assert read == [*map(int, prompt), continuation]
        return found

    def counts(self, queries):
        return self.count_batch(self.vocabulary.queries(queries)).tolist()


def open_engine(path, preload=()):
    manifest = read_manifest(path)
    segments = open_segments(path, manifest)
    return Asked(segments, manifest.vocab_size, manifest.separator, manifest.next_document, preload)


def engine_of(tmp_path, documents, dtype="u8", segments=1, deleted=()):
    path = tmp_path / f"{dtype}-{segments}-{random.getrandbits(64):x}"
    return open_engine(write_index(path, documents, dtype, segments, deleted=deleted))


def check(engine, naive, query):
    """Every query the engine answers, asked about `query` as n-gram and as prompt."""
    query = list(query)
    occurrences = naive.occurrences(query)
    assert engine.count(query) == len(occurrences)
    intervals = engine.find(query)
    segments, ranks, positions = engine.locate(intervals, np.arange(len(occurrences)))
    assert len(set(zip(segments.tolist(), ranks.tolist(), strict=True))) == len(occurrences)
    found = engine.documents_at(segments, positions)
    assert sorted(zip(*(column.tolist() for column in found), strict=True)) == occurrences

    following = naive.following(query)
    found = engine.ntd(query)
    assert found.prompt_count == sum(following.values())
    assert dict(zip(found.ids.tolist(), found.counts.tolist(), strict=True)) == following
    assert found.ids.tolist() == sorted(following)
    assert found.error_bound == 0

    suffix = naive.longest_suffix(query)
    found = engine.infgram_ntd(query)
    assert found.suffix_len == len(suffix)
    following_suffix = naive.following(suffix)
    assert dict(zip(found.ids.tolist(), found.counts.tolist(), strict=True)) == following_suffix

    for token in {*itertools.islice(following, 3), engine.separator, 0}:
        expected = naive.prob(query, token)
        assert engine.prob(query, token) == expected[:2]
        expected = naive.prob(suffix, token)
        assert engine.infgram_prob(query, token) == (*expected[:2], len(suffix))


def check_all(engine, documents, queries):
    naive = NaiveIndex(documents, engine.separator)
    queries = list(queries)
    for query in queries:
        check(engine, naive, query)
    assert engine.counts(queries) == [naive.count(query) for query in queries]


def all_strings(alphabet, longest):
    for length in range(longest + 1):
        yield from itertools.product(alphabet, repeat=length)


SEP = 255


@pytest.mark.parametrize("segments", [1, 2])
@pytest.mark.parametrize(
    "documents",
    [
        pytest.param([], id="empty index"),
        pytest.param([[]], id="one empty document"),
        pytest.param([[], []], id="empty documents"),
        pytest.param([[1]], id="one token"),
        pytest.param([[1], [], [1]], id="empty document between"),
        pytest.param([[1, 2], [2, 1]], id="two documents"),
        pytest.param([[0, 0, 0, 0]], id="one token repeated"),
        pytest.param([[1, 2, 1, 2], [1, 2]], id="a document that is another's suffix"),
        pytest.param([[2, 1], [1]], id="a prompt that ends document and segment"),
        pytest.param([[254, 254], [0]], id="smallest and largest id"),
    ],
)
def test_named_cases(tmp_path, documents, segments):
    """Includes separators at either end, whole documents, the longest suffix = the whole prompt."""
    engine = engine_of(tmp_path, documents, segments=segments)
    wholes = [q for d in documents for q in (d, [SEP, *d], [*d, SEP], [SEP, *d, SEP])]
    alphabet = sorted({t for d in documents for t in d} | {0, 1, SEP})
    check_all(engine, documents, [*wholes, *all_strings(alphabet, 3)])


@pytest.mark.parametrize("segments", [1, 2, 3])
def test_all_corpora_over_a_tiny_alphabet(tmp_path, segments):
    """Every corpus of up to 5 symbols over {a, b, end of document}, every query up to 3 tokens."""
    queries = list(all_strings([0, 1, SEP], 3))
    for stream in all_strings([0, 1, None], 4 if SLOW else 5):
        documents = [[]]
        for symbol in stream:
            if symbol is None:
                documents.append([])
            else:
                documents[-1].append(symbol)
        if segments > len(documents) or (segments > 1 and len(stream) < (4 if SLOW else 5)):
            continue
        engine = engine_of(tmp_path, documents, segments=segments)
        naive = NaiveIndex(documents, SEP)
        assert engine.counts(queries) == [naive.count(q) for q in queries]
        for prompt in random.Random(str(stream)).sample(queries, 6):
            check(engine, naive, prompt)


def corpora(dtype, max_documents=8):
    """Documents over a few ids, chosen so that every byte of a wide id matters to the order."""
    top = fmt.separator_of(dtype)
    interesting = sorted({0, 1, 2, 255 % top, 256 % top, 257 % top, top // 256, top - 1})
    alphabets = st.lists(st.sampled_from(interesting), min_size=1, max_size=4, unique=True)
    return alphabets.flatmap(
        lambda alphabet: st.lists(
            st.lists(st.sampled_from(alphabet), max_size=12), max_size=max_documents
        )
    )


@settings(max_examples=15 if SLOW else 60, deadline=None)
@given(data=st.data(), dtype=st.sampled_from(["u8", "u16", "u32"]), segments=st.integers(1, 5))
def test_random_corpora(tmp_path_factory, data, dtype, segments):
    documents = data.draw(corpora(dtype))
    engine = engine_of(tmp_path_factory.mktemp("c"), documents, dtype, segments)
    ids = sorted({t for d in documents for t in d} | {0, engine.separator})
    queries = data.draw(st.lists(st.lists(st.sampled_from(ids), max_size=6), max_size=12))
    pieces = [d[i:j] for d in documents for i, j in [(0, 5), (1, 7), (2, None)]]
    check_all(engine, documents, [*queries, *pieces, []])


@pytest.mark.parametrize("wide_from", [0, 40])
@pytest.mark.parametrize("dtype", ["u8", "u16", "u32"])
def test_five_byte_positions(tmp_path, monkeypatch, dtype, wide_from):
    monkeypatch.setattr(fmt, "WIDE_POSITIONS_FROM", wide_from)
    rng = random.Random(0)
    documents = [[rng.randrange(3) for _ in range(rng.randrange(30))] for _ in range(12)]
    engine = engine_of(tmp_path, documents, dtype, segments=3)
    assert 5 in {segment.entry.position_bytes for segment in engine.segments}
    pieces = [d[i : i + 4] for d in documents for i in range(0, len(d), 5)]
    check_all(engine, documents, [*pieces, *all_strings([0, 1, engine.separator], 2)])


@pytest.mark.parametrize("spacing", [1, 2, 3, 5, 64])
@pytest.mark.parametrize("dtype", ["u8", "u16", "u32"])
def test_fence_spacing(tmp_path, monkeypatch, dtype, spacing):
    """Queries shorter than, as long as, and longer than a fence's key; keys equal over fences."""
    monkeypatch.setattr(fmt, "FENCE_SPACING", spacing)
    rng = random.Random(spacing)
    documents = [[rng.randrange(2) for _ in range(60)] for _ in range(4)] + [[0] * 40, [1], []]
    engine = engine_of(tmp_path, documents, dtype)
    naive = NaiveIndex(documents, engine.separator)
    for length in range(1, 14):
        for document in documents[:5]:
            start = rng.randrange(len(document) - length)
            piece = document[start : start + length]
            check(engine, naive, piece)
            check(engine, naive, [*piece[:-1], 2])


def test_smallest_and_largest_suffix(tmp_path):
    """infini-gram's longest match misses the smallest suffix of the array (defect 4)."""
    documents = [[3, 2, 1], [9, 9, 9]]
    engine = engine_of(tmp_path, documents)
    segment = engine.segments[0]
    for rank in (0, segment.stream_len - 1):
        token = int(segment.tokens_at(segment.positions_of(np.array([rank])))[0])
        after = NaiveIndex(documents, SEP).following([token])
        assert engine.count([token]) == engine.ntd([token])[0] == sum(after.values())
        for following in after:
            assert engine.find([token, following]).tolist()[0][0] <= rank
            assert engine.infgram_ntd([8, token]).suffix_len == 1
    smallest, largest = [1, SEP], [SEP, 9, 9, 9, SEP]
    assert engine.find(smallest).tolist() == [[0, 1]]
    assert engine.find(largest).tolist() == [[segment.stream_len - 1, segment.stream_len]]
    assert engine.infgram_ntd([8, *largest[:-1]]).suffix_len == 4


def test_end_of_document_is_not_swallowed_by_the_end_of_a_segment(tmp_path):
    """infini-gram answers 320 of 320 where 20 of 320 is right (defect 1)."""
    documents = [[7, 8]] * 300 + [[7]] * 20
    for segments in (1, 4):
        engine = engine_of(tmp_path, documents, "u16", segments)
        prompt_count, ids, counts, _, _ = engine.ntd([7])
        assert prompt_count == 320
        assert dict(zip(ids.tolist(), counts.tolist(), strict=True)) == {8: 300, 65535: 20}
        assert engine.prob([7], 65535) == (320, 20)


def test_rare_continuations_survive_frequent_ones(tmp_path):
    """Past 1,000 occurrences infini-gram samples and rare tokens vanish (defect 6)."""
    documents = [[5, 6]] * 4000 + [[5, 7]]
    engine = engine_of(tmp_path, documents)
    prompt_count, ids, counts, _, _ = engine.ntd([5])
    assert (prompt_count, ids.tolist(), counts.tolist()) == (4001, [6, 7], [4000, 1])


def test_many_distinct_continuations(tmp_path):
    documents = [[1, token] for token in range(2, 5000)]
    engine = engine_of(tmp_path, documents, "u16", segments=2)
    prompt_count, ids, counts, _, _ = engine.ntd([1])
    assert prompt_count == 4998
    assert ids.tolist() == list(range(2, 5000))
    assert set(counts.tolist()) == {1}


def test_unigrams_sum_to_one_with_the_separator_as_the_end(tmp_path):
    documents = [[1, 2, 1], [], [2]]
    engine = engine_of(tmp_path, documents, segments=2)
    prompt_count, ids, counts, _, _ = engine.ntd([])
    assert prompt_count == engine.count([]) == 4 + 3
    assert dict(zip(ids.tolist(), counts.tolist(), strict=True)) == {1: 2, 2: 2, SEP: 3}


def test_a_match_never_crosses_a_separator(tmp_path):
    engine = engine_of(tmp_path, [[1, 2], [3, 4]])
    assert engine.count([2, 3]) == 0
    assert engine.count([2, SEP, 3]) == 0
    assert engine.count([2, SEP, 3, 4]) == 0
    assert engine.count([SEP, SEP]) == 0
    assert engine.infgram_ntd([1, 2, SEP, 3]).suffix_len == 2
    assert engine.infgram_ntd([1, 2, SEP]).suffix_len == 1


def test_long_prompts(tmp_path):
    rng = random.Random(1)
    length = 4_000 if SLOW else 20_000
    document = [rng.randrange(250) for _ in range(length)]
    engine = engine_of(tmp_path, [document, document[1000:]], segments=2)
    assert engine.count(document) == 1
    assert engine.count(document[1000:]) == 2
    assert engine.infgram_ntd([251, *document]).suffix_len == length
    assert engine.infgram_ntd([*document, 251]).suffix_len == 0
    huge = np.resize(np.array(document), (10 if SLOW else 500) * length)
    assert engine.count(huge) == 0
    assert engine.infgram_ntd(huge).suffix_len == length


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ([1, 300], r"query\[1\]: token id 300 is outside the vocabulary: expected 0 to 9"),
        ([-1], r"query\[0\]: token id -1 is outside"),
        ([2**70], r"token id 1180591620717411303424 is outside"),
        ([-(2**70)], r"query\[0\]: token id -1180591620717411303424 is outside"),
        ([2**64 - 1], r"token id 18446744073709551615 is outside"),
        ([1, 70000, 2], r"query\[1\]: token id 70000 is outside"),
        ([1.0], r"query\[0\]: expected a token id \(an integer\), found 1.0"),
        ([1, 2.5], r"query\[1\]: expected a token id \(an integer\), found 2.5"),
        (["a"], r"query\[0\]: expected a token id \(an integer\), found 'a'"),
        ([None], r"query\[0\]: expected a token id"),
        ([[1, 2]], r"expected a flat list of token ids, found 2 dimensions"),
        ([[1], 2], r"expected a flat list of token ids"),
        (7, r"expected a flat list of token ids, found 7"),
        (np.array([0.5]), r"query\[0\]: expected a token id"),
        (np.array([10], np.uint8), r"token id 10 is outside"),
    ],
)
def test_bad_queries(tmp_path, query, says):
    """tokengrams drops ids it does not know: count([1, 70000, 2]) == count([1, 2])."""
    path = write_index(tmp_path / "index", [[1, 2, 3]], "u8", vocab_size=10)
    engine = open_engine(path)
    for ask in (engine.count, engine.find, engine.ntd, engine.infgram_ntd):
        with pytest.raises(QueryError, match=says):
            ask(query)
    for ask in (engine.prob, engine.infgram_prob):
        with pytest.raises(QueryError, match=says):
            ask(query, 1)
    with pytest.raises(QueryError, match=says.replace("query", "query 1")):
        engine.counts([[1], query])


def test_lists_of_any_length_and_of_odd_integers(tmp_path):
    """Compiled code reads lists: on the stack, from the heap, whatever is an integer."""
    documents = [[value % 250 for value in range(700)]]
    for dtype in ("u8", "u16", "u32"):
        engine = engine_of(tmp_path, documents, dtype)
        naive = NaiveIndex(documents, fmt.separator_of(dtype))
        for length in (0, 1, 254, 255, 256, 257, 258, 512, 600, 701):
            query = [value % 250 for value in range(length)]
            assert engine.count(query) == naive.count(query)
            assert engine.prob(query, 7) == naive.prob(query, 7)[:2]
            assert engine.ntd(query)[0] == engine.prob(query, 7)[0]
    assert engine.count([np.int64(1), np.int64(2), np.uint8(3)]) == engine.count([1, 2, 3]) == 3


def test_a_search_that_takes_long_has_the_next_look_at_the_disk(tmp_path, monkeypatch):
    engine = engine_of(tmp_path, [[1, 2, 3]])
    learned = engine.pace
    monkeypatch.setattr(pace, "DISK_NS", 10**12)
    monkeypatch.setattr(pace, "_disk_reads", lambda: learned._reads)
    for _ in range(pace.COLD_SEARCHES):
        assert learned.cold
        assert engine.engine.count([1, 2])[1] == 1
    assert not learned.cold
    monkeypatch.setattr(pace, "_disk_reads", lambda: 10**9)  # something was read
    learned.timed(perf_counter_ns())
    assert not learned.cold  # by others: no search took long
    learned.timed(perf_counter_ns() - 10**12 - 1)
    assert learned.cold


@pytest.mark.parametrize("dtype", ["u8", "u16", "u32"])
@pytest.mark.parametrize("wrong", [-1, 300, 2**16 + 1, 2**32 + 1, 2**63, -(2**63) - 1, 2**70])
def test_a_continuation_outside_the_vocabulary(tmp_path, dtype, wrong):
    if wrong == 300 and dtype != "u8":
        wrong = 2**32 - 2 if dtype == "u32" else 2**16 - 2
    path = write_index(tmp_path / dtype, [[1, 2, 3]], dtype, 1, vocab_size=200)
    engine = open_engine(path)
    for ask in (engine.prob, engine.infgram_prob):
        with pytest.raises(QueryError, match=r"continuation\[0\]: token id .* is outside"):
            ask([1, 2], wrong)


def test_many_lists_are_joined_as_one_by_one(tmp_path):
    documents = [[value % 250 for value in range(700)]]
    for dtype, most in (("u8", 249), ("u16", 65000), ("u32", 2**31 + 7)):
        path = write_index(tmp_path / dtype, documents, dtype, 1, vocab_size=most + 1)
        engine = open_engine(path)
        for queries in [
            [],
            [[]],
            [[], [1], []],
            [[0, 1, most, engine.separator], [], [2, 3]],
            [[5] * 700, [6]] * 30,
            [[1, np.int64(0)], [np.int64(2)]],
            [[1], (2, 3), np.array([4])],
        ]:
            joined = engine.vocabulary.queries(queries)
            ids, starts, ends = joined.ids, joined.starts, joined.ends
            assert (ids.dtype, ids.flags.writeable) == (engine.vocabulary.dtype, False)
            assert len(joined) == len(queries)
            joined = [ids[start:end].tolist() for start, end in zip(starts, ends, strict=True)]
            assert joined == [[int(value) for value in query] for query in queries]
        for wrong in (-1, most + 1, 2**32, 2**64, 2**70, 1.0, "1", None, True, np.False_):
            with pytest.raises(QueryError, match=r"query 1"):
                engine.vocabulary.queries([[1, 2], [3, wrong], [4]])
        for wrong in (3, "ab", None, [[1]]):
            with pytest.raises(QueryError, match=r"query 1"):
                engine.vocabulary.queries([[1, 2], wrong])


@pytest.mark.parametrize(
    "query",
    [(1, 2), np.array([1, 2], np.uint16), np.array([1, 2]), np.array([0, 1, 9, 2])[1::2][:0], []],
)
def test_any_integer_sequence_is_a_query(tmp_path, query):
    engine = engine_of(tmp_path, [[1, 2, 3]])
    read_only = np.array(query, np.int64)
    read_only.setflags(write=False)
    assert engine.count(query) == engine.count(read_only) == engine.count(list(query))


def test_an_unseen_prompt_has_no_probability(tmp_path):
    naive = NaiveIndex([[1, 2]], SEP)
    engine = engine_of(tmp_path, [[1, 2]])
    assert engine.prob([3], 1) == (0, 0)
    assert math.isnan(naive.prob([3], 1)[2])
    assert engine.infgram_prob([3], 1) == (3, 1, 0)


def test_several_threads_at_once(tmp_path):
    rng = random.Random(3)
    documents = [[rng.randrange(4) for _ in range(50)] for _ in range(20)]
    engine = engine_of(tmp_path, documents, segments=2)
    naive = NaiveIndex(documents, SEP)
    queries = [d[i : i + 4] for d in documents for i in range(0, 40, 7)]
    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(engine.count, queries * 5))
    assert counts == [naive.count(query) for query in queries] * 5


def random_documents(seed, alphabet=(0, 1, 2), number=6, longest=30):
    """Among them one that is another's beginning, one that is its end, an empty one, copies."""
    rng = random.Random(seed)
    documents = [
        rng.choices(list(alphabet), k=rng.randrange(longest + 1)) for _ in range(number - 2)
    ]
    first = rng.choices(list(alphabet), k=longest)
    return [first, *documents, first[: longest // 2], [], first[3:], first]


def random_queries(rng, documents, separator, number, longest=8):
    """Pieces of documents with separators and other tokens at their ends and inside."""
    alphabet = sorted({token for document in documents for token in document})
    others = [*alphabet, separator, separator - 1, 3, 7]
    queries = []
    for _ in range(number):
        events = [separator, *rng.choice(documents or [[]]), separator]
        start = rng.randrange(len(events))
        query = events[start : start + rng.randrange(longest + 1)]
        if rng.random() < 0.4:
            query = [rng.choice(others), *query]
        if query and rng.random() < 0.3:
            query[rng.randrange(len(query))] = rng.choice(others)
        queries.append(query)
    return queries


def following_of(found):
    return dict(zip(found.ids.tolist(), found.counts.tolist(), strict=True))


def check_batches(engine, naive, queries):
    """Every batch method, item by item, against the single query and the oracle."""
    batch = engine.vocabulary.queries(queries)
    assert engine.counts(queries) == [naive.count(query) for query in queries]
    intervals = engine.find_batch(batch)
    assert intervals.shape == (len(queries), len(engine.segments), 2)
    lengths = engine.longest_suffix_batch(batch).tolist()
    assert lengths == [naive.suffix_len(query) for query in queries]
    distributions = engine.ntd_batch(batch)
    assert len(distributions) == len(queries)
    for query, interval, found in zip(queries, intervals, distributions, strict=True):
        sizes = interval[:, 1] - interval[:, 0]
        assert engine.counts_of(interval[None]) == engine.count(query)
        one = engine.find(query)
        assert one[sizes > 0].tolist() == interval[sizes > 0].tolist()
        assert following_of(found) == naive.following(query) == following_of(engine.ntd(query))
        assert (found.suffix_len, found.error_bound) == (len(query), 0)
    asked = [query for query in queries if query]
    prompts, counts = engine.prob_batch(engine.vocabulary.queries(asked))
    for query, *found in zip(asked, prompts.tolist(), counts.tolist(), strict=True):
        assert tuple(found) == naive.prob(query[:-1], query[-1])[:2]
        assert tuple(found) == engine.prob(query[:-1], query[-1])


@pytest.mark.parametrize("number", [0, 1, 2, 7, 8, 9, 31, 32, 33, 64, 100])
def test_batches(tmp_path, monkeypatch, number):
    """In chunks of 16 they take one thread up to 16 queries, and then all."""
    monkeypatch.setattr(pace.spread, "__defaults__", (16,))
    documents = random_documents(number)
    engine = engine_of(tmp_path, documents, ["u8", "u16", "u32"][number % 3], 1 + number % 5)
    rng = random.Random(number)
    queries = random_queries(rng, documents, engine.separator, number)
    check_batches(engine, NaiveIndex(documents, engine.separator), queries)


@pytest.mark.parametrize("segments", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("spacing", [1, 2, 3, 4, 5])
def test_batches_at_any_fence_spacing(tmp_path, monkeypatch, spacing, segments):
    monkeypatch.setattr(fmt, "FENCE_SPACING", spacing)
    monkeypatch.setattr(fmt, "WIDE_POSITIONS_FROM", 2**32 if spacing % 2 else 0)
    documents = random_documents(spacing, [0, 200], number=segments + 2)
    dtype = ["u8", "u16", "u32"][(spacing + segments) % 3]
    engine = engine_of(tmp_path, documents, dtype, segments)
    rng = random.Random(segments)
    queries = random_queries(rng, documents, engine.separator, 10 if SLOW else 60, longest=30)
    check_batches(engine, NaiveIndex(documents, engine.separator), queries)


def test_a_batch_of_more_than_two_chunks(tmp_path):
    documents = random_documents(1)
    engine = engine_of(tmp_path, documents, "u8", segments=2)
    rng = random.Random(4)
    some = random_queries(rng, documents, SEP, 40)
    queries = rng.choices(some, k=4 * pace.CHUNK + 3)
    expected = {tuple(query): engine.count(query) for query in some}
    assert engine.counts(queries) == [expected[tuple(query)] for query in queries]
    last = len(queries) - 1
    with pytest.raises(QueryError, match=rf"query {last}\[1\]: token id 300 is outside the vocab"):
        engine.counts([*queries[:last], [1, 300]])


@pytest.mark.parametrize("bad", [0, 1, 40, 99])
def test_the_message_names_the_bad_query_of_a_batch(tmp_path, monkeypatch, bad):
    monkeypatch.setattr(pace.spread, "__defaults__", (16,))
    engine = open_engine(write_index(tmp_path / "index", [[1, 2, 3]], "u16", vocab_size=10))
    queries = [[1, 2]] * 100
    for wrong, place in ([1, 2, 10], 2), ([70_000], 0), ([1, -1], 1), ([65_534, SEP], 0):
        queries[bad] = wrong
        says = rf"query {bad}\[{place}\]: token id {wrong[place]} is outside the vocabulary"
        for ask in engine.find_batch, engine.ntd_batch, engine.longest_suffix_batch:
            with pytest.raises(QueryError, match=says):
                ask(engine.vocabulary.queries(queries))
            with pytest.raises(QueryError, match=says):
                ask(engine.vocabulary.queries([np.array(query) for query in queries]))


@pytest.mark.parametrize("preload", [(), *[(part,) for part in PRELOADABLE], PRELOADABLE])
def test_what_is_in_memory_answers_as_what_is_on_disk(tmp_path, preload):
    documents = random_documents(3)
    path = write_index(tmp_path / "index", documents, "u16", segments=3)
    engine = open_engine(path, preload)
    rng = random.Random(2)
    queries = random_queries(rng, documents, engine.separator, 5 if SLOW else 40)
    check_all(engine, documents, queries)
    check_batches(engine, NaiveIndex(documents, engine.separator), queries)


def test_waiting_for_a_disk_changes_no_answer(tmp_path):
    documents = random_documents(3)
    engine = engine_of(tmp_path, documents, "u8", segments=2)
    engine._cold = 10**9  # that many searches to come
    queries = random_queries(random.Random(2), documents, SEP, 5 if SLOW else 40)
    check_all(engine, documents, queries)
    check_batches(engine, NaiveIndex(documents, SEP), queries)
    assert engine._cold > 0


def as_version_1(path):
    """Make the index one of version 1: one level of fences, whole tokens in their keys."""
    manifest = read_manifest(path)
    bits = 8 * fmt.TOKEN_DTYPES[manifest.dtype].itemsize
    entries = []
    for segment, entry in zip(open_segments(path, manifest), manifest.segments, strict=True):
        keys = []
        stream = segment.tokens.tolist()
        order = NaiveIndex(split(stream, manifest.separator), manifest.separator).suffix_array()
        for position in order[:: entry.fence_spacing]:
            suffix = [*stream[position:], manifest.separator]
            suffix = suffix[: suffix.index(manifest.separator, 1) + 1][: 64 // bits]
            suffix += [0] * (64 // bits - len(suffix))
            keys.append(sum(t << bits * i for i, t in enumerate(reversed(suffix))))
        fences = path / entry.name / fmt.FENCES
        fences.write_bytes(np.array(keys, "<u8").tobytes())
        files = entry.files | {fmt.FENCES: fmt.FileEntry(8 * len(keys), 64 * "0")}
        entries.append(dataclasses.replace(entry, fence_fanout=0, key_bits=bits, files=files))
    fields = dataclasses.asdict(
        dataclasses.replace(manifest, format_version=1, segments=tuple(entries))
    )
    del fields["next_document"], fields["next_segment"], fields["document_counts"]
    del fields["kind"], fields["sample_every"]
    for segment in fields["segments"]:
        del segment["key_bits"], segment["fence_fanout"]
        del segment["kind"], segment["sample_every"]
    (path / fmt.MANIFEST).write_bytes(with_checksum(fields))
    return path


def split(stream, separator):
    documents = []
    for token in stream:
        if token == separator:
            documents.append([])
        else:
            documents[-1].append(token)
    return documents


@pytest.mark.parametrize("spacing", [1, 3, 64])
@pytest.mark.parametrize("dtype", ["u8", "u16", "u32"])
def test_a_version_1_index_answers_the_same(tmp_path, monkeypatch, dtype, spacing):
    monkeypatch.setattr(fmt, "FENCE_SPACING", spacing)
    top = fmt.separator_of(dtype)
    documents = [*random_documents(1, [0, 1, top - 1]), [top - 2] * 30]
    kinds = [fmt.SUFFIX_ARRAY_KIND]  # (Version 1 had no other.)
    path = as_version_1(write_index(tmp_path / "old", documents, dtype, segments=2, kinds=kinds))
    old, new = open_engine(path), engine_of(tmp_path, documents, dtype, segments=2)
    assert read_manifest(path).format_version == 1
    queries = random_queries(random.Random(1), documents, old.separator, 8 if SLOW else 60)
    check_all(old, documents, queries)
    check_batches(old, NaiveIndex(documents, old.separator), queries)
    for query in queries:
        found, other = old.find(query), new.find(query)
        some = found[:, 1] > found[:, 0]  # (Empty ones may be anywhere.)
        assert found[some].tolist() == other[some].tolist()
        assert (other[~some, 1] == other[~some, 0]).all()


def check_text(engine, naive, text):
    """`score` of every order and `longest_matches`."""
    ids = engine.vocabulary.query(text)
    for order in (None, 1, 3) if SLOW else (None, 1, 2, 3, 5, 100):
        columns = engine.score(ids, order)
        rows = list(zip(*(column.tolist() for column in columns), strict=True))
        assert rows == naive.score(text, order), (text, order)
    for place, (length, prompt, count, _) in enumerate(
        zip(*(column.tolist() for column in engine.score(ids, None)), strict=True)
    ):
        assert engine.infgram_prob(text[:place], text[place]) == (prompt, count, length)
    matches = zip(*(column.tolist() for column in engine.longest_matches(ids)), strict=True)
    assert list(matches) == naive.longest_matches(text), text


def some_texts(rng, documents, separator):
    """Copies of documents and pieces end to end, separators between or not, other tokens."""
    yield []
    yield [separator]
    yield [separator] * 3
    for document in documents[: 1 if SLOW else 3]:
        yield document
        yield [separator, *document, separator]
    for _ in range(1 if SLOW else 12):
        text = []
        for _ in range(rng.randrange(1, 4)):
            document = rng.choice(documents or [[]])
            start = rng.randrange(len(document) + 1)
            text += document[start : start + rng.randrange(30)]
            text += rng.choice([[], [], [separator], [separator, separator], [7], [1, separator]])
        yield text


@pytest.mark.parametrize("long", [2, 3, 64])
@pytest.mark.parametrize("segments", [1, 2, 3, 4, 5])
def test_texts(tmp_path, monkeypatch, segments, long):
    """Matches longer than LONG are followed to their ends, others found at once."""
    monkeypatch.setattr(texts, "LONG", long)
    documents = random_documents(10 * segments + long, number=segments + 3)
    engine = engine_of(tmp_path, documents, ["u8", "u16", "u32"][long % 3], segments)
    naive = NaiveIndex(documents, engine.separator)
    for text in some_texts(random.Random(long), documents, engine.separator):
        check_text(engine, naive, text)


class LiveIndex(NaiveIndex):
    """The oracle over what is left of documents, which keep their numbers."""

    def __init__(self, documents, separator, deleted):
        gone = {number for numbers in deleted for number in numbers}
        self.numbers = [number for number in range(len(documents)) if number not in gone]
        super().__init__([documents[number] for number in self.numbers], separator)

    def occurrences(self, query):
        return [(self.numbers[document], at) for document, at in super().occurrences(query)]


def check_deleted(tmp_path, documents, dtype, segments, deleted, rng):
    """Every query over an index some of whose documents are deleted."""
    engine = engine_of(tmp_path, documents, dtype, segments, deleted)
    naive = LiveIndex(documents, engine.separator, deleted)
    queries = random_queries(rng, documents, engine.separator, 12 if SLOW else 40)
    for query in [[], *queries]:
        check(engine, naive, query)
    check_batches(engine, naive, queries)
    for text in some_texts(rng, documents, engine.separator):
        check_text(engine, naive, text)
    assert [number for number, _, _ in engine.documents()] == naive.numbers
    for number in {number for numbers in deleted for number in numbers}:
        with pytest.raises(QueryError, match="it was deleted"):
            engine.document(number)


@pytest.mark.parametrize("long", [2, 64])
@pytest.mark.parametrize("segments", [1, 2, 4])
def test_deleted_documents(tmp_path, monkeypatch, segments, long):
    """In one segment of deleted documents or two; none, all but one, or all deleted."""
    monkeypatch.setattr(texts, "LONG", long)
    monkeypatch.setattr(documents_module, "LOOKED_AT", 5)
    monkeypatch.setattr(pace.spread, "__defaults__", (16,))
    rng = random.Random(segments * long)
    documents = [*random_documents(segments, number=6, longest=14), [], [1, 2]]
    documents += documents[:3]
    every = list(range(len(documents)))
    for dtype, gone in zip(
        ("u8", "u16", "u32", "u8"), (rng.sample(every, 5), every[1:], every, [4]), strict=True
    ):
        cut = rng.randrange(len(gone) + 1)
        parts = [sorted(gone[:cut]), sorted(gone[cut:])]
        check_deleted(tmp_path, documents, dtype, segments, parts, rng)


@pytest.mark.skipif(SLOW, reason="a minute without the JIT; the cases above run there")
@settings(max_examples=40, deadline=None)
@given(corpora("u8", max_documents=6), st.data(), st.integers(1, 3))
def test_any_documents_deleted(tmp_path_factory, documents, data, segments):
    numbers = st.lists(st.integers(0, max(0, len(documents) - 1)), unique=True)
    gone = data.draw(numbers) if documents else []
    cut = data.draw(st.integers(0, len(gone)))
    rng = data.draw(st.randoms(use_true_random=False))
    path = tmp_path_factory.mktemp("deleted")
    check_deleted(path, documents, "u8", segments, [sorted(gone[:cut]), sorted(gone[cut:])], rng)


@pytest.mark.parametrize("long", [2, 3, 64])
def test_long_copies_of_documents(tmp_path, monkeypatch, long):
    """A long match inside which others begin that go on past its end."""
    monkeypatch.setattr(texts, "LONG", long)
    rng = random.Random(5)
    base = rng.choices(range(200), k=40 if SLOW else 150)
    documents = [base, [*base[20:], 1, 2, 3], [*base[30:], 1, 2, 9, 9], base[5:25] * 2]
    engine = engine_of(tmp_path, documents, "u8", segments=2)
    naive = NaiveIndex(documents, SEP)
    for text in (base, [SEP, *base, 1, 2, 3, SEP, *base[30:], 1, 2, 9, 9], base[::-1] + base * 2):
        check_text(engine, naive, text)


@pytest.mark.parametrize("long", [2, 3, 64])
def test_texts_of_periods(tmp_path, monkeypatch, long):
    """A long match at each place, each with another end."""
    monkeypatch.setattr(texts, "LONG", long)
    monkeypatch.setattr(texts, "SHARED", 4)
    size = 1 if SLOW else 4
    documents = [[1] * 18 * size, [2, 1] * 10 * size, [1, 1, 2] * 7 * size, [0, *[1] * 17 * size]]
    engine = engine_of(tmp_path, documents, "u8", segments=2)
    naive = NaiveIndex(documents, SEP)
    rest = [*[2, 1] * 11 * size, SEP, *[1] * 19 * size, 0]
    for text in ([1] * 20 * size, rest, [1, 1, 2] * 8 * size):
        check_text(engine, naive, text)


def test_more_long_matches_than_lanes(tmp_path, monkeypatch):
    """Some of one token more than is long, others that are followed far, on several threads."""
    monkeypatch.setattr(texts, "LONG", 3)
    monkeypatch.setattr(texts, "SHARED", 7 if SLOW else 50)
    rng = np.random.default_rng(5)
    documents = [rng.integers(0, 3, 60).tolist() for _ in range(4)]
    engine = engine_of(tmp_path, documents, "u8", segments=2)
    text: list[int] = []
    for _ in range(40 if SLOW else 60):
        base = documents[rng.integers(4)]
        begin = int(rng.integers(50))
        text += [*base[begin : begin + int(rng.integers(3, 30))], [3, SEP][rng.integers(2)]]
    check_text(engine, NaiveIndex(documents, SEP), text)


@settings(max_examples=8 if SLOW else 60, deadline=None)
@given(
    data=st.data(),
    segments=st.integers(1, 5),
    long=st.sampled_from([2, 3, 64]),
    spacing=st.integers(1, 5),
)
def test_random_texts(tmp_path_factory, data, segments, long, spacing):
    documents = data.draw(corpora("u8"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(texts, "LONG", long)
        patch.setattr(fmt, "FENCE_SPACING", spacing)
        engine = engine_of(tmp_path_factory.mktemp("c"), documents, "u8", segments)
        ids = sorted({token for document in documents for token in document} | {7, SEP})
        piece = st.one_of(
            st.lists(st.sampled_from(ids), max_size=6), st.sampled_from([[], *documents])
        )
        text = list(itertools.chain(*data.draw(st.lists(piece, max_size=5))))
        check_text(engine, NaiveIndex(documents, SEP), text)


def test_a_text_outside_the_vocabulary(tmp_path):
    engine = open_engine(write_index(tmp_path / "index", [[1, 2, 3]], "u8", vocab_size=10))
    for text, place in ([1, 2, 10], 2), ([254, SEP, 1], 0), ([1, SEP, 200, 2], 2):
        says = rf"\[{place}\]: token id {text[place]} is outside the vocabulary"
        for order in (None, 1, 2, 5):
            with pytest.raises(QueryError, match=says):
                engine.score(engine.vocabulary.query(text), order)
        with pytest.raises(QueryError, match=says):
            engine.longest_matches(engine.vocabulary.query(text))


def test_the_probabilities_of_what_may_follow_sum_to_one(tmp_path):
    documents = random_documents(6)
    engine = engine_of(tmp_path, documents, segments=3)
    for text in ([], [0], [1, 1], [SEP], [SEP, 0], [2, 0, 1], [9, 1]):
        for order in (None, 1, 2, 3):
            total = 0
            for token in (0, 1, 2, 9, SEP):
                scores = engine.score(engine.vocabulary.query([*text, token]), order)
                _, prompt_count, count, _ = (column[-1] for column in scores)
                total += count / prompt_count if prompt_count else 0
            assert total == pytest.approx(1 if prompt_count else 0)


@pytest.mark.parametrize("segments", [1, 2, 3, 5])
def test_max_support(tmp_path, segments):
    """Counts are off by no more than they say, and no token left out follows more often."""
    rng = random.Random(segments)
    weights = [2 ** -(i // 3) for i in range(30)]
    documents = [
        [t for token in rng.choices(range(1, 31), weights, k=20) for t in (0, token)]
        for _ in range(10)
    ]
    engine = engine_of(tmp_path, documents, segments=segments)
    naive = NaiveIndex(documents, SEP)
    for prompt in ([0], [1, 0], [SEP], [], [3], [30], [40], [0, SEP]):
        following = naive.following(prompt)
        for max_support in (1, 2, 3, 10, 49, 50, 100, 199, 200, 201, NO_LIMIT):
            for found in (
                engine.ntd(prompt, max_support),
                engine.ntd_batch(engine.vocabulary.queries([[0], prompt]), max_support)[1],
                engine.infgram_ntd(prompt, max_support) if following else None,
            ):
                if found is None:
                    continue
                counts = following_of(found)
                assert found.prompt_count == found.counts.sum() == sum(following.values())
                assert counts.keys() <= following.keys()
                assert all(count > 0 for count in counts.values())
                bound = found.error_bound
                assert all(abs(counts.get(t, 0) - following[t]) <= bound for t in following)
                if max_support >= found.prompt_count or not prompt:
                    assert bound == 0
                if bound == 0:
                    assert counts == following
                else:
                    # About that many are looked at: the first and the last of a segment, too.
                    assert len(counts) <= max_support + 2 * segments


def fibonacci(length):
    """The word whose number of distinct pieces is the least that one without a period has."""
    word, longer = [0], [0, 1]
    while len(longer) < length:
        word, longer = longer, longer + word
    return longer[:length]


@pytest.mark.parametrize("spacing", [1, 16])
def test_one_token_repeated(tmp_path, monkeypatch, spacing):
    monkeypatch.setattr(fmt, "FENCE_SPACING", spacing)
    n = 200 if SLOW else 5000
    engine = engine_of(tmp_path, [[0] * n])
    for length in (1, 2, 8, 9, 63, 64, 65, 66, n // 2, n - 1, n):
        query = [0] * length
        assert engine.count(query) == n + 1 - length
        assert engine.count([SEP, *query]) == engine.count([*query, SEP]) == 1
        assert engine.count([SEP, *query, SEP]) == (length == n)
        following = {0: n - length, SEP: 1} if length < n else {SEP: 1}
        assert following_of(engine.ntd(query)) == following
        assert engine.infgram_prob([1, *query], 0) == (n + 1 - length, n - length, length)
    assert engine.count([0] * (n + 1)) == 0
    assert engine.infgram_prob([0] * (n + 9), SEP) == (1, 1, n)
    text = [0] * (n + 9)
    lengths, prompts, counts, sparse = engine.score(engine.vocabulary.query(text), None)
    assert lengths.tolist() == [*range(n), *[n] * 9]
    assert prompts.tolist() == [*range(n + 1, 1, -1), *[1] * 9]
    assert counts.tolist() == [*range(n, 0, -1), *[0] * 9]
    assert sparse.tolist() == [False] * n + [True] * 9
    lengths, counts = engine.longest_matches(engine.vocabulary.query([*text, SEP]))
    assert lengths.tolist() == [n] * 9 + list(range(n + 1, 0, -1))
    assert counts.tolist() == [1] * (n + 10)


@pytest.mark.parametrize("long", [2, 64])
def test_fibonacci_words(tmp_path, monkeypatch, long):
    monkeypatch.setattr(texts, "LONG", long)
    word = fibonacci(60 if SLOW else 200)
    documents = [word, word[7:], word[:50]]
    engine = engine_of(tmp_path, documents, segments=2)
    naive = NaiveIndex(documents, SEP)
    pieces = [word[i : i + 2 * i + 1] for i in range(0, 40, 3)]
    queries = [q for p in pieces for q in (p, [*p, 0, 0], [1, 1, *p], [SEP, *p], [*p, SEP])]
    check_batches(engine, naive, queries[:: 4 if SLOW else 1])
    for text in (word[5:60], [1, *word[:40], 1, 1, *word[3:30], SEP, *word[20:55]]):
        check_text(engine, naive, text)


@pytest.mark.parametrize("segments", [1, 3])
def test_many_copies_of_one_document(tmp_path, segments):
    copies = 60 if SLOW else 700
    document = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9]
    engine = engine_of(tmp_path, [document] * copies, "u16", segments)
    separator, one = engine.separator, NaiveIndex([document], 65535)
    queries = random_queries(random.Random(1), [document], separator, 40, longest=17)
    assert engine.counts(queries) == [copies * one.count(query) for query in queries]
    for query, found in zip(
        queries, engine.ntd_batch(engine.vocabulary.queries(queries)), strict=True
    ):
        expected = {token: copies * count for token, count in one.following(query).items()}
        assert following_of(found) == expected
    text = [*document, separator, *document[4:], 7, *document]
    expected = [(n, copies * p, copies * c, alone) for n, p, c, alone in one.score(text)]
    found = (column.tolist() for column in engine.score(engine.vocabulary.query(text), None))
    assert list(zip(*found, strict=True)) == expected


@pytest.mark.parametrize(
    "documents",
    [
        pytest.param([], id="no documents"),
        pytest.param([[]] * 40, id="empty documents"),
        pytest.param([[0] * 70, [0], [], [0, 0]], id="one id"),
    ],
)
@pytest.mark.parametrize("segments", [1, 3])
def test_next_to_nothing(tmp_path, documents, segments):
    """Vocabularies of one id."""
    path = write_index(tmp_path / "index", documents, "u8", segments, vocab_size=1)
    engine = open_engine(path)
    naive = NaiveIndex(documents, SEP)
    queries = [[0] * n for n in (0, 1, 2, 5, 64, 69, 70, 71)]
    queries += [q for n in (0, 1, 5, 70) for q in ([SEP, *[0] * n], [SEP, *[0] * n, SEP])]
    queries += [[SEP, SEP, SEP], [0, SEP, 0], [SEP, 0, SEP, SEP]]
    check_all(engine, documents, queries)
    check_batches(engine, naive, queries)
    for text in ([], [0], [SEP], [0, 0, SEP, SEP, 0, SEP], [SEP, *[0] * 75, SEP, SEP]):
        check_text(engine, naive, text[:10] if SLOW else text)
    with pytest.raises(QueryError, match=r"query\[1\]: token id 1 is outside .* expected 0 to 0"):
        engine.count([0, 1])
    with pytest.raises(QueryError, match=r"query 1\[1\]: token id 1 is outside"):
        engine.counts([[0], [0, 1]])


def test_batches_from_several_threads_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(pace.spread, "__defaults__", (16,))
    documents = random_documents(9)
    engine = engine_of(tmp_path, documents, "u16", segments=3)
    naive = NaiveIndex(documents, engine.separator)

    def ask(seed):
        rng = random.Random(seed)
        queries = random_queries(rng, documents, engine.separator, 20 if SLOW else 100)
        assert engine.counts(queries) == [naive.count(query) for query in queries]
        found = engine.ntd_batch(engine.vocabulary.queries(queries))
        assert [following_of(each) for each in found] == [naive.following(q) for q in queries]
        text = queries[0] + queries[1]
        lengths, counts = engine.longest_matches(engine.vocabulary.query(text))
        assert list(zip(lengths, counts, strict=True)) == naive.longest_matches(text)
        return len(queries)

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(ask, range(12))) == 12 * (20 if SLOW else 100)


def test_an_order_of_more_than_long(tmp_path, monkeypatch):
    """Prompts that move on at both ends have no long part in common with the next."""
    monkeypatch.setattr(texts, "LONG", 3)
    documents = [[1, 2, 3, 1, 2, 3, 1, 2, 3, 1], [2, 3, 1, 2, 3, 1, 2]]
    engine = engine_of(tmp_path, documents, segments=2)
    naive = NaiveIndex(documents, SEP)
    for text in ([1, 2, 3] * 5, [SEP, *documents[0], 9, *documents[1]]):
        check_text(engine, naive, text)


@pytest.mark.parametrize("counted", [0, 3, 10**6])
def test_unigrams_of_large_ids(tmp_path, monkeypatch, counted):
    monkeypatch.setattr("everygram.storage.fences.MOST_COUNTED", counted)
    monkeypatch.setattr("everygram.storage.disk.CHUNK", 16)
    documents = [[0, 2**32 - 2, 5], [5, 70_000], [], [2**31, 5]]
    engine = engine_of(tmp_path, documents, "u32")
    check_all(engine, documents, [[], [5], [2**32 - 2], [2**31], [1], [70_000, 2**32 - 1]])


@pytest.mark.skipif(SLOW, reason="of compiled code")
def test_what_was_read_is_let_go_of(tmp_path):
    engine = engine_of(tmp_path, [[1, 2, 3] * 200])
    engine = engine.engine
    count, prob, infgram = engine.count, engine.prob, engine.infgram_prob
    queries = [[1, 2], [7] * 300, [1, -1], [1, "2"], [1, 2**70], []]

    def ask():
        for query in queries:
            for call in (
                count,
                lambda q: prob(q, 3),
                lambda q: infgram(q, 3),
                lambda q: engine.ntd(q, True, NO_LIMIT),
            ):
                with contextlib.suppress(QueryError):
                    call(query)
            with contextlib.suppress(QueryError):
                prob(query, 2**64)

    ask()
    before = sys.getallocatedblocks()
    for _ in range(200):
        ask()
    # (What a test keeps for itself is a few; an object left behind each time would be thousands.)
    assert sys.getallocatedblocks() - before < 200


def test_queries_are_made_where_ids_are_checked():
    """What the engine takes has its dtype and its bounds, or is not there."""
    vocabulary = Vocabulary(1000, 65535)
    asked = vocabulary.queries([[1, 2, 3], [65535, 4]])
    assert (asked.ids.dtype, asked.ids.tolist()) == (np.uint16, [1, 2, 3, 65535, 4])
    again = asked.ranges(np.array([0, 5], np.int32), np.array([5, 5], np.uint8))
    assert (again.starts.tolist(), again.ends.tolist()) == ([0, 5], [5, 5])
    assert again.starts.dtype == again.ends.dtype == np.int64
    assert len(asked.ranges(np.empty(0), np.empty(0))) == 0
    for starts, ends in [([-1], [2]), ([0], [6]), ([3], [2]), ([0, 1], [1]), ([[0]], [[1]])]:
        with pytest.raises(QueryError, match="ranges: expected"):
            asked.ranges(np.array(starts), np.array(ends))
    for ids in (np.array([1, 1000]), np.array([1, 70000]), [1, 1000], np.array([1, 1000], "u2")):
        with pytest.raises(QueryError, match=r"(query 1\[0\]|ids\[1\]): token id"):
            vocabulary.split(ids, [0, 1, 2])
    for offsets in ([0, 3], [1, 2], [0, 2, 1, 2], [], [[0, 2]], [0.0, 2.0], [0, 2**63]):
        with pytest.raises(QueryError, match="offsets: expected"):
            vocabulary.split([1, 2], offsets)


def test_nothing_else_makes_queries():
    """An array on trust could have another dtype, and be read past its end."""
    made = {
        path.name
        for path in Path(everygram.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == Queries.__name__
    }
    assert made == {"queries.py"}


@pytest.mark.parametrize("size", [2, queries_module.PACKS, 700])
def test_masks_are_no_queries_and_numpy_integers_are(tmp_path, size):
    engine = engine_of(tmp_path, [[1] * 1000, [0]])
    for query in ([1] * size, [np.int64(1)] * size, tuple([1] * size)):
        assert engine.vocabulary.query(query).ids.tolist() == [1] * size
        found = engine.find(query)
        assert engine.counts_of(found[None]) == engine.count([1] * size) == 1001 - size
    for mask in ([True] * size, (False,) * size, np.ones(size, np.bool_)):
        for ask in (engine.count, engine.vocabulary.query, lambda mask: engine.prob(mask, 1)):
            with pytest.raises(QueryError, match="expected a token id"):
                ask(mask)
