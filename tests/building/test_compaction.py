"""Segments merged: the same answers, the bytes of one build, readers, killed writers."""

import json
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_deletion import (
    check,
    check_live,
    folder_of,
    live_of,
    problems_of,
    records,
    run,
    some_texts,
)

import everygram
from conftest import write_jsonl
from everygram.building import compaction, external_sort
from everygram.errors import BuildError, DamagedIndexError, QueryError
from everygram.storage import format as fmt
from everygram.storage import verify

SORTED = ("tokens.bin", "suffix_array.bin", "fences.bin", "unigrams.bin", "document_offsets.bin")
GOLDEN = sorted((Path(__file__).parent.parent / "data").glob("golden-v*"))


def grown(path, rng, sizes):
    """An index of a segment for each size, and the texts in it."""
    texts = []
    for step, size in enumerate(sizes):
        more = some_texts(rng, size)
        corpus = write_jsonl(path.parent / "more.jsonl", records(more, len(texts)))
        if step:
            everygram.add(path, corpus)
        else:
            everygram.build(corpus, path)
        texts += more
    return texts


def check_built_at_once(path, texts, gone):
    """The one segment is, byte for byte, what a build of the documents that are left makes."""
    once = path.parent / "once"
    shutil.rmtree(once, ignore_errors=True)
    left = [record for record in records(texts) if record["n"] not in gone]
    everygram.build(write_jsonl(path.parent / "once.jsonl", left), once)
    (entry,) = everygram.open(path).manifest.segments
    for name in (*SORTED, "metadata.bin", "metadata_offsets.bin"):
        assert (path / entry.name / name).read_bytes() == (
            once / "segment-000001" / name
        ).read_bytes()


def files_left(path):
    """Nothing is in the folder but what the manifest names."""
    manifest = everygram.open(path).manifest
    expected = {entry.name for entry in manifest.segments} | {fmt.MANIFEST, fmt.LOCK}
    assert {entry.name for entry in path.iterdir()} == expected


@pytest.mark.parametrize("seed", range(12))
def test_answers_and_numbers_stay_and_the_bytes_are_those_of_one_build(tmp_path, monkeypatch, seed):
    """Wide positions, blocks of few tokens, several threads: all that a large index has."""
    rng = random.Random(seed)
    monkeypatch.setattr(fmt, "WIDE_POSITIONS_FROM", rng.choice([2**32, 100, 1]))
    monkeypatch.setattr(external_sort, "MAX_BLOCK", rng.choice([2**31 - 2, 40, 7]))
    monkeypatch.setattr(compaction, "MOST_DELETED", rng.choice([0.1, 0.5]))
    path = tmp_path / "index"
    texts = grown(path, rng, [rng.randrange(1, 12) for _ in range(rng.randrange(1, 6))])
    gone = set()
    for _ in range(rng.randrange(4)):
        live = [number for number in range(len(texts)) if number not in gone]
        numbers = rng.sample(live, rng.randrange(1, 1 + min(5, len(live) - 1)))
        everygram.delete(path, documents=numbers)
        gone |= set(numbers)
    with everygram.open(path) as before, everygram.open(path) as refreshed:
        done = everygram.compact(path, memory=1, threads=rng.choice([1, 2]))
        assert problems_of(path) == []
        files_left(path)
        check_live(before, texts, gone)
        assert refreshed.refresh() == bool(done.seconds)
        check_live(refreshed, texts, gone)
        full = everygram.compact(path, full=True, memory=1, threads=rng.choice([1, 2]))
        assert full.segments_after == 1
        assert done.dropped_documents + full.dropped_documents == len(gone)
        assert problems_of(path) == []
        files_left(path)
        refreshed.refresh()
        check_live(refreshed, texts, gone)
        check_live(before, texts, gone)
    check_built_at_once(path, texts, gone)
    again = everygram.compact(path, full=True)
    assert again.seconds == {}
    assert again.segments_after == 1
    # The index goes on from there: numbers are not given again.
    more = some_texts(rng, 3)
    everygram.add(path, write_jsonl(tmp_path / "m.jsonl", records(more, len(texts))))
    with everygram.open(path) as index:
        check_live(index, texts + more, gone)


def test_the_tiers(tmp_path):
    """Small additions make few segments, and what is large is seldom written again."""
    rng = random.Random(1)
    path = tmp_path / "index"
    texts = grown(path, rng, [400])
    large = everygram.open(path).manifest.segments[0]
    written = 0
    for step in range(24):
        more = some_texts(rng, 4)
        everygram.add(path, write_jsonl(tmp_path / "m.jsonl", records(more, len(texts))))
        texts += more
        done = everygram.compact(path)
        segments = everygram.open(path).manifest.segments
        sizes = [segment.stream_len for segment in segments]
        for i, size in enumerate(sizes):
            assert size >= compaction.TIER * sum(sizes[i + 1 :])
        assert segments[0] == large
        assert done.segments_after == len(segments) <= 1 + (step + 1).bit_length()
        written += done.segments_after < done.segments_before and sizes[-1]
    added = sum(len(text) + 1 for text in texts[400:])
    assert written < 4 * added
    with everygram.open(path) as index:
        check(index, texts)


def test_a_segment_of_much_that_is_deleted_is_written_without_it(tmp_path):
    path = tmp_path / "index"
    texts = grown(path, random.Random(3), [40, 4])
    everygram.delete(path, documents=[0])
    everygram.delete(path, documents=[41, 42, 43])
    done = everygram.compact(path)  # the second segment, and both deletions into one
    assert (done.segments_before, done.segments_after, done.dropped_documents) == (4, 3, 3)
    signs = [entry.sign for entry in everygram.open(path).manifest.segments]
    assert signs == [1, 1, -1]
    check_live(everygram.open(path), texts, {0, 41, 42, 43})
    assert everygram.compact(path).seconds == {}
    everygram.delete(path, documents=[*range(1, 12)])
    done = everygram.compact(path)
    assert (done.segments_after, done.dropped_documents) == (1, 12)
    check_live(everygram.open(path), texts, {*range(12), 41, 42, 43})


def test_deletions_alone_become_one(tmp_path):
    path = tmp_path / "index"
    texts = grown(path, random.Random(3), [60])
    for number in (3, 1, 2):
        everygram.delete(path, documents=[number])
    done = everygram.compact(path)
    assert (done.segments_before, done.segments_after, done.dropped_documents) == (4, 2, 0)
    assert problems_of(path) == []
    check_live(everygram.open(path), texts, {1, 2, 3})


def test_an_index_of_nothing_but_deleted_documents(tmp_path):
    path = tmp_path / "index"
    texts = grown(path, random.Random(3), [3, 2])
    everygram.delete(path, documents=range(5))
    done = everygram.compact(path)
    assert (done.segments_after, done.dropped_documents, done.index_bytes) == (0, 5, 0)
    files_left(path)
    with everygram.open(path) as index:
        check_live(index, texts, set(range(5)))
        with pytest.raises(QueryError, match="document 5: the index has 0 to 4"):
            index.document(5)
    everygram.add(path, write_jsonl(tmp_path / "m.jsonl", records(["ab"], 5)))
    with everygram.open(path) as index:
        check_live(index, [*texts, "ab"], set(range(5)))


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.name)
def test_older_segments_become_new_ones(tmp_path, golden):
    path = tmp_path / "index"
    shutil.copytree(golden, path)
    with everygram.open(path) as index:
        left = list(everygram.export(index))
        number = index.find("cat").documents[-1]
        following = index.infgram_ntd("the cat").counts.tolist()
    everygram.add(path, write_jsonl(tmp_path / "m.jsonl", [{"text": "to forget"}]))
    everygram.delete(path, matching="forget")
    assert everygram.compact(path, full=True).segments_after == 1
    assert problems_of(path) == []
    with everygram.open(path) as index:
        assert index.manifest.format_version == fmt.FORMAT_VERSION
        assert index.info()["document_counts"] is True
        assert list(everygram.export(index)) == left
        assert index.find("cat").documents[-1] == number
        assert index.infgram_ntd("the cat").counts.tolist() == following


def test_an_index_that_is_compacted_while_it_is_verified_is_sound(tmp_path, monkeypatch):
    path = tmp_path / "index"
    grown(path, random.Random(4), [9, 9])
    check = verify.wrong_files
    compacted = []

    def compact_first(*given):
        if not compacted:
            compacted.append(everygram.compact(path, full=True))
        return check(*given)

    monkeypatch.setattr(verify, "wrong_files", compact_first)
    assert problems_of(path) == []
    assert not (path / "segment-000001").exists()


def test_a_damaged_file_is_not_given_a_new_checksum(tmp_path):
    path = tmp_path / "index"
    texts = grown(path, random.Random(3), [3, 9])
    metadata = path / "segment-000001" / "metadata.bin"
    sound = metadata.read_bytes()
    metadata.write_bytes(sound.replace(b'"n"', b'"m"', 1))
    before = folder_of(path)
    with pytest.raises(DamagedIndexError, match=r"segment-000001: metadata\.bin: content does not"):
        everygram.compact(path)
    assert folder_of(path) == before
    metadata.write_bytes(sound)
    everygram.compact(path)
    check(everygram.open(path), texts)


KILLED = """
import os, sys, everygram
from everygram.building import external_sort
external_sort.MAX_BLOCK = 20
stage, index = sys.argv[1:]
seen = []
def progress(now):
    if now.stage not in seen:
        seen.append(now.stage)
    if now.stage == stage:
        os.kill(os.getpid(), 9)
everygram.compact(index, full=True, memory=1, threads=1, progress=progress)
print(*seen)
"""
STAGES = ["check", "read", "sort", "merge", "count", "write", "publish"]


def compact_in_a_process(path, stage):
    command = [sys.executable, "-c", KILLED, stage, str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture
def changed(tmp_path):
    path = tmp_path / "index"
    texts = grown(path, random.Random(8), [9, 4, 6])
    everygram.delete(path, documents=[2, 10])
    return path, texts, {2, 10}


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_compaction_goes_on(changed, stage):
    path, texts, gone = changed
    done = compact_in_a_process(path, stage)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with everygram.open(path) as index:
        check_live(index, texts, gone)
    again = compact_in_a_process(path, "")
    assert again.returncode == 0, again.stderr
    finished = {"sort": {"read"}, "merge": {"read"}}.get(stage, set())
    if stage in ("count", "write", "publish"):
        finished = {"read", "sort", "merge"} | ({"count"} if stage != "count" else set())
    assert set(again.stdout.split()) == set(STAGES) - finished
    files_left(path)
    check_built_at_once(path, texts, gone)


def test_what_a_killed_compaction_read_is_of_no_use_once_the_index_has_changed(changed, tmp_path):
    path, texts, gone = changed
    compact_in_a_process(path, "write")
    assert (path / fmt.BUILD).exists()
    everygram.delete(path, documents=[3])
    assert not (path / fmt.BUILD).exists()
    compact_in_a_process(path, "write")
    more = write_jsonl(tmp_path / "m.jsonl", records(["ab"], len(texts)))
    everygram.add(path, more)
    files_left(path)
    everygram.compact(path, full=True)
    check_built_at_once(path, [*texts, "ab"], gone | {3})


def test_an_interrupted_addition_outlives_a_deletion_and_stops_a_compaction(changed, tmp_path):
    path, texts, gone = changed
    more = write_jsonl(tmp_path / "m.jsonl", records(["ab"], len(texts)))

    def fail(now):
        if now.stage == "write":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        everygram.add(path, more, progress=fail)
    everygram.delete(path, documents=[3])
    with pytest.raises(BuildError, match=r"an interrupted addition of '/.*m.jsonl': run it"):
        everygram.compact(path)
    seen = []
    everygram.add(path, more, progress=lambda now: seen.append(now.stage))
    assert "read" not in seen
    files_left(path)
    with everygram.open(path) as index:
        check_live(index, [*texts, "ab"], gone | {3})
    with pytest.raises(KeyboardInterrupt):
        everygram.add(path, more, progress=fail)
    everygram.compact(path, full=True, restart=True)
    check_built_at_once(path, [*texts, "ab"], gone | {3})


def test_the_space_of_old_segments_is_given_back(tmp_path):
    path = tmp_path / "index"
    texts = ["abc" * 50 + str(i) for i in range(200)]
    everygram.build(write_jsonl(tmp_path / "0.jsonl", records(texts)), path)
    everygram.delete(path, documents=range(20, 200))

    def size():
        return sum(file.stat().st_size for file in path.rglob("*.bin"))

    before = size()
    done = everygram.compact(path)
    assert done.index_bytes == size()
    assert done.freed_bytes == before - size() > 0.8 * before
    assert done.dropped_tokens == sum(map(len, texts[20:]))


def test_runs_of_a_segment_that_is_not_one(tmp_path):
    """Positions twice or outside: an error, and no write outside of the block."""
    path = tmp_path / "index"
    grown(path, random.Random(3), [3, 9])
    segments = everygram.open(path).engine.segments
    no_gaps = np.empty((0, 2), np.int64)
    for wrong in (10**6, 0):
        bad = np.array(segments[0].suffix_array)
        bad[1], bad[2] = (wrong, bad[2]) if wrong else (0, 0)
        gaps = no_gaps if wrong else np.array([[0, 1]])
        (path / f"x{wrong}").mkdir()
        runs = external_sort.SortedRuns(path / f"x{wrong}", [bad], [gaps])
        with pytest.raises(DamagedIndexError, match="positions twice or outside"):
            list(runs.sorted_blocks())


def test_the_command(tmp_path, capsys):
    path = tmp_path / "index"
    everygram.build(write_jsonl(tmp_path / "0.jsonl", records(["ab", "ba"])), path)
    everygram.add(path, write_jsonl(tmp_path / "1.jsonl", records(["aa"], 2)))
    run("compact", path)
    assert capsys.readouterr().out == "nothing to do: 2 segments\n"
    run("delete", path, "--documents", "1")
    capsys.readouterr()
    run("compact", path, "--full", "--memory", "100MiB", "--threads", "1")
    told = capsys.readouterr()
    assert told.out.startswith("3 segments before, 1 now; 1 deleted document dropped, 2 tokens; ")
    assert "checking checksums" in told.err
    run("compact", path, "--full", "--json")
    answer = json.loads(capsys.readouterr().out)
    assert (answer["segments_before"], answer["segments_after"]) == (1, 1)
    run("compact", tmp_path / "nowhere", code=1)
    with everygram.open(path) as index:
        check_live(index, ["ab", "ba", "aa"], {1})


def test_live_documents_are_what_is_exported(changed):
    path, texts, gone = changed
    everygram.compact(path, full=True)
    with everygram.open(path) as index:
        assert [each["text"] for each in everygram.export(index)] == live_of(texts, gone)
