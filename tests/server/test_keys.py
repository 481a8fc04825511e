"""API keys: what a file of them has, what is refused, and changes at the same time."""

import hashlib
import json
import os
import re
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from everygram.errors import OptionError
from everygram.server.keys import Keys, add, revoke

READ = {"*": ["read"]}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "keys.json"


def listed(folder):
    return sorted(path.name for path in folder.iterdir())


def entry(token="eg_x", **changes):
    digest = hashlib.sha256(token.encode()).hexdigest()
    fields = {
        "id": digest[:8],
        "name": token,
        "sha256": digest,
        "scopes": READ,
        "rate": None,
        "created": "2026-01-01T00:00:00Z",
    }
    return fields | changes


def test_a_key_is_found_by_its_token_alone(file):
    alice, token = add(file, "alice", READ)
    bob, other = add(file, "bob", {"pile": ["read", "write"]}, "5/second")
    keys = Keys.load(file)
    assert [*keys] == [alice, bob]
    assert (keys.find(token), keys.find(other)) == (alice, bob)
    assert (bob.name, bob.rate, len(keys)) == ("bob", "5/second", 2)
    for wrong in ("", "eg_", token[:-1], token + "x", token.upper(), token[3:], alice.sha256):
        assert keys.find(wrong) is None


def test_a_token_has_256_random_bits_and_the_file_only_its_hash(file):
    tokens = {add(file, f"k{number}", READ)[1] for number in range(20)}
    assert len(tokens) == 20
    content = file.read_text()
    for token in tokens:
        assert re.fullmatch(r"eg_[A-Za-z0-9_-]{43}", token)  # 43 * 6 bits
        assert token not in content
        assert token[3:] not in content
        assert hashlib.sha256(token.encode()).hexdigest() in content
    assert sum(token[3] == max(tokens)[3] for token in tokens) < 15


def test_the_file_is_as_the_contract_says(file):
    key, _ = add(file, "alice", {"pile": ["write"], "*": ["read"]}, "5/second")
    (found,) = json.loads(file.read_text())
    assert found == {
        "id": key.id,
        "name": "alice",
        "sha256": key.sha256,
        "scopes": {"pile": ["write"], "*": ["read"]},
        "rate": "5/second",
        "created": found["created"],
    }
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["created"])
    assert file.stat().st_mode & 0o777 == 0o600
    assert listed(file.parent) == ["keys.json"]


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        ({}, []),
        ({"*": ["read"]}, ["a read", "b read", "* read", " read"]),
        ({"a": ["read"]}, ["a read", " read"]),
        ({"a": ["write"]}, ["a write", " write"]),
        ({"a": ["read"], "*": ["write"]}, ["a read", " read", "a write", "b write", "* write",
                                          " write"]),
        ({"a": []}, []),
    ],
)  # fmt: skip
def test_what_a_key_may_do(file, scopes, allowed):
    key, _ = add(file, "k", scopes)
    found = [
        f"{index} {scope}"
        for scope in ("read", "write")
        for index in ("a", "b", "*", "")
        if key.allows(index, scope)
    ]
    assert sorted(found) == sorted(allowed)


def test_a_file_that_changes_is_read_again_and_else_not(file):
    _, token = add(file, "alice", READ)
    keys = Keys.load(file)
    assert keys.latest() is keys
    add(file, "bob", READ)
    later = keys.latest()
    assert (len(keys), len(later)) == (1, 2)
    assert later.latest() is later
    revoke(file, "alice")
    assert (keys.find(token).name, later.latest().find(token)) == ("alice", None)


def test_keys_stay_where_a_file_is_gone_or_broken_which_is_said_once(file, caplog):
    _, token = add(file, "alice", READ)
    content = file.read_bytes()
    keys = Keys.load(file)
    for broken, says in ((None, "No such file"), (b"[", "expected JSON"), (b"{}", "no file of ke")):
        caplog.clear()
        file.unlink() if broken is None else file.write_bytes(broken)
        for _ in range(3):
            assert keys.latest() is keys
        (record,) = caplog.records
        assert record.message.startswith("the keys stay as they were: ")
        assert says in record.message
    file.write_bytes(content)
    assert keys.latest().find(token).name == "alice"


def test_keys_are_revoked_by_id_or_name(file):
    alice, _ = add(file, "alice", READ)
    add(file, "bob", READ)
    assert revoke(file, alice.id) == alice
    assert revoke(file, "bob").name == "bob"
    assert [*Keys.load(file)] == []
    with pytest.raises(
        OptionError, match=r"key: expected the id or name of a key in .*, found 'bob"
    ):
        revoke(file, "bob")


def test_a_change_keeps_links_and_leaves_others_in_the_folder_alone(file):
    file.parent.joinpath("real").mkdir()
    file.symlink_to("real/k.json")
    add(file, "alice", READ)
    assert file.is_symlink()
    assert [key.name for key in Keys.load(file)] == ["alice"]
    assert listed(file.parent) == ["keys.json", "real"]
    assert listed(file.parent / "real") == ["k.json"]


@pytest.mark.parametrize(("before", "after"), [(0o600, 0o600), (0o640, 0o640), (0o666, 0o640)])
def test_a_group_that_may_read_a_file_may_read_it_after_a_change(file, before, after):
    add(file, "alice", READ)
    file.chmod(before)
    add(file, "bob", READ)
    assert file.stat().st_mode & 0o777 == after


def test_a_write_that_fails_leaves_the_file_as_it_was(file, monkeypatch):
    add(file, "alice", READ)
    before = file.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        add(file, "bob", READ)
    assert (file.read_bytes(), listed(file.parent)) == (before, ["keys.json"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("alice", READ), "name: there is a key 'alice' in "),
        (("", READ), "name: expected a character at least, found ''"),
        (("a\nb", READ), "name: expected text without control characters"),
        (("x" * 101, READ), "name: expected 100 characters at most"),
        (("b", {"a/b": ["read"]}), "index: expected a name of 1 to 200 characters"),
        (("b", {"": ["read"]}), "index: expected a name of 1 to 200 characters"),
        (("b", {"a": ["admin"]}), "scopes.a.0: expected 'read' or 'write', found 'admin'"),
        (("b", READ, "fast"), "rate: expected a rate like 100/second or 5000/hour, found 'fast'"),
    ],
    ids=str,
)
def test_keys_that_are_refused(file, arguments, says):
    add(file, "alice", READ)
    before = file.read_bytes()
    with pytest.raises(OptionError) as told:
        add(file, *arguments)
    assert says in str(told.value)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "expected JSON in '"),
        (b"[", "expected JSON in '"),
        (b"[] x", "expected JSON in '"),
        (b"\xff", "expected JSON in '"),
        (b"[" * 100_000, "expected JSON in '"),
        (b'[{"id": "a", "id": "b"}]', 'Detected duplicate key "id"'),
        (b"null", "is no file of keys: expected a list, found None"),
        (b"[3]", "is no file of keys: 0: expected "),
        (json.dumps([entry(name=3)]).encode(), "0.name: expected a string, found 3"),
        (json.dumps([entry(rate="x")]).encode(), "rate: expected a rate like"),
        (json.dumps([entry(created="x")]).encode(), "0.created: expected a time, found 'x'"),
        (json.dumps([entry(scopes={"a": ["x"]})]).encode(), "0.scopes.a.0: expected 'read' or"),
        (json.dumps([entry(secret="x")]).encode(), "0.secret: expected "),
        (json.dumps([entry(sha256="x")]).encode(), "0.sha256: expected "),
        (json.dumps([entry(id="12345678")]).encode(), "an id that begins the hash, found '123456"),
        (json.dumps([entry(), entry()]).encode(), "has two keys"),
        (json.dumps([entry("eg_x", name="n"), entry("eg_y", name="n")]).encode(), "two keys 'n'"),
        (b" " * (9 << 20), "too large"),
    ],
    ids=range(18),
)
def test_files_that_are_refused(file, content, says):
    file.write_bytes(content)
    with pytest.raises(OptionError) as told:
        Keys.load(file)
    assert says in str(told.value)
    assert len(str(told.value)) < 400


def test_what_is_no_file(tmp_path):
    with pytest.raises(OptionError, match=r"'.*no' is not there; make it: everygram keys add"):
        Keys.load(tmp_path / "no")
    with pytest.raises(OptionError, match="cannot be read: Is a directory"):
        Keys.load(tmp_path)
    with pytest.raises(OptionError, match=r"the folder of '.*k' cannot be opened: No such file"):
        add(tmp_path / "no" / "k", "a", READ)


@pytest.mark.parametrize(
    ("mode", "exposed"), [(0o600, False), (0o640, False), (0o644, True), (0o620, True)]
)
def test_a_file_that_others_may_read_or_change_is_told_of(file, mode, exposed):
    add(file, "alice", READ)
    file.chmod(mode)
    said = Keys.load(file).exposed()
    assert (said is not None) == exposed
    assert said is None or f"found mode {mode:04o}: chmod 600 '{file}'" in said


ADDING = """
import sys
from pathlib import Path
from everygram.server.keys import add, revoke

file, who = Path(sys.argv[1]), sys.argv[2]
for number in range(10):
    add(file, f"{who}{number}", {"*": ["read"]})
    if number % 2:
        revoke(file, f"{who}{number}")
"""


def test_processes_that_change_a_file_at_once_lose_nothing(file):
    processes = [
        subprocess.Popen([sys.executable, "-c", ADDING, file, who], stderr=subprocess.PIPE)
        for who in "abc"
    ]
    while any(process.poll() is None for process in processes):
        if file.exists():
            Keys.load(file)  # whole at every moment
    assert [process.communicate()[1] for process in processes] == [b"", b"", b""]
    names = sorted(key.name for key in Keys.load(file))
    assert names == sorted(f"{who}{number}" for who in "abc" for number in range(0, 10, 2))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.text(), st.text(alphabet="eg_-\0\ud800ÿx").map("eg_".__add__)))
@example("eg_" + "x" * 100_000)
@example("\udcff")
def test_no_token_but_a_given_one_is_a_key(file, token):
    if not file.exists():
        add(file, "alice", READ)
    assert Keys.load(file).find(token) is None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=9,
)
ENTRIES = st.builds(
    lambda field, value: entry(**{field: value}),
    st.sampled_from([*entry()]),
    VALUES | st.sampled_from(["eg_x", "5/second", "2026-01-01", 0, {"*": ["read", "write"]}]),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary()
    | VALUES.map(lambda value: json.dumps(value).encode())
    | st.lists(ENTRIES, max_size=2).map(lambda entries: json.dumps(entries).encode())
)
def test_whatever_a_file_holds_it_has_keys_or_is_refused(file, content):
    file.write_bytes(content)
    try:
        keys = Keys.load(file)
    except OptionError as error:
        assert "\n" not in str(error)
        return
    for key in keys:
        assert re.fullmatch("[0-9a-f]{64}", key.sha256)
        assert key.allows("pile", "read") in (True, False)
