"""What a file is, its first bytes say; and how much of it is held."""

import bz2
import gzip
import lzma
import random
import re
import struct
import sys
import tracemalloc
import zlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from everygram.corpus import decoding
from everygram.corpus.decoding import Limits, opened, suffixes
from everygram.corpus.files import local_file
from everygram.corpus.text import TextCorpus
from everygram.errors import CorpusError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LINES = b"".join(b'{"text": "%d"}\n' % (i * 7919) for i in range(5_000))
TEXTS = [str(i * 7919) for i in range(5_000)]
PACKERS = {
    ".gz": gzip.compress,
    ".zst": zstd.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
}
# Bytes that look like a frame to be skipped, as pzstd and the seekable format write them.
SKIPPED = b"\x5e\x2a\x4d\x18\x04\0\0\0abcd"


def texts(path, **options):
    return [document.text for document in TextCorpus([path], **options)]


def unpacked(path, limits=decoding.NO_LIMITS):
    with opened(local_file(path, path.name), limits) as (_, inside):
        return inside.read()


@pytest.mark.parametrize("suffix", PACKERS)
def test_every_compression_whatever_the_name(tmp_path, suffix):
    pack = PACKERS[suffix]
    for name in (f"c.jsonl{suffix}", f"UPPER.JSONL{suffix.upper()}", "c.jsonl", "c.jsonl.gz"):
        path = tmp_path / name
        path.write_bytes(pack(LINES))
        assert texts(path) == TEXTS
        # Streams one after the other; what is not compressed, whatever its name.
        path.write_bytes(b"".join(pack(LINES[at : at + 7_000]) for at in range(0, 120_000, 7_000)))
        assert texts(path) == TEXTS
        path.write_bytes(LINES)
        assert texts(path) == TEXTS
        path.write_bytes(b"")
        assert texts(path) == []
    (tmp_path / f"a.txt{suffix}").write_bytes(pack(b"one text"))
    assert texts(tmp_path / f"a.txt{suffix}") == ["one text"]
    (tmp_path / f"a.txt{suffix}").write_bytes(pack(b""))
    assert texts(tmp_path / f"a.txt{suffix}") == [""]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x.jsonl", (".jsonl", "")),
        ("a.b/X.JSONL.GZ", (".jsonl", ".gz")),
        ("x.csv.xz", (".csv", ".xz")),
        ("x.gz", ("", ".gz")),
        ("x", ("", "")),
        ("what?.jsonl", (".jsonl", "")),
        ("https://host/c.jsonl.gz?signature=a/b.c", (".jsonl", ".gz")),
        ("https://host/c.tsv.zst?a=1#part", (".tsv", ".zst")),
        ("s3://bucket/c.parquet?versionId=1", (".parquet", "")),
    ],
)
def test_suffixes(name, expected):
    assert suffixes(name) == expected


@pytest.mark.parametrize("suffix", PACKERS)
def test_every_byte_that_is_cut_off_or_changed_is_noticed(tmp_path, suffix):
    path = tmp_path / f"c.jsonl{suffix}"
    data = PACKERS[suffix](LINES[:3000])
    double = data + data
    for cut in (*range(1, len(data)), *range(len(data) + 1, len(double), 7)):
        path.write_bytes(double[:cut])
        with pytest.raises(CorpusError, match=rf"{path.name}: the .* cut off.* get it again"):
            unpacked(path)
    draw = random.Random(0)
    unnoticed = 0
    for _ in range(300):
        changed = bytearray(double)
        changed[draw.randrange(len(double))] ^= 1 << draw.randrange(8)
        path.write_bytes(changed)
        try:
            same = unpacked(path) == LINES[:3000] * 2
        except CorpusError as error:
            assert str(path) in str(error)
        else:
            # (What does not begin as a stream does is a text.)
            unnoticed += not same and changed[:10] == double[:10]
    # (zstd has no checksum unless told so.)
    assert unnoticed == 0 or suffix == ".zst"


@pytest.mark.parametrize("suffix", PACKERS)
def test_what_stands_before_the_damage_is_kept(tmp_path, suffix):
    path = tmp_path / f"c.jsonl{suffix}"
    path.write_bytes(PACKERS[suffix](LINES) + PACKERS[suffix](LINES)[:-9])
    corpus = TextCorpus([path], on_error="skip")
    found = [document.text for document in corpus]
    assert found == (TEXTS + TEXTS)[: len(found)]
    assert len(found) >= len(TEXTS)
    assert corpus.skipped == 1
    assert "cut off" in corpus.skips[0]


def test_padding_and_what_is_appended(tmp_path):
    path = tmp_path / "c.jsonl"
    for pack in (gzip.compress, lzma.compress):
        for zeros in (4, 512, 1 << 20):
            path.write_bytes(pack(LINES) + bytes(zeros) + pack(LINES) + bytes(zeros))
            assert texts(path) == TEXTS + TEXTS
    for pack in PACKERS.values():
        path.write_bytes(pack(LINES) + b"something else")
        corpus = TextCorpus([path], on_error="skip")
        assert [document.text for document in corpus] == TEXTS
        assert "something was appended" in corpus.skips[0]


def test_frames_of_zstd_that_are_to_be_skipped(tmp_path):
    path = tmp_path / "c.jsonl.zst"
    frame = zstd.compress(LINES)
    path.write_bytes(SKIPPED + frame + SKIPPED + frame + SKIPPED)
    assert texts(path) == TEXTS + TEXTS


def test_a_file_that_is_packed_more_than_once(tmp_path):
    path = tmp_path / "c.jsonl.gz"
    path.write_bytes(gzip.compress(zstd.compress(gzip.compress(LINES))))
    assert texts(path) == TEXTS
    path.write_bytes(gzip.compress(gzip.compress(gzip.compress(gzip.compress(LINES)))))
    with pytest.raises(CorpusError, match=r"c.jsonl.gz: expected text, found a gzip file inside"):
        texts(path)


def test_blocks_of_bgzip_and_what_gzip_may_have_in_front(tmp_path):
    def block(data):
        packed = zlib.compressobj(wbits=-15)
        body = packed.compress(data) + packed.flush()
        size = struct.pack("<H", len(body) + 25)
        head = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0" + size
        return head + body + struct.pack("<II", zlib.crc32(data), len(data))

    path = tmp_path / "c.jsonl.gz"
    blocks = [block(LINES[at : at + 50_000]) for at in range(0, len(LINES), 50_000)]
    path.write_bytes(b"".join(blocks) + block(b""))
    assert texts(path) == TEXTS
    path.write_bytes(gzip.compress(b"") + gzip.compress(LINES) + gzip.compress(b""))
    assert texts(path) == TEXTS


def test_a_dictionary_of_zstd_is_named(tmp_path):
    dictionary = zstd.train_dict([LINES[at : at + 100] for at in range(0, 60_000, 100)], 4096)
    (tmp_path / "c.jsonl.zst").write_bytes(zstd.compress(LINES, zstd_dict=dictionary))
    with pytest.raises(CorpusError, match=r"compressed with a dictionary, and cannot be read with"):
        texts(tmp_path / "c.jsonl.zst")


@pytest.mark.parametrize("log", [27, 28, 31])
def test_every_legal_window_of_zstd(tmp_path, log):
    path = tmp_path / "c.jsonl.zst"
    options = {
        zstd.CompressionParameter.window_log: log,
        zstd.CompressionParameter.enable_long_distance_matching: 1,
        zstd.CompressionParameter.content_size_flag: 0,
    }
    # (Of a stream whose length it does not know, the compressor keeps the window.)
    compressor = zstd.ZstdCompressor(options=options)
    path.write_bytes(compressor.compress(LINES) + compressor.flush())
    assert texts(path) == TEXTS
    small = Limits(window=200_000_000)
    if log == 27:
        assert texts(path, limits=small) == TEXTS
        return
    with pytest.raises(CorpusError, match=r"more memory than there is.*allow more with --memory"):
        texts(path, limits=small)


def test_a_large_dictionary_of_xz(tmp_path):
    path = tmp_path / "c.jsonl.xz"
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 200 << 20}]
    path.write_bytes(lzma.compress(LINES, filters=filters))
    assert texts(path) == TEXTS
    with pytest.raises(CorpusError, match=r"the xz file needs more memory than there is"):
        texts(path, limits=Limits(window=150 << 20))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"PAR1....", "found a Parquet file: its name must end in .parquet"),
        (b"PK\x03\x04....", "found a zip archive: unpack it"),
        (b"\x04\x22\x4d\x18....", "found an lz4 file: unpack it"),
        (b"\x1f\x9d\x90....", "found a file of the program compress"),
        (lzma.compress(LINES, lzma.FORMAT_ALONE), "found an lzma file"),
        (b"%PDF-1.7\n", "found a PDF file"),
        ('{"text": "x"}\n'.encode("utf-16"), "found UTF-16: convert it to UTF-8"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "run 'git lfs pull'"),
        (bytes(257) + b"ustar\0" + bytes(300), "found a tar archive: unpack it"),
    ],
)
def test_what_is_found_in_place_of_text_is_named(tmp_path, data, says):
    for name in ("c.jsonl", "c.csv", "c.txt"):
        for pack in (bytes, gzip.compress):
            (tmp_path / name).write_bytes(pack(data))
            with pytest.raises(CorpusError, match=rf"{name}: expected text, .*{re.escape(says)}"):
                texts(tmp_path / name)


# --- how much is held ---

LIMIT = 1 << 20


@pytest.fixture
def held():
    """The most bytes that Python's own objects took since the last call, beside those before."""
    tracemalloc.start()
    before = 0

    def peak():
        nonlocal before
        most = tracemalloc.get_traced_memory()[1] - before
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        return most

    yield peak
    tracemalloc.stop()


LONG = "x" * (64 << 20)
TOO_LARGE = rf"{LIMIT:,} bytes, the most that is held in memory: allow more with --max-record"


def test_values_of_json_that_are_too_large(tmp_path, held):
    path = tmp_path / "c.json"
    limits = Limits(record=LIMIT)
    tricky = r"\\" * (LIMIT * 2) + r"\"]}," + "x" * LIMIT
    for long in (LONG, tricky):
        for form in (
            '[{{"text": "a"}}, {}, {{"text": "b"}}]',
            '{{"text":\n"a"}} {} {{"text":\n"b"}}',
        ):
            for value in (f'{{"text": "{long}"}}', f'{{"text":\n{{"[": ["{long}", 1]}}}}'):
                path.write_text(form.format(value))
                held()
                with pytest.raises(CorpusError, match=rf"c.json: record 2: .* than {TOO_LARGE}"):
                    texts(path, limits=limits)
                corpus = TextCorpus([path], on_error="skip", limits=limits)
                assert [document.text for document in corpus] == ["a", "b"]
                assert corpus.skipped == 1
                assert held() < 16 << 20


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd.compress])
@pytest.mark.parametrize(
    ("name", "data", "place"),
    [
        ("c.jsonl", f'{{"text": "a"}}\n{{"text": "{LONG}"}}\n{{"text": "b"}}\n', ":2"),
        ("c.csv", f'text,n\na,1\n"{LONG}",2\nb,3\n', ":3"),
        ("many-lines.csv", 'text,n\na,1\n"' + "\n" * (LIMIT + 9) + "", ":3"),
        ("c.txt", LONG, ""),
    ],
)
def test_a_record_that_is_too_large_is_refused_before_it_is_held(
    tmp_path, held, name, data, place, pack
):
    path = tmp_path / name
    path.write_bytes(pack(data.encode()))
    data = ""
    held()
    limits = Limits(record=LIMIT)
    with pytest.raises(CorpusError, match=rf"{name}{place}: a record of more than {TOO_LARGE}"):
        texts(path, limits=limits)
    corpus = TextCorpus([path], on_error="skip", limits=limits)
    found = [document.text for document in corpus]
    assert held() < 16 << 20
    if name in ("c.jsonl", "c.csv"):
        assert found == ["a", "b"]
        assert corpus.skipped == 1
    assert corpus.bytes_read == corpus.total_bytes


def test_a_record_of_just_the_limit(tmp_path):
    (tmp_path / "c.jsonl").write_bytes(LINES + b'{"text": "%s"}\n' % (b"x" * 500))
    length = len('{"text": ""}\n') + 500
    assert len(texts(tmp_path / "c.jsonl", limits=Limits(record=length))) == 5_001
    with pytest.raises(CorpusError, match=r"c.jsonl:5001: a record of more than 512 bytes"):
        texts(tmp_path / "c.jsonl", limits=Limits(record=length - 1))
    (tmp_path / "c.txt").write_bytes(b"x" * 500)
    assert texts(tmp_path / "c.txt", limits=Limits(record=500)) == ["x" * 500]
    with pytest.raises(CorpusError, match=r"c.txt: a record of more than 499 bytes"):
        texts(tmp_path / "c.txt", limits=Limits(record=499))


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_rows_of_tables_that_are_too_large(tmp_path, kind):
    rows = ["a", "x" * 2_000, "b", "c" * 900, "d" * 900, "y" * 3_000, "e"]
    table = pa.table({"text": pa.array(rows, pa.string()).cast(kind), "n": range(7)})
    pq.write_table(table, tmp_path / "t.parquet")
    with pa.ipc.new_stream(tmp_path / "t.arrow", table.schema) as writer:
        writer.write_table(table)
    for name in ("t.parquet", "t.arrow"):
        path = tmp_path / name
        assert texts(path) == rows
        with pytest.raises(CorpusError, match=rf"{name}: row 2: a record of more than 1,000 bytes"):
            texts(path, limits=Limits(record=1_000))
        corpus = TextCorpus([path], on_error="skip", limits=Limits(record=1_000))
        assert [document.text for document in corpus] == [row for row in rows if len(row) < 1_000]
        assert [skip.split(": ")[1] for skip in corpus.skips] == ["row 2", "row 6"]


def test_few_long_rows_of_a_table_are_read_at_once(tmp_path):
    rows = pa.table({"text": [f"{i:06}" * 20_000 for i in range(200)]})
    pq.write_table(rows, tmp_path / "t.parquet", use_dictionary=False, write_batch_size=4)
    before = pa.total_allocated_bytes()
    corpus = TextCorpus([tmp_path / "t.parquet"], limits=Limits(record=1 << 20))
    peak = max(pa.total_allocated_bytes() for _ in corpus) - before
    assert peak < 4 << 20 < rows.nbytes
