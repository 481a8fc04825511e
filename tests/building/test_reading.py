"""What builds hold of a record, and what they read from standard input."""

import gzip
import io
import random
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import everygram
from conftest import write_jsonl
from everygram.building.tokenize import encoded
from everygram.corpus.documents import TextDocument
from everygram.errors import BuildError, CorpusError, OptionError
from everygram.tokenizer.base import ByteTokenizer

MEMORY = 8_000_000
LONG = {"text": random.Random(0).randbytes(1_000_000).hex()}
SHORT = [{"text": "short"}, {"text": "also"}]


def texts_of(path):
    with everygram.open(path) as index:
        return [document["text"] for document in everygram.export(index)]


# --- the largest record ---


def test_a_record_may_take_a_quarter_of_the_memory(tmp_path):
    corpus = write_jsonl(tmp_path / "c.jsonl", [SHORT[0], LONG, SHORT[1]])
    for call in (
        lambda: everygram.build(corpus, tmp_path / "index", memory=MEMORY),
        lambda: everygram.plan(corpus, tmp_path / "index", memory=MEMORY),
    ):
        with pytest.raises(CorpusError, match=r"c.jsonl:2: a record of more than 2,000,000 bytes"):
            call()
    assert everygram.build(corpus, tmp_path / "index", memory=MEMORY + 99_999).num_documents == 3
    report = everygram.build(corpus, tmp_path / "other", memory=MEMORY, on_error="skip")
    assert (report.num_documents, report.skipped) == (2, 1)
    assert "c.jsonl:2: a record of more than 2,000,000 bytes" in report.skips[0]
    added = everygram.add(tmp_path / "other", corpus, memory=MEMORY, on_error="skip")
    assert (added.num_documents, added.skipped) == (2, 1)


def test_another_largest_record(tmp_path, run):
    corpus = write_jsonl(tmp_path / "c.jsonl", [SHORT[0], LONG, SHORT[1]])
    report = everygram.build(corpus, tmp_path / "a", max_record=2_000_000, on_error="skip")
    assert report.skipped == 1
    report = everygram.build(corpus, tmp_path / "b", memory=MEMORY, max_record=3_000_000)
    assert report.skipped == 0
    code, _, said = run("build", corpus, "--out", tmp_path / "c", "--max-record", "2MB")
    assert code == 1
    assert "c.jsonl:2: a record of more than 2,000,000 bytes" in said
    command = (
        "build",
        corpus,
        "--out",
        tmp_path / "c",
        "--max-record",
        "2MB",
        "--on-error",
        "skip",
    )
    assert run(*command)[0] == 0
    assert texts_of(tmp_path / "c") == ["short", "also"]
    code, _, said = run("add", tmp_path / "c", corpus, "--max-record", "2MB")
    assert code == 1
    assert "c.jsonl:2: a record of more than 2,000,000 bytes" in said
    code, _, said = run("build", corpus, "--out", tmp_path / "d", "--max-record", "much")
    assert "--max-record: expected a size" in said
    for wrong in (0, -1):
        with pytest.raises(OptionError, match="max_record: expected 1 or more"):
            everygram.build(corpus, tmp_path / "e", max_record=wrong)
    (tmp_path / "ids.bin").write_bytes(b"ab")
    with pytest.raises(OptionError, match="max_record goes with text"):
        everygram.build(
            tmp_path / "ids.bin", tmp_path / "e", pretokenized="u8", separator_id=9, max_record=9
        )


def test_beside_a_large_document_none_other_is_held():
    held = set()

    class Large(str):
        def __init__(self, _):
            held.add(id(self))

        def __del__(self):
            held.discard(id(self))

    def documents():
        for _ in range(4):
            assert not held
            yield TextDocument(Large("x" * (4 << 20)), b"{}")

    assert sum(document.ids.size for document in encoded(documents(), ByteTokenizer())) == 16 << 20


def test_a_record_of_a_mebibyte_is_read_whatever_the_memory(tmp_path):
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": LONG["text"][: (1 << 20) - 100]}])
    assert everygram.build(corpus, tmp_path / "index", memory=1).num_documents == 1


# --- standard input ---

LINES = b'{"text": "one", "n": 1}\n{"text": "two", "n": 2}\n'


def parquet():
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": ["one", "two"], "n": [1, 2]}), sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (LINES, ["one", "two"]),
        (b"\xef\xbb\xbf\n" + LINES, ["one", "two"]),
        (gzip.compress(LINES, mtime=0), ["one", "two"]),
        (parquet(), ["one", "two"]),
        (b"a text\nof two lines", ["a text\nof two lines"]),
        (b"\n \n", []),
        (b"", []),
    ],
)
def test_standard_input_is_what_its_first_bytes_say(tmp_path, run, given, expected):
    command = ("build", "-", "--out", tmp_path / "index", "--tokenizer", "train:300")
    code, _, said = run(*command, stdin=given)
    assert code == 0, said
    assert texts_of(tmp_path / "index") == expected
    with everygram.open(tmp_path / "index") as index:
        metadata = index.document(0).metadata if expected else {"path": "standard input"}
        assert metadata == ({"n": 1} if "one" in expected else {"path": "standard input"})


def test_standard_input_beside_files_and_for_add(tmp_path, run):
    corpus = write_jsonl(tmp_path / "c.jsonl", SHORT)
    command = ("build", corpus, "-", "--out", tmp_path / "index")
    assert run(*command, stdin=LINES)[0] == 0
    assert texts_of(tmp_path / "index") == ["short", "also", "one", "two"]
    assert run("add", tmp_path / "index", "-", stdin=LINES)[0] == 0
    assert texts_of(tmp_path / "index")[4:] == ["one", "two"]
    code, _, said = run("build", "-", "-", "--out", tmp_path / "twice", stdin=LINES)
    assert code == 1
    assert "the same file as 'standard input'" in said


def test_what_is_wrong_in_standard_input_is_named(tmp_path, run):
    code, _, said = run("build", "-", "--out", tmp_path / "index", stdin=LINES + b"{no\n")
    assert code == 1
    assert "standard input:3: not a JSON record" in said
    command = ("build", "-", "--out", tmp_path / "ids", "--pretokenized", "u8")
    code, _, said = run(*command, "--separator-id", "0", stdin=b"abc")
    assert code == 1
    assert "-: token ids are read from files here; copy it first" in said
    command = ("build", "-", "--out", tmp_path / "index")
    assert run(*command, "--dry-run", stdin=LINES)[0] == 0
    assert not (tmp_path / "index").exists()


def test_an_interrupted_build_goes_on_with_the_same_standard_input_only(tmp_path, monkeypatch):
    def build(given, **options):
        stream = io.TextIOWrapper(io.BytesIO(given), "utf-8")
        monkeypatch.setattr(sys, "stdin", stream)
        return everygram.build("-", tmp_path / "index", **options)

    def stop(progress):
        if progress.stage == "sort":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(LINES, progress=stop)
    with pytest.raises(
        BuildError, match=r"with other inputs \(changed: .*\): run it again as it was"
    ):
        build(LINES + LINES)
    stages = []
    report = build(LINES, progress=lambda progress: stages.append(progress.stage))
    assert report.num_documents == 2
    assert "read" not in stages


def test_standard_input_that_cannot_be_kept_or_is_closed(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(LINES), "utf-8"))
    with pytest.raises(CorpusError, match=r"standard input .*: a copy .* cannot be kept in '"):
        everygram.build("-", tmp_path / "index")
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(CorpusError, match=r"standard input \(-\): it is closed"):
        everygram.build("-", tmp_path / "index")
