"""Imports point down the list of floors; heavy libraries stay where they belong."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "everygram"

# A floor (a folder, or a module beside the folders) imports only from floors above its own in this
# list, and from itself.
FLOORS = [
    ["errors", "progress", "hub", "durable", "distant"],
    ["addresses"],
    ["arguments"],
    ["kernels"],
    ["tokenizer"],
    ["storage", "results"],
    ["corpus", "engine"],
    ["search"],
    ["encoding"],
    ["passages"],
    ["attribution", "lm"],
    ["index"],
    ["building"],
    ["distributed"],
    ["opening"],
    ["analysis", "client", "curation"],
    ["__init__"],
    ["compat", "integrations"],
    ["server"],
    ["cli"],
]
RANK = {name: rank for rank, floor in enumerate(FLOORS) for name in floor}

# Floors and libraries that a floor never imports, though they stand above it.
FORBIDDEN = {
    "engine": {"tokenizer", "corpus", "building"},
    "server": {"kernels", "storage", "engine", "numpy"},
    "cli": {"engine"},
    "client": {"index", "engine", "kernels", "building", "analysis", "lm", "search"},
}
# All that kernels import beside the standard library.
KERNELS = {"numpy", "numba", "llvmlite"}
# What knows how numba and LLVM work inside, and who may import it.
INSIDE = ("llvmlite", "numba.core", "numba.extending", "numba.np")
INSIDE_HOMES = {"kernels/compiled.py"}
# Libraries that cost time to import, or are there only with an extra: the floors that own them
# import them at the top of a module; all others of these floors inside functions; others never.
# A library with no owner is imported inside functions alone.
OWNERS = {
    "numba": {"kernels"},
    "llvmlite": {"kernels"},
    "fastapi": {"server"},
    "uvicorn": {"server"},
    "pydantic": {"compat", "server"},
    "click": {"cli"},
    "ray": {"distributed"},
    "lm_eval": {"integrations"},
    "torch": {"integrations"},
    "transformers": {"integrations"},
}
INSIDE_FUNCTIONS = {
    "numba": {"cli"},
    "tokenizers": {"tokenizer"},
    "fastokens": {"tokenizer"},
    "tiktoken": {"tokenizer"},
    "sentencepiece": {"tokenizer"},
    "pyarrow": {"corpus"},
    "datasets": {"corpus"},
    "fsspec": {"corpus", "storage"},
    "matplotlib": {"analysis", "cli"},
    "sklearn": {"analysis"},
    "rich": {"cli"},
    "pydivsufsort": {"building"},
    "bm25s": {"attribution"},
    "httpx2": {"client"},
}
# infini-gram's wire words, and where alone they may stand.
WIRE_WORDS = {"cnt", "segment_by_shard", "ptr"}
WIRE_HOMES = {"compat"}
# No module is longer.
LONGEST = 450


def imports_of(tree):
    """(module, line, whether it stands in a function) of each import; everygram's by floor."""
    found = []

    def visit(node, late):
        if isinstance(node, ast.Import):
            found.extend((name.name, node.lineno, late) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." if node.level else node.module
            if module == "everygram":
                names = (name.name if name.name in RANK else "__init__" for name in node.names)
                found.extend((f"everygram.{name}", node.lineno, late) for name in names)
            else:
                found.append((module, node.lineno, late))
        elif isinstance(node, ast.Call) and called(node) in ("import_module", "__import__"):
            # By name: of what is written out.
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    found.append((argument.value, node.lineno, late))
        late = late or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            # What only a type checker reads is not imported.
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                visit(child, True) if child not in node.orelse else visit(child, late)
            else:
                visit(child, late)

    visit(tree, False)
    return found


def called(node):
    return getattr(node.func, "attr", getattr(node.func, "id", None))


def names_of(tree):
    """(name, line) of what a module names: variables, attributes, arguments, keys in quotes."""
    for node in ast.walk(tree):
        for field in ("id", "attr", "arg", "name", "value"):
            if isinstance(name := getattr(node, field, None), str):
                yield name, getattr(node, "lineno", 0)


def problems_of(file, text):
    """What a module, by its path below everygram/, does that the rules forbid."""
    here = file.split("/")[0].removesuffix(".py")
    if here not in RANK:
        return [f"{file}: give {here} a place in FLOORS"]
    tree = ast.parse(text)
    problems = []
    for module, line, late in imports_of(tree):
        place = f"{file}:{line}: imports {module}"
        library, _, rest = module.partition(".")
        if not library:
            problems.append(f"{place}: relative")
        elif library == "everygram":
            there = rest.split(".")[0] or "__init__"
            if there not in RANK:
                problems.append(f"{place}: no floor")
            elif there != here and RANK[there] >= RANK[here]:
                problems.append(f"{place}: not above {here}")
            elif there in FORBIDDEN.get(here, ()):
                problems.append(f"{place}: never in {here}")
        elif library not in sys.stdlib_module_names:
            problems += [f"{place}: {why}" for why in wrong_library(file, here, module, late)]
    for name, line in names_of(tree):
        if name in WIRE_WORDS and here not in WIRE_HOMES:
            problems.append(f"{file}:{line}: {name}: a word of infini-gram's")
    problems += wrong_length(file, text.count("\n"))
    return problems


def wrong_library(file, here, module, late):
    library = module.split(".")[0]
    if library in FORBIDDEN.get(here, ()):
        yield f"never in {here}"
    if here == "kernels" and library not in KERNELS:
        yield "not in kernels"
    owners, users = OWNERS.get(library, set()), INSIDE_FUNCTIONS.get(library, set())
    inside = any(f"{module}.".startswith(f"{name}.") for name in INSIDE)
    # The command line asks numba, in a function, what it compiles.
    if inside and file not in INSIDE_HOMES and not (here in users and late):
        yield "only in kernels/compiled.py"
    if here in owners or not owners | users:
        return
    if here not in users:
        yield f"not in {here}"
    elif not late:
        yield "only inside a function"


def wrong_length(file, lines):
    if lines > LONGEST:
        yield f"{file}: {lines} lines, more than {LONGEST}"


def modules():
    return {str(path.relative_to(SOURCE)): path for path in sorted(SOURCE.rglob("*.py"))}


def test_every_module_keeps_the_rules():
    found = [
        problem
        for file, path in modules().items()
        for problem in problems_of(file, path.read_text())
    ]
    assert found == []


def test_every_name_in_the_rules_is_there():
    files = modules()
    assert {file.split("/")[0].removesuffix(".py") for file in files} == {*RANK}
    assert files.keys() >= INSIDE_HOMES


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("bakery/counts.py", "", "give bakery a place in FLOORS"),
        ("storage/disk.py", "from everygram.engine.engine import Engine", "not above storage"),
        ("storage/disk.py", "from everygram import engine", "not above storage"),
        ("storage/disk.py", "def f():\n import everygram.engine", "not above storage"),
        ("storage/disk.py", "import everygram", "not above storage"),
        ("storage/disk.py", "import everygram.storages", "no floor"),
        ("storage/disk.py", "from . import format", "relative"),
        ("storage/results.py", "from everygram.results.base import Reading", "not above storage"),
        ("engine/new.py", "from everygram.tokenizer.base import Tokenizer", "never in engine"),
        ("engine/new.py", "import everygram.corpus", "not above engine"),
        ("engine/new.py", "def f():\n from everygram.building import plan", "not above engine"),
        ("kernels/new.py", "import psutil", "not in kernels"),
        ("kernels/new.py", "from llvmlite import ir", "only in kernels/compiled.py"),
        ("kernels/new.py", "import numba.core.types", "only in kernels/compiled.py"),
        ("kernels/new.py", "from numba.extending import intrinsic", "only in kernels/compiled.py"),
        ("cli/new.py", "from numba.core import event", "only in kernels/compiled.py"),
        ("storage/new.py", "import numba", "not in storage"),
        ("storage/new.py", "def f():\n import llvmlite", "not in storage"),
        ("server/new.py", "import numpy as np", "never in server"),
        ("server/new.py", "from everygram.kernels import search", "never in server"),
        ("server/new.py", "from everygram.storage import format", "never in server"),
        ("server/new.py", "def f():\n from everygram.engine import engine", "never in server"),
        ("cli/new.py", "def f():\n from everygram.engine.engine import Engine", "never in cli"),
        ("cli/new.py", "import numba", "only inside a function"),
        ("cli/new.py", "import fastapi", "not in cli"),
        ("cli/new.py", "import matplotlib.pyplot", "only inside a function"),
        ("cli/new.py", "class C:\n import rich", "only inside a function"),
        (
            "corpus/new.py",
            "try:\n import pyarrow\nexcept ImportError: pass",
            "only inside a function",
        ),
        ("corpus/new.py", "from importlib import import_module\nimport_module('datasets')", "only"),
        ("corpus/new.py", "import fsspec", "only inside a function"),
        ("corpus/new.py", "def f():\n import tokenizers", "not in corpus"),
        ("tokenizer/new.py", "import tokenizers", "only inside a function"),
        ("tokenizer/new.py", "import sentencepiece", "only inside a function"),
        ("server/new.py", "def f():\n import ray", "not in server"),
        ("results/new.py", "def f():\n import matplotlib", "not in results"),
        ("results/new.py", "def f(): return {'cnt': 1}", "a word of infini-gram's"),
        ("results/new.py", "segment_by_shard = 1", "a word of infini-gram's"),
        ("server/new.py", "class A:\n ptr: int", "a word of infini-gram's"),
        ("results/new.py", "\n" * (LONGEST + 1), "more than"),
    ],
)
def test_each_rule_can_be_broken(file, text, says):
    found = problems_of(file, text)
    assert found
    assert any(says in each for each in found), found


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("engine/new.py", "from everygram.storage import format\nimport numpy, everygram.kernels"),
        ("engine/new.py", "from everygram.engine import distributions"),
        ("kernels/compiled.py", "from llvmlite import ir\nfrom numba.core import types"),
        ("kernels/new.py", "import numba, math\nfrom numba import njit"),
        ("cli/new.py", "import click\ndef f():\n from numba.core import event\n import rich"),
        ("cli/new.py", "import everygram\nfrom everygram.errors import QueryError"),
        ("server/new.py", "import fastapi\nfrom everygram.index import Index"),
        ("corpus/new.py", "def f():\n import pyarrow.parquet, datasets, fsspec"),
        ("corpus/new.py", "if TYPE_CHECKING:\n import pyarrow"),
        ("results/new.py", "# cnt, ptr\n'''The cnt of infini-gram.'''\ncount = 1"),
        ("results/new.py", "\n" * LONGEST),
    ],
)
def test_what_the_rules_allow(file, text):
    assert problems_of(file, text) == []


def test_the_command_line_starts_without_heavy_imports():
    script = (
        "import sys, everygram.cli.app; "
        "heavy = ('numba', 'numpy', 'fastapi', 'tokenizers', 'matplotlib'); "
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_a_big_endian_machine_is_refused():
    script = "import sys; sys.byteorder = 'big'; import everygram"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ImportError: everygram: ")
    assert "little-endian" in done.stderr.splitlines()[-1]
