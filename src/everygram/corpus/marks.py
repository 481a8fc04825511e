"""Documents between separators, in files that do not record where documents start.

No header says how separators are used, so the ids are looked at: do separators start documents or
end them, are there two at every bound, and does a document go on in the next file?
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from everygram.corpus.documents import TokenDocument
from everygram.corpus.token_file import TokenFile
from everygram.errors import CorpusError

# Ids of a file that are looked at first, and then at a time. Mostly the first are enough.
FIRST_LOOK = 1 << 12
LOOK = 1 << 20


@dataclass(frozen=True)
class Stream:
    """Files whose tokens are one stream, and how separators are used in it.

    runs_on: a document goes on from one file to the next. doubled: every bound of documents has two
    separators: the end of one document and the start of the next, or two ends, or two starts.
    unmarked: there is no separator. enclosed: there is a separator at each end, and no other.
    """

    files: tuple[TokenFile, ...]
    runs_on: bool = False
    doubled: bool = False
    unmarked: bool = False
    enclosed: bool = False

    @property
    def format(self) -> str:
        """The format of the files, and what was found out about separators."""
        said = ["documents run on into the next file"] * self.runs_on
        said += ["separators doubled"] * self.doubled
        said += ["no separators found"] * self.unmarked
        return self.files[0].format + (f" ({', '.join(said)})" if said else "")

    def apart(self) -> "list[Stream]":
        """The same documents, from as few files at once as they can be read from."""
        odd = self.runs_on or self.doubled or self.unmarked or self.enclosed
        if odd or not all(_is_mark(file, 0) for file in self.files if file.count):
            return [self]
        return [replace(self, files=(file,)) for file in self.files]

    def documents(self, size: int) -> Iterator[tuple[int, TokenDocument]]:
        """The documents, each after the number of bytes read so far. Reads `size` ids at a time.

        If the stream starts with a separator, each separator starts a document. Otherwise each one
        ends a document, and so does the end of the stream.
        """
        metadata, read, marks, marks_start = b"", 0, 0, False
        pieces: list[np.ndarray] | None = None  # of the open document, if one is open
        chunks = ((file, chunk) for file in self.files for _, chunk in file.chunks(size))
        for number, (file, chunk) in enumerate(chunks):
            begin, here, bytes_of_chunk = 0, file.metadata, chunk.size * file.dtype.itemsize
            if pieces is None:
                metadata = here
            if number == 0 and chunk[0] == file.separator_id:
                marks_start = True
                pieces = []
                begin = 1
            places = np.flatnonzero(chunk == file.separator_id)
            if self.doubled:
                # Keep the first of every two.
                second = places[(marks + np.arange(places.size)) % 2 == 1]
                marks += places.size
                chunk = np.delete(chunk, second)
                places = np.flatnonzero(chunk == file.separator_id)
            for end in places[places >= begin].tolist():
                ids = np.concatenate([*(pieces or ()), chunk[begin:end]])
                yield read, TokenDocument(ids, metadata)
                metadata = here
                pieces = [] if marks_start else None
                begin = end + 1
            if begin < chunk.size:
                pieces = [*(pieces or ()), chunk[begin:]]
            read += bytes_of_chunk
        if pieces is not None:
            yield read, TokenDocument(np.concatenate([chunk[:0], *pieces]), metadata)


def streams_of(files: Sequence[TokenFile]) -> list[Stream]:
    """The streams of files that are consecutive in a series: one stream, or one stream per file.

    They are one stream if there are separators and if

    - the first file starts with a separator: files of their own would each start with one; or
    - the last file ends with a separator: files of their own would each end with one; or
    - all files have the same length, as shards have (the last may be shorter).

    Files whose format says so (`goes_on`) are one stream in any case.
    """
    together = tuple(files)
    if together[0].bounds is not None:
        return [Stream((file,)) for file in together]
    go_on = together[0].goes_on
    try:
        if not any((ids == files[0].separator_id).any() for ids in _looks(together)):
            streams = [together] if go_on else [(file,) for file in together]
            return [Stream(each, unmarked=each[0].count > 0) for each in streams]
        if go_on or len(together) == 1 or _is_one(together):
            doubled, enclosed = _use(together)
            return [Stream(together, _runs_on(together), doubled, enclosed=enclosed)]
    except CorpusError:
        # (The same error comes again, and is reported, when the documents are read.)
        return [Stream(together)] if go_on else [Stream((file,)) for file in together]
    return [stream for file in together for stream in streams_of([file])]


def settled(streams: Sequence[Stream]) -> list[Stream]:
    """The streams, with what one alone does not show.

    A file with a separator at each end and no other has one document, or a second one of no ids.
    It has one document if there are several such files, or some with doubled separators, and if no
    file uses separators in another way.
    """
    marked = [each for each in streams if each.files[0].bounds is None and not each.unmarked]
    if len(marked) > 1 and all(each.enclosed or each.doubled for each in marked):
        return [replace(each, doubled=each.doubled or each.enclosed) for each in streams]
    return list(streams)


def _is_one(files: Sequence[TokenFile]) -> bool:
    files = [file for file in files if file.count]
    if len(files) < 2 or _is_mark(files[0], 0) or _is_mark(files[-1], -1):
        return True
    *others, last = (file.count for file in files)
    return set(others) == {max(others[0], last)}


def _runs_on(files: Sequence[TokenFile]) -> bool:
    """Whether a document goes on from one file to the next."""
    pairs = pairwise(file for file in files if file.count)
    return any(not _is_mark(one, -1) and not _is_mark(other, 0) for one, other in pairs)


def _use(files: Sequence[TokenFile]) -> tuple[bool, bool]:
    """Whether the separators of a stream are doubled, and whether they only enclose it.

    Doubled: they come in pairs between all documents, of which there are two, and at the ends.
    """
    files = [file for file in files if file.count]
    if not files or not (_is_mark(files[0], 0) or _is_mark(files[-1], -1)):
        return False, False
    count = sum(file.count for file in files)
    lead = trail = between = 0
    for place, length in _runs(files):
        if place == 0:
            lead = length
        elif place + length == count:
            trail = length
        elif length % 2:
            return False, False
        else:
            between += 1
    if between == 0:
        return False, lead == trail == 1 and not files[0].goes_on
    return lead + trail > 0 and lead % 2 == trail % 2, False


def _runs(files: Sequence[TokenFile]) -> Iterator[tuple[int, int]]:
    """Runs of separators: the place of the first one in the stream, and their number."""
    place = length = before = 0
    for ids in _looks(files):
        for mark in (np.flatnonzero(ids == files[0].separator_id) + before).tolist():
            if length and mark == place + length:
                length += 1
                continue
            if length:
                yield place, length
            place, length = mark, 1
        before += ids.size
    if length:
        yield place, length


def doubled_bounds(file: TokenFile) -> tuple[int, int]:
    """The most separators to drop at a document's start and end, in a file that records both.

    One, or two if every document has two there.
    """
    at_start, at_end, some = True, True, False
    whole = replace(file, dropped=(0, 0))
    try:
        for _, ids, _ in whole.documents(FIRST_LOOK):
            marks = ids == file.separator_id
            if ids.size > 1 and marks.all():
                continue  # An empty document, which has two at its start or at its end.
            some = True
            at_start = at_start and ids.size > 1 and bool(marks[:2].all())
            at_end = at_end and ids.size > 1 and bool(marks[-2:].all())
            if not at_start and not at_end:
                return 1, 1
    except CorpusError:
        return 1, 1  # The same error comes again when the documents are read.
    return (1 + at_start, 1 + at_end) if some else (1, 1)


def _looks(files: Sequence[TokenFile]) -> Iterator[np.ndarray]:
    """All ids: of each file first FIRST_LOOK, then LOOK at a time."""
    for file in files:
        start, size = 0, FIRST_LOOK
        while start < file.count:
            end = min(start + size, file.count)
            yield file.ids(start, end)
            start, size = end, LOOK


def _is_mark(file: TokenFile, place: int) -> bool:
    """Whether the first (0) or last (-1) id is a separator."""
    place %= file.count
    return bool(file.ids(place, place + 1)[0] == file.separator_id)
