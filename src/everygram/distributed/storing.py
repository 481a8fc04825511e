"""Builds the parts of a corpus where there is room, and keeps them in an object store.

The driver writes at the address which build it is for. A task builds its part in a folder of its
machine's own and copies the segment to where it will be in the index, then notes it there. Once all
are there, the driver writes the manifest. What is noted is not built again, whoever asks for it:
nothing of a build is kept anywhere else.
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

# Which build an address is for, and what was made of a part: files of JSON values, each with the
# build's digest.
CLAIM = "build.json"
NOTE, IS_NOTE = "part-{:06d}.json", re.compile(r"part-[0-9]+\.json")
IS_OF_SEGMENT = re.compile(fmt.SEGMENT_NAME.pattern + "/.*")
IS_OURS = re.compile("|".join((CLAIM, fmt.TOKENIZER, IS_NOTE.pattern, IS_OF_SEGMENT.pattern)))


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
        raise _holds_an_index(store)
    claim = _read(store, CLAIM)
    ours = [name for name in there if claim is not None and IS_OURS.fullmatch(name)]
    others = sorted(there.keys() - {*ours})
    if others:
        raise BuildError(
            f"'{store.address}' is not empty: it holds {others[0]!r}; choose another address"
        )
    if restart:
        # (The claim goes last: without it the rest would be somebody's.)
        store.remove([name for name in ours if name != CLAIM])
        store.remove([name for name in ours if name == CLAIM])
        claim = None
    with tempfile.TemporaryDirectory(prefix="everygram-") as scratch:
        yield Path(scratch) / "index", Storing(store, claim)


class Storing:
    """What an address has of a build, and how the rest gets there."""

    def __init__(self, store: Store, claim: dict[str, Any] | None) -> None:
        self._store, self._claim = store, claim
        self._build = ""

    @property
    def parts(self) -> int | None:
        """The number of parts of the build that was begun; None if there is none."""
        return None if self._claim is None else int(self._claim["parts"])

    def run(
        self, ray: Any, jobs: Sequence[Job], tell: Callable[[int, Progress], None]
    ) -> Iterator[tuple[int, BuildReport]]:
        """Build parts as tasks. Raises as `run_jobs`, BuildError for parts of another build."""
        self._build = _digest(jobs)
        if self._claim is None:
            self._claim = {"build": self._build, "parts": len(jobs)}
            self._store.write(CLAIM, json.dumps(self._claim).encode())
        _check_claim(self._store, self._build)
        do = partial(_store_part, self._store.address, self._build)
        folders = {job.number: job.folder for job in jobs}
        for number, made in run_jobs(ray, jobs, do, _named, tell):
            folders[number].mkdir(parents=True, exist_ok=True)
            (folders[number] / fmt.MANIFEST).write_bytes(made.manifest)
            yield number, made.report

    def publish(self, folder: Path) -> None:
        """Let the index whose manifest is in a folder be what is at the address.

        Raises BuildError if a file of it is not there.
        """
        files = files_of(read_manifest(folder))
        there = self._store.sizes()
        if fmt.MANIFEST in there:
            raise _holds_an_index(self._store)
        _check_claim(self._store, self._build)
        for name, file in files.items():
            if there.get(name) != file.bytes:
                raise BuildError(
                    f"{self._store.address}/{name}: expected {file.bytes:,} bytes, found "
                    f"{there.get(name, 0):,}; discard the build with --restart"
                )
        for name in (fmt.TOKENIZER, fmt.MANIFEST):
            if (folder / name).exists():
                self._store.put(folder / name, name)
        left = [each for each in there if IS_OF_SEGMENT.fullmatch(each) and each not in files]
        notes = [each for each in there if IS_NOTE.fullmatch(each)]
        self._store.remove([*left, *notes, CLAIM])


def _holds_an_index(store: Store) -> BuildError:
    return BuildError(f"'{store.address}' already holds an index; choose another address")


def _read(store: Store, name: str) -> dict[str, Any] | None:
    """A claim or a note; None if there is none, or half of one."""
    try:
        found = json.loads(store.read(name))
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) and "build" in found else None


def _check_claim(store: Store, build: str) -> None:
    """Raise BuildError if an address is for another build."""
    claim = _read(store, CLAIM)
    if claim is None or claim["build"] != build:
        raise BuildError(
            f"'{store.address}' holds an interrupted build of another corpus or with other "
            "options, or another one is under way: run that again as it was to finish it, or "
            "discard it with --restart"
        )


def _digest(jobs: Sequence[Job]) -> str:
    """Tells a build from others: of all that its bytes depend on."""
    first = jobs[0]
    same = replace(first, number=0, folder=Path(), part=(), memory=0, threads=0)
    said = repr((same, [job.part for job in jobs]))
    return hashlib.sha256(said.encode()).hexdigest()


def _store_part(address: str, build: str, job: Job, tell: Callable[[Progress], None]) -> _Stored:
    """A task: build a part here, unless it is noted there, and copy it there."""
    store, note = Store(address), NOTE.format(job.number)
    known = _read(store, note)
    if known is not None and known["build"] == build:
        return _Stored(report_of(known["report"], job.folder), known["manifest"].encode())
    with tempfile.TemporaryDirectory(prefix="everygram-") as scratch:
        folder = Path(scratch) / "part"
        report = build_part(replace(job, folder=folder), tell)
        manifest = (folder / fmt.MANIFEST).read_bytes()
        _check_claim(store, build)
        for entry in read_manifest(folder).segments:
            for name in entry.files:
                store.put(folder / entry.name / name, f"{fmt.segment_name(job.number)}/{name}")
    fields = {"build": build, "report": fields_of(report), "manifest": manifest.decode()}
    store.write(note, json.dumps(fields).encode())
    return _Stored(report, manifest)


def _named(job: Job) -> str:
    return f"part {job.number}"
