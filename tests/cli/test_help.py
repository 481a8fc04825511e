"""What describes the command line holds together: the table, --help, README, docs, defaults."""

import dataclasses
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

import everygram
from everygram.cli import app as cli
from everygram.cli.analysis import ANALYSES
from everygram.cli.keys import COMMANDS as KEYS
from everygram.corpus.source import CorpusOptions
from everygram.results.ngrams import Distribution
from everygram.server.models import attribution, documents, ngrams, search, texts
from everygram.server.settings import Settings

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()
MANUAL = ROOT / "docs" / "command-line.md"
PROGRAM = Path(sys.executable).with_name("everygram")
REQUESTS = {
    "count": ngrams.CountRequest,
    "prob": ngrams.ProbRequest,
    "ntd": ngrams.NtdRequest,
    "infgram-prob": ngrams.ProbRequest,
    "infgram-ntd": ngrams.NtdRequest,
    "score": texts.ScoreRequest,
    "longest-matches": texts.LongestMatchesRequest,
    "attribute": attribution.AttributionRequest,
    "find": documents.FindRequest,
    "document": documents.DocumentRequest,
    "search": search.SearchRequest,
}
# Arguments, and what goes with unions of indexes, which no command asks.
NO_OPTIONS = ("self", "query", "prompt", "text", "expression", "index")
CHANGES = ["build", "convert", "attach", "add", "delete", "compact", "upgrade", "prepare"]


def command_of(name):
    return cli.app.get_command(click.Context(cli.app), name)


def help_of(names):
    """What `everygram NAME --help` shows on a terminal of 88 columns; of a group NAME NAME."""
    context = click.Context(cli.app, info_name="everygram", terminal_width=88, show_default=True)
    for name in names.split():
        command = context.command.get_command(context, name)
        context = click.Context(command, context, info_name=name)
    return context.command.get_help(context)


def with_current_help(manual):
    """The manual, with what each command's `--help` shows now."""

    def current(match):
        lines = help_of(match[1]).rstrip().splitlines()
        shown = "\n".join(line.rstrip() for line in lines)
        return f"$ everygram {match[1]} --help\n{shown}\n```"

    block = r"^\$ everygram (\S+(?: \S+)?) --help\n.*?^```"
    return re.sub(block, current, manual, flags=re.DOTALL | re.MULTILINE)


# Options of --text that `count_text` and `find_text` have, and `count` and `find` do not.
TEXT_RULES = {"ignore_case", "whole_words"}


def defaults_of(name, *arguments):
    """Each parameter of a command as it is when nothing but the arguments is given."""
    return command_of(name).make_context(name, list(arguments)).params


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_command_is_what_the_table_says(name):
    command = command_of(name)
    assert command.name == name
    assert inspect.cleandoc(command.help).splitlines()[0] == cli.COMMANDS[name][1]
    assert f"everygram {name} " in command.epilog or f"everygram {name}\n" in command.epilog
    assert re.search(r"^\| .*" + f"`{name}[` ]", README, re.MULTILINE)
    for param in command.params:
        assert param.help[0].isupper() or param.name == "tokenizer", param
        assert param.help.endswith("."), param


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_has_an_example(run, name):
    code, out, _ = run(name, "--help")
    assert code == 0
    assert f"    everygram {name}" in out


def test_help_of_everything(run):
    code, out, _ = run("--help")
    assert code == 0
    for name, (_, line) in cli.COMMANDS.items():
        assert f" {name}  " in out
        assert line in " ".join(out.split())
    assert "Exit codes: 0 done, 1 failed, 2 usage error, 130 interrupted." in out


def test_the_manual_shows_the_help_of_every_command():
    """To bring it up to date: python tests/cli/test_help.py."""
    manual = MANUAL.read_text()
    assert with_current_help(manual).split() == manual.split()
    inner = {f"analyse {name}" for name in ANALYSES} | {f"keys {name}" for name in KEYS}
    commands = {*cli.COMMANDS} | inner
    assert {*re.findall(r"^\$ everygram (.+) --help$", manual, re.MULTILINE)} == commands
    assert {*re.findall(r"^### (\S+)$", manual, re.MULTILINE)} == {*cli.COMMANDS}
    assert {*re.findall(r"^#### (.+)$", manual, re.MULTILINE)} >= inner
    # (The text of `--help` may be laid out anew by another click; the options are the same.)
    for name in cli.COMMANDS:
        section = manual.partition(f"$ everygram {name} --help\n")[2].partition("\n```")[0]
        for param in command_of(name).params:
            for option in param.opts if isinstance(param, click.Option) else ():
                assert option in section, (name, option)


@pytest.mark.parametrize("name", REQUESTS)
def test_queries_have_the_same_defaults_everywhere(name):
    """In the command line, over HTTP, and in Python."""
    shell = defaults_of(name, "INDEX", "QUERY") | {"query": None}
    method = inspect.signature(getattr(everygram.Index, name.replace("-", "_"))).parameters
    fields = REQUESTS[name].model_fields
    options = set(shell) - {"index", "ids", "as_json", "text", "query", "text_field", "every"}
    # (Of --text: `count_text`, `find_text`.)
    options -= {"as_text", "tokenizations"}
    options -= TEXT_RULES if name in ("count", "find") else set()
    options.discard("expression")
    options -= {"file", "prompt", "prompt_field", "html"}  # of `attribute`
    if "delimiters" in options:  # (None given: those of Python.)
        assert shell["delimiters"] == ()
        shell["delimiters"] = method["delimiters"].default
    options.discard("continuation_id")  # over HTTP and in Python `continuation` may be an id
    assert options <= set(fields)
    if name == "count":
        options.discard("documents")  # in Python that is `document_count`
    assert options - {"top"} == {n for n in method if n not in NO_OPTIONS}
    for option in options:
        default = fields[option].default
        # (JSON has no tuples.)
        assert (tuple(default) if isinstance(default, list) else default) == shell[option], option
        if option in method:
            assert method[option].default == shell[option], option
    if "top" in shell:
        assert inspect.signature(Distribution.top).parameters["k"].default == shell["top"]


@pytest.mark.parametrize("name", CHANGES)
def test_changes_have_the_same_defaults_everywhere(name):
    arguments = {"add": ["INDEX", "CORPUS"]}
    arguments |= {"build": ["CORPUS", "--out", "OUT"], "convert": ["V4DIR", "--out", "OUT"]}
    arguments["attach"] = ["V4DIR"]
    shell = defaults_of(name, *arguments.get(name, ["INDEX"]))
    function = dict(inspect.signature(getattr(everygram, name)).parameters)
    defaults = {n: p.default for n, p in function.items() if p.default is not p.empty}
    if function.pop("options", None) is not None:
        defaults |= {each.name: each.default for each in dataclasses.fields(CorpusOptions)}
    more = {"build": {"dry_run", "ray"}, "compact": {"ray"}}
    own = {"as_json", "matching_ids"} | more.get(name, set())
    assert set(shell) - own == (function.keys() | defaults.keys()) - {"progress"}
    for option, default in defaults.items():
        if option != "progress":
            assert default == shell[option], option


def test_serving_has_the_same_defaults_everywhere():
    """(That an option that is not given changes nothing, tests of `serve` show.)"""
    opened = inspect.signature(everygram.open).parameters
    settings = Settings()
    assert (settings.preload, settings.verify) == ((), False)
    assert (opened["preload"].default, opened["verify"].default) == ((), False)


def complete(shell, words, current):
    environment = os.environ | {
        "_EVERYGRAM_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": current,
    }
    done = subprocess.run([PROGRAM], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split("\n")[:-1]


def test_shells_complete_commands_options_and_values():
    assert complete("bash", "everygram inf", "1") == [
        "plain,info",
        "plain,infgram-prob",
        "plain,infgram-ntd",
    ]
    # Of folders and files bash itself knows more.
    assert complete("bash", "everygram count ", "2") == ["dir,"]
    assert complete("bash", "everygram build ", "2") == ["file,"]
    assert complete("bash", "everygram find i q --s", "4") == ["plain,--sample", "plain,--seed"]
    assert complete("bash", "everygram add i c --on-error ", "5") == ["plain,raise", "plain,skip"]
    assert complete("zsh", "everygram buil", "1") == ["plain", "build", "Index a corpus."]
    assert complete("fish", "everygram buil", "buil") == ["plain,build\tIndex a corpus."]
    for shell in ("bash", "zsh", "fish"):
        environment = os.environ | {"_EVERYGRAM_COMPLETE": f"{shell}_source"}
        done = subprocess.run([PROGRAM], env=environment, capture_output=True, text=True)
        assert f"_EVERYGRAM_COMPLETE={shell}_complete" in done.stdout
        assert f"_EVERYGRAM_COMPLETE={shell}_source everygram" in MANUAL.read_text()


@pytest.mark.parametrize("arguments", [["--help"], ["count", "--help"], ["novelty", "--help"]])
def test_help_waits_for_nothing_heavy(arguments):
    script = (
        f"import sys; sys.argv[1:] = {arguments}\n"
        "from everygram.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'numba', 'numpy', 'fastapi', 'tokenizers', 'rich', 'psutil', 'matplotlib',\n"
        "         'everygram.index'}\n"
        "print(heavy & set(sys.modules), 'everygram.cli.serving' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "set() False", done.stderr


if __name__ == "__main__":
    MANUAL.write_text(with_current_help(MANUAL.read_text()))
