"""Requests of their kinds: for one query, for a batch, for what is listed in pages."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from everygram.arguments import integer, natural
from everygram.client.asking import Answer, Request, without_defaults
from everygram.encoding import Reading
from everygram.errors import QueryError

R = TypeVar("R")
# Distributions, and texts that are asked about at length, that go together.
FEW = 64
# The lists of pages, and the service's setting that bounds each.
PAGED = {"occurrences": "max_occurrences", "hits": "max_documents"}


def one(
    operation: str, query: Answer, make: Callable[[Answer, Reading], R], **more: Any
) -> Request[R]:
    """A request for one query."""
    return Request(operation, [query], lambda found, reading: make(found[0], reading), **more)


def many(
    operation: str,
    queries: list[Answer],
    make: Callable[[list[Answer], Reading], R],
    **more: Any,
) -> Request[R]:
    """A request for a batch."""
    return Request(operation, queries, make, batch=True, **more)


def each_of(make: Callable[[Answer, Reading], R], found: list[Answer], reading: Reading) -> list[R]:
    """The results of a batch, one by one."""
    return [make(answer, reading) for answer in found]


def with_ids(
    make: Callable[[list[Answer], Reading], R],
    given: list[list[int]],
    found: list[Answer],
    reading: Reading,
) -> R:
    """The result of a batch of ids that were not sent back."""
    pairs = zip(given, found, strict=True)
    return make([answer | {"token_ids": ids} for ids, answer in pairs], reading)


def choice(
    offset: int, limit: int | None, sample: int | None, seed: int, context: int | None
) -> Answer:
    """Which occurrences are listed, as a query says it."""
    chosen = {"seed": seed, "offset": natural("offset", offset, error=QueryError)}
    return chosen | without_defaults(limit=limit, sample=sample, context=context)


def numbered(
    numbers: Sequence[int], index: int | Sequence[int] | None, context: int | None
) -> list[Answer]:
    """Documents by their numbers, as queries."""
    if isinstance(numbers, str | bytes) or not hasattr(numbers, "__len__"):
        raise QueryError(f"documents: expected a list of numbers, found {numbers!r}")
    whose = [index] * len(numbers) if index is None or isinstance(index, int) else [*index]
    if len(whose) != len(numbers):
        raise QueryError(
            f"index: expected a place, or one for each of {len(numbers):,} documents, "
            f"found {len(whose):,}"
        )
    return [
        without_defaults(number=integer("number", number, QueryError), index=place)
        | without_defaults(context=context)
        for number, place in zip(numbers, whose, strict=True)
    ]


def paged(
    operation: str,
    asked: Answer,
    limit: int | None,
    sample: int | None,
    listed: str,
    make: Callable[[Answer, Reading], R],
) -> Request[R]:
    """A request for what is listed in pages: without a limit, page after page."""
    if limit is not None or sample is not None:
        return one(operation, asked, make)

    def following(found: Answer) -> Answer | None:
        if found["cursor"] is None:
            return None
        return asked | {"cursor": found["cursor"]} | ({"offset": 0} if "offset" in asked else {})

    def together(found: list[Answer], reading: Reading) -> R:
        items = [item for each in found for item in each[listed]]
        return make(found[0] | {listed: items, "cursor": None}, reading)

    return Request(operation, [asked], together, following=following, page=PAGED[listed])
