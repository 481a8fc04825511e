"""What the command line shows while functions are compiled: seconds, once after installation.

On a terminal a bar with the function that is being compiled; elsewhere one line.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.progress import Progress

NOTICE = "compiling for this machine, once after installation…"

# Called at the start of each function that is compiled, with its name and how many there were.
_watcher: Callable[[str, int], None] | None = None
# How many functions this process has begun to compile; None until they are counted.
_begun: int | None = None


def on_compile(callback: Callable[[str, int], None]) -> None:
    """Have `callback(name, number)` called when the compiler begins one of our functions."""
    from everygram.kernels import INTERPRETED

    if INTERPRETED:
        return
    from numba.core import event

    class Listener(event.Listener):
        number = 0

        def on_start(self, event: Any) -> None:
            function = event.data["dispatcher"].py_func
            if function.__module__.startswith("everygram."):  # not numba's own, which it inlines
                self.number += 1
                callback(function.__name__, self.number)

        def on_end(self, event: Any) -> None: ...

    event.register("numba:compile", Listener())  # type: ignore[no-untyped-call]


@contextmanager
def watched(watcher: Callable[[str, int], None]) -> Iterator[None]:
    """Tell `watcher` of each function that is compiled in this block: name, number in all."""
    global _begun, _watcher
    if _begun is None:
        _begun = 0
        on_compile(_on_start)
    before, _watcher = _watcher, watcher
    try:
        yield
    finally:
        _watcher = before


def functions_compiled() -> int:
    """How many functions have been compiled in `watched` blocks and between them."""
    return _begun or 0


def _on_start(name: str, number: int) -> None:
    global _begun
    _begun = number
    if _watcher is not None:
        _watcher(name, number)


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
