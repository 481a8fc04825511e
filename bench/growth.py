"""How does the latency of warm queries grow with the index, and where does the time go?

Uses indexes of the first tokens of a long stream (`sort.py --large` makes one), from 1 million
tokens to the whole stream; each is built in LARGE if it does not exist yet. Queries are drawn with
a seed: n-grams and short prompts from anywhere in the indexed tokens, long prompts from held-out
text. They run through the Python API, on one processor. The indexes take turns for ROUNDS rounds. A
query's time is the median of its rounds; a figure is the median over the queries.

To find where a count spends its time, a kernel of this script calls those of
`everygram.kernels.search` and stops before the fences, before the suffix array, before the text, or
not at all. Like a count, it is called from Python for one n-gram at a time, so that caches are in
the same state. The time of a stage is the difference of two medians; *Python* is the rest of a
count, including making the keys.

Each index is opened twice: mapped from its files (the default), and with `preload="all"`, which
keeps it in huge pages. This needs memory for both: about 12 bytes per token, for all indexes.

usage: python bench/growth.py --tokens DATA/large.u16 --tokenizer DATA/gpt2.tokenizer.json \
           --held-out DATA/validation.jsonl --work LARGE --json LARGE/growth.json
"""

import argparse
import gc
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numba
import numpy as np

import everygram
from build import SEPARATOR
from cold import build_from_tokens
from cold_side import drop
from common import corpus_facts, markdown_table, print_provenance, provenance, write_json
from everygram.corpus.text import TextCorpus
from everygram.kernels import array_at, fences, rows, search

MILLION = 1 << 20
LENGTHS = (MILLION, 4 * MILLION, 16 * MILLION, 64 * MILLION, 256 * MILLION)
NUM_QUERIES = 1000
LONG_PROMPT = 200
MAPPED, PRELOADED = "mapped", "preloaded"
CALLS = ("count", "count_batch", "prob", "infgram_prob", "ntd")
# The stages where a search can stop. Each stage includes those before it.
KEYS, FENCES, POSITIONS, WHOLE = range(4)
UNTIL = ("until the fences", "until the suffix array", "until the text", "whole")
STAGES = ("the fences", "the suffix array", "the text")


@numba.njit(nogil=True)
def search_until(row: np.ndarray, query: np.ndarray, stage: int) -> int:
    """Search for a query up to a stage; the result depends on everything that is read.

    Works like `search.count`: change this when `search.find_group` changes.
    """
    lanes = np.empty((2, rows.FIELDS), np.int64)
    n, width = row[rows.N], row[rows.WIDTH]
    sa = array_at(row[rows.POSITIONS], n * width, np.uint8)
    spacing, bits, separator = row[rows.SPACING], row[rows.KEY_BITS], row[rows.SEPARATOR]
    rows.check(query, 0, query.shape[0], row[rows.VOCAB_SIZE], separator)
    lanes[0, rows.START], lanes[0, rows.END], lanes[0, rows.PLACE] = 0, query.shape[0], 0
    if stage == WHOLE:
        search.find_group(row, query, lanes, False)
        return lanes[1, rows.LO] - lanes[0, rows.LO]
    fences.set_keys(query, bits, separator, lanes, 0)
    found = lanes[0, rows.KEY] ^ lanes[1, rows.KEY]
    if stage == KEYS:
        return found
    lanes[0, rows.PLACE], lanes[1, rows.PLACE] = 1, 1
    fences.descend(row, lanes, False)
    found += lanes[0, rows.PLACE] + lanes[1, rows.PLACE]
    if stage == FENCES:
        return found
    # The blocks that contain the ends of the interval.
    for lane in range(2):
        place = max(np.int64(0), lanes[lane, rows.PLACE] - 1)
        for rank in (place * spacing, min(n, (place + 1) * spacing) - 1):
            found += rows.position_in(sa, width, rank)
    return found


class Queries:
    """The queries of one index: a call, and the arguments of each query."""

    def __init__(
        self, index: everygram.Index, stream: np.ndarray, texts: Sequence[np.ndarray], seed: int
    ) -> None:
        rng = np.random.default_rng(seed)

        def ngram(length: int) -> list[int]:
            while True:
                start = int(rng.integers(stream.shape[0] - length))
                ids: list[int] = stream[start : start + length].tolist()
                if SEPARATOR not in ids:
                    return ids

        def long_prompt() -> list[int]:
            ids = texts[int(rng.integers(len(texts)))]
            start = int(rng.integers(ids.shape[0] - LONG_PROMPT))
            found: list[int] = ids[start : start + LONG_PROMPT + 1].tolist()
            return found

        ngrams = [ngram(1 + i % 8) for i in range(NUM_QUERIES)]
        short = [ngram(2 + i % 5) for i in range(NUM_QUERIES)]
        long = [long_prompt() for _ in range(NUM_QUERIES)]
        self._sets: dict[str, list[list[Any]]] = {
            "count": [[ids] for ids in ngrams],
            "count_batch": [[ngrams]],
            "prob": [[ids[:-1], ids[-1]] for ids in short],
            "infgram_prob": [[ids[:-1], ids[-1]] for ids in long],
            "ntd": [[ids[:-1]] for ids in short],
        }
        # The arguments that the index itself gives to its kernels; the index must stay open.
        row = index.engine._rows[0]
        packed = [index.engine.vocabulary.query(ids).ids for ids in ngrams]
        self._searches = [
            [(search_until, [row, ids, stage]) for ids in packed] for stage in range(len(UNTIL))
        ]

    def times(self, index: everygram.Index, call: str) -> list[float]:
        """Nanoseconds of each query; for a batch, the share of one query."""
        if call in UNTIL:
            return [timed(*search) for search in self._searches[UNTIL.index(call)]]
        times = [timed(getattr(index, call), arguments) for arguments in self._sets[call]]
        return [times[0] / NUM_QUERIES] if call == "count_batch" else times


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokens", type=Path, required=True, help="u16, 65535 before documents")
    parser.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json, u16 ids")
    parser.add_argument("--held-out", type=Path, required=True, help="text not in the corpus")
    parser.add_argument("--work", type=Path, required=True, help="the indexes are left here")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write every figure here")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)

    stream = np.memmap(args.tokens, np.uint16, "r")
    facts = provenance() | corpus_facts(args.tokens)
    lengths = [length for length in LENGTHS if length < stream.shape[0]] + [stream.shape[0]]
    indexes: dict[tuple[int, str], everygram.Index] = {}
    queries: dict[tuple[int, str], Queries] = {}
    texts: list[np.ndarray] = []
    for length in lengths:
        path = build(stream, length, args.tokenizer, args.work)
        # Opening loads all of them into the page cache in the same way, in pieces of the same size.
        os.sync()
        drop([file for file in path.rglob("*") if file.is_file() and file.stat().st_size])
        for opened, preload in ((MAPPED, ()), (PRELOADED, "all")):
            index = indexes[length, opened] = everygram.open(path, preload=preload)
            if not texts:
                encoded = (index.encode(d.text, raw=True) for d in TextCorpus([args.held_out]))
                texts = [ids for ids in encoded if ids.shape[0] > LONG_PROMPT]
            queries[length, opened] = Queries(index, stream[:length], texts, args.seed)
        print(f"{length:,}: ready", flush=True)

    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(processors)})
    gc.disable()
    rounds: dict[tuple[int, str], list[dict[str, list[float]]]] = {key: [] for key in indexes}
    for _ in range(1 + args.rounds):  # the first warms up
        for key in indexes:
            rounds[key].append({})
        # So that much other data passes through the caches between two calls that read the same.
        for call in (*CALLS, *UNTIL):
            for key, index in indexes.items():
                rounds[key][-1][call] = queries[key].times(index, call)
            gc.collect()
    os.sched_setaffinity(0, processors)
    # For each: µs per query.
    medians = {
        key: {
            call: (np.median([each[call] for each in some[1:]], axis=0) / 1e3).tolist()
            for call in some[0]
        }
        for key, some in rounds.items()
    }

    print_provenance(facts)
    print(growth_table(lengths, medians))
    print(f"\n{stage_table(lengths, medians)}")
    print(f"\n{chart(lengths, medians)}")
    write_json(
        args.json,
        facts
        | {
            "indexes": [
                {"length": length, "opened": opened} | figures
                for (length, opened), figures in medians.items()
            ]
        },
    )


def build(stream: np.ndarray, length: int, tokenizer: Path, work: Path) -> Path:
    """The index of a stream's first tokens, made if missing (of the whole stream: by `cold.py`)."""
    whole = length == stream.shape[0]
    path = work / ("everygram" if whole else f"everygram-{length}")
    if not (path / "manifest.json").exists():
        tokens = work / "beginning.u16"
        stream[:length].tofile(tokens)
        build_from_tokens(tokens, tokenizer, path)
        tokens.unlink()
    return path


def timed(function: Callable[..., Any], arguments: Sequence[Any]) -> float:
    """Nanoseconds of one call."""
    start = perf_counter_ns()
    function(*arguments)
    return perf_counter_ns() - start


Medians = dict[tuple[int, str], dict[str, list[float]]]


def growth_table(lengths: Sequence[int], medians: Medians) -> str:
    """One row per length: the median of each call, mapped and preloaded, and the p99 of ntd."""
    header = ["tokens"]
    for call in CALLS:
        header += [f"`{call}` µs", "preloaded"]
    header += ["`ntd` p99", "preloaded"]
    rows = []
    for length in lengths:
        row = [f"{length:,}"]
        for call in CALLS:
            row += [number(np.median(medians[length, o][call])) for o in (MAPPED, PRELOADED)]
        row += [number(np.percentile(medians[length, o]["ntd"], 99)) for o in (MAPPED, PRELOADED)]
        rows.append(row)
    return markdown_table(header, rows, words=0)


def stage_table(lengths: Sequence[int], medians: Medians) -> str:
    """One row per length and way of opening: how many nanoseconds a count spends in each stage."""
    header = ["tokens", "opened", "ns: Python", *STAGES, "a `count`"]
    rows = []
    for length in lengths:
        for opened in (MAPPED, PRELOADED):
            of_index = medians[length, opened]
            stages = np.diff([np.median(of_index[call]) for call in UNTIL])
            count = float(np.median(of_index["count"]))
            each = [count - stages.sum(), *stages, count]
            rows.append([f"{length:,}", opened, *(f"{1e3 * micros:,.0f}" for micros in each)])
    return markdown_table(header, rows, words=2)


def chart(lengths: Sequence[int], medians: Medians) -> str:
    """The curves as a chart for GitHub; the title names the curves, as there is no legend."""
    labels = ", ".join(f'"{length / 1e6:.0f} M"' for length in lengths)
    lines = ["```mermaid", "xychart-beta"]
    order = ", ".join(
        sorted(CALLS, key=lambda call: -np.median(medians[lengths[-1], MAPPED][call]))
    )
    lines.append(f'  title "median µs, warm, mapped; from the top, on the right: {order}"')
    lines += [f"  x-axis [{labels}]", '  y-axis "µs"']
    for call in CALLS:
        values = [float(np.median(medians[length, MAPPED][call])) for length in lengths]
        lines.append(f'  line "{call}" [{", ".join(number(value) for value in values)}]')
    return "\n".join([*lines, "```"])


def number(value: Any) -> str:
    """The number with two or three significant digits."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


if __name__ == "__main__":
    main()
