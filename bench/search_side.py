"""Answers and times infini-gram's CNF queries, in its environment. `search.py` starts it.

usage: python search_side.py WORK

Reads requests from stdin, one JSON list of pairs of token ids per line, and prints for each a JSON
list of [nanoseconds, count, approx] of `find_cnf([[[a]], [[b]]])` at its defaults. Needs the
standard library and infini-gram.
"""

import gc
import json
import sys
from pathlib import Path
from time import perf_counter_ns

from infini_gram.engine import InfiniGramEngine


def main() -> None:
    work = Path(sys.argv[1])
    vocab_size = json.loads((work / "everygram" / "manifest.json").read_text())["vocab_size"]
    engine = InfiniGramEngine(
        index_dir=str(work / "infini-gram"),
        eos_token_id=vocab_size - 1,
        vocab_size=vocab_size,
        token_dtype="u16",
    )
    gc.disable()
    # (The engine writes to stdout itself.)
    answers = sys.stdout
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        out = []
        for a, b in json.loads(line):
            start = perf_counter_ns()
            found = engine.find_cnf([[[a]], [[b]]])
            out.append([perf_counter_ns() - start, found["cnt"], found["approx"]])
        print("answer " + json.dumps(out), file=answers, flush=True)


if __name__ == "__main__":
    main()
