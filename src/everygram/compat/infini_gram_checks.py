"""Checks arguments of the methods of infini-gram's engine, which answer `{"error": …}`.

In: values of any type. Out: the same values, or Wrong, which `answered` makes an answer. The
messages are infini-gram's own.
"""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from everygram.compat.infini_gram_shards import Cnf, Shards
from everygram.errors import QueryError

Error = dict[str, str]
P = ParamSpec("P")
T = TypeVar("T")


class Wrong(Exception):
    """An argument that is none. Its message is what the method answers."""


def answered(method: Callable[P, T]) -> Callable[P, T | Error]:
    """A method that answers `{"error": message}` where it raises Wrong, or QueryError: clauses may
    be such as no search takes."""

    @functools.wraps(method)
    def ask(*args: P.args, **kwargs: P.kwargs) -> T | Error:
        try:
            return method(*args, **kwargs)
        except (Wrong, QueryError) as wrong:
            return {"error": str(wrong)}

    return ask


def is_integer(value: object, least: int, most: int | None = None) -> bool:
    """Whether a value is a Python integer from `least` to `most`."""
    return type(value) is int and least <= value and (most is None or value <= most)


def positive(name: str, value: Any, default: int | None = None) -> int:
    """A positive integer; the default for None, if there is one."""
    if value is None and default is not None:
        return default
    if not is_integer(value, 1):
        raise Wrong(f"{name} must be a positive integer")
    number: int = value
    return number


def natural(name: str, value: Any) -> int:
    """An integer that is not negative."""
    if not is_integer(value, 0):
        raise Wrong(f"{name} must be a non-negative integer")
    number: int = value
    return number


def are_ids(ids: object, most: int) -> bool:
    """Whether a value is a list of Python integers from 0 to `most`."""
    if type(ids) is not list:
        return False
    return not ids or ({*map(type, ids)} == {int} and min(ids) >= 0 and max(ids) <= most)


def are_clauses(cnf: object, most: int) -> bool:
    """Whether a value is a triply nested list of ids, in which no list is empty."""
    return (
        type(cnf) is list
        and bool(cnf)
        and all(
            type(clause) is list
            and bool(clause)
            and all(are_ids(term, most) and bool(term) for term in clause)
            for clause in cnf
        )
    )


def ids_in(name: str, ids: Any, most: int, which: str = "") -> list[int]:
    """A list of ids. which: what the message says of the list."""
    if not are_ids(ids, most):
        raise Wrong(f"{name} must be a {which}list of integers in range [0, {most}]")
    checked: list[int] = ids
    return checked


def clauses_in(cnf: Any, most: int) -> Cnf:
    """Clauses of terms of ids."""
    if not are_clauses(cnf, most):
        raise Wrong(f"cnf must be a non-empty, triply-nested list of integers in range [0, {most}]")
    checked: Cnf = cnf
    return checked


def listed(name: str, values: Any, what: str) -> list[Any]:
    """A list, or a tuple. what: it is of, for the message."""
    if not isinstance(values, list | tuple):
        raise Wrong(f"{name} must be a list of {what}")
    return list(values)


def rows_in(name: str, rows: Any, what: str, size: int) -> list[tuple[Any, ...]]:
    """A list of rows of so many values."""
    found = listed(name, rows, what)
    if any(not isinstance(row, list | tuple) or len(row) != size for row in found):
        raise Wrong(f"{name} must be a list of {what}")
    return [tuple(row) for row in found]


def shard_in(shards: Shards, shard: Any) -> int:
    """A shard."""
    if not is_integer(shard, 0, len(shards) - 1):
        raise Wrong(f"s must be an integer in range [0, {len(shards)})")
    number: int = shard
    return number


def check_rank(shards: Shards, shard: Any, rank: Any) -> None:
    """Raise Wrong unless a shard has this rank."""
    size = shards.segments[shard_in(shards, shard)].stream_len
    if not is_integer(rank, 0, size - 1):
        raise Wrong(f"ptr must be an integer in range [0, {size})")  # (as it is said there)


def check_pointer(shards: Shards, shard: Any, pointer: Any) -> None:
    """Raise Wrong unless a token of a shard is at this pointer."""
    size = shards.segments[shard_in(shards, shard)].stream_len * shards.width
    if not is_integer(pointer, 0, size - 1) or pointer % shards.width:
        integer = {1: "integer", 2: "even integer"}.get(shards.width)
        said = f"an {integer}" if integer else f"a multiple of {shards.width}"
        raise Wrong(f"ptr must be {said} in range [0, {size})")


def check_document(shards: Shards, number: Any) -> None:
    """Raise Wrong unless there is, or was, a document of this number."""
    count = shards.engine.next_document
    if not is_integer(number, 0, count - 1):
        raise Wrong(f"doc_ix must be an integer in range [0, {count})")
