"""Tokenizers whose library panics over a text: its PanicException is no Exception.

Here over a pattern that backtracks: the library gives up after ten million steps.
"""

import json

import numpy as np
import pytest
import tokenizers
from fastapi.testclient import TestClient
from tokenizers import decoders, models, pre_tokenizers

import everygram
from conftest import write_jsonl
from everygram.errors import TokenizerError
from everygram.server.app import create_app
from everygram.server.settings import Settings
from everygram.tokenizer.base import library
from everygram.tokenizer.huggingface import HuggingFaceTokenizer

PANIC = "x" * 37
TEXTS = ["natural language", "the natural sciences"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """The file of a tokenizer of bytes whose pattern backtracks over many x."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = tokenizers.Tokenizer(models.BPE({char: i for i, char in enumerate(alphabet)}, []))
    pattern = tokenizers.Regex("(x+x+)+y")
    split = pre_tokenizers.Split(pattern, "isolated")
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_])
    made.decoder = decoders.ByteLevel()
    path = tmp_path_factory.mktemp("panics") / "tokenizer.json"
    made.save(str(path))
    return path


@pytest.fixture(scope="module")
def corpus(tokenizer):
    return write_jsonl(tokenizer.parent / "corpus.jsonl", [{"text": text} for text in TEXTS])


@pytest.fixture(scope="module")
def bad_corpus(tokenizer):
    """Of three documents the second is one that the tokenizer panics over."""
    records = [{"text": text} for text in (TEXTS[0], f"a {PANIC} b", TEXTS[1])]
    records[1]["source"] = "logs"
    return write_jsonl(tokenizer.parent / "bad.jsonl", records)


@pytest.fixture(scope="module")
def index(tokenizer, corpus):
    everygram.build(corpus, tokenizer.parent / "index", tokenizer)
    with everygram.open(tokenizer.parent / "index") as index:
        index.warm_up()
        yield index


def test_a_panic_in_a_query_is_an_error_and_the_index_goes_on(index):
    asked = [
        index.count,
        index.encode,
        index.prob,
        index.infgram_prob,
        lambda text: index.prob("a", text),
        index.ntd,
        index.infgram_ntd,
        index.score,
        index.longest_matches,
        index.novelty,
        index.find,
        lambda text: index.document(query=text),
    ]
    for ask in asked:
        with pytest.raises(TokenizerError, match=r"cannot encode a text: .*retry-limit"):
            ask(PANIC)
    assert index.count("natural") == 1


def test_a_panic_in_a_batch_names_the_query(index):
    for ask in (index.count_batch, index.prob_batch, index.ntd_batch, index.infgram_prob_batch):
        with pytest.raises(TokenizerError, match=r"query 2: tokenizer .* cannot encode a text"):
            ask(["natural", [1, 2], PANIC])
    assert index.count_batch(["natural", "language"]).counts.tolist() == [1, 1]


def test_a_panic_in_a_build_names_the_document(tokenizer, bad_corpus, tmp_path):
    named = r'document 2 of the corpus \(metadata {"source":"logs"}\): .*cannot encode a text'
    with pytest.raises(TokenizerError, match=named):
        everygram.build(bad_corpus, tmp_path / "index", tokenizer)
    assert not (tmp_path / "index").exists()
    with pytest.raises(TokenizerError, match=named):
        everygram.plan(bad_corpus, tmp_path / "index", tokenizer)


def test_a_document_that_panics_can_be_left_out(index, tokenizer, bad_corpus, corpus, tmp_path):
    plan = everygram.plan(bad_corpus, tmp_path / "index", tokenizer, on_error="skip")
    assert len(plan.skips) == 1
    report = everygram.build(bad_corpus, tmp_path / "index", tokenizer, on_error="skip")
    assert (report.num_documents, report.skipped) == (2, 1)
    assert "document 2 of the corpus" in report.skips[0]
    with everygram.open(tmp_path / "index") as built:
        assert [built.document(n).text for n in range(2)] == TEXTS
    report = everygram.add(tmp_path / "index", bad_corpus, on_error="skip")
    assert (report.num_documents, report.skipped) == (2, 1)


def test_a_panic_on_the_command_line(index, tokenizer, bad_corpus, tmp_path, run):
    code, out, err = run("count", index.path, PANIC)
    assert (code, out) == (1, "")
    assert "error: tokenizer" in err and "Traceback" not in err
    code, out, _ = run("count", index.path, "-", stdin=f"natural\n{PANIC}\nlanguage\n")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert [line.get("count") for line in lines] == [1, None, 1]
    assert "cannot encode a text" in lines[1]["error"]
    code, out, err = run("novelty", index.path, bad_corpus)
    assert (code, out) == (1, "")
    assert "bad.jsonl:2: tokenizer" in err and "cannot encode a text" in err
    code, _, err = run("build", bad_corpus, "--out", tmp_path / "i", "--tokenizer", tokenizer)
    assert code == 1
    assert "error: document 2 of the corpus" in err and "Traceback" not in err


def test_a_panic_in_the_service_is_a_problem_and_it_goes_on(index):
    settings = Settings(indexes={"index": index.path}, access_log=False)
    with TestClient(create_app(settings)) as client:
        for _ in range(2):
            refused = client.post("/v1/indexes/index/count", json={"query": PANIC})
            assert refused.status_code == 422
            assert "cannot encode a text" in refused.json()["detail"]
            batch = {"batch": [{"query": "natural"}, {"query": PANIC}]}
            refused = client.post("/v1/indexes/index/count", json=batch)
            assert refused.status_code == 422
            assert refused.json()["detail"].startswith("#/batch/1: ")
            answer = client.post("/v1/indexes/index/count", json={"query": "natural"})
            assert answer.json()["count"] == 1


class PanicException(BaseException):
    """As the library's, which is no Exception."""


def test_a_panic_anywhere_in_the_library_is_an_error(tokenizer, monkeypatch):
    loaded = HuggingFaceTokenizer(tokenizer.read_bytes(), "x")

    class Panics:
        def id_to_token(self, token_id):
            raise PanicException("decoding")

    monkeypatch.setattr(loaded, "_tokenizer", Panics())
    with pytest.raises(TokenizerError, match="'x' cannot decode these ids: decoding"):
        loaded.decode(np.array([1, 2]))

    def panic(text):
        raise PanicException("loading")

    monkeypatch.setattr(tokenizers.Tokenizer, "from_str", panic)
    with pytest.raises(TokenizerError, match=r"'x': not a tokenizer.json that .*: loading"):
        HuggingFaceTokenizer(tokenizer.read_bytes(), "x")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_who_stops_the_program_stops_it(stop):
    with pytest.raises(stop), library("the tokenizer"):
        raise stop
