"""The commands of `analyse`: what they print, the files they write, what they refuse."""

import gzip
import inspect
import json
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import click
import numpy as np
import pytest
from test_help import command_of

import everygram
from conftest import write_jsonl
from everygram import analysis
from everygram.analysis import ScoredDocument
from everygram.cli.analysis import ANALYSES

TEXTS = ["natural language of a fox", "", "the lazy language"]
RECORDS = [
    {"decoding": "greedy", "prompt": "the qu", "text": "ick fox"},
    {"decoding": "people", "text": "natural language"},
    {"decoding": "greedy", "prompt_ids": [*b"the "], "token_ids": [*b"the the"]},
]
PROGRESS = r"(\[ +\d+\.\d s\] .*\n)+"


def scored(text):
    ids = [*text.encode()]
    return ScoredDocument(np.array(ids), np.linspace(-3, -0.1, len(ids)))


SCORED = [scored(text) for text in ("natural foxes", "the dogs", "lazy language")]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    records = [{"text": text, "of": {"n": n % 2}} for n, text in enumerate(TEXTS)]
    write_jsonl(tmp_path / "texts.jsonl", records)
    write_jsonl(tmp_path / "made.jsonl", RECORDS)
    analysis.write_log_probs("scored.jsonl", SCORED)
    return tmp_path


# Each command, and the same from Python.
ASKED = {
    "agreement": (
        ["texts.jsonl", "--by", "of.n", "--order", "3", "--max-tokens", "12"],
        lambda index: analysis.agreement(
            index,
            [{"text": text, "n": n % 2} for n, text in enumerate(TEXTS)],
            by="n",
            order=3,
            max_tokens=12,
        ),
    ),
    "generated": (
        ["made.jsonl", "--skip", "3"],
        lambda index: analysis.generated(index, RECORDS, skip=3),
    ),
    "interpolation": (
        ["scored.jsonl", "--bins", "4"],
        lambda index: analysis.neural_agreement(index, SCORED, bins=4),
    ),
    "scaling": (
        ["texts.jsonl", "--steps", "2", "--seed", "1", "--log-probs", "scored.jsonl"],
        lambda index: analysis.scaling(index, TEXTS, steps=2, seed=1, scored=SCORED),
    ),
}


@pytest.mark.parametrize("name", ASKED)
def test_json_and_csv_are_those_of_python(run, path, here, text_index, name):
    arguments, ask = ASKED[name]
    expected = ask(text_index)
    code, out, err = run("analyse", name, path, *arguments, "--json", "--csv", "out.csv")
    assert code == 0, err
    assert json.loads(out) == json.loads(json.dumps(expected.as_dict()))
    assert (here / "out.csv").read_text() == expected.csv()
    assert {each.name for each in here.iterdir()} == {
        *("texts.jsonl", "made.jsonl", "scored.jsonl", "out.csv")
    }


@pytest.mark.parametrize("name", ASKED)
def test_figures_are_drawn(run, path, here, text_index, name):
    arguments, _ = ASKED[name]
    code, _, err = run("analyse", name, path, *arguments, "--plot", "made.svg")
    assert code == 0, err
    texts = "\n".join(
        each.text for each in ElementTree.parse(here / "made.svg").iter() if each.text
    )
    assert "∞-gram" in texts and path.name in texts and "agreement" in texts
    before = (here / "made.svg").read_bytes()
    run("analyse", name, path, *arguments, "--plot", "made.svg")
    assert (here / "made.svg").read_bytes() == before
    assert run("analyse", name, path, *arguments, "--plot", "made.PNG")[0] == 0
    assert (here / "made.PNG").read_bytes().startswith(b"\x89PNG")


def rows_of(out):
    """The cells of the lines of a table, up to its first empty line."""
    return [re.split(r"  +", line) for line in out.partition("\n\n")[0].splitlines()]


def test_agreement_in_words(run, path, here, text_index):
    arguments, ask = ASKED["agreement"]
    code, out, err = run("analyse", "agreement", path, *arguments)
    assert code == 0 and re.fullmatch(PROGRESS, err), err
    found = ask(text_index)
    heads, *rows = rows_of(out)
    assert heads[1:6] == ["texts", "tokens", "3-gram", "∞-gram", "sparse"]
    assert [row[0] for row in rows] == ["all", "0", "1"]
    for row, each in zip(rows, [found.total, *found.groups.values()], strict=True):
        shares = [
            "–" if share is None else f"{share:.1%}"
            for share in (
                *(panel.agreement for panel in each.panels.values()),
                each.share_sparse,
            )
        ]
        assert row[1:7] == [str(each.num_texts), str(each.num_tokens), *shares]
    assert [row[1] for row in rows] == ["3", "2", "1"] and rows[2][2] == "0"
    assert "effective n of the ∞-gram model" in out


def test_generated_in_words(run, path, here):
    _, out, err = run("analyse", "generated", path, "made.jsonl")
    assert err == ""
    _, *rows = rows_of(out)
    assert [row[:3] for row in rows] == [
        ["all", "3", str(7 + 16 + 7)],
        ["greedy", "2", "14"],
        ["people", "1", "16"],
    ]


def test_interpolation_in_words(run, path, here, text_index):
    arguments, ask = ASKED["interpolation"]
    _, out, _ = run("analyse", "interpolation", path, *arguments)
    found = ask(text_index)
    _, *rows = rows_of(out)
    assert [row[0] for row in rows] == ["0 – 0.25", "0.25 – 0.5", "0.5 – 0.75", "0.75 – 1", "all"]
    assert [row[1] for row in rows] == [*map(str, found.tokens.tolist()), str(found.num_tokens)]
    assert (
        rows[-1][2] == f"{found.agreement:.1%}" and rows[-1][4] == f"{found.sparse_agreement:.1%}"
    )


def test_scaling_in_words(run, path, here, text_index):
    arguments, ask = ASKED["scaling"]
    _, out, err = run("analyse", "scaling", path, *arguments)
    found = ask(text_index)
    heads, *rows = rows_of(out)
    assert heads[-4:] == ["perplexity", "neural", "mixed", "Δ"]
    assert [row[0] for row in rows] == ["50.00%", "100.00%"]
    assert [row[1:3] for row in rows] == [
        [str(step.num_documents), str(step.num_tokens)] for step in found.steps
    ]
    assert [row[8] for row in rows] == [f"{step.perplexity:.1f}" for step in found.steps]
    deltas = [step.mixed.test.all.delta for step in found.steps]
    assert [row[11] for row in rows] == [f"{delta:.1f} %" for delta in deltas]
    # A line on standard error for each size as it is done.
    assert re.search(r"3 documents, \d+ tokens: ∞-gram agreement \d.*\n6 documents, ", err)
    _, out, _ = run("analyse", "scaling", path, *arguments[:-2])
    assert rows_of(out)[0][-1] == "perplexity" and "λ" not in out


def test_corpora_of_every_kind_are_read(run, path, here, text_index):
    def found(*arguments, stdin=b""):
        code, out, err = run("analyse", "agreement", path, *arguments, "--json", stdin=stdin)
        assert code == 0, err
        return json.loads(out)["total"]

    expected = analysis.agreement(text_index, TEXTS).total.as_dict()
    lines = (here / "texts.jsonl").read_bytes()
    assert found("texts.jsonl") == expected
    assert found("-", stdin=gzip.compress(lines)) == expected
    (here / "one.txt").write_text("\n".join([TEXTS[0], TEXTS[2]]))
    split = found("one.txt", "--split", "lines")
    assert split == analysis.agreement(text_index, [TEXTS[0], TEXTS[2]]).total.as_dict()
    both = analysis.agreement(text_index, [*TEXTS, TEXTS[0], TEXTS[2]]).total.as_dict()
    assert found("texts.jsonl", "one.txt", "--split", "lines") == both
    np.save(here / "rows.npy", np.array([[*b"the fox"], [*b"natural"]], "u1"))
    ids = analysis.agreement(text_index, ["the fox", "natural"]).total.as_dict()
    assert found("rows.npy") == ids
    assert found("rows.npy", "--by", "path") == ids


def test_records_come_from_files_of_every_kind(run, path, here, text_index):
    def found(*arguments, stdin=b""):
        code, out, err = run("analyse", "generated", path, *arguments, "--json", stdin=stdin)
        assert code == 0, err
        return json.loads(out)

    expected = analysis.generated(text_index, RECORDS).as_dict()
    lines = (here / "made.jsonl").read_bytes()
    assert found("-", stdin=lines) == expected
    (here / "more.jsonl.gz").write_bytes(gzip.compress(lines))
    twice = analysis.generated(text_index, RECORDS * 2).as_dict()
    assert found("made.jsonl", "more.jsonl.gz") == twice
    (here / "table.csv").write_text("decoding,text\ngreedy,the fox\n")
    table = analysis.generated(text_index, [{"decoding": "greedy", "text": "the fox"}]).as_dict()
    assert found("table.csv") == table
    # What is no file of records by its name has JSON lines.
    (here / "made.out").write_bytes(lines)
    assert found("made.out") == expected


REFUSED = [
    (["agreement", "none.jsonl"], "none.jsonl: no such file"),
    (["agreement", "empty.jsonl"], "error: empty.jsonl: expected documents, found none"),
    (["agreement", "texts.jsonl", "--by", "of.m"], "texts.jsonl:1: no field 'of.m'; the record"),
    (["agreement", "texts.jsonl", "--text-field", "body"], "texts.jsonl:1: no field 'body'"),
    (["agreement", "big.npy"], "document 1: token_ids[1]: token id 999 is outside"),
    (["agreement", "latin.txt"], "error: latin.txt"),
    (["agreement", "texts.jsonl", "--order", "0"], "--order"),
    (["agreement", "texts.jsonl", "--max-tokens", "0"], "--max-tokens"),
    (["agreement"], "Missing argument 'CORPUS...'"),
    (["generated", "made.jsonl", "--by", "model"], "made.jsonl:1: no field 'model'"),
    (["generated", "texts.jsonl"], "texts.jsonl:1: no field 'decoding'"),
    (["generated", "bad.jsonl"], "bad.jsonl:2: no field 'text'"),
    (["generated", "ids.jsonl"], "ids.jsonl:1: prompt_ids[0]: token id 999 is outside"),
    (["generated", "empty.jsonl"], "empty.jsonl: expected texts, found none"),
    (["generated", "-", "-"], "expected - once"),
    (["generated", "-"], "standard input:1: no field 'decoding'"),
    (["generated", ""], "FILE: expected a path, found an empty one"),
    (["generated", "made.jsonl", "--skip", "-1"], "--skip"),
    (["interpolation", "texts.jsonl"], "texts.jsonl:1: expected a field 'token_ids'"),
    (["interpolation", "scored.jsonl", "--bins", "0"], "--bins"),
    (["interpolation", "outside.jsonl"], "outside.jsonl:1: token id 999 at place 0 is"),
    (
        ["scaling", "texts.jsonl"],
        "error: --steps: expected 1 to 3 for an index of 6 documents, found 9",
    ),
    (
        ["scaling", "texts.jsonl", "--work-dir", "no"],
        "--work-dir: expected a folder that is there, found 'no'",
    ),
    (["scaling", "texts.jsonl", "--log-probs", "made.jsonl"], "made.jsonl:1: expected a field"),
    (["scaling", "texts.jsonl", "--log-probs", "one.jsonl"], "--log-probs: expected two"),
    (["scaling", "texts.jsonl", "--memory", "x"], "memory: expected a size"),
    (["drawing", "texts.jsonl"], "No such command 'drawing'"),
    (["agreemnt", "texts.jsonl"], "Did you mean 'agreement'?"),
]


@pytest.mark.parametrize(("arguments", "says"), REFUSED)
def test_what_is_refused(run, path, here, arguments, says):
    (here / "empty.jsonl").write_text("\n")
    (here / "latin.txt").write_bytes(b"caf\xe9")
    write_jsonl(here / "bad.jsonl", [RECORDS[0], {"decoding": "x"}])
    np.save(here / "big.npy", np.array([[1, 999]], "u2"))
    write_jsonl(here / "ids.jsonl", [{"token_ids": [1], "prompt_ids": [999], "decoding": "a"}])
    analysis.write_log_probs("one.jsonl", SCORED[:1])
    write_jsonl(here / "outside.jsonl", [{"token_ids": [999], "logprobs": [-1.0]}])
    code, out, err = run("analyse", arguments[0], path, *arguments[1:], stdin='{"text": "a"}\n')
    assert code in (1, 2) and out == "" and says in err, err
    assert "--on-error" not in err and "--quoting" not in err and "document 0" not in err


def test_wrong_ids_in_files_are_no_usage_errors(run, path, here):
    np.save(here / "big.npy", np.array([[1, 999]], "u2"))
    write_jsonl(here / "ids.jsonl", [{"token_ids": [999], "decoding": "a"}])
    for name, file in (("agreement", "big.npy"), ("generated", "ids.jsonl")):
        assert run("analyse", name, path, file)[0] == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_left_of_scaling_that_is_stopped(path, here, number):
    script = (
        "import os, sys, threading, time\n"
        "from everygram.analysis import subsampling\n"
        "from everygram.cli.app import main\n"
        "def measured(*rest):\n"
        "    print(len(os.listdir('work')), flush=True)\n"
        "    threading.Event().wait(60)\n"
        "subsampling.measured = measured\n"
        f"sys.argv[1:] = ['analyse', 'scaling', {str(path)!r}, 'texts.jsonl', '--steps', '2',\n"
        "    '--work-dir', 'work']\n"
        "main()\n"
    )
    (here / "work").mkdir()
    started = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert started.stdout.readline() == "1\n"
    started.send_signal(number)
    assert started.communicate(timeout=60)[0] == ""
    assert started.returncode == 128 + number
    assert [*(here / "work").iterdir()] == []


@pytest.mark.parametrize("name", ASKED)
def test_where_no_file_can_be_is_said_before_any_work(run, path, here, monkeypatch, name):
    given = ("analyse", name, path, "missing.jsonl")
    for option, place, says in (
        ("--plot", "made.pdf", "--plot: expected a name that ends in .png or .svg"),
        ("--plot", "no/made.png", "in a folder that is not there"),
        ("--csv", "made.txt", "--csv: expected a name that ends in .csv, found 'made.txt'"),
        ("--csv", "no/made.csv", "in a folder that is not there"),
    ):
        code, out, err = run(*given, option, place)
        assert (code, out) == (2, "") and says in err and "missing.jsonl" not in err
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, out, err = run(*given, "--plot", "made.png")
    assert (code, out) == (1, "") and "pip install 'everygram[plot]'" in err


def test_help_of_the_group_imports_no_analysis(run):
    code, out, _ = run("analyse", "--help")
    assert code == 0
    for name, (_, line) in ANALYSES.items():
        assert f" {name}  " in out and line in " ".join(out.split())
    script = (
        "import sys; sys.argv[1:] = ['analyse', '--help']\n"
        "from everygram.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('everygram.cli.agreement', 'everygram.cli.scaling', 'numpy')\n"
        "       if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.parametrize("name", ASKED)
def test_help_of_an_analysis(run, name):
    code, out, _ = run("analyse", name, "--help")
    assert code == 0
    group = command_of("analyse")
    command = group.get_command(click.Context(group), name)
    assert command.name == name
    assert inspect.cleandoc(command.help).splitlines()[0] == ANALYSES[name][1]
    assert f"    everygram analyse {name} " in out
    for param in command.params:
        assert param.help[0].isupper() and param.help.endswith("."), param


PYTHON = {
    "agreement": analysis.agreement,
    "generated": analysis.generated,
    "interpolation": analysis.neural_agreement,
    "scaling": analysis.scaling,
}
# What is called otherwise in Python, or is there in place of options.
OTHERWISE = {"log_probs": "scored"}
NO_OPTIONS = {"index", "documents", "records", "progress"}
OWN = {
    *("index", "corpus", "files", "file", "csv", "plot", "as_json"),
    *("text_field", "split", "pretokenized", "separator_id"),
}


@pytest.mark.parametrize("name", ASKED)
def test_the_defaults_are_those_of_python(name):
    group = command_of("analyse")
    command = group.get_command(click.Context(group), name)
    shell = command.make_context(name, ["INDEX", "FILE"]).params
    given = {OTHERWISE.get(option, option): of for option, of in shell.items() if option not in OWN}
    python = inspect.signature(PYTHON[name]).parameters
    assert given == {
        option: each.default for option, each in python.items() if option not in NO_OPTIONS
    }


def test_every_analysis_is_tried():
    assert {*ASKED} == {*PYTHON} <= {*ANALYSES}
    assert everygram.analysis is analysis
