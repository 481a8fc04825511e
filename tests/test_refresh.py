"""`refresh` while others ask: every answer is of one state of the index, none of two."""

import inspect
import itertools
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import everygram
from conftest import write_jsonl
from everygram.errors import QueryError
from everygram.server import answering
from everygram.server.calls import Call
from everygram.server.settings import Settings
from everygram.storage import directory

BEFORE = ["natural language", "the natural sciences", "a language of nature"]
AFTER = ["natural natural natural laws", "language languages", "the nature of a language"]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """The folder of an index that has been changed; `manifests` has both states."""
    folder = tmp_path_factory.mktemp("refresh")
    for name, texts in (("before", BEFORE), ("after", AFTER)):
        write_jsonl(folder / f"{name}.jsonl", [{"text": text, "from": name} for text in texts])
    everygram.build(folder / "before.jsonl", folder / "index")
    return folder / "index"


@pytest.fixture(scope="module")
def manifests(path):
    """The index's manifest before and after documents were added and one was deleted."""
    before = directory.read_manifest(path)
    everygram.add(path, path.parent / "after.jsonl")
    everygram.delete(path, documents=0)
    return before, directory.read_manifest(path)


@pytest.fixture(scope="module")
def states(path, manifests):
    """The index as it was and as it is, each opened."""
    opened = []
    for manifest in manifests:
        directory.publish(path, manifest, None)
        opened.append(everygram.open(path))
        opened[-1].warm_up()
    yield opened
    for index in opened:
        index.close()


class Flipping(everygram.Index):
    """An index that is refreshed, to and fro, after each look that it takes at its state."""

    def __init__(self, states, first):
        self.path = states[0].path
        self._states = itertools.cycle([states[first]._state, states[1 - first]._state])
        self.looks = 0

    @property
    def _state(self):
        self.looks += 1
        return next(self._states)


# What each method is asked; those left out look at two states on purpose, or at none.
ASKED = {
    "info": [{}],
    "encode": [{"query": "natural"}],
    "encode_prob": [{"query": "natural"}, {"query": [110], "continuation": "a"}],
    "decode": [{"ids": [*b"natural", 255]}],
    "count": [{"query": "natural"}, {"query": [*b"language"]}, {"query": ""}],
    "count_batch": [{"queries": ["natural", [*b"the"]]}, {"queries": [110, 97], "offsets": [0, 2]}],
    "document_count": [{"query": "natural"}, {"query": ""}],
    "document_count_batch": [{"queries": ["natural", [*b"the"]]}],
    "prob": [{"query": "natural"}, {"query": [*b"natura"], "continuation": 108}],
    "prob_batch": [{"queries": ["natural", "na"]}, {"queries": ["na"], "continuations": ["t"]}],
    "infgram_prob": [{"query": "natural l"}, {"query": [*b"a law"], "continuation": 115}],
    "infgram_prob_batch": [{"queries": ["a natural law", "languages"]}],
    "ntd": [{"prompt": "natural"}, {"prompt": [*b"language"], "max_support": 2}, {"prompt": ""}],
    "ntd_batch": [{"prompts": ["natural", "", [*b"a"]]}],
    "infgram_ntd": [{"prompt": "natural natural l"}, {"prompt": [*b"two languages"]}],
    "infgram_ntd_batch": [{"prompts": ["natural natural l", "two languages", ""]}],
    "score": [{"text": "natural laws of language"}, {"text": "natural laws", "order": 3}],
    "score_batch": [{"texts": ["natural laws of language", [*b"law"]]}],
    "longest_matches": [{"text": "natural laws of language"}],
    "attribute": [
        {"text": "natural laws of language", "density": None},
        {"text": [*b"the nature"], "prompt": "law", "whole_words": False, "documents": 1},
    ],
    "language_model": [{"smoothing": "infgram-floor"}, {"smoothing": "infgram", "order": 2}],
    "novelty": [{"text": "natural laws of language"}],
    "novelty_batch": [{"texts": ["natural laws of language", [*b"law"]]}],
    "draft": [
        {"context": "natural"},
        {"context": [*b"a language"], "max_factor": 2, "lookback": 9},
    ],
    "find": [{"query": "natural"}, {"query": "a", "limit": None}, {"query": "a", "sample": 5}],
    "count_text": [{"text": "natural"}, {"text": "LAWS", "ignore_case": True}],
    "count_text_batch": [{"texts": ["natural", "a"], "whole_words": True}],
    "tokenizations": [{"text": "natural"}, {"text": "A", "ignore_case": True}],
    "document_count_text": [{"text": "language"}],
    "find_text": [{"text": "natural"}, {"text": "a", "limit": None}, {"text": "a", "sample": 3}],
    "document": [{"number": 0}, {"query": "language"}, {"query": "nature", "occurrence": 0}],
    "documents": [{"numbers": [0, 0]}],
    "search": [
        {"expression": "natural OR a"},
        {"expression": "text:a", "order": "bm25"},
        {"expression": "text:a", "limit": 1},
    ],
}
CHANGES = {"close", "refresh", "latest", "changed", "disturbed", "warm_up"}
# (An index whose files are here misses none of its segments in any state.)
PROPERTIES = [
    name
    for name, value in inspect.getmembers(everygram.Index)
    if isinstance(value, property) and name != "missing_segments"
]


def answer_of(index, name, given):
    """What a method answers, or the error that it raises, as values that compare."""
    try:
        return plain(getattr(index, name)(**given))
    except QueryError as error:
        return str(error)


def plain(answer):
    if isinstance(answer, everygram.LanguageModel):
        return answer.distribution("natural").tolist()
    if hasattr(answer, "as_dict"):
        return repr(answer.as_dict())
    if isinstance(answer, np.ndarray):
        return answer.tolist()
    if isinstance(answer, list | tuple) or hasattr(answer, "__getitem__"):
        return [plain(each) for each in answer] if not isinstance(answer, str | dict) else answer
    return repr(answer)


def test_all_methods_are_asked():
    methods = {
        name
        for name, value in inspect.getmembers(everygram.Index)
        if name[0] != "_" and inspect.isfunction(value)
    }
    assert methods == ASKED.keys() | CHANGES


@pytest.mark.parametrize("name", ASKED)
def test_a_method_takes_the_state_once(states, name):
    for given in ASKED[name]:
        expected = [answer_of(index, name, given) for index in states]
        if name not in ("encode", "encode_prob", "decode"):
            assert expected[0] != expected[1], "the two states must differ"
        for first in (0, 1):
            index = Flipping(states, first)
            assert answer_of(index, name, given) in expected, given
            assert index.looks == 1


@pytest.mark.parametrize("name", [*PROPERTIES, "__repr__", "export"])
def test_what_an_index_is_comes_from_one_state(states, name):
    def look(index):
        if name == "export":
            return list(everygram.export(index))
        found = getattr(index, name)
        return plain(found() if name == "__repr__" else found)

    expected = [look(index) for index in states]
    for first in (0, 1):
        index = Flipping(states, first)
        assert look(index) in expected
        assert index.looks == 1


def test_every_method_races_with_refresh(path, manifests, states):
    """As above with threads, files and the real thing."""
    calls = [(name, given) for name, each in ASKED.items() for given in each]
    expected = {
        number: [answer_of(index, name, given) for index in states]
        for number, (name, given) in enumerate(calls)
    }
    index = everygram.open(path)
    until = time.monotonic() + 3
    seen = {0: 0, 1: 0}

    def ask(start):
        asked = 0
        while time.monotonic() < until:
            number = (start + asked) % len(calls)
            name, given = calls[number]
            found = answer_of(index, name, given)
            assert found in expected[number], (name, given)
            seen[expected[number].index(found)] += 1
            asked += 1
        return asked

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(3) as pool:
            asking = [pool.submit(ask, start) for start in (0, 11, 23)]
            changes = 0
            while time.monotonic() < until:
                directory.publish(path, manifests[changes % 2], None)
                index.refresh()
                changes += 1
            assert all(each.result() for each in asking)
    finally:
        sys.setswitchinterval(interval)
    assert changes > 4 and min(seen.values()) > 0


def refresh_slowly(monkeypatch, index, meanwhile):
    """Refresh in a thread, which does `meanwhile` what another does after it has looked."""
    looked, go_on = threading.Event(), threading.Event()
    latest = everygram.Index.latest

    def slow(self):
        found = latest(self)
        if not looked.is_set():
            looked.set()
            assert go_on.wait(10)
        return found

    monkeypatch.setattr(everygram.Index, "latest", slow)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(index.refresh)
        assert looked.wait(10)
        second = pool.submit(meanwhile)
        time.sleep(0.2)
        go_on.set()
        first.result()
        second.result()


def test_of_two_that_refresh_none_brings_back_what_was(path, manifests, monkeypatch):
    before, after = manifests
    directory.publish(path, after, None)
    index = everygram.open(path)
    directory.publish(path, before, None)

    def change():
        directory.publish(path, after, None)
        index.refresh()

    refresh_slowly(monkeypatch, index, change)
    assert index.num_documents == after.num_documents
    index.close()


def test_a_refresh_does_not_open_what_was_closed_meanwhile(path, manifests, monkeypatch):
    before, after = manifests
    directory.publish(path, after, None)
    index = everygram.open(path)
    directory.publish(path, before, None)
    refresh_slowly(monkeypatch, index, index.close)
    for ask in (lambda: index.count("a"), index.refresh, index.latest, index.info):
        with pytest.raises(QueryError, match="is closed"):
            ask()


# Requests to each path of the service, and the same in a batch.
REQUESTS = {
    "count": {"query": "natural"},
    "prob": {"query": "natural"},
    "infgram_prob": {"query": "natural l"},
    "ntd": {"prompt": "natural"},
    "infgram_ntd": {"prompt": "natural natural l"},
    "score": {"text": "natural laws"},
    "longest_matches": {"text": "natural laws of language"},
    "attribute": {"text": "natural laws of language"},
    "novelty": {"text": "natural laws of language"},
    "find": {"query": "natural"},
    "count_text": {"text": "natural"},
    "tokenizations": {"text": "language"},
    "find_text": {"text": "language"},
    "search": {"expression": "natural OR language"},
    "document": {"query": "language"},
}


class FlippingIndexes:
    """The indexes of a service, of which one is in its other state after each look at it."""

    def __init__(self, name, indexes):
        self._name, self._indexes = name, itertools.cycle(indexes)

    def get(self, name):
        return next(self._indexes)

    def items(self):
        return iter([(self._name, next(self._indexes))])


def test_a_request_is_answered_from_one_state(states):
    name = states[0].path.name

    def answers(served):
        for operation, body in REQUESTS.items():
            for sent in (body, {"batch": [body, body]}):
                call = Call(operation, name, json.dumps(sent).encode())
                yield json.loads(answering.answer(call, served, Settings()).body)

    assert REQUESTS.keys() <= answering.OPERATIONS.keys()
    expected = [list(answers(FlippingIndexes(name, [index]))) for index in states]
    assert all(a != b for a, b in zip(*expected, strict=True))
    for first in (0, 1):
        flipping = FlippingIndexes(name, [states[first], states[1 - first]])
        for number, answer in enumerate(answers(flipping)):
            assert answer in (expected[0][number], expected[1][number])
