"""Whatever is passed to whatever is public: it answers, or raises an EverygramError that says why.

Functions, methods and parameters are found by their signatures, so that new ones are tried, too.
"""

import array
import ctypes
import datetime
import inspect
import itertools
import json
import os
import shutil
from collections import deque
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest

import everygram
from conftest import write_jsonl
from everygram.arguments import short
from everygram.corpus.source import CorpusKeywords
from everygram.errors import EverygramError, OptionError, QueryError
from shards import write_shard

TEXTS = ["natural language", "the natural sciences", "a language"]


class Tensor:
    """What a tensor in main memory is to others: an array to numpy, no sequence to Python."""

    def __init__(self, values, fault=None):
        self.values, self.fault = np.array(values), fault

    def __array__(self, dtype=None, copy=None):
        if self.fault is not None:
            raise self.fault
        return self.values.astype(dtype or self.values.dtype)

    def __len__(self):
        return len(self.values)

    def __getitem__(self, place):
        return Tensor(self.values[place])

    def __index__(self):
        return self.values.__index__()

    def __repr__(self):
        return f"tensor({self.values.tolist()})"

    def __bool__(self):
        raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")

    def __eq__(self, other):
        return Tensor(self.values == other)

    __hash__ = None


class Unprintable:
    def __repr__(self):
        raise RuntimeError("cannot be shown")


class Unread:
    def __len__(self):
        return 2


def wrong_values():
    """Values of every kind, new ones each time: some are used up by a look."""
    return [
        *(None, True, False, 0, 3, -1, 2**63 - 1, 2**63, 2**70, -(2**70), 10**5000),
        *(1.5, 2.0, float("nan"), float("inf"), 1j, "", "x", "a\0b", "\ud800", "4GiB", "9" * 400),
        *(b"x", bytearray(b"x"), memoryview(b"xy"), [], [3], [True, False], [0, None], ["a", "b"]),
        *([["a"]], [[1], [2, 3]], [1.5], [2**70], [object()], (), (1, 2), ("a", "b"), ("a", 3)),
        *({}, {"a": 1}, set(), {1, 2}, {"x"}, frozenset({3}), iter([1]), (i for i in "ab")),
        *(range(3), deque([1]), array.array("I", [1]), array.array("d", [1.0]), object(), int),
        *(lambda *_: None, Ellipsis, NotImplemented, Path("x"), Path("a\0b"), Unprintable()),
        *(Unread(), datetime.timedelta(1), np.int64(3), np.uint8(3), np.float64(1.5), np.True_),
        *(np.array(3), np.array([]), np.array([1, 2]), np.array([[1, 2]]), np.array([[1], [2]])),
        *(np.array([True, False]), np.array(["a"]), np.array([None, 1]), np.array([1.5])),
        *(np.ma.masked_array([1, 2], [0, 1]), np.ma.masked, np.array([(1, 2)], "u1,u1")),
        *(np.array([1], "M8[s]"), (ctypes.c_uint16 * 2)(1, 2), Tensor([1, 2]), Tensor([[1, 2]])),
        *(Tensor(3), Tensor([0.5]), Tensor([1], TypeError("can't convert cuda:0 device type"))),
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a corpus, and an index of it in two segments, one document deleted."""
    folder = tmp_path_factory.mktemp("errors")
    corpus = write_jsonl(
        folder / "corpus.jsonl", [{"text": t, "n": i} for i, t in enumerate(TEXTS)]
    )
    everygram.build(corpus, folder / "index")
    everygram.add(folder / "index", corpus)
    everygram.delete(folder / "index", documents=[1])
    everygram.push(folder / "index", f"file://{folder}/pushed")
    write_shard(folder / "v4", [[1, 2], [3]])
    return folder


@pytest.fixture(scope="module")
def opened(made):
    with everygram.open(made / "index") as index:
        index.warm_up()
        yield index


FUNCTIONS = [
    name
    for name in dir(everygram)
    if name[0] != "_" and inspect.isfunction(getattr(everygram, name))
]
METHODS = [
    name
    for name, value in inspect.getmembers(everygram.Index)
    if name[0] != "_" and inspect.isfunction(value)
]
# What stands for a parameter that has no default while others are tried.
GOOD = {
    "query": "natural",
    "prompt": "natural",
    "text": "natural",
    "context": "natural",
    "texts": ["natural", "a"],
    "queries": ["natural", [110, 97]],
    "prompts": ["natural", [110, 97]],
    "ids": [110, 97],
    "numbers": [0, 2],
    "expression": "natural AND NOT zebra",
}


def parameters_of(function):
    """(name, whether it must be given) of each, those of `**options` by their names."""
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            yield from ((name, False) for name in CorpusKeywords.__annotations__)
        elif parameter.name not in ("self", "before"):
            yield parameter.name, parameter.default is parameter.empty


def check(function, good):
    """Call it with each of its parameters of each wrong value, the others as they should be."""
    parameters = dict(parameters_of(function))
    failures = []
    for name in parameters:
        for number, wrong in enumerate(wrong_values()):
            if name in ("progress", "each") and callable(wrong):  # what it raises is its own
                continue
            given = {each: good(each) for each, needed in parameters.items() if needed}
            problem = problem_of(function, given | {name: wrong})
            if problem is not None:
                failures.append(f"{name}={short(wrong_values()[number])}: {problem}")
    assert not failures, "\n".join(failures)


def problem_of(function, given):
    """What is wrong with how a call ends; None if it answers, or refuses as it should."""
    try:
        answer = function(**given)
        if inspect.isgenerator(answer):
            answer = list(answer)
        if hasattr(answer, "as_dict"):
            answer.as_dict()
        repr(answer)
    except EverygramError as error:
        if not str(error):
            return "an error without a message"
        if error.__context__ is not None and not error.__suppress_context__:
            return f"another error shows before it: {error.__context__!r}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return None


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_takes_or_refuses_anything(made, opened, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    numbers = itertools.count()

    def good(parameter):
        if parameter == "index" and name.startswith(("export", "frequency", "stats")):
            return opened
        if parameter in ("index", "path"):
            return shutil.copytree(made / "index", tmp_path / f"index-{next(numbers)}")
        return {
            "corpus": made / "corpus.jsonl",
            "concepts": ["natural", "a"],
            "items": made / "corpus.jsonl",
            "folders": made / "v4",
            "folder": made / "v4",
            "address": f"file://{made}/pushed" if name == "pull" else f"file://{tmp_path}/pushed",
            "out": tmp_path / f"out-{next(numbers)}{'.jsonl' * (name == 'deduplicate')}",
        }[parameter]

    with mock.patch.object(os, "fsync"):
        check(getattr(everygram, name), good)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_of_an_index_takes_or_refuses_anything(made, opened, name):
    index = everygram.open(made / "index") if name == "close" else opened
    check(getattr(index, name), GOOD.__getitem__)


def test_the_methods_of_results_take_or_refuse_anything(opened):
    distribution = opened.ntd("a")
    check(distribution.top, GOOD.__getitem__)
    check(distribution.as_dict, GOOD.__getitem__)


def test_all_functions_are_found():
    assert {"open", "build", "plan", "add", "delete", "compact", "export", "convert", "attach"} <= {
        *FUNCTIONS
    }
    assert {"count", "prob_batch", "find", "document", "decode", "refresh"} <= {*METHODS}


# What is said of what is no query, path or option.
SAID = [
    (lambda made: everygram.open(3), "index: expected a path, found 3"),
    (lambda made: everygram.open(["a", 3]), r"index\[1\]: expected a path, found 3"),
    (lambda made: everygram.open("a\0b"), "index: expected a path, found 'a.*embedded null byte"),
    (lambda made: everygram.open("a" * 5000), "index: expected a path.*too long"),
    (lambda made: everygram.open(made / "index", verify="no"), "verify: expected True or False"),
    (lambda made: everygram.build(None, made / "new"), "corpus: expected a path, or a list"),
    (lambda made: build(made, tokenizer=3), "tokenizer: expected a path or a name, found 3"),
    (lambda made: build(made, memory="4 parsecs"), "memory: expected a size like 4GiB or 500MB"),
    (lambda made: build(made, memory=4e9), "memory: expected a size .*found 4000000000.0"),
    (lambda made: build(made, memory="0"), "memory: expected 1 or more, found 0"),
    (lambda made: build(made, threads="2"), "threads: expected 1 or more, found '2', which is no"),
    (lambda made: build(made, restart=None), "restart: expected True or False, found None"),
    (lambda made: build(made, progress=3), "progress: expected a function, found 3"),
    (lambda made: build(made, text_field=None), "text_field: expected a string, found None"),
    (lambda made: build(made, metadata_fields=3), "metadata_fields: expected a list of fields"),
    (lambda made: build(made, pretokenized=[]), "pretokenized: expected a string"),
    (lambda made: build(made, separator_id="0"), "separator_id: expected an integer"),
    (lambda made: build(made, vocab_size="9"), "vocab_size: expected an integer, found '9'"),
    (lambda made: delete(made, where="source=x"), "where: expected a field and its value"),
    (lambda made: delete(made, where="ab"), "where: expected a field and its value"),
    (lambda made: delete(made, where=(3, "n")), r"where: expected a field.*found \(3, 'n'\)"),
    (lambda made: delete(made, where=("n", [3])), r"string, number, boolean or None.*found \('n'"),
    (lambda made: delete(made, documents="3"), "documents: expected a list of numbers, found '3'"),
    (lambda made: delete(made, documents=["3"]), "document: expected a number, found '3'"),
    (lambda made: delete(made, documents=[True]), "document: expected a number, found True"),
    (lambda made: delete(made, matching="a", missing_ok=True), "missing_ok: goes with documents"),
    (lambda made: everygram.export("index"), "index: expected an open index, found 'index'"),
    (lambda made: everygram.convert(None, "new"), "folders: expected a path, or a list of paths"),
    (lambda made: everygram.convert(made / "v4", "new", 3), "tokenizer: expected a path or a name"),
]


def build(made, **options):
    return everygram.build(made / "corpus.jsonl", made / "new", **options)


def delete(made, **options):
    return everygram.delete(made / "index", **options, dry_run=True)


@pytest.mark.parametrize("number", range(len(SAID)))
def test_what_was_expected_is_said(made, number):
    call, said = SAID[number]
    with pytest.raises((OptionError, QueryError), match=said):
        call(made)
    assert not (made / "new").exists()


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (None, "(query|text): expected a text or token ids, found None"),
        ({1, 2}, "found {1, 2}"),
        (b"abc", "found b'abc'"),
        (1.5, "found 1.5"),
        ({"input_ids": [1]}, "found {'input_ids': "),
        ([110, 97.0], r"query\[1\]: expected a token id \(an integer\), found 97.0"),
        (np.array([1.0]), r"query\[0\]: expected a token id \(an integer\), found 1.0"),
        (
            Tensor([1], TypeError("can't convert cuda:0")),
            r"found tensor\(\[1\]\): can't convert cuda",
        ),
        (Unprintable(), "found <Unprintable instance at"),
        (2**70, "found 1180591620717411303424"),
        (pa.array([110, None]), r"query\[1\]: expected .*, found a missing value"),
        (np.array([110, np.nan]), r"query\[1\]: expected .*, found a missing value"),
        (pa.scalar(110), "found <pyarrow.Int64Scalar: 110>"),
    ],
)
def test_what_is_no_query_is_shown(opened, query, said):
    for ask in (opened.count, opened.ntd, opened.find, opened.encode):
        with pytest.raises(QueryError, match=said):
            ask(query)


@pytest.mark.parametrize(
    "given",
    [
        "4GiB",
        "4294967296",
        "4294967296B",
        " 4 gib ",
        np.int64(1 << 32),
        Tensor(1 << 32),
        1 << 32,
        "4.294967296e9",
    ],
)
def test_a_size_is_understood_everywhere(made, tmp_path, run, given):
    corpus, out = made / "corpus.jsonl", tmp_path / "index"
    assert everygram.plan(corpus, out, memory=given).memory == 1 << 32
    everygram.build(corpus, out, memory=given)
    everygram.add(out, corpus, memory=given)
    everygram.delete(out, documents=0, memory=given)
    assert everygram.compact(out, full=True, memory=given).segments_after == 1
    if isinstance(given, str):
        code, printed, _ = run(
            "build", corpus, "--out", tmp_path / "o", "--memory", given, "--json", "--dry-run"
        )
        assert (code, json.loads(printed)["memory"]) == (0, 1 << 32)


def test_ids_come_in_any_array(opened):
    ids = [*b"natural"]
    expected = opened.count(ids)
    assert expected == 3
    arrays = [
        np.array(ids),
        np.array([ids]),
        np.array(ids, np.uint8),
        np.array(ids, object),
        np.array(ids, ">i4"),
        np.array(ids * 2)[: len(ids)],
        np.array([[i, 0] for i in ids])[:, 0],
        Tensor(ids),
        Tensor([ids]),
        pa.array(ids),
        pa.chunked_array([ids[:2], ids[2:]]),
        array.array("I", ids),
        memoryview(bytes(ids)),
        (ctypes.c_uint16 * len(ids))(*ids),
        deque(ids),
        tuple(ids),
        [np.int64(i) for i in ids],
        [Tensor(i) for i in ids],
    ]
    for query in arrays:
        assert opened.count(query).token_ids == ids, query
        assert opened.count(query) == expected
        for name in ("ntd", "find", "score", "longest_matches", "infgram_prob"):
            found = getattr(opened, name)(query).as_dict()
            assert found == getattr(opened, name)(ids).as_dict(), query
        assert opened.document(query=query).match == opened.document(query=ids).match
        assert opened.decode(query) == "natural"
        assert opened.count_batch([query, "a"]).counts.tolist() == [expected, opened.count("a")]
    rows = [[*b"nat"], [*b"lan"]]
    counts = [opened.count(row) for row in rows]
    for batch in (np.array(rows), Tensor(rows), [Tensor(row) for row in rows], np.array([rows])[0]):
        assert opened.count_batch(batch).counts.tolist() == counts
        assert opened.prob_batch(batch, Tensor([*b"ug"])).prompt_counts.tolist() == counts
    assert opened.count_batch(pa.array(rows)).counts.tolist() == counts
    assert opened.count_batch(pa.array(["nat", "lan"])).counts.tolist() == counts
    flat = [*b"natlan"]
    for offsets in ([0, 3, 6], np.array([0, 3, 6]), Tensor([0, 3, 6]), array.array("q", [0, 3, 6])):
        assert opened.count_batch(Tensor(flat), offsets).counts.tolist() == counts
        assert opened.count_batch(Tensor([flat]), offsets).counts.tolist() == counts


@pytest.mark.parametrize(
    "wrong", [Tensor([[1], [2]]), np.zeros((2, 3), int), [[1, 2]], np.zeros((1, 1, 2), int)]
)
def test_several_rows_are_no_query(opened, wrong):
    with pytest.raises(QueryError, match=r"expected a flat list of token ids, found \d dimensions"):
        opened.count(wrong)


def masks():
    yield from ([True, False], [False], (True,), np.array([True]), [np.True_], Tensor([True]))
    yield from (np.array([True, 1], object), np.ma.masked_array([1, 2], [0, 1]))
    yield from (np.ma.masked_array([1, 2]), np.ma.masked_array([[1, 2]], [[0, 1]]))


@pytest.mark.parametrize("number", range(len([*masks()])))
def test_booleans_and_masked_values_are_no_ids(opened, number):
    mask = [*masks()][number]
    for ask in (
        opened.count,
        opened.prob,
        lambda query: opened.prob(query, 1),
        opened.infgram_prob,
        lambda query: opened.infgram_prob(query, 1),
        opened.ntd,
        opened.infgram_ntd,
        opened.score,
        opened.find,
        opened.encode,
        opened.decode,
        lambda query: opened.document(query=query),
        lambda query: opened.count_batch([query]),
        lambda query: opened.count_batch([[1, 2], query]),
        lambda query: opened.prob_batch([query], [1]),
        lambda query: opened.count_batch(query, [0, 1]),
        lambda query: opened.count_batch([1, 2], query),
    ):
        with pytest.raises((QueryError, OptionError), match="expected"):
            ask(mask)
    with pytest.raises(QueryError, match="continuation"):
        opened.prob([1, 2], True)
    with pytest.raises(QueryError, match="continuation"):
        opened.prob_batch([[1, 2]], [True])


def test_numbers_of_any_library_and_size(opened):
    """An unsigned number taken from a smaller one must not become a large one."""
    for context in (np.uint8(5), np.uint64(5), np.int64(5), Tensor(5), 5):
        found = opened.document(query="language", context=context)
        assert found.as_dict() == opened.document(query="language", context=5).as_dict()
    for many in (2**63 - 1, np.int64(2**63 - 1), np.uint64(2**64 - 1), 10**30):
        assert opened.find("a", offset=many).occurrences == []
        assert (
            opened.find("a", offset=1, limit=many).occurrences
            == opened.find("a", limit=None).occurrences[1:]
        )
        assert len(opened.find("a", sample=many)) == opened.count("a")
        assert opened.find("a", seed=many).count == opened.count("a")
        assert opened.document(0, context=many).text == TEXTS[0]
        assert opened.document(query="the", context=many).text == TEXTS[1]
        assert opened.ntd("a", max_support=many).exact
        assert len(opened.ntd("a").top(many)) == len(opened.ntd("a"))
        with pytest.raises(QueryError, match="the query occurs"):
            opened.document(query="a", occurrence=many)
        with pytest.raises(QueryError, match="the index has 0 to 5"):
            opened.document(int(many))


def test_booleans_of_numpy_are_booleans(made, opened):
    deletion = everygram.delete(made / "index", documents=0, dry_run=np.True_, raw=np.False_)
    assert json.loads(json.dumps(deletion.as_dict()))["dry_run"] is True
    assert opened.count("natural", raw=np.True_) == 3
    with everygram.open(made / "index", verify=np.True_) as index:
        assert index.count("natural") == 3


def test_an_error_shows_no_other_before_it(opened):
    for query in ([1.5], [None], [1, 2**70], ["a"], [[1]]):
        for ask in (opened.count, opened.ntd, opened.score, lambda query: opened.prob(query, 1)):
            with pytest.raises(QueryError) as caught:
                ask(query)
            assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_the_place_of_a_bad_continuation_is_named(opened):
    for bad, said in (
        (None, "expected a token id"),
        ("ab", "expected one token"),
        (300, "outside"),
    ):
        for ask in (opened.prob_batch, opened.infgram_prob_batch):
            with pytest.raises(QueryError, match=f"query 1: continuation.*{said}"):
                ask(["na", "na", "na"], ["t", bad, "t"])


def test_a_closed_index_can_be_shown_and_closed_again(made):
    index = everygram.open(made / "index")
    index.close()
    index.close()
    assert repr(index) == f"<everygram.Index '{made / 'index'}': closed>"
