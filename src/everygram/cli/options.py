"""What commands take: arguments and options that several of them share, and how values parse."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from everygram import arguments
from everygram.addresses import is_address
from everygram.arguments import short
from everygram.errors import MissingExtraError, OptionError, QueryError

F = TypeVar("F", bound=Callable[..., Any])


def together(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Several arguments and options as one decorator, in the order of `--help`."""

    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def examples(*lines: str) -> str:
    """The examples at the end of a `--help`. (\\b keeps click from joining the lines.)"""
    return "\n  ".join(["\b\nExamples:", *lines])


def completes(kind: str) -> Any:
    """How a shell completes a value: "dir" for a folder, "file" for either."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type=kind)]

    return complete


@contextmanager
def server_extra(command: str) -> Iterator[None]:
    """Around imports of what needs the extra `server`: say so if it is not installed."""
    try:
        yield
    except ImportError as error:
        missing = (error.name or "the server extra").partition(".")[0]
        if missing == "everygram":
            raise
        raise MissingExtraError(
            f"'everygram {command}' needs {missing}: pip install 'everygram[server]'"
        ) from None


class _Path(click.ParamType[Path]):
    """A path, of a file or a folder, there or not. (click's takes "" for the folder here.)"""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        return arguments.path(param.human_readable_name if param else self.name, value)


PATH = _Path()


class _Folder(_Path):
    """As PATH, of an index whose files must be here."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        if is_address(value):
            raise OptionError(
                f"{value}: expected a folder, found an address: this command needs the index's "
                f"files; copy them with 'everygram pull {value} --out FOLDER'"
            )
        return super().convert(value, param, ctx)


class _Place(_Path):
    """As PATH; or, as it stands, an address such as s3://bucket/index."""

    name = "path or address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if is_address(value) else super().convert(value, param, ctx)


PLACE = _Place()

# Where click's context has the address of the service to ask, and what the caching options say.
REMOTE_URL = "everygram.remote"
CACHE, CACHE_BYTES = "everygram.cache", "everygram.cache_bytes"

index_argument = click.argument(
    "index",
    type=_Folder(),
    shell_complete=completes("dir"),
    help="The index's folder.",
)


def _kept(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """A callback that keeps an option where `opened` finds it."""

    def keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        ctx.meta[name] = value

    return keep


# An index that may be in an object store.
asked_index = together(
    click.argument(
        "index",
        type=PLACE,
        shell_complete=completes("dir"),
        help="The index's folder, or an address that it was pushed to, such as s3://bucket/index.",
    ),
    click.option(
        "--cache",
        type=PATH,
        metavar="DIR",
        shell_complete=completes("dir"),
        expose_value=False,
        callback=_kept(CACHE),
        help="With an address: the folder for what is read there; commands may share it.",
    ),
    click.option(
        "--cache-bytes",
        metavar="SIZE",
        expose_value=False,
        callback=_kept(CACHE_BYTES),
        help="With --cache: how much of suffix array and texts it keeps (default: 8GiB).",
    ),
)
ids_option = click.option(
    "--ids",
    metavar="1,2,3",
    help="Token ids in place of text, or - to read one list per line from standard input.",
)
batch_option = click.option(
    "--text-field",
    metavar="A.B",
    help="With -: lines are JSON records, and this field of each is the text (a.b: field b inside "
    "a).",
)
query_arguments = together(
    asked_index,
    click.argument(
        "query",
        required=False,
        help="Text, or - to read one query per line from standard input and print JSON lines.",
    ),
    ids_option,
    batch_option,
)
text_arguments = together(
    asked_index,
    click.argument(
        "text",
        required=False,
        help="Text, or - to read one text per line from standard input and print JSON lines.",
    ),
    ids_option,
    batch_option,
)
raw_option = click.option(
    "--raw", is_flag=True, help="Encode the text as given, without the index's query prefix."
)
text_options = together(
    click.option(
        "--text",
        "as_text",
        is_flag=True,
        help="Look for QUERY as a text: wherever these characters stand, however tokens divide "
        "them.",
    ),
    click.option(
        "--ignore-case", is_flag=True, help="With --text: upper case and lower case are the same."
    ),
    click.option(
        "--whole-words",
        is_flag=True,
        help="With --text: only where no letter, number or _ stands on either side.",
    ),
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
answer_options = together(raw_option, json_option)
continuation_options = together(
    click.option(
        "--continuation",
        metavar="TEXT",
        help="The token whose probability to compute (default: the last token of QUERY).",
    ),
    click.option("--continuation-id", type=int, metavar="N", help="The same as a token id."),
)
distribution_options = together(
    click.option(
        "--top",
        type=click.IntRange(0),
        metavar="N",
        default=10,
        help="List the N most frequent next tokens.",
    ),
    click.option("--all", "every", is_flag=True, help="List every next token."),
    click.option(
        "--max-support",
        type=click.IntRange(1),
        metavar="N",
        help="If the prompt occurs more than N times, look at about N occurrences and give a bound "
        "on the error of the counts (default: look at all, exact).",
    ),
)
corpus_argument = click.argument(
    "corpus",
    nargs=-1,
    required=True,
    shell_complete=completes("file"),
    help="Files, patterns, folders, addresses (s3://…, https://…), datasets:NAME, or - for "
    "standard input. Text: .jsonl, .csv, .tsv, .parquet, .arrow, .txt, .md (also .gz, .zst, .xz, "
    ".bz2). Token ids: .idx/.bin, .ds, .npy, .bin.",
)
text_field_option = click.option(
    "--text-field",
    metavar="A.B",
    default="text",
    help="Field or column that holds the text (a.b: field b inside a).",
)
split_option = click.option(
    "--split",
    metavar="SEPARATOR",
    help="What stands between the documents of a text file: lines (each line is one), "
    "blank-lines (each paragraph is one), or a text (default: the file is one).",
)
ids_files_options = together(
    click.option(
        "--pretokenized",
        type=click.Choice(["u8", "u16", "u32"]),
        help="Width of the token ids, for files of ids that do not state it.",
    ),
    click.option(
        "--separator-id",
        type=int,
        metavar="N",
        help="Id that marks documents in files of token ids (GPT-2: 50256).",
    ),
)
reading_options = together(
    text_field_option,
    click.option("--id-field", metavar="A.B", help="Field to store as the metadata's 'id'."),
    click.option(
        "--metadata-fields",
        metavar="A,B.C",
        help="Fields to keep as metadata (default: all).",
    ),
    click.option(
        "--on-error",
        type=click.Choice(["raise", "skip"]),
        default="raise",
        help="Whether a document that cannot be read stops the command or is left out.",
    ),
    split_option,
    click.option(
        "--quoting",
        type=click.Choice(["double", "none"]),
        help="Whether cells of CSV and TSV files may stand in double quotes (default: double for "
        "CSV, none for TSV).",
    ),
    ids_files_options,
)
corpus_options = together(
    reading_options,
    click.option(
        "--max-record",
        metavar="SIZE",
        help="Most that is held of a record or text file (default: a quarter of --memory).",
    ),
)
memory_option = click.option(
    "--memory", metavar="4GiB", help="Memory limit (default: half of free memory)."
)
threads_option = click.option(
    "--threads",
    type=click.IntRange(1),
    metavar="N",
    help="Thread limit (default: one per processor).",
)
resource_options = together(memory_option, threads_option)
work_option = click.option(
    "--work-dir",
    type=PATH,
    metavar="FOLDER",
    shell_complete=completes("dir"),
    help="A folder for what is sorted or merged first. It is kept there: a killed run, or a later "
    "one over the same index, goes on from it. Work on another index, or on this one before it "
    "changed, is discarded.",
)
format_option = click.option(
    "--format",
    "file_format",
    type=click.Choice(["jsonl", "infini-gram"]),
    default="jsonl",
    help="JSON lines, or an index folder of infini-gram's version 4.",
)
content_option = click.option(
    "--text-field",
    metavar="NAME",
    help="The field of a document's content (default: text; ids if the index has no tokenizer).",
)


def kind_options(default: str, samples: str = "32") -> Callable[[F], F]:
    """The options of a command that makes segments; `default`, `samples`: their defaults, in
    words."""
    return together(
        click.option(
            "--kind",
            type=click.Choice(["suffix-array", "self-index"]),
            help="Kind of segments: suffix-array, or self-index, which takes about a quarter of "
            f"the disk, counts about as fast, and reads texts slower (default: {default}).",
        ),
        click.option(
            "--sample-every",
            type=int,
            metavar="N",
            help=f"Of a self-index: positions per sample (default: {samples}). With fewer, "
            "positions and texts are read faster, and the index is larger.",
        ),
    )


restart_option = click.option(
    "--restart", is_flag=True, help="Start over, and discard what an interrupted run finished."
)


def check_text_options(as_text: bool, **others: Any) -> None:
    """Raise click.UsageError for options that do not go together with --text, or without it.

    others: values of parameters, by name.
    """
    for name in () if as_text else ("ignore_case", "whole_words", "tokenizations"):
        if others.get(name):
            raise click.UsageError(f"--{name.replace('_', '-')} goes with --text")
    for name in ("ids", "raw") if as_text else ():
        if others.get(name):
            raise click.UsageError(
                f"--{name} does not go with --text: a text is looked for as it is, not as tokens"
            )


def given(name: str) -> bool:
    """Whether the command line has this option, and not only its default."""
    source = click.get_current_context().get_parameter_source(name)
    return source is click.core.ParameterSource.COMMANDLINE


def parse_ids(text: str | None, option: str = "--ids") -> list[int]:
    """Ids from `1,2,3`, `1 2 3` or `[1, 2, 3]`; an empty text gives none."""
    parts = re.split(r"[,\s]+", (text or "").strip().removeprefix("[").removesuffix("]").strip())
    for part in parts:
        if not re.fullmatch("-?[0-9]{1,4000}|", part):
            raise QueryError(f"{option}: expected integers like 1,2,3, found {short(part)}")
    return [int(part) for part in parts if part]


def parse_numbers(text: str, option: str) -> list[int]:
    """Numbers as `parse_ids` takes them, or those in a file, or on standard input (-)."""
    if text == "-":
        return parse_ids(sys.stdin.read(), "standard input")
    if not text.strip() or re.fullmatch(r"[-0-9,\s\[\]]*", text):
        return parse_ids(text, option)
    try:
        return parse_ids(Path(text).read_text(encoding="utf-8-sig"), text)
    except (OSError, ValueError) as error:
        if isinstance(error, QueryError):
            raise
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise QueryError(
            f"{option}: expected numbers like 3,17, a file of them, or -, found {short(text)}: "
            f"{why}"
        ) from None


class OrAll(click.types.IntParamType):
    """An integer from 0 on, or `all`, which becomes None."""

    name = "integer or all"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, or None for `all`."""
        if value == "all":
            return None
        try:
            return click.IntRange(0).convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"expected 0 or more, or all, found {value!r}", param, ctx)


class OrNone(click.ParamType[Any]):
    """A number, or `none`, which becomes None. expected: which numbers, in words."""

    name = "number or none"

    def __init__(self, number: click.ParamType[Any], expected: str) -> None:
        self.number, self.expected = number, expected

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, or None for `none`."""
        if value == "none":
            return None
        try:
            return self.number.convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"expected {self.expected}, or none, found {value!r}", param, ctx)


def parse_fields(names: str | None) -> list[str] | None:
    """The names of a comma-separated list; None for None."""
    return None if names is None else [name.strip() for name in names.split(",") if name.strip()]
