"""The on-disk format, version 6: the content of every file of an index, and the manifest.

This docstring is the specification. `segment_writer.py` writes a segment's files, `segment.py`
reads them, `manifest.py` encodes and decodes the manifest, `directory.py` publishes it; none names
a file or a field not named here.

An index is a directory::

    manifest.json            what is in the index; written last: without it, this is no index
    tokenizer.json           the tokenizer, as the `tokenizers` library saves it, or its model
                             in JSON (absent for the tokenizer `bytes`, or without a tokenizer)
    .everygram.lock          locked (flock) by the single writer; readers ignore it
    build.json               only during a build: the stages that are finished
    done.json                only at the end of a change: which change it is, and its report
    plain/                   only during a change: the tokens and the suffix array of a self-index
    language_model/          what `prepare` made for the index as it is: see `prepared.py`
    segment-000001/          one folder per segment, numbered from 1, numbers are never reused
        tokens.bin           (of the kind suffix-array)
        suffix_array.bin     (of the kind suffix-array)
        psi.bin              (of the kind self-index)
        psi_blocks.bin       (of the kind self-index)
        samples.bin          (of the kind self-index)
        fences.bin
        unigrams.bin
        document_offsets.bin
        metadata.bin
        metadata_offsets.bin
        document_numbers.bin (only if the documents' numbers are not consecutive)
        document_counts.bin  (unless the index was made without, or by an older version)
        checksums.bin

All integers are little-endian and unsigned. A *token* has the index's dtype: the narrowest of u8,
u16 and u32 in which the all-ones id is not in the vocabulary. That id is the *separator*.

A segment of D documents and T tokens is one stream of n = T + D tokens: one separator comes before
every document. The end of the stream reads as a separator too. A *position* counts tokens in that
stream, a *rank* counts suffixes in their order.

==================== ========== ========= =====================================================
file                 entries    entry     content
==================== ========== ========= =====================================================
tokens.bin           n          token     the stream
suffix_array.bin     n          u32 / u40 position of the suffix of each rank; 5 bytes per entry
                                          from n = 2³² on
fences.bin           see below  u64       the fence tree: the key of every s-th suffix (ranks 0, s,
                                          2s, …), s = `fence_spacing`, then the levels above
unigrams.bin         U          u64, u32  for the U distinct tokens of the stream, ascending: all
                                          first ranks, then all ids; the suffixes that start
                                          with ids[i] have ranks [first[i], first[i+1])
document_offsets.bin D          u64       position of each document's separator
metadata.bin         –          –         the documents' metadata, UTF-8 JSON, end to end
metadata_offsets.bin D + 1      u64       in bytes; document d has [offsets[d], offsets[d+1])
document_numbers.bin D          u64       the documents' numbers in the index, ascending; without
                                          this file: `first_document`, `first_document` + 1, …
document_counts.bin  see below  u64       the repeats of each rank, in bits, from which follows in
                                          how many documents an n-gram occurs
checksums.bin        –          u32       the CRC-32 of every 64 KiB of each other file, the files
                                          in the order of their names
==================== ========== ========= =====================================================

*Order.* Suffixes are ordered by their tokens up to and including the next separator; a separator as
the suffix's own first token does not count as the next. Suffixes that are equal up to there are in
the order of their positions, so a corpus always gives the same array, however it was built.
(Readers must not rely on the order of equal suffixes.)

*Key.* The first tokens of a suffix in 64 bits, `key_bits` per token, the first token in the highest
bits; the last token may be cut to its high bits. The separator is all ones. After a separator the
key is zero, unless the separator is the suffix's own first token. `key_bits` is the smallest number
of bits whose all-ones value is above every id of the segment. Keys never decrease with rank.

*Fence tree.* Level 0 has the keys of every s-th suffix; level k + 1 has every 16th key of level k
(`fence_fanout`); the last level has at most 16 keys. The levels are stored one after another, level
0 first, each padded with all-ones keys to a multiple of 16 keys. A node is 128 bytes, two cache
lines; a search reads one node per level.

Worked example, u8, the documents "ab" and "ba" (`|` is the separator, 255)::

    position          0  1  2  3  4  5
    tokens.bin        |  a  b  |  b  a
    suffix_array.bin  1  5  4  2  0  3      ab| < a| < ba| < b| < |ab| < |ba|
    fences.bin        c3 8b f8 00 00 00 00 00   (read as one u64, highest byte first: 97, 98, 127
                      in 7 bits each), then 15 keys of all ones
    unigrams.bin      first 0 2 4   ids 97 98 255
    document_offsets  0 3

*Document counts.* Of the suffixes that begin in one document (its separator's among them), any two
that are next to each other in the order of ranks, r1 < r2, are a *repeat*. The LCP of a rank is the
number of first tokens that its suffix shares with the suffix of the rank before, up to and
including the next separator. A repeat belongs to the last place i of the least LCP in r1 < i <= r2.
An n-gram whose suffixes have ranks [lo, hi) occurs in hi - lo documents, less the repeats that
belong to places lo < i < hi: just those that are inside [lo, hi) (Hui 1992, Sadakane 2007).

The file has the repeats as bits, from the lowest of each u64 on: for every rank one 0 per repeat
that belongs to it, then a 1. These are n ones and n - D zeros; more zeros fill the last *block* of
2048 bits. After all bits there are, for each block, the number of ones before it; then *guides*:
for every 4096th rank (0, 4096, ...) the number of the block that has its 1. With one(r) for the
place of the 1 of rank r, the documents of an interval that is not empty are
2 (hi - lo) - 1 - (one(hi - 1) - one(lo)).

In the example above the suffixes have LCPs 0 1 0 1 0 1 and begin in documents 0 1 1 0 0 1. Of their
repeats, (0, 3) and (1, 2) belong to rank 2, and (3, 4) and (2, 5) to rank 4. The bits are
1 1 001 1 001 1 and 2038 zeros: the file is the word 0x333, 31 words of zero, 0 for the only block
and 0 for the only guide.

*Self-index.* A segment of this kind has neither its tokens nor its suffix array: both follow from Ψ
(Grossi & Vitter 2000; Sadakane 2003). Its order of suffixes, and with it every rank, is that of the
other kind; so are the files not named here. Ψ of a rank is the rank of the suffix one token
further; of a suffix that is the last token of document d, or the separator of an empty one, it is n
+ d. Each rank has an *entry*: the place of its first token among the U distinct ones, shifted left
by `key_bits`, the bits that n + D needs; below it Ψ. Entries ascend with rank: suffixes with one
first token are in the order of what follows it, and those that a separator follows come last, in
the order of positions. An entry has at most 63 bits.

Entries are coded in *blocks* of s = `fence_spacing` (128) ranks, the last of which may be shorter:

- one bit per rank of a whole block, from the lowest of each u64 on: a one where a *run* begins,
  which is entries that are each one more than the one before;
- of the first entry of each run, less the first entry of the block, the bits above the lowest w, in
  unary: for run i and these bits h, a one at place h + i (Elias 1974, Fano 1971);
- the lowest w bits of each of them, w bits each;
- of each rank in the block that is sampled, its place in the block, 8 bits each.

With r runs, and m the last of the numbers that are coded, w is ⌊log₂(⌊m / r⌋)⌋, or 0 for m < r. All
but the first part follow one another without gaps; the block ends with zeros up to a whole u64.

==================== ========== ========= =====================================================
file                 entries    entry     content
==================== ========== ========= =====================================================
psi.bin              –          u64       the blocks, end to end, then 192 words of zeros, so that
                                          a reader need not look where a block ends
psi_blocks.bin       B + ⌈B/16⌉ u64       for each of the B = ⌈n/s⌉ blocks: 40 bits, the word of
                                          psi.bin at which it begins; 6 bits, w; 9 bits, how many
                                          the unary part has; 8 bits, how many ranks are sampled.
                                          Then for blocks 0, 16, 32, …: the samples before each
fences.bin           as above   u64       a tree as above, of the first entries of all blocks
samples.bin          2 P + D    u32 / u40 P = ⌈n / `sample_every`⌉ positions are sampled: 0, and
                                          every multiple of `sample_every`. In the order of ranks
                                          the number of each (position / `sample_every`); in the
                                          order of positions the rank of each; then the rank of
                                          each document's separator
==================== ========== ========= =====================================================

In the example above, with n + D = 8, `key_bits` is 4. Of the ranks 0 to 5, Ψ is 3 7 1 6 0 2 (7 and
6 are the ends of documents 1 and 0), and the entries are 3 7 17 22 32 34: six runs, less the first
0 4 14 19 29 31, so that w is 2. The bits above are 0 1 3 4 7 7, in unary ones at 0 2 5 7 11 12; the
lowest bits are 0 0 2 3 1 3; position 0 is sampled, rank 4. The only block is three words: 0x3f, 0,
and 0x9bc18a5 (13 bits, 12 bits, 8 bits). Then come 192 words of zeros. psi_blocks.bin is
0x83420000000000 and 0; fences.bin is 3 and 15 keys of all ones; samples.bin is 0 4 4 5.

*Deleted documents* stay in their segment. They are also in a segment of `sign` −1, with their
numbers and without metadata. A count in the index is the sum of the counts in segments of sign 1,
minus those in segments of sign −1.

*Version 5* had no self-indexes; its manifests have neither `kind` nor `sample_every`.

*Version 4* had no `document_counts.bin` and no `document_counts` in its manifests; segments written
by it have none in newer indexes either, until they are merged or upgraded.

*Version 3* had no `checksums.bin`; segments written by it have none in newer indexes either.

*Version 2* had no deleted documents and no numbers, and neither `next_document` nor `next_segment`.

*Version 1* had one level of fences, not padded, and `key_bits` equal to the width of a token; its
manifests have neither `key_bits` nor `fence_fanout`. It can still be read: opening such an index
makes the upper levels.

*Manifest.* JSON, keys sorted, indented by 2, one newline at the end. `checksum` is the SHA-256 of
the same file without the `checksum` key, so any change is detected. Every file of a segment is
listed with its size and SHA-256, which shows whether the file is damaged; `checksums.bin` shows
where. `first_document` is the number of a segment's first document. `next_document` and
`next_segment` are numbers that were never used. `document_counts`: whether new segments get their
file of that name. `kind` of a segment is "suffix-array" or "self-index", that of the index the kind
that compaction makes; `sample_every` of another than a self-index is 0. `build` is the report of
the build, for people: seconds per stage, peak memory, skipped documents. Its `inputs` are 16 hex
digits for each file that was read, by which `add` recognizes it: of the SHA-256 of its name, size
and version.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from everygram.errors import FormatError

FORMAT_VERSION = 6
READABLE_VERSIONS = (1, 2, 3, 4, 5, 6)

MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
LOCK = ".everygram.lock"
BUILD = "build.json"
DONE = "done.json"
# What `prepared` describes; it is no part of the index that the manifest describes.
LANGUAGE_MODEL = "language_model"
# The key in `build` of a manifest of infini-gram's files: what `attached.stamp_of` gave for them.
FOREIGN = "infini-gram"
SEGMENT_PREFIX = "segment-"
# A folder in an index, only during a build: a part of the corpus.
PART_NAME = re.compile("part-[0-9]{6,18}")
SEGMENT_NAME = re.compile(SEGMENT_PREFIX + "[0-9]{6,18}")

TOKENS = "tokens.bin"
SUFFIX_ARRAY = "suffix_array.bin"
FENCES = "fences.bin"
UNIGRAMS = "unigrams.bin"
DOCUMENT_OFFSETS = "document_offsets.bin"
METADATA = "metadata.bin"
METADATA_OFFSETS = "metadata_offsets.bin"
DOCUMENT_NUMBERS = "document_numbers.bin"
DOCUMENT_COUNTS = "document_counts.bin"
CHECKSUMS = "checksums.bin"
# Of a self-index.
PSI = "psi.bin"
PSI_BLOCKS = "psi_blocks.bin"
SAMPLES = "samples.bin"
# Only while a segment is built: blocks, the unfinished suffix array, notes of its merged stretches.
RUNS = "runs.bin"
UNFINISHED = "suffix_array.tmp"
STRETCHES = "stretches"
# Only while a self-index is being made: the token before each suffix.
LEFTS = "lefts.tmp"
# A folder in an index, only during a change: the tokens and the suffix array of a self-index.
PLAIN = "plain"
# Which files hold a segment's tokens and suffixes; every segment has the common ones.
SUFFIX_ARRAY_KIND, SELF_INDEX_KIND = "suffix-array", "self-index"
FILES_OF_KIND = {
    SUFFIX_ARRAY_KIND: (TOKENS, SUFFIX_ARRAY),
    SELF_INDEX_KIND: (PSI, PSI_BLOCKS, SAMPLES),
}
KINDS = tuple(FILES_OF_KIND)
COMMON_FILES = (FENCES, UNIGRAMS, DOCUMENT_OFFSETS, METADATA, METADATA_OFFSETS)
# Not every segment has these.
OPTIONAL_FILES = (DOCUMENT_NUMBERS, DOCUMENT_COUNTS, CHECKSUMS)
# All that may be in a segment's folder.
ANY_FILES = (
    *(name for names in FILES_OF_KIND.values() for name in names),
    *COMMON_FILES,
    *OPTIONAL_FILES,
    RUNS,
    UNFINISHED,
    STRETCHES,
    LEFTS,
)

TOKENIZER_KINDS = ("bytes", "none", "huggingface", "sentencepiece")
TOKEN_DTYPES: dict[str, np.dtype[Any]] = {
    "u8": np.dtype("u1"),
    "u16": np.dtype("<u2"),
    "u32": np.dtype("<u4"),
}
POSITION = np.dtype("<u4")
OFFSET = np.dtype("<u8")
KEY = np.dtype("<u8")
UNIGRAM_ENTRY_BYTES = 12
CHECKSUM = np.dtype("<u4")
# Bytes covered by one checksum of checksums.bin.
CHECKSUM_BLOCK = 1 << 16

# Streams of at least this many tokens have 5-byte positions. Tests lower it.
WIDE_POSITIONS_FROM = 2**32
WIDE_POSITION_BYTES = 5
# A block of suffixes between two fences is one cache line of 4-byte positions.
FENCE_SPACING = 16
# Keys per node of the fence tree; the same as in `kernels.fences`.
FENCE_FANOUT = 16
# Entries of Ψ in one block of a self-index, a power of 2: as many as two words have bits.
PSI_BLOCK = MOST_PSI_BLOCK = 1 << 7
# Words of zeros that end psi.bin: more than any block has; the same as in `kernels.psi`.
PSI_ZEROS = 192
# A self-index has a sample for every so many positions, by default.
SAMPLE_EVERY = 32
MOST_SAMPLE_EVERY = 1 << 16
# Of document_counts.bin: bits per block, and ranks per guide; the same as in `kernels.documents`.
COUNT_BLOCK = 1 << 11
COUNT_GUIDED = 1 << 12


def kind_of(sample_every: int) -> str:
    """The kind of segment that has a sample for every so many positions; 0: that has none."""
    return SELF_INDEX_KIND if sample_every else SUFFIX_ARRAY_KIND


def token_dtype(vocab_size: int) -> str:
    """The narrowest of u8, u16 and u32 whose all-ones id is free, for ids in [0, vocab_size)."""
    for name, dtype in TOKEN_DTYPES.items():
        if vocab_size <= np.iinfo(dtype).max:
            return name
    raise FormatError(
        f"vocabulary of {vocab_size:,} ids: expected at most {2**32 - 1:,} (ids are 32-bit)"
    )


def separator_of(dtype: str) -> int:
    """The separator of a token dtype: its all-ones id."""
    return int(np.iinfo(TOKEN_DTYPES[dtype]).max)


def segment_name(number: int) -> str:
    """The name of the folder of segment `number`."""
    return f"{SEGMENT_PREFIX}{number:06d}"


def position_bytes(stream_len: int) -> int:
    """Bytes per suffix-array entry for a stream of this length: 4, or 5 from 2³² tokens on."""
    return POSITION.itemsize if stream_len < WIDE_POSITIONS_FROM else WIDE_POSITION_BYTES


def key_bits(largest_id: int) -> int:
    """Bits per token in a key: the fewest whose all-ones value is above the largest id."""
    return (largest_id + 1).bit_length()


def ordered(ids: np.ndarray, bits: int) -> np.ndarray:
    """The places of ids in the order of their little-endian bytes: int64, same shape.

    ids: int64, of at most so many bits; so have the places. As `kernels.rows.ordered`.
    """
    places, left = np.zeros_like(ids), bits - 8
    while left > 0:
        places |= (ids & 255) << left
        ids, left = ids >> 8, left - 8
    found: np.ndarray = places | ids
    return found


def fence_levels(stream_len: int, spacing: int) -> list[tuple[int, int]]:
    """Start and size, in keys, of each level of a fence tree."""
    start, size = 0, -(-stream_len // spacing)
    levels = [(start, size)]
    while size > FENCE_FANOUT:
        start, size = start + _padded(size), -(-size // FENCE_FANOUT)
        levels.append((start, size))
    return levels


def fence_keys(stream_len: int, spacing: int) -> int:
    """Keys of a whole fence tree."""
    start, size = fence_levels(stream_len, spacing)[-1]
    return start + _padded(size)


def _padded(size: int) -> int:
    return -(-size // FENCE_FANOUT) * FENCE_FANOUT


def document_counts_bytes(stream_len: int, num_documents: int) -> int:
    """The size of document_counts.bin."""
    blocks = -(-(2 * stream_len - num_documents) // COUNT_BLOCK)
    return blocks * (COUNT_BLOCK // 8 + 8) + -(-stream_len // COUNT_GUIDED) * 8


@dataclass(frozen=True)
class FileEntry:
    """Size and SHA-256 of one file."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class TokenizerEntry:
    """Which tokenizer made the ids.

    `kind` is "bytes", "none", "huggingface" or "sentencepiece". The last two have a
    `tokenizer.json` with this SHA-256 (for "sentencepiece", an object with the "type"
    "sentencepiece" and the "model" in base64). `source` says where the tokenizer came from, for
    people. `query_prefix` is put in front of a string query.
    """

    kind: str
    source: str
    sha256: str | None
    query_prefix: str


@dataclass(frozen=True)
class SegmentEntry:
    """One segment: its folder's name, counts, widths, and files by name."""

    name: str
    sign: int
    first_document: int
    num_documents: int
    num_tokens: int
    position_bytes: int
    fence_spacing: int
    fence_fanout: int
    key_bits: int
    files: dict[str, FileEntry]
    kind: str = SUFFIX_ARRAY_KIND
    # Of a self-index: positions per sample. Else 0.
    sample_every: int = 0

    @property
    def stream_len(self) -> int:
        """Tokens of the stream, separators included."""
        return self.num_tokens + self.num_documents


@dataclass(frozen=True)
class Manifest:
    """What an index is: everything a reader must know before it opens a segment."""

    dtype: str
    separator: int
    vocab_size: int
    tokenizer: TokenizerEntry
    segments: tuple[SegmentEntry, ...]
    build: dict[str, Any]
    next_document: int
    next_segment: int
    # Whether new segments get a file of document counts.
    document_counts: bool = True
    # The kind of segment that a build and a compaction make; `sample_every` as in `SegmentEntry`.
    kind: str = SUFFIX_ARRAY_KIND
    sample_every: int = 0
    # The version of everygram that wrote the manifest, set by `directory.publish`.
    everygram_version: str = ""
    format_version: int = FORMAT_VERSION

    @property
    def foreign(self) -> bool:
        """Whether the files are infini-gram's, and the manifest was made on opening them."""
        return FOREIGN in self.build

    @cached_property
    def digest(self) -> str:
        """16 hex digits that name this state of an index: others after any change."""
        fields = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(fields.encode()).hexdigest()[:16]

    @property
    def num_tokens(self) -> int:
        """Tokens in all documents, separators and deleted documents not counted."""
        return sum(segment.sign * segment.num_tokens for segment in self.segments)

    @property
    def num_documents(self) -> int:
        """Documents, deleted ones not counted."""
        return sum(segment.sign * segment.num_documents for segment in self.segments)

    @property
    def bytes(self) -> int:
        """Size of all files of all segments."""
        return sum(file.bytes for segment in self.segments for file in segment.files.values())
