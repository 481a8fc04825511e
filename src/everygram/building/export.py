"""Exports an index: as the records that it was made from, or as an index of infini-gram's."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from everygram import arguments
from everygram.arguments import Size
from everygram.building.byte_order import sorted_by_bytes
from everygram.building.stages import disk, resources
from everygram.building.tokenize import REPORT_EVERY
from everygram.durable import flush, sync_directory
from everygram.engine.engine import Engine
from everygram.errors import BuildError, OptionError
from everygram.index import Index
from everygram.progress import Clock, PeakMemory, Progress
from everygram.storage import format as fmt
from everygram.storage import infini_gram as files
from everygram.storage.disk import map_file
from everygram.storage.fences import counted
from everygram.tokenizer.base import Tokenizer

# What an index can be written as, beside what it is: as records, or as a folder of infini-gram's.
FORMATS = (JSONL, INFINI_GRAM) = ("jsonl", "infini-gram")
# A document's number, its ids, and its metadata.
Document = tuple[int, np.ndarray, dict[str, Any]]


def export(
    index: Index,
    progress: Callable[[int, int], None] | None = None,
    *,
    text_field: str | None = None,
) -> Iterator[dict[str, Any]]:
    """The documents of an index, by number, as records from which `build` would make it again.

    A record has the document's content in `text_field` (default: `text`, or `ids` if the index has
    no tokenizer), and the metadata. A text is decoded from its tokens: it is exactly what was read,
    unless the tokenizer changes text (lower case, accents). Calls `progress(documents, documents in
    all)`. Raises OptionError if `index` is not an open index, or if metadata has a field of the
    same name.
    """
    _check_open(index)
    arguments.function("progress", progress)
    if text_field is not None:
        arguments.string("text_field", text_field)
    # (Taken once: what `refresh` brings meanwhile is not mixed in.)
    engine, _, reading, manifest, _ = index._state
    found = records(engine.documents(), engine, reading.tokenizer, text_field)
    return found if progress is None else _told(found, manifest.num_documents, progress)


def _told(
    found: Iterator[dict[str, Any]], total: int, progress: Callable[[int, int], None]
) -> Iterator[dict[str, Any]]:
    for done, record in enumerate(found):
        yield record
        progress(done + 1, total)


def _check_open(index: object) -> None:
    if not isinstance(index, Index):
        raise OptionError(f"index: expected an open index, found {arguments.short(index)}")


def records(
    documents: Iterable[Document],
    engine: Engine,
    tokenizer: Tokenizer | None,
    text_field: str | None,
) -> Iterator[dict[str, Any]]:
    """As `export`, of these documents, which have the numbers of an engine."""
    name = text_field or ("ids" if tokenizer is None else "text")
    for number, ids, metadata in documents:
        if name in metadata:
            raise OptionError(
                f"{engine.called(number)}: its metadata already has a field {name!r}, which the "
                "exported record needs for the document's content; give that another name with "
                "text_field"
            )
        yield {name: ids.tolist() if tokenizer is None else tokenizer.decode(ids), **metadata}


@dataclass(frozen=True)
class Export:
    """What was exported, and where to.

    token_dtype, vocab_size: what infini-gram's engine must be told. index_bytes: of all files.
    seconds, peak_bytes: as in `BuildReport`.
    """

    path: Path
    num_documents: int
    num_tokens: int
    token_dtype: str
    vocab_size: int
    index_bytes: int
    seconds: dict[str, float]
    peak_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"path": str(self.path)}


def export_infini_gram(
    index: Index,
    out: str | os.PathLike[str],
    *,
    memory: Size | None = None,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Export:
    """Write the documents of an index as an index folder of infini-gram's version 4, of one shard.

    With the order of its suffixes, unigram counts and metadata. Of each document the latter is a
    line with `path`, `linenum` and `metadata`: its own metadata if it has just these three fields;
    else its field `path` if that is a string (or ""), its number in the index, and all of its
    metadata. Deleted documents are left out, and those after them move up.

    out: a new folder. It is there once it is complete; before, all is in a folder with
        ".unfinished" after its name, which takes up to 13 bytes per token besides.
    memory: a limit as in `build`; documents take up to 80 bytes each besides. threads, progress: as
        in `build`.

    Raises OptionError for what is no open index, an index without documents and an `out` that
    exists, BuildError if the disk is full or another export to `out` was killed.
    """
    _check_open(index)
    memory, threads = resources(memory, threads)
    path = arguments.path("out", out)
    clock = Clock(arguments.function("progress", progress) or (lambda _: None))
    engine, _, _, manifest, _ = index._state
    check_new_folder(path)
    if not manifest.num_documents:
        raise OptionError(
            f"index '{index.path}' has no documents: infini-gram opens no index without any"
        )
    documents, tokens = engine.documents(), manifest.num_tokens
    return write_infini_gram(documents, tokens, manifest, path, memory, threads, clock)


def check_new_folder(path: Path) -> None:
    """Raise OptionError unless a new folder can be at a path."""
    if os.path.lexists(path):
        raise OptionError(f"out: expected a new folder, found '{path}'; choose another name")


def write_infini_gram(
    documents: Iterable[Document],
    num_tokens: int,
    manifest: fmt.Manifest,
    path: Path,
    memory: int,
    threads: int,
    clock: Clock,
) -> Export:
    """As `export_infini_gram`, of these documents, at least one, which have so many tokens.

    manifest: of the index that they are of.
    """
    folder = path.with_name(path.name + ".unfinished")
    with disk(path), PeakMemory() as peak:
        try:
            folder.mkdir()
        except FileExistsError:
            raise BuildError(
                f"'{folder}' is there: an export to '{path}' is running, or was killed: then "
                "remove it and run the same again"
            ) from None
        try:
            _write_documents(documents, num_tokens, folder, manifest, clock)
            tokens = map_file(folder / f"{files.TOKENIZED}.0", fmt.TOKEN_DTYPES[manifest.dtype])
            ids = _write_unigrams(folder, tokens)
            _write_table(folder, tokens, ids, memory, threads, clock)
            sync_directory(folder)
            folder.rename(path)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        sync_directory(path.parent)
        clock.leave()
    return Export(
        path=path,
        num_documents=clock.documents,
        num_tokens=clock.tokens,
        token_dtype=manifest.dtype,
        vocab_size=manifest.vocab_size,
        index_bytes=sum(file.stat().st_size for file in path.iterdir()),
        seconds=clock.seconds,
        peak_bytes=peak.bytes,
    )


def _write_documents(
    documents: Iterable[Document],
    num_tokens: int,
    folder: Path,
    manifest: fmt.Manifest,
    clock: Clock,
) -> None:
    """Write tokens, metadata, and where documents begin in both."""
    clock.documents = clock.tokens = 0
    clock.enter("read")
    separator = np.full(1, manifest.separator, fmt.TOKEN_DTYPES[manifest.dtype])
    names = (files.TOKENIZED, files.OFFSET, files.METADATA, files.METAOFF)
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(_new(folder, name)) for name in names]
        tokens, offsets, lines, places = opened
        for number, ids, metadata in documents:
            for file, place in ((offsets, tokens), (places, lines)):
                file.write(place.tell().to_bytes(fmt.OFFSET.itemsize, "little"))
            tokens.write(separator.data)
            tokens.write(np.ascontiguousarray(ids, separator.dtype).data)
            lines.write(json.dumps(_line(number, metadata)).encode() + b"\n")
            clock.documents += 1
            clock.tokens += ids.shape[0]
            if clock.documents % REPORT_EVERY == 0:
                clock.report(tokens.tell(), num_tokens * separator.itemsize)
        for file in opened:
            flush(file)


def _write_unigrams(folder: Path, tokens: np.ndarray) -> np.ndarray:
    """Write how often each token occurs; returns the ids that do, ascending, of the tokens' dtype,
    without the separator."""
    ids, counts = counted(tokens)
    with _new(folder, files.UNIGRAM) as file:
        for token, count in zip(ids.tolist(), counts.tolist(), strict=True):
            file.write(f"{token} {count}\n".encode())
        flush(file)
    return ids[:-1].astype(tokens.dtype)


def _line(number: int, metadata: dict[str, Any]) -> dict[str, Any]:
    """What infini-gram has as a document's metadata."""
    if set(metadata) == {"path", "linenum", "metadata"}:
        return metadata
    path = metadata.get("path")
    return {
        "path": path if isinstance(path, str) else "",
        "linenum": number,
        "metadata": metadata,
    }


def _write_table(
    folder: Path, tokens: np.ndarray, ids: np.ndarray, memory: int, threads: int, clock: Clock
) -> None:
    """Write the table: where the suffixes are, in bytes, in the order of their bytes."""
    offsets = map_file(folder / f"{files.OFFSET}.0", fmt.OFFSET)
    places = offsets.astype(np.int64) // tokens.itemsize
    width = files.pointer_bytes(tokens.nbytes)
    work, done = folder / "sorting", 0
    pieces = sorted_by_bytes(tokens, places, ids, work, memory, threads, clock)
    with _new(folder, files.TABLE) as file:
        for positions in pieces:
            if not done:
                clock.enter("write")
            pointers = (positions * tokens.itemsize).astype(fmt.OFFSET).view(np.uint8)
            file.write(np.ascontiguousarray(pointers.reshape(-1, 8)[:, :width]).data)
            done += positions.shape[0]
            clock.report(done * width, tokens.shape[0] * width)
        flush(file)
    shutil.rmtree(work)


def _new(folder: Path, name: str) -> BinaryIO:
    return (folder / f"{name}.0").open("xb", buffering=1 << 20)
