"""The command that answers over HTTP: serve."""

import gc
from pathlib import Path

import click

from everygram.cli import compiling
from everygram.cli.options import PATH, completes, examples
from everygram.errors import MissingExtraError


@click.command(
    epilog=examples(
        "everygram serve my-index other-index --port 8000",
        "everygram serve my-index other-index --union both",
        "everygram serve my-index --preload fences --preload tokens",
    )
)
@click.argument(
    "indexes",
    metavar="INDEX...",
    nargs=-1,
    required=True,
    type=PATH,
    shell_complete=completes("dir"),
    help="The indexes' folders. An index is served under its folder's name.",
)
@click.option("--host", metavar="ADDRESS", default="127.0.0.1", help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="N",
    default=8000,
    help="Port to listen on (0: a free one).",
)
@click.option(
    "--preload",
    multiple=True,
    metavar="PART",
    help="Read this part of each index into memory first: fences, suffix_array, tokens or all. "
    "May be repeated.",
)
@click.option(
    "--verify", is_flag=True, help="Check every byte against its checksum before serving."
)
@click.option(
    "--union", metavar="NAME", help="Serve all of them as one index, too, under this name."
)
def serve(
    indexes: tuple[Path, ...],
    host: str,
    port: int,
    preload: tuple[str, ...],
    verify: bool,
    union: str | None,
) -> None:
    """Serve indexes over HTTP.

    The service's manual is at /docs, its OpenAPI description at /openapi.json.
    """
    try:
        from everygram.server.app import serve as serve_all
    except ImportError as error:
        raise MissingExtraError(
            f"'everygram serve' needs {error.name or 'the server extra'}: "
            "pip install 'everygram[server]'"
        ) from None
    gc.enable()
    with compiling.announced(bar=False):
        serve_all(indexes, host, port, preload, verify, union)
