"""The commands that compare texts with an index: agreement, generated, interpolation."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from everygram.cli import compiling
from everygram.cli.analysis_common import (
    documents_of,
    max_tokens_option,
    order_option,
    output_options,
    read_in_file,
    reading_options,
    told,
)
from everygram.cli.answering import lines_of_stdin, opened
from everygram.cli.options import completes, corpus_argument, examples, index_argument
from everygram.cli.reading import STDIN, without_build
from everygram.cli.show_analysis import show_agreements, show_by_neural_prob
from everygram.errors import CorpusError, OptionError

if TYPE_CHECKING:
    from everygram.analysis.agreements import Asked
    from everygram.index import Index


@click.command(
    epilog=examples(
        "everygram analyse agreement my-index validation.jsonl",
        "everygram analyse agreement my-index validation/*.jsonl --by source --plot all.png",
        "everygram analyse agreement my-index ids.bin --pretokenized u16 --separator-id 0 --json",
    )
)
@index_argument
@corpus_argument
@click.option(
    "--by",
    metavar="FIELD",
    help="Also show each group of documents: those with the same value in this field of their "
    "metadata (a.b: field b inside a).",
)
@order_option
@max_tokens_option
@reading_options
@output_options
def agreement(
    index: Path,
    corpus: tuple[str, ...],
    by: str | None,
    order: int,
    max_tokens: int,
    csv: Path | None,
    plot: Path | None,
    as_json: bool,
    **reading: Any,
) -> None:
    """Show how often n-gram models agree with documents.

    A model agrees with a token if its probability, after the tokens before it in the document, is
    above 0.5. By effective n, which is 1 + the length of the prompt that the model uses: the
    longest suffix of these tokens that occurs in the index, for the n-gram model of --order at most
    n - 1 tokens of them. An estimate of the ∞-gram model is sparse if one token alone ever follows
    its prompt.
    """
    tell = told(csv, plot, as_json, show_agreements)
    with opened(index) as asked:
        from everygram.analysis.agreements import measured

        found = measured(asked, documents_of(asked, corpus, by, max_tokens, reading), order)
    tell(found, f"Agreement with {index.resolve().name}")


@click.command(
    epilog=examples(
        "everygram analyse generated my-index texts.jsonl",
        "everygram analyse generated my-index model.jsonl people.jsonl --skip 50 --plot all.svg",
        "everygram analyse generated my-index texts.jsonl --by model --json",
    )
)
@index_argument
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    shell_complete=completes("file"),
    help="Files of records (.jsonl, .csv, .parquet, …), or - for JSON lines on standard input. A "
    "record has a text as 'token_ids' or 'text', and may have a prompt before it as 'prompt_ids' "
    "or 'prompt'.",
)
@click.option(
    "--by",
    metavar="FIELD",
    default="decoding",
    help="Field that names a record's group (a.b: field b inside a).",
)
@click.option(
    "--skip",
    type=click.IntRange(0),
    metavar="N",
    default=0,
    help="Do not count the first N tokens of prompt and text together, nor any of a prompt.",
)
@order_option
@output_options
def generated(
    index: Path,
    files: tuple[str, ...],
    by: str,
    skip: int,
    order: int,
    csv: Path | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Show how often n-gram models agree with texts that models generated.

    As 'everygram analyse agreement', for each group of texts: as a rule those that were decoded in
    the same way. Prompts are context alone: their tokens are not counted. Texts of people, as a
    group of their own, show how far the others are from them.
    """
    tell = told(csv, plot, as_json, show_agreements)
    if files.count(STDIN) > 1:
        raise click.UsageError("expected - once, found it twice: standard input is read once")
    with opened(index) as asked, compiling.announced():
        from everygram.analysis.agreements import measured

        found = measured(asked, _generated(asked, files, by, skip), order)
    if not found.total.num_texts:
        raise CorpusError(f"{', '.join(files)}: expected texts, found none")
    tell(found, f"Agreement with {index.resolve().name}")


@click.command(
    epilog=examples(
        "everygram analyse interpolation my-index scored.jsonl",
        "everygram analyse interpolation my-index scored.npz --bins 10 --plot interpolation.png",
    )
)
@index_argument
@click.argument(
    "file",
    shell_complete=completes("file"),
    help="Log-probabilities that a neural model gives to tokens: JSON lines with 'token_ids' and "
    "'logprobs', or .npz.",
)
@click.option(
    "--bins",
    type=click.IntRange(1, 10_000),
    metavar="N",
    default=20,
    help="Bins of the neural probability, equally wide.",
)
@output_options
def interpolation(
    index: Path, file: str, bins: int, csv: Path | None, plot: Path | None, as_json: bool
) -> None:
    """Show where the ∞-gram model agrees with what a neural model finds likely or not.

    Tokens by the probability that the neural model gives them; how often the ∞-gram model agrees
    with them: with all, and with those whose estimate is sparse. What it agrees with and the neural
    model finds unlikely is what interpolating the two can gain.
    """
    tell = told(csv, plot, as_json, show_by_neural_prob)
    with opened(index) as asked, compiling.announced():
        from everygram import analysis

        found = analysis.neural_agreement(asked, analysis.read_log_probs(file), bins=bins)
    tell(found, f"Agreement with {index.resolve().name}")


def _generated(index: "Index", names: tuple[str, ...], by: str, skip: int) -> Iterator["Asked"]:
    """The texts of files of records; errors say where they are."""
    try:
        for name in names:
            for place, record in _records(name):
                yield read_in_file(index, place, record(), by, None, skip)
    except CorpusError as error:
        raise CorpusError(without_build(str(error))) from None


def _records(name: str) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """The records of files, each with its place."""
    from everygram.corpus.files import list_files
    from everygram.corpus.text import record_of_line, records_of

    if not name:
        raise OptionError("FILE: expected a path, found an empty one")
    if name == STDIN:
        for some in lines_of_stdin(1, skip_blank=True):
            for number, line in some:
                place = f"standard input:{number}"
                yield place, partial(record_of_line, line, place)
        return
    for file in list_files(name):
        yield from records_of(file, as_lines=True) or ()
