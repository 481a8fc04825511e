"""infini-gram's index folders in, their documents out: token ids, and metadata as it is there.

Knows what `storage.infini_gram` says of the files; does not use their order of suffixes.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from everygram.arguments import short
from everygram.corpus.documents import MOST_NESTED, Corpus, TokenDocument, encode_metadata
from everygram.corpus.files import local_file
from everygram.corpus.records import json_record
from everygram.errors import CorpusError, EverygramError, FormatError
from everygram.storage import format as fmt
from everygram.storage import infini_gram as files
from everygram.storage.disk import map_file
from everygram.storage.infini_gram import REBUILD, ShardFiles

NO_METADATA = b"{}"
WITHOUT = f"to convert without metadata, move {files.METADATA}.N and {files.METAOFF}.N away"


class ShardCorpus(Corpus[TokenDocument]):
    """The documents of infini-gram's index folders: folder by folder, shard by shard.

    A document's metadata is its line in metadata.N, a JSON object with `path`, `linenum` and
    `metadata`; `{}` in a shard without that file. dtype: of the tokens, "u8", "u16" or "u32".

    Every separator must be where offset.N says that a document begins, and nowhere else; ids must
    be below `vocab_size`. Both are checked while documents are given, a few ahead of them. Raises
    FormatError for folders and files that are not infini-gram's or damaged, CorpusError for ids
    outside the vocabulary and for metadata that is no JSON object.
    """

    # Documents whose places, and tokens of them, that are checked at a time.
    DOCUMENTS, TOKENS = 1 << 16, 1 << 22

    def __init__(self, folders: Sequence[Path]) -> None:
        super().__init__("raise")
        self.vocab_size: int | None = None
        self.whose = ""
        self._shards = [shard for folder in folders for shard in _shards(folder)]
        self.dtype = self._shards[0].dtype
        seen = set()
        for shard in self._shards:
            if shard.dtype != self.dtype:
                raise FormatError(
                    f"'{shard.folder}' has {shard.dtype} tokens, '{self._shards[0].folder}' "
                    f"{self.dtype}: expected the same in all; convert them to indexes of their own"
                )
            kinds = [files.TOKENIZED, files.OFFSET]
            kinds += [files.METADATA, files.METAOFF] if shard.has_metadata else []
            for path in map(shard.path, kinds):
                listed = local_file(path, path.name)
                if listed.identity in seen:
                    raise CorpusError(f"{path}: the same file is read already; name it once")
                seen.add(listed.identity)
                self.files.append(listed)

    @property
    def formats(self) -> dict[str, int]:
        """How many shards there are."""
        return {"infini-gram": len(self._shards)}

    @property
    def total_bytes(self) -> int:
        """Size of all tokens."""
        return self.total_tokens * fmt.TOKEN_DTYPES[self.dtype].itemsize

    @property
    def total_tokens(self) -> int:
        """Number of all tokens, separators among them."""
        return sum(shard.stream_len for shard in self._shards)

    def __iter__(self) -> Iterator[TokenDocument]:
        self.bytes_read = 0
        try:
            for shard in self._shards:
                yield from self._documents(shard)
        except EverygramError:  # (What changes while it is read looks damaged.)
            self._check_unchanged()
            raise
        self._check_unchanged()

    def _check_unchanged(self) -> None:
        """Raise CorpusError if the files have changed since they were listed."""
        for file in self.files:
            file.check_unchanged()

    def _documents(self, shard: ShardFiles) -> Iterator[TokenDocument]:
        before, tokens = self.bytes_read, shard.tokens
        lines = _Lines(shard) if shard.has_metadata else None
        for first, bounds in _bounds(shard, self.DOCUMENTS):
            self._check(shard, bounds)
            for local, (start, end) in enumerate(pairwise(bounds.tolist()), first):
                self.bytes_read = before + end * tokens.itemsize
                metadata = NO_METADATA if lines is None else lines.metadata(local)
                yield TokenDocument(tokens[start + 1 : end], metadata)

    def _check(self, shard: ShardFiles, bounds: np.ndarray) -> None:
        """Raise an error unless these documents begin where the separators are, and nowhere else.

        bounds: their separators' positions, then the position after the last of them.
        """
        separator = fmt.separator_of(shard.dtype)
        for start in range(int(bounds[0]), int(bounds[-1]), self.TOKENS):
            end = min(start + self.TOKENS, int(bounds[-1]))
            piece = shard.tokens[start:end]
            found = np.flatnonzero(piece == separator) + start
            expected = bounds[np.searchsorted(bounds, start) : np.searchsorted(bounds[:-1], end)]
            if not np.array_equal(found, expected):
                wrong = int(np.setxor1d(found, expected)[0])
                what = "no separator, but a" if wrong in expected else "a separator, but no"
                raise FormatError(
                    f"{shard.path(files.TOKENIZED)}: token {wrong:,}: {what} document begins there "
                    f"by {shard.path(files.OFFSET).name}; {REBUILD}"
                )
            if self.vocab_size is not None and self.vocab_size < separator:
                outside = np.flatnonzero((piece >= self.vocab_size) & (piece != separator))
                if outside.size:
                    place = int(outside[0])
                    raise CorpusError(
                        f"{shard.path(files.TOKENIZED)}: token {start + place:,} is "
                        f"{piece[place]}, which is outside {self.whose} (0 to "
                        f"{self.vocab_size - 1}): another tokenizer?"
                    )


def _shards(folder: Path) -> list[ShardFiles]:
    """The shards of a folder. Raises FormatError and CorpusError."""
    try:
        if files.is_infini_gram(folder):
            return files.shards_of(folder)
    except OSError as error:
        raise CorpusError(f"'{folder}': cannot be read: {error.strerror}") from None
    found = "no such files" if folder.is_dir() else "no such folder"
    raise FormatError(
        f"'{folder}': expected an index of everygram's, or an index folder of infini-gram's with "
        f"{files.TOKENIZED}.0, {files.TABLE}.0 and {files.OFFSET}.0; found {found}"
    )


def _bounds(shard: ShardFiles, most: int) -> Iterator[tuple[int, np.ndarray]]:
    """Where documents begin, up to `most` of them at a time: positions, int64.

    With the number of the first of them; the last bound is the end of the last of them. Raises
    FormatError unless they ascend from the first token on.
    """
    width, number = shard.tokens.itemsize, shard.num_documents
    for first in range(0, number, most):
        last = min(first + most, number)
        pointers = shard.document_pointers[first : last + 1]
        bounds = np.empty(last - first + 1, np.int64)
        # (A number past 2⁶³ becomes a negative one.)
        bounds[: pointers.shape[0]] = pointers.astype(np.int64)
        if last == number:
            bounds[-1] = shard.stream_len * width
        wrong = (bounds[1:] <= bounds[:-1]) | (bounds[1:] % width != 0)
        if wrong.any() or bounds[-1] > shard.stream_len * width or (first == 0 and bounds[0] != 0):
            place = first + int(np.argmax(wrong)) + 1 if wrong.any() else first
            raise FormatError(
                f"{shard.path(files.OFFSET)}: document {place:,}: expected offsets that ascend "
                f"from 0 in steps of {width} and end below {shard.stream_len * width:,}; {REBUILD}"
            )
        yield first, bounds // width


class _Lines:
    """The metadata of a shard's documents."""

    def __init__(self, shard: ShardFiles) -> None:
        self._path = shard.path(files.METADATA)
        self._text = map_file(self._path, np.dtype("u1"))
        self._places = map_file(shard.path(files.METAOFF), fmt.OFFSET)

    def metadata(self, number: int) -> bytes:
        """A document's line, as an index stores it. Raises FormatError, CorpusError."""
        start, end = int(self._places[number]), self._text.shape[0]
        if number + 1 < self._places.shape[0]:
            end = int(self._places[number + 1])
        line = b""
        if start < end <= self._text.shape[0] and (number or start == 0):
            line = self._text[start:end].tobytes()
        if line.find(b"\n") != len(line) - 1 or not line:
            raise FormatError(
                f"{self._path}: document {number:,}: expected one line from byte {start:,} to "
                f"{end:,}, by {files.METAOFF}, found {short(line)}; {REBUILD}"
            )
        place = f"{self._path}:{number + 1}"
        record = json_record(line, place)
        try:
            return encode_metadata(record)
        except UnicodeEncodeError as error:
            raise CorpusError(
                f"{place}: a lone surrogate ({error.object[error.start]!r}) is no Unicode "
                f"character; {WITHOUT}"
            ) from None
        except RecursionError:
            raise CorpusError(
                f"{place}: expected metadata nested at most {MOST_NESTED} deep, found more; "
                f"{WITHOUT}"
            ) from None
