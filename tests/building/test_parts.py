"""Indexes built in parts: their documents are those of a build of the whole, in its order."""

import gzip
import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import everygram
from everygram import BuildError, CorpusError, OptionError
from everygram.building import indexer
from everygram.corpus.dividing import divide, taken
from everygram.corpus.files import list_files
from everygram.storage.verify import verify
from naive import NaiveIndex

SEP = 255


def lines(path, number, seed=0, longest=60):
    """JSON lines with lengths that differ much."""
    rng = random.Random(f"{seed} {path.name}")
    records = []
    for place in range(number):
        text = "".join(rng.choice("abc \né∞") for _ in range(rng.randrange(longest)))
        records.append({"text": text, "file": path.name, "place": place})
    path.write_text("".join(json.dumps(each) + "\n" for each in records))
    return [(each.pop("text"), each) for each in records]


def documents(index):
    with everygram.open(index) as opened:
        engine = opened.engine
        return [
            (opened.document(number).text, opened.document(number).metadata)
            for number in range(engine.next_document)
        ]


def content(folder):
    """All files but those that have times in them."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("manifest.json", ".everygram.lock")
    }


@pytest.mark.parametrize("kind", ["suffix-array", "self-index"])
@pytest.mark.parametrize("parts", [1, 2, 3, 7, 40])
def test_the_index_of_the_whole(tmp_path, parts, kind):
    """Answers and documents are those of one segment."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    expected = lines(corpus / "a.jsonl", 30) + lines(corpus / "b.jsonl", 1)
    (corpus / "c.jsonl").write_text("")
    expected += lines(corpus / "d.jsonl", 50, longest=200)
    report = everygram.build(corpus, tmp_path / "index", parts=parts, kind=kind, threads=1)
    assert (report.num_documents, report.first_document) == (len(expected), 0)
    assert documents(tmp_path / "index") == expected
    naive = NaiveIndex([[*text.encode()] for text, _ in expected], SEP)
    rng = random.Random(1)
    with everygram.open(tmp_path / "index") as index:
        assert len(index.manifest.segments) == len(range(parts)) if parts < 8 else True
        assert {entry.kind for entry in index.manifest.segments} == {kind}
        for _ in range(200):
            text = rng.choice(expected)[0].encode()
            start = rng.randrange(len(text) + 1)
            query = [*text[start : start + rng.randrange(6)]]
            assert index.count(query).count == naive.count(query)
            assert index.document_count(query).document_count == naive.document_count(query)
    assert not list((tmp_path / "index").glob("part-*"))
    assert verify(tmp_path / "index", lambda *_: None) == []
    everygram.compact(tmp_path / "index", full=True)
    everygram.build(corpus, tmp_path / "whole", kind=kind, threads=1)
    (merged,) = (tmp_path / "index").glob("segment-*")
    for name, data in content(tmp_path / "whole" / "segment-000001").items():
        if name != "checksums.bin":  # (Compaction also writes the numbers of documents.)
            assert (merged / name).read_bytes() == data


@settings(max_examples=200, deadline=None)
@given(
    sizes=st.lists(st.lists(st.integers(0, 12), max_size=6), max_size=6),
    number=st.integers(1, 9),
    kinds=st.lists(st.booleans(), min_size=6, max_size=6),
)
def test_every_line_is_in_one_part(tmp_path_factory, sizes, number, kinds):
    folder = tmp_path_factory.mktemp("files")
    for place, each in enumerate(sizes):
        ended = "\n" if place % 2 else ""
        text = "\n".join(f"{'x' * size}" for size in each) + ended
        (folder / f"{place}.jsonl").write_text(text)
    files = [file for path in sorted(folder.iterdir()) for file in list_files(str(path))]
    is_lines = dict(zip((file.name for file in files), kinds, strict=False))
    parts = divide(files, number, lambda file: is_lines[file.name])
    assert len(parts) <= number and all(parts)
    assert parts == divide(files, number, lambda file: is_lines[file.name])
    whole = [(file.name, data_in(file)) for file in files]
    pieces = [(file.name, data_in(file)) for part in parts for file in taken(files, part)]
    for name, data in whole:
        of = [piece for named, piece in pieces if named == name]
        assert b"".join(of) == data
        assert len(of) == 1 or is_lines[name]
        assert all(piece.endswith(b"\n") for piece in of[:-1])
    order = [name for name, _ in pieces]
    assert order == sorted(order, key=[name for name, _ in whole].index)


def data_in(file):
    with file.open() as opened:
        return opened.read()


def test_parts_are_of_about_the_same_size(tmp_path):
    lines(tmp_path / "a.jsonl", 2_000)
    (file,) = list_files(str(tmp_path / "a.jsonl"))
    sizes = [sum(piece.end - piece.begin for piece in part) for part in divide([file], 8, bool)]
    assert len(sizes) == 8 and max(sizes) - min(sizes) < 500


def test_other_files_are_whole_in_one_part(tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for place in range(5):
        (corpus / f"{place}.csv").write_text('text,n\n"a\nb",1\n"c",2\n')
        with gzip.open(corpus / f"{place}.jsonl.gz", "wt") as file:
            file.write(json.dumps({"text": f"packed {place}"}) + "\n")
    # (Its name does not say that it is compressed.)
    (corpus / "z.jsonl").write_bytes(gzip.compress(b'{"text": "hidden"}\n' * 2))
    everygram.build(corpus, tmp_path / "parts", parts=4)
    everygram.build(corpus, tmp_path / "whole")
    assert documents(tmp_path / "parts") == documents(tmp_path / "whole")


def test_token_ids(tmp_path):
    """Files of ids are whole in one part; so are files whose documents go on in the next."""
    rng = np.random.default_rng(3)
    corpus = tmp_path / "ids"
    corpus.mkdir()
    for place in range(6):
        ids = rng.integers(0, 9, 500).astype(np.uint16)
        ids[rng.integers(0, 500, 20)] = 65535
        ids[0] = 65535
        ids.tofile(corpus / f"shard_{place}.bin")
    given = {"pretokenized": "u16", "separator_id": 65535}
    everygram.build(corpus, tmp_path / "parts", parts=3, **given)
    everygram.build(corpus, tmp_path / "whole", **given)
    with everygram.open(tmp_path / "parts") as one, everygram.open(tmp_path / "whole") as other:
        assert len(one.manifest.segments) == 3
        assert (one.manifest.dtype, one.manifest.vocab_size) == ("u16", other.manifest.vocab_size)
        for number in range(other.engine.next_document):
            a, b = one.document(number), other.document(number)
            assert (a.token_ids.tolist(), a.metadata) == (b.token_ids.tolist(), b.metadata)


def test_a_tokenizer_that_is_trained_is_trained_on_all(tmp_path):
    lines(tmp_path / "a.jsonl", 200)
    given = {"tokenizer": "train:300"}
    everygram.build(tmp_path / "a.jsonl", tmp_path / "parts", parts=3, **given)
    everygram.build(tmp_path / "a.jsonl", tmp_path / "whole", **given)
    tokenizers = [(tmp_path / name / "tokenizer.json").read_bytes() for name in ("parts", "whole")]
    assert tokenizers[0] == tokenizers[1]
    assert documents(tmp_path / "parts") == documents(tmp_path / "whole")


def test_finished_parts_are_kept(tmp_path, monkeypatch):
    """A build that fails at a part goes on with it; the bytes are those of an undisturbed one."""
    corpus = tmp_path / "a.jsonl"
    lines(corpus, 90)
    built, fails = [], True
    build_part = indexer.build_part

    def failing(job, progress):
        built.append(job.number)
        if job.number == 3 and fails:
            raise BuildError("no more")
        return build_part(job, progress)

    monkeypatch.setattr(indexer, "build_part", failing)
    with pytest.raises(BuildError, match="no more"):
        everygram.build(corpus, tmp_path / "index", parts=4)
    assert built == [1, 2, 3]
    with pytest.raises(BuildError, match=r"with other arguments \(parts 4, now 5"):
        everygram.build(corpus, tmp_path / "index", parts=5)
    with pytest.raises(everygram.FormatError):
        everygram.open(tmp_path / "index")
    built.clear()
    fails = False
    everygram.build(corpus, tmp_path / "index", parts=4)
    assert built == [3, 4]
    everygram.build(corpus, tmp_path / "other", parts=4)
    assert content(tmp_path / "index") == content(tmp_path / "other")


def test_a_restart_begins_with_no_part(tmp_path, monkeypatch):
    corpus = tmp_path / "a.jsonl"
    lines(corpus, 30)
    monkeypatch.setattr(indexer, "collected", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        everygram.build(corpus, tmp_path / "index", parts=2)
    assert len(list((tmp_path / "index").glob("part-*"))) == 2
    monkeypatch.undo()
    report = everygram.build(corpus, tmp_path / "index", parts=3, restart=True)
    assert report.num_documents == 30
    assert not list((tmp_path / "index").glob("part-*"))


@pytest.mark.parametrize("moved", range(4))
def test_killed_while_segments_are_collected(tmp_path, monkeypatch, moved):
    """Also after some of them were moved."""
    corpus = tmp_path / "a.jsonl"
    expected = lines(corpus, 30)
    rename, number = Path.rename, 0

    def killed(self, target):
        nonlocal number
        if self.name.startswith("segment-"):
            number += 1
            if number > moved:
                raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        everygram.build(corpus, tmp_path / "index", parts=4)
    monkeypatch.undo()
    everygram.build(corpus, tmp_path / "index", parts=4)
    assert documents(tmp_path / "index") == expected
    assert verify(tmp_path / "index", lambda *_: None) == []


def test_what_is_skipped_is_counted_once(tmp_path):
    corpus = tmp_path / "a.jsonl"
    expected = lines(corpus, 60)
    data = corpus.read_text().splitlines(keepends=True)
    for place in (3, 20, 50):
        data[place] = "no JSON\n"
    corpus.write_text("".join(data))
    given = {"on_error": "skip", "threads": 1}
    names = [corpus, corpus]
    report = everygram.build(names, tmp_path / "index", parts=4, **given)
    whole = everygram.build(names, tmp_path / "whole", **given)
    assert report.skipped == whole.skipped == 4
    assert len(report.skips) == 4
    kept = [each for place, each in enumerate(expected) if place not in (3, 20, 50)]
    assert documents(tmp_path / "index") == kept
    with pytest.raises(CorpusError, match=r"a.jsonl: line \d+ after its first [\d,]+ bytes: not"):
        everygram.build(data_of(tmp_path, data, 50), tmp_path / "raised", parts=4)


def data_of(tmp_path, data, bad):
    """A file of which one line is no record."""
    path = tmp_path / "one" / "a.jsonl"
    path.parent.mkdir()
    good = json.dumps({"text": "x" * 30}) + "\n"
    path.write_text("".join(line if place == bad else good for place, line in enumerate(data)))
    return path


def test_fields_that_no_part_has(tmp_path):
    corpus = tmp_path / "a.jsonl"
    lines(corpus, 60)
    given = {"metadata_fields": ["nowhere", "place"]}
    report = everygram.build(corpus, tmp_path / "index", parts=3, **given)
    assert [warning.split(";")[0] for warning in report.warnings] == [
        "no record has the metadata field 'nowhere'"
    ]


def test_no_documents(tmp_path):
    (tmp_path / "a.jsonl").write_text("\n")
    report = everygram.build(tmp_path / "a.jsonl", tmp_path / "index", parts=3)
    assert report.num_documents == 0
    with everygram.open(tmp_path / "index") as index:
        assert index.count("a").count == 0


def test_what_cannot_be_divided(tmp_path):
    with pytest.raises(OptionError, match="documents in memory are not divided"):
        everygram.build(iter(["a", "b"]), tmp_path / "index", parts=2)
    assert not (tmp_path / "index").exists()
    for parts in (0, -1, 1.5, "2"):
        with pytest.raises(OptionError, match="parts: expected"):
            everygram.build(iter(["a"]), tmp_path / "index", parts=parts)


def test_a_corpus_that_changed_between_parts(tmp_path, monkeypatch):
    corpus = tmp_path / "a.jsonl"
    lines(corpus, 60)
    build_part = indexer.build_part

    def changing(job, progress):
        report = build_part(job, progress)
        with corpus.open("a") as file:
            file.write('{"text": "one more"}\n')
        return report

    monkeypatch.setattr(indexer, "build_part", changing)
    with pytest.raises(BuildError, match="the corpus is not what it was"):
        everygram.build(corpus, tmp_path / "index", parts=3)


def test_a_plan_says_how_large_parts_are(tmp_path):
    lines(tmp_path / "a.jsonl", 200)
    plan = everygram.plan(tmp_path / "a.jsonl", tmp_path / "index", parts=3)
    assert len(plan.parts) == 3 and sum(plan.parts) == (tmp_path / "a.jsonl").stat().st_size
