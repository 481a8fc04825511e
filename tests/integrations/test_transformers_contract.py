"""What transformers asks of `everygram.integrations.transformers`, without it or torch.

Both are stood in for: torch by arrays, transformers by the calls that it makes. Its own tests, with
both, are those of `make test-integrations`.
"""

import contextlib
import importlib
import math
import sys
import types
from types import SimpleNamespace

import numpy as np
import pytest

import everygram
from conftest import write_index
from everygram.analysis.log_probs import read_log_probs
from everygram.errors import MissingExtraError, OptionError, QueryError
from everygram.integrations.mixing import Contexts, some_ids
from everygram.integrations.windows import checked_stride, windows

MODULE = "everygram.integrations.transformers"
TOKENS, SCORES, BOS, EOS = 20, 24, 1, 2


class Tensor(np.ndarray):
    """As much of a tensor as is used."""

    device = "cpu"

    def cpu(self):
        return self

    def numpy(self):
        return np.asarray(self)

    def float(self):
        return self.astype(np.float32)

    def double(self):
        return self.astype(np.float64)

    def to(self, device=None, dtype=None):
        return self if dtype is None else self.astype(dtype)

    def gather(self, dim, places):
        return np.take_along_axis(self, places, dim)

    def logsumexp(self, dim):
        return np.logaddexp.reduce(self, axis=dim)


def tensor(values, dtype=None, device=None):
    return np.array(values, dtype).view(Tensor)


@pytest.fixture
def module(monkeypatch):
    """The module, as it is where torch and transformers are installed."""
    torch = types.ModuleType("torch")
    torch.tensor, torch.from_numpy = tensor, lambda array: array.view(Tensor)
    torch.cat = lambda tensors, dim: np.concatenate(tensors, axis=dim)
    torch.inference_mode = contextlib.nullcontext
    torch.finfo = lambda dtype: SimpleNamespace(min=float(np.finfo(dtype).min))
    transformers, generation = (
        types.ModuleType("transformers"),
        types.ModuleType("transformers.generation"),
    )
    generation.LogitsProcessor = type("LogitsProcessor", (), {})
    generation.CandidateGenerator = type("CandidateGenerator", (), {})
    generation.StopStringCriteria = lambda tokenizer, strings: tokenizer(strings)
    for each in (torch, transformers, generation):
        monkeypatch.setitem(sys.modules, each.__name__, each)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    found = importlib.import_module(MODULE)
    yield found
    sys.modules.pop(MODULE, None)


@pytest.mark.parametrize("missing", ["torch", "transformers"])
def test_what_is_missing_is_named(module, monkeypatch, missing):
    monkeypatch.delitem(sys.modules, MODULE)
    monkeypatch.delitem(sys.modules, "transformers.generation")
    monkeypatch.setitem(sys.modules, missing, None)
    says = f"{MODULE} needs {missing}: pip install torch transformers"
    with pytest.raises(MissingExtraError, match=says):
        importlib.import_module(MODULE)


# Contexts.


@pytest.mark.parametrize(
    ("ids", "prompt"),
    [
        ([], []),
        ([5, 6], [5, 6]),
        ([BOS, 5, 6], [255, 5, 6]),
        ([5, 6, EOS], [255]),
        ([EOS, 5, BOS, 6], [255, 6]),
        ([EOS, 5, 22, 6], [6]),
        ([22, EOS, 6], [255, 6]),
        ([5, 20], []),
        ([-100, 5], [5]),
        ([EOS, 255, 5], [5]),
    ],
)
def test_what_a_prompt_is_for_the_index(ids, prompt):
    contexts = Contexts(TOKENS, 255, (BOS, EOS))
    assert contexts.prompt(np.array(ids, np.int64)) == prompt


def test_ids_are_one_or_several():
    assert [some_ids("eos_token_id", each) for each in (None, 3, [3, 4], np.int64(5))] == [
        (),
        (3,),
        (3, 4),
        (5,),
    ]
    for wrong in (-1, "2", [1.5], True):
        with pytest.raises(OptionError, match="eos_token_id: expected 0 or more"):
            some_ids("eos_token_id", wrong)


# Mixing.


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    documents = [[5, 6, 7], [5, 6, 7], [5, 6, 8], [9, 5, 9], [10, 11, 12, 13]]
    path = tmp_path_factory.mktemp("contract") / "index"
    return everygram.open(write_index(path, documents, "u8", vocab_size=TOKENS))


def mixed(module, index, ids, scores, weights, smoothing="infgram", dtype=np.float32, **options):
    model = index.language_model(smoothing)
    processor = module.MixingLogitsProcessor(model, weights, **options)
    return np.exp(processor(tensor(ids), tensor(scores, dtype)).astype(np.float64))


def test_the_mixture_by_hand(module, index):
    ids = [[5, 5, 6], [BOS, 10, 11], [11, 12, 13], [3, 3, 3]]
    found = mixed(
        module,
        index,
        ids,
        np.zeros((4, SCORES)),
        (0.9, 0.6),
        eos_token_id=[EOS, 4],
        bos_token_id=BOS,
    )
    expected = np.empty((4, SCORES))
    # After 5 6: 7 twice, 8 once.
    expected[0] = 0.4 / SCORES
    expected[0, [7, 8]] += [0.6 * 2 / 3, 0.6 / 3]
    # At a document's start, 10 11: only 12.
    expected[1] = 0.1 / SCORES
    expected[1, 12] += 0.9
    # After 11 12 13 only the document's end.
    expected[2] = 0.1 / SCORES
    expected[2, EOS] += 0.9
    # 3 does not occur: after nothing, all tokens and ends.
    expected[3] = 0.4 / SCORES
    counts = {5: 4, 6: 3, 7: 2, 8: 1, 9: 2, 10: 1, 11: 1, 12: 1, 13: 1, EOS: 5}
    for token, count in counts.items():
        expected[3, token] += 0.6 * count / 21
    assert found == pytest.approx(expected, rel=1e-5)
    assert found.sum(axis=1) == pytest.approx(np.ones(4), rel=1e-5)


def test_scores_need_not_be_probabilities(module, index):
    scores = np.random.default_rng(2).normal(0, 4, (1, SCORES))
    found = mixed(module, index, [[10, 11]], scores + 100, 0.25)
    expected = 0.75 * np.exp(scores[0]) / np.exp(scores[0]).sum()
    expected[12] += 0.25
    assert found[0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("least", [-math.inf, None])
def test_what_is_forbidden_stays_so(module, index, least, dtype):
    least = np.finfo(dtype).min if least is None else least
    scores = np.zeros((2, SCORES))
    scores[0, [7, 3]] = least
    scores[1, 12] = least
    found = mixed(module, index, [[5, 6], [10, 11]], scores, 0.5, dtype=dtype)
    # Of what follows 5 6 only 8 is left; of what follows 10 11 nothing.
    near = 1e-2 if dtype is np.float16 else 1e-5
    assert found[0, 8] == pytest.approx(0.5 + 0.5 / 22, rel=near)
    assert found[0, [7, 3]].tolist() == [0, 0]
    assert found[1] == pytest.approx(np.where(np.arange(SCORES) == 12, 0, 1 / 23), rel=near)


def test_a_model_of_fewer_ids_than_the_index_gets_all(module, index):
    found = mixed(module, index, [[5, 6]], np.zeros((1, 8)), 0.5, eos_token_id=EOS)
    # (It has no 8.)
    assert found[0, 7] == pytest.approx(0.5 + 0.5 / 8)
    assert found.sum() == pytest.approx(1)


def test_without_an_end_there_is_none(module, index):
    found = mixed(module, index, [[12, 13]], np.zeros((1, SCORES)), 0.5)
    assert found[0] == pytest.approx(np.full(SCORES, 1 / SCORES))


def test_weights_of_0_and_1_are_either_model(module, index):
    scores = np.arange(SCORES)[None] / 5
    alone = np.exp(scores[0]) / np.exp(scores[0]).sum()
    assert mixed(module, index, [[5, 6]], scores, 0)[0] == pytest.approx(alone, rel=1e-5)
    all_of_it = mixed(module, index, [[5, 6]], scores, 1)[0]
    assert all_of_it == pytest.approx(
        np.where(np.arange(SCORES) == 7, 2 / 3, 0) + (np.where(np.arange(SCORES) == 8, 1 / 3, 0))
    )


def test_masked_places_are_no_context(module, index):
    options = {"eos_token_id": EOS, "attention_mask": [[0, 0, 1], [1, 1, 1]]}
    # Each prompt twice, as two beams of it are.
    ids = [[10, 11, 5, 6], [10, 11, 5, 6], [EOS, EOS, 5, 6], [EOS, EOS, 5, 6]]
    found = mixed(module, index, ids, np.zeros((4, SCORES)), (0.5, 0.5), **options)
    alone = mixed(module, index, [[5, 6]], np.zeros((1, SCORES)), (0.5, 0.5), eos_token_id=EOS)
    assert found[:2] == pytest.approx(np.vstack([alone, alone]))
    for wrong in (ids[:3], [row[:1] for row in ids]):
        with pytest.raises(OptionError, match="attention_mask: expected that of the prompts"):
            mixed(module, index, wrong, np.zeros((len(wrong), SCORES)), 0.5, **options)


@pytest.mark.parametrize(
    ("smoothing", "weights", "options", "says"),
    [
        ("stupid-backoff", 0.5, {}, "model: expected a model of probabilities, found stupid"),
        ("infgram", 1.5, {}, "weights: expected one or two numbers from 0 to 1, found 1.5"),
        ("infgram", (0.5, -0.1), {}, "weights: expected one or two"),
        ("infgram", (0.5, 0.5, 0.5), {}, "weights: expected one or two"),
        ("infgram", "half", {}, "weights: expected a number"),
        (
            "infgram-floor",
            (0.5, 0.5),
            {},
            "weights: two go with smoothing infgram, found infgram-f",
        ),
        ("infgram", 0.5, {"eos_token_id": SCORES}, "eos_token_id: expected an id below 24"),
        ("infgram", 0.5, {"attention_mask": [1, 1]}, "attention_mask: expected a row for each"),
    ],
)
def test_mixtures_that_are_none(module, index, smoothing, weights, options, says):
    with pytest.raises(OptionError, match=says):
        mixed(module, index, [[5, 6]], np.zeros((1, SCORES)), weights, smoothing, **options)


# Drafts.


class Model:
    """As much of a model of transformers as `drafting` knows; `generate` calls as that does."""

    def __init__(self, vocab_size=SCORES, prompt_lookup=None):
        self.config = SimpleNamespace(
            get_text_config=lambda: SimpleNamespace(vocab_size=vocab_size)
        )
        self.generation_config = SimpleNamespace(
            prompt_lookup_num_tokens=prompt_lookup,
            eos_token_id=[EOS, 4],
            bos_token_id=BOS,
            max_length=12,
            stop_strings=None,
        )

    def _get_candidate_generator(self, **_):
        return "prompt lookup"

    def generator(self, attention_mask=None, tokenizer=None):
        return self._get_candidate_generator(
            generation_config=self.generation_config,
            input_ids=None,
            inputs_tensor=None,
            assistant_model=None,
            logits_processor=[],
            target_tokenizer=tokenizer,
            assistant_tokenizer=None,
            model_kwargs={"attention_mask": attention_mask, "cache": None},
        )


class Index:
    """An index that drafts the same every time, and remembers what it was asked."""

    vocab_size, separator = TOKENS, 255

    def __init__(self, *draft):
        self.drafted, self.asked = list(draft), []

    def draft(self, context, **options):
        # (With no context options are only checked.)
        if context:
            self.asked.append((context, options))
        return SimpleNamespace(token_ids=self.drafted[: options["max_tokens"]])


@pytest.mark.parametrize(
    ("ids", "mask", "draft", "asked", "expected"),
    [
        ([5, 6], None, [7, 8, 9], ([5, 6], 4), [5, 6, 7, 8, 9]),
        ([BOS, 6], None, [], ([255, 6], 4), [BOS, 6]),
        ([5, EOS, 6], None, [7], ([255, 6], 4), [5, EOS, 6, 7]),
        # Up to max_length, with the token that the model adds.
        ([5] * 9, None, [7, 8, 9], ([5] * 9, 2), [5] * 9 + [7, 8]),
        ([5] * 11, None, [7, 8, 9], None, [5] * 11),
        # Up to an end of the model's, and to an id that it has not.
        ([5], None, [7, 4, 9], ([5], 4), [5, 7]),
        ([5], None, [7, 30, 9], ([5], 4), [5, 7]),
        ([5], None, [EOS], ([5], 4), [5]),
        # Padding is no context.
        ([EOS, EOS, 5], [[0, 0, 1]], [7], ([5], 4), [EOS, EOS, 5, 7]),
    ],
)
def test_drafts_stand_behind_the_ids(module, ids, mask, draft, asked, expected):
    model, index = Model(), Index(*draft)
    with module.drafting(model, index, max_tokens=4, min_token_prob=0.2) as drafts:
        generator = model.generator(None if mask is None else tensor(mask))
        found, scores = generator.get_candidates(tensor([ids], np.int64))
        assert generator is drafts
    assert scores is None
    assert found.shape == (1, len(expected))
    assert found.tolist() == [expected]
    assert found.dtype == np.int64
    if asked is None:
        assert index.asked == []
    else:
        assert index.asked == [(asked[0], {"max_tokens": asked[1], "min_token_prob": 0.2})]


def test_drafts_end_before_a_string_that_ends_the_text(module):
    """transformers looks for it where a text ends after a pass, and nowhere else."""
    model = Model()
    model.generation_config.stop_strings = ["8"]

    def tokenizer(strings):
        assert strings == ["8"]
        return lambda ids, scores: np.array([ids[0, -1] == 8])

    for draft, expected in ([7, 8, 9], [5, 7]), ([7, 9], [5, 7, 9]), ([8], [5]), ([], [5]):
        with module.drafting(model, Index(*draft)) as drafts:
            found, _ = model.generator(tokenizer=tokenizer).get_candidates(tensor([[5]], np.int64))
            drafts.update_candidate_strategy(found, None, tensor(9))
        assert found.tolist() == [expected]
        assert drafts.accepted == drafts.drafted == len(expected) - 1


def test_options_of_drafts_are_checked_at_once(module, index):
    model = Model()
    for options, says in (
        ({"max_tokens": 0}, "max_tokens: expected 1 or more"),
        ({"max_tokens": 2000}, "max_tokens: expected 1 to 1,024"),
        ({"min_token_prob": 2}, "min_token_prob: expected 0 to 1"),
    ):
        with pytest.raises((OptionError, QueryError), match=says):
            module.drafting(model, index, **options).__enter__()
    assert "_get_candidate_generator" not in vars(model)
    assert model.generation_config.prompt_lookup_num_tokens is None


def test_drafts_are_counted(module):
    model = Model()
    with module.drafting(model, Index(7, 8, 9)) as drafts:
        generator = model.generator()
        for matches in (0, 2, 3):
            generator.get_candidates(tensor([[5]], np.int64))
            generator.update_candidate_strategy(tensor([[5]]), None, tensor(matches))
    assert (drafts.steps, drafts.drafted, drafts.accepted) == (3, 9, 5)


def test_the_model_is_as_before_afterwards(module):
    model = Model(prompt_lookup=3)
    with contextlib.suppress(KeyError), module.drafting(model, Index(7), max_tokens=6):
        assert model.generation_config.prompt_lookup_num_tokens == 6
        with module.drafting(model, Index(8)) as inner:
            assert model.generator() is inner
        assert model.generation_config.prompt_lookup_num_tokens == 6
        assert model.generator() is not inner
        raise KeyError
    assert model.generation_config.prompt_lookup_num_tokens == 3
    assert model.generator() == "prompt lookup"
    assert "_get_candidate_generator" not in vars(model)
    with (
        pytest.raises(OptionError, match="max_tokens: expected 1 or more"),
        module.drafting(model, Index(7), max_tokens=0),
    ):
        pass


# Scores.


@pytest.mark.parametrize("length", range(30))
@pytest.mark.parametrize(("window", "stride"), [(8, 4), (8, 1), (8, 7), (2, 1), (5, 3), (100, 50)])
def test_windows_score_every_token_once(length, window, stride):
    scored, size = [], min(window, length)
    for part in windows(length, window, stride):
        assert part.end - part.begin == size
        assert 0 <= part.begin < part.first < part.end <= length
        scored += range(part.first, part.end)
        if part.begin:
            assert part.first - part.begin >= window - stride
    assert scored == list(range(1, length))


def test_strides_that_do_not_fit():
    assert checked_stride(np.int64(8), 7) == (8, 7)
    with pytest.raises(OptionError, match="stride: expected less than the window of 8 tokens"):
        checked_stride(8, 8)


class Scorer:
    """A model whose scores depend on all that it has read, and that says what it reads."""

    device = "cpu"
    config = SimpleNamespace(
        get_text_config=lambda: SimpleNamespace(vocab_size=SCORES, max_position_embeddings=16)
    )

    def __init__(self):
        self.training, self.read, self.trained_in = True, [], []

    def eval(self):
        self.training = False

    def modules(self):
        return [self]

    def __call__(self, input_ids, attention_mask, use_cache):
        assert use_cache is False
        self.trained_in.append(self.training)
        logits = np.empty((*input_ids.shape, SCORES))
        for row, (ids, mask) in enumerate(zip(input_ids, attention_mask, strict=True)):
            self.read.append(ids[: mask.sum()].tolist())
            assert not ids[mask.sum() :].any()
            for place in range(len(ids)):
                logits[row, place] = scores_after(ids[: place + 1].tolist())
        return SimpleNamespace(logits=logits.view(Tensor))


def scores_after(ids):
    return np.random.default_rng(ids).normal(0, 2, SCORES)


@pytest.mark.parametrize("size", [1, 3])
def test_scores_come_from_windows(module, tmp_path, size):
    documents = [list(range(20)), [], [3], np.array([5, 6, 7], np.uint16)]
    model = Scorer()
    path = tmp_path / "scores.jsonl"
    options = {"window": 8, "stride": 4, "batch_size": size}
    assert module.write_log_probs(model, iter(documents), path, **options) == 24
    assert (model.training, set(model.trained_in)) == (True, {False})
    assert model.read == [*(list(range(b, b + 8)) for b in (0, 4, 8, 12)), [5, 6, 7]]
    found = read_log_probs(path)
    assert [each.token_ids.tolist() for each in found] == [list(each) for each in documents]
    starts = [0] * 8 + [4] * 4 + [8] * 4 + [12] * 4
    for place, value in enumerate(found[0].log_probs):
        if place == 0:
            assert math.isnan(value)
            continue
        scores = scores_after(list(range(starts[place], place)))
        expected = scores[place] - np.logaddexp.reduce(scores)
        assert value == pytest.approx(expected, abs=1e-5)


def test_a_start_is_read_and_not_written(module, tmp_path):
    model, path = Scorer(), tmp_path / "scores.jsonl"
    module.write_log_probs(model, [[7], [3, 4]], path, window=8, stride=4, start_id=EOS)
    assert model.read == [[EOS, 7], [EOS, 3, 4]]
    first, second = read_log_probs(path)
    assert (first.token_ids.tolist(), second.token_ids.tolist()) == ([7], [3, 4])
    scores = scores_after([EOS])
    assert first.log_probs == pytest.approx([scores[7] - np.logaddexp.reduce(scores)], abs=1e-5)


def test_documents_and_options_that_are_none(module, tmp_path):
    path, options = tmp_path / "scores.jsonl", {"window": 8, "stride": 4}
    for documents, says in (
        ([[3], [SCORES]], "document 1: expected ids below 24, the model's, found 24 at place 0"),
        (["text"], "document 0: expected token ids, or a tokenizer for texts, found 'text'"),
        ([[0.5]], "document 0: expected a text or token ids"),
        ([[3], [[3], [4, 5]]], "document 1: expected a text or token ids"),
    ):
        with pytest.raises(QueryError, match=says):
            module.write_log_probs(Scorer(), documents, path, **options)
    with pytest.raises(OptionError, match="documents: expected several, found one text"):
        module.write_log_probs(Scorer(), "text", path, **options)
    with pytest.raises(OptionError, match="window: expected at most 16, the tokens that the model"):
        module.write_log_probs(Scorer(), [[3]], path)
    with pytest.raises(OptionError, match="start_id: expected an id below 24"):
        module.write_log_probs(Scorer(), [[3]], path, start_id=24, **options)
