"""Hosts, origins, scopes of requests, and what whoever starts a service is warned of."""

import subprocess

import pytest

from everygram.errors import OptionError
from everygram.server import access
from everygram.server.keys import add
from everygram.server.settings import Settings


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/health", None),
        ("GET", "/health/live", None),
        ("GET", "/docs", None),
        ("GET", "/docs.js", None),
        ("GET", "/swagger-ui/swagger-ui.css", None),
        ("GET", "/openapi.json", None),
        ("GET", "/metrics", "read"),
        ("GET", "/", "read"),
        ("POST", "/", "read"),
        ("POST", "/pile/attribution", "read"),
        ("GET", "/v1/indexes", "read"),
        ("GET", "/v1/indexes/pile", "read"),
        ("GET", "/v1/indexes/pile/tokenizer", "read"),
        ("GET", "/v1/indexes/pile/documents/3", "read"),
        ("HEAD", "/v1/indexes/pile/documents/3", "read"),
        ("POST", "/v1/indexes/pile/count", "read"),
        ("POST", "/v1/indexes/pile/documents", "write"),
        ("POST", "/v1/indexes/pile/documents/", "write"),
        ("DELETE", "/v1/indexes/pile/documents", "write"),
        ("POST", "/v1/indexes/pile/compact", "write"),
        ("GET", "/v1/indexes/pile/jobs", "write"),
        ("GET", "/v1/indexes/pile/jobs/7", "write"),
        ("DELETE", "/v1/indexes/pile/jobs/7", "write"),
        ("POST", "/v1/indexes//documents", "write"),
        ("POST", "/v1/indexes/pile/documents/delete", "write"),
        ("OPTIONS", "/v1/indexes/pile/documents", None),
        ("GET", "/healthy", "read"),
        ("GET", "/docsx", "read"),
        ("GET", "/docs/x", "read"),
        ("GET", "/swagger-uix", "read"),
        ("GET", "/openapi.json/x", "read"),
        ("GET", "/nothing", "read"),
    ],
)
def test_what_a_request_needs(method, path, scope):
    assert access.needs(method, path) == scope
    assert access.is_open(path) == (scope is None and method != "OPTIONS")


@pytest.mark.parametrize(
    ("allowed", "header", "served"),
    [
        ((), "anything", True),
        ((), "", True),
        (("lab.org",), "lab.org", True),
        (("Lab.org",), "LAB.ORG:8000", True),
        (("lab.org",), "lab.org.", True),
        (("lab.org",), "lab.org.:443", True),
        (("lab.org",), "xlab.org", False),
        (("lab.org",), "a.lab.org", False),
        (("lab.org",), "lab.org.evil.org", False),
        (("lab.org",), "lab.org@evil.org", False),
        (("lab.org",), "evil.org:lab.org", False),
        (("lab.org",), "", False),
        (("*.lab.org",), "a.lab.org", True),
        (("*.lab.org",), "a.b.lab.org:1", True),
        (("*.lab.org",), "lab.org", False),
        (("*.lab.org",), ".lab.org", False),
        (("*.lab.org",), "evillab.org", False),
        (("*",), "anything", True),
        (("[::1]", "127.0.0.1"), "[::1]:8000", True),
        (("[::1]", "127.0.0.1"), "127.0.0.1:8000", True),
        (("[::1]", "127.0.0.1"), "[::2]:8000", False),
    ],
)
def test_which_hosts_are_served(allowed, header, served):
    assert access.host_allowed(header, Settings(allowed_hosts=allowed)) == served


LAB = "https://lab.org"
ASKS = {"access-control-request-method": "POST"}


@pytest.mark.parametrize(
    ("origins", "method", "origin", "more", "preflight", "allowed"),
    [
        ((), "POST", LAB, {}, False, None),
        ((), "OPTIONS", LAB, ASKS, False, None),
        ((LAB,), "POST", LAB, {}, False, LAB),
        ((LAB,), "OPTIONS", LAB, ASKS, True, LAB),
        ((LAB,), "OPTIONS", LAB, {}, False, LAB),
        ((LAB,), "POST", "https://evil.org", {}, False, None),
        ((LAB,), "OPTIONS", "https://evil.org", ASKS, True, None),
        ((LAB,), "POST", "http://lab.org", {}, False, None),
        ((LAB,), "POST", "https://lab.org:8443", {}, False, None),
        ((LAB,), "POST", "https://lab.org.evil.org", {}, False, None),
        ((LAB,), "POST", "null", {}, False, None),
        ((LAB, "http://localhost:3000"), "POST", "http://localhost:3000", {}, False,
         "http://localhost:3000"),
        (("*",), "POST", "https://evil.org", {}, False, "*"),
        (("*",), "OPTIONS", "null", ASKS, True, "*"),
    ],
)  # fmt: skip
def test_what_pages_of_other_origins_may_do(origins, method, origin, more, preflight, allowed):
    found = access.cors(
        method, origin, lambda name: more.get(name, ""), Settings(cors_origins=origins)
    )
    headers = dict(found.headers)
    assert len(headers) == len(found.headers)
    assert found.preflight == preflight
    assert headers.get("access-control-allow-origin") == allowed
    assert ("access-control-allow-methods" in headers) == (preflight and allowed is not None)
    # Never with what a browser would send by itself, such as cookies.
    assert "access-control-allow-credentials" not in headers
    # A cache must tell origins apart, unless all get the same.
    assert (headers.get("vary") == "origin") == (origins not in ((), ("*",)))


def test_a_page_may_send_what_clients_do_and_see_what_they_need():
    asked = access.cors("OPTIONS", LAB, lambda name: "POST", Settings(cors_origins=[LAB]))
    said = dict(asked.headers)
    for name in ("authorization", "content-type", "idempotency-key"):
        assert name in said["access-control-allow-headers"].split(", ")
    for method in ("GET", "POST", "DELETE"):
        assert method in said["access-control-allow-methods"].split(", ")
    answered = access.cors("POST", LAB, lambda name: "", Settings(cors_origins=[LAB]))
    assert "x-request-id" in dict(answered.headers)["access-control-expose-headers"]


@pytest.fixture
def tls(tmp_path):
    """Files of a certificate and its key."""
    files = {"tls_certificate": tmp_path / "c.pem", "tls_key": tmp_path / "k.pem"}
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-subj", "/CN=localhost", "-out", files["tls_certificate"],
         "-keyout", files["tls_key"]],
        capture_output=True,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return files


@pytest.mark.parametrize(
    ("host", "scopes", "secure", "says"),
    [
        ("127.0.0.1", None, False, None),
        ("127.3.2.1", None, False, None),
        ("localhost", None, False, None),
        ("::1", None, False, None),
        ("127.0.0.1", {"a": ["write"]}, False, None),
        ("0.0.0.0", None, False, "whoever reaches '0.0.0.0' may read what is served: pass --keys"),
        ("::", None, False, "whoever reaches '::' may read"),
        ("lab.org", None, True, "whoever reaches 'lab.org' may read"),
        ("0.0.0.0", {"a": ["read"]}, False, "keys go to '0.0.0.0' in clear"),
        ("0.0.0.0", {"a": ["read", "write"]}, False, "keys that may write go to '0.0.0.0' in cl"),
        ("0.0.0.0", {"a": ["read", "write"]}, True, None),
    ],
)
def test_what_is_warned_of(tmp_path, tls, host, scopes, secure, says):
    given = {"indexes": {"a": tmp_path}, "host": host}
    if scopes is not None:
        add(tmp_path / "k.json", "alice", scopes)
        given["keys"] = tmp_path / "k.json"
    found = access.checked(Settings(**given, **(tls if secure else {})))
    if says is None:
        assert found == []
    else:
        (warning,) = found
        assert warning.startswith(says)


def test_a_file_of_keys_that_others_may_read_is_warned_of(tmp_path):
    add(tmp_path / "k.json", "alice", {"*": ["read"]})
    (tmp_path / "k.json").chmod(0o644)
    (warning,) = access.checked(Settings(indexes={"a": "x"}, keys=tmp_path / "k.json"))
    assert "chmod 600" in warning


def test_what_cannot_be_served(tmp_path, tls):
    with pytest.raises(OptionError, match="indexes: expected one at least, found none"):
        access.checked(Settings())
    with pytest.raises(OptionError, match=r"keys: '.*no' is not there"):
        access.checked(Settings(indexes={"a": "x"}, keys=tmp_path / "no"))
    one = tls["tls_key"]
    for certificate, key, why in (
        (one, one, "PEM"),
        (tmp_path / "no", one, "No such file"),
        (tmp_path, one, ""),
    ):
        with pytest.raises(OptionError, match=rf"tls_certificate, tls_key: expected .*{why}"):
            access.checked(Settings(indexes={"a": "x"}, tls_certificate=certificate, tls_key=key))


def test_a_password_is_not_asked_for(tmp_path, tls):
    locked = tmp_path / "locked.pem"
    made = subprocess.run(
        ["openssl", "pkcs8", "-topk8", "-in", tls["tls_key"], "-out", locked,
         "-passout", "pass:secret"],
        capture_output=True,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    with pytest.raises(OptionError, match="tls_key: expected a key without a password"):
        access.checked(Settings(indexes={"a": "x"}, **tls | {"tls_key": locked}))
