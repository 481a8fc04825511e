"""Every example of README and docs/ gives the output shown; every relative link has a target."""

import doctest
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import click
import httpx2
import pytest

from everygram import errors

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
LINKING = [*PAGES, ROOT / "ARCHITECTURE.md", ROOT / "CHANGELOG.md", ROOT / "bench" / "README.md"]


def blocks(page, language):
    """The blocks of a page in that language."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [block for kind, block in found if kind == language]


def commands(page, language):
    """(command, expected output) of every `$ …` line in the blocks of that language."""
    for block in blocks(page, language):
        for example in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = example.partition("\n")
            yield command, output


def timeless(output):
    """Without seconds and memory, which differ from run to run."""
    return re.sub(r"\d+(\.\d s|(,\d+)? MiB)(?=[\n,])", "", output)


def run(command, folder):
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(
        command, shell=True, cwd=folder, env=env, stdout=subprocess.PIPE, text=True, timeout=120
    )


@pytest.fixture(scope="module")
def tour(tmp_path_factory):
    """The folder after README's commands, as readers have it, and [(command, expected, done)]."""
    folder = tmp_path_factory.mktemp("tour")
    (folder / "corpus.jsonl").write_text(blocks(README, "json")[0])
    return folder, [
        (command, expected, run(command, folder))
        for command, expected in commands(README, "console")
    ]


@pytest.fixture(scope="module")
def folder(tour):
    return tour[0]


def check(command, expected, done):
    assert done.returncode == 0, command
    assert timeless(done.stdout) == timeless(expected), command


def test_the_tour(tour):
    _, examples = tour
    assert len(examples) >= 10
    for command, expected, done in examples:
        check(command, expected, done)


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: page.name)
def test_commands_of_docs(page, folder):
    for command, expected in commands(page, "console"):
        check(command, expected, run(command, folder))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python(page, folder, monkeypatch):
    monkeypatch.chdir(folder)
    source = "\n".join(blocks(page, "python"))
    assert source or page.name not in ("README.md", "python.md", "semantics.md")
    example = doctest.DocTestParser().get_doctest(source, {}, page.name, None, 0)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    runner.run(example)
    assert runner.failures == 0


def test_rest(folder):
    examples = [example for page in PAGES for example in commands(page, "http")]
    assert len(examples) >= 5
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    everygram = Path(sys.executable).with_name("everygram")
    server = subprocess.Popen(
        [everygram, "serve", "tales", "--port", str(port)],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for command, expected in examples:
            words = shlex.split(command)
            assert words[0] == "curl"
            url = next(w for w in words if "localhost:8000" in w)
            url = f"http://{url.removeprefix('http://')}".replace(":8000", f":{port}")
            body = words[words.index("--json") + 1] if "--json" in words else None
            deadline = time.monotonic() + 60
            while True:
                try:
                    if body is None:
                        answer = httpx2.get(url)
                    else:
                        answer = httpx2.post(
                            url, content=body, headers={"Content-Type": "application/json"}
                        )
                    break
                except httpx2.ConnectError:
                    assert server.poll() is None
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            assert named(answer.json()) == named(json.loads(expected)), command
    finally:
        server.terminate()
        server.wait(timeout=20)


def named(answer):
    """An answer of the service without what differs from index to index, and from time to time."""
    return {
        name: value for name, value in answer.items() if name not in ("index_version", "request_id")
    }


def test_every_command_and_function_is_documented():
    from everygram import __all__
    from everygram.cli import app as cli

    for name in cli.app.list_commands(click.Context(cli.app)):
        assert re.search(rf"^\| `{name}[` ]", README.read_text(), re.MULTILINE), name
    manual = (ROOT / "docs" / "python.md").read_text()
    for name in __all__:
        kind = vars(errors).get(name)
        if name[0].islower():
            assert f"`everygram.{name}(" in manual, name
        elif kind is not None and name != "EverygramError":
            assert f"| `{name}`" in manual, name


def anchor(heading):
    """The name by which GitHub links to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", LINKING, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, name = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        if name:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert name in map(anchor, headings), link
