"""The finished stages of a change of an index, stored in `build.json`, so that it can be resumed.

Knows the file; knows nothing of how any stage is done.
"""

import base64
import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from everygram.storage import format as fmt
from everygram.storage.disk import Written, sync_directory, write_synced


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

    operation, arguments, inputs: which change it is, as JSON values. folder: of its segment.
    tokenizer: the hash of the tokenizer's file. trained: whether a trained tokenizer is in the
    index already. segment, cuts, skipped, skips: set once the documents are read. blocks: those
    that are sorted. merged: whether the suffix array is written. seconds: the time of each stage.
    """

    operation: str
    arguments: dict[str, Any]
    inputs: list[Any]
    folder: str | None = None
    tokenizer: str | None = None
    trained: bool = False
    segment: Unsorted | None = None
    cuts: list[Cut] = field(default_factory=list)
    skipped: int = 0
    skips: list[str] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    merged: bool = False
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The state that a killed change left in the index at `path`; None if there is none.

        A file that is damaged or of another version counts as none: the change begins anew.
        """
        try:
            fields = json.loads((path / fmt.BUILD).read_bytes())
            if fields.pop("checksum") != _checksum(fields):
                return None
            if (segment := fields["segment"]) is not None:
                files = {name: _written(file) for name, file in segment["files"].items()}
                fields["segment"] = Unsorted(**segment | {"files": files})
            fields["cuts"] = [Cut(**cut) for cut in fields["cuts"]]
            fields["blocks"] = [Block(**block) for block in fields["blocks"]]
            return cls(**fields)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    def write(self, path: Path) -> None:
        """Write the state to the index at `path`, in one step."""
        fields = asdict(self)
        if self.segment is not None:
            files = self.segment.files.items()
            fields["segment"]["files"] = {name: _as_json(file) for name, file in files}
        fields["checksum"] = _checksum(fields)
        temporary = path / (fmt.BUILD + ".tmp")
        write_synced(temporary, json.dumps(fields, indent=2).encode())
        temporary.rename(path / fmt.BUILD)
        sync_directory(path)


def _as_json(file: Written) -> dict[str, Any]:
    return asdict(file.entry) | {"blocks": base64.b64encode(file.blocks.tobytes()).decode()}


def _written(file: dict[str, Any]) -> Written:
    blocks = np.frombuffer(base64.b64decode(file.pop("blocks")), fmt.CHECKSUM)
    return Written(fmt.FileEntry(**file), blocks)


def _checksum(fields: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
