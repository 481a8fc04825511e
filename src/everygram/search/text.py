"""How often, and where, a text occurs, however tokens divide it.

`parts` says at which suffixes it may occur; here they are counted, or read and placed in documents.
"""

from collections.abc import Callable
from functools import cached_property
from itertools import pairwise

import numpy as np

from everygram.engine.covers import Spelled
from everygram.engine.engine import Engine
from everygram.errors import DamagedIndexError
from everygram.search.parts import Parts, Singles
from everygram.search.pattern import Pattern, word_table
from everygram.tokenizer.vocabulary import TokenBytes


class TextSearch:
    """Texts in the documents of an engine whose tokens spell `bytes_of`."""

    def __init__(self, engine: Engine, bytes_of: Callable[[], TokenBytes]) -> None:
        """bytes_of: gives what tokens spell, when a text is first looked for."""
        self._engine = engine
        self._bytes_of = bytes_of

    @cached_property
    def _bytes(self) -> TokenBytes:
        return self._bytes_of()

    def count(self, pattern: Pattern, whole_words: bool = False) -> int:
        """How often the text occurs, overlapping occurrences each."""
        spelled = self._spelled(pattern, whole_words)
        total = 0
        for part in self._parts(pattern):
            if part.certain and not whole_words:
                number = self._engine.total_of(part.intervals)
                total += -number if part.lost else number
            elif not part.lost:
                total += self._engine.read_on(
                    spelled, part.intervals, part.offsets, part.state, part.before
                )
        if total < 0:
            raise DamagedIndexError(
                "the index is damaged: a text occurs more often in deleted documents than in all; "
                "see 'everygram verify'"
            )
        return total

    def find(self, pattern: Pattern, whole_words: bool = False) -> np.ndarray:
        """Where it occurs: int64, shape (k, 6), in the order of segments and positions.

        A row is the segment, the number of the document, the position of the token in which it
        begins, the offset among that token's bytes, and the same two of its end. What occurs in
        deleted documents is left out.
        """
        spelled = self._spelled(pattern, whole_words)
        parts = [
            self._engine.places_of(spelled, part.intervals, part.offsets, part.state, part.before)
            for part in self._parts(pattern)
            if not part.lost
        ]
        found = [np.empty((0, 6), np.int64)]
        for number, segment in enumerate(self._engine.segments):
            rows = np.concatenate([np.empty((0, 4), np.int64), *(part[number] for part in parts)])
            rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
            documents = segment.numbers_of(segment.documents_at(rows[:, 0]))
            rows = np.column_stack([np.full_like(documents, number), documents, rows])
            found.append(rows[~self._engine.deleted(documents)])
        return np.concatenate(found)

    def placed(self, rows: np.ndarray) -> np.ndarray:
        """Rows of `find` in their documents: int64, shape (k, 7).

        A row is the number of the document, the characters, the bytes and the tokens of it at which
        the text begins and ends.
        """
        bounds = np.flatnonzero(np.any(np.diff(rows[:, :2], axis=0), axis=1)) + 1
        placed = [np.empty((0, 7), np.int64)]
        placed += [self._in_document(each) for each in np.split(rows, bounds) if each.size]
        return np.concatenate(placed)

    def _in_document(self, rows: np.ndarray) -> np.ndarray:
        """`placed` of rows of one document."""
        number, document = rows[0, :2].tolist()
        first, begin, last, end = rows[:, 2:].T
        segment = self._engine.segments[number]
        start, stop = segment.document_bounds(int(segment.documents_at(first[:1])[0]))
        ids = segment.tokens[start:stop].astype(np.int64)
        of = self._bytes
        if first.min() < start or last.max() >= stop or ids.max() >= of.order.shape[0]:
            raise DamagedIndexError(
                f"the index is damaged: a text that is found in document {document} is not in its "
                "tokens; see 'everygram verify'"
            )
        # Where each token begins in the document's bytes.
        places = np.cumsum(np.diff(of.starts)[ids]) - np.diff(of.starts)[ids] - of.dropped[ids[0]]
        spelled = [of.blob[of.starts[i] : of.starts[i + 1]].tobytes() for i in ids.tolist()]
        data = b"".join(spelled)[int(of.dropped[ids[0]]) :]
        in_bytes = np.column_stack([places[first - start] + begin, places[last - start] + end])
        # (No character goes over these places, so that the text may be decoded from one to the
        # next.)
        cuts, which = np.unique(in_bytes, return_inverse=True)
        pieces = pairwise([0, *cuts.tolist()])
        chars = np.cumsum([len(data[a:b].decode(errors="replace")) for a, b in pieces])
        tokens = np.column_stack([first - start, last - start + 1])
        documents = np.full(rows.shape[0], document)
        return np.column_stack([documents, chars[which].reshape(-1, 2), in_bytes, tokens])

    def _spelled(self, pattern: Pattern, whole_words: bool) -> Spelled:
        words = word_table() if whole_words else np.empty(0, np.uint8)
        of = self._bytes
        return Spelled(of.blob, of.starts, of.dropped, pattern.steps, pattern.targets, words)

    @cached_property
    def _singles(self) -> Singles:
        return Singles.of(self._engine, self._bytes.order.shape[0])

    def _parts(self, pattern: Pattern) -> Parts:
        return Parts(self._engine, self._bytes, self._singles, pattern)
