"""Runs that are killed go on from what is finished, and give the same; a changed index begins anew.

Run as a program, this file is such a run: it kills itself as it enters a stage.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

import everygram
from conftest import write_index, write_jsonl
from everygram.building import external_sort
from everygram.curation import stream
from everygram.curation.work import Work
from everygram.errors import BuildError, OptionError
from everygram.progress import Clock


def some_texts(seed, number):
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list("abcd"), 50)) for _ in range(number)]


def made(tmp_path, kind="suffix-array"):
    """Two indexes with deleted documents, in which much repeats."""
    paths = [tmp_path / "one", tmp_path / "two"]
    for seed, path in enumerate(paths):
        records = [{"text": text, "n": n} for n, text in enumerate(some_texts(seed, 12))]
        corpus = write_jsonl(tmp_path / f"{seed}.jsonl", records)
        everygram.build(corpus, path, kind=kind)
        everygram.delete(path, documents=[3])
    return paths


GIVEN = {"min_length": 5, "keep_first": True, "memory": 1, "threads": 1}


def run(paths, out, work=None, die=0, given=GIVEN, call="deduplicate"):
    """The stages that a run entered; it is killed as it enters number `die`, or, by "block", when
    the first block of what is left is sorted."""
    stages = []

    def seen(progress):
        if die == "block" and "strike" in stages and progress.stage == "sort" and progress.done:
            os.kill(os.getpid(), signal.SIGKILL)
        if stages[-1:] != [progress.stage] or progress.done == progress.total == 0:
            stages.append(progress.stage)
            if len(stages) == die:
                os.kill(os.getpid(), signal.SIGKILL)

    # (Blocks of so few tokens that there are several.)
    with mock.patch.object(external_sort, "MIN_BLOCK", 100):
        if call == "deduplicate":
            everygram.deduplicate(paths, out, work_dir=work, progress=seen, **given)
        else:
            rest = {name: given[name] for name in given if name != "keep_first"}
            found = everygram.duplicates(paths, work_dir=work, progress=seen, **rest)
            out.write_text(json.dumps([found.as_dict(), list(found.rows())]))
    return stages


def killed(paths, out, work, die, call):
    """A run in a process of its own that is killed."""
    asked = json.dumps([[str(path) for path in paths], str(out), str(work), die, GIVEN, call])
    # (It imports what the tests do.)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, __file__, asked]
    done = subprocess.run(command, check=False, capture_output=True, env=environment)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


@pytest.mark.parametrize("kind", ["suffix-array", "self-index"])
@pytest.mark.parametrize("call", ["duplicates", "deduplicate"])
def test_a_killed_run_goes_on(tmp_path, kind, call):
    paths = made(tmp_path, kind)
    out = tmp_path / "out.jsonl"
    stages = run(paths, out, call=call)
    plain = ["plain"] if kind == "self-index" else []
    assert stages[: len(plain) + 3] == [*plain, "read", "sort", "merge"]
    if call == "deduplicate":
        assert stages.count("strike") > 1
        assert stages[-2:] == ["repeats", "export"]
    expected = out.read_bytes()
    # (Each stage once; of passes the second.)
    places = {stage: place for place, stage in enumerate(stages[: len(plain) + 3])}
    places |= {
        f"{stage} again": place for place, stage in enumerate(stages[:14]) if stage not in places
    }
    for name, place in places.items():
        out.unlink(missing_ok=True)
        work = tmp_path / name
        killed(paths, out, work, place + 1, call)
        assert not out.exists()
        again = run(paths, out, work, call=call)
        # (What is read of a self-index is not kept; and blocks are looked at before merging.)
        before = {"read": plain, "sort": plain, "merge": [*plain, "sort"]}
        if place > len(plain) + 2:
            before = {"merge": ["sort"]}
        assert again == before.get(stages[place], []) + stages[place:], name
        assert out.read_bytes() == expected


def test_blocks_that_are_sorted_are_not_sorted_again(tmp_path):
    paths = made(tmp_path)
    out, work = tmp_path / "out.jsonl", tmp_path / "work"
    sort, blocks = external_sort.BlockSorter._sort, []

    def noted(self, cut, readable):
        blocks.append((self._folder.parent.parent.name, cut.start))
        return sort(self, cut, readable)

    with mock.patch.object(external_sort.BlockSorter, "_sort", noted):
        stages = run(paths, out)
        expected, every = out.read_bytes(), list(blocks)
        assert len([place for number, place in every if number == "1"]) > 2
        out.unlink()
        killed(paths, out, work, "block", "deduplicate")
        blocks.clear()
        assert run(paths, out, work) == stages[5:]
    assert blocks == [each for each in every if each != ("1", 0)]
    assert out.read_bytes() == expected


def passes_of(work):
    return sorted(each.name for each in next(work.glob("*/struck-*")).iterdir())


def test_the_second_pass_is_not_repeated(tmp_path):
    paths = made(tmp_path)
    out, work = tmp_path / "out.jsonl", tmp_path / "work"
    stages = run(paths, out)
    expected = out.read_bytes()
    out.unlink()
    second = [place for place, stage in enumerate(stages) if stage == "strike"][1]
    killed(paths, out, work, second + 1, "deduplicate")
    assert passes_of(work) == ["1", "2"]
    rest = stages[second:]
    killed(paths, out, work, len(rest), "deduplicate")
    # (What the last pass looked through is all that the rest needs.)
    assert passes_of(work) == [str(stages.count("repeats") - 1), str(stages.count("repeats"))]
    assert run(paths, out, work) == ["export"]
    assert out.read_bytes() == expected
    # What is sorted stays, what was struck does not.
    assert [each.name for each in next(work.glob("index-*")).iterdir()] == ["sorted"]
    out.unlink()
    assert run(paths, out, work) == stages[3:]
    assert out.read_bytes() == expected


def test_a_changed_index_or_question_begins_anew(tmp_path):
    paths = made(tmp_path)
    out, work = tmp_path / "out.jsonl", tmp_path / "work"
    stages = run(paths, out)
    out.unlink()
    killed(paths, out, work, len(stages) - 1, "deduplicate")
    # Another question: the passes begin anew, the sorting does not.
    other = GIVEN | {"min_length": 6}
    assert run(paths, out, work, given=other)[:2] == ["anew", "repeats"]
    assert out.read_bytes() == result(paths, tmp_path / "alone.jsonl", other)
    out.unlink()
    killed(paths, out, work, 2, "deduplicate")
    everygram.delete(paths[1], documents=[5])
    again = run(paths, out, work)
    assert again[:4] == ["anew", "read", "sort", "merge"]
    assert out.read_bytes() == result(paths, tmp_path / "changed.jsonl", GIVEN)
    assert len(list(work.glob("index-*"))) == 1
    # The order of the indexes is part of which index it is.
    assert run(paths[::-1], tmp_path / "turned.jsonl", work)[:2] == ["anew", "read"]


def result(paths, out, given):
    run(paths, out, given=given)
    return out.read_bytes()


def test_what_is_damaged_is_made_again(tmp_path):
    paths = made(tmp_path)
    out = tmp_path / "out.jsonl"
    stages = run(paths, out)
    expected = out.read_bytes()
    third = [place for place, stage in enumerate(stages) if stage == "repeats"][2]
    # (The files of the first pass are gone by then; the ranges of the second are known.)
    anew = [*stages[3:7], *stages[8:]]
    after = {
        "2/ranges": stages[third:],  # (They are struck already.)
        "2/sums": [*stages[3:7], *stages[third:]],
        "2/numbers": anew,
        "2/sorted/build.json": anew,
        "2/sorted/segment-000001/tokens.bin": anew,
        "../sorted/segment-000001/suffix_array.bin": [*stages[:3], *stages[third:]],
    }
    for number, (name, expected_stages) in enumerate(after.items()):
        out.unlink()
        work = tmp_path / f"work-{number}"
        killed(paths, out, work, third + 1, "deduplicate")
        damaged = next(work.glob("*/struck-*")) / name
        damaged.write_bytes(damaged.read_bytes()[:-1])
        assert run(paths, out, work) == expected_stages, name
        assert out.read_bytes() == expected


def test_one_folder_serves_all_that_sort(tmp_path):
    paths = made(tmp_path)
    work, found = tmp_path / "work", []
    assert run(paths, tmp_path / "found", work, call="duplicates")[:3] == ["read", "sort", "merge"]
    top = everygram.top_ngrams(
        paths, 3, work_dir=work, progress=lambda each: found.append(each.stage)
    )
    assert set(found) == {"ngrams"}
    assert top.ngrams == everygram.top_ngrams(paths, 3).ngrams
    assert run(paths, tmp_path / "out.jsonl", work)[0] == "repeats"
    # One segment with a suffix array needs no sorting, and nothing is kept.
    everygram.compact(paths[0], full=True)
    assert run(paths[:1], tmp_path / "found", work, call="duplicates") == ["anew", "repeats"]
    assert list(next(work.glob("index-*")).iterdir()) == []


def test_other_folders_are_refused(tmp_path):
    paths = made(tmp_path)
    with pytest.raises(
        OptionError, match=r"work_dir: expected an empty or a new folder.*'0\.jsonl'"
    ):
        everygram.duplicates(paths, work_dir=tmp_path)
    before = sorted(paths[0].iterdir())
    with pytest.raises(OptionError, match="work_dir: expected an empty or a new folder"):
        everygram.duplicates(paths, work_dir=paths[0])
    assert sorted(paths[0].iterdir()) == before
    with pytest.raises(BuildError, match="cannot write"):
        everygram.duplicates(paths, work_dir=tmp_path / "0.jsonl")

    def inside(progress):
        with pytest.raises(BuildError, match="is being written by another process"):
            everygram.duplicates(paths, work_dir=tmp_path / "work")
        inside.asked = True

    everygram.duplicates(paths, work_dir=tmp_path / "work", progress=inside)
    assert inside.asked


def test_a_disk_without_room(tmp_path):
    paths = made(tmp_path)
    usage = mock.Mock(return_value=mock.Mock(free=100))
    with mock.patch.object(stream.shutil, "disk_usage", usage):
        with pytest.raises(BuildError, match=r"one sorted stream of the index needs .* set TMPDIR"):
            everygram.duplicates(paths)
        with pytest.raises(BuildError, match="are free; free some, choose another work_dir, or"):
            everygram.duplicates(paths, work_dir=tmp_path / "work")


def test_all_that_was_struck(tmp_path):
    """A pass that leaves nothing keeps nothing, and is done again."""
    write_index(tmp_path / "i", [[1, 2, 3], [1, 2, 3]], "u8", 2, 5)
    out = tmp_path / "out.jsonl"
    for _ in range(2):
        done = everygram.deduplicate(tmp_path / "i", out, 2, work_dir=tmp_path / "work")
        assert (done.num_documents, done.dropped_documents, done.passes) == (0, 2, 2)
        assert out.read_bytes() == b""
        out.unlink()


def test_numbers_that_are_kept(tmp_path):
    work = Work(tmp_path, True, Clock(lambda _: None))
    assert work.kept("some") is None
    for numbers in ([], [3, -1, 1 << 40]):
        work.keep("some", np.array(numbers, np.int64))
        assert work.kept("some").tolist() == numbers
        data = (tmp_path / "some").read_bytes()
        for damaged in (b"", data[:-1], data + b"x", bytes([data[0] ^ 1]) + data[1:]):
            (tmp_path / "some").write_bytes(damaged)
            assert work.kept("some") is None


if __name__ == "__main__":
    paths, out, work, die, given, call = json.loads(sys.argv[1])
    run(paths, Path(out), work, die, given, call)
