"""The service's settings: by flags, environment and one TOML file, each with where it came from.

In: what the command line gave, EVERYGRAM_* variables, a file. Out: a `Settings` that is valid, or
OptionError, whose message has the setting, what was expected and found, and where that was. Knows
nothing of sockets, and opens no index.
"""

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from everygram import arguments
from everygram.errors import OptionError
from everygram.server.setting_types import (
    Listed,
    Mapped,
    Natural,
    Number,
    Place,
    Rate,
    Seconds,
    Size,
    first_problem,
    listed,
    no_flag,
    size,
)

VARIABLES = "EVERYGRAM_"
CONFIG_VARIABLE = "EVERYGRAM_CONFIG"
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


class Union(BaseModel):
    """Indexes that are asked as one, by name, without the documents of others.

    of: none given: all that are served and not in `minus`; in `Settings` they are listed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    of: Annotated[tuple[str, ...], BeforeValidator(listed)] = ()
    minus: Annotated[tuple[str, ...], BeforeValidator(listed)] = ()


def _complete(unions: dict[str, Union], info: ValidationInfo) -> dict[str, Union]:
    """The unions, with the names of those that are of all indexes."""
    indexes = info.data.get("indexes", {})
    return {
        name: union
        if union.of
        else Union(of=tuple(each for each in indexes if each not in union.minus), minus=union.minus)
        for name, union in unions.items()
    }


def _field(group: str, description: str) -> Any:
    """What a setting is, and the heading it stands under in --help and in the manual."""
    return Field(description=description, json_schema_extra={"group": group})


SERVED, NETWORK, ACCESS = "Indexes", "Network", "Access"
LIMITS, TIMES, LOAD = "Limits of a request", "Time-outs", "Load"
CLUSTER, OPERATION = "Cluster", "Operation"


class Settings(BaseSettings):
    """What a service serves, where, to whom and within which limits.

    `Settings(indexes={"pile": path})` has the given values and defaults; `Settings.load` reads the
    environment and a file, too. Sizes are in bytes and may be given as `8MiB`; times in seconds.
    Raises OptionError.
    """

    model_config = SettingsConfigDict(
        env_prefix=VARIABLES, env_ignore_empty=True, extra="forbid", frozen=True
    )

    indexes: Annotated[
        dict[str, Place], *Mapped, _field(SERVED, "Folder of each index, by the name it has here.")
    ] = {}
    aliases: Annotated[
        dict[str, str], *Mapped, _field(SERVED, "More names: of an index or a union, by the name.")
    ] = {}
    unions: Annotated[
        dict[str, Union],
        *Mapped,
        AfterValidator(_complete),
        _field(
            SERVED, "Indexes asked as one (of; none: all), without the documents of others (minus)."
        ),
    ] = {}
    preload: Annotated[
        Listed,
        _field(SERVED, "Parts of each index to read first: fences, suffix_array, tokens or all."),
    ] = ()
    verify: Annotated[
        bool, _field(SERVED, "Check every byte against its checksum before serving.")
    ] = False

    host: Annotated[str, _field(NETWORK, "Address to listen on.")] = "127.0.0.1"
    port: Annotated[
        int,
        BeforeValidator(no_flag),
        Field(ge=0, le=65535),
        _field(NETWORK, "Port to listen on (0: a free one)."),
    ] = 8000
    tls_certificate: Annotated[
        Place | None, _field(NETWORK, "Certificate chain for TLS, a PEM file.")
    ] = None
    tls_key: Annotated[Place | None, _field(NETWORK, "The certificate's key, a PEM file.")] = None

    keys: Annotated[
        Place | None, _field(ACCESS, "File of API keys, as `everygram keys` writes it.")
    ] = None
    allowed_hosts: Annotated[
        Listed,
        _field(ACCESS, "Hosts that requests may be addressed to, such as *.lab.org (none: any)."),
    ] = ()
    cors_origins: Annotated[
        Listed,
        _field(
            ACCESS, "Origins whose pages may ask from a browser, such as https://lab.org, or *."
        ),
    ] = ()
    rate_per_key: Annotated[
        Rate | None,
        _field(ACCESS, "Requests of a key that has no rate of its own, such as 9/second."),
    ] = None
    rate_per_address: Annotated[
        Rate | None, _field(ACCESS, "Requests without a key from an address, such as 100/second.")
    ] = None

    max_body_bytes: Annotated[Size, _field(LIMITS, "Largest body of a query.")] = 8 * MIB
    max_upload_bytes: Annotated[Size, _field(LIMITS, "Largest body of documents to add.")] = GIB
    max_json_depth: Annotated[Number, _field(LIMITS, "Deepest nesting of JSON.")] = 32
    max_batch: Annotated[Number, _field(LIMITS, "Queries in a batch.")] = 10_000
    max_query_tokens: Annotated[Number, _field(LIMITS, "Tokens of a query or text.")] = 100_000
    max_text_characters: Annotated[
        Number,
        _field(LIMITS, "Characters of a text to find however tokens divide it, or of a search."),
    ] = 10_000
    max_top: Annotated[Number, _field(LIMITS, "Next tokens listed of a distribution.")] = 100_000
    max_occurrences: Annotated[Number, _field(LIMITS, "Occurrences listed or sampled.")] = 10_000
    max_documents: Annotated[Number, _field(LIMITS, "Documents of a search or a span.")] = 1_000
    max_context: Annotated[Number, _field(LIMITS, "Tokens around an occurrence.")] = 10_000
    max_answer_bytes: Annotated[Size, _field(LIMITS, "Largest answer.")] = 64 * MIB
    max_seconds: Annotated[Seconds, _field(LIMITS, "Longest time that work on a query takes.")] = (
        30.0
    )

    header_seconds: Annotated[Seconds, _field(TIMES, "For a request's headers to arrive.")] = 10.0
    body_seconds: Annotated[Seconds, _field(TIMES, "For each 64 KiB of a body to arrive.")] = 30.0
    write_seconds: Annotated[
        Seconds, _field(TIMES, "For a client to read some more of its answer.")
    ] = 30.0
    keep_alive_seconds: Annotated[
        Seconds, _field(TIMES, "For the next request on a connection.")
    ] = 60.0

    workers: Annotated[Number, _field(LOAD, "Processes that hold connections.")] = 1
    runners: Annotated[
        Natural,
        _field(LOAD, "Processes of each worker that answer queries (0: one per processor)."),
    ] = 0
    max_header_bytes: Annotated[Size, _field(LOAD, "Largest headers of a request.")] = 64 * KIB
    max_connections: Annotated[Number, _field(LOAD, "Connections of a worker.")] = 1_000
    max_queue: Annotated[
        Number, _field(LOAD, "Queries of a worker that wait for a runner; then 503.")
    ] = 64
    max_pending_bytes: Annotated[
        Size, _field(LOAD, "Bodies and answers that a worker holds at once; then 503.")
    ] = 256 * MIB
    runner_bytes: Annotated[
        Size, _field(LOAD, "Growth of a runner's memory after which it is replaced.")
    ] = 16 * MIB
    max_open_files: Annotated[
        Natural,
        _field(LOAD, "Open files and sockets of a process (0: as many as the system allows)."),
    ] = 0

    ray: Annotated[
        str | None,
        _field(
            CLUSTER,
            "Address of a Ray cluster whose machines answer (auto: this machine's; local: a new "
            "one for each worker).",
        ),
    ] = None
    actors: Annotated[
        Natural, _field(CLUSTER, "Processes there that share an index (0: one per machine).")
    ] = 0
    replicas: Annotated[Number, _field(CLUSTER, "Replicas of each of these.")] = 1

    grace_seconds: Annotated[
        Seconds, _field(OPERATION, "For requests to end once the service is told to.")
    ] = 10.0
    follow_seconds: Annotated[
        Seconds, _field(OPERATION, "Between looks whether an index has changed.")
    ] = 1.0
    access_log: Annotated[
        bool, _field(OPERATION, "Write a JSON line for each request on standard error.")
    ] = True

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)
    _given: tuple[Mapping[str, Any], Path | None] = PrivateAttr(default=({}, None))

    # What flags are called in messages, where not by the setting's name.
    FLAGS: ClassVar[Mapping[str, str]] = {
        "indexes": "PATH",
        "aliases": "--alias",
        "unions": "--union",
    }

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise OptionError(_message(error)) from None
        _check_names(self)
        _check_files(self)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is given: `load` reads the rest itself, since it says where each came from."""
        return (init_settings,)

    @classmethod
    def load(cls, flags: Mapping[str, Any] | None = None, config: Path | None = None) -> Self:
        """The settings by flags, else by EVERYGRAM_* variables, else by the file, else defaults.

        flags: values by setting, of those that were given. config: a TOML file; None: that of the
        variable EVERYGRAM_CONFIG, if it is set. Relative paths in the file start from its folder.
        A setting is taken from one place as a whole: indexes by flags replace those of the file.
        """
        given, flags = config, flags or {}
        if config is None and (named := os.environ.get(CONFIG_VARIABLE)):
            config = arguments.path(CONFIG_VARIABLE, named)
        values: dict[str, Any] = {} if config is None else _of_file(config)
        origins = dict.fromkeys(values, str(config))
        variables = EnvSettingsSource(cls)()
        values |= variables
        origins |= {name: VARIABLES + name.upper() for name in variables}
        values |= flags
        origins |= {name: cls.FLAGS.get(name, "--" + name.replace("_", "-")) for name in flags}
        try:
            settings = cls(**values)
        except OptionError as error:
            name = re.split(r"[.:]", str(error), maxsplit=1)[0]
            raise OptionError(
                f"{error} (from {origins[name]})" if name in origins else str(error)
            ) from None
        settings._origins, settings._given = origins, (flags, given)
        return settings

    def reread(self) -> Self:
        """The settings as the same flags, the environment and the file give them now."""
        return self.load(*self._given)

    def origin(self, name: str) -> str:
        """Where a setting's value came from: a flag, a variable, a file, or "default"."""
        return self._origins.get(name, "default")

    @classmethod
    def as_toml(cls, name: str, value: Any) -> str:
        """A setting's value, but no table, as TOML has it: sizes as people write them."""
        return _toml(_readable(value) if is_size(cls.model_fields[name]) else value)

    def shown(self) -> str:
        """All of them as TOML, which `load` reads as the same, each with where it came from."""
        lines, tables = [], []
        cls = type(self)
        for name in cls.model_fields:
            value, origin = getattr(self, name), self.origin(name)
            if value is None:
                lines.append(f"# {name} is not set")
            elif isinstance(value, dict):
                tables += _table(name, value, origin)
            else:
                lines.append(f"{name} = {cls.as_toml(name, value)}  # {origin}")
        return "\n".join([*lines, *tables, ""])


def is_size(field: FieldInfo) -> bool:
    """Whether a setting is a size."""
    return any(getattr(each, "func", None) is size for each in field.metadata)


def _readable(size: int) -> int | str:
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size % unit == 0:
            return f"{size // unit}{name}"
    return size


def _toml(value: Any) -> str:
    """A value of TOML. (Its strings and JSON's are the same but for DEL.)"""
    if isinstance(value, tuple | list):
        return f"[{', '.join(_toml(each) for each in value)}]"
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _table(name: str, value: dict[str, Any], origin: str) -> list[str]:
    if not value:
        return []
    lines = ["", f"[{name}]  # {origin}"]
    for key, each in value.items():
        if isinstance(each, Union):
            minus = f", minus = {_toml(each.minus)}" if each.minus else ""
            each_text = f"{{of = {_toml(each.of)}{minus}}}"
        else:
            each_text = _toml(each)
        lines.append(f"{_toml(key)} = {each_text}")
    return lines


def _of_file(config: Path) -> dict[str, Any]:
    """The values of a TOML file, its paths from its own folder."""
    try:
        with config.open("rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise OptionError(f"config: '{config}' cannot be read: {error.strerror}") from None
    except ValueError as error:  # also for what is no UTF-8
        raise OptionError(f"config: expected TOML in '{config}': {error}") from None
    folder = config.absolute().parent
    for name in ("keys", "tls_certificate", "tls_key"):
        if isinstance(value := values.get(name), str) and value:
            values[name] = str(folder / value)
    if isinstance(indexes := values.get("indexes"), dict):
        values["indexes"] = {
            name: str(folder / path) if isinstance(path, str) and path else path
            for name, path in indexes.items()
        }
    return values


def _message(error: ValidationError) -> str:
    """The first thing that is wrong, in everygram's words."""
    first = error.errors(include_url=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = Settings.model_fields if len(first["loc"]) == 1 else Union.model_fields
        like = difflib.get_close_matches(str(first["loc"][-1]), known, 1)
        return f"{name}: there is no such setting; expected {like[0] if like else ', '.join(known)}"
    return first_problem(error)


def _check_names(settings: Settings) -> None:
    """Raise OptionError for names that are taken, and for those that name nothing."""
    indexes, unions = settings.indexes, settings.unions
    for name in unions:
        if name in indexes:
            raise OptionError(f"unions: an index is served as '{name}'; choose another name")
    for name, union in unions.items():
        if not union.of:
            raise OptionError(f"unions.{name}: expected an index at least, found none")
        for part, names in (("of", union.of), ("minus", union.minus)):
            for each in names:
                if each not in indexes:
                    raise OptionError(f"unions.{name}.{part}: {_unknown(each, indexes)}")
        both = [*union.of, *union.minus]
        if twice := next((each for each in both if both.count(each) > 1), None):
            raise OptionError(f"unions.{name}: index '{twice}' stands there twice")
    for alias, name in settings.aliases.items():
        if alias in indexes or alias in unions:
            raise OptionError(f"aliases: something is served as '{alias}'; choose another name")
        if name not in indexes and name not in unions:
            raise OptionError(f"aliases.{alias}: {_unknown(name, [*indexes, *unions])}")


def _unknown(name: str, known: Iterable[str]) -> str:
    names = ", ".join(f"'{each}'" for each in known) or "none is served"
    return f"expected the name of an index that is served ({names}), found {arguments.short(name)}"


def _check_files(settings: Settings) -> None:
    """Raise OptionError for half of TLS."""
    certificate, key = settings.tls_certificate, settings.tls_key
    if (certificate is None) != (key is None):
        missing = "tls_certificate" if certificate is None else "tls_key"
        given = "tls_key" if certificate is None else "tls_certificate"
        raise OptionError(f"{given}: expected {missing}, too: TLS takes both")
