"""The commands that ask about an n-gram or a prompt: count, prob, ntd and their ∞-gram forms."""

from typing import TYPE_CHECKING, Any

import click

from everygram.cli.answering import answer
from everygram.cli.options import (
    answer_options,
    check_text_options,
    continuation_options,
    distribution_options,
    examples,
    given,
    query_arguments,
    text_options,
)
from everygram.cli.show import show_count, show_distribution, show_prob
from everygram.cli.show_documents import show_text_count

if TYPE_CHECKING:
    from everygram.encoding import Query
    from everygram.index import Index
    from everygram.results.ngrams import Distribution

# Distributions that are held at once: one can be as long as the vocabulary.
DISTRIBUTIONS = 64


@click.command(
    epilog=examples(
        'everygram count my-index "natural language processing"',
        "everygram count my-index --ids 11802,3303,7587 --json",
        'everygram count my-index "natural language" --documents',
        'everygram count my-index --text "natural lang" --tokenizations 5',
        "everygram count my-index - < queries.txt > answers.jsonl",
    )
)
@query_arguments
@click.option(
    "--documents", is_flag=True, help="Also count the documents that contain it (--text does)."
)
@text_options
@click.option(
    "--tokenizations",
    type=click.IntRange(1),
    metavar="N",
    help="With --text: list the N most frequent sequences of tokens that the text is written in, "
    "and at which byte of its first token the text begins.",
)
@answer_options
def count(
    documents: bool,
    as_text: bool,
    ignore_case: bool,
    whole_words: bool,
    tokenizations: int | None,
    raw: bool,
    **asked: Any,
) -> None:
    """Count the occurrences of an n-gram, or of a text.

    The n-gram may be of any length. An empty one counts every token and every document's end.
    With --text the documents that contain the text are counted, too.
    """
    check_text_options(
        as_text,
        ignore_case=ignore_case,
        whole_words=whole_words,
        tokenizations=tokenizations,
        ids=asked["ids"],
        raw=raw,
    )
    if as_text:
        rules = {"ignore_case": ignore_case, "whole_words": whole_words}
        answer(
            **asked,
            show=show_text_count,
            ask=lambda index, text: _text_count(index, text, rules, tokenizations),
            as_dict=dict,
        )
        return
    if documents:
        answer(
            **asked,
            show=show_count,
            ask=lambda index, query: index.document_count(query, raw=raw),
            ask_all=lambda index, queries: index.document_count_batch(queries, raw=raw),
            few_steps=True,
        )
        return
    answer(
        **asked,
        show=show_count,
        ask=lambda index, query: index.count(query, raw=raw),
        ask_all=lambda index, queries: index.count_batch(queries, raw=raw),
        few_steps=True,
    )


@click.command(
    epilog=examples(
        'everygram prob my-index "natural language processing"',
        'everygram prob my-index "natural language" --continuation " processing" --json',
        "everygram prob my-index --ids 11802,3303 --continuation-id 7587",
    )
)
@query_arguments
@continuation_options
@answer_options
def prob(continuation: str | None, continuation_id: int | None, raw: bool, **asked: Any) -> None:
    """Compute the n-gram probability of a token after a prompt.

    Without --continuation the token is the last one of QUERY and the prompt is the rest. With it
    the prompt is all of QUERY.
    """
    token = _continuation(continuation, continuation_id)
    answer(
        **asked,
        show=show_prob,
        ask=lambda index, query: index.prob(query, token, raw=raw),
        ask_all=lambda index, queries: index.prob_batch(
            queries, None if token is None else [token] * len(queries), raw=raw
        ),
        few_steps=True,
    )


@click.command(
    epilog=examples(
        'everygram ntd my-index "natural language" --top 5',
        'everygram ntd my-index "the" --max-support 1000 --json',
    )
)
@query_arguments
@distribution_options
@answer_options
def ntd(top: int, every: bool, max_support: int | None, raw: bool, **asked: Any) -> None:
    """Compute the next-token distribution after a prompt.

    Counts are exact unless --max-support is given.
    """
    _check_top(every)
    answer(
        **asked,
        show=show_distribution,
        ask=lambda index, query: index.ntd(query, max_support=max_support, raw=raw),
        ask_all=lambda index, queries: index.ntd_batch(queries, max_support=max_support, raw=raw),
        as_dict=lambda result: _listed(result, top, every),
        group=DISTRIBUTIONS,
        few_steps=True,
        reads_text=True,
    )


@click.command(
    epilog=examples(
        'everygram infgram-prob my-index "a sentence of any length and its last word"',
        'everygram infgram-prob my-index "a prompt of any length" --continuation " and"',
    )
)
@query_arguments
@continuation_options
@answer_options
def infgram_prob(
    continuation: str | None, continuation_id: int | None, raw: bool, **asked: Any
) -> None:
    """Compute the ∞-gram probability of a token after a prompt.

    As prob, but after the longest suffix of the prompt that occurs in the corpus.
    """
    token = _continuation(continuation, continuation_id)
    answer(
        **asked,
        show=show_prob,
        ask=lambda index, query: index.infgram_prob(query, token, raw=raw),
        ask_all=lambda index, queries: index.infgram_prob_batch(
            queries, None if token is None else [token] * len(queries), raw=raw
        ),
        few_steps=True,
    )


@click.command(
    epilog=examples(
        'everygram infgram-ntd my-index "a prompt of any length"',
        "everygram infgram-ntd my-index - --top 3 < prompts.txt > answers.jsonl",
    )
)
@query_arguments
@distribution_options
@answer_options
def infgram_ntd(top: int, every: bool, max_support: int | None, raw: bool, **asked: Any) -> None:
    """Compute the ∞-gram next-token distribution after a prompt.

    As ntd, but after the longest suffix of the prompt that occurs in the corpus.
    """
    _check_top(every)
    answer(
        **asked,
        show=show_distribution,
        ask=lambda index, query: index.infgram_ntd(query, max_support=max_support, raw=raw),
        ask_all=lambda index, queries: index.infgram_ntd_batch(
            queries, max_support=max_support, raw=raw
        ),
        as_dict=lambda result: _listed(result, top, every),
        group=DISTRIBUTIONS,
        few_steps=True,
        reads_text=True,
    )


def _text_count(
    index: "Index", text: "Query", rules: dict[str, Any], tokenizations: int | None
) -> dict[str, Any]:
    assert isinstance(text, str)
    found = index.find_text(text, limit=0, **rules).as_dict()
    del found["occurrences"]
    if tokenizations is not None:
        found |= index.tokenizations(text, limit=tokenizations, **rules).as_dict()
    return found


def _continuation(text: str | None, token_id: int | None) -> str | int | None:
    if text is not None and token_id is not None:
        raise click.UsageError("expected --continuation or --continuation-id, not both")
    return text if token_id is None else token_id


def _check_top(every: bool) -> None:
    if every and given("top"):
        raise click.UsageError("expected --top or --all, not both")


def _listed(distribution: "Distribution", top: int, every: bool) -> dict[str, Any]:
    return distribution.as_dict(None if every else top)
