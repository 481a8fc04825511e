"""The command that answers over HTTP: serve. Its options are the service's settings."""

import contextlib
import gc
import os
import subprocess
import sys
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from everygram import arguments
from everygram.cli import compiling
from everygram.cli.options import completes, examples, server_extra
from everygram.errors import OptionError

with server_extra("serve"):
    from everygram.server.settings import Settings, is_size

# What stands for a setting's value in --help, where its type does not say.
METAVARS = {
    "host": "ADDRESS",
    "tls_certificate": "FILE",
    "tls_key": "FILE",
    "keys": "FILE",
    "preload": "PART",
    "ray": "[ADDRESS]",
    "allowed_hosts": "HOST",
    "cors_origins": "ORIGIN",
    "rate_per_key": "RATE",
    "rate_per_address": "RATE",
}
# Settings that several values by name make, which have options of their own.
BY_NAME = ("indexes", "aliases", "unions")
SERVED, OWN = "Indexes", "Settings"


class _Option(click.Option):
    """An option, the heading it stands under, and what is the case without it."""

    def __init__(self, *flags: Any, group: str, otherwise: str = "", **more: Any) -> None:
        super().__init__(*flags, **more)
        self.group, self.otherwise = group, otherwise

    def get_help_extra(self, ctx: click.Context) -> Any:
        extra = super().get_help_extra(ctx)
        extra.pop("default", None)
        return {**extra, "default": self.otherwise} if self.otherwise else extra


class _Grouped(click.Command):
    """A command whose options stand under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        def heading(param: click.Parameter) -> str:
            return getattr(param, "group", "Options")

        options = [each for each in self.get_params(ctx) if isinstance(each, click.Option)]
        for name, each in groupby(options, heading):
            records = [record for param in each if (record := param.get_help_record(ctx))]
            with formatter.section(name):
                formatter.write_dl(records)


def _setting_options() -> Iterable[click.Option]:
    """An option for each setting but those by name. (None or (): it is not given.)"""
    for name, field in Settings.model_fields.items():
        if name in BY_NAME:
            continue
        more = field.json_schema_extra
        assert isinstance(more, dict)
        flag, kind = "--" + name.replace("_", "-"), field.annotation
        metavar = METAVARS.get(name) or (
            "SIZE" if is_size(field) else "SECONDS" if kind is float else "N"
        )
        options: dict[str, Any] = {"type": str, "metavar": metavar}
        if kind is bool:
            flag, options = f"{flag}/--no-{flag[2:]}", {"default": None}
        elif name == "ray":
            options |= {"is_flag": False, "flag_value": "local"}
        elif metavar == "FILE":
            options["shell_complete"] = completes("file")
        several = field.default == ()
        yield _Option(
            [flag, name],
            group=str(more["group"]),
            otherwise=""
            if field.default is None or several
            else Settings.as_toml(name, field.default).strip('"'),
            help=f"{field.description}{' May be repeated.' if several else ''}",
            multiple=several,
            **options,
        )


def _own_options() -> list[click.Option]:
    return [
        _Option(
            ["--union", "unions"],
            group=SERVED,
            multiple=True,
            metavar="NAME[=A,B]",
            help="Serve these indexes as one, too, under this name (default: all of them). May be "
            "repeated.",
        ),
        _Option(
            ["--minus", "minus"],
            group=SERVED,
            multiple=True,
            metavar="NAME=A,B",
            help="Leave the documents of these indexes out of that union. May be repeated.",
        ),
        _Option(
            ["--alias", "aliases"],
            group=SERVED,
            multiple=True,
            metavar="NEW=NAME",
            help="Serve an index, or a union, under this name, too. May be repeated.",
        ),
    ]


def _file_options() -> list[click.Option]:
    return [
        _Option(
            ["--config", "config"],
            group=OWN,
            type=str,
            metavar="FILE",
            shell_complete=completes("file"),
            help="TOML file of settings. EVERYGRAM_* variables go before it, options before both.",
        ),
        _Option(
            ["--show-settings", "show_settings"],
            group=OWN,
            is_flag=True,
            help="Print all settings as TOML, with where each came from, and end.",
        ),
        _Option(
            ["--open", "open_page"],
            group=OWN,
            is_flag=True,
            help="Open the page in a browser when it can be asked for.",
        ),
    ]


def _pair(option: str, value: str, expected: str) -> tuple[str, str]:
    """The two sides of NAME=VALUE."""
    name, equals, what = value.partition("=")
    if not equals:
        raise OptionError(f"{option}: expected {expected}, found {arguments.short(value)}")
    return name.strip(), what.strip()


def _indexes_of(given: Iterable[str]) -> dict[str, str]:
    """Folders by name; one without a name has its own."""
    indexes: dict[str, str] = {}
    for each in given:
        name, equals, path = each.partition("=")
        if not equals or "/" in name:  # (./a=b is a folder.)
            path = str(arguments.path("indexes", each))
            # Not of what a link leads to: it may lead elsewhere later.
            name = Path(os.path.normpath(Path(path).absolute())).name
        if name in indexes:
            raise OptionError(
                f"indexes: two are named '{name}': '{indexes[name]}' and '{path}'; give one "
                f"another name: NAME={path}"
            )
        indexes[name] = path
    return indexes


def _unions_of(unions: Iterable[str], minus: Iterable[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for each in unions:
        name, _, names = each.partition("=")
        if name in found:
            raise OptionError(f"--union: '{name}' stands there twice")
        found[name] = {"of": names}
    for each in minus:
        name, names = _pair("--minus", each, "a union's name and indexes, as NAME=A,B")
        if name not in found:
            raise OptionError(f"--minus: there is no --union {name}")
        found[name]["minus"] = ",".join(filter(None, [found[name].get("minus"), names]))
    return found


def _flags_of(given: dict[str, Any]) -> dict[str, Any]:
    """The settings that the command line gives, as `Settings.load` takes them."""
    flags: dict[str, Any] = {
        name: ",".join(value) if isinstance(value, tuple) else value
        for name, value in given.items()
        if name not in (*BY_NAME, "minus") and value not in (None, ())
    }
    if given["indexes"]:
        flags["indexes"] = _indexes_of(given["indexes"])
    if given["unions"] or given["minus"]:
        flags["unions"] = _unions_of(given["unions"], given["minus"])
    if given["aliases"]:
        pairs = [_pair("--alias", each, "two names, as NEW=NAME") for each in given["aliases"]]
        flags["aliases"] = dict(pairs)
    return flags


def _open(url: str) -> None:
    """Show a page in this machine's browser, if it has one."""
    # (In a process of its own: a browser may take its time, or the terminal.)
    command = [sys.executable, "-m", "webbrowser", "-t", url]
    nowhere = subprocess.DEVNULL
    with contextlib.suppress(OSError):
        subprocess.Popen(
            command, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True
        )


def _run(config: str | None, show_settings: bool, open_page: bool, **given: Any) -> None:
    settings = Settings.load(
        _flags_of(given), None if config is None else arguments.path("config", config).absolute()
    )
    if show_settings:
        click.echo(settings.shown(), nl=False)
        return
    with server_extra("serve"):
        from everygram.server import access
        from everygram.server.supervisor import serve as serve_all
    for warning in access.checked(settings):
        click.echo(f"warning: {warning}", err=True)

    def reload() -> Settings:
        again = settings.reread()
        access.checked(again)
        return again

    gc.enable()
    with compiling.announced(bar=False):
        serve_all(settings, reload, _open if open_page else None)


def _command() -> click.Command:
    indexes = click.Argument(
        ["indexes"],
        metavar="[NAME=]PATH...",
        nargs=-1,
        required=False,
        shell_complete=completes("dir"),
        help="The indexes' folders. An index is served under this name, or its folder's.",
    )
    settings = list(_setting_options())
    first = [each for each in settings if getattr(each, "group", "") == SERVED]
    rest = [each for each in settings if each not in first]
    return _Grouped(
        "serve",
        callback=_run,
        params=[indexes, *_own_options(), *first, *rest, *_file_options()],
        help="""Serve indexes over HTTP.

        A page to look at is at /, the service's manual at /docs, its OpenAPI description at
        /openapi.json. SIGHUP reads the settings again, and loses no request; SIGTERM ends the
        service, and so does its terminal when it is closed.
        """,
        epilog=examples(
            "everygram serve my-index other-index --port 8000",
            "everygram serve pile=/data/pile-v3 dolma=/data/dolma --union both",
            "everygram serve my-index --host 0.0.0.0 --keys keys.json --max-seconds 10",
            "everygram serve my-index --ray auto --replicas 2",
            "everygram serve --config everygram.toml --show-settings",
        ),
    )


serve = _command()
