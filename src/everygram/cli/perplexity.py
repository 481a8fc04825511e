"""The command that says how well a language model predicts a corpus: perplexity."""

import contextlib
import gc
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from everygram.cli.answering import opened, service
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
)
from everygram.cli.reading import STANDARD_INPUT, STDIN
from everygram.cli.show import counted
from everygram.cli.show_indexing import build_progress, passed_over
from everygram.cli.writing import check_place, whole
from everygram.errors import CorpusError, OptionError, ServiceError, TokenizerError

if TYPE_CHECKING:
    import numpy as np

    from everygram.corpus.documents import Corpus
    from everygram.index import Index
    from everygram.lm.model import LanguageModel
    from everygram.results.perplexity import Perplexity

RECORDS = (".jsonl",)
# What is said of each document.
EACH = ("tokens", "words", "bytes", "log_likelihood", "perplexity", "zeros")
# Requests to a service at once: one is answered while another is sent.
REQUESTS = 2
SMOOTH = "--model infgram-floor or modified-kneser-ney gives every token a probability"
NO_PROBABILITIES = "stupid-backoff's do not sum to 1: compare with no other model's perplexity"


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
    per_document: Path | None,
    as_json: bool,
    **reading: Any,
) -> None:
    """Show how well a language model predicts a corpus.

    Every document is encoded as those of the index are, and each of its tokens is predicted from
    those before it, the first from the start of a document. The perplexity is given per token, per
    word (between white space) and per byte: of two tokenizers only the latter two compare.
    """
    if per_document is not None:
        check_place("--per-document", per_document, RECORDS, ".jsonl")
    gc.enable()
    reading["metadata_fields"] = parse_fields(metadata_fields)
    documents = _corpus(corpus, reading)
    with opened(index, fixed=True) as asked:
        model = model_of(asked, smoothing, order, weights)
        with whole(per_document) if per_document else contextlib.nullcontext() as file:
            found = _summed(_each(asked, model, documents, document_end), documents, file)
    for skip in documents.skips:
        click.echo(f"skipped: {skip}", err=True)
    if found.documents == 0:
        names = ", ".join(STANDARD_INPUT if name == STDIN else name for name in corpus[:3])
        raise CorpusError(f"{names}: expected documents, found none")
    answer = {
        "model": model.smoothing,
        "order": model.order,
        "document_end": document_end,
        "skipped": documents.skipped,
        **found.as_dict(),
    }
    notes = list(_notes(found, model))
    if as_json:
        click.echo(json.dumps(answer))
    else:
        click.echo(_shown(found, answer))
    for note in notes:
        click.echo(note, err=as_json)


def _corpus(names: tuple[str, ...], reading: dict[str, Any]) -> "Corpus[Any]":
    """The documents of a corpus: texts, or token ids."""
    from everygram.corpus.source import CorpusOptions, NamedCorpus

    named = NamedCorpus(names, CorpusOptions(**reading))
    corpus = named.ids() if named.are_ids else named.text()
    for line in passed_over(corpus.passed_over):
        click.echo(f"not read: {line}", err=True)
    return corpus


def _each(
    index: "Index", model: "LanguageModel", corpus: "Corpus[Any]", document_end: bool
) -> Iterator[tuple[dict[str, Any], "Perplexity"]]:
    """The place (number, metadata) of each document that can be encoded, and its perplexity.

    Documents are encoded here, of a service's index, too: with its tokenizer. The service then
    gives the log-probabilities of their ids, which add up as those of an index here.
    """
    from everygram.corpus.documents import TextDocument
    from everygram.corpus.tokens import TokenCorpus
    from everygram.lm.perplexity import encoded, perplexities

    tokenizer = index.tokenizer
    if isinstance(corpus, TokenCorpus):
        corpus.check_ids(index.vocab_size, f"the vocabulary of index '{index.path}'")
    elif tokenizer is None:
        raise OptionError(
            f"index '{index.path}' has no tokenizer (it was built from token ids): measure token "
            "ids, with --pretokenized and --separator-id"
        )
    # What is said of the documents that are being measured, by their place in the corpus.
    said: dict[int, dict[str, Any]] = {}

    def texts() -> "Iterator[str | np.ndarray]":
        for number, document in enumerate(corpus):
            said[number] = {"document": number, "metadata": json.loads(document.metadata)}
            yield document.text if isinstance(document, TextDocument) else document.ids

    def refuse(number: int, error: TokenizerError) -> None:
        del said[number]
        corpus._skip(error)

    encode = (lambda some: []) if tokenizer is None else tokenizer.encode_batch
    found = perplexities(
        encoded(texts(), encode, refuse),
        partial(model.log_probs_batch, document_start=True),
        model.separator if document_end else None,
        threads=None if service() is None else REQUESTS,
    )
    try:
        for one in found:
            yield said.pop(next(iter(said))), one
    except ServiceError as error:
        # (Results come in order: the first that is missing begins the batch that was refused.)
        query = re.match(r"query (\d+): ", error.detail)
        if query is None:
            raise
        number = [*said][int(query[1])]
        detail = f"document {number + 1:,}: {error.detail[query.end() :]}"
        raise ServiceError(error.status, error.kind, detail, error.request_id) from None


def _summed(
    each: Iterator[tuple[dict[str, Any], "Perplexity"]],
    corpus: "Corpus[Any]",
    file: BinaryIO | None,
) -> "Perplexity":
    """The perplexity of all documents. file: takes a line of each."""
    from everygram.progress import Clock
    from everygram.results.perplexity import Perplexity

    found = Perplexity(0, 0, 0, 0, 0.0, 0, 0.0)
    with build_progress() as progress:
        clock = Clock(progress)
        clock.enter("read")
        for place, one in each:
            found += one
            if file is not None:
                metadata = place.pop("metadata")
                numbers = {name: value for name, value in one.as_dict().items() if name in EACH}
                line = json.dumps(place | numbers | {"metadata": metadata}, ensure_ascii=False)
                file.write(line.encode(errors="surrogatepass") + b"\n")
            clock.documents += 1
            clock.tokens += one.tokens
            clock.report(corpus.bytes_read, corpus.total_bytes)
    return found


def _shown(found: "Perplexity", answer: dict[str, Any]) -> str:
    """The answer in words, a fact per line."""
    order = "no order" if answer["order"] is None else f"order {answer['order']}"
    skipped = f", {answer['skipped']:,} skipped" if answer["skipped"] else ""
    lines = [
        f"model           {answer['model']}, {order}",
        f"documents       {found.documents:,}{skipped}",
        f"tokens          {found.tokens:,}{', ends included' if answer['document_end'] else ''}",
    ]
    if found.zeros:
        return "\n".join([*lines, "log-likelihood  −∞", "perplexity      inf per token"])
    if not found.tokens:
        return "\n".join([*lines, "perplexity      none: there is no token to predict"])
    lines.append(f"log-likelihood  {found.log_likelihood:,.2f} nats")
    lines.append(f"perplexity      {found.perplexity:.6g} per token")
    if found.words:
        lines.append(
            f"                {found.word_perplexity:.6g} per word ({found.words:,} words)"
        )
    if found.bytes:
        bits = f"{found.bits_per_byte:.4f} bits per byte"
        lines.append(
            f"                {found.byte_perplexity:.6g} per byte ({found.bytes:,} bytes): {bits}"
        )
    return "\n".join(lines)


def _notes(found: "Perplexity", model: "LanguageModel") -> Iterator[str]:
    """What must be known to read the answer."""
    if found.zeros:
        of = counted(found.tokens, "token")
        share = f"{found.zeros:,} of {of} ({found.zeros / found.tokens:.1%})"
        others = f"{found.perplexity_without_zeros:.6g} per token"
        yield f"zeros           {share} have probability 0, so the perplexity is infinite"
        yield f"                of the other tokens alone, which compares with nothing: {others}"
        yield f"                {SMOOTH}"
    if not model.normalized:
        yield f"scores          {NO_PROBABILITIES}"
