"""What language models need beyond an index's own files: the folder `language_model` in it.

This docstring is its specification. `building/preparation.py` makes the files, and says with
`kernels/contexts.py` what they are about. They belong to one segment and say nothing once the index
has others: the next change of the index removes them.

- `prepared.json`: the version of this format, the segment, and the size and SHA-256 of every other
  file; written last: without it there is nothing. `ends`: how many different tokens end documents
  (the start of an empty document is one). `lefts`: how many different tokens stand before others.
  `longest_repeat`: the tokens of the longest n-gram that occurs twice.
- `left_contexts.bin` is to the tokens before suffixes what `document_counts.bin` is to their
  documents (see `format`): for an interval of ranks it says how many different ones there are. The
  token before the first suffix of the stream is the separator.
- `nodes.bin`: of every node of at least `least` ranks, in the order of their ends and sizes, the
  rank after its last one, its size, its depth, the sum of the counts of its children, the number of
  children, how many have count 1 and 2, and how many occur once and twice. u32 for streams of fewer
  than 2³² tokens, else u64; shape (k, 9).
- `node_guides.bin`: u64, for every 4096th rank from 0 on the number of nodes that end at or before
  it.
- `levels.bin`: i64, shape (2, 4, M): [0, j − 1, k − 1] is the number of n-grams of k tokens with
  count j, [1, j − 1, k − 1] of those that occur j times. M is one more than the longest repeat, at
  most 4096.
"""

import json
import stat
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from everygram.errors import DamagedIndexError, EverygramError, FormatError
from everygram.storage import format as fmt
from everygram.storage.disk import map_file, read_file, stat_inside, write_synced, wrong_files
from everygram.storage.fields import SHA256, Fields

VERSION = 1
INFO = "prepared.json"
LEFTS = "left_contexts.bin"
NODES = "nodes.bin"
GUIDES = "node_guides.bin"
LEVELS = "levels.bin"
FILES = (LEFTS, NODES, GUIDES, LEVELS)
# Ranks per guide.
GUIDED = 1 << 12
# Levels beyond which discounts are no longer counted.
MOST_LEVELS = 1 << 12
# Fewer ranks than this are looked at one by one.
LEAST = 64
COLUMNS = 9
# Streams of at least this many tokens have 8-byte entries in nodes.bin. Tests lower it.
WIDE_FROM = 2**32
# No `prepared.json` is larger, in bytes.
MOST_INFO = 1 << 16


@dataclass(frozen=True)
class PreparedInfo:
    """What `prepared.json` says."""

    segment: str
    ends: int
    lefts: int
    longest_repeat: int
    least: int
    files: dict[str, fmt.FileEntry]

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(file.bytes for file in self.files.values())


@dataclass(frozen=True)
class Prepared:
    """The files, mapped read-only: `lefts` u64; `nodes` u32 or u64, shape (k, 9); `guides` u64;
    `levels` int64, shape (2, 4, M)."""

    info: PreparedInfo
    lefts: np.ndarray
    nodes: np.ndarray
    guides: np.ndarray
    levels: np.ndarray


def not_one_segment(path: Path, manifest: fmt.Manifest) -> str:
    """The message for an index that cannot be prepared."""
    deleted = any(segment.sign < 0 for segment in manifest.segments)
    what = "deleted documents" if deleted else f"{len(manifest.segments)} segments"
    return (
        f"index '{path}': expected one segment without deleted documents, found {what}: the "
        "different tokens before an n-gram do not add up over segments; merge them with "
        f"'everygram compact --full {path}', then run 'everygram prepare {path}'"
    )


def name_of(segment: fmt.SegmentEntry) -> str:
    """What a segment is called in `prepared.json`: its folder, and the checksum of its suffixes."""
    suffixes = fmt.SUFFIX_ARRAY if segment.kind == fmt.SUFFIX_ARRAY_KIND else fmt.PSI
    return f"{segment.name}:{segment.files[suffixes].sha256}"


def node_dtype(stream_len: int) -> np.dtype[Any]:
    """The type of the entries of nodes.bin."""
    return np.dtype("<u4") if stream_len < WIDE_FROM else np.dtype("<u8")


def write_info(folder: Path, info: PreparedInfo) -> None:
    """Write `prepared.json`."""
    content = {"version": VERSION} | asdict(info)
    write_synced(folder / INFO, (json.dumps(content, indent=2, sort_keys=True) + "\n").encode())


def read_info(index: Path) -> PreparedInfo | None:
    """What `prepared.json` says, or None if there is none, or one of another version.

    Raises DamagedIndexError for one that is no such file.
    """
    path = index / fmt.LANGUAGE_MODEL / INFO
    try:
        data = read_file(path, index, MOST_INFO)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        with Fields(json.loads(data)) as fields:
            if fields.integer("version") != VERSION:
                fields.rest()
                return None
            files = {}
            with fields.object("files") as listed:
                for name in FILES:
                    with listed.object(name) as file:
                        files[name] = fmt.FileEntry(
                            file.integer("bytes"), file.text("sha256", SHA256)
                        )
            return PreparedInfo(
                fields.text("segment"),
                fields.integer("ends"),
                fields.integer("lefts"),
                fields.integer("longest_repeat"),
                fields.integer("least", 2),
                files,
            )
    except (ValueError, RecursionError) as error:
        raise DamagedIndexError(
            f"{path}: damaged: {error}; run 'everygram prepare' again"
        ) from None


def is_prepared(index: Path, manifest: fmt.Manifest) -> bool:
    """Whether the folder is for the index as this manifest describes it."""
    try:
        info = read_info(index)
    except EverygramError:
        return False
    segments = manifest.segments
    return info is not None and len(segments) == 1 and info.segment == name_of(segments[0])


def open_prepared(index: Path, segment: fmt.SegmentEntry, verify: bool) -> Prepared | None:
    """What is prepared for a segment, or None. Raises DamagedIndexError.

    verify: check the files' checksums; of small files they are checked in any case.
    """
    info = read_info(index)
    if info is None or info.segment != name_of(segment):
        return None
    folder, n = index / fmt.LANGUAGE_MODEL, segment.stream_len
    for problem in problems(index, info, segment, verify or info.bytes <= 1 << 24):
        raise DamagedIndexError(f"{problem}; run 'everygram prepare' again")
    return Prepared(
        info,
        map_file(folder / LEFTS, fmt.OFFSET),
        map_file(folder / NODES, node_dtype(n)).reshape(-1, COLUMNS),
        map_file(folder / GUIDES, fmt.OFFSET),
        map_file(folder / LEVELS, np.dtype("<i8")).reshape(2, 4, -1),
    )


def problems(
    index: Path,
    info: PreparedInfo,
    segment: fmt.SegmentEntry,
    checksums: bool,
    progress: Callable[[int], None] = lambda _: None,
) -> list[str]:
    """What is wrong with the files: their sizes and, if wanted, their checksums."""
    folder, n = index / fmt.LANGUAGE_MODEL, segment.stream_len
    sizes = {name: file.bytes for name, file in info.files.items()}
    row = COLUMNS * node_dtype(n).itemsize
    expected = {
        LEFTS: fmt.document_counts_bytes(n, info.lefts),
        NODES: sizes[NODES] // row * row,
        GUIDES: (n // GUIDED + 1) * 8,
        LEVELS: min(info.longest_repeat + 1, MOST_LEVELS) * 64,
    }
    found = []
    for name, size in sizes.items():
        try:
            there = stat_inside(folder / name, index, stat.S_ISREG)
        except (FileNotFoundError, NotADirectoryError):
            found.append(f"{folder / name}: missing")
            continue
        if not there == size == expected[name]:
            found.append(f"{folder / name}: expected {expected[name]:,} bytes, found {there:,}")
    if checksums and not found:
        found = [f"{folder}: {problem}" for problem in wrong_files(folder, info.files, progress)]
    return found
