"""The page that people look at: files of this package, as they are.

Knows nothing of indexes: the page asks the service what everyone may ask.
"""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response

from everygram.server.etags import tagged
from everygram.server.models.base import Problem
from everygram.server.models.service import Limits
from everygram.server.problems import Refusal
from everygram.server.settings import Settings

FOLDER = Path(__file__).parents[1] / "page"
KINDS = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Nothing but this service's own files and answers, and no code or style inside of pages.
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}
# Where the page's own files are, in the page itself.
STAMPED = b"page/STAMP/"

router = APIRouter()


@cache
def files() -> dict[str, bytes]:
    """The page's files by name. The page loads the others from a folder that is named for what is
    in them: a browser keeps them until there are others."""
    found = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.suffix in KINDS}
    stamp = hashlib.sha256(b"".join(found[name] for name in sorted(found))).hexdigest()[:16]
    found["index.html"] = found["index.html"].replace(STAMPED, f"page/{stamp}/".encode())
    return found


def page(request: Request) -> Response:
    """The page itself."""
    return _file(request, "index.html", "no-cache")


@router.api_route("/page/{stamp}/{name}", methods=["GET", "HEAD"], include_in_schema=False)
def file(request: Request, stamp: str, name: str) -> Response:
    """A file that the page loads."""
    if name not in files():
        raise Refusal("not-found", f"the page has no file '{name[:200]}'")
    return _file(request, name, "public, max-age=31536000, immutable")


def _file(request: Request, name: str, caching: str) -> Response:
    kind = KINDS[Path(name).suffix]
    return tagged(request, files()[name], kind, HEADERS | {"cache-control": caching})


@router.get(
    "/v1/limits",
    tags=["service"],
    summary="The limits of a request",
    response_model=Limits,
    responses={
        401: {"model": Problem, "description": "The service wants a key."},
        429: {"model": Problem, "description": "Too many requests."},
    },
)
def limits(request: Request) -> Any:
    """What a request may be, or ask for, at most: settings of the service."""
    settings: Settings = request.app.state.settings
    return {name: getattr(settings, name) for name in Limits.model_fields}
