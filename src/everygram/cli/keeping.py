"""What interruptions of long commands leave, and what is said of them and of too little memory."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from everygram.arguments import size
from everygram.cli.show import counted

F = TypeVar("F", bound=Callable[..., None])


@contextmanager
def signals_exit() -> Iterator[None]:
    """SIGTERM and SIGHUP end the program as Ctrl-C does: what is temporary is removed.

    A second one ends it at once. (What ignores them, as nohup has it, goes on to.)
    """

    def leave(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        sys.exit(128 + number)  # as in shells

    numbers = [
        number
        for number in (signal.SIGTERM, getattr(signal, "SIGHUP", None))
        if number is not None
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(number) is signal.SIG_DFL
    ]
    for number in numbers:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def says_what_is_kept(name: str) -> Callable[[F], F]:
    """Have an interrupted command say what is kept; `name`: the parameter with the index's path."""

    def decorate(command: F) -> F:
        @wraps(command)
        def run(**options: Any) -> None:
            path: Path | str = options[name]
            before = _published(path)
            try:
                command(**options)
            except KeyboardInterrupt:
                click.echo(f"interrupted: {_kept(path, before)}", err=True)
                raise

        return cast(F, run)

    return decorate


def _published(path: Path | str) -> bytes | None:
    """The manifest of the index in the folder `path`, if there is one."""
    from everygram.storage import format as fmt

    if isinstance(path, str):
        return None
    try:
        return (path / fmt.MANIFEST).read_bytes()
    except OSError:
        return None


def _kept(path: Path | str, before: bytes | None) -> str:
    """What an interrupted change keeps, and what to do. `before`: the manifest at its start."""
    from everygram.building.parts import REPORT
    from everygram.storage.build_state import BuildState

    if isinstance(path, str):
        return f"'{path}' keeps parts that are finished; run the same command again to continue"
    state = BuildState.read(path)
    if _published(path) != before:
        return f"'{path}' is complete already"
    if state is not None and state.made:
        finished = f"{counted(len(state.made), 'segment')} converted"
    elif parts := len([*path.glob(f"part-*/{REPORT}")]):
        finished = counted(parts, "part")
    elif state is None or state.segment is None:
        unchanged = "nothing is kept" if before is None else f"'{path}' is unchanged"
        return f"{unchanged}; the same command starts over"
    else:
        finished = f"{counted(state.segment.num_documents, 'document')} read"
        if state.blocks:
            finished += f", {counted(len(state.blocks), 'block')} sorted"
        if state.merged:
            finished += ", suffixes in order"
    return (
        f"'{path}' keeps what is finished ({finished}); run the same command again to continue, or "
        "with --restart to start over"
    )


def say_least(memory: str | None, beside: int) -> None:
    """Say when a limit is below the memory that a change takes in any case."""
    from everygram.building.plan import least_memory

    given, least = size("--memory", memory), least_memory(beside)
    if given is not None and given < least:
        click.echo(
            f"--memory {memory} is too little: this takes about {least / 2**20:,.0f} MiB at least, "
            "besides about 100 MiB for Python; it is done with that",
            err=True,
        )
