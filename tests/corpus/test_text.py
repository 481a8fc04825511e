"""Reading: every kind of file, every kind of bad input, with the place named."""

import csv
import datetime
import decimal
import gzip
import json
import os
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import stores
from conftest import write_jsonl
from everygram.corpus import arrow
from everygram.corpus.decoding import Limits
from everygram.corpus.text import TextCorpus
from everygram.errors import CorpusError, MissingExtraError

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
        ("c.jsonl.gz", gzip.compress(LINES, mtime=0)),
        ("c.jsonl.zst", zstd.compress(LINES)),
        ("multi.jsonl.gz", gzip.compress(LINES[:9], mtime=0) + gzip.compress(LINES[9:], mtime=0)),
        ("multi.jsonl.zst", zstd.compress(LINES[:9]) + zstd.compress(LINES[9:])),
        ("crlf.jsonl", LINES.replace(b"\n", b"\r\n")),
        ("no-last-newline.jsonl", LINES.rstrip(b"\n")),
        ("bom.jsonl", b"\xef\xbb\xbf" + LINES),
        ("blank-lines.jsonl", b"\n" + LINES + b"  \n\n"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # (compressed ones have the time)
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


def test_metadata_is_nested_so_deep_and_no_deeper(tmp_path):
    def line(depth, more=""):
        return f'{{"text": "x", "m": {"[" * depth}{more}{"]" * depth}}}\n'

    brackets = json.dumps('["\\[{' * 300)  # in a string they nest nothing
    flat = json.dumps([{"a": [i]} for i in range(2000)])
    path = tmp_path / "c.jsonl"
    path.write_text(line(299) + line(10, brackets) + line(10, flat))
    documents = read(path)
    assert [len(json.dumps(metadata)) > 400 for _, metadata in documents] == [True] * 3
    path.write_text(line(1) + line(300) + line(290, brackets) + line(900) + line(100_000))
    with pytest.raises(CorpusError, match=r"c.jsonl:2: expected metadata nested at most 300 deep"):
        read(path)
    corpus = TextCorpus([path], on_error="skip")
    assert len(list(corpus)) == 2
    assert [skip.split(": ")[0].rpartition(":")[2] for skip in corpus.skips] == ["2", "4", "5"]
    path.write_text(line(300))
    assert read(path, metadata_fields=[]) == [("x", {})]


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
    assert read(folder) == [
        ("one\r\n", {"path": "a.txt"}),
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


def test_a_field_that_stands_twice_among_many_is_found_at_once(tmp_path):
    names = [f'"k{i}": 1' for i in range(100_000)]
    path = tmp_path / "c.jsonl"
    path.write_text('{"text": "a", ' + ", ".join([*names, names[-1]]) + "}")
    with pytest.raises(CorpusError, match=r"field 'k99999' stands twice"):
        read(path)


@pytest.mark.parametrize("compress", [gzip.compress, zstd.compress])
def test_a_cut_off_compressed_file_is_an_error(tmp_path, compress):
    lines = b"".join(b'{"text": "%d"}\n' % (i * 7919) for i in range(20_000))
    data = compress(lines)
    path = tmp_path / ("c.jsonl.gz" if compress is gzip.compress else "c.jsonl.zst")
    for cut in (len(data) // 2, len(data) - 1, 10):
        path.write_bytes(data[:cut])
        with pytest.raises(CorpusError, match=r"file is cut off: it ends after .*; get it again"):
            read(path)
    corpus = TextCorpus([path], on_error="skip")
    list(corpus)
    assert corpus.skipped == 1
    path.write_bytes(b"not compressed at all")
    with pytest.raises(CorpusError, match=r":1: not a JSON record"):
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
    (tmp_path / "data.xlsx").write_bytes(b"PK")
    with pytest.raises(CorpusError, match=r"expected \.jsonl, .*or a directory"):
        TextCorpus([tmp_path / "data.xlsx"])
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


# --- tables ---

ROWS = [{"text": "one", "id": 1}, {"text": "", "id": 2}, {"text": '日本\n語, "x"', "id": 3}]


def tables(folder, rows):
    """The rows as every kind of table."""
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, folder / "t.parquet", row_group_size=2)
    with (
        pa.OSFile(str(folder / "t.arrow"), "wb") as file,
        pa.ipc.new_stream(file, table.schema) as w,
    ):
        w.write_table(table, max_chunksize=2)
    with (
        pa.OSFile(str(folder / "file.arrow"), "wb") as file,
        pa.ipc.new_file(file, table.schema) as w,
    ):
        w.write_table(table)
    for name, delimiter in (("t.csv", ","), ("t.tsv", "\t")):
        with (folder / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0], delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
    (folder / "t.csv.gz").write_bytes(gzip.compress((folder / "t.csv").read_bytes()))
    (folder / "t.tsv.zst").write_bytes(zstd.compress((folder / "t.tsv").read_bytes()))
    write_jsonl(folder / "t.ndjson", rows)
    (folder / "t.json.gz").write_bytes(gzip.compress((folder / "t.ndjson").read_bytes()))
    return sorted(folder.iterdir())


def test_every_kind_of_table(tmp_path):
    paths = tables(tmp_path, ROWS)
    assert len(paths) == 9
    for path in paths:
        of_text = ".csv" in path.name or ".tsv" in path.name
        options = {"quoting": "double"} if of_text else {}
        expected = [(row["text"], {"id": str(row["id"]) if of_text else row["id"]}) for row in ROWS]
        assert read(path, **options) == expected, path
        assert read(path, metadata_fields=[], **options) == [(row["text"], {}) for row in ROWS]
        corpus = TextCorpus([path], **options)
        seen = [corpus.bytes_read for _ in corpus]
        assert seen == sorted(seen)
        assert corpus.bytes_read == corpus.total_bytes == path.stat().st_size
        with pytest.raises(CorpusError, match=r"no (field|column) 'body'.*'text', 'id'"):
            metadata_fields = [] if "arrow" in path.name else None
            read(path, text_field="body", metadata_fields=metadata_fields, **options)
    assert TextCorpus([tmp_path]).formats == {
        "Arrow": 2, "CSV": 2, "JSON": 1, "JSON lines": 1, "Parquet": 1, "TSV": 2
    }  # fmt: skip


def test_values_that_json_has_not(tmp_path):
    row = {
        "text": "x",
        "time": datetime.datetime(2024, 5, 6, 7, 8, 9),
        "day": datetime.date(2024, 5, 6),
        "price": decimal.Decimal("1.10"),
        "nan": float("nan"),
        "raw": b"a\xff",
        "list": [{"deep": float("inf")}, None],
    }
    table = pa.Table.from_pylist([row])
    nanoseconds = pa.array([1_714_979_289_000_000_001], pa.timestamp("ns"))
    table = table.append_column("ns", nanoseconds)
    pq.write_table(table, tmp_path / "t.parquet")
    metadata = {
        "time": "2024-05-06 07:08:09.000000",
        "day": "2024-05-06",
        "price": "1.10",
        "nan": None,
        "raw": "a\\xff",
        "list": [{"deep": None}, None],
        "ns": "2024-05-06 07:08:09.000000001",
    }
    assert read(tmp_path / "t.parquet") == [("x", metadata)]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_every_kind_of_string_column(tmp_path, kind):
    column = pa.array(["a", None, "b"], kind)
    pq.write_table(pa.table({"text": column}), tmp_path / "t.parquet")
    corpus = TextCorpus([tmp_path / "t.parquet"], on_error="skip")
    assert [document.text for document in corpus] == ["a", "b"]
    assert corpus.skips == [
        f"{tmp_path}/t.parquet: row 2: field 'text': expected a string, found null"
    ]


def test_tables_that_are_damaged(tmp_path):
    rows = [{"text": f"{i} " * 20, "n": i} for i in range(3000)]
    for path in tables(tmp_path, rows):
        data = path.read_bytes()
        plain = path.suffix in (".csv", ".tsv", ".ndjson")
        for cut in (0, 3, len(data) // 2, len(data) - 9, len(data) - 1):
            path.write_bytes(data[:cut])
            corpus = TextCorpus([path], on_error="skip")
            texts = [document.text for document in corpus]
            assert texts == [row["text"] for row in rows[: len(texts)]]
            if not plain and cut:
                assert corpus.skipped == 1, (path, cut)
                assert str(path) in corpus.skips[0]
                with pytest.raises(CorpusError, match=path.name):
                    read(path)
        path.write_bytes(data)


def test_a_large_description_of_a_table(tmp_path, monkeypatch):
    table = pa.table({"text": ["a"]}).replace_schema_metadata({"k": "x" * 100_000})
    pq.write_table(table, tmp_path / "t.parquet")
    monkeypatch.setattr(arrow, "DESCRIPTION", 10_000)
    assert read(tmp_path / "t.parquet") == [("a", {})]
    assert read(tmp_path / "t.parquet", limits=Limits(record=1 << 20)) == [("a", {})]
    with pytest.raises(CorpusError, match=r"its description is larger than pyarrow reads"):
        read(tmp_path / "t.parquet", limits=Limits(record=5_000))


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (pa.ArrowNotImplementedError("lzo"), "pyarrow does not read this: lzo; write the file ag"),
        (pa.ArrowMemoryError("malloc"), r".*not enough memory to unpack it.*\(malloc\)"),
        (OSError("Could not read encrypted metadata"), r"encrypted: decrypt it first \(Could not"),
        (
            pa.ArrowInvalid("bad"),
            r"damaged, cut off, or of another format: get it again",
        ),
    ],
)
def test_what_is_wrong_with_a_table_that_is_not_read(tmp_path, monkeypatch, error, says):
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "t.parquet")

    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(pq, "ParquetFile", fail)
    with pytest.raises(CorpusError, match=rf"t.parquet: {says}"):
        read(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("data", "says", "texts"),
    [
        (
            b"text,n\na,1\nb\nc,3\n",
            r"t.csv:3: expected 2 columns, as the first row has, found 1",
            "ac",
        ),
        (b"text,n\na,1\nb,2,3\nc,3\n", r"t.csv:3: expected 2 columns, .* found 3", "ac"),
        (b'text,n\na,1\n"b"x,2\nc,3\n', r"t.csv:3: not a row of a table: ", "ac"),
        (b"text,n\na,1\nb,\xff\nc,3\n", r"t.csv:3: not UTF-8: column 'n' has the byte 0xff", "ac"),
        (b"text,text\na,1\n", r"t.csv:1: two columns have the name 'text'", ""),
        (b"txt,n\na,1\n", r"t.csv:2: no field 'text'; the record has 'txt', 'n'", ""),
        (b'text,n\na,1\n"open,2\nc,3\n', r"t.csv:3: a quote opens here and is never closed", "a"),
    ],
)
def test_rows_that_are_malformed(tmp_path, data, says, texts):
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    with pytest.raises(CorpusError, match=says):
        read(path)
    corpus = TextCorpus([path], on_error="skip")
    assert [document.text for document in corpus] == list(texts)
    assert corpus.skipped == 1


def test_columns_that_are_not_there_and_rows_of_other_types(tmp_path):
    pq.write_table(pa.table({"text": [1, 2], "b": ["x", "y"]}), tmp_path / "t.parquet")
    with pytest.raises(
        CorpusError, match=r"row 1: field 'text': expected a string, found a number"
    ):
        read(tmp_path / "t.parquet")
    with pytest.raises(CorpusError, match=r"no column 'source'; the table has 'text', 'b'"):
        read(tmp_path / "t.parquet", text_field="b", metadata_fields=["source"])


# --- fields ---


@pytest.mark.parametrize("parquet", [False, True])
def test_nested_fields_ids_and_chosen_metadata(tmp_path, parquet):
    record = {"doc": {"body": "x", "uid": "u1", "n": 2}, "source": "web", "id": 7}
    path = tmp_path / "c.parquet"
    if parquet:
        pq.write_table(pa.Table.from_pylist([record]), path)
    else:
        path = write_jsonl(tmp_path / "c.jsonl", [record])

    def of(**options):
        ((text, metadata),) = read(path, text_field="doc.body", **options)
        assert text == "x"
        return metadata

    assert of() == {"doc": {"uid": "u1", "n": 2}, "source": "web", "id": 7}
    assert of(id_field="doc.uid") == {"id": "u1", "doc": {"n": 2}, "source": "web"}
    assert of(metadata_fields=[]) == {}
    assert of(metadata_fields=["doc.n", "source"]) == {"doc": {"n": 2}, "source": "web"}
    assert of(id_field="id", metadata_fields=["source"]) == {"id": 7, "source": "web"}
    with pytest.raises(CorpusError, match=r"no (field|column) 'uid'"):
        of(id_field="uid", metadata_fields=[])
    with pytest.raises(
        CorpusError, match=r"expected a string or an integer as id, found an object"
    ):
        of(id_field="doc")


def test_a_missing_id_is_said_with_all_fields_of_the_record(tmp_path):
    path = write_jsonl(tmp_path / "c.jsonl", [{"body": "x", "n": 1}])
    with pytest.raises(CorpusError, match=r"no field 'uid'; the record has 'body', 'n'; name it"):
        read(path, text_field="body", id_field="uid")


def test_a_text_may_be_its_id(tmp_path):
    path = write_jsonl(tmp_path / "c.jsonl", [{"a.b": "x", "a": {"b": "y"}}])
    assert read(path, text_field="a.b", id_field="a.b") == [("x", {"id": "x", "a": {"b": "y"}})]


def test_a_name_with_a_dot_goes_before_what_is_inside(tmp_path):
    path = write_jsonl(tmp_path / "c.jsonl", [{"a.b": "x", "a": {"b": "y"}}])
    assert read(path, text_field="a.b") == [("x", {"a": {"b": "y"}})]


# --- names ---


def test_patterns(tmp_path):
    for name in ("b/2.txt", "b/c/3.txt", "1.txt", "x.md", "b/.4.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)

    def names(pattern):
        return [(text, m["path"]) for text, m in read(str(tmp_path / pattern))]

    assert names("*.txt") == [("1.txt", "1.txt")]
    assert names("**/*.txt") == [
        ("1.txt", "1.txt"),
        ("b/2.txt", "b/2.txt"),
        ("b/c/3.txt", "b/c/3.txt"),
    ]
    assert names("b/*") == [("b/2.txt", "2.txt"), ("b/c/3.txt", "3.txt")]
    assert names("[1x].*") == [("1.txt", "1.txt"), ("x.md", "x.md")]
    with pytest.raises(CorpusError, match="no file matches this pattern"):
        names("*.nope")


def test_the_same_file_twice(tmp_path):
    path = write_jsonl(tmp_path / "c.jsonl", [{"text": "x"}])
    (tmp_path / "d.jsonl").symlink_to(path)
    for given in ([path, path], [path, tmp_path], [tmp_path]):
        with pytest.raises(CorpusError, match=r"the same file as .*c\.jsonl', which is"):
            TextCorpus(given)
        corpus = TextCorpus(given, on_error="skip")
        for _ in range(2):
            assert [document.text for document in corpus] == ["x"]
            assert corpus.skipped == len(corpus.skips) > 0


def test_data_sets_that_were_saved(tmp_path):
    datasets = pytest.importorskip("datasets")
    one = datasets.Dataset.from_list([{"text": f"{i}", "n": i} for i in range(10)])
    one = one.select([9, 8, 7, 6, 5])
    two = datasets.Dataset.from_list([{"text": "test", "n": -1}])
    one.save_to_disk(tmp_path / "one", num_shards=2)
    datasets.DatasetDict({"train": one, "test": two}).save_to_disk(tmp_path / "dict")
    rows = [(str(n), {"n": n}) for n in (9, 8, 7, 6, 5)]
    assert read(tmp_path / "one") == rows
    assert read(tmp_path / "dict") == [("test", {"n": -1}), *rows]
    # The files it no longer has are not read; those it says it has must be there.
    shards = sorted((tmp_path / "one").glob("*.arrow"))
    (tmp_path / "one" / "stale.arrow").write_bytes(b"no")
    assert read(tmp_path / "one") == rows
    shards[0].unlink()
    with pytest.raises(CorpusError, match=rf"the data set's file '{shards[0].name}' is missing"):
        read(tmp_path / "one")
    (tmp_path / "one" / "state.json").write_text("{")
    with pytest.raises(CorpusError, match="not the description of a saved data set"):
        read(tmp_path / "one")


def test_a_data_set_of_the_hub_by_its_name(tmp_path, monkeypatch):
    # A folder of that name is taken for it.
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    pytest.importorskip("datasets")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "me" / "corpus"
    (folder / "small").mkdir(parents=True)
    config = "config_name: small\n  data_files:\n  - split: train\n    path: small/*.jsonl\n"
    (folder / "README.md").write_text(f"---\nconfigs:\n- {config}---\n")
    rows = [{"text": f"{i}", "n": i} for i in range(3000)]
    write_jsonl(folder / "small" / "a.jsonl", rows)
    expected = [(row["text"], {"n": row["n"]}) for row in rows]
    assert read("datasets:me/corpus,small") == expected
    assert read("datasets:me/corpus,small,split=train") == expected
    assert read("datasets:me/corpus", metadata_fields=[])[-1] == ("2999", {})
    for name, says in [
        ("datasets:me/corpus,small,split=dev", "cannot be loaded: .*dev"),
        ("datasets:me/corpus,other", "cannot be loaded: .*other"),
        ("datasets:no/such", "cannot be loaded"),
        ("datasets:", "expected datasets:NAME"),
    ]:
        with pytest.raises(CorpusError, match=says):
            read(name)


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [
        ("t.parquet", "pyarrow", "parquet"),
        ("t.arrow", "pyarrow", "parquet"),
        ("datasets:x", "datasets", "datasets"),
        ("s3://bucket/x.jsonl", "s3fs", "remote"),
        ("s3://bucket/x.jsonl", "fsspec", "remote"),
    ],
)
def test_an_extra_that_is_missing_is_named(tmp_path, monkeypatch, name, module, extra):
    (tmp_path / "t.parquet").write_bytes(b"")
    (tmp_path / "t.arrow").write_bytes(b"")
    for loaded in [*sys.modules]:
        if loaded.partition(".")[0] == module:
            monkeypatch.setitem(sys.modules, loaded, None)
    monkeypatch.setitem(sys.modules, module, None)
    if sys.modules.get("fsspec.registry") is not None:
        monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    given = name if ":" in name else tmp_path / name
    with pytest.raises(MissingExtraError, match=rf"everygram\[{extra}\]"):
        read(given)


# --- elsewhere ---


@pytest.fixture(scope="module")
def s3():
    """A bucket of a server here, and what writes to it."""
    with stores.serving():
        import s3fs

        yield s3fs.S3FileSystem()


def test_files_on_s3(s3, tmp_path):
    paths = tables(tmp_path, ROWS)
    for path in paths:
        s3.put(str(path), f"bucket/tables/{path.name}")
        options = {"quoting": "double"} if ".tsv" in path.name else {}
        assert read(f"s3://bucket/tables/{path.name}", **options) == read(path, **options)
    s3.pipe("bucket/books/b/two.md", b"two")
    s3.pipe("bucket/books/a.txt", b"one")
    s3.pipe("bucket/books/.hidden", b"no")
    books = [("one", {"path": "a.txt"}), ("two", {"path": "b/two.md"})]
    assert read("s3://bucket/books") == read("s3://bucket/books/**") == books
    assert read("s3://bucket/books/*.txt") == books[:1]
    assert len(read("s3://bucket/tables/*.parquet")) == len(ROWS)
    before = TextCorpus(["s3://bucket/books/a.txt"]).files[0]
    assert (before.name, before.size) == ("s3://bucket/books/a.txt", 3)
    s3.pipe("bucket/books/a.txt", b"two")
    s3.invalidate_cache()
    assert TextCorpus(["s3://bucket/books/a.txt"]).files[0].version != before.version
    for name, says in [
        ("s3://bucket/nope.jsonl", "no such file"),
        ("s3://nope/x.jsonl", "no such file"),
        ("s3://bucket/nope/*", "no files to read there"),
        ("nope://bucket/x.jsonl", "not an address that fsspec knows"),
    ]:
        with pytest.raises(CorpusError, match=says):
            TextCorpus([name])


def test_a_truncated_file_on_s3(s3, tmp_path):
    (path,) = [path for path in tables(tmp_path, ROWS) if path.name == "t.parquet"]
    s3.pipe("bucket/cut.parquet", path.read_bytes()[:-20])
    with pytest.raises(CorpusError, match=r"s3://bucket/cut.parquet: damaged, cut off"):
        read("s3://bucket/cut.parquet")


def test_files_on_the_web(tmp_path):
    pytest.importorskip("aiohttp")
    paths = tables(tmp_path, ROWS)
    handler = partial(Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at = f"http://127.0.0.1:{server.server_port}"
        for path in paths:
            options = {"quoting": "double"} if ".tsv" in path.name else {}
            assert read(f"{at}/{path.name}", **options) == read(path, **options)
        assert read(f"{at}/t.csv?download=true") == read(tmp_path / "t.csv")
        with pytest.raises(CorpusError, match=r"nope.jsonl: (no such file|cannot be reached)"):
            read(f"{at}/nope.jsonl")
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass
