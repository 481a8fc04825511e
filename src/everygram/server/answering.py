"""How the body of a request becomes an answer: read, checked, asked, and written.

In: a `Call`. Out: an `Answer`, also of what is refused or fails. Ordinary blocking code, which a
runner calls, or a worker for what `quick` says is short. Knows the endpoints; knows nothing of
sockets, processes and keys.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_type_hints

import jiter
from fastapi.params import Body
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError

from everygram.compat.infini_gram_web import index_named
from everygram.server import limits, problems
from everygram.server.bodies import answer_too_large, read, written
from everygram.server.calls import Answer, Call
from everygram.server.indexes import Indexes
from everygram.server.models.base import Batch, Request
from everygram.server.problems import Refusal
from everygram.server.routes import (
    attribution,
    compat,
    documents,
    drafts,
    encoding,
    language,
    ngrams,
    search,
    strings,
    texts,
)
from everygram.server.routes.answering import Asked, Long, each
from everygram.server.settings import Settings

# Endpoints for queries, by family.
ROUTERS = tuple(
    routes.router
    for routes in (
        ngrams,
        texts,
        attribution,
        strings,
        documents,
        search,
        language,
        drafts,
        encoding,
    )
)
# Operations whose queries are short: one alone takes less than it takes to hand it to another
# process, and many are best asked together.
SHORT = frozenset({"count", "prob", "ntd", "infgram_prob", "infgram_ntd"})
# Bytes of a body whose query is short.
SHORT_BODY = 4 << 10
NDJSON = (("content-type", "application/x-ndjson"),)


@dataclass(frozen=True)
class Operation:
    """An endpoint: `ask` gives an answer per query; `one` and `many` are the types of its bodies,
    `body` and `query` check them."""

    ask: Callable[[Asked, Any], Iterator[dict[str, Any]]]
    one: type[Request]
    many: type[Batch[Any]]
    body: TypeAdapter[Any]
    query: TypeAdapter[Any]

    @classmethod
    def of(cls, route: APIRoute) -> "Operation":
        """The operation that a route is declared for."""
        declared = get_type_hints(route.endpoint, include_extras=True)["body"]
        union, *marks = get_args(declared)
        body: Any = Annotated[(union, *(mark for mark in marks if not isinstance(mark, Body)))]
        one, many = get_args(get_type_hints(route.endpoint)["body"])
        return cls(route.endpoint, one, many, TypeAdapter(body), TypeAdapter(one))


OPERATIONS: dict[str, Operation] = {
    route.name: Operation.of(route)
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute)
}
INFINI_GRAM = "infini-gram"
# Other services' ways of asking, which have bodies and answers of their own.
SPECIAL: dict[str, Callable[[Call, Indexes, Settings], Answer]] = {
    INFINI_GRAM: compat.infini_gram,
    "olmotrace": compat.olmotrace,
}


def quick(call: Call) -> bool:
    """Whether a call looks as if it is answered in less time than it takes to hand it to another
    process; `answer_at_once` sees."""
    may_be = call.operation in SHORT or call.operation == INFINI_GRAM
    return may_be and not call.lines and len(call.body) <= SHORT_BODY


def index_in(body: bytes) -> str:
    """The index that a body of infini-gram's API names; empty, where it names none."""
    try:
        return index_named(jiter.from_json(body, catch_duplicate_keys=True))
    except ValueError:
        return ""


def as_json(status: int, value: dict[str, Any]) -> Answer:
    """An answer of JSON values."""
    return Answer(status, written(value))


def refused_lines(call: Call, refusal: Refusal) -> bytes:
    """The answers to the lines of a call that is refused: a line each."""
    problem = problems.as_dict(refusal, call.request_id)
    return b"".join(
        written({"line": number, "problem": problem}) + b"\n" for number, _ in _lines_of(call)
    )


def answer(call: Call, served: Indexes, settings: Settings) -> Answer:
    """The answer to a call; a problem, if it is refused or fails."""
    try:
        if (special := SPECIAL.get(call.operation)) is not None:
            return special(call, served, settings)
        operation = _operation(call)
        asked = Asked(call.name, served.get(call.name), settings)
        if call.lines:
            return _lines(call, operation, asked, served)
        return _whole(call.body, operation, asked)
    except Exception as error:
        return problems.as_answer(problems.refusal_of(error, served.items()), call.request_id)


def answer_at_once(call: Call, served: Indexes, settings: Settings) -> Answer | None:
    """The answer to a call that is `quick`; None if it takes longer than that looks."""
    try:
        if call.operation == INFINI_GRAM:
            return compat.infini_gram(call, served, settings, at_once=True)
        asked = Asked(call.name, served.get(call.name), settings, at_once=True)
        return _whole(call.body, _operation(call), asked)
    except Long:
        return None
    except Exception as error:
        return problems.as_answer(problems.refusal_of(error, served.items()), call.request_id)


def _operation(call: Call) -> Operation:
    if call.operation not in OPERATIONS:
        raise Refusal("not-found", f"there is no query '{call.operation}'; see /docs")
    return OPERATIONS[call.operation]


def _whole(content: bytes, operation: Operation, asked: Asked) -> Answer:
    """The answer to a query or a batch."""
    settings = asked.settings
    value = read(content, settings.max_json_depth)
    limits.check_batch(value, settings.max_batch)
    if operation.ask is ngrams.count and not asked.at_once:
        counts = ngrams.bare_counts(asked, value)
        if counts is not None:
            body = written({"results": [{"count": count} for count in counts]})
            return _ended(body, asked)
    body = _checked(operation.body, value, operation)
    batch = body.batch if isinstance(body, Batch) else None
    if batch is not None and asked.at_once:
        raise Long
    if limits.limits_of(operation.one):
        if batch is None:
            limits.check_query(body, settings)
        else:
            for _ in each(batch, lambda query: limits.check_query(query, settings)):
                pass
    if batch is not None:
        asked.echo = getattr(body, "echo", True)
    parts, size = [], 0
    for found in operation.ask(asked, body):
        parts.append(written(found))
        size += len(parts[-1]) + 1
        if size > settings.max_answer_bytes:
            raise answer_too_large(settings.max_answer_bytes)
    if batch is None:
        return _ended(parts[0], asked)
    return _ended(b'{"results":[' + b",".join(parts) + b"]}", asked)


def _ended(body: bytes, asked: Asked) -> Answer:
    """An answer, with the index's version at its end."""
    body = body[:-1] + _version(asked)
    if len(body) > asked.settings.max_answer_bytes:
        raise answer_too_large(asked.settings.max_answer_bytes)
    return Answer(200, body, tokens=asked.tokens)


def _lines(call: Call, operation: Operation, asked: Asked, served: Indexes) -> Answer:
    """The answers to queries of a line each: a line each, in order; blank lines have none."""
    lines = _lines_of(call)
    version, most = _version(asked), asked.settings.max_answer_bytes
    lines_written: list[bytes] = []
    size = 0
    answered = _answered([line for _, line in lines], call.operation in SHORT, operation, asked)
    for (number, _), found in zip(lines, answered, strict=True):
        if isinstance(found, bytes):
            line = found[:-1] + version
            if size + len(line) > most:
                found = answer_too_large(most)
        if isinstance(found, Exception):
            refusal = problems.refusal_of(found, served.items())
            line = written({"line": number, "problem": problems.as_dict(refusal, call.request_id)})
        size += len(line) + 1
        lines_written.append(line + b"\n")
    return Answer(200, b"".join(lines_written), NDJSON, asked.tokens)


def _lines_of(call: Call) -> list[tuple[int, bytes]]:
    """The lines that are not blank, each with its number."""
    lines = enumerate(call.body.split(b"\n"), call.lines)
    return [(number, line) for number, line in lines if line.strip()]


def _answered(
    lines: list[bytes], at_once: bool, operation: Operation, asked: Asked
) -> Iterator[bytes | Exception]:
    """Of each line what is written as the answer, or why there is none.

    at_once: whether the queries of lines that follow one another are asked as a batch.
    """
    queries: list[Request | Exception] = []
    most = asked.settings.max_body_bytes
    for line in lines:
        try:
            if len(line) > most:
                raise problems.body_too_large(most, "line")
            value = read(line, asked.settings.max_json_depth)
            query = _checked(operation.query, value, operation)
            limits.check_query(query, asked.settings)
            queries.append(query)
        except Refusal as refusal:
            queries.append(refusal)
    for are_queries, some in itertools.groupby(queries, lambda one: isinstance(one, Request)):
        run: list[Any] = list(some)
        if not are_queries:
            yield from run
            continue
        if at_once and len(run) > 1:
            tokens = asked.tokens
            try:
                batch = operation.many.model_construct(batch=run)
                together = [written(found) for found in operation.ask(asked, batch)]
            except Exception:  # one of them is refused: below it is seen which
                asked.tokens = tokens
            else:
                yield from together
                continue
        for query in run:
            try:
                (found,) = operation.ask(asked, query)
                yield written(found)
            except Exception as error:
                yield error


def _checked(checking: TypeAdapter[Any], value: Any, operation: Operation) -> Any:
    """A body, or a query, as its model."""
    try:
        return checking.validate_python(value)
    except ValidationError as error:
        raise problems.malformed(error, operation.one) from None


def _version(asked: Asked) -> bytes:
    """How every answer ends."""
    return b',"index_version":"' + asked.index.version.encode() + b'"}'
