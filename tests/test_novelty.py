"""How much of a text is new, against brute force over all of its n-grams."""

import pickle
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import everygram
from campaign import sized
from conftest import write_index
from everygram.attribution.novelty import MOST_N, covered_tokens, novelty_of
from everygram.errors import QueryError, TokenizerError
from everygram.results.novelty import Novelty
from naive import NaiveIndex
from naive_novelty import novelty, pooled, shares_by_length

SEP = 255
TOKENS = st.sampled_from([1, 2, 3])
DOCUMENTS = st.lists(st.lists(TOKENS, max_size=12), max_size=6)
# A token that no document has, and separators.
TEXT = st.lists(st.sampled_from([1, 2, 3, 1, 2, 3, 9, SEP]), max_size=14)
BOUNDS = st.tuples(st.integers(1, 6), st.integers(0, 5)).map(lambda b: (b[0], b[0] + b[1]))


def check(index, naive, texts, max_n, bounds):
    options = {"max_n": max_n, "creativity_bounds": bounds}
    found = [index.novelty(text, **options) for text in texts]
    expected = [novelty(naive, text, max_n, bounds) for text in texts]
    assert [each.as_dict() for each in found] == expected
    assert index.novelty_batch(texts, **options) == found
    if texts:
        assert sum(found).as_dict() == pooled(expected)


@settings(max_examples=sized(60, 2000), deadline=None)
@given(DOCUMENTS, st.integers(1, 3), st.lists(TEXT, max_size=3), st.integers(1, 8), BOUNDS)
def test_novelty_is_what_every_ngram_says(tmp_path_factory, documents, segments, texts, n, bounds):
    path = tmp_path_factory.mktemp("novelty") / "index"
    with everygram.open(write_index(path, documents, "u8", segments)) as index:
        check(index, NaiveIndex(documents, SEP), texts, n, bounds)


@settings(max_examples=sized(30, 2000), deadline=None)
@given(DOCUMENTS, st.data(), st.lists(TEXT, max_size=3), BOUNDS)
def test_of_deleted_documents_nothing_is_known(tmp_path_factory, documents, data, texts, bounds):
    numbers = st.sets(st.sampled_from(range(len(documents)))) if documents else st.just(set())
    gone = data.draw(numbers)
    path = tmp_path_factory.mktemp("novelty") / "index"
    write_index(path, documents, "u8", 2, deleted=[sorted(gone)])
    left = [each for number, each in enumerate(documents) if number not in gone]
    with everygram.open(path) as index:
        check(index, NaiveIndex(left, SEP), texts, 6, bounds)


@settings(max_examples=sized(20, 2000), deadline=None)
@given(DOCUMENTS, DOCUMENTS, st.lists(TEXT, max_size=3), BOUNDS)
def test_a_union_knows_the_documents_of_all(tmp_path_factory, one, two, texts, bounds):
    folder = tmp_path_factory.mktemp("novelty")
    names = {"one": one, "two": two, "minus": two}
    paths = [write_index(folder / name, each, "u8") for name, each in names.items()]
    with everygram.open(paths[:2]) as union:
        check(union, NaiveIndex([*one, *two], SEP), texts, 6, bounds)
    with everygram.open(paths[:2], minus=paths[2]) as union:
        check(union, NaiveIndex(one, SEP), texts, 6, bounds)


@settings(max_examples=sized(60, 2000), deadline=None)
@given(DOCUMENTS, TEXT, BOUNDS)
def test_the_creativity_index_weighs_tokens_by_the_match_that_holds_them(
    tmp_path_factory, documents, text, bounds
):
    path = tmp_path_factory.mktemp("novelty") / "index"
    with everygram.open(write_index(path, documents, "u8")) as index:
        found = index.novelty(text, creativity_bounds=bounds)
        lengths = index.longest_matches(text).lengths.tolist()
    holds = [
        max(size if start + size > place else 0 for start, size in enumerate(lengths[: place + 1]))
        for place in range(len(text))
    ]
    expected = shares_by_length(holds, bounds)
    assert found.creativity_index == pytest.approx(expected, nan_ok=True)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("novelty")
    texts = ["to be or not to be", "that is the question"]
    everygram.build(iter([{"text": text} for text in texts]), folder / "index")
    with everygram.open(folder / "index") as index:
        yield index


def test_what_an_answer_says(index):
    # "to be" and "or" are there, "to b|e? o|r": five of its characters in the one match, ...
    found = index.novelty("to be? or", max_n=6, creativity_bounds=(3, 5))
    assert (found.num_texts, found.num_tokens, found.longest, found.max_n) == (1, 9, 5, 6)
    assert found.covered_tokens.tolist() == [8, 8, 8, 5, 5, 0]
    assert found.num_ngrams.tolist() == [9, 8, 7, 6, 5, 4]
    assert found.new_ngrams.tolist() == [1, 2, 3, 4, 4, 4]
    assert found.covered.tolist() == [each / 9 for each in (8, 8, 8, 5, 5, 0)]
    assert found.new.tolist() == [1 / 9, 2 / 8, 3 / 7, 4 / 6, 4 / 5, 1.0]
    assert found.unmatched_tokens == 1 + 4 + 4 and found.creativity_index == 1.0
    assert repr(found) == "Novelty(9 tokens, creativity index 1.00 of 3, L = 3 to 5)"
    assert found == pickle.loads(pickle.dumps(found)) != index.novelty("to be? or")
    both = found + index.novelty("zz", max_n=6, creativity_bounds=(3, 5))
    assert repr(both) == "Novelty(2 texts, 11 tokens, creativity index 1.36 of 3, L = 3 to 5)"
    shown = both._repr_html_()
    assert "2 texts, 11 tokens, creativity index 1.36 of 3, L = 3 to 5; longest match: 5" in shown
    assert shown.count("<tr") == 7 and "27.27%" in shown


def test_a_text_that_is_shorter_than_n_has_no_ngrams(index):
    found = index.novelty("to", max_n=4)
    assert np.array_equal(found.new, [0, 0, np.nan, np.nan], equal_nan=True)
    assert found.as_dict()["new"] == [0, 0, None, None]
    assert found.covered.tolist() == [1, 1, 0, 0]
    assert "–" in found._repr_html_()
    empty = index.novelty("", max_n=2)
    assert np.isnan([*empty.new, *empty.covered, empty.creativity_index]).all()
    assert empty.as_dict()["creativity_index"] is None
    assert repr(empty) == "Novelty(0 tokens, creativity index undefined, L = 5 to 12)"
    assert (found + index.novelty("", max_n=4)).new_ngrams.tolist() == found.new_ngrams.tolist()


def test_of_a_whole_document_nothing_is_new(index):
    document = [index.separator, *index.document(0).token_ids.tolist(), index.separator]
    found = index.novelty(document, max_n=30)
    assert found.new_ngrams.sum() == 0 and found.creativity_index == 0
    assert found.longest == len(document) == found.covered_tokens[len(document) - 1]
    # Two documents: no n-gram of theirs reaches over the bound.
    two = [*document, *index.document(1).token_ids.tolist()]
    found = index.novelty(two, max_n=30)
    assert found.new_ngrams.sum() == 0 and found.covered_tokens[0] == len(two)


def test_what_is_no_option_is_refused(index):
    for wrong in (0, -1, 1.5, "3", True, None, MOST_N + 1, 10**30):
        with pytest.raises(QueryError, match="max_n: expected 1 "):
            index.novelty("a", max_n=wrong)
    for wrong in (None, 5, "12", (5,), (5, 4), (0, 3), (1, 2, 3), (1.0, 2), [1, True], (1, 1001)):
        with pytest.raises(QueryError, match="creativity_bounds: expected two integers from 1 to"):
            index.novelty("a", creativity_bounds=wrong)
    with pytest.raises(QueryError, match="text: expected a text or token ids, found None"):
        index.novelty(None)
    largest = index.novelty("to be", max_n=MOST_N, creativity_bounds=[1, MOST_N])
    assert largest.max_n == MOST_N and largest.creativity_bounds == (1, MOST_N)


def test_what_cannot_be_added_is_refused(index):
    one = index.novelty("a")
    with pytest.raises(QueryError, match=r"max_n: expected the same of all .* found 3, not 20"):
        one + index.novelty("a", max_n=3)
    with pytest.raises(QueryError, match=r"creativity_bounds: expected the same .* \(5, 6\), not"):
        one + index.novelty("a", creativity_bounds=(5, 6))
    for wrong in (1, 0.5, None, "a"):
        with pytest.raises(TypeError):
            one + wrong
        with pytest.raises(TypeError):
            wrong + one


def test_an_index_without_documents_or_without_a_tokenizer(tmp_path):
    with everygram.open(write_index(tmp_path / "none", [], "u8")) as empty:
        found = empty.novelty([1, 2, SEP], max_n=2)
        assert found.new.tolist() == [1, 1] and found.creativity_index == 8
        with pytest.raises(TokenizerError, match="query it with token ids"):
            empty.novelty("a")


def test_a_text_of_a_million_tokens():
    """Linear also where every place begins a long match that is no part of another."""
    size = 1_000_000
    ids, lengths = np.ones(size, np.int64), np.minimum(500, size - np.arange(size))
    start = time.process_time()
    found = novelty_of(ids, lengths, SEP, 20, (5, 12))
    spent = time.process_time() - start
    assert found.covered_tokens.tolist() == [size] * 20
    assert found.new_ngrams.tolist() == [0] * 20
    assert spent < 5, f"{spent:.1f} s"


def test_of_one_match_all_lengths_are_told_at_once():
    """As long as the text, and without a look at each length for each token."""
    covered = covered_tokens(np.arange(1_000_000, 0, -1), MOST_N)
    assert covered.tolist() == [1_000_000] * MOST_N


def test_novelty_is_public():
    assert everygram.Novelty is Novelty
