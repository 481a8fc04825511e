"""`everygram perplexity` as a user runs it: what it reads, what it prints, how it fails."""

import gzip
import inspect
import json
import re
from pathlib import Path

import numpy as np
import pytest
from test_help import defaults_of

import everygram
from conftest import write_jsonl
from everygram.lm.model import LanguageModel

PROGRESS = r"(\[ +\d+\.\d s\] .*\n)+"
TEXTS = ["natural language of a fox", "", "the lazy  language\n"]
FLOOR = ["--model", "infgram-floor"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_jsonl(
        tmp_path / "held.jsonl", [{"text": t, "n": i, "r": "fox"} for i, t in enumerate(TEXTS)]
    )
    return tmp_path


def measured(index, texts, document_end=False, **given):
    model = index.language_model(given.pop("model", "infgram-floor"), **given)
    return model.perplexity(texts, document_end=document_end)


def answer_of(run, path, *arguments, stdin=b""):
    code, out, err = run("perplexity", path, *arguments, "--json", stdin=stdin)
    assert code == 0, err
    return json.loads(out)


def test_the_answer_in_words(run, path, here, text_index):
    code, out, err = run("perplexity", path, "held.jsonl", *FLOOR)
    assert code == 0 and re.fullmatch(PROGRESS, err), err
    found = measured(text_index, TEXTS)
    assert out.splitlines() == [
        "model           infgram-floor, no order",
        "documents       3",
        f"tokens          {sum(map(len, TEXTS))}",
        f"log-likelihood  {found.log_likelihood:.2f} nats",
        f"perplexity      {found.perplexity:.6g} per token",
        f"                {found.word_perplexity:.6g} per word (8 words)",
        f"                {found.byte_perplexity:.6g} per byte (44 bytes): "
        f"{found.bits_per_byte:.4f} bits per byte",
    ]


def test_an_infinite_perplexity_is_explained(run, path, here, text_index):
    found = measured(text_index, TEXTS, True, model="infgram", order=2)
    given = ["held.jsonl", "--model", "infgram", "--order", "2", "--document-end"]
    code, out, err = run("perplexity", path, *given)
    assert code == 0 and re.fullmatch(PROGRESS, err), err
    share = f"{found.zeros} of {found.tokens} tokens ({found.zeros / found.tokens:.1%})"
    notes = [
        f"zeros           {share} have probability 0, so the perplexity is infinite",
        "                of the other tokens alone, which compares with nothing: "
        f"{found.perplexity_without_zeros:.6g} per token",
        "                --model infgram-floor or modified-kneser-ney gives every token a "
        "probability",
    ]
    assert found.zeros > 0
    assert out.splitlines() == [
        "model           infgram, order 2",
        "documents       3",
        f"tokens          {found.tokens}, ends included",
        "log-likelihood  −∞",
        "perplexity      inf per token",
        *notes,
    ]
    code, out, err = run("perplexity", path, *given, "--json")
    answer = json.loads(out)
    assert (answer["perplexity"], answer["log_likelihood"]) == (None, None)
    assert answer["zeros"] == found.zeros
    assert answer["perplexity_without_zeros"] == pytest.approx(found.perplexity_without_zeros)
    assert err.splitlines()[-3:] == notes


def test_json_has_all(run, path, here, text_index):
    for flags, end in (([], False), (["--document-end"], True)):
        found = measured(text_index, TEXTS, end)
        assert answer_of(run, path, "held.jsonl", *FLOOR, *flags) == {
            "model": "infgram-floor",
            "order": None,
            "document_end": end,
            "skipped": 0,
            **found.as_dict(),
        }
        assert found.tokens == sum(map(len, TEXTS)) + 3 * end
    weighed = answer_of(run, path, "held.jsonl", *FLOOR, "--weights", "0.25, 0.5")
    expected = measured(text_index, TEXTS, weights=(0.25, 0.5))
    assert weighed["log_likelihood"] == expected.log_likelihood != found.log_likelihood


def test_a_corpus_without_tokens_has_no_perplexity(run, path, here):
    (here / "empty.jsonl").write_text('{"text": ""}\n')
    _, said, _ = run("perplexity", path, "empty.jsonl", "--model", "infgram-floor")
    assert "no token to predict" in said
    assert "nan" not in said
    arguments = ("--model", "infgram-floor", "--document-end")
    _, said, _ = run("perplexity", path, "empty.jsonl", *arguments)
    assert "per token" in said
    assert "per word" not in said


def test_scores_are_said_to_be_none(run, path, here):
    code, out, _ = run("perplexity", path, "held.jsonl", "--model", "stupid-backoff")
    assert code == 0
    assert "stupid-backoff's do not sum to 1: compare with no other model's" in out
    assert "do not sum to 1" not in run("perplexity", path, "held.jsonl", *FLOOR)[1]


def test_a_line_per_document(run, path, here, text_index):
    (here / "each.jsonl").write_text("old")
    given = ["held.jsonl", "--model", "infgram", "--order", "1"]
    code, _, err = run("perplexity", path, *given, "--per-document", "each.jsonl")
    assert code == 0, err
    lines = list(map(json.loads, (here / "each.jsonl").read_text().splitlines()))
    assert [line["zeros"] for line in lines] != [0, 0, 0]
    for number, (line, text) in enumerate(zip(lines, TEXTS, strict=True)):
        one = measured(text_index, [text], model="infgram", order=1)
        assert line == {
            "document": number,
            "tokens": one.tokens,
            "words": len(text.split()),
            "bytes": len(text.encode()),
            "log_likelihood": None if one.zeros else one.log_likelihood,
            "perplexity": None if one.zeros or not text else one.perplexity,
            "zeros": one.zeros,
            "metadata": {"n": number, "r": "fox"},
        }
    run("perplexity", path, *given, "--per-document", "each.jsonl", "--metadata-fields", "n")
    assert json.loads((here / "each.jsonl").read_text().splitlines()[1])["metadata"] == {"n": 1}


def test_documents_are_read_as_a_build_reads_them(run, path, here, text_index):
    def same(texts, *arguments, stdin=b""):
        answer = answer_of(run, path, *arguments, *FLOOR, stdin=stdin)
        expected = measured(text_index, texts)
        assert answer["log_likelihood"] == pytest.approx(expected.log_likelihood)
        assert answer["documents"] == len(texts)

    lines = (here / "held.jsonl").read_bytes()
    same(TEXTS, "-", stdin=lines)
    same(TEXTS, "-", stdin=gzip.compress(lines))
    same(["fox"] * 3, "held.jsonl", "--text-field", "r")
    (here / "lines.txt").write_text("a fox\nthe dog")
    same(["a fox", "the dog"], "lines.txt", "--split", "lines")
    (here / "one.txt").write_text("a fox")
    same([*TEXTS, "a fox"], "held.jsonl", "one.txt")
    (here / "table.csv").write_text('text\n"a ""b"""\n')
    same(['a "b"'], "table.csv")
    same(['"a ""b"""'], "table.csv", "--quoting", "none")
    (here / "folder").mkdir()
    (here / "folder" / "a.txt").write_text("the dog")
    same(["the dog"], "folder")
    same(["the dog"], "folder/*.txt")


def test_what_cannot_be_read_may_be_skipped(run, path, here, text_index):
    (here / "bad.jsonl").write_text('{"text": "fine"}\n{"text": 3}\n{"text": "\\ud800"}\n')
    code, out, err = run("perplexity", path, "bad.jsonl", *FLOOR)
    assert (code, out) == (1, "") and "bad.jsonl:2: field 'text': expected a string" in err
    code, out, err = run("perplexity", path, "bad.jsonl", *FLOOR, "--on-error", "skip", "--json")
    assert code == 0, err
    answer = json.loads(out)
    assert (answer["documents"], answer["skipped"]) == (1, 2)
    assert answer["log_likelihood"] == measured(text_index, ["fine"]).log_likelihood
    assert "skipped: bad.jsonl:2: field 'text'" in err
    code, out, _ = run("perplexity", path, "bad.jsonl", *FLOOR, "--on-error", "skip")
    assert "documents       1, 2 skipped" in out


def test_a_text_that_the_tokenizer_refuses(run, path, here, text_index, monkeypatch):
    from everygram.tokenizer.base import ByteTokenizer, RefusedTextError

    encode = ByteTokenizer.encode_batch

    def choosy(self, texts):
        if TEXTS[2] in texts:
            raise RefusedTextError("not this one")
        return encode(self, texts)

    monkeypatch.setattr(ByteTokenizer, "encode_batch", choosy)
    code, _, err = run("perplexity", path, "held.jsonl", *FLOOR)
    assert code == 1 and "error: document 3: not this one" in err
    given = ["--on-error", "skip", "--per-document", "each.jsonl"]
    answer = answer_of(run, path, "held.jsonl", *FLOOR, *given)
    assert (answer["documents"], answer["skipped"]) == (2, 1)
    assert answer["log_likelihood"] == measured(text_index, TEXTS[:2]).log_likelihood
    lines = (here / "each.jsonl").read_text().splitlines()
    assert [json.loads(line)["metadata"]["n"] for line in lines] == [0, 1]


def test_token_ids_are_measured_too(run, here):
    (here / "ids.bin").write_bytes(bytes([0, 1, 2, 0, 3, 1]))
    raw = ["--pretokenized", "u8", "--separator-id", "0"]
    everygram.build(
        here / "ids.bin", here / "index", pretokenized="u8", separator_id=0, vocab_size=9
    )
    (here / "new.bin").write_bytes(bytes([0, 1, 2, 3, 0, 5]))
    np.save(here / "rows.npy", np.array([[1, 2], [3, 1]], "u1"))
    with everygram.open(here / "index") as index:
        for name, texts in (("new.bin", [[1, 2, 3], [5]]), ("rows.npy", [[1, 2], [3, 1]])):
            given = raw if "bin" in name else []
            answer = answer_of(run, "index", name, *given, *FLOOR)
            found = measured(index, texts)
            assert answer["log_likelihood"] == found.log_likelihood
            assert (answer["words"], answer["bits_per_byte"], answer["tokens"]) == (
                None,
                None,
                found.tokens,
            )
    code, out, _ = run("perplexity", "index", "new.bin", *raw, *FLOOR)
    assert code == 0 and "per word" not in out and "per byte" not in out
    (here / "new.bin").write_bytes(bytes([0, 1, 0, 77]))
    code, _, err = run("perplexity", "index", "new.bin", *raw, *FLOOR)
    assert code == 1 and re.search(r"new.bin: token 3 is 77, which is outside the voc.*index'", err)
    code, _, err = run("perplexity", "index", "held.jsonl", *FLOOR)
    assert code == 2 and re.search("index '.*index' has no tokenizer.*--pretokenized", err), err


def test_what_cannot_be_measured_is_said(run, path, here):
    def error_of(*arguments, stdin=b""):
        code, out, err = run("perplexity", path, *arguments, stdin=stdin)
        assert code in (1, 2) and out == "", out
        return err

    assert "missing.jsonl: no such file" in error_of("held.jsonl", "missing.jsonl", *FLOOR)
    (here / "none.jsonl").write_text("\n")
    assert "none.jsonl: expected documents, found none" in error_of("none.jsonl", *FLOOR)
    assert "standard input: expected documents, found none" in error_of("-", *FLOOR)
    assert "corpus: expected a path, found an empty name" in error_of("", *FLOOR)
    assert "--weights: go with infgram-floor alone" in error_of(
        "held.jsonl", "--model", "infgram", "--weights", "0,0"
    )
    for weights in ("0.5", "a,b", "", "0.1,0.2,0.3"):
        said = error_of("held.jsonl", *FLOOR, "--weights", weights)
        assert "--weights: expected two numbers like 0.8,0.4" in said
    assert "two numbers from 0 up to but not 1" in error_of(
        "held.jsonl", *FLOOR, "--weights", "1,0"
    )
    assert "--order" in error_of("held.jsonl", "--order", "0")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("each.json", "--per-document: expected a name that ends in .jsonl, found 'each.json'"),
        ("no/each.jsonl", "'no/each.jsonl', in a folder that is not there"),
        ("folder.jsonl", "found 'folder.jsonl', which is a folder"),
    ],
)
def test_where_no_lines_can_be_written_is_said_before_any_work(run, path, here, name, says):
    (here / "folder.jsonl").mkdir()
    code, out, err = run("perplexity", path, "missing.jsonl", "--per-document", name)
    assert (code, out) == (2, "") and says in err and "missing.jsonl" not in err


def test_lines_that_are_not_finished_leave_what_was_there(run, path, here, monkeypatch):
    (here / "each.jsonl").write_text("old")
    write_jsonl(here / "bad.jsonl", [{"text": "fine"}, {"text": 3}])
    for name in ("each.jsonl", "new.jsonl"):
        assert run("perplexity", path, "bad.jsonl", *FLOOR, "--per-document", name)[0] == 1

    def full(self, to):
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "replace", full)
    code, out, err = run("perplexity", path, "held.jsonl", *FLOOR, "--per-document", "new.jsonl")
    assert (code, out) == (1, "") and "No space left on device: 'new.jsonl'" in err
    assert {each.name for each in here.iterdir()} == {"each.jsonl", "held.jsonl", "bad.jsonl"}
    assert (here / "each.jsonl").read_text() == "old"


def test_the_models_and_defaults_are_those_of_python():
    shell = defaults_of("perplexity", "INDEX", "CORPUS")
    made = inspect.signature(everygram.Index.language_model).parameters
    method = inspect.signature(LanguageModel.perplexity).parameters
    assert {name: shell[name] for name in ("smoothing", "order", "weights")} == {
        name: made[name].default for name in ("smoothing", "order", "weights")
    }
    assert shell["document_end"] == method["document_end"].default
    build = defaults_of("build", "CORPUS", "--out", "OUT")
    for name in ("text_field", "id_field", "metadata_fields", "on_error", "split", "quoting"):
        assert shell[name] == build[name]
