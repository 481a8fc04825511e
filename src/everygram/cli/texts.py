"""The commands that ask about each token of a text: score, longest-matches."""

from typing import Any

import click

from everygram.cli.answering import answer
from everygram.cli.options import answer_options, examples, text_arguments
from everygram.cli.show import show_longest_matches, show_scores


@click.command(
    epilog=examples(
        'everygram score my-index "a text of any length"',
        'everygram score my-index "a text of any length" --order 5 --json',
        "everygram score my-index - < texts.txt > scores.jsonl",
    )
)
@text_arguments
@click.option(
    "--order",
    type=click.IntRange(1),
    metavar="N",
    help="Use the N-gram model (default: the ∞-gram model).",
)
@answer_options
def score(text: str | None, order: int | None, raw: bool, **asked: Any) -> None:
    """Compute the probability of every token of a text.

    Each after the tokens before it. A row is marked sparse if only one token ever follows them.
    """
    answer(
        **asked,
        query=text,
        show=show_scores,
        ask=lambda index, query: index.score(query, order=order, raw=raw),
    )


@click.command(
    epilog=examples(
        'everygram longest-matches my-index "a text that may be in the corpus"',
        "everygram longest-matches my-index - < test-set.txt > matches.jsonl",
    )
)
@text_arguments
@answer_options
def longest_matches(text: str | None, raw: bool, **asked: Any) -> None:
    """Find the longest match in the corpus at every token of a text.

    A match starts at the token. Its length is in tokens; its count says how often it occurs.
    """
    answer(
        **asked,
        query=text,
        show=show_longest_matches,
        ask=lambda index, query: index.longest_matches(query, raw=raw),
    )
