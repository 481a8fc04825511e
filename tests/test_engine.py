"""Every query against the oracle: named cases, all strings over tiny alphabets, random corpora."""

import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import write_index
from everygram import format as fmt
from everygram.engine import Engine
from everygram.errors import QueryError
from everygram.index import open_segments, read_manifest
from naive import NaiveIndex


def open_engine(path):
    manifest = read_manifest(path)
    return Engine(open_segments(path, manifest), manifest.vocab_size, manifest.separator)


def engine_of(tmp_path, documents, dtype="u8", segments=1):
    path = tmp_path / f"{dtype}-{segments}-{random.getrandbits(64):x}"
    return open_engine(write_index(path, documents, dtype, segments))


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
    prompt_count, ids, counts = engine.ntd(query)
    assert prompt_count == sum(following.values())
    assert dict(zip(ids.tolist(), counts.tolist(), strict=True)) == following
    assert ids.tolist() == sorted(following)

    suffix = naive.longest_suffix(query)
    prompt_count, ids, counts, suffix_len = engine.infgram_ntd(query)
    assert suffix_len == len(suffix)
    assert dict(zip(ids.tolist(), counts.tolist(), strict=True)) == naive.following(suffix)

    for token in {*itertools.islice(following, 3), engine.separator, 0}:
        expected = naive.prob(query, token)
        prompt_count, continuation_count = engine.prob(query, token)
        assert (prompt_count, continuation_count) == expected[:2]
        expected = naive.prob(suffix, token)
        assert engine.infgram_prob(query, token) == (*expected[:2], len(suffix))


def check_all(engine, documents, queries):
    naive = NaiveIndex(documents, engine.separator)
    queries = list(queries)
    for query in queries:
        check(engine, naive, query)
    counts = engine.count_batch(queries)
    assert counts.tolist() == [naive.count(query) for query in queries]


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
    """Every corpus of up to 5 symbols over {a, b, end of document}, every query up to 3."""
    queries = list(all_strings([0, 1, SEP], 3))
    for stream in all_strings([0, 1, None], 5):
        documents = [[]]
        for symbol in stream:
            if symbol is None:
                documents.append([])
            else:
                documents[-1].append(symbol)
        if segments > len(documents) or (segments > 1 and len(stream) < 5):
            continue
        engine = engine_of(tmp_path, documents, segments=segments)
        naive = NaiveIndex(documents, SEP)
        assert engine.count_batch(queries).tolist() == [naive.count(q) for q in queries]
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


@settings(max_examples=60, deadline=None)
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
    widths = {segment.suffix_array.ndim for segment in engine.segments}
    assert 2 in widths
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
        position = int(segment.suffix_array[rank])
        token = int(segment.tokens[position])
        after = NaiveIndex(documents, SEP).following([token])
        assert engine.count([token]) == engine.ntd([token])[0] == sum(after.values())
        for following in after:
            assert engine.find([token, following]).tolist()[0][0] <= rank
            assert engine.infgram_ntd([8, token])[3] == 1
    smallest, largest = [1, SEP], [SEP, 9, 9, 9, SEP]
    assert engine.find(smallest).tolist() == [[0, 1]]
    assert engine.find(largest).tolist() == [[segment.stream_len - 1, segment.stream_len]]
    assert engine.infgram_ntd([8, *largest[:-1]])[3] == 4


def test_end_of_document_is_not_swallowed_by_the_end_of_a_segment(tmp_path):
    """infini-gram answers 320 of 320 where 20 of 320 is right (defect 1)."""
    documents = [[7, 8]] * 300 + [[7]] * 20
    for segments in (1, 4):
        engine = engine_of(tmp_path, documents, "u16", segments)
        prompt_count, ids, counts = engine.ntd([7])
        assert prompt_count == 320
        assert dict(zip(ids.tolist(), counts.tolist(), strict=True)) == {8: 300, 65535: 20}
        assert engine.prob([7], 65535) == (320, 20)


def test_rare_continuations_survive_frequent_ones(tmp_path):
    """Past 1,000 occurrences infini-gram samples and rare tokens vanish (defect 6)."""
    documents = [[5, 6]] * 4000 + [[5, 7]]
    engine = engine_of(tmp_path, documents)
    prompt_count, ids, counts = engine.ntd([5])
    assert (prompt_count, ids.tolist(), counts.tolist()) == (4001, [6, 7], [4000, 1])


def test_many_distinct_continuations(tmp_path):
    documents = [[1, token] for token in range(2, 5000)]
    engine = engine_of(tmp_path, documents, "u16", segments=2)
    prompt_count, ids, counts = engine.ntd([1])
    assert prompt_count == 4998
    assert ids.tolist() == list(range(2, 5000))
    assert set(counts.tolist()) == {1}


def test_unigrams_sum_to_one_with_the_separator_as_the_end(tmp_path):
    documents = [[1, 2, 1], [], [2]]
    engine = engine_of(tmp_path, documents, segments=2)
    prompt_count, ids, counts = engine.ntd([])
    assert prompt_count == engine.count([]) == 4 + 3
    assert dict(zip(ids.tolist(), counts.tolist(), strict=True)) == {1: 2, 2: 2, SEP: 3}


def test_a_match_never_crosses_a_separator(tmp_path):
    engine = engine_of(tmp_path, [[1, 2], [3, 4]])
    assert engine.count([2, 3]) == 0
    assert engine.count([2, SEP, 3]) == 0
    assert engine.count([2, SEP, 3, 4]) == 0
    assert engine.count([SEP, SEP]) == 0
    assert engine.infgram_ntd([1, 2, SEP, 3])[3] == 2
    assert engine.infgram_ntd([1, 2, SEP])[3] == 1


def test_long_prompts(tmp_path):
    rng = random.Random(1)
    document = [rng.randrange(250) for _ in range(20_000)]
    engine = engine_of(tmp_path, [document, document[5000:]], segments=2)
    assert engine.count(document) == 1
    assert engine.count(document[5000:]) == 2
    assert engine.infgram_ntd([251, *document])[3] == 20_000
    assert engine.infgram_ntd([*document, 251])[3] == 0
    huge = np.resize(np.array(document), 10_000_000)  # 500 times the document
    assert engine.count(huge) == 0
    assert engine.infgram_ntd(huge)[3] == 20_000


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
        ([True], r"query\[0\]: expected a token id \(an integer\), found True"),
        (["a"], r"query\[0\]: expected a token id \(an integer\), found 'a'"),
        ([None], r"query\[0\]: expected a token id"),
        ([[1, 2]], r"expected a flat list of token ids, found 2 dimensions"),
        ([[1], 2], r"expected a flat list of token ids"),
        (7, r"expected a flat list of token ids, found 0 dimensions"),
        (np.array([0.5]), r"query\[0\]: expected a token id"),
        (np.array([10], np.uint8), r"token id 10 is outside"),
    ],
)
def test_bad_queries(tmp_path, query, says):
    """tokengrams drops ids it does not know: count([1, 70000, 2]) == count([1, 2])."""
    path = write_index(tmp_path / "index", [[1, 2, 3]], "u8", vocab_size=10)
    engine = open_engine(path)
    for ask, name in [
        (engine.count, "query"),
        (engine.find, "query"),
        (engine.ntd, "prompt"),
        (engine.infgram_ntd, "prompt"),
    ]:
        with pytest.raises(QueryError, match=says.replace("query", name)):
            ask(query)
    with pytest.raises(QueryError, match=says):
        engine.count_batch([[1], query])


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
    from concurrent.futures import ThreadPoolExecutor

    rng = random.Random(3)
    documents = [[rng.randrange(4) for _ in range(50)] for _ in range(20)]
    engine = engine_of(tmp_path, documents, segments=2)
    naive = NaiveIndex(documents, SEP)
    queries = [d[i : i + 4] for d in documents for i in range(0, 40, 7)]
    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(engine.count, queries * 5))
    assert counts == [naive.count(query) for query in queries] * 5
