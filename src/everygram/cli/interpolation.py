"""The command that mixes an index's ∞-gram with a neural model: interpolate."""

import gc
from pathlib import Path
from typing import Any

import click

from everygram.cli.answering import opened, print_answer
from everygram.cli.options import completes, examples, index_argument, json_option
from everygram.cli.reading import without_build
from everygram.cli.show_indexing import build_progress
from everygram.cli.show_interpolation import show_interpolation
from everygram.errors import CorpusError


@click.command(
    epilog=examples(
        "everygram interpolate my-index --tune dev.jsonl --test test.jsonl",
        "everygram interpolate my-index --tune dev.npz --test test.npz --weights forest --json",
        "everygram interpolate my-index --tune dev.jsonl.zst --test test.jsonl.zst --bootstrap 0",
    )
)
@index_argument
@click.option(
    "--tune",
    required=True,
    metavar="FILE",
    shell_complete=completes("file"),
    help="Documents that λ is found on: JSON lines with token_ids and logprobs (natural "
    "logarithms, null for what the model does not score), also compressed; or .npz with token_ids, "
    "log_probs and offsets.",
)
@click.option(
    "--test",
    required=True,
    metavar="FILE",
    shell_complete=completes("file"),
    help="Documents that the mixture is measured on, in the same form.",
)
@click.option(
    "--weights",
    type=click.Choice(["two", "forest"]),
    default="two",
    help="Whether there is a λ for sparse tokens (the ∞-gram has seen just one next token) and one "
    "for others, or one for each token by a random forest (needs scikit-learn).",
)
@click.option(
    "--bootstrap",
    type=click.IntRange(0, 1_000_000),
    metavar="N",
    default=1_000,
    help="Samples of the test documents that the 95 % intervals are made of; 0 for no intervals.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    metavar="N",
    default=0,
    help="The same seed gives the same samples, and the same forest.",
)
@json_option
def interpolate(
    index: Path, tune: str, test: str, weights: str, bootstrap: int, seed: int, as_json: bool
) -> None:
    """Mix a neural model with the index's ∞-gram, and measure it.

    λ·P∞ + (1−λ)·P_neural: λ makes the documents of --tune most likely; the perplexities of --test
    are without and with it, and Δ = (1 − (mixed − 1)/(neural − 1))·100 % (arXiv 2401.17377, §5).
    Any framework writes the two files; the index has to be built with the neural model's
    tokenizer.
    """
    from everygram import analysis

    gc.enable()
    options: dict[str, Any] = {"weights": weights, "bootstrap": bootstrap, "seed": seed}
    with opened(index) as asked, build_progress() as progress:
        try:
            found = analysis.interpolate(asked, tune, test, **options, progress=progress)
        except CorpusError as error:
            raise CorpusError(without_build(str(error))) from None
    print_answer(found.as_dict(), show_interpolation, as_json)
