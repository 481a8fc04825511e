"""`POST …/attribute`: its answers have the form that is described, and a union's name."""

from typing import get_args

import pytest
from service_cases import Asking

import everygram
from conftest import write_jsonl
from everygram.attribution.text import DELIMITERS
from everygram.server.models.attribution import AttributionRequest

TEXT = "it was the age of wisdom. And 日本語 — it was the age of foolishness"
BOOKS = [
    ["It was the age of wisdom.", "it was the age of it"],
    ["and it was the age of foolishness"],
]


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """A service of `one` and `two`, both as `all`, and `ids`, which has no tokenizer."""
    folder = tmp_path_factory.mktemp("attribute")
    for name, texts in zip(("one", "two"), BOOKS, strict=True):
        records = [{"text": text, "deep": [{"of": name}, 2**70]} for text in texts]
        everygram.build(write_jsonl(folder / f"{name}.jsonl", records), folder / name, "bytes")
    (folder / "ids.bin").write_bytes(bytes([0, 1, 2, 3, 0, 2, 3, 4]))
    ids = {"pretokenized": "u8", "separator_id": 0}
    everygram.build(folder / "ids.bin", folder / "ids", **ids)
    paths = {name: folder / name for name in ("one", "two", "ids")}
    asking = Asking(paths, unions={"all": {"of": ["one", "two"]}})
    return lambda name, body: asking("attribute", body, name)


def sent(response):
    assert response.status == 200, response.content
    answer = response.json()
    del answer["index_version"]
    return answer


@pytest.mark.parametrize("name", ["one", "all", "ids"])
def test_an_answer_has_the_form_that_is_described(ask, name):
    text = [9, 2, 3, 9] if name == "ids" else TEXT
    answer = sent(ask(name, {"text": text, "density": None}))
    assert answer["spans"] and answer["documents"]
    assert answer["index"]["name"] == name
    assert set(answer["options"]) == set(AttributionRequest.model_fields) - {"text", "raw", "echo"}


def test_documents_of_a_union_have_their_index(ask):
    answer = sent(ask("all", {"text": TEXT, "density": None, "documents": 1}))
    listed = [each for span in answer["spans"] for each in span["documents"]]
    found = {(each["index"], each["index_name"], each["number"]) for each in listed}
    assert found <= {(0, "one", 0), (0, "one", 1), (1, "two", 0)}
    assert {place for place, _, _ in found} == {0, 1}
    for each in [*listed, *answer["documents"]]:
        assert each["metadata"] == {"deep": [{"of": each["index_name"]}, 2**70]}
    alone = sent(ask("one", {"text": TEXT, "density": None}))
    assert "index" not in alone["spans"][0]["documents"][0]
    assert "index" not in alone["documents"][0]


def test_a_batch_has_an_answer_for_each(ask):
    bodies = [{"text": TEXT}, {"text": TEXT, "density": None, "prompt": "wisdom"}, {"text": ""}]
    for name in ("one", "all"):
        alone = [sent(ask(name, body)) for body in bodies]
        assert sent(ask(name, {"batch": bodies})) == {"results": alone}
    wrong = ask("one", {"batch": [bodies[0], {"text": [-1]}]})
    assert wrong.status == 422
    assert wrong.json()["detail"].startswith("#/batch/1: text[0]: token id -1 is outside")


def test_places_slice_the_text_and_the_documents(ask):
    answer = sent(ask("all", {"text": TEXT, "density": None, "context": [9, 4, 0]}))
    assert answer["text"] == TEXT
    for span in answer["spans"]:
        assert TEXT[span["start"] : span["end"]] == span["text"]
        assert TEXT.encode()[span["byte_start"] : span["byte_end"]].decode() == span["text"]
        for each in span["documents"]:
            text = BOOKS[each["index"]][each["number"]]
            assert text[each["start"] : each["end"]] == span["text"]
            for around in (each, each["medium"], each["snippet"]):
                start, end = around["match"]
                assert around["text"][start:end] == span["text"]
            assert each["snippet"]["text"] == span["text"]


def test_limits_are_described(ask):
    fields = AttributionRequest.model_json_schema()["properties"]
    assert "`max_documents`" in fields["documents"]["description"]
    assert "`max_context`" in fields["context"]["description"]
    assert fields["context"]["items"] == {"minimum": 0, "type": "integer"}
    assert fields["delimiters"]["default"] == list(DELIMITERS)
    assert {*get_args(AttributionRequest.model_fields["rank_by"].annotation)} == {
        "unigram_log_prob",
        "length",
    }
    sent(ask("one", {"text": TEXT, "documents": 1_000, "context": [10_000] * 3}))
