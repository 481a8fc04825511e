"""A shard of an infini-gram index as a segment, its files mapped as they are (see `infini_gram`).

Two things make its suffix array another than ours. Tokens are in the order of their little-endian
bytes: kernels compare places in that order (`kernels.rows.ordered`), and the segment is as sorted
as any. And the end of the stream comes before all tokens, where it must read as a separator, which
comes last. This concerns only the shard's last document: of its suffixes those that other documents
have, too, however they go on there. Each of these stands first among the suffixes that begin with
it, and should stand last. So ranks are given anew in *stretches*: where such a suffix is taken out,
where it is put in, and what is between.

(Suffixes that are equal up to their next separator are ordered by what follows it. No reader relies
on the order of equal suffixes.)

Fences, unigrams and offsets as `format` has them are made once by `attached`. Without these, a
sparse tree of fences is made here, and what else queries need when they first need it.
"""

from dataclasses import replace
from functools import cache

import numpy as np

from everygram.errors import FormatError
from everygram.storage import format as fmt
from everygram.storage.disk import map_file, positions_in
from everygram.storage.fences import fence_tree, keys_of
from everygram.storage.infini_gram import (
    METADATA,
    METAOFF,
    OFFSET,
    TABLE,
    TOKENIZED,
    ShardFiles,
)
from everygram.storage.segment import Segment

# Fences of a shard for which nothing was made once.
FEW_FENCES = 1024
# Of the last document so many tokens are looked for in others.
LONGEST_REPEAT = 1 << 16


class Shard(Segment):
    """An open shard: a segment whose tokens, suffix array and metadata are infini-gram's files.

    Raises FormatError where what is read of them contradicts itself.
    """

    def __init__(self, files: ShardFiles, first_document: int) -> None:
        """As nothing but its files tell. first_document: the number of its first document."""
        self.folder = files.folder
        self.separator = fmt.separator_of(files.dtype)
        self.first_document = first_document
        self.num_documents, self.stream_len = files.num_documents, files.stream_len
        self.names = {
            fmt.TOKENS: files.path(TOKENIZED).name,
            fmt.SUFFIX_ARRAY: files.path(TABLE).name,
            fmt.DOCUMENT_OFFSETS: files.path(OFFSET).name,
            fmt.METADATA: files.path(METADATA).name,
            fmt.METADATA_OFFSETS: files.path(METAOFF).name,
        }
        self.tokens, self.suffix_array = files.tokens, files.pointers
        self.by_bytes, self.shift = self.tokens.itemsize > 1, files.shift
        self.metadata_offsets = np.empty(0, fmt.OFFSET)
        self.metadata_bytes = np.empty(0, np.uint8)
        if files.has_metadata:
            self.metadata_offsets = map_file(files.path(METAOFF), fmt.OFFSET)
            self.metadata_bytes = map_file(files.path(METADATA), np.dtype("u1"))
        pointers, shift = files.document_pointers, np.uint64(files.shift)
        self._offsets = cache(lambda: pointers >> shift) if shift else lambda: pointers
        self._numbers = self.document_counts = self._row = None
        self.entry = fmt.SegmentEntry(
            name="shard" + files.name,
            sign=1,
            first_document=first_document,
            num_documents=self.num_documents,
            num_tokens=self.stream_len - self.num_documents,
            position_bytes=files.pointer_bytes,
            fence_spacing=0,
            fence_fanout=fmt.FENCE_FANOUT,
            key_bits=0,
            files={name: fmt.FileEntry(size, "") for name, size in files.files.items()},
        )
        self._stamps = self._files()
        self._counted = None

    def complete(
        self,
        stretches: np.ndarray,
        fences: np.ndarray,
        spacing: int,
        bits: int,
        unigrams: np.ndarray,
    ) -> None:
        """Add what searches start from.

        stretches: see `Segment`. fences: u64, the tree, of every `spacing`-th suffix, with `bits`
        for a token. unigrams: u8, as in the file of that name; empty: they are counted when they
        are first needed.
        """
        self.stretches, self.fences, self.fence_spacing = stretches, fences, spacing
        self.entry = replace(self.entry, fence_spacing=spacing, key_bits=bits)
        self.unigrams = unigrams
        if not unigrams.shape[0]:
            self._counted = cache(self._read_off)
        distinct = unigrams.shape[0] // fmt.UNIGRAM_ENTRY_BYTES
        self.unigram_ranks = unigrams[: 8 * distinct].view(fmt.OFFSET)
        self.unigram_ids = unigrams[8 * distinct :].view("<u4")

    def complete_plainly(self) -> None:
        """Add what searches start from, from few reads."""
        self.stretches = stretches_of(self)
        spacing = max(fmt.FENCE_SPACING, -(-self.stream_len // FEW_FENCES))
        bits = 8 * self.tokens.itemsize
        level = self.keys_at(np.arange(0, self.stream_len, spacing), bits)
        tree = np.concatenate(list(fence_tree([level])))
        self.complete(self.stretches, tree, spacing, bits, np.empty(0, np.uint8))

    def keys_at(self, ranks: np.ndarray, bits: int) -> np.ndarray:
        """The keys of the suffixes at these ranks, which ascend: u64. Raises FormatError."""
        positions = self.positions_of(ranks)
        if positions.shape[0] and int(positions.max()) >= self.stream_len:
            raise self.unsorted("a pointer past the end of the tokens")
        keys = keys_of(self.tokens, positions, self.separator, bits, self.by_bytes)
        if (keys[1:] < keys[:-1]).any():
            place = int(np.argmax(keys[1:] < keys[:-1]))
            raise self.unsorted(
                f"the suffixes of ranks {int(ranks[place]):,} and {int(ranks[place + 1]):,} are "
                "out of order"
            )
        return keys

    def unsorted(self, what: str) -> FormatError:
        """The error for a table that is none."""
        return FormatError(
            f"{self.folder / self.name_of(fmt.SUFFIX_ARRAY)}: {what}: the file is damaged, or its "
            "indexer failed (infini-gram's does, and says nothing, where a job has less than "
            "100,000 bytes); build it again, or make an index of its tokens: 'everygram convert'"
        )

    def check_unigrams(self) -> None:
        """Raise FormatError unless each id of the table begins the suffixes that it says."""
        firsts = self.unigram_ranks.astype(np.int64)
        positions = self.positions_of(np.append(firsts, np.maximum(firsts - 1, 0)))
        if int(positions.max()) >= self.stream_len:
            raise self.unsorted("a pointer past the end of the tokens")
        tokens, before = self.tokens[positions].astype(np.int64).reshape(2, -1)
        begins, others = tokens == self.unigram_ids, before != self.unigram_ids
        if not (begins & (others | (firsts == 0))).all():
            raise self.unsorted("suffixes do not begin with the tokens that there are")

    def _read_off(self) -> tuple[np.ndarray, np.ndarray]:
        """The unigrams, read off the order of suffixes."""
        from everygram.kernels import following

        row, nothing = self._row, np.empty(0, self.tokens.dtype)
        assert row is not None  # an engine has prepared it
        ids, counts = following.next_tokens(row, nothing, 0, 0, self.stream_len, 0, False)
        if (np.diff(ids) == 0).any():
            raise self.unsorted("suffixes that begin with the same token are not together")
        for kept in (ids, counts):
            kept.setflags(write=False)
        return ids, counts


def stretches_of(shard: Shard) -> np.ndarray:
    """In which stretches ranks of a shard are not those of its file; see `Segment.stretches`.

    O(log n) reads for each token at the end of the shard's last document that it has in common with
    another one. Raises FormatError if these are more than LONGEST_REPEAT.
    """
    n, tokens = shard.stream_len, shard.tokens
    last = n - 1
    if shard.num_documents:
        last = int(shard.document_offsets[-1])

    def position(rank: int) -> int:
        """The position at a rank of the file."""
        return int(positions_in(shard.suffix_array[rank : rank + 1])[0]) >> shard.shift

    def first(sought: bytes, length: int) -> int:
        """The first rank of the file whose suffix, up to so many tokens, is not below the bytes."""
        lo, hi = 0, n
        while lo < hi:
            middle = (lo + hi) >> 1
            start = position(middle)
            if tokens[start : start + length].tobytes() < sought:
                lo = middle + 1
            else:
                hi = middle
        return lo

    taken, put = [], []
    for length in range(1, n - last + 1):
        if length > LONGEST_REPEAT:
            raise FormatError(
                f"{shard.folder / shard.name_of(fmt.TOKENS)}: its last {LONGEST_REPEAT:,} tokens "
                "are also in another place: such a folder cannot be read as it is; make an index "
                "of it with 'everygram convert'"
            )
        prefix = tokens[n - length :].tobytes()
        lo = first(prefix, length)
        # (Above the prefix and any token.)
        hi = first(prefix + b"\xff" * (tokens.itemsize + 1), length + 1)
        if lo >= hi or position(lo) != n - length:
            raise shard.unsorted("the end of the tokens is not where it belongs")
        if hi - lo == 1:
            break
        taken.append(lo)
        put.append(hi)
    return _stretches(taken, put) if taken else np.empty((0, 2), np.int64)


def _stretches(taken: list[int], put: list[int]) -> np.ndarray:
    """The stretches for entries of a file that are taken out, and each put before another one.

    Each is taken before where it is put; of two that are put before the same, the later one in the
    lists comes first.
    """
    found: list[tuple[int, int]] = []
    gone = sorted(taken)
    rank = at = passed = 0
    for i in sorted(range(len(put)), key=lambda i: (put[i], -i)):
        while at < put[i]:
            if passed < len(gone) and gone[passed] == at:
                passed, at = passed + 1, at + 1
                continue
            end = min(put[i], gone[passed]) if passed < len(gone) else put[i]
            found.append((rank, at))
            rank, at = rank + end - at, end
        found.append((rank, taken[i]))
        rank += 1
    return np.array([*found, (rank, at)], np.int64)
