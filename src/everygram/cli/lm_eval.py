"""The command that runs lm-evaluation-harness with an index's language model: lm-eval."""

import gc

import click

from everygram.cli.options import examples


@click.command(
    "lm-eval",
    # What stands behind the command's name is the harness's own.
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog=examples(
        "everygram lm-eval --model everygram --model_args index=my-index,order=5 --tasks wikitext",
        "everygram lm-eval run --help",
        "everygram lm-eval ls tasks",
    ),
)
@click.argument(
    "arguments",
    nargs=-1,
    type=click.UNPROCESSED,
    help="Arguments of lm_eval's own command line.",
)
def lm_eval(arguments: tuple[str, ...]) -> None:
    """Run lm-evaluation-harness with an index as a model.

    Everything goes to its own command line, where the model is called everygram. --model_args
    index=PATH names the index; smoothing=…, order=N and weights=[S,O] its language model, as in
    Python.
    """
    from everygram.integrations.lm_eval import run

    gc.enable()
    run(arguments)
