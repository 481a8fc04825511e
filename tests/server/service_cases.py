"""What the tests of the service share: small indexes, calls without HTTP, what answers should be.

`Asking` answers calls as a runner does. Cases are a body each, and the call of the Python API that
answers the same.
"""

import json

import numpy as np

import everygram
from conftest import write_jsonl
from everygram.server.answering import answer
from everygram.server.calls import Call
from everygram.server.indexes import Indexes
from everygram.server.settings import Settings

TEXTS = [
    "natural language processing",
    "natural language",
    "",
    "the natural sciences — 日本語 and languages",
    "language models process language",
]
DOCUMENTS = [[1, 2, 3], [1, 2, 4, 1, 2, 3], [], [500, 1, 2]]
PROBLEM_KEYS = {"type", "title", "status", "detail", "errors", "request_id"}
# What answers have that results do not.
OF_ANSWERS = {"index_version", "cursor"}


def build(folder):
    """Two indexes: `corpus`, of text, and `ids`, which has no tokenizer; their folders by name."""
    records = [{"text": text, "id": i, "tags": ["a", None, 2**70]} for i, text in enumerate(TEXTS)]
    everygram.build(write_jsonl(folder / "corpus.jsonl", records), folder / "corpus", "bytes")
    stream = [token for document in DOCUMENTS for token in [0, *document]]
    np.array(stream, "<u2").tofile(folder / "ids.bin")
    everygram.build(
        folder / "ids.bin",
        folder / "ids",
        pretokenized="u16",
        separator_id=0,
        vocab_size=501,
    )
    return {"corpus": folder / "corpus", "ids": folder / "ids"}


class Reply:
    """An answer, as a client sees it."""

    def __init__(self, answered):
        self.status, self.content, self.tokens = answered.status, answered.body, answered.tokens
        self.headers = {"content-type": "application/json"} | dict(answered.headers)

    def json(self):
        return json.loads(self.content, parse_constant=lambda found: 1 / 0)

    def lines(self):
        return [json.loads(line) for line in self.content.splitlines()]


class Asking:
    """A service of indexes, by name, that is asked without HTTP."""

    def __init__(self, paths, **settings):
        self.settings = Settings(indexes=paths, **settings)
        self.served = Indexes(self.settings)

    def __call__(self, operation, body, index="corpus", lines=0):
        """body: bytes as they are sent, or what is sent as JSON."""
        # (Python's writer, unlike others, writes lone surrogates and what is no number.)
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return Reply(answer(Call(operation, index, content, lines), self.served, self.settings))


def check_problem(reply, status, kind):
    """The problem that a reply is, checked for what every problem must have."""
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.json()
    assert problem.keys() == PROBLEM_KEYS
    assert reply.status == problem["status"] == status, problem
    assert problem["type"] == f"urn:everygram:problem:{kind}", problem
    assert problem["title"] and problem["detail"]
    assert all(fault.keys() == {"pointer", "detail"} for fault in problem["errors"])
    return problem


def text_count(index, text, **rules):
    found = index.find_text(text, limit=0, **rules).as_dict()
    del found["occurrences"]
    return found


TEXT_CASES = {
    "count": [
        ({"query": "language"}, lambda i: i.count("language")),
        ({"query": [110, 97]}, lambda i: i.count([110, 97])),
        ({"query": ""}, lambda i: i.count("")),
        ({"query": []}, lambda i: i.count([])),
        ({"query": "日本", "raw": True}, lambda i: i.count("日本", raw=True)),
        ({"query": [255, 110]}, lambda i: i.count([255, 110])),
        ({"query": "the", "documents": True}, lambda i: i.document_count("the")),
        ({"query": [], "documents": True}, lambda i: i.document_count([])),
        ({"query": "absent"}, lambda i: i.count("absent")),
    ],
    "prob": [
        ({"query": "nat"}, lambda i: i.prob("nat")),
        ({"query": "na", "continuation": "t"}, lambda i: i.prob("na", "t")),
        ({"query": "na", "continuation": 116}, lambda i: i.prob("na", 116)),
        ({"query": [110, 97], "continuation": "m"}, lambda i: i.prob([110, 97], "m")),
        ({"query": "language", "continuation": 255}, lambda i: i.prob("language", 255)),
        ({"query": "", "continuation": "n"}, lambda i: i.prob("", "n")),
        ({"query": "absent", "continuation": None}, lambda i: i.prob("absent")),
    ],
    "infgram_prob": [
        ({"query": "a language"}, lambda i: i.infgram_prob("a language")),
        ({"query": "xxna", "continuation": "t"}, lambda i: i.infgram_prob("xxna", "t")),
        ({"query": [1, 2, 97], "continuation": 110}, lambda i: i.infgram_prob([1, 2, 97], 110)),
    ],
    "ntd": [
        ({"prompt": "language"}, lambda i: i.ntd("language").as_dict(10)),
        ({"prompt": ""}, lambda i: i.ntd("").as_dict(10)),
        ({"prompt": "", "top": None}, lambda i: i.ntd("").as_dict(None)),
        ({"prompt": "", "top": 0}, lambda i: i.ntd("").as_dict(0)),
        ({"prompt": "", "top": 100_000}, lambda i: i.ntd("").as_dict()),
        ({"prompt": [97], "top": 2, "raw": True}, lambda i: i.ntd([97]).as_dict(2)),
        ({"prompt": "absent"}, lambda i: i.ntd("absent").as_dict(10)),
        ({"prompt": "a", "max_support": 3}, lambda i: i.ntd("a", max_support=3).as_dict(10)),
        ({"prompt": "a", "max_support": 2**70}, lambda i: i.ntd("a").as_dict(10)),
        ({"prompt": "a", "max_support": None, "top": 1}, lambda i: i.ntd("a").as_dict(1)),
    ],
    "infgram_ntd": [
        ({"prompt": "my language"}, lambda i: i.infgram_ntd("my language").as_dict(10)),
        ({"prompt": [1, 97], "top": 1}, lambda i: i.infgram_ntd([1, 97]).as_dict(1)),
        (
            {"prompt": [1, 97], "max_support": 2},
            lambda i: i.infgram_ntd([1, 97], max_support=2).as_dict(10),
        ),
    ],
    "score": [
        ({"text": "my language"}, lambda i: i.score("my language")),
        ({"text": "my language", "order": 3}, lambda i: i.score("my language", order=3)),
        ({"text": [97, 255, 110], "order": 1}, lambda i: i.score([97, 255, 110], order=1)),
        (
            {"text": "a", "order": 2**70, "raw": True},
            lambda i: i.score("a", order=2**70, raw=True),
        ),
        ({"text": "", "order": None}, lambda i: i.score("")),
    ],
    "longest_matches": [
        ({"text": "my language"}, lambda i: i.longest_matches("my language")),
        ({"text": [97, 255, 110]}, lambda i: i.longest_matches([97, 255, 110])),
        ({"text": "日本", "raw": True}, lambda i: i.longest_matches("日本", raw=True)),
        ({"text": ""}, lambda i: i.longest_matches("")),
    ],
    "attribute": [
        ({"text": "my natural language"}, lambda i: i.attribute("my natural language")),
        ({"text": [97, 255, 110], "raw": True}, lambda i: i.attribute([97, 255, 110])),
        ({"text": ""}, lambda i: i.attribute("")),
        (
            {"text": "a natural language", "prompt": "日本語 sciences", "density": None},
            lambda i: i.attribute("a natural language", prompt="日本語 sciences", density=None),
        ),
        (
            {"text": "models process", "min_length": 2, "max_count": 1, "density": 1},
            lambda i: i.attribute("models process", min_length=2, max_count=1, density=1),
        ),
        (
            {
                "text": "natural, language",
                "rank_by": "length",
                "delimiters": [","],
                "whole_words": False,
                "max_count": None,
                "documents": 1,
                "context": [3, 2, 0],
                "seed": 7,
            },
            lambda i: i.attribute(
                "natural, language",
                rank_by="length",
                delimiters=[","],
                whole_words=False,
                max_count=None,
                documents=1,
                context=(3, 2, 0),
                seed=7,
            ),
        ),
        ({"text": "a", "delimiters": []}, lambda i: i.attribute("a", delimiters=[])),
    ],
    "novelty": [
        ({"text": "my language"}, lambda i: i.novelty("my language")),
        ({"text": [97, 255, 110], "max_n": 1000}, lambda i: i.novelty([97, 255, 110], max_n=1000)),
        (
            {"text": "日本", "raw": True, "creativity_bounds": [2, 2]},
            lambda i: i.novelty("日本", raw=True, creativity_bounds=(2, 2)),
        ),
        ({"text": "", "max_n": 1}, lambda i: i.novelty("", max_n=1)),
    ],
    "find": [
        ({"query": "language"}, lambda i: i.find("language")),
        ({"query": [97], "limit": 3}, lambda i: i.find("a", limit=3)),
        ({"query": "a", "offset": 2, "limit": 4}, lambda i: i.find("a", offset=2, limit=4)),
        ({"query": "a", "offset": 2**70}, lambda i: i.find("a", limit=0)),
        ({"query": "a", "sample": 3, "seed": 5}, lambda i: i.find("a", sample=3, seed=5)),
        ({"query": "a", "limit": 10_000}, lambda i: i.find("a", limit=10**9)),
        ({"query": [255]}, lambda i: i.find([255])),
        ({"query": "absent"}, lambda i: i.find("absent")),
        ({"query": "a", "context": 3}, lambda i: i.find("a", context=3)),
    ],
    "count_text": [
        ({"text": "language"}, lambda i: text_count(i, "language")),
        ({"text": "LANG", "ignore_case": True}, lambda i: text_count(i, "LANG", ignore_case=True)),
        ({"text": "a", "whole_words": True}, lambda i: text_count(i, "a", whole_words=True)),
        ({"text": "日"}, lambda i: text_count(i, "日")),
    ],
    "tokenizations": [
        ({"text": "language"}, lambda i: i.tokenizations("language")),
        (
            {"text": "A", "limit": 1, "ignore_case": True, "whole_words": True},
            lambda i: i.tokenizations("A", limit=1, ignore_case=True, whole_words=True),
        ),
    ],
    "find_text": [
        ({"text": "language"}, lambda i: i.find_text("language")),
        ({"text": "a", "offset": 2, "limit": 3}, lambda i: i.find_text("a", offset=2, limit=3)),
        ({"text": "a", "sample": 2, "seed": 1}, lambda i: i.find_text("a", sample=2, seed=1)),
        (
            {"text": "A", "context": 2, "ignore_case": True, "whole_words": True},
            lambda i: i.find_text("A", context=2, ignore_case=True, whole_words=True),
        ),
    ],
    "document": [
        ({"number": 0}, lambda i: i.document(0)),
        ({"number": 2}, lambda i: i.document(2)),
        ({"number": 3, "context": 5}, lambda i: i.document(3, context=5)),
        ({"query": "language"}, lambda i: i.document(query="language")),
        (
            {"query": [97], "occurrence": 3, "context": 4},
            lambda i: i.document(query="a", occurrence=3, context=4),
        ),
        (
            {"text": "LANG", "occurrence": 1, "context": 4, "ignore_case": True},
            lambda i: i.document(text="LANG", occurrence=1, context=4, ignore_case=True),
        ),
    ],
    "search": [
        ({"expression": "language AND NOT zebra"}, lambda i: i.search("language AND NOT zebra")),
        (
            {"expression": "text:a", "order": "bm25", "k1": 1, "b": 0.5, "limit": 1, "context": 2},
            lambda i: i.search("text:a", order="bm25", k1=1, b=0.5, limit=1, context=2),
        ),
        (
            {"expression": [["a"], [[97], [110]]], "within": 9, "sample": 2, "seed": 3},
            lambda i: i.search([["a"], [[97], [110]]], within=9, sample=2, seed=3),
        ),
        (
            {"expression": "text:a", "max_clause_freq": 1, "cursor": None},
            lambda i: i.search("text:a", max_clause_freq=1),
        ),
    ],
}
ID_CASES = {
    "count": [
        ({"query": [1, 2]}, lambda i: i.count([1, 2])),
        ({"query": [65535, 500]}, lambda i: i.count([65535, 500])),
    ],
    "prob": [
        ({"query": [1, 2, 3]}, lambda i: i.prob([1, 2, 3])),
        ({"query": [3, 3], "continuation": 1}, lambda i: i.prob([3, 3], 1)),
    ],
    "infgram_prob": [({"query": [7, 1, 2, 3]}, lambda i: i.infgram_prob([7, 1, 2, 3]))],
    "ntd": [({"prompt": [1, 2]}, lambda i: i.ntd([1, 2]))],
    "infgram_ntd": [({"prompt": [7, 1, 2]}, lambda i: i.infgram_ntd([7, 1, 2]))],
    "score": [({"text": [7, 1, 2], "order": 2}, lambda i: i.score([7, 1, 2], order=2))],
    "attribute": [({"text": [7, 1, 2]}, lambda i: i.attribute([7, 1, 2]))],
    "longest_matches": [({"text": [7, 1, 2]}, lambda i: i.longest_matches([7, 1, 2]))],
    "novelty": [({"text": [7, 1, 2]}, lambda i: i.novelty([7, 1, 2]))],
    "find": [({"query": [1, 2]}, lambda i: i.find([1, 2]))],
    "document": [
        ({"number": 1}, lambda i: i.document(1)),
        ({"query": [500]}, lambda i: i.document(query=[500])),
    ],
}
CASES = [
    (index, operation, cases)
    for index, operations in (("corpus", TEXT_CASES), ("ids", ID_CASES))
    for operation, cases in operations.items()
]

# What may differ between the queries of a batch.
MIXED = {
    "count": [
        {"query": "language"},
        {"query": "language", "raw": True},
        {"query": [108, 97]},
        {"query": ""},
    ],
    "prob": [
        {"query": "natural language"},
        {"query": "natural language", "raw": True},
        {"query": "natural", "continuation": "language"},
        {"query": "natural", "continuation": "l", "raw": True},
        {"query": "natural", "continuation": 108},
        {"query": [108, 97], "continuation": 110},
        {"query": [108]},
        {"query": "absent", "continuation": 299},
    ],
    "ntd": [
        {"prompt": "natural"},
        {"prompt": "natural", "raw": True, "top": 1},
        {"prompt": "", "top": None, "max_support": 2},
        {"prompt": [97], "max_support": 2},
        {"prompt": [97], "max_support": 3, "top": 0},
        {"prompt": [97]},
        {"prompt": "absent"},
    ],
    "score": [{"text": "a language"}, {"text": "a language", "order": 2}, {"text": [97]}],
    "longest_matches": [{"text": "a language"}, {"text": "a language", "raw": True}],
}
MIXED["infgram_prob"] = MIXED["prob"]
MIXED["infgram_ntd"] = MIXED["ntd"]


def expected(answer):
    """What a result is on the wire: its `as_dict()` after a round trip through strict JSON."""
    values = answer if isinstance(answer, dict) else answer.as_dict()
    return json.loads(json.dumps(values, allow_nan=False))


def plain(answer):
    """An answer without what only the service says."""
    return {name: value for name, value in answer.items() if name not in OF_ANSWERS}
