"""Documents that a program holds: tables, data sets, iterables of strings and mappings."""

import collections
import csv
import datetime
import io
import json
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pytest

import everygram
from conftest import write_jsonl
from everygram.building import stages
from everygram.corpus.source import CorpusOptions, NamedCorpus
from everygram.errors import BuildError, CorpusError, MissingExtraError, OptionError

ROWS = [{"text": "to be", "n": 1}, {"text": "", "n": None}, {"text": "or not to be", "n": 3}]
EXPECTED = [(row["text"], {"n": row["n"]}) for row in ROWS]
TEXTS = [row["text"] for row in ROWS]


def read(corpus, **options):
    documents = NamedCorpus(corpus, CorpusOptions(**options)).text()
    return [(document.text, json.loads(document.metadata)) for document in documents]


class Table:
    """A table of some library: all that is known of it is that it gives an Arrow stream."""

    def __init__(self, table):
        self._table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self._table.__arrow_c_stream__(requested_schema)

    def __iter__(self):
        return iter(self._table.column_names)


def tables():
    table = pa.Table.from_pylist(ROWS)
    yield "table", table
    yield "batch", table.to_batches()[0]
    yield "reader", table.to_reader()
    yield "other", Table(table)
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": TEXTS, "n": pandas.array([1, None, 3], "Int64")})
    yield "pandas", frame
    datasets = pytest.importorskip("datasets")
    yield "datasets", datasets.Dataset.from_list(ROWS)
    shuffled = datasets.Dataset.from_list(ROWS[::-1]).select([2, 1, 0])
    yield "datasets-selected", shuffled
    yield "datasets-streamed", datasets.Dataset.from_list(ROWS).to_iterable_dataset()


@pytest.mark.parametrize(("name", "table"), [pytest.param(*each, id=each[0]) for each in tables()])
def test_tables_are_read_by_row(tmp_path, name, table):
    if name != "reader":
        assert read(table) == EXPECTED
        assert read(table, metadata_fields=[]) == [(text, {}) for text in TEXTS]
        with pytest.raises(CorpusError, match=r"corpus: no column 'body'; the table has 'text'"):
            read(table, text_field="body", metadata_fields=[])
    report = everygram.build(table, tmp_path / "index", id_field="n", on_error="skip")
    assert (report.num_documents, report.skipped) == (2, 1)
    assert report.skips[0].startswith("corpus: row 2: field 'n': expected a string or an integer")
    with everygram.open(tmp_path / "index") as index:
        assert index.count("to be") == 2
        assert index.document(1).metadata == {"id": 3}


def test_a_data_frame_is_not_its_column_names(tmp_path):
    pandas = pytest.importorskip("pandas")
    write_jsonl(tmp_path / "text", [{"text": "no"}])  # a file with the name of a column
    frame = pandas.DataFrame(ROWS)
    report = everygram.build(frame[["text"]], tmp_path / "index")
    assert report.num_documents == 3
    frame = pandas.DataFrame([[1, 2]], columns=["text", "text"])
    with pytest.raises(CorpusError, match=r"corpus: .*[Dd]uplicate"):
        read(frame)
    frame = pandas.DataFrame({"text": ["a", 1]})
    with pytest.raises(CorpusError, match="corpus: "):
        read(frame)


@pytest.mark.parametrize(
    "column",
    [pa.chunked_array([TEXTS[:1], TEXTS[1:]]), pa.array(TEXTS), np.array(TEXTS), TEXTS],
    ids=["chunked", "array", "numpy", "pandas"],
)
def test_columns_of_texts(column):
    if column is TEXTS:
        column = pytest.importorskip("pandas").Series(TEXTS)
    assert read(column) == [(text, {}) for text in TEXTS]
    assert read(column, text_field="a.b") == [(text, {}) for text in TEXTS]


def test_cells_of_tables_in_memory_that_are_damaged():
    bad = pa.array([b"a", b"b\xff", b"c"]).view(pa.string())
    table = pa.table({"text": bad})
    with pytest.raises(CorpusError, match=r"corpus: row 2: not UTF-8: column 'text' has the byte"):
        read(table)
    assert read(table, on_error="skip") == [("a", {}), ("c", {})]


def test_a_table_that_is_used_up():
    class Broken:
        def __arrow_c_stream__(self, requested_schema=None):
            raise RuntimeError("array stream is released")

    with pytest.raises(CorpusError, match="corpus: gives no table: array stream is released"):
        read(Broken())


def test_a_table_without_pyarrow(monkeypatch):
    given = Table(pa.table({"text": ["a"]}))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"everygram\[parquet\]"):
        read(given)


class Again:
    """What can be iterated over again, and is no sequence."""

    def __init__(self, items):
        self._items = items

    def __iter__(self):
        return iter(self._items)


@pytest.mark.parametrize("of", [iter, Again, lambda items: (item for item in items)])
def test_iterables_of_strings_and_mappings(tmp_path, of):
    assert read(of(TEXTS)) == [(text, {}) for text in TEXTS]
    assert read(of(ROWS)) == EXPECTED
    assert read(of([{"text": "a"}, "b", MappingProxyType({"text": "c", "k": 1})])) == [
        ("a", {}),
        ("b", {}),
        ("c", {"k": 1}),
    ]
    report = everygram.build(of(TEXTS), tmp_path / "index")
    assert report.num_documents == 3
    report = everygram.add(tmp_path / "index", of(ROWS))
    assert report.num_documents == 3
    with everygram.open(tmp_path / "index") as index:
        assert index.count("to be") == 4
        assert index.document(5).metadata == {"n": 3}


def test_a_list_of_mappings_is_records_and_stays_as_it_was():
    rows = [{"doc": {"body": "a", "n": (1, 2)}, "at": datetime.date(2024, 5, 6), "x": np.int64(7)}]
    before = repr(rows)
    assert read(rows, text_field="doc.body", id_field="x") == [
        ("a", {"id": 7, "doc": {"n": [1, 2]}, "at": "2024-05-06"})
    ]
    assert read(tuple(rows), text_field="doc.body", metadata_fields=[]) == [("a", {})]
    assert repr(rows) == before
    table = csv.DictReader(io.StringIO("text,n\na,1\nb,2\n"))
    assert read(table) == [("a", {"n": "1"}), ("b", {"n": "2"})]


@pytest.mark.parametrize(
    ("item", "says"),
    [
        (b"a", "expected a string or a mapping, found bytes"),
        (None, "expected a string or a mapping, found NoneType"),
        (["a"], "expected a string or a mapping, found list"),
        ({"txt": "a"}, "no field 'text'; the record has 'txt'"),
        ({"text": 1}, "field 'text': expected a string, found a number"),
        ({"text": "a", "k": {1, 2}}, "field 'k': expected a value that JSON has, found set"),
        ({"text": "a", "k": [object()]}, "field 'k': expected a value that JSON has, found object"),
        ({"text": "a", 3: "b"}, "field 3: expected a string as a field's name, found 3"),
        ({"text": "\ud800"}, "a lone surrogate"),
        ("\ud800", "a lone surrogate"),
    ],
)
def test_a_record_that_is_none_costs_itself(item, says):
    items = [{"text": "a"}, item, "c"]
    with pytest.raises(CorpusError, match=f"corpus: record 2: {says}"):
        read(items)
    assert read(items, on_error="skip") == [("a", {}), ("c", {})]


def test_names_stay_names(tmp_path):
    paths = [write_jsonl(tmp_path / f"{i}.jsonl", [{"text": str(i)}]) for i in range(2)]
    names = [str(path) for path in paths]
    expected = [("0", {}), ("1", {})]
    for given in (names, tuple(names), paths, iter(paths), sorted(tmp_path.glob("*")), {0: 1}):
        if given == {0: 1}:
            given = dict.fromkeys(paths).keys()
        assert read(given) == expected
    with pytest.raises(OptionError, match=r"is a text here, and the name of a file: pass a list"):
        read(iter(names))
    with pytest.raises(
        OptionError, match=r"found a text as number 2 of a list.*pass texts as iter"
    ):
        read([names[0], "a line\nanother"])
    with pytest.raises(OptionError, match=r"found dict as number 2 of a list of names; texts and"):
        read([names[0], {"text": "a"}])


@pytest.mark.parametrize(
    ("corpus", "says"),
    [
        (3, "found int"),
        (None, "found NoneType"),
        (b"corpus.jsonl", "found bytes; pass a str"),
        ({"text": "a"}, r"found dict; for one document pass \[mapping\]"),
        ({"a", "b"}, "found set; a set has no order"),
        (io.StringIO("a"), "found an open file; pass its name"),
        (type("LazyFrame", (), {"columns": ["text"]})(), "found a LazyFrame without __arrow_c_str"),
    ],
)
def test_what_cannot_be_a_corpus(tmp_path, corpus, says):
    index = tmp_path / "index"
    everygram.build([{"text": "a"}], index)
    for call in (everygram.build, everygram.plan, lambda given, _: everygram.add(index, given)):
        with pytest.raises(
            OptionError, match=f"corpus: expected a path, or a list of paths, a table.*{says}"
        ):
            call(corpus, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("corpus", [ROWS, pa.table({"text": ["a"]}), np.array([1, 2], "u2")])
def test_options_that_go_with_files(tmp_path, corpus):
    for options, says in (
        ({"pretokenized": "u16", "separator_id": 0}, "token ids are read from files"),
        ({"split": "lines"}, "split goes with text files, found only in memory"),
        ({"quoting": "none"}, "quoting goes with CSV and TSV files, found only in memory"),
    ):
        with pytest.raises(OptionError, match=says):
            everygram.build(corpus, tmp_path / "index", **options)


def test_what_can_be_read_only_once(tmp_path):
    used = iter(["a"])
    assert read(used) == [("a", {})]
    with pytest.raises(CorpusError, match="the iterator has nothing left"):
        read(used)
    again = NamedCorpus(iter(["a"]), CorpusOptions()).text()
    assert len(list(again)) == 1
    with pytest.raises(CorpusError, match="the iterator is used up"):
        list(again)
    for given in (iter(TEXTS), pa.Table.from_pylist(ROWS).to_reader()):
        with pytest.raises(OptionError, match="a plan would use up an iterator"):
            everygram.plan(given, tmp_path / "index")
        with pytest.raises(OptionError, match="training reads the corpus twice"):
            everygram.build(given, tmp_path / "index", "train:300")
    assert not (tmp_path / "index").exists()
    assert everygram.build(Again(["ab"] * 9), tmp_path / "index", "train:300").num_documents == 9


def test_a_plan_of_what_is_held_counts_it_all(tmp_path):
    for given in ([{"text": "a" * 99}] * 5000, pa.table({"text": ["a" * 99] * 5000})):
        plan = everygram.plan(given, tmp_path / "index")
        assert (plan.tokens, plan.formats) == (5000 * 99, {"in memory": 1})
        assert not (tmp_path / "index").exists()


def test_what_a_program_holds_starts_over(tmp_path, monkeypatch):
    """A build of it that is killed leaves nothing to go on from, nor a lock or an obstacle."""
    code = (
        "import os, everygram, sys; from everygram.building.segment_builder import SegmentBuilder;"
        "SegmentBuilder.merge = lambda *a: os._exit(9);"
        "everygram.{call}, memory=1 << 22)"
    )
    rows = "[{'text': 'to be or not'}] * 5000"
    index = tmp_path / "index"
    for call in (f"build({rows}, {str(index)!r}", f"add({str(index)!r}, {rows}"):
        done = subprocess.run([sys.executable, "-c", code.format(call=call)])
        assert done.returncode == 9
        assert not (index / "build.json").exists()
        if call.startswith("build"):
            everygram.build([{"text": "another"}], index)
        else:
            everygram.add(index, iter(["one more"]))
    with everygram.open(index) as opened:
        assert opened.info()["num_documents"] == 2
    assert sorted(path.name for path in index.iterdir() if path.is_dir()) == [
        "segment-000001",
        "segment-000002",
    ]


def test_what_a_program_holds_does_not_take_the_place_of_an_interrupted_build(
    tmp_path, monkeypatch
):
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": "a b a b"}] * 10)

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stages.SegmentBuilder, "merge", killed)
        with pytest.raises(KeyboardInterrupt):
            everygram.build(corpus, tmp_path / "index")
    with pytest.raises(BuildError, match="holds an interrupted build with other arguments"):
        everygram.build([{"text": "a"}], tmp_path / "index")
    report = everygram.build([{"text": "a"}], tmp_path / "index", restart=True)
    assert report.num_documents == 1


def test_errors_of_a_generator_come_through(tmp_path):
    def texts():
        yield "a"
        raise ZeroDivisionError("of the generator")

    with pytest.raises(ZeroDivisionError, match="of the generator"):
        everygram.build(texts(), tmp_path / "index", on_error="skip")
    assert not (tmp_path / "index").exists()


def test_a_data_set_of_several_splits_is_refused():
    datasets = pytest.importorskip("datasets")
    split = datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)})
    with pytest.raises(OptionError, match=r"found DatasetDict; .*pass corpus\['train'\]"):
        read(split)
    assert read(split["train"]) == EXPECTED


def test_other_mappings_and_paths():
    Row = collections.UserDict  # noqa: N806
    assert read([Row(text="a", path=Path("b"))]) == [("a", {"path": "b"})]


def test_a_field_that_no_mapping_has_is_in_the_report(tmp_path):
    held = [{"text": "a", "s": 1}]
    report = everygram.build(held, tmp_path / "index", metadata_fields=["sss", "s"])
    (warning,) = report.warnings
    assert warning == "no record has the metadata field 'sss'; the first has 'text', 's'"
    assert everygram.build(held, tmp_path / "other", metadata_fields=["s"]).warnings == ()
