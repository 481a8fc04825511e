"""Samples have the frequencies of the distributions they are drawn from, and are reproducible."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import everygram
from conftest import write_index
from everygram.errors import EverygramError, OptionError, QueryError
from everygram.lm import sampling
from everygram.lm.sampling import SamplingOptions, choose, possible, sample, sample_batch
from everygram.results.base import Value
from everygram.results.samples import Sample
from test_errors import GOOD, check

pytestmark = pytest.mark.usefixtures("kinds")

OPTIONS = st.tuples(
    st.sampled_from([0.25, 0.7, 1.0, 2.0]),
    st.none() | st.integers(1, 12),
    st.none() | st.floats(0.01, 1),
)
# Multiples of 1/8, so that sums are exact, and entries are often equal.
WEIGHTS = st.lists(st.integers(0, 4), min_size=1, max_size=10).filter(any)


def allowed(distribution, temperature, top_k, top_p):
    """{entry: its probability} by the definition, one step after another."""
    weights = {place: p ** (1 / temperature) for place, p in enumerate(distribution) if p > 0}
    order = sorted(weights, key=lambda place: (-distribution[place], place))[:top_k]
    whole, kept, before = sum(weights[place] for place in order), [], 0.0
    for place in order:
        if top_p is not None and before >= top_p * whole * (1 - 1e-12):
            break
        kept.append(place)
        before += weights[place]
    return {place: weights[place] / before for place in kept}


def unlikely(counts, probs):
    """Whether counts differ from what is expected, as they do one time in a million by chance.

    By chi-squared, whose quantiles are those of Wilson and Hilferty (1931).
    """
    assert counts[probs == 0].sum() == 0
    counts, expected = counts[probs > 0], probs[probs > 0] * counts.sum()
    few = expected < 5
    counts = np.append(counts[~few], counts[few].sum())
    expected = np.append(expected[~few], expected[few].sum())
    counts, expected = counts[expected > 0], expected[expected > 0]
    freedom = len(counts) - 1
    if freedom == 0:
        return False
    found = ((counts - expected) ** 2 / expected).sum()
    return found > freedom * (1 - 2 / (9 * freedom) + 4.75 * math.sqrt(2 / (9 * freedom))) ** 3


def counted(drawn, size):
    return np.bincount(drawn, minlength=size)


@settings(max_examples=400)
@given(WEIGHTS, OPTIONS)
def test_what_can_be_drawn_is_what_the_options_say(weights, options):
    distribution = np.array(weights) / 8
    places, found = possible(distribution, *options)
    places = range(len(weights)) if places is None else places.tolist()
    total = found.sum()
    found = {place: weight / total for place, weight in zip(places, found, strict=True) if weight}
    assert found == pytest.approx(allowed(distribution.tolist(), *options))


@pytest.mark.parametrize("look", [1, 2, 7])
def test_the_likely_ones_may_be_looked_for_in_parts(monkeypatch, look):
    monkeypatch.setattr(sampling, "FEW", look)
    monkeypatch.setattr(sampling, "MORE", 2)
    distribution = np.random.default_rng(1).random(500).round(2)
    for options in [(1.0, None, 0.3), (1.0, None, 1.0), (0.5, 90, 0.99), (2.0, 500, 0.7)]:
        places, weights = possible(distribution, *options)
        expected = allowed(distribution.tolist(), *options)
        assert [place for place, weight in zip(places, weights, strict=True) if weight] == [
            *expected
        ]


@pytest.mark.parametrize(
    "options",
    [(1.0, None, None), (0.5, None, None), (3.0, 4, None), (1.0, None, 0.7), (0.8, 5, 0.9)],
)
def test_frequencies_are_the_probabilities(options):
    distribution = np.array([0.05, 0.3, 0, 0.3, 0.2, 0.05, 0.1, 0])
    stream = np.random.default_rng(3)
    counts = counted([choose(distribution, *options, stream) for _ in range(20_000)], 8)
    probs = np.zeros(8)
    for place, prob in allowed(distribution.tolist(), *options).items():
        probs[place] = prob
    assert not unlikely(counts, probs)
    # (And the test can tell.)
    assert unlikely(counts, np.where(probs > 0, 1 / (probs > 0).sum(), 0))


def test_scores_need_not_sum_to_1():
    scores = np.array([6.0, 0, 3, 1])
    stream = np.random.default_rng(0)
    counts = counted([choose(scores, 1.0, None, None, stream) for _ in range(10_000)], 4)
    assert not unlikely(counts, scores / 10)


def test_greedy_takes_the_most_likely_and_of_equals_the_lowest():
    assert choose(np.array([0.1, 0.4, 0.4, 0.1]), 0, None, None, None) == 1
    assert choose(np.array([0.1, 0.2, 0.7]), 0, 1, 0.1, None) == 2


def test_of_equals_the_lowest_ids_can_be_drawn():
    places, _ = possible(np.full(1000, 0.001), 1.0, 3, None)
    assert places.tolist() == [0, 1, 2]
    places, _ = possible(np.full(1000, 0.001), 1.0, None, 0.0025)
    assert places.tolist() == [0, 1, 2]


class Highest:
    """A stream of the largest number there is below 1."""

    def random(self):
        return np.nextafter(1, 0)


def test_rounding_never_draws_what_is_impossible():
    for scale in (1, 1e-300, 0.1, 1 / 3):
        distribution = np.array([1, 1e-20, 2, 0, 0]) * scale
        assert choose(distribution, 1.0, None, None, Highest()) == 2
    assert choose(np.array([0, 0.3, 0, 0]), 1.0, None, 1.0, Highest()) == 1
    # A temperature near 0 is as good as 0.
    assert choose(np.array([0.1, 0.5, 0.4]), 1e-300, None, None, Highest()) == 1


def test_nothing_to_draw_is_an_error():
    for temperature in (0, 1):
        with pytest.raises(QueryError, match="found probability 0 of all"):
            choose(np.zeros(3), temperature, None, None, Highest())


WRONG = [
    ("max_tokens", (-1, 1.5, None, "9", True), "expected 0 or more"),
    ("temperature", (-0.1, float("nan"), float("inf"), "1", None, True), "expected"),
    ("top_k", (0, -1, 1.5, "9"), "expected 1 or more"),
    ("top_p", (0, -0.1, 1.01, float("nan"), "x"), "expected"),
    ("max_context", (-1, 2.5, "9"), "expected 0 or more"),
    ("seed", (1.5, "9", True), "expected an integer"),
]


@pytest.mark.parametrize(("name", "values", "said"), WRONG, ids=[each[0] for each in WRONG])
def test_options_that_make_no_sense_are_refused(name, values, said):
    for value in values:
        with pytest.raises(OptionError, match=f"^{name}: {said}"):
            SamplingOptions.checked(**{name: value})


def options_of(**given):
    return SamplingOptions.checked(**given)


def chain(context):
    """Four letters and the end: the next depends on the last one; 0 ends the document at times."""
    if context.shape[0] == 0:
        return np.array([0.25, 0.25, 0.25, 0.25, 0])
    table = np.array(
        [
            [0.1, 0.5, 0.2, 0, 0.2],
            [0.25, 0.25, 0.25, 0.25, 0],
            [0, 0, 0, 1, 0],
            [0.6, 0.1, 0.1, 0.2, 0],
        ]
    )
    return table[context[-1]]


def test_each_token_is_drawn_after_those_before_it():
    drawn = sample_batch(chain, [np.array([0])] * 4000, options_of(max_tokens=3, seed=7))
    texts = [(*each.ids.tolist(), *[4] * (each.finished == "document_end")) for each in drawn]
    probs = {}
    for a in range(5):
        for b in range(5) if a < 4 else [None]:
            for c in range(5) if a < 4 and b < 4 else [None]:
                text = tuple(each for each in (a, b, c) if each is not None)
                before = [0, *text]
                probs[text] = math.prod(
                    chain(np.array(before[: i + 1]))[each] for i, each in enumerate(text)
                )
    assert sum(probs.values()) == pytest.approx(1)
    numbers = {text: number for number, text in enumerate(probs)}
    counts = counted([numbers[text] for text in texts], len(numbers))
    assert not unlikely(counts, np.array([*probs.values()]))


def test_a_sample_ends_with_the_document_or_with_max_tokens():
    for each in sample_batch(chain, [np.array([3])] * 200, options_of(max_tokens=9, seed=1)):
        before = [3, *each.ids]
        events = [*each.ids, *[4] * (each.finished == "document_end")]
        assert len(each.ids) <= 9
        assert each.finished == "document_end" or len(each.ids) == 9
        assert 4 not in each.ids
        expected = [math.log(chain(np.array(before[: i + 1]))[e]) for i, e in enumerate(events)]
        assert each.log_probs.tolist() == pytest.approx(expected)


def test_no_tokens_are_drawn_of_none_wanted():
    drawn = sample(chain, np.array([1]), options_of(max_tokens=0))
    assert (drawn.ids.shape, drawn.log_probs.shape, drawn.finished) == ((0,), (0,), "max_tokens")


def test_long_samples():
    drawn = sample(
        lambda context: np.array([0.5, 0.5, 0]), np.array([0]), options_of(max_tokens=1000)
    )
    assert drawn.ids.shape == drawn.log_probs.shape == (1000,)
    assert {*drawn.ids.tolist()} == {0, 1}


@pytest.mark.parametrize("bound", [None, 0, 1, 3, 100])
def test_the_model_sees_no_more_than_max_context(bound):
    seen = []

    def model(context):
        seen.append(context.tolist())
        return np.array([0.0, 1, 0])

    prompt = [65535, 7, 8]  # a separator counts as a token
    sample(model, np.array(prompt), options_of(max_tokens=3, max_context=bound))
    whole = [*prompt, 1, 1]
    expected = [whole[: len(prompt) + i] for i in range(3)]
    if bound is not None:
        expected = [each[len(each) - min(bound, len(each)) :] for each in expected]
    assert seen == expected


def test_a_sample_is_the_same_alone_and_in_any_batch():
    prompts = [np.array([number % 4]) for number in range(40)]
    options = options_of(max_tokens=20, seed=5)
    whole = sample_batch(chain, prompts, options)
    for threads in (1, 2, 7):
        again = sample_batch(chain, prompts, options, threads)
        assert [each.ids.tolist() for each in again] == [each.ids.tolist() for each in whole]
    for number, prompt in enumerate(prompts):
        assert sample(chain, prompt, options, number).ids.tolist() == whole[number].ids.tolist()
    part = sample_batch(chain, prompts[:3], options)
    assert [each.ids.tolist() for each in part] == [each.ids.tolist() for each in whole[:3]]


def test_every_seed_draws_something_else():
    def endless(context):  # (Short texts are drawn twice now and then.)
        return np.array([0.25, 0.25, 0.25, 0.25, 0])

    def drawn(seed):
        return sample(endless, np.array([1]), options_of(max_tokens=40, seed=seed)).ids.tolist()

    seeds = [0, 1, -1, 2**32, 2**64, 2**200, -(2**200), np.int64(5), None, None]
    texts = [tuple(drawn(seed)) for seed in seeds]
    assert len({*texts}) == len(seeds)
    assert [tuple(drawn(seed)) for seed in seeds[:-2]] == texts[:-2]
    assert drawn(np.uint8(5)) == drawn(5)


def test_no_prompts_no_samples():
    assert sample_batch(chain, [], options_of()) == []


@pytest.fixture(scope="module")
def index(tmp_path_factory, kinds):
    """An index of random ids of 6, in one segment."""
    rng = np.random.default_rng(2)
    documents = [rng.integers(0, 6, rng.integers(0, 9)).tolist() for _ in range(60)]
    path = write_index(tmp_path_factory.mktemp("sampling") / "index", documents, "u8", vocab_size=7)
    everygram.prepare(path)
    with everygram.open(path) as opened:
        yield opened


MODELS = [
    ("infgram", {}),
    ("infgram", {"order": 3}),
    ("stupid-backoff", {}),
    ("stupid-backoff", {"order": 2}),
    ("infgram-floor", {}),
    ("infgram-floor", {"order": 2}),
    ("modified-kneser-ney", {}),
    ("modified-kneser-ney", {"order": 3}),
]


@pytest.mark.parametrize(("smoothing", "given"), MODELS)
def test_every_model_draws_what_its_distributions_say(index, smoothing, given):
    model = index.language_model(smoothing, **given)
    for prompt in ([], [255], [1, 2], [255, 3], [4, 4, 4, 4, 1, 0]):
        probs = model.distribution(prompt)
        drawn = model.sample_batch([prompt] * 2000, max_tokens=1, seed=11)
        found = [each.token_ids[0] if len(each) else index.vocab_size for each in drawn]
        assert not unlikely(counted(found, len(probs)), probs / probs.sum()), prompt
        for each in drawn[:20]:
            assert each.prompt_ids.tolist() == prompt
            event = each.token_ids[0] if len(each) else index.vocab_size
            assert each.log_prob == pytest.approx(math.log(probs[event]))


@pytest.mark.parametrize(("smoothing", "given"), MODELS)
def test_log_probs_of_a_sample_are_those_of_the_text(index, smoothing, given):
    model = index.language_model(smoothing, **given)
    for each in model.sample_batch([[255], [255, 2], [1, 2]] * 5, seed=3, max_tokens=30):
        text = [*each.prompt_ids.tolist(), *each.token_ids]
        text += [255] * (each.finished == "document_end")
        expected = model.log_probs(text)[len(each.prompt_ids) :]
        assert each.log_probs.tolist() == pytest.approx(expected.tolist())


def test_max_context_is_what_the_model_is_asked(index):
    model = index.language_model("infgram")
    for prompt, bound in (([255, 3, 1, 2], 2), ([255, 3, 1, 2], 0), ([255, 3, 1], 3)):
        bounded = model.sample(prompt, max_context=bound, seed=1, max_tokens=1)
        rest = prompt[len(prompt) - bound :]
        assert bounded.token_ids == model.sample(rest, seed=1, max_tokens=1).token_ids
    # Without a bound the model copies a document, once its context occurs a single time.
    copied, free = (model.sample([255], seed=2, max_context=bound) for bound in (None, 1))
    assert index.count([255, *copied.token_ids]) > 0
    assert index.count([255, *free.token_ids]) == 0


def test_a_sample_is_text_where_there_is_a_tokenizer(text_index):
    model = text_index.language_model("infgram")
    one = model.sample("the quick", seed=0, max_tokens=6)
    assert isinstance(one, Sample) and isinstance(one, Value)
    assert one.prompt == "the quick"
    assert one.text == " brown" and one.tokens == [*" brown"]
    assert one == model.sample("the quick", seed=0, max_tokens=6)
    assert one.as_dict() == {
        "prompt_ids": [*b"the quick"],
        "prompt": "the quick",
        "token_ids": [*b" brown"],
        "tokens": [*" brown"],
        "text": " brown",
        "log_probs": [0.0] * 6,
        "log_prob": 0.0,
        "finished": "max_tokens",
    }
    whole = model.sample([255, *b"the q"], max_tokens=500, seed=0)
    assert (whole.prompt, whole.finished) == ("the q", "document_end")
    assert whole.text == "uick brown fox jumps over the lazy dog"
    assert whole.log_probs.shape == (len(whole) + 1,)
    # A character that begins in the prompt is in the text, once.
    half = model.sample(["héllo".encode()[0], "héllo".encode()[1]], seed=0, max_tokens=4)
    assert (half.prompt, half.text) == ("h", "éllo")
    assert repr(half) == "Sample('éllo', 4 tokens, max_tokens, ln p = 0)"
    assert "h<mark" in half._repr_html_() and "éllo</mark>" in half._repr_html_()
    assert "4 tokens, cut at max_tokens, ln p = 0" in half._repr_html_()
    assert len(repr(model.sample("the quick", seed=0, max_tokens=500))) < 150


def test_without_a_tokenizer_there_are_ids_alone(index):
    one = index.language_model("infgram").sample([1, 2], seed=1, max_tokens=2)
    assert (one.text, one.prompt, one.tokens) == (None, None, None)
    assert one.as_dict()["prompt_ids"] == [1, 2]
    assert repr(one).startswith(f"Sample({one.token_ids}, {len(one)} tokens, ")
    assert "1 2<mark" in one._repr_html_()


def test_prompts_and_options_are_checked(index):
    model = index.language_model("infgram")
    for call in (
        lambda: model.sample([9]),
        lambda: model.sample("a text"),
        lambda: model.sample([1], max_tokens=-1),
        lambda: model.sample([1], temperature="hot"),
        lambda: model.sample_batch([[1], [9]]),
        lambda: model.sample_batch([1, 2]),
        lambda: model.sample_batch("ab"),
    ):
        with pytest.raises(EverygramError):
            call()


@pytest.mark.parametrize("name", ["sample", "sample_batch", "perplexity"])
def test_a_model_takes_or_refuses_anything(text_index, name):
    check(getattr(text_index.language_model("infgram"), name), GOOD.__getitem__)
