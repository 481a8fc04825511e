"""Every example in the README, run: shell commands, curl requests, Python."""

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

import httpx2
import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the tour's corpus and index, as the reader has it by then."""
    path = tmp_path_factory.mktemp("tour")
    (path / "corpus.jsonl").write_text(next(text for kind, text in BLOCKS if kind == "json"))
    return path


def commands(kind):
    """(command, expected output) of every `$ …` line in the blocks of that kind."""
    for language, block in BLOCKS:
        if language == kind:
            for example in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, output = example.partition("\n")
                yield command, output


def timeless(output):
    """Without how long each stage took and how much memory: another matter each time."""
    return re.sub(r"\d+(\.\d s|(,\d+)? MiB)\n", "\n", output)


def run(command, folder):
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run(
        command, shell=True, cwd=folder, env=env, stdout=subprocess.PIPE, text=True, timeout=120
    )


def test_the_tour(folder):
    examples = list(commands("console"))
    assert len(examples) >= 8
    for command, expected in examples:
        done = run(command, folder)
        assert done.returncode == 0, command
        assert timeless(done.stdout) == timeless(expected), command


def test_python(folder, monkeypatch):
    monkeypatch.chdir(folder)
    blocks = [block for kind, block in BLOCKS if kind == "python"]
    assert blocks
    source = "\n".join(blocks)
    example = doctest.DocTestParser().get_doctest(source, {}, "README", None, 0)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    runner.run(example)
    assert runner.failures == 0


def test_rest(folder):
    examples = list(commands("http"))
    assert len(examples) >= 3
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
            assert answer.json() == json.loads(expected), command
    finally:
        server.terminate()
        server.wait(timeout=20)


def test_every_command_and_module_is_in_the_readme():
    from everygram import __all__
    from everygram.cli import app as cli

    for name in cli.COMMANDS:
        assert f"`{name}" in README, name
    for name in __all__:
        if name[0].islower():
            assert f"`everygram.{name}" in README, name
