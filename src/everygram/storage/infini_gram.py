"""infini-gram's index folders: which files they have, and what these are.

A folder of its version 4 has for each *shard* N = 0, 1, … the files below; one of its version 6 has
one shard, whose files are named without ``.N``. All integers are little-endian::

    tokenized.N   the tokens: u8, u16 or u32; an all-ones token before each document
    table.N       the suffix array: the *pointer* of each suffix, in as few bytes as the size of
                  tokenized.N takes. A pointer counts bytes
    offset.N      u64 for each document: the pointer of the all-ones token before it
    metadata.N    (optional) for each document a line of JSON: path, linenum, metadata
    metaoff.N     (optional) u64 for each document: where its line begins
    unigram.N     (optional) lines "id count", the all-ones token's among them: only
                  `verify` reads them

No file says which dtype the tokens have, but sizes do: table.N has as many entries as tokenized.N
has tokens. Nothing says which tokenizer made them, or whether version 5 or an option of 6 has
reversed the tokens of each document.

Suffixes are sorted as strings of bytes, up to the end of the file. So the order of tokens is that
of their little-endian bytes; and the end comes before all tokens, where in ours it reads as a
separator, which comes last (see `shard`).

Only opened, never written, here; `building.export` writes such files.
"""

import re
import stat
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from everygram.errors import FormatError
from everygram.storage import format as fmt
from everygram.storage.disk import map_file

TOKENIZED, TABLE, OFFSET = "tokenized", "table", "offset"
METADATA, METAOFF, UNIGRAM = "metadata", "metaoff", "unigram"
_SHARD = re.compile(rf"(?:{TOKENIZED}|{TABLE}|{OFFSET})(?:\.(\d{{1,6}}))?")
# Documents of a shard that are looked at when it is opened.
LOOKED_AT = 64
REBUILD = "get the folder again, or build it again"


@dataclass(frozen=True)
class ShardFiles:
    """One shard's files: their sizes fit, and the documents that were looked at are some.

    name: what is put after the names of its files ("" or ".0"). pointer_bytes: per entry of its
    table. stream_len: its tokens, separators included.
    """

    folder: Path
    name: str
    dtype: str
    pointer_bytes: int
    stream_len: int
    num_documents: int

    def path(self, kind: str) -> Path:
        """The path of a file of the shard: `kind` is TOKENIZED, TABLE, …"""
        return self.folder / (kind + self.name)

    @cached_property
    def tokens(self) -> np.ndarray:
        """The stream: u8, u16 or u32, shape (n,), mapped."""
        return map_file(self.path(TOKENIZED), fmt.TOKEN_DTYPES[self.dtype])

    @cached_property
    def pointers(self) -> np.ndarray:
        """The suffix array: u8, shape (n, pointer_bytes), mapped."""
        return map_file(self.path(TABLE), np.dtype("u1")).reshape(-1, self.pointer_bytes)

    @cached_property
    def document_pointers(self) -> np.ndarray:
        """The pointer of each document's separator: u64, shape (D,), mapped."""
        return map_file(self.path(OFFSET), fmt.OFFSET)

    @cached_property
    def has_metadata(self) -> bool:
        """Whether it has the documents' metadata."""
        return self.path(METADATA).exists()

    @cached_property
    def files(self) -> dict[str, int]:
        """The names and sizes of the files that are there."""
        kinds = (TOKENIZED, TABLE, OFFSET, METADATA, METAOFF, UNIGRAM)
        paths = [path for kind in kinds if (path := self.path(kind)).exists()]
        return {path.name: path.stat().st_size for path in paths}

    @property
    def shift(self) -> int:
        """Pointers shifted right by this are positions."""
        return self.tokens.itemsize.bit_length() - 1


def is_infini_gram(folder: Path) -> bool:
    """Whether a folder looks like an index of infini-gram's, or like a part of one."""
    return (folder.is_dir() and not (folder / fmt.MANIFEST).exists()) and bool(_names(folder))


def shards_of(folder: Path) -> list[ShardFiles]:
    """The shards of an index folder of infini-gram's, in their order; those without documents are
    left out.

    Reads sizes and a few documents' places. Raises FormatError for what is not such a folder, not
    finished, or inconsistent.
    """
    names = _names(folder)
    if "" in names and len(names) > 1:
        raise FormatError(
            f"'{folder}': {TOKENIZED} and {TOKENIZED}.N: expected the files of infini-gram's "
            "version 6 or those of its version 4, found both"
        )
    numbers = [int(name[1:]) for name in names if name]
    if sorted(numbers) != list(range(len(numbers))):
        missing = next(i for i in range(len(numbers) + 1) if i not in numbers)
        raise FormatError(
            f"'{folder}': no {TOKENIZED}.{missing}, but {TOKENIZED}.{max(numbers)}: {REBUILD}"
        )
    found = [_shard(folder, name) for name in sorted(names, key=lambda name: int(name[1:] or 0))]
    shards = [shard for shard in found if shard is not None]
    if not shards:
        raise FormatError(f"'{folder}': its files are empty: {REBUILD}")
    for shard in shards:
        if shard.dtype != shards[0].dtype:
            raise FormatError(
                f"'{folder}': shard {shards[0].name[1:]} has {shards[0].dtype} tokens, shard "
                f"{shard.name[1:]} has {shard.dtype}: expected the same in all; {REBUILD}"
            )
    return shards


def pointer_bytes(size: int) -> int:
    """Bytes per pointer into tokens of that size: ceil(log2(size) / 8), as infini-gram has it."""
    return max(1, ((size - 1).bit_length() + 7) // 8)


def _names(folder: Path) -> set[str]:
    """What stands behind the names of files in a folder: "" or ".0", ".1", …"""
    found = (_SHARD.fullmatch(path.name) for path in folder.iterdir())
    return {match[0].removeprefix(match[0].split(".")[0]) for match in found if match}


def _size(path: Path) -> int | None:
    """The size of a file; None if it is not there. Raises FormatError for what is no file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(found.st_mode):
        raise FormatError(f"{path}: expected a file, found something else")
    return found.st_size


def _shard(folder: Path, name: str) -> ShardFiles | None:
    sizes = {}
    for kind in (TOKENIZED, TABLE, OFFSET):
        size = _size(folder / (kind + name))
        if size is None:
            raise FormatError(
                f"{folder / (kind + name)}: missing: infini-gram's indexer has not finished, or "
                f"the file was not fetched; {REBUILD}"
            )
        sizes[kind] = size
    if not any(sizes.values()):
        return None
    tokens = folder / (TOKENIZED + name)
    per_pointer = pointer_bytes(sizes[TOKENIZED])
    fitting = [
        known
        for known, kind in fmt.TOKEN_DTYPES.items()
        if sizes[TOKENIZED] % kind.itemsize == 0
        and sizes[TOKENIZED] // kind.itemsize * per_pointer == sizes[TABLE]
    ]
    if not fitting:
        expected = ", ".join(
            f"{sizes[TOKENIZED] // kind.itemsize * per_pointer:,} ({known})"
            for known, kind in fmt.TOKEN_DTYPES.items()
        )
        raise FormatError(
            f"{folder / (TABLE + name)}: {sizes[TABLE]:,} bytes do not go with {tokens.name} of "
            f"{sizes[TOKENIZED]:,}: expected {expected}; a part is missing: {REBUILD}"
        )
    documents, rest = divmod(sizes[OFFSET], fmt.OFFSET.itemsize)
    if rest or not documents:
        raise FormatError(
            f"{folder / (OFFSET + name)}: {sizes[OFFSET]:,} bytes: expected 8 for each document; "
            f"{REBUILD}"
        )
    width = fmt.TOKEN_DTYPES[fitting[0]].itemsize
    shard = ShardFiles(folder, name, fitting[0], per_pointer, sizes[TOKENIZED] // width, documents)
    _check_documents(shard)
    _check_metadata(shard)
    return shard


def _check_documents(shard: ShardFiles) -> None:
    """Raise FormatError unless some documents' places are where documents can begin."""
    some = np.unique(np.linspace(0, shard.num_documents - 1, LOOKED_AT).astype(np.int64))
    pointers = shard.document_pointers[some].astype(np.int64)
    width = shard.tokens.itemsize
    places = pointers // width
    inside = (pointers % width == 0) & (places >= 0) & (places < shard.stream_len)
    sound = inside.all() and pointers[0] == 0 and (np.diff(pointers) > 0).all()
    if not sound or (shard.tokens[places] != fmt.separator_of(shard.dtype)).any():
        raise FormatError(
            f"{shard.path(OFFSET)}: not the places of the all-ones tokens in "
            f"{shard.path(TOKENIZED).name}, which has {shard.dtype} tokens by its size: not an "
            f"index of infini-gram's, or damaged; {REBUILD}"
        )


def _check_metadata(shard: ShardFiles) -> None:
    """Raise FormatError if metadata is there, but not of all documents."""
    lines, places = _size(shard.path(METADATA)), _size(shard.path(METAOFF))
    if lines is None and places is None:
        return
    if lines is None or places is None:
        there, missing = (METAOFF, METADATA) if lines is None else (METADATA, METAOFF)
        raise FormatError(
            f"{shard.path(missing)}: missing, but {shard.path(there).name} is there: fetch it, or "
            "remove that one to open the index without metadata"
        )
    expected = shard.num_documents * fmt.OFFSET.itemsize
    if places != expected:
        raise FormatError(
            f"{shard.path(METAOFF)}: {places:,} bytes: expected {expected:,}, 8 for each of "
            f"{shard.num_documents:,} documents; {REBUILD}"
        )
