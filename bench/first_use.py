"""What does the first use after an installation cost, with nothing compiled yet?

Each command runs ROUNDS times as a process of its own, with an empty folder for compiled code. CPU
seconds are user + system of the process. With --other, another checkout's sources are measured too,
in turns.

usage: python bench/first_use.py --index WORK/everygram --other ../everygram-before/src
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from common import markdown_table, provenance

TEXTS = ["It was the best of times.", "It was the age of wisdom.", "It is a truth.", "a", "b c"]
HERE = Path(__file__).parent.parent / "src"
CLI = "from everygram.cli.app import run; run()"
OLD_CLI = "from everygram.cli import run; run()"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--index", type=Path, required=True, help="an index with a tokenizer")
    parser.add_argument("--other", type=Path, help="the src folder of another checkout")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    index = str(args.index.resolve())
    opened = f"import everygram; index = everygram.open({index!r}); "
    sides = {"here": HERE} | ({"other": args.other.resolve()} if args.other else {})
    seconds: dict[tuple[str, str], list[float]] = {}
    for _ in range(args.rounds):
        for side, source in sides.items():
            cli = CLI if (source / "everygram" / "cli" / "app.py").exists() else OLD_CLI
            commands = {
                "open and count, from Python": [opened + "index.count([1, 2, 3])"],
                "open and ntd, from Python": [opened + "index.ntd([1, 2])"],
                "everygram count INDEX TEXT": [cli, "count", index, "one of the"],
                "everygram ntd INDEX TEXT": [cli, "ntd", index, "one of the"],
                "everygram score INDEX TEXT": [cli, "score", index, "one of the"],
                "everygram warmup INDEX": [cli, "warmup", index],
                "everygram build, README's tour": [cli, "build", "c.jsonl", "--out", "i"],
            }
            commands["everygram build, README's tour"] += ["--tokenizer", "train:400"]
            for name, command in commands.items():
                seconds.setdefault((name, side), []).append(cpu_of(command, source))
    facts = provenance()
    print(f"{facts['date']}, {facts['commit']}, {facts['cpu']}; {facts['system']}\n")
    names = dict.fromkeys(name for name, _ in seconds)
    rows = [
        [name, *(f"{statistics.median(seconds[name, side]):.2f}" for side in sides)]
        for name in names
    ]
    print(markdown_table(["CPU seconds, nothing compiled", *sides], rows))


def cpu_of(program: list[str], source: Path) -> float:
    """User + system seconds of one run of Python, in a new folder, with nothing compiled."""
    with tempfile.TemporaryDirectory() as folder:
        lines = "".join(f'{{"text": "{text}"}}\n' for text in TEXTS)
        Path(folder, "c.jsonl").write_text(lines)
        environment = os.environ | {"PYTHONPATH": str(source), "NUMBA_CACHE_DIR": folder}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-c", *program],
            env=environment,
            cwd=folder,
            capture_output=True,
            check=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
