"""How long does a search for two words take, exactly, next to infini-gram's sampled one?

Uses the indexes that `build.py` left in WORK. The words are single tokens (a space and 2 letters or
more): the 200 commonest, of which pairs are drawn, and those that occur 1,000 to 20,000 times.
everygram's `search` gives the documents that have both (`limit=0`: numbers alone), or where both
stand within 100 tokens of each other (NEAR/99); infini-gram's `find_cnf`, at its defaults, counts
occurrences of the rarer word with the other within 100 tokens, and samples words that occur more
than 50,000 times. The sides take turns, ROUNDS times; a query's time is the median of its rounds.

infini-gram's answers that it does not call approximate are compared with everygram's number of
occurrences of the rarer word that take part in `a NEAR/99 b`. Where they differ, all tokens are
read to tell who is right. The last table has the time to count documents in batches (arrays, both
processors), beside occurrences; it needs an index with document counts.

usage: python bench/search.py --work WORK --peers bench/.peers --json WORK/search.json
"""

import argparse
import json
import random
import subprocess
import sys
from functools import partial
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np

import everygram
from common import markdown_table, print_provenance, provenance, write_json

COMMONEST, COMMON_PAIRS = 200, 100
MEDIUM, MEDIUM_PAIRS = (1_000, 20_000), 1_000
DISTANCE = 100
SEPARATOR = 65535
# N-grams whose documents are counted, and rounds of it.
COUNTED, ROUNDS = 20_000, 21


def words_of(index: everygram.Index) -> list[int]:
    """Tokens that are words after a space, the commonest first."""
    texts = [index.decode([token]) for token in range(index.vocab_size)]
    words = [i for i, text in enumerate(texts) if text[:1] == " " and text[1:].isalpha()]
    words = [token for token in words if len(texts[token]) > 2]
    counts = index.count_batch([[token] for token in words]).counts
    return [words[place] for place in np.argsort(-counts, kind="stable").tolist()]


def timed(index: everygram.Index, expressions: list[str]) -> list[tuple[int, Any]]:
    """Nanoseconds and answer of each search."""
    out = []
    for expression in expressions:
        start = perf_counter_ns()
        found = index.search(expression, limit=0)
        out.append((perf_counter_ns() - start, found))
    return out


def ask(peer: subprocess.Popen[str], pairs: list[tuple[int, int]]) -> list[list[Any]]:
    """The peer's [nanoseconds, count, approx] of each pair."""
    assert peer.stdin is not None and peer.stdout is not None
    peer.stdin.write(json.dumps(pairs) + "\n")
    peer.stdin.flush()
    for line in peer.stdout:
        if line.startswith("answer "):
            answers: list[list[Any]] = json.loads(line.removeprefix("answer "))
            return answers
    sys.exit("the peer has ended")


def agreement(found: list[Any], theirs: list[list[Any]], counts: list[list[int]]) -> list[int]:
    """The places of exact answers of the peer that differ."""
    different = []
    for place, (ours, (_, count, approx), of) in enumerate(zip(found, theirs, counts, strict=True)):
        taking = [each.count for each in ours.terms]
        rarer = {taking[i] for i in range(2) if of[i] == min(of)}
        if not approx and count not in rarer:
            different.append(place)
    return different


def documents_counted(index: everygram.Index, tokens: np.ndarray) -> list[list[str]]:
    """How long it takes to count the documents of n-grams, beside their occurrences."""
    draw = np.random.default_rng(1)
    rows = []
    for name, longest in (("1 to 8 tokens", 8), ("1 to 4", 4), ("1", 1)):
        lengths = draw.integers(1, longest + 1, COUNTED)
        starts = draw.integers(0, tokens.shape[0] - longest, COUNTED)
        asked = [tokens[start : start + m] for start, m in zip(starts, lengths, strict=True)]
        asked = [each for each in asked if SEPARATOR not in each]
        ids, offsets = np.concatenate(asked), np.cumsum([0, *map(len, asked)])
        found = index.engine.find_batch(index.engine.vocabulary.split(ids, offsets))
        calls = {
            "count_batch": partial(index.count_batch, ids, offsets),
            "document_count_batch": partial(index.document_count_batch, ids, offsets),
            "documents of found intervals": partial(index.engine.documents_in, found),
        }
        times: dict[str, list[float]] = {call: [] for call in calls}
        for _ in range(ROUNDS):
            for call, ask in calls.items():
                start = perf_counter_ns()
                ask()
                times[call].append((perf_counter_ns() - start) / len(asked))
        medians = {call: float(np.median(each[1:])) for call, each in times.items()}
        rows += [
            [name, call, f"{ns:.0f}", f"{ns / medians['count_batch']:.2f} ×"]
            for call, ns in medians.items()
        ]
    return rows


def near_each_other(tokens: np.ndarray, a: int, b: int) -> set[int]:
    """Occurrences of the rarer of two tokens with the other within DISTANCE in its document.

    (Of two as frequent as each other, either's.) By reading all tokens, with neither engine.
    """
    places = {token: np.flatnonzero(tokens == token) for token in (a, b)}
    documents = np.cumsum(tokens == SEPARATOR, dtype=np.int32)
    least = min(each.shape[0] for each in places.values())
    found = set()
    for rarer, other in ((a, b), (b, a)):
        if places[rarer].shape[0] == least:
            at, others = places[rarer], places[other]
            after = np.searchsorted(others, at)
            near = np.zeros(at.shape[0], np.bool_)
            for which in (after - 1, after):
                beside = others[np.clip(which, 0, others.shape[0] - 1)]
                close = np.abs(beside - at) <= DISTANCE
                near |= close & (documents[beside] == documents[at])
            found.add(int(near.sum()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    index = everygram.open(given.work / "everygram")
    words = words_of(index)
    counts = dict(zip(words, index.count_batch([[w] for w in words]).counts.tolist(), strict=True))
    draw = random.Random(1)
    medium = [word for word in words if MEDIUM[0] <= counts[word] <= MEDIUM[1]]
    sets = {
        "two of the 200 commonest": [
            tuple(draw.sample(words[:COMMONEST], 2)) for _ in range(COMMON_PAIRS)
        ],
        "two of 1,000 to 20,000": [tuple(draw.sample(medium, 2)) for _ in range(MEDIUM_PAIRS)],
    }
    peer = subprocess.Popen(
        [given.peers / "bin" / "python", Path(__file__).with_name("search_side.py"), given.work],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert peer.stdout is not None
    while peer.stdout.readline().strip() != "ready":
        assert peer.poll() is None
    facts = provenance() | json.loads((given.work / "corpus.json").read_text())
    tokens = np.fromfile(given.work / "tokens.u16", np.uint16)
    rows, result = [], {"facts": facts, "sets": {}}
    wrong: list[tuple[int, int]] = []
    differ = 0
    for name, pairs in sets.items():
        both = [f"ids:{a} AND ids:{b}" for a, b in pairs]
        near = [f"ids:{a} NEAR/{DISTANCE - 1} ids:{b}" for a, b in pairs]
        times: dict[str, list[list[int]]] = {"AND": [], "NEAR/99": [], "find_cnf": []}
        for _ in range(given.rounds + 1):
            found = {"AND": timed(index, both), "NEAR/99": timed(index, near)}
            theirs = ask(peer, pairs)
            for side, answers in found.items():
                times[side].append([time for time, _ in answers])
            times["find_cnf"].append([time for time, *_ in theirs])
        # (The first round warms up.)
        medians = {side: np.median(each[1:], axis=0) / 1e6 for side, each in times.items()}
        differing = agreement(
            [answer for _, answer in found["NEAR/99"]],
            theirs,
            [[counts[a], counts[b]] for a, b in pairs],
        )
        for place in differing:
            taking = {each.count for each in found["NEAR/99"][place][1].terms}
            if not taking & near_each_other(tokens, *pairs[place]):
                wrong.append(pairs[place])
        differ += len(differing)
        approximate = sum(bool(approx) for _, _, approx in theirs)
        for side, each in medians.items():
            rows.append(
                [
                    name,
                    side,
                    *(f"{np.percentile(each, p):.2f}" for p in (50, 90, 99)),
                    f"{np.median(medians['find_cnf']) / np.median(each):.2f} ×",
                    "–"
                    if side != "find_cnf"
                    else f"{len(pairs) - approximate - len(differing)} of "
                    f"{len(pairs) - approximate}, {approximate} sampled",
                ]
            )
        result["sets"][name] = {
            "pairs": pairs,
            "milliseconds": {side: each.tolist() for side, each in medians.items()},
            "different": [[*pairs[place], theirs[place]] for place in differing],
            "approximate": approximate,
        }
    print_provenance(facts)
    heads = ["words", "call", "median ms", "p90", "p99", "median against find_cnf", "exact, agree"]
    print(markdown_table(heads, rows, words=2))
    counted = documents_counted(index, tokens)
    print(
        f"\nOf the {differ} pairs that differ, everygram's number equals one made by reading all "
        f"tokens for {differ - len(wrong)}."
    )
    heads = ["n-grams", "call", "ns each", "against count_batch"]
    print("\n" + markdown_table(heads, counted, words=2))
    write_json(given.json, result | {"documents": counted})


if __name__ == "__main__":
    main()
