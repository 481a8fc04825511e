"""The command that lists the most frequent n-grams: top-ngrams."""

import gc
import json
from pathlib import Path
from typing import Any

import click

from everygram.cli.answering import opened
from everygram.cli.keeping import signals_exit
from everygram.cli.options import (
    PATH,
    completes,
    examples,
    index_argument,
    json_option,
    resource_options,
    work_option,
)
from everygram.cli.show_indexing import build_progress
from everygram.cli.writing import check_place, whole

TABLES = (".jsonl",)
# N-grams that are shown where no file is written.
SHOWN = 50


@click.command(
    epilog=examples(
        "everygram top-ngrams my-index --n 5 --top 100",
        "everygram top-ngrams my-index --n 1 --max-n 10 --maximal --order documents",
        "everygram top-ngrams my-index --n 13 --top 10000 --by source --out top.jsonl",
    )
)
@index_argument
@click.option("--n", type=click.IntRange(1), metavar="N", default=5, help="Tokens of an n-gram.")
@click.option(
    "--max-n",
    type=click.IntRange(1),
    metavar="N",
    help="Also n-grams of each further length, up to so many tokens.",
)
@click.option(
    "--top", type=click.IntRange(1), metavar="N", default=1000, help="N-grams of each length."
)
@click.option(
    "--maximal",
    is_flag=True,
    help="Only n-grams that repeat, and are no part of a longer one with as many occurrences.",
)
@click.option(
    "--order",
    type=click.Choice(["occurrences", "documents"]),
    default="occurrences",
    help="What makes one more frequent than another.",
)
@click.option(
    "--min-count",
    type=click.IntRange(1),
    metavar="N",
    default=1,
    help="Leave out what has fewer occurrences (or documents, with --order documents).",
)
@click.option(
    "--by",
    metavar="FIELD",
    help="List them for each value of a field of the metadata (a.b: b inside a).",
)
@click.option(
    "--out",
    type=PATH,
    metavar="FILE.jsonl",
    shell_complete=completes("file"),
    help="Write a JSON line per n-gram.",
)
@work_option
@resource_options
@json_option
def top_ngrams(index: Path, out: Path | None, as_json: bool, **asked: Any) -> None:
    """List the most frequent n-grams of an index.

    Exact, for any n: all suffixes are read in order, once. Each n-gram is listed with its
    occurrences and the number of documents that it is in.
    """
    gc.enable()
    if out is not None:
        check_place("--out", out, TABLES, ".jsonl")
    from everygram.curation.frequent import top_ngrams as listed

    with opened(index, fixed=True) as found, signals_exit(), build_progress() as progress:
        answer = listed(found, **asked, progress=progress)
    if out is not None:
        with whole(out) as file:
            for each in answer.ngrams:
                file.write(json.dumps(each.as_dict(), ensure_ascii=False).encode() + b"\n")
    if as_json:
        click.echo(json.dumps(answer.as_dict(), ensure_ascii=False))
    elif out is None:
        click.echo(_shown(answer.ngrams, asked["by"]))
    else:
        click.echo(f"{len(answer):,} n-grams")


def _shown(ngrams: Any, by: str | None) -> str:
    if not ngrams:
        return "none"
    names = ["occurrences", "documents", "n", "n-gram"]
    rows = [[*names, by] if by else names]
    for each in ngrams[:SHOWN]:
        text = " ".join(map(str, each.token_ids)) if each.text is None else repr(each.text)
        row = [f"{each.count:,}", f"{each.document_count:,}", str(each.n), text]
        rows.append([*row, "–" if each.source is None else each.source] if by else row)
    # (Numbers first, to the right; the rest to the left.)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([*map(str.rjust, row[:3], widths), *map(str.ljust, row[3:], widths[3:])]).rstrip()
        for row in rows
    ]
    if len(ngrams) > SHOWN:
        lines.append(f"… {len(ngrams) - SHOWN:,} more: --json or --out lists all")
    return "\n".join(lines)
