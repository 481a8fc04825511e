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
from everygram.search.tokenizations import Sequences, most_frequent
from everygram.storage import format as fmt
from everygram.tokenizer.vocabulary import TokenBytes

NONE = np.empty(0, np.int64)


class Occurrences:
    """Where a text occurs, in the order of segments and positions. Held in 8 bytes for each.

    documents, in_each: int64, shape (d,): the numbers of those in which it occurs, of each segment
    ascending, and how often in each.
    """

    def __init__(self, engine: Engine, spelled: Spelled, places: list[np.ndarray]) -> None:
        """places: as `engine.places_of` has them, in any order; they are sorted."""
        self._engine, self._spelled, self._places = engine, spelled, places
        documents, in_each = [NONE], [NONE]
        for number, of_segment in enumerate(places):
            of_segment.sort()
            self._places[number], numbers, counts = self._alive(number, of_segment)
            documents.append(numbers)
            in_each.append(counts)
        self.documents, self.in_each = np.concatenate(documents), np.concatenate(in_each)

    @property
    def document_count(self) -> int:
        """In how many documents."""
        return int(self.documents.shape[0])

    def __len__(self) -> int:
        return sum(of_segment.shape[0] for of_segment in self._places)

    def _alive(self, number: int, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The places that are not in deleted documents, the numbers of their documents, and how
        many are in each."""
        segment = self._engine.segments[number]
        offsets = segment.document_offsets
        if places.shape[0] < offsets.shape[0]:
            local = segment.documents_at(places >> self._spelled.bits)
            firsts = np.flatnonzero(np.append(True, local[1:] != local[:-1]))[: local.shape[0]]
            documents, counts = local[firsts], np.diff(firsts, append=local.shape[0])
        else:
            begins = offsets.astype(np.int64) << self._spelled.bits
            counts = np.diff(np.searchsorted(places, begins), append=places.shape[0])
            documents = np.flatnonzero(counts)
            counts = counts[documents]
        if counts.min(initial=1) < 0 or counts.sum() != places.shape[0]:
            raise segment.damaged(fmt.DOCUMENT_OFFSETS, "offsets that do not ascend from 0")
        numbers = segment.numbers_of(documents)
        gone = self._engine.deleted(numbers)
        if gone.any():
            places = places[np.repeat(~gone, counts)]
        return places, numbers[~gone], counts[~gone]

    def rows(self, which: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Those of these numbers (int64, any order): int64, shape (k, 6).

        A row is the segment, the number of the document, the position of the token in which the
        text begins, the offset among that token's bytes, and the same two of its end. Raises
        DamagedIndexError.
        """
        which = np.arange(len(self))[which]
        made = np.empty((which.shape[0], 6), np.int64)
        first = 0
        for number, places in enumerate(self._places):
            those = (which >= first) & (which < first + places.shape[0])
            rows = self._engine.ends_of(number, self._spelled, places[which[those] - first])
            segment = self._engine.segments[number]
            documents = segment.numbers_of(segment.documents_at(rows[:, 0]))
            made[those] = np.column_stack([np.full_like(documents, number), documents, rows])
            first += places.shape[0]
        return made


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
        spelled = self.spelled(pattern, whole_words)
        total = 0
        for part in self.parts(pattern, spelled):
            if part.certain:
                number = self._engine.total_of(part.intervals)
                total += -number if part.lost else number
            elif not part.lost:
                read = part.intervals, part.offsets, part.state, part.before
                total += int(self._engine.read_on(spelled, *read).sum())
        if total < 0:
            raise DamagedIndexError(
                "the index is damaged: a text occurs more often in deleted documents than in all; "
                "see 'everygram verify'"
            )
        return total

    def occurrences(self, pattern: Pattern, whole_words: bool = False) -> "Occurrences":
        """Where it occurs. What occurs in deleted documents is left out."""
        spelled = self.spelled(pattern, whole_words)
        engine, dropped = self._engine, self._bytes.dropped.any()
        parts = [
            engine.places_of(
                spelled,
                part.intervals,
                part.offsets,
                part.state,
                part.before,
                part.certain and not dropped,
            )
            for part in self.parts(pattern, spelled)
            if not part.lost
        ]
        every = [np.concatenate([NONE, *of_segment]) for of_segment in zip(*parts, strict=True)]
        return Occurrences(engine, spelled, every)

    def find(self, pattern: Pattern, whole_words: bool = False) -> np.ndarray:
        """The rows of all its `occurrences`."""
        return self.occurrences(pattern, whole_words).rows()

    def tokenizations(
        self, pattern: Pattern, whole_words: bool = False, limit: int | None = None
    ) -> Sequences:
        """The sequences of tokens that it is written with, the most frequent first.

        The counts of all are together what `count` gives. limit: how many are listed at most.
        """
        spelled = self.spelled(pattern, whole_words)
        return most_frequent(self._engine, spelled, self.parts(pattern, spelled), limit)

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
        of, after = self._bytes, int(last.max()) + 1
        ids = segment.text(start, after).astype(np.int64)
        if first.min() < start or after > stop or ids.max() >= of.order.shape[0]:
            raise DamagedIndexError(
                f"the index is damaged: a text that is found in document {document} is not in its "
                "tokens; see 'everygram verify'"
            )
        # The document's bytes up to there, and where each token begins in them.
        lengths = np.diff(of.starts)[ids]
        places = np.cumsum(lengths) - lengths
        data = of.blob[np.repeat(of.starts[ids] - places, lengths) + np.arange(lengths.sum())]
        lost = of.lost(ids)
        data = data[lost:].tobytes()
        places -= lost
        in_bytes = np.column_stack([places[first - start] + begin, places[last - start] + end])
        # (No character goes over these places, so that the text may be decoded from one to the
        # next.)
        cuts, which = np.unique(in_bytes, return_inverse=True)
        pieces = pairwise([0, *cuts.tolist()])
        chars = np.cumsum([len(data[a:b].decode(errors="replace")) for a, b in pieces])
        tokens = np.column_stack([first - start, last - start + 1])
        documents = np.full(rows.shape[0], document)
        return np.column_stack([documents, chars[which].reshape(-1, 2), in_bytes, tokens])

    def spelled(self, pattern: Pattern, whole_words: bool) -> Spelled:
        """A text and the bytes of tokens, as kernels take them."""
        words = word_table() if whole_words else np.empty(0, np.uint8)
        of = self._bytes
        return Spelled(
            of.blob, of.starts, of.dropped, of.vanishes, pattern.steps, pattern.targets, words
        )

    @cached_property
    def _singles(self) -> Singles:
        return Singles.of(self._engine, self._bytes)

    def parts(self, pattern: Pattern, spelled: Spelled) -> Parts:
        """At which suffixes it may occur."""
        return Parts(self._engine, self._bytes, self._singles, pattern, spelled.words)
