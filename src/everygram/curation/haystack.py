"""What texts are looked for in: the tokens of an index, or its words.

In: an open index. Out: an engine over tokens or words, how texts become ids of it, and the text
around what was found.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from everygram import passages
from everygram.building.segment_builder import write_documents
from everygram.building.stages import disk
from everygram.curation.sequences import Part
from everygram.curation.words import UNKNOWN, Words, places
from everygram.encoding import Reading
from everygram.engine.engine import Engine
from everygram.engine.pace import cores, spread
from everygram.errors import TokenizerError
from everygram.index import Index
from everygram.kernels import common
from everygram.storage import format as fmt
from everygram.storage.directory import new_index, publish
from everygram.tokenizer.base import encode_query

# A document's words are looked at together with those of others, up to about so many.
TOGETHER = 1 << 21
# Memory in which words are sorted.
SORTING = 1 << 30


class Haystack(ABC):
    """Documents in which texts are looked for. engine: over their ids. unit: what an id is."""

    engine: Engine
    unit: str

    @abstractmethod
    def parts(self, texts: Sequence[str], whole: bool = False) -> list[Part]:
        """Texts as ids of the engine. whole: they are looked for as documents, not inside some."""

    @property
    @abstractmethod
    def source(self) -> Engine:
        """The engine of the index itself."""

    @abstractmethod
    def numbers(self, documents: np.ndarray) -> np.ndarray:
        """The documents in `source` that documents of the engine are."""

    @abstractmethod
    def passage(self, document: int, begin: int, end: int, context: int) -> passages.Parts | None:
        """What is around ids [begin, end) of a document of the engine; None without a tokenizer."""


class Tokens(Haystack):
    """The documents of an index as they are."""

    unit = "tokens"

    def __init__(self, index: Index) -> None:
        self.engine, _, self._reading, _, _ = index._state

    def parts(self, texts: Sequence[str], whole: bool = False) -> list[Part]:
        tokenizer = self._reading.tokenizer
        if tokenizer is None:
            raise TokenizerError(
                f"index '{self._reading.path}' has no tokenizer{self._reading.why_none}: texts "
                "cannot be looked for in it"
            )
        first = tokenizer.encode_batch(texts)
        if whole:
            return [Part(ids) for ids in first]
        # At its start a text may be spelled otherwise than inside a document, behind a space.
        if tokenizer.edits_start:
            first = [encode_query(tokenizer, text, raw=True) for text in texts]
            inside = [encode_query(tokenizer, text) for text in texts]
        else:
            prefix = tokenizer.query_prefix
            inside = tokenizer.encode_batch(
                [text if text[:1].isspace() else prefix + text for text in texts]
            )
        return [
            Part(ids, None if np.array_equal(ids, other) else other)
            for ids, other in zip(first, inside, strict=True)
        ]

    @property
    def source(self) -> Engine:
        return self.engine

    def numbers(self, documents: np.ndarray) -> np.ndarray:
        return documents

    def passage(self, document: int, begin: int, end: int, context: int) -> passages.Parts | None:
        if not self._reading.has_tokenizer:
            return None
        ids, _ = self.engine.document_found(document)
        return passages.of_tokens(self._reading, ids, begin, end, context)


class WordsOf(Haystack):
    """The documents of an index as words, or what of these texts can have in common with them."""

    unit = "words"

    def __init__(self, index: Index, made: Index, words: Words, numbers: np.ndarray) -> None:
        """made: an index of words. numbers: of its documents, those in the index."""
        self.engine = made.engine
        self._of, self._words, self._numbers = index, words, numbers
        self._reading: Reading = index._state.reading

    def parts(self, texts: Sequence[str], whole: bool = False) -> list[Part]:
        return [Part(self._words.of(text)) for text in texts]

    @property
    def source(self) -> Engine:
        return self._of.engine

    def numbers(self, documents: np.ndarray) -> np.ndarray:
        numbers: np.ndarray = self._numbers[documents]
        return numbers

    def passage(self, document: int, begin: int, end: int, context: int) -> passages.Parts | None:
        wanted = self.engine.document_found(document)[0][begin:end]
        ids, _ = self._of.engine.document_found(int(self._numbers[document]))
        text = self._reading.decode(ids[:])
        found = self._words.of(text)
        # (Here may be fewer words than in the document; the first place that has them is shown.)
        windows = np.lib.stride_tricks.sliding_window_view(found, wanted.shape[0])
        first = int((windows == wanted).all(axis=1).argmax())
        at = places(text)
        start, stop = at[first][0], at[first + wanted.shape[0] - 1][1]
        before = at[max(0, first - context)][0]
        after = at[min(len(at), first + wanted.shape[0] + context) - 1][1]
        return text[before:start], text[start:stop], text[stop:after]


def texts_of(index: Index) -> Iterator[tuple[int, str]]:
    """The documents of an index as texts, with their numbers in its engine."""
    engine, _, reading, _, _ = index._state
    if not reading.has_tokenizer:
        raise TokenizerError(
            f"index '{reading.path}' has no tokenizer{reading.why_none}: its documents are no "
            "words; compare tokens, without normalize"
        )
    for number, ids, _ in engine.documents():
        yield number, reading.decode(ids)


class Grams:
    """N-grams of sequences of ids, against which others are held."""

    def __init__(
        self, sequences: Sequence[np.ndarray], sizes: Sequence[int], gap: int, behind: int = 0
    ) -> None:
        """sizes: the n of each. gap: an id that is in none of those that are held against them.
        behind: so many units behind an n-gram go with it."""
        self._gap, self._behind = gap, behind
        lengths = np.array([each.shape[0] for each in sequences], np.int64)
        self._units = np.concatenate([*sequences, np.empty(0, np.uint32)]).astype(np.uint32)
        begins, of_n = np.cumsum(lengths) - lengths, np.array(sizes, np.int64)
        self._tables = []
        for n in np.unique(of_n).tolist():
            starts = [
                np.arange(begin, begin + length - n + 1)
                for begin, length, size in zip(
                    begins.tolist(), lengths.tolist(), sizes, strict=True
                )
                if size == n and n
            ]
            places = np.concatenate([*starts, np.empty(0, np.int64)])
            size = 1 << max(6, int(2 * places.shape[0]).bit_length())
            slots = np.full(size, -1, np.int64)
            bits = np.zeros(size * common.FILTER // 64, np.uint64)
            common.put(self._units, places, n, slots, bits)
            self._tables.append((n, slots, bits))

    def covered(self, units: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Which units (uint32) of sequences are in one of the n-grams, or behind it: uint8, shape
        as units."""
        covered = np.zeros(units.shape[0], np.uint8)
        number = offsets.shape[0] - 1
        chunk = max(1, -(-number // (4 * cores())))

        def look(begin: int, end: int) -> None:
            some = offsets[begin : end + 1]
            for n, slots, bits in self._tables:
                of = self._units, n, slots, bits
                common.cover(units, some, self._gap, *of, self._behind, covered)

        spread(look, number, chunk)
        return covered


def suspected(grams: Grams, items: list[list[Part]]) -> tuple[list[list[Part]], list[int], int]:
    """Items with the runs of their ids that are in any of the n-grams; those that have any, by
    place; and the ids of all."""
    flat = [part.ids for parts in items for part in parts]
    offsets = np.cumsum([0, *(each.shape[0] for each in flat)], dtype=np.int64)
    units = np.concatenate([*flat, np.empty(0, np.uint32)]).astype(np.uint32)
    covered = grams.covered(units, offsets)
    # Runs end with their text.
    begins, ends = covered.copy(), covered.copy()
    begins[1:] &= ~covered[:-1] & 1
    ends[:-1] &= ~covered[1:] & 1
    firsts, lasts = offsets[:-1][np.diff(offsets) > 0], offsets[1:][np.diff(offsets) > 0] - 1
    begins[firsts], ends[lasts] = covered[firsts], covered[lasts]
    runs = np.stack([np.flatnonzero(begins), np.flatnonzero(ends) + 1], axis=1)
    bounds = np.searchsorted(runs[:, 0], offsets).tolist()
    made: list[list[Part]] = []
    looked: list[int] = []
    place = 0
    for number, parts in enumerate(items):
        some = []
        for part in parts:
            own = runs[bounds[place] : bounds[place + 1]] - offsets[place]
            if own.shape[0] and number not in looked[-1:]:
                looked.append(number)
            some.append(Part(part.ids, runs=own))
            place += 1
        made.append(some)
    return made, looked, units.shape[0]


def together(sequences: Iterable[np.ndarray], most: int = TOGETHER) -> Iterator[list[np.ndarray]]:
    """Sequences, some at a time."""
    some: list[np.ndarray] = []
    size = 0
    for each in sequences:
        some.append(each)
        size += each.shape[0] + 1
        if size >= most:
            yield some
            some, size = [], 0
    if some:
        yield some


@contextmanager
def words_of(
    index: Index,
    words: Words,
    grams: Grams | None,
    progress: Callable[[int, int], None],
    threads: int,
) -> Iterator[WordsOf]:
    """The documents of an index as words, for as long as the context lasts.

    grams: keep only what of the documents is in one of these n-grams, or goes with it, so that what
    is longer than one is found as before; words that are not known are in none. Without, everything
    is kept.
    """
    kept_numbers: list[int] = []
    numbers: list[int] = []
    total = index.engine.num_documents

    def sequences() -> Iterator[np.ndarray]:
        for done, (number, text) in enumerate(texts_of(index), 1):
            numbers.append(number)
            yield words.of(text)
            progress(done, total)

    def kept() -> Iterator[tuple[np.ndarray, bytes]]:
        for some in together(sequences()):
            of = numbers[: len(some)]
            del numbers[: len(some)]
            offsets = np.cumsum([0, *(each.shape[0] for each in some)], dtype=np.int64)
            units = np.concatenate(some)
            covered = np.ones(units.shape[0], np.bool_)
            if grams is not None:
                covered = grams.covered(units, offsets).view(np.bool_)
                # What is left out becomes one unknown word, so that nothing new stands together.
                units = np.where(covered, units, np.uint32(UNKNOWN))
            for number, begin, end in zip(
                of, offsets[:-1].tolist(), offsets[1:].tolist(), strict=True
            ):
                ids = units[begin:end]
                if grams is not None:
                    known = covered[begin:end].copy()
                    if not known.any():
                        continue
                    known[1:] |= known[:-1]
                    ids = ids[known]
                kept_numbers.append(number)
                yield ids, b"{}"

    with TemporaryDirectory(prefix="everygram-") as name:
        path = Path(name) / "words"
        with disk(Path(name).parent):
            _write(path, kept(), threads)
        if grams is None:
            words.fix()
        with Index(path) as made:
            yield WordsOf(index, made, words, np.array(kept_numbers, np.int64))


def _write(path: Path, documents: Iterator[tuple[np.ndarray, bytes]], threads: int) -> None:
    """An index of documents of words."""
    first = next(documents, None)
    entries: tuple[fmt.SegmentEntry, ...] = ()
    number = 0

    def counted() -> Iterator[tuple[np.ndarray, bytes]]:
        nonlocal number
        given = first
        while given is not None:
            number += 1
            yield given
            given = next(documents, None)

    dtype = "u32"
    with new_index(path):
        if first is not None:
            folder = path / fmt.segment_name(1)
            entries = (write_documents(folder, dtype, counted(), SORTING, threads, 1, 0, True),)
        publish(
            path,
            fmt.Manifest(
                dtype=dtype,
                separator=fmt.separator_of(dtype),
                vocab_size=fmt.separator_of(dtype),
                tokenizer=fmt.TokenizerEntry("none", "none", None, ""),
                segments=entries,
                build={},
                next_document=number,
                next_segment=2,
            ),
            None,
        )
