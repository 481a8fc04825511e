"""The command `serve`, up to where the service takes over."""

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest


def test_a_port_that_is_taken_is_exit_code_1(path):
    everygram = Path(sys.executable).with_name("everygram")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run([everygram, "serve", path, "--port", port], capture_output=True)
    assert done.returncode == 1
    assert done.stderr.decode() == f"error: port {port} is in use; pass --port\n"


def test_serving_says_what_and_where_and_ends_with_an_interruption(path):
    everygram = Path(sys.executable).with_name("everygram")
    command = [everygram, "serve", path, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        said = next((line for line in process.stderr if "the manual is at" in line), "")
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert re.search(
        rf"serving '{path.name}'; the manual is at http://127\.0\.0\.1:[1-9][0-9]*/docs$",
        said.strip(),
    )
    assert process.returncode == 0, rest


@pytest.mark.parametrize("package", ["fastapi", "fastapi_offline"])
def test_a_missing_extra_is_named(run, path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
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
    assert calls == [((path,), "127.0.0.1", 8000, preload, verify, None)]
