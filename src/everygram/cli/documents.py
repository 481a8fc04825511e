"""The commands that ask for places and documents: find, document."""

from pathlib import Path
from typing import Any

import click

from everygram.cli import compiling
from everygram.cli.answering import answer, interpret, opened, print_answer
from everygram.cli.options import OrAll, answer_options, examples, given, query_arguments
from everygram.cli.show import show_document, show_matches

# Up to this occurrence, finding it takes so few steps that kernels may be interpreted.
FEW_OCCURRENCES = 1_000


@click.command(
    epilog=examples(
        'everygram find my-index "natural language" --limit 3',
        'everygram find my-index "natural language" --limit all --json',
        'everygram find my-index "natural language" --sample 100 --seed 7 --json',
    )
)
@query_arguments
@click.option(
    "--offset", type=click.IntRange(0), metavar="N", default=0, help="Skip the first N occurrences."
)
@click.option(
    "--limit",
    type=OrAll(),
    metavar="N|all",
    default=10,
    help="List at most N occurrences, or all.",
)
@click.option(
    "--sample",
    type=click.IntRange(0),
    metavar="N",
    help="List N occurrences drawn at random, none twice, in place of --offset and --limit.",
)
@click.option("--seed", type=int, metavar="N", default=0, help="Seed of the random sample.")
@answer_options
def find(
    offset: int, limit: int | None, sample: int | None, seed: int, raw: bool, **asked: Any
) -> None:
    """List where an n-gram occurs.

    An occurrence has a document and its offset there, in tokens; and the index's segment, its rank
    in the suffix array, and its position, in tokens. Occurrences are listed by segment and rank.
    """
    if sample is None and given("seed"):
        raise click.UsageError("--seed goes with --sample: it is the seed of the random sample")
    if sample is not None and (given("limit") or given("offset")):
        raise click.UsageError("expected --sample, or --limit and --offset, not both")
    answer(
        **asked,
        show=show_matches,
        ask=lambda index, query: index.find(
            query, offset=offset, limit=limit, sample=sample, seed=seed, raw=raw
        ),
        few_steps=sample is None and limit is not None and offset + limit <= FEW_OCCURRENCES,
    )


@click.command(
    epilog=examples(
        "everygram document my-index --number 17",
        'everygram document my-index "natural language" --occurrence 2 --context 30',
    )
)
@query_arguments
@click.option(
    "--number",
    type=click.IntRange(0),
    metavar="N",
    help="Number of the document, in place of a query.",
)
@click.option(
    "--occurrence",
    type=click.IntRange(0),
    metavar="N",
    default=0,
    help="Number of the query's occurrence, in the order of find.",
)
@click.option(
    "--context",
    type=click.IntRange(0),
    metavar="N",
    help="Tokens on each side of the match (default: 50); with --number, tokens from the start "
    "(default: all).",
)
@answer_options
def document(
    index: Path,
    query: str | None,
    ids: str | None,
    text_field: str | None,
    number: int | None,
    occurrence: int,
    context: int | None,
    raw: bool,
    as_json: bool,
) -> None:
    """Show a document, or the part around an occurrence.

    The document has a number, or contains an occurrence of a query; the match stands between
    » and «.
    """
    if number is None and query is None and ids is None:
        raise click.UsageError("expected a query, --ids or --number, found none")
    if number is None:
        answer(
            index,
            query,
            ids,
            text_field,
            as_json,
            show_document,
            lambda opened_index, query: opened_index.document(
                query=query, occurrence=occurrence, context=context, raw=raw
            ),
            few_steps=occurrence <= FEW_OCCURRENCES,
        )
        return
    if query is not None or ids is not None or text_field is not None:
        raise click.UsageError("expected a query or --number, not both")
    interpret()
    with opened(index) as asked:
        with compiling.announced():
            found = asked.document(number, occurrence=occurrence, context=context).as_dict()
        print_answer(found, show_document, as_json)
