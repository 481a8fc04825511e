"""Segments of both kinds: built, converted, merged and checked, they answer alike."""

import itertools
import json
import random
import shutil
import tempfile

import pytest

import everygram
from conftest import write_index, write_jsonl
from everygram.building import external_sort
from everygram.errors import BuildError, DamagedIndexError, FormatError, OptionError
from everygram.storage import directory, prepared, psi_writer, self_index
from everygram.storage import format as fmt
from everygram.storage.verify import verify
from naive import NaiveIndex
from shards import write_shard

SMALL = {"memory": 1, "threads": 2}
PACKED = fmt.FILES_OF_KIND[fmt.SELF_INDEX_KIND]
WIDTHS = {"u8": 1, "u16": 2, "u32": 4}
# Ids of which every byte matters, and one that is above 2²⁴.
IDS = {"u8": [1, 2, 97, 254], "u16": [1, 256, 65534], "u32": [1, 1 << 24, 2**32 - 2]}


def some_documents(dtype, number=30, seed=0):
    """Empty ones, copies, long repeats, and others."""
    rng = random.Random(f"{dtype} {seed}")
    some = [rng.choices(IDS[dtype], k=rng.choice([0, 1, 4, 9])) for _ in range(number)]
    return [*some, *some[: number // 4], IDS[dtype][:2] * 40]


def files_of(path):
    """The content of every file of every segment, by folder and name."""
    return {
        str(each.relative_to(path)): each.read_bytes()
        for each in path.glob("segment-*/*")
        if each.is_file()
    }


def kinds_of(path):
    """The kind of each segment, the index's, and their samples."""
    manifest = directory.read_manifest(path)
    each = [(segment.kind, segment.sample_every) for segment in manifest.segments]
    return each, (manifest.kind, manifest.sample_every)


def problems_of(path):
    return verify(path, lambda done, total: None)


def check(path, documents, separator, dtype="u8"):
    """The index is sound and answers as brute force does; documents: ids by number."""
    assert problems_of(path) == []
    names = {each.name.partition("-")[0] for each in path.iterdir()}
    assert names <= {"segment", fmt.MANIFEST, fmt.TOKENIZER, fmt.LOCK}
    numbers = sorted(documents)
    naive = NaiveIndex([documents[number] for number in numbers], separator)
    ids = [*sorted({i for each in documents.values() for i in each})[:3], separator]
    queries = [
        list(query) for length in range(4) for query in itertools.product(ids, repeat=length)
    ]
    with everygram.open(path) as index:
        assert index.count_batch(queries).counts.tolist() == [naive.count(q) for q in queries]
        found = index.document_count_batch(queries)
        assert found.document_counts.tolist() == [naive.document_count(q) for q in queries]
        for query in queries[::5]:
            after = index.ntd(query)
            pairs = dict(zip(after.next_ids.tolist(), after.counts.tolist(), strict=True))
            assert pairs == dict(naive.following(query))
            places = sorted(
                (numbers.index(int(each.document)), int(each.offset))
                for each in index.find(query, limit=None)
            )
            assert places == sorted(naive.occurrences(query))
        for number in numbers:
            assert index.document(number).token_ids.tolist() == documents[number]


@pytest.mark.parametrize("dtype", IDS)
@pytest.mark.parametrize("wide", [False, True])
def test_a_build_gives_the_same_bytes_whatever_the_budget(tmp_path, monkeypatch, dtype, wide):
    if wide:
        monkeypatch.setattr(fmt, "WIDE_POSITIONS_FROM", 100)
    documents = some_documents(dtype)
    write_shard(shard := tmp_path / "v4", documents, WIDTHS[dtype], ".0")
    report = everygram.convert(shard, out=tmp_path / "whole", kind="self-index", sample_every=5)
    assert {*report.seconds} == {"read", "sort", "count", "compress", "write"}
    assert kinds_of(tmp_path / "whole") == ([("self-index", 5)], ("self-index", 5))
    (entry,) = directory.read_manifest(tmp_path / "whole").segments
    assert {*entry.files} == {*PACKED, *fmt.COMMON_FILES, fmt.DOCUMENT_COUNTS, fmt.CHECKSUMS}
    assert entry.position_bytes == (5 if wide else 4)
    assert report.index_bytes == sum(len(data) for data in files_of(tmp_path / "whole").values())
    check(tmp_path / "whole", dict(enumerate(documents)), fmt.separator_of(dtype))
    monkeypatch.setattr(external_sort, "MIN_BLOCK", 30)
    monkeypatch.setattr(self_index, "PIECE", 64)
    monkeypatch.setattr(psi_writer, "PIECE", 64)
    monkeypatch.setattr(psi_writer, "BLOCKS", 1)
    for threads in (1, 3):
        path = tmp_path / str(threads)
        seen = []
        everygram.convert(
            shard,
            out=path,
            memory=1,
            threads=threads,
            kind="self-index",
            sample_every=5,
            progress=lambda now, seen=seen: seen.append((now.stage, now.done, now.total)),
        )
        assert files_of(path) == files_of(tmp_path / "whole")
        done, total = zip(*((at, of) for stage, at, of in seen if stage == "compress"), strict=True)
        assert [*done] == sorted(done) and done[-1] == total[-1] > 0


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("dtype", IDS)
def test_converted_and_back_it_is_the_same_to_the_byte(tmp_path, dtype, counts):
    documents = some_documents(dtype)
    number = len(documents)
    deleted = [0, 3, number - 1]
    source = write_index(
        tmp_path / "source",
        documents,
        dtype,
        segments=2,
        deleted=[deleted],
        metadata=[{"n": n} for n in range(number)],
        counts=counts,
    )
    report = everygram.convert(source, tmp_path / "packed", kind="self-index", sample_every=3)
    assert report.num_documents == number - 3
    assert (report.num_tokens, report.index_bytes) == (
        sum(map(len, documents)) - sum(len(documents[n]) for n in deleted),
        sum(len(data) for data in files_of(tmp_path / "packed").values()),
    )
    packed, plain = ("self-index", 3), ("suffix-array", 0)
    assert kinds_of(tmp_path / "packed") == ([packed, packed, plain], packed)
    live = {n: ids for n, ids in enumerate(documents) if n not in deleted}
    check(tmp_path / "packed", live, fmt.separator_of(dtype))
    with everygram.open(tmp_path / "packed") as index:
        assert [index.document(n).metadata for n in live] == [{"n": n} for n in live]
        assert index.info()["document_counts"] is counts
    everygram.convert(tmp_path / "packed", tmp_path / "back", kind="suffix-array")
    assert files_of(tmp_path / "back") == files_of(source)
    assert kinds_of(tmp_path / "back") == ([plain] * 3, plain)
    before, after = map(directory.read_manifest, (source, tmp_path / "back"))
    assert before.segments == after.segments
    assert (before.next_document, before.next_segment) == (after.next_document, after.next_segment)
    # With other samples it is made anew, with the same ones it is linked.
    everygram.convert(tmp_path / "packed", tmp_path / "other", kind="self-index", sample_every=64)
    check(tmp_path / "other", live, fmt.separator_of(dtype))
    everygram.convert(tmp_path / "other", tmp_path / "again", kind="self-index", sample_every=3)
    assert files_of(tmp_path / "again") == files_of(tmp_path / "packed")
    everygram.convert(tmp_path / "packed", tmp_path / "linked", kind="self-index", sample_every=3)
    for name in files_of(tmp_path / "packed"):
        assert (tmp_path / "packed" / name).samefile(tmp_path / "linked" / name)


def test_a_converted_index_is_what_a_build_of_that_kind_makes(tmp_path):
    texts = ["to be or not to be", "", "that is the question", "to be " * 30]
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": text, "n": 1} for text in texts])
    for kind in fmt.KINDS:
        everygram.build(corpus, tmp_path / kind, "train:300", kind=kind)
    for one, other in (fmt.KINDS, fmt.KINDS[::-1]):
        made = tmp_path / f"of {one}"
        everygram.convert(tmp_path / one, made, kind=other, **SMALL)
        assert files_of(made) == files_of(tmp_path / other)
        with everygram.open(made) as index, everygram.open(tmp_path / other) as built:
            assert index.info()["tokenizer_sha256"] == built.info()["tokenizer_sha256"] is not None
            assert index.count("to be") == built.count("to be") > 0
        # What an addition knows of its files is kept.
        assert everygram.add(made, corpus).again == (str(corpus),)


@pytest.mark.parametrize("every", [1, 2, 127, 1000, fmt.MOST_SAMPLE_EVERY])
def test_samples_of_every_position_or_of_the_first_alone(tmp_path, every):
    documents = [[97, 98] * 60, [], [98] * 9, [97]]
    texts = [{"text": bytes(ids).decode()} for ids in documents]
    everygram.build(texts, tmp_path / "index", kind="self-index", sample_every=every)
    check(tmp_path / "index", dict(enumerate(documents)), 255)
    with everygram.open(tmp_path / "index") as index:
        assert index.count_text("ab", whole_words=True) == 0
        assert index.count_text("b", whole_words=False) == 69
        assert index.count_text("a", whole_words=True) == 1
        assert [hit.document for hit in index.search('text:"ba" OR a').hits] == [0, 3]


def test_document_numbers_that_are_not_consecutive_stay(tmp_path):
    everygram.build([{"text": text} for text in "abcdefgh"], tmp_path / "a")
    everygram.delete(tmp_path / "a", documents=[1, 2, 6])
    everygram.compact(tmp_path / "a", full=True, kind="self-index")
    live = {n: [97 + n] for n in (0, 3, 4, 5, 7)}
    check(tmp_path / "a", live, 255)
    everygram.convert(tmp_path / "a", tmp_path / "b", kind="suffix-array")
    check(tmp_path / "b", live, 255)
    assert (tmp_path / "b" / "segment-000003" / fmt.DOCUMENT_NUMBERS).exists()
    everygram.convert(tmp_path / "b", tmp_path / "c", kind="self-index")
    assert files_of(tmp_path / "c") == files_of(tmp_path / "a")


def test_folders_of_infini_gram_become_a_self_index(tmp_path):
    documents = some_documents("u16")
    write_shard(tmp_path / "v4", documents, 2, ".0")
    everygram.convert(tmp_path / "v4", tmp_path / "index", kind="self-index", sample_every=7)
    assert kinds_of(tmp_path / "index") == ([("self-index", 7)], ("self-index", 7))
    check(tmp_path / "index", dict(enumerate(documents)), 65535)
    everygram.convert(tmp_path / "v4", tmp_path / "plain")
    everygram.convert(tmp_path / "plain", tmp_path / "of it", kind="self-index", sample_every=7)
    assert files_of(tmp_path / "of it") == files_of(tmp_path / "index")


def test_a_life(tmp_path):
    """What is added and deleted has suffix arrays; what is merged has the index's kind."""
    path, documents = tmp_path / "index", {}

    def add(*texts):
        start = max(documents, default=-1) + 1
        documents.update({start + n: [*text.encode()] for n, text in enumerate(texts)})
        return [{"text": text} for text in texts]

    packed, plain = ("self-index", 4), ("suffix-array", 0)
    texts = ["ab" * 20, "abc", "", "cab", "b" * 30]
    everygram.build(add(*texts), path, kind="self-index", sample_every=4)
    everygram.add(path, add("abcab", "bca"))
    everygram.delete(path, documents=[1, 5])
    del documents[1], documents[5]
    assert kinds_of(path) == ([packed, plain, plain], packed)
    check(path, documents, 255)
    everygram.compact(path, full=True)
    assert kinds_of(path) == ([packed], packed)
    check(path, documents, 255)
    assert everygram.compact(path, full=True).seconds == {}
    # Without `full` what is small beside others stays as it is.
    everygram.add(path, add("a"))
    assert everygram.compact(path).seconds == {}
    assert kinds_of(path) == ([packed, plain], packed)
    everygram.compact(path, kind="self-index")  # the index's own, but not that of what was added
    assert kinds_of(path) == ([packed, packed], packed)
    assert everygram.compact(path, kind="self-index").seconds == {}
    check(path, documents, 255)
    everygram.compact(path, sample_every=2)
    packed = "self-index", 2
    assert kinds_of(path) == ([packed], packed)
    check(path, documents, 255)
    everygram.add(path, add("ba"))
    everygram.compact(path, kind="suffix-array")
    assert kinds_of(path) == ([plain], plain)
    check(path, documents, 255)
    everygram.add(path, add("c"))
    # Only what has another kind, and what comes after it, is made anew.
    report = everygram.compact(path, kind="self-index", sample_every=9)
    assert (report.segments_before, report.segments_after) == (2, 1)
    assert kinds_of(path) == ([("self-index", 9)], ("self-index", 9))
    check(path, documents, 255)
    assert everygram.compact(path, kind="self-index", sample_every=9).seconds == {}


def test_the_kind_of_an_index_without_segments(tmp_path):
    everygram.build(write_jsonl(tmp_path / "c.jsonl", []), tmp_path / "index", kind="self-index")
    assert kinds_of(tmp_path / "index") == ([], ("self-index", fmt.SAMPLE_EVERY))
    everygram.convert(tmp_path / "index", tmp_path / "plain", kind="suffix-array")
    assert kinds_of(tmp_path / "plain") == ([], ("suffix-array", 0))
    report = everygram.compact(tmp_path / "plain", kind="self-index")
    assert [*report.seconds] == ["publish"]
    assert kinds_of(tmp_path / "plain") == ([], ("self-index", fmt.SAMPLE_EVERY))
    everygram.add(tmp_path / "plain", [{"text": "ab"}])
    check(tmp_path / "plain", {0: [97, 98]}, 255)


def test_a_merge_of_self_indexes_gives_the_same_bytes_whatever_the_budget(tmp_path, monkeypatch):
    documents = some_documents("u8")
    source = write_index(tmp_path / "s", documents, "u8", segments=3, deleted=[[1, 20]])
    everygram.convert(source, tmp_path / "packed", kind="self-index", sample_every=6)
    shutil.copytree(tmp_path / "packed", tmp_path / "other")
    everygram.compact(tmp_path / "packed", full=True)
    monkeypatch.setattr(external_sort, "MAX_BLOCK", 40)
    everygram.compact(tmp_path / "other", full=True, **SMALL)
    everygram.compact(source, full=True, kind="self-index", sample_every=6)
    assert files_of(tmp_path / "other") == files_of(tmp_path / "packed") == files_of(source)
    live = {n: ids for n, ids in enumerate(documents) if n not in (1, 20)}
    check(source, live, 255)


@pytest.mark.parametrize("stage", ["sort", "merge", "count", "compress", "write", "publish"])
def test_a_build_that_is_interrupted_goes_on(tmp_path, monkeypatch, stage):
    monkeypatch.setattr(external_sort, "MIN_BLOCK", 30)
    texts = ["ab" * 50, "abc", "", "cab" * 20]
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": text} for text in texts])
    asked = {"kind": "self-index", "sample_every": 4, **SMALL}
    everygram.build(corpus, tmp_path / "whole", **asked)
    path, seen = tmp_path / "index", []

    def killed(now):
        if now.stage == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        everygram.build(corpus, path, **asked, progress=killed)
    for other in ({}, {"kind": "suffix-array"}, {"kind": "self-index"}):
        with pytest.raises(BuildError, match="interrupted build with other arguments"):
            everygram.build(corpus, path, **SMALL, **other)
    everygram.build(corpus, path, **asked, progress=lambda now: seen.append(now.stage))
    stages = ["sort", "merge", "count", "compress", "write", "publish"]
    first = {"merge": "sort", "publish": "write"}.get(stage, stage)
    assert [*dict.fromkeys(seen)] == stages[stages.index(first) :]
    assert files_of(path) == files_of(tmp_path / "whole")
    check(path, {n: [*text.encode()] for n, text in enumerate(texts)}, 255)


@pytest.mark.parametrize("way", [("suffix-array", "self-index"), ("self-index", "suffix-array")])
@pytest.mark.parametrize("stage", ["compress", "plain", "write", "publish"])
@pytest.mark.parametrize("number", [1, 2])
def test_a_conversion_that_is_interrupted_goes_on(tmp_path, way, stage, number):
    one, other = way
    if stage == ("plain" if other == "self-index" else "compress"):
        return
    source = write_index(tmp_path / "s", some_documents("u8"), "u8", segments=3)
    if one == "self-index":
        everygram.convert(source, tmp_path / "source", kind=one)
        source = tmp_path / "source"
    everygram.convert(source, tmp_path / "whole", kind=other)
    path, reached, before, seen = tmp_path / "index", 0, "", []

    def killed(now):
        nonlocal reached, before
        reached += now.stage == stage and before != stage
        before = now.stage
        if reached == number or (reached and stage == "publish"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        everygram.convert(source, path, kind=other, progress=killed)
    finished = 3 if stage == "publish" else number - 1
    if finished:
        with pytest.raises(BuildError, match=r"other arguments.*sample_every"):
            everygram.convert(source, path, kind="self-index", sample_every=77)
        with pytest.raises(FormatError, match="its build did not finish"):
            everygram.open(path)
    else:
        assert not path.exists()
    everygram.convert(source, path, kind=other, progress=lambda now: seen.append(now.stage))
    checks = len([1 for stage, _ in itertools.groupby(seen) if stage == "check"])
    assert checks == 3 - finished
    assert files_of(path) == files_of(tmp_path / "whole")
    assert problems_of(path) == []
    names = {each.name for each in path.iterdir()}
    assert names == {fmt.MANIFEST, fmt.LOCK, *(fmt.segment_name(n) for n in (1, 2, 3))}


def test_a_conversion_of_an_index_that_changes_meanwhile_says_so(tmp_path):
    documents = some_documents("u8")
    source = write_index(tmp_path / "s", documents, "u8", segments=2)

    def compacted(now):
        if now.stage == "compress" and len(directory.read_manifest(source).segments) == 2:
            everygram.compact(source, full=True)

    with pytest.raises(BuildError, match=r"'.*/s' was changed while it was converted .*--restart"):
        everygram.convert(source, tmp_path / "index", kind="self-index", progress=compacted)
    everygram.convert(source, tmp_path / "index", kind="self-index", restart=True)
    check(tmp_path / "index", dict(enumerate(documents)), 255)


def test_a_conversion_of_an_index_that_has_changed_is_refused(tmp_path):
    source = write_index(tmp_path / "s", some_documents("u8"), "u8", segments=2)

    def killed(now):
        if now.stage == "publish":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        everygram.convert(source, tmp_path / "index", kind="self-index", progress=killed)
    everygram.delete(source, documents=[0])
    with pytest.raises(BuildError, match=r"with other inputs \(changed: '.*/s'\).*--restart"):
        everygram.convert(source, tmp_path / "index", kind="self-index")
    everygram.convert(source, tmp_path / "index", kind="self-index", restart=True)
    assert len(directory.read_manifest(tmp_path / "index").segments) == 3
    assert problems_of(tmp_path / "index") == []


@pytest.mark.parametrize("kind", fmt.KINDS)
def test_a_damaged_index_is_not_converted(tmp_path, monkeypatch, kind):
    source = write_index(tmp_path / "s", some_documents("u8"), "u8")
    if kind == "self-index":
        everygram.convert(source, tmp_path / "source", kind=kind)
        source = tmp_path / "source"
    other = next(each for each in fmt.KINDS if each != kind)
    for file in sorted((source / "segment-000001").iterdir()):
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 16
        whole = file.read_bytes()
        file.write_bytes(data)
        for asked in fmt.KINDS:
            with pytest.raises(DamagedIndexError, match=f"{file.name}: content does not match"):
                everygram.convert(source, tmp_path / "new", kind=asked)
            assert not (tmp_path / "new").exists()
        with pytest.raises(DamagedIndexError, match=f"{file.name}: content does not match"):
            everygram.compact(source, kind=other)
        file.write_bytes(whole)
    assert problems_of(source) == []


def test_no_space_for_a_conversion(tmp_path, monkeypatch):
    source = write_index(tmp_path / "s", some_documents("u8"), "u8")
    everygram.convert(source, tmp_path / "packed", kind="self-index")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 9, 0))
    with pytest.raises(BuildError, match=r"compressing needs 0\.0 MB, 0\.0 MB are free"):
        everygram.convert(source, tmp_path / "new", kind="self-index")
    with pytest.raises(BuildError, match="reading a self-index needs"):
        everygram.convert(tmp_path / "packed", tmp_path / "new", kind="suffix-array")
    with pytest.raises(BuildError, match="reading a self-index needs"):
        everygram.compact(tmp_path / "packed", kind="suffix-array")
    assert not (tmp_path / "new").exists()


def test_what_is_refused(tmp_path):
    records = [{"text": "ab"}]
    everygram.build(records, tmp_path / "index")
    for call in (
        lambda **asked: everygram.build(records, tmp_path / "new", **asked),
        lambda **asked: everygram.plan(records, tmp_path / "new", **asked),
        lambda **asked: everygram.convert(tmp_path / "index", tmp_path / "new", **asked),
        lambda **asked: everygram.compact(tmp_path / "index", **asked),
    ):
        for asked, said in (
            ({"kind": "psi"}, "kind: expected one of suffix-array, self-index, found 'psi'"),
            ({"kind": 3}, "kind: expected one of suffix-array, self-index, found 3"),
            ({"kind": "suffix-array", "sample_every": 4}, "goes with kind self-index, not with"),
            ({"kind": "self-index", "sample_every": 0}, "an integer from 1 to 65,536, found 0"),
            ({"kind": "self-index", "sample_every": 65537}, "from 1 to 65,536, found 65537"),
            ({"kind": "self-index", "sample_every": "4"}, "expected an integer, found '4'"),
        ):
            with pytest.raises(OptionError, match=said):
                call(**asked)
    with pytest.raises(OptionError, match="goes with kind self-index, not with suffix-array"):
        everygram.compact(tmp_path / "index", sample_every=4)
    everygram.build(records, tmp_path / "other")
    for given, asked, said in (
        (tmp_path / "index", {}, "kind: expected the kind that everygram.s index"),
        ([tmp_path / "index", tmp_path / "other"], {}, "expected it alone, found 2 folders"),
        (tmp_path / "index", {"tokenizer": "bytes"}, "tokenizer: index .* whose own are kept"),
        (tmp_path / "index", {"document_counts": False}, "document_counts: index .* are kept"),
    ):
        with pytest.raises(OptionError, match=said):
            everygram.convert(
                given, tmp_path / "new", **asked, **({"kind": "self-index"} if asked else {})
            )
    with pytest.raises(BuildError, match="already holds an index"):
        everygram.convert(tmp_path / "index", tmp_path / "other", kind="self-index")
    with pytest.raises(BuildError, match="already holds an index"):
        everygram.convert(tmp_path / "index", tmp_path / "index", kind="self-index")


def test_a_plan_says_what_either_kind_takes(tmp_path):
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": "ab" * 5000}] * 20)
    plain = everygram.plan(corpus, tmp_path / "new")
    packed = everygram.plan(corpus, tmp_path / "new", kind="self-index")
    assert plain.bytes_of_kind == packed.bytes_of_kind
    assert plain.index_bytes == plain.bytes_of_kind["suffix-array"]
    assert packed.index_bytes == packed.bytes_of_kind["self-index"] < plain.index_bytes / 2
    # (It is made of what the other has.)
    assert packed.disk_bytes > plain.index_bytes
    fewer = everygram.plan(corpus, tmp_path / "new", kind="self-index", sample_every=4)
    assert fewer.index_bytes > packed.index_bytes
    rng = random.Random(5)
    texts = ["".join(rng.choices("abcdefghijklm ", k=3000)) for _ in range(30)]
    corpus = write_jsonl(tmp_path / "d.jsonl", [{"text": text} for text in texts])
    for kind in fmt.KINDS:
        plan = everygram.plan(corpus, tmp_path / "new", kind=kind)
        report = everygram.build(corpus, tmp_path / kind, kind=kind)
        assert 0.75 < report.index_bytes / plan.index_bytes < 1.25, kind


def rehash(path):
    """Make the manifest agree with the files as they are."""
    import dataclasses
    import hashlib

    manifest = directory.read_manifest(path)
    segments = []
    for entry in manifest.segments:
        contents = {name: (path / entry.name / name).read_bytes() for name in entry.files}
        files = {
            name: fmt.FileEntry(len(data), hashlib.sha256(data).hexdigest())
            for name, data in contents.items()
        }
        segments.append(dataclasses.replace(entry, files=files))
    directory.publish(path, dataclasses.replace(manifest, segments=tuple(segments)), None)


def test_verify_finds_what_is_wrong_even_with_the_right_checksums(tmp_path):
    """Any word of any file: it is said, and nothing crashes."""
    whole = write_index(tmp_path / "s", some_documents("u8"), "u8")
    everygram.convert(whole, tmp_path / "packed", kind="self-index", sample_every=8)
    rng = random.Random(2)
    folder = tmp_path / "packed" / "segment-000001"
    # (Any JSON is metadata.)
    for name in sorted({*PACKED, *fmt.COMMON_FILES, fmt.DOCUMENT_COUNTS} - {fmt.METADATA}):
        data = (folder / name).read_bytes()
        # (Which ids there are is said nowhere else: others in the same order are another corpus's.)
        size = len(data) // 12 * 8 if name == fmt.UNIGRAMS else len(data)
        for _ in range(12):
            damaged = bytearray(data)
            place = rng.randrange(size)
            damaged[place] ^= 1 << rng.randrange(8)
            (folder / name).write_bytes(damaged)
            rehash(tmp_path / "packed")
            assert problems_of(tmp_path / "packed"), (name, place)
        (folder / name).write_bytes(data)
    rehash(tmp_path / "packed")
    assert problems_of(tmp_path / "packed") == []


def test_a_sound_index_is_not_called_damaged_without_room_to_check_it(tmp_path, monkeypatch, run):
    whole = write_index(tmp_path / "s", some_documents("u8"), "u8")
    everygram.convert(whole, tmp_path / "packed", kind="self-index")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(BuildError, match=r"cannot be checked: .*MB of temporary files .*TMPDIR"):
        problems_of(tmp_path / "packed")
    code, out, error = run("verify", tmp_path / "packed")
    assert (code, out) == (1, "") and "TMPDIR" in error
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert problems_of(tmp_path / "packed") == []


def test_document_counts_are_added_to_a_self_index(tmp_path):
    texts = ["ab" * 20, "abc", "", "cab"]
    records = [{"text": text} for text in texts]
    everygram.build(records, tmp_path / "a", kind="self-index", document_counts=False)
    everygram.build(records, tmp_path / "b", kind="self-index")
    upgraded = everygram.upgrade(tmp_path / "a")
    assert (upgraded.segments, upgraded.format_after) == (1, fmt.FORMAT_VERSION)
    made = {name.split("/")[1]: data for name, data in files_of(tmp_path / "a").items()}
    assert made == {name.split("/")[1]: data for name, data in files_of(tmp_path / "b").items()}
    check(tmp_path / "a", {n: [*text.encode()] for n, text in enumerate(texts)}, 255)


def test_a_language_model_of_a_self_index(tmp_path):
    records = [{"text": text} for text in ("the cat sat", "the cat ran", "a cat sat on the mat")]
    for kind in fmt.KINDS:
        everygram.build(records, tmp_path / kind, kind=kind)
        everygram.prepare(tmp_path / kind)
    folders = [tmp_path / kind / fmt.LANGUAGE_MODEL for kind in fmt.KINDS]
    for name in prepared.FILES:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
    answers = []
    for kind in fmt.KINDS:
        assert problems_of(tmp_path / kind) == []
        with everygram.open(tmp_path / kind) as index:
            model = index.language_model(order=3)
            answers.append(model.log_probs("the cat sat on a mat").tolist())
    assert answers[0] == answers[1]


def test_a_union_of_both_kinds(tmp_path):
    texts = [["ab", "abc", "b", "ab"], ["ca", "ab"], ["ab", "b"]]
    for number, some in enumerate(texts):
        for kind in fmt.KINDS:
            everygram.build([{"text": t} for t in some], tmp_path / f"{number} {kind}", kind=kind)
    answers = []
    for one, two, minus in itertools.product(fmt.KINDS, repeat=3):
        paths = [tmp_path / f"0 {one}", tmp_path / f"1 {two}"]
        with everygram.open(paths, minus=tmp_path / f"2 {minus}") as index:
            assert index.count("ab") == 3 and index.num_documents == 4
            found = [[each.document, each.offset] for each in index.find("a", limit=None)]
            documents = [(n, ids.tolist()) for n, ids, _ in index.engine.documents()]
            answers.append((found, documents, index.document_count("b").as_dict()))
    assert len(answers) == 8 and all(answer == answers[0] for answer in answers)


def test_the_command_line(tmp_path, run):
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": "to be or not to be"}] * 3)
    build = ["build", corpus, "--out", tmp_path / "a", "--kind", "self-index", "--sample-every", 8]
    code, out, _ = run(*build, "--dry-run", "--json")
    plan = json.loads(out)
    assert code == 0 and plan["index_bytes"] == plan["bytes_of_kind"]["self-index"]
    assert {*plan["bytes_of_kind"]} == {*fmt.KINDS}
    code, out, err = run(*build)
    assert code == 0 and "compressing" in out and "kinds           suffix-array" in err
    code, out, _ = run("info", tmp_path / "a", "--json")
    info = json.loads(out)
    assert (info["kind"], info["sample_every"]) == ("self-index", 8)
    (segment,) = info["segments"]
    assert segment == {
        "kind": "self-index",
        "sample_every": 8,
        "sign": 1,
        "num_documents": 3,
        "num_tokens": 54,
        "bytes": info["bytes"],
    }
    assert info["bytes_per_token"] == round(info["bytes"] / 54, 4)
    assert run("add", tmp_path / "a", corpus)[0] == 0
    code, out, _ = run("info", tmp_path / "a")
    assert "segments           1 self-index, 1 suffix-array" in out
    code, out, _ = run("convert", tmp_path / "a", "--out", tmp_path / "b", "--kind", "suffix-array")
    assert code == 0 and "documents               6" in out
    assert "segments           2 suffix-array" in run("info", tmp_path / "b")[1]
    assert json.loads(run("count", tmp_path / "b", "to be", "--json")[1])["count"] == 12
    code, out, _ = run("compact", tmp_path / "b", "--kind", "self-index")
    assert code == 0 and out.startswith("2 segments before, 1 now")
    assert "segments           1 self-index" in run("info", tmp_path / "b")[1]
    assert run("verify", tmp_path / "b")[:2] == (0, f"{tmp_path / 'b'}: sound\n")
    code, _, err = run("convert", tmp_path / "b", "--out", tmp_path / "c")
    assert code == 2 and err.startswith("error: --kind: expected the kind")
