"""Index folders of infini-gram, made by infini-gram 2.6.0's own indexers: format 4 in any number of
shards, and format 6 (one shard, names without a number).

Two ways: from JSON lines, which the indexer tokenizes (by bytes, or by a `tokenizer.json` under the
name it knows), or from streams of ids (`write_shard`): the indexer passes over the files that exist
already, and sorts. Either way the sorted table is theirs.

The indexer leaves an array unsorted, and says nothing, where it sorts fewer than 100,000 bytes in
one of several jobs: `sorted_by_bytes` tells. For tokens of 32 bits it needs 34 GB of memory for the
smallest corpus (a counter for each possible id): on machines with less, `sort_as_defined` makes the
same table. Names of folders must not have `table`, `tokenized`, `offset` or `metadata` in them.
"""

import functools
import itertools
import json
import math
import os
import resource
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

DTYPES = {"u8": "<u1", "u16": "<u2", "u32": "<u4"}


def separator_of(dtype: str) -> int:
    """The id before each document: the largest."""
    return int(np.iinfo(DTYPES[dtype]).max)


def stream_of(documents: Sequence[Sequence[int]], dtype: str) -> np.ndarray:
    """The documents as one stream of ids, the separator before each."""
    separator = [separator_of(dtype)]
    parts = [np.array([*separator, *ids], DTYPES[dtype]) for ids in documents]
    return np.concatenate([np.zeros(0, DTYPES[dtype]), *parts])


def write_shard(
    folder: Path,
    number: int | None,
    stream: np.ndarray,
    metadata: Sequence[Any] | None = None,
    unigrams: bool = False,
) -> None:
    """The files that the indexer makes before it sorts, of one shard (None: of format 6).

    metadata: an object for each document.
    """
    folder.mkdir(parents=True, exist_ok=True)
    suffix = "" if number is None else f".{number}"
    separator = np.iinfo(stream.dtype).max
    stream.tofile(folder / f"tokenized{suffix}")
    starts = np.flatnonzero(stream == separator)
    (starts * stream.itemsize).astype("<u8").tofile(folder / f"offset{suffix}")
    if metadata is not None:
        lines = [
            json.dumps({"path": "c.jsonl", "linenum": line, "metadata": each}) + "\n"
            for line, each in enumerate(metadata)
        ]
        (folder / f"metadata{suffix}").write_text("".join(lines))
        lengths = [len(line.encode()) for line in lines]
        np.cumsum([0, *lengths[:-1]]).astype("<u8").tofile(folder / f"metaoff{suffix}")
    if unigrams:
        counts = sorted(Counter(stream.tolist()).items())
        (folder / f"unigram{suffix}").write_text("".join(f"{i} {n}\n" for i, n in counts))


def name_tokenizer(work: Path, tokenizer: Path) -> None:
    """Make the indexer, in the folder WORK, take this file for the tokenizer "gpt2".

    It takes names of tokenizers, and looks one up on the hub unless a folder there has this name.
    """
    named = work / "gpt2"
    named.mkdir(exist_ok=True)
    (named / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    (named / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2TokenizerFast"}')


def command(
    folder: Path,
    peers: Path,
    dtype: str,
    corpus: Path | None = None,
    *,
    version: int = 4,
    shards: int = 1,
    tokenizer: str | None = None,
    metadata: bool = False,
    unigrams: bool = False,
    cpus: int = 1,
    memory: int = 1,
) -> list[str]:
    """What makes `folder` an index, of the JSON lines in the folder `corpus` or of what is there.

    memory: in GiB; with less, infini-gram sorts in more parts.
    """
    options: dict[str, Any] = {
        "data_dir": (corpus or folder).absolute(),
        "save_dir": folder.absolute(),
        "token_dtype": dtype,
        "cpus": cpus,
        "mem": memory,
        "ulimit": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
    }
    if version == 4:
        options["shards"] = shards
    if tokenizer is not None:
        options["tokenizer"] = tokenizer
    flags = [f for f, on in (("--add_metadata", metadata), ("--add_unigram", unigrams)) if on]
    module = "infini_gram.indexing" if version == 4 else "infini_gram.indexing_v6"
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return [str(peers.absolute() / "bin" / "python"), "-m", module, *words, *flags]


def run(words: list[str], work: Path) -> None:
    """Run such a command in the folder WORK, to its end."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(words, cwd=work, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"infini-gram's indexer ended with {done.returncode}:\n{done.stderr}")


def sorted_by_bytes(folder: Path, dtype: str) -> bool:
    """Whether every table has every suffix once, in the order of their bytes. (For small indexes:
    suffixes are compared one by one.)
    """
    for path in folder.glob("table*"):
        data = path.with_name(path.name.replace("table", "tokenized")).read_bytes()
        width = np.dtype(DTYPES[dtype]).itemsize
        columns = np.fromfile(path, np.uint8).reshape(len(data) // width, -1).astype(np.int64)
        pointers = (columns << (8 * np.arange(columns.shape[1]))).sum(axis=1).tolist()
        if sorted(pointers) != list(range(0, len(data), width)):
            return False
        if not all(_precedes(data, a, b) for a, b in itertools.pairwise(pointers)):
            return False
    return True


def sort_as_defined(folder: Path, dtype: str) -> None:
    """Write the table of every shard as its format defines it, without the indexer. (For small
    indexes.)
    """
    for path in folder.glob("tokenized*"):
        data, width = path.read_bytes(), np.dtype(DTYPES[dtype]).itemsize

        def order(a: int, b: int, data: bytes = data) -> int:
            return -1 if _precedes(data, a, b) else 1

        pointers = sorted(range(0, len(data), width), key=functools.cmp_to_key(order))
        columns = np.array(pointers, "<u8").view(np.uint8).reshape(-1, 8)
        pointer_width = math.ceil(math.log2(len(data)) / 8)
        columns[:, :pointer_width].tofile(path.with_name(path.name.replace("tokenized", "table")))


def _precedes(data: bytes, a: int, b: int, length: int = 64) -> bool:
    """Whether the suffix from a stands before the one from b. Most differ soon."""
    while data[a : a + length] == data[b : b + length]:
        length *= 8
    return data[a : a + length] < data[b : b + length]
