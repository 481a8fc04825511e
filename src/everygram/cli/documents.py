"""The commands that ask for places and documents: find, document."""

from pathlib import Path
from typing import Any, cast

import click

from everygram.cli import compiling
from everygram.cli.answering import answer, interpret, opened, print_answer
from everygram.cli.options import (
    OrAll,
    answer_options,
    check_text_options,
    examples,
    given,
    query_arguments,
    text_options,
)
from everygram.cli.show_documents import show_document, show_matches

# Up to this occurrence, finding it takes so few steps that kernels may be interpreted.
FEW_OCCURRENCES = 1_000


@click.command(
    epilog=examples(
        'everygram find my-index "natural language" --limit 3',
        'everygram find my-index "natural language" --limit all --json',
        'everygram find my-index "natural language" --sample 100 --seed 7 --json',
        'everygram find my-index --text "lang" --whole-words --context 8',
    )
)
@query_arguments
@text_options
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
@click.option(
    "--context",
    type=click.IntRange(0),
    metavar="N",
    help="Show each occurrence in its text, N tokens on each side, matches below one another.",
)
@answer_options
def find(
    as_text: bool,
    ignore_case: bool,
    whole_words: bool,
    offset: int,
    limit: int | None,
    sample: int | None,
    seed: int,
    context: int | None,
    raw: bool,
    **asked: Any,
) -> None:
    """List where an n-gram, or a text, occurs.

    An occurrence has a document and its offset there, in tokens; and the index's segment, its rank
    in the suffix array, and its position, in tokens. Occurrences are listed by segment and rank.
    With --text it has the characters and the tokens of the document at which it starts and ends
    (and with --json the bytes), and occurrences are listed by document.
    """
    rules = {"ignore_case": ignore_case, "whole_words": whole_words}
    check_text_options(as_text, **rules, ids=asked["ids"], raw=raw)
    if sample is None and given("seed"):
        raise click.UsageError("--seed goes with --sample: it is the seed of the random sample")
    if sample is not None and (given("limit") or given("offset")):
        raise click.UsageError("expected --sample, or --limit and --offset, not both")
    choice: dict[str, Any] = {"offset": offset, "limit": limit, "sample": sample, "seed": seed}
    if as_text:
        answer(
            **asked,
            show=show_matches,
            ask=lambda index, text: index.find_text(
                cast(str, text), **choice, **rules, context=context
            ),
        )
        return
    answer(
        **asked,
        show=show_matches,
        ask=lambda index, query: index.find(query, **choice, context=context, raw=raw),
        few_steps=sample is None and limit is not None and offset + limit <= FEW_OCCURRENCES,
        reads_text=True,
    )


@click.command(
    epilog=examples(
        "everygram document my-index --number 17",
        'everygram document my-index "natural language" --occurrence 2 --context 30',
        'everygram document my-index --text "langu" --occurrence 2',
    )
)
@query_arguments
@text_options
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
    help="Number of the query's occurrence, in the order of find, counted from 0.",
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
    as_text: bool,
    ignore_case: bool,
    whole_words: bool,
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
    rules: dict[str, Any] = {"ignore_case": ignore_case, "whole_words": whole_words}
    check_text_options(as_text, **rules, ids=ids, raw=raw)
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
            lambda opened_index, query: (
                opened_index.document(
                    text=cast(str, query), occurrence=occurrence, context=context, **rules
                )
                if as_text
                else opened_index.document(
                    query=query, occurrence=occurrence, context=context, raw=raw
                )
            ),
            few_steps=occurrence <= FEW_OCCURRENCES and not as_text,
            reads_text=True,
        )
        return
    if query is not None or ids is not None or text_field is not None or as_text:
        raise click.UsageError("expected a query or --number, not both")
    interpret(index, reads_text=True)
    with opened(index) as asked:
        with compiling.announced():
            found = asked.document(number, occurrence=occurrence, context=context).as_dict()
        print_answer(found, show_document, as_json)
