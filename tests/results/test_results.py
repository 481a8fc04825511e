"""Results travel: pickled, equal afterwards, through processes, and under the names of the REST."""

import copy
import itertools
import json
import math
import multiprocessing
import pickle
import shutil
from dataclasses import fields

import numpy as np
import pytest

import everygram
from conftest import write_jsonl
from everygram.errors import TokenizerError
from everygram.results.base import Batch
from everygram.server.models import documents, ngrams, texts

TEXTS = ["the cat sat on the mat", "the cat ate — 日本語", "", "on the mat the cat sat", "a\tb\nc"]


def build(folder, tokenizer, name="index"):
    corpus = write_jsonl(folder / "corpus.jsonl", [{"text": text, "n": [1]} for text in TEXTS])
    everygram.build(corpus, folder / name, tokenizer)
    return folder / name


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build(tmp_path_factory.mktemp("results"), "train:270")


@pytest.fixture(scope="module")
def plain(folder):
    """An index of the same documents, as ids without a tokenizer."""
    stream = []
    with everygram.open(folder) as index:
        for number in range(index.num_documents):
            stream += [300, *index.document(number).token_ids.tolist()]
    np.array(stream, "<u2").tofile(folder.parent / "ids.bin")
    everygram.build(
        folder.parent / "ids.bin",
        folder.parent / "plain",
        pretokenized="u16",
        separator_id=300,
        vocab_size=301,
    )
    return folder.parent / "plain"


def results_of(index):
    """One or more results of every kind."""
    query, absent = index.document(0).token_ids[:3].tolist(), [5, 5, 5, 5]
    prompts = [query, absent, [], query[:1]]
    matches = index.find(query, limit=5)
    return [
        index.count(query),
        index.count_batch(prompts),
        index.count_batch(prompts)[0],
        index.prob(query),
        index.prob(absent),
        index.infgram_prob([*absent, *query]),
        index.prob_batch([query, absent, query[:1]]),
        index.prob_batch([query, absent])[1],
        index.ntd(query[:1]),
        index.ntd([], max_support=2),
        index.ntd(absent),
        index.ntd_batch(prompts),
        index.infgram_ntd_batch([])[:],
        index.ntd_batch(prompts)[0],
        index.ntd([]).next[0],
        index.score([*query, *absent, index.separator, *query]),
        index.score([*query, *absent], order=3),
        index.longest_matches([*absent, *query]),
        index.novelty([*absent, *query]),
        index.draft([*absent, *query], max_factor=2),
        index.draft([*query, *absent, *query], lookback=99),
        matches,
        matches.occurrences[0],
        index.find(absent),
        index.document(1),
        index.document(query=query, context=1),
    ]


KINDS = {
    "Count", "Counts", "Prob", "Probs", "Distribution", "Distributions", "NextToken", "Scores",
    "LongestMatches", "Novelty", "Draft", "Occurrence", "Matches", "Document",
}  # fmt: skip


def read(result):
    """All that a result says, as JSON values."""
    if isinstance(result, list | Batch):
        return [read(each) for each in result]
    return result.as_dict() if hasattr(result, "as_dict") else vars(result)


def check_equal(made, result):
    assert type(made) is type(result)
    assert made == result
    assert not (made != result)  # noqa: SIM202
    assert read(made) == read(result)
    assert repr(made) == repr(result)


@pytest.mark.parametrize("which", ["folder", "plain"])
def test_every_result_is_equal_after_a_round_trip(request, which):
    with everygram.open(request.getfixturevalue(which)) as index:
        results = results_of(index)
        assert {type(each).__name__ for each in results} == KINDS | {"list"}
        for result in results:
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
                check_equal(pickle.loads(pickle.dumps(result, protocol)), result)
            check_equal(copy.copy(result), result)
            check_equal(copy.deepcopy(result), result)


def test_results_that_say_different_things_differ(folder):
    with everygram.open(folder) as index:
        results, again = results_of(index), results_of(index)
    for a, b in itertools.product(results, again):
        if isinstance(a, int) and isinstance(b, int):
            assert (a == b) is (int(a) == int(b))
        else:
            assert (a == b) is (type(a) is type(b) and read(a) == read(b))
    prob = results[3]
    for each in fields(prob):
        if each.name not in ("_reading", "_asked"):
            other = copy.copy(prob)
            setattr(other, each.name, getattr(prob, each.name) + 1)
            assert other != prob
    assert prob != 7 and (prob == prob.as_dict()) is False


def test_nan_equals_nan_and_of_another_index_is_no_difference(folder, plain):
    with everygram.open(folder) as index, everygram.open(plain) as same:
        assert math.isnan(index.prob([5, 5, 5, 5]).prob)
        assert index.prob([5, 5, 5, 5]) == same.prob([5, 5, 5, 5])
        assert index.prob([5, 5, 5, 5]) != index.prob([5, 5, 5, 6])
        # Ids are held as bytes of one, in an array of the other.
        assert index.prob([1, 2]) == index.prob_batch([[1, 2]])[0] == same.prob((1, 2))
        assert index.count_batch([[1], [2, 3]]) == same.count_batch([1, 2, 3], offsets=[0, 1, 3])
        assert index.count_batch([[1], [2, 3]]) != index.count_batch([[1, 2], [3]])


def test_hashes_agree_with_equality(folder):
    with everygram.open(folder) as index:
        for result in results_of(index):
            if isinstance(result, int):
                assert hash(result) == hash(int(result)) and result == int(result)
            elif isinstance(result, everygram.NextToken | everygram.Occurrence):
                assert hash(result) == hash(copy.deepcopy(result))
            else:
                with pytest.raises(TypeError, match="unhashable"):
                    hash(result)


def test_counts_are_an_array_and_a_sequence(folder):
    with everygram.open(folder) as index:
        counts = index.count_batch([[], [1], [5, 5, 5]])
    array = np.asarray(counts)
    assert array.dtype == counts.counts.dtype == np.int64
    assert array is counts.counts or np.shares_memory(array, counts.counts)
    assert array.tolist() == list(counts) == counts[:] == [counts[i] for i in (0, 1, -1)]
    assert counts[1].token_ids == [1] and np.asarray(counts, float).dtype == float
    assert not np.shares_memory(np.array(counts), counts.counts)
    with pytest.raises(IndexError):
        counts[3]


# Through processes: by `fork` and by `spawn`, an index opened there or handed over, and results
# made there or here.


def results_at(path):
    with everygram.open(path) as index:
        return results_of(index)


def read_there(result):
    return read(result), repr(result)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_results_travel_between_processes(folder, plain, method):
    with (
        everygram.open(folder) as index,
        multiprocessing.get_context(method).Pool(1) as pool,
    ):
        for path in (folder, plain):
            with everygram.open(path) as index:
                results = results_of(index)
                for made, result in zip(pool.apply(results_at, [path]), results, strict=True):
                    check_equal(made, result)
                expected = [read_there(result) for result in results]
                assert pool.map(read_there, results) == expected
                assert pool.apply(results_of, [index]) == results


def test_a_reading_is_of_its_index(folder, plain, monkeypatch):
    with everygram.open(folder) as index, everygram.open(folder) as again:
        reading, same = index._state.reading, again._state.reading
        assert reading == same and hash(reading) == hash(same)
        assert reading != everygram.open(plain)._state.reading
        # One tokenizer per process, however many indexes have it and results travel.
        assert index.tokenizer is again.tokenizer
        assert pickle.loads(pickle.dumps(reading)).tokenizer is index.tokenizer
        monkeypatch.chdir(folder.parent)
        relative = everygram.open(folder.name)
        assert relative._state.reading == reading
        data = pickle.dumps(relative.count([1]))
    monkeypatch.chdir("/")
    assert pickle.loads(data).tokens == relative.count([1]).tokens


def forget_tokenizers(monkeypatch):
    """As in a process that has not loaded any."""
    monkeypatch.setattr("everygram.encoding._LOADED", {})


def test_where_the_index_is_gone_all_but_text_is_there(tmp_path, monkeypatch):
    path = build(tmp_path, "train:270")
    with everygram.open(path) as index:
        results = results_of(index)
    data = pickle.dumps(results)
    path.rename(tmp_path / "away")
    forget_tokenizers(monkeypatch)
    made = pickle.loads(data)
    assert made == results
    for each in made:
        if isinstance(each, everygram.Document):
            assert each.token_ids.size
            with pytest.raises(TokenizerError, match=r"index '.*index'.*put the index back there"):
                _ = each.text
        elif hasattr(type(each), "tokens") and each.token_ids:
            with pytest.raises(TokenizerError, match=r"index '.*index'.*put the index back there"):
                _ = each.tokens
        # What shows results shows ids in place of tokens.
        assert repr(each)
        if hasattr(each, "_repr_html_"):
            assert each._repr_html_()
    assert made[0] > 0 and made[3].prob > 0 and made[9].counts.sum() == made[9].prompt_count > 0
    assert f"continuation={made[3].continuation_id}" in repr(made[3])
    # Another index that has its place is not taken for it.
    build(tmp_path, "bytes")
    with pytest.raises(TokenizerError, match="built anew with another tokenizer"):
        _ = pickle.loads(data)[0].tokens
    # Back in its place all is as it was.
    shutil.rmtree(path)
    (tmp_path / "away").rename(path)
    assert [read(each) for each in pickle.loads(data)] == [read(each) for each in results]


def test_an_open_index_keeps_its_tokenizer(tmp_path, monkeypatch):
    path = build(tmp_path, "train:270")
    forget_tokenizers(monkeypatch)
    with everygram.open(path) as index:
        shutil.rmtree(path)
        assert "".join(index.count("the cat").tokens) == " the cat"


# One name for one thing: Python's attribute, JSON's key, the REST's field.

MODELS = {
    "Count": ngrams.Count,
    "Prob": ngrams.Prob,
    "Distribution": ngrams.Distribution,
    "NextToken": ngrams.NextToken,
    "Scores": texts.Scores,
    "LongestMatches": texts.LongestMatches,
    "Novelty": texts.Novelty,
    "Occurrence": documents.Occurrence,
    "Matches": documents.Matches,
    "Document": documents.Document,
}


def as_json(value):
    """An attribute's value as JSON has it."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [as_json(each) for each in value]
    if isinstance(value, everygram.NextToken | everygram.Occurrence):
        return vars(value)
    return None if isinstance(value, float) and math.isnan(value) else value


@pytest.mark.parametrize("which", ["folder", "plain"])
def test_attributes_json_and_rest_have_the_same_names(request, which):
    with everygram.open(request.getfixturevalue(which)) as index:
        results = [each for each in results_of(index) if type(each).__name__ in MODELS]
    assert {type(each).__name__ for each in results} == MODELS.keys()
    for result in results:
        values = read(result)
        model = MODELS[type(result).__name__]
        # (Where the next page begins, which the service adds.)
        page = {"cursor": None} if "cursor" in model.model_fields and "cursor" not in values else {}
        assert values.keys() | page.keys() == model.model_fields.keys()
        # The types, too: nothing is converted.
        text = json.dumps(values | page, allow_nan=False)
        parsed = json.loads(model.model_validate_json(text, strict=True).model_dump_json())
        assert parsed == values | page
        for name, value in values.items():
            assert as_json(getattr(result, name)) == value, name
