"""Opens what infini-gram's engine is given: folders, its options, and shards that are open already.

Raises OptionError (a ValueError) for every option that has no meaning here; infini-gram's own
engine asserts, or ends the process.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from everygram import arguments
from everygram.arguments import short
from everygram.compat.infini_gram_checks import is_integer
from everygram.compat.infini_gram_shards import Shards
from everygram.errors import OptionError
from everygram.index import Index
from everygram.index.union import UnionIndex
from everygram.opening import open as open_index
from everygram.storage import format as fmt

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
# Tokens of a segment that are looked at where nothing says which there are.
LOOKED_AT = 1 << 16
DTYPES = {"u8": 1, "u16": 2, "u32": 4}


@dataclass(frozen=True)
class OpenShard:
    """A shard of an index that is open. tok_cnt: tokens, separators too; ds_size: bytes of these;
    doc_cnt: documents, deleted ones too; ptr_size: bytes of an entry of the suffix array."""

    index: Index
    tok_cnt: int
    ds_size: int
    ptr_size: int
    doc_cnt: int


ShardsByFolder = Mapping[str, Sequence[OpenShard]]


def folders_of(name: str, given: Any) -> list[str]:
    """The folders that a caller gives, one or a list."""
    many = list(given) if isinstance(given, list | tuple) else [given]
    if not many:
        raise OptionError(f"{name}: expected a path, or a list of them, found an empty list")
    return [str(arguments.path(name, each)) for each in many]


def check_numbers(least: int, **numbers: Any) -> None:
    """Raise OptionError for numbers that are no integers, or smaller than `least`."""
    for name, number in numbers.items():
        if not is_integer(number, least):
            raise OptionError(
                f"{name}: expected an integer of at least {least}, found {short(number)}"
            )


def check_version(version: Any) -> None:
    """Raise OptionError for another format of infini-gram's than 4."""
    if not is_integer(version, 4, 4):
        what = ", whose documents are reversed" if is_integer(version, 5, 5) else ""
        raise OptionError(
            f"version: expected 4, found {short(version)}{what}; give an index of version 4, or "
            "one of version 6 as version=4"
        )


def token_id_max(token_dtype: Any, vocab_size: Any, eos_token_id: Any) -> int:
    """The largest token id of a type. Raises OptionError for what does not fit it."""
    if not isinstance(token_dtype, str) or token_dtype not in DTYPES:
        raise OptionError(f"token_dtype: expected {', '.join(DTYPES)}, found {short(token_dtype)}")
    most: int = 256 ** DTYPES[token_dtype] - 1
    if not is_integer(vocab_size, 1, most):
        raise OptionError(
            f"vocab_size: expected an integer from 1 to {most} for tokens of {token_dtype}, found "
            f"{short(vocab_size)}"
        )
    if not is_integer(eos_token_id, 0, vocab_size - 1):
        raise OptionError(
            f"eos_token_id: expected an integer from 0 to {vocab_size - 1}, found "
            f"{short(eos_token_id)}"
        )
    return most


def opened(
    folders: Sequence[str], minus: Sequence[str], preload: bool, known: Any
) -> tuple[Index, dict[str, Index]]:
    """The index of folders, without the documents of `minus`; and of each folder, if it was not
    open before.

    known: shards of folders that are open already (ShardsByFolder), which are not opened again.
    Documents of `minus` that are not there take nothing away. Raises as `everygram.open`.
    """
    if not isinstance(known, Mapping) or not all(map(_are_shards, known.values())):
        raise OptionError(
            "prev_shards_by_index_dir: expected what get_new_shards_by_index_dir() gives, found "
            f"{short(known)}"
        )

    def index_of(folder: str) -> Index:
        if shards := known.get(folder):  # (an empty index has none)
            index: Index = shards[0].index
            return index
        return open_index(folder, preload="all" if preload else ())

    indexes, without = ([index_of(folder) for folder in each] for each in (folders, minus))
    new = {
        folder: index
        for folder, index in zip(folders, indexes, strict=True)
        if not known.get(folder)
    }
    if len(indexes) == 1 and not without:
        return indexes[0], new
    return UnionIndex.of(indexes, without, folders, missing_ok=True), new


def _are_shards(value: object) -> bool:
    if not isinstance(value, list | tuple):
        return False
    return all(isinstance(each, OpenShard) for each in value)


def shards_of(index: Index) -> list[OpenShard]:
    """The shards of an index that was opened for a folder."""
    shards = Shards(index.engine)
    return [
        OpenShard(
            index,
            segment.stream_len,
            segment.stream_len * shards.width,
            segment.entry.position_bytes,
            segment.num_documents,
        )
        for segment in shards.segments
    ]


def check_index(index: Index, token_dtype: str, vocab_size: int) -> None:
    """Raise OptionError for an index whose tokens are of another type, or too large.

    (Of a folder of infini-gram's without unigrams only the first tokens are looked at.)
    """
    dtype = index.manifest.dtype
    if dtype != token_dtype:
        raise OptionError(
            f"token_dtype: index '{index.path}' has tokens of {dtype}, found {token_dtype!r}; pass "
            f"token_dtype={dtype!r}"
        )
    if vocab_size >= index.vocab_size:
        return
    for segment in index.engine.segments:
        known = segment.unigram_ids
        if not known.size:
            known = segment.text(0, min(LOOKED_AT, segment.stream_len))
        largest = int(known[known != segment.separator].max(initial=0))
        if largest >= vocab_size:
            raise OptionError(
                f"vocab_size: index '{index.path}' has token {largest}, expected more than that, "
                f"found {vocab_size}; pass the size of the vocabulary that it was made with"
            )


def words_of(path: Any) -> np.ndarray:
    """The ids of a file, one a line, or none without a file: int64.

    Raises OptionError, and OSError for a file that cannot be read.
    """
    if path is None:
        return np.empty(0, np.int64)
    place = arguments.path("bow_ids_path", path)
    ids = []
    for number, line in enumerate(place.read_bytes().splitlines(), 1):
        try:
            ids.append(int(line))
        except ValueError:
            raise OptionError(
                f"bow_ids_path: {place}, line {number}: expected a token id, found {short(line)}"
            ) from None
    most = fmt.separator_of("u32")
    if any(not 0 <= each <= most for each in ids):
        raise OptionError(f"bow_ids_path: {place}: expected token ids from 0 to {most}")
    return np.array(ids, np.int64)
