"""Are queries as fast as those of another checkout?

Two processes, one per checkout, run the same queries on the same index in turns for ROUNDS rounds,
on one processor. Reports the medians and their ratio.

usage: python bench/against.py --index WORK/everygram --other ../everygram-before/src
"""

import argparse
import gc
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from common import markdown_table, provenance

NUMBER = 2000
HERE = Path(__file__).parent.parent / "src"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--index", type=Path, required=True, help="an index of u16 tokens")
    parser.add_argument("--other", type=Path, required=True, help="the src folder it is held to")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    sources = {"here": HERE, "other": args.other.resolve()}
    sides = {name: started(args.index.resolve(), source) for name, source in sources.items()}
    names = ask(sides["here"], "names").split(";")
    times: dict[tuple[str, str], list[float]] = {}
    for round_ in range(args.rounds):
        for name in names:
            for side in list(sides)[:: 1 if round_ % 2 else -1]:
                times.setdefault((name, side), []).append(float(ask(sides[side], name)))
    facts = provenance()
    print(f"{facts['date']}, {facts['commit']}, {facts['cpu']}; {facts['system']}\n")
    rows = []
    for name in names:
        here, other = (statistics.median(times[name, side]) / 1000 for side in sources)
        rows.append([name, f"{here:,.2f}", f"{other:,.2f}", f"{here / other:.2f}"])
    print(markdown_table(["call", "here µs", "other µs", "ratio"], rows))


def started(index: Path, source: Path) -> "subprocess.Popen[str]":
    """A process that times calls with the given sources."""
    program = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import against; "
    program += f"against.serve({str(index)!r})"
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(source)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def ask(side: "subprocess.Popen[str]", name: str) -> str:
    assert side.stdin is not None and side.stdout is not None
    side.stdin.write(name + "\n")
    side.stdin.flush()
    return side.stdout.readline().strip()


def serve(path: str) -> None:
    """Read names of calls; answer each with nanoseconds per query."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    calls = calls_of(path)
    for call, _ in calls.values():
        call()
        call()
    for line in sys.stdin:
        if line.strip() == "names":
            print(";".join(calls), flush=True)
            continue
        call, number = calls[line.strip()]
        gc.disable()
        start = perf_counter_ns()
        call()
        spent = perf_counter_ns() - start
        gc.enable()
        print(spent / number, flush=True)


def calls_of(path: str) -> dict[str, tuple[Callable[[], Any], int]]:
    """The calls that are timed, and the number of queries in each."""
    import numpy as np

    import everygram

    index = everygram.open(path)
    tokens = np.fromfile(Path(path) / "segment-000001" / "tokens.bin", "<u2")
    rng = random.Random(1)

    def gram(length: int) -> list[int]:
        while True:
            start = rng.randrange(len(tokens) - length)
            if (tokens[start : start + length] != 65535).all():
                ids: list[int] = tokens[start : start + length].tolist()
                return ids

    def each(method: Any, asked: list[Any]) -> Callable[[], None]:
        def call() -> None:
            for arguments in asked:
                method(*arguments)

        return call

    grams = [gram(rng.randint(1, 8)) for _ in range(NUMBER)]
    short = [gram(rng.randint(2, 8)) for _ in range(NUMBER)]
    long = [gram(201) for _ in range(NUMBER)]
    texts = [gram(1000) for _ in range(10)]
    prompts = [(ids[:-1], ids[-1]) for ids in short]
    # Every other one begins as no document does.
    inside = [([7, 7, 7, *ids[3:-1]] if i % 2 else ids[:-1], ids[-1]) for i, ids in enumerate(long)]
    flat = np.concatenate([np.array(ids) for ids in grams])
    offsets = np.cumsum([0, *map(len, grams)])
    return {
        "count": (each(index.count, [(ids,) for ids in grams]), NUMBER),
        "prob": (each(index.prob, prompts), NUMBER),
        "infgram_prob, 200 ids": (each(index.infgram_prob, inside), NUMBER),
        "ntd": (each(index.ntd, [(ids,) for ids, _ in prompts]), NUMBER),
        "infgram_ntd, 200 ids": (each(index.infgram_ntd, [(ids,) for ids, _ in inside]), NUMBER),
        "count_batch, lists": (lambda: index.count_batch(grams), NUMBER),
        "count_batch, arrays": (lambda: index.count_batch(flat, offsets), NUMBER),
        "score, 1,000 tokens": (each(index.score, [(ids,) for ids in texts]), 10),
        "longest_matches, 1,000 tokens": (each(index.longest_matches, [(i,) for i in texts]), 10),
    }


if __name__ == "__main__":
    main()
