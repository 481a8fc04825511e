"""`import everygram`: its names are found, loaded when used, and shadow nothing."""

import builtins
import importlib
import pydoc
import rlcompleter
import subprocess
import sys
import typing

import everygram


def test_dir_lists_the_names_and_nothing_that_is_only_used_here():
    names = dir(everygram)
    public = {name for name in names if not name.startswith("_")}
    assert public == {*everygram.__all__, "open"}
    assert {"Index", "Counts", "build", "plan", "open", "__version__", "__doc__"} <= {*names}
    for name in names:
        assert getattr(everygram, name) is not None, name


def test_import_star_leaves_open_as_it_is():
    namespace = {}
    exec("from everygram import *", namespace)
    assert "open" not in namespace and namespace["Index"] is everygram.Index
    assert everygram.open is not builtins.open
    assert everygram.open.__module__ == "everygram.opening"


def test_completion_and_help_find_the_names():
    completer = rlcompleter.Completer({"everygram": everygram})
    found = []
    while (match := completer.complete("everygram.", len(found))) is not None:
        found.append(match)
    assert {"everygram.open(", "everygram.build(", "everygram.Index("} <= {*found}
    text = pydoc.plain(pydoc.render_doc(everygram))
    assert "everygram.open" in text
    for name in everygram.__all__:
        assert name in text


def test_type_checkers_are_told_of_every_name(monkeypatch):
    known = {*everygram.__all__, "open"}
    monkeypatch.setattr(typing, "TYPE_CHECKING", True)
    spec = importlib.util.find_spec("everygram")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    public = {name for name in vars(module) if not name.startswith("_")}
    assert public - {"Any", "TYPE_CHECKING", "import_module", "sys"} == known


def test_names_load_what_they_need_when_used():
    script = (
        "import sys, everygram; dir(everygram); everygram.QueryError; "
        "print([m for m in ('numba', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
