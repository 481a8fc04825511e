"""A folder in which a run keeps what it has finished, so that one that is killed can go on.

Knows folders and questions; what is sorted in them, `Stages` knows. What was made for another
index, or for this one before it changed, or to answer another question of the same kind, is
removed.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import numpy as np

from everygram.building.stages import Stages, disk
from everygram.durable import sync_directory
from everygram.errors import OptionError
from everygram.index import Index
from everygram.progress import Clock
from everygram.storage import format as fmt
from everygram.storage.build_state import BuildState
from everygram.storage.directory import take_lock
from everygram.storage.disk import write_synced

# Folders of indexes, by the digest of what an index is.
FOLDER = re.compile("index-[0-9a-f]{16}")
DIGEST_BYTES = hashlib.sha256().digest_size


class Work:
    """A folder for what is made of an index; keeps: whether a later run may find it there."""

    def __init__(self, path: Path, keeps: bool, clock: Clock) -> None:
        self.path, self.keeps, self.clock = path, keeps, clock

    def folder(self, name: str) -> "Work":
        """A folder in this one."""
        path = self.path / name
        path.mkdir(exist_ok=True)
        return Work(path, self.keeps, self.clock)

    def inner(self, kind: str, digest: str) -> "Work":
        """The folder for one question of a kind; what answers others of that kind is removed."""
        name = f"{kind}-{digest}"
        others = [each for each in self.path.glob(f"{kind}-*") if each.name != name]
        if others:
            self.clock.enter("anew")
            for each in others:
                shutil.rmtree(each)
        return self.folder(name)

    def stages(self, name: str) -> Stages:
        """The stages of a segment that is sorted in a folder of this name, from where they are."""
        folder = self.path / name
        folder.mkdir(exist_ok=True)
        shutil.rmtree(folder / fmt.PLAIN, ignore_errors=True)  # (It is begun anew.)
        inputs: list[Any] | None = [] if self.keeps else None
        begun = BuildState("sorting", {}, inputs, folder=fmt.segment_name(1))
        left = BuildState.read(folder) if self.keeps else None
        return Stages(folder, left, begun, clock=self.clock)

    def keep(self, name: str, numbers: np.ndarray) -> None:
        """Keep an array of int64 in a file of this name, in one step."""
        data = np.ascontiguousarray(numbers, "<i8").tobytes()
        temporary = self.path / (name + ".tmp")
        write_synced(temporary, hashlib.sha256(data).digest() + data)
        temporary.rename(self.path / name)
        sync_directory(self.path)

    def kept(self, name: str) -> np.ndarray | None:
        """The numbers that were kept under this name, in a row; None if there are none."""
        try:
            data = (self.path / name).read_bytes()
        except OSError:
            return None
        digest, data = data[:DIGEST_BYTES], data[DIGEST_BYTES:]
        if hashlib.sha256(data).digest() != digest:
            return None
        return np.frombuffer(data, "<i8")


def digest_of(question: object) -> str:
    """16 hex digits that name a question, which JSON has, to this version of everygram."""
    from importlib.metadata import version  # slow to import

    asked = json.dumps([version("everygram"), question], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()[:16]


@contextmanager
def work_on(index: Index, path: Path | None, clock: Clock) -> Iterator[Work]:
    """The work on an index in a folder, which is made if it is not there; None: in a temporary one.

    Raises OptionError for a folder with files of others in it, BuildError while another run has it,
    and where the disk is full or cannot be written.
    """
    if path is None:
        with disk(Path(gettempdir())), TemporaryDirectory(prefix="everygram-") as name:
            yield Work(Path(name), False, clock)
        return
    with disk(path):
        path.mkdir(parents=True, exist_ok=True)
        for each in sorted(path.iterdir()):
            if each.name != fmt.LOCK and not (each.is_dir() and FOLDER.fullmatch(each.name)):
                raise OptionError(
                    f"work_dir: expected an empty or a new folder, or one of an earlier run, found "
                    f"'{path}', with {each.name!r} in it"
                )
        lock = take_lock(path)
        try:
            yield Work(path, True, clock).inner("index", digest_of(index.manifest.digest))
        finally:
            os.close(lock)
