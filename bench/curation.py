"""How long do the questions of curation take, over an index that is there?

Uses the index and the tokens that `build.py` left in WORK, and its corpus. Each step is a process
of its own, which first asks the same of 200 documents: nothing is compiled while it is timed.
Steps take turns, ROUNDS times; the table has medians. Peak bytes: of memory, mapped files aside,
over what the process held before.

With `--peers`, the first PEER_DOCUMENTS of the corpus are held against the benchmark by datatrove's
filter too (13 words, without case and punctuation; one core), and what each of both finds is told.

usage: python bench/curation.py --work WORK --corpus DATA/medium.jsonl \\
           --tokenizer DATA/gpt2.tokenizer.json --held-out DATA/validation.jsonl \\
           --peers bench/.peers --rounds 3
"""

import argparse
import itertools
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import everygram
from build import SEPARATOR
from common import corpus_facts, markdown_table, print_provenance, provenance, write_json
from everygram.progress import PeakMemory

SMALL, ITEMS, ITEM_TOKENS, CONCEPTS, PEER_DOCUMENTS = 200, 10_000, 100, 10_000, 1_000
WORDS, DATATROVE = "1,000 documents, by words", "1,000 documents, datatrove"
# What must hold: a step, its measure, and the most it may be (the least, for tokens per second).
TARGETS = [
    ("duplicates, 50 tokens", "× the sort", 1.5),
    ("duplicates, 50 tokens", "bytes a token", 3.0),
    ("contamination, 10,000 items", "s", 10.0),
    ("documents against benchmarks", "M tokens/s", 5.0),
    ("top-ngrams, n = 5", "s", 15.0),
    ("top-ngrams, n = 1 to 10", "s", 15.0),
    ("frequency, 10,000 concepts", "s", 20.0),
]


def items_of(index: everygram.Index, held_out: Path) -> list[str]:
    """Texts of 100 tokens: one in ten from the index, the others from what it does not have."""
    rng = random.Random(0)
    lines = held_out.read_text().splitlines()
    ids = [index.encode(json.loads(line)["text"]) for line in lines[:3000]]
    ids = [each for each in ids if len(each) > ITEM_TOKENS]
    texts = []
    for number in range(ITEMS):
        if number % 10 == 0:
            whole = index.document(rng.randrange(index.num_documents)).token_ids
        else:
            whole = rng.choice(ids)
        begin = rng.randrange(max(1, len(whole) - ITEM_TOKENS))
        texts.append(index.decode(whole[begin : begin + ITEM_TOKENS].tolist()))
    return texts


def concepts_of(index: everygram.Index) -> list[str]:
    """Words, and pairs of neighbours, of documents of the index."""
    rng, found = random.Random(1), dict[str, None]()
    while len(found) < CONCEPTS:
        words = str(index.document(rng.randrange(index.num_documents)).text).split()
        for begin in range(0, len(words) - 1, 50):
            phrase = " ".join(words[begin : begin + rng.choice([1, 2])])
            if phrase.replace(" ", "").isalpha():
                found[phrase] = None
    return [*found][:CONCEPTS]


Step = Callable[[], dict[str, Any] | None]


def steps_of(path: Path, work: Path, given: dict[str, Any]) -> dict[str, Step]:
    """Every step by name, over the index at `path`."""
    corpus, held_out = Path(given["corpus"]), Path(given["held_out"])
    index = everygram.open(path)

    def sort() -> dict[str, Any]:
        ids: dict[str, Any] = {"pretokenized": "u16", "separator_id": SEPARATOR}
        with tempfile.TemporaryDirectory(dir=work) as folder:
            made = everygram.build(work / "tokens.u16", Path(folder) / "index", **ids)
        return {"seconds": made.seconds["sort"]}

    def duplicates() -> dict[str, Any]:
        found = everygram.duplicates(index, 50)
        return {"rows": len(found)}

    def contamination() -> dict[str, Any]:
        made = everygram.contamination(index, given["items"], examples=0)
        return {"rows": sum(each.hit for each in made.items)}

    def documents(read: Any, **rule: bool) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(dir=work) as folder:
            bench = Path(folder) / "bench"
            everygram.build(held_out, bench, str(given["tokenizer"]))
            start = time.perf_counter()
            with everygram.open(bench) as benchmarks:
                made = everygram.contamination(benchmarks, read, documents=True, examples=0, **rule)
            seconds = time.perf_counter() - start
        return {
            "seconds": seconds,
            "rows": len(made.items),
            "hit": [each.item for each in made.items],
        }

    def by_words() -> dict[str, Any]:
        with corpus.open(encoding="utf-8") as file:
            lines = itertools.islice(file, PEER_DOCUMENTS)
            return documents([json.loads(line)["text"] for line in lines], normalize=True)

    return {
        "sort": sort,
        "duplicates, 50 tokens": duplicates,
        "contamination, 10,000 items": contamination,
        "documents against benchmarks": lambda: documents(str(corpus)),
        WORDS: by_words,
        "top-ngrams, n = 5": lambda: {"rows": len(everygram.top_ngrams(index, 5))},
        "top-ngrams, n = 1 to 10": lambda: {"rows": len(everygram.top_ngrams(index, 1, max_n=10))},
        "frequency, 10,000 concepts": lambda: {
            "rows": len(
                everygram.frequency(index, given["concepts"], ignore_case=True, whole_words=True)
            )
        },
        "stats": lambda: {"rows": everygram.stats(index).num_documents},
    }


def side(name: str, work: Path, given: dict[str, Any]) -> None:
    """One step, in this process; prints JSON."""
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small"
        with Path(given["corpus"]).open() as file:
            lines = file.readlines(4_000_000)[:SMALL]
        (Path(folder) / "c.jsonl").write_text("".join(lines))
        everygram.build(Path(folder) / "c.jsonl", small, given["tokenizer"])
        few = {**given, "corpus": Path(folder) / "c.jsonl", "held_out": Path(folder) / "c.jsonl"}
        few |= {"items": given["items"][:50], "concepts": given["concepts"][:50]}
        if name != "sort":
            steps_of(small, Path(folder), few)[name]()
    step = steps_of(work / "everygram", work, given)[name]
    with PeakMemory() as before:
        time.sleep(0.3)
    with PeakMemory() as peak:
        start = time.perf_counter()
        found = step() or {}
        seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "peak": peak.bytes - before.bytes} | found))


def peers_table(seconds: dict[str, float], hit: dict[str, list[int]]) -> str:
    """What of the same documents both sides call hit, and in which time."""
    rows = []
    for name, other in ((WORDS, DATATROVE), (DATATROVE, WORDS)):
        alone = set(hit[name]) - set(hit[other])
        rows.append([name, f"{seconds[name]:.2f}", f"{len(hit[name])}", f"{len(alone)}"])
    return markdown_table(["side", "s", "documents hit", "of them, by it alone"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--held-out", required=True)
    parser.add_argument("--peers", type=Path, help="what bench/peers.sh made; default: without")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    given_file = asked.work / "curation.json"
    if asked.step is not None:
        side(asked.step, asked.work, json.loads(given_file.read_text()))
        return
    with everygram.open(asked.work / "everygram") as index:
        tokens = index.num_tokens
        given = {name: getattr(asked, name) for name in ("corpus", "tokenizer", "held_out")}
        given |= {"items": items_of(index, Path(asked.held_out)), "concepts": concepts_of(index)}
    given_file.write_text(json.dumps(given))
    names = ["sort", *dict.fromkeys(name for name, _, _ in TARGETS), "stats"]
    commands = {}
    for name in [*names, WORDS]:
        commands[name] = [sys.executable, __file__, "--step", name, "--work", str(asked.work)]
        for option in ("corpus", "tokenizer", "held-out"):
            commands[name] += [f"--{option}", getattr(asked, option.replace("-", "_"))]
    if asked.peers:
        peer = Path(__file__).with_name("datatrove_side.py")
        first = [str(PEER_DOCUMENTS), "13"]
        given = [str(asked.peers / "bin/python"), str(peer), asked.held_out, asked.corpus, *first]
        commands[DATATROVE] = given
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in commands}
    for _ in range(asked.rounds):
        for name, command in commands.items():
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            taken[name].append(json.loads(done.stdout.splitlines()[-1]))
            told = {key: value for key, value in taken[name][-1].items() if key != "hit"}
            print(f"{name}: {told}", file=sys.stderr)
    seconds = {
        name: statistics.median(each["seconds"] for each in runs) for name, runs in taken.items()
    }
    facts = provenance() | corpus_facts(asked.work / "tokens.u16")
    print_provenance(facts)
    rows = [
        [
            name,
            f"{seconds[name]:.1f}",
            f"{seconds[name] / seconds['sort']:.2f}",
            f"{tokens / seconds[name] / 1e6:.1f}",
            f"{statistics.median(each['peak'] for each in taken[name]) / tokens:.2f}",
            f"{taken[name][0].get('rows', 0):,}" if name != "sort" else "–",
        ]
        for name in names
    ]
    head = ["step", "s", "× the sort", "M tokens/s", "peak bytes a token", "rows"]
    print(markdown_table(head, rows))
    found = {
        (name, measure): value
        for name, row in zip(names, rows, strict=True)
        for measure, value in zip(
            ("s", "× the sort", "M tokens/s", "bytes a token"), map(float, row[1:5]), strict=True
        )
    }
    shown = []
    for name, measure, wanted in TARGETS:
        value = found[name, measure]
        met = value >= wanted if measure == "M tokens/s" else value <= wanted
        shown.append([name, measure, f"{wanted}", f"{value}", "yes" if met else "**no**"])
    print()
    print(markdown_table(["step", "measure", "wanted", "found", "met"], shown, words=2))
    if asked.peers:
        print()
        print(peers_table(seconds, {name: taken[name][0]["hit"] for name in (WORDS, DATATROVE)}))
    write_json(asked.json, {**facts, "steps": taken})


if __name__ == "__main__":
    main()
