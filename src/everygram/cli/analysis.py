"""The group of commands `analyse`: each is imported when it is called."""

from importlib import import_module

import click

from everygram.cli.options import examples

# Command name -> (module of this package and function in it, help line), in the order of `--help`.
COMMANDS = {
    "drafts": ("drafts:drafts", "Replay recorded streams of tokens with drafts of an index."),
}


class Analyses(click.Group):
    """The commands of the table."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        place, line = COMMANDS[cmd_name]
        module, _, function = place.partition(":")
        command: click.Command = getattr(import_module(f"everygram.cli.{module}"), function)
        command.short_help = line
        return command


@click.group(cls=Analyses, epilog=examples("everygram analyse drafts my-index streams.jsonl"))
def analyse() -> None:
    """Analyse texts and models with an index."""
