"""How much time and memory does sorting a stream of tokens take?

Three tables:

- the sorters: ours (induction) and libdivsufsort (over the big-endian bytes of the tokens, keeping
  the suffixes that start a token), each on one thread; and the peers, from a file of tokens to an
  index, on all cores;
- hard texts, periodic or repetitive, compared with natural text of the same length; only ours;
- growth: the first 1, 10 and 20 million tokens, all tokens, and a larger stream if one is given;
  only ours.

Every run is a process of its own, and texts and sides take turns, so that a change in the machine's
load affects all. Ours and libdivsufsort: CPU time of the sorting call, with the tokens in memory
and kernels compiled. Memory is the rise of the process's peak during that call above what it held
before, plus 2 bytes per token for the tokens. The peers: as measured by `build.py`. The first run
checks every order. Linux only.

usage: python bench/sort.py --tokens WORK/tokens.u16 --large WORK/large.u16 --work WORK \
           --peers bench/.peers --runs 3 --json WORK/sort.json
"""

import argparse
import ctypes
import multiprocessing
import os
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydivsufsort

from build import SEPARATOR, TOKENS, measure, peers_from_tokens, proc_fields
from common import corpus_facts, markdown_table, print_provenance, provenance, write_json
from everygram.building.induction import induced
from everygram.kernels.sort import first_disorder, invert

MILLION = 1_000_000
GROWTH = (MILLION, 10 * MILLION)
HARD_LENGTHS = (20 * MILLION, 100 * MILLION)
COPIES, SENTENCE = 8, 20
# Entries of libdivsufsort's array that are filtered at once.
CHUNK = 1 << 20

OURS, DIVSUFSORT = "everygram", "libdivsufsort"
NATURAL, LARGE = "natural text", "larger stream"


@dataclass(frozen=True)
class Job:
    """A text to sort: `length` tokens of `text`, made from the natural text in `source`."""

    side: str
    text: str
    length: int
    source: Path


@dataclass(frozen=True)
class Run:
    """What one run took. `length` counts separators; `load` is the load average before it."""

    side: str
    text: str
    length: int
    cpu_seconds: float
    wall_seconds: float
    peak_bytes: int
    load: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--tokens", type=Path, required=True, help="u16, 65535 before each document"
    )
    parser.add_argument("--work", type=Path, required=True, help="for the peers' indexes")
    parser.add_argument("--peers", type=Path, help="what bench/peers.sh made; default: without")
    parser.add_argument("--large", type=Path, help="a larger stream, made there if there is none")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write every run here")
    args = parser.parse_args()
    tokens, work = args.tokens.resolve(), args.work.resolve() / "sort"
    work.mkdir(parents=True, exist_ok=True)
    # For the processes started later: otherwise pydivsufsort's library would use all cores.
    os.environ["OMP_NUM_THREADS"] = "1"
    if args.large and not args.large.exists():
        make_large(tokens, args.large)

    whole = tokens.stat().st_size // 2
    facts = provenance() | corpus_facts(tokens)
    peers = peers_from_tokens(tokens, work, args.peers.absolute()) if args.peers else []
    lengths = {min(length, whole) for length in (*GROWTH, *HARD_LENGTHS)} - {whole}
    jobs = [
        Job(OURS, NATURAL, whole, tokens),
        Job(DIVSUFSORT, NATURAL, whole, tokens),
        *(Job(OURS, NATURAL, length, tokens) for length in sorted(lengths)),
        *(Job(OURS, text, length, tokens) for length in HARD_LENGTHS for text in HARD),
    ]
    if args.large:
        jobs.append(Job(OURS, LARGE, args.large.stat().st_size // 2, args.large.resolve()))

    in_new_process(warm_up)
    runs = []
    for number in range(1, args.runs + 1):
        for job in jobs:
            runs.append(in_new_process(sort, job, number == 1))
            report(number, runs[-1])
        for side in peers:
            side.prepare()
            built = measure(side, work)
            taken = (built.cpu_seconds, built.wall_seconds, built.peak_bytes, built.load)
            runs.append(Run(f"{side.name}, {TOKENS}", NATURAL, whole, *taken))
            report(number, runs[-1])
    shutil.rmtree(work)

    print_provenance(facts)
    print(sorters_table([run for run in runs if (run.text, run.length) == (NATURAL, whole)]))
    ours = [run for run in runs if run.side == OURS]
    print(f"\n{hard_table(ours)}")
    print(f"\n{growth_table([run for run in ours if run.text in (NATURAL, LARGE)])}")
    write_json(args.json, facts | {"runs": [asdict(run) for run in runs]})


def report(number: int, run: Run) -> None:
    """A line of progress."""
    print(
        f"run {number}: {run.side}, {run.text}, {run.length:,}: {run.cpu_seconds:.2f} CPU s, "
        f"{run.peak_bytes / run.length:.2f} B/token, load {run.load:.1f}",
        flush=True,
    )


def in_new_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """The function's result, computed in a process that does nothing else."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as executor:
        return executor.submit(function, *arguments).result()


def sort(job: Job, check: bool) -> Run:
    """Make the job's text and sort it."""
    warm_up()
    text = TEXTS[job.text](job.source, job.length)
    sorter = SORTERS[job.side]
    load = os.getloadavg()[0]
    # Without trimming, memory that compiling left free would not be counted. Writing 5 resets the
    # peak to the memory held now; otherwise the earlier peak would be counted.
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = proc_fields(Path("/proc/self/status"))["VmRSS"]
    wall, cpu = time.monotonic(), time.process_time()
    sa = sorter(text)
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    peak = proc_fields(Path("/proc/self/status"))["VmHWM"] - before + text.nbytes
    if check:
        assert in_order(text, sa), job
    return Run(job.side, job.text, text.shape[0], cpu, wall, peak, load)


def warm_up() -> None:
    """Compile or load all kernels, with a text that needs recursion and has empty documents."""
    rng = np.random.default_rng(0)
    text = np.concatenate([two_tokens(Path(), 1000), empty_documents(Path(), 10)])
    text = np.concatenate([text, *(rng.permutation(text) for _ in range(3))])
    assert in_order(text, induced(text))


def by_divsufsort(tokens: np.ndarray) -> np.ndarray:
    """The suffix array; ties are in another order than ours. Filtered in place, to save memory."""
    # One more separator, so that the end of the stream sorts as one.
    big_endian = np.empty(tokens.shape[0] + 1, ">u2")
    big_endian[:-1] = tokens
    big_endian[-1] = SEPARATOR
    sa = pydivsufsort.divsufsort(big_endian.view(np.uint8))
    del big_endian
    kept = 0
    for start in range(0, sa.shape[0], CHUNK):
        part = sa[start : start + CHUNK]
        # Even entries start a token. The additional separator is left out.
        part = part[(part & 1 == 0) & (part != 2 * tokens.shape[0])] >> 1
        sa[kept : kept + part.shape[0]] = part
        kept += part.shape[0]
    return sa[:kept].view(np.uint32)


SORTERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    OURS: induced,
    DIVSUFSORT: by_divsufsort,
}


def in_order(tokens: np.ndarray, sa: np.ndarray) -> bool:
    """Whether `sa` is a suffix array of `tokens`; ties may be in any order."""
    n = tokens.shape[0]
    rank_of = np.full(n, n, np.uint32)
    return (
        sa.shape == (n,)
        and invert(sa, rank_of) < 0
        and first_disorder(tokens, sa, rank_of, SEPARATOR) < 0
    )


# The texts: `length` tokens with separators, or just under; `source` holds natural text.


def natural(source: Path, length: int) -> np.ndarray:
    return np.fromfile(source, np.uint16, length)


def document(tokens: np.ndarray) -> np.ndarray:
    """A document in a stream: a separator before it."""
    return np.concatenate([[SEPARATOR], tokens]).astype(np.uint16)


def book(source: Path, length: int) -> np.ndarray:
    """Natural text without its separators: a twentieth of `length`."""
    tokens = natural(source, length // 20)
    return tokens[tokens != SEPARATOR]


def one_token(_: Path, length: int) -> np.ndarray:
    return document(np.full(length - 1, 7, np.uint16))


def period_2(_: Path, length: int) -> np.ndarray:
    return document(np.resize(np.array([1, 2], np.uint16), length - 1))


def period_1000(_: Path, length: int) -> np.ndarray:
    period = np.random.default_rng(0).integers(0, 50_000, 1000, np.uint16)
    return document(np.resize(period, length - 1))


def fibonacci(_: Path, length: int) -> np.ndarray:
    a, b = np.array([1], np.uint16), np.array([0], np.uint16)
    while b.shape[0] < length:
        a, b = b, np.concatenate([b, a])
    return document(b[: length - 1])


def books_in_one_document(source: Path, length: int) -> np.ndarray:
    return document(np.tile(book(source, length), 20))


def books_as_documents(source: Path, length: int) -> np.ndarray:
    return np.tile(document(book(source, length)), 20)


def corpus_repeated(source: Path, length: int) -> np.ndarray:
    return np.tile(natural(source, length // 20), 20)


def empty_documents(_: Path, length: int) -> np.ndarray:
    return np.full(length, SEPARATOR, np.uint16)


def two_tokens(_: Path, length: int) -> np.ndarray:
    return document(np.random.default_rng(0).integers(0, 2, length - 1, np.uint16))


def any_tokens(_: Path, length: int) -> np.ndarray:
    return document(np.random.default_rng(0).integers(0, 50_000, length - 1, np.uint16))


def low_high(_: Path, length: int) -> np.ndarray:
    """Every second suffix is LMS, with a rare substring: most memory is used between the passes."""
    tokens = np.random.default_rng(0).integers(0, 25_000, length - 1, np.uint16)
    tokens[::2] += 25_000
    return document(tokens)


TEXTS: dict[str, Callable[[Path, int], np.ndarray]] = {
    NATURAL: natural,
    "one token repeated": one_token,
    "period 2": period_2,
    "period 1,000": period_1000,
    "Fibonacci string": fibonacci,
    "a book 20 times in one document": books_in_one_document,
    "a book 20 times, each a document": books_as_documents,
    "a corpus 20 times": corpus_repeated,
    "empty documents": empty_documents,
    "2 tokens at random": two_tokens,
    "50,000 tokens at random": any_tokens,
    "the same, high and low in turn": low_high,
    LARGE: natural,
}
HARD = [text for text in TEXTS if text not in (NATURAL, LARGE)]


def make_large(source: Path, path: Path) -> None:
    """COPIES of the natural text. Each has its documents in another order, and SENTENCE tokens
    drawn from the text are inserted in each document, so that no two documents are equal.
    """
    rng = np.random.default_rng(0)
    stream = np.fromfile(source, np.uint16)
    documents = np.split(stream, np.flatnonzero(stream == SEPARATOR)[1:])
    with path.open("wb") as file:
        for _ in range(COPIES):
            sentences = rng.choice(stream[stream != SEPARATOR], (len(documents), SENTENCE))
            for number, sentence in zip(rng.permutation(len(documents)), sentences, strict=True):
                start, rest = np.split(
                    documents[number], [rng.integers(1, len(documents[number]) + 1)]
                )
                np.concatenate([start, sentence, rest]).tofile(file)


def sorters_table(runs: Sequence[Run]) -> str:
    """Medians over the runs, and ours divided by that of each side."""
    header = ["side", "CPU s", "(range)", "wall s", "peak bytes a token", "CPU: ours / it"]
    ours = cpu([run for run in runs if run.side == OURS])
    rows = []
    for side in dict.fromkeys(run.side for run in runs):
        mine = [run for run in runs if run.side == side]
        times = [run.cpu_seconds for run in mine]
        rows.append(
            [
                side,
                f"{cpu(mine):.1f}",
                f"{min(times):.1f}–{max(times):.1f}",
                f"{statistics.median(run.wall_seconds for run in mine):.1f}",
                f"{bytes_a_token(mine):.2f}",
                f"{ours / cpu(mine):.2f}",
            ]
        )
    return markdown_table(header, rows)


def hard_table(runs: Sequence[Run]) -> str:
    """Nanoseconds per token, and × natural text of the same length (or of the longest there is)."""
    header = ["text"]
    for length in HARD_LENGTHS:
        header += [f"{length / 1e6:.0f} M: ns a token", "×", "bytes a token"]
    rows = []
    for text in (NATURAL, *HARD):
        cells = [text]
        for length in HARD_LENGTHS:
            mine = nearest(runs, text, length)
            ratio = ns_a_token(mine) / ns_a_token(nearest(runs, NATURAL, length))
            cells += [f"{ns_a_token(mine):.0f}", f"{ratio:.2f}", f"{bytes_a_token(mine):.2f}"]
        rows.append(cells)
    return markdown_table(header, rows)


def growth_table(runs: Sequence[Run]) -> str:
    """One row per length, ascending."""
    header = ["tokens", "CPU s", "ns a token", "peak bytes a token"]
    rows = []
    for length in sorted({run.length for run in runs}):
        mine = [run for run in runs if run.length == length]
        figures = [f"{cpu(mine):.2f}", f"{ns_a_token(mine):.0f}", f"{bytes_a_token(mine):.2f}"]
        rows.append([f"{length:,}", *figures])
    return markdown_table(header, rows, words=0)


def nearest(runs: Sequence[Run], text: str, length: int) -> list[Run]:
    """The runs of a text with the nearest length."""
    of_text = [run for run in runs if run.text == text]
    found = min((run.length for run in of_text), key=lambda other: abs(other - length))
    return [run for run in of_text if run.length == found]


def cpu(runs: Sequence[Run]) -> float:
    """Median CPU seconds."""
    return statistics.median(run.cpu_seconds for run in runs)


def ns_a_token(runs: Sequence[Run]) -> float:
    """Median CPU nanoseconds per token, for runs of one length."""
    return cpu(runs) / runs[0].length * 1e9


def bytes_a_token(runs: Sequence[Run]) -> float:
    """Median peak memory per token, in bytes, for runs of one length."""
    return statistics.median(run.peak_bytes for run in runs) / runs[0].length


if __name__ == "__main__":
    main()
