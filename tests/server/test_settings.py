"""Settings: where each comes from, what wins, what is refused and how that is said."""

import re
import tomllib
from pathlib import Path

import pytest

from everygram.errors import OptionError
from everygram.server.settings import Settings

INDEXES = {"pile": "pile", "dolma": "dolma", "test": "test"}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty folder, and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_defaults_are_those_of_the_contract():
    settings = Settings()
    assert (settings.indexes, settings.host, settings.port) == ({}, "127.0.0.1", 8000)
    assert (settings.workers, settings.runners, settings.keys) == (1, 0, None)
    assert (settings.max_body_bytes, settings.max_pending_bytes) == (8 << 20, 256 << 20)
    assert (settings.max_upload_bytes, settings.max_answer_bytes) == (1 << 30, 64 << 20)
    assert (settings.rate_per_key, settings.rate_per_address) == (None, None)
    assert settings == Settings.load()


def test_every_setting_has_a_group_and_a_sentence():
    for name, field in Settings.model_fields.items():
        assert field.json_schema_extra["group"], name
        assert re.fullmatch(r"[A-Z].*\.", field.description), name


@pytest.mark.parametrize(
    ("flags", "variable", "file", "found", "origin"),
    [
        ({}, None, None, 8000, "default"),
        ({}, None, "port = 3", 3, "c.toml"),
        ({}, "2", "port = 3", 2, "EVERYGRAM_PORT"),
        ({}, "", "port = 3", 3, "c.toml"),
        ({"port": "1"}, "2", "port = 3", 1, "--port"),
        ({"port": 1}, None, None, 1, "--port"),
    ],
)
def test_flags_go_before_the_environment_and_that_before_the_file(
    here, monkeypatch, flags, variable, file, found, origin
):
    if variable is not None:
        monkeypatch.setenv("EVERYGRAM_PORT", variable)
    config = None if file is None else written(here / "c.toml", file)
    settings = Settings.load(flags, config)
    assert settings.port == found
    assert settings.origin("port").endswith(origin)


def test_what_is_given_to_the_class_alone_is_all_it_has(monkeypatch):
    monkeypatch.setenv("EVERYGRAM_PORT", "2")
    assert Settings().port == 8000


def test_the_environment_names_the_file(here, monkeypatch):
    monkeypatch.setenv("EVERYGRAM_CONFIG", str(written(here / "c.toml", "port = 3")))
    assert Settings.load().port == 3
    assert Settings.load({}, written(here / "d.toml", "port = 4")).port == 4


def test_the_environment_has_lists_and_tables(monkeypatch):
    for name, value in {
        "INDEXES": "pile=/data/pile, b=c=d",
        "ALIASES": '{"p": "pile"}',
        "UNIONS": '{"both": {"of": ["pile", "b"]}}',
        "ALLOWED_HOSTS": "a.org, b.org,",
        "PRELOAD": '["fences", "tokens"]',
        "MAX_BODY_BYTES": "4MiB",
        "ACCESS_LOG": "no",
        "MAX_SECONDS": "2.5",
    }.items():
        monkeypatch.setenv("EVERYGRAM_" + name, value)
    settings = Settings.load()
    assert settings.indexes == {"pile": Path("/data/pile"), "b": Path.cwd() / "c=d"}
    assert settings.aliases == {"p": "pile"}
    assert settings.unions["both"].of == ("pile", "b")
    assert settings.allowed_hosts == ("a.org", "b.org")
    assert settings.preload == ("fences", "tokens")
    assert (settings.max_body_bytes, settings.access_log, settings.max_seconds) == (
        4 << 20,
        False,
        2.5,
    )


def test_paths_in_a_file_start_from_its_folder_and_others_from_here(here, monkeypatch):
    text = 'keys = "k.json"\n[indexes]\na = "a"\nb = "/b"\n'
    monkeypatch.setenv("EVERYGRAM_TLS_KEY", "t.pem")
    monkeypatch.setenv("EVERYGRAM_TLS_CERTIFICATE", "t.pem")
    written(here / "etc" / "c.toml", text)
    settings = Settings.load({}, Path("etc/c.toml"))
    assert settings.indexes == {"a": here / "etc" / "a", "b": Path("/b")}
    assert settings.keys == here / "etc" / "k.json"
    assert settings.tls_key == here / "t.pem"


def test_a_table_is_taken_from_one_place_as_a_whole(here):
    config = written(here / "c.toml", '[indexes]\na = "a"\n')
    assert list(Settings.load({"indexes": {"b": "b"}}, config).indexes) == ["b"]


def test_they_are_read_again_from_where_they_came(here, monkeypatch):
    config = written(here / "c.toml", "port = 3\nworkers = 3")
    settings = Settings.load({"workers": 2}, config)
    written(config, "port = 4\nworkers = 4")
    monkeypatch.setenv("EVERYGRAM_MAX_BATCH", "7")
    again = settings.reread()
    assert (again.port, again.workers, again.max_batch) == (4, 2, 7)
    assert again.reread().port == 4
    written(config, "port = x")
    with pytest.raises(OptionError):
        again.reread()


def test_what_is_shown_is_read_as_the_same(here, monkeypatch):
    monkeypatch.setenv("EVERYGRAM_MAX_SECONDS", "5")
    flags = {
        "indexes": INDEXES | {"a 'b\" é😀": "x\ty"},
        "unions": {"all": {}, "some": {"of": "pile,dolma", "minus": "test"}},
        "aliases": {"p": "some"},
        "allowed_hosts": "a,b",
        "max_body_bytes": 12345,
        "rate_per_key": "3/minute",
        "verify": True,
        "keys": "k\x7f.json",
    }
    settings = Settings.load(flags)
    shown = settings.shown()
    read = Settings.load({}, written(here / "c.toml", shown))
    assert read.model_dump() == settings.model_dump()
    assert "port = 8000  # default" in shown
    assert "max_seconds = 5.0  # EVERYGRAM_MAX_SECONDS" in shown
    assert 'max_answer_bytes = "64MiB"  # default' in shown
    assert "max_body_bytes = 12345  # --max-body-bytes" in shown
    assert "# tls_key is not set" in shown
    assert "[indexes]  # PATH" in shown
    missing = {"tls_certificate", "tls_key", "rate_per_address", "ray"}
    assert tomllib.loads(shown).keys() == Settings.model_fields.keys() - missing


def test_unions_and_their_defaults():
    settings = Settings(
        indexes=INDEXES,
        unions={"all": {}, "clean": {"minus": ["test"]}, "two": {"of": "pile, dolma"}},
        aliases={"a": "all", "p": "pile"},
    )
    assert {name: (each.of, each.minus) for name, each in settings.unions.items()} == {
        "all": (("pile", "dolma", "test"), ()),
        "clean": (("pile", "dolma"), ("test",)),
        "two": (("pile", "dolma"), ()),
    }


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"prot": 1}, "prot: there is no such setting; expected port"),
        ({"xyzzy": 1}, "xyzzy: there is no such setting; expected indexes, aliases"),
        ({"port": "x"}, "port: expected an integer, found 'x'"),
        ({"port": 1.5}, "port: expected an integer, found 1.5"),
        ({"port": True}, "port: expected a number, found True"),
        ({"port": -1}, "port: expected 0 or more, found -1"),
        ({"port": 65536}, "port: expected 65535 or less, found 65536"),
        ({"host": 3}, "host: expected a string, found 3"),
        ({"max_batch": 0}, "max_batch: expected 1 or more, found 0"),
        ({"max_batch": "9" * 30}, "max_batch: expected 4611686018427387904 or less, found '999"),
        ({"workers": 0}, "workers: expected 1 or more"),
        ({"runners": -1}, "runners: expected 0 or more"),
        ({"max_seconds": 0}, "max_seconds: expected more than 0, found 0"),
        ({"max_seconds": "inf"}, "max_seconds: expected 1000000000.0 or less, found 'inf'"),
        ({"max_seconds": "nan"}, "max_seconds: expected more than 0, found 'nan'"),
        ({"max_seconds": "soon"}, "max_seconds: expected a number, found 'soon'"),
        ({"max_body_bytes": "8 bits"}, "max_body_bytes: expected a size like 4GiB or 500MB, or"),
        ({"max_body_bytes": 0}, "max_body_bytes: expected 1 or more, found 0"),
        ({"max_body_bytes": None}, "max_body_bytes: expected a size"),
        ({"verify": "maybe"}, "verify: expected true or false, found 'maybe'"),
        ({"rate_per_key": "fast"}, "rate_per_key: expected a rate like 100/second or 5000/hour"),
        ({"rate_per_address": "0/second"}, "rate_per_address: expected a rate like"),
        ({"rate_per_address": 3}, "rate_per_address: expected a string, found 3"),
        ({"preload": 3}, "preload: expected a list, found 3"),
        ({"allowed_hosts": [3]}, "allowed_hosts.0: expected a string, found 3"),
        ({"allowed_hosts": "[3"}, "allowed_hosts: expected JSON ("),
        ({"keys": ""}, "keys: expected a path, found an empty string"),
        ({"keys": "a\0b"}, "keys: expected a path, found "),
        ({"tls_key": "k"}, "tls_key: expected tls_certificate, too: TLS takes both"),
        ({"tls_certificate": "c"}, "tls_certificate: expected tls_key, too: TLS takes both"),
        ({"indexes": 3}, "indexes: expected values by name, found 3"),
        ({"indexes": "a=x,b"}, "indexes: expected entries like NAME=VALUE,NAME=VALUE, or a JSON"),
        ({"indexes": {"a": 3}}, "indexes: expected a path, found 3"),
        ({"indexes": {"": "x"}}, "indexes: expected a name of 1 to 200 characters"),
        ({"indexes": {"a/b": "x"}}, "found 'a/b', which has '/'"),
        ({"indexes": {"*": "x"}}, "found '*', which has '*'"),
        ({"indexes": {" a": "x"}}, "without blanks around it, found ' a'"),
        ({"indexes": {"..": "x"}}, "found '..'"),
        ({"indexes": {"a" * 201: "x"}}, "expected a name of 1 to 200 characters"),
        ({"unions": {"u": {}}}, "unions.u: expected an index at least, found none"),
        ({"unions": {"u": 3}}, "unions.u: expected a table of values by name, found 3"),
        ({"unions": {"u": {"fo": []}}}, "unions.u.fo: there is no such setting; expected of"),
        ({"unions": {"u": {"of": "x"}}}, "unions.u.of: expected the name of an index that is se"),
        ({"aliases": {"p": "x"}}, "aliases.p: expected the name of an index that is served (no"),
        ({"indexes": INDEXES, "aliases": {"pile": "dolma"}}, "aliases: something is served as 'p"),
        ({"indexes": INDEXES, "aliases": {"a": "b", "b": "pile"}}, "aliases.a: expected the name"),
        ({"indexes": INDEXES, "unions": {"pile": {}}}, "unions: an index is served as 'pile'"),
        ({"indexes": INDEXES, "unions": {"u": {"of": "pile,pile"}}}, "index 'pile' stands there"),
        (
            {"indexes": INDEXES, "unions": {"u": {"of": "pile", "minus": "pile"}}},
            "unions.u: index 'pile' stands there twice",
        ),
        (
            {"indexes": INDEXES, "unions": {"u": {"of": "pile", "minus": "x"}}},
            "unions.u.minus: expected the name of an index that is served ('pile', 'dolma', 'test'",
        ),
    ],
    ids=str,
)
def test_what_is_refused_and_how_that_is_said(given, says):
    with pytest.raises(OptionError) as told:
        Settings(**given)
    assert says in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("flags", "variable", "file", "ends"),
    [
        ({"max_batch": "x"}, "y", "max_batch = 0", "found 'x' (from --max-batch)"),
        ({}, "y", "max_batch = 0", "found 'y' (from EVERYGRAM_MAX_BATCH)"),
        ({}, "", "max_batch = 0", r"found 0 \(from .*c.toml\)"),
        ({}, "", 'prot = "x"', r"expected port \(from .*c.toml\)"),
        ({}, "", "[unions]\nu = {of = ['x']}", r"found 'x' \(from .*c.toml\)"),
        ({"unions": {"u": {"of": "x"}}}, "", "", "found 'x' (from --union)"),
        ({}, "", "max_batch =", "expected TOML in '.*c.toml': "),
        ({}, "", "\xff", "expected TOML in '.*c.toml': "),
    ],
)
def test_an_error_says_where_the_value_came_from(here, monkeypatch, flags, variable, file, ends):
    monkeypatch.setenv("EVERYGRAM_MAX_BATCH", variable)
    config = here / "c.toml"
    config.write_bytes(file.encode("latin-1"))
    with pytest.raises(OptionError) as told:
        Settings.load(flags, config)
    assert ends in str(told.value) or re.search(ends, str(told.value)), str(told.value)


def test_a_file_that_cannot_be_read(here):
    for path, why in ((here / "no.toml", "No such file"), (here, "Is a directory")):
        with pytest.raises(OptionError, match=rf"config: '.*' cannot be read: {why}"):
            Settings.load({}, path)


MANUAL = Path(__file__).parent.parent.parent / "docs" / "run-a-service.md"
TABLES = re.compile(r"(?<=up to date -->\n).*(?=<!-- end of settings)", re.DOTALL)


def tables():
    """Every setting, by its group, as the manual has them."""
    lines = []
    group = None
    for name, field in Settings.model_fields.items():
        if field.json_schema_extra["group"] != group:
            group = field.json_schema_extra["group"]
            lines += ["", f"**{group}**", "", "| setting | default | |", "|---|---|---|"]
        default = (
            "" if field.default in (None, {}) else f"`{Settings.as_toml(name, field.default)}`"
        )
        lines.append(f"| `{name}` | {default} | {field.description} |")
    return "\n".join([*lines, "", ""])


def test_the_manual_has_every_setting():
    """To bring it up to date: python tests/server/test_settings.py."""
    (found,) = TABLES.findall(MANUAL.read_text())
    assert found == tables()


if __name__ == "__main__":
    MANUAL.write_text(TABLES.sub(lambda _: tables(), MANUAL.read_text()))
