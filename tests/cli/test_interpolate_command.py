"""A table of perplexities, JSON, exit codes; what is no file of log-probabilities."""

import inspect
import json
import re
import sys

import pytest
from test_help import defaults_of

import everygram
from conftest import write_jsonl
from everygram.analysis import interpolate, read_log_probs, write_log_probs

PROGRESS = r"\[ +\d+\.\d s\] growing trees\n(\[.*\n)*"
TUNE = ["natural language of the fox", "the lazy dog is natural", "a fox jumps over the dog"]
TEST = ["the natural language", "over the lazy fox", "the quick dog"]


def scored(texts):
    """Of bytes: what a model might say that takes each for as likely as the next but spaces."""
    return [
        {
            "token_ids": list(text.encode()),
            "logprobs": [None, *(-0.5 if each == " " else -2.5 for each in text[1:])],
        }
        for text in texts
    ]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "tune.jsonl", scored(TUNE))
    write_jsonl(tmp_path / "test.jsonl", scored(TEST))
    return tmp_path


def command(path, *more, tune="tune.jsonl", test="test.jsonl"):
    return ["interpolate", path, "--tune", tune, "--test", test, *more]


@pytest.mark.parametrize("weights", ["two", "forest"])
def test_a_table_of_perplexities(run, path, text_index, here, weights):
    found = interpolate(text_index, "tune.jsonl", "test.jsonl", weights=weights)
    code, out, err = run(*command(path, "--weights", weights))
    assert code == 0
    assert re.fullmatch(PROGRESS if weights == "forest" else "", err), err
    lines = out.splitlines()
    assert lines[0] == (
        f"λ  {found.sparse_lambda:.3f} for sparse tokens, {found.other_lambda:.3f} for others; "
        f"{found.one_lambda:.3f} if it is one for all"
    )
    more = ["forest"] if weights == "forest" else []
    assert re.split(r"  +", lines[2].strip()) == [
        *("documents", "tokens", "sparse", "P∞ = 0", "λ", "neural", "one λ", "two λ", *more, "Δ")
    ]
    for line, name, of in ((lines[3], "tune", found.tune), (lines[4], "test", found.test)):
        whole = of.all
        assert re.split(r"  +", line) == [
            name,
            str(of.documents),
            str(whole.tokens),
            f"{of.sparse_share:.1%}",
            f"{whole.zeros / whole.tokens:.1%}",
            f"{whole.mean_lambda:.3f}",
            f"{whole.neural_perplexity:.2f}",
            f"{of.one_lambda_perplexity:.2f}",
            f"{of.two_lambda_perplexity:.2f}",
            *([f"{whole.perplexity:.2f}"] if more else []),
            f"{whole.delta:.1f} %",
        ]
    for line, name in ((lines[5], "sparse"), (lines[6], "other")):
        part = getattr(found.test, name)
        assert re.split(r"  +", line) == [
            f"test, {name}",
            str(part.tokens),
            f"{part.zeros / part.tokens:.1%}",
            f"{part.mean_lambda:.3f}",
            f"{part.neural_perplexity:.2f}",
            f"{part.perplexity:.2f}",
            f"{part.delta:.1f} %",
        ]
    # Columns end below their heads.
    assert {len(line) for line in lines[2:7]} == {len(lines[2])}
    low, high = found.test.interval
    assert f"{more[0] if more else 'two λ'} {low:.2f} to {high:.2f}, Δ " in lines[8]
    code, out, _ = run(*command(path, "--weights", weights, "--bootstrap", "0"))
    assert code == 0 and "95 %" not in out


def test_json_is_the_result(run, path, text_index, here):
    for weights in ("two", "forest"):
        options = ["--weights", weights, "--bootstrap", "20", "--seed", "3", "--json"]
        code, out, _ = run(*command(path, *options))
        assert code == 0
        found = interpolate(
            text_index, "tune.jsonl", "test.jsonl", weights=weights, bootstrap=20, seed=3
        )
        assert json.loads(out) == found.as_dict()


def test_files_of_other_kinds(run, path, here):
    expected = run(*command(path, "--json"))
    write_log_probs("tune.npz", read_log_probs("tune.jsonl"))
    write_log_probs("test.jsonl.zst", read_log_probs("test.jsonl"))
    assert run(*command(path, "--json", tune="tune.npz", test="test.jsonl.zst")) == expected
    given = (here / "tune.jsonl").read_text()
    assert run(*command(path, "--json", tune="-"), stdin=given) == expected


def test_defaults_are_those_of_python():
    shell = defaults_of("interpolate", "INDEX", "--tune", "a", "--test", "b")
    parameters = inspect.signature(interpolate).parameters
    assert shell.keys() - {"as_json"} == parameters.keys() - {"progress"}
    for name in ("weights", "bootstrap", "seed"):
        assert shell[name] == parameters[name].default


def test_what_is_not_finite_is_said(run, path, here):
    # (Of these bytes the index knows all, and the model little.)
    write_jsonl(
        here / "sure.jsonl", [{"token_ids": list(b"the lazy"), "logprobs": [None] * 7 + [-99]}]
    )
    code, out, _ = run(*command(path, tune="sure.jsonl"))
    assert code == 0
    assert "–       not finite: a token has probability 0" in out
    assert json.loads(run(*command(path, "--json", tune="sure.jsonl"))[1])["test"]["delta"] is None
    assert "not finite" not in run(*command(path))[1]


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        (b"", 1, "bad.jsonl: expected documents, found none"),
        (b"{}", 1, "bad.jsonl:1: expected a field 'token_ids'"),
        (b'{"token_ids": [1], "logprobs": [3]}', 1, "bad.jsonl:1: log-probabilities: expected"),
        (b"\x1f\x8b\x08\0", 1, "bad.jsonl: the gzip file is cut off"),
        (b'{"token_ids": [1], "logprobs": [null]}', 2, "--tune: expected documents with log-prob"),
        (b'{"token_ids": [256], "logprobs": [-1]}', 2, "bad.jsonl:1: token id 256 at place 0 is"),
    ],
)
def test_files_that_are_refused(run, path, here, content, code, says):
    (here / "bad.jsonl").write_bytes(content)
    found = run(*command(path, tune="bad.jsonl"))
    assert found[:2] == (code, "")
    assert found[2].startswith(f"error: {says}")
    assert "--on-error" not in found[2]


def test_options_that_are_refused(run, path, here, monkeypatch):
    for arguments, says in (
        (["interpolate", path, "--tune", "tune.jsonl"], "Missing option '--test'"),
        (command(path, "--weights", "three"), "--weights"),
        (command(path, "--bootstrap", "-1"), "--bootstrap"),
        (command(path, tune=""), "--tune: expected a path, found an empty string"),
    ):
        code, out, err = run(*arguments)
        assert (code, out) == (2, "") and says in err
    assert run(*command(path, test="none.jsonl"))[0] == 1
    monkeypatch.setitem(sys.modules, "sklearn.tree", None)
    code, _, err = run(*command(path, "--weights", "forest"))
    assert code == 1 and err.endswith(
        "error: --weights: a forest needs scikit-learn: pip install 'everygram[forest]'\n"
    )


def test_the_index_of_the_fixture_is_of_bytes(text_index):
    """So that the ids above are its own."""
    assert text_index.encode("the").tolist() == list(b"the")
    assert isinstance(text_index, everygram.Index)
