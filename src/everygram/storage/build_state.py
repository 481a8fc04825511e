"""The finished stages of a change of an index, so that it can be resumed if it is killed.

`build.json` has the stages that are finished, `done.json` a change that is about to be all done.
Knows these files; knows nothing of how any stage is done. A file that is damaged, of another
version, or that says what cannot be, says nothing.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np

from everygram.durable import sync_directory
from everygram.errors import DamagedIndexError
from everygram.storage import format as fmt
from everygram.storage.disk import Written, read_file, stat_inside, write_synced
from everygram.storage.fields import SHA256, Fields
from everygram.storage.manifest import file_entry, segment_entry
from everygram.storage.segment import check_sizes

T = TypeVar("T")

# Those that make an index, those that change one, and what is made of the documents of one.
MAKING = ("build", "conversion")
OPERATIONS = (*MAKING, "addition", "deletion", "compaction", "sorting")
# What is written of a segment before its suffixes are sorted.
WRITTEN_FIRST = (fmt.TOKENS, fmt.METADATA, fmt.DOCUMENT_OFFSETS, fmt.METADATA_OFFSETS)
# What is written of a self-index from its sorted suffixes.
COMPRESSED = (*fmt.FILES_OF_KIND[fmt.SELF_INDEX_KIND], fmt.FENCES, fmt.UNIGRAMS)
# No such file is larger, in bytes. It has 4 of every 64 KiB that are written, and the documents
# that a deletion was told.
MOST_STATE = 1 << 32


@dataclass(frozen=True)
class Cut:
    """Tokens [start, end) of the stream, to be sorted as one block.

    `inside`: whether the block ends inside a document.
    """

    start: int
    end: int
    inside: bool


@dataclass(frozen=True)
class Block:
    """Tokens [start, end), sorted and spilled; the last `leftover` entries are a second run."""

    start: int
    end: int
    leftover: int


@dataclass(frozen=True)
class Unsorted:
    """The part of a segment written before its suffixes are sorted: counts, and files by name."""

    num_documents: int
    stream_len: int
    files: dict[str, Written]


@dataclass
class BuildState:
    """What one change of an index has finished.

    operation, arguments, inputs: which change it is, as JSON values. Without inputs, nobody can
    tell whether another change is the same: the state must not be written. folder: of its segment.
    tokenizer: the hash of the tokenizer's file. trained: whether a trained tokenizer is in the
    index already. segment, cuts, skipped, skips: set once the documents are read. blocks: those
    that are sorted. merged: whether the suffix array is written. counted: the file of document
    counts, once it is. compressed: the files of a self-index, once they are. made, dtype: segments
    that are finished, where a change makes several. seconds: the time of each stage.
    """

    operation: str
    arguments: dict[str, Any]
    inputs: list[Any] | None
    folder: str | None = None
    tokenizer: str | None = None
    trained: bool = False
    segment: Unsorted | None = None
    cuts: list[Cut] = field(default_factory=list)
    skipped: int = 0
    skips: list[str] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    merged: bool = False
    counted: Written | None = None
    compressed: dict[str, Written] | None = None
    made: list[fmt.SegmentEntry] = field(default_factory=list)
    dtype: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The state that a killed change left in the index at `path`; None if there is none.

        A file that is damaged or of another version counts as none, and so does a state whose
        files are not there in full: the change begins anew.
        """
        fields = read_checked(path, fmt.BUILD)
        if fields is None:
            return None
        try:
            state = cls(**_state(fields))
            state._check_files(path)
        except (ValueError, DamagedIndexError, OSError):
            return None
        return state

    def write(self, path: Path) -> None:
        """Write the state to the index at `path`, in one step."""
        fields = asdict(self)
        if self.segment is not None:
            fields["segment"]["files"] = _all_as_json(self.segment.files)
        if self.counted is not None:
            fields["counted"] = _as_json(self.counted)
        if self.compressed is not None:
            fields["compressed"] = _all_as_json(self.compressed)
        write_checked(path, fmt.BUILD, fields)

    def _check_files(self, path: Path) -> None:
        """Raise ValueError, DamagedIndexError or OSError unless what is finished is there."""
        for entry in self.made:
            check_sizes(path / entry.name, entry.files)
        if self.segment is None:
            return
        folder = path / str(self.folder)
        if folder.is_symlink():
            raise ValueError("a segment is a folder")
        length = self.segment.stream_len
        sizes = {name: file.entry.bytes for name, file in self.segment.files.items()}
        if self.merged:
            sizes[fmt.SUFFIX_ARRAY] = length * fmt.position_bytes(length)
        if self.counted is not None:
            sizes[fmt.DOCUMENT_COUNTS] = self.counted.entry.bytes
        if self.compressed is not None:
            sizes |= {name: file.entry.bytes for name, file in self.compressed.items()}
            # What they were made of may be removed already.
            for name in fmt.FILES_OF_KIND[fmt.SUFFIX_ARRAY_KIND]:
                del sizes[name]
        for name, size in sizes.items():
            if stat_inside(folder / name, path) != size:
                raise ValueError(f"{name}: cut off, or too long")
        if self.blocks and not self.merged:
            sorted_to = self.blocks[-1].end * fmt.POSITION.itemsize
            if stat_inside(folder / fmt.RUNS, path) < sorted_to:
                raise ValueError(f"{fmt.RUNS}: cut off")


@dataclass(frozen=True)
class Done:
    """A change that is done if `manifest` is the SHA-256 of the published `manifest.json`.

    If it was killed then, and is run again, it answers with this `report`.
    """

    operation: str
    arguments: dict[str, Any]
    inputs: list[Any]
    report: dict[str, Any]
    manifest: str = ""

    def answer(
        self,
        operation: str,
        arguments: dict[str, Any],
        inputs: list[Any],
        reported: Callable[[Fields], T],
    ) -> T | None:
        """The report, read by `reported`, if this is the given change; else None."""
        if (self.operation, self.arguments, self.inputs) != (operation, arguments, inputs):
            return None
        try:
            return reported(Fields(self.report, "report"))
        except ValueError:
            return None

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The change that published the index at `path`, if it was killed after that; or None."""
        fields = read_checked(path, fmt.DONE)
        if fields is None:
            return None
        try:
            with fields:
                done = cls(
                    fields.choice("operation", OPERATIONS),
                    fields.object("arguments").rest(),
                    fields.array("inputs"),
                    fields.object("report").rest(),
                    fields.text("manifest", SHA256),
                )
            manifest = (path / fmt.MANIFEST).read_bytes()
        except (ValueError, OSError):
            return None
        return done if hashlib.sha256(manifest).hexdigest() == done.manifest else None

    def write(self, path: Path) -> None:
        """Keep it in the index at `path`, in one step."""
        write_checked(path, fmt.DONE, asdict(self))


def read_checked(path: Path, name: str) -> Fields | None:
    """The fields of a file in a folder whose checksum fits, or None."""
    try:
        fields = json.loads(read_file(path / name, path, MOST_STATE))
        if fields.pop("checksum") != _checksum(fields):
            return None
        return Fields(fields)
    # (A list has no fields, and lists in lists in lists are too much for Python.)
    except (
        OSError,
        DamagedIndexError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ):
        return None


def write_checked(path: Path, name: str, fields: dict[str, Any]) -> None:
    """Write fields (JSON values) as a file for `read_checked`, in one step."""
    temporary = path / (name + ".tmp")
    checked = fields | {"checksum": _checksum(fields)}
    write_synced(temporary, json.dumps(checked, indent=2).encode())
    temporary.rename(path / name)
    sync_directory(path)


def _checksum(fields: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _state(given: Fields) -> dict[str, Any]:
    """The fields of a BuildState. Raises ValueError."""
    with given as fields:
        state = {
            "operation": fields.choice("operation", OPERATIONS),
            "arguments": fields.object("arguments").rest(),
            "inputs": fields.array("inputs"),
            "trained": fields.boolean("trained"),
            "skipped": fields.integer("skipped"),
            "skips": fields.texts("skips"),
            "merged": fields.boolean("merged"),
            "seconds": fields.numbers("seconds"),
        }
        folder, tokenizer, segment, counted, compressed = map(
            fields.take, ("folder", "tokenizer", "segment", "counted", "compressed")
        )
        if folder is not None:
            Fields({"folder": folder}).text("folder", fmt.SEGMENT_NAME)
        if tokenizer is not None:
            Fields({"tokenizer": tokenizer}).text("tokenizer", SHA256)
        unsorted = None if segment is None else _unsorted(Fields(segment, "segment"))
        length = 0 if unsorted is None else unsorted.stream_len
        cuts = [_cut(cut, length) for cut in fields.objects("cuts")]
        blocks = [block_of(block, length) for block in fields.objects("blocks")]
        counts = None if counted is None else _written(Fields(counted, "counted"))
        packed = None
        if compressed is not None:
            packed = _all_written(Fields(compressed, "compressed"), COMPRESSED)
        dtype = fields.choice("dtype", (None, *fmt.TOKEN_DTYPES))
        finished = list(fields.objects("made"))
    if finished and dtype is None:
        raise ValueError("dtype: expected that of the segments in made")
    made = [segment_entry(each, fmt.FORMAT_VERSION, str(dtype)) for each in finished]
    for pieces, end in ((cuts, length), (blocks, None)):
        ends = [0, *(piece.end for piece in pieces)]
        if [piece.start for piece in pieces] != ends[:-1] or (
            pieces and end not in (None, ends[-1])
        ):
            raise ValueError("cuts, blocks: expected stretches of the stream, end to end")
    if unsorted is not None and folder is None:
        raise ValueError("segment: expected the folder that it is in")
    if state["merged"] and blocks and blocks[-1].end != length:
        raise ValueError("merged: expected all blocks")
    if counts is not None:
        documents = 0 if unsorted is None else unsorted.num_documents
        if not state["merged"] or counts.entry.bytes != fmt.document_counts_bytes(
            length, documents
        ):
            raise ValueError("counted: expected the size that the counts give, after merging")
    if packed is not None and not state["merged"]:
        raise ValueError("compressed: expected a merged suffix array")
    return state | {
        "folder": folder,
        "tokenizer": tokenizer,
        "segment": unsorted,
        "cuts": cuts,
        "blocks": blocks,
        "counted": counts,
        "compressed": packed,
        "made": made,
        "dtype": dtype,
    }


def _unsorted(given: Fields) -> Unsorted:
    with given as fields:
        documents = fields.integer("num_documents", 1)
        length = fields.integer("stream_len", documents)
        files = _all_written(fields.object("files"), WRITTEN_FIRST)
    sizes = {name: file.entry.bytes for name, file in files.items()}
    if (
        sizes[fmt.TOKENS] not in [length * dtype.itemsize for dtype in fmt.TOKEN_DTYPES.values()]
        or sizes[fmt.DOCUMENT_OFFSETS] != documents * fmt.OFFSET.itemsize
        or sizes[fmt.METADATA_OFFSETS] != (documents + 1) * fmt.OFFSET.itemsize
    ):
        raise ValueError("segment.files: expected the sizes that the counts give")
    return Unsorted(documents, length, files)


def _cut(given: Fields, length: int) -> Cut:
    with given as fields:
        start = fields.integer("start", 0, length)
        return Cut(start, fields.integer("end", start + 1, length), fields.boolean("inside"))


def block_of(given: Fields, length: int) -> Block:
    """The block in a stream of so many tokens that fields say. Raises ValueError."""
    with given as fields:
        start = fields.integer("start", 0, length)
        end = fields.integer("end", start + 1, length)
        return Block(start, end, fields.integer("leftover", 0, end - start))


def _as_json(file: Written) -> dict[str, Any]:
    return asdict(file.entry) | {"blocks": base64.b64encode(file.blocks.tobytes()).decode()}


def _all_as_json(files: dict[str, Written]) -> dict[str, Any]:
    return {name: _as_json(file) for name, file in files.items()}


def _all_written(given: Fields, names: Iterable[str]) -> dict[str, Written]:
    """Files of just these names."""
    with given as fields:
        return {name: _written(fields.object(name)) for name in names}


def _written(given: Fields) -> Written:
    blocks = np.frombuffer(base64.b64decode(given.text("blocks"), validate=True), fmt.CHECKSUM)
    entry = file_entry(given)
    if blocks.shape[0] != -(-entry.bytes // fmt.CHECKSUM_BLOCK):
        raise ValueError("blocks: expected a checksum of each")
    return Written(entry, blocks)
