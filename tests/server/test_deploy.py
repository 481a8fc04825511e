"""What stands in deploy/: a sample of settings, a container, a unit of systemd."""

import configparser
import json
import re
import runpy
import shutil
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from everygram.server.settings import Settings

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
SAMPLE = (DEPLOY / "everygram.toml").read_text()


def test_the_sample_is_read(monkeypatch):
    settings = Settings.load({}, DEPLOY / "everygram.toml")
    assert settings.indexes == {"pile": Path("/srv/indexes/pile")}
    assert settings.model_dump() == Settings(indexes=settings.indexes).model_dump()


def current(sample):
    """The sample, with what settings are and their defaults as they are now."""
    for name, field in Settings.model_fields.items():
        if field.default not in (None, {}):
            line = f"# {field.description}\n# {name} = {Settings.as_toml(name, field.default)}"
            sample = re.sub(rf"^# .*\n# {name} = .*$", lambda _: line, sample, flags=re.MULTILINE)  # noqa: B023
    return sample


def test_the_sample_names_every_setting_with_what_it_is_and_its_default(tmp_path):
    """To bring those that are in it up to date: python tests/server/test_deploy.py."""
    given = set(re.findall(r"^#? ?(\w+) = ", SAMPLE, re.MULTILINE))
    given |= set(re.findall(r"^#? ?\[(\w+)\]$", SAMPLE, re.MULTILINE))
    assert given >= Settings.model_fields.keys()
    for name, field in Settings.model_fields.items():
        if name not in ("indexes", "aliases", "unions"):
            assert f"# {field.description}\n# {name} = " in SAMPLE
    assert current(SAMPLE) == SAMPLE
    # All of it, with nothing commented out.
    whole = re.sub(r"^# (?=\w+ = |\[)", "", SAMPLE, flags=re.MULTILINE)
    (tmp_path / "c.toml").write_text(
        whole.replace("[indexes]\n", '[indexes]\ntest-sets = "/srv/indexes/test-sets"\n')
    )
    settings = Settings.load({}, tmp_path / "c.toml")
    assert settings.rate_per_key == "100/second"
    assert settings.unions["clean"].minus == ("test-sets",)
    assert {settings.origin(name) for name in Settings.model_fields} == {str(tmp_path / "c.toml")}


def instructions():
    """(instruction, arguments) of the Dockerfile, lines that go on joined."""
    text = (DEPLOY / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines()]


def last_stage():
    found = instructions()
    starts = [number for number, (name, _) in enumerate(found) if name == "FROM"]
    return found[starts[-1] :]


def test_the_container_is_slim_and_not_root_s():
    stage = last_stage()
    assert re.fullmatch(r"python:3\.\d+-slim", stage[0][1])
    users = [arguments for name, arguments in stage if name == "USER"]
    assert users == ["10001:10001"]
    # What is run after it is run by that user.
    names = [name for name, _ in stage]
    assert names.index("USER") > max(n for n, name in enumerate(names) if name in ("RUN", "COPY"))


def test_the_container_has_the_service_as_its_first_process():
    found = dict(last_stage())
    assert json.loads(found["ENTRYPOINT"]) == ["everygram"]
    assert json.loads(found["CMD"]) == ["serve"]
    assert json.loads(found["VOLUME"]) == ["/indexes", "/var/cache/everygram"]
    assert found["EXPOSE"] == "8000"


def test_the_container_s_variables_are_settings(monkeypatch):
    variables = dict(
        pair.split("=", 1)
        for name, arguments in last_stage()
        if name == "ENV"
        for pair in arguments.split()
    )
    given = {name: value for name, value in variables.items() if name.startswith("EVERYGRAM_")}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = Settings.load()
    assert (settings.host, settings.port) == ("0.0.0.0", 8000)
    # `docker stop` kills after ten seconds; the supervisor has one more than its workers.
    assert settings.grace_seconds + 1 < 10
    assert given.keys() == {
        f"EVERYGRAM_{name.upper()}"
        for name in Settings.model_fields
        if settings.origin(name) != "default"
    }


def test_the_container_copies_what_is_there():
    root = DEPLOY.parent
    for name, arguments in instructions():
        if name == "COPY" and not arguments.startswith("--from"):
            *sources, _ = arguments.split()
            assert all((root / source).exists() for source in sources), arguments


@contextmanager
def answering(status, path="/health/ready"):
    """A server of that status; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status if self.path == path else 404)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield str(server.server_port)
        server.shutdown()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (404, 1)])
def test_the_health_check(monkeypatch, capsys, status, code):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    main = runpy.run_path(str(DEPLOY / "health.py"))["main"]
    with answering(status) as port:
        monkeypatch.setenv("EVERYGRAM_PORT", port)
        assert main() == code
    # (Where nothing listens any more.)
    assert main() == 1
    monkeypatch.setenv("EVERYGRAM_TLS_CERTIFICATE", "c.pem")
    assert main() == 1
    assert "https://127.0.0.1" in capsys.readouterr().err


def test_the_health_check_is_in_the_container():
    check = dict(last_stage())["HEALTHCHECK"]
    command = json.loads(check.partition(" CMD ")[2])
    assert command == ["python", "/opt/everygram/health.py"]
    assert ("COPY", "deploy/health.py /opt/everygram/health.py") in last_stage()


def unit():
    parser = configparser.RawConfigParser(strict=False, comment_prefixes="#")
    parser.optionxform = str
    parser.read(DEPLOY / "everygram.service")
    return parser


def test_the_unit_ends_and_reloads_the_service_as_it_wants_to_be():
    service = unit()["Service"]
    assert service["ExecStart"].endswith("/everygram serve --config /etc/everygram/everygram.toml")
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    # Of its processes only the first is told.
    assert (service["KillSignal"], service["KillMode"]) == ("SIGTERM", "mixed")
    assert float(service["TimeoutStopSec"]) > Settings().grace_seconds + 1
    assert service["Restart"] == "on-failure"
    # Else one process that takes too much would end all of them.
    assert service["OOMPolicy"] == "continue"


def test_the_unit_is_hardened():
    service = unit()["Service"]
    assert service["User"] not in ("", "root")
    assert (service["ProtectSystem"], service["CapabilityBoundingSet"]) == ("strict", "")
    for name in (
        *("NoNewPrivileges", "PrivateDevices", "PrivateTmp", "ProtectHome", "RestrictSUIDSGID"),
        *("ProtectKernelModules", "ProtectKernelTunables", "LockPersonality"),
    ):
        assert service[name] == "yes"
    # Kernels are compiled.
    assert "MemoryDenyWriteExecute" not in service


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="without systemd")
def test_systemd_takes_the_unit(tmp_path):
    text = (DEPLOY / "everygram.service").read_text()
    # (What is named must be there.)
    text = text.replace("/opt/everygram/bin/everygram", "/bin/sh").replace(
        "=everygram\n", "=root\n"
    )
    (tmp_path / "everygram.service").write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / "everygram.service"],
        capture_output=True,
        text=True,
    )
    # (Of a setting that it does not know, an older one warns.)
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    (DEPLOY / "everygram.toml").write_text(current(SAMPLE))
