"""`everygram attribute` as a user runs it: what it reads, what it prints, how it fails."""

import gzip
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from backports import zstd

import everygram
from conftest import write_jsonl
from everygram.attribution.text import DELIMITERS
from everygram.results.attribution import Attribution

PROGRAM = Path(sys.executable).with_name("everygram")
DOCUMENTS = [
    {"text": "The quick brown fox jumps over the lazy dog. And naps.", "by": "a\x1b[2J\nb"},
    {"text": "natural language processing is a field of computer science", "by": {"name": "c"}},
    {"text": "日本語のテキスト、そして 😀 smileys"},
    *({"text": f"copy {number}: it was the best of times"} for number in range(12)),
]
TEXT = (
    "He said: the quick brown fox jumps over the lazy dog.\n"
    "Here natural language processing is a field; it was the best of times? 日本語のテキスト 😀"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with an index of text, and one of ids without a tokenizer."""
    folder = tmp_path_factory.mktemp("attribute")
    corpus = write_jsonl(folder / "corpus.jsonl", DOCUMENTS)
    everygram.build(corpus, folder / "index", "train:300")
    np.array([0, 1, 2, 3, 4, 0, 2, 3, 4, 5], "<u2").tofile(folder / "ids.bin")
    ids = {"pretokenized": "u16", "separator_id": 0, "vocab_size": 9}
    everygram.build(folder / "ids.bin", folder / "ids", **ids)
    return folder


@pytest.fixture(scope="module")
def index(folder):
    with everygram.open(folder / "index") as index:
        index.warm_up()
        index.attribute(TEXT)  # what it needs is compiled, and nothing more is said
        yield index


@pytest.fixture
def ask(run, index):
    """Run `attribute` on the index of text; returns exit code, output, error output."""
    return lambda *arguments, stdin="": run("attribute", index.path, *arguments, stdin=stdin)


def as_json(attribution):
    return json.loads(json.dumps(attribution.as_dict()))


def test_a_file_is_one_text(ask, index, tmp_path):
    expected = as_json(index.attribute(TEXT))
    assert len(expected["spans"]) > 3 and expected["text"] == TEXT
    (tmp_path / "answer.txt").write_text(TEXT)
    (tmp_path / "answer").write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    (tmp_path / "answer.md.gz").write_bytes(gzip.compress(TEXT.encode()))
    (tmp_path / "answer.py.zst").write_bytes(zstd.compress(TEXT.encode()))
    for file in tmp_path.iterdir():
        code, out, err = ask(file, "--json")
        assert (code, json.loads(out), err) == (0, expected, ""), file
    for arguments in (["-"], []):
        code, out, err = ask(*arguments, "--json", stdin=TEXT)
        assert (code, json.loads(out), err) == (0, expected, "")
    # Each byte of a text counts: its line ends, too.
    _, out, _ = ask("--json", stdin=TEXT.replace("\n", "\r\n") + "\n")
    assert json.loads(out) == as_json(index.attribute(TEXT.replace("\n", "\r\n") + "\n"))


def test_the_answer_in_words(ask, index):
    found = index.attribute(TEXT, density=None, min_length=3)
    code, out, err = ask("--density", "none", "--min-length", "3", stdin=TEXT)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    inside = sum(each.token_end - each.token_start for each in found.merged_spans)
    assert lines[0] == (
        f"found     {len(found)} spans, {inside} of {len(found.query)} tokens, "
        f"{len(found.documents)} documents"
    )
    for number, span in enumerate(found):
        at = next(i for i, line in enumerate(lines) if line.startswith(f"span {number}   "))
        documents = f"{span.document_count} document{'s' * (span.document_count > 1)}"
        assert f"characters {span.start}–{span.end - 1}, tokens " in lines[at]
        assert f"{span.count} occurrence{'s' * (span.count > 1)} in {documents}   " in lines[at]
        assert lines[at].endswith(f"log-prob {span.unigram_log_prob:.2f}")
        assert lines[at + 1] == f"  {span.text.strip()}"
        first = span.documents[0]
        relevance = f"relevance {first.relevance} ({first.score:.2f})"
        assert lines[at + 2] == f"  document {first.number}   {relevance}"
        assert f"»{span.text.strip()}«" in lines[at + 3]
    copies = next(i for i, span in enumerate(found) if span.document_count == 12)
    section = out.partition(f"\nspan {copies} ")[2].partition("\n\n")[0]
    assert section.count("»") == 3 and section.endswith("\n  and 9 more documents")
    last = out.partition("\ndocuments, the most relevant first\n")[2]
    assert last.count("  document ") == 10
    assert last.endswith(f"  and {len(found.documents) - 10} more documents\n")
    best = found.documents[0]
    assert last.startswith(f"  document {best.number}   relevance {best.relevance} (")
    # Control characters of a corpus do not reach a terminal.
    assert "    by: a [2J b\n" in out and "\x1b" not in out
    assert "    by: {'name': 'c'}\n" in out


def test_spans_that_were_left_out_are_told(ask, index):
    found = index.attribute(TEXT)
    assert 0 < len(found) < found.span_count
    out = ask(stdin=TEXT)[1]
    said = f"found     {len(found)} of {found.span_count} spans (--density none keeps all), "
    assert out.startswith(said)
    assert ask("--density", "0", stdin=TEXT)[1].startswith("found     0 of ")


@pytest.mark.parametrize("text", ["", "\n", "@#~", "Ω\nЖ"])
def test_nothing_found(ask, index, text):
    tokens = len(index.encode(text, raw=True))
    code, out, err = ask("--raw", stdin=text)
    assert (code, err) == (0, "")
    said = f"no spans in {tokens} token" if text else "no spans: the text is empty"
    assert out.startswith(f"found     {said}") and len(out.splitlines()) == 1
    code, out, _ = ask("--raw", "--json", stdin=text)
    assert (code, json.loads(out)["spans"]) == (0, [])
    out = ask("--min-length", "500", stdin=TEXT)[1]
    assert "or none as the options ask" in out


def test_a_line_end_may_be_written_as_an_escape(ask):
    text = "quick brown\nfox"
    spans = [
        [span["text"] for span in json.loads(out)["spans"]]
        for escape in ("\\n", "\n", "x")
        for _, out, _ in [
            ask("--json", "--raw", "--density", "none", "--delimiter", escape, stdin=text)
        ]
    ]
    assert spans[0] == spans[1]


def test_an_index_in_place_of_a_file_is_named(ask, run, tmp_path, index):
    (tmp_path / "a.txt").write_text("quick")
    code, _, err = run("attribute", tmp_path / "a.txt", index.path)
    assert code in (1, 2) and "a.txt" in err


def test_a_long_span_is_shown_shortened(run, tmp_path):
    long = " ".join(map(str, range(2000)))
    everygram.build([{"text": long}], tmp_path / "index", "bytes")
    code, out, _ = run("attribute", tmp_path / "index", stdin=long)
    assert code == 0 and len(out) < 3000
    assert f"\n  {long[:200]} … {long[-60:]}\n" in out


OPTIONS = [
    (["--prompt", "What is a fox?"], {"prompt": "What is a fox?"}),
    (["--min-length", "4"], {"min_length": 4}),
    (["--max-count", "3"], {"max_count": 3}),
    (["--max-count", "none"], {"max_count": None}),
    (["--density", "none"], {"density": None}),
    (["--density", "0.1"], {"density": 0.1}),
    (["--rank-by", "length"], {"rank_by": "length"}),
    (["--delimiter", ";", "--delimiter", "fox"], {"delimiters": [";", "fox"]}),
    (["--delimiter", ""], {"delimiters": []}),
    (["--delimiter", "\n"], {"delimiters": ["\n"]}),
    (["--partial-words", "--density", "none"], {"whole_words": False, "density": None}),
    (["--whole-words"], {"whole_words": True}),
    (["--documents", "0"], {"documents": 0}),
    (["--documents", "3", "--seed", "5"], {"documents": 3, "seed": 5}),
    (["--context", "9", "5", "0"], {"context": (9, 5, 0)}),
    (["--raw"], {"raw": True}),
]


@pytest.mark.parametrize(("options", "given"), OPTIONS)
def test_its_options_are_those_of_python(ask, index, options, given):
    code, out, err = ask(*options, "--json", stdin=TEXT)
    expected = as_json(index.attribute(TEXT, **given))
    assert (code, json.loads(out), err) == (0, expected, "")
    assert ask(*options, stdin=TEXT)[0] == 0
    usual = as_json(index.attribute(TEXT))
    if options[0] not in ("--whole-words", "--max-count", "--raw"):
        assert expected != usual
    assert usual["options"]["delimiters"] == list(DELIMITERS)


RECORDS = [
    {"q": {"text": "Which animal?"}, "text": "the quick brown fox", "id": 1},
    {"q": {"text": "日本?"}, "text": "日本語のテキスト"},
    {"q": {"text": ""}, "text": ""},
]
LINES = "".join(json.dumps(record) + "\n" for record in RECORDS)


def test_json_lines_are_answered_one_by_one(ask, index, tmp_path):
    alone = [as_json(index.attribute(each["text"])) for each in RECORDS]
    paired = [as_json(index.attribute(each["text"], prompt=each["q"]["text"])) for each in RECORDS]
    assert alone != paired
    (tmp_path / "a.jsonl").write_text("\n" + LINES)
    (tmp_path / "a.ndjson.gz").write_bytes(gzip.compress(LINES.encode()))
    (tmp_path / "a.JSONL.zst").write_bytes(zstd.compress(LINES.encode()))
    (tmp_path / "a.json").write_text(json.dumps(RECORDS))
    (tmp_path / "a.txt").write_text(LINES)
    columns = {"text": [each["text"] for each in RECORDS], "q": [each["q"] for each in RECORDS]}
    pa.parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    for file in tmp_path.iterdir():
        field = ["--text-field", "text"] if file.suffix == ".txt" else []
        for more, expected in (([], alone), (["--prompt-field", "q.text"], paired)):
            code, out, err = ask(file, *field, *more)
            assert (code, err) == (0, ""), file
            assert [json.loads(line) for line in out.splitlines()] == expected, file
    for field in (["--text-field", "text"], ["--prompt-field", "q.text"]):
        code, out, err = ask("-", *field, "--json", stdin=f"\ufeff{LINES}")
        expected = alone if field[0] == "--text-field" else paired
        assert (code, err) == (0, "")
        assert [json.loads(line) for line in out.splitlines()] == expected
    assert ask("-", "--text-field", "text", stdin="") == (0, "", "")


def test_one_field_may_be_text_and_prompt(ask, index):
    code, out, _ = ask(
        "-", "--text-field", "a.b", "--prompt-field", "a.b", stdin='{"a": {"b": "quick brown"}}'
    )
    assert code == 0
    assert json.loads(out) == as_json(index.attribute("quick brown", prompt="quick brown"))


def test_a_table_is_answered_row_by_row(ask, index, tmp_path):
    (tmp_path / "a.csv").write_text('answer,asked\n"the quick, brown fox",who?\nlazy dog,"a\nb"\n')
    options = ["--text-field", "answer", "--prompt-field", "asked", "--max-count", "9"]
    code, out, _ = ask(tmp_path / "a.csv", *options)
    rows = [("the quick, brown fox", "who?"), ("lazy dog", "a\nb")]
    expected = [as_json(index.attribute(text, prompt=p, max_count=9)) for text, p in rows]
    assert (code, [json.loads(line) for line in out.splitlines()]) == (0, expected)


def test_a_bad_record_does_not_stop_the_others(ask, index, tmp_path):
    lines = (
        b'{"text": "quick brown", "p": "x"}\n{"txt": 1}\n{"text": 7, "p": "x"}\nthe\n["a"]\n\n'
        b'{"text": "\xff", "p": "x"}\n{"text": "a"}\n{"text": "a", "p": 1}\n'
        b'{"text": "a\\ud800", "p": "x"}\n{"text": "quick brown", "p": "x"}'
    )
    (tmp_path / "a.jsonl").write_bytes(lines)
    expected = as_json(index.attribute("quick brown", prompt="x"))
    said = [
        "no field 'text'; the record has 'txt'; name the text with --text-field",
        "field 'text': expected a string, found a number",
        "not a JSON record: ",
        "expected a JSON object, found an array: ",
        "not UTF-8: byte 11 of the line is 0xff",
        "no field 'p'; the record has 'text'; name the prompt with --prompt-field",
        "field 'p': expected a string, found a number",
        "not valid Unicode text: '\\ud800' at character ",
    ]
    numbers = [2, 3, 4, 5, 7, 8, 9, 10]
    file = tmp_path / "a.jsonl"
    for arguments, stdin, place in ((["-"], lines, "line "), ([file], b"", f"{file}:")):
        code, out, err = ask(*arguments, "--prompt-field", "p", stdin=stdin)
        answers = [json.loads(line) for line in out.splitlines()]
        assert (code, err) == (1, "8 of 10 records failed: see the errors\n")
        assert answers[0] == answers[-1] == expected
        errors = [answer["error"] for answer in answers[1:-1]]
        assert len(errors) == len(said)
        for error, number, words in zip(errors, numbers, said, strict=True):
            assert error.startswith(f"{place}{number}: {words}")


@pytest.mark.parametrize(
    ("name", "content", "code", "says"),
    [
        ("nothing.txt", None, 1, "nothing.txt: no such file or directory; to ask about a text its"),
        ("latin.txt", "café".encode("latin-1"), 1, "latin.txt:1: not UTF-8: byte 4 of the file is"),
        ("latin.txt", "a\n\xe9".encode("latin-1"), 1, "latin.txt:2: not UTF-8: byte 3 of the"),
        ("nul.txt", b"ab\0b", 1, "nul.txt:1: byte 3 of the file is NUL, which text has not; if it"),
        ("text.txt", b"\xff\xfea\0b\0", 1, "UTF-16: convert it to UTF-8"),
        ("a.pdf", b"%PDF-1.7 \xff", 1, "expected text, found a PDF file: extract its text"),
        ("a.png", b"\x89PNG\r\n\x1a\n", 1, "expected text, found an image: leave it out"),
        ("cut.txt.gz", gzip.compress(b"the quick brown fox" * 99, mtime=0)[:-9], 1, "cut.txt.gz: "),
        ("a.parquet", b"PAR1 nonsense", 1, "a.parquet: "),
        ("a.json", b'[{"text": "a"}, {', 1, "a.json"),
        ("a.csv", b'text\n"a', 1, "a quote opens here and is never closed"),
    ],
)
def test_what_cannot_be_read(ask, tmp_path, name, content, code, says):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    left, out, err = ask(tmp_path / name)
    assert left == code
    assert says in err + out
    assert "--on-error" not in err + out and "--quoting" not in err + out


def test_standard_input_that_is_no_text(ask):
    code, _, err = ask("-", stdin=b"a\n\xff")
    assert code == 1
    assert err.startswith(
        "error: standard input:2: not UTF-8: byte 3 of the file is 0xff; if it is"
    )
    assert "--on-error" not in err


def test_json_that_is_asked_as_it_stands_is_noticed(ask):
    for arguments in (["-"], []):
        code, out, err = ask(*arguments, "--json", stdin=LINES)
        assert (code, json.loads(out)["text"]) == (0, LINES)
        assert err.count("the first line is JSON, and is asked as it stands") == 1
    assert ask(stdin="{not JSON\n")[2] == ask(stdin=TEXT)[2] == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["a.txt", "--ids", "1"], "expected a file or --ids, found both"),
        (["--ids", "1", "--text-field", "t"], "go with a file, not with --ids"),
        (["--ids", "1", "--prompt-field", "t"], "go with a file, not with --ids"),
        (["--ids", "999"], "text[0]: token id 999 is outside the vocabulary"),
        (["--ids", "a"], "--ids: expected numbers like 3,17, a file of them, or -, found 'a'"),
        (["a.jsonl", "--prompt", "x"], "--prompt goes with one text; name a field with --prompt-f"),
        (["-", "--text-field", "t", "--html", "new.html"], "--html goes with one text"),
        (["a.txt", "--html", "a.txt"], "expected a name that ends in .html, found 'a.txt'"),
        (["a.txt", "--html", "new"], "expected a name that ends in .html, found 'new'"),
        (["a.txt", "--html", "no/a.html"], "found 'no/a.html', in a folder that is not there"),
        (["a.txt", "--html", ""], "html: expected a path, found an empty"),
        ([""], "FILE: expected a path, found an empty"),
        (["a.txt", "--min-length", "0"], "--min-length"),
        (["a.txt", "--max-count", "0"], "expected 1 or more, or none, found '0'"),
        (["a.txt", "--max-count", "1.5"], "expected 1 or more, or none, found '1.5'"),
        (["a.txt", "--density", "-1"], "expected 0 or more, or none, found '-1'"),
        (["a.txt", "--density", "nan"], "density: expected a number"),
        (["a.txt", "--density", "inf"], "density: expected a number"),
        (["a.txt", "--density", "all"], "expected 0 or more, or none, found 'all'"),
        (["a.txt", "--rank-by", "count"], "'count'"),
        (["a.txt", "--delimiter", ".", "--delimiter", ""], "delimiters: expected a list of string"),
        (["a.txt", "--documents", "-1"], "--documents"),
        (["a.txt", "--context", "1", "2"], "--context"),
        (["a.txt", "--context", "1", "2", "-3"], "--context"),
        (["a.txt", "--seed", "x"], "--seed"),
        (["a.txt", "a.txt"], "unexpected extra argument"),
    ],
)
def test_usage_errors(ask, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text(TEXT)
    Path("a.jsonl").write_text(LINES)
    code, out, err = ask(*arguments, stdin=LINES)
    assert (code, out) == (2, "")
    assert says in " ".join(err.split())
    assert sorted(map(str, Path().iterdir())) == ["a.jsonl", "a.txt"]


def test_a_folder_is_no_text(ask, tmp_path):
    for number in range(2):
        (tmp_path / f"{number}.txt").write_text("a")
    code, _, err = ask(tmp_path)
    assert code == 1 and "expected one file, found 2; name one of them" in err


def test_ids_in_place_of_a_text(ask, index, run, folder, tmp_path):
    ids = index.encode("the quick brown fox").tolist()
    expected = as_json(index.attribute(ids))
    assert expected["spans"]
    (tmp_path / "ids").write_text(" ".join(map(str, ids)))
    for given, stdin in ((str(ids), ""), (tmp_path / "ids", ""), ("-", json.dumps(ids))):
        code, out, err = ask("--ids", given, "--json", stdin=stdin)
        assert (code, json.loads(out), err) == (0, expected, "")
    # Without a tokenizer.
    code, out, _ = run("attribute", folder / "ids", "--ids", "7,2,3,4,8", "--density", "1")
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == "found     1 span, 3 of 5 tokens, 2 documents"
    assert lines[2].startswith("span 0   tokens 1–3   2 occurrences in 2 documents   log-prob -")
    assert lines[3:6] == [
        "  ids 2 3 4",
        "  document 0   tokens 1–3",
        "  document 1   tokens 0–2",
    ]
    listed = [line for line in lines[-4:] if "document" in line]
    assert listed == ["  document 0   4 tokens   span 0", "  document 1   4 tokens   span 0"]
    code, out, err = run("attribute", folder / "ids", stdin="a text")
    assert (code, out) == (1, "")
    assert "has no tokenizer" in err
    lines = run("attribute", folder / "ids", "-", "--text-field", "text", stdin=LINES)
    assert lines[0] == 1 and lines[1].count("has no tokenizer") == 3


def test_a_report(ask, index, tmp_path, monkeypatch):
    monkeypatch.setattr(Attribution, "to_html", lambda self: f"<p>{self.text}\r\n", raising=False)
    out = tmp_path / "report.html"
    code, shown, err = ask("--html", out, "--density", "none", stdin=TEXT)
    assert (code, err) == (0, "")
    assert out.read_bytes() == f"<p>{TEXT}\r\n".encode()
    first, second = shown.splitlines()
    assert first.startswith("found     ") and second == f"report    {out}"
    assert list(tmp_path.iterdir()) == [out]
    again = tmp_path / "again.HTM"
    code, shown, _ = ask("--html", again, "--json", stdin=TEXT)
    assert (code, json.loads(shown)) == (0, as_json(index.attribute(TEXT)))
    assert again.read_bytes() == out.read_bytes()
    assert ask("--html", out, stdin="another")[0] == 0
    assert out.read_bytes() == b"<p>another\r\n"
    (tmp_path / "folder.html").mkdir()
    code, _, err = ask("--html", tmp_path / "folder.html", stdin=TEXT)
    assert code == 2 and "which is a folder" in err


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_report_that_fails_leaves_what_was_there(ask, tmp_path, monkeypatch, raised):
    def fails(self, to):
        raise raised

    (tmp_path / "old.html").write_text("old")
    for name in ("old.html", "new.html"):
        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", fails)
            code, out, err = ask("--html", tmp_path / name, stdin=TEXT)
        assert (code, out) == ((1, "") if isinstance(raised, OSError) else (130, ""))
        # (Of the file that was asked for, not of one that nobody knows.)
        assert not err or f"No space left on device: '{tmp_path / name}'" in err
    assert list(tmp_path.iterdir()) == [tmp_path / "old.html"]
    assert (tmp_path / "old.html").read_text() == "old"


def test_a_report_may_have_the_longest_name(ask, tmp_path):
    name = f"{'n' * 250}.html"
    code, _, err = ask("--html", tmp_path / name, stdin=TEXT)
    assert (code, err) == (0, "")
    assert [each.name for each in tmp_path.iterdir()] == [name]


def test_a_program_gets_each_answer_before_it_asks_on(index):
    with subprocess.Popen(
        [PROGRAM, "attribute", index.path, "-", "--text-field", "text"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        for record in RECORDS:
            process.stdin.write(json.dumps(record) + "\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            assert answer == as_json(index.attribute(record["text"]))
        process.stdin.close()
        assert process.wait(60) == 0


def test_a_terminal_is_not_waited_for(index):
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [PROGRAM, "attribute", index.path], stdin=theirs, capture_output=True, text=True
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert (done.returncode, done.stdout) == (2, "")
    assert 'expected a file, found none; name one, or pipe a text in: echo "a' in done.stderr


def test_a_closed_standard_input_is_an_empty_text(index):
    command = f"'{PROGRAM}' attribute '{index.path}' <&-"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("found     no spans: the text is empty")
