"""An index that functions of curation are given: open, or by its path."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from everygram import arguments
from everygram.index import Index
from everygram.opening import open as open_index

Given = Index | str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@contextmanager
def opened(index: Given) -> Iterator[Index]:
    """An open index as it is; or the one at a path, or at several as one, open meanwhile."""
    if isinstance(index, Index):
        yield index
        return
    if isinstance(index, list | tuple):
        paths = [arguments.path(f"index[{place}]", each) for place, each in enumerate(index)]
        one = open_index(paths)
    else:
        one = open_index(arguments.path("index", index))
    with one:
        yield one
