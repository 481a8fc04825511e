"""A corpus larger than memory allows, built in parts by two workers of a Ray cluster.

    python bench/parts.py CORPUS.jsonl --work WORK --tokenizer TOKENIZER [--copies 8] [--parts 16]

Writes copies of CORPUS, the documents of each from another one on, and builds them in parts of
`--memory` each. Checks that n-grams occur as often as in an index of CORPUS, times the copies.
Prints JSON.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

import everygram
from everygram import distributed

QUERIES = 20_000


def written(corpus: Path, folder: Path, copies: int) -> None:
    """A file for each copy."""
    if folder.exists():
        return
    lines = corpus.read_bytes().splitlines(keepends=True)
    folder.mkdir(parents=True)
    for copy in range(copies):
        first = copy * len(lines) // copies
        with (folder / f"{copy:03d}.jsonl").open("wb") as file:
            file.writelines(lines[first:] + lines[:first])


def queries_of(index: everygram.Index, number: int) -> list[list[int]]:
    """N-grams of 1 to 8 tokens of an index's documents."""
    rng = np.random.default_rng(1)
    found: list[list[int]] = []
    while len(found) < number:
        ids = index.document(int(rng.integers(index.num_documents)), context=1000).token_ids
        for place in rng.integers(max(1, len(ids)), size=20).tolist():
            found.append(ids[place : place + int(rng.integers(1, 9))])
    return found[:number]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--copies", type=int, default=8)
    parser.add_argument("--parts", type=int, default=16)
    parser.add_argument("--memory", default="1GiB")
    given = parser.parse_args()
    written(given.corpus, given.work / "copies", given.copies)
    begun = time.perf_counter()
    report = distributed.build(
        given.work / "copies",
        given.work / "parts",
        given.tokenizer,
        ray="local",
        parts=given.parts,
        memory=given.memory,
        threads=1,
        restart=True,
    )
    wall = time.perf_counter() - begun
    everygram.build(given.corpus, given.work / "one", given.tokenizer, restart=True)
    with everygram.open(given.work / "one") as one, everygram.open(given.work / "parts") as whole:
        queries = queries_of(one, QUERIES)
        expected = one.count_batch(queries).counts * given.copies
        right = int((whole.count_batch(queries).counts == expected).sum())
        segments = len(whole.manifest.segments)
    print(
        json.dumps(
            {
                "tokens": report.num_tokens,
                "documents": report.num_documents,
                "segments": segments,
                "wall_seconds": round(wall, 1),
                "wall_ns_a_token": round(wall * 1e9 / report.num_tokens, 1),
                "most_bytes_of_a_worker": report.peak_bytes,
                "index_bytes_a_token": round(report.index_bytes / report.num_tokens, 3),
                "counts_right": f"{right} of {QUERIES}",
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
