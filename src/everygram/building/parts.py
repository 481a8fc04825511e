"""A corpus indexed in parts: each is built by itself, anywhere and in any order, as a build is.

A part is an index of one segment, in a folder inside the new index's. Once all are built, their
segments become those of the new index, and documents are numbered in the corpus's order. Knows what
a part is and what is made of the parts; does not know where they are built.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from everygram import arguments
from everygram.corpus.dividing import Part
from everygram.durable import sync_directory
from everygram.errors import OptionError
from everygram.progress import BuildReport, Clock, Progress
from everygram.storage import format as fmt
from everygram.storage.directory import read_manifest
from everygram.storage.disk import write_synced

# More parts than anybody wants, of which the list is still short.
MOST = 100_000
# In the folder of a part: what its build made.
REPORT = "report.json"


@dataclass(frozen=True)
class Job:
    """All that the build of one part needs to know, wherever it runs.

    number: of the part, from 1 on. folder: for its index. arguments, inputs: of the whole corpus,
    as in `Source`. stored, tokenizer: the tokenizer's entry and its file. The rest: as in `build`.
    """

    number: int
    folder: Path
    part: Part
    arguments: dict[str, Any]
    inputs: list[Any]
    stored: fmt.TokenizerEntry
    tokenizer: bytes | None
    vocab_size: int
    document_counts: bool
    kind: str
    sample_every: int | None
    memory: int
    threads: int


# Builds parts: calls the function with the number of one and how far it is; gives, for each that is
# built, its number and its report.
Run = Callable[[Sequence[Job], Callable[[int, Progress], None]], Iterator[tuple[int, BuildReport]]]


def checked_number(parts: object) -> int | None:
    """A number of parts, as it was given. Raises OptionError for what is none."""
    number = None if parts is None else arguments.natural("parts", parts, 1)
    if number is not None and number > MOST:
        raise OptionError(f"parts: expected at most {MOST:,}, found {number:,}")
    return number


def part_name(number: int) -> str:
    """The name of the folder in which part `number` of a corpus is built."""
    return f"part-{number:06d}"


def report_of(fields: dict[str, Any], path: Path) -> BuildReport:
    """The report that was written down as these JSON values."""
    listed = {name: tuple(fields[name]) for name in ("skips", "again", "warnings")}
    return BuildReport(**fields | listed | {"path": path})


def fields_of(report: BuildReport) -> dict[str, Any]:
    """A report as JSON values."""
    fields = asdict(report)
    del fields["path"]
    return fields


def finished(job: Job) -> BuildReport | None:
    """What was made of a part that is built, or None."""
    try:
        return report_of(json.loads((job.folder / REPORT).read_bytes()), job.folder)
    except (OSError, ValueError):
        return None


def note(job: Job, report: BuildReport) -> None:
    """Let a part be `finished`."""
    temporary = job.folder / (REPORT + ".tmp")
    write_synced(temporary, json.dumps(fields_of(report)).encode())
    temporary.rename(job.folder / REPORT)
    sync_directory(job.folder)


def build_parts(jobs: Sequence[Job], run: Run, clock: Clock) -> list[BuildReport]:
    """Build the parts that are not built; returns the reports of all, in their order."""
    reports = {job.number: report for job in jobs if (report := finished(job)) is not None}
    sizes = {number: (each.num_documents, each.num_tokens) for number, each in reports.items()}

    def note_size(number: int, documents: int, tokens: int) -> None:
        sizes[number] = documents, tokens
        clock.documents = sum(documents for documents, _ in sizes.values())
        clock.tokens = sum(tokens for _, tokens in sizes.values())
        clock.report(len(reports), len(jobs))

    def tell(number: int, progress: Progress) -> None:
        if number not in reports:
            note_size(number, progress.documents, progress.tokens)

    clock.enter("parts")
    # (The report's file, looked for before, may seem to be missing here for a while longer, if
    # another machine has written it.)
    for number, report in run([job for job in jobs if job.number not in reports], tell):
        reports[number] = report
        note_size(number, report.num_documents, report.num_tokens)
    return [reports[job.number] for job in jobs]


def common_warnings(reports: Sequence[BuildReport]) -> tuple[str, ...]:
    """Those of the first part with documents, which is warned of in each: in the same words, up to
    what the part itself has."""
    some = [each.warnings for each in reports if each.num_documents]
    of_all = [{warning.split(";")[0] for warning in warnings} for warnings in some]
    return tuple(
        warning
        for warning in (some[0] if some else ())
        if all(warning.split(";")[0] in each for each in of_all)
    )


def collected(path: Path, jobs: Sequence[Job]) -> tuple[fmt.SegmentEntry, ...]:
    """Let the segments of the parts be segments of the index at `path`; returns their entries.

    A part whose segment is there already stays as it is. Precondition: all are built.
    """
    entries: list[fmt.SegmentEntry] = []
    documents = 0
    for job in jobs:
        for entry in read_manifest(job.folder).segments:
            name = fmt.segment_name(job.number)
            made, target = job.folder / entry.name, path / name
            if made.exists():
                made.rename(target)
                sync_directory(path)
            entries.append(replace(entry, name=name, first_document=documents))
            documents += entry.num_documents
    return tuple(entries)


def forget(path: Path) -> None:
    """Remove what parts have left in the folder of an index."""
    for folder in path.iterdir():
        if fmt.PART_NAME.fullmatch(folder.name):
            shutil.rmtree(folder)
