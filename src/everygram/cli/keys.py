"""The commands that keep a service's file of API keys: keys add, keys list, keys revoke."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from everygram.cli.commands import Commands
from everygram.cli.options import PATH, completes, examples, json_option, server_extra

if TYPE_CHECKING:
    from everygram.server.keys import Key

# As the table of all commands: name -> (module and function, help line).
COMMANDS = {
    "add": ("keys:add", "Add a key, and print it."),
    "list": ("keys:list_keys", "List the keys of a file."),
    "revoke": ("keys:revoke", "Take a key out of a file."),
}

file_option = click.option(
    "--keys",
    "file",
    type=PATH,
    metavar="FILE",
    required=True,
    envvar="EVERYGRAM_KEYS",
    shell_complete=completes("file"),
    help="The file of keys (default: that of the variable EVERYGRAM_KEYS).",
)


@click.group(
    cls=Commands,
    table=COMMANDS,
    epilog=examples(
        "everygram keys add alice --keys keys.json",
        "everygram keys list --keys keys.json",
        "everygram keys revoke alice --keys keys.json",
    ),
)
def keys() -> None:
    """Keep the API keys of a service.

    A service with this file (everygram serve --keys FILE) answers those who send one of its keys,
    and sees within seconds what is added and revoked.
    """


def _module() -> Any:
    with server_extra("keys"):
        from everygram.server import keys
    return keys


@click.command(
    epilog=examples(
        "everygram keys add alice --keys keys.json",
        "everygram keys add ingest --read pile --write pile --keys keys.json",
        "everygram keys add class --rate 20/second --keys keys.json",
    )
)
@click.argument("name", metavar="NAME", help="Name of the key, which the access log shows.")
@file_option
@click.option(
    "--read",
    multiple=True,
    metavar="INDEX",
    help="An index, by the name it is served under, that the key may read; * for all (default: "
    "all, unless --write is given). May be repeated.",
)
@click.option(
    "--write",
    multiple=True,
    metavar="INDEX",
    help="An index that the key may change; * for all. May be repeated.",
)
@click.option(
    "--rate",
    metavar="RATE",
    help="Requests that the key may send, such as 100/second (default: the service's "
    "--rate-per-key).",
)
def add(
    name: str, file: Path, read: tuple[str, ...], write: tuple[str, ...], rate: str | None
) -> None:
    """Add a key, and print it.

    The file, made if need be, has only a hash of the key: it is shown this once.
    """
    module = _module()
    scopes: dict[str, list[str]] = {}
    for scope, indexes in (("read", read if read or write else ("*",)), ("write", write)):
        for index in indexes:
            if scope not in scopes.setdefault(index, []):
                scopes[index].append(scope)
    key, token = module.add(file, name, scopes, rate)
    click.echo(token)
    click.echo(f"key '{key.name}' ({key.id}): {_may(key)}; it cannot be shown again", err=True)


@click.command("list", epilog=examples("everygram keys list --keys keys.json"))
@file_option
@json_option
def list_keys(file: Path, as_json: bool) -> None:
    """List the keys of a file.

    Hashes are not shown, nor are keys, which nobody has but whom they were given to.
    """
    found = _module().Keys.load(file)
    if as_json:
        shown = [key.model_dump(mode="json", exclude={"sha256"}) for key in found]
        click.echo(json.dumps(shown, ensure_ascii=False, indent=2))
        return
    rows = [("id", "name", "created", "rate", "may")]
    rows += [
        (key.id, key.name, f"{key.created:%Y-%m-%d %H:%M}", key.rate or "", _may(key))
        for key in found
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


@click.command(epilog=examples("everygram keys revoke alice --keys keys.json"))
@click.argument("key", metavar="KEY", help="Its id or name.")
@file_option
def revoke(key: str, file: Path) -> None:
    """Take a key out of a file.

    A service that runs refuses it within seconds.
    """
    found = _module().revoke(file, key)
    click.echo(f"revoked '{found.name}' ({found.id})")


def _may(key: "Key") -> str:
    """What a key may do, in words."""
    may: dict[str, list[str]] = {}
    for index, scopes in key.scopes.items():
        for scope in scopes:
            may.setdefault(scope, []).append("every index" if index == "*" else f"'{index}'")
    words = (f"{scope} {', '.join(may[scope])}" for scope in ("read", "write") if scope in may)
    return "; ".join(words) or "nothing"
