"""What the commands of `cli` take: arguments, and options that several of them share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def together(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Several arguments and options as one decorator, in the order `--help` shows them in."""

    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def examples(*lines: str) -> str:
    """What `--help` ends with. (The first character keeps lines as they are.)"""
    return "\n  ".join(["\b\nExamples:", *lines])


index_argument = click.argument(
    "index", type=click.Path(path_type=Path), help="The index's folder."
)
ids_option = click.option(
    "--ids", metavar="1,2,3", help="Token ids in place of text; - for one list a line."
)
query_arguments = together(
    index_argument,
    click.argument(
        "query",
        required=False,
        help="Text, or - for one query a line on standard input, JSON lines out.",
    ),
    ids_option,
)
text_arguments = together(
    index_argument,
    click.argument(
        "text",
        required=False,
        help="Text, or - for one text a line on standard input, JSON lines out.",
    ),
    ids_option,
)
raw_option = click.option(
    "--raw", is_flag=True, help="Encode the text as it is, without the query prefix."
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Answer in JSON, one line a query."
)
answer_options = together(raw_option, json_option)
continuation_options = together(
    click.option(
        "--continuation", help="The token whose probability is asked; without it, QUERY's last."
    ),
    click.option("--continuation-id", type=int, metavar="N", help="The same as a token id."),
)
distribution_options = together(
    click.option(
        "--top",
        type=click.IntRange(0),
        metavar="N",
        default=10,
        help="Show this many of the tokens that follow.",
    ),
    click.option("--all", "every", is_flag=True, help="Show every token that follows."),
    click.option(
        "--max-support",
        type=click.IntRange(1),
        metavar="N",
        help="Look at about N occurrences, if there are more, and say how far counts may be off.",
    ),
)
corpus_argument = click.argument(
    "corpus",
    nargs=-1,
    required=True,
    help="Files, patterns, directories, addresses (s3://…, https://…), datasets:NAME. Text: "
    ".jsonl, .csv, .tsv, .parquet, .arrow, .txt, .md (.gz, .zst). Token ids: .idx/.bin, .ds, "
    ".npy, .bin.",
)
corpus_options = together(
    click.option(
        "--text-field",
        metavar="A.B",
        default="text",
        help="The field or column that is the text (a.b: inside a).",
    ),
    click.option("--id-field", metavar="A.B", help="The field that becomes the metadata's 'id'."),
    click.option(
        "--metadata-fields",
        metavar="A,B.C",
        help="The fields to keep as metadata; all unless given.",
    ),
    click.option(
        "--on-error",
        type=click.Choice(["raise", "skip"]),
        default="raise",
        help="What to do about a document that cannot be read: stop, or leave out.",
    ),
    click.option(
        "--pretokenized",
        type=click.Choice(["u8", "u16", "u32"]),
        help="The corpus is token ids of this width, in files that do not say so.",
    ),
    click.option(
        "--separator-id",
        type=int,
        metavar="N",
        help="With token ids: the id that marks documents (GPT-2: 50256).",
    ),
)
resource_options = together(
    click.option(
        "--memory", metavar="4GiB", help="To hold at most; half of what is free unless given."
    ),
    click.option(
        "--threads",
        type=click.IntRange(1),
        metavar="N",
        help="To use at most; one a processor unless given.",
    ),
)
restart_option = click.option(
    "--restart", is_flag=True, help="Throw away what was finished before an interruption."
)
