"""What a service compiles before it serves: all that queries run, whatever becomes of an index.

In: indexes. Out: nothing but compiled code: while an index is served no query can wait for it.
"""

import contextlib
import shutil
import tempfile
from array import array
from pathlib import Path

import everygram
from everygram.errors import EverygramError
from everygram.index import Index
from everygram.index.union import UnionIndex

# Documents of text that call everything which is compiled for queries; and how `array` calls the
# types of ids.
SAMPLE = [{"text": f"the {i} natural languages of a zebra"} for i in range(40)]
CODES = {"u8": "B", "u16": "H", "u32": "I"}


def warm_up(index: Index) -> None:
    """Compile what queries run, or load it from the disk cache.

    Also what those of an index without documents will run once it has some.
    """
    index.warm_up()
    if not (isinstance(index, UnionIndex) or index.info()["num_segments"]):
        _warm_up_filled(index)


def _warm_up_filled(empty: Index) -> None:
    """Warm up a copy of an index without documents that has some, if it can be made."""
    info = empty.info()
    with (
        contextlib.suppress(EverygramError, OSError),
        tempfile.TemporaryDirectory(prefix="everygram-") as folder,
    ):
        copy, ids = Path(folder) / "index", Path(folder) / "ids.bin"
        shutil.copytree(empty.path, copy, ignore=shutil.ignore_patterns(".*"))
        if empty.tokenizer is not None:
            everygram.add(copy, SAMPLE)
        else:
            numbers = (i % min(info["vocab_size"], 200) for i in range(1000))
            ids.write_bytes(array(CODES[info["dtype"]], numbers).tobytes())
            everygram.add(copy, ids, pretokenized=info["dtype"], separator_id=0)
        with everygram.open(copy) as filled:
            filled.warm_up()
