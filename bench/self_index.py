"""How large is an index of each kind, how long does it take to make, and how fast are queries?

Uses the indexes that `build.py` left in WORK: ours, of the kind suffix-array, and infini-gram's, if
it is there. Self-indexes with a sample every 32 and every 128 positions are made of ours by
`convert`, on one thread and on all; the time is compared with that of the stages "sort" and "merge"
of a build of the same tokens on as many threads, which is run here as well.

- Sizes: bytes per token of all files but the metadata.
- Memory: what the process that converts holds at most, less what one holds that converts a small
  index: with the least memory, `--memory 256MiB`.
- Queries are drawn as in `query.py`. The sides are the suffix array, both self-indexes, and
  infini-gram, each a process; they take turns for ROUNDS rounds, every second one the other way
  round, and a query's time is the median of its rounds. All files are in the page cache. Every
  answer of a self-index is compared with that of the suffix array.

usage: python bench/self_index.py --work WORK --held-out DATA/validation.jsonl \
           --peers bench/.peers --json WORK/self_index.json
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import everygram
from common import markdown_table, print_provenance, provenance, write_json
from everygram.storage.disk import read_in
from query import IN_USE, INFINI, MATCHES, OURS, SCORE, Process, draw, number

SELF, SPARSE = "self-index, 32", "self-index, 128"
EVERY = {SELF: 32, SPARSE: 128}
METADATA = ("metadata.bin", "metadata_offsets.bin")
# Occurrences and tokens per call of the last two sets.
FOUND, READ = 100, 1000
LEAST = "256MiB"
# What infini-gram's call of a set is.
THEIRS = {
    "count": "count",
    "prob": "prob",
    "infgram_prob": "infgram_prob",
    "ntd": "ntd",
    "infgram_ntd": "infgram_ntd",
    SCORE: "infgram_prob of each token",
    MATCHES: "creativity",
}
# Each set of queries, our call, and by how much longer a self-index may take than a suffix array;
# for the last two, µs per occurrence and per token.
SETS: dict[str, tuple[str, float | None]] = {
    "count": ("count", 1.5),
    "prob": ("prob", None),
    "infgram_prob": ("infgram_prob", 1.5),
    "count, batches": ("count_batch", 2),
    "prob, batches": ("prob_batch", 2),
    "infgram_prob, batches": ("infgram_prob_batch", 2),
    SCORE: ("score", 4),
    MATCHES: ("longest_matches", None),
    "ntd": ("ntd", 3),
    "infgram_ntd": ("infgram_ntd", None),
    "count_text": ("count_text", None),
    "document_count": ("document_count", None),
    "find": ("find", 8),
    "document": ("document", 0.25),
}
FASTER, SIZES, SORT, MEMORY, QUARTER = 10, {SELF: 1.9, SPARSE: 1.65}, 1.5, 2.5, 0.25


@dataclass(frozen=True)
class Row:
    """One side's µs per query; `equal` of `compared` answers are those of the suffix array."""

    queries: str
    side: str
    call: str
    number: int
    median: float
    p90: float
    p99: float
    compared: int
    equal: int


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="where build.py left the indexes")
    parser.add_argument("--held-out", type=Path, required=True, help="text not in the corpus")
    parser.add_argument("--peers", type=Path, help="what bench/peers.sh made")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the results here")
    args = parser.parse_args()
    work = args.work.resolve()
    facts = provenance() | json.loads((work / "corpus.json").read_text())
    tokens = facts["tokens"] + facts["documents"]
    made = measured_making(work)
    sizes = measured_sizes(work, tokens)
    rows = measured_queries(work, args.held_out, args.peers, args.rounds, args.seed)
    print_provenance(facts)
    print(sizes_table(sizes))
    print(f"\n{making_table(made, tokens)}")
    print(f"\n{queries_table(rows)}")
    targets = [*met_by_making(made, sizes, tokens), *met_by_queries(rows)]
    header = ["target", "wanted", "found", "met"]
    print(
        "\n"
        + markdown_table(header, [[*row[:3], "yes" if row[3] else "**no**"] for row in targets])
    )
    found = {"sizes": sizes, "made": made, "queries": [asdict(row) for row in rows]}
    write_json(args.json, facts | found | {"targets": targets})


# Making.


def measured_making(work: Path) -> dict[str, dict[str, Any]]:
    """What each step says of itself; leaves the self-indexes in WORK."""
    tokenizer = str(work / OURS / "tokenizer.json")
    ids = {"pretokenized": "u16", "separator_id": 65535, "document_counts": False}
    threads = len(os.sched_getaffinity(0))
    made = {}
    for number_of in dict.fromkeys((1, threads)):
        step = {"threads": number_of}
        name = f"{number_of} thread{'s' * (number_of > 1)}"
        source, built = str(work / "tokens.u16"), str(work / "built")
        given = ids | step | {"tokenizer": tokenizer}
        made[f"build, {name}"] = run("build", source, built, given)
        shutil.rmtree(built)
        for side, every in EVERY.items():
            out = work / folder_of(side)
            shutil.rmtree(out, ignore_errors=True)
            given = step | {"kind": "self-index", "sample_every": every}
            made[f"{side}, {name}"] = run("convert", str(work / OURS), str(out), given)
    small = work / "small-tokens.u16"
    np.fromfile(work / "tokens.u16", np.uint16, 1 << 20).tofile(small)
    given = ids | {"tokenizer": tokenizer}
    run("build", str(small), str(work / "small"), given)
    for source, name in ((work / "small", "least memory, small"), (work / OURS, "least memory")):
        out = work / "least"
        given = {"kind": "self-index", "memory": LEAST, "threads": 1}
        made[name] = run("convert", str(source), str(out), given)
        shutil.rmtree(out)
    shutil.rmtree(work / "small")
    small.unlink()
    back = work / "back"
    made["back to a suffix array"] = run(
        "convert", str(work / folder_of(SELF)), str(back), {"kind": "suffix-array"}
    )
    for one in sorted((work / OURS).glob("segment-*/*.bin")):
        other = back / one.parent.name / one.name
        assert subprocess.run(["cmp", str(one), str(other)]).returncode == 0, other
    shutil.rmtree(back)
    return made


def run(function: str, source: str, out: str, options: dict[str, Any]) -> dict[str, Any]:
    """Seconds of each stage and the peak memory of one step, in a process of its own."""
    program = (
        "import everygram, json, sys; report = getattr(everygram, sys.argv[1])"
        "(sys.argv[2], out=sys.argv[3], **json.loads(sys.argv[4])); "
        "print(json.dumps([report.seconds, report.peak_bytes]))"
    )
    words = [function, source, out, json.dumps(options)]
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{function} failed:\n{done.stderr[-2000:]}")
    stages, peak = json.loads(done.stdout.splitlines()[-1])
    return {"seconds": time.perf_counter() - start, "stages": stages, "peak_bytes": peak}


def making_table(made: dict[str, dict[str, Any]], tokens: int) -> str:
    rows = []
    for name, step in made.items():
        each = ", ".join(f"{stage} {s:.1f}" for stage, s in step["stages"].items() if s >= 0.05)
        per_token = step["seconds"] / tokens * 1e9
        peak = f"{step['peak_bytes'] / 2**20:,.0f}"
        rows.append([name, each, f"{step['seconds']:.1f}", f"{per_token:.1f}", peak])
    header = ["step", "seconds of its stages", "s in all", "ns a token", "peak MiB"]
    return markdown_table(header, rows, words=2)


def sorting(step: dict[str, Any]) -> float:
    stages = step["stages"]
    return float(stages.get("sort", 0) + stages.get("merge", 0))


def met_by_making(
    made: dict[str, dict[str, Any]], sizes: dict[str, dict[str, float]], tokens: int
) -> list[list[Any]]:
    targets: list[list[Any]] = []
    for side, most in SIZES.items():
        found = sum(sizes[side].values())
        targets.append([f"bytes per token, {side}", f"≤ {most}", f"{found:.3f}", found <= most])
    if INFINI in sizes:
        # (It has no document counts.)
        own = sum(sizes[SELF].values()) - sizes[SELF].get("document_counts.bin", 0)
        share = own / sum(sizes[INFINI].values())
        what = "its size without document counts, of infini-gram's"
        targets.append([what, f"≤ {QUARTER}", f"{share:.3f}", share <= QUARTER])
    for name in [name for name in made if name.startswith(SELF)]:
        build = made["build" + name.removeprefix(SELF)]
        ratio = made[name]["stages"]["compress"] / sorting(build)
        targets.append(
            [
                f"compressing over sorting{name.removeprefix(SELF)}",
                f"≤ {SORT}",
                f"{ratio:.2f}",
                ratio <= SORT,
            ]
        )
    more = made["least memory"]["peak_bytes"] - made["least memory, small"]["peak_bytes"]
    found = max(0, more) / tokens
    targets.append(
        [
            "bytes of memory per token beyond the floor",
            f"≤ {MEMORY}",
            f"{found:.2f}",
            found <= MEMORY,
        ]
    )
    return targets


# Sizes.


def folder_of(side: str) -> str:
    return f"self-index-{EVERY[side]}" if side in EVERY else {OURS: OURS, INFINI: INFINI}[side]


def measured_sizes(work: Path, tokens: int) -> dict[str, dict[str, float]]:
    """Bytes per token of each side's files, without metadata."""
    sizes: dict[str, dict[str, float]] = {}
    for side in (OURS, SELF, SPARSE, INFINI):
        folder = work / folder_of(side)
        if not folder.exists():
            continue
        files = folder.glob("segment-*/*" if side != INFINI else "**/*.*")
        sizes[side] = {
            path.name: path.stat().st_size / tokens
            for path in sorted(files)
            if path.is_file() and path.name not in METADATA and not path.name.startswith("meta")
        }
    return sizes


def sizes_table(sizes: dict[str, dict[str, float]]) -> str:
    header = ["index", "bytes per token", "of the tokens", "its files, bytes per token"]
    rows = []
    for side, files in sizes.items():
        whole = sum(files.values())
        largest = sorted(files.items(), key=lambda file: -file[1])
        shown = ", ".join(f"{name} {size:.3f}" for name, size in largest if size >= 0.0005)
        rows.append([side, f"{whole:.3f}", f"{whole / 2:.2f}", shown])
    return markdown_table(header, rows, words=1)


# Queries.


def measured_queries(
    work: Path, held_out: Path, peers: Path | None, rounds: int, seed: int
) -> list[Row]:
    rng = np.random.default_rng(seed)
    stream = np.memmap(work / "tokens.u16", np.uint16, "r")
    with everygram.open(work / OURS) as index:
        queries = own_queries(index, stream, held_out, rng)
    path = work / "self-index-queries.json"
    path.write_text(json.dumps(queries))
    sides = [OURS, SELF, SPARSE]
    if peers is not None and (work / INFINI).exists():
        sides.append(INFINI)
    for side in sides:
        for file in sorted(
            file for file in (work / folder_of(side)).rglob("*.*") if file.is_file()
        ):
            read_in(file)
    pythons = {INFINI: str((peers or Path()).absolute() / "bin" / "python")}
    processes = {
        side: Process(side, pythons.get(side, sys.executable), work, path) for side in sides
    }
    rows = []
    for name, (call, _) in SETS.items():
        asked = {side: call for side in sides if side != INFINI}
        if name in THEIRS and INFINI in sides:
            asked[INFINI] = THEIRS[name]
        compared = {
            s: processes[s].ask(name, c, "answers") for s, c in asked.items() if s != INFINI
        }
        times: dict[str, list[list[float]]] = {side: [] for side in asked}
        for turn in range(rounds):
            for side in [*asked][:: -1 if turn % 2 else 1]:
                times[side].append(processes[side].ask(name, asked[side], "times"))
        per = {"find": FOUND, "document": READ}.get(name, 1)
        for side in asked:
            each = np.median(np.array(times[side]), axis=0) / 1e3 / per
            answers = compared.get(side, [])
            equal = sum(a == b for a, b in zip(compared[OURS], answers, strict=False))
            spread = np.percentile(each, (50, 90, 99)).tolist()
            rows.append(Row(name, side, asked[side], len(each), *spread, len(answers), equal))
        print(f"{name}: done", file=sys.stderr, flush=True)
    for process in processes.values():
        process.close()
    return rows


def own_queries(
    index: everygram.Index, stream: np.ndarray, held_out: Path, rng: np.random.Generator
) -> dict[str, list[Any]]:
    """The arguments of the queries of every set."""
    drawn = draw(index, stream, held_out, rng)
    frequent = [ids for (ids,) in drawn[IN_USE] if index.count(ids) >= FOUND][:300]
    lengths = index.engine.lengths_of(np.arange(index.num_documents))
    long = np.flatnonzero((lengths >= READ * 0.9) & (lengths <= READ * 1.1))
    texts = [[index.decode(ids).strip()] for (ids,) in drawn[IN_USE][:120] if len(ids) < 4]
    return {
        "count": drawn[IN_USE],
        "prob": drawn["prob"],
        "infgram_prob": drawn["infgram_prob"],
        "count, batches": drawn[IN_USE],
        "prob, batches": drawn["prob"],
        "infgram_prob, batches": drawn["infgram_prob"],
        SCORE: drawn[SCORE],
        MATCHES: drawn[MATCHES],
        "ntd": drawn["ntd"],
        "infgram_ntd": drawn["infgram_ntd"],
        "count_text": [text for text in texts if text[0] and "�" not in text[0]],
        "document_count": drawn[IN_USE][:1000],
        "find": [[ids, FOUND] for ids in frequent],
        "document": [[number] for number in rng.permutation(long)[:300].tolist()],
    }


def queries_table(rows: list[Row]) -> str:
    ours = {row.queries: row.median for row in rows if row.side == OURS}
    header = ["queries", "side", "call", "number", "median µs", "p90", "p99", "×", "equal"]
    shown = [
        [
            row.queries
            + {"find": ", per occurrence", "document": ", per token"}.get(row.queries, ""),
            row.side,
            f"`{row.call}`",
            f"{row.number:,}",
            *(number(value) for value in (row.median, row.p90, row.p99)),
            f"{row.median / ours[row.queries]:.2f}",
            f"{row.equal:,} of {row.compared:,}" if row.compared else "–",
        ]
        for row in rows
    ]
    return markdown_table(header, shown, words=3)


def met_by_queries(rows: list[Row]) -> list[list[Any]]:
    at = {(row.queries, row.side): row.median for row in rows}
    targets: list[list[Any]] = []
    for name, (_, most) in SETS.items():
        if most is not None and name in ("find", "document"):
            found = at[name, SELF]
            what = f"µs per {'occurrence' if name == 'find' else 'token'}, {name}"
            targets.append([what, f"≤ {most}", f"{found:.3f}", found <= most])
        elif most is not None:
            found = at[name, SELF] / at[name, OURS]
            targets.append(
                [f"{name}, over the suffix array", f"≤ {most}", f"{found:.2f}", found <= most]
            )
        if (name, INFINI) in at:
            found = at[name, INFINI] / at[name, SELF]
            targets.append(
                [f"{name}, infini-gram over it", f"≥ {FASTER}", f"{found:.1f}", found >= FASTER]
            )
    return targets


if __name__ == "__main__":
    main()
