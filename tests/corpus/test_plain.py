"""Text files that hold several documents, and tables of text with quotes or without."""

import csv
import gzip
import io
import json
import random

import pytest

import everygram
from conftest import write_jsonl
from everygram.corpus import plain, records
from everygram.corpus.decoding import Limits
from everygram.corpus.text import TextCorpus
from everygram.errors import CorpusError, OptionError


def read(path, **options):
    return [(d.text, json.loads(d.metadata)) for d in TextCorpus([path], **options)]


def lines_and_texts(path, split):
    return [(metadata["line"], text) for text, metadata in read(path, split=split)]


# --- several documents in a text file ---


def test_lines_are_documents(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\n\n  \ntwo \r\n\tthree\x0b\xe2\x80\xa8x\rfour")
    texts = [(1, "one"), (4, "two "), (5, "\tthree\x0b\u2028x\rfour")]
    assert lines_and_texts(path, "lines") == texts
    assert read(path, split="lines")[1] == ("two ", {"path": "a.txt", "line": 4})
    path.write_bytes(b"")
    assert read(path, split="lines") == []


def test_paragraphs_are_documents(tmp_path):
    path = tmp_path / "a.md"
    path.write_bytes(b"\n \none\n  two\n\n\t\n\nthree\r\nfour\r\n\r\nfive")
    texts = [(3, "one\n  two"), (8, "three\r\nfour"), (11, "five")]
    assert lines_and_texts(path, "blank-lines") == texts


@pytest.mark.parametrize("split", ["lines", "blank-lines", "|"])
def test_a_byte_order_mark_is_no_text_of_a_blank_first_line(tmp_path, split):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbf\none")
    texts = [(1, "\none")] if split == "|" else [(2, "one")]
    assert lines_and_texts(path, split) == texts
    path.write_bytes(b"\xef\xbb\xbf")
    assert lines_and_texts(path, split) == []


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.tsv"])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_byte_order_mark_alone_is_no_record(tmp_path, name, end):
    path = tmp_path / name
    path.write_bytes(b"\xef\xbb\xbf" + end)
    assert read(path) == []


@pytest.mark.parametrize("separator", ["<|endoftext|>", "\n---\n", "aa", "ß", "\n\n"])
def test_parts_are_documents_as_they_stand(tmp_path, monkeypatch, separator):
    monkeypatch.setattr(plain, "PIECE", 7)
    choice = random.Random(0)
    letters = ["a", "ß", "\n", "-", " ", *separator]
    for number in range(100):
        given = "".join(
            separator if choice.random() < 0.2 else choice.choice(letters)
            for _ in range(choice.randrange(40))
        )
        path = tmp_path / f"{number}.txt"
        path.write_text(given, newline="")
        expected = []
        line = 1
        for part in given.split(separator):
            if part.strip(" \n"):
                expected.append((line, part))
            line += part.count("\n") + separator.count("\n")
        assert lines_and_texts(path, separator) == expected


def test_a_split_document_that_is_no_utf8_costs_itself(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\ntwo\xff\n\nthree\n")
    for split, expected in (("lines", ["one", "three"]), ("blank-lines", ["three\n"[:-1]])):
        with pytest.raises(CorpusError, match=r"a\.txt:2: not UTF-8: byte . of the document is"):
            read(path, split=split)
        corpus = TextCorpus([path], on_error="skip", split=split)
        assert [document.text for document in corpus] == expected
        assert corpus.skipped == 1


def test_split_files_are_read_through_compression_and_beside_others(tmp_path):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"one\ntwo\n"))
    (tmp_path / "c.train").write_bytes(b"three\n")
    assert [text for text, _ in read(tmp_path, split="lines")] == ["one", "two", "three"]
    # What is split is text, whatever its name.
    assert [text for text, _ in read(tmp_path / "c.train", split="lines")] == ["three"]
    data = gzip.compress(b"".join(b"%d\n" % (i * 7919) for i in range(20_000)))
    (tmp_path / "a.txt.gz").write_bytes(data[: len(data) // 2])
    for split in ("lines", "blank-lines", "7919"):
        corpus = TextCorpus([tmp_path / "a.txt.gz"], on_error="skip", split=split)
        assert list(corpus) or split == "blank-lines"
        assert corpus.skipped == 1
        assert "cut off" in corpus.skips[0]


@pytest.mark.parametrize("piece", [3, 7, 1 << 18])
def test_a_part_that_is_too_large_costs_itself(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(plain, "PIECE", piece)
    path = tmp_path / "a.txt"
    limits = Limits(record=20)
    large = "x\n" * 20
    for split, data, texts, lines in (
        ("lines", "one\n" + "x" * 50 + "\ntwo\n" + "y" * 21 + "\nthree", "one two three", [2, 4]),
        ("blank-lines", f"one\n\n{large}\ntwo\n\n{'x' * 90}\ny\n\nthree", "one two three", [3, 26]),
        ("--", f"one--{large}--{large}--two--{'x' * 21}", "one two", [1, 21, 41]),
    ):
        path.write_text(data)
        corpus = TextCorpus([path], on_error="skip", split=split, limits=limits)
        assert [document.text for document in corpus] == texts.split()
        assert corpus.skips == [
            f"{path}:{line}: {skip.split(': ', 1)[1]}"
            for line, skip in zip(lines, corpus.skips, strict=True)
        ]
        assert "a record of more than 20 bytes" in corpus.skips[0]


def test_rows_that_are_too_large_cost_themselves(tmp_path):
    limits = Limits(record=30)
    for name, large in (("t.tsv", "x" * 31), ("t.csv", "x" * 31), ("t.csv", '"' + 'b ""c""\n' * 9)):
        path = tmp_path / name
        path.write_text(f"text\none\n{large}\n")
        corpus = TextCorpus([path], on_error="skip", limits=limits)
        assert [document.text for document in corpus][:1] == ["one"]
        assert f"{name}:3: a record of more than 30 bytes" in corpus.skips[0]
        assert ("a quote that opens on line 3" in corpus.skips[0]) == ('"' in large)


@pytest.mark.parametrize("piece", [1, 2, 5, 1 << 20])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_rows_of_many_lines_that_are_too_large_cost_only_themselves(
    tmp_path, monkeypatch, name, end, piece
):
    """What stands inside their quotes are no rows, whatever it looks like."""
    monkeypatch.setattr(records, "PIECE", piece)
    choice, path, most = random.Random(piece), tmp_path / name, 60
    delimiter = "," if name == "t.csv" else "\t"
    parts = ["a", delimiter, '"', '""', end, f"b{delimiter}c{end}", "ß", f"{end}{end}"]
    for _ in range(60):
        rows = [("text", "n")]
        for _ in range(choice.randrange(1, 12)):
            lengths = choice.choice([0, 1, 3, 60]), choice.choice([0, 1, 60])
            rows.append(tuple("".join(choice.choices(parts, k=k)) for k in lengths))
        texts, written = [], ""
        for row in rows:
            line = io.StringIO(newline="")
            csv.writer(line, delimiter=delimiter, lineterminator=end).writerow(row)
            written += line.getvalue()
            if len(line.getvalue()) <= most:
                texts.append(row[0])
        path.write_text(written, newline="")
        corpus = TextCorpus([path], on_error="skip", quoting="double", limits=Limits(most))
        assert [document.text for document in corpus] == texts[1:]
        assert corpus.skipped == len(rows) - len(texts)


def test_an_index_of_lines(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("to be\nor not to be\n\nto be\n")
    report = everygram.build(path, tmp_path / "index", split="lines")
    assert report.num_documents == 3
    with everygram.open(tmp_path / "index") as index:
        assert index.count("to be") == 3
        assert index.document(2).metadata == {"path": "a.txt", "line": 4}
        assert index.count("be\nor", raw=True) == 0


# --- quotes in tables ---

BARE = b'id\ttext\n1\tplain\n2\t"I will come,\n3\tmore\n4\tshe said"\n'


def test_tsv_does_not_quote(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_bytes(BARE)
    assert read(path) == [
        ("plain", {"id": "1"}),
        ('"I will come,', {"id": "2"}),
        ("more", {"id": "3"}),
        ('she said"', {"id": "4"}),
    ]
    path.write_bytes(b'text\tn\r\n"a ""b"""\t1\r\nc\x0bd\re\t2\n\nlast\t3')
    assert [text for text, _ in read(path)] == ['"a ""b"""', "c\x0bd\re", "last"]
    path.write_bytes(b'text\tn\r\n"a ""b"""\t1\r\n')
    assert read(path, quoting="double") == [('a "b"', {"n": "1"})]


@pytest.mark.parametrize(("name", "delimiter"), [("t.csv", ","), ("t.tsv", "\t")])
def test_quoting_says_otherwise(tmp_path, name, delimiter):
    rows = [("text", "n"), (f'a "b"{2 * delimiter}\nc', "1"), ("d", "2")]
    written = io.StringIO()
    csv.writer(written, delimiter=delimiter).writerows(rows)
    path = tmp_path / name
    path.write_text(written.getvalue(), newline="")
    assert read(path, quoting="double") == [(rows[1][0], {"n": "1"}), ("d", {"n": "2"})]
    with pytest.raises(
        CorpusError, match=r":2: expected 2 columns.*if cells are quoted here, pass"
    ):
        read(path, quoting="none")
    path.write_bytes(BARE.replace(b"\t", delimiter.encode()).replace(b"come,", b"come"))
    assert len(read(path, quoting="none")) == 4


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b'text,n\na,1\n"open,2\nc,3\n', 3),
        (b'text,n\na,1\n"b\nc","open\nd\n\ne', 4),
        (b'text,n\n"a ""x"" \n ""\n"" y","b\nc"\n"d\n""\n', 6),
        (b'text,n\n"a\n""b""\n', 2),
        (b'text,n\n"', 2),
        (b'te"xt","n\na,1\n', 1),
    ],
)
def test_an_unclosed_quote_is_an_error_where_it_opened(tmp_path, data, line):
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    message = rf"t\.csv:{line}: a quote opens here and is never closed; .*--quoting none"
    with pytest.raises(CorpusError, match=message):
        read(path, text_field='te"xt' if line == 1 else "text")
    corpus = TextCorpus([path], on_error="skip")
    list(corpus)
    assert corpus.skipped == 1


def test_lines_that_end_with_a_carriage_return_alone(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_bytes(b"text\tn\ra\t1\rb\t2\r")
    with pytest.raises(CorpusError, match=r"t\.tsv:1: lines end with a carriage return alone"):
        read(path)
    assert [text for text, _ in read(path, quoting="double")] == ["a", "b"]


def test_a_table_whose_columns_all_have_quoted_names(tmp_path):
    """As R writes it: TSV does not quote, but this one seems to."""
    path = tmp_path / "t.tsv"
    path.write_bytes(b'"text"\t"n"\n"a"\t"1"\n')
    with pytest.raises(CorpusError, match=r"t\.tsv:1: the names of the columns stand in quotes"):
        read(path)
    assert read(path, quoting="double") == [("a", {"n": "1"})]
    assert read(path, quoting="none", text_field='"text"') == [('"a"', {'"n"': '"1"'})]


def test_names_of_columns_that_are_no_utf8(tmp_path):
    for name in ("t.csv", "t.tsv"):
        path = tmp_path / name
        delimiter = b"," if name == "t.csv" else b"\t"
        path.write_bytes(delimiter.join([b"text", b"\xff"]) + b"\na" + delimiter + b"1\n")
        with pytest.raises(CorpusError, match=rf"{name}:1: not UTF-8: the name '.*' of a column"):
            read(path)
        path.write_text(f"text{delimiter.decode()}n\n", encoding="utf-16")
        with pytest.raises(CorpusError, match=rf"{name}: .*UTF-16: convert it"):
            read(path)


# --- options that do not fit ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": ""}, "split: expected 'lines', 'blank-lines' or a separator, found ''"),
        ({"split": 3}, "split: expected a string, found 3"),
        ({"split": "lines"}, "split goes with text files, found only JSON lines"),
        ({"quoting": "none"}, "quoting goes with CSV and TSV files, found only JSON lines"),
        ({"quoting": "single"}, "quoting: expected 'double' or 'none', found 'single'"),
        ({"split": "lines", "pretokenized": "u8"}, "go with text, not token ids"),
        ({"quoting": "none", "pretokenized": "u8"}, "go with text, not token ids"),
    ],
)
def test_options_that_go_with_nothing_are_refused(tmp_path, options, message):
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": "a"}])
    with pytest.raises(OptionError, match=message):
        everygram.build(corpus, tmp_path / "new", **options)


def test_the_command_line_takes_split_and_quoting(tmp_path, run):
    (tmp_path / "t.tsv").write_bytes(BARE)
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    index = tmp_path / "index"
    code, _, _ = run("build", tmp_path / "a.txt", "--split", "lines", "--out", index)
    assert code == 0
    code, out, _ = run("add", index, tmp_path / "t.tsv", "--quoting", "none", "--json")
    assert (code, json.loads(out)["num_documents"]) == (0, 4)
    (tmp_path / "u.tsv").write_bytes(BARE.replace(b'said"', b"said"))
    code, _, error = run("add", index, tmp_path / "u.tsv", "--quoting", "double")
    assert code == 1
    assert "u.tsv:3: a quote opens here and is never closed" in error
