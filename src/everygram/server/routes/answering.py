"""How a query or a batch of them is answered, whatever they ask.

A single query goes to `Index`' method of its name, and a batch to the batch method; both answer
with the results' `as_dict()`.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import APIRouter, Body

from everygram.errors import EverygramError
from everygram.server.models.base import Batch, Problem, Q

A = TypeVar("A")


def query_router() -> APIRouter:
    """A router for queries to one index; its description lists the refusals."""
    return APIRouter(
        prefix="/v1/indexes/{name}",
        tags=["queries"],
        responses={
            400: {"model": Problem, "description": "The body is not JSON."},
            404: {"model": Problem, "description": "No such index."},
            415: {"model": Problem, "description": "The body is not declared as JSON."},
            422: {
                "model": Problem,
                "description": "A query that has no answer, or a malformed one.",
            },
        },
    )


def answer(
    body: Q | Batch[Q],
    ask: Callable[[Q], dict[str, Any]],
    ask_all: Callable[[list[Q]], list[dict[str, Any]]] | None = None,
) -> dict[str, Any]:
    """The answer to one query, or those to a batch, which `ask_all`, if given, asks together."""
    if not isinstance(body, Batch):
        return ask(body)
    return {"results": ask_all(body.batch) if ask_all else each(body.batch, ask)}


def each(batch: list[Q], make: Callable[[Q], A]) -> list[A]:
    """`make` of each query of a batch; an error says which query it was."""
    made = []
    for number, query in enumerate(batch):
        try:
            made.append(make(query))
        except EverygramError as error:
            # (The same error: some have more than their message.)
            error.args = (f"#/batch/{number}: {error}",)
            raise
    return made


def examples(**named: dict[str, Any]) -> Any:
    """Request bodies to try in `/docs`: each of these, and all of them as a batch."""
    bodies = named | {"batch": {"batch": list(named.values())}}
    return Body(
        openapi_examples={
            name: {"summary": name.replace("_", " "), "value": value}
            for name, value in bodies.items()
        }
    )
