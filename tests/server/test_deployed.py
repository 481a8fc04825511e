"""A service as it is deployed: two workers, TLS, a file of settings, reloads, its health check."""

import json
import os
import runpy
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

import everygram
from conftest import write_jsonl
from everygram.server.keys import add, revoke

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
EVERYGRAM = Path(sys.executable).with_name("everygram")
FILE = """
port = 0
workers = 2
host = "127.0.0.1"
follow_seconds = 0.2
keys = "keys.json"
tls_certificate = "c.pem"
tls_key = "k.pem"
rate_per_key = "{rate}"
[indexes]
pile = "pile"
[aliases]
{alias} = "pile"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deployed")
    corpus = write_jsonl(folder / "pile.jsonl", [{"text": "natural language"}])
    everygram.build(corpus, folder / "pile", "bytes")
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
         "-out", folder / "c.pem", "-keyout", folder / "k.pem"],
        capture_output=True,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return folder


class Deployed:
    """The service of that folder, its address, and what it has said."""

    def __init__(self, folder):
        self.folder, self.tokens = folder, {}
        self.said = folder / "said.txt"
        with self.said.open("w") as file:
            self.process = subprocess.Popen(
                [EVERYGRAM, "serve", "--config", folder / "c.toml"], stderr=file, text=True
            )
        self.wait(lambda: "the manual is at " in self.said.read_text())
        address = self.said.read_text().partition("the manual is at ")[2].partition("/docs")[0]
        self.port = address.rpartition(":")[2]
        self.url = f"https://127.0.0.1:{self.port}"

    def wait(self, until):
        """Wait until that holds."""
        end = time.monotonic() + 60
        while not until():
            assert self.process.poll() is None, self.said.read_text()
            assert time.monotonic() < end, self.said.read_text()
            time.sleep(0.05)

    def ask(self, token, index="pile"):
        """The status of a request over a connection of its own: either worker may have it."""
        context = ssl.create_default_context(cafile=self.folder / "c.pem")
        headers = {"authorization": f"Bearer {token}"}
        with httpx2.Client(verify=context, trust_env=False) as client:
            url = f"{self.url}/v1/indexes/{index}/count"
            return client.post(url, json={"query": "natural"}, headers=headers).status_code


@pytest.fixture(scope="module")
def deployed(folder):
    file = folder / "keys.json"
    _, token = add(file, "alice", {"*": ["read"]}, "1000/second")
    (folder / "c.toml").write_text(FILE.format(rate="20/hour", alias="first"))
    service = Deployed(folder)
    service.tokens["alice"] = token
    yield service
    service.process.kill()
    service.process.wait()


def test_a_rate_is_that_of_all_workers_together(deployed):
    _, token = add(deployed.folder / "keys.json", "bob", {"*": ["read"]})
    # (Each worker learns of a new key by itself; what is refused till then is not counted.)
    time.sleep(1)
    statuses = [deployed.ask(token) for _ in range(30)]
    assert statuses == [200] * 20 + [429] * 10


def test_a_key_that_is_revoked_is_refused_by_all_workers_soon(deployed):
    file = deployed.folder / "keys.json"
    _, token = add(file, "carol", {"*": ["read"]}, "1000/second")
    time.sleep(1)
    assert {deployed.ask(token) for _ in range(10)} == {200}
    revoke(file, "carol")
    time.sleep(1)
    assert {deployed.ask(token) for _ in range(10)} == {401}


def test_the_health_check_of_the_container(deployed, monkeypatch):
    monkeypatch.setenv("EVERYGRAM_PORT", deployed.port)
    monkeypatch.setenv("EVERYGRAM_TLS_CERTIFICATE", "c.pem")
    assert runpy.run_path(str(DEPLOY / "health.py"))["main"]() == 0


def test_a_reload_takes_what_is_new_and_leaves_what_was_if_that_is_wrong(deployed):
    alice = deployed.tokens["alice"]
    assert (deployed.ask(alice, "first"), deployed.ask(alice, "second")) == (200, 404)
    config = deployed.folder / "c.toml"
    config.write_text(FILE.format(rate="slow", alias="second"))
    os.kill(deployed.process.pid, signal.SIGHUP)
    deployed.wait(lambda: "rate_per_key: expected a rate like" in deployed.said.read_text())
    assert (deployed.ask(alice, "first"), deployed.ask(alice, "second")) == (200, 404)
    config.write_text(FILE.format(rate="20/hour", alias="second"))
    os.kill(deployed.process.pid, signal.SIGHUP)
    statuses = []

    def changed():
        statuses.append(deployed.ask(alice))
        return (deployed.ask(alice, "first"), deployed.ask(alice, "second")) == (404, 200)

    deployed.wait(changed)
    assert {*statuses} == {200}  # no request is lost


def test_the_log_has_names_of_keys_and_no_keys_nor_queries(deployed):
    deployed.ask(deployed.tokens["alice"])
    said = deployed.said.read_text()
    assert "eg_" not in said
    assert "natural" not in said
    logged = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert {each["key"] for each in logged} >= {"alice", "bob"}


def test_sigterm_ends_it_well(deployed):
    deployed.process.terminate()
    assert deployed.process.wait(timeout=15) == 0
