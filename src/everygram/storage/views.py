"""Segments as a union of indexes sees them: under other numbers, or with counts to subtract.

A view maps nothing anew: it has the arrays of the segment that it is of, and keeps it alive.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from everygram.storage import format as fmt
from everygram.storage.disk import position_entries, positions_in
from everygram.storage.fences import fence_tree, keys_of, unigram_table
from everygram.storage.plain import plain
from everygram.storage.segment import Segment

# A part of a segment is made in memory, whatever it takes.
NO_LIMIT = 1 << 62


class _View(Segment):
    """A segment of any kind, all of it."""

    def __init__(self, segment: Segment) -> None:
        self.__dict__.update(segment.__dict__)
        self._of = segment

    def prepare(self, vocab_size: int, preload: Sequence[str]) -> np.ndarray:
        """As `Segment.prepare`: the segment's own row."""
        return self._of.prepare(vocab_size, preload)

    def positions_of(self, ranks: np.ndarray | slice, cold: bool = False) -> np.ndarray:
        """As `Segment.positions_of`."""
        return self._of.positions_of(ranks, cold)

    @property
    def own(self) -> Segment:
        """As `Segment.own`."""
        return self._of.own

    @property
    def token_dtype(self) -> np.dtype[Any]:
        """As `Segment.token_dtype`."""
        return self._of.token_dtype

    def text(self, start: int, end: int, cold: bool = False) -> np.ndarray:
        """As `Segment.text`."""
        return self._of.text(start, end, cold)

    def texts(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """As `Segment.texts`."""
        return self._of.texts(starts, ends)

    def tokens_at(self, positions: np.ndarray) -> np.ndarray:
        """As `Segment.tokens_at`."""
        return self._of.tokens_at(positions)


class Renumbered(_View):
    """A segment whose documents have numbers from `base` on: each its own, plus `base`."""

    def __init__(self, segment: Segment, base: int) -> None:
        # (Everything but the numbers is the segment's own.)
        super().__init__(segment)
        self._base = base
        self.first_document = segment.first_document + base

    def numbers_of(self, local: np.ndarray) -> np.ndarray:
        """As `Segment.numbers_of`."""
        return self._of.numbers_of(local) + self._base

    def local_of(self, numbers: np.ndarray) -> np.ndarray:
        """As `Segment.local_of`."""
        return self._of.local_of(numbers - self._base)

    def _metadata_of(self, local: int) -> str:
        return self._of._metadata_of(local)


class Subtracted(_View):
    """A segment that takes away documents of other segments, which have these numbers.

    numbers: int64, shape (D,), one for each of its documents, none twice.
    """

    def __init__(self, segment: Segment, numbers: np.ndarray) -> None:
        super().__init__(segment)
        self._taken, self._order = numbers, np.argsort(numbers)
        self.entry = replace(segment.entry, sign=-1)
        self.first_document = int(numbers.min())

    def prepare(self, vocab_size: int, preload: Sequence[str]) -> np.ndarray:
        """As `Segment.prepare`: the segment's row, with the other sign."""
        from everygram.kernels import rows  # loads numba

        row = super().prepare(vocab_size, preload).copy()
        row[rows.SIGN] = -1
        return row

    def numbers_of(self, local: np.ndarray) -> np.ndarray:
        """As `Segment.numbers_of`."""
        numbers: np.ndarray = self._taken[local]
        return numbers

    def local_of(self, numbers: np.ndarray) -> np.ndarray:
        """As `Segment.local_of`."""
        places = np.searchsorted(self._taken, numbers, sorter=self._order)
        local = self._order[np.minimum(places, self.num_documents - 1)]
        return np.where(self._taken[local] == numbers, local, -1)


class Part(Segment):
    """Some of a segment's documents, as a segment in memory. They lose their numbers and metadata.

    local: their places in the segment, int64, shape (D,), ascending, at least one. Linear in the
    segment: nothing is sorted, for what is left of its suffix array is in order. (That of a
    self-index is made for it, in the system's folder of temporary files.) Raises DamagedIndexError.
    """

    def __init__(self, segment: Segment, local: np.ndarray) -> None:
        self.__dict__.update(segment.__dict__)
        self._row = None
        # (Counts of the whole segment are not those of a part.)
        self.document_counts = self._counted = None
        starts = segment.document_offsets.astype(np.int64)
        lengths = np.diff(starts, append=segment.stream_len)
        if starts[0] != 0 or lengths.min() < 1:
            raise segment.damaged(fmt.DOCUMENT_OFFSETS, "offsets that do not ascend from 0")
        kept = np.zeros(segment.num_documents, np.bool_)
        kept[local] = True
        inside = np.repeat(kept, lengths)
        if segment.entry.kind == fmt.SUFFIX_ARRAY_KIND:
            tokens, positions = segment.tokens, segment.positions_of(slice(None))
            bits = segment.entry.key_bits
        else:
            with TemporaryDirectory() as folder:
                tokens, entries = plain(
                    segment, Path(folder), NO_LIMIT, 1, lambda done, total: None
                )
            positions, bits = positions_in(entries), 8 * tokens.itemsize
        self.tokens = tokens[inside]
        self.stream_len = self.tokens.shape[0]
        self.num_documents = local.shape[0]
        # Where each kept position stands now.
        places = np.cumsum(inside) - 1
        if positions.max() >= segment.stream_len:
            raise segment.damaged(fmt.SUFFIX_ARRAY, "a position past the segment's end")
        positions = places[positions[inside[positions]]]
        if positions.shape[0] != self.stream_len:
            raise segment.damaged(fmt.SUFFIX_ARRAY, "a position that is there twice")
        width = fmt.position_bytes(self.stream_len)
        self.suffix_array, self.shift, self.stretches = position_entries(positions, width), 0, None
        spacing = fmt.FENCE_SPACING
        level = keys_of(self.tokens, positions[::spacing], self.separator, bits, self.by_bytes)
        self.fences, self.fence_spacing = np.concatenate(list(fence_tree([level]))), spacing
        self.unigrams = unigrams = unigram_table(self.tokens, self.by_bytes)
        distinct = unigrams.shape[0] // fmt.UNIGRAM_ENTRY_BYTES
        self.unigram_ranks = unigrams[: 8 * distinct].view(fmt.OFFSET)
        self.unigram_ids = unigrams[8 * distinct :].view("<u4")
        offsets = places[starts[local]].astype(fmt.OFFSET)
        self._offsets = lambda: offsets
        self.entry = replace(
            segment.entry,
            num_documents=self.num_documents,
            num_tokens=self.stream_len - self.num_documents,
            position_bytes=width,
            fence_spacing=spacing,
            key_bits=bits,
            files={},
            kind=fmt.SUFFIX_ARRAY_KIND,
            sample_every=0,
        )
