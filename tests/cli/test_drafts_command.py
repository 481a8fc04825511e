"""`everygram analyse drafts`: a replay in words, as JSON and as a table; what is refused."""

import inspect
import json
import re

import click
import pytest

import everygram
from conftest import write_jsonl
from everygram.analysis.drafts import read_streams, replay_drafts
from everygram.cli.drafts import drafts

TIMES = ("median_microseconds", "p99_microseconds")


@pytest.fixture
def streams(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    records = [
        {"text": " language processing", "prompt": "natural"},
        {"text": "the quick brown fox jumps"},
        {"token_ids": [*b"lazy dog"], "prompt_ids": [*b"the "]},
    ]
    return write_jsonl(tmp_path / "streams.jsonl", records)


def without_times(answer):
    return {name: value for name, value in answer.items() if name not in TIMES}


@pytest.mark.parametrize(
    "options", [{}, {"max_tokens": 3, "max_factor": 2.5}, {"lookback": 50, "min_token_prob": 0.5}]
)
def test_as_json(run, path, text_index, streams, options):
    given = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    code, out, err = run("analyse", "drafts", path, "streams.jsonl", "--json", *given)
    assert code == 0, err
    answer = json.loads(out)
    expected = replay_drafts(text_index, read_streams(streams, text_index), **options).as_dict()
    assert without_times(answer) == without_times(expected)
    assert 0 < answer[TIMES[0]] <= answer[TIMES[1]]
    assert re.fullmatch(r"(\[ +\d+\.\d s\] .*\n)+", err)


def test_nothing_is_compiled_but_drafts(run, path, streams, monkeypatch):
    def warm_up(index):
        raise AssertionError("compiles what drafts do not run")

    monkeypatch.setattr(everygram.Index, "warm_up", warm_up)
    code, _, err = run("analyse", "drafts", path, "streams.jsonl")
    assert code == 0, err


def test_in_words(run, path, text_index, streams):
    code, out, _ = run("analyse", "drafts", path, "streams.jsonl")
    said = replay_drafts(text_index, read_streams(streams, text_index)).as_dict()
    assert code == 0
    head, *rows = out.splitlines()
    assert head == "3 streams, 53 tokens"
    shown = dict(re.split(r"\s{2,}", row.strip()) for row in rows)
    assert re.fullmatch(r"\d+\.\d µs \(median\), \d+\.\d µs \(p99\)", shown.pop("time of a draft"))
    assert shown == {
        "forward passes": f"{said['num_steps']}, {said['saved_share']:.1%} saved",
        "tokens per pass": f"{said['tokens_per_step']:.2f}",
        "drafted per pass": f"{said['drafted_per_step']:.2f}",
        "accepted per pass": (
            f"{said['accepted_per_step']:.2f}, {said['acceptance_rate']:.1%} of these"
        ),
        "expected per pass": f"{said['mean_score']:.2f}",
        "length of the suffix": f"{said['mean_suffix_len']:.2f} tokens on average",
    }


def test_a_table(run, path, text_index, streams):
    code, _, _ = run("analyse", "drafts", path, "streams.jsonl", "--csv", "steps.csv")
    assert code == 0
    table = (streams.parent / "steps.csv").read_text()
    expected = replay_drafts(text_index, read_streams(streams, text_index)).csv()
    # (All but the last column, which is a time.)
    cut = [line.rpartition(",")[0] for line in table.splitlines()]
    assert cut == [line.rpartition(",")[0] for line in expected.splitlines()]
    assert table.startswith("stream,position,suffix_len,drafted,accepted,tokens,score,micro")


def test_streams_without_tokens(run, path, streams):
    write_jsonl(streams, [{"token_ids": []}])
    code, out, _ = run("analyse", "drafts", path, "streams.jsonl")
    assert (code, out) == (0, "1 stream, 0 tokens: nothing to replay\n")
    write_jsonl(streams, [{"token_ids": [1], "prompt_ids": []}])
    code, out, _ = run("analyse", "drafts", path, "streams.jsonl")
    assert code == 0
    assert "accepted per pass       0.00\n" in out


def test_what_is_refused(run, path, streams):
    code, _, err = run("analyse", "drafts", path, "none.jsonl")
    assert (code, "none.jsonl" in err) == (1, True)
    code, _, err = run("analyse", "drafts", path, "streams.jsonl", "--csv", "steps.txt")
    assert (code, "--csv: expected a name that ends in .csv" in err) == (2, True)
    code, _, err = run("analyse", "drafts", path, "streams.jsonl", "--max-tokens", "0")
    assert (code, "--max-tokens" in err) == (2, True)
    write_jsonl(streams, [{"token_ids": [1]}, {"token_ids": [256]}])
    code, _, err = run("analyse", "drafts", path, "streams.jsonl")
    assert (code, "streams.jsonl:2: token_ids[0]: token id 256 is outside" in err) == (1, True)
    streams.write_text("")
    code, _, err = run("analyse", "drafts", path, "streams.jsonl")
    assert (code, "expected streams of tokens, found none" in err) == (1, True)
    code, _, err = run("analyse", "drafts", path.parent, "streams.jsonl")
    assert code == 1


def test_options_have_the_defaults_of_the_method():
    shell = drafts.make_context("drafts", ["INDEX", "STREAMS"]).params
    method = inspect.signature(everygram.Index.draft).parameters
    assert {*shell} - {"index", "streams", "csv", "as_json"} == {*method} - {
        "self",
        "context",
        "raw",
    }
    for name, value in shell.items():
        if name in method:
            assert method[name].default == value, name
    for param in drafts.params:
        assert isinstance(param, click.Parameter)
        assert param.help.endswith("."), param
