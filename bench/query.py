"""How long does each query take warm, through each side's Python API, and do the answers agree?

Over the indexes that `build.py` left in WORK. Queries are drawn with a seed: n-grams of 1–8 tokens
from anywhere in the corpus, as many that do not occur (such n-grams with one token changed), short
prompts from the corpus, and long ones from held-out text. Each side is a process in its own
environment that first answers every query, untimed; then the sides take turns for ROUNDS rounds.
A query's time is its fastest round: on a shared machine the rest is mostly other people's work.

Answers are compared with everygram's one by one. infini-gram's `ntd` is exact up to 1,000
occurrences (`max_support`) and samples beyond, so those two cases stand apart; what it marks
approximate is timed, not compared.

usage: python bench/query.py --work WORK --held-out DATA/validation.jsonl --peers bench/.peers \
           --json WORK/query.json
"""

import argparse
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import everygram
from common import markdown_table, print_provenance, provenance, write_json
from everygram.corpus import TextCorpus

NUM_COUNTS, NUM_PROMPTS = 2000, 1000
LONG_PROMPT = 200
SUPPORT = 1000

# For each set of queries: the sides, and the call that each answers it with.
INFINI = ("infini-gram", "infini-gram, no prefetch")
ALL_COUNT = [
    ("everygram", "count"),
    ("everygram", "count_batch"),
    *((side, "count") for side in INFINI),
    ("tokengrams", "count"),
    ("tokengrams", "contains"),
]
COMPARED = {
    "n-grams that occur": ALL_COUNT,
    "n-grams that do not": ALL_COUNT,
    "prob": [(side, "prob") for side in ("everygram", *INFINI)],
    "ntd": [*((side, "ntd") for side in ("everygram", *INFINI)), ("tokengrams", "count_next")],
    "infgram_prob": [(side, "infgram_prob") for side in ("everygram", *INFINI)],
    "infgram_ntd": [(side, "infgram_ntd") for side in ("everygram", *INFINI)],
}
# Disagreements kept in the JSON.
SHOWN = 20


@dataclass(frozen=True)
class Result:
    """One side's µs a query, over each query's fastest round, and how it compares.

    `ratio` is to everygram's median. `agree` counts answers that say what everygram's do, None
    where they are approximate; the first that do not are in `disagreements`.
    """

    queries: str
    side: str
    call: str
    number: int
    median: float
    p90: float
    p99: float
    ratio: float
    agree: int | None
    disagreements: list[Any]


class Process:
    """A side's process, which answers and times sets of queries."""

    def __init__(self, side: str, python: str, work: Path) -> None:
        self._file = work / "answers.json"
        script = Path(__file__).with_name("query_side.py")
        self._side = side
        self._process = subprocess.Popen(
            [python, str(script), side, str(work), str(work / "queries.json")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._wait()

    def ask(self, queries: str, call: str, want: str) -> list[Any]:
        """The set's answers (`want` = "answers") or nanoseconds a query ("times")."""
        assert self._process.stdin
        request = {"set": queries, "call": call, want: str(self._file)}
        print(json.dumps(request), file=self._process.stdin, flush=True)
        self._wait()
        found: list[Any] = json.loads(self._file.read_text())
        return found

    def _wait(self) -> None:
        assert self._process.stdout
        if not self._process.stdout.readline():
            sys.exit(f"{self._side}: its process ended with {self._process.wait()}")

    def close(self) -> None:
        """Its input ends, and with it the process."""
        self._process.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="where build.py left the indexes")
    parser.add_argument("--held-out", type=Path, required=True, help="text not in the corpus")
    parser.add_argument("--peers", type=Path, required=True, help="what bench/peers.sh made")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the results here")
    args = parser.parse_args()
    work = args.work.resolve()

    with everygram.open(work / "everygram") as index:
        facts = provenance() | json.loads((work / "corpus.json").read_text())
        stream = np.memmap(work / "tokens.u16", np.uint16, "r")
        queries = draw(index, stream, args.held_out, np.random.default_rng(args.seed))
        # infini-gram has no id of its own for the end of a document and says this one.
        end_of_document = {str(index.separator): str(index.vocab_size - 1)}
    (work / "queries.json").write_text(json.dumps(queries))

    peer_python = str(args.peers.absolute() / "bin" / "python")
    processes = {
        side: Process(side, sys.executable if side == "everygram" else peer_python, work)
        for side in dict.fromkeys(side for calls in COMPARED.values() for side, _ in calls)
    }
    results = []
    for name, calls in COMPARED.items():
        answers = [processes[side].ask(name, call, "answers") for side, call in calls]
        rounds = [
            [processes[side].ask(name, call, "times") for side, call in calls]
            for _ in range(args.rounds)
        ]
        # µs, shape (sides, queries).
        fastest = np.array(rounds).min(axis=0) / 1e3
        for part, chosen in parts(name, answers[0]).items():
            ours = float(np.median(fastest[0, chosen]))
            for (side, call), theirs, times in zip(calls, answers, fastest, strict=True):
                same = [agrees(answers[0][i], theirs[i], end_of_document) for i in chosen]
                other = [i for i, yes in zip(chosen, same, strict=True) if yes is False]
                median, p90, p99 = np.percentile(times[chosen], (50, 90, 99)).tolist()
                results.append(
                    Result(
                        part,
                        side,
                        call,
                        len(chosen),
                        median,
                        p90,
                        p99,
                        median / ours,
                        None if None in same else len(chosen) - len(other),
                        [[queries[name][i], answers[0][i], theirs[i]] for i in other[:SHOWN]],
                    )
                )
        print(f"{name}: done", flush=True)
    for process in processes.values():
        process.close()

    print_provenance(facts)
    print(table(results))
    write_json(args.json, facts | {"results": [asdict(result) for result in results]})


def draw(
    index: everygram.Index, stream: np.ndarray, held_out: Path, rng: np.random.Generator
) -> dict[str, list[Any]]:
    """The arguments of every query of every set, as JSON values."""

    def ngram(length: int) -> list[int]:
        while True:
            start = int(rng.integers(stream.shape[0] - length))
            ids: list[int] = stream[start : start + length].tolist()
            if index.separator not in ids:
                return ids

    def absent(length: int) -> list[int]:
        while True:
            ids = ngram(length)
            ids[rng.integers(length)] = int(rng.integers(index.vocab_size))
            if index.count(ids) == 0:
                return ids

    texts = [index.encode(d.text, raw=True).tolist() for d in TextCorpus([held_out])]
    texts = [ids for ids in texts if len(ids) > LONG_PROMPT]

    def held_out_prompt() -> list[int]:
        ids = texts[rng.integers(len(texts))]
        start = int(rng.integers(len(ids) - LONG_PROMPT))
        return ids[start : start + LONG_PROMPT + 1]

    lengths = [1 + i % 8 for i in range(NUM_COUNTS)]
    short = [ngram(2 + i % 5) for i in range(NUM_PROMPTS)]
    long = [held_out_prompt() for _ in range(NUM_PROMPTS)]
    return {
        "n-grams that occur": [[ngram(length)] for length in lengths],
        "n-grams that do not": [[absent(length)] for length in lengths],
        "prob": [[ids[:-1], ids[-1]] for ids in short],
        "ntd": [[ids[:-1]] for ids in short],
        "infgram_prob": [[ids[:-1], ids[-1]] for ids in long],
        "infgram_ntd": [[ids[:-1]] for ids in long],
    }


def parts(name: str, ours: list[Any]) -> dict[str, list[int]]:
    """A set's queries by number: distributions apart by whether infini-gram's can be exact."""
    if not name.endswith("ntd"):
        return {name: list(range(len(ours)))}
    support = [sum(answer["counts"].values()) for answer in ours]
    found = {
        f"{name}, ≤ {SUPPORT:,} occurrences": [i for i, n in enumerate(support) if n <= SUPPORT],
        f"{name}, > {SUPPORT:,} occurrences": [i for i, n in enumerate(support) if n > SUPPORT],
    }
    return {part: chosen for part, chosen in found.items() if chosen}


def agrees(ours: Any, theirs: Any, end_of_document: dict[str, str]) -> bool | None:
    """Whether two sides' answers say the same; None when theirs is approximate.

    A count agrees with a bool if it is no zero, and None with anything: a side that does not say.
    """
    if isinstance(theirs, bool):
        return theirs == (ours > 0)
    if isinstance(theirs, list):
        return all(b is None or a == b for a, b in zip(ours, theirs, strict=True))
    if not isinstance(theirs, dict):
        return bool(ours == theirs)
    if not theirs["exact"]:
        return None
    return theirs["suffix_len"] in (None, ours["suffix_len"]) and folded(
        ours["counts"], end_of_document
    ) == folded(theirs["counts"], end_of_document)


def folded(counts: dict[str, int], same: dict[str, str]) -> dict[str, int]:
    """Counts with one id's added to another's."""
    found: dict[str, int] = {}
    for token, count in counts.items():
        found[same.get(token, token)] = found.get(same.get(token, token), 0) + count
    return found


def table(results: list[Result]) -> str:
    """The rows as markdown."""
    header = ["queries", "side", "call", "median µs", "p90", "p99", "×", "agree"]
    rows = []
    for r in results:
        spread = ["–", "–"] if r.call == "count_batch" else [number(r.p90), number(r.p99)]
        agree = "approximate" if r.agree is None else f"{r.agree:,} of {r.number:,}"
        if (r.side, r.call) == ("everygram", COMPARED[r.queries.split(",")[0]][0][1]):
            agree = "–"
        row = [r.queries, r.side, f"`{r.call}`", number(r.median), *spread, f"{r.ratio:.2f}", agree]
        rows.append(row)
    return markdown_table(header, rows, words=3)


def number(value: float) -> str:
    """Two or three digits that mean something."""
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


if __name__ == "__main__":
    main()
