"""The command that counts concepts: frequency."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import everygram
from everygram.cli import compiling
from everygram.cli.options import PATH, completes, examples, index_argument, json_option
from everygram.cli.plot import check_figure, write_figure
from everygram.cli.show import counted
from everygram.cli.show_indexing import build_progress
from everygram.cli.writing import check_apart, check_not_read, check_place, write_whole

if TYPE_CHECKING:
    from everygram.results.frequency import Bin, Frequencies

# Rows that are shown in words, of concepts and of pairs.
SHOWN = 20


@click.command(
    epilog=examples(
        "everygram frequency my-index concepts.txt --ignore-case --whole-words",
        "everygram frequency my-index concepts.csv --out counts.parquet --plot counts.svg",
        "everygram frequency my-index concepts.csv --pairs --within 50 --pairs-out pairs.csv",
        "everygram frequency my-index concepts.csv --results scores.jsonl --plot fit.png",
        "everygram frequency my-index concepts.txt --compare other-index --json",
    )
)
@index_argument
@click.argument(
    "concepts",
    type=PATH,
    shell_complete=completes("file"),
    help="The concepts: a file with one a line; or a .csv with the column concept (or name) and, "
    "if they have other names, aliases, with | between them.",
)
@click.option("--ignore-case", is_flag=True, help="Upper case and lower case are the same.")
@click.option(
    "--whole-words",
    is_flag=True,
    help="Count only where no letter, number or _ stands on either side.",
)
@click.option("--pairs", is_flag=True, help="Also count every two concepts that occur together.")
@click.option(
    "--pairs-of",
    type=PATH,
    metavar="FILE.csv",
    help="Also count these pairs, of the columns first and second.",
)
@click.option(
    "--within",
    type=click.IntRange(1),
    metavar="N",
    help="Pairs occur together within N tokens (default: within a document).",
)
@click.option(
    "--results",
    type=PATH,
    metavar="FILE",
    help="Scores of an evaluation's items, a .csv or .jsonl with concept and score: show how they "
    "grow with frequency.",
)
@click.option("--score-field", metavar="NAME", default="score", help="The score in --results.")
@click.option(
    "--by",
    type=click.Choice(["count", "document_count"]),
    default="count",
    help="The frequency that --results are compared with.",
)
@click.option(
    "--bins-per-decade",
    type=click.IntRange(1, 100),
    metavar="N",
    default=2,
    help="Bins of --results for each power of ten of the frequency.",
)
@click.option(
    "--resamples",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    default=1000,
    help="Bootstrap samples that intervals are of.",
)
@click.option("--seed", type=click.IntRange(0), metavar="N", default=0, help="Seed of these.")
@click.option(
    "--compare", type=PATH, metavar="INDEX2", help="Count in another index, too, and compare."
)
@click.option(
    "--out", type=PATH, metavar="FILE", help="Write the counts as a table, .csv or .parquet."
)
@click.option(
    "--pairs-out", type=PATH, metavar="FILE", help="Write the pairs as a table, .csv or .parquet."
)
@click.option(
    "--plot",
    type=PATH,
    metavar="IMAGE",
    help="Draw counts by rank, and scores by count if there are --results, as .png or .svg.",
)
@json_option
def frequency(
    index: Path,
    concepts: Path,
    pairs: bool,
    pairs_of: Path | None,
    out: Path | None,
    pairs_out: Path | None,
    plot: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Count concepts, alone, in pairs, and beside scores of an evaluation.

    A concept is a name, with aliases if it has any, counted as texts, however tokens divide them.
    Its count is that of all occurrences of any of them, without those that lie inside an occurrence
    of another of them; its documents are those that have any.
    """
    if pairs and pairs_of is not None:
        raise click.UsageError("expected --pairs or --pairs-of, found both")
    if options["within"] is not None and not pairs and pairs_of is None:
        raise click.UsageError("--within goes with --pairs or --pairs-of")
    if pairs_out is not None and not pairs and pairs_of is None:
        raise click.UsageError("--pairs-out goes with --pairs or --pairs-of")
    for option, path in (("--out", out), ("--pairs-out", pairs_out)):
        if path is not None:
            check_place(option, path, (".csv", ".parquet"), ".csv or .parquet")
    if plot is not None:
        check_figure(plot)
    check_apart({"--out": out, "--pairs-out": pairs_out})
    read = [str(path) for path in (concepts, pairs_of, options["results"]) if path is not None]
    check_not_read({"--out": out, "--pairs-out": pairs_out}, read)
    with build_progress() as progress, compiling.announced():
        found = everygram.frequency(
            index,
            concepts,
            pairs=pairs if pairs_of is None else pairs_of,
            progress=reporting(progress, "concepts"),
            **options,
        )
    if out is not None:
        write_table(out, found)
    if pairs_out is not None:
        write_table(pairs_out, found.pairs)
    if plot is not None:
        from everygram.cli.plot_frequency import drawn_frequency

        write_figure(plot, drawn_frequency(found, index.resolve().name))
    click.echo(json.dumps(found.as_dict(), ensure_ascii=False) if as_json else show(found))


def reporting(progress: Callable[[Any], None], stage: str) -> Callable[[int, int], None]:
    """What shows how much is done of what a command counts."""
    from everygram.progress import Clock

    clock = Clock(progress)
    clock.enter(stage)
    return clock.report


def write_table(path: Path, found: Any) -> None:
    """Write the rows of a result as a table, of the kind that the name says."""
    import csv
    import io

    if path.suffix.lower() == ".csv":
        columns = found.columns()
        lines = io.StringIO()
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(columns)
        lists = [getattr(column, "tolist", lambda of=column: of)() for column in columns.values()]
        writer.writerows(zip(*lists, strict=True))
        write_whole(path, lines.getvalue().encode())
        return
    from everygram.results.tables import parquet

    write_whole(path, parquet(found))


def show(found: "Frequencies") -> str:
    """The most frequent concepts, and what else was asked for, in words."""
    order = sorted(range(len(found)), key=lambda place: -found[place].count)
    occurring = sum(each.count > 0 for each in found)
    lines = [
        f"concepts  {len(found):,}, of which {occurring:,} occur, in "
        f"{counted(found.num_documents, 'document')} of {counted(found.num_tokens, 'token')}",
        f"{'count':>14}{'documents':>14}  concept",
    ]
    for place in order[:SHOWN]:
        each = found[place]
        lines.append(f"{each.count:>14,}{each.document_count:>14,}  {each.concept}")
    lines += _left(len(order), "concept")
    if found.pairs is not None:
        pairs = found.pairs.as_dict()
        where = "in a document" if pairs["within"] is None else f"within {pairs['within']:,} tokens"
        rows = sorted(pairs["rows"], key=lambda row: -row["document_count"])
        lines += ["", f"pairs     {len(rows):,}, {where}"]
        lines += [f"{'count':>14}{'documents':>14}  pair"] if rows else []
        for row in rows[:SHOWN]:
            said = f"{row['first']} + {row['second']}"
            lines.append(f"{row['count']:>14,}{row['document_count']:>14,}  {said}")
        lines += _left(len(rows), "pair")
    if found.performance is not None:
        lines += ["", *_performance(found)]
    other = found.comparison
    if other is not None:
        lines += [
            "",
            f"compared  with {other.name}: {other.both:,} concepts occur in both, "
            f"{other.first_only:,} in the first alone, {other.second_only:,} in the second alone, "
            f"{other.neither:,} in neither",
            f"{'rank correlation':<18}{_number(other.rank_correlation)}",
            f"{'correlation':<18}{_number(other.correlation)}   of log10 of the counts in both",
        ]
    return "\n".join(lines)


def _left(number: int, what: str) -> list[str]:
    return [f"{'…':>14}  {counted(number - SHOWN, 'more ' + what)}"] if number > SHOWN else []


def _performance(found: "Frequencies") -> list[str]:
    """Scores by frequency, and the line through them."""
    made = found.performance
    assert made is not None
    what = "count" if made.by == "count" else "documents"
    lines = [
        f"scores    {counted(made.items, 'item')} of {counted(made.concepts, 'concept')} by {what}",
        f"{what:>22}{'items':>9}{'score':>10}   95 %",
    ]

    def line(label: str, each: "Bin") -> str:
        low, high = each.interval
        return f"{label:>22}{each.items:>9,} {each.mean:>9.4f}   {low:.4f} to {high:.4f}"

    if made.zero is not None:
        lines.append(line("0", made.zero))
    lines += [line(f"{each.low:,} to {each.high - 1:,}", each) for each in made.bins]
    for name, label, more in (
        ("slope", "slope", "per tenfold count"),
        ("correlation", "correlation", "of scores and log10 of the count"),
        ("rank_correlation", "rank correlation", ""),
    ):
        value, interval = getattr(made, name), getattr(made, f"{name}_interval")
        between = ""
        if interval is not None:
            between = f"   95 %: {_number(interval[0])} to {_number(interval[1])}"
        lines.append(f"{label:<18}{_number(value)}{between}   {more}".rstrip())
    return lines


def _number(value: float | None) -> str:
    # (Of rounding, without −0.)
    return "undefined" if value is None else f"{round(value, 4) + 0.0:.4f}"
