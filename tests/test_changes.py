"""An index that changes: documents added while it is open, killed writers, the service."""

import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from fastapi.testclient import TestClient

import everygram
from conftest import write_jsonl
from everygram import cli
from everygram import format as fmt
from everygram.errors import BuildError, CorpusError, FormatError, OptionError
from everygram.server import app as service
from naive import NaiveIndex

ALPHABET = "ab "


def some_texts(rng, number, longest=12):
    return ["".join(rng.choices(ALPHABET, k=rng.randrange(longest))) for _ in range(number)]


def records(texts, first=0):
    return [{"text": text, "n": first + i} for i, text in enumerate(texts)]


def check(index, texts):
    """The index answers as one of these documents, in this order."""
    documents = [list(text.encode()) for text in texts]
    naive = NaiveIndex(documents, index.separator)
    rng = random.Random(len(texts))
    assert index.num_documents == len(texts)
    assert index.num_tokens == sum(map(len, documents))
    for number, text in enumerate(texts):
        assert index.document(number).text == text
        assert index.document(number).metadata == {"n": number}
    for _ in range(60):
        query = rng.choices([*ALPHABET.encode(), index.separator], k=rng.randrange(5))
        assert index.count(query) == naive.count(query)
        found = index.infgram_ntd(query)
        suffix = naive.longest_suffix(query)
        assert dict(zip(found.next_ids.tolist(), found.counts.tolist(), strict=True)) == (
            naive.following(suffix)
        )
    text = b"ab ba  aab" + rng.choice(texts).encode()
    scores = index.score(list(text))
    assert scores.prompt_counts.tolist() == [row[1] for row in naive.score(list(text))]


def folder_of(path):
    """Every file under an index, by name, with its bytes."""
    return {p.relative_to(path): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_documents_are_added_as_segments_and_numbered_on(tmp_path):
    rng = random.Random(5)
    texts = some_texts(rng, 8)
    path = tmp_path / "index"
    everygram.build(write_jsonl(tmp_path / "0.jsonl", records(texts)), path)
    with everygram.open(path) as open_before, everygram.open(path) as refreshed:
        for step in range(1, 5):
            more = some_texts(rng, rng.randrange(1, 9))
            corpus = write_jsonl(tmp_path / f"{step}.jsonl", records(more, len(texts)))
            report = everygram.add(path, corpus)
            assert report.num_documents == len(more)
            texts += more
            with everygram.open(path) as index:
                check(index, texts)
                assert len(index.manifest.segments) == step + 1
            assert refreshed.refresh()
            assert not refreshed.refresh()
            check(refreshed, texts)
            assert open_before.num_documents == 8
        assert everygram.open(path).manifest.segments[-1].name == "segment-000005"
        latest = open_before.latest()
        assert latest.num_documents == len(texts)
        assert latest.latest() is latest
        assert latest.engine.segments[0] is open_before.engine.segments[0]  # not opened again


def test_an_index_equals_one_that_was_built_at_once(tmp_path):
    rng = random.Random(2)
    texts = some_texts(rng, 30)
    parts = [records(texts)[:11], records(texts)[11:12], records(texts)[12:]]
    files = [write_jsonl(tmp_path / f"{i}.jsonl", part) for i, part in enumerate(parts)]
    everygram.build(files, tmp_path / "whole")
    everygram.build(files[0], tmp_path / "grown")
    for file in files[1:]:
        everygram.add(tmp_path / "grown", file)
    with everygram.open(tmp_path / "whole") as whole, everygram.open(tmp_path / "grown") as grown:
        for query in ("a", "b", "ab", "a b", "", "zz"):
            assert whole.count(query) == grown.count(query)
            found = whole.find(query, limit=500).documents, grown.find(query, limit=500).documents
            assert sorted(found[0].tolist()) == sorted(found[1].tolist())
            assert dict(zip(whole.ntd(query).next_ids, whole.ntd(query).counts, strict=True)) == (
                dict(zip(grown.ntd(query).next_ids, grown.ntd(query).counts, strict=True))
            )


def test_ids_are_added_to_ids(tmp_path):
    def write(name, documents):
        ids = np.array([token for document in documents for token in (*document, 9)], np.uint16)
        ids.tofile(tmp_path / name)
        return tmp_path / name

    options = {"pretokenized": "u16", "separator_id": 9}
    path = tmp_path / "index"
    everygram.build(write("0.bin", [[1, 2, 3], [2]]), path, vocab_size=8, **options)
    everygram.add(path, write("1.bin", [[2, 3], [7]]), **options)
    with everygram.open(path) as index:
        assert index.count([2, 3]) == 2
        assert index.count([7]) == 1
    before = folder_of(path)
    with pytest.raises(CorpusError, match="outside the vocabulary of index"):
        everygram.add(path, write("2.bin", [[1, 8]]), **options)
    with pytest.raises(OptionError, match="has no tokenizer"):
        everygram.add(path, write_jsonl(tmp_path / "t.jsonl", records(["a"])))
    assert folder_of(path) == before


def test_what_fails_leaves_the_index_as_it_was(tmp_path):
    path = tmp_path / "index"
    everygram.build(write_jsonl(tmp_path / "0.jsonl", records(["ab", "b"])), path)
    before = folder_of(path)
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n{"text": 3}\n')
    with pytest.raises(CorpusError, match=r"bad\.jsonl"):
        everygram.add(path, tmp_path / "bad.jsonl")
    with pytest.raises(CorpusError):
        everygram.add(path, tmp_path / "missing.jsonl")
    with pytest.raises(FormatError, match="no such folder"):
        everygram.add(tmp_path / "nowhere", tmp_path / "0.jsonl")
    assert not (tmp_path / "nowhere").exists()
    assert folder_of(path) == before
    assert everygram.add(path, tmp_path / "bad.jsonl", on_error="skip").skipped == 1
    assert everygram.open(path).num_documents == 3


def test_an_empty_index_grows(tmp_path):
    path = tmp_path / "index"
    everygram.build(write_jsonl(tmp_path / "0.jsonl", []), path)
    everygram.add(path, write_jsonl(tmp_path / "1.jsonl", records(["ab", "ba"])))
    everygram.add(path, write_jsonl(tmp_path / "2.jsonl", []))
    with everygram.open(path) as index:
        check(index, ["ab", "ba"])


KILLED = """
import os, sys, everygram
from everygram import indexer
stage, index, corpus = sys.argv[1:]
def progress(now):
    if now.stage == stage:
        print(flush=True)
        os.kill(os.getpid(), 9)
if stage == "published":
    publish = indexer.publish
    def killed(*arguments):
        unlink = os.unlink
        import pathlib
        pathlib.Path.unlink = lambda *_, **__: os.kill(os.getpid(), 9)
        publish(*arguments)
    indexer.publish = killed
everygram.add(index, corpus, progress=progress)
"""


@pytest.mark.parametrize("stage", ["read", "sort", "write", "publish", "published"])
def test_a_killed_addition(tmp_path, stage):
    path = tmp_path / "index"
    texts = some_texts(random.Random(1), 20)
    everygram.build(write_jsonl(tmp_path / "0.jsonl", records(texts[:9])), path)
    corpus = write_jsonl(tmp_path / "1.jsonl", records(texts[9:], 9))
    command = [sys.executable, "-c", KILLED, stage, str(path), str(corpus)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with everygram.open(path) as index:
        check(index, texts if stage == "published" else texts[:9])
    if stage == "published":
        other = write_jsonl(tmp_path / "2.jsonl", [])
        everygram.add(path, other)  # whoever comes next: nothing is left to finish
    else:
        if stage not in ("read",):
            with pytest.raises(BuildError, match="interrupted build or addition with other"):
                everygram.add(path, tmp_path / "0.jsonl")
        everygram.add(path, corpus)
    with everygram.open(path) as index:
        check(index, texts)
    names = {entry.name for entry in path.iterdir()}
    assert names == {fmt.MANIFEST, fmt.LOCK, "segment-000001", "segment-000002"}


def test_a_restarted_addition_forgets_what_was_finished(tmp_path):
    path = tmp_path / "index"
    texts = ["ab", "ba b"]
    everygram.build(write_jsonl(tmp_path / "0.jsonl", records(texts)), path)
    corpus = write_jsonl(tmp_path / "1.jsonl", records(["aaa"], 2))
    command = [sys.executable, "-c", KILLED, "write", str(path), str(corpus)]
    subprocess.run(command, capture_output=True, timeout=120)
    assert (path / fmt.BUILD).exists()
    other = write_jsonl(tmp_path / "2.jsonl", records(["bb"], 2))
    everygram.add(path, other, restart=True)
    with everygram.open(path) as index:
        check(index, [*texts, "bb"])


def test_files_of_others_are_left_alone(tmp_path):
    path = tmp_path / "index"
    everygram.build(write_jsonl(tmp_path / "0.jsonl", records(["ab"])), path)
    (path / "notes.txt").write_text("mine")
    (path / "segment-000007").mkdir()
    (path / "segment-000007" / "mine.txt").write_text("mine")
    (path / "segment-000006").mkdir()  # a killed writer's
    everygram.add(path, write_jsonl(tmp_path / "1.jsonl", records(["ba"], 1)))
    assert (path / "notes.txt").read_text() == "mine"
    assert (path / "segment-000007" / "mine.txt").exists()
    assert not (path / "segment-000006").exists()
    with everygram.open(path) as index:
        check(index, ["ab", "ba"])


def test_one_writer_at_a_time(tmp_path):
    path = tmp_path / "index"
    corpus = write_jsonl(tmp_path / "0.jsonl", records(["ab"]))
    everygram.build(corpus, path)
    entered, leave = threading.Event(), threading.Event()

    def progress(now):
        entered.set()
        leave.wait(60)

    writer = threading.Thread(
        target=everygram.add, args=(path, corpus), kwargs={"progress": progress}
    )
    writer.start()
    entered.wait(60)
    with pytest.raises(BuildError, match="being written by another process"):
        everygram.add(path, corpus)
    assert everygram.open(path).num_documents == 1
    leave.set()
    writer.join()
    assert everygram.open(path).num_documents == 2


def test_the_command(tmp_path, capsys, monkeypatch):
    path = tmp_path / "index"
    everygram.build(write_jsonl(tmp_path / "0.jsonl", records(["ab"])), path)
    corpus = write_jsonl(tmp_path / "1.jsonl", records(["ab ab"], 1))
    monkeypatch.setattr(sys, "argv", ["everygram", "add", str(path), str(corpus)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    assert "documents" in capsys.readouterr().out
    assert everygram.open(path).count("ab") == 3


def test_a_service_follows_its_index(tmp_path, monkeypatch):
    """New documents are served without a restart, and no request fails meanwhile."""
    monkeypatch.setattr(service, "FOLLOW_SECONDS", 0.02)
    path = tmp_path / "index"
    everygram.build(write_jsonl(tmp_path / "0.jsonl", records(["ab"])), path)
    with TestClient(service.create_app([path])) as client:

        def count():
            answer = client.post("/v1/indexes/index/count", json={"query": "ab"})
            answer.raise_for_status()
            return answer.json()["count"]

        assert count() == 1
        for step in range(2, 6):
            corpus = write_jsonl(tmp_path / "more.jsonl", records(["ab"], step - 1))
            adding = threading.Thread(target=everygram.add, args=(path, corpus))
            adding.start()
            until = time.monotonic() + 30
            while (found := count()) != step and time.monotonic() < until:
                assert found == step - 1
            adding.join()
            assert found == step
        moved = path.rename(tmp_path / "moved")
        time.sleep(0.1)
        assert count() == 5
        moved.rename(path)
        everygram.add(path, write_jsonl(tmp_path / "more.jsonl", records(["ab"], 5)))
        until = time.monotonic() + 30
        while count() != 6 and time.monotonic() < until:
            pass
        assert count() == 6
