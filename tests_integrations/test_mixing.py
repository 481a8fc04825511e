"""An n-gram model mixed into what tiny neural models generate, against the formula."""

import numpy as np
import pytest
import torch

import everygram
from conftest import write_index
from everygram.errors import OptionError
from everygram.integrations.transformers import MixingLogitsProcessor
from models import BOS, EOS, MODELS, PAD, SCORES, TOKENS, log_probs_after

BOTH = (0.8, 0.3)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    random = np.random.default_rng(7)
    documents = [random.integers(3, 12, random.integers(1, 30)).tolist() for _ in range(40)]
    # A text that only ever goes on one way.
    documents += [list(range(12, 40))] * 2
    path = tmp_path_factory.mktemp("mixing") / "index"
    return everygram.open(write_index(path, documents, "u8", vocab_size=TOKENS))


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


def mixed(index, prompt, neural, weights=BOTH):
    """The mixture's probabilities, from counts: the index is asked for what follows, no more."""
    followers = index.infgram_ntd(prompt)
    share = weights[0 if len(followers.next) == 1 else 1]
    probs = (1 - share) * np.exp(neural)
    for each in followers.next:
        token = EOS if each.token_id == index.separator else each.token_id
        probs[token] += share * each.count / followers.prompt_count
    return probs


def prompt_of(index, ids):
    """What stands after the last BOS or EOS, which is a document's start."""
    for place in reversed(range(len(ids))):
        if ids[place] in (BOS, EOS):
            return [index.separator, *ids[place + 1 :]]
    return ids


def processor_of(index, smoothing="infgram", weights=BOTH, **options):
    model = index.language_model(smoothing)
    return MixingLogitsProcessor(model, weights, eos_token_id=EOS, bos_token_id=BOS, **options)


@pytest.mark.parametrize(
    "ids", [[5], [BOS, 5, 7], [3, 4, EOS], [EOS, 14, 15], [15, 16, 17], [61, 8, 9], [8, 63]]
)
def test_scores_are_the_mixture(index, ids):
    scores = torch.randn(1, SCORES, generator=torch.Generator().manual_seed(len(ids)))
    found = processor_of(index)(torch.tensor([ids]), scores)
    assert found.shape == scores.shape
    assert found.dtype == scores.dtype
    # (The index has no ids from 60 on: what stands before them is no context.)
    known = ids[next((i + 1 for i in reversed(range(len(ids))) if ids[i] >= TOKENS), 0) :]
    neural = torch.log_softmax(scores[0].double(), dim=0).numpy()
    expected = mixed(index, prompt_of(index, known), neural)
    assert np.exp(found[0].double().numpy()) == pytest.approx(expected, rel=1e-5, abs=1e-9)
    assert expected.sum() == pytest.approx(1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_scores_keep_their_type(index, dtype):
    scores = torch.randn(1, SCORES, generator=torch.Generator().manual_seed(1)).to(dtype)
    found = processor_of(index)(torch.tensor([[5, 7]]), scores)
    assert found.dtype == dtype
    assert found.double().exp().sum().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_least_number_of_a_type_forbids(index, dtype):
    """The text can only go on with 15, which a processor has forbidden."""
    scores = torch.zeros(1, SCORES, dtype=dtype)
    scores[0, 15] = torch.finfo(dtype).min
    found = processor_of(index)(torch.tensor([[12, 13, 14]]), scores)
    assert found[0, 15] == -torch.inf
    assert found.double().exp()[0, 3].item() == pytest.approx(1 / (SCORES - 1), rel=0.02)


def test_greedy_text_is_that_of_the_formula(index, model):
    ids = [BOS, 5, 7]
    found = model.generate(
        torch.tensor([ids]),
        max_new_tokens=25,
        do_sample=False,
        logits_processor=[processor_of(index)],
    )
    for _ in range(25):
        neural = log_probs_after(model, ids)
        ids.append(int(mixed(index, prompt_of(index, ids), neural).argmax()))
        if ids[-1] == EOS:
            break
    assert found[0].tolist() == ids
    assert len(ids) > 5
    # It is not what the neural model says alone.
    alone = model.generate(torch.tensor([ids[:3]]), max_new_tokens=25, do_sample=False)
    assert alone[0].tolist() != ids


@pytest.mark.parametrize("beams", [1, 3])
def test_padded_texts_are_as_alone(index, model, beams):
    prompts = [[BOS, 5], [5, 7, 3, 4], [14], [EOS, EOS, 6]]
    width = max(map(len, prompts))
    # (Padding is the EOS itself, which else starts a document.)
    ids = torch.tensor([[EOS] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    options = {"max_new_tokens": 12, "do_sample": False, "num_beams": beams}
    together = model.generate(
        ids,
        attention_mask=mask,
        num_return_sequences=beams,
        logits_processor=[processor_of(index, attention_mask=mask)],
        **options,
    )
    for row, prompt in enumerate(prompts):
        alone = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt)),
            num_return_sequences=beams,
            logits_processor=[processor_of(index)],
            **options,
        )
        some = together[row * beams : (row + 1) * beams, width - len(prompt) :]
        longest = max(alone.shape[1], some.shape[1])
        assert [pad(each, longest) for each in some] == [pad(each, longest) for each in alone]


def pad(ids, length):
    return ids.tolist() + [PAD] * (length - len(ids))


def test_the_mask_must_be_that_of_the_prompts(index):
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    processor = processor_of(index, attention_mask=mask)
    for ids in ([[5, 6, 7, 8]], [[5], [6]]):
        with pytest.raises(OptionError, match="attention_mask: expected that of the prompts"):
            processor(torch.tensor(ids), torch.zeros(len(ids), SCORES))
    with pytest.raises(OptionError, match=r"a row for each prompt, found shape \(4,\)"):
        processor_of(index, attention_mask=mask[0])


def test_beams_are_scored_by_the_mixture(index, model):
    """A beam's score is the sum of its tokens' log-probabilities in the mixture."""
    found = model.generate(
        torch.tensor([[BOS, 5, 7]]),
        max_new_tokens=6,
        num_beams=4,
        num_return_sequences=4,
        length_penalty=0.0,
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
        logits_processor=[processor_of(index)],
    )
    for sequence, score in zip(found.sequences.tolist(), found.sequences_scores, strict=True):
        expected = 0.0
        for place in range(3, len(sequence)):
            before = sequence[:place]
            probs = mixed(index, prompt_of(index, before), log_probs_after(model, before))
            expected += np.log(probs[sequence[place]])
            if sequence[place] == EOS:
                break
        assert score.item() == pytest.approx(expected, abs=1e-3)


def test_samples_have_the_mixtures_frequencies(index, model):
    prompt, draws = [5, 7], 4000
    torch.manual_seed(3)
    found = model.generate(
        torch.tensor([prompt]),
        max_new_tokens=1,
        do_sample=True,
        top_k=0,
        num_return_sequences=draws,
        logits_processor=[processor_of(index)],
    )
    expected = mixed(index, prompt, log_probs_after(model, prompt)) * draws
    counts = np.bincount(found[:, -1].numpy(), minlength=SCORES)
    # (Rare ones together.)
    rare = expected < 5
    expected = np.append(expected[~rare], expected[rare].sum())
    counts = np.append(counts[~rare], counts[rare].sum())
    statistic = ((counts - expected) ** 2 / np.maximum(expected, 1e-9)).sum()
    freedom = len(expected) - 1
    assert freedom >= 4
    # Five standard deviations of chi-squared.
    assert statistic < freedom + 5 * np.sqrt(2 * freedom)


def test_what_is_forbidden_before_stays_so(index, model):
    """`min_new_tokens` forbids EOS, though the index ends documents there."""
    ids = torch.tensor([[EOS, *range(12, 40)]])
    options = {"do_sample": False, "max_new_tokens": 4}
    ends = processor_of(index, weights=(0.99, 0.3))
    assert model.generate(ids, logits_processor=[ends], **options)[0, -1] == EOS
    longer = model.generate(ids, logits_processor=[ends], min_new_tokens=4, **options)
    assert longer.shape[1] == ids.shape[1] + 4
    assert EOS not in longer[0, ids.shape[1] :]


def test_any_model_of_probabilities_will_do(index):
    ids, scores = [5, 7, 3], torch.zeros(1, SCORES)
    found = processor_of(index, "infgram-floor", 0.25)(torch.tensor([ids]), scores)
    distribution = index.language_model("infgram-floor").distribution(ids)
    expected = np.full(SCORES, 0.75 / SCORES)
    expected[:TOKENS] += 0.25 * distribution[:-1]
    expected[EOS] += 0.25 * distribution[-1]
    assert np.exp(found[0].double().numpy()) == pytest.approx(expected, rel=1e-5)
