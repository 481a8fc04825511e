"""Answers that a client may have already: each with an ETag.

In: the content of an answer, and a request that may say what its client has. Out: the answer, or
304.
"""

import hashlib
import re
from collections.abc import Mapping

from fastapi import Request, Response


def tagged(
    request: Request,
    content: bytes,
    media_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer, unless the client has it; of HEAD, its head alone.

    headers: more of them; unless they say otherwise, caches ask each time.
    """
    etag = hashlib.sha256(content).hexdigest()[:32]
    sent = {"etag": f'"{etag}"', "cache-control": "no-cache", **(headers or {})}
    given = request.headers.get("if-none-match", "")
    if given.strip() == "*" or etag in re.findall(r'"([^"]*)"', given):
        return Response(status_code=304, headers=sent)
    if request.method == "HEAD":
        sent["content-length"] = str(len(content))
        content = b""
    return Response(content, headers=sent, media_type=media_type)
