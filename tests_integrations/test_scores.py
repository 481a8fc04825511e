"""Log-probabilities that tiny neural models write, against one forward pass per token."""

import json

import numpy as np
import pytest
import torch

from everygram.analysis.log_probs import read_log_probs
from everygram.errors import OptionError, QueryError
from everygram.integrations.transformers import write_log_probs
from everygram.tokenizer.base import ByteTokenizer
from models import MODELS, SCORES, llama, log_probs_after


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


@pytest.fixture(scope="module")
def documents():
    random = np.random.default_rng(11)
    return [random.integers(0, SCORES, length).tolist() for length in (1, 40, 0, 2, 7, 8, 9, 23)]


def contexts(length, window, stride):
    """Where the context of each token starts: written down by hand for one window after another."""
    starts, end = [0] * min(window, length), window
    while end < length:
        further = min(stride, length - end)
        starts += [end + further - window] * further
        end += further
    return starts


@pytest.mark.parametrize(("window", "stride"), [(8, 4), (8, 7), (8, 1), (256, 128), (2, 1)])
def test_every_token_is_scored_once_after_what_its_window_has(
    model, documents, tmp_path, window, stride
):
    path = tmp_path / "scores.jsonl"
    tokens = write_log_probs(model, documents, path, window=window, stride=stride)
    assert tokens == sum(map(len, documents))
    found = read_log_probs(path)
    assert [each.token_ids.tolist() for each in found] == documents
    for document, scored in zip(documents, found, strict=True):
        starts = contexts(len(document), window, stride)
        assert len(starts) == len(document)
        for place, value in enumerate(scored.log_probs):
            if place == 0:
                assert np.isnan(value)
                continue
            begin = starts[place]
            assert place - begin >= min(place, window - stride)
            after = log_probs_after(model, document[begin:place])
            assert value == pytest.approx(after[document[place]], abs=1e-4)


@pytest.mark.parametrize("size", [2, 3, 100])
def test_windows_read_together_say_the_same(model, documents, tmp_path, size):
    for name, batch in (("one.jsonl", 1), ("many.jsonl", size)):
        options = {"window": 8, "stride": 4, "batch_size": batch}
        write_log_probs(model, iter(documents), tmp_path / name, **options)
    for one, many in zip(
        read_log_probs(tmp_path / "one.jsonl"), read_log_probs(tmp_path / "many.jsonl"), strict=True
    ):
        assert one.token_ids.tolist() == many.token_ids.tolist()
        assert one.log_probs == pytest.approx(many.log_probs, abs=1e-4, nan_ok=True)


def test_a_start_scores_the_first_token_too(model, documents, tmp_path):
    path = tmp_path / "scores.jsonl.gz"
    write_log_probs(model, documents, path, start_id=2, window=16, stride=8)
    for document, scored in zip(documents, read_log_probs(path), strict=True):
        assert scored.token_ids.tolist() == document
        assert not np.isnan(scored.log_probs).any()
        if document:
            after = log_probs_after(model, [2])
            assert scored.log_probs[0] == pytest.approx(after[document[0]], abs=1e-4)


def test_ids_of_any_library_and_an_archive(model, tmp_path):
    ids = [3, 9, 27, 17]
    given = [ids, np.array(ids, np.uint16), torch.tensor(ids), tuple(ids)]
    write_log_probs(model, given, tmp_path / "scores.npz")
    first, *others = read_log_probs(tmp_path / "scores.npz")
    for each in others:
        assert each.token_ids.tolist() == ids
        assert each.log_probs == pytest.approx(first.log_probs, nan_ok=True)


def test_texts_are_encoded_as_documents(tmp_path):
    model = llama()
    texts = ["\t\n !", "\x10\x11"]
    write_log_probs(model, texts, tmp_path / "texts.jsonl", tokenizer=ByteTokenizer())
    lines = (tmp_path / "texts.jsonl").read_text().splitlines()
    assert [json.loads(line)["token_ids"] for line in lines] == [[9, 10, 32, 33], [16, 17]]
    with pytest.raises(QueryError, match="document 0: expected token ids, or a tokenizer"):
        write_log_probs(model, texts, tmp_path / "none.jsonl")


def test_half_precision_scores_are_log_probabilities(documents, tmp_path):
    model = llama().to(torch.bfloat16)
    write_log_probs(model, documents, tmp_path / "scores.jsonl")
    exact = llama()
    write_log_probs(exact, documents, tmp_path / "exact.jsonl")
    for half, full in zip(
        read_log_probs(tmp_path / "scores.jsonl"),
        read_log_probs(tmp_path / "exact.jsonl"),
        strict=True,
    ):
        assert half.log_probs == pytest.approx(full.log_probs, abs=0.5, nan_ok=True)


def test_the_model_trains_on_afterwards(documents, tmp_path):
    model = llama(attention_dropout=0.5).train()
    write_log_probs(model, documents, tmp_path / "scores.jsonl")
    assert model.training
    # No dropout while it scored.
    write_log_probs(model.eval(), documents, tmp_path / "again.jsonl")
    assert (tmp_path / "scores.jsonl").read_text() == (tmp_path / "again.jsonl").read_text()


def test_a_model_of_nans_is_refused(tmp_path):
    model = llama()
    with torch.no_grad():
        model.lm_head.weight[5] = float("nan")
    with pytest.raises(QueryError, match="expected scores, found nan"):
        write_log_probs(model, [[3, 9, 27]], tmp_path / "scores.jsonl")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"window": 1}, "window: expected 2 or more"),
        ({"stride": 0}, "stride: expected 1 or more"),
        ({"window": 64, "stride": 64}, "stride: expected less than the window of 64 tokens"),
        (
            {"window": 1025, "stride": 8},
            "window: expected at most 1,024, the tokens that the model",
        ),
        ({"start_id": SCORES}, f"start_id: expected an id below {SCORES}, the model's, found"),
        ({"batch_size": 0}, "batch_size: expected 1 or more"),
    ],
)
def test_options_that_do_not_fit(options, says, tmp_path):
    options = {"window": 64, "stride": 32} | options
    with pytest.raises(OptionError, match=says):
        write_log_probs(llama(), [[3]], tmp_path / "scores.jsonl", **options)


@pytest.mark.parametrize(
    ("documents", "says"),
    [
        ([[3], [4, SCORES]], f"document 1: expected ids below {SCORES}, .* found 64 at place 1"),
        ([[3], [-1]], "document 1: expected ids below 64"),
        ([[0.5]], "document 0: expected a text or token ids"),
        ([3, 4], "document 0: expected a text or token ids"),
        ([[[3, 4]]], "document 0: expected a text or token ids"),
    ],
)
def test_documents_that_are_none(documents, says, tmp_path):
    with pytest.raises(QueryError, match=says):
        write_log_probs(llama(), documents, tmp_path / "scores.jsonl", window=64, stride=32)
    with pytest.raises(OptionError, match="documents: expected several, found one text"):
        write_log_probs(llama(), "text", tmp_path / "scores.jsonl", window=64, stride=32)


def test_frozen_parts_of_a_model_stay_so(documents, tmp_path):
    model = llama().train()
    model.model.layers[0].eval()
    modes = [part.training for part in model.modules()]
    write_log_probs(model, documents, tmp_path / "scores.jsonl")
    assert [part.training for part in model.modules()] == modes


@pytest.mark.parametrize("documents", [5, None])
def test_documents_must_be_several(documents, tmp_path):
    with pytest.raises(OptionError, match="documents: expected several, found"):
        write_log_probs(llama(), documents, tmp_path / "scores.jsonl")
