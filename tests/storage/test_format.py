"""The files: expected bytes of a tiny index, the golden index, and a refusal for each damage."""

import hashlib
import json
import pickle
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest

import everygram
from conftest import write_index
from everygram.errors import DamagedIndexError, FormatError, QueryError
from everygram.storage import directory, disk
from everygram.storage import format as fmt
from everygram.storage.verify import verify

# One written by each format version; every one must open for ever.
GOLDEN = {
    version: Path(__file__).parent.parent / "data" / f"golden-v{version}"
    for version in (1, 2, 3, 4, 5, 6)
}


# What a new segment has whose documents' numbers follow one another.
FILES = (
    *fmt.FILES_OF_KIND[fmt.SUFFIX_ARRAY_KIND],
    *fmt.COMMON_FILES,
    fmt.DOCUMENT_COUNTS,
    fmt.CHECKSUMS,
)


def problems_of(path):
    return verify(path, lambda done, total: None)


@pytest.fixture
def tiny(tmp_path):
    """The worked example of the specification: the documents "ab" and "ba"."""
    return write_index(tmp_path / "tiny", [[97, 98], [98, 97]], "u8")


def test_the_worked_example_of_the_specification(tiny):
    folder = tiny / "segment-000001"
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert content[fmt.TOKENS] == b"\xffab\xffba"
    assert np.frombuffer(content[fmt.SUFFIX_ARRAY], "<u4").tolist() == [1, 5, 4, 2, 0, 3]
    key, *padding = np.frombuffer(content[fmt.FENCES], "<u8").tolist()
    assert key == (97 << 57) | (98 << 50) | (127 << 43)
    assert padding == 15 * [2**64 - 1]
    assert np.frombuffer(content[fmt.UNIGRAMS][:24], "<u8").tolist() == [0, 2, 4]
    assert np.frombuffer(content[fmt.UNIGRAMS][24:], "<u4").tolist() == [97, 98, 255]
    assert np.frombuffer(content[fmt.DOCUMENT_OFFSETS], "<u8").tolist() == [0, 3]
    assert content[fmt.METADATA] == b"{}{}"
    assert np.frombuffer(content[fmt.METADATA_OFFSETS], "<u8").tolist() == [0, 2, 4]
    counts = np.frombuffer(content[fmt.DOCUMENT_COUNTS], "<u8").tolist()
    assert counts == [0x333, *[0] * 31, 0, 0]
    checksums = np.frombuffer(content[fmt.CHECKSUMS], "<u4").tolist()
    assert checksums == [zlib.crc32(content[name]) for name in sorted({*FILES} - {fmt.CHECKSUMS})]


def test_the_manifest_lists_every_file_with_size_and_checksum(tiny):
    manifest = json.loads((tiny / fmt.MANIFEST).read_text())
    assert manifest["format_version"] == 6
    assert manifest["document_counts"] is True
    assert (manifest["kind"], manifest["sample_every"]) == ("suffix-array", 0)
    assert (manifest["dtype"], manifest["separator"]) == ("u8", 255)
    (entry,) = manifest["segments"]
    assert (entry["key_bits"], entry["fence_spacing"], entry["fence_fanout"]) == (7, 16, 16)
    assert (entry["num_documents"], entry["num_tokens"], entry["sign"]) == (2, 4, 1)
    assert (entry["kind"], entry["sample_every"]) == ("suffix-array", 0)
    assert sorted(entry["files"]) == sorted(FILES)
    for name, file in entry["files"].items():
        data = (tiny / entry["name"] / name).read_bytes()
        assert file == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@pytest.mark.parametrize(
    ("vocab_size", "dtype"),
    [(0, "u8"), (255, "u8"), (256, "u16"), (65535, "u16"), (65536, "u32"), (2**32 - 1, "u32")],
)
def test_the_narrowest_dtype_whose_all_ones_id_is_free(vocab_size, dtype):
    assert fmt.token_dtype(vocab_size) == dtype
    assert fmt.separator_of(dtype) >= vocab_size


def test_no_dtype_past_32_bits():
    with pytest.raises(FormatError, match="expected at most 4,294,967,295"):
        fmt.token_dtype(2**32)


@pytest.mark.parametrize("version", GOLDEN)
def test_the_golden_index_opens_and_answers(version):
    """Written once by that version (tests/data/make_golden.py)."""
    assert problems_of(GOLDEN[version]) == []
    with everygram.open(GOLDEN[version]) as index:
        assert index.manifest.format_version == version
        assert (index.num_documents, index.num_tokens) == (3, 9)
        assert index.manifest.dtype == "u16"
        assert index.count("the cat") == 2
        assert index.count("the cat").tokens == [" the", " cat"]
        prob = index.prob("the cat sat")
        assert (prob.continuation_count, prob.prompt_count) == (1, 2)
        assert index.infgram_ntd("zzz the cat").suffix_len == 2
        assert index.document(0).text == " the cat sat on the mat"
        assert index.document(0).metadata == {"id": "a", "big": 2**70}
        assert index.document(1).length == 0
        assert [o.document for o in index.find("cat")] == [0, 2]
        assert index.document_count("the") == 2
        assert index.document_count("the").count == 3
        assert index.document_count("") == 3
        assert index.info()["document_counts"] == (version > 4)


def test_the_golden_index_is_what_this_version_writes(tmp_path):
    import sys

    golden = GOLDEN[fmt.FORMAT_VERSION]
    sys.path.insert(0, str(golden.parent))
    try:
        from make_golden import make
    finally:
        sys.path.pop(0)
    make(tmp_path / "again")
    for path in sorted(golden.rglob("*")):
        if path.is_file() and path.name != fmt.MANIFEST:
            again = tmp_path / "again" / path.relative_to(golden)
            assert again.read_bytes() == path.read_bytes(), path.name


def test_verify_finds_a_sound_index_sound(tiny):
    seen = []
    assert verify(tiny, lambda done, total: seen.append((done, total))) == []
    assert seen[-1][0] == seen[-1][1] > 0


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(tiny, name):
    (tiny / "segment-000001" / name).unlink()
    with pytest.raises(DamagedIndexError, match=rf"{name}: missing, expected \d+ bytes; restore"):
        everygram.open(tiny)
    assert "missing" in problems_of(tiny)[0]


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_size_is_refused(tiny, name):
    path = tiny / "segment-000001" / name
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(
        DamagedIndexError, match=rf"{name}: cut off: expected {len(data)} bytes, found"
    ):
        everygram.open(tiny)
    path.write_bytes(data + b"\0")
    with pytest.raises(DamagedIndexError, match=f"{name}: too long"):
        everygram.open(tiny)
    assert "too long" in problems_of(tiny)[0]


@pytest.mark.parametrize("name", FILES)
def test_verify_finds_every_flipped_bit(tiny, name):
    path = tiny / "segment-000001" / name
    data = path.read_bytes()
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        assert any(f"{name}: content does not match" in problem for problem in problems_of(tiny))


@pytest.mark.parametrize("name", FILES)
def test_what_is_damaged_is_refused_when_a_small_index_is_opened(tiny, monkeypatch, name):
    path = tiny / "segment-000001" / name
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    says = rf"segment-000001: {name}: content does not match its checksum.*; restore it or rebuild"
    with pytest.raises(DamagedIndexError, match=says):
        everygram.open(tiny)
    monkeypatch.setattr(directory, "CHECKED_AT_ONCE", 0)
    everygram.open(tiny).close()
    with pytest.raises(DamagedIndexError, match=says):
        everygram.open(tiny, verify=True)
    path.write_bytes(data)
    with pickle.loads(pickle.dumps(everygram.open(tiny, verify=True))) as index:
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert index.latest() is index  # what has been checked is not read again
    with pytest.raises(DamagedIndexError, match=says):
        pickle.loads(pickle.dumps(index))


@pytest.mark.parametrize(
    ("places", "where"),
    [
        ([0], " from byte 0 to 64, of 300"),
        ([63], " from byte 0 to 64, of 300"),
        ([64, 100], " from byte 64 to 128, of 300"),
        ([299], " from byte 256 to 300, of 300"),
        ([5, 70, 299], " from byte 0 to 64 and 2 more blocks, of 300"),
    ],
)
def test_verify_says_where_a_file_is_damaged(tmp_path, monkeypatch, places, where):
    monkeypatch.setattr(fmt, "CHECKSUM_BLOCK", 64)
    monkeypatch.setattr(disk, "CHUNK", 128)
    path = write_index(tmp_path / "i", [[1] * 149, [2] * 149], "u8")
    tokens = path / "segment-000001" / fmt.TOKENS
    data = bytearray(tokens.read_bytes())
    for place in places:
        data[place] ^= 4
    tokens.write_bytes(data)
    says = f"{fmt.TOKENS}: content does not match its checksum{where}"
    assert problems_of(path)[0] == f"{path / 'segment-000001'}: {says}"
    # Without what says where, it is still found.
    checksums = path / "segment-000001" / fmt.CHECKSUMS
    checksums.write_bytes(bytes(checksums.stat().st_size))
    assert f"{fmt.TOKENS}: content does not match its checksum" in " ".join(problems_of(path))


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        (
            fmt.SUFFIX_ARRAY,
            np.array([1, 5, 5, 2, 0, 3], "<u4"),
            "rank 2 is out of range or stands",
        ),
        (fmt.SUFFIX_ARRAY, np.array([1, 5, 9, 2, 0, 3], "<u4"), "rank 2 is out of range"),
        (fmt.SUFFIX_ARRAY, np.array([5, 1, 4, 2, 0, 3], "<u4"), "ranks 0 and 1 are out of order"),
        (fmt.SUFFIX_ARRAY, np.array([1, 5, 4, 2, 3, 0], "<u4"), "ranks 4 and 5 are out of order"),
        (fmt.FENCES, np.zeros(16, "<u8"), "not the keys of the suffixes"),
        (fmt.DOCUMENT_OFFSETS, np.array([0, 2], "<u8"), "not the positions of the separators"),
        (fmt.DOCUMENT_OFFSETS, np.array([3, 0], "<u8"), "does not start at 0"),
        (fmt.METADATA_OFFSETS, np.array([0, 5, 4], "<u8"), "not ascending"),
        (fmt.METADATA, np.frombuffer(b"{}[]", "u1"), "document 1: not a JSON object"),
        (fmt.METADATA, np.frombuffer(b"{}{,", "u1"), "document 1: not a JSON object"),
        (fmt.DOCUMENT_COUNTS, np.zeros(34, "<u8"), "not the repeats of documents"),
        (fmt.DOCUMENT_COUNTS, np.array([0x335, *[0] * 33], "<u8"), "not the repeats of documents"),
        (fmt.DOCUMENT_COUNTS, np.array([0x333, *[0] * 32, 1], "<u8"), "not the repeats of"),
    ],
)
def test_verify_finds_what_is_wrong_even_with_the_right_checksums(tiny, name, data, says):
    (tiny / "segment-000001" / name).write_bytes(data.tobytes())
    rehash(tiny)
    everygram.open(tiny).close()
    assert any(says in problem for problem in problems_of(tiny)), problems_of(tiny)


def rehash(path):
    """Make the manifest agree with the files as they are."""
    import dataclasses

    manifest = directory.read_manifest(path)
    segments = tuple(
        dataclasses.replace(
            entry,
            files={
                name: fmt.FileEntry(
                    len(data := (path / entry.name / name).read_bytes()),
                    hashlib.sha256(data).hexdigest(),
                )
                for name in entry.files
            },
        )
        for entry in manifest.segments
    )
    directory.publish(path, dataclasses.replace(manifest, segments=segments), None)


def test_every_changed_byte_of_the_manifest_is_refused(tiny):
    path = tiny / fmt.MANIFEST
    data = path.read_bytes()
    for place in range(len(data)):
        for bit in (1, 4, 32):
            damaged = bytearray(data)
            damaged[place] ^= bit
            path.write_bytes(damaged)
            with pytest.raises(FormatError):
                everygram.open(tiny)
    for end in range(len(data)):
        path.write_bytes(data[:end])
        with pytest.raises(FormatError):
            everygram.open(tiny)
    path.write_bytes(data)
    everygram.open(tiny).close()


def test_no_manifest_is_no_index(tiny, tmp_path):
    """A missing directory aborts infini-gram's process (defect 8)."""
    (tiny / fmt.MANIFEST).unlink()
    with pytest.raises(FormatError, match=r"its build did not finish \(manifest.json is missing"):
        everygram.open(tiny)
    with pytest.raises(FormatError, match="no such folder"):
        everygram.open(tmp_path / "nowhere")
    with pytest.raises(FormatError, match="not an everygram index"):
        everygram.open(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(FormatError, match="expected a folder, found a file"):
        everygram.open(tmp_path / "file")


@pytest.mark.parametrize("text", ["[]", "{}", '{"name": "other"}', "7"])
def test_a_foreign_manifest_is_refused(tmp_path, text):
    (tmp_path / fmt.MANIFEST).write_text(text)
    with pytest.raises(FormatError, match="not an everygram manifest"):
        everygram.open(tmp_path)


def test_another_format_version_says_which(tiny):
    fields = json.loads((tiny / fmt.MANIFEST).read_text()) | {"format_version": 9}
    del fields["checksum"]
    dump = json.dumps(fields, indent=2, sort_keys=True) + "\n"
    fields["checksum"] = hashlib.sha256(dump.encode()).hexdigest()
    (tiny / fmt.MANIFEST).write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n")
    with pytest.raises(FormatError, match="format 9, this version reads 1, 2, 3, 4, 5, 6; rebuild"):
        everygram.open(tiny)


def test_a_missing_or_swapped_tokenizer_is_refused(tmp_path):
    copy = shutil.copytree(GOLDEN[2], tmp_path / "copy")
    (copy / fmt.TOKENIZER).write_text("{}")
    with pytest.raises(DamagedIndexError, match="not the tokenizer the index was built with"):
        everygram.open(copy)
    assert "not the tokenizer" in problems_of(copy)[0]
    (copy / fmt.TOKENIZER).unlink()
    with pytest.raises(DamagedIndexError, match=r"tokenizer.json: missing"):
        everygram.open(copy)


def test_a_closed_index_says_so(tiny):
    index = everygram.open(tiny)
    index.close()
    with pytest.raises(QueryError, match="is closed"):
        index.count([97])
    index.close()
