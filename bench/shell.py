"""How long does one query take from a shell, in a new process?

Commands on the indexes that `build.py` leaves in WORK take turns for ROUNDS rounds, with compiled
code and the indexes in memory. Each command starts a process and waits for its end. infini-gram has
no command line: a small program opens its index and counts the same n-gram, without a tokenizer.
The first row is the start of Python alone, which all commands include. Bytecode is written before
the first round, as an installation does.

usage: python bench/shell.py --work WORK --peers bench/.peers --json WORK/shell.json
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter

from common import corpus_facts, markdown_table, print_provenance, provenance, write_json

TEXT = "natural language processing"
PROMPT = "natural language"
# The project's target for a count, in seconds.
TARGET = 0.6


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="where build.py's indexes are")
    parser.add_argument("--peers", type=Path, required=True, help="what bench/peers.sh made")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--json", type=Path, help="write every time here")
    args = parser.parse_args()
    work, peers = args.work.resolve(), args.peers.absolute()
    facts = provenance() | corpus_facts(work / "tokens.u16")
    everygram = str(Path(sys.executable).with_name("everygram"))
    index = str(work / "everygram")
    ids = json.loads(run([everygram, "count", index, TEXT, "--json"]))["token_ids"]
    listed = ",".join(map(str, ids))
    commands = {
        "python, nothing": [sys.executable, "-c", "pass"],
        "everygram --help": [everygram, "--help"],
        "everygram count TEXT": [everygram, "count", index, TEXT],
        "everygram count --ids": [everygram, "count", index, "--ids", listed],
        "everygram infgram-prob TEXT": [everygram, "infgram-prob", index, TEXT],
        "everygram ntd TEXT": [everygram, "ntd", index, PROMPT],
        "everygram.open(…).count(ids)": [sys.executable, "-c", ours(index, ids)],
        "infini-gram, a program": [str(peers / "bin" / "python"), "-c", theirs(work, ids)],
    }
    answers = {name: run(command) for name, command in commands.items()}
    counted = int(answers["infini-gram, a program"])
    assert counted == int(answers["everygram.open(…).count(ids)"])
    assert f"count     {counted:,}\n" in answers["everygram count TEXT"]
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(args.rounds):
        for name, command in commands.items():
            start = perf_counter()
            run(command)
            times[name].append(perf_counter() - start)
    print_provenance(facts)
    rows = [
        [f"`{name}`", f"{statistics.median(each):.2f}", f"{min(each):.2f}–{max(each):.2f}"]
        for name, each in times.items()
    ]
    print(markdown_table(["command", "s", "(range)"], rows))
    found = statistics.median(times["everygram count TEXT"])
    print(f"\nTarget: a count under {TARGET} s: {'met' if found < TARGET else 'not met'}")
    write_json(args.json, facts | {"times": times})


def run(command: list[str]) -> str:
    """The output of a command."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def ours(index: str, ids: list[int]) -> str:
    """A program that counts once, with compiled code."""
    return f"import everygram; print(everygram.open({index!r}).count({ids}))"


def theirs(work: Path, ids: list[int]) -> str:
    """The same with infini-gram."""
    vocab_size = json.loads((work / "everygram" / "manifest.json").read_text())["vocab_size"]
    options = {
        "index_dir": str(work / "infini-gram"),
        "eos_token_id": vocab_size - 1,
        "vocab_size": vocab_size,
        "token_dtype": "u16",
    }
    return (
        "from infini_gram.engine import InfiniGramEngine\n"
        f"print(InfiniGramEngine(**{options}).count({ids})['count'])"
    )


if __name__ == "__main__":
    main()
