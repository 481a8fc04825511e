"""How large is an index of each kind, how long does its making take, how fast are its queries?

Uses the indexes that `build.py` (or `cold.py`) left in WORK: ours, of kind suffix-array, and, if
there is one, infini-gram's.

- Steps, each in a process of its own that has done the same for a small index, in turns, on one
  thread and on two: the suffixes of the tokens are sorted (a build without document counts, of
  which only sorting is taken); the index is converted to a self-index with a sample every 32
  tokens, with the default budget of memory and with one of a byte per token; that is converted
  back. And a conversion with a sample every 128. Memory is the peak of the process without mapped
  files, beyond the peak of the small conversion. What was converted back must be the index that it
  came from, and the budget must change no byte. With `--runs 0`, the self-indexes that an earlier
  run left in WORK are used.
- Sizes, of every file but those of metadata. The text is what the tokens spell.
- Queries, warm, drawn as in `query.py`, with searches, texts and documents added. Each side is a
  process, they take turns for ROUNDS rounds, and a query's time is the median of its rounds, or of
  an occurrence or token its share of it; a figure is the median over the queries. infini-gram is as
  it comes, with prefetching.
- Answers: a self-index must answer all as the suffix array does, or this script fails at its end.
  infini-gram's are compared where they are exact; its `creativity` does not look at the first
  suffix of its array, and for a prompt that ends the corpus it takes all that follow for ends of
  documents.

usage: python bench/self_index.py --work WORK --held-out DATA/validation.jsonl \
           --peers bench/.peers --json WORK/self_index.json
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import everygram
from attribution import delimiters_of
from build import SEPARATOR
from common import corpus_facts, markdown_table, print_provenance, provenance, write_json
from compat import targets_table
from everygram.corpus.text import TextCorpus
from everygram.storage import format as fmt
from everygram.storage.disk import read_in
from everygram.tokenizer.choose import load_tokenizer
from everygram.tokenizer.vocabulary import TokenBytes
from query import IN_USE, INFINI, MATCHES, OURS, SCORE, Process, agrees, answered, draw
from query import number as shown
from query_side import FOUND
from search import words_of

DENSE, SPARSE = "self-index, 32", "self-index, 128"
FOLDERS = {OURS: OURS, DENSE: "self-index-32", SPARSE: "self-index-128", INFINI: INFINI}
METADATA = ("metadata.bin", "metadata_offsets.bin")
# Of infini-gram-mini, an FM-index of bytes (Xu et al. 2025).
PUBLISHED = "Published for infini-gram-mini: 0.44 of the text; a count takes 0.1 to 0.4 s."
THREADS = (1, 2)
NUM_DISTRIBUTIONS, NUM_TEXTS, NUM_SEARCHES = 300, 16, 40
NUM_FOUND, NUM_DOCUMENTS, NUM_COUNTED, ATTRIBUTED = 100, 300, 200, 300
# How often searched words occur; how many answers that differ are kept in the JSON.
WORD_COUNTS, KEPT = (1_000, 20_000), 5

# The targets: bytes per token, of infini-gram's bytes, µs, × the time of sorting, × infini-gram's.
MOST_BYTES = {DENSE: 1.9, SPARSE: 1.65}
STRETCH, SHARE, FIND_MICROS, DOCUMENT_MICROS = 1.4, 0.25, 8, 0.25
OF_SORTING, PEAK, FASTER = 1.5, 2.5, 10


@dataclass(frozen=True)
class Ask:
    """A call of ours for a set of queries, and infini-gram's, if it has one. unit: what a time is
    divided by. most: the target, self-index against suffix array."""

    queries: str
    call: str
    theirs: str | None = None
    unit: str = ""
    most: float | None = None


ASKS = [
    Ask(IN_USE, "count", "count", most=1.5),
    Ask(IN_USE, "count_batch", most=2),
    Ask("prob", "prob", "prob"),
    Ask("prob", "prob_batch", most=2),
    Ask("infgram_prob", "infgram_prob", "infgram_prob", most=1.5),
    Ask("infgram_prob", "infgram_prob_batch", most=2),
    Ask("ntd", "ntd", "ntd", most=3),
    Ask("infgram_ntd", "infgram_ntd", "infgram_ntd"),
    Ask(SCORE, "score", "infgram_prob of each token", most=4),
    Ask(MATCHES, "longest_matches", "creativity"),
    Ask("intervals", "find, the interval", "find, the interval"),
    Ask("found", "find", unit="occurrence"),
    Ask("documents", "document", unit="token"),
    Ask("documents", "document, its beginning", "document, its beginning"),
    Ask("counted", "document_count"),
    Ask("texts", "count_text"),
    Ask("searches", "search"),
    Ask("spans", "attribute, spans", "attribute, spans"),
    Ask("attributed", "attribute a text"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="where build.py left the indexes")
    parser.add_argument("--held-out", type=Path, required=True, help="text not in the corpus")
    parser.add_argument("--peers", type=Path, help="what bench/peers.sh made; default: without")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=3, help="of the steps; 0: none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the results here")
    args = parser.parse_args()
    work = args.work.resolve()
    tokens = work / "tokens.u16"
    facts = provenance() | corpus_facts(tokens)
    length = tokens.stat().st_size // 2

    steps = measured_steps(work, length, args.runs)
    sides = [OURS, DENSE, SPARSE]
    if args.peers and (work / FOLDERS[INFINI]).exists():
        sides.append(INFINI)
    sizes = {side: files_of(work / FOLDERS[side]) for side in sides}
    text = text_bytes(work / FOLDERS[OURS])
    python = None if args.peers is None else args.peers.absolute() / "bin" / "python"
    rows = measured_queries(work, args.held_out, python, sides, args.rounds, args.seed)

    print_provenance(facts)
    print(sizes_table(sizes, length, text))
    print(f"\n{PUBLISHED}\n")
    if steps:
        print(f"{steps_table(steps, length)}\n")
    print(queries_table(rows, sides))
    targets = met(sizes, steps, rows, length)
    print(f"\n{targets_table(targets)}")
    found = {"length": length, "text_bytes": text, "sizes": sizes, "steps": steps}
    write_json(args.json, facts | found | {"queries": rows, "targets": targets})
    wrong = [row for row in rows if row["side"] in (DENSE, SPARSE) and row["different"]]
    for row in wrong:
        print(f"{row['side']}, {row['call']}: {json.dumps(row['different'][0])[:1000]}")
    sys.exit("a self-index has answered otherwise than the suffix array" if wrong else 0)


# Steps.

SORT, CONVERT, CONVERT_SPARSE = "sort", "to self-index, 32", "to self-index, 128"
LIMITED, BACK = "to self-index, 32, 1 byte a token", "back to suffix-array"


def measured_steps(work: Path, length: int, runs: int) -> list[dict[str, Any]]:
    """For each step and number of threads: its seconds, × those of sorting, and peak bytes per
    token, medians and of each run. Leaves both self-indexes in WORK."""
    array, dense, sparse = (work / FOLDERS[side] for side in (OURS, DENSE, SPARSE))
    tokenizer, temporary = str(array / "tokenizer.json"), work / "self-index-step"
    ids = {"pretokenized": "u16", "separator_id": SEPARATOR, "document_counts": False}
    self_index = {"kind": "self-index", "sample_every": 32}
    # In this order: some need what another has made.
    every: dict[str, tuple[Path, Path, dict[str, Any]]] = {
        SORT: (work / "tokens.u16", temporary, {"tokenizer": tokenizer, **ids}),
        CONVERT_SPARSE: (array, sparse, {**self_index, "sample_every": 128}),
        CONVERT: (array, dense, self_index),
        LIMITED: (array, temporary, {**self_index, "memory": length}),
        BACK: (dense, temporary, {"kind": "suffix-array"}),
    }
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for threads in THREADS * runs:
        for name, (source, made, options) in every.items():
            if name == CONVERT_SPARSE and threads != THREADS[-1]:
                continue
            shutil.rmtree(made, ignore_errors=True)
            os.sync()
            taken = step(name, source, made, {**options, "threads": threads})
            if name in (LIMITED, BACK):
                assert hashes(made) == hashes(dense if name == LIMITED else array), name
            # Reading the tokens is no part of sorting them.
            seconds = taken["seconds"]["sort"] if name == SORT else taken["wall"]
            print(f"{name}, {threads}: {seconds:.1f} s, load {taken['load']:.1f}", flush=True)
            mine = found.setdefault((name, threads), {"runs": [], "seconds": [], "peaks": []})
            mine["runs"].append(taken)
            mine["seconds"].append(seconds)
            mine["peaks"].append((taken["peak"] - taken["least"]) / length)
    shutil.rmtree(temporary, ignore_errors=True)
    rows = []
    for (name, threads), mine in found.items():
        time, peak = (statistics.median(mine[what]) for what in ("seconds", "peaks"))
        ratio = time / statistics.median(found[SORT, threads]["seconds"])
        rows.append(
            {"step": name, "threads": threads, "time": time, "ratio": ratio, "peak": peak} | mine
        )
    return rows


def step(name: str, source: Path, made: Path, options: dict[str, Any]) -> dict[str, Any]:
    """What `self_index_side.py` says of a step, and the load average before it."""
    script = Path(__file__).with_name("self_index_side.py")
    words = [sys.executable, str(script), str(source), str(made), json.dumps(options)]
    load = os.getloadavg()[0]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr[-2000:]}")
    return {"load": load, **json.loads(done.stdout)}


def hashes(index: Path) -> list[dict[str, fmt.FileEntry]]:
    """Bytes and checksum of every file of every segment."""
    with everygram.open(index) as opened:
        return [dict(segment.files) for segment in opened.manifest.segments]


def steps_table(steps: Sequence[dict[str, Any]], length: int) -> str:
    """A row per step and number of threads."""
    header = ["step", "threads", "s", "(range)", "ns a token", "× sort", "peak bytes a token"]
    rows = [
        [
            each["step"],
            str(each["threads"]),
            f"{each['time']:.1f}",
            f"{min(each['seconds']):.1f}–{max(each['seconds']):.1f}",
            f"{each['time'] / length * 1e9:.0f}",
            f"{each['ratio']:.2f}",
            f"{each['peak']:.2f}",
        ]
        for each in steps
    ]
    return markdown_table(header, rows)


# Sizes.


def files_of(index: Path) -> dict[str, int]:
    """Bytes of the files that queries need, but for metadata and the tokenizer, by name."""
    found: dict[str, int] = {}
    files = index.glob("segment-*/*.bin") if (index / fmt.MANIFEST).exists() else index.glob("*.0")
    for path in files:
        if path.name not in METADATA:
            found[path.name] = found.get(path.name, 0) + path.stat().st_size
    return found


def text_bytes(index: Path) -> int:
    """Bytes of the text that the tokens of all documents spell."""
    lengths = np.diff(TokenBytes(load_tokenizer(str(index / fmt.TOKENIZER))).starts)
    total = 0
    with everygram.open(index) as opened:
        for segment in opened.engine.segments:
            ids, counts = segment.unigrams_counted()
            tokens = ids != opened.separator
            total += int((lengths[ids[tokens]] * counts[tokens]).sum())
    return total


def sizes_table(sizes: dict[str, dict[str, int]], length: int, text: int) -> str:
    """A row per file, in bytes per token, then sums."""
    names = dict.fromkeys(name for files in sizes.values() for name in files)
    rows = [
        [f"`{name}`", *(f"{of[name] / length:.3f}" if name in of else "–" for of in sizes.values())]
        for name in sorted(names)
    ]
    sums = [sum(files.values()) for files in sizes.values()]
    counts = [files.get(fmt.DOCUMENT_COUNTS, 0) for files in sizes.values()]
    bare = [total - of for total, of in zip(sums, counts, strict=True)]
    lines = [("together", sums, length), ("without document counts", bare, length)]
    if INFINI in sizes:
        lines += [("of infini-gram's", sums, sums[-1])]
        lines += [("without document counts, of infini-gram's", bare, sums[-1])]
    lines += [("of the text", sums, text)]
    rows += [[what, *(f"{each / unit:.3f}" for each in some)] for what, some, unit in lines]
    return markdown_table(
        ["bytes a token", *("suffix-array" if side == OURS else side for side in sizes)], rows
    )


# Queries.


def measured_queries(
    work: Path, held_out: Path, python: Path | None, sides: list[str], rounds: int, seed: int
) -> list[dict[str, Any]]:
    """For every ask, a row per side that has it: µs, and how its answers compare."""
    stream = np.memmap(work / "tokens.u16", np.uint16, "r")
    with everygram.open(work / FOLDERS[OURS]) as index:
        queries = drawn(index, stream, held_out, np.random.default_rng(seed))
        end = {str(index.separator): str(index.vocab_size - 1)}
    file = work / "self-index-queries.json"
    file.write_text(json.dumps(queries))
    for side in sides:
        for path in sorted(p for p in (work / FOLDERS[side]).rglob("*.*") if p.is_file()):
            read_in(path)
    processes = {
        side: Process(side, str(python if side == INFINI else sys.executable), work, file)
        for side in sides
    }
    rows = []
    for ask in ASKS:
        asked = {side: ask.theirs if side == INFINI else ask.call for side in sides}
        calls = [(side, call) for side, call in asked.items() if call is not None]
        answers = {side: processes[side].ask(ask.queries, call, "answers") for side, call in calls}
        taken: dict[str, list[list[float]]] = {side: [] for side, _ in calls}
        for turn in range(rounds):
            # Every second round the other way round: no side always follows the same one.
            for side, call in calls[:: -1 if turn % 2 else 1]:
                taken[side].append(processes[side].ask(ask.queries, call, "times"))
        units = [max(1, len(each)) if ask.unit else 1 for each in answers[OURS]]
        for side, call in calls:
            micros = np.median(np.array(taken[side]), axis=0) / 1e3 / units
            p50, p90, p99 = np.percentile(micros, (50, 90, 99)).tolist()
            its_end = end if side == INFINI else None
            compared = compare(ask, queries[ask.queries], answers[OURS], answers[side], its_end)
            row = asdict(ask) | {"side": side, "answered_by": call, "number": len(micros)}
            rows.append(row | {"median": p50, "p90": p90, "p99": p99, **compared})
        print(f"{ask.call}: done", flush=True)
    for process in processes.values():
        process.close()
    return rows


def drawn(
    index: everygram.Index, stream: np.ndarray, held_out: Path, rng: np.random.Generator
) -> dict[str, list[Any]]:
    """The arguments of every query of every set, as JSON values."""
    sets = draw(index, stream, held_out, rng)
    occurring = [ids for (ids,) in sets[IN_USE]]
    frequent = [ids for ids in occurring if index.count(ids) >= FOUND]
    tokens = [t for t in words_of(index) if WORD_COUNTS[0] <= index.count([t]) < WORD_COUNTS[1]]
    words = [word for t in tokens if (word := index.decode([t]).strip()).islower()]
    pairs = rng.choice(words, (NUM_SEARCHES, 2)).tolist()
    texts = (index.decode(ids) for ids in occurring if 2 <= len(ids) <= 4)
    written = [text for text in texts if "\N{REPLACEMENT CHARACTER}" not in text]
    numbers = rng.integers(index.num_documents, size=NUM_DOCUMENTS).tolist()
    long = [text[:4000] for d in TextCorpus([held_out]) if len(text := d.text) >= 4000]
    stops = delimiters_of(index)
    return sets | {
        "ntd": sets["ntd"][:NUM_DISTRIBUTIONS],
        "infgram_ntd": sets["infgram_ntd"][:NUM_DISTRIBUTIONS],
        SCORE: sets[SCORE][:NUM_TEXTS],
        MATCHES: sets[MATCHES][:NUM_TEXTS],
        "intervals": [[ids] for ids in occurring[:1000]],
        "found": [[ids] for ids in frequent[:NUM_FOUND]],
        "documents": [[document] for document in numbers],
        "counted": [[ids] for ids in occurring[:1000]],
        "texts": [[text] for text in written[:NUM_COUNTED]],
        "searches": [[f"{a} {('AND', 'NEAR/10')[i % 2]} {b}"] for i, (a, b) in enumerate(pairs)],
        "spans": [[ids[:ATTRIBUTED], stops, 3, 1000, False] for (ids,) in sets[MATCHES]],
        "attributed": [[text] for text in long[:NUM_TEXTS]],
    }


def compare(
    ask: Ask, queries: list[Any], ours: list[Any], theirs: list[Any], end: dict[str, str] | None
) -> dict[str, Any]:
    """How many answers (of a text, one per token) are compared and agree; some that differ.

    end: how infini-gram calls our separator, if the answers are its.
    """
    compared, different = 0, []
    for arguments, a, b in zip(queries, ours, theirs, strict=True):
        for at, (one, other) in enumerate(answered(ask.queries, a, b)):
            same: bool | None = one == other
            if end is not None and not (isinstance(one, list) and len(one) != len(other)):
                same = agrees(one, other, end)
            compared += same is not None
            if same is False:
                different.append([arguments, at, one, other])
    agree = compared - len(different)
    return {"compared": compared, "agree": agree, "different": different[:KEPT]}


def number(micros: float) -> str:
    """As `query.number`, and what is less than 0.1 with two digits, too."""
    return f"{micros:.3f}" if micros < 0.1 else shown(micros)


def queries_table(rows: Sequence[dict[str, Any]], sides: Sequence[str]) -> str:
    """A row per call: the medians of all sides, µs, and their ratios."""
    header = ["call", "suffix-array", "self-index, 32", "p99", "×", "self-index, 128", "×"]
    header += ["infini-gram", "32 is faster ×"] * (INFINI in sides) + ["agree"]
    lines = []
    for ask in ASKS:
        of = {row["side"]: row for row in rows if row["call"] == ask.call}
        array, dense, sparse = (of[side] for side in (OURS, DENSE, SPARSE))
        per = f" / {ask.unit}" if ask.unit else ""
        cells = [f"`{ask.call}`{per}", number(array["median"]), number(dense["median"])]
        cells += ["–" if "batch" in ask.call else number(dense["p99"])]
        cells += [f"{dense['median'] / array['median']:.2f}", number(sparse["median"])]
        cells += [f"{sparse['median'] / array['median']:.2f}"]
        if INFINI in sides:
            its = of.get(INFINI)
            cells += [number(its["median"]) if its else "–"]
            cells += [number(its["median"] / dense["median"]) if its else "–"]
        agreeing = [f"{row['agree']:,} of {row['compared']:,}" for row in list(of.values())[1:]]
        lines.append([*cells, "; ".join(dict.fromkeys(agreeing))])
    return markdown_table(header, lines)


# Targets.


def met(
    sizes: dict[str, dict[str, int]],
    steps: Sequence[dict[str, Any]],
    rows: Sequence[dict[str, Any]],
    length: int,
) -> list[dict[str, Any]]:
    """Each target with what was found; `most` or `least` is the limit."""
    median = {(row["call"], row["side"]): row["median"] for row in rows}
    total = {side: sum(files.values()) for side, files in sizes.items()}
    found: list[dict[str, Any]] = []

    def target(what: str, limit: float, value: float, least: bool = False) -> None:
        met = value >= limit if least else value <= limit
        found.append({"what": what, "least" if least else "most": limit, "is": value, "met": met})

    for side, most in MOST_BYTES.items():
        target(f"{side}: bytes a token", most, total[side] / length)
    target("self-index, 128: bytes a token, if all goes well", STRETCH, total[SPARSE] / length)
    if INFINI in sizes:
        for side in (DENSE, SPARSE):
            bare = total[side] - sizes[side].get(fmt.DOCUMENT_COUNTS, 0)
            name = f"{side}: of infini-gram's bytes"
            target(name, SHARE, total[side] / total[INFINI])
            target(f"{name}, without document counts", SHARE, bare / total[INFINI])
    for ask in ASKS:
        if ask.most is not None:
            ratio = median[ask.call, DENSE] / median[ask.call, OURS]
            target(f"`{ask.call}`, × the suffix array's time", ask.most, ratio)
    target("`find`, µs per occurrence", FIND_MICROS, median["find", DENSE])
    target("`document`, µs per token", DOCUMENT_MICROS, median["document", DENSE])
    for ask in ASKS:
        if ask.theirs and INFINI in sizes:
            ratio = median[ask.call, INFINI] / median[ask.call, DENSE]
            target(f"`{ask.call}`, infini-gram's time over ours", FASTER, ratio, least=True)
    for each in steps:
        on = f"on {each['threads']}"
        if each["step"] == CONVERT:
            target(f"conversion {on}, × the time of sorting", OF_SORTING, each["ratio"])
        elif each["step"] == LIMITED:
            what = f"conversion {on} within 1 byte a token: peak bytes a token"
            target(what, PEAK, each["peak"])
    return found


if __name__ == "__main__":
    main()
