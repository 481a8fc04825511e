"""A change that was killed once all was published knows so when it is run again.

(`test_crash` kills writers at every step; here, one is interrupted where it would forget.)
"""

import dataclasses
import json
import os
import shutil

import pytest

import everygram
from conftest import write_jsonl
from everygram.building.source import Source
from everygram.errors import BuildError, QueryError
from everygram.storage import directory
from everygram.storage import format as fmt
from everygram.storage.build_state import Done
from everygram.storage.verify import verify
from shards import write_shard

TEXTS = ["ab ab", "b", "", "a b a", "ab"]
CHANGES = {
    "build": lambda path, corpus: everygram.build(corpus, path),
    "build and train": lambda path, corpus: everygram.build(corpus, path, "train:300"),
    "convert": lambda path, corpus: everygram.convert(corpus.with_name("v4"), path, "bytes"),
    "add": lambda path, corpus: everygram.add(path, corpus),
    "add nothing": lambda path, corpus: everygram.add(path, corpus.with_name("empty.jsonl")),
    "build nothing": lambda path, corpus: everygram.build(corpus.with_name("empty.jsonl"), path),
    "delete by number": lambda path, corpus: everygram.delete(path, documents=[3, 1]),
    "delete by field": lambda path, corpus: everygram.delete(path, where=("n", "2")),
    "delete what matches": lambda path, corpus: everygram.delete(path, matching="ab"),
    "delete what ids match": lambda path, corpus: everygram.delete(path, matching=[98, 32]),
    "compact": lambda path, corpus: everygram.compact(path),
    "compact fully": lambda path, corpus: everygram.compact(path, full=True),
}
# Of these the ones that make an index.
MAKE = ("build", "convert")


@pytest.fixture
def corpus(tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    write_shard(tmp_path / "v4", [[*text.encode()] for text in TEXTS], 1)
    records = [{"text": text, "n": number} for number, text in enumerate(TEXTS)]
    return write_jsonl(tmp_path / "corpus.jsonl", records)


@pytest.fixture
def index(tmp_path, corpus):
    """An index of two segments, and of what is deleted."""
    more = write_jsonl(tmp_path / "more.jsonl", [{"text": "ab", "n": 2}, {"text": "b", "n": 9}])
    path = tmp_path / "index"
    everygram.build(corpus, path)
    everygram.add(path, more)
    everygram.delete(path, documents=[0])
    return path


def interrupted(change, path, corpus, monkeypatch):
    """Make the change, and be interrupted when all of it is published."""

    def interrupt(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(directory, "_forget", interrupt)
        with pytest.raises(KeyboardInterrupt):
            change(path, corpus)
    assert (path / fmt.DONE).exists()


def said(report):
    """What a report says, but for times and memory."""
    fields = dataclasses.asdict(report)
    return {
        name: value
        for name, value in fields.items()
        if name not in ("path", "peak_bytes", "seconds")
    }


@pytest.mark.parametrize("name", CHANGES)
def test_a_rerun_answers_what_was_done(tmp_path, index, corpus, monkeypatch, name):
    change = CHANGES[name]
    path, other = tmp_path / "new", tmp_path / "other"
    if not name.startswith(MAKE):
        shutil.copytree(index, path)
        shutil.copytree(index, other)
    expected = change(other, corpus)
    interrupted(change, path, corpus, monkeypatch)
    published = (path / fmt.MANIFEST).read_bytes()
    report = change(path, corpus)
    assert said(report) == said(expected)
    assert report.path == path
    assert (path / fmt.MANIFEST).read_bytes() == published
    assert not (path / fmt.DONE).exists()
    assert not (path / fmt.BUILD).exists()
    assert verify(path, lambda done, total: None) == []
    with everygram.open(path) as one, everygram.open(other) as two:
        assert one.num_documents == two.num_documents
        assert one.count("ab") == two.count("ab")
    # Once it has been said, the same again is another change.
    if name == "add":
        assert change(path, corpus).again == (str(corpus),)
    elif name.startswith(MAKE):
        with pytest.raises(BuildError, match="already holds an index"):
            change(path, corpus)
    elif name == "delete by number":
        with pytest.raises(QueryError, match="it was deleted"):
            change(path, corpus)


def test_the_same_documents_in_another_order(index, corpus, monkeypatch):
    interrupted(CHANGES["delete by number"], index, corpus, monkeypatch)
    assert everygram.delete(index, documents=[1, 3, 1]).documents == (1, 3)
    with pytest.raises(QueryError, match="it was deleted"):
        everygram.delete(index, documents=[1, 3])


def test_a_restart_adds_nothing_that_is_there(index, corpus, monkeypatch):
    interrupted(CHANGES["add"], index, corpus, monkeypatch)
    before = everygram.open(index).num_documents
    assert everygram.add(index, corpus, restart=True).num_documents == len(TEXTS)
    assert everygram.open(index).num_documents == before


def test_another_change_is_made(tmp_path, index, corpus, monkeypatch):
    interrupted(CHANGES["add"], index, corpus, monkeypatch)
    before = everygram.open(index).num_documents
    # One that changes nothing leaves the other what it is,
    assert everygram.delete(index, where=("n", "99")).documents == ()
    everygram.delete(index, documents=[3], dry_run=True)
    with pytest.raises(BuildError, match="already holds an index"):
        everygram.build(corpus, index)
    with pytest.raises(QueryError):
        everygram.delete(index, documents=[999])
    assert everygram.add(index, corpus).num_documents == len(TEXTS)
    assert everygram.open(index).num_documents == before
    # and one that does is the last then.
    interrupted(CHANGES["add"], index, corpus, monkeypatch)
    other = write_jsonl(tmp_path / "other.jsonl", [{"text": "x"}])
    assert everygram.add(index, other).num_documents == 1
    assert everygram.add(index, corpus).again == (str(corpus),)
    assert everygram.open(index).num_documents == before + 2 * len(TEXTS) + 1


@pytest.mark.parametrize("what", ["file", "options", "name"])
def test_what_was_not_the_same_is_added(index, corpus, monkeypatch, what):
    interrupted(CHANGES["add"], index, corpus, monkeypatch)
    before = everygram.open(index).num_documents
    options = {}
    if what == "file":
        write_jsonl(corpus, [{"text": "one more"}, {"text": "and another"}])
    elif what == "options":
        options = {"id_field": "n"}
    else:
        corpus = corpus.rename(corpus.with_name("renamed.jsonl"))
    report = everygram.add(index, corpus, **options)
    assert report.num_documents in (2, len(TEXTS))
    assert everygram.open(index).num_documents == before + report.num_documents
    assert report.again == ((str(corpus),) if what == "options" else ())


def test_a_note_that_is_damaged_or_of_another_index_is_none(tmp_path, index, corpus, monkeypatch):
    interrupted(CHANGES["add"], index, corpus, monkeypatch)
    note = (index / fmt.DONE).read_bytes()
    assert Done.read(index).operation == "addition"
    for place in range(0, len(note), 3):
        bad = bytearray(note)
        bad[place] ^= 1 << place % 7
        (index / fmt.DONE).write_bytes(bad)
        assert Done.read(index) is None or json.loads(bad) == json.loads(note)
    other = tmp_path / "other"
    everygram.build(corpus, other)
    (other / fmt.DONE).write_bytes(note)
    assert Done.read(other) is None
    everygram.add(other, corpus)
    assert everygram.open(other).num_documents == 2 * len(TEXTS)
    assert not (other / fmt.DONE).exists()


@pytest.mark.parametrize(
    "report",
    [{}, {"documents": "x"}, {"documents": [1], "num_tokens": -1}, {"documents": [None]}, {"a": 1}],
)
def test_a_report_that_is_none_is_not_answered(index, report):
    """From a stranger: nothing of it is believed, and the change is made."""
    data = (index / fmt.MANIFEST).read_bytes()
    arguments = {"documents": ["3"], "where": None, "matching": None}
    import hashlib

    Done("deletion", arguments, [], report, hashlib.sha256(data).hexdigest()).write(index)
    assert everygram.delete(index, documents=[3]).documents == (3,)
    with pytest.raises(QueryError, match="it was deleted"):
        everygram.open(index).document(3)


def test_what_cannot_be_told_from_others_is_added(index, corpus, monkeypatch):
    """An iterator, say, of which nobody knows what it gave the other time."""
    monkeypatch.setattr(Source, "inputs", property(lambda source: None))
    for number in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(directory, "_forget", lambda path: None)
            report = everygram.add(index, corpus)
        assert (report.num_documents, report.again) == (len(TEXTS), ())
        assert everygram.open(index).num_documents == (number + 2) * len(TEXTS) + 1
        assert not (index / fmt.DONE).exists()


def test_add_says_what_is_in_the_index_already(tmp_path, corpus, run):
    path = tmp_path / "index"
    more = write_jsonl(tmp_path / "more.jsonl", [{"text": "b"}])
    assert everygram.build(corpus, path).again == ()
    assert everygram.add(path, more).again == ()
    everygram.delete(path, documents=[0])
    everygram.compact(path, full=True)
    assert everygram.add(path, [more, corpus]).again == (str(more), str(corpus))
    code, out, _ = run("add", path, corpus)
    assert code == 0
    assert f"1 file in the index already, added once more:\n  {corpus}" in out
    code, out, _ = run("add", path, corpus, "--json")
    assert json.loads(out)["again"] == [str(corpus)]
    # A file of that name that has changed is another.
    os.utime(corpus, ns=(1, 1))
    assert everygram.add(path, corpus).again == ()
    # By its name from wherever it is called, and by no other.
    link = tmp_path / "link.jsonl"
    link.symlink_to(corpus)
    assert everygram.add(path, link).again == ()
    assert everygram.open(path).num_documents == 4 + 1 + 6 + 5 * 4


def test_an_index_tells_no_names_of_files(tmp_path, corpus):
    """It may be given away: what it knows files by are hashes."""
    path = tmp_path / "index"
    everygram.build(corpus, path)
    assert b"corpus" not in b"".join(
        file.read_bytes() for file in path.rglob("*") if file.is_file()
    )
