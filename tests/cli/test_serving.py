"""The command `serve`, up to where the service takes over."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import types
from pathlib import Path

import httpx2
import pytest

from everygram.cli.app import app
from everygram.errors import OptionError
from everygram.server.keys import add
from everygram.server.settings import Settings


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
        rf"serving '{path.name}'; the page is at (http://127\.0\.0\.1:[1-9][0-9]*)/, "
        r"the manual is at \1/docs$",
        said.strip(),
    )
    assert process.returncode == 0, rest


def test_the_page_is_opened_when_it_can_be_asked_for(path, tmp_path):
    browser, asked = tmp_path / "browser", tmp_path / "asked"
    browser.write_text(f'#!/bin/sh\necho "$1" > {asked}.new && mv {asked}.new {asked}\n')
    browser.chmod(0o700)
    everygram = Path(sys.executable).with_name("everygram")
    command = [everygram, "serve", path, "--port", "0", "--host", "0.0.0.0", "--open"]
    environment = os.environ | {"BROWSER": str(browser)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment) as process:
        try:
            end = time.monotonic() + 300
            while not asked.exists():
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.05)
            url = asked.read_text().strip()
            assert re.fullmatch(r"http://127\.0\.0\.1:[1-9][0-9]*/", url)
            page = httpx2.get(url, headers={"accept": "text/html"})
            assert page.status_code == 200 and "<main" in page.text
        finally:
            process.send_signal(signal.SIGINT)


@pytest.mark.parametrize("package", ["fastapi", "pydantic_settings"])
def test_a_missing_extra_is_named(path, package):
    script = (
        f"import sys; sys.modules['{package}'] = None; sys.argv[1:] = ['serve', {str(path)!r}]\n"
        "from everygram.cli.app import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        f"error: 'everygram serve' needs {package}: pip install 'everygram[server]'\n"
    )


@pytest.fixture
def served(monkeypatch):
    """What the service is asked to serve: settings, and what gives them again."""
    calls = []
    supervisor = types.ModuleType("everygram.server.supervisor")
    supervisor.serve = lambda *given: calls.append(given)
    monkeypatch.setitem(sys.modules, "everygram.server.supervisor", supervisor)
    return calls


def test_every_setting_has_an_option_that_sets_it(run, served, tmp_path):
    command = app.get_command(None, "serve")
    options = {each.name: each for each in command.params}
    by_name = {"indexes", "aliases", "unions"}
    more = {"minus", "config", "show_settings", "open_page"}
    assert options.keys() - more == Settings.model_fields.keys()
    values = {
        "host": ("localhost", "localhost"),
        "preload": ("tokens,fences", ("tokens", "fences")),
        "allowed_hosts": ("a.org", ("a.org",)),
        "cors_origins": ("*", ("*",)),
        "rate_per_key": ("3/minute", "3/minute"),
        "rate_per_address": ("4/minute", "4/minute"),
        "max_body_bytes": ("3MiB", 3 << 20),
        "max_seconds": ("2.5", 2.5),
        "ray": ("auto", "auto"),
    }
    for name, field in Settings.model_fields.items():
        if name in by_name or name.startswith("tls_") or name == "keys":
            continue
        flag = "--" + name.replace("_", "-")
        assert options[name].opts == [flag]
        if field.annotation is bool:
            given, found = [f"--no-{flag[2:]}" if field.default else flag], not field.default
        else:
            text, found = values.get(name, ("7", 7))
            given = [flag, text]
        served.clear()
        assert run("serve", tmp_path, *given)[0] == 0, name
        settings = served[0][0]
        assert getattr(settings, name) == found
        assert settings.origin(name) == flag
        assert settings.model_copy(update={name: field.default}).model_dump() == (
            Settings(indexes=settings.indexes).model_dump()
        )


def test_files_of_keys_and_tls(run, served, tmp_path):
    add(tmp_path / "k.json", "alice", {"*": ["read"]})
    assert run("serve", "a", "--keys", tmp_path / "k.json")[0] == 0
    assert served[0][0].keys == tmp_path / "k.json"
    code, _, err = run("serve", "a", "--tls-key", "k.pem", "--tls-certificate", "c.pem")
    assert code == 2
    assert err.startswith("error: tls_certificate, tls_key: expected PEM files of a certificate")


@pytest.mark.parametrize(
    ("given", "indexes"),
    [
        (["a"], {"a": "a"}),
        (["a/"], {"a": "a"}),
        (["b/a", "c"], {"a": "b/a", "c": "c"}),
        (["."], {"here": "."}),
        (["b/.."], {"here": "b/.."}),
        (["x=a", "y=a"], {"x": "a", "y": "a"}),
        (["x=b=c"], {"x": "b=c"}),
        (["x=/b/c"], {"x": "/b/c"}),
    ],
)
def test_indexes_and_their_names(run, served, tmp_path, monkeypatch, given, indexes):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert run("serve", *given)[0] == 0
    assert served[0][0].indexes == {name: here / path for name, path in indexes.items()}


@pytest.mark.parametrize(
    ("given", "unions", "aliases"),
    [
        (["a", "b", "--union", "u"], {"u": (("a", "b"), ())}, {}),
        (["a", "b", "c", "--union", "u=a, b"], {"u": (("a", "b"), ())}, {}),
        (["a", "b", "--union", "u", "--minus", "u=b"], {"u": (("a",), ("b",))}, {}),
        (
            ["a", "b", "c", "--union", "u=a", "--union", "v", "--minus", "u=b", "--minus", "u=c"],
            {"u": (("a",), ("b", "c")), "v": (("a", "b", "c"), ())},
            {},
        ),
        (
            ["a", "b", "--union", "u", "--alias", "x=a", "--alias", "y=u"],
            {"u": (("a", "b"), ())},
            {"x": "a", "y": "u"},
        ),
    ],
)
def test_unions_and_aliases(run, served, given, unions, aliases):
    assert run("serve", *given)[0] == 0
    settings = served[0][0]
    assert {n: (each.of, each.minus) for n, each in settings.unions.items()} == unions
    assert settings.aliases == aliases


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([], "indexes: expected one at least, found none; give a folder: everygram serve PATH"),
        (["x/a", "y/a"], "indexes: two are named 'a': 'x/a' and 'y/a'; give one another name: N"),
        (["n=x", "n=y"], "indexes: two are named 'n': 'x' and 'y'"),
        (["=x"], "indexes: expected a name of 1 to 200 characters"),
        (["n="], "indexes: expected a path, found an empty string (from PATH)"),
        ([""], "indexes: expected a path, found an empty string"),
        (["./a=b"], "indexes: expected a name of 1 to 200 characters without / \\ , = *"),
        (["*=x"], "indexes: expected a name of 1 to 200 characters"),
        (["a", "--union", "a"], "unions: an index is served as 'a'; choose another name"),
        (["a", "--union", "u=b"], "unions.u.of: expected the name of an index that is served ('a'"),
        (["a", "--union", "u", "--union", "u=a"], "--union: 'u' stands there twice"),
        (["a", "--union", "u", "--minus", "u"], "--minus: expected a union's name and indexes, as"),
        (["a", "--minus", "u=a"], "--minus: there is no --union u"),
        (["a", "--union", "u", "--minus", "u=a"], "unions.u: expected an index at least, found no"),
        (["a", "--alias", "a"], "--alias: expected two names, as NEW=NAME, found 'a'"),
        (["a", "--alias", "b=c"], "aliases.b: expected the name of an index that is served ('a')"),
        (["a", "--alias", "a=a"], "aliases: something is served as 'a'"),
        (["a", "--max-batch", "0"], "max_batch: expected 1 or more, found '0' (from --max-batch)"),
        (["a", "--config", "no.toml"], "config: '"),
        (["a", "--config", ""], "config: expected a path"),
        (["a", "--keys", "no.json"], "keys: '"),
    ],
    ids=str,
)
def test_what_is_refused(run, served, tmp_path, monkeypatch, given, says):
    monkeypatch.chdir(tmp_path)
    code, _, err = run("serve", *given)
    assert (code, served) == (2, [])
    assert err.startswith(f"error: {says}")
    assert "\n" not in err.rstrip("\n")


def test_settings_are_shown_and_nothing_is_served(run, served, tmp_path, monkeypatch):
    monkeypatch.setenv("EVERYGRAM_MAX_BATCH", "7")
    config = tmp_path / "c.toml"
    config.write_text('port = 9000\nworkers = 3\n[indexes]\na = "a"\n')
    code, out, err = run("serve", "--config", config, "--workers", "2", "--show-settings")
    assert (code, err, served) == (0, "", [])
    for line in (
        "max_batch = 7  # EVERYGRAM_MAX_BATCH",
        f"port = 9000  # {config}",
        "workers = 2  # --workers",
        'host = "127.0.0.1"  # default',
        f"[indexes]  # {config}",
    ):
        assert line in out.splitlines()
    config.write_text(out)
    assert run("serve", "--config", config)[0] == 0
    assert served[0][0].workers == 2


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ("127.0.0.1", ""),
        ("0.0.0.0", "warning: whoever reaches '0.0.0.0' may read what is served: pass --keys, or"),
    ],
)
def test_a_service_that_all_can_reach_is_warned_of(run, served, host, says):
    code, _, err = run("serve", "a", "--host", host)
    assert (code, len(served)) == (0, 1)
    assert err.startswith(says)
    assert bool(err) == bool(says)


def test_settings_are_read_again(run, served, tmp_path):
    config = tmp_path / "c.toml"
    config.write_text("max_batch = 7")
    assert run("serve", "a", "--config", config, "--workers", "2")[0] == 0
    ((settings, reload, _),) = served
    config.write_text("max_batch = 8")
    again = reload()
    assert (settings.max_batch, again.max_batch, again.workers) == (7, 8, 2)
    config.write_text("keys = 'no.json'")
    with pytest.raises(OptionError, match="is not there"):
        reload()
