"""A segment that an actor holds, with the methods of one that is here."""

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from everygram.distributed.actors import Actors
from everygram.errors import QueryError
from everygram.storage import format as fmt
from everygram.storage.segment import Segment


def not_here() -> QueryError:
    """The error for what needs the files of segments in this process."""
    return QueryError(
        "this question reads the files of the index itself, and is not asked over Ray; open the "
        "index without ray"
    )


class FarSegment(Segment):
    """A segment in an actor. Offsets and numbers of documents are fetched once, when first asked
    for (8 bytes a document); all else is asked of the actor."""

    def __init__(
        self, actors: Actors, group: int, number: int, entry: fmt.SegmentEntry, dtype: str
    ) -> None:
        held = actors.groups[group].held
        self.group, self.number = group, number
        self._actors = actors
        self.folder, self.entry = held.path / entry.name, entry
        self.separator = fmt.separator_of(dtype)
        self._dtype = fmt.TOKEN_DTYPES[dtype]
        self.fence_spacing = entry.fence_spacing
        self.first_document = entry.first_document
        self.num_documents = entry.num_documents
        self.stream_len = entry.stream_len
        self._once: dict[str, Any] = {}
        self._offsets = lambda: self._kept("document_offsets")

    def ask(self, name: str, *args: Any) -> Any:
        """What the segment in the actor answers."""
        asked = (self.group, "of_segment", (self.number, name, *args))
        return self._actors.ask([asked])[0]

    def _kept(self, name: str) -> Any:
        """As `ask`, kept for later."""
        if name not in self._once:
            self._once[name] = self.ask(name)
        return self._once[name]

    @property
    def _numbers(self) -> np.ndarray | None:  # type: ignore[override]
        has = fmt.DOCUMENT_NUMBERS in self.entry.files
        return self._kept("_numbers") if has else None

    @property
    def token_dtype(self) -> np.dtype[Any]:
        """As of any segment."""
        return self._dtype

    def prepare(self, vocab_size: int, preload: Sequence[str]) -> NoReturn:
        """Raises QueryError: the files are not here."""
        raise not_here()

    def __getattr__(self, name: str) -> NoReturn:
        # (All that is a file of the segment's, as an array.)
        if name.startswith("__"):
            raise AttributeError(name)
        raise not_here()

    def disturbed(self) -> str | None:
        """As of any segment."""
        found: str | None = self.ask("disturbed")
        return found

    def unigrams_counted(self) -> tuple[np.ndarray, np.ndarray]:
        """As of any segment."""
        ids, counts = self._kept("unigrams_counted")
        return ids, counts

    def positions_of(self, ranks: np.ndarray | slice, cold: bool = False) -> np.ndarray:
        """As of any segment."""
        found: np.ndarray = self.ask("positions_of", ranks, cold)
        return found

    def text(self, start: int, end: int, cold: bool = False) -> np.ndarray:
        """As of any segment."""
        found: np.ndarray = self.ask("text", start, end, cold)
        return found

    def texts(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """As of any segment."""
        found: np.ndarray = self.ask("texts", starts, ends)
        return found

    def tokens_at(self, positions: np.ndarray) -> np.ndarray:
        """As of any segment."""
        found: np.ndarray = self.ask("tokens_at", positions)
        return found

    def metadata_json(self, local: int) -> bytes:
        """As of any segment."""
        found: bytes = self.ask("metadata_json", local)
        return found

    def metadata(self, local: int) -> dict[str, Any]:
        """As of any segment."""
        found: dict[str, Any] = self.ask("metadata", local)
        return found
