"""How long does each warm query take, through each side's Python API, and do the answers agree?

Uses the indexes that `build.py` left in WORK. Queries are drawn with a seed: n-grams of 1–8 tokens
from anywhere in the corpus, the same number that do not occur (such n-grams with one token
changed), short prompts from the corpus, long prompts from held-out text, and held-out texts. Each
side is a process in its own environment. It first answers every query, untimed; then the sides take
turns for ROUNDS rounds. A query's time is the median of its rounds; the tables show the median and
the 90th and 99th percentiles over the queries. In a batch, each query has an equal share of the
call's time.

everygram's batches, scores and longest matches run on one processor unless the table says
otherwise; all other calls of everygram use one thread anyway. infini-gram starts threads of its own
for every query and may use all processors. For `score`, it calls `infgram_prob` for each token of a
text, after all tokens before it.

Answers are compared with everygram's one by one; answers about a text, token by token.
infini-gram's `ntd` is exact up to 1,000 occurrences (`max_support`) and samples beyond, so these
two cases are also shown separately. Answers that it marks approximate are timed but not compared.
Its `creativity`, which gives the end of the longest match from each token of a text, does not look
at the first suffix of its array.

The last table shows the project's targets; each is a ratio of two medians (or other percentiles) of
the tables above.

usage: python bench/query.py --work WORK --held-out DATA/validation.jsonl --peers bench/.peers \
           --json WORK/query.json
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import everygram
from common import markdown_table, print_provenance, provenance, write_json
from everygram.corpus.text import TextCorpus
from everygram.storage.disk import read_in
from query_side import BATCH_CALLS

NUM_COUNTS, NUM_PROMPTS, NUM_TEXTS = 2000, 1000, 16
# For calls that are fast on both sides: so many queries that the processor's caches hold the data
# that queries share, as in steady use, but not the data of single queries.
NUM_IN_USE, NUM_PROBS, NUM_LONG = 20_000, 10_000, 4000
LONG_PROMPT = 200
SCORED, MATCHED = 1001, 1000
SUPPORT = 1000

OURS, PRELOADED = "everygram", "everygram, preloaded"
INFINI = "infini-gram"
INFINIS = (INFINI, "infini-gram, no prefetch")
PEERS_PYTHON = (*INFINIS, "tokengrams")


def calls(name: str, *batches: str) -> list[tuple[str, str]]:
    """The sides that have this call; everygram also has it for batches."""
    ours = [(OURS, name), *((OURS, batch) for batch in batches), (PRELOADED, name)]
    return [*ours, *((side, name) for side in INFINIS)]


# For each set of queries: the sides, and the call with which each side answers it; ours first.
ALL_COUNT = [
    *calls("count", "count_batch", "count_batch, arrays"),
    ("tokengrams", "count"),
    ("tokengrams", "contains"),
]
OCCUR, DO_NOT = "n-grams that occur", "n-grams that do not"
IN_USE = f"n-grams that occur, {NUM_IN_USE:,}"
SCORE, MATCHES = "score", "longest_matches"
COMPARED = {
    IN_USE: calls("count", "count_batch", "count_batch, arrays"),
    OCCUR: ALL_COUNT,
    DO_NOT: ALL_COUNT,
    "prob": calls("prob", "prob_batch"),
    "ntd": [*calls("ntd", "ntd_batch"), ("tokengrams", "count_next")],
    "infgram_prob": calls("infgram_prob", "infgram_prob_batch"),
    "infgram_ntd": calls("infgram_ntd", "infgram_ntd_batch"),
    SCORE: [
        (OURS, "score"),
        (OURS, "score, all cores"),
        *((side, "infgram_prob of each token") for side in INFINIS),
    ],
    MATCHES: [
        (OURS, "longest_matches"),
        (OURS, "longest_matches, all cores"),
        *((side, "creativity") for side in INFINIS),
    ],
}
# The number of disagreements that are kept in the JSON.
SHOWN = 20


@dataclass(frozen=True)
class Result:
    """One side's µs per query, over each query's median round, and a comparison of answers.

    `ratio` is to everygram's median. `agree` of `compared` answers (a text has one per token) are
    the same as everygram's; None if answers are approximate. `disagreements` has the first answers
    that differ.
    """

    queries: str
    side: str
    call: str
    number: int
    median: float
    p90: float
    p99: float
    ratio: float
    compared: int
    agree: int | None
    disagreements: list[Any]


@dataclass(frozen=True)
class Goal:
    """A target: the `percentile` of the peer's call is at least `factor` times ours."""

    what: str
    queries: str
    ours: str
    side: str
    theirs: str
    factor: float
    percentile: str = "median"


GOALS = [
    Goal("count", IN_USE, "count", INFINI, "count", 40),
    Goal("count, batches of 1,000", IN_USE, "count_batch", INFINI, "count", 150),
    Goal("the same, from arrays", IN_USE, "count_batch, arrays", INFINI, "count", 150),
    Goal("count against tokengrams' contains", OCCUR, "count", "tokengrams", "contains", 1),
    Goal("the same, absent n-grams", DO_NOT, "count", "tokengrams", "contains", 1),
    Goal("prob", "prob", "prob", INFINI, "prob", 50),
    Goal("exact ntd", "ntd", "ntd", INFINI, "ntd", 40),
    Goal("exact ntd, p99", "ntd", "ntd", INFINI, "ntd", 4, "p99"),
    Goal("infgram_prob", "infgram_prob", "infgram_prob", INFINI, "infgram_prob", 120),
    Goal("exact infgram_ntd", "infgram_ntd", "infgram_ntd", INFINI, "infgram_ntd", 100),
    Goal("score, 1,001 tokens", SCORE, "score", INFINI, "infgram_prob of each token", 500),
    Goal("longest_matches, 1,000 tokens", MATCHES, "longest_matches", INFINI, "creativity", 150),
]


class Process:
    """A side's process, which answers and times sets of queries."""

    def __init__(self, side: str, python: str, work: Path, queries: Path | None = None) -> None:
        """queries: a file of sets of queries (default: WORK/queries.json)."""
        self._file = work / "answers.json"
        script = Path(__file__).with_name("query_side.py")
        self._side = side
        self._process = subprocess.Popen(
            [python, str(script), side, str(work), str(queries or work / "queries.json")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._wait()

    def ask(self, queries: str, call: str, want: str) -> list[Any]:
        """The set's answers (`want` = "answers") or nanoseconds per query ("times")."""
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
        """End the process by closing its input."""
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
        # infini-gram has no separate id for the end of a document; it uses this one.
        end_of_document = {str(index.separator): str(index.vocab_size - 1)}
    (work / "queries.json").write_text(json.dumps(queries))
    # Load all files into the page cache, in huge pages if possible: all sides map their files.
    for folder in ("everygram", "infini-gram"):
        for path in sorted(path for path in (work / folder).rglob("*.*") if path.is_file()):
            read_in(path)
    for name in ("tokens.u16", "tokengrams.idx"):
        read_in(work / name)

    peer_python = str(args.peers.absolute() / "bin" / "python")
    sides = dict.fromkeys(side for compared in COMPARED.values() for side, _ in compared)
    processes = {
        side: Process(side, peer_python if side in PEERS_PYTHON else sys.executable, work)
        for side in sides
    }
    results = []
    for name, compared in COMPARED.items():
        answers = [processes[side].ask(name, call, "answers") for side, call in compared]
        rounds = [
            [processes[side].ask(name, call, "times") for side, call in compared]
            for _ in range(args.rounds)
        ]
        # µs, shape (sides, queries).
        times = np.median(np.array(rounds), axis=0) / 1e3
        for part, chosen in parts(name, answers[0]).items():
            ours = float(np.median(times[0, chosen]))
            for (side, call), theirs, each in zip(compared, answers, times, strict=True):
                if part != name and call in BATCH_CALLS:
                    continue  # its time is a share of the batch's
                same = [
                    (agrees(a, b, end_of_document), [queries[name][i][:1], a, b])
                    for i in chosen
                    for a, b in answered(name, answers[0][i], theirs[i])
                ]
                other = [shown for yes, shown in same if yes is False]
                known = all(yes is not None for yes, _ in same)
                median, p90, p99 = np.percentile(each[chosen], (50, 90, 99)).tolist()
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
                        len(same),
                        len(same) - len(other) if known else None,
                        other[:SHOWN],
                    )
                )
        print(f"{name}: done", flush=True)
    for process in processes.values():
        process.close()

    print_provenance(facts)
    print(table(results))
    goals = [met(goal, results) for goal in GOALS]
    print(f"\n{targets_table(goals)}")
    write_json(
        args.json, facts | {"results": [asdict(result) for result in results], "targets": goals}
    )


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

    def held_out_text(length: int) -> list[int]:
        long_enough = [ids for ids in texts if len(ids) >= length]
        ids = long_enough[rng.integers(len(long_enough))]
        start = int(rng.integers(len(ids) - length + 1))
        return ids[start : start + length]

    occurring = [[ngram(1 + i % 8)] for i in range(NUM_IN_USE)]
    short = [ngram(2 + i % 5) for i in range(NUM_PROBS)]
    long = [held_out_prompt() for _ in range(NUM_LONG)]
    return {
        IN_USE: occurring,
        OCCUR: occurring[:NUM_COUNTS],
        DO_NOT: [[absent(1 + i % 8)] for i in range(NUM_COUNTS)],
        "prob": [[ids[:-1], ids[-1]] for ids in short],
        "ntd": [[ids[:-1]] for ids in short[:NUM_PROMPTS]],
        "infgram_prob": [[ids[:-1], ids[-1]] for ids in long],
        "infgram_ntd": [[ids[:-1]] for ids in long[:NUM_PROMPTS]],
        SCORE: [[held_out_text(SCORED)] for _ in range(NUM_TEXTS)],
        MATCHES: [[held_out_text(MATCHED)] for _ in range(NUM_TEXTS)],
    }


def parts(name: str, ours: list[Any]) -> dict[str, list[int]]:
    """A set's queries by number; distributions also split by whether infini-gram's can be exact."""
    whole = {name: list(range(len(ours)))}
    if not name.endswith("ntd"):
        return whole
    support = [sum(answer["counts"].values()) for answer in ours]
    found = {
        f"{name}, ≤ {SUPPORT:,} occurrences": [i for i, n in enumerate(support) if n <= SUPPORT],
        f"{name}, > {SUPPORT:,} occurrences": [i for i, n in enumerate(support) if n > SUPPORT],
    }
    return whole | {part: chosen for part, chosen in found.items() if chosen}


def answered(name: str, ours: Any, theirs: Any) -> list[tuple[Any, Any]]:
    """The pairs of answers to compare: one, or for a text one per token."""
    return list(zip(ours, theirs, strict=True)) if name in (SCORE, MATCHES) else [(ours, theirs)]


def agrees(ours: Any, theirs: Any, end_of_document: dict[str, str]) -> bool | None:
    """Whether two sides' answers agree; None if the peer's answer is approximate.

    A count agrees with a bool that says whether it is not zero. None in an answer agrees with
    anything: that side does not give this value.
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
    """The counts, with the count of one id added to that of another."""
    found: dict[str, int] = {}
    for token, count in counts.items():
        found[same.get(token, token)] = found.get(same.get(token, token), 0) + count
    return found


def table(results: Sequence[Result]) -> str:
    """The rows as markdown."""
    header = ["queries", "side", "call", "median µs", "p90", "p99", "×", "agree"]
    rows = []
    for r in results:
        spread = ["–", "–"] if r.call in BATCH_CALLS else [number(r.p90), number(r.p99)]
        agree = "approximate" if r.agree is None else f"{r.agree:,} of {r.compared:,}"
        if (r.side, r.call) == COMPARED[r.queries.split(",")[0]][0]:
            agree = "–"
        row = [r.queries, r.side, f"`{r.call}`", number(r.median), *spread, f"{r.ratio:.2f}", agree]
        rows.append(row)
    return markdown_table(header, rows, words=3)


def met(goal: Goal, results: Sequence[Result]) -> dict[str, Any]:
    """A target with its measured times, in µs."""

    def measured(side: str, call: str) -> float:
        wanted = (goal.queries, side, call)
        row = next(r for r in results if (r.queries, r.side, r.call) == wanted)
        found: float = getattr(row, goal.percentile)
        return found

    ours, theirs = measured(OURS, goal.ours), measured(goal.side, goal.theirs)
    facts = asdict(goal) | {"our_us": ours, "their_us": theirs, "ratio": theirs / ours}
    return facts | {"met": theirs / ours >= goal.factor}


def targets_table(goals: Sequence[dict[str, Any]]) -> str:
    """One row per target: its factor, both sides' µs, the ratio found."""
    header = ["target", "against", "everygram µs", "its µs", "wanted ×", "found ×", "met"]
    rows = [
        [
            goal["what"],
            f"{goal['side']} `{goal['theirs']}`",
            number(goal["our_us"]),
            number(goal["their_us"]),
            f"{goal['factor']:,}",
            number(goal["ratio"]),
            "yes" if goal["met"] else "**no**",
        ]
        for goal in goals
    ]
    return markdown_table(header, rows, words=2)


def number(value: float) -> str:
    """The number with two or three significant digits."""
    if value < 10:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


if __name__ == "__main__":
    main()
