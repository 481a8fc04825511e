"""What is compiled when, and what is said of it."""

import re
import subprocess
import sys

import pytest

from conftest import write_jsonl
from everygram.cli import compiling, show_indexing
from everygram.cli.app import COMMANDS
from everygram.progress import NOTICE, Progress

FAMILIES = ("ngrams", "texts", "documents")
QUERIES = [name for name, (place, _) in COMMANDS.items() if place.startswith(FAMILIES)]


def test_warmup(run, path):
    code, out, _ = run("warmup", path)
    assert code == 0
    assert re.fullmatch(f"{path}: (nothing left|[0-9]+ functions).*, [0-9.]+ s\n", out)
    code, out, err = run("warmup")
    assert code == 0
    # A line for each function that is compiled, however many were compiled before.
    functions = re.findall(
        r"^\[ *[0-9.]+ s\] tokens of [0-9]+ bits: [0-9]+ \w+$", err, re.MULTILINE
    )
    assert len(functions) == len(err.splitlines())
    assert re.findall("^tokens of ([0-9]+) bits: .*, [0-9.]+ s$", out, re.MULTILINE) == [
        "8",
        "16",
        "32",
    ]
    code, out, err = run("warmup")
    assert out.count("nothing left to compile") == 3
    assert err == ""
    code, out, _ = run("warmup", "--width", 4, "--width", 1)
    assert re.findall("^tokens of ([0-9]+) bits: ", out, re.MULTILINE) == ["32", "8"]
    code, _, err = run("warmup", path, "--width", 4)
    assert code == 2 and "expected INDEX or --width, not both" in err


def test_after_warmup_nothing_is_left_to_compile(tmp_path):
    """Neither to build nor to query needs a kernel, or a variant of one, that warmup did not."""
    program = """
import sys
from everygram.cli import app as cli
from everygram.kernels import contexts, following, kneser_ney, merge, sais, search, sort

def variants():
    modules = contexts, following, kneser_ney, merge, sais, search, sort
    return {name: len(kernel.signatures) for module in modules
            for name, kernel in vars(module).items() if hasattr(kernel, "signatures")}

def run(*arguments):
    sys.argv = ["everygram", *arguments]
    try:
        cli.main()
    except SystemExit as left:
        assert not left.code

run("warmup")
before = variants()
for tokenizer in ("bytes", "train:300"):
    run("build", "c.jsonl", "--out", tokenizer, "--tokenizer", tokenizer)
    for command in sys.argv_of:
        run(command, tokenizer, "one")
    run("document", tokenizer, "--number", "0")
    run("ntd", tokenizer, "one", "--max-support", "1")
    run("score", tokenizer, "one two", "--order", "2")
    run("prepare", tokenizer)
    run("perplexity", tokenizer, "c.jsonl")
    run("sample", tokenizer, "one")
assert sum(before.values()) > 20
assert variants() == before, set(variants().items()) - set(before.items())
""".replace("sys.argv_of", repr(QUERIES))
    write_jsonl(tmp_path / "c.jsonl", [{"text": "one two one"}, {"text": "two one"}])
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, timeout=500
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def compiles(monkeypatch):
    """Have the command line told that two functions are compiled."""
    told = []
    monkeypatch.setattr(compiling, "_begun", 0)
    monkeypatch.setattr(compiling, "on_compile", lambda watcher: told.append(watcher))

    def compiles():
        for number, name in enumerate(("first", "second"), 1):
            told[-1](name, number)
        assert compiling.functions_compiled() == 2

    return compiles


def test_compilation_is_announced_once(compiles, capsys):
    with compiling.announced():
        compiles()
    with compiling.announced():
        pass
    with show_indexing.build_progress():
        pass
    assert capsys.readouterr().err == NOTICE + "\n"


def test_a_terminal_shows_what_is_compiled(compiles, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with compiling.announced():
        compiles()
    shown = capsys.readouterr().err
    assert shown.count(NOTICE) == 1
    assert "2: second" in shown
    with show_indexing.build_progress() as report:
        report(Progress("sort", 1, 2, 3, 70, 1.0, 1.0))
        compiles()
    shown = capsys.readouterr().err
    assert "sorting suffixes" in shown
    assert shown.count(NOTICE) == 1
    assert "compiling 2: second" in shown
