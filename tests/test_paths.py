"""Whatever path is given, wherever paths are taken: it works, or an EverygramError says why."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

import everygram
from conftest import write_jsonl
from everygram.cli import app as cli
from everygram.errors import EverygramError, OptionError
from everygram.server.indexes import Indexes
from everygram.server.supervisor import Supervisor
from shards import write_shard

# Paths of which each means something else here, or nothing anywhere.
PATHS = {
    "the folder here": ".",
    "the folder here, and a slash": "./",
    "the folder above": "..",
    "the root": "/",
    "the root, twice": "//",
    "nothing": "",
    "a NUL": "\0",
    "a NUL inside": "corpus\0.jsonl",
    "a space": " ",
    "a newline": "\n",
    "a missing name with a newline": "a\nb.jsonl",
    "a missing name with spaces": " a b ",
    "a folder": "folder",
    "a folder and a slash": "folder/",
    "an empty folder": "empty",
    "a folder of two names": "folder/../folder/.",
    "a file": "corpus.jsonl",
    "a file and a slash": "corpus.jsonl/",
    "below a file": "corpus.jsonl/x",
    "above a file": "corpus.jsonl/..",
    "below nothing": "no/such/x",
    "a file's name in a folder of none": "no/../corpus.jsonl",
    "an index": "index",
    "an index and slashes": ".//index//",
    "an index's segment": "index/segment-000001",
    "a name of dots": "...",
    "a name that starts with a dot": ".hidden",
    "a tilde": "~",
    "a name that looks like an option": "--",
    "a dash": "-x",
    "a loop of links": "loop",
    "a broken link": "broken",
    "a name that is too long": "x" * 300,
    "a path that is too long": "x/" * 3000,
    "bytes that are no UTF-8": "\udcff",
    "a lone surrogate": "\ud800",
    "a character outside": "\U0010ffff",
    "a pattern of nothing": "*.nothing",
    "a pattern that is none": "[",
    "a pattern of everything": "**/**",
    "a scheme alone": "://",
    "a scheme of nothing": "nope://x",
    "a file's address": "file:///no/such",
    "a data set of no name": "datasets:",
    "a tokenizer of no size": "train:",
    "a Windows path": "C:\\x",
    "a device": "/dev/null",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with an index, a corpus and others in it."""
    folder = tmp_path_factory.mktemp("paths")
    (folder / "folder").mkdir()
    (folder / "empty").mkdir()
    for path in (folder / "corpus.jsonl", folder / "folder" / "c.jsonl"):
        write_jsonl(path, [{"text": "a b"}, {"text": "c"}])
    (folder / "loop").symlink_to("loop")
    (folder / "broken").symlink_to("nowhere")
    write_jsonl(folder / "scored", [{"token_ids": [1, 2], "logprobs": [None, -1.5]}])
    everygram.build(folder / "corpus.jsonl", folder / "index", "train:256")
    write_shard(folder / "v4", [[1, 2], [3]])
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A copy of it, in which this process is; the root of the system is another small folder."""
    folder = tmp_path / "above" / "here"
    shutil.copytree(made, folder, symlinks=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    walk = os.walk

    def small(top, **options):
        if os.path.realpath(top) != "/":
            yield from walk(top, **options)
        else:
            yield f"{top}{folder}/folder".replace("//tmp", "/tmp"), [], ["c.jsonl"]

    monkeypatch.setattr(os, "walk", small)
    monkeypatch.setattr(everygram.Index, "warm_up", lambda index: None)
    monkeypatch.setattr("uvicorn.Server.run", lambda server: setattr(server, "started", True))
    return folder


def new():
    """A path where nothing is."""
    shutil.rmtree("made", ignore_errors=True)
    return "made"


def exported(path):
    with everygram.open("index") as index:
        return everygram.export_infini_gram(index, path)


FUNCTIONS = {
    "build, corpus": lambda path: everygram.build(path, new()),
    "build, corpora": lambda path: everygram.build(["corpus.jsonl", path], new()),
    "build, token ids": lambda path: everygram.build(
        path, new(), pretokenized="u8", separator_id=0, on_error="skip"
    ),
    "build, out": lambda path: everygram.build("corpus.jsonl", path),
    "build, tokenizer": lambda path: everygram.build("corpus.jsonl", new(), path),
    "plan, corpus": lambda path: everygram.plan(path, new()),
    "plan, out": lambda path: everygram.plan("corpus.jsonl", path),
    "plan, tokenizer": lambda path: everygram.plan("corpus.jsonl", new(), path),
    "attach, folder": lambda path: everygram.attach(path, out=new()),
    "attach, out": lambda path: everygram.attach("v4", out=path),
    "attach, tokenizer": lambda path: everygram.attach("v4", out=new(), tokenizer=path),
    "convert, folders": lambda path: everygram.convert(path, new()),
    "convert, out": lambda path: everygram.convert("v4", path),
    "convert, tokenizer": lambda path: everygram.convert("v4", new(), path),
    "export_infini_gram, out": exported,
    "add, index": lambda path: everygram.add(path, "corpus.jsonl"),
    "add, corpus": lambda path: everygram.add("index", path),
    "delete": lambda path: everygram.delete(path, documents=[0], dry_run=True),
    "compact": lambda path: everygram.compact(path),
    "upgrade": lambda path: everygram.upgrade(path),
    "prepare": lambda path: everygram.prepare(path),
    "push": lambda path: everygram.push(path, "memory://pushed"),
    "pull": lambda path: everygram.pull("memory://pulled", path),
    "duplicates": lambda path: everygram.duplicates(path),
    "duplicates, of several": lambda path: everygram.duplicates(["index", path]),
    "deduplicate, index": lambda path: everygram.deduplicate(path, f"{new()}.jsonl"),
    "deduplicate, out": lambda path: everygram.deduplicate("index", path),
    "deduplicate, out of a folder": lambda path: everygram.deduplicate(
        "index", path, format="infini-gram"
    ),
    "duplicates, work_dir": lambda path: everygram.duplicates("index", work_dir=path),
    "top_ngrams, work_dir": lambda path: everygram.top_ngrams("index", work_dir=path),
    "open": lambda path: everygram.open(path).close(),
    "open, cache": lambda path: everygram.open("memory://pulled", cache=path).close(),
    "frequency, index": lambda path: everygram.frequency(path, ["a"]),
    "frequency, concepts": lambda path: everygram.frequency("index", path),
    "stats": lambda path: everygram.stats(path),
    "top_ngrams": lambda path: everygram.top_ngrams(path),
}
QUERIES = ["count", "prob", "ntd", "infgram-prob", "infgram-ntd", "find", "document", "search"]
COMMANDS = {
    "build, CORPUS": lambda path: ["build", path, "--out", new()],
    "build, --out": lambda path: ["build", "corpus.jsonl", "--out", path],
    "build, --tokenizer": lambda path: [
        "build", "corpus.jsonl", "--out", new(), "--tokenizer", path
    ],
    "attach, FOLDER": lambda path: ["attach", path, "--out", new()],
    "attach, --out": lambda path: ["attach", "v4", "--out", path],
    "attach, --tokenizer": lambda path: ["attach", "v4", "--out", new(), "--tokenizer", path],
    "convert, V4DIR": lambda path: ["convert", path, "--out", new()],
    "convert, --out": lambda path: ["convert", "v4", "--out", path],
    "convert, --tokenizer": lambda path: ["convert", "v4", "--out", new(), "--tokenizer", path],
    "add, INDEX": lambda path: ["add", path, "corpus.jsonl"],
    "add, CORPUS": lambda path: ["add", "index", path],
    "delete": lambda path: ["delete", path, "--documents", "0", "--dry-run"],
    "compact": lambda path: ["compact", path],
    "upgrade": lambda path: ["upgrade", path],
    "prepare": lambda path: ["prepare", path],
    "push": lambda path: ["push", path, "memory://pushed"],
    "pull": lambda path: ["pull", "memory://pulled", "--out", path],
    "export": lambda path: ["export", path],
    "export, --out": lambda path: ["export", "index", "--out", path],
    "export, --out of a folder": lambda path: [
        "export", "index", "--format", "infini-gram", "--out", path
    ],
    "info": lambda path: ["info", path],
    "verify": lambda path: ["verify", path],
    "verify, quick": lambda path: ["verify", path, "--quick"],
    "serve": lambda path: ["serve", path],
    "warmup": lambda path: ["warmup", path],
    "score": lambda path: ["score", path, "a b"],
    "longest-matches": lambda path: ["longest-matches", path, "a b"],
    "attribute": lambda path: ["attribute", path, "corpus.jsonl"],
    "attribute, FILE": lambda path: ["attribute", "index", path],
    "attribute, FILE of JSON lines": lambda path: [
        "attribute", "index", path, "--text-field", "text"
    ],
    "attribute, --html": lambda path: ["attribute", "index", "--ids", "1", "--html", path],
    "novelty, INDEX": lambda path: ["novelty", path, "corpus.jsonl"],
    "novelty, FILE": lambda path: ["novelty", "index", path],
    "contamination, INDEX": lambda path: ["contamination", path, "corpus.jsonl"],
    "contamination, BENCHMARK": lambda path: ["contamination", "index", path],
    "contamination, --out": lambda path: ["contamination", "index", "corpus.jsonl", "--out", path],
    "contamination, --clean": lambda path: [
        "contamination", "index", "corpus.jsonl", "--clean", path
    ],
    "contamination, --dirty": lambda path: [
        "contamination", "index", "corpus.jsonl", "--dirty", path
    ],
    "contamination, --drop": lambda path: [
        "contamination", "index", "corpus.jsonl", "--drop", path
    ],
    "contamination, --report": lambda path: [
        "contamination", "index", "corpus.jsonl", "--report", path
    ],
    "analyse, INDEX": lambda path: ["analyse", "drafts", path, "corpus.jsonl"],
    "analyse, STREAMS": lambda path: ["analyse", "drafts", "index", path],
    "analyse, --csv": lambda path: ["analyse", "drafts", "index", "corpus.jsonl", "--csv", path],
    "novelty, --plot": lambda path: ["novelty", "index", "corpus.jsonl", "--plot", path],
    "frequency, INDEX": lambda path: ["frequency", path, "corpus.jsonl"],
    "frequency, CONCEPTS": lambda path: ["frequency", "index", path],
    "frequency, --results": lambda path: [
        "frequency", "index", "corpus.jsonl", "--results", path
    ],
    "frequency, --pairs-of": lambda path: [
        "frequency", "index", "corpus.jsonl", "--pairs-of", path
    ],
    "frequency, --compare": lambda path: [
        "frequency", "index", "corpus.jsonl", "--compare", path
    ],
    "frequency, --out": lambda path: ["frequency", "index", "corpus.jsonl", "--out", path],
    "frequency, --plot": lambda path: ["frequency", "index", "corpus.jsonl", "--plot", path],
    "stats": lambda path: ["stats", path],
    "top-ngrams": lambda path: ["top-ngrams", path],
    "top-ngrams, --out": lambda path: ["top-ngrams", "index", "--out", path],
    "interpolate, INDEX": lambda path: [
        "interpolate", path, "--tune", "scored", "--test", "scored"
    ],
    "interpolate, --tune": lambda path: [
        "interpolate", "index", "--tune", path, "--test", "scored"
    ],
    "interpolate, --test": lambda path: [
        "interpolate", "index", "--tune", "scored", "--test", path
    ],
    "analyse, INDEX of agreement": lambda path: ["analyse", "agreement", path, "corpus.jsonl"],
    "analyse, CORPUS of agreement": lambda path: ["analyse", "agreement", "index", path],
    "analyse, --csv of agreement": lambda path: [
        "analyse", "agreement", "index", "corpus.jsonl", "--csv", path
    ],
    "analyse, --plot of agreement": lambda path: [
        "analyse", "agreement", "index", "corpus.jsonl", "--plot", path
    ],
    "analyse, FILE of records": lambda path: ["analyse", "generated", "index", path],
    "analyse, FILE of log-probabilities": lambda path: ["analyse", "interpolation", "index", path],
    "analyse, --log-probs": lambda path: [
        "analyse", "scaling", "index", "corpus.jsonl", "--steps", "2", "--log-probs", path
    ],
    "analyse, --work-dir": lambda path: [
        "analyse", "scaling", "index", "corpus.jsonl", "--steps", "2", "--work-dir", path
    ],
    "duplicates": lambda path: ["duplicates", path],
    "duplicates, of several": lambda path: ["duplicates", "index", path],
    "duplicates, --out": lambda path: ["duplicates", "index", "--out", path],
    "duplicates, --documents": lambda path: ["duplicates", "index", "--documents", path],
    "deduplicate, INDEX": lambda path: ["deduplicate", path, "--out", f"{new()}.jsonl"],
    "deduplicate, --out": lambda path: ["deduplicate", "index", "--out", path],
    "deduplicate, --work-dir": lambda path: [
        *("deduplicate", "index", "--out", f"{new()}.jsonl", "--work-dir", path)
    ],
    "perplexity, INDEX": lambda path: [
        "perplexity", path, "corpus.jsonl", "--model", "infgram-floor"
    ],
    "perplexity, CORPUS": lambda path: ["perplexity", "index", path, "--model", "infgram-floor"],
    "perplexity, --per-document": lambda path: [
        "perplexity", "index", "corpus.jsonl", "--model", "infgram", "--per-document", path
    ],
    "sample": lambda path: ["sample", path, "a", "--model", "infgram"],
    **{name: lambda path, name=name: [name, path, "a"] for name in QUERIES},
}  # fmt: skip


@pytest.mark.parametrize("kind", PATHS)
def test_functions(here, kind):
    path = PATHS[kind]
    for given in (path, Path(path)) if path else (path,):
        for name, call in FUNCTIONS.items():
            try:
                call(given)
            except EverygramError as error:
                assert str(error), name
            except BaseException as error:
                raise AssertionError(f"{name}: {error!r}") from error


@pytest.fixture
def no_service(monkeypatch):
    """A service opens its indexes, and ends."""
    monkeypatch.setattr(Supervisor, "run", lambda self: Indexes(self._settings))


@pytest.mark.parametrize("kind", PATHS)
def test_commands(run, here, no_service, kind):
    for name, arguments in COMMANDS.items():
        try:
            code, _, err = run(*arguments(PATHS[kind]))
        except BaseException as error:
            raise AssertionError(f"{name}: {error!r}") from error
        assert code in (0, 1, 2), name
        assert (code == 0) != ("error: " in err.lower()), (name, code, err)


def test_every_command_that_takes_a_path_is_tried():
    # (What stands behind `lm-eval` is another program's; test_keys_command tries those of `keys`.)
    assert {name.partition(",")[0] for name in COMMANDS} == {*cli.COMMANDS} - {"lm-eval", "keys"}


def test_an_empty_path_is_not_the_folder_here(run, here, no_service):
    """As of a variable of the shell that is not set."""
    says = r"expected a path, found an empty|tokenizer '': expected a tokenizer.json, found none"
    for call in FUNCTIONS.values():
        with pytest.raises(EverygramError, match=says):
            call("")
    for name, arguments in COMMANDS.items():
        code, _, err = run(*arguments(""))
        assert code == 1 + ("--tokenizer" not in name), name
        assert re.search(says, err), (name, err)


SPELLINGS = [
    "folder", "folder/", "./folder", "folder/.", "folder//", "empty/../folder", "loop/../folder"
]  # fmt: skip


@pytest.mark.parametrize("spelled", SPELLINGS[:-1])
def test_a_path_is_the_same_however_it_is_spelled(run, here, spelled):
    everygram.build(spelled, new())
    with everygram.open("made/.") as index:
        assert [document["text"] for document in everygram.export(index)] == ["a b", "c"]
    assert run("build", spelled + "/c.jsonl", "--out", spelled + "/index")[0] == 0
    assert json.loads(run("count", spelled + "/index/", "a b", "--json")[1])["count"] == 1
    # The index in the corpus folder is no corpus.
    assert everygram.plan(spelled, "new").num_files == 1


@pytest.mark.parametrize(
    "name", [" ", "\n", " a b ", "a\nb", "é\t", "~", "-x", "[x]*?", "x.y.", "{a}"]
)
def test_names_of_any_characters_work(here, name):
    """Of folders, corpora, tokenizers and indexes that are there."""
    Path(name).mkdir()
    corpus = write_jsonl(Path(name, f"{name}.jsonl"), [{"text": "a b"}])
    text = Path(name, f"{name}.txt")
    text.write_text("c")
    tokenizer = shutil.copy("index/tokenizer.json", Path(name, name))
    index = Path(name, "index of " + name)
    everygram.build([corpus, text], index, tokenizer)
    everygram.add(str(index), Path(name))
    with everygram.open(index) as opened:
        assert opened.count("a b", raw=True) == 2
        found = list(everygram.export(opened))
    assert found[:2] == [{"text": "a b"}, {"text": "c", "path": f"{name}.txt"}]
    assert len(found) == 3
    everygram.compact(f"{index}/", full=True)


def test_a_folder_that_is_no_tokenizer_is_not_looked_for_elsewhere(here):
    for name in ("folder", "folder/", "empty", "no/such/"):
        with pytest.raises(EverygramError, match=r"tokenizer '.*': expected a tokenizer.json or"):
            everygram.build("corpus.jsonl", new(), name)


def test_a_folder_that_is_gone_while_one_is_in_it(run, here):
    index, corpus = here / "index", here / "corpus.jsonl"
    Path("gone").mkdir()
    os.chdir("gone")
    Path("../gone").rmdir()
    for given in ("c.jsonl", Path("c.jsonl"), "*.jsonl"):
        for call in (everygram.plan, everygram.build):
            with pytest.raises(OptionError, match=r"the current folder no longer exists"):
                call(given, here / "made")
    for call in (
        lambda: everygram.build(corpus, "made"),
        lambda: everygram.plan(corpus, "made"),
        lambda: everygram.open("index"),
        lambda: everygram.add("index", corpus),
        lambda: everygram.add(index, "corpus.jsonl"),
    ):
        with pytest.raises(OptionError, match=r"the current folder no longer exists"):
            call()
    assert everygram.build(corpus, here / "made").num_documents == 2
    code, _, err = run("count", "index", "a")
    assert (code, "the current folder no longer exists" in err) == (2, True)
    os.chdir(here)


def test_a_long_address_is_no_path_that_is_too_long(here):
    with pytest.raises(EverygramError) as told:
        everygram.plan("nope://host/c.jsonl?signature=" + "x" * 5000, "made")
    assert not isinstance(told.value, OptionError)
