"""What the command line shows of builds and other changes: plans, progress, reports."""

import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from everygram.cli import compiling
from everygram.cli.show import counted, sized
from everygram.progress import NOTICE, BuildPlan, BuildReport, Progress

STAGES = {
    "anew": "discarding the work on another index, or with other options",
    "train": "training the tokenizer",
    "check": "checking checksums",
    "order": "checking order",
    "plain": "reading a self-index",
    "parts": "building parts",
    "push": "copying files there",
    "pull": "fetching files",
    "read": "reading documents",
    "sort": "sorting suffixes",
    "merge": "merging blocks",
    "count": "counting documents",
    "compress": "compressing",
    "prepare": "counting contexts",
    "repeats": "finding repeats",
    "strike": "striking repeats",
    "export": "writing documents",
    "write": "writing the index",
    "publish": "publishing",
    "grow": "growing trees",
    "replay": "replaying",
    "ngrams": "counting n-grams",
    "words": "reading words",
    "search": "looking for items",
    "concepts": "counting concepts",
    "copies": "comparing documents",
}
# Seconds between two lines of progress off a terminal.
LINE_EVERY = 5.0
# The most names of files that a report lists.
MOST_NAMES = 10


def show_deletion(answer: dict[str, Any]) -> str:
    """Which documents are gone, or would be."""
    shown = ", ".join(map(str, answer["documents"][:10]))
    if answer["num_documents"] > 10:
        shown += f" and {answer['num_documents'] - 10:,} more"
    what = "would be deleted" if answer["dry_run"] else "deleted"
    documents = counted(answer["num_documents"], "document")
    tokens = counted(answer["num_tokens"], "token")
    said = f"{documents} {what}, {tokens}" + (f": {shown}" if shown else "")
    missing = answer["missing_field"]
    return said if missing is None else f"{said}: no document has the field {missing!r}"


def show_compaction(answer: dict[str, Any]) -> str:
    """How many segments there are now, what was dropped, and the disk space."""
    before, after = answer["segments_before"], answer["segments_after"]
    if not answer["seconds"]:
        return f"nothing to do: {counted(after, 'segment')}"
    spent = sum(answer["seconds"].values())
    freed = answer["freed_bytes"]
    less = f"{sized(freed)} freed" if freed >= 0 else f"{sized(-freed)} more than before"
    return (
        f"{counted(before, 'segment')} before, {after} now; "
        f"{counted(answer['dropped_documents'], 'deleted document')} dropped, "
        f"{counted(answer['dropped_tokens'], 'token')}; {sized(answer['index_bytes'])} on disk, "
        f"{less}; {spent:.1f} s, "
        f"peak memory {answer['peak_bytes'] / 2**20:,.0f} MiB"
    )


def show_transfer(answer: dict[str, Any]) -> str:
    """What was copied, and what was there already."""
    said = (
        f"{counted(answer['copied_files'], 'file')} copied, {sized(answer['copied_bytes'])}, of "
        f"{answer['num_files']:,}, {sized(answer['num_bytes'])}; {answer['seconds']:.1f} s"
    )
    removed = answer["removed"]
    return said + (f"; {counted(removed, 'file')} of older versions removed" if removed else "")


def show_upgrade(answer: dict[str, Any]) -> str:
    """What an upgrade added."""
    if not answer["seconds"]:
        return f"nothing to do: format {answer['format_after']}"
    return (
        f"format {answer['format_before']} before, {answer['format_after']} now; document counts "
        f"added to {counted(answer['segments'], 'segment')}; {sized(answer['index_bytes'])} on "
        f"disk; {sum(answer['seconds'].values()):.1f} s, "
        f"peak memory {answer['peak_bytes'] / 2**20:,.0f} MiB"
    )


def show_attachment(answer: dict[str, Any]) -> str:
    """What was made for an infini-gram index."""
    counts = ", with document counts" if answer["document_counts"] else ""
    return (
        f"attached to '{answer['folder']}': {counted(answer['num_shards'], 'shard')}, "
        f"{counted(answer['num_documents'], 'document')}, "
        f"{counted(answer['num_tokens'], 'token')} ({answer['dtype']}), tokenizer "
        f"{answer['tokenizer']!r}; {sized(answer['bytes'])} at '{answer['path']}'{counts}; "
        f"{sum(answer['seconds'].values()):.1f} s, peak memory "
        f"{answer['peak_bytes'] / 2**20:,.0f} MiB"
    )


def show_preparation(answer: dict[str, Any]) -> str:
    """What was prepared."""
    if not answer["seconds"]:
        return f"nothing to do: prepared already, {sized(answer['bytes'])}"
    return (
        f"prepared: {sized(answer['bytes'])}, continuations of {answer['nodes']:,} n-grams, "
        f"longest repeat {counted(answer['longest_repeat'], 'token')}; "
        f"{sum(answer['seconds'].values()):.1f} s, "
        f"peak memory {answer['peak_bytes'] / 2**20:,.0f} MiB"
    )


def show_export(answer: dict[str, Any]) -> str:
    """What was written for infini-gram's engine, and what it must be told."""
    return (
        f"{counted(answer['num_documents'], 'document')} written, "
        f"{counted(answer['num_tokens'], 'token')}; {sized(answer['index_bytes'])} on disk; "
        f"{sum(answer['seconds'].values()):.1f} s, "
        f"peak memory {answer['peak_bytes'] / 2**20:,.0f} MiB\n"
        f"open it: InfiniGramEngine(index_dir={answer['path']!r}, eos_token_id=…, "
        f"vocab_size={answer['vocab_size']}, token_dtype={answer['token_dtype']!r})"
    )


def show_plan(plan: BuildPlan, text_field: str) -> str:
    """What a build would read and need, one fact per line."""
    tokens = f"about {_estimated(plan.tokens)}"
    if plan.open_ended:
        tokens = f"at least {_estimated(plan.tokens)}: not every file says how large it is"
    rows = [
        (
            "files",
            f"{plan.num_files:,}: {_of_each(plan.formats)}, {sized(plan.corpus_bytes)}",
        ),
        ("tokenizer", plan.tokenizer or "none (token ids only)"),
        ("vocabulary", f"{plan.vocab_size:,} ids"),
        ("tokens", tokens),
        (
            "disk",
            f"about {sized(plan.disk_bytes)}, {sized(plan.index_bytes)} of it for the index; "
            f"{sized(plan.free_bytes)} free",
        ),
        (
            "kinds",
            ", ".join(f"{kind} {sized(size)}" for kind, size in plan.bytes_of_kind.items()),
        ),
        (
            "memory",
            f"limit {plan.memory / 2**20:,.0f} MiB, {counted(plan.threads, 'thread')}"
            + ("; sorted in blocks and merged" if plan.merged else ""),
        ),
    ]
    if plan.parts:
        smallest, largest = sized(min(plan.parts)), sized(max(plan.parts))
        rows.append(
            ("parts", f"{len(plan.parts):,}, of {smallest} to {largest}; memory is that of one")
        )
    if plan.fields:
        fields = f"{text_field!r}; {', '.join(map(repr, plan.fields))} (of the first record)"
        rows.insert(1, ("text, metadata", fields))
    lines = [f"{name:<16}{value}" for name, value in rows]
    lines += [f"not read        {each}" for each in passed_over(plan.passed_over)]
    lines += [f"skipped         {skip}" for skip in plan.skips]
    return "\n".join([*lines, *(f"so far          {warning}" for warning in plan.warnings)])


def show_report(report: BuildReport) -> str:
    """What a build made, how long each stage took, how much memory and disk."""
    tokens = max(1, report.num_tokens)
    # (The plan lists all formats; here those where separators were found to be unusual.)
    noted = {name: number for name, number in report.formats.items() if name.endswith(")")}
    rows = [
        *([("files", _of_each(noted))] if noted else []),
        ("documents", f"{report.num_documents:,}"),
        ("tokens", f"{report.num_tokens:,}"),
        *((STAGES[stage], f"{spent:.1f} s") for stage, spent in report.seconds.items()),
        ("peak memory", f"{report.peak_bytes / 2**20:,.0f} MiB"),
        (
            "on disk",
            f"{sized(report.index_bytes)}, {report.index_bytes / tokens:.2f} bytes per token",
        ),
    ]
    lines = [str(report.path), *(f"  {name:<24}{value}" for name, value in rows)]
    if report.skipped:
        lines.append(f"{report.skipped:,} skipped:")
        lines += [f"  {skip}" for skip in report.skips]
        if report.skipped > len(report.skips):
            lines.append(f"  and {report.skipped - len(report.skips):,} more")
    if report.again:
        number = counted(len(report.again), "file")
        lines.append(f"{number} in the index already, added once more:")
        lines += [f"  {name}" for name in report.again[:MOST_NAMES]]
        if len(report.again) > MOST_NAMES:
            lines.append(f"  and {len(report.again) - MOST_NAMES:,} more (--json names all)")
        lines.append(_undoing(report))
    lines += [f"not read: {each}" for each in passed_over(report.passed_over)]
    return "\n".join(lines)


def _undoing(report: BuildReport) -> str:
    """Which documents are in the index twice, and what deletes the second of each."""
    numbers = range(report.first_document, report.first_document + report.num_documents)
    if not numbers:
        return "it has no documents: nothing is there twice"
    path = shlex.quote(str(report.path))
    each = (
        f"documents {numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else f"document {numbers[0]}"
    )
    if len(report.again) < sum(report.formats.values()):
        return f"their documents, of the new {each}, are there twice"
    command = f"everygram delete {path} --documents "
    if len(numbers) > 10:
        command = f"seq {numbers[0]} {numbers[-1]} | {command}-"
    else:
        command += ",".join(map(str, numbers))
    return f"{each} {'are' if len(numbers) > 1 else 'is'} there twice; to undo it: {command}"


def _estimated(number: int) -> str:
    """A number that is known to two or three digits."""
    if number < 1e6:
        return f"{number:,}"
    return f"{number / 1e6:,.{int(number < 1e7)}f} M"


def _time(seconds: float) -> str:
    """A time, as `6 s`, `1:01` or `2:03:04`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{rest} s"


def _of_each(formats: dict[str, int]) -> str:
    return ", ".join(f"{number:,} × {name}" for name, number in formats.items())


def passed_over(passed: dict[str, str]) -> list[str]:
    """What of a corpus is not read, a line for each reason."""
    from everygram.corpus.choosing import explained  # slow to import, and other commands do without

    return explained(passed)


@contextmanager
def build_progress() -> Iterator[Callable[[Progress], None]]:
    """A callback for a build's progress: bars on a terminal, elsewhere a line now and then.

    It also says when the build waits for the compiler.
    """
    if sys.stderr.isatty():
        with _bars() as report:
            yield report
    else:
        with compiling.watched(compiling.notice):
            yield _lines()


@contextmanager
def _bars() -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn
    from rich.progress import Progress as Bars
    from rich.text import Text

    class Times(ProgressColumn):
        def render(self, task: Task) -> Text:
            spent = task.finished_time if task.finished else task.elapsed
            left = None if task.finished else task.time_remaining
            shown = "" if left is None else f", {_time(left)} left"
            return Text(f"{_time(spent or 0):>5}{shown}")

    bars = Bars(
        TextColumn("{task.description:<24}"),
        BarColumn(24),
        TextColumn("{task.percentage:>3.0f} %"),
        Times(),
        TextColumn("{task.fields[rates]}"),
        console=Console(stderr=True),
    )
    tasks: list[TaskID] = []
    current = ""

    def report(progress: Progress) -> None:
        nonlocal current
        if progress.stage != current:
            if _continued(current, progress):
                bars.console.print(_continuing(progress))
            finish_stage()
            current = progress.stage
            tasks.append(bars.add_task(STAGES[current], total=None, rates=""))
        if progress.total:
            bars.update(tasks[-1], total=progress.total, completed=progress.done)
        bars.update(tasks[-1], rates=_rates(progress))

    def finish_stage() -> None:
        for task in tasks[-1:]:
            bars.update(task, total=1, completed=1)

    def compiles(name: str, number: int) -> None:
        # The stage waits; what it reports next takes the place of this.
        if number == 1:
            bars.console.print(NOTICE)
        for task in tasks[-1:]:
            bars.update(task, rates=f"compiling {number}: {name}")

    with bars, compiling.watched(compiles):
        yield report
        finish_stage()


def _lines() -> Callable[[Progress], None]:
    last: Progress | None = None
    next_line = 0.0

    def write(progress: Progress, text: str) -> None:
        print(f"[{progress.seconds:7.1f} s] {text}", file=sys.stderr, flush=True)

    def report(progress: Progress) -> None:
        nonlocal last, next_line
        now = time.monotonic()
        if last is None or progress.stage != last.stage:
            if last is not None and last.stage == "read":
                write(last, f"  {_rates(last)}")
            if _continued("" if last is None else last.stage, progress):
                write(progress, _continuing(progress))
            write(progress, STAGES[progress.stage])
            next_line = now + LINE_EVERY
        elif now >= next_line and progress.done:
            done = progress.done / progress.total
            left = progress.stage_seconds * (1 - done) / done
            write(progress, f"  {done:.0%}, {_time(left)} left, {_rates(progress)}".rstrip(", "))
            next_line = now + LINE_EVERY
        elif now >= next_line and progress.documents:  # the corpus does not say how large it is
            write(progress, f"  {_rates(progress)}")
            next_line = now + LINE_EVERY
        last = progress

    return report


def _continued(before: str, progress: Progress) -> bool:
    """Whether documents were read before this run: it comes from the stage `before` to another."""
    stages = list(STAGES)
    read = stages.index("read")
    # (Parts are read in a stage of their own.)
    earlier = before == "" or (before != "parts" and stages.index(before) < read)
    return earlier and stages.index(progress.stage) > read and progress.documents > 0


def _continuing(progress: Progress) -> str:
    were = "was" if progress.documents == 1 else "were"
    return f"continuing: {counted(progress.documents, 'document')} {were} read before"


def _rates(progress: Progress) -> str:
    """How fast the stage goes, in its own unit."""
    rate = progress.done / 1e6 / max(progress.stage_seconds, 1e-3)
    if progress.stage in ("read", "parts"):
        read = f"{counted(progress.documents, 'document')}, {counted(progress.tokens, 'token')}"
        if progress.stage == "read":
            return f"{read}, {rate:.1f} MB/s"
        return f"{progress.done:,} of {counted(progress.total, 'part')} built; {read} read"
    if not progress.done or progress.stage in ("words", "search", "concepts", "copies"):
        return ""
    of_bytes = progress.stage in ("train", "check", "write", "push", "pull")
    return f"{rate:.1f} {'MB' if of_bytes else 'M tokens'}/s"
