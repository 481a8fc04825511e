"""`Proposer` by the contract of vLLM's `custom_class`, called with arrays as vLLM has them."""

import inspect
import subprocess
import sys
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest

import everygram
from conftest import write_index
from everygram.errors import FormatError, OptionError, QueryError
from everygram.integrations.vllm import OPTIONS, Proposer

DOCUMENTS = [[1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 9, 4, 5, 30], [1, 2, 3, 10]]
LONG = 16


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_index(tmp_path_factory.mktemp("vllm") / "index", DOCUMENTS, "u8", 2, 40)


def config(tokens=3, additional=None, vocab=100, longest=LONG):
    """What the proposer reads of vLLM's configuration."""
    return SimpleNamespace(
        speculative_config=SimpleNamespace(
            method="custom_class",
            custom_proposer_backend="everygram.integrations.vllm.Proposer",
            num_speculative_tokens=tokens,
        ),
        model_config=SimpleNamespace(max_model_len=longest, get_vocab_size=lambda: vocab),
        additional_config={} if additional is None else {"everygram": additional},
    )


def batch(*requests):
    """(sampled_token_ids, num_tokens_no_spec, token_ids_cpu) as vLLM has them: rows to spare."""
    rows = np.full((len(requests) + 2, LONG), 77, np.int32)
    for row, request in zip(rows, requests, strict=False):
        row[: len(request)] = request
    lengths = np.array([*map(len, requests), 0, 0], np.int32)
    return [[request[-1]] if request else [] for request in requests], lengths, rows


def test_it_is_called_as_vllm_does(path):
    module, _, name = config().speculative_config.custom_proposer_backend.rpartition(".")
    proposer = getattr(import_module(module), name)(config(additional={"index": str(path)}))
    proposer.load_model(object())
    sampled, lengths, rows = batch([7, 1, 2], [0, 4, 5, 6], [13])
    drafts = proposer.propose(
        sampled_token_ids=sampled,
        num_tokens_no_spec=lengths,
        token_ids_cpu=rows,
        slot_mappings=None,
    )
    assert drafts == [[3, 4], [7, 8], []]
    assert all(type(token) is int for draft in drafts for token in draft)
    parameters = inspect.signature(Proposer.propose).parameters
    assert list(parameters) == [
        "self",
        "sampled_token_ids",
        "num_tokens_no_spec",
        "token_ids_cpu",
        "slot_mappings",
    ]
    assert parameters["slot_mappings"].default is None


def test_drafts_are_those_of_the_index(path):
    proposer = Proposer(config(additional={"index": path, "max_factor": 2, "lookback": 5}))
    requests = [[1], [1, 2], [3, 1, 2, 3], [4, 5, 4, 5, 4], [5, 30], [30, 31, 30]]
    sampled, lengths, rows = batch(*requests)
    with everygram.open(path) as index:
        assert proposer.propose(sampled, lengths, rows) == [
            index.draft(request, max_tokens=3, max_factor=2, lookback=5).token_ids
            for request in requests
        ]


def test_arrays_of_every_kind(path):
    proposer = Proposer(config(additional={"index": path}))
    requests = [[7, 1, 2], [0, 4, 5, 6]]
    sampled, lengths, rows = batch(*requests)
    expected = [[3, 4], [7, 8]]
    # Lengths of these requests alone; tokens as arrays; more than one sampled.
    assert proposer.propose(sampled, lengths[:2], rows) == expected
    assert proposer.propose([np.array([1, 2]), np.array([6])], lengths, rows) == expected
    assert proposer.propose([np.array([], int), np.array([6])], lengths, rows) == [[], [7, 8]]
    assert proposer.propose(sampled, lengths.tolist(), rows.astype(np.int64)) == expected
    assert proposer.propose(sampled, lengths, np.asfortranarray(rows)) == expected


def test_a_draft_that_is_too_long_is_refused_at_once(path):
    with pytest.raises(QueryError, match="max_tokens: expected 1 to 1,024, found 2000"):
        Proposer(config(2000, {"index": path}))


def test_where_nothing_can_be_drafted(path):
    proposer = Proposer(config(additional={"index": path, "max_factor": 9}))
    # Nothing was sampled: a part of a prompt. Nothing fits behind what is there.
    full = [*range(1, 7)] * 3
    sampled, lengths, rows = batch([1, 2, 3], full[:LONG], full[: LONG - 1])
    sampled[0] = []
    drafts = proposer.propose(sampled, lengths, rows)
    assert drafts[:2] == [[], []]
    assert len(drafts[2]) == 1
    assert proposer.propose([], lengths, rows) == []


@pytest.mark.parametrize("unknown", [-1, 40, 99, 255])
def test_ids_that_the_index_does_not_have(path, unknown):
    proposer = Proposer(config(additional={"index": path}))
    sampled, lengths, rows = batch([1, unknown, 1, 2], [1, 2, unknown], [unknown, unknown])
    assert proposer.propose(sampled, lengths, rows) == [[3, 4], [], []]


def test_ids_that_the_model_does_not_have(path):
    proposer = Proposer(config(additional={"index": path}, vocab=30))
    assert proposer.propose(*batch([9, 4])) == [[5]]
    assert Proposer(config(additional={"index": path})).propose(*batch([9, 4])) == [[5, 30]]


def test_repeats_in_a_request(path):
    request = [20, 21, 22, 23, 20, 21, 22]
    assert Proposer(config(additional={"index": path})).propose(*batch(request)) == [[23, 20, 21]]
    without = Proposer(config(additional={"index": path, "lookback": 0}))
    assert without.propose(*batch(request)) == [[]]


def test_the_index_of_the_environment(path, monkeypatch):
    monkeypatch.setenv("EVERYGRAM_INDEX", str(path))
    assert Proposer(config()).propose(*batch([1, 2])) == [[3, 4]]
    nothing = config()
    nothing.additional_config = None
    assert Proposer(nothing).index.num_documents == 3
    with pytest.raises(FormatError):
        Proposer(config(additional={"index": str(path.parent)}))


def test_several_indexes(path, tmp_path):
    more = write_index(tmp_path / "more", [[1, 2, 9], [1, 2, 9], [1, 2, 9]], "u8", 1, 40)
    proposer = Proposer(config(additional={"index": [str(path), str(more)], "preload": "fences"}))
    assert proposer.propose(*batch([1, 2])) == [[9]]


@pytest.mark.parametrize(
    ("additional", "error", "said"),
    [
        ({}, OptionError, "no index: name its folder as .*EVERYGRAM_INDEX"),
        ("my-index", OptionError, "everygram: expected an object of settings, found 'my-index'"),
        ({"path": "x"}, OptionError, "expected settings of index, preload, .*, found 'path'"),
        ({"max_tokens": 3}, OptionError, "found 'max_tokens'"),
        ({"index": "/none"}, FormatError, "none"),
        ({"min_token_prob": 2}, QueryError, "min_token_prob: expected 0 to 1, found 2"),
        ({"lookback": "all"}, QueryError, "lookback: expected 0 or more, found 'all'"),
    ],
)
def test_wrong_settings(path, monkeypatch, additional, error, said):
    monkeypatch.delenv("EVERYGRAM_INDEX", raising=False)
    if isinstance(additional, dict) and {*additional} & {*OPTIONS}:
        additional = {"index": path, **additional}
    with pytest.raises(error, match=said):
        Proposer(config(additional=additional))


def test_it_needs_nothing_of_vllm():
    script = (
        "import sys; import everygram.integrations.vllm; "
        "print([m for m in ('vllm', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
