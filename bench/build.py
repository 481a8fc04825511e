"""How long and how much memory does a build take, next to the peers' indexers?

Same corpus, same tokenizer, same machine, in two steps:

- text → index: a JSON-lines file to a finished index (everygram, infini-gram);
- tokens → index: a file of u16 tokens to a finished index (everygram, infini-gram, tokengrams).

In both steps everygram also builds without document counts, which the peers do not have either.

Every run is a process of its own, and the sides take turns, so that a change in the machine's load
affects all sides. Wall time is that of the whole process, including its start; CPU time is user +
system of the process and its children. Memory is the sampled peak of the process tree's
proportional set size, or the largest process's own peak if that is more. The peak without the page
cache of mapped files is also shown. Leaves the indexes in WORK for `query.py`. Linux only.

usage: python bench/build.py --corpus DATA/medium.jsonl --tokenizer DATA/gpt2.tokenizer.json \
           --work WORK --peers bench/.peers --runs 3 --json WORK/build.json
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import everygram
from common import markdown_table, print_provenance, provenance, write_json
from infini_gram_index import command, name_tokenizer, write_shard

SEPARATOR = 65535
TEXT, TOKENS = "text → index", "tokens → index"
WITHOUT = "everygram, no document counts"
# Seconds between samples of the process tree's memory: a sample walks the page tables.
SAMPLE = 0.2


@dataclass(frozen=True)
class Side:
    """One indexer at one step: `command` is measured, `prepare` is not; `index` is all it makes."""

    step: str
    name: str
    prepare: Callable[[], None]
    command: list[str]
    index: list[Path]


@dataclass(frozen=True)
class Run:
    """What one run took. `load` is the machine's load average before it."""

    step: str
    side: str
    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    peak_anonymous_bytes: int
    index_bytes: int
    load: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True, help=".jsonl or .jsonl.zst")
    parser.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json, u16 ids")
    parser.add_argument("--work", type=Path, required=True, help="the indexes are left here")
    parser.add_argument("--peers", type=Path, required=True, help="what bench/peers.sh made")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write every run here")
    args = parser.parse_args()
    corpus, tokenizer, work = (p.resolve() for p in (args.corpus, args.tokenizer, args.work))
    work.mkdir(parents=True, exist_ok=True)

    facts = provenance() | export_tokens(corpus, tokenizer, work)
    runs = []
    for number in range(1, args.runs + 1):
        for side in sides(corpus, tokenizer, work, args.peers.absolute()):
            side.prepare()
            run = measure(side, work)
            runs.append(run)
            print(f"run {number}: {run.step}, {run.side}: {run.wall_seconds:.1f} s", flush=True)
    check(work)
    for leftover in ("everygram-from-tokens", "everygram-no-counts", "infini-gram-from-text"):
        shutil.rmtree(work / leftover)

    print_provenance(facts)
    print(table(runs))
    write_json(args.json, facts | {"runs": [asdict(run) for run in runs]})


def export_tokens(corpus: Path, tokenizer: Path, work: Path) -> dict[str, Any]:
    """Tokenize once, untimed: all sides sort the same tokens. This also compiles our kernels.

    Writes WORK/tokens.u16: a separator before each document, as in infini-gram's files and ours.
    Returns facts about the corpus, and writes them to WORK/corpus.json for `query.py`.
    """
    index_path = work / "everygram"
    shutil.rmtree(index_path, ignore_errors=True)
    everygram.build(corpus, index_path, tokenizer=str(tokenizer))
    with everygram.open(index_path) as index, (work / "tokens.u16").open("wb") as file:
        if index.manifest.dtype != "u16":
            sys.exit(f"{tokenizer}: expected a vocabulary that fits u16, found {index.vocab_size}")
        for segment in index.engine.segments:
            segment.tokens.tofile(file)
        found = {
            "corpus": corpus.name,
            "bytes": corpus.stat().st_size,
            "tokens": index.num_tokens,
            "documents": index.num_documents,
        }
    write_json(work / "corpus.json", found)
    return found


def sides(corpus: Path, tokenizer: Path, work: Path, peers: Path) -> list[Side]:
    """The indexers, in the order in which they take turns."""
    tokens = work / "tokens.u16"
    ours, ours_from_tokens = work / "everygram", work / "everygram-from-tokens"
    no_counts = work / "everygram-no-counts"
    infini_from_text = work / "infini-gram-from-text"
    build = "import sys, everygram; everygram.build(sys.argv[1], sys.argv[2], sys.argv[3]"
    ids = f", pretokenized='u16', separator_id={SEPARATOR}"

    def without(step: str, options: str, source: Path) -> Side:
        return Side(
            step,
            WITHOUT,
            lambda: shutil.rmtree(no_counts, ignore_errors=True),
            [
                *(sys.executable, "-c", f"{build}{options}, document_counts=False)"),
                *(str(source), str(no_counts), str(tokenizer)),
            ],
            [no_counts],
        )

    def prepare_infini_gram() -> None:
        shutil.rmtree(infini_from_text, ignore_errors=True)
        (infini_from_text / "corpus").mkdir(parents=True)
        (infini_from_text / "corpus" / corpus.name).symlink_to(corpus)
        name_tokenizer(work, tokenizer)

    return [
        Side(
            TEXT,
            "everygram",
            lambda: shutil.rmtree(ours, ignore_errors=True),
            [sys.executable, "-c", f"{build})", str(corpus), str(ours), str(tokenizer)],
            [ours],
        ),
        without(TEXT, "", corpus),
        Side(
            TEXT,
            "infini-gram",
            prepare_infini_gram,
            infini_gram(infini_from_text, peers),
            [infini_from_text],
        ),
        Side(
            TOKENS,
            "everygram",
            lambda: shutil.rmtree(ours_from_tokens, ignore_errors=True),
            [
                *(sys.executable, "-c"),
                f"{build}{ids})",
                *(str(tokens), str(ours_from_tokens), str(tokenizer)),
            ],
            [ours_from_tokens],
        ),
        without(TOKENS, ids, tokens),
        *peers_from_tokens(tokens, work, peers),
    ]


def peers_from_tokens(tokens: Path, work: Path, peers: Path) -> list[Side]:
    """The peers' indexers for a u16 stream; they leave their indexes in WORK."""
    infini, suffix_table = work / "infini-gram", work / "tokengrams.idx"

    def prepare_infini_gram() -> None:
        shutil.rmtree(infini, ignore_errors=True)
        (infini / "corpus").mkdir(parents=True)
        write_shard(infini, 0, np.memmap(tokens, "<u2", "r"))

    return [
        Side(TOKENS, "infini-gram", prepare_infini_gram, infini_gram(infini, peers), [infini]),
        Side(
            TOKENS,
            "tokengrams",
            lambda: suffix_table.unlink(missing_ok=True),
            [
                *(str(peers / "bin" / "python"), "-c"),
                "import sys, tokengrams; tokengrams.MemmapIndex.build(*sys.argv[1:], vocab=65536)",
                *(str(tokens), str(suffix_table)),
            ],
            [tokens, suffix_table],
        ),
    ]


def infini_gram(index: Path, peers: Path) -> list[str]:
    """The command that indexes `index`/corpus, with all cores and memory."""
    # With less memory infini-gram sorts in more parts.
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    return command(
        index,
        peers,
        "u16",
        index / "corpus",
        tokenizer="gpt2",
        cpus=os.cpu_count() or 1,
        memory=memory,
    )


def measure(side: Side, work: Path) -> Run:
    """Run a side to its end, in WORK. Exits when it fails."""
    # Dirty pages of the previous run must not be written during this run.
    os.sync()
    load = os.getloadavg()[0]
    log = work / "log.txt"
    with log.open("w") as output:
        start = time.monotonic()
        process = subprocess.Popen(
            side.command,
            cwd=work,
            # infini-gram's lookup of "gpt2" must not wait for the hub.
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        peaks = {"tree": 0, "process": 0, "anonymous": 0}
        finished = threading.Event()
        sampler = threading.Thread(target=watch_memory, args=(process.pid, peaks, finished))
        sampler.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - start
        finished.set()
        sampler.join()
    if status:
        sys.exit(f"{side.step}, {side.name} failed (status {status}):\n{log.read_text()[-2000:]}")
    return Run(
        step=side.step,
        side=side.name,
        wall_seconds=wall,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_bytes=max(peaks["tree"], peaks["process"]),
        peak_anonymous_bytes=peaks["anonymous"],
        index_bytes=sum(map(size_of, side.index)),
        load=load,
    )


def watch_memory(session: int, peaks: dict[str, int], finished: threading.Event) -> None:
    """Keep the peaks of the memory of a session's processes, in bytes.

    A process's own peak is VmHWM: `ru_maxrss` counts what this process held when it forked.
    """
    while not finished.wait(SAMPLE):
        now = dict.fromkeys(peaks, 0)
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if os.getsid(int(folder.name)) != session:
                    continue
                memory = proc_fields(folder / "smaps_rollup")
                own_peak = proc_fields(folder / "status")["VmHWM"]
            except (OSError, KeyError):  # the process has ended
                continue
            now["tree"] += memory["Pss"]
            now["anonymous"] += memory["Pss_Anon"]
            now["process"] = max(now["process"], own_peak)
        for name, value in now.items():
            peaks[name] = max(peaks[name], value)


def proc_fields(path: Path) -> dict[str, int]:
    """The `name: value kB` lines of a file of /proc, in bytes."""
    fields = (line.split() for line in path.read_text().splitlines() if line.endswith(" kB"))
    return {name.rstrip(":"): int(value) << 10 for name, value, _ in fields}


def size_of(path: Path) -> int:
    """Bytes of a file, or of the files below a folder; links not followed."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(f.stat().st_size for f in files if f.is_file() and not f.is_symlink())


def check(work: Path) -> None:
    """Both steps must have made the same index, and infini-gram's tokenizer the same tokens."""
    with (
        everygram.open(work / "everygram") as text,
        everygram.open(work / "everygram-from-tokens") as tokens,
    ):
        for a, b in zip(text.engine.segments, tokens.engine.segments, strict=True):
            assert np.array_equal(a.tokens, b.tokens)
            assert np.array_equal(a.suffix_array, b.suffix_array)
    theirs = np.memmap(work / "infini-gram-from-text" / "tokenized.0", np.uint16, "r")
    assert np.array_equal(theirs, np.memmap(work / "tokens.u16", np.uint16, "r"))


def table(runs: list[Run]) -> str:
    """Medians over the runs, each step's ratios against everygram."""
    header = [
        *("step", "side", "wall s", "(range)", "CPU s", "peak GB", "anonymous GB", "index GB"),
        *("wall ×", "peak ×"),
    ]
    rows = []
    for step, name in dict.fromkeys((run.step, run.side) for run in runs):
        mine = [run for run in runs if (run.step, run.side) == (step, name)]
        ours = [run for run in runs if (run.step, run.side) == (step, "everygram")]
        walls = [run.wall_seconds for run in mine]
        rows.append(
            [
                step,
                name,
                f"{median(mine, 'wall_seconds'):.1f}",
                f"{min(walls):.1f}–{max(walls):.1f}",
                f"{median(mine, 'cpu_seconds'):.1f}",
                f"{median(mine, 'peak_bytes') / 1e9:.2f}",
                f"{median(mine, 'peak_anonymous_bytes') / 1e9:.2f}",
                f"{median(mine, 'index_bytes') / 1e9:.2f}",
                f"{median(mine, 'wall_seconds') / median(ours, 'wall_seconds'):.2f}",
                f"{median(mine, 'peak_bytes') / median(ours, 'peak_bytes'):.2f}",
            ]
        )
    return markdown_table(header, rows, words=2)


def median(runs: list[Run], field: str) -> float:
    """The median of one field over runs."""
    return statistics.median(getattr(run, field) for run in runs)


if __name__ == "__main__":
    main()
