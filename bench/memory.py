"""Does a build keep to --memory, and what does the limit cost?

    python bench/memory.py --tokens WORK/tokens.u16 --work WORK [--runs 3] [--shares 1 2 4 8]

Builds an index of the same raw u16 tokens (65535 before each document) with the memory that one
block takes, and with shares of it. Builds are interleaved, each in a process of its own, and the
indexes are compared to the byte. Peak memory is the memory of the process without mapped files, as
the build itself reports it. The baseline is the peak of a tiny build, with the kernels loaded.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from common import markdown_table, print_provenance, provenance, write_json
from everygram.building.external_sort import BYTES_A_TOKEN, RESERVED

BUILD = """
import sys, everygram
everygram.build(sys.argv[1], sys.argv[2], pretokenized="u16", separator_id=65535,
                memory=int(sys.argv[3]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tokens", type=Path, required=True, help="raw u16 ids")
    parser.add_argument("--work", type=Path, required=True, help="a folder with some GB free")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--shares", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)

    tokens = np.memmap(args.tokens, np.uint16, "r")
    facts = provenance() | {
        "corpus": args.tokens.name,
        "bytes": tokens.nbytes,
        "tokens": len(tokens),
        "documents": int((tokens == 65535).sum()),
    }
    tiny = args.work / "tiny.u16"
    np.array([65535, *range(1000)] * 2, np.uint16).tofile(tiny)
    build(tiny, args.work / "index", 1 << 30)  # compiles the kernels if needed
    # With blocks, so that the kernels for merging are loaded too.
    baseline = build(tiny, args.work / "index", 1)["peak"]

    one_block = RESERVED + BYTES_A_TOKEN * len(tokens)
    results: dict[int, list[dict[str, Any]]] = {share: [] for share in args.shares}
    expected: dict[str, str] = {}
    for run in range(args.runs):
        for share in args.shares:
            index = args.work / "index"
            result = build(args.tokens, index, one_block // share)
            results[share].append(result)
            hashes = result.pop("hashes")
            expected = expected or hashes
            assert hashes == expected, "the indexes differ"
            print(f"run {run + 1}, 1/{share}: {result}", file=sys.stderr)
    print_provenance(facts)
    print(f"Baseline {baseline / 2**20:.0f} MiB; {args.runs} runs, medians\n")
    first = statistics.median(r["wall"] for r in results[args.shares[0]])
    rows = []
    for share, runs in results.items():
        wall = statistics.median(r["wall"] for r in runs)
        peak = statistics.median(r["peak"] for r in runs)
        memory = one_block // share
        rows.append(
            [
                f"1/{share}",
                f"{memory / 2**20:,.0f}",
                f"{wall:.1f}",
                f"{wall / first:.2f}",
                f"{statistics.median(r['cpu'] for r in runs):.1f}",
                f"{peak / 2**20:,.0f}",
                f"{(peak - baseline) / memory:.2f}",
            ]
        )
    header = [
        "memory",
        "MiB",
        "wall s",
        "wall ×",
        "CPU s",
        "peak MiB",
        "(peak − baseline) / memory",
    ]
    print(markdown_table(header, rows))
    write_json(args.json, facts | {"baseline": baseline, "results": results})


def build(tokens: Path, index: Path, memory: int) -> dict[str, Any]:
    """Build in a process of its own: wall and CPU seconds, peak bytes, checksums of the files."""
    shutil.rmtree(index, ignore_errors=True)
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-c", BUILD, tokens, index, str(memory)])
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - started
    assert status == 0, f"the build failed: {status}"
    manifest = json.loads((index / "manifest.json").read_bytes())
    (segment,) = manifest["segments"]
    return {
        "wall": wall,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak": manifest["build"]["peak_bytes"],
        "hashes": {name: file["sha256"] for name, file in segment["files"].items()},
        "seconds": manifest["build"]["seconds"],
    }


if __name__ == "__main__":
    main()
