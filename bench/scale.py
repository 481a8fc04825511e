"""Queries over Ray actors: batches and single counts with 1, 2 and 4 actors, beside the index here.

    python bench/scale.py INDEX [--batch 10000] [--seconds 5]

Prints JSON. INDEX needs as many segments as there are to be actors.
"""

import argparse
import json
import time
from collections.abc import Callable

import numpy as np

import everygram

ACTORS = (1, 2, 4)


def queries_of(index: everygram.Index, number: int) -> list[list[int]]:
    """Queries of 1 to 8 tokens from the documents of an index."""
    rng = np.random.default_rng(1)
    found: list[list[int]] = []
    while len(found) < number:
        document = int(rng.integers(index.engine.next_document))
        ids = index.document(document, context=1000).token_ids
        for place in rng.integers(max(1, len(ids)), size=20).tolist():
            found.append(ids[place : place + int(rng.integers(1, 9))].tolist())
    return found[:number]


def rounds(ask: Callable[[], object], seconds: float) -> list[float]:
    """How long each call takes, in seconds."""
    ask()
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        ask()
        taken.append(time.perf_counter() - start)
    return taken


def measured(
    index: everygram.Index, queries: list[list[int]], seconds: float
) -> tuple[dict[str, float], list[int]]:
    turn = iter(range(1 << 40))
    batch = np.median(rounds(lambda: index.count_batch(queries), seconds))
    single = np.array(rounds(lambda: index.count(queries[next(turn) % len(queries)]), seconds))
    figures = {
        "batch_queries_per_second": round(len(queries) / batch),
        "count_us_median": round(float(np.median(single)) * 1e6, 1),
        "count_us_p99": round(float(np.quantile(single, 0.99)) * 1e6, 1),
        "infgram_us_median": round(
            float(np.median(rounds(lambda: index.infgram_prob(queries[0], 0), seconds))) * 1e6, 1
        ),
    }
    return figures, index.count_batch(queries).counts.tolist()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("index")
    parser.add_argument("--batch", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=5)
    given = parser.parse_args()
    with everygram.open(given.index) as here:
        queries = queries_of(here, given.batch)
        local, expected = measured(here, queries, given.seconds)
    report = {"index": given.index, "here": local}
    for number in ACTORS:
        with everygram.open(given.index, ray="local", actors=number) as far:
            held = len(far.engine.actors.groups)
            figures, counts = measured(far, queries, given.seconds)
        assert counts == expected
        figures["actors"] = held
        figures["hop_us"] = round(figures["count_us_median"] - local["count_us_median"], 1)
        report[f"{number}_actors"] = figures
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
