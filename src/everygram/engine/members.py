"""The indexes of a union: which documents are whose."""

from dataclasses import dataclass

import numpy as np

from everygram.arguments import natural, short
from everygram.errors import QueryError


@dataclass(frozen=True)
class Members:
    """Indexes that are asked as one; the numbers of their documents follow one another.

    names: what they are called. sizes: how many numbers each has, of deleted documents too.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]

    @property
    def label(self) -> str:
        """All of them, for messages."""
        return " + ".join(self.names)

    @property
    def bases(self) -> np.ndarray:
        """What is added to the numbers of each: int64."""
        return np.cumsum([0, *self.sizes[:-1]])

    def divided(self, documents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whose documents these are (places in `names`), and their numbers there: int64 each."""
        bases = self.bases
        # (An empty index has no document: of equal bases the last is meant.)
        indexes = np.searchsorted(bases, documents, "right") - 1
        return indexes, documents - bases[indexes]

    def called(self, number: int) -> str:
        """A document of this number in the union, for messages."""
        (index,), (own,) = (each.tolist() for each in self.divided(np.array([number])))
        return f"document {own} of index '{self.names[index]}'"

    def number(self, number: int, index: int | None) -> int:
        """The number in the union of a document of one of the indexes. Raises QueryError."""
        if isinstance(number, bool) or not isinstance(number, int | np.integer):
            raise QueryError(f"document: expected a number, found {short(number)}")
        number = int(number)
        if index is None and len(self.names) == 1:
            index = 0
        if index is None:
            raise QueryError(
                f"document {short(number)}: expected its index, too, 0 to {len(self.names) - 1}: "
                "in a union of indexes each has numbers of its own"
            )
        place = natural("index", index, error=QueryError)
        if place >= len(self.names):
            raise QueryError(
                f"index {short(index)}: expected 0 to {len(self.names) - 1}, the place of an index "
                "in the union"
            )
        size = self.sizes[place]
        if not 0 <= number < size:
            numbers = f"0 to {size - 1}" if size else "none: it is empty"
            raise QueryError(
                f"document {short(number)}: index {place}, '{self.names[place]}', has {numbers}"
            )
        return int(self.bases[place]) + number
