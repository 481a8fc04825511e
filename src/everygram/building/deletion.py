"""Deletes documents.

No segment is rewritten: the deleted documents form a new segment, whose counts are subtracted.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from everygram import arguments
from everygram.arguments import Size, as_integer, short
from everygram.building.segment_builder import write_documents
from everygram.building.stages import disk, resources
from everygram.encoding import Query
from everygram.engine.engine import Engine
from everygram.engine.intervals import damaged
from everygram.errors import OptionError, QueryError
from everygram.index import Index
from everygram.storage.build_state import Done
from everygram.storage.directory import changed_index, free_segment, publish
from everygram.storage.fields import Fields
from everygram.storage.metadata import ABSENT, field_and_value, has_value, value_of

# Occurrences whose documents are looked up at a time.
LOOKED_AT = 1 << 16


@dataclass(frozen=True)
class Deletion:
    """What a deletion removed, or with `dry_run` would remove: document numbers, and tokens.

    `missing_field`: the field of `where` if no document has it.
    """

    path: Path
    documents: tuple[int, ...]
    num_tokens: int
    dry_run: bool
    missing_field: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "path": str(self.path),
            "documents": list(self.documents),
            "num_documents": len(self.documents),
            "num_tokens": self.num_tokens,
            "dry_run": self.dry_run,
            "missing_field": self.missing_field,
        }


def delete(
    index: str | os.PathLike[str],
    *,
    documents: int | Iterable[int] | None = None,
    where: tuple[str, str | float | bool | None] | None = None,
    matching: Query | None = None,
    raw: bool = False,
    missing_ok: bool = False,
    dry_run: bool = False,
    memory: Size | None = None,
    threads: int | None = None,
) -> Deletion:
    """Delete documents: queries do not see them once the index is opened anew or refreshed.

    documents: the numbers of the documents, or one number.
    where: a field of the metadata (`a.b` for a nested field) and its value: a string as it is; a
        number, a boolean, None or their JSON; of any other value its JSON.
    matching: an n-gram (text or ids) that the documents contain; `raw` as in queries.
    missing_ok: ignore numbers of documents that were deleted before.
    dry_run: only report what would be deleted. Needs no lock and no permission to write.
    memory, threads: as in `build`.

    Give exactly one of the first three. Document numbers do not change and are never reused.
    Deleted documents stay on the disk until `compact`. Raises OptionError, QueryError for a
    document that does not exist, BuildError, and the errors of `open`; the index is then unchanged.
    """
    if sum(way is not None for way in (documents, where, matching)) != 1:
        raise OptionError("delete: expected one of documents, where, and matching")
    raw, dry_run = arguments.flag("raw", raw), arguments.flag("dry_run", dry_run)
    missing_ok = arguments.flag("missing_ok", missing_ok)
    if missing_ok and documents is None:
        raise OptionError("missing_ok: goes with documents, not with where or matching")
    wanted = None if documents is None else _listed(documents)
    field = None if where is None else field_and_value(where)
    memory, threads = resources(memory, threads)
    path = arguments.path("index", index)

    def choose(opened: Index) -> np.ndarray:
        if wanted is not None:
            return _checked(opened.engine, wanted, missing_ok)
        if field is not None:
            return _where(opened, *field)
        assert matching is not None
        return _matching(opened, matching, raw)

    def missing(opened: Index) -> str | None:
        known = field is None or any(
            value_of(metadata, field[0]) is not ABSENT
            for _, _, metadata in opened.engine.documents()
        )
        return None if known or field is None else field[0]

    if dry_run:
        with Index(path) as opened:
            found = _found(path, opened, choose(opened), dry_run)[0]
            return found if found.documents else replace(found, missing_field=missing(opened))
    with (
        disk(path),
        changed_index(path, "deletion") as (manifest, _, done),
        Index(path) as opened,
    ):
        told = {
            # (In hexadecimal: Python refuses to write integers of thousands of digits in decimal.)
            "documents": None if wanted is None else sorted(set(map(_written, wanted))),
            "where": None if field is None else list(field),
            "matching": None if matching is None else opened.encode(matching, raw=raw).tolist(),
        }
        if done is not None:
            answer = done.answer("deletion", told, [], lambda report: _reported(path, report))
            if answer is not None:
                return answer
        numbers = choose(opened)
        found, ids = _found(path, opened, numbers, dry_run)
        if not found.documents:
            return replace(found, missing_field=missing(opened))
        entry = write_documents(
            path / free_segment(path, manifest),
            manifest.dtype,
            ((each, b"{}") for each in ids),
            memory,
            threads,
            sign=-1,
            numbers=numbers,
            document_counts=manifest.document_counts,
        )
        report = {"documents": list(found.documents), "num_tokens": found.num_tokens}
        after = replace(manifest, segments=(*manifest.segments, entry))
        publish(path, after, None, Done("deletion", told, [], report))
    return found


def _reported(path: Path, given: Fields) -> Deletion:
    """The report of a deletion that is done, and was killed before it could give it."""
    with given as fields:
        documents = tuple(fields.integers("documents"))
        return Deletion(path, documents, fields.integer("num_tokens"), dry_run=False)


def _listed(documents: Any) -> list[Any]:
    """The document numbers as a list, not checked yet. Raises OptionError for other types."""
    if as_integer(documents) is not None:
        return [documents]
    try:
        if isinstance(documents, str | bytes | Mapping):
            raise TypeError
        return list(documents)
    except TypeError:
        raise OptionError(
            f"documents: expected a list of numbers, found {short(documents)}"
        ) from None


def _written(number: object) -> str:
    """A number as `done.json` has it; of what is none, its type."""
    integer = as_integer(number)
    return type(number).__name__ if integer is None else hex(integer)


def _checked(engine: Engine, documents: list[Any], missing_ok: bool) -> np.ndarray:
    """The document numbers, ascending, each once: int64. Raises QueryError for any other value."""
    given = [as_integer(number) for number in documents]
    for place, number in enumerate(given):
        if number is None or not 0 <= number < engine.next_document:
            engine.document(documents[place] if number is None else number)  # raises
    numbers = np.unique(np.array(given, np.int64))
    # A deleted document is also in a segment of sign −1 or, after a compaction, in no segment.
    live = np.zeros(numbers.shape, np.bool_)
    for segment in engine.segments:
        if segment.entry.sign > 0:
            live |= segment.local_of(numbers) >= 0
    live &= ~engine.deleted(numbers)
    if not (missing_ok or live.all()):
        number = int(numbers[~live][0])
        raise QueryError(f"document {number}: it was deleted; pass missing_ok to ignore such ones")
    return numbers[live]


def _found(
    path: Path, index: Index, numbers: np.ndarray, dry_run: bool
) -> tuple[Deletion, list[np.ndarray]]:
    """What deleting the documents of these numbers takes away, and their ids."""
    ids = _ids_of(index.engine, numbers)
    num_tokens = sum(each.shape[0] for each in ids)
    return Deletion(path, tuple(numbers.tolist()), num_tokens, dry_run), ids


def _ids_of(engine: Engine, numbers: np.ndarray) -> list[np.ndarray]:
    """The ids of the documents with these numbers.

    Precondition: the documents are not deleted.
    """
    ids: dict[int, np.ndarray] = {}
    for segment in engine.segments:
        local = segment.local_of(numbers)
        if segment.entry.sign > 0:
            for place in np.flatnonzero(local >= 0).tolist():
                start, end = segment.document_bounds(int(local[place]))
                ids[place] = segment.text(start, end)
    if len(ids) < numbers.shape[0]:
        raise damaged(engine.path, "a document that is in no segment")
    return [ids[place] for place in range(numbers.shape[0])]


def _where(index: Index, field: str, value: str) -> np.ndarray:
    """The numbers of the documents with `value` in this field of their metadata: int64.

    value: a string as it is, any other value as JSON.
    """
    numbers = []
    for number, _, metadata in index.engine.documents():
        if has_value(metadata, field, value):
            numbers.append(number)
    return np.array(numbers, np.int64)


def _matching(index: Index, query: Query, raw: bool) -> np.ndarray:
    """The numbers of the documents that contain the query, ascending: int64."""
    ids = index.encode(query, raw=raw)
    if not ids.size:
        raise QueryError("matching: expected an n-gram, found an empty one, which all contain")
    engine = index.engine
    intervals = engine.find_batch(engine.vocabulary.query(ids))[0]
    numbers = [np.empty(0, np.int64)]
    for number, (lo, hi) in enumerate(intervals.tolist()):
        for start in range(lo, hi, LOOKED_AT):
            ranks = np.arange(start, min(hi, start + LOOKED_AT))
            numbers.append(np.unique(engine.documents_of(number, ranks)))
    every = np.unique(np.concatenate(numbers))
    live: np.ndarray = every[~engine.deleted(every)]
    return live
