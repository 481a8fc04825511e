"""How fast are infini-gram's index files made ready, converted and queried, and is it right?

Uses the indexes that `build.py` left in WORK: infini-gram's, and ours of the same tokens.

- Steps, on one processor each, in turns: `attach` (what is made once for infini-gram's files),
  `convert` (an index of ours of them), and a build of ours from the tokens, all without document
  counts. The time of `attach` is that of the call in a process that has attached a small index
  before: it is shorter than starting Python.
- Queries, drawn as in `query.py`. The sides are everygram over infini-gram's files as they are,
  over the attached ones, over its own index; `everygram.compat.infini_gram`, whose calls are
  infini-gram's, over the first two; and infini-gram. Each is a process; they take turns for ROUNDS
  rounds, and a query's time is the median of its rounds.
- Answers are compared one by one: our three with each other, and with infini-gram's. The number
  after + is of answers that differ by an error or a definition that is known: a prompt that ends
  the shard has the ends of documents for all that follows; the longest match is not looked for in
  the first suffix of the array; a separator is at place 2⁶³ − 1 of its document; and the end of a
  shard sorts first there, last here, which moves some ranks. Sampled distributions, and clauses
  (which it counts by other rules), are timed, not compared; of drawn documents, the counts are.

usage: python bench/compat.py --work WORK --held-out DATA/validation.jsonl --peers bench/.peers \
           --json WORK/compat.json
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import everygram
from common import markdown_table, print_provenance, provenance, write_json
from everygram.storage.disk import read_in
from infini_gram_index import sort_as_defined, write_shard
from query import IN_USE, INFINI, MATCHES, OURS, Process, agrees, answered, draw, number

THEIRS, ATTACHED = "everygram over its files", "everygram, attached"
ENGINE, ENGINE_ATTACHED = "everygram.compat, over its files", "everygram.compat, attached"
WITHOUT = "infini-gram, no prefetch"
FILES, MADE, CONVERTED, BUILT = "infini-gram", "infini-gram-attached", "converted", "built"
NUM_DISTRIBUTIONS, NUM_DOCUMENTS, NUM_ATTRIBUTED, ATTRIBUTED = 300, 1000, 16, 300
SHOWN = 20
# The targets: times of ours, infini-gram's over ours, conversion over a build, ns a token.
NEAR, FASTER, CONVERSION, ATTACH_NS = 1.3, 10, 1.2, 20
TARGETS = ("count", "infgram_prob", "ntd")


def calls(ours: str | None, theirs: str) -> list[tuple[str, str]]:
    """The sides of a set of queries, and their calls."""
    api = [] if ours is None else [(side, ours) for side in (OURS, THEIRS, ATTACHED)]
    return [*api, *((side, theirs) for side in (ENGINE, ENGINE_ATTACHED, INFINI, WITHOUT))]


# For each set of queries: the sides, and whether answers are compared with infini-gram's.
COMPARED = {
    "count": (calls("count", "count"), True),
    "find": (calls(None, "find"), True),
    "prob": (calls("prob", "prob"), True),
    "ntd": (calls("ntd", "ntd"), True),
    "infgram_prob": (calls("infgram_prob", "infgram_prob"), True),
    "infgram_ntd": (calls("infgram_ntd", "infgram_ntd"), True),
    "creativity": (calls("longest_matches", "creativity"), True),
    "attribute": (calls(None, "attribute"), True),
    "get_doc_by_rank": (calls(None, "get_doc_by_rank"), True),
    "get_doc_by_rank_2": (calls(None, "get_doc_by_rank_2"), True),
    "get_doc_by_ix": (calls(None, "get_doc_by_ix"), True),
    "search_docs": (calls(None, "search_docs"), True),
    "count_cnf": (calls(None, "count_cnf"), False),
}


class Known:
    """Tells whether an answer of infini-gram's differs from ours as it does by an error, or a
    definition, that is known. `end`: the id of our separator, and the one that infini-gram gives
    for it."""

    def __init__(self, files: Path, attached: Path, end: dict[str, str]) -> None:
        self.end = end
        self._stretches = np.fromfile(attached / "stretches.bin", "<i8").reshape(-1, 2)
        self._stream = np.memmap(files / "tokenized.0", "<u2", "r")
        size = self._stream.nbytes
        width = (files / "table.0").stat().st_size // self._stream.shape[0]
        with (files / "table.0").open("rb") as table:
            pointer = int.from_bytes(table.read(width), "little")
        self._first = self._stream[pointer // 2 : min(size, pointer + 4000) // 2].tobytes()

    def explain(self, name: str, arguments: list[Any], at: int, ours: Any, its: Any) -> bool:
        """Of an answer to a call with these arguments; for a text, of the one of its token `at`."""
        ids = arguments[0]
        if name in ("ntd", "infgram_ntd"):
            # All occurrences of a prompt that ends the shard are taken for ends of documents.
            prompt = ids if ours["suffix_len"] is None else ids[len(ids) - ours["suffix_len"] :]
            tail = self._stream[len(self._stream) - len(prompt) :]
            return tail.tolist() == prompt and [*its["counts"]] == [*self.end.values()]
        if name == "find":
            # Some ranks are others: the end of a shard sorts first there, and last here.
            [(low, high)], [(begin, end)] = ours, its
            moved = self._is_moved(low) or self._is_moved(high - 1)
            return moved and high - low == end - begin
        if name.startswith("get_doc"):
            number, length, place, shown = its
            # A separator stands at −1, which is written without a sign.
            separator = place == 2**63 - 1 and ours == [number, length, 0, shown]
            return separator or ("rank" in name and self._is_moved(arguments[1]))
        # The first suffix is not looked at.
        sought = np.array(ids[at:], "<u2").tobytes()
        return name == "creativity" and its < ours and sought < self._first

    def _is_moved(self, rank: int) -> bool:
        """Whether our rank is another one in infini-gram's table."""
        row = int(np.searchsorted(self._stretches[:, 0], rank, "right")) - 1
        first, entry = self._stretches[row].tolist()
        return bool(first != entry)


@dataclass(frozen=True)
class Row:
    """One side's µs per query. `agree` of `compared` answers are those of the first side;
    `explained` others by a known error of infini-gram. None: not compared."""

    queries: str
    side: str
    call: str
    number: int
    median: float
    p90: float
    p99: float
    compared: int | None
    agree: int | None
    explained: int
    disagreements: list[Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="where build.py left the indexes")
    parser.add_argument("--held-out", type=Path, required=True, help="text not in the corpus")
    parser.add_argument("--peers", type=Path, required=True, help="what bench/peers.sh made")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=3, help="of the steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the results here")
    args = parser.parse_args()
    work, peers = args.work.resolve(), args.peers.absolute()
    facts = provenance() | json.loads((work / "corpus.json").read_text())

    steps = measured_steps(work, args.runs)
    rows = measured_queries(work, args.held_out, peers, args.rounds, args.seed)
    print_provenance(facts)
    print(steps_table(steps, facts["tokens"] + facts["documents"]))
    print(f"\n{queries_table(rows)}")
    targets = met(steps, rows, facts["tokens"] + facts["documents"])
    print(f"\n{targets_table(targets)}")
    found = {"steps": steps, "queries": [asdict(row) for row in rows], "targets": targets}
    write_json(args.json, facts | found)


# Steps.


def measured_steps(work: Path, runs: int) -> dict[str, list[float]]:
    """Seconds of each run of each step; leaves the attached index in WORK."""
    tokenizer = str(work / OURS / "tokenizer.json")
    ids = {"pretokenized": "u16", "separator_id": 65535, "document_counts": False}
    steps: dict[str, tuple[Path, str, dict[str, Any]]] = {
        "attach": (work / MADE, "attach", {"tokenizer": tokenizer}),
        "convert": (
            work / CONVERTED,
            "convert",
            {"tokenizer": tokenizer, "document_counts": False},
        ),
        "build from tokens": (work / BUILT, "build", {"tokenizer": tokenizer, **ids}),
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(runs):
        for name, (made, function, options) in steps.items():
            shutil.rmtree(made, ignore_errors=True)
            source = work / ("tokens.u16" if function == "build" else FILES)
            os.sync()
            seconds[name].append(step(function, source, made, options))
    with (
        everygram.open(work / CONVERTED) as converted,
        everygram.open(work / BUILT) as built,
    ):
        for a, b in zip(converted.engine.segments, built.engine.segments, strict=True):
            assert np.array_equal(a.tokens, b.tokens)
            assert np.array_equal(a.suffix_array, b.suffix_array)
    for name in (CONVERTED, BUILT):
        shutil.rmtree(work / name)
    return seconds


def step(function: str, source: Path, made: Path, options: dict[str, Any]) -> float:
    """Seconds of one step, in a process of its own that has done it for a small index."""
    program = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import compat; "
    program += "compat.serve(*sys.argv[1:])"
    words = [function, str(source), str(made), json.dumps(options)]
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{function} failed:\n{done.stderr[-2000:]}")
    return float(done.stdout.splitlines()[-1])


def serve(function: str, source: str, made: str, options: str) -> None:
    """Do a step for a small index, then for the one asked for; print the seconds of that."""
    call, given = getattr(everygram, function), json.loads(options)
    with tempfile.TemporaryDirectory() as name:
        small = Path(name)
        stream = np.random.default_rng(0).integers(0, 50, 4000).astype("<u2")
        stream[::100] = 65535
        if function == "build":
            stream.tofile(small / "tokens.u16")
            call(small / "tokens.u16", out=small / "made", **given)
        else:
            write_shard(small / "files", 0, stream)
            sort_as_defined(small / "files", "u16")
            call(small / "files", out=small / "made", **given)
    start = time.perf_counter()
    call(source, out=made, **given)
    print(time.perf_counter() - start)


def steps_table(steps: dict[str, list[float]], tokens: int) -> str:
    """A row per step."""
    rows = [
        [
            name,
            f"{statistics.median(seconds):.2f}",
            f"{min(seconds):.2f}–{max(seconds):.2f}",
            f"{statistics.median(seconds) / tokens * 1e9:.1f}",
        ]
        for name, seconds in steps.items()
    ]
    return markdown_table(["step", "s", "(range)", "ns a token"], rows)


# Queries.


def measured_queries(work: Path, held_out: Path, peers: Path, rounds: int, seed: int) -> list[Row]:
    stream = np.memmap(work / "tokens.u16", np.uint16, "r")
    with everygram.open(work / OURS) as index:
        queries = compat_queries(index, stream, held_out, np.random.default_rng(seed))
        end = {str(index.separator): str(index.vocab_size - 1)}
        known = Known(work / FILES, work / MADE / "shard.0", end)
    (work / "compat-queries.json").write_text(json.dumps(queries))
    for folder in (OURS, FILES, MADE):
        for path in sorted(path for path in (work / folder).rglob("*.*") if path.is_file()):
            read_in(path)
    python = {INFINI: peers / "bin" / "python", WITHOUT: peers / "bin" / "python"}
    sides = dict.fromkeys(side for compared, _ in COMPARED.values() for side, _ in compared)
    processes = {
        side: Process(
            side, str(python.get(side, sys.executable)), work, work / "compat-queries.json"
        )
        for side in sides
    }
    rows = []
    for name, (compared, is_compared) in COMPARED.items():
        answers = [processes[side].ask(name, call, "answers") for side, call in compared]
        # Every second round the other way round: no side always follows the same one.
        times = [
            [
                processes[side].ask(name, call, "times")
                for side, call in compared[:: -1 if turn % 2 else 1]
            ][:: -1 if turn % 2 else 1]
            for turn in range(rounds)
        ]
        medians = np.median(np.array(times), axis=0) / 1e3
        for (side, call), theirs, each in zip(compared, answers, medians, strict=True):
            agree = compare(name, queries[name], answers[0], theirs, known)
            p50, p90, p99 = np.percentile(each, (50, 90, 99)).tolist()
            rows.append(
                Row(
                    name,
                    side,
                    call,
                    len(each),
                    p50,
                    p90,
                    p99,
                    *(agree if is_compared else (None, None, 0, [])),
                )
            )
        print(f"{name}: done", flush=True)
    for process in processes.values():
        process.close()
    return rows


def compat_queries(
    index: everygram.Index, stream: np.ndarray, held_out: Path, rng: np.random.Generator
) -> dict[str, list[Any]]:
    """The arguments of every query of every set: `query.py`'s, and of infini-gram's calls."""
    drawn = draw(index, stream, held_out, rng)
    occurring = drawn[IN_USE]
    ranks = rng.integers(stream.shape[0], size=NUM_DOCUMENTS).tolist()
    documents = rng.integers(index.num_documents, size=NUM_DOCUMENTS).tolist()
    words = [ids for (ids,) in occurring if len(ids) == 2][: 2 * NUM_ATTRIBUTED]
    full_stop = index.encode(".", raw=True).tolist()
    return {
        "count": occurring,
        "find": occurring[:NUM_DOCUMENTS],
        "prob": drawn["prob"],
        "ntd": drawn["ntd"][:NUM_DISTRIBUTIONS],
        "infgram_prob": drawn["infgram_prob"],
        "infgram_ntd": drawn["infgram_ntd"][:NUM_DISTRIBUTIONS],
        "creativity": drawn[MATCHES],
        "attribute": [[ids[:ATTRIBUTED], full_stop, 3, 1000, False] for (ids,) in drawn[MATCHES]][
            :NUM_ATTRIBUTED
        ],
        "get_doc_by_rank": [[0, rank, 100] for rank in ranks],
        "get_doc_by_rank_2": [[0, rank, 5, 50] for rank in ranks],
        "get_doc_by_ix": [[document, 100] for document in documents],
        "search_docs": [[ids, 1, 100] for (ids,) in occurring[:NUM_DOCUMENTS]],
        "count_cnf": [[[[a], [b]]] for a, b in zip(words[::2], words[1::2], strict=True)],
    }


def compare(
    name: str, queries: list[Any], first: list[Any], theirs: list[Any], known: Known
) -> tuple[int, int, int, list[Any]]:
    """How many answers are compared, agree, and differ by a known error; the first that differ."""
    kind = MATCHES if name == "creativity" else name
    compared = agree = explained = 0
    other: list[Any] = []
    for arguments, a, b in zip(queries, first, theirs, strict=True):
        for at, (ours, its) in enumerate(answered(kind, a, b)):
            same = agrees(ours, its, known.end)
            if same is None:
                continue
            compared += 1
            agree += same
            if not same and known.explain(name, arguments, at, ours, its):
                explained += 1
            elif not same:
                other.append([arguments, at, ours, its])
    return compared, agree, explained, other[:SHOWN]


def queries_table(rows: Sequence[Row]) -> str:
    """The rows as markdown."""
    header = ["queries", "side", "call", "median µs", "p90", "p99", "× own", "faster ×", "agree"]
    lines = []
    for row in rows:
        of_set = [each for each in rows if each.queries == row.queries]
        own = next((each for each in of_set if each.side == OURS), None)
        theirs = next(each for each in of_set if each.side == INFINI)
        agree = "–"
        if row.compared is not None and row is not of_set[0]:
            agree = f"{row.agree:,} of {row.compared:,}"
            agree += f" + {row.explained:,}" if row.explained else ""
        lines.append(
            [
                row.queries,
                row.side,
                f"`{row.call}`",
                *map(number, (row.median, row.p90, row.p99)),
                "–" if own is None else f"{row.median / own.median:.2f}",
                "–" if row.side in (INFINI, WITHOUT) else number(theirs.median / row.median),
                agree,
            ]
        )
    return markdown_table(header, lines, words=3)


# Targets.


def met(steps: dict[str, list[float]], rows: Sequence[Row], tokens: int) -> list[dict[str, Any]]:
    """Each target with what was found; `most` or `least` is the limit."""

    def median(queries: str, side: str) -> float:
        return next(r.median for r in rows if (r.queries, r.side) == (queries, side))

    found: list[dict[str, Any]] = []
    for name in TARGETS:
        ratio = median(name, ATTACHED) / median(name, OURS)
        found.append({"what": f"{name}, attached against our own index", "most": NEAR, "is": ratio})
    for name in TARGETS:
        ratio = median(name, INFINI) / median(name, THEIRS)
        found.append(
            {"what": f"{name}, infini-gram's over ours, as is", "least": FASTER, "is": ratio}
        )
    seconds = {name: statistics.median(each) for name, each in steps.items()}
    ratio = seconds["convert"] / seconds["build from tokens"]
    found.append({"what": "convert against a build from tokens", "most": CONVERSION, "is": ratio})
    each = seconds["attach"] / tokens * 1e9
    found.append({"what": "attach, ns a token", "most": ATTACH_NS, "is": each})
    for target in found:
        target["met"] = (
            target["is"] <= target["most"] if "most" in target else target["is"] >= target["least"]
        )
    return found


def targets_table(targets: Sequence[dict[str, Any]]) -> str:
    """A row per target."""
    rows = [
        [
            each["what"],
            f"≤ {each['most']}" if "most" in each else f"≥ {each['least']}",
            number(each["is"]),
            "yes" if each["met"] else "**no**",
        ]
        for each in targets
    ]
    return markdown_table(["target", "wanted", "found", "met"], rows)


if __name__ == "__main__":
    main()
