"""How fast are the language models: made, asked for a whole text, asked for a distribution?

Builds the index of a stream of tokens RUNS times, and prepares it each time: `prepare` takes as
much as the given ratio of the time of its sort. In turn with it, lmplz (KenLM's estimation) makes a
model of order 5 of the same tokens, one document a line, if it is given: its ARPA file goes to
/dev/null, and it gets as much memory as the builds. Without it, the published 3.7 µs per token
stands in the table.

Then each model gives the log-probabilities of all held-out documents, each from its start, on all
cores; and distributions after NUM_PROMPTS prompts of LENGTH tokens, drawn with a seed from these
documents, one by one. Models take turns for ROUNDS rounds; a time is the median of the rounds. CPU
time is that of all threads: on a machine that does other things, it says more than the wall clock.
The sum of each distribution is checked.

usage: python bench/lm.py --tokens WORK/tokens.u16 --tokenizer DATA/gpt2.tokenizer.json \
           --held-out DATA/validation.jsonl --work WORK --lmplz PATH/lmplz --json WORK/lm.json
"""

import argparse
import itertools
import random
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from time import perf_counter, process_time

import numpy as np

import everygram
from common import corpus_facts, markdown_table, print_provenance, provenance, write_json
from everygram.corpus.text import TextCorpus
from everygram.lm.model import LanguageModel
from everygram.storage.disk import read_in

SEPARATOR = 65535
# The project's targets: how many times the sort's time, tokens per second, milliseconds.
PREPARE, DISTRIBUTION = 2.5, 2.0
MODELS: dict[str, tuple[str, int | None, int | None]] = {
    "modified Kneser-Ney, order 5": ("modified-kneser-ney", 5, 150_000),
    "modified Kneser-Ney, no order": ("modified-kneser-ney", None, 100_000),
    "∞-gram with a floor, order 5": ("infgram-floor", 5, None),
    "∞-gram": ("infgram", None, None),
    "stupid backoff, order 5": ("stupid-backoff", 5, None),
}
# KenLM's own figure for its estimation of order 5.
PUBLISHED_US = 3.7
NUM_PROMPTS, LENGTH = 200, 50


@dataclass(frozen=True)
class Making:
    """One turn: seconds, and CPU seconds, of the sort, the whole build, `prepare` and lmplz."""

    sort: float
    build: float
    prepare: float
    prepare_cpu: float
    prepared_bytes: int
    lmplz: float | None
    lmplz_cpu: float | None


@dataclass(frozen=True)
class Asking:
    """One model: its seconds to open, its medians, and what it says of the held-out documents."""

    model: str
    opened: float
    tokens_per_second: float
    cpu_microseconds: float
    distribution_ms: float
    distribution_p99_ms: float
    perplexity: float
    zeros: int
    furthest_sum: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokens", type=Path, required=True, help="made by build.py")
    parser.add_argument("--tokenizer", type=Path, required=True, help="the tokenizer of the tokens")
    parser.add_argument("--held-out", type=Path, required=True, help="text not in the corpus")
    parser.add_argument("--work", type=Path, required=True, help="for the index, and lmplz's files")
    parser.add_argument("--lmplz", type=Path, help="KenLM's program; default: its published figure")
    parser.add_argument("--memory", default="8GiB", help="of builds and of lmplz")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the results here")
    args = parser.parse_args()
    work = args.work.resolve() / "lm"
    work.mkdir(parents=True, exist_ok=True)
    facts = provenance() | corpus_facts(args.tokens)
    if args.lmplz:
        write_lines(args.tokens, work / "tokens.txt")
    making = []
    for number in range(1, args.runs + 1):
        making.append(make(args.tokens, args.tokenizer, work, args.memory, args.lmplz))
        print(f"run {number}: {making[-1]}", flush=True)

    for path in sorted(path for path in (work / "index").rglob("*.*") if path.is_file()):
        read_in(path)
    with everygram.open(work / "index") as index:
        tokenizer = index.tokenizer
        assert tokenizer is not None
        documents = tokenizer.encode_batch([each.text for each in TextCorpus([args.held_out])])
        asking = ask(index, documents, args.rounds, random.Random(args.seed))
    shutil.rmtree(work)

    facts["held_out_tokens"] = sum(map(len, documents))
    print_provenance(facts)
    print(making_table(making, facts["tokens"] + facts["documents"], args.lmplz is not None))
    print(f"\n{facts['held_out_tokens']:,} held-out tokens, {NUM_PROMPTS} prompts\n")
    print(asking_table(asking))
    write_json(
        args.json,
        facts
        | {
            "making": [asdict(each) for each in making],
            "asking": [asdict(each) for each in asking],
        },
    )


def write_lines(tokens: Path, lines: Path) -> None:
    """Write the documents of a stream as lines of ids, as lmplz reads sentences."""
    stream = np.memmap(tokens, np.uint16, "r")
    starts = [*np.flatnonzero(stream == SEPARATOR).tolist(), stream.shape[0]]
    with lines.open("w") as file:
        for begin, end in itertools.pairwise(starts):
            file.write(" ".join(map(str, stream[begin + 1 : end].tolist())) + "\n")


def make(tokens: Path, tokenizer: Path, work: Path, memory: str, lmplz: Path | None) -> Making:
    """Build an index, prepare it, and have lmplz make its model."""
    index = work / "index"
    shutil.rmtree(index, ignore_errors=True)
    report = everygram.build(
        tokens,
        index,
        tokenizer,
        pretokenized="u16",
        separator_id=SEPARATOR,
        memory=memory,
    )
    start, cpu = perf_counter(), process_time()
    prepared = everygram.prepare(index, memory=memory)
    prepare, cpu = perf_counter() - start, process_time() - cpu
    build = sum(report.seconds.values())
    ours = (report.seconds["sort"], build, prepare, cpu, prepared.bytes)
    return Making(*ours, *((None, None) if lmplz is None else estimated(lmplz, work, memory)))


def estimated(lmplz: Path, work: Path, memory: str) -> tuple[float, float]:
    """The seconds that lmplz takes for order 5, by the wall clock and of CPU time."""
    command = [
        *(lmplz.absolute(), "-o", "5", "--discount_fallback", "-T", work / "lmplz"),
        *("-S", memory.removesuffix("iB").removesuffix("B")),
    ]
    start, before = perf_counter(), getrusage(RUSAGE_CHILDREN)
    with (work / "tokens.txt").open() as text, (work / "lmplz.log").open("w") as log:
        done = subprocess.run(command, stdin=text, stdout=subprocess.DEVNULL, stderr=log)
    seconds = perf_counter() - start
    if done.returncode:
        sys.exit(f"lmplz failed:\n{(work / 'lmplz.log').read_text()[-2000:]}")
    after = getrusage(RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu


def ask(
    index: everygram.Index, documents: list[np.ndarray], rounds: int, rng: random.Random
) -> list[Asking]:
    """What each model takes, in turns."""
    prompts = [cut(documents, LENGTH, rng) for _ in range(NUM_PROMPTS)]
    models, opened = {}, {}
    for name, (smoothing, order, _) in MODELS.items():
        start = perf_counter()
        models[name] = index.language_model(smoothing, order=order)
        opened[name] = perf_counter() - start
        # (Everything is compiled, and read in.)
        models[name].log_probs_batch(documents[:8], document_start=True)
        models[name].distribution(prompts[0])
    ids = np.concatenate(documents)
    offsets = np.cumsum([0, *map(len, documents)])
    seconds: dict[str, list[float]] = {name: [] for name in MODELS}
    cpu: dict[str, list[float]] = {name: [] for name in MODELS}
    times: dict[str, list[list[float]]] = {name: [] for name in MODELS}
    found: dict[str, np.ndarray] = {}
    sums: dict[str, float] = {}
    for number in range(1, rounds + 1):
        for name, model in models.items():
            start, before = perf_counter(), process_time()
            log_probs = model.log_probs_batch(ids, offsets, document_start=True)
            seconds[name].append(perf_counter() - start)
            cpu[name].append(process_time() - before)
            found[name] = np.concatenate(log_probs)
            each, totals = zip(*timed(model, prompts), strict=True)
            times[name].append(list(each))
            sums[name] = max(abs(total - 1) for total in totals)
        print(f"round {number}: done", flush=True)
    return [
        answer(name, opened[name], seconds[name], cpu[name], times[name], found[name], sums[name])
        for name in MODELS
    ]


def timed(model: LanguageModel, prompts: list[list[int]]) -> Iterator[tuple[float, float]]:
    """Milliseconds of each distribution, and its sum."""
    for prompt in prompts:
        start = perf_counter()
        found = model.distribution(prompt)
        yield (perf_counter() - start) * 1e3, float(found.sum())


def answer(
    name: str,
    opened: float,
    seconds: list[float],
    cpu: list[float],
    times: list[list[float]],
    log_probs: np.ndarray,
    furthest: float,
) -> Asking:
    medians = np.median(np.array(times), axis=0)
    zeros = int(np.isneginf(log_probs).sum())
    return Asking(
        name,
        opened,
        log_probs.shape[0] / statistics.median(seconds),
        statistics.median(cpu) / log_probs.shape[0] * 1e6,
        float(np.median(medians)),
        float(np.quantile(medians, 0.99)),
        float(np.exp(-log_probs.mean())) if not zeros else float("inf"),
        zeros,
        furthest,
    )


def cut(documents: list[np.ndarray], length: int, rng: random.Random) -> list[int]:
    """Tokens from any place of any document that has so many."""
    document = rng.choice([each for each in documents if len(each) >= length])
    start = rng.randrange(len(document) - length + 1)
    prompt: list[int] = document[start : start + length].tolist()
    return prompt


def making_table(making: list[Making], tokens: int, with_lmplz: bool) -> str:
    """Medians of the turns; a ratio is the median of the turns' ratios."""
    sort, build, prepare = (
        statistics.median(getattr(each, name) for each in making)
        for name in ("sort", "build", "prepare")
    )
    ratio = statistics.median(each.prepare / each.sort for each in making)
    size = making[0].prepared_bytes / tokens
    cpu = statistics.median(each.prepare_cpu for each in making)

    def row(step: str, seconds: float, cpu: str, ratio: str) -> list[str]:
        return [step, f"{seconds:.1f}", cpu, f"{seconds / tokens * 1e6:.2f}", ratio]

    rows = [
        row("sort", sort, "", ""),
        row("build", build, "", ""),
        row(
            f"prepare, any order ({size:.2f} bytes per token)",
            prepare,
            f"{cpu:.1f}",
            f"{ratio:.2f} × sort (target {PREPARE})",
        ),
    ]
    if with_lmplz:
        peer = statistics.median(each.lmplz or 0 for each in making)
        against = statistics.median((each.lmplz or 0) / each.prepare for each in making)
        cpu = statistics.median(each.lmplz_cpu or 0 for each in making)
        rows.append(row("lmplz, order 5", peer, f"{cpu:.1f}", f"{against:.1f} × prepare"))
    else:
        rows.append(["lmplz, order 5, published", "", "", f"{PUBLISHED_US:.2f}", ""])
    return markdown_table(["step", "seconds", "CPU seconds", "µs per token", "ratio"], rows)


def asking_table(asking: list[Asking]) -> str:
    rows = []
    for each in asking:
        target = MODELS[each.model][2]
        wanted = f"{target:,}" if target else ""
        zeros = f", {each.zeros:,} zeros" if each.zeros else ""
        rows.append(
            [
                each.model,
                f"{each.tokens_per_second:,.0f}",
                wanted,
                f"{each.cpu_microseconds:.1f}",
                f"{each.distribution_ms:.2f}",
                f"{each.distribution_p99_ms:.2f}",
                f"{each.opened * 1e3:.1f}",
                f"{each.perplexity:.2f}{zeros}",
                f"{each.furthest_sum:.0e}",
            ]
        )
    header = [
        *(
            "model",
            "log_probs, tokens/s",
            "target",
            "CPU µs per token",
            f"distribution, ms (target {DISTRIBUTION:g})",
        ),
        *("p99", "made, ms", "perplexity", "largest error of a sum"),
    ]
    return markdown_table(header, rows)


if __name__ == "__main__":
    main()
