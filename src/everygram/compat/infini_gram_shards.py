"""infini-gram's shards, ranks and pointers, over the segments of an index.

A shard is a segment of documents (one that only says which were deleted is none). A rank is a place
in its suffix array; a pointer is the byte at which a token stands in its token file, where each
document's separator is a token, too. In: an engine, and numbers that are in range. Out:
occurrences, pointers, and documents in infini-gram's fields. Knows nothing of requests.
"""

import random
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

from everygram.engine.engine import Engine
from everygram.index.documents import choice
from everygram.search.evaluate import DOCUMENT, ExpressionSearch
from everygram.search.expression import from_cnf
from everygram.search.text import TextSearch
from everygram.storage import format as fmt
from everygram.storage.segment import Segment

# Clauses (all of them), each of terms (any of them), each of token ids.
Cnf = list[list[list[int]]]

MAX_DIFF_TOKENS, MAXNUM, MAX_DISP_LEN = 100, 1, 1_000
# Occurrences that are drawn at first for each document that is wanted, and at least at last.
DRAWN_FOR_EACH, DRAWN = 10, 10_000


class Place(NamedTuple):
    """A place in a document.

    number: the document's, in the whole index. offset: in its tokens, −1 for the separator before
    them. segment, local: where its tokens are; None, 0 if it was deleted.
    """

    number: int
    offset: int
    segment: Segment | None
    local: int


class Shards:
    """The shards of an index, and what ranks, pointers and documents' numbers lead to."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        # Bytes of a token.
        self.width = engine.vocabulary.dtype.itemsize
        signs = [segment.entry.sign for segment in engine.segments]
        self._places = np.flatnonzero(np.array(signs, np.int64) > 0)
        self.segments = [engine.segments[place] for place in self._places.tolist()]

    def __len__(self) -> int:
        return len(self.segments)

    def intervals(self, found: np.ndarray) -> list[tuple[int, int]]:
        """The interval of ranks in each shard. found: as `Engine.find_batch` gives for a query."""
        return [(lo, hi) for lo, hi in found[self._places].tolist()]

    def shards_of(self, segments: np.ndarray) -> np.ndarray:
        """The shards of segments, by number: int64, same shape."""
        return np.searchsorted(self._places, segments)

    def at_ranks(self, shards: Sequence[int], ranks: Sequence[int]) -> list[Place]:
        """The places at which the suffixes of these ranks start."""
        which, wanted = np.array(shards, np.int64), np.array(ranks, np.int64)
        positions = np.empty(wanted.shape[0], np.int64)
        for shard in np.unique(which).tolist():
            of_shard = which == shard
            positions[of_shard] = self.segments[shard].positions_of(wanted[of_shard])
        return self._at(which, positions)

    def at_pointers(self, shards: Sequence[int], pointers: Sequence[int]) -> list[Place]:
        """The places of tokens."""
        return self._at(np.array(shards, np.int64), np.array(pointers, np.int64) // self.width)

    def _at(self, shards: np.ndarray, positions: np.ndarray) -> list[Place]:
        documents, offsets = self.engine.documents_at(self._places[shards], positions)
        return self.places(documents, offsets)

    def places(self, documents: np.ndarray, offsets: np.ndarray) -> list[Place]:
        """Places by the documents' numbers. Numbers that no document has are of deleted ones."""
        shards, local = self._local(documents)
        shards[self.engine.deleted(documents)] = -1
        rows = zip(
            documents.tolist(), offsets.tolist(), shards.tolist(), local.tolist(), strict=True
        )
        return [
            Place(number, offset, None if shard < 0 else self.segments[shard], max(0, place))
            for number, offset, shard, place in rows
        ]

    def pointers(self, documents: np.ndarray, offsets: np.ndarray) -> list[list[int]]:
        """For each shard the pointers of tokens of documents that are not deleted."""
        shards, local = self._local(documents)
        pointers = []
        for shard, segment in enumerate(self.segments):
            chosen = np.flatnonzero(shards == shard)
            starts = segment.document_offsets[local[chosen]].astype(np.int64) + 1
            pointers.append(((starts + offsets[chosen]) * self.width).tolist())
        return pointers

    def _local(self, documents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The shards of documents and their numbers in these, −1 for none: int64, twice."""
        shards, local = np.full((2, documents.shape[0]), -1, np.int64)
        for shard, segment in enumerate(self.segments):
            found = segment.local_of(documents)
            shards[found >= 0] = shard
            local[found >= 0] = found[found >= 0]
        return shards, local

    def unigrams(self, shard: int) -> tuple[np.ndarray, np.ndarray]:
        """The tokens of a shard, separators too, and how often each occurs in documents that are
        not deleted: int64, twice."""
        segment = self.segments[shard]
        ids, known = segment.unigrams_counted()
        counts = known.copy()
        numbers = segment.numbers_of(np.arange(segment.num_documents))
        for local in np.flatnonzero(self.engine.deleted(numbers)).tolist():
            start, end = segment.document_bounds(local)
            tokens, times = np.unique(segment.text(start - 1, end), return_counts=True)
            counts[np.searchsorted(ids, tokens)] -= times
        return ids, counts

    def drawn(self, ids: Sequence[int], most: int) -> tuple[int, list[int], list[Place]]:
        """How often ids occur, and an occurrence in each of at most so many documents.

        The occurrences are drawn, the same ones each time; as many documents are found as 10,000 of
        them are in, or 10 for each document. Second come their numbers among all occurrences.
        """
        engine = self.engine
        intervals = engine.find_batch(engine.vocabulary.query(ids))
        count = int(engine.counts_of(intervals)[0])
        chosen: dict[int, tuple[int, int]] = {}
        few = DRAWN_FOR_EACH * most
        # Few documents may have most of the occurrences: then more of these are drawn.
        for sample in sorted({few, max(few, DRAWN)}):
            numbers = choice(0, None, sample, 0)(count)
            segments, _, positions = engine.locate(intervals[0], numbers)
            documents, offsets = engine.documents_at(segments, positions)
            rows = list(zip(numbers.tolist(), documents.tolist(), offsets.tolist(), strict=True))
            # (In the order of ranks the first ones would be of the first continuations alone.)
            random.Random(0).shuffle(rows)
            for number, document, offset in rows:
                if len(chosen) < most:
                    chosen.setdefault(document, (number, offset))
            if len(chosen) == most or sample >= count:
                break
        places = self.places(
            np.array([*chosen], np.int64),
            np.array([offset for _, offset in chosen.values()], np.int64),
        )
        return count, [number for number, _ in chosen.values()], places

    def matches(
        self, cnf: Cnf, within: int, most: int | None
    ) -> tuple[int, np.ndarray, np.ndarray]:
        """How often clauses match, and the matches in the first documents (None: in all): document
        numbers and offsets in their tokens, ascending; int64, twice.

        Of one clause the occurrences of its terms match; of several, the smallest windows of at
        most `within` tokens that have a match of each. Raises QueryError.
        """
        searched = ExpressionSearch(self.engine, TextSearch(self.engine, _no_text), _no_text)
        found = searched.evaluate(from_cnf(cnf), DOCUMENT if len(cnf) == 1 else within)
        rows = found.rows(found.documents[:most])
        if found.windows is None:
            return found.occurrence_count, rows.documents, rows.tokens[:, 0]
        return found.occurrence_count, rows.windows[:, 0], rows.windows[:, 1]

    def first_matches(self, cnf: Cnf, within: int, most: int) -> tuple[int, list[int], list[Place]]:
        """As `drawn`, of clauses: the first matches of the first documents."""
        count, documents, offsets = self.matches(cnf, within, most)
        # (The number of a document's first match: so many are in those before it.)
        _, first = np.unique(documents, return_index=True)
        return count, first.tolist(), self.places(documents[first], offsets[first])


def _no_text(*_: object) -> NoReturn:
    raise AssertionError("terms are token ids: there is no text to encode or to look for")


def document_of(place: Place, before: int, after: int) -> dict[str, Any]:
    """The document of a place, with so many tokens before the place and from it on.

    `metadata` is the line of JSON that the index has, with its end; empty, if it has none at all.
    Of a deleted document only the number is said. Raises DamagedIndexError.
    """
    number, offset, segment, local = place
    length, needle, metadata = 0, 0, ""
    shown: list[int] = []
    if segment is not None:
        start, end = segment.document_bounds(local)
        length, begin = end - start, max(0, offset - before)
        stop = max(begin, min(length, offset + after))
        # (A separator is before the first token that is shown.)
        needle = max(0, offset - begin)
        shown = segment.text(start + begin, start + stop).tolist()
        metadata = _metadata(segment, local)
    return {
        "doc_ix": number,
        "doc_len": length,
        "disp_len": len(shown),
        "needle_offset": needle,
        "metadata": metadata,
        "token_ids": shown,
        "blocked": segment is None,
    }


def _metadata(segment: Segment, local: int) -> str:
    if not segment.metadata_offsets.shape[0]:  # (infini-gram's files may be without)
        return ""
    try:
        return segment.metadata_json(local).decode().rstrip("\n") + "\n"
    except UnicodeDecodeError as error:
        raise segment.damaged(fmt.METADATA, f"not UTF-8: {error}") from None


def around(max_disp_len: int) -> tuple[int, int]:
    """How many tokens are shown before a place and from it on, of at most so many."""
    # (Of an odd number, the place has the token more.)
    return max_disp_len // 2, (max_disp_len + 1) // 2
