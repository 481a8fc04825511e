"""Groups of commands that are imported when they are called: `--help` reads their table alone."""

from importlib import import_module
from typing import Any

import click


class Commands(click.Group):
    """The commands of a table, each imported on demand.

    table: command name -> (module of this package and function in it, help line), in the order of
    `--help`.
    """

    def __init__(self, *arguments: Any, table: dict[str, tuple[str, str]], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, in the table's order."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None."""
        if cmd_name not in self.table:
            return None
        place, line = self.table[cmd_name]
        module, _, function = place.partition(":")
        command: click.Command = getattr(import_module(f"everygram.cli.{module}"), function)
        command.short_help = line  # what shells show when they complete it
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is meant. (click knows no names to suggest: it has not seen any.)"""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            raise click.NoSuchCommand(
                error.command_name, possibilities=self.table, ctx=ctx
            ) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table as help. (click would import every command to ask for its help line.)"""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.table.items()])
