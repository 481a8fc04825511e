"""How many disk reads, one after another, does a cold count wait for?

Uses indexes of a stream of 500 million tokens or more (`sort.py --large` makes one). They are built
in LARGE if they do not exist yet. n-grams of 1–8 tokens from anywhere in the stream, drawn with a
seed, are counted one by one through each side's Python API, in a process with warm code. Before,
every page of the index is dropped from memory (`mincore` confirms this), in one of three ways:

- dropped, opened: for every n-gram, the index is closed, dropped and opened again; then the n-gram
  is counted. (Pages requested by opening are cold too, but are requested earlier; opening is timed
  separately.)
- open, dropped: the index stays open; for every n-gram everything is dropped, including the pages
  that opening requested. (everygram has learned that reads wait for a disk, and requests everything
  that it may read in a round.)
- series: dropped and opened once; later n-grams find in memory what earlier ones have read.

The operating system's kernel counts, as differences over one call: *major faults*, page faults that
requested a page and waited for it. Pages requested before by `madvise` are not counted, even if the
thread then sleeps until they are loaded. So *waits* are the times that a thread went to sleep
(voluntary context switches), minus those of the same count when warm (infini-gram waits for threads
of its own), or the major faults if they are more: the reads that wait for one another. *KiB* is all
that was read, including read-ahead; *µs* is the wall time of the call. If `perf` may trace, some
runs of everygram show which file its thread was reading when it slept for the disk.

usage: python bench/cold.py --tokens DATA/large.u16 --tokenizer DATA/gpt2.tokenizer.json \
           --work LARGE --peers bench/.peers --json LARGE/cold.json
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import everygram
from build import SEPARATOR, peers_from_tokens
from cold_side import DROPPED, FOLDERS, OPENED, SERIES
from common import corpus_facts, markdown_table, print_provenance, provenance, write_json

OURS, FENCES = "everygram", "everygram, fences preloaded"
SELF_INDEX = "self-index, 32"
SIDES = (OURS, FENCES, SELF_INDEX, "infini-gram", "infini-gram, no prefetch")
# Parts of a series: each begins at this n-gram and ends before the next part.
STAGES = (0, 10, 50)
# The project's targets for a count, in reads that wait for one another.
MEDIAN_TARGET, P99_TARGET = 5, 15
FILES = ("unigrams.bin", "fences.bin", "suffix_array.bin", "tokens.bin", "other")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokens", type=Path, required=True, help="u16, 65535 before documents")
    parser.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json, u16 ids")
    parser.add_argument("--work", type=Path, required=True, help="the indexes are left here")
    parser.add_argument("--peers", type=Path, required=True, help="what bench/peers.sh made")
    parser.add_argument("--number", type=int, default=200, help="n-grams")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write every count here")
    args = parser.parse_args()
    work, peers = args.work.resolve(), args.peers.absolute()
    work.mkdir(parents=True, exist_ok=True)
    build(args.tokens.resolve(), args.tokenizer.resolve(), work, peers)
    # Dirty pages cannot be dropped.
    os.sync()

    facts = provenance() | corpus_facts(args.tokens)
    stream = np.memmap(args.tokens, np.uint16, "r")
    queries = draw(stream, args.number, np.random.default_rng(args.seed))
    (work / "cold-queries.json").write_text(json.dumps(queries))
    results = {}
    for when in (OPENED, DROPPED, SERIES):
        for side in SIDES:
            results[when, side] = run(side, when, work, peers)
            assert results[when, side]["answers"] == results[OPENED, OURS]["answers"], side
            print(f"{when}: {side}: done", flush=True)
    traced = {}
    try:
        traced = trace(work, peers)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        print(f"without a trace: {error}", flush=True)
    for result in results.values():
        for each, warm in zip(result["measured"], result["warm"], strict=True):
            each["waits"] = max(each["major_faults"], each["sleeps"] - warm["sleeps"])
            del each["maps"]

    print_provenance(facts)
    probes = np.concatenate([result["probes"] for result in results.values()]) / 1e3
    median, p99 = np.percentile(probes, (50, 99))
    print(f"A page from anywhere in a file, by itself: {median:,.0f} µs, p99 {p99:,.0f} µs\n")
    print(table({key: result["measured"] for key, result in results.items()}))
    opening = {side: np.median(results[OPENED, side]["opening"]) / 1e6 for side in SIDES}
    print("\nOpening: " + "; ".join(f"{side} {ms:,.1f} ms" for side, ms in opening.items()))
    if traced:
        print(f"\n{where_table(traced)}")
    print(f"\n{targets_table(results)}")
    runs = [{"when": when, "side": side} | result for (when, side), result in results.items()]
    write_json(args.json, facts | {"runs": runs, "traced": traced})


def build(tokens: Path, tokenizer: Path, work: Path, peers: Path) -> None:
    """Make the indexes that do not exist."""
    if not (work / OURS / "manifest.json").exists():
        build_from_tokens(tokens, tokenizer, work / OURS)
    dense = work / FOLDERS[SELF_INDEX]
    if not dense.exists():
        everygram.convert(work / OURS, dense, kind="self-index")
    infini_gram = next(s for s in peers_from_tokens(tokens, work, peers) if s.name == "infini-gram")
    index = work / infini_gram.name
    if not (index / "table.0").exists():
        infini_gram.prepare()
        sort_for_infini_gram(index, peers)


def sort_for_infini_gram(index: Path, peers: Path) -> None:
    """infini-gram's suffix array in one part, made by the program that sorts parts for its indexer.

    The indexer itself would then compare all suffixes again to merge parts, even a single part:
    more than half an hour if documents are near-copies. A single part is already the same array, to
    the byte.
    """
    [program] = peers.glob("lib/python*/site-packages/infini_gram/rust_indexing")
    tokens, parts = index / "tokenized.0", index / "parts"
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir()
    size = tokens.stat().st_size
    # As in infini-gram's indexer: enough bytes for an offset in the file.
    width = math.ceil(math.log2(size) / 8)
    options = {
        "data-file": tokens,
        "parts-dir": parts,
        "start-byte": 0,
        "end-byte": size,
        "ratio": width,
        "token-width": 2,
    }
    arguments = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    subprocess.run([program, "make-part", *arguments], check=True, stdout=subprocess.DEVNULL)
    [part] = parts.iterdir()
    part.rename(index / "table.0")
    parts.rmdir()


def build_from_tokens(tokens: Path, tokenizer: Path, index: Path) -> None:
    """everygram's index of a stream."""
    shutil.rmtree(index, ignore_errors=True)
    everygram.build(tokens, index, str(tokenizer), pretokenized="u16", separator_id=SEPARATOR)


def draw(stream: np.ndarray, number: int, rng: np.random.Generator) -> list[list[int]]:
    """n-grams from anywhere in a stream, 1–8 tokens in turn."""
    found: list[list[int]] = []
    while len(found) < number:
        length = 1 + len(found) % 8
        start = int(rng.integers(stream.shape[0] - length))
        ids = stream[start : start + length].tolist()
        if SEPARATOR not in ids:
            found.append(ids)
    return [found[i] for i in rng.permutation(number)]


def run(
    side: str, when: str, work: Path, peers: Path, prefix: Sequence[str] = ()
) -> dict[str, Any]:
    """The measurements of `cold_side.py` for one side; `prefix` is put before its command."""
    theirs = side.startswith("infini-gram")
    python = sys.executable if not theirs else str(peers / "bin" / "python")
    script = Path(__file__).with_name("cold_side.py")
    results = work / "cold-results.json"
    files = [str(work), str(work / "cold-queries.json"), when, str(results)]
    subprocess.run([*prefix, python, str(script), side, *files], check=True)
    found: dict[str, Any] = json.loads(results.read_text())
    return found


def trace(work: Path, peers: Path) -> dict[str, list[dict[str, int]]]:
    """For some runs of everygram: how often each count slept for the disk, by file."""
    data = work / "perf.data"
    # In uninterruptible sleep: waiting for a page.
    sleeps = ["-e", "sched:sched_switch", "--filter", "prev_state & 2"]
    record = ["perf", "record", "-q", "-e", "page-faults", *sleeps, "-c", "1", "-d"]
    script = ["perf", "script", "-i", str(data), "-F", "time,event,addr", "--ns"]
    found = {}
    for side, when in ((OURS, OPENED), (OURS, DROPPED), (FENCES, OPENED)):
        prefix = [*record, "-k", "CLOCK_MONOTONIC", "-o", str(data), "--"]
        result = run(side, when, work, peers, prefix)
        lines = subprocess.run(script, check=True, capture_output=True, text=True).stdout
        events = []
        for line in lines.splitlines():
            seconds, event, address = line.split()
            whole, _, fraction = seconds.rstrip(":").partition(".")
            is_fault = event.startswith("page-faults")
            at = int(whole) * 10**9 + int(fraction)
            events.append((at, int(address, 16) if is_fault else None))
        events.sort(key=lambda event: event[0])
        times = [at for at, _ in events]
        found[f"{side}; {when}"] = [
            files_of(
                events[bisect_left(times, each["start"]) : bisect_left(times, each["end"])],
                each["maps"],
            )
            for each in result["measured"]
        ]
        data.unlink()
    return found


def files_of(
    events: Sequence[tuple[int, int | None]], maps: Sequence[Sequence[Any]]
) -> dict[str, int]:
    """Sleeps in each file. events: page faults, with their addresses, and sleeps, without."""
    found = dict.fromkeys(FILES, 0)
    name = "other"
    for _, address in events:
        if address is None:
            found[name if name in FILES else "other"] += 1
        else:
            files = (file for start, end, file in maps if start <= address < end)
            name = next(files, "other")
    return found


def table(measured: dict[tuple[str, str], list[dict[str, int]]]) -> str:
    """One row per side and situation; a series has a row per part."""
    header = ["when", "side", "n-grams", "waits", "p90", "p99", "most"]
    header += ["major faults", "p99", "KiB", "median µs", "p90", "p99"]
    rows = []
    for (when, side), counts in measured.items():
        stages = {when: counts}
        if when == SERIES:
            bounds = [*(low for low in STAGES if low < len(counts)), len(counts)]
            stages = {
                f"{when}, {low + 1}–{high}": counts[low:high] for low, high in pairwise(bounds)
            }
        for stage, some in stages.items():
            waits = np.percentile(column(some, "waits"), (50, 90, 99, 100))
            faults = np.percentile(column(some, "major_faults"), (50, 99))
            micros = (column(some, "end") - column(some, "start")) / 1e3
            rows.append(
                [
                    stage,
                    side,
                    str(len(some)),
                    *(f"{value:.0f}" for value in (*waits, *faults)),
                    f"{np.median(column(some, 'read_bytes')) / 1024:,.0f}",
                    *(f"{value:,.0f}" for value in np.percentile(micros, (50, 90, 99))),
                ]
            )
    return markdown_table(header, rows, words=2)


def where_table(traced: dict[str, list[dict[str, int]]]) -> str:
    """Mean sleeps of a count in each file."""
    header = ["mean sleeps for the disk in", *FILES, "all"]
    rows = []
    for run_of, counts in traced.items():
        means = [float(column(counts, name).mean()) for name in FILES]
        rows.append([run_of, *(f"{mean:.2f}" for mean in (*means, sum(means)))])
    return markdown_table(header, rows)


def targets_table(results: dict[tuple[str, str], dict[str, Any]]) -> str:
    """The targets next to the results, counted as waits and as major faults."""
    header = ["when", "side", f"waits: median ≤ {MEDIAN_TARGET}", f"p99 ≤ {P99_TARGET}", "met"]
    header += [f"major faults: median ≤ {MEDIAN_TARGET}", f"p99 ≤ {P99_TARGET}", "met"]
    rows = []
    for when in (OPENED, DROPPED):
        for side in SIDES:
            row = [when, side]
            for name in ("waits", "major_faults"):
                found = column(results[when, side]["measured"], name)
                median, p99 = np.percentile(found, (50, 99))
                good = median <= MEDIAN_TARGET and p99 <= P99_TARGET
                met = "–" if side.startswith("infini-gram") else "yes" if good else "**no**"
                row += [f"{median:.0f}", f"{p99:.0f}", met]
            rows.append(row)
    return markdown_table(header, rows, words=2)


def column(counts: Sequence[dict[str, int]], name: str) -> np.ndarray:
    """One figure of all counts."""
    return np.array([each[name] for each in counts])


if __name__ == "__main__":
    main()
