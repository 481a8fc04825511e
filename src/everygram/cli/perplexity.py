"""The command that says how well a language model predicts a corpus: perplexity."""

import contextlib
import gc
import json
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from everygram.cli.answering import opened
from everygram.cli.models import model_of, model_options
from everygram.cli.options import (
    PATH,
    completes,
    corpus_argument,
    examples,
    index_argument,
    json_option,
    parse_fields,
    reading_options,
    threads_option,
)
from everygram.cli.reading import STANDARD_INPUT, STDIN, without_build
from everygram.cli.show import counted
from everygram.cli.show_indexing import build_progress, passed_over
from everygram.cli.writing import check_place, whole
from everygram.errors import CorpusError, TokenizerError

if TYPE_CHECKING:
    import numpy as np

    from everygram.corpus.documents import Corpus
    from everygram.index import Index
    from everygram.lm.model import LanguageModel
    from everygram.results.perplexity import Perplexity

RECORDS = (".jsonl",)
SMOOTH = "--model infgram-floor and --model modified-kneser-ney give every token some"
NO_PROBABILITIES = (
    "stupid-backoff gives scores that do not sum to 1: its perplexity compares with that of no "
    "other model"
)


@click.command(
    epilog=examples(
        "everygram perplexity my-index held-out.jsonl",
        "everygram perplexity my-index held-out.jsonl --order 5 --per-document each.jsonl",
        'everygram perplexity my-index "test/*.txt" --model infgram-floor --json',
        "everygram perplexity ids-index test.bin --pretokenized u16 --separator-id 50256",
        "zcat held-out.jsonl.gz | everygram perplexity my-index -",
    )
)
@index_argument
@corpus_argument
@model_options
@click.option(
    "--document-end",
    is_flag=True,
    help="Count the end of each document as a token that is predicted, too.",
)
@reading_options
@threads_option
@click.option(
    "--per-document",
    type=PATH,
    metavar="FILE.jsonl",
    shell_complete=completes("file"),
    help="Also write a JSON line per document: its tokens, log-likelihood, perplexity, metadata.",
)
@json_option
def perplexity(
    index: Path,
    corpus: tuple[str, ...],
    smoothing: str,
    order: int | None,
    weights: str | None,
    document_end: bool,
    metadata_fields: str | None,
    threads: int | None,
    per_document: Path | None,
    as_json: bool,
    **reading: Any,
) -> None:
    """Show how well a language model predicts a corpus.

    Every document is encoded as those of the index are, and each of its tokens is predicted from
    those before it; the first from the start of a document. The perplexity is given per token, per
    word (between white space) and per byte: tokens differ from tokenizer to tokenizer, words and
    bytes do not.
    """
    if per_document is not None:
        check_place("--per-document", per_document, RECORDS, ".jsonl")
    gc.enable()
    reading["metadata_fields"] = parse_fields(metadata_fields)
    try:
        documents = _corpus(corpus, reading)
        with (
            opened(index) as asked,
            build_progress() as progress,
            whole(per_document) if per_document else contextlib.nullcontext() as file,
        ):
            model = model_of(asked, smoothing, order, weights)
            found = _total(
                _measured(asked, model, documents, document_end, threads), file, progress, documents
            )
    except CorpusError as error:
        raise CorpusError(without_build(str(error))) from None
    if found.documents == 0:
        names = ", ".join(STANDARD_INPUT if name == STDIN else name for name in corpus[:3])
        raise CorpusError(f"{names}: expected documents, found none")
    said = {"model": model.smoothing, "order": model.order, "document_end": document_end}
    answer = said | found.as_dict() | {"skipped": documents.skipped}
    notes = _notes(found, model)
    if as_json:
        for note in notes:
            click.echo(note, err=True)
        click.echo(json.dumps(answer))
    else:
        click.echo("\n".join([_shown(found, answer), *notes]))
