"""Token files: each format from bytes laid out here, what its own tool writes, and every flaw."""

import csv
import gzip
import itertools
import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everygram.corpus.tokens import TokenCorpus
from everygram.errors import CorpusError, OptionError

EOT = 50256
DOCUMENTS = [[1, 2, 3], [], [4], [5, 6]]
CODES = {"u1": 1, "i1": 2, "i2": 3, "i4": 4, "i8": 5, "u2": 8, "u4": 9, "u8": 10}


def raw_bytes(ids, dtype="u2"):
    return np.array(ids, f"<{dtype}").tobytes()


def parts(ids, length):
    return [ids[start : start + length] for start in range(0, len(ids), length)]


def write_llmc(path, ids, magic=20240520, version=1, count=None, dtype="u2"):
    header = struct.pack("<3i", magic, version, len(ids) if count is None else count)
    path.write_bytes(header.ljust(1024, b"\0") + raw_bytes(ids, dtype))
    return path


def write_megatron(path, documents, dtype="u2", **changes):
    """A pair of which the documents are lists of sequences; `changes` are to parts of its index."""
    sequences = [sequence for document in documents for sequence in document]
    width = np.dtype(dtype).itemsize
    lengths = [len(sequence) for sequence in sequences]
    pointers = [0, *itertools.accumulate(length * width for length in lengths)][: len(lengths)]
    parts = {
        "magic": b"MMIDIDX\0\0",
        "version": 1,
        "code": CODES[dtype],
        "sequences": len(sequences),
        "numbers": len(documents) + 1,
        "lengths": lengths,
        "pointers": pointers,
        "indices": [0, *itertools.accumulate(map(len, documents))],
        "modes": b"",
    } | changes
    path.with_suffix(".idx").write_bytes(
        parts["magic"]
        + struct.pack("<QBQQ", *(parts[n] for n in ("version", "code", "sequences", "numbers")))
        + raw_bytes(parts["lengths"], "i4")
        + raw_bytes(parts["pointers"], "i8")
        + raw_bytes(parts["indices"], "i8")
        + parts["modes"]
    )
    path.write_bytes(raw_bytes(list(itertools.chain(*sequences)), dtype))
    return path


def write_datatrove(path, documents, dtype="u2", about=None, ends=None):
    path.write_bytes(raw_bytes(list(itertools.chain(*documents)), dtype))
    ends = list(itertools.accumulate(map(len, documents))) if ends is None else ends
    path.with_suffix(".ds.index").write_bytes(raw_bytes(ends, "u8"))
    if about is not None:
        path.with_suffix(".ds.metadata").write_bytes(about)
    return path


def write_dolma(path, documents, dtype="u2", rows=None):
    path.write_bytes(raw_bytes(list(itertools.chain(*documents)), dtype))
    ends = list(itertools.accumulate(map(len, documents)))
    rows = zip([0, *ends], ends, strict=False) if rows is None else rows
    with gzip.open(path.with_suffix(".csv.gz"), "wt", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def read(*paths, **options):
    corpus = TokenCorpus(list(paths), **options)
    documents = [document.ids.tolist() for document in corpus]
    assert corpus.bytes_read == corpus.total_bytes
    return documents


def paths_of(corpus):
    return [Path(file.name) for file in corpus.files]


def read_metadata(*paths, **options):
    return [json.loads(document.metadata) for document in TokenCorpus(list(paths), **options)]


# Raw ids.


@pytest.mark.parametrize("chunk", [1, 2, 3, None])
@pytest.mark.parametrize(
    ("data", "documents"),
    [
        ([], []),
        ([1, 2], [[1, 2]]),
        ([1, 9, 2, 3, 9], [[1], [2, 3]]),
        ([1, 9, 9, 2], [[1], [], [2]]),
        ([9, 1, 9, 2, 3], [[1], [2, 3]]),
        ([9, 1, 9], [[1], []]),
        ([9, 1, 9, 2, 9], [[1], [2], []]),
        ([9], [[]]),
        ([9, 9], [[], []]),
    ],
)
def test_raw_token_ids(tmp_path, data, documents, chunk):
    path = tmp_path / "ids.bin"
    path.write_bytes(raw_bytes(data))
    corpus = TokenCorpus([path], "u16", 9)
    if chunk:
        corpus.CHUNK = chunk
    read = list(corpus)
    assert [document.ids.tolist() for document in read] == documents
    assert {document.metadata for document in read} <= {b'{"path":"ids.bin"}'}
    assert {document.ids.dtype for document in read} <= {np.dtype("<u2")}
    assert corpus.max_id() == max((token for token in data if token != 9), default=-1)
    assert corpus.bytes_read == corpus.total_bytes == 2 * len(data)
    said = "" if 9 in data or not data else " (no separators found)"
    assert corpus.formats == {f"raw u16{said}": 1}
    assert paths_of(corpus) == [path]
    assert corpus.width == "u16"


@pytest.mark.parametrize("chunk", [1, 2, None])
def test_the_place_of_an_id(tmp_path, chunk):
    path = tmp_path / "ids.bin"
    path.write_bytes(raw_bytes([1, 900, 7, 8]))
    corpus = TokenCorpus([path], "u16", 900)
    corpus.CHUNK = chunk or corpus.CHUNK
    assert place_outside(corpus, 8) == f"{path}: token 3 is 8"
    assert place_outside(corpus, 2) == f"{path}: token 2 is 7"
    corpus.check_ids(9, "it")


def place_outside(corpus, vocab_size):
    with pytest.raises(CorpusError, match=r", which is outside it \(0 to ") as caught:
        corpus.check_ids(vocab_size, "it")
    return str(caught.value).partition(", which")[0]


def test_files_with_ids_outside_a_vocabulary_are_left_out(tmp_path):
    for name, ids in (("a.bin", [1, 2]), ("b.bin", [3, 900, 11, 4]), ("c.bin", [5])):
        (tmp_path / name).write_bytes(raw_bytes(ids))
    corpus = TokenCorpus([tmp_path], "u16", 900, on_error="skip")
    corpus.check_ids(10, "the vocabulary given")
    assert [document.ids.tolist() for document in corpus] == [[1, 2], [5]]
    assert (corpus.skipped, corpus.max_id()) == (1, 5)
    assert corpus.skips[0].startswith(f"{tmp_path}/b.bin: token 2 is 11, which is outside the voc")


def test_what_raw_files_need(tmp_path):
    path = tmp_path / "ids.bin"
    path.write_bytes(b"abc")
    for options, says in (
        ({}, "their width or where documents end: .* --pretokenized u16 --separator-id 502"),
        ({"dtype": "u16"}, "do not say where documents end: .* in --separator-id 502"),
        ({"separator_id": 0}, "do not say their width: .* in --pretokenized u16$"),
    ):
        with pytest.raises(OptionError, match=rf"ids.bin: .*{says}"):
            TokenCorpus([path], **options)
    with pytest.raises(CorpusError, match="3 bytes is not a whole number of u16 tokens"):
        TokenCorpus([path], "u16", 0)
    with pytest.raises(CorpusError, match=r"separator id 256 marks no document: .* 0 to 255"):
        TokenCorpus([path], "u8", 256)
    with pytest.raises(OptionError, match="expected u8, u16 or u32, found 'i4'"):
        TokenCorpus([path], "i4", 0)
    for separator_id in (-1, 2**32):
        with pytest.raises(OptionError, match="separator_id: expected 0 to 4294967295"):
            TokenCorpus([path], "u8", separator_id)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.npz", b"PK\3\4", r"a zip archive \(such as NumPy's .npz\)"),
        ("chunk_0.bin", b"LITPKDS\1\0\0\0", "a packed data set of lit-gpt"),
        ("a.bin.gz", gzip.compress(b"ids", mtime=0), "gzip"),
        ("a.bin.zst", b"\x28\xb5\x2f\xfdids", "zstd"),
        ("a.u16.xz", b"\xfd7zXZ\0", "xz"),
    ],
)
def test_files_that_are_no_raw_ids(tmp_path, name, data, says):
    path = tmp_path / name
    path.write_bytes(data)
    if name == "a.npz":
        np.savez(path, np.arange(9, dtype="u2"))
    with pytest.raises(CorpusError, match=rf"{name}: expected raw token ids, found {says}"):
        TokenCorpus([path], "u8", 9)
    # The same bytes as ids: a name or an end that does not agree.
    path = tmp_path / "ids.bin"
    if not data.startswith(b"LIT"):
        path.write_bytes(data[:4] + b"\0\0")
        assert [len(document) for document in read(path, dtype="u8", separator_id=9)] == [6]


def test_a_numpy_file_of_any_name(tmp_path):
    path = tmp_path / "train.bin"
    with path.open("wb") as file:
        np.save(file, np.array([9, 1, 9, 2], "<i8"))
    assert TokenCorpus.is_token_file(path)
    assert read(path, separator_id=9) == [[1], [2]]
    assert read(path, dtype="u16", separator_id=9) == [[1], [2]]


# llm.c.


@pytest.mark.parametrize(
    ("magic", "version", "dtype", "mark"),
    [(20240520, 1, "u2", 50256), (20240801, 7, "u4", 128000)],
)
def test_llmc(tmp_path, magic, version, dtype, mark):
    ids = [mark, 1, 2, mark, mark, 3]
    path = write_llmc(tmp_path / "a.bin", ids, magic, version, dtype=dtype)
    assert path.read_bytes()[:4].hex() == {"u2": "88d83401", "u4": "a1d93401"}[dtype]
    assert read(path) == [[1, 2], [], [3]]
    assert read(path, separator_id=2) == [[mark, 1], [mark, mark, 3]]
    corpus = TokenCorpus([path])
    assert corpus.formats == {"llm.c": 1}
    assert corpus.width == {"u2": "u16", "u4": "u32"}[dtype]
    assert corpus.max_id() == 3
    assert TokenCorpus.is_token_file(path)
    assert read(write_llmc(path, [], magic, version)) == []
    assert read(write_llmc(path, [7, 8], magic, version, dtype=dtype)) == [[7, 8]]


@pytest.mark.parametrize("chunk", [1, 2, None])
@pytest.mark.parametrize("length", [1, 2, 3, 5, 20])
def test_documents_that_straddle_shards(tmp_path, length, chunk):
    """Shards of any length give the documents of the whole."""
    documents = [[1, 2, 3], [], [4], [5, 6, 7, 8, 9], [], []]
    stream = [token for document in documents for token in (EOT, *document)]
    for number, shard in enumerate(parts(stream, length), 1):
        write_llmc(tmp_path / f"fineweb_train_{number:06d}.bin", shard)
    corpus = TokenCorpus([tmp_path])
    corpus.CHUNK = chunk or corpus.CHUNK
    assert [document.ids.tolist() for document in corpus] == documents
    assert corpus.bytes_read == corpus.total_bytes == 2 * len(stream)
    assert read(*reversed(paths_of(corpus))) == documents


def test_which_shards_go_on(tmp_path):
    first, second = [EOT, 1, EOT, 2], [3, EOT, 4]
    for name in ("train_000001.bin", "val_000000.bin"):
        write_llmc(tmp_path / name, first)
    second_train = write_llmc(tmp_path / "train_000002.bin", second)
    fourth = write_llmc(tmp_path / "train_000004.bin", second)
    assert read_metadata(tmp_path) == [
        {"path": f"{name}.bin"}
        for name in (
            *("train_000001", "train_000001", "train_000002", "train_000004", "train_000004"),
            *("val_000000", "val_000000"),
        )
    ]
    assert read(tmp_path) == [[1], [2, 3], [4], [3], [4], [1], [2]]
    # A shard of a document's middle alone, an empty one, another folder, another width.
    write_llmc(second_train, [3])
    write_llmc(tmp_path / "train_000003.bin", [])
    assert read(tmp_path)[:3] == [[1], [2, 3, 3], [4]]
    (tmp_path / "more").mkdir()
    fourth.rename(tmp_path / "more" / fourth.name)
    assert read(tmp_path)[:3] == [[1], [2, 3], [1]]
    assert read(tmp_path)[-2:] == [[3], [4]]
    write_llmc(second_train, [3], 20240801, 7, dtype="u4")
    assert read(tmp_path)[:4] == [[1], [2], [3], [1]]


def test_shards_without_leading_zeros_are_in_order_of_number(tmp_path):
    for number in range(9, 12):
        write_llmc(tmp_path / f"s{number}.bin", [number] if number > 9 else [EOT, number])
    assert read(tmp_path) == [[9, 10, 11]]
    write_llmc(tmp_path / "none.bin", [1])
    write_llmc(tmp_path / "nothing.bin", [2])
    assert read(tmp_path) == [[1], [2], [9, 10, 11]]


def test_a_shard_that_is_left_out_joins_nothing(tmp_path):
    for number in range(3):
        write_llmc(tmp_path / f"s{number}.bin", [EOT, 1] if number == 0 else [2])
    write_llmc(tmp_path / "s1.bin", [2], count=2)
    corpus = TokenCorpus([tmp_path], on_error="skip")
    assert [document.ids.tolist() for document in corpus] == [[1], [2]]
    assert corpus.skipped == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"magic": 20240522}, r"an llm.c evaluation file \(magic number 20240522\)"),
        ({"version": 2}, "expected version 1 with magic number 20240520, found 2"),
        ({"count": 4}, r"4 tokens of 2 bytes: expected 1,032 bytes in all, found 1,030: cut off"),
        ({"count": 2}, r"expected 1,028 bytes in all, found 1,030"),
        ({"count": -1}, r"-1 tokens"),
        ({"dtype": "u1"}, r"expected 1,030 bytes in all, found 1,027: cut off, or of another wid"),
    ],
)
def test_flaws_of_llmc(tmp_path, changes, says):
    path = write_llmc(tmp_path / "a.bin", [1, 2, 3], **changes)
    assert TokenCorpus.is_token_file(path)
    with pytest.raises(CorpusError, match=r"a.bin: .*" + says):
        TokenCorpus([path])


# Megatron-LM.


@pytest.mark.parametrize("dtype", CODES)
def test_megatron(tmp_path, dtype):
    documents = [[[1, 2], [3]], [], [[4]], [[], [5, 100]]]
    path = write_megatron(tmp_path / "x.y_text_document.bin", documents, dtype)
    corpus = TokenCorpus([path])
    width = {"1": "u8", "2": "u16", "4": "u32", "8": "u32"}[dtype[1]]
    assert corpus.width == width
    assert corpus.formats == {"Megatron": 1}
    assert paths_of(corpus) == [path, path.with_suffix(".idx")]
    assert corpus.max_id() == 100
    for named in (path, path.with_suffix(".idx"), path.with_suffix(""), tmp_path):
        assert TokenCorpus.is_token_file(named)
        assert read(named) == [[1, 2, 3], [], [4], [5, 100]]
        assert read(named, separator_id=3) == [[1, 2], [], [4], [5, 100]]
        assert read_metadata(named) == [{"path": path.name}] * 4
    ids = {str(document.ids.dtype) for document in corpus}
    assert ids == {width.replace("u", "uint")}


def test_the_smallest_megatron_pairs(tmp_path):
    assert read(write_megatron(tmp_path / "none.bin", [])) == []
    assert read(write_megatron(tmp_path / "empty.bin", [[], []])) == [[], []]
    assert read(write_megatron(tmp_path / "zero.bin", [[[]]])) == [[]]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"magic": b"TNTIDX\0\0\0"}, r"an index of fairseq's old kind \(TNTIDX,"),
        ({"magic": b"MMIDIDY\0\0"}, r"starts? with b'MMIDIDX.*', found 34 that start with"),
        ({"version": 2}, r"expected version 1 and a dtype code .*, found version 2 and code 8"),
        ({"code": 6}, r"integers \(\[1, 2, 3, 4, 5, 8, 9, 10\]\), .* code 6"),
        ({"code": 7}, "code 7"),
        ({"code": 0}, "code 0"),
        ({"sequences": 4}, "4 sequences and 3 document indices are 106 bytes, found 94"),
        ({"sequences": 2**63}, "9,223,372,036,854,775,808 sequences"),
        ({"numbers": 2}, "found 94"),
        ({"modes": b"\0" * 3}, "found 97"),
        ({"lengths": [2, 1, 3]}, "its sequences are 12 bytes, expected as many in 'x.bin'"),
        ({"lengths": [1, 1, 2]}, "sequence 1: .* at byte 2, found byte 4 and a length of 1"),
        ({"lengths": [2, -1, 2]}, "sequence 1: .* a length of -1"),
        ({"pointers": [2, 4, 6]}, "sequence 0: .* at byte 0, found byte 2"),
        ({"pointers": [0, 6, 4]}, "sequence 1: .* at byte 4, found byte 6"),
        ({"code": 4}, "sequence 1: .* at byte 8, found byte 4"),
        ({"indices": [0, 4, 3]}, "expected them to ascend, found 3 after 4 in place 2"),
        ({"indices": [1, 2, 3]}, "document indices from 0 to 3, .* found 3 from 1 to 3"),
        ({"indices": [0, 2, 2]}, "found 3 from 0 to 2"),
        ({"indices": [0, 2, 4]}, "found 3 from 0 to 4"),
        ({"indices": [-1, 2, 3]}, "found -1 after 0 in place 0"),
        ({"indices": [], "numbers": 0}, "found 0 from 0 to 0"),
    ],
)
def test_flaws_of_megatron(tmp_path, changes, says):
    path = write_megatron(tmp_path / "x.bin", [[[1, 2], [3]], [[4, 5]]], **changes)
    with pytest.raises(CorpusError, match=r"x.idx: .*" + says):
        TokenCorpus([path])
    corpus = TokenCorpus([path], on_error="skip")
    assert list(corpus) == []
    assert corpus.skipped == 1
    assert paths_of(corpus) == [path, path.with_suffix(".idx")]


def test_cut_off_megatron_pairs(tmp_path):
    path = write_megatron(tmp_path / "x.bin", [[[1, 2], [3]], [[4, 5]]])
    index, ids = path.with_suffix(".idx"), path.read_bytes()
    for length in range(len(ids)):
        path.write_bytes(ids[:length])
        with pytest.raises(CorpusError, match="cut off"):
            TokenCorpus([path])
    path.write_bytes(ids)
    data = index.read_bytes()
    for length in range(len(data)):
        index.write_bytes(data[:length])
        with pytest.raises(CorpusError, match="cut off"):
            TokenCorpus([path])
    index.write_bytes(data)
    path.unlink()
    with pytest.raises(CorpusError, match=r"x.idx: expected its ids in 'x.bin' beside it"):
        TokenCorpus([index])
    path.write_bytes(b"")
    write_megatron(path, [])
    path.write_bytes(b"ab")
    with pytest.raises(CorpusError, match=r"its sequences are 0 bytes, .* found 2"):
        TokenCorpus([path])


def test_blocks_of_an_index(tmp_path, monkeypatch):
    monkeypatch.setattr("everygram.corpus.token_file.BLOCK", 2)
    documents = [[[1, 2], [3]], [], [[4]], [[5], [6, 7]], []]
    path = write_megatron(tmp_path / "x.bin", documents)
    assert read(path) == [[1, 2, 3], [], [4], [5, 6, 7], []]
    path = write_megatron(path, documents, pointers=[0, 4, 6, 8, 12])
    with pytest.raises(CorpusError, match=r"sequence 4: .* at byte 10, found byte 12"):
        TokenCorpus([path])
    path = write_megatron(path, documents, indices=[0, 2, 2, 3, 2, 5])
    with pytest.raises(CorpusError, match="found 2 after 3 in place 4"):
        TokenCorpus([path])
    assert read(write_datatrove(tmp_path / "a.ds", DOCUMENTS)) == DOCUMENTS


# fairseq.


def write_fairseq(path, sequences, dtype="u2", **changes):
    """A pair as fairseq's --dataset-impl mmap: its index has no documents."""
    ids, width = list(itertools.chain(*sequences)), np.dtype(dtype).itemsize
    lengths = [len(sequence) for sequence in sequences]
    pointers = [0, *itertools.accumulate(length * width for length in lengths)][: len(lengths)]
    parts = {"magic": b"MMIDIDX\0\0", "count": len(lengths), "pointers": pointers} | changes
    path.with_suffix(".idx").write_bytes(
        parts["magic"]
        + struct.pack("<QBQ", 1, CODES[dtype], parts["count"])
        + raw_bytes(lengths, "i4")
        + raw_bytes(parts["pointers"], "i8")
    )
    path.write_bytes(raw_bytes(ids, dtype))
    return path


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize(
    "sequences",
    [
        [],
        [[]],
        [[7, 8, 2]],
        # As Megatron-LM's these lengths are the 8,589,934,595 document indices 3 + 2 * 2**32.
        [[7, 8, 2], [9, 2], [], [4, 2]],
        [[1, 2], [2], [2, 2], [3]],
    ],
)
def test_fairseq(tmp_path, sequences, dtype):
    path = write_fairseq(tmp_path / "train.bin", sequences, dtype)
    for named in (path, path.with_suffix(".idx"), path.with_suffix(""), tmp_path):
        assert TokenCorpus.is_token_file(named)
        assert read(named) == sequences
    corpus = TokenCorpus([tmp_path])
    assert corpus.formats == {"fairseq": 1}
    assert paths_of(corpus) == [path, path.with_suffix(".idx")]
    assert corpus.max_id() == max(itertools.chain(*sequences), default=-1)
    stripped = [list(sequence) for sequence in sequences]
    for sequence in stripped:
        for place in (-1, 0):
            if sequence and sequence[place] == 2:
                del sequence[place]
    assert read(path, separator_id=2) == stripped


def test_no_index_is_both_fairseq_and_megatron(tmp_path):
    """Whatever its counts are, an index of one's size is not of the other's."""
    for documents in ([], [[[1]]], [[[1], [2, 3]], []], [[[1] * 5]] * 7):
        corpus = TokenCorpus([write_megatron(tmp_path / "x.bin", documents)])
        assert corpus.formats == {"Megatron": 1}
    for number in range(9):
        corpus = TokenCorpus([write_fairseq(tmp_path / "x.bin", [[1]] * number)])
        assert corpus.formats == {"fairseq": 1}
        assert len(list(corpus)) == number


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"magic": b"TNTIDX\0\0"}, r"fairseq's old kind \(TNTIDX, .*--dataset-impl mmap"),
        ({"magic": b"HUFFIDX\0\0"}, r"fairseq's Huffman-coded kind \(HUFFIDX"),
        ({"count": 2**63}, "9,223,372,036,854,775,808 sequences .* cut off"),
        ({"count": 3}, "3 sequences and .* document indices are .* found 50"),
        ({"pointers": [0, 4]}, "sequence 1: .* at byte 6, found byte 4"),
        ({"pointers": [-2, 6]}, "sequence 0: .* at byte 0, found byte -2"),
    ],
)
def test_flaws_of_fairseq(tmp_path, changes, says):
    path = write_fairseq(tmp_path / "x.bin", [[1, 2, 3], [4]], **changes)
    assert TokenCorpus.is_token_file(path.with_suffix(".idx"))
    with pytest.raises(CorpusError, match=r"x.idx: .*" + says):
        TokenCorpus([path])


def test_cut_off_fairseq_pairs(tmp_path):
    path = write_fairseq(tmp_path / "x.bin", [[1, 2, 3], [4]])
    for file in (path, path.with_suffix(".idx")):
        data = file.read_bytes()
        for length in range(len(data)):
            file.write_bytes(data[:length])
            with pytest.raises(CorpusError, match="cut off"):
                TokenCorpus([path])
        file.write_bytes(data)


# Ids that are no ids.


@pytest.mark.parametrize(
    ("dtype", "bad"),
    [("i1", -1), ("i2", -2), ("i4", -100), ("i8", -1), ("i8", 2**32), ("u8", 2**32)],
)
def test_ids_that_are_negative_or_too_large(tmp_path, dtype, bad):
    ids = [1, 2, bad, 3]
    pair = write_megatron(tmp_path / "a.bin", [[[1]], [ids[1:3], [3]]], dtype)
    np.save(tmp_path / "b.npy", np.array(ids, dtype))
    np.save(tmp_path / "c.npy", np.array([ids, ids], dtype))
    good = write_megatron(tmp_path / "d.bin", [[[7]]])
    for path in (pair, tmp_path / "b.npy", tmp_path / "c.npy"):
        says = rf"{path.name}: token 2 is {bad}: expected ids from 0 to 4294967295"
        corpus = TokenCorpus([path], separator_id=0)
        corpus.CHUNK = 2
        with pytest.raises(CorpusError, match=says):
            corpus.max_id()
        with pytest.raises(CorpusError, match=says):
            list(TokenCorpus([path], separator_id=0))
        corpus = TokenCorpus([path, good], separator_id=0, on_error="skip")
        assert [document.ids.tolist() for document in corpus] == [[7]]
        assert corpus.skipped == len(corpus.skips) == 1
        assert corpus.max_id() == 7
        assert [document.ids.tolist() for document in corpus] == [[7]]
        assert corpus.skipped == 1
        assert corpus.formats == {"Megatron": 1}
        assert corpus.bytes_read == corpus.total_bytes == 2


def test_the_largest_id(tmp_path):
    for number, dtype in enumerate(("u4", "u8", "i8")):
        path = write_megatron(tmp_path / f"{number}.bin", [[[2**32 - 1]]], dtype)
        assert read(path) == [[2**32 - 1]]
        assert TokenCorpus([path]).max_id() == 2**32 - 1


def test_a_separator_within_a_recorded_document_is_an_id(tmp_path):
    path = write_datatrove(tmp_path / "a.ds", [[1, 9, 2, 9], [9], [9, 9, 9], [3]])
    corpus = TokenCorpus([path], separator_id=9)
    assert [document.ids.tolist() for document in corpus] == [[1, 9, 2], [], [9], [3]]
    assert corpus.max_id() == 9
    assert place_outside(corpus, 4) == f"{path}: token 1 is 9"
    assert TokenCorpus([path], separator_id=2**20).max_id() == 9
    assert read(write_datatrove(path, [[1, 9], [2, 9]]), separator_id=9) == [[1], [2]]
    assert TokenCorpus([path], separator_id=9).max_id() == 2


# datatrove.


@pytest.mark.parametrize("dtype", ["u2", "u4"])
@pytest.mark.parametrize(
    "about",
    [
        *(None, b"gpt2|%d\n6\n6 T", b"Unknown Tokenizer|4|%d\n6\n6 T", b"old|name\n6", b""),
        b"no width|" + b"9" * 5000,
    ],
)
def test_datatrove(tmp_path, dtype, about):
    about = about and about.replace(b"%d", dtype[1].encode())
    path = write_datatrove(tmp_path / "00000_unshuffled.ds", DOCUMENTS, dtype, about)
    (tmp_path / "00000_unshuffled.ds.loss").write_bytes(b"\1" * 6)
    (tmp_path / "all.ds.metadata").write_bytes(b"gpt2|2\n6\n6 T")
    assert TokenCorpus.is_token_file(path)
    assert TokenCorpus.is_token_file(tmp_path)
    for named in (path, tmp_path, tmp_path / "*"):
        assert read(named) == DOCUMENTS
        assert read_metadata(named) == [{"path": path.name}] * 4
    corpus = TokenCorpus([path])
    assert corpus.formats == {"datatrove": 1}
    assert corpus.width == {"u2": "u16", "u4": "u32"}[dtype]
    assert path.with_suffix(".ds.index") in paths_of(corpus)
    assert (path.with_suffix(".ds.metadata") in paths_of(corpus)) == (about is not None)


def test_datatrove_files_of_nothing(tmp_path):
    assert read(write_datatrove(tmp_path / "a.ds", [])) == []
    assert read(write_datatrove(tmp_path / "a.ds", [[], []])) == [[], []]
    assert read(write_datatrove(tmp_path / "a.ds", [[]], about=b"x|4")) == [[]]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"ends": [3, 2, 6]}, "a.ds.index: document ends: .* found 2 after 3 in place 1"),
        ({"ends": [3, 4]}, "a.ds: its index ends at token 4, .* found 12: cut off"),
        ({"ends": [3, 12]}, "width|metadata or size 1"),
        ({"ends": [13]}, "metadata or size 0"),
        ({"ends": [2**64 - 1]}, "ends at token 18,446,744,073,709,551,615"),
        ({"ends": []}, "ends at token 0"),
        ({"about": b"gpt2|4\n6"}, "metadata or size 4: expected as many bytes, found 12"),
        ({"about": b"gpt2|8\n6"}, "of 2 or 4 bytes, by its metadata or size 8"),
    ],
)
def test_flaws_of_datatrove(tmp_path, changes, says):
    path = write_datatrove(tmp_path / "a.ds", DOCUMENTS, **changes)
    with pytest.raises(CorpusError, match=says):
        TokenCorpus([path])


def test_cut_off_datatrove_files(tmp_path):
    path = write_datatrove(tmp_path / "a.ds", DOCUMENTS, about=b"gpt2|2")
    index, ids = path.with_suffix(".ds.index"), path.read_bytes()
    for length in range(len(ids)):
        path.write_bytes(ids[:length])
        with pytest.raises(CorpusError, match="cut off"):
            TokenCorpus([path])
    path.write_bytes(ids)
    data = index.read_bytes()
    for length in range(len(data)):
        index.write_bytes(data[:length])
        with pytest.raises(CorpusError, match="cut off"):
            TokenCorpus([path])
    index.unlink()
    with pytest.raises(CorpusError, match=r"a.ds: expected 'a.ds.index' beside it, .* found none"):
        TokenCorpus([path])
    assert TokenCorpus.is_token_file(path)


# Dolma, OLMo.


def test_dolma(tmp_path):
    rows = [
        (0, 3, 'doc "0",\r\nx', "/data/x.jsonl.gz", 1),
        (3, 3, "é", "y", "line 7"),
        (3, 4),
        (4, 6, "z"),
    ]
    path = write_dolma(tmp_path / "part-0-00000.npy", DOCUMENTS, rows=rows)
    corpus = TokenCorpus([path], "u16")
    assert [document.ids.tolist() for document in corpus] == DOCUMENTS
    assert [json.loads(document.metadata) for document in corpus] == [
        {"path": path.name, "id": 'doc "0",\r\nx', "src": "/data/x.jsonl.gz", "loc": 1},
        {"path": path.name, "id": "é", "src": "y", "loc": "line 7"},
        {"path": path.name},
        {"path": path.name, "id": "z"},
    ]
    assert corpus.formats == {"Dolma": 1}
    assert paths_of(corpus) == [path, tmp_path / "part-0-00000.csv.gz"]
    assert TokenCorpus.is_token_file(tmp_path)
    assert read(tmp_path, dtype="u16", separator_id=6) == [[1, 2, 3], [], [4], [5]]
    with pytest.raises(OptionError, match=r"no NumPy header, as Dolma's .* --pretokenized u16"):
        TokenCorpus([path], on_error="skip")


def test_a_dolma_part_without_documents(tmp_path):
    path = write_dolma(tmp_path / "p.npy", [[0] * 8], rows=[])
    corpus = TokenCorpus([path], "u16")
    assert list(corpus) == []
    assert corpus.max_id() == -1
    assert corpus.total_bytes == 0


def test_dolma_tokens_between_documents_are_in_none(tmp_path):
    path = write_dolma(tmp_path / "p.npy", [[7, 1, 2, 8, 3]], rows=[(1, 3), (4, 5)])
    assert read(path, dtype="u16") == [[1, 2], [3]]
    assert TokenCorpus([path], "u16").max_id() == 3


def test_dolma_without_its_table(tmp_path):
    path = tmp_path / "p.npy"
    path.write_bytes(raw_bytes([1, 2, 9, 3]))
    assert read(path, dtype="u16", separator_id=9) == [[1, 2], [3]]
    with pytest.raises(
        CorpusError, match=r"p.npy: expected 'p.csv.gz' beside it, .*--separator-id"
    ):
        TokenCorpus([path], "u16")
    path.write_bytes(raw_bytes([1])[:1])
    with pytest.raises(CorpusError, match="1 bytes is not a whole number of u16 tokens"):
        TokenCorpus([path], "u16", 9)
    path.write_bytes(b"")
    assert read(path, dtype="u16", separator_id=9) == []


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([(0, 3), (2, 6)], "p.csv.gz: row 2: .* expected a start from 3 on and an end behind it"),
        ([(0, 3), (4, 3)], "row 2: .* an end behind it"),
        ([(-1, 6)], "row 1: .* expected a start from 0 on"),
        ([(0, 5)], "p.npy: 'p.csv.gz' ends at token 5, the file at 6 if its ids are u16"),
        ([(0, 7)], "ends at token 7, the file at 6"),
        ([(0, 3), ("end", 6)], "row 2: expected start,end,id,src,loc: invalid literal"),
        ([(0,)], "row 1: expected start,end,id,src,loc: list index"),
    ],
)
def test_flaws_of_dolma(tmp_path, rows, says):
    path = write_dolma(tmp_path / "p.npy", DOCUMENTS, rows=rows)
    with pytest.raises(CorpusError, match=says):
        TokenCorpus([path], "u16")


def test_cut_off_dolma_files(tmp_path):
    path = write_dolma(tmp_path / "p.npy", DOCUMENTS)
    table, ids = path.with_suffix(".csv.gz"), path.read_bytes()
    for dtype in ("u8", "u32"):
        with pytest.raises(CorpusError, match="another dtype"):
            TokenCorpus([path], dtype)
    for length in range(len(ids)):
        path.write_bytes(ids[:length])
        with pytest.raises(CorpusError, match="cut off"):
            TokenCorpus([path], "u16")
    path.write_bytes(ids)
    data = table.read_bytes()
    for length in range(len(data)):
        table.write_bytes(data[:length])
        with pytest.raises(CorpusError, match=r"p.csv.gz: .* cut off"):
            TokenCorpus([path], "u16")
    table.write_bytes(b"0,6\r\n")
    with pytest.raises(
        CorpusError, match=r"p.csv.gz: row 1: the compressed file is cut off or dam"
    ):
        TokenCorpus([path], "u16")
    table.write_bytes(gzip.compress(b"0,6,\xff\r\n"))
    with pytest.raises(
        CorpusError, match=r"p.csv.gz: row .*: expected start,end,id,src,loc: 'utf-8"
    ):
        TokenCorpus([path], "u16")


# NumPy.


@pytest.mark.parametrize(
    "dtype", ["u1", "<u2", "<u4", "<u8", "i1", "<i2", "<i4", "<i8", ">u2", ">i4"]
)
def test_numpy(tmp_path, dtype):
    path = tmp_path / "a.npy"
    width = {1: "u8", 2: "u16"}.get(np.dtype(dtype).itemsize, "u32")
    np.save(path, np.array([1, 100, 9, 3, 9, 9, 4], dtype))
    assert TokenCorpus.is_token_file(path)
    assert read(path, separator_id=9) == [[1, 100], [3], [], [4]]
    np.save(path, np.array([9, 1, 9, 3], dtype))
    assert read(path, separator_id=9) == [[1], [3]]
    np.save(path, np.array([[1, 100], [3, 9]], dtype))
    assert read(path) == [[1, 100], [3, 9]]
    assert read(path, separator_id=9) == [[1, 100], [3]]
    corpus = TokenCorpus([path])
    assert corpus.formats == {"NumPy": 1}
    assert corpus.max_id() == 100
    assert corpus.width == width
    assert {str(document.ids.dtype) for document in corpus} == {width.replace("u", "uint")}


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_versions_and_shapes_of_numpy_files(tmp_path, version):
    path = tmp_path / "a.npy"
    for array, documents in (
        (np.zeros((2, 0), "<u2"), [[], []]),
        (np.zeros((0, 3), "<u2"), []),
        (np.zeros(0, "<u2"), []),
        (np.ones((2, 1), "<u2"), [[1], [1]]),
    ):
        with path.open("wb") as file:
            np.lib.format.write_array(file, array, version)
        assert read(path, separator_id=9) == documents


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros(3), r"found float64 of shape \(3,\)"),
        (np.zeros(3, bool), "found bool"),
        (np.zeros(3, "u1,u2"), "expected integers in one dimension"),
        (np.array("a"), "found <U1"),
        (np.array([1, "a"], object), "Python objects"),
        (np.uint16(3), r"of shape \(\)"),
        (np.zeros((2, 2, 2), "u2"), r"of shape \(2, 2, 2\)"),
        (np.asfortranarray(np.zeros((2, 3), "u2")), r"shape \(2, 3\) in Fortran order"),
    ],
)
def test_flaws_of_numpy_files(tmp_path, array, says):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(CorpusError, match=r"a.npy: .*" + says):
        TokenCorpus([tmp_path / "a.npy"], separator_id=9)


def test_cut_off_numpy_files(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.arange(5, dtype="<u2"))
    with pytest.raises(OptionError, match=r"does not say where documents end: .* --separator-id"):
        TokenCorpus([path])
    with pytest.raises(CorpusError, match=r"a.npy: separator id 50256 marks no document"):
        np.save(path, np.arange(5, dtype="u1"))
        TokenCorpus([path], separator_id=EOT)
    np.save(path, np.arange(5, dtype="<u2"))
    data = path.read_bytes()
    for length in (*range(6, 20), 60, 127, 128, 130, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(CorpusError, match=r"a.npy: no NumPy file of ids, or cut off"):
            TokenCorpus([path], separator_id=9)
    path.write_bytes(data + b"x")
    with pytest.raises(CorpusError, match="expected 138 bytes by its NumPy header, found 139"):
        TokenCorpus([path], separator_id=9)
    for damage in (b"'shape': (5,), ", b"fortran_order", b"'<u2'"):
        path.write_bytes(data.replace(damage, b"(" * len(damage)))
        with pytest.raises(CorpusError, match=r"a.npy: no NumPy file of ids, or cut off"):
            TokenCorpus([path], separator_id=9)


# Several files.


def test_a_folder_of_all_formats(tmp_path):
    folder = tmp_path / "ids"
    (folder / "sub").mkdir(parents=True)
    (folder / ".git").mkdir()
    write_llmc(folder / "a.bin", [EOT, 1])
    write_megatron(folder / "b.bin", [[[2]]], "i4")
    write_datatrove(folder / "c.ds", [[3]], about=b"x|2")
    write_dolma(folder / "d.npy", [[4]])
    np.save(folder / "e.npy", np.array([[5]], "u1"))
    (folder / "f.bin").write_bytes(raw_bytes([6]))
    (folder / "sub" / "tokenized.0").write_bytes(raw_bytes([9, 7]))
    write_llmc(folder / ".git" / "a.bin", [EOT, 1])
    (folder / ".x.bin").write_bytes(b"")
    (folder / "README.md").write_text("no ids")
    (folder / "sub" / "offset.0").write_text("no ids")
    options = {"dtype": "u16", "separator_id": 9}
    corpus = TokenCorpus([folder], **options)
    assert [document.ids.tolist() for document in corpus] == [[EOT, 1], *([i] for i in range(2, 8))]
    assert [json.loads(document.metadata)["path"] for document in corpus] == [
        *("a.bin", "b.bin", "c.ds", "d.npy", "e.npy", "f.bin", "sub/tokenized.0")
    ]
    assert corpus.formats == {
        "llm.c (no separators found)": 1,
        "Megatron": 1,
        "datatrove": 1,
        "Dolma": 1,
        "NumPy": 1,
        "raw u16 (no separators found)": 1,
        "raw u16": 1,
    }
    assert [path.name for path in paths_of(corpus)] == [
        *("a.bin", "b.bin", "b.idx", "c.ds", "c.ds.index", "c.ds.metadata"),
        *("d.npy", "d.csv.gz", "e.npy", "f.bin", "tokenized.0"),
    ]
    assert all(path.is_file() for path in paths_of(corpus))
    assert corpus.width == "u32"
    assert corpus.max_id() == EOT
    assert corpus.bytes_read == corpus.total_bytes == 4 + 4 + 2 + 2 + 1 + 2 + 4
    assert corpus.total_tokens == 2 + 1 + 1 + 1 + 1 + 1 + 2
    assert not TokenCorpus.is_token_file(folder)
    seen = [corpus.bytes_read for _ in corpus]
    assert seen == sorted(seen)


def test_names_with_nothing_to_read(tmp_path):
    with pytest.raises(CorpusError, match="no such file or directory"):
        TokenCorpus([tmp_path / "nowhere.bin"], "u16", 0)
    with pytest.raises(CorpusError, match="no files"):
        TokenCorpus([tmp_path], "u16", 0)
    (tmp_path / "notes.txt").write_text("no ids")
    (tmp_path / "a.ds.metadata").write_text("x|2")
    for named in (tmp_path, tmp_path / "*.metadata"):
        with pytest.raises(CorpusError, match="no files of token ids to read there"):
            TokenCorpus([named], "u16", 0, on_error="skip")


def test_the_same_file_twice(tmp_path):
    pair = write_megatron(tmp_path / "x.bin", [[[1]]])
    other = write_datatrove(tmp_path / "y.ds", [[2]])
    (tmp_path / "linked.ds").symlink_to(other)
    (tmp_path / "linked.ds.index").symlink_to(other.with_suffix(".ds.index"))
    for named in (
        [pair, pair],
        [pair, pair.with_suffix(".idx")],
        [pair.with_suffix(""), pair],
        [other, tmp_path / "linked.ds"],
    ):
        with pytest.raises(CorpusError, match=r"the same file as '.*', .*name it once"):
            TokenCorpus(named, on_error="skip")
    with pytest.raises(CorpusError, match="the same file"):
        TokenCorpus([tmp_path])
    assert read(tmp_path / "x.*") == [[1]]


def test_companions_are_no_corpus(tmp_path):
    write_datatrove(tmp_path / "y.ds", [[2]], about=b"x|2")
    write_dolma(tmp_path / "p.npy", [[1]])
    for name in ("y.ds.index", "y.ds.metadata", "p.csv.gz"):
        owner = name[:4].rstrip(".c") if name[0] == "y" else "p.npy"
        with pytest.raises(CorpusError, match=rf"{name}: holds no ids, but goes with '{owner}'"):
            TokenCorpus([tmp_path / name], "u16", 0)
        assert not TokenCorpus.is_token_file(tmp_path / name)


def test_what_says_itself_that_it_holds_ids(tmp_path):
    (tmp_path / "raw.bin").write_bytes(raw_bytes([1, 2, 3]))
    (tmp_path / "a.idx").write_bytes(b"another index")
    (tmp_path / "old.idx").write_bytes(b"TNTIDX\0\0")
    (tmp_path / "t.jsonl").write_text('{"text": "x"}\n')
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"text\nx\n"))
    assert [
        path.name for path in sorted(tmp_path.iterdir()) if TokenCorpus.is_token_file(path)
    ] == ["old.idx"]
    assert not TokenCorpus.is_token_file(tmp_path)
    assert not TokenCorpus.is_token_file(tmp_path / "nowhere")
    assert not TokenCorpus.is_token_file(tmp_path / "*.jsonl")
    (tmp_path / "sub").mkdir()
    assert not TokenCorpus.is_token_file(tmp_path / "sub")
    write_dolma(tmp_path / "sub" / "p.npy", [[1]])
    assert TokenCorpus.is_token_file(tmp_path / "sub")
    assert TokenCorpus.is_token_file(tmp_path / "sub" / "*.npy")
    (tmp_path / "sub" / "t.csv.gz").write_bytes(gzip.compress(b"text\nx\n"))
    assert not TokenCorpus.is_token_file(tmp_path / "sub")


def test_what_cannot_be_read(tmp_path):
    os.mkfifo(tmp_path / "a.bin")
    (tmp_path / "b.bin").symlink_to("nowhere")
    (tmp_path / "c.npy").symlink_to("neither")
    (tmp_path / os.fsdecode(b"\xff.ds")).write_bytes(b"")
    write_llmc(tmp_path / "d.bin", [EOT, 1])
    for name in ("a.bin", "b.bin", "c.npy"):
        with pytest.raises(CorpusError, match=rf"{name}: not a regular file"):
            TokenCorpus([tmp_path])
        (tmp_path / name).rename(tmp_path / f"z{name}")
    corpus = TokenCorpus([tmp_path], on_error="skip")
    assert [document.ids.tolist() for document in corpus] == [[1]]
    assert corpus.skipped == 4
    assert "not UTF-8; rename it" in corpus.skips[-1]
    corpus = TokenCorpus([tmp_path / "d.bin"])
    (tmp_path / "d.bin").write_bytes(b"")
    with pytest.raises(CorpusError, match=r"d.bin: changed while it was read \("):
        list(corpus)
    (tmp_path / "d.bin").unlink()
    with pytest.raises(CorpusError, match=r"d.bin: changed while it was read \(it is gone\)"):
        corpus.max_id()


def test_unreadable_files_are_named(tmp_path, monkeypatch):
    path = write_llmc(tmp_path / "d.bin", [EOT, 1])
    good = write_datatrove(tmp_path / "e.ds", [[2]])

    def fail(self, *arguments, **options):
        if self == path:
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *arguments, **options)

    opened = type(path).open
    monkeypatch.setattr(type(path), "open", fail)
    with pytest.raises(CorpusError, match=r"d.bin: cannot be read: Permission denied"):
        TokenCorpus([path])
    assert not TokenCorpus.is_token_file(path)
    corpus = TokenCorpus([path, good], on_error="skip")
    assert [document.ids.tolist() for document in corpus] == [[2]]
    assert paths_of(corpus) == [path, good, good.with_suffix(".ds.index")]


def test_skips_are_counted_and_the_first_listed(tmp_path):
    for number in range(30):
        write_llmc(tmp_path / f"{number:02d}.bin", [1], version=9 if number != 7 else 1)
    corpus = TokenCorpus([tmp_path], on_error="skip")
    assert [document.ids.tolist() for document in corpus] == [[1]]
    assert corpus.skipped == 29
    assert len(corpus.skips) == 20
    assert "00.bin: llm.c's header: expected version 1" in corpus.skips[0]
    assert len(corpus.files) == 30
    corpus = TokenCorpus([tmp_path / "00.bin"], on_error="skip")
    assert (list(corpus), corpus.max_id(), corpus.width, corpus.formats) == ([], -1, "u8", {})


# Any documents.


def ended(documents, mark):
    return [token for document in documents for token in (*document, mark)]


def started(documents, mark):
    return [token for document in documents for token in (mark, *document)]


def write_raw(path, documents, dtype, mark):
    path.write_bytes(raw_bytes(ended(documents, mark), dtype))


def write_shards(path, documents, dtype, mark):
    magic, version = {"u2": (20240520, 1), "u4": (20240801, 7)}[dtype]
    for number, shard in enumerate(parts(started(documents, mark), 4)):
        path = path.with_name(f"shard{number}.bin")
        write_llmc(path, shard, magic, version, dtype=dtype)


def write_pair(path, documents, dtype, mark):
    write_megatron(path, [[document[:2], [*document[2:], mark]] for document in documents], dtype)


# Of each: a file's name, the dtypes, what writes documents.
WRITERS = {
    "raw": ("a.bin", ["u1", "u2", "u4"], write_raw),
    "llm.c": ("a.bin", ["u2", "u4"], write_shards),
    "Megatron": ("a.bin", list(CODES), write_pair),
    "datatrove": ("a.ds", ["u2", "u4"], lambda path, d, dtype, _: write_datatrove(path, d, dtype)),
    "Dolma": ("a.npy", ["u1", "u2", "u4"], lambda path, d, dtype, _: write_dolma(path, d, dtype)),
    "NumPy": (
        "a.npy",
        [*CODES, ">u2", ">i8"],
        lambda path, d, dtype, mark: np.save(path, np.array(started(d, mark), dtype)),
    ),
}


@pytest.mark.parametrize(
    ("kind", "dtype"), [(kind, dtype) for kind, each in WRITERS.items() for dtype in each[1]]
)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_any_documents_come_back(tmp_path_factory, kind, dtype, data):
    name, _, write = WRITERS[kind]
    largest = min(int(np.iinfo(dtype).max), 2**32 - 1)
    mark = data.draw(st.sampled_from([0, largest]))
    ids = st.integers(0, largest).filter(lambda token: token != mark)
    documents = data.draw(st.lists(st.lists(ids, max_size=6), max_size=6))
    one = [mark - 1 if mark else 1]
    if kind == "NumPy" or kind == "raw":
        # The two ways to mark documents look alike if the first has no ids.
        documents = [one, *documents]
    if kind in ("NumPy", "raw", "llm.c"):
        # If every other document has no ids, separators seem to be doubled.
        documents = [*documents, one, one]
    folder = tmp_path_factory.mktemp("any")
    write(folder / name, documents, dtype, mark)
    corpus = TokenCorpus([folder], {"u1": "u8", "u2": "u16", "u4": "u32"}.get(dtype), mark)
    corpus.CHUNK = data.draw(st.integers(1, 5))
    assert [document.ids.tolist() for document in corpus] == documents
    assert {name.partition(" (")[0] for name in corpus.formats} <= {kind, f"raw {corpus.width}"}
    tokens = [token for document in documents for token in document]
    assert corpus.max_id() == max(tokens, default=-1)
    for limit in {0, max(tokens, default=1) - 1} - {-1} if any(tokens) else ():
        first = next(token for token in tokens if token > limit)
        assert place_outside(corpus, limit + 1).endswith(f" is {first}")


# What the formats' own writers write.


@pytest.mark.parametrize("token_size", [2, 4])
def test_what_datatrove_writes(tmp_path, token_size):
    pytest.importorskip("datatrove")
    from datatrove.pipeline.tokens.megatron_tokenizer import MegatronTokenizedFile
    from datatrove.pipeline.tokens.tokenizer import TokenizedFile

    documents = [[1, 2, 3], [65535], [], [5, 6], [EOT]]
    for metadata in (False, True):
        for loss in (False, True):
            name = f"{metadata}{loss}.ds"
            file = TokenizedFile(
                str(tmp_path / "ds"),
                name,
                save_final_metadata=metadata,
                save_loss_metadata=loss,
                tokenizer_name_or_path="gpt2",
                token_size=token_size,
            )
            for document in documents:
                file.write(document, [True] * len(document) if loss else None)
            file.close()
    assert len(list((tmp_path / "ds").iterdir())) == 4 + 4 + 2 + 2
    assert read(tmp_path / "ds") == documents * 4
    assert TokenCorpus.is_token_file(tmp_path / "ds")

    pair = MegatronTokenizedFile(str(tmp_path / "meg"), "corpus_text", token_size=token_size)
    for document in documents:
        pair.write(document)
    pair.close()
    assert read(tmp_path / "meg") == read(tmp_path / "meg" / "corpus_text")
    assert read(tmp_path / "meg") == documents
    assert TokenCorpus([tmp_path / "meg"]).width == {2: "u16", 4: "u32"}[token_size]
