"""Is a stream that fits in memory sorted faster at once, or in blocks on several threads?

From a file of tokens to a suffix array on disk, both ways: at once, on one thread; and in blocks of
the length that `everygram.building.pace` gives more threads, as many at a time as there are
threads, then merged on all of them. Nothing is read meanwhile, as it is in a build, where most
blocks are sorted before the last document is there: so this is the least that blocks save. Every
run is a process of its own with its kernels compiled, and both ways take turns. The arrays must be
the same to the byte. Beside the seconds is what the model predicts, and at last its predictions for
other numbers of cores. Memory: 9 bytes per token. Disk, in WORK: 14.

usage: python bench/threads.py --tokens WORK/tokens.u16 --work WORK --threads 2 --runs 3 \
           --json WORK/threads.json
"""

import argparse
import hashlib
import os
import shutil
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from build import SEPARATOR
from common import corpus_facts, markdown_table, print_provenance, provenance, write_json
from everygram.building import pace
from everygram.building.external_sort import (
    BYTES_A_TOKEN,
    MAX_BLOCK,
    RESERVED,
    BlockSorter,
    write_suffix_array,
)
from everygram.storage import format as fmt
from sort import in_new_process

AT_ONCE, BLOCKS = "at once", "in blocks"
CORES = (2, 8, 32, 96)
LENGTHS = (67_000_000, 542_000_000, 2_000_000_000)
# Tokens that are sorted first, so that all kernels are compiled.
WARM = 1 << 18


@dataclass(frozen=True)
class Run:
    """What one run took. `tokens` counts separators; `load` is the load average before it."""

    way: str
    tokens: int
    threads: int
    block: int
    sort_seconds: float
    merge_seconds: float
    cpu_seconds: float
    load: float
    sha256: str

    @property
    def seconds(self) -> float:
        return self.sort_seconds + self.merge_seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--tokens", type=Path, required=True, help="u16, 65535 before each document"
    )
    parser.add_argument("--work", type=Path, required=True, help="for what is written")
    parser.add_argument("--most", type=int, help="only so many tokens (default: all)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--block", type=int, default=pace.BLOCK, help="tokens in a block")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write every run here")
    args = parser.parse_args()
    tokens, work = args.tokens.resolve(), args.work.resolve() / "threads"
    length = min(tokens.stat().st_size // 2, args.most or MAX_BLOCK)
    runs = []
    for number in range(1, args.runs + 1):
        for way in (AT_ONCE, BLOCKS):
            run = in_new_process(measure, way, tokens, length, args.threads, args.block, work)
            runs.append(run)
            print(
                f"run {number}: {way}, sorting {run.sort_seconds:.2f} s, merging "
                f"{run.merge_seconds:.2f} s, {run.cpu_seconds:.2f} CPU s, load {run.load:.1f}",
                flush=True,
            )
    assert len({run.sha256 for run in runs}) == 1, "the arrays differ"
    facts = provenance() | corpus_facts(tokens)
    print_provenance(facts)
    print(f"{length:,} tokens, blocks of {args.block:,}\n\n{measured_table(runs)}")
    print(f"\n{predictions()}")
    write_json(args.json, facts | {"runs": [asdict(run) for run in runs]})


def measure(way: str, tokens: Path, length: int, threads: int, block: int, work: Path) -> Run:
    """Sort the first tokens of a file one way; blocks are forced."""
    if way == BLOCKS:
        pace.FEWEST_THREADS, pace.BLOCK = 1, block
        pace.longest_at_once = lambda *_: 0
    else:
        threads = 1
    stream = np.fromfile(tokens, np.uint16, length)
    sort(stream[:WARM], threads, work)
    load = os.getloadavg()[0]
    cpu = time.process_time()
    sort_seconds, merge_seconds, sha256 = sort(stream, threads, work)
    cpu = time.process_time() - cpu
    return Run(way, length, threads, block, sort_seconds, merge_seconds, cpu, load, sha256)


def sort(stream: np.ndarray, threads: int, work: Path) -> tuple[float, float, str]:
    """Seconds until blocks are sorted, and from then on; and the hash of the suffix array."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    stream.tofile(work / fmt.TOKENS)
    ends = np.append(np.flatnonzero(stream == SEPARATOR)[1:], stream.shape[0])
    memory = stream.shape[0] * BYTES_A_TOKEN * 2 + RESERVED + (1 << 30)
    started = time.monotonic()
    sorter = BlockSorter(work, "u16", memory, threads)
    for start, end in pairwise([0, *ends.tolist()]):
        sorter.advance(start, end, lambda: None)
    sorter.end()
    blocks = list(sorter.sorted_blocks())
    sort_seconds = time.monotonic() - started
    started = time.monotonic()
    write_suffix_array(
        work, "u16", stream.shape[0], blocks, memory, threads, lambda done, total: None
    )
    merge_seconds = time.monotonic() - started
    with (work / fmt.SUFFIX_ARRAY).open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    shutil.rmtree(work)
    if not blocks:
        return merge_seconds, 0.0, sha256
    return sort_seconds, merge_seconds, sha256


def measured_table(runs: Sequence[Run]) -> str:
    """Medians over the runs of each way, beside what the model says."""
    header = ["way", "threads", "sorting s", "merging s", "together", "(range)", "model", "CPU s"]
    rows = []
    for way in (AT_ONCE, BLOCKS):
        mine = [run for run in runs if run.way == way]
        each = mine[0]
        model = (
            pace.seconds_at_once(each.tokens)
            if way == AT_ONCE
            else pace.seconds_in_blocks(each.tokens, each.threads, each.block)
        )
        both = [run.seconds for run in mine]
        rows.append(
            [
                way,
                str(each.threads),
                f"{statistics.median(run.sort_seconds for run in mine):.2f}",
                f"{statistics.median(run.merge_seconds for run in mine):.2f}",
                f"{statistics.median(both):.2f}",
                f"{min(both):.2f}–{max(both):.2f}",
                f"{model:.2f}",
                f"{statistics.median(run.cpu_seconds for run in mine):.1f}",
            ]
        )
    return markdown_table(header, rows)


def predictions() -> str:
    """Seconds that the model gives, for streams of several lengths."""
    header = ["tokens", "at once", *(f"{cores} cores" for cores in CORES)]
    rows = [
        [
            f"{length // 10**6:,} M",
            f"{pace.seconds_at_once(length):.1f}",
            *(f"{pace.seconds_in_blocks(length, cores, pace.BLOCK):.1f}" for cores in CORES),
        ]
        for length in LENGTHS
    ]
    return markdown_table(header, rows, words=0)


if __name__ == "__main__":
    main()
