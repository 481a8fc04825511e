"""The commands that look at indexes and prepare for queries: info, verify, warmup."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

import everygram
from everygram.cli import compiling
from everygram.cli.answering import interpret, opened, print_answer
from everygram.cli.options import (
    PATH,
    asked_index,
    completes,
    examples,
    index_argument,
    json_option,
)
from everygram.cli.show import show_info
from everygram.cli.show_indexing import build_progress

# The widths of tokens there are, in bytes.
WIDTHS = (1, 2, 4)


@click.command(epilog=examples("everygram info my-index", "everygram info my-index --json"))
@asked_index
@json_option
def info(index: Path, as_json: bool) -> None:
    """Show an index's counts, dtype, tokenizer and versions."""
    interpret(index, reads_text=False)
    with opened(index) as found:
        print_answer(found.info(), show_info, as_json)


@click.command(
    epilog=examples("everygram verify my-index", "everygram verify my-index --quick --json")
)
@index_argument
@click.option("--quick", is_flag=True, help="Check only the manifest and the sizes of files.")
@json_option
def verify(index: Path, quick: bool, as_json: bool) -> None:
    """Check an index for damage.

    Every byte against its checksum, the order of suffixes, all offsets. Exit code 1 if anything
    is wrong.
    """
    if quick:
        interpret(index, reads_text=False)
    from everygram.building.stages import resources
    from everygram.progress import Clock
    from everygram.storage.verify import verify as verify_all

    if quick:
        problems = verify_all(index, lambda done, total: None, quick)
    else:
        with build_progress() as report:
            clock = Clock(report)
            clock.enter("check")

            def progress(done: int, total: int) -> None:
                clock.report(done, total)
                if done == total:
                    clock.enter("order")

            _, threads = resources(None, None)
            problems = verify_all(index, progress, threads=threads, order_progress=clock.report)
    answer = {"path": str(index), "sound": not problems, "problems": problems}
    print_answer(answer, lambda _: "\n".join(problems) or f"{index}: sound", as_json)
    sys.exit(1 if problems else 0)


@click.command(
    epilog=examples(
        "everygram warmup",
        "everygram warmup --width 2",
        "everygram warmup my-index",
    )
)
@click.argument(
    "indexes",
    metavar="[INDEX...]",
    nargs=-1,
    type=PATH,
    shell_complete=completes("dir"),
    help="Compile what queries of these need, and read them into memory.",
)
@click.option(
    "--width",
    "widths",
    type=click.Choice([str(width) for width in WIDTHS]),
    multiple=True,
    help="Without INDEX: bytes per token to compile for; may be repeated (default: all). 1 is for "
    "vocabularies of up to 255 ids, 2 of up to 65,535, 4 of more.",
)
def warmup(indexes: tuple[Path, ...], widths: tuple[str, ...]) -> None:
    """Compile everything now, so that no later command waits.

    Compiled code stays on disk until everygram or numba is upgraded. With INDEX, also read the
    indexes into the system's memory for all processes, in huge pages where there are any.
    """
    import tempfile

    if indexes and widths:
        raise click.UsageError("expected INDEX or --width, not both: an index has its width")
    for index in indexes:
        with _compiling(str(index)) as notes:
            _warm(index, notes)
    if not indexes:
        with tempfile.TemporaryDirectory(prefix="everygram-") as folder:
            for width in [int(width) for width in widths] or WIDTHS:
                with _compiling(f"tokens of {8 * width} bits"):
                    _build_for_warmup(path := Path(folder) / str(width), width)
                    _compile_for(path)


def _warm(index: Path, notes: list[str]) -> None:
    """Compile what an index's queries need, and read the index into memory."""
    from everygram.storage import directory

    size = directory.read_in(index)
    notes.append(f"{size / 1e6:,.1f} MB in memory" if size else "too large for the memory")
    _compile_for(index)


def _compile_for(index: Path) -> None:
    with everygram.open(index) as opened:
        opened.warm_up()


@contextmanager
def _compiling(what: str) -> Iterator[list[str]]:
    """Show which functions are compiled meanwhile, and then how many there were and the time.

    Yields a list of notes to show with them.
    """
    notes: list[str] = []
    start, before, number = time.monotonic(), compiling.functions_compiled(), 0
    bars = compiling.compile_bars() if sys.stderr.isatty() else None

    def show(name: str, so_far: int) -> None:
        nonlocal number
        number = so_far - before
        if bars is None:
            seconds = time.monotonic() - start
            click.echo(f"[{seconds:7.1f} s] {what}: {number} {name}", err=True)
        else:
            bars.update(bars.task_ids[0], name=f"{number}: {name}")

    if bars is not None:
        bars.add_task(what, total=None, name="")
        bars.start()
    try:
        with compiling.watched(show):
            yield notes
    finally:
        if bars is not None:
            bars.stop()
    done = f"{number} functions compiled" if number else "nothing left to compile"
    click.echo(", ".join([f"{what}: {done}", *notes, f"{time.monotonic() - start:.1f} s"]))


def _build_for_warmup(out: Path, width: int) -> None:
    """Build an index that goes through everything that a build can do, and prepare it."""
    import random

    corpus = out.with_suffix(".bin")
    # A document longer than the smallest block, with no memory: sorted in blocks, and merged.
    ids = random.Random(0).choices(range(200), k=100_000)
    corpus.write_bytes(b"".join(token_id.to_bytes(width, "little") for token_id in ids))
    everygram.build(
        corpus,
        out,
        pretokenized=f"u{8 * width}",
        separator_id=0,
        # (More than a narrower token holds, few enough for language models.)
        vocab_size=min(256**width - 1, 1 << 17),
        memory=1,
    )
    everygram.prepare(out, memory=1)
