"""`Index.draft` against the greedy chain by brute force."""

import itertools
import pickle
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import everygram
from campaign import sized
from conftest import write_index
from everygram.errors import DamagedIndexError, QueryError
from naive import NaiveIndex
from naive_drafts import naive_draft

pytestmark = pytest.mark.usefixtures("kinds")

SEP = 255


def found(draft):
    """A draft as the oracle gives it."""
    pairs = list(zip(draft.token_ids, draft.counts.tolist(), strict=True))
    return draft.suffix_len, draft.count, pairs, draft.from_context


def check(index, oracle, context, **options):
    expected = naive_draft(oracle, context, **options)
    draft = index.draft(context, **options)
    assert found(draft) == expected, (context, options)
    return draft


@pytest.mark.parametrize("segments", [1, 3])
def test_named_cases(tmp_path, segments):
    documents = [[1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 4], [7], [], [9, 9, 9, 9, 9]]
    oracle = NaiveIndex(documents, SEP)
    with everygram.open(write_index(tmp_path / "i", documents, "u8", segments, 20)) as index:
        every = {"max_factor": float("inf")}
        assert check(index, oracle, [1], **every).token_ids == [2, 3, 4]
        # The context before the suffix does not matter; the lowest of two tokens is taken.
        assert check(index, oracle, [8, 1, 2, 3], **every).token_ids == [4]
        # As many tokens as the suffix has, or by a factor.
        assert check(index, oracle, [1]).token_ids == [2]
        assert check(index, oracle, [1], max_factor=2).token_ids == [2, 3]
        assert check(index, oracle, [1, 2], max_factor=0.99).token_ids == [3]
        assert check(index, oracle, [1], max_factor=0).token_ids == []
        # The share of the suffix's occurrences.
        assert check(index, oracle, [1], min_token_prob=2 / 3, **every).token_ids == [2, 3]
        assert check(index, oracle, [1], min_token_prob=0.7, **every).token_ids == [2]
        assert check(index, oracle, [1], min_token_prob=1, **every).token_ids == [2]
        # The end of a document.
        assert check(index, oracle, [7], **every).token_ids == []
        assert check(index, oracle, [9, 9, 9], **every).token_ids == [9, 9]
        # Its start.
        assert check(index, oracle, [1, SEP], **every).token_ids == [1, 2, 3, 4]
        assert check(index, oracle, [SEP, 7], **every).token_ids == []
        # Nothing to go on from.
        assert check(index, oracle, [], **every).token_ids == []
        assert check(index, oracle, [13], **every).token_ids == []
        # What is not looked at is not read.
        assert check(index, oracle, [1, 2], max_suffix=1, **every).suffix_len == 1
        assert index.draft([777, 1, 2], max_suffix=2).suffix_len == 2
        with pytest.raises(QueryError, match=r"context\[0\]: token id 777 is outside"):
            index.draft([777, 1, 2])
        with pytest.raises(QueryError, match=r"context\[2\]: token id 20 is outside"):
            index.draft([1, 2, 20])


def test_an_index_without_documents(tmp_path):
    with everygram.open(write_index(tmp_path / "i", [], "u8", 1, 20)) as index:
        assert found(index.draft([1, 2])) == found(index.draft([])) == (0, 0, [], False)
        with pytest.raises(QueryError, match="outside the vocabulary"):
            index.draft([20])


@pytest.mark.parametrize("deleted", [[], [0, 3, 4]])
def test_all_contexts_over_a_tiny_alphabet(tmp_path, deleted):
    rng = random.Random(5)
    documents = [rng.choices([0, 1], k=rng.randint(0, 7)) for _ in range(6)]
    oracle = NaiveIndex(
        [document for number, document in enumerate(documents) if number not in deleted], SEP
    )
    path = write_index(tmp_path / "i", documents, "u8", 2, 3, [deleted] if deleted else [])
    with everygram.open(path) as index:
        for length in range(5):
            for context in itertools.product([0, 1, SEP], repeat=length):
                for least, factor, back in ((0, 9, 0), (0.3, 9, 0), (0.5, 1, 0), (0, 2, 9)):
                    check(
                        index,
                        oracle,
                        list(context),
                        min_token_prob=least,
                        max_factor=factor,
                        lookback=back,
                    )


@settings(max_examples=sized(25, 400), deadline=None)
@given(st.data())
def test_drafts_are_those_of_the_oracle(tmp_path_factory, data):
    """Of corpora in several segments, of few and of many tokens, some documents deleted."""
    dtype = data.draw(st.sampled_from(["u8", "u16", "u32"]))
    separator = {"u8": 255, "u16": 65535, "u32": 4294967295}[dtype]
    seed = data.draw(st.integers(0, 2**32))
    rng = random.Random(seed)
    tokens = data.draw(st.sampled_from([2, 4, 40]))
    weights = [1 / (1 + token) for token in range(tokens)]
    documents = [
        rng.choices(range(tokens), weights, k=rng.randint(0, 60)) for _ in range(rng.randint(1, 9))
    ]
    if rng.random() < 0.5:  # copies
        documents += [document[: rng.randint(0, 60)] for document in documents]
    segments = data.draw(st.integers(1, 4))
    gone = min(len(documents), data.draw(st.sampled_from([0, 0, 1, 2])))
    deleted = sorted(rng.sample(range(len(documents)), gone))
    path = write_index(
        tmp_path_factory.mktemp("drafts") / "i",
        documents,
        dtype,
        segments,
        tokens + 2,
        [deleted] if deleted else [],
    )
    oracle = NaiveIndex(
        [document for number, document in enumerate(documents) if number not in deleted], separator
    )
    with everygram.open(path) as index:
        for _ in range(12):
            context = rng.choices([*range(tokens + 1), separator], k=rng.randint(0, 9))
            if rng.random() < 0.7:
                document = rng.choice(documents)
                start = rng.randint(0, len(document))
                context = document[start : start + rng.randint(0, 9)]
            check(
                index,
                oracle,
                context,
                max_tokens=rng.choice([1, 3, 20]),
                min_token_prob=rng.choice([0, 0.05, 0.1, 0.34, 0.5, 1]),
                max_suffix=rng.choice([1, 4, 64]),
                max_factor=rng.choice([0.5, 1.0, 1.7, float("inf")]),
                lookback=rng.choice([0, 0, 3, 99]),
            )


@pytest.mark.parametrize("segments", [1, 3])
@pytest.mark.parametrize("least", [0, 0.001, 0.1, 0.3])
def test_large_intervals(tmp_path, segments, least):
    """Of which not every rank is read: flat and steep distributions, runs of every length."""
    rng = random.Random(segments)
    documents = []
    for number in range(8):
        # After the first token `number`: some of 200 tokens, by other weights each.
        weights = [(1 + token) ** -(number / 4) for token in range(200)]
        rng.shuffle(weights)
        documents += [[201 + number, *rng.choices(range(200), weights, k=2)] for _ in range(1_000)]
    documents += [[209, token] for token in range(200)]
    rng.shuffle(documents)
    oracle = NaiveIndex(documents, SEP)
    with everygram.open(write_index(tmp_path / "i", documents, "u8", segments, 220)) as index:
        for first in range(201, 210):
            check(index, oracle, [first], min_token_prob=least, max_factor=9)


def test_looking_back(tmp_path):
    documents = [[1, 2, 3], [4, 2, 3, 5]]
    oracle = NaiveIndex(documents, SEP)
    with everygram.open(write_index(tmp_path / "i", documents, "u8", 1, 20)) as index:
        # [2, 3] occurs in the index; in the context [8, 2, 3] does, which is longer.
        context = [8, 2, 3, 9, 10, 8, 2, 3]
        assert check(index, oracle, context).token_ids == [5]
        found = check(index, oracle, context, lookback=8)
        assert (found.suffix_len, found.token_ids, found.from_context) == (3, [9, 10, 8], True)
        assert (found.count, found.probs.tolist(), found.score) == (1, [1, 1, 1], 3)
        # Only so far back.
        assert check(index, oracle, context, lookback=7).from_context
        assert check(index, oracle, context, lookback=7).suffix_len == 2
        assert not check(index, oracle, context, lookback=3).from_context
        # As long as in the index: what followed last.
        context = [1, 2, 3, 6, 2, 3, 7, 2, 3]
        assert check(index, oracle, context, lookback=99).token_ids == [7, 2]
        # What repeats goes on repeating.
        context = [9, 9, 9, 9]
        found = check(index, oracle, context, lookback=99, max_factor=9)
        assert (found.suffix_len, found.token_ids) == (3, [9] * 8)
        # No separator is matched or drafted.
        assert check(index, oracle, [7, SEP, 7], lookback=99).token_ids == []
        assert check(index, oracle, [7, SEP, 9, 7, SEP], lookback=99).suffix_len == 1
        with pytest.raises(QueryError, match=r"context\[0\]: token id 21 is outside"):
            index.draft([21, 1, 1], max_suffix=1, lookback=3)
    with everygram.open(write_index(tmp_path / "none", [], "u8", 1, 20)) as index:
        assert index.draft([1, 2, 1], lookback=9).token_ids == [2]


def test_a_draft(text_index):
    draft = text_index.draft("xnatural language", max_factor=0.5, raw=True)
    assert draft.query.tolist() == [*b"xnatural language"]
    assert bytes(draft.token_ids) == b" models"
    assert "".join(draft.tokens) == " models"
    assert len(draft) == 7
    # It occurs three times: once " processing" follows, once " models", once the end.
    assert (draft.suffix_len, draft.count) == (len("natural language"), 3)
    assert draft.counts.tolist() == [2, 1, 1, 1, 1, 1, 1]
    assert draft.probs.tolist() == [2 / 3, *[1 / 3] * 6]
    assert draft.score == 8 / 3
    assert repr(draft) == ("Draft([' ', 'm', 'o', 'd', 'e', 'l', 's'], suffix_len=16, score=2.67)")
    assert draft.as_dict() == {
        "context_ids": [*b"xnatural language"],
        "suffix_len": 16,
        "count": 3,
        "from_context": False,
        "token_ids": [*b" models"],
        "tokens": [*" models"],
        "counts": [2, 1, 1, 1, 1, 1, 1],
        "probs": [2 / 3, *[1 / 3] * 6],
        "score": 8 / 3,
    }
    assert pickle.loads(pickle.dumps(draft)) == draft
    assert draft == text_index.draft([*b"xnatural language"])
    assert draft != text_index.draft([*b"ynatural language"])
    assert draft != text_index.draft([*b"xnatural language"], max_tokens=6)
    nothing = text_index.draft("\x01", raw=True)
    assert (nothing.token_ids, nothing.score, nothing.as_dict()["probs"]) == ([], 0.0, [])
    assert repr(nothing) == "Draft([], suffix_len=0, score=0)"


def test_a_context_is_any_query(text_index):
    expected = text_index.draft([*b"natural"])
    for context in ((*b"natural",), np.array([*b"natural"]), np.array([[*b"natural"]])):
        assert text_index.draft(context) == expected
    assert text_index.draft("natural") == text_index.draft(text_index.encode("natural"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_tokens": 0}, "max_tokens: expected 1 or more, found 0"),
        ({"max_tokens": 1025}, "max_tokens: expected 1 to 1,024, found 1025"),
        ({"max_suffix": 0}, "max_suffix: expected 1 or more, found 0"),
        ({"lookback": -1}, "lookback: expected 0 or more, found -1"),
        ({"max_factor": -0.1}, r"max_factor: expected 0 or more, found -0\.1"),
        ({"max_factor": "1"}, "max_factor: expected a number, found '1'"),
        ({"min_token_prob": 1.1}, r"min_token_prob: expected 0 to 1, found 1\.1"),
        ({"min_token_prob": float("nan")}, "min_token_prob: expected a number, found nan"),
    ],
)
def test_wrong_options(text_index, options, said):
    with pytest.raises(QueryError, match=said):
        text_index.draft("a", **options)


def test_a_damaged_index(tmp_path, monkeypatch):
    """Of which a suffix was found that a second search does not find."""
    with everygram.open(write_index(tmp_path / "i", [[1, 2]], "u8", 1, 9)) as index:
        monkeypatch.setattr(index.engine, "_draft", lambda *_: (2, 0, 0, 0))
        with pytest.raises(DamagedIndexError, match="a suffix that occurs nowhere"):
            index.draft([1, 2])
