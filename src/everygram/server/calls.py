"""What a worker asks of a runner, and what it gets: bytes in, bytes out."""

from typing import NamedTuple


class Call(NamedTuple):
    """A query, or several, as a client sent them.

    operation: the last part of the path. name: the index's, as in the path. lines: if the body is
    NDJSON, the number of its first line, from 1; else 0. request_id: what problems have.
    """

    operation: str
    name: str
    body: bytes
    lines: int = 0
    request_id: str = ""


class Answer(NamedTuple):
    """A response. headers: beside those every response has; content-type, unless it is JSON.

    tokens: those of the queries, to be counted. kind: a problem's.
    """

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    tokens: int = 0
    kind: str = ""
