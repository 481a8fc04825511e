"""Replays of recorded streams against a step-by-step simulation; files of streams."""

import csv
import gzip
import io
import itertools
import json
import random

import numpy as np
import pytest

import everygram
from conftest import write_index, write_jsonl
from everygram.analysis.drafts import Stream, read_streams, replay_drafts
from everygram.errors import CorpusError, EverygramError, OptionError, QueryError
from naive import NaiveIndex
from naive_drafts import naive_draft

SEP = 255
DOCUMENTS = [[1, 2, 3, 4, 5], [1, 2, 3, 6], [2, 3, 4, 5, 7, 8]]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replay")
    with everygram.open(write_index(folder / "index", DOCUMENTS, "u8", 2, 12)) as index:
        yield index


def simulated(oracle, prompt, truth, **options):
    """(position, suffix_len, drafted, accepted, tokens, score) of each step."""
    at = 0
    while at < len(truth):
        length, count, pairs, _ = naive_draft(oracle, [*prompt, *truth[:at]], **options)
        left = truth[at:]
        drafted = [token for token, _ in pairs][: len(left)]
        same = [a == b for a, b in zip(drafted, left, strict=False)]
        accepted = same.index(False) if False in same else len(same)
        gained = min(accepted + 1, len(left))
        score = sum(number / count for _, number in pairs)
        yield at, length, len(drafted), accepted, gained, pytest.approx(score)
        at += gained


def test_a_stream_by_hand(index):
    replay = replay_drafts(index, [Stream([3, 4, 5, 7, 9], [1, 2])], max_factor=1)
    # After [1, 2]: [3, 4], both right, and 5. [1, 2, 3, 4, 5] ends a document. After
    # [2, 3, 4, 5, 7]: [8], which is wrong.
    assert replay.position.tolist() == [0, 3, 4]
    assert replay.suffix_len.tolist() == [2, 5, 5]
    assert replay.drafted.tolist() == [2, 0, 1]
    assert replay.accepted.tolist() == [2, 0, 0]
    assert replay.tokens.tolist() == [3, 1, 1]
    assert replay.score.tolist() == [1.5, 0, 1]


@pytest.mark.parametrize(
    "options", [{}, {"max_factor": 3, "max_tokens": 2}, {"lookback": 9, "min_token_prob": 0.5}]
)
def test_replays_are_simulations(tmp_path, options):
    rng = random.Random(3)
    documents = [rng.choices(range(4), k=rng.randint(0, 30)) for _ in range(12)]
    streams = [
        Stream(rng.choices(range(5), k=rng.randint(0, 20)), rng.choices(range(5), k=number))
        for number in range(6)
    ]
    streams += [Stream(document[5:], document[:5]) for document in documents[:4]]
    oracle = NaiveIndex(documents, SEP)
    with everygram.open(write_index(tmp_path / "index", documents, "u8", 2, 9)) as index:
        replay = replay_drafts(index, iter(streams), **options)
    columns = (replay.stream, replay.position, replay.suffix_len, replay.drafted)
    columns += (replay.accepted, replay.tokens, replay.score)
    expected = [
        (number, *step)
        for number, stream in enumerate(streams)
        for step in simulated(oracle, stream.prompt, stream.tokens, **options)
    ]
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == expected
    assert (replay.microseconds > 0).all()
    # The sums.
    tokens, steps = sum(len(stream.tokens) for stream in streams), len(expected)
    accepted, drafted = sum(step[4] for step in expected), sum(step[3] for step in expected)
    said = replay.as_dict()
    assert (said["num_streams"], said["num_tokens"], said["num_steps"]) == (10, tokens, steps)
    assert said["saved_passes"] == tokens - steps > 0
    assert said["saved_share"] == pytest.approx(1 - steps / tokens)
    assert said["tokens_per_step"] == pytest.approx(tokens / steps)
    assert said["accepted_per_step"] == pytest.approx(accepted / steps)
    assert said["drafted_per_step"] == pytest.approx(drafted / steps)
    assert said["acceptance_rate"] == accepted / drafted
    assert said["mean_suffix_len"] == pytest.approx(replay.suffix_len.mean())
    assert said["mean_score"] == pytest.approx(replay.score.mean())
    times = sorted(replay.microseconds.tolist())
    assert times[0] <= said["median_microseconds"] <= said["p99_microseconds"] <= times[-1]
    assert json.loads(json.dumps(said)) == said
    assert repr(replay) == f"Replay(10 streams, {tokens:,} tokens in {steps:,} steps)"
    # The table.
    rows = list(csv.DictReader(io.StringIO(replay.csv())))
    assert len(rows) == steps
    for row, step in zip(rows, expected, strict=True):
        assert (int(row["stream"]), int(row["position"]), int(row["tokens"])) == (
            step[0],
            step[1],
            step[5],
        )
        assert float(row["score"]) == step[6]


def test_nothing_to_replay(index):
    for streams in ([], [[]], [Stream([], [1, 2])]):
        replay = replay_drafts(index, streams)
        said = replay.as_dict()
        assert said.pop("num_streams") == len(streams)
        assert {name for name, value in said.items() if value == 0} == {
            "num_tokens",
            "num_steps",
            "saved_passes",
        }
        assert {value for value in said.values() if value != 0} == {None}
        assert replay.csv().count("\n") == 1


def test_streams_of_text(text_index):
    ids = [*b"natural language processing"]
    expected = replay_drafts(text_index, [Stream(ids[8:], ids[:8])])
    found = replay_drafts(text_index, [Stream("language processing", "natural ")])
    assert found.tokens.tolist() == expected.tokens.tolist()
    assert found.num_tokens == 19
    assert replay_drafts(text_index, ["natural"]).num_tokens == 7
    with pytest.raises(QueryError, match="max_tokens"):
        replay_drafts(text_index, ["natural"], max_tokens=0)


def test_files_of_streams(index, text_index, tmp_path):
    records = [
        {"token_ids": [3, 4, 5], "prompt_ids": [1, 2], "decoding": "greedy"},
        {"token_ids": []},
        {"token_ids": [11]},
    ]
    path = write_jsonl(tmp_path / "streams.jsonl", records)
    with gzip.open(tmp_path / "streams.jsonl.gz", "wb") as file:
        file.write(path.read_bytes())
    for given in (path, str(path), f"{path}.gz"):
        found = [(list(each.tokens), list(each.prompt)) for each in read_streams(given, index)]
        assert found == [([3, 4, 5], [1, 2]), ([], []), ([11], [])]
    texts = write_jsonl(tmp_path / "texts.jsonl", [{"text": "ab", "prompt": "c"}, {"text": "d"}])
    found = [(list(each.tokens), list(each.prompt)) for each in read_streams(texts, text_index)]
    assert found == [([*b"ab"], [*b"c"]), ([*b"d"], [])]


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (
            {"token_ids": [1, 12]},
            r"s\.jsonl:2: token_ids\[1\]: token id 12 is outside the vocabulary",
        ),
        (
            {"token_ids": [1], "prompt_ids": [-1]},
            r"s\.jsonl:2: prompt_ids\[0\]: token id -1 is outside",
        ),
        ({"token_ids": [1.5]}, r"s\.jsonl:2: token_ids\[0\]: expected a token id"),
        ({"token_ids": "1 2"}, r"s\.jsonl:2: field 'token_ids': expected a list of token ids"),
        ({"token_ids": [1], "prompt_ids": None}, r"field 'prompt_ids': expected a list .*None"),
        ({"ids": [1]}, r"s\.jsonl:2: no field 'text'.*'ids'; expected 'token_ids' or 'text'"),
        ({"text": 3}, r"s\.jsonl:2: field 'text': expected a string"),
        ({"text": "a"}, r"s\.jsonl:2: index '.*' has no tokenizer"),
        ([1], r"s\.jsonl:2: expected a JSON object"),
    ],
)
def test_what_is_no_stream(index, tmp_path, record, said):
    path = write_jsonl(tmp_path / "s.jsonl", [{"token_ids": [1]}, record])
    with pytest.raises(EverygramError, match=said) as caught:
        list(read_streams(path, index))
    assert not isinstance(caught.value, (QueryError, OptionError))


@pytest.mark.parametrize("given", ["abc", b"ab", Stream("a"), {"token_ids": [1]}, None, 3])
def test_one_stream_is_no_list_of_streams(index, given):
    with pytest.raises(OptionError, match=r"streams: expected a list, .* of texts, token ids or"):
        replay_drafts(index, given)


def test_what_is_wrong_with_streams_is_said(index):
    with pytest.raises(QueryError, match=r"stream 1: tokens\[1\]: token id 99 is outside"):
        replay_drafts(index, [[1], [1, 99]])
    with pytest.raises(QueryError, match=r"stream 0: prompt\[0\]: token id 99 is outside"):
        replay_drafts(index, [Stream([1], [99])])
    # Options are, whether there are streams or not.
    with pytest.raises(QueryError, match="max_tokens: expected 1 or more"):
        replay_drafts(index, [], max_tokens=0)
    with pytest.raises(OptionError, match="index: expected an open index"):
        replay_drafts("index", [[1]])
    with pytest.raises(OptionError, match="index: expected an open index"):
        list(read_streams("streams.jsonl", "index"))


def test_what_is_no_file_of_streams(index, tmp_path):
    (tmp_path / "two").mkdir()
    for name in ("a", "b"):
        write_jsonl(tmp_path / "two" / f"{name}.jsonl", [{"token_ids": [1]}])
    with pytest.raises(CorpusError, match="expected one file, found 2"):
        list(read_streams(tmp_path / "two", index))
    with pytest.raises(CorpusError):
        list(read_streams(tmp_path / "none.jsonl", index))
    for given, said in (("", "found an empty one"), (3, "expected a path or an address, found 3")):
        with pytest.raises(OptionError, match=said):
            list(read_streams(given, index))


def test_steps_cover_the_streams(index):
    """Whatever the options: every token is of one step, in order."""
    rng = np.random.default_rng(1)
    streams = [rng.integers(0, 9, 30) for _ in range(3)]
    for options in itertools.product((1, 8), (0.0, 0.9), (0, 20)):
        named = dict(zip(("max_tokens", "min_token_prob", "lookback"), options, strict=True))
        replay = replay_drafts(index, streams, **named, max_factor=float("inf"))
        for number in range(3):
            mine = replay.stream == number
            ends = np.cumsum(replay.tokens[mine])
            assert replay.position[mine].tolist() == [0, *ends[:-1].tolist()]
            assert ends[-1] == 30
