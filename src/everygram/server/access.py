"""Who may ask what: hosts, origins of pages in browsers, scopes of keys, and what to warn of.

In: parts of a request's head, and settings. Out: whether it is allowed, and headers to answer with.
Knows nothing of bodies, and keeps no state.
"""

import ipaddress
import re
import ssl
from collections.abc import Callable
from typing import Literal, NamedTuple

from everygram.errors import OptionError
from everygram.server.keys import Keys
from everygram.server.settings import Settings

# Pages that answer without a key: what a probe asks, and the manual, which names no index.
OPEN = re.compile(r"/(health(/.*)?|docs(\.js)?|swagger-ui/.*|page/.*|openapi\.json)")
# Where the files are that the page loads.
PAGE_FILES = "/page/"
# (Deeper parts of a path are documents' numbers and jobs' ids.)
JOBS = re.compile(r"/v1/indexes/[^/]*/jobs(/.*)?")
WRITING = re.compile(r"/v1/indexes/[^/]*/(documents(/delete)?|compact)/?")

METHODS = "GET, HEAD, POST, DELETE"
REQUEST_HEADERS = "authorization, content-type, idempotency-key, if-none-match, x-request-id"
ANSWER_HEADERS = "etag, location, retry-after, x-request-id"
# For how long a browser need not ask again, in seconds.
PREFLIGHT_SECONDS = 600


class Cors(NamedTuple):
    """What a browser is told. preflight: the request asks only that, and 204 is all its answer."""

    preflight: bool
    headers: list[tuple[str, str]]


def is_open(path: str, accept: str = "") -> bool:
    """Whether a page answers without a key. accept: the header of that name."""
    return OPEN.fullmatch(path) is not None or (path == "/" and wants_page(accept))


def wants_page(accept: str) -> bool:
    """Whether who asks for / is a browser, which shows a page, and not a program."""
    return "text/html" in accept


def needs(method: str, path: str) -> Literal["read", "write"] | None:
    """The scope that a request needs for its index; None: none.

    Jobs are their writers' business: those who may only read do not see them.
    """
    if is_open(path) or method == "OPTIONS":
        return None
    if JOBS.fullmatch(path):
        return "write"
    # (`POST documents` adds documents, `POST documents/search` would read some.)
    return "write" if method in ("POST", "DELETE") and WRITING.fullmatch(path) else "read"


def host_allowed(header: str, settings: Settings) -> bool:
    """Whether a Host header names a host that is served: any, if none is set.

    `*.lab.org` is each host below lab.org, and not lab.org.
    """
    return not settings.allowed_hosts or any(
        _matches(_host(header), allowed.lower()) for allowed in settings.allowed_hosts
    )


def _host(header: str) -> str:
    """A Host header's host: without the port, and without the last dot of a full name."""
    host = re.sub(r":[0-9]*$", "", header.strip().lower())
    return host[:-1] if host.endswith(".") else host


def _matches(host: str, allowed: str) -> bool:
    if allowed.startswith("*."):
        return host.endswith(allowed[1:]) and len(host) > len(allowed) - 1
    return allowed in ("*", host)


def cors(method: str, origin: str, header: Callable[[str], str], settings: Settings) -> Cors:
    """What the page of this origin may do, as the answer's headers: nothing, unless it is allowed.

    header: a request's header by its name, or an empty string.
    """
    preflight = method == "OPTIONS" and header("access-control-request-method") != ""
    if not settings.cors_origins:
        return Cors(False, [])
    if "*" in settings.cors_origins:
        headers = [("access-control-allow-origin", "*")]
    else:
        # (A cache must not give one origin what another was told.)
        headers = [("vary", "origin")]
        if origin.lower() not in (each.lower() for each in settings.cors_origins):
            return Cors(preflight, headers)
        headers.append(("access-control-allow-origin", origin))
    if preflight:
        headers += [
            ("access-control-allow-methods", METHODS),
            ("access-control-allow-headers", REQUEST_HEADERS),
            ("access-control-max-age", str(PREFLIGHT_SECONDS)),
        ]
    else:
        headers.append(("access-control-expose-headers", ANSWER_HEADERS))
    return Cors(preflight, headers)


def checked(settings: Settings) -> list[str]:
    """What whoever starts a service should know, a line each.

    Raises OptionError if nothing is to be served, for files of keys or TLS that are of no use, and
    for a cluster that does not answer; MissingExtraError without Ray.
    """
    if not settings.indexes:
        raise OptionError(
            "indexes: expected one at least, found none; give a folder: everygram serve PATH"
        )
    if settings.ray is not None:
        from everygram.distributed.cluster import check_reachable

        if settings.unions:
            raise OptionError("unions: not with ray; compact the indexes into one")
        check_reachable(settings.ray)
    keys = None if settings.keys is None else Keys.load(settings.keys)
    if settings.tls_certificate is not None:
        _check_tls(settings)
    found = [] if _is_loopback(settings.host) else _in_the_open(settings, keys)
    exposed = keys.exposed() if keys is not None else None
    return [*found, exposed] if exposed else found


def _in_the_open(settings: Settings, keys: Keys | None) -> list[str]:
    """What to warn of where others than this machine's users can ask."""
    if keys is None:
        return [
            f"whoever reaches '{settings.host}' may read what is served: pass --keys, or "
            "--host 127.0.0.1"
        ]
    if settings.tls_certificate is not None:
        return []
    writing = any("write" in scopes for key in keys for scopes in key.scopes.values())
    return [
        f"keys{' that may write' if writing else ''} go to '{settings.host}' in clear: pass "
        "--tls-certificate and --tls-key, or have a proxy do TLS"
    ]


def _check_tls(settings: Settings) -> None:
    def no_password() -> str:
        raise OptionError(f"tls_key: expected a key without a password, found '{key}'")

    certificate, key = settings.tls_certificate, settings.tls_key
    assert certificate is not None
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key, no_password)
    except OSError as error:  # ssl's errors are such, too
        raise OptionError(
            "tls_certificate, tls_key: expected PEM files of a certificate and its key, found "
            f"'{certificate}' and '{key}': {error.strerror or error}"
        ) from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
