"""`Index`: strings and ids in, typed results out."""

import copy
import itertools
import json
import math
import pickle
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import everygram
from conftest import write_index, write_jsonl
from everygram.encoding import Reading
from everygram.engine import pace
from everygram.errors import QueryError, TokenizerError
from everygram.kernels.following import tabled
from everygram.results.ngrams import Distribution
from everygram.storage import format as fmt
from naive import NaiveIndex

SEP = 255


def test_opening_tells_what_it_is(text_index, texts):
    assert text_index.num_documents == len(texts)
    assert text_index.num_tokens == sum(len(text.encode()) for text in texts)
    assert "documents, 1 segments, u8, tokenizer 'bytes'" in repr(text_index)
    info = text_index.info()
    assert info["separator"] == text_index.separator == SEP
    assert info["vocab_size"] == text_index.vocab_size == 255
    assert info["bytes"] == sum(
        path.stat().st_size for path in (text_index.path / "segment-000001").iterdir()
    )


def test_count_is_an_integer_that_shows_its_tokens(text_index):
    count = text_index.count("the")
    assert count == text_index.count(list(b"the")) == text_index.count(np.array([*b"the"])) == 7
    assert isinstance(count, int)
    assert f"{count}" == str(count) == "7"
    assert count.tokens == ["t", "h", "e"]
    assert count.as_dict() == {"count": 7, "token_ids": [*b"the"], "tokens": ["t", "h", "e"]}
    assert text_index.count("日").tokens == ["\\xe6", "\\x97", "\\xa5"]
    assert text_index.count([SEP]).tokens == ["<separator>"]


def test_count_batch(text_index):
    counts = text_index.count_batch(["the", [*b"natural"], "", "zzz"])
    assert counts.counts.dtype == np.asarray(counts).dtype == np.int64
    assert (
        list(counts)
        == np.asarray(counts).tolist()
        == [7, 3, text_index.num_tokens + text_index.num_documents, 0]
    )
    assert text_index.count_batch([]).counts.tolist() == []
    with pytest.raises(QueryError, match="expected a list of queries, found one string"):
        text_index.count_batch("the")


def test_prob(text_index):
    prob = text_index.prob("natural l", "a")
    assert (prob.prob, prob.continuation_count, prob.prompt_count) == (1.0, 3, 3)
    assert prob.suffix_len == len("natural l")
    assert text_index.prob("natural la").as_dict() == prob.as_dict()
    assert text_index.prob("natural l", ord("a")).as_dict() == prob.as_dict()
    assert prob.as_dict() == {
        "token_ids": [*b"natural l"],
        "tokens": [*"natural l"],
        "continuation_id": 97,
        "continuation": "a",
        "prompt_count": 3,
        "continuation_count": 3,
        "prob": 1.0,
        "suffix_len": 9,
    }
    assert "1 = 3 / 3" in repr(prob)


def test_the_probability_after_an_unseen_prompt_is_undefined(text_index):
    prob = text_index.prob("xyzzy", "a")
    assert math.isnan(prob.prob)
    assert prob.as_dict()["prob"] is None
    infgram = text_index.infgram_prob("xyzzy", "a")  # "zy" stands in "lazy dog"
    assert (infgram.suffix_len, infgram.prob) == (2, 0.0)


def test_the_continuation_is_one_token(text_index):
    with pytest.raises(QueryError, match=r"expected one token, found 2: \['a', 'b'\]"):
        text_index.prob("natural", "ab")
    with pytest.raises(QueryError, match="expected one token, found 0"):
        text_index.prob("natural", "")
    with pytest.raises(QueryError, match="the query is empty"):
        text_index.prob("")
    with pytest.raises(QueryError, match=r"continuation\[0\]: token id 300 is outside the voc"):
        text_index.prob("natural", 300)
    with pytest.raises(QueryError, match=r"continuation\[0\]: expected a token id"):
        text_index.prob("natural", 1.5)


def test_distributions(text_index, texts):
    naive = NaiveIndex([text.encode() for text in texts], SEP)
    for prompt in ("the", "natural language", "", "e", "zz"):
        distribution = text_index.ntd(prompt)
        expected = naive.following(prompt.encode())
        assert (
            dict(zip(distribution.next_ids.tolist(), distribution.counts.tolist(), strict=True))
            == expected
        )
        assert distribution.prompt_count == sum(expected.values())
        if expected:
            assert distribution.probs.sum() == pytest.approx(1)
        top = distribution.top(2)
        assert [t.count for t in top] == sorted(expected.values(), reverse=True)[:2]
        assert len(distribution.top(None)) == len(distribution) == len(expected)
    distribution = text_index.infgram_ntd("xxx natural langu")
    assert distribution.suffix_len == len(" natural langu")
    assert distribution.sparse
    assert distribution.next_tokens == ["a"]
    assert repr(distribution) == "Distribution(prompt_count=1, suffix_len=14, next={'a': 1})"
    assert f", … {len(text_index.ntd('')) - 5} more}})" in repr(text_index.ntd(""))
    with pytest.raises(QueryError, match="top: expected 0 or more, found -1"):
        distribution.top(-1)
    assert distribution.as_dict(top=0)["distinct"] == 1
    assert distribution.as_dict(top=0)["next"] == []
    assert distribution.as_dict()["next"] == [
        {"token_id": 97, "token": "a", "count": 1, "prob": 1.0}
    ]


def test_find_pages_through_every_occurrence(text_index, texts):
    naive = NaiveIndex([text.encode() for text in texts], SEP)
    everything = text_index.find("the", limit=1000)
    assert everything.count == len(everything) == 7
    found = sorted(zip(everything.documents.tolist(), everything.offsets.tolist(), strict=True))
    assert found == naive.occurrences(b"the")
    pages = [o for offset in range(0, 9, 2) for o in text_index.find("the", offset=offset, limit=2)]
    assert pages == list(everything)
    assert everything.as_dict()["occurrences"][0] == vars(pages[0])
    assert int((everything.intervals[:, 1] - everything.intervals[:, 0]).sum()) == 7


def test_find_without_a_limit_lists_every_occurrence(text_index, ids_index, texts):
    naive = NaiveIndex([text.encode() for text in texts], SEP)
    for query in ("e", "the", "zzz"):
        everything = text_index.find(query, limit=None)
        assert len(everything) == everything.count == text_index.count(query)
        found = sorted(zip(everything.documents.tolist(), everything.offsets.tolist(), strict=True))
        assert found == naive.occurrences(query.encode())
        rest = text_index.find(query, offset=2, limit=None)
        assert rest.occurrences == everything.occurrences[2:]
    assert len(ids_index.find([], limit=None)) == ids_index.count([])
    assert len(ids_index.find([0], offset=10**30, limit=None)) == 0


def test_find_samples_without_repeats_and_by_seed(text_index):
    """infini-gram's search_docs repeats itself and has no seed (defect 9)."""
    first = [o.rank for o in text_index.find("e", sample=5, seed=1)]
    assert first == [o.rank for o in text_index.find("e", sample=5, seed=1)]
    assert len(set(first)) == 5
    assert {tuple(o.rank for o in text_index.find("e", sample=5, seed=s)) for s in range(9)} != {
        tuple(first)
    }
    assert len(text_index.find("e", sample=10_000)) == text_index.count("e")


@pytest.mark.parametrize("value", [-1, 1.5, "3", True])
@pytest.mark.parametrize("name", ["offset", "limit", "sample"])
def test_find_refuses_what_is_no_number_of_occurrences(text_index, name, value):
    with pytest.raises(QueryError, match=f"{name}: expected 0 or more, found {value!r}"):
        text_index.find("a", **{name: value})
    with pytest.raises(QueryError, match="seed: expected an integer"):
        text_index.find("a", sample=1, seed=[1])


def test_documents_by_number(text_index, texts):
    for number, text in enumerate(texts):
        document = text_index.document(number)
        assert document.text == text
        assert (document.number, document.start, document.match) == (number, 0, None)
        assert document.length == len(text.encode())
        assert document.metadata == {"id": number, "lang": "en"}
    assert text_index.document(0, context=7).text == "natural"
    for number in (-1, len(texts)):
        with pytest.raises(QueryError, match=f"document {number}: the index has 0 to 5"):
            text_index.document(number)
    with pytest.raises(QueryError, match="expected a number, found '0'"):
        text_index.document("0")


def test_documents_by_occurrence(text_index, texts):
    count = text_index.count("language")
    seen = set()
    for occurrence in range(count):
        document = text_index.document(query="language", occurrence=occurrence, context=3)
        begin, end = document.match
        whole = texts[document.number].encode()
        assert whole[begin:end] == b"language"
        assert (
            document.token_ids.tobytes()
            == whole[document.start : document.start + len(document.token_ids)]
        )
        assert document.start == max(0, begin - 3)
        assert document.parts[1] == "language"
        assert "".join(document.parts) == document.text
        seen.add((document.number, begin))
    assert len(seen) == count == 3
    with pytest.raises(QueryError, match=r"the query occurs 3 times, numbered from 0 to 2"):
        text_index.document(query="language", occurrence=3)
    with pytest.raises(QueryError, match=r"the query does not occur: \['z', 'z', 'z'\]$"):
        text_index.document(query="zzz")
    with pytest.raises(QueryError, match="one of them"):
        text_index.document()
    with pytest.raises(QueryError, match="one of them"):
        text_index.document(1, query="a")
    with pytest.raises(QueryError, match="occurrence: goes with a query"):
        text_index.document(1, occurrence=2)


def test_separators_at_a_querys_ends_match_beside_the_tokens(text_index):
    start = text_index.document(query=[SEP, *b"the quick"])
    assert (start.number, start.match, start.start) == (1, (0, 9), 0)
    end = text_index.document(query=[*b"dog", SEP])
    assert (end.number, end.match) == (1, (end.length - 3, end.length))
    whole = text_index.document(query=[SEP, SEP])
    assert (whole.number, whole.length, whole.match, whole.parts) == (2, 0, (0, 0), ("", "", ""))
    assert text_index.find([SEP], limit=1).offsets.tolist() == [-1]


def test_the_empty_query_and_a_match_that_is_a_separator(text_index):
    for occurrence in range(text_index.count("")):
        document = text_index.document(query="", occurrence=occurrence, context=2)
        assert 0 <= document.match[0] == document.match[1] <= document.length
        assert document.parts[1] == ""


def test_the_parts_of_a_match_are_its_text(tmp_path, texts):
    """Whatever the decoder does at the seams: strips spaces, joins pieces, cuts characters."""
    from test_tokenizer import sentencepiece_like

    texts = ["a b  c a b", "日本語の日本", "b a\nb"]
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": text} for text in texts])
    for name, tokenizer in [
        ("bytes", "bytes"),
        ("trained", "train:260"),
        ("sentencepiece", str(sentencepiece_like(tmp_path))),
    ]:
        everygram.build(corpus, tmp_path / name, tokenizer=tokenizer)
        with everygram.open(tmp_path / name) as index:
            for number, text in enumerate(texts):
                assert index.document(number).text == text
                ids = index.document(number).token_ids.tolist()
                for start in range(len(ids)):
                    part = index.document(query=ids[start : start + 2], context=5)
                    assert "".join(part.parts) == part.text
            shown = index.document(query="b", context=1).parts if name == "sentencepiece" else None
            assert shown in (None, ("a", " b", " "))


def test_results_outlive_the_index(tmp_path, texts):
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": text} for text in texts])
    everygram.build(corpus, tmp_path / "index")
    with everygram.open(tmp_path / "index") as index:
        document, distribution = index.document(0), index.ntd("t")
    assert document.text == texts[0]
    assert distribution.top(1)[0].token == "h"


def test_random_texts_against_the_oracle(tmp_path):
    rng = random.Random(0)
    words = ["natural", "language", "model", "é", "語", "the"]
    texts = [" ".join(rng.choices(words, k=rng.randrange(9))) for _ in range(30)]
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": text} for text in texts])
    everygram.build(corpus, tmp_path / "index", tokenizer="train:280")
    with everygram.open(tmp_path / "index") as index:
        documents = [ids.tolist() for ids in index.tokenizer.encode_batch(texts)]
        naive = NaiveIndex(documents, index.separator)
        for text in ["natural language", "the model", "model é 語", "the the"]:
            for raw in (False, True):
                ids = index.encode(text, raw=raw).tolist()
                assert index.count(text, raw=raw) == naive.count(ids)
                assert index.infgram_ntd(text, raw=raw).suffix_len == naive.suffix_len(ids)
                assert index.decode(ids) == ("" if raw else " ") + text


GOLDEN = Path(__file__).parent / "data"
NUMBERS = [0, 1, 2, 31, 32, 33, 64, 100, 4 * pace.CHUNK + 3]


@pytest.fixture(scope="module")
def ids_index(tmp_path_factory):
    """Ids of u16 in three segments, without a tokenizer."""
    rng = random.Random(1)
    documents = [rng.choices([0, 1, 2, 300], k=rng.randrange(40)) for _ in range(12)]
    path = tmp_path_factory.mktemp("ids") / "index"
    write_index(path, [*documents, [], documents[0]], "u16", segments=3, vocab_size=1000)
    with everygram.open(path) as index:
        yield index


@pytest.fixture(scope="module")
def oracle(ids_index):
    numbers = range(ids_index.num_documents)
    return NaiveIndex([ids_index.document(n).token_ids.tolist() for n in numbers], 65535)


def some_queries(index, number, seed=0):
    """Pieces of documents with other tokens at their ends, none empty."""
    rng = random.Random(seed)
    some = []
    for _ in range(min(number, 60)):
        document = index.document(rng.randrange(index.num_documents)).token_ids.tolist()
        events = [index.separator, *document, index.separator]
        start = rng.randrange(len(events))
        query = events[start : start + rng.randrange(1, 8)]
        query[rng.randrange(len(query))] = rng.choice([query[0], query[-1], 0, 2, index.separator])
        some.append([rng.choice([7, 2]), *query] if rng.random() < 0.4 else query)
    return [some[i % 60] for i in range(number)]


def shown(results):
    return [result.as_dict() for result in results]


def check_batch(index, queries, batch, **more):
    """All batch methods, asked for `batch`, answer as single queries do for `queries`."""
    assert index.count_batch(batch, **more).counts.tolist() == [index.count(q) for q in queries]
    for many, one in [
        (index.prob_batch, index.prob),
        (index.infgram_prob_batch, index.infgram_prob),
        (index.ntd_batch, index.ntd),
        (index.infgram_ntd_batch, index.infgram_ntd),
    ]:
        assert shown(many(batch, **more)) == shown(one(query) for query in queries)


@pytest.mark.parametrize("number", NUMBERS)
def test_each_item_of_a_batch_is_the_single_querys_answer(ids_index, number):
    queries = some_queries(ids_index, number, number)
    arrays = [np.array(query, np.int64) for query in queries]
    check_batch(ids_index, queries, queries)
    check_batch(ids_index, queries, arrays)
    flat = np.array([token for query in queries for token in query], np.int64)
    offsets = np.cumsum([0, *map(len, queries)])
    check_batch(ids_index, queries, flat, offsets=offsets)


def test_batches_against_the_oracle(ids_index, oracle):
    queries = [*some_queries(ids_index, 60), [], [65535], [999], [0, 65535, 1], [0, 65535]]
    assert ids_index.count_batch(queries).counts.tolist() == [
        oracle.count(query) for query in queries
    ]
    for query, found in zip(queries, ids_index.ntd_batch(queries), strict=True):
        following = dict(zip(found.next_ids.tolist(), found.counts.tolist(), strict=True))
        assert following == oracle.following(query)
        assert (found.prompt_count, found.suffix_len) == (sum(following.values()), len(query))
    for query, found in zip(queries, ids_index.infgram_ntd_batch(queries), strict=True):
        following = dict(zip(found.next_ids.tolist(), found.counts.tolist(), strict=True))
        assert following == oracle.following(oracle.longest_suffix(query))
        assert found.suffix_len == oracle.suffix_len(query)
        assert found.token_ids == query
    for token in (0, 300, 65535, 999):
        tokens = [token] * len(queries)
        for query, found in zip(queries, ids_index.prob_batch(queries, tokens), strict=True):
            expected = oracle.prob(query, token)
            assert (found.prompt_count, found.continuation_count) == expected[:2]
            assert (found.token_ids, found.continuation_id) == (query, token)
        for query, found in zip(
            queries, ids_index.infgram_prob_batch(queries, tokens), strict=True
        ):
            suffix = oracle.longest_suffix(query)
            expected = oracle.prob(suffix, token)
            assert (found.prompt_count, found.continuation_count) == expected[:2]
            assert found.suffix_len == len(suffix)


@pytest.mark.parametrize("dtype", ["u1", "i1", "<u2", ">u2", "i2", "u4", "i4", "u8", "i8", object])
def test_a_batch_of_arrays_of_any_integers(ids_index, dtype):
    queries = [query for query in some_queries(ids_index, 60) if max(query) < 100]
    assert len(queries) > 5
    check_batch(ids_index, queries, [np.array(query, dtype) for query in queries])
    check_batch(ids_index, queries, [np.repeat(np.array(q, dtype), 2)[::2] for q in queries])
    flat = np.array(list(itertools.chain(*queries)), dtype)
    offsets = np.cumsum([0, *map(len, queries)])
    if dtype is not object:
        offsets = offsets.astype("i8" if np.dtype(dtype).itemsize == 1 else dtype)
    check_batch(ids_index, queries, np.repeat(flat, 3)[::3], offsets=offsets.tolist())
    check_batch(ids_index, queries, flat.tolist(), offsets=np.repeat(offsets.astype("i8"), 2)[::2])


def test_a_batch_of_tuples_ranges_and_mixtures(ids_index):
    queries = some_queries(ids_index, 40)
    check_batch(ids_index, queries, [tuple(query) for query in queries])
    check_batch(ids_index, queries, tuple(queries))
    kinds = itertools.cycle([list, tuple, np.array, lambda query: np.array(query, "u2")])
    check_batch(
        ids_index, queries, [kind(query) for kind, query in zip(kinds, queries, strict=False)]
    )
    check_batch(ids_index, [[0, 1], [1, 2]], [range(2), range(1, 3)])
    check_batch(ids_index, [[0, 1], [1, 2]], np.array([[0, 1], [1, 2]]))


@pytest.mark.parametrize("raw", [False, True])
def test_a_batch_of_strings(text_index, raw):
    words = ["the", "natural language", "qu", "日本", "zzz", " ", "e", "lan", "models x"]
    queries = [words[i % len(words)] for i in range(40)]
    encoded = [list(query.encode()) for query in queries]
    check_batch(text_index, encoded, queries, raw=raw)
    check_batch(text_index, encoded, tuple(queries), raw=raw)
    mixed = [
        ids if i % 3 else text for i, (ids, text) in enumerate(zip(encoded, queries, strict=True))
    ]
    check_batch(text_index, encoded, mixed, raw=raw)
    mixed = [
        np.array(ids) if i % 2 else text
        for i, (ids, text) in enumerate(zip(encoded, queries, strict=True))
    ]
    check_batch(text_index, encoded, mixed, raw=raw)


def test_a_batch_with_continuations(text_index):
    prompts = ["the", [*b"natural l"], "", [], "zz", np.array([*b"qui"]), (116, 104), [SEP]]
    tokens = [" ", 97, "t", SEP, "e", ord("c"), "e", "n"]
    for many, one in [
        (text_index.prob_batch, text_index.prob),
        (text_index.infgram_prob_batch, text_index.infgram_prob),
    ]:
        expected = [one(prompt, token) for prompt, token in zip(prompts, tokens, strict=True)]
        found = many(prompts, tokens)
        assert shown(found) == shown(expected)
        assert found.continuation_ids.tolist() == [each.continuation_id for each in expected]
        assert np.array_equal(found.probs, [each.prob for each in expected], equal_nan=True)
        assert [p.query.tolist() for p in found] == [p.query.tolist() for p in expected]
        flat, offsets = np.array([*b"thnatur"]), [0, 2, 2, 7]
        asked = [one(q, t) for q, t in zip([[*b"th"], [], [*b"natur"]], "eta", strict=True)]
        assert shown(many(flat, list("eta"), offsets)) == shown(asked)
        assert shown(many(flat, [101, 116, 97], offsets=offsets)) == shown(asked)
        assert shown(many(flat, np.array([101, 116, 97]), offsets=offsets)) == shown(asked)
        assert len(many([], [])) == len(many([], [], [0])) == 0
        with pytest.raises(QueryError, match="expected one for each of 8 queries, found 2"):
            many(prompts, tokens[:2])
        with pytest.raises(QueryError, match="expected one token, found 2"):
            many(["a", "b"], ["a", "bc"])
        with pytest.raises(QueryError, match="query 1: the query is empty"):
            many([[1], [], [2]])


def test_batch_results_are_sequences(ids_index):
    queries = some_queries(ids_index, 20)
    for results in (
        ids_index.prob_batch(queries),
        ids_index.infgram_prob_batch(queries),
        ids_index.ntd_batch(queries),
        ids_index.infgram_ntd_batch(queries),
    ):
        assert len(results) == len(list(results)) == 20
        assert shown(results[3:9:2]) == shown([results[3], results[5], results[7]])
        assert results[-1].as_dict() == results[19].as_dict() == results[np.int64(19)].as_dict()
        for place in (20, -21):
            with pytest.raises(IndexError):
                results[place]
        for column in ("prompt_counts", "suffix_lens"):
            assert getattr(results, column).dtype == np.int64
    distributions = ids_index.ntd_batch(queries)
    assert distributions.offsets.tolist() == [0, *np.cumsum([len(each) for each in distributions])]
    assert distributions.next_ids.dtype == distributions.counts.dtype == np.int64


def test_an_empty_batch(ids_index):
    for batch, offsets in ([], None), ((), None), ([], [0]), (np.empty(0, np.int64), [0]):
        assert ids_index.count_batch(batch, offsets).counts.dtype == np.int64
        for many in (
            ids_index.count_batch,
            ids_index.prob_batch,
            ids_index.infgram_prob_batch,
            ids_index.ntd_batch,
            ids_index.infgram_ntd_batch,
        ):
            assert len(many(batch, offsets=offsets)) == 0


@pytest.mark.parametrize(
    "offsets",
    [[], [0], [0, 2], [0, 4], [1, 3], [0, 2, 1, 3], [-1, 3], [0.0, 3.0], [[0, 3]], 3, ["0", "3"]],
)
def test_offsets_that_divide_nothing(ids_index, offsets):
    for many in (ids_index.count_batch, ids_index.prob_batch, ids_index.infgram_ntd_batch):
        with pytest.raises(
            QueryError, match=r"offsets: expected integers ascending from 0 to the 3"
        ):
            many([0, 1, 2], offsets=offsets)


def test_no_batch(text_index):
    for many in (
        text_index.count_batch,
        text_index.prob_batch,
        text_index.infgram_prob_batch,
        text_index.ntd_batch,
        text_index.infgram_ntd_batch,
    ):
        with pytest.raises(QueryError, match="expected a list of queries, found one string"):
            many("the")
        with pytest.raises(QueryError, match="found one array of ids; give its offsets"):
            many(np.array([1, 2]))
        with pytest.raises(QueryError, match=r"query 0: expected a flat list of token ids"):
            many([1, 2])


@pytest.mark.parametrize("place", [0, 1, 50, 4 * pace.CHUNK + 2])
@pytest.mark.parametrize("bad", [1000, 65534, 65536, -1, 2**70])
def test_the_message_names_the_bad_query(ids_index, place, bad):
    queries = some_queries(ids_index, 4 * pace.CHUNK + 3)
    queries[place] = [0, 1, bad, 2]
    says = rf"query {place}\[2\]: token id {bad} is outside the vocabulary: expected 0 to 999"
    for many in (
        ids_index.count_batch,
        ids_index.prob_batch,
        ids_index.infgram_prob_batch,
        ids_index.ntd_batch,
        ids_index.infgram_ntd_batch,
    ):
        with pytest.raises(QueryError, match=says):
            many(queries)
        with pytest.raises(QueryError, match=says):
            many([np.array(query) for query in queries])


def test_the_message_names_a_bad_query_that_has_a_continuation(ids_index):
    for many in (ids_index.prob_batch, ids_index.infgram_prob_batch):
        with pytest.raises(QueryError, match=r"query 2\[1\]: token id 1000 is outside the voc"):
            many([[0, 1], [1, 0], [7, 1000, 7]], [0, 1, 2])


def test_the_message_names_the_place_of_a_bad_last_token(ids_index):
    """However long the suffix of the prompt that occurs."""
    for many in (ids_index.prob_batch, ids_index.infgram_prob_batch):
        with pytest.raises(QueryError, match=r"query 2\[3\]: token id 1000 is outside the voc"):
            many([[0, 1], [1, 0], [7, 7, 7, 1000]])


@pytest.mark.parametrize("bad", [300, 2**70, -1])
def test_the_message_names_a_bad_query_among_strings(text_index, bad):
    with pytest.raises(QueryError, match=rf"query 1\[1\]: token id {bad} is outside the voc"):
        text_index.count_batch(["the", [1, bad]])


def test_strings_that_an_array_holds(text_index):
    queries = np.array(["the", "natural"])
    assert text_index.count(queries[0]) == 7
    assert text_index.count_batch(queries).counts.tolist() == [7, 3]
    assert text_index.count_batch(list(queries)).counts.tolist() == [7, 3]


def test_strings_where_there_is_no_tokenizer(ids_index):
    with pytest.raises(TokenizerError, match="has no tokenizer"):
        ids_index.count_batch([[0], "the"])
    with pytest.raises(TokenizerError, match="has no tokenizer"):
        ids_index.prob_batch([[0], [1]], [1, "the"])


def test_scores_and_longest_matches(text_index, texts):
    naive = NaiveIndex([text.encode() for text in texts], SEP)
    for text in (
        "",
        "the quick natural",
        texts[0],
        [SEP, *b"natural", SEP, *b"the"],
        "zz",
        texts[4],
    ):
        ids = list(text.encode()) if isinstance(text, str) else text
        for order in (None, 1, 2, 3, 5, 100):
            scores = text_index.score(text, order=order)
            rows = naive.score(ids, order)
            assert len(scores) == len(ids)
            assert scores.token_ids == scores.query.tolist() == ids
            assert scores.query.dtype == scores.prompt_counts.dtype == np.int64
            columns = (scores.suffix_lens, scores.prompt_counts, scores.continuation_counts)
            found = zip(*(column.tolist() for column in columns), scores.sparse, strict=True)
            assert list(found) == rows
            probs = [seen / total if total else math.nan for _, total, seen, _ in rows]
            assert np.array_equal(scores.probs, probs, equal_nan=True)
            shown = [None if math.isnan(prob) else prob for prob in probs]
            assert scores.as_dict()["probs"] == shown
            assert scores.as_dict()["order"] == order
        matches = text_index.longest_matches(text)
        found = zip(matches.lengths.tolist(), matches.counts.tolist(), strict=True)
        assert list(found) == naive.longest_matches(ids)
        assert len(matches) == len(ids)
    assert repr(text_index.score("the", order=2)) == "Scores(2-gram, 3 tokens)"
    assert repr(text_index.score("the")) == "Scores(∞-gram, 3 tokens)"
    assert repr(text_index.longest_matches("the")) == "LongestMatches(3 tokens, longest 3)"
    for order in (-1, 1.5, "2", True):
        with pytest.raises(QueryError, match="order: expected 0 or more, found"):
            text_index.score("the", order=order)
    with pytest.raises(QueryError, match=r"order: expected 1 \(unigram\) or more, found 0"):
        text_index.score("the", order=0)


@pytest.mark.parametrize("many", [2**62, 2**63 - 1, 2**63, 10**30, np.int64(10**9)])
def test_a_support_of_any_size(ids_index, many):
    """More than there is is all of it."""
    assert ids_index.ntd([0], max_support=many).as_dict() == ids_index.ntd([0]).as_dict()
    found = ids_index.infgram_ntd([7, 0], max_support=many)
    assert found.as_dict() == ids_index.infgram_ntd([7, 0]).as_dict()
    found = ids_index.ntd_batch([[0], [1]], max_support=many)
    assert shown(found) == shown(ids_index.ntd_batch([[0], [1]]))


@pytest.mark.parametrize("order", [2**62, 2**63 - 1, 2**63 + 1, 10**30, np.int64(7)])
def test_an_order_of_any_size(ids_index, order):
    for text in ([0, 1, 2], [65535, 0, 1, 65535, 2], []):
        found, expected = ids_index.score(text, order=order), ids_index.score(text, order=6)
        assert found.suffix_lens.tolist() == expected.suffix_lens.tolist()
        assert found.prompt_counts.tolist() == expected.prompt_counts.tolist()


def test_an_exact_distribution_and_one_that_is_not(ids_index):
    exact = ids_index.ntd([0])
    assert exact.exact
    assert exact.error_bound == 0
    for enough in (exact.prompt_count, 10**30):
        assert ids_index.ntd([0], max_support=enough).exact
        assert ids_index.ntd_batch([[0]], max_support=enough)[0].exact
    about = ids_index.ntd([0], max_support=3)
    assert not about.exact
    assert about.as_dict()["error_bound"] == about.error_bound > 0
    assert about.probs.sum() == pytest.approx(1)
    for max_support in (0, -1, 1.5, True, "3"):
        for ask in (ids_index.ntd, ids_index.infgram_ntd):
            with pytest.raises(QueryError, match="max_support: expected"):
                ask([0], max_support=max_support)
        with pytest.raises(QueryError, match="max_support: expected"):
            ids_index.ntd_batch([[0]], max_support=max_support)


@pytest.mark.parametrize("size", [0, 1, 2, 5, 40, 1000])
@pytest.mark.parametrize("different", [1, 3, 10**6])
def test_the_top_of_a_distribution_is_what_sorting_gives(size, different):
    rng = np.random.default_rng(size)
    counts = rng.integers(1, different + 1, size)
    ids = np.sort(rng.choice(10**6, size, replace=False))
    total = int(counts.sum())
    table = tabled(ids, counts, total).tobytes()
    reading = Reading(
        Path(), np.dtype(np.uint32), 2**32 - 1, 10**6, fmt.TokenizerEntry("none", "none", None, "")
    )
    distribution = Distribution(reading, np.empty(0, np.uint32), total, table, 0, 0)
    assert distribution.next_ids.tolist() == ids.tolist()
    assert distribution.probs.tolist() == (counts / total).tolist()
    pairs = zip(counts.tolist(), ids.tolist(), strict=True)
    order = sorted(pairs, key=lambda pair: (-pair[0], pair[1]))
    for k in range(0, size + 3, 1 if size < 100 else 13):
        top = distribution.top(k)
        assert [(token.count, token.token_id) for token in top] == order[:k]
    assert [(token.count, token.token_id) for token in distribution.top(None)] == order
    assert [token.prob for token in distribution.top(3)] == [
        count / int(counts.sum()) for count, _ in order[:3]
    ]


@pytest.mark.parametrize(
    "preload",
    ["fences", "suffix_array", "tokens", "all", ["tokens"], ("fences", "tokens"), (), ""],
)
def test_preloading_changes_no_answer(ids_index, preload):
    if preload == "":
        with pytest.raises(QueryError, match=r"preload: expected some of fences, .* found ''"):
            everygram.open(ids_index.path, preload=preload)
        return
    queries = some_queries(ids_index, 60)
    with everygram.open(ids_index.path, preload=preload) as index:
        assert (
            index.count_batch(queries).counts.tolist()
            == ids_index.count_batch(queries).counts.tolist()
        )
        for name in ("prob_batch", "infgram_prob_batch", "ntd_batch", "infgram_ntd_batch"):
            assert shown(getattr(index, name)(queries)) == shown(getattr(ids_index, name)(queries))
        for query in queries[:20]:
            assert index.find(query).as_dict() == ids_index.find(query).as_dict()
            assert index.score(query).as_dict() == ids_index.score(query).as_dict()
        assert index.document(3).as_dict() == ids_index.document(3).as_dict()


@pytest.mark.parametrize("preload", ["fence", "Tokens", ["tokens", "metadata"], ["suffix array"]])
def test_parts_that_cannot_be_preloaded(ids_index, preload):
    with pytest.raises(QueryError, match="preload: expected some of fences, suffix_array, tokens"):
        everygram.open(ids_index.path, preload=preload)


@pytest.mark.parametrize("golden", [path.name for path in sorted(GOLDEN.glob("golden-v*"))])
def test_an_index_of_an_older_version_answers_as_a_new_one(tmp_path, golden):
    with everygram.open(GOLDEN / golden) as old:
        documents = [old.document(number).token_ids.tolist() for number in range(old.num_documents)]
        naive = NaiveIndex(documents, old.separator)
        write_index(tmp_path / "new", documents, "u16", vocab_size=old.vocab_size)
        known = sorted({token for document in documents for token in document} | {0, 65535})
        queries = [list(q) for k in (1, 2, 3) for q in itertools.product(known, repeat=k)]
        queries += [d[i:j] for d in documents for i in range(len(d)) for j in range(i + 1, 9)]
        queries += [[65535, *query] for query in queries[-20:]]
        with everygram.open(tmp_path / "new") as new:
            assert new.manifest.format_version == fmt.FORMAT_VERSION
            assert old.count_batch(queries).counts.tolist() == [
                naive.count(query) for query in queries
            ]
            assert (
                old.count_batch(queries).counts.tolist() == new.count_batch(queries).counts.tolist()
            )
            counts = [naive.document_count(query) for query in queries]
            for index in (old, new):
                assert index.document_count_batch(queries).document_counts.tolist() == counts
                assert [index.document_count(query) for query in queries] == counts
            for name in ("prob_batch", "infgram_prob_batch", "ntd_batch", "infgram_ntd_batch"):
                for a, b in zip(
                    getattr(old, name)(queries), getattr(new, name)(queries), strict=True
                ):
                    # The new one has no tokenizer to show the tokens with.
                    assert all(
                        value == b.as_dict()[key]
                        for key, value in a.as_dict().items()
                        if key not in ("tokens", "continuation", "next")
                    )
            for query in queries[:100]:
                assert old.find(query).as_dict()["occurrences"] == [
                    vars(occurrence) for occurrence in new.find(query)
                ]
            for document in documents:
                text = [*document, 65535, *document[1:], known[0]]
                a, b = old.longest_matches(text), new.longest_matches(text)
                assert a.lengths.tolist() == b.lengths.tolist()
                assert old.score(text).probs.tolist() == new.score(text).probs.tolist()


def test_a_count_travels_with_its_tokens(text_index):
    count = text_index.count("the")
    for made in (
        pickle.loads(pickle.dumps(count)),
        copy.copy(count),
        copy.deepcopy([count])[0],
    ):
        assert type(made) is type(count)
        assert made.as_dict() == count.as_dict()
        assert made == 7


def test_the_query_of_a_result_is_of_int64(text_index, ids_index):
    for index, query in ((text_index, "the"), (text_index, [*b"the"]), (ids_index, (0, 1, 300))):
        ids = index.encode(query)
        assert ids.dtype == np.int64
        for result in (
            index.prob(query),
            index.infgram_prob(query),
            index.ntd(query),
            index.infgram_ntd(query),
            index.find(query),
            index.score(query),
            index.longest_matches(query),
            index.prob_batch([query])[0],
            index.ntd_batch([query])[0],
        ):
            asked = ids[: len(result.query)]
            assert result.query.dtype == np.int64
            assert result.query.tolist() == result.token_ids == asked.tolist()


def test_an_index_without_documents(tmp_path):
    with everygram.open(write_index(tmp_path / "index", [], "u8", vocab_size=10)) as index:
        queries = [[], [1], [1, 2], [SEP], [SEP, SEP]]
        assert (
            index.count_batch(queries).counts.tolist()
            == [index.count(q) for q in queries]
            == [0] * 5
        )
        assert [len(each) for each in index.ntd_batch(queries)] == [0] * 5
        assert [len(index.infgram_ntd(query)) for query in queries] == [0] * 5
        for probs in (index.prob_batch(queries[1:]), index.infgram_prob_batch(queries[1:])):
            assert np.isnan(probs.probs).all()
            assert probs.prompt_counts.tolist() == probs.continuation_counts.tolist() == [0] * 4
        assert np.isnan(index.score([1, SEP, 2]).probs).all()
        assert index.score([]).probs.tolist() == []
        assert index.longest_matches([1, 2]).lengths.tolist() == [0, 0]
        assert index.find([1]).count == 0
        for ask in (index.count, index.ntd, index.infgram_ntd, index.score, index.longest_matches):
            with pytest.raises(QueryError, match=r"\[1\]: token id 10 is outside the vocabulary"):
                ask([1, 10])
        with pytest.raises(QueryError, match=r"query 1\[1\]: token id 10 is outside"):
            index.count_batch([[1], [1, 10]])


def test_threads_share_an_index(ids_index, oracle):
    def ask(seed):
        queries = some_queries(ids_index, 50, seed)
        assert ids_index.count_batch(queries).counts.tolist() == [oracle.count(q) for q in queries]
        for query in queries[:10]:
            assert ids_index.ntd(query).prompt_count == sum(oracle.following(query).values())
        scores = ids_index.score(queries[0] + queries[1])
        assert scores.suffix_lens.tolist() == [row[0] for row in oracle.score(scores.token_ids)]
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(24)))


def test_a_dropped_index_lets_go_of_its_memory(text_index):
    import gc
    import weakref

    index = everygram.open(text_index.path, preload="all")
    index.count("natural")
    engine = weakref.ref(index.engine)
    gc.disable()
    try:
        del index
        assert engine() is None
    finally:
        gc.enable()


def test_what_is_no_id_is_refused_in_any_wrapping(text_index):
    for query in ([np.array([1, 2])], ([1], [2]), [np.array([1])] * 2, [[1], [2]]):
        with pytest.raises(QueryError, match="expected a"):
            text_index.count(query)
    for queries in (5, {"a": 1}, None):
        with pytest.raises(QueryError, match="expected a list of queries"):
            text_index.count_batch(queries)
    with pytest.raises(QueryError, match="continuations: expected a list"):
        text_index.prob_batch([[1]], continuations=5)
    with pytest.raises(QueryError, match=r"expected a (flat list|token id)"):
        text_index.count_batch([[1, 2], [3]], offsets=[0, 1])
    with pytest.raises(QueryError, match="offsets: expected integers ascending"):
        text_index.count_batch([1, 2], offsets=[[0], [1, 2]])


def test_numpy_integers_are_integers(text_index):
    prompts = ["natural", " "]
    for number in (np.int64(3), np.uint64(3), np.uint8(3)):
        assert text_index.ntd_batch(prompts, max_support=number)[1].prompt_count > 0
        scores = text_index.score("natural", order=number)
        assert json.loads(json.dumps(scores.as_dict()))["order"] == 3
    assert everygram.open(text_index.path, preload=["all"]).count("natural") == 3


@pytest.mark.parametrize("query", [{1, 2}, {1: 2}, b"\x01\x02", range(0), np.array(5), object()])
def test_what_has_no_order_or_is_no_list_is_no_query(ids_index, query):
    asked = [
        lambda: ids_index.count(query),
        lambda: ids_index.prob(query, 1),
        lambda: ids_index.infgram_prob(query),
        lambda: ids_index.ntd(query),
        lambda: ids_index.score(query),
        lambda: ids_index.find(query),
        lambda: ids_index.count_batch([query]),
    ]
    if isinstance(query, range):  # which is a list of integers
        assert ids_index.count(query) == ids_index.count([])
        return
    for ask in asked:
        with pytest.raises(QueryError, match="flat list of token ids"):
            ask()


def test_an_array_without_a_length_is_no_batch(ids_index):
    with pytest.raises(QueryError, match="a batch: expected a list"):
        ids_index.count_batch(np.array(5))
    with pytest.raises(QueryError, match="continuations: expected a list"):
        ids_index.prob_batch([[1]], np.array(5))


def test_scores_of_a_batch_are_those_of_each_text(text_index):
    texts = ["natural laws", "", [*b"the nature"], [255, *b"na", 255, *b"law"], "languages"] * 3
    for order in (None, 1, 3):
        found = text_index.score_batch(texts, order=order)
        expected = [text_index.score(text, order=order) for text in texts]
        assert [each.as_dict() for each in found] == [each.as_dict() for each in expected]
    flat = text_index.score_batch([*b"natural law"], [0, 7, 7, 11])
    expected = [text_index.score([*text]) for text in (b"natural", b"", b" law")]
    assert [each.as_dict() for each in flat] == [each.as_dict() for each in expected]
    assert text_index.score_batch([]) == []
    with pytest.raises(QueryError, match="order: expected 1"):
        text_index.score_batch(texts, order=0)
