"""An index that functions of curation are given: open, or by its path."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from everygram.index import Index
from everygram.index import open as open_index

Given = Index | str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@contextmanager
def opened(index: Given) -> Iterator[Index]:
    """An open index as it is; or the one at a path, or at several as one, open meanwhile."""
    if isinstance(index, Index):
        yield index
        return
    with open_index(index) as found:
        yield found
