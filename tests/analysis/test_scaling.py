"""Agreement and perplexity by the size of the index, each size against brute force."""

import csv
import io
import math
import tempfile
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import everygram
from campaign import sized
from conftest import write_index
from everygram import analysis
from everygram.analysis import ScoredDocument, subsampling
from everygram.analysis.figures import drawn
from everygram.errors import BuildError, CorpusError, EverygramError, OptionError, QueryError
from naive import NaiveIndex
from naive_agreement import agreement

SEP = 255
TOKENS = st.sampled_from([1, 2, 3])
DOCUMENTS = st.lists(st.lists(TOKENS, max_size=8), min_size=1, max_size=12)
TEXTS = st.lists(st.lists(st.sampled_from([1, 2, 3, 9]), max_size=8), max_size=3)
VOCAB = 10


def floor_perplexity(naive, texts):
    """Of `infgram-floor` with its own weights, by its definition."""
    logs = []
    for text in texts:
        for place, token in enumerate(text):
            prompt = naive.longest_suffix([SEP, *text[:place]])
            _, _, infgram = naive.prob(prompt, token)
            weight = 0.6 if len(naive.following(prompt)) == 1 else 0.5
            low = (naive.count([token]) + 1) / (naive.count([]) + VOCAB + 1)
            logs.append(math.log(weight * infgram + (1 - weight) * low))
    return pytest.approx(math.exp(-sum(logs) / len(logs)), rel=1e-12) if logs else None


def check_sizes(found, documents, numbers, texts, steps, seed, order):
    """Each size is that of an index of the documents that were drawn for it."""
    parts = subsampling.nested(np.array(numbers), steps, np.random.default_rng(seed))
    rows = found.as_dict()["steps"]
    assert len(rows) == len(found.steps) == steps
    for size, (row, step) in enumerate(zip(rows, found.steps, strict=True), 1):
        drawn = np.concatenate(parts[:size]).tolist()
        assert len(drawn) == len(numbers) // 2 ** (steps - size)
        naive = NaiveIndex([documents[number] for number in drawn], SEP)
        expected = agreement(naive, [(text, 0) for text in texts], order)
        assert step.agreement.as_dict() == expected
        assert row == {
            "share": 1 / 2 ** (steps - size),
            "num_documents": len(drawn),
            "num_tokens": sum(map(len, naive.documents)),
            "ngram_agreement": expected["ngram"]["agreement"],
            "infgram_agreement": expected["infgram"]["agreement"],
            "sparse_agreement": expected["sparse"]["agreement"],
            "share_sparse": expected["share_sparse"],
            "median_n": expected["infgram"]["median_n"],
            "mean_n": expected["infgram"]["mean_n"],
            "perplexity": floor_perplexity(naive, texts),
        }


@settings(max_examples=sized(25, 1000), deadline=None)
@given(DOCUMENTS, TEXTS, st.data(), st.integers(0, 3), st.integers(1, 6))
def test_each_size_is_an_index_of_its_documents(
    tmp_path_factory, documents, texts, data, seed, order
):
    steps = data.draw(st.integers(1, len(documents).bit_length()))
    folder = tmp_path_factory.mktemp("scaling")
    (folder / "work").mkdir()
    told = []
    with everygram.open(write_index(folder / "index", documents, "u8", 2, VOCAB)) as index:
        found = analysis.scaling(
            index,
            texts,
            steps=steps,
            seed=seed,
            order=order,
            work_dir=folder / "work",
            progress=told.append,
        )
    check_sizes(found, documents, range(len(documents)), texts, steps, seed, order)
    assert told == found.steps
    assert [*(folder / "work").iterdir()] == []


def test_parts_are_drawn_at_random_and_nested():
    numbers = np.arange(3, 203)
    parts = subsampling.nested(numbers, 5, np.random.default_rng(0))
    assert [len(part) for part in parts] == [12, 13, 25, 50, 100]
    assert np.sort(np.concatenate(parts)).tolist() == numbers.tolist()
    assert all((np.diff(part) > 0).all() for part in parts)
    again = subsampling.nested(numbers, 5, np.random.default_rng(0))
    other = subsampling.nested(numbers, 5, np.random.default_rng(1))
    assert all(map(np.array_equal, parts, again)) and not np.array_equal(parts[0], other[0])
    # No part is of neighbours.
    assert parts[0].max() - parts[0].min() > 60
    (whole,) = subsampling.nested(numbers, 1, np.random.default_rng(0))
    assert whole.tolist() == numbers.tolist()


DOCS = [[1, 2, 3], [1, 2], [3, 3, 3, 1], [2], [1, 1, 2, 3], [], [2, 3, 1], [3, 2, 1, 2]]
TEXT = [[1, 2, 3, 3, 1], [2, 3]]


def test_deleted_documents_are_never_drawn(tmp_path):
    path = write_index(tmp_path / "index", DOCS, "u8", 3, VOCAB, deleted=[[1, 4], [7]])
    left = [0, 2, 3, 5, 6]
    with everygram.open(path) as index:
        assert subsampling.live_documents(index.engine).tolist() == left
        found = analysis.scaling(index, TEXT, steps=3, seed=5)
    check_sizes(found, DOCS, left, TEXT, 3, 5, 5)


def test_a_union_is_drawn_from_as_one(tmp_path):
    paths = [
        write_index(tmp_path / name, some, "u8", vocab_size=VOCAB)
        for name, some in (("a", DOCS[:3]), ("b", DOCS[3:]))
    ]
    with everygram.open(paths) as union:
        found = analysis.scaling(union, TEXT, steps=4, seed=1, order=3)
    check_sizes(found, DOCS, range(len(DOCS)), TEXT, 4, 1, 3)


def test_texts_are_encoded_once_and_cut(text_index):
    found = analysis.scaling(text_index, ["the natural fox"], steps=2, max_tokens=7)
    ids = analysis.scaling(text_index, [[*b"the nat"]], steps=2, max_tokens=None)
    assert found == ids and found.steps[0].num_documents == 3
    assert found.as_dict()["num_evaluated_tokens"] == 7
    assert found != analysis.scaling(text_index, [[*b"the nat"]], steps=2, seed=3)
    assert found.steps[-1].agreement == analysis.agreement(text_index, [[*b"the nat"]]).total


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    path = write_index(tmp_path_factory.mktemp("some") / "index", DOCS, "u8", 2, VOCAB)
    with everygram.open(path) as index:
        yield index


def scored(ids, probs):
    return ScoredDocument(np.array(ids), np.log(np.array(probs)))


SCORED = [
    # (Tokens that no model of the index expects: no λ is 1.)
    scored([9, 1, 2, 9, 3, 2, 1, 2, 9], [0.3, 0.5, 0.1, 0.4, 0.2, 0.2, 0.3, 0.2, 0.5]),
    scored([3, 3, 2, 1], [0.2, 0.7, 0.3, 0.1]),
    scored([2, 3, 1], [0.9, 0.4, 0.1]),
]


def test_a_neural_model_is_mixed_with_each_size(index):
    found = analysis.scaling(index, TEXT, steps=3, scored=iter(SCORED))
    whole = analysis.interpolate(index, SCORED[:1], SCORED[1:], bootstrap=0)
    assert found.steps[-1].mixed == whole
    row = found.rows()[-1]
    assert row["mixed_perplexity"] == whole.test.all.perplexity < math.inf
    assert (row["sparse_lambda"], row["other_lambda"]) == (whole.sparse_lambda, whole.other_lambda)
    neural = [each for one in SCORED[1:] for each in one.log_probs.tolist()]
    for row in found.rows():
        assert row["neural_perplexity"] == pytest.approx(math.exp(-sum(neural) / len(neural)))
    # The first size is that of an index of one document.
    (number,) = subsampling.nested(np.arange(8), 4, np.random.default_rng(0))[0].tolist()
    first = analysis.scaling(index, TEXT, steps=4, scored=SCORED).steps[0]
    assert (first.num_documents, first.num_tokens) == (1, len(DOCS[number]))
    assert list(found.perplexities) == ["∞-gram with a floor", "neural mixed with ∞-gram"]
    *_, axis = analysis.figure(found).axes
    mixed, alone = (list(line.get_ydata()) for line in axis.lines)
    assert mixed == [row["mixed_perplexity"] for row in found.rows()]
    assert set(alone) == {found.rows()[0]["neural_perplexity"]}


def test_the_neural_model_may_be_a_file(index, tmp_path):
    analysis.write_log_probs(tmp_path / "scored.npz", SCORED)
    found = analysis.scaling(index, TEXT, steps=2, scored=tmp_path / "scored.npz")
    assert found.rows() == analysis.scaling(index, TEXT, steps=2, scored=SCORED).rows()


def test_the_table_and_the_figure_have_every_size(index):
    found = analysis.scaling(index, TEXT, steps=4)
    rows = list(csv.DictReader(io.StringIO(found.csv())))
    assert rows == [
        {name: "" if value is None else str(value) for name, value in row.items()}
        for row in found.rows()
    ]
    agreement_axis, perplexity_axis = analysis.figure(found).axes
    lines = {line.get_label(): line for line in agreement_axis.lines}
    assert set(lines) == {"5-gram", "∞-gram", "sparse"}
    sizes = [step.num_tokens for step in found.steps]
    assert list(lines["∞-gram"].get_xdata()) == sizes
    assert list(lines["∞-gram"].get_ydata()) == [row["infgram_agreement"] for row in found.rows()]
    (line,) = perplexity_axis.lines
    assert list(line.get_ydata()) == [step.perplexity for step in found.steps]
    assert "4 sizes" in repr(found) and "100.00%" in found._repr_html_()


def test_of_no_texts(index):
    found = analysis.scaling(index, [], steps=2)
    assert found.rows()[0]["perplexity"] is None and found.rows()[0]["infgram_agreement"] is None
    assert drawn(analysis.figure(found), "png")


def test_nothing_is_left_when_it_fails(index, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def stop(step):
        assert len([*tmp_path.iterdir()]) == 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        analysis.scaling(index, TEXT, steps=3, progress=stop)
    assert [*tmp_path.iterdir()] == []

    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(subsampling, "publish", lambda path, *rest: full(path))
    with pytest.raises(BuildError, match="no space left"):
        analysis.scaling(index, TEXT, steps=3)
    assert [*tmp_path.iterdir()] == []


def test_a_full_disk_is_said_before_any_work(index, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(subsampling.shutil, "disk_usage", lambda path: usage(9, 1, 8))
    says = r"no space left at .*: parts of the index need .* MB, 0.0 MB are free; .* work_dir"
    with pytest.raises(BuildError, match=says):
        analysis.scaling(index, TEXT, steps=3, work_dir=tmp_path)
    assert [*tmp_path.iterdir()] == []
    # One size needs no parts.
    assert len(analysis.scaling(index, TEXT, steps=1, work_dir=tmp_path).steps) == 1


WRONG = [
    ({"index": Path("x")}, OptionError, "index: expected an open index"),
    ({"documents": "abc"}, OptionError, "documents: expected a list"),
    ({"documents": [[300]]}, QueryError, "document 0: "),
    ({"documents": [{"x": 1}]}, CorpusError, "document 0: no field 'text'"),
    ({"steps": 5}, OptionError, "steps: expected 1 to 4 for an index of 8 documents, found 5"),
    ({"steps": 0}, OptionError, "steps: expected 1 or more"),
    ({"steps": 10**30}, OptionError, "steps: expected 1 to 4"),
    ({"seed": -1}, OptionError, "seed: expected 0 or more"),
    ({"order": 0}, OptionError, "order: expected 1 or more"),
    ({"max_tokens": 0}, OptionError, "max_tokens: expected 1 or more"),
    ({"work_dir": "no/such"}, OptionError, "work_dir: expected a folder that is there"),
    ({"work_dir": 3}, OptionError, "work_dir: expected a path"),
    ({"memory": "x"}, OptionError, "memory: expected a size"),
    ({"threads": 0}, OptionError, "threads: expected 1 or more"),
    ({"progress": 3}, OptionError, "progress: expected a function"),
    ({"scored": SCORED[:1]}, OptionError, "scored: expected two documents or more, .* found 1"),
    (
        {"scored": [SCORED[0], ScoredDocument([1], [None])]},
        OptionError,
        "scored: .* none in the second 1",
    ),
    (
        {"scored": [*SCORED[:1], ScoredDocument([300], [-1.0])]},
        QueryError,
        "document 1: token id 300 .* another tokenizer",
    ),
    ({"scored": 3}, OptionError, "scored: expected a list of ScoredDocument"),
    ({"scored": "none.jsonl"}, CorpusError, "none.jsonl"),
]


@pytest.mark.parametrize(("given", "kind", "says"), WRONG)
def test_what_is_wrong_is_said(index, given, kind, says):
    arguments = {"index": index, "documents": [[1]], "steps": 2} | given
    with pytest.raises(EverygramError, match=says) as told:
        analysis.scaling(arguments.pop("index"), **arguments)
    assert type(told.value) is kind


def test_a_size_without_tokens_can_be_measured_but_not_mixed(tmp_path):
    with everygram.open(write_index(tmp_path / "index", [[], []], "u8", vocab_size=VOCAB)) as index:
        found = analysis.scaling(index, [[1]], steps=2)
        assert [step.num_tokens for step in found.steps] == [0, 0]
        assert drawn(analysis.figure(found), "png")
        with pytest.raises(OptionError, match=r"steps: .* the smallest of 2 sizes has no tokens"):
            analysis.scaling(index, [[1]], steps=2, scored=SCORED)


def test_an_empty_index_has_no_parts(tmp_path):
    with everygram.open(write_index(tmp_path / "index", [], "u8", vocab_size=VOCAB)) as index:
        found = analysis.scaling(index, [[1]], steps=1)
        assert found.steps[0].num_tokens == 0
        assert found.as_dict()["steps"][0]["infgram_agreement"] == 0.0
        with pytest.raises(OptionError, match="expected 1 to 1 for an index of 0 documents"):
            analysis.scaling(index, [[1]], steps=2)
