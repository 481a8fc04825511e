"""How a query or a batch of them is answered, whatever they ask.

Endpoints are declared with FastAPI, which describes them in `/docs`; `server.answering` calls them.
They are given the index that is asked and the checked body, and give the answers one after another,
as JSON values: the results' `as_dict()`.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Body, Depends, Request
from fastapi import Path as PathParameter

from everygram.errors import EverygramError
from everygram.index import Index
from everygram.server import limits
from everygram.server.models.base import Batch, Problem, Q
from everygram.server.problems import Refusal
from everygram.server.settings import Settings

A = TypeVar("A")


class Long(Exception):
    """A query that was to be answered at once takes longer than that."""


class Asked:
    """An index that is asked: `name` as in the path, and the `settings` that limit queries.

    tokens: those of the queries so far. echo: False if no answer is to have its query's tokens.
    at_once: whether to raise Long where an answer takes more than a millisecond or two.
    """

    __slots__ = ("at_once", "echo", "index", "name", "settings", "tokens")

    def __init__(self, name: str, index: Index, settings: Settings, at_once: bool = False) -> None:
        self.name, self.index, self.settings, self.at_once = name, index, settings, at_once
        self.tokens = 0
        self.echo = True

    def ids(self, query: str | list[int], raw: bool = False, name: str = "query") -> list[int]:
        """The ids of a query, encoded if it is a text; `name`: of its field.

        Raises Refusal for one that is too long. (Ids are not checked: the index does that.)
        """
        most = self.settings.max_query_tokens
        ids: list[int]
        if isinstance(query, str):
            limits.check_characters(name, query, most)
            ids = self.index.encode(query, raw=raw).tolist()
        else:
            ids = query
        if len(ids) > most:
            limits.check_tokens(name, len(ids), most)
        self.tokens += len(ids)
        return ids

    def ids_of(self, batch: list[Q], name: str = "query") -> list[list[int]]:
        """`ids` of this field of each query of a batch. Errors say which query it was."""
        queries = [getattr(query, name) for query in batch]
        if set(map(type, queries)) == {list}:
            lengths = [*map(len, queries)]
            if max(lengths) <= self.settings.max_query_tokens:
                self.tokens += sum(lengths)
                return queries

        def ids(query: Any) -> list[int]:
            return self.ids(getattr(query, name), query.raw, name)

        return list(each(batch, ids))


def _asked(
    request: Request,
    name: Annotated[
        str, PathParameter(description="The index's name, as `GET /v1/indexes` lists it.")
    ],
) -> Asked:
    state = request.app.state
    return Asked(name, state.indexes.get(name), state.settings)


AskedIndex = Annotated[Asked, Depends(_asked)]


def query_router() -> APIRouter:
    """A router for queries to one index; its description lists the refusals."""
    return APIRouter(
        prefix="/v1/indexes/{name}",
        tags=["queries"],
        responses={
            400: {"model": Problem, "description": "The body is not JSON."},
            401: {"model": Problem, "description": "The service wants a key."},
            403: {"model": Problem, "description": "The key is not for this index."},
            404: {"model": Problem, "description": "No such index."},
            409: {"model": Problem, "description": "The index has changed since the `cursor`."},
            413: {"model": Problem, "description": "The body is too large."},
            415: {"model": Problem, "description": "The body is not declared as JSON."},
            422: {
                "model": Problem,
                "description": "A query that has no answer, a malformed one, or one that asks for "
                "too much.",
            },
            429: {"model": Problem, "description": "Too many requests."},
            503: {"model": Problem, "description": "The service is busy, or the index is gone."},
            504: {"model": Problem, "description": "The answer took too long."},
        },
    )


def answers(
    body: Q | Batch[Q],
    ask: Callable[[Q], dict[str, Any]],
    ask_all: Callable[[list[Q]], Iterable[dict[str, Any]]] | None = None,
) -> Iterator[dict[str, Any]]:
    """The answer to one query, or those to a batch, which `ask_all`, if given, asks together."""
    if not isinstance(body, Batch):
        yield ask(body)
    elif ask_all is not None:
        yield from ask_all(body.batch)
    else:
        yield from each(body.batch, ask)


def each(batch: Iterable[Q], make: Callable[[Q], A]) -> Iterator[A]:
    """`make` of each query of a batch; an error says which query it was."""
    for number, query in enumerate(batch):
        try:
            made = make(query)
        except EverygramError as error:
            # (The same error: some have more than their message.)
            error.args = (f"#/batch/{number}: {error}",)
            raise
        except Refusal as refusal:
            raise refusal.within(f"#/batch/{number}") from None
        yield made


def at_once(batch: list[Q], check: Callable[[Q], object], ask: Callable[[], A]) -> A:
    """What `ask` gives for a batch; where that is an error, that of the first query that `check`
    refuses, as if it were asked alone."""
    try:
        return ask()
    except EverygramError:
        for _ in each(batch, check):
            pass
        raise


def examples(**named: dict[str, Any]) -> Any:
    """Request bodies to try in `/docs`: each of these, and all of them as a batch."""
    bodies = named | {"batch": {"batch": list(named.values())}}
    return Body(
        openapi_examples={
            name: {"summary": name.replace("_", " "), "value": value}
            for name, value in bodies.items()
        }
    )
