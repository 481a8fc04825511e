"""`Index`: strings and ids in, typed results out."""

import math
import random

import numpy as np
import pytest

import everygram
from everygram.errors import QueryError
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
    assert counts.dtype == np.int64
    assert counts.tolist() == [7, 3, text_index.num_tokens + text_index.num_documents, 0]
    assert text_index.count_batch([]).tolist() == []
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
        assert document.ids.tobytes() == whole[document.start : document.start + len(document.ids)]
        assert document.start == max(0, begin - 3)
        assert document.parts[1] == "language"
        assert "".join(document.parts) == document.text
        seen.add((document.number, begin))
    assert len(seen) == count == 3
    with pytest.raises(QueryError, match=r"the query occurs 3 times, numbered from 0 to 2"):
        text_index.document(query="language", occurrence=3)
    with pytest.raises(QueryError, match=r"the query occurs 0 times$"):
        text_index.document(query="zzz")
    with pytest.raises(QueryError, match="one of the two"):
        text_index.document()
    with pytest.raises(QueryError, match="one of the two"):
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
    from conftest import write_jsonl
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
                ids = index.document(number).ids.tolist()
                for start in range(len(ids)):
                    part = index.document(query=ids[start : start + 2], context=5)
                    assert "".join(part.parts) == part.text
            shown = index.document(query="b", context=1).parts if name == "sentencepiece" else None
            assert shown in (None, ("a", " b", " "))


def test_results_outlive_the_index(tmp_path, texts):
    from conftest import write_jsonl

    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": text} for text in texts])
    everygram.build(corpus, tmp_path / "index")
    with everygram.open(tmp_path / "index") as index:
        document, distribution = index.document(0), index.ntd("t")
    assert document.text == texts[0]
    assert distribution.top(1)[0].token == "h"


def test_random_texts_against_the_oracle(tmp_path):
    from conftest import write_jsonl

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
