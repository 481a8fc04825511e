"""What a build or an addition publishes, what it reports, and how it knows that it is done already.

Knows the files that an index was made of by their marks; does not know how segments are made.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Unpack

from everygram import arguments
from everygram.building.source import Source
from everygram.building.stages import Stages
from everygram.corpus.memory import Given
from everygram.corpus.source import CorpusKeywords, CorpusOptions, NamedCorpus, absolute
from everygram.progress import BuildReport
from everygram.storage import format as fmt
from everygram.storage.build_state import BuildState, Done
from everygram.storage.directory import publish, read_manifest
from everygram.storage.fields import Fields

# Hex digits by which an index recognizes a file: among a million files, no two have the same.
MARK = 16


def answer(done: Done, begun: BuildState, source: Source, path: Path) -> BuildReport | None:
    """The report of a change that is done, if it is the one that has begun; else None."""

    def reported(fields: Fields) -> BuildReport:
        return BuildReport(
            path=path,
            formats=source.corpus.formats,
            num_documents=fields.integer("num_documents"),
            num_tokens=fields.integer("num_tokens"),
            skipped=fields.integer("skipped"),
            skips=tuple(fields.texts("skips")),
            seconds=fields.numbers("seconds"),
            peak_bytes=fields.integer("peak_bytes"),
            index_bytes=fields.integer("index_bytes"),
            again=tuple(fields.texts("again")),
            passed_over=source.corpus.passed_over,
            first_document=fields.integer("first_document"),
            warnings=tuple(fields.texts("warnings")),
        )

    if begun.inputs is None:  # it cannot be told whether they are the same
        return None
    return done.answer(begun.operation, begun.arguments, begun.inputs, reported)


def publish_change(
    stages: Stages,
    source: Source,
    manifest: fmt.Manifest,
    tokenizer_json: bytes | None,
    made: tuple[fmt.SegmentEntry, ...],
    peak_bytes: int,
) -> BuildReport:
    """Publish segments as part of the index, and report what was made."""
    stages.clock.enter("publish")
    state = stages.state
    marks = _marks(state.inputs)
    known = _known_marks(manifest)
    report = BuildReport(
        path=stages.path,
        formats=source.corpus.formats,
        num_documents=sum(segment.num_documents for segment in made),
        num_tokens=sum(segment.num_tokens for segment in made),
        skipped=state.skipped,
        skips=tuple(state.skips),
        seconds=stages.clock.seconds,
        peak_bytes=peak_bytes,
        index_bytes=sum(f.bytes for s in made for f in s.files.values()),
        again=tuple(name for mark, name in marks.items() if mark in known),
        passed_over=source.corpus.passed_over,
        first_document=manifest.next_document,
        warnings=source.warnings,
    )
    publish(
        stages.path,
        replace(
            manifest,
            segments=manifest.segments + made,
            next_document=manifest.next_document + report.num_documents,
            build={
                "seconds": {name: round(s, 3) for name, s in report.seconds.items()},
                "peak_bytes": report.peak_bytes,
                "skipped": report.skipped,
                "inputs": "".join(sorted({*known, *marks})),
            },
        ),
        tokenizer_json,
        _done(state, report),
    )
    return report


def _done(state: BuildState, report: BuildReport) -> Done | None:
    """What `_answer` reads, unless it could not tell the change from others."""
    if state.inputs is None:
        return None
    fields = asdict(report)
    del fields["path"]
    return Done(state.operation, state.arguments, state.inputs, fields)


def marks_of(corpus: Given, **options: Unpack[CorpusKeywords]) -> list[str]:
    """A mark of each file as it is now, by which `has_marks` knows it again in an index."""
    named = NamedCorpus(corpus, CorpusOptions(**options))
    files = (named.ids() if named.are_ids else named.text()).files
    return sorted(_marks([[absolute(file.name), file.size, file.version] for file in files]))


def has_marks(index: str | os.PathLike[str], marks: Iterable[str]) -> bool:
    """Whether the documents of the files with these marks were put into an index.

    Raises the errors of `read_manifest`.
    """
    return set(marks) <= _known_marks(read_manifest(arguments.path("index", index)))


def _marks(inputs: list[Any] | None) -> dict[str, str]:
    """A mark of each file as it is now, by which an index knows it again, and its name."""
    return {
        hashlib.sha256(json.dumps([name, size, version]).encode()).hexdigest()[:MARK]: name
        for name, size, version in inputs or ()
        # (Of others nobody knows whether they are the same.)
        if version or name.startswith("datasets:")
    }


def _known_marks(manifest: fmt.Manifest) -> set[str]:
    """The marks of the files whose documents were put into an index."""
    known = manifest.build.get("inputs")
    if not isinstance(known, str):
        return set()
    return {known[start : start + MARK] for start in range(0, len(known), MARK)}
