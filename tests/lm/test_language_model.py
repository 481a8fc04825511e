"""Language models of an index against dictionaries of n-grams."""

import itertools
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_models import MODELS, check, lowered_limits, of_counts, prepared

import everygram
from campaign import sized
from conftest import write_index
from everygram.errors import QueryError

pytestmark = pytest.mark.usefixtures("kinds")

SEP = {"u8": 255, "u16": 65535, "u32": 2**32 - 1}
VOCABULARY = 5
# The vocabulary is 0 to 4: 4 is in no document.
TOKENS = st.integers(0, 3)
DOCUMENT = st.builds(
    lambda tokens, times: (tokens * times)[:24],
    st.lists(TOKENS, max_size=8),
    st.sampled_from([1, 1, 2, 9]),
)
DOCUMENTS = st.builds(
    lambda documents, times: documents * times,
    st.lists(DOCUMENT, min_size=1, max_size=5),
    st.sampled_from([1, 1, 2, 4]),
)
DTYPES = st.sampled_from(["u8", "u8", "u16", "u32"])
# What a prompt or a text is made of: pieces of documents, and other tokens; -1 is the separator.
STRAY = st.lists(st.integers(-1, 4), max_size=6)


def tiny_corpora():
    """Up to three documents of up to two tokens, of two kinds."""
    tiny = [list(each) for length in range(3) for each in itertools.product([0, 1], repeat=length)]
    for number in range(1, 4):
        yield from map(list, itertools.combinations_with_replacement(tiny, number))


def every_prompt(tokens, longest):
    for length in range(longest + 1):
        yield from map(list, itertools.product(tokens, repeat=length))


CORPORA = list(tiny_corpora())


@pytest.mark.parametrize("place", range(0, len(CORPORA), sized(5, 1)))
def test_every_tiny_corpus(tmp_path, place):
    documents = CORPORA[place]
    prompts = list(every_prompt([0, 1, 255], 2))
    text = [0, 1, 1, 255, 0, 0, 255, 255, 1]
    # Of a vocabulary of 0 to 2 there is always one that no document has.
    low, path = lowered_limits(place % 3 == 0), tmp_path / "index"
    with low, prepared(path, documents, vocab_size=2 + place % 2) as index:
        for options in MODELS:
            check(index, documents, options, prompts, [text])


# Documents that are all of one kind: empty, one token; all of the vocabulary, none twice.
NAMED = {
    "an empty document": [[]],
    "empty documents": [[], [], []],
    "a token": [[2]],
    "a token and nothing": [[2], []],
    "the vocabulary": [[0, 1, 2, 3, 4]],
    "the vocabulary both ways": [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2]],
    "the same five times": [[1, 2, 3, 1, 2, 3]] * 5,
    "a run": [[1] * 40],
    "runs": [[1] * length for length in range(9)],
}


@pytest.mark.parametrize("name", NAMED)
def test_corpora_of_one_kind(tmp_path, name):
    prompts = [[], [255], [4], [1, 2], [255, 1, 2, 3], [1] * 45, [3, 255, 1], [255, 0]]
    with prepared(tmp_path / "index", NAMED[name], vocab_size=VOCABULARY) as index:
        for options in MODELS:
            check(index, NAMED[name], options, prompts, [*prompts, [1, 2, 255, 255, 1, 1, 255]])


def test_counts_of_nothing(tmp_path):
    path = write_index(tmp_path / "index", [], "u8", vocab_size=VOCABULARY)
    with everygram.open(path) as index:
        for options in filter(of_counts, MODELS):
            check(index, [], options, [[], [1], [255, 1]], [[1, 255, 2]])


def test_kneser_ney_of_nothing(tmp_path):
    with prepared(tmp_path / "index", [], vocab_size=VOCABULARY) as index:
        for options in MODELS:
            check(index, [], options, [[], [1], [255, 1]], [[1, 255, 2]])


@settings(max_examples=sized(25, 1000), deadline=None)
@given(DOCUMENTS, DTYPES, st.booleans(), st.data())
def test_random_corpora(tmp_path_factory, documents, dtype, low, data):
    places = st.sampled_from(documents).flatmap(
        lambda document: st.builds(
            lambda start, end: document[min(start, end) : max(start, end)],
            st.integers(0, len(document)),
            st.integers(0, len(document)),
        )
    )
    pieces = st.builds(lambda *parts: list(itertools.chain(*parts)), STRAY, places, places)
    drawn = data.draw(st.lists(pieces, min_size=1, max_size=4))
    prompts = [[SEP[dtype] if token < 0 else token for token in each] for each in drawn]
    models = data.draw(st.lists(st.sampled_from(MODELS), min_size=4, max_size=4))
    path = tmp_path_factory.mktemp("lm") / "index"
    with lowered_limits(low), prepared(path, documents, dtype, VOCABULARY) as index:
        for options in models:
            check(index, documents, options, prompts, prompts)


@settings(max_examples=sized(15, 1000), deadline=None)
@given(DOCUMENTS, st.integers(1, 3), st.data())
def test_counts_are_of_all_segments_without_deleted_documents(
    tmp_path_factory, documents, segments, data
):
    gone = data.draw(st.sets(st.sampled_from(range(len(documents)))))
    left = [each for number, each in enumerate(documents) if number not in gone]
    path = tmp_path_factory.mktemp("lm") / "index"
    deleted = [sorted(gone)]
    write_index(path, documents, "u8", segments, vocab_size=VOCABULARY, deleted=deleted)
    prompts = data.draw(st.lists(STRAY, min_size=1, max_size=3))
    prompts = [[255 if token < 0 else token for token in each] for each in prompts]
    with everygram.open(path) as index:
        for options in filter(of_counts, MODELS):
            check(index, left, options, prompts, prompts)


def test_counts_are_of_a_union(tmp_path):
    one, two = [[1, 2, 3], [1, 2]], [[1, 2, 3, 3], [], [2]]
    paths = [
        write_index(tmp_path / str(number), each, "u8", vocab_size=VOCABULARY)
        for number, each in enumerate([one, two])
    ]
    prompts = [[], [1], [1, 2], [2, 3], [255], [4, 3], [255, 1, 2]]
    with everygram.open(paths) as union:
        for options in filter(of_counts, MODELS):
            check(union, [*one, *two], options, prompts, [[1, 2, 3, 255, 2, 2]])


DOCUMENTS_OF_WORDS = [[1, 2, 3, 1, 2, 0], [1, 2, 3, 3], [], [0, 1, 2, 3, 1, 2]]


@pytest.fixture(scope="module")
def words(tmp_path_factory, kinds):
    path = tmp_path_factory.mktemp("lm") / "index"
    with prepared(path, DOCUMENTS_OF_WORDS, vocab_size=VOCABULARY) as index:
        yield index


@pytest.fixture(params=MODELS, ids=lambda options: "-".join(map(str, options.values())))
def model(words, request):
    return words.language_model(**request.param)


def test_a_model_says_what_it_is(words):
    model = words.language_model("modified-kneser-ney", order=3)
    assert (model.smoothing, model.order, model.vocab_size) == ("modified-kneser-ney", 3, 5)
    assert model.normalized
    assert "modified-kneser-ney" in repr(model)
    assert "3" in repr(model)
    assert words.language_model().smoothing == "modified-kneser-ney"
    assert words.language_model().order is None
    assert words.language_model("infgram").normalized
    assert words.language_model("infgram-floor").normalized
    assert not words.language_model("stupid-backoff").normalized


def test_all_ways_to_ask_agree(model):
    prompts = [[], [1], [1, 2], [3, 1, 2], [255], [255, 1, 2, 3], [4, 2], [2, 255, 0]]
    for prompt in prompts:
        distribution = model.distribution(prompt)
        for token in (*range(VOCABULARY), 255):
            prob = distribution[VOCABULARY if token == 255 else token]
            assert model.prob(prompt, token) == pytest.approx(prob, rel=1e-12)
            assert model.prob([*prompt, token]) == model.prob(prompt, token)
            assert type(model.prob(prompt, token)) is float
            log_prob = math.log(prob) if prob else -math.inf
            assert model.log_probs([*prompt, token])[-1] == pytest.approx(log_prob, abs=1e-12)
            if 255 not in prompt:
                at_start = model.distribution([255, *prompt])[min(token, VOCABULARY)]
                log_prob = math.log(at_start) if at_start else -math.inf
                found = model.log_probs([*prompt, token], document_start=True)
                assert found[-1] == pytest.approx(log_prob, abs=1e-12)


@pytest.mark.parametrize("document_start", [False, True])
def test_a_batch_is_its_texts(model, document_start):
    texts = [[1, 2, 3], [], [255], [0, 255, 1, 2, 4, 1], [1, 2, 3, 1, 2, 0, 255]]
    expected = [model.log_probs(text, document_start=document_start) for text in texts]
    packed = np.array(list(itertools.chain(*texts)))
    offsets = np.cumsum([0, *map(len, texts)])
    for found in (
        model.log_probs_batch(texts, document_start=document_start),
        model.log_probs_batch(packed, offsets, document_start=document_start),
    ):
        assert type(found) is list
        assert len(found) == len(texts)
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == np.float64
            np.testing.assert_array_equal(one, other)
    assert model.log_probs_batch([]) == []


def test_a_prompt_is_ids_of_any_kind(model):
    for prompt in ([1, 2], (1, 2), np.array([1, 2]), np.array([1, 2], np.uint8)):
        np.testing.assert_array_equal(model.distribution(prompt), model.distribution([1, 2]))
        assert model.prob(prompt, 3) == model.prob([1, 2], 3)
        np.testing.assert_array_equal(model.log_probs(prompt), model.log_probs([1, 2]))


def test_the_answer_is_the_callers(model):
    first = model.distribution([1])
    kept = first.copy()
    first[:] = 0
    np.testing.assert_array_equal(model.distribution([1]), kept)


def test_several_threads_ask_one_model(model):
    random = np.random.default_rng(3)
    texts = [random.integers(0, VOCABULARY, 30) for _ in range(24)]
    expected = [(model.log_probs(text), model.distribution(text[:6])) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        found = list(
            pool.map(lambda text: (model.log_probs(text), model.distribution(text[:6])), texts)
        )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def test_ids_outside_the_vocabulary_are_refused(model):
    for ask in (model.distribution, model.log_probs, model.prob):
        with pytest.raises(QueryError, match=r"token id 7 is outside the vocabulary"):
            ask([1, 7, 2])
    with pytest.raises(QueryError, match=r"token id 7 is outside the vocabulary"):
        model.prob([1], 7)
    with pytest.raises(QueryError, match=r"token id 7 is outside the vocabulary"):
        model.log_probs_batch([[1], [7]])
    with pytest.raises(QueryError, match="the query is empty"):
        model.prob([])
    with pytest.raises(QueryError, match="document_start: expected True or False"):
        model.log_probs([1], document_start=1)
