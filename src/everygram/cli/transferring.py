"""The commands that copy an index to an address and back: push, pull."""

from pathlib import Path

import click

from everygram.cli.answering import print_answer
from everygram.cli.options import PATH, completes, examples, index_argument, json_option
from everygram.cli.show_indexing import build_progress, show_transfer

again_option = click.option(
    "--again",
    is_flag=True,
    help="Copy all files, also those that seem to be there: what was damaged is mended.",
)


@click.command(
    epilog=examples(
        "everygram push my-index s3://bucket/my-index",
        "everygram push my-index gs://bucket/my-index --prune",
    )
)
@index_argument
@click.argument(
    "address",
    metavar="ADDRESS",
    help="Where to: s3://…, gs://…, or what else fsspec can write to.",
)
@click.option(
    "--prune",
    is_flag=True,
    help="Afterwards remove the files that only older versions there have. Who has one open "
    "cannot read on.",
)
@again_option
@json_option
def push(index: Path, address: str, prune: bool, again: bool, as_json: bool) -> None:
    """Copy an index to an object store.

    Only what is missing there is copied, several files at once. Readers there see the old index
    until all files of the new one are. After an interruption the same command goes on.
    """
    import everygram

    with build_progress() as progress:
        done = everygram.push(index, address, prune=prune, again=again, progress=progress)
    print_answer(done.as_dict(), show_transfer, as_json)


@click.command(
    epilog=examples(
        "everygram pull s3://bucket/my-index --out my-index",
    )
)
@click.argument("address", metavar="ADDRESS", help="Where an index was pushed to.")
@click.option(
    "--out",
    type=PATH,
    shell_complete=completes("dir"),
    required=True,
    help="A new folder, or one with an older version of the index.",
)
@again_option
@json_option
def pull(address: str, out: Path, again: bool, as_json: bool) -> None:
    """Copy an index from an object store.

    Only what is missing here is copied, in pieces, several at once, and compared with its
    checksums. After an interruption the same command goes on.
    """
    import everygram

    with build_progress() as progress:
        done = everygram.pull(address, out, again=again, progress=progress)
    print_answer(done.as_dict(), show_transfer, as_json)
