"""What is asked of a service: requests, the same for both clients, and queries as JSON values."""

import inspect
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

import numpy as np

from everygram.arguments import as_integer, short
from everygram.encoding import Reading
from everygram.errors import QueryError

R = TypeVar("R")
A = TypeVar("A")
P = ParamSpec("P")
Answer = dict[str, Any]

# Queries of a batch that go as one JSON body, unless the service takes fewer; more go as lines,
# which a service takes any number of. Queries, and bytes, of a body of
# lines: a batch of more is several requests, each answered before the next is made.
WHOLE, LINES, BYTES = 1_000, 10_000, 1 << 20
# What a page lists where all is wanted, if the service lists so much.
PAGE = 1_000
JSON, NDJSON = "application/json", "application/x-ndjson"


@dataclass(frozen=True)
class Post:
    """One HTTP request.

    content: the body; file: or the file that is it. repeatable: whether it may be sent again if it
    is not known whether the service got it. first: of a batch, the place of its first query.
    """

    method: str
    path: str
    content: bytes | None = None
    kind: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Sequence[tuple[str, str]] = ()
    repeatable: bool = True
    file: Path | None = None
    first: int | None = None


@dataclass(frozen=True)
class Request(Generic[R]):
    """A query or a batch of them, and what makes the result of the answers.

    operation: the last part of the path. parse: of all answers, in order, and how ids are read.
    batch: whether there may be several. following: of the last answer, the query after it, for
    pages; None if there is none. group: the most queries that go together. page: the service's
    setting that bounds the queries' `limit`, where they have none: it becomes that of a page.
    defaults: options' values in JSON that are not sent, as the service has the same ones: it
    lowers those that are over its limits, and refuses what is sent.
    """

    operation: str
    queries: Sequence[Answer]
    parse: Callable[[list[Answer], Reading], R]
    batch: bool = False
    following: Callable[[Answer], Answer | None] | None = None
    group: int = LINES
    page: str | None = None
    defaults: Mapping[str, bytes] = field(default_factory=dict)

    def post(self, index: str, query: Answer) -> Post:
        """The HTTP request for one query, by the index's path."""
        return Post("POST", f"{index}/{self.operation}", self._body(query))

    def posts(self, index: str, whole: int = WHOLE) -> Iterator[Post]:
        """The HTTP requests for the queries, by the index's path.

        whole: the most queries that go as one JSON body.
        """
        path = f"{index}/{self.operation}"
        if not self.batch:
            for query in self.queries:
                yield self.post(index, query)
            return
        lines: list[bytes] = []
        size, first = 0, 0
        for query in self.queries:
            line = self._body(query)
            if lines and (len(lines) >= self.group or size + len(line) > BYTES):
                yield _together(path, lines, first, whole)
                first += len(lines)
                lines, size = [], 0
            lines.append(line)
            size += len(line) + 1
        if lines:
            yield _together(path, lines, first, whole)

    def _body(self, query: Answer) -> bytes:
        usual = self.defaults.items()
        same = {name for name, value in usual if name in query and dumped(query[name]) == value}
        return dumped({name: value for name, value in query.items() if name not in same})


def _together(path: str, lines: list[bytes], first: int, whole: int) -> Post:
    if len(lines) > whole:
        return Post("POST", path, b"\n".join(lines) + b"\n", NDJSON, first=first)
    return Post("POST", path, b'{"batch":[' + b",".join(lines) + b"]}", first=first)


def built(
    build: Callable[Concatenate[A, P], Request[R]], asks: A, /, *args: P.args, **kwargs: P.kwargs
) -> Request[R]:
    """The request that a method of `Questions` or `ModelQuestions` builds; its options' defaults
    are the service's, too."""
    return replace(build(asks, *args, **kwargs), defaults=defaults_of(build))


@cache
def defaults_of(build: Callable[..., Any]) -> dict[str, bytes]:
    """The defaults of a method's options (what is given by name alone), in JSON."""
    return {
        name: dumped(parameter.default)
        for name, parameter in inspect.signature(build).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }


def dumped(value: Any) -> bytes:
    """JSON. Raises QueryError for what it cannot say."""
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False, default=_plain).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise QueryError(f"a query cannot be sent to a service: {error}") from None


def _plain(value: Any) -> Any:
    """numpy's and others' numbers and arrays as JSON values."""
    if hasattr(value, "tolist"):
        return value.tolist()
    whole = as_integer(value)
    if whole is not None:
        return whole
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"found {short(value)}")


def sent(query: Any, name: str = "query") -> Any:
    """A query as JSON values: a string, or a list of ids. Raises QueryError."""
    if isinstance(query, str):
        return query
    expected = f"{name}: expected a text or token ids, found"
    if query is None or isinstance(query, Mapping | set | frozenset | bytes | bytearray):
        raise QueryError(f"{expected} {short(query)}")
    if type(query) is list and {*map(type, query)} <= {int}:
        return query
    # Arrays of numpy, torch, pandas and Arrow.
    for method in ("tolist", "to_list", "to_pylist"):
        if hasattr(query, method):
            if np.ma.isMaskedArray(query) or str(getattr(query, "dtype", "")).endswith("bool"):
                raise QueryError(f"{expected} {short(query)}")
            query = getattr(query, method)()
            break
    if not isinstance(query, Sequence):
        raise QueryError(f"{expected} {short(query)}")
    if len(query) == 1 and isinstance(query[0], list | tuple):  # of shape (1, m)
        query = query[0]
    ids = [as_integer(each) for each in query]
    if None in ids:
        raise QueryError(f"{expected} {short(query)}")
    return ids


def sent_batch(batch: Any, offsets: Any = None) -> list[Any]:
    """A batch as a list of queries, as JSON values. Raises QueryError."""
    if isinstance(batch, str | bytes | bytearray):
        found = "one string" if isinstance(batch, str) else short(batch)
        raise QueryError(f"a batch: expected a list of queries, found {found}")
    if offsets is not None:
        ids, bounds = sent(batch, "ids"), sent(offsets, "offsets")
        ordered = all(a <= b for a, b in pairwise(bounds))
        if not bounds or bounds[0] != 0 or bounds[-1] != len(ids) or not ordered:
            raise QueryError(
                f"offsets: expected numbers from 0 up to {len(ids):,}, found {short(offsets)}"
            )
        return [ids[a:b] for a, b in pairwise(bounds)]
    if getattr(batch, "ndim", None) == 1 and not is_of_objects(batch):
        raise QueryError(
            "a batch: expected a list of queries, found one array of ids; give its offsets, "
            "too, or wrap it in a list"
        )
    try:
        listed = list(batch)
    except TypeError:
        raise QueryError(f"a batch: expected a list of queries, found {short(batch)}") from None
    return [sent(query, f"query {place}") for place, query in enumerate(listed)]


def is_of_objects(array: Any) -> bool:
    """Whether an array is one of Python objects, which may be queries."""
    return bool(getattr(array, "dtype", None) == np.dtype(object))


def without_defaults(**options: Any) -> Answer:
    """Options that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def finite(value: float) -> float | None:
    """JSON has no infinity: null stands for it."""
    return None if isinstance(value, float) and math.isinf(value) else value
