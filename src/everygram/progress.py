"""Where a build is, how long its stages take, and how much memory it holds."""

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

MEMORY_SAMPLE_SECONDS = 0.05


@dataclass(frozen=True)
class Progress:
    """Where a build is.

    `stage` is "train", "check" (the segments to compact, or to verify), "order" (of those), "read",
    "sort", "merge", "count" (documents), "compress" (into a self-index), "plain" (a self-index's
    tokens and suffixes made), "prepare", "write", "publish", "grow" (trees of a forest), "words"
    (documents of an index, read as words), "search" (items looked for), "ngrams" (counted),
    "repeats" (found), "strike" (these), "export" (documents) or "anew" (an earlier run's work on
    another index, or with other options, is discarded); `done` of `total` is its own
    measure (bytes of files, or tokens). documents and tokens count what has been read;
    `seconds` is since the start, `stage_seconds` what this stage has taken.
    """

    stage: str
    done: int
    total: int
    documents: int
    tokens: int
    seconds: float
    stage_seconds: float


@dataclass(frozen=True)
class BuildPlan:
    """What a build would read and need, as understood before it begins.

    formats: files of each. fields: of the metadata that the first document has. tokens: estimated,
    and so are `index_bytes` and `disk_bytes`, which building takes at most; `free_bytes` are there.
    bytes_of_kind: what `index_bytes` would be of each kind of segment.
    open_ended: not every file says how large it is: the estimates are of those that do, and of what
    was looked at. merged: it is sorted in blocks on the disk, for it does not fit in `memory`,
    or is faster so with `threads`. skips: what would be left out. passed_over: files in folders
    that are not read, and why. warnings: what is hardly meant, of the first documents. parts: bytes
    of each part of the corpus, if it is divided; `merged` and `disk_bytes` are then those of parts.
    """

    num_files: int
    formats: dict[str, int]
    corpus_bytes: int
    fields: tuple[str, ...]
    tokenizer: str | None
    vocab_size: int
    tokens: int
    open_ended: bool
    index_bytes: int
    bytes_of_kind: dict[str, int]
    disk_bytes: int
    free_bytes: int
    memory: int
    threads: int
    merged: bool
    skips: tuple[str, ...]
    passed_over: dict[str, str]
    warnings: tuple[str, ...] = ()
    parts: tuple[int, ...] = ()


@dataclass(frozen=True)
class BuildReport:
    """What a build made.

    path: a folder, or the address of an object store. formats: files read of each, with what was
    taken for granted of how separators mark documents. `skips` lists the first of what was
    `skipped`, `again` files that were in the index already, and whose documents are in it once more
    now; `seconds` is what each stage took; `peak_bytes` the most memory held at once, page cache
    and mapped files not counted; `index_bytes` all files; `passed_over` as in `BuildPlan`.
    `first_document` is the number of the first one that was read. `warnings`: what is hardly meant,
    such as a field to keep that no record has; of a build that was continued, only those of this
    run.
    """

    path: Path | str
    formats: dict[str, int]
    num_documents: int
    num_tokens: int
    skipped: int
    skips: tuple[str, ...]
    seconds: dict[str, float]
    peak_bytes: int
    index_bytes: int
    again: tuple[str, ...] = ()
    passed_over: dict[str, str] = field(default_factory=dict)
    first_document: int = 0
    warnings: tuple[str, ...] = ()


# What is said when a query waits for the compiler.
NOTICE = "compiling for this kind of query, once after installation, up to half a minute…"


def _say_once(name: str, number: int) -> None:
    if number == 1:
        print(f"everygram: {NOTICE}", file=sys.stderr)


_watcher: Callable[[str, int], None] = _say_once
_compiled = 0


def on_compile(watcher: Callable[[str, int], None]) -> Callable[[str, int], None]:
    """Have the watcher called as each kernel is compiled: its name, and how many there were.

    Returns the one that was called before; at first it says so on standard error, once per process.
    """
    global _watcher
    before, _watcher = _watcher, watcher
    return before


def compiles(name: str) -> None:
    """A kernel of this name is being compiled."""
    global _compiled
    _compiled += 1
    _watcher(name, _compiled)


class Clock:
    """Times a build's stages, holds what it has read, and reports both."""

    def __init__(self, progress: Callable[[Progress], None]) -> None:
        self._progress = progress
        self._stage = ""
        self._start = self._entered = time.monotonic()
        self.documents = 0
        self.tokens = 0
        self.seconds: dict[str, float] = {}

    def enter(self, stage: str) -> None:
        """End the stage that was on and begin another."""
        self.leave()
        self._stage = stage
        self.report()

    def leave(self) -> None:
        """End the stage that was on."""
        now = time.monotonic()
        if self._stage:
            spent = now - self._entered
            self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + spent
        self._stage = ""
        self._entered = now

    def report(self, done: int = 0, total: int = 0) -> None:
        """Report the stage's own measure, and the time."""
        now = time.monotonic()
        self._progress(
            Progress(
                stage=self._stage,
                done=done,
                total=total,
                documents=self.documents,
                tokens=self.tokens,
                seconds=now - self._start,
                stage_seconds=self.seconds.get(self._stage, 0.0) + now - self._entered,
            )
        )


class PeakMemory:
    """Samples this process's memory, mapped files aside, while a build runs."""

    def __init__(self) -> None:
        import psutil  # slow to import, and queries do without

        self.bytes = 0
        self._process = psutil.Process()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            memory = self._process.memory_info()
            self.bytes = max(self.bytes, memory.rss - getattr(memory, "shared", 0))
            if self._stop.wait(MEMORY_SAMPLE_SECONDS):
                return
