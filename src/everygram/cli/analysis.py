"""The group of commands `analyse`: the table of analyses, each imported when it is called."""

import click

from everygram.cli.commands import Commands
from everygram.cli.options import examples

# As the table of all commands: name -> (module and function, help line).
ANALYSES = {
    "agreement": ("agreement:agreement", "Show how often n-gram models agree with documents."),
    "generated": (
        "agreement:generated",
        "Show how often n-gram models agree with texts that models generated.",
    ),
    "interpolation": (
        "agreement:interpolation",
        "Show where the ∞-gram model agrees with what a neural model finds likely or not.",
    ),
    "scaling": ("scaling:scaling", "Show agreement and perplexity by the size of the index."),
    "drafts": ("drafts:drafts", "Replay recorded streams of tokens with drafts of an index."),
}


@click.group(
    cls=Commands,
    table=ANALYSES,
    epilog=examples(
        "everygram analyse agreement my-index validation.jsonl --plot agreement.png",
        "everygram analyse agreement --help",
    ),
)
def analyse() -> None:
    """Analyse texts and models with an index.

    The analyses of the ∞-gram paper (Liu et al. 2024, arXiv 2401.17377), with their figures, and
    what drafts for a serving engine would save.
    """
