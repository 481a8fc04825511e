"""Modified Kneser-Ney against KenLM's numbers, and where orders, levels and repeats get large."""

import itertools
import math
import random

import kenlm_numbers
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kenlm_numbers import END, START, UNKNOWN
from lm_models import check, check_log_probs, lowered_limits, oracle, prepared

import everygram
from campaign import sized
from everygram.kernels import kneser_ney as kernels
from everygram.lm import kneser_ney

KNESER_NEY = {"smoothing": "modified-kneser-ney"}
ORDERS = [*range(1, 9), None]


@pytest.fixture(scope="module")
def kenlm_index(tmp_path_factory):
    path = tmp_path_factory.mktemp("kenlm") / "index"
    with prepared(path, kenlm_numbers.documents(), "u16", 50257) as index:
        yield index


@pytest.mark.parametrize("order", [2, 3, 5])
def test_it_says_what_kenlm_says(kenlm_index, order):
    model = kenlm_index.language_model(order=order)
    counts = np.zeros(50257, bool)
    counts[list(set(itertools.chain(*kenlm_numbers.documents())))] = True
    unseen = np.flatnonzero(~counts)
    specials = {START: 65535, END: 65535, UNKNOWN: int(unseen[0])}
    ngrams = kenlm_numbers.ngrams()[order]
    texts = [[specials.get(token, token) for token in ngram.tokens] for ngram in ngrams]
    found = np.array([probs[-1] for probs in model.log_probs_batch(texts)]) / math.log(10)
    found += [math.log10(unseen.size) if ngram.tokens[-1] == UNKNOWN else 0 for ngram in ngrams]
    np.testing.assert_allclose(found, [ngram.log10_prob for ngram in ngrams], rtol=0, atol=1e-6)

    # What a context leaves to the shorter one is the ratio of a token's that never follows it.
    longer = [
        (ngram, text)
        for ngram, text in zip(ngrams, texts, strict=True)
        if ngram.log10_backoff is not None and ngram.tokens[-1] not in (END, UNKNOWN)
    ]
    never = specials[UNKNOWN]
    after = model.log_probs_batch([[*text, never] for _, text in longer])
    shorter = model.log_probs_batch([[*text[1:], never] for _, text in longer])
    backoffs = [one[-1] - other[-1] for one, other in zip(after, shorter, strict=True)]
    expected = [ngram.log10_backoff for ngram, _ in longer]
    np.testing.assert_allclose(np.array(backoffs) / math.log(10), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("order", [1, 2, 5, 8, None])
def test_a_large_vocabulary_sums_to_1(kenlm_index, order):
    model = kenlm_index.language_model(order=order)
    documents = kenlm_numbers.documents()
    for prompt in ([], [65535], [1279, 2954], documents[7][:40], [65535, *documents[9][:20]], [3]):
        distribution = model.distribution(prompt)
        assert abs(distribution.sum() - 1) < 1e-9
        assert distribution.min() > 0
        tokens = [0, 262, 1279, 50256]
        log_probs = [model.log_probs([*prompt, token])[-1] for token in tokens]
        np.testing.assert_allclose(np.log(distribution[tokens]), log_probs, rtol=1e-10)


def test_it_misfiles_an_ngram_as_kenlm_does(tmp_path):
    documents, ids = kenlm_numbers.sentences()
    with prepared(tmp_path / "index", documents, vocab_size=len(ids) + 1) as index:
        model = index.language_model(order=2, kenlm_compat=True)
        for word, (prob, _) in kenlm_numbers.UNIGRAMS.items():
            token = {UNKNOWN: len(ids), END: 255}.get(word, ids.get(word))
            assert math.log10(model.prob([], token)) == pytest.approx(prob, abs=1e-6)
        for bigram, prob in kenlm_numbers.BIGRAMS.items():
            tokens = [ids.get(word, 255) for word in bigram.split()]
            assert math.log10(model.prob(tokens)) == pytest.approx(prob, abs=1e-6)
        right = index.language_model(order=2)
        assert math.log10(right.prob([], 255)) == pytest.approx(-1.028029, abs=1e-6)


def skewed(seed, documents=40, longest=20, vocabulary=12):
    """Documents in which a few tokens stand often and some once, with stretches that repeat."""
    rng = random.Random(seed)
    weights = [1 / (rank + 1) ** 1.3 for rank in range(vocabulary)]
    phrases = [rng.choices(range(vocabulary), weights, k=rng.randint(2, 6)) for _ in range(9)]
    found = []
    for _ in range(documents):
        parts = [
            rng.choice(phrases) if rng.random() < 0.4 else rng.choices(range(vocabulary), weights)
            for _ in range(rng.randint(0, longest // 2))
        ]
        found.append(list(itertools.chain(*parts))[:longest])
    return found


def some_prompts(documents, separator, seed, number=12):
    """Pieces of documents, some from their start, some with another token in them."""
    rng = random.Random(seed)
    found = []
    for _ in range(number):
        document = rng.choice(documents)
        start = rng.choice([0, rng.randint(0, len(document))])
        piece = document[start : start + rng.randint(0, 12)]
        if rng.random() < 0.3:
            piece.insert(rng.randint(0, len(piece)), rng.randint(0, 11))
        found.append([separator, *piece] if rng.random() < 0.4 else piece)
    return found


@pytest.mark.parametrize("seed", range(sized(3, 100)))
def test_levels_with_and_without_discounts_of_their_own(tmp_path, seed):
    documents = skewed(seed, vocabulary=12 + 40 * (seed % 3))
    prompts = some_prompts(documents, 255, seed)
    low, path = lowered_limits(seed % 2 == 0), tmp_path / "index"
    with low, prepared(path, documents, vocab_size=100) as index:
        for order, compat in [*((order, False) for order in ORDERS), (3, True), (5, True)]:
            options = {**KNESER_NEY, "order": order, "kenlm_compat": compat}
            if order is None:
                valid = oracle(index, documents, options).valid
                assert {True, False} <= set(valid[1:])
            check(index, documents, options, prompts, prompts)


@pytest.mark.parametrize("order", [3, None])
def test_a_long_text(tmp_path, order):
    """Longer than what a thread takes at a time, with documents that cross the bounds."""
    documents, options = skewed(9), {**KNESER_NEY, "order": order}
    rng = random.Random(order)
    text = list(itertools.chain(*rng.choices(documents, k=1000)))
    for place in rng.sample(range(len(text)), 30):
        text[place] = 255
    assert len(text) > 9000
    with prepared(tmp_path / "index", documents, vocab_size=13) as index:
        naive = oracle(index, documents, options)
        found = index.language_model(**options).log_probs(text, document_start=True)
    expected, start = [], 0
    for end in [*(place for place, token in enumerate(text) if token == 255), len(text)]:
        expected += naive.log_probs(text[start : end + 1], document_start=True)
        start = end + 1
    check_log_probs(found, expected)


# The last new token stands three times after the same one: one left token, with lmplz's mistake as
# if there were three.
LAST_NEW = [*skewed(5, documents=60, vocabulary=60), [0, 60], [1, 0, 60], [0, 60, 3]]
COMPAT = {
    "the last new token": LAST_NEW,
    # Of higher levels than the second none is misfiled.
    "the last new token is a document": [*skewed(6), [12], [12], [12, 12, 0]],
    "nothing new in the last documents": [*skewed(7), [0, 1, 2], []],
    "ends of documents": [[], [], []],
    "one token": [[0, 0, 0, 0], [0, 0]],
}


@pytest.mark.parametrize("name", COMPAT)
def test_the_ngrams_that_kenlm_misfiles(tmp_path, name):
    documents = COMPAT[name]
    prompts = some_prompts(documents, 255, 1, 6)
    with prepared(tmp_path / "index", documents, vocab_size=62) as index:
        for order in range(1, 7):
            options = {**KNESER_NEY, "order": order, "kenlm_compat": True}
            check(index, documents, options, prompts, prompts)


def test_a_misfiled_ngram_changes_its_level(tmp_path):
    with prepared(tmp_path / "index", LAST_NEW, vocab_size=62) as index:
        for order in (2, 3):
            plain = index.language_model(order=order).distribution([])
            compat = index.language_model(order=order, kenlm_compat=True).distribution([])
            assert np.abs(plain / compat - 1).max() > 1e-3
        # Raw counts are not wrong.
        plain = index.language_model(order=1).distribution([])
        compat = index.language_model(order=1, kenlm_compat=True).distribution([])
        np.testing.assert_array_equal(plain, compat)


@settings(max_examples=sized(15, 1000), deadline=None)
@given(st.integers(0, 10**6))
def test_no_order_is_an_order_that_no_context_reaches(tmp_path_factory, seed):
    documents = skewed(seed, documents=12, longest=40, vocabulary=6)
    documents += documents[:3]
    path = tmp_path_factory.mktemp("lm") / "index"
    fallback = (0.5, 1, 1.5)
    prompts = some_prompts(documents, 255, seed)
    longest = max(map(len, prompts))
    with prepared(path, documents, vocab_size=13) as index:
        unbounded = index.language_model(discount_fallback=fallback)
        # The context is of at most order - 1 tokens: at the highest order it would be used.
        for order in (longest + 2, longest + 9, 1000):
            ordered = index.language_model(order=order, discount_fallback=fallback)
            for prompt in prompts:
                np.testing.assert_allclose(
                    unbounded.distribution(prompt), ordered.distribution(prompt), rtol=1e-9
                )
                np.testing.assert_allclose(
                    unbounded.log_probs(prompt), ordered.log_probs(prompt), rtol=1e-9, atol=1e-12
                )


def test_an_order_that_no_text_reaches_costs_nothing(tmp_path):
    with prepared(tmp_path / "index", skewed(2), vocab_size=13) as index:
        expected = index.language_model(order=1000).distribution([1, 2, 3])
        found = index.language_model(order=10**12).distribution([1, 2, 3])
        np.testing.assert_array_equal(found, expected)


X, Y, Z, W = (random.Random(seed).choices(range(8), k=270) for seed in range(4))
REPEATS = {
    "a run": [[1] * 400],
    "runs": [[1] * 300, [1] * 299, [2, *[1] * 301], [*[1] * 280, 2]],
    "a document 50 times": [X[:60]] * 50,
    "a document 50 times and others": [*[X[:60]] * 50, X[10:40], [5, *X[20:60], 5], X[:59]],
    "a stretch between others": [
        [left, *X, right] for left, right in [(1, 5), (2, 6), (1, 7), (3, 5), (3, 5), (4, 6)]
    ],
    # At every depth up to 270 there are n-grams of one, of two and of three left tokens.
    "levels deeper than 256": [X, Y, [2, *Y], Z, [2, *Z, 7], [1, *W], [2, *W], [3, *W, 5]],
}


@pytest.mark.parametrize("name", REPEATS)
def test_long_repeats(tmp_path, name):
    documents = REPEATS[name]
    first, last = documents[0], documents[-1]
    prompts = [
        [255, *first[:-1]],
        first[-256:-1],
        [3, *first[1:-1]],
        [2, *[1] * 290],
        last[1:-1],
        [*X[100:200], 3],
    ]
    texts = [first[:300], [*last[1:], 255, *first[:9]]]
    with prepared(tmp_path / "index", documents, vocab_size=9) as index:
        deep = oracle(index, documents, {**KNESER_NEY, "order": None})
        if name == "levels deeper than 256":
            assert all(deep.valid[2:270])
        for order in (4, 257, None):
            check(index, documents, {**KNESER_NEY, "order": order}, prompts, texts)


# Every part of a long context occurs another number of times.
PERIODS = {
    "runs of one token": [[0] * 180, [1, *[0] * 120, 1], [2, 0]],
    "periods of three": [[0, 1, 2] * 60, [3, *[1, 2, 0] * 50], [1, 0, 2]],
    "periods with gaps": [[*[0, 1] * 75, 2, *[0, 1] * 45], [1, *[0, 1] * 80, 2, 1]],
}


@pytest.mark.parametrize("chunk", [1, 50, 4096])
@pytest.mark.parametrize("name", PERIODS)
def test_texts_that_repeat_themselves(tmp_path, monkeypatch, name, chunk):
    monkeypatch.setattr("everygram.lm.kneser_ney.CHUNK", chunk)
    documents = PERIODS[name]
    first, second = documents[:2]
    prompts = [first[:-1], [255, *first[:100]], second[:-1], [2, *second[1:-1]]]
    texts = [
        [*first, *first[:90]],
        [*second, 255, *second, 255],
        [*first[:100], 3, *first[:100], 3, *first[1:100], 2],
    ]
    with prepared(tmp_path / "index", documents, vocab_size=5) as index:
        for order in (80, None):
            check(index, documents, {**KNESER_NEY, "order": order}, prompts, texts)


@pytest.mark.parametrize("width", ["u8", "u16", "u32"])
def test_what_is_compiled_in_advance_is_what_runs(tmp_path, monkeypatch, width):
    """(A service does so before an index is prepared.)"""
    from numba import typeof

    names = ("log_probabilities", "distribution", "unigram_counts")
    ahead, run = {}, {name: set() for name in names}
    with monkeypatch.context() as patch:
        patch.setattr(kneser_ney, "entry", lambda kernel, *like: ahead.update({kernel: [*like]}))
        with prepared(tmp_path / "index", [[1, 2, 1, 3, 2], [1, 2, 2]], width, 200) as index:
            index.warm_up()
    expected = {name: tuple(map(typeof, ahead[getattr(kernels, name)])) for name in names}

    def noted(name):
        kernel = getattr(kernels, name)

        def call(*given):
            run[name].add(tuple(map(typeof, given)))
            return kernel(*given)

        return call

    for name in names:
        monkeypatch.setattr(kneser_ney.kernels, name, noted(name))
    with everygram.open(tmp_path / "index") as index:
        for order, compat in ((None, False), (1, False), (3, False), (3, True)):
            model = index.language_model(order=order, kenlm_compat=compat)
            model.log_probs([1, 2, 3])
            model.prob([1, 2], 1)
            model.log_probs_batch([[1, 2], [3]], document_start=True)
            model.sample([1], max_tokens=3, seed=0)
            model.sample_batch([[1], [2, 1]], max_tokens=3, seed=0)
    assert run == {name: {types} for name, types in expected.items()}
