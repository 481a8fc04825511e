"""Document counts in builds, additions and compactions, and added to indexes that have none."""

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import everygram
from conftest import write_index, write_jsonl
from everygram.building import external_sort, upgrade
from everygram.errors import BuildError, DamagedIndexError, OptionError
from everygram.storage import document_counts, lcps
from everygram.storage import format as fmt
from everygram.storage.directory import read_manifest
from everygram.storage.verify import verify
from naive import NaiveIndex

GOLDEN = sorted((Path(__file__).parent.parent / "data").glob("golden-v*"))


def texts_of(seed, number=40):
    """Some texts with repeats, some of them empty, and one that is a long repeat."""
    chosen = random.Random(seed)
    texts = ["".join(chosen.choices("ab ", k=chosen.choice([0, 1, 5, 40]))) for _ in range(number)]
    return [*texts, "ab" * 60, texts[3], texts[4] * 2]


def records(texts):
    return [{"text": text} for text in texts]


def count_files(path):
    """The content of the files of document counts, by the segment's folder."""
    return {f.parent.name: f.read_bytes() for f in path.glob(f"*/{fmt.DOCUMENT_COUNTS}")}


def check(path, texts):
    """The index is sound, and counts documents as brute force does."""
    assert verify(path, lambda done, total: None) == []
    naive = NaiveIndex([list(text.encode()) for text in texts], 255)
    letters = [*b"ab ", 255]
    queries = [list(q) for k in range(4) for q in itertools.product(letters, repeat=k)]
    with everygram.open(path) as index:
        found = index.document_count_batch(queries)
        assert found.document_counts.tolist() == [naive.document_count(q) for q in queries]
        return index.info()["document_counts"]


@pytest.mark.parametrize("block", [1, 7, 20, 50])
@pytest.mark.parametrize("wide", [False, True])
def test_a_build_in_blocks_gives_the_bytes_of_one_at_once(tmp_path, monkeypatch, block, wide):
    texts = texts_of(block)
    if wide:
        monkeypatch.setattr(fmt, "WIDE_POSITIONS_FROM", 100)
    everygram.build(records(texts), tmp_path / "whole")
    assert check(tmp_path / "whole", texts)
    monkeypatch.setattr(external_sort, "MIN_BLOCK", block)
    monkeypatch.setattr(lcps, "LEAST_LINKED", 64)
    monkeypatch.setattr(document_counts, "STEP", 8 * block)
    monkeypatch.setattr(document_counts, "SHORT", 0)
    monkeypatch.setattr(lcps, "NARROW_BELOW", 0 if wide else 2**32)
    for threads in (1, 3):
        path = tmp_path / str(threads)
        seen = []
        everygram.build(
            records(texts),
            path,
            memory=1,
            threads=threads,
            progress=lambda now, seen=seen: seen.append((now.stage, now.done, now.total)),
        )
        assert count_files(path) == count_files(tmp_path / "whole")
        counted = [done for stage, done, _ in seen if stage == "count"]
        assert counted == sorted(counted)
        assert counted[-1] == read_manifest(path).segments[0].stream_len


@pytest.mark.parametrize("full", [False, True])
def test_additions_deletions_and_compactions(tmp_path, full):
    path = tmp_path / "index"
    texts = texts_of(9, 30)
    everygram.build(records(texts[:12]), path)
    everygram.add(path, records(texts[12:20]))
    everygram.add(path, records(texts[20:]))
    assert check(path, texts)
    everygram.delete(path, documents=[2, 13, 30])
    live = [text for number, text in enumerate(texts) if number not in (2, 13, 30)]
    assert len(count_files(path)) == 4
    assert check(path, live)
    everygram.compact(path, full=full)
    assert check(path, live)
    if full:
        everygram.build(records(live), tmp_path / "new")
        (compacted,), (new,) = count_files(path).values(), count_files(tmp_path / "new").values()
        assert compacted == new


def test_a_build_without_stays_without(tmp_path, run):
    path = tmp_path / "index"
    corpus = write_jsonl(tmp_path / "c.jsonl", records(["ab ab", "b"]))
    code, out, _ = run("build", corpus, "--out", path, "--no-document-counts", "--json")
    assert (code, json.loads(out)["seconds"].keys() & {"count"}) == (0, set())
    assert read_manifest(path).document_counts is False
    everygram.add(path, records(["ab"]))
    everygram.delete(path, documents=[0])
    assert not check(path, ["b", "ab"])
    everygram.compact(path, full=True)
    assert everygram.compact(path, full=True).seconds == {}
    assert count_files(path) == {}
    assert not check(path, ["b", "ab"])
    code, out, _ = run("info", path)
    assert "document_counts    no: every occurrence is looked at ('everygram upgrade' adds" in out
    # Until it is upgraded.
    assert everygram.upgrade(path).segments == 1
    assert check(path, ["b", "ab"])
    everygram.add(path, records(["a"]))
    assert check(path, ["b", "ab", "a"])
    assert "document_counts    yes" in run("info", path)[1]


def test_an_interrupted_build_goes_on_with_the_same_option_only(tmp_path):
    corpus = write_jsonl(tmp_path / "c.jsonl", records(["ab ab", "b"]))

    def stop(now):
        if now.stage == "write":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        everygram.build(corpus, tmp_path / "i", document_counts=False, progress=stop)
    with pytest.raises(BuildError, match=r"other arguments \(document_counts False, now None\)"):
        everygram.build(corpus, tmp_path / "i")
    everygram.build(corpus, tmp_path / "i", document_counts=False)
    assert count_files(tmp_path / "i") == {}
    with pytest.raises(OptionError, match="document_counts: expected True or False"):
        everygram.build(corpus, tmp_path / "j", document_counts="no")


def test_a_plan_counts_them(tmp_path):
    corpus = write_jsonl(tmp_path / "c.jsonl", records(["ab" * 5000]))
    given, left_out = (
        everygram.plan(corpus, tmp_path / "i", document_counts=counts) for counts in (True, False)
    )
    assert given.index_bytes - left_out.index_bytes == fmt.document_counts_bytes(10_000, 0)
    assert given.disk_bytes > left_out.disk_bytes


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.name)
@pytest.mark.parametrize("way", ["upgrade", "compact"])
def test_an_older_index_gets_document_counts(tmp_path, golden, way):
    path = shutil.copytree(golden, tmp_path / "index")
    version = int(golden.name[-1])
    old = version < 5
    with everygram.open(golden) as index:
        queries = ["the", "the cat", "", "mat", "dog", [index.separator]]
        counts = index.document_count_batch(queries).document_counts.tolist()
        left = list(everygram.export(index))
        segments = len(index.manifest.segments)
        assert index.info()["document_counts"] is not old
    assert counts == [2, 2, 3, 1, 0, 3]
    if way == "upgrade":
        done = everygram.upgrade(path)
        assert done.segments == (segments if old else 0)
        assert (done.format_before, done.format_after) == (version, fmt.FORMAT_VERSION)
        assert done.as_dict()["path"] == str(path)
        again = everygram.upgrade(path)
        assert (again.segments, again.seconds) == (0, {})
        assert len(read_manifest(path).segments) == segments
    else:
        everygram.compact(path, full=True)
        assert everygram.compact(path, full=True).seconds == {}
    assert verify(path, lambda done, total: None) == []
    with everygram.open(path) as index:
        assert index.info()["document_counts"] is True
        assert index.manifest.format_version == fmt.FORMAT_VERSION
        assert index.document_count_batch(queries).document_counts.tolist() == counts
        assert [index.document_count(query) for query in queries] == counts
        assert list(everygram.export(index)) == left
    known = {"segment", "manifest.json", "tokenizer.json", ".everygram.lock"}
    assert {entry.name.partition("-")[0] for entry in path.iterdir()} == known


def test_an_upgrade_gives_the_bytes_of_a_build(tmp_path):
    texts = texts_of(3)
    everygram.build(records(texts), tmp_path / "new")
    everygram.build(records(texts), tmp_path / "old", document_counts=False)
    files = read_manifest(tmp_path / "old").segments[0].files
    inodes = {name: (tmp_path / "old" / "segment-000001" / name).stat().st_ino for name in files}
    everygram.upgrade(tmp_path / "old")
    (old,), (new,) = (read_manifest(tmp_path / name).segments for name in ("old", "new"))
    assert (old.name, old.files) == ("segment-000002", new.files)
    folder = tmp_path / "old" / old.name
    # Linked, not copied.
    for name in files.keys() - {fmt.CHECKSUMS}:
        assert (folder / name).stat().st_ino == inodes[name]


def test_an_upgrade_where_files_cannot_be_linked(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(95, os.strerror(95))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    texts = texts_of(4)
    everygram.build(records(texts), tmp_path / "i", document_counts=False)
    everygram.upgrade(tmp_path / "i")
    assert check(tmp_path / "i", texts)


@pytest.mark.parametrize("step", range(6))
def test_an_interrupted_upgrade_goes_on(tmp_path, step):
    path = tmp_path / "index"
    texts = texts_of(5, 20)
    everygram.build(records(texts[:9]), path, document_counts=False)
    everygram.add(path, records(texts[9:]))
    stages = []

    def stop(now):
        if stages[-1:] != [now.stage]:
            stages.append(now.stage)
        if len(stages) > step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        everygram.upgrade(path, progress=stop)
    check(path, texts)
    everygram.upgrade(path)
    assert check(path, texts)
    assert len([*path.glob("segment-*")]) == 2


KILLED = """
import os, sys, everygram
seen = []
def progress(now):
    if seen[-1:] != [now.stage]:
        seen.append(now.stage)
    if len(seen) > int(sys.argv[2]):
        os.kill(os.getpid(), 9)
everygram.upgrade(sys.argv[1], progress=progress)
"""


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_a_killed_upgrade_leaves_nothing_and_goes_on(tmp_path, step):
    path = tmp_path / "index"
    texts = texts_of(8, 20)
    everygram.build(records(texts[:9]), path, document_counts=False)
    everygram.add(path, records(texts[9:]))
    command = [sys.executable, "-c", KILLED, str(path), str(step)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    check(path, texts)
    assert everygram.upgrade(path).segments == (2 if step < 3 else 1)
    assert check(path, texts)
    folders = {entry.name for entry in path.glob("segment-*")}
    assert folders == {segment.name for segment in read_manifest(path).segments}


def test_readers_go_on_during_an_upgrade(tmp_path):
    path = tmp_path / "index"
    texts = texts_of(6)
    everygram.build(records(texts), path, document_counts=False)
    with everygram.open(path) as index:
        before = index.document_count("a")
        everygram.upgrade(path)
        assert index.document_count("a") == before
        assert len(index.find("a", limit=3)) == 3
        assert index.refresh()
        assert index.info()["document_counts"] is True
        assert index.document_count("a") == before


def test_a_damaged_file_is_not_upgraded(tmp_path):
    path = write_index(tmp_path / "i", [[1, 2], [2]], "u8", counts=False)
    tokens = path / "segment-000001" / fmt.TOKENS
    tokens.write_bytes(tokens.read_bytes()[:-1] + b"\7")
    with pytest.raises(DamagedIndexError, match=r"tokens\.bin: content does not match its check"):
        everygram.upgrade(path)
    assert [entry.name for entry in path.glob("segment-*")] == ["segment-000001"]


def test_an_upgrade_without_space(tmp_path, monkeypatch):
    path = write_index(tmp_path / "i", [[1, 2] * 50, [2]], "u8", counts=False)
    left = shutil._ntuple_diskusage(10**6, 10**6 - 100, 100)
    monkeypatch.setattr(upgrade.shutil, "disk_usage", lambda _: left)
    with pytest.raises(BuildError, match=r"no space left at .*: counting documents needs 0\.0 MB"):
        everygram.upgrade(path)


def test_the_command(tmp_path, run):
    path = shutil.copytree(GOLDEN[1], tmp_path / "index")
    code, out, _ = run("count", path, "the", "--documents", "--json")
    assert (code, json.loads(out)["document_count"]) == (0, 2)
    code, out, _ = run("upgrade", path)
    assert code == 0
    assert out.startswith("format 2 before, 6 now; document counts added to 1 segment; ")
    assert run("upgrade", path)[:2] == (0, "nothing to do: format 6\n")
    code, out, _ = run("count", path, "the", "--documents")
    assert (code, out.splitlines()[0]) == (0, "count     3, in 2 documents")
    code, out, _ = run("count", path, "-", "--documents", stdin="the\ncat\nzzz\n")
    found = [json.loads(line) for line in out.splitlines()]
    assert [(each["count"], each["document_count"]) for each in found] == [(3, 2), (2, 2), (0, 0)]
    assert "document_count" not in json.loads(run("count", path, "the", "--json")[1])
