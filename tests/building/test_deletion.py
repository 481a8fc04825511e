"""An index that changes: added to and deleted from while open, killed writers, the service."""

import errno
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from unittest import mock

import numpy as np
import pytest
from fastapi.testclient import TestClient

import everygram
from campaign import sized
from conftest import write_jsonl
from everygram.cli import app as cli
from everygram.errors import (
    BuildError,
    CorpusError,
    EverygramError,
    FormatError,
    OptionError,
    QueryError,
)
from everygram.server.app import create_app
from everygram.server.settings import Settings
from everygram.storage import directory
from everygram.storage import format as fmt
from everygram.storage.verify import verify
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


def test_a_deletion_decodes_each_manifest_once_and_no_metadata(tmp_path, monkeypatch):
    path = tmp_path / "index"
    everygram.build(write_jsonl(tmp_path / "c.jsonl", records(["ab", "ba", "bb"])), path)
    before, decoded, parsed = (path / fmt.MANIFEST).read_bytes(), [], []
    loads = json.loads

    def counted(data, *arguments, **options):
        (decoded if b"format_version" in bytes(data) else parsed).append(bytes(data))
        return loads(data, *arguments, **options)

    directory._decoded.cache_clear()
    monkeypatch.setattr(json, "loads", counted)
    everygram.delete(path, documents=[0, 2])
    assert decoded == [before, (path / fmt.MANIFEST).read_bytes()]
    assert parsed == []


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize("numbers", [[0, 9], [-1], [True], [0.5], ["0"], [2**70], [1], [0, 1]])
def test_numbers_that_are_of_no_document_delete_nothing(tmp_path, numbers, compacted):
    path = tmp_path / "index"
    everygram.build(write_jsonl(tmp_path / "c.jsonl", records(["ab", "ba", "bb"])), path)
    everygram.delete(path, documents=[1])
    if compacted:
        everygram.compact(path, full=True)
    before = (path / fmt.MANIFEST).read_bytes()
    with pytest.raises(QueryError, match="document"):
        everygram.delete(path, documents=numbers)
    assert (path / fmt.MANIFEST).read_bytes() == before


KILLED = """
import os, sys, everygram
from everygram.building import publishing
stage, index, corpus = sys.argv[1:]
def progress(now):
    if now.stage == stage:
        print(flush=True)
        os.kill(os.getpid(), 9)
if stage == "published":
    publish = publishing.publish
    def killed(*arguments):
        unlink = os.unlink
        import pathlib
        pathlib.Path.unlink = lambda *_, **__: os.kill(os.getpid(), 9)
        publish(*arguments)
    publishing.publish = killed
everygram.add(index, corpus, progress=progress)
"""


@pytest.mark.parametrize("compacted", [False, True])
def test_what_was_deleted_before_is_passed_over_when_told_to(tmp_path, compacted):
    texts = ["a b", "b", "ab", "a", "bb"]
    everygram.build(write_jsonl(tmp_path / "c.jsonl", records(texts)), tmp_path / "index")
    everygram.delete(tmp_path / "index", documents=[1, 3])
    if compacted:
        everygram.compact(tmp_path / "index", full=True)

    def delete(documents, **options):
        return everygram.delete(tmp_path / "index", documents=documents, **options).documents

    with pytest.raises(QueryError, match="document 3: it was deleted"):
        delete([3, 4])
    assert delete([3, 4, 1], missing_ok=True, dry_run=True) == (4,)
    assert delete([3, 4, 1, 4], missing_ok=True) == (4,)
    assert delete(4, missing_ok=True) == delete([4], missing_ok=True) == ()
    # A number that was never given is a mistake.
    for never in (5, -1, 2**70):
        with pytest.raises(QueryError, match="the index has 0 to 4"):
            delete([0, never], missing_ok=True)
    with everygram.open(tmp_path / "index") as index:
        assert index.num_documents == 2
        assert index.count("a") == 2
    assert delete((number for number in np.array([0, 1])), missing_ok=True) == (0,)
    assert delete({2}) == (2,)


WAYS = [{"documents": [0, 1]}, {"where": ("n", "1")}, {"matching": "ab"}]


@pytest.mark.parametrize("way", WAYS)
def test_a_dry_run_takes_no_lock_and_writes_nothing(tmp_path, way, monkeypatch):
    texts = ["a b", "ab", "b"]
    path = tmp_path / "index"
    everygram.build(write_jsonl(tmp_path / "c.jsonl", records(texts)), path)
    with directory.changed_index(path, "deletion"):  # somebody else changes it
        found = everygram.delete(path, **way, dry_run=True)
        with pytest.raises(BuildError, match="is being written by another process"):
            everygram.delete(path, **way)
    assert found.dry_run and found.documents
    # On a disk that is read only the lock could not even be opened.
    (path / fmt.LOCK).unlink()
    for name in (path, *path.rglob("*")):
        name.chmod(name.stat().st_mode & ~0o222)
    opened = os.open

    def read_only(name, flags, *more, **named):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, "Read-only file system", str(name))
        return opened(name, flags, *more, **named)

    monkeypatch.setattr(os, "open", read_only)
    before = {name: name.stat().st_mtime_ns for name in (path, *path.rglob("*"))}
    assert everygram.delete(path, **way, dry_run=True) == found
    assert before == {name: name.stat().st_mtime_ns for name in (path, *path.rglob("*"))}
    with pytest.raises(BuildError, match="Read-only file system"):
        everygram.delete(path, **way)
    path.chmod(0o755)


@pytest.mark.parametrize("stage", ["read", "sort", "count", "write", "publish", "published"])
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
            with pytest.raises(BuildError, match="interrupted addition with other"):
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


def live_of(texts, gone):
    return [text for number, text in enumerate(texts) if number not in gone]


def check_live(index, texts, gone):
    """The index answers as one of the documents that are left, under their numbers."""
    naive = NaiveIndex([list(text.encode()) for text in live_of(texts, gone)], index.separator)
    assert index.num_documents == len(naive.documents)
    for number, text in enumerate(texts):
        if number in gone:
            with pytest.raises(QueryError, match=f"document {number}: it was deleted"):
                index.document(number)
        else:
            assert index.document(number).text == text
    rng = random.Random(len(gone))
    for _ in range(40):
        query = rng.choices([*ALPHABET.encode(), index.separator], k=rng.randrange(5))
        count = naive.count(query)
        assert index.count(query) == count
        found = index.find(query, limit=10_000)
        assert found.count == len(found) == count
        assert not gone & set(found.documents.tolist())
        sample = index.find(query, sample=3)
        assert len(set(zip(sample.segments, sample.ranks, strict=True))) == min(3, count)
    assert list(everygram.export(index)) == [
        {"text": text, "n": number} for number, text in enumerate(texts) if number not in gone
    ]


def problems_of(path):
    return verify(path, lambda done, total: None)


def test_deleted_documents_are_in_no_answer(tmp_path):
    rng = random.Random(9)
    texts = some_texts(rng, 12)
    path = tmp_path / "index"
    everygram.build(write_jsonl(tmp_path / "0.jsonl", records(texts)), path)
    gone = set()
    with everygram.open(path) as before, everygram.open(path) as refreshed:
        for _ in range(4):
            numbers = rng.sample([n for n in range(len(texts)) if n not in gone], 3)
            everygram.delete(path, documents=[*numbers, numbers[0]])
            gone |= set(numbers)
            assert refreshed.refresh()
            check_live(refreshed, texts, gone)
            with everygram.open(path) as index:
                check_live(index, texts, gone)
            assert problems_of(path) == []
            more = some_texts(rng, 4)
            everygram.add(path, write_jsonl(tmp_path / "m.jsonl", records(more, len(texts))))
            texts += more
            with everygram.open(path) as index:
                check_live(index, texts, gone)
        check(before, texts[:12])
    with everygram.open(path) as index:
        left = [number for number in range(len(texts)) if number not in gone]
    everygram.delete(path, documents=left)
    with everygram.open(path) as index:
        check_live(index, texts, {*gone, *left})
        assert index.count("") == 0
        assert np.isnan(index.infgram_prob([97], 98).prob)
    everygram.add(path, write_jsonl(tmp_path / "m.jsonl", records(["ab"], len(texts))))
    with everygram.open(path) as index:
        assert index.document(len(texts)).text == "ab"  # a new number
    assert problems_of(path) == []


def test_documents_are_deleted_by_what_they_are(tmp_path):
    path = tmp_path / "index"
    corpus = [
        {"text": "to be or not", "from": {"list": "a"}, "year": 1999, "good": True},
        {"text": "be that", "from": {"list": "b"}, "year": 2000},
        {"text": "nothing", "from": "a", "year": "1999"},
        {"text": "to be", "from": {"list": "b"}, "year": None},
    ]
    everygram.build(write_jsonl(tmp_path / "0.jsonl", corpus), path)
    before = folder_of(path)

    def would_delete(**ways):
        found = everygram.delete(path, dry_run=True, **ways)
        assert found.dry_run
        return list(found.documents)

    assert would_delete(where=("from.list", "b")) == [1, 3]
    assert would_delete(where=("from", "a")) == [2]
    assert would_delete(where=("year", "1999")) == [0, 2]
    assert would_delete(where=("good", "true")) == [0]
    assert would_delete(where=("year", "null")) == [3]
    assert would_delete(where=("year", None)) == [3]
    assert would_delete(where=("year", 1999)) == [0, 2]
    assert would_delete(where=("year", np.int64(2000))) == [1]
    assert would_delete(where=("year", 1999.5)) == []
    assert would_delete(where=("good", True)) == [0]
    assert would_delete(where=("good", None)) == []
    assert would_delete(where=("from.list.x", None)) == []
    assert would_delete(where=("none", "x")) == []
    assert would_delete(matching="to be") == [0, 3]
    assert would_delete(matching=[*b"be"]) == [0, 1, 3]
    assert would_delete(matching="absent") == []
    assert would_delete(documents=[3, 0, 3]) == [0, 3]
    assert everygram.delete(path, matching="absent").documents == ()
    for ways, error, says in [
        ({}, OptionError, "expected one of"),
        ({"documents": [1], "matching": "a"}, OptionError, "expected one of"),
        ({"documents": [4]}, QueryError, "document 4: the index has 0 to 3"),
        ({"documents": [-1]}, QueryError, "document -1: the index has 0 to 3"),
        ({"documents": ["1"]}, QueryError, "expected a number"),
        ({"matching": ""}, QueryError, "which all contain"),
        ({"matching": [300]}, QueryError, "outside the vocabulary"),
    ]:
        with pytest.raises(error, match=says):
            everygram.delete(path, **ways)
    assert folder_of(path) == before
    assert everygram.delete(path, matching="to be").num_tokens == len("to be or not" + "to be")
    assert would_delete(matching="be") == [1]
    with pytest.raises(QueryError, match="document 0: it was deleted"):
        everygram.delete(path, documents=[0])


def test_what_was_exported_makes_the_same_index(tmp_path):
    texts = ["ab", "", "héllo 日本 😀", "line\nline\t\u2028"]
    everygram.build(write_jsonl(tmp_path / "0.jsonl", records(texts)), tmp_path / "first")
    out = tmp_path / "out.jsonl"
    run("export", tmp_path / "first", "--out", out)
    everygram.build(out, tmp_path / "second")
    for name in ("tokens.bin", "suffix_array.bin", "metadata.bin"):
        files = [tmp_path / each / "segment-000001" / name for each in ("first", "second")]
        assert files[0].read_bytes() == files[1].read_bytes()
    run("export", tmp_path / "first", "--out", out, code=2)
    with everygram.open(tmp_path / "first") as index:
        assert [record["text"] for record in everygram.export(index)] == texts


def test_an_index_of_ids_is_exported_as_ids(tmp_path):
    ids = np.array([1, 2, 9, 3, 9], np.uint16)
    ids.tofile(tmp_path / "0.bin")
    everygram.build(tmp_path / "0.bin", tmp_path / "i", pretokenized="u16", separator_id=9)
    with everygram.open(tmp_path / "i") as index:
        assert [record["ids"] for record in everygram.export(index)] == [[1, 2], [3]]


def test_a_field_in_the_way_of_the_text_is_an_error(tmp_path, capsys):
    corpus = write_jsonl(tmp_path / "0.jsonl", [{"body": "ab", "text": "title"}])
    everygram.build(corpus, tmp_path / "i", text_field="body")
    with everygram.open(tmp_path / "i") as index:
        with pytest.raises(OptionError, match=r"a field 'text'.* text_field"):
            list(everygram.export(index))
        records = list(everygram.export(index, text_field="body"))
    assert records == [{"body": "ab", "text": "title"}]
    capsys.readouterr()
    run("export", tmp_path / "i", "--text-field", "body")
    assert json.loads(capsys.readouterr().out) == records[0]
    run("export", tmp_path / "i", "--out", tmp_path / "out.jsonl", code=2)
    assert not (tmp_path / "out.jsonl").exists()


def answers_of(index):
    """Of every kind of query some answers, or the error's type."""
    queries = [
        [],
        [97],
        [97, 98],
        [255],
        [32, 32, 97],
        [255, 97],
        [*b"ab ca"],
        [*b"ab cab ab c ab"],
    ]
    asks = [
        index.count,
        index.ntd,
        index.infgram_ntd,
        index.score,
        index.longest_matches,
        lambda query: index.infgram_prob(query, 97),
        lambda query: index.ntd(query, max_support=3),
        lambda query: index.count_batch([query] * 40),
        lambda query: index.find(query, limit=50).as_dict(),
        lambda query: index.document(query=query).text,
        lambda query: index.ntd(query).as_dict(),
    ]
    asks = [lambda ask=ask, query=query: ask(query) for ask in asks for query in queries]
    asks += [lambda number=number: index.document(number).as_dict() for number in range(0, 69, 5)]
    answers = []
    for ask in asks:
        try:
            answers.append(repr(ask()))
        except EverygramError as error:
            answers.append(type(error).__name__)
    return answers


@pytest.mark.parametrize("seed", range(sized(1, 5)))
def test_a_damaged_file_is_refused_or_answered_rightly(tmp_path, seed, monkeypatch):
    """Bytes of each file in turn changed at random, sizes kept.

    An index whose checksums are checked when it is opened gives right answers or typed errors. One
    that is not gives any answers or typed errors, and ends no process. `verify` sees each change.
    """
    rng = random.Random(seed)
    texts = ["".join(rng.choices("ab c", k=rng.randrange(60))) for _ in range(60)]
    path = tmp_path / "index"
    everygram.build(write_jsonl(tmp_path / "0.jsonl", records(texts)), path)
    everygram.add(path, write_jsonl(tmp_path / "1.jsonl", records(texts[:9], 60)))
    everygram.delete(path, documents=[3, 8, 64])
    with everygram.open(path) as index:
        sound = answers_of(index)
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.stat().st_size)
    outcomes = {"refused": 0, "the same": 0, "others": 0}
    rounds, unchecked_each = sized((16, 4), (50, 10))
    for turn, file in itertools.product(range(rounds), files):
        content = file.read_bytes()
        damaged = bytearray(content)
        for _ in range(rng.choice([1, 1, 3, 20])):
            place = rng.randrange(len(damaged))
            flipped = damaged[place] ^ (1 << rng.randrange(8))
            damaged[place] = rng.choice([0, 255, flipped, rng.randrange(256)])
        file.write_bytes(damaged)
        try:
            with everygram.open(path) as index:
                assert damaged == content and answers_of(index) == sound, file
        except EverygramError:
            assert damaged != content, file
        # Each file has its turn, as each of so many turns some files have theirs.
        if (turn + files.index(file)) % unchecked_each == 0:
            with monkeypatch.context() as unchecked:
                unchecked.setattr(directory, "CHECKED_AT_ONCE", 0)
                try:
                    with everygram.open(path) as index:
                        outcomes["the same" if answers_of(index) == sound else "others"] += 1
                except EverygramError:
                    outcomes["refused"] += 1
            assert bool(problems_of(path)) == (damaged != content), file
        file.write_bytes(content)
    assert min(outcomes.values()) > 0, outcomes
    assert problems_of(path) == []


def test_a_quick_look_reads_sizes_only(tmp_path):
    path = tmp_path / "index"
    everygram.build(write_jsonl(tmp_path / "0.jsonl", records(["ab", "ba"])), path)
    tokens = path / "segment-000001" / fmt.TOKENS
    content = tokens.read_bytes()
    tokens.write_bytes(content[:-1] + b"x")
    run("verify", path, code=1)
    run("verify", path, "--quick")
    tokens.write_bytes(content[:-1])
    run("verify", path, "--quick", code=1)


def run(*arguments, code=0):
    """The command line in this process."""
    argv = ["everygram", *map(str, arguments)]
    with mock.patch.object(sys, "argv", argv), pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == code


def test_the_commands(tmp_path, capsys):
    path = tmp_path / "index"
    everygram.build(write_jsonl(tmp_path / "0.jsonl", records(["ab", "ba", "b"])), path)
    run("delete", path, "--where", "n=1", "--dry-run")
    assert capsys.readouterr().out == "1 document would be deleted, 2 tokens: 1\n"
    run("delete", path, "--documents", "2,1")
    assert capsys.readouterr().out == "2 documents deleted, 3 tokens: 1, 2\n"
    run("delete", path, "--matching-ids", "97,98", "--json", "--dry-run")
    assert json.loads(capsys.readouterr().out)["documents"] == [0]
    run("export", path)
    assert json.loads(capsys.readouterr().out) == {"text": "ab", "n": 0}
    run("delete", path, code=2)
    run("delete", path, "--documents", "x", code=2)
    run("delete", path, "--where", "n", code=2)
    run("delete", path, "--documents", "1", code=2)
    assert "document 1: it was deleted" in capsys.readouterr().err
    run("verify", path)


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


def test_a_service_follows_its_index(tmp_path):
    """New documents are served without a restart, and no request fails meanwhile."""
    path = tmp_path / "index"
    everygram.build(write_jsonl(tmp_path / "0.jsonl", records(["ab"])), path)
    settings = Settings(indexes={"index": path}, access_log=False, follow_seconds=0.02)
    with TestClient(create_app(settings)) as client:

        def asked():
            return client.post("/v1/indexes/index/count", json={"query": "ab"})

        def count():
            return asked().raise_for_status().json()["count"]

        def wait_for(status):
            until = time.monotonic() + 30
            while asked().status_code != status and time.monotonic() < until:
                pass
            assert asked().status_code == status

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
        wait_for(503)
        moved.rename(path)
        wait_for(200)
        assert count() == 5
        everygram.add(path, write_jsonl(tmp_path / "more.jsonl", records(["ab"], 5)))
        until = time.monotonic() + 30
        while count() != 6 and time.monotonic() < until:
            pass
        assert count() == 6
