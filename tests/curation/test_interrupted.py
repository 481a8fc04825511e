"""What is left of a command that is ended by a signal: nothing, neither files nor parts of them."""

import signal
import subprocess
import sys

import pytest

import everygram
from conftest import write_jsonl

COMMANDS = {
    "contamination": ["c.jsonl", "--n", "3", "--normalize", "--clean", "out/clean.jsonl"],
    "duplicates": ["--min-length", "3", "--out", "out/ranges.jsonl"],
    "deduplicate": ["--min-length", "3", "--out", "out/left.jsonl"],
    "top-ngrams": ["--n", "3", "--out", "out/top.jsonl"],
}
# Waits where it is told of progress while there are temporary files. (In short waits: a signal that
# comes just before one does not end it.)
SCRIPT = """
import contextlib, os, sys, time
from everygram.cli import show_indexing
from everygram.cli.app import main
def report(progress):
    if os.listdir("tmp"):
        print("waits", flush=True)
        for _ in range(1200):
            time.sleep(0.05)
show_indexing.build_progress = lambda: contextlib.nullcontext(report)
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_left_of_a_command_that_is_ended(tmp_path, monkeypatch, command, number):
    monkeypatch.chdir(tmp_path)
    for name in ("tmp", "out"):
        (tmp_path / name).mkdir()
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": "one two three four"}] * 2)
    everygram.build(corpus, "index", kind="self-index")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    given = [sys.executable, "-c", SCRIPT, command, "index", *COMMANDS[command]]
    started = subprocess.Popen(given, stdout=subprocess.PIPE, text=True)
    assert started.stdout.readline() == "waits\n"
    started.send_signal(number)
    assert started.communicate(timeout=60)[0] == ""
    assert started.returncode == 128 + number
    assert [*(tmp_path / "tmp").iterdir(), *(tmp_path / "out").iterdir()] == []
