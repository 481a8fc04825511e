"""The command line as a user meets it: answers, JSON, standard input, exit codes, help."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import everygram
from conftest import write_jsonl
from everygram.cli import app as cli
from everygram.cli import show as display
from everygram.progress import Progress

# Those that are searched together, and those that are not.
BATCHED = ["count", "prob", "ntd", "infgram-prob", "infgram-ntd"]
QUERIES = [*BATCHED, "score", "longest-matches", "find", "document"]
COMMANDS = ["build", "info", "verify", *QUERIES, "serve", "warmup"]


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command in this process; returns exit code, output, error output."""

    def run(*arguments, stdin=""):
        monkeypatch.setattr(sys, "argv", ["everygram", *map(str, arguments)])
        given = stdin if isinstance(stdin, bytes) else stdin.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), "utf-8"))
        code = 0
        try:
            cli.main()
        except SystemExit as left:
            code = left.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def path(text_index):
    return text_index.path


def test_build_info_verify(run, tmp_path):
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": "one two", "k": 1}, {"text": "two"}])
    code, out, err = run("build", corpus, "--out", tmp_path / "index", "--tokenizer", "train:256")
    assert code == 0
    assert "documents               2\n" in out
    assert "tokens                  10\n" in out
    assert re.search(r"peak memory             \d+ MiB", out)
    assert f'everygram count {tmp_path / "index"} "some words"' in out
    lines = [line.split("] ")[1] for line in err.splitlines() if line.startswith("[")]
    assert [re.sub(r"\d+\.\d MB", "0.0 MB", line) for line in lines] == [
        "training the tokenizer",
        "reading documents",
        "  2 documents, 10 tokens, 0.0 MB/s",
        "sorting suffixes",
        "writing the index",
        "publishing",
    ]
    code, out, _ = run("info", tmp_path / "index", "--json")
    assert code == 0
    assert json.loads(out)["tokenizer"] == "train:256"
    code, out, _ = run("info", tmp_path / "index")
    assert "num_documents      2\n" in out
    assert run("verify", tmp_path / "index")[:2] == (0, f"{tmp_path / 'index'}: sound\n")
    tokens = tmp_path / "index" / "segment-000001" / "tokens.bin"
    data = bytearray(tokens.read_bytes())
    data[3] ^= 1
    tokens.write_bytes(data)
    code, out, _ = run("verify", tmp_path / "index")
    assert code == 1
    assert "tokens.bin: content does not match its checksum" in out
    code, out, _ = run("verify", tmp_path / "index", "--json")
    assert code == 1
    assert json.loads(out)["sound"] is False


def test_build_says_what_it_understood(run, tmp_path):
    records = [{"body": {"text": "one two"}, "url": "u", "k": i} for i in range(50)]
    corpus = write_jsonl(tmp_path / "c.jsonl", records)
    build = ["build", corpus, "--out", tmp_path / "index", "--text-field", "body.text"]
    build += ["--id-field", "url", "--metadata-fields", "k"]
    code, out, err = run(*build, "--dry-run")
    assert (code, err) == (0, "")
    assert not (tmp_path / "index").exists()
    for line in [
        "files           1: 1 × JSON lines, 0.0 MB",
        "text, metadata  'body.text'; 'id', 'k'",
        "tokenizer       bytes",
        "vocabulary      255 ids",
        "tokens          about 350",
    ]:
        assert f"{line}\n" in out
    assert re.search(r"disk +about 0.0 MB, of them 0.0 for the index; [\d,.]+ MB are free\n", out)
    assert re.search(r"memory +[\d,]+ MiB at most, \d+ threads?\n", out)
    plan = json.loads(run(*build, "--dry-run", "--json")[1])
    assert (plan["tokens"], plan["formats"], plan["fields"]) == (
        350,
        {"JSON lines": 1},
        ["id", "k"],
    )
    assert run(*build, "--dry-run", "--memory", "1KiB")[1].endswith(
        "; sorted in blocks and merged\n"
    )
    code, out, err = run(*build, "--json")
    assert code == 0
    assert "tokens          about 350\n" in err
    assert json.loads(out)["num_documents"] == 50
    (tmp_path / "empty").mkdir()
    assert run("build", tmp_path / "empty", "--out", tmp_path / "x", "--dry-run")[0] == 1


def test_lines_of_progress_with_and_without_an_end(monkeypatch, capsys):
    monkeypatch.setattr(display, "LINE_EVERY", 0.0)
    report = display._lines()
    for done, total in ((0, 0), (0, 0), (50, 100)):
        report(Progress("read", done, total, 3, 70, 1.0, 1.0))
    assert [line.split("] ")[1] for line in capsys.readouterr().err.splitlines()] == [
        "reading documents",
        "  3 documents, 70 tokens, 0.0 MB/s",
        "  50%, 1 s left, 3 documents, 70 tokens, 0.0 MB/s",
    ]


def test_build_skips_when_told_to(run, tmp_path):
    (tmp_path / "c.jsonl").write_text('{"body": "a"}\nnope\n')
    code, _, err = run("build", tmp_path / "c.jsonl", "--out", tmp_path / "i")
    assert code == 1
    assert "c.jsonl:1: no field 'text'; the record has 'body'; name the text with --text" in err
    options = ("--text-field", "body", "--on-error", "skip")
    code, out, _ = run("build", tmp_path / "c.jsonl", "--out", tmp_path / "i", *options)
    assert code == 0
    assert "1 skipped:\n" in out
    assert "c.jsonl:2: not a JSON record" in out


def test_build_from_token_ids(run, tmp_path):
    np.array([5, 6, 0, 7], "<u2").tofile(tmp_path / "ids.bin")
    options = ("--pretokenized", "u16", "--separator-id", "0")
    assert run("build", tmp_path / "ids.bin", "--out", tmp_path / "i", *options)[0] == 0
    code, out, _ = run("count", tmp_path / "i", "--ids", "5,6")
    assert (code, out) == (0, "count     1\nquery     ids 5 6\n")
    code, out, _ = run("document", tmp_path / "i", "--number", "0")
    assert out.endswith("\n5 6\n")
    code, _, err = run("count", tmp_path / "i", "five")
    assert code == 1
    assert "has no tokenizer" in err


def test_count(run, path):
    assert run("count", path, "the") == (
        0,
        "count     7\nquery     't' 'h' 'e'   ids 116 104 101\n",
        "",
    )
    code, out, _ = run("count", path, "the", "--json")
    assert code == 0
    assert json.loads(out) == {"count": 7, "tokens": ["t", "h", "e"], "token_ids": [*b"the"]}
    for ids in ("116,104,101", "116 104 101", "[116, 104, 101]"):
        assert run("count", path, "--ids", ids, "--json")[1] == out
    assert run("count", path, "xyzzy")[:2][0] == 0


@pytest.mark.parametrize("command", QUERIES)
def test_every_query_answers_people_and_programs(run, path, command):
    """--json is what the Python API's as_dict gives; people get text with the same numbers."""
    code, out, err = run(command, path, "the")
    assert (code, err) == (0, "")
    assert not out.startswith("{")
    code, out, _ = run(command, path, "the", "--json")
    assert code == 0
    assert "token_ids" in json.loads(out)
    ids = run(command, path, "--ids", "116,104,101", "--json")[1]
    assert ids == out
    lines = run(command, path, "-", stdin="the\nthe\r\n")
    assert lines[:2] == (0, out + out)
    lines = run(command, path, "--ids", "-", stdin="116,104,101\n[116, 104, 101]\n")
    assert lines[:2] == (0, out + out)


def test_the_answers_in_words(run, path):
    assert "prob      1 = 3 / 3" in run("prob", path, "natural l", "--continuation", "a")[1]
    assert "prob      1 = 3 / 3" in run("prob", path, "natural l", "--continuation-id", "97")[1]
    assert "undefined: the prompt does not occur" in run("prob", path, "zzz")[1]
    out = run("ntd", path, "e", "--top", "1")[1]
    assert "after     the whole prompt: 13 occurrences, 5 different tokens next" in out
    out = run("infgram-ntd", path, "zz natural lang")[1]
    assert "after     the last 13 of its 15 tokens: 1 occurrence, 1 different token next" in out
    out = run("ntd", path, "e", "--top", "1")[1]
    assert "more (--all shows them)" in out
    assert "more (--all" not in run("ntd", path, "e", "--all")[1]
    out = run("document", path, "quick", "--context", "4")[1]
    assert "the »quick« bro" in out
    assert "lang: en" in out
    assert run("document", path, "--number", "3")[1].endswith("\nnatural language\n")
    listed = run("find", path, "the", "--limit", "2")[1].splitlines()
    assert len(listed) == 2 + 1 + 2


def test_an_answer_that_is_not_exact_says_so(run, path):
    exact = run("ntd", path, "e")[1]
    assert run("ntd", path, "e", "--max-support", "13")[1] == exact
    assert "exact" not in exact
    for command in ("ntd", "infgram-ntd"):
        out = run(command, path, "e", "--max-support", "5")[1]
        assert "exact     no: counts may be off by 2, tokens that follow no oftener" in out
        answer = json.loads(run(command, path, "e", "--max-support", "5", "--json")[1])
        assert (answer["exact"], answer["error_bound"]) == (False, 2)
        line = run(command, path, "-", "--max-support", "5", stdin="e")[1]
        assert json.loads(line) == answer


def test_score(run, path):
    out = run("score", path, "the quz")[1]
    assert re.sub(" +", " ", out).splitlines() == [
        "model ∞-gram",
        " prob count of suffix_len id token",
        " 0.058824 11 187 0 116 't'",
        " 0.727273 8 11 1 104 'h'",
        " 0.875000 7 8 2 101 'e'",
        " 0.857143 6 7 3 32 ' '",
        " 0.166667 1 6 4 113 'q'",
        " 1.000000 1 1 5 sparse 117 'u'",
        " 0.000000 0 1 6 sparse 122 'z'",
    ]
    out = run("score", path, "zz", "--order", "2")[1]
    assert out.startswith("model     2-gram\n")
    assert run("score", path, "zzx", "--order", "3")[1].count("undefined") == 1
    assert run("score", path, "")[1] == "model     ∞-gram\ntext      (empty)\n"


def test_longest_matches(run, path):
    out = run("longest-matches", path, "natural lax!")[1]
    lines = re.sub(" +", " ", out).splitlines()
    assert lines[:3] == ["longest 10 tokens", " length count id token", " 10 3 110 'n'"]
    assert lines[-1] == " 0 0 33 '!'"
    assert run("longest-matches", path, "")[1] == "longest   0 tokens\ntext      (empty)\n"


@pytest.mark.parametrize("command", BATCHED)
def test_many_lines_are_searched_together(run, path, monkeypatch, command):
    """Over several groups, bad lines among them, each line is answered as it is alone."""
    monkeypatch.setattr(cli, "GROUP", 300)
    options = ["--continuation-id", "101"] if command.endswith("prob") else []
    lines = ["t,h", "999", "116", "104,101", "", "116,999,1", "255", "7,116,104"]
    alone, codes = [], []
    for line in lines:
        code, out, _ = run(command, path, "--ids", "-", *options, stdin=line + "\n")
        alone.append(out)
        codes.append(code)
    assert codes == [1, 1, 0, 0, 0, 1, 0, 0]
    given = "\n".join(lines * 100)
    code, out, _ = run(command, path, "--ids", "-", *options, stdin=given)
    assert code == 1
    assert out == "".join(alone) * 100
    good = "".join(f"{line}\n" for line in lines[2:5] * 200)
    assert run(command, path, "--ids", "-", *options, stdin=good)[:2] == (
        0,
        "".join(alone[2:5]) * 200,
    )


@pytest.mark.parametrize("command", BATCHED)
def test_ids_that_fit_the_tokens_but_not_the_vocabulary(run, tmp_path, command):
    np.array([5, 6, 0, 7], "<u2").tofile(tmp_path / "ids.bin")
    options = ("--pretokenized", "u16", "--separator-id", "0", "--vocab-size", "400")
    assert run("build", tmp_path / "ids.bin", "--out", tmp_path / "i", *options)[0] == 0
    code, out, _ = run(command, tmp_path / "i", "--ids", "-", stdin="5,6\n401,6\n6,401\n5,6\n")
    answers = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert answers[0] == answers[3] and answers[0]["token_ids"]
    for number in (1, 2):
        error = f"query[{number - 1}]: token id 401 is outside the vocabulary: expected 0 to 399"
        assert answers[number]["error"].startswith(error)


def test_a_prompt_without_a_continuation_is_a_bad_line(run, path):
    code, out, _ = run("prob", path, "-", stdin="the\n\nthe")
    answers = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert "the query is empty" in answers[1]["error"]
    assert answers[0] == answers[2] and answers[0]["prob"] == 7 / 8


def test_standard_input_is_cut_at_line_ends_alone(run, path):
    """However much of it comes at a time, and whatever is in it."""
    long = "the " * 600_000
    code, out, _ = run("count", path, "-", stdin=f"a\u2028b\r\n{long}\n\nlé\n".encode())
    answers = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [len(answer["token_ids"]) for answer in answers] == [5, len(long), 0, 3]
    assert run("count", path, "-", stdin="")[:2] == (0, "")


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


def test_a_bad_line_of_standard_input_does_not_stop_the_others(run, path, texts):
    code, out, _ = run("count", path, "--ids", "-", stdin="116\n999\nx\n\n")
    answers = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert answers[0]["count"] == "".join(texts).count("t")
    assert "token id 999 is outside the vocabulary" in answers[1]["error"]
    assert "expected token ids like 1,2,3, found 'x'" in answers[2]["error"]
    assert answers[3]["token_ids"] == []


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["count", "INDEX"], 2, "expected a query or --ids"),
        (["count", "INDEX", "a", "--ids", "1"], 2, "expected a query or --ids"),
        (["count", "INDEX", "--ids", "999"], 2, "outside the vocabulary: expected 0 to 254"),
        (["count", "INDEX", "--ids", "a,b"], 2, "expected token ids like 1,2,3"),
        (["count", "INDEX", "--ids", "1_0"], 2, "expected token ids like 1,2,3"),
        (["build", "x.bin", "--out", "OUT", "--separator-id", "3"], 2, "goes with pretokenized"),
        (["build", "x.jsonl", "--out", "OUT", "--tokenizer", "train:9"], 1, "no such file"),
        (["prob", "INDEX", "a", "--continuation", "b", "--continuation-id", "1"], 2, "not both"),
        (["count", "nowhere", "a"], 1, "index 'nowhere': no such folder"),
        (["count", "INDEX", "a", "--nope"], 2, "No such option"),
        (["prob", "INDEX", ""], 2, "the query is empty"),
        (["find", "INDEX", "a", "--limit", "-1"], 2, "--limit"),
        (["document", "INDEX", "--number", "99"], 2, "document 99: the index has 0 to 5"),
        (["document", "INDEX", "a", "--number", "1"], 2, "not both"),
        (["document", "INDEX", "zzz"], 2, "the query occurs 0 times"),
        (["build", "nowhere.jsonl", "--out", "OUT"], 1, "nowhere.jsonl: no such file"),
        (["build", "--out", "OUT"], 2, "Missing argument"),
        (["verify", "nowhere"], 1, "no such folder"),
        (["serve", "nowhere"], 1, "no such folder"),
        (["serve", "INDEX", "--preload", "nope"], 2, "expected some of fences, suffix_array, tok"),
        (["warmup", "nowhere"], 1, "no such folder"),
        (["ntd", "INDEX", "a", "--max-support", "0"], 2, "--max-support"),
        (["score", "INDEX"], 2, "expected a query or --ids"),
        (["score", "INDEX", "a", "--order", "0"], 2, "--order"),
        (["score", "INDEX", "--ids", "999"], 2, "[0]: token id 999 is outside"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_exit_codes_and_messages(run, path, tmp_path, arguments, code, says):
    given = [{"INDEX": path, "OUT": tmp_path / "out"}.get(a, a) for a in arguments]
    left, out, err = run(*given)
    assert left == code
    assert says in " ".join(err.replace("│", " ").split())
    assert out == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"everygram {command} " in out


def test_version(run):
    import everygram

    assert run("--version")[:2] == (0, f"everygram {everygram.__version__}\n")


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


def test_a_port_that_is_taken_is_exit_code_1(path):
    everygram = Path(sys.executable).with_name("everygram")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run([everygram, "serve", path, "--port", port], capture_output=True)
    assert done.returncode == 1


def test_bytes_that_are_no_text_and_terminals_that_cannot_show_it(path):
    everygram = Path(sys.executable).with_name("everygram")
    done = subprocess.run(
        [everygram, "count", path, "-"], input=b"\xff\nthe\n", capture_output=True
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert "lone surrogate" in answers[0]["error"]
    assert answers[1]["count"] == 7
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([everygram, "--help"], capture_output=True, env=env)
    assert done.returncode == 0


def test_a_missing_extra_is_named(run, path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    monkeypatch.delitem(sys.modules, "everygram.server.app", raising=False)
    code, _, err = run("serve", path)
    assert code == 1
    assert "pip install 'everygram[server]'" in err


@pytest.mark.parametrize(
    ("options", "preload"),
    [
        ([], ()),
        (["--preload", "all"], ("all",)),
        (["--preload", "tokens", "--preload", "fences"], ("tokens", "fences")),
    ],
)
def test_what_is_preloaded(run, path, monkeypatch, options, preload):
    calls = []
    monkeypatch.setattr("everygram.server.app.serve", lambda *given: calls.append(given))
    assert run("serve", path, *options)[0] == 0
    verify = "--verify" in options
    assert calls == [((path,), "127.0.0.1", 8000, preload, verify)]


def test_warmup(run, path):
    code, out, _ = run("warmup", path)
    assert code == 0
    assert re.fullmatch(f"{path}: (nothing left|[0-9]+ functions).*, [0-9.]+ s\n", out)
    code, out, _ = run("warmup")
    assert code == 0
    assert re.findall("^tokens of ([0-9]+) bits: .*, [0-9.]+ s$", out, re.MULTILINE) == [
        "8",
        "16",
        "32",
    ]
    code, out, _ = run("warmup")
    assert out.count("nothing left to compile") == 3


def test_after_warmup_nothing_is_left_to_compile(tmp_path):
    """Neither to build nor to query needs a kernel, or a variant of one, that warmup did not."""
    program = """
import sys
from everygram.cli import app as cli
from everygram.cli import show as display
from everygram.progress import Progress
from everygram.kernels import following, merge, sais, search, sort

def variants():
    return {name: len(kernel.signatures) for module in (following, merge, sais, search, sort)
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
assert sum(before.values()) > 20
assert variants() == before, set(variants().items()) - set(before.items())
""".replace("sys.argv_of", repr(QUERIES))
    write_jsonl(tmp_path / "c.jsonl", [{"text": "one two one"}, {"text": "two one"}])
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, timeout=500
    )
    assert done.returncode == 0, done.stderr


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
    long = ["count", path, "the" * cli.FEW_BYTES]
    done = subprocess.run([sys.executable, "-c", program, *long], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == run(*long)[:2]
