"""The command that makes an infini-gram index fast to ask: attach."""

import gc
import shlex
from pathlib import Path

import click

import everygram
from everygram.cli.answering import print_answer
from everygram.cli.keeping import say_least
from everygram.cli.options import PATH, completes, examples, json_option, resource_options
from everygram.cli.show_indexing import build_progress, show_attachment


@click.command(
    epilog=examples(
        "everygram attach v4_pileval_llama --tokenizer llama2/tokenizer.json",
        "everygram attach v4_pileval_llama --out pileval --document-counts",
        "everygram count v4_pileval_llama 'natural language processing'",
    )
)
@click.argument(
    "folder",
    type=PATH,
    metavar="V4DIR",
    shell_complete=completes("dir"),
    help="An index folder of infini-gram's, of its version 4 or 6.",
)
@click.option(
    "--out",
    type=PATH,
    shell_complete=completes("dir"),
    help="Folder for what is made, which is then asked as the index (default: the folder "
    "everygram in V4DIR, which stays the index).",
)
@click.option(
    "--tokenizer",
    metavar="T",
    shell_complete=completes("file"),
    help="The tokenizer that made the index's token ids, as of 'everygram build' (default: the one "
    "named before, or none: only ids can be asked).",
)
@click.option(
    "--document-counts",
    is_flag=True,
    help="Also make what documents are counted from at once (0.26 bytes per token).",
)
@resource_options
@json_option
def attach(
    folder: Path,
    out: Path | None,
    tokenizer: str | None,
    document_counts: bool,
    memory: str | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Make an infini-gram index fast to ask, where it is.

    Every command that asks an index takes V4DIR as it is. This makes once what searches start from,
    about a tenth of its size, and keeps the tokenizer, so that texts can be asked, too. The files
    of infini-gram are read whole, checked, and stay as they are.
    """
    gc.enable()
    say_least(memory, 0)
    with build_progress() as progress:
        made = everygram.attach(
            folder,
            out=out,
            tokenizer=tokenizer,
            document_counts=document_counts,
            memory=memory,
            threads=threads,
            progress=progress,
        )
    print_answer(made.as_dict(), show_attachment, as_json)
    if not as_json:
        asked = folder if out is None else out
        query = "--ids 1,2,3" if tokenizer is None else "'natural language'"
        click.echo(f"ask it: everygram count {shlex.quote(str(asked))} {query}")
