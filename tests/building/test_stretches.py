"""Blocks merged in stretches, one at a time: the naive order, however often it is interrupted."""

import os
import random
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everygram.building import external_sort, stretches
from everygram.building.external_sort import BlockSorter, remove_runs, write_suffix_array
from everygram.building.stretches import Stretch, Workers, merge_stretch
from everygram.errors import BuildError, DamagedIndexError
from everygram.storage import format as fmt
from everygram.storage.segment_writer import SegmentWriter
from naive import NaiveIndex

BOOK = [number * 7 % 9 for number in range(40)]
DOCUMENTS = [BOOK, [3], [], BOOK[5:], [1, 2, 3] * 30, BOOK * 2, [0, 1] * 20]


@pytest.fixture(autouse=True)
def short_stretches(monkeypatch):
    """What a test reads at once need not outlive a power cut, either."""
    monkeypatch.setattr(stretches, "FEWEST", 1)
    monkeypatch.setattr(stretches, "STEP", 7)
    with mock.patch.object(os, "fsync"):
        yield


class Segment:
    """A segment's folder with sorted blocks of documents, of at most so many tokens each."""

    def __init__(self, folder, documents, block):
        folder.mkdir(exist_ok=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(external_sort, "MIN_BLOCK", block)
            writer = SegmentWriter(folder / "segment-000001", "u16")
            sorter = BlockSorter(writer.folder, "u16", memory=0, threads=1)
            for document in documents:
                start = writer.stream_len
                writer.add(np.array(document, np.uint16), b"{}")
                sorter.advance(start, writer.stream_len, writer.flush)
            writer.close()
            sorter.end()
            self.blocks = list(sorter.sorted_blocks())
        self.folder, self.length = writer.folder, writer.stream_len
        self.expected = NaiveIndex(documents, fmt.separator_of("u16")).suffix_array()

    def merge(self, workers):
        told = []
        write_suffix_array(
            *(self.folder, "u16", self.length, self.blocks, 0, 1),
            lambda *progress: told.append(progress),
            workers,
        )
        return told

    def check(self):
        width = fmt.position_bytes(self.length)
        found = (self.folder / fmt.SUFFIX_ARRAY).read_bytes()
        assert found == b"".join(each.to_bytes(width, "little") for each in self.expected)
        remove_runs(self.folder)
        assert {path.name for path in self.folder.iterdir()} == {
            *(fmt.TOKENS, fmt.SUFFIX_ARRAY),
            *(fmt.DOCUMENT_OFFSETS, fmt.METADATA, fmt.METADATA_OFFSETS),
        }


class Killed(Exception):
    pass


def workers(number, order=lambda jobs: jobs, most=1 << 30, done=None):
    """So many, which are killed after the most stretches; `done` gets the numbers of these."""
    done = [] if done is None else done

    def run(jobs, tell):
        for job in order(jobs)[:most]:
            done.append(job.number)
            yield job.number, merge_stretch(job, lambda tokens, job=job: tell(job.number, tokens))
        if len(jobs) > most:
            raise Killed

    return Workers(number, 0, run)


@settings(max_examples=60, deadline=None)
@given(
    documents=st.lists(st.lists(st.integers(0, 2), max_size=25), min_size=1, max_size=8),
    block=st.integers(1, 30),
    number=st.integers(1, 12),
    seed=st.integers(0, 9),
)
def test_any_stretches_in_any_order(tmp_path_factory, documents, block, number, seed):
    segment = Segment(tmp_path_factory.mktemp("d"), documents, block)
    if not segment.blocks:
        return
    rng = random.Random(seed)
    told = segment.merge(workers(number, lambda jobs: rng.sample(jobs, len(jobs))))
    assert told[-1] == (segment.length, segment.length)
    segment.check()


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("most", [1, 3])
def test_stretches_that_are_merged_are_not_merged_again(tmp_path, monkeypatch, most, wide):
    if wide:
        monkeypatch.setattr(fmt, "WIDE_POSITIONS_FROM", 10)
    segment = Segment(tmp_path, DOCUMENTS, 37)
    done, runs = [], 0
    rng = random.Random(most)
    for runs in range(1, 100):
        try:
            # (With more workers than before there are still the stretches of the first plan.)
            segment.merge(workers(2 + runs, lambda jobs: rng.sample(jobs, len(jobs)), most, done))
            break
        except Killed:
            assert not (segment.folder / fmt.SUFFIX_ARRAY).exists()
    assert sorted(done) == list(range(1, 13))
    assert runs == 12 // most
    segment.check()


def test_a_merge_here_goes_on_after_stretches(tmp_path):
    """It merges all again; and if it is killed, too, stretches go on after it."""
    for killed in (False, True):
        folder = tmp_path / str(killed)
        segment = Segment(folder, DOCUMENTS, 37)
        done = []
        with pytest.raises(Killed):
            segment.merge(workers(3, most=5, done=done))
        if killed:
            writes = [external_sort.write_at, external_sort.write_at, Killed]

            def write(*given, writes=writes):
                if (each := writes.pop(0)) is Killed:
                    raise Killed
                each(*given)

            with (
                mock.patch.object(external_sort, "write_at", write),
                mock.patch.object(external_sort, "WRITE", 50),
                pytest.raises(Killed),
            ):
                segment.merge(None)
            segment.merge(workers(3, done=done))
            assert sorted(done) == list(range(1, 13))
        else:
            segment.merge(None)
        segment.check()


def test_notes_that_are_worth_nothing(tmp_path):
    """Damaged ones, those of another plan, and those of a suffix array that is gone."""

    def damaged(segment, notes):
        note = notes / "000002.json"
        note.write_bytes(note.read_bytes().replace(b'"end": ', b'"end": 1'))
        (notes / "000003.json").write_bytes(b"")
        return [2, 3]

    def of_another_plan(segment, notes):
        other = Segment(tmp_path / "other", DOCUMENTS, 37)
        with pytest.raises(Killed):
            other.merge(workers(3, most=11))
        (other.folder / fmt.STRETCHES / "000004.json").rename(notes / "000004.json")
        return [4]

    def another_plan(segment, notes):
        segment.blocks = Segment(tmp_path / "shorter", DOCUMENTS, 30).blocks
        (tmp_path / "shorter/segment-000001" / fmt.RUNS).rename(segment.folder / fmt.RUNS)
        return list(range(1, 12))

    def no_plan(segment, notes):
        (notes / stretches.PLAN).unlink()
        return list(range(1, 12))

    def no_suffix_array(segment, notes):
        (segment.folder / fmt.UNFINISHED).unlink()
        return list(range(1, 12))

    for number, spoil in enumerate(
        [damaged, of_another_plan, another_plan, no_plan, no_suffix_array]
    ):
        segment = Segment(tmp_path / str(number), DOCUMENTS, 37)
        with pytest.raises(Killed):
            segment.merge(workers(3, most=11))
        again = spoil(segment, segment.folder / fmt.STRETCHES)
        done = []
        segment.merge(workers(3, done=done))
        assert sorted(done) == sorted({*again, 12}), spoil.__name__
        segment.check()


def test_stretches_that_leave_a_gap(tmp_path):
    """Of files that are not the same on all machines, say: never a suffix array with zeros."""
    segment = Segment(tmp_path, DOCUMENTS, 37)

    def run(jobs, tell):
        for job in jobs:
            first, end = merge_stretch(job, lambda tokens: None)
            yield job.number, (first, end - (job.number == 5))

    with pytest.raises(DamagedIndexError, match="run the same command again to merge all"):
        segment.merge(Workers(3, 0, run))
    assert not (segment.folder / fmt.SUFFIX_ARRAY).exists()
    segment.merge(workers(3))
    segment.check()


def test_who_comes_late(tmp_path):
    """A task of a run that was killed, after another has begun anew: it writes nothing."""
    segment = Segment(tmp_path, DOCUMENTS, 37)
    with pytest.raises(Killed):
        segment.merge(workers(3, most=2))
    late = Stretch(7, segment.folder, "of another run", 0)
    before = (segment.folder / fmt.UNFINISHED).read_bytes()
    with pytest.raises(BuildError, match="begun anew meanwhile"):
        merge_stretch(late, lambda tokens: None)
    assert (segment.folder / fmt.UNFINISHED).read_bytes() == before
    segment.merge(workers(3))
    with pytest.raises(FileNotFoundError):
        merge_stretch(late, lambda tokens: None)
    assert not (segment.folder / fmt.UNFINISHED).exists()
    segment.check()


def test_stretches_of_about_the_same_length(tmp_path):
    """Of blocks of different lengths, too."""
    rng = random.Random(5)
    documents = [[rng.randrange(50) for _ in range(length)] for length in (30, 9000, 500, 70)]
    segment = Segment(tmp_path, documents, 9001)
    lengths = []

    def run(jobs, tell):
        for job in jobs:
            first, end = merge_stretch(job, lambda tokens: None)
            lengths.append(end - first)
            yield job.number, (first, end)

    segment.merge(Workers(4, 0, run))
    assert len(lengths) == 16
    assert min(lengths) > 0.8 * 600 and max(lengths) < 1.2 * 600
    segment.check()
