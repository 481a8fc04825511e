"""The command that traces texts to their sources: attribute."""

import gc
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from everygram.cli import compiling
from everygram.cli.answering import opened, print_answer
from everygram.cli.options import (
    PATH,
    OrNone,
    answer_options,
    asked_index,
    completes,
    examples,
    parse_numbers,
    together,
)
from everygram.cli.reading import STDIN, Many, read, without_build
from everygram.cli.show import counted
from everygram.cli.show_attribution import show_attribution, show_found
from everygram.cli.writing import check_place, write_whole
from everygram.errors import CorpusError, EverygramError

if TYPE_CHECKING:
    from everygram.encoding import Query
    from everygram.index import Index

# How names of pages end.
PAGES = (".html", ".htm")

attribute_arguments = together(
    asked_index,
    click.argument(
        "file",
        required=False,
        shell_complete=completes("file"),
        help="A file with one text, or with records, one text in each (by its name: .jsonl, .csv, "
        ".parquet, …; or with --text-field); - for standard input. Records are answered as JSON "
        "lines.",
    ),
    click.option(
        "--ids",
        metavar="1,2,3|FILE|-",
        help="Token ids in place of a text, those in a file, or on standard input (-).",
    ),
    click.option(
        "--text-field",
        metavar="A.B",
        help="Field of each record that is the text (default: text; a.b: field b inside a). A file "
        "without the name of one of records, and standard input, then has JSON lines.",
    ),
    click.option(
        "--prompt-field", metavar="A.B", help="Field of each record that is the text's prompt."
    ),
    click.option(
        "--prompt",
        metavar="TEXT",
        help="What the text answers; documents are then ranked by their relevance to both.",
    ),
)
attribute_options = together(
    click.option(
        "--min-length",
        type=click.IntRange(1),
        metavar="N",
        default=1,
        help="Leave out spans of fewer than N tokens.",
    ),
    click.option(
        "--max-count",
        type=OrNone(click.IntRange(1), "1 or more"),
        metavar="N|none",
        default=1_000_000,
        help="Leave out spans that occur more than N times in the corpus.",
    ),
    click.option(
        "--density",
        type=OrNone(click.FloatRange(0), "0 or more"),
        metavar="X|none",
        default=0.05,
        help="Keep at most X spans per token of the text, or all.",
    ),
    click.option(
        "--rank-by",
        type=click.Choice(["unigram_log_prob", "length"]),
        default="unigram_log_prob",
        help="Keep the spans of the rarest tokens, or the longest.",
    ),
    click.option(
        "--delimiter",
        "delimiters",
        multiple=True,
        metavar="TEXT",
        help="No span goes on after a token that ends with TEXT (\\n: a line end); may be repeated "
        "(default: line ends and what ends sentences; '' alone: none).",
    ),
    click.option(
        "--whole-words/--partial-words",
        default=True,
        help="Spans have whole words only, or begin and end anywhere.",
    ),
    click.option(
        "--documents",
        type=click.IntRange(0),
        metavar="N",
        default=10,
        help="Give N documents of each span, drawn at random if it has more.",
    ),
    click.option(
        "--context",
        type=click.IntRange(0),
        nargs=3,
        metavar="N N N",
        default=(250, 100, 40),
        help="Give what is around a match in three lengths: tokens on each side. The first decides "
        "on the relevance.",
    ),
    click.option(
        "--seed", type=int, metavar="N", default=0, help="Seed of what is drawn at random."
    ),
)


@click.command(
    epilog=examples(
        "everygram attribute my-index answer.txt",
        "everygram attribute my-index answer.txt --prompt 'What is language?' --html report.html",
        'echo "a text of any length" | everygram attribute my-index -',
        "everygram attribute my-index chats.jsonl --prompt-field prompt --text-field response",
    )
)
@attribute_arguments
@attribute_options
@click.option(
    "--html",
    type=PATH,
    metavar="PAGE",
    help="Write a report, a page that needs no other file, and print only how much was found.",
)
@answer_options
def attribute(
    index: Path,
    file: str | None,
    ids: str | None,
    text_field: str | None,
    prompt_field: str | None,
    prompt: str | None,
    delimiters: tuple[str, ...],
    html: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Trace a text to the documents that its words come from.

    Finds the longest parts of the text that the corpus has verbatim (spans), keeps the rarest, and
    gives for each its exact counts and some of its documents, which are ranked by how relevant they
    are to the text.
    """
    if file is not None and ids is not None:
        raise click.UsageError("expected a file or --ids, found both; give one of the two")
    if file is None and ids is None and sys.stdin.isatty():
        raise click.UsageError(
            "expected a file, found none; name one, or pipe a text in: "
            'echo "a text" | everygram attribute INDEX'
        )
    if ids is not None and not (text_field is prompt_field is None):
        raise click.UsageError("--text-field and --prompt-field go with a file, not with --ids")
    if html is not None:
        check_place("--html", html, PAGES, ".html")
    if delimiters:
        # (Shells leave a \n in quotes as it is.)
        texts = [each.replace("\\n", "\n").replace("\\t", "\t") for each in delimiters]
        options["delimiters"] = [] if texts == [""] else texts
    gc.enable()
    code = 0
    # (The index first: it may be the file's name that stands in its place.)
    with opened(index) as asked:
        try:
            text: str | list[int] | Many
            if ids is not None:
                text = parse_numbers(ids, "--ids")
            else:
                text = read(STDIN if file is None else file, text_field, prompt_field)
            if isinstance(text, str | list):
                _attribute_one(asked, text, prompt, options, html, as_json)
            else:
                _check_records(prompt, html)
                code = _attribute_many(asked, text, options)
        except CorpusError as error:
            raise CorpusError(without_build(str(error))) from None
    if code:
        sys.exit(code)


def _check_records(prompt: str | None, html: Path | None) -> None:
    """Raise UsageError for options that go with one text."""
    if prompt is not None:
        raise click.UsageError("--prompt goes with one text; name a field with --prompt-field")
    if html is not None:
        raise click.UsageError(
            "--html goes with one text, and this file has records: write one of them to a file of "
            "its own, or a page for each from Python, Index.attribute(text).to_html()"
        )


def _attribute_one(
    index: "Index",
    query: "Query",
    prompt: str | None,
    options: dict[str, Any],
    html: Path | None,
    as_json: bool,
) -> None:
    with compiling.announced():
        found = index.attribute(query, prompt=prompt, **options)
    answer = found.as_dict()
    if html is None:
        print_answer(answer, show_attribution, as_json)
        return
    write_whole(html, found.to_html().encode())
    print_answer(answer, lambda said: f"{show_found(said)}\nreport    {html}", as_json)


def _attribute_many(index: "Index", records: Many, options: dict[str, Any]) -> int:
    """Print the answer to each record, or its error with its place; returns the exit code."""
    number = failed = 0
    for place, make in records:
        number += 1
        try:
            text, prompt = make()
            with compiling.announced():
                answer = index.attribute(text, prompt=prompt, **options).as_dict()
        except EverygramError as error:
            said = without_build(str(error))
            answer = {"error": said if said.startswith(f"{place}:") else f"{place}: {said}"}
            failed += 1
        click.echo(json.dumps(answer, ensure_ascii=False))
    if failed:
        click.echo(f"{failed:,} of {counted(number, 'record')} failed: see the errors", err=True)
    return int(failed > 0)
