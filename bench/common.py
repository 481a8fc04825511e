"""What the benchmarks share: the machine, the commit, and the shape of their output."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np


def provenance() -> dict[str, Any]:
    """The facts without which a figure means nothing: date, machine, commit, command."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cpu": _field("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(),
        "memory_gib": round(int(_field("/proc/meminfo", "MemTotal").split()[0]) / 2**20, 1),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "commit": _commit(),
        "command": " ".join(["python", *sys.argv]),
    }


def corpus_facts(path: Path) -> dict[str, Any]:
    """What `print_provenance` prints about a corpus of u16 tokens, 65535 before each document."""
    stream = np.memmap(path, np.uint16, "r")
    documents = int(np.count_nonzero(stream == 65535))
    return {
        "corpus": path.name,
        "bytes": path.stat().st_size,
        "tokens": stream.shape[0] - documents,
        "documents": documents,
    }


def print_provenance(facts: dict[str, Any]) -> None:
    """Print the facts, and those about the corpus, as the lines above a table."""
    print(f"\n{facts['date']}, everygram at {facts['commit']}")
    print(f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB; {facts['system']}")
    print(
        f"{facts['corpus']}: {facts['bytes']:,} bytes, {facts['tokens']:,} tokens, "
        f"{facts['documents']:,} documents\n"
    )


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """A markdown table; all but the first `words` columns align right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    rule = ["-" * w if i < words else "-" * (w - 1) + ":" for i, w in enumerate(widths)]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.ljust(w) if i < words else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    return "\n".join([line(header), line(rule), *map(line, rows)])


def write_json(path: Path | None, result: dict[str, Any]) -> None:
    """The whole result as JSON, if a path was given."""
    if path is not None:
        path.write_text(json.dumps(result, indent=1) + "\n")


def _field(path: str, name: str) -> str:
    """The first value of a `name : value` line in a file of /proc."""
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"


def _commit() -> str:
    """The commit of the measured sources, marked if the working tree differs from it."""
    here = Path(__file__).parent
    git = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=10"]
    found = subprocess.run(git, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "no commit"
