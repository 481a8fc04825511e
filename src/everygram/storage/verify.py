"""Checks a whole index: checksums, order of suffixes, offsets, numbers.

Checking the order takes 4 or 8 bytes of memory per token. All checks take linear time.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil

from everygram.errors import BuildError, DamagedIndexError, FormatError
from everygram.kernels.sort import first_disorder, invert
from everygram.storage import format as fmt
from everygram.storage.attached import is_foreign, open_foreign
from everygram.storage.directory import open_segment, read_manifest, read_tokenizer_json
from everygram.storage.disk import position_entries, wrong_files
from everygram.storage.document_counts import document_counts
from everygram.storage.fences import counted, fence_keys_of, fence_tree, unigram_table
from everygram.storage.infini_gram import UNIGRAM
from everygram.storage.plain import plain, plain_bytes
from everygram.storage.prepared import is_prepared, read_info
from everygram.storage.prepared import problems as preparation_problems
from everygram.storage.segment import Segment
from everygram.storage.self_check import wrong_self_index
from everygram.storage.self_index import SelfIndex

# Bytes that documents are counted in: they take no more than checking the order.
NO_LIMIT = 1 << 62


def verify(
    path: Path,
    progress: Callable[[int, int], None],
    quick: bool = False,
    *,
    threads: int = 1,
    order_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[str]:
    """Check a whole index; returns descriptions of problems: empty means sound.

    With `quick`, only checks the manifest, and that each file exists and has its size.

    Calls `progress(bytes read, bytes in all)` while it reads files, then `order_progress(tokens,
    tokens in all)` while it checks what they say. Problems that prevent opening the index (a
    changed manifest, a file of the wrong size) are returned too, not raised; but FormatError is
    raised if the folder is not an index, and BuildError if there is no room for the temporary files
    that checking a self-index takes. If a writer has changed the index and removed files meanwhile,
    the new version is checked.
    """
    if is_foreign(path):
        return _foreign_problems(path, progress, quick)
    try:
        manifest = read_manifest(path)
        while True:
            problems = _problems(path, manifest, progress, quick, threads, order_progress)
            before, manifest = manifest, read_manifest(path)
            if not problems or manifest == before:
                return problems
    except DamagedIndexError as error:
        return [str(error)]


def _problems(
    path: Path,
    manifest: fmt.Manifest,
    progress: Callable[[int, int], None],
    quick: bool,
    threads: int,
    order_progress: Callable[[int, int], None],
) -> list[str]:
    """What `verify` returns, for this version of the manifest."""
    try:
        read_tokenizer_json(path, manifest.tokenizer)
    except DamagedIndexError as error:
        return [str(error)]
    problems: list[str] = []
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(done, manifest.bytes)

    @contextmanager
    def said(folder: Path) -> Iterator[None]:
        try:
            yield
        except DamagedIndexError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(f"{folder}: cannot be read: {error}")

    opened: list[Segment] = []
    for entry in manifest.segments:
        with said(path / entry.name):
            segment = open_segment(path / entry.name, entry, manifest.dtype)
            opened.append(segment)
            if not quick:
                for problem in wrong_files(segment.folder, entry.files, advance):
                    problems.append(f"{segment.folder}: {problem}")
    before, total = 0, sum(segment.stream_len for segment in opened)
    for segment in [] if quick else opened:

        def looked_at(tokens: int, of: int, before: int = before) -> None:
            order_progress(before + tokens, total)

        with said(segment.folder):
            # (What is found before a file turns out to be too damaged to go on is said too.)
            for problem in _wrong_content(segment, threads, looked_at):
                problems.append(f"{segment.folder}: {problem}")
        before += segment.stream_len
        order_progress(before, total)
    if not problems and not quick:
        problems += _verify_numbers(manifest, opened)
    return problems or _wrong_preparation(path, manifest, quick)


def _foreign_problems(path: Path, progress: Callable[[int, int], None], quick: bool) -> list[str]:
    """What `verify` returns for an index of infini-gram's, which has no checksums of its own."""
    try:
        _, segments, _ = open_foreign(path, verify=not quick)
        problems: list[str] = []
        for number, segment in enumerate(segments):
            if not quick:
                found = [*_wrong_documents(segment), *_wrong_order(segment)]
                found += _wrong_unigrams_file(segment)
                problems += [f"{segment.folder}: {problem}" for problem in found]
            progress(number + 1, len(segments))
        return problems
    except (FormatError, DamagedIndexError) as error:
        return [str(error)]
    except OSError as error:
        return [f"{path}: cannot be read: {error}"]


def _wrong_unigrams_file(segment: Segment) -> list[str]:
    """Whether infini-gram's file of unigrams, if there is one, says what the tokens are."""
    name = next((each for each in segment.entry.files if each.split(".")[0] == UNIGRAM), None)
    if name is None:
        return []
    try:
        said = np.array((segment.folder / name).read_bytes().split(), np.int64).reshape(-1, 2)
    except (ValueError, OverflowError) as error:
        return [f"{name}: not lines of an id and a count ({error})"]
    if not np.array_equal(said[np.argsort(said[:, 0])].T, counted(segment.tokens)):
        return [f"{name}: not how often the tokens occur"]
    return []


def _wrong_preparation(path: Path, manifest: fmt.Manifest, quick: bool) -> list[str]:
    """What is wrong with what was prepared for this state of the index, if anything was."""
    try:
        info = read_info(path)
    except DamagedIndexError as error:
        return [str(error)]
    if info is None or not is_prepared(path, manifest):
        return []
    return [
        f"{problem}; run 'everygram prepare' again"
        for problem in preparation_problems(path, info, manifest.segments[0], not quick)
    ]


def _verify_numbers(manifest: fmt.Manifest, opened: list[Segment]) -> Iterator[str]:
    """Check that numbers of documents are unique, and that deleted documents are unchanged."""
    of_sign = {
        sign: [segment for segment in opened if segment.entry.sign == sign] for sign in (1, -1)
    }
    if sum(map(len, of_sign.values())) < len(opened):
        yield f"{fmt.MANIFEST}: a sign that is neither 1 nor −1"
        return
    numbers = {
        sign: np.concatenate(
            [np.empty(0, np.int64)]
            + [segment.numbers_of(np.arange(segment.num_documents)) for segment in segments]
        )
        for sign, segments in of_sign.items()
    }
    for each in numbers.values():
        if np.unique(each).shape[0] < each.shape[0]:
            yield f"{fmt.MANIFEST}: two documents have the same number"
        if each.max(initial=-1) >= manifest.next_document:
            yield f"{fmt.MANIFEST}: a document's number is not below next_document"
    for segment in of_sign[-1]:
        for local, number in enumerate(segment.numbers_of(np.arange(segment.num_documents))):
            start, end = segment.document_bounds(local)
            deleted = segment.text(start, end)
            for other in of_sign[1]:
                place = int(other.local_of(np.array([number]))[0])
                if place >= 0:
                    start, end = other.document_bounds(place)
                    if not np.array_equal(other.text(start, end), deleted):
                        yield f"{segment.folder}: document {number} differs from the one deleted"
                    break
            else:
                yield f"{segment.folder}: document {number} is in no segment"


def _wrong_content(
    segment: Segment, threads: int, progress: Callable[[int, int], None]
) -> Iterator[str]:
    """What is wrong with a segment whose files are those of the manifest.

    Of a self-index, calls `progress(tokens, tokens in all)`.
    """
    if not isinstance(segment, SelfIndex):
        yield from _wrong_documents(segment)
        yield from _wrong_order(segment)
        return
    found = [*wrong_self_index(segment), *_wrong_metadata(segment)]
    yield from found
    if found or segment.document_counts is None:
        return

    def first_half(done: int, total: int) -> None:
        progress(done // 2, total)

    def second_half(done: int, total: int) -> None:
        progress((total + done) // 2, total)

    # (In the system's folder for them: the index need not be one's own.)
    try:
        with TemporaryDirectory() as folder:
            memory = psutil.virtual_memory().available // 2
            arrays = plain(segment, Path(folder), memory, threads, first_half)
    except OSError as error:
        raise BuildError(
            f"{segment.folder}: cannot be checked: it takes {plain_bytes(segment) / 1e6:,.1f} MB "
            f"of temporary files ({error}); name a folder that has room for them with TMPDIR"
        ) from None
    yield from _wrong_counts(segment, *arrays, threads, second_half)


def _wrong_documents(segment: Segment) -> Iterator[str]:
    name = segment.name_of
    offsets = segment.document_offsets
    if offsets.shape[0] != segment.num_documents or int(offsets[0]) != 0:
        yield f"{name(fmt.DOCUMENT_OFFSETS)}: the first document does not start at 0"
    separators = np.flatnonzero(segment.tokens == segment.separator)
    if not np.array_equal(separators, offsets.astype(np.int64)):
        yield (
            f"{name(fmt.DOCUMENT_OFFSETS)}: not the positions of the separators in "
            f"{name(fmt.TOKENS)}"
        )
    yield from _wrong_metadata(segment)


def _wrong_metadata(segment: Segment) -> Iterator[str]:
    """What is wrong with the numbers of documents, and with their metadata."""
    numbers, name = segment.numbers_of(np.arange(segment.num_documents)), segment.name_of
    if numbers[0] != segment.first_document or (np.diff(numbers) <= 0).any():
        yield f"{fmt.DOCUMENT_NUMBERS}: not ascending from the first document's"
    ends = segment.metadata_offsets.astype(np.int64)
    if ends.shape[0] == segment.num_documents:  # of a shard, without the last end
        ends = np.append(ends, segment.metadata_bytes.shape[0])
    elif not ends.shape[0]:
        ends = np.zeros(1, np.int64)
    if ends[0] != 0 or ends[-1] != segment.metadata_bytes.shape[0] or (np.diff(ends) < 0).any():
        yield (
            f"{name(fmt.METADATA_OFFSETS)}: not ascending from 0 to the size of "
            f"{name(fmt.METADATA)}"
        )
        return
    for local in range(segment.num_documents):
        try:
            segment.metadata(local)
        except FormatError as error:
            yield str(error)
            return


def _wrong_order(segment: Segment) -> Iterator[str]:
    n = segment.stream_len
    rank_of = np.full(n, n, np.uint32 if n < 2**32 else np.int64)
    sa, tokens, name = segment.suffix_array, segment.tokens, segment.name_of(fmt.SUFFIX_ARRAY)
    if segment.stretches is not None:  # a shard, whose positions are pointers
        if (segment.suffix_array[:, 0] & (tokens.itemsize - 1)).any():
            yield f"{name}: a pointer into a token"
        sa = position_entries(segment.positions_of(slice(None)), fmt.position_bytes(n))
        # (In the order of their bytes, ids are in that of these numbers.)
        tokens = tokens.byteswap()
    wrong = invert(sa, rank_of)
    if wrong >= 0:
        yield f"{name}: rank {wrong:,} is out of range or stands twice"
        return
    wrong = first_disorder(tokens, sa, rank_of, segment.separator)
    if wrong >= 0:
        yield f"{name}: ranks {wrong:,} and {wrong + 1:,} are out of order"
        return
    start = 0
    by_bytes = segment.by_bytes
    where = segment.separator, segment.entry.key_bits, segment.fence_spacing
    for piece in fence_tree(fence_keys_of(segment.tokens, sa, *where, by_bytes=by_bytes)):
        if not np.array_equal(piece, segment.fences[start : start + piece.shape[0]]):
            yield f"{fmt.FENCES}: not the keys of the suffixes"
            break
        start += piece.shape[0]
    table = segment.unigrams
    if table.shape[0] and not np.array_equal(unigram_table(segment.tokens, by_bytes), table):
        yield f"{segment.name_of(fmt.UNIGRAMS)}: not the tokens and first ranks of the suffixes"
    yield from _wrong_counts(segment, segment.tokens, sa)


def _wrong_counts(
    segment: Segment,
    tokens: np.ndarray,
    sa: np.ndarray,
    threads: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[str]:
    if segment.document_counts is None:
        return
    start = 0
    arrays = tokens, sa, segment.document_offsets
    for piece in document_counts(*arrays, NO_LIMIT, threads, None, progress):
        if not np.array_equal(piece, segment.document_counts[start : start + piece.shape[0]]):
            yield f"{fmt.DOCUMENT_COUNTS}: not the repeats of documents in the suffixes"
            return
        start += piece.shape[0]
