"""Requests of their kinds: for one query, for a batch, for what is listed in pages."""

from collections.abc import Callable
from typing import Any, TypeVar

from everygram.arguments import natural
from everygram.client.asking import Answer, Request, without_defaults
from everygram.encoding import Reading
from everygram.errors import QueryError

R = TypeVar("R")
# Distributions, and texts that are asked about at length, that go together.
FEW = 64
# Hits and occurrences of a page, where all are wanted.
PAGE = 1_000


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
    chosen: Answer = {"seed": seed, "limit": PAGE if limit is None else limit}
    chosen |= without_defaults(sample=sample, context=context)
    return chosen | {"offset": natural("offset", offset, error=QueryError)}


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
        items = [item for page in found for item in page[listed]]
        return make(found[0] | {listed: items, "cursor": None}, reading)

    return Request(operation, [asked], together, following=following)
