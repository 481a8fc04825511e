"""Documents between separator ids, in files that do not record where documents are.

What is not said anywhere, the ids themselves say: whether separators start documents or end them,
whether there are two at every bound, and whether a document goes on in the next file.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from everygram.corpus.documents import TokenDocument
from everygram.corpus.token_file import TokenFile
from everygram.errors import CorpusError

# Ids that are looked at first, to tell how documents are marked. Mostly they tell.
FIRST_LOOK = 1 << 12
LOOK = 1 << 20


@dataclass(frozen=True)
class Stream:
    """Files whose tokens are one stream.

    runs_on: a document goes on from one to the next. doubled: at every bound of documents are two
    separators, one that ends a document and one that starts the next, or two of a kind. unmarked:
    there is no separator at all.
    """

    files: tuple[TokenFile, ...]
    runs_on: bool = False
    doubled: bool = False
    unmarked: bool = False

    @property
    def format(self) -> str:
        """What its files are, and what is taken for granted of them."""
        said = ["documents run on into the next file"] * self.runs_on
        said += ["separators doubled"] * self.doubled
        said += ["no separators: one document each"] * self.unmarked
        return self.files[0].format + (f" ({', '.join(said)})" if said else "")

    def documents(self, size: int) -> Iterator[tuple[int, TokenDocument]]:
        """The documents, and how many bytes of ids were read before; `size` ids are at a time.

        In a stream that starts with a separator, and in formats that say so, each starts a
        document; otherwise each ends one, and so does the stream's end.
        """
        metadata, read, marks = b"", 0, 0
        pieces: list[np.ndarray] | None = None  # of the open document, if one is open
        marks_start = self.files[0].marks_start
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
                # Of each two the first stands for both.
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
    """The streams that files are which follow one another in a series: one, or each its own.

    They are one if it makes sense of how they begin and end: the first starts with a separator, as
    each that is whole would do, the last ends with one, as each would do, or all are of one length
    (the last may be shorter) and have separators. In some formats they are one in any case.
    """
    together = tuple(files)
    if together[0].bounds is not None:
        return [Stream((file,)) for file in together]
    go_on = together[0].marks_start
    try:
        if not any((ids == files[0].separator_id).any() for ids in _looks(together)):
            streams = [together] if go_on else [(file,) for file in together]
            return [Stream(each, unmarked=each[0].count > 0) for each in streams]
        if go_on or len(together) == 1 or _is_one(together):
            return [Stream(together, _runs_on(together), _is_doubled(together))]
    except CorpusError:
        # (What cannot be read is found, and said, when it is read.)
        return [Stream(together)] if go_on else [Stream((file,)) for file in together]
    return [stream for file in together for stream in streams_of([file])]


def _is_one(files: Sequence[TokenFile]) -> bool:
    files = [file for file in files if file.count]
    if len(files) < 2 or _is_mark(files[0], 0) or _is_mark(files[-1], -1):
        return True
    *others, last = (file.count for file in files)
    return set(others) == {max(others[0], last)}


def _runs_on(files: Sequence[TokenFile]) -> bool:
    """Whether the bound of two files goes through a document."""
    pairs = pairwise(file for file in files if file.count)
    return any(not _is_mark(one, -1) and not _is_mark(other, 0) for one, other in pairs)


def _is_doubled(files: Sequence[TokenFile]) -> bool:
    """Whether all separators come in pairs: between any two documents, and at the ends.

    A stream of one document is so if its format leaves that open and it has one at each end.
    """
    files = [file for file in files if file.count]
    if not files or not (_is_mark(files[0], 0) or _is_mark(files[-1], -1)):
        return False
    count = sum(file.count for file in files)
    lead = trail = between = 0
    for place, length in _runs(files):
        if place == 0:
            lead = length
        elif place + length == count:
            trail = length
        elif length % 2:
            return False
        else:
            between += 1
    if between == 0:
        return lead == trail == 1 and not files[0].marks_start
    return lead + trail > 0 and lead % 2 == trail % 2


def _runs(files: Sequence[TokenFile]) -> Iterator[tuple[int, int]]:
    """Separators that stand together: the place of the first in the stream, how many."""
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
    """How many separators are left out at a document's start and end, of a file that records both.

    One; two where every document has two there.
    """
    at_start, at_end, some = True, True, False
    whole = replace(file, dropped=(0, 0))
    try:
        for _, ids, _ in whole.documents(FIRST_LOOK):
            marks = ids == file.separator_id
            if ids.size > 1 and marks.all():
                continue  # It could have been doubled at either end.
            some = True
            at_start = at_start and ids.size > 1 and bool(marks[:2].all())
            at_end = at_end and ids.size > 1 and bool(marks[-2:].all())
            if not at_start and not at_end:
                return 1, 1
    except CorpusError:
        return 1, 1  # It is found, and said, when documents are read.
    return (1 + at_start, 1 + at_end) if some else (1, 1)


def _looks(files: Sequence[TokenFile]) -> Iterator[np.ndarray]:
    """All ids, at first a few: mostly they tell."""
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
