"""Reading: every kind of file, every kind of bad input, with the place named."""

import gzip
import json
import os
import sys

import numpy as np
import pytest

from conftest import write_jsonl
from everygram.corpus import TextCorpus, TokenCorpus
from everygram.errors import CorpusError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

RECORDS = [{"text": "one", "id": 1}, {"text": ""}, {"text": "日本\n語", "tags": ["a", {"b": None}]}]
LINES = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in RECORDS).encode()


def read(path, **options):
    return [(d.text, json.loads(d.metadata)) for d in TextCorpus([path], **options)]


EXPECTED = [("one", {"id": 1}), ("", {}), ("日本\n語", {"tags": ["a", {"b": None}]})]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("c.jsonl", LINES),
        ("c.jsonl.gz", gzip.compress(LINES)),
        ("c.jsonl.zst", zstd.compress(LINES)),
        ("multi.jsonl.gz", gzip.compress(LINES[:9]) + gzip.compress(LINES[9:])),
        ("multi.jsonl.zst", zstd.compress(LINES[:9]) + zstd.compress(LINES[9:])),
        ("crlf.jsonl", LINES.replace(b"\n", b"\r\n")),
        ("no-last-newline.jsonl", LINES.rstrip(b"\n")),
        ("bom.jsonl", b"\xef\xbb\xbf" + LINES),
        ("blank-lines.jsonl", b"\n" + LINES + b"  \n\n"),
    ],
)
def test_json_lines(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    assert read(tmp_path / name) == EXPECTED


def test_an_empty_file_has_no_documents(tmp_path):
    (tmp_path / "c.jsonl").write_bytes(b"")
    assert read(tmp_path / "c.jsonl") == []


def test_metadata_comes_back_as_it_went_in(tmp_path):
    record = {"text": "x", "big": 2**70, "float": 0.1, "nested": {"é": [True, None, "\u0000"]}}
    path = write_jsonl(tmp_path / "c.jsonl", [record])
    del record["text"]
    assert read(path) == [("x", record)]


def test_another_text_field(tmp_path):
    path = write_jsonl(tmp_path / "c.jsonl", [{"body": "x", "text": 1}])
    assert read(path, text_field="body") == [("x", {"text": 1})]


def test_text_files_and_directories(tmp_path):
    folder = tmp_path / "books"
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "two.md").write_text("two")
    (folder / "a.txt").write_text("one\r\n", newline="")
    (folder / "empty.txt").write_text("")
    (folder / ".hidden").write_bytes(b"\xff")
    (folder / ".git").mkdir()
    (folder / ".git" / "x.txt").write_text("no")
    (folder / "c.jsonl").write_bytes(LINES)
    assert read(folder) == [
        ("one\r\n", {"path": "a.txt"}),
        *EXPECTED,
        ("", {"path": "empty.txt"}),
        ("two", {"path": "b/two.md"}),
    ]
    assert read(folder / "a.txt") == [("one\r\n", {"path": "a.txt"})]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"{nope", r"c.jsonl:2: not a JSON record: Expecting property name"),
        (b'{"text": "a"} x', r"c.jsonl:2: not a JSON record: Extra data"),
        (b'["text"]', r"c.jsonl:2: expected a JSON object, found an array"),
        (b"7", r"c.jsonl:2: expected a JSON object, found a number"),
        (b'{"txt": "a", "id": 1}', r"c.jsonl:2: no field 'text'; the record has 'txt', 'id'; name"),
        (b"{}", r"c.jsonl:2: no field 'text'; the record has no fields"),
        (b'{"text": null}', r"c.jsonl:2: field 'text': expected a string, found null"),
        (b'{"text": 7}', r"c.jsonl:2: field 'text': expected a string, found a number"),
        (b'{"text": ["a"]}', r"c.jsonl:2: field 'text': expected a string, found an array"),
        (b'{"text": "a\xff"}', r"c.jsonl:2: not UTF-8: byte 12 of the line is 0xff"),
        (b'{"text": "\\ud800"}', r"c.jsonl:2: a lone surrogate"),
        (b'{"text": "a", "k": "\\ud800"}', r"c.jsonl:2: a lone surrogate"),
        (b'{"text": "a", "k": NaN}', r"c.jsonl:2: not a JSON record: NaN is no finite number"),
        (b'{"text": "a", "k": 1e999}', r"c.jsonl:2: not a JSON record: 1e999 is no finite number"),
        (b'{"text": "a", "text": "b"}', r"c.jsonl:2: not a JSON record: field 'text' stands twice"),
        (b"[" * 100_000, r"c.jsonl:2: not a JSON record"),
    ],
)
def test_a_malformed_line_names_file_and_line(tmp_path, line, says):
    path = tmp_path / "c.jsonl"
    path.write_bytes(b'{"text": "good"}\n' + line + b'\n{"text": "too"}\n')
    with pytest.raises(CorpusError, match=says):
        read(path)
    corpus = TextCorpus([path], on_error="skip")
    assert [document.text for document in corpus] == ["good", "too"]
    assert corpus.skipped == 1
    assert says.split(":2")[0] in corpus.skips[0]


@pytest.mark.parametrize("compress", [gzip.compress, zstd.compress])
def test_a_cut_off_compressed_file_is_an_error(tmp_path, compress):
    lines = b"".join(b'{"text": "%d"}\n' % (i * 7919) for i in range(20_000))
    data = compress(lines)
    path = tmp_path / ("c.jsonl.gz" if compress is gzip.compress else "c.jsonl.zst")
    for cut in (len(data) // 2, len(data) - 1, 10):
        path.write_bytes(data[:cut])
        with pytest.raises(CorpusError, match=r"the compressed file is cut off or damaged here"):
            read(path)
    corpus = TextCorpus([path], on_error="skip")
    list(corpus)
    assert corpus.skipped == 1
    path.write_bytes(b"not compressed at all")
    with pytest.raises(CorpusError, match=r":1: the compressed file is cut off or damaged here"):
        read(path)


def test_links_are_followed_once_and_what_cannot_be_read_is_an_error(tmp_path):
    folder = tmp_path / "books"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.txt").write_text("two")
    folder.mkdir()
    (folder / "a.txt").write_text("\ufeffone")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "loop").symlink_to(folder)
    assert read(folder) == [("one", {"path": "a.txt"}), ("two", {"path": "link/b.txt"})]
    (folder / "broken.txt").symlink_to("nowhere")
    with pytest.raises(CorpusError, match=r"broken.txt: not a regular file"):
        read(folder)
    corpus = TextCorpus([folder], on_error="skip")
    assert [document.text for document in corpus] == ["one", "two"]
    assert corpus.skipped == 1
    os.mkfifo(folder / "pipe")
    with pytest.raises(CorpusError, match=r"not a regular file"):
        read(folder)


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("one")

    def walk(top, followlinks, onerror):
        yield os.fspath(top), [], ["a.txt"]
        onerror(PermissionError(13, "Permission denied", os.fspath(tmp_path / "secret")))

    monkeypatch.setattr(os, "walk", walk)
    with pytest.raises(CorpusError, match=r"secret: not a regular file, or not to be read"):
        read(tmp_path)


def test_a_text_file_that_is_not_utf8(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"fine\nand \xe9t\xe9")
    with pytest.raises(CorpusError, match=r"a.txt:2: not UTF-8: byte 10 of the file is 0xe9"):
        read(tmp_path)


def test_skips_are_counted_and_the_first_listed(tmp_path):
    (tmp_path / "c.jsonl").write_text("x\n" * 50)
    corpus = TextCorpus([tmp_path / "c.jsonl"], on_error="skip")
    assert list(corpus) == []
    assert corpus.skipped == 50
    assert len(corpus.skips) == 20
    assert list(corpus) == []
    assert corpus.skipped == 50


def test_what_cannot_be_a_corpus(tmp_path):
    with pytest.raises(CorpusError, match="no such file or directory"):
        TextCorpus([tmp_path / "nowhere.jsonl"])
    (tmp_path / "data.parquet").write_bytes(b"PAR1")
    with pytest.raises(CorpusError, match=r"expected \.jsonl, .*or a directory"):
        TextCorpus([tmp_path / "data.parquet"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="has no files to read"):
        TextCorpus([tmp_path / "empty"])


def test_bytes_read_ends_at_the_total(tmp_path):
    (tmp_path / "c.jsonl").write_bytes(LINES)
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress(LINES))
    corpus = TextCorpus([tmp_path])
    seen = [corpus.bytes_read for _ in corpus]
    assert seen == sorted(seen)
    assert corpus.bytes_read == corpus.total_bytes > 0


def token_documents(path, data, dtype="u16", separator_id=9, chunk=None):
    path.write_bytes(np.array(data, f"<{dtype}".replace("u16", "u2").replace("u8", "u1")).tobytes())
    corpus = TokenCorpus([path], dtype, separator_id)
    if chunk:
        corpus.CHUNK = chunk
    documents = list(corpus)
    assert {json.loads(document.metadata)["path"] for document in documents} <= {path.name}
    assert corpus.max_id() == max((token for token in data if token != separator_id), default=-1)
    return [document.ids.tolist() for document in documents]


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
        ([9], [[]]),
        ([9, 9], [[], []]),
    ],
)
def test_raw_token_ids(tmp_path, data, documents, chunk):
    assert token_documents(tmp_path / "ids.bin", data, chunk=chunk) == documents


def test_a_file_of_tokens_cut_inside_a_token(tmp_path):
    (tmp_path / "ids.bin").write_bytes(b"abc")
    with pytest.raises(CorpusError, match="3 bytes is not a whole number of u16 tokens"):
        TokenCorpus([tmp_path / "ids.bin"], "u16", 0)
    with pytest.raises(CorpusError, match="expected a file of u16 token ids"):
        TokenCorpus([tmp_path], "u16", 0)
