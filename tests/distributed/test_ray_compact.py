"""Compactions on a Ray cluster of two nodes on this machine: whatever dies, the same index."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

import everygram
from everygram import BuildError, OptionError, distributed
from everygram.building import stretches
from everygram.errors import LockedError
from everygram.storage import format as fmt
from everygram.storage.verify import verify


@pytest.fixture(scope="module")
def segments(tmp_path_factory):
    """An index of three segments, with deleted documents; and what compacting it here makes."""
    folder = tmp_path_factory.mktemp("segments")
    rng = random.Random(3)
    words = ["the", "cat", "sat", "on", "a", "mat", "é"]
    texts = [" ".join(rng.choices(words, k=rng.randrange(60))) for _ in range(200)]
    for number in range(3):
        with (folder / f"{number}.jsonl").open("w") as file:
            for text in texts[50 * number :]:
                file.write(json.dumps({"text": text}) + "\n")
    everygram.build(folder / "0.jsonl", folder / "index")
    everygram.add(folder / "index", folder / "1.jsonl")
    everygram.add(folder / "index", folder / "2.jsonl")
    everygram.delete(folder / "index", documents=[3, 4, 210, 320])
    for kind in ("suffix-array", "self-index"):
        shutil.copytree(folder / "index", folder / kind)
        everygram.compact(folder / kind, full=True, kind=kind, threads=1)
    return folder


@pytest.fixture
def index(segments, tmp_path, monkeypatch):
    """A copy of it, of which stretches are short."""
    monkeypatch.setattr(stretches, "FEWEST", 1 << 12)
    shutil.copytree(segments / "index", tmp_path / "index")
    return tmp_path / "index"


def content(folder):
    """All files but those that have times in them."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("manifest.json", ".everygram.lock", "done.json")
    }


@pytest.mark.parametrize("kind", ["suffix-array", "self-index"])
def test_the_bytes_of_a_compaction_here(connected, segments, index, kind):
    told = []
    report = distributed.compact(
        index, ray=connected.address, full=True, kind=kind, threads=1, progress=told.append
    )
    assert content(index) == content(segments / kind)
    assert verify(index, lambda *_: None) == []
    assert (report.segments_after, report.dropped_documents) == (1, 4)
    merged = [each.done for each in told if each.stage == "merge"]
    assert len({*merged}) >= 8 and merged == sorted(merged)
    with everygram.open(index) as opened:
        assert merged[-1] == sum(each.stream_len for each in opened.manifest.segments)


def num_segments(index):
    with everygram.open(index) as opened:
        return len(opened.manifest.segments)


def test_a_stretch_that_always_fails_is_named(connected, segments, index, monkeypatch):
    """With its error; the others are kept, and a compaction here goes on from there, too."""

    def failing(job, tell):
        if job.number == 8:
            raise OSError("this disk is tired")
        return stretches.merge_stretch(job, tell)

    given = {"ray": connected.address, "full": True, "threads": 1}
    with monkeypatch.context() as patch:
        patch.setattr("everygram.distributed.compaction.merge_stretch", failing)
        with pytest.raises(BuildError, match=r"stretch 8 of .*failed 3 times, the last.* is tired"):
            distributed.compact(index, **given)
    kept = {path.name for path in notes(index)}
    assert kept and "000008.json" not in kept
    again = shutil.copytree(index, index.parent / "again")
    distributed.compact(index, **given)
    everygram.compact(again, full=True, threads=1)
    assert content(index) == content(again) == content(segments / "suffix-array")


def test_machines_that_die_again_and_again(connected, segments, index, monkeypatch):
    """Of whatever dies there is an end, too."""
    monkeypatch.setattr("everygram.distributed.running.DEATHS", 2)
    monkeypatch.setattr("everygram.distributed.running.LOCKED_SECONDS", 0)

    def dying(job, tell):
        raise LockedError("what ran here before has it")

    monkeypatch.setattr("everygram.distributed.compaction.merge_stretch", dying)
    with pytest.raises(BuildError, match=r"died under tasks 2 times, the last .* under stretch \d"):
        distributed.compact(index, ray=connected.address, full=True, threads=1)
    assert num_segments(index) == 4


def test_the_command_line(connected, segments, index, run):
    code, said, _ = run(
        *("compact", index, "--full", "--threads", 1, "--json", "--ray", connected.address)
    )
    assert code == 0 and json.loads(said)["segments_after"] == 1
    assert content(index) == content(segments / "suffix-array")


def test_what_no_machine_can_run(connected, index):
    with pytest.raises(OptionError, match="expected a machine with 9,876,543,210 bytes of memory"):
        distributed.compact(index, ray=connected.address, memory=9876543210, threads=1)
    assert num_segments(index) == 4


DRIVER = """
import sys, time
from everygram import distributed
from everygram.building import stretches
from everygram.distributed import compaction
stretches.FEWEST = 1 << 12
merge = stretches.merge_stretch
def slowly(job, tell):
    time.sleep(0.3)
    return merge(job, tell)
compaction.merge_stretch = slowly
distributed.compact(sys.argv[1], ray=sys.argv[2], full=True, threads=1)
"""


def notes(index):
    """When each stretch that is merged was noted."""
    found = index.glob(f"segment-*/{fmt.STRETCHES}/0*.json")
    return {path: path.stat().st_mtime_ns for path in found}


def test_a_driver_and_a_node_are_killed(connected, segments, index, monkeypatch):
    """Between stretches: those that are merged are not merged again."""
    command = [sys.executable, "-c", DRIVER, str(index), connected.address]
    with subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True) as driver:
        while not notes(index) and driver.poll() is None:
            time.sleep(0.02)
        os.killpg(driver.pid, signal.SIGKILL)
        assert notes(index), driver.stderr.read().decode()
    kept = notes(index)
    total = len(json.loads((next(iter(kept)).parent / "plan.json").read_text())["splitters"]) + 1
    assert len(kept) < total == 8
    assert num_segments(index) == 4  # (one of deleted documents)
    left = []

    def slowly(job, tell):
        time.sleep(0.15)
        return stretches.merge_stretch(job, tell)

    def kill(progress):
        """The node, once a stretch is merged in this run, too; look at the notes meanwhile."""
        if progress.stage == "merge" and not left and len(notes(index)) > len(kept):
            worker = next(node for node in connected.list_all_nodes() if not node.head)
            connected.remove_node(worker, allow_graceful=False)
            left.append(notes(index))

    monkeypatch.setattr("everygram.distributed.compaction.merge_stretch", slowly)
    distributed.compact(index, ray=connected.address, full=True, threads=1, progress=kill)
    assert len(kept) < len(left[0]) < total
    assert kept.items() <= left[0].items()
    assert content(index) == content(segments / "suffix-array")
    assert verify(index, lambda *_: None) == []
