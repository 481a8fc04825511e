"""The command line as a program: exit codes, messages, pipes, interruptions, start and end."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import everygram
from conftest import write_jsonl
from everygram.cli import answering
from everygram.cli.app import COMMANDS

FAMILIES = ("ngrams", "texts", "documents")
QUERIES = [name for name, (place, _) in COMMANDS.items() if place.startswith(FAMILIES)]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["count", "INDEX"], 2, "expected a query or --ids"),
        (["count", "INDEX", "a", "--ids", "1"], 2, "expected a query or --ids"),
        (["count", "INDEX", "--ids", "999"], 2, "outside the vocabulary: expected 0 to 254"),
        (["count", "INDEX", "--ids", "a,b"], 2, "expected integers like 1,2,3"),
        (["count", "INDEX", "--ids", "1_0"], 2, "expected integers like 1,2,3"),
        (
            ["build", "x.bin", "--out", "OUT", "--separator-id", "3"],
            2,
            "--separator-id goes with --pretokenized",
        ),
        (["build", "x.jsonl", "--out", "OUT", "--tokenizer", "train:300"], 1, "no such file"),
        (["build", "x.jsonl", "--out", "OUT", "--tokenizer", "train:9"], 2, "VOCAB from 256"),
        (["prob", "INDEX", "a", "--continuation", "b", "--continuation-id", "1"], 2, "not both"),
        (["count", "nowhere", "a"], 1, "index 'nowhere': no such folder"),
        (["count", "INDEX", "a", "--nope"], 2, "No such option"),
        (["prob", "INDEX", ""], 2, "the query is empty"),
        (["find", "INDEX", "a", "--limit", "-1"], 2, "--limit"),
        (["document", "INDEX", "--number", "99"], 2, "document 99: the index has 0 to 5"),
        (["document", "INDEX", "a", "--number", "1"], 2, "not both"),
        (["document", "INDEX", "zzz"], 2, "the query does not occur: ['z', 'z', 'z']"),
        (["build", "nowhere.jsonl", "--out", "OUT"], 1, "nowhere.jsonl: no such file"),
        (["build", "--out", "OUT"], 2, "Missing argument"),
        (["verify", "nowhere"], 1, "no such folder"),
        (["serve", "nowhere", "--port", "0"], 1, "no such folder"),
        (
            ["serve", "INDEX", "--preload", "nope", "--port", "0"],
            2,
            "expected some of fences, suffix_array, tok",
        ),
        (["warmup", "nowhere"], 1, "no such folder"),
        (["ntd", "INDEX", "a", "--max-support", "0"], 2, "--max-support"),
        (["score", "INDEX"], 2, "expected a query or --ids"),
        (["score", "INDEX", "a", "--order", "0"], 2, "--order"),
        (["score", "INDEX", "--ids", "999"], 2, "[0]: token id 999 is outside"),
        (["find", "INDEX", "a", "--sample", "2", "--limit", "10"], 2, "--sample, or --limit and"),
        (["find", "INDEX", "a", "--sample", "2", "--offset", "1"], 2, "--sample, or --limit and"),
        (["find", "INDEX", "a", "--seed", "1"], 2, "--seed goes with --sample"),
        (["ntd", "INDEX", "a", "--all", "--top", "3"], 2, "expected --top or --all, not both"),
        (["infgram-ntd", "INDEX", "a", "--top", "3", "--all"], 2, "--top or --all, not both"),
        (["nonsense"], 2, "No such command"),
        (
            ["infgram_ntd", "INDEX", "a"],
            2,
            "Did you mean one of: 'infgram-ntd', 'infg",
        ),
    ],
)
def test_exit_codes_and_messages(run, path, tmp_path, arguments, code, says):
    given = [{"INDEX": path, "OUT": tmp_path / "out"}.get(a, a) for a in arguments]
    left, out, err = run(*given)
    assert left == code
    assert says in " ".join(err.replace("│", " ").split())
    assert out == ""


def test_version(run):
    import everygram

    assert run("--version")[:2] == (0, f"everygram {everygram.__version__}\n")


@pytest.mark.parametrize("command", QUERIES)
def test_a_program_gets_each_answer_before_it_asks_on(path, command):
    everygram = Path(sys.executable).with_name("everygram")
    with subprocess.Popen(
        [everygram, command, path, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        for query in ("the", "natural"):
            process.stdin.write(query + "\n")
            process.stdin.flush()
            assert "token_ids" in json.loads(process.stdout.readline())
        process.stdin.close()
        assert process.wait(60) == 0


def test_a_reader_that_leaves_early_is_no_error(path, tmp_path):
    (tmp_path / "queries").write_text("the\n" * 20_000)
    everygram = Path(sys.executable).with_name("everygram")
    done = subprocess.run(
        f"'{everygram}' count '{path}' - < '{tmp_path / 'queries'}' | head -1",
        shell=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout)["count"] == 7
    assert done.stderr == ""


@pytest.mark.parametrize(
    "arguments", [["count", "INDEX", "-"], ["delete", "INDEX", "--documents", "-"]]
)
def test_a_closed_standard_input_is_an_empty_one(path, arguments):
    everygram = Path(sys.executable).with_name("everygram")
    words = " ".join(f"'{path}'" if word == "INDEX" else word for word in arguments)
    done = subprocess.run(f"'{everygram}' {words} <&-", shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_interruption_is_no_failure(path):
    everygram = Path(sys.executable).with_name("everygram")
    with subprocess.Popen(
        [everygram, "count", path, "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # What runs in the background is started without it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        process.stdin.write(b"the\n")
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr.read() == b""


def test_bytes_that_are_no_text_and_terminals_that_cannot_show_it(path):
    everygram = Path(sys.executable).with_name("everygram")
    done = subprocess.run(
        [everygram, "count", path, "-"], input=b"\xff\nthe\n", capture_output=True
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert answers[0]["error"] == "line 1: not UTF-8: byte 1 is 0xff"
    assert answers[1]["count"] == 7
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([everygram, "--help"], capture_output=True, env=env)
    assert done.returncode == 0


def test_the_program_ends_with_its_code_and_all_it_wrote(path):
    """It leaves without tidying up: nothing of its output may be lost."""
    program = [sys.executable, "-c", "from everygram.cli.app import run; run()"]
    lines = "the\n" * 5000
    done = subprocess.run(
        [*program, "count", path, "-"], input=lines, capture_output=True, text=True
    )
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 5000)
    done = subprocess.run([*program, "count", path, "--ids", "70000"], capture_output=True)
    assert done.returncode == 2
    assert b"token id 70000 is outside" in done.stderr
    done = subprocess.run([*program, "info", "nowhere"], capture_output=True)
    assert done.returncode == 1


def test_one_query_needs_no_compiled_code(run, path, texts, tmp_path):
    """What a shell asks once is answered before numba would be loaded, and is the same."""
    several = tmp_path / "several"
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": text} for text in texts])
    everygram.build(corpus, several)
    everygram.add(several, corpus)
    everygram.delete(several, documents=[0, 4])
    program = "import sys; sys.modules['numba'] = None; from everygram.cli.app import run; run()"
    asked = [
        [command, several, *query]
        for command in ("count", "prob", "infgram-prob", "find", "document")
        for query in (["the"], ["natural language", "--json"], ["nothing"], ["--ids", "32,32"])
    ]
    asked += [["info", path], ["verify", path, "--quick"], ["document", path, "--number", 3]]
    for command in [*asked, ["count", path, "the"], ["infgram-prob", path, "zz natural"]]:
        arguments = [sys.executable, "-c", program, *map(str, command)]
        done = subprocess.run(arguments, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == run(*command)
    program = "from everygram.cli.app import run; run()"
    long = ["count", path, "the" * answering.FEW_BYTES]
    done = subprocess.run([sys.executable, "-c", program, *long], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == run(*long)[:2]
