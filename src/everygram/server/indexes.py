"""The indexes a service has: opened, followed while writers change them, found by name.

In: folders. Out: `Index` objects under their folders' names. Knows nothing of queries.
"""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request
from fastapi import Path as PathParameter

from everygram import arguments
from everygram.errors import EverygramError, FormatError, OptionError
from everygram.index import Index
from everygram.index.union import UnionIndex

logger = logging.getLogger("uvicorn.error")
# How often the service looks whether an index has changed.
FOLLOW_SECONDS = 1.0


def open_all(
    paths: Sequence[Path],
    preload: str | Sequence[str],
    verify: bool,
    union: str | None = None,
) -> dict[str, Index]:
    """The indexes in these folders, by their folders' names; last, under `union`, all as one.

    Raises FormatError, OptionError, and as `open`.
    """
    if not paths:
        raise FormatError("no index to serve: expected at least one folder")
    indexes: dict[str, Index] = {}
    for given in paths:
        path = arguments.path("index", given).resolve()
        if path.name in indexes:
            raise FormatError(
                f"index '{path}': there is one of that name already, '{indexes[path.name].path}'; "
                "indexes are served under their folder's name: rename one"
            )
        index = Index(path, preload=preload, verify=verify)
        # Loaded now, so that a tokenizer that cannot be stops the service and not a query.
        _ = index.tokenizer
        indexes[path.name] = index
    if union is not None:
        if union in indexes or not union or "/" in union:
            why = "an index has it" if union in indexes else "it is part of the service's paths"
            raise OptionError(f"union: expected a name of its own, found '{union}': {why}")
        indexes[union] = UnionIndex.of([*indexes.values()])
    return indexes


async def follow(indexes: dict[str, Index]) -> None:
    """Serve what writers publish: requests from then on, those under way end with what they had."""
    said: dict[str, str] = {}
    while True:
        await asyncio.sleep(FOLLOW_SECONDS)
        for name, index in indexes.items():
            try:
                indexes[name] = await asyncio.to_thread(_latest, index, indexes)
                said.pop(name, None)
            except (EverygramError, OSError) as error:
                # Such as a folder that is being moved.
                if said.get(name) != str(error):
                    said[name] = str(error)
                    logger.warning("'%s' is served as it was: %s", name, error)


def _latest(index: Index, indexes: dict[str, Index]) -> Index:
    """An index as it is now. (A union is of the others as they are served, and comes last.)"""
    if isinstance(index, UnionIndex):
        return index.renewed([each for each in indexes.values() if each is not index])
    return index.latest()


def served(
    request: Request,
    name: Annotated[
        str, PathParameter(description="The index's name, as `GET /v1/indexes` lists it.")
    ],
) -> Index:
    """The index of that name, or a 404."""
    indexes: dict[str, Index] = request.app.state.indexes
    if name not in indexes:
        names = ", ".join(f"'{known}'" for known in indexes)
        raise HTTPException(404, f"index '{name}' is not served here; expected one of {names}")
    return indexes[name]


ServedIndex = Annotated[Index, Depends(served)]


def info(name: str, index: Index) -> dict[str, Any]:
    """What an index is, with the name it is served under."""
    said = index.info() | {"name": name}
    if isinstance(index, UnionIndex):
        said["indexes"] = [each["name"] for each in said["indexes"]]
    return said
