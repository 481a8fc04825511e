"""Builds the parts of a corpus where there is room, and keeps them in an object store.

A task builds its part in a folder of its machine's own and copies the segment to where it will be
in the index, then notes it there. Once all are there, the driver writes the manifest. What is noted
is not built again, whoever asks for it: nothing of a build is kept anywhere else.
"""

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from everygram.building.indexer import build_part
from everygram.building.parts import Job, fields_of, report_of
from everygram.building.transfer import files_of
from everygram.distributed.running import run_jobs
from everygram.errors import BuildError
from everygram.progress import BuildReport, Progress
from everygram.storage import format as fmt
from everygram.storage.directory import read_manifest
from everygram.storage.store import Store

# What a note of a part is called, in the store.
NOTE, IS_NOTE = "part-{:06d}.json", re.compile(r"part-[0-9]+\.json")


class _Stored(NamedTuple):
    """What was made of a part: the files of its index's folder that are small."""

    report: BuildReport
    manifest: bytes


@contextmanager
def stored(address: str, restart: bool) -> Iterator[tuple[Path, "Storing"]]:
    """A build whose index will be at an address: a folder for what is done here, and what keeps its
    parts. Raises BuildError if there is an index already, FormatError if it cannot be reached.

    restart: forget what an interrupted build has left there.
    """
    store = Store(address)
    there = store.sizes()
    if fmt.MANIFEST in there:
        raise BuildError(f"'{store.address}' already holds an index; choose another address")
    notes = [name for name in there if IS_NOTE.fullmatch(name)]
    if restart:
        store.remove(notes)
        notes = []
    others = [name for name in there if not name.startswith((fmt.SEGMENT_PREFIX, "part-"))]
    if others:
        raise BuildError(
            f"'{store.address}' is not empty: it holds {others[0]!r}; choose another address"
        )
    with tempfile.TemporaryDirectory(prefix="everygram-") as scratch:
        yield Path(scratch) / "index", Storing(store, notes)


class Storing:
    """What an address has of a build, and how the rest gets there."""

    def __init__(self, store: Store, notes: Sequence[str]) -> None:
        self._store = store
        self._known = json.loads(store.read(notes[0])) if notes else None

    @property
    def parts(self) -> int | None:
        """The number of parts of the build that was begun; None if there is none."""
        return None if self._known is None else int(self._known["parts"])

    def run(
        self, ray: Any, jobs: Sequence[Job], tell: Callable[[int, Progress], None]
    ) -> Iterator[tuple[int, BuildReport]]:
        """Build parts as tasks. Raises as `run_jobs`, BuildError for parts of another build."""
        if not jobs:
            return
        of = _digest(jobs)
        if self._known is not None and self._known["build"] != of:
            raise BuildError(
                f"'{self._store.address}' holds an interrupted build of another corpus or with "
                "other options: run it again as it was to finish it, or discard it with --restart"
            )
        do = partial(_store_part, self._store.address, of, len(jobs))
        folders = {job.number: job.folder for job in jobs}
        for number, made in run_jobs(ray, jobs, do, _named, tell):
            folders[number].mkdir(parents=True, exist_ok=True)
            (folders[number] / fmt.MANIFEST).write_bytes(made.manifest)
            yield number, made.report

    def publish(self, folder: Path) -> None:
        """Let the index whose manifest is in a folder be what is at the address.

        Raises BuildError if a file of it is not there.
        """
        there = self._store.sizes()
        for name, file in files_of(read_manifest(folder)).items():
            if there.get(name) != file.bytes:
                raise BuildError(
                    f"{self._store.address}/{name}: expected {file.bytes:,} bytes, found "
                    f"{there.get(name, 0):,}; discard the build with --restart"
                )
        for name in (fmt.TOKENIZER, fmt.MANIFEST):
            if (folder / name).exists():
                self._store.put(folder / name, name)
        self._store.remove([name for name in there if IS_NOTE.fullmatch(name)])


def _digest(jobs: Sequence[Job]) -> str:
    """Tells a build from others: of all that its bytes depend on."""
    first = jobs[0]
    same = replace(first, number=0, folder=Path(), part=(), memory=0, threads=0)
    said = repr((same, [job.part for job in jobs]))
    return hashlib.sha256(said.encode()).hexdigest()


def _store_part(
    address: str, build: str, parts: int, job: Job, tell: Callable[[Progress], None]
) -> _Stored:
    """A task: build a part here, unless it is noted there, and copy it there."""
    store, note = Store(address), NOTE.format(job.number)
    try:
        known = json.loads(store.read(note))
    except FileNotFoundError:
        known = None
    if known is not None and known["build"] == build:
        return _Stored(report_of(known["report"], job.folder), known["manifest"].encode())
    with tempfile.TemporaryDirectory(prefix="everygram-") as scratch:
        folder = Path(scratch) / "part"
        report = build_part(replace(job, folder=folder), tell)
        manifest = (folder / fmt.MANIFEST).read_bytes()
        for entry in read_manifest(folder).segments:
            for name in entry.files:
                store.put(folder / entry.name / name, f"{fmt.segment_name(job.number)}/{name}")
    fields = {"build": build, "parts": parts, "report": fields_of(report)}
    store.write(note, json.dumps(fields | {"manifest": manifest.decode()}).encode())
    return _Stored(report, manifest)


def _named(job: Job) -> str:
    return f"part {job.number}"
