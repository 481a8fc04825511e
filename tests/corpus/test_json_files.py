"""`.json` files: lines, an array, records one after another, told by their first bytes."""

import gzip
import json
import random
import sys

import pytest

from everygram.corpus import json_files
from everygram.corpus.text import TextCorpus
from everygram.errors import CorpusError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

RECORDS = [
    {"text": "one", "id": 1, "more": {"a": [1, {"b": []}]}},
    {"text": ""},
    {"text": '日本\n語 "quoted" \\ {[,]} \\" é😀', "tags": ["}", "]", ",", "\\"]},
]
EXPECTED = [(record["text"], {k: record[k] for k in record if k != "text"}) for record in RECORDS]
# The same records, as JSON writers write them.
FORMS = {
    "lines": "".join(json.dumps(record) + "\n" for record in RECORDS),
    "lines, blank first": "\n \n" + "\n".join(json.dumps(record) for record in RECORDS),
    "array": json.dumps(RECORDS),
    "array, compact": json.dumps(RECORDS, ensure_ascii=False, separators=(",", ":")),
    "array, indented": json.dumps(RECORDS, indent=2) + "\n\n",
    "array, a record a line": "[\n" + ",\n".join(map(json.dumps, RECORDS)) + "\n]\n",
    "objects, indented": "\n".join(json.dumps(record, indent=2) for record in RECORDS),
    "objects, in one line": "{}".join(map(json.dumps, RECORDS)).replace("}{}{", "} {"),
}
PACK = {".json": bytes, ".json.gz": gzip.compress, ".json.zst": zstd.compress}


def read(path, **options):
    return [(d.text, json.loads(d.metadata)) for d in TextCorpus([path], **options)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ending", PACK)
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("piece", [3, 4, 17, 1 << 18])
def test_every_form(tmp_path, monkeypatch, form, ending, bom, piece):
    monkeypatch.setattr(json_files, "PIECE", piece)
    path = tmp_path / f"c{ending}"
    path.write_bytes(PACK[ending](bom + FORMS[form].encode()))
    assert read(path) == EXPECTED
    corpus = TextCorpus([path])
    seen = [corpus.bytes_read for _ in corpus]
    assert seen == sorted(seen)
    assert corpus.bytes_read == corpus.total_bytes


@pytest.mark.parametrize("text", ["", " \n", "[]", "[ ]\n"])
def test_no_records(tmp_path, text):
    (tmp_path / "c.json").write_text(text)
    assert read(tmp_path / "c.json") == []


def test_one_object_is_one_document(tmp_path):
    for number, indent in enumerate([None, 2]):
        (tmp_path / f"{number}.json").write_text(json.dumps(RECORDS[number], indent=indent))
        assert read(tmp_path / f"{number}.json") == EXPECTED[number : number + 1]
    assert read(tmp_path) == EXPECTED[:2]


@pytest.mark.parametrize(
    ("text", "says", "kept"),
    [
        (
            '[{"text": "a"}, {"text": 7}, {"text": "b"}]',
            r"record 2: field 'text': expec",
            "ab",
        ),
        ('[{"text": "a"}, {nope}, {"text": "b"}]', r"record 2: not a JSON record: Expecting", "ab"),
        (
            '[{"text": "a"}, "b", {"text": "b"}]',
            r"record 2: expected a JSON object, found a",
            "ab",
        ),
        ('[{"text": "a"},, {"text": "b"}]', r"record 2: not a JSON record: Expecting value", "ab"),
        ('[{"text": "a"},]', r"record 2: not a JSON record: Expecting value", "a"),
        ('[{"text": "a"}, {"text": "b"', r"after record 1: expected the array's end, found", "a"),
        ('[{"text": "a"}', r"after record 0: expected the array's end, found the file's", ""),
        ('[{"text": "a"}] x', r"after record 1: expected nothing behind the array, found", "a"),
        ('[{"text": "a"}]]', r"after record 1: expected nothing behind the array, found", "a"),
        ('{\n"text": "a"}\n{\n"text": "b"', r"record 2: not a JSON record: Expecting ','", "a"),
        ('{\n"text": "a"}\n{\n"text": "b', r"record 2: not a JSON record: Unterminated", "a"),
        ('"text"', r"c.json:1: expected a JSON object, found a string", ""),
        ("null", r"c.json:1: expected a JSON object, found null", ""),
        ("text, id\na, 1\n", r"record 1: not a JSON record: Expecting value", ""),
        ('{"text": "a"}\n{nope}\n{"text": "b"}', r"c.json:2: not a JSON record: Expecting", "ab"),
    ],
)
def test_what_is_malformed_names_the_record(tmp_path, text, says, kept):
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(CorpusError, match=says):
        read(path)
    corpus = TextCorpus([path], on_error="skip")
    assert [document.text for document in corpus] == list(kept)
    assert corpus.skipped == 1


def test_a_cut_off_array_is_an_error(tmp_path):
    data = gzip.compress(json.dumps([{"text": f"{i * 7919}"} for i in range(50_000)]).encode())
    path = tmp_path / "c.json.gz"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(CorpusError, match=r"c.json.gz: the gzip file is cut off: it ends after"):
        read(path)


def test_random_records_come_back_whatever_the_form(tmp_path, monkeypatch):
    rng = random.Random(7)

    def value(depth):
        kind = rng.randrange(7 if depth else 5)
        if kind < 3:
            return "".join(rng.choices('ab"\\{}[],: \n\té', k=rng.randrange(12)))
        if kind < 5:
            return rng.choice([None, True, -1.5, 2**70, 0])
        if kind == 5:
            return [value(depth - 1) for _ in range(rng.randrange(4))]
        return {f"{i}\"'": value(depth - 1) for i in range(rng.randrange(4))}

    for case in range(200):
        monkeypatch.setattr(json_files, "PIECE", rng.choice([5, 64, 1 << 18]))
        records = [{"text": f"{value(0)}", "v": value(3)} for _ in range(rng.randrange(1, 6))]
        indent = rng.choice([None, 1])
        if rng.random() < 0.5:
            text = json.dumps(records, indent=indent, ensure_ascii=rng.random() < 0.5)
        else:
            text = "\n".join(json.dumps(record, indent=indent) for record in records)
        (tmp_path / "c.json").write_text(text)
        assert read(tmp_path / "c.json") == [(r["text"], {"v": r["v"]}) for r in records], case


def test_a_long_record_of_an_array_is_looked_at_a_few_times(tmp_path, monkeypatch):
    looked = []

    class Token:
        @staticmethod
        def finditer(buffer, at):
            looked.append(len(buffer) - at)
            return token.finditer(buffer, at)

    token = json_files.TOKEN
    monkeypatch.setattr(json_files, "TOKEN", Token)
    monkeypatch.setattr(json_files, "PIECE", 1 << 10)
    text = "x" * (1 << 20)
    (tmp_path / "c.json").write_text(json.dumps([{"text": text}, {"text": "y"}]))
    assert [found for found, _ in read(tmp_path / "c.json")] == [text, "y"]
    assert sum(looked) < 4 * len(text)


@pytest.mark.parametrize(
    ("name", "text", "is_read"),
    [
        ("lines.json", '{"text": "a"}\n{"text": "a"}\n', True),
        ("array.json", '[{"text": "a"}]', True),
        ("wrong.json", '[{"body": "a"}]', True),
        ("document.json", '{\n"text": "a"}', True),
        ("line.json", '{"text": "a"}\n', True),
        ("damaged.json", '{"text": "a"}}', True),
        ("cut.json.gz", "", True),
        ("object.json", '{"name": "a"}', False),
        ("indented.json", '{\n "name": "a"\n}', False),
        ("comments.json", '{ // of a compiler\n "text": "a"}', False),
        ("list.json", '["a", "b"]', False),
        ("empty.json", "", False),
        ("number.json", "17", False),
    ],
)
def test_json_beside_json_lines(tmp_path, name, text, is_read):
    (tmp_path / "c.jsonl").write_text('{"text": "one"}\n')
    (tmp_path / name).write_text(text)
    corpus = TextCorpus([tmp_path], on_error="skip")
    assert (str(tmp_path / name) in corpus.passed_over) != is_read
    assert "one" in [document.text for document in corpus]
    # Beside texts as well; but where all are objects, they are what was meant.
    (tmp_path / "c.jsonl").rename(tmp_path / "c.txt")
    corpus = TextCorpus([tmp_path], on_error="skip")
    assert (str(tmp_path / name) in corpus.passed_over) != is_read
    assert (str(tmp_path / "c.txt") in corpus.passed_over) == is_read
    if name == "object.json":
        (tmp_path / "c.txt").unlink()
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(CorpusError, match=r"object.json:1: no field 'text'; the record has"):
            read(tmp_path)
