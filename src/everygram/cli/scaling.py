"""The command that shows what the size of an index does: scaling."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from everygram.cli import compiling
from everygram.cli.analysis_common import (
    documents_of,
    max_tokens_option,
    order_option,
    output_options,
    reading_options,
    told,
)
from everygram.cli.answering import opened
from everygram.cli.keeping import signals_exit
from everygram.cli.options import (
    PATH,
    completes,
    corpus_argument,
    examples,
    index_argument,
    resource_options,
)
from everygram.cli.show import counted
from everygram.cli.show_analysis import percent, show_scaling
from everygram.errors import OptionError

if TYPE_CHECKING:
    from everygram.results.scaling import ScalingStep


@click.command(
    epilog=examples(
        "everygram analyse scaling my-index validation.jsonl --plot scaling.png",
        "everygram analyse scaling my-index validation.jsonl --steps 5 --work-dir /large/disk",
        "everygram analyse scaling my-index validation.jsonl --log-probs scored.jsonl --csv s.csv",
    )
)
@index_argument
@corpus_argument
@click.option(
    "--steps",
    type=click.IntRange(1),
    metavar="N",
    default=9,
    help="How many sizes: each is half of the next.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    metavar="N",
    default=0,
    help="Seed by which documents are drawn.",
)
@order_option
@max_tokens_option
@reading_options
@click.option(
    "--log-probs",
    metavar="FILE",
    shell_complete=completes("file"),
    help="Also mix a neural model with each size, as 'everygram interpolate' does: its "
    "log-probabilities of documents, the first half of which λ is found on.",
)
@click.option(
    "--work-dir",
    type=PATH,
    metavar="FOLDER",
    help="Where the parts of the index are made, for a while: about half of its size (default: the "
    "system's folder for temporary files).",
)
@resource_options
@output_options
def scaling(
    index: Path,
    corpus: tuple[str, ...],
    steps: int,
    seed: int,
    order: int,
    max_tokens: int,
    log_probs: str | None,
    work_dir: Path | None,
    memory: str | None,
    threads: int | None,
    csv: Path | None,
    plot: Path | None,
    as_json: bool,
    **reading: Any,
) -> None:
    """Show agreement and perplexity by the size of the index.

    Documents of the index are drawn at random: all, half of them, a quarter, and so on; each size
    is a part of the next. Agreement is that of 'everygram analyse agreement' with the documents of
    CORPUS; perplexity is theirs by the language model infgram-floor, per token.
    """
    tell = told(csv, plot, as_json, show_scaling)
    with opened(index) as asked:
        from everygram import analysis

        texts = [each.ids for each in documents_of(asked, corpus, None, max_tokens, reading)]
        with compiling.announced(), signals_exit(), _flag():
            found = analysis.scaling(
                asked,
                texts,
                steps=steps,
                seed=seed,
                order=order,
                max_tokens=None,
                scored=log_probs,
                work_dir=work_dir,
                memory=memory,
                threads=threads,
                progress=_report,
            )
    tell(found, f"By the size of {index.resolve().name}")


@contextmanager
def _flag() -> Iterator[None]:
    """Messages about `scored` are about the flag."""
    try:
        yield
    except OptionError as error:
        raise OptionError(str(error).replace("scored: ", "--log-probs: ")) from None


def _report(step: "ScalingStep") -> None:
    """A line on standard error for a size that is done."""
    size = f"{counted(step.num_documents, 'document')}, {counted(step.num_tokens, 'token')}"
    found = percent(step.agreement.infgram.agreement)
    click.echo(f"{size}: ∞-gram agreement {found}, perplexity {step.perplexity:.4g}", err=True)
