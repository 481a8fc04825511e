"""How much of files of texts is new: a line per file, a figure, JSON; what is no file of texts."""

import gzip
import inspect
import json
import re
import subprocess
import sys
import warnings
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from test_help import command_of, defaults_of

import everygram
from conftest import write_jsonl
from everygram.cli import app as cli
from everygram.cli.plot import figure_at

ONE = ["natural language of a fox", "", "the lazy language"]
TWO = ["zebra"]
PROGRESS = r"(\[ +\d+\.\d s\] .*\n)+"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "one.jsonl", [{"text": text, "reply": TWO[0]} for text in ONE])
    (tmp_path / "two.txt").write_text(TWO[0])
    return tmp_path


def pooled(index, texts, **options):
    return sum(index.novelty(text, **options) for text in texts).as_dict()


def test_a_line_per_file(run, path, here, text_index):
    code, out, err = run("novelty", path, "one.jsonl", "two.txt")
    assert code == 0 and re.fullmatch(PROGRESS, err), err
    one, two = pooled(text_index, ONE), pooled(text_index, TWO)
    groups, heads, *rows = out.splitlines()[:4]
    assert groups.split() == ["new", "covered"]
    assert heads.split()[3:] == ["n=3", "n=5", "n=8"] * 2 + ["creativity", "longest"]
    # The names of the groups stand over their columns.
    assert heads[groups.index("new") :].split()[0] == "n=3"
    assert heads[groups.index("covered") :].split()[0] == "n=3"
    for row, name, answer in zip(rows, ("one.jsonl", "two.txt"), (one, two), strict=True):
        shares = [
            "–" if answer[what][n] is None else f"{answer[what][n]:.1%}"
            for what in ("new", "covered")
            for n in (2, 4, 7)
        ]
        assert row.split() == [
            name,
            str(answer["num_texts"]),
            str(answer["num_tokens"]),
            *shares,
            f"{answer['creativity_index']:.3f}",
            str(answer["longest"]),
        ]
    assert (one["num_texts"], one["num_tokens"]) == (3, sum(map(len, ONE)))
    assert "summed over L = 5 to 12\n            (from 0 to 8)" in out


def test_json_has_all_of_each_file_and_of_each_text(run, path, here, text_index):
    options = {"max_n": 4, "creativity_bounds": (2, 3)}
    given = ["--max-n", "4", "--creativity-bounds", "2", "3", "--json"]
    one = {"file": "one.jsonl"} | pooled(text_index, ONE, **options)
    two = {"file": "two.txt"} | pooled(text_index, TWO, **options)
    code, out, _ = run("novelty", path, "one.jsonl", "two.txt", *given)
    assert code == 0
    assert list(map(json.loads, out.splitlines())) == [one, two]
    each = [
        {"file": name, "text": number} | text_index.novelty(text, **options).as_dict()
        for name, texts in (("one.jsonl", ONE), ("two.txt", TWO))
        for number, text in enumerate(texts, 1)
    ]
    code, out, _ = run("novelty", path, "one.jsonl", "two.txt", *given, "--each")
    assert list(map(json.loads, out.splitlines())) == [*each[:3], one, each[3], two]
    code, _, err = run("novelty", path, "one.jsonl", "--each")
    assert code == 2 and "--each goes with --json" in err


def test_texts_are_read_as_a_build_reads_them(run, path, here, text_index):
    def texts_of(*arguments, stdin=b""):
        code, out, err = run("novelty", path, *arguments, "--json", stdin=stdin)
        assert code == 0, err
        return [json.loads(line) for line in out.splitlines()]

    one, two = ({"file": "-"} | pooled(text_index, texts) for texts in (ONE, TWO))
    lines = (here / "one.jsonl").read_bytes()
    assert texts_of("-", stdin=lines) == [one]
    assert texts_of("-", stdin=gzip.compress(lines)) == [one]
    assert texts_of("-", stdin=TWO[0].encode()) == [two]
    assert texts_of("one.jsonl", "--text-field", "reply") == [
        {"file": "one.jsonl"} | pooled(text_index, TWO * 3)
    ]
    (here / "lines.txt").write_text("\n".join(ONE))
    assert texts_of("lines.txt", "--split", "lines") == [
        {"file": "lines.txt"} | pooled(text_index, [ONE[0], ONE[2]])
    ]
    # A folder and a pattern are measured as one.
    (here / "folder").mkdir()
    for name, text in (("a.txt", ONE[0]), ("b.txt", ONE[2])):
        (here / "folder" / name).write_text(text)
    for name in ("folder", "folder/*.txt"):
        assert texts_of(name) == [{"file": name} | pooled(text_index, [ONE[0], ONE[2]])]


def test_raw_leaves_the_prefix_out(run, here):
    everygram.build(here / "one.jsonl", here / "index", "train:270")
    with everygram.open(here / "index") as index:
        for flags, raw in (([], False), (["--raw"], True)):
            _, out, _ = run("novelty", "index", "one.jsonl", "--json", *flags)
            assert json.loads(out) == {"file": "one.jsonl"} | pooled(index, ONE, raw=raw)


def test_what_cannot_be_measured_is_named(run, path, here):
    def error_of(*arguments, stdin=b""):
        code, out, err = run("novelty", path, *arguments, stdin=stdin)
        assert code in (1, 2) and out == "", out
        return err

    (here / "bad.jsonl").write_text('{"text": "fine"}\n\n{"text": 3}\n')
    assert "bad.jsonl:3: field 'text': expected a string" in error_of("bad.jsonl")
    assert "missing.jsonl: no such file" in error_of("one.jsonl", "missing.jsonl")
    (here / "none.jsonl").write_text("\n")
    assert "error: none.jsonl: expected texts, found none" in error_of("none.jsonl")
    assert "error: standard input: expected texts, found none" in error_of("-")
    assert "expected - once, found it twice" in error_of("-", "two.txt", "-", stdin=b"a")
    assert "FILE: expected a path, found an empty one" in error_of("two.txt", "")
    assert "no field 'body'" in error_of("one.jsonl", "--text-field", "body")
    assert "found 12 5" in error_of("one.jsonl", "--creativity-bounds", "12", "5")
    assert "Missing argument 'FILE...'" in error_of()
    for bounds in (("0", "5"), ("5",), ("5", "1001")):
        assert "creativity-bounds" in error_of("one.jsonl", "--creativity-bounds", *bounds)
    for most in ("0", "1001"):
        assert "--max-n" in error_of("one.jsonl", "--max-n", most)


def test_no_error_names_an_option_that_only_build_has(run, path, here):
    (here / "latin.txt").write_bytes(b"caf\xe9")
    (here / "quotes.csv").write_text('text\n"a\n')
    (here / "broken.jsonl.gz").write_bytes(gzip.compress(b'{"text": "a"}\n')[:-4])
    for name in ("latin.txt", "quotes.csv", "broken.jsonl.gz"):
        code, out, err = run("novelty", path, name)
        assert (code, out) == (1, "") and f"error: {name}" in err
        assert "--on-error" not in err and "--quoting" not in err, err


def test_token_ids_are_measured_too(run, here):
    (here / "ids.bin").write_bytes(bytes([0, 1, 2, 0, 3, 1]))
    given = ["--pretokenized", "u8", "--separator-id", "0", "--json"]
    everygram.build(
        here / "ids.bin", here / "index", pretokenized="u8", separator_id=0, vocab_size=9
    )
    (here / "new.bin").write_bytes(bytes([0, 1, 2, 3, 0, 5]))
    np.save(here / "rows.npy", np.array([[1, 2], [3, 1]], "u1"))
    with everygram.open(here / "index") as index:
        for name, texts in (("new.bin", [[1, 2, 3], [5]]), ("rows.npy", [[1, 2], [3, 1]])):
            code, out, err = run("novelty", "index", name, *(given if "bin" in name else given[4:]))
            assert (code, json.loads(out)) == (0, {"file": name} | pooled(index, texts)), err
    (here / "new.bin").write_bytes(bytes([0, 1, 0, 77]))
    code, _, err = run("novelty", "index", "new.bin", *given)
    assert code == 2 and re.search(r"new.bin: document 2: .*token id 77 is outside", err), err
    code, _, err = run("novelty", "index", "one.jsonl")
    assert code == 1 and re.search("one.jsonl:1: index '.*index' has no tokenizer", err), err


def test_the_figure_has_a_line_and_a_name_per_file(run, path, here):
    names = [
        "one.jsonl",
        "$x^2$.txt",
        "_under.txt",
        "日本語 é😀.txt",
        'a&<b>".txt',
        "x" * 80 + ".txt",
    ]
    for name in names[1:]:
        (here / name).write_text("the natural zebra")
    code, _out, err = run("novelty", path, *names, "--plot", "made.svg")
    assert code == 0 and re.fullmatch(PROGRESS, err), err
    texts = [each.text for each in ElementTree.parse(here / "made.svg").iter() if each.text]
    for name in names[:-1]:
        assert name in texts, texts
    assert f"…{names[-1][-59:]}" in texts
    assert "n-grams that are not in index" in texts and "share of n-grams that are new" in texts
    before = (here / "made.svg").read_bytes()
    run("novelty", path, *names, "--plot", "made.svg")
    assert (here / "made.svg").read_bytes() == before
    run("novelty", path, *names, "--plot", "made.PNG", "--json")
    assert (here / "made.PNG").read_bytes().startswith(b"\x89PNG")


def test_a_figure_that_fails_leaves_what_was_there(run, path, here, monkeypatch):
    from matplotlib.figure import Figure

    def interrupted(self, out, **options):
        if isinstance(out, str | Path):
            Path(out).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Figure, "savefig", interrupted)
    (here / "old.png").write_text("old")
    files = {*here.iterdir()}
    for name in ("old.png", "new.svg"):
        run("novelty", path, "two.txt", "--plot", name)
    assert {*here.iterdir()} == files and (here / "old.png").read_text() == "old"


def test_a_figure_of_one_n_and_of_undefined_shares(here):
    answers = [{"file": "none", "new": [None]}, {"file": "one", "new": [0.5]}] * 30
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure_at(here / "a.svg")(answers, "many")
    texts = [each.text for each in ElementTree.parse(here / "a.svg").iter()]
    assert texts.count("none") == texts.count("one") == 30


def test_where_no_figure_can_be_is_said_before_any_work(run, path, here, monkeypatch):
    (here / "folder.png").mkdir()
    for name, says in (
        ("made.pdf", "--plot: expected a name that ends in .png or .svg, found 'made.pdf'"),
        ("made", "--plot: expected a name that ends in"),
        ("nowhere/made.png", "'nowhere/made.png', in a folder that is not there"),
        ("folder.png", "expected a file to write, found 'folder.png', which is a folder"),
    ):
        code, out, err = run("novelty", path, "missing.jsonl", "--plot", name)
        assert (code, out) == (2, "") and says in err and "missing.jsonl" not in err
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, out, err = run("novelty", path, "missing.jsonl", "--plot", "made.png")
    assert (code, out) == (1, "") and "pip install 'everygram[plot]'" in err


def test_matplotlib_is_imported_only_for_a_figure(path, here):
    script = (
        "import sys\n"
        "from everygram.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('matplotlib' in sys.modules)"
    )
    for more, imported in (([], "False"), (["--plot", "a.svg"], "True")):
        arguments = [sys.executable, "-c", script, "novelty", path, "two.txt", *more]
        done = subprocess.run(arguments, capture_output=True, text=True)
        assert done.stdout.splitlines()[-1] == imported, done.stderr


def test_the_defaults_are_those_of_python():
    shell = defaults_of("novelty", "INDEX", "FILE")
    method = inspect.signature(everygram.Index.novelty).parameters
    options = {*method} - {"self", "text"}
    own = {
        "index",
        "files",
        "text_field",
        "split",
        "pretokenized",
        "separator_id",
        "plot",
        "as_json",
        "each",
    }
    assert {*shell} == own | options
    assert {name: shell[name] for name in options} == {
        name: method[name].default for name in options
    }
    assert command_of("novelty").name in cli.COMMANDS
