"""The commands about what repeats in indexes: duplicates and deduplicate."""

import gc
import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import everygram
from everygram.cli.answering import print_answer
from everygram.cli.keeping import signals_exit
from everygram.cli.options import (
    PATH,
    completes,
    content_option,
    examples,
    format_option,
    json_option,
    resource_options,
    together,
    work_option,
)
from everygram.cli.show import counted, printable
from everygram.cli.show_indexing import build_progress
from everygram.cli.writing import check_apart, check_place, whole

if TYPE_CHECKING:
    from everygram.results.duplicates import Copies, Duplicates

# Groups whose text is shown, and characters of it.
MOST, TEXT = 5, 70

indexes_argument = click.argument(
    "index",
    type=PATH,
    nargs=-1,
    required=True,
    metavar="INDEX...",
    shell_complete=completes("dir"),
    help="The index's folder; several are looked through as one.",
)
repeat_options = together(
    click.option(
        "--min-length",
        type=click.IntRange(1),
        metavar="N",
        default=50,
        help="Length of the n-grams that repeat, in units.",
    ),
    click.option(
        "--unit",
        type=click.Choice(["tokens", "bytes"]),
        default="tokens",
        help="Of --min-length. bytes: n-grams of as many tokens as spell N bytes. They repeat "
        "where their tokens do: the same bytes in other tokens are not found (but in an index "
        "built with --tokenizer bytes).",
    ),
    click.option(
        "--keep-first",
        is_flag=True,
        help="The first occurrence of an n-gram, by document and place, is no repeat.",
    ),
    click.option(
        "--bridge",
        type=click.IntRange(0),
        metavar="N",
        default=0,
        help="Join ranges with up to N tokens between them.",
    ),
)


@click.command(
    epilog=examples(
        "everygram duplicates my-index --out ranges.jsonl",
        "everygram duplicates my-index --min-length 100 --unit bytes --by source",
        "everygram duplicates wiki books --across --json > ranges.jsonl",
        "everygram duplicates my-index --keep-first --documents copies.jsonl",
    )
)
@indexes_argument
@repeat_options
@click.option("--across", is_flag=True, help="Only n-grams that occur in more than one INDEX.")
@click.option(
    "--by",
    metavar="A.B",
    help="Also sum up by the values of this field of the metadata (a.b: field b inside a).",
)
@click.option("--out", type=PATH, metavar="FILE", help="Write the ranges here, as JSON lines.")
@click.option(
    "--documents",
    type=PATH,
    metavar="FILE",
    help="Write the documents that are identical with another here, as JSON lines.",
)
@work_option
@resource_options
@click.option(
    "--json", "as_json", is_flag=True, help="Print the ranges as JSON lines in place of the sums."
)
def duplicates(
    index: tuple[Path, ...],
    out: Path | None,
    documents: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Find what repeats word for word in an index.

    A range is reported where every token stands in an n-gram of --min-length that occurs at least
    twice in the documents. (A range that is longer may occur once as a whole.) Its count is that of
    the n-gram with which it begins, and ranges with the same one are one group. All occurrences are
    reported, as by deduplicate-text-datasets, unless --keep-first is given.
    """
    for name, path in (("--out", out), ("--documents", documents)):
        if path is not None:
            check_place(name, path, (".jsonl",), ".jsonl")
    check_apart({"--out": out, "--documents": documents})
    gc.enable()
    with signals_exit(), build_progress() as progress:
        given = index[0] if len(index) == 1 else list(index)
        found = everygram.duplicates(given, progress=progress, **options)
    for path, table in ((out, found), (documents, found.copies)):
        if path is not None:
            with whole(path) as file:
                file.writelines(line.encode() for line in _lines(table))
    if as_json and out is None:
        sys.stdout.writelines(_lines(found))
    else:
        most = [] if as_json else _most(found, index)
        print_answer(found.as_dict(), partial(_show, by=options["by"], most=most), as_json)


def _most(found: "Duplicates", paths: tuple[Path, ...]) -> list[tuple[int, str]]:
    """The groups that occur most often: how often, and the text of the first range of each."""
    import numpy as np

    if found.places is None:
        return []
    order = np.argsort(-found.counts, kind="stable")
    _, first = np.unique(found.groups[order], return_index=True)
    chosen = order[np.sort(first)][:MOST].tolist()
    whose = [0] * len(chosen) if found.indexes is None else found.indexes[chosen].tolist()
    most = []
    for row, number in zip(chosen, whose, strict=True):
        with everygram.open(paths[number]) as index:
            text = index.document(int(found.documents[row])).text or ""
        start, end = found.places[row, :2].tolist()
        most.append((int(found.counts[row]), text[start : min(end, start + TEXT)]))
    return most


def _lines(table: "Duplicates | Copies") -> Any:
    return (json.dumps(row) + "\n" for row in table.rows())


def _share(part: int, of: int) -> str:
    return f"{part:,} of {of:,} ({part / max(1, of):.1%})"


def _show(answer: dict[str, Any], by: str | None, most: list[tuple[int, str]]) -> str:
    """What repeats, in sum. by: the field of the metadata; most: as of `_most`."""
    rows = [
        ("ranges", f"{answer['ranges']:,}, which begin with {answer['groups']:,} n-grams"),
        ("tokens", _share(answer["repeated_tokens"], answer["num_tokens"])),
        ("documents", _share(answer["repeated_documents"], answer["num_documents"])),
        (
            "identical",
            f"{counted(answer['identical_documents'], 'document')} in "
            f"{counted(answer['identical_groups'], 'group')}",
        ),
    ]
    lines = [f"{name:<10}{value}" for name, value in rows]
    if answer["by_length"]:
        lines.append(f"{'length':<22}{'ranges':>12}{'tokens':>14}")
        for name, sums in answer["by_length"].items():
            lines.append(f"{name:<22}{sums['ranges']:>12,}{sums['tokens']:>14,}")
    if answer["by"]:
        lines.append(f"{'ranges':>34}{'tokens':>14}{'of':>14}  {by}")
        values = sorted(answer["by"].items(), key=lambda item: -item[1]["repeated_tokens"])
        for name, sums in values[:20]:
            numbers = f"{sums['ranges']:>34,}{sums['repeated_tokens']:>14,}{sums['tokens']:>14,}"
            lines.append(f"{numbers}  {printable(name)}")
        if len(values) > 20:
            lines.append(f"and {len(values) - 20:,} more values")
    if most:
        lines.append(f"{'count':>34}  ranges whose first n-gram occurs most often")
        lines += [f"{count:>34,}  {text!r}" for count, text in most]
    return "\n".join(lines)


@click.command(
    epilog=examples(
        "everygram deduplicate my-index --out corpus.jsonl.zst",
        "everygram deduplicate my-index --out corpus.jsonl --keep-first --min-left 20",
        "everygram deduplicate my-index --out corpus.jsonl.gz --work-dir /large/disk/work",
        "everygram deduplicate wiki books --keep-first --out both.jsonl.zst",
        "everygram deduplicate my-index --format infini-gram --out v4_deduplicated",
    )
)
@indexes_argument
@format_option
@click.option(
    "--out",
    type=PATH,
    required=True,
    help="A new file: .jsonl, or that with .gz, .zst, .xz or .bz2; with --format infini-gram, a "
    "new folder.",
)
@repeat_options
@click.option(
    "--min-left",
    type=click.IntRange(0),
    metavar="N",
    default=1,
    help="Leave out documents that lost something and have fewer tokens left.",
)
@content_option
@work_option
@resource_options
@json_option
def deduplicate(
    index: tuple[Path, ...], file_format: str, out: Path, as_json: bool, **options: Any
) -> None:
    """Write the documents of an index without what repeats.

    As 'everygram export' does, with their metadata, but without the ranges that 'everygram
    duplicates' reports with the same options. What is left is encoded and looked through again
    until nothing repeats: an index of the file, with the same tokenizer, has no such ranges.
    Without --keep-first every copy is struck.
    """
    gc.enable()
    with signals_exit(), build_progress() as progress:
        given = index[0] if len(index) == 1 else list(index)
        done = everygram.deduplicate(given, out, format=file_format, progress=progress, **options)
    print_answer(done.as_dict(), _show_done, as_json)


def _show_done(answer: dict[str, Any]) -> str:
    """What was written, and what struck."""
    passes = "1 pass" if answer["passes"] == 1 else f"{answer['passes']} passes"
    rows = [
        ("struck", f"{counted(answer['struck_ranges'], 'range')}, in {passes}"),
        ("tokens", f"{answer['num_tokens']:,} left of {answer['tokens']:,}"),
        (
            "documents",
            f"{answer['num_documents']:,} left of {answer['documents']:,}, "
            f"{answer['changed_documents']:,} of them shorter",
        ),
        ("written", answer["path"]),
    ]
    return "\n".join(f"{name:<10}{value}" for name, value in rows)
