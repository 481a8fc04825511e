"""What the command line shows people: answers as text, and a build's progress."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from everygram.progress import BuildPlan, BuildReport, Progress

STAGES = {
    "train": "training the tokenizer",
    "check": "checking checksums",
    "order": "checking order",
    "read": "reading documents",
    "sort": "sorting suffixes",
    "merge": "merging blocks",
    "write": "writing the index",
    "publish": "publishing",
}
# Seconds between two lines of progress where there is no terminal.
LINE_EVERY = 5.0


def show_query(answer: dict[str, Any], label: str = "query") -> str:
    """The tokens a query or prompt became: as text if known, and their ids."""
    ids = " ".join(map(str, answer["token_ids"]))
    if not ids:
        return f"{label:<8}  (empty)"
    if answer["tokens"] is None:
        return f"{label:<8}  ids {ids}"
    return f"{label:<8}  {' '.join(map(repr, answer['tokens']))}   ids {ids}"


def show_count(answer: dict[str, Any]) -> str:
    """A count."""
    return f"count     {answer['count']:,}\n{show_query(answer)}"


def show_prob(answer: dict[str, Any]) -> str:
    """A probability, with the counts it is the quotient of."""
    prob = "undefined: the prompt does not occur"
    if answer["prob"] is not None:
        counts = f"{answer['continuation_count']:,} / {answer['prompt_count']:,}"
        prob = f"{answer['prob']:.6g} = {counts}"
    token = f"id {answer['continuation_id']}"
    if answer["continuation"] is not None:
        token = f"{answer['continuation']!r}   {token}"
    return "\n".join(
        [
            f"prob      {prob}",
            f"of        {token}",
            f"after     {_context(answer)}",
            show_query(answer, "prompt"),
        ]
    )


def show_distribution(answer: dict[str, Any]) -> str:
    """The most frequent tokens of a distribution."""
    lines = [
        f"after     {_context(answer)}: {_count(answer['prompt_count'], 'occurrence')}, "
        f"{_count(answer['distinct'], 'different token')} next",
        show_query(answer, "prompt"),
    ]
    if not answer["exact"]:
        bound = f"{answer['error_bound']:,}"
        lines.append(
            f"exact     no: counts may be off by {bound}, tokens that follow no oftener be missing"
        )
    if answer["next"]:
        lines.append(f"{'prob':>10}  {'count':>12}  {'id':>7}  token")
    for token in answer["next"]:
        text = "" if token["token"] is None else repr(token["token"])
        row = f"{token['prob']:>10.6f}  {token['count']:>12,}  {token['token_id']:>7}  {text}"
        lines.append(row.rstrip())
    left = answer["distinct"] - len(answer["next"])
    if left:
        lines.append(f"and {left:,} more (--all shows them)")
    return "\n".join(lines)


def show_scores(answer: dict[str, Any]) -> str:
    """The probability of each token of a text, a line each."""
    model = "∞-gram" if answer["order"] is None else f"{answer['order']}-gram"
    columns = ("suffix_lens", "prompt_counts", "continuation_counts", "probs", "sparse")
    rows = [
        (
            "undefined" if prob is None else f"{prob:.6f}",
            f"{continuation_count:,}",
            f"{prompt_count:,}",
            suffix_len,
            "sparse" if sparse else "",
        )
        for suffix_len, prompt_count, continuation_count, prob, sparse in zip(
            *(answer[name] for name in columns), strict=True
        )
    ]
    heads = {"prob": 10, "count": 12, "of": 12, "suffix_len": 10, "": 6}
    return _token_table(f"model     {model}", answer, heads, rows)


def show_longest_matches(answer: dict[str, Any]) -> str:
    """The longest match at each token of a text, a line each."""
    rows = [
        (f"{length:,}", f"{count:,}")
        for length, count in zip(answer["lengths"], answer["counts"], strict=True)
    ]
    head = f"longest   {_count(max(answer['lengths'], default=0), 'token')}"
    return _token_table(head, answer, {"length": 10, "count": 12}, rows)


def _token_table(
    head: str, answer: dict[str, Any], widths: dict[str, int], rows: Sequence[tuple[object, ...]]
) -> str:
    """A line for each token of a text: what is known of it in columns, and then the token."""
    if not rows:
        return f"{head}\n{show_query(answer, 'text')}"
    tokens = answer["tokens"] or [None] * len(rows)
    lines = [
        "  ".join(f"{value:>{width}}" for value, width in zip(row, widths.values(), strict=True))
        + f"  {token_id:>7}  {'' if token is None else repr(token)}".rstrip()
        for row, token_id, token in zip(rows, answer["token_ids"], tokens, strict=True)
    ]
    titles = "  ".join(f"{title:>{width}}" for title, width in widths.items())
    return "\n".join([head, f"{titles}  {'id':>7}  token", *lines])


def _context(answer: dict[str, Any]) -> str:
    asked = len(answer["token_ids"])
    used = answer["suffix_len"]
    return "the whole prompt" if used == asked else f"the last {used} of its {asked} tokens"


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def show_matches(answer: dict[str, Any]) -> str:
    """Occurrences, a line each."""
    lines = [show_count(answer)]
    if answer["occurrences"]:
        lines.append(_row("document", "offset", "segment", "rank", "position"))
    lines += [
        _row(o["document"], o["offset"], o["segment"], o["rank"], o["position"])
        for o in answer["occurrences"]
    ]
    return "\n".join(lines)


def _row(document: object, offset: object, segment: object, rank: object, position: object) -> str:
    return f"{document:>10}  {offset:>9}  {segment:>7}  {rank:>12}  {position:>12}"


def show_document(answer: dict[str, Any]) -> str:
    """A document or the part around a match, the match between » and «."""
    shown = len(answer["token_ids"])
    head = f"document  {answer['number']}   {_count(answer['length'], 'token')}"
    if shown < answer["length"]:
        head += f", {answer['start']:,} to {answer['start'] + shown:,} shown"
    if answer["match"] is not None:
        head += (
            f"   occurrence {answer['occurrence']} of {answer['count']:,}, at tokens "
            f"{answer['match'][0]:,} to {answer['match'][1]:,}"
        )
    lines = [head, *(f"{name}: {value}" for name, value in answer["metadata"].items()), ""]
    if answer["parts"] is not None:
        before, match, after = answer["parts"]
        lines.append(f"{before}»{match}«{after}")
    elif answer["text"] is not None:
        lines.append(answer["text"])
    else:
        lines.append(" ".join(map(str, answer["token_ids"])))
    return "\n".join(lines)


def show_info(answer: dict[str, Any]) -> str:
    """What an index is, a line a fact."""
    return "\n".join(
        f"{name:<18} {f'{value:,}' if isinstance(value, int) else repr(value)}"
        for name, value in answer.items()
    )


def show_deletion(answer: dict[str, Any]) -> str:
    """Which documents are gone, or would be."""
    shown = ", ".join(map(str, answer["documents"][:10]))
    if answer["num_documents"] > 10:
        shown += f" and {answer['num_documents'] - 10:,} more"
    what = "would be deleted" if answer["dry_run"] else "deleted"
    documents = _count(answer["num_documents"], "document")
    tokens = _count(answer["num_tokens"], "token")
    return f"{documents} {what}, {tokens}" + (f": {shown}" if shown else "")


def show_compaction(answer: dict[str, Any]) -> str:
    """How many segments there are now, what was dropped, and the disk space."""
    before, after = answer["segments_before"], answer["segments_after"]
    if not answer["seconds"]:
        return f"nothing to do: {_count(after, 'segment')}"
    spent = sum(answer["seconds"].values())
    return (
        f"{_count(before, 'segment')} before, {after} now; "
        f"{_count(answer['dropped_documents'], 'deleted document')} dropped, "
        f"{_count(answer['dropped_tokens'], 'token')}; {answer['index_bytes']:,} bytes on disk, "
        f"{answer['freed_bytes']:,} fewer; {spent:.1f} s, "
        f"{answer['peak_bytes'] / 2**20:,.0f} MiB at most"
    )


def show_plan(plan: BuildPlan, text_field: str) -> str:
    """What a build would read and need, a line a fact."""
    formats = ", ".join(f"{number:,} × {name}" for name, number in plan.formats.items())
    rows = [
        ("files", f"{plan.num_files:,}: {formats}, {plan.corpus_bytes / 1e6:,.1f} MB"),
        ("tokenizer", plan.tokenizer or "none: ids only"),
        ("vocabulary", f"{plan.vocab_size:,} ids"),
        ("tokens", f"about {plan.tokens:,}"),
        (
            "disk",
            f"about {plan.disk_bytes / 1e6:,.1f} MB, of them {plan.index_bytes / 1e6:,.1f} for the "
            f"index; {plan.free_bytes / 1e6:,.1f} MB are free",
        ),
        (
            "memory",
            f"{plan.memory / 2**20:,.0f} MiB at most, {_count(plan.threads, 'thread')}"
            + ("; sorted in blocks and merged" if plan.merged else ""),
        ),
    ]
    if plan.fields:
        rows.insert(1, ("text, metadata", f"{text_field!r}; {', '.join(map(repr, plan.fields))}"))
    lines = [f"{name:<16}{value}" for name, value in rows]
    return "\n".join([*lines, *(f"skipped         {skip}" for skip in plan.skips)])


def show_report(report: BuildReport) -> str:
    """What a build made, how long each stage took, how much memory and disk."""
    tokens = max(1, report.num_tokens)
    rows = [
        ("documents", f"{report.num_documents:,}"),
        ("tokens", f"{report.num_tokens:,}"),
        *((STAGES[stage], f"{spent:.1f} s") for stage, spent in report.seconds.items()),
        ("peak memory", f"{report.peak_bytes / 2**20:,.0f} MiB"),
        ("on disk", f"{report.index_bytes:,} bytes, {report.index_bytes / tokens:.2f} a token"),
    ]
    lines = [str(report.path), *(f"  {name:<24}{value}" for name, value in rows)]
    if report.skipped:
        lines.append(f"{report.skipped:,} skipped:")
        lines += [f"  {skip}" for skip in report.skips]
        if report.skipped > len(report.skips):
            lines.append(f"  and {report.skipped - len(report.skips):,} more")
    return "\n".join(lines)


@contextmanager
def build_progress() -> Iterator[Callable[[Progress], None]]:
    """What to report a build's progress to: bars on a terminal, else a line now and then."""
    if sys.stderr.isatty():
        with _bars() as report:
            yield report
    else:
        yield _lines()


@contextmanager
def _bars() -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    bars = Bars(
        TextColumn("{task.description:<24}"),
        BarColumn(24),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[rates]}"),
        console=Console(stderr=True),
    )
    tasks: list[TaskID] = []
    current = ""

    def report(progress: Progress) -> None:
        nonlocal current
        if progress.stage != current:
            finish_stage()
            current = progress.stage
            tasks.append(bars.add_task(STAGES[current], total=None, rates=""))
        if progress.total:
            bars.update(tasks[-1], total=progress.total, completed=progress.done)
        bars.update(tasks[-1], rates=_rates(progress))

    def finish_stage() -> None:
        for task in tasks[-1:]:
            bars.update(task, total=1, completed=1)

    with bars:
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
            write(progress, STAGES[progress.stage])
            next_line = now + LINE_EVERY
        elif now >= next_line and progress.done:
            done = progress.done / progress.total
            left = progress.stage_seconds * (1 - done) / done
            write(progress, f"  {done:.0%}, {left:.0f} s left, {_rates(progress)}".rstrip(", "))
            next_line = now + LINE_EVERY
        elif now >= next_line and progress.documents:  # of what nobody says how long it is
            write(progress, f"  {_rates(progress)}")
            next_line = now + LINE_EVERY
        last = progress

    return report


def _rates(progress: Progress) -> str:
    """How fast the stage goes, in its own measure."""
    rate = progress.done / 1e6 / max(progress.stage_seconds, 1e-3)
    if progress.stage == "read":
        return f"{progress.documents:,} documents, {progress.tokens:,} tokens, {rate:.1f} MB/s"
    if not progress.done:
        return ""
    return f"{rate:.1f} {'MB' if progress.stage in ('train', 'check', 'write') else 'M tokens'}/s"
