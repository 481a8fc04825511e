"""The command that shows what an index holds: stats."""

import json
from pathlib import Path
from typing import Any

import click

import everygram
from everygram.cli.frequency import reporting
from everygram.cli.options import examples, index_argument, json_option
from everygram.cli.show import counted
from everygram.cli.show_indexing import build_progress

# Groups that are shown in words.
SHOWN = 30


@click.command(
    epilog=examples(
        "everygram stats my-index",
        "everygram stats my-index --by source",
        "everygram stats my-index --by meta.lang --json",
    )
)
@index_argument
@click.option(
    "--by",
    metavar="FIELD",
    help="Also count documents and tokens by the values of this field of the metadata (a.b: field "
    "b inside a).",
)
@json_option
def stats(index: Path, by: str | None, as_json: bool) -> None:
    """Show what an index holds: documents, lengths, vocabulary, copies.

    Deleted documents are not counted, and separators are no tokens.
    """
    with build_progress() as progress:
        answer = everygram.stats(index, by=by, progress=reporting(progress, "copies")).as_dict()
    click.echo(json.dumps(answer, ensure_ascii=False) if as_json else show(answer))


def show(answer: dict[str, Any]) -> str:
    """What an index holds, in words."""
    lengths, vocabulary = answer["lengths"], answer["vocabulary"]
    lines = [
        f"documents   {answer['num_documents']:,}",
        f"tokens      {answer['num_tokens']:,}",
        f"segments    {answer['num_segments']:,}",
        f"empty       {counted(answer['empty'], 'document')}",
        f"identical   {_identical(answer['identical'])}",
        f"vocabulary  {vocabulary['types']:,} of {vocabulary['size']:,} ids occur, "
        f"{vocabulary['once']:,} of them once",
    ]
    if vocabulary["zipf_slope"] is not None:
        lines.append(f"Zipf slope  {vocabulary['zipf_slope']:.3f}")
    parts = answer["byte_tokens"]
    if parts is not None:
        share = "" if parts["share"] is None else f", {parts['share']:.4%}"
        lines.append(
            f"bytes       {counted(parts['tokens'], 'token')} that are no whole characters{share}; "
            f"{parts['single']:,} of them single bytes"
        )
    if lengths["mean"] is not None:
        lines.append(f"length      {lengths['mean']:,.1f} tokens a document")
        lines.append(f"{'percentile':>14}{'tokens':>12}")
        lines += [
            f"{percent:>14}{length:>12,}" for percent, length in lengths["percentiles"].items()
        ]
        lines.append(f"{'tokens':>22}{'documents':>12}{'tokens in all':>16}")
        least = min(place for place, each in enumerate(lengths["bins"]) if each["documents"])
        for each in lengths["bins"][least:]:
            low, high = each["low"], each["high"] - 1
            label = f"{low:,}" if low == high else f"{low:,} to {high:,}"
            lines.append(f"{label:>22}{each['documents']:>12,}{each['tokens']:>16,}")
    if answer["field"] is not None:
        lines.append(f"{'documents':>14}{'tokens':>14}  {answer['field']}")
        for group in answer["groups"][:SHOWN]:
            name = "(no such field)" if group["value"] is None else group["value"]
            lines.append(f"{group['documents']:>14,}{group['tokens']:>14,}  {name}")
        if len(answer["groups"]) > SHOWN:
            lines.append(f"{'…':>14}  {counted(len(answer['groups']) - SHOWN, 'more value')}")
    return "\n".join(lines)


def _identical(same: dict[str, Any]) -> str:
    if not same["groups"]:
        return "no documents"
    return (
        f"{counted(same['documents'], 'document')} in {counted(same['groups'], 'group')}: "
        f"{same['copies']:,} more than one of each, of {counted(same['tokens'], 'token')}"
    )
