"""OLMoTrace's requests, responses and errors, as its server documents them."""

import json
import math

import pytest
from pydantic import ValidationError
from test_text_tokenizers import TEXTS, TOKENIZERS

import everygram
import naive_attribution as naive
from conftest import write_jsonl
from everygram.compat import olmotrace
from everygram.errors import QueryError, TokenizerError

# A request of its documentation, and what its field names are in Python.
RECORDED = {
    "response": "Hailing a taxi in Rome is fairly easy. Expect to pay around EUR 10-15.",
    "delimiters": ["\n", "."],
    "allowSpansWithPartialWords": False,
    "minimumSpanLength": 1,
    "maximumFrequency": 1000000,
    "maximumSpanDensity": 0.05,
    "spanRankingMethod": "unigram_logprob_sum",
    "maximumDocumentsPerSpan": 10,
    "maximumContextLength": 250,
    "maximumContextLengthLong": 250,
    "maximumContextLengthSnippet": 40,
}
SNAKE = {
    "response": "response",
    "delimiters": "delimiters",
    "allowSpansWithPartialWords": "allow_spans_with_partial_words",
    "minimumSpanLength": "minimum_span_length",
    "maximumFrequency": "maximum_frequency",
    "maximumSpanDensity": "maximum_span_density",
    "spanRankingMethod": "span_ranking_method",
    "maximumDocumentsPerSpan": "maximum_documents_per_span",
    "maximumContextLength": "maximum_context_length",
    "maximumContextLengthLong": "maximum_context_length_long",
    "maximumContextLengthSnippet": "maximum_context_length_snippet",
}


def answer(index, body, name="corpus"):
    """As a service answers: JSON in, JSON out."""
    asked = olmotrace.request_from(json.loads(json.dumps(body)))
    found = index.attribute(**asked.keywords())
    return json.loads(json.dumps(olmotrace.response_of(found, index, name), allow_nan=False))


def test_defaults():
    keywords = olmotrace.request_from({"response": "a text"}).keywords()
    assert keywords == {
        "text": "a text",
        "delimiters": [],
        "whole_words": True,
        "min_length": 1,
        "max_count": 10,
        "density": 0.05,
        "rank_by": "length",
        "documents": 10,
        "context": (250, 100, 40),
    }


def test_a_recorded_request_in_both_spellings():
    keywords = olmotrace.request_from(RECORDED).keywords()
    assert keywords == {
        "text": RECORDED["response"],
        "delimiters": ["\n", "."],
        "whole_words": True,
        "min_length": 1,
        "max_count": 1_000_000,
        "density": 0.05,
        "rank_by": "unigram_log_prob",
        "documents": 10,
        "context": (250, 250, 40),
    }
    changed = RECORDED | {
        "allowSpansWithPartialWords": True,
        "maximumFrequency": 7,
        "maximumSpanDensity": 1,
    }
    snake = {SNAKE[name]: value for name, value in changed.items()}
    assert olmotrace.request_from(snake) == olmotrace.request_from(changed)
    assert olmotrace.request_from(changed | {"prompt": 5, "more": [1]}).keywords() == (
        olmotrace.request_from(snake).keywords()
    )


def test_contexts_are_cut_from_the_longest():
    body = {
        "response": "x",
        "maximumContextLength": 5,
        "maximumContextLengthLong": 9,
        "maximumContextLengthSnippet": 3,
    }
    assert olmotrace.request_from(body).keywords()["context"] == (5, 5, 3)


def test_values_that_its_server_converts():
    body = {"response": "x", "minimumSpanLength": "3", "maximumFrequency": 5.0, "delimiters": [""]}
    keywords = olmotrace.request_from(body).keywords()
    assert (keywords["min_length"], keywords["max_count"]) == (3, 5)
    assert keywords["delimiters"] == []


@pytest.mark.parametrize(
    ("body", "place", "kind"),
    [
        ({}, ["body", "response"], "missing"),
        ({"response": 5}, ["body", "response"], "string_type"),
        ({"response": "x", "delimiters": "."}, ["body", "delimiters"], "list_type"),
        ({"response": "x", "delimiters": [5]}, ["body", "delimiters", 0], "string_type"),
        ({"response": "x", "maximumFrequency": 0}, ["body", "maximumFrequency"], "greater_than"),
        ({"response": "x", "minimumSpanLength": -1}, ["body", "minimumSpanLength"], "greater_than"),
        (
            {"response": "x", "maximumSpanDensity": 0},
            ["body", "maximumSpanDensity"],
            "greater_than",
        ),
        ({"response": "x", "spanRankingMethod": "best"}, ["body", "spanRankingMethod"], "enum"),
        (
            {"response": "x", "minimumSpanLength": 1.5},
            ["body", "minimumSpanLength"],
            "int_from_float",
        ),
        ([], ["body"], "model_type"),
    ],
)
def test_a_wrong_request_is_a_problem(body, place, kind):
    with pytest.raises(ValidationError) as raised:
        olmotrace.request_from(body)
    said = json.loads(json.dumps(olmotrace.problem(raised.value)))
    [fault] = said.pop("errors")
    assert said == {
        "type": "request-validation-failed",
        "title": "Request validation error.",
        "status": 422,
    }
    assert (fault["loc"], fault["type"]) == (place, kind)
    assert fault.keys() >= {"msg", "input"}
    assert "url" not in fault


def test_other_problems():
    assert olmotrace.problem(TimeoutError()) == {
        "type": "server-overloaded",
        "title": "Server overloaded",
        "status": 503,
        "detail": "The server wasn't able to process your request in time. It is likely "
        "overloaded. Please try again later.",
    }
    for error in (QueryError("density: too much"), TokenizerError("no"), MemoryError("no")):
        assert olmotrace.problem(error) == {
            "type": "infini-gram-engine-exception",
            "title": "infini-gram error",
            "status": 500,
            "detail": str(error),
        }


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """Bytes, so that offsets are easily told."""
    folder = tmp_path_factory.mktemp("corpus")
    texts = ["Nothing.", "0123456789 the black cat 👍 sat down 0123456789", "xyz"]
    records = [{"text": text, "source": "made", "id": n} for n, text in enumerate(texts)]
    everygram.build(write_jsonl(folder / "corpus.jsonl", records), folder / "index")
    with everygram.open(folder / "index") as opened:
        yield opened


def test_a_whole_response(index):
    body = {
        "response": "A black cat 👍!",
        "maximumContextLength": 9,
        "maximumContextLengthLong": 5,
        "maximumContextLengthSnippet": 2,
        "minimumSpanLength": 4,
    }
    total = index.count([])
    span = " black cat 👍"
    log_prob = sum(math.log(index.count([token]) / total) for token in span.encode())
    answered = answer(index, body)
    assert answered["spans"][0].pop("unigramLogprobSum") == pytest.approx(log_prob)
    assert answered == {
        "index": "corpus",
        "spans": [
            {
                "left": 1,
                "right": 16,
                "length": 15,
                "count": 1,
                "text": span,
                "tokenIds": list(span.encode()),
                "documents": [
                    {
                        "documentIndex": 1,
                        "documentLength": 49,
                        "displayLength": 33,
                        "needleOffset": 9,
                        "metadata": {"source": "made", "id": 1},
                        "tokenIds": list(f"56789 the{span} sat down".encode()),
                        "text": f"56789 the{span} sat down",
                        "blocked": False,
                        "displayLengthLong": 25,
                        "needleOffsetLong": 5,
                        "textLong": f"9 the{span} sat ",
                        "displayOffsetSnippet": 19,
                        "needleOffsetSnippet": 2,
                        "textSnippet": f"he{span} s",
                    }
                ],
            }
        ],
        "inputTokens": [*"A black cat ", "👍", "👍", "👍", "👍", "!"],
    }


def test_windows_at_the_ends_of_a_document(index):
    body = {"response": "Nothing", "maximumContextLength": 3, "maximumContextLengthSnippet": 1}
    [span] = answer(index, body)["spans"]
    [document] = span["documents"]
    assert (document["needleOffset"], document["displayLength"]) == (0, 8)
    assert (document["text"], document["textSnippet"]) == ("Nothing.", "Nothing.")
    assert document["tokenIds"] == list(b"Nothing.")


def test_nothing_found(index):
    assert answer(index, {"response": ""}, "some") == {
        "index": "some",
        "spans": [],
        "inputTokens": [],
    }
    found = answer(index, {"response": "Ω"})
    assert (found["spans"], found["inputTokens"]) == ([], ["Ω", "Ω"])


def test_partial_words(index):
    body = {"response": "Black ca", "minimumSpanLength": 4}
    assert answer(index, body)["spans"] == []
    body["allowSpansWithPartialWords"] = True
    [span] = answer(index, body)["spans"]
    assert span["text"] == "lack ca"


def test_delimiters_and_frequency(index):
    body = {"response": "Nothing.", "maximumSpanDensity": 1}
    assert [each["text"] for each in answer(index, body)["spans"]] == ["Nothing."]
    body = {"response": "0123456789", "maximumFrequency": 1}
    assert answer(index, body)["spans"] == []
    body["maximumFrequency"] = 2
    [span] = answer(index, body)["spans"]
    assert (span["count"], len(span["documents"])) == (2, 1)
    body = {"response": "black cat", "delimiters": ["k"], "maximumSpanDensity": 1}
    assert [each["text"] for each in answer(index, body)["spans"]] == ["black", " cat"]


def test_documents_of_a_union_have_numbers_of_their_own(tmp_path):
    for name, texts in (("one", ["no", "the cat"]), ("two", ["the cat", "no"])):
        corpus = write_jsonl(tmp_path / f"{name}.jsonl", [{"text": text} for text in texts])
        everygram.build(corpus, tmp_path / name)
    with everygram.open([tmp_path / "one", tmp_path / "two"]) as union:
        [span] = answer(union, {"response": "the cat"})["spans"]
        assert {each["documentIndex"] for each in span["documents"]} == {1, 2}
        for each in span["documents"]:
            assert each["tokenIds"] == list(b"the cat")


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_responses_by_tokenizers_of_real_families(tmp_path, kind):
    """Windows of tokens are those of the documents, with the match where it is said to be."""
    name, make = TOKENIZERS[kind]
    (tmp_path / name).write_bytes(make())
    corpus = write_jsonl(tmp_path / "corpus.jsonl", [{"text": text} for text in TEXTS])
    everygram.build(corpus, tmp_path / "index", str(tmp_path / name))
    with everygram.open(tmp_path / "index") as index:
        for text in TEXTS:
            body = {
                "response": text,
                "maximumContextLength": 7,
                "maximumContextLengthLong": 3,
                "maximumContextLengthSnippet": 1,
            }
            found = answer(index, body)
            ids = index.encode(text).tolist()
            whole = index.attribute(text).text
            pieces = naive.pieces_of(index.tokenizer, index.encode(text), True)
            lost = len(b"".join(pieces)) - len(whole.encode())
            pieces = naive.without_first(pieces, lost)
            bounds = [naive.offsets(pieces, i, i + 1) for i in range(len(ids))]
            assert found["inputTokens"] == [whole[start:end] for start, end, *_ in bounds]
            for span in found["spans"]:
                assert span["tokenIds"] == ids[span["left"] : span["right"]]
                assert span["text"] in whole
                for each in span["documents"]:
                    check_windows(index, span, each, (7, 3, 1))


def check_windows(index, span, found, contexts):
    document = index.document(found["documentIndex"])
    assert found["documentLength"] == document.length
    begin, length = found["needleOffset"], found["displayLength"]
    assert found["tokenIds"][begin : begin + span["length"]] == span["tokenIds"]
    windows = [
        (found["tokenIds"], length, begin, found["text"]),
        (None, found["displayLengthLong"], found["needleOffsetLong"], found["textLong"]),
        (None, found["displayOffsetSnippet"], found["needleOffsetSnippet"], found["textSnippet"]),
    ]
    right = [
        [max(0, start - context), start, min(document.length, start + span["length"] + context)]
        for start in range(document.length)
        for context in contexts
        if document.token_ids[start : start + span["length"]].tolist() == span["tokenIds"]
    ]
    for ids, length, offset, text in windows:
        assert any((length, offset) == (last - first, at - first) for first, at, last in right)
        assert text in document.text
        if ids is not None:
            assert any(document.token_ids[first:last].tolist() == ids for first, _, last in right)
