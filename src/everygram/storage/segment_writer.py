"""Writes a segment: ids of documents in, the files of `format` out.

Knows nothing of text, of other segments, or of the manifest's own file.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from everygram.durable import sync_directory
from everygram.storage import format as fmt
from everygram.storage.disk import (
    Checksums,
    HashedFile,
    Written,
    as_bytes,
    block_checksums,
    map_file,
    map_positions,
    map_tokens,
    write_array,
)
from everygram.storage.document_counts import document_counts
from everygram.storage.fences import fence_keys_of, fence_tree, segment_key_bits, unigram_table
from everygram.storage.segment import Segment
from everygram.storage.self_index import key_bits


class SegmentWriter:
    """Takes documents and writes the files that need no sorting: tokens, offsets, metadata.

    Documents are written to disk as they are added. Then call `close`, sort
    (`building.external_sort`), and call `finish_segment`.
    """

    def __init__(self, folder: Path, dtype: str) -> None:
        folder.mkdir()
        self.folder = folder
        self._token_dtype = fmt.TOKEN_DTYPES[dtype]
        self._separator = np.full(1, fmt.separator_of(dtype), self._token_dtype)
        names = (fmt.TOKENS, fmt.METADATA, fmt.DOCUMENT_OFFSETS, fmt.METADATA_OFFSETS)
        self._files = {name: HashedFile(folder / name) for name in names}
        self._metadata_len = 0
        self._add_offset(fmt.METADATA_OFFSETS, 0)
        self.stream_len = 0
        self.num_documents = 0

    def add(self, ids: np.ndarray, metadata: bytes) -> None:
        """Append a document. Precondition: every id is in the vocabulary."""
        self._add_offset(fmt.DOCUMENT_OFFSETS, self.stream_len)
        tokens = self._files[fmt.TOKENS]
        tokens.write(self._separator.data)
        tokens.write(np.ascontiguousarray(ids, self._token_dtype).data)
        self._files[fmt.METADATA].write(metadata)
        self._metadata_len += len(metadata)
        self._add_offset(fmt.METADATA_OFFSETS, self._metadata_len)
        self.stream_len += 1 + ids.shape[0]
        self.num_documents += 1

    def copy(self, segment: Segment, tokens: np.ndarray, first: int, last: int) -> None:
        """Append a segment's documents [first, last), unchanged. Precondition: at least one.

        tokens: its stream.
        """
        start, end = segment.document_bounds(first)[0] - 1, segment.document_bounds(last - 1)[1]
        ends = segment.metadata_offsets[first : last + 1]
        for name, content in (
            (fmt.TOKENS, tokens[start:end]),
            (fmt.METADATA, segment.metadata_bytes[int(ends[0]) : int(ends[-1])]),
            (fmt.DOCUMENT_OFFSETS, segment.document_offsets[first:last] - start + self.stream_len),
            (fmt.METADATA_OFFSETS, ends[1:] - ends[0] + self._metadata_len),
        ):
            self._files[name].write(content.data)
        self._metadata_len += int(ends[-1] - ends[0])
        self.stream_len += end - start
        self.num_documents += last - first

    def flush(self) -> None:
        """Make the tokens added so far readable in the file."""
        self._files[fmt.TOKENS].flush()

    def close(self) -> dict[str, Written]:
        """Sync and close the files; returns them by name."""
        return {name: file.close() for name, file in self._files.items()}

    def abort(self) -> None:
        """Close the files without syncing. The caller removes the folder."""
        for file in self._files.values():
            file.abandon()

    def _add_offset(self, name: str, offset: int) -> None:
        self._files[name].write(offset.to_bytes(fmt.OFFSET.itemsize, "little"))


def write_document_counts(
    folder: Path,
    dtype: str,
    stream_len: int,
    num_documents: int,
    memory: int,
    threads: int,
    progress: Callable[[int, int], None],
) -> Written:
    """Write `document_counts.bin`; arguments as of `document_counts`.

    Precondition: all other files that `finish_segment` needs exist.
    """
    file = HashedFile(folder / fmt.DOCUMENT_COUNTS)
    try:
        for piece in document_counts(
            map_tokens(folder, dtype, stream_len),
            map_positions(folder, fmt.position_bytes(stream_len)),
            map_file(folder / fmt.DOCUMENT_OFFSETS, fmt.OFFSET, num_documents),
            memory,
            threads,
            folder,
            progress,
        ):
            file.write(piece.data)
    except BaseException:
        file.abandon()
        raise
    written = file.close()
    sync_directory(folder)
    return written


def finish_segment(
    folder: Path,
    dtype: str,
    stream_len: int,
    num_documents: int,
    files: dict[str, Written],
    progress: Callable[[int, int], None],
    numbers: np.ndarray | int,
    sign: int = 1,
) -> fmt.SegmentEntry:
    """Write the files that depend on the suffix array; returns the segment's manifest entry.

    numbers: the documents' numbers, int64, shape (D,), ascending; or the first number, if they are
    consecutive.

    Preconditions: `files` is what SegmentWriter.close returned, with what `write_document_counts`
    did; `suffix_array.bin` exists.

    Reads two files, each once: the suffix array, because fences are made from it in order and its
    checksums cannot be computed while several threads write it; and the tokens, to count them. No
    other file is read: its checksums were computed while it was written. Calls
    `progress(bytes of the array, bytes in all)`.
    """
    tokens = map_tokens(folder, dtype, stream_len)
    width = fmt.position_bytes(stream_len)
    sa = map_positions(folder, width)
    separator = fmt.separator_of(dtype)
    bits = segment_key_bits(tokens, sa, num_documents)
    checksums = Checksums()
    done = 0

    def seen(chunk: np.ndarray) -> None:
        nonlocal done
        checksums.update(as_bytes(chunk.data))
        done += chunk.nbytes
        progress(done, sa.nbytes)

    fences = HashedFile(folder / fmt.FENCES)
    level = fence_keys_of(tokens, sa, separator, bits, fmt.FENCE_SPACING, seen)
    for piece in fence_tree(level):
        fences.write(piece.data)
    files = files | {
        fmt.UNIGRAMS: write_array(folder / fmt.UNIGRAMS, unigram_table(tokens)),
        fmt.FENCES: fences.close(),
        fmt.SUFFIX_ARRAY: checksums.result(),
    }
    entry = fmt.SegmentEntry(
        name=folder.name,
        sign=sign,
        first_document=0,
        num_documents=num_documents,
        num_tokens=stream_len - num_documents,
        position_bytes=width,
        fence_spacing=fmt.FENCE_SPACING,
        fence_fanout=fmt.FENCE_FANOUT,
        key_bits=bits,
        files={},
    )
    return _finished(folder, entry, files, numbers)


def finish_self_index(
    folder: Path,
    stream_len: int,
    num_documents: int,
    sample_every: int,
    files: dict[str, Written],
    numbers: np.ndarray | int,
) -> fmt.SegmentEntry:
    """Remove what a self-index goes without, and write its remaining files; returns its entry.

    numbers: as in `finish_segment`. Precondition: `files` has all others, with what
    `write_self_index` returned.
    """
    plain = fmt.FILES_OF_KIND[fmt.SUFFIX_ARRAY_KIND]
    for name in plain:
        (folder / name).unlink(missing_ok=True)
    entry = fmt.SegmentEntry(
        name=folder.name,
        sign=1,
        first_document=0,
        num_documents=num_documents,
        num_tokens=stream_len - num_documents,
        position_bytes=fmt.position_bytes(stream_len),
        fence_spacing=fmt.PSI_BLOCK,
        fence_fanout=fmt.FENCE_FANOUT,
        key_bits=key_bits(stream_len, num_documents),
        files={},
        kind=fmt.SELF_INDEX_KIND,
        sample_every=sample_every,
    )
    kept = {name: file for name, file in files.items() if name not in plain}
    return _finished(folder, entry, kept, numbers)


def _finished(
    folder: Path, entry: fmt.SegmentEntry, files: dict[str, Written], numbers: np.ndarray | int
) -> fmt.SegmentEntry:
    """Write the documents' numbers and the checksums; returns the entry with all files."""
    first_document = numbers if isinstance(numbers, int) else int(numbers[0])
    if not isinstance(numbers, int):
        file = write_array(folder / fmt.DOCUMENT_NUMBERS, numbers.astype(fmt.OFFSET))
        files = files | {fmt.DOCUMENT_NUMBERS: file}
    files = files | {
        fmt.CHECKSUMS: write_array(folder / fmt.CHECKSUMS, block_checksums(files)),
    }
    sync_directory(folder)
    written = {name: file.entry for name, file in files.items()}
    return replace(entry, first_document=first_document, files=written)
