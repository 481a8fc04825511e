"""What the command line shows while functions are compiled: seconds, once after installation.

On a terminal a bar with the function that is being compiled; elsewhere one line.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from everygram.progress import NOTICE, on_compile

if TYPE_CHECKING:
    from rich.progress import Progress

# How many functions this process has begun to compile.
_begun = 0


@contextmanager
def watched(watcher: Callable[[str, int], None]) -> Iterator[None]:
    """Tell `watcher` of each function that is compiled in this block: name, number in all."""

    def count(name: str, number: int) -> None:
        global _begun
        _begun = number
        watcher(name, number)

    before = on_compile(count)
    try:
        yield
    finally:
        on_compile(before)


def functions_compiled() -> int:
    """How many functions have been compiled in `watched` blocks."""
    return _begun


@contextmanager
def announced(bar: bool = True) -> Iterator[None]:
    """Say on standard error when this block waits for the compiler.

    bar: on a terminal, show a bar until the block ends.
    """
    bars: Progress | None = None

    def show(name: str, number: int) -> None:
        nonlocal bars
        if not (bar and sys.stderr.isatty()):
            notice(name, number)
            return
        if bars is None:
            bars = compile_bars()
            bars.console.print(NOTICE)
            bars.add_task("compiling", total=None, name="")
            bars.start()
        for task in bars.task_ids:
            bars.update(task, name=f"{number}: {name}")

    with watched(show):
        try:
            yield
        finally:
            if bars is not None:
                bars.stop()


def notice(name: str, number: int) -> None:
    """Say so in a line at the first function."""
    if number == 1:
        click.echo(NOTICE, err=True)


def compile_bars() -> "Progress":
    """Bars, one per task, with the task's field `name`: the function being compiled."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(24),
        TimeElapsedColumn(),
        TextColumn("{task.fields[name]}"),
        console=Console(stderr=True),
        transient=True,
    )
