"""Does a step of `self_index.py`, which starts it, in a process of its own.

usage: python self_index_side.py SOURCE OUT OPTIONS

Builds or converts a small index, with the same options (in JSON), and then SOURCE to OUT. Prints
JSON: wall seconds, those of each stage, the peak bytes, and those of the small index.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import everygram
from build import SEPARATOR
from everygram.storage import format as fmt


def main() -> None:
    source, made, options = sys.argv[1:]
    given = json.loads(options)
    call = everygram.build if "pretokenized" in given else everygram.convert
    with tempfile.TemporaryDirectory() as name:
        begin = small(Path(name), None if call is everygram.build else given["kind"])
        least = call(begin, out=Path(name) / "made", **given).peak_bytes
    start = time.perf_counter()
    report = call(source, out=made, **given)
    wall = time.perf_counter() - start
    taken = {"wall": wall, "seconds": report.seconds, "peak": report.peak_bytes, "least": least}
    print(json.dumps(taken))


def small(folder: Path, to: str | None) -> Path:
    """A few tokens, or an index of them that can be converted to this kind."""
    stream = np.random.default_rng(0).integers(0, 50, 4000).astype("<u2")
    stream[::100] = SEPARATOR
    tokens = folder / "tokens.u16"
    stream.tofile(tokens)
    if to is None:
        return tokens
    kind = next(each for each in fmt.KINDS if each != to)
    ids: dict[str, Any] = {"pretokenized": "u16", "separator_id": SEPARATOR}
    everygram.build(tokens, folder / "index", kind=kind, **ids)
    return folder / "index"


if __name__ == "__main__":
    main()
