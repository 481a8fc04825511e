"""Drafts of an index, verified by tiny neural models: the same text in fewer forward passes."""

import contextlib

import numpy as np
import pytest
import tokenizers
import torch
from transformers import GenerationConfig, PreTrainedTokenizerFast

import everygram
from conftest import write_index
from everygram.errors import QueryError
from everygram.integrations.transformers import MixingLogitsProcessor, drafting
from models import BOS, EOS, MODELS, SCORES, TOKENS, log_probs_after


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


@contextlib.contextmanager
def counted(model):
    """A list that has an entry for each forward pass: how many tokens it read."""
    calls = []
    hook = model.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    yield calls
    hook.remove()


def generated(model, prompt, **options):
    options = {"max_new_tokens": 40, "do_sample": False} | options
    return model.generate(torch.tensor([prompt]), **options)[0].tolist()


def index_of(path, documents, **options):
    options = {"vocab_size": TOKENS} | options
    return everygram.open(write_index(path / "index", documents, "u8", **options))


PROMPTS = [[BOS, 5, 9], [7], [3, 4, 5, 6, 7, 8, 9, 10]]


@pytest.mark.parametrize("prompt", PROMPTS, ids=len)
def test_the_text_of_the_index_takes_fewer_passes(model, prompt, tmp_path):
    with counted(model) as before:
        expected = generated(model, prompt)
    # The index has what the model will say.
    text = [each for each in expected if each not in (BOS, EOS)]
    index = index_of(tmp_path, [text])
    with counted(model) as calls, drafting(model, index, max_tokens=8) as drafts:
        assert generated(model, prompt) == expected
    assert len(calls) < 0.6 * len(before)
    assert drafts.steps == len(calls)
    # A pass adds what was accepted and one token.
    assert drafts.accepted + drafts.steps == len(expected) - len(prompt)
    assert drafts.accepted <= drafts.drafted


@pytest.mark.parametrize("seed", range(5))
def test_wrong_drafts_change_nothing(model, seed, tmp_path):
    """The index has parts of what the model says, and other ways to go on."""
    random = np.random.default_rng(seed)
    prompt = random.integers(3, TOKENS, 3).tolist()
    expected = generated(model, prompt)
    documents = [random.integers(3, TOKENS, 20).tolist() for _ in range(10)]
    for _ in range(6):
        start = random.integers(0, len(expected) - 4)
        part = [each for each in expected[start : start + 8] if each not in (BOS, EOS)]
        documents.append(part + random.integers(3, TOKENS, 5).tolist())
    index = index_of(tmp_path, documents)
    with drafting(model, index, max_tokens=4) as drafts:
        assert generated(model, prompt) == expected
    assert 0 < drafts.accepted < drafts.drafted


def test_an_index_that_knows_nothing_costs_no_pass(model, tmp_path):
    expected = generated(model, [BOS, 5, 9], max_new_tokens=12)
    others = [each for each in range(3, TOKENS) if each not in expected]
    index = index_of(tmp_path, [others])
    with counted(model) as calls, drafting(model, index) as drafts:
        assert generated(model, [BOS, 5, 9], max_new_tokens=12) == expected
    assert len(calls) == len(expected) - 3
    assert drafts.drafted == 0


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_texts_are_never_too_long(model, size, tmp_path):
    long = generated(model, [7], max_new_tokens=40)
    index = index_of(tmp_path, [[each for each in long if each not in (BOS, EOS)]])
    with drafting(model, index, max_tokens=16):
        assert generated(model, [7], max_new_tokens=size) == long[: 1 + size]


def test_texts_end_where_the_model_ends_them(model, tmp_path):
    """The model's EOS in the midst of a draft is the end."""
    free = generated(model, [7], max_new_tokens=20)
    end = free[9]
    expected = generated(model, [7], max_new_tokens=20, eos_token_id=end)
    assert expected[-1] == end
    assert len(expected) < len(free)
    index = index_of(tmp_path, [free])
    with drafting(model, index, max_tokens=16) as drafts:
        assert generated(model, [7], max_new_tokens=20, eos_token_id=end) == expected
    assert drafts.accepted > 0


LETTERS = [chr(code) for code in (*range(ord("a"), ord("z") + 1), *range(ord("A"), ord("Z") + 1))]
MERGES = [("a", "b"), ("c", "d"), ("e", "f"), ("g", "h"), ("i", "j"), ("k", "l"), ("m", "n")]


def letters():
    """A tokenizer of transformers with an id for each letter, and for some pairs of letters."""
    names = [*LETTERS, *map("".join, MERGES)]
    bpe = tokenizers.models.BPE({name: place for place, name in enumerate(names)}, MERGES)
    tokenizer = tokenizers.Tokenizer(bpe)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.mark.parametrize("place", [1, 4, 9, 16])
def test_texts_end_where_a_string_ends_them(model, place, tmp_path):
    """In the midst of a draft, too."""
    tokenizer = letters()
    options = {
        "eos_token_id": None,
        "max_new_tokens": 25,
        "bad_words_ids": [[each] for each in range(len(tokenizer), SCORES)],
    }
    model.generation_config.eos_token_id = None
    free = generated(model, [7], **options)
    index = index_of(tmp_path, [free])
    options |= {"stop_strings": [tokenizer.decode(free[place])], "tokenizer": tokenizer}
    expected = generated(model, [7], **options)
    assert len(expected) < len(free)
    with drafting(model, index, max_tokens=16, max_factor=16.0) as drafts:
        assert generated(model, [7], **options) == expected
    assert drafts.accepted + drafts.steps == len(expected) - 1


def test_ids_that_the_model_lacks_are_not_drafted(model, tmp_path):
    expected = generated(model, [7], max_new_tokens=10)
    index = index_of(tmp_path, [[7, 100, 101], [7, expected[1], 100]], vocab_size=200)
    with drafting(model, index):
        assert generated(model, [7], max_new_tokens=10) == expected


def test_padding_is_no_context(model, tmp_path):
    ids, mask = [[EOS, EOS, 7, 8]], [[0, 0, 1, 1]]
    options = {"attention_mask": torch.tensor(mask), "max_new_tokens": 20, "do_sample": False}
    expected = model.generate(torch.tensor(ids), **options)
    text = expected[0, 2:].tolist()
    index = index_of(tmp_path, [[each for each in text if each != EOS]])
    with drafting(model, index) as drafts:
        assert torch.equal(model.generate(torch.tensor(ids), **options), expected)
    assert drafts.accepted > 0


def test_drafts_and_a_mixture_go_together(model, tmp_path):
    index = index_of(tmp_path, [[5, 9, *range(10, 40)]])
    processor = MixingLogitsProcessor(
        index.language_model("infgram"), (0.95, 0.1), eos_token_id=EOS, bos_token_id=BOS
    )
    expected = generated(model, [BOS, 5, 9], logits_processor=[processor])
    assert expected[3:20] == list(range(10, 27))
    with counted(model) as calls, drafting(model, index) as drafts:
        assert generated(model, [BOS, 5, 9], logits_processor=[processor]) == expected
    assert len(calls) < 0.5 * (len(expected) - 3)
    assert drafts.accepted


def test_samples_keep_their_distribution(tmp_path):
    """The first token is drafted each time, and drawn as often as it should be."""
    model, prompt, draws = MODELS["llama"](), [7], 400
    first = int(log_probs_after(model, prompt).argmax())
    index = index_of(tmp_path, [[7, first, 20, 21], [7, first, 20]])
    torch.manual_seed(5)
    counts = np.zeros(SCORES)
    with drafting(model, index, max_factor=4.0) as drafts:
        for _ in range(draws):
            found = generated(model, prompt, max_new_tokens=2, do_sample=True, top_k=0)
            counts[found[1]] += 1
    assert drafts.drafted == draws
    expected = np.exp(log_probs_after(model, prompt)) * draws
    rare = expected < 5
    expected = np.append(expected[~rare], expected[rare].sum())
    counts = np.append(counts[~rare], counts[rare].sum())
    freedom = len(expected) - 1
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert statistic < freedom + 5 * np.sqrt(2 * freedom)


def test_the_model_is_as_before_afterwards(model, tmp_path):
    index = index_of(tmp_path, [[5, 9, 10, 11]])
    model.generation_config.prompt_lookup_num_tokens = 3
    with pytest.raises(QueryError, match="max_suffix"), drafting(model, index, max_suffix=0):
        generated(model, [5, 9])
    assert model.generation_config.prompt_lookup_num_tokens == 3
    assert "_get_candidate_generator" not in vars(model)
    with drafting(model, index) as outer:
        with drafting(model, index) as inner:
            generated(model, [5, 9])
        assert (outer.steps, inner.steps > 0) == (0, True)
        generated(model, [5, 9])
        assert outer.steps > 0
    generated(model, [5, 9])
    assert "_get_candidate_generator" not in vars(model)


def test_a_config_of_its_own_does_not_turn_drafts_off(model, tmp_path):
    expected = generated(model, [7])
    index = index_of(tmp_path, [[each for each in expected if each not in (BOS, EOS)]])
    config = GenerationConfig(max_new_tokens=40, do_sample=False, eos_token_id=EOS, pad_token_id=0)
    with drafting(model, index) as drafts:
        found = model.generate(torch.tensor([[7]]), generation_config=config)
    assert found[0].tolist() == expected
    assert drafts.accepted > 0


def test_several_texts_at_once_are_refused(model, tmp_path):
    index = index_of(tmp_path, [[5, 9, 10, 11]])
    with drafting(model, index), pytest.raises(ValueError, match="batch_size = 1"):
        model.generate(torch.tensor([[5, 9], [5, 9]]), max_new_tokens=5)
