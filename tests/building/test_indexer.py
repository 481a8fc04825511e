"""Builds: what they take, what they refuse; one that dies leaves nothing that opens."""

import os
import signal
import struct
import subprocess
import sys
import textwrap

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import everygram
from campaign import sized
from conftest import write_jsonl
from everygram.building import external_sort, indexer, tokenize
from everygram.errors import (
    BuildError,
    CorpusError,
    FormatError,
    OptionError,
    TokenizerError,
)
from everygram.storage import directory
from everygram.storage.verify import verify
from naive import NaiveIndex

TEXTS = ["one two three", "", "two three two three", "日本語", "three"]


@pytest.fixture
def corpus(tmp_path):
    return write_jsonl(
        tmp_path / "corpus.jsonl", [{"text": text, "n": i} for i, text in enumerate(TEXTS)]
    )


def same_answers(index, documents):
    naive = NaiveIndex(documents, index.separator)
    for document in documents:
        for start in range(len(document)):
            piece = document[start : start + 4]
            assert index.count(piece) == naive.count(piece)
    assert index.count([]) == naive.count([])
    for number, document in enumerate(documents):
        assert index.document(number).token_ids.tolist() == document


def test_a_build_reports_what_it_made(corpus, tmp_path):
    """Of a corpus so small that infini-gram's indexer leaves it unsorted (defect 5)."""
    stages = []
    report = everygram.build(corpus, tmp_path / "index", progress=lambda p: stages.append(p))
    assert (report.num_documents, report.skipped) == (5, 0)
    assert report.peak_bytes > 0
    assert report.index_bytes == sum(
        path.stat().st_size for path in (tmp_path / "index" / "segment-000001").iterdir()
    )
    assert report.num_tokens == sum(len(text.encode()) for text in TEXTS)
    seen = list(dict.fromkeys(progress.stage for progress in stages))
    assert seen == ["read", "sort", "count", "write", "publish"]
    assert list(report.seconds) == seen[:-1]  # publishing is what the report is part of
    read = [progress for progress in stages if progress.stage == "read"][-1]
    assert read.done == read.total == corpus.stat().st_size
    assert stages[-1].documents == 5
    with everygram.open(tmp_path / "index") as index:
        same_answers(index, [list(text.encode()) for text in TEXTS])
        assert [index.document(i).metadata for i in range(5)] == [{"n": i} for i in range(5)]
        assert [index.document(i).text for i in range(5)] == TEXTS
    assert verify(tmp_path / "index", lambda done, total: None) == []


def test_the_environment_stays_as_it_is(corpus, tmp_path):
    """One build's threads are no other's."""
    before = dict(os.environ)
    everygram.build(corpus, tmp_path / "index", threads=1, tokenizer="train:300")
    everygram.add(tmp_path / "index", corpus, threads=1)
    everygram.delete(tmp_path / "index", documents=[0], threads=1)
    everygram.compact(tmp_path / "index", threads=1)
    assert dict(os.environ) == before


def test_batches_keep_the_order(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(tokenize, "BATCH_DOCUMENTS", 2)
    monkeypatch.setattr(indexer, "REPORT_EVERY", 1)
    again = tmp_path / "again.jsonl"
    again.write_bytes(corpus.read_bytes())
    everygram.build([corpus, again], tmp_path / "index", tokenizer="train:300")
    with everygram.open(tmp_path / "index") as index:
        assert [index.document(i).text for i in range(10)] == TEXTS * 2
        assert index.tokenizer.source == "train:300"


def test_one_long_document_still_trains_a_tokenizer(tmp_path, monkeypatch):
    """Sampled by documents, a corpus of one would train on nothing or on all of it."""
    from everygram.tokenizer import choose as tokenizer

    monkeypatch.setattr(tokenizer, "TRAINING_SAMPLE_BYTES", 2000)
    monkeypatch.setattr(tokenizer, "STRETCH_CHARS", 500)
    (tmp_path / "book.txt").write_text("natural language processing and more. " * 1000)
    everygram.build(tmp_path / "book.txt", tmp_path / "index", tokenizer="train:300")
    with everygram.open(tmp_path / "index") as index:
        assert index.count("language").tokens == [" language"]
        assert index.vocab_size > 270


def test_the_tokenizer_may_be_a_path_object(corpus, tmp_path):
    everygram.build(corpus, tmp_path / "one", tokenizer="train:300")
    stored = tmp_path / "one" / "tokenizer.json"
    everygram.build(corpus, tmp_path / "two", tokenizer=stored)
    assert (tmp_path / "two" / "tokenizer.json").read_bytes() == stored.read_bytes()
    with pytest.raises(TokenizerError, match=r"expected a tokenizer\.json, found none"):
        everygram.build(corpus, tmp_path / "three", tokenizer="")


def test_an_empty_corpus_makes_an_empty_index(tmp_path):
    (tmp_path / "none.jsonl").write_text("")
    report = everygram.build(tmp_path / "none.jsonl", tmp_path / "index")
    assert report.num_documents == report.num_tokens == 0
    assert [path.name for path in (tmp_path / "index").iterdir() if path.is_dir()] == []
    with everygram.open(tmp_path / "index") as index:
        assert index.count("") == index.count("a") == 0
        assert len(index.infgram_ntd("abc")) == 0
        assert index.infgram_prob("abc", "d").as_dict()["prob"] is None
        assert index.find("a").count == 0
        with pytest.raises(everygram.QueryError, match="document 0: the index has none"):
            index.document(0)


@pytest.mark.parametrize("dtype", ["u8", "u16", "u32"])
def test_pretokenized(tmp_path, dtype):
    width = np.dtype(f"<u{int(dtype[1:]) // 8}")
    top = np.iinfo(width).max
    documents = [[1, 2, 3, 2], [], [2, top - 1]]
    stream = [token for document in documents for token in (*document, 0)]
    np.array(stream, width).tofile(tmp_path / "ids.bin")
    everygram.build(tmp_path / "ids.bin", tmp_path / "index", pretokenized=dtype, separator_id=0)
    with everygram.open(tmp_path / "index") as index:
        assert index.manifest.dtype == dtype
        assert index.vocab_size == top
        assert index.tokenizer is None
        same_answers(index, documents)
        assert index.count([2]).tokens is None
        assert index.document(0).text is None
        assert index.document(0).metadata == {"path": "ids.bin"}
        with pytest.raises(TokenizerError, match=r"has no tokenizer .* query it with token ids"):
            index.count("text")


@pytest.mark.parametrize(
    ("width", "token", "vocab_size", "dtype", "size"),
    [
        ("u8", 254, None, "u8", 255),
        ("u8", 255, None, "u16", 256),
        ("u16", 9, None, "u16", 65535),
        ("u16", 65535, None, "u32", 65536),
        ("u32", 9, None, "u32", 2**32 - 1),
        ("u32", 9, 10, "u8", 10),
        ("u32", 9, 50257, "u16", 50257),
    ],
)
def test_the_vocabulary_of_ids(tmp_path, width, token, vocab_size, dtype, size):
    """Unless told otherwise every id of the width may be asked for, whether it occurs or not."""
    np.array([token, 7, token], f"<u{int(width[1:]) // 8}").tofile(tmp_path / "ids.bin")
    out = tmp_path / "index"
    everygram.build(
        tmp_path / "ids.bin", out, pretokenized=width, separator_id=7, vocab_size=vocab_size
    )
    with everygram.open(out) as index:
        assert (index.manifest.dtype, index.vocab_size) == (dtype, size)
        assert index.count([token]) == 2
        assert index.count([size - 1]) == (2 if token == size - 1 else 0)
        assert index.count([index.separator]) == 2


def test_ids_that_leave_no_separator_or_are_outside_the_vocabulary(tmp_path):
    np.array([1, 2**32 - 1], "<u4").tofile(tmp_path / "ids.bin")
    with pytest.raises(CorpusError, match=r"token 1 is 4294967295, which is outside what an"):
        everygram.build(tmp_path / "ids.bin", tmp_path / "i", pretokenized="u32", separator_id=7)
    np.array([1, 9], "<u4").tofile(tmp_path / "ids.bin")
    with pytest.raises(CorpusError, match=r"outside the vocabulary given \(0 to 8\)"):
        everygram.build(
            tmp_path / "ids.bin", tmp_path / "i", pretokenized="u32", separator_id=7, vocab_size=9
        )


def test_pretokenized_with_its_tokenizer(tmp_path):
    np.array([*b"ab", 255, *b"b"], "u1").tofile(tmp_path / "ids.bin")
    everygram.build(
        tmp_path / "ids.bin",
        tmp_path / "index",
        tokenizer="bytes",
        pretokenized="u8",
        separator_id=255,
    )
    with everygram.open(tmp_path / "index") as index:
        assert index.count("b") == 2
        assert index.document(0).text == "ab"


def test_an_id_outside_the_tokenizers_vocabulary(tmp_path):
    np.array([1, 0, 1, 2, 256], "<u2").tofile(tmp_path / "ids.bin")
    with pytest.raises(
        CorpusError, match=r"ids.bin: token 4 is 256, which is outside the vocabulary of tokenizer"
    ):
        everygram.build(
            tmp_path / "ids.bin", tmp_path / "i", "bytes", pretokenized="u16", separator_id=0
        )
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"pretokenized": "u16"}, r"pass it, as in --separator-id"),
        ({"pretokenized": "u16", "separator_id": 65536}, "expected 0 to 65535"),
        ({"pretokenized": "u16", "separator_id": -1}, "expected 0 to 65535"),
        ({"pretokenized": "u64", "separator_id": 0}, "expected u8, u16 or u32"),
        ({"separator_id": 0}, "separator_id goes with pretokenized"),
        ({"vocab_size": 9}, "vocab_size goes with pretokenized"),
        ({"on_error": "ignore"}, "expected 'raise' or 'skip'"),
        ({"tokenizer": "train:9"}, "expected train:VOCAB"),
        ({"tokenizer": "train:300", "pretokenized": "u8", "separator_id": 0}, "no text to train"),
        ({"pretokenized": "u8", "separator_id": 0, "id_field": "id"}, "go with text"),
        ({"metadata_fields": "a,b"}, "expected a list of fields"),
        ({"pretokenized": "u8", "separator_id": 0, "vocab_size": 257}, "expected 1 to 256"),
        (
            {"pretokenized": "u8", "separator_id": 0, "vocab_size": 9, "tokenizer": "bytes"},
            "without a tokenizer",
        ),
    ],
)
def test_bad_options_leave_nothing_behind(corpus, tmp_path, options, says):
    with pytest.raises(OptionError, match=says):
        everygram.build(corpus, tmp_path / "deep" / "index", **options)
    assert not (tmp_path / "deep").exists()


def test_no_corpus(tmp_path):
    with pytest.raises(CorpusError, match="no corpus given"):
        everygram.build([], tmp_path / "index")


def test_a_bad_line_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(external_sort, "MIN_BLOCK", 3)
    monkeypatch.setattr(tokenize, "BATCH_DOCUMENTS", 1)
    path = tmp_path / "c.jsonl"
    path.write_text('{"text": "good"}\n{"text": "fine"}\nbad\n{"text": "good"}\n')
    with pytest.raises(CorpusError, match=r"c.jsonl:3: not a JSON record"):
        everygram.build(path, tmp_path / "index", memory=1)
    assert not (tmp_path / "index").exists()
    report = everygram.build(path, tmp_path / "index", on_error="skip")
    assert (report.num_documents, report.skipped) == (3, 1)
    assert "c.jsonl:3" in report.skips[0]


def test_a_taken_folder_is_refused_and_untouched(corpus, tmp_path):
    everygram.build(corpus, tmp_path / "index")
    before = (tmp_path / "index" / "manifest.json").read_bytes()
    with pytest.raises(BuildError, match="already holds an index"):
        everygram.build(corpus, tmp_path / "index")
    assert (tmp_path / "index" / "manifest.json").read_bytes() == before
    everygram.open(tmp_path / "index").close()

    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    with pytest.raises(BuildError, match=r"is not empty: it holds 'mine.txt'"):
        everygram.build(corpus, tmp_path / "notes")
    assert (tmp_path / "notes" / "mine.txt").read_text() == "mine"

    assert sorted(path.name for path in (tmp_path / "notes").iterdir()) == ["mine.txt"]

    (tmp_path / "file").write_text("mine")
    with pytest.raises(BuildError, match="cannot make an index at"):
        everygram.build(corpus, tmp_path / "file")


@pytest.mark.parametrize("name", ["tokenizer.json", "segment-audio", "segment-000001"])
def test_files_of_the_users_that_are_named_like_ours_are_not_touched(corpus, tmp_path, name):
    """A folder is only taken for a killed build's if a build's lock is in it."""
    out = tmp_path / "out"
    (out / name).mkdir(parents=True)
    (out / name / "mine.wav").write_text("mine")
    with pytest.raises(BuildError, match="is not empty"):
        everygram.build(corpus, out)
    assert [path.name for path in out.rglob("*")] == [name, "mine.wav"]
    (out / ".everygram.lock").touch()
    with pytest.raises(BuildError, match="is not empty"):
        everygram.build(corpus, out)
    assert (out / name / "mine.wav").read_text() == "mine"


def test_a_failed_build_leaves_the_folders_that_were_there(corpus, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.jsonl").write_text("nope")
    for out in (tmp_path / "empty", tmp_path / "new" / "deep"):
        with pytest.raises(CorpusError):
            everygram.build(tmp_path / "bad.jsonl", out)
    assert list((tmp_path / "empty").iterdir()) == []
    assert not (tmp_path / "new").exists()


def test_a_lock_that_was_removed_while_waiting_is_not_taken_for_the_lock(tmp_path, monkeypatch):
    """A writer that fails removes its lock; another may have opened it just before."""
    import fcntl

    lock = tmp_path / "index" / ".everygram.lock"
    flock, calls = fcntl.flock, []

    def removed_first(descriptor, operation):
        if not calls:
            lock.unlink()
        calls.append(descriptor)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", removed_first)
    with directory.new_index(tmp_path / "index"):
        assert len(calls) == 2
        assert lock.exists()
        with (
            pytest.raises(BuildError, match="written by another process"),
            directory.new_index(tmp_path / "index"),
        ):
            pass


def run_build(corpus, out, body, options=""):
    """Build in another process whose progress callback is `body`, with tiny blocks."""
    script = f"""
    import os, signal
    from pathlib import Path
    import everygram
    from everygram.building import external_sort
    from everygram.building import indexer, tokenize
    external_sort.MIN_BLOCK = 4
    tokenize.BATCH_DOCUMENTS = indexer.REPORT_EVERY = 1
    steps = 0
    stages = []
    def progress(p):
        global steps
        steps += 1
        stages.append(p.stage)
        {body}
    everygram.build(
        {str(corpus)!r}, {str(out)!r}, "train:300", memory=1, threads=2, progress=progress{options}
    )
    print(*stages)
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True
    )


def files_of(path):
    """Everything an index consists of, but the manifest, whose report of the build differs."""
    return {
        file.relative_to(path): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and file.name != "manifest.json"
    }


def test_a_build_killed_at_any_stage_leaves_nothing_that_opens_and_goes_on(corpus, tmp_path):
    """infini-gram takes what a killed build left for finished (defect 10)."""
    done = run_build(corpus, tmp_path / "whole", "pass")
    stage_of = done.stdout.split()
    stages = list(dict.fromkeys(stage_of))
    assert stages == ["train", "read", "sort", "merge", "count", "write", "publish"]
    # The first step of each stage, and the very last.
    some = sorted({*(stage_of.index(stage) + 1 for stage in stages), len(stage_of)})
    skipped = {}
    for step in sized(some, range(1, len(stage_of) + 1)):
        out = tmp_path / f"killed-{step}"
        killed = run_build(corpus, out, f"if steps == {step}: os.kill(os.getpid(), signal.SIGKILL)")
        assert killed.returncode == -signal.SIGKILL
        with pytest.raises(FormatError):
            everygram.open(out)
        again = run_build(corpus, out, "pass")
        assert again.returncode == 0, again.stderr
        skipped[step] = [stage for stage in stages if stage not in again.stdout.split()]
        assert files_of(out) == files_of(tmp_path / "whole")
        assert verify(out, lambda done, total: None) == []
    # Each finished stage was not run again.
    assert list(skipped.values()) == sorted(skipped.values(), key=len)
    assert skipped[1] == []
    assert skipped[len(stage_of)] == ["train", "read", "sort", "merge", "count"]


def test_killed_between_the_last_file_and_the_manifest(corpus, tmp_path):
    out = tmp_path / "index"
    body = (
        "if p.stage == 'publish': rename = Path.rename; Path.rename = lambda old, new: "
        "os.kill(os.getpid(), 9) if 'manifest' in old.name else rename(old, new)"
    )
    assert run_build(corpus, out, body).returncode == -signal.SIGKILL
    assert (out / "manifest.json.tmp").exists()
    with pytest.raises(FormatError, match="its build did not finish"):
        everygram.open(out)
    assert run_build(corpus, out, "pass").returncode == 0
    assert sorted(path.name for path in out.iterdir()) == [
        ".everygram.lock",
        "manifest.json",
        "segment-000001",
        "tokenizer.json",
    ]


def test_an_interrupted_build_refuses_other_arguments_and_changed_files(corpus, tmp_path):
    out = tmp_path / "index"
    kill = "if p.stage == 'sort': os.kill(os.getpid(), signal.SIGKILL)"
    assert run_build(corpus, out, kill).returncode == -signal.SIGKILL
    with pytest.raises(
        BuildError,
        match=r"interrupted build with other arguments \(.*tokenizer .*, now None\): run",
    ):
        everygram.build(corpus, out)
    assert (out / "build.json").exists()
    with corpus.open("a") as file:
        file.write('{"text": "more"}\n')
    refused = run_build(corpus, out, "pass")
    assert f"interrupted build with other inputs (changed: '{corpus}')" in refused.stderr
    assert run_build(corpus, out, "pass", options=", restart=True").returncode == 0
    with everygram.open(out) as index:
        assert index.num_documents == len(TEXTS) + 1


def test_an_interrupted_build_refuses_a_changed_tokenizer(corpus, tmp_path):
    everygram.build(corpus, tmp_path / "one", "train:300")
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_bytes((tmp_path / "one" / "tokenizer.json").read_bytes())

    def fail(p):
        if p.stage == "sort":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        everygram.build(corpus, tmp_path / "two", tokenizer, progress=fail)
    tokenizer.write_bytes(tokenizer.read_bytes() + b"\n")
    with pytest.raises(BuildError, match="whose tokenizer has changed"):
        everygram.build(corpus, tmp_path / "two", tokenizer)
    everygram.build(corpus, tmp_path / "two", tokenizer, restart=True)


@pytest.mark.parametrize("stage", ["read", "sort", "merge", "count", "write", "publish"])
def test_a_full_disk_is_a_clear_error_with_nothing_lost(corpus, tmp_path, monkeypatch, stage):
    monkeypatch.setattr(external_sort, "MIN_BLOCK", 20)
    out = tmp_path / "index"
    failing = True

    def progress(p):
        if p.stage == stage and failing:
            raise OSError(28, os.strerror(28))

    with pytest.raises(BuildError, match=r"no space left at .* run the same command again"):
        everygram.build(corpus, out, memory=1, progress=progress)
    with pytest.raises(FormatError):
        everygram.open(out)
    # Before the corpus is read there is nothing to keep.
    assert out.exists() == (stage != "read")
    failing = False
    seen = []
    everygram.build(corpus, out, memory=1, progress=lambda p: seen.append(p.stage))
    assert ("read" in seen) == (stage == "read")
    with everygram.open(out) as index:
        assert [index.document(i).text for i in range(5)] == TEXTS


def test_space_is_checked_before_it_is_used(corpus, tmp_path, monkeypatch):
    import shutil

    for free, stage in ((1, "reading"), (200, "sorting")):
        left = shutil._ntuple_diskusage(10**6, 10**6 - free, free)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, left=left: left)
        with pytest.raises(BuildError, match=rf"no space left at .*: {stage} needs 0.0 MB"):
            everygram.build(corpus, tmp_path / "index")


def test_two_writers_at_once(corpus, tmp_path):
    out = tmp_path / "index"
    seen = []

    def progress(p):
        if p.stage == "sort":
            with pytest.raises(BuildError, match="being written by another process"):
                everygram.build(corpus, out)
            seen.append(p)

    everygram.build(corpus, out, progress=progress)
    assert seen
    with everygram.open(out) as index:
        assert index.num_documents == 5


def test_a_corpus_that_cannot_be_read_leaves_the_index_as_it_was(corpus, tmp_path):
    path = tmp_path / "index"
    everygram.build(corpus, path, tokenizer="train:300")
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    table = pa.table({"text": ["one"] * 5000})
    pq.write_table(table, tmp_path / "cut.parquet")
    with pa.ipc.new_stream(str(tmp_path / "cut.arrow"), table.schema) as stream:
        stream.write_table(table, max_chunksize=100)
    np.save(tmp_path / "ids.npy", np.array([[1, 2], [3, 299]], np.uint16))
    write_megatron(tmp_path / "ids.idx", [[1, 2], [3, 4]])
    for name, keep in (("cut.parquet", -30), ("cut.arrow", -700), ("ids.idx", -8)):
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[:keep])
    for name in ("cut.parquet", "cut.arrow", "ids.npy", "ids.idx", "nope.csv"):
        with pytest.raises(CorpusError, match=name.partition(".")[0]):
            everygram.add(path, tmp_path / name)
        now = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
        assert {file: now[file] for file in before} == before
        with everygram.open(path) as index:
            same_answers(index, [index.encode(text, raw=True).tolist() for text in TEXTS])
    report = everygram.add(path, [tmp_path / "cut.arrow", corpus], on_error="skip")
    assert (report.skipped, report.num_documents) == (1, len(TEXTS))
    assert "cut.arrow" in report.skips[0]


def test_files_that_say_they_are_token_ids(tmp_path):
    documents = [[1, 2, 3], [], [4]]
    write_megatron(tmp_path / "a_text_document.idx", documents)
    path = tmp_path / "index"
    assert everygram.plan(tmp_path / "a_text_document", path).formats == {"Megatron": 1}
    everygram.build(tmp_path / "a_text_document", path, vocab_size=10)
    with everygram.open(path) as index:
        assert [index.document(i).token_ids.tolist() for i in range(3)] == documents
        assert index.vocab_size == 10
    text = write_jsonl(tmp_path / "c.jsonl", [{"text": "x"}])
    with pytest.raises(OptionError, match="is a file of token ids and others are text"):
        everygram.build([text, tmp_path / "a_text_document.idx"], tmp_path / "other")
    with pytest.raises(CorpusError, match="token ids are read from files here; copy it first"):
        everygram.build("s3://bucket/x.bin", tmp_path / "other", pretokenized="u16", separator_id=0)


def write_megatron(path, documents):
    lengths = np.array([len(document) for document in documents], "<i4")
    k = lengths.shape[0]
    path.with_suffix(".bin").write_bytes(
        np.array([i for d in documents for i in d], "<u2").tobytes()
    )
    path.write_bytes(
        b"MMIDIDX\0\0"
        + struct.pack("<QBQQ", 1, 8, k, k + 1)
        + lengths.tobytes()
        + (2 * (np.cumsum(lengths) - lengths)).astype("<i8").tobytes()
        + np.arange(k + 1, dtype="<i8").tobytes()
    )
