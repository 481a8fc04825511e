"""A corpus that changes while it is read: an error that names the file, and nothing published."""

import json
import os

import numpy as np
import pytest

import everygram
from conftest import write_jsonl
from everygram.building.indexer import build_of
from everygram.building.source import open_source
from everygram.corpus.text import TextCorpus
from everygram.corpus.tokens import TokenCorpus
from everygram.errors import CorpusError

DOCUMENTS = 3000


def appended(path):
    with path.open("ab") as file:
        file.write(path.read_bytes()[:200])


def overwritten(path):
    """The same size, other content."""
    data = path.read_bytes()
    path.write_bytes(data[:-20] + data[-20:].replace(b"7", b"8"))
    os.utime(path, ns=(1, 1))


def replaced(path):
    """Another file of the same size and time, as `rsync` puts there."""
    before = path.stat()
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(path)


def truncated(path):
    os.truncate(path, path.stat().st_size // 2 // 60 * 60)


def removed(path):
    path.unlink()


CHANGES = [appended, overwritten, replaced, truncated, removed]


@pytest.fixture
def corpora(tmp_path):
    """A corpus of each kind: what is named, the file of it that will change, options."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    records = [{"text": f"document {i:06d} of many 7"} for i in range(DOCUMENTS)]
    write_jsonl(folder / "c.jsonl", records)
    (folder / "c.csv").write_text("text\n" + "".join(r["text"] + "\n" for r in records))
    (folder / "c.json").write_text(json.dumps(records))
    (folder / "a.txt").write_text(" ".join(r["text"] for r in records))
    (folder / "b.txt").write_text("behind")
    np.tile(np.arange(60, dtype="<u2"), DOCUMENTS).tofile(folder / "ids.bin")
    raw = {"pretokenized": "u16", "separator_id": 59}
    return {
        "JSON lines": (folder / "c.jsonl", folder / "c.jsonl", {}),
        "CSV": (folder / "c.csv", folder / "c.csv", {}),
        "JSON": (folder / "c.json", folder / "c.json", {}),
        "text": (f"{folder}/?.txt", folder / "a.txt", {}),
        "ids": (folder / "ids.bin", folder / "ids.bin", raw),
    }


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", ["JSON lines", "CSV", "JSON", "text", "ids"])
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_file_that_changes_while_it_is_read(
    tmp_path, monkeypatch, corpora, kind, change, on_error
):
    given, path, options = corpora[kind]
    monkeypatch.setattr(TokenCorpus, "CHUNK", 1 << 10)
    source = open_source(given, on_error=on_error, **options)
    documents = type(source.corpus).__iter__

    def changing(corpus):
        for number, document in enumerate(documents(corpus)):
            if number == 0:
                change(path)
            yield document

    monkeypatch.setattr(type(source.corpus), "__iter__", changing)
    with pytest.raises(CorpusError, match=f"{path}.*chang") as error:
        build_of(source, tmp_path / "index")
    assert "run the same again once nothing writes to it" in str(error.value)
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("change", [appended, overwritten, truncated, removed])
def test_a_file_elsewhere_that_changes(tmp_path, corpora, change):
    _, path, _ = corpora["JSON lines"]
    corpus = TextCorpus([f"file://{path}"])
    documents = iter(corpus)
    next(documents)
    change(path)
    with pytest.raises(CorpusError, match=r"c.jsonl: changed while it was read"):
        list(documents)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", ["JSON lines", "text", "ids"])
def test_a_file_that_changes_between_the_plan_and_the_build(tmp_path, corpora, kind, change):
    given, path, options = corpora[kind]
    source = open_source(given, **options)
    source.estimate()
    change(path)
    with pytest.raises(CorpusError, match=f"{path}.*(chang|cannot be read)"):
        build_of(source, tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_an_index_is_what_it_was_after_an_addition_that_failed(tmp_path, monkeypatch, corpora):
    given, path, _ = corpora["JSON lines"]
    everygram.build(given, tmp_path / "index")
    documents = TextCorpus.__iter__

    def changing(corpus):
        for document in documents(corpus):
            appended(path)
            yield document

    monkeypatch.setattr(TextCorpus, "__iter__", changing)
    with pytest.raises(CorpusError, match=r"c.jsonl: changed while it was read \([\d,]+ bytes be"):
        everygram.add(tmp_path / "index", given)
    with everygram.open(tmp_path / "index") as index:
        assert index.num_documents == DOCUMENTS
    monkeypatch.undo()
    everygram.add(tmp_path / "index", corpora["CSV"][0])
    with everygram.open(tmp_path / "index") as index:
        assert index.num_documents == 2 * DOCUMENTS


def test_a_companion_that_changes_counts_as_its_file(tmp_path):
    np.array([1, 2, 3, 4], "<u2").tofile(tmp_path / "c.ds")
    np.array([2, 4], "<u8").tofile(tmp_path / "c.ds.index")
    corpus = TokenCorpus([tmp_path / "c.ds"])
    documents = iter(corpus)
    next(documents)
    np.array([1, 4], "<u8").tofile(tmp_path / "c.ds.index")
    with pytest.raises(CorpusError, match=r"c.ds.index: changed while it was read"):
        list(documents)


def test_a_file_that_is_only_touched_by_readers_is_what_it_was(tmp_path, corpora):
    given, path, _ = corpora["JSON lines"]
    corpus = TextCorpus([given])
    os.utime(path, ns=(0, path.stat().st_mtime_ns))
    path.chmod(0o644)
    assert len(list(corpus)) == len(list(corpus)) == DOCUMENTS
