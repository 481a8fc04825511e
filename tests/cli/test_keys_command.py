"""The commands `keys add`, `keys list`, `keys revoke`."""

import json
import re

import pytest

from everygram.server.keys import Keys


@pytest.fixture
def file(tmp_path):
    return tmp_path / "keys.json"


def test_a_key_from_its_making_to_its_end(run, file):
    code, token, said = run("keys", "add", "alice", "--keys", file)
    assert code == 0
    assert re.fullmatch(r"eg_[A-Za-z0-9_-]{43}\n", token)
    key = Keys.load(file).find(token.strip())
    assert said == f"key 'alice' ({key.id}): read every index; it cannot be shown again\n"
    code, listed, _ = run("keys", "list", "--keys", file)
    assert code == 0
    assert listed.splitlines()[1].split() == [
        *(key.id, "alice", f"{key.created:%Y-%m-%d}", f"{key.created:%H:%M}"),
        *("read", "every", "index"),
    ]
    assert run("keys", "revoke", "alice", "--keys", file) == (
        0,
        f"revoked 'alice' ({key.id})\n",
        "",
    )
    assert run("keys", "list", "--keys", file)[1].split() == [
        "id", "name", "created", "rate", "may",
    ]  # fmt: skip
    assert Keys.load(file).find(token.strip()) is None


@pytest.mark.parametrize(
    ("options", "scopes", "rate", "said"),
    [
        ([], {"*": ["read"]}, None, "read every index"),
        (["--read", "a"], {"a": ["read"]}, None, "read 'a'"),
        (["--write", "a"], {"a": ["write"]}, None, "write 'a'"),
        (
            ["--read", "a", "--read", "b", "--write", "a", "--read", "a"],
            {"a": ["read", "write"], "b": ["read"]},
            None,
            "read 'a', 'b'; write 'a'",
        ),
        (
            ["--read", "*", "--write", "a", "--rate", "5/minute"],
            {"*": ["read"], "a": ["write"]},
            "5/minute",
            "read every index; write 'a'",
        ),
    ],
)
def test_what_a_key_may_do(run, file, options, scopes, rate, said):
    assert run("keys", "add", "k", "--keys", file, *options)[0] == 0
    (found,) = json.loads(run("keys", "list", "--keys", file, "--json")[1])
    assert (found["scopes"], found["rate"]) == (scopes, rate)
    assert run("keys", "list", "--keys", file)[1].rstrip().endswith(said)


def test_hashes_are_not_listed(run, file):
    run("keys", "add", "k", "--keys", file)
    (key,) = Keys.load(file)
    for options in ([], ["--json"]):
        assert key.sha256 not in run("keys", "list", "--keys", file, *options)[1]


def test_the_environment_names_the_file(run, file, monkeypatch):
    assert run("keys", "list")[0] == 2
    monkeypatch.setenv("EVERYGRAM_KEYS", str(file))
    assert run("keys", "add", "k")[0] == 0
    assert run("keys", "revoke", "k")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["add", "alice"], "name: there is a key 'alice' in "),
        (["add", ""], "name: expected a character at least"),
        (["add", "b", "--read", "a/b"], "index: expected a name of 1 to 200 characters"),
        (["add", "b", "--rate", "fast"], "rate: expected a rate like 100/second or 5000/hour"),
        (["revoke", "bob"], "key: expected the id or name of a key in "),
    ],
)
def test_what_is_refused(run, file, arguments, says):
    run("keys", "add", "alice", "--keys", file)
    code, out, err = run("keys", *arguments, "--keys", file)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {says}")


@pytest.mark.parametrize("command", [["list"], ["revoke", "k"]])
def test_a_file_that_is_not_there(run, file, command):
    code, _, err = run("keys", *command, "--keys", file)
    assert (code, "is not there; make it: everygram keys add" in err) == (2, True)
    assert not file.exists()
