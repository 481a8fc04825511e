"""Cells of tables: every type prints one way at any depth, and damage costs its own row alone."""

import datetime
import decimal
import json
import random
import struct
import sys
import uuid

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from everygram.corpus.text import TextCorpus
from everygram.corpus.values import of_column, of_object
from everygram.errors import CorpusError


def write(path, table):
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    return path


def read(path, **options):
    return [(d.text, json.loads(d.metadata)) for d in TextCorpus([path], **options)]


def invalid(values, kind=None):
    """A string column of those bytes, as files of careless writers have them."""
    return pa.array(values, pa.binary()).view(kind or pa.string())


NS = 1_714_979_289_000_000_001
# (values as Arrow stores them, their type, how they print)
PRINTED = [
    ([NS], pa.timestamp("ns"), "2024-05-06 07:08:09.000000001"),
    ([NS // 1000], pa.timestamp("us"), "2024-05-06 07:08:09.000000"),
    ([NS // 10**9], pa.timestamp("s"), "2024-05-06 07:08:09"),
    ([NS], pa.timestamp("ns", "Europe/Berlin"), "2024-05-06 07:08:09.000000001Z"),
    ([NS], pa.timestamp("ns", "No/Where"), "2024-05-06 07:08:09.000000001Z"),
    ([-(10**10)], pa.timestamp("s"), "1653-02-10 06:13:20"),
    ([10**13], pa.timestamp("s"), "<value out of range: 10000000000000>"),
    ([1], pa.date32(), "1970-01-02"),
    ([-(10**6)], pa.date32(), "-0768-02-04"),
    ([86_400_000], pa.date64(), "1970-01-02"),
    ([3661], pa.time32("s"), "01:01:01"),
    ([1], pa.time64("ns"), "00:00:00.000000001"),
    ([1_500], pa.duration("ms"), "PT1.500S"),
    ([-1], pa.duration("ns"), "-PT0.000000001S"),
    ([90], pa.duration("s"), "PT90S"),
    ([(1, 2, -3)], pa.month_day_nano_interval(), "P1M2DT-0.000000003S"),
    ([decimal.Decimal("1E-10")], pa.decimal128(20, 10), "0.0000000001"),
    ([decimal.Decimal("1.10")], pa.decimal256(50, 2), "1.10"),
    ([b"a\xff"], pa.binary(), "a\\xff"),
    ([b"a\xff"], pa.large_binary(), "a\\xff"),
    ([b"a\xff"], pa.binary_view(), "a\\xff"),
    ([b"a\xff"], pa.binary(2), "a\\xff"),
    ([2**63], pa.uint64(), 2**63),
    ([0.1], pa.float32(), 0.10000000149011612),
    ([float("nan")], pa.float64(), None),
    ([True], pa.bool_(), True),
    ([[("b", 1), ("b", 2)]], pa.map_(pa.string(), pa.int8()), [["b", 1], ["b", 2]]),
]


@pytest.mark.parametrize("pandas", [True, False], ids=["pandas", "no-pandas"])
@pytest.mark.parametrize(("values", "kind", "printed"), PRINTED, ids=lambda x: str(x)[:30])
def test_a_type_prints_one_way_at_any_depth(monkeypatch, values, kind, printed, pandas):
    if not pandas:
        monkeypatch.setitem(sys.modules, "pandas", None)
    column = pa.array([*values, None], kind)
    assert of_column(column) == [printed, None]
    assert of_column(column.slice(1)) == [None]
    two = pa.array([0, 2], pa.int32())
    assert of_column(pa.ListArray.from_arrays(two, column)) == [[printed, None]]
    assert of_column(pa.StructArray.from_arrays([column], ["a"])) == [{"a": printed}, {"a": None}]
    keyed = pa.MapArray.from_arrays(two, pa.array(["k", "l"]), column)
    assert of_column(keyed) == [[["k", printed], ["l", None]]]
    if not pa.types.is_nested(kind):
        coded = pa.DictionaryArray.from_arrays(pa.array([1, 0, None], pa.int8()), column)
        assert of_column(coded) == [None, printed, None]


def test_types_that_have_others_inside():
    nothing = pa.array([None, None])
    assert of_column(nothing) == [None, None]
    ends = pc.run_end_encode(pa.array([1, 1, None, 3]))
    assert of_column(ends.slice(1)) == [1, None, 3]
    coded = pa.DictionaryArray.from_arrays(
        pa.array([0, None, 0]), pa.array([{"t": 1}], pa.struct([("t", pa.duration("s"))]))
    )
    first, _, last = of_column(coded)
    assert first == last == {"t": "PT1S"}
    assert first is not last
    union = pa.UnionArray.from_dense(
        pa.array([0, 1, 0], pa.int8()),
        pa.array([0, 0, 1], pa.int32()),
        [pa.array([5, 6]), pa.array(["x"])],
    )
    assert of_column(union) == [5, "x", 6]
    if hasattr(pa, "uuid"):
        column = pa.array([uuid.UUID(int=5), None], pa.uuid())
        assert of_column(column) == [str(uuid.UUID(int=5)), None]
    if hasattr(pa, "bool8"):
        column = pa.ExtensionArray.from_storage(pa.bool8(), pa.array([0, None, 2], pa.int8()))
        assert of_column(column) == [False, None, True]
    one = pa.array([1])
    with pytest.raises(ValueError, match="two fields of a struct have the name 'a'"):
        of_column(pa.StructArray.from_arrays([one, one], names=["a", "a"]))


def test_nested_values_are_those_that_were_put_in():
    choice = random.Random(0)
    kinds = [pa.int32(), pa.string()]
    makers = [
        lambda inner: pa.struct([("a", inner()), ("b", inner())]),
        lambda inner: pa.map_(pa.string(), inner()),
        lambda inner: pa.list_(inner()),
        lambda inner: pa.large_list(inner()),
        lambda inner: pa.list_(inner(), 2),
        lambda inner: pa.list_view(inner()),
    ]

    def kind(depth):
        if depth == 0 or choice.random() < 0.2:
            return choice.choice(kinds)
        return choice.choice(makers)(lambda: kind(depth - 1))

    def value(kind):
        """(what Arrow is given, what must come back)"""
        if choice.random() < 0.2:
            return None, None
        if pa.types.is_struct(kind):
            pairs = {name: value(kind.field(name).type) for name in "ab"}
            return tuple({name: pair[i] for name, pair in pairs.items()} for i in (0, 1))
        if pa.types.is_map(kind):
            pairs = [("k", value(kind.item_type)) for _ in range(choice.randrange(3))]
            return [(k, v[0]) for k, v in pairs], [[k, v[1]] for k, v in pairs]
        if pa.types.is_nested(kind):
            fixed = pa.types.is_fixed_size_list(kind)
            pairs = [value(kind.value_type) for _ in range(2 if fixed else choice.randrange(4))]
            return [given for given, _ in pairs], [back for _, back in pairs]
        one = choice.randrange(100) if kind == pa.int32() else choice.choice("xyz")
        return one, one

    for _ in range(200):
        of = kind(3)
        pairs = [value(of) for _ in range(12)]
        column = pa.array([given for given, _ in pairs], of)
        expected = [back for _, back in pairs]
        for start, length in ((0, 12), (3, 5), (11, 1), (12, 0)):
            assert of_column(column.slice(start, length)) == expected[start : start + length]


def test_values_of_programs_print_as_those_of_tables():
    moment = datetime.datetime(2024, 5, 6, 7, 8, 9, 5)
    zone = datetime.timezone(datetime.timedelta(hours=2))
    values = [
        moment,
        moment.replace(tzinfo=zone),
        moment.date(),
        moment.time(),
        datetime.timedelta(seconds=-1.5),
        decimal.Decimal("1E-7"),
        b"a\xff",
        float("inf"),
        True,
        None,
    ]
    assert [of_object(value) for value in values] == [
        of_column(pa.array([value]))[0] for value in values
    ]
    pandas = pytest.importorskip("pandas")
    assert of_object(pandas.Timestamp(NS)) == "2024-05-06 07:08:09.000000001"
    assert of_object(pandas.NaT) is None


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize("where", ["text", "metadata", "list", "struct", "map", "dictionary"])
def test_a_cell_that_is_no_utf8_costs_its_row(tmp_path, suffix, where):
    bad = invalid([b"a", b"b\xff", b"c"])
    good = pa.array(["a", "b", "c"])
    inner = {
        "text": good,
        "metadata": bad,
        "list": pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), bad),
        "struct": pa.StructArray.from_arrays([bad], ["in"]),
        "map": pa.MapArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), good, bad),
        "dictionary": pa.DictionaryArray.from_arrays(pa.array([0, 1, 2], pa.int8()), bad),
    }[where]
    table = pa.table({"text": bad if where == "text" else good, "m": inner})
    path = write(tmp_path / f"t{suffix}", table)
    name = "text" if where == "text" else "m"
    message = rf"t{suffix}: row 2: not UTF-8: column '{name}' has the byte 0xff"
    if suffix == ".parquet" and where == "dictionary":
        # pyarrow reads such a column whole or not at all: it costs the file.
        with pytest.raises(CorpusError, match=r"t\.parquet: damaged.*UTF8"):
            read(path)
        return
    with pytest.raises(CorpusError, match=message):
        read(path)
    corpus = TextCorpus([path], on_error="skip")
    assert [document.text for document in corpus] == ["a", "c"]
    assert corpus.skipped == 1
    # A column that is not kept is not looked at.
    if where != "text":
        assert [text for text, _ in read(path, metadata_fields=[])] == ["a", "b", "c"]


def test_rows_are_numbered_through_batches_and_groups(tmp_path):
    cells = [b"%d" % i for i in range(5000)]
    for row in (1, 1024, 1025, 4999):
        cells[row] = b"\xe9"
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"text": invalid(cells)}), path, row_group_size=1500)
    corpus = TextCorpus([path], on_error="skip")
    assert [document.text for document in corpus] == [
        str(i) for i in range(5000) if i not in (1, 1024, 1025, 4999)
    ]
    rows = [skip.split("row ")[1].split(":")[0] for skip in corpus.skips]
    assert rows == ["2", "1,025", "1,026", "5,000"]


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_two_columns_of_one_name(tmp_path, suffix):
    table = pa.Table.from_arrays(
        [pa.array(["a"]), pa.array([1]), pa.array([2])], ["text", "n", "n"]
    )
    path = write(tmp_path / f"t{suffix}", table)
    with pytest.raises(CorpusError, match=r"two columns have the name 'n'; rename one"):
        read(path)
    with pytest.raises(CorpusError, match=r"two columns have the name 'n'"):
        read(path, metadata_fields=["n"])
    assert read(path, metadata_fields=[]) == [("a", {})]


def test_offsets_that_point_elsewhere_are_damage(tmp_path):
    path = write(tmp_path / "t.arrow", pa.table({"text": ["alpha", "beta", "gamma"]}))
    data = path.read_bytes()
    offsets = struct.pack("<4i", 0, 5, 9, 14)
    assert data.count(offsets) == 1
    path.write_bytes(data.replace(offsets, struct.pack("<4i", 0, 5, 1 << 30, 14)))
    with pytest.raises(CorpusError, match=r"t\.arrow: damaged"):
        read(path)


def test_damage_beside_text_that_is_no_utf8(tmp_path):
    rows = pa.array([[1], [2, 3], [4]])
    path = write(
        tmp_path / "t.arrow", pa.table({"text": invalid([b"a", b"\xff", b"c"]), "n": rows})
    )
    assert [text for text, _ in read(path, on_error="skip")] == ["a", "c"]
    data = path.read_bytes()
    offsets = struct.pack("<4i", 0, 1, 3, 4)
    assert data.count(offsets) == 1
    path.write_bytes(data.replace(offsets, struct.pack("<4i", 0, 1 << 30, 3, 4)))
    with pytest.raises(CorpusError, match=r"t\.arrow: damaged"):
        read(path)


def test_the_name_of_a_column_that_is_no_utf8(tmp_path):
    for suffix in (".arrow", ".parquet"):
        path = write(tmp_path / f"t{suffix}", pa.table({"text": ["a"], "namename": ["b"]}))
        path.write_bytes(path.read_bytes().replace(b"namename", b"name\xffame"))
        with pytest.raises(CorpusError, match=rf"t{suffix}: damaged"):
            read(path)


def test_times_of_the_old_kind_do_not_wrap_around(tmp_path):
    """Parquet's INT96, as Spark and Impala write it, also holds years that nanoseconds do not."""
    moment = datetime.datetime(2024, 1, 2, 3, 4, 5, 6)
    times = [datetime.datetime(1, 1, 1), moment, datetime.datetime(9999, 12, 31), None]
    columns = {
        "text": list("abcd"),
        "t": pa.array(times, pa.timestamp("us")),
        "in": pa.array([[time, moment] for time in times], pa.list_(pa.timestamp("us"))),
    }
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table(columns), path, use_deprecated_int96_timestamps=True)
    fine = "2024-01-02 03:04:05.000006000"
    printed = ["0001-01-01 00:00:00.000000", fine, "9999-12-31 00:00:00.000000", None]
    assert read(path) == [
        (text, {"t": time, "in": [time, fine]}) for text, time in zip("abcd", printed, strict=True)
    ]
    assert read(path, metadata_fields=[]) == [(text, {}) for text in "abcd"]
    nanoseconds = pa.table({"text": ["a"], "t": pa.array([NS], pa.timestamp("ns"))})
    pq.write_table(nanoseconds, path, use_deprecated_int96_timestamps=True)
    assert read(path) == [("a", {"t": "2024-05-06 07:08:09.000000001"})]


def test_bytes_are_a_text_if_they_are_utf8(tmp_path):
    """Writers that know no type for text write bytes."""
    path = write(tmp_path / "t.parquet", pa.table({"text": ["é".encode(), b"a\\xff", b"a\xff"]}))
    with pytest.raises(CorpusError, match=r"row 3: field 'text': not UTF-8: "):
        read(path)
    assert read(path, on_error="skip") == [("é", {}), ("a\\xff", {})]


def test_what_stands_under_a_null_is_not_looked_at(tmp_path):
    inner = pa.StructArray.from_arrays(
        [invalid([b"\xff", b"ok"])], ["in"], mask=pa.array([True, False])
    )
    path = write(tmp_path / "t.parquet", pa.table({"text": ["a", "b"], "s": inner}))
    assert read(path) == [("a", {"s": None}), ("b", {"s": {"in": "ok"}})]
