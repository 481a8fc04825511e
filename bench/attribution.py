"""How long does it take to trace a text to its sources, and what does infini-gram say of it?

Uses the indexes that `build.py` left in WORK. The peer is infini-gram's `attribute`, opened as
OLMoTrace's server opens it (no prefetch, blocks of 256 tokens, log-probabilities of unigrams), in
its own process and environment; `attribute, C++` is what it takes without the dictionaries that
Python is given. Texts of 200 tokens, drawn with a seed from held-out documents, go to both sides as
ids, with the same parameters: the shortest span 1 token; all spans kept (`density=None`); no
documents fetched (`documents=0`; the peer lists all occurrences, but fetches none); delimiters are
every id of the vocabulary that everygram calls one. The sides take turns for ROUNDS rounds; a
text's time is the median of its rounds. Spans, counts and sums of log-probabilities are compared
one by one.

With whole words, the peer takes a list of tokens that begin a word: here, those whose first
character is no word character. Where a word begins after a bracket, a quote or a newline, its first
token is not one of those, and where an apostrophe or a point is inside a word or number, it is one:
each difference of spans that such a place explains is counted by itself. So are spans of white
space alone, which everygram leaves out.

Then everygram alone, as users call it: answers of 458 tokens (OLMoTrace's mean: machine-written
texts and held-out ones) with a prompt, documents, surroundings and relevance; a book of 100,000
tokens and a text of 1,000,000, made of held-out documents, one after another; memory is the peak of
anonymous pages during one call, in a process of its own, less what it had before. Relevance is
compared with that of the library that OLMoTrace takes, on texts whose source is known.

With LARGE, where `cold.py` leaves indexes of a longer stream, texts of 200 tokens are traced with
that index's pages dropped from memory, as `cold.py` drops them: before the index is opened, for
every text, or while it stays open. Reads are counted as there.

usage: python bench/attribution.py --work WORK --held-out DATA/validation.jsonl \
           --machine DATA/machine.smollm2.jsonl --machine-tokenizer DATA/smollm2.tokenizer.json \
           --peers bench/.peers --large LARGE --json WORK/attribution.json
"""

import argparse
import gc
import itertools
import json
import multiprocessing
import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import numpy as np

import everygram
from cold_side import DROPPED, OPENED, drop, measure, probe
from common import markdown_table, print_provenance, provenance, write_json
from everygram.attribution.relevance import SHARE, level_of, relevance_of
from everygram.attribution.text import DELIMITERS, AskedText
from everygram.corpus.text import TextCorpus
from everygram.search.pattern import word_table
from everygram.storage.disk import read_in
from query import OURS, Process, number

TOKENS, NUM_TEXTS, NUM_COLD = 200, 50, 25
ANSWER, NUM_ANSWERS, PROMPT = 458, 100, 50
PLAIN, QUOTED, NUM_QUOTED = 150, 80, 100
BOOK, LONG = 100_000, 1_000_000
PEER = "infini-gram, attribution"
# For each set of texts: how often a span may occur, and whether spans are of whole words. OLMoTrace
# asks for the first; its server's default is the second.
SETS = {
    "up to 1,000,000 times": (1_000_000, False),
    "up to 10 times": (10, False),
    "whole words, up to 1,000,000 times": (1_000_000, True),
}
CALLS = [
    (OURS, "attribute"),
    (OURS, "attribute, one processor"),
    (PEER, "attribute"),
    (PEER, "attribute, C++"),
]
# The project's targets.
FASTER, ANSWER_MS, BOOK_S, COLD_MS = 150, 15, 1.5, 250
SHOWN = 20
PEAKS = ("peak", "peak_without")


@dataclass(frozen=True)
class Result:
    """One side's milliseconds per text, over each text's median round."""

    texts: str
    side: str
    call: str
    number: int
    median: float
    p90: float
    p99: float
    ratio: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="where build.py left the indexes")
    parser.add_argument("--held-out", type=Path, required=True, help="text not in the corpus")
    parser.add_argument("--machine", type=Path, required=True, help="machine-written token_ids")
    parser.add_argument("--machine-tokenizer", type=Path, required=True, help="their tokenizer")
    parser.add_argument("--peers", type=Path, required=True, help="what bench/peers.sh made")
    parser.add_argument("--large", type=Path, help="where cold.py left the indexes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the results here")
    args = parser.parse_args()
    work = args.work.resolve()
    facts = provenance() | json.loads((work / "corpus.json").read_text())
    for folder in ("everygram", "infini-gram"):
        for path in sorted(path for path in (work / folder).rglob("*.*") if path.is_file()):
            read_in(path)

    index = everygram.open(work / "everygram")
    held_out = [index.encode(each.text, raw=True) for each in TextCorpus([args.held_out])]
    rng = random.Random(args.seed)
    results, compared = against_peer(index, held_out, work, args.peers, args.rounds, rng)
    answers = answers_of(index, held_out, machine_texts(args.machine, args.machine_tokenizer), rng)
    alone = answered(index, answers, args.rounds)
    alone += [long_text(index, held_out, size, rng) for size in (BOOK, LONG)]
    libraries = bm25(index, held_out, rng)
    texts = [cut(held_out, TOKENS, rng)[1].tolist() for _ in range(NUM_COLD)]
    index.close()
    dropped = [] if args.large is None else cold(args.large.resolve() / OURS, texts)

    print_provenance(facts)
    print(side_table(results))
    for name, found in compared.items():
        print(f"\n{name}: {said(found)}")
    print(f"\n{alone_table(alone)}")
    print(f"\n{libraries_table(libraries)}")
    if dropped:
        print(f"\n{cold_table(dropped)}")
    print(f"\n{targets_table(results, alone, dropped)}")
    write_json(
        args.json,
        facts
        | {
            "results": [asdict(each) for each in results],
            "compared": compared,
            "alone": alone,
            "bm25": libraries,
            "cold": dropped,
        },
    )


def against_peer(
    index: everygram.Index,
    held_out: Sequence[np.ndarray],
    work: Path,
    peers: Path,
    rounds: int,
    rng: random.Random,
) -> tuple[list[Result], dict[str, Any]]:
    """Both sides' times for every set of texts, and how their answers compare."""
    texts = [cut(held_out, TOKENS, rng)[1].tolist() for _ in range(NUM_TEXTS)]
    stops, begins = delimiters_of(index), word_begins(index)
    (work / "bow_ids.txt").write_text("".join(f"{token}\n" for token in sorted(begins)))
    queries = {
        name: [[ids, stops, 1, most, whole_words] for ids in texts]
        for name, (most, whole_words) in SETS.items()
    }
    (work / "attribution_queries.json").write_text(json.dumps(queries))
    python = {OURS: sys.executable, PEER: str(peers.absolute() / "bin" / "python")}
    processes = {
        side: Process(side, python[side], work, work / "attribution_queries.json")
        for side in python
    }
    results, compared = [], {}
    for name in SETS:
        ours, _, theirs, _ = (processes[side].ask(name, call, "answers") for side, call in CALLS)
        times = [
            [processes[side].ask(name, call, "times") for side, call in CALLS]
            for _ in range(rounds)
        ]
        of_side = np.median(np.array(times), axis=0) / 1e6
        first = float(np.median(of_side[0]))
        for (side, call), each in zip(CALLS, of_side, strict=True):
            median, p90, p99 = np.percentile(each, (50, 90, 99)).tolist()
            results.append(Result(name, side, call, len(texts), median, p90, p99, median / first))
        compared[name] = compare(index, texts, ours, theirs, {*stops}, begins, SETS[name][1])
        print(f"{name}: done", flush=True)
    for process in processes.values():
        process.close()
    return results, compared


def cut(texts: Sequence[np.ndarray], size: int, rng: random.Random) -> tuple[np.ndarray, ...]:
    """(up to PROMPT tokens, the `size` tokens behind them) from anywhere in one of the texts."""
    ids = rng.choice([ids for ids in texts if ids.shape[0] >= size])
    start = rng.randrange(ids.shape[0] - size + 1)
    return ids[max(0, start - PROMPT) : start], ids[start : start + size]


def delimiters_of(index: everygram.Index) -> list[int]:
    """Every id that ends a sentence or a line by everygram's rule."""
    every = np.arange(index.vocab_size, dtype=index._state.reading.dtype)
    text = AskedText(index._state.reading, every, None)
    found: list[int] = np.flatnonzero(text.stops(DELIMITERS)).tolist()
    return found


def word_begins(index: everygram.Index) -> set[int]:
    """Every id whose first character is no word character."""
    is_word = np.unpackbits(word_table(), bitorder="little")
    texts = ((token, index.decode([token])) for token in range(index.vocab_size))
    # (U+FFFD may stand for a part of any character.)
    return {
        token for token, text in texts if text and text[0] != "\ufffd" and not is_word[ord(text[0])]
    }


def compare(
    index: everygram.Index,
    texts: Sequence[list[int]],
    ours: Sequence[list[list[Any]]],
    theirs: Sequence[list[list[Any]]],
    stops: set[int],
    begins: set[int],
    whole_words: bool,
) -> dict[str, Any]:
    """How many spans both sides have, with the same count and sum; why the others differ."""
    found: Counter[str] = Counter()
    largest, other = 0.0, []
    for ids, mine, peers in zip(texts, ours, theirs, strict=True):
        both = [{(a, b): (count, log) for a, b, count, log in side} for side in (mine, peers)]
        for place in sorted(both[0].keys() & both[1].keys()):
            (count, log), (their_count, their_log) = both[0][place], both[1][place]
            found["same"] += count == their_count
            found["other count"] += count != their_count
            largest = max(largest, abs(log - their_log))
        for side, name in enumerate(("ours alone", "theirs alone")):
            for begin, end in sorted(both[side].keys() - both[1 - side].keys()):
                why = reason(index, ids, begin, end, stops, begins, whole_words)
                found[f"{name}: {why}"] += 1
                other.append([name, why, ids[begin : end + 1], begin, end])
    return {"counts": dict(found), "largest_difference_of_sums": largest, "other": other[:SHOWN]}


def reason(
    index: everygram.Index,
    ids: list[int],
    begin: int,
    end: int,
    stops: set[int],
    begins: set[int],
    whole_words: bool,
) -> str:
    """Why a span may be one side's alone."""
    if index.decode(ids[begin:end]).isspace():
        return "white space alone"
    if whole_words:
        # Places of the text where only one of the sides has the beginning of a word.
        bounds = AskedText(index._state.reading, np.array(ids, index._state.reading.dtype), None)
        words = bounds.bounds(True)
        lists = [token in begins for token in ids] + [True]
        places = [i for i in range(len(ids) + 1) if words[i] != lists[i]]
        # And delimiters inside a word or number, which are none here.
        places += [i + 1 for i, token in enumerate(ids) if token in stops and not words[i + 1]]
        # (Such a place changes spans that end there, begin there, or would reach over it.)
        longest = begin + int(index.longest_matches(ids[begin:]).lengths[0])
        if places and min(places) <= longest:
            return "words begin elsewhere by the list"
    on = ids[begin : end + 1]
    if end < len(ids) and index.count(on) and not stops & {*on[:-1]}:
        return "not the longest match"
    return "unexplained"


def machine_texts(path: Path, tokenizer: Path) -> list[str]:
    """What a machine wrote, one text behind another."""
    from tokenizers import Tokenizer

    read = Tokenizer.from_file(str(tokenizer))
    with path.open() as lines:
        return [read.decode(json.loads(line)["token_ids"]) for line in lines]


def answers_of(
    index: everygram.Index, held_out: Sequence[np.ndarray], machine: list[str], rng: random.Random
) -> list[tuple[str, str]]:
    """(prompt, answer of ANSWER tokens): as many as there are of the machine's, then held out."""
    everything = index.encode("\n\n".join(machine), raw=True)
    pairs = [
        (everything[max(0, start - PROMPT) : start], everything[start : start + ANSWER])
        for start in range(0, everything.shape[0] - ANSWER, ANSWER)
    ][:NUM_ANSWERS]
    while len(pairs) < NUM_ANSWERS:
        pairs.append(cut(held_out, ANSWER, rng))
    return [(index.decode(prompt), index.decode(answer)) for prompt, answer in pairs]


def answered(
    index: everygram.Index, answers: Sequence[tuple[str, str]], rounds: int
) -> list[dict[str, Any]]:
    """Times of the answers, whole and without documents: each the median of its rounds."""
    rows = []
    for name, options in (
        ("with documents, surroundings, relevance", {}),
        ("without documents", {"documents": 0}),
    ):
        times = []
        for prompt, text in answers:
            index.attribute(text, prompt=prompt, **options)
            each = [
                timed(lambda t=text, p=prompt, o=options: index.attribute(t, prompt=p, **o))[0]
                for _ in range(rounds)
            ]
            times.append(float(np.median(each)))
        found = [index.attribute(text, prompt=prompt, **options) for prompt, text in answers]
        rows.append(
            {
                "what": f"answers of {ANSWER} tokens, {name}",
                "number": len(answers),
                "median": float(np.median(times)),
                "p99": float(np.percentile(times, 99)),
                "spans": float(np.mean([len(each) for each in found])),
                "documents": float(np.mean([len(each.documents) for each in found])),
            }
        )
    return rows


def long_text(
    index: everygram.Index, held_out: Sequence[np.ndarray], size: int, rng: random.Random
) -> dict[str, Any]:
    """The time and memory of a text of so many tokens, held-out documents one after another."""
    parts: list[np.ndarray] = []
    while sum(part.shape[0] for part in parts) < size:
        parts += rng.sample(list(held_out), len(held_out))
    text = index.decode(np.concatenate(parts)[:size])
    index.attribute(text[:10_000])
    times, without = (
        [timed(lambda o=options: index.attribute(text, **o))[0] for _ in range(3)]
        for options in ({}, {"documents": 0})
    )
    found = index.attribute(text)
    return {
        "what": f"a text of {size:,} tokens",
        "number": 1,
        "median": float(np.median(times)),
        "p99": max(times),
        "without": float(np.median(without)),
        "spans": len(found),
        "documents": len(found.documents),
        "peak": peak_of(index.path, text, 10),
        "peak_without": peak_of(index.path, text, 0),
    }


def peak_of(path: Path, text: str, documents: int) -> int:
    """The peak of anonymous memory of one call, in a process that has done nothing else."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_peak_here, path, text, documents).result()


def _peak_here(path: Path, text: str, documents: int) -> int:
    with everygram.open(path) as index:
        index.attribute(text[:1000])
        with Peak() as peak:
            index.attribute(text, documents=documents)
    return peak.bytes


class Peak:
    """How many more bytes of anonymous memory this process has meanwhile, at most."""

    bytes = 0

    def __enter__(self) -> "Peak":
        self._before, self._done = anonymous(), False
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done:
            self.bytes = max(self.bytes, anonymous() - self._before)
            sleep(0.005)

    def __exit__(self, *_: object) -> None:
        self._done = True
        self._thread.join()


def anonymous() -> int:
    """Bytes of this process's memory that no file has."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise OSError("no RssAnon")


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Milliseconds of a call, and its result."""
    start = perf_counter()
    found = call()
    return (perf_counter() - start) * 1e3, found


def bm25(
    index: everygram.Index, held_out: Sequence[np.ndarray], rng: random.Random
) -> list[dict[str, Any]]:
    """How well, and how fast, each library tells a text's source from other documents.

    Texts of PLAIN words of a held-out document and then QUOTED words of a document of the index,
    whose spans are traced; those where that document is found are counted.
    """
    from rank_bm25 import BM25Okapi

    def okapi(passages: list[str], query: str, characters: int) -> np.ndarray:
        found = BM25Okapi([each.split() for each in passages]).get_scores(query.split())
        shares: np.ndarray = found / (SHARE * characters)
        return shares

    sides = {"rank-bm25": okapi, "bm25s (everygram)": relevance_of}
    times: dict[str, list[float]] = {name: [] for name in sides}
    levels: dict[str, Counter[tuple[bool, str]]] = {name: Counter() for name in sides}
    first = Counter[str]()
    for _ in range(NUM_QUOTED):
        plain = index.decode(held_out[rng.randrange(len(held_out))]).split(" ")
        source = rng.randrange(index.num_documents)
        quoted = (index.document(source).text or "").split(" ")
        begin = rng.randrange(max(1, len(quoted) - QUOTED))
        text = " ".join(plain[:PLAIN] + quoted[begin : begin + QUOTED])
        around: dict[int, dict[str, None]] = {}
        for each in itertools.chain(*(span.documents for span in index.attribute(text))):
            around.setdefault(each.number, {})[each.text or ""] = None
        if source not in around:
            continue
        passages, right = [" ".join(each) for each in around.values()], list(around).index(source)
        for name, call in sides.items():
            asked = passages, text, len(text)
            rounds = [timed(lambda c=call, a=asked: c(*a)) for _ in range(3)]
            times[name].append(float(np.median([ms for ms, _ in rounds])))
            scores = rounds[0][1]
            levels[name].update(
                (place == right, level_of(score)) for place, score in enumerate(scores)
            )
            first[name] += int(np.argmax(scores)) == right
    return [
        {
            "library": name,
            "texts": len(times[name]),
            "median": float(np.median(times[name])),
            "p99": float(np.percentile(times[name], 99)),
            "source": [levels[name][True, level] for level in ("high", "medium", "low")],
            "others": [levels[name][False, level] for level in ("high", "medium", "low")],
            "first": first[name],
        }
        for name in sides
    ]


def cold(path: Path, texts: Sequence[list[int]]) -> list[dict[str, Any]]:
    """Times and reads of texts with the index's pages dropped, in each situation."""
    files = [file for file in path.rglob("*") if file.is_file() and file.stat().st_size]
    rows = []
    for name, options in (
        ("spans alone", {"density": None, "documents": 0}),
        ("with documents", {}),
    ):

        def calls(index: everygram.Index, options: dict[str, Any] = options) -> Any:
            return {"count": (lambda text: index.attribute(text, **options), len)}

        for when in (OPENED, DROPPED):
            index = everygram.open(path)
            num_tokens = index.num_tokens
            warm = [measure(calls(index), ids) for ids in texts + texts][len(texts) :]
            measured = []
            for ids in texts:
                if when == OPENED:
                    index.close()
                    gc.collect()
                    drop(files)
                    index = everygram.open(path)
                else:
                    drop(files)
                measured.append(measure(calls(index), ids))
            index.close()
            gc.collect()
            drop(files)
            waits = [
                max(each["major_faults"], each["sleeps"] - before["sleeps"])
                for each, before in zip(measured, warm, strict=True)
            ]
            ms = [(each["end"] - each["start"]) / 1e6 for each in measured]
            rows.append(
                {
                    "when": when,
                    "what": name,
                    "tokens": num_tokens,
                    "number": len(texts),
                    "median": float(np.median(ms)),
                    "p99": float(np.percentile(ms, 99)),
                    "waits": float(np.median(waits)),
                    "waits_p99": float(np.percentile(waits, 99)),
                    "major_faults": float(np.median([each["major_faults"] for each in measured])),
                    "kib": float(np.median([each["read_bytes"] for each in measured])) / 1024,
                    "page_us": float(np.median(probe(max(files, key=lambda f: f.stat().st_size))))
                    / 1e3,
                }
            )
            print(f"{when}, {name}: done", flush=True)
    return rows


def side_table(results: Sequence[Result]) -> str:
    """One row per side, call and set of texts."""
    header = ["texts of 200 tokens", "side", "call", "texts", "median ms", "p90", "p99", "×"]
    rows = [
        [
            each.texts,
            each.side.split(",")[0],
            f"`{each.call}`",
            str(each.number),
            *(f"{value:.3g}" for value in (each.median, each.p90, each.p99)),
            number(each.ratio),
        ]
        for each in results
    ]
    return markdown_table(header, rows, words=3)


def said(found: dict[str, Any]) -> str:
    """A comparison in words."""
    shown = [(name, count) for name, count in sorted(found["counts"].items()) if count]
    counts = "; ".join(f"{name} {count:,}" for name, count in shown)
    return f"spans: {counts}; sums differ by at most {found['largest_difference_of_sums']:.2g}"


def alone_table(rows: Sequence[dict[str, Any]]) -> str:
    """One row per kind of text."""
    header = ["everygram", "texts", "median ms", "p99", "without documents", "spans", "documents"]
    header += ["peak MiB", "without documents"]
    shown = [
        [
            row["what"],
            str(row["number"]),
            *(
                f"{row[name]:,.3g}" if row[name] < 1000 else f"{row[name]:,.0f}"
                for name in ("median", "p99")
            ),
            f"{row['without']:,.0f}" if "without" in row else "–",
            *(f"{row[name]:,.0f}" for name in ("spans", "documents")),
            *(f"{row[name] / 2**20:,.0f}" if name in row else "–" for name in PEAKS),
        ]
        for row in rows
    ]
    return markdown_table(header, shown)


def libraries_table(rows: Sequence[dict[str, Any]]) -> str:
    """One row per library of BM25."""
    header = ["BM25 of the documents of a text", "texts", "median ms", "p99", "source ranks first"]
    header += ["source high", "medium", "low", "others high", "medium", "low"]
    shown = [
        [
            row["library"],
            str(row["texts"]),
            number(row["median"]),
            number(row["p99"]),
            str(row["first"]),
            *(f"{each:,}" for each in (*row["source"], *row["others"])),
        ]
        for row in rows
    ]
    return markdown_table(header, shown)


def cold_table(rows: Sequence[dict[str, Any]]) -> str:
    """One row per situation."""
    header = ["200 tokens, pages dropped", "what", "texts", "median ms", "p99", "waits", "p99"]
    header += ["major faults", "KiB", "a page, µs"]
    shown = [
        [
            row["when"],
            row["what"],
            str(row["number"]),
            *(number(row[name]) for name in ("median", "p99")),
            *(f"{row[name]:,.0f}" for name in ("waits", "waits_p99", "major_faults", "kib")),
            f"{row['page_us']:,.0f}",
        ]
        for row in rows
    ]
    return markdown_table(header, shown, words=2)


def targets_table(
    results: Sequence[Result], alone: Sequence[dict[str, Any]], dropped: Sequence[dict[str, Any]]
) -> str:
    """One row per target."""
    rows = []
    for name in SETS:
        peer = next(r for r in results if (r.texts, r.side, r.call) == (name, PEER, "attribute"))
        rows.append(
            [f"200 tokens, {name}", f"{FASTER} ×", f"{peer.ratio:.0f} ×", peer.ratio >= FASTER]
        )
    answers, _, book, _ = alone
    rows.append(
        [
            f"an answer of {ANSWER} tokens",
            f"{ANSWER_MS} ms",
            f"{answers['median']:.3g} ms (p99 {answers['p99']:.3g})",
            answers["median"] <= ANSWER_MS,
        ]
    )
    rows.append(
        [
            f"a book of {BOOK:,} tokens",
            f"{BOOK_S} s",
            f"{book['median'] / 1e3:.2f} s",
            book["median"] <= BOOK_S * 1e3,
        ]
    )
    for row in dropped:
        what = f"200 tokens of {row['tokens'] / 1e6:,.0f} million, {row['when']}, {row['what']}"
        found = f"{number(row['median'])} ms (p99 {number(row['p99'])})"
        rows.append([what, f"{COLD_MS} ms", found, row["median"] <= COLD_MS])
    shown = [[*row, "yes" if met else "**no**"] for *row, met in rows]
    return markdown_table(["target", "wanted", "found", "met"], shown)


if __name__ == "__main__":
    main()
