"""What the commands of `analyse` share: their options, the documents they read, what they write."""

import gc
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from everygram.analysis.figures import figure
from everygram.cli.options import (
    PATH,
    ids_files_options,
    json_option,
    split_option,
    text_field_option,
    together,
)
from everygram.cli.plot import check_figure, write_figure
from everygram.cli.reading import without_build
from everygram.cli.show_indexing import build_progress, passed_over
from everygram.cli.writing import check_place, write_whole
from everygram.errors import CorpusError, QueryError

if TYPE_CHECKING:
    from everygram.analysis.agreements import Asked
    from everygram.corpus.documents import Corpus
    from everygram.index import Index
    from everygram.results.analysis import Analysis

reading_options = together(text_field_option, split_option, ids_files_options)
order_option = click.option(
    "--order",
    type=click.IntRange(1),
    metavar="N",
    default=5,
    help="Order of the n-gram model beside the ∞-gram model.",
)
max_tokens_option = click.option(
    "--max-tokens",
    type=click.IntRange(1),
    metavar="N",
    default=1024,
    help="Look at the first N tokens of each document.",
)
output_options = together(
    click.option(
        "--csv", type=PATH, metavar="FILE.csv", help="Also write the numbers as a CSV table."
    ),
    click.option(
        "--plot", type=PATH, metavar="IMAGE", help="Also draw the figure, as .png or .svg."
    ),
    json_option,
)


def told(
    csv: Path | None, plot: Path | None, as_json: bool, show: Callable[[dict[str, Any]], str]
) -> Callable[["Analysis", str], None]:
    """What prints a result, and writes its files under a title.

    Raises OptionError for a place where no file can be, MissingExtraError without matplotlib:
    before any work is done.
    """
    gc.enable()
    if csv is not None:
        check_place("--csv", csv, (".csv",), ".csv")
    if plot is not None:
        check_figure(plot)

    def tell(found: "Analysis", title: str) -> None:
        answer = found.as_dict()
        click.echo(json.dumps(answer, ensure_ascii=False) if as_json else show(answer))
        if csv is not None:
            write_whole(csv, found.csv().encode())
        if plot is not None:
            write_figure(plot, figure(found, title))

    return tell


def read_in_file(index: "Index", place: str, document: Any, *options: Any) -> "Asked":
    """`read` of a document of a file, whose wrong ids are the file's fault: CorpusError."""
    from everygram.analysis.agreements import read

    try:
        return read(index, place, document, *options)
    except QueryError as error:
        raise CorpusError(str(error)) from None


def documents_of(
    index: "Index",
    names: tuple[str, ...],
    by: str | None,
    max_tokens: int,
    reading: dict[str, Any],
) -> Iterator["Asked"]:
    """The documents of a corpus, with progress on standard error.

    by: a field of their metadata that divides them into groups. Raises CorpusError.
    """
    from everygram.analysis.agreements import group_of
    from everygram.corpus.documents import TextDocument
    from everygram.corpus.source import CorpusOptions, NamedCorpus
    from everygram.progress import Clock

    try:
        named = NamedCorpus(names, CorpusOptions(**reading))
        corpus: Corpus[Any] = named.ids() if named.are_ids else named.text()
        for line in passed_over(corpus.passed_over):
            click.echo(f"not read: {line}", err=True)
        with build_progress() as progress:
            clock = Clock(progress)
            clock.enter("read")
            for number, document in enumerate(corpus, 1):
                place = corpus.place or f"document {number:,}"
                text = document.text if isinstance(document, TextDocument) else document.ids
                asked = read_in_file(index, place, text, None, max_tokens)
                if by is not None:
                    group = group_of(json.loads(document.metadata), by, place)
                    asked = asked._replace(group=group)
                yield asked
                clock.documents += 1
                clock.tokens += asked.ids.shape[0]
                clock.report(corpus.bytes_read, corpus.total_bytes)
    except CorpusError as error:
        raise CorpusError(without_build(str(error))) from None
    if not clock.documents:
        raise CorpusError(f"{', '.join(names)}: expected documents, found none")
