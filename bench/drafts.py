"""How long does a draft take, and how many forward passes do drafts save?

Replays recorded streams with drafts of an index, with several options, and reports the time of a
draft once what it reads is in memory (the second of two replays). The target is a median of 20 µs.

usage: python bench/drafts.py --index INDEX --streams STREAMS.jsonl [STREAMS.jsonl …]
"""

import argparse
import statistics
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import everygram
from common import markdown_table, provenance, write_json
from everygram.analysis.drafts import Stream, read_streams, replay_drafts

TARGET = 20.0
OPTIONS: list[dict[str, Any]] = [
    {},
    {"lookback": 1024},
    {"max_factor": 2.0, "lookback": 1024},
    {"max_factor": float("inf"), "max_tokens": 16},
    {"min_token_prob": 0.0, "max_factor": float("inf"), "max_tokens": 16},
    {"max_suffix": 8},
]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--index", type=Path, required=True, help="an index")
    parser.add_argument(
        "--streams", type=Path, nargs="+", required=True, help="token streams of its vocabulary"
    )
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    facts = provenance()
    print(f"\n{facts['date']}, everygram at {facts['commit']}")
    print(f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB; {facts['system']}")
    result: dict[str, Any] = {"provenance": facts, "replays": [], "suffixes": []}
    with everygram.open(args.index) as index:
        index.warm_up()
        print(f"{index!r}\n")
        rows = []
        for path in args.streams:
            streams = list(read_streams(path, index))
            for options in OPTIONS:
                replay_drafts(index, streams, **options)
                measured = measured_of(index, streams, options)
                result["replays"].append({"streams": path.name, "options": str(options)} | measured)
                rows.append(row_of(path.name, options, measured))
            alone = suffix_alone(index, streams)
            result["suffixes"].append({"streams": path.name, "median_microseconds": alone})
    header = ["streams", "options", "µs", "p90", "p99", "drafted", "accepted", "a pass", "saved"]
    print(markdown_table(header, rows, words=2))
    for each in result["suffixes"]:
        print(f"\n{each['streams']}: its longest suffix alone {each['median_microseconds']:.1f} µs")
    slowest = max(each["median_microseconds"] for each in result["replays"])
    print(f"\nslowest median {slowest:.1f} µs, target {TARGET:.0f} µs")
    write_json(args.json, result)


def measured_of(
    index: everygram.Index, streams: list[Stream], options: dict[str, Any]
) -> dict[str, Any]:
    """What a replay says, and the time within which nine tenths of its drafts are made."""
    replay = replay_drafts(index, streams, **options)
    tenths = statistics.quantiles(replay.microseconds.tolist(), n=10)
    return replay.as_dict() | {"p90_microseconds": tenths[-1]}


def row_of(name: str, options: dict[str, Any], measured: dict[str, Any]) -> list[str]:
    said = ", ".join(f"{option}={value}" for option, value in options.items())
    times = (measured[f"{what}_microseconds"] for what in ("median", "p90", "p99"))
    return [
        name,
        said or "defaults",
        *(f"{time:.1f}" for time in times),
        f"{measured['drafted_per_step']:.2f}",
        f"{measured['acceptance_rate']:.1%}",
        f"{measured['tokens_per_step']:.2f}",
        f"{measured['saved_share']:.1%}",
    ]


def suffix_alone(index: everygram.Index, streams: list[Stream]) -> float:
    """The median time of the search for the longest suffix of up to 64 tokens, in µs."""
    times = []
    for stream in streams:
        ids = [int(token) for token in (*stream.prompt, *stream.tokens)]
        for end in range(1, len(ids)):
            context = ids[max(0, end - 64) : end]
            start = perf_counter_ns()
            index.engine.longest_suffix(context)
            times.append(perf_counter_ns() - start)
    return statistics.median(times) / 1000


if __name__ == "__main__":
    main()
