"""The command that says how much of files of texts is new to an index: novelty."""

import gc
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from everygram.cli import plot as plots
from everygram.cli.answering import opened
from everygram.cli.options import (
    PATH,
    completes,
    examples,
    ids_files_options,
    index_argument,
    raw_option,
    split_option,
    text_field_option,
)
from everygram.cli.reading import STANDARD_INPUT, STDIN, without_build
from everygram.cli.show import show_novelty
from everygram.cli.show_indexing import build_progress, passed_over
from everygram.errors import (
    CorpusError,
    OptionError,
    QueryError,
    ServiceError,
    TokenizerError,
)

if TYPE_CHECKING:
    from everygram.corpus.documents import Corpus
    from everygram.encoding import Query
    from everygram.index import Index
    from everygram.progress import Clock
    from everygram.results.novelty import Novelty

# Texts, and characters or ids of them, that are looked for together.
TEXTS, SIZE = 64, 1 << 18
# What a service answers of texts that are too long for it, alone or together.
TOO_MUCH = (413, 422, 504)


@click.command(
    epilog=examples(
        "everygram novelty my-index model.jsonl",
        "everygram novelty my-index books/*.txt --plot books.svg",
        "everygram novelty my-index a.jsonl b.jsonl --text-field response --max-n 50 --json",
        "everygram novelty my-index model.jsonl --each --json > each.jsonl",
        "zcat texts.jsonl.gz | everygram novelty my-index -",
    )
)
@index_argument
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    shell_complete=completes("file"),
    help="Files of texts, as 'everygram build' reads them: .jsonl, .csv, .parquet, … have a text "
    "per record, .txt and .md are one text each; or - for standard input. The texts of a folder or "
    "pattern are measured together.",
)
@text_field_option
@split_option
@ids_files_options
@raw_option
@click.option(
    "--max-n",
    type=click.IntRange(1, 1_000),
    metavar="N",
    default=20,
    help="Largest n whose n-grams are looked for.",
)
@click.option(
    "--creativity-bounds",
    type=click.IntRange(1, 1_000),
    nargs=2,
    metavar="LOW HIGH",
    default=(5, 12),
    help="Match lengths over which the creativity index is summed.",
)
@click.option(
    "--plot",
    type=PATH,
    metavar="IMAGE",
    help="Also draw the share of n-grams that are new against n, a line per FILE, as .png or .svg.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print a JSON line per FILE, with the shares of all n."
)
@click.option("--each", is_flag=True, help="With --json: also print a line per text, before these.")
def novelty(
    index: Path,
    files: tuple[str, ...],
    raw: bool,
    max_n: int,
    creativity_bounds: tuple[int, int],
    plot: Path | None,
    as_json: bool,
    each: bool,
    **reading: Any,
) -> None:
    """Show how much of each file of texts is new to an index.

    For several n: the share of n-grams that do not occur in the index, and the share of tokens
    inside matches of n tokens or more. And the creativity index: the share of tokens that are in
    no match of L tokens or more, summed over L from LOW to HIGH (arXiv 2410.04265). The texts of a
    file count as one: a long text weighs more than a short one.
    """
    if each and not as_json:
        raise click.UsageError("--each goes with --json")
    if creativity_bounds[0] > creativity_bounds[1]:
        given = " ".join(map(str, creativity_bounds))
        raise click.UsageError(f"--creativity-bounds: expected LOW before HIGH, found {given}")
    if files.count(STDIN) > 1:
        raise click.UsageError("expected - once, found it twice: standard input is read once")
    if "" in files:
        raise OptionError("FILE: expected a path, found an empty one")
    draw = None if plot is None else plots.figure_at(plot)
    gc.enable()
    options = {"raw": raw, "max_n": max_n, "creativity_bounds": creativity_bounds}
    # (While there is a progress bar, rich prints what goes to `sys.stdout` on standard error, above
    # the bar: right on a terminal alone.)
    out = None if os.isatty(1) else sys.stdout

    def tell(answer: dict[str, Any]) -> None:
        click.echo(json.dumps(answer, ensure_ascii=False), file=out)

    answers = []
    try:
        corpora = [_corpus(name, reading) for name in files]
        with opened(index, fixed=True) as asked:
            for name, found in _measured(asked, files, corpora, options, tell if each else None):
                answers.append({"file": name} | found.as_dict())
                if as_json:
                    tell(answers[-1])
    except CorpusError as error:
        raise CorpusError(without_build(str(error))) from None
    if not as_json:
        click.echo(show_novelty(answers))
    if draw is not None:
        draw(answers, f"n-grams that are not in {index.resolve().name}")


def _corpus(name: str, reading: dict[str, Any]) -> "Corpus[Any]":
    """The texts of a file, or its documents of token ids."""
    from everygram.corpus.source import CorpusOptions, NamedCorpus

    named = NamedCorpus((name,), CorpusOptions(**reading))
    corpus = named.ids() if named.are_ids else named.text()
    for line in passed_over(corpus.passed_over):
        click.echo(f"not read: {line}", err=True)
    return corpus


def _measured(
    index: "Index",
    names: tuple[str, ...],
    corpora: list["Corpus[Any]"],
    options: dict[str, Any],
    tell: Callable[[dict[str, Any]], None] | None,
) -> Iterator[tuple[str, "Novelty"]]:
    """The novelty of each file, by name. tell: takes what is said of each text."""
    from everygram.progress import Clock

    total, done = sum(corpus.total_bytes for corpus in corpora), 0
    with build_progress() as progress:
        clock = Clock(progress)
        clock.enter("read")
        for name, corpus in zip(names, corpora, strict=True):
            found: Novelty | None = None
            for number, one in enumerate(_each(index, name, corpus, options), 1):
                if tell is not None:
                    tell({"file": name, "text": number} | one.as_dict())
                found = one if found is None else found + one
                _report(clock, one, done + corpus.bytes_read, total)
            if found is None:
                place = STANDARD_INPUT if name == STDIN else name
                raise CorpusError(f"{place}: expected texts, found none")
            done += corpus.total_bytes
            yield name, found


def _each(
    index: "Index", name: str, corpus: "Corpus[Any]", options: dict[str, Any]
) -> Iterator["Novelty"]:
    """The novelty of each text; errors say where it is."""
    for batch in _batches(name, corpus):
        try:
            found = index.novelty_batch([text for _, text in batch], **options)
        except (QueryError, TokenizerError, ServiceError) as error:
            if isinstance(error, ServiceError) and error.status not in TOO_MUCH:
                raise
            # One of them was refused: each alone, to find which.
            yield from _alone(index, batch, options)
        else:
            yield from found


def _alone(
    index: "Index", batch: list[tuple[str, "Query"]], options: dict[str, Any]
) -> Iterator["Novelty"]:
    for place, text in batch:
        try:
            yield index.novelty(text, **options)
        except (QueryError, TokenizerError) as error:
            raise type(error)(f"{place}: {error}") from None
        except ServiceError as error:
            detail = f"{place}: {error.detail}"
            raise ServiceError(error.status, error.kind, detail, error.request_id) from None


def _batches(name: str, corpus: "Corpus[Any]") -> Iterator[list[tuple[str, "Query"]]]:
    """The texts, or their ids, some at a time, each with its place for messages."""
    from everygram.corpus.documents import TextDocument

    batch: list[tuple[str, Query]] = []
    size = 0
    for number, document in enumerate(corpus, 1):
        text = document.text if isinstance(document, TextDocument) else document.ids
        batch.append((corpus.place or f"{name}: document {number:,}", text))
        size += len(text)
        if len(batch) >= TEXTS or size >= SIZE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _report(clock: "Clock", one: "Novelty", done: int, total: int) -> None:
    clock.documents += 1
    clock.tokens += one.num_tokens
    clock.report(done, total)
