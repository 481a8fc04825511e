"""Addresses that fsspec reads and writes (`s3://…`, `gs://…`, `https://…`): what went wrong there.

Knows nothing of what is there.
"""

import re
import sys
from typing import TypeGuard

from everygram.errors import MissingExtraError

ADDRESS = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+://")
# Schemes whose libraries the extra installs.
EXTRA = ("http", "https", "s3", "gs", "gcs", "hf")
# Seconds to wait for a connection, and for more data of an answer. (A whole download may take
# longer.)
CONNECT, SILENCE = 15, 60


def is_address(given: object) -> TypeGuard[str]:
    """Whether that is no path here but an address that fsspec reads."""
    return isinstance(given, str) and ADDRESS.match(given) is not None


# What the status of an answer means.
STATUS = {
    401: "access is refused: it needs a login, or a signed address",
    403: "access is refused: it needs a login, or its signature is wrong or has expired",
    404: "no such file",
    407: "the proxy wants a login: give it in HTTPS_PROXY as http://user:password@host:port",
    410: "no such file any more",
    429: "too many requests: wait, then run the same command again",
}


def reason(error: BaseException) -> str:
    """What went wrong, and what to do, for an error of any library."""
    aiohttp = sys.modules.get("aiohttp")
    # fsspec raises FileNotFoundError for every error of the web; the cause is the real one.
    if isinstance(error, FileNotFoundError) and aiohttp is not None:
        cause = error.__cause__
        if isinstance(cause, aiohttp.ClientError | TimeoutError | ValueError):
            error = cause
    found = " ".join(str(error).split()) or type(error).__name__
    status = getattr(error, "status", None)
    if isinstance(status, int) and status >= 400:
        said = f"HTTP {status} {getattr(error, 'message', '')}".strip()
        if status >= 500:
            return f"the server has a fault of its own: try again later ({said})"
        return f"{STATUS.get(status, 'the server refuses it')} ({said})"
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, PermissionError):
        return f"access is refused: credentials that are allowed to read it are needed ({found})"
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT} seconds, or none for {SILENCE}: is the network up?"
    if aiohttp is not None and isinstance(error, aiohttp.ClientProxyConnectionError):
        return f"the proxy that the environment names (HTTPS_PROXY) cannot be reached: {found}"
    if aiohttp is not None and isinstance(error, aiohttp.ClientConnectorError):
        return (
            f"the server cannot be reached: {found}; is the address right, the network up, and "
            "HTTPS_PROXY set if there is a proxy?"
        )
    if isinstance(error, ValueError):
        return f"not a proper address: {found}"
    if "credentials" in found.lower():
        return (
            f"{found}: give them as its own tools take them (S3: AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or FSSPEC_S3_ANON=true if it is public)"
        )
    return f"cannot be reached or read: {found}"


def missing_extra(given: str, error: ImportError) -> MissingExtraError:
    scheme = given.partition("://")[0]
    if scheme in EXTRA or error.name == "fsspec":
        return MissingExtraError(
            f"{given}: reading {scheme}:// needs the extra: pip install 'everygram[remote]'"
        )
    return MissingExtraError(f"{given}: fsspec needs a library more for {scheme}://: {error}")
