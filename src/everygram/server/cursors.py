"""Cursors: where the next page of a query's occurrences starts.

A cursor names the index as it was, the question and a place, so that pages never mix two states of
an index, or two questions.
"""

import base64
import hashlib
import json
from typing import Any

from everygram.errors import CursorError, QueryError
from everygram.server.models.base import Request
from everygram.server.problems import SHOWN

# Fields that may change from page to page.
OF_PAGES = frozenset({"cursor", "offset", "limit", "context", "seed", "sample", "echo"})


def start(query: Any, version: str) -> int:
    """How many occurrences a page skips; query: one with `cursor`, `offset` and `sample`.

    Raises CursorError for a cursor of another state of the index, QueryError for one of another
    question and for what is no cursor.
    """
    if query.cursor is None:
        return int(query.offset)
    if query.offset or query.sample is not None:
        raise QueryError("cursor: goes with limit, not with offset or sample")
    try:
        padded = query.cursor + "=" * (-len(query.cursor) % 4)
        of_version, question, place = json.loads(base64.b64decode(padded, "-_", validate=True))
        if type(of_version) is not str or type(place) is not int or place < 0:
            raise ValueError
    except (ValueError, TypeError, RecursionError):
        raise QueryError(
            f"cursor: expected that of an earlier answer, found '{query.cursor[:SHOWN]}'"
        ) from None
    if of_version != version:
        raise CursorError(
            "cursor: the index has changed since it was given, or it is of another index; start "
            "again from the first page"
        )
    if question != _key(query):
        raise QueryError(
            "cursor: it was given for another question; expected the same but for limit and context"
        )
    return place


def following(query: Any, version: str, end: int, listed: int, count: int) -> str | None:
    """The cursor of the page after one that ends after `end` of `count` occurrences; None if it is
    the last, or a sample, or lists nothing."""
    if query.sample is not None or not listed or end >= count:
        return None
    packed = json.dumps([version, _key(query), end], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def _key(query: Request) -> str:
    """A short name of the question."""
    asked = query.model_dump(exclude=set(OF_PAGES))
    said = json.dumps([type(query).__name__, asked], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:16]
