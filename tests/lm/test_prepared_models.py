"""What Kneser-Ney needs: made in any budget, refused where it is not, made again after changes."""

import math
import pickle
import random
from unittest import mock

import numpy as np
import pytest
from lm_models import MODELS, check, of_counts, prepare, prepared

import everygram
from conftest import write_index, write_jsonl
from everygram.errors import EverygramError, QueryError

KNESER_NEY = {"smoothing": "modified-kneser-ney"}
NEEDY = [options for options in MODELS if not of_counts(options)]
DOCUMENTS = [[1, 2, 3, 1, 2, 0], [1, 2, 3, 3], [], [0, 1, 2, 3, 1, 2]]
FLOOR = {"smoothing": "infgram-floor"}
# Arguments, the start of what is said of them, and what else it says.
REFUSED = [
    ({"smoothing": "katz"}, "smoothing: expected one of modified-kneser-ney, ", "found 'katz'"),
    ({"smoothing": None}, "smoothing: expected one of modified-kneser-ney, ", "found None"),
    ({"order": 0}, "order: expected ", "found 0"),
    ({"order": -3}, "order: expected ", "found -3"),
    ({"order": 2.5}, "order: expected ", "found 2.5"),
    ({"order": True}, "order: expected ", "found True"),
    ({"order": "3"}, "order: expected ", "found '3'"),
    ({"discount_fallback": 0.5}, "discount_fallback: expected ", "found 0.5"),
    ({"discount_fallback": "abc"}, "discount_fallback: expected ", "found 'abc'"),
    ({"discount_fallback": (0.5, 1)}, "discount_fallback: expected ", "found (0.5, 1)"),
    ({"discount_fallback": (1.5, 1, 3)}, "discount_fallback: expected ", "found (1.5, 1, 3)"),
    ({"discount_fallback": (0.5, 1, 3.1)}, "discount_fallback: expected ", "found (0.5, 1, 3.1)"),
    ({"discount_fallback": (-0.5, 1, 3)}, "discount_fallback: expected ", "found (-0.5, 1, 3)"),
    ({"discount_fallback": (1, math.nan, 3)}, "discount_fallback", "found nan"),
    ({"discount_fallback": ("a", 1, 3)}, "discount_fallback[0]: expected ", "found 'a'"),
    ({"smoothing": "infgram", "discount_fallback": (0.5, 1, 1.5)}, "discount_fallback: ", "ney"),
    ({**FLOOR, "discount_fallback": (0.5, 1, 1.5)}, "discount_fallback: ", "modified-kneser-ney"),
    ({"kenlm_compat": True}, "kenlm_compat: ", "of an order"),
    ({"order": 3, "kenlm_compat": 1}, "kenlm_compat: expected True or False", "found 1"),
    ({"smoothing": "infgram", "order": 3, "kenlm_compat": True}, "kenlm_compat: ", "of an order"),
    ({"weights": (0.5, 0.5)}, "weights: go with infgram-floor", "not with modified-kneser-ney"),
    ({**FLOOR, "weights": (0.5, 1)}, "weights: expected ", "found (0.5, 1)"),
    ({**FLOOR, "weights": (-0.1, 0)}, "weights: expected ", "found (-0.1, 0)"),
    ({**FLOOR, "weights": 0.5}, "weights: expected ", "found 0.5"),
    ({**FLOOR, "weights": (0.5,)}, "weights: expected ", "found (0.5,)"),
    ({**FLOOR, "weights": (math.nan, 0)}, "weights", "found nan"),
]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    path = tmp_path_factory.mktemp("lm") / "index"
    with prepared(path, DOCUMENTS, vocab_size=5) as index:
        yield index


@pytest.mark.parametrize(("options", "start", "says"), REFUSED)
def test_arguments_that_do_not_fit_are_refused(index, options, start, says):
    with pytest.raises(QueryError) as refused:
        index.language_model(**options)
    assert str(refused.value).startswith(start)
    assert says in str(refused.value)


@pytest.mark.parametrize("options", NEEDY)
def test_an_index_that_is_not_prepared_is_refused(tmp_path, options):
    path = write_index(tmp_path / "index", DOCUMENTS, "u8")
    with everygram.open(path) as index, pytest.raises(QueryError, match="everygram prepare") as no:
        index.language_model(**options)
    assert str(path) in str(no.value)


@pytest.mark.parametrize("options", NEEDY)
@pytest.mark.parametrize("segments", [{"segments": 2}, {"deleted": [[1]]}])
def test_several_segments_and_deleted_documents_are_refused(tmp_path, options, segments):
    path = write_index(tmp_path / "index", DOCUMENTS, "u8", **segments)
    with (
        everygram.open(path) as index,
        pytest.raises(QueryError, match="everygram compact --full"),
    ):
        index.language_model(**options)


@pytest.mark.parametrize("segments", [{"segments": 2}, {"deleted": [[1]]}])
def test_several_segments_and_deleted_documents_are_not_prepared(tmp_path, segments):
    path = write_index(tmp_path / "index", DOCUMENTS, "u8", **segments)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(EverygramError, match="compact --full"):
        everygram.prepare(path)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("options", NEEDY)
def test_a_union_is_refused(tmp_path, options):
    paths = [write_index(tmp_path / name, DOCUMENTS, "u8") for name in ("one", "two")]
    for path in paths:
        prepare(path)
    with (
        everygram.open(paths) as union,
        pytest.raises(QueryError, match=r"union|several|one index"),
    ):
        union.language_model(**options)
    with (
        everygram.open(paths[:1], minus=paths[1]) as union,
        pytest.raises(QueryError, match=r"union|several|one index"),
    ):
        union.language_model(**options)


def answers(model):
    prompts = [[], [1], [1, 2], [255], [255, 1, 2], [4, 1], [3, 1, 2]]
    text = [1, 2, 3, 255, 0, 1, 2, 4, 3]
    return [*map(model.distribution, prompts), model.log_probs(text)]


def as_bytes(documents):
    return [{"text": "".join(chr(97 + token) for token in document)} for document in documents]


@pytest.mark.parametrize("order", [3, None])
def test_an_index_that_changes_is_prepared_again(tmp_path, order):
    path, options = tmp_path / "index", {**KNESER_NEY, "order": order}
    more = [[1, 2, 3, 1], [2, 2, 2]]
    in_bytes = [[97 + token for token in document] for document in [*DOCUMENTS, *more]]
    prompts = [[], [98], [98, 99], [255, 98, 99], [120, 98]]
    text = [98, 99, 100, 255, 97, 99, 101]
    everygram.build(write_jsonl(tmp_path / "corpus.jsonl", as_bytes(DOCUMENTS)), path)
    prepare(path)
    with everygram.open(path) as index:
        check(index, in_bytes[: len(DOCUMENTS)], options, prompts, [text])
        model = index.language_model(**options)
        before = [*map(model.distribution, prompts), model.log_probs(text)]

        def still_there():
            found = [*map(model.distribution, prompts), model.log_probs(text)]
            for one, other in zip(found, before, strict=True):
                np.testing.assert_array_equal(one, other)

        everygram.add(path, write_jsonl(tmp_path / "more.jsonl", as_bytes(more)))
        still_there()
        with (
            everygram.open(path) as now,
            pytest.raises(QueryError, match="everygram compact --full"),
        ):
            now.language_model(**options)
        everygram.compact(path, full=True)
        still_there()
        with everygram.open(path) as now, pytest.raises(QueryError, match="everygram prepare"):
            now.language_model(**options)
        prepare(path)
        still_there()
        with everygram.open(path) as now:
            check(now, in_bytes, options, prompts, [text])
        index.refresh()
        check(index, in_bytes, options, prompts, [text])
        still_there()


def test_an_index_that_was_open_before_it_was_prepared(tmp_path):
    path = write_index(tmp_path / "index", DOCUMENTS, "u8", vocab_size=5)
    with everygram.open(path) as index:
        with pytest.raises(QueryError, match="everygram prepare"):
            index.language_model()
        prepare(path)
        index.refresh()
        check(index, DOCUMENTS, {**KNESER_NEY, "order": None}, [[], [1, 2]], [[1, 2, 3]])


def test_a_model_answers_when_its_index_is_closed(tmp_path):
    with prepared(tmp_path / "index", DOCUMENTS, vocab_size=5) as index:
        model = index.language_model(order=3)
        expected = answers(model)
    for one, other in zip(answers(model), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_preparing_twice_is_preparing_once(tmp_path):
    with prepared(tmp_path / "index", DOCUMENTS, vocab_size=5) as index:
        before = answers(index.language_model())
    prepare(tmp_path / "index")
    with everygram.open(tmp_path / "index") as index:
        for one, other in zip(answers(index.language_model()), before, strict=True):
            np.testing.assert_array_equal(one, other)


BUDGETS = [{}, {"memory": 1, "threads": 1}, {"memory": "1M", "threads": 2}]


@pytest.mark.parametrize("dtype", ["u8", "u16", "u32"])
def test_any_budget_gives_the_same_numbers(tmp_path, dtype):
    rng = random.Random(4)
    weights = [1 / (rank + 1) for rank in range(200)]
    documents = [rng.choices(range(200), weights, k=rng.randint(0, 400)) for _ in range(60)]
    documents += documents[:9]
    text = [*documents[3][:50], *rng.choices(range(210), k=50), *documents[7][-90:]]
    found = []
    for number, budget in enumerate(BUDGETS):
        # So that what is linked together does not fit where there is little memory.
        least = mock.patch("everygram.storage.lcps.LEAST_LINKED", 1 << 10)
        with least, prepared(tmp_path / str(number), documents, dtype, 210, **budget) as index:
            models = [index.language_model(order=order) for order in (2, 5, None)]
            found.append([each for model in models for each in asked(model, text)])
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


def asked(model, text):
    return [model.log_probs(text), model.distribution(text[:30])]


@pytest.mark.parametrize("options", MODELS)
def test_a_model_goes_to_another_process(index, options):
    model = index.language_model(**options)
    again = pickle.loads(pickle.dumps(model))
    assert (again.smoothing, again.order) == (model.smoothing, model.order)
    for one, other in zip(answers(again), answers(model), strict=True):
        assert np.array_equal(one, other)
