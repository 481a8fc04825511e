"""Where a concept occurs: where any of its texts does, but for those inside longer ones.

An occurrence of a text that lies inside an occurrence of another text of the same concept is none
of the concept: of "York" and "New York", the second is one occurrence where it stands.
"""

from dataclasses import dataclass

import numpy as np

from everygram.engine.engine import Engine
from everygram.search.pattern import Pattern, folded
from everygram.search.text import NONE, Occurrences, TextSearch


@dataclass(frozen=True)
class Spans:
    """Where a concept occurs, in order: where spans begin and end, and in which documents.

    documents: int64, of all segments' documents, deleted ones included, from 0. begins, ends:
    int64: tokens of the segments one after another, each document so far from the next one that no
    window reaches over. All of shape (k,); all ascend.
    """

    documents: np.ndarray
    begins: np.ndarray
    ends: np.ndarray


@dataclass(frozen=True)
class Occurring:
    """A concept in the documents: int64, shape (d,): their numbers, ascending, and its count in
    each; and its spans, if they were wanted."""

    documents: np.ndarray
    counts: np.ndarray
    spans: Spans | None


class Finder:
    """Looks concepts up, as whole words or in any case if that is wanted."""

    def __init__(
        self, engine: Engine, texts: TextSearch, ignore_case: bool, whole_words: bool
    ) -> None:
        self._engine, self._texts = engine, texts
        self._ignore_case, self._whole_words = ignore_case, whole_words

    def different(self, texts: tuple[str, ...]) -> list[str]:
        """The texts, as they are compared, each once."""
        if self._ignore_case:
            texts = tuple("".join(map(folded, text)) for text in texts)
        return list(dict.fromkeys(texts))

    def find(self, different: list[str], window: int | None = None) -> Occurring:
        """Where a concept of these texts occurs, as `different` has them. window: with spans, that
        none of so many tokens reaches from one document to the next."""
        found = [
            self._texts.occurrences(Pattern(text, self._ignore_case), self._whole_words)
            for text in different
        ]
        if window is None and not nested(different):
            return _together(
                np.concatenate([each.documents for each in found]),
                np.concatenate([each.in_each for each in found]),
                None,
            )
        rows = outermost(found)
        spans = None if window is None else self._spans(rows, window)
        return _together(rows[:, 1], np.ones(rows.shape[0], np.int64), spans)

    def _spans(self, rows: np.ndarray, window: int) -> Spans:
        """Rows of occurrences as spans, in order."""
        documents, begins = np.empty_like(rows[:, 0]), np.empty_like(rows[:, 0])
        place = number = 0
        for index, segment in enumerate(self._engine.segments):
            of_segment = rows[:, 0] == index
            local = segment.documents_at(rows[of_segment, 2])
            documents[of_segment] = number + local
            begins[of_segment] = place + rows[of_segment, 2] + local * window
            number += segment.num_documents
            place += segment.stream_len + segment.num_documents * window
        return Spans(documents, begins, begins + rows[:, 4] + 1 - rows[:, 2])


def nested(texts: list[str]) -> bool:
    """Whether one of them is inside another."""
    if len(texts) < 2:
        return False
    return any(a is not b and a in b for a in texts for b in texts)


def outermost(found: list[Occurrences]) -> np.ndarray:
    """The rows of all occurrences that lie in no other, in order: int64, shape (k, 6)."""
    rows = np.concatenate([each.rows() for each in found])
    width = int(rows[:, [3, 5]].max(initial=0)) + 1
    begins, ends = rows[:, 2] * width + rows[:, 3], rows[:, 4] * width + rows[:, 5]
    order = np.lexsort((-ends, begins, rows[:, 0]))
    rows, ends = rows[order], ends[order]
    kept = np.ones(rows.shape[0], np.bool_)
    for number in np.unique(rows[:, 0]).tolist():
        of_segment = np.flatnonzero(rows[:, 0] == number)
        farthest = np.maximum.accumulate(ends[of_segment])
        kept[of_segment[1:]] = ends[of_segment[1:]] > farthest[:-1]
    return rows[kept]


def _together(documents: np.ndarray, counts: np.ndarray, spans: Spans | None) -> Occurring:
    """Documents that may be there several times, each once, with the sum of their counts."""
    if not documents.shape[0]:
        return Occurring(NONE, NONE, spans)
    order = np.argsort(documents, kind="stable")
    documents, counts = documents[order], counts[order]
    firsts = np.flatnonzero(np.append(True, documents[1:] != documents[:-1]))
    return Occurring(documents[firsts], np.add.reduceat(counts, firsts), spans)
