"""What a query waits for when the index is in an object store: rounds of reads, reads, bytes, ms.

The store is simulated: the index's own folder, each read of which first sleeps as long as an answer
of a store takes. Nothing else is simulated: blocks are fetched, verified and kept as they are from
s3://.

    python bench/store.py INDEX [--ms 30] [--queries 50] [--json FILE]

A *round* is reads that wait for no other: the rounds of a query are the longest chain of reads of
which each began after the one before had ended. *Cold*: nothing is kept but what opening copies.
*Kept*: the blocks are in the cache's folder, none in memory. *Warm*: they are in memory.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["NUMBA_DISABLE_JIT"] = "1"  # as in the process that reads a store

import everygram
from common import markdown_table, provenance, write_json
from everygram.index import Index
from everygram.storage import caching
from everygram.storage.blocks import Blocks
from everygram.storage.store import Store

# Tokens of a batch's queries, and of a text that is scored.
BATCH, TEXT = 32, 64


class Slow(Store):
    """A store whose reads take so many seconds."""

    seconds = 0.0
    reads: list[tuple[float, float, int]] = []  # noqa: RUF012 (of all stores, on purpose)
    lock = threading.Lock()

    def read(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        begin = time.perf_counter()
        time.sleep(self.seconds)
        data = super().read(name, start, end)
        with self.lock:
            self.reads.append((begin, time.perf_counter(), len(data)))
        return data


def rounds(reads: list[tuple[float, float, int]]) -> int:
    """The longest chain of reads of which each began after the one before had ended."""
    depths: list[tuple[float, int]] = []  # when a read ended, and how long the chain to it is
    for begin, end, _ in sorted(reads):
        before = max((depth for ended, depth in depths if ended <= begin), default=0)
        depths.append((end, before + 1))
    return max((depth for _, depth in depths), default=0)


def asked(index: Any, ask: Callable[[], Any]) -> dict[str, float]:
    """One query. (What it asked for and did not wait for is waited for, and counts.)"""
    Slow.reads.clear()
    start = time.perf_counter()
    ask()
    ms = (time.perf_counter() - start) * 1e3
    while index._stored._blocks._coming:
        time.sleep(0.002)
    return {
        "rounds": rounds(Slow.reads),
        "reads": len(Slow.reads),
        "kilobytes": sum(size for _, _, size in Slow.reads) / 1e3,
        "ms": ms,
    }


def emptied(index: Any, folder: Path, disk: bool) -> None:
    """Nothing is in memory, and, with `disk`, nothing in the cache's folder."""
    there: Blocks = index._stored._blocks
    while there._coming:
        time.sleep(0.002)
    if disk:
        shutil.rmtree(folder / "blocks")
        (folder / "blocks").mkdir()
    with there._lock:
        there.held.clear()
        there._held_bytes = 0


def questions(index: Index, number: int) -> dict[str, list[Callable[[], Any]]]:
    """Queries from places all over the index."""
    texts = []
    seed = 0
    while len(texts) < number:
        found = (
            index.find([], sample=number, seed=seed, limit=None)
            if seed
            else index.find([], sample=number, limit=None)
        )
        for each in found.occurrences:
            ids = index.document(each.document).token_ids
            ids = list(ids[max(0, each.offset) : max(0, each.offset) + TEXT])
            if len(ids) == TEXT and len(texts) < number:
                texts.append(ids)
        seed += 1
    return {
        **{
            f"count, {size} tokens": [
                lambda ids=ids, size=size: index.count(ids[:size]) for ids in texts
            ]
            for size in (1, 2, 3, 5, 10)
        },
        "count, 5 tokens that are not there": [
            lambda ids=ids: index.count([*ids[:4], ids[40]]) for ids in texts
        ],
        "prob, 5 tokens": [lambda ids=ids: index.prob(ids[:5]) for ids in texts],
        "infgram_prob, 10 tokens": [lambda ids=ids: index.infgram_prob(ids[:10]) for ids in texts],
        "ntd, 3 tokens": [lambda ids=ids: index.ntd(ids[:3]) for ids in texts],
        "find, 3 tokens": [lambda ids=ids: index.find(ids[:3]) for ids in texts],
        f"count_batch, {BATCH} of 5 tokens": [
            lambda part=part: index.count_batch([ids[part : part + 5] for ids in texts[:BATCH]])
            for part in range(0, TEXT - 5, 20)
        ],
        f"score, {TEXT} tokens": [lambda ids=ids: index.score(ids) for ids in texts[:3]],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("index", type=Path)
    parser.add_argument("--ms", type=float, default=30)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    caching.Store = Slow  # type: ignore[misc]
    address = f"file://{options.index.resolve()}"
    result: dict[str, Any] = {"machine": provenance(), "ms_per_read": options.ms, "queries": {}}
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        start = time.perf_counter()
        with everygram.open(address, cache=cache) as index:
            copied = sum(f.stat().st_size for f in cache.glob("index-*/**/*") if f.is_file())
            result["opened"] = {
                "bytes": index.manifest.bytes,
                "copied": copied,
                "seconds": time.perf_counter() - start,
            }
            asked_for = questions(index, options.queries)
            Slow.seconds = options.ms / 1e3
            for name, asks in asked_for.items():
                found: dict[str, dict[str, float]] = {}
                for way in ("cold", "kept", "warm"):
                    each = []
                    for ask in asks:
                        if way == "warm":
                            ask()
                        else:
                            if way == "kept":
                                ask()
                            emptied(index, cache, disk=way == "cold")
                        each.append(asked(index, ask))
                    found[way] = {
                        key: statistics.median(one[key] for one in each) for key in each[0]
                    } | {"most_rounds": max(one["rounds"] for one in each)}
                result["queries"][name] = found
                print(name, found, flush=True)
    said = result["opened"]
    machine = result["machine"]
    print(f"\n{machine['date']}, everygram at {machine['commit']}; {machine['cpu']}")
    print(
        f"{options.index.name}: {said['bytes']:,} bytes, of which opening copies "
        f"{said['copied']:,}; a read takes {options.ms:g} ms; medians\n"
    )
    header = ["query", "rounds", "at most", "reads", "kB", "ms cold", "ms kept", "ms warm"]
    rows = []
    for name, found in result["queries"].items():
        cold = found["cold"]
        figures = [cold["rounds"], cold["most_rounds"], cold["reads"], cold["kilobytes"]]
        times = [found[way]["ms"] for way in ("cold", "kept", "warm")]
        rows.append([name, *(f"{f:,.0f}" for f in figures), *(f"{t:,.1f}" for t in times)])
    print(markdown_table(header, rows))
    write_json(options.json, result)


if __name__ == "__main__":
    main()
