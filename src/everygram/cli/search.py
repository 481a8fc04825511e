"""The command that asks which documents an expression matches: search."""

from typing import Any, cast

import click

from everygram.cli.answering import answer
from everygram.cli.options import (
    OrAll,
    asked_index,
    batch_option,
    examples,
    given,
    json_option,
    together,
)
from everygram.cli.show_documents import show_hits


class Within(click.ParamType[Any]):
    """`document`, or the most tokens of a window."""

    name = "tokens or document"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number of tokens, or `document`."""
        if value == "document" or isinstance(value, int):
            return value
        try:
            return click.IntRange(1).convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"expected 1 or more tokens, or document, found {value!r}", param, ctx)


search_arguments = together(
    asked_index,
    click.argument(
        "expression",
        required=False,
        help="What to search for, or - to read one expression per line from standard input and "
        "print JSON lines.",
    ),
    batch_option,
)


@click.command(
    epilog=examples(
        "everygram search my-index 'language AND (model OR grammar)'",
        "everygram search my-index '\"natural language\" NEAR/10 python' --order bm25",
        "everygram search my-index 'model AND NOT text:\"GPT-\"' --where source=wikipedia --json",
        "everygram search my-index 'language AND model' --within 20 --limit 3",
    )
)
@search_arguments
@click.option(
    "--within",
    type=Within(),
    metavar="K|document",
    default="document",
    help="Search for windows of at most K tokens in which the terms stand together, or for "
    "documents.",
)
@click.option(
    "--where",
    metavar="FIELD=VALUE",
    help="Only documents with this value in their metadata (a.b: field b inside a).",
)
@click.option(
    "--limit",
    type=OrAll(),
    metavar="N|all",
    default=10,
    help="List at most N documents, or all.",
)
@click.option("--cursor", metavar="CURSOR", help="List what follows an earlier answer's cursor.")
@click.option(
    "--sample",
    type=click.IntRange(0),
    metavar="N",
    help="List N matching documents drawn at random, none twice, in place of --limit.",
)
@click.option("--seed", type=int, metavar="N", default=0, help="Seed of what is drawn at random.")
@click.option(
    "--order",
    type=click.Choice(["document", "matches", "bm25"]),
    default="document",
    help="List documents by number, by their number of matches, or by relevance (BM25).",
)
@click.option(
    "--context",
    type=click.IntRange(0),
    metavar="N",
    default=16,
    help="Tokens on each side of a match to show.",
)
@click.option(
    "--max-clause-freq",
    type=click.IntRange(1),
    metavar="N",
    help="If the rarest clause may occur more than N times, evaluate a sample of the documents and "
    "give a bound on the error (default: all, exact).",
)
@click.option(
    "--k1",
    type=click.FloatRange(0),
    metavar="X",
    default=1.2,
    help="How much more a word counts that occurs often (k1 of BM25).",
)
@click.option(
    "--b",
    type=click.FloatRange(0, 1),
    metavar="X",
    default=0.75,
    help="How much less a word counts in a long document (b of BM25).",
)
@json_option
def search(
    expression: str | None,
    limit: int | None,
    sample: int | None,
    where: str | None,
    **options: Any,
) -> None:
    """Search for documents by words, phrases, AND, OR, NOT and NEAR.

    EXPRESSION: words and "phrases" (whole words, in any case), text:"…" (as written, inside words,
    too), tokens:"…" (the tokens the text becomes), ids:1,2,3, and field:value of the metadata,
    joined by AND, OR, NOT, NEAR/K (at most K tokens between), BEFORE/K, and parentheses.

    All numbers are exact, whatever the order of the clauses.
    """
    asked = {name: options.pop(name) for name in ("index", "text_field", "as_json")}
    if expression is None:
        raise click.UsageError("expected an expression, found none")
    if sample is not None and given("limit"):
        raise click.UsageError("expected --sample or --limit, not both")
    if options["cursor"] is not None and expression == "-":
        raise click.UsageError("--cursor goes with one expression, not with -")
    field_and_value = None
    if where is not None:
        field, equals, value = where.partition("=")
        if not equals:
            raise click.UsageError(f"--where: expected FIELD=VALUE, found {where!r}")
        field_and_value = field, value
    answer(
        **asked,
        query=expression,
        ids=None,
        show=show_hits,
        ask=lambda index, query: index.search(
            cast(str, query), limit=limit, sample=sample, where=field_and_value, **options
        ),
    )
