"""The oracle of language models against numbers that are not ours."""

import itertools
import math

import kenlm_numbers
import pytest
from kenlm_numbers import END, START, UNKNOWN

from naive_lm import NaiveInfgram, NaiveInfgramFloor, NaiveKneserNey, NaiveStupidBackoff

SEP = 255
DOCUMENTS = [[1, 2, 3], [1, 2], [], [3, 1, 2, 2]]


@pytest.mark.parametrize("order", [2, 3, 5])
def test_it_says_what_kenlm_says(order):
    naive = NaiveKneserNey(kenlm_numbers.documents(), 65535, 50257, order)
    unseen = 50257 - len(naive.seen)
    token = next(token for token in range(50257) if token not in naive.seen)
    numbers = kenlm_numbers.ngrams()[order]
    assert len(numbers) > 500
    for ngram in numbers:
        *context, last = ngram.tokens
        shares = unseen if last == UNKNOWN else 1
        prob = naive.of(token if last == UNKNOWN else last, tuple(context)) * shares
        assert math.log10(prob) == pytest.approx(ngram.log10_prob, abs=1e-6)
        if ngram.log10_backoff is not None:
            backoff = math.log10(naive.backoff(ngram.tokens))
            assert backoff == pytest.approx(ngram.log10_backoff, abs=1e-6)


def test_it_misfiles_an_ngram_as_kenlm_does():
    documents, ids = kenlm_numbers.sentences()
    naive = NaiveKneserNey(documents, SEP, len(ids) + 1, 2, kenlm=True)
    for word, (prob, backoff) in kenlm_numbers.UNIGRAMS.items():
        token = len(ids) if word == UNKNOWN else ids.get(word, word)
        assert math.log10(naive.of(token, ())) == pytest.approx(prob, abs=1e-6)
        assert math.log10(naive.backoff((token,))) == pytest.approx(backoff, abs=1e-6)
    for bigram, prob in kenlm_numbers.BIGRAMS.items():
        before, token = (ids.get(word, word) for word in bigram.split())
        assert math.log10(naive.of(token, (before,))) == pytest.approx(prob, abs=1e-6)
    right = NaiveKneserNey(documents, SEP, len(ids) + 1, 2)
    assert math.log10(right.of(END, ())) == pytest.approx(-1.028029, abs=1e-6)


def test_kneser_ney_by_hand():
    naive = NaiveKneserNey(DOCUMENTS, SEP, 5, 2)
    # Left of 1: the start, 3; of 2: 1, 2; of 3: the start, 2; of the end: 3, 2, the start.
    assert naive.levels[0] == {(1,): 2, (2,): 2, (3,): 2, (END,): 3}
    assert naive.levels[1][1, 2] == 3
    assert naive.levels[1][START, 1] == 2
    # No unigram has one left token: the discounts are the fallback's.
    assert naive.discounts[0] == (0.5, 1, 1.5)
    # Five types with the unknown one: 3 + 1 + 1.
    left = (1 + 1 + 1 + 1.5) / 9
    assert naive.of(1, ()) == pytest.approx((2 - 1) / 9 + left / 5)
    # Two ids do not occur and share what is the unknown one's.
    assert naive.of(0, ()) == naive.of(4, ()) == pytest.approx(left / 5 / 2)
    # 1 is followed by 2 alone, three times. Bigrams: five stand once (2 3, 3 1, 3 and end, ...).
    assert sorted(naive.levels[1].values()) == [1, 1, 1, 1, 1, 1, 2, 2, 3]
    y = 6 / (6 + 2 * 2)
    assert naive.discounts[1] == pytest.approx((1 - 2 * y * 2 / 6, 2 - 3 * y * 1 / 2, 3))
    assert naive.of(2, (1,)) == pytest.approx(0 + 1 * naive.of(2, ()))


def test_counts_by_hand():
    backoff = NaiveStupidBackoff(DOCUMENTS, SEP, 5, 3)
    assert backoff.prob([3, 1], 2) == pytest.approx(1)
    assert backoff.prob([2, 1], 2) == pytest.approx(0.4)
    assert backoff.prob([SEP, 1], 3) == pytest.approx(0.4 * 0.4 * 2 / 13)
    assert backoff.prob([4, 4, 4], 3) == pytest.approx(0.4 * 0.4 * 2 / 13)
    assert backoff.prob([], SEP) == pytest.approx(4 / 13)
    assert backoff.prob([], 4) == pytest.approx(0)
    unbounded = NaiveStupidBackoff(DOCUMENTS, SEP, 5)
    assert unbounded.prob([4, 4, 4], 3) == pytest.approx(2 / 13)
    assert unbounded.prob([3, 4, 1], 3) == pytest.approx(0.4 * 2 / 13)
    infgram = NaiveInfgram(DOCUMENTS, SEP, 5)
    assert infgram.prob([4, 1, 2], SEP) == pytest.approx(1 / 3)
    assert infgram.prob([4, 1, 2], 1) == pytest.approx(0)
    assert infgram.prob([2, SEP], SEP) == pytest.approx(1 / 4)
    assert NaiveInfgram(DOCUMENTS, SEP, 5, 2).prob([1, 2], SEP) == pytest.approx(2 / 4)
    floor = NaiveInfgramFloor(DOCUMENTS, SEP, 5, weights=(0.9, 0.5))
    assert floor.prob([1, 2], SEP) == pytest.approx(0.5 / 3 + 0.5 * 5 / 19)
    assert floor.prob([1], 2) == pytest.approx(0.9 + 0.1 * 5 / 19)


@pytest.mark.parametrize("order", [*range(1, 9), None])
@pytest.mark.parametrize("vocab_size", [4, 6])
def test_probabilities_sum_to_1(order, vocab_size):
    documents = [*DOCUMENTS, [0, 1, 2, 3], [1, 2, 2, 2, 2]]
    models = [
        NaiveKneserNey(documents, SEP, vocab_size, order),
        NaiveKneserNey(documents, SEP, vocab_size, order, (0.1, 2, 0)),
        NaiveKneserNey(documents, SEP, vocab_size, order, kenlm=True),
        NaiveInfgram(documents, SEP, vocab_size, order),
        NaiveInfgramFloor(documents, SEP, vocab_size, order, (0.9, 0.3)),
    ]
    prompts = [
        prompt for length in range(4) for prompt in itertools.product([1, 2, 3, SEP], repeat=length)
    ]
    for model, prompt in itertools.product(models, prompts):
        assert math.fsum(model.distribution(prompt)) == pytest.approx(1, abs=1e-12)


def test_no_documents_say_nothing():
    assert NaiveKneserNey([], SEP, 3, 2).distribution([1]) == [1 / 4] * 4
    assert NaiveKneserNey([], SEP, 3).distribution([]) == [1 / 4] * 4
