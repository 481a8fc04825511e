"""An index becomes the folder that infini-gram would have, in the order of bytes."""

import errno
import itertools
import json
import os
import random
from unittest import mock

import numpy as np
import pytest

import everygram
from conftest import write_index
from everygram.errors import BuildError, OptionError
from everygram.storage import infini_gram as files
from shards import write_shard

WIDTHS = {"u8": 1, "u16": 2, "u32": 4}
# Little-endian bytes sort these otherwise than numbers.
IDS = {
    "u8": [0, 1, 254],
    "u16": [0, 1, 255, 256, 257, 65534],
    "u32": [0, 1, 255, 256, 257, 65536, 65535, 0x01000000, 0xFFFFFFFE, 0xFEFFFFFF],
}


def exported(path, out, **options):
    # (What a test reads at once need not outlive a power cut.)
    with everygram.open(path) as index, mock.patch.object(os, "fsync"):
        return everygram.export_infini_gram(index, out, **options)


def contents(folder, without=()):
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.name.partition(".")[0] not in without
    }


def expected(folder, documents, dtype):
    """What a sort of all bytes gives; without metadata."""
    write_shard(folder, documents, WIDTHS[dtype], unigrams=True)
    return contents(folder)


OF_METADATA = (files.METADATA, files.METAOFF)


def check(tmp_path, documents, dtype, **options):
    name = f"{len(list(tmp_path.iterdir()))}"
    path = write_index(tmp_path / f"{name} index", documents, dtype)
    exported(path, tmp_path / f"{name} out", **options)
    found = contents(tmp_path / f"{name} out", OF_METADATA)
    assert found == expected(tmp_path / f"{name} naive", documents, dtype)


@pytest.mark.parametrize("dtype", WIDTHS)
def test_any_documents_in_the_order_of_their_bytes(tmp_path, dtype):
    rng = random.Random(dtype)
    for _ in range(120):
        ids = rng.sample(IDS[dtype], k=rng.randint(1, min(4, len(IDS[dtype]))))
        longest = rng.choice([1, 2, 4, 12])
        documents = [
            rng.choices(ids, k=rng.randrange(longest + 1)) for _ in range(rng.randint(1, 12))
        ]
        documents += rng.choices(documents, k=rng.choice([0, 0, 3, 8]))
        check(tmp_path, documents, dtype)


def test_all_short_corpora_of_two_tokens(tmp_path):
    """Of up to 3 documents of up to 2 tokens: 256 sorts before 1, as bytes."""
    words = [list(word) for k in range(3) for word in itertools.product((1, 256), repeat=k)]
    for number in (1, 2, 3):
        for documents in itertools.product(words, repeat=number):
            if number < 3 or documents[0] <= documents[2]:
                check(tmp_path, documents, "u16")


@pytest.mark.parametrize(
    "documents",
    [
        [[7, 7, 7]] * 400,
        [[]] * 400,
        [[], [7]] * 200,
        [[7]] * 399 + [[]],
        [[]] * 399 + [[7]],
        [[7] * 200, [7] * 199, [7] * 200],
        [[7, 8] * k for k in range(25)],
        [[1, 256, 7] * 60] * 5,
    ],
)
def test_repeats(tmp_path, documents):
    check(tmp_path, documents, "u16")


def test_ten_thousand_equal_documents(tmp_path):
    """Which of two suffixes comes first is decided where the file ends."""
    path = write_index(tmp_path / "index", [[5, 1, 256]] * 10_000, "u16")
    exported(path, tmp_path / "out")
    table = np.fromfile(tmp_path / "out" / "table.0", np.uint8).reshape(-1, 3)
    positions = table.astype(np.int64) @ [1, 256, 65536] // 2
    # The end comes first, and then what comes before what comes first.
    latest = np.arange(9_999, -1, -1) * 4
    assert np.array_equal(positions, np.concatenate([latest + at for at in (3, 2, 1, 0)]))


def in_blocks(monkeypatch):
    monkeypatch.setattr("everygram.building.external_sort.MIN_BLOCK", 20)
    monkeypatch.setattr("everygram.building.external_sort.MAX_BLOCK", 40)


@pytest.mark.parametrize("dtype", WIDTHS)
def test_in_blocks_it_is_the_same(tmp_path, monkeypatch, dtype):
    rng = random.Random(dtype)
    in_blocks(monkeypatch)
    for _ in range(8):
        documents = [rng.choices(IDS[dtype], k=rng.randrange(9)) for _ in range(25)]
        check(tmp_path, documents + documents[:9], dtype, memory=1, threads=2)
    check(tmp_path, [[1, 0] * 300, [1]], dtype, memory=1, threads=2)


def test_ids_that_no_table_has_room_for(tmp_path, monkeypatch):
    monkeypatch.setattr("everygram.building.byte_order.TABLE", 256)
    check(tmp_path, [[255, 256], [1, 511, 65534], [], [256]], "u16")
    check(tmp_path, [[255, 1]], "u16")


def test_symbols_that_need_more_bytes(tmp_path):
    """With 254 ids, and the end, there is no free one of 8 bits to separate documents."""
    for number in (253, 254, 255):
        check(tmp_path, [[*range(number)], [0, 3], []], "u8")


def test_wide_positions_while_sorting(tmp_path, monkeypatch):
    path = write_index(tmp_path / "index", [[1, 256], [256], [1, 256]], "u16")
    with everygram.open(path) as index:
        monkeypatch.setattr("everygram.storage.format.WIDE_POSITIONS_FROM", 6)
        everygram.export_infini_gram(index, tmp_path / "out")
    found = contents(tmp_path / "out", OF_METADATA)
    assert found == expected(tmp_path / "naive", [[1, 256], [256], [1, 256]], "u16")


def metadata_of(folder):
    lines = (folder / "metadata.0").read_bytes().splitlines(keepends=True)
    places = np.fromfile(folder / "metaoff.0", "<u8").tolist()
    assert places == [sum(map(len, lines[:i])) for i in range(len(lines))]
    return [json.loads(line) for line in lines]


def test_deleted_documents_are_left_out(tmp_path):
    documents = [[1], [2, 256], [], [1, 2], [2, 256], [3]]
    metadata = [{"n": n} for n in range(6)]
    path = write_index(
        tmp_path / "index", documents, "u16", 3, deleted=[[1], [3, 5]], metadata=metadata
    )
    report = exported(path, tmp_path / "out")
    left = [documents[n] for n in (0, 2, 4)]
    assert contents(tmp_path / "out", OF_METADATA) == expected(tmp_path / "naive", left, "u16")
    assert metadata_of(tmp_path / "out") == [
        {"path": "", "linenum": n, "metadata": {"n": n}} for n in (0, 2, 4)
    ]
    assert (report.num_documents, report.num_tokens) == (3, 3)
    assert (report.token_dtype, report.vocab_size) == ("u16", 65535)
    assert report.index_bytes == sum(map(len, contents(tmp_path / "out").values()))


def test_metadata_is_infini_grams_own_or_becomes_it(tmp_path):
    own = {"path": "a.jsonl", "linenum": 7, "metadata": {"é": 1.5}}
    more = own | {"n": 1}
    metadata = [own, more, {"path": "train.bin"}, {"path": 3}, {}]
    path = write_index(tmp_path / "index", [[1]] * 5, "u8", metadata=metadata)
    exported(path, tmp_path / "out")
    assert metadata_of(tmp_path / "out") == [
        own,
        {"path": "a.jsonl", "linenum": 1, "metadata": more},
        {"path": "train.bin", "linenum": 2, "metadata": {"path": "train.bin"}},
        {"path": "", "linenum": 3, "metadata": {"path": 3}},
        {"path": "", "linenum": 4, "metadata": {}},
    ]


@pytest.mark.parametrize("dtype", WIDTHS)
def test_there_and_back(tmp_path, dtype):
    rng = random.Random(dtype)
    documents = [rng.choices(IDS[dtype], k=rng.randrange(6)) for _ in range(40)]
    metadata = [{"n": n, "é": "ü\n"} for n in range(40)]
    write_shard(tmp_path / "v4", documents, WIDTHS[dtype], ".0", metadata, unigrams=True)
    everygram.convert(tmp_path / "v4", tmp_path / "index")
    exported(tmp_path / "index", tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "v4")
    # So it does as it is, opened where it lies.
    exported(tmp_path / "v4", tmp_path / "again")
    assert contents(tmp_path / "again") == contents(tmp_path / "v4")


def test_several_shards_become_one(tmp_path):
    documents = [[1, 256], [], [256, 1], [1, 256], [3]]
    for shard, cut in enumerate((slice(0, 2), slice(2, 5))):
        write_shard(tmp_path / "v4", documents[cut], 2, f".{shard}")
    everygram.convert(tmp_path / "v4", tmp_path / "index")
    for number, path in enumerate((tmp_path / "v4", tmp_path / "index")):
        exported(path, tmp_path / f"{number}")
        found = contents(tmp_path / f"{number}", OF_METADATA)
        assert found == expected(tmp_path / "naive", documents, "u16")


def test_a_union_is_one_folder(tmp_path):
    first = write_index(tmp_path / "first", [[1, 256], [3]], "u16")
    other = write_index(tmp_path / "other", [[256], [], [1, 256]], "u16")
    exported([first, other], tmp_path / "out")
    documents = [[1, 256], [3], [256], [], [1, 256]]
    assert contents(tmp_path / "out", OF_METADATA) == expected(tmp_path / "n", documents, "u16")
    without = write_index(tmp_path / "without", [[3]], "u16")
    with everygram.open([first, other], minus=without) as union:
        everygram.export_infini_gram(union, tmp_path / "less")
    del documents[1]
    assert contents(tmp_path / "less", OF_METADATA) == expected(tmp_path / "m", documents, "u16")


def test_what_cannot_be_exported(tmp_path, monkeypatch):
    path = write_index(tmp_path / "index", [[1], [2]], "u16")
    empty = write_index(tmp_path / "empty", [[1]], "u16", deleted=[[0]])
    with pytest.raises(OptionError, match="has no documents: infini-gram opens no index without"):
        exported(empty, tmp_path / "out")
    with pytest.raises(OptionError, match="index: expected an open index, found"):
        everygram.export_infini_gram(path, tmp_path / "out")
    with pytest.raises(OptionError, match=r"out: expected a new folder, found '.*empty'"):
        exported(path, empty)
    with pytest.raises(BuildError, match=r"cannot write .*no.out"):
        exported(path, tmp_path / "no" / "out")
    with monkeypatch.context() as patched:
        patched.setattr("everygram.building.byte_order.MOST_DOCUMENTS", 1)
        with pytest.raises(OptionError, match="at most 1 documents to sort, found 2; export parts"):
            exported(path, tmp_path / "out")
    (tmp_path / "out.unfinished").mkdir()
    with pytest.raises(BuildError, match=r"out.unfinished' is there: an export .* was killed"):
        exported(path, tmp_path / "out")
    (tmp_path / "out.unfinished").rmdir()
    assert {each.name for each in tmp_path.iterdir()} == {"index", "empty"}


def test_a_full_disk(tmp_path, monkeypatch):
    path = write_index(tmp_path / "index", [[1], [2]], "u16")

    def full(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("everygram.building.export.flush", full)
    with pytest.raises(BuildError, match=r"no space left at '.*out'"):
        exported(path, tmp_path / "out")
    assert [each.name for each in tmp_path.iterdir()] == ["index"]


def test_a_file_that_is_there_is_not_removed(run, tmp_path):
    path = write_index(tmp_path / "index", [[1], [2]], "u16")
    (tmp_path / "link").symlink_to("nowhere")
    for arguments in ((), ("--format", "infini-gram")):
        code, _, _ = run("export", path, *arguments, "--out", tmp_path / "link")
        assert code != 0
        assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("stage", ["read", "sort", "merge", "write"])
def test_what_is_interrupted_leaves_nothing(tmp_path, monkeypatch, stage):
    in_blocks(monkeypatch)
    path = write_index(tmp_path / "index", [[1, 2, 3]] * 30, "u16")
    stages = []

    def interrupt(progress):
        stages.append(progress.stage)
        if progress.stage == stage:
            # It is not there before it is complete.
            assert not (tmp_path / "out").exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        exported(path, tmp_path / "out", memory=1, threads=2, progress=interrupt)
    assert stages[-1] == stage
    assert [each.name for each in tmp_path.iterdir()] == ["index"]
    check(tmp_path, [[1, 2, 3]] * 30, "u16", memory=1, threads=2)


def test_the_command(run, tmp_path):
    path = write_index(tmp_path / "index", [[1, 256], [], [256]], "u16")
    exported(path, tmp_path / "out")
    to = ("export", path, "--format", "infini-gram", "--out")
    code, out, err = run(*to, tmp_path / "other")
    assert code == 0, err
    assert out.startswith("3 documents written, 3 tokens; ")
    assert "vocab_size=65535, token_dtype='u16')" in out
    assert contents(tmp_path / "other") == contents(tmp_path / "out")
    code, out, _ = run(*to, tmp_path / "json", "--memory", "1GiB", "--threads", "1", "--json")
    assert (code, json.loads(out)["num_documents"]) == (0, 3)
    for arguments, said in (
        ((*to, tmp_path / "out"), "--out: expected a new"),
        (to[:-1], "--format infini-gram: expected --out with a folder, found no --out"),
        ((*to, tmp_path / "new", "--text-field", "t"), "found --text-field"),
        (("export", path, "--json"), "go with --format infini-gram"),
        (("export", path, "--format", "v5"), "'v5' is not one of"),
    ):
        code, _, err = run(*arguments)
        assert (code, said in err) == (2, True), err
    assert json.loads(run("export", path)[1].splitlines()[0]) == {"ids": [1, 256]}
