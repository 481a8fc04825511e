"""The kernel of drafts, on next tokens with few and with many runs, for every least count."""

import random

import numpy as np
import pytest

import everygram
from conftest import write_index
from everygram.kernels import drafts
from naive import NaiveIndex
from naive_drafts import naive_draft

SEP, FIRST, NUMBER = 255, 100, 60
# How many of NUMBER suffixes go on with each token.
RUNS = {
    "flat": [2] * 30,
    "falling": [20, 12, 9, 7, 5, 3, 2, 1, 1],
    "rising": [1, 1, 2, 3, 5, 7, 9, 12, 20],
    "one": [60],
    "two": [30, 30],
    "a long run between short ones": [*[1] * 17, 26, *[1] * 17],
    "the same in the middle": [3, 9, 9, 9, 3, 9, 9, 9],
}


@pytest.mark.parametrize("segments", [1, 2, 5])
@pytest.mark.parametrize("kind", RUNS)
def test_the_most_frequent_token_for_every_least_count(tmp_path, kind, segments):
    rng = random.Random(kind)
    followers = [token for token, count in enumerate(RUNS[kind]) for _ in range(count)]
    assert len(followers) == NUMBER
    # The tokens after these run, too.
    documents = [[FIRST, token, rng.choice([1, 1, 2, 3])] for token in followers]
    rng.shuffle(documents)
    oracle = NaiveIndex(documents, SEP)
    with everygram.open(write_index(tmp_path / "index", documents, "u8", segments, 254)) as index:
        rows, separator = index.engine._rows, index.engine.vocabulary.separator
        for size in (1, 3):
            for least in range(NUMBER + 1):
                share = least / NUMBER
                expected = naive_draft(oracle, [FIRST], size, share, 64, float("inf"))
                table = np.zeros((2, size), np.int64)
                given = bytes([FIRST]), separator, False, -1, 64, 0, float("inf"), share, table
                length, count, k, own = drafts.draft(rows, *given)
                found = [(int(token), int(number)) for token, number in table[:, :k].T]
                assert (length, count, found, bool(own)) == expected, least
                assert not table[:, k:].any()


@pytest.mark.parametrize("probes", [1, 2, 3, 16, 100])
@pytest.mark.parametrize("closer", [2, 8])
def test_whatever_is_read_first(tmp_path, monkeypatch, probes, closer):
    """(Compiled code keeps the numbers that it was compiled with: then this tests them again.)"""
    monkeypatch.setattr(drafts, "PROBES", probes)
    monkeypatch.setattr(drafts, "CLOSER", closer)
    rng = random.Random(probes)
    documents = [[FIRST, *rng.choices(range(12), range(12), k=2)] for _ in range(100)]
    oracle = NaiveIndex(documents, SEP)
    with everygram.open(write_index(tmp_path / "index", documents, "u8", 2, 254)) as index:
        for least in (0, 0.01, 0.2):
            draft = index.draft([FIRST], min_token_prob=least, max_factor=9)
            pairs = list(zip(draft.token_ids, draft.counts.tolist(), strict=True))
            expected = naive_draft(oracle, [FIRST], min_token_prob=least, max_factor=9)
            assert (draft.suffix_len, draft.count, pairs, False) == expected
