"""Imports point down the list of layers; heavy libraries stay where they belong."""

import ast
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "everygram"

# A floor (a folder, or a module beside the folders) imports only from floors above its own in this
# list, and from itself.
FLOORS = [
    ["errors", "progress"],
    ["kernels"],
    ["tokenizer"],
    ["storage", "results"],
    ["corpus", "engine"],
    ["encoding"],
    ["index"],
    ["building"],
    ["__init__"],
    ["server"],
    ["cli"],
]
RANK = {name: rank for rank, floor in enumerate(FLOORS) for name in floor}
# Libraries that only these may import.
RESERVED = {
    "numba": {"kernels", "cli"},
    "llvmlite": {"kernels"},
    "tokenizers": {"tokenizer"},
    "fastapi": {"server"},
    "uvicorn": {"server"},
    "pydantic": {"server"},
    "click": {"cli"},
    "rich": {"cli"},
}
FORBIDDEN = {
    "engine": {"tokenizer", "corpus", "building"},
    "server": {"kernels", "storage", "numpy"},
}


def imports_of(path):
    """(module, line) of every import in the file, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            if node.module == "everygram":
                for name in node.names:
                    module = name.name if name.name in RANK else "__init__"
                    yield f"everygram.{module}", node.lineno
            else:
                yield node.module, node.lineno


def test_imports_point_down():
    seen = set()
    for path in sorted(SOURCE.rglob("*.py")):
        here = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        assert here in RANK, f"{path}: give it a layer in LAYERS"
        seen.add(here)
        for module, line in imports_of(path):
            place = f"{path.relative_to(SOURCE)}:{line} imports {module}"
            parts = module.split(".")
            if parts[0] != "everygram":
                assert here in RESERVED.get(parts[0], {here}), place
                if here == "kernels":
                    known = {"numpy", "numba", "llvmlite"} | sys.stdlib_module_names
                    assert parts[0] in known, place
                assert parts[0] not in FORBIDDEN.get(here, ()), place
                continue
            there = parts[1] if len(parts) > 1 else "__init__"
            assert there == here or RANK[there] < RANK[here], place
            assert there not in FORBIDDEN.get(here, ()), place
    assert seen == set(RANK)


def test_the_command_line_starts_without_heavy_imports():
    script = (
        "import sys, everygram.cli.app; "
        "print([m for m in ('numba', 'numpy', 'fastapi', 'tokenizers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
